/* journal/slot.c: the files that segments live in: made ahead, zero-filled, used again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/mem.h"
#include "journal/internal.h"

enum {
    SLOT_TINY = 1 << 20,
    SLOT_SMALL = 4 << 20,
    SLOT_MIDDLE = 16 << 20,
    SLOT_LARGE = 64 << 20,
    ZERO_STEP = 1 << 20,
    SLOT_LEAST = 256 << 10, /* of a slot made where a usual one has no room */
    ZERO_AHEAD = 256 << 10,
    SLOTS_KEPT = SLOTS_RESERVED + 3, /* free ones that stay when nothing needs them */
};

/* A journal that may be no larger than four small slots needs more of them than the reserve and one:
 * a single record that lives long would hold all that puts may use. */
static uint32_t small_bytes(const struct journal *j)
{
    uint64_t share = j->bytes_max / 16 / SLOT_TINY * SLOT_TINY;
    return share < SLOT_TINY ? SLOT_TINY : share > SLOT_SMALL ? SLOT_SMALL : (uint32_t)share;
}

/* Larger as the journal grows: few files for much, little disk for little. */
uint32_t slot_default_bytes(const struct journal *j)
{
    if (j->slot_bytes)
        return j->slot_bytes;
    if (j->slot_bytes_total < 16ULL * SLOT_SMALL)
        return small_bytes(j);
    return j->slot_bytes_total < 16ULL * SLOT_LARGE ? SLOT_MIDDLE : SLOT_LARGE;
}

/* Smaller ones were made on a full disk: they take puts and are no reserve. */
static uint32_t floor_bytes(const struct journal *j)
{
    return j->slot_bytes ? j->slot_bytes : small_bytes(j);
}

static uint32_t count_usual(const struct journal *j)
{
    uint32_t n = 0;
    for (const struct slot *slot = j->slots; slot; slot = slot->next)
        n += slot->bytes >= floor_bytes(j);
    return n;
}

void slot_path(const struct journal *j, uint32_t index, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/slot-%04u", j->path, index);
}

/* Its last segment is dead for both checkpoints: should the name come back after a power cut, it is a free
 * slot again. */
static void remove_file(const struct journal *j, struct slot *slot)
{
    char path[4096];
    slot_path(j, slot->index, path, sizeof path);
    (void)j->disk->remove(j->disk, path);
    slot->is_retired = true; /* also where it could not be removed: the next open finds it */
}

void slot_give(struct journal *j, struct slot *slot)
{
    bool is_odd = slot->bytes > SLOT_LARGE && slot->bytes > 2 * slot_default_bytes(j);
    if (is_odd && !slot->is_retired && !j->is_reader)
        remove_file(j, slot);
    if (slot->is_retired) {
        j->disk->close(j->disk, slot->fd);
        j->slot_bytes_total -= slot->bytes;
        mem_free(slot);
        return;
    }
    slot->next = j->slots;
    j->slots = slot;
    j->slot_count++;
}

/* The space is taken from the disk at once, so that overwriting cannot meet a full disk; zeros are
 * written later, when nobody waits. The file's size is synced with its first group: until then a
 * power cut leaves a short file, which is no slot. */
int slot_make(struct journal *j, uint32_t bytes)
{
    const struct disk *d = j->disk;
    char path[4096];
    if (j->slot_bytes_total + bytes > j->bytes_max)
        return -ENOSPC;
    slot_path(j, j->slot_next, path, sizeof path);
    int fd = d->open(d, path, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;
    uint32_t zeroed = 0;
    int result = d->allocate(d, fd, bytes);
    if (result == -EOPNOTSUPP || result == -ENOSYS) {
        result = disk_fill_zero(d, fd, bytes, 0);
        zeroed = bytes;
    }
    if (result < 0) {
        d->close(d, fd);
        (void)d->remove(d, path);
        return result;
    }
    struct slot *slot = MEM_NEW(struct slot);
    *slot = (struct slot){.index = j->slot_next++, .fd = fd, .bytes = bytes, .zeroed = zeroed};
    j->slot_bytes_total += bytes;
    j->is_dir_dirty = true;
    slot_give(j, slot);
    return 0;
}

/* Small ones first, which keeps the reserve; else those that are filled. */
static bool is_better(const struct journal *j, const struct slot *a, const struct slot *b)
{
    bool is_small = a->bytes < floor_bytes(j), was_small = b->bytes < floor_bytes(j);
    return is_small != was_small ? is_small : a->zeroed > b->zeroed;
}

static struct slot *take_fitting(struct journal *j, uint32_t bytes)
{
    struct slot **best = NULL;
    for (struct slot **at = &j->slots; *at; at = &(*at)->next)
        if ((*at)->bytes >= bytes && (!best || is_better(j, *at, *best)))
            best = at;
    if (!best)
        return NULL;
    struct slot *slot = *best;
    *best = slot->next;
    slot->next = NULL;
    j->slot_count--;
    if (j->slot_count < j->slots_least)
        j->slots_least = j->slot_count;
    return slot;
}

bool slot_is_spare(const struct journal *j, uint32_t bytes)
{
    const struct slot *slot = j->slots;
    while (slot && slot->bytes < bytes + 3 * FORMAT_HEADER_BYTES)
        slot = slot->next;
    return slot != NULL;
}

static bool has_dead(struct journal *j)
{
    bool has = false;
    journal_lock(j);
    for (uint32_t i = 0; i < j->segment_count && !has; i++)
        has = j->segments[i]->live == 0 && j->segments[i]->is_sealed;
    journal_unlock(j);
    return has;
}

/* Two checkpoints later nothing needs the dead segments any more. */
static void reclaim(struct journal *j)
{
    for (int i = 0; i < 2 && has_dead(j); i++)
        if (checkpoint_write(j, false) < 0)
            return;
}

int slot_take(struct journal *j, uint32_t bytes, struct slot **out)
{
    uint32_t need = bytes + 3 * FORMAT_HEADER_BYTES;
    uint32_t size = slot_default_bytes(j);
    if (size < need)
        size = (need + size - 1) / size * size;
    int result = 0;
    *out = take_fitting(j, need);
    if (!*out) {
        result = slot_make(j, size);
        if (result < 0)
            reclaim(j);
        *out = take_fitting(j, need);
    }
    if (!*out)
        return result < 0 ? result : -ENOSPC;
    if (j->is_dir_dirty) {
        result = j->disk->sync_dir(j->disk, j->path);
        j->is_dir_dirty = result < 0;
    }
    if (j->is_dir_dirty) {
        slot_give(j, *out);
        return result;
    }
    return 0;
}

bool slot_prepare(struct journal *j, uint32_t want)
{
    while (count_usual(j) < want) {
        if (slot_make(j, slot_default_bytes(j)) == 0)
            continue;
        uint32_t before = count_usual(j);
        reclaim(j);
        if (count_usual(j) == before)
            return false;
    }
    return true;
}

bool slot_has_reserve(const struct journal *j)
{
    return count_usual(j) >= SLOTS_RESERVED;
}

uint32_t slot_small(struct journal *j, size_t bytes)
{
    uint32_t size = floor_bytes(j) / 2 / FORMAT_HEADER_BYTES * FORMAT_HEADER_BYTES;
    uint32_t least = j->slot_bytes ? 4 * FORMAT_HEADER_BYTES : SLOT_LEAST;
    if (bytes >= size || !slot_has_reserve(j))
        return 0;
    for (const struct slot *slot = j->slots; slot; slot = slot->next)
        if (slot->bytes < floor_bytes(j) && slot->bytes >= bytes + (size_t)3 * FORMAT_HEADER_BYTES)
            return slot->bytes - 3 * FORMAT_HEADER_BYTES;
    for (; size >= least && size >= bytes + (size_t)3 * FORMAT_HEADER_BYTES; size /= 2)
        if (slot_make(j, size / FORMAT_HEADER_BYTES * FORMAT_HEADER_BYTES) == 0)
            return size / FORMAT_HEADER_BYTES * FORMAT_HEADER_BYTES - 3 * FORMAT_HEADER_BYTES;
    return 0;
}

/* Syncs are cheaper where blocks were written before. A failure costs only that. The header of a dead
 * segment stays whole: with a blank copy it would look like a damaged one. */
bool slot_zero(struct journal *j)
{
    for (struct slot *slot = j->slots; slot; slot = slot->next) {
        if (slot->zeroed >= slot->bytes)
            continue;
        uint32_t end = slot->bytes - (slot->has_headers ? FORMAT_HEADER_BYTES : 0);
        uint32_t left = slot->zeroed < end ? end - slot->zeroed : 0;
        uint32_t n = left < ZERO_STEP ? left : ZERO_STEP;
        int result = disk_fill_zero(j->disk, slot->fd, n, slot->zeroed);
        if (result == 0 && n)
            result = j->disk->sync(j->disk, slot->fd);
        slot->zeroed = result < 0 || n == left ? slot->bytes : slot->zeroed + n;
        return true;
    }
    return false;
}

/* A block that is written for the first time makes its sync dearer: the file system notes that it has
 * contents now. So small groups write zeros ahead of them, which go with their own sync. What lies
 * behind was never written: a slot that was found on the disk counts as filled. */
void slot_zero_ahead(const struct journal *j, struct slot *slot, uint32_t from, uint32_t end)
{
    uint32_t last = slot->bytes - FORMAT_HEADER_BYTES; /* the copy of the header has been written */
    if (end <= slot->zeroed)
        return;
    uint32_t at = (end + FORMAT_HEADER_BYTES - 1) / FORMAT_HEADER_BYTES * FORMAT_HEADER_BYTES;
    slot->zeroed = at;
    if (end - from >= ZERO_AHEAD || at >= last)
        return;
    uint32_t n = last - at < ZERO_AHEAD ? last - at : ZERO_AHEAD;
    if (disk_fill_zero(j->disk, slot->fd, n, at) == 0)
        slot->zeroed = at + n;
}

/* ---- giving disk back ---- */

/* Those of a full disk first, then the largest; never the last that a reserve is made of. */
static struct slot **find_spare(struct journal *j)
{
    struct slot **best = NULL;
    bool has_usual = count_usual(j) > SLOTS_KEPT;
    for (struct slot **at = &j->slots; *at; at = &(*at)->next) {
        bool is_small = (*at)->bytes < floor_bytes(j);
        if (!is_small && !has_usual)
            continue;
        if (is_small)
            return at;
        if (!best || (*at)->bytes > (*best)->bytes)
            best = at;
    }
    return best;
}

static void drop(struct journal *j, struct slot **at)
{
    struct slot *slot = *at;
    *at = slot->next;
    j->slot_count--;
    remove_file(j, slot);
    slot_give(j, slot);
}

/* What is kept was made in a peak: a smaller one takes its place. */
static bool replace_large(struct journal *j)
{
    struct slot **at = &j->slots;
    while (*at && (*at)->bytes <= slot_default_bytes(j))
        at = &(*at)->next;
    const struct slot *large = *at;
    if (!large || slot_make(j, slot_default_bytes(j)) < 0)
        return false;
    for (at = &j->slots; *at != large;)
        at = &(*at)->next;
    drop(j, at);
    return true;
}

/* Dead segments become free slots with the second checkpoint, which no traffic asks for any more. */
static void look(struct journal *j, bool is_idle)
{
    uint32_t left = atomic_load_explicit(&j->trims_left, memory_order_relaxed);
    bool is_quiet = is_idle && left && j->slots_least == j->slot_count;
    if (left)
        atomic_store_explicit(&j->trims_left, left - 1, memory_order_relaxed);
    j->slots_spare = j->slots_least > SLOTS_KEPT ? j->slots_least - SLOTS_KEPT : 0;
    if (is_idle && left && has_dead(j))
        (void)checkpoint_write(j, false);
    else if (is_quiet && !j->slots_spare)
        for (int i = 0; i < SLOTS_KEPT && replace_large(j); i++) {
        }
    j->slots_least = j->slot_count;
}

bool slot_trim(struct journal *j, bool is_idle)
{
    int64_t now = clock_mono(j->clock);
    if (now - j->trim_ns >= TRIM_EVERY_S * INT64_C(1000000000)) {
        j->trim_ns = now;
        look(j, is_idle);
    }
    struct slot **at = j->slots_spare ? find_spare(j) : NULL;
    if (!at) {
        j->slots_spare = 0;
        return false;
    }
    j->slots_spare--;
    drop(j, at);
    return true;
}
