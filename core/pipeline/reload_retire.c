/* pipeline/reload_retire.c: old instances finish what they have in hand, then stop; what nothing refers
 * to any more is freed. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/graph.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"
#include "pipeline/reload_priv.h"

void retire_add(struct reloads *r, struct stage *s, bool is_removed, bool is_stopped)
{
    struct retiring *t = MEM_NEW(struct retiring), **end = &r->retiring;
    t->stage = s;
    t->is_removed = is_removed && s->inlet;
    t->is_told = t->is_removed && !is_stopped;
    t->state = is_stopped ? RETIRE_STOPPED : RETIRE_LEAVING;
    t->until_ns = clock_mono(&clock_real) + r->pipeline->plan->settings.drain.ns;
    t->tasks = mem_new((s->lane_count + 1) * sizeof *t->tasks);
    if (t->is_removed && !is_stopped)
        inlet_release(s->inlet);
    (void)pthread_mutex_lock(&r->lock);
    while (*end)
        end = &(*end)->next;
    *end = t;
    (void)pthread_mutex_unlock(&r->lock);
}

void retire_ports(struct reloads *r, struct port *ports, size_t count, struct stage **reach)
{
    struct garbage *g = MEM_NEW(struct garbage);
    *g = (struct garbage){r->garbage, ports, reach, count, false};
    r->garbage = g;
}

/* ---- the flush ---- */

static void on_flushed(struct loop_task *task)
{
    struct flush_task *t = task->user;
    commit_submit(worker_current());
    atomic_fetch_sub(&t->reloads->flush_open, 1);
}

static void on_synced(void *user, weir_status status, const struct journal_unit *u)
{
    struct reloads *r = user;
    atomic_fetch_sub(&r->flush_open, 1);
}

static void flush_workers(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    atomic_store(&r->flush_open, r->flush_count);
    for (size_t i = 0; i < r->flush_count; i++) {
        struct flush_task *t = &r->flush[i];
        *t = (struct flush_task){{NULL, on_flushed, t}, r};
        if (p->workers[i]->has_thread)
            loop_post(p->workers[i]->loop, &t->task);
        else
            atomic_fetch_sub(&r->flush_open, 1);
    }
}

/* A worker that comes later knows nothing of what was before it. */
static void flush_begin(struct reloads *r)
{
    r->flush_count = r->pipeline->worker_total;
    r->flush = mem_new(r->flush_count * sizeof *r->flush);
    r->flush_phase = 1;
    flush_workers(r);
}

/* True: it is over now. */
static bool flush_step(struct reloads *r)
{
    if (atomic_load(&r->flush_open))
        return false;
    switch (r->flush_phase++) {
    case 1:
        atomic_store(&r->flush_open, 1);
        journal_submit(journal_begin(r->pipeline->journal), JOURNAL_SYNCED, on_synced, r);
        return false;
    case 2:
        flush_workers(r);
        return false;
    default:
        mem_free(r->flush);
        r->flush = NULL;
        r->flush_phase = 0;
        return true;
    }
}

/* ---- one instance ---- */

static void post_to_lanes(struct retiring *t, void (*fn)(struct loop_task *task))
{
    struct stage *s = t->stage;
    atomic_store(&t->is_busy, false);
    atomic_store(&t->open, s->lane_count);
    for (size_t i = 0; i < s->lane_count; i++) {
        struct retire_task *task = &t->tasks[i];
        *task = (struct retire_task){{NULL, fn, task}, t, s->lanes[i]};
        loop_post(s->lanes[i]->worker->loop, &task->task);
    }
}

static bool is_lane_idle(const struct lane *l)
{
    return !l->busy && !l->kept && !l->is_gathering && !l->depth && !atomic_load(&l->open);
}

static bool is_inlet_done(struct retiring *t, const struct lane *l)
{
    struct inlet *in = t->stage->inlet;
    if (!t->is_removed || inlet_worker(in) != l->worker)
        return true;
    inlet_let_go(in);
    if (clock_mono(&clock_real) >= t->until_ns)
        inlet_abandon(in);
    return inlet_is_quiet(in);
}

static void on_probe(struct loop_task *task)
{
    struct retire_task *t = task->user;
    struct lane *l = t->lane;
    bool is_done = service_http_lane_drain(l);
    if (l->stage->role == ROLE_TRANSFORM)
        pipeline_lane_drain(l);
    is_done &= is_inlet_done(t->retiring, l);
    if (!is_done || !is_lane_idle(l))
        atomic_store(&t->retiring->is_busy, true);
    atomic_fetch_sub(&t->retiring->open, 1);
}

static void on_lane_stop(struct loop_task *task)
{
    struct retire_task *t = task->user;
    service_http_lane_stop(t->lane);
    pipeline_lane_stop(t->lane);
    if (t->retiring->is_removed && inlet_worker(t->lane->stage->inlet) == t->lane->worker)
        inlet_end(t->lane->stage->inlet);
    atomic_fetch_sub(&t->retiring->open, 1);
}

static void on_instance_stop(struct loop_task *task)
{
    struct retire_task *t = task->user;
    pipeline_instance_stop(t->lane->stage);
    atomic_fetch_sub(&t->retiring->open, 1);
}

static bool refers_to(const struct stage *s, const struct stage *to)
{
    for (size_t i = 0; i < s->port_count; i++)
        for (size_t k = 0; k < s->ports[i].count; k++)
            if (s->ports[i].edges[k].to == to)
                return true;
    for (size_t i = 0; i < s->reach_count; i++)
        if (s->reach[i] == to)
            return true;
    return false;
}

/* Old instances before it may still have something for it. */
static bool has_feeders(const struct reloads *r, const struct stage *s)
{
    for (const struct retiring *t = r->retiring; t; t = t->next)
        if (t->stage != s && refers_to(t->stage, s))
            return true;
    return false;
}

static void step(struct reloads *r, struct retiring *t)
{
    if (atomic_load(&t->open))
        return;
    if (t->state == RETIRE_WORKING && t->is_probed && !atomic_load(&t->is_busy)) {
        t->state = RETIRE_STOPPING;
        post_to_lanes(t, on_lane_stop);
    } else if (t->state == RETIRE_WORKING) {
        t->is_probed = !has_feeders(r, t->stage);
        post_to_lanes(t, on_probe);
    } else if (t->state == RETIRE_STOPPING && t->stage->is_started) {
        struct retire_task *task = &t->tasks[t->stage->lane_count];
        *task = (struct retire_task){{NULL, on_instance_stop, task}, t, t->stage->lanes[0]};
        atomic_store(&t->open, 1);
        loop_post(t->stage->lanes[0]->worker->loop, &task->task);
    } else if (t->state == RETIRE_STOPPING) {
        t->state = RETIRE_STOPPED;
    }
}

/* ---- all of them ---- */

static bool is_thread_used(const struct pipeline *p, const struct worker *w)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->thread == w)
            return true;
    for (const struct retiring *t = p->reloads->retiring; t; t = t->next)
        if (t->stage->thread == w)
            return true;
    return false;
}

/* The link to it was cut before. */
static bool is_name_used(const struct reloads *r, const char *name)
{
    const struct pipeline *p = r->pipeline;
    for (size_t i = 0; i < p->stage_count; i++)
        if (strcmp(p->stages[i]->name, name) == 0)
            return true;
    for (const struct retiring *t = r->retiring; t; t = t->next)
        if (strcmp(t->stage->name, name) == 0)
            return true;
    return false;
}

static void tell_left(const struct stage *s, const struct stream *stream)
{
    uint64_t n = stream_live(stream);
    if (n)
        log_write(WEIR_WARN, s->name,
                  "%llu events of the removed stage stay on disk: put it back to deliver them, or "
                  "drop them with `weir queue purge %s`",
                  (unsigned long long)n, s->name);
}

static void free_one(struct reloads *r, struct retiring *t)
{
    struct pipeline *p = r->pipeline;
    struct worker *thread = t->stage->thread;
    if (t->is_told)
        tell_left(t->stage, inlet_stream(t->stage->inlet));
    char *name = mem_text(t->stage->name);
    graph_stage_free(p, t->stage);
    if (!is_name_used(r, name))
        metrics_forget(p->metrics, name);
    mem_free(name);
    retire_find_orphans(r);
    mem_free(t->tasks);
    mem_free(t);
    if (thread && !is_thread_used(p, thread))
        thread->is_spare = true;
}

static void after_flush(struct reloads *r)
{
    struct retiring **link = &r->retiring;
    while (*link) {
        struct retiring *t = *link;
        if (t->is_flushed && t->state == RETIRE_LEAVING)
            t->state = RETIRE_WORKING;
        if (!t->is_flushed || t->state != RETIRE_GONE) {
            link = &t->next;
            continue;
        }
        (void)pthread_mutex_lock(&r->lock);
        *link = t->next;
        (void)pthread_mutex_unlock(&r->lock);
        free_one(r, t);
    }
    struct garbage **at = &r->garbage;
    while (*at) {
        struct garbage *g = *at;
        if (!g->is_waiting) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        graph_ports_free(r->pipeline, g->ports, g->count);
        mem_free(g->reach);
        mem_free(g);
    }
}

/* Who waits for a flush is in the next one that begins. */
static void flush_if_due(struct reloads *r)
{
    bool is_due = false;
    for (struct retiring *t = r->retiring; t; t = t->next) {
        if (t->state == RETIRE_STOPPED)
            t->state = RETIRE_GONE;
        t->is_flushed = t->state == RETIRE_LEAVING || t->state == RETIRE_GONE;
        is_due |= t->is_flushed;
    }
    for (struct garbage *g = r->garbage; g; g = g->next)
        is_due |= g->is_waiting = true;
    if (is_due)
        flush_begin(r);
}

void retire_tick(struct reloads *r)
{
    if (!r->retiring && !r->garbage)
        return;
    if (r->flush_phase && flush_step(r))
        after_flush(r);
    for (struct retiring *t = r->retiring; t; t = t->next)
        step(r, t);
    if (!r->flush_phase)
        flush_if_due(r);
}

/* ---- streams without a stage ---- */

static bool has_stage(const struct reloads *r, const char *name)
{
    const struct pipeline *p = r->pipeline;
    for (size_t i = 0; i < p->stage_count; i++)
        if (strcmp(p->stages[i]->name, name) == 0)
            return true;
    for (const struct retiring *t = r->retiring; t; t = t->next)
        if (t->is_removed && strcmp(t->stage->name, name) == 0)
            return true;
    return false;
}

static void look_at(void *user, struct stream *s)
{
    struct reloads *r = user;
    const char *name = stream_name(s);
    if (strncmp(name, "in/", 3) == 0 && !has_stage(r, name + 3))
        MEM_PUSH(r->orphans, r->orphan_count, r->orphan_cap) = s;
}

void retire_find_orphans(struct reloads *r)
{
    (void)pthread_mutex_lock(&r->lock);
    r->orphan_count = 0;
    stream_each(r->pipeline->journal, look_at, r);
    (void)pthread_mutex_unlock(&r->lock);
}

int64_t reloads_in_flight(struct reloads *r)
{
    int64_t sum = 0;
    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->orphan_count; i++)
        sum += (int64_t)stream_live(r->orphans[i]);
    for (const struct retiring *t = r->retiring; t; t = t->next)
        if (t->is_removed)
            sum += inlet_waiting(t->stage->inlet);
    (void)pthread_mutex_unlock(&r->lock);
    return sum;
}

bool reloads_are_settled(const struct reloads *r)
{
    for (const struct retiring *t = r->retiring; t; t = t->next) {
        for (size_t i = 0; i < t->stage->lane_count; i++)
            if (atomic_load(&t->stage->lanes[i]->open))
                return false;
        if (t->is_removed && !inlet_is_idle(t->stage->inlet))
            return false;
    }
    return true;
}

bool reload_has_stage(const struct pipeline *p, const char *name)
{
    return has_stage(p->reloads, name);
}

/* ---- the runner stops ---- */

void retire_give_back(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    size_t count = p->stage_count;
    if (!r->retiring)
        return;
    for (const struct retiring *t = r->retiring; t; t = t->next)
        count++;
    p->stages = mem_grow(p->stages, (count + 1) * sizeof(struct stage *));
    p->order = mem_grow(p->order, (count + 1) * sizeof(struct stage *));
    for (const struct retiring *t = r->retiring; t; t = t->next) {
        p->stages[p->stage_count] = t->stage;
        p->order[p->stage_count++] = t->stage;
    }
}

void retire_free(struct reloads *r)
{
    while (r->retiring) {
        struct retiring *t = r->retiring;
        r->retiring = t->next;
        mem_free(t->tasks);
        mem_free(t);
    }
    while (r->garbage) {
        struct garbage *g = r->garbage;
        r->garbage = g->next;
        graph_ports_free(r->pipeline, g->ports, g->count);
        mem_free(g->reach);
        mem_free(g);
    }
    mem_free(r->flush);
}
