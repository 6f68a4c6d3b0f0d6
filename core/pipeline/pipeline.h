/* pipeline/pipeline.h: a plan made to run: stages, workers, journal; start, drain, stop. */
#pragma once
#include "base/metrics.h"
#include "config/plan.h"
#include "journal/journal.h"
#include "journal/keys.h"
#include "journal/logstore.h"
#include "journal/queue.h"
#include "pipeline/payload.h"
#include "pipeline/stage.h"
#include "pipeline/worker.h"

struct trace;
struct replays;

struct service_tables; /* services.c */
struct reloads;        /* reload.c */

/* A pipeline file as it was read, and what was made of it. It lives as long as it is the current one or
 * a stage was made of it: a stage that a reload leaves alone keeps its state, which lives here. */
struct generation {
    struct plan *plan;
    struct service_tables *services;
    size_t users;
    void (*release)(
        void *user); /* the last user has gone; NULL: the caller of pipeline_new owns all */
    void *user;
};
struct generation *generation_new(struct plan *plan, struct service_tables *services,
                                  void (*release)(void *user), void *user);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g);

struct pause { /* worker_pause_all */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic bool is_on;
};

enum { MEMORY_LOOKS = 10 };
struct memory { /* memory.c */
    _Atomic uint64_t share_bytes, buffer_bytes;
    int statm;                    /* -1: not known */
    uint64_t base_bytes;          /* of the process when it began */
    uint64_t peaks[MEMORY_LOOKS]; /* what was used at most between the last looks */
    size_t look;
    _Atomic uint64_t peak_bytes;      /* of the whole run */
    int64_t looked_ns, trim_after_ns; /* monotonic */
    int64_t busy_ns;                  /* when events were last seen to come or go */
    uint64_t seen;
    bool is_trimmed; /* the workers, since then */
};

struct pipeline {
    struct plan *plan;             /* of the generation */
    struct generation *generation; /* the current one */
    struct pause pause;
    struct reloads *reloads;
    const struct clock *clock;
    struct metrics *metrics;
    struct journal *journal;
    struct logstore *logs;
    struct trace *trace;
    struct budget budget;          /* of all that events take in memory; */
    struct budget inflow, backlog; /* parts of it: for what sources bring, what is read from disk */
    struct memory memory;
    int64_t trace_explain; /* events a second of each worker */
    struct match_env env;
    struct stage **stages; /* in the plan's order */
    size_t stage_count;
    struct worker *
        *workers; /* the first worker_count share the work; then threads of blocking ones */
    size_t worker_count, worker_total;
    struct weir_http_listener *listeners; /* under the lock, as the next */
    struct weir_queue *queues;            /* that stages have open */
    struct dead_letters *dead;            /* queues that keep what failed, by name */
    uint32_t counters[LEDGER_ALL];
    _Atomic int64_t ledger[LEDGER_COLUMNS]; /* since the data directory was made */
    int64_t archive_tick_ns;                /* the last look at their limits */
    struct weir_bus *buses;                 /* under the lock */
    struct weir_match_set *match_sets;      /* under the lock */
    struct replays *replays;                /* of what they keep */
    struct weir_window *windows;            /* of keys; a claim may outlive its stage */
    _Atomic int64_t in_memory;              /* branches that only memory holds */
    weir_metric *ledger_metrics[LEDGER_COLUMNS];
    weir_metric *m_budget, *m_memory_lost, *m_memory_refused;
    weir_metric *m_in_flight, *m_memory, *m_memory_peak, *m_resident, *m_resident_peak,
        *m_sync_failures, *m_lost_records, *m_journal_bytes;
    _Atomic bool is_draining; /* sources are not called any more */
    _Atomic bool is_stopping;
    _Atomic size_t sources_open;   /* sources that have not ended */
    void (*on_end)(void *user);    /* any thread: all sources ended and everything is settled */
    void (*on_broken)(void *user); /* any thread, once: a plugin says that to go on has no use */
    void *on_end_user;
    pthread_mutex_t lock; /* of the stages' status texts, of `broken`, and of the listeners */
    char broken[320];     /* why; empty: it is not */
    struct stage **order; /* of starting */
};

/* Stages' start order is the plan's, offerers of services first. NULL with the reason: nothing is left
 * running. `component_places` errors are told as diagnostics of the plan's document (exit 78). */
struct pipeline *pipeline_new(struct plan *plan, struct service_tables *services,
                              const struct clock *clock, struct error *e);
int pipeline_start(struct pipeline *p, struct error *e);
void pipeline_tick(struct pipeline *p);        /* some times a second, from the main thread */
bool pipeline_is_drained(struct pipeline *p);  /* nothing but what waits on disk */
bool pipeline_is_finished(struct pipeline *p); /* sources ended and nothing waits anywhere */
void pipeline_drain(struct pipeline *p);       /* sources stop; poll pipeline_is_drained */
void pipeline_free(struct pipeline *p);        /* stops what was started */

/* `check` of every component, with the host's services; false: diagnostics were added. Needs no
 * journal and starts nothing. */
bool pipeline_check(struct plan *plan, struct service_tables *services);

/* One stage; main thread, which acts as the stage's workers: before they run, or while they pause. */
int pipeline_stage_start(struct stage *s, struct error *e);
void pipeline_stage_stop(struct stage *s);
void pipeline_instance_stop(
    struct stage *s);                    /* its lanes were stopped; on the first one's worker */
void pipeline_begin(struct pipeline *p); /* posts to all workers: deliver, pull */
/* On the lane's worker. */
void pipeline_lane_drain(struct lane *l);
void pipeline_lane_stop(struct lane *l);

int64_t pipeline_in_flight(struct pipeline *p);
/* A metric of the whole, without labels. */
weir_metric *pipeline_figure(struct pipeline *p, int kind, const char *name, const char *help);
void pipeline_refresh_metrics(struct pipeline *p); /* gauges that are computed on demand */
bool pipeline_is_ready(struct pipeline *p, struct buf *why); /* JSON of what is not */
bool pipeline_is_accepting(struct pipeline *p); /* what comes is kept, whatever its sinks do */

/* Services of the host: made before the plan, whose options they fill. */
struct service_tables *service_tables_new(void);
void service_tables_free(struct service_tables *t);
void service_tables_plan(struct service_tables *t, const struct plan *plan);

/* A pattern that a stage's check compiled into a set: for `weir rules`, which knows no plugin. */
struct service_rule {
    const struct plan_stage *stage;
    const struct node *node; /* of the pattern; NULL: not known */
    weir_str name, pattern;  /* name: the key of the map that the pattern stands in; may be empty */
};
/* After pipeline_check; in the order of the file. */
const struct service_rule *service_tables_rules(const struct service_tables *t, size_t *count);
struct match_env;
const struct match_env *service_tables_env(const struct service_tables *t);
const void *service_one(void *user, const weir_option *row, const struct node *at);
void service_many(void *user, const weir_option *row, weir_services *out);
void service_http_drain_worker(struct pipeline *p, const struct worker *w);
void service_queue_keep(struct pipeline *p); /* a reload has come to its end */
/* A reload: those that take over the sockets of an outgoing stage do, or (is_on false) do not. */
void service_http_switch(struct pipeline *p, bool is_on);
bool service_http_has_listener(struct pipeline *p, const struct stage *s);
/* On the lane's worker. Drain: true once no connection is left. */
bool service_http_lane_drain(struct lane *l);
void service_http_lane_stop(struct lane *l);
