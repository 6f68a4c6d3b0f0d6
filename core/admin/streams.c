/* admin/streams.c: queues, archives and their replays, rules: listed, and changed on demand. */
#include "admin/calls.h"
#include "pipeline/bus.h"
#include "pipeline/control.h"
#include "pipeline/replay.h"

/* ---- queues and archives ---- */

void streams_queues(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    control_list(a->pipeline->journal, &text);
    reply(r, 200, NULL, &text);
}

void streams_messages(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    reply_name(r, name, sizeof name);
    uint64_t max = reply_query_number(r, "max", 10);
    if (control_peek(a->pipeline->journal, name, max < 1000 ? (size_t)max : 1000, &text, &e) < 0) {
        buf_fini(&text);
        reply_failed(r, &e);
        return;
    }
    reply(r, 200, "application/x-ndjson", &text);
}

void streams_purge(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    uint64_t purged = 0;
    if (!reply_is_allowed(r))
        return;
    reply_name(r, name, sizeof name);
    if (control_purge(a->pipeline->journal, a->pipeline, name, &purged, &e) < 0) {
        reply_failed(r, &e);
        return;
    }
    buf_print(&text, "{\"purged\":%llu}\n", (unsigned long long)purged);
    reply(r, 200, NULL, &text);
}

void streams_archives(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    control_archives(a->pipeline->journal, &text);
    reply(r, 200, NULL, &text);
}

void streams_archived(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    uint64_t max = reply_query_number(r, "max", 100);
    reply_name(r, name, sizeof name);
    const struct archive_page page = {.from = reply_query_number(r, "from", 0),
                                      .from_ns = (int64_t)reply_query_number(r, "from_ns", 0),
                                      .until_ns = (int64_t)reply_query_number(r, "until_ns", 0),
                                      .max = max && max < 1000 ? (size_t)max : 1000};
    if (control_archived(a->pipeline->journal, name, &page, &text, &e) < 0) {
        reply_failed(r, &e);
        return;
    }
    reply(r, 200, "application/x-ndjson", &text);
}

void streams_archive_purge(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    uint64_t removed = 0;
    if (!reply_is_allowed(r))
        return;
    reply_name(r, name, sizeof name);
    if (control_archive_clear(a->pipeline->journal, name, &removed, &e) < 0) {
        reply_failed(r, &e);
        return;
    }
    buf_print(&text, "{\"purged\":%llu}\n", (unsigned long long)removed);
    reply(r, 200, NULL, &text);
}

/* ---- replays ---- */

static void replay_answer(struct http_request *r, int status, struct buf *text,
                          const struct error *e)
{
    if (!e->code) {
        reply(r, status, NULL, text);
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

void streams_replays(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    replays_print(a->pipeline->replays, &text);
    reply(r, 200, NULL, &text);
}

void streams_replay(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    reply_name(r, name, sizeof name);
    (void)replays_print_one(a->pipeline->replays, name, &text, &e);
    replay_answer(r, 200, &text, &e);
}

void streams_replay_cancel(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct buf text = {0};
    char name[128];
    if (!reply_is_allowed(r))
        return;
    reply_name(r, name, sizeof name);
    (void)replays_cancel(a->pipeline->replays, name, &text, &e);
    replay_answer(r, 200, &text, &e);
}

void streams_replay_start(struct admin *a, struct http_request *r)
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
    if (!failed && !q.is_dry && !reply_is_allowed(r)) {
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

/* ---- rules ---- */

void streams_rules(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    bus_list(a->pipeline, &text);
    reply(r, 200, NULL, &text);
}

static void rule_switch(struct admin *a, struct http_request *r, bool is_enabled)
{
    struct error e = {0};
    struct buf text = {0};
    char name[256];
    if (!reply_is_allowed(r))
        return;
    reply_name(r, name, sizeof name);
    if (bus_switch(a->pipeline->journal, a->pipeline, name, is_enabled, &e) < 0) {
        reply_failed(r, &e);
        return;
    }
    buf_print(&text, "{\"enabled\":%s}\n", is_enabled ? "true" : "false");
    reply(r, 200, NULL, &text);
}

void streams_rule_enable(struct admin *a, struct http_request *r)
{
    rule_switch(a, r, true);
}

void streams_rule_disable(struct admin *a, struct http_request *r)
{
    rule_switch(a, r, false);
}
