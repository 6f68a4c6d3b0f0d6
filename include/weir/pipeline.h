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
};
