/* match/ranges.c: which of many ranges a number lies in.
 *
 * The ends of all ranges are points in order, and each position (a point, or the gap before one) is a leaf
 * of a tree that has each range on a few of its nodes. A leaf leads to the lowest node above it with
 * ranges, that one to the next, so a number costs what it hits; one that only one range covers is named in
 * the leaf itself. A point is found as in a book with thumb marks: the interval of keys is split into slots
 * of one width, each with its first point, and where a slot has too many they are split again. */
#include <stdlib.h>

#include "match/set.h"

enum {
    FEW = 6,     /* points of a slot that are tried one by one */
    COARSE = 64, /* slots of a split whose points lie unevenly */
    SPLIT_BIT = 31,
};

static bool is_less(const struct set_point *point, const uint64_t w[2])
{
    return point->w[0] < w[0] || (point->w[0] == w[0] && point->w[1] < w[1]);
}

/* ---- finding -------------------------------------------------------------------------------------- */

/* The first point of some that is no less. */
static uint32_t halve(const struct set_ranges *r, uint32_t from, uint32_t to, const uint64_t w[2])
{
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (is_less(&r->points[middle], w))
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* The first point that is no less; behind all is one that no number exceeds. */
static uint32_t find(const struct set_ranges *r, const uint64_t w[2])
{
    uint64_t order = decimal_order(w);
    uint32_t at = (uint32_t)1 << SPLIT_BIT;
    while (at >> SPLIT_BIT) {
        const struct set_split *split = &r->splits[at & ~((uint32_t)1 << SPLIT_BIT)];
        uint64_t slot = (order - split->base) >> split->shift;
        if (!split->size)
            return halve(r, split->from, split->to, w);
        if (order < split->base)
            at = split->from;
        else
            at = slot < split->size ? r->slots[split->first + slot] : split->to;
    }
    while (is_less(&r->points[at], w))
        at++;
    return at;
}

const struct set_head *ranges_find(const struct set_ranges *r, const uint64_t w[2])
{
    const struct set_point *p = &r->points[find(r, w)];
    return p->w[0] == w[0] && p->w[1] == w[1] ? &p->at : &p->gap;
}

/* ---- building ------------------------------------------------------------------------------------- */

static int by_point(const void *a, const void *b)
{
    const struct set_point *x = a, *y = b;
    if (x->w[0] != y->w[0])
        return x->w[0] < y->w[0] ? -1 : 1;
    return (x->w[1] > y->w[1]) - (x->w[1] < y->w[1]);
}

static const struct set_head no_head = {SET_NONE, 0};

static void fill_points(struct set_ranges *r, const struct set_range *ranges, size_t count)
{
    struct set_point *all = mem_new((2 * count + 1) * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        memcpy(all[2 * i].w, ranges[i].low, sizeof all->w);
        memcpy(all[2 * i + 1].w, ranges[i].high, sizeof all->w);
    }
    qsort(all, 2 * count, sizeof *all, by_point);
    for (size_t i = 0; i < 2 * count; i++)
        if (!r->count || by_point(&all[r->count - 1], &all[i]) != 0)
            all[r->count++] = all[i];
    all[r->count] = (struct set_point){{UINT64_MAX, UINT64_MAX}, no_head, no_head};
    r->points = mem_grow(all, ((size_t)r->count + 1) * sizeof *all);
}

static uint64_t order_of(const struct set_ranges *r, uint32_t point)
{
    return decimal_order(r->points[point].w);
}

static uint64_t slot_of(const struct set_ranges *r, const struct set_split *split, uint32_t point)
{
    return (order_of(r, point) - split->base) >> split->shift;
}

/* About one slot for each point, if that gives every other point one of its own or nearly so. */
static void choose_width(const struct set_ranges *r, struct set_split *split)
{
    uint32_t points = split->to - split->from, used = 1;
    unsigned bits = 64 - (unsigned)__builtin_clzll(order_of(r, split->to - 1) - split->base);
    unsigned wanted = 32 - (unsigned)__builtin_clz(points - 1);
    split->shift = (uint8_t)(bits > wanted ? bits - wanted : 0);
    for (uint32_t i = split->from + 1; i < split->to; i++)
        used += slot_of(r, split, i) != slot_of(r, split, i - 1);
    if (points > COARSE && used < points / 4)
        split->shift = (uint8_t)(bits > 6 ? bits - 6 : 0);
    split->size = (uint32_t)slot_of(r, split, split->to - 1) + 1;
}

static uint32_t add_split(struct set_ranges *r, uint32_t from, uint32_t to)
{
    struct set_split split = {.base = order_of(r, from), .from = from, .to = to};
    if (order_of(r, to - 1) != split.base)
        choose_width(r, &split);
    split.first = (uint32_t)r->slots_count;
    for (uint32_t i = 0; i < split.size; i++)
        SET_PUSH(r, slots) = 0;
    SET_PUSH(r, splits) = split;
    return (uint32_t)(r->splits_count - 1);
}

/* Each split is of fewer points than the one it is a part of: no two in a slot of half the width. */
static void fill_slots(struct set_ranges *r, uint32_t number)
{
    struct set_split split = r->splits[number];
    uint32_t at = split.from;
    for (uint32_t slot = 0; slot < split.size; slot++) {
        uint32_t end = at;
        while (end < split.to && slot_of(r, &split, end) == slot)
            end++;
        uint32_t to = at;
        if (end - at > FEW)
            to = (uint32_t)1 << SPLIT_BIT | add_split(r, at, end);
        r->slots[split.first + slot] = to;
        at = end;
    }
}

/* The tree: heads[1] is its root, from heads[leaves] on are the positions. */
struct tree {
    struct set_head *heads;
    uint32_t leaves;
};

static void add_item(struct set_ranges *r, struct set_head *head, uint32_t ref)
{
    uint32_t next = SET_NONE;
    if (head->ref == SET_NONE) {
        head->ref = ref;
        return;
    }
    if (set_ref_kind(head->ref) == SET_CHAIN) {
        next = set_ref_number(head->ref);
    } else {
        SET_PUSH(r, items) = (struct set_range_item){head->ref, SET_NONE};
        next = (uint32_t)(r->items_count - 1);
    }
    SET_PUSH(r, items) = (struct set_range_item){ref, next};
    head->ref = set_ref(SET_CHAIN, (uint32_t)(r->items_count - 1));
}

static void hang(struct set_ranges *r, struct tree *t, const struct set_range *range)
{
    uint32_t low = 2 * find(r, range->low) + 1 + range->is_low_open;
    uint32_t high = 2 * find(r, range->high) + 1 - range->is_high_open;
    if (low > high)
        return;
    uint32_t i = low + t->leaves, j = high + t->leaves + 1;
    for (; i < j; i /= 2, j /= 2) {
        if (i & 1)
            add_item(r, &t->heads[i], range->ref), i++;
        if (j & 1)
            j--, add_item(r, &t->heads[j], range->ref);
    }
}

/* Keeps of the tree above the leaves what one of them leads to. */
static void keep_heads(struct set_ranges *r, struct tree *t)
{
    uint32_t *numbers = mem_new(2 * (size_t)t->leaves * sizeof *numbers);
    for (uint32_t i = 2; i < 2 * t->leaves; i++) {
        struct set_head *head = &t->heads[i], *above = &t->heads[i / 2];
        head->up = above->ref != SET_NONE ? i / 2 : above->up;
        if (head->ref == SET_NONE && head->up)
            *head = t->heads[head->up];
    }
    for (uint32_t i = 2 * t->leaves; --i > 1;)
        if (i >= t->leaves || numbers[i])
            numbers[t->heads[i].up] = 1;
    numbers[0] = 0;
    SET_PUSH(r, heads) = no_head;
    for (uint32_t i = 1; i < t->leaves; i++) {
        if (!numbers[i])
            continue;
        numbers[i] = (uint32_t)r->heads_count;
        SET_PUSH(r, heads) = (struct set_head){t->heads[i].ref, numbers[t->heads[i].up]};
    }
    for (uint32_t i = 0; i <= r->count; i++) {
        const struct set_head *gap = &t->heads[t->leaves + 2 * i];
        struct set_point *p = &r->points[i];
        p->gap = (struct set_head){gap->ref, numbers[gap->up]};
        if (i < r->count)
            p->at = (struct set_head){gap[1].ref, numbers[gap[1].up]};
    }
    mem_free(numbers);
}

void ranges_make(struct set_ranges *r, const struct set_range *ranges, size_t count)
{
    *r = (struct set_ranges){0};
    if (!count)
        return;
    fill_points(r, ranges, count);
    (void)add_split(r, 0, r->count);
    for (uint32_t i = 0; i < r->splits_count; i++)
        fill_slots(r, i);
    struct tree t = {.leaves = 2 * r->count + 1};
    t.heads = mem_new(2 * (size_t)t.leaves * sizeof *t.heads);
    for (uint32_t i = 0; i < 2 * t.leaves; i++)
        t.heads[i].ref = SET_NONE;
    for (size_t i = 0; i < count; i++)
        hang(r, &t, &ranges[i]);
    keep_heads(r, &t);
    mem_free(t.heads);
    SET_TRIM(r, splits);
    SET_TRIM(r, slots);
    SET_TRIM(r, heads);
    SET_TRIM(r, items);
}

/* ---- copies and ends ------------------------------------------------------------------------------ */

#define COPY(r, from, name) \
    ((r)->name = mem_copy((from)->name, (from)->name##_count * sizeof(__typeof__(*(r)->name))), \
     (r)->name##_cap = (r)->name##_count)

void ranges_copy(struct set_ranges *r, const struct set_ranges *from)
{
    *r = *from;
    if (!from->count)
        return;
    r->points = mem_copy(from->points, ((size_t)from->count + 1) * sizeof *r->points);
    COPY(r, from, splits);
    COPY(r, from, slots);
    COPY(r, from, heads);
    COPY(r, from, items);
}

void ranges_fini(struct set_ranges *r)
{
    mem_free(r->points);
    mem_free(r->splits);
    mem_free(r->slots);
    mem_free(r->heads);
    mem_free(r->items);
}

size_t ranges_memory(const struct set_ranges *r)
{
    return (r->count ? (size_t)r->count + 1 : 0) * sizeof *r->points +
           r->splits_cap * sizeof *r->splits + r->slots_cap * sizeof *r->slots +
           r->heads_cap * sizeof *r->heads + r->items_cap * sizeof *r->items;
}
