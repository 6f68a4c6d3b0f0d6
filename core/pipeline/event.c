/* pipeline/event.c: events as the core has them, and the blocks of memory that they live in. */
#include "pipeline/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/pipeline.h"

enum {
    CLASSES = EVENT_CHUNK_CLASSES,
    CHUNK_BYTES = 1024, /* the first one of a block: an event alone, with its strings */
    CHUNK_MAX = CHUNK_BYTES << (CLASSES - 1),
    POOL_BLOCKS = 256,
    POOL_BYTES = 1 << 20, /* of chunks, a worker, */
    POOL_SHARE = 64,      /* or that part of a small budget */
    HELD_KEPT = 64,
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
    struct budget *budget; /* that its chunks are charged to, also while a pool has them */
    struct chunk *chunks;  /* the first is the one in use */
    struct event *events;
    struct block **held;
    size_t held_count, held_cap;
    struct block *next_free;
};

/* The smallest size of pooled chunks that has so much room; CLASSES: none. */
static unsigned class_of(size_t size)
{
    unsigned i = 0;
    while (i < CLASSES && (size_t)CHUNK_BYTES << i < size)
        i++;
    return i;
}

static size_t chunk_bytes(const struct chunk *c)
{
    return sizeof *c + c->size + sizeof(size_t);
}

static struct chunk *chunk_new(struct block_pool *p, struct budget *budget, size_t size)
{
    unsigned i = class_of(size);
    struct chunk *c = p && i < CLASSES ? p->chunks[i] : NULL;
    if (c) {
        p->chunks[i] = c->next;
        p->bytes -= chunk_bytes(c);
        return c;
    }
    if (i < CLASSES)
        size = (size_t)CHUNK_BYTES << i;
    c = mem_grow(NULL, sizeof *c + size);
    c->size = size;
    budget_charge(budget, chunk_bytes(c));
    return c;
}

static void chunk_delete(struct budget *budget, struct chunk *c)
{
    budget_give(budget, chunk_bytes(c));
    mem_free(c);
}

static size_t pool_limit(const struct budget *b)
{
    uint64_t share = b->limit_bytes / POOL_SHARE;
    return share < POOL_BYTES ? (size_t)share : POOL_BYTES;
}

static void chunk_free(struct block_pool *p, struct budget *budget, struct chunk *c)
{
    unsigned i = class_of(c->size);
    bool is_kept = p && i < CLASSES && p->bytes + chunk_bytes(c) <= pool_limit(budget);
    if (!is_kept) {
        chunk_delete(budget, c);
        return;
    }
    c->next = p->chunks[i];
    p->chunks[i] = c;
    p->bytes += chunk_bytes(c);
}

/* This thread's, if what a block has may go there; a worker that no pipeline has (a command's) has none. */
static struct block_pool *pool_of(const struct block *b)
{
    struct worker *w = worker_current();
    return w && w->blocks.budget == b->budget ? &w->blocks : NULL;
}

/* Each is twice the last one, so that a block has few and wastes at most half. */
__attribute__((noinline)) static void chunk_add(struct block *b, size_t need)
{
    size_t size = b->chunks ? b->chunks->size * 2 : CHUNK_BYTES;
    if (size > CHUNK_MAX)
        size = CHUNK_MAX;
    if (size < need)
        size = need;
    struct chunk *c = chunk_new(pool_of(b), b->budget, size);
    c->next = b->chunks;
    c->used = 0;
    b->chunks = c;
}

struct block *block_new(struct worker *w)
{
    static struct budget of_nobody = {.limit_bytes = UINT64_MAX}; /* commands and checks */
    struct block *b = w->blocks.free;
    if (b) {
        w->blocks.free = b->next_free;
        w->blocks.count--;
    } else {
        if (!w->blocks.budget)
            w->blocks.budget = w->pipeline ? &w->pipeline->budget : &of_nobody;
        b = MEM_NEW(struct block);
        b->budget = w->blocks.budget;
        budget_charge(b->budget, sizeof *b);
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

struct budget *block_budget(const struct block *b)
{
    return b->budget;
}

static void block_clear(struct block *b, struct block_pool *p)
{
    for (struct event *ev = b->events; ev; ev = ev->next_in_block)
        payload_unref(ev->pub.body);
    b->events = NULL;
    for (size_t i = 0; i < b->held_count; i++)
        block_unref(b->held[i]);
    b->held_count = 0;
    while (b->chunks) {
        struct chunk *c = b->chunks;
        b->chunks = c->next;
        chunk_free(p, b->budget, c);
    }
}

static void block_delete(struct block *b)
{
    budget_give(b->budget, sizeof *b + b->held_cap * sizeof(struct block *));
    mem_free(b->held);
    mem_free(b);
}

void block_unref(struct block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct block_pool *p = pool_of(b);
    block_clear(b, p);
    if (!p || p->count >= POOL_BLOCKS || b->held_cap > HELD_KEPT) {
        block_delete(b);
        return;
    }
    b->next_free = p->free;
    p->free = b;
    p->count++;
}

void block_pool_trim(struct block_pool *p)
{
    while (p->free) {
        struct block *next = p->free->next_free;
        block_delete(p->free);
        p->free = next;
    }
    for (size_t i = 0; i < CLASSES; i++)
        while (p->chunks[i]) {
            struct chunk *c = p->chunks[i];
            p->chunks[i] = c->next;
            chunk_delete(p->budget, c);
        }
    p->count = p->bytes = 0;
}

void block_hold(struct block *b, struct block *other)
{
    if (b == other || (b->held_count && b->held[b->held_count - 1] == other))
        return;
    block_ref(other);
    if (b->held_count == b->held_cap) {
        size_t cap = b->held_cap ? 2 * b->held_cap : 8;
        b->held = mem_grow(b->held, cap * sizeof(struct block *));
        budget_charge(b->budget, (cap - b->held_cap) * sizeof(struct block *));
        b->held_cap = cap;
    }
    b->held[b->held_count++] = other;
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

void event_move(struct event *from, struct event *to)
{
    to->slot = from->slot;
    to->attempts = from->attempts;
    to->first_failed_ns = from->first_failed_ns;
    to->is_told = from->is_told;
    to->line = from->line;
    from->line = NULL;
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
