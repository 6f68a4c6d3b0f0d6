/* pipeline/slot.h: what became of an event, told to whoever brought it. Any thread.
 *
 * A slot counts the branches that descend from one event of a source (or from one record of a stage's
 * stream). The last branch that ends decides: failed if one failed, else durable, delivered, filtered,
 * in this order. A join stands for several slots: what is made of a whole batch descends from all. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <weir/plugin.h>

struct lane;
struct slot;
struct block;
struct worker;
struct budget;

enum {
    SLOT_DELIVERED = 1,
    SLOT_FILTERED = 2,
    SLOT_DURABLE = 4,
    SLOT_FAILED = 8,
    SLOT_DEAD_LETTERED = 16, /* failed, and kept */
    SLOT_LEFT = 32,          /* of a record: it stays on disk as it is (park_leave) */
};

struct weir_claim;

struct slot {
    _Atomic uint32_t refs;
    _Atomic uint32_t flags;                 /* SLOT_* of the branches that ended */
    void (*end)(struct slot *s);            /* the last branch ended */
    _Atomic(struct slot_failure *) failure; /* the first */
    _Atomic(struct slot_result *) result;
    _Atomic(struct weir_claim *) claims; /* keys that are recorded with it (claim.h) */
    bool wants_durable;                  /* its source waits for the disk and no longer, */
    bool wants_copy;                     /* and what a transform keeps is to be copied there */
    bool wants_result;
    void *owner; /* of `end` */
};

struct slot_failure {
    weir_status error;
    char *why, *stage;
};

struct slot_result { /* a copy of the event that the pipeline file calls the result */
    struct block *block;
    const weir_event *event;
};

void slot_init(struct slot *s, void (*end)(struct slot *s), void *owner);
void slot_fini(struct slot *s);
static inline void slot_ref(struct slot *s, uint32_t n)
{
    if (s)
        atomic_fetch_add_explicit(&s->refs, n, memory_order_relaxed);
}
/* One branch ended with SLOT_*. The only branch there is can end without an atomic operation: nobody
 * else may make another one from it. */
static inline void slot_release(struct slot *s, uint32_t flag)
{
    if (!s)
        return;
    if (atomic_load_explicit(&s->refs, memory_order_acquire) == 1) { /* before the flags */
        uint32_t flags = atomic_load_explicit(&s->flags, memory_order_relaxed);
        atomic_store_explicit(&s->flags, flags | flag, memory_order_relaxed);
        atomic_store_explicit(&s->refs, 0, memory_order_relaxed);
        s->end(s);
        return;
    }
    if (flag & ~atomic_load_explicit(&s->flags, memory_order_relaxed))
        atomic_fetch_or_explicit(&s->flags, flag, memory_order_relaxed);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        s->end(s);
}
void slot_fail(struct slot *s, weir_status error, const char *stage, const char *why,
               bool is_dead_lettered);
weir_outcome slot_outcome(const struct slot *s);
/* A slot whose fate becomes that of all n; owns one reference of each from now on. */
struct slot *slot_join(struct slot *const *slots, size_t n, struct budget *budget);
/* Those that a join stands for, and how many; 0: it is none. Whoever asks has a branch of it. */
size_t slot_parents(const struct slot *s, struct slot *const **parents);

/* What a source handed over as one batch. */
struct ticket {
    struct ticket *next;
    struct lane *lane;
    struct block *results; /* holds the results' memory */
    union {
        uint64_t cookie;
        void *cookie_ptr;
    };
    uint32_t when;
    uint32_t count;
    _Atomic uint32_t open; /* slots that have not ended, and one while it is being handed over */
    int64_t begun_ns;
    struct slot slots[];
};

struct ticket *ticket_new(struct lane *lane, size_t count);
/* All slots have their first branch: from now on it may end. */
void ticket_begin(struct ticket *t);
void ticket_free(struct ticket *t);
void ticket_delete(struct ticket *t, struct budget *budget); /* for pools alone */
/* The verdicts; arrays live in the caller's scratch. */
void ticket_settle(struct ticket *t, weir_settlement *s, weir_verdict *verdicts,
                   const weir_verdict **list);
