/* admin/admin.c: the admin listener. */
#include "admin/admin.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/http_server.h"

struct admin {
    struct pipeline *pipeline;
    struct http_server *server;
};

typedef void handler(struct admin *a, struct http_request *r);

struct admin_route {
    const char *pattern;
    handler *fn;
};

static weir_payload *body_alloc(void *user, size_t n, char **data)
{
    struct admin *a = user;
    return payload_new(&a->pipeline->budget, n, data);
}

static void body_unref(void *user, weir_payload *p)
{
    payload_unref(p);
}

static void answer(struct http_request *r, int status, const char *type, struct buf *text)
{
    const struct http_answer a = {.status = status, .content_type = type, .text = buf_str(text)};
    http_answer(r, &a);
    buf_fini(text);
}

static void livez(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    buf_add_text(&text, "{\"status\":\"ok\"}\n");
    answer(r, 200, NULL, &text);
}

static void readyz(struct admin *a, struct http_request *r)
{
    struct buf why = {0}, text = {0};
    bool is_ready = pipeline_is_ready(a->pipeline, &why);
    buf_print(&text, "{\"status\":\"%s\",\"not_ready\":[%.*s]}\n", is_ready ? "ok" : "not ready",
              (int)why.len, why.ptr ? why.ptr : "");
    buf_fini(&why);
    answer(r, is_ready ? 200 : 503, NULL, &text);
}

static void metrics(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    pipeline_refresh_metrics(a->pipeline);
    metrics_print(a->pipeline->metrics, &text);
    answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static void ledger(struct admin *a, struct http_request *r)
{
    int64_t c[LEDGER_COLUMNS], in_flight;
    struct buf text = {0};
    pipeline_ledger(a->pipeline, c, &in_flight);
    int64_t owed = c[LEDGER_ACCEPTED] + c[LEDGER_COPIED], done = in_flight;
    for (int i = LEDGER_DELIVERED; i < LEDGER_COLUMNS; i++)
        done += c[i];
    buf_print(&text,
              "{\"accepted\":%lld,\"copied\":%lld,\"delivered\":%lld,\"filtered\":%lld,"
              "\"dead_lettered\":%lld,\"dropped\":%lld,\"in_flight\":%lld,\"balanced\":%s}\n",
              (long long)c[LEDGER_ACCEPTED], (long long)c[LEDGER_COPIED],
              (long long)c[LEDGER_DELIVERED], (long long)c[LEDGER_FILTERED],
              (long long)c[LEDGER_DEAD_LETTERED], (long long)c[LEDGER_DROPPED],
              (long long)in_flight, owed == done ? "true" : "false");
    answer(r, 200, NULL, &text);
}

static const struct admin_route routes[] = {
    {"GET /livez", livez},     {"GET /readyz", readyz}, {"GET /health", readyz},
    {"GET /metrics", metrics}, {"GET /ledger", ledger},
};

static void on_request(void *user, struct http_request *r)
{
    const struct admin_route *route = r->route_arg;
    route->fn(user, r);
}

static int add_routes(struct admin *a, struct error *e)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        union {
            const struct admin_route *in;
            void *out;
        } arg = {&routes[i]};
        if (http_server_route(a->server, routes[i].pattern, arg.out, e) < 0)
            return -1;
    }
    return 0;
}

struct admin *admin_start(struct pipeline *p, struct loop *l, struct error *e)
{
    const char *address = p->plan->settings.admin;
    char text[128];
    if (!address || strcmp(address, "off") == 0)
        return NULL;
    struct admin *a = MEM_NEW(struct admin);
    a->pipeline = p;
    const struct http_server_settings s = {
        .address = address,
        .bodies = {body_alloc, body_unref, a},
        .request = on_request,
        .user = a,
    };
    a->server = http_server_new(l, &s, e);
    if (!a->server || add_routes(a, e) < 0) {
        admin_stop(a);
        return NULL;
    }
    http_server_address(a->server, text, sizeof text);
    log_write(WEIR_INFO, NULL, "admin on http://%s: /readyz /metrics /ledger", text);
    return a;
}

void admin_stop(struct admin *a)
{
    if (!a)
        return;
    if (a->server)
        http_server_free(a->server);
    mem_free(a);
}
