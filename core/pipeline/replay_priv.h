/* pipeline/replay_priv.h: what the files of the replays share. */
#pragma once
#include "base/log.h"
#include "journal/archive.h"
#include "pipeline/bus.h"
#include "pipeline/replay.h"
#include "pipeline/slot.h"

enum replay_state {
    REPLAY_STARTING,
    REPLAY_RUNNING,
    REPLAY_COMPLETED,
    REPLAY_CANCELLED,
    REPLAY_FAILED,
    REPLAY_STATES,
};
extern const char *const replay_state_names[REPLAY_STATES];

struct replay_batch { /* what was given to the bus together, on its way */
    struct replay_batch *next;
    struct replay *replay;
    struct loop_task task;
    uint64_t until; /* the next record behind it */
    uint64_t missed;
    int64_t last_ns;
    _Atomic uint32_t open;
    uint32_t count;
    bool is_home; /* all of it has ended */
    struct slot slots[];
};

struct replay {
    struct replays *all;
    char *name, *archive, *bus, **rules; /* bus NULL: not known yet */
    size_t rule_count;
    char *where; /* NULL: all */
    int64_t from_ns, to_ns;
    double speed, rate_per_s;
    bool is_ordered;

    /* Under the lock; of one that is under way `next` and what follows are written on its worker. */
    enum replay_state state;
    char *reason;          /* why it failed */
    char waits_for[160];   /* while it is under way; empty: for nothing */
    uint64_t first, end;   /* records of the archive */
    uint64_t next;         /* all before it is done */
    uint64_t sent, missed; /* missed: had left the archive, or could not be read */
    int64_t asked_ns, started_ns, ended_ns,
        last_ns;     /* last: when the last one came into the archive */
    uint64_t record; /* its record's number */
    bool has_record, is_saving, is_dirty;
    bool is_forgotten; /* it is not listed any more */

    /* On its worker. */
    struct worker *home;
    struct loop_task task;
    struct loop_timer timer;
    _Atomic bool is_posted;
    bool is_over, is_rewinding;
    struct log_limit fail_limit;
    struct archive *from;
    struct reader *reader;
    uint64_t at; /* the next to be read */
    struct match_set *set;
    struct match_ctx *ctx;
    struct replay_batch *flying, **flying_end;
    size_t flying_count;
    _Atomic uint64_t open;                  /* events under way, of one that is not ordered */
    int64_t anchor_mono_ns, anchor_came_ns; /* speed */
    int64_t rate_due_ns;
    int64_t begun_mono_ns;
};

struct replays {
    struct pipeline *pipeline; /* NULL: it is stopped */
    struct journal *journal;
    struct stream *stream;
    pthread_mutex_t lock;
    struct replay **items; /* by the time when they were asked for */
    size_t count, cap;
    struct replay **forgotten; /* not listed any more */
    size_t forgotten_count, forgotten_cap;
    weir_metric *m_running, *m_events, *m_remaining, *m_ended[REPLAY_STATES];
};

static inline bool replay_is_active(const struct replay *r)
{
    return r->state == REPLAY_STARTING || r->state == REPLAY_RUNNING;
}
struct replay *replay_find(const struct replays *rs, weir_str name); /* under the lock */
void replay_free(struct replay *r);
/* Main thread or its worker: which bus, which rules. */
int replay_check(const struct replay_spec *s, struct error *e);
struct archive *replay_archive(const struct replays *rs, const char *name, struct error *e);
int replay_resolve(struct replay *r, struct error *e);
/* The records that are meant, exactly: first is end where there are none. */
void replay_find_range(struct archive *a, int64_t from_ns, int64_t to_ns,
                       struct archive_range *out);
void replay_end(struct replay *r, enum replay_state state, const char *reason); /* on its worker */

/* replay_run.c */
void replay_wake(struct replay *r); /* any thread: look whether there is something to do */
void replay_run_fini(struct replay *r);
void replay_set_name(struct event *ev, const char *name); /* which lives as long */

/* replay_record.c */
void replay_print(const struct replay *r, struct buf *out); /* under the lock */
bool replay_is_name(const char *name);
struct replay *replay_new(const struct replay_spec *s);
struct replay *replay_read(weir_str json);               /* NULL: it is no replay */
void replay_save(struct replay *r);                      /* not under the lock */
int replay_save_wait(struct replay *r, struct error *e); /* the same, and it is on disk */
