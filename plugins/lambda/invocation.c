/* lambda/invocation.c: from a batch to what functions are given, and from their answers to events. */
#include <inttypes.h>
#include <stdio.h>

#include "lambda.h"

static void format_id(char *text, const weir_id *id)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[id->bytes[i] >> 4];
        *text++ = digits[id->bytes[i] & 15];
    }
    *text = 0;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

struct job *job_new(const weir_host *h, struct worker *w, const weir_batch *batch)
{
    struct job **at = &w->free_jobs;
    while (*at && (*at)->capacity < batch->count)
        at = &(*at)->next;
    struct job *job = *at;
    if (job) {
        *at = job->next;
    } else {
        size_t capacity = 64;
        while (capacity < batch->count)
            capacity *= 2;
        job = h->keep(h, sizeof *job);
        *job = (struct job){.items = h->keep(h, capacity * sizeof *job->items)};
        job->capacity = capacity;
    }
    job->next = NULL;
    job->batch = batch;
    job->started = job->open = 0;
    memset(job->items, 0, batch->count * sizeof *job->items);
    return job;
}

void job_free(const weir_host *h, struct worker *w, struct job *take)
{
    for (size_t i = 0; i < take->batch->count; i++)
        if (take->items[i].body)
            h->unref(h, take->items[i].body);
    take->next = w->free_jobs;
    w->free_jobs = take;
}

size_t job_emit(const weir_host *h, struct job *job, weir_batch *out)
{
    size_t passed = 0;
    for (size_t i = 0; i < job->batch->count; i++) {
        struct item *item = &job->items[i];
        if (item->state == ITEM_MARKED)
            continue;
        weir_event *ev = h->pass(h, out, job->batch->events[i]);
        if (item->state == ITEM_BODY)
            h->set_body(h, ev, item->body);
        item->body = NULL;
        passed++;
    }
    return passed;
}

static void mark(const weir_host *h, struct job *job, size_t i, weir_status s, const char *why)
{
    job->items[i].state = ITEM_MARKED;
    h->mark(h, job->batch, i, s, why);
}

/* ---- the way in ------------------------------------------------------------------------------ */

void invocation_begin(const struct lambda *l, const weir_host *h, struct job *job,
                      struct invocation *v)
{
    size_t left = job->batch->count - job->started, most = (size_t)l->batch_size;
    v->job = job;
    v->first = job->started;
    v->count = left < most ? left : most;
    format_id(v->request_id, &job->batch->events[v->first]->id);
    v->begun_ns = h->now(h);
    v->deadline_ns = v->begun_ns + l->timeout.ns;
    job->started += v->count;
    job->open += v->count;
}

static weir_payload *one(const struct lambda *l, const weir_host *h, const weir_event *ev,
                         struct answer *failed)
{
    size_t at = 0;
    *failed = (struct answer){.status = WEIR_E_RETRY, .why = "the memory limit is reached"};
    if (l->payload == PAYLOAD_ENVELOPE)
        return l->shapes->envelope(l->shapes, ev);
    if (l->json->valid(l->json, ev->body, &at) == WEIR_OK)
        return h->ref(h, ev->body);
    char *why = h->scratch(h, 96);
    (void)snprintf(why, 96, "the body is not JSON at byte %zu, and a function takes nothing else",
                   at);
    *failed = (struct answer){.status = WEIR_E_REJECT, .why = why};
    return NULL;
}

/* Events that cannot be given to a function at all are marked here, and the others go on without. */
static size_t gather(const struct lambda *l, const weir_host *h, const struct invocation *v,
                     weir_payload **parts)
{
    size_t bytes = 2;
    for (size_t i = 0; i < v->count; i++) {
        struct answer failed;
        parts[i] = one(l, h, v->job->batch->events[v->first + i], &failed);
        if (parts[i])
            bytes += parts[i]->len + 1;
        else
            mark(h, v->job, v->first + i, failed.status, failed.why);
    }
    return bytes;
}

weir_payload *invocation_payload(const struct lambda *l, const weir_host *h,
                                 const struct invocation *v, struct answer *failed)
{
    if (l->batch_size == 1)
        return one(l, h, v->job->batch->events[v->first], failed);
    weir_payload **parts = h->scratch(h, v->count * sizeof(weir_payload *));
    size_t bytes = gather(l, h, v, parts), n = 0;
    char *data = NULL;
    weir_payload *all = h->alloc(h, bytes, &data);
    *failed = (struct answer){.status = WEIR_E_RETRY, .why = "the memory limit is reached"};
    if (all)
        data[n++] = '[';
    for (size_t i = 0; i < v->count; i++) {
        if (!parts[i])
            continue;
        if (all && n > 1)
            data[n++] = ',';
        if (all)
            memcpy(data + n, parts[i]->ptr, parts[i]->len);
        n += parts[i]->len;
        h->unref(h, parts[i]);
    }
    if (!all)
        return NULL;
    if (n == 1) { /* none is left to be given: all are marked */
        h->unref(h, all);
        return NULL;
    }
    data[n++] = ']';
    weir_payload *exact = n == bytes ? h->ref(h, all) : h->slice(h, all, 0, n);
    h->unref(h, all);
    return exact;
}

/* ---- the way out ----------------------------------------------------------------------------- */

weir_status invocation_class(const struct lambda *l, weir_str error_type)
{
    for (size_t i = 0; i < l->reject.count; i++)
        if (weir_same(error_type, l->reject.items[i]))
            return WEIR_E_REJECT;
    return WEIR_E_RETRY;
}

struct answer invocation_error(const struct lambda *l, const weir_host *h, weir_str body)
{
    struct answer a = {.status = WEIR_E_RETRY, .why = "the function failed and did not say why"};
    size_t at = 0;
    if (!body.len || l->json->check(l->json, body, &at) != WEIR_OK)
        return a;
    weir_str type = l->json->find(l->json, body, "errorType");
    weir_str message = l->json->find(l->json, body, "errorMessage");
    type = type.ptr ? l->json->text(l->json, type) : weir_text("Error");
    message = message.ptr ? l->json->text(l->json, message) : weir_text("no message");
    char *why = h->scratch(h, WHY_SIZE);
    (void)snprintf(why, WHY_SIZE, "%.*s: %.*s", (int)(type.len < 200 ? type.len : 200), type.ptr,
                   (int)(message.len < WHY_SIZE ? message.len : WHY_SIZE), message.ptr);
    a.why = why;
    a.status = invocation_class(l, type);
    return a;
}

static void settle_all(const weir_host *h, const struct invocation *v, weir_status s,
                       const char *why)
{
    for (size_t i = v->first; i < v->first + v->count; i++)
        if (v->job->items[i].state == ITEM_WAITING)
            mark(h, v->job, i, s, why);
}

static weir_str trimmed(const weir_payload *p)
{
    weir_str text = {p->ptr, p->len};
    while (text.len && (text.ptr[0] == ' ' || (text.ptr[0] >= '\t' && text.ptr[0] <= '\r')))
        text.ptr++, text.len--;
    return text;
}

static void settle_one(const struct lambda *l, const weir_host *h, struct job *job, size_t i,
                       weir_payload *take)
{
    struct item *item = &job->items[i];
    if (take && l->json->kind(l->json, trimmed(take)) != WEIR_JSON_NULL) {
        item->state = ITEM_BODY;
        item->body = take;
        return;
    }
    if (take)
        h->unref(h, take);
    if (l->on_null == ON_NULL_DROP)
        mark(h, job, i, WEIR_DROP, "the function returned nothing");
    else
        item->state = ITEM_AS_IS;
}

static size_t waiting(const struct invocation *v)
{
    size_t n = 0;
    for (size_t i = v->first; i < v->first + v->count; i++)
        n += v->job->items[i].state == ITEM_WAITING;
    return n;
}

/* An array with one element for each event that was given. */
static bool settle_array(const struct lambda *l, const weir_host *h, const struct invocation *v,
                         weir_payload *p)
{
    weir_str text = trimmed(p);
    size_t n = 0, i = v->first;
    for (weir_json_each each = {0}; l->json->next(l->json, text, &each);)
        n++;
    if (n != waiting(v))
        return false;
    for (weir_json_each each = {0}; l->json->next(l->json, text, &each); i++) {
        while (v->job->items[i].state != ITEM_WAITING)
            i++;
        weir_payload *part = h->slice(h, p, (size_t)(each.value.ptr - p->ptr), each.value.len);
        if (part)
            settle_one(l, h, v->job, i, part);
        else
            mark(h, v->job, i, WEIR_E_RETRY, "the memory limit is reached");
    }
    return true;
}

static bool mark_failure(const struct lambda *l, const weir_host *h, const struct invocation *v,
                         weir_str failure)
{
    weir_str id = l->json->find(l->json, failure, "itemIdentifier");
    if (!id.ptr || l->json->kind(l->json, id) != WEIR_JSON_TEXT)
        return false;
    id = l->json->text(l->json, id);
    for (size_t i = v->first; i < v->first + v->count; i++) {
        char text[REQUEST_ID_SIZE];
        format_id(text, &v->job->batch->events[i]->id);
        if (!weir_same(id, text))
            continue;
        if (v->job->items[i].state == ITEM_WAITING)
            mark(h, v->job, i, WEIR_E_RETRY, "the function reported it among batchItemFailures");
        return true;
    }
    return false;
}

/* As AWS reads it: an unknown or empty identifier fails the whole batch. */
static bool settle_failures(const struct lambda *l, const weir_host *h, const struct invocation *v,
                            weir_str failures)
{
    for (weir_json_each each = {0}; l->json->next(l->json, failures, &each);)
        if (!mark_failure(l, h, v, each.value))
            return false;
    for (size_t i = v->first; i < v->first + v->count; i++)
        if (v->job->items[i].state == ITEM_WAITING)
            v->job->items[i].state = ITEM_AS_IS;
    return true;
}

static void settle_nothing(const struct lambda *l, const weir_host *h, const struct invocation *v)
{
    for (size_t i = v->first; i < v->first + v->count; i++)
        if (v->job->items[i].state == ITEM_WAITING)
            settle_one(l, h, v->job, i, NULL);
}

static weir_status settle_batch(const struct lambda *l, const weir_host *h,
                                const struct invocation *v, weir_payload *p)
{
    weir_str text = trimmed(p);
    weir_str failures = l->json->find(l->json, text, "batchItemFailures");
    int kind = l->json->kind(l->json, text);
    if (kind == WEIR_JSON_NULL) {
        settle_nothing(l, h, v);
        return WEIR_DROP;
    }
    if (kind == WEIR_JSON_ARRAY && settle_array(l, h, v, p))
        return WEIR_OK;
    if (kind == WEIR_JSON_OBJECT && failures.ptr &&
        l->json->kind(l->json, failures) == WEIR_JSON_ARRAY && settle_failures(l, h, v, failures))
        return WEIR_OK;
    char *why = h->scratch(h, WHY_SIZE);
    (void)snprintf(why, WHY_SIZE,
                   "the function's answer fits no batch: expected an array of %zu, or "
                   "{\"batchItemFailures\": [...]} with ids of these events",
                   waiting(v));
    settle_all(h, v, WEIR_E_RETRY, why);
    return WEIR_E_RETRY;
}

weir_status invocation_settle(const struct lambda *l, const weir_host *h, struct invocation *v,
                              const struct answer *take)
{
    size_t at = 0;
    weir_payload *p = take->take;
    weir_status s = take->status;
    v->job->open -= v->count;
    if (s != WEIR_OK) {
        settle_all(h, v, s, take->why);
    } else if (!p) {
        settle_nothing(l, h, v);
    } else if (l->json->valid(l->json, p, &at) != WEIR_OK) {
        char *why = h->scratch(h, WHY_SIZE);
        (void)snprintf(why, WHY_SIZE, "the function's answer is not JSON at byte %zu", at);
        s = WEIR_E_RETRY;
        settle_all(h, v, s, why);
    } else if (l->batch_size == 1) {
        settle_one(l, h, v->job, v->first, p);
        return s;
    } else {
        s = settle_batch(l, h, v, p);
    }
    if (p)
        h->unref(h, p);
    return s;
}

/* ---- jobs of a worker ------------------------------------------------------------------------ */

void jobs_push(struct jobs *jobs, struct job *take)
{
    if (jobs->last)
        jobs->last->next = take;
    else
        jobs->first = take;
    jobs->last = take;
}

static bool is_complete(const struct job *job)
{
    return job && !job->open && job->started == job->batch->count;
}

void jobs_settle(const struct lambda *l, const weir_host *h, struct worker *w, struct invocation *v,
                 const struct answer *take)
{
    if (invocation_settle(l, h, v, take) < 0)
        h->observe(h, w->figures.errors, 1);
    if (is_complete(w->jobs.first))
        h->wake(h);
}

weir_status jobs_emit(const weir_host *h, struct worker *w, weir_batch *out)
{
    struct job *job = w->jobs.first;
    if (!is_complete(job))
        return WEIR_IDLE;
    w->jobs.first = job->next;
    if (!w->jobs.first)
        w->jobs.last = NULL;
    const weir_batch *batch = job->batch;
    size_t passed = job_emit(h, job, out);
    job_free(h, w, job);
    if (passed)
        h->bind(h, out, batch);
    else
        h->done(h, batch, WEIR_OK);
    if (is_complete(w->jobs.first)) /* one batch at a time: `out` is bound to it */
        h->wake(h);
    return passed ? WEIR_OK : WEIR_IDLE;
}

void jobs_free(const weir_host *h, struct worker *w)
{
    for (struct job *job = w->jobs.first, *next; job; job = next) {
        next = job->next;
        job_free(h, w, job);
    }
    w->jobs = (struct jobs){NULL, NULL};
}
