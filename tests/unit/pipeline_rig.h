/* unit/pipeline_rig.h: a pipeline in memory: YAML text, components that the tests steer, a folder in
 * TMPDIR. Events carry {"n":N}: what became of N is told to told[N], and who got it to got[sink][N]. */
#pragma once
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#undef fail /* Check's, and a member of the host table */
#include "base/log.h"
#include "pipeline/audit.h"
#include "pipeline/control.h"
#include "pipeline/inlet.h"
#include "pipeline/letters.h"
#include "pipeline/memory.h"
#include "pipeline/pipeline.h"

enum { EVENTS = 40000, SINKS = 4, KEYS = 64, WAIT_MS = 20000 };

struct told {
    int times;
    weir_outcome outcome;
    weir_status error;
    bool is_dead_lettered;
    char why[96], stage[32], result[64];
};

static struct {
    pthread_mutex_t lock;
    struct told told[EVENTS];
    int told_count;
    int got[SINKS][EVENTS];
    int got_count[SINKS];
    int tries[EVENTS];
    int last[SINKS][KEYS];   /* 1 + the last number that a sink got of a key */
    int disorder;            /* how often it got an earlier one after that */
    int threads;             /* of sinks of mode thread */
    int kept;                /* batches that gather has */
    _Atomic int is_released; /* hold and keep give what they have */
    _Atomic int is_failing;  /* sinks of mode "switch" */
    _Atomic int batch_max;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline int number_of_event(const weir_event *ev)
{
    const char *at = ev->body->len > 5 ? memmem(ev->body->ptr, ev->body->len, "\"n\":", 4) : NULL;
    return at ? atoi(at + 4) : -1; /* NOLINT(cert-err34-c): the test's own text */
}

static inline void world_clear(void)
{
    (void)pthread_mutex_lock(&world.lock);
    memset(world.told, 0, sizeof world.told);
    memset(world.got, 0, sizeof world.got);
    memset(world.got_count, 0, sizeof world.got_count);
    memset(world.tries, 0, sizeof world.tries);
    memset(world.last, 0, sizeof world.last);
    world.disorder = 0;
    world.told_count = world.kept = 0;
    world.is_released = world.is_failing = world.batch_max = 0;
    (void)pthread_mutex_unlock(&world.lock);
}

/* ---- feed: a source ---- */

struct feed {
    int64_t first, count, batch, pad, fails, keys;
    int when;
    bool ends;
    int64_t next;
};

static const weir_option feed_options[] = {
    WEIR_OPTION(struct feed, first, .preset = "0", .help = "number of the first event"),
    WEIR_OPTION(struct feed, count, .preset = "0", .help = "number behind the last one"),
    WEIR_OPTION(struct feed, batch, .preset = "7", .help = "events in a batch"),
    WEIR_OPTION(struct feed, pad, .preset = "0", .help = "bytes more"),
    WEIR_OPTION(struct feed, fails, .preset = "0", .help = "pulls that fail first"),
    WEIR_OPTION(struct feed, keys, .preset = "0", .max = KEYS, .help = "how many k there are"),
    WEIR_OPTION(struct feed, when, .choices = "settled|durable|result|safe", .help = "WEIR_WHEN_*"),
    WEIR_OPTION(struct feed, ends, .help = "END after the last"),
    {0}};

static inline weir_status feed_pull(void *self, const weir_host *h, weir_batch *out)
{
    struct feed *f = self;
    int64_t first = f->next > f->first ? f->next : f->first, n = 0;
    if (f->fails && f->fails--)
        return h->fail(h, WEIR_E_RETRY, 0, "nobody is there");
    if (first == f->count)
        return f->ends ? WEIR_END : WEIR_IDLE;
    out->cookie = (uint64_t)first;
    out->when = (uint32_t)f->when;
    for (; n < f->batch && first + n < f->count; n++) {
        char *data = NULL;
        weir_payload *p = h->alloc(h, 32 + (size_t)f->pad, &data);
        if (!p) {
            (void)h->add(h, out, NULL);
            return WEIR_OK;
        }
        memset(data, ' ', 32 + (size_t)f->pad);
        char text[64];
        int len = snprintf(text, sizeof text, "{\"n\":%d,\"odd\":%s", (int)(first + n),
                           (first + n) % 2 ? "true" : "false");
        if (f->keys)
            len += snprintf(text + len, sizeof text - (size_t)len, ",\"k\":%d",
                            (int)((first + n) % f->keys));
        text[len++] = '}';
        ck_assert_int_le(len, 32 + (int)f->pad);
        memcpy(data, text, (size_t)len);
        weir_event *ev = h->add(h, out, p);
        (void)h->set(h, ev, "@source", weir_text("feed"));
        (void)h->set(h, ev, "@tone", weir_text("low"));
    }
    f->next = first + n;
    return WEIR_OK;
}

static inline void told_one(struct told *t, const weir_verdict *v)
{
    t->times++;
    t->outcome = v->outcome;
    t->error = v->error;
    t->is_dead_lettered = v->is_dead_lettered;
    (void)snprintf(t->why, sizeof t->why, "%s", v->why ? v->why : "");
    (void)snprintf(t->stage, sizeof t->stage, "%s", v->stage ? v->stage : "");
    if (v->result)
        (void)snprintf(t->result, sizeof t->result, "%.*s", (int)v->result->body->len,
                       v->result->body->ptr);
}

static inline void feed_settled(void *self, const weir_host *h, const weir_settlement *s)
{
    weir_outcome least = WEIR_DELIVERED;
    (void)pthread_mutex_lock(&world.lock);
    for (size_t i = 0; i < s->count; i++) {
        told_one(&world.told[s->cookie + i], s->events[i]);
        if (s->events[i]->outcome < least)
            least = s->events[i]->outcome;
    }
    ck_assert_int_eq((int)s->outcome, (int)least);
    world.told_count += (int)s->count;
    (void)pthread_mutex_unlock(&world.lock);
}

/* ---- edit: a transform, event by event ---- */

enum { EDIT_PASS, EDIT_DROP, EDIT_REJECT, EDIT_RETRY, EDIT_WRITE, EDIT_CONFIG };
struct edit {
    int mode;
    int64_t times;
    const char *tone;
};
static const weir_option edit_options[] = {
    WEIR_OPTION(struct edit, mode, .choices = "pass|drop|reject|retry|write|config",
                .help = "what"),
    WEIR_OPTION(struct edit, times, .preset = "0", .help = "failures of each event"),
    WEIR_OPTION(struct edit, tone, .preset = "high", .help = "what write sets"),
    {0}};

static inline int try_of(int n)
{
    (void)pthread_mutex_lock(&world.lock);
    int tries = ++world.tries[n];
    (void)pthread_mutex_unlock(&world.lock);
    return tries;
}

static inline int rig_tries(int n)
{
    (void)pthread_mutex_lock(&world.lock);
    int tries = world.tries[n];
    (void)pthread_mutex_unlock(&world.lock);
    return tries;
}

static inline weir_status edit_event(void *self, const weir_host *h, weir_event *ev)
{
    const struct edit *e = self;
    int n = number_of_event(ev);
    if (e->mode == EDIT_PASS || (e->mode != EDIT_WRITE && n % 2 == 0))
        return WEIR_OK;
    if (e->mode == EDIT_DROP)
        return WEIR_DROP;
    if (e->mode == EDIT_REJECT)
        return h->fail(h, WEIR_E_REJECT, 0, "no %d here", n);
    if (e->mode == EDIT_WRITE) {
        char *data = NULL;
        weir_payload *p = h->alloc(h, 32, &data);
        if (p)
            memset(data, ' ', 32);
        if (p)
            (void)snprintf(data, 32, "{\"tone\":\"%s\",\"n\":%d}", e->tone, n);
        for (size_t i = 0; p && i < 32; i++)
            data[i] = data[i] ? data[i] : ' ';
        h->set_body(h, ev, p);
        return h->set(h, ev, "@tone", weir_text(e->tone));
    }
    weir_status s = e->mode == EDIT_CONFIG ? WEIR_E_CONFIG : WEIR_E_RETRY;
    return try_of(n) <= e->times ? h->fail(h, s, 0, "not yet") : WEIR_OK;
}

/* ---- gather: a transform, batch by batch ---- */

enum {
    GATHER_PASS,
    GATHER_ADD,
    GATHER_PORTS,
    GATHER_LOSE,
    GATHER_KEEP,
    GATHER_MARK,
    GATHER_RETRY,
    GATHER_MARK_RETRY,
    GATHER_KEEP_RETRY
};
enum { PORT_ODD = 1, PORT_EVEN };
static const char *const gather_ports[] = {"odd", "even", NULL};
struct gather {
    int mode;
    int64_t times;
    const weir_batch *kept[4096];
    size_t count;
};
static const weir_option gather_options[] = {
    WEIR_OPTION(struct gather, mode,
                .choices = "pass|add|ports|lose|keep|mark|retry|mark_retry|keep_retry",
                .help = "what"),
    WEIR_OPTION(struct gather, times, .preset = "0", .help = "failures of each event"),
    {0}};

static inline weir_status gather_keep(struct gather *g, const weir_host *h, const weir_batch *in)
{
    ck_assert_uint_lt(g->count, 4096);
    g->kept[g->count++] = in;
    (void)pthread_mutex_lock(&world.lock);
    world.kept++;
    (void)pthread_mutex_unlock(&world.lock);
    h->timer(h, 1, (weir_duration){1000000});
    return WEIR_PENDING;
}

static inline weir_status gather_add(const weir_host *h, const weir_batch *in, weir_batch *out)
{
    (void)h->add(h, out, h->ref(h, in->events[0]->body));
    return WEIR_OK;
}

static inline weir_status gather_mark(const struct gather *g, const weir_host *h,
                                      const weir_batch *in, weir_batch *out)
{
    for (size_t i = 0; i < in->count; i++) {
        int n = number_of_event(in->events[i]);
        if (g->mode == GATHER_MARK && n % 2)
            h->mark(h, in, i, n % 4 == 1 ? WEIR_DROP : WEIR_E_REJECT, "odd");
        else if (g->mode == GATHER_MARK_RETRY && n % 2 && try_of(n) <= g->times)
            h->mark(h, in, i, WEIR_E_RETRY, "again");
        else
            (void)h->pass(h, out, in->events[i]);
    }
    return WEIR_OK;
}

static inline weir_status gather_batch(void *self, const weir_host *h, const weir_batch *in,
                                       weir_batch *out)
{
    struct gather *g = self;
    if (g->mode == GATHER_KEEP || g->mode == GATHER_KEEP_RETRY)
        return gather_keep(g, h, in);
    if (g->mode == GATHER_ADD)
        return gather_add(h, in, out);
    if (g->mode == GATHER_MARK || g->mode == GATHER_MARK_RETRY)
        return gather_mark(g, h, in, out);
    for (size_t i = 0; i < in->count; i++) {
        int n = number_of_event(in->events[i]);
        if (g->mode == GATHER_LOSE && n % 2)
            continue;
        weir_event *ev = h->pass(h, out, in->events[i]);
        if (g->mode == GATHER_RETRY && try_of(n) <= g->times)
            return h->fail(h, WEIR_E_RETRY, 0, "not yet");
        if (g->mode != GATHER_PORTS)
            continue;
        h->to(h, ev, n % 2 ? PORT_ODD : PORT_EVEN);
        if (n % 10 == 0)
            h->to(h, ev, PORT_ODD);
    }
    return WEIR_OK;
}

static inline void gather_give(const struct gather *g, const weir_host *h, const weir_batch *b,
                               size_t i, weir_batch *out)
{
    int n = number_of_event(b->events[i]);
    if (g->mode == GATHER_KEEP && n % 2)
        h->mark(h, b, i, WEIR_DROP, NULL);
    else if (g->mode == GATHER_KEEP_RETRY && n % 2 && try_of(n) <= g->times)
        h->mark(h, b, i, WEIR_E_RETRY, "again");
    else
        (void)h->pass(h, out, b->events[i]);
}

/* Of all that is kept odd ones are dropped, or fail, by mark; the rest is passed. */
static inline weir_status gather_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    struct gather *g = self;
    if (!world.is_released) {
        h->timer(h, 1, (weir_duration){1000000});
        return WEIR_OK;
    }
    for (size_t k = 0; k < g->count; k++) {
        const weir_batch *b = g->kept[k];
        for (size_t i = 0; i < b->count; i++)
            gather_give(g, h, b, i, out);
        h->bind(h, out, b);
    }
    g->count = 0;
    return WEIR_OK;
}

/* ---- take: a sink ---- */

enum {
    TAKE_OK,
    TAKE_FAIL,
    TAKE_HALF,
    TAKE_THREAD,
    TAKE_SLOW,
    TAKE_HOLD,
    TAKE_SWITCH,
    TAKE_CONFIG,
    TAKE_STUCK
};
struct take {
    int mode;
    int64_t times, id;
    const char *tone;
    const weir_batch *held[64];
    size_t count;
};
static const weir_option take_options[] = {
    WEIR_OPTION(struct take, mode, .choices = "ok|fail|half|thread|slow|hold|switch|config|stuck",
                .help = "what"),
    WEIR_OPTION(struct take, times, .preset = "0", .help = "failures of each event"),
    WEIR_OPTION(struct take, id, .preset = "0", .max = SINKS - 1, .help = "where it counts"),
    WEIR_OPTION(struct take, tone, .help = "that every event must have"),
    {0}};

static inline void take_count(const struct take *t, const weir_event *ev)
{
    int n = number_of_event(ev);
    ck_assert_int_ge(n, 0);
    for (size_t i = 0; t->tone && i < ev->attrs.count; i++)
        if (weir_same(ev->attrs.items[i].key, "tone"))
            ck_assert(weir_same(ev->attrs.items[i].value, t->tone));
    (void)pthread_mutex_lock(&world.lock);
    if (ev->key.len) {
        int *last = &world.last[t->id][atoi(ev->key.ptr) % KEYS]; /* NOLINT(cert-err34-c) */
        world.disorder += *last > n;
        *last = n + 1;
    }
    world.got[t->id][n]++;
    world.got_count[t->id]++;
    (void)pthread_mutex_unlock(&world.lock);
}

static inline void take_all(const struct take *t, const weir_batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        take_count(t, b->events[i]);
    if ((int)b->count > world.batch_max)
        world.batch_max = (int)b->count;
}

struct doing {
    const weir_host *h;
    const weir_batch *b;
};

static inline void *done_elsewhere(void *arg)
{
    struct doing *d = arg;
    d->h->done(d->h, d->b, WEIR_OK);
    free(d);
    (void)pthread_mutex_lock(&world.lock);
    world.threads--;
    (void)pthread_mutex_unlock(&world.lock);
    return NULL;
}

static inline weir_status take_thread(const weir_host *h, const weir_batch *b)
{
    struct doing *d = malloc(sizeof *d);
    pthread_t thread;
    *d = (struct doing){h, b};
    (void)pthread_mutex_lock(&world.lock);
    world.threads++;
    (void)pthread_mutex_unlock(&world.lock);
    ck_assert_int_eq(pthread_create(&thread, NULL, done_elsewhere, d), 0);
    (void)pthread_detach(thread);
    return WEIR_PENDING;
}

static inline weir_status take_some(struct take *t, const weir_host *h, const weir_batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        int n = number_of_event(b->events[i]);
        if (t->mode == TAKE_FAIL && try_of(n) <= t->times)
            h->mark(h, b, i, WEIR_E_RETRY, "busy");
        else if (t->mode == TAKE_STUCK && n % 10 == 0 && !world.is_released && try_of(n))
            h->mark(h, b, i, WEIR_E_RETRY, "stuck");
        else if (t->mode == TAKE_HALF && n % 2)
            h->mark(h, b, i, WEIR_E_REJECT, "odd");
        else
            take_count(t, b->events[i]);
    }
    return WEIR_OK;
}

static inline weir_status take_write(void *self, const weir_host *h, const weir_batch *b)
{
    struct take *t = self;
    const struct timespec slow = {0, 500000};
    if (t->mode == TAKE_FAIL || t->mode == TAKE_HALF || t->mode == TAKE_STUCK)
        return take_some(t, h, b);
    if (t->mode == TAKE_SWITCH && world.is_failing)
        return h->fail(h, WEIR_E_RETRY, 0, "off");
    if (t->mode == TAKE_CONFIG && world.is_failing)
        return h->fail(h, WEIR_E_CONFIG, 0, "mend me");
    if (t->mode == TAKE_HOLD && !world.is_released) {
        ck_assert_uint_lt(t->count, 64);
        t->held[t->count++] = b;
        h->timer(h, 1, (weir_duration){1000000});
        return WEIR_PENDING;
    }
    if (t->mode == TAKE_SLOW)
        (void)nanosleep(&slow, NULL);
    take_all(t, b);
    return t->mode == TAKE_THREAD ? take_thread(h, b) : WEIR_OK;
}

/* Nothing of a plugin runs any more when it has stopped. */
static inline void take_stop(void *self, const weir_host *h)
{
    const struct timespec moment = {0, 100000};
    (void)pthread_mutex_lock(&world.lock);
    while (world.threads) {
        (void)pthread_mutex_unlock(&world.lock);
        (void)nanosleep(&moment, NULL);
        (void)pthread_mutex_lock(&world.lock);
    }
    (void)pthread_mutex_unlock(&world.lock);
}

static inline weir_status take_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    struct take *t = self;
    if (!world.is_released) {
        h->timer(h, 1, (weir_duration){1000000});
        return WEIR_OK;
    }
    while (t->count) {
        const weir_batch *b = t->held[--t->count];
        take_all(t, b);
        h->done(h, b, WEIR_OK);
    }
    return WEIR_OK;
}

/* ---- the components, each with and without flags ---- */

#define FEED(n, f) \
    { \
        .name = n, .version = "1", .summary = "events", .flags = (f), \
        .state_size = sizeof(struct feed), .options = feed_options, .pull = feed_pull, \
        .settled = feed_settled \
    }
#define EDIT(n, f) \
    { \
        .name = n, .version = "1", .summary = "edits", .flags = (f), \
        .state_size = sizeof(struct edit), .options = edit_options, .event = edit_event \
    }
#define GATHER(n, f) \
    { \
        .name = n, .version = "1", .summary = "gathers", .flags = (f), \
        .state_size = sizeof(struct gather), .options = gather_options, .ports = gather_ports, \
        .batch = gather_batch, .tick = gather_tick \
    }
#define TAKE(n, f) \
    { \
        .name = n, .version = "1", .summary = "takes", .flags = (f), \
        .state_size = sizeof(struct take), .options = take_options, .stop = take_stop, \
        .write = take_write, .tick = take_tick \
    }

static const weir_component rig_sources[] = {FEED("feed", 0), FEED("feed_replays", WEIR_REPLAYS),
                                             FEED("feed_blocking", WEIR_BLOCKING)};
static const weir_component rig_transforms[] = {EDIT("edit", 0),
                                                EDIT("edit_parallel", WEIR_PARALLEL),
                                                GATHER("gather", 0),
                                                GATHER("gather_blocking", WEIR_BLOCKING),
                                                GATHER("gather_in_order", WEIR_IN_ORDER)};
static const weir_component rig_sinks[] = {TAKE("take", 0), TAKE("take_keeps", WEIR_KEEPS),
                                           TAKE("take_blocking", WEIR_BLOCKING),
                                           TAKE("take_in_order", WEIR_IN_ORDER)};

static const weir_component *rig_more; /* a component of the test's own; may be NULL */

static inline const weir_component *rig_find(void *user, const char *name, enum role role,
                                             struct error *e)
{
    static const weir_component *const all[] = {rig_sources, rig_transforms, rig_sinks};
    static const size_t counts[] = {3, 5, 4};
    if (rig_more && role == ROLE_TRANSFORM && strcmp(rig_more->name, name) == 0)
        return rig_more;
    for (size_t i = 0; i < counts[role]; i++)
        if (strcmp(all[role][i].name, name) == 0)
            return &all[role][i];
    return NULL;
}

static inline const char *const *rig_names(void *user, enum role role)
{
    static const char *const none[] = {NULL};
    return none;
}

/* ---- the rig ---- */

struct rig {
    char folder[256];
    struct document *document;
    struct service_tables *services;
    struct plan *plan;
    struct pipeline *pipeline;
    void (*opened)(struct pipeline *p); /* before it starts */
};

static inline void rig_init(struct rig *r)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): no thread yet */
    *r = (struct rig){0};
    (void)snprintf(r->folder, sizeof r->folder, "%s/weir-pipeline.XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(r->folder));
    world_clear();
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

static inline void rig_fini(struct rig *r)
{
    (void)nftw(r->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* `settings` stand before the stages; both are YAML. */
static inline void rig_start(struct rig *r, const char *settings, const char *stages)
{
    struct error e = {0};
    char *yaml =
        mem_format("data_dir: %s\nadmin: { listen: off }\n%s\n%s", r->folder, settings, stages);
    const struct config_input in = {.path = "test.yaml"};
    r->document = document_parse("test.yaml", weir_text(yaml), &in);
    r->services = service_tables_new();
    const struct plan_components c = {
        rig_find, rig_names, {service_one, service_many, r->services}, NULL, NULL};
    r->plan = plan_new(r->document, &c);
    if (r->plan)
        service_tables_plan(r->services, r->plan);
    if (document_errors(r->document))
        diag_print(r->document, stderr, false);
    ck_assert_ptr_nonnull(r->plan);
    ck_assert(pipeline_check(r->plan, r->services));
    r->pipeline = pipeline_new(r->plan, r->services, &clock_real, &e);
    ck_assert_msg(r->pipeline != NULL, "%s", e.text);
    if (r->opened)
        r->opened(r->pipeline);
    ck_assert_msg(pipeline_start(r->pipeline, &e) == 0, "%s", e.text);
    mem_free(yaml);
}

static inline void rig_stop(struct rig *r)
{
    pipeline_free(r->pipeline);
    plan_free(r->plan);
    document_free(r->document);
    service_tables_free(r->services);
    r->pipeline = NULL;
}

static inline void rig_print(struct rig *r)
{
    int64_t c[LEDGER_COLUMNS], in_flight = 0;
    ledger_read(r->pipeline, c, &in_flight);
    (void)fprintf(
        stderr,
        "accepted %lld copied %lld delivered %lld filtered %lld dead %lld dropped %lld in "
        "flight %lld (kept %lld), told %d, got %d %d, memory %llu\n",
        (long long)c[LEDGER_ACCEPTED], (long long)c[LEDGER_COPIED], (long long)c[LEDGER_DELIVERED],
        (long long)c[LEDGER_FILTERED], (long long)c[LEDGER_DEAD_LETTERED],
        (long long)c[LEDGER_DROPPED], (long long)in_flight, (long long)r->pipeline->in_memory,
        world.told_count, world.got_count[0], world.got_count[1],
        (unsigned long long)r->pipeline->budget.used_bytes);
}

/* A look a millisecond until `condition` holds; the pipeline's own threads do the work. */
#define rig_wait(r, condition) \
    do { \
        int left = WAIT_MS; \
        for (; left && !(condition); left--) \
            rig_nap(r); \
        if (!left) \
            rig_print(r); \
        ck_assert_msg(left > 0, "waited in vain for " #condition); \
    } while (0)

static inline void rig_nap(struct rig *r)
{
    const struct timespec ms = {0, 1000000};
    pipeline_tick(r->pipeline);
    (void)nanosleep(&ms, NULL);
}

static inline int64_t rig_column(struct rig *r, int column)
{
    return atomic_load(&r->pipeline->ledger[column]);
}

static inline bool rig_is_balanced(struct rig *r, int64_t in_flight)
{
    int64_t c[LEDGER_COLUMNS], now = 0;
    ledger_read(r->pipeline, c, &now);
    struct audit a; /* what is on disk balances after each unit, whatever is under way */
    audit_init(&a);
    audit_read(&a, r->pipeline->journal);
    ck_assert_msg(audit_is_balanced(&a), "difference %lld", (long long)a.difference);
    audit_fini(&a);
    return now == in_flight && ledger_in_flight(c) == now;
}

static inline int told_count(void)
{
    (void)pthread_mutex_lock(&world.lock);
    int n = world.told_count;
    (void)pthread_mutex_unlock(&world.lock);
    return n;
}

static inline int got_count(int sink)
{
    (void)pthread_mutex_lock(&world.lock);
    int n = world.got_count[sink];
    (void)pthread_mutex_unlock(&world.lock);
    return n;
}

static inline int kept_count(void)
{
    (void)pthread_mutex_lock(&world.lock);
    int n = world.kept;
    (void)pthread_mutex_unlock(&world.lock);
    return n;
}

/* All n events were told once, and nothing is left in memory, then the ledger balances, also in the
 * next run. */
static inline void rig_settled(struct rig *r, int n)
{
    rig_wait(r, told_count() >= n);
    for (int i = 0; i < n; i++)
        ck_assert_msg(world.told[i].times == 1, "%d was told %d times", i, world.told[i].times);
}

static inline void rig_empty(struct rig *r)
{
    rig_wait(r, rig_is_balanced(r, 0));
    rig_wait(r, pipeline_is_drained(r->pipeline));
    rig_wait(r, (memory_give_back(r->pipeline), budget_used(&r->pipeline->budget) == 0));
}

static inline int64_t rig_dead(struct rig *r)
{
    struct queue_count n = {0};
    struct queue *q = queue_find(r->pipeline->journal, "dead-letters");
    if (q)
        queue_count(q, &n);
    return (int64_t)(n.visible + n.hidden);
}
