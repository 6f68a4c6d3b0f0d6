/* pipeline/replay_run.c: a replay under way: batches of the archive, given to the bus by turns with what is
 * live, and how far all that came of them is safe. On the replay's worker, unless said otherwise. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "match/envelope.h"
#include "pipeline/codec.h"
#include "pipeline/replay_priv.h"
#include "pipeline/trace.h"
#include "pipeline/where.h"

#define MS INT64_C(1000000)
enum {
    TURN_EVENTS = 256,
    TURN_LOOKED = 1024, /* where a pattern passes few */
    TURN_BYTES = 256 << 10,
    FLYING_MAX = 4,          /* batches */
    BEHIND_MAX = 2048,       /* events before a stage: it is waited for */
    JOURNAL_ROOM = 16 << 20, /* is left to what is live, as is */
    MEMORY_LEFT = 8,         /* this part of all memory */
};
static const int64_t look_again_ns = 10 * MS, fail_again_ns = 1000 * MS, burst_ns = 50 * MS;

static void turn(struct replay *r);

static void on_task(struct loop_task *t)
{
    struct replay *r = t->user;
    atomic_store(&r->is_posted, false);
    turn(r);
}

static void on_timer(struct loop_timer *t)
{
    turn(t->user);
}

void replay_wake(struct replay *r)
{
    if (atomic_exchange(&r->is_posted, true))
        return;
    r->task = (struct loop_task){.fn = on_task, .user = r};
    loop_post(r->home->loop, &r->task);
}

static void look_again(struct replay *r, int64_t after_ns)
{
    r->timer.fn = on_timer;
    r->timer.user = r;
    loop_timer_set(r->home->loop, &r->timer, after_ns);
}

static void waits_for(struct replay *r, const char *what)
{
    if (strcmp(r->waits_for, what) == 0)
        return;
    (void)pthread_mutex_lock(&r->all->lock);
    (void)snprintf(r->waits_for, sizeof r->waits_for, "%s", what);
    (void)pthread_mutex_unlock(&r->all->lock);
}

/* ---- what was sent comes home ---- */

static void on_batch(struct loop_task *t)
{
    struct replay_batch *b = t->user;
    b->is_home = true;
    turn(b->replay);
}

/* Any thread. */
static void batch_close(struct replay_batch *b)
{
    if (atomic_fetch_sub_explicit(&b->open, 1, memory_order_acq_rel) != 1)
        return;
    b->task = (struct loop_task){.fn = on_batch, .user = b};
    loop_post(b->replay->home->loop, &b->task);
}

static void slot_ended(struct slot *s)
{
    batch_close(s->owner);
}

static size_t batch_bytes(size_t n)
{
    return sizeof(struct replay_batch) + n * sizeof(struct slot);
}

static bool has_failed(const struct replay_batch *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (atomic_load_explicit(&b->slots[i].flags, memory_order_acquire) & SLOT_FAILED)
            return true;
    return false;
}

static void batch_done(struct replay *r, const struct replay_batch *b)
{
    (void)pthread_mutex_lock(&r->all->lock);
    r->next = b->until;
    r->sent += b->count;
    r->missed += b->missed;
    if (b->last_ns)
        r->last_ns = b->last_ns;
    (void)pthread_mutex_unlock(&r->all->lock);
}

static void batch_forget(struct replay *r, struct replay_batch *b)
{
    if (!r->is_ordered)
        atomic_fetch_sub(&r->open, b->count);
    for (uint32_t i = 0; i < b->count; i++)
        slot_fini(&b->slots[i]);
    budget_give(&r->all->pipeline->budget, batch_bytes(b->count));
    mem_free(b);
}

/* In the order in which they were sent. Behind one that failed all are sent again. */
static void collect(struct replay *r)
{
    bool has_moved = false;
    while (r->flying && r->flying->is_home) {
        struct replay_batch *b = r->flying;
        r->flying = b->next;
        r->flying_count--;
        r->is_rewinding |= has_failed(b);
        if (!r->is_rewinding)
            batch_done(r, b);
        has_moved |= !r->is_rewinding;
        batch_forget(r, b);
    }
    if (!r->flying)
        r->flying_end = &r->flying;
    if (has_moved)
        replay_save(r);
}

/* ---- a batch is read ---- */

struct gather {
    struct replay *replay;
    struct batch *batch;
    size_t bytes, looked;
    uint64_t until, missed;
    int64_t last_ns, wait_ns; /* the next one is not due */
    bool is_short;            /* of memory, or the disk cannot be read now */
};

/* How long until what came then is due; 0: it is. */
static int64_t due_in(struct replay *r, int64_t came_ns)
{
    int64_t now = clock_mono(r->all->pipeline->clock), due = now;
    if (r->speed > 0) {
        if (!r->anchor_mono_ns) {
            r->anchor_mono_ns = now;
            r->anchor_came_ns = came_ns;
        }
        due = r->anchor_mono_ns + (int64_t)((double)(came_ns - r->anchor_came_ns) / r->speed);
    } else if (r->rate_per_s > 0) {
        due = r->rate_due_ns;
    }
    return due > now ? due - now : 0;
}

static void count_rate(struct replay *r)
{
    int64_t earliest = clock_mono(r->all->pipeline->clock) - burst_ns;
    if (r->rate_per_s <= 0)
        return;
    if (r->rate_due_ns < earliest)
        r->rate_due_ns = earliest;
    r->rate_due_ns += (int64_t)(1e9 / r->rate_per_s);
}

void replay_set_name(struct event *ev, const char *name)
{
    weir_attr *items = block_take(ev->block, (ev->pub.attrs.count + 1) * sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < ev->pub.attrs.count; i++)
        if (!weir_same(ev->pub.attrs.items[i].key, ENVELOPE_REPLAY))
            items[n++] = ev->pub.attrs.items[i];
    items[n++] = (weir_attr){weir_text(ENVELOPE_REPLAY), weir_text(name)};
    ev->pub.attrs = (weir_pairs){n, items};
}

static bool is_wanted(const struct replay *r, const struct event *ev)
{
    const uint32_t *hits;
    if (!r->ctx)
        return true;
    unsigned flags = payload_is_json(ev->pub.body) ? MATCH_KNOWN_GOOD : 0;
    size_t n = match_event(r->ctx, &ev->pub, flags, &hits);
    return n && n != SIZE_MAX;
}

/* False: there is no memory for it now. */
static bool take(struct gather *g, uint64_t sequence, weir_str bytes)
{
    struct replay *r = g->replay;
    weir_status s;
    struct event *ev = codec_read(bytes, g->batch->block, &r->all->pipeline->inflow, &s);
    if (!ev && s == WEIR_E_RETRY)
        return false;
    if (!ev) {
        log_write(WEIR_ERROR, NULL, "replay %s: record %llu of the archive is no event: left out",
                  r->name, (unsigned long long)sequence);
        g->missed++;
        return true;
    }
    if (!is_wanted(r, ev))
        return true;
    replay_set_name(ev, r->name);
    batch_add(g->batch, ev);
    g->bytes += bytes.len;
    count_rate(r);
    return true;
}

static bool has_room(const struct gather *g)
{
    size_t max = g->replay->is_ordered ? 1 : TURN_EVENTS;
    return g->batch->pub.count < max && g->looked < TURN_LOOKED && g->bytes < TURN_BYTES;
}

static void read_batch(struct gather *g)
{
    struct replay *r = g->replay;
    uint64_t sequence = 0;
    weir_str record;
    while (has_room(g)) {
        int64_t came_ns = 0;
        weir_status s = reader_next(r->reader, &record, &sequence);
        if (s == WEIR_IDLE || (s == WEIR_OK && sequence >= r->end)) {
            g->missed += r->end - g->until;
            g->until = r->end;
            return;
        }
        weir_str bytes = s == WEIR_OK ? archive_payload(record, &came_ns) : (weir_str){0};
        bool is_meant = came_ns >= r->from_ns && came_ns < r->to_ns;
        if (s == WEIR_OK && is_meant)
            g->wait_ns = due_in(r, came_ns);
        g->is_short = s != WEIR_OK;
        if (s == WEIR_OK && is_meant && !g->wait_ns)
            g->is_short = !take(g, sequence, bytes);
        if (g->wait_ns || g->is_short) {
            reader_seek(r->reader, g->until);
            return;
        }
        g->looked++;
        g->missed += sequence - g->until;
        g->until = sequence + 1;
        g->last_ns = came_ns;
    }
}

/* ---- and sent ---- */

static struct replay_batch *batch_of_slots(struct replay *r, const struct gather *g)
{
    size_t n = g->batch->pub.count;
    struct replay_batch *b = mem_grow(NULL, batch_bytes(n));
    budget_charge(&r->all->pipeline->budget, batch_bytes(n));
    *b = (struct replay_batch){.replay = r,
                               .until = g->until,
                               .missed = g->missed,
                               .last_ns = g->last_ns,
                               .count = (uint32_t)n};
    atomic_store_explicit(&b->open, (uint32_t)n + 1, memory_order_relaxed);
    for (size_t i = 0; i < n; i++) {
        slot_init(&b->slots[i], slot_ended, b);
        b->slots[i].wants_durable = !r->is_ordered;
        g->batch->events[i]->slot = &b->slots[i];
    }
    *r->flying_end = b;
    r->flying_end = &b->next;
    r->flying_count++;
    return b;
}

static void send(struct replay *r, struct stage *bus, struct gather *g)
{
    struct worker *w = r->home;
    size_t n = g->batch->pub.count;
    struct replay_batch *b = batch_of_slots(r, g);
    r->at = g->until;
    if (!r->is_ordered)
        atomic_fetch_add(&r->open, n);
    worker_count(w, LEDGER_REPLAYED, (int64_t)n);
    metric_add(r->all->m_events, n);
    for (size_t i = 0; i < n && w->pipeline->trace; i++)
        trace_add(w, bus, g->batch->events[i], TRACE_REPLAYED, r->name);
    stage_push(bus, w, g->batch);
    batch_close(b);
}

/* True: there is more to do at once. */
static bool send_next(struct replay *r, struct stage *bus)
{
    struct block *block = block_new(r->home);
    struct gather g = {.replay = r, .until = r->at, .batch = batch_with_block(r->home, block)};
    block_unref(block);
    read_batch(&g);
    if (g.until == r->at)
        batch_free(g.batch);
    else
        send(r, bus, &g);
    if (g.is_short)
        waits_for(r, "memory, or the disk");
    if (g.is_short || g.wait_ns)
        look_again(r, g.is_short ? look_again_ns : g.wait_ns);
    return !g.is_short && !g.wait_ns && r->at < r->end;
}

/* ---- turns ---- */

static bool begin(struct replay *r)
{
    struct pipeline *p = r->all->pipeline;
    struct error e = {0};
    bool is_first = false;
    if (replay_resolve(r, &e) < 0 ||
        (r->where && where_compile(weir_text(r->where), &p->env, &r->set, &e) < 0)) {
        replay_end(r, REPLAY_FAILED, e.text);
        return false;
    }
    r->from = archive_find(p->journal, r->archive);
    if (!r->from) {
        replay_end(r, REPLAY_FAILED, "its archive is not there any more");
        return false;
    }
    r->ctx = r->set ? match_ctx_new(r->set) : NULL;
    r->reader = reader_new(archive_stream(r->from), r->at);
    r->flying_end = &r->flying;
    (void)pthread_mutex_lock(&r->all->lock);
    if (r->state == REPLAY_STARTING) {
        is_first = true;
        r->state = REPLAY_RUNNING;
        r->started_ns = clock_wall(p->clock);
    }
    (void)pthread_mutex_unlock(&r->all->lock);
    if (is_first)
        log_write(WEIR_INFO, NULL, "replay %s: up to %llu events of the archive %s to the bus %s%s",
                  r->name, (unsigned long long)(r->end - r->at), r->archive, r->bus,
                  r->rule_count ? ", for some of its rules" : "");
    replay_save(r);
    return true;
}

static void finish(struct replay *r)
{
    r->is_over = true;
    if (r->home)
        loop_timer_cancel(r->home->loop, &r->timer);
    reader_free(r->reader);
    match_ctx_free(r->ctx);
    match_set_free(r->set);
    r->reader = NULL;
    r->ctx = NULL;
    r->set = NULL;
}

void replay_run_fini(struct replay *r)
{
    finish(r);
    while (r->flying) {
        struct replay_batch *b = r->flying;
        r->flying = b->next;
        batch_forget(r, b);
    }
}

/* Live traffic goes first: what waits before a stage, memory and the disk. */
static bool may_send(struct replay *r, const struct stage *bus)
{
    struct pipeline *p = r->all->pipeline;
    char text[sizeof r->waits_for];
    const struct stage *behind = bus_reader_behind(p, bus, r->rules, r->rule_count, BEHIND_MAX);
    if (behind)
        (void)snprintf(text, sizeof text, "%s, which has many events before it", behind->name);
    else if (!budget_has_room(&p->inflow, (size_t)(p->budget.limit_bytes / MEMORY_LEFT)))
        (void)snprintf(text, sizeof text, "memory");
    else if (!journal_has_room(p->journal, JOURNAL_ROOM))
        (void)snprintf(text, sizeof text, "room in the journal");
    else
        return true;
    waits_for(r, text);
    look_again(r, look_again_ns);
    return false;
}

/* False: not now; whatever ends the wait calls turn. */
static bool rewind_if_failed(struct replay *r)
{
    uint64_t held = 0;
    if (!r->is_rewinding)
        return true;
    if (r->flying)
        return false;
    r->is_rewinding = false;
    r->at = r->next;
    reader_seek(r->reader, r->at);
    if (log_limit_pass(&r->fail_limit, 60, &held))
        log_write(WEIR_WARN, NULL,
                  "replay %s: what it sent last was not kept, and is sent again (%llu times more)",
                  r->name, (unsigned long long)held);
    waits_for(r, "what failed for now");
    look_again(r, fail_again_ns);
    return false;
}

static bool is_active(struct replay *r)
{
    (void)pthread_mutex_lock(&r->all->lock);
    bool is_active = replay_is_active(r);
    (void)pthread_mutex_unlock(&r->all->lock);
    return is_active;
}

static void turn(struct replay *r)
{
    struct pipeline *p = r->all->pipeline;
    size_t flying_max = r->is_ordered ? 1 : FLYING_MAX;
    collect(r);
    if (atomic_load(&p->is_draining) || r->is_over)
        return;
    if (is_active(r) && !r->from && !begin(r))
        return;
    if (!is_active(r)) {
        finish(r);
        return;
    }
    struct stage *bus = bus_stage(p, r->bus);
    if (!bus) {
        replay_end(r, REPLAY_FAILED, "its bus is not in the pipeline file any more");
        finish(r);
        return;
    }
    if (!rewind_if_failed(r) || loop_timer_is_set(&r->timer) || r->flying_count >= flying_max)
        return;
    if (r->at >= r->end && !r->flying) {
        replay_end(r, REPLAY_COMPLETED, r->missed ? "some events had left the archive" : NULL);
        finish(r);
        return;
    }
    if (r->at < r->end && may_send(r, bus)) {
        waits_for(r, "");
        if (send_next(r, bus))
            replay_wake(r);
    }
}
