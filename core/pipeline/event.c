/* pipeline/event.c: events as the core has them, and the blocks of memory that they live in. */
#include "pipeline/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/worker.h"

enum {
    CHUNK_BYTES = 4096,
    CHUNK_MAX = 1 << 20,
    POOL_MAX = 256,
    POOL_CHUNK_MAX = 1 << 18,
    ALIGN = 16
};

struct chunk {
    struct chunk *next;
    size_t size, used;
    _Alignas(ALIGN) char bytes[];
};

struct block {
    _Atomic uint32_t refs;
    struct worker *owner;
    struct chunk *chunks; /* the first is the one in use */
    struct event *events;
    struct block **held;
    size_t held_count, held_cap;
    struct block *next_free;
};

static void chunk_add(struct block *b, size_t need)
{
    size_t size = b->chunks ? b->chunks->size * 2 : CHUNK_BYTES;
    if (size > CHUNK_MAX)
        size = CHUNK_MAX;
    if (size < need)
        size = need;
    struct chunk *c = mem_grow(NULL, sizeof *c + size);
    c->next = b->chunks;
    c->size = size;
    c->used = 0;
    b->chunks = c;
}

struct block *block_new(struct worker *w)
{
    struct block *b = w->blocks.free;
    if (b) {
        w->blocks.free = b->next_free;
        w->blocks.count--;
    } else {
        b = MEM_NEW(struct block);
    }
    atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
    b->owner = w;
    return b;
}

void block_ref(struct block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

struct worker *block_owner(const struct block *b)
{
    return b->owner;
}

/* Keeps the largest chunk: the next batch is likely as large. */
static void block_clear(struct block *b)
{
    for (struct event *ev = b->events; ev; ev = ev->next_in_block)
        payload_unref(ev->pub.body);
    b->events = NULL;
    for (size_t i = 0; i < b->held_count; i++)
        block_unref(b->held[i]);
    b->held_count = 0;
    struct chunk *first = b->chunks;
    while (first && (first->next || first->size > POOL_CHUNK_MAX)) {
        struct chunk *rest = first->next;
        if (rest && rest->size <= first->size && first->size <= POOL_CHUNK_MAX) {
            first->next = rest->next;
            mem_free(rest);
            continue;
        }
        mem_free(first);
        first = rest;
    }
    if (first)
        first->used = 0;
    b->chunks = first;
}

static void block_delete(struct block *b)
{
    while (b->chunks) {
        struct chunk *next = b->chunks->next;
        mem_free(b->chunks);
        b->chunks = next;
    }
    mem_free(b->held);
    mem_free(b);
}

void block_unref(struct block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    block_clear(b);
    struct worker *w = worker_current();
    if (!w || w->blocks.count >= POOL_MAX) {
        block_delete(b);
        return;
    }
    b->next_free = w->blocks.free;
    w->blocks.free = b;
    w->blocks.count++;
}

void block_pool_fini(struct block_pool *p)
{
    while (p->free) {
        struct block *next = p->free->next_free;
        block_delete(p->free);
        p->free = next;
    }
    p->count = 0;
}

void block_hold(struct block *b, struct block *other)
{
    if (b == other || (b->held_count && b->held[b->held_count - 1] == other))
        return;
    block_ref(other);
    MEM_PUSH(b->held, b->held_count, b->held_cap) = other;
}

void *block_take(struct block *b, size_t n)
{
    size_t need = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!b->chunks || b->chunks->size - b->chunks->used < need)
        chunk_add(b, need);
    void *p = b->chunks->bytes + b->chunks->used;
    b->chunks->used += need;
    return p;
}

weir_str block_text(struct block *b, weir_str s)
{
    char *copy = block_take(b, s.len + 1);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = 0;
    return (weir_str){copy, s.len};
}

static struct event *shell(struct block *b)
{
    struct event *ev = block_take(b, sizeof *ev);
    ev->block = b;
    ev->next_in_block = b->events;
    b->events = ev;
    return ev;
}

struct event *event_new(struct block *b, weir_payload *take)
{
    struct event *ev = shell(b);
    struct event *next = ev->next_in_block;
    *ev = (struct event){.pub.body = take, .block = b, .next_in_block = next};
    return ev;
}

struct event *event_copy(struct block *b, const struct event *from)
{
    struct event *ev = shell(b);
    struct event *next = ev->next_in_block;
    *ev = (struct event){.pub = from->pub, .block = b, .next_in_block = next};
    (void)payload_ref(ev->pub.body);
    block_hold(b, from->block);
    return ev;
}

struct event *event_own(struct block *b, const struct event *from)
{
    struct event *ev = shell(b);
    struct event *next = ev->next_in_block;
    *ev = (struct event){.pub = from->pub, .block = b, .next_in_block = next};
    (void)payload_ref(ev->pub.body);
    ev->pub.source = block_text(b, from->pub.source);
    ev->pub.type = block_text(b, from->pub.type);
    ev->pub.key = block_text(b, from->pub.key);
    weir_attr *items = block_take(b, (from->pub.attrs.count + 1) * sizeof *items);
    for (size_t i = 0; i < from->pub.attrs.count; i++) {
        items[i].key = block_text(b, from->pub.attrs.items[i].key);
        items[i].value = block_text(b, from->pub.attrs.items[i].value);
    }
    ev->pub.attrs.items = items;
    return ev;
}

void event_add_port(struct event *ev, uint32_t port)
{
    enum { FEW = sizeof ev->few_ports / sizeof *ev->few_ports };
    for (uint32_t i = 0; i < ev->port_count; i++)
        if (ev->ports[i] == port)
            return;
    if (!ev->port_cap) {
        ev->ports = ev->few_ports;
        ev->port_cap = FEW;
    }
    if (ev->port_count == ev->port_cap) {
        uint32_t *more = block_take(ev->block, sizeof *more * 2 * ev->port_cap);
        memcpy(more, ev->ports, ev->port_count * sizeof *more);
        ev->ports = more;
        ev->port_cap *= 2;
    }
    ev->ports[ev->port_count++] = port;
}
