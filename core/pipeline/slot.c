/* pipeline/slot.c: what became of an event, told to whoever brought it. */
#include "pipeline/slot.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/claim.h"
#include "pipeline/event.h"
#include "pipeline/lane.h"
#include "pipeline/pipeline.h"
#include "pipeline/worker.h"

void slot_init(struct slot *s, void (*end)(struct slot *s), void *owner)
{
    atomic_store_explicit(&s->refs, 1, memory_order_relaxed);
    atomic_store_explicit(&s->flags, 0, memory_order_relaxed);
    atomic_store_explicit(&s->failure, NULL, memory_order_relaxed);
    atomic_store_explicit(&s->result, NULL, memory_order_relaxed);
    atomic_store_explicit(&s->claims, NULL, memory_order_relaxed);
    s->end = end;
    s->owner = owner;
    s->wants_durable = s->wants_copy = s->wants_result = false;
}

static void failure_free(struct slot_failure *f)
{
    if (!f)
        return;
    mem_free(f->why);
    mem_free(f->stage);
    mem_free(f);
}

void slot_fini(struct slot *s)
{
    struct slot_failure *f = atomic_load_explicit(&s->failure, memory_order_acquire);
    struct slot_result *r = atomic_load_explicit(&s->result, memory_order_acquire);
    failure_free(f);
    if (r) {
        block_unref(r->block);
        mem_free(r);
    }
}

static void keep_failure(struct slot *s, weir_status error, const char *stage, const char *why)
{
    struct slot_failure *f = MEM_NEW(struct slot_failure), *none = NULL;
    *f = (struct slot_failure){error, mem_text(why ? why : "no reason was given"), mem_text(stage)};
    if (!atomic_compare_exchange_strong(&s->failure, &none, f))
        failure_free(f);
}

void slot_fail(struct slot *s, weir_status error, const char *stage, const char *why,
               bool is_dead_lettered)
{
    if (!s)
        return;
    keep_failure(s, error, stage, why);
    if (!is_dead_lettered) /* one branch that is kept nowhere: the whole is to be brought again */
        slot_release(s, SLOT_FAILED);
    else
        slot_release(s, SLOT_DEAD_LETTERED);
}

weir_outcome slot_outcome(const struct slot *s)
{
    uint32_t flags = atomic_load_explicit(&s->flags, memory_order_acquire);
    if (flags & (SLOT_FAILED | SLOT_DEAD_LETTERED))
        return WEIR_FAILED;
    if (flags & SLOT_DURABLE)
        return WEIR_DURABLE;
    return flags & SLOT_DELIVERED ? WEIR_DELIVERED : WEIR_FILTERED;
}

struct join {
    struct slot slot; /* first */
    struct budget *budget;
    size_t bytes;
    size_t count;
    struct slot *parents[];
};

static void join_end(struct slot *s)
{
    struct join *j = s->owner;
    struct slot_failure *f = atomic_load_explicit(&s->failure, memory_order_acquire);
    uint32_t flags = atomic_load_explicit(&s->flags, memory_order_acquire);
    bool is_kept = !(flags & SLOT_FAILED);
    if (claim_is_on(s) && j->count && is_kept)
        claim_move_all(s, j->parents[0]);
    else if (claim_is_on(s))
        claim_end_all(s, false);
    for (size_t i = 0; i < j->count; i++) {
        if (f)
            slot_fail(j->parents[i], f->error, f->stage, f->why, is_kept);
        else
            slot_release(j->parents[i], flags);
    }
    slot_fini(s);
    budget_free(j->budget, j, j->bytes);
}

struct slot *slot_join(struct slot *const *slots, size_t n, struct budget *budget)
{
    size_t bytes = sizeof(struct join) + n * sizeof(struct slot *);
    struct join *j = budget_new(budget, bytes);
    j->budget = budget;
    j->bytes = bytes;
    slot_init(&j->slot, join_end, j);
    for (size_t i = 0; i < n; i++) {
        if (!slots[i])
            continue;
        slot_ref(slots[i], 1);
        j->slot.wants_durable |= slots[i]->wants_durable;
        j->slot.wants_copy |= slots[i]->wants_copy;
        j->parents[j->count++] = slots[i];
    }
    return &j->slot;
}

size_t slot_parents(const struct slot *s, struct slot *const **parents)
{
    if (s->end != join_end)
        return 0;
    const struct join *j = s->owner;
    *parents = j->parents;
    return j->count;
}

enum { TICKETS_KEPT = 1024 }; /* of one event each, a worker */

static void ticket_close(struct ticket *t)
{
    if (atomic_fetch_sub_explicit(&t->open, 1, memory_order_acq_rel) == 1)
        worker_settle(t);
}

static void ticket_slot_end(struct slot *s)
{
    ticket_close(s->owner);
}

static size_t ticket_bytes(size_t count)
{
    return sizeof(struct ticket) + count * sizeof(struct slot);
}

void ticket_delete(struct ticket *t, struct budget *budget)
{
    budget_give(budget, ticket_bytes(t->count));
    mem_free(t);
}

struct ticket *ticket_new(struct lane *lane, size_t count)
{
    struct worker *w = lane->worker;
    struct ticket *t = count == 1 ? w->free_tickets : NULL;
    if (t) {
        w->free_tickets = t->next;
        w->free_ticket_count--;
    } else {
        t = mem_grow(NULL, ticket_bytes(count));
        budget_charge(&w->pipeline->budget, ticket_bytes(count));
    }
    *t = (struct ticket){.lane = lane, .count = (uint32_t)count};
    atomic_store_explicit(&t->open, (uint32_t)count + 1, memory_order_relaxed);
    for (size_t i = 0; i < count; i++)
        slot_init(&t->slots[i], ticket_slot_end, t);
    return t;
}

void ticket_begin(struct ticket *t)
{
    ticket_close(t);
}

/* Called on the lane's worker, whose free list it is. */
void ticket_free(struct ticket *t)
{
    struct worker *w = t->lane->worker;
    for (size_t i = 0; i < t->count; i++)
        slot_fini(&t->slots[i]);
    if (t->count != 1 || w->free_ticket_count >= TICKETS_KEPT) {
        ticket_delete(t, &w->pipeline->budget);
        return;
    }
    t->next = w->free_tickets;
    w->free_tickets = t;
    w->free_ticket_count++;
}

void ticket_settle(struct ticket *t, weir_settlement *s, weir_verdict *verdicts,
                   const weir_verdict **list)
{
    weir_outcome least = WEIR_DELIVERED;
    for (size_t i = 0; i < t->count; i++) {
        const struct slot *slot = &t->slots[i];
        const struct slot_failure *f = atomic_load_explicit(&slot->failure, memory_order_acquire);
        const struct slot_result *r = atomic_load_explicit(&slot->result, memory_order_acquire);
        uint32_t flags = atomic_load_explicit(&slot->flags, memory_order_acquire);
        verdicts[i] = (weir_verdict){.outcome = slot_outcome(slot)};
        if (f) {
            verdicts[i].error = f->error;
            verdicts[i].why = f->why;
            verdicts[i].stage = f->stage;
            verdicts[i].is_dead_lettered = !(flags & SLOT_FAILED);
        }
        verdicts[i].result = r ? r->event : NULL;
        list[i] = &verdicts[i];
        if (verdicts[i].outcome < least)
            least = verdicts[i].outcome;
    }
    *s =
        (weir_settlement){.cookie = t->cookie, .outcome = least, .count = t->count, .events = list};
}
