/* pipeline/inlet.c: what waits in front of a stage: how it begins and ends. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/park.h"

enum { FLIGHTS_DEFAULT = 4 };

static void on_deliver_timer(struct loop_timer *t)
{
    inlet_deliver(t->user);
}

void ring_push(struct ring *r, const struct entry *e)
{
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        struct entry *items = mem_grow(NULL, cap * sizeof *items);
        budget_charge(r->budget, (cap - r->cap) * sizeof *items);
        for (size_t i = 0; i < r->count; i++)
            items[i] = r->items[(r->head + i) & (r->cap - 1)];
        mem_free(r->items);
        r->items = items;
        r->head = 0;
        r->cap = cap;
    }
    r->items[(r->head + r->count++) & (r->cap - 1)] = *e;
}

struct entry ring_pop(struct ring *r)
{
    struct entry e = r->items[r->head];
    r->head = (r->head + 1) & (r->cap - 1);
    r->count--;
    return e;
}

void ring_fini(struct ring *r)
{
    budget_give(r->budget, r->cap * sizeof *r->items);
    mem_free(r->items);
    *r = (struct ring){.budget = r->budget};
}

void inlet_flights_show(struct inlet *in)
{
    if (in->stage->role == ROLE_SINK)
        metric_set(in->stage->m.concurrency, (double)in->flights_max);
}

void inlet_flights_begin(struct inlet *in)
{
    const struct plan_delivery *d = &in->stage->plan->delivery;
    bool is_adaptive = d->is_adaptive || (!d->flights && in->stage->is_single);
    size_t min = (size_t)d->flights_min, max = (size_t)d->flights_max;
    if (is_adaptive && in->adaptive.max)
        adaptive_set_bounds(&in->adaptive, min, max);
    else if (is_adaptive)
        adaptive_init(&in->adaptive, min, max);
    else
        in->adaptive = (struct adaptive){0};
    in->flights_max = is_adaptive                           ? adaptive_limit(&in->adaptive)
                      : d->flights > 0                      ? (size_t)d->flights
                      : stage_has(in->stage, WEIR_BLOCKING) ? 1
                                                            : FLIGHTS_DEFAULT;
    inlet_flights_show(in);
}

size_t inlet_batch_max(const struct inlet *in)
{
    return in->stage->is_single ? 1 : (size_t)in->batch->max_events;
}

struct inlet *inlet_new(struct stage *s, struct lane *home, bool is_durable)
{
    struct inlet *in = MEM_NEW(struct inlet);
    in->stage = s;
    in->lane = home;
    in->worker = home->worker;
    in->buffer = s->plan->delivery.buffer.item;
    in->batch = s->plan->delivery.batch.item;
    in->retry = s->plan->delivery.retry.item;
    in->is_durable = is_durable;
    in->budget = &s->pipeline->budget;
    in->ready.budget = in->arrivals.budget = in->released.budget = in->budget;
    in->task.fn = inlet_on_task;
    in->retry_timer.fn = inlet_on_retry;
    in->batch_timer.fn = in->rate_timer.fn = in->read_timer.fn = on_deliver_timer;
    in->pause_timer = (struct loop_timer){.fn = on_deliver_timer, .user = in};
    breaker_init(&in->breaker, s->plan->delivery.breaker.item);
    in->redo_timer.fn = inlet_on_redo;
    in->task.user = in->retry_timer.user = in->batch_timer.user = in->rate_timer.user = in;
    in->redo_timer.user = in->read_timer.user = in;
    inlet_flights_begin(in);
    in->users = 1;
    order_init(in);
    (void)pthread_mutex_init(&in->lock, NULL);
    return in;
}

/* Every stage has a stream: a transform for what it keeps or cannot do now, a sink with its buffer in
 * memory for dead letters that come back. */
int inlet_open(struct inlet *in, struct error *e)
{
    char *name = mem_format("in/%s", in->stage->name);
    in->stream = stream_open(in->stage->pipeline->journal, name, 0, e);
    char *counter = mem_format("ended/%s", in->stage->name);
    in->counter = journal_counter(in->stage->pipeline->journal, counter);
    mem_free(counter);
    mem_free(name);
    if (!in->stream)
        return -1;
    in->spill_from = stream_first_live(in->stream);
    in->backlog_end = in->arrived = stream_next(in->stream);
    in->is_spilled = stream_live(in->stream) > 0;
    if (in->is_spilled && in->stage->role == ROLE_TRANSFORM)
        inlet_gate_begin(in);
    if (in->is_spilled)
        log_write(WEIR_INFO, in->stage->name, "%llu events of an earlier run wait on disk",
                  (unsigned long long)stream_live(in->stream));
    return 0;
}

/* A source brings it again. What is left when the runner stops is counted at the end. */
static void abandon_memory(struct inlet *in, struct entry *e)
{
    struct pipeline *p = in->stage->pipeline;
    if (!atomic_load(&p->is_stopping))
        worker_count(in->worker, LEDGER_RETURNED, 1);
    slot_fail(e->slot, WEIR_E_RETRY, in->stage->name, "the runner stopped", false);
}

/* A transform's event may have got the slot of its copy since. */
static struct slot *slot_now(const struct inlet *in, const struct entry *e)
{
    bool is_kept = in->stage->role == ROLE_TRANSFORM && e->sequence == NO_SEQUENCE;
    return is_kept ? e->ev->slot : e->slot;
}

/* The disk has it, or its source is told that nobody has. */
void inlet_entry_abandon(struct inlet *in, struct entry *e)
{
    e->slot = slot_now(in, e);
    if (e->sequence == NO_SEQUENCE)
        atomic_fetch_sub_explicit(&in->in_memory, 1, memory_order_relaxed);
    if (in->stage->role == ROLE_TRANSFORM && e->ev->park)
        park_abandon(e->ev);
    else if (in->stage->role == ROLE_TRANSFORM && park_is_record(e->slot, in))
        park_leave(e->slot);
    else if (e->sequence != NO_SEQUENCE)
        slot_release(e->slot, SLOT_DURABLE);
    else
        abandon_memory(in, e);
    block_unref(e->ev->block);
}

bool inlet_is_stored(const struct inlet *in, const struct entry *e)
{
    return e->sequence != NO_SEQUENCE || (in->stage->role == ROLE_TRANSFORM &&
                                          (e->ev->park || park_is_record(slot_now(in, e), in)));
}

static void drop_ring(struct inlet *in, struct ring *r)
{
    while (r->count) {
        struct entry e = ring_pop(r);
        inlet_entry_abandon(in, &e);
    }
    ring_fini(r);
}

void inlet_abandon(struct inlet *in)
{
    if (in->is_abandoned)
        return;
    in->is_started = false;
    (void)pthread_mutex_lock(&in->lock);
    in->is_abandoned = true;
    (void)pthread_mutex_unlock(&in->lock);
    drop_ring(in, &in->arrivals);
    drop_ring(in, &in->ready);
    drop_ring(in, &in->released);
    order_abandon(in);
    inlet_retry_fini(in);
    for (struct flight *f = in->active; f; f = f->next) {
        f->is_abandoned = true;
        for (size_t i = 0; i < f->batch->pub.count; i++) {
            if (f->is_direct)
                block_ref(f->entries[i].ev->block);
            inlet_entry_abandon(in, &f->entries[i]);
        }
    }
    for (; in->watcher_head < in->watcher_count; in->watcher_head++)
        slot_release(in->watchers[in->watcher_head].slot, SLOT_DURABLE);
}

void inlet_end(struct inlet *in)
{
    in->is_started = false;
    loop_timer_cancel(in->worker->loop, &in->retry_timer);
    loop_timer_cancel(in->worker->loop, &in->batch_timer);
    loop_timer_cancel(in->worker->loop, &in->rate_timer);
    loop_timer_cancel(in->worker->loop, &in->redo_timer);
    loop_timer_cancel(in->worker->loop, &in->read_timer);
    loop_timer_cancel(in->worker->loop, &in->pause_timer);
}

static void free_flights(struct inlet *in)
{
    while (in->free_flights) {
        struct flight *next = in->free_flights->next;
        mem_free(in->free_flights->entries);
        mem_free(in->free_flights);
        in->free_flights = next;
    }
}

void inlet_give_back(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    if (!in->arrivals.count)
        ring_fini(&in->arrivals);
    inlet_watch_give_back(in);
    (void)pthread_mutex_unlock(&in->lock);
    inlet_retry_give_back(in);
    inlet_redo_give_back(in);
    if (!in->ready.count)
        ring_fini(&in->ready);
    if (!in->released.count)
        ring_fini(&in->released);
    order_give_back(in);
    free_flights(in);
}

/* The stage may be gone already: another one that it served is the last to let go of it. */
void inlet_free(struct inlet *in)
{
    if (!in || --in->users)
        return;
    inlet_end(in);
    BUDGET_DROP(in->budget, in->redo, in->redo_count, in->redo_cap);
    BUDGET_DROP(in->budget, in->watchers, in->watcher_count, in->watcher_cap);
    BUDGET_DROP(in->budget, in->retries, in->retry_count, in->retry_cap);
    ring_fini(&in->arrivals);
    ring_fini(&in->ready);
    ring_fini(&in->released);
    order_fini(in);
    while (in->active)
        inlet_flight_free(in->active);
    reader_free(in->reader);
    free_flights(in);
    (void)pthread_mutex_destroy(&in->lock);
    mem_free(in);
}

struct stream *inlet_stream(const struct inlet *in)
{
    return in->stream;
}

uint32_t inlet_counter(const struct inlet *in)
{
    return in->counter;
}

struct inlet *const *inlet_link(struct inlet *in)
{
    return &in->stage->inlet;
}

struct worker *inlet_worker(const struct inlet *in)
{
    return in->worker;
}

bool inlet_is_durable(const struct inlet *in)
{
    return in->is_durable;
}

void inlet_start(struct inlet *in)
{
    in->is_started = true;
    inlet_flights_begin(in);
    inlet_deliver(in);
}

void inlet_ack(struct inlet *in, uint64_t sequence, int column)
{
    if (in->ack_count && (uint64_t)(in->ack_first + in->ack_count) == sequence &&
        in->ack_column == column) {
        in->ack_count++;
        return;
    }
    inlet_ack_flush(in);
    in->ack_first = (int64_t)sequence;
    in->ack_count = 1;
    in->ack_column = column;
}

void inlet_ack_flush(struct inlet *in)
{
    if (in->ack_count)
        commit_ack(in->worker, in, (uint64_t)in->ack_first, (uint64_t)in->ack_count,
                   in->ack_column);
    in->ack_count = 0;
}

/* The branch ends here: delivered or dropped. */
void inlet_entry_end(struct inlet *in, struct entry *e, uint32_t flag)
{
    int column = flag == SLOT_DELIVERED ? LEDGER_DELIVERED : LEDGER_DROPPED;
    if (e->sequence != NO_SEQUENCE && in->stage->role == ROLE_SINK)
        inlet_ack(in, e->sequence, column);
    else
        worker_count(worker_current(), column, 1);
    if (e->sequence == NO_SEQUENCE)
        atomic_fetch_sub_explicit(&in->in_memory, 1, memory_order_relaxed);
    slot_release(e->slot, flag);
    if (e->line)
        order_end(in, e);
    block_unref(e->ev->block);
}

bool inlet_is_idle(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    bool is_idle = !in->arrivals.count && !in->is_spilled;
    (void)pthread_mutex_unlock(&in->lock);
    is_idle = is_idle && !atomic_load(&in->ring_count);
    return (is_idle || atomic_load(&in->is_paused)) && !atomic_load(&in->flying);
}

void inlet_take(struct inlet *in)
{
    atomic_fetch_add_explicit(&in->taken, 1, memory_order_relaxed);
}

bool inlet_is_empty(const struct inlet *in)
{
    return !stream_live(in->stream) && !inlet_in_memory(in);
}

int64_t inlet_waiting(const struct inlet *in)
{
    uint64_t taken = atomic_load_explicit(&in->taken, memory_order_relaxed);
    return (int64_t)(stream_live(in->stream) + inlet_in_memory(in) - taken);
}

uint64_t inlet_in_memory(const struct inlet *in)
{
    return atomic_load_explicit(&in->in_memory, memory_order_relaxed);
}
