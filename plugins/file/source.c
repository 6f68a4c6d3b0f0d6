/* file/source.c: reads a file of JSON lines; remembers how far its lines are settled. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/json.h>

#include "file.h"

enum { FROM_START, FROM_END };
enum { FLIGHTS = 16, LINES_MAX = 512, CHUNK = 256 * 1024, POSITION_MAX = 80 };
enum { POLL = 1, SAVE = 2, AGAIN = 3 };
#define SAVE_NS  INT64_C(1000000000)
#define AGAIN_NS INT64_C(1000000000)

enum flight_state { FLIGHT_FREE, FLIGHT_OUT, FLIGHT_DONE, FLIGHT_FAILED };

struct flight { /* the lines of one pull: a piece of the file */
    enum flight_state state;
    bool is_inside; /* begins inside a line that is too long */
    off_t from, to;
};

struct source {
    const char *path, *position, *source, *type, *key;
    bool follow;
    int from;
    weir_size line_max;
    weir_duration poll;
    const weir_jsons *json;
    weir_services pipeline;
    char position_path[PATH_MAX];
    int fd;
    ino_t inode;
    off_t read_to;    /* where the next pull reads */
    off_t settled_to; /* all before is settled */
    off_t saved_to;
    bool is_skipping;               /* inside a line that is too long */
    struct flight flights[FLIGHTS]; /* a ring, in the order of the file */
    size_t first, count;
    weir_metric *skipped;
};

/* ---- the position: two numbers in a file beside the file ---------------------------------------- */

static void position_load(struct source *f, const weir_host *h, const struct stat *is)
{
    char text[POSITION_MAX] = "";
    uintmax_t inode = 0;
    intmax_t offset = 0;
    f->settled_to = f->from == FROM_END ? is->st_size : 0;
    f->inode = is->st_ino;
    int fd = open(f->position_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    char *end = text;
    if (n > 0)
        offset = strtoimax(text, &end, 10);
    if (end == text || *end != ' ') {
        h->log(h, WEIR_WARN, "%s is no position: reading %s from its start", f->position_path,
               f->path);
        f->settled_to = 0;
        return;
    }
    inode = strtoumax(end, NULL, 10);
    bool is_same = inode == (uintmax_t)is->st_ino && offset >= 0 && offset <= (intmax_t)is->st_size;
    f->settled_to = is_same ? (off_t)offset : 0;
    if (!is_same)
        h->log(h, WEIR_INFO, "%s is another file than last time: reading it from its start",
               f->path);
}

static void position_save(struct source *f, const weir_host *h)
{
    char text[POSITION_MAX], path[PATH_MAX + 8];
    if (f->saved_to == f->settled_to)
        return;
    int n = snprintf(text, sizeof text, "%jd %ju\n", (intmax_t)f->settled_to, (uintmax_t)f->inode);
    (void)snprintf(path, sizeof path, "%s.new", f->position_path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool is_written = fd >= 0 && write(fd, text, (size_t)n) == n;
    if (fd >= 0 && close(fd) < 0)
        is_written = false;
    if (!is_written || rename(path, f->position_path) < 0) {
        h->log(h, WEIR_WARN, "cannot write %s: after a restart lines of %s will come again",
               f->position_path, f->path);
        return;
    }
    f->saved_to = f->settled_to;
}

/* ---- opening ----------------------------------------------------------------------------------- */

static weir_status source_open(struct source *f, const weir_host *h, struct stat *is)
{
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0)
        return h->fail(h, WEIR_E_CONFIG, errno, "open %s", f->path);
    if (fstat(f->fd, is) == 0 && S_ISREG(is->st_mode)) {
        f->inode = is->st_ino;
        return WEIR_OK;
    }
    (void)close(f->fd);
    f->fd = -1;
    return h->fail(h, WEIR_E_CONFIG, 0, "%s is no regular file: expected a file of lines", f->path);
}

static weir_status source_start(void *self, const weir_host *h)
{
    struct source *f = self;
    struct stat is = {0};
    f->path = file_place(h, &f->pipeline, f->path);
    if (f->position)
        f->position = file_place(h, &f->pipeline, f->position);
    int n = f->position
                ? snprintf(f->position_path, sizeof f->position_path, "%s", f->position)
                : snprintf(f->position_path, sizeof f->position_path, "%s.position", f->path);
    if (n < 0 || (size_t)n >= sizeof f->position_path)
        return h->refuse(h, f->position ? (const void *)&f->position : &f->path, 0,
                         "the path is too long");
    weir_status s = source_open(f, h, &is);
    if (s != WEIR_OK)
        return s;
    position_load(f, h, &is);
    f->read_to = f->saved_to = f->settled_to;
    char before = '\n';
    if (f->read_to > 0 && pread(f->fd, &before, 1, f->read_to - 1) == 1)
        f->is_skipping = before != '\n'; /* what is left of a line that was read or too long */
    f->skipped =
        h->metric(h, WEIR_COUNTER, "skipped_lines", "Lines that were no JSON, or too long.");
    return WEIR_OK;
}

static void source_stop(void *self, const weir_host *h)
{
    struct source *f = self;
    position_save(f, h);
    (void)close(f->fd);
}

/* ---- lines ------------------------------------------------------------------------------------- */

static void skip(const struct source *f, const weir_host *h, off_t at, const char *why)
{
    h->observe(h, f->skipped, 1);
    h->log(h, WEIR_WARN, "%s: the line at byte %jd is %s: skipped", f->path, (intmax_t)at, why);
}

static bool is_blank(weir_str line)
{
    size_t i = 0;
    while (i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t' || line.ptr[i] == '\r'))
        i++;
    return i == line.len;
}

/* Makes an event of a line; false: no memory. */
static bool take_line(const struct source *f, const weir_host *h, weir_batch *out,
                      weir_payload *line, off_t at)
{
    if (!line)
        return false;
    if (is_blank((weir_str){line->ptr, line->len})) {
        h->unref(h, line);
        return true;
    }
    size_t stops = 0;
    if (f->json->valid(f->json, line, &stops) != WEIR_OK) {
        skip(f, h, at + (off_t)stops, "no JSON");
        h->unref(h, line);
        return true;
    }
    weir_event *ev = h->add(h, out, line);
    h->set(h, ev, "@source", weir_text(f->source));
    h->set(h, ev, "@type", weir_text(f->type));
    weir_str key = f->key ? h->get(h, ev, f->key) : (weir_str){NULL, 0};
    if (key.len)
        h->set(h, ev, "@key", key);
    return true;
}

/* Cuts the chunk into lines; answers how many bytes of it were used, SIZE_MAX: no memory. */
static size_t take_lines(struct source *f, const weir_host *h, weir_payload *chunk, bool is_last,
                         weir_batch *out)
{
    size_t at = 0;
    while (at < chunk->len && out->count < LINES_MAX) {
        const char *line = chunk->ptr + at, *end = memchr(line, '\n', chunk->len - at);
        if (!end && !is_last)
            break;
        size_t len = end ? (size_t)(end - line) : chunk->len - at;
        off_t begins = f->read_to + (off_t)at;
        if (f->is_skipping)
            f->is_skipping = false;
        else if (len > f->line_max.bytes)
            skip(f, h, begins, "longer than line_max");
        else if (!take_line(f, h, out, h->slice(h, chunk, at, len), begins))
            return SIZE_MAX;
        at += len + (end ? 1 : 0);
    }
    return at;
}

static size_t chunk_size(const struct source *f, off_t to)
{
    size_t n = f->line_max.bytes + 1 > CHUNK ? f->line_max.bytes + 1 : CHUNK;
    return to && to - f->read_to < (off_t)n ? (size_t)(to - f->read_to) : n;
}

/* Reads lines from read_to on, up to `to` (0: the end). IDLE: there are none now. */
static weir_status read_lines(struct source *f, const weir_host *h, off_t to, weir_batch *out)
{
    char *data = NULL;
    size_t size = chunk_size(f, to);
    weir_payload *whole = h->alloc(h, size, &data);
    if (!whole)
        return WEIR_E_RETRY;
    ssize_t n = pread(f->fd, data, size, f->read_to);
    int error = errno;
    weir_payload *chunk = n > 0 ? h->slice(h, whole, 0, (size_t)n) : NULL;
    h->unref(h, whole);
    if (n < 0)
        return h->fail(h, WEIR_E_RETRY, error, "read %s", f->path);
    if (!n)
        return WEIR_IDLE;
    if (!chunk)
        return WEIR_E_RETRY;
    bool is_last = to || ((size_t)n < size && !f->follow);
    size_t used = take_lines(f, h, chunk, is_last, out);
    if (!used && (size_t)n == size) { /* a whole chunk without an end of line */
        if (!f->is_skipping)
            skip(f, h, f->read_to, "longer than line_max");
        f->is_skipping = true;
        used = (size_t)n;
    }
    h->unref(h, chunk);
    if (used == SIZE_MAX)
        return WEIR_E_RETRY;
    f->read_to += (off_t)used;
    return used ? WEIR_OK : WEIR_IDLE;
}

/* ---- flights ----------------------------------------------------------------------------------- */

static struct flight *flight_at(struct source *f, size_t i)
{
    return &f->flights[(f->first + i) % FLIGHTS];
}

static struct flight *flight_failed(struct source *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (flight_at(f, i)->state == FLIGHT_FAILED)
            return flight_at(f, i);
    return NULL;
}

static void flights_retire(struct source *f)
{
    while (f->count && flight_at(f, 0)->state == FLIGHT_DONE) {
        f->settled_to = flight_at(f, 0)->to;
        flight_at(f, 0)->state = FLIGHT_FREE;
        f->first = (f->first + 1) % FLIGHTS;
        f->count--;
    }
}

/* The lines of a flight that failed come again, all of them. */
static weir_status pull_again(struct source *f, const weir_host *h, struct flight *again,
                              weir_batch *out)
{
    off_t read_to = f->read_to;
    bool is_skipping = f->is_skipping;
    f->read_to = again->from;
    f->is_skipping = again->is_inside;
    weir_status s = read_lines(f, h, again->to, out);
    f->read_to = read_to;
    f->is_skipping = is_skipping;
    if (s < WEIR_OK)
        return s;
    again->state = out->count ? FLIGHT_OUT : FLIGHT_DONE;
    out->cookie_ptr = again;
    out->when = WEIR_WHEN_SAFE;
    flights_retire(f);
    return out->count ? WEIR_OK : WEIR_IDLE;
}

/* A file that was replaced or cut short is begun anew, once all lines of the old one are settled. */
static bool is_replaced(struct source *f, const weir_host *h)
{
    struct stat named, opened;
    if (stat(f->path, &named) < 0 || fstat(f->fd, &opened) < 0)
        return false;
    bool is_other = named.st_ino != f->inode || named.st_dev != opened.st_dev;
    if (!is_other && named.st_size >= f->read_to)
        return false;
    int old = f->fd;
    if (source_open(f, h, &named) != WEIR_OK) {
        f->fd = old;
        return false;
    }
    (void)close(old);
    h->log(h, WEIR_INFO, "%s was replaced: reading the new one from its start", f->path);
    f->read_to = f->settled_to = 0;
    f->saved_to = -1;
    f->is_skipping = false;
    return true;
}

static weir_status at_end(struct source *f, const weir_host *h)
{
    if (f->count)
        return WEIR_IDLE; /* settled wakes */
    position_save(f, h);
    if (!f->follow)
        return WEIR_END;
    if (is_replaced(f, h))
        h->wake(h);
    else
        h->timer(h, POLL, f->poll);
    return WEIR_IDLE;
}

static weir_status source_pull(void *self, const weir_host *h, weir_batch *out)
{
    struct source *f = self;
    struct flight *again = flight_failed(f);
    if (again)
        return pull_again(f, h, again, out);
    if (f->count == FLIGHTS)
        return WEIR_IDLE; /* settled wakes */
    off_t from = f->read_to;
    bool is_inside = f->is_skipping;
    weir_status s = read_lines(f, h, 0, out);
    if (s < WEIR_OK) {
        f->is_skipping = is_inside;
        return s;
    }
    if (s == WEIR_IDLE)
        return at_end(f, h);
    struct flight *flight = flight_at(f, f->count++);
    *flight = (struct flight){out->count ? FLIGHT_OUT : FLIGHT_DONE, is_inside, from, f->read_to};
    out->cookie_ptr = flight;
    out->when = WEIR_WHEN_SAFE;
    flights_retire(f);
    if (!out->count)
        h->wake(h); /* a piece without a good line: go on */
    return out->count ? WEIR_OK : WEIR_IDLE;
}

/* Failed, kept nowhere, and not for good: only then is bringing it again of use. */
static bool has_to_come_again(const weir_verdict *v)
{
    return v->outcome == WEIR_FAILED && !v->is_dead_lettered && v->error != WEIR_E_REJECT;
}

static void source_settled(void *self, const weir_host *h, const weir_settlement *s)
{
    struct source *f = self;
    struct flight *flight = s->cookie_ptr;
    flight->state = FLIGHT_DONE;
    for (size_t i = 0; i < s->count; i++)
        if (has_to_come_again(s->events[i]))
            flight->state = FLIGHT_FAILED;
    flights_retire(f);
    if (flight->state == FLIGHT_FAILED)
        h->timer(h, AGAIN, (weir_duration){AGAIN_NS});
    else
        h->wake(h);
    if (f->settled_to != f->saved_to)
        h->timer(h, SAVE, (weir_duration){f->count ? SAVE_NS : 0});
}

static weir_status source_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    if (id != SAVE)
        return source_pull(self, h, out);
    position_save(self, h);
    return WEIR_IDLE;
}

static const weir_option options[] = {
    WEIR_NEED(struct source, json, WEIR_JSON),
    WEIR_NEED(struct source, pipeline, WEIR_PIPELINE),
    WEIR_OPTION(
        struct source, path, .required = true,
        .help = "A file with one JSON text a line; a relative path starts at the pipeline file's "
                "folder. Lines that are none are counted, logged and skipped."),
    WEIR_OPTION(struct source, follow,
                .help = "Waits for more lines at the end, in place of ending; follows the path "
                        "when the file is replaced."),
    WEIR_OPTION(struct source, from, .choices = "start|end", .preset = "start",
                .help = "Where to begin when no position is known."),
    WEIR_OPTION(struct source, position,
                .help = "The file that keeps how far lines are settled; <path>.position if absent. "
                        "Remove it to read all again."),
    WEIR_OPTION(struct source, source, .preset = "file", .help = "The events' source."),
    WEIR_OPTION(struct source, type, .preset = "Line", .help = "The events' type."),
    WEIR_OPTION(struct source, key, .help = "Path of what orders events, such as user.id."),
    WEIR_OPTION(struct source, line_max, .preset = "1MiB", .min = 1, .max = 64.0 * 1048576,
                .format = WEIR_FORMAT_EVENT_MAX, .help = "Longer lines are skipped."),
    WEIR_OPTION(struct source, poll, .preset = "250ms", .min = 1e6, .max = 3600e9,
                .help = "How often to look for more lines."),
    {0},
};

const weir_component file_source = {
    .name = "file",
    .version = "1.0",
    .summary = "Reads a file of JSON lines, each an event.",
    .flags = WEIR_BLOCKING | WEIR_REPLAYS,
    .state_size = sizeof(struct source),
    .options = options,
    .start = source_start,
    .stop = source_stop,
    .pull = source_pull,
    .settled = source_settled,
    .tick = source_tick,
};
