/* http/sink.c: sends events to a URL, each in a request of its own or a batch in one. */
#include <stdio.h>

#include <weir/http_client.h>
#include <weir/shape.h>

#include "http.h"

enum { FORMAT_JSON, FORMAT_NDJSON, FORMAT_ARRAY };
enum { METHOD_POST, METHOD_PUT, METHOD_PATCH };
enum { BODY_BODY, BODY_ENVELOPE };
enum { UUID_LEN = 36, WHY_MAX = 512, ANSWER_SHOWN = 160 };
static const char *const methods[] = {"POST", "PUT", "PATCH"};

struct flight;

struct request { /* one event under way */
    struct flight *flight;
    size_t index;
};

struct flight { /* a batch whose events are requests of their own */
    struct flight *next;
    const weir_batch *batch;
    size_t left, room;
    struct request *requests;
};

struct sink {
    const char *url, *content_type;
    int method, format, body;
    weir_pairs headers;
    const weir_secret *token;
    weir_duration timeout;
    const weir_http_client *http;
    const weir_shapes *shapes;
    struct flight *free;
};

/* ---- answers ----------------------------------------------------------------------------------- */

static weir_status class_of(const weir_http_reply *reply)
{
    int status = reply->status;
    if (!reply->error && status >= 200 && status < 300)
        return WEIR_OK;
    if (reply->error || status == 408 || status == 425 || status == 429 || status >= 500)
        return WEIR_E_RETRY;
    return status == 401 || status == 403 || status == 407 ? WEIR_E_CONFIG : WEIR_E_REJECT;
}

/* The URL without what may be secret: user and password, and the query. */
static const char *public_url(const struct sink *k, const weir_host *h)
{
    const char *scheme = strstr(k->url, "://");
    const char *host = scheme ? scheme + 3 : k->url;
    size_t authority = strcspn(host, "/?#"), at = authority;
    while (at && host[at - 1] != '@')
        at--;
    int before = (int)(host - k->url), after = (int)strcspn(host + at, "?#");
    char *text = h->scratch(h, strlen(k->url) + 1);
    (void)snprintf(text, strlen(k->url) + 1, "%.*s%.*s", before, k->url, after, host + at);
    return text;
}

static const char *why_of(const struct sink *k, const weir_host *h, const weir_http_reply *reply)
{
    char *why = h->scratch(h, WHY_MAX);
    size_t shown = reply->body->len < ANSWER_SHOWN ? reply->body->len : ANSWER_SHOWN;
    if (reply->error)
        (void)snprintf(why, WHY_MAX, "%s %s: %s", methods[k->method], public_url(k, h),
                       reply->error);
    else
        (void)snprintf(why, WHY_MAX, "%s %s: answered %d%s%.*s", methods[k->method],
                       public_url(k, h), reply->status, shown ? ": " : "", (int)shown,
                       reply->body->ptr);
    return why;
}

static weir_status judge_batch(void *self, const weir_host *h, const weir_http_reply *reply,
                               const void *arg, weir_batch *out)
{
    weir_status s = class_of(reply);
    return s == WEIR_OK ? s : h->fail(h, s, 0, "%s", why_of(self, h, reply));
}

static weir_status judge_event(void *self, const weir_host *h, const weir_http_reply *reply,
                               const void *arg, weir_batch *out)
{
    struct sink *k = self;
    const struct request *r = arg;
    struct flight *f = r->flight;
    weir_status s = class_of(reply);
    h->mark(h, f->batch, r->index, s, s == WEIR_OK ? NULL : why_of(k, h, reply));
    if (--f->left == 0) {
        h->done(h, f->batch, WEIR_OK);
        f->next = k->free;
        k->free = f;
    }
    return s;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static weir_payload *body_of(const struct sink *k, const weir_host *h, const weir_event *ev)
{
    return k->body == BODY_ENVELOPE ? k->shapes->envelope(k->shapes, ev) : h->ref(h, ev->body);
}

static weir_http_request request_to(const struct sink *k, weir_payload *take)
{
    static const char *const types[] = {"application/json", "application/x-ndjson",
                                        "application/json"};
    return (weir_http_request){
        .size = sizeof(weir_http_request),
        .method = methods[k->method],
        .url = k->url,
        .content_type = k->content_type ? k->content_type : types[k->format],
        .headers = k->headers,
        .bearer = k->token,
        .take = take,
        .timeout = k->timeout,
    };
}

static struct flight *flight_new(struct sink *k, const weir_host *h, const weir_batch *batch)
{
    struct flight *f = k->free;
    if (f)
        k->free = f->next;
    else
        f = memset(h->keep(h, sizeof *f), 0, sizeof *f);
    if (f->room < batch->count) { /* at least doubled, so that what is left behind stays bounded */
        f->room = batch->count > 2 * f->room ? batch->count : 2 * f->room;
        f->requests = h->keep(h, f->room * sizeof *f->requests);
    }
    f->batch = batch;
    f->left = batch->count;
    return f;
}

/* The headers of the file, and what lets the receiver know an event that comes twice. */
static weir_pairs headers_of(const struct sink *k, const weir_host *h, const weir_event *ev)
{
    size_t n = k->headers.count;
    weir_attr *headers = h->scratch(h, (n + 2) * sizeof *headers);
    if (n)
        memcpy(headers, k->headers.items, n * sizeof *headers);
    headers[n++] = (weir_attr){weir_text("idempotency-key"), h->get(h, ev, "@id")};
    weir_str trace = h->get(h, ev, "@traceparent");
    if (trace.ptr)
        headers[n++] = (weir_attr){weir_text("traceparent"), trace};
    return (weir_pairs){n, headers};
}

static weir_status send_each(struct sink *k, const weir_host *h, const weir_batch *batch)
{
    struct flight *f = flight_new(k, h, batch);
    for (size_t i = 0; i < batch->count; i++) {
        struct request *r = &f->requests[i];
        *r = (struct request){f, i};
        weir_payload *body = body_of(k, h, batch->events[i]);
        weir_http_request request = request_to(k, body);
        request.headers = headers_of(k, h, batch->events[i]);
        request.judge = judge_event;
        request.arg = r;
        weir_status s = body ? k->http->send(k->http, &request) : WEIR_E_RETRY;
        if (s == WEIR_PENDING)
            continue;
        h->mark(h, batch, i, s,
                body ? "the request could not be sent" : "no memory for the request");
        f->left--;
    }
    if (f->left)
        return WEIR_PENDING;
    f->next = k->free;
    k->free = f;
    return WEIR_OK;
}

/* The bodies as lines, or as one array; NULL past the memory limit. */
static weir_payload *bodies_of(const struct sink *k, const weir_host *h, const weir_batch *batch)
{
    weir_payload **bodies = h->scratch(h, (batch->count + 1) * sizeof(weir_payload *));
    static const char after[] = {'\n', ',', ']'};
    bool is_array = k->format == FORMAT_ARRAY;
    size_t n = 0, room = 2;
    for (; n < batch->count; n++) {
        bodies[n] = body_of(k, h, batch->events[n]);
        if (!bodies[n])
            break;
        room += bodies[n]->len + 1;
    }
    char *at = NULL;
    weir_payload *all = n == batch->count ? h->alloc(h, is_array ? room - 1 : room - 2, &at) : NULL;
    if (all && is_array)
        *at++ = '[';
    for (size_t i = 0; i < n; i++) {
        for (size_t b = 0; all && b < bodies[i]->len; b++) {
            *at = bodies[i]->ptr[b];
            if (*at == '\n' || *at == '\r')
                *at = ' ';
            at++;
        }
        if (all)
            *at++ = after[is_array + (is_array && i + 1 == n)];
        h->unref(h, bodies[i]);
    }
    return all;
}

static weir_status sink_write(void *self, const weir_host *h, const weir_batch *batch)
{
    struct sink *k = self;
    if (k->format == FORMAT_JSON)
        return send_each(k, h, batch);
    weir_payload *bodies = bodies_of(k, h, batch);
    if (!bodies)
        return WEIR_E_RETRY;
    weir_http_request request = request_to(k, bodies);
    request.batch = batch;
    request.judge = judge_batch;
    return k->http->send(k->http, &request);
}

static weir_status sink_start(void *self, const weir_host *h)
{
    const struct sink *k = self;
    if (k->format == FORMAT_JSON)
        h->single(h);
    return WEIR_OK;
}

/* ---- options ----------------------------------------------------------------------------------- */

static weir_status sink_check(const void *self, const weir_host *h)
{
    const struct sink *k = self;
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    weir_status worst = WEIR_OK;
    if (strncmp(k->url, "http://", 7) != 0 && strncmp(k->url, "https://", 8) != 0)
        worst = h->refuse(h, &k->url, 0, "expected a URL that starts with http:// or https://");
    for (size_t i = 0; i < k->headers.count; i++) {
        const weir_attr *header = &k->headers.items[i];
        size_t good = 0;
        while (good < header->key.len && strchr(token, header->key.ptr[good]))
            good++;
        if (!good || good < header->key.len)
            worst = h->refuse(h, &header->key, good, "this is no name of a header");
        else if (memchr(header->value.ptr, '\n', header->value.len))
            worst = h->refuse(h, &header->value, 0, "a header is one line");
    }
    return worst;
}

static const weir_option options[] = {
    WEIR_NEED(struct sink, http, WEIR_HTTP_CLIENT),
    WEIR_NEED(struct sink, shapes, WEIR_SHAPE),
    WEIR_OPTION(struct sink, url, .required = true, .help = "Where to send events."),
    WEIR_OPTION(struct sink, method, .choices = "POST|PUT|PATCH", .preset = "POST",
                .help = "The method of the requests."),
    WEIR_OPTION(struct sink, format, .choices = "json|ndjson|array", .preset = "json",
                .help = "A request for each event, with its id as idempotency-key; or one for each "
                        "batch, as lines or as a JSON array."),
    WEIR_OPTION(struct sink, body, .choices = "body|envelope", .preset = "body",
                .help = "Sends the body alone, or the event as EventBridge's JSON."),
    WEIR_OPTION(struct sink, content_type,
                .help = "application/json, or application/x-ndjson for lines, if absent."),
    WEIR_OPTION(struct sink, headers, .help = "Further headers, by name."),
    WEIR_OPTION(struct sink, token, .help = "Sent as a bearer token."),
    WEIR_OPTION(struct sink, timeout, .preset = "10s", .min = 1e6, .max = 3600e9,
                .help =
                    "How long an answer may take. 2xx is delivered; none, 408, 425, 429 and 5xx "
                    "are tried again, not before Retry-After; 401, 403 and 407 pause the sink "
                    "until they are mended; others are dead letters."),
    {0},
};

const weir_component http_sink = {
    .name = "http",
    .version = "1.0",
    .summary = "Sends events to a URL.",
    .state_size = sizeof(struct sink),
    .options = options,
    .check = sink_check,
    .start = sink_start,
    .write = sink_write,
};
