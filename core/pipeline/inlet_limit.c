/* pipeline/inlet_limit.c: how much an inlet holds, in memory and on disk, how fast it delivers, and what
 * becomes of what is too much. */
#include "pipeline/inlet_priv.h"
#include "pipeline/trace.h"

enum {
    RING_EVENTS_MAX = 1 << 14,
    RETRIES_MAX = 2048, /* a stage that fails is not given more than this to fail with */
};

/* What is on disk need not be in memory as well: a stage that is down may not take it from the others. */
uint64_t inlet_memory_share(const struct inlet *in)
{
    return memory_share(in->stage->pipeline);
}

/* A batch is copied once more on its way, and each stage has several under way. */
size_t inlet_batch_bytes(const struct inlet *in)
{
    uint64_t told = in->batch->max_bytes.bytes, share = memory_share(in->stage->pipeline) / 2;
    return (size_t)(told < share ? told : share);
}

/* How many of those that failed may wait before no more are tried. */
bool inlet_has_retry_room(const struct inlet *in)
{
    uint64_t limit = (uint64_t)in->buffer->max_events;
    limit = !limit || limit / 2 > RETRIES_MAX ? RETRIES_MAX : limit / 2 + 1;
    return in->retry_count < limit && in->retry_bytes < inlet_memory_share(in);
}

uint64_t inlet_ring_limit(const struct inlet *in)
{
    uint64_t limit = (uint64_t)in->buffer->max_events;
    return !limit || (in->is_durable && limit > RING_EVENTS_MAX) ? RING_EVENTS_MAX : limit;
}

bool inlet_has_ring_room(const struct inlet *in, size_t n)
{
    uint64_t count = atomic_load_explicit(&in->ring_count, memory_order_relaxed) +
                     atomic_load_explicit(&in->retry_waiting, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&in->ring_bytes, memory_order_relaxed);
    uint64_t bytes_limit = in->buffer->max_bytes.bytes;
    uint64_t share =
        in->is_durable ? inlet_memory_share(in) : memory_buffer_share(in->stage->pipeline);
    if (bytes_limit > share)
        bytes_limit = share;
    return count + n <= inlet_ring_limit(in) && bytes < bytes_limit;
}

/* How many events a buffer on disk may hold: the file's number, or its bytes by the mean size of what
 * came in this run. */
static uint64_t disk_limit(const struct inlet *in)
{
    uint64_t limit = in->buffer->max_events ? (uint64_t)in->buffer->max_events : INT64_MAX;
    uint64_t came = atomic_load_explicit(&in->came_count, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&in->came_bytes, memory_order_relaxed);
    uint64_t by_bytes =
        came && bytes >= came ? in->buffer->max_bytes.bytes / (bytes / came) : limit;
    return by_bytes < limit ? by_bytes : limit;
}

static bool is_disk_full(const struct inlet *in)
{
    int64_t coming = atomic_load_explicit(&in->coming, memory_order_relaxed);
    return (int64_t)stream_live(in->stream) + coming >= (int64_t)disk_limit(in);
}

void inlet_coming(struct inlet *in, int64_t n)
{
    atomic_fetch_add_explicit(&in->coming, n, memory_order_relaxed);
}

void inlet_ring_account(struct inlet *in, const struct entry *e, int sign)
{
    uint64_t n = (uint64_t)(int64_t)sign;
    atomic_fetch_add_explicit(&in->ring_count, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->ring_bytes, n * entry_bytes(e), memory_order_relaxed);
    if (e->sequence == NO_SEQUENCE)
        atomic_fetch_add_explicit(&in->in_memory, n, memory_order_relaxed);
}

void inlet_ready(struct inlet *in, struct ring *r, const struct entry *e)
{
    ring_push(r, e);
    atomic_fetch_add_explicit(&in->ring_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->ring_bytes, entry_bytes(e), memory_order_relaxed);
}

bool inlet_is_full(const struct inlet *in)
{
    if (in->stage->role == ROLE_TRANSFORM)
        return atomic_load_explicit(&in->retry_waiting, memory_order_relaxed) >= RING_EVENTS_MAX;
    if (in->buffer->when_full != FULL_BLOCK)
        return false;
    if (in->is_durable)
        return is_disk_full(in);
    return !inlet_has_ring_room(in, 1) ||
           atomic_load_explicit(&in->retry_waiting, memory_order_relaxed) >= RING_EVENTS_MAX;
}

static void drop(struct inlet *in, struct worker *w, struct entry *e)
{
    metric_add(in->stage->m.dropped, 1);
    trace_add(w, in->stage, e->ev, TRACE_DROPPED, "the buffer is full");
    inlet_entry_end(in, e, SLOT_FILTERED);
}

/* Of a buffer in memory, by any worker. Under the lock, which a dead letter is made without. */
void inlet_let_oldest_go(struct inlet *in, struct worker *w)
{
    struct entry e = ring_pop(&in->arrivals);
    inlet_ring_account(in, &e, -1);
    (void)pthread_mutex_unlock(&in->lock);
    if (in->buffer->when_full == FULL_DEAD_LETTER) {
        inlet_fail(in, w, e.ev, WEIR_E_REJECT, "the buffer is full");
        block_unref(e.ev->block);
    } else {
        atomic_fetch_add_explicit(&in->in_memory, 1, memory_order_relaxed);
        drop(in, w, &e);
    }
    (void)pthread_mutex_lock(&in->lock);
}

enum { TRIM_EVERY_MS = 250 }; /* acknowledgements show in the stream within a tenth of a second */

/* Of a buffer on disk, on its own worker: the oldest that are not under way. */
void inlet_trim(struct inlet *in)
{
    int64_t now = loop_now(in->worker->loop);
    uint64_t live = stream_live(in->stream), limit = disk_limit(in);
    if (!in->is_durable || in->stage->role != ROLE_SINK || in->buffer->when_full == FULL_BLOCK ||
        live <= limit)
        return;
    if (now < in->trim_after_ns) { /* nothing else may come that would look again */
        if (!loop_timer_is_set(&in->read_timer))
            loop_timer_set(in->worker->loop, &in->read_timer, in->trim_after_ns - now);
        return;
    }
    in->trim_after_ns = now + TRIM_EVERY_MS * INT64_C(1000000);
    for (uint64_t n = live - limit; n; n--) {
        if (!in->ready.count)
            inlet_read_backlog(in);
        if (!in->ready.count)
            break;
        struct entry e = ring_pop(&in->ready);
        inlet_ring_account(in, &e, -1);
        if (in->buffer->when_full == FULL_DEAD_LETTER)
            inlet_judge(in, &e, WEIR_E_REJECT, "the buffer is full");
        else
            drop(in, in->worker, &e);
    }
    inlet_ack_flush(in);
}

/* A token bucket: 0 when the next batch has to wait. */
size_t inlet_rate_room(struct inlet *in, size_t wanted)
{
    double rate = in->stage->plan->delivery.rate_per_s;
    if (rate <= 0)
        return wanted;
    int64_t now = clock_mono(in->stage->pipeline->clock);
    bool is_first = !in->rate_ns;
    in->rate_tokens += (double)(now - in->rate_ns) / 1e9 * rate;
    in->rate_ns = now;
    double burst = (double)in->stage->plan->delivery.burst;
    if (burst <= 0)
        burst = rate > 1 ? rate : 1;
    if (in->rate_tokens > burst || is_first)
        in->rate_tokens = burst;
    if (in->rate_tokens < 1) {
        loop_timer_set(in->worker->loop, &in->rate_timer,
                       (int64_t)((1 - in->rate_tokens) / rate * 1e9) + 1000);
        return 0;
    }
    size_t room = (size_t)in->rate_tokens;
    return room < wanted ? room : wanted;
}
