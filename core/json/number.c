/* json/number.c: JSON numbers as exact decimals. */
#include "json/number.h"

#include "base/hash.h"

/* Beyond this all exponents are alike; nobody writes such numbers in earnest. */
static const int64_t exponent_limit = 1000000000000;

static int64_t read_exponent(const char *p, const char *end)
{
    int64_t value = 0;
    bool is_negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    for (; p < end; p++)
        if (value < exponent_limit)
            value = value * 10 + (*p - '0');
    return is_negative ? -value : value;
}

void number_read(struct number *n, weir_str value)
{
    const char *p = value.ptr, *end = p + value.len, *point = NULL, *last = NULL;
    *n = (struct number){.is_negative = p < end && *p == '-'};
    if (n->is_negative)
        p++;
    const char *stop = p;
    for (; stop < end && (*stop | 0x20) != 'e'; stop++) {
        if (*stop == '.') {
            point = stop;
            continue;
        }
        if (*stop == '0')
            continue;
        if (!n->from)
            n->from = stop;
        last = stop;
    }
    if (!n->from) {
        *n = (struct number){0};
        return;
    }
    if (!point)
        point = stop;
    n->to = last + 1;
    n->exponent = point > n->from ? point - n->from : point - n->from + 1;
    n->digits = (uint32_t)(n->to - n->from - (point > n->from && point < n->to));
    if (stop < end)
        n->exponent += read_exponent(stop + 1, end);
}

static int next_digit(const char **p, const char *to)
{
    if (*p < to && **p == '.')
        ++*p;
    return *p < to ? *(*p)++ - '0' : -1;
}

static int compare_size(const struct number *a, const struct number *b)
{
    if (!a->digits || !b->digits)
        return (a->digits != 0) - (b->digits != 0);
    if (a->exponent != b->exponent)
        return a->exponent < b->exponent ? -1 : 1;
    const char *p = a->from, *q = b->from;
    for (;;) {
        int x = next_digit(&p, a->to), y = next_digit(&q, b->to);
        if (x != y)
            return x < y ? -1 : 1;
        if (x < 0)
            return 0;
    }
}

int number_compare(const struct number *a, const struct number *b)
{
    if (a->is_negative != b->is_negative)
        return a->is_negative ? -1 : 1;
    int c = compare_size(a, b);
    return a->is_negative ? -c : c;
}

bool number_is_integer(const struct number *n)
{
    return n->exponent >= (int64_t)n->digits;
}

uint64_t number_hash(const struct number *n, uint64_t seed)
{
    uint64_t state[2] = {(uint64_t)n->exponent, n->is_negative};
    const char *p = n->from;
    for (int d = next_digit(&p, n->to); d >= 0; d = next_digit(&p, n->to)) {
        state[1] = state[1] * 11 + (uint64_t)d;
        if (state[1] >> 58)
            state[1] = hash_bytes(state + 1, sizeof state[1], seed) >> 8;
    }
    return hash_bytes(state, sizeof state, seed);
}

enum { DIVISOR_DIGITS = 18 };

bool number_can_divide(const struct number *n)
{
    return n->digits > 0 && n->digits <= DIVISOR_DIGITS && !n->is_negative;
}

__extension__ typedef unsigned __int128 wide;

static uint64_t power_of_ten(uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1 % modulus, base = 10 % modulus;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = (uint64_t)((wide)result * base % modulus);
        base = (uint64_t)((wide)base * base % modulus);
    }
    return result;
}

/* n = N * 10^x and of = D * 10^y with whole N and D that do not end in 0. With x < y, n / of would
 * need N to end in 0; else N * 10^(x - y) must leave no rest. */
bool number_is_multiple(const struct number *n, const struct number *of)
{
    if (!n->digits)
        return true;
    int64_t shift = (n->exponent - (int64_t)n->digits) - (of->exponent - (int64_t)of->digits);
    if (shift < 0)
        return false;
    uint64_t divisor = 0, rest = 0;
    const char *p = of->from;
    for (int d = next_digit(&p, of->to); d >= 0; d = next_digit(&p, of->to))
        divisor = divisor * 10 + (uint64_t)d;
    if (!divisor)
        return false;
    p = n->from;
    for (int d = next_digit(&p, n->to); d >= 0; d = next_digit(&p, n->to))
        rest = (uint64_t)(((wide)rest * 10U + (unsigned)d) % divisor);
    return (wide)rest * power_of_ten((uint64_t)shift, divisor) % divisor == 0;
}
