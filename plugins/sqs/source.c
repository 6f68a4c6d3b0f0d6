/* sqs/source.c: receives messages, keeps them hidden while they are under way, removes each once it is
 * settled. */
#include "sqs.h"

enum { PER_FLIGHT_MAX = 10, HEARTBEAT = 1 };
static const uint32_t when[] = {WEIR_WHEN_SAFE, WEIR_WHEN_SETTLED, WEIR_WHEN_DURABLE};
#define VISIBILITY_NS INT64_C(30000000000) /* SQS's own preset */

struct flight {        /* one receive, until all its messages are settled */
    size_t count;      /* 0: free */
    int64_t hidden_ns; /* since when their visibility counts */
    weir_receipt receipts[PER_FLIGHT_MAX];
};

struct source {
    struct queue_options common; /* first */
    weir_duration visibility, retry_after;
    int64_t max_in_flight, batch_size;
    int acknowledge;
    const weir_queues *queues;
    weir_queue *open;
    struct flight *flights;
    size_t flight_count;
    weir_metric *late;
};

static weir_status source_check(const void *self, const weir_host *h)
{
    const struct source *s = self;
    return queue_check(&s->common, h, s->queues, s->visibility);
}

static void heartbeat(const struct source *s, const weir_host *h)
{
    h->timer(h, HEARTBEAT, (weir_duration){s->visibility.ns / 3});
}

static weir_status source_start(void *self, const weir_host *h)
{
    struct source *s = self;
    weir_queue_settings settings = {.size = sizeof settings, .visibility = s->visibility};
    if (!s->visibility.ns)
        s->visibility.ns = VISIBILITY_NS;
    s->flight_count = (size_t)((s->max_in_flight + s->batch_size - 1) / s->batch_size);
    s->flights = h->keep(h, s->flight_count * sizeof *s->flights);
    memset(s->flights, 0, s->flight_count * sizeof *s->flights);
    s->late = h->metric(h, WEIR_COUNTER, "late",
                        "Messages that were settled after their visibility had ended.");
    weir_status is = queue_open(&s->common, s->queues, &settings, &s->open);
    if (is == WEIR_OK)
        heartbeat(s, h);
    return is;
}

static weir_status source_pull(void *self, const weir_host *h, weir_batch *out)
{
    struct source *s = self;
    struct flight *f = s->flights, *end = s->flights + s->flight_count;
    while (f < end && f->count)
        f++;
    if (f == end)
        return WEIR_IDLE; /* settled wakes */
    weir_status got = s->queues->receive(s->queues, s->open,
                                         WEIR_SIZED(weir_queue_receive, .visibility = s->visibility,
                                                    .max = (size_t)s->batch_size),
                                         out, f->receipts);
    if (got != WEIR_OK)
        return got;
    f->count = out->count;
    f->hidden_ns = h->now(h);
    out->cookie_ptr = f;
    out->when = when[s->acknowledge];
    return out->count ? WEIR_OK : WEIR_IDLE;
}

/* Done is removed, filtered too; what failed and is kept nowhere shows again, to be redriven. */
static void source_settled(void *self, const weir_host *h, const weir_settlement *done)
{
    const struct source *s = self;
    struct flight *f = done->cookie_ptr;
    size_t late = 0;
    for (size_t i = 0; i < done->count; i++) {
        const weir_verdict *v = done->events[i];
        bool is_over = v->outcome != WEIR_FAILED || v->is_dead_lettered;
        if (is_over)
            late += !s->queues->remove(s->queues, s->open, f->receipts[i]);
        else
            late += !s->queues->give_back(s->queues, s->open, f->receipts[i], s->retry_after);
    }
    f->count = 0;
    if (late) {
        h->observe(h, s->late, (double)late);
        h->log(h, WEIR_WARN,
               "%zu messages of %s were settled after their visibility and will come again: "
               "raise visibility",
               late, s->common.queue);
    }
    h->wake(h);
}

/* What has been under way for a third of its visibility is hidden anew, for the whole of it. */
static weir_status source_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    struct source *s = self;
    if (id != HEARTBEAT)
        return source_pull(self, h, out);
    int64_t now = h->now(h);
    for (struct flight *f = s->flights; f < s->flights + s->flight_count; f++) {
        if (!f->count || now - f->hidden_ns < s->visibility.ns / 3)
            continue;
        for (size_t i = 0; i < f->count; i++)
            (void)s->queues->extend(s->queues, s->open, f->receipts[i], s->visibility);
        f->hidden_ns = now;
    }
    heartbeat(s, h);
    return WEIR_IDLE;
}

static const weir_option options[] = {
    WEIR_NEED(struct source, queues, WEIR_QUEUE),
    QUEUE_OPTIONS,
    WEIR_OPTION(struct source, visibility, .min = 0, .max = 43200e9,
                .help =
                    "How soon a message shows again when this process dies; 30s if absent. It is "
                    "prolonged while the message is under way."),
    WEIR_OPTION(struct source, max_in_flight, .preset = "1000", .min = 1, .max = 100000,
                .help = "How many messages are under way at once, at most."),
    WEIR_OPTION(struct source, batch_size, .preset = "10", .min = 1, .max = PER_FLIGHT_MAX,
                .help = "How many messages are received at a time, at most."),
    WEIR_OPTION(struct source, acknowledge, .choices = "safe|delivered|durable", .preset = "safe",
                .help = "Removes a message once each sink has it or has it in its buffer on disk, "
                        "once all sinks have it, or as soon as the pipeline has it on disk."),
    WEIR_OPTION(struct source, retry_after, .preset = "1s", .max = 43200e9,
                .help = "How soon a message that failed shows again."),
    {0},
};

const weir_component sqs_source = {
    .name = "sqs",
    .version = "1.0",
    .summary = "Receives messages from a queue; removes each once it is settled.",
    .flags = WEIR_REPLAYS,
    .state_size = sizeof(struct source),
    .options = options,
    .check = source_check,
    .start = source_start,
    .pull = source_pull,
    .settled = source_settled,
    .tick = source_tick,
};
