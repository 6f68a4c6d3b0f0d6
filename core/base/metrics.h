/* base/metrics.h: the registry of figures. Figures are made at start and live to the end; adding to
 * one is an atomic add, from any thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

struct buf;

enum { METRIC_BUCKETS = 20 }; /* of a histogram: seconds, 10 us doubling */

struct weir_metric {
    struct weir_metric *next;
    char *name, *help, *stage; /* name: weir_<what>_<unit>, stage "" is the pipeline */
    char *label, *label_value; /* a further label or NULL */
    int kind;                  /* WEIR_COUNTER, WEIR_GAUGE, WEIR_HISTOGRAM */
    _Atomic uint64_t count;    /* counter, histogram */
    _Atomic double value;      /* gauge, sum of a histogram; a counter's fractions */
    _Atomic uint64_t buckets[METRIC_BUCKETS];
};

struct metrics; /* a registry */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
struct metric_key { /* copied */
    int kind;
    const char *name, *help;
    const char *stage;               /* NULL: of the pipeline */
    const char *label, *label_value; /* a further label, or NULL */
};
/* The figure of this name, stage and label, made if it is not there. Any thread. */
weir_metric *metrics_get(struct metrics *m, const struct metric_key *key);
/* The stage has gone: its figures are not shown any more, and nobody may have one of them. */
void metrics_forget(struct metrics *m, const char *stage);
/* Calls fn for each, sorted by name. Any thread. */
void metrics_each(struct metrics *m, void (*fn)(void *arg, const weir_metric *w), void *arg);
/* Prometheus text format 0.0.4. */
void metrics_print(struct metrics *m, struct buf *out);

static inline void metric_add(weir_metric *m, uint64_t n)
{
    atomic_fetch_add_explicit(&m->count, n, memory_order_relaxed);
}
void metric_set(weir_metric *m, double value);
void metric_observe(weir_metric *m,
                    double value);         /* counter: adds; gauge: sets; histogram: seconds */
double metric_value(const weir_metric *m); /* counter, gauge; sum of a histogram */
