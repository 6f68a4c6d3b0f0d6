/* tests/plugins/eventbridge-sink.c: what PutEvents is asked, how requests are packed, and each verdict. */
#include "support.h"

#include <weir/aws.h>

enum { SENT_MAX = 64 };

struct weir_aws_client {
    const weir_aws_target *target;
};

static struct sent {
    weir_aws_request how;
    char *body;
    bool is_answered;
} sent[SENT_MAX];
static size_t sent_count;
static weir_status open_status, send_status;

static weir_status aws_open(const weir_aws *a, const weir_host *h, const weir_aws_target *t,
                            weir_aws_client **client)
{
    ck_assert_str_eq(t->service, "events");
    ck_assert_str_eq(t->name, "eventbridge");
    *client = h->keep(h, sizeof **client);
    return open_status;
}

static weir_status aws_send(const weir_aws *a, const weir_host *h, const weir_aws_request *r)
{
    if (send_status != WEIR_PENDING) {
        h->unref(h, r->take);
        return send_status;
    }
    ck_assert_uint_lt(sent_count, SENT_MAX);
    sent[sent_count] = (struct sent){.how = *r};
    sent[sent_count++].body = strndup(r->take->ptr, r->take->len);
    h->unref(h, r->take);
    return WEIR_PENDING;
}

static const weir_aws aws = {.base = WEIR_OFFER(WEIR_AWS), .open = aws_open, .send = aws_send};

static weir_test *sink(const char *a, const char *b)
{
    for (size_t i = 0; i < sent_count; i++)
        free(sent[i].body);
    sent_count = 0;
    open_status = WEIR_OK;
    send_status = WEIR_PENDING;
    weir_test *t =
        weir_test_new(WEIR_TEST_SINK, "eventbridge", "endpoint=aws", a, a ? b : NULL, NULL);
    weir_test_give(t, &aws.base);
    return t;
}

static const weir_event *add(weir_test *t, const char *body)
{
    weir_event *ev = weir_test_event(t, body);
    weir_test_set(t, ev, "@source", "shop");
    weir_test_set(t, ev, "@type", "Placed");
    return ev;
}

static void answer(weir_test *t, size_t i, weir_status status, const char *text)
{
    bool is_good = status == WEIR_OK;
    const weir_aws_reply r = {.status = status,
                              .http_status = is_good ? 200 : 400,
                              .body = weir_text(is_good ? text : ""),
                              .code = "",
                              .message = "",
                              .why = is_good ? "" : text};
    ck_assert(i < sent_count && !sent[i].is_answered);
    sent[i].is_answered = true;
    weir_test_enter(t);
    (void)sent[i].how.judge(t->self, &t->host, &r, sent[i].how.arg, NULL);
    weir_test_leave(t);
}

/* All the entries of a request are taken. */
static void accept(weir_test *t, size_t i, size_t count)
{
    char text[512] = "{\"FailedEntryCount\":0,\"Entries\":[";
    for (size_t n = 0; n < count; n++)
        (void)strcat(text, n ? ",{\"EventId\":\"1\"}" : "{\"EventId\":\"1\"}");
    answer(t, i, WEIR_OK, strcat(text, "]}"));
}

static size_t entries_of(size_t i)
{
    size_t n = 0;
    for (const char *at = sent[i].body; (at = strstr(at, "\"Source\":")); at++)
        n++;
    return n;
}

START_TEST(writes_an_entry)
{
    weir_test *t = sink("bus=orders", "detail_type={@type}.{kind}");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    add(t, "{\"kind\":\"new\",\n\"text\":\"a \\\"b\\\" \\\\ \xc3\xa4\"}");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_uint_eq(sent_count, 1);
    ck_assert_str_eq(sent[0].body,
                     "{\"Entries\":[{\"Source\":\"shop\",\"DetailType\":\"Placed.new\","
                     "\"EventBusName\":\"orders\",\"Time\":1735689600.000,\"Detail\":"
                     "\"{\\\"kind\\\":\\\"new\\\",\\n\\\"text\\\":\\\"a \\\\\\\"b\\\\\\\" "
                     "\\\\\\\\ \xc3\xa4\\\"}\"}]}");
    ck_assert(weir_same(sent[0].how.headers.items[0].value, "AWSEvents.PutEvents"));
    ck_assert_str_eq(sent[0].how.content_type, "application/x-amz-json-1.1");
    accept(t, 0, 1);
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_OK);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(packs_ten_at_a_time)
{
    weir_test *t = sink("parallel=2", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    for (int i = 0; i < 35; i++)
        add(t, "{}");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_uint_eq(sent_count, 2); /* no more at once */
    accept(t, 1, 10);
    ck_assert_uint_eq(sent_count, 3);
    accept(t, 0, 10);
    ck_assert_uint_eq(sent_count, 4);
    ck_assert_uint_eq(entries_of(3), 5);
    accept(t, 2, 10);
    ck_assert(!weir_test_fate_of(t, 34)->is_settled);
    accept(t, 3, 5);
    for (size_t i = 0; i < 35; i++)
        ck_assert_int_eq(weir_test_fate_of(t, i)->status, WEIR_OK);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* An entry counts 14 for its time, and the bytes of shop, Placed, its resources and its detail. */
START_TEST(packs_by_size)
{
    weir_test *t = sink("request_size=1KiB", "resources=[\"arn\"]");
    enum { AROUND = 14 + 4 + 6 + 3 };
    char half[512], full[1024], over[1100];
    (void)snprintf(half, sizeof half, "{\"a\":\"%0*d\"}", 512 - AROUND - 8, 0);
    (void)snprintf(full, sizeof full, "{\"a\":\"%0*d\"}", 1023 - AROUND - 8, 0);
    (void)snprintf(over, sizeof over, "{\"a\":\"%0*d\"}", 1024 - AROUND - 8, 0);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    add(t, half); /* two of 512 are 1024, and that is not less than 1 KiB */
    add(t, half);
    add(t, over);
    add(t, "{}");
    add(t, full);
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert_uint_eq(sent_count, 3);
    ck_assert_uint_eq(entries_of(0), 1);
    ck_assert_uint_eq(entries_of(1), 2);
    ck_assert_uint_eq(entries_of(2), 1);
    ck_assert_int_eq(weir_test_fate_of(t, 2)->status, WEIR_E_REJECT);
    ck_assert_str_eq(weir_test_fate_of(t, 2)->why,
                     "the event has 1024 bytes as PutEvents counts them, and 1024 are the limit");
    accept(t, 0, 1);
    accept(t, 1, 2);
    accept(t, 2, 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(judges_each_event)
{
    weir_test *t = sink(NULL, NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    for (int i = 0; i < 4; i++)
        add(t, "{}");
    weir_test_set(t, weir_test_event(t, "{}"), "@type", "no source");
    add(t, "[1]");
    add(t, "nothing");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    answer(t, 0, WEIR_OK,
           "{\"FailedEntryCount\":3,\"Entries\":[{\"ErrorCode\":\"ThrottlingException\"},"
           "{\"EventId\":\"x\"},{\"ErrorCode\":\"MalformedDetail\",\"ErrorMessage\":\"Detail is "
           "malformed.\"},{}]}");
    static const weir_status expected[] = {WEIR_E_RETRY, WEIR_OK,       WEIR_E_REJECT,
                                           WEIR_E_RETRY, WEIR_E_REJECT, WEIR_E_REJECT,
                                           WEIR_E_REJECT};
    for (size_t i = 0; i < 7; i++)
        ck_assert_msg(weir_test_fate_of(t, i)->status == expected[i], "event %zu: %d", i,
                      (int)weir_test_fate_of(t, i)->status);
    ck_assert_str_eq(weir_test_fate_of(t, 2)->why,
                     "PutEvents: MalformedDetail: Detail is malformed.");
    ck_assert_ptr_nonnull(strstr(weir_test_fate_of(t, 4)->why, "source"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(believes_no_nonsense)
{
    static const char *const bodies[] = {"",
                                         "<html>",
                                         "{}",
                                         "{\"Entries\":{}}",
                                         "{\"Entries\":[]}",
                                         "{\"Entries\":[{\"EventId\":\"x\"},{\"EventId\":\"y\"}]}",
                                         "{\"Entries\":[7]}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        weir_test *t = sink(NULL, NULL);
        ck_assert_int_eq(weir_test_start(t), WEIR_OK);
        add(t, "{}");
        ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
        answer(t, 0, WEIR_OK, bodies[i]);
        ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_E_RETRY);
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

/* What is not allowed for ten events is not asked for the others of the batch. */
START_TEST(stops_where_it_is_not_allowed)
{
    weir_test *t = sink("parallel=1", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    for (int i = 0; i < 25; i++)
        add(t, "{}");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    answer(t, 0, WEIR_E_CONFIG, "AccessDenied");
    ck_assert_uint_eq(sent_count, 1);
    for (size_t i = 0; i < 25; i++)
        ck_assert_int_eq(weir_test_fate_of(t, i)->status, WEIR_E_CONFIG);
    ck_assert_str_eq(weir_test_fate_of(t, 24)->why, "PutEvents: AccessDenied");
    add(t, "{}"); /* the next batch is asked again */
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    answer(t, 1, WEIR_E_RETRY, "throttled");
    ck_assert_int_eq(weir_test_fate_of(t, 25)->status, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(retries_what_could_not_be_sent)
{
    weir_test *t = sink(NULL, NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    send_status = WEIR_E_RETRY;
    for (int i = 0; i < 12; i++)
        add(t, "{}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    for (size_t i = 0; i < 12; i++)
        ck_assert_int_eq(weir_test_fate_of(t, i)->status, WEIR_E_RETRY);
    send_status = WEIR_PENDING;
    weir_test_memory(t, 1);
    add(t, "{}");
    weir_test_memory(t, 0);
    (void)weir_test_push(t);
    ck_assert_int_eq(weir_test_fate_of(t, 12)->status, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(refuses_wrong_options)
{
    weir_test *t = sink("source=a {b", "detail_type=a}");
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "source+2: write a path in braces"));
    ck_assert(weir_test_said(t, "detail_type+1: write a path in braces"));
    ck_assert_int_eq(weir_test_free(t), 0);
    static const char *const wrong[] = {"endpoint=embedded", "endpoint=localhost:4566"};
    for (size_t i = 0; i < 2; i++) {
        t = weir_test_new(WEIR_TEST_SINK, "eventbridge", wrong[i], NULL);
        weir_test_give(t, &aws.base);
        ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
        ck_assert_int_eq(weir_test_free(t), 0);
    }
    t = sink(NULL, NULL);
    open_status = WEIR_E_CONFIG;
    ck_assert_int_eq(weir_test_start(t), WEIR_E_CONFIG);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("eventbridge-sink",
                     (const TTest *const[]){writes_an_entry, packs_ten_at_a_time, packs_by_size,
                                            judges_each_event, believes_no_nonsense,
                                            stops_where_it_is_not_allowed,
                                            retries_what_could_not_be_sent, refuses_wrong_options,
                                            NULL});
}
