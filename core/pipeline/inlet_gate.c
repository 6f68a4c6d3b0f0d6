/* pipeline/inlet_gate.c: order among events of one key at a transform.
 *
 * A transform is called in line, on every worker, so its lines are shared: whoever runs it asks under their
 * lock whether an event may go. What has to wait moves to the inlet's worker, where it stands in the line
 * and is given to the stage again from there, as what failed is. An event leaves its line when the round
 * has ended in which it was passed on: then what it became is in front of what comes next, on disk too. */
#include <string.h>

#include "base/mem.h"
#include "pipeline/inlet_priv.h"
#include "pipeline/park.h"

static bool is_open(const struct inlet *in)
{
    return !atomic_load_explicit(&in->order.gates, memory_order_acquire);
}

void inlet_gate_begin(struct inlet *in)
{
    order_lock(in);
    in->order.is_behind = true;
    in->order.behind.is_parked = true;
    order_count(&in->order);
    order_unlock(in);
}

/* ---- the way in ------------------------------------------------------------------------------ */

/* Under the lock: nobody is in front any more, so the inlet's worker has to look. */
static bool make_due(struct inlet *in, struct line *l)
{
    bool is_next = !l->flying && !l->has_first && l->first && l != &in->order.behind;
    if (!is_next || l->is_due)
        return false;
    l->is_due = true;
    l->next_due = in->order.due;
    in->order.due = l;
    return true;
}

static void stand(struct inlet *in, struct line *l, struct event *ev)
{
    struct entry e = {.ev = ev, .slot = ev->slot, .sequence = NO_SEQUENCE};
    order_lock(in);
    l->coming--;
    bool is_held = !in->is_abandoned;
    if (is_held)
        order_hold(in, l, &e);
    bool is_parked = l->is_parked;
    bool is_due = make_due(in, l);
    order_unlock(in);
    if (!is_held)
        inlet_entry_abandon(in, &e);
    else if (in->is_durable && ev->slot && (is_parked || ev->slot->wants_copy))
        park_event(in->worker, in, ev);
    if (is_due || l == &in->order.behind)
        inlet_wake(in);
}

struct coming { /* on its way to the inlet's worker */
    struct loop_task task;
    struct inlet *inlet;
    struct line *line;
    struct event *ev;
};

static void on_coming(struct loop_task *t)
{
    struct coming *c = t->user;
    if (inlet_is_elsewhere(c->inlet, t))
        return;
    stand(c->inlet, c->line, c->ev);
    mem_free(c);
}

/* What waits gets a shell of its own: this one may be read by others still. */
static void come(struct inlet *in, struct worker *w, struct line *l, struct event *ev)
{
    struct event *own = event_own(block_new(w), ev);
    event_move(ev, own);
    atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
    if (w == in->worker) {
        stand(in, l, own);
        return;
    }
    struct coming *c = MEM_NEW(struct coming);
    *c = (struct coming){.inlet = in, .line = l, .ev = own};
    c->task = (struct loop_task){.fn = on_coming, .user = c};
    loop_post(in->worker->loop, &c->task);
}

bool inlet_gate_pass(struct inlet *in, struct worker *w, struct event *ev, bool is_again)
{
    if (is_open(in) || ev->line || !ev->pub.key.len)
        return true;
    order_lock(in);
    struct line *l = order_find(in, order_hash(ev));
    if (!l && in->order.is_behind && !is_again)
        l = &in->order.behind;
    if (l)
        l->coming++;
    order_unlock(in);
    if (l)
        come(in, w, l, ev);
    return !l;
}

static bool has_keys(const struct batch *b)
{
    for (size_t i = 0; i < b->pub.count; i++)
        if (b->events[i]->pub.key.len)
            return true;
    return false;
}

/* A table for so many hashes, empty, with room; the number of its places less one. */
static size_t key_table(struct worker *w, size_t n)
{
    size_t cap = 16;
    while (cap < 2 * n)
        cap *= 2;
    if (cap > w->key_cap) {
        w->keys = mem_grow(w->keys, cap * sizeof *w->keys);
        w->key_cap = cap;
    }
    memset(w->keys, 0, cap * sizeof *w->keys);
    return cap - 1;
}

static bool is_first_of_key(struct worker *w, size_t mask, const struct event *ev)
{
    uint64_t hash = order_hash(ev) | 1; /* 0 is an empty place */
    size_t i = (hash >> 1) & mask;
    for (; w->keys[i]; i = (i + 1) & mask)
        if (w->keys[i] == hash)
            return false;
    w->keys[i] = hash;
    return true;
}

struct batch *inlet_gate_turns(struct inlet *in, struct worker *w, struct batch *b, bool is_again)
{
    if (!has_keys(b))
        return NULL;
    bool takes_several = stage_has(in->stage, WEIR_IN_ORDER) || b->pub.count == 1;
    size_t mask = takes_several ? 0 : key_table(w, b->pub.count), n = 0;
    struct batch *later = NULL;
    for (size_t i = 0; i < b->pub.count; i++) {
        struct event *ev = b->events[i];
        if (!inlet_gate_pass(in, w, ev, is_again))
            continue;
        if (!ev->pub.key.len || takes_several || is_first_of_key(w, mask, ev)) {
            b->events[n++] = ev;
            continue;
        }
        if (!later)
            later = batch_with_block(w, b->block);
        batch_add(later, ev);
    }
    b->pub.count = n;
    return later;
}

void inlet_gate_line(struct inlet *in, struct event *ev)
{
    if (ev->line || !ev->pub.key.len)
        return;
    uint64_t hash = order_hash(ev);
    order_lock(in);
    ev->line = order_join(in, hash);
    order_unlock(in);
}

void inlet_gate_keep(struct inlet *in, struct event *ev)
{
    if (!stage_has(in->stage, WEIR_IN_ORDER))
        inlet_gate_line(in, ev);
}

/* ---- the way out ----------------------------------------------------------------------------- */

void inlet_gate_leave(struct inlet *in, struct worker *w, struct line *l)
{
    struct departure d = {in, l};
    MEM_PUSH(w->departures, w->departure_count, w->departure_cap) = d;
    worker_again(w);
}

void inlet_gate_round(struct worker *w)
{
    for (size_t i = 0; i < w->departure_count; i++) {
        struct inlet *in = w->departures[i].inlet;
        struct line *l = w->departures[i].line;
        order_lock(in);
        l->flying--;
        bool is_due = make_due(in, l);
        if (!l->first)
            order_advance(in, l);
        order_unlock(in);
        if (is_due)
            inlet_wake(in);
    }
    w->departure_count = 0;
}

void inlet_gate_run_due(struct inlet *in)
{
    if (in->stage->role != ROLE_TRANSFORM || is_open(in))
        return;
    order_lock(in);
    while (in->order.due) {
        struct line *l = in->order.due;
        in->order.due = l->next_due;
        l->is_due = false;
        order_advance(in, l);
    }
    order_unlock(in);
}

bool inlet_gate_resume(struct inlet *in, struct entry *e)
{
    struct line *l = e->line;
    e->ev->line = l;
    if (!l)
        return true;
    order_lock(in);
    bool is_first = !l->again && !(l->first && l->first->entry.sequence < e->sequence);
    if (is_first) {
        l->has_first = false;
        l->flying++;
        l->cursor = NULL;
    } else {
        e->ev->line = e->line = NULL;
        if (e->sequence == NO_SEQUENCE)
            atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
        order_stand_back(in, l, e);
    }
    order_unlock(in);
    return is_first;
}

void inlet_gate_park(struct inlet *in, struct line *l)
{
    if (!l || l->is_parked)
        return;
    l->is_parked = true;
    for (struct held *h = l->first; h; h = h->next)
        park_event(in->worker, in, h->entry.ev);
}

/* Those that came since are ready behind what an earlier run left; when none came in that time either, the
 * next ones need not wait. */
void inlet_gate_catch_up(struct inlet *in)
{
    struct order *o = &in->order;
    if (!o->is_behind || in->ready.count || atomic_load(&in->is_spilled))
        return;
    order_lock(in);
    while (o->behind.first) {
        struct entry e = order_pop(in, &o->behind);
        e.line = NULL;
        inlet_ready(in, &in->ready, &e);
    }
    o->is_behind = in->ready.count || o->behind.coming;
    order_count(o);
    order_unlock(in);
}
