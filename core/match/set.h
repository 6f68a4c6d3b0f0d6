/* match/set.h: the compiled form of a set: a tree of names, conditions, and what is hung on them. */
#pragma once
#include "match/envelope.h"
#include "match/pattern.h"

#define SET_NONE   UINT32_MAX /* no number */
#define SET_ID_MAX (UINT32_MAX >> 1)

/* How a text is looked up in the one table of a set. */
enum set_tag {
    SET_TEXT,
    SET_TOKEN, /* literals, and numbers that only count as text */
    SET_FOLD,  /* in lower case */
    SET_PREFIX,
    SET_SUFFIX,
    SET_FOLD_PREFIX,
    SET_FOLD_SUFFIX,
    SET_GRAM, /* a few bytes anywhere */
    SET_TAGS,
    SET_GRAM_MAX = 4,
};

/* What is true once an entry is met: a condition, or the veto of an anything-but. */
struct set_item {
    const struct pattern_test *verify; /* NULL: to be met is enough */
    uint32_t id : 31, is_but : 1;
    uint32_t next;
};

struct set_entry {
    const char *ptr;
    uint32_t hash, len, owner, items; /* owner: field and tag; items SET_NONE: free */
};

struct set_range {
    struct decimal_key low, high;
    bool is_low_open, is_high_open, is_but;
    uint32_t id;
};

/* Positions 2i+1 are the points, 2i the gaps before them; a tree over the positions holds items. */
struct set_ranges {
    struct decimal_key *points;
    uint32_t *heads; /* of the tree's nodes; the leaves begin at `leaves` */
    uint32_t count, leaves;
    struct set_range *waiting; /* until seal */
    size_t waiting_count, waiting_cap;
};

struct set_lengths {
    uint32_t *items; /* ascending */
    size_t count, cap;
};

struct set_field {
    struct set_ranges numbers, addresses;
    struct set_lengths lengths[SET_TAGS];
    uint32_t always;               /* items to be tried with each value */
    uint32_t exists;               /* items that hold for any value */
    uint32_t first_sub, sub_count; /* in lazy_subs: subs to be tried if there is a value */
    uint32_t node;
    bool is_joined; /* a sub joins it with another field under the same first name */
    bool has_texts, has_tokens, has_folds;
};

struct set_node { /* one name of the tree; 0 is the event */
    uint32_t parent, field, depth;
    uint32_t children, mask; /* of the table of children; mask 0: none */
    uint32_t slots;          /* one for each way to name it: in 1, 2, ... parts */
    uint64_t lengths;        /* of its children's names, as bits */
    weir_str name;
};

struct set_child {
    uint64_t hash;
    weir_str name;
    uint32_t node; /* SET_NONE: free */
};

struct set_cond {                     /* one field with all its alternatives */
    const struct pattern_test *tests; /* its alternatives, if a sub joins it with another field */
    uint32_t test_count, weight;
    uint32_t field, first_but, but_count, use_count;
    uint32_t first_group, group_count;
    uint32_t rule;    /* that it decides alone, with nothing else hung on it; or SET_NONE */
    bool is_positive; /* true only if an item of it was met */
    bool takes_absent;
};

struct set_sub {
    uint32_t rule, first_cond, cond_count; /* in sub_conds, in the order of paths */
    uint32_t next_pair;
    bool is_joined; /* two of its fields may lie in one array */
};

/* The subs of one access condition that have their next best condition on the same field. */
struct set_group {
    uint32_t field, first, count; /* in group_subs; field SET_NONE: no other condition */
    bool is_paired;               /* found by the table of pairs */
};

struct set_pair {
    uint64_t key;
    uint32_t sub;
};

#define SET_LIST(T, name) \
    T *name; \
    size_t name##_count, name##_cap

/* Texts, end to end. */
struct set_texts {
    char *free;
    size_t left, bytes; /* of the block in hand; of all blocks */
    struct arena blocks;
};

struct match_set {
    struct arena arena; /* alternatives that are tested one by one */
    struct set_texts texts;
    struct set_build *build; /* NULL: sealed */
    char *account, *region;
    uint64_t seed;
    SET_LIST(weir_str, rules); /* as they were added */
    SET_LIST(struct set_node, nodes);
    SET_LIST(struct set_child, children);
    SET_LIST(struct set_field, fields);
    SET_LIST(struct set_cond, conds);
    SET_LIST(struct set_item, items);
    SET_LIST(struct set_sub, subs);
    SET_LIST(uint32_t, sub_conds);
    SET_LIST(struct set_group, groups);
    SET_LIST(uint32_t, group_subs);
    SET_LIST(uint32_t, lazy_subs); /* by field, then those that may match without any value */
    struct set_entry *entries;
    struct set_pair *pairs;
    size_t entry_count, entry_size, pair_mask; /* mask: of the table, a power of two less one */
    uint32_t but_count, slot_count;
    uint32_t always_first, always_count; /* in lazy_subs */
    uint32_t members[ENVELOPE_MEMBERS];  /* nodes, or SET_NONE */
};

/* No more comes. */
#define SET_TRIM(s, name) \
    ((s)->name##_cap = (s)->name##_count, \
     (s)->name = mem_grow((s)->name, (s)->name##_count * sizeof(__typeof__(*(s)->name)) + 1))
#define SET_PUSH(s, name) MEM_PUSH((s)->name, (s)->name##_count, (s)->name##_cap)

static inline uint64_t set_mix(uint64_t a)
{
    a *= 0x9E3779B97F4A7C15u;
    a ^= a >> 32;
    a *= 0xD6E8FEB86659FD93u;
    return a ^ a >> 29;
}

/* Of a name: its first and last bytes and its length; event keys are only looked up, and names come
 * from patterns, so it need not be keyed. */
static inline uint64_t set_name_hash(const char *p, size_t n)
{
    uint64_t a = 0, b = 0;
    if (n >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
    } else if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        a = low, b = high;
    } else if (n) {
        a = (unsigned char)p[0],
        b = (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
    }
    return set_mix(a ^ (b << 21 | b >> 43) ^ n << 56);
}

static inline uint64_t set_pair_key(uint32_t first, uint32_t second)
{
    return (uint64_t)first << 32 | second;
}

uint32_t set_hash(const struct match_set *s, uint32_t owner, const char *p, size_t n);
static inline size_t set_entry_at(const struct match_set *s, uint32_t hash)
{
    return (size_t)((uint64_t)hash * s->entry_size >> 32);
}
static inline size_t set_entry_after(const struct match_set *s, size_t at)
{
    return at + 1 == s->entry_size ? 0 : at + 1;
}
weir_str set_keep(struct set_texts *t, weir_str text);
static inline uint32_t set_owner(uint32_t field, enum set_tag tag)
{
    return field * SET_TAGS + (uint32_t)tag;
}

/* Adds to the structures of a field what tells that `t` holds; id is a condition or a veto. */
void values_add(struct match_set *s, uint32_t field, const struct pattern_test *t,
                struct set_item item);
void values_seal(struct match_set *s);
void values_free(struct match_set *s);
size_t values_memory(const struct match_set *s);
