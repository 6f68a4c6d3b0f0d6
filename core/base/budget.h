/* base/budget.h: how much memory events may take, counted as it is taken. Any thread.
 *
 * What can be refused asks (budget_take); what cannot - an event's shell, a place in a queue - is charged
 * in any case, and takes from what may still be asked for. A part of a budget is another budget: what it
 * takes is the whole's, up to a limit of its own. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct budget {
    _Atomic uint64_t used_bytes, refused;
    _Atomic uint64_t peak_bytes; /* the most that was used; whoever reads it may begin anew */
    _Atomic uint64_t lost_bytes; /* to the allocator: pages that it holds for nobody */
    uint64_t limit_bytes;
    struct budget *whole; /* of a part: whose bytes they are; NULL: its own */
};

bool budget_take(struct budget *b, size_t n); /* false: past the limit, nothing is taken */
void budget_charge(struct budget *b, size_t n);
void budget_give(struct budget *b, size_t n);
void *budget_new(struct budget *b, size_t n); /* mem_new, charged */
void budget_free(struct budget *b, void *take, size_t n);
/* Frees an array that BUDGET_PUSH made; it is empty then. */
#define BUDGET_DROP(budget, items, count, cap) \
    (budget_free(budget, items, (cap) * sizeof *(items)), (items) = NULL, (count) = (cap) = 0)
/* MEM_PUSH into an array that is charged; cap * the size of an item is to be given when it is freed. */
#define BUDGET_PUSH(budget, items, count, cap) \
    (*((count) == (cap) \
           ? budget_charge((budget), ((cap) ? (cap) : 8) * sizeof(__typeof__(*(items)))) \
           : (void)0, \
       &MEM_PUSH(items, count, cap)))
bool budget_has_room(const struct budget *b, size_t n);
/* The budget that it is a part of, or itself. */
static inline struct budget *budget_whole(struct budget *b)
{
    return b->whole ? b->whole : b;
}
static inline uint64_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&(b->whole ? b->whole : b)->used_bytes, memory_order_relaxed);
}
