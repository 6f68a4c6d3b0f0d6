/* tests/unit/net_server.c: a server and its clients on one thread, by a clock that stands still. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/http_server.h"

#define S INT64_C(1000000000)

static struct clock_fake fake;
static struct loop *loop;
static struct http_server *server;
static struct http_server_settings settings;
static struct http_request *held[64]; /* requests to "/hold" */
static int held_count, requests, payloads, admit_status;
static bool has_no_memory;

/* ---- bodies, counted so that each must come back ---- */

struct counted {
    weir_payload payload;
    char bytes[];
};

static weir_payload *body_alloc(void *user, size_t n, char **data)
{
    if (has_no_memory)
        return NULL;
    struct counted *c = mem_new(sizeof *c + n);
    c->payload = (weir_payload){c->bytes, n};
    *data = c->bytes;
    payloads++;
    return &c->payload;
}

static void body_unref(void *user, weir_payload *p)
{
    payloads--;
    mem_free(p);
}

/* ---- the handler ---- */

static void on_request(void *user, struct http_request *r)
{
    weir_payload *body = r->call.body;
    requests++;
    if (weir_same(r->call.path, "/hold")) {
        held[held_count++] = r;
        return;
    }
    struct http_answer a = {.status = 200, .content_type = "text/plain"};
    a.text = (weir_str){body->ptr, body->len};
    if (weir_same(r->call.path, "/id"))
        a.text = http_header(&r->call, "x-request-id");
    if (weir_same(r->call.path, "/peer"))
        a.text = r->call.peer;
    if (weir_same(r->call.path, "/big")) {
        char *data = NULL;
        a.take = body_alloc(NULL, 3000000, &data);
        if (data)
            memset(data, 'b', 3000000);
    }
    weir_attr evil = {weir_text("X-Evil"), weir_text("a\r\nSet-Cookie: b")};
    if (weir_same(r->call.path, "/evil"))
        a.headers = (weir_pairs){1, &evil};
    http_answer(r, &a);
}

static int on_admit(void *user, const struct http_request *head)
{
    return admit_status;
}

/* ---- the client's side ---- */

static void rounds(int n)
{
    while (n-- > 0)
        (void)loop_round(loop, 0);
}

static struct sockaddr_in its_address(void)
{
    char address[128];
    http_server_address(server, address, sizeof address);
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return in;
}

static int dial(void)
{
    struct sockaddr_in in = its_address();
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ck_assert_int_eq(connect(fd, (const void *)&in, sizeof in), 0);
    rounds(2);
    return fd;
}

static void put_bytes(int fd, const char *bytes, size_t n)
{
    ck_assert_int_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    rounds(3);
}

static void put(int fd, const char *text)
{
    put_bytes(fd, text, strlen(text));
}

/* All that has come; "" with *is_over set at the end. Static until the next call. */
static const char *get(int fd, bool *is_over)
{
    static struct buf in;
    ssize_t n = -1;
    in.len = 0;
    *is_over = false;
    for (int quiet = 0; quiet < 3; quiet++) { /* the kernel may bring it a moment later */
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        rounds(2);
        (void)poll(&wait, 1, quiet);
        n = recv(fd, buf_room(&in, 65536), 65536, MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n > 0)
            in.len += (size_t)n, quiet = -1;
    }
    *is_over = n == 0 || errno != EAGAIN;
    return buf_text(&in);
}

static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;
    while ((text = strstr(text, word)))
        n++, text++;
    return n;
}

static void expect(int fd, const char *start, const char *part, bool must_be_over)
{
    bool is_over;
    const char *answer = get(fd, &is_over);
    ck_assert_msg(strncmp(answer, start, strlen(start)) == 0, "%s is not %s", answer, start);
    ck_assert_msg(strstr(answer, part) != NULL, "%s has no %s", answer, part);
    ck_assert_msg(is_over == must_be_over, "%s: over %d", answer, is_over);
}

static void setup(void)
{
    struct error e = {0};
    clock_fake_init(&fake, INT64_C(784111777) * S);
    loop = loop_new(&fake.base);
    settings = (struct http_server_settings){.address = "127.0.0.1:0",
                                             .bodies = {body_alloc, body_unref, NULL},
                                             .request = on_request,
                                             .admit = on_admit,
                                             .body_max = 100000};
    server = http_server_new(loop, &settings, &e);
    ck_assert_msg(server != NULL, "%s", e.text);
    held_count = requests = admit_status = 0;
    has_no_memory = false;
}

static void teardown(void)
{
    http_server_free(server);
    loop_free(loop);
    ck_assert_int_eq(payloads, 0);
}

static void answer_held(int i, const char *text)
{
    struct http_answer a = {.status = 200, .text = weir_text(text)};
    http_answer(held[i], &a);
}

#define POST(path, length, body) \
    "POST " path " HTTP/1.1\r\nHost: x\r\nContent-Length: " length "\r\n\r\n" body
#define GET(path)   "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define CHUNKED     "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
#define HEAD_OF(st) "HTTP/1.1 " st "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

START_TEST(answers_and_keeps_alive)
{
    int fd = dial();
    put(fd, POST("/a", "5", "hello"));
    expect(fd, HEAD_OF("200 OK") "Content-Type: text/plain\r\nContent-Length: 5\r\n",
           "\r\n\r\nhello", false);
    put(fd, CHUNKED "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ", "\r\n\r\nabcde", false);
    put(fd, GET("/peer"));
    expect(fd, "HTTP/1.1 200 ", "127.0.0.1:", false);
    put(fd, "GET /id HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ", "X-Request-Id: mine\r\n\r\nmine", false);
    put(fd, "GET /id HTTP/1.1\r\nHost: x\r\nX-Request-Id: not sane\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ", "Content-Length: 36\r\n", false);
    put(fd, GET("/evil"));
    bool is_over;
    ck_assert_ptr_null(strstr(get(fd, &is_over), "Set-Cookie"));
    put(fd, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ", "\r\nConnection: close\r\n", true);
    close(fd);
}
END_TEST

START_TEST(version_1_0_closes_unless_asked)
{
    int fd = dial();
    put(fd, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ", "\r\nConnection: keep-alive\r\n", false);
    put(fd, "GET /a HTTP/1.0\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ", "\r\nConnection: close\r\n", true);
    close(fd);
}
END_TEST

START_TEST(pipelined_answers_keep_their_order)
{
    bool is_over;
    int fd = dial();
    put(fd, GET("/hold") POST("/a", "3", "two") GET("/hold") POST("/a", "4", "four"));
    ck_assert_str_eq(get(fd, &is_over), "");
    ck_assert_int_eq(requests, 4);
    answer_held(1, "three");
    ck_assert_str_eq(get(fd, &is_over), "");
    answer_held(0, "one");
    const char *answers = get(fd, &is_over);
    ck_assert_uint_eq(count(answers, "HTTP/1.1 200"), 4);
    ck_assert(strstr(answers, "one") < strstr(answers, "two"));
    ck_assert(strstr(answers, "two") < strstr(answers, "three"));
    ck_assert(strstr(answers, "three") < strstr(answers, "four"));
    close(fd);
}
END_TEST

START_TEST(at_most_32_are_in_work)
{
    bool is_over;
    struct buf burst = {0};
    int fd = dial();
    for (int i = 0; i < 40; i++)
        buf_add_text(&burst, GET("/hold"));
    put_bytes(fd, burst.ptr, burst.len);
    ck_assert_int_eq(held_count, 32);
    for (int i = 0; i < 32; i++)
        answer_held(i, "x");
    ck_assert_uint_eq(count(get(fd, &is_over), "HTTP/1.1 200"), 32);
    ck_assert_int_eq(held_count, 40);
    for (int i = 32; i < 40; i++)
        answer_held(i, "x");
    ck_assert_uint_eq(count(get(fd, &is_over), "HTTP/1.1 200"), 8);
    close(fd);
    buf_fini(&burst);
}
END_TEST

START_TEST(byte_by_byte_is_the_same)
{
    static const char text[] =
        "\r\n" POST("/a", "5", "hello") CHUNKED "3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n";
    bool is_over;
    int fd = dial();
    for (size_t i = 0; i + 1 < sizeof text; i++)
        put_bytes(fd, text + i, 1);
    const char *answers = get(fd, &is_over);
    ck_assert_msg(count(answers, "HTTP/1.1 200") == 2, "%s", answers);
    ck_assert_ptr_nonnull(strstr(answers, "hello"));
    ck_assert_ptr_nonnull(strstr(answers, "abc"));
    close(fd);
}
END_TEST

START_TEST(refusals_end_the_connection)
{
    static const char *const cases[][2] = {
        {"400", "GET / HTTP/1.1\r\n\r\n"},
        {"400", "GET / HTTP/1.1\nHost: x\n\n"},
        {"400", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"},
        {"400", CHUNKED "zz\r\n"},
        {"413", POST("/", "100001", "")},
        {"413", CHUNKED "186A1\r\n"},
        {"501", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"},
        {"505", "GET / HTTP/3.0\r\nHost: x\r\n\r\n"},
        {"417", "GET / HTTP/1.1\r\nHost: x\r\nExpect: money\r\n\r\n"},
    };
    static char rest[100001];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char start[32];
        bool is_over;
        int fd = dial();
        put(fd, cases[i][1]);
        if (strstr(cases[i][1], "186A1"))
            put_bytes(fd, rest, sizeof rest);
        (void)snprintf(start, sizeof start, "HTTP/1.1 %s ", cases[i][0]);
        expect(fd, start, "application/problem+json", true);
        (void)send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL);
        ck_assert_str_eq(get(fd, &is_over), "");
        close(fd);
        rounds(2);
    }
    ck_assert_int_eq(requests, 0);
}
END_TEST

START_TEST(refused_bodies_are_skipped)
{
    int fd = dial();
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 411 ", "\"status\":411", false);
    admit_status = 503;
    put(fd, POST("/a", "5", "hel"));
    expect(fd, "HTTP/1.1 503 ", "Retry-After: 1\r\n", false);
    put(fd, "lo" CHUNKED "2\r\nab\r\n0\r\n\r\n");
    expect(fd, "HTTP/1.1 503 ", "\"request_id\":\"", false);
    admit_status = 0;
    has_no_memory = true;
    put(fd, POST("/a", "5", "hello"));
    expect(fd, "HTTP/1.1 503 ", "no memory", false);
    put(fd, CHUNKED "2\r\nab\r\n0\r\n\r\n");
    expect(fd, "HTTP/1.1 503 ", "no memory", false);
    has_no_memory = false;
    put(fd, POST("/a", "5", "hello"));
    expect(fd, "HTTP/1.1 200 ", "\r\n\r\nhello", false);
    close(fd);
}
END_TEST

START_TEST(expect_continue_is_told)
{
    bool is_over;
    int fd = dial();
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_str_eq(get(fd, &is_over), "HTTP/1.1 100 Continue\r\n\r\n");
    put(fd, "ok");
    expect(fd, "HTTP/1.1 200 ", "\r\n\r\nok", false);
    admit_status = 429;
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, "HTTP/1.1 429 ", "Connection: close", true);
    close(fd);
}
END_TEST

START_TEST(routes_answer_by_themselves)
{
    struct error e = {0};
    bool is_over;
    int fd = dial();
    ck_assert_int_eq(http_server_route(server, "GET /id", NULL, &e), 0);
    ck_assert_int_eq(http_server_route(server, "POST /a", NULL, &e), 0);
    put(fd, GET("/none"));
    expect(fd, "HTTP/1.1 404 Not Found", "application/problem+json", false);
    put(fd, GET("/a"));
    expect(fd, "HTTP/1.1 405 ", "Allow: POST, OPTIONS\r\n", false);
    put(fd, "OPTIONS /id HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 204 ", "Allow: GET, HEAD, OPTIONS\r\n", false);
    put(fd, "HEAD /id HTTP/1.1\r\nHost: x\r\n\r\n");
    const char *answer = get(fd, &is_over);
    ck_assert_ptr_nonnull(strstr(answer, "Content-Length: 36\r\n"));
    ck_assert_str_eq(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    close(fd);
}
END_TEST

START_TEST(slow_requests_and_idle_connections_end)
{
    bool is_over;
    int head = dial(), body = dial(), idle = dial(), working = dial();
    put(head, "GET / HT");
    put(body, POST("/a", "5", "he"));
    put(working, GET("/hold"));
    clock_fake_move(&fake, 29 * S);
    rounds(2);
    ck_assert_str_eq(get(head, &is_over), "");
    ck_assert(!is_over);
    clock_fake_move(&fake, 2 * S);
    rounds(2);
    expect(head, "HTTP/1.1 408 ", "Connection: close", true);
    expect(body, "HTTP/1.1 408 ", "Connection: close", true);
    ck_assert_str_eq(get(idle, &is_over), "");
    ck_assert(!is_over);
    clock_fake_move(&fake, 30 * S);
    rounds(2);
    ck_assert_str_eq(get(idle, &is_over), "");
    ck_assert(is_over);
    answer_held(0, "late");
    expect(working, "HTTP/1.1 200 ", "late", false);
    close(head), close(body), close(idle), close(working);
}
END_TEST

START_TEST(big_bodies_go_both_ways)
{
    static char big[100000];
    bool is_over;
    int fd = dial();
    memset(big, 'q', sizeof big);
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    for (size_t at = 0; at < sizeof big; at += 20000)
        put_bytes(fd, big + at, 20000);
    const char *answer = get(fd, &is_over), *echo = strstr(answer, "\r\n\r\n");
    ck_assert_msg(echo && count(echo, "q") == sizeof big, "%u, %.300s", count(answer, "q"), answer);
    put(fd, GET("/big") GET("/big") POST("/a", "3", "end"));
    const char *answers = get(fd, &is_over);
    ck_assert_uint_eq(strlen(strstr(answers, "\r\n\r\nb")) > 6000000, 1);
    ck_assert_ptr_nonnull(strstr(answers, "\r\n\r\nend"));
    close(fd);
}
END_TEST

START_TEST(client_that_reads_nothing_is_not_read)
{
    int fd = dial();
    for (int i = 0; i < 20; i++)
        put(fd, GET("/big"));
    ck_assert_int_lt(requests, 10);
    clock_fake_move(&fake, 61 * S);
    rounds(2);
    close(fd);
}
END_TEST

START_TEST(clients_may_go_at_any_point)
{
    static const char text[] =
        POST("/hold", "5", "hello") POST("/a", "5", "hello") CHUNKED "3\r\nabc\r\n0\r\n\r\n";
    struct linger now = {1, 0};
    for (size_t n = 0; n < sizeof text; n++) {
        int fd = dial();
        if (n)
            put_bytes(fd, text, n);
        if (n % 2)
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
        rounds(2);
        while (held_count > 0)
            answer_held(--held_count, "to nobody");
        rounds(2);
    }
    ck_assert(http_server_is_idle(server));
}
END_TEST

START_TEST(half_closed_clients_get_their_answer)
{
    int fd = dial();
    put(fd, GET("/hold"));
    (void)shutdown(fd, SHUT_WR);
    rounds(3);
    answer_held(0, "still here");
    expect(fd, "HTTP/1.1 200 ", "still here", true);
    close(fd);
    fd = dial();
    put(fd, POST("/a", "5", "he"));
    (void)shutdown(fd, SHUT_WR);
    expect(fd, "HTTP/1.1 400 ", "ends early", true);
    close(fd);
}
END_TEST

START_TEST(drain_ends_what_is_idle_and_answers_the_rest)
{
    bool is_over;
    int idle = dial(), busy = dial();
    put(busy, GET("/hold"));
    http_server_drain(server);
    (void)get(idle, &is_over);
    ck_assert(is_over);
    ck_assert(!http_server_is_idle(server));
    answer_held(0, "last");
    expect(busy, "HTTP/1.1 200 ", "Connection: close", true);
    ck_assert(http_server_is_idle(server));
    close(idle), close(busy);
}
END_TEST

START_TEST(drain_refuses_who_comes_late)
{
    struct sockaddr_in in = its_address();
    int busy = dial(), late = socket(AF_INET, SOCK_STREAM, 0);
    put(busy, GET("/hold"));
    http_server_drain(server);
    ck_assert_int_eq(connect(late, (const void *)&in, sizeof in), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
    answer_held(0, "last");
    expect(busy, "HTTP/1.1 200 ", "Connection: close", true);
    close(busy), close(late);
}
END_TEST

START_TEST(open_requests_outlive_the_server)
{
    struct error e = {0};
    int fd = dial();
    put(fd, POST("/hold", "2", "ab"));
    http_server_free(server);
    ck_assert_uint_eq(held[0]->call.body->len, 2);
    answer_held(0, "to nobody");
    ck_assert_int_eq(payloads, 0);
    server = http_server_new(loop, &settings, &e);
    close(fd);
}
END_TEST

START_TEST(further_clients_wait_for_room)
{
    struct error e = {0};
    http_server_free(server);
    settings.connections_max = 1;
    server = http_server_new(loop, &settings, &e);
    int first = dial(), second = dial();
    bool is_over;
    put(second, GET("/id"));
    ck_assert_str_eq(get(second, &is_over), "");
    close(first);
    rounds(4);
    expect(second, "HTTP/1.1 200 ", "Content-Length: 36", false);
    close(second);
}
END_TEST

/* ---- addresses ---- */

START_TEST(address_in_use_is_said)
{
    char address[128], expected[256];
    http_server_address(server, address, sizeof address);
    for (int is_shared = 0; is_shared < 2; is_shared++) {
        struct error e = {0};
        struct http_server_settings again = settings;
        again.address = address;
        again.is_shared = is_shared;
        ck_assert_ptr_null(http_server_new(loop, &again, &e));
        ck_assert_int_eq(e.code, EXIT_NOT_AVAILABLE);
        (void)snprintf(
            expected, sizeof expected,
            "listen %s: Address already in use: another process has it; choose another address",
            address);
        ck_assert_str_eq(e.text, expected);
    }
}
END_TEST

START_TEST(shared_addresses_are_shared)
{
    char address[128];
    struct error e = {0};
    struct http_server_settings shared = settings;
    shared.is_shared = true;
    struct http_server *a = http_server_new(loop, &shared, &e);
    ck_assert_msg(a != NULL, "%s", e.text);
    http_server_address(a, address, sizeof address);
    shared.address = address;
    struct http_server *b = http_server_new(loop, &shared, &e);
    ck_assert_msg(b != NULL, "%s", e.text);
    http_server_free(a);
    http_server_free(b);
}
END_TEST

START_TEST(unix_sockets_are_private_and_replaced_when_stale)
{
    const char *tmp = getenv("TMPDIR");
    char dir[64], path[96], address[128];
    struct stat st;
    (void)snprintf(dir, sizeof dir, "%s/weir-net-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/s", dir);
    (void)snprintf(address, sizeof address, "unix:%s", path);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, path, strlen(path) + 1);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(stale, (const void *)&un, sizeof un), 0);
    close(stale);
    struct error e = {0};
    struct http_server_settings on_unix = settings;
    on_unix.address = address;
    struct http_server *u = http_server_new(loop, &on_unix, &e);
    ck_assert_msg(u != NULL, "%s", e.text);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_ptr_null(http_server_new(loop, &on_unix, &e));
    ck_assert_int_eq(e.code, EXIT_NOT_AVAILABLE);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (const void *)&un, sizeof un), 0);
    put(fd, GET("/peer"));
    expect(fd, "HTTP/1.1 200 ", "\r\n\r\nunix", false);
    close(fd);
    http_server_free(u);
    ck_assert_int_ne(stat(path, &st), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(addresses_are_checked)
{
    static const char *const bad[] = {
        "", "3000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "::1:3000", ":3000", "unix:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        struct http_server_settings s = settings;
        s.address = bad[i];
        ck_assert_msg(http_server_new(loop, &s, &e) == NULL, "%s", bad[i]);
        ck_assert_int_eq(e.code, EXIT_CONFIG);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        answers_and_keeps_alive,
        version_1_0_closes_unless_asked,
        pipelined_answers_keep_their_order,
        at_most_32_are_in_work,
        byte_by_byte_is_the_same,
        refusals_end_the_connection,
        refused_bodies_are_skipped,
        expect_continue_is_told,
        routes_answer_by_themselves,
        slow_requests_and_idle_connections_end,
        big_bodies_go_both_ways,
        client_that_reads_nothing_is_not_read,
        clients_may_go_at_any_point,
        half_closed_clients_get_their_answer,
        drain_ends_what_is_idle_and_answers_the_rest,
        drain_refuses_who_comes_late,
        open_requests_outlive_the_server,
        further_clients_wait_for_room,
        address_in_use_is_said,
        shared_addresses_are_shared,
        unix_sockets_are_private_and_replaced_when_stale,
        addresses_are_checked,
    };
    Suite *suite = suite_create("net/server");
    TCase *tc = tcase_create("server");
    tcase_set_timeout(tc, 30);
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
