/* pipeline/stage.h: a configured instance of a component, and the edges to those that read it. */
#pragma once
#include "base/log.h"
#include "base/metrics.h"
#include "config/plan.h"
#include "match/match.h"
#include "pipeline/batch.h"

struct pipeline;
struct inlet;
struct lane;
struct worker;

struct edge {
    struct stage *to;
    struct match_set *where; /* NULL: all */
    struct match_ctx **ctx;  /* one a worker */
    uint32_t port;
};

struct port {
    struct edge *edges; /* those with a durable inlet and no pattern first */
    size_t count, durable;
    struct inlet **inlets; /* of the durable ones */
    bool is_result;
};

struct stage_metrics {
    weir_metric *in, *out, *delivered, *filtered, *dead_lettered, *dropped, *retries, *errors;
    weir_metric *in_flight, *ready, *seconds, *breaker, *breaker_opened, *match_cut;
    weir_metric *concurrency, *in_use, *diverted;
};

struct stage {
    struct pipeline *pipeline; /* NULL while it is only checked: */
    struct plan_stage *checked;
    const struct plan *checked_in;
    struct document *document;
    struct log_limit fail_limit, cut_limit;
    const struct plan_stage *plan;
    const weir_component *component;
    const char *name;
    enum role role;
    size_t index;
    void *self;
    struct lane **lanes;
    size_t lane_count;
    struct port *ports; /* 0: the stage itself, then the named ones, the last: failed */
    size_t port_count;
    struct inlet *inlet;   /* of transforms and sinks */
    struct worker *thread; /* of a blocking instance */
    struct stage **reach;  /* source: transforms and sinks that its events may come to */
    size_t reach_count;
    struct stage_metrics m;
    _Atomic bool is_ready;
    char status[256]; /* why it is not ready; under the pipeline's lock */
    bool is_started;
    bool is_single;                   /* a sink that is given batches of one */
    bool is_outgoing;                 /* another takes its place, or none */
    struct generation *generation;    /* that it was made in: its state and texts live there */
    const struct plan_stage *made_of; /* in that generation */
    void *pristine;                   /* of a source: its state before start */
    int exit_code;                    /* why start failed, if not 78 */
    struct ending *endings;
    weir_service **offers; /* the tables that others call, one per row of the component */
    size_t offer_count;
};

struct lane *stage_lane(const struct stage *s, const struct worker *w); /* to run it from here */
static inline bool stage_has(const struct stage *s, uint32_t flag)
{
    return s->component->flags & flag;
}
void stage_run_endings(struct stage *s);
void stage_set_ready(struct stage *s, bool is_ready, const char *why);

/* route.c: the way of events between stages. Each takes the batch and one branch of each slot. */
void route_batch(struct stage *from, struct worker *w, struct batch *take);
void route_failed(struct stage *from, struct worker *w, struct event *ev);
void stage_push(struct stage *to, struct worker *w, struct batch *take);
/* transform.c */
void transform_run(struct lane *l, struct batch *take, bool is_again); /* from its inlet */
void transform_mark(struct lane *l, struct event *ev, weir_status s, const char *why);
void transform_end_kept(struct lane *l, struct batch *kept, weir_status s);
void transform_abandon_kept(struct lane *l, struct batch *kept); /* the runner stops */
void transform_finish_out(struct lane *l, struct batch *out, weir_status s);
/* Ends every branch of a batch and frees it. */
void batch_end(struct worker *w, struct stage *s, struct batch *take, uint32_t slot_flag);
