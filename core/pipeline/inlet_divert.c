/* pipeline/inlet_divert.c: what waits for a sink goes to its fallback while the breaker stays open. */
#include "base/log.h"
#include "pipeline/dead.h"
#include "pipeline/inlet_priv.h"

enum { TURN_EVENTS = 512, LOOK_AGAIN_NS = 50 * 1000 * 1000 };

int64_t inlet_divert_due(const struct inlet *in)
{
    const struct plan_fallback *f = in->stage->plan->delivery.fallback.item;
    if (!f || !f->after.ns || in->breaker.state == BREAKER_CLOSED)
        return INT64_MAX;
    return in->breaker.opened_ns + f->after.ns;
}

static bool has_room(const struct inlet *in)
{
    const struct port *failed = &in->stage->ports[in->stage->port_count - 1];
    for (size_t i = 0; i < failed->count; i++)
        if (inlet_is_full(failed->edges[i].to->inlet))
            return false;
    return failed->count > 0;
}

/* The next that waits, as if it were given to the sink; false: none. One of a key whose line is not empty
 * takes its place there. */
static bool take(struct inlet *in, struct entry *e)
{
    if (inlet_retry_pop(in, e)) {
        if (e->line)
            order_give_up(e);
        return true;
    }
    for (;;) {
        if (!in->ready.count && !in->released.count)
            inlet_read_backlog(in);
        struct ring *from = in->released.count ? &in->released : &in->ready;
        if (!from->count || (from == &in->ready && !order_has_room(in)))
            return false;
        *e = ring_pop(from);
        inlet_ring_account(in, e, -1);
        if (e->sequence == NO_SEQUENCE)
            atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
        if (!e->ev->pub.key.len || order_take(in, ++in->flight_serial, e))
            return true;
    }
}

static void tell(struct inlet *in)
{
    const struct plan_fallback *f = in->stage->plan->delivery.fallback.item;
    if (in->diverting_ns == in->breaker.opened_ns)
        return;
    in->diverting_ns = in->breaker.opened_ns;
    log_write(WEIR_WARN, in->stage->name, "what waits goes to %s until the breaker closes", f->to);
}

/* One is left for the sink, should it be tried now. */
void inlet_divert(struct inlet *in)
{
    struct entry e;
    char why[sizeof in->stage->status];
    size_t n = 0;
    if (in->stage->role != ROLE_SINK || in->is_released ||
        inlet_divert_due(in) > clock_mono(in->stage->pipeline->clock) ||
        (inlet_is_probing(in) && !in->flights))
        return;
    inlet_status(in, why, sizeof why);
    while (n < TURN_EVENTS && has_room(in) && take(in, &e)) {
        dead_divert(in, &e, why);
        n++;
    }
    if (n)
        tell(in);
    if (n == TURN_EVENTS)
        inlet_wake(in);
    else if (!has_room(in) && !loop_timer_is_set(&in->read_timer))
        loop_timer_set(in->worker->loop, &in->read_timer, LOOK_AGAIN_NS);
}
