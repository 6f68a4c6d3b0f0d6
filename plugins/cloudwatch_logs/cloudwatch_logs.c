/* cloudwatch_logs/cloudwatch_logs.c: the sink: each event a log event, and the pipeline's metrics. */
#include <stdio.h>
#include <stdlib.h>

#include "cloudwatch_logs.h"

enum { FORMAT_JSON, FORMAT_BODY, FORMAT_ENVELOPE };
enum { ENDPOINT_EMBEDDED, ENDPOINT_AWS };
enum { TIMER_METRICS = 1, LINES_MAX = 10000, LINE_OVERHEAD_BYTES = 26, PUT_MAX_BYTES = 1048576 };
static const int64_t span_max_ns = INT64_C(24) * 3600 * 1000000000,
                     old_max_ns = INT64_C(14) * 24 * 3600 * 1000000000,
                     new_max_ns = INT64_C(2) * 3600 * 1000000000;

struct sink {
    const char *log_group, *log_stream;
    int format, endpoint;
    weir_block metrics;
    const weir_jsons *json;
    const weir_logs *logs;
    const weir_shapes *shapes;
    const weir_metrics *figures;
    struct emf *emf;
    const char *metric_stream;
};

/* ---- check ----------------------------------------------------------------------------------- */

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* 1 to `max` letters, digits and characters of `more`. */
static bool is_named(const char *name, const char *more, size_t max)
{
    size_t n = 0;
    while (name[n] && (strchr(letters, name[n]) || strchr(more, name[n])))
        n++;
    return n && !name[n] && n <= max;
}

static weir_status check_metrics(const struct emf_settings *m, const weir_host *h)
{
    weir_status worst = WEIR_OK;
    if (m->namespace && (!is_named(m->namespace, ".-_/#:", 255) || m->namespace[0] == ':'))
        worst = h->refuse(h, &m->namespace, 0,
                          "namespace %s: expected 1 to 255 of letters, digits and .-_/#:",
                          m->namespace);
    if (m->dimensions.count > 28)
        worst = h->refuse(h, &m->dimensions, 0,
                          "%zu dimensions: CloudWatch takes 30, and two are Weir's own",
                          m->dimensions.count);
    for (size_t i = 0; i < m->dimensions.count; i++) {
        weir_attr d = m->dimensions.items[i];
        if (!d.key.len || d.key.len > 255 || d.key.ptr[0] == ':' || !d.value.len ||
            d.value.len > 1023 || weir_same(d.key, "Stage") || weir_same(d.key, "_aws"))
            worst = h->refuse(h, &m->dimensions, 0,
                              "dimension %.*s: expected a name other than Stage and a value of 1 "
                              "to 1023 bytes",
                              (int)d.key.len, d.key.len ? d.key.ptr : "");
    }
    return worst;
}

static weir_status sink_check(const void *self, const weir_host *h)
{
    const struct sink *k = self;
    weir_status worst = WEIR_OK;
    if (k->endpoint == ENDPOINT_AWS)
        worst = h->refuse(h, &k->endpoint, 0,
                          "logs are kept embedded; endpoint: aws is not there yet: leave it out");
    if (!is_named(k->log_group, ".-_/#", 512))
        worst =
            h->refuse(h, &k->log_group, 0,
                      "log group %s: expected 1 to 512 of letters, digits and .-_/#", k->log_group);
    if (k->log_stream &&
        (!k->log_stream[0] || strlen(k->log_stream) > 500 || strpbrk(k->log_stream, ":*")))
        worst = h->refuse(h, &k->log_stream, 0,
                          "log stream %s: expected 1 to 500 bytes without : and *", k->log_stream);
    if (k->metrics.item && check_metrics(k->metrics.item, h) != WEIR_OK)
        worst = WEIR_E_CONFIG;
    return worst;
}

/* ---- metrics --------------------------------------------------------------------------------- */

struct put {
    const struct sink *sink;
    weir_status worst;
};

static void put_metrics(void *arg, weir_str line)
{
    struct put *p = arg;
    const struct sink *k = p->sink;
    weir_status s =
        k->logs->put(k->logs, k->log_group, k->metric_stream, &(weir_log_line){0, line}, 1);
    if (s < p->worst)
        p->worst = s;
}

static void write_metrics(struct sink *k, const weir_host *h)
{
    struct put p = {.sink = k};
    emf_write(k->emf, h, k->figures, put_metrics, &p);
    if (p.worst != WEIR_OK)
        h->log(h, WEIR_WARN, "metrics of this interval are not in log group %s", k->log_group);
}

static weir_status sink_start(void *self, const weir_host *h)
{
    struct sink *k = self;
    const struct emf_settings *m = k->metrics.item;
    if (!k->log_stream)
        k->log_stream = h->instance;
    if (!m)
        return WEIR_OK;
    size_t n = strlen(k->log_stream) + sizeof "/metrics";
    char *stream = h->keep(h, n);
    (void)snprintf(stream, n, "%s/metrics", k->log_stream);
    k->metric_stream = stream;
    k->emf = emf_new(h, m, k->json);
    h->timer(h, TIMER_METRICS, m->interval);
    return WEIR_OK;
}

static weir_status sink_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    struct sink *k = self;
    if (id != TIMER_METRICS || !k->emf)
        return WEIR_IDLE;
    write_metrics(k, h);
    h->timer(h, TIMER_METRICS, ((const struct emf_settings *)k->metrics.item)->interval);
    return WEIR_IDLE;
}

static void sink_stop(void *self, const weir_host *h)
{
    struct sink *k = self;
    if (k->emf)
        write_metrics(k, h);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void append(char **at, weir_str text)
{
    memcpy(*at, text.len ? text.ptr : "", text.len);
    *at += text.len;
}

struct member {
    const char *before; /* with the comma and the name */
    weir_str text;
};

/* {"time":...,"id":...,"source":...,"type":...,"key":...,"traceparent":...,"detail":...} */
static weir_str as_json(const struct sink *k, const weir_host *h, const weir_event *ev)
{
    size_t at = 0, n = 2;
    weir_str body = {ev->body->ptr, ev->body->len};
    weir_str nothing = {"null", 4};
    struct member members[] = {
        {"\"time\":", h->get(h, ev, "@time")},
        {",\"id\":", h->get(h, ev, "@id")},
        {",\"source\":", ev->source},
        {",\"type\":", ev->type},
        {",\"key\":", ev->key},
        {",\"traceparent\":", h->get(h, ev, "@traceparent")},
        {",\"detail\":", body},
    };
    enum { N = sizeof members / sizeof *members };
    for (size_t i = 0; i < N - 1; i++)
        if (members[i].text.len)
            members[i].text = k->json->quote(k->json, members[i].text);
    if (!body.len)
        members[N - 1].text = nothing;
    else if (k->json->valid(k->json, ev->body, &at) != WEIR_OK)
        members[N - 1].text = k->json->quote(k->json, body);
    for (size_t i = 0; i < N; i++)
        n += strlen(members[i].before) + members[i].text.len;
    char *text = h->scratch(h, n), *end = text;
    append(&end, weir_text("{"));
    for (size_t i = 0; i < N; i++) {
        if (!members[i].text.len)
            continue;
        append(&end, weir_text(members[i].before));
        append(&end, members[i].text);
    }
    append(&end, weir_text("}"));
    return (weir_str){text, (size_t)(end - text)};
}

struct entry { /* one event on its way to the log */
    size_t index;
    weir_log_line line;
    weir_payload *payload; /* that the line is part of, or NULL */
};

/* ptr NULL: past the memory limit. */
static weir_str text_of(const struct sink *k, const weir_host *h, const weir_event *ev,
                        weir_payload **payload)
{
    if (k->format == FORMAT_BODY)
        return (weir_str){ev->body->ptr, ev->body->len};
    if (k->format == FORMAT_JSON)
        return as_json(k, h, ev);
    *payload = k->shapes->envelope(k->shapes, ev);
    return *payload ? (weir_str){(*payload)->ptr, (*payload)->len} : (weir_str){NULL, 0};
}

/* What CloudWatch would refuse as too old or too new is logged at the edge of what it takes. */
static int64_t time_of(const weir_event *ev, int64_t now_ns)
{
    if (ev->time_ns < now_ns - old_max_ns)
        return now_ns - old_max_ns;
    return ev->time_ns > now_ns + new_max_ns ? now_ns + new_max_ns : ev->time_ns;
}

static int by_time(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->line.time_ns != y->line.time_ns)
        return x->line.time_ns < y->line.time_ns ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Fills `entries`; events that no log takes are marked. */
static size_t prepare(const struct sink *k, const weir_host *h, const weir_batch *batch,
                      struct entry *entries)
{
    size_t n = 0;
    int64_t now_ns = h->now(h);
    bool is_sorted = true;
    for (size_t i = 0; i < batch->count; i++) {
        struct entry e = {.index = i};
        e.line.text = text_of(k, h, batch->events[i], &e.payload);
        e.line.time_ns = time_of(batch->events[i], now_ns);
        const char *fault = !e.line.text.ptr   ? "the memory limit is reached"
                            : !e.line.text.len ? "an empty body makes no log event"
                            : e.line.text.len > PUT_MAX_BYTES - LINE_OVERHEAD_BYTES
                                ? "larger than a log event may be: 1048550 bytes"
                                : NULL;
        if (fault) {
            h->mark(h, batch, i, e.line.text.ptr ? WEIR_E_REJECT : WEIR_E_RETRY, fault);
            if (e.payload)
                h->unref(h, e.payload);
            continue;
        }
        is_sorted = is_sorted && (!n || entries[n - 1].line.time_ns <= e.line.time_ns);
        entries[n++] = e;
    }
    if (!is_sorted)
        qsort(entries, n, sizeof *entries, by_time);
    return n;
}

/* How many of the entries go into one call: its bytes, its count, its span of time. */
static size_t cut(const struct entry *entries, size_t count)
{
    size_t n = 0, bytes = 0;
    while (n < count && n < LINES_MAX &&
           entries[n].line.time_ns - entries[0].line.time_ns <= span_max_ns) {
        bytes += entries[n].line.text.len + LINE_OVERHEAD_BYTES;
        if (bytes > PUT_MAX_BYTES)
            break;
        n++;
    }
    return n;
}

static weir_status sink_write(void *self, const weir_host *h, const weir_batch *batch)
{
    const struct sink *k = self;
    struct entry *entries = h->scratch(h, (batch->count + 1) * sizeof *entries);
    weir_log_line *lines = h->scratch(h, (batch->count + 1) * sizeof *lines);
    size_t count = prepare(k, h, batch, entries);
    bool is_whole = count == batch->count && cut(entries, count) == count;
    for (size_t at = 0; at < count;) {
        size_t n = cut(entries + at, count - at);
        for (size_t i = 0; i < n; i++)
            lines[i] = entries[at + i].line;
        weir_status s = k->logs->put(k->logs, k->log_group, k->log_stream, lines, n);
        for (size_t i = at; i < at + n; i++) {
            if (!is_whole)
                h->mark(h, batch, entries[i].index, s, s ? "the log store refused it" : NULL);
            if (entries[i].payload)
                h->unref(h, entries[i].payload);
        }
        if (is_whole && s != WEIR_OK)
            return h->fail(h, s, 0, "the log store refused events for %s", k->log_group);
        at += n;
    }
    return WEIR_OK;
}

static const weir_option metric_options[] = {
    WEIR_OPTION(struct emf_settings, namespace, .preset = "Weir",
                .help = "CloudWatch namespace of the metrics."),
    WEIR_OPTION(struct emf_settings, interval, .preset = "60s", .min = 1e9, .max = 86400e9,
                .help = "How often they are written."),
    WEIR_OPTION(struct emf_settings, dimensions, .help = "Further dimensions, beside Stage."),
    {0},
};

static const weir_option options[] = {
    WEIR_NEED(struct sink, json, WEIR_JSON),
    WEIR_NEED(struct sink, logs, WEIR_LOGS),
    WEIR_NEED(struct sink, shapes, WEIR_SHAPE),
    WEIR_NEED(struct sink, figures, WEIR_METRICS),
    WEIR_OPTION(struct sink, log_group, .required = true,
                .help = "The log group; made if not there."),
    WEIR_OPTION(struct sink, log_stream, .help = "The log stream; the stage's name if absent."),
    WEIR_OPTION(struct sink, format, .choices = "json|body|envelope",
                .help = "A line of time, id, source, type and detail; the body alone; or the event "
                        "as EventBridge has it."),
    WEIR_OPTION(struct sink, metrics, WEIR_ITEMS(struct emf_settings, metric_options),
                .help = "The pipeline's own figures in the embedded metric format."),
    WEIR_OPTION(struct sink, endpoint, .choices = "embedded|aws",
                .help = "Where the logs are; only embedded today."),
    {0},
};

static const weir_component sink = {
    .name = "cloudwatch_logs",
    .version = "1.0",
    .summary = "Writes each event to a log group, and the pipeline's metrics.",
    .state_size = sizeof(struct sink),
    .options = options,
    .check = sink_check,
    .start = sink_start,
    .stop = sink_stop,
    .write = sink_write,
    .tick = sink_tick,
};
WEIR_PLUGIN(&sink);
