/* pipeline/reload.c: another graph for a pipeline that runs: made beside the old one, then exchanged. */
#include "pipeline/reload.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/dead.h"
#include "pipeline/graph.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"
#include "pipeline/reload_priv.h"
#include "pipeline/services.h"
#include "json/json.h"

#define PAUSE_NS INT64_C(5000000000)

/* ---- generations ---- */

struct generation *generation_new(struct plan *plan, struct service_tables *services,
                                  void (*release)(void *user), void *user)
{
    struct generation *g = MEM_NEW(struct generation);
    *g = (struct generation){plan, services, 1, release, user};
    return g;
}

struct generation *generation_ref(struct generation *g)
{
    g->users++;
    return g;
}

void generation_unref(struct generation *g)
{
    if (!g || --g->users)
        return;
    if (g->release)
        g->release(g->user);
    mem_free(g);
}

/* ---- telling ---- */

static void tell_names(struct reloads *r, const char *what, size_t n, const struct buf *names)
{
    buf_print(&r->told, "%s\"%s\":[%.*s]", r->told.len ? "," : "", what, (int)names->len,
              names->ptr ? names->ptr : "");
    if (!n)
        return;
    buf_print(&r->told_text, "%zu %s (", n, what);
    const char *end = names->ptr + names->len;
    for (const char *c = names->ptr; c && c < end; c++)
        if (*c == ',')
            buf_add_text(&r->told_text, ", ");
        else if (*c != '"')
            buf_add_char(&r->told_text, *c);
    buf_add_text(&r->told_text, "), ");
}

static void add_name(struct buf *names, size_t *count, const char *name)
{
    if ((*count)++)
        buf_add_char(names, ',');
    json_quote(names, weir_text(name));
}

static bool is_in_plan(const struct reloads *r, const struct stage *s)
{
    for (size_t i = 0; i < r->next->plan->stage_count; i++)
        if (r->changes[i].before == s)
            return true;
    return false;
}

/* Before the graph is another. */
static void tell_changes(struct reloads *r)
{
    struct buf added = {0}, removed = {0}, changed = {0};
    const struct pipeline *p = r->pipeline;
    struct reload_counts *n = &r->counts;
    *n = (struct reload_counts){0};
    for (size_t i = 0; i < r->next->plan->stage_count; i++) {
        const struct change *c = &r->changes[i];
        if (c->kind == CHANGE_ADDED)
            add_name(&added, &n->added, c->plan->name);
        else if (c->kind != CHANGE_NONE)
            add_name(&changed, &n->changed, c->plan->name);
        else
            n->unchanged++;
    }
    for (size_t i = 0; i < p->stage_count; i++)
        if (!is_in_plan(r, p->stages[i]))
            add_name(&removed, &n->removed, p->stages[i]->name);
    r->told.len = r->told_text.len = 0;
    tell_names(r, "added", n->added, &added);
    tell_names(r, "removed", n->removed, &removed);
    tell_names(r, "changed", n->changed, &changed);
    buf_print(&r->told, ",\"unchanged\":%zu", n->unchanged);
    buf_print(&r->told_text, "%zu unchanged", n->unchanged);
    buf_fini(&added);
    buf_fini(&removed);
    buf_fini(&changed);
}

const struct reload_counts *reload_counts(const struct pipeline *p)
{
    return &p->reloads->counts;
}

void reload_print_changes(const struct pipeline *p, struct buf *json, struct buf *text)
{
    buf_add(json, p->reloads->told.ptr, p->reloads->told.len);
    buf_add(text, p->reloads->told_text.ptr, p->reloads->told_text.len);
}

/* ---- what has to come to rest first ---- */

/* A source that reads from a position, or receives: two of them would bring the same events. */
static bool is_exclusive(struct pipeline *p, const struct stage *s)
{
    return s->role == ROLE_SOURCE && !s->offer_count && !service_http_has_listener(p, s);
}

/* The thread of a blocking instance has to be between two callbacks when its heir comes. */
static bool changes_thread(const struct change *c)
{
    bool is_blocking = c->plan->component->flags & WEIR_BLOCKING;
    return c->before->thread || is_blocking;
}

static void hold_source(struct pipeline *p, struct stage *s, bool is_held)
{
    if (s->role != ROLE_SOURCE || !is_exclusive(p, s))
        return;
    for (size_t i = 0; i < s->lane_count; i++)
        atomic_store(&s->lanes[i]->is_held, is_held);
    if (s->thread)
        atomic_store(&s->thread->is_to_park, is_held);
}

static void hold_inlet(const struct change *c, bool is_held)
{
    struct stage *s = c->before;
    if (!s->inlet || !changes_thread(c))
        return;
    inlet_hold(s->inlet, is_held);
    if (!is_held)
        inlet_wake(s->inlet);
    if (s->thread)
        atomic_store(&s->thread->is_to_park, is_held);
}

static void hold(struct reloads *r, int what, bool is_held)
{
    for (size_t i = 0; i < r->next->plan->stage_count; i++) {
        const struct change *c = &r->changes[i];
        if (c->kind == CHANGE_INSTANCE && what == HOLD_SOURCES)
            hold_source(r->pipeline, c->before, is_held);
        else if (c->kind == CHANGE_INSTANCE)
            hold_inlet(c, is_held);
    }
}

/* After a good reload the old sources stay as they are: nobody asks them any more. */
static void let_go(struct reloads *r, bool with_sources)
{
    hold(r, HOLD_INLETS, false);
    if (with_sources)
        hold(r, HOLD_SOURCES, false);
    pipeline_begin(r->pipeline);
}

static bool is_settled(const struct stage *s)
{
    for (size_t k = 0; k < s->lane_count; k++)
        if (atomic_load(&s->lanes[k]->open))
            return false;
    return true;
}

static const struct stage *not_at_rest(const struct reloads *r)
{
    for (size_t i = 0; i < r->next->plan->stage_count; i++) {
        const struct change *c = &r->changes[i];
        const struct stage *s = c->before;
        if (c->kind != CHANGE_INSTANCE)
            continue;
        if (s->role == ROLE_SOURCE && is_exclusive(r->pipeline, s) && !is_settled(s))
            return s;
        if (r->held == HOLD_INLETS && s->inlet && changes_thread(c) && inlet_flying(s->inlet))
            return s;
    }
    return NULL;
}

/* ---- the new graph, while the world waits ---- */

static struct undo *keep_undo(struct reloads *r, struct stage *s)
{
    struct undo *u = &r->undo[r->undo_count++];
    *u = (struct undo){.stage = s,
                       .plan = s->plan,
                       .ports = s->ports,
                       .reach = s->reach,
                       .reach_count = s->reach_count,
                       .index = s->index,
                       .was_durable = s->inlet && inlet_is_durable(s->inlet)};
    return u;
}

static void reuse_stage(struct reloads *r, struct stage *s, const struct plan_stage *plan)
{
    struct pipeline *p = r->pipeline;
    (void)keep_undo(r, s);
    s->plan = plan;
    s->ports = mem_new(s->port_count * sizeof *s->ports);
    s->reach = NULL;
    s->reach_count = 0;
    s->index = p->stage_count;
    p->stages[p->stage_count++] = s;
}

static void begin_graph(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    const struct plan_settings *settings = &r->next->plan->settings;
    r->old_stages = p->stages;
    r->old_count = p->stage_count;
    r->old_order = p->order;
    r->old_plan = p->plan;
    r->old_env = p->env;
    r->old_generation = p->generation;
    r->old_dead = NULL;
    r->restarted = NULL;
    r->undo = mem_new((p->stage_count + 1) * sizeof *r->undo);
    r->undo_count = 0;
    for (size_t i = 0; i < p->stage_count; i++)
        p->stages[i]->is_outgoing = true;
    r->next->services->pipeline = p;
    p->plan = r->next->plan;
    p->generation = r->next;
    p->env = (struct match_env){settings->aws.account, settings->aws.region};
    p->stages = mem_new((p->plan->stage_count + 1) * sizeof(struct stage *));
    p->stage_count = 0;
    p->order = NULL;
}

static int make_stages(struct reloads *r, struct error *e)
{
    struct pipeline *p = r->pipeline;
    for (size_t i = 0; i < p->plan->stage_count; i++) {
        struct change *c = &r->changes[i];
        if (change_is_kept(c)) {
            c->before->is_outgoing = false;
            reuse_stage(r, c->before, c->plan);
            continue;
        }
        struct stage *s = graph_stage_new(p, c->plan, c->before, e);
        if (!s)
            return -1;
        if (c->before && c->before->inlet) {
            (void)keep_undo(r, c->before);
            s->inlet = inlet_ref(c->before->inlet);
        }
    }
    return 0;
}

/* Of a stage of the new graph, which stands in the plan's order. */
static struct change *change_of(const struct reloads *r, const struct stage *s)
{
    return &r->changes[s->index];
}

/* Sources that would bring the same twice come last: until then nothing was stopped. */
static int start_stages(struct reloads *r, bool is_last, struct error *e)
{
    struct pipeline *p = r->pipeline;
    for (size_t i = 0; i < p->stage_count; i++) {
        struct stage *s = p->order[i];
        const struct change *c = change_of(r, s);
        bool is_late = c->before && is_exclusive(p, c->before);
        if (change_is_kept(c) || is_late != is_last)
            continue;
        if (is_late) {
            pipeline_stage_stop(c->before);
            r->restarted = c->before;
        }
        if (pipeline_stage_start(s, e) < 0)
            return -1;
    }
    return 0;
}

static int build(struct reloads *r, struct error *e)
{
    struct pipeline *p = r->pipeline;
    begin_graph(r);
    if (make_stages(r, e) < 0 || graph_connect(p, e) < 0 || graph_order(p, e) < 0)
        return -1;
    struct dead_letters *dead = dead_letters_open(p, e);
    if (!dead)
        return -1;
    r->old_dead = p->dead;
    p->dead = dead;
    return start_stages(r, false, e) < 0 ? -1 : start_stages(r, true, e);
}

/* ---- nothing has changed ---- */

/* A source that had been stopped for its heir begins again, from what it has kept. */
static void restart(struct stage *s)
{
    struct error e = {0};
    memcpy(s->self, s->pristine, s->component->state_size);
    for (size_t i = 0; i < s->lane_count; i++)
        lane_reset(s->lanes[i]);
    if (pipeline_stage_start(s, &e) == 0)
        return;
    stage_set_ready(s, false, e.text);
    for (size_t i = 0; i < s->lane_count; i++)
        s->lanes[i]->is_over = true;
}

static void drop_stages(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    for (size_t i = p->stage_count; i-- > 0;) {
        struct stage *s = p->stages[i];
        const struct change *c = change_of(r, s);
        if (change_is_kept(c))
            continue;
        pipeline_stage_stop(s);
        if (s->thread && (!c->before || s->thread != c->before->thread))
            s->thread->is_spare = true;
        retire_add(r, s, !c->before, true);
    }
}

static void roll_back(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    service_http_switch(p, false);
    drop_stages(r);
    for (size_t i = 0; i < r->undo_count; i++) {
        struct undo *u = &r->undo[i];
        struct stage *s = u->stage;
        if (s->inlet)
            inlet_set_durable(s->inlet, u->was_durable);
        if (s->plan == u->plan) /* its heir was dropped */
            continue;
        graph_ports_free(p, s->ports, s->port_count);
        mem_free(s->reach);
        s->plan = u->plan;
        s->ports = u->ports;
        s->reach = u->reach;
        s->reach_count = u->reach_count;
        s->index = u->index;
    }
    mem_free(p->stages);
    mem_free(p->order);
    p->stages = r->old_stages;
    p->stage_count = r->old_count;
    p->order = r->old_order;
    p->plan = r->old_plan;
    p->env = r->old_env;
    p->generation = r->old_generation;
    if (r->old_dead) {
        dead_letters_free(p->dead);
        p->dead = r->old_dead;
    }
    for (size_t i = 0; i < p->stage_count; i++)
        p->stages[i]->is_outgoing = false;
    if (r->restarted)
        restart(r->restarted);
}

/* ---- everything changes ---- */

static struct lane *lane_at(const struct stage *s, const struct worker *w)
{
    for (size_t i = 0; i < s->lane_count; i++)
        if (s->lanes[i]->worker == w)
            return s->lanes[i];
    return s->lanes[0];
}

static void adopt_inlets(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    for (size_t i = 0; i < p->stage_count; i++) {
        struct stage *s = p->stages[i];
        if (!s->inlet || change_of(r, s)->kind == CHANGE_ADDED)
            continue;
        struct worker *w = inlet_worker(s->inlet);
        worker_enter(w);
        inlet_adopt(s->inlet, s, lane_at(s, w));
    }
    worker_enter(NULL);
}

static void retire_old(struct reloads *r)
{
    for (size_t i = 0; i < r->undo_count; i++) {
        const struct undo *u = &r->undo[i];
        if (u->stage->plan != u->plan)
            retire_ports(r, u->ports, u->stage->port_count, u->reach);
    }
    for (size_t i = 0; i < r->old_count; i++) {
        struct stage *s = r->old_stages[i];
        if (!s->is_outgoing)
            continue;
        for (size_t k = 0; k < s->lane_count; k++)
            atomic_store(&s->lanes[k]->is_held, true);
        retire_add(r, s, !is_in_plan(r, s), !s->is_started);
    }
}

static void count_sources(struct pipeline *p)
{
    size_t open = 0;
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; p->stages[i]->role == ROLE_SOURCE && k < p->stages[i]->lane_count; k++)
            open += !p->stages[i]->lanes[k]->is_ended;
    atomic_store(&p->sources_open, open);
}

static int start_threads(struct pipeline *p, struct error *e)
{
    for (size_t i = p->worker_count; i < p->worker_total; i++)
        if (!p->workers[i]->has_thread && !p->workers[i]->is_spare &&
            worker_start(p->workers[i], e) < 0)
            return -1;
    return 0;
}

static void commit(struct reloads *r)
{
    struct pipeline *p = r->pipeline;
    service_http_switch(p, true);
    service_queue_keep(p);
    adopt_inlets(r);
    retire_old(r);
    count_sources(p);
    mem_free(r->old_stages);
    mem_free(r->old_order);
    retire_find_orphans(r);
    dead_letters_free(r->old_dead);
    generation_unref(r->old_generation);
}

/* ---- the steps ---- */

static bool is_any_change(const struct reloads *r)
{
    const struct pipeline *p = r->pipeline;
    const struct plan *next = r->next->plan;
    bool is_any = next->stage_count != p->stage_count ||
                  next->settings.drain.ns != p->plan->settings.drain.ns;
    for (size_t i = 0; i < next->stage_count; i++)
        is_any |= r->changes[i].kind != CHANGE_NONE;
    return is_any;
}

int reload_begin(struct pipeline *p, struct plan *take, struct service_tables *services,
                 void (*release)(void *user), void *user, struct error *e)
{
    struct reloads *r = p->reloads;
    struct generation *next = generation_new(take, services, release, user);
    if (r->is_on || atomic_load(&p->is_draining)) {
        generation_unref(next);
        return error_set(e, EXIT_NOT_AVAILABLE,
                         r->is_on ? "another reload is under way" : "the runner is stopping");
    }
    if (!reload_diff_settings(p, take)) {
        (void)error_set(e, EXIT_CONFIG, "the pipeline file changes what needs a restart");
        generation_unref(next);
        return -1;
    }
    r->next = next;
    r->changes = reload_diff(p, take);
    r->is_on = true;
    r->held = HOLD_SOURCES;
    tell_changes(r);
    r->hold_until_ns = clock_mono(&clock_real) + p->plan->settings.drain.ns;
    if (is_any_change(r))
        hold(r, HOLD_SOURCES, true);
    return 0;
}

static int end(struct reloads *r, int result)
{
    let_go(r, result != RELOAD_DONE);
    for (size_t i = 0; i < r->pipeline->worker_total; i++)
        atomic_store(&r->pipeline->workers[i]->is_to_park, false);
    mem_free(r->changes);
    mem_free(r->undo);
    r->changes = NULL;
    r->undo = NULL;
    r->is_on = false;
    if (r->pipeline->generation != r->next)
        generation_unref(r->next);
    r->next = NULL;
    return result;
}

/* Of a stage that a reload before this one took out, and that has not finished yet. */
static const char *still_leaving(const struct reloads *r)
{
    for (const struct retiring *t = r->retiring; t; t = t->next)
        for (size_t i = 0; t->is_removed && i < r->next->plan->stage_count; i++)
            if (r->changes[i].kind == CHANGE_ADDED &&
                strcmp(r->changes[i].plan->name, t->stage->name) == 0)
                return t->stage->name;
    return NULL;
}

static int exchange(struct reloads *r, struct error *e)
{
    struct pipeline *p = r->pipeline;
    if (!worker_pause_all(p, PAUSE_NS)) {
        (void)error_set(e, EXIT_NOT_AVAILABLE,
                        "the workers do not come to rest: a stage blocks; try again");
        return end(r, RELOAD_REFUSED);
    }
    if (not_at_rest(r)) { /* it had been, before the last worker stopped */
        worker_resume_all(p);
        return RELOAD_WAITS;
    }
    int failed = build(r, e);
    worker_enter(NULL);
    if (!failed)
        failed = start_threads(p, e);
    if (failed)
        roll_back(r);
    else
        commit(r);
    worker_enter(NULL);
    int result = end(r, failed ? RELOAD_REFUSED : RELOAD_DONE);
    worker_resume_all(p);
    return result;
}

/* A source that was in the middle of a turn when it was held has brought more: it needs its sinks. */
static void step_back(struct reloads *r, const struct stage *waits)
{
    if (r->held != HOLD_INLETS || !waits || waits->role != ROLE_SOURCE)
        return;
    hold(r, HOLD_INLETS, false);
    r->held = HOLD_SOURCES;
}

int reload_step(struct pipeline *p, struct error *e)
{
    struct reloads *r = p->reloads;
    if (!is_any_change(r))
        return end(r, RELOAD_DONE);
    bool is_late = clock_mono(&clock_real) >= r->hold_until_ns;
    const struct stage *waits = not_at_rest(r);
    const char *leaving = still_leaving(r);
    if (!waits && !leaving && r->held == HOLD_SOURCES) {
        r->held = HOLD_INLETS; /* not before: sources may wait for what their sinks deliver */
        hold(r, HOLD_INLETS, true);
        waits = not_at_rest(r);
    }
    if (!waits && !leaving)
        return exchange(r, e);
    if (!is_late) {
        step_back(r, waits);
        return RELOAD_WAITS;
    }
    if (waits)
        (void)error_set(e, EXIT_NOT_AVAILABLE,
                        "%s has events under way that do not end: see its sinks, or restart",
                        waits->name);
    else
        (void)error_set(e, EXIT_NOT_AVAILABLE,
                        "%s of an earlier file has not finished yet: try again", leaving);
    return end(r, RELOAD_REFUSED);
}

bool reload_is_on(const struct pipeline *p)
{
    return p->reloads->is_on;
}

bool reload_is_retiring(const struct pipeline *p)
{
    return p->reloads->retiring || p->reloads->garbage;
}

struct reloads *reloads_new(struct pipeline *p)
{
    struct reloads *r = MEM_NEW(struct reloads);
    r->pipeline = p;
    (void)pthread_mutex_init(&r->lock, NULL);
    return r;
}

void reloads_open(struct reloads *r)
{
    retire_find_orphans(r);
}

void reloads_tick(struct reloads *r)
{
    retire_tick(r);
}

void reloads_give_back(struct reloads *r)
{
    if (r->is_on)
        (void)end(r, RELOAD_REFUSED);
    if (!r->retiring)
        return;
    bool is_paused = worker_pause_all(r->pipeline, PAUSE_NS / 5);
    retire_give_back(r);
    if (is_paused)
        worker_resume_all(r->pipeline);
}

void reloads_free(struct reloads *r)
{
    retire_free(r);
    buf_fini(&r->told);
    buf_fini(&r->told_text);
    mem_free(r->orphans);
    (void)pthread_mutex_destroy(&r->lock);
    mem_free(r);
}
