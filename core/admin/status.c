/* admin/status.c: how the pipeline does: ready, metrics, memory, the ledger, the audit. */
#include "admin/calls.h"
#include "base/mem.h"
#include "pipeline/audit.h"
#include "pipeline/memory.h"

void status_livez(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    buf_add_text(&text, "{\"status\":\"ok\"}\n");
    reply(r, 200, NULL, &text);
}

void status_readyz(struct admin *a, struct http_request *r)
{
    struct buf why = {0}, text = {0};
    bool is_ready = pipeline_is_ready(a->pipeline, &why);
    buf_print(&text, "{\"status\":\"%s\",\"not_ready\":[%.*s]}\n", is_ready ? "ok" : "not ready",
              (int)why.len, why.ptr ? why.ptr : "");
    buf_fini(&why);
    reply(r, is_ready ? 200 : 503, NULL, &text);
}

/* Who sends events asks this: they are kept as long as the disk takes them, also for sinks that fail. */
void status_health(struct admin *a, struct http_request *r)
{
    struct buf why = {0}, text = {0};
    bool is_ready = pipeline_is_ready(a->pipeline, &why);
    bool is_accepting = pipeline_is_accepting(a->pipeline);
    const char *status = is_ready ? "ok" : is_accepting ? "degraded" : "not ready";
    buf_print(&text, "{\"status\":\"%s\",\"not_ready\":[%.*s]}\n", status, (int)why.len,
              why.ptr ? why.ptr : "");
    buf_fini(&why);
    reply(r, is_accepting ? 200 : 503, NULL, &text);
}

void status_metrics(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    pipeline_refresh_metrics(a->pipeline);
    metrics_print(a->pipeline->metrics, &text);
    reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

void status_memory(struct admin *a, struct http_request *r)
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
    reply(r, 200, NULL, &text);
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
    reply(l->request, 200, NULL, &text);
    mem_free(l);
}

void status_stop(struct admin *a)
{
    while (a->ledgers) {
        a->ledgers->tries = LEDGER_TRIES;
        ledger_try(&a->ledgers->timer);
    }
}

void status_ledger(struct admin *a, struct http_request *r)
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

void status_audit(struct admin *a, struct http_request *r)
{
    struct audit found;
    struct buf text = {0};
    audit_init(&found);
    audit_read(&found, a->pipeline->journal);
    audit_print(&found, &text);
    audit_fini(&found);
    reply(r, 200, NULL, &text);
}

void status_write_off(struct admin *a, struct http_request *r)
{
    struct error e = {0};
    struct audit found;
    struct buf text = {0};
    if (!reply_is_allowed(r))
        return;
    audit_init(&found);
    if (audit_write_off(&found, a->pipeline->journal, a->pipeline, &e) < 0) {
        reply_failed(r, &e);
    } else {
        audit_print(&found, &text);
        reply(r, 200, NULL, &text);
    }
    audit_fini(&found);
}
