/* net/loop.h: an event loop: descriptors, timers, and tasks from other threads. One thread runs it.
 *
 * A round: wait in epoll, run what is ready, expired timers, posted tasks, then the round hooks
 * (group commit, flushing) once. Functions are for the loop's own thread unless said otherwise. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct loop;

struct loop_watch { /* caller's memory; zero it first */
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLET, EPOLLEXCLUSIVE ... */
    void (*fn)(struct loop_watch *w, uint32_t events);
    void *user;
};

struct loop_timer { /* caller's memory; zero it first. Intrusive: in a heap while it is set */
    int64_t due_ns; /* monotonic */
    void (*fn)(struct loop_timer *t);
    void *user;
    uint32_t heap_index; /* the loop's; 0: not set */
};

struct loop_task {          /* caller's memory, until fn is called */
    struct loop_task *next; /* the loop's */
    void (*fn)(struct loop_task *t);
    void *user;
};

struct loop_hook { /* caller's memory; called at the end of each round, in the order of adding */
    struct loop_hook *next;
    void (*fn)(struct loop_hook *h);
    void *user;
};

struct loop *loop_new(const struct clock *clock); /* NULL with errno */
void loop_free(struct loop *l);                   /* runs no more callbacks */
void loop_run(struct loop *l);                    /* until loop_stop */
/* One round. wait_ns < 0: waits until something happens; 0: polls. Returns false once stopped. */
bool loop_round(struct loop *l, int64_t wait_ns);
void loop_stop(struct loop *l); /* any thread, and signal handlers */
bool loop_is_own_thread(const struct loop *l);
struct loop *loop_current(void); /* the loop that this thread is running, or NULL */
/* How many descriptors were ready in this round: with some there are likely more to come. */
unsigned loop_dispatched(const struct loop *l);
int64_t loop_now(const struct loop *l); /* monotonic, of this round: no system call */
/* How long the round has lasted: with this on top a timer never fires before its time counted from now. */
int64_t loop_lag(const struct loop *l);
const struct clock *loop_clock(const struct loop *l);

int loop_add(struct loop *l, struct loop_watch *w); /* 0 or -errno */
int loop_change(struct loop *l, struct loop_watch *w, uint32_t events);
void loop_remove(struct loop *l, struct loop_watch *w); /* also in its own callback, or another's */

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t after_ns); /* moves it if set */
void loop_timer_cancel(struct loop *l, struct loop_timer *t);
static inline bool loop_timer_is_set(const struct loop_timer *t)
{
    return t->heap_index != 0;
}

/* Any thread: fn runs on the loop's thread, tasks of one poster in order. A task posted from the
 * loop's own thread runs in this round or the next. */
void loop_post(struct loop *l, struct loop_task *t);
void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_remove(struct loop *l, struct loop_hook *h);
