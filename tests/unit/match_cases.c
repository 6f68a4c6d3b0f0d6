/* unit/match_cases.c: the cases of tests/aws/patterns, by each of the matchers. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "match/match.h"
#include "unit/match_naive.h"
#include "json/json.h"

struct one {
    weir_str pattern, event;
    weir_str want; /* "match", "no match" or the reason of a refusal */
    bool is_part;  /* the reason has this in it */
};

struct cases {
    struct arena arena;
    struct one *list;
    size_t count, cap;
};

static const char folder[] = "tests/aws/patterns";

static FILE *open_file(const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "open %s", path);
    return f;
}

/* Three lines a case: pattern, event, what is wanted. */
static void read_lines(struct cases *c, const char *name)
{
    FILE *f = open_file(name);
    char *line = NULL;
    size_t cap = 0, at = 0;
    weir_str lines[3];
    while (getline(&line, &cap, f) > 0) {
        size_t n = strcspn(line, "\n");
        if (!at && (!n || line[0] == '#'))
            continue;
        lines[at++] = (weir_str){arena_copy(&c->arena, line, n), n};
        if (at < 3)
            continue;
        at = 0;
        MEM_PUSH(c->list, c->count, c->cap) = (struct one){lines[0], lines[1], lines[2], false};
    }
    ck_assert_uint_eq(at, 0);
    free(line);
    (void)fclose(f);
}

/* A JSON object a case: pattern and event as texts, and `match` or a part of the `error`. */
static void read_objects(struct cases *c, const char *name)
{
    FILE *f = open_file(name);
    char *text = NULL;
    size_t cap = 0;
    while (getline(&text, &cap, f) > 0) {
        size_t n = strcspn(text, "\n");
        weir_str line = {arena_copy(&c->arena, text, n), n};
        ck_assert_int_eq(json_check(line, NULL, NULL), WEIR_OK);
        weir_str match = json_find(line, "match"), error = json_find(line, "error");
        ck_assert(json_find(line, "name").ptr && json_find(line, "source").ptr);
        ck_assert(!match.ptr != !error.ptr);
        struct one o = {.pattern = json_unquote(json_find(line, "pattern"), &c->arena),
                        .event = json_unquote(json_find(line, "event"), &c->arena),
                        .want = weir_text(weir_same(match, "true") ? "match" : "no match"),
                        .is_part = error.ptr != NULL};
        if (o.is_part)
            o.want = json_unquote(error, &c->arena);
        MEM_PUSH(c->list, c->count, c->cap) = o;
    }
    free(text);
    (void)fclose(f);
}

static void read_all(struct cases *c)
{
    *c = (struct cases){0};
    arena_init(&c->arena);
    DIR *d = opendir(folder);
    ck_assert_msg(d != NULL, "open %s: run from the top folder", folder);
    for (const struct dirent *e; (e = readdir(d));) /* NOLINT(concurrency-mt-unsafe): one thread */
        if (strstr(e->d_name, ".jsonl"))
            read_objects(c, e->d_name);
        else if (strstr(e->d_name, ".txt"))
            read_lines(c, e->d_name);
    (void)closedir(d);
    ck_assert_uint_gt(c->count, 5000);
}

static void free_all(struct cases *c)
{
    mem_free(c->list);
    arena_fini(&c->arena);
}

static bool is_refused(const struct one *o)
{
    return o->is_part || (!weir_same(o->want, "match") && !weir_same(o->want, "no match"));
}

static bool is_wanted(const struct one *o, bool is_refusal, const char *got)
{
    if (o->is_part)
        return is_refusal && memmem(got, strlen(got), o->want.ptr, o->want.len);
    return weir_same(o->want, got);
}

START_TEST(each_alone)
{
    struct cases c;
    read_all(&c);
    for (size_t i = 0; i < c.count; i++) {
        const struct one *o = &c.list[i];
        const uint32_t *hits;
        struct match_error e = {{0}, 0};
        struct match_set *set = match_set_new(NULL);
        weir_status status = match_add(set, o->pattern, &e);
        const char *got = e.reason;
        if (status == WEIR_OK) {
            match_seal(set);
            struct match_ctx *ctx = match_ctx_new(set);
            size_t checked = match_json(ctx, o->event, 0, &hits);
            ck_assert_uint_eq(match_json(ctx, o->event, MATCH_KNOWN_GOOD, &hits), checked);
            got = checked == 1 ? "match" : checked == 0 ? "no match" : "not JSON";
            match_ctx_free(ctx);
        }
        ck_assert_msg(is_wanted(o, status != WEIR_OK, got), "%s\n%s\nis %s, not %s", o->pattern.ptr,
                      o->event.ptr, got, o->want.ptr);
        ck_assert_uint_le(e.at, o->pattern.len);
        match_set_free(set);
    }
    free_all(&c);
}
END_TEST

START_TEST(plain_agrees)
{
    struct cases c;
    read_all(&c);
    for (size_t i = 0; i < c.count; i++) {
        const struct one *o = &c.list[i];
        struct match_error e;
        bool is_match;
        bool is_ok = match_plain(o->pattern, o->event, &is_match, &e);
        ck_assert_int_eq(is_ok, !is_refused(o));
        if (!is_ok)
            ck_assert(is_wanted(o, true, e.reason));
        else
            ck_assert_msg(weir_same(o->want, is_match ? "match" : "no match"), "%s\n%s",
                          o->pattern.ptr, o->event.ptr);
    }
    free_all(&c);
}
END_TEST

START_TEST(naive_agrees)
{
    struct cases c;
    read_all(&c);
    for (size_t i = 0; i < c.count; i++) {
        const struct one *o = &c.list[i];
        struct naive_answer n;
        if (is_refused(o) && memmem(o->want.ptr, o->want.len, "too complex", 11))
            continue; /* it knows no limits */
        naive_match(o->pattern, o->event, &n);
        ck_assert_msg(n.is_pattern == !is_refused(o), "%s: %s", o->pattern.ptr, n.reason);
        if (n.is_pattern)
            ck_assert_msg(weir_same(o->want, n.is_match ? "match" : "no match"), "%s\n%s",
                          o->pattern.ptr, o->event.ptr);
        else if (n.is_json)
            ck_assert_msg(is_wanted(o, true, n.reason), "%s: %s", o->pattern.ptr, n.reason);
    }
    free_all(&c);
}
END_TEST

START_TEST(all_in_one_set)
{
    struct cases c;
    struct match_set *set = match_set_new(NULL);
    read_all(&c);
    for (size_t i = 0; i < c.count; i++)
        if (!is_refused(&c.list[i]))
            ck_assert_int_eq(match_add(set, c.list[i].pattern, NULL), WEIR_OK);
    match_seal(set);
    struct match_ctx *ctx = match_ctx_new(set);
    uint32_t number = 0;
    for (size_t i = 0; i < c.count; i++) {
        const uint32_t *hits;
        if (is_refused(&c.list[i]))
            continue;
        size_t count = match_json(ctx, c.list[i].event, i % 2 ? MATCH_KNOWN_GOOD : 0, &hits);
        bool is_hit = false;
        for (size_t k = 0; k < count; k++)
            is_hit |= hits[k] == number;
        ck_assert_msg(weir_same(c.list[i].want, is_hit ? "match" : "no match"), "%s\n%s",
                      c.list[i].pattern.ptr, c.list[i].event.ptr);
        number++;
    }
    match_ctx_free(ctx);
    match_set_free(set);
    free_all(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_cases");
    TCase *t = tcase_create("cases");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, each_alone);
    tcase_add_test(t, plain_agrees);
    tcase_add_test(t, naive_agrees);
    tcase_add_test(t, all_in_one_set);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
