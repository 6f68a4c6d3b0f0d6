/* tests/plugins/schedule.c: the source by a clock that the test moves: envelopes, years of runs, what was
 * missed, windows, restarts, clocks that jump, failures. */
#include "support.h"

#include "../../plugins/schedule/schedule.h"

#define MINUTE_NS (60 * SECOND_NS)
#define HOUR_NS   (60 * MINUTE_NS)
#define DAY_NS    (24 * HOUR_NS)
#define EPOCH_S   (WEIR_TEST_EPOCH_NS / SECOND_NS) /* 2025-01-01T00:00:00Z, a Wednesday */

/* ---- the host's services -------------------------------------------------------------------------- */

/* A window in memory: it outlives an instance, as the journal does. */
struct weir_claim {
    char key[128];
    bool is_recorded;
};
enum { KEYS = 256 };
struct weir_window {
    struct weir_claim *keys[KEYS];
    size_t count;
};
static struct weir_window journal;
static struct weir_claim *open_claims[64];
static size_t open_count;

static weir_status window_open(const weir_windows *s, const char *name,
                               const weir_window_settings *settings, weir_window **window)
{
    ck_assert_str_eq(name, "runs");
    ck_assert_int_ge(settings->keep.ns, 31 * DAY_NS);
    *window = &journal;
    return WEIR_OK;
}

static weir_status window_claim(const weir_windows *s, weir_window *w, weir_str key,
                                weir_str content, weir_window_found *found)
{
    for (size_t i = 0; i < w->count; i++)
        if (weir_same(key, w->keys[i]->key))
            return w->keys[i]->is_recorded ? WEIR_DROP : WEIR_PENDING;
    struct weir_claim *c = calloc(1, sizeof *c);
    (void)snprintf(c->key, sizeof c->key, "%.*s", (int)key.len, key.ptr);
    if (w->count == KEYS) { /* the oldest is forgotten */
        free(w->keys[0]);
        memmove(w->keys, w->keys + 1, --w->count * sizeof *w->keys);
    }
    w->keys[w->count++] = c;
    found->claim = c;
    return WEIR_OK;
}

static void window_attach(const weir_windows *s, weir_claim *take, const weir_event *ev)
{
    open_claims[open_count++] = take;
}

static void window_release(const weir_windows *s, weir_claim *take)
{
    for (size_t i = 0; i < journal.count; i++)
        if (journal.keys[i] == take)
            journal.keys[i] = journal.keys[--journal.count];
    free(take);
}

static uint64_t window_count(const weir_windows *s, const weir_window *w)
{
    return w->count;
}

/* What has become of all that is under way, as far as its keys go. */
static void record(bool is_kept)
{
    for (; open_count; open_count--)
        if (is_kept)
            open_claims[open_count - 1]->is_recorded = true;
        else
            window_release(NULL, open_claims[open_count - 1]);
}

static void forget_journal(void)
{
    while (journal.count)
        free(journal.keys[--journal.count]);
    open_count = 0;
}

static const weir_windows windows = {
    .base = WEIR_OFFER(WEIR_WINDOW),
    .open = window_open,
    .claim = window_claim,
    .attach = window_attach,
    .release = window_release,
    .count = window_count,
};

static char read_paths[4096];

static void pipeline_reads(const weir_pipeline *p, const char *path)
{
    (void)strncat(read_paths, path, sizeof read_paths - strlen(read_paths) - 1);
}

static weir_test *give(weir_test *t)
{
    const weir_pipeline pipeline = {
        .base = WEIR_OFFER(WEIR_PIPELINE),
        .folder = folder,
        .data_dir = folder,
        .region = "eu-central-1",
        .account = "123456789012",
        .reads = pipeline_reads,
    };
    weir_test_give(t, &pipeline.base);
    weir_test_give(t, &windows.base);
    return t;
}

#define NEW(...)   give(weir_test_new(WEIR_TEST_SOURCE, "schedule", __VA_ARGS__, NULL))
#define BEGIN(...) begin(NEW(__VA_ARGS__), EPOCH_S)

static weir_test *begin(weir_test *t, int64_t now_s)
{
    t->now_ns = now_s * SECOND_NS;
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    return t;
}

/* ---- turns of the runner -------------------------------------------------------------------------- */

/* Takes all that the source brings now, and makes it safe; how many events. */
static size_t take(weir_test *t)
{
    size_t n = 0;
    while (weir_test_pull(t) == WEIR_OK) {
        record(true);
        weir_test_settle(t, weir_test_flight_count(t) - 1, WEIR_DURABLE, WEIR_OK);
        n++;
        ck_assert_uint_lt(n, 20000);
    }
    return n;
}

static size_t take_at(weir_test *t, int64_t utc_s)
{
    t->now_ns = utc_s * SECOND_NS;
    return take(t);
}

static const weir_event *event(const weir_test *t, size_t i)
{
    return weir_test_flight(t, i)->events[0];
}

static int64_t time_s(const weir_test *t, size_t i)
{
    return event(t, i)->time_ns / SECOND_NS;
}

static const weir_event *last(const weir_test *t)
{
    return event(t, weir_test_flight_count(t) - 1);
}

/* The process is gone at once: nothing is told, stopped or saved. */
static void crash(weir_test *t)
{
    t->component = &(const weir_component){.name = "crashed"};
    t->stage = WEIR_TEST_OVER;
    (void)weir_test_free(t);
}

/* ---- the event --------------------------------------------------------------------------------------- */

START_TEST(brings_the_envelope)
{
    weir_test *t = BEGIN("expression=rate(5 minutes)");
    ck_assert_uint_eq(take(t), 1); /* a rate begins at once */
    const weir_event *ev = event(t, 0);
    ck_assert(weir_test_body_is(ev, "{}"));
    ck_assert_str_eq(weir_test_value(t, ev, "@source"), "aws.events");
    ck_assert_str_eq(weir_test_value(t, ev, "@type"), "Scheduled Event");
    ck_assert_str_eq(weir_test_value(t, ev, "@resources"),
                     "[\"arn:aws:events:eu-central-1:123456789012:rule/test\"]");
    ck_assert_int_eq(ev->time_ns, WEIR_TEST_EPOCH_NS);
    ck_assert_int_eq(ev->id.bytes[6] >> 4, 7);
    ck_assert_int_eq(ev->id.bytes[8] >> 6, 2);
    ck_assert_uint_eq(weir_test_flight(t, 0)->when, WEIR_WHEN_DURABLE);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    weir_test_move(t, 5 * MINUTE_NS - 1);
    ck_assert_uint_eq(weir_test_flight_count(t), 1);
    weir_test_move(t, 1); /* the timer, to the nanosecond */
    ck_assert_uint_eq(weir_test_flight_count(t), 2);
    ck_assert_int_eq(time_s(t, 1), EPOCH_S + 300);
    ck_assert(memcmp(&ev->id, &event(t, 1)->id, sizeof ev->id) != 0);
    record(true);
    weir_test_settle(t, 1, WEIR_DURABLE, WEIR_OK);
    ck_assert_double_eq(weir_test_metric(t, "runs"), 2);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static const char many[] =
    "schedules={\"a\":{\"expression\":\"cron(0 6 * * ? *)\",\"input\":{\"job\":[1,2]},"
    "\"timezone\":\"Asia/Kathmandu\"},"
    "\"off\":{\"expression\":\"rate(1 minute)\",\"enabled\":false},"
    "\"b\":{\"expression\":\"cron(0 6 * * ? *)\",\"source\":\"shop\",\"type\":\"Nightly\"}}";

START_TEST(runs_several)
{
    weir_test *t = BEGIN(many, "timezone=Europe/Berlin");
    ck_assert_uint_eq(take_at(t, EPOCH_S + 4 * 3600), 1); /* 05:00Z is b's, 00:15Z was a's */
    const weir_event *a = event(t, 0);
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + 900);
    ck_assert(weir_test_body_is(a, "{\"job\":[1,2]}"));
    ck_assert_str_eq(weir_test_value(t, a, "@resources"),
                     "[\"arn:aws:events:eu-central-1:123456789012:rule/a\"]");
    ck_assert_uint_eq(take_at(t, EPOCH_S + 5 * 3600), 1);
    ck_assert_int_eq(time_s(t, 1), EPOCH_S + 5 * 3600);
    ck_assert_str_eq(weir_test_value(t, event(t, 1), "@source"), "shop");
    ck_assert_str_eq(weir_test_value(t, event(t, 1), "@type"), "Nightly");
    ck_assert_ptr_nonnull(strstr(read_paths, "/Europe/Berlin"));
    ck_assert_ptr_nonnull(strstr(read_paths, "/Asia/Kathmandu"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* Two of one schedule, or of two at one time, are two events; the same one is the same over instances. */
START_TEST(keeps_ids)
{
    static const char two[] = "schedules={\"a\":{\"expression\":\"cron(0 6 * * ? *)\"},"
                              "\"b\":{\"expression\":\"cron(0 6 * * ? *)\"}}";
    weir_id ids[4];
    for (int round = 0; round < 2; round++) {
        forget_journal();
        weir_test *t = BEGIN(two, option_path("position", round ? "one" : "two"));
        ck_assert_uint_eq(take_at(t, EPOCH_S + 6 * 3600), 2);
        ck_assert_uint_eq(take_at(t, EPOCH_S + 30 * 3600), 2);
        for (size_t i = 0; i < 4; i++) {
            ck_assert(!round || memcmp(&ids[i], &event(t, i)->id, sizeof ids[i]) == 0);
            ids[i] = event(t, i)->id;
        }
        ck_assert_int_eq(weir_test_free(t), 0);
    }
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < i; k++)
            ck_assert(memcmp(&ids[i], &ids[k], sizeof ids[i]) != 0);
}
END_TEST

/* ---- years -------------------------------------------------------------------------------------------- */

/* Twelve years by the hour: each run once, at its time, and at the clock's own hour all the year. The
 * position cannot be written all that time, which changes nothing. */
START_TEST(runs_for_years)
{
    static const char yearly[] = "schedules={\"day\":{\"expression\":\"cron(0 7 * * ? *)\"},"
                                 "\"last\":{\"expression\":\"cron(30 23 LW * ? *)\"},"
                                 "\"third\":{\"expression\":\"cron(0 12 ? * THU#3 *)\"},"
                                 "\"rate\":{\"expression\":\"rate(12 hours)\"}}";
    size_t counts[4] = {0}, mornings[2] = {0};
    bool is_told = false;
    weir_test *t = BEGIN(yearly, "timezone=Europe/Berlin", option_path("position", "no/no/such"));
    const struct schedule *s = weir_test_self(t);
    for (int hour = 0; hour < 12 * 365 * 24 + 3 * 24; hour++) {
        if (!(UINT32_C(0xc01c63) >> hour % 24 & 1))
            continue; /* nothing can be due */
        is_told |= weir_test_said(t, "after a restart it is not known which runs were missed");
        t->text_len = 0; /* it is said often */
        size_t before = weir_test_flight_count(t), n = take_at(t, EPOCH_S + hour * 3600L);
        for (size_t i = before; i < before + n; i++) {
            int64_t late = EPOCH_S + hour * 3600L - time_s(t, i);
            if (late < 0 || late > 1800)
                ck_abort_msg("run %zu is %lld s late", i, (long long)late);
            for (size_t k = 0; k < 4; k++)
                counts[k] +=
                    strstr(weir_test_value(t, event(t, i), "@resources"),
                           (const char *[]){"/day", "/last", "/third", "/rate"}[k]) != NULL;
            if (strstr(weir_test_value(t, event(t, i), "@resources"), "/day"))
                mornings[zone_offset(s->runs[0].zone, time_s(t, i)) == 7200]++;
        }
    }
    ck_assert_uint_eq(counts[0], 12 * 365 + 3);
    ck_assert_uint_eq(counts[1], 144);
    ck_assert_uint_eq(counts[2], 144);
    ck_assert_uint_eq(counts[3], 2 * (12 * 365 + 3));
    ck_assert_uint_gt(mornings[1], 2500); /* days of summer time */
    ck_assert_uint_gt(mornings[0], 1700);
    ck_assert_double_eq(weir_test_metric(t, "missed"), 0);
    ck_assert(is_told);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* ---- restarts, and what was missed ---------------------------------------------------------------------- */

/* Runs for three hours, is down for `down_s`, and runs again; the instance after that. */
#define AGAIN(down_s, ...) again(NEW(__VA_ARGS__), NEW(__VA_ARGS__), (down_s))
static weir_test *again(weir_test *before, weir_test *after, int64_t down_s)
{
    before = begin(before, EPOCH_S);
    for (int64_t s = 0; s <= 3 * 3600; s += 60)
        (void)take_at(before, EPOCH_S + s);
    ck_assert_int_eq(weir_test_free(before), 0);
    after = begin(after, EPOCH_S + 3 * 3600 + down_s);
    (void)take(after);
    return after;
}

START_TEST(brings_the_newest_that_was_missed)
{
    weir_test *t = AGAIN(10 * 3600 + 100, "expression=cron(0 * * * ? *)");
    ck_assert_uint_eq(weir_test_flight_count(t), 1);
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + 13 * 3600);
    ck_assert_double_eq(weir_test_metric(t, "missed"), 9);
    ck_assert(weir_test_said(
        t, "9 runs from 2025-01-01T04:00:00Z on were missed and left out (missed: once)"));
    ck_assert_uint_eq(take_at(t, EPOCH_S + 14 * 3600), 1); /* and goes on */
    ck_assert_int_eq(weir_test_free(t), 0);
    t = AGAIN(1, "expression=cron(0 * * * ? *)"); /* nothing was missed */
    ck_assert_uint_eq(weir_test_flight_count(t), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(brings_all_that_was_missed)
{
    weir_test *t = AGAIN(10 * 3600 + 100, "expression=cron(0 * * * ? *)", "missed=all");
    ck_assert_uint_eq(weir_test_flight_count(t), 10);
    for (size_t i = 0; i < 10; i++)
        ck_assert_int_eq(time_s(t, i), EPOCH_S + (int64_t)(4 + i) * 3600);
    ck_assert_double_eq(weir_test_metric(t, "missed"), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(brings_no_more_than_it_may)
{
    weir_test *t =
        AGAIN(10 * 3600 + 100, "expression=cron(0 * * * ? *)", "missed=all", "max_missed=3");
    ck_assert_uint_eq(weir_test_flight_count(t), 3);
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + 11 * 3600);
    ck_assert_double_eq(weir_test_metric(t, "missed"), 7);
    ck_assert_int_eq(weir_test_free(t), 0);
    forget_journal();
    t = AGAIN(10 * 3600, "expression=cron(0 * * * ? *)", "missed=all", "max_missed_age=4h",
              option_path("position", "two"));
    ck_assert_uint_eq(weir_test_flight_count(t), 5); /* that of four hours ago is just in time */
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + 9 * 3600);
    ck_assert_int_eq(weir_test_free(t), 0);
    forget_journal();
    t = AGAIN(30 * 3600, "expression=cron(30 3 1 * ? *)", option_path("position", "three"));
    ck_assert_uint_eq(weir_test_flight_count(t), 0); /* the only one is more than a day old */
    ck_assert_double_eq(weir_test_metric(t, "missed"), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(skips_what_was_missed)
{
    weir_test *t = AGAIN(10 * 3600 + 100, "expression=cron(0 * * * ? *)", "missed=skip");
    ck_assert_uint_eq(weir_test_flight_count(t), 0);
    ck_assert_double_eq(weir_test_metric(t, "missed"), 10);
    ck_assert_int_eq(weir_test_free(t), 0);
    t = AGAIN(10 * 3600 + 60, "expression=cron(0 * * * ? *)", "missed=skip",
              option_path("position", "two"));
    ck_assert_uint_eq(weir_test_flight_count(t), 1); /* a minute late is not missed */
    ck_assert_double_eq(weir_test_metric(t, "missed"), 9);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* Ten years of minutes are passed over at once. */
START_TEST(is_not_flooded)
{
    weir_test *t = AGAIN(10 * 365 * 86400L, "expression=cron(* * * * ? *)", "missed=all");
    ck_assert_uint_eq(weir_test_flight_count(t), 100);
    ck_assert(weir_test_said(t, "more than 100000 runs from 2025-01-01T03:01:00Z on were missed"));
    ck_assert_int_eq(time_s(t, 99), EPOCH_S + 10 * 365 * 86400L + 3 * 3600);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(keeps_a_rate_over_restarts)
{
    weir_test *t = AGAIN(10 * 3600 + 100, "expression=rate(7 minutes)");
    int64_t newest = (13 * 3600 + 100) / 420 * 420;
    ck_assert_uint_eq(weir_test_flight_count(t), 1);
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + newest);
    ck_assert_uint_eq(take_at(t, EPOCH_S + newest + 419), 0);
    ck_assert_uint_eq(take_at(t, EPOCH_S + newest + 420), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
    t = begin(NEW("expression=rate(8 minutes)"), EPOCH_S + 86400); /* another one begins anew */
    ck_assert_uint_eq(take(t), 1);
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + 86400);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* Killed after the event was safe and before the position was: the key of the run knows. */
START_TEST(runs_once_over_a_crash)
{
    weir_test *t = BEGIN("expression=cron(0 * * * ? *)", "missed=all");
    ck_assert_uint_eq(take_at(t, EPOCH_S + 3600), 1);
    t->now_ns = (EPOCH_S + 7200) * SECOND_NS;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    record(true);
    crash(t);
    t = begin(NEW("expression=cron(0 * * * ? *)", "missed=all"), EPOCH_S + 7300);
    ck_assert_uint_eq(take(t), 0);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 3 * 3600), 1);
    t->now_ns = (EPOCH_S + 4 * 3600) * SECOND_NS;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    weir_id id = last(t)->id;
    record(false); /* killed before it was safe: it comes again, and is the same */
    crash(t);
    t = begin(NEW("expression=cron(0 * * * ? *)", "missed=all"), EPOCH_S + 4 * 3600 + 100);
    ck_assert_uint_eq(take(t), 1);
    ck_assert_int_eq(time_s(t, 0), EPOCH_S + 4 * 3600);
    ck_assert(memcmp(&id, &event(t, 0)->id, sizeof id) == 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(keeps_its_position)
{
    struct run runs[2] = {{.name = "a", .meaning = 0x1f}, {.name = "b", .meaning = 1}};
    const char good[] = "weir schedule 1\n000000000000001f 100 200 a\n0000000000000002 7 8 b\n";
    ck_assert(position_read(weir_text(good), runs, 2));
    ck_assert(runs[0].anchor_s == 100 && runs[0].last_s == 200);
    ck_assert(runs[1].anchor_s == 0 && runs[1].last_s == 0); /* it means something else now */
    ck_assert(position_read(weir_text("weir schedule 1\n"), runs, 2));
    for (size_t n = 0; n < sizeof good - 1; n++) {
        bool is_whole = n >= 16 && good[n - 1] == '\n';
        ck_assert(position_read((weir_str){good, n}, runs, 2) == is_whole);
    }
    static const char *const bad[] = {
        "weir schedule 2\n",
        "weir schedule 1\nzz00000000000001 1 2 a\n",
        "weir schedule 1\n0000000000000001 -1 2 a\n",
        "weir schedule 1\n0000000000000001 1 99999999999999999999 a\n",
        "weir schedule 1\n0000000000000001 1  a\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!position_read(weir_text(bad[i]), runs, 2), "%s", bad[i]);
    weir_test *t = BEGIN("expression=rate(1 hour)");
    ck_assert_uint_eq(take(t), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
    struct stat is;
    ck_assert_int_eq(stat(path_of("schedules/test"), &is), 0);
    ck_assert_int_eq(is.st_mode & 0777, 0600);
    ck_assert_int_ne(access(path_of("schedules/test.new"), F_OK), 0);
    file_write("schedules/test", "rubbish");
    t = begin(NEW("expression=rate(1 hour)"), EPOCH_S + 1800);
    ck_assert(weir_test_said(t, "schedules/test is no position of schedules"));
    ck_assert_uint_eq(take(t), 1); /* it begins anew */
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* ---- windows, start, end ---------------------------------------------------------------------------------- */

/* Each run at its own place in the window, always the same; all places are used. */
START_TEST(spreads_over_a_window)
{
    size_t quarters[4] = {0};
    int64_t late[100];
    for (int round = 0; round < 2; round++) {
        forget_journal();
        weir_test *t = BEGIN("expression=cron(0 * * * ? *)", "flexible_window=1h",
                             option_path("position", round ? "one" : "two"));
        int64_t now = EPOCH_S;
        for (size_t n = 0; n < 100; now += 20) {
            if (round && n == 50 && weir_test_flight_count(t) == 50) { /* and over a restart */
                ck_assert_int_eq(weir_test_free(t), 0);
                t = begin(NEW("expression=cron(0 * * * ? *)", "flexible_window=1h",
                              option_path("position", "one")),
                          now);
            }
            if (!take_at(t, now))
                continue;
            int64_t its = now - last(t)->time_ns / SECOND_NS;
            ck_assert(its >= 0 && its < 3600 + 20);
            ck_assert(!round || late[n] == its);
            late[n++] = its;
            quarters[its * 4 / 3620]++;
        }
        ck_assert_double_eq(weir_test_metric(t, "missed"), 0);
        ck_assert_int_eq(weir_test_free(t), 0);
    }
    for (size_t i = 0; i < 4; i++)
        ck_assert_msg(quarters[i] > 25 && quarters[i] < 75, "%zu of 200", quarters[i]);
}
END_TEST

START_TEST(keeps_within_start_and_end)
{
    weir_test *t = BEGIN("expression=rate(1 hour)", "start=2025-01-01T02:30:00",
                         "end=2025-01-01T05:30:00+01:00", "timezone=Europe/Berlin");
    for (int64_t s = 0; s < 86400; s += 600) {
        size_t n = take_at(t, EPOCH_S + s);
        ck_assert_uint_eq(n, s == 5400 || s == 9000 || s == 12600);
    }
    ck_assert_int_eq(weir_test_pull(t), WEIR_END);
    ck_assert_int_eq(weir_test_free(t), 0);
    t = begin(NEW("expression=rate(1 hour)", "start=2024-12-31T23:50:00Z",
                  option_path("position", "two")),
              EPOCH_S);
    ck_assert_uint_eq(take(t), 0); /* its first was before it was there */
    ck_assert_uint_eq(take_at(t, EPOCH_S + 3000), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(ends_when_nothing_will_run)
{
    weir_test *t = BEGIN("expression=at(2025-01-01T06:00:00)", "timezone=Asia/Kathmandu");
    ck_assert_uint_eq(take_at(t, EPOCH_S + 899), 0);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 900), 1);
    ck_assert_int_eq(weir_test_pull(t), WEIR_END);
    ck_assert_int_eq(weir_test_free(t), 0);
    t = begin(NEW("expression=at(2025-01-01T06:00:00)", "timezone=Asia/Kathmandu"), EPOCH_S + 1000);
    ck_assert_int_eq(weir_test_pull(t), WEIR_END);
    ck_assert(weir_test_said(t, "is past: it does not run (again)"));
    ck_assert_int_eq(weir_test_free(t), 0);
    t = BEGIN("schedules={\"a\":{\"expression\":\"rate(1 day)\",\"enabled\":false}}");
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE); /* it may be switched on */
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* ---- the clock jumps ------------------------------------------------------------------------------------------ */

START_TEST(meets_a_clock_that_jumps)
{
    weir_test *t = BEGIN("expression=cron(* * * * ? *)");
    for (int64_t s = 60; s <= 600; s += 60)
        ck_assert_uint_eq(take_at(t, EPOCH_S + s), 1);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 86400), 1); /* forward: one for all */
    ck_assert_int_eq(last(t)->time_ns / SECOND_NS, EPOCH_S + 86400);
    ck_assert_double_eq(weir_test_metric(t, "missed"), 86400 / 60 - 11);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 300), 0); /* back: what was run does not run again */
    ck_assert(weir_test_said(t, "the clock is 86100 s before its last run"));
    for (int64_t s = 360; s <= 600; s += 60)
        ck_assert_uint_eq(take_at(t, EPOCH_S + s), 0);
    for (int64_t s = 660; s <= 1200; s += 60) /* what was not does */
        ck_assert_uint_eq(take_at(t, EPOCH_S + s), 1);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 1190), 0); /* a little back is nothing */
    ck_assert_uint_eq(take_at(t, EPOCH_S + 1200), 0);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 1260), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
    t = begin(NEW("expression=cron(* * * * ? *)"), EPOCH_S - 86400); /* back while it was down */
    ck_assert_uint_eq(take(t), 1);
    ck_assert_uint_eq(take_at(t, EPOCH_S - 86340), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* A machine whose clock began in 1970: a rate keeps its beat before and after. */
START_TEST(meets_a_clock_without_a_battery)
{
    weir_test *t = begin(NEW("expression=rate(1 hour)"), 100);
    ck_assert_uint_eq(take(t), 1);
    ck_assert_uint_eq(take_at(t, EPOCH_S), 1);
    ck_assert_int_eq((last(t)->time_ns / SECOND_NS - 100) % 3600, 0);
    ck_assert_uint_eq(take_at(t, 7300), 1);
    ck_assert_uint_eq(take_at(t, 50), 0);
    ck_assert_uint_eq(take_at(t, 3600 + 100), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------------------------- */

START_TEST(tries_again_what_failed)
{
    weir_test *t = BEGIN("expression=cron(0 * * * ? *)");
    t->now_ns = (EPOCH_S + 3600) * SECOND_NS;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE); /* one at a time */
    record(false);
    weir_test_settle(t, 0, WEIR_FAILED, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    weir_test_move(t, SECOND_NS - 1);
    ck_assert_uint_eq(weir_test_flight_count(t), 1);
    weir_test_move(t, 1);
    ck_assert_uint_eq(weir_test_flight_count(t), 2);
    ck_assert_int_eq(time_s(t, 1), EPOCH_S + 3600);
    ck_assert(memcmp(&event(t, 0)->id, &event(t, 1)->id, sizeof(weir_id)) == 0);
    record(false);
    weir_test_settle(t, 1, WEIR_FAILED, WEIR_E_REJECT); /* it never will work */
    ck_assert_uint_eq(take_at(t, EPOCH_S + 3700), 0);
    ck_assert_double_eq(weir_test_metric(t, "failed"), 2);
    ck_assert_uint_eq(take_at(t, EPOCH_S + 7200), 1);
    t->now_ns = (EPOCH_S + 3 * 3600) * SECOND_NS;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    weir_test_settle_as(t, weir_test_flight_count(t) - 1,
                        &(weir_verdict){WEIR_FAILED, WEIR_E_RETRY, "", "", true, NULL});
    record(true); /* kept as a dead letter: it does not come again */
    ck_assert_uint_eq(take_at(t, EPOCH_S + 3 * 3600 + 100), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(waits_for_memory)
{
    weir_test *t = BEGIN("expression=rate(1 hour)");
    weir_test_memory(t, 0);
    ck_assert_int_eq(weir_test_pull(t), WEIR_E_RETRY);
    ck_assert_uint_eq(journal.count, 0); /* the key was given back */
    weir_test_memory(t, -1);
    ck_assert_uint_eq(take(t), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* An instance of before a reload still has it under way. */
START_TEST(waits_for_the_same_run)
{
    weir_test *t = BEGIN("expression=cron(0 * * * ? *)");
    weir_test *other = BEGIN("expression=cron(0 * * * ? *)");
    t->now_ns = other->now_ns = (EPOCH_S + 3600) * SECOND_NS;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(other), WEIR_IDLE);
    record(true);
    weir_test_settle(t, 0, WEIR_DURABLE, WEIR_OK);
    weir_test_move(other, 2 * SECOND_NS);
    ck_assert_uint_eq(weir_test_flight_count(other), 0);
    ck_assert_uint_eq(take_at(other, EPOCH_S + 7200), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
    ck_assert_int_eq(weir_test_free(other), 0);
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------------------- */

static void refused(weir_test *t, const char *words)
{
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert_msg(weir_test_said(t, words), "%s", weir_test_text(t));
    ck_assert_int_eq(weir_test_free(t), 0);
}

START_TEST(refuses_what_is_wrong)
{
    refused(NEW("timezone=UTC"), "nothing to run: give expression, or schedules");
    refused(NEW("expression=rate(1 day)", many), "expression: either expression or schedules");
    refused(NEW(many, "input={}"), "input: goes with expression");
    refused(NEW(many, "flexible_window=5m"), "flexible_window: goes with expression");
    refused(NEW(many, "start=2030-01-01T00:00:00"), "start: goes with expression");
    refused(NEW("expression=cron(0 12 * * * *)"), "expression+14: day-of-month and day-of-week");
    refused(NEW("expression=rate(1 day)", "timezone=Europe/Zuerich"),
            "timezone: unknown time zone: expected a name of the time zone database");
    refused(NEW("expression=rate(1 day)", "timezone=../../etc/passwd"), "unknown time zone");
    refused(NEW("expression=rate(1 day)", "timezone=Europe"), "unknown time zone");
    refused(NEW("expression=at(2030-03-31T02:30:00)", "timezone=Europe/Berlin"),
            "expression+3: at: the clock of Europe/Berlin skips this time");
    refused(NEW("expression=rate(1 day)", "end=tomorrow"),
            "end: end: expected yyyy-mm-ddThh:mm:ss");
    refused(NEW("expression=rate(1 day)", "start=2030-01-01T00:00:00", "end=2030-01-01T00:00:00"),
            "end: end is not after start");
    refused(NEW("schedules={\"a\":{\"expression\":\"rate(1 days)\"},"
                "\"b\":{\"expression\":\"cron(0 25 * * ? *)\"}}"),
            "schedules.a.expression+7: rate: with 1 the unit is day");
    refused(NEW("schedules={\"a\":{\"expression\":\"rate(1 days)\"},"
                "\"b\":{\"expression\":\"cron(0 25 * * ? *)\"}}"),
            "schedules.b.expression+7: hours: 25 is out of range");
    refused(NEW("expression=rate(1 day)", "flexible_window=25h"), "flexible_window: expected");
}
END_TEST

int main(void)
{
    return run_tests("schedule", (const TTest *const[]){brings_the_envelope,
                                                        runs_several,
                                                        keeps_ids,
                                                        runs_for_years,
                                                        brings_the_newest_that_was_missed,
                                                        brings_all_that_was_missed,
                                                        brings_no_more_than_it_may,
                                                        skips_what_was_missed,
                                                        is_not_flooded,
                                                        keeps_a_rate_over_restarts,
                                                        runs_once_over_a_crash,
                                                        keeps_its_position,
                                                        spreads_over_a_window,
                                                        keeps_within_start_and_end,
                                                        ends_when_nothing_will_run,
                                                        meets_a_clock_that_jumps,
                                                        meets_a_clock_without_a_battery,
                                                        tries_again_what_failed,
                                                        waits_for_memory,
                                                        waits_for_the_same_run,
                                                        refuses_what_is_wrong,
                                                        NULL});
}
