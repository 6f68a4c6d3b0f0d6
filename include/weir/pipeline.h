/* weir/pipeline.h: where the pipeline runs (service weir.pipeline/1).
 *
 * Offered by the host, in check as well. All text lives until stop. Any thread. A plugin that can do
 * without takes it as weir_services, so that a host without it still runs it. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_pipeline weir_pipeline;
#define WEIR_PIPELINE weir_pipeline, "weir.pipeline/1", account

struct weir_pipeline {
    weir_service base;
    const char *folder;           /* of the pipeline file, absolute: relative paths start there */
    const char *data_dir;         /* absolute */
    const char *region, *account; /* of the `aws` block: "us-east-1", "000000000000" */
    /* Does the pipeline file name a stage as this source's `result:`? */
    bool (*has_result)(const weir_pipeline *s, const weir_host *h);
    /* Nothing that the runner does has a use any more, as when nobody reads its output: it ends within
     * about a second, with the code of an input/output error (74). What is on disk stays there. */
    void (*end)(const weir_pipeline *s, const weir_host *h, const char *why);
    /* In check: the stage reads this file. A reload makes the stage anew when its content has changed,
     * and `weir run --watch` waits for that. Relative paths start at `folder`. */
    void (*reads)(const weir_pipeline *p, const char *path);
    const char *endpoint;   /* of the `aws` block: embedded, aws, or a URL */
    bool is_region_written; /* there; false: `region` is the preset */
};
