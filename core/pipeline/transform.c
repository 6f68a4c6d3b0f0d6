/* pipeline/transform.c: calls of transforms, and the accounting for every event that they were given. */
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/lane.h"
#include "pipeline/park.h"
#include "pipeline/pipeline.h"
#include "pipeline/slot.h"
#include "pipeline/trace.h"

static const char *why_of(const struct lane *l)
{
    return l->why[0] ? l->why : NULL;
}

/* The stage's own copy of a shell that others read. */
static struct event *own_shell(struct block *b, struct event *ev)
{
    struct event *copy = event_copy(b, ev);
    event_move(ev, copy);
    park_move(ev, copy);
    return copy;
}

/* Shells may be written to where nobody else reads them and their memory is this worker's. */
static bool is_own(const struct worker *w, const struct batch *b)
{
    bool is_own = !b->is_shared && block_owner(b->block) == w;
    for (size_t i = 0; i < b->pub.count && is_own; i++)
        is_own = block_owner(b->events[i]->block) == w;
    return is_own;
}

static struct batch *own_batch(struct worker *w, struct batch *take)
{
    if (is_own(w, take)) {
        for (size_t i = 0; i < take->pub.count; i++) {
            take->events[i]->port_count = 0;
            take->events[i]->is_passed = 0;
        }
        return take;
    }
    struct block *block = block_new(w);
    struct batch *own = batch_with_block(w, block);
    block_unref(block);
    for (size_t i = 0; i < take->pub.count; i++)
        batch_add(own, own_shell(block, take->events[i]));
    batch_free(take);
    return own;
}

/* Its time with this stage is over: the next of its key may come. */
static void leave(struct lane *l, struct event *ev)
{
    if (ev->park)
        park_end(ev);
    if (ev->line)
        inlet_gate_leave(l->stage->inlet, l->worker, ev->line);
    ev->line = NULL;
}

static void end_filtered(struct lane *l, struct event *ev)
{
    worker_count(l->worker, LEDGER_FILTERED, 1);
    metric_add(l->stage->m.filtered, 1);
    trace_add(l->worker, l->stage, ev, TRACE_FILTERED, NULL);
    leave(l, ev);
    slot_release(ev->slot, SLOT_FILTERED);
}

static void end_failed(struct lane *l, struct event *ev, weir_status s, const char *why)
{
    if (l->is_waiting && s == WEIR_E_RETRY)
        s = WEIR_PENDING;
    l->is_waiting = false;
    inlet_fail(l->stage->inlet, l->worker, ev, s, why);
}

/* One verdict about one event that the stage was given. */
static void end_event(struct lane *l, struct event *ev, weir_status s, const char *why)
{
    if (s == WEIR_DROP || s == WEIR_OK)
        end_filtered(l, ev);
    else
        end_failed(l, ev, s, why);
}

void transform_mark(struct lane *l, struct event *ev, weir_status s, const char *why)
{
    end_event(l, ev, s, why);
}

/* What the stage was given goes on: should it not have been ready, it is again. */
static void note_works(struct stage *s, size_t passed)
{
    if (passed && !atomic_load_explicit(&s->is_ready, memory_order_relaxed))
        stage_set_ready(s, true, NULL);
}

static void run_events(struct lane *l, struct batch *b, bool is_again)
{
    const weir_component *c = l->stage->component;
    size_t kept = 0;
    lane_enter(l, b, NULL);
    for (size_t i = 0; i < b->pub.count; i++) {
        struct event *ev = b->events[i];
        if (!inlet_gate_pass(l->stage->inlet, l->worker, ev, is_again))
            continue;
        l->is_short = l->is_waiting = false;
        l->ev = ev;
        weir_status s = c->event(l->stage->self, &l->host, &ev->pub);
        if (l->scratch.used_bytes)
            arena_reset(&l->scratch);
        if (l->is_short) {
            s = WEIR_E_RETRY;
            ev->attempts--; /* that was none */
        }
        if (s == WEIR_OK) {
            leave(l, ev);
            ev->attempts = 0;
            ev->first_failed_ns = 0;
            b->has_ports |= ev->port_count > 0;
            b->events[kept++] = ev;
            continue;
        }
        end_event(l, ev, s, why_of(l));
        l->why[0] = 0;
    }
    l->ev = NULL;
    lane_leave(l);
    b->pub.count = kept;
    note_works(l->stage, kept);
    route_batch(l->stage, l->worker, b);
}

/* What was added descends from all unmarked events of the batches. */
static void adopt(struct lane *l, struct batch *out, struct batch *parents)
{
    size_t n = 0, cap = 0, orphans = 0;
    struct slot **slots = NULL;
    for (struct batch *b = parents; b; b = b->next_bound)
        for (size_t i = 0; i < b->pub.count; i++)
            if (!b->events[i]->is_marked)
                MEM_PUSH(slots, n, cap) = b->events[i]->slot;
    for (size_t i = 0; i < out->pub.count; i++)
        orphans += !out->events[i]->slot;
    struct slot *slot = n == 1 ? slots[0] : slot_join(slots, n, &l->stage->pipeline->budget);
    slot_ref(slot, (uint32_t)orphans - (n == 1 ? 0 : 1));
    for (size_t i = 0; i < out->pub.count; i++)
        if (!out->events[i]->slot)
            out->events[i]->slot = slot;
    mem_free(slots);
    out->has_orphans = false;
}

/* The branches of what the stage was given end: what descends from them carries on. */
static int64_t end_inputs(struct lane *l, struct batch *in, bool has_heirs)
{
    int64_t consumed = 0;
    for (size_t i = 0; i < in->pub.count; i++) {
        struct event *ev = in->events[i];
        if (ev->is_marked)
            continue;
        if (ev->is_passed || has_heirs) {
            leave(l, ev);
            slot_release(ev->slot, 0);
            consumed++;
            continue;
        }
        end_failed(l, ev, WEIR_E_REJECT,
                   "lost: the plugin returned OK and had not passed, marked or kept it");
    }
    return consumed;
}

static void end_all(struct lane *l, struct batch *in, weir_status s, const char *why)
{
    for (size_t i = 0; i < in->pub.count; i++) {
        if (in->events[i]->is_marked)
            continue;
        in->events[i]->attempts -= l->is_short; /* without memory it was none */
        end_event(l, in->events[i], s, why);
    }
}

static void keep(struct lane *l, struct batch *in)
{
    in->is_kept = true;
    in->next_kept = l->kept;
    in->link_kept = &l->kept;
    if (l->kept)
        l->kept->link_kept = &in->next_kept;
    l->kept = in;
    atomic_fetch_add_explicit(&l->stage->pipeline->in_memory, (int64_t)in->pub.count,
                              memory_order_relaxed);
    for (size_t i = 0; i < in->pub.count; i++) {
        struct event *ev = in->events[i];
        if (!ev->is_marked && ev->slot && ev->slot->wants_copy && inlet_is_durable(l->stage->inlet))
            park_event(l->worker, l->stage->inlet, ev);
        if (!ev->is_marked)
            inlet_gate_keep(l->stage->inlet, ev);
    }
}

static void unlink_kept(struct lane *l, struct batch *kept)
{
    *kept->link_kept = kept->next_kept;
    if (kept->next_kept)
        kept->next_kept->link_kept = kept->link_kept;
    atomic_fetch_sub_explicit(&l->stage->pipeline->in_memory, (int64_t)kept->pub.count,
                              memory_order_relaxed);
}

static void unkeep(struct lane *l, struct batch *kept)
{
    unlink_kept(l, kept);
    batch_free(kept);
}

static int64_t end_bound(struct lane *l, struct batch *out, bool has_heirs)
{
    int64_t consumed = 0;
    while (out->bound) {
        struct batch *kept = out->bound;
        out->bound = kept->next_bound;
        consumed += end_inputs(l, kept, has_heirs);
        unkeep(l, kept);
    }
    return consumed;
}

/* What was added and passed is thrown away; what was bound to it is tried again. */
static void discard(struct lane *l, struct batch *out)
{
    for (size_t i = 0; i < out->pub.count; i++)
        slot_release(out->events[i]->slot, 0);
    out->pub.count = 0;
    out->has_orphans = false;
    while (out->bound) {
        struct batch *kept = out->bound;
        out->bound = kept->next_bound;
        end_all(l, kept, WEIR_E_RETRY, l->is_short ? "out of memory" : why_of(l));
        unkeep(l, kept);
    }
}

static void run_batch(struct lane *l, struct batch *in)
{
    struct worker *w = l->worker;
    bool is_ours = block_owner(in->block) == w;
    struct batch *out = batch_with_block(w, is_ours ? in->block : block_new(w));
    if (!is_ours)
        block_unref(out->block);
    in->lane = l;
    lane_enter(l, in, out);
    weir_status s = l->stage->component->batch(l->stage->self, &l->host, &in->pub, &out->pub);
    lane_leave(l);
    if (l->is_short && s == WEIR_PENDING)
        discard(l, out);
    else if (l->is_short)
        s = WEIR_E_RETRY;
    if (s == WEIR_PENDING) {
        keep(l, in);
        transform_finish_out(l, out, WEIR_OK);
        if (in->is_done)
            transform_end_kept(l, in, in->done_status);
        return;
    }
    if (s == WEIR_OK) {
        bool has_heirs = out->has_orphans;
        int64_t made = (int64_t)out->pub.count;
        in->next_bound = out->bound;
        if (has_heirs)
            adopt(l, out, in);
        made -= end_inputs(l, in, has_heirs) + end_bound(l, out, has_heirs);
        worker_count(w, LEDGER_COPIED, made);
        note_works(l->stage, out->pub.count);
    } else {
        discard(l, out);
        end_all(l, in, s, why_of(l));
    }
    batch_free(in);
    route_batch(l->stage, w, out);
}

/* One of a key at a time, unless the stage says that it keeps their order itself. */
static void run_turns(struct lane *l, struct batch *take, bool is_again)
{
    while (take) {
        struct batch *later = inlet_gate_turns(l->stage->inlet, l->worker, take, is_again);
        if (take->pub.count)
            run_batch(l, take);
        else
            batch_free(take);
        take = later;
    }
}

void transform_run(struct lane *l, struct batch *take, bool is_again)
{
    if (atomic_load_explicit(&l->stage->pipeline->is_stopping, memory_order_relaxed)) {
        for (size_t i = 0; i < take->pub.count; i++)
            slot_fail(take->events[i]->slot, WEIR_E_RETRY, l->stage->name, "the runner stopped",
                      false);
        batch_free(take);
        return;
    }
    metric_add(l->stage->m.in, take->pub.count);
    take = own_batch(l->worker, take);
    if (l->stage->component->event)
        run_events(l, take, is_again);
    else
        run_turns(l, take, is_again);
}

void transform_end_kept(struct lane *l, struct batch *kept, weir_status s)
{
    end_all(l, kept, s, why_of(l));
    unkeep(l, kept);
}

/* A copy on disk answers for the event from now on; what has none is told failed. */
void transform_abandon_kept(struct lane *l, struct batch *kept)
{
    for (size_t i = 0; i < kept->pub.count; i++) {
        struct event *ev = kept->events[i];
        if (ev->is_marked)
            continue;
        if (ev->park)
            park_abandon(ev);
        else
            slot_fail(ev->slot, WEIR_E_RETRY, l->stage->name, "the runner stopped", false);
    }
    unlink_kept(l, kept);
    kept->is_abandoned = true;
    kept->next_kept = l->abandoned;
    l->abandoned = kept;
}

/* After a callback that filled `out` outside of batch: what was bound settles as it does. */
void transform_finish_out(struct lane *l, struct batch *out, weir_status s)
{
    if (s < WEIR_OK)
        discard(l, out);
    bool has_heirs = out->has_orphans && out->bound;
    int64_t made = (int64_t)out->pub.count;
    if (has_heirs)
        adopt(l, out, out->bound);
    made -= end_bound(l, out, has_heirs);
    worker_count(l->worker, LEDGER_COPIED, made);
    note_works(l->stage, out->pub.count);
    route_batch(l->stage, l->worker, out);
}
