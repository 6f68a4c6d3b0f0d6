/* pipeline/breaker.c: a circuit breaker. */
#include "pipeline/breaker.h"

#include "base/id.h"

void breaker_init(struct breaker *b, const struct plan_breaker *plan)
{
    *b = (struct breaker){.plan = plan};
}

bool breaker_allows(struct breaker *b, int64_t now_ns)
{
    if (b->state == BREAKER_OPEN && now_ns >= b->probe_ns) {
        b->state = BREAKER_HALF_OPEN;
        b->worked_in_row = 0;
    }
    return b->state != BREAKER_OPEN;
}

/* Somewhere in the upper half of the wait, so that many runners do not come back as one. */
static void put_off(struct breaker *b, int64_t now_ns)
{
    uint64_t half = (uint64_t)b->wait_ns / 2;
    b->state = BREAKER_OPEN;
    b->probe_ns = now_ns + (int64_t)(half + id_random() % (half + 1));
}

static void count(struct breaker *b, bool has_failed, int64_t now_ns)
{
    int64_t number = now_ns / (b->plan->window.ns / 2 + 1);
    struct breaker_half *half = &b->halves[number & 1];
    if (half->number != number)
        *half = (struct breaker_half){.number = number};
    half->batches++;
    half->failed += has_failed;
    b->failed_in_row = has_failed ? b->failed_in_row + 1 : 0;
}

static bool is_too_much(const struct breaker *b)
{
    if (!b->plan->enabled)
        return false;
    if (b->plan->failures && b->failed_in_row >= (uint64_t)b->plan->failures)
        return true;
    const struct breaker_half *h = b->halves;
    uint32_t batches = h[0].batches, failed = h[0].failed;
    if (h[1].number + 1 < h[0].number || h[0].number + 1 < h[1].number) { /* one is long ago */
        const struct breaker_half *now = h[0].number > h[1].number ? &h[0] : &h[1];
        batches = now->batches;
        failed = now->failed;
    } else {
        batches += h[1].batches;
        failed += h[1].failed;
    }
    return b->plan->share > 0 && batches >= BREAKER_SHARE_BATCHES &&
           failed >= b->plan->share * batches;
}

static void close_again(struct breaker *b)
{
    breaker_init(b, b->plan);
}

bool breaker_note(struct breaker *b, enum breaker_verdict v, int64_t now_ns)
{
    if (b->state == BREAKER_OPEN) /* it was under way when it opened */
        return false;
    if (b->state == BREAKER_HALF_OPEN && v != BREAKER_WORKED) {
        int64_t max = b->plan->probe_max.ns;
        b->wait_ns = b->wait_ns > max / 2 ? max : 2 * b->wait_ns;
        put_off(b, now_ns);
        return false;
    }
    if (b->state == BREAKER_HALF_OPEN) {
        if (++b->worked_in_row < (uint64_t)b->plan->successes)
            return false;
        close_again(b);
        return true;
    }
    count(b, v != BREAKER_WORKED, now_ns);
    if (v != BREAKER_MISCONFIGURED && (v == BREAKER_WORKED || !is_too_much(b)))
        return false;
    b->opened_ns = now_ns;
    b->wait_ns = b->plan->probe_after.ns;
    put_off(b, now_ns);
    return true;
}
