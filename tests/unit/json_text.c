/* tests/unit/json_text.c: what is JSON and what is not, and values found in it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "json/json.h"

static weir_status check_exactly(weir_str text, size_t *at, const char **why)
{
    /* A copy of the exact size, so that the sanitizer sees a read behind the end. */
    char *copy = malloc(text.len ? text.len : 1);
    memcpy(copy, text.ptr, text.len);
    weir_status s = json_check((weir_str){copy, text.len}, at, why);
    free(copy);
    return s;
}

START_TEST(good_texts)
{
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e+10",
        "-1E-2",
        "true",
        " false ",
        "null",
        "\"\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "\t[1,\n2 , 3]\r\n",
        "{\"a\":{\"b\":[{}]}}",
        "\"\\u00e4\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
        "\"\xf4\x8f\xbf\xbf\xee\x80\x80\"",
        "{\"a\":1,\"a\":2}",
        "\"0123456789abcdef0123456789abcdef\\u0000end of a longer text\"",
        "[[[[[1]],[[2]]]],{\"x\":[]}]"};
    const char *why = "";
    size_t at = 0;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_msg(check_exactly(weir_text(good[i]), &at, &why) == WEIR_OK, "%s at %zu: %s",
                      good[i], at, why);
    ck_assert_int_eq(json_check(weir_text("1"), NULL, NULL), WEIR_OK);
    ck_assert_int_eq(json_check(weir_text("x"), NULL, NULL), WEIR_E_REJECT);
}
END_TEST

START_TEST(bad_texts)
{
    static const struct {
        const char *text;
        size_t at;
        const char *why;
    } bad[] = {
        {"", 0, "the text is empty"},
        {" ", 1, "the text ends too early"},
        {"[1", 2, "the text ends too early"},
        {"{\"a\":", 5, "the text ends too early"},
        {"\"abc", 4, "the text ends too early"},
        {"[1,]", 3, "expected a value"},
        {"[,1]", 1, "expected a value"},
        {"[1 2]", 3, "expected ',' or ']'"},
        {"{\"a\" 1}", 5, "expected ':'"},
        {"{\"a\":1,}", 7, "expected a member's name in double quotes"},
        {"{a:1}", 1, "expected a member's name in double quotes"},
        {"{'a':1}", 1, "expected a member's name in double quotes"},
        {"[1}", 2, "expected ',' or ']'"},
        {"{\"a\":1]", 6, "expected ',' or '}'"},
        {"01", 1, "more text behind the value"},
        {"1 2", 2, "more text behind the value"},
        {"[] //", 3, "more text behind the value"},
        {"+1", 0, "expected a value"},
        {".5", 0, "expected a value"},
        {"-", 1, "the text ends too early"},
        {"[1.]", 3, "expected a digit"},
        {"[1e]", 3, "expected a digit"},
        {"[1e+]", 4, "expected a digit"},
        {"[-x]", 2, "expected a digit"},
        {"tru", 0, "expected a value"},
        {"NaN", 0, "expected a value"},
        {"\"a\nb\"", 2, "a control character in a text"},
        {"\"\x1f\"", 1, "a control character in a text"},
        {"\"\\x\"", 1, "an unknown escape in a text"},
        {"\"\\u12g4\"", 1, "not a Unicode escape, or half of a surrogate pair"},
        {"\"\\ud800\"", 1, "not a Unicode escape, or half of a surrogate pair"},
        {"\"\\udc00\"", 1, "not a Unicode escape, or half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", 1, "not a Unicode escape, or half of a surrogate pair"},
        {"\"\xff\"", 1, "not UTF-8"},
        {"\"\xc0\x80\"", 1, "not UTF-8"},
        {"\"\xed\xa0\x80\"", 1, "not UTF-8"},
        {"\"\xe0\x80\x80\"", 1, "not UTF-8"},
        {"\"\xf0\x80\x80\x80\"", 1, "not UTF-8"},
        {"\"\xf4\x90\x80\x80\"", 1, "not UTF-8"},
        {"\"\xe2\x82\"", 1, "not UTF-8"},
        {"\"\xf0\x9f\x98", 1, "not UTF-8"},
        {"\xef\xbb\xbf{}", 0, "a byte order mark, which JSON must not have"},
        {"\"0123456789abcdef0123456789\x01 and so on\"", 27, "a control character in a text"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = "";
        size_t at = 0;
        ck_assert_msg(check_exactly(weir_text(bad[i].text), &at, &why) == WEIR_E_REJECT, "%s",
                      bad[i].text);
        ck_assert_msg(at == bad[i].at, "%s: at %zu", bad[i].text, at);
        ck_assert_str_eq(why, bad[i].why);
    }
    ck_assert_int_eq(check_exactly((weir_str){"\"a\0b\"", 5}, NULL, NULL), WEIR_E_REJECT);
}
END_TEST

/* Each prefix of a text that uses everything is refused, and none of them reads behind its end. */
START_TEST(every_prefix)
{
    const char *text =
        "{\"a\":[1.5e3,true,false,null,\"\\u00e4\\ud83d\\ude00 \xe2\x82\xac\xf0\x9f\x98\x80\"],"
        "\"bcdefghijklmnopqrstuvw\":{\"\\n\":-0.1}}";
    ck_assert_int_eq(check_exactly(weir_text(text), NULL, NULL), WEIR_OK);
    for (size_t n = 0; n < strlen(text); n++)
        ck_assert_int_eq(check_exactly((weir_str){text, n}, NULL, NULL), WEIR_E_REJECT);
}
END_TEST

START_TEST(depth)
{
    char text[2 * JSON_DEPTH_MAX + 2];
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    ck_assert_int_eq(json_check((weir_str){text, 2 * JSON_DEPTH_MAX}, NULL, NULL), WEIR_OK);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    size_t at = 0;
    const char *why = "";
    ck_assert_int_eq(json_check((weir_str){text, 2 * JSON_DEPTH_MAX + 2}, &at, &why),
                     WEIR_E_REJECT);
    ck_assert_uint_eq(at, JSON_DEPTH_MAX);
    ck_assert_str_eq(why, "nested too deeply: 1000 levels are allowed");
}
END_TEST

static void is_text(weir_str s, const char *expected)
{
    ck_assert_msg(weir_same(s, expected), "'%.*s' is not '%s'", (int)s.len, s.ptr ? s.ptr : "",
                  expected);
}

START_TEST(paths)
{
    weir_str text = weir_text(
        " { \"a\" : { \"b\" : [ 10 , { \"c\" : \"x]}\\\"\" } , [ ] ] } , \"\\u0064\":true,"
        "\"e\\\"[\":{},\"e\":1.5 , \"\" : 7, \"long name of more than sixteen\":[null] } ");
    ck_assert_int_eq(json_check(text, NULL, NULL), WEIR_OK);
    is_text(json_find(text, "a.b[0]"), "10");
    is_text(json_find(text, "a.b[1].c"), "\"x]}\\\"\"");
    is_text(json_find(text, "a.b[2]"), "[ ]");
    is_text(json_find(text, "d"), "true");
    is_text(json_find(text, "e"), "1.5");
    is_text(json_find(text, "long name of more than sixteen[0]"), "null");
    ck_assert_uint_eq(json_find(text, "").len, text.len - 2);
    static const char *const none[] = {"x",      "a.b[3]", "a.c",     "a[0]", "e.f", "a.b[]",
                                       "a.b[x]", "a.b[0",  "a.b[0]c", "a..b", "d[0]"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_msg(!json_find(text, none[i]).ptr, "%s", none[i]);
    is_text(json_find(weir_text("[[1,2],[3]]"), "[0][1]"), "2");
    is_text(json_find(weir_text("{\"a\":1,\"a\":2}"), "a"), "1");
}
END_TEST

START_TEST(members)
{
    weir_json_each each = {0};
    weir_str text = weir_text(" {\"a\\n\" : [1,{}] ,\"b\":\"}\"} ");
    ck_assert(json_next(text, &each));
    is_text(each.key, "a\\n");
    is_text(each.value, "[1,{}]");
    ck_assert(json_next(text, &each));
    is_text(each.key, "b");
    is_text(each.value, "\"}\"");
    ck_assert(!json_next(text, &each));
    ck_assert(!json_next(text, &each));
    static const char *const empty[] = {"[]", "{ }", "1", "\"[\"", "null"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        each = (weir_json_each){0};
        ck_assert(!json_next(weir_text(empty[i]), &each));
    }
    each = (weir_json_each){0};
    size_t sum = 0;
    while (json_next(weir_text("[ 1 , 2,3\n]"), &each)) {
        ck_assert_ptr_null(each.key.ptr);
        sum += (size_t)json_number(each.value);
    }
    ck_assert_uint_eq(sum, 6);
}
END_TEST

START_TEST(kinds)
{
    static const struct {
        const char *text;
        int kind;
    } cases[] = {{"", WEIR_JSON_NONE},      {" ", WEIR_JSON_NONE},     {"null", WEIR_JSON_NULL},
                 {" true", WEIR_JSON_BOOL}, {"false", WEIR_JSON_BOOL}, {"-1", WEIR_JSON_NUMBER},
                 {"\"\"", WEIR_JSON_TEXT},  {"\n[]", WEIR_JSON_ARRAY}, {"{}", WEIR_JSON_OBJECT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(json_kind(weir_text(cases[i].text)), cases[i].kind);
    ck_assert_int_eq(json_kind((weir_str){NULL, 0}), WEIR_JSON_NONE);
    is_text(json_trim(weir_text(" \t1 2\r\n")), "1 2");
    is_text(json_trim(weir_text("  ")), "");
}
END_TEST

START_TEST(quotes)
{
    struct arena a;
    struct buf out = {0};
    arena_init(&a);
    is_text(json_unquote(weir_text("\"plain\""), &a), "plain");
    is_text(json_unquote(weir_text("a\\n\\u00e4\\ud83d\\ude00\\/"), &a),
            "a\n\xc3\xa4\xf0\x9f\x98\x80/");
    is_text(json_unquote(weir_text(" \"a \" "), &a), "a ");
    is_text(json_unquote(weir_text(" a "), &a), " a ");
    is_text(json_unquote(weir_text(" \\n "), &a), " \n ");
    is_text(json_unquote(weir_text(""), &a), "");
    weir_str nul = json_unquote(weir_text("\"\\u0000\""), &a);
    ck_assert_uint_eq(nul.len, 1);
    ck_assert_int_eq(nul.ptr[0], 0);
    static const char bytes[] =
        "\0\x01\"\\/\b\f\n\r\t\x1f\x7f \xc3\xa4\xf0\x9f\x98\x80 and a longer tail";
    weir_str text = {bytes, sizeof bytes - 1};
    json_quote(&out, text);
    ck_assert_int_eq(json_check(buf_str(&out), NULL, NULL), WEIR_OK);
    weir_str back = json_unquote(buf_str(&out), &a);
    ck_assert_uint_eq(back.len, text.len);
    ck_assert_mem_eq(back.ptr, text.ptr, text.len);
    out.len = 0;
    json_quote(&out, (weir_str){NULL, 0});
    ck_assert_str_eq(buf_text(&out), "\"\"");
    buf_fini(&out);
    arena_fini(&a);
}
END_TEST

START_TEST(equality)
{
    static const char *const same[][2] = {{"1", "1.0"},
                                          {"100", "1e2"},
                                          {"0", "-0.0"},
                                          {"12.50", "125E-1"},
                                          {"\"a\"", "\"\\u0061\""},
                                          {"\" \\u0061 \"", "\" a \""},
                                          {"{\" \\u0061\":1}", "{\" a\":1}"},
                                          {"{\"a\":1,\"b\":[2]}", "{ \"b\" : [2.0], \"a\" : 1 }"},
                                          {" [ ]", "[]"},
                                          {"null", " null "},
                                          {"123456789012345678901234567890",
                                           "123456789012345678901234567890.000"}};
    static const char *const other[][2] = {{"{\" a\":1}", "{\"a\":1}"},
                                           {"{\" \\u0061\":1}", "{\"a\":1}"},
                                           {"1", "\"1\""},
                                           {"1", "true"},
                                           {"true", "false"},
                                           {"[1,2]", "[2,1]"},
                                           {"[1]", "[1,1]"},
                                           {"1", "-1"},
                                           {"{\"a\":1}", "{\"a\":2}"},
                                           {"{\"a\":1}", "{\"b\":1}"},
                                           {"{}", "[]"},
                                           {"{\"a\":1}", "{\"a\":1,\"b\":2}"},
                                           {"123456789012345678901234567890",
                                            "123456789012345678901234567891"},
                                           {"0.1", "0.10000000000000000001"},
                                           {"\"a\"", "\"b\""},
                                           {"1", "10"},
                                           {"\"\\\"\"", "\"\\\\\""}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        ck_assert_msg(json_same(weir_text(same[i][0]), weir_text(same[i][1])), "%s", same[i][0]);
        ck_assert_msg(json_same(weir_text(same[i][1]), weir_text(same[i][0])), "%s", same[i][0]);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        ck_assert_msg(!json_same(weir_text(other[i][0]), weir_text(other[i][1])), "%s",
                      other[i][0]);
        ck_assert_msg(!json_same(weir_text(other[i][1]), weir_text(other[i][0])), "%s",
                      other[i][0]);
    }
}
END_TEST

static void many_members(struct buf *out, int from, int step, int changed)
{
    buf_add_char(out, '{');
    for (int i = 0; i < 20000; i++, from += step)
        buf_print(out, "%s\"m%d\":%s%d", i ? "," : "", from, from == changed ? "1" : "", from);
    buf_add_char(out, '}');
}

/* Would take minutes if each member were looked up. */
START_TEST(large_objects_in_any_order)
{
    struct buf up = {0}, down = {0}, other = {0};
    many_members(&up, 0, 1, -1);
    many_members(&down, 19999, -1, -1);
    many_members(&other, 19999, -1, 77);
    ck_assert(json_same(buf_str(&up), buf_str(&down)));
    ck_assert(!json_same(buf_str(&up), buf_str(&other)));
    buf_fini(&up);
    buf_fini(&down);
    buf_fini(&other);
}
END_TEST

START_TEST(numbers)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "1",
        "-1.5",
        "3.141592653589793",
        "1e22",
        "1e-7",
        "12345678901234567890",
        "1.7976931348623157e308",
        "5e-324",
        "0.1",
        "123456789.012345",
        "999999999999999",
        "0.00000000000000000000000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        ck_assert_msg(json_number(weir_text(texts[i])) == strtod(texts[i], NULL), "%s", texts[i]);
    ck_assert(json_number(weir_text(" 2.5 ")) == 2.5);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json_text");
    TCase *t = tcase_create("all");
    tcase_add_test(t, good_texts);
    tcase_add_test(t, bad_texts);
    tcase_add_test(t, every_prefix);
    tcase_add_test(t, depth);
    tcase_add_test(t, paths);
    tcase_add_test(t, members);
    tcase_add_test(t, kinds);
    tcase_add_test(t, quotes);
    tcase_add_test(t, equality);
    tcase_add_test(t, large_objects_in_any_order);
    tcase_add_test(t, numbers);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
