/* http/source.h: the http source's state, and what source.c and idempotency.c ask of each other. */
#pragma once
#include <weir/http_server.h>
#include <weir/json.h>
#include <weir/pipeline.h>
#include <weir/schema.h>
#include <weir/window.h>

#include "answer.h"
#include "headers.h"

enum { HEADER_MAX = 64 };

struct idempotency {
    bool enabled, required;
    const char *header;
    weir_duration window;
    int64_t max_keys;
};

struct route {
    const char *source, *type, *key, *schema;
    int respond;
    weir_duration timeout;
    weir_block idempotency;
};

struct memory {                    /* of a route: the keys that it has seen */
    const struct idempotency *how; /* NULL: it takes no keys */
    char header[HEADER_MAX + 1];   /* in lower case */
    weir_window *window;
};

struct source {
    const char *listen;
    weir_size body_max;
    weir_duration timeout;
    weir_map routes;
    const weir_http_server *server;
    const weir_jsons *json;
    const weir_schemas *schemas;
    weir_services pipeline, windows;
    weir_schema **compiled;  /* one a route; NULL: none */
    struct memory *memories; /* one a route */
};

struct pending { /* a request that waits for its settlement */
    struct pending *next, *before;
    weir_http_call *call; /* NULL: answered already, its time was up */
    const struct route *route;
    weir_id id;
    char traceparent[TRACEPARENT_LEN]; /* of the answer */
    bool is_traced, is_timed;
    int64_t until_ns;
};

struct worker {
    struct pending *free;
    struct pending timed; /* ring of those that answer in time */
    weir_metric *refused, *late, *replayed;
};

static inline const weir_windows *source_windows(const struct source *s)
{
    return s->windows.count ? s->windows.items[0] : NULL;
}

/* Answers a request before there is an event; IDLE. */
weir_status source_refuse(const struct source *s, const weir_host *h, weir_http_call *take,
                          struct problem *p, const char *fmt, ...) WEIR_PRINTF(5, 6);

/* idempotency.c */
weir_status idempotency_open(struct source *s, const weir_host *h);
/* OK with the claim, or none where there is no key. IDLE: the request was answered. */
weir_status idempotency_claim(const struct source *s, const weir_host *h, weir_http_call *call,
                              const struct route *r, weir_claim **claim);
