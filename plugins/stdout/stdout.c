/* stdout/stdout.c: a sink that prints events, a line each. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <weir/pipeline.h>
#include <weir/shape.h>

enum { FORMAT_BODY, FORMAT_ENVELOPE, FORMAT_PRETTY };
enum { TIME_MAX = 16, SEPARATORS = 6 };

struct printer {
    int format;
    const weir_shapes *shapes;
    weir_services pipeline;
};

static char *put(char *to, const char *bytes, size_t n)
{
    if (n)
        memcpy(to, bytes, n);
    return to + n;
}

/* Line breaks in JSON text are but space, so that a body keeps its meaning on one line. */
static char *put_line(char *to, const weir_payload *body)
{
    char *end = put(to, body->ptr, body->len);
    for (char *at = to; at < end; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    *end++ = '\n';
    return end;
}

static char *put_word(char *to, weir_str word)
{
    to = put(to, word.len ? word.ptr : "-", word.len ? word.len : 1);
    *to++ = ' ';
    return to;
}

static char *put_time(char *to, int64_t time_ns)
{
    time_t seconds = (time_t)(time_ns / 1000000000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return to;
    int n = snprintf(to, TIME_MAX, "%02u:%02u:%02u.%03u", (unsigned)tm.tm_hour % 24,
                     (unsigned)tm.tm_min % 60, (unsigned)tm.tm_sec % 61,
                     (unsigned)(time_ns / 1000000 % 1000));
    return to + n;
}

static size_t room_for(const weir_event *ev, const weir_payload *body)
{
    return body->len + ev->source.len + ev->type.len + TIME_MAX + SEPARATORS;
}

/* Nobody reads what is printed, and nobody ever will: to go on has no use. */
static weir_status give_up(const struct printer *p, const weir_host *h)
{
    const weir_pipeline *runner = p->pipeline.count ? p->pipeline.items[0] : NULL;
    if (runner && WEIR_HAS(runner, end))
        runner->end(runner, h, "write to standard output: Broken pipe: nobody reads it");
    return h->fail(h, WEIR_E_FATAL, EPIPE, "write to standard output");
}

static weir_status print_all(const struct printer *p, const char *bytes, const char *end,
                             const weir_host *h)
{
    while (bytes < end) {
        ssize_t n = write(STDOUT_FILENO, bytes, (size_t)(end - bytes));
        if (n > 0) {
            bytes += n;
        } else if (errno == EAGAIN) {
            struct pollfd out = {STDOUT_FILENO, POLLOUT, 0};
            (void)poll(&out, 1, -1);
        } else if (errno == EPIPE) {
            return give_up(p, h);
        } else if (errno != EINTR) {
            weir_status s = errno == EBADF ? WEIR_E_FATAL : WEIR_E_RETRY;
            return h->fail(h, s, errno, "write to standard output");
        }
    }
    return WEIR_OK;
}

static weir_status printer_write(void *self, const weir_host *h, const weir_batch *batch)
{
    const struct printer *p = self;
    weir_payload **bodies = h->scratch(h, (batch->count + 1) * sizeof(weir_payload *));
    size_t room = 0, n = 0;
    weir_status s = WEIR_OK;
    for (; n < batch->count; n++) {
        const weir_event *ev = batch->events[n];
        bodies[n] =
            p->format == FORMAT_ENVELOPE ? p->shapes->envelope(p->shapes, ev) : h->ref(h, ev->body);
        if (!bodies[n]) {
            s = WEIR_E_RETRY;
            break;
        }
        room += room_for(ev, bodies[n]);
    }
    char *lines = h->scratch(h, room + 1), *end = lines;
    for (size_t i = 0; i < n; i++) {
        const weir_event *ev = batch->events[i];
        if (s == WEIR_OK && p->format == FORMAT_PRETTY) {
            end = put_time(end, ev->time_ns);
            *end++ = ' ';
            end = put_word(put_word(end, ev->source), ev->type);
        }
        if (s == WEIR_OK)
            end = put_line(end, bodies[i]);
        h->unref(h, bodies[i]);
    }
    return s == WEIR_OK ? print_all(p, lines, end, h) : s;
}

static const weir_option options[] = {
    WEIR_NEED(struct printer, shapes, WEIR_SHAPE),
    WEIR_NEED(struct printer, pipeline, WEIR_PIPELINE),
    WEIR_OPTION(struct printer, format, .choices = "body|envelope|pretty", .preset = "body",
                .help = "The body alone, the event as EventBridge's JSON, or time (UTC), source, "
                        "type and body for people."),
    {0},
};

static const weir_component printer = {
    .name = "stdout",
    .version = "1.0",
    .summary =
        "Prints events on standard output, a line each; ends the runner when nobody reads it.",
    .flags = WEIR_BLOCKING | WEIR_IN_ORDER,
    .state_size = sizeof(struct printer),
    .options = options,
    .write = printer_write,
};
WEIR_PLUGIN(&printer);
