/* net/http_input.c: bytes from the client -> requests, handed over when their body is whole. */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/http_connection.h"

enum { KEPT_IN_BYTES = 4096, DIRECT_BYTES = 4096 };

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

void http_input_refuse(struct connection *c, int status, const char *why)
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
        http_output_later(c);
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
        http_output_continue(c);
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

/* ---- what each state takes of n bytes: says how many ---- */

static size_t take_head(struct connection *c, const char *bytes, size_t n)
{
    const char *why = NULL;
    /* One is allowed before a head. */
    if (bytes[0] == '\r' && !c->had_empty_line && c->scanned == 0) {
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
        http_input_refuse(c, -end, why);
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
        http_input_refuse(c, (int)-used, "the chunked body is malformed");
        return n;
    }
    if (data.len > c->body_left) {
        http_input_refuse(c, 413, "the body is larger than this server takes");
        return n;
    }
    c->body_left -= data.len;
    if (c->current && data.len)
        add_chunk(c, data);
    if (http_chunks_is_done(&c->chunks))
        finish_chunks(c);
    return (size_t)used;
}

/* ---- reading ---- */

static size_t take_input(struct connection *c, const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && http_input_can_read(c)) {
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
void http_input_use_kept(struct connection *c)
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

ssize_t http_input_read(struct connection *c)
{
    struct http_server *s = c->server;
    if (c->state == READS_BODY && c->current && c->body_left >= DIRECT_BYTES && !c->in.len)
        return read_body(c);
    if (c->in.len) {
        ssize_t n = read(c->watch.fd, buf_room(&c->in, KEPT_IN_BYTES), KEPT_IN_BYTES);
        if (n > 0) {
            c->in.len += (size_t)n;
            http_input_use_kept(c);
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
