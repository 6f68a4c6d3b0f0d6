/* dedupe/dedupe.c: lets the first event of each key through, and none that comes again within a window. */
#include <weir/plugin.h>
#include <weir/window.h>

enum { DUPLICATES = 1 };
static const char *const ports[] = {"duplicates", NULL};

struct dedupe {
    const char *key;
    weir_duration window;
    int64_t max_keys;
    const weir_windows *windows;
    weir_window *seen;
};

struct worker {
    weir_metric *duplicates, *keyless;
};

static weir_status dedupe_start(void *self, const weir_host *h)
{
    struct dedupe *d = self;
    return d->windows->open(d->windows, "keys",
                            WEIR_SIZED(weir_window_settings, .keep = d->window,
                                       .keys_max = (uint64_t)d->max_keys),
                            &d->seen);
}

static weir_status dedupe_worker_start(void *self, const weir_host *h)
{
    struct worker *w = h->worker;
    w->duplicates = h->metric(h, WEIR_COUNTER, "duplicates", "Events whose key had come before.");
    w->keyless = h->metric(h, WEIR_COUNTER, "keyless", "Events without a key, which pass.");
    return WEIR_OK;
}

static weir_status dedupe_event(void *self, const weir_host *h, weir_event *ev)
{
    const struct dedupe *d = self;
    const struct worker *w = h->worker;
    weir_window_found found = {.size = sizeof found};
    weir_str key = h->get(h, ev, d->key);
    if (!key.len) {
        h->observe(h, w->keyless, 1);
        return WEIR_OK;
    }
    weir_status is = d->windows->claim(d->windows, d->seen, key, (weir_str){"", 0}, &found);
    if (is == WEIR_OK) {
        d->windows->attach(d->windows, found.claim, ev);
        return WEIR_OK;
    }
    if (is == WEIR_PENDING) /* should the first fail, this one is the first */
        return WEIR_E_RETRY;
    h->observe(h, w->duplicates, 1);
    h->to(h, ev, DUPLICATES);
    return WEIR_OK;
}

static const weir_option options[] = {
    WEIR_NEED(struct dedupe, windows, WEIR_WINDOW),
    WEIR_OPTION(struct dedupe, key, .preset = "@id", .min = 1, .max = 1024,
                .help = "Path of what tells events apart, such as order_id or @request_id; the "
                        "event's id if absent. Events without it pass."),
    WEIR_OPTION(struct dedupe, window, .preset = "10m", .min = 1e9, .max = 31.0 * 86400e9,
                .help = "How long a key is known, also over restarts."),
    WEIR_OPTION(struct dedupe, max_keys, .preset = "100000", .min = 1, .max = 1e7,
                .help = "Of more the oldest are forgotten; 60 bytes of memory each."),
    {0},
};

static const weir_component dedupe = {
    .name = "dedupe",
    .version = "1.0",
    .summary = "Lets the first event of each key through; what comes again is filtered.",
    .flags = WEIR_PARALLEL,
    .state_size = sizeof(struct dedupe),
    .worker_size = sizeof(struct worker),
    .options = options,
    .ports = ports,
    .start = dedupe_start,
    .worker_start = dedupe_worker_start,
    .event = dedupe_event,
};
WEIR_PLUGIN(&dedupe);
