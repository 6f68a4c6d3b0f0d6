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
#include "pipeline/audit.h"
#include "pipeline/bus.h"
#include "pipeline/control.h"
#include "pipeline/letters.h"
#include "pipeline/memory.h"
#include "pipeline/replay.h"

struct admin {
    struct pipeline *pipeline;
    struct http_server *server;
    struct loop *loop;
    struct ledger_answer *ledgers; /* answers that wait for the columns to agree */
    admin_reload *reload;
    void *reload_user;
    char *address_path; /* where the command line finds the address */
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

/* Who sends events asks this: they are kept as long as the disk takes them, also for sinks that fail. */
static void health(struct admin *a, struct http_request *r)
{
    struct buf why = {0}, text = {0};
    bool is_ready = pipeline_is_ready(a->pipeline, &why);
    bool is_accepting = pipeline_is_accepting(a->pipeline);
    const char *status = is_ready ? "ok" : is_accepting ? "degraded" : "not ready";
    buf_print(&text, "{\"status\":\"%s\",\"not_ready\":[%.*s]}\n", status, (int)why.len,
              why.ptr ? why.ptr : "");
    buf_fini(&why);
    answer(r, is_accepting ? 200 : 503, NULL, &text);
}

static void metrics(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    pipeline_refresh_metrics(a->pipeline);
    metrics_print(a->pipeline->metrics, &text);
    answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static void memory(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    struct memory_figures f;
    memory_figures(a->pipeline, &f);
    buf_print(&text,
              "{\"budget\":%llu,\"used\":%llu,\"peak\":%llu,\"lost\":%llu,\"refused\":%llu,"
              "\"resident\":%llu,\"resident_peak\":%llu}\n",
              (unsigned long long)f.budget, (unsigned long long)f.used, (unsigned long long)f.peak,
              (unsigned long long)f.lost, (unsigned long long)f.refused,
              (unsigned long long)f.resident, (unsigned long long)f.resident_peak);
    answer(r, 200, NULL, &text);
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
    int64_t columns[LEDGER_COLUMNS], in_flight;
    ledger_read(a->pipeline, columns, &in_flight);
    bool is_balanced = ledger_in_flight(columns) == in_flight;
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        buf_print(text, "%s\"%s\":%lld", i ? "," : "{", ledger_names[i], (long long)columns[i]);
    buf_print(text, ",\"in_flight\":%lld,\"balanced\":%s}\n", (long long)in_flight,
              is_balanced ? "true" : "false");
    return is_balanced;
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

static void audit(struct admin *a, struct http_request *r)
{
    struct audit found;
    struct buf text = {0};
    audit_init(&found);
    audit_read(&found, a->pipeline->journal);
    audit_print(&found, &text);
    audit_fini(&found);
    answer(r, 200, NULL, &text);
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
    if (control_purge(a->pipeline->journal, a->pipeline, name, &purged, &e) < 0) {
        failed(r, &e);
        return;
    }
    buf_print(&text, "{\"purged\":%llu}\n", (unsigned long long)purged);
    answer(r, 200, NULL, &text);
}

static void write_off(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct audit found;
    struct buf text = {0};
    if (!is_allowed(r))
        return;
    audit_init(&found);
    if (audit_write_off(&found, a->pipeline->journal, a->pipeline, &e) < 0) {
        failed(r, &e);
    } else {
        audit_print(&found, &text);
        answer(r, 200, NULL, &text);
    }
    audit_fini(&found);
}

/* ---- dead letters: on a worker, so that the stages hear of them ---- */

struct lettering {
    struct loop_task task; /* first: there, then home */
    struct admin *admin;
    struct http_request *request;
    struct arena arena;
    struct letters_query query;
    struct letters_page page;
    weir_status status;
    struct error error;
    uint64_t left, moved, stuck; /* all pages of POST /queues/{name}/redrive */
    bool is_whole;
};

static void lettering_free(struct lettering *l)
{
    letters_page_fini(&l->page);
    arena_fini(&l->arena);
    mem_free(l);
}

static void letters_go(struct lettering *l);

/* The whole queue, page after page. */
static bool letters_go_on(struct lettering *l)
{
    l->moved += l->page.done;
    l->stuck += l->page.gone + l->page.busy;
    bool is_short = l->page.next <= l->query.from; /* of memory: the rest stays where it is */
    l->query.from = l->page.next;
    l->query.until = l->page.until;
    if (l->query.max)
        l->query.max -= l->page.matched;
    if (l->page.is_over || is_short || (l->left && !l->query.max))
        return false;
    letters_page_fini(&l->page);
    l->page = (struct letters_page){0};
    letters_go(l);
    return true;
}

static void letters_home(struct loop_task *t)
{
    struct lettering *l = t->user;
    struct buf text = {0};
    if (l->error.code == EXIT_USAGE_ERROR) {
        http_problem(l->request, 400, l->error.text, 0);
    } else if (l->error.code) {
        failed(l->request, &l->error);
    } else if (l->status != WEIR_OK) {
        http_problem(l->request, 503, "the journal cannot be written", 1);
    } else if (l->is_whole) {
        if (letters_go_on(l))
            return;
        buf_print(&text, "{\"moved\":%llu,\"left\":%llu}\n", (unsigned long long)l->moved,
                  (unsigned long long)l->stuck);
        answer(l->request, 200, NULL, &text);
    } else {
        letters_page_print(&l->page, &text);
        answer(l->request, 200, NULL, &text);
    }
    lettering_free(l);
}

static void letters_done(void *user, weir_status s)
{
    struct lettering *l = user;
    l->status = s;
    l->task = (struct loop_task){.fn = letters_home, .user = l};
    loop_post(l->admin->loop, &l->task);
}

static void letters_there(struct loop_task *t)
{
    struct lettering *l = t->user;
    l->query.pipeline = l->admin->pipeline;
    l->query.journal = l->query.pipeline->journal;
    if (letters_page(&l->query, &l->page, letters_done, l, &l->error) < 0)
        letters_done(l, WEIR_OK);
}

static void letters_go(struct lettering *l)
{
    l->task = (struct loop_task){.fn = letters_there, .user = l};
    loop_post(l->admin->pipeline->workers[0]->loop, &l->task);
}

static struct lettering *lettering_new(struct admin *a, struct http_request *r)
{
    struct lettering *l = MEM_NEW(struct lettering);
    arena_init(&l->arena);
    l->admin = a;
    l->request = r;
    return l;
}

/* A page of them: listed, shown, sent back or removed, as the body says. */
static void letters(struct admin *a, struct http_request *r)
{
    struct lettering *l = lettering_new(a, r);
    struct error e = {0};
    weir_str body = {r->call.body->ptr, r->call.body->len};
    if (letters_query_read(body, &l->query, &l->arena, &e) < 0) {
        http_problem(r, 400, e.text, 0);
        lettering_free(l);
        return;
    }
    bool is_change = l->query.act == LETTERS_REDRIVE || l->query.act == LETTERS_PURGE;
    if (is_change && !l->query.is_dry && !is_allowed(r)) {
        lettering_free(l);
        return;
    }
    letters_go(l);
}

static void letters_in(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    letters_queues(a->pipeline->journal, &text);
    answer(r, 200, NULL, &text);
}

static void move(struct admin *a, struct http_request *r, const char *from, const char *to)
{
    struct redrive d = {.from = from, .to = to, .max = query_number(r, "max", 0)};
    struct error e = {0};
    struct buf text = {0};
    if (control_redrive(a->pipeline->journal, &d, &e) < 0) {
        failed(r, &e);
        return;
    }
    buf_print(&text, "{\"moved\":%llu,\"left\":0}\n", (unsigned long long)d.moved);
    answer(r, 200, NULL, &text);
}

static void redrive(struct admin *a, struct http_request *r)
{
    char from[128], to[128];
    if (!is_allowed(r))
        return;
    queue_name_of(r, from, sizeof from);
    query_value(r, "to", to, sizeof to);
    if (*to) {
        move(a, r, from, to);
        return;
    }
    struct lettering *l = lettering_new(a, r);
    l->is_whole = true;
    l->query.act = LETTERS_REDRIVE;
    l->query.queue = arena_text(&l->arena, from);
    l->query.max = l->left = query_number(r, "max", 0);
    letters_go(l);
}

static void archives(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    control_archives(a->pipeline->journal, &text);
    answer(r, 200, NULL, &text);
}

static void archived(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    uint64_t max = query_number(r, "max", 100);
    queue_name_of(r, name, sizeof name);
    const struct archive_page page = {.from = query_number(r, "from", 0),
                                      .from_ns = (int64_t)query_number(r, "from_ns", 0),
                                      .until_ns = (int64_t)query_number(r, "until_ns", 0),
                                      .max = max && max < 1000 ? (size_t)max : 1000};
    if (control_archived(a->pipeline->journal, name, &page, &text, &e) < 0) {
        failed(r, &e);
        return;
    }
    answer(r, 200, "application/x-ndjson", &text);
}

static void archive_purge(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    uint64_t removed = 0;
    if (!is_allowed(r))
        return;
    queue_name_of(r, name, sizeof name);
    if (control_archive_clear(a->pipeline->journal, name, &removed, &e) < 0) {
        failed(r, &e);
        return;
    }
    buf_print(&text, "{\"purged\":%llu}\n", (unsigned long long)removed);
    answer(r, 200, NULL, &text);
}

/* ---- replays ---- */

static void replay_answer(struct http_request *r, int status, struct buf *text,
                          const struct error *e)
{
    if (!e->code) {
        answer(r, status, NULL, text);
        return;
    }
    buf_fini(text);
    http_problem(r,
                 e->code == EXIT_USAGE_ERROR     ? 400
                 : e->code == EXIT_BAD_DATA      ? 404
                 : e->code == EXIT_NOT_AVAILABLE ? 409
                                                 : 500,
                 e->text, 0);
}

static void replays(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    replays_print(a->pipeline->replays, &text);
    answer(r, 200, NULL, &text);
}

static void replay(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    queue_name_of(r, name, sizeof name);
    (void)replays_print_one(a->pipeline->replays, name, &text, &e);
    replay_answer(r, 200, &text, &e);
}

static void replay_cancel(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    if (!is_allowed(r))
        return;
    queue_name_of(r, name, sizeof name);
    (void)replays_cancel(a->pipeline->replays, name, &text, &e);
    replay_answer(r, 200, &text, &e);
}

static void replay_start(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    struct arena arena;
    struct replay_request q;
    struct pipeline *p = a->pipeline;
    struct replay_rules rules = {.env = &p->env};
    arena_init(&arena);
    int failed =
        replay_request_read((weir_str){r->call.body->ptr, r->call.body->len}, &q, &arena, &e);
    if (!failed && !q.is_dry && !is_allowed(r)) {
        arena_fini(&arena);
        return;
    }
    if (!failed && q.is_dry) {
        rules.items = service_tables_rules(p->generation->services, &rules.count);
        (void)replays_dry(p->replays, &q.spec, &rules, q.from, &text, &e);
    } else if (!failed) {
        (void)replays_start(p->replays, &q.spec, &text, &e);
    }
    arena_fini(&arena);
    replay_answer(r, q.is_dry ? 200 : 201, &text, &e);
}

static void rules(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    bus_list(a->pipeline, &text);
    answer(r, 200, NULL, &text);
}

static void rule_switch(struct admin *a, struct http_request *r, bool is_enabled)
{
    struct error e = {0};
    struct buf text = {0};
    char name[256];
    if (!is_allowed(r))
        return;
    queue_name_of(r, name, sizeof name);
    if (bus_switch(a->pipeline->journal, a->pipeline, name, is_enabled, &e) < 0) {
        failed(r, &e);
        return;
    }
    buf_print(&text, "{\"enabled\":%s}\n", is_enabled ? "true" : "false");
    answer(r, 200, NULL, &text);
}

static void rule_enable(struct admin *a, struct http_request *r)
{
    rule_switch(a, r, true);
}

static void rule_disable(struct admin *a, struct http_request *r)
{
    rule_switch(a, r, false);
}

static void reload_done(void *arg, weir_str json)
{
    struct buf text = {0};
    buf_add_str(&text, json);
    answer(arg, 200, NULL, &text);
}

static void reload(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    if (!is_allowed(r))
        return;
    bool waits = query_number(r, "wait", 1) != 0;
    if (!a->reload) {
        http_problem(r, 503, "this runner does not reload", 0);
        return;
    }
    a->reload(a->reload_user, waits ? reload_done : NULL, r);
    if (waits)
        return;
    buf_add_text(&text, "{\"result\":\"asked\"}\n");
    answer(r, 202, NULL, &text);
}

static const struct admin_route routes[] = {
    {"POST /reload", reload},
    {"GET /livez", livez},
    {"GET /readyz", readyz},
    {"GET /health", health},
    {"GET /metrics", metrics},
    {"GET /memory", memory},
    {"GET /ledger", ledger},
    {"GET /audit", audit},
    {"POST /audit/write-off", write_off},
    {"GET /queues", queues},
    {"GET /queues/{name}/messages", messages},
    {"POST /queues/{name}/purge", purge},
    {"POST /queues/{name}/redrive", redrive},
    {"GET /archives", archives},
    {"GET /archives/{name}/events", archived},
    {"POST /archives/{name}/purge", archive_purge},
    {"GET /replays", replays},
    {"POST /replays", replay_start},
    {"GET /replays/{name}", replay},
    {"POST /replays/{name}/cancel", replay_cancel},
    {"GET /rules", rules},
    {"POST /rules/{name}/enable", rule_enable},
    {"POST /rules/{name}/disable", rule_disable},
    {"GET /dead-letters", letters_in},
    {"POST /dead-letters", letters},
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
    while (a->ledgers)
        ledger_last(a->ledgers);
    if (a->server)
        http_server_free(a->server);
    if (a->address_path)
        (void)unlink(a->address_path);
    mem_free(a->address_path);
    mem_free(a);
}
