/* match/set.h: the compiled form of a set: a tree of names, conditions, and what is hung on them. */
#pragma once
#include <stdatomic.h>

#include "base/hash.h"
#include "match/envelope.h"
#include "match/pattern.h"
#include "match/store.h"

#define SET_NONE UINT32_MAX /* no number, no reference */

/* How a value is looked up in the one table of a set. */
enum set_tag {
    SET_TEXT,
    SET_TOKEN,  /* literals, and numbers that only count as text */
    SET_NUMBER, /* by its key */
    SET_FOLD,   /* in lower case */
    SET_PREFIX,
    SET_SUFFIX,
    SET_FOLD_PREFIX,
    SET_FOLD_SUFFIX,
    SET_GRAM, /* a few bytes anywhere */
    SET_NET,  /* the first bits of an address; its "length" is set_net_length */
    SET_TAGS,
    SET_PARTS = SET_PREFIX, /* from here on: parts of the value */
    SET_GRAM_MAX = 8,
};

/* A reference says what kind its number is of. */
enum set_kind {
    SET_COND,  /* a condition is true */
    SET_BUT,   /* an anything-but is vetoed */
    SET_RULE,  /* a rule matches */
    SET_CHAIN, /* the first of several items */
    SET_NUMBER_BITS = 30,
};

static inline uint32_t set_ref(enum set_kind kind, uint32_t number)
{
    return (uint32_t)kind << SET_NUMBER_BITS | number;
}
static inline enum set_kind set_ref_kind(uint32_t ref)
{
    return (enum set_kind)(ref >> SET_NUMBER_BITS);
}
static inline uint32_t set_ref_number(uint32_t ref)
{
    return ref & (((uint32_t)1 << SET_NUMBER_BITS) - 1);
}

/* One of several references, or one that holds only if a test does. */
struct set_item {
    uint32_t ref; /* no SET_CHAIN */
    uint32_t verify;
    uint32_t next; /* an item, or SET_NONE */
};

/* What is verified: nothing, a test in `tests`, or the pieces of a wildcard in `bytes`. */
#define SET_IS_TEST ((uint32_t)1 << 31)

/* Up to 15 bytes and, in the last byte of `high`, their count; or SET_FAR there, more of the hash below,
 * and in `low` place and length in `bytes`. */
struct set_key {
    uint64_t low, high;
};
enum { SET_NEAR_MAX = 15, SET_FAR = 0xFF };

struct set_entry {
    struct set_key key;
    uint32_t owner, ref; /* owner: field and tag; ref SET_NONE: free */
};

struct set_range {
    uint64_t low[2], high[2]; /* the words of a number's decimal_key that are not 0 */
    bool is_low_open, is_high_open;
    uint32_t ref;
};

/* What holds at a position among the ends of ranges, and what else does. */
struct set_head {
    uint32_t ref; /* SET_CHAIN: the first of `items`; SET_NONE: nothing */
    uint32_t up;  /* in `heads`; 0: nothing else */
};

struct set_range_item {
    uint32_t ref, next; /* an item, or SET_NONE */
};

struct set_point {
    uint64_t w[2];
    struct set_head gap, at; /* before it, and there */
};

/* Points from..to in slots of equal width (decimal_order, of which `base` is the least): in each the
 * number of its first point or, with the uppermost bit, of another split. Size 0: they are all one. */
struct set_split {
    uint64_t base;
    uint32_t first, size, from, to;
    uint8_t shift;
};

#define SET_LIST(T, name) \
    T *name; \
    size_t name##_count, name##_cap

/* See ranges.c. Behind the points is one more, greater than all. */
struct set_ranges {
    struct set_point *points;
    uint32_t count; /* 0: no ranges */
    SET_LIST(struct set_split, splits);
    SET_LIST(uint32_t, slots);
    SET_LIST(struct set_head, heads);
    SET_LIST(struct set_range_item, items);
};

struct set_lengths {
    uint32_t *items; /* ascending */
    uint32_t count, cap;
};

/* Of a field with more than whole values. */
struct set_parts {
    struct set_lengths lengths[SET_TAGS - SET_PARTS];
    struct set_ranges ranges, late;
    /* Until seal; of a set that comes after another, those that came by changes: the first ones are in
     * `late`, the others are tried one by one. */
    SET_LIST(struct set_range, waiting);
    size_t late_count;
};

struct set_field {
    uint32_t always; /* references to be tried with each value */
    uint32_t exists; /* references that hold for any value */
    uint32_t subs;   /* the first of those to be tried if there is a value, or SET_NONE */
    uint32_t node;
    struct set_parts *parts; /* NULL: none */
    bool is_joined;          /* a sub joins it with another field under the same first name */
    bool is_kept;            /* and needs the values that a condition does not name */
    bool has_texts, has_tokens, has_numbers, has_folds;
};

struct set_node { /* one name of the tree; 0 is the event */
    uint32_t parent, field, depth;
    uint32_t children, mask; /* of the table of children; mask 0: none */
    uint32_t slots;          /* one for each way to name it: in 1, 2, ... parts */
    uint64_t lengths;        /* of its children's names, as bits */
    uint64_t stems;          /* the same of children with children */
    weir_str name;
};

struct set_child {
    uint64_t head; /* of the name: up to 8 bytes */
    weir_str name;
    uint32_t node; /* SET_NONE: free */
};

/* Where a condition leads to: nowhere (SET_NONE), or a number of this kind. */
enum set_way { SET_TO_SUB, SET_TO_GROUP, SET_TO_RULE };

enum { SET_BUTS_MAX = (1 << 29) - 1 };

struct set_cond { /* one field with all its alternatives: what an event asks */
    uint32_t field;
    uint32_t to; /* set_way and number, as in a reference */
    uint32_t first_but, but_count : 29;
    uint32_t is_positive : 1; /* true only if an item of it was met */
    uint32_t is_joined : 1;   /* a sub joins it with another field under the same first name */
    uint32_t takes_absent : 1;
};

struct set_source {    /* and what only compiling does */
    uint32_t text, at; /* a pattern in `texts`, and where in it the alternatives are written */
    uint32_t use_count, weight;
};

/* In `subs`, which its number is a place in. */
struct set_sub {
    uint32_t rule, next, count; /* next: in the same group, or SET_NONE */
    uint32_t conds[];           /* in the order of paths */
};
enum { SET_SUB_WORDS = 3 };

/* The subs of one access condition that have their next best condition on the same field. */
struct set_group {
    uint32_t next; /* of the same condition, or SET_NONE */
    uint32_t first;
    uint32_t field; /* SET_NONE: not found by the table of pairs but tried one by one */
};

struct set_pair {
    uint32_t access, second, sub; /* sub SET_NONE: free */
};

/* Two bits of one word for each hash that is there, to tell of most others at once that they are not. That of
 * grams is one of its own, which is small, since they are looked for at each byte of a value. */
struct set_filter {
    uint64_t *words;
    size_t size, count, room; /* room: for so many it is as good as can be */
};

struct set_slot {
    uint32_t hash, cond; /* cond SET_NONE: free */
};

struct match_set {
    atomic_uint uses;        /* who holds it: its maker, and sets that come after it */
    struct arena arena;      /* names, and alternatives that are tested one by one */
    struct buf bytes;        /* long texts of entries, and wildcards */
    struct store texts;      /* of the patterns */
    struct set_build *build; /* NULL: sealed */
    struct change *change;   /* NULL: it comes after no other, or is sealed */
    char *account, *region;
    uint64_t seed;
    SET_LIST(uint32_t, rules); /* their texts, as they were added */
    /* Of a set that was made by a change: the number that a rule has outside (SET_NONE: removed), and the
     * rule of each such number. NULL: both are the same. */
    uint32_t *outside, *inside;
    size_t inside_count;
    SET_LIST(struct set_node, nodes);
    SET_LIST(struct set_child, children);
    SET_LIST(struct set_field, fields);
    SET_LIST(struct set_cond, conds);
    SET_LIST(struct set_source, sources); /* of the conditions */
    SET_LIST(struct set_item, items);
    SET_LIST(const struct pattern_test *, tests);
    SET_LIST(uint32_t, subs); /* struct set_sub, one behind the other */
    SET_LIST(struct set_group, groups);
    struct set_entry *entries;
    struct set_pair *pairs;
    struct set_slot *slots;          /* of conditions, by field and alternatives: for changes */
    struct set_filter grams, others; /* of `entries` */
    size_t entry_count, entry_size, pair_count, pair_mask; /* mask: of a power of two less one */
    size_t slot_size;
    uint32_t but_count, slot_count;
    uint32_t always;                    /* the first sub that may match without any value */
    uint32_t members[ENVELOPE_MEMBERS]; /* nodes, or SET_NONE */
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

static inline uint64_t set_pair_hash(uint32_t access, uint32_t second)
{
    return set_mix((uint64_t)access << 32 | second);
}

static inline struct set_sub *set_sub_at(const struct match_set *s, uint32_t at)
{
    return (struct set_sub *)(void *)(s->subs + at);
}

/* ---- the table of values -------------------------------------------------------------------------- */

static inline uint64_t set_wide_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t set_load(const char *p, size_t n) /* n: 1 to 8 bytes */
{
    uint64_t v = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (n == 8) {
        memcpy(&v, p, 8);
    } else if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        v = low | (uint64_t)high << 8 * (n - 4);
    } else {
        uint64_t middle = (unsigned char)p[n / 2], last = (unsigned char)p[n - 1];
        v = (unsigned char)p[0] | middle << 8 * (n / 2) | last << 8 * (n - 1);
    }
#else
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)p[i] << 8 * i;
#endif
    return v;
}

/* Of a name: its head (the first 8 bytes), its last 8 and its length; event keys are only looked up, and
 * names come from patterns, so it need not be keyed. */
static inline uint64_t set_name_hash(uint64_t head, const char *p, size_t n)
{
    uint64_t tail = n > 8 ? set_load(p + n - 8, 8) : 0;
    return set_mix(head ^ (tail << 21 | tail >> 43) ^ (uint64_t)n << 56);
}

static inline struct set_key set_key_of(const struct match_set *s, const char *p, size_t n)
{
    struct set_key key = {0, (uint64_t)n << 56};
    if (n > SET_NEAR_MAX)
        key.high = hash_bytes(p, n, s->seed) >> 8 | (uint64_t)SET_FAR << 56;
    else if (n > 8)
        key.low = set_load(p, 8), key.high |= set_load(p + 8, n - 8);
    else if (n)
        key.low = set_load(p, n);
    return key;
}

static inline bool set_key_is_far(const struct set_key *key)
{
    return key->high >> 56 == SET_FAR;
}

static inline struct set_key set_number_key(const struct decimal_key *number)
{
    const uint64_t least = ((uint64_t)1 << 63) - ((uint64_t)1 << 42); /* see decimal.c */
    return (struct set_key){number->w[1], number->w[0] - least};
}

/* The first `bits` of an address as bytes, and how many they are. */
enum { SET_NET_BYTES = 18 };
static inline size_t set_net_bytes(const struct decimal_key *address, uint32_t bits,
                                   char out[SET_NET_BYTES])
{
    uint64_t words[2] = {address->w[1], address->w[2]};
    bool is_short = address->w[0] == 4;
    uint32_t top = is_short ? bits + 96 : bits;
    words[0] &= top >= 64 ? UINT64_MAX : ~(UINT64_MAX >> top);
    words[1] &= top <= 64 ? 0 : ~(top >= 128 ? 0 : UINT64_MAX >> (top - 64));
    out[0] = (char)address->w[0], out[1] = (char)bits;
    memcpy(out + 2, &words[is_short], 8);
    memcpy(out + 10, &words[1], 8);
    return is_short ? 10 : SET_NET_BYTES;
}
static inline uint32_t set_net_length(const struct decimal_key *address, uint32_t bits)
{
    return (address->w[0] == 4 ? 0 : 256) + bits;
}

static inline uint64_t set_hash(const struct match_set *s, uint32_t owner, struct set_key key)
{
    uint64_t low = set_key_is_far(&key) ? 0 : key.low;
    return set_wide_mix(low ^ s->seed, key.high ^ (owner + 1) * 0x9E3779B97F4A7C15u);
}

static inline size_t set_entry_at(const struct match_set *s, uint64_t hash)
{
    return (size_t)((hash >> 32) * s->entry_size >> 32);
}
static inline size_t set_entry_after(const struct match_set *s, size_t at)
{
    return at + 1 == s->entry_size ? 0 : at + 1;
}
/* `text`: of a key that is far. */
static inline bool set_entry_is(const struct match_set *s, const struct set_entry *e,
                                uint32_t owner, struct set_key key, weir_str text)
{
    if (e->owner != owner || e->key.high != key.high)
        return false;
    if (!set_key_is_far(&key))
        return e->key.low == key.low;
    return e->key.low >> 32 == text.len &&
           memcmp(s->bytes.ptr + (uint32_t)e->key.low, text.ptr, text.len) == 0;
}

/* The place of an entry comes from the upper half of its hash. */
static inline uint64_t *set_filter_word(const struct set_filter *f, uint64_t hash)
{
    return &f->words[(hash & UINT32_MAX) * f->size >> 32];
}
static inline uint64_t set_filter_bits(uint64_t hash)
{
    return (uint64_t)1 << (hash & 63) | (uint64_t)1 << (hash >> 6 & 63);
}
static inline bool set_may_have(const struct set_filter *f, uint64_t hash)
{
    return !(set_filter_bits(hash) & ~*set_filter_word(f, hash));
}

static inline uint32_t set_owner(uint32_t field, enum set_tag tag)
{
    return field * SET_TAGS + (uint32_t)tag;
}
static inline const struct set_lengths *set_lengths_of(const struct set_field *f, enum set_tag tag)
{
    return &f->parts->lengths[tag - SET_PARTS];
}

static inline uint32_t set_rule(const struct match_set *s, uint32_t outside)
{
    return s->inside ? s->inside[outside] : outside;
}

/* set.c, for change.c: */
void set_init(struct match_set *s); /* empty, all but the environment */
void set_fini(struct match_set *s);
void set_copy(struct match_set *s, const struct match_set *from); /* sealed; to add to it */
void set_add(struct match_set *s, weir_str text, const struct pattern *p);
bool set_has_room(const struct match_set *s, weir_str text, const struct pattern *p);
struct arena *set_scratch(struct match_set *s); /* for a pattern in hand */
void set_seal(struct match_set *s);             /* all of it is new */
void set_seal_change(struct match_set *s);      /* what was added is; the rest is sealed */

/* hang.c: the ways from conditions to the subs of the build. */
void hang_all(struct match_set *s, const uint32_t *b, size_t words);
void hang_more(struct match_set *s, const uint32_t *b, size_t words); /* to those that hang */

/* change.c: a set that comes after another. */
struct change;
void change_free(struct change *ch);
weir_status change_add(struct match_set *s, weir_str pattern, struct match_error *e);
size_t change_count(const struct change *ch);
void change_seal(struct match_set *s);

/* Adds to the structures of a field what tells that `t` holds. */
void values_add(struct match_set *s, uint32_t field, const struct pattern_test *t, uint32_t ref);
void values_seal(struct match_set *s);
void values_seal_change(struct match_set *s);
void values_copy(struct match_set *s, const struct match_set *from); /* its structures */
void values_free(struct match_set *s);
size_t values_memory(const struct match_set *s);

/* ranges.c */
void ranges_make(struct set_ranges *r, const struct set_range *ranges, size_t count);
const struct set_head *ranges_find(const struct set_ranges *r, const uint64_t w[2]); /* count > 0 */
void ranges_copy(struct set_ranges *r, const struct set_ranges *from);
void ranges_fini(struct set_ranges *r);
size_t ranges_memory(const struct set_ranges *r);
