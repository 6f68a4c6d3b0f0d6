/* tests/plugins/cloudwatch_logs.c: log events and their limits; metrics as the EMF specification wants. */
#include <weir/testing.h>

#include <check.h>
#include <weir/logs.h>
#include <weir/metrics.h>
#include <weir/shape.h>

enum { PUTS_MAX = 64 };
static struct {
    size_t count, bytes;
    int64_t first_ns, last_ns;
    bool is_in_order;
} puts_made[PUTS_MAX];
static size_t put_count;
static char logged[1 << 20]; /* lines: "group|stream|text" */
static size_t logged_len;
static weir_status put_answer;

static weir_status put(const weir_logs *l, const char *group, const char *stream,
                       const weir_log_line *lines, size_t count)
{
    ck_assert_uint_lt(put_count, PUTS_MAX);
    puts_made[put_count].count = count;
    puts_made[put_count].bytes = 0;
    puts_made[put_count].is_in_order = true;
    puts_made[put_count].first_ns = lines[0].time_ns;
    puts_made[put_count].last_ns = lines[count - 1].time_ns;
    for (size_t i = 0; i < count; i++) {
        puts_made[put_count].bytes += lines[i].text.len + 26;
        if (i && lines[i].time_ns < lines[i - 1].time_ns)
            puts_made[put_count].is_in_order = false;
        int n =
            snprintf(logged + logged_len, sizeof logged - logged_len, "%s|%s|%.*s\n", group, stream,
                     (int)(lines[i].text.len < 4000 ? lines[i].text.len : 4000), lines[i].text.ptr);
        if (n > 0 && (size_t)n < sizeof logged - logged_len)
            logged_len += (size_t)n;
    }
    put_count++;
    return put_answer;
}

static weir_payload *envelope(const weir_shapes *s, const weir_event *ev)
{
    const weir_host *h = s->base.owner;
    char *data = NULL;
    weir_payload *p = h->alloc(h, 9, &data);
    if (p)
        memcpy(data, "{\"env\":1}", 9);
    return p;
}

static weir_sample samples[256];
static size_t sample_count;

static void each(const weir_metrics *m, void (*fn)(void *arg, const weir_sample *s), void *arg)
{
    for (size_t i = 0; i < sample_count; i++)
        fn(arg, &samples[i]);
}

static const weir_logs logs = {.base = WEIR_OFFER(WEIR_LOGS), .put = put};
static const weir_shapes shapes = {.base = WEIR_OFFER(WEIR_SHAPE), .envelope = envelope};
static const weir_metrics metrics = {.base = WEIR_OFFER(WEIR_METRICS), .each = each};

static weir_test *stage(const char *a, const char *b, const char *c)
{
    weir_test *t = weir_test_new(WEIR_TEST_SINK, "cloudwatch_logs", a, b, b ? c : NULL, NULL);
    put_count = logged_len = sample_count = 0;
    logged[0] = 0;
    put_answer = WEIR_OK;
    weir_test_give(t, &logs.base);
    weir_test_give(t, &shapes.base);
    weir_test_give(t, &metrics.base);
    return t;
}

static weir_test *started(const char *a, const char *b, const char *c)
{
    weir_test *t = stage(a, b, c);
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

START_TEST(formats)
{
    weir_test *t = started("log_group=/weir/users", NULL, NULL);
    weir_event *ev = weir_test_event(t, "{\"a\":1}");
    weir_test_set(t, ev, "@id", "01941f29-7c00-7000-8000-0000000000ff");
    weir_test_set(t, ev, "@source", "user \"service\"");
    weir_test_set(t, ev, "@type", "UserCreated");
    weir_test_set(t, weir_test_event(t, "no JSON"), "@id", "01941f29-7c00-7000-8000-0000000000fe");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(logged,
                     "/weir/users|test|{\"time\":\"2025-01-01T00:00:00Z\","
                     "\"id\":\"01941f29-7c00-7000-8000-0000000000ff\","
                     "\"source\":\"user \\\"service\\\"\",\"type\":\"UserCreated\","
                     "\"detail\":{\"a\":1}}\n"
                     "/weir/users|test|{\"time\":\"2025-01-01T00:00:00Z\","
                     "\"id\":\"01941f29-7c00-7000-8000-0000000000fe\",\"detail\":\"no JSON\"}\n");
    ck_assert_int_eq(weir_test_free(t), 0);

    t = started("log_group=g", "format=body", "log_stream=s");
    weir_test_event(t, "as it is");
    weir_test_event(t, "");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(logged, "g|s|as it is\n");
    ck_assert_int_eq(fate(t, 0).status, WEIR_OK);
    ck_assert_int_eq(fate(t, 1).status, WEIR_E_REJECT);
    ck_assert_int_eq(weir_test_free(t), 0);

    t = started("log_group=g", "format=envelope", NULL);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(logged, "g|test|{\"env\":1}\n");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(limits)
{
    static char big[1048577];
    memset(big, 'x', sizeof big - 1);
    weir_test *t = started("log_group=g", "format=body", NULL);
    weir_test_event(t, big); /* one byte more than fits */
    big[1048550] = 0;
    weir_test_event(t, big);
    big[500000] = 0;
    for (int i = 0; i < 3; i++)
        weir_test_event(t, big);
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_int_eq(fate(t, 0).status, WEIR_E_REJECT);
    ck_assert_uint_eq(put_count, 3);
    for (size_t i = 0; i < put_count; i++)
        ck_assert_uint_le(puts_made[i].bytes, 1048576);
    ck_assert_uint_eq(puts_made[1].count, 2);
    ck_assert_int_eq(weir_test_free(t), 0);

    t = started("log_group=g", "format=body", NULL);
    for (int i = 0; i < 10001; i++)
        weir_test_event(t, "x");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(put_count, 2);
    ck_assert_uint_eq(puts_made[0].count, 10000);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(times)
{
    static const char *const at[] = {"2024-12-31T23:00:00Z", "2024-12-29T00:00:00Z",
                                     "2024-12-30T00:00:01Z", "1999-01-01T00:00:00Z",
                                     "2025-01-01T00:00:00Z", "2031-01-01T00:00:00Z"};
    weir_test *t = started("log_group=g", "format=body", NULL);
    for (size_t i = 0; i < 6; i++)
        weir_test_set(t, weir_test_event(t, at[i]), "@time", at[i]);
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    for (size_t i = 0; i < put_count; i++) {
        ck_assert(puts_made[i].is_in_order);
        ck_assert(puts_made[i].last_ns - puts_made[i].first_ns <= INT64_C(86400000000000));
    }
    ck_assert_uint_eq(put_count, 4); /* too old; the 29th; the 30th; the last days and hours */
    ck_assert(puts_made[0].first_ns == WEIR_TEST_EPOCH_NS - INT64_C(14) * 86400 * 1000000000);
    ck_assert(puts_made[3].last_ns == WEIR_TEST_EPOCH_NS + INT64_C(7200) * 1000000000);
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(fate(t, i).status, WEIR_OK);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(store_fails)
{
    weir_test *t = started("log_group=g", "format=envelope", NULL);
    put_answer = WEIR_E_RETRY;
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
    ck_assert(weir_test_said(t, "the log store refused events for g"));
    weir_test_memory(t, 1);
    put_answer = WEIR_OK;
    weir_test_event(t, "2");
    weir_test_event(t, "3");
    (void)weir_test_push(t);
    weir_test_memory(t, -1);
    ck_assert_int_eq(fate(t, 2).status, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static weir_sample sample(const char *name, int kind, const char *stage_name, double value)
{
    return (
        weir_sample){.name = name, .help = "", .kind = kind, .stage = stage_name, .value = value};
}

START_TEST(embedded_metrics)
{
    weir_test *t = started("log_group=g", "log_stream=s",
                           "metrics={\"namespace\":\"Shop/Users\",\"interval\":\"60s\","
                           "\"dimensions\":{\"Service\":\"users\"}}");
    samples[0] = sample("weir_accepted_total", WEIR_COUNTER, "", 10);
    samples[1] = sample("weir_lag_bytes", WEIR_GAUGE, "queue", 2.5);
    samples[2] = sample("weir_write_seconds", WEIR_HISTOGRAM, "queue", 6);
    samples[2].count = 4;
    samples[3] = sample("weir_events_total", WEIR_COUNTER, "queue", 7);
    samples[3].label = "outcome";
    samples[3].label_value = "delivered";
    sample_count = 4;
    weir_test_move(t, INT64_C(59999999999));
    ck_assert_uint_eq(put_count, 0);
    weir_test_move(t, 1);
    ck_assert_str_eq(
        logged,
        "g|s/metrics|{\"_aws\":{\"Timestamp\":1735689660000,\"CloudWatchMetrics\":[{\"Namespace\":"
        "\"Shop/Users\",\"Dimensions\":[[\"Service\"]],\"Metrics\":[{\"Name\":"
        "\"weir_accepted_total\",\"Unit\":\"Count\"}]}]},\"Service\":\"users\","
        "\"weir_accepted_total\":10}\n"
        "g|s/metrics|{\"_aws\":{\"Timestamp\":1735689660000,\"CloudWatchMetrics\":[{\"Namespace\":"
        "\"Shop/Users\",\"Dimensions\":[[\"Stage\",\"Service\"]],\"Metrics\":[{\"Name\":"
        "\"weir_lag_bytes\",\"Unit\":\"Bytes\"},{\"Name\":\"weir_write_seconds\",\"Unit\":"
        "\"Seconds\"},{\"Name\":\"weir_write_seconds_count\",\"Unit\":\"Count\"}]}]},"
        "\"Stage\":\"queue\",\"Service\":\"users\",\"weir_lag_bytes\":2.5,"
        "\"weir_write_seconds\":1.5,\"weir_write_seconds_count\":4}\n"
        "g|s/metrics|{\"_aws\":{\"Timestamp\":1735689660000,\"CloudWatchMetrics\":[{\"Namespace\":"
        "\"Shop/"
        "Users\",\"Dimensions\":[[\"Stage\",\"outcome\",\"Service\"]],\"Metrics\":[{\"Name\":"
        "\"weir_events_total\",\"Unit\":\"Count\"}]}]},\"Stage\":\"queue\",\"outcome\":"
        "\"delivered\",\"Service\":\"users\",\"weir_events_total\":7}\n");
    samples[0].value = 15; /* told as what was added */
    sample_count = 1;
    logged_len = 0;
    weir_test_stop(t); /* the rest, also at the end */
    ck_assert(strstr(logged, "\"weir_accepted_total\":5}"));
    ck_assert(!strstr(logged, "lag"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(hundred_metrics_a_line)
{
    static char names[250][32];
    weir_test *t = started("log_group=g", "metrics={}", NULL);
    for (sample_count = 0; sample_count < 250; sample_count++) {
        snprintf(names[sample_count], sizeof *names, "metric_%zu", sample_count);
        samples[sample_count] = sample(names[sample_count], WEIR_GAUGE, "a", 1);
    }
    weir_test_move(t, INT64_C(60000000000));
    size_t in_line = 0, all = 0;
    for (const char *at = logged; *at; at++) {
        in_line = *at == '\n' ? 0 : in_line + (strncmp(at, "{\"Name\":", 8) == 0);
        all += strncmp(at, "{\"Name\":", 8) == 0;
        ck_assert_uint_le(in_line, 100);
    }
    ck_assert_uint_eq(all, 250);
    ck_assert(strstr(logged, "\"Namespace\":\"Weir\""));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static void refused(const char *a, const char *b, const char *words)
{
    weir_test *t = stage(a, b, NULL);
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert_msg(weir_test_said(t, words), "expected: %s\nfound: %s", words, weir_test_text(t));
    weir_test_free(t);
}

START_TEST(refusals)
{
    refused("format=body", NULL, "log_group");
    refused("log_group=a b", NULL, "log group a b: expected 1 to 512");
    refused("log_group=g", "log_stream=a:b", "log stream a:b");
    refused("log_group=g", "endpoint=aws", "endpoint: aws is not there yet");
    refused("log_group=g", "metrics={\"namespace\":\"a b\"}", "namespace a b");
    refused("log_group=g", "metrics={\"interval\":\"10ms\"}", "interval");
    refused("log_group=g", "metrics={\"dimensions\":{\"Stage\":\"x\"}}", "other than Stage");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cloudwatch_logs");
    TCase *c = tcase_create("sink");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, formats);
    tcase_add_test(c, limits);
    tcase_add_test(c, times);
    tcase_add_test(c, store_fails);
    tcase_add_test(c, embedded_metrics);
    tcase_add_test(c, hundred_metrics_a_line);
    tcase_add_test(c, refusals);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
