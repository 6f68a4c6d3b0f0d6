/* tests/faults/driver.c: a journal with a queue under faults, and the check of what they left.
 *
 *   driver run DIR NOTES SEED ROUNDS   sends, receives, removes, rotates and compacts; tells NOTES,
 *                                      before and after each unit, what it tries and what it was told
 *   driver check DIR NOTES [doubt]     opens DIR and holds it against NOTES; 1: something is lost,
 *                                      wrong or there twice, or the sums differ from the records.
 *                                      doubt: what was refused may be there, as a whole, where no
 *                                      write that would have taken it back succeeded any more
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/queue.h"

enum { IDS_MAX = 20000, SLOT_BYTES = 32768, RECEIVES_MAX = 3, LEN_MAX = 2500 };
#define SECOND INT64_C(1000000000)
#define NOW_NS INT64_C(1700000000000000000)

enum fate { UNKNOWN, TRIED, ACCEPTED, REFUSED, REMOVING, REMOVED };

static struct clock_fake now;
static struct journal *journal;
static struct queue *work, *dead;
static uint32_t sent_counter, gone_counter;
static uint64_t dice;
static int notes_fd;

static uint32_t roll(uint32_t n)
{
    dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(dice >> 33) % n;
}

static size_t body_of(uint32_t id, char *out)
{
    uint64_t s = (id + 1) * UINT64_C(0x9E3779B97F4A7C15);
    size_t len = 40 + (s >> 40) % (id % 13 ? 300 : LEN_MAX - 40);
    int head = snprintf(out, LEN_MAX, "%u:", id);
    for (size_t i = (size_t)head; i < len; i++) {
        s = s * UINT64_C(6364136223846793005) + 1;
        out[i] = (char)(s >> 56);
    }
    return len;
}

static int open_all(const char *dir)
{
    static const struct stream_kind *const kinds[] = {&queue_kind, NULL};
    struct error e = {0};
    struct journal_options o = {.path = dir,
                                .slot_bytes = SLOT_BYTES,
                                .clock = &now.base,
                                .kinds = kinds};
    struct queue_settings s = {.visibility_ns = 5 * SECOND,
                               .dead_letters = "dead",
                               .receives_max = RECEIVES_MAX};
    struct queue_settings none = {0};
    journal = journal_open(&o, &e);
    work = journal ? queue_open(journal, "work", &s, &e) : NULL;
    dead = journal ? queue_open(journal, "dead", &none, &e) : NULL;
    if (!work || !dead) {
        (void)fprintf(stderr, "open: %s\n", e.text);
        return -1;
    }
    sent_counter = journal_counter(journal, "sent");
    gone_counter = journal_counter(journal, "gone");
    return 0;
}

/* ---- running ---- */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char line[64];
    va_list values;
    va_start(values, format);
    int n = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (write(notes_fd, line, (size_t)n) != n)
        abort();
}

static void done(void *user, weir_status status, const struct journal_unit *u)
{
    *(int *)user = (int)status;
}

static int submit(struct journal_unit *u)
{
    int status = WEIR_E_FATAL;
    journal_submit(u, JOURNAL_SYNCED, done, &status);
    (void)journal_commit(journal);
    return status;
}

/* false: the journal has failed. */
static bool send_some(uint32_t *next)
{
    static char bodies[8][LEN_MAX];
    uint32_t n = 1 + roll(8), first = *next;
    struct journal_unit *u = journal_begin(journal);
    for (uint32_t i = 0; i < n; i++) {
        struct queue_send m = {.body = {bodies[i], body_of(first + i, bodies[i])}, .delay_ns = -1};
        queue_send(work, u, &m);
    }
    unit_count(u, sent_counter, n);
    *next += n;
    note("tried %u %u\n", first, n);
    int status = submit(u);
    if (status == WEIR_OK)
        note("accepted %u %u\n", first, n);
    else if (status == WEIR_E_RETRY)
        note("refused %u %u\n", first, n);
    return status == WEIR_OK || status == WEIR_E_RETRY;
}

/* Most are removed; some are given back until they are dead letters, so that there are holes. */
static bool receive_some(void)
{
    struct queue_message got[10];
    struct buf bodies = {0};
    size_t n = queue_receive(work, 1 + roll(10), 0, got, &bodies), removed = 0;
    uint32_t ids[10];
    struct journal_unit *u = journal_begin(journal);
    for (size_t i = 0; i < n; i++) {
        ids[removed] = (uint32_t)strtoul(got[i].body.ptr, NULL, 10);
        if (ids[removed] % 6 == 0 || roll(8) == 0) {
            (void)queue_give_back(work, got[i].receipt, 0);
            continue;
        }
        note("removing %u 1\n", ids[removed]);
        if (!queue_remove(work, got[i].receipt, u))
            abort();
        removed++;
    }
    buf_fini(&bodies);
    unit_count(u, gone_counter, (int64_t)removed);
    int status = submit(u);
    for (size_t i = 0; i < removed && status == WEIR_OK; i++)
        note("removed %u 1\n", ids[i]);
    return status != WEIR_E_FATAL;
}

static int run(const char *dir, uint32_t rounds)
{
    uint32_t next = 0;
    if (open_all(dir) < 0)
        return 2;
    note("open 0 0\n");
    bool goes_on = true;
    for (uint32_t i = 0; i < rounds && goes_on && next + 8 < IDS_MAX; i++) {
        goes_on = send_some(&next);
        /* It grows first, then shrinks, so that segments empty out and are packed. */
        for (uint32_t k = 0; k < (i < rounds / 2 ? 1U : 3U) && goes_on; k++)
            goes_on = receive_some();
        clock_fake_move(&now, 2 * SECOND);
        for (int k = 0; k < 4; k++)
            journal_tick(journal);
    }
    struct journal_health h;
    journal_health(journal, &h);
    (void)printf("%u sent, %llu segments, %llu checkpoints, %llu compactions\n", next,
                 (unsigned long long)h.segments, (unsigned long long)h.checkpoints,
                 (unsigned long long)h.compactions);
    journal_close(journal);
    return 0;
}

/* ---- checking ---- */

static enum fate fates[IDS_MAX];
static bool is_unit_end[IDS_MAX];
static uint32_t seen[IDS_MAX], wrong;

static void fail(const char *what, uint32_t id)
{
    if (wrong++ < 10)
        (void)fprintf(stderr, "%u: %s\n", id, what);
}

static int read_notes(const char *path, bool has_doubt)
{
    static const char *const words[] = {
        [TRIED] = "tried",       [ACCEPTED] = "accepted", [REFUSED] = "refused",
        [REMOVING] = "removing", [REMOVED] = "removed",
    };
    char word[16];
    unsigned first, n;
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? 0 : -1;
    while (fscanf(f, "%15s %u %u", word, &first, &n) == 3) {
        for (enum fate k = TRIED; k <= REMOVED; k++) {
            for (uint32_t i = first; strcmp(word, words[k]) == 0 && i < first + n; i++) {
                if (i >= IDS_MAX)
                    return -1;
                if (k != REFUSED || !has_doubt)
                    fates[i] = k;
                is_unit_end[i] |= i == first + n - 1;
            }
        }
    }
    return fclose(f);
}

static bool see(void *user, const struct queue_message *m, const char *state)
{
    static char expected[LEN_MAX];
    uint32_t id = m->body.len ? (uint32_t)strtoul(m->body.ptr, NULL, 10) : IDS_MAX;
    if (id >= IDS_MAX || m->body.len != body_of(id, expected) ||
        memcmp(m->body.ptr, expected, m->body.len) != 0)
        fail("not what was sent", id);
    else
        seen[id]++;
    return true;
}

static void check_one(uint32_t id)
{
    if (seen[id] > 1)
        fail("there twice", id);
    switch (fates[id]) {
    case ACCEPTED:
        if (seen[id] == 0)
            fail("accepted and lost", id);
        break;
    case REMOVED:
        if (seen[id])
            fail("removed and back", id);
        break;
    case REFUSED:
    case UNKNOWN:
        if (seen[id])
            fail("refused and there", id);
        break;
    case TRIED: /* all of a unit or nothing */
        if (!is_unit_end[id] && seen[id] != seen[id + 1])
            fail("a part of its unit", id);
        break;
    case REMOVING:
        break;
    }
}

static void check_all(int64_t *sent, uint64_t *live)
{
    struct journal_health h;
    uint64_t there = 0, was_sent = 0;
    memset(seen, 0, sizeof seen);
    queue_walk(work, 0, see, NULL);
    queue_walk(dead, 0, see, NULL);
    for (uint32_t id = 0; id < IDS_MAX; id++) {
        check_one(id);
        there += seen[id];
        was_sent +=
            fates[id] == ACCEPTED || fates[id] >= REMOVING || (fates[id] == TRIED && seen[id]);
    }
    *sent = journal_counter_value(journal, sent_counter);
    *live = stream_live(stream_find(journal, "queue/work")) +
            stream_live(stream_find(journal, "queue/dead"));
    if (*sent != (int64_t)was_sent)
        fail("the sum of what was sent differs", (uint32_t)*sent);
    if (*sent - journal_counter_value(journal, gone_counter) != (int64_t)there || there != *live)
        fail("the sums differ from the records", (uint32_t)there);
    journal_health(journal, &h);
    if (h.damaged_bytes || h.lost_records)
        fail("a crash was taken for damage", (uint32_t)h.damaged_bytes);
}

/* Twice: what the first open repaired must be what the second one finds. */
static int check(const char *dir, const char *notes, bool has_doubt)
{
    int64_t sent[2] = {0};
    uint64_t live[2] = {0};
    if (read_notes(notes, has_doubt) < 0) {
        perror(notes);
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        if (open_all(dir) < 0)
            return 2;
        check_all(&sent[i], &live[i]);
        journal_close(journal);
    }
    if (sent[0] != sent[1] || live[0] != live[1])
        fail("not the same after one more open", 0);
    (void)printf("%lld sent, %llu live\n", (long long)sent[0], (unsigned long long)live[0]);
    return wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 64;
    log_setup((struct log_settings){.level = WEIR_ERROR});
    clock_fake_init(&now, NOW_NS);
    if (strcmp(argv[1], "check") == 0) {
        clock_fake_move(&now, 3600 * SECOND);
        return check(argv[2], argv[3], argc > 4);
    }
    if (argc < 6)
        return 64;
    notes_fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dice = strtoull(argv[4], NULL, 10);
    return notes_fd < 0 ? 2 : run(argv[2], (uint32_t)strtoul(argv[5], NULL, 10));
}
