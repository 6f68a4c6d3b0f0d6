/* pipeline/trace.c: where each event went. */
#include "pipeline/trace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/pipeline.h"

enum { FILES = 8, DETAIL_MAX = TRACE_DETAIL_MAX };
static const char magic[8] = "weirtrc1";

struct head {
    uint16_t length;
    uint8_t kind, stage;
    uint16_t detail, zero;
    int64_t time_ns;
    weir_id id;
};
_Static_assert(sizeof(struct head) == 32, "the format of trace files");

struct trace {
    pthread_mutex_t lock;
    char *folder;
    uint64_t file_max, file_bytes;
    unsigned number;
    int fd;
};

static unsigned number_of(const char *name)
{
    char *end = NULL;
    unsigned long n = strtoul(name, &end, 10);
    return end != name && strcmp(end, ".trace") == 0 && n <= 99999999 ? (unsigned)n : 0;
}

static unsigned newest(const char *folder)
{
    unsigned most = 0;
    DIR *dir = opendir(folder);
    const struct dirent *d;
    while (dir && (d = readdir(dir))) { /* NOLINT(concurrency-mt-unsafe): a stream of our own */
        unsigned n = number_of(d->d_name);
        most = n > most ? n : most;
    }
    if (dir)
        (void)closedir(dir);
    return most;
}

static int next_file(struct trace *t)
{
    char *path = mem_format("%s/%08u.trace", t->folder, t->number + 1);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    mem_free(path);
    if (fd < 0 || write(fd, magic, sizeof magic) != (ssize_t)sizeof magic) {
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = fd;
    t->file_bytes = sizeof magic;
    t->number++;
    if (t->number > FILES) {
        path = mem_format("%s/%08u.trace", t->folder, t->number - FILES);
        (void)unlink(path);
        mem_free(path);
    }
    return 0;
}

struct trace *trace_open(const char *folder, uint64_t bytes_max, struct error *e)
{
    if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
        (void)error_sys(e, errno, "mkdir %s", folder);
        return NULL;
    }
    struct trace *t = MEM_NEW(struct trace);
    (void)pthread_mutex_init(&t->lock, NULL);
    t->folder = mem_text(folder);
    t->file_max = bytes_max / FILES;
    t->fd = -1;
    t->number = newest(folder);
    if (next_file(t) < 0) {
        (void)error_sys(e, errno, "open a trace file in %s", folder);
        trace_close(t);
        return NULL;
    }
    return t;
}

void trace_close(struct trace *t)
{
    if (!t)
        return;
    if (t->fd >= 0)
        (void)close(t->fd);
    (void)pthread_mutex_destroy(&t->lock);
    mem_free(t->folder);
    mem_free(t);
}

void trace_add(struct worker *w, const struct stage *s, const struct event *ev,
               enum trace_kind kind, const char *detail)
{
    if (!w->pipeline->trace)
        return;
    size_t stage = strlen(s->name), more = detail ? strnlen(detail, DETAIL_MAX) : 0;
    struct head h = {.kind = (uint8_t)kind, .stage = (uint8_t)stage, .detail = (uint16_t)more};
    h.length = (uint16_t)(sizeof h + stage + more);
    h.time_ns = worker_now(w);
    h.id = ev->pub.id;
    char *at = buf_room(&w->trace, h.length);
    memcpy(at, &h, sizeof h);
    memcpy(at + sizeof h, s->name, stage);
    if (more)
        memcpy(at + sizeof h + stage, detail, more);
    w->trace.len += h.length;
}

/* The trace is a help, not a promise: when it cannot be written the events go on. */
void trace_flush(struct trace *t, struct buf *lines)
{
    static struct log_limit limit;
    uint64_t held;
    if (!t || !lines->len)
        return;
    (void)pthread_mutex_lock(&t->lock);
    if (t->file_bytes + lines->len > t->file_max)
        (void)next_file(t);
    ssize_t n = write(t->fd, lines->ptr, lines->len);
    if (n > 0)
        t->file_bytes += (uint64_t)n;
    (void)pthread_mutex_unlock(&t->lock);
    if (n != (ssize_t)lines->len && log_limit_pass(&limit, 10, &held))
        log_write(WEIR_WARN, NULL, "the trace cannot be written: lines of it are missing");
    lines->len = 0;
}

const char *trace_kind_text(enum trace_kind kind)
{
    static const char *const texts[] = {"?",         "accepted", "passed",        "filtered",
                                        "delivered", "retry",    "dead-lettered", "dropped",
                                        "failed",    "replayed", "rule"};
    return (unsigned)kind < sizeof texts / sizeof *texts ? texts[kind] : "?";
}

struct found {
    const weir_id *id;
    struct trace_hop *hops;
    size_t count, cap;
    struct arena texts;
};

static void scan(struct found *f, weir_str bytes)
{
    struct head h;
    while (bytes.len >= sizeof h) {
        memcpy(&h, bytes.ptr, sizeof h);
        if (h.length < sizeof h || h.length > bytes.len ||
            (size_t)h.stage + h.detail > h.length - sizeof h)
            return; /* a torn end */
        if (memcmp(&h.id, f->id, sizeof h.id) == 0) {
            char *texts = arena_copy(&f->texts, bytes.ptr + sizeof h, h.length - sizeof h);
            struct trace_hop hop = {(enum trace_kind)h.kind,     h.time_ns, h.id, {texts, h.stage},
                                    {texts + h.stage, h.detail}, f->count};
            MEM_PUSH(f->hops, f->count, f->cap) = hop;
        }
        bytes = (weir_str){bytes.ptr + h.length, bytes.len - h.length};
    }
}

static void scan_file(struct found *f, const char *folder, const char *name)
{
    struct buf text = {0};
    char *path = mem_format("%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    mem_free(path);
    if (fd < 0)
        return;
    ssize_t n;
    while ((n = read(fd, buf_room(&text, 1 << 16), 1 << 16)) > 0)
        text.len += (size_t)n;
    (void)close(fd);
    if (text.len >= sizeof magic && memcmp(text.ptr, magic, sizeof magic) == 0)
        scan(f, (weir_str){text.ptr + sizeof magic, text.len - sizeof magic});
    buf_fini(&text);
}

static int by_time(const void *a, const void *b)
{
    const struct trace_hop *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

int trace_find(const char *folder, const weir_id *id,
               void (*fn)(void *user, const struct trace_hop *hop), void *user, struct error *e)
{
    struct found f = {.id = id};
    DIR *dir = opendir(folder);
    if (!dir)
        return error_sys(e, errno, "open %s", folder);
    arena_init(&f.texts);
    const struct dirent *d;
    while ((d = readdir(dir))) /* NOLINT(concurrency-mt-unsafe): a stream of our own */
        if (number_of(d->d_name))
            scan_file(&f, folder, d->d_name);
    (void)closedir(dir);
    if (f.count)
        qsort(f.hops, f.count, sizeof *f.hops, by_time);
    for (size_t i = 0; i < f.count; i++)
        fn(user, &f.hops[i]);
    mem_free(f.hops);
    arena_fini(&f.texts);
    return 0;
}
