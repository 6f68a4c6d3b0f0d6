/* json/walk.h: a walk over a text with its schema: schema.c goes from node to node, members.c through
 * arrays and objects, finding.c keeps what is wrong. */
#pragma once
#include "json/node.h"

enum { FINDINGS_MAX = 100 };

/* The way from the whole to the value in hand. */
struct frame {
    const struct frame *up;
    weir_str key; /* ptr NULL: an element, `index` */
    size_t index;
    bool is_plain; /* the key is from the schema, without escapes */
};

struct finding {
    weir_violation violation;
    const char *at; /* where in the text, for the order */
};

struct run {
    struct arena *scratch;
    const struct frame *frame;
    struct finding *findings; /* FINDINGS_MAX of them, made at the first */
    size_t count;
    bool is_quiet;    /* only whether: stop at the first */
    const char *over; /* a bound was reached: why; the text fails, whatever `not` makes of that */
    unsigned depth;
    uint32_t steps;
};

/* Members or elements that a schema has looked at: a bit each. */
struct seen {
    uint64_t *bits;
    size_t count;
};

/* schema.c: does a value fit a node? `parent` learns what was looked at; NULL: nobody asks. */
bool schema_walk(struct run *r, const struct node *n, weir_str value, struct seen *parent);
/* The same, and nothing is told. */
bool schema_fits(struct run *r, const struct node *n, weir_str value, struct seen *parent);

/* members.c */
bool members_test_array(struct run *r, const struct array_rules *a, weir_str value,
                        struct seen *seen);
bool members_test_object(struct run *r, const struct object_rules *o, weir_str value,
                         struct seen *seen);
bool members_test_unevaluated(struct run *r, const struct node *n, weir_str value, int kind,
                              struct seen *seen);

/* finding.c */
void finding_add(struct run *r, const char *at, const char *keyword, const char *message);
bool finding_tell_of(struct run *r, weir_str key, const char *at, const char *keyword,
                     const char *message);
void finding_sort(struct finding *findings, size_t count);

/* Always false, so that it can be returned. */
static inline bool finding_tell(struct run *r, const char *at, const char *keyword,
                                const char *message)
{
    if (r->count++ < FINDINGS_MAX && !r->is_quiet)
        finding_add(r, at, keyword, message);
    return false;
}

static inline bool finding_give_up(struct run *r, const char *message)
{
    if (!r->over)
        r->over = message;
    return false;
}

static inline void seen_mark(struct seen *s, size_t i)
{
    if (s && i < s->count)
        s->bits[i / 64] |= (uint64_t)1 << i % 64;
}

static inline bool seen_has(const struct seen *s, size_t i)
{
    return s->bits[i / 64] >> i % 64 & 1;
}
