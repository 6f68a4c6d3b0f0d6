/* pipeline/lane.c: one instance on one thread: entering and leaving its callbacks, and how sources run. */
#include "pipeline/lane.h"

#include <string.h>

#include "base/log.h"
#include "pipeline/claim.h"
#include "pipeline/inlet.h"
#include "pipeline/memory.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"

#define MS INT64_C(1000000)
enum { OPEN_MAX = 1 << 16, TURN_EVENTS = 512, KEY_BYTES_MAX = 1024 };

static void on_wake(struct loop_task *t)
{
    struct lane *l = t->user;
    atomic_store(&l->is_wake_posted, false);
    l->is_tick_due = true;
    worker_due(l);
}

static void on_pause_over(struct loop_timer *t)
{
    worker_due(t->user);
}

static void take_worker_state(struct lane *l)
{
    const weir_component *c = l->stage->component;
    if (stage_has(l->stage, WEIR_PARALLEL) && c->worker_size)
        l->host.worker = arena_take(&l->keep, c->worker_size);
}

struct lane *lane_new(struct stage *s, struct worker *w)
{
    struct lane *l = MEM_NEW(struct lane);
    l->host = host_table;
    l->host.instance = s->name;
    l->stage = s;
    l->worker = w;
    l->wake_task.fn = on_wake;
    l->wake_task.user = l;
    l->pause.fn = on_pause_over;
    l->pause.user = l;
    arena_init(&l->keep);
    arena_init(&l->scratch);
    take_worker_state(l);
    return l;
}

void lane_reset(struct lane *l)
{
    arena_reset(&l->keep);
    l->timers = NULL;
    l->watches = NULL;
    l->is_over = l->is_ended = false;
    take_worker_state(l);
}

void lane_forget(struct lane *l)
{
    for (struct lane_timer *t = l->timers; t; t = t->next)
        loop_timer_cancel(l->worker->loop, &t->timer);
    for (struct lane_watch *w = l->watches; w; w = w->next)
        if (!w->is_dead) {
            loop_remove(l->worker->loop, &w->watch);
            w->is_dead = true;
        }
    loop_timer_cancel(l->worker->loop, &l->pause);
}

void lane_free(struct lane *l)
{
    if (!l)
        return;
    while (l->abandoned) {
        struct batch *next = l->abandoned->next_kept;
        batch_free(l->abandoned);
        l->abandoned = next;
    }
    batch_free(l->gather);
    arena_fini(&l->keep);
    arena_fini(&l->scratch);
    mem_free(l->held);
    mem_free(l);
}

static _Thread_local struct lane *current;

struct lane *lane_current(void)
{
    return current;
}

void lane_enter(struct lane *l, struct batch *in, struct batch *out)
{
    l->before[l->depth & 7] = current;
    current = l;
    if (l->worker->name)
        worker_plugin_enter(l->worker);
    if (l->depth++ == 0) {
        l->in = in;
        l->out = out;
        l->is_short = l->is_waiting = false;
        l->why[0] = 0;
    }
}

void lane_leave(struct lane *l)
{
    l->depth--;
    current = l->before[l->depth & 7];
    if (l->worker->name)
        worker_plugin_leave(l->worker);
    if (l->depth)
        return;
    l->in = l->out = NULL;
    while (l->held_count)
        payload_unref(l->held[--l->held_count]);
    if (l->scratch.used_bytes)
        arena_reset(&l->scratch);
    l->scratch.used_bytes = 0;
}

/* ---- sources ---- */

bool lane_may_run(struct lane *l)
{
    struct pipeline *p = l->stage->pipeline;
    if (atomic_load_explicit(&p->is_draining, memory_order_relaxed) ||
        atomic_load_explicit(&l->open, memory_order_relaxed) >= OPEN_MAX || !memory_has_room(p) ||
        !journal_has_room(p->journal, 1 << 20))
        return false;
    for (size_t i = 0; i < l->stage->reach_count; i++)
        if (inlet_is_full(l->stage->reach[i]->inlet))
            return false;
    return true;
}

/* Keys were claimed before the event had its slot. */
static void claims_to_slot(struct event *ev)
{
    while (ev->claims) {
        struct weir_claim *c = ev->claims;
        ev->claims = c->next;
        claim_attach(c, ev->slot);
    }
}

/* Nothing comes of what a callback added. */
static void give_back_claims(struct batch *out)
{
    for (size_t i = 0; i < out->pub.count; i++)
        while (out->events[i]->claims) {
            struct weir_claim *c = out->events[i]->claims;
            out->events[i]->claims = c->next;
            claim_release(c);
        }
}

static void set_key(struct lane *l, struct event *ev)
{
    lane_enter(l, NULL, NULL);
    weir_str key = l->host.get(&l->host, &ev->pub, l->stage->plan->key);
    if (key.len && key.len <= KEY_BYTES_MAX)
        ev->pub.key = block_text(ev->block, key);
    lane_leave(l);
}

/* A ticket for what a callback added; the events' slots are its. */
static void birth(struct lane *l, struct batch *out)
{
    struct worker *w = l->worker;
    struct ticket *t = ticket_new(l, out->pub.count);
    t->cookie = out->pub.cookie;
    t->when = out->pub.when;
    t->begun_ns = worker_now(w);
    bool is_traced = w->pipeline->trace != NULL;
    for (size_t i = 0; i < out->pub.count; i++) {
        struct event *ev = out->events[i];
        struct slot *s = &t->slots[i];
        s->wants_durable = t->when == WEIR_WHEN_DURABLE || t->when == WEIR_WHEN_SAFE;
        s->wants_copy = t->when == WEIR_WHEN_DURABLE;
        s->wants_result = t->when == WEIR_WHEN_RESULT;
        ev->slot = s;
        if (ev->claims)
            claims_to_slot(ev);
        if (!ev->pub.time_ns)
            ev->pub.time_ns = t->begun_ns;
        if (l->stage->plan->key && !ev->pub.key.len)
            set_key(l, ev);
        if (is_traced)
            trace_add(w, l->stage, ev, TRACE_ACCEPTED, NULL);
    }
    atomic_fetch_add_explicit(&l->open, (int64_t)out->pub.count, memory_order_relaxed);
    worker_count(w, LEDGER_ACCEPTED, (int64_t)out->pub.count);
    metric_add(l->stage->m.in, out->pub.count);
    ticket_begin(t);
}

static void source_ended(struct lane *l)
{
    struct pipeline *p = l->stage->pipeline;
    if (l->is_ended)
        return;
    l->is_ended = true;
    if (atomic_fetch_sub(&p->sources_open, 1) == 1 && p->on_end)
        p->on_end(p->on_end_user);
}

static void pull_failed(struct lane *l, weir_status s)
{
    if (l->is_short &&
        !l->why[0]) { /* the memory is what is full: nothing is wrong with the source */
        loop_timer_set(l->worker->loop, &l->pause, 2 * MS);
        return;
    }
    stage_set_ready(l->stage, false, l->why[0] ? l->why : "the source fails");
    loop_timer_set(l->worker->loop, &l->pause, s == WEIR_E_RETRY ? 1000 * MS : 10000 * MS);
}

/* One call of pull: what it answered, and how many events it brought. */
static weir_status pull_once(struct lane *l, size_t *events)
{
    struct block *block = block_new(l->worker);
    struct batch *out = batch_with_block(l->worker, block);
    block_unref(block);
    l->is_pulling = true;
    lane_enter(l, NULL, out);
    weir_status s = l->stage->component->pull(l->stage->self, &l->host, &out->pub);
    if (l->is_short)
        s = WEIR_E_RETRY;
    lane_leave(l);
    l->is_pulling = false;
    if (s >= WEIR_OK && !atomic_load_explicit(&l->stage->is_ready, memory_order_relaxed))
        stage_set_ready(l->stage, true, NULL);
    if (s < WEIR_OK || !out->pub.count) {
        give_back_claims(out);
        batch_free(out);
        return s;
    }
    *events += out->pub.count;
    birth(l, out);
    route_batch(l->stage, l->worker, out);
    return s;
}

/* A turn of a source: small batches (a queue gives ten messages at a time) share one. */
static void pull(struct lane *l)
{
    size_t events = 0;
    weir_status s = WEIR_OK;
    if (l->is_ended || l->is_pulling || atomic_load_explicit(&l->is_held, memory_order_relaxed))
        return;
    while (s == WEIR_OK && events < TURN_EVENTS) {
        size_t before = events;
        if (atomic_load_explicit(&l->is_held, memory_order_relaxed))
            return;
        if (!lane_may_run(l)) {
            if (!loop_timer_is_set(&l->pause))
                loop_timer_set(l->worker->loop, &l->pause, 2 * MS);
            return;
        }
        s = pull_once(l, &events);
        if (events == before)
            break;
    }
    if (s == WEIR_END)
        source_ended(l);
    else if (s < WEIR_OK)
        pull_failed(l, s);
    else if (s == WEIR_OK)
        worker_due(l);
}

struct budget *lane_budget(const struct lane *l)
{
    static struct budget of_commands = {.limit_bytes = 64 << 20};
    struct pipeline *p = l->stage->pipeline;
    if (!p)
        return &of_commands;
    return l->stage->role == ROLE_SOURCE ? &p->inflow : &p->budget;
}

static void tick(struct lane *l, uint32_t id)
{
    const weir_component *c = l->stage->component;
    bool is_source = l->stage->role == ROLE_SOURCE;
    if (!c->tick) {
        if (is_source)
            worker_due(l);
        return;
    }
    bool has_out = is_source || l->stage->role == ROLE_TRANSFORM;
    struct batch *out = has_out ? lane_birth_begin(l) : NULL;
    lane_enter(l, NULL, out);
    weir_status s = c->tick(l->stage->self, &l->host, id, out ? &out->pub : NULL);
    if (l->is_short)
        s = WEIR_E_RETRY;
    lane_leave(l);
    if (out)
        lane_birth_end(l, out, s);
    if (is_source && s == WEIR_END)
        source_ended(l);
}

void lane_timer_fired(struct lane *l, uint32_t id)
{
    if (l->stage->component->tick)
        tick(l, id);
    else if (l->stage->role == ROLE_SOURCE)
        worker_due(l);
}

void lane_run(struct lane *l)
{
    bool is_tick_due = l->is_tick_due;
    l->is_tick_due = false;
    if (l->is_over)
        return;
    if (l->stage->role == ROLE_SOURCE)
        pull(l);
    else if (is_tick_due)
        tick(l, 0);
}

struct batch *lane_birth_begin(struct lane *l)
{
    if (l->stage->role != ROLE_SOURCE) {
        struct block *block = block_new(l->worker);
        struct batch *out = batch_with_block(l->worker, block);
        block_unref(block);
        return out;
    }
    if (!l->gather) {
        struct block *block = block_new(l->worker);
        l->gather = batch_with_block(l->worker, block);
        block_unref(block);
    }
    return batch_with_block(l->worker, l->gather->block);
}

void lane_birth_end(struct lane *l, struct batch *out, weir_status s)
{
    if (l->stage->role != ROLE_SOURCE) {
        transform_finish_out(l, out, l->is_short ? WEIR_E_RETRY : s);
        return;
    }
    if (s >= WEIR_OK && !l->is_short && out->pub.count) {
        birth(l, out);
        for (size_t i = 0; i < out->pub.count; i++)
            batch_add(l->gather, out->events[i]);
        l->gather->has_ports |= out->has_ports;
        if (!l->is_gathering) {
            l->is_gathering = true;
            l->next_gathering = l->worker->gathering;
            l->worker->gathering = l;
            worker_again(l->worker);
        }
    } else {
        give_back_claims(out);
    }
    batch_free(out);
}

void lane_flush(struct lane *l)
{
    struct batch *b = l->gather;
    l->gather = NULL;
    if (b)
        route_batch(l->stage, l->worker, b);
}

struct recording {         /* keys that have a unit of their own; then the ticket is settled */
    struct loop_task task; /* first */
    struct ticket *ticket;
    weir_status status;
};

static void recorded_home(struct loop_task *t)
{
    struct recording *r = t->user;
    for (size_t i = 0; i < r->ticket->count; i++)
        claim_end_all(&r->ticket->slots[i], r->status == WEIR_OK);
    worker_settle(r->ticket);
    mem_free(r);
}

static void recorded(void *user, weir_status s, const struct journal_unit *u)
{
    struct recording *r = user;
    r->status = s;
    r->task = (struct loop_task){.fn = recorded_home, .user = r};
    loop_post(r->ticket->lane->worker->loop, &r->task);
}

/* False: a key is to be on disk before its source is told. */
static bool end_claims(struct lane *l, struct ticket *t)
{
    struct journal_unit *u = NULL;
    for (size_t i = 0; i < t->count; i++) {
        struct slot *s = &t->slots[i];
        bool is_kept = slot_outcome(s) != WEIR_FAILED;
        if (!claim_is_on(s))
            continue;
        if (!is_kept || claim_all_noted(s)) {
            claim_end_all(s, is_kept);
            continue;
        }
        if (!u)
            u = journal_begin(l->stage->pipeline->journal);
        claim_note_all(s, u);
    }
    if (!u)
        return true;
    struct recording *r = MEM_NEW(struct recording);
    r->ticket = t;
    journal_submit(u, JOURNAL_SYNCED, recorded, r);
    return false;
}

void lane_settle(struct lane *l, struct ticket *t)
{
    if (!end_claims(l, t))
        return;
    weir_settlement s;
    size_t n = t->count;
    lane_enter(l, NULL, NULL);
    weir_verdict *verdicts = arena_take_raw(&l->scratch, n * sizeof *verdicts);
    const weir_verdict **list = arena_take_raw(&l->scratch, n * sizeof(const weir_verdict *));
    ticket_settle(t, &s, verdicts, list);
    for (size_t i = 0; i < n; i++)
        if (verdicts[i].outcome == WEIR_FAILED)
            metric_add(l->stage->m.errors, 1);
    if (l->stage->component->settled)
        l->stage->component->settled(l->stage->self, &l->host, &s);
    lane_leave(l);
    atomic_fetch_sub_explicit(&l->open, (int64_t)n, memory_order_relaxed);
    metric_observe(l->stage->m.seconds, (double)(worker_now(l->worker) - t->begun_ns) / 1e9);
    ticket_free(t);
    if (!l->is_ended && !atomic_load_explicit(&l->is_held, memory_order_relaxed) &&
        loop_timer_is_set(&l->pause) && lane_may_run(l)) {
        loop_timer_cancel(l->worker->loop, &l->pause);
        worker_due(l);
    }
}
