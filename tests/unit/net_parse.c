/* tests/unit/net_parse.c: heads, chunks and routes; what is in doubt is refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/http_parse.h"
#include "net/route.h"

#define H "Host: x\r\n"

/* As the server does it: 0 accepted, -1 not whole, else the status. */
static int judge(const char *bytes, size_t n, struct http_head *h, char *copy)
{
    size_t scanned = 0;
    const char *why = NULL;
    int end = http_parse_end(bytes, n, &scanned, &why);
    if (end <= 0)
        return end ? -end : -1;
    memcpy(copy, bytes, (size_t)end);
    return http_parse_head(h, copy, (size_t)end);
}

static const struct {
    int status;
    const char *bytes;
    size_t n;
} heads[] = {
#define CASE(status, text) \
    { \
        status, text, sizeof(text) - 1 \
    }
    CASE(0, "GET / HTTP/1.1\r\n" H "\r\n"),
    CASE(0, "GET / HTTP/1.0\r\n\r\n"),
    CASE(0, "GET http://a.b:80/c?d HTTP/1.1\r\n" H "\r\n"),
    CASE(0, "GET http://a.b HTTP/1.1\r\n" H "\r\n"),
    CASE(0, "OPTIONS * HTTP/1.1\r\n" H "\r\n"),
    CASE(0, "POST /a HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"),
    CASE(0, "POST /a HTTP/1.1\r\n" H "Content-Length: \t 5 \t\r\n\r\n"),
    CASE(0, "GET /?a[]={b}|c HTTP/1.1\r\n" H "\r\n"),
    CASE(0, "GET / HTTP/1.1\r\n" H "A: \x80\xff ok\r\n\r\n"),
    CASE(-1, "GET / HTTP/1.1\r\n" H "\r"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"),
    CASE(400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"),
    CASE(501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    CASE(501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"),
    CASE(501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    CASE(400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
              "chunked\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "A: b\n\r\n"),
    CASE(400, "GET / HTTP/1.1\n" H "\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"),
    CASE(400, "GET /\0 HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "A: b\r\n folded\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H " A: b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "A b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H ": b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "A(: b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n" H "Host: y\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    CASE(400, "GET  / HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET / HTTP/1.1 \r\n" H "\r\n"),
    CASE(400, " GET / HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET /\r\n" H "\r\n"),
    CASE(400, "GET / http/1.1\r\n" H "\r\n"),
    CASE(400, "GET x HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET * HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET /#a HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET /%zz HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET /%4 HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET /%00 HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "CONNECT a:80 HTTP/1.1\r\n" H "\r\n"),
    CASE(400, "G@T / HTTP/1.1\r\n" H "\r\n"),
    CASE(501, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\n" H "\r\n"),
    CASE(505, "GET / HTTP/2.0\r\n" H "\r\n"),
    CASE(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    CASE(417, "GET / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n"),
    CASE(400, "\r\nGET / HTTP/1.1\r\n" H "\r\n"), /* the server drops one empty line before */
};

START_TEST(heads_are_accepted_or_refused)
{
    static struct http_head h;
    char copy[HTTP_HEAD_MAX];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        ck_assert_msg(judge(heads[i].bytes, heads[i].n, &h, copy) == heads[i].status,
                      "case %zu, %d expected: %s", i, heads[i].status, heads[i].bytes);
}
END_TEST

START_TEST(byte_by_byte_says_the_same)
{
    static struct http_head h;
    char copy[HTTP_HEAD_MAX];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t scanned = 0;
        const char *why = NULL;
        int end = 0, status;
        for (size_t n = 1; n <= heads[i].n && end == 0; n++)
            end = http_parse_end(heads[i].bytes, n, &scanned, &why);
        if (end > 0)
            memcpy(copy, heads[i].bytes, (size_t)end);
        status = end > 0 ? http_parse_head(&h, copy, (size_t)end) : (end ? -end : -1);
        ck_assert_msg(status == heads[i].status, "case %zu: %d", i, status);
    }
}
END_TEST

START_TEST(head_gives_its_parts)
{
    static struct http_head h;
    static const char bytes[] = "PUT /a%20b?c=d HTTP/1.1\r\nHoSt: x\r\nX-Request-ID: abc\r\n"
                                "Content-Length: 12\r\nConnection: foo, Close\r\n"
                                "Expect: 100-Continue\r\n\r\n";
    char copy[sizeof bytes];
    ck_assert_int_eq(judge(bytes, sizeof bytes - 1, &h, copy), 0);
    ck_assert_str_eq(h.method, "PUT");
    ck_assert_str_eq(h.path.ptr, "/a%20b");
    ck_assert_str_eq(h.query.ptr, "c=d");
    ck_assert_str_eq(h.headers[0].key.ptr, "host");
    ck_assert_str_eq(h.request_id.ptr, "abc");
    ck_assert_uint_eq(h.length, 12);
    ck_assert(!h.keeps_alive && h.expects_continue && !h.is_chunked);
}
END_TEST

START_TEST(heads_have_limits)
{
    static struct http_head h;
    static char big[HTTP_HEAD_MAX * 2], copy[HTTP_HEAD_MAX];
    memset(big, 'a', sizeof big);
    memcpy(big, "GET /", 5);
    ck_assert_int_eq(judge(big, sizeof big, &h, copy), 414);
    memcpy(big, "GET / HTTP/1.1\r\nA: ", 19);
    ck_assert_int_eq(judge(big, sizeof big, &h, copy), 431);
    memset(big, 'a', sizeof big);
    memcpy(big, "GET /", 5);
    memcpy(big + 9000, " HTTP/1.1\r\n" H "\r\n", 22);
    ck_assert_int_eq(judge(big, 9022, &h, copy), 414);
    for (int count = 99; count <= 100; count++) { /* and Host */
        size_t n = 16;
        memcpy(big, "GET / HTTP/1.1\r\n", n);
        for (int i = 0; i < count; i++, n += 6)
            memcpy(big + n, "A: b\r\n", 6);
        memcpy(big + n, H "\r\n", 11);
        ck_assert_int_eq(judge(big, n + 11, &h, copy), count == 99 ? 0 : 431);
    }
}
END_TEST

/* ---- chunks ---- */

static int decode(const char *bytes, size_t n, size_t step, char *out, size_t *used)
{
    struct http_chunks c = {0};
    size_t out_len = 0, at = 0;
    while (at < n && !http_chunks_is_done(&c)) {
        weir_str data;
        int64_t took =
            http_chunks_feed(&c, (weir_str){bytes + at, n - at < step ? n - at : step}, &data);
        if (took < 0)
            return (int)-took;
        memcpy(out + out_len, data.ptr, data.len);
        out_len += data.len;
        at += (size_t)took;
    }
    out[out_len] = 0;
    *used = at;
    return http_chunks_is_done(&c) ? 0 : -1;
}

START_TEST(chunks_are_decoded_or_refused)
{
    static const struct {
        int status;
        const char *bytes, *data;
    } cases[] = {
        {0, "5\r\nhello\r\n0\r\n\r\n", "hello"},
        {0, "5;a=\"b c\"\r\nhello\r\n00A\r\n0123456789\r\n000\r\nT: v\r\nU:\r\n\r\n",
         "hello0123456789"},
        {0, "0\r\n\r\n", ""},
        {-1, "5\r\nhello\r\n0\r\n", NULL},
        {400, "5\nhello\r\n0\r\n\r\n", NULL},
        {400, "5;a\nhello\r\n0\r\n\r\n", NULL},
        {400, "5\r\nhello0\r\n\r\n", NULL},
        {400, "5\r\nhello\n0\r\n\r\n", NULL},
        {400, "-5\r\nhello\r\n", NULL},
        {400, "+5\r\nhello\r\n", NULL},
        {400, "0x5\r\nhello\r\n", NULL},
        {400, " 5\r\nhello\r\n", NULL},
        {400, "5 \r\nhello\r\n", NULL},
        {400, "\r\nhello\r\n", NULL},
        {400, ";a\r\nhello\r\n", NULL},
        {400, "FFFFFFFFFFFFFFFF\r\nhello\r\n", NULL},
        {400, "10000000000000005\r\nhello\r\n", NULL},
        {400, "0\r\nT : v\r\n\r\n", NULL},
        {400, "0\r\n T: v\r\n\r\n", NULL},
        {400, "0\r\nT: v\n\r\n", NULL},
        {400, "0\r\n\n", NULL},
    };
    char out[256];
    size_t used;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 40; step++) {
            int status = decode(cases[i].bytes, strlen(cases[i].bytes), step, out, &used);
            ck_assert_msg(status == cases[i].status, "case %zu step %zu: %d", i, step, status);
            if (!status)
                ck_assert_str_eq(out, cases[i].data);
        }
    ck_assert_int_eq(decode("0\r\n\r\nGET", 8, 100, out, &used), 0);
    ck_assert_uint_eq(used, 5);
}
END_TEST

/* ---- routes ---- */

START_TEST(routes_prefer_the_specific)
{
    static const char *const patterns[] = {
        "GET /files/{rest...}", "GET /users/{id}", "GET /users/me", "POST /users",
        "POST /users/{id}",     "GET /{a}/x",      "* /any/{b}"};
    static const struct {
        const char *method, *path;
        int status, route;
        const char *param;
    } cases[] = {
        {"GET", "/users/me", 0, 2, NULL},      {"GET", "/users/7", 0, 1, "7"},
        {"HEAD", "/users/7", 0, 1, "7"},       {"POST", "/users/me", 0, 4, "me"},
        {"GET", "/users/a%2Fb", 0, 1, "a/b"},  {"GET", "/us%65rs/me", 0, 2, NULL},
        {"GET", "/files/a/b", 0, 0, "a/b"},    {"GET", "/files/", 0, 0, ""},
        {"GET", "/files", 404, 0, NULL},       {"GET", "/users/", 404, 0, NULL},
        {"GET", "/users/a/b", 404, 0, NULL},   {"GET", "/users", 405, 0, NULL},
        {"OPTIONS", "/users", 204, 0, NULL},   {"OPTIONS", "*", 204, 0, NULL},
        {"BREW", "/any/x", 0, 6, "x"},         {"GET", "/q/x", 0, 5, "q"},
        {"DELETE", "/users/me", 405, 0, NULL}, {"GET", "/", 404, 0, NULL},
    };
    struct routes r = {0};
    struct error e = {0};
    struct route_match m;
    char scratch[64];
    static int args[8];
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        ck_assert_int_eq(routes_add(&r, patterns[i], &args[i], &e), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        routes_find(&r, cases[i].method, weir_text(cases[i].path), scratch, &m);
        ck_assert_msg(m.status == cases[i].status, "case %zu: %d", i, m.status);
        if (!m.status)
            ck_assert_msg(m.arg == &args[cases[i].route], "case %zu", i);
        if (cases[i].param)
            ck_assert(weir_same(m.params[0].value, cases[i].param));
    }
    routes_find(&r, "GET", weir_text("/users"), scratch, &m);
    ck_assert_str_eq(m.allow, "POST, OPTIONS");
    ck_assert_int_eq(routes_add(&r, "GET /users/{other}", NULL, &e), -1);
    ck_assert_int_eq(e.code, EXIT_CONFIG);
    routes_fini(&r);
}
END_TEST

START_TEST(routes_refuse_bad_patterns)
{
    static const char *const bad[] = {"",          "/users",     "GET users",     "GET /{}",
                                      "GET /a{b}", "GET /{a b}", "GET /{a...}/b", "GET /a?b",
                                      " /a"};
    struct routes r = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        ck_assert_msg(routes_add(&r, bad[i], NULL, &e) < 0, "%s", bad[i]);
    }
    routes_fini(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/parse");
    TCase *tc = tcase_create("parse");
    tcase_add_test(tc, heads_are_accepted_or_refused);
    tcase_add_test(tc, byte_by_byte_says_the_same);
    tcase_add_test(tc, head_gives_its_parts);
    tcase_add_test(tc, heads_have_limits);
    tcase_add_test(tc, chunks_are_decoded_or_refused);
    tcase_add_test(tc, routes_prefer_the_specific);
    tcase_add_test(tc, routes_refuse_bad_patterns);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
