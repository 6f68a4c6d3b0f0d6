/* pipeline/service_queue.c: weir.queue/1: embedded queues for plugins. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/codec.h"
#include "pipeline/commit.h"
#include "pipeline/services.h"

enum { RECEIVE_MAX = 128 };

struct weir_queue {
    struct weir_queue *next; /* of the pipeline, under its lock */
    struct queue *queue;
    struct lane *lane;
    struct queue_settings before; /* a reload has changed them: undone unless it comes to its end */
    char *dead_letters_before;
    bool is_changed;
    struct loop_timer due; /* when something that is hidden shows again */
    struct buf bodies;
    weir_queue_count count;
};

static void on_due(struct loop_timer *t)
{
    struct weir_queue *q = t->user;
    worker_due(q->lane);
}

/* Locks of the queue are held: only wake. */
static void on_visible(void *user)
{
    struct weir_queue *q = user;
    q->lane->host.wake(&q->lane->host);
}

static void queue_end(void *arg)
{
    struct weir_queue *q = arg;
    struct pipeline *p = q->lane->stage->pipeline;
    struct error e = {0};
    (void)pthread_mutex_lock(&p->lock);
    struct weir_queue **link = &p->queues;
    while (*link && *link != q)
        link = &(*link)->next;
    if (*link)
        *link = q->next;
    (void)pthread_mutex_unlock(&p->lock);
    if (q->is_changed)
        (void)queue_settings_set(q->queue, &q->before, &e);
    mem_free(q->dead_letters_before);
    if (q->lane->stage->role == ROLE_SOURCE)
        queue_unlisten(q->queue, on_visible, q);
    loop_timer_cancel(q->lane->worker->loop, &q->due);
    buf_fini(&q->bodies);
    mem_free(q);
}

/* Stages that share a queue agree on its settings. One that takes the place of another in a reload may
 * change them, if nobody else has the queue. */
static bool has_only_outgoing(const struct pipeline *p, const struct queue *queue)
{
    bool has_any = false;
    for (const struct weir_queue *q = p->queues; q; q = q->next) {
        if (q->queue != queue)
            continue;
        has_any = true;
        if (!q->lane->stage->is_outgoing)
            return false;
    }
    return has_any;
}

static struct queue *open_with(struct weir_queue *q, const char *name,
                               const struct queue_settings *wanted, struct error *e)
{
    struct pipeline *p = q->lane->stage->pipeline;
    struct queue *old = queue_find(p->journal, name);
    if (!old || !has_only_outgoing(p, old))
        return queue_open(p->journal, name, wanted, e);
    queue_settings_get(old, &q->before);
    if (q->before.dead_letters)
        q->before.dead_letters = q->dead_letters_before = mem_text(q->before.dead_letters);
    if (queue_settings_set(old, wanted, e) < 0)
        return NULL;
    q->is_changed = true;
    return queue_open(p->journal, name, wanted, e);
}

void service_queue_keep(struct pipeline *p)
{
    for (struct weir_queue *q = p->queues; q; q = q->next)
        q->is_changed = false;
}

static weir_status open_queue(const weir_queues *s, const char *name,
                              const weir_queue_settings *settings, weir_queue **queue)
{
    struct lane *l = service_lane("weir.queue/1");
    struct error e = {0};
    const struct queue_settings wanted = {
        .is_fifo = settings->is_fifo,
        .visibility_ns = settings->visibility.ns,
        .retention_ns = settings->retention.ns,
        .delay_ns = settings->delay.ns,
        .dead_letters = settings->dead_letters,
        .receives_max = settings->receives_max,
    };
    struct service_tables *t = service_tables_of(&s->base);
    if (!t->pipeline)
        return queue_declare(t, l, name, &wanted);
    struct weir_queue *q = MEM_NEW(struct weir_queue);
    *q = (struct weir_queue){.lane = l};
    struct queue *opened = open_with(q, name, &wanted, &e);
    if (!opened) {
        mem_free(q->dead_letters_before);
        mem_free(q);
        return l->host.fail(&l->host, WEIR_E_CONFIG, 0, "%s", e.text);
    }
    struct pipeline *p = l->stage->pipeline;
    q->queue = opened;
    (void)pthread_mutex_lock(&p->lock);
    q->next = p->queues;
    p->queues = q;
    (void)pthread_mutex_unlock(&p->lock);
    q->due.fn = on_due;
    q->due.user = q;
    if (l->stage->role == ROLE_SOURCE)
        queue_listen(opened, on_visible, q);
    service_at_end(l->stage, queue_end, q);
    *queue = q;
    return WEIR_OK;
}

struct sent {
    struct lane *lane;
    const weir_batch *batch;
};

static void on_sent(void *arg, weir_status s)
{
    struct sent *done = arg;
    done->lane->host.done(&done->lane->host, done->batch, s == WEIR_OK ? WEIR_OK : WEIR_E_RETRY);
    mem_free(done);
}

static weir_str path_of(struct lane *l, const weir_event *ev, const char *path, const char *preset)
{
    return l->host.get(&l->host, ev, path && *path ? path : preset);
}

static weir_status send_batch(const weir_queues *s, weir_queue *q, const weir_batch *take,
                              const weir_queue_send *how)
{
    struct lane *l = service_lane("weir.queue/1");
    struct worker *w = l->worker;
    struct queue_settings settings;
    queue_settings_get(q->queue, &settings);
    for (size_t i = 0; i < take->count; i++) {
        const weir_event *ev = take->events[i];
        struct queue_send m = {.part_count = 2, .delay_ns = how->delay.ns ? how->delay.ns : -1};
        if (settings.is_fifo) {
            m.group = path_of(l, ev, how->group, "@key");
            m.dedup = path_of(l, ev, how->dedup, "@id");
        }
        w->text.len = 0;
        codec_write(ev, &w->text);
        m.parts[0] = (struct iovec){w->text.ptr, w->text.len};
        m.parts[1] = codec_body(ev);
        queue_send(q->queue, commit_unit(w), &m);
        commit_cover(w, event_of(ev)->slot);
    }
    struct sent *done = MEM_NEW(struct sent);
    *done = (struct sent){l, take};
    commit_then(w, on_sent, done);
    return WEIR_PENDING;
}

/* A body that is no event of ours (a stranger put it there) comes as an event with that body. */
static struct event *event_from(struct lane *l, const struct queue_message *m, struct batch *out)
{
    weir_status s;
    struct budget *budget = lane_budget(l);
    struct event *ev = codec_read(m->body, out->block, budget, &s);
    if (!ev && s == WEIR_E_REJECT) {
        weir_payload *body = payload_copy(budget, m->body.ptr, m->body.len);
        ev = body ? event_new(out->block, body) : NULL;
    }
    return ev;
}

static void arm(struct weir_queue *q)
{
    int64_t due = queue_next_due(q->queue), now = q->lane->host.now(&q->lane->host);
    if (due == INT64_MAX)
        loop_timer_cancel(q->lane->worker->loop, &q->due);
    else
        loop_timer_set(q->lane->worker->loop, &q->due, due > now ? due - now : 0);
}

static weir_status receive(const weir_queues *s, weir_queue *q, const weir_queue_receive *how,
                           weir_batch *pub, weir_receipt *receipts)
{
    struct lane *l = service_lane("weir.queue/1");
    struct batch *out = batch_of(pub);
    struct queue_message messages[RECEIVE_MAX];
    size_t max = how->max < RECEIVE_MAX ? how->max : RECEIVE_MAX, kept = 0;
    q->bodies.len = 0;
    size_t n = queue_receive(q->queue, max, how->visibility.ns, messages, &q->bodies);
    for (size_t i = 0; i < n; i++) {
        struct event *ev = event_from(l, &messages[i], out);
        if (!ev) { /* no memory now: it is seen again at once */
            (void)queue_give_back(q->queue, messages[i].receipt, 0);
            continue;
        }
        batch_add(out, ev);
        receipts[kept++] = messages[i].receipt;
    }
    if (!n)
        arm(q);
    return kept ? WEIR_OK : WEIR_IDLE;
}

static bool extend(const weir_queues *s, weir_queue *q, weir_receipt r, weir_duration from_now)
{
    return queue_extend(q->queue, r, from_now.ns);
}

static bool remove_message(const weir_queues *s, weir_queue *q, weir_receipt r)
{
    struct worker *w = q->lane->worker;
    if (!w->acks)
        w->acks = journal_begin(w->pipeline->journal);
    return queue_remove(q->queue, r, w->acks);
}

static bool give_back(const weir_queues *s, weir_queue *q, weir_receipt r, weir_duration delay)
{
    return queue_give_back(q->queue, r, delay.ns);
}

static const weir_queue_count *count(const weir_queues *s, weir_queue *q)
{
    struct queue_count n;
    queue_count(q->queue, &n);
    q->count = (weir_queue_count){n.visible, n.hidden, n.delayed, n.oldest_ns};
    return &q->count;
}

void service_queue_init(struct service_tables *t)
{
    t->queue = (weir_queues){WEIR_OFFER(WEIR_QUEUE), open_queue, send_batch, receive, extend,
                             remove_message,         give_back,  count};
}
