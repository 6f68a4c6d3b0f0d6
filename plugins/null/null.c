/* null/null.c: a sink that counts events and forgets them. */
#include <weir/plugin.h>

struct null_worker {
    weir_metric *events, *bytes;
};

static weir_status null_worker_start(void *self, const weir_host *h)
{
    struct null_worker *w = h->worker;
    w->events = h->metric(h, WEIR_COUNTER, "events", "Events that were forgotten.");
    w->bytes = h->metric(h, WEIR_COUNTER, "bytes", "Bytes of their bodies.");
    return WEIR_OK;
}

static weir_status null_write(void *self, const weir_host *h, const weir_batch *batch)
{
    const struct null_worker *w = h->worker;
    size_t bytes = 0;
    for (size_t i = 0; i < batch->count; i++)
        bytes += batch->events[i]->body->len;
    h->observe(h, w->events, (double)batch->count);
    h->observe(h, w->bytes, (double)bytes);
    return WEIR_OK;
}

static const weir_option options[] = {
    {0},
};

static const weir_component null = {
    .name = "null",
    .version = "1.0",
    .summary = "Counts events and forgets them; for trials and measurements.",
    .flags = WEIR_PARALLEL | WEIR_IN_ORDER,
    .worker_size = sizeof(struct null_worker),
    .options = options,
    .worker_start = null_worker_start,
    .write = null_write,
};
WEIR_PLUGIN(&null);
