/* pipeline/commit.c: what a worker's round puts on disk, as one unit. */
#include "pipeline/commit.h"

#include <string.h>

#include "base/mem.h"
#include "journal/archive.h"
#include "pipeline/claim.h"
#include "pipeline/codec.h"
#include "pipeline/lane.h"
#include "pipeline/park.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"

enum {
    UNIT_BYTES_MAX = 448 << 10, /* the journal keeps buffers of this size for reuse */
    ARRIVALS_MAX = 256,
    CHARGE_STEP = 64 << 10, /* a unit's bytes are charged by so many */
    ITEMS_KEPT = 1024,      /* of a commit that waits to be used again, */
    COMMITS_KEPT = 16,      /* of which a worker has so many */
};

struct item {
    size_t put; /* number in the unit */
    struct event *ev;
    struct slot *slot;
    struct inlet *const *inlets;
    size_t inlet_count;
    bool is_handed_on; /* the slot's branch becomes the inlets' */
    bool is_stored;    /* a copy for an archive */
    bool is_cover;     /* only says that the slot's branch is safe with the unit */
    struct park *park;
    void (*fn)(void *arg, weir_status s);
    void *arg;
};

struct commit {
    struct loop_task task; /* first: how it comes home */
    struct commit *next;
    struct worker *worker;
    struct journal_unit *unit;
    struct item *items;
    size_t count, cap;
    size_t charged_bytes;
    weir_status status;
    bool has_claims;
    int64_t ledger[LEDGER_COLUMNS]; /* what happened in memory and is counted with the unit */
    int64_t tied[LEDGER_ALL];       /* what happens with the unit */
};

static struct commit *commit_now(struct worker *w)
{
    if (w->commit)
        return w->commit;
    struct commit *c = w->free_commits;
    if (c) {
        w->free_commits = c->next;
        w->free_commit_count--;
    } else {
        c = MEM_NEW(struct commit);
    }
    c->worker = w;
    c->count = 0;
    c->has_claims = false;
    memset(c->tied, 0, sizeof c->tied);
    c->unit = journal_begin(w->pipeline->journal);
    w->commit = c;
    return c;
}

void commit_count(struct worker *w, int column, int64_t n)
{
    commit_now(w)->tied[column] += n;
}

struct journal_unit *commit_unit(struct worker *w)
{
    return commit_now(w)->unit;
}

/* What a unit copies is memory until it is on disk. */
static void charge(struct commit *c)
{
    size_t bytes = unit_bytes(c->unit) + c->cap * sizeof *c->items;
    if (bytes <= c->charged_bytes)
        return;
    size_t more = (bytes - c->charged_bytes + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
    budget_charge(&c->worker->pipeline->budget, more);
    c->charged_bytes += more;
}

static size_t put_event(struct worker *w, struct journal_unit *u, struct inlet *const *inlets,
                        size_t k, const struct event *ev)
{
    struct stream *streams[COMMIT_STREAMS_MAX];
    struct iovec parts[2];
    size_t number = unit_put_count(u);
    for (size_t i = 0; i < k; i++)
        streams[i] = inlet_stream(inlets[i]);
    w->text.len = 0;
    codec_write(&ev->pub, &w->text);
    parts[0] = (struct iovec){w->text.ptr, w->text.len};
    parts[1] = codec_body(&ev->pub);
    unit_put(u, streams, k, parts, 2);
    return number;
}

void commit_put(struct worker *w, struct inlet *const *inlets, size_t k, struct event *ev)
{
    struct commit *c = commit_now(w);
    struct item *item = &MEM_PUSH(c->items, c->count, c->cap);
    *item = (struct item){.ev = ev, .slot = ev->slot, .inlets = inlets, .inlet_count = k};
    item->is_handed_on = ev->slot && !ev->slot->wants_durable;
    item->put = put_event(w, c->unit, inlets, k, ev);
    c->tied[LEDGER_IN_MEMORY] -= (int64_t)k;
    c->has_claims |= claim_is_on(ev->slot);
    block_ref(ev->block);
    charge(c);
    if (unit_bytes(c->unit) > UNIT_BYTES_MAX)
        commit_submit(w);
}

void commit_put_one(struct worker *w, struct inlet *inlet, struct event *ev)
{
    commit_put(w, inlet_link(inlet), 1, ev);
}

void commit_park(struct worker *w, struct inlet *inlet, struct park *park, const struct event *ev)
{
    struct commit *c = commit_now(w);
    struct item *item = &MEM_PUSH(c->items, c->count, c->cap);
    *item = (struct item){.park = park};
    item->put = put_event(w, c->unit, &inlet, 1, ev);
    c->tied[LEDGER_IN_MEMORY]--;
    c->has_claims |= claim_is_on(ev->slot);
    charge(c);
}

void commit_store(struct worker *w, struct archive *a, struct event *ev)
{
    struct commit *c = commit_now(w);
    struct iovec parts[2];
    w->text.len = 0;
    codec_write(&ev->pub, &w->text);
    parts[0] = (struct iovec){w->text.ptr, w->text.len};
    parts[1] = codec_body(&ev->pub);
    archive_put(a, c->unit, worker_now(w), parts, 2);
    if (ev->slot) {
        slot_ref(ev->slot, 1);
        MEM_PUSH(c->items, c->count, c->cap) = (struct item){.slot = ev->slot, .is_stored = true};
        c->has_claims |= claim_is_on(ev->slot);
    }
    charge(c);
    if (unit_bytes(c->unit) > UNIT_BYTES_MAX)
        commit_submit(w);
}

void commit_cover(struct worker *w, struct slot *slot)
{
    if (!claim_is_on(slot))
        return;
    struct commit *c = commit_now(w);
    MEM_PUSH(c->items, c->count, c->cap) = (struct item){.slot = slot, .is_cover = true};
    c->has_claims = true;
}

void commit_claims(struct worker *w, struct slot *slot, bool is_kept)
{
    if (!w->acks)
        w->acks = journal_begin(w->pipeline->journal);
    if (is_kept)
        claim_note_all(slot, w->acks);
    claim_end_all(slot, is_kept);
}

void commit_then(struct worker *w, void (*fn)(void *arg, weir_status s), void *arg)
{
    struct commit *c = commit_now(w);
    MEM_PUSH(c->items, c->count, c->cap) = (struct item){.fn = fn, .arg = arg};
}

void commit_ack(struct worker *w, struct inlet *in, uint64_t first, uint64_t count, int column)
{
    if (!w->acks)
        w->acks = journal_begin(w->pipeline->journal);
    unit_ack(w->acks, inlet_stream(in), first, count);
    unit_count(w->acks, inlet_counter(in), (int64_t)count);
    w->acks_ledger[column] += (int64_t)count;
}

/* The event is on disk in all its streams: a source that waits for that hears of it; one that waits
 * for more has a branch in each inlet. */
static void item_home(struct worker *w, struct item *item, weir_status status)
{
    if (item->is_cover)
        return;
    if (item->is_stored && status == WEIR_OK) {
        slot_release(item->slot, 0);
        return;
    }
    if (item->is_stored) {
        slot_fail(item->slot, WEIR_E_RETRY, "journal", "the disk has no room or failed", false);
        return;
    }
    if (item->fn) {
        item->fn(item->arg, status);
        return;
    }
    if (item->park) {
        park_synced(w, item->park, status);
        return;
    }
    if (status != WEIR_OK) {
        worker_count(w, LEDGER_RETURNED, (int64_t)item->inlet_count);
        slot_fail(item->slot, WEIR_E_RETRY, "journal", "the disk has no room or failed", false);
    } else if (!item->is_handed_on) {
        slot_release(item->slot, SLOT_DURABLE);
    }
    block_unref(item->ev->block);
}

/* The unit is not on disk: the next one counts what happened in memory. */
static void count_again(struct worker *w, const struct commit *c)
{
    for (int i = 0; i < LEDGER_COLUMNS; i++) {
        atomic_fetch_sub_explicit(&w->pipeline->ledger[i], c->ledger[i] + c->tied[i],
                                  memory_order_relaxed);
        worker_count(w, i, c->ledger[i]);
    }
}

static struct slot *slot_of(const struct item *item)
{
    struct slot *s = item->park ? park_event_slot(item->park) : item->slot;
    return claim_is_on(s) ? s : NULL;
}

/* A key goes with the unit that holds all branches of its event that are open: with it the event is safe,
 * and without it it is not. Where they end by several units the key has its own, after them. */
static void note_claims(struct commit *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct slot *s = slot_of(&c->items[i]);
        if (s)
            atomic_load(&s->claims)->in_unit++;
    }
    for (size_t i = 0; i < c->count; i++) {
        struct slot *s = slot_of(&c->items[i]);
        struct weir_claim *first = s ? atomic_load(&s->claims) : NULL;
        if (!first || !first->in_unit)
            continue;
        bool is_failed = atomic_load(&s->flags) & SLOT_FAILED;
        if (first->in_unit == atomic_load(&s->refs) && !is_failed)
            claim_note_all(s, c->unit);
        first->in_unit = 0;
    }
}

static void forget_claims(struct commit *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct slot *s = slot_of(&c->items[i]);
        if (s)
            claim_unnote_all(s);
    }
}

static void commit_free(struct commit *c)
{
    mem_free(c->items);
    mem_free(c);
}

/* The unit is the journal's again. */
static void keep(struct worker *w, struct commit *c)
{
    budget_give(&w->pipeline->budget, c->charged_bytes);
    c->charged_bytes = 0;
    if (w->free_commit_count >= COMMITS_KEPT) {
        commit_free(c);
        return;
    }
    if (c->cap > ITEMS_KEPT) {
        mem_free(c->items);
        c->items = NULL;
        c->cap = 0;
    }
    c->next = w->free_commits;
    w->free_commits = c;
    w->free_commit_count++;
}

/* What happened in memory, and what the unit itself means. So every unit balances by itself: what came
 * and has neither ended nor is on disk is in memory. */
static void count_into(struct worker *w, struct journal_unit *u, const int64_t *tied)
{
    struct pipeline *p = w->pipeline;
    int64_t in_memory = ledger_in_flight(w->ledger) + tied[LEDGER_IN_MEMORY];
    for (int i = 0; i < LEDGER_COLUMNS; i++) {
        int64_t n = w->ledger[i] + tied[i];
        w->ledger[i] = 0;
        if (!n)
            continue;
        unit_count(u, p->counters[i], n);
        atomic_fetch_add_explicit(&p->ledger[i], n, memory_order_relaxed);
    }
    if (in_memory)
        unit_count(u, p->counters[LEDGER_IN_MEMORY], in_memory);
}

/* Of this round, ready to be submitted, or NULL. */
static struct commit *take_commit(struct worker *w)
{
    struct commit *c = w->commit;
    if (!c)
        return NULL;
    w->commit = NULL;
    w->commits_open++;
    memcpy(c->ledger, w->ledger, sizeof c->ledger);
    count_into(w, c->unit, c->tied);
    if (c->has_claims)
        note_claims(c);
    return c;
}

/* Without the journal: what it would be behind was not stored. */
static void refuse(struct commit *c)
{
    journal_cancel(c->unit);
    c->status = WEIR_E_RETRY;
}

static void come_home(struct commit *c)
{
    struct worker *w = c->worker;
    w->commits_open--;
    if (c->status == WEIR_E_RETRY || c->status == WEIR_E_FATAL)
        w->is_chain_broken = true;
    if (c->status != WEIR_OK)
        count_again(w, c);
    if (c->status != WEIR_OK && c->has_claims)
        forget_claims(c);
    for (size_t i = 0; i < c->count; i++)
        item_home(w, &c->items[i], c->status);
    keep(w, c);
}

/* All that was under way when a unit failed has failed since: what is gathered now may have been behind it,
 * and fails as well; what comes from here on stands behind what is done again. */
static void mend_chain(struct worker *w)
{
    struct commit *c = take_commit(w);
    if (c) {
        refuse(c);
        come_home(c);
    }
    w->is_chain_broken = w->commits_open > 0;
    w->is_chain_anew = true;
}

static void commit_home(struct loop_task *t)
{
    struct commit *c = t->user;
    struct worker *w = c->worker;
    come_home(c);
    if (w->is_chain_broken && !w->commits_open)
        mend_chain(w);
}

/* Those that go to the same inlets, at most so many: how many there are from here on. */
static size_t count_alike(const struct commit *c, size_t from)
{
    const struct item *first = &c->items[from];
    size_t n = 0;
    while (n < ARRIVALS_MAX && from + n < c->count && c->items[from + n].ev &&
           c->items[from + n].inlets == first->inlets &&
           c->items[from + n].inlet_count == first->inlet_count)
        n++;
    return n;
}

/* Inlet by inlet: each is locked and told once for many events. */
static void arrive(const struct item *items, size_t n, const struct journal_unit *u)
{
    struct arrival all[ARRIVALS_MAX];
    uint32_t more = (uint32_t)items->inlet_count - 1;
    for (size_t i = 0; i < n; i++) {
        all[i].ev = items[i].ev;
        all[i].slot = items[i].is_handed_on ? items[i].slot : NULL;
        if (all[i].slot && more)
            slot_ref(all[i].slot, more);
    }
    for (size_t k = 0; k < items->inlet_count; k++) {
        for (size_t i = 0; i < n; i++)
            all[i].sequence = unit_sequence(u, items[i].put, k);
        inlet_arrive(items->inlets[k], all, n);
    }
}

/* What is on its way counts in a buffer that is to hold so much and no more. */
static void tell_coming(const struct commit *c, int sign)
{
    for (size_t i = 0; i < c->count;) {
        const struct item *item = &c->items[i];
        size_t n = item->ev && item->inlet_count ? count_alike(c, i) : 0;
        for (size_t k = 0; n && k < item->inlet_count; k++)
            inlet_coming(item->inlets[k], sign * (int64_t)n);
        i += n ? n : 1;
    }
}

/* On the journal's driver, in the order of the log: so each inlet gets its events in order. */
static void commit_done(void *user, weir_status status, const struct journal_unit *u)
{
    struct commit *c = user;
    c->status = status;
    tell_coming(c, -1);
    for (size_t i = 0; i < c->count && status == WEIR_OK;) {
        struct item *item = &c->items[i];
        size_t n = item->ev && item->inlet_count ? count_alike(c, i) : 0;
        if (n)
            arrive(item, n, u);
        else if (item->park)
            park_set_sequence(item->park, unit_sequence(u, item->put, 0));
        i += n ? n : 1;
    }
    if (worker_current() == c->worker)
        commit_home(&c->task);
    else
        loop_post(c->worker->loop, &c->task);
}

static bool has_counts(const struct worker *w)
{
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        if (w->ledger[i])
            return true;
    return false;
}

void commit_submit(struct worker *w)
{
    struct commit *c = take_commit(w);
    if (c)
        c->task = (struct loop_task){.fn = commit_home, .user = c};
    if (c && w->is_chain_broken) {
        refuse(c);
        loop_post(w->loop, &c->task);
    } else if (c) {
        tell_coming(c, 1);
        unit_chain(c->unit, &w->chain, w->is_chain_anew);
        w->is_chain_anew = false;
        journal_submit(c->unit, JOURNAL_SYNCED, commit_done, c);
    }
    if (!w->acks && has_counts(w))
        w->acks = journal_begin(w->pipeline->journal);
    if (w->acks) {
        struct journal_unit *u = w->acks;
        w->acks = NULL;
        count_into(w, u, w->acks_ledger);
        memset(w->acks_ledger, 0, sizeof w->acks_ledger);
        journal_submit(u, JOURNAL_LAZY, NULL, NULL);
    }
}

void commit_trim(struct worker *w)
{
    while (w->free_commits) {
        struct commit *next = w->free_commits->next;
        commit_free(w->free_commits);
        w->free_commits = next;
    }
    w->free_commit_count = 0;
}
