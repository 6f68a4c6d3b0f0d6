/* pipeline/route.c: the way of events between stages: ports, fan-out, conditions. */
#include <string.h>

#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/explain.h"
#include "pipeline/graph.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"

struct lane *stage_lane(const struct stage *s, const struct worker *w)
{
    return s->lane_count > 1 && w->index < s->lane_count ? s->lanes[w->index] : s->lanes[0];
}

void batch_end(struct worker *w, struct stage *s, struct batch *take, uint32_t flag)
{
    for (size_t i = 0; i < take->pub.count; i++) {
        if (flag == SLOT_FILTERED)
            trace_add(w, s, take->events[i], TRACE_FILTERED, NULL);
        slot_release(take->events[i]->slot, flag);
    }
    if (flag == SLOT_FILTERED) {
        worker_count(w, LEDGER_FILTERED, (int64_t)take->pub.count);
        metric_add(s->m.filtered, take->pub.count);
    }
    batch_free(take);
}

struct handoff {
    struct loop_task task; /* first */
    struct lane *lane;
    struct batch *batch;
};

static void on_handoff(struct loop_task *t)
{
    struct handoff *h = t->user;
    atomic_fetch_sub_explicit(&h->lane->stage->pipeline->in_memory, (int64_t)h->batch->pub.count,
                              memory_order_relaxed);
    transform_run(h->lane, h->batch, false);
    mem_free(h);
}

void stage_push(struct stage *to, struct worker *w, struct batch *take)
{
    if (!take->pub.count) {
        batch_free(take);
        return;
    }
    if (to->role == ROLE_SINK) {
        inlet_push(to->inlet, w, take);
        return;
    }
    struct lane *l = stage_lane(to, w);
    if (l->worker == w) {
        transform_run(l, take, false);
        return;
    }
    struct handoff *h = MEM_NEW(struct handoff);
    *h = (struct handoff){{NULL, on_handoff, h}, l, take};
    atomic_fetch_add_explicit(&w->pipeline->in_memory, (int64_t)take->pub.count,
                              memory_order_relaxed);
    loop_post(l->worker->loop, &h->task);
}

static bool edge_wants(const struct edge *e, const struct worker *w, const struct event *ev)
{
    const uint32_t *hits;
    if (!e->where)
        return true;
    unsigned flags = payload_is_json(ev->pub.body) ? MATCH_KNOWN_GOOD : 0;
    size_t n = match_event(e->ctx[w->index], &ev->pub, flags, &hits);
    if (match_was_cut(e->ctx[w->index]))
        graph_match_cut(e->to, &ev->pub.id);
    return n && n != SIZE_MAX;
}

/* A view of the batch for one reader; where a condition stands, of those that meet it. */
static struct batch *edge_view(const struct edge *e, struct worker *w, const struct batch *b,
                               struct stage *from)
{
    bool is_ours = block_owner(b->block) == w;
    struct batch *view = batch_with_block(w, is_ours ? b->block : block_new(w));
    if (!is_ours)
        block_unref(view->block);
    size_t filtered = 0;
    for (size_t i = 0; i < b->pub.count; i++) {
        struct event *ev = b->events[i];
        if (edge_wants(e, w, ev)) {
            batch_add(view, ev);
            continue;
        }
        filtered++;
        if (explain_may(w, &ev->pub))
            explain_where(w, e, ev);
        trace_add(w, e->to, ev, TRACE_FILTERED, "where");
        slot_release(ev->slot, SLOT_FILTERED);
    }
    if (filtered) {
        worker_count(w, LEDGER_FILTERED, (int64_t)filtered);
        metric_add(e->to->m.filtered, filtered);
    }
    return view;
}

static void edge_push(const struct edge *e, struct worker *w, struct batch *take)
{
    if (!inlet_is_durable(e->to->inlet) || e->to->role != ROLE_SINK) {
        stage_push(e->to, w, take);
        return;
    }
    for (size_t i = 0; i < take->pub.count; i++)
        commit_put(w, &e->to->inlet, 1, take->events[i]);
    batch_free(take);
}

static void keep_result(const struct batch *b)
{
    for (size_t i = 0; i < b->pub.count; i++) {
        const struct event *ev = b->events[i];
        struct slot_result *none = NULL;
        if (!ev->slot || !ev->slot->wants_result ||
            atomic_load_explicit(&ev->slot->result, memory_order_relaxed))
            continue;
        struct slot_result *r = MEM_NEW(struct slot_result);
        block_ref(ev->block);
        *r = (struct slot_result){ev->block, &ev->pub};
        if (!atomic_compare_exchange_strong(&ev->slot->result, &none, r)) {
            block_unref(ev->block);
            mem_free(r);
        }
    }
}

/* All of the batch to all readers of one port. */
static void route_port(struct stage *from, struct port *port, struct worker *w, struct batch *take)
{
    if (port->is_result) {
        keep_result(take);
        take->is_shared = true; /* the result is not to be written to */
    }
    if (!port->count) {
        batch_end(w, from, take, SLOT_FILTERED);
        return;
    }
    size_t n = port->count, stored = port->durable;
    size_t branches = n - stored + (stored ? 1 : 0); /* a commit is one for all its streams */
    if (n > 1)
        worker_count(w, LEDGER_COPIED, (int64_t)((n - 1) * take->pub.count));
    if (branches > 1)
        for (size_t i = 0; i < take->pub.count; i++)
            slot_ref(take->events[i]->slot, (uint32_t)branches - 1);
    for (size_t i = 0; stored && i < take->pub.count; i++)
        commit_put(w, port->inlets, stored, take->events[i]);
    for (size_t i = stored; i < n; i++) {
        const struct edge *e = &port->edges[i];
        bool is_last = i + 1 == n;
        if (is_last && !e->where) {
            take->is_shared |= branches > 1;
            edge_push(e, w, take);
            return;
        }
        struct batch *view = edge_view(e, w, take, from);
        view->is_shared = take->is_shared || branches > 1;
        edge_push(e, w, view);
    }
    batch_free(take);
}

static void reserve_ports(struct worker *w, size_t n)
{
    if (w->by_port_cap >= n)
        return;
    w->by_port = mem_grow(w->by_port, n * sizeof(struct batch *));
    w->ports_used = mem_grow(w->ports_used, n * sizeof *w->ports_used);
    memset(w->by_port, 0, n * sizeof(struct batch *));
    w->by_port_cap = n;
}

static size_t ports_read(const struct stage *s, const struct event *ev)
{
    size_t n = 0;
    if (!ev->port_count)
        return s->ports[0].count ? 1 : 0;
    for (uint32_t i = 0; i < ev->port_count; i++)
        n += ev->ports[i] < s->port_count && s->ports[ev->ports[i]].count;
    return n;
}

static void drop_unread(struct stage *from, struct worker *w, struct event *ev)
{
    worker_count(w, LEDGER_FILTERED, 1);
    metric_add(from->m.filtered, 1);
    trace_add(w, from, ev, TRACE_FILTERED, "nobody reads its ports");
    slot_release(ev->slot, SLOT_FILTERED);
}

static struct batch *batch_of_port(struct worker *w, struct block *block, uint32_t port,
                                   size_t *used)
{
    struct batch **b = &w->by_port[port];
    if (!*b) {
        bool is_ours = block_owner(block) == w;
        *b = batch_with_block(w, is_ours ? block : block_new(w));
        if (!is_ours)
            block_unref((*b)->block);
        w->ports_used[(*used)++] = port;
    }
    return *b;
}

/* The batches by port are the worker's scratch, so they are taken out before any is routed: a list,
 * with the port where a batch that is done has its status. */
static struct batch *take_by_port(struct worker *w, size_t used)
{
    struct batch *list = NULL, **end = &list;
    for (size_t i = 0; i < used; i++) {
        struct batch *b = w->by_port[w->ports_used[i]];
        w->by_port[w->ports_used[i]] = NULL;
        b->done_status = (weir_status)w->ports_used[i];
        b->next = NULL;
        *end = b;
        end = &b->next;
    }
    return list;
}

static void sort_event(struct stage *from, struct worker *w, struct batch *take, struct event *ev,
                       size_t *used)
{
    static const uint32_t first = 0;
    size_t n = ports_read(from, ev);
    const uint32_t *ports = ev->port_count ? ev->ports : &first;
    uint32_t count = ev->port_count ? ev->port_count : 1;
    if (!n) {
        drop_unread(from, w, ev);
        return;
    }
    slot_ref(ev->slot, (uint32_t)n - 1);
    worker_count(w, LEDGER_COPIED, (int64_t)n - 1);
    for (uint32_t k = 0; k < count; k++) {
        if (ports[k] >= from->port_count || !from->ports[ports[k]].count)
            continue;
        struct batch *b = batch_of_port(w, take->block, ports[k], used);
        b->is_shared |= n > 1 || take->is_shared;
        batch_add(b, ev);
    }
}

/* Sorts the events of a batch by the ports that they named. */
static void route_by_port(struct stage *from, struct worker *w, struct batch *take)
{
    size_t used = 0;
    reserve_ports(w, from->port_count);
    for (size_t i = 0; i < take->pub.count; i++)
        sort_event(from, w, take, take->events[i], &used);
    struct batch *list = take_by_port(w, used);
    batch_free(take);
    while (list) {
        struct batch *b = list;
        list = b->next;
        struct port *port = &from->ports[(uint32_t)b->done_status];
        b->done_status = WEIR_OK;
        route_port(from, port, w, b);
    }
}

void route_batch(struct stage *from, struct worker *w, struct batch *take)
{
    if (!take->pub.count) {
        batch_free(take);
        return;
    }
    metric_add(from->m.out, take->pub.count);
    if (from->role != ROLE_SOURCE && w->pipeline->trace) {
        w->now_wall_ns = clock_wall(w->pipeline->clock);
        for (size_t i = 0; i < take->pub.count; i++)
            trace_add(w, from, take->events[i], TRACE_PASSED, NULL);
    }
    if (take->has_ports)
        route_by_port(from, w, take);
    else
        route_port(from, &from->ports[0], w, take);
}

void route_failed(struct stage *from, struct worker *w, struct event *ev)
{
    struct batch *b = batch_new(w);
    batch_add(b, ev);
    b->is_shared = true;
    route_port(from, &from->ports[from->port_count - 1], w, b);
}
