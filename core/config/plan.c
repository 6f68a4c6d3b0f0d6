/* config/plan.c: the tree of the pipeline file made into a checked plan: settings, stages, edges. */
#include "config/plan.h"

#include <string.h>

#include "config/plan_tables.h"

const char *const plan_sections[] = {"sources", "transforms", "sinks", NULL};
const char *const plan_role_names[] = {"source", "transform", "sink"};
const char *const plan_core_keys[] = {"plugin",      "inputs",      "buffer", "batch",
                                      "retry",       "concurrency", "rate",   "result",
                                      "dead_letter", "on_failure",  NULL};

/* A source only has its result; a buffer is what a sink reads from. */
bool plan_key_fits(enum role role, const char *key)
{
    if (strcmp(key, "plugin") == 0)
        return true;
    if (strcmp(key, "result") == 0)
        return role == ROLE_SOURCE;
    return role == ROLE_SINK || (role == ROLE_TRANSFORM && strcmp(key, "buffer") != 0);
}

static size_t count_role(const struct plan *p, enum role role)
{
    size_t n = 0;
    for (size_t i = 0; i < p->stage_count; i++)
        n += p->stages[i]->role == role;
    return n;
}

static bool has_server(const struct plan *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->component && plan_inputs_is_server(p->stages[i]->component))
            return true;
    return false;
}

/* Where a server answers for others, a pipeline may end in it. */
static void check_ends(struct plan_work *w, struct node *root)
{
    static const char *const helps[] = {
        [ROLE_SOURCE] = "add some: sources: { api: { plugin: http, listen: 127.0.0.1:3000 } }",
        [ROLE_SINK] =
            "add some: sinks: { out: { plugin: file, inputs: [api], path: out.ndjson } }"};
    for (int role = ROLE_SOURCE; role <= ROLE_SINK; role += ROLE_SINK - ROLE_SOURCE) {
        struct node *section = node_get(root, plan_sections[role]);
        bool is_empty = !section || section->kind == NODE_NULL ||
                        (section->kind == NODE_MAP && section->count == 0);
        bool is_due = role == ROLE_SOURCE || !has_server(w->plan);
        if (is_due && is_empty && !count_role(w->plan, (enum role)role))
            diag_add(w->d, DIAG_ERROR, section ? node_label(section) : NULL, helps[role],
                     "the pipeline has no %s", plan_sections[role]);
    }
}

static void read_all(struct plan_work *w)
{
    struct node *root = document_root(w->d);
    if (!root)
        return;
    if (root->kind != NODE_MAP) {
        diag_add(w->d, DIAG_ERROR, root,
                 "a pipeline file starts with keys such as sources:", "expected a map, found %s",
                 node_kind_name(root));
        return;
    }
    plan_settings_read(w, root);
    plan_stage_read_all(w, root);
    check_ends(w, root);
    plan_inputs_read_all(w);
    plan_order(w);
    if (!document_errors(w->d)) /* else it may be unread because of a slip in a name */
        plan_inputs_warn_unread(w);
}

struct plan *plan_new(struct document *d, const struct plan_components *c)
{
    struct plan_work w = {.d = d, .components = c, .plan = MEM_NEW(struct plan)};
    w.plan->document = d;
    w.places = places_new(d);
    read_all(&w);
    places_free(w.places);
    if (!document_errors(d))
        return w.plan;
    plan_free(w.plan);
    return NULL;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->stage_count; i++) {
        mem_free(p->stages[i]->state);
        places_free(p->stages[i]->places);
    }
    mem_free(p->stages);
    mem_free(p);
}

struct plan_stage *plan_find(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (strcmp(p->stages[i]->name, name) == 0)
            return p->stages[i];
    return NULL;
}
