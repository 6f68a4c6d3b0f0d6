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

static void explain_one(const struct rules_options *o, const struct rules_loaded *l, size_t i,
                        weir_str name, weir_str event)
{
    struct buf text = {0};
    if (o->json) {
        buf_add_text(&text, "{\"rule\": ");
        json_quote(&text, name);
        buf_add_text(&text, ", \"why\": ");
        (void)match_explain_json(l->set, (uint32_t)i, event, NULL, &text);
        buf_add_text(&text, "}\n");
    } else {
        buf_print(&text, "%.*s: ", (int)name.len, name.ptr);
        (void)match_explain_json(l->set, (uint32_t)i, event, &text, NULL);
    }
    cli_print(buf_str(&text), false);
    buf_fini(&text);
}

static int unknown_rule(const struct rules_loaded *l, const char *name, struct arena *a)
{
    const char **words = arena_take(a, (l->count + 1) * sizeof *words);
    struct error e = {0};
    for (size_t i = 0; i < l->count; i++)
        words[i] = rules_name(&l->rules[i], a).ptr;
    const char *near = text_nearest(name, words);
    (void)error_set(&e, EXIT_USAGE_ERROR, "no rule is named %s%s%s%s", name,
                    near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
    return cli_fail(&e);
}

int rules_explain(const struct rules_options *o, const char *path)
{
    struct rules_loaded l;
    struct arena arena;
    struct buf event = {0};
    struct error e = {0};
    size_t told = 0;
    int code = rules_load(o, path, &l);
    arena_init(&arena);
    if (code == EXIT_OK && read_event(o->event, &event, &e) != 0)
        code = cli_fail(&e);
    for (size_t i = 0; code == EXIT_OK && i < l.count; i++) {
        weir_str name = rules_name(&l.rules[i], &arena);
        if (o->rule && !weir_same(name, o->rule) && !weir_same(l.rules[i].name, o->rule))
            continue;
        told++;
        explain_one(o, &l, i, name, buf_str(&event));
    }
    if (code == EXIT_OK && !told && o->rule)
        code = unknown_rule(&l, o->rule, &arena);
    buf_fini(&event);
    arena_fini(&arena);
    rules_free(&l);
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
