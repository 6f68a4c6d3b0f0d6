/* pipeline/control.h: what a person does to queues, on a stopped or a running pipeline. */
#pragma once
#include "pipeline/pipeline.h"

/* JSON: [{"name":...,"kind":"queue","visible":n,...}], queues and the buffers of stages. */
void control_list(struct journal *j, struct buf *out);
/* JSON lines of up to max messages, the oldest first. -1: no such queue. */
int control_peek(struct journal *j, const char *name, size_t max, struct buf *out, struct error *e);
/* Also what waits for a stage that is not in the file any more; of a stopped pipeline (p NULL), for any. */
int control_purge(struct journal *j, struct pipeline *p, const char *name, uint64_t *purged,
                  struct error *e);

struct redrive { /* from one queue into another; dead letters go to their stages by letters.h */
    const char *from, *to;
    uint64_t max; /* 0: all */
    uint64_t moved;
};
int control_redrive(struct journal *j, struct redrive *r, struct error *e);
