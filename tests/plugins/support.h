/* tests/plugins/support.h: what the tests of several plugins share: a folder, a suite, and a shape service. */
#pragma once
#include <weir/testing.h>

#include <check.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/shape.h>

static char folder[512];

WEIR_TEST_FN void folder_make(void)
{
    const char *base = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): one thread */
    (void)snprintf(folder, sizeof folder, "%s/weir-plugin-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

WEIR_TEST_FN int remove_one(const char *path, const struct stat *is, int type, struct FTW *at)
{
    return remove(path);
}

WEIR_TEST_FN void folder_remove(void)
{
    ck_assert_int_eq(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* "path=FOLDER/name"; what follows the = is the path. */
WEIR_TEST_FN const char *option_path(const char *option, const char *name)
{
    static char text[8][1024];
    static unsigned next;
    char *to = text[next++ % 8];
    (void)snprintf(to, 1024, "%s=%s/%s", option, folder, name);
    return to;
}

WEIR_TEST_FN const char *path_of(const char *name)
{
    return option_path("", name) + 1;
}

WEIR_TEST_FN void file_write(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

WEIR_TEST_FN const char *file_read(const char *name)
{
    static char text[65536];
    FILE *f = fopen(path_of(name), "r");
    if (!f)
        return NULL;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    ck_assert_int_eq(fclose(f), 0);
    return text;
}

/* ---- weir.shape/1: an envelope of source and detail; a shape gives {"rule":"name"} ------------------ */

struct weir_shape {
    char unused;
};

WEIR_TEST_FN weir_status shape_compile(const weir_shapes *s, const char *const *path,
                                       const weir_pairs *paths, const char *const *text,
                                       weir_shape **shape)
{
    static weir_shape one;
    if (*path && (*path)[0] != '$')
        return s->base.owner->refuse(s->base.owner, path, 0, "a path begins with $");
    *shape = &one;
    return WEIR_OK;
}

WEIR_TEST_FN weir_payload *shape_apply(const weir_shapes *s, const weir_shape *shape,
                                       const weir_event *ev, const char *rule)
{
    char *data = NULL;
    weir_payload *p = s->base.owner->alloc(s->base.owner, strlen(rule) + 11, &data);
    if (p)
        (void)snprintf(data, strlen(rule) + 12, "{\"rule\":\"%s\"}", rule);
    return p;
}

WEIR_TEST_FN weir_payload *shape_envelope(const weir_shapes *s, const weir_event *ev)
{
    char *data = NULL;
    size_t n = ev->source.len + ev->body->len + 23;
    weir_payload *p = s->base.owner->alloc(s->base.owner, n, &data);
    if (p)
        (void)snprintf(data, n + 1, "{\"source\":\"%.*s\",\"detail\":%.*s}", (int)ev->source.len,
                       ev->source.ptr, (int)ev->body->len, ev->body->ptr);
    return p;
}

WEIR_TEST_FN weir_status shape_constant(const weir_shapes *s, const weir_json *json,
                                        weir_shape **shape)
{
    const char *path = "$", *const *one = &path;
    return json->ptr[0] == '!' ? s->base.owner->refuse(s->base.owner, json, 0, "no JSON")
                               : shape_compile(s, one, NULL, NULL, shape);
}

static const weir_shapes shapes = {
    .base = WEIR_OFFER(WEIR_SHAPE),
    .compile = shape_compile,
    .apply = shape_apply,
    .envelope = shape_envelope,
    .constant = shape_constant,
};

/* Runs the tests, each with a folder of its own. */
WEIR_TEST_FN int run_tests(const char *name, const TTest *const *tests)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, folder_make, folder_remove);
    for (size_t i = 0; tests[i]; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
