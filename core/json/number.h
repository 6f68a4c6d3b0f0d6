/* json/number.h: JSON numbers as the exact decimals that they are written as. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

/* 0.d1 d2 d3 ... times ten to the `exponent`: d1 and the last digit are not 0. Borrows the text. */
struct number {
    const char *from, *to; /* the digits, perhaps with a point among them; the same: zero */
    int64_t exponent;
    uint32_t digits;
    bool is_negative;
};

void number_read(struct number *n, weir_str value);                 /* value: a valid JSON number */
int number_compare(const struct number *a, const struct number *b); /* -1, 0 or 1 */
bool number_is_integer(const struct number *n);
uint64_t number_hash(const struct number *n, uint64_t seed); /* equal numbers, equal hashes */
/* Can number_is_multiple divide by it? At most 18 digits, more than zero. */
bool number_can_divide(const struct number *n);
bool number_is_multiple(const struct number *n, const struct number *of);
