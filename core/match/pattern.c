/* match/pattern.c: event patterns from their text, with the errors of EventBridge. */
#include "match/pattern.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "match/complexity.h"
#include "json/json.h"

struct parser {
    struct arena *arena;
    struct match_error *error;
    const char *start;
    struct pattern_sub *subs;
    size_t count, cap;
};

static const weir_str no_text;

/* What Event Ruler keeps for itself; none of these may name a field inside $or. */
static const char *const reserved[] = {"exactly",
                                       "equals-ignore-case",
                                       "prefix",
                                       "suffix",
                                       "anything-but",
                                       "exists",
                                       "wildcard",
                                       "numeric",
                                       "cidr",
                                       "=",
                                       "<",
                                       "<=",
                                       ">",
                                       ">=",
                                       "regex",
                                       "not-wildcard",
                                       "date-after",
                                       "date-on-or-after",
                                       "date-before",
                                       "date-on-or-before",
                                       "in-date-range",
                                       "ip-address-in-range",
                                       "not-equals-ignore-case",
                                       "ip-address-not-in-range"};

__attribute__((format(printf, 3, 4))) static bool fail(struct parser *p, weir_str at,
                                                       const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(p->error->reason, sizeof p->error->reason, fmt, args);
    va_end(args);
    p->error->at = at.ptr ? (size_t)(at.ptr - p->start) : 0;
    return false;
}

static int shown(weir_str s) /* the precision that shows it in a reason */
{
    return s.len > 120 ? 120 : (int)s.len;
}

static weir_str unquote(const struct parser *p, weir_str value)
{
    return json_kind(value) == WEIR_JSON_TEXT ? json_unquote(value, p->arena) : value;
}

static weir_str key_name(const struct parser *p, weir_str key)
{
    weir_str quoted = {key.ptr - 1, key.len + 2};
    return json_unquote(quoted, p->arena);
}

/* ---- single alternatives -------------------------------------------------------------------- */

static bool only_text(struct parser *p, weir_str value, const char *what, weir_str *text)
{
    if (json_kind(value) != WEIR_JSON_TEXT)
        return fail(p, value, "%s must be a string", what);
    *text = unquote(p, value);
    return true;
}

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
    if (!only_text(p, value, "wildcard match pattern", &t->text))
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
            return fail(p, value, "Consecutive wildcard characters at pos %zu", i + 1);
        if (c == '\\' && next != '*' && next != '\\')
            return fail(p, value, "Invalid escape character at pos %zu", i + 1);
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
        return fail(p, value,
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
            return fail(p, each.value, "wildcard match pattern must be a string");
    return true;
}

static void set_fold(struct parser *p, struct pattern_test *t, enum pattern_kind kind,
                     weir_str text)
{
    t->kind = kind, t->text = text;
    fold_init(&t->fold, text, p->arena);
}

static bool only_member(struct parser *p, weir_str object, weir_json_each *each,
                        const char *missing)
{
    *each = (weir_json_each){0};
    return json_next(object, each) || fail(p, object, "%s", missing);
}

static bool no_more(struct parser *p, weir_str object, weir_json_each *each, const char *reason)
{
    return !json_next(object, each) || fail(p, each->value, "%s", reason);
}

static const char one_key[] = "Only one key allowed in match expression";
static const char too_many[] = "Too many elements in numeric expression";

/* Shows a reader's token: of an array or an object no more than how it opens; behind the last, "]". */
static bool fail_at_token(struct parser *p, weir_str array, weir_str value, const char *what)
{
    weir_str token = value.ptr ? value : (weir_str){"]", 1};
    int kind = json_kind(token);
    if (kind == WEIR_JSON_ARRAY || kind == WEIR_JSON_OBJECT)
        token.len = 1;
    return fail(p, value.ptr ? value : array, "%s: %.*s", what, shown(token), token.ptr);
}

/* {"prefix": "x"} and {"prefix": {"equals-ignore-case": "x"}} */
static bool set_affix(struct parser *p, struct pattern_test *t, const char *name, weir_str value)
{
    bool is_prefix = *name == 'p';
    if (json_kind(value) != WEIR_JSON_OBJECT) {
        char what[64];
        (void)snprintf(what, sizeof what, "%s match pattern", name);
        t->kind = is_prefix ? PATTERN_PREFIX : PATTERN_SUFFIX;
        return only_text(p, value, what, &t->text);
    }
    weir_json_each each;
    weir_str text = no_text;
    if (!only_member(p, value, &each,
                     is_prefix ? "Prefix expression name not found"
                               : "Suffix expression name not found"))
        return false;
    weir_str key = key_name(p, each.key);
    if (!weir_same(key, "equals-ignore-case"))
        return fail(p, value, "Unsupported %s pattern: %.*s", name, shown(key), key.ptr);
    if (!only_text(p, each.value, "equals-ignore-case match pattern", &text))
        return false;
    set_fold(p, t, is_prefix ? PATTERN_FOLD_PREFIX : PATTERN_FOLD_SUFFIX, text);
    return no_more(p, value, &each, one_key);
}

/* ---- numeric ---------------------------------------------------------------------------------- */

static bool is_limit(struct parser *p, weir_str value, weir_str op)
{
    return json_kind(value) == WEIR_JSON_NUMBER ||
           fail(p, value, "Value of %.*s must be numeric", shown(op), op.ptr);
}

/* Last of all: what is wrong with the form is said first. */
static bool read_limit(struct parser *p, weir_str value, struct decimal_key *key)
{
    struct decimal d;
    if (!decimal_is_comparable(&d, value))
        return fail(p, value, "Cannot compare number : %.*s", shown(value), value.ptr);
    *key = d.key;
    return true;
}

/* From the second operator on; `low` is the bound before it. */
static bool finish_range(struct parser *p, struct pattern_test *t, weir_str array,
                         weir_json_each *each, weir_str low)
{
    if (json_kind(each->value) != WEIR_JSON_TEXT)
        return fail_at_token(p, array, each->value, "Bad value in numeric range");
    weir_str op = unquote(p, each->value);
    t->is_high_open = weir_same(op, "<");
    if (!t->is_high_open && !weir_same(op, "<="))
        return fail(p, each->value, "Bad numeric range operator: %.*s", shown(op), op.ptr);
    weir_str at = each->value;
    if (!json_next(array, each))
        return fail(p, at, "Value of %.*s must be numeric", shown(op), op.ptr);
    weir_str high = each->value;
    if (!is_limit(p, high, op) ||
        !no_more(p, array, each, "Too many terms in numeric range expression") ||
        !read_limit(p, low, &t->range.low) || !read_limit(p, high, &t->range.high))
        return false;
    return decimal_compare(&t->range.low, &t->range.high) < 0 ||
           fail(p, high, "Bottom must be less than top");
}

static const struct decimal_key lowest = {{0, 0, 0}};
static const struct decimal_key highest = {{UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static bool set_numeric(struct parser *p, struct pattern_test *t, weir_str value)
{
    weir_json_each each = {0};
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return fail(p, value, "Value of numeric must be an array.");
    if (!json_next(value, &each) || json_kind(each.value) != WEIR_JSON_TEXT)
        return fail_at_token(p, value, each.value, "Invalid member in numeric match");
    weir_str op = unquote(p, each.value), name = op, at = each.value;
    bool is_equal = weir_same(op, "="), is_low = weir_same(op, ">") || weir_same(op, ">=");
    bool is_high = weir_same(op, "<") || weir_same(op, "<=");
    if (is_equal)
        name = weir_text("equals");
    if (!is_equal && !is_low && !is_high)
        return fail(p, at, "Unrecognized numeric range operator: %.*s", shown(op), op.ptr);
    struct decimal_key key;
    if (!json_next(value, &each))
        return fail(p, at, "Value of %.*s must be numeric", shown(name), name.ptr);
    weir_str limit = each.value;
    if (!is_limit(p, limit, name))
        return false;
    t->kind = PATTERN_RANGE, t->text = value;
    t->is_low_open = is_low && op.len == 1, t->is_high_open = is_high && op.len == 1;
    if (is_low && json_next(value, &each))
        return finish_range(p, t, value, &each, limit);
    if ((!is_low && !no_more(p, value, &each, too_many)) || !read_limit(p, limit, &key))
        return false;
    t->range.low = is_high ? lowest : key, t->range.high = is_low ? highest : key;
    return true;
}

/* ---- cidr ------------------------------------------------------------------------------------- */

static void set_net(struct pattern_test *t, unsigned bits, unsigned bytes)
{
    uint64_t high = UINT64_MAX, low = UINT64_MAX; /* of the host's part */
    if (bytes == 4)
        high = 0, low = bits ? 0xFFFFFFFFu >> bits : 0xFFFFFFFFu;
    else if (bits >= 64)
        high = 0, low = bits == 64 ? UINT64_MAX : UINT64_MAX >> (bits - 64);
    else
        high = bits ? UINT64_MAX >> bits : UINT64_MAX;
    t->range.high = t->range.low;
    t->range.low.w[1] &= ~high, t->range.low.w[2] &= ~low;
    t->range.high.w[1] |= high, t->range.high.w[2] |= low;
}

static bool set_cidr(struct parser *p, struct pattern_test *t, weir_str value)
{
    weir_str text = no_text;
    if (!only_text(p, value, "prefix match pattern", &text))
        return false;
    const char *end = text.ptr + text.len;
    while (end > text.ptr && end[-1] == '/')
        end--; /* Ruler splits at "/" and drops what is empty at the end */
    const char *slash = memchr(text.ptr, '/', (size_t)(end - text.ptr));
    if (!slash || memchr(slash + 1, '/', (size_t)(end - slash - 1)))
        return fail(p, value, "Malformed CIDR, one '/' required");
    const char *digits = slash + 1 + (slash[1] == '-' || slash[1] == '+');
    long bits = 0;
    for (const char *c = digits; c < end; c++) {
        if (*c < '0' || *c > '9' || bits > INT_MAX / 10)
            return fail(p, value, "Malformed CIDR, mask bits must be an integer");
        bits = bits * 10 + (*c - '0');
    }
    if (digits == end)
        return fail(p, value, "Malformed CIDR, mask bits must be an integer");
    if (slash[1] == '-' && bits)
        return fail(p, value, "Malformed CIDR, mask bits must not be negative");
    weir_str address = {text.ptr, (size_t)(slash - text.ptr)};
    unsigned bytes = 0;
    if (!decimal_read_address(address, &t->range.low, &bytes))
        return fail(p, value, "%s IP address: %.*s",
                    address.len && decimal_looks_like_address(address) ? "Invalid" : "Nonstandard",
                    shown(address), address.ptr);
    if (bits > (bytes == 4 ? 31 : 127))
        return fail(p, value, "IPv%d mask bits must be < %d", bytes == 4 ? 4 : 6,
                    bytes == 4 ? 32 : 128);
    t->kind = PATTERN_CIDR, t->text = text;
    set_net(t, (unsigned)bits, bytes);
    return true;
}

/* ---- anything-but ----------------------------------------------------------------------------- */

typedef bool set_item(struct parser *p, struct pattern_test *t, weir_str value);

static bool set_but_affix(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (!only_text(p, value, "prefix/suffix match pattern", &t->text))
        return false;
    return t->text.len || fail(p, value, "Null prefix/suffix not allowed");
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
        return fail(p, value,
                    "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not "
                    "supported.");
    set_fold(p, t, PATTERN_FOLD, unquote(p, value));
    return true;
}

static bool set_but_plain(struct parser *p, struct pattern_test *t, weir_str value)
{
    int kind = json_kind(value);
    if (kind == WEIR_JSON_NUMBER) {
        set_number(t, value);
        return t->has_key ||
               fail(p, value, "Cannot compare number : %.*s", shown(value), value.ptr);
    }
    if (kind != WEIR_JSON_TEXT)
        return fail(p, value, "Inside anything but list, start|null|boolean is not supported.");
    set_text(t, unquote(p, value), false);
    return true;
}

static size_t element_count(weir_str array)
{
    size_t n = 0;
    for (weir_json_each each = {0}; json_next(array, &each);)
        n++;
    return n;
}

static bool set_but_list(struct parser *p, struct pattern_test *t, weir_str value, set_item *set)
{
    bool is_list = json_kind(value) == WEIR_JSON_ARRAY;
    size_t count = is_list ? element_count(value) : 1, i = 0;
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
    if (!only_member(p, value, &each, "Anything-But expression name not found"))
        return false;
    weir_str key = key_name(p, each.key);
    set_item *set = weir_same(key, "prefix")               ? set_but_prefix
                    : weir_same(key, "suffix")             ? set_but_suffix
                    : weir_same(key, "equals-ignore-case") ? set_but_fold
                    : weir_same(key, "wildcard")           ? set_wildcard
                                                           : NULL;
    if (!set)
        return fail(p, value, "Unsupported anything-but pattern: %.*s", shown(key), key.ptr);
    if (!may_be_but(each.value))
        return fail(p, each.value, "%s", bad_but);
    if (set == set_wildcard && !are_wildcards(p, each.value))
        return false;
    if (!set_but_list(p, t, each.value, set))
        return false;
    if (!t->but.count)
        return fail(p, each.value, "Empty arrays are not allowed");
    return no_more(p, value, &each, too_many);
}

static bool set_but(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (json_kind(value) == WEIR_JSON_OBJECT)
        return set_but_object(p, t, value);
    if (!may_be_but(value))
        return fail(p, value, "%s", bad_but);
    if (!set_but_list(p, t, value, set_but_plain))
        return false;
    bool is_mixed = !t->but.count;
    for (size_t i = 1; i < t->but.count; i++)
        is_mixed |= t->but.items[i].kind != t->but.items[0].kind;
    if (is_mixed)
        return fail(p, value,
                    "Inside anything but list, either all values are number or string, mixed type "
                    "is not supported");
    return true;
}

/* ---- match expressions and values -------------------------------------------------------------- */

static bool set_exists(struct parser *p, struct pattern_test *t, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_BOOL)
        return fail(p, value, "exists match pattern must be either true or false.");
    t->kind = *value.ptr == 't' ? PATTERN_EXISTS : PATTERN_ABSENT;
    return true;
}

static bool set_by_name(struct parser *p, struct pattern_test *t, weir_str name, weir_str value)
{
    weir_str text = no_text;
    if (weir_same(name, "prefix"))
        return set_affix(p, t, "prefix", value);
    if (weir_same(name, "suffix"))
        return set_affix(p, t, "suffix", value);
    if (weir_same(name, "numeric"))
        return set_numeric(p, t, value);
    if (weir_same(name, "anything-but"))
        return set_but(p, t, value);
    if (weir_same(name, "exists"))
        return set_exists(p, t, value);
    if (weir_same(name, "cidr"))
        return set_cidr(p, t, value);
    if (weir_same(name, "wildcard"))
        return set_wildcard(p, t, value);
    bool is_exact = weir_same(name, "exactly");
    if (!is_exact && !weir_same(name, "equals-ignore-case"))
        return fail(p, value, "Unrecognized match type %.*s", shown(name), name.ptr);
    if (!only_text(p, value, is_exact ? "exact match pattern" : "equals-ignore-case match pattern",
                   &text))
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
    if (!only_member(p, object, &each, "Match expression name not found"))
        return false;
    weir_str name = key_name(p, each.key);
    if (!set_by_name(p, t, name, each.value))
        return false;
    bool is_numeric = t->kind == PATTERN_RANGE || t->kind == PATTERN_BUT;
    return no_more(p, object, &each, is_numeric ? too_many : one_key);
}

static bool set_value(struct parser *p, struct pattern_test *t, weir_str value)
{
    switch (json_kind(value)) {
    case WEIR_JSON_OBJECT:
        return set_expression(p, t, value);
    case WEIR_JSON_TEXT:
        set_text(t, unquote(p, value), true);
        return true;
    case WEIR_JSON_NUMBER:
        set_number(t, value);
        return true;
    case WEIR_JSON_BOOL:
    case WEIR_JSON_NULL:
        t->kind = PATTERN_LITERAL, t->text = value;
        return true;
    default:
        return fail(p, value, "Match value must be String, number, true, false, or null");
    }
}

/* ---- fields ------------------------------------------------------------------------------------ */

static int compare_paths(weir_str a, weir_str b)
{
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* A path that comes again replaces what was said of it before. */
static void put(struct parser *p, struct pattern_sub *sub, const struct pattern_list *list)
{
    size_t at = 0;
    while (at < sub->count && compare_paths(sub->lists[at]->path, list->path) < 0)
        at++;
    bool is_same = at < sub->count && compare_paths(sub->lists[at]->path, list->path) == 0;
    size_t bytes = sizeof(const struct pattern_list *);
    const struct pattern_list **lists = arena_take(p->arena, (sub->count + 1) * bytes);
    if (at)
        memcpy(lists, sub->lists, at * bytes);
    lists[at] = list;
    size_t from = at + is_same;
    if (from < sub->count)
        memcpy(lists + at + 1, sub->lists + from, (sub->count - from) * bytes);
    sub->lists = lists; /* others may share the old ones */
    sub->count += !is_same;
}

static bool add_list(struct parser *p, weir_str path, weir_str array)
{
    size_t count = element_count(array), i = 0;
    if (!count)
        return fail(p, array, "Empty arrays are not allowed");
    struct pattern_list *list = arena_take(p->arena, sizeof *list);
    struct pattern_test *tests = arena_take(p->arena, count * sizeof *tests);
    *list = (struct pattern_list){path, array, tests, count};
    for (weir_json_each each = {0}; json_next(array, &each); i++)
        if (!set_value(p, &tests[i], each.value))
            return false;
    for (size_t s = 0; s < p->count; s++)
        put(p, &p->subs[s], list);
    return true;
}

static weir_str join(const struct parser *p, weir_str path, weir_str name)
{
    if (!path.ptr)
        return (weir_str){arena_copy(p->arena, name.ptr, name.len), name.len};
    char *all = arena_take(p->arena, path.len + name.len + 2);
    memcpy(all, path.ptr, path.len);
    all[path.len] = '.';
    memcpy(all + path.len + 1, name.ptr, name.len);
    return (weir_str){all, path.len + 1 + name.len};
}

static bool add_object(struct parser *p, weir_str path, weir_str object, bool is_in_or);

static bool add_or(struct parser *p, weir_str path, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return fail(p, value, "It must be an Array followed with $or.");
    struct pattern_sub *before = p->subs, *all = NULL;
    size_t before_count = p->count, count = 0, cap = 0, branches = 0;
    bool is_ok = true;
    for (weir_json_each each = {0}; is_ok && json_next(value, &each); branches++) {
        p->subs = mem_copy(before, before_count * sizeof *before), p->count = before_count;
        if (json_kind(each.value) != WEIR_JSON_OBJECT)
            is_ok =
                fail(p, each.value, "Only JSON object is allowed in array of $or relationship.");
        is_ok = is_ok && add_object(p, path, each.value, true);
        if (is_ok && count + p->count > PATTERN_SUBS_MAX)
            is_ok = fail(p, value, "Rule is too complex - try using fewer alternatives in $or");
        for (size_t i = 0; is_ok && i < p->count; i++)
            MEM_PUSH(all, count, cap) = p->subs[i];
        mem_free(p->subs);
    }
    mem_free(before);
    p->subs = all, p->count = count;
    if (is_ok && branches < 2)
        return fail(p, value, "There must have at least 2 Objects in $or relationship.");
    return is_ok;
}

static bool add_member(struct parser *p, weir_str path, const weir_json_each *each, bool is_in_or)
{
    weir_str name = key_name(p, each->key);
    if (weir_same(name, "$or"))
        return add_or(p, path, each->value);
    for (size_t i = 0; is_in_or && i < sizeof reserved / sizeof *reserved; i++)
        if (weir_same(name, reserved[i]))
            return fail(p, each->value,
                        "%s is Ruler reserved fieldName which cannot be used inside $or.",
                        reserved[i]);
    int kind = json_kind(each->value);
    if (kind == WEIR_JSON_OBJECT)
        return add_object(p, join(p, path, name), each->value, is_in_or);
    if (kind == WEIR_JSON_ARRAY)
        return add_list(p, join(p, path, name), each->value);
    return fail(p, each->value, "\"%.*s\" must be an object or an array", shown(name), name.ptr);
}

static bool add_object(struct parser *p, weir_str path, weir_str object, bool is_in_or)
{
    bool has_fields = false;
    for (weir_json_each each = {0}; json_next(object, &each); has_fields = true)
        if (!add_member(p, path, &each, is_in_or))
            return false;
    return has_fields || fail(p, object, "Empty objects are not allowed");
}

weir_status pattern_parse(struct pattern *out, weir_str text, struct arena *a,
                          struct match_error *e)
{
    struct match_error ignored;
    struct parser p = {.arena = a, .error = e ? e : &ignored};
    const char *why = NULL;
    size_t at = 0;
    if (json_check(text, &at, &why) != WEIR_OK) {
        p.start = text.ptr;
        (void)fail(&p, no_text, "%s", why ? why : "not JSON");
        p.error->at = at;
        return WEIR_E_REJECT;
    }
    text.ptr = p.start = arena_copy(a, text.ptr, text.len);
    weir_str value = json_trim(text);
    if (json_kind(value) != WEIR_JSON_OBJECT) {
        (void)fail(&p, value, "Filter is not an object");
        return WEIR_E_REJECT;
    }
    p.subs = mem_new(sizeof *p.subs), p.count = 1;
    bool is_ok = add_object(&p, no_text, value, false);
    out->count = is_ok ? p.count : 0;
    out->subs = is_ok ? arena_copy(a, p.subs, p.count * sizeof *p.subs) : NULL;
    mem_free(p.subs);
    return is_ok ? WEIR_OK : WEIR_E_REJECT;
}

/* ---- copies ------------------------------------------------------------------------------------- */

static weir_str copy_text(weir_str s, struct arena *a)
{
    return (weir_str){arena_copy(a, s.ptr, s.len), s.len};
}

static void copy_pieces(struct pattern_test *t, struct arena *a)
{
    weir_str *pieces = arena_copy(a, t->pieces.items, t->pieces.count * sizeof *pieces);
    for (size_t i = 0; i < t->pieces.count; i++)
        pieces[i] = copy_text(pieces[i], a);
    t->pieces.items = pieces;
}

struct pattern_test *pattern_copy(const struct pattern_test *t, size_t count, struct arena *a)
{
    struct pattern_test *all = arena_copy(a, t, count * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        struct pattern_test *to = &all[i];
        if (to->kind == PATTERN_WILDCARD)
            copy_pieces(to, a);
        if (to->kind == PATTERN_BUT)
            to->but.items = pattern_copy(to->but.items, to->but.count, a);
        bool is_fold = to->kind == PATTERN_FOLD || to->kind == PATTERN_FOLD_PREFIX ||
                       to->kind == PATTERN_FOLD_SUFFIX;
        bool is_compared = is_fold || to->kind == PATTERN_TEXT || to->kind == PATTERN_LITERAL ||
                           to->kind == PATTERN_PREFIX || to->kind == PATTERN_SUFFIX ||
                           (to->kind == PATTERN_NUMBER && !to->has_key);
        to->text = is_compared ? copy_text(to->text, a) : no_text;
        if (is_fold)
            fold_init(&to->fold, to->text, a);
    }
    return all;
}

/* ---- values against alternatives ---------------------------------------------------------------- */

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

bool pattern_in_range(const struct pattern_test *t, const struct decimal_key *key)
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
    return decimal_is_comparable(&d, text) && pattern_in_range(t, &d.key);
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
        return t->has_key && decimal_read_address(text, &key, &bytes) && pattern_in_range(t, &key);
    case PATTERN_CIDR:
        return decimal_read_address(text, &key, &bytes) && pattern_in_range(t, &key);
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
