/* unit/journal_keys.c: keys of a window: found with their event, forgotten by age and number, there after
 * a restart if and only if their unit was on disk. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#undef fail
#include "base/mem.h"
#include "journal/keys.h"

static char folder[256];
static struct clock_fake now;
static struct journal *journal;

static struct keys *open_keys(int64_t keep_s, uint32_t max)
{
    struct error e = {0};
    const struct journal_options o = {.path = folder,
                                      .clock = &now.base,
                                      .kinds = journal_kinds,
                                      .slot_bytes = 1 << 20};
    journal = journal_open(&o, &e);
    ck_assert_msg(journal != NULL, "%s", e.text);
    struct keys *k = keys_open(journal, "a/POST /x", keep_s * 1000000000, max, &e);
    ck_assert_ptr_nonnull(k);
    return k;
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe) */
    (void)snprintf(folder, sizeof folder, "%s/weir-keys.XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    clock_fake_init(&now, INT64_C(1700000000000000000));
}

static void tear_down(void)
{
    char command[300];
    journal_close(journal);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

static struct keys_entry entry_of(int n)
{
    char text[32];
    struct keys_entry e = {.content = (uint64_t)n, .time_ns = clock_wall(&now.base)};
    (void)snprintf(text, sizeof text, "key-%d", n);
    keys_hash(weir_text(text), e.hash);
    memcpy(e.id, &n, sizeof n);
    return e;
}

static void put_all(struct keys *k, int from, int to)
{
    struct journal_unit *u = journal_begin(journal);
    for (int n = from; n < to; n++) {
        struct keys_entry e = entry_of(n);
        keys_note(k, u, &e);
    }
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
}

static void put(struct keys *k, int n)
{
    put_all(k, n, n + 1);
}

static bool has(struct keys *k, int n)
{
    struct keys_entry e = entry_of(n), found = {0};
    if (!keys_find(k, e.hash, &found))
        return false;
    ck_assert_uint_eq(found.content, (uint64_t)n);
    ck_assert_mem_eq(found.id, &n, sizeof n);
    return true;
}

START_TEST(found_after_restarts)
{
    struct keys *k = open_keys(60, 1000);
    for (int round = 0; round < 3; round++) {
        put_all(k, round * 100, round * 100 + 100);
        for (int n = 0; n < (round + 1) * 100; n++)
            ck_assert(has(k, n));
        ck_assert(!has(k, 1000));
        journal_close(journal);
        k = open_keys(60, 1000);
        ck_assert_uint_eq(keys_count(k), (size_t)(round + 1) * 100);
    }
}
END_TEST

START_TEST(not_without_its_unit)
{
    struct keys *k = open_keys(60, 1000);
    struct keys_entry e = entry_of(1);
    struct journal_unit *u = journal_begin(journal);
    keys_note(k, u, &e);
    ck_assert(!has(k, 1));
    journal_cancel(u);
    ck_assert(!has(k, 1));
    keys_remember(k, &e);
    ck_assert(has(k, 1));
    put(k, 1); /* the note that comes later is the same */
    ck_assert_uint_eq(keys_count(k), 1);
}
END_TEST

START_TEST(forgotten_by_age)
{
    struct keys *k = open_keys(10, 1000);
    put(k, 1);
    clock_fake_move(&now, INT64_C(6000000000));
    put(k, 2);
    clock_fake_move(&now, INT64_C(5000000000));
    ck_assert(!has(k, 1));
    ck_assert(has(k, 2));
    put(k, 1); /* a new one, after the window */
    ck_assert(has(k, 1));
    ck_assert_uint_eq(keys_count(k), 2);
    clock_fake_move(&now, INT64_C(11000000000));
    journal_close(journal);
    k = open_keys(10, 1000);
    ck_assert_uint_eq(keys_count(k), 0);
}
END_TEST

START_TEST(forgotten_by_number)
{
    struct keys *k = open_keys(1000, 100);
    for (int n = 0; n < 1000; n += 40)
        put_all(k, n, n + 40);
    ck_assert_uint_eq(keys_count(k), 100);
    for (int n = 0; n < 1000; n++)
        ck_assert_int_eq(has(k, n), n >= 900);
    journal_close(journal);
    k = open_keys(1000, 10);
    ck_assert_uint_eq(keys_count(k), 10);
    ck_assert(has(k, 999));
    ck_assert(!has(k, 989));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("journal_keys");
    TCase *t = tcase_create("keys");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, found_after_restarts);
    tcase_add_test(t, not_without_its_unit);
    tcase_add_test(t, forgotten_by_age);
    tcase_add_test(t, forgotten_by_number);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
