/* pipeline/inlet_retry.c: what becomes of an event that a stage could not do: again after a backoff
 * with full jitter, or into the dead letters. */
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/dead.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/park.h"
#include "pipeline/trace.h"

enum { LOOK_AGAIN_NS = 50 * 1000 * 1000 };

static void heap_swap(struct inlet *in, size_t a, size_t b)
{
    struct entry e = in->retries[a];
    in->retries[a] = in->retries[b];
    in->retries[b] = e;
}

void inlet_retry_count(struct inlet *in)
{
    atomic_store_explicit(&in->retry_waiting, in->retry_count + in->order.held_count,
                          memory_order_relaxed);
}

static void heap_push(struct inlet *in, const struct entry *e)
{
    BUDGET_PUSH(in->budget, in->retries, in->retry_count, in->retry_cap) = *e;
    in->retry_bytes += entry_bytes(e);
    size_t i = in->retry_count - 1;
    while (i && in->retries[i].due_ns < in->retries[(i - 1) / 2].due_ns) {
        heap_swap(in, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
    inlet_retry_count(in);
}

static struct entry heap_pop(struct inlet *in)
{
    struct entry top = in->retries[0];
    in->retry_bytes -= entry_bytes(&top);
    in->retries[0] = in->retries[--in->retry_count];
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t k = 2 * i + 1; k <= 2 * i + 2; k++)
            if (k < in->retry_count && in->retries[k].due_ns < in->retries[least].due_ns)
                least = k;
        if (least == i)
            break;
        heap_swap(in, i, least);
        i = least;
    }
    inlet_retry_count(in);
    return top;
}

void inlet_retry_give_back(struct inlet *in)
{
    if (!in->retry_count)
        BUDGET_DROP(in->budget, in->retries, in->retry_count, in->retry_cap);
}

void inlet_retry_fini(struct inlet *in)
{
    while (in->retry_count) {
        struct entry e = heap_pop(in);
        inlet_entry_abandon(in, &e);
    }
    inlet_retry_give_back(in);
}

static void let_go(struct inlet *in, struct entry *e)
{
    if (e->line)
        order_forget(in, e);
    inlet_entry_abandon(in, e);
}

void inlet_retry_let_go(struct inlet *in)
{
    struct entry *kept = NULL;
    size_t count = 0, cap = 0;
    while (in->retry_count) {
        struct entry e = heap_pop(in);
        if (inlet_is_stored(in, &e))
            let_go(in, &e);
        else
            MEM_PUSH(kept, count, cap) = e;
    }
    for (size_t i = 0; i < count; i++)
        heap_push(in, &kept[i]);
    mem_free(kept);
}

static void arm(struct inlet *in)
{
    if (!in->retry_count)
        return;
    int64_t after = in->retries[0].due_ns - clock_mono(in->stage->pipeline->clock);
    loop_timer_set(in->worker->loop, &in->retry_timer, after > 0 ? after : 0);
}

void inlet_retry_first(struct inlet *in)
{
    if (!in->retry_count)
        return;
    struct entry e = heap_pop(in);
    inlet_ready(in, e.line ? &in->released : &in->ready, &e);
}

/* Full jitter: anywhere between nothing and the exponential bound, so that retries do not align. */
static int64_t backoff_ns(const struct plan_retry *r, uint32_t attempts)
{
    int64_t bound = r->backoff.ns;
    for (uint32_t i = 1; i < attempts && bound < r->backoff_max.ns; i++)
        bound *= 2;
    if (bound > r->backoff_max.ns)
        bound = r->backoff_max.ns;
    return bound > 0 ? (int64_t)(id_random() % (uint64_t)bound) + 1 : 1;
}

static bool is_exhausted(const struct inlet *in, const struct entry *e, int64_t now)
{
    if (in->stage->plan->delivery.on_failure == FAILURE_BLOCK)
        return false;
    return (in->retry->max_attempts && e->attempts >= (uint64_t)in->retry->max_attempts) ||
           (in->retry->max_age.ns && now - e->first_ns >= in->retry->max_age.ns);
}

/* False: the runner stops, and it does not wait. */
static bool retry_later(struct inlet *in, struct entry *e, weir_status s)
{
    int64_t wait = s == WEIR_E_RETRY || s == WEIR_PENDING ? backoff_ns(in->retry, e->attempts)
                                                          : in->retry->backoff_max.ns;
    e->due_ns = clock_mono(in->stage->pipeline->clock) + wait;
    int64_t hold = atomic_load_explicit(&in->hold_ns, memory_order_relaxed);
    if (e->due_ns < hold)
        e->due_ns = hold;
    if (in->is_abandoned || (in->is_released && e->sequence != NO_SEQUENCE)) {
        if (e->line)
            order_end(in, e);
        inlet_entry_abandon(in, e);
        return false;
    }
    metric_add(in->stage->m.retries, s != WEIR_PENDING);
    if (e->line && !order_retry(in, e))
        return true;
    heap_push(in, e);
    arm(in);
    return true;
}

static void drop(struct inlet *in, struct entry *e, const char *why)
{
    metric_add(in->stage->m.dropped, 1);
    trace_add(in->worker, in->stage, e->ev, TRACE_DROPPED, why);
    park_end(e->ev);
    inlet_entry_end(in, e, SLOT_FILTERED);
}

static void give_up(struct inlet *in, struct entry *e, const char *why)
{
    if (in->stage->plan->delivery.on_failure == FAILURE_DROP)
        drop(in, e, why);
    else
        dead_letter(in, e, why);
}

/* The breaker of a sink that is left alone has told why. */
static void tell_misconfigured(struct inlet *in, const char *why)
{
    if (in->breaker.state == BREAKER_CLOSED)
        stage_set_ready(in->stage, false, why);
}

/* Its key is that of another event whose fate is open: that is no failure, and has no end of its own. */
static bool wait_for_other(struct inlet *in, struct entry *e, const char *why)
{
    if (!e->ev->is_told)
        trace_add(in->worker, in->stage, e->ev, TRACE_RETRY, why);
    e->ev->is_told = 1;
    e->error = WEIR_E_RETRY;
    return retry_later(in, e, WEIR_PENDING);
}

/* CONFIG and FATAL are the user's to mend: the data is kept, the stage is not ready, and now and then
 * it is tried whether it works again. */
bool inlet_judge(struct inlet *in, struct entry *e, weir_status s, const char *why)
{
    int64_t now = worker_now(in->worker);
    if (s == WEIR_PENDING)
        return wait_for_other(in, e, why);
    if (!why || !*why)
        why = s == WEIR_E_REJECT ? "refused without a reason" : "failed without a reason";
    e->attempts++;
    e->error = s;
    if (!e->first_ns)
        e->first_ns = now;
    metric_add(in->stage->m.errors, 1);
    if (s == WEIR_E_CONFIG || s == WEIR_E_FATAL)
        tell_misconfigured(in, why);
    if (s != WEIR_E_REJECT && (s != WEIR_E_RETRY || !is_exhausted(in, e, now))) {
        trace_add(in->worker, in->stage, e->ev, TRACE_RETRY, why);
        return retry_later(in, e, s);
    }
    if (s == WEIR_E_REJECT && in->stage->plan->delivery.on_failure == FAILURE_BLOCK)
        return retry_later(in, e, WEIR_E_CONFIG);
    give_up(in, e, why);
    return false;
}

void inlet_status(struct inlet *in, char *why, size_t size)
{
    (void)pthread_mutex_lock(&in->stage->pipeline->lock);
    const char *status = in->stage->status;
    (void)snprintf(why, size, "%s", *status ? status : "all that the sink was sent failed");
    (void)pthread_mutex_unlock(&in->stage->pipeline->lock);
}

static void give_up_waiting(struct inlet *in, struct entry *e)
{
    char why[sizeof in->stage->status];
    inlet_status(in, why, sizeof why);
    give_up(in, e, why);
}

bool inlet_retry_pop(struct inlet *in, struct entry *e)
{
    if (!in->retry_count)
        return false;
    *e = heap_pop(in);
    return true;
}

/* A sink that is left alone: what failed is given up at its age, or waits until it is tried. */
static void wait_on(struct inlet *in, struct entry *e, int64_t now)
{
    int64_t wall = worker_now(in->worker), left = e->first_ns + in->retry->max_age.ns - wall;
    if (e->error == WEIR_E_RETRY && is_exhausted(in, e, wall)) {
        if (e->line)
            order_give_up(e);
        give_up_waiting(in, e);
        return;
    }
    e->due_ns = in->breaker.probe_ns > now ? in->breaker.probe_ns : now + LOOK_AGAIN_NS;
    if (e->error == WEIR_E_RETRY && in->retry->max_age.ns && e->due_ns > now + left)
        e->due_ns = now + (left > 0 ? left : 1);
    heap_push(in, e);
}

static void take_failed(struct inlet *in, struct ring *r, int64_t now)
{
    for (size_t n = r->count; n; n--) {
        struct entry e = ring_pop(r);
        if (!e.attempts) {
            ring_push(r, &e);
            continue;
        }
        atomic_fetch_sub_explicit(&in->ring_count, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&in->ring_bytes, entry_bytes(&e), memory_order_relaxed);
        wait_on(in, &e, now);
    }
}

void inlet_retry_wait(struct inlet *in)
{
    int64_t now = clock_mono(in->stage->pipeline->clock);
    take_failed(in, &in->ready, now);
    take_failed(in, &in->released, now);
    arm(in);
}

void inlet_retry_again(struct inlet *in)
{
    size_t n = in->retry_count;
    while (n--)
        in->retries[n].due_ns = 0; /* still a heap */
    arm(in);
}

void inlet_on_retry(struct loop_timer *t)
{
    struct inlet *in = t->user;
    int64_t now = clock_mono(in->stage->pipeline->clock);
    while (in->retry_count && in->retries[0].due_ns <= now) {
        if (in->breaker.state == BREAKER_CLOSED) {
            inlet_retry_first(in);
            continue;
        }
        struct entry e = heap_pop(in);
        wait_on(in, &e, now);
    }
    arm(in);
    inlet_deliver(in);
}

struct failing { /* on its way to the inlet's worker */
    struct loop_task task;
    struct inlet *inlet;
    struct event *ev;
    weir_status status;
    char *why;
};

static void fail_here(struct inlet *in, struct event *ev, weir_status s, const char *why)
{
    struct entry e = {.ev = ev, .slot = ev->slot, .sequence = NO_SEQUENCE};
    e.attempts = ev->attempts;
    e.first_ns = ev->first_failed_ns;
    e.line = ev->line;
    struct line *line = e.line;
    block_ref(ev->block);
    bool waits = inlet_judge(in, &e, s, why);
    ev->attempts = e.attempts;
    ev->first_failed_ns = e.first_ns;
    if (waits && in->stage->role == ROLE_TRANSFORM && in->is_durable) {
        park_event(in->worker, in, ev);
        inlet_gate_park(in, line);
    }
    block_unref(ev->block);
}

static void on_failing(struct loop_task *t)
{
    struct failing *f = t->user;
    if (inlet_is_elsewhere(f->inlet, t))
        return;
    fail_here(f->inlet, f->ev, f->status, f->why);
    mem_free(f->why);
    mem_free(f);
}

/* The next attempt gets a shell of its own: this one is marked, and others may read it still. */
void inlet_fail(struct inlet *in, struct worker *w, struct event *ev, weir_status s,
                const char *why)
{
    struct event *own = event_own(block_new(w), ev);
    if (in->stage->role == ROLE_TRANSFORM)
        inlet_gate_line(in, ev);
    event_move(ev, own);
    atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
    park_move(ev, own);
    if (w == in->worker) {
        fail_here(in, own, s, why);
        return;
    }
    struct failing *f = MEM_NEW(struct failing);
    *f = (struct failing){.inlet = in, .ev = own, .status = s, .why = why ? mem_text(why) : NULL};
    f->task = (struct loop_task){.fn = on_failing, .user = f};
    park_then(own, in->worker->loop, &f->task);
}
