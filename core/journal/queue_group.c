/* journal/queue_group.c: FIFO: the messages of each group in order, and which groups may give one. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "journal/queue_state.h"

void queue_groups_init(struct queue_groups *g)
{
    memset(g, 0, sizeof *g);
    g->free = g->ready_first = g->ready_last = NO_INDEX;
}

void queue_groups_fini(struct queue_groups *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        mem_free(g->items[i].name);
    mem_free(g->items);
    mem_free(g->slots);
    queue_groups_init(g);
}

static void chain_in(struct queue_groups *g, uint32_t at)
{
    uint32_t *slot = &g->slots[g->items[at].hash & (g->slot_count - 1)];
    g->items[at].chain = *slot;
    *slot = at;
}

static void chain_out(struct queue_groups *g, uint32_t at)
{
    uint32_t *link = &g->slots[g->items[at].hash & (g->slot_count - 1)];
    while (*link != at)
        link = &g->items[*link].chain;
    *link = g->items[at].chain;
}

static void grow_slots(struct queue_groups *g)
{
    uint32_t n = g->slot_count ? 2 * g->slot_count : 16;
    mem_free(g->slots);
    g->slots = mem_new(n * sizeof *g->slots);
    memset(g->slots, 0xff, n * sizeof *g->slots);
    g->slot_count = n;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->items[i].name)
            chain_in(g, i);
    }
}

static uint32_t group_take(struct queue_groups *g, weir_str name)
{
    uint64_t hash = hash_bytes(name.ptr, name.len, 0);
    uint32_t at = g->slot_count ? g->slots[hash & (g->slot_count - 1)] : NO_INDEX;
    for (; at != NO_INDEX; at = g->items[at].chain) {
        const struct queue_group *i = &g->items[at];
        if (i->hash == hash && i->name_bytes == name.len &&
            (!name.len || memcmp(i->name, name.ptr, name.len) == 0))
            return at;
    }
    if (g->live >= g->slot_count)
        grow_slots(g);
    at = g->free;
    if (at != NO_INDEX) {
        g->free = g->items[at].chain;
    } else {
        if (g->count == g->cap) {
            g->cap = g->cap ? 2 * g->cap : 16;
            g->items = mem_grow(g->items, g->cap * sizeof *g->items);
        }
        at = g->count++;
    }
    g->items[at] = (struct queue_group){.name = mem_copy(name.ptr, name.len),
                                        .name_bytes = name.len,
                                        .hash = hash,
                                        .first = NO_INDEX,
                                        .last = NO_INDEX};
    g->live++;
    chain_in(g, at);
    return at;
}

void queue_groups_link(struct queue_groups *g, struct queue_table *t, uint32_t at, weir_str name)
{
    uint32_t group = group_take(g, name);
    struct queue_group *o = &g->items[group];
    struct queue_entry *e = &t->entries[at];
    e->group = group;
    e->flags |= ENTRY_LINKED;
    e->prev = o->last;
    e->next = NO_INDEX;
    if (o->last != NO_INDEX)
        t->entries[o->last].next = at;
    else
        o->first = at;
    o->last = at;
    o->count++;
}

void queue_groups_unlink(struct queue_groups *g, struct queue_table *t, uint32_t at)
{
    struct queue_entry *e = &t->entries[at];
    uint32_t group = e->group;
    struct queue_group *o = &g->items[group];
    *(e->prev != NO_INDEX ? &t->entries[e->prev].next : &o->first) = e->next;
    *(e->next != NO_INDEX ? &t->entries[e->next].prev : &o->last) = e->prev;
    e->group = NO_INDEX;
    e->flags &= (uint8_t)~ENTRY_LINKED;
    if (--o->count)
        return;
    queue_groups_rest(g, group);
    chain_out(g, group);
    mem_free(o->name);
    *o = (struct queue_group){.chain = g->free};
    g->free = group;
    g->live--;
}

void queue_groups_wake(struct queue_groups *g, uint32_t group)
{
    struct queue_group *o = &g->items[group];
    if (o->is_ready)
        return;
    o->is_ready = true;
    o->ready_next = NO_INDEX;
    o->ready_prev = g->ready_last;
    *(g->ready_last != NO_INDEX ? &g->items[g->ready_last].ready_next : &g->ready_first) = group;
    g->ready_last = group;
}

void queue_groups_rest(struct queue_groups *g, uint32_t group)
{
    struct queue_group *o = &g->items[group];
    if (!o->is_ready)
        return;
    o->is_ready = false;
    *(o->ready_prev != NO_INDEX ? &g->items[o->ready_prev].ready_next : &g->ready_first) =
        o->ready_next;
    *(o->ready_next != NO_INDEX ? &g->items[o->ready_next].ready_prev : &g->ready_last) =
        o->ready_prev;
}

uint32_t queue_groups_next(const struct queue_groups *g, const struct queue_table *t,
                           uint32_t group, struct queue_walk *walk)
{
    while (!walk->is_over) {
        uint32_t at = walk->at == NO_INDEX ? g->items[group].first : t->entries[walk->at].next;
        if (at == NO_INDEX)
            break;
        const struct queue_entry *e = &t->entries[at];
        walk->at = at;
        if (e->state == ENTRY_MOVING)
            continue;
        if (e->state != ENTRY_READY) {
            walk->is_blocked = true;
            continue;
        }
        /* What its receiver gave back is free again whatever else of the group is in flight. */
        if (!walk->is_blocked || (e->flags & ENTRY_RETURNED))
            return at;
        if (!e->receives) /* and behind it nothing was ever received */
            break;
    }
    walk->is_over = true;
    return NO_INDEX;
}
