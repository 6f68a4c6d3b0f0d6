/* tests/plugins/lambda.c: native functions, and what a stage refuses. */
#include "lambda.h"

#include <check.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/function.h>

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

/* Builds a function from source; the option that names it. */
static const char *build(const char *name, const char *source)
{
    static char option[8192];
    char command[16384], path[4200];
    snprintf(path, sizeof path, "%s/%s.c", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("#include <weir/function.h>\n", f);
    fputs(source, f);
    fclose(f);
    snprintf(command, sizeof command,
             "cc -std=c11 -D_GNU_SOURCE -Iinclude -fPIC -shared -o '%s/%s.so' '%s'", folder, name,
             path);
    ck_assert_int_eq(system(command), 0);
    snprintf(option, sizeof option, "handler=%s/%s.so", folder, name);
    return option;
}

static weir_test *stage(const char *handler, const char *more, const char *further)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "lambda", handler, more ? more : "timeout=3s",
                                 further, NULL);
    give_services(t);
    return t;
}

static weir_test *started(const char *handler, const char *more, const char *further)
{
    weir_test *t = stage(handler, more, further);
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

#define HANDLER(body) "static weir_status f(weir_call *c){" body "}\nWEIR_FUNCTION(f);\n"
#define ECHO          HANDLER("c->reply(c, c->find(c, c->event, \"detail\")); return WEIR_OK;")

START_TEST(answers)
{
    weir_test *t =
        started(build("greet", HANDLER("c->log(c, \"%s wants %s\", c->function, c->request_id);"
                                       "c->write(c, \"{\");"
                                       "c->put_text(c, \"hello\", c->text(c, c->find(c, c->event, "
                                       "\"detail.name\")));"
                                       "c->write(c, \",\\\"list\\\":[\");"
                                       "c->put_json(c, 0, c->find(c, c->event, \"detail.n\"));"
                                       "c->quote(c, weir_text(c->variable(c, \"TIER\")));"
                                       "c->put_json(c, 0, c->find(c, c->event, \"nothing\"));"
                                       "c->write(c, \"]}\"); return WEIR_OK;")),
                "function_name=greeter", "environment={\"TIER\":\"a\\\"b\",\"EMPTY\":\"\"}");
    weir_test_event(t, "{\"name\":\"A \\\"B\\\" \\u00e9\",\"n\":1.50}");
    weir_test_event(t, "{\"name\":\"\",\"n\":[1, 2]}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    ck_assert_str_eq(out_text(t, 0),
                     "{\"hello\":\"A \\\"B\\\" \xc3\xa9\",\"list\":[1.50,\"a\\\"b\",null]}");
    ck_assert_str_eq(out_text(t, 1), "{\"hello\":\"\",\"list\":[[1, 2],\"a\\\"b\",null]}");
    ck_assert(was_logged("/aws/lambda/greeter|2025/01/01/[$LATEST]"));
    ck_assert(was_logged("greeter wants 01941f29-"));
    ck_assert(!was_logged("START"));
    ck_assert(weir_test_metric(t, "invocations") == 2);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(keeps_envelope)
{
    weir_test *t = started(build("echo", ECHO), NULL, NULL);
    weir_event *ev = weir_test_event(t, "{\"a\":1}");
    weir_test_set(t, ev, "@source", "shop");
    weir_test_set(t, ev, "@colour", "red");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    const weir_test_out *first = weir_test_out_of(t, 0);
    ck_assert(first != NULL);
    const weir_event *out = first ? first->event : ev;
    ck_assert(weir_same(out->source, "shop"));
    ck_assert_str_eq(weir_test_value(t, out, "@colour"), "red");
    ck_assert_mem_eq(out->id.bytes, ev->id.bytes, 16);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static const char classes[] = HANDLER(
    "weir_str d = c->text(c, c->find(c, c->event, \"detail\"));"
    "if (weir_same(d, \"retry\")) return c->fail(c, WEIR_E_RETRY, \"Busy\", \"%d left\", 3);"
    "if (weir_same(d, \"reject\")) return c->fail(c, WEIR_E_REJECT, \"Bad\", \"no\");"
    "if (weir_same(d, \"named\")) return c->fail(c, WEIR_E_RETRY, \"Hopeless\", \"x\");"
    "if (weir_same(d, \"silent\")) return WEIR_E_RETRY;"
    "if (weir_same(d, \"odd\")) return (weir_status)77;"
    "if (weir_same(d, \"drop\")) return WEIR_DROP;"
    "if (weir_same(d, \"null\")) { c->write(c, \" null\\n\"); return WEIR_OK; }"
    "if (weir_same(d, \"garbage\")) { c->write(c, \"{\\\"a\\\":\"); return WEIR_OK; }"
    "if (weir_same(d, \"large\")) { for (int i = 0; i < 700; i++) c->write(c, \"%10000d\", i);"
    " return WEIR_OK; }"
    "return WEIR_OK;");

START_TEST(failures)
{
    static const struct {
        const char *detail, *why;
        weir_status status;
    } cases[] = {
        {"\"retry\"", "Busy: 3 left", WEIR_E_RETRY},
        {"\"reject\"", "Bad: no", WEIR_E_REJECT},
        {"\"named\"", "Hopeless: x", WEIR_E_REJECT},
        {"\"silent\"", "the function failed and did not say why", WEIR_E_RETRY},
        {"\"odd\"", "the function failed and did not say why", WEIR_E_RETRY},
        {"\"drop\"", "the function dropped it", WEIR_DROP},
        {"\"null\"", "the function returned nothing", WEIR_DROP},
        {"\"nothing\"", "the function returned nothing", WEIR_DROP},
        {"\"garbage\"", "the function's answer is not JSON at byte 5", WEIR_E_RETRY},
        {"\"large\"", "Function.ResponseSizeTooLarge: the answer is larger than 6291556 bytes",
         WEIR_E_RETRY},
    };
    enum { N = sizeof cases / sizeof *cases };
    weir_test *t = started(build("classes", classes), "reject=[\"Hopeless\"]", NULL);
    for (size_t i = 0; i < N; i++)
        weir_test_event(t, cases[i].detail);
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 0);
    for (size_t i = 0; i < N; i++) {
        ck_assert_msg(fate(t, i).status == cases[i].status, "%s", cases[i].detail);
        ck_assert_str_eq(fate(t, i).why, cases[i].why);
    }
    ck_assert(weir_test_metric(t, "function_errors") == 7);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(null_keeps)
{
    weir_test *t = started(build("classes", classes), "on_null=keep", NULL);
    weir_test_event(t, "\"null\"");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(out_text(t, 0), "\"null\"");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(body_payload)
{
    weir_test *t = started(build("whole", HANDLER("c->reply(c, c->event); return WEIR_OK;")),
                           "payload=body", NULL);
    weir_test_event(t, "{ \"a\" : 1 }");
    weir_test_event(t, "not JSON");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(out_text(t, 0), "{ \"a\" : 1 }");
    ck_assert_int_eq(fate(t, 1).status, WEIR_E_REJECT);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(batches)
{
    static const char source[] = HANDLER("c->write(c, \"[\");"
                                         "for (weir_json_each e = {0}; c->next(c, c->event, &e);)"
                                         " c->put_json(c, 0, c->find(c, e.value, \"detail\"));"
                                         "c->write(c, \"]\"); return WEIR_OK;");
    weir_test *t = started(build("many", source), "batch_size=2", NULL);
    weir_test_event(t, "1");
    weir_test_event(t, "null");
    weir_test_event(t, "[3]");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    ck_assert_str_eq(out_text(t, 0), "1");
    ck_assert_str_eq(out_text(t, 1), "[3]");
    ck_assert_int_eq(fate(t, 1).status, WEIR_DROP);
    ck_assert(weir_test_metric(t, "invocations") == 2);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* Answers as the second event's detail says: a list of failures that names the first event, ... */
START_TEST(batch_failures)
{
    static const char source[] =
        HANDLER("c->write(c, \"{\\\"batchItemFailures\\\":[{\");"
                "weir_str d = c->find(c, c->event, \"[0].detail\");"
                "if (weir_same(d, \"1\")) c->put_json(c, \"itemIdentifier\", c->find(c, c->event, "
                "\"[0].id\"));"
                "else c->put_text(c, \"itemIdentifier\", weir_text(\"other\"));"
                "c->write(c, \"}]}\"); return WEIR_OK;");
    weir_test *t = started(build("partly", source), "batch_size=10", NULL);
    weir_test_event(t, "1");
    weir_test_event(t, "{\"b\":2}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 1);
    ck_assert_str_eq(out_text(t, 0), "{\"b\":2}");
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_RETRY);
    weir_test_event(t, "2");
    weir_test_event(t, "3");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 1);
    ck_assert_int_eq(fate(t, 2).status, WEIR_E_RETRY);
    ck_assert_int_eq(fate(t, 3).status, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(wrong_count)
{
    weir_test *t = started(build("one", HANDLER("c->write(c, \"[1]\"); return WEIR_OK;")),
                           "batch_size=10", NULL);
    weir_test_event(t, "1");
    weir_test_event(t, "2");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 0);
    ck_assert(strstr(fate(t, 0).why, "expected an array of 2"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(out_of_memory)
{
    for (long n = 0; n < 3; n++) {
        weir_test *t = started(build("echo", ECHO), n == 2 ? "batch_size=2" : NULL, NULL);
        weir_test_event(t, "{\"a\":1}");
        weir_test_memory(t, n);
        ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
        weir_test_memory(t, -1);
        ck_assert_uint_eq(weir_test_out_count(t), 0);
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

START_TEST(reports_when_asked)
{
    weir_test *t = started(build("echo", ECHO), "report=on", "memory_size=256MiB");
    weir_test_event(t, "{\"a\":1}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert(was_logged("START RequestId: 01941f29-"));
    ck_assert(was_logged("\tDuration: 0.00 ms\tBilled Duration: 0 ms\tMemory Size: 256 MB\t"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static void refused(const char *a, const char *b, const char *c, const char *words)
{
    weir_test *t = stage(a, b, c);
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert_msg(weir_test_said(t, words), "expected: %s\nfound: %s", words, weir_test_text(t));
    weir_test_free(t);
}

START_TEST(refusals)
{
    char path[4200], option[8192];
    refused("timeout=1s", NULL, NULL, "a function needs handler");
    refused("handler=functions/none.so", NULL, NULL, "function functions/none.so is not there");
    refused("handler=app.main", NULL, NULL, "expected a file ending in .so, or runtime: python");
    refused("handler=nothing.main", "runtime=python", NULL, "runtime");
    refused("handler=x.so", "command=[\"true\"]", "runtime=native", "only runtime provided");
    refused("command=[\"no-such-program\"]", NULL, NULL, "no-such-program is no program");
    refused("runtime=provided", NULL, NULL, "needs command, or the program");
    refused("function_name=a b", "command=[\"true\"]", NULL, "expected 1 to 64 letters");
    refused("endpoint=aws", "command=[\"true\"]", NULL, "endpoint: aws is not there yet");
    refused("Makefile=1", NULL, NULL, "Makefile");
    refused("handler=Makefile.so", "code=/", NULL, "is not there");
    snprintf(path, sizeof path, "cp Makefile '%s/text.so'", folder);
    ck_assert_int_eq(system(path), 0);
    snprintf(option, sizeof option, "code=%s", folder);
    refused("handler=text.so", option, NULL, "it is no shared object");
    build("nosymbol", "int weir_other;\n");
    refused("handler=nosymbol.so", option, NULL, "it has no handler");
    build("writable", ECHO);
    snprintf(path, sizeof path, "%s/writable.so", folder);
    ck_assert_int_eq(chmod(path, 0777), 0);
    refused("handler=writable.so", option, NULL, "everybody may write it");
}
END_TEST

START_TEST(other_abi)
{
    char option[8192];
    snprintf(option, sizeof option, "code=%s", folder);
    build("newer", "__attribute__((constructor)) static void boom(void){__builtin_trap();}\n"
                   "__attribute__((visibility(\"default\"))) const weir_function_manifest "
                   "weir_function = {2u << 16, sizeof(weir_function_manifest), 0, 0, 0};\n");
    refused("handler=newer.so", option, NULL, "built for function ABI 2.0 and this runner has 1.0");
    build("wants", "#undef WEIR_FUNCTION_WANT_MINOR\n#define WEIR_FUNCTION_WANT_MINOR 9u\n" ECHO);
    refused("handler=wants.so", option, NULL, "built for function ABI 1.9");
}
END_TEST

/* Events wait for no thread that hangs: it is left to itself, and another one takes its place. */
START_TEST(threads_that_hang)
{
    char source[8192];
    snprintf(source, sizeof source,
             "#include <unistd.h>\n" HANDLER(
                 "if (c->kind(c, c->find(c, c->event, \"detail.hang\")) == WEIR_JSON_BOOL)"
                 "    while (access(\"%s/released\", F_OK) != 0) usleep(1000);"
                 "c->reply(c, c->find(c, c->event, \"detail\")); return WEIR_OK;"),
             folder);
    weir_test *t = started(build("hangs", source), "isolate=thread", "environments=1");
    weir_test_event(t, "{\"hang\":true}");
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_uint_eq(weir_test_out_count(t), 0);
    weir_test_move(t, 3000000000);
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_RETRY);
    ck_assert_str_eq(fate(t, 0).why, "Sandbox.Timedout: Task timed out after 3.00 seconds");
    while (!weir_test_out_count(t))
        ck_assert(weir_test_wait(t, 20000));
    ck_assert_str_eq(out_text(t, 0), "1");
    ck_assert(weir_test_metric(t, "timeouts") == 1);
    weir_test_event(t, "2");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    while (weir_test_out_count(t) < 2)
        ck_assert(weir_test_wait(t, 20000));
    ck_assert_str_eq(out_text(t, 1), "2");
    ck_assert(weir_test_metric(t, "hung_threads") == 1);
    char path[4200];
    snprintf(path, sizeof path, "%s/released", folder);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    while (weir_test_metric(t, "hung_threads") > 0)
        ck_assert(weir_test_wait(t, 20000));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* Released functions keep running: what they were built against does not move. */
START_TEST(layout)
{
    ck_assert_uint_eq(offsetof(weir_function_manifest, handler), 16);
    ck_assert_uint_eq(sizeof(weir_function_manifest), 24);
    ck_assert_uint_eq(offsetof(weir_call, abi), 8);
    ck_assert_uint_eq(offsetof(weir_call, event), 16);
    ck_assert_uint_eq(offsetof(weir_call, request_id), 40);
    ck_assert_uint_eq(offsetof(weir_call, remaining_ns), 56);
    ck_assert_uint_eq(offsetof(weir_call, find), 88);
    ck_assert_uint_eq(offsetof(weir_call, write), 120);
    ck_assert_uint_eq(offsetof(weir_call, fail), 168);
    ck_assert_uint_ge(sizeof(weir_call), 176);
}
END_TEST

/* The header alone, in the languages that it is written for. */
START_TEST(header_alone)
{
    static const char *const compilers[] = {"cc -std=c11", "cc -std=c17", "c++ -std=c++17"};
    for (size_t i = 0; i < 3; i++) {
        char command[512];
        snprintf(command, sizeof command,
                 "echo '#include <weir/function.h>' | %s -x %s -Wall -Wextra -Wpedantic -Werror "
                 "-Iinclude -fsyntax-only -",
                 compilers[i], i == 2 ? "c++" : "c");
        if (i < 2 || system("c++ --version >/dev/null 2>&1") == 0)
            ck_assert_msg(system(command) == 0, "%s", compilers[i]);
    }
}
END_TEST

/* Every prefix of a good file is refused or good, and nothing is read beyond its end. */
START_TEST(cut_short)
{
    char command[16384], option[8192];
    build("echo", ECHO);
    snprintf(option, sizeof option, "code=%s", folder);
    for (int n = 0; n < 20000; n += 331) {
        snprintf(command, sizeof command, "head -c %d '%s/echo.so' > '%s/cut.so'", n, folder,
                 folder);
        ck_assert_int_eq(system(command), 0);
        weir_test *t = stage("handler=cut.so", option, NULL);
        (void)weir_test_check(t);
        weir_test_free(t);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lambda");
    TCase *c = tcase_create("native");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_add_test(c, answers);
    tcase_add_test(c, keeps_envelope);
    tcase_add_test(c, failures);
    tcase_add_test(c, null_keeps);
    tcase_add_test(c, body_payload);
    tcase_add_test(c, batches);
    tcase_add_test(c, batch_failures);
    tcase_add_test(c, wrong_count);
    tcase_add_test(c, out_of_memory);
    tcase_add_test(c, reports_when_asked);
    tcase_add_test(c, refusals);
    tcase_add_test(c, other_abi);
    tcase_add_test(c, cut_short);
    tcase_add_test(c, threads_that_hang);
    tcase_add_test(c, layout);
    tcase_add_test(c, header_alone);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
