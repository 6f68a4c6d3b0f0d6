/* http/headers.c: what a request's headers say: its type, its trace, its id. */
#include "headers.h"

enum { REQUEST_ID_MAX = 128 };

struct headers headers_read(const weir_http_call *call)
{
    struct headers found = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    for (size_t i = 0; i < call->headers.count; i++) {
        const weir_attr *header = &call->headers.items[i];
        if (weir_same(header->key, "content-type"))
            found.content_type = header->value;
        else if (weir_same(header->key, "traceparent"))
            found.traceparent = header->value;
        else if (weir_same(header->key, "content-encoding"))
            found.encoding = header->value;
        else if (weir_same(header->key, "x-request-id"))
            found.request_id = header->value;
    }
    return found;
}

static bool same_letters(const char *a, const char *lower, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = a[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != lower[i])
            return false;
    }
    return true;
}

/* application/json, or a type that ends with +json, whatever its parameters. */
bool headers_is_json(weir_str type)
{
    static const char whole[] = "application/json", end[] = "+json";
    const size_t whole_len = sizeof whole - 1, end_len = sizeof end - 1;
    size_t len = 0;
    while (len < type.len && type.ptr[len] != ';')
        len++;
    while (len && (type.ptr[len - 1] == ' ' || type.ptr[len - 1] == '\t'))
        len--;
    if (len == whole_len)
        return same_letters(type.ptr, whole, len);
    return len > end_len && same_letters(type.ptr + len - end_len, end, end_len);
}

/* W3C Trace Context, version 00: lower-case hex, neither id all zeros. */
bool headers_is_traceparent(weir_str text)
{
    if (text.len != TRACEPARENT_LEN || memcmp(text.ptr, "00-", 3) != 0)
        return false;
    bool has_trace = false, has_span = false;
    for (size_t i = 3; i < text.len; i++) {
        char c = text.ptr[i];
        if (i == 35 || i == 52) {
            if (c != '-')
                return false;
            continue;
        }
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        has_trace |= i < 35 && c != '0';
        has_span |= i > 35 && i < 52 && c != '0';
    }
    return has_trace && has_span;
}

bool headers_is_request_id(weir_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e)
            return false;
    return text.len > 0 && text.len <= REQUEST_ID_MAX;
}

/* The same trace and a span of our own, made of the random half of the event's id. */
void headers_continue_trace(char to[TRACEPARENT_LEN], const char from[TRACEPARENT_LEN],
                            const weir_id *id)
{
    static const char digits[] = "0123456789abcdef";
    memcpy(to, from, TRACEPARENT_LEN);
    for (size_t i = 0; i < 8; i++) {
        to[36 + 2 * i] = digits[id->bytes[8 + i] >> 4];
        to[37 + 2 * i] = digits[id->bytes[8 + i] & 0xf];
    }
}
