/* pipeline/claim.c: keys that are recorded with the fates of events. */
#include "pipeline/claim.h"

#include <pthread.h>
#include <string.h>

#include "base/budget.h"
#include "base/mem.h"

enum { BUCKETS = 1 << 12 };

struct claim_table { /* of those whose events' fates are open */
    pthread_mutex_t lock;
    struct keys *keys;
    struct budget *budget;
    struct weir_claim *buckets[BUCKETS];
};

struct claim_table *claim_table_new(struct keys *keys, struct budget *budget)
{
    struct claim_table *t = MEM_NEW(struct claim_table);
    (void)pthread_mutex_init(&t->lock, NULL);
    t->keys = keys;
    t->budget = budget;
    return t;
}

void claim_table_free(struct claim_table *t)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (t->buckets[i]) {
            struct weir_claim *next = t->buckets[i]->next_in_bucket;
            budget_free(t->budget, t->buckets[i], sizeof *next);
            t->buckets[i] = next;
        }
    (void)pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

static struct weir_claim **bucket_of(struct claim_table *t, const struct keys_entry *e)
{
    struct weir_claim **link = &t->buckets[e->hash[1] % BUCKETS];
    while (*link && ((*link)->entry.hash[0] != e->hash[0] || (*link)->entry.hash[1] != e->hash[1]))
        link = &(*link)->next_in_bucket;
    return link;
}

/* A claim leaves the table after its key is known: so the table is looked at first. */
weir_status claim_new(struct claim_table *t, const struct keys_entry *wanted,
                      struct weir_claim **claim, struct keys_entry *found)
{
    weir_status status = WEIR_OK;
    (void)pthread_mutex_lock(&t->lock);
    struct weir_claim **link = bucket_of(t, wanted);
    if (*link) {
        *found = (*link)->entry;
        status = WEIR_PENDING;
    } else if (keys_find(t->keys, wanted->hash, found)) {
        status = WEIR_DROP;
    } else {
        *link = *claim = budget_new(t->budget, sizeof **claim);
        (*claim)->table = t;
        (*claim)->entry = *wanted;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return status;
}

void claim_release(struct weir_claim *take)
{
    struct claim_table *t = take->table;
    (void)pthread_mutex_lock(&t->lock);
    struct weir_claim **link = bucket_of(t, &take->entry);
    *link = take->next_in_bucket;
    (void)pthread_mutex_unlock(&t->lock);
    budget_free(t->budget, take, sizeof *take);
}

void claim_keep(struct weir_claim *take)
{
    keys_remember(take->table->keys, &take->entry);
    claim_release(take);
}

void claim_keep_with(struct weir_claim *take, struct journal_unit *u)
{
    keys_note(take->table->keys, u, &take->entry);
    claim_keep(take);
}

/* Others may look at who has the key. */
void claim_set_id(struct weir_claim *c, const weir_id *id)
{
    (void)pthread_mutex_lock(&c->table->lock);
    memcpy(c->entry.id, id->bytes, sizeof c->entry.id);
    (void)pthread_mutex_unlock(&c->table->lock);
}

void claim_attach(struct weir_claim *take, struct slot *s)
{
    take->next = atomic_load_explicit(&s->claims, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&s->claims, &take->next, take))
        ;
}

bool claim_is_own(const struct slot *s, const struct claim_table *t, const struct keys_entry *e)
{
    struct slot *const *parents;
    for (const struct weir_claim *c = atomic_load(&s->claims); c; c = c->next)
        if (c->table == t && c->entry.hash[0] == e->hash[0] && c->entry.hash[1] == e->hash[1])
            return true;
    size_t n = slot_parents(s, &parents);
    for (size_t i = 0; i < n; i++)
        if (claim_is_own(parents[i], t, e))
            return true;
    return false;
}

void claim_note_all(struct slot *s, struct journal_unit *u)
{
    for (struct weir_claim *c = atomic_load(&s->claims); c; c = c->next) {
        if (!c->is_noted)
            keys_note(c->table->keys, u, &c->entry);
        c->is_noted = true;
    }
}

void claim_unnote_all(struct slot *s)
{
    for (struct weir_claim *c = atomic_load(&s->claims); c; c = c->next)
        c->is_noted = false;
}

bool claim_all_noted(const struct slot *s)
{
    for (const struct weir_claim *c = atomic_load(&s->claims); c; c = c->next)
        if (!c->is_noted)
            return false;
    return true;
}

void claim_end_all(struct slot *s, bool is_kept)
{
    struct weir_claim *c = atomic_exchange(&s->claims, NULL);
    while (c) {
        struct weir_claim *next = c->next;
        if (is_kept)
            claim_keep(c);
        else
            claim_release(c);
        c = next;
    }
}

void claim_move_all(struct slot *from, struct slot *to)
{
    struct weir_claim *c = atomic_exchange(&from->claims, NULL);
    while (c) {
        struct weir_claim *next = c->next;
        claim_attach(c, to);
        c = next;
    }
}
