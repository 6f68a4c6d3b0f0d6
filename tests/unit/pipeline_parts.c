/* unit/pipeline_parts.c: payloads and their budget, blocks, slots and joins, events as bytes, trace
 * files: what needs no running pipeline. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "pipeline/codec.h"
#include "pipeline/lane.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"
#include "pipeline/worker.h"

static struct worker worker; /* has but pools */

static void set_up(void)
{
    worker = (struct worker){0};
    worker_enter(&worker);
}

static void tear_down(void)
{
    block_pool_trim(&worker.blocks);
    worker_enter(NULL);
}

/* ---- payloads ---- */

static void count_release(void *arg)
{
    ++*(int *)arg;
}

START_TEST(payload_lives_as_long_as_its_last_part)
{
    struct budget b = {.limit_bytes = 4096};
    char *data = NULL;
    weir_payload *p = payload_new(&b, 10, &data);
    memcpy(data, "0123456789", 10);
    for (size_t i = 0; i < PAYLOAD_PADDING; i++)
        ck_assert_int_eq(p->ptr[10 + i], 0);
    weir_payload *part = payload_slice(p, 3, 4), *part_of_part = payload_slice(part, 1, 100);
    weir_payload *beyond = payload_slice(p, 99, 1);
    payload_unref(p);
    ck_assert_uint_eq(part->len, 4);
    ck_assert_mem_eq(part->ptr, "3456", 4);
    payload_unref(part);
    ck_assert_uint_eq(part_of_part->len, 3);
    ck_assert_mem_eq(part_of_part->ptr, "456", 3);
    ck_assert_uint_eq(beyond->len, 0);
    payload_unref(part_of_part);
    ck_assert_uint_gt(b.used_bytes, 0);
    payload_unref(beyond);
    ck_assert_uint_eq(b.used_bytes, 0);
    ck_assert_uint_gt(b.peak_bytes, 10);
}
END_TEST

START_TEST(payload_wraps_and_releases_once)
{
    struct budget b = {.limit_bytes = 4096};
    int released = 0;
    weir_payload *p = payload_wrap(&b, weir_text("borrowed"), count_release, &released);
    weir_payload *part = payload_slice(p, 0, 3);
    payload_unref(p);
    ck_assert_int_eq(released, 0);
    payload_unref(part);
    ck_assert_int_eq(released, 1);
    ck_assert_uint_eq(b.used_bytes, 0);
    ck_assert_ptr_null(payload_wrap(&b, (weir_str){"", 5000}, count_release, &released));
    ck_assert_int_eq(released, 1);
}
END_TEST

START_TEST(budget_refuses)
{
    struct budget b = {.limit_bytes = 10000};
    char *data = NULL;
    ck_assert_ptr_null(payload_new(&b, 10001, &data));
    ck_assert_ptr_null(payload_new(&b, SIZE_MAX - 8, &data));
    weir_payload *p = payload_new(&b, 5000, &data);
    ck_assert(budget_has_room(&b, 4000));
    weir_payload *q = payload_new(&b, 3000, &data);
    ck_assert(!budget_has_room(&b, 2000));
    ck_assert_ptr_null(payload_new(&b, 3000, &data));
    ck_assert_uint_ge(b.refused, 1);
    payload_unref(p);
    p = payload_copy(&b, "abc", 3);
    ck_assert_mem_eq(p->ptr, "abc", 4);
    payload_unref(p);
    payload_unref(q);
    ck_assert_uint_eq(b.used_bytes, 0);
}
END_TEST

/* ---- blocks ---- */

START_TEST(copies_hold_what_they_share)
{
    struct budget b = {.limit_bytes = 1 << 20};
    struct block *first = block_new(&worker);
    struct event *ev = event_new(first, payload_copy(&b, "body", 4));
    ev->pub.source = block_text(first, weir_text("here"));
    struct block *second = block_new(&worker);
    struct event *copy = event_copy(second, ev), *own = event_own(second, ev);
    for (uint32_t i = 0; i < 100; i++) {
        event_add_port(copy, i % 50);
        ck_assert_uint_eq(copy->ports[i % 50], i % 50);
    }
    ck_assert_uint_eq(copy->port_count, 50);
    block_unref(first);
    ck_assert(weir_same(copy->pub.source, "here"));
    ck_assert_ptr_eq(copy->pub.source.ptr, ev->pub.source.ptr);
    ck_assert_ptr_ne(own->pub.source.ptr, ev->pub.source.ptr);
    ck_assert_ptr_eq(copy->pub.body, own->pub.body);
    block_unref(second);
    ck_assert_uint_eq(b.used_bytes, 0);
}
END_TEST

START_TEST(blocks_grow)
{
    struct block *b = block_new(&worker);
    for (size_t n = 1; n < 3 << 20; n = n * 3 + 1) {
        char *at = block_take(b, n);
        ck_assert_uint_eq((uintptr_t)at % 16, 0);
        memset(at, 0x5a, n);
    }
    block_unref(b);
    b = block_new(&worker);
    memset(block_take(b, 100), 1, 100);
    block_unref(b);
}
END_TEST

/* ---- slots ---- */

static int ended;
static uint32_t ended_flags;

static void note_end(struct slot *s)
{
    ended++;
    ended_flags = s->flags;
}

START_TEST(slot_ends_with_its_last_branch)
{
    static const struct {
        uint32_t flags[3];
        weir_outcome outcome;
    } cases[] = {
        {{SLOT_DELIVERED, SLOT_FILTERED, 0}, WEIR_DELIVERED},
        {{SLOT_FILTERED, 0, SLOT_FILTERED}, WEIR_FILTERED},
        {{SLOT_DELIVERED, SLOT_DURABLE, SLOT_FILTERED}, WEIR_DURABLE},
        {{SLOT_FAILED, SLOT_DELIVERED, SLOT_DURABLE}, WEIR_FAILED},
        {{SLOT_DELIVERED, SLOT_DELIVERED, SLOT_DEAD_LETTERED}, WEIR_FAILED},
        {{0, 0, 0}, WEIR_FILTERED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slot s;
        ended = 0;
        slot_init(&s, note_end, NULL);
        slot_ref(&s, 2);
        for (size_t k = 0; k < 3; k++) {
            ck_assert_int_eq(ended, 0);
            slot_release(&s, cases[i].flags[k]);
        }
        ck_assert_int_eq(ended, 1);
        ck_assert_int_eq((int)slot_outcome(&s), (int)cases[i].outcome);
        slot_fini(&s);
    }
    slot_ref(NULL, 1);
    slot_release(NULL, 0);
    slot_fail(NULL, WEIR_E_REJECT, "", "", false);
}
END_TEST

START_TEST(slot_keeps_the_first_failure)
{
    struct slot s;
    slot_init(&s, note_end, NULL);
    slot_ref(&s, 1);
    slot_fail(&s, WEIR_E_REJECT, "first", "because", true);
    slot_fail(&s, WEIR_E_RETRY, "second", NULL, false);
    const struct slot_failure *f = s.failure;
    ck_assert_str_eq(f->stage, "first");
    ck_assert_str_eq(f->why, "because");
    ck_assert_int_eq((int)f->error, (int)WEIR_E_REJECT);
    ck_assert_uint_eq(s.flags, SLOT_FAILED | SLOT_DEAD_LETTERED);
    slot_fini(&s);
}
END_TEST

START_TEST(join_stands_for_all)
{
    struct slot parents[3], *list[4] = {&parents[0], NULL, &parents[1], &parents[2]};
    for (size_t i = 0; i < 3; i++)
        slot_init(&parents[i], note_end, NULL);
    parents[1].wants_durable = true;
    struct budget budget = {.limit_bytes = 1 << 20};
    struct slot *join = slot_join(list, 4, &budget);
    ck_assert_uint_gt(budget_used(&budget), 0);
    ck_assert(join->wants_durable);
    slot_ref(join, 1);
    ended = 0;
    for (size_t i = 0; i < 3; i++)
        slot_release(&parents[i], 0); /* the batch that they were in */
    slot_release(join, SLOT_DELIVERED);
    ck_assert_int_eq(ended, 0);
    slot_fail(join, WEIR_E_REJECT, "there", "so", true);
    ck_assert_int_eq(ended, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct slot_failure *f = parents[i].failure;
        ck_assert_int_eq((int)slot_outcome(&parents[i]), (int)WEIR_FAILED);
        ck_assert_uint_eq(parents[i].flags & SLOT_FAILED, 0);
        ck_assert_str_eq(f->why, "so");
        slot_fini(&parents[i]);
    }
    ck_assert_uint_eq(budget_used(&budget), 0);
}
END_TEST

START_TEST(join_of_joins)
{
    struct slot parent, *list[1] = {&parent};
    slot_init(&parent, note_end, NULL);
    struct budget budget = {.limit_bytes = 1 << 20};
    struct slot *inner = slot_join(list, 1, &budget), *outer = slot_join(&inner, 1, &budget);
    ended = 0;
    slot_release(&parent, 0);
    slot_release(inner, 0);
    ck_assert_int_eq(ended, 0);
    slot_release(outer, SLOT_DURABLE);
    ck_assert_int_eq(ended, 1);
    ck_assert_uint_eq(ended_flags, SLOT_DURABLE);
    slot_fini(&parent);
}
END_TEST

enum { THREADS = 4, SLOTS = 20000 };
static struct slot many[SLOTS];
static _Atomic int many_ended, many_wrong;

static void many_end(struct slot *s)
{
    atomic_fetch_add(&many_ended, 1);
    if (slot_outcome(s) != WEIR_FAILED)
        atomic_fetch_add(&many_wrong, 1);
}

static void *release_all(void *arg)
{
    uint32_t flag = *(const uint32_t *)arg;
    for (size_t i = 0; i < SLOTS; i++)
        slot_release(&many[i], flag);
    return NULL;
}

/* One branch failed: however the threads meet, nobody is told otherwise. */
START_TEST(slots_across_threads)
{
    static const uint32_t flags[THREADS] = {SLOT_DELIVERED, SLOT_FAILED, SLOT_FILTERED,
                                            SLOT_DURABLE};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < SLOTS; i++) {
        slot_init(&many[i], many_end, NULL);
        slot_ref(&many[i], THREADS - 1);
    }
    many_ended = many_wrong = 0;
    for (size_t i = 0; i < THREADS; i++) {
        union {
            const uint32_t *in;
            void *out;
        } same = {&flags[i]};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, release_all, same.out), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    ck_assert_int_eq(many_ended, SLOTS);
    ck_assert_int_eq(many_wrong, 0);
}
END_TEST

/* ---- events as bytes ---- */

static weir_str written(const weir_event *ev, struct buf *out)
{
    out->len = 0;
    codec_write(ev, out);
    struct iovec body = codec_body(ev);
    buf_add(out, body.iov_base, body.iov_len);
    return buf_str(out);
}

static struct event *sample(struct block *b, struct budget *budget)
{
    struct event *ev = event_new(b, payload_copy(budget, "{\"a\":1}", 7));
    static const weir_attr attrs[] = {{{"k", 1}, {"v", 1}}, {{"empty", 5}, {"", 0}}};
    payload_set_json(ev->pub.body);
    ev->pub.time_ns = INT64_C(1735689600123456789);
    ev->pub.source = weir_text("source");
    ev->pub.type = weir_text("Type \xc3\xa4");
    ev->pub.key = (weir_str){"\0k", 2};
    ev->pub.attrs = (weir_pairs){2, attrs};
    memset(&ev->pub.id, 0x11, sizeof ev->pub.id);
    memset(&ev->pub.trace, 0x22, sizeof ev->pub.trace);
    return ev;
}

START_TEST(codec_round_trip)
{
    struct budget budget = {.limit_bytes = 1 << 20};
    struct block *b = block_new(&worker);
    struct event *ev = sample(b, &budget);
    struct buf bytes = {0}, again = {0};
    weir_status s;
    weir_str text = written(&ev->pub, &bytes);
    struct event *back = codec_read(text, b, &budget, &s);
    ck_assert_int_eq((int)s, (int)WEIR_OK);
    ck_assert_mem_eq(&back->pub.id, &ev->pub.id, sizeof(weir_id));
    ck_assert_mem_eq(&back->pub.trace, &ev->pub.trace, sizeof(weir_trace));
    ck_assert_int_eq(back->pub.time_ns, ev->pub.time_ns);
    ck_assert(weir_same(back->pub.type, "Type \xc3\xa4"));
    ck_assert_uint_eq(back->pub.key.len, 2);
    ck_assert_uint_eq(back->pub.attrs.count, 2);
    ck_assert(weir_same(back->pub.attrs.items[0].value, "v"));
    ck_assert_uint_eq(back->pub.attrs.items[1].value.len, 0);
    ck_assert(payload_is_json(back->pub.body));
    weir_str twice = written(&back->pub, &again);
    ck_assert_uint_eq(twice.len, text.len);
    ck_assert_mem_eq(twice.ptr, text.ptr, text.len);
    buf_fini(&bytes);
    buf_fini(&again);
    block_unref(b);
    ck_assert_uint_eq(budget.used_bytes, 0);
}
END_TEST

/* Cut at every byte, and every byte set to what is large: REJECT or an event, never more. */
START_TEST(codec_hostile_bytes)
{
    struct budget budget = {.limit_bytes = 1 << 20};
    struct block *b = block_new(&worker);
    struct event *ev = sample(b, &budget);
    struct buf bytes = {0};
    weir_status s;
    weir_str text = written(&ev->pub, &bytes);
    size_t body_at = text.len - 7;
    for (size_t n = 0; n < text.len; n++) {
        char *cut = mem_copy(text.ptr, n); /* the sanitizer sees its end */
        struct event *back = codec_read((weir_str){cut, n}, b, &budget, &s);
        ck_assert_int_eq(back != NULL, n >= body_at);
        ck_assert_int_eq((int)s, (int)(back ? WEIR_OK : WEIR_E_REJECT));
        mem_free(cut);
    }
    for (size_t n = 0; n < text.len; n++)
        for (int set = 0; set < 256; set += 85) {
            char *bad = mem_copy(text.ptr, text.len);
            bad[n] = (char)set;
            struct event *back = codec_read((weir_str){bad, text.len}, b, &budget, &s);
            ck_assert_int_eq((int)s, (int)(back ? WEIR_OK : WEIR_E_REJECT));
            mem_free(bad);
        }
    struct budget none = {.limit_bytes = 10};
    ck_assert_ptr_null(codec_read(text, b, &none, &s));
    ck_assert_int_eq((int)s, (int)WEIR_E_RETRY);
    buf_fini(&bytes);
    block_unref(b);
}
END_TEST

/* ---- trace ---- */

static char folder[256];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

static void make_folder(void)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): one thread here */
    (void)snprintf(folder, sizeof folder, "%s/weir-trace.XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static struct found {
    int count;
    enum trace_kind kinds[8];
    char detail[600];
} found;

static void note_hop(void *user, const struct trace_hop *hop)
{
    ck_assert(weir_same(hop->stage, "a_stage"));
    if (found.count < 8)
        found.kinds[found.count] = hop->kind;
    found.count++;
    (void)snprintf(found.detail, sizeof found.detail, "%.*s", (int)hop->detail.len,
                   hop->detail.ptr);
}

static int find(uint8_t id)
{
    weir_id wanted;
    struct error e = {0};
    memset(&wanted, id, sizeof wanted);
    found.count = 0;
    ck_assert_int_eq(trace_find(folder, &wanted, note_hop, NULL, &e), 0);
    return found.count;
}

static void add(struct worker *w, uint8_t id, enum trace_kind kind, const char *detail)
{
    static const struct stage stage = {.name = "a_stage"};
    struct event ev = {0};
    memset(&ev.pub.id, id, sizeof ev.pub.id);
    trace_add(w, &stage, &ev, kind, detail);
}

static size_t files(uint64_t *bytes)
{
    size_t n = 0;
    struct stat st;
    DIR *d = opendir(folder);
    *bytes = 0;
    for (const struct dirent *f; (f = readdir(d));) /* NOLINT(concurrency-mt-unsafe) */
        if (f->d_name[0] != '.' && fstatat(dirfd(d), f->d_name, &st, 0) == 0) {
            n++;
            *bytes += (uint64_t)st.st_size;
        }
    (void)closedir(d);
    return n;
}

START_TEST(trace_round_trip)
{
    struct clock_fake clock;
    struct error e = {0};
    char long_detail[2000];
    make_folder();
    clock_fake_init(&clock, INT64_C(1735689600000000000));
    struct pipeline p = {.clock = &clock.base};
    worker.pipeline = &p;
    add(&worker, 1, TRACE_ACCEPTED, NULL);
    ck_assert_uint_eq(worker.trace.len, 0); /* no trace is kept */
    p.trace = trace_open(folder, 1 << 20, &e);
    ck_assert_ptr_nonnull(p.trace);
    add(&worker, 1, TRACE_ACCEPTED, NULL);
    add(&worker, 2, TRACE_ACCEPTED, NULL);
    worker.now_wall_ns = 0;
    clock_fake_move(&clock, 1000);
    add(&worker, 1, TRACE_PASSED, "");
    worker.now_wall_ns = 0;
    clock_fake_move(&clock, 1000);
    memset(long_detail, 'x', sizeof long_detail - 1);
    long_detail[sizeof long_detail - 1] = 0;
    add(&worker, 1, TRACE_DELIVERED, long_detail);
    trace_flush(p.trace, &worker.trace);
    ck_assert_uint_eq(worker.trace.len, 0);
    ck_assert_int_eq(find(1), 3);
    ck_assert_int_eq((int)found.kinds[0], (int)TRACE_ACCEPTED);
    ck_assert_int_eq((int)found.kinds[2], (int)TRACE_DELIVERED);
    ck_assert_uint_eq(strlen(found.detail), 500);
    ck_assert_int_eq(find(2), 1);
    ck_assert_int_eq(find(3), 0);
    trace_close(p.trace);
    p.trace = trace_open(folder, 1 << 20, &e); /* a later run finds them too */
    ck_assert_int_eq(find(1), 3);
    trace_close(p.trace);
    buf_fini(&worker.trace);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

START_TEST(trace_rolls_over)
{
    struct error e = {0};
    uint64_t bytes = 0;
    make_folder();
    struct pipeline p = {.clock = &clock_real};
    worker.pipeline = &p;
    p.trace = trace_open(folder, 64 << 10, &e);
    for (int i = 0; i < 20000; i++) {
        add(&worker, (uint8_t)(i / 1000), TRACE_PASSED, "on");
        if (i % 10 == 9)
            trace_flush(p.trace, &worker.trace);
        if (i % 1000 == 999)
            ck_assert_int_eq(find((uint8_t)(i / 1000)), 1000);
    }
    ck_assert_uint_eq(files(&bytes), 8);
    ck_assert_uint_le(bytes, 64 << 10);
    ck_assert_int_eq(find(0), 0); /* the oldest went */
    ck_assert_int_eq(find(19), 1000);
    trace_close(p.trace);
    buf_fini(&worker.trace);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

/* Files cut and overwritten by whatever: what is whole before is found, nothing is read beyond. */
START_TEST(trace_torn_files)
{
    struct error e = {0};
    make_folder();
    struct pipeline p = {.clock = &clock_real};
    worker.pipeline = &p;
    p.trace = trace_open(folder, 1 << 20, &e);
    for (uint8_t i = 0; i < 10; i++)
        add(&worker, i, TRACE_PASSED, "on");
    trace_flush(p.trace, &worker.trace);
    trace_close(p.trace);
    char *path = mem_format("%s/00000001.trace", folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    ck_assert_int_eq(ftruncate(fd, size - 5), 0);
    ck_assert_int_eq(find(9), 0);
    ck_assert_int_eq(find(8), 1);
    for (off_t at = 0; at < size; at += 3)
        for (int k = 0; k < 2; k++) {
            ck_assert_int_eq((int)pwrite(fd, k ? "\xff\xff" : "\0\0", 2, at), 2);
            (void)find(5);
        }
    (void)close(fd);
    mem_free(path);
    buf_fini(&worker.trace);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

/* ---- timers of instances ---- */

static int ticks;

static weir_status count_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    ticks++;
    return WEIR_OK;
}

enum { LONG_NS = 50 * 1000 * 1000, SHORT_NS = 10 * 1000 * 1000 };

struct late {
    struct loop_task task; /* first */
    struct clock_fake *clock;
    struct lane *lane;
};

static void sets_a_timer_late(struct loop_task *task)
{
    const struct late *late = task->user;
    clock_fake_move(late->clock, LONG_NS); /* the round takes that long */
    lane_enter(late->lane, NULL, NULL);
    late->lane->host.timer(&late->lane->host, 1, (weir_duration){SHORT_NS});
    lane_leave(late->lane);
}

/* However long the round lasts in which it is set: a plugin may compare times when its timer fires. */
START_TEST(timer_never_fires_early)
{
    struct clock_fake clock;
    struct error e = {0};
    clock_fake_init(&clock, INT64_C(1735689600000000000));
    struct pipeline p = {.clock = &clock.base};
    struct worker *w = worker_new(&p, 0, "w0", &e);
    ck_assert_ptr_nonnull(w);
    worker_enter(w);
    const weir_component component = {.name = "ticks", .tick = count_tick};
    struct stage s = {.pipeline = &p, .component = &component, .name = "s", .role = ROLE_SINK};
    struct late late = {.clock = &clock, .lane = lane_new(&s, w)};
    late.task = (struct loop_task){.fn = sets_a_timer_late, .user = &late};
    ticks = 0;
    loop_post(w->loop, &late.task);
    (void)loop_round(w->loop, 0);
    clock_fake_move(&clock, SHORT_NS - 1);
    (void)loop_round(w->loop, 0);
    ck_assert_int_eq(ticks, 0);
    clock_fake_move(&clock, 1);
    (void)loop_round(w->loop, 0);
    ck_assert_int_eq(ticks, 1);
    lane_free(late.lane);
    worker_enter(NULL);
    worker_free(w);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pipeline_parts");
    TCase *t = tcase_create("parts");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, payload_lives_as_long_as_its_last_part);
    tcase_add_test(t, payload_wraps_and_releases_once);
    tcase_add_test(t, budget_refuses);
    tcase_add_test(t, copies_hold_what_they_share);
    tcase_add_test(t, blocks_grow);
    tcase_add_test(t, slot_ends_with_its_last_branch);
    tcase_add_test(t, slot_keeps_the_first_failure);
    tcase_add_test(t, join_stands_for_all);
    tcase_add_test(t, join_of_joins);
    tcase_add_test(t, slots_across_threads);
    tcase_add_test(t, codec_round_trip);
    tcase_add_test(t, codec_hostile_bytes);
    tcase_add_test(t, trace_round_trip);
    tcase_add_test(t, trace_rolls_over);
    tcase_add_test(t, trace_torn_files);
    tcase_add_test(t, timer_never_fires_early);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
