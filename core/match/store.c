/* match/store.c: a text is written as copies from a common text and what is new in it.
 *
 * A text of which much is new becomes part of the common one while there is room. Each text can be
 * read alone: its length, then copies (a byte from 0x80 on: the length; two bytes: from where) and new
 * bytes (a byte below 0x80: how many). */
#include "match/store.h"

#include "base/mem.h"

enum {
    COMMON_MAX = 65536,
    PLACES = 4096,
    COPY_MIN = 4,
    COPY_MAX = COPY_MIN + 127,
    NEW_MAX = 128,
};

static uint32_t four_bytes(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static size_t place_of(const char *p)
{
    return four_bytes(p) * 2654435761u >> 20;
}

/* Two texts are never so far back that their place is not in 16 bits; 0 is none. */
static void index_from(struct store *s, size_t at)
{
    for (; at + COPY_MIN <= s->common.len; at++)
        s->places[place_of(s->common.ptr + at)] = (uint16_t)at;
}

static void begin(struct store *s)
{
    if (s->places)
        return;
    s->places = mem_new(PLACES * sizeof *s->places);
    if (!s->common.len)
        buf_add_char(&s->common, 0); /* so that no text is at 0 */
    index_from(s, 1);
}

static size_t same_bytes(const struct store *s, size_t from, const char *p, const char *end)
{
    size_t n = 0;
    while (p + n < end && from + n < s->common.len && n < COPY_MAX &&
           s->common.ptr[from + n] == p[n])
        n++;
    return n;
}

static void add_new(struct store *s, const char *p, const char *end)
{
    while (p < end) {
        size_t n = end - p < NEW_MAX ? (size_t)(end - p) : NEW_MAX;
        buf_add_char(&s->packed, (char)(n - 1));
        buf_add(&s->packed, p, n);
        p += n;
    }
}

static void add_length(struct buf *b, size_t n)
{
    for (; n >= 0x80; n >>= 7)
        buf_add_char(b, (char)(n | 0x80));
    buf_add_char(b, (char)n);
}

/* How many bytes were new. */
static size_t pack(struct store *s, weir_str text)
{
    const char *p = text.ptr, *end = p + text.len, *from = p;
    size_t fresh = 0;
    add_length(&s->packed, text.len);
    while (end - p >= COPY_MIN) {
        size_t at = s->places[place_of(p)], n = at ? same_bytes(s, at, p, end) : 0;
        if (n < COPY_MIN) {
            p++, fresh++;
            continue;
        }
        add_new(s, from, p);
        char copy[] = {(char)(0x80 + n - COPY_MIN), (char)at, (char)(at >> 8)};
        buf_add(&s->packed, copy, sizeof copy);
        p += n, from = p;
    }
    add_new(s, from, end);
    return fresh;
}

uint32_t store_put(struct store *s, weir_str text)
{
    size_t at = s->packed.len;
    begin(s);
    size_t fresh = pack(s, text);
    if (fresh > text.len / 4 && s->common.len + text.len <= COMMON_MAX) {
        size_t old = s->common.len;
        buf_add_str(&s->common, text);
        index_from(s, old);
        s->packed.len = at;
        (void)pack(s, text);
    }
    return (uint32_t)at;
}

void store_get(const struct store *s, uint32_t at, struct buf *out)
{
    const unsigned char *p = (const unsigned char *)s->packed.ptr + at;
    size_t left = 0;
    unsigned shift = 0;
    for (; *p & 0x80; shift += 7)
        left |= (size_t)(*p++ & 0x7F) << shift;
    left |= (size_t)*p++ << shift;
    while (left) {
        size_t n = *p & 0x80 ? (size_t)(*p & 0x7F) + COPY_MIN : (size_t)*p + 1;
        if (*p & 0x80) {
            buf_add(out, s->common.ptr + (p[1] | p[2] << 8), n);
            p += 3;
        } else {
            buf_add(out, p + 1, n);
            p += 1 + n;
        }
        left -= n;
    }
}

void store_trim(struct store *s)
{
    mem_free(s->places);
    s->places = NULL;
    s->packed.ptr = mem_grow(s->packed.ptr, s->packed.len + 1);
    s->packed.cap = s->packed.len + 1;
    s->common.ptr = mem_grow(s->common.ptr, s->common.len + 1);
    s->common.cap = s->common.len + 1;
}

static struct buf copy_of(const struct buf *b)
{
    return (struct buf){mem_copy(b->ptr, b->len), b->len, b->len};
}

void store_copy(struct store *s, const struct store *from)
{
    *s = (struct store){copy_of(&from->packed), copy_of(&from->common), NULL};
}

void store_fini(struct store *s)
{
    mem_free(s->places);
    buf_fini(&s->packed);
    buf_fini(&s->common);
}

size_t store_bytes(const struct store *s)
{
    return s->packed.cap + s->common.cap + (s->places ? PLACES * sizeof *s->places : 0);
}
