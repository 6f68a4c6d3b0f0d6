/* match/decimal.h: numbers and addresses as keys that sort like their values. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

struct decimal_key { /* compared word by word */
    uint64_t w[3];
};

static inline int decimal_compare(const struct decimal_key *a, const struct decimal_key *b)
{
    for (int i = 0; i < 3; i++)
        if (a->w[i] != b->w[i])
            return a->w[i] < b->w[i] ? -1 : 1;
    return 0;
}

/* A number that sorts as the first two words do, as far as it goes: keys that differ may have the same.
 * Of a number it tells about 15 digits; all beyond 10 to the 1000 are one, and all as near to 0. */
uint64_t decimal_order(const uint64_t w[2]);

/* A JSON number: 0.digits times ten to the exponent. */
struct decimal {
    struct decimal_key key;
    uint64_t digits;
    int64_t exponent;
    unsigned count;            /* of digits */
    bool is_negative, is_sure; /* sure: binary64 tells it from its neighbours */
};

/* False for more than 17 digits: such a number is only equal to its own text. */
bool decimal_read(struct decimal *d, weir_str text);
/* Is the number what its nearest binary64 is written as? If not, only its text counts. Slow. */
bool decimal_is_binary64(const struct decimal *d);
/* Both steps. */
bool decimal_is_comparable(struct decimal *d, weir_str text);

/* An IPv4 or IPv6 address in any spelling; ::ffff:0a00:1 is 10.0.0.1. `bytes`: 4 or 16. */
bool decimal_read_address(weir_str text, struct decimal_key *key, unsigned *bytes);
/* Digits and dots, or hex digits and colons: is an address meant? */
bool decimal_looks_like_address(weir_str text);
