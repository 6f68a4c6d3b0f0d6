/* net/http_connection.c: the life of one client: what it waits for, how long, and when it ends. */
#include "net/http_connection.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

static int64_t deadline_of(const struct connection *c)
{
    const struct http_server_settings *settings = &c->server->settings;
    if (c->state == LINGERS)
        return c->deadline_ns;
    if (c->out_bytes)
        return c->used_ns + settings->idle_timeout_ns;
    bool is_reading = c->state == READS_BODY || c->state == READS_CHUNKS;
    if (is_reading || (c->state == READS_HEAD && c->begun_ns))
        return c->begun_ns + settings->request_timeout_ns;
    if (c->exchanges || c->state == READS_NOTHING)
        return 0;
    return c->used_ns + settings->idle_timeout_ns;
}

/* A timer that is set too early is set again when it fires: cheaper than moving it each time. */
static void arm(struct connection *c)
{
    c->deadline_ns = deadline_of(c);
    if (c->deadline_ns && (!loop_timer_is_set(&c->timer) || c->timer.due_ns > c->deadline_ns))
        loop_timer_set(c->server->loop, &c->timer, c->deadline_ns - loop_now(c->server->loop));
}

/* To close with input unread would reset the connection, and the answer could be lost with it. */
static void linger(struct connection *c)
{
    (void)shutdown(c->watch.fd, SHUT_WR);
    c->state = LINGERS;
    c->in.len = 0;
    c->deadline_ns = loop_now(c->server->loop) + LINGER_NS;
}

static bool is_drained(const struct connection *c)
{
    return c->server->is_draining && c->state == READS_HEAD && !c->in.len;
}

static void charge(struct connection *c)
{
    size_t bytes =
        sizeof *c + c->in.cap + c->out.cap + c->chunked_body.cap + c->body_cap * sizeof *c->bodies;
    http_server_charge(c->server, &c->charged_bytes, bytes);
}

/* What is to be waited for now; the end if it is nothing. May close it. */
static void settle(struct connection *c)
{
    bool is_free = !c->exchanges && !c->out_bytes;
    bool is_over = is_free && (c->is_eof || c->state == READS_NOTHING || is_drained(c));
    if (is_over && (c->is_eof || !c->is_refused)) {
        http_connection_close(c);
        return;
    }
    if (is_over)
        linger(c);
    uint32_t events =
        (http_input_can_read(c) ? (uint32_t)EPOLLIN : 0u) | (c->is_stuck ? (uint32_t)EPOLLOUT : 0u);
    if (events != c->watch.events && loop_change(c->server->loop, &c->watch, events) < 0) {
        http_connection_close(c);
        return;
    }
    arm(c);
    charge(c);
}

void http_connection_flush(struct connection *c)
{
    http_output_cancel(c);
    if (!http_output_write(c)) {
        http_connection_close(c);
        return;
    }
    if (c->in.len)
        http_input_use_kept(c);
    settle(c);
}

/* The client sends no more; what is in work is answered all the same. */
static void end_input(struct connection *c)
{
    if (c->current)
        http_input_refuse(c, 400, "the body ends early");
    c->is_eof = true;
}

static void ready(struct loop_watch *w, uint32_t events)
{
    struct connection *c = w->user;
    c->server->flush_is_over = false;
    c->used_ns = loop_now(c->server->loop);
    if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN)) {
        http_connection_close(c);
        return;
    }
    if (events & EPOLLOUT)
        http_output_later(c);
    if (events & EPOLLIN) {
        ssize_t n = http_input_read(c);
        if (n == 0)
            end_input(c);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            http_connection_close(c);
            return;
        }
    }
    if (!c->is_to_flush)
        settle(c);
}

static void expire(struct loop_timer *t)
{
    struct connection *c = t->user;
    if (!c->deadline_ns)
        return;
    if (c->deadline_ns > loop_now(c->server->loop)) {
        arm(c);
        return;
    }
    bool is_begun = c->current || (c->state == READS_HEAD && c->begun_ns);
    if (c->state == LINGERS || c->out_bytes || !is_begun)
        http_connection_close(c);
    else
        http_input_refuse(c, 408, "the request did not come whole in time");
}

void http_connection_open(struct http_server *s, int fd, const char *peer)
{
    struct connection *c = MEM_NEW(struct connection);
    c->server = s;
    c->watch = (struct loop_watch){.fd = fd, .events = EPOLLIN, .fn = ready, .user = c};
    c->timer = (struct loop_timer){.fn = expire, .user = c};
    c->used_ns = loop_now(s->loop);
    (void)snprintf(c->peer, sizeof c->peer, "%s", peer);
    if (loop_add(s->loop, &c->watch) < 0) {
        (void)close(fd);
        mem_free(c);
        return;
    }
    c->next = s->connections;
    if (c->next)
        c->next->previous = c;
    s->connections = c;
    s->connection_count++;
    charge(c);
    arm(c);
}

static void drop_exchanges(struct connection *c)
{
    struct http_server *s = c->server;
    while (c->first) {
        struct exchange *x = c->first;
        c->first = x->next;
        x->connection = NULL;
        if (x == c->current) { /* nobody has seen it yet */
            if (x->request.call.body)
                s->settings.bodies.unref(s->settings.bodies.user, x->request.call.body);
            s->exchanges--;
        }
        if (x == c->current || x->is_answered)
            http_server_give_exchange(s, x);
    }
}

void http_connection_close(struct connection *c)
{
    struct http_server *s = c->server;
    http_output_cancel(c);
    loop_timer_cancel(s->loop, &c->timer);
    loop_remove(s->loop, &c->watch);
    (void)close(c->watch.fd);
    drop_exchanges(c);
    http_server_charge(s, &c->charged_bytes, 0);
    while (c->body_first < c->body_count)
        http_output_drop_body(c);
    *(c->previous ? &c->previous->next : &s->connections) = c->next;
    if (c->next)
        c->next->previous = c->previous;
    s->connection_count--;
    buf_fini(&c->in);
    buf_fini(&c->out);
    buf_fini(&c->chunked_body);
    mem_free(c->bodies);
    mem_free(c);
    http_server_has_room(s);
}

void http_connection_drain(struct connection *c)
{
    if (is_drained(c) && !c->exchanges && !c->out_bytes)
        http_connection_close(c);
}
