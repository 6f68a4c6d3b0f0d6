/* json/check.c: is it JSON, all of it; and if not, where and why: byte by byte, without recursion or
 * memory. */
#include "json/check.h"

#include <stdint.h>
#include <string.h>

#include "json/json.h"
#include "json/masks.h"
#include "json/scan.h"

struct check {
    const char *end;
    const char *at;  /* where it stopped being JSON */
    const char *why; /* NULL: nothing wrong so far */
    unsigned depth;
    uint64_t is_object[(JSON_DEPTH_MAX + 64) / 64]; /* a bit for each level */
};

static const char *fail(struct check *c, const char *at, const char *why)
{
    c->at = at;
    c->why = at >= c->end ? "the text ends too early" : why;
    return NULL;
}

static inline bool is_digit(char c)
{
    return (unsigned)(c - '0') <= 9;
}

static bool is_tail(const char *p, unsigned char low, unsigned char high)
{
    return (unsigned char)*p >= low && (unsigned char)*p <= high;
}

/* One code point of two to four bytes (RFC 3629, section 4): NULL if it is malformed, overlong, a
 * surrogate or beyond U+10FFFF. */
static const char *utf8(const char *p, const char *end)
{
    unsigned char lead = (unsigned char)*p;
    ptrdiff_t room = end - p;
    if (lead < 0xE0)
        return lead >= 0xC2 && room > 1 && is_tail(p + 1, 0x80, 0xBF) ? p + 2 : NULL;
    if (lead < 0xF0) {
        bool ok = room > 2 &&
                  is_tail(p + 1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) &&
                  is_tail(p + 2, 0x80, 0xBF);
        return ok ? p + 3 : NULL;
    }
    bool ok = lead < 0xF5 && room > 3 &&
              is_tail(p + 1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) &&
              is_tail(p + 2, 0x80, 0xBF) && is_tail(p + 3, 0x80, 0xBF);
    return ok ? p + 4 : NULL;
}

static const char *escape(struct check *c, const char *p)
{
    const char *next;
    char kind = scan_peek(p + 1, c->end);
    if (kind == 'u') {
        if (scan_unicode(p + 2, c->end, &next) < 0)
            return fail(c, p, "not a Unicode escape, or half of a surrogate pair");
        return next;
    }
    if (!kind || !strchr("\"\\/bfnrt", kind))
        return fail(c, p, "an unknown escape in a text");
    return p + 2;
}

/* From behind the opening quote to behind the closing one. */
static inline const char *string(struct check *c, const char *p)
{
    for (;;) {
        p = scan_plain(p, c->end);
        if (p >= c->end)
            return fail(c, p, "");
        if (*p == '"')
            return p + 1;
        const char *next = NULL;
        if (*p == '\\')
            next = escape(c, p);
        else if ((signed char)*p >= 0)
            return fail(c, p, "a control character in a text");
        else if (!(next = utf8(p, c->end)))
            return fail(c, p, "not UTF-8");
        if (!next)
            return NULL;
        p = next;
    }
}

static const char *digits(struct check *c, const char *p)
{
    if (!is_digit(scan_peek(p, c->end)))
        return fail(c, p, "expected a digit");
    while (p < c->end && is_digit(*p))
        p++;
    return p;
}

static inline const char *number(struct check *c, const char *p)
{
    if (*p == '-')
        p++;
    if (scan_peek(p, c->end) == '0')
        p++;
    else
        p = digits(c, p);
    if (p && scan_peek(p, c->end) == '.')
        p = digits(c, p + 1);
    if (p && (scan_peek(p, c->end) | 0x20) == 'e') {
        char sign = scan_peek(p + 1, c->end);
        p = digits(c, p + (sign == '+' || sign == '-' ? 2 : 1));
    }
    return p;
}

static const char *literal(struct check *c, const char *p, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - p) < n || memcmp(p, word, n) != 0)
        return fail(c, p, "expected a value");
    return p + n;
}

static inline const char *scalar(struct check *c, const char *p)
{
    switch (scan_peek(p, c->end)) {
    case '"':
        return string(c, p + 1);
    case 't':
        return literal(c, p, "true");
    case 'f':
        return literal(c, p, "false");
    case 'n':
        return literal(c, p, "null");
    default:
        if (p < c->end && (*p == '-' || is_digit(*p)))
            return number(c, p);
        return fail(c, p, "expected a value");
    }
}

const char *check_scalar(const char *p, const char *end)
{
    struct check c;
    c.end = end;
    return *p == '"' ? NULL : scalar(&c, p);
}

static inline bool in_object(const struct check *c)
{
    return c->is_object[c->depth / 64] >> c->depth % 64 & 1;
}

/* A member's name and colon. */
static inline const char *name(struct check *c, const char *p)
{
    p = scan_blanks(p, c->end);
    if (scan_peek(p, c->end) != '"')
        return fail(c, p, "expected a member's name in double quotes");
    p = string(c, p + 1);
    if (!p)
        return NULL;
    p = scan_blanks(p, c->end);
    if (scan_peek(p, c->end) != ':')
        return fail(c, p, "expected ':'");
    return p + 1;
}

/* An object or array opens at p; the first value in it follows, or *is_closed. */
static inline const char *enter(struct check *c, const char *p, bool *is_closed)
{
    bool is_object = *p == '{';
    const char *inside = scan_blanks(p + 1, c->end);
    *is_closed = scan_peek(inside, c->end) == (is_object ? '}' : ']');
    if (c->depth == JSON_DEPTH_MAX)
        return fail(c, p, "nested too deeply: 1000 levels are allowed");
    if (*is_closed)
        return inside + 1;
    c->depth++;
    uint64_t bit = (uint64_t)1 << c->depth % 64, *word = &c->is_object[c->depth / 64];
    *word = is_object ? *word | bit : *word & ~bit;
    return is_object ? name(c, inside) : inside;
}

/* Behind a value: to the next one, or behind the end of the whole with depth 0. */
static inline const char *leave(struct check *c, const char *p)
{
    while (c->depth) {
        p = scan_blanks(p, c->end);
        bool is_object = in_object(c);
        char next = scan_peek(p, c->end);
        if (next == ',')
            return is_object ? name(c, p + 1) : p + 1;
        if (next != (is_object ? '}' : ']'))
            return fail(c, p, is_object ? "expected ',' or '}'" : "expected ',' or ']'");
        c->depth--;
        p++;
    }
    return p;
}

static const char *whole(struct check *c, const char *p)
{
    do {
        bool is_value = true;
        p = scan_blanks(p, c->end);
        char first = scan_peek(p, c->end);
        if (first == '{' || first == '[')
            p = enter(c, p, &is_value);
        else
            p = scalar(c, p);
        if (p && is_value)
            p = leave(c, p);
    } while (p && c->depth);
    if (p && scan_blanks(p, c->end) != c->end)
        return fail(c, scan_blanks(p, c->end), "more text behind the value");
    return p;
}

weir_status check_bytes(weir_str text, size_t *at, const char **why)
{
    struct check c = {.end = text.len ? text.ptr + text.len : text.ptr};
    if (text.len && whole(&c, text.ptr))
        return WEIR_OK;
    if (!text.len)
        c.at = text.ptr, c.why = "the text is empty";
    else if (c.at == text.ptr && text.len >= 3 && memcmp(c.at, "\xEF\xBB\xBF", 3) == 0)
        c.why = "a byte order mark, which JSON must not have";
    if (at)
        *at = text.len ? (size_t)(c.at - text.ptr) : 0;
    if (why)
        *why = c.why;
    return WEIR_E_REJECT;
}

weir_status json_check(weir_str text, size_t *at, const char **why)
{
    if (masks_are_fast() && !(masks_check(text, NULL) & MASKS_BAD))
        return WEIR_OK;
    return check_bytes(text, at, why);
}
