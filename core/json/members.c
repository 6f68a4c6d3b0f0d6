/* json/members.c: the elements of an array and the members of an object, each against its schema. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "json/same.h"
#include "json/walk.h"

enum {
    PRESENT_WORDS = 4, /* of 64 names each that need no memory */
    PAIRS_MAX = 8,     /* of items compared with each other before they are hashed */
};

/* ---- arrays ---- */

struct item {
    uint64_t hash;
    weir_str value;
};

static int by_hash(const void *a, const void *b)
{
    uint64_t x = ((const struct item *)a)->hash, y = ((const struct item *)b)->hash;
    return x < y ? -1 : x > y;
}

static bool are_unique_pairs(const struct item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (json_same(items[i].value, items[k].value))
                return false;
    return true;
}

static bool are_unique(struct run *r, weir_str array, size_t count)
{
    struct item *items = arena_take_raw(r->scratch, (count + 1) * sizeof *items);
    uint64_t seed = hash_seed();
    size_t i = 0;
    for (weir_json_each each = {0}; i < count && json_next(array, &each); i++)
        items[i] = (struct item){count > PAIRS_MAX ? same_hash(each.value, seed) : 0, each.value};
    if (count <= PAIRS_MAX)
        return are_unique_pairs(items, count);
    qsort(items, count, sizeof *items, by_hash);
    for (i = 1; i < count; i++)
        if (items[i].hash == items[i - 1].hash && json_same(items[i].value, items[i - 1].value))
            return false;
    return true;
}

static bool test_element(struct run *r, const struct array_rules *a, weir_str value, size_t index,
                         struct seen *seen)
{
    const struct node *n = index < a->prefix.count ? a->prefix.items[index] : a->items;
    if (!n)
        return true;
    struct frame frame = {.up = r->frame, .index = index};
    r->frame = &frame;
    bool ok = schema_walk(r, n, value, NULL);
    r->frame = frame.up;
    seen_mark(seen, index);
    return ok;
}

static bool test_counts(struct run *r, const struct array_rules *a, weir_str value, size_t count,
                        size_t found)
{
    bool ok = true;
    if (a->min.message && count < a->min.n)
        ok = finding_tell(r, value.ptr, "minItems", a->min.message);
    if (a->max.message && count > a->max.n)
        ok = finding_tell(r, value.ptr, "maxItems", a->max.message);
    if (a->contains && found < a->min_contains.n)
        ok = finding_tell(r, value.ptr, "contains", a->min_contains.message);
    if (a->contains && a->max_contains.message && found > a->max_contains.n)
        ok = finding_tell(r, value.ptr, "maxContains", a->max_contains.message);
    if (a->is_unique && !are_unique(r, value, count))
        ok = finding_tell(r, value.ptr, "uniqueItems", "must not have the same item twice");
    return ok;
}

bool members_test_array(struct run *r, const struct array_rules *a, weir_str value,
                        struct seen *seen)
{
    size_t count = 0, found = 0;
    bool ok = true;
    for (weir_json_each each = {0}; json_next(value, &each); count++) {
        if (!test_element(r, a, each.value, count, seen))
            ok = false;
        if (a->contains && schema_fits(r, a->contains, each.value, NULL)) {
            found++;
            seen_mark(seen, count);
        }
        if (!ok && r->is_quiet)
            return false;
    }
    return test_counts(r, a, value, count, found) && ok;
}

static bool test_unevaluated_items(struct run *r, const struct node *n, weir_str value,
                                   struct seen *seen)
{
    bool ok = true;
    size_t i = 0;
    for (weir_json_each each = {0}; json_next(value, &each); i++) {
        if (seen_has(seen, i))
            continue;
        struct frame frame = {.up = r->frame, .index = i};
        r->frame = &frame;
        ok = schema_walk(r, n, each.value, NULL) && ok;
        r->frame = frame.up;
        seen_mark(seen, i);
    }
    return ok;
}

/* ---- objects ---- */

static size_t find_name(const struct object_rules *o, weir_str key)
{
    for (size_t slot = node_hash_name(key) & o->table_mask; o->table[slot];
         slot = (slot + 1) & o->table_mask) {
        weir_str text = o->names[o->table[slot] - 1].text;
        if (text.len == key.len && (!key.len || memcmp(text.ptr, key.ptr, key.len) == 0))
            return o->table[slot];
    }
    return 0;
}

static bool refuse_member(struct run *r, const struct object_rules *o, weir_str key,
                          const char *keyword)
{
    const char *message = "is not a known member", *nearest = NULL;
    if (!r->is_quiet && r->count < FINDINGS_MAX && key.len < 64) {
        nearest = text_nearest(arena_copy(r->scratch, key.ptr, key.len), o->known);
        if (nearest)
            message =
                arena_format(r->scratch, "is not a known member: did you mean \"%s\"?", nearest);
    }
    return finding_tell(r, key.ptr, keyword, message);
}

static bool test_extra(struct run *r, const struct object_rules *o, const struct node *n,
                       const weir_json_each *each, const char *keyword)
{
    if (n->deny)
        return refuse_member(r, o, each->key, keyword);
    return schema_walk(r, n, each->value, NULL);
}

static bool test_patterns(struct run *r, const struct object_rules *o, const weir_json_each *each,
                          weir_str plain, bool *is_known)
{
    bool ok = true;
    for (size_t i = 0; i < o->pattern_count; i++) {
        int match = regex_test(o->patterns[i].pattern, plain);
        if (match == REGEX_TOO_COSTLY)
            ok = finding_give_up(r, "has a name that takes too long to compare with its patterns");
        if (match != REGEX_YES)
            continue;
        *is_known = true;
        ok = schema_walk(r, o->patterns[i].node, each->value, NULL) && ok;
    }
    return ok;
}

/* A member: tested by its name, by patterns, or as one of the rest. */
static bool test_member(struct run *r, const struct object_rules *o, const weir_json_each *each,
                        uint64_t *present, bool *is_known)
{
    bool ok = true, has_escape = each->key.len && memchr(each->key.ptr, '\\', each->key.len);
    weir_str plain = has_escape ? json_unquote(each->key, r->scratch) : each->key;
    struct frame frame = {.up = r->frame, .key = each->key};
    r->frame = &frame;
    size_t found = find_name(o, plain);
    if (found) {
        const struct node *n = o->names[found - 1].node;
        present[(found - 1) / 64] |= (uint64_t)1 << (found - 1) % 64;
        *is_known = n != NULL;
        ok = !n || schema_walk(r, n, each->value, NULL);
    }
    if (o->pattern_count && !test_patterns(r, o, each, plain, is_known))
        ok = false;
    weir_str quoted = {each->key.ptr - 1, each->key.len + 2};
    if (o->property_names && !schema_fits(r, o->property_names, quoted, NULL))
        ok = finding_tell(r, each->key.ptr, "propertyNames", "has a name that is not allowed");
    if (!*is_known && o->additional) {
        *is_known = true;
        ok = test_extra(r, o, o->additional, each, "additionalProperties") && ok;
    }
    r->frame = frame.up;
    return ok;
}

static bool has_name(const uint64_t *present, size_t i)
{
    return present[i / 64] >> i % 64 & 1;
}

static bool test_names(struct run *r, const struct object_rules *o, weir_str value,
                       const uint64_t *present)
{
    bool ok = true;
    for (size_t i = 0; i < o->required_count; i++)
        if (!has_name(present, o->required[i]))
            ok = finding_tell_of(r, o->names[o->required[i]].text, value.ptr, "required",
                                 "is required");
    for (size_t i = 0; i < o->dependency_count; i++) {
        const struct dependency *d = &o->dependencies[i];
        if (!d->node && has_name(present, d->on) && !has_name(present, d->needs))
            ok = finding_tell_of(r, o->names[d->needs].text, value.ptr, "dependentRequired",
                                 d->message);
    }
    return ok;
}

static bool test_dependents(struct run *r, const struct object_rules *o, weir_str value,
                            const uint64_t *present, struct seen *seen)
{
    bool ok = true;
    for (size_t i = 0; i < o->dependency_count; i++) {
        const struct dependency *d = &o->dependencies[i];
        if (d->node && has_name(present, d->on))
            ok = schema_walk(r, d->node, value, seen) && ok;
    }
    return ok;
}

bool members_test_object(struct run *r, const struct object_rules *o, weir_str value,
                         struct seen *seen)
{
    uint64_t few[PRESENT_WORDS] = {0}, *present = few;
    size_t count = 0;
    bool ok = true;
    if (o->name_count > sizeof few * 8)
        present = arena_take(r->scratch, (o->name_count / 64 + 1) * sizeof *present);
    for (weir_json_each each = {0}; json_next(value, &each); count++) {
        bool is_known = false;
        ok = test_member(r, o, &each, present, &is_known) && ok;
        if (is_known)
            seen_mark(seen, count);
        if (!ok && r->is_quiet)
            return false;
    }
    if (o->min.message && count < o->min.n)
        ok = finding_tell(r, value.ptr, "minProperties", o->min.message);
    if (o->max.message && count > o->max.n)
        ok = finding_tell(r, value.ptr, "maxProperties", o->max.message);
    ok = test_names(r, o, value, present) && ok;
    return test_dependents(r, o, value, present, seen) && ok;
}

static bool test_unevaluated_members(struct run *r, const struct object_rules *o, weir_str value,
                                     struct seen *seen)
{
    bool ok = true;
    size_t i = 0;
    for (weir_json_each each = {0}; json_next(value, &each); i++) {
        if (seen_has(seen, i))
            continue;
        struct frame frame = {.up = r->frame, .key = each.key};
        r->frame = &frame;
        ok = test_extra(r, o, o->unevaluated, &each, "unevaluatedProperties") && ok;
        r->frame = frame.up;
        seen_mark(seen, i);
    }
    return ok;
}

/* ---- both ---- */

bool members_test_unevaluated(struct run *r, const struct node *n, weir_str value, int kind,
                              struct seen *seen)
{
    if (kind == WEIR_JSON_OBJECT && n->object && n->object->unevaluated)
        return test_unevaluated_members(r, n->object, value, seen);
    if (kind == WEIR_JSON_ARRAY && n->array && n->array->unevaluated)
        return test_unevaluated_items(r, n->array->unevaluated, value, seen);
    return true;
}
