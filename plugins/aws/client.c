/* aws/client.c: requests of other stages: signed with what is at hand, and answers judged. */
#include <stdio.h>
#include <stdlib.h>

#include "aws.h"

struct weir_aws_client {
    struct aws *aws;
    const weir_aws *table;
    const char *service;
    struct endpoint at;
    bool is_adaptive;
    struct pace pace; /* with the lock of the instance */
};

struct job {               /* a request under way */
    weir_aws_request what; /* headers and query are its own; `take` is a reference that is kept */
    weir_attr headers[AWS_HEADERS_MAX];
    bool is_again; /* with a clock that was mended */
    char texts[];
};

static void job_free(const weir_host *h, struct job *j)
{
    h->unref(h, j->what.take);
    free(j);
}

static struct job *job_new(const weir_aws_request *r)
{
    size_t bytes = r->query ? strlen(r->query) + 1 : 0;
    for (size_t i = 0; i < r->headers.count; i++)
        bytes += r->headers.items[i].key.len + r->headers.items[i].value.len;
    struct job *j = r->headers.count > AWS_HEADERS_MAX ? NULL : calloc(1, sizeof *j + bytes);
    if (!j)
        return NULL;
    char *at = j->texts;
    j->what = *r;
    for (size_t i = 0; i < r->headers.count; i++) {
        const weir_attr *from = &r->headers.items[i];
        j->headers[i] = (weir_attr){{at, from->key.len}, {at + from->key.len, from->value.len}};
        memcpy(at, from->key.ptr, from->key.len);
        if (from->value.len)
            memcpy(at + from->key.len, from->value.ptr, from->value.len);
        at += from->key.len + from->value.len;
    }
    j->what.headers.items = j->headers;
    if (r->query)
        j->what.query = memcpy(at, r->query, strlen(r->query) + 1);
    return j;
}

static weir_status judge(void *self, const weir_host *h, const weir_http_reply *reply,
                         const void *arg, weir_batch *out);

/* ---- sending ---------------------------------------------------------------------------------- */

/* Signed while the lock is held: the credentials are not copied. count 0: none, or over. */
static weir_pairs signed_headers(const struct job *j, const weir_host *h)
{
    const struct weir_aws_client *c = j->what.client;
    struct aws *a = c->aws;
    char *path = h->scratch(h, AWS_URL_BYTES + strlen(j->what.path) + 1);
    weir_pairs headers = {0};
    (void)snprintf(path, AWS_URL_BYTES + strlen(j->what.path) + 1, "%s%s", c->at.path,
                   j->what.path);
    const struct signing s = {
        .method = j->what.method,
        .path = path,
        .query = j->what.query ? j->what.query : "",
        .host = c->at.host,
        .content_type = j->what.content_type,
        .region = c->at.region,
        .service = c->service,
        .headers = j->what.headers,
        .body = {j->what.take ? j->what.take->ptr : "", j->what.take ? j->what.take->len : 0},
        .time_ns = h->now(h) + atomic_load(&a->skew_ns),
    };
    (void)pthread_mutex_lock(&a->lock);
    if (a->now.access_key[0] && (!a->now.expires_ns || a->now.expires_ns > s.time_ns))
        headers = request_sign(h, &s, &a->now);
    (void)pthread_mutex_unlock(&a->lock);
    return headers;
}

/* In the adaptive mode the stage waits after this request until the next one may go. */
static void keep_pace(struct weir_aws_client *c, const weir_host *h)
{
    if (!c->is_adaptive || !WEIR_HAS(h, hold))
        return;
    (void)pthread_mutex_lock(&c->aws->lock);
    int64_t wait_ns = pace_take(&c->pace, h->now(h));
    (void)pthread_mutex_unlock(&c->aws->lock);
    if (wait_ns)
        h->hold(h, (weir_duration){wait_ns});
}

static weir_status send_job(struct job *j, const weir_host *h)
{
    struct weir_aws_client *c = j->what.client;
    weir_pairs headers = signed_headers(j, h);
    size_t size =
        strlen(c->at.url) + strlen(j->what.path) + (j->what.query ? strlen(j->what.query) : 0) + 2;
    char *url = h->scratch(h, size);
    (void)snprintf(url, size, "%s%s%s%s", c->at.url, j->what.path, j->what.query ? "?" : "",
                   j->what.query ? j->what.query : "");
    if (!headers.count) {
        aws_watch(c->table, true);
        return WEIR_E_RETRY;
    }
    keep_pace(c, h);
    const weir_http_request r = {.size = sizeof r,
                                 .method = j->what.method,
                                 .url = url,
                                 .headers = headers,
                                 .take = j->what.take ? h->ref(h, j->what.take) : NULL,
                                 .timeout = j->what.timeout,
                                 .arg = j,
                                 .judge = judge,
                                 .ca_file = c->aws->ca_file};
    return c->aws->http->send(c->aws->http, &r);
}

weir_status client_send(const weir_aws *a, const weir_host *h, const weir_aws_request *r)
{
    struct job *j = job_new(r);
    struct aws *self = a->base.self;
    if (!j) {
        h->unref(h, r->take);
        return WEIR_E_RETRY;
    }
    if (!j->what.method)
        j->what.method = "POST";
    if (!j->what.path)
        j->what.path = "/";
    weir_status s = send_job(j, h);
    if (s == WEIR_PENDING)
        return s;
    char *why = h->scratch(h, AWS_WHY_BYTES);
    (void)pthread_mutex_lock(&self->lock);
    (void)snprintf(why, AWS_WHY_BYTES, "%s", self->why);
    (void)pthread_mutex_unlock(&self->lock);
    job_free(h, j);
    return why[0] ? h->fail(h, WEIR_E_RETRY, 0, "no credentials now: %s", why) : WEIR_E_RETRY;
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void say_why(const struct weir_aws_client *c, const weir_http_reply *reply,
                    const struct answer *a, char *why)
{
    weir_str id = answer_header(reply->headers, "x-amzn-requestid");
    if (reply->error)
        (void)snprintf(why, AWS_WHY_BYTES, "%.200s: %.200s", c->at.url, reply->error);
    else
        (void)snprintf(why, AWS_WHY_BYTES, "%.100s: answered %d%s%.60s%s%.180s%s%.*s", c->at.url,
                       reply->status, a->code[0] ? ": " : "", a->code, a->message[0] ? ": " : "",
                       a->message, id.len ? ", request id " : "", (int)(id.len < 40 ? id.len : 40),
                       id.len ? id.ptr : "");
}

/* True: the request is under way again, with the clock of the other side. */
static bool is_mended(struct job *j, const weir_host *h, const weir_http_reply *reply,
                      const struct answer *a)
{
    struct aws *self = j->what.client->aws;
    int64_t there = answer_date(reply->headers), here = h->now(h);
    int64_t off = there - here - atomic_load(&self->skew_ns);
    if (!a->is_skewed || !there || j->is_again ||
        (off < INT64_C(240000000000) && off > -INT64_C(240000000000)))
        return false;
    h->log(h, WEIR_WARN, "this machine's clock is %lld s off that of AWS: signatures follow AWS's",
           (long long)((here - there) / INT64_C(1000000000)));
    atomic_store(&self->skew_ns, there - here);
    j->is_again = true;
    return send_job(j, h) == WEIR_PENDING;
}

static weir_status judge(void *self, const weir_host *h, const weir_http_reply *reply,
                         const void *arg, weir_batch *out)
{
    union {
        const void *in;
        struct job *out;
    } mine = {arg};
    struct job *j = mine.out;
    struct weir_aws_client *c = j->what.client;
    struct answer a;
    char why[AWS_WHY_BYTES] = "";
    answer_read(h, c->aws->json, reply, &a);
    if (is_mended(j, h, reply, &a))
        return WEIR_OK;
    if (a.is_expired)
        aws_watch(c->table, true);
    if (c->is_adaptive && !reply->error) {
        (void)pthread_mutex_lock(&c->aws->lock);
        pace_answer(&c->pace, h->now(h), a.is_throttled);
        (void)pthread_mutex_unlock(&c->aws->lock);
    }
    int64_t pause_ms = a.is_throttled ? answer_pause_ms(reply->headers) : 0;
    if (pause_ms && WEIR_HAS(h, hold))
        h->hold(h, (weir_duration){pause_ms * INT64_C(1000000)});
    if (a.status != WEIR_OK)
        say_why(c, reply, &a, why);
    const weir_aws_reply told = {.status = a.status,
                                 .http_status = reply->status,
                                 .body = {reply->body->ptr, reply->body->len},
                                 .headers = reply->headers,
                                 .code = a.code,
                                 .message = a.message,
                                 .why = why};
    weir_status s = j->what.judge(self, h, &told, j->what.arg, out);
    job_free(h, j);
    return s;
}

/* ---- opening ---------------------------------------------------------------------------------- */

weir_status client_open(const weir_aws *a, const weir_host *h, const weir_aws_target *t,
                        weir_aws_client **client)
{
    struct aws *self = a->base.self;
    struct weir_aws_client *c = memset(h->keep(h, sizeof *c), 0, sizeof *c);
    struct seeker k = aws_seeker(self, h);
    k.ca_file = self->ca_file ? self->ca_file : setting_ca_file(h);
    if (k.ca_file && !self->ca_file) {
        size_t n = strlen(k.ca_file) + 1;
        self->ca_file = memcpy(h->keep(h, n), k.ca_file, n);
    }
    char mode_text[32];
    enum retry_mode mode;
    if (!retry_mode(h, &mode, mode_text, sizeof mode_text))
        return h->fail(h, WEIR_E_CONFIG, 0,
                       "AWS_RETRY_MODE (or retry_mode of the profile) is standard, adaptive or "
                       "legacy, not \"%s\"",
                       mode_text);
    c->is_adaptive = mode == RETRY_ADAPTIVE;
    c->aws = self;
    c->table = a;
    c->service = t->service;
    const weir_pipeline *about = self->about;
    weir_status s =
        endpoint_region(&k, t->region, about->is_region_written ? about->region : NULL, &c->at);
    if (s == WEIR_OK)
        s = endpoint_find(&k, t, &c->at);
    if (s != WEIR_OK)
        return h->fail(h, s, 0, "%s", k.why);
    if (!self->region[0])
        memcpy(self->region, c->at.region, sizeof self->region);
    *client = c;
    s = aws_refresh(self, h, false);
    if (s == WEIR_E_CONFIG)
        return h->fail(h, s, 0, "%s", self->why);
    if (s != WEIR_OK)
        h->log(h, WEIR_WARN, "%s: asked for again in the background", self->why);
    aws_watch(a, s != WEIR_OK);
    return WEIR_OK;
}

const char *client_url(const weir_aws *a, const weir_aws_client *client)
{
    return client->at.url;
}

const char *client_region(const weir_aws *a, const weir_aws_client *client)
{
    return client->at.region;
}
