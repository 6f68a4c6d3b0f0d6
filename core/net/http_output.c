/* net/http_output.c: answers in the order of their requests -> bytes to the client. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/mem.h"
#include "net/http_connection.h"

enum { IOVECS = 16 };

/* ---- the line of those with answers to send ---- */

void http_output_later(struct connection *c)
{
    struct http_server *s = c->server;
    if (c->is_to_flush)
        return;
    c->is_to_flush = true;
    c->flush_next = NULL;
    c->flush_previous = s->last_to_flush;
    *(s->last_to_flush ? &s->last_to_flush->flush_next : &s->to_flush) = c;
    s->last_to_flush = c;
    /* Nobody looks at the line again in this round, and the loop might sleep. */
    if (s->flush_is_over && !loop_timer_is_set(&s->flush_timer))
        loop_timer_set(s->loop, &s->flush_timer, 0);
}

void http_output_cancel(struct connection *c)
{
    struct http_server *s = c->server;
    if (!c->is_to_flush)
        return;
    c->is_to_flush = false;
    *(c->flush_previous ? &c->flush_previous->flush_next : &s->to_flush) = c->flush_next;
    *(c->flush_next ? &c->flush_next->flush_previous : &s->last_to_flush) = c->flush_previous;
}

/* ---- the line of requests ---- */

static void pop_exchange(struct connection *c)
{
    struct exchange *x = c->first;
    c->first = x->next;
    if (!c->first)
        c->last = NULL;
    c->exchanges--;
    if (x->answer.len)
        buf_add(&c->out, x->answer.ptr, x->answer.len);
    c->out_bytes += x->answer.len;
    if (x->answer_body) {
        struct out_body body = {x->answer_body, c->out.len};
        MEM_PUSH(c->bodies, c->body_count, c->body_cap) = body;
        c->out_bytes += body.payload->len;
        x->answer_body = NULL;
    }
    if (x->is_last)
        c->state = READS_NOTHING;
    http_server_give_exchange(c->server, x);
}

void http_output_continue(struct connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    c->first->wants_continue = false;
    buf_add(&c->out, text, sizeof text - 1);
    c->out_bytes += sizeof text - 1;
    http_output_later(c);
}

void http_output_advance(struct connection *c)
{
    while (c->first && c->first->is_answered)
        pop_exchange(c);
    if (c->first && c->first->wants_continue)
        http_output_continue(c);
    if (c->out_bytes)
        http_output_later(c);
}

/* ---- bytes ---- */

static int gather(const struct connection *c, struct iovec parts[IOVECS])
{
    int count = 0;
    size_t at = c->out_at, skip = c->body_sent;
    for (size_t i = c->body_first; count < IOVECS - 1; i++) {
        size_t next = i < c->body_count ? c->bodies[i].at : c->out.len;
        if (next > at)
            parts[count++] = (struct iovec){c->out.ptr + at, next - at};
        at = next;
        if (i >= c->body_count)
            break;
        const weir_payload *p = c->bodies[i].payload;
        union { /* sendmsg only reads it */
            const char *from;
            char *to;
        } bytes = {.from = p->ptr + skip};
        parts[count++] = (struct iovec){bytes.to, p->len - skip};
        skip = 0;
    }
    return count;
}

void http_output_drop_body(struct connection *c)
{
    const struct http_bodies *bodies = &c->server->settings.bodies;
    bodies->unref(bodies->user, c->bodies[c->body_first++].payload);
    c->body_sent = 0;
}

static void count_sent(struct connection *c, size_t n)
{
    c->out_bytes -= n;
    while (c->body_first < c->body_count) {
        const struct out_body *body = &c->bodies[c->body_first];
        size_t before = body->at - c->out_at;
        if (n < before)
            break;
        n -= before;
        c->out_at = body->at;
        size_t left = body->payload->len - c->body_sent;
        if (n < left) {
            c->body_sent += n;
            return;
        }
        n -= left;
        http_output_drop_body(c);
    }
    c->out_at += n;
}

static void reset_output(struct connection *c)
{
    c->out.len = c->out_at = 0;
    c->body_first = c->body_count = 0;
    if (c->out.cap > KEPT_OUT_BYTES)
        buf_fini(&c->out);
}

static ssize_t send_some(const struct connection *c)
{
    if (c->body_first == c->body_count)
        return send(c->watch.fd, c->out.ptr + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
    struct iovec parts[IOVECS];
    struct msghdr message = {.msg_iov = parts};
    message.msg_iovlen = (size_t)gather(c, parts);
    return sendmsg(c->watch.fd, &message, MSG_NOSIGNAL);
}

bool http_output_write(struct connection *c)
{
    c->is_stuck = false;
    while (c->out_bytes) {
        ssize_t n = send_some(c);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            c->is_stuck = errno == EAGAIN;
            return c->is_stuck;
        }
        count_sent(c, (size_t)n);
        c->used_ns = loop_now(c->server->loop);
    }
    reset_output(c);
    return true;
}
