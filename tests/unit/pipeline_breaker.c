/* unit/pipeline_breaker.c: the circuit breaker, by a clock that the test moves, and sinks behind one. */
#include "net/retry_after.h"
#include "pipeline/breaker.h"
#include "unit/pipeline_rig.h"

#define S INT64_C(1000000000)

static const struct plan_breaker plan = {
    .enabled = true,
    .failures = 3,
    .share = 0.5,
    .window = {10 * S},
    .probe_after = {S},
    .probe_max = {4 * S},
    .successes = 2,
};

static int64_t opened(struct breaker *b, int64_t now)
{
    for (int i = 0; i < 3; i++) {
        ck_assert(breaker_allows(b, now));
        ck_assert_int_eq(breaker_note(b, BREAKER_FAILED, now), i == 2);
    }
    ck_assert_int_eq((int)b->state, (int)BREAKER_OPEN);
    return b->probe_ns;
}

START_TEST(opens_after_failures_in_a_row)
{
    struct breaker b;
    breaker_init(&b, &plan);
    for (int i = 0; i < 10; i++) { /* one that works in between */
        ck_assert(!breaker_note(&b, BREAKER_FAILED, 100 * S * i));
        ck_assert(!breaker_note(&b, BREAKER_FAILED, 100 * S * i));
        ck_assert(!breaker_note(&b, BREAKER_WORKED, 100 * S * i));
    }
    int64_t probe = opened(&b, 1000 * S);
    ck_assert_int_ge(probe, 1000 * S + S / 2);
    ck_assert_int_le(probe, 1001 * S);
    ck_assert(!breaker_allows(&b, probe - 1));
    ck_assert(!breaker_note(&b, BREAKER_FAILED, probe - 1)); /* was under way */
    ck_assert(!breaker_note(&b, BREAKER_WORKED, probe - 1));
    ck_assert_int_eq((int)b.state, (int)BREAKER_OPEN);
    ck_assert(breaker_allows(&b, probe));
    ck_assert_int_eq((int)b.state, (int)BREAKER_HALF_OPEN);
}
END_TEST

START_TEST(probes_until_it_works)
{
    struct breaker b;
    breaker_init(&b, &plan);
    int64_t at = opened(&b, 0), wait = S;
    for (int i = 0; i < 6; i++) {
        ck_assert(breaker_allows(&b, at));
        ck_assert(!breaker_note(&b, BREAKER_FAILED, at));
        ck_assert_int_eq((int)b.state, (int)BREAKER_OPEN);
        wait = wait < 4 * S ? 2 * wait : wait;
        ck_assert_int_ge(b.probe_ns - at, wait / 2);
        ck_assert_int_le(b.probe_ns - at, wait);
        at = b.probe_ns;
    }
    ck_assert_int_eq(b.opened_ns, 0);
    ck_assert(breaker_allows(&b, at));
    ck_assert(!breaker_note(&b, BREAKER_WORKED, at));
    ck_assert(breaker_note(&b, BREAKER_WORKED, at));
    ck_assert_int_eq((int)b.state, (int)BREAKER_CLOSED);
    ck_assert(!breaker_note(&b, BREAKER_FAILED, at)); /* all is forgotten */
}
END_TEST

START_TEST(opens_by_share)
{
    struct breaker b;
    breaker_init(&b, &plan);
    int changes = 0;
    for (int i = 0; i < BREAKER_SHARE_BATCHES; i++)
        changes += breaker_note(&b, i % 2 ? BREAKER_FAILED : BREAKER_WORKED, S * i / 10);
    ck_assert_int_eq(changes, 1);
    ck_assert_int_eq((int)b.state, (int)BREAKER_OPEN);
    breaker_init(&b, &plan);
    for (int i = 0; i < 200; i++) /* as many, over a time that is longer than the window */
        ck_assert(!breaker_note(&b, i % 2 ? BREAKER_FAILED : BREAKER_WORKED, S * i));
    for (int i = 0; i < 200; i++) /* fewer than half */
        ck_assert(
            !breaker_note(&b, i % 3 == 1 ? BREAKER_FAILED : BREAKER_WORKED, 1000 * S + S * i / 20));
}
END_TEST

START_TEST(opens_at_once_when_misconfigured)
{
    struct plan_breaker off = plan;
    struct breaker b;
    off.enabled = false;
    breaker_init(&b, &off);
    for (int i = 0; i < 100; i++)
        ck_assert(!breaker_note(&b, BREAKER_FAILED, i));
    ck_assert(breaker_note(&b, BREAKER_MISCONFIGURED, 0));
    ck_assert(!breaker_allows(&b, S / 2 - 1));
    ck_assert(breaker_allows(&b, S));
}
END_TEST

START_TEST(retry_after)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"120", 120},
        {"0", 0},
        {"", 0},
        {"-1", 0},
        {"1.5", 0},
        {"soon", 0},
        {"99999999999999999999", 0},
        {"Fri, 31 Dec 1999 23:59:59 GMT", 9},
        {"Friday, 31-Dec-99 23:59:59 GMT", 9},
        {"Fri Dec 31 23:59:59 1999", 9},
        {"Fri, 31 Dec 1999 23:59:40 GMT", 0}, /* over */
        {"Fri, 31 Dec 1999 23:59:59 GMT and more", 0},
    };
    const int64_t now = INT64_C(946684790) * S; /* 1999-12-31T23:59:50Z */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const weir_attr items[] = {{weir_text("date"), weir_text("7")},
                                   {weir_text("retry-after"), weir_text(cases[i].text)}};
        ck_assert_msg(retry_after_ns((weir_pairs){2, items}, now) == cases[i].seconds * S, "%s",
                      cases[i].text);
    }
    ck_assert_int_eq(retry_after_ns((weir_pairs){0}, now), 0);
}
END_TEST

/* ---- in a pipeline ---- */

static struct rig rig;

static void set_up(void)
{
    rig_init(&rig);
}

static void tear_down(void)
{
    rig_fini(&rig);
}

static double figure(const char *name)
{
    const struct metric_key key = {WEIR_GAUGE, name, "", "a", NULL, NULL};
    return metric_value(metrics_get(rig.pipeline->metrics, &key));
}

/* All fails: the sink is tried now and then, no event loses an attempt or is given up, and it goes on. */
START_TEST(leaves_a_dead_sink_alone)
{
    static const char *const kinds[] = {"durable", "memory"};
    struct buf why = {0};
    world.is_failing = 1;
    char *stages = mem_format(
        "sources: { in: { plugin: feed, count: 4000, batch: 50, when: durable } }\n"
        "sinks: { a: { plugin: take, mode: switch, inputs: [in], batch: { max_events: 10 },\n"
        "    buffer: { type: %s, max_events: 10000 }, retry: { backoff: 1ms, backoff_max: 2ms, "
        "max_attempts: 30 },\n"
        "    breaker: { failures: 4, probe_after: 2ms, probe_max: 4ms } } }\n",
        kinds[_i]);
    rig_start(&rig, "workers: 2", stages);
    rig_wait(&rig, !pipeline_is_ready(rig.pipeline, &why));
    ck_assert_ptr_nonnull(strstr(buf_text(&why), "the breaker is open: 4 batches failed in a row"));
    rig_wait(&rig, rig_is_balanced(&rig, 4000));
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), 0);
    ck_assert(figure("weir_stage_breaker_state") > 0);
    if (_i == 0) /* what waits on disk keeps no runner from stopping */
        rig_wait(&rig, pipeline_is_drained(rig.pipeline));
    world.is_failing = 0;
    why.len = 0;
    rig_wait(&rig, pipeline_is_ready(rig.pipeline, &why) || (why.len = 0));
    rig_settled(&rig, 4000);
    rig_empty(&rig);
    for (int i = 0; i < 4000; i++)
        ck_assert_int_eq(world.got[0][i], 1);
    ck_assert(figure("weir_stage_breaker_state") == 0);
    rig_stop(&rig);
    buf_fini(&why);
    mem_free(stages);
}
END_TEST

/* What is the user's to mend pauses the sink, and nothing is ever given up for it. */
START_TEST(waits_for_the_user)
{
    struct buf why = {0};
    world.is_failing = 1;
    rig_start(&rig, "workers: 1",
              "sources: { in: { plugin: feed, count: 500 } }\n"
              "sinks: { a: { plugin: take, mode: config, inputs: [in],\n"
              "    retry: { max_attempts: 1, max_age: 1ms },\n"
              "    breaker: { enabled: false, probe_after: 1ms, probe_max: 2ms } } }\n");
    rig_wait(&rig, !pipeline_is_ready(rig.pipeline, &why));
    ck_assert_ptr_nonnull(strstr(buf_text(&why), "mend me"));
    for (int i = 0; i < 30; i++)
        rig_nap(&rig);
    world.is_failing = 0;
    rig_settled(&rig, 500);
    rig_empty(&rig);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), 500);
    why.len = 0;
    rig_wait(&rig, pipeline_is_ready(rig.pipeline, &why) || (why.len = 0));
    rig_stop(&rig);
    buf_fini(&why);
}
END_TEST

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    Suite *s = suite_create("pipeline_breaker");
    TCase *c = tcase_create("breaker");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, opens_after_failures_in_a_row);
    tcase_add_test(c, probes_until_it_works);
    tcase_add_test(c, opens_by_share);
    tcase_add_test(c, opens_at_once_when_misconfigured);
    tcase_add_test(c, retry_after);
    tcase_add_loop_test(c, leaves_a_dead_sink_alone, 0, 2);
    tcase_add_test(c, waits_for_the_user);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
