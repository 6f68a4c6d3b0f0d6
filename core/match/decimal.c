/* match/decimal.c: numbers and addresses as keys that sort like their values. */
#include "match/decimal.h"

#include <arpa/inet.h>
#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIGITS_MAX = 17,
    SURE_DIGITS = 15,
    SURE_EXPONENT = 290,
    EXPONENT_MAX = 100000000,
    WORD_DIGITS = 19
};

static const uint64_t zero_word = (uint64_t)1 << 63,
                      exponent_bias = (uint64_t)1 << 40; /* of w[0] */

static const uint64_t powers[20] = {1u,
                                    10u,
                                    100u,
                                    1000u,
                                    10000u,
                                    100000u,
                                    1000000u,
                                    10000000u,
                                    100000000u,
                                    1000000000u,
                                    10000000000u,
                                    100000000000u,
                                    1000000000000u,
                                    10000000000000u,
                                    100000000000000u,
                                    1000000000000000u,
                                    10000000000000000u,
                                    100000000000000000u,
                                    1000000000000000000u,
                                    10000000000000000000u};

static int64_t read_exponent(const char *p, const char *end)
{
    bool is_negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    int64_t n = 0;
    /* A text that was promised to be JSON and is not may hold anything here. */
    for (; p < end && *p >= '0' && *p <= '9' && n < EXPONENT_MAX; p++)
        n = n * 10 + (*p - '0');
    return is_negative ? -n : n;
}

static void set_key(struct decimal *d)
{
    d->key.w[2] = 0;
    if (!d->count) {
        d->key.w[0] = zero_word, d->key.w[1] = 0;
        return;
    }
    uint64_t size = (uint64_t)(d->exponent + (int64_t)exponent_bias);
    uint64_t digits = d->digits * powers[19 - d->count];
    d->key.w[0] = d->is_negative ? zero_word - size : zero_word + size;
    d->key.w[1] = d->is_negative ? ~digits : digits;
}

uint64_t decimal_order(const uint64_t w[2])
{
    const uint64_t low = exponent_bias - 1000, most = 2000;
    bool is_negative = w[0] < zero_word;
    uint64_t size = is_negative ? zero_word - w[0] : w[0] - zero_word;
    uint64_t exponent = size < low ? 0 : size - low < most ? size - low : most;
    uint64_t digits = exponent && exponent < most ? (is_negative ? ~w[1] : w[1]) >> 12 : 0;
    return is_negative ? zero_word - (exponent << 52 | digits)
                       : zero_word + (exponent << 52 | digits);
}

/* Digit by digit. */
static bool read_any(struct decimal *d, weir_str text)
{
    const char *p = text.ptr, *end = p + text.len;
    uint64_t digits = 0;
    unsigned count = 0;
    int64_t zeros = 0, exponent = 0; /* zeros: seen and not yet known to be inside */
    bool in_fraction = false;
    d->is_negative = p < end && *p == '-';
    for (p += d->is_negative; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            in_fraction = true;
            continue;
        }
        exponent += !in_fraction && (count || *p != '0');
        if (*p == '0') {
            zeros += count != 0;
            exponent -= in_fraction && !count;
            continue;
        }
        if (zeros + count >= DIGITS_MAX)
            return false;
        digits = digits * powers[zeros + 1] + (uint64_t)(*p - '0');
        count += (unsigned)zeros + 1, zeros = 0;
    }
    if (p < end)
        exponent += read_exponent(p + 1, end);
    d->digits = digits, d->count = count, d->exponent = exponent;
    d->is_sure = count <= SURE_DIGITS && exponent < SURE_EXPONENT && exponent > -SURE_EXPONENT;
    if (!count)
        d->is_negative = false, d->is_sure = true;
    set_key(d);
    return true;
}

/* Eight digits by three products, each of which joins all pairs of neighbours. */
static inline bool read_eight(const char *p, uint64_t *digits)
{
    const uint64_t each = 0x0101010101010101;
    uint64_t v;
    memcpy(&v, p, sizeof v);
    v = le64toh(v) - '0' * each;
    if ((v | (v + 0x76 * each)) & 0x80 * each)
        return false;
    v = (v * 10 + (v >> 8)) & 0x00FF00FF00FF00FF;
    v = (v * 100 + (v >> 16)) & 0x0000FFFF0000FFFF;
    v = (v * 10000 + (v >> 32)) & 0xFFFFFFFF;
    *digits = *digits * 100000000 + v;
    return true;
}

static inline const char *read_digits(const char *p, const char *end, uint64_t *digits)
{
    for (; p < end && (unsigned char)(*p - '0') <= 9; p++)
        *digits = *digits * 10 + (unsigned char)(*p - '0');
    return p;
}

static unsigned count_digits(uint64_t n)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(n | 1), count = bits * 1233 >> 12;
    return count + (n >= powers[count]);
}

bool decimal_read(struct decimal *d, weir_str text)
{
    const char *p = text.ptr, *end = p + text.len;
    bool is_negative = p < end && *p == '-';
    uint64_t digits = 0;
    p = read_digits(p + is_negative, end, &digits);
    size_t places = 0, others = is_negative;
    if (p < end && *p == '.') {
        const char *point = ++p;
        while (end - p >= 8 && read_eight(p, &digits))
            p += 8;
        p = read_digits(p, end, &digits);
        places = (size_t)(p - point), others++;
    }
    if (p != end || text.len - others > WORD_DIGITS)
        return read_any(d, text); /* an exponent, or more digits than a word takes */
    int64_t zeros = 0;
    for (; digits && digits % 10 == 0; zeros++)
        digits /= 10;
    d->digits = digits, d->count = digits ? count_digits(digits) : 0;
    if (d->count > DIGITS_MAX)
        return false;
    d->exponent = digits ? (int64_t)d->count + zeros - (int64_t)places : 0;
    d->is_negative = is_negative && digits;
    d->is_sure = d->count <= SURE_DIGITS;
    set_key(d);
    return true;
}

/* The binary64 next to the number, written with `count` digits: is it the number? */
static bool is_written_as(const struct decimal *d, double value, unsigned count)
{
    char text[64];
    struct decimal back;
    int n = snprintf(text, sizeof text, "%.*e", (int)count - 1, value);
    weir_str span = {text, (size_t)n};
    return decimal_read(&back, span) && decimal_compare(&back.key, &d->key) == 0;
}

bool decimal_is_binary64(const struct decimal *d)
{
    char text[64];
    if (d->is_sure)
        return true;
    (void)snprintf(text, sizeof text, "%s%llue%lld", d->is_negative ? "-" : "",
                   (unsigned long long)d->digits, (long long)(d->exponent - (int64_t)d->count));
    double value = strtod(text, NULL);
    if (!isfinite(value) || fpclassify(value) == FP_ZERO || !is_written_as(d, value, d->count))
        return false;
    if (d->count == 1)
        return true;
    (void)snprintf(text, sizeof text, "%.*e", (int)d->count - 2, value);
    double shorter = strtod(text, NULL);
    return shorter < value || shorter > value;
}

bool decimal_is_comparable(struct decimal *d, weir_str text)
{
    return decimal_read(d, text) && decimal_is_binary64(d);
}

static bool read_ipv4(weir_str text, uint64_t *address)
{
    const char *p = text.ptr, *end = p + text.len;
    uint64_t all = 0;
    for (int part = 0; part < 4; part++) {
        unsigned n = 0, digits = 0;
        if (part && (p >= end || *p++ != '.'))
            return false;
        for (; p < end && *p >= '0' && *p <= '9' && digits < 4; p++, digits++)
            n = n * 10 + (unsigned)(*p - '0');
        if (!digits || digits > 3 || n > 255)
            return false;
        all = all << 8 | n;
    }
    *address = all;
    return p == end;
}

bool decimal_looks_like_address(weir_str text)
{
    size_t dots = 0, colons = 0, letters = 0;
    char before = '.';
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], low = (char)(c | 32);
        bool is_digit = c >= '0' && c <= '9', is_hex = low >= 'a' && low <= 'f';
        if (!is_digit && !is_hex && (c != '.' || before == '.') && c != ':')
            return false;
        before = c;
        dots += c == '.', colons += c == ':', letters += is_hex;
    }
    return (colons && !dots) || (dots == 3 && before != '.' && !colons && !letters);
}

bool decimal_read_address(weir_str text, struct decimal_key *key, unsigned *bytes)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (text.len < 2 || text.len >= sizeof copy)
        return false;
    unsigned char c = (unsigned char)text.ptr[0], low = c | 32;
    if (!(c >= '0' && c <= '9') && !(low >= 'a' && low <= 'f') && c != ':')
        return false;
    *key = (struct decimal_key){{4, 0, 0}};
    *bytes = 4;
    if (!memchr(text.ptr, ':', text.len))
        return read_ipv4(text, &key->w[2]);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    if (!decimal_looks_like_address(text) || inet_pton(AF_INET6, copy, address) != 1)
        return false;
    uint64_t high = 0, rest = 0;
    for (int i = 0; i < 8; i++)
        high = high << 8 | address[i], rest = rest << 8 | address[i + 8];
    if (high == 0 && rest >> 32 == 0xFFFF) {
        key->w[2] = rest & 0xFFFFFFFFu;
        return true;
    }
    *key = (struct decimal_key){{6, high, rest}};
    *bytes = 16;
    return true;
}
