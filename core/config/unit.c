/* config/unit.c: durations and sizes as people write them. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/config.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xC2\xB5s", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
    {"d", UINT64_C(86400000000000)},
    {NULL, 0},
};

static const struct unit sizes[] = {
    {"B", 1},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", UINT64_C(1000000000000)},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool multiply_add(uint64_t *sum, uint64_t n, uint64_t factor)
{
    uint64_t product;
    return !__builtin_mul_overflow(n, factor, &product) &&
           !__builtin_add_overflow(*sum, product, sum);
}

/* Digits after the point: as many as the unit can tell apart, the rest must be zero. */
static bool add_fraction(weir_str *s, uint64_t factor, size_t digits, uint64_t *sum)
{
    for (size_t i = 0; i < digits; i++) {
        uint64_t digit = (uint64_t)(s->ptr[i] - '0');
        uint64_t scale = factor / 10, rest = factor % 10;
        if (!multiply_add(sum, digit, scale))
            return false;
        if (rest)
            return multiply_add(sum, digit * rest / 10, 1);
        factor = scale;
    }
    return true;
}

static const struct unit *find_unit(const struct unit *units, weir_str name)
{
    for (; units->name; units++)
        if (text_same_fold(name, units->name))
            return units;
    return NULL;
}

static size_t count_digits(weir_str s)
{
    size_t n = 0;
    while (n < s.len && is_digit(s.ptr[n]))
        n++;
    return n;
}

static weir_str rest_of(weir_str s, size_t n)
{
    return (weir_str){s.ptr + n, s.len - n};
}

/* One number with its unit, at most `below`; then *s is what follows. */
static bool take_part(weir_str *s, const struct unit *units, uint64_t *below, uint64_t *sum)
{
    size_t whole = count_digits(*s), digits = 0;
    uint64_t n;
    if (!whole || !text_to_u64((weir_str){s->ptr, whole}, &n))
        return false;
    weir_str fraction = rest_of(*s, whole);
    if (fraction.len && fraction.ptr[0] == '.') {
        fraction = rest_of(fraction, 1);
        digits = count_digits(fraction);
        if (!digits)
            return false;
    }
    *s = rest_of(fraction, digits);
    while (s->len && s->ptr[0] == ' ')
        *s = rest_of(*s, 1);
    size_t name = 0;
    while (name < s->len && !is_digit(s->ptr[name]) && s->ptr[name] != ' ')
        name++;
    const struct unit *unit = find_unit(units, (weir_str){s->ptr, name});
    if (!unit || unit->factor >= *below)
        return false;
    *below = unit->factor;
    *s = rest_of(*s, name);
    return multiply_add(sum, n, unit->factor) && add_fraction(&fraction, unit->factor, digits, sum);
}

static bool parse(weir_str s, const struct unit *units, uint64_t *sum)
{
    uint64_t below = UINT64_MAX;
    *sum = 0;
    if (text_same(s, weir_text("0")))
        return true;
    if (!s.len)
        return false;
    while (s.len)
        if (!take_part(&s, units, &below, sum))
            return false;
    return true;
}

bool unit_parse_duration(weir_str text, int64_t *ns)
{
    uint64_t sum;
    if (!parse(text, durations, &sum) || sum > INT64_MAX)
        return false;
    *ns = (int64_t)sum;
    return true;
}

bool unit_parse_size(weir_str text, uint64_t *bytes)
{
    return parse(text, sizes, bytes);
}

void unit_format_duration(int64_t ns, char *text, size_t size)
{
    static const struct unit order[] = {{"d", UINT64_C(86400000000000)},
                                        {"h", UINT64_C(3600000000000)},
                                        {"m", UINT64_C(60000000000)},
                                        {"s", 1000000000},
                                        {"ms", 1000000},
                                        {"us", 1000},
                                        {"ns", 1}};
    uint64_t left = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    char all[96];
    size_t len = 0;
    if (ns < 0)
        all[len++] = '-';
    for (size_t i = 0; i < sizeof order / sizeof *order && left; i++) {
        uint64_t n = left / order[i].factor;
        left %= order[i].factor;
        if (n)
            len += (size_t)snprintf(all + len, sizeof all - len, "%llu%s", (unsigned long long)n,
                                    order[i].name);
    }
    (void)snprintf(text, size, "%.*s", (int)len, len ? all : "0s");
    if (!len)
        (void)snprintf(text, size, "0s");
}

void unit_format_size(uint64_t bytes, char *text, size_t size)
{
    static const char *const order[] = {"TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "KB"};
    for (size_t i = 0; bytes && i < sizeof order / sizeof *order; i++) {
        const struct unit *u = find_unit(sizes, weir_text(order[i]));
        if (!u || bytes % u->factor)
            continue;
        (void)snprintf(text, size, "%llu%s", (unsigned long long)(bytes / u->factor), u->name);
        return;
    }
    (void)snprintf(text, size, "%lluB", (unsigned long long)bytes);
}
