/* unit/config_cases.c: pipeline files as data: what is told about each stands in a file beside it.
 *
 * tests/data/config/NAME.yaml is read with the fakes; lines "#set PATH=VALUE" in it are sets. What
 * diag_print says must be NAME.expected. With WEIR_UPDATE=1 the expected files are written anew. */
#include <check.h>
#include <glob.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/config/fakes.h"

static glob_t cases;

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    struct buf b = {0};
    size_t n;
    while ((n = fread(buf_room(&b, 4096), 1, 4096, f)) > 0)
        b.len += n;
    (void)fclose(f);
    char *text = mem_text(buf_text(&b));
    buf_fini(&b);
    return text;
}

static void find_sets(const char *text, const char **sets, struct arena *a)
{
    for (size_t n = 0; n < 15 && (text = strstr(text, "#set ")); n++) {
        text += 5;
        *sets++ = arena_copy(a, text, strcspn(text, "\n"));
    }
}

static char *told(const char *path)
{
    struct arena a;
    arena_init(&a);
    const char *sets[16] = {NULL};
    char *yaml = read_text(path);
    ck_assert_ptr_nonnull(yaml);
    find_sets(yaml, sets, &a);
    struct config_input in = {.path = path, .sets = sets, .env = fake_env};
    struct document *d = document_load(&in);
    struct plan *p = plan_new(d, &fake_components);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    diag_print(d, out, false);
    (void)fclose(out);
    plan_free(p);
    document_free(d);
    mem_free(yaml);
    arena_fini(&a);
    return text;
}

START_TEST(told_as_expected)
{
    const char *path = cases.gl_pathv[_i];
    char *name = mem_text(path), *text = told(path);
    name[strlen(name) - 5] = '\0';
    char *expected_path = mem_format("%s.expected", name);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread here */
    if (getenv("WEIR_UPDATE")) {
        FILE *f = fopen(expected_path, "we");
        ck_assert_ptr_nonnull(f);
        (void)fputs(text, f);
        (void)fclose(f);
    }
    char *expected = read_text(expected_path);
    ck_assert_msg(expected != NULL, "%s is missing", expected_path);
    if (strcmp(text, expected) != 0)
        (void)fprintf(stderr, "%s\n--- told\n%s--- expected\n%s", path, text, expected);
    ck_assert_msg(strcmp(text, expected) == 0, "%s is told otherwise", path);
    mem_free(expected);
    mem_free(expected_path);
    mem_free(name);
    free(text);
}
END_TEST

int main(void)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread here */
    if (glob("tests/data/config/*.yaml", 0, NULL, &cases))
        return 1;
    TCase *all = tcase_create("cases");
    tcase_add_loop_test(all, told_as_expected, 0, (int)cases.gl_pathc);
    Suite *suite = suite_create("config cases");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    globfree(&cases);
    return failed != 0;
}
