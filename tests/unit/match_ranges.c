/* unit/match_ranges.c: ranges found by their ends are those that one by one hold the number. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "match/set.h"

enum { ROUNDS = 400, RANGES_MAX = 300, TRIES = 300 };

static uint64_t state = 1;

static uint32_t below(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

static void read_number(const char *text, uint64_t w[2])
{
    struct decimal d;
    if (!decimal_read(&d, weir_text(text)))
        ck_abort_msg("%s", text);
    w[0] = d.key.w[0], w[1] = d.key.w[1];
}

/* Numbers of one way of lying: evenly, over decades, close together, all but the same, far out. */
static void make_number(unsigned way, uint64_t w[2])
{
    char text[64];
    const char *sign = below(4) ? "" : "-";
    switch (way) {
    case 0:
        (void)snprintf(text, sizeof text, "%s%u.%u", sign, below(500), below(4) * 25);
        break;
    case 1:
        (void)snprintf(text, sizeof text, "%s%ue%d", sign, 1 + below(9), (int)below(600) - 300);
        break;
    case 2:
        (void)snprintf(text, sizeof text, "1000000.0%u", below(100));
        break;
    case 3:
        (void)snprintf(text, sizeof text, "%s0.99999999999999%03u", sign, below(100));
        break;
    default:
        (void)snprintf(text, sizeof text, "%s%ue%s%u", sign, below(3), below(2) ? "" : "-",
                       500 * below(5) + below(3));
        break;
    }
    read_number(text, w);
    if (!below(40))
        w[0] = w[1] = below(2) ? UINT64_MAX : 0; /* an open end */
}

static int compare(const uint64_t a[2], const uint64_t b[2])
{
    int order = (a[0] > b[0]) - (a[0] < b[0]);
    return order ? order : (a[1] > b[1]) - (a[1] < b[1]);
}

static void make_range(unsigned way, struct set_range *r, uint32_t number)
{
    uint64_t a[2], b[2];
    do {
        make_number(way, a);
        make_number(way, b);
    } while (!compare(a, b));
    bool is_order = compare(a, b) < 0;
    *r = (struct set_range){.is_low_open = below(2), .is_high_open = below(2)};
    r->ref = set_ref(SET_RULE, number);
    memcpy(r->low, is_order ? a : b, sizeof a);
    memcpy(r->high, is_order ? b : a, sizeof a);
}

static bool is_in(const struct set_range *r, const uint64_t w[2])
{
    int low = compare(r->low, w), high = compare(r->high, w);
    return (low < 0 || (!low && !r->is_low_open)) && (high > 0 || (!high && !r->is_high_open));
}

static void count_ref(uint32_t ref, unsigned *seen)
{
    if (set_ref_kind(ref) != SET_RULE)
        ck_abort_msg("not a rule: %x", ref);
    seen[set_ref_number(ref)]++;
}

static void find(const struct set_ranges *r, const uint64_t w[2], unsigned *seen)
{
    for (const struct set_head *h = ranges_find(r, w);; h = &r->heads[h->up]) {
        if (h->ref != SET_NONE && set_ref_kind(h->ref) != SET_CHAIN)
            count_ref(h->ref, seen);
        else if (h->ref != SET_NONE)
            for (uint32_t i = set_ref_number(h->ref); i != SET_NONE; i = r->items[i].next)
                count_ref(r->items[i].ref, seen);
        if (!h->up)
            return;
    }
}

static void check_number(const struct set_ranges *r, const struct set_range *all, uint32_t count,
                         const uint64_t w[2])
{
    unsigned seen[RANGES_MAX] = {0};
    find(r, w, seen);
    for (uint32_t i = 0; i < count; i++)
        if (seen[i] != is_in(&all[i], w))
            ck_abort_msg("range %u of %u: %016lx %016lx", i, count, w[0], w[1]);
}

/* Each range that holds a number is found once and no other is, at all ends and between them. */
START_TEST(ranges_are_found)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct set_range all[RANGES_MAX];
        unsigned way = round % 5;
        uint32_t count = 1 + below(round % 3 ? 8 : RANGES_MAX);
        for (uint32_t i = 0; i < count; i++)
            make_range(below(8) ? way : below(5), &all[i], i);
        struct set_ranges r, copy;
        ranges_make(&r, all, count);
        ranges_copy(&copy, &r);
        ranges_fini(&r);
        for (uint32_t i = 0; i < count; i++) {
            check_number(&copy, all, count, all[i].low);
            check_number(&copy, all, count, all[i].high);
        }
        for (int i = 0; i < TRIES / 10; i++) {
            uint64_t w[2];
            make_number(below(8) ? way : below(5), w);
            check_number(&copy, all, count, w);
        }
        ck_assert_uint_gt(ranges_memory(&copy), 0);
        ranges_fini(&copy);
    }
}
END_TEST

/* The narrow order never contradicts the whole one. */
START_TEST(order_is_kept)
{
    for (unsigned i = 0; i < ROUNDS * TRIES; i++) {
        uint64_t a[2], b[2];
        make_number(below(5), a);
        make_number(below(5), b);
        if (compare(a, b) < 0 && decimal_order(a) > decimal_order(b))
            ck_abort_msg("%016lx %016lx", a[0], b[0]);
    }
}
END_TEST

/* The worst of distributions: each decade is one point. Splits stay few, so memory stays small. */
START_TEST(uneven_points_cost_no_more_memory)
{
    enum { COUNT = 4000 };
    struct set_range *all = mem_new(COUNT * sizeof *all);
    for (uint32_t i = 0; i < COUNT; i++) {
        char low[64], high[64];
        (void)snprintf(low, sizeof low, "1.%ue%d", i % 10, (int)(i / 10) - 200);
        (void)snprintf(high, sizeof high, "1.%u5e%d", i % 10, (int)(i / 10) - 200);
        read_number(low, all[i].low);
        read_number(high, all[i].high);
        all[i].ref = set_ref(SET_RULE, i);
    }
    struct set_ranges r;
    ranges_make(&r, all, COUNT);
    ck_assert_uint_eq(r.count, 2 * COUNT);
    ck_assert_uint_lt(ranges_memory(&r), (size_t)160 * COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_uint_eq(ranges_find(&r, all[i].low)->ref, all[i].ref);
    ranges_fini(&r);
    mem_free(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_ranges");
    TCase *t = tcase_create("ranges");
    tcase_add_test(t, ranges_are_found);
    tcase_add_test(t, order_is_kept);
    tcase_add_test(t, uneven_points_cost_no_more_memory);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
