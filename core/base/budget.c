/* base/budget.c: how much memory events may take, counted as it is taken. */
#include "base/budget.h"

__attribute__((noinline)) static void note_peak(struct budget *b, uint64_t used)
{
    uint64_t peak = atomic_load_explicit(&b->peak_bytes, memory_order_relaxed);
    while (used > peak &&
           !atomic_compare_exchange_weak_explicit(&b->peak_bytes, &peak, used, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

bool budget_take(struct budget *b, size_t n)
{
    struct budget *whole = budget_whole(b);
    uint64_t used = atomic_fetch_add_explicit(&whole->used_bytes, n, memory_order_relaxed) + n;
    uint64_t lost = atomic_load_explicit(&whole->lost_bytes, memory_order_relaxed);
    if (used + lost > b->limit_bytes || n > b->limit_bytes) {
        atomic_fetch_sub_explicit(&whole->used_bytes, n, memory_order_relaxed);
        atomic_fetch_add_explicit(&whole->refused, 1, memory_order_relaxed);
        return false;
    }
    if (used > atomic_load_explicit(&whole->peak_bytes, memory_order_relaxed))
        note_peak(whole, used);
    return true;
}

void budget_charge(struct budget *b, size_t n)
{
    struct budget *whole = budget_whole(b);
    uint64_t used = atomic_fetch_add_explicit(&whole->used_bytes, n, memory_order_relaxed) + n;
    note_peak(whole, used);
}

void budget_give(struct budget *b, size_t n)
{
    atomic_fetch_sub_explicit(&budget_whole(b)->used_bytes, n, memory_order_relaxed);
}

void *budget_new(struct budget *b, size_t n)
{
    budget_charge(b, n);
    return mem_new(n);
}

void budget_free(struct budget *b, void *take, size_t n)
{
    budget_give(b, n);
    mem_free(take);
}

bool budget_has_room(const struct budget *b, size_t n)
{
    const struct budget *whole = b->whole ? b->whole : b;
    uint64_t used = atomic_load_explicit(&whole->used_bytes, memory_order_relaxed) +
                    atomic_load_explicit(&whole->lost_bytes, memory_order_relaxed);
    return used <= b->limit_bytes && n <= b->limit_bytes - used;
}
