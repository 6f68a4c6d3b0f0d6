/* tests/plugins/lambda-examples.c: the same function in three languages, and the one of the reference flow. */
#include "lambda.h"

#include <check.h>

static char folder[4096];

static void make_folder(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/weir-lambda-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

/* The option handler=... of a function built from its source. */
static const char *build(const char *source)
{
    static char option[4200];
    char command[16384];
    snprintf(command, sizeof command,
             "cc -std=c11 -D_GNU_SOURCE -Iinclude -fPIC -shared -o '%s/f.so' '%s'", folder, source);
    ck_assert_int_eq(system(command), 0);
    snprintf(option, sizeof option, "handler=%s/f.so", folder);
    return option;
}

static weir_test *started(const char *a, const char *b, const char *c)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "lambda", a, b, c, NULL);
    give_services(t);
    weir_status s = weir_test_start(t);
    ck_assert_msg(s == WEIR_OK, "%s", weir_test_text(t));
    return t;
}

static weir_test_fate fate(const weir_test *t, size_t i)
{
    const weir_test_fate *f = weir_test_fate_of(t, i);
    if (!f)
        ck_abort_msg("event %zu was never given", i);
    return *f;
}

static void work(weir_test *t, size_t count)
{
    weir_status s = weir_test_push(t);
    for (int i = 0; s == WEIR_PENDING && i < 1000 && !fate(t, count - 1).is_settled; i++) {
        ck_assert_int_gt(weir_test_poll(t, 10000), 0);
        weir_test_run(t);
    }
}

/* Gives the example's input to the function and compares with what is expected of all three. */
static void run_example(weir_test *t, const char *name)
{
    char path[256], line[4096];
    size_t count = 0, made = 0;
    snprintf(path, sizeof path, "examples/functions/%s/input.ndjson", name);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        weir_test_event(t, line);
        count++;
    }
    fclose(f);
    work(t, count);
    f = fopen("examples/functions/c/expected.ndjson", "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        ck_assert_str_eq(out_text(t, made), line);
        made++;
    }
    fclose(f);
    ck_assert_uint_eq(weir_test_out_count(t), made);
    ck_assert_int_eq(fate(t, 2).status, WEIR_DROP);
    ck_assert_int_eq(fate(t, 4).status, WEIR_E_REJECT);
    ck_assert_str_eq(fate(t, 4).why, "InvalidUser: no e-mail address: noaddress");
    ck_assert(was_logged("|ada@enterprise.com is enterprise\n"));
    ck_assert_int_eq(weir_test_free(t), 0);
}

START_TEST(in_c)
{
    run_example(started(build("examples/functions/c/classify_user.c"), "reject=[\"InvalidUser\"]",
                        "timeout=3s"),
                "c");
}
END_TEST

static const char *client(const char *program, const char *file)
{
    static char option[8400];
    char here[4096];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    snprintf(option, sizeof option, "command=[\"%s\",\"%s/plugins/lambda/runtimes/%s\"]", program,
             here, file);
    return option;
}

static void in_language(const char *name, const char *command)
{
    char code[256];
    snprintf(code, sizeof code, "code=examples/functions/%s", name);
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "lambda", command, code,
                                 "reject=[\"InvalidUser\"]", "handler=classify_user.handler", NULL);
    give_services(t);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    run_example(t, name);
}

START_TEST(in_python)
{
    in_language("python", client("python3", "python/bootstrap.py"));
}
END_TEST

START_TEST(in_node)
{
    if (system("node --version >/dev/null 2>&1") == 0)
        in_language("node", client("node", "node/bootstrap.js"));
}
END_TEST

START_TEST(process_user)
{
    static const struct {
        const char *detail, *email, *tier;
    } cases[] = {
        {"{\"name\":\"A\",\"email\":\"\\t Ann@Enterprise.com\\n\"}", "ann@enterprise.com",
         "enterprise"},
        {"{\"name\":\"A\",\"email\":\"a@eu.acme.com\"}", "a@eu.acme.com", "enterprise"},
        {"{\"name\":\"A\",\"email\":\"a@notacme.com\"}", "a@notacme.com", "standard"},
        {"{\"name\":\"A\",\"email\":\"a@MIT.edu\"}", "a@mit.edu", "education"},
        {"{\"name\":\"A\",\"email\":\"a@ox.ac.uk\"}", "a@ox.ac.uk", "education"},
        {"{\"name\":\"A\",\"email\":\"a@uni.edu.au\"}", "a@uni.edu.au", "education"},
        {"{\"name\":\"A\",\"email\":\"a@zodiac.de\"}", "a@zodiac.de", "standard"},
        {"{\"name\":\"A\",\"email\":\"\\\"x@y\\\"@gmail.com\"}", "\\\"x@y\\\"@gmail.com",
         "standard"},
    };
    enum { N = sizeof cases / sizeof *cases };
    weir_test *t = started(build("config/functions/process_user.c"), "timeout=3s", "batch_size=1");
    for (size_t i = 0; i < N; i++)
        weir_test_event(t, cases[i].detail);
    weir_test_event(t, "{\"age\":41,\"email\":\"b@b.b\",\"id\":7,\"name\":\"B\",\"tags\":[1, 2]}");
    weir_test_event(t, "{\"name\":\"C\",\"email\":\"nobody\"}");
    weir_test_event(t, "{\"name\":\"C\",\"email\":\"@acme.com\"}");
    weir_test_event(t, "{\"name\":\"C\",\"email\":\"  \"}");
    weir_test_event(t, "{\"name\":7,\"email\":\"c@c.c\"}");
    weir_test_event(t, "[]");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), N + 1);
    for (size_t i = 0; i < N; i++) {
        char expected[512];
        const weir_test_out *o = weir_test_out_of(t, i);
        const char *id = o ? weir_test_value(t, o->event, "@id") : "";
        snprintf(expected, sizeof expected,
                 "{\"id\":\"%s\",\"name\":\"A\",\"email\":\"%s\",\"tier\":\"%s\"}", id,
                 cases[i].email, cases[i].tier);
        ck_assert_str_eq(out_text(t, i), expected);
    }
    ck_assert_ptr_nonnull(strstr(out_text(t, N), "\"name\":\"B\",\"email\":\"b@b.b\",\"tier\":"
                                                 "\"standard\",\"age\":41,\"tags\":[1, 2]}"));
    for (size_t i = N + 1; i < N + 6; i++)
        ck_assert_int_eq(fate(t, i).status, WEIR_E_REJECT);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lambda-examples");
    TCase *c = tcase_create("functions");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_add_test(c, in_c);
    tcase_add_test(c, in_python);
    tcase_add_test(c, in_node);
    tcase_add_test(c, process_user);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
