/* base/buf.h: a byte buffer that grows. Zero is an empty one. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <weir/plugin.h>

struct buf {
    char *ptr; /* no NUL promised, but see buf_text */
    size_t len, cap;
};

void buf_fini(struct buf *b);
void buf_grow(struct buf *b, size_t n); /* for buf_room alone */
/* n writable bytes at the end; add what was used to len */
static inline char *buf_room(struct buf *b, size_t n)
{
    if (b->cap - b->len < n)
        buf_grow(b, n);
    return b->ptr + b->len;
}
static inline void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (!n)
        return;
    memcpy(buf_room(b, n), bytes, n);
    b->len += n;
}
static inline void buf_add_str(struct buf *b, weir_str s)
{
    buf_add(b, s.ptr, s.len);
}
static inline void buf_add_text(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}
static inline void buf_add_char(struct buf *b, char c)
{
    *buf_room(b, 1) = c;
    b->len++;
}
void buf_add_u64(struct buf *b, uint64_t n);
void buf_print(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprint(struct buf *b, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
const char *buf_text(struct buf *b); /* as a C string, valid until the next change */
static inline weir_str buf_str(const struct buf *b)
{
    weir_str s = {b->ptr, b->len};
    return s;
}
