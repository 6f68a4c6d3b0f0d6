/* schedule/position.c: the file that remembers, over restarts, how far each schedule has run. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schedule.h"

enum { LINE_MAX_BYTES = 256, FILE_MAX = SCHEDULES_MAX * LINE_MAX_BYTES };
#define TIME_MAX_S INT64_C(253402300799) /* the end of the year 9999 */
static const char title[] = "weir schedule 1\n";

/* ---- reading ------------------------------------------------------------------------------------ */

static bool take_time(const char **at, const char *end, char after, int64_t *n)
{
    const char *from = *at;
    for (*n = 0; *at < end && **at >= '0' && **at <= '9'; (*at)++)
        if ((*n = *n * 10 + (**at - '0')) > TIME_MAX_S)
            return false;
    return *at > from && *at < end && *(*at)++ == after;
}

static bool take_hash(const char **at, const char *end, uint64_t *n)
{
    const char *from = *at;
    for (*n = 0; *at < end && *at - from < 16; (*at)++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = **at ? strchr(digits, **at) : NULL;
        if (!digit)
            return false;
        *n = *n << 4 | (uint64_t)(digit - digits);
    }
    return *at - from == 16 && *at < end && *(*at)++ == ' ';
}

/* "HASH ANCHOR LAST NAME" */
static bool read_line(const char *at, const char *end, struct run *runs, size_t count)
{
    uint64_t meaning = 0;
    int64_t anchor_s = 0, last_s = 0;
    if (!take_hash(&at, end, &meaning) || !take_time(&at, end, ' ', &anchor_s) ||
        !take_time(&at, end, ' ', &last_s))
        return false;
    weir_str name = {at, (size_t)(end - at)};
    for (size_t i = 0; i < count; i++)
        if (weir_same(name, runs[i].name) && runs[i].meaning == meaning) {
            runs[i].anchor_s = anchor_s;
            runs[i].last_s = last_s;
        }
    return true;
}

bool position_read(weir_str text, struct run *runs, size_t count)
{
    size_t n = sizeof title - 1;
    if (text.len < n || memcmp(text.ptr, title, n) != 0)
        return false;
    for (const char *at = text.ptr + n, *end = text.ptr + text.len; at < end;) {
        const char *stops = memchr(at, '\n', (size_t)(end - at));
        if (!stops || !read_line(at, stops, runs, count))
            return false;
        at = stops + 1;
    }
    return true;
}

void position_load(struct schedule *s, const weir_host *h)
{
    int fd = open(s->position_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT)
        (void)h->fail(h, WEIR_E_RETRY, errno, "open %s: what was missed is not known",
                      s->position_path);
    if (fd < 0)
        return;
    char *text = h->scratch(h, FILE_MAX);
    ssize_t got = 0;
    size_t n = 0;
    while (n < FILE_MAX && (got = read(fd, text + n, FILE_MAX - n)) > 0)
        n += (size_t)got;
    (void)close(fd);
    if (got < 0 || !position_read((weir_str){text, n}, s->runs, s->count))
        h->log(h, WEIR_WARN, "%s is no position of schedules: what was missed is not known",
               s->position_path);
}

/* ---- writing ------------------------------------------------------------------------------------ */

bool position_place(struct schedule *s, const weir_host *h)
{
    const weir_pipeline *p = s->pipeline;
    char *path = s->position_path;
    size_t size = sizeof s->position_path;
    int n = 0;
    if (s->position && *s->position == '/')
        n = snprintf(path, size, "%s", s->position);
    else if (s->position)
        n = snprintf(path, size, "%s/%s", p->folder, s->position);
    else
        n = snprintf(path, size, "%s/schedules/%s", p->data_dir, h->instance);
    return n >= 0 && (size_t)n < size - sizeof ".new";
}

static bool write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        text += put;
        n -= (size_t)put;
    }
    return fsync(fd) == 0;
}

/* So that the new name is on disk too. */
static void sync_folder(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash)
        return;
    *slash = '\0';
    int fd = open(*path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '/';
    if (fd < 0)
        return;
    (void)fsync(fd);
    (void)close(fd);
}

static void make_folder(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return;
    *slash = '\0';
    (void)mkdir(path, 0700); /* what fails here is told by open */
    *slash = '/';
}

/* A line that would not fit is left out: its schedule begins anew. */
static size_t write_text(const struct schedule *s, char *text)
{
    size_t n = sizeof title - 1;
    memcpy(text, title, n);
    for (size_t i = 0; i < s->count; i++) {
        const struct run *r = &s->runs[i];
        int len = snprintf(text + n, LINE_MAX_BYTES, "%016" PRIx64 " %" PRId64 " %" PRId64 " %s\n",
                           r->meaning, r->anchor_s > 0 ? r->anchor_s : 0,
                           r->last_s > 0 ? r->last_s : 0, r->name);
        n += len > 0 && len < LINE_MAX_BYTES ? (size_t)len : 0;
    }
    return n;
}

static bool save(const struct schedule *s, const char *path, const char *text, size_t n)
{
    char final[PATH_MAX];
    (void)snprintf(final, sizeof final, "%s", s->position_path);
    make_folder(final);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    bool is_written = write_all(fd, text, n);
    int error = errno;
    (void)close(fd);
    errno = error;
    if (!is_written || rename(path, final) != 0)
        return false;
    sync_folder(final);
    return true;
}

void position_save(struct schedule *s, const weir_host *h)
{
    char path[PATH_MAX + sizeof ".new"];
    if (!s->is_unsaved)
        return;
    s->saved_ns = h->now(h);
    char *text = h->scratch(h, sizeof title + s->count * LINE_MAX_BYTES);
    size_t n = write_text(s, text);
    (void)snprintf(path, sizeof path, "%s.new", s->position_path);
    s->is_unsaved = !save(s, path, text, n);
    if (s->is_unsaved)
        (void)h->fail(h, WEIR_E_RETRY, errno,
                      "write %s: after a restart it is not known which runs were missed", path);
}
