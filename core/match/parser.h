/* match/parser.h: how a pattern is read: pattern.c its fields, alternative.c what a field may be,
 * interval.c the alternatives that are a range of keys. False is a failure that was told. */
#pragma once
#include "match/pattern.h"
#include "json/json.h"

struct parser {
    struct arena *arena;
    struct match_error *error;
    const char *start;        /* of the text, which places count from */
    struct pattern_sub *subs; /* what the fields so far ask for */
    size_t count;
};

/* Says what is wrong, and where; returns false. */
__attribute__((format(printf, 3, 4))) bool parser_fail(struct parser *p, weir_str at,
                                                       const char *fmt, ...);

static inline int parser_shown(weir_str s) /* the precision that shows it in a reason */
{
    return s.len > 120 ? 120 : (int)s.len;
}

/* The text of a string; any other value as it is. */
weir_str parser_unquote(const struct parser *p, weir_str value);
weir_str parser_name(const struct parser *p, weir_str key);
size_t parser_count(weir_str array);

/* What has to be there: a string ("`what` must be a string"), a first member, and no other. */
bool parser_text(struct parser *p, weir_str value, const char *what, weir_str *text);
bool parser_member(struct parser *p, weir_str object, weir_json_each *each, const char *missing);
bool parser_no_more(struct parser *p, weir_str object, weir_json_each *each, const char *reason);
extern const char parser_too_many[]; /* elements: a reason of Event Ruler's */

/* alternative.c */
bool alternative_read(struct parser *p, struct pattern_test *t, weir_str value);

/* interval.c */
bool interval_read_numeric(struct parser *p, struct pattern_test *t, weir_str value);
bool interval_read_cidr(struct parser *p, struct pattern_test *t, weir_str value);
