/* unit/config_values.c: units, the option filler for every type, places, JSON and secrets. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/config/fakes.h"

struct inner {
    const char *name;
    int64_t number;
};

struct all {
    bool flag;
    int choice;
    int64_t number;
    double fraction;
    const char *text;
    weir_duration duration;
    weir_size size;
    weir_strings strings;
    weir_pairs pairs;
    const weir_secret *secret;
    weir_json json;
    weir_block block, absent;
    weir_list list;
    weir_map map;
    const weir_service *service;
};

static const weir_option inner_rows[] = {WEIR_OPTION(struct inner, name, .preset = "none"),
                                         WEIR_OPTION(struct inner, number, .preset = "7", .min = 0,
                                                     .max = 9),
                                         {0}};

static const weir_option all_rows[] = {
    WEIR_OPTION(struct all, flag, .help = "x"),
    WEIR_OPTION(struct all, choice, .choices = "one|two|three"),
    WEIR_OPTION(struct all, number, .preset = "-5"),
    WEIR_OPTION(struct all, fraction, .preset = "0.25"),
    WEIR_OPTION(struct all, text, .preset = "a: 'b'"),
    WEIR_OPTION(struct all, duration, .preset = "1m"),
    WEIR_OPTION(struct all, size, .preset = "4KiB"),
    WEIR_OPTION(struct all, strings, .preset = "[x, y]"),
    WEIR_OPTION(struct all, pairs, .help = "x"),
    WEIR_OPTION(struct all, secret, .help = "x"),
    WEIR_OPTION(struct all, json, .preset = "{ a: null }"),
    WEIR_OPTION(struct all, block, WEIR_ITEMS(struct inner, inner_rows), .preset = "{}"),
    WEIR_OPTION(struct all, absent, WEIR_ITEMS(struct inner, inner_rows)),
    WEIR_OPTION(struct all, list, WEIR_ITEMS(struct inner, inner_rows)),
    WEIR_OPTION(struct all, map, WEIR_ITEMS(struct inner, inner_rows)),
    {.name = "weir.none/1",
     .type = WEIR_T_SERVICE,
     .offset = offsetof(struct all, service),
     .item_size = sizeof(weir_service)},
    {0}};

static struct document *doc;
static struct places *places;
static struct all all;

static bool fill(const char *yaml)
{
    struct config_input in = {.env = fake_env};
    places_free(places);
    document_free(doc);
    doc = document_parse("t.yaml", weir_text(yaml), &in);
    places = places_new(doc);
    memset(&all, 0, sizeof all);
    ck_assert_ptr_nonnull(document_root(doc));
    bool is_whole = options_fill(doc, places, all_rows, document_root(doc), NULL, NULL, &all);
    ck_assert(is_whole || document_errors(doc));
    return document_errors(doc) == 0;
}

static void teardown(void)
{
    places_free(places);
    document_free(doc);
    places = NULL;
    doc = NULL;
}

static const char *told(void)
{
    static char text[16384];
    FILE *out = fmemopen(text, sizeof text, "w");
    diag_print(doc, out, false);
    (void)fclose(out);
    return text;
}

static void assert_json(const char *yaml, const char *expected)
{
    char *whole = mem_format("json: %s\n", yaml);
    ck_assert_msg(fill(whole), "%s", told());
    char *got = mem_copy(all.json.ptr, all.json.len);
    ck_assert_str_eq(got, expected);
    mem_free(got);
    mem_free(whole);
}

START_TEST(durations)
{
    static const struct {
        const char *text;
        int64_t ns;
        const char *again;
    } good[] = {{"250ms", 250000000, "250ms"},
                {"1h30m", 5400000000000, "1h30m"},
                {"1.5s", 1500000000, "1s500ms"},
                {"2 h", 7200000000000, "2h"},
                {"0", 0, "0s"},
                {"0s", 0, "0s"},
                {"3us", 3000, "3us"},
                {"3\xC2\xB5s", 3000, "3us"},
                {"10d", 864000000000000, "10d"},
                {"0.5h", 1800000000000, "30m"},
                {"0.000001s", 1000, "1us"}};
    static const char *const bad[] = {"",    "5",     "s",     "1s1s", "1s1m",
                                      "-1s", "1..5s", "1.s",   "1 2s", "99999999999d",
                                      "1x",  "1e3s",  "0x10s", "5 ",   "1s 5"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ns = -1;
        char again[64];
        ck_assert_msg(unit_parse_duration(weir_text(good[i].text), &ns), "%s", good[i].text);
        ck_assert_int_eq(ns, good[i].ns);
        unit_format_duration(ns, again, sizeof again);
        ck_assert_str_eq(again, good[i].again);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ns;
        ck_assert_msg(!unit_parse_duration(weir_text(bad[i]), &ns), "%s", bad[i]);
    }
}
END_TEST

START_TEST(sizes)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *again;
    } good[] = {{"64KiB", 65536, "64KiB"},
                {"5MB", 5000000, "5MB"},
                {"10B", 10, "10B"},
                {"5mib", 5242880, "5MiB"},
                {"1.5GiB", 1610612736, "1536MiB"},
                {"1kB", 1000, "1KB"},
                {"0", 0, "0B"},
                {"16777215TiB", 18446742974197923840u, "16777215TiB"}};
    static const char *const bad[] = {"", "5", "5K", "5M", "KiB", "16777216TiB", "1KiB1KiB", "-1B"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 1;
        char again[64];
        ck_assert_msg(unit_parse_size(weir_text(good[i].text), &bytes), "%s", good[i].text);
        ck_assert_uint_eq(bytes, good[i].bytes);
        unit_format_size(bytes, again, sizeof again);
        ck_assert_str_eq(again, good[i].again);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes;
        ck_assert_msg(!unit_parse_size(weir_text(bad[i]), &bytes), "%s", bad[i]);
    }
}
END_TEST

START_TEST(presets)
{
    ck_assert_msg(fill("{}"), "%s", told());
    ck_assert_int_eq(all.number, -5);
    ck_assert(all.fraction == 0.25);
    ck_assert_int_eq(all.duration.ns, 60000000000);
    ck_assert_uint_eq(all.size.bytes, 4096);
    ck_assert_uint_eq(all.strings.count, 2);
    ck_assert_str_eq(all.strings.items[1], "y");
    ck_assert_uint_eq(all.json.len, 10);
    ck_assert_mem_eq(all.json.ptr, "{\"a\":null}", 10);
    const struct inner *block = all.block.item;
    ck_assert_ptr_nonnull(block);
    ck_assert_str_eq(block->name, "none");
    ck_assert_int_eq(block->number, 7);
    ck_assert_ptr_null(all.absent.item);
    ck_assert_ptr_null(all.secret);
    ck_assert_ptr_null(all.service);
    ck_assert(!all.flag);
}
END_TEST

START_TEST(every_type)
{
    ck_assert_msg(fill("flag: true\n"
                       "choice: three\n"
                       "number: ${COUNT}\n"
                       "fraction: -1.5e3\n"
                       "text: 0123\n"
                       "duration: 1h\n"
                       "size: 1MB\n"
                       "strings: alone\n"
                       "pairs: { b: 2, a: one }\n"
                       "secret: { env: API_TOKEN }\n"
                       "block: { number: 9 }\n"
                       "absent:\n"
                       "list: [{ name: x }, { number: 0 }]\n"
                       "map: { z: { name: zed }, a: }\n"),
                  "%s", told());
    ck_assert(all.flag);
    ck_assert_int_eq(all.choice, 2);
    ck_assert_int_eq(all.number, 4);
    ck_assert(all.fraction == -1500);
    ck_assert_str_eq(all.text, "0123");
    ck_assert_uint_eq(all.strings.count, 1);
    ck_assert_str_eq(all.strings.items[0], "alone");
    ck_assert(weir_same(all.pairs.items[0].key, "b") && weir_same(all.pairs.items[0].value, "2"));
    ck_assert_str_eq(all.secret->env, "API_TOKEN");
    const struct inner *items = all.list.items, *named = all.map.items;
    ck_assert_uint_eq(all.list.count, 2);
    ck_assert_str_eq(items[0].name, "x");
    ck_assert_int_eq(items[0].number, 7);
    ck_assert_int_eq(items[1].number, 0);
    ck_assert_str_eq(all.map.names[0], "z");
    ck_assert_str_eq(named[0].name, "zed");
    ck_assert_str_eq(named[1].name, "none");
    ck_assert_ptr_nonnull(all.absent.item);
}
END_TEST

START_TEST(refused_values)
{
    static const char *const bad[] = {"flag: yes",
                                      "flag: 1",
                                      "choice: four",
                                      "number: 1.0",
                                      "number: 0x10",
                                      "number: ''",
                                      "fraction: .nan",
                                      "fraction: 1e999",
                                      "fraction: nan",
                                      "text:",
                                      "text: \"a\\0b\"",
                                      "text: [a]",
                                      "duration: 5",
                                      "size: 5",
                                      "strings: { a: b }",
                                      "strings: [[a]]",
                                      "pairs: [a]",
                                      "pairs: { a: {} }",
                                      "secret: abc",
                                      "secret: {}",
                                      "block: [a]",
                                      "list: { name: x }",
                                      "map: [a]",
                                      "map: { a: b }",
                                      "json: .inf",
                                      "unknown: 1",
                                      "weir.none/1: 1",
                                      "number: 99999999999999999999",
                                      "block: { nme: x }",
                                      "list: [{ number: 10 }]",
                                      "strings: [\"a\\0b\"]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!fill(bad[i]), "%s", bad[i]);
        ck_assert_uint_eq(document_errors(doc), 1);
    }
}
END_TEST

START_TEST(json_text)
{
    assert_json("{ b: 1, a: [x, 1.50, true, ~, '1', \"t\"] }",
                "{\"b\":1,\"a\":[\"x\",1.50,true,null,\"1\",\"t\"]}");
    assert_json("[+1, -0, 0x1F, 0o17, .5, 1., -.5e3, 1e5, yes, No, 1_000, 0x, 1.2.3, -]",
                "[1,-0,31,15,0.5,1,-0.5e3,1e5,\"yes\",\"No\",\"1_000\",\"0x\",\"1.2.3\",\"-\"]");
    assert_json("plain text", "\"plain text\"");
    assert_json("|\n  one\n  \"two\"\n", "\"one\\n\\\"two\\\"\\n\"");
    assert_json("[ &x { k: v }, *x ]", "[{\"k\":\"v\"},{\"k\":\"v\"}]");
    assert_json("[ \"${COUNT}\", '${EMPTY}', \"${NESTED}\", \"${TRICK}\" ]",
                "[\"4\",\"\",\"${HOST}\",\"{ a: [b] }\"]");
    assert_json("${COUNT}", "4");
    assert_json("${EMPTY}", "\"\"");
    assert_json("{ 1: a, true: b }", "{\"1\":\"a\",\"true\":\"b\"}");
    assert_json("12345678901234567890123", "12345678901234567890123");
    assert_json("[007]", "[7]");
    ck_assert_uint_eq(document_warnings(doc), 1);
    assert_json("[000000000000]", "[0]");
}
END_TEST

/* An error at byte `offset` of the JSON text (or of the text) is at line:column. */
static void assert_place(const char *yaml, const void *member, size_t offset, const char *expected)
{
    ck_assert_msg(fill(yaml), "%s", told());
    const struct node *at = places_find(places, member);
    ck_assert_ptr_nonnull(at);
    diag_add_at(doc, DIAG_ERROR, at, offset, NULL, "here");
    char *start = mem_format("t.yaml:%s: error: here\n", expected);
    ck_assert_msg(strncmp(told(), start, strlen(start)) == 0, "expected %s, told %s", expected,
                  told());
    mem_free(start);
}

START_TEST(places_in_json)
{
    /*                  {"source":["a","bc"],"n":1} */
    const char *block = "json:\n  source:\n    - a\n    - bc\n  n: 1\n";
    assert_place(block, &all.json, 0, "2:3");
    assert_place(block, &all.json, 1, "2:3");
    assert_place(block, &all.json, 4, "2:5");
    assert_place(block, &all.json, 10, "3:5");
    assert_place(block, &all.json, 11, "3:7");
    assert_place(block, &all.json, 16, "4:7");
    assert_place(block, &all.json, 17, "4:8");
    assert_place(block, &all.json, 25, "5:6");
    assert_place("json: \"a\\tb\\u00e4cd\"\n", &all.json, 7, "1:18"); /* "a\tb(ä)c" */
    assert_place("json: [ &x { k: v }, *x ]\n", &all.json, 6, "1:17");
}
END_TEST

START_TEST(places_in_text)
{
    assert_place("text: plain\n", &all.text, 3, "1:10");
    assert_place("text: 'it''s so'\n", &all.text, 3, "1:12");
    assert_place("text: \"a\\x41\\n\\u20acb\"\n", &all.text, 6, "1:21");
    assert_place("text: |\n  one\n\n  two\n", &all.text, 7, "4:5");
    assert_place("text: >\n  one\n  two\n\n  three\n", &all.text, 9, "5:4");
    assert_place("text: one\n  two\n  three\n", &all.text, 9, "3:4");
    assert_place("text: &a plain\n", &all.text, 2, "1:12");
    assert_place("text: x${COUNT}yz\n", &all.text, 1, "1:8");
    assert_place("text: x${COUNT}yz\n", &all.text, 3, "1:17");
    assert_place("text: \xC3\xA4\xE6\x97\xA5z\n", &all.text, 5, "1:9");
    assert_place("text: ab\n", &all.text, 2, "1:9");
}
END_TEST

START_TEST(places_by_address)
{
    const char *yaml = "map:\n  one: { name: x }\n  two:\n    number: 3\n"
                       "strings: [a, b]\npairs: { k: v }\nlist:\n  - name: q\n";
    ck_assert(fill(yaml));
    const struct inner *items = all.map.items, *list = all.list.items;
    ck_assert_uint_eq(places_find(places, &all.map)->line, 2);
    ck_assert_str_eq(places_find(places, &all.map.names[1])->text, "two");
    ck_assert_str_eq(places_find(places, &items[0].name)->text, "x");
    ck_assert_uint_eq(places_find(places, &items[1].number)->line, 4);
    ck_assert_uint_eq(places_find(places, &items[1])->line, 3); /* name is absent: the key */
    ck_assert_str_eq(places_find(places, &all.strings.items[1])->text, "b");
    ck_assert_str_eq(places_find(places, &all.pairs.items[0].key)->text, "k");
    ck_assert_str_eq(places_find(places, &all.pairs.items[0].value)->text, "v");
    ck_assert_uint_eq(places_find(places, &list[0].number)->line, 8);
    ck_assert_ptr_nonnull(places_find(places, &all.flag)); /* absent: the map */
    ck_assert_ptr_null(places_find(places, &doc));
}
END_TEST

START_TEST(secrets_are_read_when_asked)
{
    char folder[] = "/tmp/weir-config-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    char *path = mem_format("%s/token", folder);
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    (void)fputs("first\r\n", f);
    (void)fclose(f);
    char *yaml = mem_format("secret: { file: %s }\n", path);
    ck_assert_msg(fill(yaml), "%s", told());
    struct buf value = {0};
    struct error e = {0};
    ck_assert_int_eq(secret_read(all.secret, &value, &e), 0);
    ck_assert_str_eq(buf_text(&value), "first");
    (void)unlink(path);
    ck_assert_int_eq(secret_read(all.secret, &value, &e), -1);
    ck_assert_int_eq(e.code, EXIT_IO);
    ck_assert_str_eq(buf_text(&value), "first");
    (void)rmdir(folder);
    buf_fini(&value);
    mem_free(yaml);
    mem_free(path);
}
END_TEST

START_TEST(no_message_shows_a_secret)
{
    static const char *const keys[] = {"flag",  "choice", "number", "fraction", "duration", "size",
                                       "pairs", "secret", "block",  "list",     "map"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *yaml = mem_format("%s: ${API_TOKEN}\n", keys[i]);
        ck_assert_msg(!fill(yaml), "%s", yaml);
        ck_assert_ptr_null(strstr(told(), "hush"));
        mem_free(yaml);
    }
    ck_assert(!fill("secret: typed-in\n"));
    ck_assert_ptr_null(strstr(told(), "typed-in"));
}
END_TEST

START_TEST(sets_do_not_leak_through_aliases)
{
    const char *sets[] = {"b.c.text=new", "x.\"y.z\".text=deep", NULL};
    struct config_input in = {.sets = sets, .env = fake_env};
    doc = document_parse("t.yaml", weir_text("a: &a { c: { text: old } }\nb: *a\n"), &in);
    ck_assert_uint_eq(document_errors(doc), 0);
    struct node *root = document_root(doc);
    struct node *a = node_get(node_get(root, "a"), "c"), *b = node_get(node_get(root, "b"), "c");
    ck_assert_str_eq(node_get(a, "text")->text, "old");
    ck_assert_str_eq(node_get(b, "text")->text, "new");
    struct node *x = node_get(node_get(root, "x"), "y.z");
    ck_assert_str_eq(node_get(x, "text")->text, "deep");
}
END_TEST

static void assert_load(const char *path, const char *expected)
{
    struct config_input in = {.path = path};
    document_free(doc);
    doc = document_load(&in);
    ck_assert_ptr_null(document_root(doc));
    ck_assert_str_eq(told(), expected);
}

START_TEST(files_that_cannot_be_read)
{
    assert_load("/nonexistent/p.yaml",
                "/nonexistent/p.yaml: error: cannot read the file: No such file "
                "or directory\n1 error in /nonexistent/p.yaml\n");
    assert_load("/", "/: error: cannot read the file: Is a directory\n1 error in /\n");
    assert_load("/dev/zero",
                "/dev/zero: error: cannot read the file: larger than the limit of 1024 "
                "KiB\n1 error in /dev/zero\n");
    document_free(doc);
    char *large = mem_new((1u << 20) + 2);
    memset(large, ' ', (1u << 20) + 1);
    doc = document_parse("large.yaml", weir_text(large), NULL);
    mem_free(large);
    ck_assert_ptr_null(document_root(doc));
    ck_assert_uint_eq(document_errors(doc), 1);
}
END_TEST

START_TEST(diagnostics_as_json)
{
    static char text[1024];
    ck_assert(!fill("nunber: \"x\"\n"));
    FILE *out = fmemopen(text, sizeof text, "w");
    diag_print_json(doc, out);
    (void)fclose(out);
    ck_assert_str_eq(text, "{\"file\":\"t.yaml\",\"line\":1,\"column\":1,\"severity\":\"error\","
                           "\"message\":\"unknown key \\\"nunber\\\" in the pipeline file\","
                           "\"help\":\"did you mean \\\"number\\\"?\"}\n");
}
END_TEST

START_TEST(color_marks_severity_and_caret)
{
    static char text[1024];
    ck_assert(!fill("nunber: 1\n"));
    FILE *out = fmemopen(text, sizeof text, "w");
    diag_print(doc, out, true);
    (void)fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "\033[1;31merror:\033[0m"));
    ck_assert_ptr_nonnull(strstr(text, "\033[1;32m^\033[0m"));
}
END_TEST

START_TEST(merged_keys)
{
    doc = document_parse("t.yaml",
                         weir_text("a: &a { x: 1, y: 2 }\nb: &b { x: 3, z: 4 }\n"
                                   "c: { <<: [*b, *a], z: 5 }\nd: { '<<': no }\n"),
                         NULL);
    ck_assert_uint_eq(document_errors(doc), 0);
    struct node *c = node_get(document_root(doc), "c");
    ck_assert_uint_eq(c->count, 3);
    ck_assert_str_eq(node_get(c, "x")->text, "3");
    ck_assert_str_eq(node_get(c, "y")->text, "2");
    ck_assert_str_eq(node_get(c, "z")->text, "5");
    ck_assert_str_eq(node_get(node_get(document_root(doc), "d"), "<<")->text, "no");
}
END_TEST

START_TEST(tables_are_checked)
{
    static const weir_option twice[] = {WEIR_OPTION(struct all, flag, .help = "x"),
                                        WEIR_OPTION(struct all, flag, .help = "x"),
                                        {0}};
    static const weir_option preset[] = {WEIR_OPTION(struct all, duration, .preset = "5"), {0}};
    static const weir_option outside[] = {{.name = "x", .type = WEIR_T_INT, .offset = 4096}, {0}};
    static const weir_option type[] = {{.name = "x", .type = 99}, {0}};
    static const weir_option choice[] = {WEIR_OPTION(struct all, choice, .help = "x"), {0}};
    static const weir_option items[] = {WEIR_OPTION(struct all, list, .help = "x"), {0}};
    static const weir_option ports[] = {WEIR_OPTION(struct all, flag, .ports = true), {0}};
    static const weir_option both[] = {WEIR_OPTION(struct all, text, .preset = "",
                                                   .required = true),
                                       {0}};
    static const weir_option inside[] = {WEIR_OPTION(struct all, list,
                                                     WEIR_ITEMS(struct inner, preset)),
                                         {0}};
    static const weir_option *const bad[] = {twice, preset, outside, type,  choice,
                                             items, ports,  both,    inside};
    struct error e = {0};
    ck_assert_msg(options_check_table(all_rows, sizeof(struct all), &e), "%s", e.text);
    ck_assert_msg(options_check_table(plan_delivery_options, sizeof(struct plan_delivery), &e),
                  "%s", e.text);
    ck_assert_msg(options_check_table(plan_settings_options, 4096, &e), "%s", e.text);
    for (size_t i = 0; i < sizeof bad / sizeof(void *); i++) {
        e = (struct error){0};
        ck_assert(!options_check_table(bad[i], sizeof(struct all), &e));
        ck_assert_int_eq(e.code, EXIT_CONFIG);
    }
}
END_TEST

int main(void)
{
    TCase *one = tcase_create("values");
    tcase_add_checked_fixture(one, NULL, teardown);
    tcase_add_test(one, durations);
    tcase_add_test(one, sizes);
    tcase_add_test(one, presets);
    tcase_add_test(one, every_type);
    tcase_add_test(one, refused_values);
    tcase_add_test(one, json_text);
    tcase_add_test(one, places_in_json);
    tcase_add_test(one, places_in_text);
    tcase_add_test(one, places_by_address);
    tcase_add_test(one, secrets_are_read_when_asked);
    tcase_add_test(one, no_message_shows_a_secret);
    tcase_add_test(one, sets_do_not_leak_through_aliases);
    tcase_add_test(one, files_that_cannot_be_read);
    tcase_add_test(one, diagnostics_as_json);
    tcase_add_test(one, color_marks_severity_and_caret);
    tcase_add_test(one, merged_keys);
    tcase_add_test(one, tables_are_checked);
    Suite *suite = suite_create("config values");
    suite_add_tcase(suite, one);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
