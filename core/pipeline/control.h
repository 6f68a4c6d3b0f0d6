/* pipeline/control.h: what a person does to queues, on a stopped or a running pipeline. */
#pragma once
#include "pipeline/pipeline.h"

/* JSON: [{"name":...,"kind":"queue","visible":n,...}], queues and the buffers of stages. */
void control_list(struct journal *j, struct buf *out);
/* JSON lines of up to max messages, the oldest first. -1: no such queue. */
int control_peek(struct journal *j, const char *name, size_t max, struct buf *out, struct error *e);
int control_purge(struct journal *j, const char *name, uint64_t *purged, struct error *e);

struct redrive {
    const char *from;
    const char *to;       /* a queue; NULL: each dead letter to the stage that it came from */
    uint64_t max;         /* 0: all */
    uint64_t moved, left; /* left: of stages that are not there any more */
};
/* On a stopped pipeline, or (p not NULL) on the first worker of a running one. */
int control_redrive(struct journal *j, struct pipeline *p, struct redrive *r, struct error *e);
