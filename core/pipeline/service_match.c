/* pipeline/service_match.c: weir.match/1 and weir.shape/1: patterns and shapes for plugins. */
#include <string.h>

#include "base/mem.h"
#include "match/shape.h"
#include "pipeline/explain.h"
#include "pipeline/graph.h"
#include "pipeline/services.h"

struct weir_match_set {
    struct weir_match_set *next; /* of the pipeline */
    const struct stage *stage;
    size_t index; /* among its stage's */
    struct match_set *set;
    atomic_bool is_sealed;
    size_t lanes;
    struct match_ctx **ctx; /* one a worker, made by its first test */
    struct arena arena;
    weir_str *names; /* of the patterns, as the file has them */
    size_t name_count, name_cap;
};

/* Under the pipeline's lock. */
static struct weir_match_set **find_set(const struct stage *stage, bool is_outgoing, size_t index)
{
    struct weir_match_set **at = &stage->pipeline->match_sets;
    while (*at && (strcmp((*at)->stage->name, stage->name) != 0 || (*at)->index != index ||
                   (*at)->stage->is_outgoing != is_outgoing))
        at = &(*at)->next;
    return at;
}

/* A reload starts from what the same stage had before: patterns that stay are not compiled again. */
static void enter(struct weir_match_set *s, const struct match_env *env)
{
    struct pipeline *p = s->stage->pipeline;
    (void)pthread_mutex_lock(&p->lock);
    while (*find_set(s->stage, false, s->index))
        s->index++;
    const struct weir_match_set *old = *find_set(s->stage, true, s->index);
    bool is_sealed = old && atomic_load_explicit(&old->is_sealed, memory_order_acquire);
    s->set = match_set_after(is_sealed ? old->set : NULL, env);
    s->next = p->match_sets;
    p->match_sets = s;
    (void)pthread_mutex_unlock(&p->lock);
}

static void leave(const struct weir_match_set *s)
{
    struct pipeline *p = s->stage->pipeline;
    (void)pthread_mutex_lock(&p->lock);
    struct weir_match_set **at = &p->match_sets;
    while (*at && *at != s)
        at = &(*at)->next;
    if (*at)
        *at = s->next;
    (void)pthread_mutex_unlock(&p->lock);
}

static void set_free(void *arg)
{
    struct weir_match_set *s = arg;
    if (s->stage->pipeline)
        leave(s);
    for (size_t i = 0; i < s->lanes; i++)
        match_ctx_free(s->ctx[i]);
    match_set_free(s->set);
    arena_fini(&s->arena);
    mem_free(s->names);
    mem_free(s->ctx);
    mem_free(s);
}

static weir_match_set *set_new(const weir_match *m)
{
    struct lane *l = service_lane("weir.match/1");
    struct weir_match_set *s = MEM_NEW(struct weir_match_set);
    s->stage = l->stage;
    const struct match_env *env = &service_tables_of(&m->base)->env;
    if (l->stage->pipeline)
        enter(s, env);
    else
        s->set = match_set_new(env);
    arena_init(&s->arena);
    s->lanes = l->stage->pipeline ? l->stage->pipeline->worker_total + 1 : 1;
    s->ctx = mem_new(s->lanes * sizeof(struct match_ctx *));
    service_at_end(l->stage, set_free, s);
    return s;
}

/* The name of the map in the stage that the option stands in; empty: it is the stage's own. */
static weir_str rule_name(const struct stage *s, const struct node *node)
{
    const struct node *map = node ? node->parent : NULL;
    const struct node *key = map && map != s->plan->node ? map->key : NULL;
    return key ? (weir_str){key->text, key->len} : (weir_str){"", 0};
}

/* While a stage is checked: what it compiles are the rules that it will have. */
static void note_rule(struct service_tables *t, const struct stage *s, const weir_json *pattern)
{
    const struct node *node = places_find(s->plan->places, pattern);
    if (s->pipeline)
        return;
    MEM_PUSH(t->rules, t->rule_count, t->rule_cap) = (struct service_rule){
        .stage = s->plan,
        .node = node,
        .name = rule_name(s, node),
        .pattern = {pattern->ptr, pattern->len},
    };
}

static weir_status set_add(const weir_match *m, weir_match_set *s, const weir_json *pattern)
{
    struct lane *l = service_lane("weir.match/1");
    struct match_error e = {{0}, 0};
    weir_str text = {pattern->ptr, pattern->len};
    note_rule(service_tables_of(&m->base), l->stage, pattern);
    if (match_add(s->set, text, &e) == WEIR_OK) {
        weir_str name = rule_name(l->stage, places_find(l->stage->plan->places, pattern));
        name = name.len ? name : weir_text("pattern");
        MEM_PUSH(s->names, s->name_count, s->name_cap) =
            (weir_str){arena_copy(&s->arena, name.ptr, name.len), name.len};
        return WEIR_OK;
    }
    return l->host.refuse(&l->host, pattern, e.at, "the pattern is not valid: %s", e.reason);
}

/* The first test of any worker ends the building. */
static void seal(weir_match_set *s)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (atomic_load_explicit(&s->is_sealed, memory_order_acquire))
        return;
    (void)pthread_mutex_lock(&lock);
    if (!atomic_load_explicit(&s->is_sealed, memory_order_relaxed))
        match_seal(s->set);
    atomic_store_explicit(&s->is_sealed, true, memory_order_release);
    (void)pthread_mutex_unlock(&lock);
}

static struct match_ctx *ctx_of(weir_match_set *s, const struct lane *l)
{
    size_t i = l->worker ? l->worker->index : 0;
    seal(s);
    if (!s->ctx[i])
        s->ctx[i] = match_ctx_new(s->set);
    return s->ctx[i];
}

static weir_match_set *whole(const weir_match_set *set)
{
    union {
        const weir_match_set *in;
        weir_match_set *out;
    } same = {set};
    return same.out;
}

static size_t set_test(const weir_match *m, const weir_match_set *set, const weir_event *ev,
                       const uint32_t **hits)
{
    struct lane *l = service_lane("weir.match/1");
    bool is_json = payload_is_json(ev->body);
    struct match_ctx *c = ctx_of(whole(set), l);
    size_t n = match_event(c, ev, is_json ? MATCH_KNOWN_GOOD : 0, hits);
    if (match_was_cut(c))
        graph_match_cut(l->stage, &ev->id);
    n = n == SIZE_MAX ? 0 : n;
    if (l->worker && l->stage->pipeline && explain_may(l->worker, ev)) {
        struct explained of = {set->set, set->names, *hits, n};
        explain_rules(l->worker, l->stage, &of, event_of(ev));
    }
    return n;
}

static weir_str set_explain(const weir_match *m, const weir_match_set *set, uint32_t n,
                            const weir_event *ev)
{
    struct lane *l = service_lane("weir.match/1");
    struct buf text = {0};
    if (set->stage->pipeline)
        seal(whole(set)); /* one that comes after another has its patterns only then */
    match_explain(set->set, n, ev, &text);
    weir_str copy = {arena_copy(&l->scratch, text.ptr, text.len), text.len};
    buf_fini(&text);
    return copy;
}

void service_match_init(struct service_tables *t)
{
    t->match = (weir_match){WEIR_OFFER(WEIR_MATCH), set_new, set_add, set_test, set_explain};
}

/* ---- shapes ---- */

static void shape_end(void *arg)
{
    shape_free(arg);
}

static weir_status compile(const weir_shapes *s, const char *const *path, const weir_pairs *paths,
                           const char *const *text, weir_shape **shape)
{
    struct lane *l = service_lane("weir.shape/1");
    struct error e = {0};
    struct shape_fault fault = {0};
    const struct match_env *env = &service_tables_of(&s->base)->env;
    static const weir_pairs none;
    struct shape *made =
        shape_new(env, path ? *path : NULL, paths ? paths : &none, text ? *text : NULL, &e, &fault);
    if (!made) {
        const void *member = fault.which == SHAPE_PATH    ? (const void *)path
                             : fault.which == SHAPE_PATHS ? (const void *)paths
                                                          : (const void *)text;
        return l->host.refuse(&l->host, member, fault.at, "%s", e.text);
    }
    service_at_end(l->stage, shape_end, made);
    *shape = (weir_shape *)made;
    return WEIR_OK;
}

static weir_status constant(const weir_shapes *s, const weir_json *json, weir_shape **shape)
{
    struct lane *l = service_lane("weir.shape/1");
    struct error e = {0};
    struct shape *made = shape_constant((weir_str){json->ptr, json->len}, &e);
    if (!made)
        return l->host.refuse(&l->host, json, 0, "%s", e.text);
    service_at_end(l->stage, shape_end, made);
    *shape = (weir_shape *)made;
    return WEIR_OK;
}

static weir_payload *from_text(struct lane *l, const struct buf *text)
{
    char *data = NULL;
    weir_payload *p = l->host.alloc(&l->host, text->len, &data);
    if (p && text->len)
        memcpy(data, text->ptr, text->len);
    return p;
}

static weir_payload *apply(const weir_shapes *s, const weir_shape *shape, const weir_event *ev,
                           const char *rule)
{
    struct lane *l = service_lane("weir.shape/1");
    struct buf text = {0};
    shape_apply((const struct shape *)shape, ev, rule, l->host.now(&l->host), &text);
    weir_payload *p = from_text(l, &text);
    buf_fini(&text);
    return p;
}

static weir_payload *envelope(const weir_shapes *s, const weir_event *ev)
{
    struct lane *l = service_lane("weir.shape/1");
    struct buf *text = &l->worker->text;
    text->len = 0;
    match_envelope(&service_tables_of(&s->base)->env, ev, text);
    weir_payload *p = from_text(l, text);
    if (p && payload_is_json(ev->body))
        payload_set_json(p);
    return p;
}

void service_shape_init(struct service_tables *t)
{
    t->shape = (weir_shapes){WEIR_OFFER(WEIR_SHAPE), compile, apply, envelope, constant};
}
