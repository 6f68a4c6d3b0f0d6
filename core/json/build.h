/* json/build.h: a schema's text becomes nodes. build.c walks, keyword.c knows what each word means. */
#pragma once
#include "json/node.h"

/* The way to the value in hand, for messages. */
struct place {
    const struct place *up;
    weir_str key; /* ptr NULL: an element, `index` */
    size_t index;
};

struct anchor {
    weir_str name;
    struct node *node;
};

struct reference {
    struct node *from;
    weir_str target;
    const char *where;
};

struct builder {
    struct schema *schema;
    const struct place *place;
    const char *referrer; /* the $ref whose target is built, or NULL */
    struct error *error;
    weir_str text, id; /* the whole, and its $id */
    struct anchor *anchors;
    size_t anchor_count, anchor_cap;
    struct reference *references;
    size_t reference_count, reference_cap;
    unsigned depth;
};

/* The schema, its root and its nodes; -1 with where and why. */
int build_schema(struct schema *s, weir_str text, struct error *e);
/* -1, with "at /the/place: " before the message. */
int build_fail(struct builder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The way to the value in hand, as a JSON pointer. */
const char *build_where(struct builder *b);
/* The node of a schema in hand; NULL if it is wrong. */
struct node *build_node(struct builder *b, weir_str value);
/* The same one step further down. */
struct node *build_member(struct builder *b, weir_json_each *each, size_t index);
/* Memory that goes away with the schema. */
void *build_take(struct builder *b, size_t n);
char *build_text(struct builder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* keyword.c: enters what a member of a schema object says; -1 if it is wrong. */
int keyword_apply(struct builder *b, struct node *n, weir_str name, weir_str value);
/* What can be said only when all members are known. */
void keyword_finish(struct builder *b, struct node *n);
