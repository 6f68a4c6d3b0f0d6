/* tests/unit/journal_logstore.c: the log store: what was put is read again, live, rolled and cleaned. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "journal/logstore.h"

#define NOW_NS INT64_C(1700000000000000000) /* 2023-11-14 22:13:20 */
#define NOW_MS (NOW_NS / 1000000)
#define DAY_NS INT64_C(86400000000000)

static char dir[256], path[300];
static struct clock_fake now;
static struct error error;

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/weir-logs-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/logs", dir);
    clock_fake_init(&now, NOW_NS);
}

static void teardown(void)
{
    char command[400];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

static struct logstore *open_store(uint64_t segment_bytes, uint64_t bytes_max, unsigned days)
{
    struct logstore_options o = {path, segment_bytes, bytes_max, days, &now.base};
    struct logstore *l = logstore_open(&o, &error);
    ck_assert_ptr_nonnull(l);
    return l;
}

static weir_status put(struct logstore *l, const char *group, const char *stream, const char *text)
{
    weir_log_line line = {0, weir_text(text)};
    return logstore_put(l, weir_text(group), weir_text(stream), &line, 1);
}

static struct logstore_reader *reader(const char *group, struct logstore_query q)
{
    struct logstore_reader *r = logstore_reader_open(path, weir_text(group), &q, &error);
    ck_assert_msg(r != NULL, "%s", error.text);
    return r;
}

/* What there is, joined by commas. */
static const char *rest(struct logstore_reader *r)
{
    static char text[4096];
    struct logstore_line line;
    size_t n = 0;
    text[0] = 0;
    while (logstore_reader_next(r, &line) == WEIR_OK)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", n ? "," : "", (int)line.text.len,
                              line.text.ptr);
    return text;
}

static void expect(const char *group, struct logstore_query q, const char *wanted)
{
    struct logstore_reader *r = reader(group, q);
    ck_assert_str_eq(rest(r), wanted);
    logstore_reader_close(r);
}

START_TEST(what_is_put_is_read)
{
    struct logstore *l = open_store(0, 0, 0);
    struct logstore_line line;
    weir_log_line lines[] = {{NOW_NS - 5000000, weir_text("a \"b\"\n\t\\ \x01 gr\xC3\xBC\xC3\x9F")},
                             {0, weir_text("bad \xff byte")},
                             {0, weir_text("")}};
    ck_assert_int_eq(logstore_put(l, weir_text("/weir/users"), weir_text("s 1"), lines, 3),
                     WEIR_OK);
    struct logstore_reader *r = reader("/weir/users", (struct logstore_query){0});
    ck_assert_int_eq(logstore_reader_next(r, &line), WEIR_OK);
    ck_assert_int_eq(line.time_ms, NOW_MS - 5);
    ck_assert_int_eq(line.arrived_ms, NOW_MS);
    ck_assert_uint_eq(line.text.len, lines[0].text.len);
    ck_assert_mem_eq(line.text.ptr, lines[0].text.ptr, line.text.len);
    ck_assert(weir_same(line.stream, "s 1"));
    ck_assert_str_eq(rest(r), "bad \xEF\xBF\xBD byte,");
    ck_assert_int_eq(logstore_reader_next(r, &line), WEIR_IDLE);
    logstore_reader_close(r);
    logstore_close(l);
}
END_TEST

START_TEST(names_are_checked)
{
    static const char *const bad[] = {"", "a b", "a:b", "\xC3\xBC", "a*"};
    char text[600];
    struct logstore *l = open_store(0, 0, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(put(l, bad[i], "s", "x"), WEIR_E_REJECT);
    ck_assert_int_eq(put(l, "g", "a:b", "x"), WEIR_E_REJECT);
    ck_assert_int_eq(put(l, "g", "a*", "x"), WEIR_E_REJECT);
    ck_assert_int_eq(put(l, "g", "", "x"), WEIR_E_REJECT);
    memset(text, 'a', sizeof text);
    text[513] = 0;
    ck_assert_int_eq(put(l, text, "s", "x"), WEIR_E_REJECT);
    text[512] = 0;
    ck_assert_int_eq(put(l, text, text, "long"), WEIR_OK);
    text[511] = '/';
    ck_assert_int_eq(put(l, text, "s", "other"), WEIR_OK);
    expect(text, (struct logstore_query){0}, "other");
    /* No way out of the folder. */
    ck_assert_int_eq(put(l, "..", "s", "dots"), WEIR_OK);
    ck_assert_int_eq(put(l, "../../x", "s", "up"), WEIR_OK);
    expect("..", (struct logstore_query){0}, "dots");
    expect("../../x", (struct logstore_query){0}, "up");
    logstore_close(l);
}
END_TEST

static void add_group(void *user, const struct logstore_group *g)
{
    buf_print(user, "%s=%u;", g->name, g->retention_days);
    ck_assert_uint_ge(g->bytes, 1);
}

static void add_stream(void *user, const struct logstore_stream *s)
{
    buf_print(user, "%.*s=%llu %lld-%lld;", (int)s->name.len, s->name.ptr,
              (unsigned long long)s->lines, (long long)s->first_ms, (long long)s->last_ms);
}

START_TEST(groups_and_streams_are_listed)
{
    struct buf text = {0};
    struct stat st;
    char name[512], long_name[513];
    struct logstore *l = open_store(0, 0, 0);
    memset(long_name, '/', 512);
    long_name[512] = 0;
    ck_assert_int_eq(put(l, long_name, "one", "x"), WEIR_OK);
    ck_assert_int_eq(logstore_retain(l, weir_text(long_name), 3), WEIR_OK);
    logstore_each_group(path, add_group, &text);
    ck_assert_uint_eq(text.len, 515);
    ck_assert_mem_eq(text.ptr, long_name, 512);
    ck_assert_int_eq(logstore_remove(l, weir_text(long_name)), WEIR_OK);
    text.len = 0;
    ck_assert_int_eq(put(l, "/a/b#c", "one", "x"), WEIR_OK);
    ck_assert_int_eq(logstore_put(l, weir_text("/a/b#c"), weir_text("empty"), NULL, 0), WEIR_OK);
    clock_fake_move(&now, 1000000);
    ck_assert_int_eq(put(l, "/a/b#c", "one", "y"), WEIR_OK);
    logstore_each_group(path, add_group, &text);
    ck_assert_str_eq(buf_text(&text), "/a/b#c=0;");
    text.len = 0;
    ck_assert_int_eq(logstore_each_stream(path, weir_text("/a/b#c"), add_stream, &text), WEIR_OK);
    ck_assert_str_eq(buf_text(&text), "one=2 1700000000000-1700000000001;empty=0 0-0;");
    ck_assert_int_eq(logstore_each_stream(path, weir_text("none"), add_stream, &text), WEIR_IDLE);
    (void)snprintf(name, sizeof name, "%s/%%2Fa%%2Fb%%23c", path);
    ck_assert_int_eq(stat(name, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    (void)snprintf(name, sizeof name, "%s/%%2Fa%%2Fb%%23c/20231114-000001.log", path);
    ck_assert_int_eq(stat(name, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    buf_fini(&text);
    logstore_close(l);
}
END_TEST

START_TEST(queries)
{
    struct logstore *l = open_store(200, 0, 0); /* several segments */
    static const char *const texts[] = {"GET /a 200", "GET /b 500", "POST /a 200", "POST /c 404",
                                        "error: no route"};
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(put(l, "g", i % 2 ? "odd" : "even", texts[i]), WEIR_OK);
        clock_fake_move(&now, 1000000);
    }
    expect("g", (struct logstore_query){.filter = weir_text("GET 200")}, texts[0]);
    expect("g", (struct logstore_query){.filter = weir_text("-200 -error")},
           "GET /b 500,POST /c 404");
    expect("g", (struct logstore_query){.filter = weir_text("?500 ?404")},
           "GET /b 500,POST /c 404");
    expect("g", (struct logstore_query){.filter = weir_text("POST ?500 -404")}, texts[2]);
    expect("g", (struct logstore_query){.filter = weir_text("\"no route\"")}, texts[4]);
    expect("g", (struct logstore_query){.filter = weir_text("-\"/a 200\" GET")}, texts[1]);
    expect("g", (struct logstore_query){.stream = weir_text("odd")}, "GET /b 500,POST /c 404");
    expect("g", (struct logstore_query){.since_ms = NOW_MS + 1, .until_ms = NOW_MS + 3},
           "GET /b 500,POST /a 200");
    expect("g", (struct logstore_query){.last = 2}, "POST /c 404,error: no route");
    expect("g", (struct logstore_query){.last = 99, .filter = weir_text("GET")},
           "GET /a 200,GET /b 500");
    expect("g", (struct logstore_query){.last = 1, .filter = weir_text("200")}, texts[2]);
    struct logstore_query bad = {.filter = weir_text("\"open")};
    ck_assert_ptr_null(logstore_reader_open(path, weir_text("g"), &bad, &error));
    ck_assert_int_eq(error.code, EXIT_USAGE_ERROR);
    error = (struct error){0};
    bad.filter.len = 0;
    ck_assert_ptr_null(logstore_reader_open(path, weir_text("none"), &bad, &error));
    logstore_close(l);
}
END_TEST

START_TEST(a_reader_follows_over_segments_and_days)
{
    struct logstore *l = open_store(150, 0, 0);
    char text[16], wanted[16];
    ck_assert_int_eq(put(l, "g", "s", "first"), WEIR_OK);
    struct logstore_reader *r = reader("g", (struct logstore_query){0});
    ck_assert_str_eq(rest(r), "first");
    for (int i = 0; i < 40; i++) {
        if (i % 10 == 9)
            clock_fake_move(&now, DAY_NS);
        (void)snprintf(text, sizeof text, "n%d", i);
        ck_assert_int_eq(put(l, "g", "s", text), WEIR_OK);
        if (i % 3 == 0)
            continue;
        if (i % 3 == 1)
            (void)snprintf(wanted, sizeof wanted, "n%d,n%d", i - 1, i);
        ck_assert_str_eq(rest(r), i % 3 == 1 ? wanted : text);
    }
    ck_assert_str_eq(rest(r), "n39");
    logstore_reader_close(r);
    logstore_close(l);
}
END_TEST

START_TEST(a_torn_line_is_not_there_and_does_no_harm)
{
    char name[512];
    struct logstore *l = open_store(0, 0, 0);
    ck_assert_int_eq(put(l, "g", "s", "whole"), WEIR_OK);
    logstore_close(l);
    (void)snprintf(name, sizeof name, "%s/g/20231114-000001.log", path);
    int fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_eq(write(fd, "1 1 1 90000 s to\n1 1 1 3 s sad\n1", 32), 32);
    expect("g", (struct logstore_query){0}, "whole");
    l = open_store(0, 0, 0);
    ck_assert_int_eq(put(l, "g", "s", "after"), WEIR_OK);
    expect("g", (struct logstore_query){0}, "whole,sad,after");
    expect("g", (struct logstore_query){.last = 1}, "after");
    (void)close(fd);
    (void)snprintf(name, sizeof name, "%s/g/20231114-000002.log", path);
    fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
    static const char damage[] =
        "nonsense\n{}\n1 1 1 3 sabc\n1 1 1 3 s abcd\n1 1 9 9 \n1 1 1 2 s ok\n1 1 1 2 s on\n";
    ck_assert_int_eq(write(fd, damage, sizeof damage - 1), sizeof damage - 1);
    expect("g", (struct logstore_query){0}, "whole,sad,after,ok,on");
    (void)close(fd);
    logstore_close(l);
}
END_TEST

START_TEST(retention_and_size_drop_whole_segments)
{
    struct logstore *l = open_store(100, 0, 30);
    ck_assert_int_eq(put(l, "short", "s", "a"), WEIR_OK);
    ck_assert_int_eq(put(l, "long", "s", "a"), WEIR_OK);
    ck_assert_int_eq(logstore_retain(l, weir_text("short"), 1), WEIR_OK);
    ck_assert_int_eq(logstore_retain(l, weir_text("none"), 1), WEIR_IDLE);
    clock_fake_move(&now, DAY_NS);
    ck_assert_int_eq(put(l, "short", "s", "b"), WEIR_OK);
    clock_fake_move(&now, DAY_NS);
    logstore_tick(l);
    expect("short", (struct logstore_query){0}, "b");
    expect("long", (struct logstore_query){0}, "a");
    clock_fake_move(&now, 31 * DAY_NS);
    logstore_tick(l);
    expect("long", (struct logstore_query){0}, "");
    ck_assert_int_eq(put(l, "long", "s", "again"), WEIR_OK);
    expect("long", (struct logstore_query){0}, "again");
    logstore_close(l);
    l = open_store(100, 400, 0);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(put(l, "long", "s", "fifty bytes of text to fill a segment in two"), 0);
    clock_fake_move(&now, DAY_NS);
    logstore_tick(l);
    struct logstore_reader *r = reader("long", (struct logstore_query){0});
    ck_assert_uint_le(strlen(rest(r)), 400);
    logstore_reader_close(r);
    ck_assert_int_eq(logstore_remove(l, weir_text("long")), WEIR_OK);
    ck_assert_int_eq(logstore_remove(l, weir_text("long")), WEIR_IDLE);
    ck_assert_int_eq(put(l, "long", "s", "new"), WEIR_OK);
    expect("long", (struct logstore_query){0}, "new");
    logstore_close(l);
}
END_TEST

START_TEST(a_full_disk_is_retry_and_leaves_no_half_call)
{
    struct logstore *l = open_store(0, 0, 0);
    struct rlimit old, small;
    char *text = mem_new(60001);
    struct logstore_line line;
    memset(text, 'x', 60000);
    ck_assert_int_eq(put(l, "g", "s", text), WEIR_OK);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){65536, old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    weir_log_line lines[8];
    for (size_t i = 0; i < 8; i++)
        lines[i] = (weir_log_line){0, {text, 1000}};
    ck_assert_int_eq(logstore_put(l, weir_text("g"), weir_text("s"), lines, 8), WEIR_E_RETRY);
    ck_assert_int_eq(put(l, "g", "s", "small"), WEIR_OK);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    struct logstore_reader *r = reader("g", (struct logstore_query){0});
    ck_assert_int_eq(logstore_reader_next(r, &line), WEIR_OK);
    ck_assert_uint_eq(line.text.len, 60000);
    ck_assert_str_eq(rest(r), "small");
    logstore_reader_close(r);
    mem_free(text);
    logstore_close(l);
}
END_TEST

struct writer {
    struct logstore *l;
    int number;
};

static void *write_many(void *arg)
{
    const struct writer *w = arg;
    char text[32];
    for (int i = 0; i < 500; i++) {
        (void)snprintf(text, sizeof text, "%d %d", w->number, i);
        (void)put(w->l, i % 2 ? "odd" : "even", "s", text);
        if (i % 50 == 0) {
            clock_fake_move(&now, INT64_C(1000000000));
            logstore_tick(w->l);
        }
    }
    return NULL;
}

START_TEST(many_writers)
{
    struct logstore *l = open_store(4096, 0, 0);
    struct writer w[4];
    pthread_t threads[4];
    int next[4] = {0};
    for (int i = 0; i < 4; i++) {
        w[i] = (struct writer){l, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    struct logstore_reader *r = reader("even", (struct logstore_query){0});
    struct logstore_line line;
    int count = 0;
    for (; logstore_reader_next(r, &line) == WEIR_OK; count++) {
        int writer = line.text.ptr[0] - '0';
        ck_assert_int_eq(atoi(line.text.ptr + 2), next[writer]); /* each in its order */
        next[writer] += 2;
    }
    ck_assert_int_eq(count, 1000);
    logstore_reader_close(r);
    logstore_close(l);
}
END_TEST

START_TEST(long_lines)
{
    struct logstore *l = open_store(0, 0, 0);
    size_t n = LOGSTORE_TEXT_MAX + 10;
    char *text = mem_new(n + 1);
    struct logstore_line line;
    memset(text, 1, n); /* each byte takes six */
    ck_assert_int_eq(put(l, "g", "s", text), WEIR_OK);
    ck_assert_int_eq(put(l, "g", "s", "next"), WEIR_OK);
    struct logstore_reader *r = reader("g", (struct logstore_query){0});
    ck_assert_int_eq(logstore_reader_next(r, &line), WEIR_OK);
    ck_assert_uint_eq(line.text.len, LOGSTORE_TEXT_MAX);
    ck_assert_mem_eq(line.text.ptr, text, line.text.len);
    ck_assert_str_eq(rest(r), "next");
    logstore_reader_close(r);
    mem_free(text);
    logstore_close(l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logstore");
    TCase *t = tcase_create("logstore");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, what_is_put_is_read);
    tcase_add_test(t, names_are_checked);
    tcase_add_test(t, groups_and_streams_are_listed);
    tcase_add_test(t, queries);
    tcase_add_test(t, a_reader_follows_over_segments_and_days);
    tcase_add_test(t, a_torn_line_is_not_there_and_does_no_harm);
    tcase_add_test(t, retention_and_size_drop_whole_segments);
    tcase_add_test(t, a_full_disk_is_retry_and_leaves_no_half_call);
    tcase_add_test(t, many_writers);
    tcase_add_test(t, long_lines);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
