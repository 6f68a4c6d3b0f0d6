/* pipeline/inlet_reload.c: how an inlet outlives the instance behind it, or ends without one. */
#include "pipeline/inlet_priv.h"
#include "pipeline/lane.h"

bool inlet_is_elsewhere(const struct inlet *in, struct loop_task *t)
{
    if (worker_current() == in->worker)
        return false;
    loop_post(in->worker->loop, t);
    return true;
}

struct inlet *inlet_ref(struct inlet *in)
{
    in->users++;
    return in;
}

bool inlet_is_of(const struct inlet *in, const struct stage *s)
{
    return in->stage == s;
}

void inlet_set_durable(struct inlet *in, bool is_durable)
{
    (void)pthread_mutex_lock(&in->lock);
    in->is_durable = is_durable;
    (void)pthread_mutex_unlock(&in->lock);
}

static void move_timer(struct inlet *in, struct loop_timer *t, struct loop *to)
{
    int64_t after = t->due_ns - clock_mono(in->stage->pipeline->clock);
    if (!loop_timer_is_set(t))
        return;
    loop_timer_cancel(in->worker->loop, t);
    loop_timer_set(to, t, after);
}

static void move_timers(struct inlet *in, struct loop *to)
{
    move_timer(in, &in->retry_timer, to);
    move_timer(in, &in->batch_timer, to);
    move_timer(in, &in->rate_timer, to);
    move_timer(in, &in->read_timer, to);
    move_timer(in, &in->redo_timer, to);
}

/* A new instance is tried at once, whatever became of the old one. The thread of one that stays may be
 * inside of a callback, so that its loop is left alone. What the journal's thread reads changes under
 * the lock that it takes; all else waits in the pause. */
void inlet_adopt(struct inlet *in, struct stage *s, struct lane *l)
{
    bool is_new = s != in->stage;
    if (is_new)
        loop_timer_cancel(in->worker->loop, &in->pause_timer);
    if (l->worker != in->worker) {
        inlet_ack_flush(in); /* into the unit of the worker that it leaves */
        move_timers(in, l->worker->loop);
    }
    (void)pthread_mutex_lock(&in->lock);
    in->stage = s;
    in->lane = l;
    in->worker = l->worker;
    in->buffer = s->plan->delivery.buffer.item;
    in->batch = s->plan->delivery.batch.item;
    in->retry = s->plan->delivery.retry.item;
    in->breaker.plan = s->plan->delivery.breaker.item;
    inlet_flights_begin(in);
    (void)pthread_mutex_unlock(&in->lock);
    if (is_new)
        inlet_pause_over(in);
}

void inlet_hold(struct inlet *in, bool is_held)
{
    atomic_store(&in->is_held, is_held);
}

uint64_t inlet_flying(const struct inlet *in)
{
    return atomic_load(&in->flying);
}

void inlet_release(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    in->is_released = true;
    (void)pthread_mutex_unlock(&in->lock);
}

static void drop_stored(struct inlet *in, struct ring *r)
{
    for (size_t n = r->count; n; n--) {
        struct entry e = ring_pop(r);
        if (!inlet_is_stored(in, &e)) {
            ring_push(r, &e);
            continue;
        }
        if (e.line)
            order_forget(in, &e);
        atomic_fetch_sub_explicit(&in->ring_count, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&in->ring_bytes, entry_bytes(&e), memory_order_relaxed);
        inlet_entry_abandon(in, &e);
    }
}

void inlet_let_go(struct inlet *in)
{
    (void)pthread_mutex_lock(&in->lock);
    order_let_go(in);
    drop_stored(in, &in->arrivals);
    drop_stored(in, &in->released);
    drop_stored(in, &in->ready);
    for (; in->watcher_head < in->watcher_count; in->watcher_head++)
        slot_release(in->watchers[in->watcher_head].slot, SLOT_DURABLE);
    (void)pthread_mutex_unlock(&in->lock);
    inlet_retry_let_go(in);
    inlet_deliver(in);
}

/* What is left in memory of an inlet that was abandoned is nobody's any more. */
bool inlet_is_quiet(const struct inlet *in)
{
    if (in->flights || atomic_load(&in->taken) || in->is_delivering)
        return false;
    return in->is_abandoned || (!atomic_load(&in->in_memory) && !atomic_load(&in->ring_count) &&
                                !in->retry_count && !in->order.line_count);
}
