/* pipeline/codec.c: an event as bytes. */
#include "pipeline/codec.h"

#include <string.h>

struct head { /* on disk; fixed by _Static_assert */
    uint8_t version, flags;
    uint16_t attrs;
    uint32_t source, type, key;
    int64_t time_ns;
    uint8_t id[16];
    uint8_t trace[25];
    uint8_t zero[7];
};
_Static_assert(sizeof(struct head) == 72, "the format of version 1");

enum { VERSION = 1, FLAG_JSON = 1 };

void codec_write(const weir_event *ev, struct buf *out)
{
    struct head h = {.version = VERSION, .attrs = (uint16_t)ev->attrs.count};
    h.flags = payload_is_json(ev->body) ? FLAG_JSON : 0;
    h.source = (uint32_t)ev->source.len;
    h.type = (uint32_t)ev->type.len;
    h.key = (uint32_t)ev->key.len;
    h.time_ns = ev->time_ns;
    memcpy(h.id, ev->id.bytes, sizeof h.id);
    memcpy(h.trace, &ev->trace, sizeof h.trace);
    buf_add(out, &h, sizeof h);
    buf_add_str(out, ev->source);
    buf_add_str(out, ev->type);
    buf_add_str(out, ev->key);
    for (size_t i = 0; i < h.attrs; i++) {
        const weir_attr *a = &ev->attrs.items[i];
        uint32_t lens[2] = {(uint32_t)a->key.len, (uint32_t)a->value.len};
        buf_add(out, lens, sizeof lens);
        buf_add_str(out, a->key);
        buf_add_str(out, a->value);
    }
}

struct iovec codec_body(const weir_event *ev)
{
    union {
        const char *in;
        char *out;
    } same = {ev->body->ptr};
    return (struct iovec){same.out, ev->body->len};
}

static bool take(weir_str *from, size_t n, weir_str *part)
{
    if (from->len < n)
        return false;
    *part = (weir_str){from->ptr, n};
    *from = (weir_str){from->ptr + n, from->len - n};
    return true;
}

static bool take_text(weir_str *from, size_t n, struct block *b, weir_str *text)
{
    weir_str part;
    if (!take(from, n, &part))
        return false;
    *text = n ? block_text(b, part) : (weir_str){0};
    return true;
}

static bool take_attrs(weir_str *from, size_t n, struct block *b, weir_pairs *attrs)
{
    if (!n)
        return true;
    if (n > from->len / 8)
        return false;
    weir_attr *items = block_take(b, n * sizeof *items);
    for (size_t i = 0; i < n; i++) {
        weir_str part;
        uint32_t lens[2];
        if (!take(from, sizeof lens, &part))
            return false;
        memcpy(lens, part.ptr, sizeof lens);
        if (!take_text(from, lens[0], b, &items[i].key) ||
            !take_text(from, lens[1], b, &items[i].value))
            return false;
    }
    *attrs = (weir_pairs){n, items};
    return true;
}

struct event *codec_read(weir_str bytes, struct block *b, struct budget *budget, weir_status *s)
{
    struct head h;
    weir_str part;
    weir_event pub = {0};
    *s = WEIR_E_REJECT;
    if (!take(&bytes, sizeof h, &part))
        return NULL;
    memcpy(&h, part.ptr, sizeof h);
    if (h.version != VERSION || !take_text(&bytes, h.source, b, &pub.source) ||
        !take_text(&bytes, h.type, b, &pub.type) || !take_text(&bytes, h.key, b, &pub.key) ||
        !take_attrs(&bytes, h.attrs, b, &pub.attrs))
        return NULL;
    weir_payload *body = payload_copy(budget, bytes.ptr, bytes.len);
    *s = WEIR_E_RETRY;
    if (!body)
        return NULL;
    if (h.flags & FLAG_JSON)
        payload_set_json(body);
    struct event *ev = event_new(b, body);
    pub.body = body;
    pub.time_ns = h.time_ns;
    memcpy(pub.id.bytes, h.id, sizeof h.id);
    memcpy(&pub.trace, h.trace, sizeof h.trace);
    ev->pub = pub;
    *s = WEIR_OK;
    return ev;
}
