/* tests/unit/base_all.c: the small things that every other room stands on. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/text.h"

START_TEST(code_points_become_utf8)
{
    static const struct {
        uint32_t c;
        const char *want;
    } cases[] = {{'a', "a"},
                 {0x7F, "\x7F"},
                 {0x80, "\xC2\x80"},
                 {0x7FF, "\xDF\xBF"},
                 {0x20AC, "\xE2\x82\xAC"},
                 {0xFFFF, "\xEF\xBF\xBF"},
                 {0x1F600, "\xF0\x9F\x98\x80"},
                 {0x10FFFF, "\xF4\x8F\xBF\xBF"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[5] = "";
        ck_assert_uint_eq(text_put_utf8(got, cases[i].c), strlen(cases[i].want));
        ck_assert_str_eq(got, cases[i].want);
        ck_assert(text_is_utf8(weir_text(got)));
    }
}
END_TEST

START_TEST(crc32c_known_answer)
{
    ck_assert_uint_eq(hash_crc32c(0, "123456789", 9), 0xE3069283u); /* RFC 3720, B.4 */
    uint32_t whole = hash_crc32c(0, "weir journal record", 19);
    ck_assert_uint_eq(hash_crc32c(hash_crc32c(0, "weir jou", 8), "rnal record", 11), whole);
}
END_TEST

/* Bit by bit, as the definition says. */
static uint32_t crc_by_definition(const unsigned char *p, size_t n)
{
    uint32_t crc = ~0u;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

START_TEST(crc32c_of_every_length)
{
    unsigned char bytes[1500];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 167 + i / 7);
    for (size_t n = 0; n < 1400; n++)
        ck_assert_uint_eq(hash_crc32c(0, bytes + n % 9, n), crc_by_definition(bytes + n % 9, n));
}
END_TEST

START_TEST(ids_rise_and_round_trip)
{
    weir_id last = {0}, id, back;
    char text[ID_TEXT_BYTES];
    for (int i = 0; i < 10000; i++) {
        id_make(&id, INT64_C(1700000000000000000));
        ck_assert_int_lt(memcmp(last.bytes, id.bytes, 16), 0);
        last = id;
    }
    id_format(&id, text);
    ck_assert_uint_eq(strlen(text), 36);
    ck_assert_int_eq(text[14], '7');
    ck_assert(id_parse(weir_text(text), &back));
    ck_assert_mem_eq(back.bytes, id.bytes, 16);
    ck_assert(!id_parse(weir_text("0190-"), &back));
}
END_TEST

START_TEST(times_round_trip)
{
    static const char *const good[] = {"1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z",
                                       "2000-12-31T12:30:45Z", "1969-12-31T23:59:58Z",
                                       "9999-12-31T23:59:59Z"};
    static const char *const bad[] = {"2023-02-29T00:00:00Z",
                                      "2024-13-01T00:00:00Z",
                                      "2024-01-01",
                                      "2024-01-01T24:00:00Z",
                                      "2024-01-01T00:00:00",
                                      "",
                                      "x",
                                      "2024-01-01T00:00:00.Z"};
    char text[CLOCK_TEXT_BYTES];
    int64_t ns = 0, other = 0;
    for (size_t i = 0; i + 1 < sizeof good / sizeof *good; i++) {
        ck_assert_int_eq(clock_parse(weir_text(good[i]), &ns), WEIR_OK);
        (void)clock_format(ns, 0, text);
        ck_assert_str_eq(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(clock_parse(weir_text(bad[i]), &ns), WEIR_E_REJECT);
    ck_assert_int_eq(clock_parse(weir_text("2024-01-01T01:30:00.25+01:30"), &ns), WEIR_OK);
    ck_assert_int_eq(clock_parse(weir_text("2024-01-01T00:00:00.250Z"), &other), WEIR_OK);
    ck_assert_int_eq(ns, other);
}
END_TEST

START_TEST(nearest_word)
{
    static const char *const words[] = {"inputs", "plugin", "path", "buffer", NULL};
    ck_assert_str_eq(text_nearest("input", words), "inputs");
    ck_assert_str_eq(text_nearest("pluign", words), "plugin");
    ck_assert_ptr_null(text_nearest("zebra", words));
    ck_assert_uint_eq(text_distance("kitten", "sitting"), 3);
}
END_TEST

START_TEST(utf8)
{
    ck_assert(text_is_utf8(weir_text("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80")));
    ck_assert(!text_is_utf8(weir_text("\xC0\x80")));
    ck_assert(!text_is_utf8(weir_text("\xED\xA0\x80")));
    ck_assert(!text_is_utf8(weir_text("\xF4\x90\x80\x80")));
    ck_assert(!text_is_utf8(weir_text("\xE2\x82")));
}
END_TEST

START_TEST(addresses)
{
    static const struct {
        const char *text, *host;
        unsigned port;
    } good[] = {{"127.0.0.1:3000", "127.0.0.1", 3000}, {"localhost:0", "localhost", 0},
                {"[::1]:65535", "::1", 65535},         {"a-b.example_1:80", "a-b.example_1", 80},
                {"0.0.0.0:1", "0.0.0.0", 1},           {"[fe80::1:2]:8", "fe80::1:2", 8}};
    static const char *const bad[] = {"",         ":",           "3000",
                                      ":3000",    "a:",          "a:65536",
                                      "a:-1",     "a:b",         "::1:80",
                                      "[::1]",    "[]:1",        "[a]:1",
                                      "1.2.3:80", "a b:80",      "http://a:80",
                                      "a/b:80",   "256.1.1.1:1", "-a:1",
                                      ".a:1",     "[:1",         "a:99999999999999999999",
                                      "[::1:80"};
    weir_str host;
    unsigned port;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(text_address(good[i].text, &host, &port), "%s", good[i].text);
        ck_assert_msg(weir_same(host, good[i].host), "%s", good[i].text);
        ck_assert_uint_eq(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!text_address(bad[i], &host, &port), "%s", bad[i]);
}
END_TEST

START_TEST(numbers)
{
    uint64_t n = 0;
    ck_assert(text_to_u64(weir_text("18446744073709551615"), &n));
    ck_assert_uint_eq(n, UINT64_MAX);
    ck_assert(!text_to_u64(weir_text("18446744073709551616"), &n));
    ck_assert(!text_to_u64(weir_text(""), &n));
    ck_assert(!text_to_u64(weir_text("1x"), &n));
}
END_TEST

START_TEST(arenas_and_buffers)
{
    struct arena a;
    struct buf b = {0};
    arena_init(&a);
    for (int i = 0; i < 1000; i++)
        ck_assert_str_eq(arena_format(&a, "%d-%s", i, "x"), arena_format(&a, "%d-x", i));
    char *big = arena_take(&a, 100000);
    ck_assert_int_eq(big[99999], 0);
    arena_reset(&a);
    ck_assert_str_eq(arena_text(&a, "again"), "again");
    arena_fini(&a);
    for (uint64_t i = 0; i < 100; i++)
        buf_add_u64(&b, i);
    buf_print(&b, "%s", "end");
    ck_assert_uint_eq(b.len, 193);
    ck_assert_str_eq(buf_text(&b) + 190, "end");
    buf_fini(&b);
}
END_TEST

START_TEST(metrics_text)
{
    struct metrics *m = metrics_new();
    struct buf out = {0};
    const struct metric_key a = {WEIR_GAUGE, "weir_a", "A.", NULL, NULL, NULL};
    const struct metric_key b = {WEIR_COUNTER, "weir_b_total", "B.", "s1", NULL, NULL};
    const struct metric_key h = {WEIR_HISTOGRAM, "weir_c_seconds", "C.", NULL, NULL, NULL};
    weir_metric *c = metrics_get(m, &b);
    ck_assert_ptr_eq(c, metrics_get(m, &b));
    metric_add(c, 3);
    metric_observe(metrics_get(m, &a), 2.5);
    metric_observe(metrics_get(m, &h), 0.001);
    metrics_print(m, &out);
    const char *text = buf_text(&out);
    ck_assert_ptr_nonnull(strstr(text, "# TYPE weir_a gauge\nweir_a 2.5\n"));
    ck_assert_ptr_nonnull(strstr(text, "weir_b_total{stage=\"s1\"} 3\n"));
    ck_assert_ptr_nonnull(strstr(text, "weir_c_seconds_bucket{le=\"+Inf\"} 1\n"));
    buf_fini(&out);
    metrics_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *t = tcase_create("all");
    suite_add_tcase(s, t);
    tcase_add_test(t, code_points_become_utf8);
    tcase_add_test(t, addresses);
    tcase_add_test(t, crc32c_known_answer);
    tcase_add_test(t, crc32c_of_every_length);
    tcase_add_test(t, ids_rise_and_round_trip);
    tcase_add_test(t, times_round_trip);
    tcase_add_test(t, nearest_word);
    tcase_add_test(t, utf8);
    tcase_add_test(t, numbers);
    tcase_add_test(t, arenas_and_buffers);
    tcase_add_test(t, metrics_text);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
