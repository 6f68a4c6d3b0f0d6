/* config/plan_order.c: stages in the order of the data, and rings, which cannot be. */
#include <string.h>

#include "config/plan_tables.h"

enum { WHITE, GREY, BLACK };

struct order {
    struct plan_work *w;
    unsigned char *color;
    struct plan_stage **path, **out; /* the stages being looked at; those in order */
    size_t *next;                    /* the input of path[i] that is due */
    size_t depth, count;
};

/* path[from..] is a ring: each reads the one after it. */
static void tell_ring(struct order *o, size_t from, const struct plan_edge *closing)
{
    struct buf b = {0};
    buf_add_text(&b, closing->from->name);
    for (size_t i = o->depth; i-- > from;)
        buf_print(&b, " -> %s", o->path[i]->name);
    diag_add(o->w->d, DIAG_ERROR, closing->node,
             "take one input out; events that come back go through a queue", "a ring: %s",
             buf_text(&b));
    buf_fini(&b);
}

static void enter(struct order *o, struct plan_stage *s)
{
    o->color[s->index] = GREY;
    o->next[o->depth] = 0;
    o->path[o->depth++] = s;
}

static void look_at(struct order *o, const struct plan_edge *e)
{
    if (o->color[e->from->index] == WHITE) {
        enter(o, e->from);
        return;
    }
    if (o->color[e->from->index] == BLACK)
        return;
    size_t from = 0;
    while (o->path[from] != e->from)
        from++;
    tell_ring(o, from, e);
}

static void visit(struct order *o, struct plan_stage *first)
{
    enter(o, first);
    while (o->depth) {
        struct plan_stage *s = o->path[o->depth - 1];
        if (o->next[o->depth - 1] < s->input_count) {
            look_at(o, &s->inputs[o->next[o->depth - 1]++]);
            continue;
        }
        o->color[s->index] = BLACK;
        o->out[o->count++] = s;
        o->depth--;
    }
}

void plan_order(struct plan_work *w)
{
    struct plan *p = w->plan;
    size_t n = p->stage_count;
    struct arena *a = &w->d->arena;
    struct order o = {.w = w};
    o.color = arena_take(a, n + 1);
    o.path = arena_take(a, (n + 1) * sizeof(void *));
    o.out = arena_take(a, (n + 1) * sizeof(void *));
    o.next = arena_take(a, (n + 1) * sizeof *o.next);
    for (int role = ROLE_SOURCE; role <= ROLE_SERVICE; role++)
        for (size_t i = 0; i < n; i++)
            if ((int)p->stages[i]->role == role && o.color[i] == WHITE)
                visit(&o, p->stages[i]);
    for (size_t i = 0; i < n; i++) {
        p->stages[i] = o.out[i];
        p->stages[i]->index = i;
    }
}
