/* pipeline/host.c: the functions that a plugin gets: weir_host. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/id.h"
#include "base/log.h"
#include "pipeline/inlet.h"
#include "pipeline/lane.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "json/json.h"

/* A contract that a plugin broke is a bug of the plugin: it is named, and the process ends. */
static void blame(const struct lane *l, const char *what)
{
    log_write(WEIR_ERROR, l->stage->name, "plugin %s broke the contract: %s",
              l->stage->component->name, what);
    abort();
}

static void require_callback(const struct lane *l, const char *function)
{
    if (lane_current() == l)
        return;
    char what[128];
    (void)snprintf(what, sizeof what, "%s was called outside of its callbacks", function);
    blame(l, what);
}

__attribute__((format(printf, 3, 4))) static void host_log(const weir_host *h, weir_level level,
                                                           const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vwrite(level, h->instance, fmt, args);
    va_end(args);
}

__attribute__((format(printf, 4, 5))) static weir_status host_fail(const weir_host *h,
                                                                   weir_status s, int sys_errno,
                                                                   const char *fmt, ...)
{
    struct lane *l = lane_of(h);
    char text[256], reason[96];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (sys_errno)
        (void)snprintf(text + used, sizeof text - used, ": %s",
                       error_sys_text(sys_errno, reason, sizeof reason));
    if (lane_current() == l)
        memcpy(l->why, text, sizeof l->why);
    uint64_t held = 0;
    bool is_told =
        lane_current() == l && !l->stage->is_started; /* by whoever checks or starts it */
    if (!is_told && log_limit_pass(&l->stage->fail_limit, 1, &held))
        log_write(s == WEIR_E_RETRY ? WEIR_WARN : WEIR_ERROR, h->instance, "%s%s", text,
                  held ? " (and others)" : "");
    return s;
}

static void host_observe(const weir_host *h, weir_metric *m, double value)
{
    metric_observe(m, value);
}

static int64_t host_now(const weir_host *h)
{
    const struct lane *l = lane_of(h);
    const struct clock *c = l->stage->pipeline ? l->stage->pipeline->clock : &clock_real;
    return clock_wall(c);
}

static weir_payload *checked(struct lane *l, weir_payload *p)
{
    if (!p && lane_current() == l)
        l->is_short = true;
    return p;
}

static weir_payload *host_alloc(const weir_host *h, size_t n, char **data)
{
    struct lane *l = lane_of(h);
    struct budget *b = lane_budget(l);
    weir_payload *p = checked(l, payload_new(b, n, data));
    if (!p && n > b->limit_bytes && lane_current() == l) /* and never will there be */
        (void)snprintf(l->why, sizeof l->why,
                       "%zu bytes are more than `memory` lets one have: %llu", n,
                       (unsigned long long)b->limit_bytes);
    return p;
}

static weir_payload *host_wrap(const weir_host *h, weir_str bytes, void (*release)(void *),
                               void *arg)
{
    struct lane *l = lane_of(h);
    return checked(l, payload_wrap(lane_budget(l), bytes, release, arg));
}

static weir_payload *host_slice(const weir_host *h, weir_payload *p, size_t from, size_t n)
{
    return p ? checked(lane_of(h), payload_slice(p, from, n)) : NULL;
}

static weir_payload *host_join(const weir_host *h, const weir_batch *b, const char *separator)
{
    struct lane *l = lane_of(h);
    weir_str gap = weir_text(separator);
    size_t total = 0;
    char *data = NULL;
    for (size_t i = 0; i < b->count; i++)
        total += b->events[i]->body->len + gap.len;
    weir_payload *p = checked(l, payload_new(lane_budget(l), total, &data));
    if (!p)
        return NULL;
    for (size_t i = 0; i < b->count; i++) {
        const weir_payload *body = b->events[i]->body;
        memcpy(data, body->ptr, body->len);
        memcpy(data + body->len, gap.ptr, gap.len);
        data += body->len + gap.len;
    }
    return p;
}

static weir_payload *host_ref(const weir_host *h, weir_payload *p)
{
    return payload_ref(p);
}

static void host_unref(const weir_host *h, weir_payload *take)
{
    payload_unref(take);
}

struct call {              /* mark, done or post from another thread, on its way home */
    struct loop_task task; /* first */
    struct lane *lane;
    struct batch *batch;
    size_t i;
    weir_status status;
    char *why;
    void (*fn)(void *self, const weir_host *h, void *arg);
    void *arg;
};

static void call_home(struct lane *l, struct call call, void (*fn)(struct loop_task *t))
{
    struct call *c = MEM_NEW(struct call);
    *c = call;
    c->lane = l;
    c->task = (struct loop_task){.fn = fn, .user = c};
    loop_post(l->worker->loop, &c->task);
}

static void mark_home(struct lane *l, struct batch *b, size_t i, weir_status s, const char *why)
{
    struct event *ev = b->events[i];
    if (ev->is_marked || b->is_abandoned)
        return;
    ev->is_marked = 1;
    transform_mark(l, ev, s, why);
}

static void mark_here(struct lane *l, struct batch *b, size_t i, weir_status s, const char *why)
{
    unsigned depth = worker_plugin_suspend(l->worker);
    mark_home(l, b, i, s, why);
    worker_plugin_resume(l->worker, depth);
}

static void on_mark(struct loop_task *t)
{
    struct call *c = t->user;
    mark_home(c->lane, c->batch, c->i, c->status, c->why);
    mem_free(c->why);
    mem_free(c);
}

static void host_mark(const weir_host *h, const weir_batch *pub, size_t i, weir_status s,
                      const char *why)
{
    struct lane *l = lane_of(h);
    struct batch *b = batch_of(pub);
    if (i >= pub->count)
        blame(l, "mark was called with a number beyond the batch");
    if (l->stage->role == ROLE_SINK)
        inlet_mark(l->stage->inlet, b, i, s, why);
    else if (worker_current() == l->worker)
        mark_here(l, b, i, s, why);
    else
        call_home(l,
                  (struct call){.batch = b, .i = i, .status = s, .why = why ? mem_text(why) : NULL},
                  on_mark);
}

static void done_home(struct lane *l, struct batch *b, weir_status s)
{
    if (b->is_abandoned)
        return;
    if (!b->is_kept) { /* still inside of the callback that was given the batch */
        b->is_done = true;
        b->done_status = s;
    } else if (l->stage->role == ROLE_SINK) {
        inlet_done(l->stage->inlet, b, s, l->why[0] ? l->why : NULL);
    } else {
        transform_end_kept(l, b, s);
    }
}

static void on_done(struct loop_task *t)
{
    struct call *c = t->user;
    done_home(c->lane, c->batch, c->status);
    mem_free(c);
}

static void host_done(const weir_host *h, const weir_batch *take, weir_status s)
{
    struct lane *l = lane_of(h);
    if (worker_current() == l->worker) {
        unsigned depth = worker_plugin_suspend(l->worker);
        done_home(l, batch_of(take), s);
        worker_plugin_resume(l->worker, depth);
        return;
    }
    call_home(l, (struct call){.batch = batch_of(take), .status = s}, on_done);
}

static void host_wake(const weir_host *h)
{
    struct lane *l = lane_of(h);
    if (!atomic_exchange(&l->is_wake_posted, true))
        loop_post(l->worker->loop, &l->wake_task);
}

static void on_post(struct loop_task *t)
{
    struct call *c = t->user;
    lane_enter(c->lane, NULL, NULL);
    c->fn(c->lane->stage->self, &c->lane->host, c->arg);
    lane_leave(c->lane);
    mem_free(c);
}

static void host_post(const weir_host *h, void (*fn)(void *self, const weir_host *h, void *arg),
                      void *arg)
{
    call_home(lane_of(h), (struct call){.fn = fn, .arg = arg}, on_post);
}

__attribute__((format(printf, 4, 5))) static weir_status host_refuse(const weir_host *h,
                                                                     const void *member, size_t at,
                                                                     const char *fmt, ...)
{
    const struct lane *l = lane_of(h);
    char text[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const struct node *node = places_find(l->stage->plan->places, member);
    diag_add_at(l->stage->document, DIAG_ERROR, node ? node : l->stage->plan->node, at, NULL, "%s",
                text);
    return WEIR_E_CONFIG;
}

static void *host_keep(const weir_host *h, size_t n)
{
    return arena_take(&lane_of(h)->keep, n);
}

static void *host_scratch(const weir_host *h, size_t n)
{
    return arena_take(&lane_of(h)->scratch, n);
}

static weir_metric *host_metric(const weir_host *h, int kind, const char *name, const char *help)
{
    const struct lane *l = lane_of(h);
    static weir_metric nowhere = {.kind = WEIR_COUNTER};
    char full[128];
    if (!l->stage->pipeline)
        return &nowhere;
    size_t n = strlen(name);
    bool is_total = n > 6 && strcmp(name + n - 6, "_total") == 0;
    const char *ending = kind == WEIR_COUNTER && !is_total ? "_total" : "";
    (void)snprintf(full, sizeof full, "weir_%s_%s%s", l->stage->component->name, name, ending);
    for (char *c = full; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_", *c))
            *c = '_';
    const struct metric_key key = {kind, full, help, h->instance, NULL, NULL};
    return metrics_get(l->stage->pipeline->metrics, &key);
}

static weir_str host_secret(const weir_host *h, const weir_secret *s)
{
    struct lane *l = lane_of(h);
    struct error e = {0};
    struct buf text = {0};
    if (!s)
        return (weir_str){0};
    if (secret_read(s, &text, &e) < 0)
        log_write(WEIR_ERROR, h->instance, "%s", e.text);
    weir_str copy = {arena_copy(&l->scratch, text.ptr, text.len), text.len};
    if (text.ptr)
        explicit_bzero(text.ptr, text.cap);
    buf_fini(&text);
    return copy;
}

/* ---- events ---- */

static struct batch *out_of(const weir_host *h, weir_batch *out, const char *function)
{
    require_callback(lane_of(h), function);
    return batch_of(out);
}

static weir_event *host_add(const weir_host *h, weir_batch *pub, weir_payload *take)
{
    struct lane *l = lane_of(h);
    struct batch *out = out_of(h, pub, "add");
    if (!take)
        l->is_short = true;
    struct event *ev = event_new(out->block, take);
    int64_t now = worker_now(l->worker);
    id_make(&ev->pub.id, now);
    ev->pub.time_ns = now;
    batch_add(out, ev);
    if (l->stage->role != ROLE_SOURCE)
        out->has_orphans = true;
    return &ev->pub;
}

static weir_event *host_pass(const weir_host *h, weir_batch *pub, const weir_event *in)
{
    struct batch *out = out_of(h, pub, "pass");
    struct event *from = event_of(in), *ev = event_copy(out->block, from);
    from->is_passed = 1;
    ev->slot = from->slot;
    slot_ref(ev->slot, 1);
    batch_add(out, ev);
    return &ev->pub;
}

static void host_to(const weir_host *h, weir_event *pub, uint32_t port)
{
    struct lane *l = lane_of(h);
    require_callback(l, "to");
    if (port + 1 >= l->stage->port_count)
        blame(l, "to was called with a port that the stage does not have");
    event_add_port(event_of(pub), port);
    if (l->out)
        l->out->has_ports = true;
}

static void host_set_body(const weir_host *h, weir_event *ev, weir_payload *take)
{
    require_callback(lane_of(h), "set_body");
    if (!take) {
        lane_of(h)->is_short = true;
        return;
    }
    payload_unref(ev->body);
    ev->body = take;
}

static weir_str scratch_text(struct lane *l, const char *text, size_t n)
{
    return (weir_str){arena_copy(&l->scratch, text, n), n};
}

enum { TRACEPARENT_BYTES = 55 };

static char *put_hex(char *at, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    return at;
}

static weir_str get_traceparent(struct lane *l, const weir_trace *t)
{
    static const weir_trace none;
    char text[TRACEPARENT_BYTES], *at = text;
    if (memcmp(t, &none, sizeof none) == 0)
        return (weir_str){0};
    memcpy(at, "00-", 3);
    at = put_hex(at + 3, t->trace, sizeof t->trace);
    *at++ = '-';
    at = put_hex(at, t->span, sizeof t->span);
    *at++ = '-';
    (void)put_hex(at, &t->flags, 1);
    return scratch_text(l, text, sizeof text);
}

static weir_str get_envelope(struct lane *l, const weir_event *ev, const char *name)
{
    char text[64];
    if (strcmp(name, "id") == 0) {
        id_format(&ev->id, text);
        return scratch_text(l, text, ID_TEXT_BYTES - 1);
    }
    if (strcmp(name, "time") == 0)
        return scratch_text(l, text, clock_format(ev->time_ns, 3, text));
    if (strcmp(name, "source") == 0)
        return ev->source;
    if (strcmp(name, "type") == 0)
        return ev->type;
    if (strcmp(name, "key") == 0)
        return ev->key;
    if (strcmp(name, "traceparent") == 0)
        return get_traceparent(l, &ev->trace);
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (weir_same(ev->attrs.items[i].key, name))
            return ev->attrs.items[i].value;
    return (weir_str){0};
}

/* A text member comes without its quotes; the rest as it is written. */
static weir_str host_get(const weir_host *h, const weir_event *ev, const char *path)
{
    struct lane *l = lane_of(h);
    if (*path == '@')
        return get_envelope(l, ev, path + 1);
    weir_str body = {ev->body->ptr, ev->body->len};
    if (!payload_is_json(ev->body)) {
        if (json_check(body, NULL, NULL) != WEIR_OK)
            return (weir_str){0};
        payload_set_json(ev->body);
    }
    weir_str value = json_find(body, path);
    if (value.ptr && json_kind(value) == WEIR_JSON_TEXT)
        return json_unquote(value, &l->scratch);
    return value;
}

static bool parse_hex(weir_str text, uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    if (text.len < 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *high = text.ptr[2 * i] ? strchr(digits, text.ptr[2 * i]) : NULL;
        const char *low = text.ptr[2 * i + 1] ? strchr(digits, text.ptr[2 * i + 1]) : NULL;
        if (!high || !low)
            return false;
        bytes[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

/* W3C Trace Context, level 1: 00-<32 hex>-<16 hex>-<2 hex>, ids not zero. */
static weir_status set_traceparent(weir_event *ev, weir_str v)
{
    static const weir_trace none;
    weir_trace t = {0};
    bool ok = v.len == TRACEPARENT_BYTES && memcmp(v.ptr, "00-", 3) == 0 && v.ptr[35] == '-' &&
              v.ptr[52] == '-';
    ok = ok && parse_hex((weir_str){v.ptr + 3, 32}, t.trace, 16) &&
         parse_hex((weir_str){v.ptr + 36, 16}, t.span, 8) &&
         parse_hex((weir_str){v.ptr + 53, 2}, &t.flags, 1);
    if (!ok || memcmp(t.trace, none.trace, 16) == 0 || memcmp(t.span, none.span, 8) == 0)
        return WEIR_E_REJECT;
    ev->trace = t;
    return WEIR_OK;
}

static weir_status set_attr(struct block *b, weir_event *ev, const char *name, weir_str value)
{
    if (!*name || ev->attrs.count >= UINT16_MAX)
        return WEIR_E_REJECT;
    weir_attr *items = block_take(b, (ev->attrs.count + 1) * sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (!weir_same(ev->attrs.items[i].key, name))
            items[n++] = ev->attrs.items[i];
    if (value.ptr)
        items[n++] = (weir_attr){block_text(b, weir_text(name)), block_text(b, value)};
    ev->attrs = (weir_pairs){n, items};
    return WEIR_OK;
}

/* Shorter than a call of strcmp: this runs for each event. */
static bool is_name(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static weir_status set_text(struct block *b, weir_str *member, weir_str value)
{
    if (value.len > UINT32_MAX / 4)
        return WEIR_E_REJECT;
    *member = value.len ? block_text(b, value) : (weir_str){0};
    return WEIR_OK;
}

/* First the members that nearly every event gets. */
static weir_status set_envelope(struct block *b, weir_event *ev, const char *name, weir_str value)
{
    if (is_name(name, "source"))
        return set_text(b, &ev->source, value);
    if (is_name(name, "type"))
        return set_text(b, &ev->type, value);
    if (is_name(name, "key"))
        return set_text(b, &ev->key, value);
    if (strcmp(name, "id") == 0)
        return id_parse(value, &ev->id) ? WEIR_OK : WEIR_E_REJECT;
    if (strcmp(name, "time") == 0)
        return clock_parse(value, &ev->time_ns);
    if (strcmp(name, "traceparent") == 0)
        return set_traceparent(ev, value);
    return set_attr(b, ev, name, value);
}

static weir_status host_set(const weir_host *h, weir_event *ev, const char *path, weir_str value)
{
    require_callback(lane_of(h), "set");
    if (*path != '@')
        return WEIR_E_REJECT;
    return set_envelope(event_of(ev)->block, ev, path + 1, value);
}

static void host_bind(const weir_host *h, weir_batch *pub, const weir_batch *take)
{
    struct batch *out = out_of(h, pub, "bind"), *kept = batch_of(take);
    if (kept->is_abandoned)
        return;
    if (!kept->is_kept)
        blame(lane_of(h), "bind was given a batch that is not kept");
    kept->next_bound = out->bound;
    out->bound = kept;
}

/* ---- the loop ---- */

static void on_watch(struct loop_watch *w, uint32_t events)
{
    struct lane_watch *lw = w->user;
    struct lane *l = lw->lane;
    const weir_component *c = l->stage->component;
    int what = (events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? WEIR_READ : 0) |
               (events & (EPOLLOUT | EPOLLERR) ? WEIR_WRITE : 0);
    if (!c->ready) {
        if (l->stage->role == ROLE_SOURCE)
            worker_due(l);
        return;
    }
    lane_enter(l, NULL, NULL);
    weir_status s = c->ready(l->stage->self, &l->host, w->fd, what);
    lane_leave(l);
    if (s == WEIR_OK && l->stage->role == ROLE_SOURCE)
        worker_due(l);
}

static weir_status host_watch(const weir_host *h, int fd, int read_write)
{
    struct lane *l = lane_of(h);
    struct lane_watch *w = l->watches;
    require_callback(l, "watch");
    while (w && (w->is_dead || w->watch.fd != fd))
        w = w->next;
    uint32_t events = (read_write & WEIR_READ ? (uint32_t)EPOLLIN : 0) |
                      (read_write & WEIR_WRITE ? (uint32_t)EPOLLOUT : 0);
    if (!events) {
        if (w) {
            loop_remove(l->worker->loop, &w->watch);
            w->is_dead = true;
        }
        return WEIR_OK;
    }
    if (w)
        return loop_change(l->worker->loop, &w->watch, events) == 0 ? WEIR_OK : WEIR_E_FATAL;
    for (w = l->watches; w && !w->is_dead;)
        w = w->next;
    if (!w) {
        w = arena_take(&l->keep, sizeof *w);
        w->next = l->watches;
        w->lane = l;
        l->watches = w;
    }
    w->is_dead = false;
    w->watch = (struct loop_watch){.fd = fd, .events = events, .fn = on_watch, .user = w};
    if (loop_add(l->worker->loop, &w->watch) == 0)
        return WEIR_OK;
    w->is_dead = true;
    return WEIR_E_FATAL;
}

static void on_timer(struct loop_timer *t)
{
    struct lane_timer *lt = t->user;
    lane_timer_fired(lt->lane, lt->id);
}

/* A plugin that compares times in tick would find nothing due if its timer came early. */
static int64_t counted_from_now(const struct loop *l, int64_t after_ns)
{
    int64_t lag = loop_lag(l);
    return after_ns < INT64_MAX - lag ? after_ns + lag : after_ns;
}

static void host_timer(const weir_host *h, uint32_t id, weir_duration after)
{
    struct lane *l = lane_of(h);
    struct lane_timer *t = l->timers;
    require_callback(l, "timer");
    while (t && t->id != id)
        t = t->next;
    if (!t) {
        t = arena_take(&l->keep, sizeof *t);
        *t = (struct lane_timer){.next = l->timers, .lane = l, .id = id};
        t->timer.fn = on_timer;
        t->timer.user = t;
        l->timers = t;
    }
    if (after.ns < 0)
        loop_timer_cancel(l->worker->loop, &t->timer);
    else
        loop_timer_set(l->worker->loop, &t->timer, counted_from_now(l->worker->loop, after.ns));
}

static void host_hold(const weir_host *h, weir_duration after)
{
    struct lane *l = lane_of(h);
    require_callback(l, "hold");
    if (l->stage->inlet)
        inlet_pause(l->stage->inlet, after.ns);
}

static void host_single(const weir_host *h)
{
    struct lane *l = lane_of(h);
    require_callback(l, "single");
    l->stage->is_single = true;
}

const weir_host host_table = {
    .size = sizeof(weir_host),
    .abi = WEIR_ABI_MAJOR << 16,
    .log = host_log,
    .fail = host_fail,
    .observe = host_observe,
    .now = host_now,
    .alloc = host_alloc,
    .wrap = host_wrap,
    .slice = host_slice,
    .join = host_join,
    .ref = host_ref,
    .unref = host_unref,
    .mark = host_mark,
    .done = host_done,
    .wake = host_wake,
    .post = host_post,
    .refuse = host_refuse,
    .keep = host_keep,
    .scratch = host_scratch,
    .metric = host_metric,
    .secret = host_secret,
    .add = host_add,
    .pass = host_pass,
    .to = host_to,
    .set_body = host_set_body,
    .get = host_get,
    .set = host_set,
    .bind = host_bind,
    .watch = host_watch,
    .timer = host_timer,
    .hold = host_hold,
    .single = host_single,
};
