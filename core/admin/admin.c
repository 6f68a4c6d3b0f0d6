/* admin/admin.c: the admin listener: its routes, and where the command line finds it. */
#include "admin/admin.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/calls.h"
#include "base/log.h"
#include "base/mem.h"

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

static void reload_done(void *arg, weir_str json)
{
    struct buf text = {0};
    buf_add_str(&text, json);
    reply(arg, 200, NULL, &text);
}

static void reload(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    if (!reply_is_allowed(r))
        return;
    bool waits = reply_query_number(r, "wait", 1) != 0;
    if (!a->reload) {
        http_problem(r, 503, "this runner does not reload", 0);
        return;
    }
    a->reload(a->reload_user, waits ? reload_done : NULL, r);
    if (waits)
        return;
    buf_add_text(&text, "{\"result\":\"asked\"}\n");
    reply(r, 202, NULL, &text);
}

static const struct admin_route routes[] = {
    {"POST /reload", reload},
    {"GET /livez", status_livez},
    {"GET /readyz", status_readyz},
    {"GET /health", status_health},
    {"GET /metrics", status_metrics},
    {"GET /memory", status_memory},
    {"GET /ledger", status_ledger},
    {"GET /audit", status_audit},
    {"POST /audit/write-off", status_write_off},
    {"GET /queues", streams_queues},
    {"GET /queues/{name}/messages", streams_messages},
    {"POST /queues/{name}/purge", streams_purge},
    {"POST /queues/{name}/redrive", dead_letters_redrive},
    {"GET /archives", streams_archives},
    {"GET /archives/{name}/events", streams_archived},
    {"POST /archives/{name}/purge", streams_archive_purge},
    {"GET /replays", streams_replays},
    {"POST /replays", streams_replay_start},
    {"GET /replays/{name}", streams_replay},
    {"POST /replays/{name}/cancel", streams_replay_cancel},
    {"GET /rules", streams_rules},
    {"POST /rules/{name}/enable", streams_rule_enable},
    {"POST /rules/{name}/disable", streams_rule_disable},
    {"GET /dead-letters", dead_letters_queues},
    {"POST /dead-letters", dead_letters_page},
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

static char *address_path(const struct pipeline *p)
{
    return mem_format("%s/admin.address", p->plan->settings.data_dir);
}

/* Of a runner that was killed: somebody else may listen there now. */
static void forget_address(const struct pipeline *p)
{
    char *path = address_path(p);
    (void)unlink(path);
    mem_free(path);
}

/* The real address (port 0 picks one), for commands that find the data directory in use. */
static void tell_address(struct admin *a, const char *address)
{
    a->address_path = address_path(a->pipeline);
    int fd = open(a->address_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, address, strlen(address)) != (ssize_t)strlen(address))
        log_write(WEIR_WARN, NULL, "%s cannot be written: commands will not find this runner",
                  a->address_path);
    if (fd >= 0)
        (void)close(fd);
}

struct admin *admin_start(struct pipeline *p, struct loop *l, struct error *e)
{
    const char *address = p->plan->settings.admin;
    char text[128];
    forget_address(p);
    if (!address || strcmp(address, "off") == 0)
        return NULL;
    struct admin *a = MEM_NEW(struct admin);
    a->pipeline = p;
    a->loop = l;
    const struct http_server_settings s = {
        .address = address,
        .bodies = {body_alloc, body_unref, a},
        .budget = &a->pipeline->budget,
        .request = on_request,
        .user = a,
    };
    a->server = http_server_new(l, &s, e);
    if (!a->server || add_routes(a, e) < 0) {
        admin_stop(a);
        return NULL;
    }
    http_server_address(a->server, text, sizeof text);
    tell_address(a, text);
    log_write(WEIR_INFO, NULL, "admin on http://%s: /readyz /metrics /ledger", text);
    return a;
}

void admin_set_reload(struct admin *a, admin_reload *start, void *user)
{
    if (!a)
        return;
    a->reload = start;
    a->reload_user = user;
}

void admin_stop(struct admin *a)
{
    if (!a)
        return;
    status_stop(a);
    if (a->server)
        http_server_free(a->server);
    if (a->address_path)
        (void)unlink(a->address_path);
    mem_free(a->address_path);
    mem_free(a);
}
