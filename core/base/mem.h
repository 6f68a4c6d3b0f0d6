/* base/mem.h: memory that is there or the process ends, and arenas.
 *
 * Small allocations abort on failure; payloads, which are bounded by the budget, come from
 * pipeline/payload.h and may be refused. */
#pragma once
#include <stddef.h>
#include <stdint.h>

void *mem_new(size_t n);                 /* zeroed; never NULL */
void *mem_grow(void *p, size_t n);       /* realloc; never NULL */
void *mem_copy(const void *p, size_t n); /* with a NUL behind it */
char *mem_text(const char *s);           /* strdup; never NULL */
char *mem_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_free(void *p); /* also of a const pointer's object; NULL is fine */

#define MEM_NEW(T) ((T *)mem_new(sizeof(T)))

/* Grows an array to hold one more: MEM_PUSH(items, count, cap) = value. The size is a type's, since
 * clang-tidy takes the size of an expression that is a pointer for a slip. */
#define MEM_PUSH(items, count, cap) \
    (*((count) == (cap) ? ((cap) = (cap) ? 2 * (cap) : 8, \
                           (items) = mem_grow((items), (cap) * sizeof(__typeof__(*(items))))) \
                        : (items), \
       &(items)[(count)++]))

/* An arena: many allocations, one free. Not thread-safe. */
struct arena {
    struct arena_block *blocks;
    size_t used_bytes; /* handed out since init or reset */
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a);               /* keeps one block for reuse */
void *arena_take(struct arena *a, size_t n);     /* zeroed, aligned to 16; never NULL */
void *arena_take_raw(struct arena *a, size_t n); /* not zeroed, aligned to 16; never NULL */
void *arena_copy(struct arena *a, const void *p, size_t n); /* with a NUL behind it */
char *arena_text(struct arena *a, const char *s);
char *arena_format(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
