/* journal/logstore_read.c: reading the log store: groups, streams, lines, also while it is written. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "journal/logstore_file.h"

enum {
    READ_BYTES = 64 << 10,
    TERMS_MAX = 64,
};
/* An event may be dated so much later than it came; what was last written earlier need not be read. */
#define AHEAD_MS INT64_C(86400000)

/* ---- groups ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void unescape(const char *folder, char *out)
{
    for (const char *at = folder; *at; at++) {
        bool is_escape = at[0] == '%' && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0;
        *out = *at;
        if (is_escape)
            *out = (char)(16 * hex_digit(at[1]) + hex_digit(at[2]));
        out++;
        at += is_escape ? 2 : 0;
    }
    *out = 0;
}

static uint64_t group_bytes(int folder)
{
    char name[LOGSTORE_SEGMENT_NAME] = "";
    struct stat st;
    uint64_t bytes = 0;
    while (logstore_file_next(folder, name, name)) {
        if (fstatat(folder, name, &st, 0) == 0)
            bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

static void each_folder(int root, const char *folder,
                        void (*fn)(void *user, const struct logstore_group *g), void *user)
{
    char name[1024];
    int fd = openat(root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (!logstore_file_read(fd, "name", name, sizeof name))
        unescape(folder, name);
    struct logstore_group g = {name, group_bytes(fd), logstore_file_retention(fd)};
    if (logstore_is_group_name(weir_text(name)))
        fn(user, &g);
    (void)close(fd);
}

void logstore_each_group(const char *path, void (*fn)(void *user, const struct logstore_group *g),
                         void *user)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) { // NOLINT(concurrency-mt-unsafe): a DIR of our own
        if (e->d_name[0] != '.')
            each_folder(dirfd(d), e->d_name, fn, user);
    }
    (void)closedir(d);
}

/* ---- filters ---- */

enum term_kind { TERM_ALL, TERM_NONE, TERM_ANY };

struct term {
    enum term_kind kind;
    weir_str text;
};

struct filter {
    struct arena arena;
    struct term *terms;
    size_t count;
    bool has_all, has_any;
};

static bool take_quoted(weir_str *rest, struct arena *a, weir_str *out)
{
    char *to = arena_take(a, rest->len);
    size_t i = 1, n = 0;
    for (; i < rest->len && rest->ptr[i] != '"'; i++) {
        if (rest->ptr[i] == '\\' && i + 1 < rest->len)
            i++;
        to[n++] = rest->ptr[i];
    }
    if (i == rest->len)
        return false;
    *out = (weir_str){to, n};
    *rest = (weir_str){rest->ptr + i + 1, rest->len - i - 1};
    return n > 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool take_term(struct filter *f, weir_str *rest, struct term *t)
{
    size_t n = 0;
    *t = (struct term){0};
    if (*rest->ptr == '-' || *rest->ptr == '?') {
        t->kind = *rest->ptr == '-' ? TERM_NONE : TERM_ANY;
        *rest = (weir_str){rest->ptr + 1, rest->len - 1};
    }
    if (rest->len && *rest->ptr == '"')
        return take_quoted(rest, &f->arena, &t->text);
    while (n < rest->len && !is_blank(rest->ptr[n]))
        n++;
    t->text = (weir_str){arena_copy(&f->arena, rest->ptr, n), n};
    *rest = (weir_str){rest->ptr + n, rest->len - n};
    return n > 0;
}

static bool filter_parse(struct filter *f, weir_str rest)
{
    f->terms = arena_take(&f->arena, TERMS_MAX * sizeof *f->terms);
    for (;;) {
        while (rest.len && is_blank(*rest.ptr))
            rest = (weir_str){rest.ptr + 1, rest.len - 1};
        if (!rest.len)
            return true;
        struct term *t = &f->terms[f->count];
        if (f->count == TERMS_MAX || !take_term(f, &rest, t))
            return false;
        f->count++;
        f->has_all |= t->kind == TERM_ALL;
        f->has_any |= t->kind == TERM_ANY;
    }
}

static bool filter_matches(const struct filter *f, weir_str text)
{
    bool is_any = f->has_all || !f->has_any; /* with plain words CloudWatch ignores those with ? */
    for (size_t i = 0; i < f->count; i++) {
        const struct term *t = &f->terms[i];
        bool is_there = memmem(text.ptr, text.len, t->text.ptr, t->text.len) != NULL;
        if (t->kind == TERM_ANY)
            is_any |= is_there;
        else if (is_there != (t->kind == TERM_ALL))
            return false;
    }
    return is_any;
}

/* ---- lines of one segment after the other ---- */

struct scan {
    int folder, fd;
    char segment[LOGSTORE_SEGMENT_NAME];
    struct buf buf;
    size_t at; /* what is before it was handed out */
};

static void scan_fini(struct scan *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    buf_fini(&s->buf);
}

static bool scan_open(struct scan *s, const char *segment)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = openat(s->folder, segment, O_RDONLY | O_CLOEXEC);
    if (segment != s->segment)
        memcpy(s->segment, segment, LOGSTORE_SEGMENT_NAME);
    s->buf.len = s->at = 0;
    return s->fd >= 0;
}

static bool scan_fill(struct scan *s)
{
    if (s->at && s->buf.ptr) {
        s->buf.len -= s->at;
        memmove(s->buf.ptr, s->buf.ptr + s->at, s->buf.len);
        s->at = 0;
    }
    ssize_t n = s->fd < 0 ? 0 : read(s->fd, buf_room(&s->buf, READ_BYTES), READ_BYTES);
    if (n > 0)
        s->buf.len += (size_t)n;
    return n > 0;
}

/* Behind the next end of a line: what is before it is none of ours, or damaged. */
static bool scan_skip(struct scan *s)
{
    for (;;) {
        const char *start = s->buf.ptr + s->at;
        size_t left = s->buf.ptr ? s->buf.len - s->at : 0;
        const char *end = s->buf.ptr ? memchr(start, '\n', left) : NULL;
        s->at += end ? (size_t)(end - start) + 1 : left;
        if (end || !scan_fill(s))
            return end != NULL;
    }
}

/* The next whole line of this segment; false: none (yet). */
static bool scan_line(struct scan *s, struct logstore_line *line)
{
    for (;;) {
        weir_str rest = {s->buf.ptr + s->at, s->buf.len - s->at};
        size_t used = 0;
        enum logstore_parsed parsed =
            rest.len ? logstore_file_parse(rest, line, &used) : LOGSTORE_CUT;
        s->at += used;
        if (parsed == LOGSTORE_WHOLE)
            return true;
        if (parsed == LOGSTORE_CUT ? !scan_fill(s) : !scan_skip(s))
            return false;
    }
}

/* Goes on to the next segment; once that is there, nothing is written to the one before any more. */
static bool scan_next(struct scan *s, struct logstore_line *line)
{
    char next[LOGSTORE_SEGMENT_NAME];
    for (;;) {
        if (scan_line(s, line))
            return true;
        if (!logstore_file_next(s->folder, s->segment, next))
            return false;
        if (scan_line(s, line))
            return true;
        if (s->buf.len > s->at && scan_skip(s)) /* what is cut here stays so */
            continue;
        (void)scan_open(s, next);
    }
}

static int open_group(const char *path, weir_str group)
{
    char folder[NAME_MAX + 1];
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return -1;
    logstore_file_folder(group, folder);
    int fd = openat(root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)close(root);
    return fd;
}

/* ---- streams ---- */

struct stream_table {
    struct arena names;
    struct logstore_stream *items;
    size_t count, cap;
    uint32_t *slots; /* place + 1 */
    size_t slot_count;
};

static void table_grow(struct stream_table *t)
{
    t->slot_count = t->slot_count ? 2 * t->slot_count : 64;
    mem_free(t->slots);
    t->slots = mem_new(t->slot_count * sizeof *t->slots);
    for (size_t i = 0; i < t->count; i++) {
        size_t k = hash_bytes(t->items[i].name.ptr, t->items[i].name.len, 0) % t->slot_count;
        while (t->slots[k])
            k = (k + 1) % t->slot_count;
        t->slots[k] = (uint32_t)i + 1;
    }
}

static struct logstore_stream *table_get(struct stream_table *t, weir_str name)
{
    if (2 * (t->count + 1) > t->slot_count)
        table_grow(t);
    size_t k = hash_bytes(name.ptr, name.len, 0) % t->slot_count;
    for (; t->slots[k]; k = (k + 1) % t->slot_count) {
        if (text_same(t->items[t->slots[k] - 1].name, name))
            return &t->items[t->slots[k] - 1];
    }
    struct logstore_stream *s = &MEM_PUSH(t->items, t->count, t->cap);
    *s = (struct logstore_stream){.name = {arena_copy(&t->names, name.ptr, name.len), name.len}};
    t->slots[k] = (uint32_t)t->count;
    return s;
}

static void count_line(struct logstore_stream *s, const struct logstore_line *line)
{
    if (!s->created_ms)
        s->created_ms = line->arrived_ms;
    if (!line->text.ptr)
        return;
    if (!s->lines || line->time_ms < s->first_ms)
        s->first_ms = line->time_ms;
    if (!s->lines || line->time_ms > s->last_ms)
        s->last_ms = line->time_ms;
    s->arrived_ms = line->arrived_ms;
    s->lines++;
}

weir_status logstore_each_stream(const char *path, weir_str group,
                                 void (*fn)(void *user, const struct logstore_stream *s),
                                 void *user)
{
    struct scan s = {.folder = open_group(path, group), .fd = -1};
    struct stream_table t = {0};
    struct logstore_line line;
    if (s.folder < 0)
        return WEIR_IDLE;
    arena_init(&t.names);
    while (scan_next(&s, &line))
        count_line(table_get(&t, line.stream), &line);
    for (size_t i = 0; i < t.count; i++) {
        fn(user, &t.items[i]);
    }
    arena_fini(&t.names);
    mem_free(t.items);
    mem_free(t.slots);
    scan_fini(&s);
    (void)close(s.folder);
    return WEIR_OK;
}

/* ---- queries ---- */

struct logstore_reader {
    struct scan scan;
    struct logstore_query query;
    struct filter filter;
    size_t skip; /* matching lines that are not among the last */
};

static bool matches(const struct logstore_reader *r, const struct logstore_line *line)
{
    const struct logstore_query *q = &r->query;
    return line->text.ptr && (!q->stream.len || text_same(q->stream, line->stream)) &&
           line->time_ms >= q->since_ms && (!q->until_ms || line->time_ms < q->until_ms) &&
           filter_matches(&r->filter, line->text);
}

static bool is_too_old(const struct logstore_reader *r, const char *segment)
{
    struct stat st;
    return r->query.since_ms && fstatat(r->scan.folder, segment, &st, 0) == 0 &&
           (int64_t)st.st_mtim.tv_sec * 1000 + 1000 + AHEAD_MS < r->query.since_ms;
}

/* To the first segment that may have something; with `last` backwards until it has enough. */
static void find_start(struct logstore_reader *r)
{
    char name[LOGSTORE_SEGMENT_NAME] = "";
    struct logstore_line line;
    size_t found = 0;
    bool is_there = logstore_file_last(r->scan.folder, "", name);
    while (is_there && !is_too_old(r, name)) {
        (void)scan_open(&r->scan, name);
        while (r->query.last && scan_line(&r->scan, &line))
            found += matches(r, &line);
        if (r->query.last && found >= r->query.last)
            break;
        is_there = logstore_file_last(r->scan.folder, name, name);
    }
    r->skip = r->query.last && found > r->query.last ? found - r->query.last : 0;
    if (*r->scan.segment)
        (void)scan_open(&r->scan, r->scan.segment); /* from its start again */
    else if (*name)
        (void)scan_open(&r->scan, name); /* all is too old, but more may be added to it */
}

struct logstore_reader *logstore_reader_open(const char *path, weir_str group,
                                             const struct logstore_query *query, struct error *e)
{
    int folder = open_group(path, group);
    if (folder < 0) {
        (void)error_set(e, EXIT_BAD_DATA, "log group %.*s: there is none in %s",
                        (int)(group.len < 256 ? group.len : 256), group.ptr, path);
        return NULL;
    }
    struct logstore_reader *r = MEM_NEW(struct logstore_reader);
    r->scan.folder = folder;
    r->scan.fd = -1;
    r->query = *query;
    arena_init(&r->filter.arena);
    r->query.stream.ptr = arena_copy(&r->filter.arena, query->stream.ptr, query->stream.len);
    if (!filter_parse(&r->filter, query->filter)) {
        (void)error_set(e, EXIT_USAGE_ERROR,
                        "filter %.*s: a term is empty, has no closing quote, or is one too many",
                        (int)(query->filter.len < 256 ? query->filter.len : 256),
                        query->filter.ptr);
        logstore_reader_close(r);
        return NULL;
    }
    find_start(r);
    return r;
}

void logstore_reader_close(struct logstore_reader *r)
{
    if (!r)
        return;
    scan_fini(&r->scan);
    (void)close(r->scan.folder);
    arena_fini(&r->filter.arena);
    mem_free(r);
}

weir_status logstore_reader_next(struct logstore_reader *r, struct logstore_line *line)
{
    while (scan_next(&r->scan, line)) {
        if (!matches(r, line))
            continue;
        if (!r->skip)
            return WEIR_OK;
        r->skip--;
    }
    return WEIR_IDLE;
}
