/* journal/logstore.c: log groups on disk: appending, rolling, syncing, dropping what is too old. */
#include "journal/logstore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "journal/logstore_file.h"

#define NS_PER_MS      INT64_C(1000000)
#define SYNC_EVERY_NS  (1000 * NS_PER_MS)
#define CLEAN_EVERY_NS (30000 * NS_PER_MS)
#define IDLE_NS        (60000 * NS_PER_MS)
#define DAY_NS         (INT64_C(86400) * 1000 * NS_PER_MS)

enum { SLOTS = 256, FORMAT_BYTES_KEPT = 64 << 10 };

/* Groups live as long as the store: a removed one has no folder until the next put. */
struct group {
    struct group *next; /* of the slot */
    weir_str name;      /* its text is an arena's of the store */
    pthread_mutex_t lock;
    int folder, fd; /* -1: not open */
    char segment[LOGSTORE_SEGMENT_NAME];
    uint64_t bytes; /* of the segment */
    bool is_dirty;
    int64_t written_ns; /* mono */
    struct buf line;
};

struct logstore {
    int folder;
    char *path;
    struct logstore_options options;
    pthread_mutex_t lock; /* of the slots; taken before a group's */
    struct group *slots[SLOTS];
    struct arena names;
    pthread_mutex_t tick_lock;
    int64_t synced_ns, cleaned_ns;
};

struct logstore *logstore_open(const struct logstore_options *o, struct error *e)
{
    if (mkdir(o->path, 0700) < 0 && errno != EEXIST) {
        (void)error_sys(e, errno, "make %s", o->path);
        return NULL;
    }
    int folder = open(o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        (void)error_sys(e, errno, "open %s", o->path);
        return NULL;
    }
    struct logstore *l = MEM_NEW(struct logstore);
    l->folder = folder;
    l->path = mem_text(o->path);
    l->options = *o;
    l->options.path = l->path;
    if (!o->clock)
        l->options.clock = &clock_real;
    if (!o->segment_bytes)
        l->options.segment_bytes = 16 << 20;
    if (!o->bytes_max)
        l->options.bytes_max = UINT64_C(1) << 30;
    arena_init(&l->names);
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_mutex_init(&l->tick_lock, NULL);
    return l;
}

/* ---- groups ---- */

static struct group *find_group(struct logstore *l, weir_str name)
{
    struct group **slot = &l->slots[hash_bytes(name.ptr, name.len, 0) % SLOTS], *g;
    (void)pthread_mutex_lock(&l->lock);
    for (g = *slot; g && !text_same(g->name, name); g = g->next)
        ;
    if (!g) {
        g = MEM_NEW(struct group);
        g->name = (weir_str){arena_copy(&l->names, name.ptr, name.len), name.len};
        g->folder = g->fd = -1;
        (void)pthread_mutex_init(&g->lock, NULL);
        g->next = *slot;
        *slot = g;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return g;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void close_segment(struct group *g)
{
    if (g->fd >= 0 && g->is_dirty)
        (void)fdatasync(g->fd);
    g->is_dirty = false;
    close_fd(&g->fd);
}

static bool open_folder(const struct logstore *l, struct group *g)
{
    char folder[NAME_MAX + 1];
    struct stat st;
    if (g->folder >= 0 && fstat(g->folder, &st) == 0 && st.st_nlink)
        return true;
    close_segment(g);
    close_fd(&g->folder);
    logstore_file_folder(g->name, folder);
    bool is_new = mkdirat(l->folder, folder, 0700) == 0;
    g->folder = openat(l->folder, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->folder < 0)
        return false;
    if (is_new && strchr(folder, '~'))
        return logstore_file_write(g->folder, "name", g->name);
    return true;
}

/* Only a segment of which this store wrote every byte: one of an earlier run may end in half a line. */
static bool continue_segment(struct group *g, uint64_t bytes_max)
{
    struct stat st;
    g->fd = openat(g->folder, g->segment, O_RDWR | O_APPEND | O_CLOEXEC);
    if (g->fd < 0)
        return false;
    if (fstat(g->fd, &st) == 0 && (uint64_t)st.st_size == g->bytes && g->bytes < bytes_max)
        return true;
    close_fd(&g->fd);
    return false;
}

static void day_text(int64_t wall_ns, char day[9])
{
    char text[CLOCK_TEXT_BYTES];
    (void)clock_format(wall_ns, 0, text);
    memcpy(day, text, 4);
    memcpy(day + 4, text + 5, 2);
    memcpy(day + 6, text + 8, 2);
    day[8] = 0;
}

/* The segment of today that has room. Numbers rise over days, so that names sort by age. */
static bool open_segment(const struct logstore *l, struct group *g, int64_t wall_ns)
{
    char day[9], last[LOGSTORE_SEGMENT_NAME];
    uint64_t number = 0;
    day_text(wall_ns, day);
    if (g->fd >= 0 && g->bytes < l->options.segment_bytes && memcmp(g->segment, day, 8) >= 0)
        return true;
    close_segment(g);
    if (logstore_file_last(g->folder, "", last)) {
        if (memcmp(last, day, 8) >= 0 && strcmp(last, g->segment) == 0 &&
            continue_segment(g, l->options.segment_bytes))
            return true;
        /* A clock that went back does not make a name that sorts before the last one. */
        if (memcmp(last, day, 8) > 0)
            memcpy(day, last, 8);
        (void)text_to_u64((weir_str){last + 9, 6}, &number);
    }
    (void)snprintf(g->segment, sizeof g->segment, "%s-%06u.log", day,
                   (unsigned)((number + 1) % 1000000));
    g->fd = openat(g->folder, g->segment, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    g->bytes = 0;
    return g->fd >= 0;
}

/* ---- put ---- */

static weir_str cut(weir_str s)
{
    if (s.len <= LOGSTORE_TEXT_MAX)
        return s;
    size_t n = LOGSTORE_TEXT_MAX;
    while (n > LOGSTORE_TEXT_MAX - 4 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
        n--;
    return (weir_str){s.ptr, n};
}

static bool write_lines(struct group *g)
{
    ssize_t n;
    do
        n = write(g->fd, g->line.ptr, g->line.len);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)g->line.len) {
        g->bytes += g->line.len;
        g->is_dirty = true;
        return true;
    }
    /* Half a call is no call: the caller will put it again. If that fails a new segment is begun. */
    int why = n < 0 ? errno : ENOSPC;
    if (n > 0 && ftruncate(g->fd, (off_t)g->bytes) < 0)
        close_segment(g);
    errno = why;
    return false;
}

static void complain(const struct logstore *l, const struct group *g, int why)
{
    static struct log_limit limit;
    char text[128];
    uint64_t held = 0;
    if (log_limit_pass(&limit, 10, &held))
        log_write(WEIR_WARN, NULL, "log group %.*s in %s: %s", (int)g->name.len, g->name.ptr,
                  l->path, error_sys_text(why, text, sizeof text));
}

static void add_lines(struct group *g, weir_str stream, const weir_log_line *lines, size_t count,
                      int64_t wall_ns)
{
    struct logstore_line line = {.arrived_ms = wall_ns / NS_PER_MS, .stream = stream};
    g->line.len = 0;
    for (size_t i = 0; i < count; i++) {
        line.time_ms = (lines[i].time_ns ? lines[i].time_ns : wall_ns) / NS_PER_MS;
        line.text = cut(lines[i].text);
        logstore_file_add_line(&g->line, &line, true);
    }
    if (!count && stream.len) {
        line.time_ms = line.arrived_ms;
        logstore_file_add_line(&g->line, &line, false);
    }
}

weir_status logstore_put(struct logstore *l, weir_str group, weir_str stream,
                         const weir_log_line *lines, size_t count)
{
    bool is_stream = logstore_is_stream_name(stream) || (!stream.len && !count);
    if (!logstore_is_group_name(group) || !is_stream)
        return WEIR_E_REJECT;
    struct group *g = find_group(l, group);
    int64_t wall_ns = clock_wall(l->options.clock);
    (void)pthread_mutex_lock(&g->lock);
    add_lines(g, stream, lines, count, wall_ns);
    bool is_done =
        open_folder(l, g) && (!g->line.len || (open_segment(l, g, wall_ns) && write_lines(g)));
    g->written_ns = clock_mono(l->options.clock);
    if (!is_done)
        complain(l, g, errno);
    if (g->line.cap > FORMAT_BYTES_KEPT)
        buf_fini(&g->line);
    (void)pthread_mutex_unlock(&g->lock);
    return is_done ? WEIR_OK : WEIR_E_RETRY;
}

/* ---- settings of a group ---- */

weir_status logstore_retain(struct logstore *l, weir_str group, unsigned days)
{
    char folder[NAME_MAX + 1], text[16];
    weir_status status = WEIR_E_RETRY;
    logstore_file_folder(group, folder);
    int fd = openat(l->folder, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return WEIR_IDLE;
    int n = snprintf(text, sizeof text, "%u", days);
    if (days ? logstore_file_write(fd, "retention", (weir_str){text, (size_t)n})
             : unlinkat(fd, "retention", 0) == 0 || errno == ENOENT)
        status = WEIR_OK;
    (void)close(fd);
    return status;
}

weir_status logstore_remove(struct logstore *l, weir_str group)
{
    char folder[NAME_MAX + 1], segment[LOGSTORE_SEGMENT_NAME];
    struct group *g = find_group(l, group);
    logstore_file_folder(group, folder);
    (void)pthread_mutex_lock(&g->lock);
    close_segment(g);
    close_fd(&g->folder);
    int fd = openat(l->folder, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        while (logstore_file_next(fd, "", segment) && unlinkat(fd, segment, 0) == 0)
            ;
        (void)unlinkat(fd, "retention", 0);
        (void)unlinkat(fd, "new", 0);
        (void)unlinkat(fd, "name", 0);
        (void)close(fd);
    }
    bool is_removed = fd >= 0 && unlinkat(l->folder, folder, AT_REMOVEDIR) == 0;
    (void)pthread_mutex_unlock(&g->lock);
    if (fd < 0)
        return WEIR_IDLE;
    return is_removed ? WEIR_OK : WEIR_E_RETRY;
}

/* ---- tick ---- */

static void sync_group(struct group *g, int64_t mono_ns)
{
    (void)pthread_mutex_lock(&g->lock);
    int fd = g->is_dirty && g->fd >= 0 ? fcntl(g->fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0)
        g->is_dirty = false;
    if (!g->is_dirty && mono_ns - g->written_ns >= IDLE_NS) {
        close_fd(&g->fd);
        close_fd(&g->folder);
    }
    (void)pthread_mutex_unlock(&g->lock);
    if (fd < 0)
        return;
    if (fdatasync(fd) < 0)
        log_write(WEIR_WARN, NULL, "log group %.*s: its last lines may not be on disk",
                  (int)g->name.len, g->name.ptr);
    (void)close(fd);
}

static void sync_all(struct logstore *l)
{
    int64_t mono_ns = clock_mono(l->options.clock);
    for (size_t i = 0; i < SLOTS; i++) {
        (void)pthread_mutex_lock(&l->lock);
        struct group *g = l->slots[i]; /* groups are never freed, and new ones come in front */
        (void)pthread_mutex_unlock(&l->lock);
        for (; g; g = g->next)
            sync_group(g, mono_ns);
    }
}

struct old_segment {
    char folder[NAME_MAX + 1], name[LOGSTORE_SEGMENT_NAME];
    uint64_t bytes;
    bool is_open; /* the last of its group */
};

struct cleaning {
    struct logstore *l;
    int64_t wall_ns;
    struct old_segment *items;
    size_t count, cap;
    uint64_t bytes;
};

/* A segment is too old once its whole day is. */
static bool is_too_old(const struct cleaning *c, const char *segment, unsigned days)
{
    char text[CLOCK_TEXT_BYTES];
    int64_t day_ns = 0;
    (void)snprintf(text, sizeof text, "%.4s-%.2s-%.2sT00:00:00Z", segment, segment + 4,
                   segment + 6);
    return days && clock_parse(weir_text(text), &day_ns) == WEIR_OK &&
           c->wall_ns - (day_ns + DAY_NS) >= days * DAY_NS;
}

static void clean_group(struct cleaning *c, const char *folder)
{
    char name[LOGSTORE_SEGMENT_NAME] = "", next[LOGSTORE_SEGMENT_NAME];
    int fd = openat(c->l->folder, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    unsigned own = logstore_file_retention(fd);
    unsigned days = own ? own : c->l->options.retention_days;
    size_t first = c->count;
    while (logstore_file_next(fd, name, next)) {
        struct stat st;
        memcpy(name, next, sizeof name);
        /* The writer rolls with the day, so it does not write to one that is too old. */
        if (is_too_old(c, name, days)) {
            (void)unlinkat(fd, name, 0);
            continue;
        }
        if (fstatat(fd, name, &st, 0) < 0)
            continue;
        struct old_segment *s = &MEM_PUSH(c->items, c->count, c->cap);
        *s = (struct old_segment){.bytes = (uint64_t)st.st_size};
        (void)snprintf(s->folder, sizeof s->folder, "%s", folder);
        memcpy(s->name, name, sizeof name);
        c->bytes += s->bytes;
    }
    if (c->count > first)
        c->items[c->count - 1].is_open = true;
    (void)close(fd);
}

static int by_age(const void *a, const void *b)
{
    const struct old_segment *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The last segment of a group stays: it may be written to. */
static void shrink(struct cleaning *c)
{
    uint64_t max = c->l->options.bytes_max;
    char path[2 * NAME_MAX];
    if (c->bytes <= max)
        return;
    qsort(c->items, c->count, sizeof *c->items, by_age);
    for (size_t i = 0; i < c->count && c->bytes > max; i++) {
        const struct old_segment *s = &c->items[i];
        (void)snprintf(path, sizeof path, "%s/%s", s->folder, s->name);
        if (!s->is_open && unlinkat(c->l->folder, path, 0) == 0)
            c->bytes -= s->bytes;
    }
}

static void clean(struct logstore *l)
{
    struct cleaning c = {l, clock_wall(l->options.clock), NULL, 0, 0, 0};
    DIR *d = opendir(l->path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) { // NOLINT(concurrency-mt-unsafe): a DIR of our own
        if (e->d_name[0] != '.')
            clean_group(&c, e->d_name);
    }
    (void)closedir(d);
    shrink(&c);
    mem_free(c.items);
}

void logstore_tick(struct logstore *l)
{
    int64_t now_ns = clock_mono(l->options.clock);
    if (pthread_mutex_trylock(&l->tick_lock) != 0)
        return;
    if (now_ns - l->synced_ns >= SYNC_EVERY_NS) {
        l->synced_ns = now_ns;
        sync_all(l);
    }
    if (!l->cleaned_ns || now_ns - l->cleaned_ns >= CLEAN_EVERY_NS) {
        l->cleaned_ns = now_ns;
        clean(l);
    }
    (void)pthread_mutex_unlock(&l->tick_lock);
}

void logstore_close(struct logstore *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < SLOTS; i++) {
        for (struct group *g = l->slots[i], *next; g; g = next) {
            next = g->next;
            close_segment(g);
            close_fd(&g->folder);
            buf_fini(&g->line);
            (void)pthread_mutex_destroy(&g->lock);
            mem_free(g);
        }
    }
    (void)close(l->folder);
    (void)pthread_mutex_destroy(&l->lock);
    (void)pthread_mutex_destroy(&l->tick_lock);
    arena_fini(&l->names);
    mem_free(l->path);
    mem_free(l);
}
