/* cli/reloader.c: reads the pipeline file again for a pipeline that runs. */
#include "cli/reloader.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/watch.h"
#include "pipeline/reload.h"
#include "json/json.h"

#define MS INT64_C(1000000)
enum { SETTLE_MS = 200 }; /* an editor writes a file in several steps */

struct waiter {
    struct waiter *next;
    reloader_done *done;
    void *arg;
};

struct reloader {
    struct reloader_settings settings;
    struct watch *watch;
    struct loop_timer settle;        /* since the last change of a file */
    struct waiter *asking, *waiting; /* for the next one; for the one that is under way */
    bool is_wanted, is_on;
    struct kept *kept; /* what the one that is under way has read */
    int64_t begun_ns;
    uint64_t hash;
    weir_metric *m_ok, *m_refused, *m_hash, *m_time, *m_success;
};

/* What was read lives until the pipeline has let it go and all was told. */
struct kept {
    struct loaded loaded;
    bool is_released, is_told;
};

static void kept_end(struct kept *k)
{
    if (!k->is_released || !k->is_told)
        return;
    load_free(&k->loaded);
    mem_free(k);
}

static void on_release(void *user)
{
    struct kept *k = user;
    k->is_released = true;
    kept_end(k);
}

/* ---- telling ---- */

static weir_metric *figure(struct pipeline *p, int kind, const char *name, const char *help,
                           const char *result)
{
    const struct metric_key key = {kind, name, help, NULL, result ? "result" : NULL, result};
    return metrics_get(p->metrics, &key);
}

static void make_figures(struct reloader *r)
{
    static const char reloads[] = "Reloads of the pipeline file; refused: the one before goes on.";
    struct pipeline *p = r->settings.pipeline;
    r->m_ok = figure(p, WEIR_COUNTER, "weir_reloads_total", reloads, "ok");
    r->m_refused = figure(p, WEIR_COUNTER, "weir_reloads_total", reloads, "refused");
    r->m_hash = figure(p, WEIR_GAUGE, "weir_config_hash",
                       "48 bits of a hash of the pipeline file that runs, and of its files.", NULL);
    r->m_time = figure(p, WEIR_GAUGE, "weir_config_last_reload_success_timestamp_seconds",
                       "When the pipeline file that runs was read.", NULL);
    r->m_success = figure(p, WEIR_GAUGE, "weir_config_last_reload_successful",
                          "1: the last reload was; 0: it was refused.", NULL);
}

static void set_figures(struct reloader *r)
{
    r->hash = plan_hash(r->settings.pipeline->plan) >> 16;
    metric_set(r->m_hash, (double)r->hash);
    metric_set(r->m_time, (double)clock_wall(&clock_real) / 1e9);
    metric_set(r->m_success, 1);
}

static void answer_all(struct reloader *r, struct buf *json)
{
    while (r->waiting) {
        struct waiter *w = r->waiting;
        r->waiting = w->next;
        w->done(w->arg, buf_str(json));
        mem_free(w);
    }
    buf_fini(json);
}

static void diagnostics_text(struct document *d, bool has_color, struct buf *out)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return;
    diag_print(d, f, has_color);
    (void)fclose(f);
    buf_add(out, text, n);
    free(text);
}

static void tell_diagnostics(const struct reloader *r, struct document *d)
{
    struct buf text = {0};
    if (!document_errors(d) && !document_warnings(d))
        return;
    if (!r->settings.is_json) {
        diag_print(d, stderr, cli_has_color(stderr));
        return;
    }
    diagnostics_text(d, false, &text);
    log_write(WEIR_ERROR, NULL, "%.*s", (int)text.len, text.ptr);
    buf_fini(&text);
}

static void refused(struct reloader *r, const char *why)
{
    struct buf json = {0}, text = {0};
    struct document *d = r->kept ? r->kept->loaded.document : NULL;
    if (d) {
        tell_diagnostics(r, d);
        diagnostics_text(d, false, &text);
    }
    log_write(WEIR_ERROR, NULL, "reload refused, the pipeline goes on as it was: %s", why);
    metric_add(r->m_refused, 1);
    metric_set(r->m_success, 0);
    buf_add_text(&json, "{\"result\":\"refused\",\"reason\":");
    json_quote(&json, weir_text(why));
    buf_add_text(&json, ",\"diagnostics\":");
    json_quote(&json, buf_str(&text));
    buf_add_text(&json, "}\n");
    buf_fini(&text);
    answer_all(r, &json);
}

static void accepted(struct reloader *r)
{
    struct pipeline *p = r->settings.pipeline;
    const struct reload_counts *n = reload_counts(p);
    struct buf json = {0}, told = {0}, text = {0};
    int64_t took_ns = clock_mono(&clock_real) - r->begun_ns;
    tell_diagnostics(r, r->kept->loaded.document); /* warnings */
    set_figures(r);
    metric_add(r->m_ok, 1);
    reload_print_changes(p, &told, &text);
    if (n->added + n->removed + n->changed)
        log_write(WEIR_INFO, NULL, "reloaded in %lld ms, hash %012llx: %.*s",
                  (long long)(took_ns / MS), (unsigned long long)r->hash, (int)text.len, text.ptr);
    else
        log_write(WEIR_INFO, NULL, "reloaded, hash %012llx: nothing changed",
                  (unsigned long long)r->hash);
    buf_print(&json, "{\"result\":\"ok\",\"hash\":\"%012llx\",\"milliseconds\":%lld,%.*s}\n",
              (unsigned long long)r->hash, (long long)(took_ns / MS), (int)told.len, told.ptr);
    buf_fini(&told);
    buf_fini(&text);
    answer_all(r, &json);
}

/* ---- the steps ---- */

static void end(struct reloader *r)
{
    struct kept *k = r->kept;
    r->is_on = false;
    r->kept = NULL;
    if (r->watch)
        watch_files(r->watch, k ? &k->loaded : NULL);
    if (!k)
        return;
    k->is_told = true;
    kept_end(k);
}

static void step(struct reloader *r)
{
    struct error e = {0};
    int result = reload_step(r->settings.pipeline, &e);
    if (result == RELOAD_WAITS)
        return;
    if (result == RELOAD_DONE)
        accepted(r);
    else
        refused(r, e.text);
    end(r);
}

static void begin(struct reloader *r)
{
    struct error e = {0};
    struct kept *k = MEM_NEW(struct kept);
    r->is_wanted = false;
    r->is_on = true;
    r->begun_ns = clock_mono(&clock_real);
    r->waiting = r->asking;
    r->asking = NULL;
    r->kept = k;
    int code = load_read(r->settings.path, r->settings.options, &k->loaded);
    if (code) {
        k->is_released = true;
        refused(r,
                k->loaded.document ? "the pipeline file has errors" : "there is no pipeline file");
        end(r);
        return;
    }
    if (reload_begin(r->settings.pipeline, k->loaded.plan, k->loaded.services, on_release, k, &e) <
        0) {
        refused(r, e.text);
        end(r);
        return;
    }
    step(r);
}

void reloader_request(struct reloader *r, reloader_done *done, void *arg)
{
    struct waiter **end_of = &r->asking;
    r->is_wanted = true;
    if (done) {
        struct waiter *w = MEM_NEW(struct waiter);
        *w = (struct waiter){NULL, done, arg};
        while (*end_of)
            end_of = &(*end_of)->next;
        *end_of = w;
    }
    if (!r->is_on)
        begin(r);
}

bool reloader_is_busy(const struct reloader *r)
{
    return r && (r->is_on || r->is_wanted || reload_is_retiring(r->settings.pipeline));
}

void reloader_tick(struct reloader *r)
{
    if (!r)
        return;
    if (r->is_on)
        step(r);
    else if (r->is_wanted)
        begin(r);
}

/* ---- files ---- */

static void on_settled(struct loop_timer *t)
{
    reloader_request(t->user, NULL, NULL);
}

static void on_change(void *user)
{
    struct reloader *r = user;
    loop_timer_set(r->settings.loop, &r->settle, SETTLE_MS * MS);
}

struct reloader *reloader_new(const struct reloader_settings *s, struct error *e)
{
    struct reloader *r = MEM_NEW(struct reloader);
    r->settings = *s;
    r->settle.fn = on_settled;
    r->settle.user = r;
    make_figures(r);
    set_figures(r);
    if (!s->is_watch)
        return r;
    r->watch = watch_new(s->loop, on_change, r, e);
    if (!r->watch) {
        reloader_free(r);
        return NULL;
    }
    const struct loaded now = {.document = s->pipeline->plan->document, .plan = s->pipeline->plan};
    watch_files(r->watch, &now);
    return r;
}

void reloader_free(struct reloader *r)
{
    struct buf json = {0};
    if (!r)
        return;
    struct waiter **last = &r->waiting;
    while (*last)
        last = &(*last)->next;
    *last = r->asking;
    buf_add_text(&json, "{\"result\":\"refused\",\"reason\":\"the runner stops\"}\n");
    answer_all(r, &json);
    loop_timer_cancel(r->settings.loop, &r->settle);
    watch_free(r->watch);
    if (r->kept) {
        r->kept->is_told = true;
        kept_end(r->kept);
    }
    mem_free(r);
}
