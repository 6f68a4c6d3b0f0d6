/* pipeline/batch.c: batches of events. */
#include "pipeline/batch.h"

#include "base/mem.h"
#include "pipeline/worker.h"

enum { POOL_MAX = 256, POOL_PLACES = 1 << 15 /* in all batches of a pool: 256 KiB */ };

struct batch *batch_new(struct worker *w)
{
    struct batch *b = w->free_batches;
    if (!b)
        return MEM_NEW(struct batch);
    w->free_batches = b->next;
    w->free_batch_count--;
    w->free_batch_places -= b->cap;
    struct event **events = b->events;
    size_t cap = b->cap;
    struct budget *budget = b->budget;
    *b = (struct batch){.events = events, .cap = cap, .budget = budget};
    return b;
}

struct batch *batch_with_block(struct worker *w, struct block *block)
{
    struct batch *b = batch_new(w);
    block_ref(block);
    b->block = block;
    return b;
}

/* The first places bring the charge of the batch itself. */
static void grow(struct batch *b)
{
    size_t cap = b->cap ? 2 * b->cap : 8;
    b->events = mem_grow(b->events, cap * sizeof(struct event *));
    if (!b->cap) {
        b->budget = block_budget(b->block);
        budget_charge(b->budget, sizeof *b);
    }
    budget_charge(b->budget, (cap - b->cap) * sizeof(struct event *));
    b->cap = cap;
}

void batch_delete(struct batch *b)
{
    if (b->cap)
        budget_give(b->budget, sizeof *b + b->cap * sizeof(struct event *));
    mem_free(b->events);
    mem_free(b);
}

void batch_add(struct batch *b, struct event *ev)
{
    if (!b->block) {
        block_ref(ev->block);
        b->block = ev->block;
    } else if (ev->block != b->block) {
        block_hold(b->block, ev->block);
    }
    if (b->pub.count == b->cap)
        grow(b);
    b->events[b->pub.count++] = ev;
    b->pub.events = (const weir_event *const *)b->events;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    block_unref(b->block);
    struct worker *w = worker_current();
    if (!w || w->free_batch_count >= POOL_MAX || w->free_batch_places + b->cap > POOL_PLACES) {
        batch_delete(b);
        return;
    }
    b->next = w->free_batches;
    w->free_batches = b;
    w->free_batch_count++;
    w->free_batch_places += b->cap;
}
