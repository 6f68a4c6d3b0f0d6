/* unit/pipeline_order.c: events of one key come to a sink in their order, whatever fails, and those of
 * other keys do not wait for them. */
#include <errno.h>
#include <limits.h>

#include "journal/disk.h"
#include "journal/internal.h"
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

/* Half of them came, in order, and half are dead letters. */
static void half_in_order(int count)
{
    rig_settled(&rig, count);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), count / 2);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), count / 2);
    rig_stop(&rig);
}

/* The dead letters take one of a key out of its line, and the next goes on. */
START_TEST(goes_on_after_a_dead_letter)
{
    start("workers: 2", "count: 1000, keys: 5", sinks[_i], "mode: half");
    half_in_order(1000);
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

/* ---- across transforms ---- */

static const char *const transforms[] = {
    "edit, mode: retry, times: 2",
    "edit_parallel, mode: retry, times: 2",
    "gather, mode: mark_retry, times: 2",
    "gather, mode: retry, times: 1",
    "gather, mode: keep_retry, times: 2",
    "gather_blocking, mode: mark_retry, times: 2",
    "gather_blocking, mode: keep_retry, times: 2",
};
enum { TRANSFORMS = sizeof transforms / sizeof *transforms };
static const char *const whens[] = {"settled", "durable", "safe"};
enum { WHENS = sizeof whens / sizeof *whens };

static void start_transform(const char *feed, const char *transform, const char *sink)
{
    char *stages = mem_format("sources: { in: { plugin: feed, %s, key: k } }\n"
                              "transforms: { t: { plugin: %s, inputs: [in],\n"
                              "    retry: { max_attempts: 0, backoff: 1ms, backoff_max: 2ms } },\n"
                              "    u: { plugin: edit_parallel, inputs: [t] } }\n"
                              "sinks: { a: { plugin: %s, inputs: [u] } }\n",
                              feed, transform, sink);
    rig_start(&rig, "workers: 3", stages);
    mem_free(stages);
}

/* Every second event fails before it is passed; none of its key goes by meanwhile. */
START_TEST(kept_by_transforms)
{
    char *feed = mem_format("count: 1500, keys: 7, batch: 30, when: %s", whens[_i % WHENS]);
    world.is_released = 1;
    start_transform(feed, transforms[_i / WHENS], sinks[_i % 2]);
    mem_free(feed);
    in_order(1500);
}
END_TEST

/* What fails again and again ends as a dead letter, and the next of its key goes on. */
START_TEST(transform_gives_up)
{
    static const char *const ways[] = {"edit, mode: retry, times: 99",
                                       "gather, mode: mark_retry, times: 99",
                                       "edit_parallel, mode: reject"};
    char *stages = mem_format("sources: { in: { plugin: feed, count: 700, keys: 7, key: k } }\n"
                              "transforms: { t: { plugin: %s, inputs: [in],\n"
                              "    retry: { max_attempts: 3, backoff: 1ms } } }\n"
                              "sinks: { a: { plugin: take, inputs: [t] } }\n",
                              ways[_i]);
    rig_start(&rig, "workers: 2", stages);
    mem_free(stages);
    half_in_order(700);
}
END_TEST

/* One key of ten stands still: the others go by, and what stands in its line is safe on disk. */
START_TEST(transform_holds_one_key)
{
    start_transform("count: 1000, keys: 10, when: durable", "stuck", sinks[1]);
    rig_settled(&rig, 1000);
    rig_wait(&rig, got_count(0) == 900);
    for (int i = 10; i < 1000; i += 10)
        ck_assert_int_eq(rig_tries(i), 0);
    world.is_released = 1;
    rig_wait(&rig, got_count(0) == 1000);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    rig_stop(&rig);
}
END_TEST

/* One that keeps the order itself is given all of a key at once. */
START_TEST(given_several_of_a_key)
{
    start_transform("count: 600, keys: 2, batch: 60", "gather_in_order, mode: keep_retry",
                    sinks[1]);
    rig_wait(&rig, kept_count() == 10);
    world.is_released = 1;
    in_order(600);
}
END_TEST

/* What a transform has on disk at a stop comes in the next run before what comes then. */
START_TEST(kept_by_transforms_across_runs)
{
    start_transform("count: 300, keys: 10, when: durable", "stuck", sinks[_i]);
    rig_settled(&rig, 300);
    rig_wait(&rig, got_count(0) == 270);
    rig_stop(&rig);
    start_transform("first: 300, count: 600, keys: 10, when: durable", "stuck", sinks[_i]);
    rig_settled(&rig, 600);
    rig_wait(&rig, got_count(0) == 540);
    world.is_released = 1;
    rig_wait(&rig, got_count(0) == 600);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    rig_stop(&rig);
}
END_TEST

static _Atomic int good_writes; /* so many, and then none */

static int64_t failing_pwritev(const struct disk *d, int fd, const struct iovec *parts, int n,
                               uint64_t offset)
{
    if (good_writes <= 0)
        return -EIO;
    good_writes--;
    return disk_real.pwritev(&disk_real, fd, parts, n, offset);
}

static void use_failing_disk(struct pipeline *p)
{
    static struct disk failing;
    failing = disk_real;
    failing.pwritev = failing_pwritev;
    p->journal->disk = &failing;
}

/* What a transform made of its records is refused by the disk, from the beginning or in the middle, and made
 * again: in their order. */
START_TEST(kept_when_the_disk_refuses)
{
    start_transform("count: 3000, keys: 3, when: durable", "stuck", sinks[1]);
    rig_settled(&rig, 3000);
    rig_stop(&rig);
    world.is_released = 1;
    good_writes = _i;
    rig.opened = use_failing_disk;
    start_transform("first: 3000, count: 3000, keys: 3, when: durable",
                    "stuck, batch: { max_events: 10 }", sinks[1]);
    rig_wait(&rig, rig_column(&rig, LEDGER_REPEATED) > 20 || got_count(0) == 3000);
    good_writes = INT_MAX;
    rig_wait(&rig, got_count(0) == 3000);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    rig_stop(&rig);
}
END_TEST

static void start_failing(const char *feed, const char *mode)
{
    char *stages = mem_format(
        "sources: { in: { plugin: feed, when: durable, keys: 3, key: k, %s } }\n"
        "sinks: { a: { plugin: take, inputs: [in], buffer: { type: durable }, mode: %s,\n"
        "    retry: { max_attempts: 0, backoff: 1ms, backoff_max: 2ms } },\n"
        "    b: { plugin: take, id: 1, inputs: [a.failed] } }\n",
        feed, mode);
    rig_start(&rig, "workers: 3", stages);
    mem_free(stages);
}

/* Nor does what a sink gives up leave its order, where another stage takes it. */
START_TEST(failed_ports_when_the_disk_refuses)
{
    world.is_failing = 1;
    start_failing("count: 3000", "switch");
    rig_settled(&rig, 3000);
    rig_stop(&rig);
    good_writes = _i;
    rig.opened = use_failing_disk;
    start_failing("first: 3000, count: 3000", "half");
    rig_wait(&rig, rig_column(&rig, LEDGER_REPEATED) > 20 || got_count(1) == 1500);
    good_writes = INT_MAX;
    rig_wait(&rig, got_count(1) == 1500);
    rig_empty(&rig);
    ck_assert_int_eq(world.disorder, 0);
    rig_stop(&rig);
}
END_TEST

static weir_status stuck_event(void *self, const weir_host *h, weir_event *ev)
{
    int n = number_of_event(ev);
    if (n % 10 || world.is_released)
        return WEIR_OK;
    (void)try_of(n);
    return h->fail(h, WEIR_E_RETRY, 0, "stuck");
}

static const weir_component stuck = {
    .name = "stuck",
    .version = "1",
    .summary = "holds a key",
    .flags = WEIR_PARALLEL,
    .event = stuck_event,
};

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
    rig_more = &stuck;
    tcase_add_loop_test(c, kept_by_transforms, 0, TRANSFORMS * WHENS);
    tcase_add_loop_test(c, transform_gives_up, 0, 3);
    tcase_add_test(c, transform_holds_one_key);
    tcase_add_test(c, given_several_of_a_key);
    tcase_add_loop_test(c, kept_by_transforms_across_runs, 0, 2);
    suite_add_tcase(s, c);
    c = tcase_create("disk");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, kept_when_the_disk_refuses, 0, 4);
    tcase_add_loop_test(c, failed_ports_when_the_disk_refuses, 0, 2);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
