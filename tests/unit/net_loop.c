/* tests/unit/net_loop.c: rounds, timers, tasks from threads, and removal while callbacks run. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/loop.h"

static struct clock_fake fake;
static struct loop *loop;
static char trail[256];

static void setup(void)
{
    clock_fake_init(&fake, INT64_C(1700000000000000000));
    loop = loop_new(&fake.base);
    ck_assert_ptr_nonnull(loop);
    trail[0] = 0;
}

static void teardown(void)
{
    loop_free(loop);
}

static void leave(const char *word)
{
    ck_assert_uint_lt(strlen(trail) + strlen(word), sizeof trail);
    strcat(trail, word);
}

/* ---- timers ---- */

static void timer_leaves(struct loop_timer *t)
{
    leave(t->user);
}

START_TEST(timers_run_in_order_of_time)
{
    struct loop_timer a = {.fn = timer_leaves, .user = (char[]){"a"}},
                      b = {.fn = timer_leaves, .user = (char[]){"b"}},
                      c = {.fn = timer_leaves, .user = (char[]){"c"}},
                      d = {.fn = timer_leaves, .user = (char[]){"d"}};
    loop_timer_set(loop, &c, 30);
    loop_timer_set(loop, &a, 10);
    loop_timer_set(loop, &d, 40);
    loop_timer_set(loop, &b, 500);
    loop_timer_set(loop, &b, 20); /* moved */
    loop_timer_cancel(loop, &d);
    ck_assert(!loop_timer_is_set(&d));
    ck_assert(loop_round(loop, 0));
    ck_assert_str_eq(trail, "");
    clock_fake_move(&fake, 20);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "ab");
    ck_assert(!loop_timer_is_set(&a) && loop_timer_is_set(&c));
    clock_fake_move(&fake, 1000);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "abc");
}
END_TEST

enum { MANY = 500 };
static struct loop_timer many[MANY];
static int64_t last_due;
static int ran;

static void timer_rises(struct loop_timer *t)
{
    ck_assert_int_ge(t->due_ns, last_due);
    last_due = t->due_ns;
    ran++;
}

START_TEST(heap_keeps_its_order_through_moves_and_cancels)
{
    unsigned seed = 7;
    int expected = 0;
    last_due = ran = 0;
    memset(many, 0, sizeof many);
    for (int turn = 0; turn < 20000; turn++) {
        struct loop_timer *t = &many[(unsigned)rand_r(&seed) % MANY];
        t->fn = timer_rises;
        if (rand_r(&seed) % 3)
            loop_timer_set(loop, t, rand_r(&seed) % 100000);
        else
            loop_timer_cancel(loop, t);
    }
    for (int i = 0; i < MANY; i++)
        expected += loop_timer_is_set(&many[i]);
    clock_fake_move(&fake, 50000);
    (void)loop_round(loop, 0);
    ck_assert_int_gt(ran, 0);
    for (int i = 0; i < MANY; i++)
        ck_assert(loop_timer_is_set(&many[i]) == (many[i].due_ns > loop_now(loop)) ||
                  !loop_timer_is_set(&many[i]));
    clock_fake_move(&fake, 50000);
    (void)loop_round(loop, 0);
    ck_assert_int_eq(ran, expected);
}
END_TEST

static void timer_again(struct loop_timer *t)
{
    leave("x");
    loop_timer_set(loop, t, 0);
}

START_TEST(timer_that_sets_itself_waits_for_the_next_round)
{
    struct loop_timer t = {.fn = timer_again};
    loop_timer_set(loop, &t, 0);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "x");
    (void)loop_round(loop, -1); /* is due: must not block */
    ck_assert_str_eq(trail, "xx");
}
END_TEST

static void timer_cancels(struct loop_timer *t)
{
    leave("1");
    loop_timer_cancel(loop, t->user);
}

START_TEST(timer_cancels_another_that_is_due)
{
    struct loop_timer b = {.fn = timer_leaves, .user = (char[]){"b"}};
    struct loop_timer a = {.fn = timer_cancels, .user = &b};
    loop_timer_set(loop, &a, 1);
    loop_timer_set(loop, &b, 2);
    clock_fake_move(&fake, 10);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "1");
}
END_TEST

static void timer_stops(struct loop_timer *t)
{
    loop_stop(t->user);
}

START_TEST(real_timers_end_the_wait)
{
    struct loop *l = loop_new(&clock_real);
    struct loop_timer t = {.fn = timer_stops, .user = l};
    int64_t begun = clock_mono(&clock_real);
    loop_timer_set(l, &t, 5000000);
    loop_run(l);
    ck_assert_int_ge(clock_mono(&clock_real) - begun, 5000000);
    ck_assert(!loop_round(l, 0));
    loop_free(l);
}
END_TEST

/* ---- descriptors ---- */

struct end {
    struct loop_watch watch;
    struct end *victim;
    int other;
};

static void end_open(struct end *e, void (*fn)(struct loop_watch *, uint32_t), struct end *victim)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    *e = (struct end){.watch = {.fd = fds[0], .events = EPOLLIN, .fn = fn}, .victim = victim};
    e->watch.user = e;
    e->other = fds[1];
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert_int_eq(loop_add(loop, &e->watch), 0);
}

static void end_close(struct end *e)
{
    close(e->watch.fd);
    close(e->other);
}

static void removes_victim(struct loop_watch *w, uint32_t events)
{
    struct end *e = w->user;
    leave("r");
    loop_remove(loop, &e->victim->watch);
}

START_TEST(watch_removed_by_another_is_not_called)
{
    struct end a, b;
    end_open(&a, removes_victim, &b);
    end_open(&b, removes_victim, &a);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "r"); /* either, but only one */
    end_close(&a);
    end_close(&b);
}
END_TEST

START_TEST(watch_removes_itself)
{
    struct end a;
    end_open(&a, removes_victim, &a);
    (void)loop_round(loop, 0);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "r");
    end_close(&a);
}
END_TEST

START_TEST(watch_changes_its_events)
{
    struct end a;
    end_open(&a, removes_victim, &a);
    ck_assert_int_eq(loop_change(loop, &a.watch, 0), 0);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "");
    ck_assert_int_eq(loop_change(loop, &a.watch, EPOLLIN), 0);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "r");
    ck_assert_int_eq(loop_change(loop, &a.watch, EPOLLIN), -ENOENT);
    end_close(&a);
}
END_TEST

/* ---- hooks ---- */

static struct loop_hook hook_a, hook_b, hook_c;

static void hook_leaves(struct loop_hook *h)
{
    leave(h->user);
}

static void hook_removes(struct loop_hook *h)
{
    leave(h->user);
    loop_hook_remove(loop, &hook_b);
    loop_hook_remove(loop, h);
}

START_TEST(hooks_run_once_a_round_in_order)
{
    hook_a = (struct loop_hook){.fn = hook_removes, .user = (char[]){"a"}};
    hook_b = (struct loop_hook){.fn = hook_leaves, .user = (char[]){"b"}};
    hook_c = (struct loop_hook){.fn = hook_leaves, .user = (char[]){"c"}};
    loop_hook_add(loop, &hook_a);
    loop_hook_add(loop, &hook_b);
    loop_hook_add(loop, &hook_c);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "ac");
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "acc");
}
END_TEST

/* ---- tasks ---- */

struct step {
    struct loop_task task;
    int poster, number;
};
enum { POSTERS = 4, STEPS = 5000 };
static struct step steps[POSTERS][STEPS];
static int next_number[POSTERS], steps_done;

static void step_runs(struct loop_task *t)
{
    struct step *s = t->user;
    ck_assert(loop_is_own_thread(loop));
    ck_assert_ptr_eq(loop_current(), loop);
    ck_assert_int_eq(s->number, next_number[s->poster]++);
    if (++steps_done == POSTERS * STEPS)
        loop_stop(loop);
}

static void *post_all(void *arg)
{
    struct step *mine = arg;
    for (int i = 0; i < STEPS; i++) {
        mine[i].task = (struct loop_task){.fn = step_runs, .user = &mine[i]};
        mine[i].number = i;
        loop_post(loop, &mine[i].task);
    }
    return NULL;
}

START_TEST(tasks_of_each_thread_come_in_order)
{
    pthread_t threads[POSTERS];
    memset(next_number, 0, sizeof next_number);
    steps_done = 0;
    for (int p = 0; p < POSTERS; p++) {
        for (int i = 0; i < STEPS; i++)
            steps[p][i].poster = p;
        ck_assert_int_eq(pthread_create(&threads[p], NULL, post_all, steps[p]), 0);
    }
    loop_run(loop); /* sleeps in between: a lost wake-up would hang it */
    ck_assert_int_eq(steps_done, POSTERS * STEPS);
    for (int p = 0; p < POSTERS; p++)
        pthread_join(threads[p], NULL);
    ck_assert_ptr_null(loop_current());
}
END_TEST

static void task_posts(struct loop_task *t)
{
    leave("t");
    if (strlen(trail) < 3)
        loop_post(loop, t);
}

START_TEST(task_posts_itself_into_the_next_round)
{
    struct loop_task t = {.fn = task_posts};
    loop_post(loop, &t);
    (void)loop_round(loop, 0);
    ck_assert_str_eq(trail, "t");
    (void)loop_round(loop, -1);
    (void)loop_round(loop, -1);
    ck_assert_str_eq(trail, "ttt");
}
END_TEST

static void *stop_it(void *arg)
{
    loop_stop(loop);
    return NULL;
}

START_TEST(stop_comes_from_any_thread)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_it, NULL), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    ck_assert(!loop_round(loop, 0));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        timers_run_in_order_of_time,
        heap_keeps_its_order_through_moves_and_cancels,
        timer_that_sets_itself_waits_for_the_next_round,
        timer_cancels_another_that_is_due,
        real_timers_end_the_wait,
        watch_removed_by_another_is_not_called,
        watch_removes_itself,
        watch_changes_its_events,
        hooks_run_once_a_round_in_order,
        tasks_of_each_thread_come_in_order,
        task_posts_itself_into_the_next_round,
        stop_comes_from_any_thread,
    };
    Suite *suite = suite_create("net/loop");
    TCase *tc = tcase_create("loop");
    tcase_add_checked_fixture(tc, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
