/* journal/room.c: whether puts find room, and what makes some where they do not. */
#include "base/log.h"
#include "journal/internal.h"

enum { USUAL_BYTES = 4 << 10 }; /* a disk that has no room for so much is still full */
static const int64_t full_quiet_ns = 5 * 1000000000LL;

/* Where a little is left, small units find room and large ones do not, by turns: that is told once. */
void room_set_full(struct journal *j, bool is_full)
{
    int64_t now = clock_mono(j->clock);
    bool was_told = j->is_full_told;
    journal_lock(j);
    j->health.is_full = is_full;
    journal_unlock(j);
    if (is_full)
        j->full_ns = now;
    j->is_full_told = is_full || (was_told && now - j->full_ns < full_quiet_ns);
    if (j->is_full_told && !was_told)
        log_write(WEIR_WARN, NULL, "journal %s: full: nothing new is accepted until space returns",
                  j->path);
    else if (was_told && !j->is_full_told)
        log_write(WEIR_INFO, NULL, "journal %s: there is space again", j->path);
}

/* Puts never touch the reserve, so that what makes room always finds some. */
bool room_for_put(struct journal *j, size_t bytes, uint32_t *limit)
{
    if (j->is_pending_lost && pending_settle(j) < 0) /* first what was answered */
        return false;
    bool fits = j->active && segment_room(j->active, group_end(j)) >= bytes + GROUP_SLACK;
    bool has_room = slot_prepare(j, SLOTS_RESERVED + 1);
    if (!has_room) {
        uint32_t room =
            fits ? segment_room(j->active, group_end(j)) : slot_small(j, bytes + GROUP_SLACK);
        if (*limit > room)
            *limit = room;
        has_room = room > 0;
    }
    has_room = has_room && checkpoint_has_room(j);
    j->refused_bytes = has_room ? 0 : bytes;
    room_set_full(j, !has_room);
    return has_room;
}

/* What the active segment has left is too little, and nothing in it lives: the log goes on in a slot
 * of the reserve, as it does where an acknowledgement does not fit, and two checkpoints later this one
 * takes its place. No acknowledgement may come that does it. */
static bool leave_dead(struct journal *j)
{
    if (!j->active || j->active->end <= FORMAT_HEADER_BYTES || pending_settle(j) < 0 ||
        !slot_has_reserve(j))
        return false;
    journal_lock(j);
    bool is_dead = j->active && j->active->live == 0;
    journal_unlock(j);
    return is_dead && group_turn(j) == WEIR_OK;
}

void room_look(struct journal *j)
{
    size_t want = j->refused_bytes > USUAL_BYTES ? j->refused_bytes : USUAL_BYTES;
    uint32_t limit = UINT32_MAX;
    if (!room_for_put(j, want, &limit) && leave_dead(j))
        (void)room_for_put(j, want, &limit);
}
