/* journal/commit.c: group commit: gather, write, sync, apply, answer.
 *
 * At most one group is unsynced at any time. So whatever lies before the last group of the log was
 * synced, and a segment that has a successor is good up to the place where the successor says. */
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

enum {
    USUAL_BYTES = 4 << 10, /* a disk that has no room for so much is still full */
    GROUP_SLACK = 4096,    /* declarations that come with a group, about */
    APPLY_MAX = 512,       /* records applied while readers wait */
    CHECK_BYTES = 16 << 20,
    COMPACT_STEP = 256 << 10,
    STORE_TRIES = 3, /* the first, its move, and the move's own */
};
static const int64_t check_every_ns = 10 * 1000000000LL;
static const int64_t heal_every_ns = 1000000000LL;
static const int64_t lazy_max_ns = 100 * 1000000LL;

void unit_list_init(struct unit_list *l)
{
    l->first = NULL;
    l->end = &l->first;
    l->count = 0;
}

void unit_list_push(struct unit_list *l, struct journal_unit *u)
{
    u->next = NULL;
    *l->end = u;
    l->end = &u->next;
    l->count++;
}

void unit_list_join(struct unit_list *l, struct unit_list *more)
{
    if (!more->first)
        return;
    *l->end = more->first;
    l->end = more->end;
    l->count += more->count;
    unit_list_init(more);
}

static struct journal_unit *list_pop(struct unit_list *l)
{
    struct journal_unit *u = l->first;
    l->first = u->next;
    l->count--;
    if (!l->first)
        l->end = &l->first;
    return u;
}

void commit_enter(struct journal *j)
{
    (void)pthread_mutex_lock(&j->commit_lock);
    atomic_store(&j->committer, pthread_self());
}

void commit_leave(struct journal *j)
{
    atomic_store(&j->committer, (pthread_t)0);
    (void)pthread_mutex_unlock(&j->commit_lock);
}

/* Where the next group goes: behind what was written and is not synced. */
static uint32_t write_at(const struct journal *j)
{
    return j->active->end + j->pending_bytes;
}

static bool take_queue(struct journal *j)
{
    bool has_kept = j->kept.first && !j->health.is_failed && !j->health.is_full;
    journal_lock(j);
    if (has_kept || j->queue.first)
        unit_list_join(&j->taken, &j->kept);
    unit_list_join(&j->taken, &j->queue);
    j->is_urgent = false;
    j->lazy_since_ns = 0;
    journal_unlock(j);
    return j->taken.first != NULL;
}

static void set_full(struct journal *j, bool is_full)
{
    journal_lock(j);
    bool was = j->health.is_full;
    j->health.is_full = is_full;
    journal_unlock(j);
    if (is_full && !was)
        log_write(WEIR_WARN, NULL, "journal %s: full: nothing new is accepted until space returns",
                  j->path);
    else if (was && !is_full)
        log_write(WEIR_INFO, NULL, "journal %s: there is space again", j->path);
}

/* Puts never touch the reserve, so that what makes room always finds some. */
static bool has_put_room(struct journal *j, size_t bytes, uint32_t *limit)
{
    if (j->is_pending_lost && commit_settle(j) < 0) /* first what was answered */
        return false;
    bool fits = j->active && segment_room(j->active, write_at(j)) >= bytes + GROUP_SLACK;
    bool has_room = slot_prepare(j, SLOTS_RESERVED + 1);
    if (!has_room) {
        uint32_t room =
            fits ? segment_room(j->active, write_at(j)) : slot_small(j, bytes + GROUP_SLACK);
        if (*limit > room)
            *limit = room;
        has_room = room > 0;
    }
    has_room = has_room && checkpoint_has_room(j);
    set_full(j, !has_room);
    return has_room;
}

static weir_status judge(struct journal *j, const struct journal_unit *u)
{
    if (j->health.is_failed)
        return WEIR_E_FATAL;
    if (u->is_too_large)
        return WEIR_E_REJECT;
    return WEIR_OK;
}

/* Moves units into the group, up to its size; those refused stay in the order of the answers. */
static void gather(struct journal *j)
{
    struct group *g = &j->group;
    uint32_t room = j->active ? segment_room(j->active, write_at(j)) : 0;
    uint32_t limit = slot_default_bytes(j) / 2;
    if (limit > GROUP_BYTES_MAX)
        limit = GROUP_BYTES_MAX;
    if (room > limit / 4 && room < limit)
        limit = room;
    bool is_asked = false, has_room = false;
    unit_list_init(&g->units);
    g->bytes = g->records = 0;
    while (j->taken.first) {
        struct journal_unit *u = j->taken.first;
        u->status = judge(j, u);
        if (u->status == WEIR_OK && u->put_count && !is_asked) {
            has_room = has_put_room(j, u->len, &limit);
            is_asked = true;
        }
        if (u->status == WEIR_OK && u->put_count && !has_room)
            u->status = WEIR_E_RETRY;
        if (u->status == WEIR_OK && g->bytes && g->bytes + u->len + GROUP_SLACK > limit)
            break;
        unit_list_push(&g->units, list_pop(&j->taken));
        if (u->status != WEIR_OK)
            continue;
        g->bytes += (uint32_t)u->len;
        g->records += u->records;
    }
}

/* ---- building the group ---- */

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
static void build_head(struct journal *j, bool is_all)
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

static void stamp_group(struct journal *j)
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
    uint32_t at = write_at(j);
    stamp_all(j->active->place, g->head.ptr, g->head.len, at);
    at += (uint32_t)g->head.len;
    for (struct journal_unit *u = g->units.first; u; u = u->next) {
        if (u->status != WEIR_OK)
            continue;
        stamp_all(j->active->place, u->bytes, u->len, at);
        at += (uint32_t)u->len;
    }
}

/* ---- writing it ---- */

/* A segment that has a successor was synced up to its end. */
static void seal_active(struct journal *j)
{
    (void)commit_sync_log(j);
    segment_seal(j, j->active);
    j->last_number = j->active->number;
    j->last_end = j->active->end;
    j->active = NULL;
}

static int place_group(struct journal *j)
{
    struct group *g = &j->group;
    build_head(j, !j->active);
    bool fits = j->active && segment_room(j->active, write_at(j)) >= g->head.len + g->bytes;
    if (j->pending && (!fits || g->head_records)) { /* names tell sums as they are applied */
        int result = commit_settle(j);
        if (result < 0)
            return result;
        build_head(j, !j->active);
        fits = j->active && segment_room(j->active, write_at(j)) >= g->head.len + g->bytes;
    }
    if (j->active && !fits) {
        seal_active(j);
        build_head(j, true);
    }
    if (j->active)
        return 0;
    return segment_start(j, SEGMENT_LOG, (uint32_t)g->head.len + g->bytes, &j->active);
}

static int write_group(struct journal *j)
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
    uint32_t at = write_at(j);
    slot_zero_ahead(j, j->active->slot, at, at + (uint32_t)g->head.len + g->bytes);
    return disk_writev_all(j->disk, j->active->slot->fd, g->parts, (int)n, at);
}

static void answer(struct journal_unit *u)
{
    u->is_done = true;
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
            answer(u);
}

/* After a failed write or sync the pages may differ from the disk and no later sync would say so:
 * nothing behind the last good sync is used, and this slot no more. */
static void abandon_active(struct journal *j, int error)
{
    char text[128];
    struct segment *g = j->active;
    uint32_t unanswered = write_at(j);
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
static int timed_sync(struct journal *j)
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

/* ---- groups that are answered before they are synced ---- */

static void swap_groups(struct journal *j, struct group *g)
{
    struct group other = j->group, *next = g->next;
    j->group = *g;
    *g = other;
    g->next = next;
    if (!g->units.first) /* an empty list ends in itself */
        unit_list_init(&g->units);
    if (!j->group.units.first)
        unit_list_init(&j->group.units);
}

static int write_pending(struct journal *j, struct group *g, uint32_t total)
{
    int result = 0;
    swap_groups(j, g);
    build_head(j, !j->active);
    if (!j->active)
        result = segment_start(j, SEGMENT_LOG, total + (uint32_t)j->group.head.len, &j->active);
    if (result == 0) {
        stamp_group(j);
        result = write_group(j);
        if (result < 0)
            abandon_active(j, result);
    }
    if (result == 0) {
        j->pending_bytes += (uint32_t)j->group.head.len + j->group.bytes;
        j->pending_count++;
    }
    swap_groups(j, g);
    return result;
}

/* All of them fit: together they are smaller than a slot. */
static int rewrite_pending(struct journal *j)
{
    uint32_t total = 0;
    if (!j->is_pending_lost)
        return 0;
    for (struct group *g = j->pending; g; g = g->next)
        total += (uint32_t)g->head.len + g->bytes;
    for (struct group *g = j->pending; g; g = g->next) {
        int result = write_pending(j, g, total);
        if (result < 0)
            return result;
    }
    j->is_pending_lost = false;
    return 0;
}

/* What is answered before its sync has to find a slot to move to if that sync fails. */
static bool has_refuge(struct journal *j)
{
    uint32_t bytes = j->pending_bytes + (uint32_t)j->group.head.len + j->group.bytes;
    bytes += 2 * j->names_bytes + GROUP_SLACK;
    return slot_is_spare(j, bytes) ||
           (slot_make(j, slot_default_bytes(j)) == 0 && slot_is_spare(j, bytes));
}

/* Finds the group its place, and decides when its units hear of it. */
static int place(struct journal *j)
{
    int result = rewrite_pending(j);
    if (result == 0)
        result = place_group(j);
    j->group.is_held = j->durability == JOURNAL_INTERVAL;
    if (result < 0 || !j->group.is_held || has_refuge(j))
        return result;
    j->group.is_held = false;
    if (!j->pending)
        return 0;
    result = commit_settle(j);
    return result == 0 ? place_group(j) : result;
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
    int result = place(j);
    *is_refused = (result == -ENOSPC || result == -EDQUOT) && !has_answered(j);
    if (result < 0)
        return result;
    stamp_group(j);
    result = write_group(j);
    if (result == 0) {
        answer_written(j);
        if (j->durability != JOURNAL_OS && !j->group.is_held)
            result = timed_sync(j);
    }
    if (result < 0)
        abandon_active(j, result);
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
static bool erase_abandoned(struct journal *j)
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

static void give_up(struct journal *j, int result)
{
    j->failed_ns = clock_mono(j->clock);
    char text[128];
    log_write(WEIR_ERROR, NULL, "journal %s: failed: %s: nothing is accepted until it works again",
              j->path, error_sys_text(-result, text, sizeof text));
    journal_lock(j);
    j->health.is_failed = true;
    journal_unlock(j);
}

static weir_status store(struct journal *j)
{
    bool is_refused = false;
    int result = 0;
    for (struct journal_unit *u = j->group.units.first; u; u = u->next)
        if (u->status == WEIR_OK)
            assign(u);
    for (int i = 0; i < STORE_TRIES && !is_refused; i++) {
        result = try_store(j, &is_refused);
        if (result == 0 && j->durability == JOURNAL_FSYNC)
            (void)erase_abandoned(j);
        if (result == 0)
            return WEIR_OK;
    }
    unassign(j);
    bool is_gone = erase_abandoned(j);
    if (is_refused && is_gone) {
        set_full(j, true);
        return WEIR_E_RETRY;
    }
    give_up(j, result);
    return WEIR_E_FATAL;
}

/* ---- applying it ---- */

static uint32_t apply_bytes(struct journal *j, const char *bytes, size_t len, uint32_t offset)
{
    uint32_t n = 0;
    for (size_t at = 0; at < len; n++) {
        const struct record *r = (const struct record *)(const void *)(bytes + at);
        apply_record(j, j->active, offset + (uint32_t)at, r);
        at += r->length;
    }
    return n;
}

/* Readers get a turn between units when there are many. */
static void apply_group(struct journal *j)
{
    struct group *g = &j->group;
    uint32_t at = j->active->end, since = 0;
    journal_lock(j);
    uint32_t head_end = at + (uint32_t)g->head.len;
    j->active->end = head_end + g->bytes;
    (void)apply_bytes(j, g->head.ptr, g->head.len, at);
    if (g->head_records)
        j->undeclared = 0;
    for (uint32_t i = 0; g->head_records && i < j->stream_count; i++)
        j->undeclared += j->streams[i] && !j->streams[i]->is_declared;
    for (uint32_t i = 0; g->head_records && i < j->counter_count; i++)
        j->undeclared += j->counters[i] && !j->counters[i]->is_declared;
    at = head_end;
    for (struct journal_unit *u = g->units.first; u; u = u->next) {
        if (u->status != WEIR_OK)
            continue;
        since += apply_bytes(j, u->bytes, u->len, at);
        at += (uint32_t)u->len;
        if (since >= APPLY_MAX) {
            journal_unlock(j);
            since = 0;
            journal_lock(j);
        }
    }
    j->health.groups++;
    if (j->durability == JOURNAL_OS)
        j->unsynced_bytes += g->head.len + g->bytes;
    journal_unlock(j);
    j->group_number++;
    if (j->durability != JOURNAL_OS)
        j->synced_number = j->group_number;
    j->bytes_since_check += g->head.len + g->bytes;
}

static void call_listeners(struct journal *j)
{
    if (!j->touched) /* only the committer adds */
        return;
    (void)pthread_mutex_lock(&j->listen_lock);
    for (;;) {
        journal_lock(j);
        struct stream *s = j->touched;
        void (*fn)(void *user) = s ? s->listener : NULL;
        void *user = s ? s->listener_user : NULL;
        if (s) {
            j->touched = s->next_touched;
            s->is_touched = false;
        }
        journal_unlock(j);
        if (!s)
            break;
        if (fn)
            fn(user);
    }
    (void)pthread_mutex_unlock(&j->listen_lock);
}

/* Nobody would bring it again: what was delivered would come twice. */
static bool is_kept(const struct journal_unit *u)
{
    return u->level == JOURNAL_LAZY && !u->is_done && !u->done && u->put_count == 0 &&
           !u->is_too_large && (u->status == WEIR_E_RETRY || u->status == WEIR_E_FATAL);
}

static void keep_refused(struct journal *j, struct journal_unit *units)
{
    struct journal_unit *gone = NULL;
    while (units) {
        struct journal_unit *u = units;
        units = u->next;
        if (is_kept(u)) {
            unit_list_push(&j->kept, u);
            continue;
        }
        u->next = gone;
        gone = u;
    }
    unit_release(j, gone);
}

static void finish(struct journal *j, weir_status status)
{
    struct journal_unit *units = j->group.units.first;
    for (struct journal_unit *u = units; u; u = u->next) {
        if (u->status == WEIR_OK)
            u->status = status;
        if (!u->is_done && !is_kept(u))
            answer(u);
    }
    keep_refused(j, units);
    unit_list_init(&j->group.units);
}

/* Answers the group and keeps it until the next sync. */
static void hold(struct journal *j)
{
    struct group *g = j->group_pool;
    uint32_t bytes = (uint32_t)j->group.head.len + j->group.bytes;
    if (g)
        j->group_pool = g->next;
    else
        g = MEM_NEW(struct group);
    g->next = NULL;
    swap_groups(j, g);
    *j->pending_end = g;
    j->pending_end = &g->next;
    j->pending_bytes += bytes;
    j->pending_count++;
    journal_lock(j);
    bool is_first = j->pending_since_ns == 0;
    if (is_first)
        j->pending_since_ns = clock_mono(j->clock);
    j->unsynced_bytes += bytes;
    if (is_first && j->has_thread)
        (void)pthread_cond_signal(&j->wanted);
    journal_unlock(j);
    for (struct journal_unit *u = g->units.first; u; u = u->next)
        if (!u->is_done)
            answer(u);
}

static void drop_pending(struct journal *j, weir_status status)
{
    while (j->pending) {
        struct group *g = j->pending;
        j->pending = g->next;
        swap_groups(j, g);
        if (status == WEIR_OK && j->active)
            apply_group(j);
        finish(j, status);
        swap_groups(j, g);
        g->next = j->group_pool;
        j->group_pool = g;
    }
    j->pending_end = &j->pending;
    j->pending_bytes = j->pending_count = 0;
    j->is_pending_lost = false;
    journal_lock(j);
    j->unsynced_bytes = 0;
    j->pending_since_ns = 0;
    journal_unlock(j);
}

int commit_settle(struct journal *j)
{
    int result = 0;
    if (!j->pending)
        return 0;
    for (int i = 0; i < STORE_TRIES; i++) {
        result = rewrite_pending(j);
        if (result == 0 && j->active) {
            result = timed_sync(j);
            if (result < 0)
                abandon_active(j, result);
        }
        if (result == 0)
            break;
    }
    if (result == -ENOSPC || result == -EDQUOT) { /* kept, and tried again */
        set_full(j, true);
        journal_lock(j);
        j->pending_since_ns = clock_mono(j->clock);
        journal_unlock(j);
        return result;
    }
    if (result < 0) {
        log_write(WEIR_ERROR, NULL, "journal %s: %u groups that were answered are lost", j->path,
                  j->pending_count);
        give_up(j, result);
    }
    drop_pending(j, result < 0 ? WEIR_E_FATAL : WEIR_OK);
    (void)erase_abandoned(j);
    call_listeners(j);
    return result;
}

int commit_sync_log(struct journal *j)
{
    if (j->durability != JOURNAL_OS || !j->active || j->unsynced_bytes == 0)
        return 0;
    int result = timed_sync(j);
    journal_lock(j);
    j->unsynced_bytes = 0; /* or lost: later syncs would not tell */
    j->health.sync_failures += result < 0;
    journal_unlock(j);
    j->synced_number = j->group_number;
    if (result == 0)
        return 0;
    char text[128];
    log_write(WEIR_ERROR, NULL,
              "journal %s: slot %u: %s: what was written since the last sync may be lost, as "
              "durability: os allows",
              j->path, j->active->slot->index, error_sys_text(-result, text, sizeof text));
    j->active->slot->is_retired = true;
    return result;
}

/* A first group behind END is synced before a second one: else the END may survive where the second
 * does as well, and what the next life writes there would meet it. */
bool commit_run(struct journal *j)
{
    if (!take_queue(j))
        return false;
    while (j->taken.first) {
        gather(j);
        weir_status status = WEIR_OK;
        if (j->group.bytes)
            status = store(j);
        bool is_stored = j->group.bytes && status == WEIR_OK;
        if (is_stored && j->group.is_held) {
            hold(j);
            if (j->has_end || j->pending_bytes >= slot_default_bytes(j) / 4)
                (void)commit_settle(j);
            j->has_end = false;
            continue;
        }
        if (is_stored) {
            apply_group(j);
            if (j->has_end)
                (void)commit_sync_log(j);
            j->has_end = false;
            call_listeners(j);
        }
        finish(j, status);
    }
    return true;
}

/* ---- what is not asked for ---- */

static bool is_check_wanted(const struct journal *j, bool is_idle)
{
    if (j->bytes_since_check == 0)
        return false;
    int64_t age = clock_mono(j->clock) - j->check_ns;
    return j->bytes_since_check >= CHECK_BYTES || age >= check_every_ns;
}

/* A failed disk is tried now and then: a segment that can be begun and synced ends it. */
static bool heal(struct journal *j)
{
    if (clock_mono(j->clock) - j->failed_ns < heal_every_ns)
        return false;
    j->failed_ns = clock_mono(j->clock);
    if (!j->active && segment_start(j, SEGMENT_LOG, 0, &j->active) < 0)
        return false;
    int result = timed_sync(j);
    if (result < 0) {
        abandon_active(j, result);
        return false;
    }
    journal_lock(j);
    j->health.is_failed = false;
    journal_unlock(j);
    log_write(WEIR_INFO, NULL, "journal %s: the disk works again", j->path);
    return true;
}

bool commit_upkeep(struct journal *j, bool is_idle)
{
    if (j->health.is_failed)
        return heal(j);
    if (j->pending && clock_mono(j->clock) - j->pending_since_ns >= j->sync_every_ns)
        (void)commit_settle(j);
    if (is_check_wanted(j, is_idle))
        (void)checkpoint_write(j, false);
    if (j->health.is_full)
        (void)has_put_room(j, USUAL_BYTES, &(uint32_t){USUAL_BYTES});
    if (j->kept.first)
        (void)commit_run(j);
    if (!is_idle) /* under load little by little, where space is short */
        return (j->health.is_full || j->slot_bytes_total > j->bytes_max / 2) &&
               compact_step(j, COMPACT_STEP / 4);
    if (j->bytes_since_check && !j->health.is_full)
        (void)slot_prepare(j, SLOTS_RESERVED + 1);
    return compact_step(j, COMPACT_STEP) || slot_zero(j);
}

bool journal_commit(struct journal *j)
{
    if (atomic_load(&j->committer) == pthread_self())
        return false; /* called from a done: the group is not over */
    commit_enter(j);
    bool did = commit_run(j);
    if (did)
        (void)commit_upkeep(j, false);
    commit_leave(j);
    return did;
}

void journal_tick(struct journal *j)
{
    if (atomic_load(&j->committer) == pthread_self() || j->has_thread)
        return;
    commit_enter(j);
    (void)commit_run(j);
    (void)commit_upkeep(j, true);
    commit_leave(j);
}

int64_t journal_sync_ns(const struct journal *j)
{
    return atomic_load_explicit(&j->sync_ns, memory_order_relaxed);
}

void journal_kick(struct journal *j)
{
    journal_lock(j);
    (void)pthread_cond_signal(&j->wanted);
    journal_unlock(j);
}

void journal_set_wake(struct journal *j, void (*fn)(void *user), void *user)
{
    journal_lock(j);
    j->wake = fn;
    j->wake_user = user;
    journal_unlock(j);
}

/* Waits until a group is due. Under the lock. */
static bool wait_for_work(struct journal *j, bool has_upkeep)
{
    while (!j->is_stopping && !j->is_urgent) {
        int64_t wait_ns = has_upkeep             ? lazy_max_ns / 20
                          : j->bytes_since_check ? check_every_ns
                                                 : INT64_MAX;
        if (j->health.is_full || j->health.is_failed)
            wait_ns = lazy_max_ns;
        if (j->pending_since_ns) {
            int64_t left = j->pending_since_ns + j->sync_every_ns - clock_mono(j->clock);
            if (left <= 0)
                return false;
            wait_ns = left < wait_ns ? left : wait_ns;
        }
        if (j->lazy_since_ns) {
            int64_t left = j->lazy_since_ns + lazy_max_ns - clock_mono(j->clock);
            if (left <= 0)
                return true;
            wait_ns = left < wait_ns ? left : wait_ns;
        }
        if (wait_ns == INT64_MAX) {
            (void)pthread_cond_wait(&j->wanted, &j->lock);
            continue;
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t ns = until.tv_nsec + wait_ns;
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        if (pthread_cond_timedwait(&j->wanted, &j->lock, &until) == ETIMEDOUT)
            return j->lazy_since_ns && clock_mono(j->clock) - j->lazy_since_ns >= lazy_max_ns;
    }
    return true;
}

void *commit_thread(void *journal)
{
    struct journal *j = journal;
    bool has_upkeep = true, is_stopping = false;
    while (!is_stopping) {
        journal_lock(j);
        bool has_work = wait_for_work(j, has_upkeep);
        is_stopping = j->is_stopping;
        journal_unlock(j);
        commit_enter(j);
        if (has_work)
            (void)commit_run(j);
        has_upkeep = !is_stopping && commit_upkeep(j, !has_work);
        has_upkeep |= has_work;
        commit_leave(j);
    }
    return NULL;
}
