/* tests/unit/json_suite.c: the official JSON Schema Test Suite (Debian: json-schema-test-suite), as far
 * as it has the keywords of 2020-12, and cases of our own in the same form for what it lacks. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "json/json.h"
#include "json/schema.h"

static const char *suite_dir(void)
{
    const char *dir = getenv("WEIR_TEST_SCHEMA_SUITE");
    return dir ? dir : "/usr/share/json-schema-test-suite/tests/draft7";
}

static const char *own_dir(void)
{
    const char *dir = getenv("WEIR_TEST_DATA");
    return dir ? dir : "tests/data/json";
}

/* What is not run, and why; the case NULL: all of the file or of the group. */
static const struct {
    const char *file, *group, *test, *why;
} skipped[] = {
#include "json_suite_skipped.h"
};

static bool is_skipped(const char *file, const char *group, const char *test)
{
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
        if (strcmp(skipped[i].file, file) == 0 &&
            (!skipped[i].group || strcmp(skipped[i].group, group) == 0) &&
            (!skipped[i].test || (test && strcmp(skipped[i].test, test) == 0)))
            return true;
    return false;
}

static unsigned ran, left_out, failed;

static bool get_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rbe");
    if (!f)
        return false;
    for (size_t n = 1; n > 0; out->len += n)
        n = fread(buf_room(out, 65536), 1, 65536, f);
    (void)fclose(f);
    return true;
}

static const char *text_of(weir_str value, const char *path, struct arena *a)
{
    weir_str s = json_unquote(json_find(value, path), a);
    return arena_copy(a, s.ptr, s.len);
}

static void run_group(const char *file, weir_str group, struct arena *a)
{
    struct error e = {0};
    const char *name = text_of(group, "description", a);
    weir_str tests = json_find(group, "tests");
    weir_json_each each = {0};
    struct schema *s = NULL;
    if (!is_skipped(file, name, NULL)) {
        s = schema_new(json_find(group, "schema"), &e);
        if (!s)
            (void)printf("%s: %s: %s\n", file, name, e.text);
        failed += !s;
    }
    while (json_next(tests, &each)) {
        const char *what = text_of(each.value, "description", a);
        if (!s || is_skipped(file, name, what)) {
            left_out++;
            continue;
        }
        bool expected = weir_same(json_find(each.value, "valid"), "true");
        bool is_valid = schema_test(s, json_find(each.value, "data"), a, NULL, NULL) == 0;
        ran++;
        if (is_valid != expected) {
            failed++;
            (void)printf("%s: %s: %s: %s\n", file, name, what, is_valid ? "accepted" : "refused");
        }
    }
    schema_free(s);
}

static void run_file(const char *dir, const char *file)
{
    char path[600];
    struct buf text = {0};
    struct arena a;
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    ck_assert_msg(get_file(path, &text), "%s is not there", path);
    ck_assert_msg(json_check(buf_str(&text), NULL, NULL) == WEIR_OK, "%s", path);
    arena_init(&a);
    for (weir_json_each each = {0}; json_next(buf_str(&text), &each);) {
        run_group(file, each.value, &a);
        arena_reset(&a);
    }
    arena_fini(&a);
    buf_fini(&text);
}

static int is_case_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

static unsigned run_dir(const char *dir, const char *under)
{
    char path[512], file[300];
    struct dirent **entries = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", dir, under);
    int n = scandir(path, &entries, is_case_file, alphasort);
    ck_assert_msg(n > 0, "%s: no cases: install json-schema-test-suite", path);
    ran = left_out = failed = 0;
    for (int i = 0; i < n; i++) {
        (void)snprintf(file, sizeof file, "%s%s", under, entries[i]->d_name);
        if (!is_skipped(file, "", NULL))
            run_file(dir, file);
        free(entries[i]);
    }
    free((void *)entries);
    (void)printf("%s: %u cases, %u left out, %u wrong\n", path, ran, left_out, failed);
    ck_assert_uint_eq(failed, 0);
    return ran;
}

START_TEST(official_keywords)
{
    ck_assert_uint_ge(run_dir(suite_dir(), ""), 375);
}
END_TEST

START_TEST(official_optional)
{
    ck_assert_uint_ge(run_dir(suite_dir(), "optional/"), 10);
}
END_TEST

START_TEST(official_formats)
{
    ck_assert_uint_ge(run_dir(suite_dir(), "optional/format/"), 105);
}
END_TEST

START_TEST(own_cases)
{
    ck_assert_uint_ge(run_dir(own_dir(), ""), 100);
}
END_TEST

int main(void)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 4096);
    Suite *s = suite_create("json_suite");
    TCase *t = tcase_create("all");
    tcase_add_test(t, official_keywords);
    tcase_add_test(t, official_optional);
    tcase_add_test(t, official_formats);
    tcase_add_test(t, own_cases);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int wrong = srunner_ntests_failed(r);
    srunner_free(r);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
