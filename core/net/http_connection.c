/* net/http_connection.c: one client: reads requests, hands them over, writes answers in their order. */
#include "net/http_connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"

enum { IOVECS = 16, KEPT_IN_BYTES = 4096, KEPT_OUT_BYTES = 32 * 1024, DIRECT_BYTES = 4096 };

/* ---- the line of those with answers to send ---- */

static void flush_later(struct connection *c)
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

static void flush_no_more(struct connection *c)
{
    struct http_server *s = c->server;
    if (!c->is_to_flush)
        return;
    c->is_to_flush = false;
    *(c->flush_previous ? &c->flush_previous->flush_next : &s->to_flush) = c->flush_next;
    *(c->flush_next ? &c->flush_next->flush_previous : &s->last_to_flush) = c->flush_previous;
}

/* ---- exchanges ---- */

static struct exchange *open_exchange(struct connection *c, const char *head, size_t n)
{
    struct exchange *x = http_server_take_exchange(c->server);
    size_t need = 2 * n + 1; /* decoded parameters go behind the head */
    if (x->text_cap < need) {
        x->text = mem_grow(x->text, need);
        x->text_cap = need;
    }
    http_server_charge_exchange(x);
    memcpy(x->text, head, n);
    x->connection = c;
    x->request.begun_ns = c->begun_ns;
    *(c->last ? &c->last->next : &c->first) = x;
    c->last = x;
    c->exchanges++;
    return x;
}

/* Who asks for x-request-id gets the one that the answer will carry. */
static void make_request_id(struct exchange *x)
{
    struct http_head *h = &x->head;
    weir_id id;
    size_t i = 0;
    id_make(&id, http_server_wall(x->server));
    id_format(&id, x->id);
    h->request_id = (weir_str){x->id, ID_TEXT_BYTES - 1};
    while (i < h->header_count && !weir_same(h->headers[i].key, "x-request-id"))
        i++;
    if (i == h->header_count)
        h->header_count++;
    h->headers[i] = (weir_attr){{"x-request-id", 12}, h->request_id};
}

/* After the parser, also a failed one: what it has found so far is well formed. */
static void fill_call(struct exchange *x)
{
    struct http_head *h = &x->head;
    weir_http_call *call = &x->request.call;
    if (!h->request_id.len)
        make_request_id(x);
    call->method = h->method;
    call->path = h->path;
    call->query = h->query;
    call->peer = (weir_str){x->peer, strlen(x->connection->peer)};
    memcpy(x->peer, x->connection->peer, call->peer.len + 1);
    call->headers = (weir_pairs){h->header_count, h->headers};
    x->is_head = strcmp(h->method, "HEAD") == 0;
}

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

static void add_continue(struct connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    c->first->wants_continue = false;
    buf_add(&c->out, text, sizeof text - 1);
    c->out_bytes += sizeof text - 1;
    flush_later(c);
}

void http_connection_advance(struct connection *c)
{
    while (c->first && c->first->is_answered)
        pop_exchange(c);
    if (c->first && c->first->wants_continue)
        add_continue(c);
    if (c->out_bytes)
        flush_later(c);
}

/* ---- refusals ---- */

/* The exchange is answered, nothing more is read, and the connection ends after the answer. */
static void refuse_exchange(struct exchange *x, int status, const char *why)
{
    static const weir_pairs none;
    struct connection *c = x->connection;
    c->state = READS_NOTHING;
    c->is_refused = true;
    c->current = NULL;
    x->is_last = true;
    http_answer_problem(x, status, why, none);
}

/* What is being read is no request. */
static void refuse(struct connection *c, int status, const char *why)
{
    if (c->state == READS_HEAD) {
        struct exchange *x = open_exchange(c, "", 0);
        x->head = (struct http_head){.method = "", .minor = 1};
        fill_call(x);
        refuse_exchange(x, status, why);
    } else if (c->current) {
        refuse_exchange(c->current, status, why);
    } else { /* a body that is thrown away: its request has its answer */
        c->state = READS_NOTHING;
        c->is_refused = true;
        flush_later(c);
    }
}

/* ---- requests ---- */

static int find_route(struct exchange *x, const char **why)
{
    const struct http_head *h = &x->head;
    http_server_hold_table(x);
    if (!x->table->routes.count)
        return 0;
    x->match.allow[0] = 0;
    routes_find(&x->table->routes, h->method, h->path, x->text + x->text_cap / 2, &x->match);
    *why = x->match.status == 404 ? "no route has this path"
           : x->match.status      ? "this path has other methods, see Allow"
                                  : NULL;
    x->request.route_arg = x->match.arg;
    x->request.call.params = (weir_pairs){x->match.param_count, x->match.params};
    return x->match.status;
}

static void answer_early(struct exchange *x, int status, const char *why)
{
    weir_attr field = {weir_text("Allow"), weir_text(x->match.allow)};
    if (status == 429 || status == 503)
        field = (weir_attr){weir_text("Retry-After"), weir_text("1")};
    bool has_field = status == 204 || status == 405 || status == 429 || status == 503;
    weir_pairs headers = {has_field ? 1 : 0, &field};
    struct http_answer empty = {.status = status, .headers = headers};
    if (status < 300)
        http_answer(&x->request, &empty);
    else
        http_answer_problem(x, status, why, headers);
}

static void finish_request(struct connection *c)
{
    struct http_server *s = c->server;
    struct exchange *x = c->current;
    c->current = NULL;
    c->begun_ns = 0;
    c->state = READS_HEAD;
    if (!x)
        return;
    if (x->is_last)
        c->state = READS_NOTHING;
    const char *why = NULL;
    int status = x->table == s->table ? 0 : find_route(x, &why);
    if (status)
        answer_early(x, status, why);
    else
        s->settings.request(s->settings.user, &x->request);
}

static bool needs_length(const struct http_head *h)
{
    return !h->has_length && !h->is_chunked &&
           (strcmp(h->method, "POST") == 0 || strcmp(h->method, "PUT") == 0 ||
            strcmp(h->method, "PATCH") == 0);
}

/* 0, or the status to answer with before the body is read. */
static int judge(struct exchange *x, const char **why)
{
    struct http_server *s = x->server;
    struct http_head *h = &x->head;
    *why = NULL;
    if (h->length > s->settings.body_max) {
        *why = "the body is larger than this server takes";
        return 413;
    }
    int status = find_route(x, why);
    if (status)
        return status;
    if (needs_length(h)) {
        *why = "a body needs Content-Length or Transfer-Encoding: chunked";
        return 411;
    }
    if (!s->settings.admit)
        return 0;
    status = s->settings.admit(s->settings.user, &x->request);
    if (status == 503 || status == 429)
        *why = "there is no room now; try again";
    return status;
}

/* The body that follows is read and thrown away, so that the connection can go on; not if it is too
 * large, or if the client waits for a word to send it. */
static void refuse_request(struct connection *c, struct exchange *x, int status, const char *why)
{
    const struct http_head *h = &x->head;
    bool has_body = h->is_chunked || h->length;
    if (has_body && (h->length > c->server->settings.body_max || h->expects_continue)) {
        refuse_exchange(x, status, why);
        return;
    }
    c->current = NULL;
    c->chunks = (struct http_chunks){0};
    c->body_at = NULL;
    c->body_left = h->is_chunked ? c->server->settings.body_max : h->length;
    c->state = h->is_chunked ? READS_CHUNKS : READS_BODY;
    c->is_refused = has_body && x->is_last;
    if (!has_body) {
        c->begun_ns = 0;
        c->state = x->is_last ? READS_NOTHING : READS_HEAD;
    }
    answer_early(x, status, why);
}

static bool alloc_body(struct exchange *x, size_t n, char **data)
{
    const struct http_bodies *bodies = &x->server->settings.bodies;
    x->request.call.body = bodies->alloc(bodies->user, n, data);
    return x->request.call.body != NULL;
}

static void begin_body(struct connection *c, struct exchange *x, bool has_more)
{
    const struct http_head *h = &x->head;
    c->current = x;
    c->chunks = (struct http_chunks){0};
    c->chunked_body.len = 0;
    c->body_left = h->is_chunked ? c->server->settings.body_max : h->length;
    c->state = h->is_chunked ? READS_CHUNKS : READS_BODY;
    x->wants_continue = h->expects_continue && !has_more && c->body_left;
    if (x->wants_continue && c->first == x)
        add_continue(c);
    if (!h->is_chunked && h->length == 0)
        finish_request(c);
}

static void begin_request(struct connection *c, struct exchange *x, bool has_more)
{
    const char *why;
    x->is_last = !x->head.keeps_alive || c->server->is_draining;
    int status = judge(x, &why);
    if (!status && !x->head.is_chunked && !alloc_body(x, x->head.length, &c->body_at)) {
        status = 503;
        why = "there is no memory for the body now; try again";
    }
    if (status)
        refuse_request(c, x, status, why);
    else
        begin_body(c, x, has_more);
}

/* ---- input: each takes what it can of n bytes, and says how many ---- */

static size_t take_head(struct connection *c, const char *bytes, size_t n)
{
    const char *why = NULL;
    if (bytes[0] == '\r' && !c->had_empty_line &&
        c->scanned == 0) { /* one is allowed before a head */
        if (n < 2)
            return 0;
        c->had_empty_line = bytes[1] == '\n';
        if (c->had_empty_line)
            return 2;
    }
    if (!c->begun_ns)
        c->begun_ns = c->used_ns;
    int end = http_parse_end(bytes, n, &c->scanned, &why);
    if (end == 0)
        return 0;
    c->scanned = 0;
    c->had_empty_line = false;
    if (end < 0) {
        refuse(c, -end, why);
        return n;
    }
    struct exchange *x = open_exchange(c, bytes, (size_t)end);
    int status = http_parse_head(&x->head, x->text, (size_t)end);
    fill_call(x);
    if (status) {
        refuse_exchange(x, status, x->head.why);
        return n;
    }
    begin_request(c, x, n > (size_t)end);
    return (size_t)end;
}

static size_t take_body(struct connection *c, const char *bytes, size_t n)
{
    if (n > c->body_left)
        n = (size_t)c->body_left;
    if (c->current) {
        memcpy(c->body_at, bytes, n);
        c->body_at += n;
    }
    c->body_left -= n;
    if (c->body_left == 0)
        finish_request(c);
    return n;
}

static void finish_chunks(struct connection *c)
{
    struct exchange *x = c->current;
    char *data;
    if (x && !alloc_body(x, c->chunked_body.len, &data)) {
        c->current = NULL;
        finish_request(c);
        answer_early(x, 503, "there is no memory for the body now; try again");
        return;
    }
    if (x && c->chunked_body.len)
        memcpy(data, c->chunked_body.ptr, c->chunked_body.len);
    if (c->chunked_body.cap > KEPT_OUT_BYTES)
        buf_fini(&c->chunked_body);
    finish_request(c);
}

/* A length that nobody told is asked for as it comes. */
static void add_chunk(struct connection *c, weir_str data)
{
    struct http_server *s = c->server;
    struct buf *body = &c->chunked_body;
    if (body->cap - body->len < data.len && s->settings.budget &&
        !budget_has_room(s->settings.budget, 2 * (body->cap + data.len))) {
        struct exchange *x = c->current;
        c->current = NULL; /* the rest is thrown away */
        buf_fini(body);
        answer_early(x, 503, "there is no memory for the body now; try again");
        return;
    }
    buf_add(body, data.ptr, data.len);
}

static size_t take_chunks(struct connection *c, const char *bytes, size_t n)
{
    weir_str data;
    int64_t used = http_chunks_feed(&c->chunks, (weir_str){bytes, n}, &data);
    if (used < 0) {
        refuse(c, (int)-used, "the chunked body is malformed");
        return n;
    }
    if (data.len > c->body_left) {
        refuse(c, 413, "the body is larger than this server takes");
        return n;
    }
    c->body_left -= data.len;
    if (c->current && data.len)
        add_chunk(c, data);
    if (http_chunks_is_done(&c->chunks))
        finish_chunks(c);
    return (size_t)used;
}

static bool can_read(const struct connection *c)
{
    if (c->state == READS_NOTHING || c->is_eof)
        return false;
    bool has_room = c->state != READS_HEAD || c->exchanges < EXCHANGES_MAX;
    return c->state == LINGERS || (has_room && c->out_bytes < OUT_MAX);
}

static size_t take_input(struct connection *c, const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && can_read(c)) {
        size_t used;
        if (c->state == READS_HEAD)
            used = take_head(c, bytes + at, n - at);
        else if (c->state == READS_BODY)
            used = take_body(c, bytes + at, n - at);
        else
            used = take_chunks(c, bytes + at, n - at);
        if (used == 0)
            break;
        at += used;
    }
    return c->state == READS_NOTHING ? n : at;
}

/* What was kept because it was not whole, or because too much was in work. */
static void use_kept(struct connection *c)
{
    size_t used = take_input(c, c->in.ptr, c->in.len);
    c->in.len -= used;
    if (c->in.len)
        memmove(c->in.ptr, c->in.ptr + used, c->in.len);
    else if (c->in.cap > KEPT_IN_BYTES)
        buf_fini(&c->in);
}

/* The rest of a large body goes straight to its place. */
static ssize_t read_body(struct connection *c)
{
    struct http_server *s = c->server;
    struct iovec parts[] = {{c->body_at, (size_t)c->body_left}, {s->scratch, SCRATCH_BYTES}};
    ssize_t n = readv(c->watch.fd, parts, 2);
    if (n <= 0)
        return n;
    size_t got = (size_t)n, mine = got < c->body_left ? got : (size_t)c->body_left;
    c->body_at += mine;
    c->body_left -= mine;
    if (c->body_left)
        return n;
    finish_request(c);
    size_t used = take_input(c, s->scratch, got - mine);
    if (used < got - mine)
        buf_add(&c->in, s->scratch + used, got - mine - used);
    return n;
}

static ssize_t read_more(struct connection *c)
{
    struct http_server *s = c->server;
    if (c->state == READS_BODY && c->current && c->body_left >= DIRECT_BYTES && !c->in.len)
        return read_body(c);
    if (c->in.len) {
        ssize_t n = read(c->watch.fd, buf_room(&c->in, KEPT_IN_BYTES), KEPT_IN_BYTES);
        if (n > 0) {
            c->in.len += (size_t)n;
            use_kept(c);
        }
        return n;
    }
    ssize_t n = read(c->watch.fd, s->scratch, SCRATCH_BYTES);
    if (n <= 0 || c->state == LINGERS)
        return n;
    size_t used = take_input(c, s->scratch, (size_t)n);
    if (used < (size_t)n)
        buf_add(&c->in, s->scratch + used, (size_t)n - used);
    return n;
}

/* ---- output ---- */

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

static void drop_first_body(struct connection *c)
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
        drop_first_body(c);
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

/* False: the client is gone. */
static bool write_out(struct connection *c)
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

/* ---- life ---- */

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

/* What is to be waited for now; the end if it is nothing. May close it. */
static void charge(struct connection *c)
{
    size_t bytes =
        sizeof *c + c->in.cap + c->out.cap + c->chunked_body.cap + c->body_cap * sizeof *c->bodies;
    http_server_charge(c->server, &c->charged_bytes, bytes);
}

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
        (can_read(c) ? (uint32_t)EPOLLIN : 0u) | (c->is_stuck ? (uint32_t)EPOLLOUT : 0u);
    if (events != c->watch.events && loop_change(c->server->loop, &c->watch, events) < 0) {
        http_connection_close(c);
        return;
    }
    arm(c);
    charge(c);
}

void http_connection_flush(struct connection *c)
{
    flush_no_more(c);
    if (!write_out(c)) {
        http_connection_close(c);
        return;
    }
    if (c->in.len)
        use_kept(c);
    settle(c);
}

/* The client sends no more; what is in work is answered all the same. */
static void end_input(struct connection *c)
{
    if (c->current)
        refuse(c, 400, "the body ends early");
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
        flush_later(c);
    if (events & EPOLLIN) {
        ssize_t n = read_more(c);
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
        refuse(c, 408, "the request did not come whole in time");
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
    flush_no_more(c);
    loop_timer_cancel(s->loop, &c->timer);
    loop_remove(s->loop, &c->watch);
    (void)close(c->watch.fd);
    drop_exchanges(c);
    http_server_charge(s, &c->charged_bytes, 0);
    while (c->body_first < c->body_count)
        drop_first_body(c);
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
