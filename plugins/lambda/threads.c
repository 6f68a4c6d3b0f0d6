/* lambda/threads.c: native functions on threads of their own, so that one that hangs holds up nobody.
 *
 * A thread cannot be stopped from outside. One whose call is over time is left to itself: its events
 * fail by the time-out, another thread takes its place, and should it come back it ends. While it is
 * in the host's code it holds its guard; when the host goes away, the guard is cut under the lock, and
 * who comes for it later stays there. So nothing of the host is touched after it has gone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lambda.h"

enum {
    TIMER_FIRST = 2,
    HUNG_MAX = 16, /* with so many of a function gone no thread is started for it */
    STACK_BYTES = 1 << 20
};

enum state {
    HAND_IDLE,
    HAND_CALLED,
    HAND_DONE,  /* its answer waits for the worker */
    HAND_LEFT,  /* its time was over; nobody waits for its answer */
    HAND_ENDING /* the thread ends, or has ended */
};

struct hand {           /* a thread; all of it under the guard's lock but for what is said */
    struct guard guard; /* first */
    pthread_cond_t wanted;
    pthread_t thread;
    struct hand *next; /* of those left; the worker's */
    const weir_host *h;
    atomic_llong *hung;
    struct native *native;  /* the thread's, but between calls */
    struct invocation work; /* the worker's */
    struct invocation call; /* the thread's */
    weir_payload *event;
    struct answer answer;
    enum state state;
};

struct threads { /* of one worker */
    const struct lambda *l;
    struct worker *w;
    struct hand **all; /* by place; NULL: none there */
    size_t count, capacity;
    struct hand *left;
};

/* ---- guards ---------------------------------------------------------------------------------- */

struct thread_text {
    struct thread_text *next;
    _Alignas(16) char bytes[];
};

/* The host has gone, or is going. */
_Noreturn static void stay(struct guard *g)
{
    (void)pthread_mutex_unlock(&g->lock);
    for (;;)
        (void)pause();
}

void guard_enter(struct guard *g)
{
    if (!g)
        return;
    (void)pthread_mutex_lock(&g->lock);
    if (g->is_cut)
        stay(g);
}

void guard_leave(struct guard *g)
{
    if (g)
        (void)pthread_mutex_unlock(&g->lock);
}

void *guard_text(struct guard *g, size_t n)
{
    struct thread_text *t = malloc(sizeof *t + n);
    if (!t)
        abort(); /* small, as all that the host promises without a way to fail */
    t->next = g->texts;
    g->texts = t;
    return t->bytes;
}

static void free_texts(struct guard *g)
{
    while (g->texts) {
        struct thread_text *next = g->texts->next;
        free(g->texts);
        g->texts = next;
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *hand_main(void *arg)
{
    struct hand *hand = arg;
    guard_enter(&hand->guard);
    for (;;) {
        while (hand->state == HAND_IDLE || hand->state == HAND_DONE)
            (void)pthread_cond_wait(&hand->wanted, &hand->guard.lock);
        if (hand->state == HAND_ENDING)
            break;
        weir_str event = {hand->event->ptr, hand->event->len};
        const weir_host *h = hand->h;
        guard_leave(&hand->guard);
        struct answer a = native_call(hand->native, h, &hand->call, event);
        guard_enter(&hand->guard);
        free_texts(&hand->guard);
        h->unref(h, hand->event);
        hand->event = NULL;
        hand->answer = a;
        if (hand->state == HAND_LEFT) { /* it came back after all */
            if (a.take)
                h->unref(h, a.take);
            (void)atomic_fetch_sub(hand->hung, 1);
            h->wake(h); /* to be reaped, and for what waits while too many hang */
            break;
        }
        hand->state = HAND_DONE;
        h->wake(h);
    }
    hand->state = HAND_ENDING;
    guard_leave(&hand->guard);
    return NULL;
}

static void hand_free(struct hand *take)
{
    if (take->native)
        native_free(take->native);
    (void)pthread_cond_destroy(&take->wanted);
    (void)pthread_mutex_destroy(&take->guard.lock);
    free(take);
}

/* NULL: no memory or no thread. */
static struct hand *hand_new(const struct lambda *l, const weir_host *h)
{
    struct hand *hand = calloc(1, sizeof *hand);
    pthread_attr_t attr;
    if (!hand)
        return NULL;
    (void)pthread_mutex_init(&hand->guard.lock, NULL);
    (void)pthread_cond_init(&hand->wanted, NULL);
    hand->h = h;
    hand->hung = l->hung;
    hand->native = native_new(l, h, &hand->guard);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    int why = hand->native ? pthread_create(&hand->thread, &attr, hand_main, hand) : ENOMEM;
    (void)pthread_attr_destroy(&attr);
    if (!why)
        return hand;
    h->fail(h, WEIR_E_RETRY, why, "a thread for function %s", l->function_name);
    hand_free(hand);
    return NULL;
}

static enum state state_of(struct hand *hand)
{
    (void)pthread_mutex_lock(&hand->guard.lock);
    enum state state = hand->state;
    (void)pthread_mutex_unlock(&hand->guard.lock);
    return state;
}

/* Several workers tell the same figure: the last to tell it has looked again. */
static void tell_hung(const struct threads *t, const weir_host *h)
{
    long long told;
    do {
        told = atomic_load(t->l->hung);
        h->observe(h, t->w->figures.hung, (double)told);
    } while (told != atomic_load(t->l->hung));
}

/* Threads that were left and came back. */
static void reap(struct threads *t, const weir_host *h)
{
    if (!t->left)
        return;
    tell_hung(t, h);
    for (struct hand **at = &t->left; *at;) {
        struct hand *hand = *at;
        if (state_of(hand) != HAND_ENDING) {
            at = &hand->next;
            continue;
        }
        *at = hand->next;
        (void)pthread_join(hand->thread, NULL);
        hand_free(hand);
    }
}

/* ---- work ------------------------------------------------------------------------------------ */

struct threads *threads_new(const struct lambda *l, const weir_host *h, struct worker *w)
{
    struct threads *t = h->keep(h, sizeof *t);
    *t = (struct threads){.l = l, .w = w, .capacity = (size_t)l->environments};
    t->all = h->keep(h, t->capacity * sizeof(struct hand *));
    return t;
}

/* A place for one more, or the capacity: the first is this worker's own, further ones are spare. */
static size_t find_place(struct threads *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!t->all[i])
            return i;
    if (t->count == t->capacity)
        return t->capacity;
    bool is_taken = atomic_fetch_sub(t->l->spare, 1) > 0;
    if (!is_taken)
        (void)atomic_fetch_add(t->l->spare, 1);
    if (!is_taken && t->count)
        return t->capacity;
    t->all[t->count] = NULL;
    return t->count++;
}

static bool is_idle(const struct hand *hand)
{
    return hand && !hand->work.job;
}

/* The place of a thread that can be called; the capacity: there is none. */
static size_t find_idle(struct threads *t, const weir_host *h)
{
    for (size_t i = 0; i < t->count; i++)
        if (is_idle(t->all[i]))
            return i;
    if (atomic_load(t->l->hung) >= HUNG_MAX)
        return t->capacity;
    size_t place = find_place(t);
    if (place == t->capacity)
        return place;
    t->all[place] = hand_new(t->l, h);
    return t->all[place] ? place : t->capacity;
}

static bool has_any(const struct threads *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->all[i])
            return true;
    return false;
}

static void invoke(struct threads *t, const weir_host *h, size_t place, struct job *job)
{
    struct hand *hand = t->all[place];
    struct answer failed;
    struct invocation v;
    invocation_begin(t->l, h, job, &v);
    weir_payload *event = invocation_payload(t->l, h, &v, &failed);
    if (!event) {
        jobs_settle(t->l, h, t->w, &v, &failed);
        return;
    }
    h->observe(h, t->w->figures.invocations, 1);
    h->timer(h, TIMER_FIRST + (uint32_t)place, t->l->timeout);
    (void)pthread_mutex_lock(&hand->guard.lock);
    hand->work = hand->call = v;
    hand->event = event;
    hand->state = HAND_CALLED;
    (void)pthread_cond_signal(&hand->wanted);
    (void)pthread_mutex_unlock(&hand->guard.lock);
}

/* No thread is there and none can be made. CONFIG keeps the events, and has the stage not ready. */
static void refuse_all(struct threads *t, const weir_host *h)
{
    char *why = h->scratch(h, 160);
    bool is_hung = atomic_load(t->l->hung) >= HUNG_MAX;
    (void)snprintf(why, 160,
                   "Sandbox.Hung: %d calls of the function have not come back: no more are made "
                   "until some do, or until the runner is started again",
                   HUNG_MAX);
    struct answer a = {.status = is_hung ? WEIR_E_CONFIG : WEIR_E_RETRY,
                       .why = is_hung ? why : "Runtime.StartError: no thread for it"};
    for (struct job *job = t->w->jobs.first; job; job = job->next)
        while (job->started < job->batch->count) {
            struct invocation v;
            invocation_begin(t->l, h, job, &v);
            jobs_settle(t->l, h, t->w, &v, &a);
        }
}

static void dispatch(struct threads *t, const weir_host *h)
{
    reap(t, h);
    for (struct job *job = t->w->jobs.first; job; job = job->next)
        while (job->started < job->batch->count) {
            size_t place = find_idle(t, h);
            if (place == t->capacity) {
                if (!has_any(t))
                    refuse_all(t, h);
                return;
            }
            invoke(t, h, place, job);
        }
}

static void conclude(struct threads *t, const weir_host *h, struct hand *hand,
                     const struct answer *take)
{
    struct invocation v = hand->work;
    hand->work.job = NULL;
    h->observe(h, t->w->figures.duration, (double)(h->now(h) - v.begun_ns) / 1e9);
    jobs_settle(t->l, h, t->w, &v, take);
}

/* True: it had an answer. */
static bool collect(struct threads *t, const weir_host *h, size_t place)
{
    struct hand *hand = t->all[place];
    (void)pthread_mutex_lock(&hand->guard.lock);
    bool is_done = hand->state == HAND_DONE;
    struct answer a = hand->answer;
    if (is_done)
        hand->state = HAND_IDLE;
    (void)pthread_mutex_unlock(&hand->guard.lock);
    if (!is_done)
        return false;
    h->timer(h, TIMER_FIRST + (uint32_t)place, (weir_duration){-1});
    conclude(t, h, hand, &a);
    return true;
}

static void leave_alone(struct threads *t, const weir_host *h, size_t place)
{
    struct hand *hand = t->all[place];
    (void)pthread_mutex_lock(&hand->guard.lock);
    bool is_late = hand->state == HAND_CALLED;
    if (is_late) {
        hand->state = HAND_LEFT;
        (void)atomic_fetch_add(hand->hung, 1);
    }
    (void)pthread_mutex_unlock(&hand->guard.lock);
    if (!is_late)
        return;
    t->all[place] = NULL;
    hand->next = t->left;
    t->left = hand;
    char *why = h->scratch(h, 128);
    (void)snprintf(why, 128, "Sandbox.Timedout: Task timed out after %.2f seconds",
                   (double)t->l->timeout.ns / 1e9);
    h->observe(h, t->w->figures.timeouts, 1);
    tell_hung(t, h);
    h->log(h, WEIR_WARN, "function %s: %s; its thread is left to itself: %lld of %d are",
           t->l->function_name, strchr(why, ' ') + 1, (long long)atomic_load(t->l->hung), HUNG_MAX);
    conclude(t, h, hand, &(struct answer){.status = WEIR_E_RETRY, .why = why});
}

void threads_tick(struct threads *t, const weir_host *h, uint32_t id)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->all[i] && t->all[i]->work.job && !collect(t, h, i) && id == TIMER_FIRST + i)
            leave_alone(t, h, i);
    dispatch(t, h);
}

weir_status threads_take(struct threads *t, const weir_host *h, const weir_batch *batch)
{
    jobs_push(&t->w->jobs, job_new(h, t->w, batch));
    dispatch(t, h);
    return WEIR_PENDING;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* False: it is still in a call, and may never come back. */
static bool end_one(struct hand *hand, const weir_host *h)
{
    (void)pthread_mutex_lock(&hand->guard.lock);
    bool is_free = hand->state != HAND_CALLED && hand->state != HAND_LEFT;
    if (hand->state == HAND_DONE && hand->answer.take)
        h->unref(h, hand->answer.take);
    if (is_free)
        hand->state = HAND_ENDING;
    (void)pthread_cond_signal(&hand->wanted);
    (void)pthread_mutex_unlock(&hand->guard.lock);
    if (!is_free)
        return false;
    (void)pthread_join(hand->thread, NULL);
    hand_free(hand);
    return true;
}

static void cut(struct hand *hand)
{
    (void)pthread_mutex_lock(&hand->guard.lock);
    hand->guard.is_cut = true;
    (void)pthread_mutex_unlock(&hand->guard.lock);
    (void)pthread_detach(hand->thread);
}

/* Waits half a second for calls under way. */
void threads_free(struct threads *t, const weir_host *h)
{
    enum { STEPS = 50 };
    static const struct timespec step = {.tv_nsec = 10000000};
    for (int i = 0; i <= STEPS; i++) {
        bool is_any = false;
        for (size_t k = 0; k < t->count; k++) {
            if (t->all[k] && end_one(t->all[k], h))
                t->all[k] = NULL;
            is_any |= t->all[k] != NULL;
        }
        if (!is_any)
            break;
        (void)nanosleep(&step, NULL);
    }
    reap(t, h);
    for (size_t k = 0; k < t->count; k++)
        if (t->all[k])
            cut(t->all[k]);
    for (struct hand *hand = t->left; hand; hand = hand->next)
        cut(hand);
    t->count = 0; /* a wake may still be on its way */
    t->left = NULL;
    jobs_free(h, t->w);
}
