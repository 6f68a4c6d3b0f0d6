/* pipeline/services.h: the services that the host offers, one file each. */
#pragma once
#include <weir/bus.h>
#include <weir/http_client.h>
#include <weir/http_server.h>
#include <weir/json.h>
#include <weir/logs.h>
#include <weir/match.h>
#include <weir/metrics.h>
#include <weir/pipeline.h>
#include <weir/queue.h>
#include <weir/schema.h>
#include <weir/shape.h>
#include <weir/window.h>

#include "journal/queue.h"
#include "pipeline/lane.h"
#include "pipeline/pipeline.h"

struct service_tables {
    struct pipeline *pipeline;  /* NULL: for check only */
    struct service_rule *rules; /* told by the checks of the stages */
    size_t rule_count, rule_cap;
    struct match_env env;
    weir_match match;
    weir_jsons json;
    weir_schemas schema;
    weir_shapes shape;
    weir_queues queue;
    weir_http_server http_server;
    weir_http_client http_client;
    weir_logs logs;
    weir_metrics metrics;
    weir_pipeline about;
    weir_windows window;
    weir_buses bus;
    const weir_service *all[13];      /* ends with NULL */
    struct declared *queues_declared; /* by checks */
};

void service_match_init(struct service_tables *t);
void service_json_init(struct service_tables *t);
void service_schema_init(struct service_tables *t);
void service_shape_init(struct service_tables *t);
void service_queue_init(struct service_tables *t);
void service_http_server_init(struct service_tables *t);
void service_http_client_init(struct service_tables *t);
void service_logs_init(struct service_tables *t);
void service_metrics_init(struct service_tables *t);
void service_bus_init(struct service_tables *t);
void service_window_init(struct service_tables *t);
void service_window_free(struct pipeline *p);

static inline struct service_tables *service_tables_of(const weir_service *base)
{
    return base->self;
}
/* The lane whose callback calls; ends the process if a plugin calls from elsewhere. */
struct lane *service_lane(const char *service);
/* In check: the stage reads this file, so that a reload knows when it has to begin anew. */
void service_reads(const struct lane *l, const char *path);
/* The scalar of the stage's map that the plugin was given as this text; else the stage's name. */
const struct node *service_node(const struct stage *s, const char *text);
/* In check: the stage uses this queue. CONFIG, and told, where another one wants it otherwise. */
weir_status queue_declare(struct service_tables *t, struct lane *l, const char *name,
                          const struct queue_settings *settings);
void queue_declared_warn(const struct service_tables *t, struct document *d);
void queue_declared_free(struct service_tables *t);
/* fn(arg) when the stage is freed, last in first out. */
void service_at_end(struct stage *s, void (*fn)(void *arg), void *arg);
