/* tests/unit/journal_crash.c: histories with crashes at any operation, against a model in memory. */
#include <check.h>

#include "base/log.h"
#include "journal/journal.h"
#include "journal_disk.h"

enum { SYNC_EVERY_NS = 20000000, ROUND_NS = 4000000 };
enum { STREAMS = 4, RECORDS_MAX = 1500, UNITS_MAX = 400, OPS_MAX = 6, KIND = 7 };

/* ---- a kind whose state is easy to predict ---- */

struct tally {
    uint64_t puts, notes;
};

static void *tally_create(struct stream *s)
{
    return MEM_NEW(struct tally);
}
static void tally_destroy(void *state)
{
    mem_free(state);
}
static void tally_put(void *state, uint64_t sequence, weir_str payload)
{
    ((struct tally *)state)->puts++;
}
static void tally_note(void *state, weir_str bytes)
{
    uint64_t n = 0;
    memcpy(&n, bytes.ptr, bytes.len < sizeof n ? bytes.len : sizeof n);
    ((struct tally *)state)->notes += n;
}
static void tally_save(void *state, struct buf *out)
{
    buf_add(out, state, sizeof(struct tally));
}
static void tally_load(void *state, weir_str bytes)
{
    memcpy(state, bytes.ptr, sizeof(struct tally));
}
static const struct stream_kind tally_kind = {
    .id = KIND,
    .create = tally_create,
    .destroy = tally_destroy,
    .put = tally_put,
    .note = tally_note,
    .save = tally_save,
    .load = tally_load,
};
static const struct stream_kind *const kinds[] = {&tally_kind, NULL};

/* ---- the model ---- */

struct message {
    uint32_t len, seed;
    bool is_live;
};

struct model {
    struct message messages[STREAMS][RECORDS_MAX];
    uint64_t next[STREAMS], puts[STREAMS], notes[STREAMS];
    int64_t counter;
};

enum op_type { OP_PUT, OP_ACK, OP_TRIM, OP_NOTE, OP_COUNT };

struct op {
    enum op_type type;
    uint32_t mask, stream, len, seed;
    uint64_t first, count;
};

struct unit {
    struct op ops[OPS_MAX];
    uint32_t count;
    struct history *history;
    bool is_answered;
    int64_t answered_ns;
    weir_status status;
    enum journal_level level;
};

struct history {
    struct sim sim;
    struct model base;
    struct unit *units; /* submitted since base */
    uint32_t unit_count;
    uint64_t random, seed;
    struct journal *journal;
    struct clock_fake clock;
    uint64_t slot_bytes;
    uint32_t fixed_len;
    bool is_directed; /* few units of equal length in each life */
    bool is_sparse;   /* acknowledgements leave holes, so that compaction has work */
    bool is_tight;    /* a small disk that often fails: groups that find no place to move to */
    enum journal_durability
        durability; /* less than fsync: answered units may be lost to a power cut */
    char why[200];
};

static uint64_t crash_states, moves, compactions, checkpoints;
static struct model scratch;

static const char *const stream_names[STREAMS] = {"a", "b", "c", "d"};

static void fill(char *to, uint32_t len, uint32_t seed)
{
    uint64_t s = seed * 0x9E3779B97F4A7C15u + 1;
    for (uint32_t i = 0; i < len; i++)
        to[i] = (char)(sim_random(&s) >> 11);
}

static void model_apply(struct model *m, const struct unit *u)
{
    for (uint32_t i = 0; i < u->count; i++) {
        const struct op *o = &u->ops[i];
        for (uint32_t k = 0; o->type == OP_PUT && k < STREAMS; k++) {
            if (!(o->mask >> k & 1))
                continue;
            m->messages[k][m->next[k]++] = (struct message){o->len, o->seed, true};
            m->puts[k]++;
        }
        for (uint64_t q = o->first; o->type == OP_ACK && q < o->first + o->count; q++)
            if (q < m->next[o->stream])
                m->messages[o->stream][q].is_live = false;
        for (uint64_t q = 0; o->type == OP_TRIM && q < o->first && q < m->next[o->stream]; q++)
            m->messages[o->stream][q].is_live = false;
        if (o->type == OP_NOTE)
            m->notes[o->stream] += o->seed;
        if (o->type == OP_COUNT)
            m->counter += (int64_t)o->count;
    }
}

static bool same_content(struct history *h, struct stream *s, uint32_t k, const struct model *m)
{
    static char expected[8192];
    struct reader *r = reader_new(s, 0);
    bool is_same = true;
    for (uint64_t q = 0; q < m->next[k] && is_same; q++) {
        const struct message *x = &m->messages[k][q];
        if (stream_is_live(s, q) != x->is_live) {
            (void)snprintf(h->why, sizeof h->why, "stream %u record %llu: live should be %d", k,
                           (unsigned long long)q, x->is_live);
            is_same = false;
        }
        if (!x->is_live || !is_same)
            continue;
        weir_str got = {NULL, 0};
        uint64_t sequence = 0;
        weir_status status = reader_next(r, &got, &sequence);
        fill(expected, x->len, x->seed);
        is_same = status == WEIR_OK && sequence == q && got.len == x->len &&
                  memcmp(got.ptr, expected, x->len) == 0;
        if (!is_same)
            (void)snprintf(h->why, sizeof h->why, "stream %u record %llu: status %d, got %llu", k,
                           (unsigned long long)q, (int)status, (unsigned long long)sequence);
    }
    reader_free(r);
    return is_same;
}

static bool same(struct history *h, const struct model *m, bool has_content)
{
    struct journal *j = h->journal;
    int64_t counter = journal_counter_value(j, journal_counter(j, "sum"));
    if (counter != m->counter) {
        (void)snprintf(h->why, sizeof h->why, "counter %lld, model %lld", (long long)counter,
                       (long long)m->counter);
        return false;
    }
    for (uint32_t k = 0; k < STREAMS; k++) {
        struct stream *s = stream_find(j, stream_names[k]);
        struct tally none = {0, 0}, *t = s && k == 0 ? stream_state(s) : &none;
        uint64_t next = s ? stream_next(s) : 0;
        if (next != m->next[k] || (k == 0 && (t->puts != m->puts[0] || t->notes != m->notes[0]))) {
            (void)snprintf(h->why, sizeof h->why, "stream %u next %llu, model %llu", k,
                           (unsigned long long)next, (unsigned long long)m->next[k]);
            return false;
        }
        if (s && has_content && !same_content(h, s, k, m))
            return false;
    }
    return true;
}

/* ---- running ---- */

static void done(void *user, weir_status status, const struct journal_unit *u)
{
    struct unit *unit = user;
    unit->is_answered = true;
    unit->status = status;
    unit->answered_ns = clock_mono(&unit->history->clock.base);
}

static bool open_journal(struct history *h)
{
    struct error e = {0};
    struct journal_options o = {.path = "/j",
                                .slot_bytes = h->slot_bytes,
                                .disk = &h->sim.disk,
                                .clock = &h->clock.base,
                                .bytes_max = h->seed % 2 ? 0 : 24 * h->slot_bytes + (1 << 18),
                                .durability = h->durability,
                                .sync_every_ns = SYNC_EVERY_NS,
                                .kinds = kinds};
    h->journal = journal_open(&o, &e);
    if (!h->journal)
        (void)snprintf(h->why, sizeof h->why, "open: %.150s", e.text);
    return h->journal != NULL;
}

static void kill_journal(struct history *h)
{
    h->sim.is_dead = true;
    journal_close(h->journal);
    h->journal = NULL;
}

/* Was it synced? It was answered before that, so an interval later at the latest, where a round may
 * pass until anyone looks. Not where a second sync failed and found no place to move to. */
static bool is_unsure(const struct history *h, const struct unit *u)
{
    struct journal_health health = {0};
    if (h->durability == JOURNAL_FSYNC || !h->journal)
        return false;
    journal_health(h->journal, &health);
    if (!health.unsynced_bytes && !h->sim.is_dead && !health.is_failed)
        return false;
    bool is_stuck = health.is_failed || (health.is_full && health.sync_failures > 1);
    return h->durability == JOURNAL_OS || is_stuck ||
           clock_mono(&h->clock.base) - u->answered_ns < SYNC_EVERY_NS + 2 * ROUND_NS;
}

static bool is_all_synced(const struct history *h)
{
    struct journal_health health;
    journal_health(h->journal, &health);
    return health.unsynced_bytes == 0;
}

/* What the history may look like now: after the last answered unit, or after one more. */
static void settle(struct history *h)
{
    uint32_t i = 0;
    while (i < h->unit_count && h->units[i].is_answered && h->units[i].level != JOURNAL_WRITTEN &&
           !is_unsure(h, &h->units[i])) {
        if (h->units[i].status == WEIR_OK)
            model_apply(&h->base, &h->units[i]);
        else if (h->units[i].status == WEIR_E_FATAL)
            break; /* nobody knows */
        i++;
    }
    memmove(h->units, h->units + i, (h->unit_count - i) * sizeof *h->units);
    h->unit_count -= i;
}

static bool adopt(struct history *h)
{
    scratch = h->base;
    bool is_same = same(h, &scratch, true);
    for (uint32_t i = 0; i < h->unit_count && !is_same; i++) {
        if (h->units[i].is_answered && h->units[i].status == WEIR_E_RETRY)
            continue;
        model_apply(&scratch, &h->units[i]);
        is_same = same(h, &scratch, true);
    }
    h->base = scratch;
    h->unit_count = 0;
    return is_same;
}

static struct op random_op(struct history *h)
{
    uint64_t *r = &h->random;
    struct op o = {.stream = sim_below(r, STREAMS), .seed = (uint32_t)sim_random(r)};
    uint32_t roll = sim_below(r, 100);
    uint64_t next = h->base.next[o.stream];
    if (h->is_sparse)
        roll = roll < 40 ? 0 : roll < 95 ? 70 : roll;
    o.type = roll < 55 ? OP_PUT : roll < 85 ? OP_ACK : roll < 90 ? OP_NOTE : OP_COUNT;
    if (roll == 99)
        o.type = OP_TRIM;
    if (o.type == OP_NOTE)
        o.stream = 0;
    if (o.type == OP_PUT) {
        o.mask = 1 + sim_below(r, (1 << STREAMS) - 1);
        o.len = h->fixed_len       ? h->fixed_len
                : sim_below(r, 30) ? sim_below(r, 400)
                                   : sim_below(r, 6000);
    } else {
        uint64_t low = 0;
        while (low < next && !h->base.messages[o.stream][low].is_live)
            low++;
        o.first = (!h->is_sparse && sim_below(r, 3)) || low == next
                      ? low
                      : low + sim_random(r) % (next - low);
        o.count = 1 + sim_below(r, 20);
        if (o.type == OP_TRIM)
            o.first = low + sim_below(r, 10);
    }
    return o;
}

static void submit(struct history *h, uint32_t ops)
{
    struct journal *j = h->journal;
    struct unit *unit = &h->units[h->unit_count++];
    *unit = (struct unit){.history = h};
    struct journal_unit *u = journal_begin(j);
    static char payload[8192];
    for (uint32_t i = 0; i < ops; i++) {
        struct op o = unit->ops[unit->count++] = random_op(h);
        struct stream *to[STREAMS];
        size_t n = 0;
        for (uint32_t k = 0; o.type == OP_PUT && k < STREAMS; k++)
            if (o.mask >> k & 1)
                to[n++] = stream_open(j, stream_names[k], k == 0 ? KIND : 0, NULL);
        struct stream *s = stream_open(j, stream_names[o.stream], o.stream == 0 ? KIND : 0, NULL);
        fill(payload, o.len, o.seed);
        struct iovec parts[2] = {{payload, o.len / 2}, {payload + o.len / 2, o.len - o.len / 2}};
        uint64_t seed = o.seed;
        switch (o.type) {
        case OP_PUT:
            unit_put(u, to, n, parts, 2);
            break;
        case OP_ACK:
            unit_ack(u, s, o.first, o.count);
            break;
        case OP_TRIM:
            unit_trim(u, s, o.first);
            break;
        case OP_NOTE:
            unit_note(u, s, (weir_str){(char *)&seed, sizeof seed});
            break;
        case OP_COUNT:
            unit_count(u, journal_counter(j, "sum"), (int64_t)o.count);
            break;
        }
    }
    uint32_t roll = sim_below(&h->random, 10);
    unit->level = roll == 0 ? JOURNAL_LAZY : roll == 1 ? JOURNAL_WRITTEN : JOURNAL_SYNCED;
    journal_submit(u, unit->level, done, unit);
}

static bool has_space(const struct history *h)
{
    for (uint32_t k = 0; k < STREAMS; k++)
        if (h->base.next[k] + OPS_MAX * 12 >= RECORDS_MAX)
            return false;
    return true;
}

static bool is_failed(const struct history *h)
{
    for (uint32_t i = 0; i < h->unit_count; i++)
        if (h->units[i].is_answered && h->units[i].status == WEIR_E_FATAL)
            return true; /* it may heal, and nobody knows what became of these */
    struct journal_health health;
    journal_health(h->journal, &health);
    return health.is_failed;
}

/* One life of the process: units and commits until the power goes or enough was done. */
static bool live(struct history *h)
{
    bool is_directed = h->is_directed;
    uint64_t *r = &h->random;
    uint32_t rounds = is_directed ? 1 + sim_below(r, 5) : 5 + sim_below(r, h->is_sparse ? 150 : 40);
    for (uint32_t i = 0; i < rounds && !h->sim.is_dead && has_space(h) && !is_failed(h); i++) {
        uint32_t units = is_directed ? 1 : 1 + sim_below(r, h->is_sparse ? 2 : 8);
        for (uint32_t n = 0; n < units; n++)
            submit(h, is_directed ? 1 : 1 + sim_below(r, OPS_MAX));
        if (h->is_sparse)
            clock_fake_move(&h->clock, 6000000000);
        if (is_directed || sim_below(r, h->is_sparse ? 2 : 8))
            (void)journal_commit(h->journal);
        else
            for (int n = 0; n < 12; n++)
                journal_tick(h->journal);
        clock_fake_move(&h->clock, h->durability ? ROUND_NS : 0);
        bool is_sure = h->unit_count == 0 || h->units[h->unit_count - 1].is_answered;
        for (uint32_t n = 0; n < h->unit_count && is_sure && !h->sim.is_dead; n++)
            if (h->units[n].level == JOURNAL_WRITTEN && h->units[n].is_answered && !is_failed(h))
                h->units[n].level = JOURNAL_SYNCED; /* its group was synced as well */
        settle(h);
        if (h->unit_count > UNITS_MAX - 50)
            break;
        if (!h->sim.is_dead && !is_failed(h) && is_all_synced(h) && sim_below(r, 6) == 0 &&
            !same(h, &h->base, true))
            return false;
    }
    return true;
}

static void arm(struct history *h)
{
    uint64_t *r = &h->random;
    h->sim.ops = h->sim.writes = h->sim.syncs = 0;
    h->sim.power_at = sim_below(r, 4) ? 1 + sim_below(r, h->is_directed ? 12
                                                         : h->is_sparse ? 600
                                                                        : 120)
                                      : 0;
    h->sim.fail_sync_at = sim_below(r, 6) == 0 ? 1 + sim_below(r, 20) : 0;
    if (h->durability == JOURNAL_OS) /* then all since the last sync may be lost in any part */
        h->sim.fail_sync_at = 0;
    h->sim.fail_write_at = sim_below(r, 8) == 0 ? 1 + sim_below(r, 40) : 0;
    h->sim.is_short = sim_below(r, 6) == 0;
    if (h->is_tight && h->durability != JOURNAL_OS)
        h->sim.fail_sync_at = sim_below(r, 3) ? 1 + sim_below(r, 30) : 0;
    h->sim.fail_syncs = h->is_tight ? sim_below(r, 4) : 0;
}

static void crash(struct history *h)
{
    crash_states++;
    if (h->sim.is_dead || sim_below(&h->random, 3))
        sim_power_loss(&h->sim, (enum sim_loss)sim_below(&h->random, SIM_LOSSES));
    else
        sim_process_death(&h->sim);
}

static bool reopen(struct history *h)
{
    for (int tries = 0;; tries++) {
        if (tries < 4 && sim_below(&h->random, 3) == 0)
            h->sim.power_at = 1 + sim_below(&h->random, 20);
        bool is_open = open_journal(h);
        if (is_open && !h->sim.is_dead) {
            h->sim.power_at = 0;
            return true;
        }
        if (!is_open && !h->sim.is_dead)
            return false;
        if (is_open)
            kill_journal(h);
        crash(h);
    }
}

static bool run_history(struct history *h, uint64_t seed)
{
    bool is_directed = h->is_directed;
    clock_fake_init(&h->clock, 0);
    memset(&h->base, 0, sizeof h->base);
    h->unit_count = 0;
    h->seed = seed;
    h->random = seed * 0x2545F4914F6CDD1Du + 88172645463325252u;
    for (int i = 0; i < 8; i++)
        (void)sim_random(&h->random);
    h->slot_bytes = sim_below(&h->random, 2) ? 16384 : 32768;
    h->fixed_len = is_directed || h->is_sparse || sim_below(&h->random, 3) == 0 ? 100 : 0;
    sim_init(&h->sim, seed);
    h->sim.space = h->is_tight ? (2 + sim_below(&h->random, 5)) * h->slot_bytes + (1 << 18)
                               : (12 + sim_below(&h->random, 40)) * h->slot_bytes + (1 << 18);
    uint32_t lives = is_directed ? 30 : 3 + sim_below(&h->random, 8);
    bool is_good = true;
    for (uint32_t i = 0; i < lives && is_good; i++) {
        is_good = reopen(h) && adopt(h);
        if (!is_good)
            break;
        arm(h);
        is_good = live(h);
        struct journal_health health;
        journal_health(h->journal, &health);
        moves += health.sync_failures;
        compactions += health.compactions;
        checkpoints += health.checkpoints;
        bool is_clean = is_good && !h->sim.is_dead && sim_below(&h->random, 4) == 0;
        if (is_clean) {
            h->sim.power_at = 0;
            bool has_refuge = !health.unsynced_bytes || (health.sync_failures < 2 && !h->is_tight);
            journal_close(h->journal);
            h->journal = NULL;
            if (has_refuge)
                settle(h);
        } else {
            kill_journal(h);
            h->sim.is_dead = sim_below(&h->random, 2);
        }
        crash(h);
    }
    if (h->journal)
        kill_journal(h);
    sim_fini(&h->sim);
    return is_good;
}

static uint64_t rounds(uint64_t usual)
{
    const char *more = getenv("WEIR_FUZZ_ROUNDS");
    return more ? strtoull(more, NULL, 10) : usual;
}

static void run_many(const char *what, struct history as, uint64_t count)
{
    struct history *h = mem_copy(&as, sizeof as);
    const char *only = getenv("WEIR_FUZZ_SEED");
    h->units = mem_new(UNITS_MAX * sizeof *h->units);
    for (uint64_t seed = 1; seed <= count; seed++) {
        uint64_t which = only ? strtoull(only, NULL, 10) : seed;
        bool is_good = run_history(h, which);
        ck_assert_msg(is_good, "history %llu (%s): %s", (unsigned long long)which, what, h->why);
        if (only)
            break;
    }
    mem_free(h->units);
    mem_free(h);
    (void)printf(
        "%s: %llu crash states, %llu failed writes and syncs, %llu compactions, %llu checkpoints\n",
        what, (unsigned long long)crash_states, (unsigned long long)moves,
        (unsigned long long)compactions, (unsigned long long)checkpoints);
}

START_TEST(general_histories)
{
    run_many("general", (struct history){.seed = 0}, rounds(300));
}
END_TEST

START_TEST(short_generations_of_equal_length)
{
    run_many("directed", (struct history){.is_directed = true}, rounds(300));
}
END_TEST

START_TEST(holes_that_compaction_closes)
{
    run_many("sparse", (struct history){.is_sparse = true}, rounds(120));
}
END_TEST

START_TEST(small_disks_that_fail)
{
    run_many("tight", (struct history){.is_tight = true}, rounds(200));
}
END_TEST

START_TEST(units_that_are_answered_before_their_sync)
{
    struct history h = {.durability = _i % 2 ? JOURNAL_OS : JOURNAL_INTERVAL};
    h.is_directed = _i / 2 == 1;
    h.is_sparse = _i / 2 == 2;
    h.is_tight = _i / 2 == 3;
    run_many(_i % 2 ? "os" : "interval", h, rounds(100));
}
END_TEST

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    Suite *s = suite_create("journal crashes");
    TCase *t = tcase_create("crash");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, general_histories);
    tcase_add_test(t, short_generations_of_equal_length);
    tcase_add_test(t, holes_that_compaction_closes);
    tcase_add_test(t, small_disks_that_fail);
    tcase_add_loop_test(t, units_that_are_answered_before_their_sync, 0, 8);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
