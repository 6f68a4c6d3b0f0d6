/* unit/match_event.c: events with their envelope: matching, writing, explaining, shaping. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "match/shape.h"
#include "json/json.h"

static weir_payload body;
static weir_attr attrs[] = {{{"resources", 9}, {"[\"arn:a\", \"arn:b\"]", 18}}};
static weir_event event;

static void set_event(const char *text)
{
    body = (weir_payload){text, strlen(text)};
    event = (weir_event){.body = &body,
                         .time_ns = 1700000000987654321,
                         .source = weir_text("my \"app\""),
                         .type = weir_text("OrderPlaced"),
                         .attrs = {1, attrs}};
    for (size_t i = 0; i < 16; i++)
        event.id.bytes[i] = (uint8_t)(i * 17);
}

static const char order[] =
    "{\"user\":\"Ada\",\"n\":7,\"tags\":[\"ACTIVE\",\"INACTIVE\"],\"q\":\"say \\\"hi\\\"\","
    "\"o\":{\"acc_id\":\"0a78\", \"sf_id\":\"baz\"},\"no\":null}";

static size_t hits_of(const char *pattern, unsigned flags)
{
    struct match_set *set = match_set_new(&(struct match_env){"111122223333", "eu-west-1"});
    struct match_error e;
    const uint32_t *hits;
    ck_assert_msg(match_add(set, weir_text(pattern), &e) == WEIR_OK, "%s", e.reason);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    size_t n = match_event(c, &event, flags, &hits);
    struct buf text = {0};
    match_envelope(&(struct match_env){"111122223333", "eu-west-1"}, &event, &text);
    if (n != SIZE_MAX)
        ck_assert_uint_eq(match_json(c, buf_str(&text), 0, &hits), n);
    buf_fini(&text);
    match_ctx_free(c);
    match_set_free(set);
    return n;
}

START_TEST(envelope_members)
{
    set_event(order);
    static const char *const yes[] = {
        "{\"source\": [\"my \\\"app\\\"\"]}",
        "{\"detail-type\": [{\"prefix\": \"Order\"}]}",
        "{\"version\": [\"0\"]}",
        "{\"id\": [\"00112233-4455-6677-8899-aabbccddeeff\"]}",
        "{\"time\": [\"2023-11-14T22:13:20Z\"]}",
        "{\"account\": [\"111122223333\"], \"region\": [\"eu-west-1\"]}",
        "{\"resources\": [\"arn:b\"]}",
        "{\"detail\": {\"user\": [\"Ada\"], \"n\": [7.0]}}",
        "{\"detail.o.acc_id\": [{\"exists\": true}], \"source\": [{\"exists\": true}]}",
    };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        ck_assert_msg(hits_of(yes[i], 0) == 1, "%s", yes[i]);
        ck_assert_msg(hits_of(yes[i], MATCH_KNOWN_GOOD) == 1, "%s", yes[i]);
    }
    ck_assert_uint_eq(hits_of("{\"resources\": [\"arn:c\"]}", 0), 0);
    ck_assert_uint_eq(hits_of("{\"user\": [\"Ada\"]}", 0), 0);
    event.attrs.count = 0;
    ck_assert_uint_eq(hits_of("{\"resources\": [{\"exists\": false}]}", 0), 1);
    event.source = (weir_str){NULL, 0};
    ck_assert_uint_eq(hits_of("{\"source\": [\"\"]}", 0), 1);
}
END_TEST

START_TEST(bodies_that_are_no_json)
{
    static const char *const bad[] = {"",         "hello", "{\"a\":}",
                                      "{\"a\":1", "{} {}", "{\"a\":\"\x01\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        set_event(bad[i]);
        ck_assert_uint_eq(hits_of("{\"source\": [{\"exists\": true}]}", 0), SIZE_MAX);
        ck_assert_uint_eq(hits_of("{\"detail\": {\"a\": [1]}}", 0), SIZE_MAX);
    }
    set_event("hello");
    ck_assert_uint_eq(hits_of("{\"source\": [{\"exists\": true}]}", MATCH_KNOWN_GOOD), 1);
}
END_TEST

START_TEST(envelope_text)
{
    struct buf out = {0};
    set_event(order);
    match_envelope(NULL, &event, &out);
    char want[1024];
    (void)snprintf(want, sizeof want,
                   "{\"version\":\"0\",\"id\":\"00112233-4455-6677-8899-aabbccddeeff\","
                   "\"detail-type\":\"OrderPlaced\",\"source\":\"my \\\"app\\\"\",\"account\":"
                   "\"000000000000\",\"time\":\"2023-11-14T22:13:20Z\",\"region\":\"us-east-1\","
                   "\"resources\":[\"arn:a\", \"arn:b\"],\"detail\":%s}",
                   order);
    ck_assert_str_eq(buf_text(&out), want);
    out.len = 0;
    set_event("a\xff\xc3\xa4");
    match_envelope(NULL, &event, &out);
    ck_assert(strstr(buf_text(&out), ",\"detail\":\"a\xEF\xBF\xBD\xc3\xa4\"}"));
    buf_fini(&out);
}
END_TEST

/* Of an event that a replay brings, and of no other. */
START_TEST(replay_name)
{
    static const weir_attr replayed[] = {{{"a", 1}, {"b", 1}},
                                         {{"replay-name", 11}, {"again \"1\"", 9}}};
    static const char *const paths[] = {"$.replay-name", "$.replay-name[0]"};
    static const char *const found[] = {"\"again \\\"1\\\"\"", "null"};
    struct buf out = {0};
    struct error e = {0};
    set_event(order);
    ck_assert_uint_eq(hits_of("{\"replay-name\": [{\"exists\": false}]}", 0), 1);
    ck_assert_uint_eq(hits_of("{\"replay-name\": [{\"exists\": true}]}", 0), 0);
    struct shape *s = shape_new(NULL, "$.replay-name", NULL, NULL, &e, NULL);
    shape_apply(s, &event, NULL, 0, &out);
    ck_assert_str_eq(buf_text(&out), "null");
    shape_free(s);
    event.attrs = (weir_pairs){2, replayed};
    ck_assert_uint_eq(hits_of("{\"replay-name\": [{\"exists\": false}]}", 0), 0);
    ck_assert_uint_eq(hits_of("{\"replay-name\": [{\"prefix\": \"again\"}]}", 0), 1);
    ck_assert_uint_eq(hits_of("{\"replay-name\": [\"other\"]}", 0), 0);
    for (size_t i = 0; i < 2; i++) {
        out.len = 0;
        s = shape_new(NULL, paths[i], NULL, NULL, &e, NULL);
        shape_apply(s, &event, NULL, 0, &out);
        ck_assert_str_eq(buf_text(&out), found[i]);
        shape_free(s);
    }
    static const char *const templates[] = {"<aws.events.event.json>", "<aws.events.event>"};
    for (size_t i = 0; i < 2; i++) {
        out.len = 0;
        s = shape_new(NULL, NULL, NULL, templates[i], &e, NULL);
        shape_apply(s, &event, NULL, 0, &out);
        ck_assert(strstr(buf_text(&out), "\"region\":\"us-east-1\",\"replay-name\":\"again "
                                         "\\\"1\\\"\",\"resources\":[]"));
        shape_free(s);
    }
    buf_fini(&out);
}
END_TEST

static const char *explain(const char *pattern, struct buf *out)
{
    struct match_set *set = match_set_new(NULL);
    ck_assert_int_eq(match_add(set, weir_text(pattern), NULL), WEIR_OK);
    match_seal(set);
    out->len = 0;
    match_explain(set, 0, &event, out);
    match_set_free(set);
    return buf_text(out);
}

START_TEST(explains)
{
    struct buf out = {0};
    set_event(order);
    ck_assert_str_eq(explain("{\"detail\": {\"user\": [\"Ada\"]}}", &out),
                     "match\n  ok   /detail/user: expected [\"Ada\"], found \"Ada\"\n");
    ck_assert_str_eq(explain("{\"detail\": {\"User\": [\"Ada\"], \"n\": [8]}}", &out),
                     "no match: first at /detail/User\n"
                     "  fail /detail/User: expected [\"Ada\"], found nothing; did you mean "
                     "\"user\"?\n"
                     "  fail /detail/n: expected [8], found 7\n");
    ck_assert_str_eq(explain("{\"detial\": {\"user\": [\"Ada\"]}}", &out),
                     "no match: first at /detial/user\n"
                     "  fail /detial/user: expected [\"Ada\"], found nothing; did you mean "
                     "\"detail\"?\n");
    ck_assert_str_eq(explain("{\"detail\": {\"user\": {\"name\": [\"Ada\"]}, \"o\": [1]}}", &out),
                     "no match: first at /detail/o\n"
                     "  fail /detail/o: expected [1], found nothing; it holds no value of its own\n"
                     "  fail /detail/user/name: expected [\"Ada\"], found nothing; /detail/user is "
                     "no object\n");
    ck_assert_str_eq(explain("{\"detail\": {\"$or\": [{\"n\": [7]}, {\"n\": [8]}]}}", &out),
                     "match: 2 alternatives by $or\n"
                     "alternative 1: match\n  ok   /detail/n: expected [7], found 7\n"
                     "alternative 2: no match: first at /detail/n\n"
                     "  fail /detail/n: expected [8], found 7\n");
    set_event("{\"l\":[{\"a\":1},{\"b\":2}]}");
    ck_assert_str_eq(
        explain("{\"detail\": {\"l\": {\"a\": [1], \"b\": [2]}}}", &out),
        "no match: /detail/l/b and the paths before it hold only in different elements "
        "of an array\n"
        "  ok   /detail/l/a: expected [1], found 1\n"
        "  ok   /detail/l/b: expected [2], found 2\n");
    set_event("{\"l\":[{\"a\":1},{\"b\":1}]}"); /* absent beside the element that was chosen */
    ck_assert_str_eq(explain("{\"detail\": {\"l\": {\"a\": [1], \"b\": [{\"exists\": false}]}}}",
                             &out),
                     "match\n  ok   /detail/l/a: expected [1], found 1\n"
                     "  ok   /detail/l/b: expected [{\"exists\": false}], found 1\n");
    set_event("text");
    ck_assert_str_eq(explain("{\"detail\": {\"n\": [8]}}", &out),
                     "no match: the body is not JSON\n");
    buf_fini(&out);
}
END_TEST

/* Five arrays of three hundred: every choice would be tried. */
static void add_arrays(struct buf *json, const char *last)
{
    buf_add_text(json, "{\"a\":[{");
    for (char name = 'b'; name <= 'f'; name++) {
        buf_print(json, "\"%c\":[", name);
        for (int i = 0; i < 300; i++)
            buf_print(json, "%s{\"p\":1}", i ? "," : "");
        buf_add_text(json, "],");
    }
    buf_print(json, "%s}]}", last);
}

static const char choices[] =
    "{\"a\": {\"b\": {\"p\": [1]}, \"c\": {\"p\": [1]}, \"d\": {\"p\": [1]}, \"e\": {\"p\": [1]}, "
    "\"f\": {\"p\": [1]}, \"g\": {\"x\": [1], \"y\": [1]}}}";

START_TEST(explains_no_longer_than_is_fit)
{
    struct match_set *set = match_set_new(NULL);
    struct buf json = {0}, text = {0}, object = {0};
    bool is_match;
    struct match_error e;
    ck_assert_int_eq(match_add(set, weir_text(choices), NULL), WEIR_OK);
    match_seal(set);
    add_arrays(&json, "\"g\":[{\"x\":1},{\"y\":1}]");
    ck_assert(!match_explain_json(set, 0, buf_str(&json), &text, &object));
    ck_assert(strstr(buf_text(&text), "no match: too complex to say why"));
    ck_assert(strstr(buf_text(&text), "  ok   /a/g/y: expected [1], found 1\n"));
    ck_assert(strstr(buf_text(&object), "{\"match\": false, \"too_complex\": true, "));
    ck_assert(match_plain(weir_text(choices), buf_str(&json), &is_match, &e) && !is_match);
    ck_assert(strstr(e.reason, "too complex"));
    json.len = text.len = 0;
    add_arrays(&json, "\"g\":[{\"x\":1,\"y\":1}]");
    ck_assert(match_explain_json(set, 0, buf_str(&json), &text, NULL));
    ck_assert(match_plain(weir_text(choices), buf_str(&json), &is_match, &e) && is_match);
    ck_assert_str_eq(e.reason, "");
    match_set_free(set);
    buf_fini(&json);
    buf_fini(&text);
    buf_fini(&object);
}
END_TEST

START_TEST(explains_no_more_than_is_fit)
{
    struct match_set *set = match_set_new(NULL);
    struct buf pattern = {0}, json = {0}, text = {0}, object = {0};
    buf_add_text(&pattern, "{\"$or\":[");
    for (int i = 0; i < 300; i++)
        buf_print(&pattern, "%s{\"a\":[%d],\"b\":[%d]}", i ? "," : "", i, i % 7);
    buf_add_text(&pattern, "]}");
    ck_assert_int_eq(match_add(set, buf_str(&pattern), NULL), WEIR_OK);
    match_seal(set);
    buf_add_text(&json, "{\"b\":1,\"a\":[299");
    for (int i = 0; i < 100; i++)
        buf_print(&json, ",\"%0*d\"", 2000, i);
    buf_add_text(&json, "]}");
    ck_assert(!match_explain_json(set, 0, buf_str(&json), &text, &object));
    ck_assert(strstr(buf_text(&text), "no match: 300 alternatives by $or, the nearest of them\n"));
    ck_assert(strstr(buf_text(&text), "alternative 300: no match: first at /b\n"));
    ck_assert(strstr(buf_text(&object), "..."));
    ck_assert(strstr(buf_text(&object), "\"more\": 280"));
    ck_assert_uint_le(text.len, 40000);
    ck_assert_uint_le(object.len, 400000);
    ck_assert_int_eq(json_check(buf_str(&object), NULL, NULL), WEIR_OK);
    match_set_free(set);
    buf_fini(&pattern);
    buf_fini(&json);
    buf_fini(&text);
    buf_fini(&object);
}
END_TEST

START_TEST(shape_of_the_whole)
{
    static const char *const same[] = {NULL, "$"};
    struct buf want = {0}, out = {0};
    struct error e = {0};
    set_event(order);
    match_envelope(NULL, &event, &want);
    for (size_t i = 0; i < 2; i++) {
        struct shape *s = shape_new(NULL, same[i], NULL, NULL, &e, NULL);
        out.len = 0;
        shape_apply(s, &event, NULL, 0, &out);
        ck_assert_str_eq(buf_text(&out), buf_text(&want));
        shape_free(s);
    }
    struct shape *s = shape_new(NULL, NULL, NULL, "<aws.events.event.json>", &e, NULL);
    out.len = 0;
    shape_apply(s, &event, NULL, 0, &out);
    ck_assert_str_eq(buf_text(&out), buf_text(&want));
    shape_free(s);
    buf_fini(&want);
    buf_fini(&out);
}
END_TEST

START_TEST(limits)
{
    struct buf text = {0};
    struct match_error e;
    bool is_match;
    for (int i = 0; i < 999; i++)
        buf_add_text(&text, "{\"a\":");
    buf_add_text(&text, "[1]");
    for (int i = 0; i < 999; i++)
        buf_add_char(&text, '}');
    ck_assert(match_plain(buf_str(&text), buf_str(&text), &is_match, &e));
    ck_assert(is_match);
    struct match_set *set = match_set_new(NULL);
    ck_assert_int_eq(match_add(set, buf_str(&text), &e), WEIR_OK);
    text.len = 0;
    buf_add_text(&text, "{\"$or\":[");
    for (int i = 0; i <= 1000; i++)
        buf_print(&text, "%s{\"a\":[%d]}", i ? "," : "", i);
    buf_add_text(&text, "]}");
    ck_assert_int_eq(match_add(set, buf_str(&text), &e), WEIR_E_REJECT);
    ck_assert(strstr(e.reason, "too complex"));
    text.len = 0;
    buf_add_text(&text, "{\"a\":[");
    for (int i = 0; text.len < 65536; i++)
        buf_print(&text, "%s\"value-%d\"", i ? "," : "", i);
    buf_add_text(&text, "]}");
    ck_assert_int_eq(match_add(set, buf_str(&text), &e), WEIR_OK);
    ck_assert_uint_eq(match_count(set), 2);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    const uint32_t *hits;
    ck_assert_uint_eq(match_json(c, weir_text("{\"a\":\"value-1234\"}"), 0, &hits), 1);
    ck_assert_uint_eq(hits[0], 1);
    text.len = 0;
    for (int i = 0; i < 3000; i++)
        buf_add_char(&text, '[');
    ck_assert_uint_eq(match_json(c, buf_str(&text), 0, &hits), SIZE_MAX);
    (void)match_json(c, buf_str(&text), MATCH_KNOWN_GOOD, &hits);
    ck_assert_uint_gt(match_memory(set), 65536);
    match_ctx_free(c);
    match_set_free(set);
    buf_fini(&text);
}
END_TEST

/* What a rule on one text takes, its own text of 40 bytes included. */
START_TEST(memory_of_a_rule)
{
    enum { RULES = 20000 };
    struct match_set *set = match_set_new(NULL);
    for (int i = 0; i < RULES; i++) {
        char pattern[64];
        int n =
            snprintf(pattern, sizeof pattern, "{\"detail\":{\"order\":{\"id\":[\"%08d\"]}}}", i);
        ck_assert_int_eq(match_add(set, (weir_str){pattern, (size_t)n}, NULL), WEIR_OK);
    }
    match_seal(set);
    ck_assert_uint_le(match_memory(set) / RULES, 100);
    match_set_free(set);
}
END_TEST

/* Two lists of 20,000 elements that never go together must not cost the product. */
START_TEST(long_arrays)
{
    static const char pattern[] = "{\"l\":{\"a\":[1],\"b\":[2],\"m\":{\"c\":[3],\"d\":[4]}}}";
    struct match_set *set = match_set_new(NULL);
    struct buf text = {0};
    ck_assert_int_eq(match_add(set, weir_text(pattern), NULL), WEIR_OK);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    const uint32_t *hits;
    buf_add_text(&text, "{\"l\":[");
    for (int i = 0; i < 20000; i++)
        buf_add_text(&text, i % 2 ? "{\"a\":1,\"m\":[{\"c\":3},{\"d\":4}]}," : "{\"b\":2},");
    size_t len = text.len;
    buf_add_text(&text, "{\"a\":1,\"b\":2,\"m\":[{\"c\":3},{\"d\":4}]}]}");
    ck_assert_uint_eq(match_json(c, buf_str(&text), 0, &hits), 0);
    text.len = len;
    buf_add_text(&text, "{\"a\":1,\"b\":2,\"m\":[{\"c\":3},{\"d\":4,\"c\":3}]}]}");
    ck_assert_uint_eq(match_json(c, buf_str(&text), 0, &hits), 1);
    match_ctx_free(c);
    match_set_free(set);
    buf_fini(&text);
}
END_TEST

/* Known good is a promise; broken, it may cost the verdict but never a byte out of bounds. */
START_TEST(cut_texts)
{
    static const char text[] =
        "{\"a\": [{\"b\\u0041\": \"x\\n\", \"c\": [1, {\"d.e\": null}]}, tr], \"a\": {}}";
    struct match_set *set = match_set_new(NULL);
    ck_assert_int_eq(match_add(set, weir_text("{\"a\":{\"bA\":[\"x\"],\"c\":{\"d.e\":[1]}}}"),
                               NULL),
                     WEIR_OK);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    for (size_t n = 0; n < sizeof text; n++) {
        const uint32_t *hits;
        char *copy = malloc(n + !n); /* exact, so that the sanitizer sees a byte too many */
        ck_assert(copy != NULL);
        memcpy(copy, text, n);
        (void)match_json(c, (weir_str){copy, n}, MATCH_KNOWN_GOOD, &hits);
        free(copy);
    }
    match_ctx_free(c);
    match_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_event");
    TCase *t = tcase_create("event");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, envelope_members);
    tcase_add_test(t, bodies_that_are_no_json);
    tcase_add_test(t, envelope_text);
    tcase_add_test(t, replay_name);
    tcase_add_test(t, explains);
    tcase_add_test(t, explains_no_longer_than_is_fit);
    tcase_add_test(t, explains_no_more_than_is_fit);
    tcase_add_test(t, shape_of_the_whole);
    tcase_add_test(t, limits);
    tcase_add_test(t, memory_of_a_rule);
    tcase_add_test(t, long_arrays);
    tcase_add_test(t, cut_texts);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
