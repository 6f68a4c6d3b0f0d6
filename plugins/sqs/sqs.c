/* sqs/sqs.c: the manifest of the sqs plugin, and the checks that both of its components make. */
#include "sqs.h"

enum { NAME_MAX_LEN = 80 };
static const char suffix[] = ".fifo";

bool queue_is_fifo(const char *name)
{
    size_t len = strlen(name), end = sizeof suffix - 1;
    return len > end && strcmp(name + len - end, suffix) == 0;
}

/* As in SQS: 1 to 80 letters, digits, - and _, the ending .fifo counted. */
static weir_status check_name(const weir_host *h, const char *const *name)
{
    static const char good[] = "0123456789-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t len = strlen(*name), bare = len - (queue_is_fifo(*name) ? sizeof suffix - 1 : 0);
    size_t n = strspn(*name, good);
    if (!len || len > NAME_MAX_LEN)
        return h->refuse(h, name, 0, "a queue's name has 1 to %d characters", NAME_MAX_LEN);
    if (n < bare)
        return h->refuse(h, name, n,
                         "a queue's name has letters, digits, - and _, and maybe .fifo at its end");
    return WEIR_OK;
}

static weir_status check_options(const struct queue_options *o, const weir_host *h)
{
    weir_status s = check_name(h, &o->queue);
    if (o->endpoint == ENDPOINT_AWS)
        s = h->refuse(h, &o->endpoint, 0,
                      "endpoint aws is not available in this version: queues are embedded, write "
                      "endpoint: embedded here");
    if (o->fifo && !queue_is_fifo(o->queue))
        s = h->refuse(h, &o->queue, 0, "the name of a FIFO queue ends with .fifo: call it %s.fifo",
                      o->queue);
    if (o->receives_max && !o->dead_letters)
        s = h->refuse(h, &o->receives_max, 0,
                      "receives_max needs dead_letters, the name of a queue");
    if (!o->dead_letters)
        return s;
    if (!o->receives_max)
        s = h->refuse(h, &o->dead_letters, 0, "dead_letters needs receives_max, such as 5");
    if (check_name(h, &o->dead_letters) != WEIR_OK)
        return WEIR_E_CONFIG;
    if (queue_is_fifo(o->dead_letters) != queue_is_fifo(o->queue))
        s = h->refuse(
            h, &o->dead_letters, 0,
            "the dead letters of a FIFO queue go to a FIFO queue, those of others do not");
    if (strcmp(o->dead_letters, o->queue) == 0)
        s = h->refuse(h, &o->dead_letters, 0, "a queue is not its own dead-letter queue");
    return s;
}

/* The dead-letter queue is made first, so that the other can name it. */
weir_status queue_open(const struct queue_options *o, const weir_queues *queues,
                       weir_queue_settings *settings, weir_queue **queue)
{
    weir_status s = WEIR_OK;
    weir_queue *dead = NULL;
    if (o->dead_letters)
        s = queues->open(queues, o->dead_letters,
                         WEIR_SIZED(weir_queue_settings, .is_fifo = queue_is_fifo(o->dead_letters)),
                         &dead);
    settings->size = sizeof *settings;
    settings->is_fifo = queue_is_fifo(o->queue);
    settings->dead_letters = o->dead_letters;
    settings->receives_max = (uint32_t)o->receives_max;
    return s == WEIR_OK ? queues->open(queues, o->queue, settings, queue) : s;
}

weir_status queue_check(const struct queue_options *o, const weir_host *h,
                        const weir_queues *queues, weir_duration visibility)
{
    weir_queue *none = NULL;
    weir_queue_settings settings = {.size = sizeof settings, .visibility = visibility};
    weir_status s = check_options(o, h);
    return s == WEIR_OK ? queue_open(o, queues, &settings, &none) : s;
}

WEIR_PLUGIN(&sqs_source, &sqs_sink);
