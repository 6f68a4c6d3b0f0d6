/* cloudwatch_logs/emf.c: the pipeline's figures in CloudWatch's embedded metric format.
 *
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 * One line for the figures of a stage that share a further label, at most 100 of them. CloudWatch adds
 * up what it is told, so counters are told as what was added; of a histogram the mean and the count. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "cloudwatch_logs.h"

enum { METRICS_PER_LINE = 100, FIGURES_MAX = 8192, BUCKETS = 1024 };

struct figure { /* one sample, and what it was when it was told last */
    struct figure *next, *same_hash;
    char *name, *stage, *label, *label_value; /* label "": none */
    int kind;
    double value, told_value;
    uint64_t count, told_count;
    bool is_fresh, is_written;
};

struct emf {
    const struct emf_settings *settings;
    const weir_jsons *json;
    const weir_host *h;
    struct figure *first, **end, *buckets[BUCKETS];
    size_t figures;
};

struct emf *emf_new(const weir_host *h, const struct emf_settings *settings, const weir_jsons *json)
{
    struct emf *e = h->keep(h, sizeof *e);
    *e = (struct emf){.settings = settings, .json = json};
    e->end = &e->first;
    return e;
}

/* ---- samples --------------------------------------------------------------------------------- */

static char *kept_text(const weir_host *h, const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(h->keep(h, n), text, n);
}

static uint32_t hash(uint32_t seed, const char *text)
{
    for (; *text; text++)
        seed = (seed ^ (unsigned char)*text) * 16777619u;
    return (seed ^ 0xffu) * 16777619u;
}

static bool is_of(const struct figure *f, const weir_sample *s, const char *label,
                  const char *label_value)
{
    return strcmp(f->name, s->name) == 0 && strcmp(f->label, label) == 0 &&
           strcmp(f->label_value, label_value) == 0;
}

static void take_sample(void *arg, const weir_sample *s)
{
    struct emf *e = arg;
    const char *label = s->label ? s->label : "", *value = s->label_value ? s->label_value : "";
    const char *stage = s->stage ? s->stage : "";
    uint32_t at = hash(hash(hash(hash(2166136261u, s->name), stage), label), value) % BUCKETS;
    struct figure *f = e->buckets[at];
    while (f && !(strcmp(f->stage, stage) == 0 && is_of(f, s, label, value)))
        f = f->same_hash;
    if (!f && e->figures < FIGURES_MAX) {
        const weir_host *h = e->h;
        f = h->keep(h, sizeof *f);
        *f = (struct figure){.same_hash = e->buckets[at], .kind = s->kind};
        f->name = kept_text(h, s->name);
        f->stage = kept_text(h, stage);
        f->label = kept_text(h, label);
        f->label_value = kept_text(h, value);
        e->buckets[at] = f;
        *e->end = f;
        e->end = &f->next;
        e->figures++;
    }
    if (!f)
        return;
    f->value = s->value;
    f->count = s->count;
    f->is_fresh = isfinite(s->value) != 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

struct text { /* grows in scratch memory */
    const weir_host *h;
    char *data;
    size_t used, capacity;
};

static void append(struct text *t, weir_str s)
{
    if (!s.len)
        return;
    if (t->used + s.len > t->capacity) {
        size_t capacity = t->capacity ? t->capacity : 1024;
        while (capacity < t->used + s.len)
            capacity *= 2;
        char *data = t->h->scratch(t->h, capacity);
        if (t->used)
            memcpy(data, t->data, t->used);
        t->data = data;
        t->capacity = capacity;
    }
    memcpy(t->data + t->used, s.ptr, s.len);
    t->used += s.len;
}

static void appendf(struct text *t, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void appendf(struct text *t, const char *fmt, ...)
{
    char part[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(part, sizeof part, fmt, args);
    va_end(args);
    append(t, (weir_str){part, n < 0 ? 0 : (size_t)n < sizeof part ? (size_t)n : sizeof part - 1});
}

static void quote(const struct emf *e, struct text *t, const char *text)
{
    append(t, e->json->quote(e->json, weir_text(text)));
}

static const char *unit_of(const struct figure *f)
{
    if (strstr(f->name, "seconds"))
        return "Seconds";
    if (strstr(f->name, "bytes"))
        return "Bytes";
    return f->kind == WEIR_COUNTER ? "Count" : "None";
}

struct line {
    struct text names, values; /* the Metrics array, and the root members */
    size_t metrics;
};

static void add_metric(const struct emf *e, struct line *l, const char *name, const char *unit,
                       double value)
{
    appendf(&l->names, "%s{\"Name\":", l->metrics ? "," : "");
    quote(e, &l->names, name);
    appendf(&l->names, ",\"Unit\":\"%s\"}", unit);
    append(&l->values, weir_text(","));
    quote(e, &l->values, name);
    appendf(&l->values, ":%.15g", value);
    l->metrics++;
}

/* Since the last time; a counter that is less than it was has begun anew. */
static double added(double now, double before)
{
    return now >= before ? now - before : now;
}

static void add_figure(const struct emf *e, struct line *l, struct figure *f)
{
    f->is_written = true;
    if (f->kind == WEIR_GAUGE)
        add_metric(e, l, f->name, unit_of(f), f->value);
    else if (f->kind == WEIR_COUNTER)
        add_metric(e, l, f->name, unit_of(f), added(f->value, f->told_value));
    else if (f->count != f->told_count) {
        char name[256];
        bool is_anew = f->count < f->told_count;
        uint64_t count = f->count - (is_anew ? 0 : f->told_count);
        add_metric(e, l, f->name, unit_of(f),
                   (f->value - (is_anew ? 0 : f->told_value)) / (double)count);
        (void)snprintf(name, sizeof name, "%s_count", f->name);
        add_metric(e, l, name, "Count", (double)count);
    }
    f->told_value = f->value;
    f->told_count = f->count;
}

static bool are_together(const struct figure *a, const struct figure *b)
{
    return strcmp(a->stage, b->stage) == 0 && strcmp(a->label, b->label) == 0 &&
           strcmp(a->label_value, b->label_value) == 0;
}

struct dimensions {
    struct text names, members;
    size_t count;
};

static void add_dimension(const struct emf *e, struct dimensions *d, weir_str name, weir_str value)
{
    if (!value.len)
        return;
    append(&d->names, weir_text(d->count ? "," : ""));
    append(&d->names, e->json->quote(e->json, name));
    append(&d->members, weir_text(","));
    append(&d->members, e->json->quote(e->json, name));
    append(&d->members, weir_text(":"));
    append(&d->members, e->json->quote(e->json, value));
    d->count++;
}

static void finish(const struct emf *e, const struct line *l, const struct figure *f,
                   struct text *out)
{
    const weir_pairs *own = &e->settings->dimensions;
    struct dimensions d = {.names = {.h = e->h}, .members = {.h = e->h}};
    add_dimension(e, &d, weir_text("Stage"), weir_text(f->stage));
    if (f->label[0])
        add_dimension(e, &d, weir_text(f->label), weir_text(f->label_value));
    for (size_t i = 0; i < own->count; i++)
        add_dimension(e, &d, own->items[i].key, own->items[i].value);
    appendf(out, "{\"_aws\":{\"Timestamp\":%" PRId64 ",\"CloudWatchMetrics\":[{\"Namespace\":",
            e->h->now(e->h) / 1000000);
    quote(e, out, e->settings->namespace);
    append(out, weir_text(",\"Dimensions\":[["));
    append(out, (weir_str){d.names.data, d.names.used});
    append(out, weir_text("]],\"Metrics\":["));
    append(out, (weir_str){l->names.data, l->names.used});
    append(out, weir_text("]}]}"));
    append(out, (weir_str){d.members.data, d.members.used});
    append(out, (weir_str){l->values.data, l->values.used});
    append(out, weir_text("}"));
}

/* The line that starts with figure f: all that go together with it and are not written yet. */
static bool write_line(struct emf *e, struct figure *f, struct text *out)
{
    struct line l = {.names = {.h = e->h}, .values = {.h = e->h}};
    for (struct figure *other = f; other; other = other->next)
        if (other->is_fresh && !other->is_written && l.metrics + 2 <= METRICS_PER_LINE &&
            are_together(f, other))
            add_figure(e, &l, other);
    if (l.metrics)
        finish(e, &l, f, out);
    return l.metrics > 0;
}

void emf_write(struct emf *e, const weir_host *h, const weir_metrics *metrics,
               void (*put)(void *arg, weir_str line), void *arg)
{
    e->h = h;
    for (struct figure *f = e->first; f; f = f->next)
        f->is_fresh = f->is_written = false;
    metrics->each(metrics, take_sample, e);
    for (struct figure *f = e->first; f; f = f->next) {
        struct text line = {.h = h};
        if (f->is_fresh && !f->is_written && write_line(e, f, &line))
            put(arg, (weir_str){line.data, line.used});
    }
}
