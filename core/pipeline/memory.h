/* pipeline/memory.h: how a pipeline keeps within its memory: who gets what part of the budget, and what
 * the allocator holds beside it. Main thread, unless said otherwise.
 *
 * Sources may fill half of the budget: what they bring is copied on its way to the disk. What is read
 * from the disk may fill three quarters; the rest is for what is made on the way, so that what is under
 * way comes to its end. Stages that are down hold less than sources may fill, so the others go on: the
 * buffers in memory have a quarter of the budget among them, and a stage whose events are on disk as well
 * has its share three times: waiting, behind another of their key, and for another attempt. Shells,
 * places in queues and copies on their way to the disk are charged whatever there is (base/budget.h):
 * sources stop the earlier. */
#pragma once
#include "pipeline/pipeline.h"

enum {
    MEMORY_EVENT_BYTES = 704, /* of an event that waits, beside its payload, about */
    MEMORY_AHEAD = 1 << 20,
    MEMORY_EVENT_PART = 8, /* one event may take so large a part of the budget, and no larger */
};

/* memory_check.c: warns of what will not fit, in the plan's document. */
void memory_check(struct plan *plan);

void memory_init(struct pipeline *p); /* the plan is known */
void memory_start(
    struct pipeline *p); /* all stages were started: what there is now is not events */
void memory_fini(struct pipeline *p);
void memory_share_out(struct pipeline *p); /* the graph has changed */
void memory_tick(struct pipeline *p);      /* some times a second */
void memory_give_back(struct pipeline *p); /* what is kept for reuse: the workers do it, soon */

/* Any thread: sources may bring something. They stop short of what they may have, so that they are seldom
 * refused in the middle of it. */
static inline bool memory_has_room(const struct pipeline *p)
{
    uint64_t ahead = p->budget.limit_bytes / 16;
    return budget_has_room(&p->inflow, ahead < MEMORY_AHEAD ? (size_t)ahead : MEMORY_AHEAD);
}

/* Any thread: bytes in memory that a stage on disk may have waiting, and a buffer in memory. */
static inline uint64_t memory_share(const struct pipeline *p)
{
    return atomic_load_explicit(&p->memory.share_bytes, memory_order_relaxed);
}
static inline uint64_t memory_buffer_share(const struct pipeline *p)
{
    return atomic_load_explicit(&p->memory.buffer_bytes, memory_order_relaxed);
}

struct memory_figures { /* bytes */
    uint64_t budget, used, peak, lost, refused;
    uint64_t resident, resident_peak; /* the whole process, as the kernel counts it */
};
void memory_figures(struct pipeline *p, struct memory_figures *f); /* any thread */
void memory_log(struct pipeline *p);                               /* the run ends */
