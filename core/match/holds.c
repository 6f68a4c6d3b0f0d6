/* match/holds.c: whether a value is what a pattern's alternatives ask for. */
#include <string.h>
#include <weir/json.h>

#include "match/pattern.h"

static bool is_same(weir_str a, weir_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static bool holds_wildcard(const struct pattern_test *t, weir_str text)
{
    const weir_str *pieces = t->pieces.items;
    size_t last = t->pieces.count - 1;
    if (!last)
        return is_same(pieces[0], text);
    if (text.len < pieces[0].len + pieces[last].len ||
        memcmp(text.ptr, pieces[0].ptr, pieces[0].len) != 0 ||
        memcmp(text.ptr + text.len - pieces[last].len, pieces[last].ptr, pieces[last].len) != 0)
        return false;
    const char *p = text.ptr + pieces[0].len, *end = text.ptr + text.len - pieces[last].len;
    for (size_t i = 1; i < last; i++) {
        const char *hit = memmem(p, (size_t)(end - p), pieces[i].ptr, pieces[i].len);
        if (!hit)
            return false;
        p = hit + pieces[i].len;
    }
    return true;
}

static bool in_range(const struct pattern_test *t, const struct decimal_key *key)
{
    int low = decimal_compare(key, &t->range.low), high = decimal_compare(key, &t->range.high);
    return (low > 0 || (low == 0 && !t->is_low_open)) &&
           (high < 0 || (high == 0 && !t->is_high_open));
}

static bool holds_number(const struct pattern_test *t, weir_str text)
{
    struct decimal d;
    if (t->kind == PATTERN_NUMBER && !t->has_key)
        return is_same(t->text, text);
    return decimal_is_comparable(&d, text) && in_range(t, &d.key);
}

static bool holds_text(const struct pattern_test *t, weir_str text)
{
    struct decimal_key key;
    unsigned bytes;
    weir_str rest;
    switch ((int)t->kind) {
    case PATTERN_TEXT:
        if (is_same(t->text, text))
            return true;
        return t->has_key && decimal_read_address(text, &key, &bytes) && in_range(t, &key);
    case PATTERN_CIDR:
        return decimal_read_address(text, &key, &bytes) && in_range(t, &key);
    case PATTERN_PREFIX:
        return text.len >= t->text.len && memcmp(text.ptr, t->text.ptr, t->text.len) == 0;
    case PATTERN_SUFFIX:
        return text.len >= t->text.len &&
               memcmp(text.ptr + text.len - t->text.len, t->text.ptr, t->text.len) == 0;
    case PATTERN_FOLD:
        return fold_same(&t->fold, text);
    case PATTERN_FOLD_PREFIX:
        return fold_begins(&t->fold, text, &rest);
    case PATTERN_FOLD_SUFFIX:
        return fold_ends(&t->fold, text);
    case PATTERN_WILDCARD:
        return holds_wildcard(t, text);
    default:
        return false;
    }
}

bool pattern_holds(const struct pattern_test *t, int kind, weir_str text)
{
    if (t->kind == PATTERN_EXISTS)
        return true;
    if (t->kind == PATTERN_BUT) {
        for (size_t i = 0; i < t->but.count; i++)
            if (pattern_holds(&t->but.items[i], kind, text))
                return false;
        return true;
    }
    if (kind == WEIR_JSON_TEXT)
        return holds_text(t, text);
    if (kind == WEIR_JSON_NUMBER)
        return (t->kind == PATTERN_NUMBER || t->kind == PATTERN_RANGE) && holds_number(t, text);
    return t->kind == PATTERN_LITERAL && is_same(t->text, text);
}

bool pattern_list_holds(const struct pattern_list *l, int kind, weir_str text)
{
    for (size_t i = 0; i < l->count; i++)
        if (pattern_holds(&l->tests[i], kind, text))
            return true;
    return false;
}

bool pattern_list_takes_absent(const struct pattern_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->tests[i].kind == PATTERN_ABSENT)
            return true;
    return false;
}
