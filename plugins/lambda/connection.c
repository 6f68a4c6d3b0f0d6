/* lambda/connection.c: sockets of the Runtime API. */
#include "connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void connection_open(struct connection *c, const weir_host *h, int take_fd, size_t body_max)
{
    c->fd = take_fd;
    c->is_sending = c->is_asking = false;
    c->body = NULL;
    http_reader_init(&c->reader, body_max);
    (void)h->watch(h, c->fd, WEIR_READ);
}

void connection_close(struct connection *c, const weir_host *h)
{
    if (c->fd < 0)
        return;
    (void)h->watch(h, c->fd, 0);
    (void)close(c->fd);
    c->fd = -1;
    c->is_asking = c->is_sending = false;
    if (c->body)
        h->unref(h, c->body);
    c->body = NULL;
    http_reader_fini(&c->reader, h);
}

static int parse(struct connection *c, const weir_host *h)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    int got = http_read(&c->reader, h);
    while (got == HTTP_CONTINUE) {
        (void)!send(c->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL);
        got = http_read(&c->reader, h);
    }
    return got;
}

int connection_receive(struct connection *c, const weir_host *h)
{
    for (;;) {
        struct http_reader *r = &c->reader;
        int got = c->is_sending || c->is_asking ? HTTP_MORE : parse(c, h);
        if (got == HTTP_WHOLE)
            return got;
        ssize_t n = 0;
        if (got == HTTP_MORE && r->used < sizeof r->buffer)
            n = recv(c->fd, r->buffer + r->used, sizeof r->buffer - r->used, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return HTTP_MORE;
        if (n <= 0) { /* gone, or no HTTP */
            connection_close(c, h);
            return HTTP_BAD;
        }
        r->used += (size_t)n;
    }
}

void connection_flush(struct connection *c, const weir_host *h)
{
    weir_str body = c->body ? (weir_str){c->body->ptr, c->body->len} : c->text;
    while (c->sent < c->head_len + body.len) {
        size_t from_head = c->sent < c->head_len ? c->sent : c->head_len;
        size_t from_body = c->sent - from_head;
        union {
            const char *from;
            void *to;
        } head = {.from = c->head + from_head}, rest = {.from = body.ptr + from_body};
        struct iovec parts[2] = {{head.to, c->head_len - from_head},
                                 {rest.to, body.len - from_body}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = body.len ? 2 : 1};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            (void)h->watch(h, c->fd, WEIR_WRITE);
            return;
        }
        if (n < 0) {
            connection_close(c, h);
            return;
        }
        c->sent += (size_t)n;
    }
    if (c->body)
        h->unref(h, c->body);
    c->body = NULL;
    c->is_sending = false;
    http_next(&c->reader, h);
    if (c->reader.is_last)
        connection_close(c, h);
    else
        (void)h->watch(h, c->fd, WEIR_READ);
}

void connection_answer(struct connection *c, const weir_host *h, int status, const char *headers,
                       weir_payload *take, const char *text)
{
    c->body = take;
    c->text = weir_text(text ? text : "");
    c->head_len =
        http_write_head(c->head, sizeof c->head, status, headers, take ? take->len : c->text.len);
    c->sent = 0;
    c->is_asking = false;
    c->is_sending = true;
    connection_flush(c, h);
}
