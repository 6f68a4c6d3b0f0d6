/* tests/unit/journal_queue.c: the laws of the queue, one by one, on a clock that is moved by hand. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "journal/disk.h"
#include "journal/queue.h"

#define SECOND INT64_C(1000000000)
#define NOW_NS INT64_C(1700000000000000000)

static char dir[256];
static struct clock_fake now;
static struct disk disk;
static struct journal *journal;
static struct journal *dead[64]; /* of processes that died; reachable, for the leak checker */
static size_t dead_count;
static struct error error;
static struct queue_message got[64];
static struct buf bodies;

static int no_lock(const struct disk *d, int fd)
{
    return 0;
}

static int no_sync(const struct disk *d, int fd)
{
    return 0;
}

static void open_journal(void)
{
    static const struct stream_kind *const kinds[] = {&queue_kind, NULL};
    struct journal_options o = {.path = dir, .clock = &now.base, .disk = &disk, .kinds = kinds};
    journal = journal_open(&o, &error);
    ck_assert_msg(journal != NULL, "%s", error.text);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/weir-queue-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    clock_fake_init(&now, NOW_NS);
    disk = disk_real;
    disk.lock = no_lock; /* a process that died holds none */
    disk.sync = no_sync;
    open_journal();
}

static void teardown(void)
{
    char command[400];
    journal_close(journal);
    buf_fini(&bodies);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

/* As after kill -9: nothing is written any more, and another process opens what is there. */
static void die(void)
{
    dead[dead_count++] = journal;
    open_journal();
}

static void settle(void)
{
    while (journal_commit(journal)) {
    }
}

static struct queue *queue(const char *name, struct queue_settings s)
{
    struct queue *q = queue_open(journal, name, &s, &error);
    ck_assert_msg(q != NULL, "%s", error.text);
    settle();
    return q;
}

static struct queue *found(const char *name)
{
    struct queue *q = queue_find(journal, name);
    ck_assert_ptr_nonnull(q);
    return q;
}

static void send_full(struct queue *q, struct queue_send m)
{
    struct journal_unit *u = journal_begin(journal);
    queue_send(q, u, &m);
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
}

static void send(struct queue *q, const char *text)
{
    send_full(q, (struct queue_send){.body = weir_text(text), .delay_ns = -1});
}

static void send_group(struct queue *q, const char *group, const char *text)
{
    send_full(q, (struct queue_send){.body = weir_text(text), .group = weir_text(group)});
}

/* The bodies, each with the number of its receive where it is not the first: "a b:2". */
static const char *receive_for(struct queue *q, size_t max, int64_t visibility_ns)
{
    static char text[1024];
    size_t n = 0;
    text[0] = 0;
    memset(got, 0, sizeof got);
    bodies.len = 0;
    size_t count = queue_receive(q, max, visibility_ns, got, &bodies);
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i ? " " : "",
                              (int)got[i].body.len, got[i].body.ptr);
        if (got[i].receives > 1)
            n += (size_t)snprintf(text + n, sizeof text - n, ":%u", got[i].receives);
    }
    settle();
    return text;
}

static const char *receive(struct queue *q, size_t max)
{
    return receive_for(q, max, 0);
}

static bool removed(struct queue *q, uint64_t receipt)
{
    bool is_removed = queue_remove(q, receipt, NULL);
    settle();
    return is_removed;
}

static void expect_count(const struct queue *q, uint64_t visible, uint64_t hidden, uint64_t delayed)
{
    struct queue_count c;
    queue_count(q, &c);
    ck_assert_uint_eq(c.visible, visible);
    ck_assert_uint_eq(c.hidden, hidden);
    ck_assert_uint_eq(c.delayed, delayed);
}

START_TEST(send_receive_remove)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    ck_assert_str_eq(receive(q, 10), "");
    send(q, "a");
    send(q, "b");
    send(q, "c");
    expect_count(q, 3, 0, 0);
    clock_fake_move(&now, SECOND);
    ck_assert_str_eq(receive(q, 2), "a b");
    ck_assert_int_eq(got[0].sent_ns, NOW_NS);
    ck_assert_int_eq(got[0].first_received_ns, NOW_NS + SECOND);
    expect_count(q, 1, 2, 0);
    uint64_t a = got[0].receipt, b = got[1].receipt;
    ck_assert(a && b && a != b);
    ck_assert(removed(q, a));
    ck_assert(!removed(q, a));
    ck_assert(!removed(q, b ^ 1));
    ck_assert(!removed(q, 0));
    ck_assert(!removed(queue("other", (struct queue_settings){0}), b));
    expect_count(q, 1, 1, 0);
    ck_assert_str_eq(receive(q, 10), "c");
    struct journal_unit *u = journal_begin(journal);
    ck_assert(queue_remove(q, b, u));
    ck_assert(queue_remove(q, got[0].receipt, u));
    expect_count(q, 0, 2, 0);
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
    expect_count(q, 0, 0, 0);
}
END_TEST

START_TEST(visibility_ends)
{
    struct queue *q = queue("q", (struct queue_settings){.visibility_ns = 10 * SECOND});
    send(q, "a");
    send(q, "b");
    ck_assert_int_eq(queue_next_due(q), INT64_MAX);
    ck_assert_str_eq(receive(q, 10), "a b");
    uint64_t old = got[0].receipt, b = got[1].receipt;
    ck_assert_int_eq(queue_next_due(q), NOW_NS + 10 * SECOND);
    clock_fake_move(&now, 10 * SECOND - 1);
    ck_assert_str_eq(receive(q, 10), "");
    ck_assert(queue_extend(q, b, 20 * SECOND));
    clock_fake_move(&now, 1);
    send(q, "c");
    ck_assert_str_eq(receive(q, 10), "a:2 c"); /* what came back goes first */
    ck_assert_int_eq(got[0].first_received_ns, NOW_NS);
    ck_assert_uint_ne(got[0].receipt, old);
    ck_assert(!queue_extend(q, old, SECOND));
    ck_assert(!queue_give_back(q, old, 0));
    clock_fake_move(&now, 10 * SECOND);
    ck_assert(queue_extend(q, got[0].receipt, SECOND)); /* ended, but nobody has it yet */
    ck_assert_str_eq(receive(q, 10), "c:2");
    ck_assert(removed(q, old)); /* a standard queue takes any receipt */
    clock_fake_move(&now, 100 * SECOND);
    ck_assert_str_eq(receive_for(q, 10, -1), "b:2 c:3");
    ck_assert_str_eq(receive_for(q, 10, -1), "b:3 c:4");
    clock_fake_move(&now, SECOND);
    ck_assert(removed(q, got[0].receipt)); /* also after its time */
    expect_count(q, 1, 0, 0);
}
END_TEST

START_TEST(give_back)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    send(q, "a");
    ck_assert_str_eq(receive(q, 1), "a");
    ck_assert(queue_give_back(q, got[0].receipt, 0));
    ck_assert(!queue_give_back(q, got[0].receipt, 0));
    ck_assert_str_eq(receive(q, 1), "a:2");
    ck_assert(queue_give_back(q, got[0].receipt, 5 * SECOND));
    ck_assert_str_eq(receive(q, 1), "");
    ck_assert_int_eq(queue_next_due(q), NOW_NS + 5 * SECOND);
    settle();
    die(); /* a pause that was asked for is kept */
    q = found("q");
    ck_assert_str_eq(receive(q, 1), "");
    clock_fake_move(&now, 5 * SECOND);
    ck_assert_str_eq(receive(q, 1), "a:3");
    ck_assert(queue_extend(q, got[0].receipt, 0));
    ck_assert_str_eq(receive(q, 1), "a:4");
}
END_TEST

START_TEST(delays)
{
    struct queue *q = queue("q", (struct queue_settings){.delay_ns = 3 * SECOND});
    send(q, "a");
    send_full(q, (struct queue_send){.body = weir_text("b"), .delay_ns = 0});
    send_full(q, (struct queue_send){.body = weir_text("c"), .delay_ns = SECOND});
    expect_count(q, 1, 0, 2);
    ck_assert_int_eq(queue_next_due(q), NOW_NS + SECOND);
    ck_assert_str_eq(receive(q, 10), "b");
    die();
    q = found("q");
    expect_count(q, 1, 0, 2);
    ck_assert_str_eq(receive(q, 10), "b:2");
    clock_fake_move(&now, 2 * SECOND);
    ck_assert_str_eq(receive(q, 10), "c");
    clock_fake_move(&now, SECOND);
    send(q, "d");
    ck_assert_str_eq(receive(q, 10), "a");
    expect_count(q, 0, 3, 1);
}
END_TEST

START_TEST(a_delayed_one_before_its_turn_leaves_the_others)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    send(q, "a");
    send_full(q, (struct queue_send){.body = weir_text("late"), .delay_ns = SECOND});
    send(q, "b");
    clock_fake_move(&now, SECOND);
    ck_assert_str_eq(receive(q, 1), "late");
    die();
    ck_assert_str_eq(receive(found("q"), 10), "late:2 a b");
}
END_TEST

START_TEST(what_a_dead_process_held_is_visible)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    send(q, "a");
    send(q, "b");
    send(q, "c");
    ck_assert_str_eq(receive(q, 2), "a b");
    uint64_t receipt = got[1].receipt;
    ck_assert(queue_remove(q, got[0].receipt, NULL)); /* not committed */
    die();
    q = found("q");
    expect_count(q, 3, 0, 0);
    ck_assert_str_eq(receive(q, 10), "a:2 b:2 c");
    ck_assert(removed(q, receipt)); /* the old process's receipt still names the message */
    journal_close(journal);         /* through a checkpoint */
    open_journal();
    q = found("q");
    ck_assert_str_eq(receive(q, 10), "a:3 c:2");
    ck_assert(removed(q, got[0].receipt));
    die();
    ck_assert_str_eq(receive(found("q"), 10), "c:3");
}
END_TEST

START_TEST(dead_letters)
{
    struct queue_settings s = {.dead_letters = "dead", .receives_max = 2};
    struct queue *q = queue("q", s), *d = queue("dead", (struct queue_settings){0});
    send(q, "a");
    send(q, "b");
    clock_fake_move(&now, SECOND);
    ck_assert_str_eq(receive_for(q, 1, -1), "a");
    ck_assert_str_eq(receive_for(q, 1, -1), "a:2");
    ck_assert_str_eq(receive(q, 10), "b");
    expect_count(q, 0, 1, 0);
    expect_count(d, 1, 0, 0);
    die();
    q = found("q");
    d = found("dead");
    ck_assert_str_eq(receive(d, 10), "a:3"); /* the count goes on */
    ck_assert_int_eq(got[0].sent_ns, NOW_NS);
    ck_assert(weir_same(got[0].from_queue, "q"));
    ck_assert(queue_give_back(d, got[0].receipt, 0));
    ck_assert_str_eq(receive(q, 10), "b:2");
    uint64_t moved = 0;
    ck_assert_int_eq(queue_redrive(d, q, 0, &moved), WEIR_OK);
    ck_assert_uint_eq(moved, 1);
    expect_count(d, 0, 0, 0);
    ck_assert_str_eq(receive(q, 10), "a");
    ck_assert_uint_eq(got[0].from_queue.len, 0);
    ck_assert_int_eq(queue_redrive(q, q, 0, &moved), WEIR_E_REJECT);
    struct queue_settings own = {.dead_letters = "x", .receives_max = 2};
    ck_assert_ptr_null(queue_open(journal, "x", &own, &error));
}
END_TEST

START_TEST(redrive_leaves_what_is_in_flight)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    struct queue *to = queue("to", (struct queue_settings){0});
    uint64_t moved = 0;
    char text[16];
    for (int i = 0; i < 600; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        send(q, text);
    }
    ck_assert_str_eq(receive(q, 2), "0 1");
    ck_assert_int_eq(queue_redrive(q, to, 3, &moved), WEIR_OK);
    ck_assert_uint_eq(moved, 3);
    ck_assert_str_eq(receive(to, 10), "2 3 4");
    ck_assert_str_eq(receive(q, 2), "5 6");
    ck_assert_int_eq(queue_redrive(q, to, 0, &moved), WEIR_OK);
    ck_assert_uint_eq(moved, 593);
    expect_count(q, 0, 4, 0);
    expect_count(to, 593, 3, 0);
    clock_fake_move(&now, 60 * SECOND);
    ck_assert_str_eq(receive(q, 10), "0:2 1:2 5:2 6:2");
}
END_TEST

START_TEST(purge)
{
    struct queue *q = queue("q", (struct queue_settings){.is_fifo = true});
    uint64_t purged = 0;
    struct queue_send m = {.body = weir_text("a"),
                           .group = weir_text("g"),
                           .dedup = weir_text("1")};
    send_full(q, m);
    send_full(q, (struct queue_send){.body = weir_text("b"), .group = weir_text("h")});
    ck_assert_str_eq(receive(q, 1), "a");
    ck_assert_int_eq(queue_purge(q, &purged), WEIR_OK);
    ck_assert_uint_eq(purged, 2);
    expect_count(q, 0, 0, 0);
    clock_fake_move(&now, 60 * SECOND);
    ck_assert_str_eq(receive(q, 10), "");
    send_full(q, m); /* the window was purged too */
    ck_assert_str_eq(receive(q, 10), "a");
    ck_assert(removed(q, got[0].receipt));
}
END_TEST

START_TEST(retention)
{
    struct queue *q = queue("q", (struct queue_settings){.retention_ns = 100 * SECOND});
    send(q, "a");
    send(q, "b");
    ck_assert_str_eq(receive(q, 1), "a");
    clock_fake_move(&now, 60 * SECOND);
    send(q, "c");
    struct queue_count c;
    queue_count(q, &c);
    ck_assert_int_eq(c.oldest_ns, 60 * SECOND);
    clock_fake_move(&now, 40 * SECOND);
    (void)receive(q, 0);
    clock_fake_move(&now, SECOND);
    journal_tick(journal);
    settle();
    ck_assert_str_eq(receive(q, 10), "c");
    expect_count(q, 0, 1, 0);
}
END_TEST

START_TEST(groups_in_order)
{
    struct queue *q = queue("q.fifo", (struct queue_settings){.is_fifo = true});
    send_group(q, "1", "a1");
    send_group(q, "2", "b1");
    send_group(q, "1", "a2");
    send_group(q, "1", "a3");
    send_group(q, "2", "b2");
    ck_assert_str_eq(receive(q, 2), "a1 a2"); /* one group first */
    ck_assert(weir_same(got[0].group, "1"));
    uint64_t a1 = got[0].receipt, a2 = got[1].receipt;
    expect_count(q, 3, 2, 0); /* blocked ones count as visible */
    ck_assert_str_eq(receive(q, 1), "b1");
    uint64_t b1 = got[0].receipt;
    ck_assert_str_eq(receive(q, 10), "");
    ck_assert(removed(q, a1));
    ck_assert_str_eq(receive(q, 10), ""); /* a2 is still out */
    ck_assert(removed(q, b1));
    ck_assert_str_eq(receive(q, 10), "b2");
    ck_assert(queue_give_back(q, a2, 0));
    ck_assert_str_eq(receive(q, 10), "a2:2 a3");
    ck_assert(!removed(q, a2)); /* a receipt from before */
    a2 = got[0].receipt;
    uint64_t a3 = got[1].receipt;
    send_group(q, "1", "a4");
    ck_assert(queue_give_back(q, a3, 0));
    ck_assert_str_eq(receive(q, 10), "a3:2"); /* given back on purpose; the other blocks the rest */
    ck_assert(queue_extend(q, a2, 100 * SECOND));
    clock_fake_move(&now, 50 * SECOND);
    ck_assert_str_eq(receive(q, 10), "b2:2"); /* a3 ended, but a2 was extended and holds it back */
    ck_assert(removed(q, a2));
    ck_assert_str_eq(receive(q, 10), "a3:3 a4");
    clock_fake_move(&now, 50 * SECOND);
    ck_assert(!removed(q, got[0].receipt)); /* ran out */
    ck_assert(!queue_extend(q, got[0].receipt, SECOND));
    ck_assert_str_eq(receive(q, 10), "a3:4 a4:2 b2:3");
}
END_TEST

START_TEST(groups_after_a_crash)
{
    struct queue *q = queue("q", (struct queue_settings){.is_fifo = true});
    for (int round = 0; round < 2; round++) {
        send_group(q, "1", "a1");
        send_group(q, "1", "a2");
        send_full(q, (struct queue_send){.body = weir_text("b1"),
                                         .group = weir_text("2"),
                                         .delay_ns = SECOND});
        send_group(q, "2", "b2");
        ck_assert_str_eq(receive(q, 1), "a1");
        if (round) {
            journal_close(journal);
            open_journal();
        } else {
            die();
        }
        q = found("q");
        expect_count(q, 3, 0, 1);
        ck_assert_str_eq(receive(q, 10), "a1:2 a2"); /* b1 is delayed and holds back b2 */
        ck_assert(removed(q, got[0].receipt));
        ck_assert(removed(q, got[1].receipt));
        clock_fake_move(&now, SECOND);
        ck_assert_str_eq(receive(q, 10), "b1 b2");
        ck_assert(removed(q, got[0].receipt));
        ck_assert(removed(q, got[1].receipt));
        expect_count(q, 0, 0, 0);
    }
}
END_TEST

START_TEST(duplicates)
{
    struct queue *q = queue("q", (struct queue_settings){.is_fifo = true});
    struct queue_send m = {.body = weir_text("a"),
                           .group = weir_text("g"),
                           .dedup = weir_text("1")};
    uint64_t first = 99;
    send_full(q, m);
    send_full(q, m);
    ck_assert(queue_is_duplicate(q, m.group, m.dedup, &first));
    ck_assert(!queue_is_duplicate(q, m.group, weir_text("2"), &first));
    expect_count(q, 1, 0, 0);
    ck_assert_str_eq(receive(q, 10), "a");
    ck_assert_uint_eq(got[0].sequence, first);
    ck_assert(weir_same(got[0].dedup, "1"));
    ck_assert(removed(q, got[0].receipt));
    clock_fake_move(&now, 299 * SECOND); /* the window outlives the message, and a crash */
    die();
    q = found("q");
    send_full(q, m);
    ck_assert_str_eq(receive(q, 10), "");
    journal_close(journal);
    open_journal();
    q = found("q");
    send_full(q, m);
    ck_assert_str_eq(receive(q, 10), "");
    clock_fake_move(&now, SECOND);
    send_full(q, m);
    ck_assert_str_eq(receive(q, 10), "a");
    ck_assert(removed(q, got[0].receipt));
    clock_fake_move(&now, SECOND);
    settle();
    ck_assert_str_eq(receive(q, 10), "");
    journal_tick(journal);
    settle();
    ck_assert_uint_eq(stream_live(stream_find(journal, "queue/q")), 0);
}
END_TEST

START_TEST(settings_are_kept_and_compared)
{
    struct queue_settings s = {.visibility_ns = 7 * SECOND, .dead_letters = "d", .receives_max = 3};
    struct queue *q = queue("q", s);
    struct queue_settings other = s, back;
    other.visibility_ns = 8 * SECOND;
    ck_assert_ptr_eq(queue_open(journal, "q", &s, &error), q);
    ck_assert_ptr_null(queue_open(journal, "q", &other, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "visibility"));
    error = (struct error){0};
    other = (struct queue_settings){.retention_ns = 9 * SECOND}; /* of the rest it has no opinion */
    ck_assert_ptr_eq(queue_open(journal, "q", &other, &error), q);
    queue_settings_get(q, &back);
    ck_assert_int_eq(back.visibility_ns, 7 * SECOND);
    ck_assert_int_eq(back.retention_ns, 9 * SECOND);
    ck_assert_str_eq(back.dead_letters, "d");
    other = s;
    other.visibility_ns = 8 * SECOND;
    settle();
    die();
    queue_settings_get(found("q"), &back);
    ck_assert_int_eq(back.visibility_ns, 7 * SECOND);
    ck_assert_int_eq(back.retention_ns, 9 * SECOND);
    ck_assert_str_eq(back.dead_letters, "d");
    ck_assert_uint_eq(back.receives_max, 3);
    error = (struct error){0};
    q = queue("q", other); /* nobody has it open: the new ones hold */
    ck_assert_int_eq(queue_settings_set(q, &s, &error), 0);
    other = (struct queue_settings){.is_fifo = true};
    ck_assert_ptr_null(queue_open(journal, "q", &other, &error));
    ck_assert_int_lt(queue_settings_set(q, &other, &error), 0);
    settle();
    journal_close(journal);
    open_journal();
    queue_settings_get(found("q"), &back);
    ck_assert_int_eq(back.visibility_ns, 7 * SECOND);
    ck_assert_ptr_null(queue_open(journal, "", &s, &error));
}
END_TEST

/* The default, when somebody has said it, is as good as any other value. */
START_TEST(a_default_that_is_said_is_no_default)
{
    struct queue_settings said = {.visibility_ns = 30 * SECOND}, other = {.visibility_ns = SECOND};
    struct queue *q = queue("q", said);
    ck_assert_ptr_null(queue_open(journal, "q", &other, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "visibility"));
    ck_assert_ptr_eq(queue_open(journal, "q", &(struct queue_settings){0}, &error), q);
    (void)queue("r", (struct queue_settings){0});
    ck_assert_ptr_nonnull(queue_open(journal, "r", &other, &error));
    ck_assert_ptr_null(queue_open(journal, "r", &said, &error));
    ck_assert_int_eq(queue_settings_set(q, &other, &error), 0);
    ck_assert_ptr_null(queue_open(journal, "q", &said, &error));
    ck_assert_ptr_eq(queue_open(journal, "q", &other, &error), q);
}
END_TEST

static void add_peek(void *user, const struct queue_message *m, const char *state)
{
    buf_print(user, "%.*s:%u:%s ", (int)m->body.len, m->body.ptr, m->receives, state);
}

START_TEST(peek)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    struct buf text = {0};
    send(q, "a");
    send(q, "b");
    send_full(q, (struct queue_send){.body = weir_text("c"), .delay_ns = SECOND});
    ck_assert_str_eq(receive(q, 1), "a");
    queue_peek(q, 10, add_peek, &text);
    ck_assert_str_eq(buf_text(&text), "a:1:hidden b:0:visible c:0:delayed ");
    text.len = 0;
    queue_peek(q, 1, add_peek, &text);
    ck_assert_str_eq(buf_text(&text), "a:1:hidden ");
    buf_fini(&text);
}
END_TEST

static void count_call(void *user)
{
    (*(int *)user)++;
}

START_TEST(listeners)
{
    struct queue *q = queue("q", (struct queue_settings){.is_fifo = true});
    int calls = 0, others = 0;
    queue_listen(q, count_call, &calls);
    queue_listen(q, count_call, &others);
    send_group(q, "g", "a");
    send_group(q, "g", "b");
    ck_assert_int_eq(calls, 2);
    ck_assert_str_eq(receive(q, 1), "a");
    calls = 0;
    ck_assert(removed(q, got[0].receipt)); /* frees the group */
    ck_assert_int_ge(calls, 1);
    ck_assert_str_eq(receive(q, 1), "b");
    calls = 0;
    ck_assert(queue_give_back(q, got[0].receipt, 0));
    ck_assert_int_ge(calls, 1);
    queue_unlisten(q, count_call, &calls);
    calls = others = 0;
    send_group(q, "g", "c");
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(others, 1);
    queue_unlisten(q, count_call, &others);
}
END_TEST

START_TEST(a_unit_that_fails_gives_the_message_back)
{
    struct queue *q = queue("q", (struct queue_settings){0});
    send(q, "a");
    ck_assert_str_eq(receive(q, 1), "a");
    struct journal_unit *u = journal_begin(journal);
    ck_assert(queue_remove(q, got[0].receipt, u));
    journal_cancel(u);
    ck_assert_str_eq(receive(q, 1), "");
    clock_fake_move(&now, 30 * SECOND);
    ck_assert_str_eq(receive(q, 1), "a:2");
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 3, EACH = 3000 };

static _Atomic int removed_count;

static void *send_many(void *arg)
{
    char text[32];
    for (int i = 0; i < EACH; i += 10) {
        struct journal_unit *u = journal_begin(journal);
        for (int k = 0; k < 10; k++) {
            (void)snprintf(text, sizeof text, "%d", i + k);
            queue_send(arg, u,
                       &(struct queue_send){.body = weir_text(text),
                                            .group = weir_text(i % 20 ? "x" : "y")});
        }
        (void)journal_submit_wait(u);
    }
    return NULL;
}

static void *receive_many(void *arg)
{
    struct queue *q = arg;
    struct queue_message m[10];
    struct buf b = {0};
    struct queue_count c;
    for (unsigned round = 0; removed_count < THREADS * EACH; round++) {
        b.len = 0;
        size_t n = queue_receive(q, 10, 0, m, &b);
        struct journal_unit *u = journal_begin(journal);
        for (size_t i = 0; i < n; i++) {
            if (round % 7 == 0 && i == 0)
                (void)queue_give_back(q, m[i].receipt, 0);
            else if (queue_remove(q, m[i].receipt, u))
                removed_count++;
        }
        if (round % 16 == 0)
            queue_count(q, &c);
        if (n)
            (void)journal_submit_wait(u);
        else
            journal_cancel(u);
    }
    buf_fini(&b);
    return NULL;
}

static void run_threads(bool is_fifo)
{
    struct queue *q = queue(is_fifo ? "f" : "s", (struct queue_settings){.is_fifo = is_fifo});
    pthread_t threads[2 * THREADS];
    int calls = 0;
    removed_count = 0;
    queue_listen(q, count_call, &calls);
    for (int i = 0; i < 2 * THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i % 2 ? send_many : receive_many, q), 0);
    for (int i = 0; i < 2 * THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    queue_unlisten(q, count_call, &calls);
    ck_assert_int_eq(removed_count, THREADS * EACH);
    expect_count(q, 0, 0, 0);
}

START_TEST(threads)
{
    ck_assert_int_eq(journal_start_thread(journal, &error), 0);
    run_threads(false);
    run_threads(true);
}
END_TEST

/* ---- speed ---- */

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Whole cycles in batches; WEIR_TEST_FIGURES prints what one costs. */
START_TEST(cycles_in_batches)
{
    enum { ROUNDS = 200, BATCH = 100 };
    struct queue *q = queue("q", (struct queue_settings){0});
    char body[300];
    double start = seconds();
    memset(body, 'x', sizeof body);
    for (int i = 0; i < ROUNDS; i++) {
        struct journal_unit *u = journal_begin(journal);
        for (int k = 0; k < BATCH; k++)
            queue_send(q, u, &(struct queue_send){.body = {body, sizeof body}});
        journal_submit(u, JOURNAL_SYNCED, NULL, NULL);
        settle();
        for (int k = 0; k < BATCH / 10; k++) {
            bodies.len = 0;
            ck_assert_uint_eq(queue_receive(q, 10, 0, got, &bodies), 10);
            u = journal_begin(journal);
            for (size_t n = 0; n < 10; n++)
                (void)queue_remove(q, got[n].receipt, u);
            journal_submit(u, JOURNAL_SYNCED, NULL, NULL);
        }
        settle();
    }
    double each = (seconds() - start) / (ROUNDS * BATCH) * 1e6;
    expect_count(q, 0, 0, 0);
    if (getenv("WEIR_TEST_FIGURES"))
        printf("send, receive, remove of 300 bytes in batches: %.2f us each\n", each);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *t = tcase_create("queue");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, send_receive_remove);
    tcase_add_test(t, visibility_ends);
    tcase_add_test(t, give_back);
    tcase_add_test(t, delays);
    tcase_add_test(t, a_delayed_one_before_its_turn_leaves_the_others);
    tcase_add_test(t, what_a_dead_process_held_is_visible);
    tcase_add_test(t, dead_letters);
    tcase_add_test(t, redrive_leaves_what_is_in_flight);
    tcase_add_test(t, purge);
    tcase_add_test(t, retention);
    tcase_add_test(t, groups_in_order);
    tcase_add_test(t, groups_after_a_crash);
    tcase_add_test(t, duplicates);
    tcase_add_test(t, settings_are_kept_and_compared);
    tcase_add_test(t, a_default_that_is_said_is_no_default);
    tcase_add_test(t, peek);
    tcase_add_test(t, listeners);
    tcase_add_test(t, a_unit_that_fails_gives_the_message_back);
    tcase_add_test(t, threads);
    tcase_add_test(t, cycles_in_batches);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
