/* pipeline/lane.h: one instance of a component on one thread: its host table and what a callback of it
 * may touch. An instance has one lane; a parallel one has one a worker, which share the state. */
#pragma once
#include "base/mem.h"
#include "pipeline/batch.h"
#include "pipeline/stage.h"
#include "pipeline/worker.h"

struct lane_timer {
    struct loop_timer timer; /* first */
    struct lane_timer *next;
    struct lane *lane;
    uint32_t id;
};

struct lane_watch {
    struct loop_watch watch; /* first */
    struct lane_watch *next;
    struct lane *lane;
    bool is_dead;
};

struct lane_secret {
    struct lane_secret *next;
    struct buf text;
};

struct lane {
    weir_host host; /* first: what the plugin holds */
    struct stage *stage;
    struct worker *worker;
    struct arena keep, scratch;
    struct lane_timer *timers;
    struct lane_watch *watches;

    int depth;              /* callbacks on the stack */
    struct lane *before[8]; /* whose callback was interrupted */
    struct batch *in;       /* in hand */
    struct batch *out;      /* being filled */
    const struct event *ev; /* of `event`: the one that it is called for */
    bool is_short;          /* memory was refused in this callback */
    bool is_waiting;        /* a key was another event's, whose fate is open: RETRY is no attempt */
    char why[256];          /* the last words of fail() in this callback */

    size_t busy; /* what it has under way elsewhere: flights, requests, fetches */
    struct lane *next_due, *next_gathering;
    bool is_due, is_gathering, is_tick_due;
    bool is_started, is_worker_started, is_over; /* over: its instance was stopped */
    _Atomic bool is_wake_posted;
    struct loop_task wake_task;

    /* a source's */
    struct batch *gather;   /* born outside pull in this round */
    struct ticket *tickets; /* of what is gathered */
    struct loop_timer pause;
    bool is_pulling, is_ended;
    _Atomic bool is_held; /* it is asked for no more: another will take its place, or none */
    _Atomic int64_t open; /* events that are not settled */

    struct batch *kept;      /* a transform's */
    struct batch *abandoned; /* kept ones at the stop; freed with the lane */
    weir_payload **held;     /* payloads that live until the callback returns */
    size_t held_count, held_cap;
};

static inline struct lane *lane_of(const weir_host *h)
{
    union {
        const weir_host *in;
        struct lane *out;
    } same = {h};
    return same.out;
}

struct lane *lane_new(struct stage *s, struct worker *w);
void lane_free(struct lane *l);
void lane_enter(struct lane *l, struct batch *in, struct batch *out);
void lane_leave(struct lane *l);
void lane_reset(struct lane *l); /* stopped: as it was when it was made */
struct budget *lane_budget(
    const struct lane *l);        /* of its pipeline; of a command: one of its own */
void lane_forget(struct lane *l); /* timers and watches */
struct lane *lane_current(void);  /* whose callback this thread is in, or NULL */
void lane_timer_fired(struct lane *l, uint32_t id);

/* Callbacks of sources. */
void lane_run(struct lane *l); /* what is due: pull, tick */
void lane_settle(struct lane *l, struct ticket *t);
/* `out` was filled by a callback outside of pull: its events start with the round's end. */
struct batch *lane_birth_begin(struct lane *l);
void lane_birth_end(struct lane *l, struct batch *out, weir_status s);
void lane_flush(struct lane *l);   /* starts what was gathered */
bool lane_may_run(struct lane *l); /* is there room for more of this source? */

extern const weir_host host_table; /* the functions; copied into each lane */
