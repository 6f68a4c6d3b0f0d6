/* pipeline/control.h: what a person does to queues, on a stopped or a running pipeline. */
#pragma once
#include "pipeline/pipeline.h"

/* JSON: [{"name":...,"kind":"queue","visible":n,...}], queues and the buffers of stages. */
void control_list(struct journal *j, struct buf *out);
/* JSON lines of up to max messages, the oldest first. -1: no such queue. */
int control_peek(struct journal *j, const char *name, size_t max, struct buf *out, struct error *e);
/* Also what waits for a stage that is not in the file any more; of a stopped pipeline (p NULL), for any. */
/* Says that there is no queue of this name, or that a stage has it; -1. */
int control_no_queue(struct journal *j, const char *name, struct error *e);
int control_purge(struct journal *j, struct pipeline *p, const char *name, uint64_t *purged,
                  struct error *e);

/* JSON: [{"name":...,"events":n,"bytes":n,"oldest":...,"newest":...}]. */
void control_archives(struct journal *j, struct buf *out);
struct archive_page {
    uint64_t from;             /* sequence */
    int64_t from_ns, until_ns; /* when they came; 0: any */
    size_t max;
};
/* JSON lines of a page of archived events, then {"next":SEQUENCE}; 0: that was all. -1: no such archive. */
int control_archived(struct journal *j, const char *name, const struct archive_page *page,
                     struct buf *out, struct error *e);
int control_archive_clear(struct journal *j, const char *name, uint64_t *removed, struct error *e);

struct redrive { /* from one queue into another; dead letters go to their stages by letters.h */
    const char *from, *to;
    uint64_t max; /* 0: all */
    uint64_t moved;
};
int control_redrive(struct journal *j, struct redrive *r, struct error *e);
