/* pipeline/service_logs.c: weir.logs/1 and weir.metrics/1. */
#include "pipeline/services.h"

static weir_status put(const weir_logs *l, const char *group, const char *stream,
                       const weir_log_line *lines, size_t count)
{
    struct pipeline *p = service_tables_of(&l->base)->pipeline;
    return logstore_put(p->logs, weir_text(group), weir_text(stream), lines, count);
}

void service_logs_init(struct service_tables *t)
{
    t->logs = (weir_logs){WEIR_OFFER(WEIR_LOGS), put};
}

struct walk {
    void (*fn)(void *arg, const weir_sample *s);
    void *arg;
};

static void tell(void *user, const weir_metric *w)
{
    const struct walk *walk = user;
    const weir_sample s = {w->name,  w->help,        w->kind,         w->stage,
                           w->label, w->label_value, metric_value(w), atomic_load(&w->count)};
    walk->fn(walk->arg, &s);
}

static void each(const weir_metrics *m, void (*fn)(void *arg, const weir_sample *s), void *arg)
{
    struct pipeline *p = service_tables_of(&m->base)->pipeline;
    struct walk walk = {fn, arg};
    pipeline_refresh_metrics(p);
    metrics_each(p->metrics, tell, &walk);
}

void service_metrics_init(struct service_tables *t)
{
    t->metrics = (weir_metrics){WEIR_OFFER(WEIR_METRICS), each};
}
