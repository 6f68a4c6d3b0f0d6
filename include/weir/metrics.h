/* weir/metrics.h: the pipeline's own figures (service weir.metrics/1).
 *
 * Offered by the host. Any thread. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_metrics weir_metrics;
#define WEIR_METRICS weir_metrics, "weir.metrics/1", each

typedef struct weir_sample { /* host-made: one figure now */
    const char *name;        /* "weir_events_accepted_total" */
    const char *help;
    int kind;                /* WEIR_COUNTER, WEIR_GAUGE, WEIR_HISTOGRAM */
    const char *stage;       /* "" : of the pipeline */
    const char *label, *label_value; /* a further label, or NULL */
    double value;            /* of a histogram the sum */
    uint64_t count;          /* of a histogram */
} weir_sample;

struct weir_metrics {
    weir_service base;
    void (*each)(const weir_metrics *m, void (*fn)(void *arg, const weir_sample *s), void *arg);
};
