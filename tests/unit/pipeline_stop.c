/* unit/pipeline_stop.c: what a stop, a restart and a full memory leave behind: nothing is lost, what is
 * on disk comes again, who was not told is told. */
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

static const char *const workers[] = {"workers: 1", "workers: 2"};
enum { WAYS = sizeof workers / sizeof *workers };

#define SOURCE(n, when) "sources: { in: { plugin: feed, count: " #n ", when: " #when " } }\n"
#define NO_SOURCE       "sources: { in: { plugin: feed } }\n"

static void all_got_once(int sink, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(world.got[sink][i] == 1, "sink %d got %d %d times", sink, i,
                      world.got[sink][i]);
}

static void all_told(int n, weir_outcome outcome)
{
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(world.told[i].times, 1);
        ck_assert_int_eq((int)world.told[i].outcome, (int)outcome);
    }
}

/* More than the memory of a durable buffer holds: the rest is read from disk, each once, in order. */
START_TEST(spilled_and_caught_up)
{
    world.is_failing = 1;
    rig_start(&rig, workers[_i],
              SOURCE(40000, settled) "sinks:\n"
                                     "  a: { plugin: take, mode: hold, inputs: [in] }\n"
                                     "  b: { plugin: take, id: 1, inputs: [in] }\n");
    rig_wait(&rig, got_count(1) == 40000);
    ck_assert_int_eq(told_count(), 0);
    rig_wait(&rig, rig_is_balanced(&rig, 40000));
    world.is_released = 1;
    rig_settled(&rig, 40000);
    all_told(40000, WEIR_DELIVERED);
    all_got_once(0, 40000);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

/* A sink that catches up while more is coming: nothing comes twice where disk and memory meet. */
START_TEST(spilled_while_more_comes)
{
    rig_start(&rig, workers[_i],
              "sources: { in: { plugin: feed_blocking, count: 40000, batch: 3, when: durable } }\n"
              "sinks: { a: { plugin: take_blocking, inputs: [in],\n"
              "    buffer: { type: durable, max_bytes: 64KiB } } }\n");
    rig_wait(&rig, got_count(0) >= 40000);
    rig_settled(&rig, 40000);
    all_got_once(0, 40000);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

START_TEST(backlog_of_an_earlier_run)
{
    world.is_failing = 1;
    rig_start(&rig, workers[_i],
              SOURCE(3000, durable) "sinks: { a: { plugin: take, mode: switch, inputs: [in] } }\n");
    rig_settled(&rig, 3000);
    all_told(3000, WEIR_DURABLE);
    rig_stop(&rig);
    world.is_failing = 0;
    rig_start(&rig, workers[_i],
              NO_SOURCE "sinks: { a: { plugin: take, mode: switch, inputs: [in] } }\n");
    rig_wait(&rig, got_count(0) >= 3000);
    all_got_once(0, 3000);
    rig_empty(&rig);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DELIVERED), 3000);
    rig_stop(&rig);
}
END_TEST

/* What is on disk at a stop is told durable, whatever its source asked for. */
START_TEST(stopped_while_under_way)
{
    static const char *const plugins[] = {"take", "take_blocking"};
    for (size_t i = 0; i < 2; i++) {
        char *stages = mem_format(SOURCE(2500, settled) "sinks: { a: { plugin: %s, mode: hold,\n"
                                                        "    inputs: [in] } }\n",
                                  plugins[i]);
        rig_start(&rig, workers[_i], stages);
        rig_wait(&rig, rig_is_balanced(&rig, 2500));
        rig_stop(&rig);
        all_told(2500, WEIR_DURABLE);
        ck_assert_int_eq(got_count(0), 0);
        world.is_released = 1;
        char *again =
            mem_format(NO_SOURCE "sinks: { a: { plugin: %s, inputs: [in] } }\n", plugins[i]);
        rig_start(&rig, workers[_i], again);
        rig_wait(&rig, got_count(0) >= 2500);
        all_got_once(0, 2500);
        rig_empty(&rig);
        rig_stop(&rig);
        mem_free(stages);
        mem_free(again);
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

/* What only memory has is told failed, RETRY, and taken off the ledger. */
START_TEST(stopped_with_memory_alone)
{
    rig_start(&rig, workers[_i],
              SOURCE(500,
                     settled) "sinks: { a: { plugin: take_keeps, mode: hold, inputs: [in] } }\n");
    rig_wait(&rig, rig_is_balanced(&rig, 500));
    rig_stop(&rig);
    all_told(500, WEIR_FAILED);
    for (int i = 0; i < 500; i++) {
        ck_assert_int_eq((int)world.told[i].error, (int)WEIR_E_RETRY);
        ck_assert_int_eq(world.told[i].is_dead_lettered, 0);
    }
    rig_start(&rig, workers[_i], NO_SOURCE "sinks: { a: { plugin: take_keeps, inputs: [in] } }\n");
    rig_wait(&rig, rig_is_balanced(&rig, 0));
    rig_stop(&rig);
}
END_TEST

START_TEST(stopped_in_a_hurry)
{
    for (int i = 0; i < 12; i++) {
        rig_start(
            &rig, workers[_i],
            SOURCE(20000,
                   settled) "transforms:\n"
                            "  t: { plugin: edit_parallel, mode: retry, times: 2, inputs: [in],\n"
                            "       retry: { backoff: 1ms, backoff_max: 2ms } }\n"
                            "  u: { plugin: gather_blocking, inputs: [t] }\n"
                            "sinks:\n"
                            "  a: { plugin: take, mode: thread, inputs: [u] }\n"
                            "  b: { plugin: take_keeps, mode: slow, id: 1, inputs: [t] }\n"
                            "  c: { plugin: take_blocking, mode: slow, id: 2, inputs: [u] }\n");
        for (int k = 0; k < i; k++)
            rig_nap(&rig);
        rig_stop(&rig);
        for (int n = 0; n < 20000; n++)
            ck_assert_int_le(world.told[n].times, 1);
        int told = 0;
        while (told < 20000 && world.told[told].times)
            told++;
        ck_assert_int_eq(told, told_count()); /* all that were brought, and no more */
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

/* A transform keeps events of a source that waits for the disk alone. */
START_TEST(parked_and_brought_again)
{
    static const char *const plugins[] = {"gather", "gather_blocking"};
    for (size_t i = 0; i < 2; i++) {
        char *stages =
            mem_format(SOURCE(140, durable) "transforms: { t: { plugin: %s, mode: keep,\n"
                                            "    inputs: [in] } }\n"
                                            "sinks: { a: { plugin: take, inputs: [t] } }\n",
                       plugins[i]);
        rig_start(&rig, workers[_i], stages);
        rig_settled(&rig, 140);
        all_told(140, WEIR_DURABLE);
        rig_wait(&rig, rig_is_balanced(&rig, 140));
        rig_stop(&rig);
        world.is_released = 1;
        char *again = mem_format(NO_SOURCE "transforms: { t: { plugin: %s, mode: keep,\n"
                                           "    inputs: [in] } }\n"
                                           "sinks: { a: { plugin: take, inputs: [t] } }\n",
                                 plugins[i]);
        rig_start(&rig, workers[_i], again);
        rig_wait(&rig, got_count(0) >= 70);
        rig_empty(&rig);
        for (int n = 0; n < 140; n++)
            ck_assert_int_eq(world.got[0][n], n % 2 == 0);
        rig_stop(&rig);
        mem_free(stages);
        mem_free(again);
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

/* A transform that fails, of a source that waits for the disk: the retries survive a restart. */
START_TEST(retries_are_parked)
{
    static const char *const modes[] = {"retry", "config"};
    for (size_t i = 0; i < 2; i++) {
        char *stages = mem_format(
            SOURCE(400,
                   durable) "transforms: { t: { plugin: edit_parallel, mode: %s, times: 999999,\n"
                            "    inputs: [in],\n"
                            "    retry: { backoff: 1ms, backoff_max: 3ms, max_attempts: 0 } } }\n"
                            "sinks: { a: { plugin: take, inputs: [t] } }\n",
            modes[i]);
        rig_start(&rig, workers[_i], stages);
        rig_settled(&rig, 400);
        all_told(400, WEIR_DURABLE);
        rig_wait(&rig, rig_is_balanced(&rig, 200));
        rig_stop(&rig);
        rig_start(&rig, workers[_i],
                  NO_SOURCE "transforms: { t: { plugin: edit_parallel, inputs: [in] } }\n"
                            "sinks: { a: { plugin: take, inputs: [t] } }\n");
        rig_wait(&rig, got_count(0) >= 400);
        all_got_once(0, 400);
        rig_empty(&rig);
        rig_stop(&rig);
        mem_free(stages);
        rig_fini(&rig);
        rig_init(&rig);
    }
}
END_TEST

/* The memory is too small for what a transform keeps: the backlog waits until there is room. */
START_TEST(backlog_larger_than_memory)
{
    rig_start(&rig, workers[_i],
              "memory: 64MiB\n"
              "sources: { in: { plugin: feed, count: 1000, pad: 8000, when: durable } }\n"
              "transforms: { t: { plugin: gather, mode: keep, inputs: [in] } }\n"
              "sinks: { a: { plugin: take, inputs: [t] } }\n");
    rig_settled(&rig, 1000);
    rig_stop(&rig);
    rig_start(&rig, "memory: 1MiB\nworkers: 2",
              NO_SOURCE "transforms: { t: { plugin: gather, mode: keep, inputs: [in],\n"
                        "    batch: { max_events: 10 } } }\n"
                        "sinks: { a: { plugin: take, inputs: [t] } }\n");
    rig_wait(&rig, world.kept >= 5);
    world.is_released = 1;
    rig_wait(&rig, got_count(0) >= 500);
    rig_empty(&rig);
    for (int n = 0; n < 1000; n++)
        ck_assert_int_eq(world.got[0][n], n % 2 == 0);
    rig_stop(&rig);
}
END_TEST

/* One dead sink takes its own share of the memory and no more; the other goes on. */
START_TEST(dead_sink_is_isolated)
{
    world.is_failing = 1;
    rig_start(&rig, "memory: 24MiB\nworkers: 2",
              "sources: { in: { plugin: feed, count: 20000, pad: 2000, when: durable } }\n"
              "sinks:\n"
              "  a: { plugin: take, mode: switch, inputs: [in] }\n"
              "  b: { plugin: take, id: 1, inputs: [in] }\n");
    rig_wait(&rig, got_count(1) >= 20000);
    rig_settled(&rig, 20000);
    world.is_failing = 0;
    rig_wait(&rig, got_count(0) >= 20000);
    all_got_once(0, 20000);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

struct redrive_all {
    struct letters_query query;
    struct letters_page page;
    _Atomic uint64_t moved, left;
};

static void next_page(struct redrive_all *r);

static void page_done(void *user, weir_status s)
{
    struct redrive_all *r = user;
    ck_assert_int_eq(s, WEIR_OK);
    r->moved += r->page.done;
    r->left += r->page.gone + r->page.busy;
    bool is_over = r->page.is_over || r->query.max;
    r->query.from = r->page.next;
    r->query.until = r->page.until;
    letters_page_fini(&r->page);
    r->page = (struct letters_page){0};
    if (!is_over)
        next_page(r);
}

static void next_page(struct redrive_all *r)
{
    struct error e = {0};
    r->query.pipeline = rig.pipeline;
    r->query.journal = rig.pipeline->journal;
    ck_assert_int_eq(letters_page(&r->query, &r->page, page_done, r, &e), 0);
}

static void redrive_live(struct loop_task *t)
{
    next_page(t->user);
}

#define STRICT(plugin, mode) \
    "transforms: { t: { plugin: " plugin ", mode: " mode ", inputs: [in] } }\n"

START_TEST(redriven_live)
{
    static struct redrive_all r;
    r = (struct redrive_all){.query = {.act = LETTERS_REDRIVE, .queue = "dead-letters"}};
    struct loop_task task = {.fn = redrive_live, .user = &r};
    rig_start(&rig, workers[_i],
              SOURCE(300, durable)
                  STRICT("edit", "reject") "sinks: { a: { plugin: take, inputs: [t] } }\n");
    rig_settled(&rig, 300);
    rig_empty(&rig);
    ck_assert_int_eq(rig_dead(&rig), 150);
    loop_post(rig.pipeline->workers[0]->loop, &task); /* they fail again */
    rig_wait(&rig, rig_dead(&rig) == 150 && rig_is_balanced(&rig, 0) &&
                       rig_column(&rig, LEDGER_DEAD_LETTERED) == 300 &&
                       rig_column(&rig, LEDGER_REDRIVEN) == 150 &&
                       atomic_load(&rig.pipeline->stages[1]->m.dead_lettered->count) >= 300);
    ck_assert_uint_eq(r.moved, 150);
    rig_empty(&rig);
    rig_stop(&rig);
    rig_start(&rig, workers[_i],
              NO_SOURCE STRICT("edit", "pass") "sinks: { a: { plugin: take, inputs: [t] } }\n");
    r = (struct redrive_all){
        .query = {.act = LETTERS_REDRIVE, .queue = "dead-letters", .max = 100}};
    loop_post(rig.pipeline->workers[0]->loop, &task);
    rig_wait(&rig, got_count(0) >= 250);
    rig_wait(&rig, rig_is_balanced(&rig, 0));
    ck_assert_int_eq(rig_dead(&rig), 50);
    for (int n = 0; n < 300; n++)
        ck_assert_int_le(world.got[0][n], 1);
    rig_empty(&rig);
    rig_stop(&rig);
}
END_TEST

static void count_letters(const char *text, int *n)
{
    for (*n = 0; (text = strstr(text, "\"dead.stage\":\"a\"")); text++)
        (*n)++;
}

static struct journal *open_journal(void)
{
    static const struct stream_kind *const kinds[] = {&queue_kind, NULL};
    struct error e = {0};
    char *path = mem_format("%s/journal", rig.folder);
    const struct journal_options o = {.path = path, .kinds = kinds};
    struct journal *j = journal_open(&o, &e);
    ck_assert_msg(j != NULL, "%s", e.text);
    mem_free(path);
    return j;
}

START_TEST(redriven_while_stopped)
{
    struct letters_query q = {.act = LETTERS_REDRIVE, .queue = "dead-letters"};
    struct letters_page page = {0};
    struct error e = {0};
    struct buf text = {0};
    int letters = 0;
    rig_start(&rig, workers[_i],
              SOURCE(200, durable) "sinks: { a: { plugin: take, mode: half, inputs: [in] } }\n");
    rig_settled(&rig, 200);
    rig_empty(&rig);
    rig_stop(&rig);
    struct journal *j = open_journal();
    ck_assert_int_eq(control_peek(j, "dead-letters", 1000, &text, &e), 0);
    count_letters(buf_text(&text), &letters);
    ck_assert_int_eq(letters, 100);
    static const char *const told[] = {
        "\"dead.class\":\"rejected\"", "\"dead.reason\":\"odd\"", "\"dead.attempts\":\"1\"",
        "\"dead.first_time\":\"20",    "\"tone\":\"low\"",        "\"source\":\"feed\""};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        ck_assert_ptr_nonnull(strstr(buf_text(&text), told[i]));
    q.journal = j;
    ck_assert_int_eq(letters_page(&q, &page, NULL, NULL, &e), 0);
    ck_assert_uint_eq(page.done, 100);
    ck_assert_uint_eq(page.gone + page.busy, 0);
    letters_page_fini(&page);
    text.len = 0;
    control_list(j, &text);
    ck_assert_ptr_nonnull(
        strstr(buf_text(&text), "{\"name\":\"a\",\"kind\":\"buffer\",\"visible\":100}"));
    journal_close(j);
    buf_fini(&text);
    rig_start(&rig, workers[_i], NO_SOURCE "sinks: { a: { plugin: take, inputs: [in] } }\n");
    rig_wait(&rig, got_count(0) >= 200);
    all_got_once(0, 200);
    rig_empty(&rig);
    ck_assert_int_eq(rig_column(&rig, LEDGER_DEAD_LETTERED), 100);
    ck_assert_int_eq(rig_column(&rig, LEDGER_REDRIVEN), 100);
    rig_stop(&rig);
}
END_TEST

START_TEST(control_tells_what_is_wrong)
{
    struct redrive r = {.from = "nowhere", .to = "dead-letters"};
    struct letters_query q = {.act = LETTERS_LIST, .queue = "nowhere"};
    struct letters_page page = {0};
    struct error e = {0};
    struct buf text = {0};
    uint64_t purged = 0;
    rig_start(&rig, workers[_i],
              SOURCE(20, durable) "sinks: { a: { plugin: take, mode: half, inputs: [in] } }\n");
    rig_settled(&rig, 20);
    rig_empty(&rig);
    rig_stop(&rig);
    struct journal *j = open_journal();
    ck_assert_int_eq(control_redrive(j, &r, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "no queue nowhere"));
    e = (struct error){0};
    r = (struct redrive){.from = "dead-letters", .to = "nowhere"};
    ck_assert_int_eq(control_redrive(j, &r, &e), -1);
    q.journal = j;
    ck_assert_int_eq(letters_page(&q, &page, NULL, NULL, &e), -1);
    ck_assert_int_eq(control_peek(j, "nowhere", 1, &text, &e), -1);
    ck_assert_int_eq(control_purge(j, NULL, "nowhere", &purged, &e), -1);
    ck_assert_int_eq(control_purge(j, NULL, "dead-letters", &purged, &e), 0);
    ck_assert_uint_eq(purged, 10);
    journal_close(j);
    buf_fini(&text);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pipeline_stop");
    TCase *t = tcase_create("stop");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, spilled_and_caught_up, 0, WAYS);
    tcase_add_loop_test(t, spilled_while_more_comes, 0, WAYS);
    tcase_add_loop_test(t, backlog_of_an_earlier_run, 0, WAYS);
    tcase_add_loop_test(t, stopped_while_under_way, 0, WAYS);
    tcase_add_loop_test(t, stopped_with_memory_alone, 0, WAYS);
    tcase_add_loop_test(t, stopped_in_a_hurry, 0, WAYS);
    tcase_add_loop_test(t, parked_and_brought_again, 0, WAYS);
    tcase_add_loop_test(t, retries_are_parked, 0, WAYS);
    tcase_add_loop_test(t, backlog_larger_than_memory, 0, WAYS);
    tcase_add_test(t, dead_sink_is_isolated);
    tcase_add_loop_test(t, redriven_live, 0, WAYS);
    tcase_add_loop_test(t, redriven_while_stopped, 0, WAYS);
    tcase_add_loop_test(t, control_tells_what_is_wrong, 0, WAYS);
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
