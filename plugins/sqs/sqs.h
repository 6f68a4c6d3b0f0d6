/* sqs/sqs.h: what the source and the sink have in common. */
#pragma once
#include <weir/queue.h>

enum { ENDPOINT_EMBEDDED, ENDPOINT_AWS };

struct queue_options {
    const char *queue, *dead_letters;
    int64_t receives_max;
    bool fifo;
    int endpoint;
};
/* Rows for a state that begins with them. */
#define QUEUE_OPTIONS \
    WEIR_OPTION(struct queue_options, queue, .required = true, \
                .help = "The queue's name; it is made if it is not there. A name that ends with " \
                        ".fifo is a FIFO queue."), \
        WEIR_OPTION(struct queue_options, fifo, \
                    .help = "Says that the queue is meant to be FIFO."), \
        WEIR_OPTION(struct queue_options, dead_letters, \
                    .help = "Queue for messages that were received receives_max times."), \
        WEIR_OPTION(struct queue_options, receives_max, .max = 1000, \
                    .help = "How often a message is received before it moves to dead_letters."), \
        WEIR_OPTION(struct queue_options, endpoint, .choices = "embedded|aws", \
                    .preset = "embedded", .help = "Where the queue lives.")

extern const weir_component sqs_sink, sqs_source;

bool queue_is_fifo(const char *name);
/* `visibility` of a source, or 0. */
weir_status queue_check(const struct queue_options *o, const weir_host *h,
                        const weir_queues *queues, weir_duration visibility);
/* Fills in what both know; `settings` has the rest. */
weir_status queue_open(const struct queue_options *o, const weir_queues *queues,
                       weir_queue_settings *settings, weir_queue **queue);
