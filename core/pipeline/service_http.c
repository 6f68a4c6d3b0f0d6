/* pipeline/service_http.c: weir.http_server/1 and weir.http_client/1 for plugins. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/http_server.h"
#include "net/retry_after.h"
#include "pipeline/inlet.h"
#include "pipeline/memory.h"
#include "pipeline/services.h"
#include "pipeline/slot.h"

enum { BODY_PRESET = 1 << 20 };

struct weir_http_listener {
    struct weir_http_listener *next; /* of the pipeline */
    struct stage *stage;
    struct http_server **servers; /* one a lane */
    size_t count;
    struct weir_http_listener *from; /* a reload: the outgoing one whose servers it gets, */
    struct weir_http_listener *heir; /* and the other way round */
    bool is_closed;                  /* nobody can come any more; connections are finished */
    struct http_server_settings settings;
    char address[128], wanted[128]; /* of the socket; in the file */
};

struct route_arg {
    weir_http_route route;
    struct lane *lane;
};

static weir_payload *body_alloc(void *user, size_t n, char **data)
{
    return payload_new(user, n, data);
}

static void body_unref(void *user, weir_payload *p)
{
    payload_unref(p);
}

static void refuse_call(struct http_request *r, const struct lane *l, weir_status s)
{
    const char *why = l->why[0] ? l->why : "the request was refused";
    if (s == WEIR_E_REJECT)
        http_problem(r, 400, why, 0);
    else
        http_problem(r, 503, l->why[0] ? why : "there is no room for events now", 1);
}

static void on_request(void *user, struct http_request *r)
{
    const struct route_arg *arg = r->route_arg;
    struct lane *l = user;
    r->user = l;
    struct batch *out = lane_birth_begin(l);
    l->busy++;
    lane_enter(l, NULL, out);
    weir_status s =
        arg->route.request(l->stage->self, &l->host, &r->call, arg->route.arg, &out->pub);
    bool is_short = l->is_short;
    lane_leave(l);
    if (is_short && s == WEIR_OK)
        s = WEIR_E_RETRY;
    lane_birth_end(l, out, s);
    if (s < WEIR_OK) {
        refuse_call(r, l, s);
        l->busy--;
    }
}

/* Requests that bring nothing are always let in. */
static int on_admit(void *user, const struct http_request *head)
{
    struct lane *l = user;
    const char *method = head->call.method;
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0)
        return 0;
    return lane_may_run(l) ? 0 : 503;
}

static void listener_end(void *arg)
{
    struct weir_http_listener *at = arg;
    struct pipeline *p = at->stage->pipeline;
    (void)pthread_mutex_lock(&p->lock);
    struct weir_http_listener **link = &p->listeners;
    while (*link && *link != at)
        link = &(*link)->next;
    if (*link)
        *link = at->next;
    (void)pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < at->count; i++)
        http_server_free(at->servers[i]);
    mem_free(at->servers);
    mem_free(at);
}

/* Sharing a port is for the workers of one stage: two stages would get each other's requests. */
static struct weir_http_listener *listening_at(const struct pipeline *p, const char *address)
{
    struct weir_http_listener *at = p->listeners;
    while (at && (!at->count || at->is_closed || strcmp(at->address, address) != 0))
        at = at->next;
    return at;
}

/* What the same stage had asked for before it was changed (a free port, or a name), or anybody who goes
 * had of the same address. */
static struct weir_http_listener *outgoing_at(const struct stage *s, const char *wanted)
{
    struct weir_http_listener *at = s->pipeline->listeners;
    for (; at; at = at->next)
        if (at->stage->is_outgoing && at->count && !at->is_closed && !at->heir &&
            strcmp(at->stage->name, s->name) == 0 && strcmp(at->wanted, wanted) == 0)
            return at;
    at = listening_at(s->pipeline, wanted);
    return at && at->stage->is_outgoing && !at->heir ? at : NULL;
}

static int open_servers(struct weir_http_listener *at, size_t wanted, struct error *e)
{
    struct stage *stage = at->stage;
    const struct weir_http_listener *other = listening_at(stage->pipeline, at->address);
    if (other)
        return error_set(e, EXIT_CONFIG, "listen %s: %s listens there already", at->address,
                         other->stage->name);
    for (; at->count < wanted; at->count++) {
        at->settings.user = stage->lanes[at->count];
        at->settings.address = at->address; /* the first one finds the port that port 0 means */
        at->servers[at->count] =
            http_server_new(stage->lanes[at->count]->worker->loop, &at->settings, e);
        if (!at->servers[at->count])
            return -1;
        http_server_address(at->servers[at->count], at->address, sizeof at->address);
    }
    return 0;
}

/* The sockets go on with all their connections; only who answers changes, when the reload does. */
static int take_over(struct weir_http_listener *at, struct weir_http_listener *from, size_t wanted,
                     struct error *e)
{
    if (from->count != wanted)
        return error_set(e, EXIT_CONFIG,
                         "listen %s: %s listens there in another way: this needs a restart",
                         at->address, from->stage->name);
    at->from = from;
    from->heir = at;
    (void)snprintf(at->address, sizeof at->address, "%s", from->address);
    return 0;
}

/* More than the budget can have at a time is too large for ever, not for now: 413 and not 503. */
static uint64_t body_max(const struct stage *s, uint64_t told)
{
    uint64_t most = s->pipeline->budget.limit_bytes / MEMORY_EVENT_PART;
    if (!told)
        told = BODY_PRESET;
    if (told > most)
        log_write(WEIR_WARN, s->name,
                  "bodies of more than %llu bytes do not fit into `memory`: 413",
                  (unsigned long long)most);
    return told < most ? told : most;
}

static weir_status listen_on(const weir_http_server *s, const weir_http_listen *how,
                             weir_http_listener **listener)
{
    struct lane *l = service_lane("weir.http_server/1");
    struct stage *stage = l->stage;
    struct error e = {0};
    struct weir_http_listener *at = MEM_NEW(struct weir_http_listener);
    at->stage = stage;
    at->servers = mem_new(stage->lane_count * sizeof(struct http_server *));
    (void)snprintf(at->address, sizeof at->address, "%s", how->address);
    (void)snprintf(at->wanted, sizeof at->wanted, "%s", how->address);
    /* A path is one socket; its connections are all served by the first worker. */
    size_t wanted = text_starts(weir_text(at->address), "unix:") ? 1 : stage->lane_count;
    struct pipeline *p = stage->pipeline;
    struct budget *budget = stage->role == ROLE_SOURCE ? &p->inflow : &p->backlog;
    at->settings = (struct http_server_settings){
        .is_shared = wanted > 1,
        .bodies = {body_alloc, body_unref, budget},
        .budget = budget,
        .body_max = body_max(stage, how->body_max.bytes),
        .request_timeout_ns = how->timeout.ns,
        .request = on_request,
        .admit = stage->role == ROLE_SOURCE ? on_admit : NULL,
    };
    struct weir_http_listener *from = outgoing_at(stage, at->wanted);
    (void)(from ? take_over(at, from, wanted, &e) : open_servers(at, wanted, &e));
    (void)pthread_mutex_lock(&stage->pipeline->lock);
    at->next = stage->pipeline->listeners;
    stage->pipeline->listeners = at;
    (void)pthread_mutex_unlock(&stage->pipeline->lock);
    service_at_end(stage, listener_end, at);
    if (e.code) {
        stage->exit_code = e.code;
        diag_add(stage->document, DIAG_ERROR, service_node(stage, how->address), NULL, "%s",
                 e.text);
        return WEIR_E_CONFIG;
    }
    log_write(WEIR_INFO, stage->name, "listening on http://%s", at->address);
    *listener = at;
    return WEIR_OK;
}

static weir_status route(const weir_http_server *s, weir_http_listener *at,
                         const weir_http_route *r)
{
    struct lane *l = service_lane("weir.http_server/1");
    struct error e = {0};
    struct route_arg *arg = arena_take(&l->keep, sizeof *arg);
    arg->route = *r;
    for (size_t i = 0; i < at->count; i++)
        if (http_server_route(at->servers[i], r->pattern, arg, &e) < 0)
            return l->host.fail(&l->host, WEIR_E_CONFIG, 0, "%s", e.text);
    for (size_t i = 0; at->from && i < at->from->count; i++)
        if (http_server_route_next(at->from->servers[i], r->pattern, arg, &e) < 0)
            return l->host.fail(&l->host, WEIR_E_CONFIG, 0, "%s", e.text);
    return WEIR_OK;
}

static void take_servers(struct weir_http_listener *at)
{
    struct weir_http_listener *from = at->from;
    for (; at->count < from->count; at->count++) {
        at->settings.user = at->stage->lanes[at->count];
        at->servers[at->count] = from->servers[at->count];
        http_server_switch(at->servers[at->count], &at->settings);
    }
    from->count = 0;
}

/* Its stage goes, and no other wanted its address: who still comes is refused at once, and is not left
 * waiting for as long as the last connection takes. */
static void close_listener(struct weir_http_listener *at)
{
    for (size_t i = 0; i < at->count; i++)
        if (at->servers[i])
            http_server_stop_listening(at->servers[i]);
    at->is_closed = true;
}

/* While all workers are held. */
void service_http_switch(struct pipeline *p, bool is_on)
{
    for (struct weir_http_listener *at = p->listeners; at; at = at->next) {
        if (is_on && at->stage->is_outgoing && !at->heir && at->count)
            close_listener(at);
        if (!at->from)
            continue;
        if (is_on)
            take_servers(at);
        for (size_t i = 0; i < at->from->count; i++)
            http_server_forget_next(at->from->servers[i]);
        at->from->heir = NULL;
        at->from = NULL;
    }
}

bool service_http_has_listener(struct pipeline *p, const struct stage *s)
{
    const struct weir_http_listener *at = p->listeners;
    while (at && at->stage != s)
        at = at->next;
    return at != NULL;
}

static bool drain_server(struct http_server *s)
{
    if (!s)
        return true;
    http_server_drain(s);
    return http_server_is_empty(s);
}

bool service_http_lane_drain(struct lane *l)
{
    struct pipeline *p = l->stage->pipeline;
    bool is_empty = true;
    (void)pthread_mutex_lock(&p->lock);
    for (struct weir_http_listener *at = p->listeners; at; at = at->next)
        for (size_t i = 0; at->stage == l->stage && i < at->count; i++)
            if (at->stage->lanes[i] == l)
                is_empty &= drain_server(at->servers[i]);
    (void)pthread_mutex_unlock(&p->lock);
    return is_empty;
}

/* On its own thread; the listener's end frees no server twice. */
void service_http_lane_stop(struct lane *l)
{
    struct pipeline *p = l->stage->pipeline;
    (void)pthread_mutex_lock(&p->lock);
    for (struct weir_http_listener *at = p->listeners; at; at = at->next)
        for (size_t i = 0; at->stage == l->stage && i < at->count; i++)
            if (at->stage->lanes[i] == l) {
                http_server_free(at->servers[i]);
                at->servers[i] = NULL;
            }
    (void)pthread_mutex_unlock(&p->lock);
}

struct late_answer {       /* from another thread */
    struct loop_task task; /* first */
    struct lane *lane;
    struct http_request *request;
    struct http_answer answer;
    struct arena texts;
};

static void on_late(struct loop_task *t)
{
    struct late_answer *late = t->user;
    late->lane->busy--;
    http_answer(late->request, &late->answer);
    arena_fini(&late->texts);
    mem_free(late);
}

static weir_str copied(struct arena *a, weir_str s)
{
    return (weir_str){arena_copy(a, s.ptr, s.len), s.len};
}

static void answer_late(struct lane *l, struct http_request *r, const struct http_answer *a)
{
    struct late_answer *late = MEM_NEW(struct late_answer);
    arena_init(&late->texts);
    late->task = (struct loop_task){.fn = on_late, .user = late};
    late->lane = l;
    late->request = r;
    late->answer = *a;
    late->answer.content_type = a->content_type ? arena_text(&late->texts, a->content_type) : NULL;
    late->answer.text = copied(&late->texts, a->text);
    weir_attr *headers = arena_take(&late->texts, a->headers.count * sizeof *headers + 1);
    for (size_t i = 0; i < a->headers.count; i++)
        headers[i] = (weir_attr){copied(&late->texts, a->headers.items[i].key),
                                 copied(&late->texts, a->headers.items[i].value)};
    late->answer.headers.items = headers;
    loop_post(l->worker->loop, &late->task);
}

static void answer(const weir_http_server *s, weir_http_call *take, const weir_http_answer *a)
{
    struct http_request *r = (struct http_request *)take;
    struct lane *l = r->user;
    const struct http_answer out = {a->status, a->content_type, a->headers, a->text, a->take};
    if (worker_current() == l->worker) {
        l->busy--;
        http_answer(r, &out);
    } else {
        answer_late(l, r, &out);
    }
}

void service_http_server_init(struct service_tables *t)
{
    t->http_server = (weir_http_server){WEIR_OFFER(WEIR_HTTP_SERVER), listen_on, route, answer};
}

/* Called on each worker. */
void service_http_drain_worker(struct pipeline *p, const struct worker *w)
{
    (void)pthread_mutex_lock(&p->lock);
    for (struct weir_http_listener *at = p->listeners; at; at = at->next)
        for (size_t i = 0; i < at->count; i++)
            if (at->stage->lanes[i]->worker == w && at->stage->role == ROLE_SOURCE &&
                at->servers[i])
                http_server_drain(at->servers[i]);
    (void)pthread_mutex_unlock(&p->lock);
}

/* ---- the client ---- */

enum { ANSWER_MAX = 16 << 20 };

struct fetch {
    struct lane *lane;
    const weir_batch *batch;
    const void *arg;
    weir_payload *body;
    weir_status (*judge)(void *self, const weir_host *h, const weir_http_reply *reply,
                         const void *arg, weir_batch *out);
};

static weir_status judge_status(const weir_http_reply *r)
{
    int s = r->status;
    if (r->error || s == 408 || s == 425 || s == 429 || s >= 500)
        return WEIR_E_RETRY;
    if (s == 401 || s == 403 || s == 407)
        return WEIR_E_CONFIG;
    return s >= 200 && s < 300 ? WEIR_OK : WEIR_E_REJECT;
}

static void say_why(struct lane *l, const weir_http_reply *r)
{
    if (l->why[0])
        return;
    if (r->error)
        (void)snprintf(l->why, sizeof l->why, "%s", r->error);
    else
        (void)snprintf(l->why, sizeof l->why, "HTTP status %d: %.*s", r->status,
                       (int)(r->body->len < 160 ? r->body->len : 160), r->body->ptr);
}

static void fetch_done(void *user, const struct http_fetch_result *result)
{
    struct fetch *f = user;
    struct lane *l = f->lane;
    struct pipeline *p = l->stage->pipeline;
    weir_http_reply reply = {result->status, NULL, result->headers, result->error};
    bool has_out = l->stage->role == ROLE_SOURCE || l->stage->role == ROLE_TRANSFORM;
    if (l->stage->inlet && (result->status == 429 || result->status == 503))
        inlet_pause(l->stage->inlet, retry_after_ns(result->headers, clock_wall(p->clock)));
    reply.body = payload_force(&p->budget, result->body.ptr, result->body.len);
    struct batch *out = has_out ? lane_birth_begin(l) : NULL;
    lane_enter(l, NULL, out);
    weir_status s = f->judge
                        ? f->judge(l->stage->self, &l->host, &reply, f->arg, out ? &out->pub : NULL)
                        : judge_status(&reply);
    if (s < WEIR_OK)
        say_why(l, &reply);
    if (f->batch)
        l->host.done(&l->host, f->batch, s);
    lane_leave(l);
    if (out)
        lane_birth_end(l, out, s);
    payload_unref(reply.body);
    payload_unref(f->body);
    mem_free(f);
    l->busy--;
}

static struct http_client *client_of(struct lane *l, struct error *e)
{
    struct worker *w = l->worker;
    if (!w->http)
        w->http = http_client_new(w->loop, e);
    return w->http;
}

/* An answer is heard whatever room there is, so it may only be a part of the budget. */
static uint64_t answer_max(const struct budget *b)
{
    uint64_t share = b->limit_bytes / 8;
    return share < ANSWER_MAX ? share : ANSWER_MAX;
}

static struct http_fetch fetch_of(struct lane *l, const weir_http_request *r)
{
    struct http_fetch f = {
        .method = r->method ? r->method
                  : r->take ? "POST"
                            : "GET",
        .url = r->url,
        .timeout_ns = r->timeout.ns,
        .answer_max = answer_max(lane_budget(l)),
        .budget = lane_budget(l),
        .ca_file = r->size >= WEIR_UPTO(weir_http_request, ca_file) ? r->ca_file : NULL,
    };
    weir_attr *headers = arena_take(&l->scratch, (r->headers.count + 2) * sizeof *headers);
    size_t n = 0;
    for (; n < r->headers.count; n++)
        headers[n] = r->headers.items[n];
    if (r->content_type)
        headers[n++] = (weir_attr){weir_text("Content-Type"), weir_text(r->content_type)};
    if (r->bearer) {
        weir_str token = l->host.secret(&l->host, r->bearer);
        char *text = arena_format(&l->scratch, "Bearer %.*s", (int)token.len, token.ptr);
        headers[n++] = (weir_attr){weir_text("Authorization"), weir_text(text)};
    }
    f.headers = (weir_pairs){n, headers};
    if (r->take)
        f.body = (weir_str){r->take->ptr, r->take->len};
    return f;
}

static weir_status send_request(const weir_http_client *c, const weir_http_request *r)
{
    struct lane *l = service_lane("weir.http_client/1");
    struct error e = {0};
    bool is_stopping = atomic_load(&l->stage->pipeline->is_stopping);
    struct http_client *client = is_stopping ? NULL : client_of(l, &e);
    struct http_fetch f = fetch_of(l, r);
    struct fetch *job = MEM_NEW(struct fetch);
    *job = (struct fetch){l, r->batch, r->arg, r->take, r->judge};
    f.done = fetch_done;
    f.user = job;
    if (client && !l->is_short && http_client_fetch(client, &f, &e) == 0) {
        l->busy++;
        return WEIR_PENDING;
    }
    payload_unref(r->take);
    mem_free(job);
    return l->is_short || is_stopping ? WEIR_E_RETRY
                                      : l->host.fail(&l->host, WEIR_E_CONFIG, 0, "%s", e.text);
}

struct waited {
    struct lane *lane;
    weir_http_reply *reply;
};

static void waited_done(void *user, const struct http_fetch_result *result)
{
    struct waited *w = user;
    struct lane *l = w->lane;
    weir_attr *headers = arena_take(&l->scratch, result->headers.count * sizeof *headers + 1);
    for (size_t i = 0; i < result->headers.count; i++)
        headers[i] = (weir_attr){copied(&l->scratch, result->headers.items[i].key),
                                 copied(&l->scratch, result->headers.items[i].value)};
    w->reply = arena_take(&l->scratch, sizeof *w->reply);
    w->reply->status = result->status;
    w->reply->headers = (weir_pairs){result->headers.count, headers};
    w->reply->error = result->error ? arena_text(&l->scratch, result->error) : NULL;
    w->reply->body = payload_force(lane_budget(l), result->body.ptr, result->body.len);
    MEM_PUSH(l->held, l->held_count, l->held_cap) = w->reply->body;
}

static weir_status fetch_waiting(const weir_http_client *c, const weir_http_request *r,
                                 const weir_http_reply **reply)
{
    struct lane *l = service_lane("weir.http_client/1");
    struct error e = {0};
    struct waited w = {l, NULL};
    struct http_fetch f = fetch_of(l, r);
    f.done = waited_done;
    f.user = &w;
    int failed = http_fetch_wait(&f, &e);
    payload_unref(r->take);
    if (failed)
        return l->host.fail(&l->host, WEIR_E_RETRY, 0, "%s", e.text);
    *reply = w.reply;
    return judge_status(w.reply);
}

void service_http_client_init(struct service_tables *t)
{
    t->http_client = (weir_http_client){WEIR_OFFER(WEIR_HTTP_CLIENT), send_request, fetch_waiting};
}
