/* journal/segment.c: segments: what lives in a slot, from its header to its recycling. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "base/id.h"
#include "base/mem.h"
#include "journal/internal.h"
#include "journal/window.h"

struct segment *segment_find(const struct journal *j, uint64_t number)
{
    uint32_t low = 0, high = j->segment_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (j->segments[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < j->segment_count && j->segments[low]->number == number ? j->segments[low] : NULL;
}

struct segment *segment_add(struct journal *j, const struct segment_header *h, struct slot *slot)
{
    struct segment *g = MEM_NEW(struct segment);
    g->number = h->number;
    g->nonce = h->nonce;
    g->previous = h->previous;
    g->previous_end = h->previous_end;
    g->kind = h->kind;
    g->end = FORMAT_HEADER_BYTES;
    g->slot = slot;
    g->place.seed = format_seed(j->salt, h->number, h->nonce);
    g->place.life = (uint32_t)h->nonce;
    MEM_PUSH(j->segments, j->segment_count, j->segment_cap) = g;
    uint32_t i = j->segment_count - 1;
    for (; i > 0 && j->segments[i - 1]->number > g->number; i--)
        j->segments[i] = j->segments[i - 1];
    j->segments[i] = g;
    if (j->number_max < g->number)
        j->number_max = g->number;
    return g;
}

/* The caller has seen to it that no run points here. */
void segment_remove(struct journal *j, struct segment *g)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < j->segment_count; i++)
        if (j->segments[i] != g)
            j->segments[kept++] = j->segments[i];
    j->segment_count = kept;
    if (g->slot)
        slot_give(j, g->slot);
    mem_free(g);
}

uint32_t segment_room(const struct segment *g, uint32_t end)
{
    uint32_t limit = g->slot->bytes - FORMAT_HEADER_BYTES - (uint32_t)sizeof(struct record);
    return end < limit ? limit - end : 0;
}

uint32_t segment_bytes(const struct segment *g)
{
    uint64_t bytes = g->end - FORMAT_HEADER_BYTES;
    return g->refs ? (uint32_t)(bytes * g->live / g->refs) : 0;
}

int segment_header_write(struct journal *j, struct segment *g)
{
    union {
        struct segment_header h;
        char bytes[FORMAT_HEADER_BYTES];
    } block;
    memset(&block, 0, sizeof block);
    block.h = (struct segment_header){
        .major = FORMAT_MAJOR,
        .kind = g->kind,
        .number = g->number,
        .nonce = g->nonce,
        .salt = j->salt,
        .previous = g->previous,
        .previous_end = g->previous_end,
        .bytes = g->slot->bytes,
    };
    segment_header_seal(&block.h);
    int fd = g->slot->fd;
    g->slot->has_headers = true;
    int result = disk_write_all(j->disk, fd, &block, sizeof block, 0);
    if (result < 0)
        return result;
    return disk_write_all(j->disk, fd, &block, sizeof block, g->slot->bytes - sizeof block);
}

int segment_header_erase(struct journal *j, struct slot *slot)
{
    int result = disk_fill_zero(j->disk, slot->fd, FORMAT_HEADER_BYTES, 0);
    if (result == 0)
        result = disk_fill_zero(j->disk, slot->fd, FORMAT_HEADER_BYTES,
                                slot->bytes - FORMAT_HEADER_BYTES);
    return result < 0 ? result : j->disk->sync(j->disk, slot->fd);
}

static uint64_t draw(void)
{
    uint64_t n;
    if (getrandom(&n, sizeof n, 0) != sizeof n)
        n = id_random();
    return n;
}

int segment_start(struct journal *j, uint32_t kind, uint32_t bytes, struct segment **out)
{
    struct slot *slot;
    int result = slot_take(j, bytes, &slot);
    if (result < 0)
        return result;
    struct segment_header h = {.kind = kind, .number = j->number_max + 1, .nonce = draw()};
    if (kind == SEGMENT_LOG) {
        h.previous = j->last_number;
        h.previous_end = j->last_end;
    }
    journal_lock(j);
    struct segment *g = segment_add(j, &h, slot);
    g->is_loaded = true;
    journal_unlock(j);
    result = segment_header_write(j, g);
    if (result == 0) {
        *out = g;
        return 0;
    }
    slot->is_retired = true;
    journal_lock(j);
    segment_remove(j, g);
    journal_unlock(j);
    return result == -ENOSPC ? -EIO : result; /* not the one that waiting could heal */
}

/* ---- offsets of sealed segments ---- */

static void drop_offsets(struct journal *j, struct segment *g)
{
    for (uint32_t k = 0; k < j->stream_count; k++) {
        struct stream *s = j->streams[k];
        for (uint32_t i = 0; s && i < s->run_count; i++) {
            if (s->runs[i]->segment != g)
                continue;
            mem_free(s->runs[i]->offsets);
            s->runs[i]->offsets = NULL;
        }
    }
    g->is_loaded = false;
}

/* Keeps the offsets of the segments used last. Under the lock. */
static void limit_loaded(struct journal *j)
{
    struct segment *oldest = NULL;
    uint32_t loaded = 0;
    for (uint32_t i = 0; i < j->segment_count; i++) {
        struct segment *g = j->segments[i];
        if (!g->is_loaded || !g->is_sealed)
            continue;
        loaded++;
        if (!oldest || g->used < oldest->used)
            oldest = g;
    }
    if (loaded > SEGMENTS_LOADED)
        drop_offsets(j, oldest);
}

/* Runs that are empty and not growing any more go. */
static void drop_empty(struct journal *j, const struct segment *g)
{
    for (uint32_t k = 0; k < j->stream_count; k++) {
        struct stream *s = j->streams[k];
        struct run *last = s && s->run_count ? s->runs[s->run_count - 1] : NULL;
        if (last && last->segment == g && last->live == 0) {
            s->run_count--;
            mem_free(last->offsets);
            mem_free(last->loading);
            mem_free(last->bits);
            mem_free(last);
        }
    }
}

void segment_seal(struct journal *j, struct segment *g)
{
    journal_lock(j);
    g->is_sealed = true;
    g->used = ++j->stamp;
    drop_empty(j, g);
    limit_loaded(j);
    journal_unlock(j);
}

/* Only what neither of the two checkpoints needs: if the newer one and the log behind it are damaged,
 * the older one still finds all that it tells of. */
void segment_recycle(struct journal *j)
{
    uint64_t start = 0, oldest = 0;
    for (int i = 0; i < 2; i++) {
        const struct check_slot *c = &j->checks[i];
        if (c->start && (!start || c->start < start))
            start = c->start;
        if (c->start && (!oldest || c->number < oldest))
            oldest = c->number;
    }
    journal_lock(j);
    for (uint32_t i = j->segment_count; i-- > 0;) {
        struct segment *g = j->segments[i];
        bool is_needed = g->live || g->pins || !g->is_sealed || g->is_picked || g == j->active;
        if (is_needed)
            g->dead_check = 0;
        else if (!g->dead_check)
            g->dead_check = j->check_number;
        bool is_free = g->dead_check && g->dead_check <= oldest;
        if (is_free && (g->kind == SEGMENT_COLD || g->number < start))
            segment_remove(j, g);
    }
    journal_unlock(j);
}

enum { FOUND_MAX = 256 };
struct found {
    uint32_t stream, offset;
    uint64_t sequence;
};

static void keep_found(struct journal *j, struct segment *g, const struct found *found, size_t n)
{
    journal_lock(j);
    for (size_t i = 0; i < n; i++) {
        struct stream *s = stream_by_id(j, found[i].stream);
        struct run *r = s ? stream_find_live(s, found[i].sequence) : NULL;
        if (r && r->segment == g && r->loading)
            r->loading[found[i].sequence - r->first] = found[i].offset;
    }
    journal_unlock(j);
}

/* All runs of the segment: makes room for what is to be found, or publishes it. */
static void each_run(struct journal *j, struct segment *g, bool is_start)
{
    journal_lock(j);
    for (uint32_t k = 0; k < j->stream_count; k++) {
        struct stream *s = j->streams[k];
        for (uint32_t i = 0; s && i < s->run_count; i++) {
            struct run *r = s->runs[i];
            if (r->segment != g || r->offsets)
                continue;
            if (is_start && !r->loading)
                r->loading = mem_new((r->count + 1) * sizeof *r->loading);
            if (is_start || !r->loading)
                continue;
            r->offsets = r->loading;
            r->loading = NULL;
            r->cap = r->count;
        }
    }
    if (!is_start) {
        g->is_loaded = true;
        g->used = ++j->stamp;
        limit_loaded(j);
    }
    journal_unlock(j);
}

struct finds {
    struct found items[FOUND_MAX];
    size_t count;
};

static void add_found(struct journal *j, struct segment *g, struct finds *f, const struct record *r,
                      uint32_t at)
{
    for (uint32_t i = 0; i < r->refs; i++) {
        const struct record_ref *ref = &record_refs(r)[i];
        f->items[f->count++] = (struct found){ref->stream, at, ref->sequence};
        if (f->count == FOUND_MAX) {
            keep_found(j, g, f->items, f->count);
            f->count = 0;
        }
    }
}

/* Below its end every byte of a segment was written once and synced, so each record that checks is
 * the right one. A bad record costs only itself. */
static int scan(struct journal *j, struct segment *g, uint32_t end)
{
    struct window w = {.disk = j->disk, .fd = g->slot->fd, .limit = end};
    struct finds f = {.count = 0};
    for (uint32_t at = FORMAT_HEADER_BYTES; at < end && w.error == 0;) {
        const struct record *r = window_record(&w, g->place, at);
        if (r && r->type == RECORD_PUT)
            add_found(j, g, &f, r, at);
        at += r ? r->length : 8;
    }
    keep_found(j, g, f.items, f.count);
    window_fini(&w);
    return w.error;
}

int segment_load(struct journal *j, struct segment *g)
{
    if (!g->slot)
        return -EIO;
    (void)pthread_mutex_lock(&j->load_lock);
    journal_lock(j);
    uint32_t end = g->end;
    journal_unlock(j);
    each_run(j, g, true);
    int result = scan(j, g, end);
    if (result == 0)
        each_run(j, g, false);
    (void)pthread_mutex_unlock(&j->load_lock);
    return result;
}
