/* unit/match_naive.h: event patterns as they are documented, by the shortest way there is.
 *
 * The other opinion in the comparison of matchers: it reads pattern and event into trees, takes the
 * first as EventBridge reads it, member by member, and tries every value of the second. It shares
 * nothing with core/match: neither the reader of JSON, nor a test of a value, nor the reasons of a
 * refusal. Sources: requirements of the AWS behaviour, docs.aws.amazon.com/eventbridge (event
 * patterns, comparison operators), and what Event Ruler's README and tests say. */
#pragma once
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <wctype.h>
#include <weir/plugin.h>

#include "base/mem.h"
#include "unit/match_naive_case.h"

enum { NAIVE_DEPTH_MAX = 1000, NAIVE_STEPS_MAX = 2000000 };

enum naive_kind {
    NAIVE_NULL,
    NAIVE_TRUE,
    NAIVE_FALSE,
    NAIVE_NUMBER,
    NAIVE_STRING,
    NAIVE_ARRAY,
    NAIVE_OBJECT,
};

struct naive_node {
    enum naive_kind kind;
    weir_str text; /* of a string: decoded; of a number: as it is written */
    struct naive_node *items;
    weir_str *keys; /* of an object, decoded */
    size_t count;
};

struct naive_answer {
    bool is_pattern; /* the pattern is one */
    bool is_event;   /* the event is JSON */
    bool is_match;
    bool is_cut;       /* too many ways to try: no opinion */
    bool is_json;      /* the pattern is JSON: then `reason` says why it is refused */
    char reason[2048]; /* in EventBridge's words */
};

/* ---- reading JSON -------------------------------------------------------------------------------- */

struct naive_reader {
    const char *p, *end;
    struct arena *arena;
    unsigned depth;
    bool is_bad;
};

static void naive_skip(struct naive_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static int naive_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static long naive_hex4(struct naive_reader *r)
{
    long code = 0;
    for (int i = 0; i < 4; i++, r->p++) {
        int digit = r->p < r->end ? naive_hex(*r->p) : -1;
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

static size_t naive_put(char *to, long code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 63));
        to[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 63));
    to[2] = (char)(0x80 | (code >> 6 & 63));
    to[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* The code point at p, and its bytes; -1 where it is not UTF-8. */
static long naive_get(const char *p, const char *end, size_t *n)
{
    const unsigned char *b = (const unsigned char *)p;
    size_t len = b[0] < 0x80       ? 1
                 : b[0] >> 5 == 6  ? 2
                 : b[0] >> 4 == 14 ? 3
                 : b[0] >> 3 == 30 ? 4
                                   : 0;
    if (!len || (size_t)(end - p) < len)
        return -1;
    long code = len == 1 ? b[0] : b[0] & (0x7f >> len);
    for (size_t i = 1; i < len; i++) {
        if (b[i] >> 6 != 2)
            return -1;
        code = code << 6 | (b[i] & 63);
    }
    static const long least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return -1;
    *n = len;
    return code;
}

static size_t naive_escape(struct naive_reader *r, char *to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char c = r->p < r->end ? *r->p++ : '\0';
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        *to = into[at - from];
        return 1;
    }
    long code = c == 'u' ? naive_hex4(r) : -1;
    if (code >= 0xd800 && code < 0xdc00) {
        long low = -1;
        if (r->end - r->p >= 2 && r->p[0] == '\\' && r->p[1] == 'u') {
            r->p += 2;
            low = naive_hex4(r);
        }
        code =
            low >= 0xdc00 && low < 0xe000 ? 0x10000 + (code - 0xd800) * 0x400 + low - 0xdc00 : -1;
    } else if (code >= 0xdc00 && code < 0xe000) {
        code = -1;
    }
    if (code >= 0)
        return naive_put(to, code);
    r->is_bad = true;
    return 0;
}

static weir_str naive_string(struct naive_reader *r)
{
    char *text = arena_take(r->arena, (size_t)(r->end - r->p) + 8);
    size_t len = 0;
    for (r->p++; !r->is_bad;) {
        size_t n = 1;
        if (r->p == r->end || (unsigned char)*r->p < 0x20) {
            r->is_bad = true;
        } else if (*r->p == '"') {
            r->p++;
            break;
        } else if (*r->p == '\\') {
            r->p++;
            len += naive_escape(r, text + len);
        } else if (naive_get(r->p, r->end, &n) < 0) {
            r->is_bad = true;
        } else {
            memcpy(text + len, r->p, n);
            len += n;
            r->p += n;
        }
    }
    return (weir_str){text, len};
}

static size_t naive_digits(struct naive_reader *r)
{
    const char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return (size_t)(r->p - from);
}

static bool naive_takes(struct naive_reader *r, const char *any)
{
    if (r->p == r->end || !*r->p || !strchr(any, *r->p))
        return false;
    r->p++;
    return true;
}

static weir_str naive_number(struct naive_reader *r)
{
    const char *from = r->p;
    (void)naive_takes(r, "-");
    bool is_zero = r->p < r->end && *r->p == '0';
    size_t whole = naive_digits(r);
    bool is_ok = whole && (!is_zero || whole == 1);
    if (naive_takes(r, "."))
        is_ok = naive_digits(r) && is_ok;
    if (naive_takes(r, "eE")) {
        (void)naive_takes(r, "+-");
        is_ok = naive_digits(r) && is_ok;
    }
    r->is_bad |= !is_ok;
    return (weir_str){from, (size_t)(r->p - from)};
}

static void naive_word(struct naive_reader *r, struct naive_node *to, enum naive_kind kind,
                       const char *word)
{
    size_t n = strlen(word);
    r->is_bad |= (size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0;
    r->p += r->is_bad ? 0 : n;
    *to = (struct naive_node){kind, weir_text(word), NULL, NULL, 0};
}

static void naive_value(struct naive_reader *r, struct naive_node *to);

static void naive_items(struct naive_reader *r, struct naive_node *to, char close)
{
    size_t cap = 0, keys_cap = 0, keys = 0;
    struct naive_node *items = NULL;
    weir_str *names = NULL;
    r->p++;
    r->is_bad |= ++r->depth > NAIVE_DEPTH_MAX;
    naive_skip(r);
    bool is_empty = r->p < r->end && *r->p == close;
    r->p += is_empty;
    while (!is_empty && !r->is_bad) {
        naive_skip(r);
        if (close == '}') {
            r->is_bad |= r->p == r->end || *r->p != '"';
            if (r->is_bad)
                break;
            MEM_PUSH(names, keys, keys_cap) = naive_string(r);
            naive_skip(r);
            r->is_bad |= !naive_takes(r, ":");
        }
        struct naive_node item = {0};
        if (!r->is_bad)
            naive_value(r, &item);
        MEM_PUSH(items, to->count, cap) = item;
        naive_skip(r);
        if (r->p < r->end && *r->p == close) {
            r->p++;
            break;
        }
        r->is_bad |= !naive_takes(r, ",");
    }
    r->depth--;
    to->items = arena_copy(r->arena, items, to->count * sizeof *items);
    to->keys = arena_copy(r->arena, names, keys * sizeof *names);
    mem_free(items);
    mem_free(names);
}

static void naive_value(struct naive_reader *r, struct naive_node *to)
{
    naive_skip(r);
    char c = r->p < r->end ? *r->p : '\0';
    *to = (struct naive_node){.kind = NAIVE_NULL};
    if (c == '{' || c == '[') {
        to->kind = c == '{' ? NAIVE_OBJECT : NAIVE_ARRAY;
        naive_items(r, to, c == '{' ? '}' : ']');
    } else if (c == '"') {
        to->kind = NAIVE_STRING;
        to->text = naive_string(r);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        to->kind = NAIVE_NUMBER;
        to->text = naive_number(r);
    } else if (c == 't') {
        naive_word(r, to, NAIVE_TRUE, "true");
    } else if (c == 'f') {
        naive_word(r, to, NAIVE_FALSE, "false");
    } else if (c == 'n') {
        naive_word(r, to, NAIVE_NULL, "null");
    } else {
        r->is_bad = true;
    }
}

static bool naive_read(struct naive_node *to, weir_str text, struct arena *a)
{
    struct naive_reader r = {text.ptr, text.ptr + text.len, a, 0, false};
    naive_value(&r, to);
    naive_skip(&r);
    return !r.is_bad && r.p == r.end;
}

static bool naive_same(weir_str a, weir_str b)
{
    return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

/* ---- numbers ------------------------------------------------------------------------------------- */

/* digits * 10^exponent, without zeros at either end of the digits. */
struct naive_decimal {
    char digits[4096];
    size_t count;
    long exponent;
    bool is_negative;
};

static long naive_exponent(const char *p, const char *end)
{
    bool is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    long e = 0;
    for (; p < end; p++)
        e = e > 100000000 ? e : e * 10 + (*p - '0');
    return is_negative ? -e : e;
}

static void naive_decimal(struct naive_decimal *d, weir_str text)
{
    const char *p = text.ptr, *end = p + text.len;
    memset(d, 0, sizeof *d);
    d->is_negative = *p == '-';
    p += d->is_negative;
    bool is_fraction = false;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            is_fraction = true;
            continue;
        }
        d->exponent -= is_fraction;
        if (*p == '0' && !d->count)
            continue;
        if (d->count < sizeof d->digits)
            d->digits[d->count++] = *p;
    }
    if (p < end)
        d->exponent += naive_exponent(p + 1, end);
    for (; d->count && d->digits[d->count - 1] == '0'; d->count--)
        d->exponent++;
    if (!d->count) {
        d->exponent = 0;
        d->is_negative = false;
    }
}

static int naive_size(const struct naive_decimal *a, const struct naive_decimal *b)
{
    if (!a->count || !b->count)
        return (a->count > 0) - (b->count > 0);
    long high_a = a->exponent + (long)a->count, high_b = b->exponent + (long)b->count;
    if (high_a != high_b)
        return high_a < high_b ? -1 : 1;
    size_t n = a->count < b->count ? a->count : b->count;
    int c = memcmp(a->digits, b->digits, n);
    return c ? c : (a->count > b->count) - (a->count < b->count);
}

static int naive_order(const struct naive_decimal *a, const struct naive_decimal *b)
{
    if (a->is_negative != b->is_negative)
        return a->is_negative ? -1 : 1;
    return a->is_negative ? naive_size(b, a) : naive_size(a, b);
}

/* The shortest text of the nearest binary64 says the same number: only then numbers are compared. */
static bool naive_is_comparable(weir_str text)
{
    char copy[4096], shortest[64];
    if (text.len >= sizeof copy)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    double value = strtod(copy, NULL);
    if (value > 1.7976931348623157e308 || value < -1.7976931348623157e308)
        return false;
    for (int digits = 0; digits < 17; digits++) {
        (void)snprintf(shortest, sizeof shortest, "%.*e", digits, value);
        if (strtod(shortest, NULL) == value)
            break;
    }
    struct naive_decimal a, b;
    naive_decimal(&a, text);
    naive_decimal(&b, weir_text(shortest));
    return !naive_order(&a, &b);
}

static int naive_compare(weir_str a, weir_str b)
{
    struct naive_decimal x, y;
    naive_decimal(&x, a);
    naive_decimal(&y, b);
    return naive_order(&x, &y);
}

static bool naive_is_equal_number(weir_str a, weir_str b)
{
    return naive_is_comparable(a) && naive_is_comparable(b) && !naive_compare(a, b);
}

/* ---- texts --------------------------------------------------------------------------------------- */

static bool naive_begins(weir_str text, weir_str with)
{
    return text.len >= with.len && !memcmp(text.ptr, with.ptr, with.len);
}

static bool naive_ends(weir_str text, weir_str with)
{
    return text.len >= with.len && !memcmp(text.ptr + text.len - with.len, with.ptr, with.len);
}

static weir_str naive_after(weir_str s, size_t n)
{
    return (weir_str){s.ptr + n, s.len - n};
}

static weir_str naive_case(long code, bool is_upper, char *room)
{
    static locale_t unicode;
    if (!unicode)
        unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    for (size_t i = 0; i < sizeof naive_special / sizeof *naive_special; i++)
        if (naive_special[i].code == code && naive_special[i].is_upper == is_upper)
            return weir_text(naive_special[i].text);
    wint_t c = (wint_t)code;
    size_t n = naive_put(room, (long)(is_upper ? towupper_l(c, unicode) : towlower_l(c, unicode)));
    return (weir_str){room, n};
}

enum naive_end { NAIVE_WHOLE, NAIVE_PREFIX };

/* Each code point of `want` stands in the text in its lower or in its upper case. */
static bool naive_folds(weir_str want, weir_str text, enum naive_end end)
{
    if (!want.len)
        return end == NAIVE_PREFIX || !text.len;
    size_t n = 0;
    long code = naive_get(want.ptr, want.ptr + want.len, &n);
    for (int is_upper = 0; is_upper < 2; is_upper++) {
        char room[8];
        weir_str form = naive_case(code, is_upper, room);
        if (naive_begins(text, form) &&
            naive_folds(naive_after(want, n), naive_after(text, form.len), end))
            return true;
    }
    return false;
}

static bool naive_folds_end(weir_str want, weir_str text)
{
    for (size_t i = 0; i <= text.len; i++)
        if (naive_folds(want, naive_after(text, i), NAIVE_WHOLE))
            return true;
    return false;
}

static bool naive_wild(weir_str want, weir_str text)
{
    const char *w = want.ptr, *w_end = w + want.len, *t = text.ptr, *t_end = t + text.len;
    const char *star = NULL, *star_text = NULL;
    for (;;) {
        if (w < w_end && *w == '*') {
            star = ++w;
            star_text = t;
            continue;
        }
        if (w == w_end && t == t_end)
            return true;
        if (w < w_end && t < t_end) {
            const char *c = *w == '\\' ? w + 1 : w;
            if (*c == *t) {
                w = c + 1;
                t++;
                continue;
            }
        }
        if (!star || star_text == t_end)
            return false;
        w = star;
        t = ++star_text;
    }
}

/* ---- addresses ----------------------------------------------------------------------------------- */

struct naive_address {
    unsigned char bytes[16];
    size_t len; /* 4, 16; 0: none */
};

static bool naive_consists_of(weir_str s, const char *set)
{
    for (size_t i = 0; i < s.len; i++)
        if (!s.ptr[i] || !strchr(set, s.ptr[i]))
            return false;
    return true;
}

static const char naive_v4_letters[] = "0123456789.";
static const char naive_v6_letters[] = "0123456789abcdefABCDEF:";

/* Four groups of decimal digits, whatever their values. */
static bool naive_looks_like_v4(weir_str s)
{
    size_t groups = 1, digits = 0;
    if (!naive_consists_of(s, naive_v4_letters))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '.') {
            digits++;
            continue;
        }
        if (!digits)
            return false;
        groups++;
        digits = 0;
    }
    return groups == 4 && digits;
}

static bool naive_looks_like_v6(weir_str s)
{
    return s.len && memchr(s.ptr, ':', s.len) && naive_consists_of(s, naive_v6_letters);
}

static struct naive_address naive_v4(weir_str s)
{
    struct naive_address a = {{0}, 4};
    size_t group = 0;
    unsigned value = 0;
    for (size_t i = 0; i <= s.len; i++) {
        if (i < s.len && s.ptr[i] != '.') {
            value = value > 255 ? value : value * 10 + (unsigned)(s.ptr[i] - '0');
            continue;
        }
        if (value > 255 || s.len > 15)
            return (struct naive_address){{0}, 0};
        a.bytes[group++] = (unsigned char)value;
        value = 0;
    }
    return a;
}

/* Groups of hexadecimal digits between colons: how many, or -1. */
static int naive_groups(weir_str s, unsigned *groups)
{
    int count = 0;
    if (!s.len)
        return 0;
    for (size_t i = 0;;) {
        unsigned value = 0;
        size_t digits = 0;
        for (; i < s.len && s.ptr[i] != ':'; i++, digits++)
            value = value * 16 + (unsigned)naive_hex(s.ptr[i]);
        if (!digits || digits > 4 || count == 8)
            return -1;
        groups[count++] = value;
        if (i == s.len)
            return count;
        i++;
    }
}

static struct naive_address naive_v6(weir_str s)
{
    static const struct naive_address none = {{0}, 0};
    unsigned head[8] = {0}, tail[8] = {0}, all[8] = {0};
    const char *gap = memmem(s.ptr, s.len, "::", 2);
    weir_str before = {s.ptr, gap ? (size_t)(gap - s.ptr) : s.len};
    weir_str behind = {gap ? gap + 2 : s.ptr, gap ? s.len - before.len - 2 : 0};
    int heads = naive_groups(before, head), tails = naive_groups(behind, tail);
    if (heads < 0 || tails < 0 || (gap ? heads + tails > 7 : heads != 8))
        return none;
    for (int i = 0; i < heads; i++)
        all[i] = head[i];
    for (int i = 0; i < tails; i++)
        all[8 - tails + i] = tail[i];
    struct naive_address a = {{0}, 16};
    for (int i = 0; i < 8; i++) {
        a.bytes[2 * i] = (unsigned char)(all[i] >> 8);
        a.bytes[2 * i + 1] = (unsigned char)all[i];
    }
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (!memcmp(a.bytes, mapped, 12)) {
        a.len = 4;
        memmove(a.bytes, a.bytes + 12, 4);
    }
    return a;
}

static struct naive_address naive_address(weir_str s)
{
    if (naive_looks_like_v4(s))
        return naive_v4(s);
    return naive_looks_like_v6(s) ? naive_v6(s) : (struct naive_address){{0}, 0};
}

static bool naive_is_same_address(weir_str a, weir_str b)
{
    struct naive_address x = naive_address(a), y = naive_address(b);
    return x.len && x.len == y.len && !memcmp(x.bytes, y.bytes, x.len);
}

struct naive_cidr {
    struct naive_address address;
    unsigned bits;
};

static const char *naive_mask(weir_str s, unsigned *bits)
{
    bool is_signed = s.len && (*s.ptr == '-' || *s.ptr == '+');
    bool is_negative = is_signed && *s.ptr == '-';
    weir_str digits = naive_after(s, is_signed);
    long value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
            return "Malformed CIDR, mask bits must be an integer";
        value = value * 10 + (digits.ptr[i] - '0');
        if (value > 2147483647L + is_negative)
            return "Malformed CIDR, mask bits must be an integer";
    }
    if (!digits.len)
        return "Malformed CIDR, mask bits must be an integer";
    if (is_negative && value)
        return "Malformed CIDR, mask bits must not be negative";
    *bits = (unsigned)value;
    return NULL;
}

/* NULL, or the reason for which it is none; %.*s in it stands for the address. */
static const char *naive_cidr(weir_str s, struct naive_cidr *c, weir_str *address)
{
    while (s.len && s.ptr[s.len - 1] == '/')
        s.len--;
    const char *slash = memchr(s.ptr, '/', s.len);
    if (!slash || memchr(slash + 1, '/', (size_t)(s.ptr + s.len - slash - 1)))
        return "Malformed CIDR, one '/' required";
    *address = (weir_str){s.ptr, (size_t)(slash - s.ptr)};
    const char *why = naive_mask(naive_after(s, address->len + 1), &c->bits);
    if (why)
        return why;
    if (!naive_looks_like_v4(*address) && !naive_looks_like_v6(*address))
        return "Nonstandard IP address: %.*s";
    c->address = naive_address(*address);
    if (!c->address.len)
        return "Invalid IP address: %.*s";
    if (c->address.len == 4 && c->bits > 31)
        return "IPv4 mask bits must be < 32";
    return c->bits > 127 ? "IPv6 mask bits must be < 128" : NULL;
}

static bool naive_is_in(weir_str text, weir_str range)
{
    struct naive_cidr c = {0};
    weir_str address;
    struct naive_address a = naive_address(text);
    if (naive_cidr(range, &c, &address) || c.address.len != a.len)
        return false;
    for (unsigned bit = 0; bit < c.bits; bit++) {
        unsigned char mask = (unsigned char)(0x80 >> bit % 8);
        if ((c.address.bytes[bit / 8] & mask) != (a.bytes[bit / 8] & mask))
            return false;
    }
    return true;
}

/* ---- one value and one alternative --------------------------------------------------------------- */

static bool naive_is(weir_str a, const char *text)
{
    return naive_same(a, weir_text(text));
}

static bool naive_in_range(const struct naive_node *range, weir_str number)
{
    if (!naive_is_comparable(number))
        return false;
    for (size_t i = 0; i + 1 < range->count; i += 2) {
        weir_str how = range->items[i].text;
        int c = naive_compare(number, range->items[i + 1].text);
        bool holds = naive_is(how, "=")    ? !c
                     : naive_is(how, "<")  ? c < 0
                     : naive_is(how, "<=") ? c <= 0
                     : naive_is(how, ">")  ? c > 0
                                           : c >= 0;
        if (!holds)
            return false;
    }
    return true;
}

/* `how`: the operator's name; NULL: equal. */
static bool naive_holds_text(const char *how, const struct naive_node *want, weir_str text)
{
    weir_str w = want->text;
    if (!how || !strcmp(how, "exactly"))
        return naive_same(w, text);
    if (!strcmp(how, "prefix"))
        return want->kind == NAIVE_OBJECT ? naive_folds(want->items[0].text, text, NAIVE_PREFIX)
                                          : naive_begins(text, w);
    if (!strcmp(how, "suffix"))
        return want->kind == NAIVE_OBJECT ? naive_folds_end(want->items[0].text, text)
                                          : naive_ends(text, w);
    if (!strcmp(how, "equals-ignore-case"))
        return naive_folds(w, text, NAIVE_WHOLE);
    if (!strcmp(how, "cidr"))
        return naive_is_in(text, w);
    return !strcmp(how, "wildcard") && naive_wild(w, text);
}

static bool naive_is_vetoed(const char *how, const struct naive_node *one,
                            const struct naive_node *value)
{
    if (one->kind == NAIVE_NUMBER)
        return value->kind == NAIVE_NUMBER && naive_is_equal_number(one->text, value->text);
    return value->kind == NAIVE_STRING && naive_holds_text(how, one, value->text);
}

static bool naive_is_but(const struct naive_node *but, const struct naive_node *value)
{
    char how[32];
    bool is_plain = but->kind != NAIVE_OBJECT;
    if (!is_plain)
        (void)snprintf(how, sizeof how, "%.*s", (int)but->keys[0].len, but->keys[0].ptr);
    const struct naive_node *want = is_plain ? but : &but->items[0];
    if (want->kind != NAIVE_ARRAY)
        return !naive_is_vetoed(is_plain ? NULL : how, want, value);
    for (size_t i = 0; i < want->count; i++)
        if (naive_is_vetoed(is_plain ? NULL : how, &want->items[i], value))
            return false;
    return true;
}

static bool naive_holds(const struct naive_node *want, const struct naive_node *value)
{
    if (want->kind == NAIVE_OBJECT) {
        char how[32];
        (void)snprintf(how, sizeof how, "%.*s", (int)want->keys[0].len, want->keys[0].ptr);
        const struct naive_node *inner = &want->items[0];
        if (!strcmp(how, "exists"))
            return inner->kind == NAIVE_TRUE;
        if (!strcmp(how, "anything-but"))
            return naive_is_but(inner, value);
        if (!strcmp(how, "numeric"))
            return value->kind == NAIVE_NUMBER && naive_in_range(inner, value->text);
        return value->kind == NAIVE_STRING && naive_holds_text(how, inner, value->text);
    }
    if (want->kind != value->kind)
        return false;
    if (want->kind == NAIVE_NUMBER)
        return naive_same(want->text, value->text) ||
               naive_is_equal_number(want->text, value->text);
    if (want->kind == NAIVE_STRING)
        return naive_same(want->text, value->text) ||
               naive_is_same_address(want->text, value->text);
    return true;
}

/* ---- the pattern: what is refused, and why ------------------------------------------------------- */

struct naive_list { /* a path and its alternatives */
    weir_str path;
    const struct naive_node *any;
};

struct naive_branch {
    struct naive_list *lists;
    size_t count, cap;
};

struct naive_parse {
    struct arena *arena;
    struct naive_answer *answer;
    bool is_bad;
    struct naive_branch *branches; /* any of these */
    size_t count, cap;
};

static void naive_refuse(struct naive_parse *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void naive_refuse(struct naive_parse *p, const char *fmt, ...)
{
    if (p->is_bad)
        return; /* the first reason counts */
    p->is_bad = true;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(p->answer->reason, sizeof p->answer->reason, fmt, args);
    va_end(args);
}

/* What Ruler's reader shows of the token it stands at. */
static const char *naive_token(const struct naive_node *n, struct arena *a)
{
    if (!n)
        return "]";
    if (n->kind == NAIVE_ARRAY || n->kind == NAIVE_OBJECT)
        return n->kind == NAIVE_ARRAY ? "[" : "{";
    return arena_copy(a, n->text.ptr, n->text.len);
}

static void naive_check_wild(struct naive_parse *p, weir_str w)
{
    for (size_t i = 0; i < w.len && !p->is_bad; i++) {
        if (w.ptr[i] == '*' && i + 1 < w.len && w.ptr[i + 1] == '*')
            naive_refuse(p, "Consecutive wildcard characters at pos %zu", i + 1);
        if (w.ptr[i] != '\\')
            continue;
        if (i + 1 == w.len || (w.ptr[i + 1] != '*' && w.ptr[i + 1] != '\\'))
            naive_refuse(p, "Invalid escape character at pos %zu", i + 1);
        i++;
    }
}

static void naive_check_number(struct naive_parse *p, weir_str text)
{
    if (!naive_is_comparable(text))
        naive_refuse(p, "Cannot compare number : %.*s", (int)text.len, text.ptr);
}

static void naive_check_cidr(struct naive_parse *p, weir_str text)
{
    struct naive_cidr c;
    weir_str address = {0};
    const char *why = naive_cidr(text, &c, &address);
    if (why && strstr(why, "%.*s"))
        naive_refuse(p, "%.*s%.*s", (int)(strlen(why) - 4), why, (int)address.len, address.ptr);
    else if (why)
        naive_refuse(p, "%s", why);
}

static void naive_check_one_of_but(struct naive_parse *p, weir_str how,
                                   const struct naive_node *one)
{
    bool is_fold = naive_is(how, "equals-ignore-case"), is_wild = naive_is(how, "wildcard");
    if (one->kind != NAIVE_STRING)
        naive_refuse(p, "%s",
                     is_fold   ? "Inside anything-but/equals-ignore-case list, "
                                 "number|start|null|boolean is not supported."
                     : is_wild ? "wildcard match pattern must be a string"
                               : "prefix/suffix match pattern must be a string");
    else if (!is_fold && !is_wild && !one->text.len)
        naive_refuse(p, "Null prefix/suffix not allowed");
}

static void naive_check_but_list(struct naive_parse *p, const struct naive_node *list)
{
    bool has_number = false, has_string = false;
    for (size_t i = 0; i < list->count && !p->is_bad; i++) {
        const struct naive_node *n = &list->items[i];
        has_number |= n->kind == NAIVE_NUMBER;
        has_string |= n->kind == NAIVE_STRING;
        if (n->kind == NAIVE_NUMBER)
            naive_check_number(p, n->text);
        else if (n->kind != NAIVE_STRING)
            naive_refuse(p, "Inside anything but list, start|null|boolean is not supported.");
    }
    if (has_number == has_string)
        naive_refuse(p, "Inside anything but list, either all values are number or string, "
                        "mixed type is not supported");
}

static void naive_check_but_operator(struct naive_parse *p, const struct naive_node *but)
{
    if (!but->count) {
        naive_refuse(p, "Anything-But expression name not found");
        return;
    }
    weir_str how = but->keys[0];
    const struct naive_node *of = &but->items[0];
    if (!naive_is(how, "equals-ignore-case") && !naive_is(how, "prefix") &&
        !naive_is(how, "suffix") && !naive_is(how, "wildcard"))
        naive_refuse(p, "Unsupported anything-but pattern: %.*s", (int)how.len, how.ptr);
    if (of->kind != NAIVE_ARRAY && of->kind != NAIVE_STRING && of->kind != NAIVE_NUMBER)
        naive_refuse(p, "Value of anything-but must be an array or single string/number value.");
    const struct naive_node *all = of->kind == NAIVE_ARRAY ? of->items : of;
    size_t count = of->kind == NAIVE_ARRAY ? of->count : 1;
    for (size_t i = 0; i < count && !p->is_bad; i++)
        naive_check_one_of_but(p, how, &all[i]);
    if (!count) /* Ruler reads it, and has then nothing to add */
        naive_refuse(p, "Empty arrays are not allowed");
    for (size_t i = 0; i < count && !p->is_bad && naive_is(how, "wildcard"); i++)
        naive_check_wild(p, all[i].text);
    if (but->count > 1)
        naive_refuse(p, "Too many elements in numeric expression");
}

static void naive_check_but(struct naive_parse *p, const struct naive_node *but)
{
    if (but->kind == NAIVE_OBJECT)
        naive_check_but_operator(p, but);
    else if (but->kind == NAIVE_ARRAY)
        naive_check_but_list(p, but);
    else if (but->kind == NAIVE_NUMBER)
        naive_check_number(p, but->text);
    else if (but->kind != NAIVE_STRING)
        naive_refuse(p, "Value of anything-but must be an array or single string/number value.");
}

static const struct naive_node *naive_at(const struct naive_node *list, size_t i)
{
    return i < list->count ? &list->items[i] : NULL;
}

static void naive_check_between(struct naive_parse *p, const struct naive_node *n)
{
    const struct naive_node *how = naive_at(n, 2), *top = naive_at(n, 3);
    if (how->kind != NAIVE_STRING) {
        naive_refuse(p, "Bad value in numeric range: %s", naive_token(how, p->arena));
        return;
    }
    if (!naive_is(how->text, "<") && !naive_is(how->text, "<="))
        naive_refuse(p, "Bad numeric range operator: %.*s", (int)how->text.len, how->text.ptr);
    else if (!top || top->kind != NAIVE_NUMBER)
        naive_refuse(p, "Value of %.*s must be numeric", (int)how->text.len, how->text.ptr);
    else if (n->count > 4)
        naive_refuse(p, "Too many terms in numeric range expression");
    if (p->is_bad)
        return;
    naive_check_number(p, n->items[1].text);
    naive_check_number(p, top->text);
    if (!p->is_bad && naive_compare(n->items[1].text, top->text) >= 0)
        naive_refuse(p, "Bottom must be less than top");
}

static void naive_check_numeric(struct naive_parse *p, const struct naive_node *n)
{
    const struct naive_node *how = naive_at(n, 0), *bound = naive_at(n, 1);
    if (n->kind != NAIVE_ARRAY) {
        naive_refuse(p, "Value of numeric must be an array.");
        return;
    }
    if (!how || how->kind != NAIVE_STRING) {
        naive_refuse(p, "Invalid member in numeric match: %s", naive_token(how, p->arena));
        return;
    }
    bool is_equal = naive_is(how->text, "=");
    bool is_low = naive_is(how->text, ">") || naive_is(how->text, ">=");
    bool is_high = naive_is(how->text, "<") || naive_is(how->text, "<=");
    if (!is_equal && !is_low && !is_high)
        naive_refuse(p, "Unrecognized numeric range operator: %.*s", (int)how->text.len,
                     how->text.ptr);
    else if (!bound || bound->kind != NAIVE_NUMBER)
        naive_refuse(p, "Value of %.*s must be numeric", is_equal ? 6 : (int)how->text.len,
                     is_equal ? "equals" : how->text.ptr);
    else if (!is_low && n->count > 2)
        naive_refuse(p, "Too many elements in numeric expression");
    else if (n->count > 2)
        naive_check_between(p, n);
    else
        naive_check_number(p, bound->text);
}

static void naive_check_affix(struct naive_parse *p, const char *how, const char *name,
                              const struct naive_node *n)
{
    if (n->kind == NAIVE_STRING)
        return;
    if (n->kind != NAIVE_OBJECT) {
        naive_refuse(p, "%s match pattern must be a string", how);
        return;
    }
    if (!n->count)
        naive_refuse(p, "%s expression name not found", name);
    else if (!naive_is(n->keys[0], "equals-ignore-case"))
        naive_refuse(p, "Unsupported %s pattern: %.*s", how, (int)n->keys[0].len, n->keys[0].ptr);
    else if (n->items[0].kind != NAIVE_STRING)
        naive_refuse(p, "equals-ignore-case match pattern must be a string");
    else if (n->count > 1)
        naive_refuse(p, "Only one key allowed in match expression");
}

static void naive_check_string(struct naive_parse *p, const char *what, const struct naive_node *n)
{
    if (n->kind != NAIVE_STRING)
        naive_refuse(p, "%s match pattern must be a string", what);
}

static void naive_check_operator(struct naive_parse *p, weir_str how, const struct naive_node *n)
{
    if (naive_is(how, "exactly")) {
        naive_check_string(p, "exact", n);
    } else if (naive_is(how, "prefix")) {
        naive_check_affix(p, "prefix", "Prefix", n);
    } else if (naive_is(how, "suffix")) {
        naive_check_affix(p, "suffix", "Suffix", n);
    } else if (naive_is(how, "numeric")) {
        naive_check_numeric(p, n);
    } else if (naive_is(how, "anything-but")) {
        naive_check_but(p, n);
    } else if (naive_is(how, "exists")) {
        if (n->kind != NAIVE_TRUE && n->kind != NAIVE_FALSE)
            naive_refuse(p, "exists match pattern must be either true or false.");
    } else if (naive_is(how, "cidr")) {
        naive_check_string(p, "prefix", n);
        if (!p->is_bad)
            naive_check_cidr(p, n->text);
    } else if (naive_is(how, "equals-ignore-case")) {
        naive_check_string(p, "equals-ignore-case", n);
    } else if (naive_is(how, "wildcard")) {
        naive_check_string(p, "wildcard", n);
        if (!p->is_bad)
            naive_check_wild(p, n->text);
    } else {
        naive_refuse(p, "Unrecognized match type %.*s", (int)how.len, how.ptr);
    }
}

static void naive_check_alternatives(struct naive_parse *p, const struct naive_node *list)
{
    for (size_t i = 0; i < list->count && !p->is_bad; i++) {
        const struct naive_node *n = &list->items[i];
        if (n->kind == NAIVE_ARRAY)
            naive_refuse(p, "Match value must be String, number, true, false, or null");
        if (n->kind != NAIVE_OBJECT)
            continue;
        if (!n->count) {
            naive_refuse(p, "Match expression name not found");
            continue;
        }
        naive_check_operator(p, n->keys[0], &n->items[0]);
        if (n->count > 1)
            naive_refuse(p, "%s",
                         naive_is(n->keys[0], "numeric") || naive_is(n->keys[0], "anything-but")
                             ? "Too many elements in numeric expression"
                             : "Only one key allowed in match expression");
    }
    if (!list->count)
        naive_refuse(p, "Empty arrays are not allowed");
}

/* ---- the pattern: its branches ------------------------------------------------------------------- */

static void naive_write(struct naive_branch *b, weir_str path, const struct naive_node *any)
{
    for (size_t i = 0; i < b->count; i++) {
        if (naive_same(b->lists[i].path, path)) {
            b->lists[i].any = any;
            return;
        }
    }
    MEM_PUSH(b->lists, b->count, b->cap) = (struct naive_list){path, any};
}

static struct naive_branch naive_branch_copy(const struct naive_branch *b)
{
    struct naive_branch c = {NULL, 0, 0};
    for (size_t i = 0; i < b->count; i++)
        MEM_PUSH(c.lists, c.count, c.cap) = b->lists[i];
    return c;
}

static weir_str naive_path(struct arena *a, weir_str path, weir_str name)
{
    if (!path.ptr)
        return name;
    char *joined = arena_take(a, path.len + 1 + name.len);
    memcpy(joined, path.ptr, path.len);
    joined[path.len] = '.';
    memcpy(joined + path.len + 1, name.ptr, name.len);
    return (weir_str){joined, path.len + 1 + name.len};
}

static const char *const naive_reserved[] = {"exactly",
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
                                             "not-equals-ignore-case",
                                             "date-after",
                                             "date-on-or-after",
                                             "date-before",
                                             "date-on-or-before",
                                             "in-date-range",
                                             "ip-address-in-range",
                                             "ip-address-not-in-range"};

static void naive_object(struct naive_parse *p, const struct naive_node *o, weir_str path,
                         bool is_in_or);

enum { NAIVE_BRANCHES_MAX = 20000 };

static void naive_or(struct naive_parse *p, const struct naive_node * or, weir_str path)
{
    if (or->kind != NAIVE_ARRAY) {
        naive_refuse(p, "It must be an Array followed with $or.");
        return;
    }
    struct naive_branch *before = p->branches, *all = NULL;
    size_t before_count = p->count, count = 0, cap = 0;
    for (size_t i = 0; i < or->count && !p->is_bad; i++) {
        p->branches = NULL;
        p->count = p->cap = 0;
        if (count + before_count > NAIVE_BRANCHES_MAX) {
            p->answer->is_cut = true;
            naive_refuse(p, "too many");
        }
        for (size_t j = 0; j < before_count && !p->is_bad; j++)
            MEM_PUSH(p->branches, p->count, p->cap) = naive_branch_copy(&before[j]);
        if (or->items[i].kind != NAIVE_OBJECT)
            naive_refuse(p, "Only JSON object is allowed in array of $or relationship.");
        else if (!p->is_bad)
            naive_object(p, & or->items[i], path, true);
        for (size_t j = 0; j < p->count; j++)
            MEM_PUSH(all, count, cap) = p->branches[j];
        mem_free(p->branches);
    }
    if (or->count < 2)
        naive_refuse(p, "There must have at least 2 Objects in $or relationship.");
    for (size_t j = 0; j < before_count; j++)
        mem_free(before[j].lists);
    mem_free(before);
    p->branches = all;
    p->count = count;
    p->cap = cap;
}

static void naive_member(struct naive_parse *p, weir_str name, const struct naive_node *value,
                         weir_str path, bool is_in_or)
{
    for (size_t i = 0; is_in_or && i < sizeof naive_reserved / sizeof *naive_reserved; i++)
        if (naive_is(name, naive_reserved[i]))
            naive_refuse(p, "%s is Ruler reserved fieldName which cannot be used inside $or.",
                         naive_reserved[i]);
    weir_str below = naive_path(p->arena, path, name);
    if (value->kind == NAIVE_OBJECT) {
        naive_object(p, value, below, is_in_or);
    } else if (value->kind == NAIVE_ARRAY) {
        if (!p->is_bad)
            naive_check_alternatives(p, value);
        for (size_t i = 0; i < p->count && !p->is_bad; i++)
            naive_write(&p->branches[i], below, value);
    } else {
        naive_refuse(p, "\"%.*s\" must be an object or an array", (int)name.len, name.ptr);
    }
}

static void naive_object(struct naive_parse *p, const struct naive_node *o, weir_str path,
                         bool is_in_or)
{
    for (size_t i = 0; i < o->count && !p->is_bad; i++) {
        if (naive_is(o->keys[i], "$or"))
            naive_or(p, &o->items[i], path);
        else
            naive_member(p, o->keys[i], &o->items[i], path, is_in_or);
    }
    if (!o->count)
        naive_refuse(p, "Empty objects are not allowed");
}

/* ---- the event ----------------------------------------------------------------------------------- */

struct naive_place { /* an element of an array */
    const struct naive_node *array;
    size_t index;
    const struct naive_place *outer;
};

struct naive_leaf {
    weir_str path;
    const struct naive_node *value;
    const struct naive_place *place;
};

struct naive_event {
    struct arena *arena;
    struct naive_leaf *leaves;
    size_t count, cap;
    unsigned long steps;
};

static void naive_flatten(struct naive_event *e, const struct naive_node *n, weir_str path,
                          const struct naive_place *place)
{
    for (size_t i = 0; n->kind == NAIVE_OBJECT && i < n->count; i++) {
        bool is_last = true;
        for (size_t j = i + 1; j < n->count; j++)
            is_last = is_last && !naive_same(n->keys[i], n->keys[j]);
        if (is_last)
            naive_flatten(e, &n->items[i], naive_path(e->arena, path, n->keys[i]), place);
    }
    for (size_t i = 0; n->kind == NAIVE_ARRAY && i < n->count; i++) {
        const struct naive_node *item = &n->items[i];
        const struct naive_place *inner = place;
        if (item->kind == NAIVE_OBJECT || item->kind == NAIVE_ARRAY) {
            struct naive_place *here = arena_take(e->arena, sizeof *here);
            *here = (struct naive_place){n, i, place};
            inner = here;
        }
        naive_flatten(e, item, path, inner);
    }
    if (n->kind != NAIVE_OBJECT && n->kind != NAIVE_ARRAY)
        MEM_PUSH(e->leaves, e->count, e->cap) = (struct naive_leaf){path, n, place};
}

static bool naive_agree(const struct naive_place *a, const struct naive_place *b)
{
    for (const struct naive_place *x = a; x; x = x->outer)
        for (const struct naive_place *y = b; y; y = y->outer)
            if (x->array == y->array && x->index != y->index)
                return false;
    return true;
}

struct naive_chosen {
    const struct naive_place *place;
    const struct naive_chosen *before;
};

static bool naive_agrees_with_all(const struct naive_place *place, const struct naive_chosen *all)
{
    for (; all; all = all->before)
        if (!naive_agree(place, all->place))
            return false;
    return true;
}

static bool naive_takes_absence(const struct naive_node *any)
{
    for (size_t i = 0; i < any->count; i++) {
        const struct naive_node *n = &any->items[i];
        if (n->kind == NAIVE_OBJECT && naive_is(n->keys[0], "exists") &&
            n->items[0].kind == NAIVE_FALSE)
            return true;
    }
    return false;
}

/* Choose a value for each path from `at` on, by the order of their names. */
static bool naive_choose(struct naive_event *e, const struct naive_branch *b, size_t at,
                         const struct naive_chosen *chosen)
{
    if (at == b->count)
        return true;
    const struct naive_list *l = &b->lists[at];
    bool is_there = false;
    for (size_t i = 0; i < e->count; i++) {
        const struct naive_leaf *leaf = &e->leaves[i];
        if (++e->steps > NAIVE_STEPS_MAX)
            return false;
        if (!naive_same(leaf->path, l->path) || !naive_agrees_with_all(leaf->place, chosen))
            continue;
        is_there = true;
        bool holds = false;
        for (size_t j = 0; j < l->any->count && !holds; j++)
            holds = naive_holds(&l->any->items[j], leaf->value);
        struct naive_chosen here = {leaf->place, chosen};
        if (holds && naive_choose(e, b, at + 1, &here))
            return true;
    }
    return !is_there && naive_takes_absence(l->any) && naive_choose(e, b, at + 1, chosen);
}

static int naive_by_path(const void *a, const void *b)
{
    const struct naive_list *x = a, *y = b;
    size_t n = x->path.len < y->path.len ? x->path.len : y->path.len;
    int c = n ? memcmp(x->path.ptr, y->path.ptr, n) : 0;
    return c ? c : (x->path.len > y->path.len) - (x->path.len < y->path.len);
}

static void naive_match_branches(struct naive_parse *p, const struct naive_node *event)
{
    struct naive_event e = {.arena = p->arena};
    if (event->kind == NAIVE_OBJECT) /* else it has no fields */
        naive_flatten(&e, event, (weir_str){NULL, 0}, NULL);
    for (size_t i = 0; i < p->count && !p->answer->is_match; i++) {
        struct naive_branch *b = &p->branches[i];
        qsort(b->lists, b->count, sizeof *b->lists, naive_by_path);
        p->answer->is_match = naive_choose(&e, b, 0, NULL);
    }
    p->answer->is_cut = e.steps > NAIVE_STEPS_MAX;
    mem_free(e.leaves);
}

static void naive_match(weir_str pattern, weir_str event, struct naive_answer *answer)
{
    struct arena arena;
    struct naive_node rule = {0}, found = {0};
    memset(answer, 0, sizeof *answer);
    arena_init(&arena);
    struct naive_parse p = {.arena = &arena, .answer = answer};
    answer->is_json = naive_read(&rule, pattern, &arena);
    answer->is_event = naive_read(&found, event, &arena);
    MEM_PUSH(p.branches, p.count, p.cap) = (struct naive_branch){NULL, 0, 0};
    if (answer->is_json && rule.kind != NAIVE_OBJECT)
        naive_refuse(&p, "Filter is not an object");
    if (answer->is_json && !p.is_bad)
        naive_object(&p, &rule, (weir_str){NULL, 0}, false);
    answer->is_pattern = answer->is_json && !p.is_bad;
    if (answer->is_pattern && answer->is_event)
        naive_match_branches(&p, &found);
    for (size_t i = 0; i < p.count; i++)
        mem_free(p.branches[i].lists);
    mem_free(p.branches);
    arena_fini(&arena);
}

/* Of a long name or value a reason shows the beginning. */
static inline bool naive_is_reason(const struct naive_answer *answer, const char *reason)
{
    size_t n = strlen(answer->reason);
    return n > 120 ? !strncmp(answer->reason, reason, 100) : !strcmp(answer->reason, reason);
}
