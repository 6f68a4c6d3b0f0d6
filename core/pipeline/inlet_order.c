/* pipeline/inlet_order.c: events of one key go to a sink one after the other, those of others meanwhile.
 *
 * A key has a line as long as one of its events is under way or waits for another attempt; what comes
 * behind it stands in the line. Keys are told apart by 64 bits of hash: two with the same only wait for
 * each other. */
#include "base/hash.h"
#include "base/mem.h"
#include "pipeline/inlet_priv.h"

enum { BUCKETS_MIN = 64, HELD_MAX = 8192 };

struct held {
    struct held *next;
    struct entry entry;
};

struct line {
    struct line *next; /* of the bucket, or free */
    uint64_t hash;
    size_t flying;             /* given to the sink, or on their way to the dead letters */
    uint64_t flight;           /* the last batch that they went with */
    bool has_first;            /* one waits in front: for another attempt, or to be given */
    struct held *first, *last; /* behind it */
    struct held *cursor;       /* the last that came back since; NULL: the next goes in front */
};

static uint64_t hash_of(const struct event *ev)
{
    static _Atomic uint64_t seed;
    uint64_t s = atomic_load_explicit(&seed, memory_order_relaxed);
    if (!s) {
        s = hash_seed() | 1;
        atomic_store_explicit(&seed, s, memory_order_relaxed);
    }
    return hash_bytes(ev->pub.key.ptr, ev->pub.key.len, s);
}

static struct line **bucket_of(struct order *o, uint64_t hash)
{
    return &o->buckets[hash & (o->bucket_count - 1)];
}

static void grow(struct order *o)
{
    struct order old = *o;
    o->bucket_count = old.bucket_count ? 2 * old.bucket_count : BUCKETS_MIN;
    o->buckets = mem_new(o->bucket_count * sizeof(struct line *));
    for (size_t i = 0; i < old.bucket_count; i++) {
        while (old.buckets[i]) {
            struct line *l = old.buckets[i];
            old.buckets[i] = l->next;
            struct line **at = bucket_of(o, l->hash);
            l->next = *at;
            *at = l;
        }
    }
    mem_free(old.buckets);
}

static struct line *line_find(const struct order *o, uint64_t hash)
{
    struct line *l = o->bucket_count ? o->buckets[hash & (o->bucket_count - 1)] : NULL;
    while (l && l->hash != hash)
        l = l->next;
    return l;
}

static void *charged_new(struct inlet *in, size_t n)
{
    budget_charge(&in->stage->pipeline->budget, n);
    return mem_grow(NULL, n);
}

static void charged_free(struct inlet *in, void *p, size_t n)
{
    budget_give(&in->stage->pipeline->budget, n);
    mem_free(p);
}

static struct line *line_new(struct inlet *in, uint64_t hash)
{
    struct order *o = &in->order;
    if (o->line_count >= o->bucket_count)
        grow(o);
    struct line *l = o->free_lines;
    if (l)
        o->free_lines = l->next;
    else
        l = charged_new(in, sizeof *l);
    struct line **at = bucket_of(o, hash);
    *l = (struct line){.next = *at, .hash = hash};
    *at = l;
    o->line_count++;
    return l;
}

static void line_free(struct order *o, struct line *l)
{
    struct line **at = bucket_of(o, l->hash);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->next = o->free_lines;
    o->free_lines = l;
    o->line_count--;
}

static struct held *held_new(struct inlet *in, const struct entry *e)
{
    struct order *o = &in->order;
    struct held *h = o->free_held;
    if (h)
        o->free_held = h->next;
    else
        h = charged_new(in, sizeof *h);
    *h = (struct held){.entry = *e};
    h->entry.line = NULL;
    o->held_count++;
    o->held_bytes += entry_bytes(e);
    inlet_retry_count(in);
    return h;
}

static struct entry held_pop(struct inlet *in, struct line *l)
{
    struct order *o = &in->order;
    struct held *h = l->first;
    struct entry e = h->entry;
    l->first = h->next;
    if (!l->first)
        l->last = NULL;
    if (l->cursor == h)
        l->cursor = NULL;
    h->next = o->free_held;
    o->free_held = h;
    o->held_count--;
    o->held_bytes -= entry_bytes(&e);
    inlet_retry_count(in);
    e.line = l;
    return e;
}

static void hold_last(struct inlet *in, struct line *l, const struct entry *e)
{
    struct held *h = held_new(in, e);
    if (l->last)
        l->last->next = h;
    else
        l->first = h;
    l->last = h;
}

/* One that was under way comes back: before those that were not, behind those that came back before. */
static void hold_back(struct inlet *in, struct line *l, const struct entry *e)
{
    struct held *h = held_new(in, e);
    struct held **at = l->cursor ? &l->cursor->next : &l->first;
    h->next = *at;
    *at = h;
    if (!h->next)
        l->last = h;
    l->cursor = h;
}

bool order_has_room(const struct inlet *in)
{
    return in->order.held_count < HELD_MAX && in->order.held_bytes < inlet_memory_share(in);
}

bool order_take(struct inlet *in, uint64_t flight, struct entry *e)
{
    struct line *l = e->line;
    if (l) { /* it is the first of its line */
        l->has_first = false;
    } else {
        uint64_t hash = hash_of(e->ev);
        l = line_find(&in->order, hash);
        bool joins = l && !l->first && !l->has_first && l->flight == flight && l->flying &&
                     stage_has(in->stage, WEIR_IN_ORDER);
        if (l && !joins) {
            hold_last(in, l, e);
            return false;
        }
        if (!l)
            l = line_new(in, hash);
        e->line = l;
    }
    l->flying++;
    l->flight = flight;
    l->cursor = NULL;
    return true;
}

bool order_next(struct inlet *in, struct line *l, size_t bytes_max, struct entry *e)
{
    if (!l->first || !stage_has(in->stage, WEIR_IN_ORDER) ||
        l->first->entry.ev->pub.body->len > bytes_max)
        return false;
    *e = held_pop(in, l);
    l->flying++;
    return true;
}

void order_release(struct inlet *in, const struct entry *e)
{
    ring_push(&in->released, e);
    atomic_fetch_add_explicit(&in->ring_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->ring_bytes, entry_bytes(e), memory_order_relaxed);
}

/* The next of the line may go; a line that nobody stands in is no more. */
static void advance(struct inlet *in, struct line *l)
{
    if (l->flying || l->has_first)
        return;
    if (!l->first) {
        line_free(&in->order, l);
        return;
    }
    struct entry e = held_pop(in, l);
    l->has_first = true;
    order_release(in, &e);
}

void order_end(struct inlet *in, struct entry *e)
{
    struct line *l = e->line;
    e->line = NULL;
    l->flying--;
    advance(in, l);
}

bool order_retry(struct inlet *in, struct entry *e)
{
    struct line *l = e->line;
    l->flying--;
    if (l->has_first) {
        hold_back(in, l, e);
        return false;
    }
    l->has_first = true;
    return true;
}

void order_give_up(struct entry *e)
{
    e->line->has_first = false;
    e->line->flying++;
}

void order_forget(struct inlet *in, struct entry *e)
{
    struct line *l = e->line;
    e->line = NULL;
    l->has_first = false;
    advance(in, l);
}

/* What is on disk comes again from there; the rest of the line stays in its order. */
static void let_line_go(struct inlet *in, struct line *l)
{
    struct held *last = l->last;
    for (bool is_over = !last; !is_over;) {
        is_over = l->first == last;
        struct entry e = held_pop(in, l);
        if (e.sequence != NO_SEQUENCE)
            inlet_entry_abandon(in, &e);
        else
            hold_last(in, l, &e);
    }
}

void order_let_go(struct inlet *in)
{
    struct order *o = &in->order;
    for (size_t i = 0; i < o->bucket_count; i++)
        for (struct line *l = o->buckets[i]; l; l = l->next)
            let_line_go(in, l);
}

void order_abandon(struct inlet *in)
{
    struct order *o = &in->order;
    for (size_t i = 0; i < o->bucket_count; i++)
        for (struct line *l = o->buckets[i]; l; l = l->next)
            while (l->first) {
                struct entry e = held_pop(in, l);
                inlet_entry_abandon(in, &e);
            }
}

void order_give_back(struct inlet *in)
{
    struct order *o = &in->order;
    for (struct line *l = o->free_lines; l; l = o->free_lines) {
        o->free_lines = l->next;
        charged_free(in, l, sizeof *l);
    }
    for (struct held *h = o->free_held; h; h = o->free_held) {
        o->free_held = h->next;
        charged_free(in, h, sizeof *h);
    }
}

void order_fini(struct inlet *in)
{
    struct order *o = &in->order;
    for (size_t i = 0; i < o->bucket_count; i++) {
        while (o->buckets[i]) {
            struct line *next = o->buckets[i]->next;
            charged_free(in, o->buckets[i], sizeof *next);
            o->buckets[i] = next;
        }
    }
    order_give_back(in);
    mem_free(o->buckets);
    *o = (struct order){0};
}
