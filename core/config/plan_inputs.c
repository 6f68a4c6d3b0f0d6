/* config/plan_inputs.c: the edges: what a stage reads, by stage and port, and what nobody reads. */
#include <string.h>

#include "base/text.h"
#include "config/plan_tables.h"

static const char *nearest_stage(struct plan_work *w, const char *name)
{
    const struct plan *p = w->plan;
    size_t count = 0;
    const char **names = arena_take(&w->d->arena, (p->stage_count + 1) * sizeof *names);
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->role != ROLE_SINK)
            names[count++] = p->stages[i]->name;
    const char *nearest = text_nearest(name, names);
    return nearest ? arena_format(&w->d->arena, "did you mean \"%s\"?", nearest) : NULL;
}

static void tell_port(struct plan_work *w, const struct node *at, size_t offset,
                      const struct plan_stage *from, const char *port)
{
    struct buf b = {0};
    buf_add_text(&b, "its ports are failed");
    for (size_t i = 0; i < from->port_count; i++)
        buf_print(&b, ", %s", from->ports[i]);
    diag_add_at(w->d, DIAG_ERROR, at, offset, buf_text(&b), "%s has no port \"%s\"", from->name,
                port);
    buf_fini(&b);
}

static bool find_port(struct plan_work *w, struct plan_edge *e, const char *port, size_t offset)
{
    if (strcmp(port, "failed") == 0) {
        e->port = PLAN_PORT_FAILED;
        return true;
    }
    for (size_t i = 0; i < e->from->port_count; i++) {
        if (strcmp(e->from->ports[i], port) != 0)
            continue;
        e->port = (uint32_t)i + 1;
        return true;
    }
    if (e->from->component)
        tell_port(w, e->node, offset, e->from, port);
    return false;
}

/* `stage` or `stage.port`; false after an error. */
static bool resolve(struct plan_work *w, struct plan_edge *e)
{
    const char *text = e->node->text, *dot = strchr(text, '.');
    size_t n = dot ? (size_t)(dot - text) : strlen(text);
    const char *name = arena_copy(&w->d->arena, text, n);
    e->from = plan_find(w->plan, name);
    if (!e->from) {
        diag_add(w->d, DIAG_ERROR, e->node, nearest_stage(w, name), "no stage is named \"%s\"",
                 name);
        return false;
    }
    if (e->from == e->to) {
        diag_add(w->d, DIAG_ERROR, e->node, NULL, "%s reads itself", name);
        return false;
    }
    if (e->from->role == ROLE_SINK && !(dot && strcmp(dot, ".failed") == 0)) {
        diag_add(w->d, DIAG_ERROR, e->node, "read what the sink reads, or its port .failed",
                 "%s is a sink: nothing comes out of it", name);
        return false;
    }
    return !dot || find_port(w, e, dot + 1, n + 1);
}

static bool is_twice(struct plan_work *w, const struct plan_stage *s, const struct plan_edge *e)
{
    for (size_t i = 0; i < s->input_count; i++) {
        const struct plan_edge *o = &s->inputs[i];
        if (o->from != e->from || o->port != e->port)
            continue;
        diag_add(w->d, DIAG_ERROR, e->node, "remove one; join the patterns of where: in one",
                 "%s is read twice: also on line %u", e->node->text, o->node->line);
        return true;
    }
    return false;
}

struct input_options {
    const char *from;
    weir_json where;
};

/* { from: stage.port, where: {pattern} } */
static struct node *read_where(struct plan_work *w, struct node *n, struct plan_edge *e)
{
    static const weir_option rows[] = {WEIR_OPTION(struct input_options, from, .required = true,
                                                   .help = "stage or stage.port"),
                                       WEIR_OPTION(struct input_options, where,
                                                   .help = "an event pattern"),
                                       {0}};
    struct input_options in = {0};
    struct node *from = node_get(n, "from"), *where = node_get(n, "where");
    bool is_good = options_fill(w->d, NULL, rows, n, NULL, NULL, &in);
    e->where = in.where;
    e->where_node = where;
    if (!where || where->kind == NODE_MAP)
        return is_good ? from : NULL;
    diag_add(w->d, DIAG_ERROR, where, "write it as { source: [user-service] }",
             "expected an event pattern, a map, found %s", node_show(w->d, where));
    return NULL;
}

static void read_input(struct plan_work *w, struct plan_stage *s, struct node *n)
{
    struct plan_edge e = {.to = s, .node = n};
    if (n->kind == NODE_MAP)
        e.node = read_where(w, n, &e);
    else if (n->kind != NODE_SCALAR)
        diag_add(w->d, DIAG_ERROR, n, "write stage, stage.port or { from: stage, where: {...} }",
                 "expected an input, found %s", node_show(w->d, n));
    if (!e.node || e.node->kind != NODE_SCALAR || !node_is_name(w->d, e.node) || !resolve(w, &e) ||
        is_twice(w, s, &e))
        return;
    s->inputs[s->input_count++] = e;
}

static const char *fallback_of(const struct plan_stage *s)
{
    const struct plan_fallback *f = s->delivery.fallback.item;
    return f ? f->to : NULL;
}

static bool is_fallback(const struct plan_work *w, const struct plan_stage *s)
{
    for (size_t i = 0; i < w->plan->stage_count; i++) {
        const char *name = fallback_of(w->plan->stages[i]);
        if (s->role == ROLE_SINK && name && strcmp(name, s->name) == 0)
            return true;
    }
    return false;
}

/* `fallback: other` is the same as the other's `inputs: [this.failed]`. */
static void read_fallback(struct plan_work *w, struct plan_stage *s)
{
    const struct plan_fallback *f = s->delivery.fallback.item;
    const char *name = fallback_of(s);
    if (!name)
        return;
    struct plan_edge e = {.from = s, .to = plan_find(w->plan, name), .port = PLAN_PORT_FAILED};
    e.node = places_find(s->places, &f->to);
    if (!e.to || e.to->role != ROLE_SINK || e.to == s) {
        diag_add(w->d, DIAG_ERROR, e.node, "name another sink",
                 e.to == s ? "%s cannot be its own fallback"
                 : e.to    ? "%s is no sink"
                           : "no stage is named \"%s\"",
                 name);
        return;
    }
    if (s->delivery.on_failure != FAILURE_DEAD_LETTER) {
        diag_add(w->d, DIAG_ERROR, e.node, "leave on_failure out",
                 "a fallback gets what would be a dead letter, and %s makes none", s->name);
        return;
    }
    for (size_t i = 0; i < e.to->input_count; i++)
        if (e.to->inputs[i].from == s && e.to->inputs[i].port == PLAN_PORT_FAILED)
            return;
    struct plan_edge *inputs = arena_take(&w->d->arena, (e.to->input_count + 1) * sizeof *inputs);
    if (e.to->input_count)
        memcpy(inputs, e.to->inputs, e.to->input_count * sizeof *inputs);
    inputs[e.to->input_count++] = e;
    e.to->inputs = inputs;
}

static void read_inputs(struct plan_work *w, struct plan_stage *s)
{
    struct node *n = node_get(s->node, "inputs");
    if (!n && is_fallback(w, s))
        return;
    bool is_list = n && n->kind == NODE_LIST;
    if (!n || n->kind == NODE_NULL || (is_list && !n->count)) {
        diag_add(w->d, DIAG_ERROR, n ? node_label(n) : s->name_node,
                 "name the stages that it reads: inputs: [api]", "%s.%s has no inputs",
                 plan_sections[s->role], s->name);
        return;
    }
    size_t count = is_list ? n->count : 1;
    s->inputs = arena_take(&w->d->arena, count * sizeof *s->inputs);
    for (size_t i = 0; i < count; i++)
        read_input(w, s, is_list ? n->items[i] : n);
}

/* `result:` of a source names a stage that events of the source may reach. */
static void check_result(struct plan_work *w, const struct plan_stage *s)
{
    const struct node *n = s->result ? node_get(s->node, "result") : NULL;
    const struct plan_stage *other = n ? plan_find(w->plan, s->result) : NULL;
    if (n && !other)
        diag_add(w->d, DIAG_ERROR, n, nearest_stage(w, s->result), "no stage is named \"%s\"",
                 s->result);
    else if (other && other->role != ROLE_TRANSFORM)
        diag_add(w->d, DIAG_ERROR, n, "name a transform", "%s is a %s: it has no result", s->result,
                 plan_role_names[other->role]);
}

void plan_inputs_read_all(struct plan_work *w)
{
    for (size_t i = 0; i < w->plan->stage_count; i++) {
        struct plan_stage *s = w->plan->stages[i];
        if (s->role == ROLE_SOURCE)
            check_result(w, s);
        else
            read_inputs(w, s);
    }
    for (size_t i = 0; i < w->plan->stage_count; i++)
        read_fallback(w, w->plan->stages[i]);
}

/* ---- what nobody reads ---- */

#define PORT_ANY (UINT32_MAX - 1)

static bool is_read(const struct plan *p, const struct plan_stage *from, uint32_t port)
{
    for (size_t i = 0; i < p->stage_count; i++) {
        for (size_t k = 0; k < p->stages[i]->input_count; k++) {
            const struct plan_edge *e = &p->stages[i]->inputs[k];
            bool fits = port == PORT_ANY ? e->port != PLAN_PORT_FAILED : e->port == port;
            if (e->from == from && fits)
                return true;
        }
    }
    return false;
}

bool plan_inputs_is_server(const weir_component *c)
{
    if (c->offers && *c->offers)
        return true;
    for (const weir_option *row = c->options; row && row->name; row++)
        if (row->type == WEIR_T_SERVICES)
            return true;
    return false;
}

static void warn_ports(struct plan_work *w, const struct plan_stage *s)
{
    uint32_t first = 0;
    while (s->component->ports && s->component->ports[first])
        first++;
    const weir_option *row = s->component->options;
    for (uint32_t port = first; row && row->name; row++) {
        if (row->type != WEIR_T_MAP || !row->ports)
            continue;
        const weir_map *map = (const void *)((const char *)s->state + row->offset);
        for (size_t i = 0; i < map->count; i++)
            if (!is_read(w->plan, s, ++port))
                diag_add(w->d, DIAG_WARNING, places_find(s->places, &map->names[i]),
                         arena_format(&w->d->arena, "read it by inputs: [%s.%s]", s->name,
                                      map->names[i]),
                         "nobody reads the port %s of %s", map->names[i], s->name);
    }
}

void plan_inputs_warn_unread(struct plan_work *w)
{
    for (size_t i = 0; i < w->plan->stage_count; i++) {
        const struct plan_stage *s = w->plan->stages[i];
        if (s->role >= ROLE_SINK || !s->component || plan_inputs_is_server(s->component))
            continue;
        if (s->role == ROLE_SOURCE && is_read(w->plan, s, 0))
            continue; /* who reads a source itself reads all that it brings */
        if (is_read(w->plan, s, PORT_ANY))
            warn_ports(w, s);
        else
            diag_add(w->d, DIAG_WARNING, s->name_node,
                     arena_format(&w->d->arena, "read it by inputs: [%s]", s->name),
                     "nobody reads %s: its events end there", s->name);
    }
}
