/* journal/queue_dedup.c: FIFO: which ids were put within the last five minutes: a ring by age with a hash. */
#include "base/hash.h"
#include "base/mem.h"
#include "journal/queue_state.h"

void queue_dedup_fini(struct queue_dedup *d)
{
    mem_free(d->ring);
    mem_free(d->slots);
    *d = (struct queue_dedup){0};
}

/* 128 bits in place of the text: a window of a million ids stays small. */
void queue_dedup_hash(weir_str group, weir_str id, uint64_t hash[2])
{
    uint64_t of_group = hash_bytes(group.ptr, group.len, 1);
    hash[0] = hash_bytes(id.ptr, id.len, of_group);
    hash[1] = hash_bytes(id.ptr, id.len, ~of_group);
}

static uint32_t *slot_of(const struct queue_dedup *d, const uint64_t hash[2])
{
    uint32_t mask = 2 * d->cap - 1, i = (uint32_t)hash[0] & mask;
    for (; d->slots[i]; i = (i + 1) & mask) {
        const struct dedup_entry *e = &d->ring[d->slots[i] - 1];
        if (e->hash[0] == hash[0] && e->hash[1] == hash[1])
            break;
    }
    return &d->slots[i];
}

const struct dedup_entry *queue_dedup_find(const struct queue_dedup *d, const uint64_t hash[2],
                                           int64_t now_ns)
{
    if (!d->cap)
        return NULL;
    uint32_t slot = *slot_of(d, hash);
    const struct dedup_entry *e = slot ? &d->ring[slot - 1] : NULL;
    return e && now_ns - e->sent_ns < QUEUE_DEDUP_NS ? e : NULL;
}

static void drop_first(struct queue_dedup *d)
{
    uint32_t mask = 2 * d->cap - 1, place = (uint32_t)d->first & (d->cap - 1);
    uint32_t *slot = slot_of(d, d->ring[place].hash);
    d->first++;
    if (*slot != place + 1) /* the id came again after the window and has a younger place */
        return;
    uint32_t gap = (uint32_t)(slot - d->slots);
    for (uint32_t k = (gap + 1) & mask; d->slots[k]; k = (k + 1) & mask) {
        uint32_t home = (uint32_t)d->ring[d->slots[k] - 1].hash[0] & mask;
        if (((k - home) & mask) >= ((k - gap) & mask)) {
            d->slots[gap] = d->slots[k];
            gap = k;
        }
    }
    d->slots[gap] = 0;
}

static void grow(struct queue_dedup *d)
{
    struct queue_dedup old = *d;
    d->cap = old.cap ? 2 * old.cap : 64;
    d->ring = mem_new(d->cap * sizeof *d->ring);
    d->slots = mem_new(2 * (size_t)d->cap * sizeof *d->slots);
    d->first = d->next = 0;
    for (uint64_t i = old.first; i < old.next; i++)
        queue_dedup_add(d, &old.ring[i & (old.cap - 1)]);
    queue_dedup_fini(&old);
}

void queue_dedup_add(struct queue_dedup *d, const struct dedup_entry *e)
{
    while (d->first < d->next &&
           e->sent_ns - d->ring[d->first & (d->cap - 1)].sent_ns >= QUEUE_DEDUP_NS)
        drop_first(d);
    if (d->next - d->first == d->cap) {
        if (d->cap == QUEUE_DEDUP_MAX)
            drop_first(d);
        else
            grow(d);
    }
    uint32_t place = (uint32_t)d->next++ & (d->cap - 1);
    d->ring[place] = *e;
    *slot_of(d, e->hash) = place + 1;
}
