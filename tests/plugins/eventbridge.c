/* tests/plugins/eventbridge.c: which ports an event goes to, and with which body. */
#include "support.h"

#include <weir/bus.h>
#include <weir/match.h>

/* A match service: the pattern is a JSON string, and matches events of that type; "*" matches all. */
struct weir_match_set {
    size_t count;
    weir_str types[8];
};

static weir_match_set *match_set(const weir_match *m)
{
    const weir_host *h = m->base.owner;
    return memset(h->keep(h, sizeof(weir_match_set)), 0, sizeof(weir_match_set));
}

static weir_status match_add(const weir_match *m, weir_match_set *set, const weir_json *pattern)
{
    const weir_host *h = m->base.owner;
    if (pattern->len < 2 || pattern->ptr[0] != '"')
        return h->refuse(h, pattern, 0, "expected a pattern");
    ck_assert_uint_lt(set->count, 8);
    set->types[set->count++] = (weir_str){pattern->ptr + 1, pattern->len - 2};
    return WEIR_OK;
}

static size_t match_test(const weir_match *m, const weir_match_set *set, const weir_event *ev,
                         const uint32_t **hits)
{
    const weir_host *h = m->base.owner;
    uint32_t *found = h->scratch(h, sizeof(uint32_t) * 8);
    size_t n = 0;
    for (uint32_t i = 0; i < set->count; i++)
        if (weir_same(set->types[i], "*") ||
            (set->types[i].len == ev->type.len &&
             memcmp(set->types[i].ptr, ev->type.ptr, ev->type.len) == 0))
            found[n++] = i;
    *hits = found;
    return n;
}

static weir_str match_explain(const weir_match *m, const weir_match_set *set, uint32_t n,
                              const weir_event *ev)
{
    return weir_text("");
}

static const weir_match match = {
    .base = WEIR_OFFER(WEIR_MATCH),
    .set = match_set,
    .add = match_add,
    .test = match_test,
    .explain = match_explain,
};

/* Rules are as the file says. */
struct weir_bus {
    size_t count;
    bool is_enabled[8];
};

static weir_bus one_bus;

static weir_bus *bus_open(const weir_buses *s, const weir_bus_rule *rules, size_t count,
                          uint32_t first_port)
{
    ck_assert_uint_eq(first_port, 2);
    ck_assert_uint_le(count, 8);
    one_bus.count = count;
    for (size_t i = 0; i < count; i++)
        one_bus.is_enabled[i] = rules[i].is_enabled;
    return &one_bus;
}

static bool bus_is_enabled(const weir_buses *s, const weir_bus *b, uint32_t rule)
{
    ck_assert_uint_lt(rule, b->count);
    return b->is_enabled[rule];
}

struct weir_archive {
    char name[64];
    int64_t retention_s;
    uint64_t bytes;
    size_t stored;
};

static weir_archive one_archive;

static weir_archive *bus_archive(const weir_buses *s, const char *name, weir_duration retention,
                                 weir_size size)
{
    one_archive = (weir_archive){.retention_s = retention.ns / 1000000000, .bytes = size.bytes};
    (void)snprintf(one_archive.name, sizeof one_archive.name, "%s", name);
    return strcmp(name, "broken") == 0 ? NULL : &one_archive;
}

static void bus_store(const weir_buses *s, weir_archive *a, const weir_event *ev)
{
    a->stored++;
}

/* What has the attribute "replay-name" is brought by a replay; of "some" for rule 1 alone. */
static int bus_replayed(const weir_buses *s, const weir_event *ev)
{
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (weir_same(ev->attrs.items[i].key, "replay-name"))
            return weir_same(ev->attrs.items[i].value, "some") ? WEIR_REPLAYED_TO_SOME
                                                               : WEIR_REPLAYED;
    return WEIR_LIVE;
}

static bool bus_replays_to(const weir_buses *s, const weir_bus *b, const weir_event *ev,
                           uint32_t rule)
{
    ck_assert_int_eq(bus_replayed(s, ev), WEIR_REPLAYED_TO_SOME);
    return rule == 1;
}

static const weir_buses buses = {
    .base = WEIR_OFFER(WEIR_BUS),
    .open = bus_open,
    .is_enabled = bus_is_enabled,
    .archive = bus_archive,
    .store = bus_store,
    .replayed = bus_replayed,
    .replays_to = bus_replays_to,
};

static weir_test *bus(const char *rules)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "eventbridge", rules, NULL);
    weir_test_give(t, &match.base);
    weir_test_give(t, &shapes.base);
    weir_test_give(t, &buses.base);
    return t;
}

START_TEST(routes_one_shared_event)
{
    weir_test *t = bus("rules={\"off\":{\"pattern\":\"A\",\"enabled\":false},"
                       "\"first\":{\"pattern\":\"A\"},\"second-1\":{\"pattern\":\"*\"}}");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{\"a\":1}"), "@type", "A");
    weir_test_set(t, weir_test_event(t, "{\"b\":1}"), "@type", "B");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    const weir_test_out *a = weir_test_out_of(t, 0), *b = weir_test_out_of(t, 1);
    ck_assert(weir_test_is_on(a, 0) && weir_test_is_on(a, 3) && weir_test_is_on(a, 4));
    ck_assert(!weir_test_is_on(a, 1) && !weir_test_is_on(a, 2));
    ck_assert(weir_test_is_on(b, 0) && weir_test_is_on(b, 4) && !weir_test_is_on(b, 3));
    ck_assert(weir_test_body_is(a->event, "{\"a\":1}"));
    ck_assert_double_eq(weir_test_metric(t, "rule_second_1_matched"), 2);
    ck_assert_double_eq(weir_test_metric(t, "rule_off_matched"), 0);
    ck_assert_double_eq(weir_test_metric(t, "unmatched"), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(tells_what_no_rule_wanted)
{
    weir_test *t = bus("rules={\"a\":{\"pattern\":\"A\"}}");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "B");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert(weir_test_is_on(weir_test_out_of(t, 0), 0));
    ck_assert(weir_test_is_on(weir_test_out_of(t, 0), 1));
    ck_assert(!weir_test_is_on(weir_test_out_of(t, 0), 2));
    ck_assert_double_eq(weir_test_metric(t, "unmatched"), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static const char *const shaping =
    "rules={\"path\":{\"pattern\":\"A\",\"input_path\":\"$.detail\"},\"plain\":{\"pattern\":\"A\"},"
    "\"made\":{\"pattern\":\"A\",\"input_transformer\":{\"input_paths\":{\"x\":\"$.a\"},"
    "\"input_template\":\"<x>\"}}}";

START_TEST(follows_the_switch)
{
    weir_test *t = bus("rules={\"a\":{\"pattern\":\"A\"},"
                       "\"b\":{\"pattern\":\"A\",\"enabled\":false}}");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    one_bus.is_enabled[0] = false;
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "A");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    const weir_test_out *out = weir_test_out_of(t, 0);
    ck_assert(weir_test_is_on(out, 0) && weir_test_is_on(out, 1));
    ck_assert(!weir_test_is_on(out, 2) && !weir_test_is_on(out, 3));
    ck_assert_double_eq(weir_test_metric(t, "unmatched"), 1);
    one_bus.is_enabled[1] = true;
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "A");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    out = weir_test_out_of(t, 1);
    ck_assert(weir_test_is_on(out, 3) && !weir_test_is_on(out, 1) && !weir_test_is_on(out, 2));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(archives)
{
    weir_test *t =
        weir_test_new(WEIR_TEST_TRANSFORM, "eventbridge",
                      "rules={\"a\":{\"pattern\":\"A\",\"enabled\":false}}",
                      "archive={\"name\":\"kept\",\"pattern\":\"B\",\"retention\":\"2h\"}", NULL);
    weir_test_give(t, &match.base);
    weir_test_give(t, &shapes.base);
    weir_test_give(t, &buses.base);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert_str_eq(one_archive.name, "kept");
    ck_assert_int_eq(one_archive.retention_s, 7200);
    ck_assert_uint_eq(one_archive.bytes, 1 << 30);
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "A");
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "B");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(one_archive.stored, 1);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    ck_assert(weir_test_is_on(weir_test_out_of(t, 1), 1));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* What is to come again is not kept now. */
START_TEST(archives_once)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "eventbridge", shaping, "archive={}", NULL);
    weir_test_give(t, &match.base);
    weir_test_give(t, &shapes.base);
    weir_test_give(t, &buses.base);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{\"a\":1}"), "@type", "A");
    weir_test_memory(t, 1);
    ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
    ck_assert_uint_eq(one_archive.stored, 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(replays)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "eventbridge",
                                 "rules={\"a\":{\"pattern\":\"A\"},\"b\":{\"pattern\":\"*\"},"
                                 "\"c\":{\"pattern\":\"A\",\"input_path\":\"$.detail\"}}",
                                 "archive={\"name\":\"kept\"}", NULL);
    weir_test_give(t, &match.base);
    weir_test_give(t, &shapes.base);
    weir_test_give(t, &buses.base);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "A");
    weir_event *whole = weir_test_event(t, "{}"), *some = weir_test_event(t, "{}");
    weir_test_set(t, whole, "@type", "A");
    weir_test_set(t, whole, "@replay-name", "whole");
    weir_test_set(t, some, "@type", "A");
    weir_test_set(t, some, "@replay-name", "some");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(one_archive.stored, 1); /* not what came from there */
    ck_assert_uint_eq(weir_test_out_count(t), 5);
    const weir_test_out *live = weir_test_out_of(t, 0), *again = weir_test_out_of(t, 2),
                        *one = weir_test_out_of(t, 4);
    ck_assert(weir_test_is_on(live, 0) && weir_test_is_on(live, 2) && weir_test_is_on(live, 3));
    ck_assert(weir_test_is_on(again, 0) && weir_test_is_on(again, 2) && weir_test_is_on(again, 3));
    ck_assert(weir_test_is_on(weir_test_out_of(t, 3), 4));
    ck_assert(weir_test_is_on(one, 3) && !weir_test_is_on(one, 0) && !weir_test_is_on(one, 1) &&
              !weir_test_is_on(one, 2));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* It is for a rule that does not want it: it ends there, and goes to nobody else. */
START_TEST(replays_for_nobody)
{
    weir_test *t = bus("rules={\"a\":{\"pattern\":\"A\"},\"b\":{\"pattern\":\"B\"}}");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_event *some = weir_test_event(t, "{}");
    weir_test_set(t, some, "@type", "A");
    weir_test_set(t, some, "@replay-name", "some");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 0);
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_DROP);
    ck_assert_double_eq(weir_test_metric(t, "unmatched"), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(shapes_for_its_own_rule_only)
{
    weir_test *t = bus(shaping);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{\"a\":1}"), "@type", "A");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 3);
    const weir_test_out *all = weir_test_out_of(t, 0), *path = weir_test_out_of(t, 1),
                        *made = weir_test_out_of(t, 2);
    ck_assert(weir_test_is_on(all, 0) && weir_test_is_on(all, 3) && !weir_test_is_on(all, 2));
    ck_assert(weir_test_body_is(all->event, "{\"a\":1}"));
    ck_assert(weir_test_is_on(path, 2) && !weir_test_is_on(path, 0));
    ck_assert(weir_test_body_is(path->event, "{\"rule\":\"path\"}"));
    ck_assert(weir_test_is_on(made, 4) && weir_test_body_is(made->event, "{\"rule\":\"made\"}"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(retries_without_memory)
{
    weir_test *t = bus(shaping);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{\"a\":1}"), "@type", "A");
    weir_test_memory(t, 1);
    ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
    ck_assert_uint_eq(weir_test_out_count(t), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(refuses_wrong_rules)
{
    static const char *const cases[][2] = {
        {"rules={\"a.b\":{\"pattern\":\"A\"}}", "rules.a.b+1: a rule's name has no dots here"},
        {"rules={\"a b\":{\"pattern\":\"A\"}}", "rules.a b+1: a rule's name has 1 to 64"},
        {"rules={\"unmatched\":{\"pattern\":\"A\"}}", "rules.unmatched: unmatched is a port"},
        {"rules={\"a\":{\"pattern\":{}}}", "rules.a.pattern: expected a pattern"},
        {"rules={\"a\":{}}", "rules.a.pattern: is required"},
        {"rules={\"a\":{\"pattern\":\"A\",\"input_path\":\"x\"}}",
         "rules.a.input_path: a path begins with $"},
        {"rules={\"a\":{\"pattern\":\"A\",\"input_path\":\"$\",\"input_transformer\":"
         "{\"input_template\":\"x\"}}}",
         "rules.a.input_transformer: Only one of Input, InputPath, or InputTransformer must be "
         "provided for target a"},
        {"rules={\"a\":{\"pattern\":\"A\",\"input_path\":\"$\",\"input\":1}}",
         "rules.a.input_path: Only one of Input, InputPath"},
        {"rules={\"a\":{\"pattern\":\"A\",\"input\":{},\"input_transformer\":"
         "{\"input_template\":\"x\"}}}",
         "rules.a.input_transformer: Only one of Input, InputPath"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_test *t = bus(cases[i][0]);
        ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
        ck_assert_msg(weir_test_said(t, cases[i][1]), "%s: %s", cases[i][0], weir_test_text(t));
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

int main(void)
{
    return run_tests("eventbridge",
                     (const TTest *const[]){routes_one_shared_event, tells_what_no_rule_wanted,
                                            follows_the_switch, archives, archives_once, replays,
                                            replays_for_nobody, shapes_for_its_own_rule_only,
                                            retries_without_memory, refuses_wrong_rules, NULL});
}
