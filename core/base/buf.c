/* base/buf.c: a byte buffer that grows. */
#include "base/buf.h"

#include <stdio.h>

#include "base/mem.h"

void buf_fini(struct buf *b)
{
    mem_free(b->ptr);
    *b = (struct buf){0};
}

void buf_grow(struct buf *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->len < n)
        cap *= 2;
    b->ptr = mem_grow(b->ptr, cap);
    b->cap = cap;
}

void buf_add_u64(struct buf *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_vprint(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        return;
    char *at = buf_room(b, (size_t)n + 1);
    (void)vsnprintf(at, (size_t)n + 1, fmt, args);
    b->len += (size_t)n;
}

void buf_print(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vprint(b, fmt, args);
    va_end(args);
}

const char *buf_text(struct buf *b)
{
    *buf_room(b, 1) = 0;
    return b->ptr;
}
