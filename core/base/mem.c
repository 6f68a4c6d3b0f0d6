/* base/mem.c: memory that is there or the process ends, and arenas. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 8192, ALIGN = 16 };

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    _Alignas(ALIGN) char bytes[];
};

static void *checked(void *p)
{
    if (!p) {
        (void)fputs("weir: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_new(size_t n)
{
    return checked(calloc(1, n ? n : 1));
}

void *mem_grow(void *p, size_t n)
{
    return checked(realloc(p, n ? n : 1));
}

void *mem_copy(const void *p, size_t n)
{
    char *copy = checked(malloc(n + 1));
    if (n)
        memcpy(copy, p, n);
    copy[n] = 0;
    return copy;
}

char *mem_text(const char *s)
{
    return mem_copy(s, strlen(s));
}

char *mem_format(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    return checked(n < 0 ? NULL : text);
}

void mem_free(void *p)
{
    free(p);
}

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_fini(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->used_bytes = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;
    if (!keep)
        return;
    a->blocks = keep->next;
    arena_fini(a);
    keep->next = NULL;
    keep->used = 0;
    a->blocks = keep;
}

void *arena_take_raw(struct arena *a, size_t n)
{
    size_t need = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < need) {
        size_t size = need > BLOCK_BYTES / 2 ? need + BLOCK_BYTES : BLOCK_BYTES;
        b = checked(malloc(sizeof *b + size));
        b->next = a->blocks;
        b->size = size;
        b->used = 0;
        a->blocks = b;
    }
    void *p = b->bytes + b->used;
    b->used += need;
    a->used_bytes += need;
    return p;
}

void *arena_take(struct arena *a, size_t n)
{
    return memset(arena_take_raw(a, n), 0, n);
}

void *arena_copy(struct arena *a, const void *p, size_t n)
{
    char *copy = arena_take_raw(a, n + 1);
    if (n)
        memcpy(copy, p, n);
    copy[n] = 0;
    return copy;
}

char *arena_text(struct arena *a, const char *s)
{
    return arena_copy(a, s, strlen(s));
}

char *arena_format(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    size_t size = n < 0 ? 1 : (size_t)n + 1;
    char *text = arena_take(a, size);
    va_start(args, fmt);
    (void)vsnprintf(text, size, fmt, args);
    va_end(args);
    return text;
}
