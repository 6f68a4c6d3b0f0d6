/* pipeline/inlet_order.c: events of one key go to a stage one after the other, those of others meanwhile.
 *
 * A key has a line as long as one of its events is under way or waits for another attempt; what comes
 * behind it stands in the line. Keys are told apart by 64 bits of hash: two with the same only wait for
 * each other. A sink's lines belong to its worker; those of a transform, which runs on many, have a lock
 * (inlet_gate.c). */
#include "base/hash.h"
#include "base/mem.h"
#include "pipeline/inlet_priv.h"

enum { BUCKETS_MIN = 64, HELD_MAX = 8192 };

void order_init(struct inlet *in)
{
    in->order.is_shared = in->stage->role == ROLE_TRANSFORM;
    (void)pthread_mutex_init(&in->order.lock, NULL);
}

void order_lock(struct inlet *in)
{
    if (in->order.is_shared)
        (void)pthread_mutex_lock(&in->order.lock);
}

void order_unlock(struct inlet *in)
{
    if (in->order.is_shared)
        (void)pthread_mutex_unlock(&in->order.lock);
}

uint64_t order_hash(const struct event *ev)
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

struct line *order_find(const struct inlet *in, uint64_t hash)
{
    const struct order *o = &in->order;
    struct line *l = o->bucket_count ? o->buckets[hash & (o->bucket_count - 1)] : NULL;
    while (l && l->hash != hash)
        l = l->next;
    return l;
}

struct line *order_line_new(struct inlet *in, uint64_t hash)
{
    struct order *o = &in->order;
    if (o->line_count >= o->bucket_count)
        grow(o);
    struct line *l = o->free_lines;
    if (l)
        o->free_lines = l->next;
    else
        l = budget_new(in->budget, sizeof *l);
    struct line **at = bucket_of(o, hash);
    *l = (struct line){.next = *at, .hash = hash};
    *at = l;
    o->line_count++;
    order_count(o);
    return l;
}

struct line *order_join(struct inlet *in, uint64_t hash)
{
    struct line *l = order_find(in, hash);
    if (!l)
        l = order_line_new(in, hash);
    l->flying++;
    return l;
}

void order_line_free(struct inlet *in, struct line *l)
{
    struct order *o = &in->order;
    struct line **at = bucket_of(o, l->hash);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->next = o->free_lines;
    o->free_lines = l;
    o->line_count--;
    order_count(o);
}

static struct held *held_new(struct inlet *in, const struct entry *e)
{
    struct order *o = &in->order;
    struct held *h = o->free_held;
    if (h)
        o->free_held = h->next;
    else
        h = budget_new(in->budget, sizeof *h);
    *h = (struct held){.entry = *e};
    h->entry.line = NULL;
    o->held_count++;
    o->held_bytes += entry_bytes(e);
    inlet_retry_count(in);
    return h;
}

struct entry order_pop(struct inlet *in, struct line *l)
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

void order_hold(struct inlet *in, struct line *l, const struct entry *e)
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

/* Behind the records before it, and in front of what came since. */
static void hold_by_sequence(struct inlet *in, struct line *l, const struct entry *e)
{
    if (!l->last || l->last->entry.sequence < e->sequence) {
        order_hold(in, l, e);
        return;
    }
    struct held *h = held_new(in, e), **at = &l->first;
    while ((*at)->entry.sequence < e->sequence)
        at = &(*at)->next;
    h->next = *at;
    *at = h;
}

void order_stand_back(struct inlet *in, struct line *l, const struct entry *e)
{
    l->has_first = false;
    hold_by_sequence(in, l, e);
    order_advance(in, l);
}

void order_again(struct inlet *in, struct line *l, const struct entry *e)
{
    order_lock(in);
    l->flying--;
    l->again--;
    if (e)
        hold_by_sequence(in, l, e);
    order_advance(in, l);
    order_unlock(in);
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
        uint64_t hash = order_hash(e->ev);
        l = order_find(in, hash);
        bool joins = l && !l->first && !l->has_first && l->flight == flight && l->flying &&
                     stage_has(in->stage, WEIR_IN_ORDER);
        if (l && !joins) {
            order_hold(in, l, e);
            return false;
        }
        if (!l)
            l = order_line_new(in, hash);
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
    *e = order_pop(in, l);
    l->flying++;
    return true;
}

/* The next of the line may go; a line that nobody stands in is no more. */
void order_advance(struct inlet *in, struct line *l)
{
    if (l->flying || l->has_first)
        return;
    if (l->first) {
        struct entry e = order_pop(in, l);
        l->has_first = true;
        inlet_ready(in, &in->released, &e);
    } else if (!l->coming && !l->is_due) {
        order_line_free(in, l);
    }
}

void order_end(struct inlet *in, struct entry *e)
{
    struct line *l = e->line;
    e->line = NULL;
    if (in->stage->role == ROLE_TRANSFORM) {
        inlet_gate_leave(in, in->worker, l);
        return;
    }
    l->flying--;
    order_advance(in, l);
}

bool order_retry(struct inlet *in, struct entry *e)
{
    struct line *l = e->line;
    order_lock(in);
    l->flying--;
    bool is_first = !l->has_first;
    if (is_first)
        l->has_first = true;
    else
        hold_back(in, l, e);
    order_unlock(in);
    return is_first;
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
    order_lock(in);
    l->has_first = false;
    order_advance(in, l);
    order_unlock(in);
}

/* What is on disk comes again from there; the rest of the line stays in its order. */
static void let_line_go(struct inlet *in, struct line *l)
{
    struct held *last = l->last;
    for (bool is_over = !last; !is_over;) {
        is_over = l->first == last;
        struct entry e = order_pop(in, l);
        if (inlet_is_stored(in, &e))
            inlet_entry_abandon(in, &e);
        else
            order_hold(in, l, &e);
    }
}

void order_let_go(struct inlet *in)
{
    struct order *o = &in->order;
    order_lock(in);
    for (size_t i = 0; i < o->bucket_count; i++)
        for (struct line *l = o->buckets[i]; l; l = l->next)
            let_line_go(in, l);
    let_line_go(in, &o->behind);
    order_unlock(in);
}

static void abandon_line(struct inlet *in, struct line *l)
{
    while (l->first) {
        struct entry e = order_pop(in, l);
        inlet_entry_abandon(in, &e);
    }
}

void order_abandon(struct inlet *in)
{
    struct order *o = &in->order;
    order_lock(in);
    for (size_t i = 0; i < o->bucket_count; i++)
        for (struct line *l = o->buckets[i]; l; l = l->next)
            abandon_line(in, l);
    abandon_line(in, &o->behind);
    order_unlock(in);
}

void order_give_back(struct inlet *in)
{
    struct order *o = &in->order;
    order_lock(in);
    for (struct line *l = o->free_lines; l; l = o->free_lines) {
        o->free_lines = l->next;
        budget_free(in->budget, l, sizeof *l);
    }
    for (struct held *h = o->free_held; h; h = o->free_held) {
        o->free_held = h->next;
        budget_free(in->budget, h, sizeof *h);
    }
    order_unlock(in);
}

void order_fini(struct inlet *in)
{
    struct order *o = &in->order;
    for (size_t i = 0; i < o->bucket_count; i++) {
        while (o->buckets[i]) {
            struct line *next = o->buckets[i]->next;
            budget_free(in->budget, o->buckets[i], sizeof *next);
            o->buckets[i] = next;
        }
    }
    order_give_back(in);
    mem_free(o->buckets);
    (void)pthread_mutex_destroy(&o->lock);
    *o = (struct order){0};
}
