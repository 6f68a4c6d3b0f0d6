/* pipeline/graph.c: stages and edges made from a plan. */
#include "pipeline/graph.h"

#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"

static weir_metric *figure(struct pipeline *p, int kind, const char *name, const char *help,
                           const char *stage)
{
    const struct metric_key key = {kind, name, help, stage, NULL, NULL};
    return metrics_get(p->metrics, &key);
}

void graph_match_cut(struct stage *s, const weir_id *id)
{
    char text[ID_TEXT_BYTES];
    uint64_t held = 0;
    if (!s->pipeline)
        return;
    metric_add(s->m.match_cut, 1);
    if (!log_limit_pass(&s->cut_limit, 60, &held))
        return;
    id_format(id, text);
    log_write(WEIR_WARN, s->name,
              "event %s: too many choices of array elements to try them all, so that patterns over "
              "arrays did not match; use fewer names with dots in it (%llu more)",
              text, (unsigned long long)held);
}

static void stage_figures(struct pipeline *p, struct stage *s)
{
    const char *n = s->name;
    struct stage_metrics *m = &s->m;
    m->in = figure(p, WEIR_COUNTER, "weir_stage_in_events_total",
                   "Events that came to the stage; of a source: that it brought.", n);
    m->out = figure(p, WEIR_COUNTER, "weir_stage_out_events_total", "Events that it passed on.", n);
    m->delivered = figure(p, WEIR_COUNTER, "weir_stage_delivered_events_total",
                          "Events that the sink has taken.", n);
    m->filtered = figure(p, WEIR_COUNTER, "weir_stage_filtered_events_total",
                         "Events that ended here on purpose.", n);
    m->dead_lettered = figure(p, WEIR_COUNTER, "weir_stage_dead_lettered_events_total",
                              "Events that went to the dead letters.", n);
    m->dropped = figure(p, WEIR_COUNTER, "weir_stage_dropped_events_total",
                        "Events that the file said to drop.", n);
    m->retries = figure(p, WEIR_COUNTER, "weir_stage_retries_total", "Attempts to come.", n);
    m->errors = figure(p, WEIR_COUNTER, "weir_stage_errors_total",
                       "Events that failed once, for whatever reason.", n);
    m->diverted = figure(p, WEIR_COUNTER, "weir_stage_diverted_events_total",
                         "Events that went on at its port .failed, to a fallback for instance.", n);
    m->match_cut = figure(p, WEIR_COUNTER, "weir_stage_match_cut_events_total",
                          "Events with too many choices of array elements to try them all: rules "
                          "that were left did not match.",
                          n);
    m->in_flight = figure(p, WEIR_GAUGE, "weir_stage_in_flight_events",
                          "Events that wait in front of the stage or are under way.", n);
    m->ready = figure(p, WEIR_GAUGE, "weir_stage_ready", "1: works; 0: see /readyz.", n);
    m->seconds = figure(p, WEIR_HISTOGRAM, "weir_stage_seconds",
                        "Of a source: until settled; of a sink: of one delivery.", n);
    if (s->role != ROLE_SINK)
        return;
    m->breaker = figure(p, WEIR_GAUGE, "weir_stage_breaker_state",
                        "0: closed; 1: half-open; 2: open, the sink is left alone.", n);
    m->breaker_opened = figure(p, WEIR_COUNTER, "weir_stage_breaker_opened_total",
                               "How often the breaker opened.", n);
    m->concurrency = figure(p, WEIR_GAUGE, "weir_stage_concurrency",
                            "Batches that the sink may be given at once.", n);
    m->in_use =
        figure(p, WEIR_GAUGE, "weir_stage_concurrency_in_use", "Batches that the sink has.", n);
}

static struct worker *find_spare(const struct pipeline *p)
{
    for (size_t i = p->worker_count; i < p->worker_total; i++)
        if (p->workers[i]->is_spare)
            return p->workers[i];
    return NULL;
}

static int stage_thread(struct pipeline *p, struct stage *s, const struct stage *before,
                        struct error *e)
{
    s->thread = before && before->thread ? before->thread : find_spare(p);
    if (s->thread) {
        s->thread->is_spare = false;
        return 0;
    }
    s->thread = worker_new(p, p->worker_total, s->name, e);
    if (!s->thread)
        return -1;
    p->workers = mem_grow(p->workers, (p->worker_total + 1) * sizeof(struct worker *));
    p->workers[p->worker_total++] = s->thread;
    return 0;
}

/* What waits for a stage stays on its worker, where that is one that several share. */
static struct worker *home_of(const struct pipeline *p, const struct stage *s,
                              const struct stage *before)
{
    struct worker *w = before && before->inlet ? inlet_worker(before->inlet) : NULL;
    return w && w->index < p->worker_count ? w : p->workers[s->index % p->worker_count];
}

static int stage_lanes(struct pipeline *p, struct stage *s, const struct stage *before,
                       struct error *e)
{
    bool is_parallel = stage_has(s, WEIR_PARALLEL) && !stage_has(s, WEIR_BLOCKING);
    s->lane_count = is_parallel ? p->worker_count : 1;
    s->lanes = mem_new(s->lane_count * sizeof(struct lane *));
    if (stage_has(s, WEIR_BLOCKING) && stage_thread(p, s, before, e) < 0) {
        s->lane_count = 0;
        return -1;
    }
    for (size_t i = 0; i < s->lane_count; i++) {
        struct worker *w = s->thread     ? s->thread
                           : is_parallel ? p->workers[i]
                                         : home_of(p, s, before);
        s->lanes[i] = lane_new(s, w);
    }
    return 0;
}

struct stage *graph_stage_new(struct pipeline *p, struct plan_stage *plan,
                              const struct stage *before, struct error *e)
{
    struct stage *s = MEM_NEW(struct stage);
    s->pipeline = p;
    s->document = p->plan->document;
    s->plan = s->made_of = plan;
    s->generation = generation_ref(p->generation);
    s->component = plan->component;
    s->name = plan->name;
    s->role = plan->role;
    s->index = p->stage_count;
    s->self = plan->state;
    atomic_store(&s->is_ready, true);
    p->stages[p->stage_count++] = s;
    s->port_count = 1 + plan->port_count + 1;
    s->ports = mem_new(s->port_count * sizeof *s->ports);
    stage_figures(p, s);
    metric_set(s->m.ready, 1);
    return stage_lanes(p, s, before, e) < 0 ? NULL : s;
}

static struct stage *find(const struct pipeline *p, const struct plan_stage *plan)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->plan == plan)
            return p->stages[i];
    return NULL;
}

static size_t sinks_of(const struct stage *source)
{
    size_t n = 0;
    for (size_t i = 0; i < source->reach_count; i++)
        n += source->reach[i]->role == ROLE_SINK;
    return n;
}

/* Durable, unless nothing is won by it: the sink keeps what it takes, or all that reaches it comes from
 * sources which bring it again, and which no other sink would have to wait for if this one failed. */
static bool wants_disk(const struct pipeline *p, const struct stage *s)
{
    const struct plan_buffer *b = s->plan->delivery.buffer.item;
    if (s->role == ROLE_TRANSFORM || b->type != BUFFER_AUTO)
        return s->role == ROLE_TRANSFORM || b->type == BUFFER_DURABLE;
    if (stage_has(s, WEIR_KEEPS))
        return false;
    for (size_t i = 0; i < p->stage_count; i++) {
        const struct stage *source = p->stages[i];
        for (size_t k = 0; k < source->reach_count; k++)
            if (source->reach[k] == s && (!stage_has(source, WEIR_REPLAYS) || sinks_of(source) > 1))
                return true;
    }
    return false;
}

static void reach_add(struct stage *source, struct stage *s)
{
    for (size_t i = 0; i < source->reach_count; i++)
        if (source->reach[i] == s)
            return;
    source->reach = mem_grow(source->reach, (source->reach_count + 1) * sizeof(struct stage *));
    source->reach[source->reach_count++] = s;
}

static bool reads_from_reach(const struct pipeline *p, const struct stage *source,
                             const struct stage *s)
{
    for (size_t i = 0; i < s->plan->input_count; i++) {
        const struct stage *from = find(p, s->plan->inputs[i].from);
        if (from == source)
            return true;
        for (size_t k = 0; k < source->reach_count; k++)
            if (source->reach[k] == from)
                return true;
    }
    return false;
}

/* Stages stand in the order of the data, so one pass suffices. */
static void find_reach(struct pipeline *p)
{
    for (size_t i = 0; i < p->stage_count; i++) {
        struct stage *source = p->stages[i];
        for (size_t k = 0; source->role == ROLE_SOURCE && k < p->stage_count; k++)
            if (p->stages[k]->role != ROLE_SOURCE && reads_from_reach(p, source, p->stages[k]))
                reach_add(source, p->stages[k]);
    }
}

static int edge_where(struct pipeline *p, struct edge *e, const struct plan_edge *plan)
{
    struct match_error error = {{0}, 0};
    if (!plan->where.len)
        return 0;
    e->where = match_set_new(&p->env);
    e->ctx = mem_new((p->worker_total + 1) * sizeof(struct match_ctx *));
    weir_str text = {plan->where.ptr, plan->where.len};
    if (match_add(e->where, text, &error) != WEIR_OK) {
        diag_add_at(p->plan->document, DIAG_ERROR, plan->where_node, error.at, NULL,
                    "the pattern is not valid: %s", error.reason);
        return -1;
    }
    match_seal(e->where);
    for (size_t i = 0; i < p->worker_total; i++)
        e->ctx[i] = match_ctx_new(e->where);
    return 0;
}

static bool is_stored(const struct edge *e)
{
    return !e->where && e->to->role == ROLE_SINK && inlet_is_durable(e->to->inlet);
}

static int edge_add(struct pipeline *p, struct stage *to, const struct plan_edge *plan)
{
    struct stage *from = find(p, plan->from);
    size_t number = plan->port == PLAN_PORT_FAILED ? from->port_count - 1 : plan->port;
    struct port *port = &from->ports[number];
    struct edge edge = {.to = to, .port = (uint32_t)number};
    int failed = edge_where(p, &edge, plan);
    port->edges = mem_grow(port->edges, (port->count + 1) * sizeof edge);
    size_t at = port->count++;
    if (is_stored(&edge) && port->durable < COMMIT_STREAMS_MAX) {
        memmove(port->edges + 1, port->edges, at * sizeof edge);
        at = 0;
        port->inlets = mem_grow(port->inlets, (port->durable + 1) * sizeof(struct inlet *));
        port->inlets[port->durable++] = to->inlet;
    }
    port->edges[at] = edge;
    return failed;
}

static int mark_results(struct pipeline *p, struct error *e)
{
    for (size_t i = 0; i < p->stage_count; i++) {
        const char *result = p->stages[i]->plan->result;
        const struct plan_stage *plan = result ? plan_find(p->plan, result) : NULL;
        if (!result)
            continue;
        if (!plan || plan->role == ROLE_SINK)
            return error_set(e, EXIT_CONFIG,
                             "%s: result: %s is no source or transform of this file",
                             p->stages[i]->name, result);
        struct stage *stage = find(p, plan);
        if (stage)
            stage->ports[0].is_result = true;
    }
    return 0;
}

int graph_build(struct pipeline *p, struct error *e)
{
    p->stages = mem_new(p->plan->stage_count * sizeof(struct stage *));
    for (size_t i = 0; i < p->plan->stage_count; i++)
        if (!graph_stage_new(p, p->plan->stages[i], NULL, e))
            return -1;
    return graph_connect(p, e);
}

static int open_inlets(struct pipeline *p, struct error *e)
{
    for (size_t i = 0; i < p->stage_count; i++) {
        struct stage *s = p->stages[i];
        if (s->role == ROLE_SOURCE || s->role == ROLE_SERVICE)
            continue;
        if (s->inlet) {
            inlet_set_durable(s->inlet, wants_disk(p, s));
            continue;
        }
        s->inlet = inlet_new(s, s->lanes[0], wants_disk(p, s));
        if (inlet_open(s->inlet, e) < 0)
            return -1;
    }
    return 0;
}

int graph_connect(struct pipeline *p, struct error *e)
{
    int failed = 0;
    find_reach(p);
    if (open_inlets(p, e) < 0)
        return -1;
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->plan->input_count; k++)
            failed |= edge_add(p, p->stages[i], &p->stages[i]->plan->inputs[k]);
    if (failed)
        return error_set(e, EXIT_CONFIG, "the pipeline file has errors");
    return mark_results(p, e);
}

static void port_free(const struct pipeline *p, struct port *port)
{
    for (size_t i = 0; i < port->count; i++) {
        struct edge *e = &port->edges[i];
        for (size_t k = 0; e->ctx && e->ctx[k]; k++)
            match_ctx_free(e->ctx[k]);
        mem_free(e->ctx);
        match_set_free(e->where);
    }
    mem_free(port->edges);
    mem_free(port->inlets);
}

void graph_ports_free(const struct pipeline *p, struct port *ports, size_t count)
{
    for (size_t k = 0; k < count; k++)
        port_free(p, &ports[k]);
    mem_free(ports);
}

void graph_stage_free(struct pipeline *p, struct stage *s)
{
    inlet_free(s->inlet);
    graph_ports_free(p, s->ports, s->port_count);
    for (size_t k = 0; k < s->lane_count; k++)
        lane_free(s->lanes[k]);
    for (size_t k = 0; k < s->offer_count; k++)
        mem_free(s->offers[k]);
    mem_free(s->offers);
    mem_free(s->lanes);
    mem_free(s->reach);
    mem_free(s->pristine);
    generation_unref(s->generation);
    mem_free(s);
}

void graph_free(struct pipeline *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        graph_stage_free(p, p->stages[i]);
    mem_free(p->stages);
    mem_free(p->order);
}

/* ---- services between components ---- */

static void make_offers(struct stage *s)
{
    const weir_service *const *rows = s->component->offers;
    if (!rows || s->offers)
        return;
    while (rows[s->offer_count])
        s->offer_count++;
    s->offers = mem_new(s->offer_count * sizeof(weir_service *));
    for (size_t i = 0; i < s->offer_count; i++) {
        weir_service *table = mem_copy(rows[i], rows[i]->size);
        table->self = s->self;
        table->owner = &s->lanes[0]->host;
        s->offers[i] = table;
    }
}

struct wanted {
    struct stage *stages[64];
    const void *tables[64];
    size_t count;
};

static void find_offers(const struct pipeline *p, const weir_option *row, struct wanted *w)
{
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->offer_count && w->count < 64; k++) {
            const weir_service *t = p->stages[i]->offers[k];
            if (strcmp(t->id, row->name) != 0 || t->size < row->item_size)
                continue;
            w->stages[w->count] = p->stages[i];
            w->tables[w->count++] = t;
        }
}

static int fill_one(struct pipeline *p, struct stage *s, const weir_option *row, struct wanted *w,
                    struct error *e)
{
    char *at = (char *)s->self + row->offset;
    if (row->type == WEIR_T_SERVICES) {
        weir_services *list = (weir_services *)(void *)at;
        if (list->count)
            return 0;
        find_offers(p, row, w);
        list->count = w->count;
        list->items = arena_copy(&s->lanes[0]->keep, w->tables, w->count * sizeof *w->tables);
        return 0;
    }
    const void **one = (const void **)(void *)at;
    if (row->type != WEIR_T_SERVICE || *one)
        return 0;
    find_offers(p, row, w);
    if (w->count != 1)
        return error_set(e, EXIT_CONFIG, "%s: plugin %s needs service %s, which %s", s->name,
                         s->component->name, row->name,
                         w->count ? "several stages offer" : "no stage offers");
    *one = w->tables[0];
    return 0;
}

/* Depth first: those that offer what this one needs are started before it. */
static int visit(struct pipeline *p, struct stage *s, uint8_t *state, size_t *n, struct error *e)
{
    if (state[s->index] == 2)
        return 0;
    if (state[s->index] == 1)
        return error_set(e, EXIT_CONFIG, "%s: the services that plugins need form a ring", s->name);
    state[s->index] = 1;
    for (const weir_option *row = s->component->options; row && row->name; row++) {
        struct wanted w = {.count = 0};
        if ((row->type != WEIR_T_SERVICE && row->type != WEIR_T_SERVICES) || s->is_started)
            continue;
        if (fill_one(p, s, row, &w, e) < 0)
            return -1;
        for (size_t i = 0; i < w.count; i++)
            if (w.stages[i] != s && visit(p, w.stages[i], state, n, e) < 0)
                return -1;
    }
    state[s->index] = 2;
    p->order[(*n)++] = s;
    return 0;
}

int graph_order(struct pipeline *p, struct error *e)
{
    size_t n = 0;
    uint8_t *state = mem_new(p->stage_count + 1);
    int failed = 0;
    p->order = mem_new((p->stage_count + 1) * sizeof(struct stage *));
    for (size_t i = 0; i < p->stage_count; i++)
        make_offers(p->stages[i]);
    static const enum role roles[] = {ROLE_SERVICE, ROLE_SINK, ROLE_TRANSFORM, ROLE_SOURCE};
    for (size_t r = 0; r < 4 && !failed; r++)
        for (size_t i = 0; i < p->stage_count && !failed; i++)
            if (p->stages[i]->role == roles[r])
                failed = visit(p, p->stages[i], state, &n, e);
    mem_free(state);
    return failed;
}
