/* unit/journal_archive.c: archives: within their time and size, the same after a restart, with and without
 * a checkpoint. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#undef fail
#include "base/mem.h"
#include "journal/archive.h"
#include "journal/keys.h"

static const int64_t second = INT64_C(1000000000);
static char folder[256];
static struct clock_fake now;
static struct journal *journal;

static struct archive *open_archive(int64_t retention_ns, uint64_t bytes_max)
{
    struct error e = {0};
    const struct journal_options o = {.path = folder,
                                      .clock = &now.base,
                                      .kinds = journal_kinds,
                                      .slot_bytes = 1 << 20};
    const struct archive_settings settings = {retention_ns, bytes_max};
    journal = journal_open(&o, &e);
    ck_assert_msg(journal != NULL, "%s", e.text);
    struct archive *a = archive_open(journal, "orders", &settings, &e);
    ck_assert_ptr_nonnull(a);
    return a;
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe) */
    (void)snprintf(folder, sizeof folder, "%s/weir-archive.XXXXXX", tmp ? tmp : "/tmp");
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

static void put(struct archive *a, const char *text, size_t times)
{
    struct journal_unit *u = journal_begin(journal);
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", text);
    struct iovec part = {copy, strlen(copy)};
    for (size_t i = 0; i < times; i++)
        archive_put(a, u, clock_wall(&now.base), &part, 1);
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
}

static uint64_t events(struct archive *a)
{
    struct archive_count n;
    archive_count(a, &n);
    return n.events;
}

/* Trims are lazy: this waits for what is on its way. */
static void trim(struct archive *a)
{
    archive_trim(a);
    ck_assert_int_eq(journal_submit_wait(journal_begin(journal)), WEIR_OK);
}

START_TEST(holds_what_was_put)
{
    struct archive *a = open_archive(0, 0);
    struct archive_count n;
    archive_count(a, &n);
    ck_assert_uint_eq(n.events, 0);
    ck_assert_int_eq(n.oldest_ns, 0);
    put(a, "one", 1);
    clock_fake_move(&now, 5 * second);
    put(a, "two", 1);
    archive_count(a, &n);
    ck_assert_uint_eq(n.events, 2);
    ck_assert_uint_eq(n.bytes, 22);
    ck_assert_int_eq(n.newest_ns - n.oldest_ns, 5 * second);
    ck_assert_str_eq(archive_name(a), "orders");
    ck_assert_ptr_eq(archive_find(journal, "orders"), a);
    ck_assert_ptr_null(archive_find(journal, "order"));
    weir_str record;
    uint64_t sequence;
    int64_t came_ns;
    struct reader *r = reader_new(archive_stream(a), archive_seek(a, 0));
    ck_assert_int_eq(reader_next(r, &record, &sequence), WEIR_OK);
    ck_assert(weir_same(archive_payload(record, &came_ns), "one"));
    ck_assert_int_eq(came_ns, n.oldest_ns);
    reader_free(r);
    uint64_t removed;
    ck_assert_int_eq(archive_clear(a, &removed), WEIR_OK);
    ck_assert_uint_eq(removed, 2);
    archive_count(a, &n);
    ck_assert_uint_eq(n.events + n.bytes, 0);
}
END_TEST

START_TEST(forgets_by_age)
{
    struct archive *a = open_archive(3600 * second, 0);
    put(a, "old", 10);
    clock_fake_move(&now, 1800 * second);
    put(a, "young", 5);
    trim(a);
    ck_assert_uint_eq(events(a), 15);
    clock_fake_move(&now, 1801 * second);
    trim(a);
    ck_assert_uint_eq(events(a), 5);
    ck_assert_uint_eq(archive_seek(a, 0), 10);
    trim(a);
    ck_assert_uint_eq(events(a), 5);
    clock_fake_move(&now, 1800 * second);
    trim(a);
    ck_assert_uint_eq(events(a), 0);
    put(a, "new", 1);
    ck_assert_uint_eq(events(a), 1);
}
END_TEST

START_TEST(forgets_by_size)
{
    struct archive *a = open_archive(0, 40000);
    for (int i = 0; i < 5; i++)
        put(a, "0123456789ab", 1024); /* 20 bytes each: a block is 20 KiB */
    trim(a);
    struct archive_count n;
    archive_count(a, &n);
    ck_assert_uint_eq(n.events, 1024);
    ck_assert_uint_eq(n.bytes, 20480);
    ck_assert_uint_eq(archive_seek(a, 0), 4096);
}
END_TEST

/* _i: whether the journal is closed, so that a checkpoint has the blocks, or torn away. */
START_TEST(is_the_same_after_a_restart)
{
    struct archive *a = open_archive(3600 * second, 0);
    struct archive_count before, after;
    put(a, "one", 100);
    clock_fake_move(&now, 3000 * second);
    put(a, "two", 50);
    clock_fake_move(&now, 1000 * second);
    trim(a);
    archive_count(a, &before);
    ck_assert_uint_eq(before.events, 50);
    journal_close(journal);
    a = open_archive(3600 * second, 0);
    archive_count(a, &after);
    ck_assert_uint_eq(after.events, before.events);
    ck_assert_uint_eq(after.bytes, before.bytes);
    ck_assert_int_eq(after.oldest_ns, before.oldest_ns);
    ck_assert_int_eq(after.newest_ns, before.newest_ns);
    journal_close(journal);
    if (_i) { /* the log alone */
        char command[300];
        (void)snprintf(command, sizeof command, "rm -f '%s'/checkpoint*", folder);
        ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
    }
    a = open_archive(3600 * second, 0);
    archive_count(a, &after);
    ck_assert_uint_eq(after.events, before.events);
    ck_assert_uint_eq(after.bytes, before.bytes);
}
END_TEST

/* A minute each, for longer than there are blocks: neighbours become one, and nothing is lost. */
START_TEST(blocks_are_bounded)
{
    struct archive *a = open_archive(0, 0);
    struct archive_count n;
    for (int i = 0; i < 20000; i++) {
        struct journal_unit *u = journal_begin(journal);
        struct iovec part = {&i, sizeof i};
        archive_put(a, u, clock_wall(&now.base), &part, 1);
        clock_fake_move(&now, 60 * second);
        journal_submit(u, JOURNAL_LAZY, NULL, NULL);
        if (i % 1000 == 999)
            ck_assert_int_eq(journal_submit_wait(journal_begin(journal)), WEIR_OK);
    }
    archive_count(a, &n);
    ck_assert_uint_eq(n.events, 20000);
    ck_assert_uint_eq(n.bytes, 240000);
    ck_assert_int_eq(n.newest_ns - n.oldest_ns, 19999 * 60 * second);
    uint64_t at = archive_seek(a, n.newest_ns);
    ck_assert_uint_gt(at, 19990);
    at = archive_seek(a, n.oldest_ns + 10000 * 60 * second);
    ck_assert(at > 9990 && at <= 10000);
}
END_TEST

static void check_range(struct archive *a, const int64_t *times, uint64_t first, uint64_t end)
{
    struct archive_range r;
    archive_range(a, times[0] * second, times[1] * second, &r);
    ck_assert_uint_eq(r.first, first);
    ck_assert_uint_eq(r.end, end);
    ck_assert(r.first == r.end || (r.last >= r.first && r.last < r.end));
}

/* Whole blocks: one with 10 records of second 0, one of second 100, with a clock that went back to 90, one
 * of second 200. */
START_TEST(finds_a_range)
{
    struct archive *a = open_archive(0, 0);
    const int64_t t0 = now.wall / second;
    put(a, "first", 10);
    clock_fake_move(&now, 100 * second);
    put(a, "second", 5);
    now.wall -= 10 * second;
    put(a, "back", 5);
    now.wall += 110 * second;
    put(a, "third", 10);
    check_range(a, (const int64_t[]){0, t0}, 0, 0);
    check_range(a, (const int64_t[]){0, t0 + 1}, 0, 10);
    check_range(a, (const int64_t[]){t0, t0 + 91}, 0, 20);
    check_range(a, (const int64_t[]){t0 + 1, t0 + 91}, 10, 20);
    check_range(a, (const int64_t[]){t0 + 91, t0 + 100}, 10, 20);
    check_range(a, (const int64_t[]){t0 + 101, t0 + 200}, 0, 0);
    check_range(a, (const int64_t[]){t0 + 100, t0 + 1000}, 10, 30);
    check_range(a, (const int64_t[]){t0 + 201, t0 + 1000}, 0, 0);
    uint64_t removed;
    ck_assert_int_eq(archive_clear(a, &removed), WEIR_OK);
    check_range(a, (const int64_t[]){0, t0 + 1000}, 0, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("journal_archive");
    TCase *t = tcase_create("archive");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, holds_what_was_put);
    tcase_add_test(t, forgets_by_age);
    tcase_add_test(t, forgets_by_size);
    tcase_add_loop_test(t, is_the_same_after_a_restart, 0, 2);
    tcase_add_test(t, blocks_are_bounded);
    tcase_add_test(t, finds_a_range);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
