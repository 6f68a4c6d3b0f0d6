/* match/values.c: for each field the structures that find the alternatives that a value satisfies.
 *
 * All texts are looked up in one table. What is no equality is found by a part of the text that any
 * value must have, and then verified. */
#include <stdlib.h>

#include "base/hash.h"
#include "match/set.h"

uint32_t set_hash(const struct match_set *s, uint32_t owner, const char *p, size_t n)
{
    return (uint32_t)(hash_bytes(p, n, s->seed ^ owner * 0x9E3779B97F4A7C15u) >> 32);
}

static void size_entries(struct match_set *s, size_t size)
{
    size_t old_size = s->entry_size;
    struct set_entry *old = s->entries, *all = mem_new(size * sizeof *all);
    s->entries = all, s->entry_size = size;
    for (size_t i = 0; i < size; i++)
        all[i].items = SET_NONE;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].items == SET_NONE)
            continue;
        size_t at = set_entry_at(s, old[i].hash);
        while (all[at].items != SET_NONE)
            at = set_entry_after(s, at);
        all[at] = old[i];
    }
    mem_free(old);
}

static struct set_entry *entry_at(struct match_set *s, uint32_t owner, weir_str text)
{
    if (3 * (s->entry_count + 1) > 2 * s->entry_size)
        size_entries(s, s->entry_size ? 2 * s->entry_size : 64);
    uint32_t hash = set_hash(s, owner, text.ptr, text.len);
    size_t at = set_entry_at(s, hash);
    for (; s->entries[at].items != SET_NONE; at = set_entry_after(s, at)) {
        struct set_entry *e = &s->entries[at];
        if (e->hash == hash && e->owner == owner && e->len == text.len &&
            memcmp(e->ptr, text.ptr, text.len) == 0)
            return e;
    }
    s->entries[at].hash = hash, s->entries[at].owner = owner;
    s->entries[at].ptr = text.ptr, s->entries[at].len = (uint32_t)text.len;
    return &s->entries[at];
}

static uint32_t push_item(struct match_set *s, struct set_item item, uint32_t next)
{
    item.next = next;
    SET_PUSH(s, items) = item;
    return (uint32_t)(s->items_count - 1);
}

static void add_length(struct set_lengths *l, size_t length)
{
    size_t at = 0;
    while (at < l->count && l->items[at] < length)
        at++;
    if (at < l->count && l->items[at] == length)
        return;
    MEM_PUSH(l->items, l->count, l->cap) = 0;
    memmove(l->items + at + 1, l->items + at, (l->count - 1 - at) * sizeof *l->items);
    l->items[at] = (uint32_t)length;
}

static void add_text(struct match_set *s, uint32_t field, enum set_tag tag, weir_str text,
                     struct set_item item)
{
    struct set_entry *e = entry_at(s, set_owner(field, tag), text);
    if (e->items == SET_NONE) {
        s->entry_count++;
        e->ptr = set_keep(&s->texts, text).ptr;
    }
    e->items = push_item(s, item, e->items);
    if (tag >= SET_PREFIX)
        add_length(&s->fields[field].lengths[tag], text.len);
}

static void add_always(struct match_set *s, uint32_t field, const struct pattern_test *t,
                       struct set_item item)
{
    item.verify = pattern_copy(t, 1, &s->arena);
    s->fields[field].always = push_item(s, item, s->fields[field].always);
}

static void add_lower(struct match_set *s, uint32_t field, enum set_tag tag, weir_str text,
                      struct set_item item)
{
    char *copy = mem_copy(text.ptr, text.len);
    for (size_t i = 0; i < text.len; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] + 32);
    add_text(s, field, tag, (weir_str){copy, text.len}, item);
    mem_free(copy);
}

static void add_fold(struct match_set *s, uint32_t field, const struct pattern_test *t,
                     struct set_item item)
{
    enum set_tag tag = t->kind == PATTERN_FOLD          ? SET_FOLD
                       : t->kind == PATTERN_FOLD_PREFIX ? SET_FOLD_PREFIX
                                                        : SET_FOLD_SUFFIX;
    if (!fold_is_ascii(t->text)) {
        add_always(s, field, t, item);
        return;
    }
    s->fields[field].has_folds = true;
    add_lower(s, field, tag, t->text, item);
}

static size_t chain_length(const struct match_set *s, uint32_t head)
{
    size_t n = 0;
    for (; head != SET_NONE; head = s->items[head].next)
        n++;
    return n;
}

/* A wildcard without a fixed end is found by the bytes in it that fewest others have. */
static void add_gram(struct match_set *s, uint32_t field, const struct pattern_test *t,
                     struct set_item item)
{
    weir_str best = {NULL, 0};
    size_t least = SIZE_MAX;
    uint32_t owner = set_owner(field, SET_GRAM);
    for (size_t i = 0; i < t->pieces.count; i++) {
        weir_str piece = t->pieces.items[i];
        size_t len = piece.len < SET_GRAM_MAX ? piece.len : SET_GRAM_MAX;
        for (size_t at = 0; len && len >= best.len && at + len <= piece.len; at++) {
            weir_str gram = {piece.ptr + at, len};
            size_t n = chain_length(s, entry_at(s, owner, gram)->items);
            if (len > best.len || n < least)
                best = gram, least = n;
            if (!least && len == SET_GRAM_MAX)
                break;
        }
    }
    if (!best.len) {
        add_always(s, field, t, item);
        return;
    }
    item.verify = pattern_copy(t, 1, &s->arena);
    add_text(s, field, SET_GRAM, best, item);
}

static void add_wildcard(struct match_set *s, uint32_t field, const struct pattern_test *t,
                         struct set_item item)
{
    weir_str first = t->pieces.items[0], last = t->pieces.items[t->pieces.count - 1];
    if (t->pieces.count == 1) {
        s->fields[field].has_texts = true;
        add_text(s, field, SET_TEXT, first, item);
        return;
    }
    if (!first.len && !last.len) {
        add_gram(s, field, t, item);
        return;
    }
    bool is_prefix = first.len >= last.len;
    item.verify = pattern_copy(t, 1, &s->arena);
    add_text(s, field, is_prefix ? SET_PREFIX : SET_SUFFIX, is_prefix ? first : last, item);
}

static void add_range(struct set_ranges *r, const struct pattern_test *t, struct set_item item)
{
    MEM_PUSH(r->waiting, r->waiting_count, r->waiting_cap) =
        (struct set_range){t->range.low,    t->range.high, t->is_low_open,
                           t->is_high_open, item.is_but,   item.id};
}

void values_add(struct match_set *s, uint32_t field, const struct pattern_test *t,
                struct set_item item)
{
    struct set_field *f = &s->fields[field];
    switch (t->kind) {
    case PATTERN_TEXT:
        f->has_texts = true;
        add_text(s, field, SET_TEXT, t->text, item);
        if (t->has_key)
            add_range(&f->addresses, t, item);
        break;
    case PATTERN_NUMBER:
        if (t->has_key) {
            add_range(&f->numbers, t, item);
            break;
        }
        f->has_tokens = true;
        add_text(s, field, SET_TOKEN, t->text, item);
        break;
    case PATTERN_LITERAL:
        f->has_tokens = true;
        add_text(s, field, SET_TOKEN, t->text, item);
        break;
    case PATTERN_PREFIX:
        add_text(s, field, SET_PREFIX, t->text, item);
        break;
    case PATTERN_SUFFIX:
        add_text(s, field, SET_SUFFIX, t->text, item);
        break;
    case PATTERN_FOLD:
    case PATTERN_FOLD_PREFIX:
    case PATTERN_FOLD_SUFFIX:
        add_fold(s, field, t, item);
        break;
    case PATTERN_WILDCARD:
        add_wildcard(s, field, t, item);
        break;
    case PATTERN_RANGE:
        add_range(&f->numbers, t, item);
        break;
    case PATTERN_CIDR:
        add_range(&f->addresses, t, item);
        break;
    case PATTERN_EXISTS:
        f->exists = push_item(s, item, f->exists);
        break;
    case PATTERN_ABSENT: /* of the condition, not of a value */
    case PATTERN_BUT:    /* its items come one by one */
        break;
    }
}

static int by_key(const void *a, const void *b)
{
    return decimal_compare(a, b);
}

static uint32_t point_index(const struct set_ranges *r, const struct decimal_key *key)
{
    const struct decimal_key *at = bsearch(key, r->points, r->count, sizeof *r->points, by_key);
    return (uint32_t)(at - r->points);
}

static void hang(struct match_set *s, struct set_ranges *r, const struct set_range *range)
{
    struct set_item item = {.id = range->id & SET_ID_MAX, .is_but = range->is_but};
    uint32_t low = 2 * point_index(r, &range->low) + 1 + range->is_low_open;
    uint32_t high = 2 * point_index(r, &range->high) + 1 - range->is_high_open;
    if (low > high)
        return;
    uint32_t i = low + r->leaves, j = high + r->leaves + 1;
    for (; i < j; i /= 2, j /= 2) {
        if (i & 1)
            r->heads[i] = push_item(s, item, r->heads[i]), i++;
        if (j & 1)
            j--, r->heads[j] = push_item(s, item, r->heads[j]);
    }
}

static void seal_ranges(struct match_set *s, struct set_ranges *r)
{
    if (!r->waiting_count)
        return;
    r->points = mem_new(2 * r->waiting_count * sizeof *r->points);
    for (size_t i = 0; i < r->waiting_count; i++) {
        r->points[2 * i] = r->waiting[i].low;
        r->points[2 * i + 1] = r->waiting[i].high;
    }
    size_t all = 2 * r->waiting_count;
    qsort(r->points, all, sizeof *r->points, by_key);
    for (size_t i = 0; i < all; i++)
        if (!r->count || decimal_compare(&r->points[r->count - 1], &r->points[i]) != 0)
            r->points[r->count++] = r->points[i];
    r->points = mem_grow(r->points, r->count * sizeof *r->points);
    for (r->leaves = 1; r->leaves < 2 * r->count + 1;)
        r->leaves *= 2;
    r->heads = mem_new(2 * (size_t)r->leaves * sizeof *r->heads);
    for (uint32_t i = 0; i < 2 * r->leaves; i++)
        r->heads[i] = SET_NONE;
    for (size_t i = 0; i < r->waiting_count; i++)
        hang(s, r, &r->waiting[i]);
    mem_free(r->waiting);
    r->waiting = NULL, r->waiting_count = r->waiting_cap = 0;
}

void values_seal(struct match_set *s)
{
    for (size_t i = 0; i < s->fields_count; i++) {
        seal_ranges(s, &s->fields[i].numbers);
        seal_ranges(s, &s->fields[i].addresses);
    }
    if (s->entry_count)
        size_entries(s, s->entry_count + s->entry_count / 2 + 1);
}

static void free_ranges(struct set_ranges *r)
{
    mem_free(r->points);
    mem_free(r->heads);
    mem_free(r->waiting);
}

void values_free(struct match_set *s)
{
    for (size_t i = 0; i < s->fields_count; i++) {
        free_ranges(&s->fields[i].numbers);
        free_ranges(&s->fields[i].addresses);
        for (int tag = 0; tag < SET_TAGS; tag++)
            mem_free(s->fields[i].lengths[tag].items);
    }
    mem_free(s->entries);
}

static size_t ranges_memory(const struct set_ranges *r)
{
    return (size_t)r->count * sizeof *r->points + 2 * (size_t)r->leaves * sizeof *r->heads;
}

size_t values_memory(const struct match_set *s)
{
    size_t n = s->entry_size * sizeof *s->entries;
    for (size_t i = 0; i < s->fields_count; i++) {
        n += ranges_memory(&s->fields[i].numbers) + ranges_memory(&s->fields[i].addresses);
        for (int tag = 0; tag < SET_TAGS; tag++)
            n += s->fields[i].lengths[tag].cap * sizeof *s->fields[i].lengths[tag].items;
    }
    return n;
}
