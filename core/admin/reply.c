/* admin/reply.c: what all calls share: the answer, what the path and the query say, who may change. */
#include "admin/calls.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

void reply(struct http_request *r, int status, const char *type, struct buf *text)
{
    const struct http_answer a = {.status = status, .content_type = type, .text = buf_str(text)};
    http_answer(r, &a);
    buf_fini(text);
}

bool reply_is_allowed(struct http_request *r)
{
    if (http_header(&r->call, "x-weir-control").ptr)
        return true;
    http_problem(r, 403, "calls that change something need the header X-Weir-Control: 1", 0);
    return false;
}

void reply_failed(struct http_request *r, const struct error *e)
{
    http_problem(r, e->code == EXIT_BAD_DATA ? 404 : 500, e->text, 0);
}

void reply_name(const struct http_request *r, char *name, size_t size)
{
    const weir_str *value = &r->call.params.items[0].value;
    (void)snprintf(name, size, "%.*s", (int)value->len, value->ptr);
}

/* The value of a query's key, or "". */
void reply_query(const struct http_request *r, const char *key, char *value, size_t size)
{
    weir_str q = r->call.query;
    size_t n = strlen(key);
    *value = 0;
    while (q.len) {
        const char *end = memchr(q.ptr, '&', q.len);
        size_t len = end ? (size_t)(end - q.ptr) : q.len;
        if (len > n && memcmp(q.ptr, key, n) == 0 && q.ptr[n] == '=')
            (void)snprintf(value, size, "%.*s", (int)(len - n - 1), q.ptr + n + 1);
        q.ptr += len + (end != NULL);
        q.len -= len + (end != NULL);
    }
}

uint64_t reply_query_number(const struct http_request *r, const char *key, uint64_t preset)
{
    char text[32];
    uint64_t n = 0;
    reply_query(r, key, text, sizeof text);
    return text_to_u64(weir_text(text), &n) ? n : preset;
}
