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
    GROUP_SLACK = 4096, /* declarations that come with a group, about */
    APPLY_MAX = 512,    /* records applied while readers wait */
    CHECK_BYTES = 16 << 20,
    COMPACT_STEP = 256 << 10,
};
static const int64_t check_every_ns = 10 * 1000000000LL;
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

static bool take_queue(struct journal *j)
{
    journal_lock(j);
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
static bool has_put_room(struct journal *j, size_t bytes)
{
    bool fits = j->active && segment_room(j->active, j->active->end) >= bytes + GROUP_SLACK;
    bool has_room =
        slot_prepare(j, SLOTS_RESERVED + 1) || (fits && j->slot_count >= SLOTS_RESERVED);
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
    uint32_t room = j->active ? segment_room(j->active, j->active->end) : 0;
    uint32_t limit = slot_default_bytes(j) / 2;
    if (limit > GROUP_BYTES_MAX)
        limit = GROUP_BYTES_MAX;
    if (room > limit / 4 && room < limit)
        limit = room;
    bool is_asked = false, has_room = false;
    unit_list_init(&g->units);
    g->bytes = g->records = 0;
    g->has_puts = false;
    while (j->taken.first) {
        struct journal_unit *u = j->taken.first;
        u->status = judge(j, u);
        if (u->status == WEIR_OK && u->put_count && !is_asked) {
            has_room = has_put_room(j, u->len);
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
        g->has_puts |= u->put_count > 0;
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
        .number = j->group_number + 1,
        .bytes = (uint32_t)g->head.len + g->bytes,
        .records = g->head_records + g->records,
    };
    memcpy(r + 1, &body, sizeof body);
    r->body_crc = hash_crc32c(0, &body, sizeof body);
    uint32_t at = j->active->end;
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

static void seal_active(struct journal *j)
{
    segment_seal(j, j->active);
    j->last_number = j->active->number;
    j->last_end = j->active->end;
    j->active = NULL;
}

static int place_group(struct journal *j)
{
    struct group *g = &j->group;
    build_head(j, !j->active);
    if (j->active && segment_room(j->active, j->active->end) < g->head.len + g->bytes) {
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
    return disk_writev_all(j->disk, j->active->slot->fd, g->parts, (int)n, j->active->end);
}

static void answer(struct journal_unit *u)
{
    u->is_done = true;
    if (u->done)
        u->done(u->user, u->status, u);
}

static void answer_written(struct journal *j)
{
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
    log_write(WEIR_ERROR, NULL, "journal %s: slot %u: %s; moving to another", j->path,
              g->slot->index, error_sys_text(-error, text, sizeof text));
    g->slot->is_retired = true;
    journal_lock(j);
    j->health.sync_failures++;
    journal_unlock(j);
    if (g->end > FORMAT_HEADER_BYTES) {
        seal_active(j);
        return;
    }
    (void)segment_header_erase(j, g->slot); /* else its successor's higher number tells */
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
    return result;
}

static int try_store(struct journal *j, bool *is_refused)
{
    int result = place_group(j);
    *is_refused = result == -ENOSPC || result == -EDQUOT;
    if (result < 0)
        return result;
    stamp_group(j);
    result = write_group(j);
    if (result == 0) {
        answer_written(j);
        result = timed_sync(j);
    }
    if (result < 0)
        abandon_active(j, result);
    return result;
}

static weir_status store(struct journal *j)
{
    enum { TRIES = 3 }; /* the first, its move, and the move's own */
    bool is_refused = false;
    int result = 0;
    for (struct journal_unit *u = j->group.units.first; u; u = u->next)
        if (u->status == WEIR_OK)
            assign(u);
    for (int i = 0; i < TRIES && !is_refused; i++) {
        result = try_store(j, &is_refused);
        if (result == 0)
            return WEIR_OK;
    }
    journal_lock(j);
    for (uint32_t i = 0; i < j->stream_count; i++)
        if (j->streams[i])
            j->streams[i]->assigned = j->streams[i]->next;
    journal_unlock(j);
    if (is_refused) {
        set_full(j, true);
        return WEIR_E_RETRY;
    }
    char text[128];
    log_write(WEIR_ERROR, NULL, "journal %s: failed: %s: nothing is accepted any more", j->path,
              error_sys_text(-result, text, sizeof text));
    journal_lock(j);
    j->health.is_failed = true;
    journal_unlock(j);
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
    journal_unlock(j);
    j->group_number++;
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

static void finish(struct journal *j, weir_status status)
{
    struct journal_unit *units = j->group.units.first;
    for (struct journal_unit *u = units; u; u = u->next) {
        if (u->status == WEIR_OK)
            u->status = status;
        if (!u->is_done)
            answer(u);
    }
    unit_release(j, units);
    unit_list_init(&j->group.units);
}

bool commit_run(struct journal *j)
{
    if (!take_queue(j))
        return false;
    while (j->taken.first) {
        gather(j);
        weir_status status = WEIR_OK;
        if (j->group.bytes)
            status = store(j);
        if (j->group.bytes && status == WEIR_OK) {
            apply_group(j);
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

bool commit_upkeep(struct journal *j, bool is_idle)
{
    if (j->health.is_failed)
        return false;
    if (is_check_wanted(j, is_idle))
        (void)checkpoint_write(j, false);
    if (j->health.is_full)
        (void)has_put_room(j, UINT32_MAX); /* room for a new segment, whatever is put next */
    if (!is_idle)
        return false;
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
        if (j->health.is_full)
            wait_ns = lazy_max_ns;
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
