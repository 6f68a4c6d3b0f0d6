/* unit/pipeline_flow.c: whole pipelines of components that pass, drop, lose, keep and fail: every event
 * is settled once, with the right outcome, and the ledger balances. */
#include "unit/pipeline_rig.h"

static struct rig rig;

static void set_up(void)
{
    rig_init(&rig);
}

static void tear_down(void)
{
    rig_fini(&rig);
}

/* Each scenario runs with one worker, which commits by itself, and with two and the journal's thread. */
static const char *const workers[] = {"workers: 1", "workers: 2",
                                      "workers: 2\ntrace: { enabled: false }"};
enum { WAYS = sizeof workers / sizeof *workers };

static void all_are(int n, weir_outcome outcome)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(world.told[i].outcome == outcome, "%d: %d, %s: %s", i,
                      (int)world.told[i].outcome, world.told[i].stage, world.told[i].why);
}

static void all_got_once(int sink, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(world.got[sink][i] == 1, "sink %d got %d %d times", sink, i,
                      world.got[sink][i]);
}

static void finish(int64_t delivered, int64_t filtered, int64_t dead, int64_t dropped)
{
    rig_empty(&rig);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), delivered);
    ck_assert_int_eq(rig_column(&rig, LEDGER_FILTERED), filtered);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), dead);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DROPPED), dropped);
    ck_assert_int_eq(rig_dead(&rig), dead);
    rig_stop(&rig);
    /* The next run finds the same sums. */
    rig_start(&rig, "workers: 1",
              "sources: { in: { plugin: feed } }\n"
              "sinks: { out: { plugin: take, inputs: [in] } }");
    ck_assert(rig_is_balanced(&rig, 0));
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), delivered);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), dead);
    rig_stop(&rig);
}

START_TEST(delivered)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 3000 } }\n"
              "sinks: { out: { plugin: take, inputs: [in] } }");
    rig_settled(&rig, 3000);
    all_are(3000, WEIR_DELIVERED);
    all_got_once(0, 3000);
    finish(3000, 0, 0, 0);
}
END_TEST

START_TEST(durable_is_told_first)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 500, when: durable } }\n"
              "sinks: { out: { plugin: take, mode: hold, inputs: [in] } }");
    rig_settled(&rig, 500);
    all_are(500, WEIR_DURABLE);
    ck_assert_int_eq(got_count(0), 0);
    rig_wait(&rig, rig_is_balanced(&rig, 500));
    world.is_released = 1;
    finish(500, 0, 0, 0);
    all_got_once(0, 500);
}
END_TEST

START_TEST(fan_out_to_all_kinds)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 2000 } }\n"
              "transforms: { louder: { plugin: edit, mode: write, inputs: [in] } }\n"
              "sinks:\n"
              "  a: { plugin: take, inputs: [in], tone: low }\n"
              "  b: { plugin: take_keeps, id: 1, inputs: [in], tone: low }\n"
              "  c: { plugin: take_blocking, id: 2, inputs: [louder], tone: high }\n"
              "  d: { plugin: take, mode: thread, id: 3, inputs: [in, louder],\n"
              "       buffer: { type: memory } }\n");
    rig_settled(&rig, 2000);
    all_are(2000, WEIR_DELIVERED);
    rig_empty(&rig);
    for (int i = 0; i < 3; i++)
        all_got_once(i, 2000);
    ck_assert_int_eq(got_count(3), 4000);
    finish(10000, 0, 0, 0);
}
END_TEST

START_TEST(filtered_by_transform_and_condition)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 1000 } }\n"
              "transforms: { sieve: { plugin: edit, mode: drop, inputs: [in] } }\n"
              "sinks:\n"
              "  a: { plugin: take, inputs: [sieve] }\n"
              "  b: { plugin: take, id: 1, inputs: [{ from: in, where: { detail: { odd: [true] } } "
              "}] }\n");
    rig_settled(&rig, 1000);
    rig_empty(&rig);
    ck_assert_int_eq(got_count(0), 500);
    ck_assert_int_eq(got_count(1), 500);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(world.got[0][i], i % 2 == 0);
        ck_assert_int_eq(world.got[1][i], i % 2);
        ck_assert_int_eq((int)world.told[i].outcome, (int)WEIR_DELIVERED);
    }
    finish(1000, 1000, 0, 0);
}
END_TEST

START_TEST(filtered_wholly)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 100 } }\n"
              "transforms: { sieve: { plugin: edit, mode: drop, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [sieve] } }\n");
    rig_settled(&rig, 100);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq((int)world.told[i].outcome, (int)(i % 2 ? WEIR_FILTERED : WEIR_DELIVERED));
    finish(50, 50, 0, 0);
}
END_TEST

START_TEST(ports)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 1000 } }\n"
              "transforms: { sort: { plugin: gather, mode: ports, inputs: [in] } }\n"
              "sinks:\n"
              "  odd: { plugin: take, inputs: [sort.odd] }\n"
              "  even: { plugin: take, id: 1, inputs: [sort.even] }\n");
    rig_settled(&rig, 1000);
    all_are(1000, WEIR_DELIVERED);
    rig_empty(&rig);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(world.got[0][i], i % 2 || i % 10 == 0);
        ck_assert_int_eq(world.got[1][i], i % 2 == 0);
    }
    finish(1100, 0, 0, 0);
}
END_TEST

START_TEST(ports_that_nobody_reads)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 100 } }\n"
              "transforms: { sort: { plugin: gather, mode: ports, inputs: [in] } }\n"
              "sinks: { even: { plugin: take, inputs: [sort.even] } }\n");
    rig_settled(&rig, 100);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq((int)world.told[i].outcome, (int)(i % 2 ? WEIR_FILTERED : WEIR_DELIVERED));
    finish(50, 50, 0, 0);
}
END_TEST

START_TEST(added_descends_from_the_batch)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 700, batch: 7 } }\n"
              "transforms: { sum: { plugin: gather, mode: add, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [sum] } }\n");
    rig_settled(&rig, 700);
    all_are(700, WEIR_DELIVERED);
    rig_empty(&rig);
    ck_assert_int_eq(got_count(0), 100);
    finish(100, 0, 0, 0);
}
END_TEST

START_TEST(added_and_rejected)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 70, batch: 7 } }\n"
              "transforms: { sum: { plugin: gather, mode: add, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, mode: half, inputs: [sum] } }\n");
    rig_settled(&rig, 70);
    for (int i = 0; i < 70; i++) {
        bool is_odd = (i / 7) % 2; /* the first of the seven stands for all */
        ck_assert_int_eq((int)world.told[i].outcome, (int)(is_odd ? WEIR_FAILED : WEIR_DELIVERED));
        ck_assert_int_eq(world.told[i].is_dead_lettered, is_odd);
    }
    finish(5, 0, 5, 0);
}
END_TEST

START_TEST(lost_by_a_transform)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 100 } }\n"
              "transforms: { leak: { plugin: gather, mode: lose, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [leak] } }\n");
    rig_settled(&rig, 100);
    for (int i = 1; i < 100; i += 2) {
        ck_assert_int_eq((int)world.told[i].outcome, (int)WEIR_FAILED);
        ck_assert_int_eq(world.told[i].is_dead_lettered, 1);
        ck_assert_str_eq(world.told[i].stage, "leak");
        ck_assert_ptr_nonnull(strstr(world.told[i].why, "lost"));
    }
    finish(50, 0, 50, 0);
}
END_TEST

START_TEST(rejected_by_a_transform)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 200 } }\n"
              "transforms: { strict: { plugin: edit_parallel, mode: reject, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [strict] } }\n");
    rig_settled(&rig, 200);
    for (int i = 1; i < 200; i += 2) {
        ck_assert_int_eq((int)world.told[i].outcome, (int)WEIR_FAILED);
        ck_assert_int_eq((int)world.told[i].error, (int)WEIR_E_REJECT);
        ck_assert_int_eq(world.told[i].is_dead_lettered, 1);
        ck_assert_str_eq(world.told[i].stage, "strict");
    }
    ck_assert_str_eq(world.told[7].why, "no 7 here");
    finish(100, 0, 100, 0);
}
END_TEST

#define QUICK "retry: { backoff: 1ms, backoff_max: 4ms, max_attempts: 0 }"

START_TEST(transform_retries)
{
    static const char *const plugins[] = {
        "edit, mode: retry",        "edit_parallel, mode: retry",        "gather, mode: retry",
        "gather, mode: mark_retry", "gather_blocking, mode: mark_retry", "edit, mode: config"};
    static const char *const whens[] = {"settled", "durable"};
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins; i++)
        for (size_t k = 0; k < 2; k++) {
            char *stages =
                mem_format("sources: { in: { plugin: feed, count: 42, when: %s } }\n"
                           "transforms: { shy: { plugin: %s, times: 2, inputs: [in], " QUICK
                           " } }\n"
                           "sinks: { a: { plugin: take, inputs: [shy] } }\n",
                           whens[k], plugins[i]);
            rig_start(&rig, workers[_i], stages);
            rig_settled(&rig, 42);
            if (!k)
                all_are(42, WEIR_DELIVERED);
            rig_empty(&rig);
            for (int n = 0; n < 42; n++)
                ck_assert_msg(world.got[0][n] == 1, "%s: %d came %d times", plugins[i], n,
                              world.got[0][n]);
            rig_stop(&rig);
            mem_free(stages);
            rig_fini(&rig);
            rig_init(&rig);
        }
}
END_TEST

START_TEST(attempts_are_counted)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 60 } }\n"
              "transforms: { shy: { plugin: edit_parallel, mode: retry, times: 99, inputs: [in],\n"
              "    retry: { backoff: 1ms, backoff_max: 2ms, max_attempts: 4 } } }\n"
              "sinks: { a: { plugin: take, inputs: [shy] } }\n");
    rig_settled(&rig, 60);
    for (int i = 0; i < 60; i++) {
        ck_assert_int_eq(world.tries[i], i % 2 ? 4 : 0);
        ck_assert_int_eq((int)world.told[i].outcome, (int)(i % 2 ? WEIR_FAILED : WEIR_DELIVERED));
        ck_assert_int_eq((int)world.told[i].error, (int)(i % 2 ? WEIR_E_RETRY : WEIR_OK));
    }
    finish(30, 0, 30, 0);
}
END_TEST

START_TEST(marked_by_a_transform)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 400 } }\n"
              "transforms: { judge: { plugin: gather, mode: mark, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [judge] } }\n");
    rig_settled(&rig, 400);
    for (int i = 0; i < 400; i++)
        ck_assert_int_eq((int)world.told[i].outcome, (int)(i % 4 == 1   ? WEIR_FILTERED
                                                           : i % 4 == 3 ? WEIR_FAILED
                                                                        : WEIR_DELIVERED));
    finish(200, 100, 100, 0);
}
END_TEST

START_TEST(kept_and_bound)
{
    static const char *const plugins[] = {"gather", "gather_blocking"};
    static const char *const whens[] = {"settled", "durable"};
    for (size_t i = 0; i < 4; i++) {
        bool is_durable = i / 2;
        char *stages = mem_format("sources: { in: { plugin: feed, count: 140, when: %s } }\n"
                                  "transforms: { slow: { plugin: %s, mode: keep, inputs: [in] } }\n"
                                  "sinks: { a: { plugin: take, inputs: [slow] } }\n",
                                  whens[i / 2], plugins[i % 2]);
        rig_start(&rig, workers[_i], stages);
        if (is_durable)
            rig_settled(&rig, 140);
        rig_wait(&rig, rig_is_balanced(&rig, 140));
        ck_assert_int_eq(told_count(), is_durable ? 140 : 0);
        world.is_released = 1;
        rig_settled(&rig, 140);
        for (int n = 0; n < 140; n++)
            ck_assert_int_eq((int)world.told[n].outcome, (int)(is_durable ? WEIR_DURABLE
                                                               : n % 2    ? WEIR_FILTERED
                                                                          : WEIR_DELIVERED));
        finish(70, 70, 0, 0);
        mem_free(stages);
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

START_TEST(sink_retries)
{
    static const char *const sinks[] = {"take", "take_keeps", "take_blocking"};
    for (size_t i = 0; i < 3; i++) {
        char *stages =
            mem_format("sources: { in: { plugin: feed, count: 300 } }\n"
                       "sinks: { a: { plugin: %s, mode: fail, times: 3, inputs: [in], " QUICK
                       ", breaker: { enabled: false } } }\n",
                       sinks[i]);
        rig_start(&rig, workers[_i], stages);
        rig_settled(&rig, 300);
        all_are(300, WEIR_DELIVERED);
        for (int n = 0; n < 300; n++)
            ck_assert_int_eq(world.tries[n], 4);
        all_got_once(0, 300);
        finish(300, 0, 0, 0);
        mem_free(stages);
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

START_TEST(sink_gives_up)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 90 } }\n"
              "sinks:\n"
              "  a: { plugin: take, mode: half, inputs: [in] }\n"
              "  b: { plugin: take, id: 1, mode: half, inputs: [in], on_failure: drop,\n"
              "       buffer: { type: memory } }\n"
              "  c: { plugin: take, id: 2, inputs: [in] }\n");
    rig_settled(&rig, 90);
    for (int i = 0; i < 90; i++) {
        ck_assert_int_eq((int)world.told[i].outcome, (int)(i % 2 ? WEIR_FAILED : WEIR_DELIVERED));
        ck_assert_int_eq(world.got[2][i], 1);
        if (i % 2 == 0)
            continue;
        ck_assert_int_eq(world.told[i].is_dead_lettered, 1);
        ck_assert_str_eq(world.told[i].stage, "a");
        ck_assert_str_eq(world.told[i].why, "odd");
    }
    finish(180, 0, 45, 45);
}
END_TEST

START_TEST(given_up_by_age)
{
    world.is_failing = 1;
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 20 } }\n"
              "sinks: { a: { plugin: take, mode: switch, inputs: [in],\n"
              "    retry: { backoff: 1ms, backoff_max: 4ms, max_age: 30ms },\n"
              "    breaker: { probe_after: 1ms, probe_max: 2ms } } }\n");
    rig_settled(&rig, 20);
    all_are(20, WEIR_FAILED);
    ck_assert_int_eq(strncmp(world.told[3].why, "off", 3), 0);
    finish(0, 0, 20, 0);
}
END_TEST

/* on_failure: block keeps trying what was refused; the cure is the user's. */
START_TEST(blocked_until_mended)
{
    world.is_failing = 1;
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 40 } }\n"
              "sinks: { a: { plugin: take, mode: switch, inputs: [in], on_failure: block,\n"
              "    retry: { backoff: 1ms, backoff_max: 2ms, max_attempts: 2 } } }\n");
    rig_wait(&rig, rig_is_balanced(&rig, 40));
    for (int i = 0; i < 20; i++)
        rig_nap(&rig);
    ck_assert_int_eq(told_count(), 0);
    world.is_failing = 0;
    rig_settled(&rig, 40);
    all_are(40, WEIR_DELIVERED);
    finish(40, 0, 0, 0);
}
END_TEST

START_TEST(not_ready_until_mended)
{
    struct buf why = {0};
    world.is_failing = 1;
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 40 } }\n"
              "sinks: { a: { plugin: take, mode: config, inputs: [in], " QUICK " } }\n");
    rig_wait(&rig, !pipeline_is_ready(rig.pipeline, &why));
    ck_assert_ptr_nonnull(strstr(buf_text(&why), "mend me"));
    world.is_failing = 0;
    rig_settled(&rig, 40);
    why.len = 0;
    rig_wait(&rig, pipeline_is_ready(rig.pipeline, &why));
    buf_fini(&why);
    finish(40, 0, 0, 0);
}
END_TEST

/* Also where there is nothing to be brought yet. */
START_TEST(source_not_ready_until_it_works)
{
    struct buf why = {0};
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 0, fails: 1 } }\n"
              "sinks: { a: { plugin: take, inputs: [in] } }\n");
    rig_wait(&rig, !pipeline_is_ready(rig.pipeline, &why));
    ck_assert_ptr_nonnull(strstr(buf_text(&why), "nobody is there"));
    rig_wait(&rig, (why.len = 0, pipeline_is_ready(rig.pipeline, &why)));
    buf_fini(&why);
    finish(0, 0, 0, 0);
}
END_TEST

START_TEST(result_is_told)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 50, when: result, result: louder } }\n"
              "transforms:\n"
              "  louder: { plugin: edit_parallel, mode: write, inputs: [in] }\n"
              "  again: { plugin: edit, mode: write, tone: shrill, inputs: [louder] }\n"
              "sinks: { a: { plugin: take, tone: shrill, inputs: [again] } }\n");
    rig_settled(&rig, 50);
    for (int i = 0; i < 50; i++) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "{\"tone\":\"high\",\"n\":%d}", i);
        ck_assert_msg(strncmp(world.told[i].result, expected, strlen(expected)) == 0, "%s",
                      world.told[i].result);
    }
    finish(50, 0, 0, 0);
}
END_TEST

START_TEST(batches_have_limits)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 200, batch: 100, pad: 968 } }\n"
              "sinks:\n"
              "  a: { plugin: take, inputs: [in], batch: { max_bytes: 5000B } }\n"
              "  b: { plugin: take_keeps, id: 1, inputs: [in], batch: { max_bytes: 5000B } }\n");
    rig_settled(&rig, 200);
    all_are(200, WEIR_DELIVERED);
    ck_assert_int_le(world.batch_max, 5);
    finish(400, 0, 0, 0);
}
END_TEST

/* A rate of 1000 a second, and events that come by ones: what trickles in is not held up. */
START_TEST(rate_counts_what_was_sent)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 1300, batch: 1 } }\n"
              "sinks: { a: { plugin: take, inputs: [in], rate: 1000 } }\n");
    int64_t begun = clock_mono(&clock_real);
    rig_settled(&rig, 1300);
    int64_t took = clock_mono(&clock_real) - begun;
    ck_assert_msg(took > INT64_C(250000000), "%lld ns", (long long)took);
    finish(1300, 0, 0, 0);
}
END_TEST

/* A burst goes at once, and what is beyond it waits for the rate. */
START_TEST(burst_goes_at_once)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 100, batch: 30, when: durable } }\n"
              "sinks: { a: { plugin: take, inputs: [in], rate: 1/h, burst: 40 } }\n");
    rig_wait(&rig, got_count(0) == 40);
    for (int i = 0; i < 20; i++)
        rig_nap(&rig);
    ck_assert_int_eq(got_count(0), 40);
    rig_stop(&rig);
}
END_TEST

START_TEST(batch_waits_for_more)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 95, batch: 1 } }\n"
              "sinks: { a: { plugin: take, inputs: [in],\n"
              "    batch: { max_events: 50, max_wait: 300ms } } }\n");
    rig_settled(&rig, 95);
    ck_assert_int_eq(world.batch_max, 50);
    finish(95, 0, 0, 0);
}
END_TEST

START_TEST(drain_does_not_wait_for_more)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 20, batch: 1 } }\n"
              "sinks: { a: { plugin: take, inputs: [in],\n"
              "    batch: { max_events: 50, max_wait: 30m } } }\n");
    rig_wait(&rig, rig_is_balanced(&rig, 20));
    rig_nap(&rig);
    pipeline_drain(rig.pipeline);
    rig_settled(&rig, 20);
    all_are(20, WEIR_DELIVERED);
    finish(20, 0, 0, 0);
}
END_TEST

START_TEST(finished_when_sources_end)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed_blocking, count: 2000, ends: true, when: durable } }\n"
              "transforms: { t: { plugin: gather_blocking, inputs: [in] } }\n"
              "sinks: { a: { plugin: take_blocking, mode: slow, inputs: [t] } }\n");
    rig_wait(&rig, pipeline_is_finished(rig.pipeline));
    all_got_once(0, 2000);
    rig_settled(&rig, 2000);
    finish(2000, 0, 0, 0);
}
END_TEST

START_TEST(memory_is_bounded)
{
    rig_start(&rig, workers[_i],
              "memory: 1MiB\n"
              "sources: { in: { plugin: feed, count: 3000, batch: 20, pad: 8000 } }\n"
              "sinks: { a: { plugin: take_blocking, mode: slow, inputs: [in],\n"
              "    batch: { max_events: 20 } } }\n");
    rig_settled(&rig, 3000);
    all_are(3000, WEIR_DELIVERED);
    ck_assert_uint_le(rig.pipeline->budget.peak_bytes, 1 << 20);
    finish(3000, 0, 0, 0);
}
END_TEST

START_TEST(memory_buffer_blocks)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed, count: 3000, batch: 10 } }\n"
              "sinks: { a: { plugin: take, mode: hold, inputs: [in], concurrency: 1,\n"
              "    buffer: { type: memory, max_events: 100 }, batch: { max_events: 10 } } }\n");
    rig_wait(&rig, pipeline_in_flight(rig.pipeline) >= 110);
    for (int i = 0; i < 20; i++)
        rig_nap(&rig);
    ck_assert_int_le(pipeline_in_flight(rig.pipeline), 110 + 520);
    world.is_released = 1;
    rig_settled(&rig, 3000);
    all_are(3000, WEIR_DELIVERED);
    finish(3000, 0, 0, 0);
}
END_TEST

START_TEST(memory_buffer_lets_go)
{
    static const char *const policies[] = {"drop_oldest", "dead_letter"};
    for (size_t i = 0; i < 2; i++) {
        char *stages =
            mem_format("sources: { in: { plugin: feed, count: 1000, batch: 10 } }\n"
                       "sinks: { a: { plugin: take, mode: hold, inputs: [in], concurrency: 1,\n"
                       "    buffer: { type: memory, max_events: 100, when_full: %s },\n"
                       "    batch: { max_events: 10 } } }\n",
                       policies[i]);
        rig_start(&rig, workers[_i], stages);
        int column = i ? LEDGER_DEAD_LETTERED : LEDGER_DROPPED;
        rig_wait(&rig, rig_column(&rig, column) >= 890 &&
                           rig_is_balanced(&rig, 1000 - rig_column(&rig, column)));
        int64_t gone = rig_column(&rig, column);
        ck_assert_int_le(gone, 900); /* all came before the sink took its first batch */
        world.is_released = 1;
        rig_settled(&rig, 1000);
        ck_assert_int_eq(got_count(0), 1000 - gone);
        finish(1000 - gone, 0, i ? gone : 0, i ? 0 : gone);
        mem_free(stages);
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pipeline_flow");
    TCase *t = tcase_create("flow");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, delivered, 0, WAYS);
    tcase_add_loop_test(t, durable_is_told_first, 0, WAYS);
    tcase_add_loop_test(t, fan_out_to_all_kinds, 0, WAYS);
    tcase_add_loop_test(t, filtered_by_transform_and_condition, 0, WAYS);
    tcase_add_loop_test(t, filtered_wholly, 0, WAYS);
    tcase_add_loop_test(t, ports, 0, WAYS);
    tcase_add_loop_test(t, ports_that_nobody_reads, 0, WAYS);
    tcase_add_loop_test(t, added_descends_from_the_batch, 0, WAYS);
    tcase_add_loop_test(t, added_and_rejected, 0, WAYS);
    tcase_add_loop_test(t, lost_by_a_transform, 0, WAYS);
    tcase_add_loop_test(t, rejected_by_a_transform, 0, WAYS);
    tcase_add_loop_test(t, transform_retries, 0, 2);
    tcase_add_loop_test(t, attempts_are_counted, 0, WAYS);
    tcase_add_loop_test(t, marked_by_a_transform, 0, WAYS);
    tcase_add_loop_test(t, kept_and_bound, 0, 2);
    tcase_add_loop_test(t, sink_retries, 0, WAYS);
    tcase_add_loop_test(t, sink_gives_up, 0, WAYS);
    tcase_add_loop_test(t, given_up_by_age, 0, WAYS);
    tcase_add_loop_test(t, blocked_until_mended, 0, WAYS);
    tcase_add_loop_test(t, not_ready_until_mended, 0, WAYS);
    tcase_add_loop_test(t, source_not_ready_until_it_works, 0, 1);
    tcase_add_loop_test(t, result_is_told, 0, WAYS);
    tcase_add_loop_test(t, batches_have_limits, 0, WAYS);
    tcase_add_loop_test(t, rate_counts_what_was_sent, 0, 2);
    tcase_add_loop_test(t, burst_goes_at_once, 0, 2);
    tcase_add_loop_test(t, batch_waits_for_more, 0, 2);
    tcase_add_loop_test(t, drain_does_not_wait_for_more, 0, WAYS);
    tcase_add_loop_test(t, finished_when_sources_end, 0, WAYS);
    tcase_add_loop_test(t, memory_is_bounded, 0, WAYS);
    tcase_add_loop_test(t, memory_buffer_blocks, 0, WAYS);
    tcase_add_loop_test(t, memory_buffer_lets_go, 0, WAYS);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
