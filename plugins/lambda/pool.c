/* lambda/pool.c: gives the events of a worker to its environments, and takes their answers. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "environment.h"

enum { TIMER_RESTART = 1, TIMER_FIRST = 2 };
static const int64_t init_limit_ns = 10000000000, backoff_first_ns = 100000000,
                     backoff_max_ns = 30000000000;

struct pool {
    const struct lambda *l;
    struct worker *w;
    struct environment **all; /* those made so far */
    size_t count, capacity;
    int64_t backoff_ns;  /* after a start that failed */
    bool is_backing_off; /* until TIMER_RESTART, or until one has started */
};

static void dispatch(struct pool *p, const weir_host *h);

struct pool *pool_new(const struct lambda *l, const weir_host *h, struct worker *w)
{
    struct pool *p = h->keep(h, sizeof *p);
    *p = (struct pool){.l = l, .w = w, .capacity = (size_t)l->environments};
    p->all = h->keep(h, p->capacity * sizeof(struct environment *));
    return p;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The event in work has its answer. */
static void conclude(struct pool *p, const weir_host *h, struct environment *e,
                     const struct answer *take)
{
    int64_t duration_ns = h->now(h) - e->work.begun_ns;
    h->observe(h, p->w->figures.duration, (double)duration_ns / 1e9);
    environment_read_output(e, p->l, h, false);
    if (p->l->is_reporting)
        report_end(p->l, e->stream,
                   &(struct report){
                       .request_id = e->work.request_id,
                       .duration_ns = duration_ns,
                       .init_ns = e->init_ns,
                       .used_max_bytes = environment_used_max_bytes(e, h->now(h)),
                       .trouble = e->trouble,
                   });
    e->init_ns = 0;
    jobs_settle(p->l, h, p->w, &e->work, take);
}

static void back_off(struct pool *p, const weir_host *h)
{
    p->backoff_ns = p->backoff_ns ? p->backoff_ns * 2 : backoff_first_ns;
    if (p->backoff_ns > backoff_max_ns)
        p->backoff_ns = backoff_max_ns;
    p->is_backing_off = true;
    h->timer(h, TIMER_RESTART, (weir_duration){p->backoff_ns});
}

/* An environment did not start. If there is no other, whoever waits for one hears why. */
static void fail_start(struct pool *p, const weir_host *h, const struct answer *why)
{
    back_off(p, h);
    for (size_t i = 0; i < p->count; i++)
        if (p->all[i]->phase != PHASE_NONE && p->all[i]->phase != PHASE_ENDING)
            return;
    for (struct job *job = p->w->jobs.first; job; job = job->next)
        while (job->started < job->batch->count) {
            struct invocation v;
            invocation_begin(p->l, h, job, &v);
            jobs_settle(p->l, h, p->w, &v, why);
        }
}

/* ---- environments ---------------------------------------------------------------------------- */

static struct environment *find_idle(struct pool *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->all[i]->phase == PHASE_WAITING)
            return p->all[i];
    return NULL;
}

/* A place for one more: the first is this worker's own, further ones come from those to spare. */
static struct environment *find_place(struct pool *p, const weir_host *h)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->all[i]->phase == PHASE_NONE)
            return p->all[i];
    if (p->count == p->capacity)
        return NULL;
    bool is_taken = atomic_fetch_sub(p->l->spare, 1) > 0;
    if (!is_taken)
        (void)atomic_fetch_add(p->l->spare, 1);
    if (!is_taken && p->count)
        return NULL;
    struct environment *e = h->keep(h, sizeof *e);
    environment_init(e, TIMER_FIRST + (uint32_t)p->count);
    p->all[p->count++] = e;
    return e;
}

/* False: there is no place for one more, or it did not start. */
static bool start_one(struct pool *p, const weir_host *h)
{
    struct environment *e = find_place(p, h);
    if (!e)
        return false;
    h->observe(h, p->w->figures.starts, 1);
    if (environment_start(e, p->l, h) != 0) {
        fail_start(p, h,
                   &(struct answer){.status = WEIR_E_RETRY,
                                    .why = "Runtime.StartError: its process did not start"});
        return false;
    }
    h->timer(h, e->timer, (weir_duration){init_limit_ns});
    return true;
}

static void kill_one(const weir_host *h, struct environment *e)
{
    e->phase = PHASE_ENDING;
    process_signal(&e->process, SIGKILL);
    h->timer(h, e->timer, (weir_duration){-1});
}

static void time_out(struct pool *p, const weir_host *h, struct environment *e)
{
    const struct lambda *l = p->l;
    char *why = h->scratch(h, 128);
    bool is_start = e->phase == PHASE_STARTING;
    (void)snprintf(why, 128, "Sandbox.Timedout: Task timed out after %.2f seconds",
                   (double)(is_start ? init_limit_ns : l->timeout.ns) / 1e9);
    struct answer a = {.status = WEIR_E_RETRY, .why = why};
    e->trouble = strchr(why, ' ') + 1;
    h->observe(h, p->w->figures.timeouts, 1);
    h->log(h, WEIR_WARN, "function %s: %s%s", l->function_name, e->trouble,
           is_start ? " while it started" : "");
    kill_one(h, e);
    if (is_start)
        fail_start(p, h, &a);
    else
        conclude(p, h, e, &a);
    e->trouble = NULL;
}

static void exited(struct pool *p, const weir_host *h, struct environment *e)
{
    enum phase phase = e->phase;
    char how[96], *why = h->scratch(h, 256);
    struct process process = e->process;
    struct invocation work = e->work;
    environment_end(e, p->l, h, how, sizeof how);
    if (phase == PHASE_ENDING) {
        dispatch(p, h);
        return;
    }
    (void)snprintf(why, 256, "Runtime.ExitError: RequestId: %s Error: %s", work.request_id, how);
    bool is_missed = phase == PHASE_RUNNING || phase == PHASE_STARTING; /* else no event is hurt */
    h->log(h, is_missed ? WEIR_WARN : WEIR_DEBUG, "function %s: process %d: %s",
           p->l->function_name, (int)process.pid, how);
    struct answer a = {.status = WEIR_E_RETRY, .why = why};
    if (phase == PHASE_RUNNING) {
        e->trouble = strstr(why, "Error: ");
        conclude(p, h, e, &a);
        e->trouble = NULL;
    } else if (phase == PHASE_STARTING) {
        (void)snprintf(why, 256, "Runtime.ExitError: %s before it asked for an event", how);
        fail_start(p, h, &a);
    }
    dispatch(p, h);
}

/* ---- the Runtime API ------------------------------------------------------------------------- */

static void format_trace(char *text, size_t size, const weir_event *ev)
{
    const weir_trace *t = &ev->trace;
    static const weir_trace none;
    char hex[33], span[17];
    const uint8_t *from = memcmp(t, &none, sizeof none) == 0 ? ev->id.bytes : t->trace;
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", from[i]);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(span + 2 * i, 3, "%02x", t->span[i]);
    if (from == t->trace)
        (void)snprintf(text, size, "Root=1-%.8s-%s;Parent=%s;Sampled=%d", hex, hex + 8, span,
                       t->flags & 1);
    else
        (void)snprintf(text, size, "Root=1-%.8s-%s;Sampled=0", hex, hex + 8);
}

static struct connection *asking(struct environment *e)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (e->connections[i].fd >= 0 && e->connections[i].is_asking)
            return &e->connections[i];
    return NULL;
}

/* Gives the job's next events to an environment that waits for some. */
static void invoke(struct pool *p, const weir_host *h, struct environment *e, struct job *job)
{
    struct answer failed;
    char headers[1024], trace[96];
    invocation_begin(p->l, h, job, &e->work);
    weir_payload *event = invocation_payload(p->l, h, &e->work, &failed);
    if (!event) {
        jobs_settle(p->l, h, p->w, &e->work, &failed);
        return;
    }
    h->observe(h, p->w->figures.invocations, 1);
    format_trace(trace, sizeof trace, job->batch->events[e->work.first]);
    (void)snprintf(headers, sizeof headers,
                   "Lambda-Runtime-Aws-Request-Id: %s\r\nLambda-Runtime-Deadline-Ms: %" PRId64
                   "\r\nLambda-Runtime-Invoked-Function-Arn: %s\r\nLambda-Runtime-Trace-Id: %s\r\n",
                   e->work.request_id, e->work.deadline_ns / 1000000, p->l->arn, trace);
    if (p->l->is_reporting)
        report_start(p->l, e->stream, e->work.request_id);
    e->phase = PHASE_RUNNING;
    h->timer(h, e->timer, p->l->timeout);
    connection_answer(asking(e), h, 200, headers, event, NULL);
}

static void dispatch(struct pool *p, const weir_host *h)
{
    size_t wanted = 0;
    for (struct job *job = p->w->jobs.first; job; job = job->next) {
        struct environment *e = NULL;
        while (job->started < job->batch->count && (e = find_idle(p)))
            invoke(p, h, e, job);
        wanted += (job->batch->count - job->started + (size_t)p->l->batch_size - 1) /
                  (size_t)p->l->batch_size;
    }
    for (size_t i = 0; i < p->count; i++)
        wanted -= wanted && p->all[i]->phase == PHASE_STARTING;
    while (wanted && !p->is_backing_off && start_one(p, h))
        wanted--;
}

static struct answer response_of(struct pool *p, const weir_host *h, struct http_reader *r)
{
    struct answer a = {.status = WEIR_E_RETRY};
    if (r->is_too_large) {
        a.why = "Function.ResponseSizeTooLarge: the answer is larger than 6291556 bytes";
        a.status = invocation_class(p->l, weir_text("Function.ResponseSizeTooLarge"));
    } else if (r->is_out_of_memory) {
        a.why = "the memory limit is reached";
    } else {
        a.status = WEIR_OK;
        a.take = r->body;
        r->body = NULL;
    }
    return a;
}

static struct answer error_of(struct pool *p, const weir_host *h, const struct http_reader *r)
{
    weir_str body = r->body ? (weir_str){r->body->ptr, r->body->len} : (weir_str){NULL, 0};
    return invocation_error(p->l, h, body);
}

static void request(struct pool *p, const weir_host *h, struct environment *e, struct connection *c)
{
    struct runtime_judgement j = runtime_api_judge(e->phase, e->work.request_id, &c->reader);
    struct answer a = {.status = WEIR_OK};
    switch (j.what) {
    case RUNTIME_NEXT:
        if (e->phase == PHASE_STARTING) {
            e->init_ns = h->now(h) - e->spawned_ns;
            p->backoff_ns = 0;
            p->is_backing_off = false;
        }
        e->phase = PHASE_WAITING;
        c->is_asking = true;
        h->timer(h, e->timer, (weir_duration){-1});
        return;
    case RUNTIME_RESPONSE:
    case RUNTIME_ERROR:
        a = j.what == RUNTIME_RESPONSE ? response_of(p, h, &c->reader) : error_of(p, h, &c->reader);
        e->phase = PHASE_ANSWERED;
        h->timer(h, e->timer, (weir_duration){-1});
        conclude(p, h, e, &a);
        break;
    case RUNTIME_INIT_ERROR:
        a = error_of(p, h, &c->reader);
        h->log(h, WEIR_ERROR, "function %s did not start: %s", p->l->function_name, a.why);
        e->phase = PHASE_ENDING;
        h->timer(h, e->timer, (weir_duration){1000000000}); /* it should go by itself */
        fail_start(p, h, &a);
        break;
    default:
        break;
    }
    connection_answer(c, h, j.status, "", NULL, j.body);
}

static void serve(struct pool *p, const weir_host *h, struct environment *e, struct connection *c)
{
    bool was_asking = c->is_asking;
    if (c->is_sending)
        connection_flush(c, h);
    while (c->fd >= 0 && connection_receive(c, h) == HTTP_WHOLE)
        request(p, h, e, c);
    if (was_asking && c->fd < 0 && e->phase == PHASE_WAITING)
        e->phase = PHASE_ANSWERED; /* it hung up; it may ask again */
}

void pool_ready(struct pool *p, const weir_host *h, int fd)
{
    for (size_t i = 0; i < p->count; i++) {
        struct environment *e = p->all[i];
        if (e->phase == PHASE_NONE || !environment_owns(e, fd))
            continue;
        struct connection *c = environment_connection(e, fd);
        if (c)
            serve(p, h, e, c);
        else if (fd == e->listener)
            environment_accept(e, h);
        else if (fd == e->process.pidfd)
            exited(p, h, e);
        else
            environment_read_output(e, p->l, h, false);
        break;
    }
    dispatch(p, h);
}

void pool_tick(struct pool *p, const weir_host *h, uint32_t id)
{
    if (id == TIMER_RESTART)
        p->is_backing_off = false; /* the timer alone says when: no clock is asked as well */
    if (id >= TIMER_FIRST && id - TIMER_FIRST < p->count) {
        struct environment *e = p->all[id - TIMER_FIRST];
        if (e->phase == PHASE_STARTING || e->phase == PHASE_RUNNING)
            time_out(p, h, e);
        else if (e->phase == PHASE_ENDING)
            kill_one(h, e);
    }
    dispatch(p, h);
}

/* ---- batches --------------------------------------------------------------------------------- */

weir_status pool_take(struct pool *p, const weir_host *h, const weir_batch *batch)
{
    jobs_push(&p->w->jobs, job_new(h, p->w, batch));
    dispatch(p, h);
    return WEIR_PENDING;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Asks all to go, waits half a second for those that listen, and ends the rest. */
void pool_free(struct pool *p, const weir_host *h)
{
    enum { STEPS = 50, STEP_MS = 10 };
    size_t left = 0;
    for (size_t i = 0; i < p->count; i++)
        process_signal(&p->all[i]->process, SIGTERM);
    for (int step = 0; step < STEPS; step++) {
        left = 0;
        for (size_t i = 0; i < p->count; i++) {
            struct pollfd gone = {.fd = p->all[i]->process.pidfd, .events = POLLIN};
            left += p->all[i]->process.pid && poll(&gone, 1, left ? 0 : STEP_MS) == 0;
        }
        if (!left)
            break;
    }
    for (size_t i = 0; i < p->count; i++) {
        char how[96];
        if (p->all[i]->phase != PHASE_NONE)
            environment_end(p->all[i], p->l, h, how, sizeof how);
    }
    jobs_free(h, p->w);
}
