/* sqs/sink.c: sends each event as a message. */
#include "sqs.h"

struct sink {
    struct queue_options common; /* first */
    weir_duration delay;
    const char *group, *dedup;
    const weir_queues *queues;
    weir_queue *open;
};

static weir_status sink_check(const void *self, const weir_host *h)
{
    const struct sink *k = self;
    weir_status s = queue_check(&k->common, h, k->queues, (weir_duration){0});
    bool is_fifo = queue_is_fifo(k->common.queue);
    if (is_fifo && k->delay.ns)
        s = h->refuse(h, &k->delay, 0, "a FIFO queue has no delay for single messages");
    if (!is_fifo && k->group)
        s = h->refuse(h, &k->group, 0, "group is for FIFO queues, whose names end with .fifo");
    if (!is_fifo && k->dedup)
        s = h->refuse(h, &k->dedup, 0, "dedup is for FIFO queues, whose names end with .fifo");
    return s;
}

static weir_status sink_start(void *self, const weir_host *h)
{
    struct sink *k = self;
    weir_queue_settings settings = {.size = sizeof settings};
    return queue_open(&k->common, k->queues, &settings, &k->open);
}

static weir_status sink_write(void *self, const weir_host *h, const weir_batch *batch)
{
    const struct sink *k = self;
    return k->queues->send(k->queues, k->open, batch,
                           WEIR_SIZED(weir_queue_send, .delay = k->delay, .group = k->group,
                                      .dedup = k->dedup));
}

static const weir_option options[] = {
    WEIR_NEED(struct sink, queues, WEIR_QUEUE),
    QUEUE_OPTIONS,
    WEIR_OPTION(struct sink, delay, .max = 900e9,
                .help = "Hides each message for so long at first."),
    WEIR_OPTION(struct sink, group,
                .help = "FIFO: path of the message group; the event's key if absent."),
    WEIR_OPTION(struct sink, dedup,
                .help = "FIFO: path of what makes a message the same as one before; the event's id "
                        "if absent."),
    {0},
};

const weir_component sqs_sink = {
    .name = "sqs",
    .version = "1.0",
    .summary = "Sends each event as a message to a queue.",
    .flags = WEIR_KEEPS | WEIR_IN_ORDER,
    .state_size = sizeof(struct sink),
    .options = options,
    .check = sink_check,
    .start = sink_start,
    .write = sink_write,
};
