/* unit/match_change.c: sets that come after others: what is copied, what is compiled, and who may read. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "match/set.h"

enum { RULES = 400 };

static struct match_set *set_of(const struct match_set *old, const char *const *patterns, size_t n)
{
    struct match_set *set = match_set_after(old, NULL);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(match_add(set, weir_text(patterns[i]), NULL), WEIR_OK);
    match_seal(set);
    return set;
}

static size_t hits_of(const struct match_set *set, const char *event, uint32_t *first)
{
    const uint32_t *hits;
    struct match_ctx *c = match_ctx_new(set);
    size_t n = match_json(c, weir_text(event), 0, &hits);
    *first = n ? hits[0] : SET_NONE;
    match_ctx_free(c);
    return n;
}

/* Rules {"n": [i]} or, of one, what is given. */
static struct match_set *numbered(const struct match_set *old, size_t n, size_t other,
                                  const char *pattern)
{
    struct match_set *set = match_set_after(old, NULL);
    for (size_t i = 0; i < n; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "{\"n\": [%zu]}", i);
        ck_assert_int_eq(match_add(set, weir_text(i == other ? pattern : text), NULL), WEIR_OK);
    }
    match_seal(set);
    return set;
}

START_TEST(one_rule_is_replaced)
{
    uint32_t first;
    struct match_set *a = numbered(NULL, RULES, SIZE_MAX, NULL);
    struct match_set *b = numbered(a, RULES, 7, "{\"m\": [\"x\"]}");
    ck_assert_ptr_null(a->outside);
    ck_assert_ptr_nonnull(b->outside); /* not compiled anew */
    match_set_free(a);
    ck_assert_uint_eq(hits_of(b, "{\"n\": 7}", &first), 0);
    ck_assert_uint_eq(hits_of(b, "{\"m\": \"x\"}", &first), 1);
    ck_assert_uint_eq(first, 7);
    ck_assert_uint_eq(hits_of(b, "{\"n\": 8}", &first), 1);
    ck_assert_uint_eq(first, 8);
    struct buf text = {0};
    ck_assert(match_explain_json(b, 7, weir_text("{\"m\": \"x\"}"), &text, NULL));
    ck_assert(!match_explain_json(b, 8, weir_text("{\"m\": \"x\"}"), &text, NULL));
    buf_fini(&text);
    match_set_free(b);
}
END_TEST

/* The first rule's condition led to the rule at once; now it has a part in two more. */
START_TEST(condition_is_shared_later)
{
    uint32_t first;
    const char *patterns[20];
    char texts[20][64];
    for (size_t i = 0; i < 20; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "{\"n\": [%zu]}", i);
        patterns[i] = texts[i];
    }
    struct match_set *a = set_of(NULL, patterns, 20);
    patterns[18] = "{\"n\": [0], \"m\": [1]}";
    struct match_set *b = set_of(a, patterns, 20);
    patterns[19] = "{\"n\": [0], \"m\": [{\"anything-but\": 1}]}";
    struct match_set *c = set_of(b, patterns, 20);
    ck_assert_ptr_nonnull(c->outside);
    match_set_free(a);
    ck_assert_uint_eq(hits_of(b, "{\"n\": 0, \"m\": 1}", &first), 2);
    ck_assert_uint_eq(first, 0);
    ck_assert_uint_eq(hits_of(c, "{\"n\": 0, \"m\": 1}", &first), 2);
    ck_assert_uint_eq(hits_of(c, "{\"n\": 0, \"m\": 2}", &first), 2);
    ck_assert_uint_eq(hits_of(c, "{\"n\": 0}", &first), 1);
    ck_assert_uint_eq(hits_of(c, "{\"n\": 18}", &first), 0);
    match_set_free(b);
    match_set_free(c);
}
END_TEST

/* Ranges that are added wait on a list; when it is long, they are put together, and nothing else is. */
START_TEST(ranges_are_added)
{
    enum { ALL = 1000, ADDED = 140 };
    struct match_set *set = numbered(NULL, ALL, SIZE_MAX, NULL);
    for (size_t i = 0; i < ADDED; i++) {
        struct match_set *next = match_set_after(set, NULL);
        char text[64];
        for (size_t k = 0; k < ALL; k++) {
            bool is_range = k <= i;
            (void)snprintf(text, sizeof text,
                           is_range ? "{\"n\": [{\"numeric\": [\">\", %zu, \"<=\", 1000]}]}"
                                    : "{\"n\": [%zu]}",
                           k);
            ck_assert_int_eq(match_add(next, weir_text(text), NULL), WEIR_OK);
        }
        match_seal(next);
        ck_assert_ptr_nonnull(next->outside); /* not compiled anew */
        match_set_free(set);
        set = next;
        uint32_t first;
        ck_assert_uint_eq(hits_of(set, "{\"n\": 1000}", &first), i + 1);
        ck_assert_uint_eq(hits_of(set, "{\"n\": 1000.5}", &first), 0);
        ck_assert_uint_eq(hits_of(set, "{\"n\": 0}", &first), 0);
        ck_assert_uint_eq(hits_of(set, "{\"n\": 5}", &first), i < 5 ? i + 2 : 5);
        const struct set_parts *p = set->fields[0].parts;
        ck_assert_uint_eq(p->waiting_count, i + 1);
        ck_assert_uint_eq(p->late_count, (i + 1) / 65 * 65);
        ck_assert_uint_eq(p->late.count, p->late_count ? p->late_count + 1 : 0);
    }
    match_set_free(set);
}
END_TEST

/* What many share is found by pairs, also when it comes one at a time. */
START_TEST(many_share_a_condition)
{
    struct match_set *set = numbered(NULL, RULES, SIZE_MAX, NULL);
    enum { SHARED = 40 };
    for (size_t i = 0; i < SHARED; i++) {
        struct match_set *next = match_set_after(set, NULL);
        char text[64];
        for (size_t k = 0; k < RULES; k++) {
            (void)snprintf(text, sizeof text,
                           k <= i ? "{\"n\": [1, 2], \"m\": [{\"prefix\": \"%zu.\"}]}"
                                  : "{\"n\": [%zu]}",
                           k);
            ck_assert_int_eq(match_add(next, weir_text(text), NULL), WEIR_OK);
        }
        match_seal(next);
        match_set_free(set);
        set = next;
    }
    ck_assert_ptr_nonnull(set->outside);
    for (uint32_t k = 0; k < SHARED; k++) {
        char event[64];
        uint32_t first;
        (void)snprintf(event, sizeof event, "{\"n\": 2, \"m\": \"%u.x\"}", k);
        ck_assert_uint_eq(hits_of(set, event, &first), 1);
        ck_assert_uint_eq(first, k);
        (void)snprintf(event, sizeof event, "{\"n\": 3, \"m\": \"%u.x\"}", k);
        ck_assert_uint_eq(hits_of(set, event, &first), 0);
    }
    match_set_free(set);
}
END_TEST

START_TEST(refusals_and_small_changes)
{
    struct match_error e;
    struct match_set *a = numbered(NULL, 40, SIZE_MAX, NULL);
    struct match_set *b = match_set_after(a, NULL);
    ck_assert_int_eq(match_add(b, weir_text("{\"n\": 1}"), &e), WEIR_E_REJECT);
    ck_assert_uint_eq(match_count(b), 0);
    ck_assert_int_eq(match_add(b, weir_text("{\"n\": [1]}"), &e), WEIR_OK);
    match_seal(b); /* most are gone: compiled anew */
    ck_assert_ptr_null(b->outside);
    ck_assert_int_eq(match_add(b, weir_text("{\"n\": [2]}"), &e), WEIR_E_REJECT);
    struct match_set *unsealed = match_set_new(NULL), *c = match_set_after(unsealed, NULL);
    match_set_free(unsealed);
    match_seal(c);
    ck_assert_uint_eq(match_count(c), 0);
    struct match_set *never = match_set_after(a, NULL);
    ck_assert_int_eq(match_add(never, weir_text("{\"n\": [1]}"), &e), WEIR_OK);
    match_set_free(a);
    match_set_free(b);
    match_set_free(c);
    match_set_free(never);
}
END_TEST

/* ---- readers --------------------------------------------------------------------------------------- */

static _Atomic(struct match_set *) current;
static atomic_bool is_over;
static atomic_uint wrong, generation, seen[2];

/* Each reader takes the set as a worker does: a context of its own, and the set until it says otherwise. */
static void *read_on(void *arg)
{
    atomic_uint *mine = arg;
    while (!atomic_load(&is_over)) {
        unsigned at = atomic_load(&generation);
        struct match_set *set = atomic_load(&current);
        struct match_ctx *c = match_ctx_new(set);
        for (int i = 0; i < 50; i++) {
            const uint32_t *hits;
            size_t n = match_json(c, weir_text("{\"n\": 100, \"m\": \"x\"}"), 0, &hits);
            if (n != 1 + (set->outside != NULL) || hits[n - 1] != 100)
                atomic_fetch_add(&wrong, 1);
        }
        match_ctx_free(c);
        atomic_store(mine, at + 1);
    }
    return NULL;
}

START_TEST(readers_while_it_changes)
{
    pthread_t threads[2];
    struct match_set *old = numbered(NULL, RULES, SIZE_MAX, NULL);
    atomic_store(&current, old);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_on, &seen[i]), 0);
    for (size_t i = 0; i < 30; i++) {
        struct match_set *next = numbered(old, RULES, i, "{\"m\": [\"x\"]}");
        atomic_store(&current, next);
        unsigned now = atomic_fetch_add(&generation, 1) + 1;
        for (size_t k = 0; k < 2; k++)
            while (atomic_load(&seen[k]) <= now)
                (void)sched_yield();
        match_set_free(old);
        old = next;
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    match_set_free(old);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_change");
    TCase *t = tcase_create("change");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, one_rule_is_replaced);
    tcase_add_test(t, condition_is_shared_later);
    tcase_add_test(t, ranges_are_added);
    tcase_add_test(t, many_share_a_condition);
    tcase_add_test(t, refusals_and_small_changes);
    tcase_add_test(t, readers_while_it_changes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
