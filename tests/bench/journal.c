/* tests/bench/journal.c: the journal next to a bare loop of appends and syncs, in the same run.
 *
 * usage: journal DIRECTORY [seconds a row [rows]]. The bare loop appends to zero-filled files of the
 * same size in turn, with a CRC over each message, and syncs once for all that wait. Both run in turns
 * of a twentieth of the time, as a disk may take twice as long in the next second; the ratio is the
 * median of the turns. `rows`: only those whose name contains it. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/journal.h"

enum { MESSAGE = 300, FILES = 4, FILE_BYTES = 16 << 20, KEPT = 200000, TURNS = 20 };

static double seconds = 1; /* of one measurement */
static const char *wanted = "";
static char message[MESSAGE];

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the bare loop ---- */

struct bare {
    int fds[FILES], current;
    size_t at, len;
    char *group, *back;
};

static struct bare bare;

static void bare_open(struct bare *b, const char *dir)
{
    char *zeros = mem_new(FILE_BYTES);
    memset(b, 0, sizeof *b);
    for (int i = 0; i < FILES; i++) {
        char *path = mem_format("%s/bare-%d", dir, i);
        b->fds[i] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (b->fds[i] < 0 || pwrite(b->fds[i], zeros, FILE_BYTES, 0) != FILE_BYTES ||
            fsync(b->fds[i]) != 0 || unlink(path) != 0) {
            perror(path);
            exit(1);
        }
        mem_free(path);
    }
    mem_free(zeros);
    b->group = mem_new(4 << 20);
    b->back = mem_new(4 << 20);
}

static void bare_close(struct bare *b)
{
    for (int i = 0; i < FILES; i++)
        (void)close(b->fds[i]);
    mem_free(b->group);
    mem_free(b->back);
}

static void bare_add(struct bare *b, const char *bytes, uint32_t n)
{
    uint32_t head[2] = {n, hash_crc32c(0, bytes, n)};
    memcpy(b->group + b->len, head, sizeof head);
    memcpy(b->group + b->len + sizeof head, bytes, n);
    b->len += sizeof head + n;
}

static void bare_sync(struct bare *b)
{
    if (b->at + b->len > FILE_BYTES) {
        b->current = (b->current + 1) % FILES;
        b->at = 0;
    }
    int fd = b->fds[b->current];
    if (pwrite(fd, b->group, b->len, (off_t)b->at) != (ssize_t)b->len || fdatasync(fd) != 0)
        exit(1);
    b->at += b->len;
    b->len = 0;
}

static double bare_enqueue(int waiters)
{
    struct bare *b = &bare;
    uint64_t n = 0;
    double start = now(), end = start + seconds;
    while (now() < end) {
        for (int i = 0; i < waiters; i++)
            bare_add(b, message, MESSAGE);
        bare_sync(b);
        n += (uint64_t)waiters;
    }
    return (double)n / (now() - start);
}

/* Enqueue, read back, acknowledge: two syncs a turn. */
static double bare_cycle(int batch)
{
    struct bare *b = &bare;
    uint64_t n = 0;
    char ack[32] = {0};
    double start = now(), end = start + seconds;
    while (now() < end) {
        for (int i = 0; i < batch; i++)
            bare_add(b, message, MESSAGE);
        size_t len = b->len;
        bare_sync(b);
        if (pread(b->fds[b->current], b->back, len, (off_t)(b->at - len)) != (ssize_t)len)
            exit(1);
        bare_add(b, ack, sizeof ack);
        bare_sync(b);
        n += (uint64_t)batch;
    }
    return (double)n / (now() - start);
}

/* ---- the journal ---- */

static struct journal *journal;
static struct stream *stream;
static _Atomic uint64_t answered;
static _Atomic int waiting;
static _Atomic bool is_over;

static void check(weir_status status)
{
    if (status == WEIR_OK)
        return;
    (void)fprintf(stderr, "a unit was refused with status %d\n", (int)status);
    exit(1);
}

static uint32_t since_trim; /* the committer's */

static void submit(int puts, journal_done *done);

static void trim(void)
{
    if (stream_next(stream) <= KEPT)
        return;
    struct journal_unit *u = journal_begin(journal);
    unit_trim(u, stream, stream_next(stream) - KEPT);
    journal_submit(u, JOURNAL_LAZY, NULL, NULL);
}

static void again(void *user, weir_status status, const struct journal_unit *u)
{
    check(status);
    atomic_fetch_add(&answered, 1);
    if (++since_trim == KEPT / 4) { /* old ones go: slots are used again */
        since_trim = 0;
        trim();
    }
    if (atomic_load(&is_over))
        atomic_fetch_sub(&waiting, 1);
    else
        submit(1, again);
}

static void submit(int puts, journal_done *done)
{
    struct journal_unit *u = journal_begin(journal);
    struct iovec part = {message, MESSAGE};
    for (int i = 0; i < puts; i++)
        unit_put(u, &stream, 1, &part, 1);
    journal_submit(u, JOURNAL_SYNCED, done, NULL);
}

/* Each waiter puts the next message when the last one is durable. */
static double run_waiters(int waiters, bool has_thread)
{
    atomic_store(&answered, 0);
    atomic_store(&waiting, waiters);
    atomic_store(&is_over, false);
    double start = now(), end = start + seconds;
    for (int i = 0; i < waiters; i++)
        submit(1, again);
    while (now() < end)
        if (has_thread)
            (void)usleep(
                (useconds_t)(seconds * 1e6)); /* waking now and then keeps the processor awake */
        else
            (void)journal_commit(journal);
    atomic_store(&is_over, true);
    double rate = (double)atomic_load(&answered) / (now() - start);
    while (atomic_load(&waiting) > 0)
        if (!has_thread)
            (void)journal_commit(journal);
    return rate;
}

static double run_inline(int waiters)
{
    return run_waiters(waiters, false);
}

static double run_thread(int waiters)
{
    return run_waiters(waiters, true);
}

static double run_batches(int batch)
{
    uint64_t n = 0;
    double start = now(), end = start + seconds;
    while (now() < end) {
        struct journal_unit *u = journal_begin(journal);
        struct iovec part = {message, MESSAGE};
        for (int i = 0; i < batch; i++)
            unit_put(u, &stream, 1, &part, 1);
        if (stream_next(stream) > KEPT)
            unit_trim(u, stream, stream_next(stream) - KEPT);
        check(journal_submit_wait(u));
        n += (uint64_t)batch;
    }
    return (double)n / (now() - start);
}

static double run_cycles(int batch)
{
    uint64_t n = 0;
    struct reader *r = reader_new(stream, stream_next(stream));
    double start = now(), end = start + seconds;
    while (now() < end) {
        uint64_t first = stream_next(stream), sequence;
        submit(batch, NULL);
        (void)journal_commit(journal);
        weir_str got;
        for (int i = 0; i < batch; i++)
            check(reader_next(r, &got, &sequence));
        struct journal_unit *u = journal_begin(journal);
        unit_ack(u, stream, first, (uint64_t)batch);
        check(journal_submit_wait(u));
        n += (uint64_t)batch;
    }
    reader_free(r);
    return (double)n / (now() - start);
}

static void open_at(const char *path)
{
    struct error e = {0};
    struct journal_options o = {.path = path};
    double start = now();
    journal = journal_open(&o, &e);
    if (!journal) {
        (void)fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    stream = stream_open(journal, "bench", 0, &e);
    (void)printf("open with %llu records: %.2f ms\n", (unsigned long long)stream_live(stream),
                 (now() - start) * 1e3);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, TURNS, sizeof *values, by_value);
    return values[TURNS / 2];
}

static void row(const char *what, double (*loop)(int), double (*own)(int), int n)
{
    double usual = seconds, base[TURNS], ours[TURNS], ratio[TURNS];
    if (!strstr(what, wanted))
        return;
    seconds /= TURNS;
    struct journal_health h;
    journal_health(journal, &h);
    uint64_t groups = h.groups;
    double total = 0;
    for (int i = 0; i < TURNS; i++) {
        base[i] = loop(n);
        ours[i] = own(n);
        ratio[i] = ours[i] / base[i];
        total += ours[i] * seconds;
    }
    seconds = usual;
    journal_health(journal, &h);
    (void)printf("%-34s bare %10.0f/s  journal %10.0f/s  ratio %.2f  group %.1f\n", what,
                 median(base), median(ours), median(ratio), total / (double)(h.groups - groups));
    (void)fflush(stdout);
}

/* ---- a sink that is down ---- */

enum { BACKLOG = 10000000, BACKLOG_UNIT = 10000, BACKLOG_BYTES = 32 };

static double resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%*u %lu", &pages) != 1) /* NOLINT(cert-err34-c) */
        exit(1);
    (void)fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double disk_bytes(void)
{
    struct journal_health h;
    journal_health(journal, &h);
    return (double)h.bytes_used;
}

static double open_seconds(const char *path)
{
    struct error e = {0};
    struct journal_options o = {.path = path, .bytes_max = 64ULL << 30};
    double start = now();
    journal = journal_open(&o, &e);
    if (!journal) {
        (void)fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    stream = stream_open(journal, "down", 0, &e);
    return now() - start;
}

static void remove_checkpoint(const char *path, const char *name)
{
    char *file = mem_format("%s/%s", path, name);
    if (unlink(file) != 0)
        perror(file);
    mem_free(file);
}

/* Ten million live messages: what they cost in memory, an open by the checkpoint, and one that has none
 * and reads the whole log, both from a warm cache. */
static void run_backlog(const char *path)
{
    (void)open_seconds(path);
    double before = resident_bytes();
    for (int i = 0; i < BACKLOG / BACKLOG_UNIT; i++) {
        struct journal_unit *u = journal_begin(journal);
        struct iovec part = {message, BACKLOG_BYTES};
        for (int n = 0; n < BACKLOG_UNIT; n++)
            unit_put(u, &stream, 1, &part, 1);
        check(journal_submit_wait(u));
    }
    double each = (resident_bytes() - before) / BACKLOG;
    journal_close(journal);
    double with = open_seconds(path);
    double bytes = disk_bytes();
    if (stream_live(stream) != BACKLOG)
        exit(1);
    journal_close(journal);
    remove_checkpoint(path, "check-a");
    remove_checkpoint(path, "check-b");
    double without = open_seconds(path);
    if (stream_live(stream) != BACKLOG)
        exit(1);
    journal_close(journal);
    (void)printf("backlog of %d: memory %.2f bytes each\n", BACKLOG, each > 0 ? each : 0);
    (void)printf("backlog of %d: open with a checkpoint %.1f ms\n", BACKLOG, with * 1e3);
    (void)printf("backlog of %d: recovery without one %.2f GB/s, %.0f ms\n", BACKLOG,
                 bytes / without / 1e9, without * 1e3);
}

static void warm(void)
{
    double usual = seconds;
    seconds = 0.5;
    (void)run_batches(1000);
    for (int i = 0; i < 64; i++)
        journal_tick(journal);
    seconds = usual;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s DIRECTORY [seconds a row]\n", argv[0]);
        return 64;
    }
    log_setup((struct log_settings){.level = WEIR_WARN});
    seconds = argc > 2 ? strtod(argv[2], NULL) : 1;
    memset(message, 'x', sizeof message);
    wanted = argc > 3 ? argv[3] : "";
    bare_open(&bare, argv[1]);
    char *path = mem_format("%s/journal", argv[1]);
    open_at(path);
    warm();
    row("1 waiter, inline", bare_enqueue, run_inline, 1);
    row("16 waiters, inline", bare_enqueue, run_inline, 16);
    row("64 waiters, inline", bare_enqueue, run_inline, 64);
    row("256 waiters, inline", bare_enqueue, run_inline, 256);
    row("batches of 1000", bare_enqueue, run_batches, 1000);
    row("enqueue, read, ack: by 1000", bare_cycle, run_cycles, 1000);
    row("enqueue, read, ack: by 10", bare_cycle, run_cycles, 10);
    struct error e = {0};
    if (journal_start_thread(journal, &e) != 0)
        return 1;
    row("1 waiter, thread", bare_enqueue, run_thread, 1);
    row("16 waiters, thread", bare_enqueue, run_thread, 16);
    row("64 waiters, thread", bare_enqueue, run_thread, 64);
    row("256 waiters, thread", bare_enqueue, run_thread, 256);
    row("batches of 1000, thread", bare_enqueue, run_batches, 1000);
    journal_close(journal);
    open_at(path);
    journal_close(journal);
    bare_close(&bare);
    mem_free(path);
    if (*wanted)
        return 0;
    path = mem_format("%s/backlog", argv[1]);
    run_backlog(path);
    mem_free(path);
    return 0;
}
