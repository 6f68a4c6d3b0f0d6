/* lambda/http.c: requests of a runtime, read from bytes as they come. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "http.h"

enum { AT_HEAD, AT_BODY, AT_CHUNK, AT_CHUNK_DATA, AT_CHUNK_END, AT_TRAILER, AT_WHOLE };

void http_reader_init(struct http_reader *r, size_t body_max)
{
    r->used = 0;
    r->body = NULL;
    r->size_max = body_max;
    r->state = AT_HEAD;
}

void http_reader_fini(struct http_reader *r, const weir_host *h)
{
    if (r->body)
        h->unref(h, r->body);
    r->body = NULL;
}

void http_next(struct http_reader *r, const weir_host *h)
{
    http_reader_fini(r, h);
    r->state = AT_HEAD;
}

static void consume(struct http_reader *r, size_t n)
{
    memmove(r->buffer, r->buffer + n, r->used - n);
    r->used -= n;
}

/* ---- the head -------------------------------------------------------------------------------- */

static bool copy_word(char *to, size_t size, const char *from, size_t n)
{
    if (!n || n >= size)
        return false;
    memcpy(to, from, n);
    to[n] = 0;
    return true;
}

static bool read_request_line(struct http_reader *r, const char *line, size_t n)
{
    const char *path = memchr(line, ' ', n);
    const char *version = path ? memchr(path + 1, ' ', n - (size_t)(path + 1 - line)) : NULL;
    if (!version || line + n - version != 9 || memcmp(version, " HTTP/1.", 8) != 0)
        return false;
    r->is_last = version[8] == '0';
    return copy_word(r->method, sizeof r->method, line, (size_t)(path - line)) &&
           copy_word(r->path, sizeof r->path, path + 1, (size_t)(version - path - 1));
}

static bool is_header(weir_str name, const char *lower)
{
    return name.len == strlen(lower) && strncasecmp(name.ptr, lower, name.len) == 0;
}

static bool is_value(weir_str value, const char *lower)
{
    return is_header(value, lower);
}

static bool read_length(struct http_reader *r, weir_str value)
{
    if (!value.len || value.len > 15)
        return false;
    r->left = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
        r->left = r->left * 10 + (size_t)(value.ptr[i] - '0');
    }
    return true;
}

static bool take_header(struct http_reader *r, weir_str name, weir_str value)
{
    if (is_header(name, "content-length"))
        return read_length(r, value);
    if (is_header(name, "transfer-encoding")) {
        r->is_chunked = is_value(value, "chunked");
        return r->is_chunked;
    }
    if (is_header(name, "connection") && is_value(value, "close"))
        r->is_last = true;
    if (is_header(name, "expect") && is_value(value, "100-continue"))
        r->is_waiting = true;
    if (is_header(name, "lambda-runtime-function-error-type"))
        (void)copy_word(r->error_type, sizeof r->error_type, value.ptr, value.len);
    return true;
}

static bool read_header(struct http_reader *r, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n), *end = line + n;
    if (!colon || colon == line)
        return false;
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return take_header(r, (weir_str){line, (size_t)(colon - line)},
                       (weir_str){value, (size_t)(end - value)});
}

static int read_head(struct http_reader *r, const weir_host *h)
{
    const char *end = memmem(r->buffer, r->used, "\r\n\r\n", 4);
    if (!end)
        return r->used == sizeof r->buffer ? HTTP_BAD : HTTP_MORE;
    r->left = 0;
    r->filled = r->capacity = 0;
    r->is_chunked = r->is_waiting = r->is_too_large = r->is_out_of_memory = false;
    r->error_type[0] = 0;
    bool is_first = true;
    for (const char *line = r->buffer; line <= end;) {
        const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        bool is_good = is_first ? read_request_line(r, line, (size_t)(stop - line))
                                : read_header(r, line, (size_t)(stop - line));
        if (!is_good)
            return HTTP_BAD;
        is_first = false;
        line = stop + 2;
    }
    consume(r, (size_t)(end + 4 - r->buffer));
    r->state = r->is_chunked ? AT_CHUNK : r->left ? AT_BODY : AT_WHOLE;
    if (!r->is_chunked && r->left && r->left <= r->size_max) {
        r->capacity = r->left;
        r->body = h->alloc(h, r->capacity, &r->data);
        r->is_out_of_memory = !r->body;
    }
    return r->is_waiting && r->state != AT_WHOLE ? HTTP_CONTINUE : HTTP_MORE;
}

/* ---- the body -------------------------------------------------------------------------------- */

static void discard(struct http_reader *r, const weir_host *h, bool is_out_of_memory)
{
    if (r->body)
        h->unref(h, r->body);
    r->body = NULL;
    r->is_out_of_memory |= is_out_of_memory;
    r->is_too_large |= !is_out_of_memory;
}

/* Makes room for n more bytes of a body whose length is not known. */
static void grow(struct http_reader *r, const weir_host *h, size_t n)
{
    char *data = NULL;
    if (r->is_too_large || r->is_out_of_memory)
        return;
    if (r->filled + n > r->size_max) {
        discard(r, h, false);
        return;
    }
    if (r->filled + n <= r->capacity)
        return;
    size_t capacity = r->capacity ? r->capacity : 4096;
    while (capacity < r->filled + n)
        capacity *= 2;
    weir_payload *body = h->alloc(h, capacity, &data);
    if (!body) {
        discard(r, h, true);
        return;
    }
    if (r->body) {
        memcpy(data, r->data, r->filled);
        h->unref(h, r->body);
    }
    r->body = body;
    r->data = data;
    r->capacity = capacity;
}

/* Takes what the buffer has of the next `left` bytes; true when nothing is left. */
static bool fill(struct http_reader *r, const weir_host *h)
{
    size_t n = r->used < r->left ? r->used : r->left;
    grow(r, h, n);
    if (r->body && r->filled + n <= r->capacity)
        memcpy(r->data + r->filled, r->buffer, n);
    r->filled += n;
    r->left -= n;
    consume(r, n);
    return r->left == 0;
}

/* The line at the front of the buffer without its end; ptr NULL: not there yet. */
static weir_str front_line(const struct http_reader *r)
{
    const char *end = memmem(r->buffer, r->used, "\r\n", 2);
    return end ? (weir_str){r->buffer, (size_t)(end - r->buffer)} : (weir_str){NULL, 0};
}

static int read_chunk_size(struct http_reader *r)
{
    weir_str line = front_line(r);
    size_t digits = 0;
    if (!line.ptr)
        return r->used > 1024 ? HTTP_BAD : HTTP_MORE;
    r->left = 0;
    for (; digits < line.len && line.ptr[digits] != ';' && line.ptr[digits] != ' '; digits++) {
        const char *all = "0123456789abcdef", *at = strchr(all, line.ptr[digits] | 0x20);
        if (!at || digits > 7)
            return HTTP_BAD;
        r->left = r->left * 16 + (size_t)(at - all);
    }
    if (!digits)
        return HTTP_BAD;
    consume(r, line.len + 2);
    r->state = r->left ? AT_CHUNK_DATA : AT_TRAILER;
    return HTTP_CONTINUE;
}

static int read_chunk_end(struct http_reader *r)
{
    if (r->used < 2)
        return HTTP_MORE;
    if (memcmp(r->buffer, "\r\n", 2) != 0)
        return HTTP_BAD;
    consume(r, 2);
    r->state = AT_CHUNK;
    return HTTP_CONTINUE;
}

static int read_trailer(struct http_reader *r)
{
    weir_str line = front_line(r);
    if (!line.ptr)
        return r->used == sizeof r->buffer ? HTTP_BAD : HTTP_MORE;
    consume(r, line.len + 2);
    if (!line.len)
        r->state = AT_WHOLE;
    return HTTP_CONTINUE;
}

/* One step in the body; CONTINUE: there may be another one. */
static int step(struct http_reader *r, const weir_host *h)
{
    switch (r->state) {
    case AT_BODY:
        if (r->left > r->size_max || r->is_too_large) /* its length was told: never kept */
            r->is_too_large = true;
        if (!fill(r, h))
            return HTTP_MORE;
        r->state = AT_WHOLE;
        return HTTP_CONTINUE;
    case AT_CHUNK:
        return read_chunk_size(r);
    case AT_CHUNK_DATA:
        if (!fill(r, h))
            return HTTP_MORE;
        r->state = AT_CHUNK_END;
        return HTTP_CONTINUE;
    case AT_CHUNK_END:
        return read_chunk_end(r);
    default:
        return read_trailer(r);
    }
}

static void trim_body(struct http_reader *r, const weir_host *h)
{
    if (!r->body || r->filled == r->capacity)
        return;
    weir_payload *exact = h->slice(h, r->body, 0, r->filled);
    h->unref(h, r->body);
    r->body = exact;
    r->is_out_of_memory = !exact;
}

int http_read(struct http_reader *r, const weir_host *h)
{
    if (r->state == AT_WHOLE)
        return HTTP_WHOLE;
    if (r->state == AT_HEAD) {
        int got = read_head(r, h);
        if (got != HTTP_MORE || r->state == AT_HEAD)
            return got;
    }
    while (r->state != AT_WHOLE) {
        int got = step(r, h);
        if (got != HTTP_CONTINUE)
            return got;
    }
    trim_body(r, h);
    return HTTP_WHOLE;
}

/* ---- responses ------------------------------------------------------------------------------- */

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    default:
        return "Error";
    }
}

size_t http_write_head(char *text, size_t size, int status, const char *headers, size_t body)
{
    int n = snprintf(text, size,
                     "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "%s\r\n",
                     status, reason(status), body, headers);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}
