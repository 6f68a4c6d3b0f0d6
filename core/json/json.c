/* json/json.c: values found in valid JSON, by skipping what is not asked for. */
#include "json/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "json/number.h"
#include "json/same.h"
#include "json/scan.h"

static const weir_str nothing = {NULL, 0};

static inline weir_str span(const char *from, const char *to)
{
    weir_str s = {from, (size_t)(to - from)};
    return s;
}

int json_kind(weir_str value)
{
    const char *end = value.len ? value.ptr + value.len : value.ptr;
    const char *p = scan_blanks(value.ptr, end);
    switch (scan_peek(p, end)) {
    case '{':
        return WEIR_JSON_OBJECT;
    case '[':
        return WEIR_JSON_ARRAY;
    case '"':
        return WEIR_JSON_TEXT;
    case 't':
    case 'f':
        return WEIR_JSON_BOOL;
    case 'n':
        return WEIR_JSON_NULL;
    case 0:
        return WEIR_JSON_NONE;
    default:
        return WEIR_JSON_NUMBER;
    }
}

weir_str json_trim(weir_str text)
{
    if (!text.len)
        return text;
    const char *end = text.ptr + text.len, *p = scan_blanks(text.ptr, end);
    while (end > p && scan_is_blank(end[-1]))
        end--;
    return span(p, end);
}

#ifdef __SSE2__
/* Which of 16 bytes are quotes, brackets or braces. */
static inline unsigned marks(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* "[" to "{" and "]" to "}" */
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                               _mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')),
                                            _mm_cmpeq_epi8(folded, _mm_set1_epi8('}'))));
    return (unsigned)_mm_movemask_epi8(hit);
}
#endif

/* The next quote, bracket or brace. */
static inline const char *next_mark(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        unsigned mask = marks(p);
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '"' && (*p | 0x20) != '{' && (*p | 0x20) != '}')
        p++;
    return p;
}

static const char *container_end(const char *p, const char *end)
{
    for (size_t depth = 0; (p = next_mark(p, end)) < end; p++) {
        if (*p == '"') {
            p = scan_text_end(p + 1, end);
            if (p >= end)
                break;
            continue;
        }
        if ((*p | 0x20) == '{')
            depth++;
        else if (depth <= 1)
            return p + 1;
        else
            depth--;
    }
    return end;
}

const char *scan_value_end(const char *p, const char *end)
{
    char first = scan_peek(p, end);
    if (first == '"') {
        p = scan_text_end(p + 1, end);
        return p < end ? p + 1 : end;
    }
    if (first == '{' || first == '[')
        return container_end(p, end);
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !scan_is_blank(*p))
        p++;
    return p;
}

bool json_next(weir_str value, weir_json_each *each)
{
    if (!value.len)
        return false;
    const char *end = value.ptr + value.len, *first = scan_blanks(value.ptr, end);
    bool is_object = scan_peek(first, end) == '{';
    if (!is_object && scan_peek(first, end) != '[')
        return false;
    const char *p = scan_blanks(each->at ? value.ptr + each->at : first + 1, end);
    if (scan_peek(p, end) == ',')
        p = scan_blanks(p + 1, end);
    if (p >= end || *p == '}' || *p == ']') {
        each->at = (size_t)(p - value.ptr);
        return false;
    }
    each->key = nothing;
    if (is_object) {
        const char *close = scan_text_end(p + 1, end);
        each->key = span(p + 1, close);
        p = scan_blanks(close < end ? close + 1 : end, end);
        p = scan_blanks(p < end ? p + 1 : end, end);
    }
    const char *behind = scan_value_end(p, end);
    each->value = span(p, behind);
    each->at = (size_t)(behind - value.ptr);
    return true;
}

/* ---- paths ------------------------------------------------------------------------------------ */

static weir_str member(weir_str value, weir_str name)
{
    weir_json_each each = {0};
    if (json_kind(value) != WEIR_JSON_OBJECT)
        return nothing;
    while (json_next(value, &each))
        if (json_same_text(each.key, name))
            return each.value;
    return nothing;
}

static weir_str element(weir_str value, size_t index)
{
    weir_json_each each = {0};
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return nothing;
    while (json_next(value, &each))
        if (index-- == 0)
            return each.value;
    return nothing;
}

static bool read_index(const char **path, size_t *index)
{
    const char *p = *path;
    size_t n = 0;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if (n < SIZE_MAX / 16)
            n = n * 10 + (size_t)(*p - '0');
    if (*p != ']')
        return false;
    *path = p + 1;
    *index = n;
    return true;
}

weir_str json_find(weir_str value, const char *path)
{
    value = json_trim(value);
    for (bool is_first = true; *path && value.ptr; is_first = false) {
        size_t index;
        if (*path == '[') {
            path++;
            value = read_index(&path, &index) ? element(value, index) : nothing;
            continue;
        }
        if (!is_first && *path++ != '.')
            return nothing;
        size_t n = strcspn(path, ".[");
        value = member(value, span(path, path + n));
        path += n;
    }
    return value;
}

/* ---- texts ------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static long hex4(const char *p, const char *end)
{
    long unit = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

long scan_unicode(const char *p, const char *end, const char **next)
{
    long high = hex4(p, end);
    *next = p + 4;
    if (high < 0xD800 || high > 0xDFFF)
        return high;
    if (high > 0xDBFF || end - p < 10 || p[4] != '\\' || p[5] != 'u')
        return -1;
    long low = hex4(p + 6, end);
    if (low < 0xDC00 || low > 0xDFFF)
        return -1;
    *next = p + 10;
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

/* Decodes the escape at p (a backslash) to at most four bytes. */
static const char *unescape(const char *p, const char *end, char *out, size_t *n)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char kind = scan_peek(p + 1, end);
    *n = 1;
    if (kind == 'u') {
        const char *next = end;
        long c = scan_unicode(p + 2, end, &next);
        *n = text_put_utf8(out, c < 0 ? 0xFFFD : (uint32_t)c);
        return c < 0 ? p + 2 : next;
    }
    const char *found = kind ? strchr(from, kind) : NULL;
    *out = kind;
    if (found)
        *out = to[found - from];
    return end - p < 2 ? end : p + 2;
}

/* A key comes without quotes, and blanks at its ends are its own; it cannot hold a bare quote. */
static weir_str inside(weir_str value)
{
    weir_str text = json_trim(value);
    if (text.len >= 2 && text.ptr[0] == '"')
        return span(text.ptr + 1, text.ptr + text.len - 1);
    return value;
}

weir_str json_unquote(weir_str value, struct arena *a)
{
    value = inside(value);
    const char *slash = value.len ? memchr(value.ptr, '\\', value.len) : NULL;
    if (!slash)
        return value;
    const char *end = value.ptr + value.len, *p = value.ptr;
    /* An escape is never shorter than what it stands for; four bytes more are for a broken one. */
    char *start = arena_take_raw(a, value.len + 4), *out = start;
    while (slash) {
        size_t n = (size_t)(slash - p);
        memcpy(out, p, n);
        out += n;
        p = unescape(slash, end, out, &n);
        out += n;
        slash = p < end ? memchr(p, '\\', (size_t)(end - p)) : NULL;
    }
    if (p < end) {
        memcpy(out, p, (size_t)(end - p));
        out += end - p;
    }
    return span(start, out);
}

bool json_same_text(weir_str raw, weir_str plain)
{
    const char *p = raw.ptr, *end = p + raw.len, *q = plain.ptr, *stop = q + plain.len;
    if (raw.len == plain.len && (!raw.len || memcmp(p, q, raw.len) == 0))
        return !raw.len || !memchr(p, '\\', raw.len);
    if (raw.len <= plain.len)
        return false;
    while (p < end) {
        char bytes[4] = {*p};
        size_t n = 1;
        p = *p == '\\' ? unescape(p, end, bytes, &n) : p + 1;
        if ((size_t)(stop - q) < n || memcmp(q, bytes, n) != 0)
            return false;
        q += n;
    }
    return q == stop;
}

static char *put_escaped(char *at, char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", hex[] = "0123456789abcdef";
    const char *found = c ? strchr(from, c) : NULL;
    char code[] = {'\\', 'u', '0', '0', hex[c >> 4 & 15], hex[c & 15]};
    if (found)
        code[1] = to[found - from];
    size_t n = found ? 2 : sizeof code;
    memcpy(at, code, n);
    return at + n;
}

/* A byte becomes at most six; room is made by the piece, so that a long text does not take six times
 * its size at once. */
size_t json_plain(weir_str text)
{
    const char *end = text.len ? text.ptr + text.len : text.ptr, *stop = scan_plain(text.ptr, end);
    while (stop < end && (signed char)*stop < 0)
        stop = scan_plain(stop + 1, end);
    return (size_t)(stop - text.ptr);
}

void json_quote(struct buf *out, weir_str text)
{
    enum { GROWTH = 6, PIECE = 4096 };
    const char *p = text.ptr, *end = text.len ? p + text.len : p;
    buf_add_char(out, '"');
    while (p < end) {
        const char *limit = end - p > PIECE ? p + PIECE : end;
        char *start = buf_room(out, (size_t)(limit - p) * GROWTH), *at = start;
        while (p < limit) {
            const char *stop = scan_plain(p, limit);
            while (stop < limit && (signed char)*stop < 0)
                stop = scan_plain(stop + 1, limit);
            memcpy(at, p, (size_t)(stop - p));
            at += stop - p;
            p = stop;
            if (p < limit)
                at = put_escaped(at, *p++);
        }
        out->len += (size_t)(at - start);
    }
    buf_add_char(out, '"');
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static double parse_slowly(weir_str value)
{
    char small[64], *copy = small;
    if (value.len >= sizeof small)
        copy = mem_copy(value.ptr, value.len);
    else
        *(char *)mempcpy(small, value.ptr, value.len) = 0;
    double d = strtod(copy, NULL);
    if (copy != small)
        mem_free(copy);
    return d;
}

/* Exact where digits and power of ten both are (W. D. Clinger, 1990); strtod decides the rest. */
double json_number(weir_str value)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    value = json_trim(value);
    const char *p = value.ptr, *end = value.len ? p + value.len : p;
    uint64_t digits = 0;
    size_t count = 0, decimals = 0;
    bool is_negative = scan_peek(p, end) == '-', has_point = false;
    for (p += is_negative; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (digit > 9 && (*p != '.' || has_point))
            break;
        has_point = has_point || *p == '.';
        if (digit <= 9)
            digits = digits * 10 + digit, count++, decimals += has_point;
        if (count > 15)
            break;
    }
    if (p < end)
        return parse_slowly(value);
    double d = (double)digits / powers[decimals];
    return is_negative ? -d : d;
}
