/* cli/rules_file.c: weir rules list, explain and test: the rules of a pipeline file, on events. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/rules.h"
#include "json/json.h"

enum { EVENT_BYTES_MAX = 16 << 20 };

/* ---- the rules -------------------------------------------------------------------------------- */

int rules_load(const struct rules_options *o, const char *path, struct rules_loaded *l)
{
    *l = (struct rules_loaded){0};
    int code = load_pipeline(path, &o->file, false, &l->pipeline);
    if (code != EXIT_OK)
        return code;
    l->rules = service_tables_rules(l->pipeline.services, &l->count);
    l->set = match_set_new(service_tables_env(l->pipeline.services));
    for (size_t i = 0; i < l->count; i++)
        (void)match_add(l->set, l->rules[i].pattern,
                        NULL); /* the check of the stage has passed it */
    match_seal(l->set);
    return EXIT_OK;
}

void rules_free(struct rules_loaded *l)
{
    match_set_free(l->set);
    load_free(&l->pipeline);
}

weir_str rules_name(const struct service_rule *r, struct arena *a)
{
    char *text = arena_format(a, "%s%s%.*s", r->stage->name, r->name.len ? "." : "",
                              (int)r->name.len, r->name.ptr);
    return weir_text(text);
}

int rules_list(const struct rules_options *o, const char *path)
{
    struct rules_loaded l;
    struct arena arena;
    int code = rules_load(o, path, &l);
    arena_init(&arena);
    for (size_t i = 0; code == EXIT_OK && i < l.count; i++) {
        weir_str name = rules_name(&l.rules[i], &arena), pattern = l.rules[i].pattern;
        if (o->json) {
            struct buf line = {0};
            buf_add_text(&line, "{\"rule\": ");
            json_quote(&line, name);
            buf_add_text(&line, ", \"pattern\": ");
            buf_add_str(&line, pattern);
            (void)printf("%s}\n", buf_text(&line));
            buf_fini(&line);
        } else {
            (void)printf("%-30.*s %.*s\n", (int)name.len, name.ptr, (int)pattern.len, pattern.ptr);
        }
    }
    arena_fini(&arena);
    rules_free(&l);
    return code;
}

/* ---- explain ---------------------------------------------------------------------------------- */

static int read_event(const char *path, struct buf *out, struct error *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    const char *why = NULL;
    size_t at = 0, n = 0;
    if (!f)
        return error_sys(e, errno, "open %s", path);
    while (out->len <= EVENT_BYTES_MAX && (n = fread(buf_room(out, 65536), 1, 65536, f)) > 0)
        out->len += n;
    bool is_broken = ferror(f) != 0;
    if (!is_stdin)
        (void)fclose(f);
    if (is_broken)
        return error_set(e, EXIT_IO, "read %s: failed", path);
    if (out->len > EVENT_BYTES_MAX)
        return error_set(e, EXIT_BAD_DATA, "%s: an event has at most %d bytes", path,
                         EVENT_BYTES_MAX);
    if (json_check(buf_str(out), &at, &why) != WEIR_OK)
        return error_set(e, EXIT_BAD_DATA, "%s: byte %zu: %s: an event is a JSON object", path, at,
                         why ? why : "not JSON");
    if (json_kind(buf_str(out)) != WEIR_JSON_OBJECT)
        return error_set(e, EXIT_BAD_DATA, "%s: an event is a JSON object", path);
    return 0;
}

/* The `where` of each input that has one. */
struct wheres {
    struct match_set *set;
    const struct plan_edge **edges;
    size_t count, cap;
};

static void wheres_load(struct wheres *w, const struct loaded *l)
{
    *w = (struct wheres){.set = match_set_new(service_tables_env(l->services))};
    for (size_t i = 0; i < l->plan->stage_count; i++) {
        const struct plan_stage *s = l->plan->stages[i];
        for (size_t k = 0; k < s->input_count; k++) {
            const struct plan_edge *edge = &s->inputs[k];
            weir_str pattern = {edge->where.ptr, edge->where.len};
            if (pattern.len && match_add(w->set, pattern, NULL) == WEIR_OK)
                MEM_PUSH(w->edges, w->count, w->cap) = edge;
        }
    }
    match_seal(w->set);
}

static void wheres_free(struct wheres *w)
{
    match_set_free(w->set);
    mem_free(w->edges);
}

/* "bus.large", as it stands among the inputs. */
static weir_str input_name(const struct plan_edge *e, struct arena *a)
{
    const char *port = e->port == PLAN_PORT_FAILED ? "failed"
                       : e->port                   ? e->from->ports[e->port - 1]
                                                   : NULL;
    return weir_text(arena_format(a, "%s%s%s", e->from->name, port ? "." : "", port ? port : ""));
}

struct explaining {
    const struct rules_options *options;
    struct rules_loaded rules;
    struct wheres wheres;
    struct arena arena;
    struct buf event;
    size_t told;
};

/* head: the JSON members, or the words, that name what is explained. */
static void explain_one(struct explaining *x, const struct match_set *set, size_t i,
                        const struct buf *head)
{
    struct buf text = {0};
    bool is_json = x->options->json;
    x->told++;
    buf_add_text(&text, is_json ? "{" : "");
    buf_add_str(&text, buf_str(head));
    buf_add_text(&text, is_json ? ", \"why\": " : ": ");
    (void)match_explain_json(set, (uint32_t)i, buf_str(&x->event), is_json ? NULL : &text,
                             is_json ? &text : NULL);
    buf_add_text(&text, is_json ? "}\n" : "");
    cli_print(buf_str(&text), false);
    buf_fini(&text);
}

static void explain_rule(struct explaining *x, size_t i)
{
    const struct rules_options *o = x->options;
    const struct service_rule *r = &x->rules.rules[i];
    weir_str name = rules_name(r, &x->arena);
    struct buf head = {0};
    if (o->rule && !weir_same(name, o->rule) && !weir_same(r->name, o->rule))
        return;
    if (o->stage && strcmp(r->stage->name, o->stage) != 0)
        return;
    if (o->json) {
        buf_add_text(&head, "\"rule\": ");
        json_quote(&head, name);
    } else {
        buf_add_str(&head, name);
    }
    explain_one(x, x->rules.set, i, &head);
    buf_fini(&head);
}

static void explain_where(struct explaining *x, size_t i)
{
    const struct rules_options *o = x->options;
    const struct plan_edge *edge = x->wheres.edges[i];
    weir_str input = input_name(edge, &x->arena), stage = weir_text(edge->to->name);
    struct buf head = {0};
    if (o->rule || (o->stage && !weir_same(stage, o->stage)))
        return;
    if (o->json) {
        buf_add_text(&head, "\"stage\": ");
        json_quote(&head, stage);
        buf_add_text(&head, ", \"input\": ");
        json_quote(&head, input);
    } else {
        buf_print(&head, "%s, where of %s", stage.ptr, input.ptr);
    }
    explain_one(x, x->wheres.set, i, &head);
    buf_fini(&head);
}

static int unknown_name(const char *what, const char *name, const char **words)
{
    struct error e = {0};
    const char *near = text_nearest(name, words);
    (void)error_set(&e, EXIT_USAGE_ERROR, "no %s is named %s%s%s%s", what, name,
                    near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
    return cli_fail(&e);
}

static int unknown_rule(struct explaining *x)
{
    const struct rules_loaded *l = &x->rules;
    const char **words = arena_take(&x->arena, (l->count + 1) * sizeof(char *));
    for (size_t i = 0; i < l->count; i++)
        words[i] = rules_name(&l->rules[i], &x->arena).ptr;
    return unknown_name("rule", x->options->rule, words);
}

static int nothing_of_stage(struct explaining *x)
{
    const struct plan *plan = x->rules.pipeline.plan;
    const char **words = arena_take(&x->arena, (plan->stage_count + 1) * sizeof(char *));
    struct error e = {0};
    for (size_t i = 0; i < plan->stage_count; i++) {
        words[i] = plan->stages[i]->name;
        if (strcmp(words[i], x->options->stage) != 0)
            continue;
        (void)error_set(&e, EXIT_USAGE_ERROR, "the stage %s has no rules, and its inputs no where",
                        words[i]);
        return cli_fail(&e);
    }
    return unknown_name("stage", x->options->stage, words);
}

static int explain_all(struct explaining *x)
{
    struct error e = {0};
    if (read_event(x->options->event, &x->event, &e) != 0)
        return cli_fail(&e);
    for (size_t i = 0; i < x->rules.count; i++)
        explain_rule(x, i);
    for (size_t i = 0; i < x->wheres.count; i++)
        explain_where(x, i);
    if (!x->told && x->options->rule)
        return unknown_rule(x);
    return !x->told && x->options->stage ? nothing_of_stage(x) : EXIT_OK;
}

int rules_explain(const struct rules_options *o, const char *path)
{
    struct explaining x = {.options = o};
    int code = rules_load(o, path, &x.rules);
    arena_init(&x.arena);
    if (code == EXIT_OK) {
        wheres_load(&x.wheres, &x.rules.pipeline);
        code = explain_all(&x);
        wheres_free(&x.wheres);
    }
    buf_fini(&x.event);
    arena_fini(&x.arena);
    rules_free(&x.rules);
    return code;
}

/* ---- test ------------------------------------------------------------------------------------- */

struct testing {
    struct rules_loaded rules;
    struct match_ctx *ctx;
    struct document *document; /* of the cases */
    struct arena arena;
    size_t passed, failed;
};

static bool is_listed(const struct node *list, weir_str name)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->kind == NODE_SCALAR && weir_same(name, list->items[i]->text))
            return true;
    return false;
}

static bool is_hit(const uint32_t *hits, size_t count, size_t rule)
{
    for (size_t i = 0; i < count; i++)
        if (hits[i] == rule)
            return true;
    return false;
}

static void tell_case(struct testing *t, const struct node *name, size_t number)
{
    if (name && name->kind == NODE_SCALAR)
        (void)printf("FAIL %s\n", name->text);
    else
        (void)printf("FAIL case %zu\n", number + 1);
    t->failed++;
}

/* What was expected and is not there, and what is there and was not expected. */
static size_t print_differences(struct testing *t, const struct node *wanted, weir_str event,
                                const uint32_t *hits, size_t count)
{
    size_t differences = 0;
    for (size_t i = 0; i < t->rules.count; i++) {
        weir_str name = rules_name(&t->rules.rules[i], &t->arena);
        bool is_wanted = is_listed(wanted, name), is_found = is_hit(hits, count, i);
        if (is_wanted == is_found)
            continue;
        struct buf text = {0};
        differences++;
        buf_print(&text, "  %c %.*s: ", is_wanted ? '-' : '+', (int)name.len, name.ptr);
        (void)match_explain_json(t->rules.set, (uint32_t)i, event, &text, NULL);
        cli_print(buf_str(&text), false);
        buf_fini(&text);
    }
    return differences;
}

static bool check_names(struct testing *t, const struct node *wanted)
{
    bool is_ok = true;
    for (size_t i = 0; i < wanted->count; i++) {
        const struct node *item = wanted->items[i];
        bool is_known = false;
        for (size_t k = 0; k < t->rules.count && item->kind == NODE_SCALAR; k++)
            is_known |= weir_same(rules_name(&t->rules.rules[k], &t->arena), item->text);
        if (!is_known)
            diag_add(t->document, DIAG_ERROR, item, "`weir rules list` names them",
                     "there is no such rule");
        is_ok &= is_known;
    }
    return is_ok;
}

static void test_case(struct testing *t, struct node *node, size_t number)
{
    struct node *event = node->kind == NODE_MAP ? node_get(node, "event") : NULL;
    struct node *wanted = node->kind == NODE_MAP ? node_get(node, "rules") : NULL;
    if (!event || event->kind != NODE_MAP || !wanted ||
        (wanted->kind != NODE_LIST && wanted->kind != NODE_NULL)) {
        diag_add(t->document, DIAG_ERROR, node, NULL,
                 "a case has `event`, a map, and `rules`, a list of names such as bus.large");
        return;
    }
    if (!check_names(t, wanted))
        return;
    weir_json json = node_json_make(t->document, event);
    weir_str text = {json.ptr, json.len};
    const uint32_t *hits;
    size_t count = match_json(t->ctx, text, 0, &hits), differences = 0;
    for (size_t i = 0; count != SIZE_MAX && i < t->rules.count; i++)
        differences +=
            is_listed(wanted, rules_name(&t->rules.rules[i], &t->arena)) != is_hit(hits, count, i);
    if (!differences && count != SIZE_MAX) {
        t->passed++;
        return;
    }
    tell_case(t, node_get(node, "name"), number);
    (void)print_differences(t, wanted, text, hits, count);
}

static int test_all(struct testing *t)
{
    struct node *root = document_root(t->document);
    struct node *cases = root && root->kind == NODE_MAP ? node_get(root, "cases") : root;
    if (document_errors(t->document))
        cases = NULL;
    else if (!cases || cases->kind != NODE_LIST)
        diag_add(t->document, DIAG_ERROR, root, NULL,
                 "expected `cases`, a list of maps with `event` and `rules`");
    for (size_t i = 0; cases && cases->kind == NODE_LIST && i < cases->count; i++)
        test_case(t, cases->items[i], i);
    if (document_errors(t->document)) {
        diag_print(t->document, stderr, cli_has_color(stderr));
        return EXIT_BAD_DATA;
    }
    (void)printf("%zu passed, %zu failed\n", t->passed, t->failed);
    return t->failed ? EXIT_TESTS_FAILED : EXIT_OK;
}

int rules_test(const struct rules_options *o, const char *cases, const char *path)
{
    struct testing t = {0};
    int code = rules_load(o, path, &t.rules);
    arena_init(&t.arena);
    if (code == EXIT_OK) {
        const struct config_input in = {.path = cases};
        t.ctx = match_ctx_new(t.rules.set);
        t.document = document_load(&in);
        code = test_all(&t);
        document_free(t.document);
        match_ctx_free(t.ctx);
    }
    arena_fini(&t.arena);
    rules_free(&t.rules);
    return code;
}
