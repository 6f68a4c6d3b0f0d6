/* journal/checkpoint.c: the state at one place of the log, in two files that take turns. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

enum { FILE_STEP = 64 << 10 };

static const char *const names[2] = {"check-a", "check-b"};

/* ---- writing ---- */

static void add_u32(struct buf *b, uint32_t n)
{
    buf_add(b, &n, sizeof n);
}

static void add_u64(struct buf *b, uint64_t n)
{
    buf_add(b, &n, sizeof n);
}

static void add_run(struct buf *b, const struct run *r)
{
    bool has_bits = r->bits && r->live < r->count - r->skip;
    add_u64(b, r->first);
    add_u64(b, r->segment->number);
    add_u32(b, r->count);
    add_u32(b, r->skip);
    add_u32(b, r->live);
    add_u32(b, has_bits);
    if (has_bits)
        buf_add(b, r->bits, (r->count + 63) / 64 * sizeof *r->bits);
}

static void add_stream(struct buf *b, const struct stream *s)
{
    uint32_t runs = 0;
    for (uint32_t i = 0; i < s->run_count; i++)
        runs += s->runs[i]->live > 0;
    add_u32(b, s->id);
    add_u32(b, s->kind_id);
    add_u64(b, s->next);
    add_u32(b, runs);
    add_u32(b, (uint32_t)strlen(s->name));
    size_t at = b->len;
    add_u64(b, 0);
    buf_add_text(b, s->name);
    size_t from = b->len;
    if (s->kind && s->kind->save)
        s->kind->save(s->state, b);
    else
        buf_add(b, s->kept.ptr, s->kept.len);
    uint64_t state_bytes = b->len - from;
    memcpy(b->ptr + at, &state_bytes, sizeof state_bytes);
    for (uint32_t i = 0; i < s->run_count; i++)
        if (s->runs[i]->live)
            add_run(b, s->runs[i]);
}

static void add_segments(struct journal *j, struct buf *b)
{
    size_t at = b->len;
    uint32_t n = 0;
    add_u32(b, 0);
    for (uint32_t i = 0; i < j->segment_count; i++) {
        const struct segment *g = j->segments[i];
        if (g->live == 0 && g != j->active && g->number != j->last_number)
            continue;
        add_u64(b, g->number);
        add_u64(b, g->nonce);
        add_u64(b, g->previous);
        add_u64(b, g->refs);
        add_u32(b, g->previous_end);
        add_u32(b, g->end);
        add_u32(b, g->kind);
        n++;
    }
    memcpy(b->ptr + at, &n, sizeof n);
}

/* The segment that the log goes on in; NULL if nothing of it is synced yet: it may be given up. */
static const struct segment *base_of(const struct journal *j)
{
    return j->active && j->active->end > FORMAT_HEADER_BYTES ? j->active : NULL;
}

/* Under the lock, between two groups. */
static void snapshot(struct journal *j, struct buf *b, bool is_closed)
{
    const struct segment *base = base_of(j);
    add_u64(b, j->group_number);
    add_u64(b, base ? base->number : j->last_number);
    add_u64(b, j->number_max);
    add_u32(b, base ? base->end : j->last_end);
    add_u32(b, is_closed);
    add_u32(b, j->counter_count);
    for (uint32_t i = 0; i < j->counter_count; i++) {
        const struct counter *c = j->counters[i];
        add_u64(b, c ? (uint64_t)c->value : 0);
        add_u32(b, c ? (uint32_t)strlen(c->name) : 0);
        if (c)
            buf_add_text(b, c->name);
    }
    add_segments(j, b);
    size_t at = b->len;
    uint32_t n = 0;
    add_u32(b, 0);
    for (uint32_t i = 0; i < j->stream_count; i++) {
        if (!j->streams[i])
            continue;
        add_stream(b, j->streams[i]);
        n++;
    }
    memcpy(b->ptr + at, &n, sizeof n);
}

static int grow_file(struct journal *j, struct check_slot *c, uint64_t bytes)
{
    if (c->bytes >= bytes)
        return 0;
    bytes = (bytes + FILE_STEP - 1) / FILE_STEP * FILE_STEP;
    int result = j->disk->allocate(j->disk, c->fd, bytes);
    if (result == -EOPNOTSUPP || result == -ENOSYS)
        result = disk_fill_zero(j->disk, c->fd, bytes - c->bytes, c->bytes);
    if (result == 0)
        c->bytes = bytes;
    return result;
}

static int open_file(struct journal *j, int i)
{
    if (j->checks[i].fd >= 0)
        return 0;
    char *path = mem_format("%s/%s", j->path, names[i]);
    int fd = j->disk->open(j->disk, path, O_RDWR | O_CREAT);
    mem_free(path);
    if (fd < 0)
        return fd;
    int64_t bytes = j->disk->size(j->disk, fd);
    j->checks[i].fd = fd;
    j->checks[i].bytes = bytes > 0 ? (uint64_t)bytes : 0;
    j->is_dir_dirty = true;
    return 0;
}

/* Grown ahead, so that the checkpoint that frees space does not need any. */
bool checkpoint_has_room(struct journal *j)
{
    uint64_t want = 2 * j->check_bytes + FILE_STEP;
    for (int i = 0; i < 2; i++) {
        bool is_tight = j->checks[i].bytes < j->check_bytes + FILE_STEP / 2;
        if (open_file(j, i) < 0 || (grow_file(j, &j->checks[i], want) < 0 && is_tight))
            return false;
    }
    return true;
}

static int write_file(struct journal *j, struct check_slot *c, const struct buf *b)
{
    int result = grow_file(j, c, b->len);
    if (result == 0)
        result = disk_write_all(j->disk, c->fd, b->ptr, b->len, 0);
    if (result == 0)
        result = j->disk->sync(j->disk, c->fd);
    if (result == 0 && j->is_dir_dirty) {
        result = j->disk->sync_dir(j->disk, j->path);
        j->is_dir_dirty = result < 0;
    }
    return result;
}

int checkpoint_write(struct journal *j, bool is_closed)
{
    int which = j->checks[0].start == 0                     ? 0
                : j->checks[1].start == 0                   ? 1
                : j->checks[0].number < j->checks[1].number ? 0
                                                            : 1;
    struct check_slot *c = &j->checks[which];
    if (j->pending && !base_of(j) && !j->last_number) /* there is nothing to tell of yet */
        return -EAGAIN;
    int result = pending_sync_log(j); /* it tells only of what is on the disk */
    if (result == 0)
        result = open_file(j, which);
    if (result < 0)
        return result;
    struct check_header h = {.major = FORMAT_MAJOR, .number = j->check_number + 1, .salt = j->salt};
    struct buf b = {0};
    buf_add(&b, &h, sizeof h);
    journal_lock(j);
    snapshot(j, &b, is_closed);
    journal_unlock(j);
    h.bytes = b.len - sizeof h;
    h.body_crc = hash_crc32c(0, b.ptr + sizeof h, h.bytes);
    check_header_seal(&h);
    memcpy(b.ptr, &h, sizeof h);
    c->start = 0; /* if it fails, the other one is what counts, and this is written next */
    result = write_file(j, c, &b);
    if (result == 0) {
        c->start = base_of(j) ? j->active->number : j->last_number;
        c->number = h.number;
        j->check_number = h.number;
        j->bytes_since_check = 0;
        journal_lock(j);
        j->health.checkpoints++;
        journal_unlock(j);
    }
    j->check_bytes = b.len;
    j->check_ns = clock_mono(j->clock);
    buf_fini(&b);
    if (result == 0)
        segment_recycle(j);
    return result;
}

/* ---- reading ---- */

struct span {
    const char *at;
    uint64_t left;
    bool is_bad;
};

static const char *take(struct span *s, uint64_t n)
{
    if (n > s->left) {
        s->is_bad = true;
        return NULL;
    }
    const char *p = s->at;
    s->at += n;
    s->left -= n;
    return p;
}

static uint32_t take_u32(struct span *s)
{
    uint32_t n = 0;
    const char *p = take(s, sizeof n);
    if (p)
        memcpy(&n, p, sizeof n);
    return n;
}

static uint64_t take_u64(struct span *s)
{
    uint64_t n = 0;
    const char *p = take(s, sizeof n);
    if (p)
        memcpy(&n, p, sizeof n);
    return n;
}

static weir_str take_str(struct span *s, uint64_t n)
{
    const char *p = take(s, n);
    weir_str str = {p ? p : "", p ? (size_t)n : 0};
    return str;
}

/* A segment whose slot is not found stays without one: its records are lost, unless it turns out
 * that all were acknowledged since. */
static struct segment *need_segment(struct journal *j, uint64_t number)
{
    struct segment *g = segment_find(j, number);
    if (g)
        return g;
    struct segment_header h = {.number = number, .kind = SEGMENT_LOG};
    g = segment_add(j, &h, NULL);
    g->is_sealed = true;
    return g;
}

/* No record takes fewer bytes than a reference, and no slot has more than these. */
static bool is_run_sane(const struct stream *s, uint64_t first, uint32_t count)
{
    enum { COUNT_MAX = (1 << 30) / sizeof(struct record_ref) };
    const struct run *last = s->run_count ? s->runs[s->run_count - 1] : NULL;
    return count > 0 && count <= COUNT_MAX && first <= s->next && count <= s->next - first &&
           (!last || first >= last->first + last->count);
}

static uint32_t count_live(const char *bits, uint32_t skip, uint32_t count)
{
    uint32_t live = 0;
    if (!bits)
        return count - skip;
    for (uint32_t i = skip; i < count;) {
        uint64_t word;
        memcpy(&word, bits + i / 64 * sizeof word, sizeof word);
        uint32_t n = 64 - i % 64 < count - i ? 64 - i % 64 : count - i;
        word = word >> i % 64 & (n == 64 ? ~0ULL : (1ULL << n) - 1);
        live += (uint32_t)__builtin_popcountll(word);
        i += n;
    }
    return live;
}

static void load_run(struct journal *j, struct stream *s, struct span *in)
{
    uint64_t first = take_u64(in), number = take_u64(in);
    uint32_t count = take_u32(in), skip = take_u32(in), live = take_u32(in),
             has_bits = take_u32(in);
    size_t words = (count + 63UL) / 64;
    const char *bits = has_bits ? take(in, words * sizeof(uint64_t)) : NULL;
    if (in->is_bad || number == 0 || !is_run_sane(s, first, count) || skip > count ||
        live != count_live(bits, skip, count)) {
        in->is_bad = true;
        return;
    }
    struct run *r = stream_insert_run(s, first);
    r->segment = need_segment(j, number);
    r->count = count;
    r->skip = skip;
    r->live = live;
    if (bits) {
        r->bits = mem_new(words * sizeof(uint64_t));
        memcpy(r->bits, bits, words * sizeof(uint64_t));
    }
    r->segment->live += live;
    s->live += live;
}

static void load_stream(struct journal *j, struct span *in)
{
    uint32_t id = take_u32(in), kind = take_u32(in);
    uint64_t next = take_u64(in);
    uint32_t runs = take_u32(in), name_bytes = take_u32(in);
    uint64_t state_bytes = take_u64(in);
    weir_str name = take_str(in, name_bytes), state = take_str(in, state_bytes);
    if (in->is_bad || id == 0 || id > 1U << 22 || stream_by_id(j, id)) {
        in->is_bad = true;
        return;
    }
    struct stream *s = stream_make(j, id, name, kind);
    s->next = next;
    s->is_declared = true;
    if (s->kind && s->kind->load)
        s->kind->load(s->state, state);
    else
        buf_add_str(&s->kept, state);
    for (uint32_t i = 0; i < runs && !in->is_bad; i++)
        load_run(j, s, in);
}

static void load_segment(struct journal *j, struct span *in)
{
    uint64_t number = take_u64(in), nonce = take_u64(in);
    uint64_t previous = take_u64(in), refs = take_u64(in);
    uint32_t previous_end = take_u32(in), end = take_u32(in), kind = take_u32(in);
    struct segment *g = segment_find(j, number);
    if (in->is_bad || number == 0)
        return;
    if (!g || g->nonce != nonce) { /* its header is gone */
        struct segment_header h = {.number = number, .nonce = nonce, .kind = kind};
        h.previous = previous;
        h.previous_end = previous_end;
        g = g ? g : segment_add(j, &h, NULL);
    }
    g->refs = refs;
    g->is_sealed = true;
    if (!g->slot || end <= g->slot->bytes)
        g->end = end;
}

static bool load(struct journal *j, const struct buf *b, bool *is_closed)
{
    struct span in = {b->ptr + sizeof(struct check_header), b->len - sizeof(struct check_header),
                      false};
    j->group_number = take_u64(&in);
    j->last_number = take_u64(&in);
    uint64_t number_max = take_u64(&in);
    in.is_bad |= number_max > UINT64_MAX / 2;
    if (number_max > j->number_max && !in.is_bad)
        j->number_max = number_max;
    j->last_end = take_u32(&in);
    *is_closed = take_u32(&in) != 0;
    uint32_t counters = take_u32(&in);
    for (uint32_t i = 0; i < counters && !in.is_bad; i++) {
        int64_t value = (int64_t)take_u64(&in);
        weir_str name = take_str(&in, take_u32(&in));
        if (name.len)
            counter_by_id(j, i, name)->value = value;
        if (name.len)
            j->counters[i]->is_declared = true;
    }
    uint32_t segments = take_u32(&in);
    for (uint32_t i = 0; i < segments && !in.is_bad; i++)
        load_segment(j, &in);
    uint32_t streams = take_u32(&in);
    for (uint32_t i = 0; i < streams && !in.is_bad; i++)
        load_stream(j, &in);
    return !in.is_bad;
}

/* The whole file: 1 if it is a checkpoint, else 0, or a negative errno: it is there and cannot be opened. */
static int read_file(struct journal *j, int i, struct check_header *h, struct buf *b)
{
    char *path = mem_format("%s/%s", j->path, names[i]);
    int fd = j->disk->open(j->disk, path, j->is_reader ? O_RDONLY : O_RDWR);
    mem_free(path);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int64_t size = j->disk->size(j->disk, fd);
    j->checks[i].fd = fd;
    j->checks[i].bytes = size > 0 ? (uint64_t)size : 0;
    if (size < (int64_t)sizeof *h || disk_read_all(j->disk, fd, h, sizeof *h, 0) < 0 ||
        !check_header_check(h) || h->major != FORMAT_MAJOR || h->bytes > (uint64_t)size - sizeof *h)
        return 0;
    size_t n = sizeof *h + h->bytes;
    if (disk_read_all(j->disk, fd, buf_room(b, n), n, 0) < 0)
        return 0;
    b->len = n;
    return hash_crc32c(0, b->ptr + sizeof *h, h->bytes) == h->body_crc;
}

int checkpoint_read(struct journal *j, struct check_found found[2], struct error *e)
{
    int count = 0;
    uint64_t numbers[2];
    for (int i = 0; i < 2; i++) {
        struct check_header h = {.major = FORMAT_MAJOR};
        struct buf b = {0};
        int is_good = read_file(j, i, &h, &b);
        if (is_good < 0) {
            buf_fini(&b);
            return journal_cannot_open(j, -is_good, names[i], e);
        }
        if (check_header_check(&h) && h.major != FORMAT_MAJOR) {
            buf_fini(&b);
            return error_set(e, EXIT_CONFIG,
                             "journal %s: %s has format %u, and this program reads %d: use the "
                             "version that wrote it",
                             j->path, names[i], h.major, FORMAT_MAJOR);
        }
        if (!is_good) {
            buf_fini(&b);
            continue;
        }
        memcpy(&j->checks[i].start, b.ptr + sizeof h + sizeof(uint64_t), sizeof(uint64_t));
        j->checks[i].number = h.number;
        bool is_newer = count == 0 || h.number > numbers[0];
        if (count && is_newer) {
            found[1] = found[0];
            numbers[1] = numbers[0];
        }
        found[is_newer ? 0 : 1] = (struct check_found){b, i};
        numbers[is_newer ? 0 : 1] = h.number;
        if (is_newer) {
            j->salt = h.salt;
            j->check_number = h.number;
            j->check_bytes = b.len;
        }
        count++;
    }
    return count;
}

bool checkpoint_load(struct journal *j, const struct buf *newest, bool *is_closed)
{
    return load(j, newest, is_closed);
}
