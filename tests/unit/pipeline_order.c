/* unit/pipeline_order.c: events of one key come to a sink in their order, whatever fails, and those of
 * other keys do not wait for them. */
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

static const char *const sinks[] = {
    "take, buffer: { type: memory }",
    "take, buffer: { type: durable }",
    "take_in_order, buffer: { type: memory }",
    "take_in_order, buffer: { type: durable }",
    "take_blocking",
};
enum { WAYS = sizeof sinks / sizeof *sinks };

static void start(const char *workers, const char *feed, const char *sink, const char *more)
{
    char *stages = mem_format("sources: { in: { plugin: feed, pad: 32, %s, key: k } }\n"
                              "sinks: { a: { plugin: %s, inputs: [in], concurrency: 4,\n"
                              "    batch: { max_events: 5 }, breaker: { enabled: false }, %s } }\n",
                              feed, sink, more);
    rig_start(&rig, workers, stages);
    mem_free(stages);
}

static void in_order(int count)
{
    rig_settled(&rig, count);
    rig_empty(&rig);
    for (int i = 0; i < count; i++)
        ck_assert_msg(world.got[0][i] == 1, "%d came %d times", i, world.got[0][i]);
    ck_assert_int_eq(world.disorder, 0);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), count);
    rig_stop(&rig);
}

/* Every event fails twice, marked one by one: none overtakes another of its key. */
START_TEST(kept_across_retries)
{
    start("workers: 2", "count: 1500, keys: 40", sinks[_i],
          "mode: fail, times: 2, retry: { backoff: 1ms, backoff_max: 3ms }");
    in_order(1500);
}
END_TEST

/* Whole batches fail, those that hold several of a key as well. */
START_TEST(kept_when_batches_fail)
{
    world.is_failing = 1;
    start("workers: 1", "count: 2000, keys: 3, batch: 50", sinks[_i],
          "mode: switch, retry: { backoff: 1ms, backoff_max: 2ms }");
    for (int i = 0; i < 20; i++) {
        rig_nap(&rig);
        world.is_failing = i % 3 != 0;
    }
    world.is_failing = 0;
    in_order(2000);
}
END_TEST

/* Answers that come from other threads, in any order. */
START_TEST(kept_with_batches_under_way)
{
    start("workers: 2", "count: 1000, keys: 7", sinks[_i], "mode: thread");
    in_order(1000);
}
END_TEST

/* The dead letters take one of a key out of its line, and the next goes on. */
START_TEST(goes_on_after_a_dead_letter)
{
    start("workers: 2", "count: 1000, keys: 5", sinks[_i], "mode: half");
    rig_settled(&rig, 1000);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), 500);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), 500);
    rig_stop(&rig);
}
END_TEST

/* One key fails for ever: all events of the others come through, and none of its own. */
START_TEST(only_its_own_key_waits)
{
    enum { COUNT = 2000, BY = 10 };
    start("workers: 2", "count: 2000, keys: 10, when: durable", sinks[_i],
          "mode: stuck, retry: { backoff: 1ms, backoff_max: 2ms }");
    rig_wait(&rig, got_count(0) == COUNT - COUNT / BY);
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(world.got[0][i], i % BY != 0);
    ck_assert_int_gt(rig_tries(0), 0);
    for (int i = BY; i < COUNT; i += BY)
        ck_assert_int_eq(rig_tries(i), 0);
    world.is_released = 1;
    in_order(COUNT);
}
END_TEST

/* What waits in line at a stop comes in the next run, in order. */
START_TEST(kept_across_runs)
{
    const char *feed = "count: 300, keys: 10, when: durable";
    start("workers: 2", feed, sinks[1], "mode: stuck, retry: { backoff: 1ms, backoff_max: 2ms }");
    rig_wait(&rig, got_count(0) == 270);
    rig_settled(&rig, 300);
    rig_stop(&rig);
    world.is_released = 1;
    start("workers: 1", "count: 0", sinks[1], "mode: stuck");
    rig_wait(&rig, got_count(0) == 300);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    rig_stop(&rig);
}
END_TEST

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    Suite *s = suite_create("pipeline_order");
    TCase *c = tcase_create("order");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, kept_across_retries, 0, WAYS);
    tcase_add_loop_test(c, kept_when_batches_fail, 0, WAYS);
    tcase_add_loop_test(c, kept_with_batches_under_way, 0, WAYS);
    tcase_add_loop_test(c, goes_on_after_a_dead_letter, 0, WAYS);
    tcase_add_loop_test(c, only_its_own_key_waits, 0, 2);
    tcase_add_test(c, kept_across_runs);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
