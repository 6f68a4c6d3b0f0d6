/* pipeline/audit.h: the ledger against the records: what the counters say, and what is there.
 *
 * accepted + copied + redriven + replayed + repeated = delivered + filtered + dead-lettered + dropped +
 * returned + lost + in flight, which is the records that wait in the streams of the stages, counted, and
 * what memory held.
 * Per stage: the records that its stream got = those that ended + those that wait. */
#pragma once
#include "journal/journal.h"
#include "pipeline/ledger.h"

struct audit_stage {
    char *name;
    int64_t stored, ended, waiting; /* ended: counted when a record was acknowledged */
};

struct audit {
    int64_t columns[LEDGER_ALL];
    int64_t waiting, purged; /* records in all streams of stages; letters removed for good */
    int64_t difference;      /* what is owed - what is there; 0: it balances */
    int64_t written_off;     /* the difference that was, when it was written off */
    struct audit_stage *stages;
    size_t stage_count, stage_cap;
};

void audit_init(struct audit *a);
void audit_fini(struct audit *a);
/* At one moment between two units; nothing is written. */
void audit_read(struct audit *a, struct journal *j);
bool audit_is_balanced(const struct audit *a);            /* the whole and every stage */
void audit_print(const struct audit *a, struct buf *out); /* JSON */
/* Takes the difference off for good: what is missing becomes `lost`, what nothing accounts for
 * `repeated`. Then *a is read, and balances. `p`: the pipeline that runs, or NULL. */
int audit_write_off(struct audit *a, struct journal *j, struct pipeline *p, struct error *e);
