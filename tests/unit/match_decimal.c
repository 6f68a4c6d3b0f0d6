/* unit/match_decimal.c: numbers as keys: the same number in any spelling, and the order of values. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "match/decimal.h"

static uint64_t state = 88172645463325252u;

static unsigned random_below(unsigned n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 20) % n;
}

/* The exact size, so that the sanitizer sees a byte read behind the end. */
static bool read_exactly(struct decimal *d, const char *text)
{
    weir_str from = weir_text(text);
    char *copy = malloc(from.len);
    memcpy(copy, from.ptr, from.len);
    bool is_good = decimal_read(d, (weir_str){copy, from.len});
    free(copy);
    return is_good;
}

static void make_number(char *text)
{
    static const char digits[] = "0123456789000999";
    char *to = text;
    if (random_below(2))
        *to++ = '-';
    *to++ = (char)('0' + random_below(10));
    for (unsigned n = to[-1] == '0' ? 0 : random_below(14); n--;)
        *to++ = digits[random_below(16)];
    if (random_below(4)) {
        *to++ = '.';
        for (unsigned n = 1 + random_below(14); n--;)
            *to++ = digits[random_below(16)];
    }
    *to = 0;
}

/* Numbers without an exponent are read eight digits at a time, the others digit by digit. */
START_TEST(spellings)
{
    for (int i = 0; i < 30000; i++) {
        char text[64], other[72];
        make_number(text);
        (void)snprintf(other, sizeof other, "%se0", text);
        struct decimal a = {.count = 0}, b = {.count = 0};
        bool is_good = read_exactly(&a, text);
        ck_assert_msg(read_exactly(&b, other) == is_good, "%s", text);
        if (!is_good)
            continue;
        ck_assert_msg(decimal_compare(&a.key, &b.key) == 0 && a.is_sure == b.is_sure &&
                          a.count == b.count && a.digits == b.digits &&
                          a.is_negative == b.is_negative && (!a.count || a.exponent == b.exponent),
                      "%s", text);
    }
}
END_TEST

START_TEST(limits)
{
    static const struct {
        const char *text;
        bool is_good;
        unsigned count;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"0.000000000000000000000000000000", true, 0},
        {"100000000000000000000000000", true, 1},
        {"0.00000000000000000001", true, 1},
        {"12345678901234567", true, 17},
        {"-1234567890.1234567", true, 17},
        {"123456789012345678", false, 0},
        {"1234567890123456789", false, 0},
        {"12345678901234567890", false, 0},
        {"1234567890123456700", true, 17},
        {"9999999999999999999", false, 0},
        {"99999999", true, 8},
        {"12345678.87654321", true, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct decimal d = {.count = 0};
        ck_assert_msg(read_exactly(&d, cases[i].text) == cases[i].is_good, "%s", cases[i].text);
        if (cases[i].is_good)
            ck_assert_msg(d.count == cases[i].count, "%s: %u", cases[i].text, d.count);
    }
}
END_TEST

START_TEST(order)
{
    for (int i = 0; i < 20000; i++) {
        char a[64], b[64];
        struct decimal first, second;
        make_number(a);
        make_number(b);
        if (!read_exactly(&first, a) || !read_exactly(&second, b) || !first.is_sure ||
            !second.is_sure)
            continue;
        double x = strtod(a, NULL), y = strtod(b, NULL);
        ck_assert_msg(decimal_compare(&first.key, &second.key) == (x > y) - (x < y), "%s %s", a, b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_decimal");
    TCase *t = tcase_create("decimal");
    tcase_add_test(t, spellings);
    tcase_add_test(t, limits);
    tcase_add_test(t, order);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
