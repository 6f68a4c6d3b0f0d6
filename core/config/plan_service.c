/* config/plan_service.c: what stages need and no stage offers: a service that becomes a stage by itself. */
#include <string.h>

#include "config/plan_tables.h"

static bool offers(const weir_component *c, const char *service)
{
    for (const weir_service *const *s = c ? c->offers : NULL; s && *s; s++)
        if (strcmp((*s)->id, service) == 0)
            return true;
    return false;
}

static bool is_offered(const struct plan *p, const char *service)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (offers(p->stages[i]->component, service))
            return true;
    return false;
}

static void add(struct plan_work *w, const weir_component *c, const struct plan_stage *user)
{
    struct plan_stage *s = arena_take(&w->d->arena, sizeof *s);
    bool is_taken = plan_find(w->plan, c->name) != NULL;
    *s = (struct plan_stage){0};
    s->name = is_taken ? arena_format(&w->d->arena, "%s-service", c->name) : c->name;
    s->name_node = user->name_node;
    s->node = arena_take(&w->d->arena, sizeof *s->node); /* as if {} stood there */
    *s->node = (struct node){.kind = NODE_MAP,
                             .line = user->name_node->line,
                             .column = user->name_node->column,
                             .file = user->name_node->file};
    s->plugin = c->name;
    s->component = c;
    s->role = ROLE_SERVICE;
    s->places = places_new(w->d);
    s->index = w->plan->stage_count;
    MEM_PUSH(w->plan->stages, w->plan->stage_count, w->cap) = s;
    plan_stage_fill(w, s);
}

static void add_for(struct plan_work *w, const struct plan_stage *user)
{
    for (const weir_option *row = user->component ? user->component->options : NULL;
         row && row->name; row++) {
        const void *const *at = (const void *)((const char *)user->state + row->offset);
        if (row->type != WEIR_T_SERVICE || *at || is_offered(w->plan, row->name))
            continue;
        const weir_component *c = w->components->offerer(w->components->user, row->name);
        if (c)
            add(w, c, user);
    }
}

/* A service may need another: those that come in are looked at as well. */
void plan_service_add_all(struct plan_work *w)
{
    for (size_t i = 0; w->components->offerer && i < w->plan->stage_count; i++)
        add_for(w, w->plan->stages[i]);
}
