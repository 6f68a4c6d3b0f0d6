/* cloudwatch_logs/cloudwatch_logs.h: what the files of the plugin share. */
#pragma once
#include <weir/json.h>
#include <weir/logs.h>
#include <weir/metrics.h>
#include <weir/plugin.h>
#include <weir/shape.h>

struct emf; /* emf.c */

struct emf_settings {
    const char *namespace;
    weir_duration interval;
    weir_pairs dimensions;
};

struct emf *emf_new(const weir_host *h, const struct emf_settings *settings,
                    const weir_jsons *json);
/* Calls `put` with each line of the embedded metric format that the figures of now make. Of counters
 * it tells what was added since the last time. */
void emf_write(struct emf *e, const weir_host *h, const weir_metrics *metrics,
               void (*put)(void *arg, weir_str line), void *arg);
