/* http/source.c: HTTP ingest: a request becomes an event and is answered when the core says what became
 * of it. */
#include <stdarg.h>
#include <stdio.h>

#include "answer.h"
#include "http.h"
#include "source.h"

enum { RESPOND_ACCEPTED, RESPOND_DELIVERED, RESPOND_RESULT };
static const uint32_t when[] = {WEIR_WHEN_DURABLE, WEIR_WHEN_SETTLED, WEIR_WHEN_RESULT};

enum { PENDING_AT_ONCE = 64, ATTRIBUTE_MAX = 80 };
enum { DEADLINES = 1 };
#define DEADLINES_NS INT64_C(250000000)

/* ---- answers ----------------------------------------------------------------------------------- */

static void answer_with(const struct source *s, const weir_host *h, weir_http_call *take,
                        struct problem *p)
{
    static const weir_attr retry_after = {{"retry-after", 11}, {"1", 1}};
    p->instance = take->path;
    weir_http_answer a = {
        .size = sizeof a,
        .status = p->status,
        .content_type = "application/problem+json",
        .headers = {p->status == 503, &retry_after},
        .text = answer_problem(h, s->json, p),
    };
    s->server->answer(s->server, take, &a);
}

weir_status source_refuse(const struct source *s, const weir_host *h, weir_http_call *take,
                          struct problem *p, const char *fmt, ...)
{
    const struct worker *w = h->worker;
    char detail[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    p->detail = weir_text(detail);
    answer_with(s, h, take, p);
    h->observe(h, w->refused, 1);
    return WEIR_IDLE;
}

/* ---- a request --------------------------------------------------------------------------------- */

static void set_params(const weir_host *h, weir_event *ev, const weir_http_call *call)
{
    char name[ATTRIBUTE_MAX];
    for (size_t i = 0; i < call->params.count; i++) {
        weir_str key = call->params.items[i].key;
        int n = snprintf(name, sizeof name, "@path.%.*s", (int)key.len, key.ptr);
        if (n > 0 && (size_t)n < sizeof name)
            h->set(h, ev, name, call->params.items[i].value);
    }
}

static struct pending *pending_new(const weir_host *h)
{
    struct worker *w = h->worker;
    if (!w->free) {
        struct pending *more = h->keep(h, PENDING_AT_ONCE * sizeof *more);
        for (size_t i = 0; i < PENDING_AT_ONCE; i++) {
            more[i].next = w->free;
            w->free = &more[i];
        }
    }
    struct pending *p = w->free;
    w->free = p->next;
    return p;
}

static void pending_free(const weir_host *h, struct pending *p)
{
    struct worker *w = h->worker;
    if (p->is_timed) {
        p->before->next = p->next;
        p->next->before = p->before;
    }
    p->next = w->free;
    w->free = p;
}

static void pending_time(const weir_host *h, struct pending *p)
{
    struct worker *w = h->worker;
    if (w->timed.next == &w->timed)
        h->timer(h, DEADLINES, (weir_duration){DEADLINES_NS});
    p->is_timed = true;
    p->until_ns = h->now(h) + p->route->timeout.ns;
    p->next = &w->timed;
    p->before = w->timed.before;
    p->before->next = p;
    w->timed.before = p;
}

/* IDLE: the request was refused and answered. */
static weir_status examine(const struct source *s, const weir_host *h, weir_http_call *call,
                           const struct route *r, const struct headers *headers)
{
    struct problem wrong = {.status = 400, .title = "Bad Request"};
    size_t at = 0;
    if (!headers_is_json(headers->content_type)) {
        wrong.status = 415;
        wrong.title = "Unsupported Media Type";
        if (!headers->content_type.len)
            return source_refuse(s, h, call, &wrong,
                                 "content-type is missing: expected application/json");
        return source_refuse(s, h, call, &wrong, "content-type %.*s: expected application/json",
                             (int)(headers->content_type.len < 80 ? headers->content_type.len : 80),
                             headers->content_type.ptr);
    }
    if (headers->encoding.len && !weir_same(headers->encoding, "identity")) {
        wrong.status = 415;
        wrong.title = "Unsupported Media Type";
        return source_refuse(s, h, call, &wrong, "content-encoding %.*s: send the body as it is",
                             (int)(headers->encoding.len < 80 ? headers->encoding.len : 80),
                             headers->encoding.ptr);
    }
    if (!call->body->len)
        return source_refuse(s, h, call, &wrong, "the body is empty: expected JSON");
    if (s->json->valid(s->json, call->body, &at) != WEIR_OK)
        return at < call->body->len
                   ? source_refuse(
                         s, h, call, &wrong,
                         "the body is no JSON in UTF-8, or nested too deep, from byte %zu on", at)
                   : source_refuse(s, h, call, &wrong,
                                   "the body is no whole JSON: it ends at byte %zu", at);
    const weir_schema *schema = s->compiled[r - (const struct route *)s->routes.items];
    weir_str body = {call->body->ptr, call->body->len};
    size_t n = schema ? s->schemas->test(s->schemas, schema, body, &wrong.violations) : 0;
    if (!n)
        return WEIR_OK;
    wrong.violation_count = n;
    return source_refuse(s, h, call, &wrong, "%zu violation%s of the schema", n, n == 1 ? "" : "s");
}

static void set_trace(const weir_host *h, weir_event *ev, struct pending *p, weir_str traceparent)
{
    if (!traceparent.ptr || !headers_is_traceparent(traceparent))
        return;
    p->is_traced = true;
    headers_continue_trace(p->traceparent, traceparent.ptr, &p->id);
    h->set(h, ev, "@traceparent", (weir_str){p->traceparent, TRACEPARENT_LEN});
}

static weir_status source_request(void *self, const weir_host *h, weir_http_call *take,
                                  const void *arg, weir_batch *out)
{
    const struct source *s = self;
    const struct route *r = arg;
    const struct headers headers = headers_read(take);
    weir_status good = examine(s, h, take, r, &headers);
    const weir_windows *windows = source_windows(s);
    weir_claim *claim = NULL;
    if (good == WEIR_OK)
        good = idempotency_claim(s, h, take, r, &claim);
    if (good != WEIR_OK)
        return good;
    weir_payload *body = h->ref(h, take->body);
    if (!body) {
        if (claim && windows)
            windows->release(windows, claim);
        return h->fail(h, WEIR_E_RETRY, 0, "no memory for the event");
    }
    struct pending *p = pending_new(h);
    weir_event *ev = h->add(h, out, body);
    if (claim && windows)
        windows->attach(windows, claim, ev);
    *p = (struct pending){.call = take, .route = r, .id = ev->id};
    h->set(h, ev, "@source", weir_text(r->source));
    h->set(h, ev, "@type", weir_text(r->type));
    if (take->params.count)
        set_params(h, ev, take);
    if (headers_is_request_id(headers.request_id))
        h->set(h, ev, "@request_id", headers.request_id);
    set_trace(h, ev, p, headers.traceparent);
    weir_str key = r->key ? h->get(h, ev, r->key) : (weir_str){NULL, 0};
    if (key.len)
        h->set(h, ev, "@key", key);
    pending_time(h, p);
    out->cookie_ptr = p;
    out->when = when[r->respond];
    return WEIR_OK;
}

static weir_status source_health(void *self, const weir_host *h, weir_http_call *take,
                                 const void *arg, weir_batch *out)
{
    const struct source *s = self;
    s->server->answer(s->server, take,
                      WEIR_SIZED(weir_http_answer, .status = 200,
                                 .text = {"{\"status\":\"ok\"}", 15}));
    return WEIR_IDLE;
}

/* ---- its settlement ---------------------------------------------------------------------------- */

static void answer_failed(const struct source *s, const weir_host *h, struct pending *p,
                          const weir_verdict *v)
{
    struct problem wrong = {.status = 503, .title = "Service Unavailable", .event = &p->id};
    char detail[512];
    if (v->error == WEIR_E_REJECT) {
        wrong.status = 422;
        wrong.title = "Unprocessable Content";
    } else if (v->is_dead_lettered) {
        wrong.status = 502;
        wrong.title = "Bad Gateway";
    }
    (void)snprintf(detail, sizeof detail, "%s%s%s%s", v->stage ? v->stage : "",
                   v->stage ? ": " : "", v->why ? v->why : "the event failed",
                   v->is_dead_lettered ? "; the event is kept as a dead letter" : "");
    wrong.detail = weir_text(detail);
    answer_with(s, h, p->call, &wrong);
}

static const char *word_for(const struct pending *p, weir_outcome outcome)
{
    if (p->route->respond == RESPOND_ACCEPTED || outcome == WEIR_DURABLE)
        return "accepted";
    return outcome == WEIR_FILTERED ? "filtered" : "delivered";
}

static void source_settled(void *self, const weir_host *h, const weir_settlement *done)
{
    const struct source *s = self;
    struct pending *p = done->cookie_ptr;
    const weir_verdict *v = done->events[0];
    char text[ACCEPTED_MAX], id[UUID_LEN];
    weir_attr headers[2];
    if (!p->call) { /* its time was up */
        pending_free(h, p);
        return;
    }
    if (v->outcome == WEIR_FAILED) {
        answer_failed(s, h, p, v);
        pending_free(h, p);
        return;
    }
    bool is_later = p->route->respond != RESPOND_ACCEPTED && v->outcome == WEIR_DURABLE;
    weir_http_answer a = {.size = sizeof a,
                          .status = is_later ? 202 : 200,
                          .headers = {0, headers}};
    if (p->is_traced)
        headers[a.headers.count++] =
            (weir_attr){{"traceparent", 11}, {p->traceparent, TRACEPARENT_LEN}};
    if (p->route->respond == RESPOND_RESULT && v->result) {
        answer_uuid(id, &p->id);
        headers[a.headers.count++] = (weir_attr){{"x-event-id", 10}, {id, UUID_LEN}};
        a.take = h->ref(h, v->result->body);
    }
    if (!a.take)
        a.text = (weir_str){text, answer_event(text, &p->id, word_for(p, v->outcome))};
    s->server->answer(s->server, p->call, &a);
    pending_free(h, p);
}

/* Answers those that have waited long enough; their events go on. */
static weir_status source_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    const struct source *s = self;
    struct worker *w = h->worker;
    struct problem late = {.status = 504, .title = "Gateway Timeout"};
    int64_t now = h->now(h);
    for (struct pending *p = w->timed.next; p != &w->timed; p = p->next) {
        if (!p->call || p->until_ns > now)
            continue;
        late.event = &p->id;
        late.detail = weir_text(p->route->respond == RESPOND_ACCEPTED
                                    ? "the event is not on disk yet and may still get there"
                                    : "the event is not settled yet and goes on");
        answer_with(s, h, p->call, &late);
        p->call = NULL;
        h->observe(h, w->late, 1);
    }
    if (w->timed.next != &w->timed)
        h->timer(h, DEADLINES, (weir_duration){DEADLINES_NS});
    return WEIR_IDLE;
}

static weir_status source_pull(void *self, const weir_host *h, weir_batch *out)
{
    return WEIR_IDLE; /* events come in by request */
}

/* ---- routes ------------------------------------------------------------------------------------ */

static weir_status load_schemas(const struct source *s, weir_schema **compiled)
{
    const struct route *routes = s->routes.items;
    weir_status worst = WEIR_OK;
    for (size_t i = 0; i < s->routes.count; i++)
        if (routes[i].schema &&
            s->schemas->load(s->schemas, &routes[i].schema, &compiled[i]) != WEIR_OK)
            worst = WEIR_E_CONFIG;
    return worst;
}

static weir_status check_route(const struct source *s, const weir_host *h, size_t i)
{
    static const char *const methods[] = {"POST ", "PUT ", "PATCH "};
    const char *name = s->routes.names[i], *path = NULL;
    for (size_t k = 0; k < sizeof methods / sizeof methods[0]; k++)
        if (strncmp(name, methods[k], strlen(methods[k])) == 0)
            path = name + strlen(methods[k]);
    if (!path)
        return h->refuse(h, &s->routes.names[i], 0,
                         "expected POST, PUT or PATCH and a path, such as POST /users/{id}");
    if (*path != '/' || strpbrk(path, " \t?#"))
        return h->refuse(h, &s->routes.names[i], (size_t)(path - name),
                         "expected a path that starts with / and has neither space, ? nor #");
    for (const char *at = path; (at = strchr(at, '{')); at++) {
        size_t len = strcspn(at + 1, "{}/");
        if (at[-1] != '/' || !len || at[len + 1] != '}' || (at[len + 2] && at[len + 2] != '/'))
            return h->refuse(h, &s->routes.names[i], (size_t)(at - name),
                             "a parameter takes a whole part of the path, such as /{id}/");
    }
    return WEIR_OK;
}

/* Without a stage that gives it there would never be a result, and each answer would be silent. */
static weir_status check_respond(const struct source *s, const weir_host *h, size_t i)
{
    const struct route *route = (const struct route *)s->routes.items + i;
    const weir_pipeline *place = s->pipeline.count ? s->pipeline.items[0] : NULL;
    if (route->respond != RESPOND_RESULT || !place || !WEIR_HAS(place, has_result) ||
        place->has_result(place, h))
        return WEIR_OK;
    return h->refuse(h, &route->respond, 0,
                     "no stage gives a result: name the transform whose answer it is with result: "
                     "STAGE beside routes, or respond: delivered");
}

static weir_status source_check(const void *self, const weir_host *h)
{
    const struct source *s = self;
    weir_status worst = WEIR_OK;
    for (size_t i = 0; i < s->routes.count; i++)
        if (check_route(s, h, i) != WEIR_OK || check_respond(s, h, i) != WEIR_OK)
            worst = WEIR_E_CONFIG;
    weir_schema **compiled = h->scratch(h, (s->routes.count + 1) * sizeof(weir_schema *));
    return load_schemas(s, compiled) == WEIR_OK ? worst : WEIR_E_CONFIG;
}

static weir_status source_start(void *self, const weir_host *h)
{
    struct source *s = self;
    const struct route *routes = s->routes.items;
    weir_http_listener *at = NULL;
    s->compiled = h->keep(h, (s->routes.count + 1) * sizeof(weir_schema *));
    memset(s->compiled, 0, (s->routes.count + 1) * sizeof(weir_schema *));
    weir_status is = idempotency_open(s, h);
    if (is == WEIR_OK)
        is = load_schemas(s, s->compiled);
    if (is == WEIR_OK)
        is = s->server->listen(s->server,
                               WEIR_SIZED(weir_http_listen, .address = s->listen,
                                          .body_max = s->body_max, .timeout = s->timeout),
                               &at);
    for (size_t i = 0; is == WEIR_OK && i < s->routes.count; i++) {
        is = s->server->route(s->server, at,
                              WEIR_SIZED(weir_http_route, .pattern = s->routes.names[i],
                                         .request = source_request, .arg = &routes[i]));
        if (is != WEIR_OK)
            return h->refuse(h, &s->routes.names[i], 0,
                             "the server does not take this route: is it there twice?");
    }
    if (is == WEIR_OK)
        is = s->server->route(s->server, at,
                              WEIR_SIZED(weir_http_route, .pattern = "GET /health",
                                         .request = source_health));
    return is;
}

static weir_status source_worker_start(void *self, const weir_host *h)
{
    struct worker *w = h->worker;
    w->timed.next = w->timed.before = &w->timed;
    w->refused = h->metric(h, WEIR_COUNTER, "refused",
                           "Requests that were no JSON or against their schema.");
    w->replayed = h->metric(h, WEIR_COUNTER, "replayed",
                            "Requests whose key had come before: answered as the first was.");
    w->late = h->metric(h, WEIR_COUNTER, "late",
                        "Requests that were answered before their event was settled.");
    return WEIR_OK;
}

static const weir_option idempotency_options[] = {
    WEIR_OPTION(struct idempotency, enabled, .preset = "true",
                .help = "Whether the header is looked at."),
    WEIR_OPTION(struct idempotency, header, .preset = "Idempotency-Key", .min = 1,
                .max = HEADER_MAX, .help = "The header that has the key."),
    WEIR_OPTION(struct idempotency, required, .help = "Answers requests without a key with 400."),
    WEIR_OPTION(struct idempotency, window, .preset = "24h", .min = 1e9, .max = 31.0 * 86400e9,
                .help = "How long a key is known."),
    WEIR_OPTION(struct idempotency, max_keys, .preset = "100000", .min = 1, .max = 1e7,
                .help = "Of more the oldest are forgotten; 60 bytes of memory each."),
    {0},
};

static const weir_option route_options[] = {
    WEIR_OPTION(struct route, type, .required = true,
                .help = "The events' type, as detail-type in patterns."),
    WEIR_OPTION(struct route, source, .preset = "http", .help = "The events' source."),
    WEIR_OPTION(struct route, schema,
                .help = "File with the JSON Schema of the body; what violates it is answered with "
                        "400 and all violations."),
    WEIR_OPTION(struct route, key,
                .help = "Path of what orders events, such as user.id or @path.id."),
    WEIR_OPTION(struct route, respond, .choices = "accepted|delivered|result", .preset = "accepted",
                .help =
                    "Answers once the event is on disk; once all sinks have it; or with the body "
                    "of the pipeline's result."),
    WEIR_OPTION(struct route, timeout, .preset = "30s", .min = 1e6, .max = 3600e9,
                .help = "How long a request waits for its answer; then that is 504 with the "
                        "event's id, and the event goes on."),
    WEIR_OPTION(struct route, idempotency, WEIR_ITEMS(struct idempotency, idempotency_options),
                .help = "A request whose key came before gets the answer of the first, and makes "
                        "no event."),
    {0},
};

static const weir_option options[] = {
    WEIR_NEED(struct source, server, WEIR_HTTP_SERVER),
    WEIR_NEED(struct source, pipeline, WEIR_PIPELINE),
    WEIR_NEED(struct source, windows, WEIR_WINDOW),
    WEIR_NEED(struct source, json, WEIR_JSON),
    WEIR_NEED(struct source, schemas, WEIR_SCHEMA),
    WEIR_OPTION(struct source, listen, .preset = "127.0.0.1:3000", .format = WEIR_FORMAT_ADDRESS,
                .help = "Where to listen: host:port, or unix:/path."),
    WEIR_OPTION(struct source, body_max, .preset = "1MiB", .min = 1, .max = 1024.0 * 1048576,
                .format = WEIR_FORMAT_EVENT_MAX, .help = "Larger requests are answered with 413."),
    WEIR_OPTION(struct source, timeout, .preset = "30s", .min = 1e6, .max = 3600e9,
                .help = "How long a request may take to come in."),
    WEIR_OPTION(struct source, routes, WEIR_ITEMS(struct route, route_options), .required = true,
                .help = "By method and path, such as POST /users/{id}; a parameter becomes the "
                        "attribute path.id, the header x-request-id the attribute request_id."),
    {0},
};

const weir_component http_source = {
    .name = "http",
    .version = "1.0",
    .summary = "Takes events from HTTP requests; answers 200 once they are on disk.",
    .flags = WEIR_PARALLEL,
    .state_size = sizeof(struct source),
    .worker_size = sizeof(struct worker),
    .options = options,
    .check = source_check,
    .start = source_start,
    .worker_start = source_worker_start,
    .pull = source_pull,
    .settled = source_settled,
    .tick = source_tick,
};
