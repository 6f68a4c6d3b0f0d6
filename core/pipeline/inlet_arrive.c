/* pipeline/inlet_arrive.c: how events come into an inlet: handed over by workers, from the journal, or
 * read again from disk, where they spill when memory has no room. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/codec.h"
#include "pipeline/commit.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/park.h"

enum {
    RING_KEPT = 4096, /* entries of an empty one */
    READ_AHEAD = 2048,
    READ_AGAIN_NS = 20 * 1000 * 1000,
};

/* Under the lock. */
void inlet_post(struct inlet *in)
{
    if (in->is_posted)
        return;
    in->is_posted = true;
    loop_post(in->worker->loop, &in->task);
}

void inlet_wake(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    inlet_post(in);
    (void)pthread_mutex_unlock(&in->lock);
}

/* Nothing will be done about what came now: it is on disk alone, and a timer runs until the stage is
 * tried again. Under the lock, which a worker that reads what arrived takes after it ended the pause. */
static bool is_left_alone(const struct inlet *in)
{
    return in->is_spilled && !in->arrivals.count && in->buffer->when_full == FULL_BLOCK &&
           atomic_load_explicit(&in->is_paused, memory_order_relaxed);
}

/* Something arrived. A worker tells another thread when its round ends: woken in the middle it would
 * find little, and wait for the lock. Under the lock. The loop to be told when it is left, or NULL. */
static struct loop *tell(struct inlet *in)
{
    struct worker *w = worker_current();
    if (in->is_posted || is_left_alone(in))
        return NULL;
    if (!w || w == in->worker) {
        in->is_posted = true;
        return in->worker->loop;
    }
    for (size_t i = 0; i < w->to_wake_count; i++)
        if (w->to_wake[i] == in)
            return NULL;
    MEM_PUSH(w->to_wake, w->to_wake_count, w->to_wake_cap) = in;
    worker_again(w);
    return NULL;
}

static void unlock_and_tell(struct inlet *in)
{
    struct loop *to = tell(in);
    (void)pthread_mutex_unlock(&in->lock);
    if (to)
        loop_post(to, &in->task);
}

static void watch(struct inlet *in, uint64_t sequence, struct slot *slot)
{
    if (in->watcher_count == in->watcher_cap && in->watcher_head) {
        in->watcher_count -= in->watcher_head;
        memmove(in->watchers, in->watchers + in->watcher_head,
                in->watcher_count * sizeof *in->watchers);
        in->watcher_head = 0;
    }
    BUDGET_PUSH(in->budget, in->watchers, in->watcher_count, in->watcher_cap) =
        (struct watcher){sequence, slot};
}

void inlet_watch_give_back(struct inlet *in)
{
    if (in->watcher_head < in->watcher_count)
        return;
    BUDGET_DROP(in->budget, in->watchers, in->watcher_count, in->watcher_cap);
    in->watcher_head = 0;
}

static void arrive(struct inlet *in, const struct arrival *a)
{
    struct entry e = {.ev = a->ev, .slot = a->slot, .sequence = a->sequence};
    block_ref(a->ev->block);
    ring_push(&in->arrivals, &e);
    inlet_ring_account(in, &e, 1);
}

/* What a sink has no room for it reads from the disk, and all that comes after it. Under the lock. */
static void arrive_all(struct inlet *in, const struct arrival *all, size_t n)
{
    bool is_sink = in->stage->role == ROLE_SINK;
    size_t i = 0;
    for (; i < n && !(is_sink && in->is_spilled); i++) {
        if (is_sink && !inlet_has_ring_room(in, 1)) {
            in->spill_from = all[i].sequence;
            in->is_spilled = true;
            break;
        }
        arrive(in, &all[i]);
    }
    for (; i < n; i++)
        if (all[i].slot)
            watch(in, all[i].sequence, all[i].slot);
}

void inlet_arrive(struct inlet *in, const struct arrival *all, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += all[i].ev->pub.body->len + 128;
    atomic_fetch_add_explicit(&in->came_count, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->came_bytes, bytes, memory_order_relaxed);
    (void)pthread_mutex_lock(&in->lock);
    in->arrived = all[n - 1].sequence + 1;
    if (!in->is_abandoned && !in->is_released)
        arrive_all(in, all, n);
    else
        for (size_t i = 0; i < n; i++)
            slot_release(all[i].slot, SLOT_DURABLE);
    unlock_and_tell(in);
}

/* A memory buffer takes what comes even when it is full under `block`: who feeds it pauses, and what
 * was under way then is bounded by what sources may have open. */
void inlet_push(struct inlet *in, struct worker *w, struct batch *take)
{
    if (inlet_deliver_direct(in, w, take))
        return;
    (void)pthread_mutex_lock(&in->lock);
    for (size_t i = 0; i < take->pub.count; i++) {
        struct event *ev = take->events[i];
        struct entry e = {.ev = ev, .slot = ev->slot, .sequence = NO_SEQUENCE};
        if (in->is_abandoned) {
            slot_fail(e.slot, WEIR_E_RETRY, in->stage->name, "the runner stopped", false);
            continue;
        }
        block_ref(ev->block);
        ring_push(&in->arrivals, &e);
        inlet_ring_account(in, &e, 1);
        if (in->buffer->when_full != FULL_BLOCK && !inlet_has_ring_room(in, 0))
            inlet_let_oldest_go(in, w);
    }
    unlock_and_tell(in);
    batch_free(take);
}

/* Of a buffer in memory that lets the oldest go no more is taken than is given next: the rest stays where
 * others can let go of it. Under the lock. */
static void move_arrivals(struct inlet *in)
{
    bool lets_go = !in->is_durable && in->buffer->when_full != FULL_BLOCK;
    size_t limit = lets_go && in->stage->role == ROLE_SINK ? inlet_batch_max(in) : SIZE_MAX;
    if (!in->ready.count && in->arrivals.count <= limit) {
        struct ring empty = in->ready;
        empty.head = 0;
        if (empty.cap > RING_KEPT)
            ring_fini(&empty);
        in->ready = in->arrivals;
        in->arrivals = empty;
    }
    while (in->arrivals.count && in->ready.count < limit) {
        struct entry e = ring_pop(&in->arrivals);
        ring_push(&in->ready, &e);
    }
}

static void take_arrivals(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    in->is_posted = false;
    move_arrivals(in);
    (void)pthread_mutex_unlock(&in->lock);
}

void inlet_on_task(struct loop_task *t)
{
    struct inlet *in = t->user;
    if (inlet_is_elsewhere(in, t))
        return;
    take_arrivals(in);
    inlet_gate_run_due(in);
    inlet_deliver(in);
}

static struct slot *watcher_take(struct inlet *in, uint64_t sequence)
{
    struct slot *slot = NULL;
    (void)pthread_mutex_lock(&in->lock);
    while (in->watcher_head < in->watcher_count &&
           in->watchers[in->watcher_head].sequence < sequence)
        slot_release(in->watchers[in->watcher_head++].slot, SLOT_DURABLE);
    if (in->watcher_head < in->watcher_count && in->watchers[in->watcher_head].sequence == sequence)
        slot = in->watchers[in->watcher_head++].slot;
    if (in->watcher_head == in->watcher_count)
        in->watcher_head = in->watcher_count = 0;
    (void)pthread_mutex_unlock(&in->lock);
    return slot;
}

/* How far the reader may go. What is in the stream and has not arrived yet comes with its slot. What a
 * transform's stream got in this run is in memory as well: only the earlier run's part is read. */
static uint64_t reader_end(const struct inlet *in)
{
    return in->stage->role == ROLE_SINK ? in->arrived : in->backlog_end;
}

/* Caught up when nothing has arrived beyond the reader, under the lock that arrivals take. */
static void catch_up(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    if (reader_position(in->reader) >= reader_end(in)) {
        in->is_spilled = false;
        reader_free(in->reader);
        in->reader = NULL;
    } else {
        in->spill_from = reader_position(in->reader);
    }
    (void)pthread_mutex_unlock(&in->lock);
}

weir_status inlet_entry_read(struct inlet *in, struct block *block, uint64_t sequence,
                             weir_str bytes, struct entry *e)
{
    weir_status s;
    *e = (struct entry){.sequence = sequence};
    e->ev = codec_read(bytes, block, &in->stage->pipeline->backlog, &s);
    if (s == WEIR_E_RETRY)
        return s;
    e->slot = watcher_take(in, sequence);
    if (e->ev) {
        block_ref(block);
        return WEIR_OK;
    }
    log_write(WEIR_ERROR, in->stage->name, "record %llu of its buffer is no event: left out",
              (unsigned long long)sequence);
    slot_release(e->slot, SLOT_FILTERED);
    commit_ack(in->worker, in, sequence, 1, LEDGER_DROPPED);
    return WEIR_E_REJECT;
}

/* The next record before `end`. RETRY: it cannot be read or held now. */
static weir_status read_one(struct inlet *in, struct block *block, uint64_t end)
{
    weir_str bytes;
    uint64_t sequence = 0;
    weir_status s = reader_next(in->reader, &bytes, &sequence);
    if (s == WEIR_IDLE || (s == WEIR_OK && sequence >= end)) {
        reader_seek(in->reader, end);
        return WEIR_IDLE;
    }
    if (s != WEIR_OK)
        return s;
    struct entry e;
    s = inlet_entry_read(in, block, sequence, bytes, &e);
    if (s == WEIR_E_RETRY)
        reader_seek(in->reader, sequence);
    else if (s == WEIR_OK)
        inlet_ready(in, &in->ready, &e);
    return s == WEIR_E_REJECT ? WEIR_OK : s;
}

/* What arrived and was left where it is, or what is on disk only, as far as the buffer in memory has
 * room. */
void inlet_read_backlog(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    if (atomic_load_explicit(&in->ring_count, memory_order_relaxed)) {
        move_arrivals(in);
        (void)pthread_mutex_unlock(&in->lock);
        return;
    }
    bool is_spilled = in->is_spilled && !in->is_released;
    uint64_t from = in->spill_from, end = reader_end(in);
    (void)pthread_mutex_unlock(&in->lock);
    uint64_t synced = stream_next(in->stream);
    bool is_ahead =
        synced < end; /* durability: interval; what is answered is read after its sync */
    if (is_ahead)
        end = synced;
    if (!is_spilled)
        return;
    if (in->stage->role == ROLE_TRANSFORM && !budget_has_room(&in->stage->pipeline->inflow, 0)) {
        loop_timer_set(in->worker->loop, &in->read_timer, READ_AGAIN_NS);
        return;
    }
    if (!in->reader)
        in->reader = reader_new(in->stream, from);
    if (is_ahead && reader_position(in->reader) >= synced) {
        loop_timer_set(in->worker->loop, &in->read_timer, READ_AGAIN_NS);
        return;
    }
    struct block *block = block_new(in->worker);
    size_t limit = (size_t)in->batch->max_events;
    limit = limit < READ_AHEAD ? limit : READ_AHEAD;
    weir_status s = WEIR_OK;
    for (size_t i = 0; i < limit && s == WEIR_OK && (!i || inlet_has_ring_room(in, 1)); i++)
        s = read_one(in, block, end);
    block_unref(block);
    if (s == WEIR_IDLE)
        catch_up(in);
    if (s < WEIR_OK || (s == WEIR_IDLE && is_ahead))
        loop_timer_set(in->worker->loop, &in->read_timer, READ_AGAIN_NS);
}
