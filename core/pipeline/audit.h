/* pipeline/audit.h: the ledger against the records: what the counters say, and what is there.
 *
 * accepted + copied + redriven + replayed + repeated = delivered + filtered + dead-lettered + dropped +
 * returned + in flight, which is the records that wait in the streams of the stages, counted, and what memory held.
 * Per stage: the records that its stream got = those that ended + those that wait. */
#pragma once
#include "journal/journal.h"
#include "pipeline/worker.h"

struct audit_stage {
    char *name;
    int64_t stored, ended, waiting; /* ended: counted when a record was acknowledged */
};

struct audit {
    int64_t columns[LEDGER_ALL];
    int64_t waiting, purged; /* records in all streams of stages; letters removed for good */
    int64_t difference;      /* what is owed - what is there; 0: it balances */
    struct audit_stage *stages;
    size_t stage_count, stage_cap;
};

void audit_init(struct audit *a);
void audit_fini(struct audit *a);
/* At one moment between two units; nothing is written. */
void audit_read(struct audit *a, struct journal *j);
bool audit_is_balanced(const struct audit *a);            /* the whole and every stage */
void audit_print(const struct audit *a, struct buf *out); /* JSON */
/* A data directory of before the records were counted: its figures are taken as they are. */
void audit_adopt(struct journal *j);
