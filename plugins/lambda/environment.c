/* lambda/environment.c: one place for a function to run: a process, a socket, two pipes. */
#include "environment.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void environment_init(struct environment *e, uint32_t timer)
{
    memset(e, 0, sizeof *e);
    e->timer = timer;
    e->listener = -1;
    e->process.pidfd = e->process.pipes[0] = e->process.pipes[1] = -1;
    for (size_t i = 0; i < CONNECTIONS; i++)
        e->connections[i].fd = -1;
}

/* A listener for each environment tells who is calling. */
static int open_listener(char *address, size_t size)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    union {
        struct sockaddr_in *in;
        struct sockaddr *any;
    } name = {.in = &at};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, name.any, len) < 0 || listen(fd, 16) < 0 || getsockname(fd, name.any, &len) < 0) {
        int why = errno;
        (void)close(fd);
        errno = why;
        return -1;
    }
    (void)snprintf(address, size, "127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
    return fd;
}

int environment_start(struct environment *e, const struct lambda *l, const weir_host *h)
{
    char address[32];
    e->listener = open_listener(address, sizeof address);
    if (e->listener < 0) {
        int why = errno;
        h->fail(h, WEIR_E_RETRY, why, "listen on 127.0.0.1 for function %s", l->function_name);
        return why;
    }
    report_stream_name(h, e->stream);
    int why = process_start(&e->process, &l->program, address, e->stream);
    if (why) {
        (void)close(e->listener);
        e->listener = -1;
        h->fail(h, WEIR_E_RETRY, why, "start %s for function %s", l->program.path,
                l->function_name);
        return why;
    }
    e->phase = PHASE_STARTING;
    e->spawned_ns = h->now(h);
    e->init_ns = 0;
    e->trouble = NULL;
    e->work.request_id[0] = 0;
    e->used_max_bytes = e->used_at_ns = 0;
    e->outputs[0].used = e->outputs[1].used = 0;
    (void)h->watch(h, e->listener, WEIR_READ);
    (void)h->watch(h, e->process.pidfd, WEIR_READ);
    (void)h->watch(h, e->process.pipes[0], WEIR_READ);
    (void)h->watch(h, e->process.pipes[1], WEIR_READ);
    return 0;
}

void environment_accept(struct environment *e, const weir_host *h)
{
    for (;;) {
        int fd = accept4(e->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0)
            return;
        struct connection *c = environment_connection(e, -1);
        if (!c) { /* more than any runtime needs */
            (void)close(fd);
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connection_open(c, h, fd, ANSWER_MAX_BYTES);
    }
}

struct connection *environment_connection(struct environment *e, int fd)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (e->connections[i].fd == fd)
            return &e->connections[i];
    return NULL;
}

bool environment_owns(struct environment *e, int fd)
{
    return fd == e->listener || fd == e->process.pidfd || fd == e->process.pipes[0] ||
           fd == e->process.pipes[1] || environment_connection(e, fd) != NULL;
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Puts the lines that are whole, all of them in one call; a line that is too long is cut in two. */
static void put_lines(struct output *o, const struct lambda *l, const char *stream, bool is_last)
{
    weir_log_line lines[64];
    size_t count = 0, at = 0;
    while (at < o->used && count < sizeof lines / sizeof *lines) {
        const char *end = memchr(o->line + at, '\n', o->used - at);
        if (!end && !is_last && (at || o->used < sizeof o->line))
            break;
        size_t len = end ? (size_t)(end - o->line) - at : o->used - at;
        size_t cut = len && o->line[at + len - 1] == '\r' ? len - 1 : len;
        if (cut)
            lines[count++] = (weir_log_line){0, {o->line + at, cut}};
        at += len + (end != NULL);
    }
    if (count)
        (void)l->logs->put(l->logs, l->group, stream, lines, count);
    memmove(o->line, o->line + at, o->used - at);
    o->used -= at;
    if (at && o->used)
        put_lines(o, l, stream, is_last);
}

enum { READS_MAX = 64 }; /* at a time: one that never stops printing must not stop all others */

void environment_read_output(struct environment *e, const struct lambda *l, const weir_host *h,
                             bool is_last)
{
    for (int i = 0; i < 2; i++) {
        struct output *o = &e->outputs[i];
        ssize_t n = 1;
        for (int reads = 0; e->process.pipes[i] >= 0 && n > 0 && reads < READS_MAX; reads++) {
            n = read(e->process.pipes[i], o->line + o->used, sizeof o->line - o->used);
            o->used += n > 0 ? (size_t)n : 0;
            put_lines(o, l, e->stream, n == 0 || (n < 0 && is_last));
        }
        if (n == 0) { /* closed; it may live on without */
            (void)h->watch(h, e->process.pipes[i], 0);
            (void)close(e->process.pipes[i]);
            e->process.pipes[i] = -1;
        }
    }
}

int64_t environment_used_max_bytes(struct environment *e, int64_t now_ns)
{
    enum { READ_EVERY_NS = 100000000 };
    if (e->process.pid && (!e->used_at_ns || now_ns - e->used_at_ns >= READ_EVERY_NS)) {
        e->used_max_bytes = process_used_max_bytes(&e->process);
        e->used_at_ns = now_ns;
    }
    return e->used_max_bytes;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void forget(const weir_host *h, int fd)
{
    if (fd >= 0)
        (void)h->watch(h, fd, 0);
}

void environment_end(struct environment *e, const struct lambda *l, const weir_host *h, char *how,
                     size_t size)
{
    process_signal(&e->process, SIGKILL);
    environment_read_output(e, l, h, true);
    forget(h, e->listener);
    forget(h, e->process.pidfd);
    forget(h, e->process.pipes[0]);
    forget(h, e->process.pipes[1]);
    for (size_t i = 0; i < CONNECTIONS; i++)
        connection_close(&e->connections[i], h);
    (void)close(e->listener);
    e->listener = -1;
    process_reap(&e->process, how, size);
    h->timer(h, e->timer, (weir_duration){-1});
    e->phase = PHASE_NONE;
}
