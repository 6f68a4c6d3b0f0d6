/* match/pattern.h: an event pattern taken apart: conjunctions of paths, each with its alternatives. */
#pragma once
#include "base/mem.h"
#include "match/decimal.h"
#include "match/fold.h"
#include "match/match.h"

enum { PATTERN_SUBS_MAX = 1000 };

enum pattern_kind {
    PATTERN_TEXT,    /* equal; `key` if it is an address as well */
    PATTERN_NUMBER,  /* equal; `key` unless only the text counts */
    PATTERN_LITERAL, /* true, false, null */
    PATTERN_PREFIX,
    PATTERN_SUFFIX,
    PATTERN_FOLD,
    PATTERN_FOLD_PREFIX,
    PATTERN_FOLD_SUFFIX,
    PATTERN_WILDCARD,
    PATTERN_RANGE, /* of numbers */
    PATTERN_CIDR,
    PATTERN_EXISTS,
    PATTERN_ABSENT,
    PATTERN_BUT, /* none of the items */
};

struct pattern_test {
    enum pattern_kind kind;
    bool has_key, is_low_open, is_high_open;
    weir_str text; /* without quotes and escapes; of a wildcard: as written in the pattern */
    union {
        struct fold fold;
        struct { /* the texts between the wildcards: one more than there are of these */
            const weir_str *items;
            size_t count;
        } pieces;
        struct {
            const struct pattern_test *items;
            size_t count;
        } but;
        struct {
            struct decimal_key low, high; /* of an equality: low */
        } range;
    };
};

struct pattern_list { /* one path with its alternatives */
    weir_str path;    /* names joined by dots */
    weir_str source;  /* the alternatives as they were written */
    const struct pattern_test *tests;
    size_t count;
};

struct pattern_sub { /* all of these; sorted by path, each path once */
    const struct pattern_list **lists;
    size_t count;
};

struct pattern { /* any of these */
    struct pattern_sub *subs;
    size_t count;
};

/* What a pattern says lives in the arena; `text` is copied. REJECT with *e. */
weir_status pattern_parse(struct pattern *out, weir_str text, struct arena *a,
                          struct match_error *e);

/* `count` tests, with all that they need, in another arena. */
struct pattern_test *pattern_copy(const struct pattern_test *t, size_t count, struct arena *a);

/* holds.c. A value of an event: kind is WEIR_JSON_*, text without quotes and escapes or the bare token. */
bool pattern_holds(const struct pattern_test *t, int kind, weir_str text);
bool pattern_list_holds(const struct pattern_list *l, int kind, weir_str text);
bool pattern_list_takes_absent(const struct pattern_list *l);
