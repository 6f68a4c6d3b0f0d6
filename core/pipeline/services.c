/* pipeline/services.c: the services that the host offers, and how the rows that need one are filled. */
#include "pipeline/services.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

struct lane *service_lane(const char *service)
{
    struct lane *l = lane_current();
    if (l)
        return l;
    log_write(WEIR_ERROR, NULL, "a plugin called %s outside of its callbacks", service);
    abort();
}

/* A full path, also where it is relative to the pipeline file. */
static void reads(const weir_pipeline *about, const char *path)
{
    struct lane *l = service_lane("weir.pipeline/1");
    char *whole = *path == '/' ? mem_text(path) : mem_format("%s/%s", about->folder, path);
    service_reads(l, whole);
    mem_free(whole);
}

struct ending {
    struct ending *next;
    void (*fn)(void *arg);
    void *arg;
};

void service_reads(const struct lane *l, const char *path)
{
    if (!l->stage->pipeline && l->stage->checked)
        plan_stage_reads(l->stage->checked_in, l->stage->checked, path);
}

void service_at_end(struct stage *s, void (*fn)(void *arg), void *arg)
{
    struct ending *e = MEM_NEW(struct ending);
    *e = (struct ending){s->endings, fn, arg};
    s->endings = e;
}

void stage_run_endings(struct stage *s)
{
    while (s->endings) {
        struct ending *e = s->endings;
        s->endings = e->next;
        e->fn(e->arg);
        mem_free(e);
    }
}

static bool has_result(const weir_pipeline *s, const weir_host *h)
{
    const char *result = lane_of(h)->stage->plan->result;
    return result && *result;
}

/* Any thread. The first reason is the one that is told. */
static void end(const weir_pipeline *s, const weir_host *h, const char *why)
{
    struct pipeline *p = service_tables_of(&s->base)->pipeline;
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    bool is_first = !p->broken[0];
    if (is_first)
        (void)snprintf(p->broken, sizeof p->broken, "%s: %s", h->instance, why);
    (void)pthread_mutex_unlock(&p->lock);
    if (is_first && p->on_broken)
        p->on_broken(p->on_end_user);
}

struct service_tables *service_tables_new(void)
{
    struct service_tables *t = MEM_NEW(struct service_tables);
    service_match_init(t);
    service_json_init(t);
    service_schema_init(t);
    service_shape_init(t);
    service_queue_init(t);
    service_http_server_init(t);
    service_http_client_init(t);
    service_logs_init(t);
    service_metrics_init(t);
    service_window_init(t);
    service_bus_init(t);
    t->about = (weir_pipeline){.base = WEIR_OFFER(WEIR_PIPELINE),
                               .has_result = has_result,
                               .end = end,
                               .reads = reads};
    const weir_service *all[] = {&t->match.base,
                                 &t->json.base,
                                 &t->schema.base,
                                 &t->shape.base,
                                 &t->queue.base,
                                 &t->http_server.base,
                                 &t->http_client.base,
                                 &t->logs.base,
                                 &t->metrics.base,
                                 &t->about.base,
                                 &t->window.base,
                                 &t->bus.base,
                                 NULL};
    memcpy(t->all, all, sizeof all);
    weir_service *bases[] = {&t->match.base,       &t->json.base,   &t->schema.base,
                             &t->shape.base,       &t->queue.base,  &t->http_server.base,
                             &t->http_client.base, &t->logs.base,   &t->metrics.base,
                             &t->about.base,       &t->window.base, &t->bus.base};
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++)
        bases[i]->self = t;
    return t;
}

const struct node *service_node(const struct stage *s, const char *text)
{
    const struct node *map = s->plan->node;
    for (size_t i = 0; i < map->count; i++)
        if (map->items[i]->kind == NODE_SCALAR && map->items[i]->text == text)
            return map->items[i];
    return s->plan->name_node;
}

const struct service_rule *service_tables_rules(const struct service_tables *t, size_t *count)
{
    *count = t->rule_count;
    return t->rules;
}

const struct match_env *service_tables_env(const struct service_tables *t)
{
    return &t->env;
}

void service_tables_free(struct service_tables *t)
{
    if (!t)
        return;
    queue_declared_free(t);
    mem_free(t->rules);
    mem_free(t);
}

void service_tables_plan(struct service_tables *t, const struct plan *plan)
{
    const struct plan_settings *s = &plan->settings;
    t->env = (struct match_env){s->aws.account, s->aws.region};
    t->about.folder = document_folder(plan->document);
    t->about.data_dir = s->data_dir;
    t->about.region = s->aws.region;
    t->about.account = s->aws.account;
    t->about.endpoint = s->aws.endpoint;
    t->about.is_region_written = s->aws.is_region_written;
}

const void *service_one(void *user, const weir_option *row, const struct node *at)
{
    const struct service_tables *t = user;
    for (const weir_service *const *s = t->all; *s; s++)
        if (strcmp((*s)->id, row->name) == 0 && (*s)->size >= row->item_size)
            return *s;
    return NULL;
}

void service_many(void *user, const weir_option *row, weir_services *out)
{
    const struct service_tables *t = user;
    *out = (weir_services){0};
    for (const weir_service *const *s = t->all; *s; s++)
        if (strcmp((*s)->id, row->name) == 0 && (*s)->size >= row->item_size)
            *out = (weir_services){1, (const void *const *)s};
}
