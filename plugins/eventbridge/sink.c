/* eventbridge/sink.c: puts events onto an event bus of AWS: PutEvents, ten at a time, each judged alone. */
#include "eventbridge.h"

#include <stdio.h>

#include <weir/aws.h>
#include <weir/json.h>

enum {
    ENTRIES_MAX = 10,  /* of a request */
    REQUESTS_MAX = 16, /* of a batch at once */
    TIME_BYTES = 14,   /* what a Time counts */
    TRACE_BYTES = 80,
    WHY_BYTES = 480,
    TEXT_MAX = 4096, /* of a source or type that a template makes */
};

struct entry {
    weir_str source, type, trace; /* in scratch */
    size_t size;                  /* by AWS's formula */
};

struct flight;
struct request {
    struct flight *flight;
    size_t count, index[ENTRIES_MAX]; /* into the batch */
    struct request *next;             /* free ones */
};

struct flight { /* a batch under way */
    struct flight *next;
    const weir_batch *batch;
    size_t at, under_way; /* the event that is due; requests */
    weir_status stop;     /* not OK: nothing more is sent, all the rest ends with it */
    char why[WHY_BYTES];
    struct request requests[REQUESTS_MAX], *free;
};

struct sink {
    const char *bus, *source, *detail_type, *endpoint, *region;
    weir_strings resources;
    bool trace_header;
    int64_t parallel;
    weir_size request_size;
    weir_duration timeout;
    const weir_aws *aws;
    const weir_jsons *json;
    weir_aws_client *client;
    size_t resources_size;
    struct flight *free;
};

/* ---- templates: {path} is what the event has there -------------------------------------------- */

static bool is_template(const char *text, size_t *at)
{
    for (size_t i = 0; text[i]; i++) {
        size_t n = text[i] == '{' ? strcspn(text + i + 1, "{}") : 0;
        *at = i;
        if (text[i] == '}' || (text[i] == '{' && (!n || text[i + 1 + n] != '}')))
            return false;
        i += text[i] == '{' ? n + 1 : 0;
    }
    return true;
}

/* ptr NULL: what it names is not there, or it is too long. */
static weir_str expand(const weir_host *h, const char *text, const weir_event *ev)
{
    char *out = h->scratch(h, TEXT_MAX), path[256];
    size_t n = 0;
    while (*text) {
        weir_str piece = {text, strcspn(text, "{")};
        if (*text == '{') {
            size_t len = strcspn(text, "}");
            (void)snprintf(path, sizeof path, "%.*s", (int)(len - 1), text + 1);
            piece = h->get(h, ev, path);
            if (!piece.ptr)
                return (weir_str){0};
            text += len + 1;
        } else {
            text += piece.len;
        }
        if (piece.len > TEXT_MAX - n)
            return (weir_str){0};
        memcpy(out + n, piece.ptr, piece.len);
        n += piece.len;
    }
    return (weir_str){out, n};
}

/* ---- one entry -------------------------------------------------------------------------------- */

/* X-Ray's form of the trace: the first eight digits stand apart. */
static weir_str trace_of(const weir_host *h, const weir_event *ev)
{
    weir_str parent = h->get(h, ev, "@traceparent"); /* 00-32 digits-16 digits-flags */
    if (parent.len < 55)
        return (weir_str){0};
    char *text = h->scratch(h, TRACE_BYTES);
    const char *p = parent.ptr;
    int n = snprintf(text, TRACE_BYTES, "Root=1-%.8s-%.24s;Parent=%.16s;Sampled=%d", p + 3, p + 11,
                     p + 36, (p[54] & 1) != 0);
    return (weir_str){text, (size_t)n};
}

/* What the service would refuse is told here, with better words than its own. */
static bool read_entry(const struct sink *k, const weir_host *h, const weir_event *ev,
                       struct entry *e, char why[WHY_BYTES])
{
    size_t at = 0;
    weir_str body = {ev->body->ptr, ev->body->len};
    e->source = expand(h, k->source, ev);
    e->type = expand(h, k->detail_type, ev);
    e->trace = k->trace_header ? trace_of(h, ev) : (weir_str){0};
    e->size = TIME_BYTES + e->source.len + e->type.len + body.len + k->resources_size;
    if (!e->source.len || !e->type.len)
        (void)snprintf(why, WHY_BYTES, "PutEvents needs a %s: the event has nothing for %.100s",
                       e->source.len ? "detail_type" : "source",
                       e->source.len ? k->detail_type : k->source);
    else if (k->json->valid(k->json, ev->body, &at) != WEIR_OK ||
             k->json->kind(k->json, body) != WEIR_JSON_OBJECT)
        (void)snprintf(why, WHY_BYTES, "PutEvents needs a JSON object as detail: the body is none");
    else if (e->size >= k->request_size.bytes)
        (void)snprintf(why, WHY_BYTES,
                       "the event has %zu bytes as PutEvents counts them, and %llu are the limit",
                       e->size, (unsigned long long)k->request_size.bytes);
    else
        return true;
    return false;
}

static char *put(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

static char letter_of(char c)
{
    if (c == '\n')
        return 'n';
    if (c == '\r')
        return 'r';
    if (c == '\t')
        return 't';
    return c;
}

/* As a JSON string; `to` NULL counts alone. */
static size_t quoted(char *to, weir_str text)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    char skip[8];
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        char *at = to ? to + n : skip;
        if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t') {
            at[0] = '\\';
            at[1] = letter_of(text.ptr[i]);
            n += 2;
        } else if (c < 0x20) {
            memcpy(at, "\\u00", 4);
            at[4] = digits[c >> 4];
            at[5] = digits[c & 15];
            n += 6;
        } else {
            at[0] = (char)c;
            n++;
        }
    }
    return n;
}

static char *put_member(char *to, const char *name, weir_str value)
{
    to = put(put(put(to, "\""), name), "\":\"");
    to += quoted(to, value);
    return put(to, "\"");
}

static char *put_entry(const struct sink *k, char *to, const weir_event *ev, const struct entry *e)
{
    char time[48];
    to = put_member(put(to, "{"), "Source", e->source);
    to = put_member(put(to, ","), "DetailType", e->type);
    to = put_member(put(to, ","), "EventBusName", weir_text(k->bus));
    (void)snprintf(time, sizeof time, ",\"Time\":%lld.%03d", (long long)(ev->time_ns / 1000000000),
                   (int)(ev->time_ns / 1000000 % 1000));
    to = put(to, time);
    if (e->trace.len)
        to = put_member(put(to, ","), "TraceHeader", e->trace);
    if (k->resources.count)
        to = put(to, ",\"Resources\":[");
    for (size_t i = 0; i < k->resources.count; i++) {
        to = put(to, i ? ",\"" : "\"");
        to += quoted(to, weir_text(k->resources.items[i]));
        to = put(to, "\"");
    }
    if (k->resources.count)
        to = put(to, "]");
    to = put_member(put(to, ","), "Detail", (weir_str){ev->body->ptr, ev->body->len});
    return put(to, "}");
}

static size_t room_of(const struct sink *k, const weir_event *ev, const struct entry *e)
{
    size_t n = 256 + quoted(NULL, e->source) + quoted(NULL, e->type) + e->trace.len +
               quoted(NULL, weir_text(k->bus)) +
               quoted(NULL, (weir_str){ev->body->ptr, ev->body->len});
    for (size_t i = 0; i < k->resources.count; i++)
        n += 3 + quoted(NULL, weir_text(k->resources.items[i]));
    return n;
}

/* ---- requests --------------------------------------------------------------------------------- */

/* The events from f->at on that fit into one request; those that never can are marked. */
static size_t gather(struct sink *k, const weir_host *h, struct flight *f, struct request *r,
                     struct entry entries[ENTRIES_MAX])
{
    uint64_t size = 0;
    char why[WHY_BYTES];
    r->count = 0;
    for (; f->at < f->batch->count && r->count < ENTRIES_MAX; f->at++) {
        struct entry *e = &entries[r->count];
        if (f->stop != WEIR_OK) {
            h->mark(h, f->batch, f->at, f->stop, f->why);
            continue;
        }
        if (!read_entry(k, h, f->batch->events[f->at], e, why)) {
            h->mark(h, f->batch, f->at, WEIR_E_REJECT, why);
            continue;
        }
        if (r->count && size + e->size >= k->request_size.bytes)
            break;
        size += e->size;
        r->index[r->count++] = f->at;
    }
    return r->count;
}

static weir_payload *body_of(const struct sink *k, const weir_host *h, const struct request *r,
                             const struct entry *entries)
{
    const weir_batch *b = r->flight->batch;
    size_t room = 32, n = 0;
    char *data = NULL;
    for (size_t i = 0; i < r->count; i++)
        room += room_of(k, b->events[r->index[i]], &entries[i]);
    char *text = h->scratch(h, room), *at = put(text, "{\"Entries\":[");
    for (size_t i = 0; i < r->count; i++)
        at = put_entry(k, put(at, i ? "," : ""), b->events[r->index[i]], &entries[i]);
    at = put(at, "]}");
    n = (size_t)(at - text);
    weir_payload *body = h->alloc(h, n, &data);
    if (body)
        memcpy(data, text, n);
    return body;
}

static weir_status judge(void *self, const weir_host *h, const weir_aws_reply *reply,
                         const void *arg, weir_batch *out);

static void mark_all(const weir_host *h, const struct request *r, weir_status s, const char *why)
{
    for (size_t i = 0; i < r->count; i++)
        h->mark(h, r->flight->batch, r->index[i], s, why);
}

/* False: it could not be sent, and its events are marked. */
static bool send_one(struct sink *k, const weir_host *h, struct request *r,
                     const struct entry *entries)
{
    static const weir_attr headers[] = {{{"x-amz-target", 12}, {"AWSEvents.PutEvents", 19}}};
    const weir_aws_request request = {.size = sizeof request,
                                      .client = k->client,
                                      .content_type = "application/x-amz-json-1.1",
                                      .headers = {1, headers},
                                      .take = body_of(k, h, r, entries),
                                      .timeout = k->timeout,
                                      .arg = r,
                                      .judge = judge};
    weir_status s = request.take ? k->aws->send(k->aws, h, &request) : WEIR_E_RETRY;
    if (s == WEIR_PENDING)
        return true;
    mark_all(h, r, s, request.take ? "the request could not be sent" : "no memory for the request");
    return false;
}

static void send_more(struct sink *k, const weir_host *h, struct flight *f)
{
    struct entry entries[ENTRIES_MAX];
    while (f->free && f->at < f->batch->count) {
        struct request *r = f->free;
        if (!gather(k, h, f, r, entries))
            return;
        f->free = r->next;
        if (send_one(k, h, r, entries)) {
            f->under_way++;
            continue;
        }
        r->next = f->free;
        f->free = r;
    }
}

/* ---- answers ---------------------------------------------------------------------------------- */

static bool is_passing(weir_str code)
{
    static const char *const codes[] = {"ThrottlingException",   "Throttling",
                                        "InternalFailure",       "InternalException",
                                        "InternalServerError",   "ServiceUnavailable",
                                        "LimitExceededException"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (weir_same(code, codes[i]))
            return true;
    return false;
}

static weir_str text_of(const struct sink *k, weir_str entry, const char *name)
{
    weir_str value = k->json->find(k->json, entry, name);
    bool is_text = value.ptr && k->json->kind(k->json, value) == WEIR_JSON_TEXT;
    return is_text ? k->json->text(k->json, value) : (weir_str){0};
}

static void mark_entry(const struct sink *k, const weir_host *h, const struct request *r, size_t i,
                       weir_str entry)
{
    char why[WHY_BYTES];
    weir_str code = text_of(k, entry, "ErrorCode"), message = text_of(k, entry, "ErrorMessage");
    if (!code.len && text_of(k, entry, "EventId").len) {
        h->mark(h, r->flight->batch, r->index[i], WEIR_OK, NULL);
        return;
    }
    (void)snprintf(why, sizeof why, "PutEvents: %.*s%s%.*s",
                   (int)(code.len ? code.len < 80 ? code.len : 80 : 31),
                   code.len ? code.ptr : "the entry has neither id nor code",
                   message.len ? ": " : "", (int)(message.len < 240 ? message.len : 240),
                   message.len ? message.ptr : "");
    h->mark(h, r->flight->batch, r->index[i],
            !code.len || is_passing(code) ? WEIR_E_RETRY : WEIR_E_REJECT, why);
}

/* The answers stand in the order of the entries. */
static void mark_entries(const struct sink *k, const weir_host *h, const struct request *r,
                         weir_str body)
{
    size_t at = 0, n = 0;
    weir_json_each each = {.at = 0}, count = {.at = 0};
    weir_str entries = {0};
    if (k->json->check(k->json, body, &at) == WEIR_OK)
        entries = k->json->find(k->json, body, "Entries");
    if (entries.ptr && k->json->kind(k->json, entries) == WEIR_JSON_ARRAY)
        while (k->json->next(k->json, entries, &count))
            n++;
    if (n != r->count) {
        mark_all(h, r, WEIR_E_RETRY, "PutEvents: the answer has not one entry for each event");
        return;
    }
    for (size_t i = 0; k->json->next(k->json, entries, &each); i++)
        mark_entry(k, h, r, i, each.value);
}

static void request_failed(const weir_host *h, const struct request *r, const weir_aws_reply *reply)
{
    char why[WHY_BYTES];
    struct flight *f = r->flight;
    (void)snprintf(why, sizeof why, "PutEvents: %s", reply->why);
    mark_all(h, r, reply->status, why);
    if (reply->status != WEIR_E_CONFIG)
        return;
    f->stop = WEIR_E_CONFIG; /* it would be the same for all others */
    memcpy(f->why, why, sizeof f->why);
}

static weir_status judge(void *self, const weir_host *h, const weir_aws_reply *reply,
                         const void *arg, weir_batch *out)
{
    struct sink *k = self;
    const struct request *told = arg;
    struct flight *f = told->flight;
    struct request *r = &f->requests[told - f->requests];
    if (reply->status == WEIR_OK)
        mark_entries(k, h, r, reply->body);
    else
        request_failed(h, r, reply);
    r->next = f->free;
    f->free = r;
    f->under_way--;
    send_more(k, h, f);
    if (f->under_way)
        return reply->status;
    h->done(h, f->batch, WEIR_OK);
    f->next = k->free;
    k->free = f;
    return reply->status;
}

static weir_status sink_write(void *self, const weir_host *h, const weir_batch *batch)
{
    struct sink *k = self;
    struct flight *f = k->free;
    if (f)
        k->free = f->next;
    else
        f = h->keep(h, sizeof *f);
    *f = (struct flight){.batch = batch};
    for (int64_t i = 0; i < k->parallel; i++) {
        f->requests[i] = (struct request){.flight = f, .next = f->free};
        f->free = &f->requests[i];
    }
    send_more(k, h, f);
    if (f->under_way)
        return WEIR_PENDING;
    f->next = k->free;
    k->free = f;
    return WEIR_OK;
}

/* ---- options ---------------------------------------------------------------------------------- */

static weir_status sink_check(const void *self, const weir_host *h)
{
    const struct sink *k = self;
    weir_status worst = WEIR_OK;
    size_t at = 0;
    if (!k->endpoint || strcmp(k->endpoint, "embedded") == 0)
        worst =
            h->refuse(h, &k->endpoint, 0,
                      "this sink puts events onto a bus of AWS, so endpoint is aws or a URL; the "
                      "bus inside of a pipeline is the transform eventbridge");
    else if (strcmp(k->endpoint, "aws") != 0 && strncmp(k->endpoint, "http://", 7) != 0 &&
             strncmp(k->endpoint, "https://", 8) != 0)
        worst = h->refuse(h, &k->endpoint, 0,
                          "expected aws or a URL that starts with http:// or "
                          "https://");
    if (!is_template(k->source, &at))
        worst = h->refuse(h, &k->source, at, "write a path in braces, such as {@source}");
    if (!is_template(k->detail_type, &at))
        worst = h->refuse(h, &k->detail_type, at, "write a path in braces, such as {@type}");
    return worst;
}

static weir_status sink_start(void *self, const weir_host *h)
{
    struct sink *k = self;
    const weir_aws_target target = {.size = sizeof target,
                                    .service = "events",
                                    .name = "eventbridge",
                                    .endpoint = k->endpoint,
                                    .region = k->region};
    for (size_t i = 0; i < k->resources.count; i++)
        k->resources_size += strlen(k->resources.items[i]);
    return k->aws->open(k->aws, h, &target, &k->client);
}

static const weir_option options[] = {
    WEIR_NEED(struct sink, aws, WEIR_AWS),
    WEIR_NEED(struct sink, json, WEIR_JSON),
    WEIR_OPTION(struct sink, endpoint,
                .help =
                    "aws, or the URL of what speaks like it; if absent, that of the aws block."),
    WEIR_OPTION(struct sink, region,
                .help = "The bus's region; if absent: of the aws block, of AWS_REGION, of the "
                        "profile, of the instance."),
    WEIR_OPTION(struct sink, bus, .preset = "default", .min = 1, .max = 1600,
                .help = "Name or ARN of the event bus."),
    WEIR_OPTION(struct sink, source, .preset = "{@source}", .min = 1, .max = 1024,
                .help = "Source of the events; {path} is what the event has there, as {@source} or "
                        "{shop.name}."),
    WEIR_OPTION(struct sink, detail_type, .preset = "{@type}", .min = 1, .max = 1024,
                .help = "Their detail-type, in the same way."),
    WEIR_OPTION(struct sink, resources, .help = "ARNs that the events are about."),
    WEIR_OPTION(struct sink, trace_header, .preset = "true",
                .help = "Passes the trace on in X-Ray's form (TraceHeader)."),
    WEIR_OPTION(struct sink, request_size, .preset = "1MiB", .min = 1024, .max = 1048576,
                .help = "Entries of one request have less than this, as PutEvents counts; 256KiB "
                        "for endpoints that have the older limit."),
    WEIR_OPTION(struct sink, parallel, .preset = "4", .min = 1, .max = REQUESTS_MAX,
                .help = "Requests of one batch that are under way at once; each has up to 10 "
                        "events."),
    WEIR_OPTION(struct sink, timeout, .preset = "10s", .min = 1e6, .max = 3600e9,
                .help = "How long an answer may take."),
    {0},
};

const weir_component eventbridge_sink = {
    .name = "eventbridge",
    .version = "1.0",
    .summary = "Puts events onto an event bus of AWS (PutEvents).",
    .state_size = sizeof(struct sink),
    .options = options,
    .check = sink_check,
    .start = sink_start,
    .write = sink_write,
};
