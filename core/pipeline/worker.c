/* pipeline/worker.c: a thread with a loop, and what its rounds gather. */
#include "pipeline/worker.h"

#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"

/* Lines of the trace leave together: a system call each round would cost more than all of them. */
enum { TRACE_BYTES = 32 << 10, TRACE_WAIT_NS = 20 * 1000 * 1000 };

static _Thread_local struct worker *current;
static _Thread_local struct worker *own; /* whose thread this is */

struct worker *worker_current(void)
{
    return current;
}

void worker_enter(struct worker *w)
{
    current = w;
}

/* ---- pauses ---- */

static void wait_paused(struct worker *w, bool is_parked)
{
    struct pause *p = &w->pipeline->pause;
    (void)pthread_mutex_lock(&p->lock);
    w->is_paused = true;
    w->is_parked = is_parked;
    (void)pthread_cond_broadcast(&p->changed);
    while (atomic_load(&p->is_on))
        (void)pthread_cond_wait(&p->changed, &p->lock);
    w->is_paused = w->is_parked = false;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

static void on_pause(struct loop_task *t)
{
    struct worker *w = t->user;
    atomic_store(&w->is_pause_posted, false);
    if (atomic_load(&w->pipeline->pause.is_on))
        wait_paused(w, true);
}

void worker_plugin_enter(struct worker *w)
{
    if (w == own && w->plugin_depth++ == 0)
        atomic_store(&w->in_plugin, true);
}

void worker_plugin_leave(struct worker *w)
{
    if (w != own || --w->plugin_depth)
        return;
    atomic_store(&w->in_plugin, false);
    if (atomic_load(&w->pipeline->pause.is_on) && !atomic_load(&w->is_to_park))
        wait_paused(w, false);
}

unsigned worker_plugin_suspend(struct worker *w)
{
    unsigned depth = w == own ? w->plugin_depth : 0;
    if (depth) {
        w->plugin_depth = 1;
        worker_plugin_leave(w);
    }
    return depth;
}

void worker_plugin_resume(struct worker *w, unsigned depth)
{
    if (!depth)
        return;
    worker_plugin_enter(w);
    w->plugin_depth = depth;
}

static bool is_still(const struct worker *w)
{
    if (!w->has_thread || w->is_parked)
        return true;
    return !atomic_load(&w->is_to_park) && (w->is_paused || atomic_load(&w->in_plugin));
}

/* Under the lock: until all of them are still, or, after a pause, until all have gone on. */
static bool wait_for(struct pipeline *p, size_t from, size_t to, bool has_gone_on, int64_t until_ns)
{
    for (size_t i = from; i < to;) {
        struct worker *w = p->workers[i];
        if (has_gone_on ? !w->is_paused : is_still(w)) {
            i++;
            continue;
        }
        int64_t now = clock_mono(&clock_real);
        if (now >= until_ns)
            return false;
        int64_t next = clock_wall(&clock_real) + 1000000; /* in_plugin is not told */
        const struct timespec at = {next / 1000000000, next % 1000000000};
        (void)pthread_cond_timedwait(&p->pause.changed, &p->pause.lock, &at);
    }
    return true;
}

static void post_pause(struct pipeline *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (p->workers[i]->has_thread && !atomic_exchange(&p->workers[i]->is_pause_posted, true))
            loop_post(p->workers[i]->loop, &p->workers[i]->pause);
}

/* Threads that may be slow first: the others carry the traffic, and wait for nobody. */
bool worker_pause_all(struct pipeline *p, int64_t timeout_ns)
{
    int64_t until_ns = clock_mono(&clock_real) + timeout_ns;
    (void)pthread_mutex_lock(&p->pause.lock);
    bool ok = wait_for(p, 0, p->worker_total, true, until_ns);
    if (ok) {
        atomic_store(&p->pause.is_on, true);
        post_pause(p, p->worker_count, p->worker_total);
        ok = wait_for(p, p->worker_count, p->worker_total, false, until_ns);
    }
    if (ok) {
        post_pause(p, 0, p->worker_count);
        ok = wait_for(p, 0, p->worker_count, false, until_ns);
    }
    (void)pthread_mutex_unlock(&p->pause.lock);
    if (!ok)
        worker_resume_all(p);
    return ok;
}

void worker_resume_all(struct pipeline *p)
{
    (void)pthread_mutex_lock(&p->pause.lock);
    atomic_store(&p->pause.is_on, false);
    (void)pthread_cond_broadcast(&p->pause.changed);
    (void)pthread_mutex_unlock(&p->pause.lock);
}

static void on_again(struct loop_task *t)
{
    struct worker *w = t->user;
    w->is_again_posted = false;
}

void worker_again(struct worker *w)
{
    if (w->is_again_posted)
        return;
    w->is_again_posted = true;
    loop_post(w->loop, &w->again);
}

static void on_trace_timer(struct loop_timer *t)
{
    struct worker *w = t->user;
    trace_flush(w->pipeline->trace, &w->trace);
}

static void on_round(struct loop_hook *h)
{
    worker_round(h->user);
}

struct worker *worker_new(struct pipeline *p, size_t index, const char *name, struct error *e)
{
    struct worker *w = MEM_NEW(struct worker);
    w->pipeline = p;
    w->index = index;
    w->name = name;
    w->loop = loop_new(p->clock);
    if (!w->loop) {
        mem_free(w);
        (void)error_set(e, EXIT_IO, "a worker's event loop cannot be made: too many open files?");
        return NULL;
    }
    w->lanes_due_end = &w->lanes_due;
    w->settled_end = &w->settled;
    w->again.fn = on_again;
    w->again.user = w;
    w->pause.fn = on_pause;
    w->pause.user = w;
    w->trace_timer.fn = on_trace_timer;
    w->trace_timer.user = w;
    w->hook.fn = on_round;
    w->hook.user = w;
    loop_hook_add(w->loop, &w->hook);
    return w;
}

void worker_trim(struct worker *w)
{
    while (w->free_batches) {
        struct batch *next = w->free_batches->next;
        batch_delete(w->free_batches);
        w->free_batches = next;
    }
    while (w->free_tickets) {
        struct ticket *next = w->free_tickets->next;
        ticket_delete(w->free_tickets, &w->pipeline->budget);
        w->free_tickets = next;
    }
    w->free_batch_count = w->free_batch_places = w->free_ticket_count = 0;
    block_pool_trim(&w->blocks);
    commit_trim(w);
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    struct worker *before = current;
    current = w;
    loop_timer_cancel(w->loop, &w->trace_timer);
    trace_flush(w->pipeline->trace, &w->trace);
    http_client_free(w->http);
    loop_free(w->loop);
    worker_trim(w);
    mem_free(w->to_wake);
    mem_free(w->departures);
    mem_free(w->keys);
    mem_free(w->by_port);
    mem_free(w->ports_used);
    buf_fini(&w->trace);
    buf_fini(&w->text);
    current = before == w ? NULL : before;
    mem_free(w);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    current = own = w;
    loop_run(w->loop);
    current = NULL;
    return NULL;
}

int worker_start(struct worker *w, struct error *e)
{
    sigset_t all, before;
    pthread_attr_t attr;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, 1 << 20);
    int failed = pthread_create(&w->thread, &attr, worker_main, w);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return error_sys(e, failed, "a worker's thread");
    w->has_thread = true;
    return 0;
}

void worker_join(struct worker *w)
{
    if (!w->has_thread)
        return;
    (void)pthread_join(w->thread, NULL);
    w->has_thread = false;
}

void worker_due(struct lane *l)
{
    struct worker *w = l->worker;
    if (l->is_due)
        return;
    l->is_due = true;
    l->next_due = NULL;
    *w->lanes_due_end = l;
    w->lanes_due_end = &l->next_due;
    worker_again(w);
}

static void run_due(struct worker *w)
{
    struct lane *l = w->lanes_due;
    w->lanes_due = NULL;
    w->lanes_due_end = &w->lanes_due;
    while (l) {
        struct lane *next = l->next_due;
        l->is_due = false;
        lane_run(l);
        l = next;
    }
}

struct settle_task {
    struct loop_task task; /* first */
    struct ticket *ticket;
};

static void settle_push(struct worker *w, struct ticket *t)
{
    t->next = NULL;
    *w->settled_end = t;
    w->settled_end = &t->next;
}

static void on_settle(struct loop_task *task)
{
    struct settle_task *s = task->user;
    settle_push(s->ticket->lane->worker, s->ticket);
    mem_free(s);
}

void worker_settle(struct ticket *t)
{
    struct worker *w = t->lane->worker;
    if (w == current) {
        settle_push(w, t);
        worker_again(w);
        return;
    }
    struct settle_task *s = MEM_NEW(struct settle_task);
    s->ticket = t;
    s->task.fn = on_settle;
    s->task.user = s;
    loop_post(w->loop, &s->task);
}

static void run_settled(struct worker *w)
{
    struct ticket *t = w->settled;
    w->settled = NULL;
    w->settled_end = &w->settled;
    while (t) {
        struct ticket *next = t->next;
        lane_settle(t->lane, t);
        t = next;
    }
}

static void run_gathered(struct worker *w)
{
    while (w->gathering) {
        struct lane *l = w->gathering;
        w->gathering = l->next_gathering;
        l->is_gathering = false;
        lane_flush(l);
    }
}

void worker_count(struct worker *w, int column, int64_t n)
{
    w->ledger[column] += n;
}

int64_t worker_now(struct worker *w)
{
    if (!w->now_wall_ns)
        w->now_wall_ns = clock_wall(w->pipeline->clock);
    return w->now_wall_ns;
}

enum { GATHER_ROUNDS = 4, SYNC_SHORT_NS = 250 * 1000 };

static void wake_inlets(struct worker *w)
{
    while (w->to_wake_count)
        inlet_wake(w->to_wake[--w->to_wake_count]);
}

/* A runner with one worker. Where a sync is short the worker waits for it and no other thread is woken;
 * where it is long the journal's thread waits, and the worker goes on. Requests that came while this
 * round's were worked on join the same group: one more look costs a system call, a sync a hundred. */
static void commit_or_gather(struct worker *w)
{
    if (loop_dispatched(w->loop) && w->gather_rounds++ < GATHER_ROUNDS) {
        worker_again(w);
        return;
    }
    w->gather_rounds = 0;
    atomic_store_explicit(&w->is_commit_due, false, memory_order_relaxed);
    if (journal_sync_ns(w->pipeline->journal) > SYNC_SHORT_NS) {
        journal_kick(w->pipeline->journal);
        return;
    }
    (void)journal_commit(w->pipeline->journal);
    run_settled(w);
    commit_submit(w);
}

/* In this order: what was born flows, what ended is told, who waits gets a turn, then one commit for
 * all of it. What the commit brings is told before the round ends, so that its answers leave now. */
void worker_round(struct worker *w)
{
    run_gathered(w);
    run_settled(w);
    run_due(w);
    commit_submit(w);
    inlet_gate_round(w);
    if (atomic_load_explicit(&w->is_commit_due, memory_order_acquire))
        commit_or_gather(w);
    wake_inlets(w);
    if (w->trace.len > TRACE_BYTES)
        trace_flush(w->pipeline->trace, &w->trace);
    else if (w->trace.len && !loop_timer_is_set(&w->trace_timer))
        loop_timer_set(w->loop, &w->trace_timer, TRACE_WAIT_NS);
    w->now_wall_ns = 0;
}
