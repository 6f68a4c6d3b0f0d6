/* tests/unit/journal_queue_model.c: random operations on queues against a simple model in memory.
 *
 * A standard queue and a FIFO queue, each with its dead-letter queue. After every operation that
 * answers, the answer is the model's; now and then the process dies and all must be there again. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "journal/disk.h"
#include "journal/queue.h"

#define SECOND INT64_C(1000000000)
#define NOW_NS INT64_C(1700000000000000000)

enum { OPERATIONS = 20000, DEATHS_MAX = 60, GROUPS = 6, RECEIVES_MAX = 3, BATCH = 10 };

enum state { VISIBLE, HIDDEN, DELAYED };

struct message {
    int id, group;
    enum state state;
    int64_t until_ns;
    uint32_t receives, receives_before;
    uint64_t receipt;
    bool is_returned; /* given back by its receiver */
    bool was_seen;    /* was received or delayed: comes before what is new */
};

struct model {
    const char *name;
    bool is_fifo;
    struct queue *queue;
    struct model *dead_letters;
    struct message *items; /* live, by sequence */
    size_t count, cap;
};

struct dedup {
    int group, id;
    int64_t sent_ns;
};

static char dir[256];
static struct clock_fake now;
static struct disk disk;
static struct journal *journal, *dead[DEATHS_MAX];
static struct error error;
static struct model models[4];
static struct dedup *window;
static size_t window_count, window_cap;
static uint64_t dice;
static int last_id;

static uint32_t roll(uint32_t n)
{
    dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(dice >> 33) % n;
}

static int no_lock(const struct disk *d, int fd)
{
    return 0;
}

static int no_sync(const struct disk *d, int fd)
{
    return 0;
}

static void open_all(void)
{
    static const struct stream_kind *const kinds[] = {&queue_kind, NULL};
    struct journal_options o = {.path = dir, .clock = &now.base, .disk = &disk, .kinds = kinds};
    journal = journal_open(&o, &error);
    ck_assert_msg(journal != NULL, "%s", error.text);
    for (int i = 0; i < 4; i++) {
        struct queue_settings s = {.is_fifo = models[i].is_fifo, .visibility_ns = 5 * SECOND};
        if (models[i].dead_letters) {
            s.dead_letters = models[i].dead_letters->name;
            s.receives_max = RECEIVES_MAX;
        }
        models[i].queue = queue_open(journal, models[i].name, &s, &error);
        ck_assert_msg(models[i].queue != NULL, "%s", error.text);
    }
    while (journal_commit(journal)) {
    }
}

static void settle(void)
{
    while (journal_commit(journal)) {
    }
}

static struct message *add(struct model *m, const struct message *from)
{
    struct message *x = &MEM_PUSH(m->items, m->count, m->cap);
    *x = (struct message){.id = from->id, .group = from->group};
    return x;
}

static void drop(struct model *m, size_t i)
{
    memmove(&m->items[i], &m->items[i + 1], (m->count - i - 1) * sizeof *m->items);
    m->count--;
}

static void expire(struct model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct message *x = &m->items[i];
        if (x->state != VISIBLE && x->until_ns <= now.wall) {
            x->state = VISIBLE;
            x->was_seen = true;
        }
    }
}

/* ---- operations ---- */

static bool is_in_window(int group, int id)
{
    for (size_t i = 0; i < window_count; i++) {
        if (window[i].group == group && window[i].id == id &&
            now.wall - window[i].sent_ns < 300 * SECOND)
            return true;
    }
    return false;
}

static void remember(int group, int id)
{
    size_t kept = 0;
    for (size_t i = 0; i < window_count; i++) {
        if (now.wall - window[i].sent_ns < 300 * SECOND)
            window[kept++] = window[i];
    }
    window_count = kept;
    MEM_PUSH(window, window_count, window_cap) = (struct dedup){group, id, now.wall};
}

static void do_send(struct model *m)
{
    char bodies[BATCH][32], groups[BATCH][8], ids[BATCH][16];
    struct journal_unit *u = journal_begin(journal);
    uint32_t n = 1 + roll(BATCH);
    for (uint32_t i = 0; i < n; i++) {
        struct message x = {.id = ++last_id, .group = (int)roll(GROUPS)};
        struct queue_send s = {.delay_ns = roll(5) ? 0 : (int64_t)roll(8) * SECOND};
        int id = roll(4) ? x.id : x.id - (int)roll(20);
        (void)snprintf(bodies[i], sizeof *bodies, "%d", x.id);
        (void)snprintf(groups[i], sizeof *groups, "g%d", x.group);
        (void)snprintf(ids[i], sizeof *ids, "%d", id);
        s.body = weir_text(bodies[i]);
        if (m->is_fifo) {
            s.group = weir_text(groups[i]);
            s.dedup = weir_text(ids[i]);
        }
        queue_send(m->queue, u, &s);
        if (m->is_fifo && is_in_window(x.group, id))
            continue;
        if (m->is_fifo)
            remember(x.group, id);
        struct message *y = add(m, &x);
        y->state = s.delay_ns ? DELAYED : VISIBLE;
        y->until_ns = now.wall + s.delay_ns;
    }
    ck_assert_int_eq(journal_submit_wait(u), WEIR_OK);
}

static struct message *by_id(struct model *m, int id, size_t *at)
{
    for (size_t i = 0; i < m->count; i++) {
        if (m->items[i].id == id) {
            *at = i;
            return &m->items[i];
        }
    }
    return NULL;
}

static bool to_dead_letters(struct model *m, size_t i)
{
    const struct message *x = &m->items[i];
    if (!m->dead_letters || x->receives < RECEIVES_MAX)
        return false;
    struct message *y = add(m->dead_letters, x);
    y->receives_before = x->receives_before + RECEIVES_MAX;
    drop(m, i);
    return true;
}

/* What a standard queue has to answer, in its order; moves what has to go to the dead letters. */
static size_t choose(struct model *m, size_t max, int *ids)
{
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < m->count && n < max;) {
            bool is_one = m->items[i].state == VISIBLE && m->items[i].was_seen == !pass;
            if (is_one && to_dead_letters(m, i))
                continue;
            if (is_one)
                ids[n++] = m->items[i].id;
            i++;
        }
    }
    return n;
}

/* What one group of a FIFO can give, in order. */
static size_t choose_group(const struct model *m, int group, int *ids)
{
    bool is_blocked = false;
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct message *x = &m->items[i];
        if (x->group != group)
            continue;
        if (x->state != VISIBLE)
            is_blocked = true;
        else if (m->dead_letters && x->receives >= RECEIVES_MAX)
            continue; /* due for the dead letters: neither given nor in the way */
        else if (!is_blocked || x->is_returned)
            ids[n++] = x->id;
    }
    return n;
}

static int number_of(const struct queue_message *m)
{
    uint64_t n = 0;
    ck_assert(text_to_u64(m->body, &n));
    return (int)n;
}

static void check_received(struct model *m, const struct queue_message *got, int64_t until_ns)
{
    size_t at;
    struct message *x = by_id(m, number_of(got), &at);
    ck_assert_ptr_nonnull(x);
    ck_assert_int_eq(x->state, VISIBLE);
    x->receives++;
    x->receipt = got->receipt;
    x->state = HIDDEN;
    x->until_ns = until_ns;
    x->is_returned = false;
    x->was_seen = true;
    ck_assert_uint_eq(got->receives, x->receives + x->receives_before);
}

static void check_standard(struct model *m, const struct queue_message *got, size_t n, size_t max,
                           int64_t until_ns)
{
    int ids[BATCH];
    ck_assert_uint_eq(n, choose(m, max, ids));
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(number_of(&got[i]), ids[i]);
        check_received(m, &got[i], until_ns);
    }
}

static void find_dead_letter(void *user, const struct queue_message *got, const char *state)
{
    struct model *m = user;
    size_t at;
    if (by_id(m->dead_letters, number_of(got), &at))
        return;
    const struct message *x = by_id(m, number_of(got), &at);
    ck_assert_ptr_nonnull(x);
    ck_assert_int_eq(x->state, VISIBLE);
    ck_assert(weir_same(got->from_queue, m->name));
    ck_assert(to_dead_letters(m, at));
}

/* The order among groups is the queue's; each gives its first, and together they fill the batch. */
static void check_fifo(struct model *m, const struct queue_message *got, size_t n, size_t max,
                       int64_t until_ns)
{
    static int ids[GROUPS][1 << 16];
    size_t can[GROUPS], total = 0, taken[GROUPS] = {0};
    if (m->dead_letters) /* which groups it came to before the batch was full is the queue's too */
        queue_peek(m->dead_letters->queue, 1 << 16, find_dead_letter, m);
    for (int g = 0; g < GROUPS; g++)
        total += can[g] = choose_group(m, g, ids[g]);
    ck_assert_uint_eq(n, total < max ? total : max);
    for (size_t i = 0; i < n; i++) {
        int g = got[i].group.ptr[1] - '0';
        ck_assert_uint_lt(taken[g], can[g]);
        ck_assert_int_eq(number_of(&got[i]), ids[g][taken[g]++]);
        check_received(m, &got[i], until_ns);
    }
}

static void do_receive(struct model *m)
{
    struct queue_message got[BATCH];
    struct buf bodies = {0};
    size_t max = 1 + roll(BATCH);
    int64_t visibility_ns = roll(10) ? (int64_t)roll(6) * SECOND : -1;
    int64_t until_ns = now.wall + (visibility_ns < 0    ? 0
                                   : visibility_ns == 0 ? 5 * SECOND
                                                        : visibility_ns);
    expire(m);
    size_t n = queue_receive(m->queue, max, visibility_ns, got, &bodies);
    settle();
    if (m->is_fifo)
        check_fifo(m, got, n, max, until_ns);
    else
        check_standard(m, got, n, max, until_ns);
    buf_fini(&bodies);
}

static struct message *pick(struct model *m, size_t *at)
{
    if (!m->count)
        return NULL;
    *at = roll((uint32_t)m->count);
    return m->items[*at].receipt ? &m->items[*at] : NULL;
}

static bool is_held(const struct message *x)
{
    return x->state == HIDDEN && !x->is_returned && x->until_ns > now.wall;
}

static void do_remove(struct model *m)
{
    size_t at;
    const struct message *x = pick(m, &at);
    if (!x)
        return;
    bool may = !m->is_fifo || is_held(x);
    ck_assert_int_eq(queue_remove(m->queue, x->receipt, NULL), may);
    settle();
    ck_assert(!may || !queue_remove(m->queue, x->receipt, NULL));
    if (may)
        drop(m, at);
}

static void do_hide(struct model *m, bool is_extend)
{
    size_t at;
    struct message *x = pick(m, &at);
    if (!x)
        return;
    int64_t for_ns = (int64_t)roll(10) * SECOND;
    bool may = m->is_fifo ? is_held(x) : !x->is_returned && x->state != DELAYED;
    bool is_done = is_extend ? queue_extend(m->queue, x->receipt, for_ns)
                             : queue_give_back(m->queue, x->receipt, for_ns);
    settle();
    ck_assert_int_eq(is_done, may);
    if (!may)
        return;
    x->state = for_ns ? HIDDEN : VISIBLE;
    x->until_ns = now.wall + for_ns;
    x->is_returned = !is_extend || !for_ns;
}

static void do_redrive(struct model *m)
{
    struct model *from = m->dead_letters;
    uint64_t moved = 0, max = roll(20);
    expire(from);
    ck_assert_int_eq(queue_redrive(from->queue, m->queue, max, &moved), WEIR_OK);
    for (size_t i = 0; i < from->count && (!max || moved);) {
        if (from->items[i].state == HIDDEN) {
            i++;
            continue;
        }
        if (!moved)
            ck_abort_msg("a message was not moved");
        add(m, &from->items[i]);
        drop(from, i);
        moved--;
    }
    ck_assert_uint_eq(moved, 0);
}

static void do_purge(struct model *m)
{
    uint64_t purged = 0;
    ck_assert_int_eq(queue_purge(m->queue, &purged), WEIR_OK);
    m->count = 0;
    if (m->is_fifo && m->dead_letters)
        window_count = 0;
}

static void check_counts(struct model *m)
{
    struct queue_count c;
    uint64_t n[3] = {0};
    expire(m);
    for (size_t i = 0; i < m->count; i++)
        n[m->items[i].state]++;
    queue_count(m->queue, &c);
    ck_assert_uint_eq(c.visible, n[VISIBLE]);
    ck_assert_uint_eq(c.hidden, n[HIDDEN]);
    ck_assert_uint_eq(c.delayed, n[DELAYED]);
}

static void reopen(size_t *deaths)
{
    if (roll(2) || *deaths == DEATHS_MAX)
        journal_close(journal);
    else
        dead[(*deaths)++] = journal;
    open_all();
    for (int k = 0; k < 4; k++) {
        for (size_t i = 0; i < models[k].count; i++) {
            struct message *x = &models[k].items[i];
            if (x->state == HIDDEN && !x->is_returned)
                x->state = VISIBLE;
        }
        check_counts(&models[k]);
    }
}

static void do_one(uint32_t what, struct model *m)
{
    if (what < 25)
        do_send(m);
    else if (what < 60)
        do_receive(roll(8) ? m : m->dead_letters);
    else if (what < 80)
        do_remove(roll(8) ? m : m->dead_letters);
    else if (what < 84)
        do_hide(m, true);
    else if (what < 90)
        do_hide(m, false);
    else if (what < 91)
        do_redrive(m);
    else if (what < 94)
        check_counts(roll(2) ? m : m->dead_letters);
    else
        clock_fake_move(&now, (int64_t)roll(4000) * (SECOND / 1000));
}

/* WEIR_MODEL_OPERATIONS: of all histories together; each has as many as one takes in its stride. */
static int histories(void)
{
    const char *more = getenv("WEIR_MODEL_OPERATIONS");
    if (getenv("WEIR_TEST_SEED"))
        return 1;
    return more ? (int)(strtoul(more, NULL, 10) / OPERATIONS) + 1 : 3;
}

static void run(uint64_t seed)
{
    size_t deaths = 0;
    dice = seed;
    open_all();
    for (int i = 0; i < OPERATIONS; i++) {
        struct model *m = &models[roll(2)];
        do_one(roll(100), m);
        /* Now and then down to nothing, so that small and empty queues are met too. */
        if (m->count > 400 && roll(4))
            do_purge(m);
        if (roll(1000) == 0)
            reopen(&deaths);
        if (i % 100 == 0)
            journal_tick(journal);
        settle();
    }
    journal_close(journal);
}

START_TEST(random_operations)
{
    char command[400];
    const char *tmp = getenv("TMPDIR"), *seed = getenv("WEIR_TEST_SEED");
    (void)snprintf(dir, sizeof dir, "%s/weir-model-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    clock_fake_init(&now, NOW_NS);
    disk = disk_real;
    disk.lock = no_lock;
    disk.sync = no_sync;
    models[0] = (struct model){.name = "plain", .dead_letters = &models[2]};
    models[1] = (struct model){.name = "fifo", .is_fifo = true, .dead_letters = &models[3]};
    models[2] = (struct model){.name = "plain-dead"};
    models[3] = (struct model){.name = "fifo-dead", .is_fifo = true};
    run(seed ? strtoull(seed, NULL, 10) : (uint64_t)_i + 1);
    for (int i = 0; i < 4; i++)
        mem_free(models[i].items);
    mem_free(window);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue model");
    TCase *t = tcase_create("model");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, random_operations, 0, histories());
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
