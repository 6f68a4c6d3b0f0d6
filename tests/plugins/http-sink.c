/* tests/plugins/http-sink.c: the HTTP sink against a client of its own: requests, and what answers mean. */
#include "support.h"

#include <weir/http_client.h>

static struct sent {
    weir_http_request how;
    char body[512], url[128], headers[512];
    const void *arg;
} sent[8];
static size_t sent_count;
static size_t refuse_from; /* the number of the request from which on none can be sent */

static weir_status client_send(const weir_http_client *c, const weir_http_request *r)
{
    const weir_host *h = c->base.owner;
    struct sent *s = &sent[sent_count];
    if (!r->take || sent_count >= refuse_from) {
        weir_test_unref(h, r->take);
        return WEIR_E_RETRY;
    }
    *s = (struct sent){.how = *r, .arg = r->arg};
    (void)snprintf(s->body, sizeof s->body, "%.*s", (int)r->take->len, r->take->ptr);
    (void)snprintf(s->url, sizeof s->url, "%s", r->url);
    for (size_t i = 0, n = 0; i < r->headers.count; i++)
        n += (size_t)snprintf(s->headers + n, sizeof s->headers - n, "%.*s: %.*s\n",
                              (int)r->headers.items[i].key.len, r->headers.items[i].key.ptr,
                              (int)r->headers.items[i].value.len, r->headers.items[i].value.ptr);
    weir_test_unref(h, r->take);
    sent_count++;
    return WEIR_PENDING;
}

static weir_status client_fetch(const weir_http_client *c, const weir_http_request *r,
                                const weir_http_reply **reply)
{
    return WEIR_E_FATAL;
}

static const weir_http_client client = {
    .base = WEIR_OFFER(WEIR_HTTP_CLIENT),
    .send = client_send,
    .fetch = client_fetch,
};

/* The answer to a request, as the host hands it over. */
static void reply(weir_test *t, size_t i, int status, const char *body)
{
    weir_payload payload = {body, strlen(body)};
    const weir_http_reply r = {.status = status,
                               .body = &payload,
                               .error = status ? NULL : "connection refused"};
    weir_test_enter(t);
    weir_status s = sent[i].how.judge(t->self, &t->host, &r, sent[i].arg, NULL);
    if (sent[i].how.batch)
        t->host.done(&t->host, sent[i].how.batch, s);
    weir_test_leave(t);
}

static weir_test *sink(const char *a, const char *b)
{
    weir_test *t =
        weir_test_new(WEIR_TEST_SINK, "http", "url=http://localhost/in", a, a ? b : NULL, NULL);
    weir_test_give(t, &client.base);
    weir_test_give(t, &shapes.base);
    sent_count = 0;
    refuse_from = SIZE_MAX;
    return t;
}

START_TEST(sends_each_event)
{
    weir_test *t = sink("headers={\"x-a\":\"1\"}", "token=secret");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "1"), "@traceparent",
                  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    weir_test_event(t, "2");
    weir_test_event(t, "3");
    ck_assert(weir_test_single(t));
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_uint_eq(sent_count, 3);
    ck_assert_str_eq(sent[1].body, "2");
    ck_assert_str_eq(sent[1].how.method, "POST");
    ck_assert_str_eq(sent[1].how.content_type, "application/json");
    ck_assert_ptr_nonnull(sent[1].how.bearer);
    ck_assert_int_eq(strncmp(sent[1].headers, "x-a: 1\nidempotency-key: 01941f29-", 32), 0);
    ck_assert_ptr_null(strstr(sent[1].headers, "traceparent"));
    ck_assert_ptr_nonnull(strstr(sent[0].headers, "traceparent: 00-0af765"));
    reply(t, 1, 404, "no such thing");
    reply(t, 2, 0, "");
    ck_assert(!weir_test_fate_of(t, 0)->is_settled);
    reply(t, 0, 204, "");
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_OK);
    ck_assert_int_eq(weir_test_fate_of(t, 1)->status, WEIR_E_REJECT);
    ck_assert_str_eq(weir_test_fate_of(t, 1)->why,
                     "POST http://localhost/in: answered 404: no such thing");
    ck_assert_int_eq(weir_test_fate_of(t, 2)->status, WEIR_E_RETRY);
    ck_assert_str_eq(weir_test_fate_of(t, 2)->why, "POST http://localhost/in: connection refused");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(sends_batches)
{
    static const char *const cases[][3] = {
        {"format=ndjson", "{\"a\": 1}\n2\n", "application/x-ndjson"},
        {"format=array", "[{\"a\": 1},2]", "application/json"},
    };
    for (size_t i = 0; i < 2; i++) {
        weir_test *t = sink(cases[i][0], "method=PUT");
        ck_assert_int_eq(weir_test_start(t), WEIR_OK);
        ck_assert(!weir_test_single(t));
        weir_test_event(t, "{\"a\":\n1}");
        weir_test_event(t, "2");
        ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
        ck_assert_uint_eq(sent_count, 1);
        ck_assert_str_eq(sent[0].body, cases[i][1]);
        ck_assert_str_eq(sent[0].how.content_type, cases[i][2]);
        ck_assert_str_eq(sent[0].how.method, "PUT");
        reply(t, 0, i ? 200 : 503, "busy");
        ck_assert_int_eq(weir_test_fate_of(t, 1)->status, i ? WEIR_OK : WEIR_E_RETRY);
        ck_assert(i || weir_test_said(t, "PUT http://localhost/in: answered 503: busy"));
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

START_TEST(sends_envelopes)
{
    weir_test *t = sink("body=envelope", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_str_eq(sent[0].body, "{\"source\":\"\",\"detail\":1}");
    reply(t, 0, 401, "");
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_E_CONFIG);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(marks_what_could_not_be_sent)
{
    weir_test *t = sink(NULL, NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    refuse_from = 1;
    weir_test_event(t, "1");
    weir_test_event(t, "2");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_int_eq(weir_test_fate_of(t, 1)->status, WEIR_E_RETRY);
    reply(t, 0, 200, "");
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_OK);
    refuse_from = 0;
    for (int i = 0; i < 3; i++) {
        weir_test_event(t, "3");
        ck_assert_int_eq(weir_test_push(t), WEIR_OK); /* all are marked */
        ck_assert_int_eq(weir_test_fate_of(t, 2)->status, WEIR_E_RETRY);
    }
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(retries_without_memory)
{
    weir_test *t = sink("format=array", "body=envelope");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    for (long n = 0; n < 3; n++) {
        weir_test_event(t, "1");
        weir_test_event(t, "2");
        weir_test_memory(t, n);
        ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
    }
    ck_assert_uint_eq(sent_count, 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(refuses_wrong_options)
{
    weir_test *t =
        weir_test_new(WEIR_TEST_SINK, "http", "url=localhost", "headers={\"a b\":\"c\"}", NULL);
    weir_test_give(t, &client.base);
    weir_test_give(t, &shapes.base);
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "url: expected a URL that starts with http:// or https://"));
    ck_assert(weir_test_said(t, "headers.a b+1: this is no name of a header"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("http-sink", (const TTest *const[]){
                                      sends_each_event,
                                      sends_batches,
                                      sends_envelopes,
                                      marks_what_could_not_be_sent,
                                      retries_without_memory,
                                      refuses_wrong_options,
                                      NULL,
                                  });
}
