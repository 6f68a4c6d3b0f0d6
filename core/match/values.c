/* match/values.c: for each field the structures that find the alternatives that a value satisfies.
 *
 * All texts and numbers are looked up in one table, three entries to two cache lines. What is no
 * equality is found by a part of the text that any value must have, and then verified. */
#include <stdlib.h>

#include "match/set.h"

static uint64_t entry_hash(const struct match_set *s, const struct set_entry *e)
{
    return set_hash(s, e->owner, e->key);
}

static void size_entries(struct match_set *s, size_t size)
{
    size_t old_size = s->entry_size;
    struct set_entry *old = s->entries, *all = mem_new(size * sizeof *all);
    s->entries = all, s->entry_size = size;
    for (size_t i = 0; i < size; i++)
        all[i].ref = SET_NONE;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].ref == SET_NONE)
            continue;
        size_t at = set_entry_at(s, entry_hash(s, &old[i]));
        while (all[at].ref != SET_NONE)
            at = set_entry_after(s, at);
        all[at] = old[i];
    }
    mem_free(old);
}

/* The entry, or the free place for it. */
static struct set_entry *find_entry(const struct match_set *s, uint32_t owner, struct set_key key,
                                    weir_str text)
{
    size_t at = set_entry_at(s, set_hash(s, owner, key));
    while (s->entries[at].ref != SET_NONE && !set_entry_is(s, &s->entries[at], owner, key, text))
        at = set_entry_after(s, at);
    return &s->entries[at];
}

/* One more reference behind `head`; the answer is the new head. */
static uint32_t add_ref(struct match_set *s, uint32_t head, uint32_t ref, uint32_t verify)
{
    if (head == SET_NONE && verify == SET_NONE)
        return ref;
    if (head != SET_NONE && set_ref_kind(head) != SET_CHAIN) {
        SET_PUSH(s, items) = (struct set_item){head, SET_NONE, SET_NONE};
        head = set_ref(SET_CHAIN, (uint32_t)(s->items_count - 1));
    }
    uint32_t next = head == SET_NONE ? SET_NONE : set_ref_number(head);
    SET_PUSH(s, items) = (struct set_item){ref, verify, next};
    return set_ref(SET_CHAIN, (uint32_t)(s->items_count - 1));
}

static uint32_t keep_bytes(struct match_set *s, const void *bytes, size_t n)
{
    size_t at = s->bytes.len;
    buf_add(&s->bytes, bytes, n);
    return (uint32_t)at;
}

static bool is_gram(const struct set_entry *e)
{
    return e->owner % SET_TAGS == SET_GRAM;
}

enum { FILTER_BITS = 12 }; /* for each hash: yes to one in forty that are not there */

static void size_filter(struct match_set *s, struct set_filter *f, size_t room)
{
    mem_free(f->words);
    f->room = room;
    f->size = room * FILTER_BITS / 64 + 1;
    f->words = mem_new(f->size * sizeof *f->words);
    for (size_t i = 0; i < s->entry_size; i++) {
        const struct set_entry *e = &s->entries[i];
        if (e->ref == SET_NONE || is_gram(e) != (f == &s->grams))
            continue;
        uint64_t hash = entry_hash(s, e);
        *set_filter_word(f, hash) |= set_filter_bits(hash);
    }
}

static void add_hash(struct match_set *s, const struct set_entry *e)
{
    struct set_filter *f = is_gram(e) ? &s->grams : &s->others;
    uint64_t hash = entry_hash(s, e);
    if (++f->count > f->room + f->room / 2)
        size_filter(s, f, 2 * f->count);
    *set_filter_word(f, hash) |= set_filter_bits(hash);
}

/* `text`: of a key that is far. */
static void add_entry(struct match_set *s, uint32_t owner, struct set_key key, weir_str text,
                      uint32_t ref, uint32_t verify)
{
    if (3 * (s->entry_count + 1) > 2 * s->entry_size)
        size_entries(s, s->entry_size + s->entry_size / (s->outside ? 8 : 2) + 16);
    struct set_entry *e = find_entry(s, owner, key, text);
    if (e->ref == SET_NONE) {
        s->entry_count++;
        *e = (struct set_entry){key, owner, SET_NONE};
        if (set_key_is_far(&key))
            e->key.low = (uint64_t)text.len << 32 | keep_bytes(s, text.ptr, text.len);
    }
    bool is_new = e->ref == SET_NONE;
    e->ref = add_ref(s, e->ref, ref, verify);
    if (is_new)
        add_hash(s, e);
}

static struct set_parts *parts_of(struct match_set *s, uint32_t field)
{
    struct set_field *f = &s->fields[field];
    if (!f->parts)
        f->parts = MEM_NEW(struct set_parts);
    return f->parts;
}

static void add_length(struct match_set *s, uint32_t field, enum set_tag tag, size_t length)
{
    struct set_lengths *l = &parts_of(s, field)->lengths[tag - SET_PARTS];
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
                     uint32_t ref, uint32_t verify)
{
    add_entry(s, set_owner(field, tag), set_key_of(s, text.ptr, text.len), text, ref, verify);
    if (tag >= SET_PARTS)
        add_length(s, field, tag, text.len);
}

static void add_always(struct match_set *s, uint32_t field, const struct pattern_test *t,
                       uint32_t ref)
{
    struct set_field *f = &s->fields[field];
    SET_PUSH(s, tests) = pattern_copy(t, 1, &s->arena);
    f->always = add_ref(s, f->always, ref, SET_IS_TEST | (uint32_t)(s->tests_count - 1));
}

static void add_lower(struct match_set *s, uint32_t field, enum set_tag tag, weir_str text,
                      uint32_t ref)
{
    char *copy = mem_copy(text.ptr, text.len);
    for (size_t i = 0; i < text.len; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] + 32);
    add_text(s, field, tag, (weir_str){copy, text.len}, ref, SET_NONE);
    mem_free(copy);
}

static void add_fold(struct match_set *s, uint32_t field, const struct pattern_test *t,
                     uint32_t ref)
{
    enum set_tag tag = t->kind == PATTERN_FOLD          ? SET_FOLD
                       : t->kind == PATTERN_FOLD_PREFIX ? SET_FOLD_PREFIX
                                                        : SET_FOLD_SUFFIX;
    if (!fold_is_ascii(t->text)) {
        add_always(s, field, t, ref);
        return;
    }
    s->fields[field].has_folds = true;
    add_lower(s, field, tag, t->text, ref);
}

/* ---- wildcards ----------------------------------------------------------------------------------- */

static size_t chain_length(const struct match_set *s, uint32_t head)
{
    if (head == SET_NONE || set_ref_kind(head) != SET_CHAIN)
        return head != SET_NONE;
    size_t n = 0;
    for (uint32_t i = set_ref_number(head); i != SET_NONE; i = s->items[i].next)
        n++;
    return n;
}

static void keep_number(struct match_set *s, size_t n)
{
    for (; n >= 0x80; n >>= 7)
        buf_add_char(&s->bytes, (char)(n | 0x80));
    buf_add_char(&s->bytes, (char)n);
}

/* Its pieces as set_wildcard_holds reads them. */
static uint32_t keep_wildcard(struct match_set *s, const struct pattern_test *t)
{
    size_t at = s->bytes.len;
    keep_number(s, t->pieces.count);
    for (size_t i = 0; i < t->pieces.count; i++) {
        keep_number(s, t->pieces.items[i].len);
        buf_add_str(&s->bytes, t->pieces.items[i]);
    }
    return (uint32_t)at;
}

/* Few lengths, since each in use is tried at each byte of a value. */
static size_t gram_length(size_t n)
{
    return n >= SET_GRAM_MAX ? SET_GRAM_MAX : n >= 4 ? 4 : n;
}

/* A wildcard without a fixed end is found by the bytes in it that fewest others have. */
static void add_gram(struct match_set *s, uint32_t field, const struct pattern_test *t,
                     uint32_t ref)
{
    weir_str best = {NULL, 0};
    size_t least = SIZE_MAX;
    uint32_t owner = set_owner(field, SET_GRAM);
    for (size_t i = 0; i < t->pieces.count; i++) {
        weir_str piece = t->pieces.items[i];
        size_t len = gram_length(piece.len);
        for (size_t at = 0; len && len >= best.len && at + len <= piece.len; at++) {
            weir_str gram = {piece.ptr + at, len};
            struct set_key key = set_key_of(s, gram.ptr, len);
            size_t n = s->entry_size ? chain_length(s, find_entry(s, owner, key, gram)->ref) : 0;
            if (len > best.len || n < least)
                best = gram, least = n;
            if (!least && len == SET_GRAM_MAX)
                break;
        }
    }
    if (best.len)
        add_text(s, field, SET_GRAM, best, ref, keep_wildcard(s, t));
    else
        add_always(s, field, t, ref);
}

static void add_wildcard(struct match_set *s, uint32_t field, const struct pattern_test *t,
                         uint32_t ref)
{
    weir_str first = t->pieces.items[0], last = t->pieces.items[t->pieces.count - 1];
    if (t->pieces.count == 1) {
        s->fields[field].has_texts = true;
        add_text(s, field, SET_TEXT, first, ref, SET_NONE);
        return;
    }
    if (!first.len && !last.len) {
        add_gram(s, field, t, ref);
        return;
    }
    bool is_prefix = first.len >= last.len;
    add_text(s, field, is_prefix ? SET_PREFIX : SET_SUFFIX, is_prefix ? first : last, ref,
             keep_wildcard(s, t));
}

/* ---- numbers and addresses ----------------------------------------------------------------------- */

static void add_number(struct match_set *s, uint32_t field, const struct decimal_key *key,
                       uint32_t ref)
{
    s->fields[field].has_numbers = true;
    add_entry(s, set_owner(field, SET_NUMBER), set_number_key(key), (weir_str){"", 0}, ref,
              SET_NONE);
}

static void add_range(struct match_set *s, uint32_t field, const struct pattern_test *t,
                      uint32_t ref)
{
    if (decimal_compare(&t->range.low, &t->range.high) == 0) {
        if (!t->is_low_open && !t->is_high_open)
            add_number(s, field, &t->range.low, ref);
        return;
    }
    const uint64_t *low = t->range.low.w, *high = t->range.high.w;
    SET_PUSH(parts_of(s, field), waiting) = (struct set_range){
        {low[0], low[1]}, {high[0], high[1]}, t->is_low_open, t->is_high_open, ref};
}

static void add_net(struct match_set *s, uint32_t field, const struct pattern_test *t, uint32_t ref)
{
    const struct decimal_key *low = &t->range.low, *high = &t->range.high;
    uint64_t host[2] = {low->w[1] ^ high->w[1], low->w[2] ^ high->w[2]};
    uint32_t bits = low->w[0] == 4 ? 32 : 128;
    bits -= (uint32_t)(__builtin_popcountll(host[0]) + __builtin_popcountll(host[1]));
    char bytes[SET_NET_BYTES];
    weir_str text = {bytes, set_net_bytes(low, bits, bytes)};
    add_entry(s, set_owner(field, SET_NET), set_key_of(s, text.ptr, text.len), text, ref, SET_NONE);
    add_length(s, field, SET_NET, set_net_length(low, bits));
}

void values_add(struct match_set *s, uint32_t field, const struct pattern_test *t, uint32_t ref)
{
    struct set_field *f = &s->fields[field];
    switch (t->kind) {
    case PATTERN_TEXT:
        f->has_texts = true;
        add_text(s, field, SET_TEXT, t->text, ref, SET_NONE);
        if (t->has_key)
            add_net(s, field, t, ref);
        break;
    case PATTERN_NUMBER:
    case PATTERN_LITERAL:
        if (t->kind == PATTERN_NUMBER && t->has_key) {
            add_number(s, field, &t->range.low, ref);
            break;
        }
        f->has_tokens = true;
        add_text(s, field, SET_TOKEN, t->text, ref, SET_NONE);
        break;
    case PATTERN_PREFIX:
        add_text(s, field, SET_PREFIX, t->text, ref, SET_NONE);
        break;
    case PATTERN_SUFFIX:
        add_text(s, field, SET_SUFFIX, t->text, ref, SET_NONE);
        break;
    case PATTERN_FOLD:
    case PATTERN_FOLD_PREFIX:
    case PATTERN_FOLD_SUFFIX:
        add_fold(s, field, t, ref);
        break;
    case PATTERN_WILDCARD:
        add_wildcard(s, field, t, ref);
        break;
    case PATTERN_RANGE:
        add_range(s, field, t, ref);
        break;
    case PATTERN_CIDR:
        add_net(s, field, t, ref);
        break;
    case PATTERN_EXISTS:
        f->exists = add_ref(s, f->exists, ref, SET_NONE);
        break;
    case PATTERN_ABSENT: /* of the condition, not of a value */
    case PATTERN_BUT:    /* its items come one by one */
        break;
    }
}

/* ---- sealing ------------------------------------------------------------------------------------- */

static void seal_ranges(struct set_parts *p)
{
    ranges_make(&p->ranges, p->waiting, p->waiting_count);
    mem_free(p->waiting);
    p->waiting = NULL, p->waiting_count = p->waiting_cap = 0;
}

static uint32_t direct(const struct match_set *s, uint32_t ref)
{
    if (ref == SET_NONE || set_ref_kind(ref) != SET_COND)
        return ref;
    uint32_t to = s->conds[set_ref_number(ref)].to;
    bool is_alone = to != SET_NONE && to >> SET_NUMBER_BITS == SET_TO_RULE;
    return is_alone ? set_ref(SET_RULE, set_ref_number(to)) : ref;
}

/* Where a condition is all that a rule says, the way goes to the rule at once. */
static void direct_all(struct match_set *s)
{
    for (size_t i = 0; i < s->items_count; i++)
        s->items[i].ref = direct(s, s->items[i].ref);
    for (size_t i = 0; i < s->entry_size; i++)
        s->entries[i].ref = direct(s, s->entries[i].ref);
    for (size_t i = 0; i < s->fields_count; i++) {
        struct set_field *f = &s->fields[i];
        f->always = direct(s, f->always), f->exists = direct(s, f->exists);
        for (size_t k = 0; f->parts && k < f->parts->waiting_count; k++)
            f->parts->waiting[k].ref = direct(s, f->parts->waiting[k].ref);
    }
}

static void trim_bytes(struct match_set *s)
{
    s->bytes.ptr = mem_grow(s->bytes.ptr, s->bytes.len + 1);
    s->bytes.cap = s->bytes.len + 1;
}

void values_seal(struct match_set *s)
{
    direct_all(s);
    for (size_t i = 0; i < s->fields_count; i++)
        if (s->fields[i].parts)
            seal_ranges(s->fields[i].parts);
    if (s->entry_count)
        size_entries(s, s->entry_count + s->entry_count / 2 + 1);
    size_filter(s, &s->grams, s->grams.count);
    size_filter(s, &s->others, s->others.count);
    trim_bytes(s);
}

enum { WAITING_MAX = 64 };

void values_seal_change(struct match_set *s)
{
    trim_bytes(s);
    for (size_t i = 0; i < s->fields_count; i++) {
        struct set_parts *p = s->fields[i].parts;
        if (!p || p->waiting_count - p->late_count <= WAITING_MAX)
            continue;
        ranges_fini(&p->late);
        ranges_make(&p->late, p->waiting, p->waiting_count);
        p->late_count = p->waiting_count;
    }
}

/* ---- copies -------------------------------------------------------------------------------------- */

static struct set_parts *copy_parts(const struct set_parts *from)
{
    struct set_parts *p = mem_copy(from, sizeof *from);
    for (int i = 0; i < SET_TAGS - SET_PARTS; i++)
        if (p->lengths[i].items) {
            p->lengths[i].items =
                mem_copy(p->lengths[i].items, p->lengths[i].count * sizeof(uint32_t));
            p->lengths[i].cap = p->lengths[i].count;
        }
    ranges_copy(&p->ranges, &from->ranges);
    ranges_copy(&p->late, &from->late);
    p->waiting = mem_copy(from->waiting, from->waiting_count * sizeof *from->waiting);
    p->waiting_cap = p->waiting_count;
    return p;
}

void values_copy(struct match_set *s, const struct match_set *from)
{
    for (size_t i = 0; i < s->fields_count; i++)
        if (s->fields[i].parts)
            s->fields[i].parts = copy_parts(s->fields[i].parts);
    if (from->entries)
        s->entries = mem_copy(from->entries, from->entry_size * sizeof *from->entries);
    s->grams.words = mem_copy(from->grams.words, from->grams.size * sizeof *from->grams.words);
    s->others.words = mem_copy(from->others.words, from->others.size * sizeof *from->others.words);
    s->bytes =
        (struct buf){mem_copy(from->bytes.ptr, from->bytes.len), from->bytes.len, from->bytes.len};
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static void free_parts(struct set_parts *p)
{
    for (int i = 0; i < SET_TAGS - SET_PARTS; i++)
        mem_free(p->lengths[i].items);
    ranges_fini(&p->ranges);
    ranges_fini(&p->late);
    mem_free(p->waiting);
    mem_free(p);
}

void values_free(struct match_set *s)
{
    for (size_t i = 0; i < s->fields_count; i++)
        if (s->fields[i].parts)
            free_parts(s->fields[i].parts);
    mem_free(s->entries);
    mem_free(s->grams.words);
    mem_free(s->others.words);
    buf_fini(&s->bytes);
}

static size_t parts_memory(const struct set_parts *p)
{
    size_t n = sizeof *p + ranges_memory(&p->ranges) + ranges_memory(&p->late) +
               p->waiting_cap * sizeof *p->waiting;
    for (int i = 0; i < SET_TAGS - SET_PARTS; i++)
        n += p->lengths[i].cap * sizeof *p->lengths[i].items;
    return n;
}

size_t values_memory(const struct match_set *s)
{
    size_t n = s->entry_size * sizeof *s->entries + s->bytes.cap;
    n += (s->grams.size + s->others.size) * sizeof(uint64_t);
    for (size_t i = 0; i < s->fields_count; i++)
        n += s->fields[i].parts ? parts_memory(s->fields[i].parts) : 0;
    return n;
}
