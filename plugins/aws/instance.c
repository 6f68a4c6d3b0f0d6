/* aws/instance.c: the service's own instance: credentials kept fresh on a thread of its own. */
#include <stdio.h>

#include "aws.h"

enum { TIMER_REFRESH };
#define NS_PER_S  INT64_C(1000000000)
#define EARLY_NS  (900 * NS_PER_S) /* before the end, as the SDKs do */
#define FIRST_NS  NS_PER_S
#define LATEST_NS (60 * NS_PER_S)

struct seeker aws_seeker(const struct aws *a, const weir_host *h)
{
    return (struct seeker){.h = h,
                           .http = a->http,
                           .json = a->json,
                           .region = a->region,
                           .ca_file = a->ca_file,
                           .skew_ns = atomic_load(&a->skew_ns)};
}

/* A quarter of an hour ahead; of a short life, at half of it. */
static int64_t due_in(const struct aws *a, int64_t now)
{
    int64_t left = a->now.expires_ns - now;
    if (!a->now.expires_ns)
        return -1;
    return left > INT64_C(2) * EARLY_NS ? left - EARLY_NS : left > 0 ? left / 2 : 0;
}

weir_status aws_refresh(struct aws *a, const weir_host *h, bool is_forced)
{
    struct credentials *fresh = h->scratch(h, sizeof *fresh);
    int64_t now = h->now(h);
    (void)pthread_mutex_lock(&a->lock);
    bool is_good = a->now.access_key[0] && (!a->now.expires_ns || a->now.expires_ns > now);
    (void)pthread_mutex_unlock(&a->lock);
    if (is_good && !is_forced)
        return WEIR_OK;
    *fresh = (struct credentials){.expires_ns = 0};
    struct seeker k = aws_seeker(a, h);
    weir_status s = credentials_find(&k, fresh);
    if (s == WEIR_OK && fresh->expires_ns && fresh->expires_ns <= now + k.skew_ns)
        s = seek_fail(&k, WEIR_E_RETRY, "%s: what it gave is over already", fresh->origin);
    (void)pthread_mutex_lock(&a->lock);
    if (s == WEIR_OK)
        a->now = *fresh;
    a->failures = s == WEIR_OK ? 0 : a->failures + 1;
    (void)snprintf(a->why, sizeof a->why, "%s", s == WEIR_OK ? "" : k.why);
    (void)pthread_mutex_unlock(&a->lock);
    explicit_bzero(fresh, sizeof *fresh);
    atomic_store(&a->skew_ns, k.skew_ns);
    return s;
}

static void arm(struct aws *a, const weir_host *h)
{
    (void)pthread_mutex_lock(&a->lock);
    int64_t after = due_in(a, h->now(h));
    unsigned n = a->failures < 8 ? a->failures : 8;
    (void)pthread_mutex_unlock(&a->lock);
    int64_t wait = FIRST_NS << n;
    if (n)
        after = wait < LATEST_NS ? wait : LATEST_NS;
    h->timer(h, TIMER_REFRESH, (weir_duration){after});
}

static weir_status tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    struct aws *a = self;
    weir_status s = aws_refresh(a, h, true);
    if (s == WEIR_OK)
        h->log(h, WEIR_INFO, "credentials are fresh: %s", a->now.origin);
    else
        (void)h->fail(h, s, 0, "%s", a->why);
    arm(a, h);
    return WEIR_OK;
}

static void on_watch(void *self, const weir_host *h, void *arg)
{
    struct aws *a = self;
    if (!a->is_watched)
        arm(a, h);
    a->is_watched = true;
}

/* Asked for by a request that found none: not more often than the waits between failures. */
static void on_watch_now(void *self, const weir_host *h, void *arg)
{
    struct aws *a = self;
    a->is_watched = true;
    if (a->failures)
        return;
    h->timer(h, TIMER_REFRESH, (weir_duration){0});
}

void aws_watch(const weir_aws *a, bool is_now)
{
    const weir_host *owner = a->base.owner;
    owner->post(owner, is_now ? on_watch_now : on_watch, NULL);
}

static weir_status start(void *self, const weir_host *h)
{
    struct aws *a = self;
    (void)pthread_mutex_init(&a->lock, NULL);
    return WEIR_OK;
}

static void stop(void *self, const weir_host *h)
{
    struct aws *a = self;
    explicit_bzero(&a->now, sizeof a->now);
    (void)pthread_mutex_destroy(&a->lock);
}

static const weir_aws service = {
    .base = WEIR_OFFER(WEIR_AWS),
    .open = client_open,
    .url = client_url,
    .region = client_region,
    .send = client_send,
};
static const weir_service *const offers[] = {&service.base, NULL};

static const weir_option options[] = {
    WEIR_NEED(struct aws, http, WEIR_HTTP_CLIENT),
    WEIR_NEED(struct aws, json, WEIR_JSON),
    WEIR_NEED_AS(struct aws, about, weir_pipeline, "weir.pipeline/1", is_region_written),
    {0},
};

static const weir_component aws = {
    .name = "aws",
    .version = "1.0",
    .summary = "Signs calls to AWS for other stages: credentials, region, endpoint.",
    .flags = WEIR_BLOCKING,
    .state_size = sizeof(struct aws),
    .options = options,
    .offers = offers,
    .start = start,
    .stop = stop,
    .tick = tick,
    .commands = whoami_commands,
};
WEIR_PLUGIN(&aws);
