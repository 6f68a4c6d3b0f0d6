/* unit/pipeline_replay.c: replays: their records, their limits, and one that runs while something fails. */
#include <weir/bus.h>

#include "journal/archive.h"
#include "pipeline/replay_priv.h"
#include "pipeline/slot.h"
#include "unit/pipeline_rig.h"
#include "json/json.h"

static const int64_t second = INT64_C(1000000000);

/* ---- records ---- */

START_TEST(a_record_comes_back)
{
    const char *rules[] = {"a", "bus.b"};
    const struct replay_spec spec = {
        .name = "r-1.x_Y",
        .archive = "orders",
        .bus = "bus",
        .rules = rules,
        .rule_count = 2,
        .where = weir_text("{\"detail\":{\"a\":[\"\\u00e4 \\\"x\\\"\"]}}"),
        .from_ns = 1700000000123456789,
        .to_ns = 1800000000000000001,
        .speed = 0.1,
        .is_ordered = true,
    };
    struct buf text = {0}, again = {0};
    struct replay *r = replay_new(&spec);
    r->state = REPLAY_FAILED;
    r->reason = mem_text("the \"bus\" has gone");
    r->first = 5;
    r->next = 7;
    r->end = UINT64_C(9007199254740993);
    r->sent = 1;
    r->missed = 2;
    r->asked_ns = 3;
    r->started_ns = 4;
    r->ended_ns = 5;
    r->last_ns = 6;
    replay_print(r, &text);
    struct replay *same = replay_read(buf_str(&text));
    ck_assert_ptr_nonnull(same);
    replay_print(same, &again);
    ck_assert_str_eq(buf_text(&again), buf_text(&text));
    ck_assert_str_eq(same->rules[1], "bus.b");
    ck_assert_uint_eq(same->end, UINT64_C(9007199254740993));
    ck_assert(same->speed == 0.1 && same->is_ordered && same->from_ns == spec.from_ns);
    for (size_t n = 0; n < text.len; n++) /* cut anywhere */
        ck_assert_ptr_null(replay_read((weir_str){text.ptr, n}));
    replay_free(r);
    replay_free(same);
    buf_fini(&text);
    buf_fini(&again);
}
END_TEST

START_TEST(what_is_no_record)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"name\":\"a\"}",
        "{\"name\":\"a\",\"archive\":\"b\"}",
        "{\"name\":\"a\",\"archive\":\"b\",\"state\":\"LATER\"}",
        "{\"name\":\"a\",\"archive\":\"b\",\"state\":1}",
        "{\"name\":\"a\",\"archive\":\"b\",\"state\":\"RUNNING\",\"first\":2,\"next\":1,\"end\":3}",
        "{\"name\":\"a\",\"archive\":\"b\",\"state\":\"RUNNING\",\"first\":1,\"next\":4,\"end\":3}",
        "{\"name\":\"a\",\"archive\":\"b\",\"state\":\"RUNNING\",\"rules\":[1]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!replay_read(weir_text(bad[i])), "%s", bad[i]);
}
END_TEST

/* ---- of a stopped pipeline ---- */

static struct clock_fake now;
static struct rig rig;

static struct journal *open_store(size_t events)
{
    struct error e = {0};
    const struct archive_settings settings = {0};
    char *path = mem_format("%s/journal", rig.folder);
    const struct journal_options o = {.path = path, .clock = &now.base, .kinds = journal_kinds};
    struct journal *j = journal_open(&o, &e);
    mem_free(path);
    ck_assert_msg(j != NULL, "%s", e.text);
    struct archive *a = archive_open(j, "orders", &settings, &e);
    for (size_t i = 0; i < events; i++) {
        struct journal_unit *u = journal_begin(j);
        const struct iovec part = {&i, sizeof i};
        archive_put(a, u, clock_wall(&now.base), &part, 1);
        ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
        clock_fake_move(&now, second);
    }
    return j;
}

static int start_one(struct replays *rs, const char *name, int64_t from_ns, int64_t to_ns,
                     struct buf *out)
{
    const struct replay_spec spec = {.name = name, .from_ns = from_ns, .to_ns = to_ns};
    struct error e = {0};
    out->len = 0;
    int failed = replays_start(rs, &spec, out, &e);
    return failed ? e.code : 0;
}

static uint64_t number_in(const struct buf *out, const char *key)
{
    weir_str v = json_find(json_trim(buf_str(out)), key);
    ck_assert_ptr_nonnull(v.ptr);
    return (uint64_t)json_number(v);
}

static size_t listed(struct replays *rs)
{
    struct buf out = {0};
    size_t n = 0;
    replays_print(rs, &out);
    for (weir_json_each each = {0}; json_next(json_trim(buf_str(&out)), &each);)
        n++;
    buf_fini(&out);
    return n;
}

START_TEST(which_records_are_meant)
{
    rig_init(&rig);
    clock_fake_init(&now, 1000 * second);
    struct journal *j = open_store(10); /* at 1000, 1001, ... 1009 */
    struct error e = {0};
    struct buf out = {0};
    struct replays *rs = replays_open(j, NULL, &e);
    static const int64_t cases[][4] = {
        {0, 2000, 0, 10}, {1003, 1007, 3, 4}, {1003, 1004, 3, 1}, {1009, 2000, 9, 1},
        {0, 1001, 0, 1},  {0, 1000, 0, 0},    {1010, 2000, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(start_one(rs, NULL, cases[i][0] * second, cases[i][1] * second, &out), 0);
        ck_assert_uint_eq(number_in(&out, "events"), (uint64_t)cases[i][3]);
        if (cases[i][3])
            ck_assert_uint_eq(number_in(&out, "first"), (uint64_t)cases[i][2]);
    }
    ck_assert_int_eq(start_one(rs, NULL, 5, 5, &out), EXIT_USAGE_ERROR);
    buf_fini(&out);
    journal_close(j);
    replays_free(rs);
    rig_fini(&rig);
}
END_TEST

START_TEST(there_are_not_too_many)
{
    rig_init(&rig);
    clock_fake_init(&now, 1000 * second);
    struct journal *j = open_store(1);
    struct error e = {0};
    struct buf out = {0};
    char name[32];
    struct replays *rs = replays_open(j, NULL, &e);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(start_one(rs, NULL, 0, 2000 * second, &out), 0);
    ck_assert_int_eq(start_one(rs, NULL, 0, 2000 * second, &out), EXIT_NOT_AVAILABLE);
    ck_assert_uint_eq(listed(rs), 10);
    ck_assert_ptr_nonnull(replay_find(rs, weir_text("orders-19700101T001641Z")));
    ck_assert_ptr_nonnull(replay_find(rs, weir_text("orders-19700101T001641Z.10")));
    ck_assert_int_eq(replays_cancel(rs, "orders-19700101T001641Z", &out, &e), 0);
    for (int i = 0; i < 120; i++) {
        (void)snprintf(name, sizeof name, "r%d", i);
        ck_assert_int_eq(start_one(rs, name, 0, 2000 * second, &out), 0);
        ck_assert_int_eq(start_one(rs, name, 0, 2000 * second, &out), EXIT_NOT_AVAILABLE);
        ck_assert_int_eq(replays_cancel(rs, name, &out, &e), 0);
        ck_assert_int_eq(replays_cancel(rs, name, &out, &e), -1);
        clock_fake_move(&now, second);
    }
    ck_assert_uint_eq(listed(rs),
                      9 + 101); /* the last one was under way when there was room made */
    ck_assert_ptr_null(replay_find(rs, weir_text("r0")));
    journal_close(j);
    replays_free(rs);
    j = open_store(0);
    rs = replays_open(j, NULL, &e);
    ck_assert_uint_eq(listed(rs), 9 + 101);
    ck_assert_str_eq(rs->items[rs->count - 1]->name, "r119");
    ck_assert_int_eq((int)rs->items[rs->count - 1]->state, REPLAY_CANCELLED);
    ck_assert_ptr_null(replay_find(rs, weir_text("r0")));
    buf_fini(&out);
    journal_close(j);
    replays_free(rs);
    rig_fini(&rig);
}
END_TEST

/* ---- one that runs ---- */

struct keeper { /* a bus with one rule, and an archive of what it takes */
    const weir_buses *buses;
    weir_bus *bus;
    weir_archive *archive;
};

static _Atomic int to_fail; /* this number's next replay fails, as when the disk has no room */

static weir_status keeper_start(void *self, const weir_host *h)
{
    static const weir_bus_rule rule = {"all", true};
    struct keeper *k = self;
    k->bus = k->buses->open(k->buses, &rule, 1, 1);
    k->archive = k->buses->archive(k->buses, "orders", (weir_duration){0}, (weir_size){0});
    return k->archive ? WEIR_OK : WEIR_E_CONFIG;
}

static void fail_once(const weir_event *ev)
{
    int n = number_of_event(ev);
    if (!atomic_compare_exchange_strong(&to_fail, &n, -1))
        return;
    slot_ref(event_of(ev)->slot, 1);
    slot_fail(event_of(ev)->slot, WEIR_E_RETRY, "keeper", "no room", false);
}

static weir_status keeper_batch(void *self, const weir_host *h, const weir_batch *in,
                                weir_batch *out)
{
    const struct keeper *k = self;
    for (size_t i = 0; i < in->count; i++) {
        const weir_event *ev = in->events[i];
        int kind = k->buses->replayed(k->buses, ev);
        if (kind == WEIR_LIVE)
            k->buses->store(k->buses, k->archive, ev);
        else
            fail_once(ev);
        if (kind == WEIR_REPLAYED_TO_SOME)
            ck_assert(k->buses->replays_to(k->buses, k->bus, ev, 0));
        h->to(h, h->pass(h, out, ev), 1);
    }
    return WEIR_OK;
}

static const char *const keeper_ports[] = {"all", NULL};
static const weir_option keeper_options[] = {WEIR_NEED(struct keeper, buses, WEIR_BUS), {0}};
static const weir_component keeper = {
    .name = "keeper",
    .version = "1",
    .summary = "keeps",
    .flags = WEIR_PARALLEL,
    .state_size = sizeof(struct keeper),
    .options = keeper_options,
    .ports = keeper_ports,
    .start = keeper_start,
    .batch = keeper_batch,
};

static const char *const keeping =
    "sources: { feed: { plugin: feed, count: 600 } }\n"
    "transforms: { bus: { plugin: keeper, inputs: [feed] } }\n"
    "sinks: { out: { plugin: take, inputs: [bus.all], concurrency: 3 } }\n";

static weir_str state_of(struct replays *rs, const char *name, struct buf *out)
{
    struct error e = {0};
    out->len = 0;
    ck_assert_int_eq(replays_print_one(rs, name, out, &e), 0);
    return json_find(json_trim(buf_str(out)), "state");
}

static void run_replay(const char *name, bool is_ordered, const char *rule)
{
    struct buf out = {0};
    struct error e = {0};
    const struct replay_spec spec = {.name = name,
                                     .to_ns = clock_wall(&clock_real) + second,
                                     .rules = &rule,
                                     .rule_count = rule ? 1 : 0,
                                     .is_ordered = is_ordered};
    struct replays *rs = rig.pipeline->replays;
    ck_assert_msg(replays_start(rs, &spec, &out, &e) == 0, "%s", e.text);
    rig_wait(&rig, weir_same(state_of(rs, name, &out), "\"COMPLETED\""));
    ck_assert_uint_eq(number_in(&out, "sent"), 600);
    ck_assert_uint_eq(number_in(&out, "done"), 600);
    buf_fini(&out);
}

START_TEST(runs)
{
    rig_more = &keeper;
    rig_init(&rig);
    atomic_store(&to_fail, -1);
    rig_start(&rig, "workers: 3\n", keeping);
    rig_settled(&rig, 600);
    run_replay("plain", false, NULL);
    run_replay("rule", false, "bus.all");
    rig_empty(&rig);
    ck_assert_int_eq(got_count(0), 1800);
    ck_assert_int_eq(rig_column(&rig, LEDGER_REPLAYED), 1200);
    atomic_store(&to_fail, 444);
    run_replay("fails", false, NULL);
    rig_empty(&rig);
    ck_assert_int_ge(got_count(0), 2401); /* what was behind it came again */
    for (int i = 0; i < 600; i++)
        ck_assert_int_ge(world.got[0][i], 4);
    ck_assert_int_eq(atomic_load(&to_fail), -1);
    rig_stop(&rig);
    rig_fini(&rig);
}
END_TEST

START_TEST(runs_in_order)
{
    rig_more = &keeper;
    rig_init(&rig);
    atomic_store(&to_fail, -1);
    rig_start(&rig, "workers: 2\n", keeping);
    rig_settled(&rig, 600);
    run_replay("ordered", true, NULL);
    rig_empty(&rig);
    ck_assert_int_eq(got_count(0), 1200);
    rig_stop(&rig);
    rig_fini(&rig);
}
END_TEST

/* One bus behind another: the rules that are named are those of the first. Both keep into one archive. */
START_TEST(rules_of_its_own_bus)
{
    struct buf out = {0};
    struct error e = {0};
    const char *rule = "bus.all";
    rig_more = &keeper;
    rig_init(&rig);
    atomic_store(&to_fail, -1);
    rig_start(&rig, "workers: 2\n",
              "sources: { feed: { plugin: feed, count: 50 } }\n"
              "transforms:\n"
              "  bus: { plugin: keeper, inputs: [feed] }\n"
              "  other: { plugin: keeper, inputs: [bus.all] }\n"
              "sinks: { out: { plugin: take, inputs: [other.all] } }\n");
    rig_settled(&rig, 50);
    struct replay_spec spec = {.name = "r",
                               .rules = &rule,
                               .rule_count = 1,
                               .to_ns = clock_wall(&clock_real) + second};
    struct replays *rs = rig.pipeline->replays;
    ck_assert_int_eq(replays_start(rs, &spec, &out, &e), -1);
    ck_assert_msg(strstr(e.text, "2 buses keep the archive orders"), "%s", e.text);
    spec.bus = "bus";
    e = (struct error){0};
    ck_assert_msg(replays_start(rs, &spec, &out, &e) == 0, "%s", e.text);
    ck_assert_int_eq(replays_kind(rs, weir_text("r"), "bus"), WEIR_REPLAYED_TO_SOME);
    ck_assert_int_eq(replays_kind(rs, weir_text("r"), "other"), WEIR_REPLAYED);
    ck_assert_int_eq(replays_kind(rs, weir_text("s"), "bus"), WEIR_LIVE);
    ck_assert(replays_wants(rs, weir_text("r"), "all"));
    ck_assert(!replays_wants(rs, weir_text("r"), "other"));
    rig_wait(&rig, weir_same(state_of(rs, "r", &out), "\"COMPLETED\""));
    ck_assert_uint_eq(number_in(&out, "sent"), 100); /* each was kept by both */
    rig_empty(&rig);
    ck_assert_int_eq(got_count(0), 150);
    rig_stop(&rig);
    rig_fini(&rig);
    buf_fini(&out);
}
END_TEST

/* The pipeline ends in the middle, again and again. */
START_TEST(goes_on)
{
    struct buf out = {0};
    struct error e = {0};
    rig_more = &keeper;
    rig_init(&rig);
    atomic_store(&to_fail, -1);
    rig_start(&rig, "workers: 2\n", keeping);
    rig_settled(&rig, 600);
    const struct replay_spec spec = {.name = "long",
                                     .to_ns = clock_wall(&clock_real) + second,
                                     .rate_per_s = 2000};
    ck_assert_int_eq(replays_start(rig.pipeline->replays, &spec, &out, &e), 0);
    for (uint64_t part = 1; part < 4; part++) {
        rig_wait(&rig, !weir_same(state_of(rig.pipeline->replays, "long", &out), "\"RUNNING\"") ||
                           number_in(&out, "sent") >= part * 100);
        rig_stop(&rig);
        rig_start(&rig, "workers: 2\n",
                  "sources: { feed: { plugin: feed } }\n"
                  "transforms: { bus: { plugin: keeper, inputs: [feed] } }\n"
                  "sinks: { out: { plugin: take, inputs: [bus.all] } }\n");
    }
    rig_wait(&rig, weir_same(state_of(rig.pipeline->replays, "long", &out), "\"COMPLETED\""));
    ck_assert_uint_eq(number_in(&out, "sent"), 600);
    rig_empty(&rig);
    for (int i = 0; i < 600; i++)
        ck_assert_int_ge(world.got[0][i], 2);
    rig_stop(&rig);
    rig_fini(&rig);
    buf_fini(&out);
}
END_TEST

int main(void)
{
    log_setup((struct log_settings){.level = WEIR_ERROR});
    Suite *s = suite_create("pipeline_replay");
    TCase *t = tcase_create("replay");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_record_comes_back);
    tcase_add_test(t, what_is_no_record);
    tcase_add_test(t, which_records_are_meant);
    tcase_add_test(t, there_are_not_too_many);
    tcase_add_test(t, runs);
    tcase_add_test(t, runs_in_order);
    tcase_add_test(t, rules_of_its_own_bus);
    tcase_add_test(t, goes_on);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
