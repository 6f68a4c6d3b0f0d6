/* pipeline/inlet_redo.c: records that are done again, as what was made of them could not be kept. Until then
 * later events of their keys stand behind them in line. On the inlet's worker. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/inlet_priv.h"

void inlet_record_left(struct inlet *in)
{
    atomic_fetch_sub_explicit(&in->taken, 1, memory_order_relaxed);
}

void inlet_record_ended(struct inlet *in, uint64_t sequence)
{
    inlet_record_left(in);
    commit_ack(in->worker, in, sequence, 1, LEDGER_IN_MEMORY);
}

static struct line *line_of(struct inlet *in, uint64_t hash)
{
    order_lock(in);
    struct line *l = order_join(in, hash);
    l->again++;
    order_unlock(in);
    return l;
}

void inlet_record_failed(struct inlet *in, uint64_t sequence, const uint64_t *key)
{
    inlet_record_left(in);
    if (!atomic_load_explicit(&in->stage->pipeline->is_stopping, memory_order_relaxed))
        worker_count(in->worker, LEDGER_REPEATED, 1);
    BUDGET_PUSH(in->budget, in->redo, in->redo_count, in->redo_cap) =
        (struct redo){sequence, key ? line_of(in, *key) : NULL};
    if (!loop_timer_is_set(&in->redo_timer))
        loop_timer_set(in->worker->loop, &in->redo_timer, in->retry->backoff.ns);
}

static int by_sequence(const void *a, const void *b)
{
    uint64_t x = ((const struct redo *)a)->sequence, y = ((const struct redo *)b)->sequence;
    return (x > y) - (x < y);
}

/* RETRY: it cannot be read or held now. */
static weir_status again(struct inlet *in, struct block *block, const struct redo *r,
                         struct buf *bytes)
{
    struct entry e;
    bytes->len = 0;
    if (r->sequence >=
        stream_next(in->stream)) /* durability: interval; it is read after its sync */
        return WEIR_E_RETRY;
    weir_status s = stream_read(in->stream, r->sequence, bytes);
    if (s == WEIR_OK)
        s = inlet_entry_read(in, block, r->sequence, buf_str(bytes), &e);
    if (s == WEIR_E_RETRY)
        return s;
    if (r->line)
        order_again(in, r->line, s == WEIR_OK ? &e : NULL);
    else if (s == WEIR_OK)
        inlet_ready(in, &in->ready, &e);
    return s;
}

void inlet_on_redo(struct loop_timer *t)
{
    struct inlet *in = t->user;
    if (in->is_abandoned || in->is_released || !in->redo_count)
        return; /* what is on disk stays there */
    struct block *block = block_new(in->worker);
    struct buf bytes = {0};
    size_t done = 0;
    qsort(in->redo, in->redo_count, sizeof *in->redo, by_sequence);
    while (done < in->redo_count && again(in, block, &in->redo[done], &bytes) != WEIR_E_RETRY)
        done++;
    in->redo_count -= done;
    if (in->redo_count) {
        memmove(in->redo, in->redo + done, in->redo_count * sizeof *in->redo);
        loop_timer_set(in->worker->loop, &in->redo_timer, in->retry->backoff.ns);
    }
    block_unref(block);
    buf_fini(&bytes);
    inlet_deliver(in);
}

void inlet_redo_give_back(struct inlet *in)
{
    if (!in->redo_count)
        BUDGET_DROP(in->budget, in->redo, in->redo_count, in->redo_cap);
}
