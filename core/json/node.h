/* json/node.h: a schema once compiled: nodes that only the compiler (build.c) writes.
 *
 * A node is one schema object; what concerns one kind of value hangs behind one pointer, which is
 * NULL if there is nothing to check. All of it lives in the schema's arena. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json/format.h"
#include "json/json.h"
#include "json/number.h"
#include "json/regex.h"
#include "json/schema.h"

enum { NODE_INTEGER = 1 << 7 }; /* beside the bits 1 << WEIR_JSON_* of the types */

struct node;

struct nodes {
    struct node **items;
    size_t count;
};

/* "at most n"; no limit if the message is NULL. */
struct limit {
    uint64_t n;
    const char *message;
};

struct number_limit {
    struct number n;
    const char *message;
};

struct text_rules {
    struct limit min, max; /* code points */
    struct regex *pattern;
    const char *pattern_message;
    const struct format *format;
};

struct number_rules {
    struct number_limit min, max, above, below, multiple;
};

struct array_rules {
    struct limit min, max, min_contains, max_contains;
    struct nodes prefix;
    struct node *items, *additional, *contains, *unevaluated;
    bool is_unique, is_old_form; /* items was an array: additionalItems says what follows */
};

/* A name that something was said about; its index is its bit among those present. */
struct name {
    weir_str text;
    struct node *node; /* of properties; NULL: only required or depended on */
};

struct pattern_rule {
    struct regex *pattern;
    struct node *node;
};

struct dependency { /* with name `on`: name `needs`, or a schema */
    size_t on, needs;
    const char *message;
    struct node *node;
};

struct object_rules {
    struct limit min, max;
    struct name *names;
    size_t name_count, name_cap;
    uint32_t *table; /* of a power of two of slots: index + 1 of a name, 0 is free */
    size_t table_mask;
    const char **known; /* the names of properties, for hints; ends with NULL */
    size_t *required;
    size_t required_count;
    struct pattern_rule *patterns;
    size_t pattern_count;
    struct dependency *dependencies;
    size_t dependency_count, dependency_cap;
    struct node *additional, *property_names, *unevaluated;
};

struct node {
    const char *at;   /* where it stands in the schema's text: its identity */
    const char *deny; /* the schema `false`: the message */
    uint32_t types;   /* 0: any */
    const char *type_message;
    weir_str *values; /* enum, const */
    size_t value_count, value_cap;
    const char *value_message, *value_keyword;
    struct text_rules *text;
    struct number_rules *number;
    struct array_rules *array;
    struct object_rules *object;
    struct node *ref, *not_, *if_, *then_, *else_;
    struct nodes all_of, any_of, one_of;
    bool is_applied; /* has one of the last nine, or dependent schemas: others apply to the value */
    bool is_tracking; /* has unevaluatedProperties or unevaluatedItems */
    uint8_t visit;    /* while cycles are looked for */
};

struct schema {
    struct arena arena;
    char *text;
    struct node *root;
    struct node **nodes;
    size_t node_count, node_cap;
    struct regex **patterns;
    size_t pattern_count, pattern_cap;
};

static inline size_t node_hash_name(weir_str s)
{
    size_t h = s.len * 31;
    if (s.len)
        h += (size_t)(unsigned char)s.ptr[0] * 7 + (size_t)(unsigned char)s.ptr[s.len - 1] * 131 +
             (size_t)(unsigned char)s.ptr[s.len / 2] * 17;
    return h ^ h >> 7;
}
