/* pipeline/inlet.c: what waits in front of a stage: buffer, batches under way, answers. */
#include "pipeline/inlet.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/codec.h"
#include "pipeline/commit.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/park.h"
#include "pipeline/trace.h"

enum {
    FLIGHTS_DEFAULT = 4,
    READ_AHEAD = 2048,
    RING_BYTES_MAX =
        16 << 20, /* of a stage's events in memory; of a durable buffer the rest is on disk */
    RING_EVENTS_MAX = 1 << 14,
    RETRIES_MAX = 2048, /* a stage that fails is not given more than this to fail with */
    BUDGET_SHARE = 8,   /* of all payload memory, at most this part in front of one stage on disk */
    READ_AGAIN_NS = 20 * 1000 * 1000,
};

void ring_push(struct ring *r, const struct entry *e)
{
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        struct entry *items = mem_grow(NULL, cap * sizeof *items);
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
    mem_free(r->items);
    *r = (struct ring){0};
}

static void on_task(struct loop_task *t);
static void on_redo(struct loop_timer *t);

static void on_deliver_timer(struct loop_timer *t)
{
    inlet_deliver(t->user);
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
    in->task.fn = on_task;
    in->retry_timer.fn = inlet_on_retry;
    in->batch_timer.fn = in->rate_timer.fn = in->read_timer.fn = on_deliver_timer;
    in->redo_timer.fn = on_redo;
    in->task.user = in->retry_timer.user = in->batch_timer.user = in->rate_timer.user = in;
    in->redo_timer.user = in->read_timer.user = in;
    in->flights_max = s->plan->delivery.concurrency > 0 ? (size_t)s->plan->delivery.concurrency
                      : stage_has(s, WEIR_BLOCKING)     ? 1
                                                        : FLIGHTS_DEFAULT;
    (void)pthread_mutex_init(&in->lock, NULL);
    return in;
}

/* Every stage has a stream: a transform for what it keeps or cannot do now, a sink with its buffer in
 * memory for dead letters that come back. */
int inlet_open(struct inlet *in, struct error *e)
{
    char *name = mem_format("in/%s", in->stage->name);
    in->stream = stream_open(in->stage->pipeline->journal, name, 0, e);
    mem_free(name);
    if (!in->stream)
        return -1;
    in->spill_from = stream_first_live(in->stream);
    in->backlog_end = in->arrived = stream_next(in->stream);
    in->is_spilled = stream_live(in->stream) > 0;
    if (in->is_spilled)
        log_write(WEIR_INFO, in->stage->name, "%llu events of an earlier run wait on disk",
                  (unsigned long long)stream_live(in->stream));
    return 0;
}

/* The disk has it, or its source is told that nobody has. */
void inlet_entry_abandon(struct inlet *in, struct entry *e)
{
    if (in->stage->role == ROLE_TRANSFORM && e->ev->park)
        park_abandon(e->ev);
    else if (e->sequence != NO_SEQUENCE)
        slot_release(e->slot, SLOT_DURABLE);
    else
        slot_fail(e->slot, WEIR_E_RETRY, in->stage->name, "the runner stopped", false);
    block_unref(e->ev->block);
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
    in->is_started = false;
    (void)pthread_mutex_lock(&in->lock);
    in->is_abandoned = true;
    (void)pthread_mutex_unlock(&in->lock);
    drop_ring(in, &in->arrivals);
    drop_ring(in, &in->ready);
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

static void flight_free(struct flight *f);

void inlet_free(struct inlet *in)
{
    if (!in)
        return;
    loop_timer_cancel(in->worker->loop, &in->retry_timer);
    loop_timer_cancel(in->worker->loop, &in->batch_timer);
    loop_timer_cancel(in->worker->loop, &in->rate_timer);
    loop_timer_cancel(in->worker->loop, &in->redo_timer);
    loop_timer_cancel(in->worker->loop, &in->read_timer);
    mem_free(in->redo);
    while (in->active)
        flight_free(in->active);
    mem_free(in->watchers);
    reader_free(in->reader);
    while (in->free_flights) {
        struct flight *next = in->free_flights->next;
        mem_free(in->free_flights->entries);
        mem_free(in->free_flights);
        in->free_flights = next;
    }
    (void)pthread_mutex_destroy(&in->lock);
    mem_free(in);
}

struct stream *inlet_stream(const struct inlet *in)
{
    return in->stream;
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

/* Under the lock. */
static void post(struct inlet *in)
{
    if (in->is_posted)
        return;
    in->is_posted = true;
    loop_post(in->worker->loop, &in->task);
}

void inlet_wake(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    post(in);
    (void)pthread_mutex_unlock(&in->lock);
}

/* Something arrived. A worker tells another thread when its round ends: woken in the middle it would
 * find little, and wait for the lock. Under the lock. */
static void tell(struct inlet *in)
{
    struct worker *w = worker_current();
    if (in->is_posted)
        return;
    if (!w || w == in->worker) {
        post(in);
        return;
    }
    for (size_t i = 0; i < w->to_wake_count; i++)
        if (w->to_wake[i] == in)
            return;
    MEM_PUSH(w->to_wake, w->to_wake_count, w->to_wake_cap) = in;
    worker_again(w);
}

void inlet_start(struct inlet *in)
{
    in->is_started = true;
    inlet_deliver(in);
}

/* A buffer in memory has the file's limits; of one on disk a part is kept in memory as well. */
/* What is on disk need not be in memory as well: a stage that is down may not take it from the others. */
static uint64_t memory_share(const struct inlet *in)
{
    uint64_t share = in->stage->pipeline->budget.limit_bytes / BUDGET_SHARE;
    return share < RING_BYTES_MAX ? share : RING_BYTES_MAX;
}

/* How many of those that failed may wait before no more are tried. */
static bool has_retry_room(const struct inlet *in)
{
    uint64_t limit = (uint64_t)in->buffer->max_events;
    limit = !limit || limit / 2 > RETRIES_MAX ? RETRIES_MAX : limit / 2 + 1;
    return in->retry_count < limit && in->retry_bytes < memory_share(in);
}

static uint64_t ring_limit(const struct inlet *in)
{
    uint64_t limit = (uint64_t)in->buffer->max_events;
    return !limit || (in->is_durable && limit > RING_EVENTS_MAX) ? RING_EVENTS_MAX : limit;
}

static bool has_ring_room(const struct inlet *in, size_t n)
{
    uint64_t count = atomic_load_explicit(&in->ring_count, memory_order_relaxed) +
                     atomic_load_explicit(&in->retry_waiting, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&in->ring_bytes, memory_order_relaxed);
    uint64_t bytes_limit = in->buffer->max_bytes.bytes;
    if (in->is_durable && bytes_limit > memory_share(in))
        bytes_limit = memory_share(in);
    return count + n <= ring_limit(in) && bytes < bytes_limit;
}

/* How many events a buffer on disk may hold: the file's number, or its bytes by the mean size of what
 * came in this run. */
static uint64_t disk_limit(const struct inlet *in)
{
    uint64_t limit = in->buffer->max_events ? (uint64_t)in->buffer->max_events : UINT64_MAX;
    uint64_t came = atomic_load_explicit(&in->came_count, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&in->came_bytes, memory_order_relaxed);
    uint64_t by_bytes =
        came && bytes >= came ? in->buffer->max_bytes.bytes / (bytes / came) : limit;
    return by_bytes < limit ? by_bytes : limit;
}

static bool is_disk_full(const struct inlet *in)
{
    return stream_live(in->stream) >= disk_limit(in);
}

static void ring_account(struct inlet *in, const struct entry *e, int sign)
{
    uint64_t n = (uint64_t)(int64_t)sign;
    atomic_fetch_add_explicit(&in->ring_count, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->ring_bytes, n * e->ev->pub.body->len, memory_order_relaxed);
    if (e->sequence == NO_SEQUENCE)
        atomic_fetch_add_explicit(&in->in_memory, n, memory_order_relaxed);
}

static void watch(struct inlet *in, uint64_t sequence, struct slot *slot)
{
    if (in->watcher_count == in->watcher_cap && in->watcher_head) {
        in->watcher_count -= in->watcher_head;
        memmove(in->watchers, in->watchers + in->watcher_head,
                in->watcher_count * sizeof *in->watchers);
        in->watcher_head = 0;
    }
    MEM_PUSH(in->watchers, in->watcher_count, in->watcher_cap) = (struct watcher){sequence, slot};
}

void inlet_arrive(struct inlet *in, struct event *ev, struct slot *slot, uint64_t sequence)
{
    struct entry e = {.ev = ev, .slot = slot, .sequence = sequence};
    atomic_fetch_add_explicit(&in->came_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->came_bytes, ev->pub.body->len + 128, memory_order_relaxed);
    (void)pthread_mutex_lock(&in->lock);
    in->arrived = sequence + 1;
    if (in->is_abandoned) {
        slot_release(slot, SLOT_DURABLE);
    } else if (in->stage->role == ROLE_SINK && (in->is_spilled || !has_ring_room(in, 1))) {
        if (!in->is_spilled)
            in->spill_from = sequence;
        in->is_spilled = true;
        if (slot)
            watch(in, sequence, slot);
    } else {
        block_ref(ev->block);
        ring_push(&in->arrivals, &e);
        ring_account(in, &e, 1);
    }
    tell(in);
    (void)pthread_mutex_unlock(&in->lock);
}

static struct flight *flight_new(struct inlet *in)
{
    struct flight *f = in->free_flights;
    if (f)
        in->free_flights = f->next;
    else
        f = MEM_NEW(struct flight);
    struct entry *entries = f->entries;
    size_t cap = f->cap;
    *f = (struct flight){.inlet = in, .entries = entries, .cap = cap};
    f->begun_ns = clock_mono(in->stage->pipeline->clock);
    f->next = in->active;
    f->link = &in->active;
    if (in->active)
        in->active->link = &f->next;
    in->active = f;
    in->flights++;
    atomic_fetch_add_explicit(&in->flying, 1, memory_order_relaxed);
    return f;
}

static void flight_entries(struct flight *f, size_t n)
{
    if (f->cap >= n)
        return;
    f->entries = mem_grow(f->entries, n * sizeof *f->entries);
    f->cap = n;
}

static void flight_send(struct flight *f, bool has_entries)
{
    struct inlet *in = f->inlet;
    struct batch *b = f->batch;
    struct lane *l = in->lane;
    const weir_component *c = in->stage->component;
    b->flight = f;
    b->lane = l;
    if (!has_entries) { /* fresh: the entries are what the batch says */
        flight_entries(f, b->pub.count);
        for (size_t i = 0; i < b->pub.count; i++) {
            f->entries[i] = (struct entry){.ev = b->events[i], .sequence = NO_SEQUENCE};
            f->entries[i].slot = b->events[i]->slot;
        }
    }
    metric_add(in->stage->m.in, b->pub.count);
    lane_enter(l, b, NULL);
    weir_status s = c->write(in->stage->self, &l->host, &b->pub);
    bool is_short = l->is_short;
    lane_leave(l);
    if (s == WEIR_PENDING) {
        b->is_kept = true;
        if (b->is_done)
            inlet_done(in, b, b->done_status, NULL);
        return;
    }
    inlet_done(in, b, is_short && s == WEIR_OK ? WEIR_E_RETRY : s, l->why[0] ? l->why : NULL);
}

/* Straight from a worker's batch to the sink, when nothing waits before it. */
static void send_direct(struct inlet *in, struct batch *take)
{
    struct flight *f = flight_new(in);
    f->batch = take;
    f->is_direct = true;
    atomic_fetch_add_explicit(&in->in_memory, take->pub.count, memory_order_relaxed);
    flight_send(f, false);
}

static bool fits(const struct inlet *in, const struct batch *b)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < b->pub.count; i++)
        bytes += b->events[i]->pub.body->len;
    return b->pub.count == 1 ||
           (b->pub.count <= (size_t)in->batch->max_events && bytes <= in->batch->max_bytes.bytes);
}

static bool can_send_direct(const struct inlet *in, const struct worker *w, const struct batch *b)
{
    return w == in->worker && in->is_started && !in->is_delivering &&
           !atomic_load_explicit(&in->ring_count, memory_order_relaxed) &&
           in->flights < in->flights_max && 2 * in->retry_count < ring_limit(in) &&
           !in->batch->max_wait.ns && in->stage->plan->delivery.rate <= 0 && fits(in, b);
}

static void drop(struct inlet *in, struct worker *w, struct entry *e)
{
    metric_add(in->stage->m.dropped, 1);
    worker_count(w, LEDGER_DROPPED, 1);
    trace_add(w, in->stage, e->ev, TRACE_DROPPED, "the buffer is full");
    inlet_entry_end(in, e, SLOT_FILTERED);
}

/* Of a buffer in memory, by any worker. Under the lock, which a dead letter is made without. */
static void let_oldest_go(struct inlet *in, struct worker *w)
{
    struct entry e = ring_pop(&in->arrivals);
    ring_account(in, &e, -1);
    (void)pthread_mutex_unlock(&in->lock);
    if (in->buffer->when_full == FULL_DEAD_LETTER) {
        inlet_fail(in, w, e.ev, WEIR_E_REJECT, "the buffer is full");
        block_unref(e.ev->block);
    } else {
        atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
        drop(in, w, &e);
    }
    (void)pthread_mutex_lock(&in->lock);
}

/* A memory buffer takes what comes even when it is full under `block`: who feeds it pauses, and what
 * was under way then is bounded by what sources may have open. */
void inlet_push(struct inlet *in, struct worker *w, struct batch *take)
{
    if (can_send_direct(in, w, take)) {
        send_direct(in, take);
        return;
    }
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
        ring_account(in, &e, 1);
        if (in->buffer->when_full != FULL_BLOCK && !has_ring_room(in, 0))
            let_oldest_go(in, w);
    }
    tell(in);
    (void)pthread_mutex_unlock(&in->lock);
    batch_free(take);
}

static void take_arrivals(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    in->is_posted = false;
    if (!in->ready.count) {
        struct ring empty = in->ready;
        empty.head = 0;
        in->ready = in->arrivals;
        in->arrivals = empty;
    }
    while (in->arrivals.count) {
        struct entry e = ring_pop(&in->arrivals);
        ring_push(&in->ready, &e);
    }
    (void)pthread_mutex_unlock(&in->lock);
}

static void on_task(struct loop_task *t)
{
    struct inlet *in = t->user;
    take_arrivals(in);
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

/* The entry of one record; false: no memory now. */
static bool entry_from_record(struct inlet *in, struct block *block, uint64_t sequence,
                              weir_str bytes)
{
    weir_status s;
    struct entry e = {.sequence = sequence};
    e.ev = codec_read(bytes, block, &in->stage->pipeline->budget, &s);
    if (s == WEIR_E_RETRY)
        return false;
    e.slot = watcher_take(in, sequence);
    if (!e.ev) {
        log_write(WEIR_ERROR, in->stage->name, "record %llu of its buffer is no event: left out",
                  (unsigned long long)sequence);
        slot_release(e.slot, SLOT_FILTERED);
        commit_ack(in->worker, in->stream, sequence, 1);
        return true;
    }
    block_ref(block);
    ring_push(&in->ready, &e);
    ring_account(in, &e, 1);
    return true;
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
    if (s != WEIR_OK || entry_from_record(in, block, sequence, bytes))
        return s;
    reader_seek(in->reader, sequence);
    return WEIR_E_RETRY;
}

/* What is on disk only, as far as the buffer in memory has room. */
static void read_backlog(struct inlet *in)
{
    if (atomic_load_explicit(&in->ring_count, memory_order_relaxed))
        return;
    (void)pthread_mutex_lock(&in->lock);
    bool is_spilled = in->is_spilled;
    uint64_t from = in->spill_from, end = reader_end(in);
    (void)pthread_mutex_unlock(&in->lock);
    if (!is_spilled)
        return;
    if (in->stage->role == ROLE_TRANSFORM && budget_is_tight(&in->stage->pipeline->budget)) {
        loop_timer_set(in->worker->loop, &in->read_timer, READ_AGAIN_NS);
        return;
    }
    if (!in->reader)
        in->reader = reader_new(in->stream, from);
    struct block *block = block_new(in->worker);
    size_t limit = (size_t)in->batch->max_events;
    limit = limit < READ_AHEAD ? limit : READ_AHEAD;
    weir_status s = WEIR_OK;
    for (size_t i = 0; i < limit && s == WEIR_OK; i++)
        s = read_one(in, block, end);
    block_unref(block);
    if (s == WEIR_IDLE)
        catch_up(in);
    else if (s != WEIR_OK)
        loop_timer_set(in->worker->loop, &in->read_timer, READ_AGAIN_NS);
}

/* A token bucket of one second: 0 when the next batch has to wait. */
static size_t rate_room(struct inlet *in, size_t wanted)
{
    double rate = in->stage->plan->delivery.rate;
    if (rate <= 0)
        return wanted;
    int64_t now = clock_mono(in->stage->pipeline->clock);
    in->rate_tokens += (double)(now - in->rate_ns) / 1e9 * rate;
    in->rate_ns = now;
    if (in->rate_tokens > rate)
        in->rate_tokens = rate > 1 ? rate : 1;
    if (in->rate_tokens < 1) {
        loop_timer_set(in->worker->loop, &in->rate_timer,
                       (int64_t)((1 - in->rate_tokens) / rate * 1e9) + 1000);
        return 0;
    }
    size_t room = (size_t)in->rate_tokens;
    return room < wanted ? room : wanted;
}

static void fill_flight(struct flight *f, size_t n)
{
    struct inlet *in = f->inlet;
    struct batch *b = f->batch;
    uint64_t bytes = 0;
    flight_entries(f, n);
    while (b->pub.count < n && in->ready.count) {
        const struct entry *next = &in->ready.items[in->ready.head];
        bytes += next->ev->pub.body->len;
        if (b->pub.count && bytes > in->batch->max_bytes.bytes)
            break;
        struct entry e = ring_pop(&in->ready);
        ring_account(in, &e, -1);
        if (e.sequence == NO_SEQUENCE)
            atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
        if (!e.first_ns)
            e.first_ns = worker_now(in->worker);
        f->entries[b->pub.count] = e;
        batch_add(b, e.ev);
    }
    in->rate_tokens -= (double)b->pub.count;
}

/* max_wait: a batch that is not full waits for more, but no longer than that. */
static bool waits_for_more(struct inlet *in)
{
    if (!in->batch->max_wait.ns || in->ready.count >= (size_t)in->batch->max_events ||
        atomic_load(&in->stage->pipeline->is_draining))
        return false;
    if (loop_timer_is_set(&in->batch_timer))
        return true;
    if (in->batch_timer.due_ns && in->batch_timer.due_ns <= loop_now(in->worker->loop)) {
        in->batch_timer.due_ns = 0;
        return false;
    }
    loop_timer_set(in->worker->loop, &in->batch_timer, in->batch->max_wait.ns);
    return true;
}

static void run_transform(struct inlet *in, size_t n)
{
    struct batch *b = batch_with_block(in->worker, block_new(in->worker));
    block_unref(b->block);
    while (b->pub.count < n && in->ready.count) {
        struct entry e = ring_pop(&in->ready);
        ring_account(in, &e, -1);
        if (e.sequence != NO_SEQUENCE && !e.slot)
            e.slot = park_slot(in, e.sequence);
        e.ev->slot = e.slot;
        batch_add(b, e.ev);
        block_unref(e.ev->block);
    }
    b->is_shared = false;
    transform_run(in->lane, b);
}

enum { TRIM_EVERY_MS = 250 }; /* acknowledgements show in the stream within a tenth of a second */

/* Of a buffer on disk, on its own worker: the oldest that are not under way. */
static void trim_disk(struct inlet *in)
{
    int64_t now = loop_now(in->worker->loop);
    uint64_t live = stream_live(in->stream), limit = disk_limit(in);
    if (!in->is_durable || in->stage->role != ROLE_SINK || in->buffer->when_full == FULL_BLOCK ||
        live <= limit)
        return;
    if (now < in->trim_after_ns) { /* nothing else may come that would look again */
        if (!loop_timer_is_set(&in->read_timer))
            loop_timer_set(in->worker->loop, &in->read_timer, in->trim_after_ns - now);
        return;
    }
    in->trim_after_ns = now + TRIM_EVERY_MS * INT64_C(1000000);
    for (uint64_t n = live - limit; n; n--) {
        if (!in->ready.count)
            read_backlog(in);
        if (!in->ready.count)
            break;
        struct entry e = ring_pop(&in->ready);
        ring_account(in, &e, -1);
        if (in->buffer->when_full == FULL_DEAD_LETTER)
            inlet_judge(in, &e, WEIR_E_REJECT, "the buffer is full");
        else
            drop(in, in->worker, &e);
    }
    inlet_ack_flush(in);
}

void inlet_deliver(struct inlet *in)
{
    if (in->is_delivering || !in->is_started ||
        atomic_load_explicit(&in->stage->pipeline->is_stopping, memory_order_relaxed))
        return;
    in->is_delivering = true;
    trim_disk(in);
    while (in->flights < in->flights_max && has_retry_room(in)) {
        if (!in->ready.count)
            read_backlog(in);
        if (!in->ready.count)
            break;
        if (in->stage->role == ROLE_TRANSFORM) {
            run_transform(in, (size_t)in->batch->max_events);
            if (!in->reader)
                continue;
            inlet_wake(in); /* a backlog is worked off by turns */
            break;
        }
        if (waits_for_more(in))
            break;
        size_t n = rate_room(in, (size_t)in->batch->max_events);
        if (!n)
            break;
        struct flight *f = flight_new(in);
        f->batch = batch_with_block(in->worker, block_new(in->worker));
        block_unref(f->batch->block);
        fill_flight(f, n);
        flight_send(f, true);
    }
    in->is_delivering = false;
    inlet_ack_flush(in);
}

void inlet_ack(struct inlet *in, uint64_t sequence)
{
    if (in->ack_count && (uint64_t)(in->ack_first + in->ack_count) == sequence) {
        in->ack_count++;
        return;
    }
    inlet_ack_flush(in);
    in->ack_first = (int64_t)sequence;
    in->ack_count = 1;
}

void inlet_ack_flush(struct inlet *in)
{
    if (in->ack_count)
        commit_ack(in->worker, in->stream, (uint64_t)in->ack_first, (uint64_t)in->ack_count);
    in->ack_count = 0;
}

/* The branch ends here. */
void inlet_entry_end(struct inlet *in, struct entry *e, uint32_t flag)
{
    if (e->sequence != NO_SEQUENCE && in->stage->role == ROLE_SINK)
        inlet_ack(in, e->sequence);
    else if (e->sequence == NO_SEQUENCE)
        atomic_fetch_sub_explicit(&in->in_memory, 1, memory_order_relaxed);
    slot_release(e->slot, flag);
    block_unref(e->ev->block);
}

static void flight_free(struct flight *f)
{
    struct inlet *in = f->inlet;
    if (f->marks)
        for (size_t i = 0; i < f->batch->pub.count; i++)
            mem_free(f->marks[i].why);
    mem_free(f->marks);
    mem_free(f->why);
    batch_free(f->batch);
    *f->link = f->next;
    if (f->next)
        f->next->link = f->link;
    f->next = in->free_flights;
    in->free_flights = f;
    in->flights--;
    atomic_fetch_sub_explicit(&in->flying, 1, memory_order_relaxed);
}

static void entry_delivered(struct inlet *in, const struct flight *f, struct entry *e)
{
    if (!f->is_direct) {
        inlet_entry_end(in, e, SLOT_DELIVERED);
        return;
    }
    slot_release(e->slot, SLOT_DELIVERED);
}

static size_t judge_flight(struct inlet *in, struct flight *f)
{
    size_t delivered = 0;
    bool is_traced = in->stage->pipeline->trace != NULL;
    in->worker->now_wall_ns = clock_wall(in->stage->pipeline->clock);
    for (size_t i = 0; i < f->batch->pub.count; i++) {
        const struct mark *m = f->marks && f->marks[i].is_set ? &f->marks[i] : NULL;
        weir_status s = m ? m->status : f->status;
        struct entry *e = &f->entries[i];
        if (s == WEIR_OK || s == WEIR_DROP) {
            if (is_traced)
                trace_add(in->worker, in->stage, e->ev, TRACE_DELIVERED, NULL);
            entry_delivered(in, f, e);
            delivered++;
            continue;
        }
        if (f->is_direct)
            block_ref(e->ev->block);
        (void)inlet_judge(in, e, s, m ? m->why : f->why);
    }
    if (f->is_direct)
        atomic_fetch_sub_explicit(&in->in_memory, delivered, memory_order_relaxed);
    return delivered;
}

static void flight_end(struct flight *f)
{
    struct inlet *in = f->inlet;
    if (f->is_abandoned) {
        flight_free(f);
        return;
    }
    size_t delivered = judge_flight(in, f);
    metric_add(in->stage->m.delivered, delivered);
    worker_count(in->worker, LEDGER_DELIVERED, (int64_t)delivered);
    if (delivered && !atomic_load_explicit(&in->stage->is_ready, memory_order_relaxed))
        stage_set_ready(in->stage, true, NULL);
    metric_observe(in->stage->m.seconds,
                   (double)(clock_mono(in->stage->pipeline->clock) - f->begun_ns) / 1e9);
    inlet_ack_flush(in);
    flight_free(f);
    worker_again(in->worker);
}

static void on_done(struct loop_task *t)
{
    struct flight *f = t->user;
    struct inlet *in = f->inlet;
    flight_end(f);
    inlet_deliver(in);
}

void inlet_mark(struct inlet *in, struct batch *b, size_t i, weir_status s, const char *why)
{
    struct flight *f = b->flight;
    (void)pthread_mutex_lock(&in->lock);
    if (!f->marks)
        f->marks = mem_new(b->pub.count * sizeof *f->marks);
    if (i < b->pub.count && !f->marks[i].is_set)
        f->marks[i] = (struct mark){s, why ? mem_text(why) : NULL, true};
    (void)pthread_mutex_unlock(&in->lock);
}

/* From any thread; on the inlet's own and outside of its delivery loop it ends at once. */
void inlet_done(struct inlet *in, struct batch *b, weir_status s, const char *why)
{
    struct flight *f = b->flight;
    f->status = s;
    f->why = why ? mem_text(why) : NULL;
    if (worker_current() == in->worker) {
        bool is_nested = in->is_delivering;
        flight_end(f);
        if (!is_nested && (atomic_load(&in->ring_count) || atomic_load(&in->is_spilled))) {
            (void)pthread_mutex_lock(&in->lock);
            post(in);
            (void)pthread_mutex_unlock(&in->lock);
        }
        return;
    }
    f->task = (struct loop_task){.fn = on_done, .user = f};
    loop_post(in->worker->loop, &f->task);
}

/* A transform's record: what was made of it is safe, or it has to be done again. */
void inlet_record_ended(struct inlet *in, uint64_t sequence, bool is_to_be_retried)
{
    atomic_fetch_sub_explicit(&in->taken, 1, memory_order_relaxed);
    if (!is_to_be_retried) {
        commit_ack(in->worker, in->stream, sequence, 1);
        return;
    }
    MEM_PUSH(in->redo, in->redo_count, in->redo_cap) = sequence;
    if (!loop_timer_is_set(&in->redo_timer))
        loop_timer_set(in->worker->loop, &in->redo_timer, in->retry->backoff.ns);
}

static void on_redo(struct loop_timer *t)
{
    struct inlet *in = t->user;
    if (in->is_abandoned)
        return; /* what is on disk stays there */
    struct block *block = block_new(in->worker);
    struct buf bytes = {0};
    while (in->redo_count) {
        uint64_t sequence = in->redo[in->redo_count - 1];
        bytes.len = 0;
        weir_status s = stream_read(in->stream, sequence, &bytes);
        if (s == WEIR_E_RETRY ||
            (s == WEIR_OK && !entry_from_record(in, block, sequence, buf_str(&bytes)))) {
            loop_timer_set(in->worker->loop, &in->redo_timer, in->retry->backoff.ns);
            break;
        }
        in->redo_count--;
    }
    block_unref(block);
    buf_fini(&bytes);
    inlet_deliver(in);
}

bool inlet_is_full(const struct inlet *in)
{
    if (in->stage->role == ROLE_TRANSFORM)
        return atomic_load_explicit(&in->retry_waiting, memory_order_relaxed) >= RING_EVENTS_MAX;
    if (in->buffer->when_full != FULL_BLOCK)
        return false;
    if (in->is_durable)
        return is_disk_full(in);
    return !has_ring_room(in, 1) ||
           atomic_load_explicit(&in->retry_waiting, memory_order_relaxed) >= RING_EVENTS_MAX;
}

bool inlet_is_idle(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    bool is_idle = !in->arrivals.count && !in->is_spilled;
    (void)pthread_mutex_unlock(&in->lock);
    return is_idle && !atomic_load(&in->ring_count) && !atomic_load(&in->flying);
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
