/* tests/plugins/lambda-runtime.c: the Runtime API, its HTTP, and functions in processes of their own. */
#include "lambda.h"

#include <check.h>
#include <signal.h>
#include <sys/stat.h>

#include "../../plugins/lambda/runtime_api.h"

/* ---- HTTP ------------------------------------------------------------------------------------ */

static weir_test *host(void)
{
    return weir_test_new(WEIR_TEST_TRANSFORM, "lambda", NULL);
}

/* Feeds the text in pieces of `step` bytes until a request is whole or wrong. */
static int feed(struct http_reader *r, const weir_host *h, const char *text, size_t step)
{
    size_t n = strlen(text);
    int got = HTTP_MORE;
    for (size_t at = 0; at < n && got != HTTP_WHOLE && got != HTTP_BAD; at += step) {
        size_t m = n - at < step ? n - at : step;
        memcpy(r->buffer + r->used, text + at, m);
        r->used += m;
        while ((got = http_read(r, h)) == HTTP_CONTINUE)
            continue;
    }
    return got;
}

START_TEST(http_requests)
{
    static const struct {
        const char *text, *method, *path, *body;
    } cases[] = {
        {"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/a", NULL},
        {"POST /b HTTP/1.1\r\ncontent-LENGTH:  5 \r\n\r\nhello", "POST", "/b", "hello"},
        {"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n"
         "0\r\nTrailer: t\r\n\r\n",
         "POST", "/c", "abc0123456789"},
        {"POST /d HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", "POST", "/d",
         "ok"},
        {"POST /e HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "POST", "/e", NULL},
    };
    weir_test *t = host();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 64; step += 3) {
            struct http_reader r;
            http_reader_init(&r, 1000);
            ck_assert_int_eq(feed(&r, &t->host, cases[i].text, step), HTTP_WHOLE);
            ck_assert_str_eq(r.method, cases[i].method);
            ck_assert_str_eq(r.path, cases[i].path);
            ck_assert_int_eq(r.body != NULL, cases[i].body != NULL);
            if (cases[i].body && r.body)
                ck_assert_mem_eq(r.body->ptr, cases[i].body, r.body->len);
            http_next(&r, &t->host);
        }
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(http_refuses)
{
    static const char *const cases[] = {
        "GET /a\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        "GET /a HTTP/2.0\r\n\r\n",
        "GET /a HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
    };
    weir_test *t = host();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_reader r;
        http_reader_init(&r, 1000);
        ck_assert_msg(feed(&r, &t->host, cases[i], 7) == HTTP_BAD, "%s", cases[i]);
        http_reader_fini(&r, &t->host);
    }
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(http_too_large)
{
    weir_test *t = host();
    struct http_reader r;
    http_reader_init(&r, 4);
    ck_assert_int_eq(feed(&r, &t->host, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345", 3),
                     HTTP_WHOLE);
    ck_assert(r.is_too_large && !r.body);
    http_next(&r, &t->host);
    ck_assert_int_eq(
        feed(&r, &t->host,
             "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde"
             "\r\n0\r\n\r\n",
             3),
        HTTP_WHOLE);
    ck_assert(r.is_too_large && !r.body);
    http_next(&r, &t->host);
    ck_assert_int_eq(feed(&r, &t->host, "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n1234", 3),
                     HTTP_WHOLE);
    ck_assert(!r.is_too_large && r.body && r.body->len == 4);
    http_next(&r, &t->host);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* ---- states ---------------------------------------------------------------------------------- */

START_TEST(states)
{
    static const struct {
        const char *method, *path;
        enum phase phase;
        int what, status;
    } cases[] = {
        {"GET", "invocation/next", PHASE_STARTING, RUNTIME_NEXT, 200},
        {"GET", "invocation/next", PHASE_ANSWERED, RUNTIME_NEXT, 200},
        {"GET", "invocation/next", PHASE_WAITING, RUNTIME_REFUSED, 403},
        {"GET", "invocation/next", PHASE_RUNNING, RUNTIME_REFUSED, 403},
        {"POST", "invocation/next", PHASE_STARTING, RUNTIME_REFUSED, 405},
        {"POST", "invocation/id-1/response", PHASE_RUNNING, RUNTIME_RESPONSE, 202},
        {"POST", "invocation/id-1/error", PHASE_RUNNING, RUNTIME_ERROR, 202},
        {"POST", "invocation/id-2/response", PHASE_RUNNING, RUNTIME_REFUSED, 400},
        {"POST", "invocation//response", PHASE_RUNNING, RUNTIME_REFUSED, 400},
        {"POST", "invocation/id-1/response", PHASE_ANSWERED, RUNTIME_REFUSED, 403},
        {"GET", "invocation/id-1/response", PHASE_RUNNING, RUNTIME_REFUSED, 405},
        {"POST", "invocation/id-1/other", PHASE_RUNNING, RUNTIME_REFUSED, 404},
        {"POST", "init/error", PHASE_STARTING, RUNTIME_INIT_ERROR, 202},
        {"POST", "init/error", PHASE_RUNNING, RUNTIME_REFUSED, 403},
        {"GET", "restore/next", PHASE_STARTING, RUNTIME_REFUSED, 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct http_reader r;
        snprintf(r.method, sizeof r.method, "%s", cases[i].method);
        snprintf(r.path, sizeof r.path, "/2018-06-01/runtime/%s", cases[i].path);
        struct runtime_judgement j = runtime_api_judge(cases[i].phase, "id-1", &r);
        ck_assert_msg(j.what == cases[i].what && j.status == cases[i].status, "case %zu: %d %d", i,
                      j.what, j.status);
    }
    struct http_reader large = {.method = "POST",
                                .path = "/2018-06-01/runtime/invocation/id-1/response",
                                .is_too_large = true};
    ck_assert_int_eq(runtime_api_judge(PHASE_RUNNING, "id-1", &large).status, 413);
}
END_TEST

/* ---- processes ------------------------------------------------------------------------------- */

static char folder[4096], code[4200];

static void write_file(const char *name, const char *text)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static const char python[] =
    "import os, sys, time\n"
    "calls = 0\n"
    "def main(event, context):\n"
    "    global calls\n"
    "    calls += 1\n"
    "    d = event['detail']\n"
    "    if d == 'raise': raise ValueError('no \"good\"')\n"
    "    if d == 'exit': print('leaving', end=''); sys.stdout.flush(); os._exit(7)\n"
    "    if d == 'sleep': time.sleep(60)\n"
    "    if d == 'none': return None\n"
    "    if d == 'env': return dict(os.environ)\n"
    "    if d == 'large': return 'x' * 6300000\n"
    "    if d == 'print':\n"
    "        print('one'); print('two', file=sys.stderr)\n"
    "        print('y' * 20000)\n"
    "    return {'n': calls, 'detail': d, 'name': context.function_name}\n"
    "def batch(events, context):\n"
    "    return [e['detail'] * 2 for e in events]\n";
static const char node[] =
    "exports.main = async (event, context) => {\n"
    "  if (event.detail === 'raise') throw new TypeError('bad');\n"
    "  if (event.detail === 'none') return undefined;\n"
    "  console.log('id ' + context.awsRequestId);\n"
    "  return { detail: event.detail, left: context.getRemainingTimeInMillis() };\n"
    "};\n"
    "exports.never = () => new Promise(() => {});\n"
    "exports.old = (event, context, callback) => {\n"
    "  setTimeout(() => event.detail === 'raise' ? callback(new Error('later'))\n"
    "    : callback(null, [event.detail]), 1);\n"
    "};\n";

static void make_folder(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/weir-lambda-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(code, sizeof code, "code=%s", folder);
    write_file("app.py", python);
    write_file("broken.py", "raise RuntimeError('cannot load')\n");
    write_file("leaves.py", "import os\nos._exit(3)\n");
    write_file("web.js", node);
}

static void remove_folder(void)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *client(const char *program, const char *file)
{
    static char option[8400];
    char here[4096];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    snprintf(option, sizeof option, "command=[\"%s\",\"%s/plugins/lambda/runtimes/%s\"]", program,
             here, file);
    return option;
}

static weir_test *started(const char *command, const char *handler, const char *more)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "lambda", code, command, handler,
                                 more ? more : "timeout=3s", "function_name=fn", NULL);
    give_services(t);
    weir_status s = weir_test_start(t);
    ck_assert_msg(s == WEIR_OK, "%s", weir_test_text(t));
    return t;
}

static weir_test *in_python(const char *handler, const char *more)
{
    return started(client("python3", "python/bootstrap.py"), handler, more);
}

static void push(weir_test *t, const char *const *details, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weir_test_event(t, details[i]);
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
}

static bool is_settled(const weir_test *t, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const weir_test_fate *f = weir_test_fate_of(t, i);
        if (!f || !f->is_settled)
            return false;
    }
    return true;
}

/* Lets the children work until the first `count` events are settled. */
static void work(weir_test *t, size_t count)
{
    for (int i = 0; i < 10000 && !is_settled(t, count); i++) {
        if (weir_test_poll(t, 10000) <= 0)
            break;
        weir_test_run(t);
    }
    ck_assert_msg(is_settled(t, count), "%s", weir_test_text(t));
}

static weir_test_fate fate(const weir_test *t, size_t i)
{
    const weir_test_fate *f = weir_test_fate_of(t, i);
    if (!f)
        ck_abort_msg("event %zu was never given", i);
    return *f;
}

static void ends_well(weir_test *t)
{
    ck_assert_int_eq(weir_test_free(t), 0);
}

START_TEST(python_answers)
{
    weir_test *t = in_python("handler=app.main", "environments=1");
    push(t, (const char *[]){"\"a\"", "\"none\"", "\"raise\"", "{\"u\":\"\xc3\xa9\"}"}, 4);
    work(t, 4);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    ck_assert_str_eq(out_text(t, 0), "{\"n\":1,\"detail\":\"a\",\"name\":\"fn\"}");
    ck_assert_str_eq(out_text(t, 1), "{\"n\":4,\"detail\":{\"u\":\"\xc3\xa9\"},\"name\":\"fn\"}");
    ck_assert_int_eq(fate(t, 1).status, WEIR_DROP);
    ck_assert_int_eq(fate(t, 2).status, WEIR_E_RETRY);
    ck_assert_str_eq(fate(t, 2).why, "ValueError: no \"good\"");
    ck_assert(was_logged("/aws/lambda/fn|2025/01/01/[$LATEST]"));
    ck_assert(was_logged("[ERROR] ValueError"));
    ck_assert(was_logged("|START RequestId: 01941f29-"));
    ck_assert(was_logged("\tMemory Size: 128 MB\tMax Memory Used: "));
    ck_assert(weir_test_metric(t, "cold_starts") == 1);
    ends_well(t);
}
END_TEST

START_TEST(several_environments)
{
    weir_test *t = in_python("handler=app.main", "environments=3");
    static const char *details[30];
    for (size_t i = 0; i < 30; i++)
        details[i] = i % 2 ? "\"b\"" : "\"a\"";
    push(t, details, 15);
    push(t, details + 15, 15);
    work(t, 30);
    ck_assert_uint_eq(weir_test_out_count(t), 30);
    for (size_t i = 0; i < 30; i++) /* in the order in which they came */
        ck_assert(strstr(out_text(t, i), i % 2 ? "\"b\"" : "\"a\""));
    ck_assert(weir_test_metric(t, "cold_starts") == 3);
    ends_well(t);
}
END_TEST

START_TEST(variables)
{
    weir_test *t = in_python("handler=app.main", "environment={\"EMPTY\":\"\",\"TZ\":\"UTC\"}");
    push(t, (const char *[]){"\"env\""}, 1);
    work(t, 1);
    static const char *const expected[] = {
        "\"AWS_LAMBDA_FUNCTION_NAME\":\"fn\"",
        "\"AWS_LAMBDA_FUNCTION_VERSION\":\"$LATEST\"",
        "\"AWS_LAMBDA_FUNCTION_MEMORY_SIZE\":\"128\"",
        "\"AWS_LAMBDA_LOG_GROUP_NAME\":\"/aws/lambda/fn\"",
        "\"AWS_LAMBDA_LOG_STREAM_NAME\":\"2025/01/01/[$LATEST]",
        "\"AWS_REGION\":\"eu-central-1\"",
        "\"AWS_DEFAULT_REGION\":\"eu-central-1\"",
        "\"_HANDLER\":\"app.main\"",
        "\"LAMBDA_TASK_ROOT\":\"",
        "\"LAMBDA_RUNTIME_DIR\":\"",
        "\"AWS_LAMBDA_RUNTIME_API\":\"127.0.0.1:",
        "\"AWS_ACCESS_KEY_ID\":\"",
        "\"AWS_SECRET_ACCESS_KEY\":\"",
        "\"EMPTY\":\"\"",
        "\"TZ\":\"UTC\"",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        ck_assert_msg(strstr(out_text(t, 0), expected[i]), "%s in %s", expected[i], out_text(t, 0));
    ck_assert(!strstr(out_text(t, 0), "WEIR_HOST_SECRET"));
    ends_well(t);
}
END_TEST

START_TEST(exits)
{
    weir_test *t = in_python("handler=app.main", "environments=1");
    push(t, (const char *[]){"\"exit\"", "\"a\""}, 2);
    work(t, 2);
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_RETRY);
    ck_assert(strstr(fate(t, 0).why, "Runtime.ExitError: RequestId: 01941f29-"));
    ck_assert(strstr(fate(t, 0).why, "Error: Runtime exited with error: exit status 7"));
    ck_assert_str_eq(out_text(t, 0), "{\"n\":1,\"detail\":\"a\",\"name\":\"fn\"}"); /* a new one */
    ck_assert(was_logged("|leaving\n"));
    ends_well(t);
}
END_TEST

START_TEST(times_out)
{
    weir_test *t = in_python("handler=app.main", "timeout=1500ms");
    push(t, (const char *[]){"\"sleep\""}, 1);
    for (int i = 0; i < 1000 && !was_logged("START"); i++)
        weir_test_poll(t, 10000);
    while (weir_test_metric(t, "invocations") < 1)
        weir_test_poll(t, 10000);
    weir_test_move(t, 1500000000);
    push(t, (const char *[]){"\"a\""}, 1); /* after the jump, which would make it late as well */
    work(t, 2);
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_RETRY);
    ck_assert_str_eq(fate(t, 0).why, "Sandbox.Timedout: Task timed out after 1.50 seconds");
    ck_assert(was_logged(" Task timed out after 1.50 seconds\n"));
    ck_assert(strstr(out_text(t, 0), "\"a\""));
    ends_well(t);
}
END_TEST

START_TEST(does_not_start)
{
    static const struct {
        const char *handler, *why;
    } cases[] = {
        {"handler=broken.main", "RuntimeError: cannot load"},
        {"handler=missing.main", "Runtime.ImportModuleError: No module named 'missing'"},
        {"handler=app.other", "Runtime.HandlerNotFound: "},
        {"handler=leaves.main", "Runtime.ExitError: Runtime exited with error: exit status 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weir_test *t = in_python(cases[i].handler, "environments=1");
        push(t, (const char *[]){"1", "2"}, 2);
        work(t, 2);
        ck_assert_int_eq(fate(t, 0).status, WEIR_E_RETRY);
        ck_assert_msg(strstr(fate(t, 1).why, cases[i].why), "%s", fate(t, 1).why);
        push(t, (const char *[]){"3"}, 1); /* not before the backoff is over */
        ck_assert(weir_test_metric(t, "cold_starts") == 1);
        weir_test_poll(t, 2000);
        weir_test_move(t, 2000000000);
        work(t, 3);
        ck_assert(weir_test_metric(t, "cold_starts") == 2);
        ends_well(t);
    }
}
END_TEST

/* A timer counts by another clock than now() shows, and can be ahead of it. */
START_TEST(starts_again_when_its_timer_says)
{
    weir_test *t = in_python("handler=broken.main", "environments=1");
    push(t, (const char *[]){"1"}, 1);
    work(t, 1);
    push(t, (const char *[]){"2"}, 1);
    weir_test_poll(t, 2000); /* the process that could not start has gone */
    struct weir_test_timer *restart = weir_test_next_timer(t);
    ck_assert_ptr_nonnull(restart);
    int64_t early_ns = 50000000, left_ns = restart->at_ns - t->now_ns - early_ns;
    ck_assert_int_gt(left_ns, 0);
    restart->at_ns -= early_ns;
    weir_test_move(t, left_ns);
    work(t, 2);
    ck_assert(weir_test_metric(t, "cold_starts") == 2);
    ends_well(t);
}
END_TEST

START_TEST(output)
{
    weir_test *t = in_python("handler=app.main", NULL);
    push(t, (const char *[]){"\"print\""}, 1);
    work(t, 1);
    ck_assert(was_logged("|one\n"));
    ck_assert(was_logged("|two\n"));
    const char *end = strstr(logged, "END RequestId"), *one = strstr(logged, "|one\n");
    ck_assert(one && end && one < end);
    size_t long_ones = 0;
    for (const char *at = logged; (at = strchr(at, 'y')); at++)
        long_ones++;
    ck_assert_uint_ge(long_ones, 20000);
    ends_well(t);
}
END_TEST

START_TEST(too_large)
{
    weir_test *t = in_python("handler=app.main", "reject=[\"Function.ResponseSizeTooLarge\"]");
    push(t, (const char *[]){"\"large\"", "\"a\""}, 2);
    work(t, 2);
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_REJECT);
    ck_assert(strstr(fate(t, 0).why, "Function.ResponseSizeTooLarge"));
    ck_assert_uint_eq(weir_test_out_count(t), 1);
    ends_well(t);
}
END_TEST

START_TEST(python_batches)
{
    weir_test *t = in_python("handler=app.batch", "batch_size=2");
    push(t, (const char *[]){"1", "2", "3"}, 3);
    work(t, 3);
    ck_assert_uint_eq(weir_test_out_count(t), 3);
    ck_assert_str_eq(out_text(t, 0), "2");
    ck_assert_str_eq(out_text(t, 2), "6");
    ends_well(t);
}
END_TEST

START_TEST(stops_in_the_middle)
{
    weir_test *t = in_python("handler=app.main", NULL);
    push(t, (const char *[]){"\"sleep\""}, 1);
    while (weir_test_metric(t, "invocations") < 1)
        weir_test_poll(t, 10000);
    weir_test_stop(t);
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_RETRY);
    ends_well(t);
}
END_TEST

static bool has_node(void)
{
    return system("node --version >/dev/null 2>&1") == 0;
}

START_TEST(node_answers)
{
    if (!has_node())
        return;
    weir_test *t = started(client("node", "node/bootstrap.js"), "handler=web.main", NULL);
    push(t, (const char *[]){"\"a\"", "\"none\"", "\"raise\""}, 3);
    work(t, 3);
    ck_assert_uint_eq(weir_test_out_count(t), 1);
    ck_assert_str_eq(out_text(t, 0), "{\"detail\":\"a\",\"left\":0}");
    ck_assert_int_eq(fate(t, 1).status, WEIR_DROP);
    ck_assert_str_eq(fate(t, 2).why, "TypeError: bad");
    ck_assert(was_logged("|id 01941f29-"));
    ends_well(t);
}
END_TEST

START_TEST(node_callbacks)
{
    if (!has_node())
        return;
    weir_test *t = started(client("node", "node/bootstrap.js"), "handler=web.old", NULL);
    push(t, (const char *[]){"\"a\"", "\"raise\""}, 2);
    work(t, 2);
    ck_assert_str_eq(out_text(t, 0), "[\"a\"]");
    ck_assert_str_eq(fate(t, 1).why, "Error: later");
    ends_well(t);
}
END_TEST

START_TEST(node_never_answers)
{
    if (!has_node())
        return;
    weir_test *t = started(client("node", "node/bootstrap.js"), "handler=web.never", NULL);
    push(t, (const char *[]){"1", "2"}, 2);
    work(t, 2);
    ck_assert_int_eq(fate(t, 0).status, WEIR_DROP);
    ck_assert(weir_test_metric(t, "cold_starts") <= 2);
    ends_well(t);
}
END_TEST

START_TEST(node_does_not_start)
{
    if (!has_node())
        return;
    weir_test *t = started(client("node", "node/bootstrap.js"), "handler=none.main", NULL);
    push(t, (const char *[]){"1"}, 1);
    work(t, 1);
    ck_assert(strstr(fate(t, 0).why, "Runtime.ImportModuleError: Cannot find module 'none'"));
    ends_well(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lambda-runtime");
    TCase *c = tcase_create("protocol");
    tcase_add_test(c, http_requests);
    tcase_add_test(c, http_refuses);
    tcase_add_test(c, http_too_large);
    tcase_add_test(c, states);
    suite_add_tcase(s, c);
    c = tcase_create("processes");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_add_test(c, python_answers);
    tcase_add_test(c, several_environments);
    tcase_add_test(c, variables);
    tcase_add_test(c, exits);
    tcase_add_test(c, times_out);
    tcase_add_test(c, does_not_start);
    tcase_add_test(c, starts_again_when_its_timer_says);
    tcase_add_test(c, output);
    tcase_add_test(c, too_large);
    tcase_add_test(c, python_batches);
    tcase_add_test(c, stops_in_the_middle);
    tcase_add_test(c, node_answers);
    tcase_add_test(c, node_callbacks);
    tcase_add_test(c, node_never_answers);
    tcase_add_test(c, node_does_not_start);
    suite_add_tcase(s, c);
    setenv("WEIR_HOST_SECRET", "not for functions", 1);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
