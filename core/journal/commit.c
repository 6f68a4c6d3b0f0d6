/* journal/commit.c: group commit: gather, store, apply, answer; and what is done when nobody waits. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

enum {
    APPLY_MAX = 512, /* records applied while readers wait */
    CHECK_BYTES = 16 << 20,
    COMPACT_STEP = 256 << 10,
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

static weir_status judge(struct journal *j, const struct journal_unit *u)
{
    if (j->health.is_failed)
        return WEIR_E_FATAL;
    if (u->is_too_large)
        return WEIR_E_REJECT;
    return WEIR_OK;
}

/* What follows one that was not stored is not stored either. */
static void judge_chain(struct journal_unit *u)
{
    if (!u->chain)
        return;
    if (u->is_chain_anew)
        u->chain->is_broken = false;
    if (u->chain->is_broken && u->status == WEIR_OK)
        u->status = WEIR_E_RETRY;
    group_note_chain(u);
}

/* Moves units into the group, up to its size; those refused stay in the order of the answers. */
static void gather(struct journal *j)
{
    struct group *g = &j->group;
    uint32_t room = j->active ? segment_room(j->active, group_end(j)) : 0;
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
            has_room = room_for_put(j, u->len, &limit);
            is_asked = true;
        }
        if (u->status == WEIR_OK && u->put_count && !has_room)
            u->status = WEIR_E_RETRY;
        judge_chain(u);
        if (u->status == WEIR_OK && g->bytes && g->bytes + u->len + GROUP_SLACK > limit)
            break;
        unit_list_push(&g->units, list_pop(&j->taken));
        if (u->status != WEIR_OK)
            continue;
        g->bytes += (uint32_t)u->len;
        g->records += u->records;
    }
}

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
void commit_apply(struct journal *j)
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
    atomic_store_explicit(&j->trims_left, TRIM_LOOKS, memory_order_relaxed);
    if (j->durability != JOURNAL_OS)
        j->synced_number = j->group_number;
    j->bytes_since_check += g->head.len + g->bytes;
}

void commit_call_listeners(struct journal *j)
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

void commit_finish(struct journal *j, weir_status status)
{
    struct journal_unit *units = j->group.units.first;
    for (struct journal_unit *u = units; u; u = u->next) {
        if (u->status == WEIR_OK)
            u->status = status;
        if (!u->is_done && !is_kept(u))
            group_answer(u);
    }
    keep_refused(j, units);
    unit_list_init(&j->group.units);
}

/* A first group behind END is synced before a second one: else the END may survive where the second
 * does as well, and what the next life writes there would meet it. */
weir_status commit_group(struct journal *j)
{
    weir_status status = group_store(j);
    if (status == WEIR_OK && j->group.is_held) {
        pending_hold(j);
        if (j->has_end || j->pending_bytes >= slot_default_bytes(j) / 4)
            (void)pending_settle(j);
        j->has_end = false;
        return WEIR_OK;
    }
    if (status == WEIR_OK) {
        commit_apply(j);
        if (j->has_end)
            (void)pending_sync_log(j);
        j->has_end = false;
        commit_call_listeners(j);
    }
    commit_finish(j, status);
    return status;
}

bool commit_run(struct journal *j)
{
    if (!take_queue(j))
        return false;
    while (j->taken.first) {
        gather(j);
        if (j->group.bytes)
            (void)commit_group(j);
        else
            commit_finish(j, WEIR_OK);
    }
    return true;
}

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
    if (pending_settle(j) < 0)
        return false;
    if (!j->active && segment_start(j, SEGMENT_LOG, 0, &j->active) < 0)
        return false;
    int result = group_sync(j);
    if (result < 0) {
        group_abandon(j, result);
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
        (void)pending_settle(j);
    if (is_check_wanted(j, is_idle))
        (void)checkpoint_write(j, false);
    if (j->health.is_full)
        room_look(j);
    if (j->kept.first)
        (void)commit_run(j);
    bool has_trimmed = slot_trim(j, is_idle);
    if (!is_idle) /* under load little by little, where space is short */
        return (j->health.is_full || j->slot_bytes_total > j->bytes_max / 2) &&
               compact_step(j, COMPACT_STEP / 4);
    if (j->bytes_since_check && !j->health.is_full)
        (void)slot_prepare(j, SLOTS_RESERVED + 1);
    return compact_step(j, COMPACT_STEP) || slot_zero(j) || has_trimmed;
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
        int64_t wait_ns = has_upkeep                              ? lazy_max_ns / 20
                          : j->bytes_since_check || j->trims_left ? check_every_ns
                                                                  : INT64_MAX;
        if (j->health.is_full || j->health.is_failed)
            wait_ns = lazy_max_ns;
        if (j->pending_since_ns && !j->health.is_failed) {
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
