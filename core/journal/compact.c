/* journal/compact.c: packs what is live in mostly dead segments into a cold one.
 *
 * A victim is copied in small steps between groups; nothing waits. When the copy is synced a MOVED
 * record is written like any other: with it the runs of the victims point to the copy. What was
 * acknowledged meanwhile stays dead, as live bits belong to the runs. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"
#include "journal/window.h"

enum { VICTIMS_MAX = 64 };

struct compaction {
    struct segment *victims[VICTIMS_MAX], *cold;
    uint64_t numbers[VICTIMS_MAX];
    uint32_t count, current, at;
    struct window in;
    struct buf out; /* copied and not yet written */
    bool is_told;   /* MOVED was submitted */
};

static void unpick(struct journal *j, struct compaction *c)
{
    journal_lock(j);
    for (uint32_t i = 0; i < c->count; i++) {
        c->victims[i]->is_picked = false;
        c->victims[i]->pins--;
    }
    journal_unlock(j);
}

static void end(struct journal *j, struct compaction *c)
{
    unpick(j, c);
    window_fini(&c->in);
    buf_fini(&c->out);
    mem_free(c);
    j->compaction = NULL;
}

/* The copy is no part of the log until MOVED names it. */
void compact_drop(struct journal *j)
{
    struct compaction *c = j->compaction;
    if (!c)
        return;
    journal_lock(j);
    if (c->cold && !c->is_told)
        segment_remove(j, c->cold);
    journal_unlock(j);
    end(j, c);
}

static bool is_victim(const struct journal *j, const struct segment *g, uint64_t start)
{
    return g->is_sealed && g->slot && g != j->active && !g->is_picked && !g->is_bad &&
           g->live > 0 && (g->kind == SEGMENT_COLD || g->number < start) &&
           segment_bytes(g) < (g->slot->bytes - 2 * FORMAT_HEADER_BYTES) / 2;
}

/* The emptiest first, as many as fit into one slot. */
static void pick(struct journal *j, struct compaction *c, uint64_t start, uint64_t *freed)
{
    uint64_t room = slot_default_bytes(j) - 4ULL * FORMAT_HEADER_BYTES, bytes = 0;
    *freed = 0;
    while (c->count < VICTIMS_MAX) {
        struct segment *best = NULL;
        for (uint32_t i = 0; i < j->segment_count; i++) {
            struct segment *g = j->segments[i];
            if (is_victim(j, g, start) && (!best || segment_bytes(g) < segment_bytes(best)))
                best = g;
        }
        if (!best || bytes + segment_bytes(best) + segment_bytes(best) / 4 > room)
            return;
        best->is_picked = true;
        best->pins++;
        bytes += segment_bytes(best) + segment_bytes(best) / 4;
        *freed += best->slot->bytes;
        c->numbers[c->count] = best->number;
        c->victims[c->count++] = best;
    }
}

static bool begin(struct journal *j)
{
    uint64_t start = 0, freed = 0;
    for (int i = 0; i < 2; i++)
        if (j->checks[i].start && (!start || j->checks[i].start < start))
            start = j->checks[i].start;
    struct compaction *c = MEM_NEW(struct compaction);
    journal_lock(j);
    pick(j, c, start, &freed);
    journal_unlock(j);
    j->compaction = c;
    uint32_t size = slot_default_bytes(j);
    if (freed < 2ULL * size || pending_settle(j) < 0 || /* what is pending may need the last slot */
        segment_start(j, SEGMENT_COLD, size - 3 * FORMAT_HEADER_BYTES, &c->cold) < 0) {
        compact_drop(j);
        return false;
    }
    journal_lock(j);
    c->cold->is_picked = true;
    c->cold->is_loaded = false;
    journal_unlock(j);
    segment_seal(j, c->cold);
    return true;
}

/* Adds the record with those of its refs that are live here. */
static void copy_record(struct journal *j, struct compaction *c, const struct record *r)
{
    const struct record_ref *ref = record_refs(r);
    size_t from = c->out.len;
    uint32_t kept = 0;
    (void)buf_room(&c->out, r->length);
    char *to = c->out.ptr + from;
    struct record head = *r;
    for (uint32_t i = 0; i < r->refs; i++) {
        struct stream *s = stream_by_id(j, ref[i].stream);
        struct run *run = s ? stream_find_live(s, ref[i].sequence) : NULL;
        if (!run || run->segment != c->victims[c->current])
            continue;
        memcpy(to + sizeof head + kept * sizeof *ref, &ref[i], sizeof *ref);
        kept++;
    }
    if (kept == 0)
        return;
    uint32_t body = record_body_bytes(r) + r->pad;
    head.refs = (uint16_t)kept;
    head.length = (uint32_t)(sizeof head + kept * sizeof *ref) + body;
    memcpy(to, &head, sizeof head);
    memcpy(to + head.length - body, record_body(r), body);
    record_stamp(c->cold->place, (struct record *)(void *)to, c->cold->end + (uint32_t)from);
    c->out.len += head.length;
    c->cold->refs += kept;
}

static int copy_some(struct journal *j, struct compaction *c, uint32_t bytes_max)
{
    struct segment *g = c->victims[c->current];
    c->in.disk = j->disk;
    c->in.fd = g->slot->fd;
    c->in.limit = g->end;
    uint32_t until = g->end - c->at > bytes_max ? c->at + bytes_max : g->end;
    while (c->at < until) {
        const struct record *r = window_record(&c->in, g->place, c->at);
        if (!r) { /* below its end a segment has no gaps */
            g->is_bad = true;
            return c->in.error ? c->in.error : -EBADMSG;
        }
        if (r->type == RECORD_PUT) {
            journal_lock(j);
            copy_record(j, c, r);
            journal_unlock(j);
        }
        c->at += r->length;
    }
    uint32_t n = (uint32_t)c->out.len;
    if (segment_room(c->cold, c->cold->end) < n)
        return -ENOSPC;
    int result = disk_write_all(j->disk, c->cold->slot->fd, c->out.ptr, n, c->cold->end);
    journal_lock(j);
    c->cold->end += n;
    journal_unlock(j);
    c->out.len = 0;
    return result;
}

static void keep_status(void *user, weir_status status, const struct journal_unit *u)
{
    *(weir_status *)user = status;
}

static bool tell(struct journal *j, struct compaction *c)
{
    uint64_t words[3 + VICTIMS_MAX] = {c->cold->number, c->cold->end, c->cold->refs};
    int result = j->disk->sync(j->disk, c->cold->slot->fd);
    if (result < 0) {
        c->cold->slot->is_retired = true;
        compact_drop(j);
        return false;
    }
    memcpy(words + 3, c->numbers, c->count * sizeof *c->numbers);
    struct journal_unit *u = journal_begin(j);
    unit_moved(u, words, 3 + c->count);
    c->is_told = true;
    weir_status status = WEIR_E_FATAL;
    journal_submit(u, JOURNAL_SYNCED, keep_status, &status);
    (void)commit_run(j);
    (void)pending_settle(j);
    journal_lock(j);
    j->health.compactions += !c->cold->is_picked;
    if (status != WEIR_OK)          /* else it is applied, or will be with the next good sync */
        c->cold->is_picked = false; /* the next checkpoint frees the copy */
    journal_unlock(j);
    compact_drop(j);
    return true;
}

bool compact_step(struct journal *j, uint32_t bytes_max)
{
    if (!j->compaction && (!j->checks[0].start || !begin(j)))
        return false;
    struct compaction *c = j->compaction;
    if (c->at == 0)
        c->at = FORMAT_HEADER_BYTES;
    int result = copy_some(j, c, bytes_max);
    if (result < 0) {
        compact_drop(j);
        return false;
    }
    if (c->at < c->victims[c->current]->end)
        return true;
    c->at = c->in.len = 0;
    if (++c->current < c->count)
        return true;
    return tell(j, c);
}
