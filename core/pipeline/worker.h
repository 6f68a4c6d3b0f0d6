/* pipeline/worker.h: a thread with a loop, and what its rounds gather: tickets that ended, stages that
 * want to run, one journal unit, trace lines. A batch is born on a worker and runs to completion there. */
#pragma once
#include <pthread.h>

#include "base/buf.h"
#include "journal/journal.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "pipeline/event.h"
#include "pipeline/ledger.h"

struct pipeline;
struct lane;
struct commit;
struct ticket;

struct worker {
    struct pipeline *pipeline;
    struct loop *loop;
    size_t index;
    const char *name; /* of a thread of its own: the stage's */
    pthread_t thread;
    bool has_thread;
    struct loop_hook hook;
    struct loop_task again; /* keeps the loop from sleeping while work is left */
    bool is_again_posted;
    struct loop_task begin, drain, stop, journal_wake, trim;
    _Atomic bool is_begin_posted, is_drain_posted, is_commit_due, is_wake_posted, is_trim_posted;
    unsigned gather_rounds; /* the commit was put off so often */

    struct loop_task pause; /* see worker_pause_all */
    _Atomic bool is_pause_posted;
    bool is_paused, is_parked;  /* under the pipeline's pause lock; parked: between two rounds */
    _Atomic bool is_to_park;    /* in the next pause, also if a callback takes long */
    bool is_spare;              /* a thread of its own that no stage has now */
    _Atomic bool in_plugin;     /* of a thread of its own: a callback runs, and may for long */
    struct journal_chain chain; /* of the commits' units: none overtakes one that failed */
    bool is_chain_broken, is_chain_anew;
    unsigned plugin_depth;

    struct lane *lanes_due, **lanes_due_end; /* to be pulled or ticked */
    struct lane *gathering;                  /* sources with events born in this round */
    struct ticket *settled, **settled_end;
    struct commit *commit;     /* puts of this round */
    size_t commits_open;       /* submitted, and not home */
    struct journal_unit *acks; /* acknowledgements: they ride along */
    struct commit *free_commits;
    size_t free_commit_count;
    int64_t ledger[LEDGER_COLUMNS];  /* what happened in memory: with any unit */
    int64_t acks_ledger[LEDGER_ALL]; /* what the acknowledgements mean: with their unit alone */

    struct inlet **to_wake; /* of other threads: told when the round ends, once */
    size_t to_wake_count, to_wake_cap;

    struct departure { /* events with a key that a transform is done with in this round */
        struct inlet *inlet;
        struct line *line;
    } * departures;
    size_t departure_count, departure_cap;

    struct block_pool blocks;
    struct ticket *free_tickets;
    struct batch *free_batches;
    size_t free_batch_count, free_batch_places, free_ticket_count;
    struct batch **by_port; /* scratch of the router */
    uint32_t *ports_used;
    size_t by_port_cap;
    uint64_t *keys; /* scratch of transforms: a table of hashes */
    size_t key_cap;

    struct buf trace;
    int64_t explain_from_ns, explained; /* since then, of events that are traced */
    struct loop_timer trace_timer;
    struct buf text; /* scratch for encoding */
    struct http_client *http;
    int64_t now_wall_ns; /* of this round */
};

struct worker *worker_new(struct pipeline *p, size_t index, const char *name, struct error *e);
void worker_free(struct worker *w);
void worker_trim(struct worker *w); /* on its thread: what it keeps for reuse is given back */
int worker_start(struct worker *w, struct error *e); /* its thread */
void worker_join(struct worker *w);   /* after something on it has called loop_stop */
struct worker *worker_current(void);  /* of this thread, or NULL */
void worker_enter(struct worker *w);  /* this thread acts as the worker (start, stop, tests) */
void worker_round(struct worker *w);  /* what a round's end does */
void worker_settle(struct ticket *t); /* any thread: the ticket's source is to be told */
void worker_due(struct lane *l);      /* its worker's thread: pull or tick soon */
void worker_again(struct worker *w);  /* there is more to do: do not sleep */

/* The world stops for a moment, so that the graph can be changed: every worker waits between two
 * rounds, but for threads of blocking stages that are inside of a callback, which wait when they come
 * back. The caller may act as any worker that is parked. False: some worker did not come within the time;
 * all go on. Main thread. */
bool worker_pause_all(struct pipeline *p, int64_t timeout_ns);
void worker_resume_all(struct pipeline *p);
/* Around each callback of a stage with a thread of its own. */
void worker_plugin_enter(struct worker *w);
void worker_plugin_leave(struct worker *w);
/* Inside of a callback: the host's own work that needs the graph. */
unsigned worker_plugin_suspend(struct worker *w);
void worker_plugin_resume(struct worker *w, unsigned depth);
void worker_count(struct worker *w, int column, int64_t n);
int64_t worker_now(struct worker *w); /* wall clock of this round */
