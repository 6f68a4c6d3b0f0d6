/* journal/recover.c: from files to state: the checkpoint, then one walk over the log behind it. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "journal/internal.h"
#include "journal/window.h"

enum { REPLAY_MAX = 1 << 20 };

struct found {
    struct slot *slot;
    struct segment_header header;
    bool is_good, is_readable;
    bool is_mixed; /* the copies are of two segments */
};

struct walk {
    struct journal *j;
    struct error *e;
    int unopened; /* a negative errno: why a file that is there cannot be opened */
    char unopened_name[32];
    struct found *found;
    uint32_t count, cap;
    struct segment *at;
    uint32_t pos, group_at; /* group_at: the last group of the segment; 0: none was applied */
    uint32_t cut_to;        /* bytes of the torn end reach as far as here; 0: there is none */
    struct unproven {       /* groups of the segment that no later one calls synced */
        uint64_t number;
        uint32_t at;
    } * unproven;
    uint32_t unproven_count, unproven_cap;
    uint64_t replayed;
    bool has_number; /* the next group's number is known */
    bool is_closed;  /* the checkpoint is of a clean close */
};

/* ---- slots ---- */

static void add_slot(void *user, const char *name)
{
    struct walk *w = user;
    struct journal *j = w->j;
    uint64_t index;
    if (strncmp(name, "slot-", 5) != 0 || !text_to_u64(weir_text(name + 5), &index) ||
        index > UINT32_MAX / 2)
        return;
    char path[4096];
    slot_path(j, (uint32_t)index, path, sizeof path);
    int fd = j->disk->open(j->disk, path, j->is_reader ? O_RDONLY : O_RDWR);
    if (fd < 0) {
        if (fd != -ENOENT && !w->unopened)
            (void)snprintf(w->unopened_name, sizeof w->unopened_name, "%s", name);
        if (fd != -ENOENT && !w->unopened)
            w->unopened = fd;
        return;
    }
    if (j->slot_next <= index)
        j->slot_next = (uint32_t)index + 1;
    int64_t bytes = j->disk->size(j->disk, fd);
    if (bytes < 4LL * FORMAT_HEADER_BYTES || bytes > UINT32_MAX) { /* was never made whole */
        j->disk->close(j->disk, fd);
        return;
    }
    struct slot *slot = MEM_NEW(struct slot);
    *slot = (struct slot){.index = (uint32_t)index, .fd = fd, .bytes = (uint32_t)bytes};
    slot->zeroed = slot->bytes;
    j->slot_bytes_total += slot->bytes;
    MEM_PUSH(w->found, w->count, w->cap) = (struct found){.slot = slot};
}

/* The header, or its copy at the end, which a bad sector at the start does not reach. Where a cut left
 * the copies of two segments the later one began: the other must not turn up when this is erased. */
static void read_header(const struct journal *j, struct found *f)
{
    uint64_t places[2] = {0, f->slot->bytes - FORMAT_HEADER_BYTES};
    for (int i = 0; i < 2; i++) {
        struct segment_header h;
        int result = disk_read_all(j->disk, f->slot->fd, &h, sizeof h, places[i]);
        f->is_readable |= result == 0;
        if (result < 0 || !segment_header_check(&h) || h.bytes != f->slot->bytes)
            continue;
        f->is_mixed |= f->is_good && h.nonce != f->header.nonce;
        if (!f->is_good || h.number > f->header.number)
            f->header = h;
        f->is_good = true;
    }
}

/* Another major version's segments must not be taken for free slots. */
static int refuse_major(const struct walk *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->found[i].is_good && w->found[i].header.major != FORMAT_MAJOR)
            return error_set(w->e, EXIT_CONFIG,
                             "journal %s: it has format %u, and this program reads %d: use the "
                             "version that wrote it",
                             w->j->path, w->found[i].header.major, FORMAT_MAJOR);
    return 0;
}

static void free_found(struct walk *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        w->j->disk->close(w->j->disk, w->found[i].slot->fd);
        mem_free(w->found[i].slot);
    }
    mem_free(w->found);
}

static int by_number(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return x->header.number < y->header.number ? -1 : x->header.number > y->header.number;
}

static uint64_t draw(void)
{
    uint64_t n;
    return getrandom(&n, sizeof n, 0) == sizeof n ? n : id_random();
}

static void register_segments(struct walk *w, bool has_salt)
{
    struct journal *j = w->j;
    if (w->count)
        qsort(w->found, w->count, sizeof *w->found, by_number);
    for (uint32_t i = w->count; i-- > 0 && !has_salt;) {
        if (!w->found[i].is_good)
            continue;
        j->salt = w->found[i].header.salt;
        has_salt = true;
    }
    if (!has_salt)
        j->salt = draw();
    for (uint32_t i = 0; i < w->count; i++) {
        struct found *f = &w->found[i];
        if (!f->is_readable) { /* whatever it has, it is not overwritten */
            f->slot->is_retired = true;
            log_write(WEIR_ERROR, NULL, "journal %s: slot %u cannot be read", j->path,
                      f->slot->index);
        }
        f->slot->is_blank = !f->is_good;
        if (!f->is_good || f->header.salt != j->salt || segment_find(j, f->header.number)) {
            slot_give(j, f->slot);
            continue;
        }
        struct segment *g = segment_add(j, &f->header, f->slot);
        g->is_sealed = true;
        g->is_headless = f->is_mixed;
    }
}

/* ---- the walk ---- */

static uint32_t segment_limit(const struct segment *g)
{
    return g->slot->bytes - FORMAT_HEADER_BYTES;
}

/* A later one went on from before it: its groups were never answered, or were written again. */
static bool is_abandoned(const struct journal *j, const struct segment *g)
{
    for (uint32_t i = 0; i < j->segment_count; i++) {
        const struct segment *later = j->segments[i];
        if (later->kind == SEGMENT_LOG && later->slot && later->number > g->number &&
            later->previous < g->number)
            return true;
    }
    return false;
}

/* Among those that name the same predecessor the highest is the true one. */
static struct segment *successor(const struct journal *j, const struct segment *g, bool *is_gap)
{
    struct segment *best = NULL;
    for (uint32_t i = 0; i < j->segment_count; i++) {
        struct segment *next = j->segments[i];
        if (next->kind == SEGMENT_LOG && next->slot && next->number > g->number &&
            next->previous == g->number)
            best = next;
    }
    *is_gap = best == NULL;
    for (uint32_t i = 0; i < j->segment_count && !best; i++) {
        struct segment *next = j->segments[i];
        if (next->kind == SEGMENT_LOG && next->slot && next->number > g->number &&
            next->previous > g->number && !is_abandoned(j, next))
            best = next;
    }
    return best;
}

/* Without `synced`, which the first files did not have, each group was synced before the next. */
static bool take_body(const struct record *r, struct group_body *body)
{
    uint32_t n = r && r->type == RECORD_GROUP ? record_body_bytes(r) : 0;
    if (n < offsetof(struct group_body, synced))
        return false;
    memcpy(body, record_body(r),
           n < sizeof *body ? offsetof(struct group_body, synced) : sizeof *body);
    if (n < sizeof *body)
        body->synced = body->number - 1;
    return true;
}

/* The group at the offset if it is whole, or NULL. */
static const char *check_group(struct window *in, struct place place, uint32_t at,
                               struct group_body *body)
{
    const struct record *r = window_record(in, place, at);
    if (!take_body(r, body))
        return NULL;
    uint32_t first = r->length, records = 0;
    if (body->bytes < first || body->bytes % 8)
        return NULL;
    const char *bytes = window_bytes(in, at, body->bytes);
    for (uint32_t o = first; bytes && o < body->bytes; records++) {
        r = record_check(place, bytes + o, body->bytes - o, at + o);
        if (!r)
            return NULL;
        o += r->length;
    }
    return records == body->records ? bytes : NULL;
}

static bool is_next_group(const struct walk *w, const struct group_body *body)
{
    uint64_t last = w->j->group_number;
    return w->has_number ? body->number == last + 1 : body->number > last;
}

static void apply_group(struct walk *w, const char *bytes, const struct group_body *body)
{
    for (uint32_t o = 0; o < body->bytes;) {
        const struct record *r = (const struct record *)(const void *)(bytes + o);
        apply_record(w->j, w->at, w->pos + o, r);
        o += r->length;
    }
    uint32_t proven = 0;
    while (proven < w->unproven_count && w->unproven[proven].number <= body->synced)
        proven++;
    if (proven)
        memmove(w->unproven, w->unproven + proven,
                (w->unproven_count -= proven) * sizeof *w->unproven);
    MEM_PUSH(w->unproven, w->unproven_count, w->unproven_cap) =
        (struct unproven){body->number, w->pos};
    w->j->group_number = body->number;
    w->has_number = true;
    w->group_at = w->pos;
    w->pos += body->bytes;
    w->at->end = w->pos;
    w->replayed += body->bytes;
}

/* Where the next whole group is after a bad place, or `limit`. */
static uint32_t find_group(struct walk *w, struct window *in, uint32_t limit)
{
    struct group_body body;
    w->cut_to = 0;
    for (uint32_t at = w->pos; at + sizeof(struct record) <= limit; at += 8) {
        const char *bytes = window_bytes(in, at, sizeof(struct record));
        uint32_t life = 0;
        if (bytes)
            memcpy(&life, bytes + offsetof(struct record, life), sizeof life);
        if (life == w->at->place.life)
            w->cut_to = at + (uint32_t)sizeof(struct record);
        if (at > w->pos && life == w->at->place.life && check_group(in, w->at->place, at, &body) &&
            body.number > w->j->group_number)
            return at;
    }
    return limit;
}

static void quarantine(struct walk *w, struct window *in, uint32_t from, uint32_t to)
{
    const char *bytes = w->j->is_reader ? NULL : window_bytes(in, from, to - from);
    if (bytes)
        (void)quarantine_keep(w->j, w->at->number, from, bytes, to - from);
}

/* From a bad place that once was good to the next whole group: records that check are taken one by
 * one. An acknowledgement that is lost means that a record comes twice, never that one goes. */
static void salvage(struct walk *w, struct window *in, uint32_t to)
{
    struct journal *j = w->j;
    uint32_t from = w->pos, saved = 0;
    j->is_lossy = true;
    for (uint32_t at = from; at < to;) {
        const struct record *r = window_record(in, w->at->place, at);
        if (r && r->type != RECORD_GROUP && at + r->length <= to) {
            apply_record(j, w->at, at, r);
            saved += r->length;
        }
        at += r && r->type != RECORD_GROUP && at + r->length <= to ? r->length : 8;
    }
    quarantine(w, in, from, to);
    j->health.damaged_bytes += to - from - saved;
    log_write(
        WEIR_ERROR, NULL,
        "journal %s: slot %u: damaged between bytes %u and %u: %u bytes could be read, the rest "
        "is in quarantine/",
        j->path, w->at->slot->index, from, to, saved);
    w->pos = to;
    w->at->end = to;
    w->has_number = false;
}

/* Whether a group behind the bad place says that what was there had been synced. The next one's
 * number is known unless something was lost before. */
static bool is_witnessed(struct walk *w, struct window *in, uint32_t from, uint32_t limit)
{
    struct group_body body;
    if (!w->has_number)
        return from < limit;
    for (uint32_t at = from; at + sizeof(struct record) <= limit;) {
        uint32_t life = 0;
        const char *bytes = window_bytes(in, at, sizeof(struct record));
        if (bytes)
            memcpy(&life, bytes + offsetof(struct record, life), sizeof life);
        bool is_ours = life == w->at->place.life;
        bool is_group = is_ours && check_group(in, w->at->place, at, &body);
        if (is_group && body.synced > w->j->group_number)
            return true;
        if (is_ours)
            w->cut_to = at + (uint32_t)sizeof(struct record);
        at += is_group ? body.bytes : 8;
    }
    return false;
}

static void count_cut(struct walk *w, struct window *in)
{
    const char *bytes = window_bytes(in, w->pos, sizeof(struct record));
    struct record head;
    if (!bytes)
        return;
    memcpy(&head, bytes, sizeof head);
    const struct record *r = window_record(in, w->at->place, w->pos);
    struct group_body body = {0};
    (void)take_body(r, &body);
    bool is_ours = head.life == w->at->place.life && head.type == RECORD_GROUP;
    if (is_ours)
        w->j->health.cut_bytes += body.bytes ? body.bytes : head.length;
}

static bool is_end(struct walk *w, struct window *in)
{
    const struct record *r = window_record(in, w->at->place, w->pos);
    return r && r->type == RECORD_END;
}

/* At most one group is unsynced at any time. So a bad place with a successor or with a whole group
 * behind it was good once, and is damage; any other is the torn end. */
static int walk_segment(struct walk *w, uint32_t limit, bool is_last)
{
    struct window in = {.disk = w->j->disk, .fd = w->at->slot->fd, .limit = limit};
    bool was_closed = w->is_closed;
    w->group_at = w->unproven_count = w->cut_to = 0;
    w->is_closed = false;
    while (w->pos < limit) {
        struct group_body body;
        const char *bytes = check_group(&in, w->at->place, w->pos, &body);
        if (bytes && is_next_group(w, &body)) {
            apply_group(w, bytes, &body);
            continue;
        }
        if (is_last && was_closed && !w->group_at && is_end(w, &in)) {
            w->is_closed = true;
            break;
        }
        uint32_t to = find_group(w, &in, limit);
        if (is_last && !is_witnessed(w, &in, to, limit)) {
            count_cut(w, &in);
            break;
        }
        salvage(w, &in, to);
    }
    window_fini(&in);
    w->at->end = w->pos;
    return in.error;
}

static void read_cold(struct journal *j, struct segment *g)
{
    struct window in = {.disk = j->disk, .fd = g->slot->fd, .limit = segment_limit(g)};
    for (uint32_t at = FORMAT_HEADER_BYTES; at < in.limit;) {
        const struct record *r = window_record(&in, g->place, at);
        if (r && r->type == RECORD_PUT) {
            apply_record(j, g, at, r);
            g->end = at + r->length;
        }
        at += r ? r->length : 8;
    }
    window_fini(&in);
}

/* Copies that compactions made, when no checkpoint says what is in them. */
static void read_all_cold(struct journal *j)
{
    for (uint32_t i = 0; i < j->segment_count; i++)
        if (j->segments[i]->kind == SEGMENT_COLD && j->segments[i]->slot)
            read_cold(j, j->segments[i]);
}

static struct segment *first_log(const struct journal *j)
{
    for (uint32_t i = 0; i < j->segment_count; i++)
        if (j->segments[i]->kind == SEGMENT_LOG && j->segments[i]->slot &&
            !is_abandoned(j, j->segments[i]))
            return j->segments[i];
    return NULL;
}

static void find_start(struct walk *w, bool has_check)
{
    struct journal *j = w->j;
    w->pos = FORMAT_HEADER_BYTES;
    if (has_check) {
        w->at = segment_find(j, j->last_number);
        w->pos = j->last_end;
        if (!w->at) /* its slot is lost: what was written since goes on from there */
            w->at = segment_add(j, &(struct segment_header){.number = j->last_number}, NULL);
        w->has_number = true;
        return;
    }
    w->at = first_log(j);
    w->has_number = w->at && w->at->previous == 0; /* the first group of all is number 1 */
    j->is_full_scan = w->at && w->at->previous != 0;
    if (!j->is_full_scan)
        return;
    log_write(WEIR_ERROR, NULL,
              "journal %s: both checkpoints are damaged: all segments are read; what was "
              "acknowledged may come again",
              j->path);
    read_all_cold(j);
}

static int walk_all(struct walk *w)
{
    struct journal *j = w->j;
    int result = 0;
    while (w->at && result == 0) {
        struct segment *g = w->at;
        bool is_gap;
        struct segment *next = successor(j, g, &is_gap);
        g->is_walked = true;
        if (g->slot) {
            uint32_t limit = next && !is_gap && next->previous_end <= segment_limit(g)
                                 ? next->previous_end
                                 : segment_limit(g);
            result = walk_segment(w, limit, !next || is_gap);
        }
        if (!next)
            break;
        if (is_gap) {
            w->has_number = false;
            j->is_lossy = true;
            j->health.damaged_bytes += g->slot ? 0 : 1;
            log_write(WEIR_ERROR, NULL, "journal %s: segments between %llu and %llu are missing",
                      j->path, (unsigned long long)g->number, (unsigned long long)next->number);
        }
        segment_seal(j, g);
        w->at = next;
        w->pos = FORMAT_HEADER_BYTES;
        next->is_sealed = false;
    }
    return result;
}

/* ---- after the walk ---- */

/* What was read may be only in the page cache, or on pages that are clean after a failed sync: it
 * is written again and synced before anyone acts on it. Also a header without a group: it says where
 * the segment before it ends. */
static int write_again(struct walk *w, uint32_t from)
{
    struct segment *g = w->at;
    struct window in = {.disk = w->j->disk, .fd = g->slot->fd, .limit = g->end};
    int result = 0;
    for (uint32_t at = from; at < g->end && result == 0;) {
        uint32_t n = g->end - at < READ_BYTES ? g->end - at : READ_BYTES;
        const char *bytes = window_bytes(&in, at, n);
        result = bytes ? disk_write_all(in.disk, in.fd, bytes, n, at) : in.error;
        at += n;
    }
    window_fini(&in);
    return result;
}

static int rewrite_last(struct walk *w)
{
    struct journal *j = w->j;
    struct segment *g = w->at;
    if (!g || !g->slot || w->is_closed)
        return 0;
    int fd = g->slot->fd, result = segment_header_write(j, g);
    if (result == 0 && w->group_at)
        result = write_again(w, w->unproven[0].at);
    if (result == 0 && w->cut_to > g->end) /* else a later walk may take it for damage */
        result = disk_fill_zero(j->disk, fd, w->cut_to - g->end, g->end);
    if (result == 0)
        result = j->disk->sync(j->disk, fd);
    return result == 0 ? j->disk->sync_dir(j->disk, j->path) : result;
}

/* Segments behind the end of the log: no reader of the log may find them again. */
static int erase_orphans(struct walk *w, uint64_t start)
{
    struct journal *j = w->j;
    for (uint32_t i = j->segment_count; i-- > 0;) {
        struct segment *g = j->segments[i];
        if (g->kind != SEGMENT_LOG || g->is_walked || g->number <= start || g->live || !g->slot)
            continue;
        int result = j->is_reader ? 0 : segment_header_erase(j, g->slot);
        if (result < 0)
            return result;
        segment_remove(j, g);
    }
    return 0;
}

/* A header may have been erased without a sync, or with one that failed: the disk may still have it,
 * and a segment begun now may get its number. */
static int erase_blanks(struct journal *j)
{
    int result = 0;
    for (struct slot *slot = j->slots; slot && result == 0; slot = slot->next)
        if (slot->is_blank)
            result = segment_header_erase(j, slot);
    return result;
}

/* The next group goes into a new segment; after a clean close the last one goes on. */
static void set_end(struct walk *w)
{
    struct journal *j = w->j;
    struct segment *g = w->at;
    j->active = NULL;
    if (!g)
        return;
    if (w->is_closed && g->slot && !j->is_reader) {
        g->is_sealed = false;
        g->is_loaded = true;
        j->active = g;
        j->has_end = true;
        return;
    }
    segment_seal(j, g);
    j->last_number = g->number;
    j->last_end = g->end;
}

static void drop_run(struct journal *j, struct stream *s, const struct run *r)
{
    uint64_t first = r->first, count = r->count;
    j->health.lost_records += r->live;
    log_write(
        WEIR_ERROR, NULL,
        "journal %s: stream %s: %u records from number %llu on are lost: segment %llu is gone",
        j->path, s->name, r->live, (unsigned long long)first,
        (unsigned long long)r->segment->number);
    stream_kill(s, first, count);
    if (s->kind && s->kind->ack)
        s->kind->ack(s->state, first, count);
}

/* Runs in segments that are gone: their records are lost, and said to be. */
static void drop_lost(struct journal *j)
{
    for (uint32_t k = 0; k < j->stream_count; k++) {
        struct stream *s = j->streams[k];
        for (uint32_t i = s ? s->run_count : 0; i-- > 0;)
            if (!s->runs[i]->segment->slot && s->runs[i]->live)
                drop_run(j, s, s->runs[i]);
    }
    for (uint32_t i = j->segment_count; i-- > 0;)
        if (!j->segments[i]->slot && j->segments[i] != j->active)
            segment_remove(j, j->segments[i]);
}

static void announce(struct journal *j)
{
    for (uint32_t i = 0; i < j->stream_count; i++) {
        struct stream *s = j->streams[i];
        if (!s)
            continue;
        s->is_touched = false;
        s->next_touched = NULL;
        if (j->is_full_scan) /* numbers behind the last that was found may have been used */
            s->next += 1 << 20;
        s->assigned = s->next;
        if (s->kind && s->kind->opened)
            s->kind->opened(s->state);
    }
    j->touched = NULL;
}

static void forget(struct journal *j)
{
    for (uint32_t i = 0; i < j->stream_count; i++)
        stream_free(j->streams[i]);
    for (uint32_t i = 0; i < j->counter_count; i++) {
        if (j->counters[i])
            mem_free(j->counters[i]->name);
        mem_free(j->counters[i]);
    }
    j->stream_count = j->counter_count = 0;
    j->number_max = 0;
    for (uint32_t i = j->segment_count; i-- > 0;) {
        struct segment *g = j->segments[i];
        if (!g->slot) {
            segment_remove(j, g);
            continue;
        }
        g->live = g->refs = 0;
        g->end = FORMAT_HEADER_BYTES;
        if (j->number_max < g->number)
            j->number_max = g->number;
    }
    j->group_number = j->last_number = 0;
}

static void free_checks(struct check_found checks[2])
{
    buf_fini(&checks[0].bytes);
    buf_fini(&checks[1].bytes);
}

/* A slot without a header whose first record was made for this segment. */
static bool is_slot_of(struct journal *j, const struct slot *slot, const struct segment *g)
{
    struct window in = {.disk = j->disk, .fd = slot->fd, .limit = slot->bytes};
    bool is_it = slot->is_blank && g->end <= slot->bytes - FORMAT_HEADER_BYTES &&
                 window_record(&in, g->place, FORMAT_HEADER_BYTES) != NULL;
    window_fini(&in);
    return is_it;
}

static struct slot *take_slot_of(struct journal *j, const struct segment *g)
{
    struct slot **at = &j->slots;
    while (*at && !is_slot_of(j, *at, g))
        at = &(*at)->next;
    struct slot *slot = *at;
    if (!slot)
        return NULL;
    *at = slot->next;
    slot->next = NULL;
    slot->is_blank = false;
    j->slot_count--;
    return slot;
}

/* Segments that the checkpoint knows and whose slot has lost both copies of its header. */
static void adopt_headless(struct journal *j)
{
    for (uint32_t i = 0; i < j->segment_count; i++) {
        struct segment *g = j->segments[i];
        if (g->slot || !g->nonce)
            continue;
        g->slot = take_slot_of(j, g);
        g->is_headless = g->slot != NULL;
        if (g->slot)
            log_write(WEIR_WARN, NULL,
                      "journal %s: slot %u: both headers are damaged; it is segment %llu by its "
                      "records",
                      j->path, g->slot->index, (unsigned long long)g->number);
    }
}

/* The newest that makes sense. */
static bool load_check(struct walk *w, const struct check_found *checks, int count)
{
    struct journal *j = w->j;
    for (int i = 0; i < count; i++) {
        if (checkpoint_load(j, &checks[i].bytes, &w->is_closed)) {
            adopt_headless(j);
            return true;
        }
        log_write(WEIR_ERROR, NULL, "journal %s: check-%c makes no sense", j->path,
                  'a' + checks[i].which);
        j->checks[checks[i].which].start = 0;
        forget(j);
        w->is_closed = false;
    }
    return false;
}

static int write_headers(struct journal *j)
{
    int result = 0;
    for (uint32_t i = 0; i < j->segment_count && result == 0; i++) {
        struct segment *g = j->segments[i];
        if (!g->is_headless || !g->slot)
            continue;
        result = segment_header_write(j, g);
        if (result == 0)
            result = j->disk->sync(j->disk, g->slot->fd);
    }
    return result;
}

static int finish(struct walk *w, uint64_t start)
{
    struct journal *j = w->j;
    int result = j->is_reader ? 0 : rewrite_last(w);
    if (result == 0 && !j->is_reader)
        result = write_headers(j);
    if (result == 0)
        result = erase_orphans(w, start);
    if (result == 0 && !j->is_reader && !w->is_closed)
        result = erase_blanks(j);
    if (result < 0)
        return error_sys(w->e, -result, "journal %s: write", j->path);
    j->synced_number = j->group_number;
    set_end(w);
    drop_lost(j);
    announce(j);
    j->check_ns = clock_mono(j->clock);
    j->bytes_since_check = w->replayed;
    bool is_check_wanted = w->replayed > REPLAY_MAX || j->health.damaged_bytes || j->is_full_scan;
    if (!j->is_reader && is_check_wanted)
        (void)checkpoint_write(j, false);
    j->is_full_scan = j->is_lossy = false;
    return 0;
}

int recover_run(struct journal *j, struct error *e)
{
    struct walk w = {.j = j, .e = e};
    struct check_found checks[2] = {{{0}, 0}, {{0}, 0}};
    int result = j->disk->list(j->disk, j->path, add_slot, &w);
    if (result < 0 || w.unopened) {
        free_found(&w);
        return result < 0 ? error_sys(e, -result, "journal %s: read the directory", j->path)
                          : journal_cannot_open(j, -w.unopened, w.unopened_name, e);
    }
    for (uint32_t i = 0; i < w.count; i++)
        read_header(j, &w.found[i]);
    if (refuse_major(&w) < 0) {
        free_found(&w);
        return -1;
    }
    int count = checkpoint_read(j, checks, e);
    if (count < 0) {
        free_checks(checks);
        free_found(&w);
        return -1;
    }
    register_segments(&w, count > 0);
    journal_lock(j);
    find_start(&w, load_check(&w, checks, count));
    uint64_t start = w.at ? w.at->number : 0;
    if (w.at)
        w.at->is_sealed = false;
    result = walk_all(&w);
    result = result < 0 ? error_sys(e, -result, "journal %s: read", j->path) : finish(&w, start);
    journal_unlock(j);
    free_checks(checks);
    mem_free(w.found);
    mem_free(w.unproven);
    return result;
}
