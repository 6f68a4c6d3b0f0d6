/* pipeline/inlet_pause.c: sinks that are left alone for a while: because the breaker opened, or because
 * they asked for it (Retry-After). What waits for them keeps its attempts. */
#include <stdio.h>

#include "base/log.h"
#include "pipeline/inlet_priv.h"

enum { HOLD_MAX_S = 3600, WHY_MAX = 256 };

void inlet_pause(struct inlet *in, int64_t after_ns)
{
    const int64_t max = HOLD_MAX_S * INT64_C(1000000000);
    int64_t until = clock_mono(in->stage->pipeline->clock) + (after_ns < max ? after_ns : max);
    if (after_ns > 0 && until > atomic_load_explicit(&in->hold_ns, memory_order_relaxed))
        atomic_store_explicit(&in->hold_ns, until, memory_order_relaxed);
}

/* False until `until`. */
static bool pause_until(struct inlet *in, int64_t now, int64_t until)
{
    atomic_store_explicit(&in->is_paused, true, memory_order_relaxed);
    loop_timer_set(in->worker->loop, &in->pause_timer, until - now);
    return false;
}

static void show_state(struct inlet *in)
{
    metric_set(in->stage->m.breaker, in->breaker.state);
}

bool inlet_may_send(struct inlet *in)
{
    int64_t hold = atomic_load_explicit(&in->hold_ns, memory_order_relaxed);
    if (in->stage->role != ROLE_SINK || (in->breaker.state == BREAKER_CLOSED && !hold))
        return true;
    int64_t now = clock_mono(in->stage->pipeline->clock);
    if (hold > now)
        return pause_until(in, now, hold);
    atomic_store_explicit(&in->hold_ns, 0, memory_order_relaxed);
    if (!breaker_allows(&in->breaker, now)) {
        int64_t due = inlet_divert_due(in);
        return pause_until(in, now,
                           due > now && due < in->breaker.probe_ns ? due : in->breaker.probe_ns);
    }
    show_state(in);
    if (inlet_is_probing(in) && in->flights)
        return false;
    atomic_store_explicit(&in->is_paused, false, memory_order_relaxed);
    return true;
}

void inlet_pause_over(struct inlet *in)
{
    bool was_closed = in->breaker.state == BREAKER_CLOSED;
    breaker_init(&in->breaker, in->stage->plan->delivery.breaker.item);
    atomic_store_explicit(&in->hold_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&in->is_paused, false, memory_order_relaxed);
    if (in->stage->role != ROLE_SINK)
        return;
    show_state(in);
    if (!was_closed)
        inlet_retry_again(in);
}

static void tell_open(struct inlet *in, enum breaker_verdict v, const char *why)
{
    char text[WHY_MAX];
    metric_add(in->stage->m.breaker_opened, 1);
    if (v == BREAKER_MISCONFIGURED)
        (void)snprintf(text, sizeof text, "%s (nothing is sent but a try now and then)", why);
    else
        (void)snprintf(text, sizeof text, "%s (the breaker is open: %llu batches failed in a row)",
                       why, (unsigned long long)in->breaker.failed_in_row);
    stage_set_ready(in->stage, false, text);
    in->adaptive = (struct adaptive){0}; /* it will be another sink by then */
    inlet_flights_begin(in);
    inlet_retry_wait(in);
}

void inlet_note(struct inlet *in, const struct inlet_tally *t, int64_t now)
{
    enum breaker_verdict v = t->done                        ? BREAKER_WORKED
                             : t->misconfigured > t->failed ? BREAKER_MISCONFIGURED
                                                            : BREAKER_FAILED;
    struct breaker *b = &in->breaker;
    enum breaker_state before = b->state;
    bool has_changed = breaker_note(b, v, now);
    if (has_changed && b->state == BREAKER_OPEN)
        tell_open(in, v, t->why && *t->why ? t->why : "failed without a reason");
    else if (has_changed)
        inlet_retry_again(in);
    if (b->state == BREAKER_CLOSED && t->done && !t->misconfigured &&
        !atomic_load_explicit(&in->stage->is_ready, memory_order_relaxed))
        stage_set_ready(in->stage, true, NULL);
    if (b->state != before)
        show_state(in);
}
