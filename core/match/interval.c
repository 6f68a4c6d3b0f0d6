/* match/interval.c: the alternatives that are a range of keys: numeric and cidr. */
#include <limits.h>

#include "base/text.h"
#include "match/parser.h"

/* Shows a reader's token: of an array or an object no more than how it opens; behind the last, "]". */
static bool fail_at_token(struct parser *p, weir_str array, weir_str value, const char *what)
{
    weir_str token = value.ptr ? value : (weir_str){"]", 1};
    int kind = json_kind(token);
    if (kind == WEIR_JSON_ARRAY || kind == WEIR_JSON_OBJECT)
        token.len = 1;
    return parser_fail(p, value.ptr ? value : array, "%s: %.*s", what, parser_shown(token),
                       token.ptr);
}

static bool is_limit(struct parser *p, weir_str value, weir_str op)
{
    return json_kind(value) == WEIR_JSON_NUMBER ||
           parser_fail(p, value, "Value of %.*s must be numeric", parser_shown(op), op.ptr);
}

/* Last of all: what is wrong with the form is said first. */
static bool read_limit(struct parser *p, weir_str value, struct decimal_key *key)
{
    struct decimal d;
    if (!decimal_is_comparable(&d, value))
        return parser_fail(p, value, "Cannot compare number : %.*s", parser_shown(value),
                           value.ptr);
    *key = d.key;
    return true;
}

/* From the second operator on; `low` is the bound before it. */
static bool finish_range(struct parser *p, struct pattern_test *t, weir_str array,
                         weir_json_each *each, weir_str low)
{
    if (json_kind(each->value) != WEIR_JSON_TEXT)
        return fail_at_token(p, array, each->value, "Bad value in numeric range");
    weir_str op = parser_unquote(p, each->value);
    t->is_high_open = weir_same(op, "<");
    if (!t->is_high_open && !weir_same(op, "<="))
        return parser_fail(p, each->value, "Bad numeric range operator: %.*s", parser_shown(op),
                           op.ptr);
    weir_str at = each->value;
    if (!json_next(array, each))
        return parser_fail(p, at, "Value of %.*s must be numeric", parser_shown(op), op.ptr);
    weir_str high = each->value;
    if (!is_limit(p, high, op) ||
        !parser_no_more(p, array, each, "Too many terms in numeric range expression") ||
        !read_limit(p, low, &t->range.low) || !read_limit(p, high, &t->range.high))
        return false;
    return decimal_compare(&t->range.low, &t->range.high) < 0 ||
           parser_fail(p, high, "Bottom must be less than top");
}

static const struct decimal_key lowest = {{0, 0, 0}};
static const struct decimal_key highest = {{UINT64_MAX, UINT64_MAX, UINT64_MAX}};

bool interval_read_numeric(struct parser *p, struct pattern_test *t, weir_str value)
{
    weir_json_each each = {0};
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return parser_fail(p, value, "Value of numeric must be an array.");
    if (!json_next(value, &each) || json_kind(each.value) != WEIR_JSON_TEXT)
        return fail_at_token(p, value, each.value, "Invalid member in numeric match");
    weir_str op = parser_unquote(p, each.value), name = op, at = each.value;
    bool is_equal = weir_same(op, "="), is_low = weir_same(op, ">") || weir_same(op, ">=");
    bool is_high = weir_same(op, "<") || weir_same(op, "<=");
    if (is_equal)
        name = weir_text("equals");
    if (!is_equal && !is_low && !is_high)
        return parser_fail(p, at, "Unrecognized numeric range operator: %.*s", parser_shown(op),
                           op.ptr);
    struct decimal_key key;
    if (!json_next(value, &each))
        return parser_fail(p, at, "Value of %.*s must be numeric", parser_shown(name), name.ptr);
    weir_str limit = each.value;
    if (!is_limit(p, limit, name))
        return false;
    t->kind = PATTERN_RANGE, t->text = value;
    t->is_low_open = is_low && op.len == 1, t->is_high_open = is_high && op.len == 1;
    if (is_low && json_next(value, &each))
        return finish_range(p, t, value, &each, limit);
    if ((!is_low && !parser_no_more(p, value, &each, parser_too_many)) ||
        !read_limit(p, limit, &key))
        return false;
    t->range.low = is_high ? lowest : key, t->range.high = is_low ? highest : key;
    return true;
}

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

bool interval_read_cidr(struct parser *p, struct pattern_test *t, weir_str value)
{
    weir_str text = {0};
    if (!parser_text(p, value, "prefix match pattern", &text))
        return false;
    const char *end = text.ptr + text.len;
    while (end > text.ptr && end[-1] == '/')
        end--; /* Ruler splits at "/" and drops what is empty at the end */
    const char *slash = memchr(text.ptr, '/', (size_t)(end - text.ptr));
    if (!slash || memchr(slash + 1, '/', (size_t)(end - slash - 1)))
        return parser_fail(p, value, "Malformed CIDR, one '/' required");
    const char *digits = slash + 1 + (slash[1] == '-' || slash[1] == '+');
    long bits = 0;
    for (const char *c = digits; c < end; c++) {
        if (*c < '0' || *c > '9' || bits > INT_MAX / 10)
            return parser_fail(p, value, "Malformed CIDR, mask bits must be an integer");
        bits = bits * 10 + (*c - '0');
    }
    if (digits == end)
        return parser_fail(p, value, "Malformed CIDR, mask bits must be an integer");
    if (slash[1] == '-' && bits)
        return parser_fail(p, value, "Malformed CIDR, mask bits must not be negative");
    weir_str address = {text.ptr, (size_t)(slash - text.ptr)};
    unsigned bytes = 0;
    if (!decimal_read_address(address, &t->range.low, &bytes))
        return parser_fail(p, value, "%s IP address: %.*s",
                           address.len && decimal_looks_like_address(address) ? "Invalid"
                                                                              : "Nonstandard",
                           parser_shown(address), address.ptr);
    if (bits > (bytes == 4 ? 31 : 127))
        return parser_fail(p, value, "IPv%d mask bits must be < %d", bytes == 4 ? 4 : 6,
                           bytes == 4 ? 32 : 128);
    t->kind = PATTERN_CIDR, t->text = text;
    set_net(t, (unsigned)bits, bytes);
    return true;
}
