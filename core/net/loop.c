/* net/loop.c: one thread's event loop on epoll, with a heap of timers and a list of posted tasks. */
#include "net/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

enum { EVENTS_A_ROUND = 256, NS_PER_MS = 1000000 };

struct loop {
    const struct clock *clock;
    int64_t now_ns;
    int epoll_fd, wake_fd;

    struct epoll_event events[EVENTS_A_ROUND];
    int event_count, event_next; /* what is still to be dispatched in this round */
    unsigned dispatched;         /* in this round */

    struct loop_timer **heap; /* the root is at 1, so that index 0 can mean "not set" */
    size_t heap_count, heap_cap;

    struct loop_hook *hooks, *hook_next;

    _Atomic(struct loop_task *) posted; /* last one first */
    atomic_bool is_asleep;              /* a poster has to wake it */
    atomic_bool is_stopped;
    bool stop_was_told;
    _Atomic(const char *) owner; /* an address that only the thread running it has */
};

static _Thread_local struct loop *running;
static _Thread_local char thread_mark;

struct loop *loop_new(const struct clock *clock)
{
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET};
    struct loop *l = MEM_NEW(struct loop);
    l->clock = clock;
    l->now_ns = clock_mono(clock);
    l->owner = &thread_mark;
    l->wake_fd = -1;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd >= 0)
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Edge-triggered, so that the counter never has to be read: each write is an edge. */
    if (l->wake_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &wake) < 0) {
        int reason = errno;
        loop_free(l);
        errno = reason;
        return NULL;
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->wake_fd >= 0)
        (void)close(l->wake_fd);
    if (l->epoll_fd >= 0)
        (void)close(l->epoll_fd);
    mem_free(l->heap);
    mem_free(l);
}

bool loop_is_own_thread(const struct loop *l)
{
    return atomic_load_explicit(&l->owner, memory_order_relaxed) == &thread_mark;
}

struct loop *loop_current(void)
{
    return running;
}

int64_t loop_now(const struct loop *l)
{
    return l->now_ns;
}

int64_t loop_lag(const struct loop *l)
{
    return running == l ? clock_mono(l->clock) - l->now_ns : 0;
}

const struct clock *loop_clock(const struct loop *l)
{
    return l->clock;
}

/* ---- descriptors ---- */

static int control(struct loop *l, int what, struct loop_watch *w)
{
    struct epoll_event event = {.events = w->events, .data.ptr = w};
    return epoll_ctl(l->epoll_fd, what, w->fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_watch *w)
{
    return control(l, EPOLL_CTL_ADD, w);
}

int loop_change(struct loop *l, struct loop_watch *w, uint32_t events)
{
    w->events = events;
    return control(l, EPOLL_CTL_MOD, w);
}

void loop_remove(struct loop *l, struct loop_watch *w)
{
    (void)control(l, EPOLL_CTL_DEL, w);
    for (int i = l->event_next; i < l->event_count; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
}

/* ---- timers ---- */

static void place(struct loop *l, size_t at, struct loop_timer *t)
{
    l->heap[at] = t;
    t->heap_index = (uint32_t)at;
}

static void sift_up(struct loop *l, size_t at, struct loop_timer *t)
{
    for (; at > 1 && l->heap[at / 2]->due_ns > t->due_ns; at /= 2)
        place(l, at, l->heap[at / 2]);
    place(l, at, t);
}

static void sift_down(struct loop *l, size_t at, struct loop_timer *t)
{
    for (size_t child; (child = 2 * at) <= l->heap_count; at = child) {
        if (child < l->heap_count && l->heap[child + 1]->due_ns < l->heap[child]->due_ns)
            child++;
        if (l->heap[child]->due_ns >= t->due_ns)
            break;
        place(l, at, l->heap[child]);
    }
    place(l, at, t);
}

static void sift(struct loop *l, size_t at, struct loop_timer *t)
{
    if (at > 1 && l->heap[at / 2]->due_ns > t->due_ns)
        sift_up(l, at, t);
    else
        sift_down(l, at, t);
}

/* Between rounds the time of the last one may be long past. */
static int64_t fresh_now(const struct loop *l)
{
    return running == l ? l->now_ns : clock_mono(l->clock);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t after_ns)
{
    int64_t now = fresh_now(l);
    if (after_ns < 0)
        after_ns = 0;
    t->due_ns = after_ns > INT64_MAX - now ? INT64_MAX : now + after_ns;
    if (!t->heap_index) {
        if (l->heap_count + 2 > l->heap_cap) {
            l->heap_cap = l->heap_cap ? 2 * l->heap_cap : 64;
            l->heap = mem_grow(l->heap, l->heap_cap * sizeof(struct loop_timer *));
        }
        place(l, ++l->heap_count, t);
    }
    sift(l, t->heap_index, t);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    size_t at = t->heap_index;
    if (!at)
        return;
    t->heap_index = 0;
    struct loop_timer *last = l->heap[l->heap_count--];
    if (last != t)
        sift(l, at, last);
}

/* Bounded, since a timer that is set to "now" again is due in the next round. */
static void run_timers(struct loop *l)
{
    for (size_t left = l->heap_count; left > 0 && l->heap_count > 0; left--) {
        struct loop_timer *t = l->heap[1];
        if (t->due_ns > l->now_ns)
            break;
        loop_timer_cancel(l, t);
        t->fn(t);
    }
}

/* ---- tasks ---- */

static void wake(struct loop *l)
{
    static const uint64_t one = 1;
    int reason = errno; /* signal handlers come here */
    ssize_t n = write(l->wake_fd, &one, sizeof one);
    (void)n; /* a full counter has woken it already */
    errno = reason;
}

void loop_post(struct loop *l, struct loop_task *t)
{
    struct loop_task *head = atomic_load_explicit(&l->posted, memory_order_relaxed);
    do
        t->next = head;
    while (!atomic_compare_exchange_weak(&l->posted, &head, t));
    if (atomic_load(&l->is_asleep) && atomic_exchange(&l->is_asleep, false))
        wake(l);
}

static void run_tasks(struct loop *l)
{
    if (!atomic_load_explicit(&l->posted, memory_order_relaxed))
        return;
    struct loop_task *t = atomic_exchange(&l->posted, NULL), *first = NULL;
    while (t) {
        struct loop_task *next = t->next;
        t->next = first;
        first = t;
        t = next;
    }
    while (first) {
        t = first;
        first = t->next;
        t->fn(t);
    }
}

/* ---- hooks ---- */

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    struct loop_hook **at = &l->hooks;
    while (*at)
        at = &(*at)->next;
    h->next = NULL;
    *at = h;
}

void loop_hook_remove(struct loop *l, struct loop_hook *h)
{
    struct loop_hook **at = &l->hooks;
    while (*at && *at != h)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = h->next;
    if (l->hook_next == h)
        l->hook_next = h->next;
}

static void run_hooks(struct loop *l)
{
    l->hook_next = l->hooks;
    while (l->hook_next) {
        struct loop_hook *h = l->hook_next;
        l->hook_next = h->next;
        h->fn(h);
    }
}

/* ---- rounds ---- */

static int wait_ms(struct loop *l, int64_t wait_ns)
{
    if (wait_ns != 0 && l->heap_count) {
        int64_t left = l->heap[1]->due_ns - clock_mono(l->clock);
        if (left < 0)
            left = 0;
        if (wait_ns < 0 || left < wait_ns)
            wait_ns = left;
    }
    if (wait_ns < 0)
        return -1;
    int64_t ms = wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0);
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static void wait_for_events(struct loop *l, int64_t wait_ns)
{
    int ms = wait_ms(l, wait_ns);
    if (ms != 0) {
        atomic_store(&l->is_asleep, true);
        bool has_news = atomic_load(&l->posted) != NULL;
        if (has_news || (atomic_load(&l->is_stopped) && !l->stop_was_told))
            ms = 0;
    }
    int n = epoll_wait(l->epoll_fd, l->events, EVENTS_A_ROUND, ms);
    atomic_store_explicit(&l->is_asleep, false, memory_order_relaxed);
    l->event_count = n < 0 ? 0 : n;
    l->event_next = 0;
    l->now_ns = clock_mono(l->clock);
}

static void dispatch(struct loop *l)
{
    l->dispatched = 0;
    while (l->event_next < l->event_count) {
        struct epoll_event *e = &l->events[l->event_next++];
        struct loop_watch *w = e->data.ptr;
        if (!w)
            continue;
        l->dispatched++;
        w->fn(w, e->events);
    }
    l->event_count = 0;
}

bool loop_round(struct loop *l, int64_t wait_ns)
{
    struct loop *outer = running;
    running = l;
    atomic_store_explicit(&l->owner, &thread_mark, memory_order_relaxed);
    wait_for_events(l, wait_ns);
    dispatch(l);
    run_timers(l);
    run_tasks(l);
    run_hooks(l);
    running = outer;
    l->stop_was_told = atomic_load(&l->is_stopped);
    return !l->stop_was_told;
}

void loop_run(struct loop *l)
{
    while (loop_round(l, -1))
        continue;
}

unsigned loop_dispatched(const struct loop *l)
{
    return l->dispatched;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->is_stopped, true);
    wake(l);
}
