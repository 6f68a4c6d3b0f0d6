/* pipeline/pipeline.c: a plan made to run: open, start, drain, stop. */
#include "pipeline/pipeline.h"
#include "pipeline/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/commit.h"
#include "pipeline/dead.h"
#include "pipeline/graph.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"
#include "pipeline/ledger.h"
#include "pipeline/memory.h"
#include "pipeline/reload.h"
#include "pipeline/replay.h"
#include "pipeline/services.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"

static size_t cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : (size_t)n;
}

static int make_folder(const char *path, struct error *e)
{
    struct stat st;
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    if (errno == EEXIST)
        errno = ENOTDIR;
    return error_sys(e, errno, "data directory %s", path);
}

static int open_journal(struct pipeline *p, struct error *e)
{
    static const enum journal_durability levels[] = {
        [DURABILITY_FSYNC] = JOURNAL_FSYNC,
        [DURABILITY_INTERVAL] = JOURNAL_INTERVAL,
        [DURABILITY_OS] = JOURNAL_OS,
    };
    char *path = mem_format("%s/journal", p->plan->settings.data_dir);
    char *note = mem_format("admin %s", p->plan->settings.admin);
    const struct journal_options o = {
        .path = path,
        .bytes_max = p->plan->settings.journal_max.bytes,
        .durability = levels[p->plan->settings.durability],
        .sync_every_ns = p->plan->settings.sync_every.ns,
        .clock = p->clock,
        .kinds = journal_kinds,
        .lock_note = note,
    };
    p->journal = journal_open(&o, e);
    mem_free(path);
    mem_free(note);
    return p->journal ? 0 : -1;
}

static int open_stores(struct pipeline *p, struct error *e)
{
    const struct plan_settings *s = &p->plan->settings;
    if (make_folder(s->data_dir, e) < 0 || open_journal(p, e) < 0)
        return -1;
    char *logs = mem_format("%s/logs", s->data_dir);
    const struct logstore_options o = {.path = logs, .clock = p->clock};
    p->logs = logstore_open(&o, e);
    mem_free(logs);
    if (!p->logs)
        return -1;
    if (!s->trace)
        return 0;
    char *trace = mem_format("%s/trace", s->data_dir);
    p->trace = trace_open(trace, s->trace_max.bytes, e);
    p->trace_explain = s->trace_explain;
    mem_free(trace);
    return p->trace ? 0 : -1;
}

weir_metric *pipeline_figure(struct pipeline *p, int kind, const char *name, const char *help)
{
    const struct metric_key key = {kind, name, help, NULL, NULL, NULL};
    return metrics_get(p->metrics, &key);
}

static void make_figures(struct pipeline *p)
{
    p->m_budget = pipeline_figure(p, WEIR_GAUGE, "weir_memory_budget_bytes",
                                  "What events may take in memory: `memory` of the pipeline file.");
    p->m_memory = pipeline_figure(p, WEIR_GAUGE, "weir_memory_used_bytes", "What they take of it.");
    p->m_memory_peak = pipeline_figure(p, WEIR_GAUGE, "weir_memory_used_peak_bytes",
                                       "The most that they ever took.");
    p->m_memory_lost =
        pipeline_figure(p, WEIR_GAUGE, "weir_memory_lost_bytes",
                        "Counted against the budget: pages that the allocator holds.");
    p->m_memory_refused = pipeline_figure(p, WEIR_COUNTER, "weir_memory_refused_total",
                                          "Requests for memory that the budget had no room for.");
    p->m_resident = pipeline_figure(p, WEIR_GAUGE, "weir_memory_resident_bytes",
                                    "Memory of the whole process.");
    p->m_resident_peak = pipeline_figure(p, WEIR_GAUGE, "weir_memory_resident_peak_bytes",
                                         "The most that the process ever had.");
    p->m_sync_failures = pipeline_figure(p, WEIR_GAUGE, "weir_journal_sync_failures",
                                         "Syncs of the journal that failed.");
    p->m_lost_records =
        pipeline_figure(p, WEIR_GAUGE, "weir_journal_lost_records",
                        "Records that were found damaged or missing since the start.");
    p->m_journal_bytes =
        pipeline_figure(p, WEIR_GAUGE, "weir_journal_bytes", "Size of the journal on disk.");
}

static int make_workers(struct pipeline *p, struct error *e)
{
    int64_t wanted = p->plan->settings.workers;
    p->worker_count = wanted > 0 ? (size_t)wanted : cpu_count();
    p->workers = mem_new(p->worker_count * sizeof(struct worker *));
    for (; p->worker_total < p->worker_count; p->worker_total++) {
        p->workers[p->worker_total] = worker_new(p, p->worker_total, NULL, e);
        if (!p->workers[p->worker_total])
            return -1;
    }
    return 0;
}

struct pipeline *pipeline_new(struct plan *plan, struct service_tables *services,
                              const struct clock *clock, struct error *e)
{
    struct pipeline *p = MEM_NEW(struct pipeline);
    p->plan = plan;
    p->generation = generation_new(plan, services, NULL, NULL);
    services->pipeline = p;
    p->reloads = reloads_new(p);
    p->clock = clock;
    p->env = (struct match_env){plan->settings.aws.account, plan->settings.aws.region};
    memory_init(p);
    p->metrics = metrics_new();
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_mutex_init(&p->pause.lock, NULL);
    (void)pthread_cond_init(&p->pause.changed, NULL);
    if (open_stores(p, e) < 0 || make_workers(p, e) < 0 || graph_build(p, e) < 0 ||
        graph_order(p, e) < 0) {
        pipeline_free(p);
        return NULL;
    }
    p->dead = dead_letters_open(p, e);
    p->replays = p->dead ? replays_open(p->journal, p, e) : NULL;
    if (!p->replays) {
        pipeline_free(p);
        return NULL;
    }
    reloads_open(p->reloads);
    ledger_begin(p);
    make_figures(p);
    return p;
}

/* ---- start ---- */

static int start_failed(struct stage *s, const struct lane *l, struct error *e)
{
    int code = s->exit_code ? s->exit_code : EXIT_CONFIG;
    if (document_errors(s->document))
        return error_set(e, code, "%s cannot start", s->name);
    return error_set(e, code, "%s: %s", s->name, l->why[0] ? l->why : "the plugin cannot start");
}

int pipeline_stage_start(struct stage *s, struct error *e)
{
    const weir_component *c = s->component;
    struct lane *first = s->lanes[0];
    if (s->role == ROLE_SOURCE && !s->pristine)
        s->pristine = mem_copy(s->self, c->state_size);
    worker_enter(first->worker);
    lane_enter(first, NULL, NULL);
    weir_status status = c->start ? c->start(s->self, &first->host) : WEIR_OK;
    lane_leave(first);
    if (status != WEIR_OK)
        return start_failed(s, first, e);
    s->is_started = true;
    for (size_t i = 0; i < s->lane_count && c->worker_start; i++) {
        struct lane *l = s->lanes[i];
        worker_enter(l->worker);
        lane_enter(l, NULL, NULL);
        status = c->worker_start(s->self, &l->host);
        lane_leave(l);
        if (status != WEIR_OK)
            return start_failed(s, l, e);
        l->is_worker_started = true;
    }
    return 0;
}

static void on_journal_wake(void *user)
{
    struct worker *w = user;
    atomic_store_explicit(&w->is_commit_due, true, memory_order_release);
    if (worker_current() == w)
        worker_again(w);
    else if (!atomic_exchange(&w->is_wake_posted, true)) /* it may still be on its way */
        loop_post(w->loop, &w->journal_wake);
}

static void on_begin(struct loop_task *t)
{
    struct worker *w = t->user;
    struct pipeline *p = w->pipeline;
    atomic_store(&w->is_begin_posted, false);
    for (size_t i = 0; i < p->stage_count; i++) {
        struct stage *s = p->stages[i];
        if (s->inlet && inlet_worker(s->inlet) == w)
            inlet_start(s->inlet);
        for (size_t k = 0; s->role == ROLE_SOURCE && k < s->lane_count; k++)
            if (s->lanes[k]->worker == w)
                worker_due(s->lanes[k]);
    }
}

static void on_woken(struct loop_task *t)
{
    struct worker *w = t->user;
    atomic_store(&w->is_wake_posted, false); /* the round commits */
}

static void count_sources(struct pipeline *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->role == ROLE_SOURCE)
            atomic_fetch_add(&p->sources_open, p->stages[i]->lane_count);
}

int pipeline_start(struct pipeline *p, struct error *e)
{
    count_sources(p);
    for (size_t i = 0; i < p->stage_count; i++)
        if (pipeline_stage_start(p->order[i], e) < 0)
            break;
    worker_enter(NULL);
    if (e->code)
        return -1;
    if (journal_start_thread(p->journal, e) < 0)
        return -1;
    if (p->worker_count == 1) {
        p->workers[0]->journal_wake = (struct loop_task){.fn = on_woken, .user = p->workers[0]};
        journal_set_wake(p->journal, on_journal_wake, p->workers[0]);
        atomic_store(&p->workers[0]->is_commit_due, true); /* what starting has put */
    }
    ledger_check(p);
    memory_start(p);
    pipeline_begin(p);
    replays_begin(p->replays);
    for (size_t i = 0; i < p->worker_total; i++)
        if (worker_start(p->workers[i], e) < 0)
            return -1;
    return 0;
}

void pipeline_begin(struct pipeline *p)
{
    for (size_t i = 0; i < p->worker_total; i++) {
        struct worker *w = p->workers[i];
        if (atomic_exchange(&w->is_begin_posted, true))
            continue;
        w->begin = (struct loop_task){.fn = on_begin, .user = w};
        loop_post(w->loop, &w->begin);
    }
}

void pipeline_tick(struct pipeline *p)
{
    memory_tick(p);
    logstore_tick(p->logs);
    reloads_tick(p->reloads);
    bus_tick(p);
    replays_tick(p->replays);
}

/* ---- drain ---- */

void pipeline_lane_drain(struct lane *l)
{
    const weir_component *c = l->stage->component;
    for (size_t more = 1; c->drain && more;) {
        struct batch *out = lane_birth_begin(l);
        lane_enter(l, NULL, out);
        weir_status s = c->drain(l->stage->self, &l->host, &out->pub);
        lane_leave(l);
        more = s >= WEIR_OK && s != WEIR_IDLE ? out->pub.count : 0;
        lane_birth_end(l, out, s);
    }
}

static void on_drain(struct loop_task *t)
{
    struct worker *w = t->user;
    struct pipeline *p = w->pipeline;
    w->is_drain_posted = false;
    service_http_drain_worker(p, w);
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->inlet && inlet_worker(p->stages[i]->inlet) == w)
            inlet_wake(p->stages[i]->inlet); /* waits for no full batch any more */
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->lane_count; k++)
            if (p->stages[i]->role == ROLE_TRANSFORM && p->stages[i]->lanes[k]->worker == w)
                pipeline_lane_drain(p->stages[i]->lanes[k]);
}

void pipeline_drain(struct pipeline *p)
{
    atomic_store(&p->is_draining, true);
    for (size_t i = 0; i < p->worker_total; i++) {
        struct worker *w = p->workers[i];
        if (atomic_exchange(&w->is_drain_posted, true))
            continue;
        w->drain = (struct loop_task){.fn = on_drain, .user = w};
        loop_post(w->loop, &w->drain);
    }
}

static bool sources_are_settled(const struct pipeline *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->lane_count; k++)
            if (atomic_load(&p->stages[i]->lanes[k]->open) > 0)
                return false;
    return atomic_load(&p->in_memory) == 0;
}

bool pipeline_is_drained(struct pipeline *p)
{
    if (!sources_are_settled(p) || !reloads_are_settled(p->reloads) ||
        !replays_are_settled(p->replays))
        return false;
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->inlet && !inlet_is_idle(p->stages[i]->inlet))
            return false;
    return true;
}

bool pipeline_is_finished(struct pipeline *p)
{
    if (atomic_load(&p->sources_open) || !sources_are_settled(p) || !replays_are_over(p->replays))
        return false;
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->inlet && !inlet_is_empty(p->stages[i]->inlet))
            return false;
    return true;
}

/* ---- stop ---- */

/* On the main thread, the workers' having ended: what they left is run to its end. */
static void run_rest(struct pipeline *p)
{
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < p->worker_total; i++) {
            worker_enter(p->workers[i]);
            (void)loop_round(p->workers[i]->loop, 0);
        }
        if (p->journal)
            (void)journal_submit_wait(journal_begin(p->journal));
    }
}

static void end_kept(struct pipeline *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->lane_count; k++) {
            struct lane *l = p->stages[i]->lanes[k];
            worker_enter(l->worker);
            while (l->kept) {
                struct batch *b = l->kept;
                transform_abandon_kept(l, b);
            }
        }
}

void pipeline_lane_stop(struct lane *l)
{
    const weir_component *c = l->stage->component;
    lane_forget(l);
    l->is_over = true;
    if (!l->is_worker_started)
        return;
    l->is_worker_started = false;
    lane_enter(l, NULL, NULL);
    if (c->worker_stop)
        c->worker_stop(l->stage->self, &l->host);
    lane_leave(l);
}

/* Requests under way end now, while their stages can still be told; none begins any more. */
static void end_requests(struct worker *w)
{
    struct http_client *http = w->http;
    w->http = NULL;
    http_client_free(http);
}

/* The last thing that a worker's own thread does: what an instance has there may belong to the thread
 * (a child process that is to die with it). */
static void on_worker_stop(struct loop_task *t)
{
    struct worker *w = t->user;
    struct pipeline *p = w->pipeline;
    end_requests(w);
    for (size_t i = p->stage_count; i-- > 0;)
        for (size_t k = 0; k < p->order[i]->lane_count; k++)
            if (p->order[i]->lanes[k]->worker == w)
                pipeline_lane_stop(p->order[i]->lanes[k]);
    loop_stop(w->loop);
}

static void stop_workers(struct pipeline *p)
{
    for (size_t i = 0; i < p->worker_total; i++) {
        struct worker *w = p->workers[i];
        w->stop = (struct loop_task){.fn = on_worker_stop, .user = w};
        if (w->has_thread)
            loop_post(w->loop, &w->stop);
    }
    for (size_t i = 0; i < p->worker_total; i++)
        worker_join(p->workers[i]);
}

void pipeline_stage_stop(struct stage *s)
{
    if (!s->lane_count) { /* it was never made to its end */
        stage_run_endings(s);
        return;
    }
    for (size_t i = 0; i < s->lane_count; i++) {
        worker_enter(s->lanes[i]->worker);
        pipeline_lane_stop(s->lanes[i]);
    }
    worker_enter(s->lanes[0]->worker);
    pipeline_instance_stop(s);
}

void pipeline_instance_stop(struct stage *s)
{
    struct lane *first = s->lanes[0];
    bool was_started = s->is_started;
    s->is_started = false;
    lane_enter(first, NULL, NULL);
    if (was_started && s->component->stop)
        s->component->stop(s->self, &first->host);
    lane_leave(first);
    stage_run_endings(s);
}

static void stop_stages(struct pipeline *p)
{
    for (size_t i = 0; i < p->worker_total; i++) {
        worker_enter(p->workers[i]);
        end_requests(p->workers[i]);
    }
    end_kept(p);
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->inlet && inlet_is_of(p->stages[i]->inlet, p->stages[i])) {
            worker_enter(inlet_worker(p->stages[i]->inlet));
            inlet_abandon(p->stages[i]->inlet);
        }
    run_rest(p);
    for (size_t i = p->stage_count; i-- > 0;)
        if (p->order && p->order[i])
            pipeline_stage_stop(p->order[i]);
    run_rest(p);
}

void pipeline_free(struct pipeline *p)
{
    if (!p)
        return;
    atomic_store(&p->is_draining, true);
    atomic_store(&p->is_stopping, true);
    reloads_give_back(p->reloads);
    stop_workers(p);
    run_rest(p);
    stop_stages(p);
    worker_enter(NULL);
    if (p->journal) {
        journal_set_wake(p->journal, NULL, NULL);
        ledger_end_memory(p);
        journal_close(p->journal);
    }
    reloads_free(p->reloads);
    memory_fini(p);
    graph_free(p);
    replays_free(p->replays);
    for (size_t i = 0; i < p->worker_total; i++)
        worker_free(p->workers[i]);
    mem_free(p->workers);
    if (budget_used(&p->budget)) /* a plugin kept a payload, or we did */
        log_write(WEIR_DEBUG, NULL, "%llu bytes of events were not given back",
                  (unsigned long long)budget_used(&p->budget));
    service_window_free(p);
    dead_letters_free(p->dead);
    logstore_close(p->logs);
    trace_close(p->trace);
    metrics_free(p->metrics);
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_mutex_destroy(&p->pause.lock);
    (void)pthread_cond_destroy(&p->pause.changed);
    generation_unref(p->generation);
    mem_free(p);
}

/* ---- what others ask ---- */

void stage_set_ready(struct stage *s, bool is_ready, const char *why)
{
    struct pipeline *p = s->pipeline;
    (void)pthread_mutex_lock(&p->lock); /* whoever sees "not ready" sees why as well */
    bool was = atomic_exchange(&s->is_ready, is_ready);
    (void)snprintf(s->status, sizeof s->status, "%s", why ? why : "");
    metric_set(s->m.ready, is_ready);
    (void)pthread_mutex_unlock(&p->lock);
    if (was != is_ready)
        log_write(is_ready ? WEIR_INFO : WEIR_ERROR, s->name, "%s%s",
                  is_ready ? "works again" : "does not work: ", why ? why : "");
}

int64_t pipeline_in_flight(struct pipeline *p)
{
    int64_t sum = atomic_load(&p->in_memory);
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->inlet)
            sum += inlet_waiting(p->stages[i]->inlet);
    return sum + reloads_in_flight(p->reloads);
}

void pipeline_refresh_metrics(struct pipeline *p)
{
    struct memory_figures f;
    struct journal_health h;
    journal_health(p->journal, &h);
    ledger_refresh_metrics(p);
    memory_figures(p, &f);
    metric_set(p->m_budget, (double)f.budget);
    metric_set(p->m_memory, (double)f.used);
    metric_set(p->m_memory_peak, (double)f.peak);
    metric_set(p->m_memory_lost, (double)f.lost);
    metric_set(p->m_memory_refused, (double)f.refused);
    metric_set(p->m_resident, (double)f.resident);
    metric_set(p->m_resident_peak, (double)f.resident_peak);
    metric_set(p->m_sync_failures, (double)h.sync_failures);
    metric_set(p->m_lost_records, (double)h.lost_records);
    metric_set(p->m_journal_bytes, (double)h.bytes_used);
    replays_refresh_metrics(p->replays);
    for (size_t i = 0; i < p->stage_count; i++) {
        const struct stage *s = p->stages[i];
        if (s->inlet)
            metric_set(s->m.in_flight, (double)inlet_waiting(s->inlet));
        if (s->inlet && s->role == ROLE_SINK)
            metric_set(s->m.in_use, (double)inlet_flying(s->inlet));
    }
}

static void not_ready(struct buf *why, const char *stage, const char *text)
{
    buf_print(why, "%s{\"stage\":\"%s\",\"reason\":\"", why->len ? "," : "", stage);
    for (; *text; text++) { /* reasons may hold anything: keep the JSON plain */
        bool is_plain = (unsigned char)*text >= 0x20 && *text != '"' && *text != '\\';
        buf_add(why, is_plain ? text : " ", 1);
    }
    buf_add_text(why, "\"}");
}

bool pipeline_is_ready(struct pipeline *p, struct buf *why)
{
    struct journal_health h;
    journal_health(p->journal, &h);
    if (h.is_failed)
        not_ready(why, "journal", "the disk failed: nothing is accepted until it works again");
    if (h.is_full)
        not_ready(why, "journal", "the disk is full: nothing is accepted until there is room");
    if (atomic_load(&p->is_draining))
        not_ready(why, "weir", "stopping");
    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->stage_count; i++)
        if (!atomic_load(&p->stages[i]->is_ready))
            not_ready(why, p->stages[i]->name, p->stages[i]->status);
    (void)pthread_mutex_unlock(&p->lock);
    return why->len == 0;
}

bool pipeline_is_accepting(struct pipeline *p)
{
    struct journal_health h;
    journal_health(p->journal, &h);
    return !h.is_failed && !h.is_full && !atomic_load(&p->is_draining);
}

/* ---- check ---- */

static void check_where(struct plan *plan, const struct service_tables *t,
                        const struct plan_stage *stage)
{
    for (size_t i = 0; i < stage->input_count; i++) {
        const struct plan_edge *edge = &stage->inputs[i];
        struct match_error e = {{0}, 0};
        if (!edge->where.len)
            continue;
        struct match_set *set = match_set_new(&t->env);
        if (match_add(set, (weir_str){edge->where.ptr, edge->where.len}, &e) != WEIR_OK)
            diag_add_at(plan->document, DIAG_ERROR, edge->where_node, e.at, NULL,
                        "the pattern is not valid: %s", e.reason);
        match_set_free(set);
    }
}

static void check_stage(struct plan *plan, struct plan_stage *ps)
{
    struct stage s = {.document = plan->document,
                      .plan = ps,
                      .checked = ps,
                      .checked_in = plan,
                      .component = ps->component};
    struct lane *lanes[1];
    struct worker nowhere = {0};
    s.name = ps->name;
    s.role = ps->role;
    s.self = ps->state;
    s.lane_count = 1;
    s.lanes = lanes;
    lanes[0] = lane_new(&s, &nowhere);
    size_t before = document_errors(plan->document);
    lane_enter(lanes[0], NULL, NULL);
    weir_status status =
        ps->component->check ? ps->component->check(ps->state, &lanes[0]->host) : WEIR_OK;
    lane_leave(lanes[0]);
    if (status != WEIR_OK && document_errors(plan->document) == before)
        diag_add(plan->document, DIAG_ERROR, ps->name_node, NULL, "%s",
                 lanes[0]->why[0] ? lanes[0]->why : "the plugin refuses this configuration");
    stage_run_endings(&s);
    lane_free(lanes[0]);
}

bool pipeline_check(struct plan *plan, struct service_tables *services)
{
    size_t before = document_errors(plan->document);
    for (size_t i = 0; i < plan->stage_count; i++) {
        if (plan->stages[i]->is_sound)
            check_stage(plan, plan->stages[i]);
        check_where(plan, services, plan->stages[i]);
    }
    memory_check(plan);
    if (!document_errors(plan->document))
        queue_declared_warn(services, plan->document);
    return document_errors(plan->document) == before;
}
