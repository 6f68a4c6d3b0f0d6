/* journal/pending.c: groups that are answered before they are synced, with durability: interval; and
 * the syncs of durability: os.
 *
 * They stay in memory until their sync, so that a failed one can be moved away from. What is answered
 * early has a slot to move to; where there is none it is synced first, as with fsync. */
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

enum { SETTLE_TRIES = 3 };

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
    group_head(j, !j->active);
    if (!j->active)
        result = segment_start(j, SEGMENT_LOG, total + (uint32_t)j->group.head.len, &j->active);
    if (result == 0) {
        group_stamp(j);
        result = group_write(j);
        if (result < 0)
            group_abandon(j, result);
    }
    if (result == 0) {
        j->pending_bytes += (uint32_t)j->group.head.len + j->group.bytes;
        j->pending_count++;
    }
    swap_groups(j, g);
    return result;
}

/* All of them fit: together they are smaller than a slot. */
int pending_rewrite(struct journal *j)
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
int pending_place(struct journal *j)
{
    int result = pending_rewrite(j);
    if (result == 0)
        result = group_place(j);
    j->group.is_held = j->durability == JOURNAL_INTERVAL;
    if (result < 0 || !j->group.is_held || has_refuge(j))
        return result;
    j->group.is_held = false;
    if (!j->pending)
        return 0;
    result = pending_settle(j);
    return result == 0 ? group_place(j) : result;
}

/* Answers the group and keeps it until the next sync. */
void pending_hold(struct journal *j)
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
            group_answer(u);
}

static void apply_pending(struct journal *j)
{
    while (j->pending) {
        struct group *g = j->pending;
        j->pending = g->next;
        swap_groups(j, g);
        commit_apply(j);
        commit_finish(j, WEIR_OK);
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

int pending_settle(struct journal *j)
{
    int result = 0;
    if (!j->pending)
        return 0;
    for (int i = 0; i < SETTLE_TRIES; i++) {
        result = pending_rewrite(j);
        if (result == 0 && j->active) {
            result = group_sync(j);
            if (result < 0)
                group_abandon(j, result);
        }
        if (result == 0)
            break;
    }
    if (result < 0) { /* kept, and tried again; until then nothing is answered */
        journal_lock(j);
        j->pending_since_ns = clock_mono(j->clock);
        journal_unlock(j);
        if (result == -ENOSPC || result == -EDQUOT)
            room_set_full(j, true);
        else
            group_give_up(j, result);
        return result;
    }
    apply_pending(j);
    (void)group_erase_abandoned(j);
    commit_call_listeners(j);
    return result;
}

int pending_sync_log(struct journal *j)
{
    if (j->durability != JOURNAL_OS || !j->active || j->unsynced_bytes == 0)
        return 0;
    int result = group_sync(j);
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
