/* journal/group.c: a group on its way to the disk: built, placed, written, synced, or moved.
 *
 * At most one group is unsynced at any time. So whatever lies before the last group of the log was
 * synced, and a segment that has a successor is good up to the place where the successor says. */
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

enum { STORE_TRIES = 3 }; /* the first, its move, and the move's own */

/* Where the next group goes: behind what was written and is not synced. */
uint32_t group_end(const struct journal *j)
{
    return j->active->end + j->pending_bytes;
}

static void add_name(struct group *g, enum record_type type, const struct stream *s,
                     const struct name_body *body, weir_str name)
{
    char *at = unit_record(&g->head, type, s ? 1 : 0, (uint32_t)(sizeof *body + name.len));
    struct record *r = (struct record *)(void *)at;
    if (s) {
        struct record_ref ref = {.stream = s->id, .sequence = s->next};
        memcpy(r + 1, &ref, sizeof ref);
    }
    char *to = (char *)(r + 1) + (s ? sizeof(struct record_ref) : 0);
    memcpy(to, body, sizeof *body);
    memcpy(to + sizeof *body, name.ptr, name.len);
    r->body_crc = hash_crc32c(0, record_body(r), record_body_bytes(r));
    g->head_records++;
}

/* The GROUP record, and streams and counters that the log does not know: in a segment's first group
 * all of them, so that the log can be read from any of its segments. */
void group_head(struct journal *j, bool is_all)
{
    struct group *g = &j->group;
    g->head.len = 0;
    g->head_records = 0;
    (void)unit_record(&g->head, RECORD_GROUP, 0, sizeof(struct group_body));
    journal_lock(j);
    bool is_wanted = is_all || j->undeclared;
    for (uint32_t i = 0; is_wanted && i < j->stream_count; i++) {
        const struct stream *s = j->streams[i];
        struct name_body body = {.kind = s ? s->kind_id : 0};
        if (s && (is_all || !s->is_declared))
            add_name(g, RECORD_STREAM, s, &body, weir_text(s->name));
    }
    for (uint32_t i = 0; is_wanted && i < j->counter_count; i++) {
        const struct counter *c = j->counters[i];
        struct name_body body = {.id = i, .value = c ? c->value : 0};
        if (c && (is_all || !c->is_declared))
            add_name(g, RECORD_COUNTER, NULL, &body, weir_text(c->name));
    }
    journal_unlock(j);
    if (is_all)
        j->names_bytes = (uint32_t)g->head.len;
}

static void assign(struct journal_unit *u)
{
    for (uint32_t i = 0; i < u->put_count; i++) {
        struct record *r = (struct record *)(void *)(u->bytes + u->puts[i]);
        struct record_ref *ref = (struct record_ref *)(void *)(r + 1);
        for (uint32_t k = 0; k < r->refs; k++) {
            /* Left by unit_put. NOLINTNEXTLINE(performance-no-int-to-ptr) */
            struct stream *s = (struct stream *)(uintptr_t)ref[k].sequence;
            ref[k].sequence = s->assigned++;
        }
    }
}

static void stamp_all(struct place place, char *bytes, size_t len, uint32_t offset)
{
    for (size_t at = 0; at < len;) {
        struct record *r = (struct record *)(void *)(bytes + at);
        record_stamp(place, r, offset + (uint32_t)at);
        at += r->length;
    }
}

void group_stamp(struct journal *j)
{
    struct group *g = &j->group;
    struct record *r = (struct record *)(void *)g->head.ptr;
    struct group_body body = {
        .number = j->group_number + j->pending_count + 1,
        .bytes = (uint32_t)g->head.len + g->bytes,
        .records = g->head_records + g->records,
        .synced = j->synced_number,
    };
    memcpy(r + 1, &body, sizeof body);
    r->body_crc = hash_crc32c(0, &body, sizeof body);
    uint32_t at = group_end(j);
    stamp_all(j->active->place, g->head.ptr, g->head.len, at);
    at += (uint32_t)g->head.len;
    for (struct journal_unit *u = g->units.first; u; u = u->next) {
        if (u->status != WEIR_OK)
            continue;
        stamp_all(j->active->place, u->bytes, u->len, at);
        at += (uint32_t)u->len;
    }
}

/* A segment that has a successor was synced up to its end. */
static void seal_active(struct journal *j)
{
    (void)pending_sync_log(j);
    segment_seal(j, j->active);
    j->last_number = j->active->number;
    j->last_end = j->active->end;
    j->active = NULL;
}

int group_place(struct journal *j)
{
    struct group *g = &j->group;
    group_head(j, !j->active);
    bool fits = j->active && segment_room(j->active, group_end(j)) >= g->head.len + g->bytes;
    if (j->pending && (!fits || g->head_records)) { /* names tell sums as they are applied */
        int result = pending_settle(j);
        if (result < 0)
            return result;
        group_head(j, !j->active);
        fits = j->active && segment_room(j->active, group_end(j)) >= g->head.len + g->bytes;
    }
    if (j->active && !fits) {
        seal_active(j);
        group_head(j, true);
    }
    if (j->active)
        return 0;
    return segment_start(j, SEGMENT_LOG, (uint32_t)g->head.len + g->bytes, &j->active);
}

int group_write(struct journal *j)
{
    struct group *g = &j->group;
    size_t need = g->units.count + 1, n = 1;
    if (need > g->part_cap) {
        g->part_cap = need < 64 ? 64 : 2 * need;
        mem_free(g->parts);
        g->parts = mem_new(g->part_cap * sizeof *g->parts);
    }
    g->parts[0] = (struct iovec){g->head.ptr, g->head.len};
    for (struct journal_unit *u = g->units.first; u; u = u->next)
        if (u->status == WEIR_OK && u->len)
            g->parts[n++] = (struct iovec){u->bytes, u->len};
    uint32_t at = group_end(j);
    slot_zero_ahead(j, j->active->slot, at, at + (uint32_t)g->head.len + g->bytes);
    return disk_writev_all(j->disk, j->active->slot->fd, g->parts, (int)n, at);
}

void group_note_chain(const struct journal_unit *u)
{
    if (u->chain && (u->status == WEIR_E_RETRY || u->status == WEIR_E_FATAL))
        u->chain->is_broken = true;
}

void group_answer(struct journal_unit *u)
{
    u->is_done = true;
    group_note_chain(u);
    if (u->done)
        u->done(u->user, u->status, u);
}

/* They hear of it early only if a failed sync could be moved away from for certain. */
static void answer_written(struct journal *j)
{
    if (!slot_is_spare(j, (uint32_t)j->group.head.len + j->group.bytes))
        return;
    for (struct journal_unit *u = j->group.units.first; u; u = u->next)
        if (u->level == JOURNAL_WRITTEN && u->status == WEIR_OK && !u->is_done)
            group_answer(u);
}

/* After a failed write or sync the pages may differ from the disk and no later sync would say so:
 * nothing behind the last good sync is used, and this slot no more. */
void group_abandon(struct journal *j, int error)
{
    char text[128];
    struct segment *g = j->active;
    uint32_t unanswered = group_end(j);
    j->is_pending_lost = j->pending != NULL;
    j->pending_bytes = j->pending_count = 0;
    log_write(WEIR_ERROR, NULL, "journal %s: slot %u: %s; moving to another", j->path,
              g->slot->index, error_sys_text(-error, text, sizeof text));
    g->slot->is_retired = true;
    journal_lock(j);
    j->health.sync_failures++;
    journal_unlock(j);
    if (g->end > FORMAT_HEADER_BYTES) {
        j->abandoned = g->number;
        j->abandoned_at = unanswered;
        seal_active(j);
        return;
    }
    if (segment_header_erase(j, g->slot) < 0) /* then only a later segment's higher number tells */
        j->has_ghost = true;
    segment_seal(j, g);
    journal_lock(j);
    segment_remove(j, g);
    journal_unlock(j);
    j->active = NULL;
}

/* A mean that forgets: the last eight syncs weigh most. Of the real clock, whatever the journal's is. */
int group_sync(struct journal *j)
{
    int64_t begun = clock_mono(&clock_real);
    int result = j->disk->sync(j->disk, j->active->slot->fd);
    int64_t took = clock_mono(&clock_real) - begun;
    int64_t mean = atomic_load_explicit(&j->sync_ns, memory_order_relaxed);
    atomic_store_explicit(&j->sync_ns, mean ? mean + (took - mean) / 8 : took,
                          memory_order_relaxed);
    if (result == 0)
        j->has_ghost = false;
    return result;
}

static bool has_answered(const struct journal *j)
{
    for (const struct journal_unit *u = j->group.units.first; u; u = u->next)
        if (u->is_done)
            return true;
    return false;
}

static int try_store(struct journal *j, bool *is_refused)
{
    int result = pending_place(j);
    *is_refused = (result == -ENOSPC || result == -EDQUOT) && !has_answered(j);
    if (result < 0)
        return result;
    group_stamp(j);
    result = group_write(j);
    if (result == 0) {
        answer_written(j);
        if (j->durability != JOURNAL_OS && !j->group.is_held)
            result = group_sync(j);
    }
    if (result < 0)
        group_abandon(j, result);
    return result;
}

static void unassign_put(struct journal *j, const struct record *r)
{
    for (uint32_t k = 0; k < r->refs; k++) {
        const struct record_ref *ref = &record_refs(r)[k];
        struct stream *s = stream_by_id(j, ref->stream);
        if (s && ref->sequence < s->assigned)
            s->assigned = ref->sequence;
    }
}

/* The numbers of units that were refused are given again. */
static void unassign(struct journal *j)
{
    journal_lock(j);
    for (struct journal_unit *u = j->group.units.first; u; u = u->next)
        for (uint32_t i = 0; u->status == WEIR_OK && i < u->put_count; i++)
            unassign_put(j, (const struct record *)(const void *)(u->bytes + u->puts[i]));
    journal_unlock(j);
}

/* What a failed sync left behind the end is elsewhere by now, or refused: even where the next
 * segment's header is lost, no recovery may take it for what got its numbers since. What was answered
 * and has no other place yet stays. false: what lies there may be found again. */
bool group_erase_abandoned(struct journal *j)
{
    struct segment *g = j->abandoned ? segment_find(j, j->abandoned) : NULL;
    uint32_t at = j->pending ? j->abandoned_at : g ? g->end : 0;
    if (!g || !g->slot)
        return !j->has_ghost;
    int result = disk_fill_zero(j->disk, g->slot->fd, sizeof(struct record) * 2, at);
    if (result == 0)
        result = j->disk->sync(j->disk, g->slot->fd);
    if (!j->pending)
        j->abandoned = 0;
    return result == 0 && !j->has_ghost;
}

void group_give_up(struct journal *j, int error)
{
    j->failed_ns = clock_mono(j->clock);
    if (j->health.is_failed)
        return;
    char text[128];
    log_write(WEIR_ERROR, NULL, "journal %s: failed: %s: nothing is accepted until it works again",
              j->path, error_sys_text(-error, text, sizeof text));
    journal_lock(j);
    j->health.is_failed = true;
    journal_unlock(j);
}

weir_status group_store(struct journal *j)
{
    bool is_refused = false;
    int result = 0;
    for (struct journal_unit *u = j->group.units.first; u; u = u->next)
        if (u->status == WEIR_OK)
            assign(u);
    for (int i = 0; i < STORE_TRIES && !is_refused; i++) {
        result = try_store(j, &is_refused);
        if (result == 0 && j->durability == JOURNAL_FSYNC)
            (void)group_erase_abandoned(j);
        if (result == 0)
            return WEIR_OK;
    }
    unassign(j);
    bool is_gone = group_erase_abandoned(j);
    if (is_refused && is_gone) {
        room_set_full(j, true);
        return WEIR_E_RETRY;
    }
    group_give_up(j, result);
    return WEIR_E_FATAL;
}

weir_status group_turn(struct journal *j)
{
    unit_list_init(&j->group.units);
    j->group.bytes = j->group.records = 0;
    seal_active(j);
    return commit_group(j);
}
