/* journal/queue_table.c: the messages that a queue knows more about: found by sequence, sorted by time. */
#include <string.h>

#include "base/mem.h"
#include "journal/queue_state.h"

void queue_table_fini(struct queue_table *t)
{
    mem_free(t->entries);
    mem_free(t->slots);
    mem_free(t->due.items);
    mem_free(t->ready.items);
    memset(t, 0, sizeof *t);
}

/* ---- the hash: open addressing, sequences are dense so a multiplication spreads them ---- */

static uint32_t slot_of(const struct queue_table *t, uint64_t sequence)
{
    return (uint32_t)((sequence * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (t->slot_count - 1);
}

uint32_t queue_table_find(const struct queue_table *t, uint64_t sequence)
{
    if (!t->live)
        return NO_INDEX;
    for (uint32_t i = slot_of(t, sequence); t->slots[i]; i = (i + 1) & (t->slot_count - 1)) {
        if (t->entries[t->slots[i] - 1].sequence == sequence)
            return t->slots[i] - 1;
    }
    return NO_INDEX;
}

static void slot_put(struct queue_table *t, uint32_t at)
{
    uint32_t i = slot_of(t, t->entries[at].sequence);
    while (t->slots[i])
        i = (i + 1) & (t->slot_count - 1);
    t->slots[i] = at + 1;
}

static void slot_take(struct queue_table *t, uint32_t at)
{
    uint32_t mask = t->slot_count - 1, i = slot_of(t, t->entries[at].sequence);
    while (t->slots[i] != at + 1)
        i = (i + 1) & mask;
    /* Move up those behind that would not be found any more over the gap. */
    for (uint32_t gap = i, k = (i + 1) & mask;; k = (k + 1) & mask) {
        if (!t->slots[k]) {
            t->slots[gap] = 0;
            return;
        }
        uint32_t home = slot_of(t, t->entries[t->slots[k] - 1].sequence);
        if (((k - home) & mask) >= ((k - gap) & mask)) {
            t->slots[gap] = t->slots[k];
            gap = k;
        }
    }
}

static void grow_slots(struct queue_table *t)
{
    uint32_t n = t->slot_count ? 2 * t->slot_count : 64;
    mem_free(t->slots);
    t->slots = mem_new(n * sizeof *t->slots);
    t->slot_count = n;
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->entries[i].state != ENTRY_FREE)
            slot_put(t, i);
    }
}

/* ---- the heaps ---- */

/* Equal times keep the order of the sequences. */
static bool is_before(const struct queue_table *t, const struct queue_heap *h, uint32_t a,
                      uint32_t b)
{
    const struct queue_entry *x = &t->entries[a], *y = &t->entries[b];
    if (h == &t->due && x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns;
    return x->sequence < y->sequence;
}

static void heap_set(struct queue_table *t, struct queue_heap *h, size_t i, uint32_t at)
{
    h->items[i] = at;
    t->entries[at].heap_at = (uint32_t)i;
}

static void heap_settle(struct queue_table *t, struct queue_heap *h, size_t i)
{
    uint32_t at = h->items[i];
    for (; i && is_before(t, h, at, h->items[(i - 1) / 2]); i = (i - 1) / 2)
        heap_set(t, h, i, h->items[(i - 1) / 2]);
    for (size_t k; (k = 2 * i + 1) < h->count; i = k) {
        if (k + 1 < h->count && is_before(t, h, h->items[k + 1], h->items[k]))
            k++;
        if (!is_before(t, h, h->items[k], at))
            break;
        heap_set(t, h, i, h->items[k]);
    }
    heap_set(t, h, i, at);
}

static void heap_push(struct queue_table *t, struct queue_heap *h, uint32_t at)
{
    MEM_PUSH(h->items, h->count, h->cap) = at;
    heap_settle(t, h, h->count - 1);
}

static void heap_remove(struct queue_table *t, struct queue_heap *h, uint32_t at)
{
    size_t i = t->entries[at].heap_at;
    uint32_t last = h->items[--h->count];
    t->entries[at].heap_at = NO_INDEX;
    if (last == at)
        return;
    h->items[i] = last;
    heap_settle(t, h, i);
}

/* ---- entries ---- */

static void leave_state(struct queue_table *t, uint32_t at)
{
    struct queue_entry *e = &t->entries[at];
    if (e->heap_at != NO_INDEX)
        heap_remove(t, e->state == ENTRY_READY ? &t->ready : &t->due, at);
    if (e->state == ENTRY_DELAYED)
        t->delayed--;
    else if (e->state == ENTRY_DUPLICATE)
        t->duplicates--;
    else if (e->state != ENTRY_READY)
        t->hidden--;
    e->state = ENTRY_READY;
}

uint32_t queue_table_add(struct queue_table *t, uint64_t sequence)
{
    uint32_t at = t->free;
    if (!t->cap || 2 * (t->live + 1) > t->slot_count)
        grow_slots(t);
    if (t->live == t->count) {
        if (t->count == t->cap) {
            t->cap = t->cap ? 2 * t->cap : 64;
            t->entries = mem_grow(t->entries, t->cap * sizeof *t->entries);
        }
        at = t->count++;
    } else {
        t->free = t->entries[at].next;
    }
    t->entries[at] = (struct queue_entry){.sequence = sequence,
                                          .heap_at = NO_INDEX,
                                          .group = NO_INDEX,
                                          .next = NO_INDEX,
                                          .prev = NO_INDEX,
                                          .state = ENTRY_READY};
    t->live++;
    slot_put(t, at);
    return at;
}

void queue_table_remove(struct queue_table *t, uint32_t at)
{
    leave_state(t, at);
    slot_take(t, at);
    t->entries[at].state = ENTRY_FREE;
    t->entries[at].next = t->free;
    t->free = at;
    t->live--;
}

void queue_table_hide(struct queue_table *t, uint32_t at, enum entry_state state, int64_t time_ns)
{
    struct queue_entry *e = &t->entries[at];
    leave_state(t, at);
    e->state = (uint8_t)state;
    e->flags &= (uint8_t)~ENTRY_RETURNED;
    e->time_ns = time_ns;
    if (state == ENTRY_DELAYED)
        t->delayed++;
    else if (state == ENTRY_DUPLICATE)
        t->duplicates++;
    else
        t->hidden++;
    if (state != ENTRY_MOVING && state != ENTRY_DUPLICATE)
        heap_push(t, &t->due, at);
}

void queue_table_show(struct queue_table *t, uint32_t at, bool is_fifo)
{
    leave_state(t, at);
    if (!is_fifo)
        heap_push(t, &t->ready, at);
}

uint32_t queue_table_first_due(const struct queue_table *t)
{
    return t->due.count ? t->due.items[0] : NO_INDEX;
}

uint32_t queue_table_first_ready(const struct queue_table *t)
{
    return t->ready.count ? t->ready.items[0] : NO_INDEX;
}
