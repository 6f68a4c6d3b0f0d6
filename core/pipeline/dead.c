/* pipeline/dead.c: dead letters. */
#include "pipeline/dead.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/bus.h"
#include "pipeline/codec.h"
#include "pipeline/commit.h"
#include "pipeline/park.h"
#include "pipeline/trace.h"

struct dead_letters {
    size_t count, cap;
    struct queue **queues;
};

struct letter { /* on its way to the disk */
    struct inlet *inlet;
    struct entry entry;
    char *why;
    const char *class;     /* NULL: by its error */
    struct loop_task task; /* to where the inlet is by now */
    weir_status status;
};

struct dead_letters *dead_letters_open(struct pipeline *p, struct error *e)
{
    struct dead_letters *d = MEM_NEW(struct dead_letters);
    const struct queue_settings settings = {.retention_ns = INT64_C(1209600) * 1000000000};
    for (size_t i = 0; i < p->stage_count; i++) {
        const char *name = p->stages[i]->plan->delivery.dead_letter;
        bool is_known = p->stages[i]->role == ROLE_SOURCE || !name || !*name;
        for (size_t k = 0; k < d->count && !is_known; k++)
            is_known = strcmp(queue_name(d->queues[k]), name) == 0;
        if (is_known)
            continue;
        struct queue *q = queue_open(p->journal, name, &settings, e);
        if (!q) {
            dead_letters_free(d);
            return NULL;
        }
        MEM_PUSH(d->queues, d->count, d->cap) = q;
    }
    return d;
}

void dead_letters_free(struct dead_letters *d)
{
    if (!d)
        return;
    mem_free(d->queues);
    mem_free(d);
}

uint64_t dead_letters_waiting(const struct pipeline *p)
{
    uint64_t sum = 0;
    struct queue_count n;
    for (size_t i = 0; p->dead && i < p->dead->count; i++) {
        queue_count(p->dead->queues[i], &n);
        sum += n.visible + n.hidden + n.delayed;
    }
    return sum;
}

static struct queue *queue_of(const struct stage *s)
{
    const struct dead_letters *d = s->pipeline->dead;
    const char *name = s->plan->delivery.dead_letter;
    for (size_t i = 0; name && i < d->count; i++)
        if (strcmp(queue_name(d->queues[i]), name) == 0)
            return d->queues[i];
    return NULL;
}

static const char *class_of(weir_status s)
{
    switch (s) {
    case WEIR_E_RETRY:
        return "retries exhausted";
    case WEIR_E_REJECT:
        return "rejected";
    case WEIR_E_CONFIG:
        return "configuration";
    case WEIR_E_FATAL:
        return "fatal";
    case WEIR_OK:
    case WEIR_IDLE:
    case WEIR_END:
    case WEIR_PENDING:
    case WEIR_DROP:
        break;
    }
    return "unknown";
}

static void letter_kept(void *arg, weir_status s);

/* As EventBridge writes them into the message of a target's dead-letter queue. */
static const char *const aws_attrs[] = {"RULE_ARN",       "TARGET_ARN",
                                        "ERROR_CODE",     "ERROR_MESSAGE",
                                        "RETRY_ATTEMPTS", "EXHAUSTED_RETRY_CONDITION"};
enum { AWS_ATTRS = sizeof aws_attrs / sizeof *aws_attrs };

bool dead_is_own(weir_str key)
{
    bool is_own = key.len >= 5 && memcmp(key.ptr, "dead.", 5) == 0;
    for (size_t i = 0; i < AWS_ATTRS && !is_own; i++)
        is_own = weir_same(key, aws_attrs[i]);
    return is_own;
}

static const char *aws_code_of(weir_status s)
{
    if (s == WEIR_E_REJECT)
        return "INVALID_PARAMETER";
    return s == WEIR_E_CONFIG ? "SDK_CLIENT_ERROR" : "INTERNAL_ERROR";
}

static size_t add_aws_attr(weir_attr *items, size_t n, struct block *b, size_t which,
                           const char *value)
{
    items[n].key = weir_text(aws_attrs[which]);
    items[n].value = block_text(b, weir_text(value));
    return n + 1;
}

/* What came by a rule of an event bus: the stage that reads the rule's port is its target. */
static size_t add_aws_attrs(struct pipeline *p, const struct letter *l, weir_attr *items, size_t n,
                            struct block *b)
{
    const struct stage *s = l->inlet->stage;
    const struct plan_retry *retry = l->inlet->retry;
    struct buf text = {0};
    char attempts[16];
    if (!bus_rule_arn(p, s, &text))
        return n;
    n = add_aws_attr(items, n, b, 0, buf_text(&text));
    text.len = 0;
    buf_print(&text, "arn:weir:pipeline:%s:%s:stage/%s", p->env.region, p->env.account, s->name);
    n = add_aws_attr(items, n, b, 1, buf_text(&text));
    buf_fini(&text);
    n = add_aws_attr(items, n, b, 2, aws_code_of(l->entry.error));
    n = add_aws_attr(items, n, b, 3, l->why);
    uint32_t again = l->entry.attempts ? l->entry.attempts - 1 : 0;
    (void)snprintf(attempts, sizeof attempts, "%u", again);
    n = add_aws_attr(items, n, b, 4, attempts);
    if (l->entry.error != WEIR_E_RETRY)
        return n;
    bool is_by_count = retry->max_attempts && l->entry.attempts >= (uint64_t)retry->max_attempts;
    return add_aws_attr(items, n, b, 5,
                        is_by_count ? "MaximumRetryAttempts" : "MaximumEventAgeInSeconds");
}

static void add_letter_attrs(struct pipeline *p, struct letter *l, struct event *copy,
                             struct block *b)
{
    enum { OWN = 6 };
    char time[2][CLOCK_TEXT_BYTES], attempts[16];
    (void)clock_format(l->entry.first_ns, 3, time[0]);
    (void)clock_format(clock_wall(p->clock), 3, time[1]);
    (void)snprintf(attempts, sizeof attempts, "%u", l->entry.attempts);
    const char *own[OWN][2] = {
        {"dead.stage", l->inlet->stage->name},
        {"dead.class", l->class ? l->class : class_of(l->entry.error)},
        {"dead.reason", l->why},
        {"dead.attempts", attempts},
        {"dead.first_time", time[0]},
        {"dead.last_time", time[1]},
    };
    const weir_pairs *old = &copy->pub.attrs;
    weir_attr *items = block_take(b, (old->count + OWN + AWS_ATTRS) * sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < old->count; i++)
        if (!dead_is_own(old->items[i].key))
            items[n++] = old->items[i];
    for (size_t i = 0; i < OWN; i++) {
        items[n].key = weir_text(own[i][0]);
        items[n++].value = block_text(b, weir_text(own[i][1]));
    }
    n = add_aws_attrs(p, l, items, n, b);
    copy->pub.attrs = (weir_pairs){n, items};
}

static void on_letter(struct loop_task *t)
{
    struct letter *l = t->user;
    letter_kept(l, l->status);
}

static void letter_kept(void *arg, weir_status s)
{
    struct letter *l = arg;
    struct inlet *in = l->inlet;
    struct entry *e = &l->entry;
    l->status = s;
    l->task = (struct loop_task){.fn = on_letter, .user = l};
    if (inlet_is_elsewhere(in, &l->task))
        return;
    if (in->stage->role == ROLE_TRANSFORM)
        e->slot = e->ev->slot;
    if (s != WEIR_OK) { /* no room for it: it stays where it is and is tried again */
        e->error = WEIR_E_RETRY;
        (void)inlet_judge(in, e, WEIR_E_CONFIG, "the disk has no room for a dead letter");
    } else {
        metric_add(in->stage->m.dead_lettered, 1);
        park_end(e->ev);
        if (e->sequence == NO_SEQUENCE)
            atomic_fetch_sub_explicit(&in->in_memory, 1, memory_order_relaxed);
        slot_fail(e->slot, e->error, in->stage->name, l->why, true);
        if (e->line)
            order_end(in, e);
        block_unref(e->ev->block);
        if (in->released.count)
            inlet_wake(in);
    }
    mem_free(l->why);
    mem_free(l);
}

/* Somebody reads the stage's `.failed`: the event goes on there, with what went wrong as attributes. */
static void pass_failed(struct inlet *in, struct entry *e, const char *class, const char *why)
{
    struct worker *w = in->worker;
    struct letter l = {.inlet = in, .entry = *e, .why = mem_text(why), .class = class};
    struct block *b = block_new(w);
    struct event *copy = event_copy(b, e->ev);
    add_letter_attrs(in->stage->pipeline, &l, copy, b);
    copy->slot = in->stage->role == ROLE_TRANSFORM ? e->ev->slot : e->slot;
    if (e->sequence == NO_SEQUENCE) {
        atomic_fetch_sub_explicit(&in->in_memory, 1, memory_order_relaxed);
    } else if (in->stage->role == ROLE_SINK) {
        slot_release(e->slot, SLOT_DURABLE);
        copy->slot = park_slot(in, e->sequence, e->ev);
    }
    metric_add(in->stage->m.diverted, 1);
    trace_add(w, in->stage, e->ev, TRACE_FAILED, why);
    park_end(e->ev);
    route_failed(in->stage, w, copy);
    if (e->line)
        order_end(in, e);
    block_unref(e->ev->block);
    block_unref(b);
    mem_free(l.why);
}

void dead_divert(struct inlet *in, struct entry *e, const char *why)
{
    if (!e->first_ns)
        e->first_ns = worker_now(in->worker);
    pass_failed(in, e, "breaker open", why);
}

static void tell_dead(const struct inlet *in, unsigned attempts, const char *why, uint64_t held)
{
    char before[64] = "";
    if (held)
        (void)snprintf(before, sizeof before, " (and %llu before)", (unsigned long long)held);
    log_write(WEIR_WARN, in->stage->name, "an event goes to %s after %u attempts: %s%s",
              in->stage->plan->delivery.dead_letter, attempts, why, before);
}

void dead_letter(struct inlet *in, struct entry *e, const char *why)
{
    struct worker *w = in->worker;
    if (in->stage->ports[in->stage->port_count - 1].count) {
        pass_failed(in, e, NULL, why);
        return;
    }
    struct queue *q = queue_of(in->stage);
    struct letter *l = MEM_NEW(struct letter);
    *l = (struct letter){.inlet = in, .entry = *e, .why = mem_text(why)};
    static struct log_limit limit;
    uint64_t held = 0;
    if (log_limit_pass(&limit, 1, &held))
        tell_dead(in, e->attempts, why, held);
    trace_add(w, in->stage, e->ev, TRACE_DEAD_LETTERED, why);
    struct block *b = block_new(w);
    struct event *copy = event_copy(b, e->ev);
    add_letter_attrs(in->stage->pipeline, l, copy, b);
    struct buf head = {0};
    codec_write(&copy->pub, &head);
    struct queue_send m = {.part_count = 2, .delay_ns = -1};
    m.parts[0] = (struct iovec){head.ptr, head.len};
    m.parts[1] = codec_body(&copy->pub);
    queue_send(q, commit_unit(w), &m);
    commit_count(w, LEDGER_DEAD_LETTERED, 1);
    if (e->sequence != NO_SEQUENCE && in->stage->role == ROLE_SINK) {
        unit_ack(commit_unit(w), in->stream, e->sequence, 1);
        unit_count(commit_unit(w), in->counter, 1);
    } else {
        commit_count(w, LEDGER_IN_MEMORY, -1);
    }
    commit_then(w, letter_kept, l);
    buf_fini(&head);
    block_unref(b);
}
