/* unit/pipeline_delivery.c: sinks beside one another: what a source waits for. */
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

static void all_told(int n, weir_outcome outcome)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(world.told[i].outcome == outcome, "%d was told %d", i,
                      (int)world.told[i].outcome);
}

/* A sink that is dead holds up neither the source nor the other sinks, by the file's presets. */
START_TEST(safe_beside_a_dead_sink)
{
    enum { COUNT = 30000 };
    world.is_failing = 1;
    rig_start(&rig, _i ? "workers: 2" : "workers: 1",
              "sources: { in: { plugin: feed_replays, count: 30000, batch: 100, when: safe } }\n"
              "sinks:\n"
              "  a: { plugin: take, inputs: [in] }\n"
              "  b: { plugin: take, mode: switch, id: 1, inputs: [in],\n"
              "       retry: { backoff: 1ms, backoff_max: 2ms },\n"
              "       breaker: { failures: 3, probe_after: 1ms, probe_max: 2ms } }\n"
              "  c: { plugin: take_blocking, id: 2, inputs: [in] }\n");
    rig_settled(&rig, COUNT);
    all_told(COUNT, WEIR_DURABLE);
    rig_wait(&rig, got_count(0) == COUNT && got_count(2) == COUNT);
    rig_wait(&rig, rig_is_balanced(&rig, COUNT));
    ck_assert_int_eq(got_count(1), 0);
    world.is_failing = 0;
    rig_wait(&rig, got_count(1) == COUNT);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

/* The only sink of a source that brings events again: memory will do, and the source waits for it. */
START_TEST(safe_with_one_sink)
{
    rig_start(&rig, "workers: 2",
              "sources: { in: { plugin: feed_replays, count: 1000, when: safe } }\n"
              "sinks: { a: { plugin: take, mode: hold, inputs: [in] } }\n");
    rig_wait(&rig, rig_is_balanced(&rig, 1000));
    ck_assert_int_eq(told_count(), 0);
    world.is_released = 1;
    rig_settled(&rig, 1000);
    all_told(1000, WEIR_DELIVERED);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

/* What a transform keeps is not safe: its source waits. What waits for another attempt has a copy. */
START_TEST(safe_in_a_transform)
{
    rig_start(&rig, "workers: 2",
              "sources: { in: { plugin: feed_replays, count: 140, when: safe } }\n"
              "transforms: { slow: { plugin: gather, mode: keep, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [slow] }, b: { plugin: take, id: 1, inputs: "
              "[slow] } }\n");
    rig_wait(&rig, rig_is_balanced(&rig, 140));
    ck_assert_int_eq(told_count(), 0);
    ck_assert_int_eq((int)stream_live(stream_find(rig.pipeline->journal, "in/slow")), 0);
    world.is_released = 1;
    rig_settled(&rig, 140);
    rig_empty(&rig);
    rig_stop(&rig);
    rig_fini(&rig);
    rig_init(&rig);
    rig_start(&rig, "workers: 2",
              "sources: { in: { plugin: feed_replays, count: 140, when: safe } }\n"
              "transforms: { shy: { plugin: edit, mode: retry, times: 1, inputs: [in],\n"
              "    retry: { backoff: 1h, backoff_max: 1h } } }\n"
              "sinks: { a: { plugin: take, inputs: [shy] }, b: { plugin: take, id: 1, inputs: "
              "[shy] } }\n");
    rig_settled(&rig, 140);
    rig_wait(&rig, rig_is_balanced(&rig, 70));
    rig_stop(&rig);
}
END_TEST

/* ---- full buffers ---- */

static const char *const kinds[] = {"durable", "memory"};

/* A sink that has stopped: the newest stay, whatever the buffer is and whatever becomes of the others. */
START_TEST(lets_the_oldest_go)
{
    static const char *const policies[] = {"drop_oldest", "dead_letter"};
    const int column = _i / 2 ? LEDGER_DEAD_LETTERED : LEDGER_DROPPED;
    char *stages = mem_format(
        "sources: { in: { plugin: feed, count: 1000, batch: 10, when: durable } }\n"
        "sinks: { a: { plugin: take, mode: hold, inputs: [in], concurrency: 1,\n"
        "    buffer: { type: %s, max_events: 100, when_full: %s }, batch: { max_events: 10 } } }\n",
        kinds[_i % 2], policies[_i / 2]);
    rig_start(&rig, "workers: 2", stages);
    rig_wait(&rig, rig_column(&rig, LEDGER_ACCEPTED) == 1000 && rig_column(&rig, column) >= 880 &&
                       rig_is_balanced(&rig, 1000 - rig_column(&rig, column)));
    int gone = (int)rig_column(&rig, column);
    ck_assert_int_le(gone, 910);
    world.is_released = 1;
    rig_wait(&rig, got_count(0) == 1000 - gone);
    rig_settled(&rig, 1000);
    rig_empty(&rig);
    for (int i = 920; i < 1000; i++)
        ck_assert_msg(world.got[0][i] == 1, "%d came %d times", i, world.got[0][i]);
    int old = 0; /* what it was given, or was about to be, before the last came */
    for (int i = 0; i < 880; i++)
        old += world.got[0][i];
    ck_assert_int_le(old, 20);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), 1000 - gone);
    if (_i / 2)
        ck_assert_int_eq(rig_dead(&rig), gone);
    rig_stop(&rig);
    mem_free(stages);
}
END_TEST

/* The source waits for room, and nothing is let go. */
START_TEST(holds_the_source_back)
{
    char *stages =
        mem_format("sources: { in: { plugin: feed, count: 3000, batch: 10, when: durable } }\n"
                   "sinks: { a: { plugin: take, mode: hold, inputs: [in], concurrency: 1,\n"
                   "    buffer: { type: %s, max_events: 100 }, batch: { max_events: 10 } } }\n",
                   kinds[_i]);
    rig_start(&rig, "workers: 2", stages);
    rig_wait(&rig, pipeline_in_flight(rig.pipeline) >= 100);
    for (int i = 0; i < 20; i++)
        rig_nap(&rig);
    ck_assert_int_le(pipeline_in_flight(rig.pipeline), 110 + 520 + 520); /* turns under way */
    world.is_released = 1;
    rig_settled(&rig, 3000);
    rig_wait(&rig, got_count(0) == 3000);
    rig_empty(&rig);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), 3000);
    rig_stop(&rig);
    mem_free(stages);
}
END_TEST

/* What spilled to the disk is read once it is synced, however much later than it was answered that is. */
START_TEST(reads_what_is_synced_later)
{
    rig_start(&rig, "workers: 2\njournal: { durability: interval(30ms) }",
              "sources: { in: { plugin: feed, count: 3000, batch: 50, when: durable } }\n"
              "sinks: { a: { plugin: take, inputs: [in],\n"
              "    buffer: { type: durable, max_events: 20 } } }\n");
    rig_settled(&rig, 3000);
    rig_wait(&rig, got_count(0) == 3000);
    rig_empty(&rig);
    for (int i = 0; i < 3000; i++)
        ck_assert_msg(world.got[0][i] == 1, "%d came %d times", i, world.got[0][i]);
    rig_stop(&rig);
}
END_TEST

/* ---- fallback ---- */

static void start_with_fallback(const char *feed, const char *kind, const char *rest)
{
    char *stages =
        mem_format("sources: { in: { plugin: feed, %s } }\n"
                   "sinks:\n"
                   "  a: { plugin: take, mode: switch, inputs: [in], batch: { max_events: 10 },\n"
                   "       buffer: { type: %s }, retry: { backoff: 1ms, backoff_max: 2ms },\n"
                   "       breaker: { failures: 3, probe_after: 1ms, probe_max: 2ms },\n"
                   "       fallback: { to: b, after: 2ms } }\n"
                   "  b: { plugin: take, id: 1, %s }\n",
                   feed, kind, rest);
    rig_start(&rig, "workers: 2", stages);
    mem_free(stages);
}

/* All that waits for a sink that is dead comes to its fallback, once and in the order of the keys. */
START_TEST(diverted_while_the_breaker_is_open)
{
    world.is_failing = 1;
    start_with_fallback("count: 3000, batch: 50, keys: 40, key: k, pad: 32", kinds[_i],
                        "batch: { max_events: 7 }");
    rig_settled(&rig, 3000);
    all_told(3000, _i ? WEIR_DELIVERED : WEIR_DURABLE);
    rig_empty(&rig);
    ck_assert_int_eq(got_count(0), 0);
    for (int i = 0; i < 3000; i++)
        ck_assert_int_eq(world.got[1][i], 1);
    ck_assert_int_eq(world.disorder, 0);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), 3000);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), 0);
    rig_stop(&rig);
}
END_TEST

/* It works and fails by turns: each event comes to one of the two. */
START_TEST(diverted_by_turns)
{
    start_with_fallback("count: 20000, batch: 50, when: durable", kinds[_i], "");
    for (int i = 0; i < 40; i++) {
        rig_nap(&rig);
        world.is_failing = i / 4 % 2;
    }
    rig_settled(&rig, 20000);
    rig_wait(&rig, got_count(0) + got_count(1) == 20000);
    rig_empty(&rig);
    for (int i = 0; i < 20000; i++)
        ck_assert_int_eq(world.got[0][i] + world.got[1][i], 1);
    rig_stop(&rig);
}
END_TEST

/* A fallback that has no room gets no more; what waits stays where it is. */
START_TEST(diverted_no_more_than_fits)
{
    world.is_failing = 1;
    start_with_fallback("count: 5000, batch: 50, when: durable", "durable",
                        "mode: hold, batch: { max_events: 10 }, buffer: { type: memory, "
                        "max_events: 100 }");
    const struct inlet *of_b = rig.pipeline->stages[rig.pipeline->stage_count - 1]->inlet;
    rig_wait(&rig, inlet_is_full(of_b));
    for (int i = 0; i < 20; i++)
        rig_nap(&rig);
    ck_assert_uint_lt(inlet_in_memory(of_b), 200);
    world.is_released = 1;
    rig_wait(&rig, got_count(1) == 5000);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

/* Without a time only what is given up goes there. */
START_TEST(not_diverted_without_a_time)
{
    world.is_failing = 1;
    rig_start(&rig, "workers: 2",
              "sources: { in: { plugin: feed, count: 500, when: durable } }\n"
              "sinks:\n"
              "  a: { plugin: take, mode: switch, inputs: [in], fallback: b,\n"
              "       retry: { backoff: 1ms, backoff_max: 2ms },\n"
              "       breaker: { failures: 3, probe_after: 1ms, probe_max: 2ms } }\n"
              "  b: { plugin: take, id: 1 }\n");
    rig_settled(&rig, 500);
    for (int i = 0; i < 30; i++)
        rig_nap(&rig);
    ck_assert_int_eq(got_count(1), 0);
    world.is_failing = 0;
    rig_wait(&rig, got_count(0) == 500);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

/* What was diverted and not delivered yet is on disk: the next run has each event once. */
START_TEST(diverted_across_runs)
{
    world.is_failing = 1;
    start_with_fallback("count: 1000, batch: 50, when: durable", "durable",
                        "mode: hold, buffer: { type: durable }");
    rig_settled(&rig, 1000);
    rig_wait(&rig, stream_live(stream_find(rig.pipeline->journal, "in/a")) == 0);
    rig_stop(&rig);
    world.is_released = 1;
    start_with_fallback("count: 0", "durable", "");
    rig_wait(&rig, got_count(1) == 1000);
    rig_empty(&rig);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(world.got[1][i], 1);
    rig_stop(&rig);
}
END_TEST

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    Suite *s = suite_create("pipeline_delivery");
    TCase *c = tcase_create("delivery");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, safe_beside_a_dead_sink, 0, 2);
    tcase_add_test(c, safe_with_one_sink);
    tcase_add_test(c, safe_in_a_transform);
    tcase_add_loop_test(c, lets_the_oldest_go, 0, 4);
    tcase_add_loop_test(c, holds_the_source_back, 0, 2);
    tcase_add_test(c, reads_what_is_synced_later);
    tcase_add_loop_test(c, diverted_while_the_breaker_is_open, 0, 2);
    tcase_add_loop_test(c, diverted_by_turns, 0, 2);
    tcase_add_test(c, diverted_no_more_than_fits);
    tcase_add_test(c, not_diverted_without_a_time);
    tcase_add_test(c, diverted_across_runs);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
