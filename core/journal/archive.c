/* journal/archive.c: events kept for a time and within a size. */
#include "journal/archive.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

enum {
    SAVE_FORMAT = 1,
    BLOCK_EVENTS = 1024,
    BLOCK_BYTES = 1 << 20,
    BLOCKS_MAX = 16384, /* then neighbours become one */
};
static const int64_t block_ns = INT64_C(60000000000);
static const char prefix[] = "archive/";

/* Records that came one after the other. */
struct block {
    uint64_t first, end; /* sequences */
    uint64_t bytes;
    int64_t oldest_ns, newest_ns;
};

struct archive {
    pthread_mutex_t lock;
    struct stream *stream;
    const struct clock *clock;
    struct archive_settings settings;
    struct block *blocks;
    size_t count, cap;
    uint64_t bytes;
    uint64_t trimmed; /* asked for already */
};

/* ---- the blocks: with the lock held ---- */

static void merge(struct archive *a)
{
    size_t n = 0;
    for (size_t i = 0; a->blocks && i < a->count; i += 2) {
        struct block one = a->blocks[i];
        if (i + 1 < a->count) {
            const struct block *next = &a->blocks[i + 1];
            one.end = next->end;
            one.bytes += next->bytes;
            if (next->newest_ns > one.newest_ns)
                one.newest_ns = next->newest_ns;
            if (next->oldest_ns < one.oldest_ns)
                one.oldest_ns = next->oldest_ns;
        }
        a->blocks[n++] = one;
    }
    a->count = n;
}

static bool is_open(const struct block *b, int64_t now_ns)
{
    return b->end - b->first < BLOCK_EVENTS && b->bytes < BLOCK_BYTES &&
           now_ns - b->oldest_ns < block_ns;
}

static void add(struct archive *a, uint64_t sequence, uint64_t bytes, int64_t came_ns)
{
    if (!a->blocks)
        a->count = a->cap = 0;
    struct block *last = a->count ? &a->blocks[a->count - 1] : NULL;
    a->bytes += bytes;
    if (last && (sequence < last->end || is_open(last, came_ns))) {
        last->bytes += bytes;
        if (sequence >= last->end)
            last->end = sequence + 1;
        if (came_ns > last->newest_ns)
            last->newest_ns = came_ns;
        if (came_ns < last->oldest_ns)
            last->oldest_ns = came_ns;
        return;
    }
    if (a->count == BLOCKS_MAX)
        merge(a);
    MEM_PUSH(a->blocks, a->count, a->cap) =
        (struct block){sequence, sequence + 1, bytes, came_ns, came_ns};
}

static void drop(struct archive *a, uint64_t below)
{
    size_t n = 0;
    while (a->blocks && n < a->count && a->blocks[n].end <= below)
        a->bytes -= a->blocks[n++].bytes;
    a->count -= n;
    if (n)
        memmove(a->blocks, a->blocks + n, a->count * sizeof *a->blocks);
}

/* ---- the kind ---- */

static void *create(struct stream *s)
{
    struct archive *a = MEM_NEW(struct archive);
    (void)pthread_mutex_init(&a->lock, NULL);
    a->stream = s;
    a->clock = journal_clock(stream_journal(s));
    return a;
}

static void destroy(void *state)
{
    struct archive *a = state;
    (void)pthread_mutex_destroy(&a->lock);
    mem_free(a->blocks);
    mem_free(a);
}

static void put(void *state, uint64_t sequence, weir_str payload)
{
    struct archive *a = state;
    int64_t came_ns = 0;
    if (payload.len >= sizeof came_ns)
        memcpy(&came_ns, payload.ptr, sizeof came_ns);
    (void)pthread_mutex_lock(&a->lock);
    add(a, sequence, payload.len, came_ns);
    (void)pthread_mutex_unlock(&a->lock);
}

static void ack(void *state, uint64_t first, uint64_t count)
{
    struct archive *a = state;
    uint64_t live = stream_first_live(a->stream);
    (void)pthread_mutex_lock(&a->lock);
    drop(a, live);
    (void)pthread_mutex_unlock(&a->lock);
}

static void note(void *state, weir_str bytes)
{
}

static void save(void *state, struct buf *out)
{
    struct archive *a = state;
    (void)pthread_mutex_lock(&a->lock);
    buf_add_char(out, SAVE_FORMAT);
    buf_add(out, a->blocks, a->count * sizeof *a->blocks);
    (void)pthread_mutex_unlock(&a->lock);
}

static void load(void *state, weir_str bytes)
{
    struct archive *a = state;
    struct block b;
    if (!bytes.len || bytes.ptr[0] != SAVE_FORMAT)
        return;
    for (size_t at = 1; bytes.len - at >= sizeof b; at += sizeof b) {
        memcpy(&b, bytes.ptr + at, sizeof b);
        MEM_PUSH(a->blocks, a->count, a->cap) = b;
        a->bytes += b.bytes;
    }
}

const struct stream_kind archive_kind = {5, create, destroy, put, ack, note, save, load, NULL};

/* ---- its users ---- */

struct archive *archive_open(struct journal *j, const char *name, const struct archive_settings *s,
                             struct error *e)
{
    char *path = mem_format("%s%s", prefix, name);
    struct stream *stream = stream_open(j, path, archive_kind.id, e);
    mem_free(path);
    struct archive *a = stream ? stream_state(stream) : NULL;
    if (!a)
        return NULL;
    (void)pthread_mutex_lock(&a->lock);
    a->settings = *s;
    (void)pthread_mutex_unlock(&a->lock);
    return a;
}

const char *archive_name(const struct archive *a)
{
    return stream_name(a->stream) + sizeof prefix - 1;
}

void archive_put(struct archive *a, struct journal_unit *u, int64_t now_ns,
                 const struct iovec *parts, size_t count)
{
    struct iovec all[ARCHIVE_PARTS + 1];
    all[0] = (struct iovec){&now_ns, sizeof now_ns};
    for (size_t i = 0; i < count; i++)
        all[i + 1] = parts[i];
    unit_put(u, &a->stream, 1, all, count + 1);
}

void archive_trim(struct archive *a)
{
    int64_t now_ns = clock_wall(a->clock);
    uint64_t below = 0;
    (void)pthread_mutex_lock(&a->lock);
    uint64_t bytes = a->bytes;
    for (size_t i = 0; i < a->count; i++) {
        const struct block *b = &a->blocks[i];
        bool is_old = a->settings.retention_ns && now_ns - b->newest_ns > a->settings.retention_ns;
        if (!is_old && (!a->settings.bytes_max || bytes <= a->settings.bytes_max))
            break;
        bytes -= b->bytes;
        below = b->end;
    }
    bool is_new = below > a->trimmed;
    if (is_new)
        a->trimmed = below;
    (void)pthread_mutex_unlock(&a->lock);
    if (!is_new)
        return;
    struct journal_unit *u = journal_begin(stream_journal(a->stream));
    unit_trim(u, a->stream, below);
    journal_submit(u, JOURNAL_LAZY, NULL, NULL);
}

struct archive *archive_find(struct journal *j, const char *name)
{
    char *path = mem_format("%s%s", prefix, name);
    struct stream *s = stream_find(j, path);
    mem_free(path);
    return s && stream_kind_id(s) == archive_kind.id ? stream_state(s) : NULL;
}

struct stream *archive_stream(const struct archive *a)
{
    return a->stream;
}

uint64_t archive_seek(struct archive *a, int64_t from_ns)
{
    uint64_t at = stream_next(a->stream);
    (void)pthread_mutex_lock(&a->lock);
    for (size_t i = a->count; i > 0 && a->blocks[i - 1].newest_ns >= from_ns; i--)
        at = a->blocks[i - 1].first;
    (void)pthread_mutex_unlock(&a->lock);
    return at;
}

/* A block is in order by its sequences, and nearly so by time: a clock may have been set back. */
void archive_range(struct archive *a, int64_t from_ns, int64_t to_ns, struct archive_range *out)
{
    uint64_t live = stream_first_live(a->stream);
    bool is_found = false;
    *out = (struct archive_range){0};
    (void)pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->count; i++) {
        const struct block *b = &a->blocks[i];
        if (b->newest_ns < from_ns || b->oldest_ns >= to_ns || b->end <= live)
            continue;
        uint64_t first = b->first > live ? b->first : live;
        *out = (struct archive_range){is_found ? out->first : first, b->end, first};
        is_found = true;
    }
    (void)pthread_mutex_unlock(&a->lock);
}

weir_str archive_payload(weir_str record, int64_t *came_ns)
{
    *came_ns = 0;
    if (record.len < sizeof *came_ns)
        return (weir_str){record.ptr, 0};
    memcpy(came_ns, record.ptr, sizeof *came_ns);
    return (weir_str){record.ptr + sizeof *came_ns, record.len - sizeof *came_ns};
}

weir_status archive_clear(struct archive *a, uint64_t *removed)
{
    struct journal_unit *u = journal_begin(stream_journal(a->stream));
    *removed = stream_live(a->stream);
    unit_trim(u, a->stream, stream_next(a->stream));
    return journal_submit_wait(u);
}

struct each {
    void (*fn)(void *user, struct archive *a);
    void *user;
};

static void each_stream(void *user, struct stream *s)
{
    const struct each *e = user;
    if (stream_kind_id(s) == archive_kind.id && stream_state(s))
        e->fn(e->user, stream_state(s));
}

void archive_each(struct journal *j, void (*fn)(void *user, struct archive *a), void *user)
{
    struct each e = {fn, user};
    stream_each(j, each_stream, &e);
}

void archive_count(struct archive *a, struct archive_count *out)
{
    uint64_t events = stream_live(a->stream);
    (void)pthread_mutex_lock(&a->lock);
    *out = (struct archive_count){.events = events, .bytes = a->bytes, .settings = a->settings};
    if (a->count) {
        out->oldest_ns = a->blocks[0].oldest_ns;
        out->newest_ns = a->blocks[a->count - 1].newest_ns;
    }
    (void)pthread_mutex_unlock(&a->lock);
}
