/* net/http_answer.c: answers as bytes, and problems as RFC 9457 wants them. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "net/http_connection.h"

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {100, "Continue"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {207, "Multi-Status"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Status";
}

weir_str http_header(const weir_http_call *c, const char *lower_case_name)
{
    for (size_t i = 0; i < c->headers.count; i++)
        if (weir_same(c->headers.items[i].key, lower_case_name))
            return c->headers.items[i].value;
    return (weir_str){NULL, 0};
}

/* ---- the head ---- */

/* RFC 9110, 5.6.7; strftime would ask the locale. */
static const char *date_of(struct http_server *s)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t now_s = http_server_wall(s) / 1000000000;
    if (now_s == s->date_s)
        return s->date;
    time_t seconds = (time_t)now_s;
    struct tm t = {0};
    (void)gmtime_r(&seconds, &t);
    (void)snprintf(s->date, sizeof s->date, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                   &days[3 * (size_t)t.tm_wday], (unsigned)t.tm_mday % 100,
                   &months[3 * (size_t)t.tm_mon], (unsigned)(t.tm_year + 1900) % 10000,
                   (unsigned)t.tm_hour % 100, (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    s->date_s = now_s;
    return s->date;
}

/* What the server says of the message itself is not the handler's to say. */
static bool is_own_field(weir_str name)
{
    static const char *const own[] = {"content-length", "transfer-encoding",
                                      "connection",     "keep-alive",
                                      "date",           "x-request-id"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (text_same_fold(name, own[i]))
            return true;
    return false;
}

/* A line break in a value would let it forge further fields. */
static bool is_safe_field(const weir_attr *field)
{
    for (size_t i = 0; i < field->key.len; i++)
        if (field->key.ptr[i] <= ' ' || field->key.ptr[i] >= 127 || field->key.ptr[i] == ':')
            return false;
    for (size_t i = 0; i < field->value.len; i++) {
        unsigned char u = (unsigned char)field->value.ptr[i];
        if ((u < ' ' && u != '\t') || u == 127)
            return false;
    }
    return field->key.len > 0;
}

static void add_fields(struct buf *to, weir_pairs headers, bool *has_type)
{
    for (size_t i = 0; i < headers.count; i++) {
        const weir_attr *field = &headers.items[i];
        if (is_own_field(field->key) || !is_safe_field(field))
            continue;
        *has_type = *has_type || text_same_fold(field->key, "content-type");
        buf_add_str(to, field->key);
        buf_add(to, ": ", 2);
        buf_add_str(to, field->value);
        buf_add(to, "\r\n", 2);
    }
}

#define ADD_LITERAL(to, text) buf_add((to), (text), sizeof(text) - 1)

static void add_status(struct buf *to, int status)
{
    if (status < 100 || status > 999)
        status = 500;
    if (status == 202) {
        ADD_LITERAL(to, "HTTP/1.1 202 Accepted\r\nDate: ");
        return;
    }
    ADD_LITERAL(to, "HTTP/1.1 ");
    buf_add_u64(to, (uint64_t)status);
    buf_add_char(to, ' ');
    buf_add_text(to, http_reason(status));
    ADD_LITERAL(to, "\r\nDate: ");
}

static bool has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

static void add_head(struct exchange *x, const struct http_answer *a, struct buf *to)
{
    bool has_type = false;
    size_t length = a->take ? a->take->len : a->text.len;
    add_status(to, a->status);
    buf_add(to, date_of(x->server), DATE_BYTES - 1);
    buf_add(to, "\r\n", 2);
    add_fields(to, a->headers, &has_type);
    if (has_body(a->status)) {
        const char *type = a->content_type;
        if (!type && !has_type && length)
            type = "application/json";
        if (type) {
            weir_attr field = {weir_text("Content-Type"), weir_text(type)};
            add_fields(to, (weir_pairs){1, &field}, &has_type);
        }
        ADD_LITERAL(to, "Content-Length: ");
        buf_add_u64(to, length);
        buf_add(to, "\r\n", 2);
    }
    ADD_LITERAL(to, "X-Request-Id: ");
    buf_add_str(to, x->head.request_id);
    if (x->is_last)
        ADD_LITERAL(to, "\r\nConnection: close\r\n\r\n");
    else if (x->head.minor == 0)
        ADD_LITERAL(to, "\r\nConnection: keep-alive\r\n\r\n");
    else
        ADD_LITERAL(to, "\r\n\r\n");
}

/* ---- answers ---- */

static void drop_payload(struct http_server *s, weir_payload *p)
{
    if (p)
        s->settings.bodies.unref(s->settings.bodies.user, p);
}

static void add_answer(struct exchange *x, const struct http_answer *a)
{
    struct connection *c = x->connection;
    bool is_first = c->first == x;
    struct buf *to = is_first ? &c->out : &x->answer;
    size_t before = to->len;
    weir_payload *body = a->take;
    add_head(x, a, to);
    if (!x->is_head && has_body(a->status)) {
        if (body && body->len > COPY_MAX)
            x->answer_body = body, body = NULL;
        else if (body)
            buf_add(to, body->ptr, body->len);
        else
            buf_add_str(to, a->text);
    }
    drop_payload(x->server, body);
    if (is_first)
        c->out_bytes += to->len - before;
    else
        http_server_charge_exchange(x);
}

static void drop_request_body(struct exchange *x)
{
    drop_payload(x->server, x->request.call.body);
    x->request.call.body = NULL;
}

void http_answer(struct http_request *r, const struct http_answer *a)
{
    struct exchange *x = (struct exchange *)r; /* its first member */
    struct http_server *s = x->server;
    struct connection *c = x->connection;
    s->exchanges--;
    if (!c) {
        drop_payload(s, a->take);
        drop_request_body(x);
        http_server_give_exchange(s, x);
        return;
    }
    if (s->is_draining && c->last == x && c->state == READS_HEAD)
        x->is_last = true;
    add_answer(x, a);
    drop_request_body(x); /* not before: the answer's text may lie in it */
    x->is_answered = true;
    http_output_advance(c);
}

/* ---- problems ---- */

static void add_json(struct buf *to, weir_str s)
{
    buf_add_char(to, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char u = (unsigned char)s.ptr[i];
        if (u == '"' || u == '\\')
            buf_add_char(to, '\\');
        if (u < ' ')
            buf_print(to, "\\u%04x", u);
        else
            buf_add_char(to, (char)u);
    }
    buf_add_char(to, '"');
}

void http_answer_problem(struct exchange *x, int status, const char *detail, weir_pairs headers)
{
    struct buf body = {0};
    ADD_LITERAL(&body, "{\"type\":\"about:blank\",\"title\":");
    add_json(&body, weir_text(http_reason(status)));
    ADD_LITERAL(&body, ",\"status\":");
    buf_add_u64(&body, (uint64_t)status);
    if (detail && *detail) {
        ADD_LITERAL(&body, ",\"detail\":");
        weir_str text = weir_text(detail);
        add_json(&body, text_is_utf8(text) ? text : weir_text("the detail is not UTF-8"));
    }
    ADD_LITERAL(&body, ",\"request_id\":");
    add_json(&body, x->head.request_id);
    buf_add_char(&body, '}');
    struct http_answer answer = {.status = status,
                                 .content_type = "application/problem+json",
                                 .headers = headers,
                                 .text = buf_str(&body)};
    http_answer(&x->request, &answer);
    buf_fini(&body);
}

void http_problem(struct http_request *r, int status, const char *detail, unsigned retry_after_s)
{
    char seconds[16];
    (void)snprintf(seconds, sizeof seconds, "%u", retry_after_s);
    weir_attr field = {weir_text("Retry-After"), weir_text(seconds)};
    weir_pairs headers = {retry_after_s ? 1 : 0, &field};
    http_answer_problem((struct exchange *)r, status, detail, headers);
}
