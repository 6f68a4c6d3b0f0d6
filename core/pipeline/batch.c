/* pipeline/batch.c: batches of events. */
#include "pipeline/batch.h"

#include "base/mem.h"
#include "pipeline/worker.h"

enum { POOL_MAX = 256, EVENTS_CAP_MAX = 4096 };

struct batch *batch_new(struct worker *w)
{
    struct batch *b = w->free_batches;
    if (!b)
        return MEM_NEW(struct batch);
    w->free_batches = b->next;
    w->free_batch_count--;
    struct event **events = b->events;
    size_t cap = b->cap;
    *b = (struct batch){.events = events, .cap = cap};
    return b;
}

struct batch *batch_with_block(struct worker *w, struct block *block)
{
    struct batch *b = batch_new(w);
    block_ref(block);
    b->block = block;
    return b;
}

void batch_add(struct batch *b, struct event *ev)
{
    if (!b->block) {
        block_ref(ev->block);
        b->block = ev->block;
    } else if (ev->block != b->block) {
        block_hold(b->block, ev->block);
    }
    MEM_PUSH(b->events, b->pub.count, b->cap) = ev;
    b->pub.events = (const weir_event *const *)b->events;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    block_unref(b->block);
    struct worker *w = worker_current();
    if (!w || w->free_batch_count >= POOL_MAX || b->cap > EVENTS_CAP_MAX) {
        mem_free(b->events);
        mem_free(b);
        return;
    }
    b->next = w->free_batches;
    w->free_batches = b;
    w->free_batch_count++;
}
