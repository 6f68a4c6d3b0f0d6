/* pipeline/park.c: a durable copy of an event that a transform keeps. */
#include "pipeline/park.h"

#include "base/mem.h"
#include "pipeline/claim.h"
#include "pipeline/commit.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/lane.h"
#include "pipeline/slot.h"

struct park {
    struct inlet *inlet;
    struct event *ev;
    uint64_t sequence;
    bool is_over;      /* the event is not kept any more */
    bool is_abandoned; /* the runner stops */
    struct loop *then_loop;
    struct loop_task *then; /* NULL: nobody waits for it */
};

struct record_slot {
    struct slot slot; /* first */
    struct loop_task task;
    struct inlet *inlet;
    uint64_t sequence, key_hash;
    bool has_key;
};

static void record_home(struct loop_task *t)
{
    struct record_slot *r = t->user;
    if (inlet_is_elsewhere(r->inlet, t))
        return;
    uint32_t flags = atomic_load_explicit(&r->slot.flags, memory_order_acquire);
    if (claim_is_on(&r->slot))
        commit_claims(inlet_worker(r->inlet), &r->slot, !(flags & (SLOT_FAILED | SLOT_LEFT)));
    if ((flags & SLOT_LEFT) && !(flags & SLOT_FAILED))
        inlet_record_left(r->inlet);
    else if (flags & SLOT_FAILED)
        inlet_record_failed(r->inlet, r->sequence, r->has_key ? &r->key_hash : NULL);
    else
        inlet_record_ended(r->inlet, r->sequence);
    slot_fini(&r->slot);
    budget_free(r->inlet->budget, r, sizeof *r);
}

static void record_end(struct slot *s)
{
    struct record_slot *r = s->owner;
    struct worker *home = inlet_worker(r->inlet);
    r->task = (struct loop_task){.fn = record_home, .user = r};
    if (home == worker_current())
        record_home(&r->task);
    else
        loop_post(home->loop, &r->task);
}

struct slot *park_slot(struct inlet *inlet, uint64_t sequence, const struct event *ev)
{
    struct record_slot *r = budget_new(inlet->budget, sizeof *r);
    slot_init(&r->slot, record_end, r);
    r->inlet = inlet;
    r->sequence = sequence;
    r->has_key = ev->pub.key.len > 0;
    r->key_hash = r->has_key ? order_hash(ev) : 0;
    r->slot.wants_durable = true;
    inlet_take(inlet);
    return &r->slot;
}

bool park_is_record(const struct slot *s, const struct inlet *inlet)
{
    return s && s->end == record_end && ((const struct record_slot *)s->owner)->inlet == inlet;
}

void park_leave(struct slot *s)
{
    slot_release(s, SLOT_LEFT);
}

void park_event(struct worker *w, struct inlet *inlet, struct event *ev)
{
    if (ev->park || !ev->slot || !ev->slot->wants_durable || ev->slot->end == record_end)
        return;
    struct park *p = budget_new(inlet->budget, sizeof *p);
    p->inlet = inlet;
    p->ev = ev;
    ev->park = p;
    block_ref(ev->block);
    commit_park(w, inlet, p, ev);
}

void park_end(struct event *ev)
{
    if (!ev->park)
        return;
    ev->park->is_over = true;
    ev->park = NULL;
}

void park_move(struct event *from, struct event *to)
{
    if (!from->park)
        return;
    to->park = from->park;
    from->park = NULL;
    block_ref(to->block);
    to->park->ev = to;
    block_unref(from->block);
}

void park_then(struct event *ev, struct loop *loop, struct loop_task *task)
{
    if (!ev->park) {
        loop_post(loop, task);
        return;
    }
    ev->park->then_loop = loop;
    ev->park->then = task;
}

void park_abandon(struct event *ev)
{
    ev->park->is_abandoned = true;
    ev->park = NULL;
}

struct slot *park_event_slot(const struct park *p)
{
    return p->is_over || p->is_abandoned ? NULL : p->ev->slot;
}

void park_set_sequence(struct park *p, uint64_t sequence)
{
    p->sequence = sequence;
}

/* From here on the record answers for the event, and the source is free. */
void park_synced(struct worker *w, struct park *p, weir_status s)
{
    struct event *ev = p->ev;
    if (p->is_abandoned && s == WEIR_OK) {
        slot_release(ev->slot, SLOT_DURABLE);
    } else if (p->is_abandoned) {
        slot_fail(ev->slot, WEIR_E_RETRY, p->inlet->stage->name, "the runner stopped", false);
    } else if (s == WEIR_OK && p->is_over) {
        commit_ack(w, p->inlet, p->sequence, 1, LEDGER_IN_MEMORY);
    } else if (s == WEIR_OK) {
        struct slot *source = ev->slot;
        ev->slot = park_slot(p->inlet, p->sequence, ev);
        slot_release(source, SLOT_DURABLE);
    }
    if (!p->is_over && !p->is_abandoned)
        ev->park = NULL;
    if (p->then)
        loop_post(p->then_loop, p->then);
    block_unref(ev->block);
    budget_free(p->inlet->budget, p, sizeof *p);
}
