/* pipeline/reload_priv.h: what the files of the reload share. */
#pragma once
#include "pipeline/reload.h"
#include "pipeline/reload_diff.h"

struct undo { /* of a stage that stays: its place in the old graph */
    struct stage *stage;
    const struct plan_stage *plan;
    struct port *ports;
    struct stage **reach;
    size_t reach_count, index;
    bool was_durable;
};

/* What has to come to rest, one after the other. */
enum { HOLD_SOURCES, HOLD_INLETS };

enum retire_state {
    RETIRE_LEAVING, /* tasks and commits that may still come to it are waited for */
    RETIRE_WORKING, /* it finishes what it has in hand */
    RETIRE_STOPPING,
    RETIRE_STOPPED,
    RETIRE_GONE, /* what stopping has left behind is waited for, by the flush under way */
};

struct retiring { /* an old instance, until nothing refers to it */
    struct retiring *next;
    struct stage *stage;
    enum retire_state state;
    bool is_removed; /* nobody has its place: its inlet ends too */
    bool is_flushed; /* by the flush under way, or the last one */
    bool is_probed;  /* when nobody could give it more */
    bool is_told;    /* what it leaves on disk is told */
    int64_t until_ns;
    _Atomic size_t open; /* tasks under way */
    _Atomic bool is_busy;
    struct retire_task *tasks;
};

struct retire_task {
    struct loop_task task; /* first */
    struct retiring *retiring;
    struct lane *lane;
};

struct garbage { /* ports that no new event takes */
    struct garbage *next;
    struct port *ports;
    struct stage **reach;
    size_t count;
    bool is_waiting; /* for the flush under way */
};

/* A flush: whatever was on its way when it began has come. First every worker hands in its commit, then
 * the journal is through with them, then every worker has what that posted. */
struct flush_task {
    struct loop_task task; /* first */
    struct reloads *reloads;
};

struct reloads {
    struct pipeline *pipeline;
    /* one that is under way */
    struct generation *next;
    struct change *changes;
    int64_t hold_until_ns;
    bool is_on;
    int held; /* HOLD_*: how far it has come */
    /* what it would undo */
    struct undo *undo;
    size_t undo_count;
    struct stage **old_stages, **old_order;
    size_t old_count;
    struct plan *old_plan;
    struct match_env old_env;
    struct generation *old_generation;
    struct dead_letters *old_dead;
    struct stage *restarted; /* a source that was stopped for its heir, which did not start */
    /* the last one */
    struct reload_counts counts;
    struct buf told, told_text; /* its stages, as JSON members and as text */
    /* what is left of old ones; the lock: other threads count what is in flight */
    pthread_mutex_t lock;
    struct retiring *retiring;
    struct garbage *garbage;
    struct flush_task *flush;
    size_t flush_count;
    _Atomic size_t flush_open;
    int flush_phase;         /* 0: none */
    struct stream **orphans; /* of stages that are not in the file any more */
    size_t orphan_count, orphan_cap;
};

/* reload_retire.c */
void retire_add(struct reloads *r, struct stage *s, bool is_removed, bool is_stopped);
void retire_ports(struct reloads *r, struct port *ports, size_t count, struct stage **reach);
void retire_find_orphans(struct reloads *r);
void retire_tick(struct reloads *r);
void retire_give_back(struct reloads *r); /* to the pipeline, which stops */
void retire_free(struct reloads *r);
