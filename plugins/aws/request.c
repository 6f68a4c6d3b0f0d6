/* aws/request.c: signed requests, and the retries of the SDKs for those that are waited for. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "aws.h"
#include "sigv4.h"

enum { TOKENS_MAX = 500, COST = 5, COST_OF_TIMEOUT = 10, BACKOFF_MAX_MS = 20000 };

/* The bucket of tokens: a service that fails on and on is not asked twice as often for it. */
static _Atomic int tokens = TOKENS_MAX;

static weir_str kept(const weir_host *h, const char *text)
{
    size_t n = strlen(text);
    char *copy = h->scratch(h, n + 1);
    memcpy(copy, text, n + 1);
    return (weir_str){copy, n};
}

weir_pairs request_sign(const weir_host *h, const struct signing *s, const struct credentials *by)
{
    weir_attr *all = h->scratch(h, (s->headers.count + 5) * sizeof *all);
    char *authorization = h->scratch(h, SIGV4_AUTHORIZATION_BYTES);
    char date[SIGV4_DATE_BYTES], hash[SIGV4_HASH_BYTES];
    size_t n = 0;
    sigv4_date(s->time_ns, date);
    sigv4_hash(s->body, hash);
    for (; n < s->headers.count; n++)
        all[n] = s->headers.items[n];
    all[n++] = (weir_attr){weir_text("x-amz-date"), kept(h, date)};
    if (by->token[0])
        all[n++] = (weir_attr){weir_text("x-amz-security-token"), kept(h, by->token)};
    if (s->content_type)
        all[n++] = (weir_attr){weir_text("content-type"), weir_text(s->content_type)};
    all[n++] = (weir_attr){weir_text("host"), weir_text(s->host)};
    const struct sigv4_request r = {.method = s->method,
                                    .path = weir_text(s->path),
                                    .query = weir_text(s->query),
                                    .headers = {n, all},
                                    .body_hash = hash,
                                    .region = s->region,
                                    .service = s->service,
                                    .date = date,
                                    .access_key = by->access_key,
                                    .secret = by->secret};
    if (!sigv4_sign(&r, authorization))
        return (weir_pairs){0};
    all[n - 1] = (weir_attr){weir_text("authorization"), weir_text(authorization)};
    return (weir_pairs){n, all}; /* the host comes from the URL */
}

/* ---- waiting ---------------------------------------------------------------------------------- */

static void pause_for(int attempt, weir_pairs headers)
{
    uint32_t chance = 0;
    int64_t bound = INT64_C(1000) << (attempt < 5 ? attempt : 5), asked = answer_pause_ms(headers);
    int64_t ms = bound < BACKOFF_MAX_MS ? bound : BACKOFF_MAX_MS;
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance)
        chance = UINT32_MAX / 2;
    ms = (int64_t)(chance % (uint64_t)ms);
    if (asked > ms)
        ms = asked < BACKOFF_MAX_MS ? asked : BACKOFF_MAX_MS;
    const struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

static bool take_tokens(int cost)
{
    int had = atomic_load(&tokens);
    while (had >= cost)
        if (atomic_compare_exchange_weak(&tokens, &had, had - cost))
            return true;
    return false;
}

static void give_tokens(int n)
{
    int had = atomic_load(&tokens);
    while (
        !atomic_compare_exchange_weak(&tokens, &had, had + n < TOKENS_MAX ? had + n : TOKENS_MAX))
        ;
}

static weir_status once(struct seeker *k, const struct call *c, const weir_http_reply **reply)
{
    char *data = NULL;
    weir_http_request r = {.size = sizeof r,
                           .method = c->method,
                           .url = c->url,
                           .content_type = c->content_type,
                           .headers = c->headers,
                           .timeout = {c->timeout_ns},
                           .ca_file = k->ca_file};
    struct endpoint e;
    if (c->service) {
        if (!endpoint_split(c->url, &e))
            return WEIR_E_CONFIG;
        const char *path = strchr(strstr(c->url, "://") + 3, '/'); /* with its slash at the end */
        const struct signing s = {.method = c->method,
                                  .path = path ? path : "/",
                                  .query = "",
                                  .host = e.host,
                                  .content_type = c->content_type,
                                  .region = c->region,
                                  .service = c->service,
                                  .headers = c->headers,
                                  .body = c->body,
                                  .time_ns = k->h->now(k->h) + k->skew_ns};
        r.headers = request_sign(k->h, &s, c->by);
        r.content_type = NULL; /* it is among the signed ones */
    }
    if (c->body.len) {
        r.take = k->h->alloc(k->h, c->body.len, &data);
        if (!r.take)
            return WEIR_E_RETRY;
        memcpy(data, c->body.ptr, c->body.len);
    }
    *reply = NULL;
    return k->http->fetch(k->http, &r, reply);
}

static weir_status told(struct seeker *k, const char *what, const weir_http_reply *reply,
                        const struct answer *a)
{
    if (reply->error)
        return seek_fail(k, a->status, "%s: %.200s", what, reply->error);
    return seek_fail(k, a->status, "%s: answered %d%s%.100s%s%.200s", what, reply->status,
                     a->code[0] ? ": " : "", a->code, a->message[0] ? ": " : "", a->message);
}

/* True: the clock was wrong by minutes, and is no more. */
static bool mend_clock(struct seeker *k, const weir_http_reply *reply, const struct answer *a)
{
    int64_t there = answer_date(reply->headers), here = k->h->now(k->h);
    int64_t off = there - here - k->skew_ns;
    if (!a->is_skewed || !there || (off < INT64_C(240000000000) && off > -INT64_C(240000000000)))
        return false;
    k->skew_ns = there - here;
    return true;
}

weir_status request_wait(struct seeker *k, const struct call *c, const char *what,
                         const weir_http_reply **reply)
{
    int left = c->attempts ? c->attempts : retry_attempts(k->h);
    bool is_mended = false;
    for (int attempt = 0;; attempt++) {
        struct answer a;
        int cost = COST;
        (void)once(k, c, reply);
        if (!*reply)
            return seek_fail(k, WEIR_E_RETRY, "%s: no request could be made", what);
        answer_read(k->h, k->json, *reply, &a);
        if (a.status == WEIR_OK) {
            give_tokens(attempt ? COST : 1);
            return WEIR_OK;
        }
        if (!is_mended && mend_clock(k, *reply, &a)) {
            is_mended = true;
            continue;
        }
        cost = (*reply)->error ? COST_OF_TIMEOUT : COST;
        if (a.status != WEIR_E_RETRY || a.is_expired || --left <= 0 || !take_tokens(cost))
            return told(k, what, *reply, &a);
        pause_for(attempt, (*reply)->headers);
    }
}
