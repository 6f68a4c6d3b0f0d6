/* tests/unit/journal_log.c: the journal on a real disk and on one that fails, fills up and rots. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "journal/internal.h"
#include "journal_disk.h"

static char dir[256], path[300];

static void remove_one(void *user, const char *name)
{
    char file[600];
    (void)snprintf(file, sizeof file, "%s/%s", (const char *)user, name);
    (void)unlink(file);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/weir-journal-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/journal", dir);
}

static void teardown(void)
{
    (void)disk_real.list(&disk_real, path, remove_one, path);
    (void)rmdir(path);
    (void)rmdir(dir);
}

static struct journal *open_at(const struct disk *disk, uint64_t slot_bytes)
{
    struct error e = {0};
    struct journal_options o = {.path = disk ? "/j" : path,
                                .slot_bytes = slot_bytes,
                                .disk = disk,
                                .lock_note = "a test"};
    struct journal *j = journal_open(&o, &e);
    ck_assert_msg(j != NULL, "%s", e.text);
    return j;
}

static struct journal *open_by_clock(const struct disk *disk, const struct clock *clock)
{
    const struct journal_options o = {.path = "/j",
                                      .slot_bytes = 32768,
                                      .disk = disk,
                                      .clock = clock};
    return journal_open(&o, NULL);
}

static void put(struct journal_unit *u, struct stream *s, const char *text)
{
    char copy[8192];
    size_t n = strlen(text);
    memcpy(copy, text, n);
    struct iovec part = {copy, n};
    unit_put(u, &s, 1, &part, 1);
}

static weir_status put_one(struct journal *j, struct stream *s, const char *text)
{
    struct journal_unit *u = journal_begin(j);
    put(u, s, text);
    return journal_submit_wait(u);
}

static void ck_read(struct stream *s, uint64_t sequence, const char *expected)
{
    struct buf out = {0};
    ck_assert_int_eq(stream_read(s, sequence, &out), WEIR_OK);
    ck_assert_str_eq(buf_text(&out), expected);
    buf_fini(&out);
}

START_TEST(what_is_put_is_read_and_stays)
{
    struct journal *j = open_at(NULL, 0);
    struct stream *s = stream_open(j, "a", 0, NULL), *both[2] = {s, stream_open(j, "b", 0, NULL)};
    uint32_t sum = journal_counter(j, "accepted");
    char one[] = "one", two[] = "two";
    struct iovec parts[2] = {{one, 3}, {two, 3}};
    struct journal_unit *u = journal_begin(j);
    ck_assert(unit_is_empty(u));
    unit_put(u, both, 2, parts, 2);
    unit_count(u, sum, 5);
    unit_count(u, sum, -1);
    ck_assert(!unit_is_empty(u));
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    ck_assert_int_eq(put_one(j, s, "three"), WEIR_OK);
    ck_assert_ptr_null(stream_open(j, "a", 9, NULL));
    journal_close(j);

    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0700);
    j = open_at(NULL, 0);
    s = stream_find(j, "a");
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(stream_next(s), 2);
    ck_assert_uint_eq(stream_live(s), 2);
    ck_assert_int_eq(journal_counter_value(j, journal_counter(j, "accepted")), 4);
    ck_read(s, 0, "onetwo");
    ck_read(stream_find(j, "b"), 0, "onetwo");
    u = journal_begin(j);
    unit_ack(u, s, 0, 1);
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    ck_assert_uint_eq(stream_first_live(s), 1);
    struct buf out = {0};
    ck_assert_int_eq(stream_read(s, 0, &out), WEIR_E_REJECT);
    struct reader *r = reader_new(s, 0);
    weir_str text;
    uint64_t sequence;
    ck_assert_int_eq(reader_next(r, &text, &sequence), WEIR_OK);
    ck_assert_uint_eq(sequence, 1);
    ck_assert(weir_same(text, "three"));
    ck_assert_int_eq(reader_next(r, &text, &sequence), WEIR_IDLE);
    ck_assert_uint_eq(reader_position(r), 2);
    reader_free(r);
    journal_close(j);
}
END_TEST

START_TEST(second_opener_is_told_who)
{
    struct journal *j = open_at(NULL, 0);
    struct error e = {0};
    struct journal_options o = {.path = path};
    char pid[32];
    (void)snprintf(pid, sizeof pid, "pid %ld, a test", (long)getpid());
    ck_assert_ptr_null(journal_open(&o, &e));
    ck_assert_int_eq(e.code, EXIT_NOT_AVAILABLE);
    ck_assert_msg(strstr(e.text, pid) != NULL, "%s", e.text);
    ck_assert_int_eq(put_one(j, stream_open(j, "a", 0, NULL), "x"), WEIR_OK);
    o.is_reader = true;
    struct journal *reader = journal_open(&o, &e);
    ck_assert_ptr_nonnull(reader);
    ck_read(stream_find(reader, "a"), 0, "x");
    ck_assert_int_eq(put_one(reader, stream_find(reader, "a"), "y"), WEIR_E_FATAL);
    journal_close(reader);
    ck_read(stream_find(j, "a"), 0, "x");
    journal_close(j);
}
END_TEST

START_TEST(large_records_get_a_slot_of_their_size)
{
    struct journal *j = open_at(NULL, 0);
    struct stream *s = stream_open(j, "a", 0, NULL);
    size_t n = 9 << 20;
    char *large = mem_new(n);
    memset(large, 'x', n);
    struct iovec part = {large, n};
    struct journal_unit *u = journal_begin(j);
    unit_put(u, &s, 1, &part, 1);
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    ck_assert_int_eq(put_one(j, s, "small"), WEIR_OK);
    journal_close(j);
    j = open_at(NULL, 0);
    struct buf out = {0};
    ck_assert_int_eq(stream_read(stream_find(j, "a"), 0, &out), WEIR_OK);
    ck_assert_uint_eq(out.len, n);
    ck_assert_mem_eq(out.ptr, large, n);
    ck_read(stream_find(j, "a"), 1, "small");
    buf_fini(&out);
    mem_free(large);
    journal_close(j);
}
END_TEST

/* ---- a full disk ---- */

START_TEST(acks_go_on_when_the_disk_is_full_and_it_heals)
{
    static struct sim sim;
    sim_init(&sim, 1);
    sim.space = 20 * 32768;
    struct journal *j = open_at(&sim.disk, 32768);
    struct stream *s = stream_open(j, "a", 0, NULL);
    char text[1000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    uint64_t count = 0;
    while (put_one(j, s, text) == WEIR_OK)
        count++;
    ck_assert_uint_gt(count, 100);
    struct journal_health h;
    journal_health(j, &h);
    ck_assert(h.is_full && !h.is_failed && !journal_has_room(j, 1));
    for (uint64_t i = 0; i < count; i++) { /* every one of them, also in the worst order */
        uint64_t which = i % 2 ? count - 1 - i / 2 : i / 2;
        struct journal_unit *u = journal_begin(j);
        unit_ack(u, s, which, 1);
        ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    }
    ck_assert_uint_eq(stream_live(s), 0);
    journal_tick(j);
    ck_assert_int_eq(put_one(j, s, "again"), WEIR_OK);
    journal_health(j, &h);
    ck_assert(!h.is_full);
    ck_read(s, count, "again");
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

static size_t count_text(FILE *f, const char *text)
{
    char line[1000];
    size_t n = 0;
    rewind(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, text) != NULL;
    return n;
}

START_TEST(a_disk_that_is_nearly_full_is_told_once)
{
    static struct sim sim;
    struct clock_fake clock;
    sim_init(&sim, 1);
    clock_fake_init(&clock, 0);
    struct journal *j = open_by_clock(&sim.disk, &clock.base);
    FILE *told = tmpfile();
    int before = dup(STDERR_FILENO);
    ck_assert(told && before >= 0 && dup2(fileno(told), STDERR_FILENO) >= 0);
    log_setup((struct log_settings){.level = WEIR_INFO});
    for (int i = 0; i < 50; i++) { /* large units and small ones by turns */
        room_set_full(j, true);
        room_set_full(j, false);
        clock_fake_move(&clock, 100 * 1000000LL);
    }
    size_t full = count_text(told, "full: nothing new"), again = count_text(told, "space again");
    clock_fake_move(&clock, 5 * 1000000000LL);
    room_set_full(j, false);
    room_set_full(j, false);
    size_t later = count_text(told, "space again");
    (void)dup2(before, STDERR_FILENO);
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    (void)close(before), (void)fclose(told);
    ck_assert_uint_eq(full, 1);
    ck_assert_uint_eq(again, 0);
    ck_assert_uint_eq(later, 1);
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

static void nothing_that_lives_never_fills_it(enum journal_durability durability)
{
    static struct sim sim;
    sim_init(&sim, 1);
    struct journal_options o = {.path = "/j",
                                .slot_bytes = 32768,
                                .bytes_max = 4ULL * 32768,
                                .disk = &sim.disk,
                                .durability = durability};
    struct journal *j = journal_open(&o, NULL);
    ck_assert_ptr_nonnull(j);
    struct stream *s = stream_open(j, "a", 0, NULL);
    char text[4000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (uint64_t i = 0, refused = 0; i < 100;) {
        if (put_one(j, s, text) == WEIR_OK) {
            struct journal_unit *u = journal_begin(j);
            unit_ack(u, s, i++, 1);
            ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
            refused = 0;
        } else {
            ck_assert_msg(refused++ == 0, "full with nothing alive after %d puts", (int)i);
        }
        journal_tick(j);
        ck_assert(journal_has_room(j, 1));
    }
    journal_close(j);
    j = open_at(&sim.disk, 32768);
    ck_assert_uint_eq(stream_live(stream_find(j, "a")), 0);
    ck_assert_int_eq(put_one(j, stream_find(j, "a"), "again"), WEIR_OK);
    ck_read(stream_find(j, "a"), 100, "again");
    journal_close(j);
    sim_fini(&sim);
}

/* What is left of the active segment holds the acknowledgements of all that is in it and not the next
 * event, and nothing else is to come. */
START_TEST(nothing_alive_is_not_full)
{
    nothing_that_lives_never_fills_it(JOURNAL_FSYNC);
    nothing_that_lives_never_fills_it(JOURNAL_INTERVAL);
    nothing_that_lives_never_fills_it(JOURNAL_OS);
}
END_TEST

static void ck_both_headers(void *user, const char *name)
{
    char file[600], blocks[2][FORMAT_HEADER_BYTES];
    if (strncmp(name, "slot-", 5) != 0)
        return;
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    FILE *f = fopen(file, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(blocks[0], sizeof blocks[0], 1, f), 1);
    ck_assert_int_eq(fseek(f, -(long)sizeof blocks[1], SEEK_END), 0);
    ck_assert_uint_eq(fread(blocks[1], sizeof blocks[1], 1, f), 1);
    (void)fclose(f);
    ck_assert_msg(memcmp(blocks[0], blocks[1], sizeof blocks[0]) == 0, "%s", name);
    *(int *)user += blocks[0][0] != 0;
}

/* Slots of dead segments are filled with zeros where nothing was written: not over a header. */
START_TEST(headers_of_the_dead_stay_whole)
{
    enum { SLOT = 1 << 20, SIZE = 600000 };
    struct journal *j = open_at(NULL, SLOT);
    struct stream *s = stream_open(j, "a", 0, NULL);
    char *text = mem_new(SIZE);
    for (uint64_t i = 0; i < 4; i++) {
        struct journal_unit *u = journal_begin(j);
        struct iovec part = {text, SIZE};
        unit_put(u, &s, 1, &part, 1);
        ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
        u = journal_begin(j);
        unit_ack(u, s, i, 1);
        ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    }
    ck_assert_int_eq(checkpoint_write(j, false), 0);
    ck_assert_int_eq(checkpoint_write(j, false), 0);
    ck_assert_uint_eq(j->segment_count, 1);
    while (slot_zero(j)) {
    }
    int used = 0;
    (void)disk_real.list(&disk_real, path, ck_both_headers, &used);
    ck_assert_int_eq(used, 4);
    mem_free(text);
    journal_close(j);
}
END_TEST

START_TEST(a_little_space_is_enough_to_go_on)
{
    static struct sim sim;
    sim_init(&sim, 1);
    sim.space = 12 * 131072;
    struct journal *j = open_at(&sim.disk, 131072);
    struct stream *s = stream_open(j, "a", 0, NULL);
    char text[1000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    uint64_t count = 0;
    while (put_one(j, s, text) == WEIR_OK)
        count++;
    journal_tick(j);
    ck_assert(!journal_has_room(j, 1));
    sim.space += 80000; /* less than a slot */
    journal_tick(j);
    ck_assert(journal_has_room(j, 1));
    uint64_t more = 0;
    while (put_one(j, s, text) == WEIR_OK)
        more++;
    ck_assert_uint_gt(more, 20);
    ck_assert_uint_lt(more, 80);
    journal_close(j);
    j = open_at(&sim.disk, 131072);
    s = stream_find(j, "a");
    ck_assert_uint_eq(stream_live(s), count + more);
    ck_read(s, count + more - 1, text);
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

static void add_size(void *user, const char *name)
{
    char file[600];
    struct stat st;
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    if (strncmp(name, "slot-", 5) == 0 && stat(file, &st) == 0)
        *(uint64_t *)user += (uint64_t)st.st_size;
}

static uint64_t slots_size(void)
{
    uint64_t bytes = 0;
    (void)disk_real.list(&disk_real, path, add_size, &bytes);
    return bytes;
}

/* What a peak took is given back, without traffic as well, and what is left is not the peak's size. */
START_TEST(disk_is_given_back_after_a_peak)
{
    struct clock_fake clock;
    clock_fake_init(&clock, 0);
    struct error e = {0};
    struct journal_options o = {.path = path, .clock = &clock.base, .durability = JOURNAL_OS};
    struct journal *j = journal_open(&o, &e);
    ck_assert_msg(j != NULL, "%s", e.text);
    struct stream *s = stream_open(j, "a", 0, NULL);
    struct iovec part = {mem_new(1 << 20), 1 << 20};
    for (int i = 0; i < 100; i++) {
        struct journal_unit *u = journal_begin(j);
        unit_put(u, &s, 1, &part, 1);
        ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    }
    mem_free(part.iov_base);
    ck_assert_uint_gt(slots_size(), 100 << 20);
    struct journal_unit *u = journal_begin(j);
    unit_ack(u, s, 0, 99);
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    for (int i = 0; i < 200; i++) {
        clock_fake_move(&clock, 1000000000);
        journal_tick(j);
    }
    ck_assert_uint_lt(slots_size(), 64 << 20);
    ck_assert_int_eq(put_one(j, s, "more"), WEIR_OK);
    ck_read(s, 100, "more");
    ck_assert(stream_is_live(s, 99));
    journal_close(j);
    j = open_at(NULL, 0);
    ck_assert_uint_eq(stream_live(stream_find(j, "a")), 2);
    ck_read(stream_find(j, "a"), 100, "more");
    journal_close(j);
}
END_TEST

START_TEST(a_failed_disk_that_works_again_is_used_again)
{
    static struct sim sim;
    struct clock_fake clock;
    clock_fake_init(&clock, 0);
    sim_init(&sim, 4);
    struct journal *j = open_by_clock(&sim.disk, &clock.base);
    struct stream *s = stream_open(j, "a", 0, NULL);
    ck_assert_int_eq(put_one(j, s, "one"), WEIR_OK);
    ck_assert_int_eq(put_one(j, s, "two"), WEIR_OK);
    sim.is_broken = true;
    ck_assert_int_eq(put_one(j, s, "lost"), WEIR_E_FATAL);
    struct journal_unit *u = journal_begin(j);
    unit_ack(u, s, 0, 1); /* nobody asks what became of it, so it is not given up */
    journal_submit(u, JOURNAL_LAZY, NULL, NULL);
    journal_tick(j);
    struct journal_health h;
    journal_health(j, &h);
    ck_assert(h.is_failed && !journal_has_room(j, 1));
    clock_fake_move(&clock, 2000000000);
    journal_tick(j);
    ck_assert(!journal_has_room(j, 1));
    sim.is_broken = false;
    clock_fake_move(&clock, 2000000000);
    journal_tick(j);
    journal_tick(j);
    ck_assert(journal_has_room(j, 1));
    ck_assert_int_eq(put_one(j, s, "three"), WEIR_OK);
    ck_assert_uint_eq(stream_live(s), 2);
    ck_assert_uint_eq(stream_first_live(s), 1);
    sim.is_dead = true;
    journal_close(j);
    sim_power_loss(&sim, SIM_NONE);
    j = open_at(&sim.disk, 32768);
    s = stream_find(j, "a");
    ck_assert_uint_eq(stream_live(s), 2);
    ck_read(s, 1, "two");
    ck_read(s, 2, "three");
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

static weir_status put_chained(struct journal *j, struct stream *s, struct journal_chain *chain,
                               bool is_anew)
{
    struct journal_unit *u = journal_begin(j);
    put(u, s, "link");
    unit_chain(u, chain, is_anew);
    return journal_submit_wait(u);
}

/* None overtakes one that was not stored, though the disk works again; others do not care. */
START_TEST(a_chain_breaks_behind_what_was_not_stored)
{
    static struct sim sim;
    struct journal_chain chain = {0}, other = {0};
    struct clock_fake clock;
    clock_fake_init(&clock, 0);
    sim_init(&sim, 5);
    struct journal *j = open_by_clock(&sim.disk, &clock.base);
    struct stream *s = stream_open(j, "a", 0, NULL);
    ck_assert_int_eq(put_chained(j, s, &chain, false), WEIR_OK);
    sim.is_broken = true;
    ck_assert_int_eq(put_chained(j, s, &chain, false), WEIR_E_FATAL);
    sim.is_broken = false;
    clock_fake_move(&clock, 2000000000);
    journal_tick(j);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(put_chained(j, s, &chain, false), WEIR_E_RETRY);
    ck_assert_int_eq(put_chained(j, s, &other, false), WEIR_OK);
    ck_assert_int_eq(put_chained(j, s, &chain, true), WEIR_OK);
    ck_assert_int_eq(put_chained(j, s, &chain, false), WEIR_OK);
    ck_assert_uint_eq(stream_live(s), 4);
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

START_TEST(every_nth_write_fails_with_no_space)
{
    static struct sim sim;
    for (uint64_t n = 2; n < 40; n++) {
        sim_init(&sim, n);
        struct journal *j = open_at(&sim.disk, 16384);
        struct stream *s = stream_open(j, "a", 0, NULL);
        sim.full_at = n;
        bool is_kept[200];
        uint64_t kept = 0;
        char text[32];
        char texts[200][32];
        for (int i = 0; i < 200; i++) {
            (void)snprintf(text, sizeof text, "message %d", i);
            is_kept[i] = put_one(j, s, text) == WEIR_OK;
            if (is_kept[i])
                memcpy(texts[kept++], text, sizeof text);
        }
        sim.full_at = 0;
        journal_close(j);
        j = open_at(&sim.disk, 16384);
        s = stream_find(j, "a");
        ck_assert(kept == 0 || s != NULL);
        ck_assert(kept == 0 || stream_live(s) >= kept);
        for (uint64_t i = 0; i < kept; i++)
            ck_read(s, i, texts[i]);
        journal_close(j);
        sim_fini(&sim);
    }
}
END_TEST

START_TEST(failed_syncs_move_on_and_then_give_up)
{
    static struct sim sim;
    sim_init(&sim, 3);
    struct journal *j = open_at(&sim.disk, 32768);
    struct stream *s = stream_open(j, "a", 0, NULL);
    ck_assert_int_eq(put_one(j, s, "one"), WEIR_OK);
    sim.fail_sync_at = sim.syncs + 1;
    ck_assert_int_eq(put_one(j, s, "two"), WEIR_OK);
    struct journal_health h;
    journal_health(j, &h);
    ck_assert_uint_eq(h.sync_failures, 1);
    ck_assert(!h.is_failed);
    ck_read(s, 0, "one");
    ck_read(s, 1, "two");
    sim_power_loss(&sim, SIM_NONE);
    struct journal *again = open_at(&sim.disk, 32768);
    ck_read(stream_find(again, "a"), 0, "one");
    ck_read(stream_find(again, "a"), 1, "two");
    sim.is_dead = true;
    ck_assert_int_eq(put_one(again, stream_find(again, "a"), "three"), WEIR_E_RETRY);
    journal_close(again);
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

/* ---- damage ---- */

enum { DAMAGE_RECORDS = 300, DAMAGE_BYTES = 120 };

static void damage_text(uint64_t sequence, char *text)
{
    memset(text, 0, DAMAGE_BYTES);
    (void)snprintf(text, DAMAGE_BYTES, "%0*llu", DAMAGE_BYTES - 2, (unsigned long long)sequence);
}

static uint64_t count_right(struct stream *s)
{
    struct reader *r = reader_new(s, 0);
    weir_str got;
    uint64_t sequence, right = 0;
    char text[DAMAGE_BYTES];
    while (reader_next(r, &got, &sequence) == WEIR_OK) {
        damage_text(sequence, text);
        ck_assert_msg(weir_same(got, text), "another record's bytes under number %llu",
                      (unsigned long long)sequence);
        right++;
    }
    reader_free(r);
    return right;
}

/* 300 records in 60 groups, half of them acknowledged, some segments packed. */
static void damage_prepare(struct sim *sim, bool is_closed)
{
    struct journal *j = open_at(&sim->disk, 16384);
    struct stream *s = stream_open(j, "a", 0, NULL);
    char text[DAMAGE_BYTES];
    for (uint64_t i = 0; i < DAMAGE_RECORDS;) {
        struct journal_unit *u = journal_begin(j);
        for (int n = 0; n < 5; n++) {
            damage_text(i++, text);
            put(u, s, text);
        }
        if (i > 50)
            unit_ack(u, s, i - 50, 3);
        ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
        journal_tick(j);
    }
    if (is_closed) {
        journal_close(j);
        return;
    }
    sim->is_dead = true;
    journal_close(j);
    sim_process_death(sim);
}

struct place_of {
    uint32_t slot, from, to; /* of a live record; to 0: not live */
};

/* Where each record lies, and how far the last group reaches back. */
static void find_places(struct journal *j, struct place_of *places)
{
    struct stream *s = stream_find(j, "a");
    memset(places, 0, DAMAGE_RECORDS * sizeof *places);
    for (uint32_t i = 0; i < s->run_count; i++) {
        struct run *r = s->runs[i];
        ck_assert_int_eq(segment_load(j, r->segment), 0);
        for (uint32_t n = 0; n < r->count; n++)
            if (run_is_live(r, n))
                places[r->first + n] =
                    (struct place_of){r->segment->slot->index, r->offsets[n],
                                      r->offsets[n] + 40 + (DAMAGE_BYTES - 1 + 7) / 8 * 8};
    }
}

/* Every live record outside the damaged sector is there, and those that are not were counted. In the
 * last group of a journal that was killed, or there and in the one before, damage looks like a torn
 * end. */
static void check_damaged(struct sim *copy, const struct place_of *places, int slot, uint64_t at,
                          bool is_closed)
{
    struct journal *j = open_at(&copy->disk, 16384);
    struct stream *s = stream_find(j, "a");
    ck_assert_ptr_nonnull(s);
    uint64_t right = count_right(s), missing = 0, torn = 0;
    for (uint64_t q = 0; q < DAMAGE_RECORDS; q++) {
        struct buf out = {0};
        const struct place_of *p = &places[q];
        bool is_there = p->to && stream_read(s, q, &out) == WEIR_OK;
        bool is_hit = (int)p->slot == slot && p->from < at + SIM_SECTOR && p->to > at;
        bool is_last = !is_closed && q >= DAMAGE_RECORDS - 10 && slot == (int)p->slot;
        ck_assert_msg(!p->to || is_there || is_hit || is_last, "record %llu, sector %llu of %d",
                      (unsigned long long)q, (unsigned long long)at, slot);
        missing += p->to && !is_there && !is_last;
        torn += p->to && !is_there && is_last;
        buf_fini(&out);
    }
    struct journal_health h;
    journal_health(j, &h);
    ck_assert_msg(h.lost_records >= missing, "%llu lost, %llu told", (unsigned long long)missing,
                  (unsigned long long)h.lost_records);
    ck_assert(missing == 0 || right > 0);
    ck_assert(torn <= 10);
    journal_close(j);
}

START_TEST(a_damaged_sector_costs_only_its_records)
{
    static struct sim sim, copy;
    static struct place_of places[DAMAGE_RECORDS];
    sim_init(&sim, 5);
    damage_prepare(&sim, _i);
    sim_copy(&copy, &sim);
    struct journal *j = open_at(&copy.disk, 16384);
    find_places(j, places);
    journal_close(j);
    sim_fini(&copy);
    const char *more = getenv("WEIR_FUZZ_ROUNDS");
    uint64_t rounds = more ? strtoull(more, NULL, 10) : 300, random = 99;
    for (uint64_t i = 0; i < rounds; i++) {
        sim_copy(&copy, &sim);
        struct sim_file *f = &copy.files[sim_below(&random, SIM_FILES)];
        uint64_t at = f->size ? sim_random(&random) % f->size / SIM_SECTOR * SIM_SECTOR : 0;
        for (int k = 0; f->size && k < SIM_SECTOR; k++)
            f->now[at + (uint64_t)k] ^= (char)(1 + sim_below(&random, 255));
        const char *number = f->name ? strstr(f->name, "slot-") : NULL;
        int slot = number ? (int)strtol(number + 5, NULL, 10) : -1;
        check_damaged(&copy, places, slot, at, _i);
        sim_fini(&copy);
    }
    sim_fini(&sim);
}
END_TEST

/* Both copies of a segment's header: its records are found by what the checkpoint knows of it. */
START_TEST(lost_headers_cost_nothing)
{
    static struct sim sim, copy;
    sim_init(&sim, 8);
    damage_prepare(&sim, true);
    int tried = 0;
    for (int i = 0; i < SIM_FILES; i++) {
        if (!sim.files[i].name || !strstr(sim.files[i].name, "slot-"))
            continue;
        sim_copy(&copy, &sim);
        struct sim_file *f = &copy.files[i];
        memset(f->now, 0xEE, 64);
        memset(f->now + f->size - FORMAT_HEADER_BYTES, 0xEE, 64);
        for (int again = 0; again < 2; again++) {
            struct journal *j = open_at(&copy.disk, 16384);
            struct stream *s = stream_find(j, "a");
            uint64_t live = stream_live(s);
            ck_assert_uint_eq(count_right(s), live);
            ck_assert_uint_ge(live, 100);
            journal_close(j);
        }
        tried++;
        sim_fini(&copy);
    }
    ck_assert_int_gt(tried, 2);
    sim_fini(&sim);
}
END_TEST

static struct sim_file *newest_check(struct sim *sim)
{
    struct sim_file *best = NULL;
    uint64_t number = 0;
    for (int i = 0; i < SIM_FILES; i++) {
        struct sim_file *f = &sim->files[i];
        struct check_header *h = (struct check_header *)(void *)f->now;
        if (f->name && f->size && strstr(f->name, "check-") && check_header_check(h) &&
            h->number > number) {
            number = h->number;
            best = f;
        }
    }
    ck_assert_ptr_nonnull(best);
    return best;
}

static bool has_check(struct sim *sim)
{
    for (int i = 0; i < SIM_FILES; i++)
        if (sim->files[i].name && sim->files[i].size && strstr(sim->files[i].name, "check-") &&
            check_header_check((struct check_header *)(void *)sim->files[i].now))
            return true;
    return false;
}

/* Well sealed and wrong: every word of the body in turn is absurd, such as the count of a run. */
START_TEST(absurd_checkpoints_are_not_believed)
{
    static struct sim sim, copy;
    static const uint32_t absurd[] = {UINT32_MAX, 0x7FFFFFFF, 0x10000000, 0};
    sim_init(&sim, 9);
    damage_prepare(&sim, true);
    struct check_header head;
    memcpy(&head, newest_check(&sim)->now, sizeof head);
    for (uint64_t at = 0; at + 4 <= head.bytes; at += 4) {
        for (int k = 0; k < 4; k++) {
            sim_copy(&copy, &sim);
            struct sim_file *f = newest_check(&copy);
            struct check_header *h = (struct check_header *)(void *)f->now;
            memcpy(f->now + sizeof *h + at, &absurd[k], sizeof absurd[k]);
            h->body_crc = hash_crc32c(0, f->now + sizeof *h, h->bytes);
            check_header_seal(h);
            struct journal *j = open_at(&copy.disk, 16384);
            struct stream *s = stream_find(j, "a");
            if (s)
                (void)count_right(s); /* no wrong bytes under a number */
            journal_close(j);
            sim_fini(&copy);
        }
    }
    sim_fini(&sim);
}
END_TEST

/* Two to six sectors at once, the newest checkpoint or both often among them: whatever is read is
 * what was written under its number, and what was written afterwards stays. */
START_TEST(many_damaged_sectors_forge_nothing)
{
    static struct sim sim, copy;
    sim_init(&sim, 11 + (uint64_t)_i);
    damage_prepare(&sim, _i);
    const char *more = getenv("WEIR_FUZZ_ROUNDS");
    uint64_t rounds = more ? strtoull(more, NULL, 10) : 300, random = 77;
    for (uint64_t i = 0; i < rounds; i++) {
        sim_copy(&copy, &sim);
        uint32_t sectors = 2 + sim_below(&random, 5);
        for (uint32_t n = 0; n < sectors; n++) {
            struct sim_file *f = &copy.files[sim_below(&random, SIM_FILES)];
            if (n < 2 && sim_below(&random, 2) && has_check(&copy))
                f = newest_check(&copy);
            uint64_t at = f->size ? sim_random(&random) % f->size / SIM_SECTOR * SIM_SECTOR : 0;
            at = n < 2 && f->name && strstr(f->name, "check-") ? 0 : at;
            for (int k = 0; f->size && k < SIM_SECTOR; k++)
                f->now[at + (uint64_t)k] ^= (char)(1 + sim_below(&random, 255));
        }
        struct journal *j = open_at(&copy.disk, 16384);
        struct stream *s = stream_open(j, "a", 0, NULL);
        (void)count_right(s);
        uint64_t next = stream_next(s);
        char text[DAMAGE_BYTES];
        damage_text(next, text);
        ck_assert_int_eq(put_one(j, s, text), WEIR_OK);
        uint64_t before = count_right(s);
        copy.is_dead = true;
        journal_close(j);
        sim_process_death(&copy);
        j = open_at(&copy.disk, 16384);
        s = stream_find(j, "a");
        ck_assert_uint_ge(count_right(s), before);
        ck_assert(stream_is_live(s, next));
        journal_close(j);
        sim_fini(&copy);
    }
    sim_fini(&sim);
}
END_TEST

START_TEST(a_checkpoint_of_another_version_is_refused)
{
    static struct sim sim;
    sim_init(&sim, 10);
    damage_prepare(&sim, true);
    struct check_header *h = (struct check_header *)(void *)newest_check(&sim)->now;
    h->major = FORMAT_MAJOR + 1;
    check_header_seal(h);
    struct error e = {0};
    struct journal_options o = {.path = "/j", .slot_bytes = 16384, .disk = &sim.disk};
    ck_assert_ptr_null(journal_open(&o, &e));
    ck_assert_int_eq(e.code, EXIT_CONFIG);
    ck_assert_ptr_nonnull(strstr(e.text, "use the version that wrote it"));
    sim_fini(&sim);
}
END_TEST

START_TEST(both_checkpoints_destroyed_loses_nothing)
{
    static struct sim sim;
    sim_init(&sim, 6);
    damage_prepare(&sim, _i);
    struct journal *j = open_at(&sim.disk, 16384);
    uint64_t live = stream_live(stream_find(j, "a"));
    struct journal_health h;
    journal_health(j, &h);
    journal_close(j);
    int destroyed = 0;
    for (int i = 0; i < SIM_FILES; i++) {
        if (!sim.files[i].name || !strstr(sim.files[i].name, "check-"))
            continue;
        memset(sim.files[i].now, 0xEE, 64);
        destroyed++;
    }
    ck_assert_int_eq(destroyed, 2);
    j = open_at(&sim.disk, 16384);
    ck_assert_uint_ge(count_right(stream_find(j, "a")), live);
    ck_assert_int_eq(put_one(j, stream_find(j, "a"), "x"), WEIR_OK);
    journal_close(j);
    sim_fini(&sim);
}
END_TEST

START_TEST(another_major_version_is_refused_and_left_alone)
{
    static struct sim sim;
    sim_init(&sim, 7);
    damage_prepare(&sim, true);
    struct sim_file *slot = NULL;
    struct segment_header *h = NULL;
    for (int i = 0; i < SIM_FILES && !slot; i++) {
        h = (struct segment_header *)(void *)sim.files[i].now;
        if (h && sim.files[i].size >= sizeof *h && segment_header_check(h))
            slot = &sim.files[i];
    }
    ck_assert_ptr_nonnull(slot);
    h->major = FORMAT_MAJOR + 1;
    segment_header_seal(h);
    char *before = mem_copy(slot->now, slot->size);
    struct error e = {0};
    struct journal_options o = {.path = "/j", .slot_bytes = 16384, .disk = &sim.disk};
    ck_assert_ptr_null(journal_open(&o, &e));
    ck_assert_int_eq(e.code, EXIT_CONFIG);
    ck_assert_mem_eq(slot->now, before, slot->size);
    h->major = FORMAT_MAJOR;
    segment_header_seal(h);
    struct journal *j = open_at(&sim.disk, 16384);
    ck_assert_uint_gt(count_right(stream_find(j, "a")), 0);
    journal_close(j);
    mem_free(before);
    sim_fini(&sim);
}
END_TEST

/* ---- threads ---- */

enum { SUBMITTERS = 4, EACH = 2000 };
static _Atomic uint64_t answered, heard;

static void on_done(void *user, weir_status status, const struct journal_unit *u)
{
    uint64_t *last = user;
    uint64_t sequence = unit_sequence(u, 0, 0);
    ck_assert_int_eq(status, WEIR_OK);
    ck_assert(*last == UINT64_MAX || sequence > *last); /* in the order of submission */
    *last = sequence;
    atomic_fetch_add(&answered, 1);
}

static void on_put(void *user)
{
    atomic_fetch_add(&heard, 1);
}

static void *submitter(void *user)
{
    struct journal *j = user;
    static _Thread_local uint64_t last;
    last = UINT64_MAX;
    struct stream *s = stream_open(j, "shared", 0, NULL);
    uint32_t sum = journal_counter(j, "sum");
    for (int i = 0; i < EACH; i++) {
        struct journal_unit *u = journal_begin(j);
        put(u, s, "some text that is written by several threads");
        unit_count(u, sum, 1);
        if (i % 100 == 99)
            ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
        else
            journal_submit(u, i % 3 == 0 ? JOURNAL_WRITTEN : JOURNAL_SYNCED, NULL, NULL);
    }
    for (int i = 0; i < 50; i++) {
        struct journal_unit *u = journal_begin(j);
        put(u, s, "in order");
        journal_submit(u, JOURNAL_SYNCED, on_done, &last);
    }
    struct journal_unit *end = journal_begin(j);
    ck_assert_int_eq(journal_submit_wait(end), WEIR_OK); /* all before are answered */
    return NULL;
}

static void *consumer(void *user)
{
    struct journal *j = user;
    struct stream *s = stream_open(j, "shared", 0, NULL);
    struct reader *r = reader_new(s, 0);
    uint64_t expected = 0, total = SUBMITTERS * (EACH + 50ULL);
    while (expected < total) {
        weir_str text;
        uint64_t sequence;
        weir_status status = reader_next(r, &text, &sequence);
        if (status == WEIR_IDLE) {
            struct journal_unit *u = journal_begin(j);
            (void)journal_submit_wait(u);
            continue;
        }
        ck_assert_int_eq(status, WEIR_OK);
        ck_assert_uint_eq(sequence, expected);
        expected++;
        if (expected % 64 == 0) {
            struct journal_unit *u = journal_begin(j);
            unit_ack(u, s, expected - 64, 64);
            journal_submit(u, JOURNAL_LAZY, NULL, NULL);
        }
    }
    reader_free(r);
    return NULL;
}

START_TEST(threads_submit_and_read)
{
    struct journal *j = open_at(NULL, 65536);
    struct error e = {0};
    ck_assert_int_eq(journal_start_thread(j, &e), 0);
    stream_listen(stream_open(j, "shared", 0, NULL), on_put, NULL);
    pthread_t threads[SUBMITTERS + 1];
    for (int i = 0; i < SUBMITTERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, submitter, j), 0);
    ck_assert_int_eq(pthread_create(&threads[SUBMITTERS], NULL, consumer, j), 0);
    for (int i = 0; i <= SUBMITTERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&answered), SUBMITTERS * 50);
    ck_assert_uint_gt(atomic_load(&heard), 0);
    journal_close(j);
    j = open_at(NULL, 65536);
    ck_assert_int_eq(journal_counter_value(j, journal_counter(j, "sum")), SUBMITTERS * EACH);
    ck_assert_uint_eq(stream_next(stream_find(j, "shared")), SUBMITTERS * (EACH + 50ULL));
    ck_assert_uint_eq(stream_live(stream_find(j, "shared")), SUBMITTERS * (EACH + 50ULL) % 64);
    journal_close(j);
}
END_TEST

START_TEST(idle_journals_wake_for_lazy_units)
{
    struct journal *j = open_at(NULL, 0);
    struct error e = {0};
    ck_assert_int_eq(journal_start_thread(j, &e), 0);
    uint64_t last = UINT64_MAX;
    atomic_store(&answered, 0);
    struct journal_unit *u = journal_begin(j);
    put(u, stream_open(j, "a", 0, NULL), "lazy");
    journal_submit(u, JOURNAL_LAZY, on_done, &last);
    while (atomic_load(&answered) == 0)
        (void)sched_yield();
    journal_close(j);
}
END_TEST

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    Suite *s = suite_create("journal");
    TCase *t = tcase_create("journal");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_put_is_read_and_stays);
    tcase_add_test(t, second_opener_is_told_who);
    tcase_add_test(t, large_records_get_a_slot_of_their_size);
    tcase_add_test(t, acks_go_on_when_the_disk_is_full_and_it_heals);
    tcase_add_test(t, a_disk_that_is_nearly_full_is_told_once);
    tcase_add_test(t, nothing_alive_is_not_full);
    tcase_add_test(t, headers_of_the_dead_stay_whole);
    tcase_add_test(t, a_little_space_is_enough_to_go_on);
    tcase_add_test(t, disk_is_given_back_after_a_peak);
    tcase_add_test(t, a_failed_disk_that_works_again_is_used_again);
    tcase_add_test(t, a_chain_breaks_behind_what_was_not_stored);
    tcase_add_test(t, every_nth_write_fails_with_no_space);
    tcase_add_test(t, failed_syncs_move_on_and_then_give_up);
    tcase_add_loop_test(t, a_damaged_sector_costs_only_its_records, 0, 2);
    tcase_add_test(t, lost_headers_cost_nothing);
    tcase_add_loop_test(t, many_damaged_sectors_forge_nothing, 0, 2);
    tcase_add_test(t, absurd_checkpoints_are_not_believed);
    tcase_add_test(t, a_checkpoint_of_another_version_is_refused);
    tcase_add_loop_test(t, both_checkpoints_destroyed_loses_nothing, 0, 2);
    tcase_add_test(t, another_major_version_is_refused_and_left_alone);
    tcase_add_test(t, threads_submit_and_read);
    tcase_add_test(t, idle_journals_wake_for_lazy_units);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
