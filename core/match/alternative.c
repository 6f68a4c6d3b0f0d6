/* match/alternative.c: what a field may be, from its text: a value or a match expression. */
#include <stdio.h>

#include "base/text.h"
#include "match/complexity.h"
#include "match/parser.h"

static const char one_key[] = "Only one key allowed in match expression";

/* ---- texts ---- */

static void set_number(struct pattern_test *t, weir_str value)
{
    struct decimal d;
    t->kind = PATTERN_NUMBER, t->text = value;
    t->has_key = decimal_is_comparable(&d, value);
    if (t->has_key)
        t->range.low = t->range.high = d.key;
}

static void set_text(struct pattern_test *t, weir_str text, bool may_be_address)
{
    unsigned bytes;
    t->kind = PATTERN_TEXT, t->text = text;
    t->has_key = may_be_address && decimal_read_address(text, &t->range.low, &bytes);
    t->range.high = t->range.low;
}

static bool set_wildcard(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (!parser_text(p, value, "wildcard match pattern", &t->text))
        return false;
    weir_str s = t->text;
    char *bytes = arena_take(p->arena, s.len + 1);
    weir_str *pieces = arena_take(p->arena, (s.len + 1) * sizeof *pieces);
    size_t count = 0, used = 0, from = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i], next = '\0';
        if (i + 1 < s.len)
            next = s.ptr[i + 1];
        /* Positions count the quote before the text. */
        if (c == '*' && next == '*')
            return parser_fail(p, value, "Consecutive wildcard characters at pos %zu", i + 1);
        if (c == '\\' && next != '*' && next != '\\')
            return parser_fail(p, value, "Invalid escape character at pos %zu", i + 1);
        if (c == '*') {
            pieces[count++] = (weir_str){bytes + from, used - from};
            from = used;
            continue;
        }
        bytes[used++] = c;
        if (c == '\\')
            bytes[used - 1] = next, i++;
    }
    pieces[count++] = (weir_str){bytes + from, used - from};
    if (complexity_is_too_high(pieces, count))
        return parser_fail(
            p, value,
            "Rule is too complex - try using fewer wildcard characters or fewer repeating "
            "character sequences after a wildcard character");
    t->kind = PATTERN_WILDCARD;
    t->pieces.items = pieces, t->pieces.count = count;
    return true;
}

/* Of a list the kinds are looked at first, the texts then. */
static bool are_wildcards(struct parser *p, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return true;
    for (weir_json_each each = {0}; json_next(value, &each);)
        if (json_kind(each.value) != WEIR_JSON_TEXT)
            return parser_fail(p, each.value, "wildcard match pattern must be a string");
    return true;
}

static void set_fold(struct parser *p, struct pattern_test *t, enum pattern_kind kind,
                     weir_str text)
{
    t->kind = kind, t->text = text;
    fold_init(&t->fold, text, p->arena);
}

/* {"prefix": "x"} and {"prefix": {"equals-ignore-case": "x"}} */
static bool set_affix(struct parser *p, struct pattern_test *t, const char *name, weir_str value)
{
    bool is_prefix = *name == 'p';
    if (json_kind(value) != WEIR_JSON_OBJECT) {
        char what[64];
        (void)snprintf(what, sizeof what, "%s match pattern", name);
        t->kind = is_prefix ? PATTERN_PREFIX : PATTERN_SUFFIX;
        return parser_text(p, value, what, &t->text);
    }
    weir_json_each each;
    weir_str text = {0};
    if (!parser_member(p, value, &each,
                       is_prefix ? "Prefix expression name not found"
                                 : "Suffix expression name not found"))
        return false;
    weir_str key = parser_name(p, each.key);
    if (!weir_same(key, "equals-ignore-case"))
        return parser_fail(p, value, "Unsupported %s pattern: %.*s", name, parser_shown(key),
                           key.ptr);
    if (!parser_text(p, each.value, "equals-ignore-case match pattern", &text))
        return false;
    set_fold(p, t, is_prefix ? PATTERN_FOLD_PREFIX : PATTERN_FOLD_SUFFIX, text);
    return parser_no_more(p, value, &each, one_key);
}

/* ---- anything-but ---- */

typedef bool set_item(struct parser *p, struct pattern_test *t, weir_str value);

static bool set_but_affix(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (!parser_text(p, value, "prefix/suffix match pattern", &t->text))
        return false;
    return t->text.len || parser_fail(p, value, "Null prefix/suffix not allowed");
}

static bool set_but_prefix(struct parser *p, struct pattern_test *t, weir_str value)
{
    t->kind = PATTERN_PREFIX;
    return set_but_affix(p, t, value);
}

static bool set_but_suffix(struct parser *p, struct pattern_test *t, weir_str value)
{
    t->kind = PATTERN_SUFFIX;
    return set_but_affix(p, t, value);
}

static bool set_but_fold(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_TEXT)
        return parser_fail(
            p, value,
            "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not "
            "supported.");
    set_fold(p, t, PATTERN_FOLD, parser_unquote(p, value));
    return true;
}

static bool set_but_plain(struct parser *p, struct pattern_test *t, weir_str value)
{
    int kind = json_kind(value);
    if (kind == WEIR_JSON_NUMBER) {
        set_number(t, value);
        return t->has_key || parser_fail(p, value, "Cannot compare number : %.*s",
                                         parser_shown(value), value.ptr);
    }
    if (kind != WEIR_JSON_TEXT)
        return parser_fail(p, value,
                           "Inside anything but list, start|null|boolean is not supported.");
    set_text(t, parser_unquote(p, value), false);
    return true;
}

static bool set_but_list(struct parser *p, struct pattern_test *t, weir_str value, set_item *set)
{
    bool is_list = json_kind(value) == WEIR_JSON_ARRAY;
    size_t count = is_list ? parser_count(value) : 1, i = 0;
    struct pattern_test *items = arena_take(p->arena, (count + 1) * sizeof *items);
    t->kind = PATTERN_BUT, t->text = value;
    t->but.items = items, t->but.count = count;
    if (!is_list)
        return set(p, &items[0], value);
    for (weir_json_each each = {0}; json_next(value, &each); i++)
        if (!set(p, &items[i], each.value))
            return false;
    return true;
}

static const char bad_but[] =
    "Value of anything-but must be an array or single string/number value.";

static bool may_be_but(weir_str value)
{
    int kind = json_kind(value);
    return kind == WEIR_JSON_ARRAY || kind == WEIR_JSON_TEXT || kind == WEIR_JSON_NUMBER;
}

static bool set_but_object(struct parser *p, struct pattern_test *t, weir_str value)
{
    weir_json_each each;
    if (!parser_member(p, value, &each, "Anything-But expression name not found"))
        return false;
    weir_str key = parser_name(p, each.key);
    set_item *set = weir_same(key, "prefix")               ? set_but_prefix
                    : weir_same(key, "suffix")             ? set_but_suffix
                    : weir_same(key, "equals-ignore-case") ? set_but_fold
                    : weir_same(key, "wildcard")           ? set_wildcard
                                                           : NULL;
    if (!set)
        return parser_fail(p, value, "Unsupported anything-but pattern: %.*s", parser_shown(key),
                           key.ptr);
    if (!may_be_but(each.value))
        return parser_fail(p, each.value, "%s", bad_but);
    if (set == set_wildcard && !are_wildcards(p, each.value))
        return false;
    if (!set_but_list(p, t, each.value, set))
        return false;
    if (!t->but.count)
        return parser_fail(p, each.value, "Empty arrays are not allowed");
    return parser_no_more(p, value, &each, parser_too_many);
}

static bool set_but(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (json_kind(value) == WEIR_JSON_OBJECT)
        return set_but_object(p, t, value);
    if (!may_be_but(value))
        return parser_fail(p, value, "%s", bad_but);
    if (!set_but_list(p, t, value, set_but_plain))
        return false;
    bool is_mixed = !t->but.count;
    for (size_t i = 1; i < t->but.count; i++)
        is_mixed |= t->but.items[i].kind != t->but.items[0].kind;
    if (is_mixed)
        return parser_fail(
            p, value,
            "Inside anything but list, either all values are number or string, mixed type "
            "is not supported");
    return true;
}

/* ---- any ---- */

static bool set_exists(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_BOOL)
        return parser_fail(p, value, "exists match pattern must be either true or false.");
    t->kind = *value.ptr == 't' ? PATTERN_EXISTS : PATTERN_ABSENT;
    return true;
}

static bool set_by_name(struct parser *p, struct pattern_test *t, weir_str name, weir_str value)
{
    weir_str text = {0};
    if (weir_same(name, "prefix"))
        return set_affix(p, t, "prefix", value);
    if (weir_same(name, "suffix"))
        return set_affix(p, t, "suffix", value);
    if (weir_same(name, "numeric"))
        return interval_read_numeric(p, t, value);
    if (weir_same(name, "anything-but"))
        return set_but(p, t, value);
    if (weir_same(name, "exists"))
        return set_exists(p, t, value);
    if (weir_same(name, "cidr"))
        return interval_read_cidr(p, t, value);
    if (weir_same(name, "wildcard"))
        return set_wildcard(p, t, value);
    bool is_exact = weir_same(name, "exactly");
    if (!is_exact && !weir_same(name, "equals-ignore-case"))
        return parser_fail(p, value, "Unrecognized match type %.*s", parser_shown(name), name.ptr);
    if (!parser_text(p, value,
                     is_exact ? "exact match pattern" : "equals-ignore-case match pattern", &text))
        return false;
    if (is_exact)
        set_text(t, text, false);
    else
        set_fold(p, t, PATTERN_FOLD, text);
    return true;
}

static bool set_expression(struct parser *p, struct pattern_test *t, weir_str object)
{
    weir_json_each each;
    if (!parser_member(p, object, &each, "Match expression name not found"))
        return false;
    weir_str name = parser_name(p, each.key);
    if (!set_by_name(p, t, name, each.value))
        return false;
    bool is_numeric = t->kind == PATTERN_RANGE || t->kind == PATTERN_BUT;
    return parser_no_more(p, object, &each, is_numeric ? parser_too_many : one_key);
}

bool alternative_read(struct parser *p, struct pattern_test *t, weir_str value)
{
    switch (json_kind(value)) {
    case WEIR_JSON_OBJECT:
        return set_expression(p, t, value);
    case WEIR_JSON_TEXT:
        set_text(t, parser_unquote(p, value), true);
        return true;
    case WEIR_JSON_NUMBER:
        set_number(t, value);
        return true;
    case WEIR_JSON_BOOL:
    case WEIR_JSON_NULL:
        t->kind = PATTERN_LITERAL, t->text = value;
        return true;
    default:
        return parser_fail(p, value, "Match value must be String, number, true, false, or null");
    }
}
