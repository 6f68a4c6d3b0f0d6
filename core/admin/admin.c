/* admin/admin.c: the admin listener. */
#include "admin/admin.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/http_server.h"
#include "pipeline/control.h"

struct admin {
    struct pipeline *pipeline;
    struct http_server *server;
    struct loop *loop;
    struct ledger_answer *ledgers; /* answers that wait for the columns to agree */
    char *address_path;            /* where the command line finds the address */
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

/* The columns and what is in flight change on several threads and are no snapshot: while events move,
 * and until the journal has applied the last acknowledgements (a tenth of a second), they may differ.
 * They are read again until they agree, for half a second. */
enum { LEDGER_AGAIN_MS = 10, LEDGER_TRIES = 50 };

struct ledger_answer {
    struct loop_timer timer; /* first */
    struct admin *admin;
    struct http_request *request;
    struct ledger_answer *next; /* of the admin: those under way */
    int tries;
};

static bool ledger_print(struct admin *a, struct buf *text)
{
    int64_t c[LEDGER_COLUMNS], in_flight;
    pipeline_ledger(a->pipeline, c, &in_flight);
    int64_t owed = c[LEDGER_ACCEPTED] + c[LEDGER_COPIED], done = in_flight;
    for (int i = LEDGER_DELIVERED; i < LEDGER_COLUMNS; i++)
        done += c[i];
    buf_print(text,
              "{\"accepted\":%lld,\"copied\":%lld,\"delivered\":%lld,\"filtered\":%lld,"
              "\"dead_lettered\":%lld,\"dropped\":%lld,\"in_flight\":%lld,\"balanced\":%s}\n",
              (long long)c[LEDGER_ACCEPTED], (long long)c[LEDGER_COPIED],
              (long long)c[LEDGER_DELIVERED], (long long)c[LEDGER_FILTERED],
              (long long)c[LEDGER_DEAD_LETTERED], (long long)c[LEDGER_DROPPED],
              (long long)in_flight, owed == done ? "true" : "false");
    return owed == done;
}

static void ledger_unlink(struct ledger_answer *l)
{
    struct ledger_answer **link = &l->admin->ledgers;
    while (*link != l)
        link = &(*link)->next;
    *link = l->next;
    loop_timer_cancel(l->admin->loop, &l->timer);
}

static void ledger_try(struct loop_timer *t)
{
    struct ledger_answer *l = t->user;
    struct buf text = {0};
    if (!ledger_print(l->admin, &text) && ++l->tries < LEDGER_TRIES) {
        buf_fini(&text);
        loop_timer_set(l->admin->loop, &l->timer, LEDGER_AGAIN_MS * INT64_C(1000000));
        return;
    }
    ledger_unlink(l);
    answer(l->request, 200, NULL, &text);
    mem_free(l);
}

/* The runner stops: as it is now. */
static void ledger_last(struct ledger_answer *l)
{
    l->tries = LEDGER_TRIES;
    ledger_try(&l->timer);
}

static void ledger(struct admin *a, struct http_request *r)
{
    struct ledger_answer *l = MEM_NEW(struct ledger_answer);
    l->timer.fn = ledger_try;
    l->timer.user = l;
    l->admin = a;
    l->request = r;
    l->next = a->ledgers;
    a->ledgers = l;
    ledger_try(&l->timer);
}

/* ---- control: what changes something asks for a header that a web page cannot send ---- */

static bool is_allowed(struct http_request *r)
{
    if (http_header(&r->call, "x-weir-control").ptr)
        return true;
    http_problem(r, 403, "calls that change something need the header X-Weir-Control: 1", 0);
    return false;
}

static void failed(struct http_request *r, const struct error *e)
{
    http_problem(r, e->code == EXIT_BAD_DATA ? 404 : 500, e->text, 0);
}

static void queue_name_of(const struct http_request *r, char *name, size_t size)
{
    const weir_str *value = &r->call.params.items[0].value;
    (void)snprintf(name, size, "%.*s", (int)value->len, value->ptr);
}

/* The value of a query's key, or "". */
static void query_value(const struct http_request *r, const char *key, char *value, size_t size)
{
    weir_str q = r->call.query;
    size_t n = strlen(key);
    *value = 0;
    while (q.len) {
        const char *end = memchr(q.ptr, '&', q.len);
        size_t len = end ? (size_t)(end - q.ptr) : q.len;
        if (len > n && memcmp(q.ptr, key, n) == 0 && q.ptr[n] == '=')
            (void)snprintf(value, size, "%.*s", (int)(len - n - 1), q.ptr + n + 1);
        q.ptr += len + (end != NULL);
        q.len -= len + (end != NULL);
    }
}

static uint64_t query_number(const struct http_request *r, const char *key, uint64_t preset)
{
    char text[32];
    uint64_t n = 0;
    query_value(r, key, text, sizeof text);
    return text_to_u64(weir_text(text), &n) ? n : preset;
}

static void queues(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    control_list(a->pipeline->journal, &text);
    answer(r, 200, NULL, &text);
}

static void messages(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    queue_name_of(r, name, sizeof name);
    uint64_t max = query_number(r, "max", 10);
    if (control_peek(a->pipeline->journal, name, max < 1000 ? (size_t)max : 1000, &text, &e) < 0) {
        buf_fini(&text);
        failed(r, &e);
        return;
    }
    answer(r, 200, "application/x-ndjson", &text);
}

static void purge(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    uint64_t purged = 0;
    if (!is_allowed(r))
        return;
    queue_name_of(r, name, sizeof name);
    if (control_purge(a->pipeline->journal, name, &purged, &e) < 0) {
        failed(r, &e);
        return;
    }
    buf_print(&text, "{\"purged\":%llu}\n", (unsigned long long)purged);
    answer(r, 200, NULL, &text);
}

/* Dead letters go back to their stages on a worker, so that the stages hear of them. */
struct redriving {
    struct loop_task task; /* first: there, then home */
    struct admin *admin;
    struct http_request *request;
    char from[128], to[128];
    struct redrive redrive;
    struct error error;
};

static void redrive_home(struct loop_task *t)
{
    struct redriving *d = t->user;
    struct buf text = {0};
    if (d->error.code) {
        failed(d->request, &d->error);
    } else {
        buf_print(&text, "{\"moved\":%llu,\"left\":%llu}\n", (unsigned long long)d->redrive.moved,
                  (unsigned long long)d->redrive.left);
        answer(d->request, 200, NULL, &text);
    }
    mem_free(d);
}

static void redrive_there(struct loop_task *t)
{
    struct redriving *d = t->user;
    struct pipeline *p = d->admin->pipeline;
    (void)control_redrive(p->journal, p, &d->redrive, &d->error);
    d->task = (struct loop_task){.fn = redrive_home, .user = d};
    loop_post(d->admin->loop, &d->task);
}

static void redrive(struct admin *a, struct http_request *r)
{
    if (!is_allowed(r))
        return;
    struct redriving *d = MEM_NEW(struct redriving);
    queue_name_of(r, d->from, sizeof d->from);
    query_value(r, "to", d->to, sizeof d->to);
    d->admin = a;
    d->request = r;
    d->redrive.from = d->from;
    d->redrive.to = *d->to ? d->to : NULL;
    d->redrive.max = query_number(r, "max", 0);
    d->task = (struct loop_task){.fn = redrive_there, .user = d};
    loop_post(a->pipeline->workers[0]->loop, &d->task);
}

static const struct admin_route routes[] = {
    {"GET /livez", livez},
    {"GET /readyz", readyz},
    {"GET /health", readyz},
    {"GET /metrics", metrics},
    {"GET /ledger", ledger},
    {"GET /queues", queues},
    {"GET /queues/{name}/messages", messages},
    {"POST /queues/{name}/purge", purge},
    {"POST /queues/{name}/redrive", redrive},
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

/* The real address (port 0 picks one), for commands that find the data directory in use. */
static void tell_address(struct admin *a, const char *address)
{
    a->address_path = mem_format("%s/admin.address", a->pipeline->plan->settings.data_dir);
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
    if (!address || strcmp(address, "off") == 0)
        return NULL;
    struct admin *a = MEM_NEW(struct admin);
    a->pipeline = p;
    a->loop = l;
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
    tell_address(a, text);
    log_write(WEIR_INFO, NULL, "admin on http://%s: /readyz /metrics /ledger", text);
    return a;
}

void admin_stop(struct admin *a)
{
    if (!a)
        return;
    while (a->ledgers)
        ledger_last(a->ledgers);
    if (a->server)
        http_server_free(a->server);
    if (a->address_path)
        (void)unlink(a->address_path);
    mem_free(a->address_path);
    mem_free(a);
}
