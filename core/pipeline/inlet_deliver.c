/* pipeline/inlet_deliver.c: batches on their way to a stage, and its answers. */
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/park.h"
#include "pipeline/trace.h"

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
    f->serial = ++in->flight_serial;
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

void inlet_flight_free(struct flight *f)
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

static size_t judge_flight(struct inlet *in, struct flight *f, struct inlet_tally *t)
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
        e->attempts -= f->is_short && s == WEIR_E_RETRY; /* it was none */
        t->done += s == WEIR_E_REJECT;
        t->failed += s == WEIR_E_RETRY;
        t->misconfigured += s == WEIR_E_CONFIG || s == WEIR_E_FATAL;
        if (s != WEIR_E_REJECT)
            t->why = m ? m->why : f->why;
        (void)inlet_judge(in, e, s, m ? m->why : f->why);
    }
    t->done += delivered;
    if (f->is_direct) {
        atomic_fetch_sub_explicit(&in->in_memory, delivered, memory_order_relaxed);
        worker_count(in->worker, LEDGER_DELIVERED, (int64_t)delivered);
    }
    return delivered;
}

/* What became of a batch says how many the sink can have at once. */
static void adapt(struct inlet *in, const struct flight *f, bool is_overloaded, int64_t now)
{
    if (!in->adaptive.max || !adaptive_note(&in->adaptive, f->begun_ns, now, is_overloaded))
        return;
    in->flights_max = adaptive_limit(&in->adaptive);
    inlet_flights_show(in);
}

static void flight_end(struct flight *f)
{
    struct inlet *in = f->inlet;
    f->batch->lane->busy--;
    if (f->is_abandoned) {
        inlet_flight_free(f);
        return;
    }
    struct inlet_tally tally = {0};
    size_t delivered = judge_flight(in, f, &tally);
    int64_t now = clock_mono(in->stage->pipeline->clock);
    metric_add(in->stage->m.delivered, delivered);
    metric_observe(in->stage->m.seconds, (double)(now - f->begun_ns) / 1e9);
    if (!f->is_short)
        adapt(in, f, tally.failed, now);
    if (!f->is_short || in->breaker.state != BREAKER_CLOSED) /* that is nobody's failure */
        inlet_note(in, &tally, now);
    inlet_ack_flush(in);
    inlet_flight_free(f);
    worker_again(in->worker);
}

static void on_done(struct loop_task *t)
{
    struct flight *f = t->user;
    struct inlet *in = f->inlet;
    if (inlet_is_elsewhere(in, t))
        return;
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
        if (!is_nested && (atomic_load(&in->ring_count) || atomic_load(&in->is_spilled) ||
                           in->breaker.state != BREAKER_CLOSED)) {
            (void)pthread_mutex_lock(&in->lock);
            inlet_post(in);
            (void)pthread_mutex_unlock(&in->lock);
        }
        return;
    }
    f->task = (struct loop_task){.fn = on_done, .user = f};
    loop_post(in->worker->loop, &f->task);
}

static void flight_send(struct flight *f, bool has_entries)
{
    struct inlet *in = f->inlet;
    struct batch *b = f->batch;
    struct lane *l = in->lane;
    const weir_component *c = in->stage->component;
    b->flight = f;
    b->lane = l;
    l->busy++;
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
    f->is_short = l->is_short;
    lane_leave(l);
    if (s == WEIR_PENDING) {
        b->is_kept = true;
        if (b->is_done)
            inlet_done(in, b, b->done_status, NULL);
        return;
    }
    inlet_done(in, b, f->is_short && s == WEIR_OK ? WEIR_E_RETRY : s, l->why[0] ? l->why : NULL);
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
    for (size_t i = 0; i < b->pub.count; i++) {
        bytes += b->events[i]->pub.body->len;
        if (b->events[i]->pub.key.len) /* it may have to stand in line */
            return false;
    }
    return b->pub.count == 1 ||
           (b->pub.count <= inlet_batch_max(in) && bytes <= inlet_batch_bytes(in));
}

static bool can_send_direct(const struct inlet *in, const struct worker *w, const struct batch *b)
{
    return w == in->worker && in->is_started && !in->is_delivering && !atomic_load(&in->is_held) &&
           !atomic_load_explicit(&in->ring_count, memory_order_relaxed) &&
           in->flights < in->flights_max && in->breaker.state == BREAKER_CLOSED &&
           !atomic_load_explicit(&in->hold_ns, memory_order_relaxed) &&
           2 * in->retry_count < inlet_ring_limit(in) && !in->batch->max_wait.ns &&
           in->stage->plan->delivery.rate_per_s <= 0 && fits(in, b);
}

bool inlet_deliver_direct(struct inlet *in, struct worker *w, struct batch *take)
{
    if (!can_send_direct(in, w, take))
        return false;
    send_direct(in, take);
    return true;
}

/* Where the next event comes from; NULL: there is none, or its key's line is too long. */
static struct ring *next_ring(struct inlet *in)
{
    if (in->released.count)
        return &in->released;
    if (!in->ready.count ||
        (in->ready.items[in->ready.head].ev->pub.key.len && !order_has_room(in)))
        return NULL;
    return &in->ready;
}

static void add_entry(struct flight *f, struct entry *e)
{
    if (!e->first_ns)
        e->first_ns = worker_now(f->inlet->worker);
    f->entries[f->batch->pub.count] = *e;
    batch_add(f->batch, e->ev);
}

static void fill_flight(struct flight *f, size_t n)
{
    struct inlet *in = f->inlet;
    const struct batch *b = f->batch;
    uint64_t bytes = 0, bytes_max = inlet_batch_bytes(in);
    struct ring *from;
    flight_entries(f, n);
    while (b->pub.count < n && (from = next_ring(in))) {
        size_t len = from->items[from->head].ev->pub.body->len;
        if (b->pub.count && bytes + len > bytes_max)
            break;
        struct entry e = ring_pop(from);
        inlet_ring_account(in, &e, -1);
        if (e.sequence == NO_SEQUENCE)
            atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
        if (e.ev->pub.key.len && !order_take(in, f->serial, &e))
            continue;
        bytes += len;
        add_entry(f, &e);
        for (struct line *l = e.line; l && b->pub.count < n && bytes < bytes_max &&
                                      order_next(in, l, bytes_max - bytes, &e);) {
            bytes += e.ev->pub.body->len;
            add_entry(f, &e);
        }
    }
    in->rate_tokens -= (double)b->pub.count;
}

/* max_wait: a batch that is not full waits for more, but no longer than that. */
static bool waits_for_more(struct inlet *in)
{
    if (!in->batch->max_wait.ns || in->ready.count + in->released.count >= inlet_batch_max(in) ||
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
    struct ring *from;
    while (b->pub.count < n && (from = next_ring(in))) {
        struct entry e = ring_pop(from);
        inlet_ring_account(in, &e, -1);
        if (!inlet_gate_resume(in, &e))
            continue;
        if (e.sequence == NO_SEQUENCE)
            e.slot = e.ev->slot; /* its copy may have come to the disk since */
        else if (!e.slot)
            e.slot = park_slot(in, e.sequence, e.ev);
        e.ev->slot = e.slot;
        batch_add(b, e.ev);
        block_unref(e.ev->block);
    }
    b->is_shared = false;
    transform_run(in->lane, b, true);
}

/* False: nothing may go now. */
static bool deliver_batch(struct inlet *in)
{
    if (waits_for_more(in))
        return false;
    size_t n = inlet_rate_room(in, inlet_is_probing(in) ? 1 : inlet_batch_max(in));
    if (!n)
        return false;
    struct flight *f = flight_new(in);
    f->batch = batch_with_block(in->worker, block_new(in->worker));
    block_unref(f->batch->block);
    fill_flight(f, n);
    if (f->batch->pub.count)
        flight_send(f, true);
    else
        inlet_flight_free(f); /* all stand in line */
    return true;
}

/* False: a backlog is worked off by turns, and this one is over. */
static bool deliver_inline(struct inlet *in)
{
    run_transform(in, (size_t)in->batch->max_events);
    if (in->reader)
        inlet_wake(in);
    return !in->reader;
}

static bool may_deliver(struct inlet *in)
{
    return in->flights < in->flights_max && !atomic_load(&in->is_held) && inlet_may_send(in) &&
           (inlet_has_retry_room(in) || inlet_is_probing(in));
}

void inlet_deliver(struct inlet *in)
{
    if (in->is_delivering || !in->is_started || atomic_load(&in->is_held) ||
        atomic_load_explicit(&in->stage->pipeline->is_stopping, memory_order_relaxed))
        return;
    in->is_delivering = true;
    inlet_trim(in);
    while (may_deliver(in)) {
        if (!in->ready.count) {
            inlet_read_backlog(in);
            inlet_gate_catch_up(in);
        }
        if (!next_ring(in) && inlet_is_probing(in))
            inlet_retry_first(in);
        if (!next_ring(in))
            break;
        if (in->stage->role == ROLE_TRANSFORM ? !deliver_inline(in) : !deliver_batch(in))
            break;
    }
    if (in->flights >= in->flights_max && (next_ring(in) || atomic_load(&in->is_spilled)) &&
        budget_has_room(&in->stage->pipeline->inflow, 0))
        adaptive_want(&in->adaptive);
    inlet_divert(in);
    in->is_delivering = false;
    inlet_ack_flush(in);
}
