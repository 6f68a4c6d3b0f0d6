/* config/plan_graph.c: the plan drawn: a tree for the terminal, Graphviz, Mermaid. */
#include <string.h>

#include "config/plan.h"

enum { TREE_DEPTH_MAX = 100 };

static const char *port_name(const struct plan_edge *e)
{
    if (e->port == PLAN_PORT_FAILED)
        return "failed";
    return e->port ? e->from->ports[e->port - 1] : "";
}

typedef void edge_fn(void *arg, const struct plan_edge *e);

static void each_reader(const struct plan *p, const struct plan_stage *s, edge_fn *fn, void *arg)
{
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->input_count; k++)
            if (p->stages[i]->inputs[k].from == s)
                fn(arg, &p->stages[i]->inputs[k]);
}

/* ---- the tree ---- */

struct tree {
    const struct plan *p;
    struct buf *out;
    struct buf prefix;
    bool *is_drawn; /* by index of the stage */
    size_t left;    /* readers of this stage that are still to come */
    unsigned depth;
};

static void count_edge(void *arg, const struct plan_edge *e)
{
    (void)e;
    ++*(size_t *)arg;
}

static void draw_readers(struct tree *t, const struct plan_stage *s);

static void draw_stage(struct tree *t, const struct plan_stage *s)
{
    size_t readers = 0;
    each_reader(t->p, s, count_edge, &readers);
    bool is_cut = readers && (t->is_drawn[s->index] || t->depth == TREE_DEPTH_MAX);
    buf_print(t->out, "%s (%s)%s\n", s->name, s->plugin,
              !is_cut                 ? ""
              : t->is_drawn[s->index] ? ", as above"
                                      : " ...");
    t->is_drawn[s->index] = true;
    if (!is_cut)
        draw_readers(t, s);
}

static void draw_edge(void *arg, const struct plan_edge *e)
{
    struct tree *t = arg;
    bool is_last = --t->left == 0;
    buf_add_str(t->out, buf_str(&t->prefix));
    buf_add_text(t->out, is_last ? "`-- " : "|-- ");
    if (e->port)
        buf_print(t->out, ".%s -> ", port_name(e));
    if (e->where.len)
        buf_add_text(t->out, "where ... -> ");
    size_t left = t->left, len = t->prefix.len;
    buf_add_text(&t->prefix, is_last ? "    " : "|   ");
    t->depth++;
    draw_stage(t, e->to);
    t->depth--;
    t->prefix.len = len;
    t->left = left;
}

static void draw_readers(struct tree *t, const struct plan_stage *s)
{
    t->left = 0;
    each_reader(t->p, s, count_edge, &t->left);
    each_reader(t->p, s, draw_edge, t);
}

static void print_tree(const struct plan *p, struct buf *out)
{
    struct tree t = {.p = p, .out = out, .is_drawn = mem_new(p->stage_count + 1)};
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->role == ROLE_SOURCE)
            draw_stage(&t, p->stages[i]);
    buf_fini(&t.prefix);
    mem_free(t.is_drawn);
}

/* ---- Graphviz and Mermaid ---- */

static void dot_edge(void *arg, const struct plan_edge *e)
{
    buf_print(arg, "  \"%s\" -> \"%s\"", e->from->name, e->to->name);
    if (e->port || e->where.len)
        buf_print(arg, " [label=\"%s%s\"%s]", port_name(e), e->where.len ? " where" : "",
                  e->port == PLAN_PORT_FAILED ? ", style=dashed" : "");
    buf_add_text(arg, ";\n");
}

static void print_dot(const struct plan *p, struct buf *out)
{
    static const char *const shapes[] = {"cds", "box", "cylinder"};
    buf_add_text(out, "digraph weir {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->role != ROLE_SERVICE)
            buf_print(out, "  \"%s\" [label=\"%s\\n%s\", shape=%s];\n", p->stages[i]->name,
                      p->stages[i]->name, p->stages[i]->plugin, shapes[p->stages[i]->role]);
    for (size_t i = 0; i < p->stage_count; i++)
        each_reader(p, p->stages[i], dot_edge, out);
    buf_add_text(out, "}\n");
}

static void mermaid_edge(void *arg, const struct plan_edge *e)
{
    buf_print(arg, "  s%zu %s", e->from->index, e->port == PLAN_PORT_FAILED ? "-.->" : "-->");
    if (e->port || e->where.len)
        buf_print(arg, "|%s%s|", port_name(e), e->where.len ? " where" : "");
    buf_print(arg, " s%zu\n", e->to->index);
}

static void print_mermaid(const struct plan *p, struct buf *out)
{
    static const char *const open[] = {"([", "[", "[("}, *const close[] = {"])", "]", ")]"};
    buf_add_text(out, "flowchart LR\n");
    for (size_t i = 0; i < p->stage_count; i++) {
        const struct plan_stage *s = p->stages[i];
        if (s->role == ROLE_SERVICE)
            continue;
        buf_print(out, "  s%zu%s\"%s<br/>%s\"%s\n", i, open[s->role], s->name, s->plugin,
                  close[s->role]);
    }
    for (size_t i = 0; i < p->stage_count; i++)
        each_reader(p, p->stages[i], mermaid_edge, out);
}

void plan_print_graph(const struct plan *p, int format, struct buf *out)
{
    if (format == GRAPH_DOT)
        print_dot(p, out);
    else if (format == GRAPH_MERMAID)
        print_mermaid(p, out);
    else
        print_tree(p, out);
}
