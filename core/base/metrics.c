/* base/metrics.c: the registry of figures, and how Prometheus reads them. */
#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

struct metrics {
    pthread_mutex_t lock;
    weir_metric *first; /* sorted by name, then stage and label */
};

struct metrics *metrics_new(void)
{
    struct metrics *m = MEM_NEW(struct metrics);
    (void)pthread_mutex_init(&m->lock, NULL);
    return m;
}

static void metric_free(weir_metric *w)
{
    mem_free(w->name);
    mem_free(w->help);
    mem_free(w->stage);
    mem_free(w->label);
    mem_free(w->label_value);
    mem_free(w);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    while (m->first) {
        weir_metric *next = m->first->next;
        metric_free(m->first);
        m->first = next;
    }
    (void)pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

static int order(const weir_metric *w, const struct metric_key *key)
{
    int by = strcmp(w->name, key->name);
    if (!by)
        by = strcmp(w->stage, key->stage ? key->stage : "");
    return by ? by
              : strcmp(w->label_value ? w->label_value : "",
                       key->label_value ? key->label_value : "");
}

static weir_metric *metric_new(const struct metric_key *key)
{
    weir_metric *w = MEM_NEW(weir_metric);
    w->kind = key->kind;
    w->name = mem_text(key->name);
    w->help = mem_text(key->help);
    w->stage = mem_text(key->stage ? key->stage : "");
    w->label = key->label ? mem_text(key->label) : NULL;
    w->label_value = key->label_value ? mem_text(key->label_value) : NULL;
    return w;
}

weir_metric *metrics_get(struct metrics *m, const struct metric_key *key)
{
    (void)pthread_mutex_lock(&m->lock);
    weir_metric **at = &m->first;
    while (*at && order(*at, key) < 0)
        at = &(*at)->next;
    weir_metric *found = *at;
    if (!found || order(found, key) != 0) {
        found = metric_new(key);
        found->next = *at;
        *at = found;
    }
    (void)pthread_mutex_unlock(&m->lock);
    return found;
}

void metrics_forget(struct metrics *m, const char *stage)
{
    (void)pthread_mutex_lock(&m->lock);
    for (weir_metric **at = &m->first; *at;) {
        weir_metric *w = *at;
        if (strcmp(w->stage, stage) != 0) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        metric_free(w);
    }
    (void)pthread_mutex_unlock(&m->lock);
}

void metrics_each(struct metrics *m, void (*fn)(void *arg, const weir_metric *w), void *arg)
{
    (void)pthread_mutex_lock(&m->lock);
    for (const weir_metric *w = m->first; w; w = w->next)
        fn(arg, w);
    (void)pthread_mutex_unlock(&m->lock);
}

static void add_double(weir_metric *m, double n)
{
    double old = atomic_load_explicit(&m->value, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&m->value, &old, old + n, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

void metric_set(weir_metric *m, double value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

static int bucket_of(double seconds)
{
    double limit = 10e-6;
    int i = 0;
    while (i < METRIC_BUCKETS - 1 && seconds > limit)
        limit *= 2, i++;
    return i;
}

void metric_observe(weir_metric *m, double value)
{
    if (m->kind == WEIR_GAUGE) {
        metric_set(m, value);
        return;
    }
    if (m->kind == WEIR_COUNTER) {
        uint64_t whole = value > 0 ? (uint64_t)value : 0;
        metric_add(m, whole);
        if (value > (double)whole)
            add_double(m, value - (double)whole);
        return;
    }
    add_double(m, value);
    metric_add(m, 1);
    atomic_fetch_add_explicit(&m->buckets[bucket_of(value)], 1, memory_order_relaxed);
}

double metric_value(const weir_metric *m)
{
    double value = atomic_load_explicit(&m->value, memory_order_relaxed);
    if (m->kind == WEIR_COUNTER)
        value += (double)atomic_load_explicit(&m->count, memory_order_relaxed);
    return value;
}

static void print_labels(struct buf *out, const weir_metric *w, const char *le)
{
    const char *comma = "";
    if (!*w->stage && !w->label && !le)
        return;
    buf_add_char(out, '{');
    if (*w->stage)
        buf_print(out, "stage=\"%s\"", w->stage), comma = ",";
    if (w->label)
        buf_print(out, "%s%s=\"%s\"", comma, w->label, w->label_value), comma = ",";
    if (le)
        buf_print(out, "%sle=\"%s\"", comma, le);
    buf_add_char(out, '}');
}

static void print_histogram(struct buf *out, const weir_metric *w)
{
    uint64_t sum = 0;
    double limit = 5e-6;
    char le[32];
    for (int i = 0; i < METRIC_BUCKETS; i++) {
        limit *= 2;
        sum += atomic_load_explicit(&w->buckets[i], memory_order_relaxed);
        (void)snprintf(le, sizeof le, "%g", limit);
        buf_print(out, "%s_bucket", w->name);
        print_labels(out, w, i == METRIC_BUCKETS - 1 ? "+Inf" : le);
        buf_print(out, " %llu\n", (unsigned long long)sum);
    }
    buf_print(out, "%s_sum", w->name);
    print_labels(out, w, NULL);
    buf_print(out, " %.9g\n%s_count", metric_value(w), w->name);
    print_labels(out, w, NULL);
    buf_print(out, " %llu\n", (unsigned long long)sum);
}

struct printing {
    struct buf *out;
    const char *last;
};

static void print_one(void *arg, const weir_metric *w)
{
    static const char *const kinds[] = {"", "counter", "gauge", "histogram"};
    struct printing *p = arg;
    if (!p->last || strcmp(p->last, w->name) != 0)
        buf_print(p->out, "# HELP %s %s\n# TYPE %s %s\n", w->name, w->help, w->name,
                  kinds[w->kind]);
    p->last = w->name;
    if (w->kind == WEIR_HISTOGRAM) {
        print_histogram(p->out, w);
        return;
    }
    buf_add_text(p->out, w->name);
    print_labels(p->out, w, NULL);
    buf_print(p->out, " %.17g\n", metric_value(w));
}

void metrics_print(struct metrics *m, struct buf *out)
{
    struct printing p = {out, NULL};
    metrics_each(m, print_one, &p);
}
