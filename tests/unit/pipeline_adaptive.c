/* unit/pipeline_adaptive.c: the concurrency that adapts itself, against sinks that are simulated: by a
 * clock that the test moves, with times that are the same in each run. */
#include "pipeline/adaptive.h"

#include "unit/pipeline_rig.h"

#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)
enum { UNDER_WAY_MAX = 512 };

struct batch_of { /* under way */
    int64_t begun_ns, ends_ns;
    bool is_refused;
};

/* `servers` batches are worked on at once, the others wait inside; who comes when `room` are inside
 * already is refused at once. */
struct simulated {
    size_t servers, room;
    int64_t work_ns;
    double spread;        /* times are work_ns * (1 - spread .. 1 + spread) */
    int64_t free_ns[256]; /* when each server is */
    int64_t now_ns;
    uint32_t random;
    struct batch_of under_way[UNDER_WAY_MAX];
    size_t count;
    size_t done, refused; /* since the last look */
    size_t least, most;   /* limits */
    double mean;          /* limit */
};

static double random_of(struct simulated *m)
{
    m->random = m->random * 1664525 + 1013904223;
    return (double)(m->random >> 8) / (double)(1 << 24);
}

static void send_one(struct simulated *m)
{
    struct batch_of *b = &m->under_way[m->count++];
    ck_assert_uint_lt(m->count, UNDER_WAY_MAX);
    *b = (struct batch_of){.begun_ns = m->now_ns, .ends_ns = m->now_ns + MS};
    b->is_refused = m->count > m->room;
    if (b->is_refused)
        return;
    size_t first = 0;
    for (size_t i = 1; i < m->servers; i++)
        if (m->free_ns[i] < m->free_ns[first])
            first = i;
    int64_t begins = m->free_ns[first] > m->now_ns ? m->free_ns[first] : m->now_ns;
    double work = (double)m->work_ns * (1 + m->spread * (2 * random_of(m) - 1));
    b->ends_ns = m->free_ns[first] = begins + (int64_t)work;
}

static struct batch_of next_answer(struct simulated *m)
{
    size_t first = 0;
    for (size_t i = 1; i < m->count; i++)
        if (m->under_way[i].ends_ns < m->under_way[first].ends_ns)
            first = i;
    struct batch_of b = m->under_way[first];
    m->under_way[first] = m->under_way[--m->count];
    return b;
}

/* There is always more to send. */
static void run(struct simulated *m, struct adaptive *a, int64_t for_ns)
{
    int64_t until = m->now_ns + for_ns, from = m->now_ns;
    m->done = m->refused = 0;
    m->least = SIZE_MAX;
    m->most = 0;
    m->mean = 0;
    while (m->now_ns < until) {
        size_t limit = adaptive_limit(a);
        while (m->count < limit)
            send_one(m);
        adaptive_want(a);
        struct batch_of b = next_answer(m);
        m->mean += (double)(b.ends_ns - m->now_ns) * (double)limit;
        m->now_ns = b.ends_ns;
        adaptive_note(a, b.begun_ns, b.ends_ns, b.is_refused);
        m->done += !b.is_refused;
        m->refused += b.is_refused;
        m->least = limit < m->least ? limit : m->least;
        m->most = limit > m->most ? limit : m->most;
    }
    m->mean /= (double)(m->now_ns - from);
}

/* The share of what it could have done. */
static double used(const struct simulated *m, int64_t for_ns)
{
    return (double)m->done / ((double)m->servers * (double)for_ns / (double)m->work_ns);
}

static struct simulated sink_of(size_t servers, int64_t work_ns, double spread)
{
    return (struct simulated){
        .servers = servers, .room = SIZE_MAX, .work_ns = work_ns, .spread = spread, .random = 7};
}

static const struct {
    size_t servers;
    int64_t work_ns;
    double spread;
} sinks[] = {{20, 50 * MS, 0.1}, {20, 50 * MS, 0.8}, {3, 200 * MS, 0.3}, {100, 20 * MS, 0.5},
             {1, 30 * MS, 0.2},  {8, MS, 0.9},       {30, S, 0.5}};

/* From the minimum to what the sink can do, not much more, and it stays there. */
START_TEST(finds_the_capacity)
{
    struct adaptive a;
    struct simulated m = sink_of(sinks[_i].servers, sinks[_i].work_ns, sinks[_i].spread);
    adaptive_init(&a, 1, 200);
    ck_assert_uint_eq(adaptive_limit(&a), 1);
    run(&m, &a, 300 * m.work_ns + 5 * S);
    run(&m, &a, 120 * S);
    ck_assert_msg(used(&m, 120 * S) > 0.9, "used %.2f, limit %zu to %zu", used(&m, 120 * S),
                  m.least, m.most);
    double least = m.work_ns < 5 * MS ? (double)(5 * MS) / (double)m.work_ns : 1;
    ck_assert_msg(m.mean < 1.6 * least * (double)m.servers + 1, "mean limit %.1f", m.mean);
}
END_TEST

/* It falls with the sink's capacity, and rises with it again. */
START_TEST(follows_the_capacity)
{
    struct adaptive a;
    struct simulated m = sink_of(20, 50 * MS, 0.3);
    adaptive_init(&a, 1, 200);
    run(&m, &a, 20 * S);
    m.servers = 4;
    run(&m, &a, 5 * S);
    run(&m, &a, 10 * S);
    ck_assert_msg(m.mean < 8, "mean limit %.1f", m.mean);
    ck_assert_msg(used(&m, 10 * S) > 0.9, "used %.2f", used(&m, 10 * S));
    m.servers = 20;
    run(&m, &a, 10 * S);
    run(&m, &a, 10 * S);
    ck_assert_msg(used(&m, 10 * S) > 0.9, "used %.2f", used(&m, 10 * S));
}
END_TEST

/* Each batch takes longer for a reason of its own: that is no sign of too many. */
START_TEST(learns_another_pace)
{
    struct adaptive a;
    struct simulated m = sink_of(20, 50 * MS, 0.3);
    adaptive_init(&a, 1, 200);
    run(&m, &a, 20 * S);
    m.work_ns = 200 * MS;
    run(&m, &a, 30 * S);
    run(&m, &a, 30 * S);
    ck_assert_msg(used(&m, 30 * S) > 0.85, "slower: used %.2f", used(&m, 30 * S));
    m.work_ns = 20 * MS;
    run(&m, &a, 35 * S);
    run(&m, &a, 30 * S);
    ck_assert_msg(used(&m, 30 * S) > 0.85, "faster: used %.2f", used(&m, 30 * S));
    ck_assert_msg(m.mean < 35, "faster: mean limit %.1f", m.mean);
}
END_TEST

/* A sink that refuses what is too much is refused by seldom, and used. */
START_TEST(backs_off_when_refused)
{
    struct adaptive a;
    struct simulated m = sink_of(50, 50 * MS, 0.2);
    m.room = 25;
    adaptive_init(&a, 2, 200);
    run(&m, &a, 20 * S);
    run(&m, &a, 60 * S);
    double could = (double)m.room * 60 * 20;
    ck_assert_msg((double)m.done > 0.7 * could, "done %zu of %.0f", m.done, could);
    ck_assert_msg((double)m.refused < 0.03 * (double)m.done, "%zu refused, %zu done", m.refused,
                  m.done);
    ck_assert_uint_le(m.most, 27);
}
END_TEST

/* Nothing works: the minimum stays, and when it works again so does the rest. */
START_TEST(never_below_the_minimum)
{
    struct adaptive a;
    struct simulated m = sink_of(20, 20 * MS, 0.1);
    adaptive_init(&a, 3, 16);
    run(&m, &a, 10 * S);
    ck_assert_uint_eq(adaptive_limit(&a), 16);
    ck_assert_uint_eq(m.most, 16);
    m.room = 0;
    run(&m, &a, 10 * S);
    ck_assert_uint_eq(adaptive_limit(&a), 3);
    ck_assert_uint_eq(m.least, 3);
    m.room = SIZE_MAX;
    run(&m, &a, 10 * S);
    ck_assert_uint_eq(adaptive_limit(&a), 16);
    adaptive_set_bounds(&a, 1, 4);
    ck_assert_uint_eq(adaptive_limit(&a), 4);
    adaptive_set_bounds(&a, 6, 5);
    ck_assert_uint_eq(adaptive_limit(&a), 6);
}
END_TEST

/* Batches that go one after the other raise nothing, however fast they are; all that fail at once are
 * one sign. */
START_TEST(counts_what_says_something)
{
    struct adaptive a;
    adaptive_init(&a, 2, 100);
    for (int i = 0; i < 10000; i++)
        ck_assert(!adaptive_note(&a, i * MS, i * MS + MS / 2, false));
    struct simulated m = sink_of(60, 20 * MS, 0.1);
    m.now_ns = 20 * S;
    run(&m, &a, 10 * S);
    size_t before = adaptive_limit(&a);
    ck_assert_uint_gt(before, 40);
    int64_t at = m.now_ns + S;
    for (size_t i = 0; i < before; i++)
        adaptive_note(&a, at, at + MS * (int64_t)i, true);
    ck_assert_uint_ge(adaptive_limit(&a), before * 7 / 10 - 1);
    ck_assert_uint_lt(adaptive_limit(&a), before);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pipeline_adaptive");
    TCase *c = tcase_create("adaptive");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, finds_the_capacity, 0, sizeof sinks / sizeof *sinks);
    tcase_add_test(c, follows_the_capacity);
    tcase_add_test(c, learns_another_pace);
    tcase_add_test(c, backs_off_when_refused);
    tcase_add_test(c, never_below_the_minimum);
    tcase_add_test(c, counts_what_says_something);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
