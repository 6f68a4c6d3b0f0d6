/* tests/plugins/http.c: the HTTP source against a server of its own: what is refused, and each answer. */
#include "support.h"

#include <weir/http_server.h>
#include <weir/schema.h>

/* ---- a server: keeps routes, and the last answer ------------------------------------------------- */

struct weir_http_listener {
    weir_http_listen how;
};
static struct weir_http_listener listener;
static weir_http_route routes[8];
static size_t route_count;

static struct answer {
    int status;
    size_t count; /* of answers */
    char text[8192], type[64], headers[1024];
} answered;

struct call {
    weir_http_call pub; /* first */
    weir_attr headers[4], params[2];
    bool is_over;
};

static weir_status server_listen(const weir_http_server *s, const weir_http_listen *how,
                                 weir_http_listener **made)
{
    listener.how = *how;
    route_count = 0;
    *made = &listener;
    return WEIR_OK;
}

static weir_status server_route(const weir_http_server *s, weir_http_listener *l,
                                const weir_http_route *r)
{
    for (size_t i = 0; i < route_count; i++)
        if (strcmp(routes[i].pattern, r->pattern) == 0)
            return WEIR_E_CONFIG;
    routes[route_count++] = *r;
    return WEIR_OK;
}

static void server_answer(const weir_http_server *s, weir_http_call *take,
                          const weir_http_answer *a)
{
    struct call *call = (struct call *)(void *)take;
    weir_str body = a->take ? (weir_str){a->take->ptr, a->take->len} : a->text;
    ck_assert(!call->is_over);
    call->is_over = true;
    answered.count++;
    answered.status = a->status;
    (void)snprintf(answered.text, sizeof answered.text, "%.*s", (int)body.len, body.ptr);
    (void)snprintf(answered.type, sizeof answered.type, "%s",
                   a->content_type ? a->content_type : "application/json");
    answered.headers[0] = '\0';
    for (size_t i = 0, n = 0; i < a->headers.count; i++)
        n += (size_t)snprintf(answered.headers + n, sizeof answered.headers - n, "%.*s: %.*s\n",
                              (int)a->headers.items[i].key.len, a->headers.items[i].key.ptr,
                              (int)a->headers.items[i].value.len, a->headers.items[i].value.ptr);
    weir_test_unref(s->base.owner, a->take);
    weir_test_unref(s->base.owner, take->body);
}

static const weir_http_server server = {
    .base = WEIR_OFFER(WEIR_HTTP_SERVER),
    .listen = server_listen,
    .route = server_route,
    .answer = server_answer,
};

/* ---- a schema: `bad` is a violation, each time ---------------------------------------------------- */

struct weir_schema {
    char unused;
};

static weir_status schema_load(const weir_schemas *s, const char *const *member,
                               weir_schema **schema)
{
    static weir_schema one;
    *schema = &one;
    if (strcmp(*member, "none.json") == 0)
        return s->base.owner->refuse(s->base.owner, member, 0, "open none.json: not found");
    return WEIR_OK;
}

static weir_status schema_compile(const weir_schemas *s, const weir_json *member,
                                  weir_schema **schema)
{
    return WEIR_E_CONFIG;
}

static size_t schema_test(const weir_schemas *s, const weir_schema *schema, weir_str text,
                          const weir_violation *const **first)
{
    static const weir_violation email = {{"/email", 6}, "format", "must be an e-mail address"},
                                name = {{"/\"", 2}, "type", "must be text"};
    static const weir_violation *const all[] = {&email, &name};
    *first = all;
    return memmem(text.ptr, text.len, "bad", 3) ? 2 : 0;
}

static const weir_schemas schemas = {
    .base = WEIR_OFFER(WEIR_SCHEMA),
    .load = schema_load,
    .compile = schema_compile,
    .test = schema_test,
};

/* ---- requests ------------------------------------------------------------------------------------ */

static struct call calls[16];
static size_t call_count;

static weir_test *source(const char *options)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "http", options, NULL);
    weir_test_give(t, &server.base);
    weir_test_give(t, &schemas.base);
    memset(&answered, 0, sizeof answered);
    call_count = 0;
    return t;
}

static weir_test *users(const char *respond)
{
    char options[512];
    (void)snprintf(options, sizeof options,
                   "routes={\"POST /users/{id}\":{\"type\":\"UserCreated\",\"source\":\"users\","
                   "\"schema\":\"user.json\",\"key\":\"email\",\"respond\":\"%s\","
                   "\"timeout\":\"2s\"}}",
                   respond);
    weir_test *t = source(options);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    return t;
}

static weir_status post(weir_test *t, const char *type, const char *traceparent, const char *body)
{
    struct call *c = &calls[call_count++];
    struct weir_test_payload *p = weir_test_payload_new(t, strlen(body));
    memcpy(p->bytes, body, strlen(body));
    *c = (struct call){.pub = {.method = "POST", .path = {"/users/7", 8}, .body = &p->pub}};
    c->pub.headers = (weir_pairs){type ? 2 : 1, c->headers};
    c->headers[0] = (weir_attr){weir_text("x-request-id"), weir_text("r-1")};
    c->headers[1] = (weir_attr){weir_text("content-type"), type ? weir_text(type) : (weir_str){0}};
    if (traceparent)
        c->headers[c->pub.headers.count++] =
            (weir_attr){weir_text("traceparent"), weir_text(traceparent)};
    c->params[0] = (weir_attr){weir_text("id"), weir_text("7")};
    c->pub.params = (weir_pairs){1, c->params};
    weir_batch *out = weir_test_begin(t);
    weir_status s = routes[0].request(t->self, &t->host, &c->pub, routes[0].arg, out);
    s = weir_test_end(t, out, s);
    if (s < WEIR_OK) { /* the server answers itself */
        c->is_over = true;
        weir_test_unref(&t->host, c->pub.body);
    }
    return s;
}

static const char *const json = "application/json; charset=utf-8";

START_TEST(refuses_what_is_no_json)
{
    static const struct {
        const char *type, *body;
        int status;
        const char *detail;
    } cases[] = {
        {NULL, "{}", 415, "content-type is missing: expected application/json"},
        {"text/plain", "{}", 415, "content-type text/plain: expected application/json"},
        {"application/jsonp", "{}", 415, "content-type application/jsonp: expected"},
        {"application/json", "", 400, "the body is empty: expected JSON"},
        {"Application/JSON ;x", "{\"a\":1,}", 400,
         "no JSON in UTF-8, or nested too deep, from byte 7 on"},
        {"application/json", "{\"a\":", 400, "no whole JSON: it ends at byte 5"},
        {"application/problem+json", "{\"a\":\"\xff\"}", 400,
         "no JSON in UTF-8, or nested too deep, from byte 6 on"},
    };
    weir_test *t = users("accepted");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(post(t, cases[i].type, NULL, cases[i].body), WEIR_IDLE);
        ck_assert_int_eq(answered.status, cases[i].status);
        ck_assert_str_eq(answered.type, "application/problem+json");
        ck_assert_msg(strstr(answered.text, cases[i].detail) != NULL, "%s", answered.text);
        ck_assert_ptr_nonnull(strstr(answered.text, "\"instance\":\"/users/7\""));
    }
    ck_assert_double_eq(weir_test_metric(t, "refused"), 7);
    ck_assert_uint_eq(weir_test_flight_count(t), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(tells_all_violations)
{
    weir_test *t = users("accepted");
    ck_assert_int_eq(post(t, json, NULL, "{\"email\":\"bad\"}"), WEIR_IDLE);
    ck_assert_int_eq(answered.status, 400);
    ck_assert_str_eq(
        answered.text,
        "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":"
        "\"2 violations of the schema\",\"instance\":\"/users/7\",\"errors\":["
        "{\"pointer\":\"/email\",\"detail\":\"must be an e-mail address\",\"keyword\":\"format\"},"
        "{\"pointer\":\"/\\\"\",\"detail\":\"must be text\",\"keyword\":\"type\"}]}");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(makes_an_event)
{
    weir_test *t = users("accepted");
    const char *trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    ck_assert_int_eq(post(t, json, trace, "{\"email\":\"a@b\"}"), WEIR_OK);
    const weir_batch *b = weir_test_flight(t, 0);
    const weir_event *ev = b->events[0];
    ck_assert_uint_eq(b->when, WEIR_WHEN_DURABLE);
    ck_assert_str_eq(weir_test_value(t, ev, "@source"), "users");
    ck_assert_str_eq(weir_test_value(t, ev, "@type"), "UserCreated");
    ck_assert_str_eq(weir_test_value(t, ev, "@key"), "a@b");
    ck_assert_str_eq(weir_test_value(t, ev, "@path.id"), "7");
    ck_assert_str_eq(weir_test_value(t, ev, "@request_id"), "r-1");
    ck_assert_ptr_eq(ev->body, calls[0].pub.body); /* not copied */
    const char *own = weir_test_value(t, ev, "@traceparent");
    ck_assert_int_eq(strncmp(own, trace, 36), 0);
    ck_assert_int_ne(strncmp(own + 36, trace + 36, 16), 0);
    const char *id = weir_test_value(t, ev, "@id");
    weir_test_settle(t, 0, WEIR_DURABLE, WEIR_OK);
    ck_assert_int_eq(answered.status, 200);
    char expected[256];
    (void)snprintf(expected, sizeof expected, "{\"event_id\":\"%s\",\"status\":\"accepted\"}", id);
    ck_assert_str_eq(answered.text, expected);
    (void)snprintf(expected, sizeof expected, "traceparent: %s\n", own);
    ck_assert_str_eq(answered.headers, expected);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(ignores_a_wrong_traceparent)
{
    static const char *const wrong[] = {
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "",
    };
    weir_test *t = users("accepted");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_int_eq(post(t, json, wrong[i], "1"), WEIR_OK);
        ck_assert_ptr_null(weir_test_value(t, weir_test_flight(t, i)->events[0], "@traceparent"));
        weir_test_settle(t, i, WEIR_DURABLE, WEIR_OK);
        ck_assert_str_eq(answered.headers, "");
    }
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(answers_what_became_of_it)
{
    static const struct {
        const char *respond;
        weir_verdict verdict;
        int status;
        const char *text;
    } cases[] = {
        {"accepted", {.outcome = WEIR_FILTERED}, 200, "\"status\":\"accepted\""},
        {"delivered", {.outcome = WEIR_DELIVERED}, 200, "\"status\":\"delivered\""},
        {"delivered", {.outcome = WEIR_FILTERED}, 200, "\"status\":\"filtered\""},
        {"delivered", {.outcome = WEIR_DURABLE}, 202, "\"status\":\"accepted\""},
        {"result", {.outcome = WEIR_DELIVERED}, 200, "\"status\":\"delivered\""},
        {"delivered",
         {.error = WEIR_E_REJECT, .why = "no \"user\"", .stage = "fn"},
         422,
         "\"detail\":\"fn: no \\\"user\\\"\""},
        {"delivered",
         {.error = WEIR_E_RETRY, .why = "down", .stage = "db", .is_dead_lettered = true},
         502,
         "\"detail\":\"db: down; the event is kept as a dead letter\""},
        {"accepted", {.error = WEIR_E_RETRY, .why = "disk full"}, 503, "\"detail\":\"disk full\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_test *t = users(cases[i].respond);
        ck_assert_int_eq(post(t, json, NULL, "{}"), WEIR_OK);
        ck_assert_uint_eq(answered.count, 0);
        weir_test_settle_as(t, 0, &cases[i].verdict);
        ck_assert_int_eq(answered.status, cases[i].status);
        ck_assert_msg(strstr(answered.text, cases[i].text) != NULL, "%s", answered.text);
        ck_assert_str_eq(answered.headers, cases[i].status == 503 ? "retry-after: 1\n" : "");
        ck_assert_ptr_nonnull(strstr(answered.text, "\"event_id\":\"01941f29-"));
        ck_assert_int_eq(weir_test_free(t), 0);
        ck_assert_uint_eq(answered.count, 1);
    }
}
END_TEST

START_TEST(answers_with_the_result)
{
    weir_test *t = users("result");
    ck_assert_int_eq(post(t, json, NULL, "{}"), WEIR_OK);
    ck_assert_uint_eq(weir_test_flight(t, 0)->when, WEIR_WHEN_RESULT);
    struct weir_test_payload *p = weir_test_payload_new(t, 1);
    p->bytes[0] = '5';
    const weir_event result = {.body = &p->pub};
    weir_test_settle_as(t, 0, &(weir_verdict){.outcome = WEIR_DELIVERED, .result = &result});
    weir_test_unref(&t->host, &p->pub);
    ck_assert_int_eq(answered.status, 200);
    ck_assert_str_eq(answered.text, "5");
    ck_assert_int_eq(strncmp(answered.headers, "x-event-id: 01941f29-", 21), 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(does_not_wait_for_ever)
{
    weir_test *t = users("delivered");
    ck_assert_int_eq(post(t, json, NULL, "{}"), WEIR_OK);
    weir_test_move(t, 1000000000);
    ck_assert_int_eq(post(t, json, NULL, "{}"), WEIR_OK);
    weir_test_move(t, 1500000000);
    ck_assert_uint_eq(answered.count, 1);
    ck_assert_int_eq(answered.status, 504);
    ck_assert_double_eq(weir_test_metric(t, "late"), 1);
    weir_test_settle(t, 0, WEIR_DELIVERED, WEIR_OK);
    ck_assert_uint_eq(answered.count, 1);
    weir_test_settle(t, 1, WEIR_DELIVERED, WEIR_OK);
    ck_assert_uint_eq(answered.count, 2);
    ck_assert_int_eq(answered.status, 200);
    weir_test_move(t, 10000000000);
    ck_assert_uint_eq(answered.count, 2);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(answers_all_at_shutdown)
{
    weir_test *t = users("delivered");
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(post(t, json, NULL, "{}"), WEIR_OK);
    weir_test_stop(t);
    ck_assert_uint_eq(answered.count, 5);
    ck_assert_int_eq(answered.status, 202);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(is_healthy)
{
    weir_test *t = users("accepted");
    ck_assert_uint_eq(route_count, 2);
    ck_assert_str_eq(routes[1].pattern, "GET /health");
    routes[0] = routes[1];
    ck_assert_int_eq(post(t, NULL, NULL, ""), WEIR_IDLE);
    ck_assert_int_eq(answered.status, 200);
    ck_assert_str_eq(answered.text, "{\"status\":\"ok\"}");
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(refuses_wrong_routes)
{
    static const char *const cases[][2] = {
        {"routes={\"GET /a\":{\"type\":\"T\"}}", "routes.GET /a: expected POST, PUT or PATCH"},
        {"routes={\"POST a\":{\"type\":\"T\"}}", "routes.POST a+5: expected a path"},
        {"routes={\"POST /a?b\":{\"type\":\"T\"}}", "expected a path that starts with /"},
        {"routes={\"POST /a{b}\":{\"type\":\"T\"}}", "routes.POST /a{b}+7: a parameter takes"},
        {"routes={\"POST /{}/b\":{\"type\":\"T\"}}", "+6: a parameter takes a whole part"},
        {"routes={\"POST /{b\":{\"type\":\"T\"}}", "+6: a parameter takes a whole part"},
        {"routes={\"POST /a\":{\"type\":\"T\",\"schema\":\"none.json\"}}",
         "routes.POST /a.schema: open none.json: not found"},
        {"routes={\"POST /a\":{}}", "routes.POST /a.type: is required"},
        {"routes={\"POST /a\":{\"type\":\"T\",\"respond\":\"now\"}}",
         "routes.POST /a.respond: now"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_test *t = source(cases[i][0]);
        ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
        ck_assert_msg(weir_test_said(t, cases[i][1]), "%s: %s", cases[i][0], weir_test_text(t));
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

int main(void)
{
    return run_tests("http", (const TTest *const[]){
                                 refuses_what_is_no_json,
                                 tells_all_violations,
                                 makes_an_event,
                                 ignores_a_wrong_traceparent,
                                 answers_what_became_of_it,
                                 answers_with_the_result,
                                 does_not_wait_for_ever,
                                 answers_all_at_shutdown,
                                 is_healthy,
                                 refuses_wrong_routes,
                                 NULL,
                             });
}
