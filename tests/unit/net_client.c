/* tests/unit/net_client.c: the client against the own server: answers, and all that can go wrong. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http_client.h"
#include "net/http_server.h"

static struct loop *loop;
static struct http_server *server;
static struct http_client *client;
static char base[128];
static struct http_request *held;

static struct { /* of the last done() */
    int calls, status;
    char body[256], error[256], type[64];
} got;

struct counted {
    weir_payload payload;
    char bytes[];
};

static weir_payload *body_alloc(void *user, size_t n, char **data)
{
    struct counted *c = mem_new(sizeof *c + n);
    c->payload = (weir_payload){c->bytes, n};
    *data = c->bytes;
    return &c->payload;
}

static void body_unref(void *user, weir_payload *p)
{
    mem_free(p);
}

static void on_request(void *user, struct http_request *r)
{
    static char large[5000];
    weir_str mine = http_header(&r->call, "x-mine");
    struct http_answer a = {.status = 200, .content_type = "text/plain"};
    if (weir_same(r->call.path, "/hold")) {
        held = r;
        return;
    }
    a.text = mine.ptr ? mine : (weir_str){r->call.body->ptr, r->call.body->len};
    if (weir_same(r->call.path, "/large")) {
        memset(large, 'x', sizeof large);
        a.text = (weir_str){large, sizeof large};
    }
    if (weir_same(r->call.path, "/moved"))
        a.status = 302;
    http_answer(r, &a);
}

static void on_done(void *user, const struct http_fetch_result *r)
{
    weir_http_call as_call = {.headers = r->headers};
    weir_str type = http_header(&as_call, "content-type");
    got.calls++;
    got.status = r->status;
    (void)snprintf(got.body, sizeof got.body, "%.*s", (int)r->body.len,
                   r->body.len ? r->body.ptr : "");
    (void)snprintf(got.error, sizeof got.error, "%s", r->error ? r->error : "");
    (void)snprintf(got.type, sizeof got.type, "%.*s", (int)type.len, type.len ? type.ptr : "");
}

static void setup(void)
{
    struct error e = {0};
    struct http_server_settings s = {.address = "127.0.0.1:0",
                                     .bodies = {body_alloc, body_unref, NULL},
                                     .request = on_request};
    loop = loop_new(&clock_real);
    server = http_server_new(loop, &s, &e);
    ck_assert_msg(server != NULL, "%s", e.text);
    http_server_address(server, base, sizeof base);
    client = http_client_new(loop, &e);
    ck_assert_msg(client != NULL, "%s", e.text);
    memset(&got, 0, sizeof got);
    held = NULL;
}

static void teardown(void)
{
    http_client_free(client);
    http_server_free(server);
    loop_free(loop);
}

static void start(const char *path, struct http_fetch f)
{
    struct error e = {0};
    char url[256];
    (void)snprintf(url, sizeof url, "http://%s%s", base, path);
    f.url = url;
    f.done = on_done;
    ck_assert_msg(http_client_fetch(client, &f, &e) == 0, "%s", e.text);
    ck_assert_int_eq(got.calls, 0);
}

static void fetch(const char *path, struct http_fetch f)
{
    got.calls = 0;
    start(path, f);
    while (!got.calls)
        (void)loop_round(loop, INT64_C(1000000000));
}

START_TEST(fetches)
{
    weir_attr mine = {weir_text("X-Mine"), weir_text("a value")};
    fetch("/a", (struct http_fetch){.method = "POST", .body = weir_text("hello")});
    ck_assert_str_eq(got.error, "");
    ck_assert_int_eq(got.status, 200);
    ck_assert_str_eq(got.body, "hello");
    ck_assert_str_eq(got.type, "text/plain");
    fetch("/a", (struct http_fetch){.method = "GET", .headers = {1, &mine}});
    ck_assert_str_eq(got.body, "a value");
    fetch("/large", (struct http_fetch){.method = "HEAD"});
    ck_assert_int_eq(got.status, 200);
    ck_assert_str_eq(got.body, "");
    fetch("/a", (struct http_fetch){.method = "DELETE"});
    ck_assert_int_eq(got.status, 200);
    fetch("/moved", (struct http_fetch){.method = "GET"});
    ck_assert_int_eq(got.status, 302);
}
END_TEST

START_TEST(ignores_proxies_of_the_environment)
{
    ck_assert_int_eq(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    fetch("/a", (struct http_fetch){.method = "GET"});
    ck_assert_int_eq(got.status, 200);
}
END_TEST

START_TEST(answers_are_bounded)
{
    fetch("/large", (struct http_fetch){.method = "GET", .answer_max = 4999});
    ck_assert_int_eq(got.status, 0);
    ck_assert_str_eq(got.error, "the answer is over 4999 bytes");
    fetch("/large", (struct http_fetch){.method = "GET", .answer_max = 5000});
    ck_assert_int_eq(got.status, 200);
}
END_TEST

START_TEST(times_out)
{
    fetch("/hold", (struct http_fetch){.method = "GET", .timeout_ns = 30000000});
    ck_assert_int_eq(got.status, 0);
    ck_assert_str_ne(got.error, "");
    while (!held)
        (void)loop_round(loop, 1000000);
    struct http_answer a = {.status = 200};
    http_answer(held, &a);
}
END_TEST

START_TEST(says_what_was_refused)
{
    struct error e = {0};
    http_server_free(server); /* its port is free now */
    server = NULL;
    fetch("/a", (struct http_fetch){.method = "GET"});
    ck_assert_ptr_nonnull(strstr(got.error, "connect"));
    struct http_fetch f = {.method = "GET", .url = "file:///etc/hostname", .done = on_done};
    got.calls = 0;
    ck_assert_int_eq(http_client_fetch(client, &f, &e), 0);
    while (!got.calls)
        (void)loop_round(loop, 1000000);
    ck_assert_ptr_nonnull(strstr(got.error, "file"));
    weir_attr evil = {weir_text("A"), weir_text("b\r\nC: d")};
    f.headers = (weir_pairs){1, &evil};
    ck_assert_int_eq(http_client_fetch(client, &f, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "line break"));
}
END_TEST

static void reset_client(struct loop_watch *w, uint32_t events)
{
    struct linger now = {1, 0};
    int fd = accept(w->fd, NULL, NULL);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(fd);
}

START_TEST(survives_resets)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (const void *)&in, n), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    ck_assert_int_eq(getsockname(fd, (void *)&in, &n), 0);
    struct loop_watch w = {.fd = fd, .events = 1, .fn = reset_client};
    ck_assert_int_eq(loop_add(loop, &w), 0);
    (void)snprintf(base, sizeof base, "127.0.0.1:%u", ntohs(in.sin_port));
    fetch("/a", (struct http_fetch){.method = "GET"});
    ck_assert_int_eq(got.status, 0);
    ck_assert_str_ne(got.error, "");
    loop_remove(loop, &w);
    close(fd);
}
END_TEST

START_TEST(stops_what_is_under_way)
{
    start("/hold", (struct http_fetch){.method = "GET"});
    while (!held)
        (void)loop_round(loop, 1000000);
    http_client_free(client);
    client = NULL;
    ck_assert_int_eq(got.calls, 1);
    ck_assert_str_eq(got.error, "stopped");
    struct http_answer a = {.status = 200};
    http_answer(held, &a);
}
END_TEST

static void *run_loop(void *arg)
{
    loop_run(loop);
    return NULL;
}

START_TEST(waits_without_a_loop)
{
    struct error e = {0};
    pthread_t thread;
    char url[256];
    (void)snprintf(url, sizeof url, "http://%s/a", base);
    struct http_fetch f = {.method = "PUT", .url = url, .body = weir_text("x"), .done = on_done};
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
    ck_assert_int_eq(http_fetch_wait(&f, &e), 0);
    ck_assert_int_eq(got.status, 200);
    ck_assert_str_eq(got.body, "x");
    loop_stop(loop);
    pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        fetches,
        ignores_proxies_of_the_environment,
        answers_are_bounded,
        times_out,
        says_what_was_refused,
        survives_resets,
        stops_what_is_under_way,
        waits_without_a_loop,
    };
    Suite *suite = suite_create("net/client");
    TCase *tc = tcase_create("client");
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
