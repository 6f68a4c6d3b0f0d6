/* pipeline/inlet_priv.h: what the files of the inlet share. */
#pragma once
#include "pipeline/adaptive.h"
#include "pipeline/batch.h"
#include "pipeline/breaker.h"
#include "pipeline/inlet.h"
#include "pipeline/memory.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"

struct entry {                /* one event that waits or is under way */
    struct event *ev;         /* with a reference to its block */
    struct slot *slot;        /* a branch, or NULL */
    uint64_t sequence;        /* in the stream; NO_SEQUENCE: memory alone */
    int64_t first_ns, due_ns; /* wall; monotonic */
    struct line *line; /* of its key, while it is in front or under way; NULL: no key, or behind */
    uint32_t attempts;
    weir_status error;
};
#define NO_SEQUENCE UINT64_MAX

/* What it takes while it waits. */
static inline uint64_t entry_bytes(const struct entry *e)
{
    return e->ev->pub.body->len + MEMORY_EVENT_BYTES;
}

struct ring { /* entries in order */
    struct budget *budget;
    struct entry *items;
    size_t head, count, cap; /* cap: a power of two */
};
void ring_push(struct ring *r, const struct entry *e);
struct entry ring_pop(struct ring *r);
void ring_fini(struct ring *r); /* empty, with no memory */

struct flight {                  /* a batch that the stage has */
    struct flight *next, **link; /* of those under way, or free */
    bool is_abandoned;
    bool is_direct; /* its entries hold no blocks: the batch does */
    bool is_short;  /* the stage was refused memory: what it says is no verdict of the receiver's */
    struct inlet *inlet;
    struct batch *batch;
    struct entry *entries; /* NULL: fresh from a worker, one per event by default */
    size_t cap;
    struct mark {
        weir_status status;
        char *why;
        bool is_set;
    } * marks; /* NULL: none */
    int64_t begun_ns;
    uint64_t serial;
    weir_status status;
    char *why;
    struct loop_task task; /* done came on another thread */
};

struct held {
    struct held *next;
    struct entry entry;
};

struct line {
    struct line *next; /* of the bucket, or free */
    uint64_t hash;
    size_t flying;             /* given to the stage, or on their way to the dead letters */
    uint64_t flight;           /* the last batch that they went with */
    bool has_first;            /* one waits in front: for another attempt, or to be given */
    struct held *first, *last; /* behind it */
    struct held *cursor;       /* the last that came back since; NULL: the next goes in front */
    /* transform: */
    size_t again;          /* of those flying: records that wait to be done again */
    size_t coming;         /* on their way to stand in it */
    bool is_parked;        /* what stands in it is on disk, if its source waits for that */
    bool is_due;           /* in the list of those that the inlet's worker looks at */
    struct line *next_due; /* of them */
};

struct order { /* inlet_order.c: keys of which an event is under way, in a table */
    struct line **buckets, *free_lines;
    size_t bucket_count, line_count;
    struct held *free_held;
    size_t held_count, held_bytes; /* events that wait behind another of their key */
    /* inlet_gate.c, a transform's: */
    bool is_shared;         /* by all workers: */
    pthread_mutex_t lock;   /* of all lines */
    _Atomic uint32_t gates; /* lines, and `behind`: whatever could hold an event up */
    struct line *due;
    bool is_behind;     /* what an earlier run left comes first: */
    struct line behind; /* events with a key that came since */
};

static inline void order_count(struct order *o)
{
    atomic_store_explicit(&o->gates, (uint32_t)o->line_count + o->is_behind, memory_order_release);
}

struct watcher { /* a branch that waits for a record which is on disk only */
    uint64_t sequence;
    struct slot *slot;
};

struct redo {
    uint64_t sequence;
    struct line *line; /* of its key, or NULL */
};

struct inlet {
    struct stage *stage;
    struct lane *lane;
    struct worker *worker;
    struct budget *budget; /* of the pipeline */
    const struct plan_buffer *buffer;
    const struct plan_batch *batch;
    const struct plan_retry *retry;
    bool is_durable;
    bool is_started;
    bool is_delivering;
    struct stream *stream;

    pthread_mutex_t lock; /* of arrivals and spilling */
    struct ring arrivals;
    bool is_posted;
    _Atomic bool is_spilled;
    uint64_t spill_from;    /* from here on events are on disk only */
    uint64_t arrived;       /* what the stream has from here on has not arrived here yet */
    bool is_abandoned;      /* the runner stops: nothing is taken any more */
    bool is_released;       /* its stage is not in the file any more: what is on disk stays there */
    _Atomic bool is_paused; /* what is ready waits for the breaker, or for hold_ns */
    _Atomic bool is_held;   /* nothing is sent: another thread will take it over */
    size_t users;           /* stages that refer to it; main thread */
    struct watcher *watchers; /* ascending by sequence */
    size_t watcher_count, watcher_cap, watcher_head;
    struct loop_task task;

    struct ring ready;
    struct ring released; /* in front of their keys' lines: before `ready` */
    struct order order;
    uint64_t flight_serial;
    struct entry *retries; /* a heap by due_ns */
    size_t retry_count, retry_cap;
    size_t retry_bytes;
    struct loop_timer retry_timer, batch_timer, rate_timer, read_timer, pause_timer;
    struct breaker breaker;  /* sink */
    int64_t diverting_ns;    /* since when it was open when the log was last told */
    _Atomic int64_t hold_ns; /* the stage asked to be left alone until then, monotonic; 0: no */
    struct reader *reader;
    uint64_t backlog_end; /* transform: what an earlier run left ends before it */
    struct redo *redo;    /* records to be done again */
    size_t redo_count, redo_cap;
    struct loop_timer redo_timer;
    struct flight *free_flights, *active;
    size_t flights, flights_max;
    struct adaptive adaptive; /* gives flights_max, if its max is not 0 */
    double rate_tokens;
    int64_t rate_ns, trim_after_ns;
    int64_t ack_first, ack_count;
    int ack_column; /* of the ledger: how they ended */
    uint32_t counter;
    _Atomic uint64_t in_memory; /* entries without a record, and ring entries */
    _Atomic uint64_t ring_count, ring_bytes;
    _Atomic uint64_t came_count, came_bytes; /* into the stream, in this run */
    _Atomic int64_t coming;                  /* into it, with units under way */
    _Atomic uint64_t retry_waiting, flying;
    _Atomic uint64_t taken; /* transform: live records whose events are on their way again */
};

/* inlet.c */
/* Batches under way at once: what the file says, anew. */
void inlet_flights_begin(struct inlet *in);
void inlet_flights_show(struct inlet *in);
size_t inlet_batch_max(const struct inlet *in); /* events that it may be given at once */
void inlet_entry_end(struct inlet *in, struct entry *e, uint32_t flag);
void inlet_entry_abandon(struct inlet *in, struct entry *e);
bool inlet_is_stored(const struct inlet *in, const struct entry *e); /* on disk as well */
void inlet_ack(struct inlet *in, uint64_t sequence, int column);
void inlet_ack_flush(struct inlet *in);
/* inlet_arrive.c */
void inlet_watch_give_back(struct inlet *in); /* under the lock */
void inlet_post(struct inlet *in); /* under the lock: its worker is to take what arrived */
void inlet_on_task(struct loop_task *t);
/* The event of a record, with a branch of its block. RETRY: no memory now; REJECT: it is none, and ended. */
weir_status inlet_entry_read(struct inlet *in, struct block *block, uint64_t sequence,
                             weir_str bytes, struct entry *e);
void inlet_read_backlog(struct inlet *in); /* what is on disk alone, if nothing else waits */
/* inlet_redo.c */
void inlet_on_redo(struct loop_timer *t);
void inlet_redo_give_back(struct inlet *in);
/* inlet_pause.c: sinks that are left alone for a while. */
/* May it be given something now? Else it is looked at again when the time has come. */
bool inlet_may_send(struct inlet *in);
static inline bool inlet_is_probing(const struct inlet *in)
{
    return in->breaker.state == BREAKER_HALF_OPEN;
}
/* inlet_divert.c: what waits goes to a fallback while the breaker stays open. */
int64_t inlet_divert_due(const struct inlet *in); /* monotonic; INT64_MAX: never */
void inlet_divert(struct inlet *in);
/* inlet_pause.c */
void inlet_pause_over(struct inlet *in); /* another instance: nothing is known against it */
/* A batch ended: so many events were taken or refused, failed, and await the user. */
struct inlet_tally {
    size_t done, failed, misconfigured;
    const char *why; /* of the last that was not refused */
};
void inlet_note(struct inlet *in, const struct inlet_tally *t, int64_t now);
/* inlet_deliver.c */
void inlet_deliver(struct inlet *in);
/* Straight from a worker's batch to the sink, when nothing waits before it; false: it has to wait. */
bool inlet_deliver_direct(struct inlet *in, struct worker *w, struct batch *take);
void inlet_flight_free(struct flight *f);
/* inlet_order.c: order among events of one key. For entries that have a line, unless said otherwise. */
void order_init(struct inlet *in);
void order_lock(struct inlet *in); /* a transform's lines are shared by all workers */
void order_unlock(struct inlet *in);
bool order_has_room(const struct inlet *in);
/* An event with a key, of `ready` or `released`: may it go with this batch? Else it stands in line. */
bool order_take(struct inlet *in, uint64_t flight, struct entry *e);
/* The next one of the line, where a batch keeps its order and this one has room for it. */
bool order_next(struct inlet *in, struct line *l, size_t bytes_max, struct entry *e);
void order_end(struct inlet *in, struct entry *e);   /* of what was under way */
bool order_retry(struct inlet *in, struct entry *e); /* of the same; false: it stands in line */
/* A record's event, which is done again: it stands where its number belongs. NULL: it is no more. */
void order_again(struct inlet *in, struct line *l, const struct entry *e);
void order_give_up(struct entry *e); /* one that waits in front: its end is under way */
void order_forget(struct inlet *in, struct entry *e); /* one that waited in front is no more */
void order_let_go(struct inlet *in);                  /* those in line that are on disk */
void order_abandon(struct inlet *in);
void order_give_back(struct inlet *in); /* memory kept for reuse */
void order_fini(struct inlet *in);
/* The lines themselves; a transform's under their lock. */
uint64_t order_hash(const struct event *ev);
struct line *order_find(const struct inlet *in, uint64_t hash); /* NULL: the key has none */
struct line *order_line_new(struct inlet *in, uint64_t hash);
struct line *order_join(struct inlet *in, uint64_t hash); /* found or new, with one more flying */
void order_line_free(struct inlet *in, struct line *l);
void order_hold(struct inlet *in, struct line *l, const struct entry *e); /* at its end */
struct entry order_pop(struct inlet *in, struct line *l);
/* It was the first, and is not: one that was before it is done again. */
void order_stand_back(struct inlet *in, struct line *l, const struct entry *e);
/* The next of the line may go; a line that nobody stands in is no more. */
void order_advance(struct inlet *in, struct line *l);
/* inlet_gate.c; any worker: the event's key has a line from now on, and the event is of it. */
void inlet_gate_line(struct inlet *in, struct event *ev);
/* The same, on the inlet's worker. */
void inlet_gate_begin(struct inlet *in); /* records of an earlier run wait: they come first */
void inlet_gate_run_due(struct inlet *in);
void inlet_gate_catch_up(
    struct inlet *in); /* nothing is ready, and all of an earlier run was read */
/* The first of its line is given again; false: it stands behind a record that is done again. */
bool inlet_gate_resume(struct inlet *in, struct entry *e);
void inlet_gate_park(struct inlet *in, struct line *l); /* all that stand in it, from now on */
/* inlet_limit.c */
uint64_t inlet_memory_share(const struct inlet *in);
size_t inlet_batch_bytes(const struct inlet *in); /* a larger event travels alone */
uint64_t inlet_ring_limit(const struct inlet *in);
bool inlet_has_ring_room(const struct inlet *in, size_t n);
/* One that waited goes into `ready` or `released`: it is counted among those in rings again. */
void inlet_ready(struct inlet *in, struct ring *r, const struct entry *e);
bool inlet_has_retry_room(const struct inlet *in);
void inlet_ring_account(struct inlet *in, const struct entry *e, int sign);
/* Of a buffer in memory that is full, by any worker. Under the lock, which it leaves meanwhile. */
void inlet_let_oldest_go(struct inlet *in, struct worker *w);
void inlet_trim(struct inlet *in);
size_t inlet_rate_room(struct inlet *in, size_t wanted); /* 0: the next batch has to wait */
/* inlet_retry.c */
/* True: the event waits for another attempt. Else its branch ended, or will with a dead letter. PENDING: it
 * waits for another event, which is no attempt. */
bool inlet_judge(struct inlet *in, struct entry *e, weir_status s, const char *why);
void inlet_retry_count(struct inlet *in); /* after a change: those that wait, for all threads */
void inlet_retry_fini(struct inlet *in);
void inlet_retry_give_back(struct inlet *in); /* what it takes while none waits */
void inlet_retry_let_go(struct inlet *in);    /* those that are on disk */
void inlet_on_retry(struct loop_timer *t);
bool inlet_retry_pop(struct inlet *in,
                     struct entry *e); /* the one that is due first; false: none */
void inlet_status(struct inlet *in, char *why, size_t size); /* why it is not ready */
void inlet_retry_wait(struct inlet *in);  /* the breaker opened: none that failed before is ready */
void inlet_retry_again(struct inlet *in); /* it closed: all may be tried again */
void inlet_retry_first(struct inlet *in); /* the one that is due first is ready now */
