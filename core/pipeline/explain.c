/* pipeline/explain.c: why rules match an event, or do not: lines of its trace. */
#include "pipeline/explain.h"

#include "pipeline/bus.h"
#include "pipeline/payload.h"
#include "pipeline/trace.h"
#include "json/json.h"

enum { RULES_MAX = 20, EVENT_BYTES_MAX = 256 << 10, WINDOW_NS = 1000000000 };

bool explain_may(struct worker *w, const weir_event *ev)
{
    const struct pipeline *p = w->pipeline;
    if (!p->trace || !p->trace_explain || ev->body->len > EVENT_BYTES_MAX)
        return false;
    int64_t now = worker_now(w);
    if (now - w->explain_from_ns >= WINDOW_NS || now < w->explain_from_ns) {
        w->explain_from_ns = now;
        w->explained = 0;
    }
    return w->explained++ < p->trace_explain;
}

static void tell(struct worker *w, struct stage *s, const struct event *ev, struct buf *line)
{
    trace_add(w, s, ev, TRACE_RULE, buf_text(line));
    line->len = 0;
}

/* The event as the patterns see it; false: its body is not JSON, so that none matches. */
static bool write_event(const struct worker *w, const struct event *ev, struct buf *json)
{
    weir_str body = {ev->pub.body->ptr, ev->pub.body->len};
    if (!payload_is_json(ev->pub.body) && json_check(body, NULL, NULL) != WEIR_OK)
        return false;
    match_envelope(&w->pipeline->env, &ev->pub, json);
    return true;
}

struct telling {
    struct worker *worker;
    struct stage *stage;
    const struct event *event;
    struct buf json, line;
    bool is_json;
};

static void tell_rule(struct telling *t, const struct match_set *set, uint32_t n, weir_str name)
{
    if (t->is_json) {
        match_explain_brief(set, n, name, buf_str(&t->json), TRACE_DETAIL_MAX, &t->line);
    } else {
        buf_add_text(&t->line, "{\"rule\": ");
        json_quote(&t->line, name);
        buf_add_text(&t->line, ", \"match\": false, \"why\": \"the body is not JSON\"}");
    }
    tell(t->worker, t->stage, t->event, &t->line);
}

static void tell_match(struct telling *t, uint32_t n, weir_str name)
{
    bool is_on = bus_takes(t->worker->pipeline, t->stage, n);
    buf_add_text(&t->line, "{\"rule\": ");
    json_quote(&t->line, name);
    buf_print(&t->line, ", \"match\": true%s}", is_on ? "" : ", \"enabled\": false");
    tell(t->worker, t->stage, t->event, &t->line);
}

/* Those that match come first. */
void explain_rules(struct worker *w, struct stage *s, const struct explained *of,
                   const struct event *ev)
{
    struct telling t = {.worker = w, .stage = s, .event = ev};
    size_t told = 0, at = 0, total = match_count(of->set);
    t.is_json = write_event(w, ev, &t.json);
    for (size_t i = 0; i < of->count && told < RULES_MAX; i++, told++)
        tell_match(&t, of->hits[i], of->names[of->hits[i]]);
    for (uint32_t n = 0; n < total && told < RULES_MAX; n++) {
        if (at < of->count && of->hits[at] == n) {
            at++;
            continue;
        }
        tell_rule(&t, of->set, n, of->names[n]);
        told++;
    }
    if (told < total) {
        buf_print(&t.line, "{\"more\": %zu}", total - told);
        tell(w, s, ev, &t.line);
    }
    buf_fini(&t.json);
    buf_fini(&t.line);
}

void explain_where(struct worker *w, const struct edge *e, const struct event *ev)
{
    struct telling t = {.worker = w, .stage = e->to, .event = ev};
    t.is_json = write_event(w, ev, &t.json);
    tell_rule(&t, e->where, 0, weir_text("where"));
    buf_fini(&t.json);
    buf_fini(&t.line);
}
