/* weir/http_server.h: requests in, answers out (service weir.http_server/1).
 *
 * Offered by the host, which keeps the sockets (they outlive a reload), speaks the protocol, limits
 * sizes and times, and answers by itself what is nobody's: 404, 405, 413, and 429 or 503 with
 * Retry-After when there is no room for events. Each call is answered exactly once, by you.
 * Callbacks come on the instance's thread; of a parallel one, on the worker that accepted. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_http_server weir_http_server;
#define WEIR_HTTP_SERVER weir_http_server, "weir.http_server/1", answer

typedef struct weir_http_listener weir_http_listener; /* opaque; until stop */

typedef struct weir_http_call { /* host-made: one request; lives until it is answered */
    const char *method;
    weir_str path, query, peer;
    weir_pairs headers; /* names in lower case */
    weir_pairs params;  /* "/users/{id}": id */
    weir_payload *body; /* never NULL; ref it to make an event of it */
} weir_http_call;

typedef struct weir_http_listen {
    size_t size;
    const char *address; /* 127.0.0.1:3000 or unix:/run/weir.sock */
    weir_duration timeout;  /* of a whole request; 0: 30s */
    weir_size body_max;     /* 0: 1MiB */
} weir_http_listen;

typedef struct weir_http_route {
    size_t size;
    const char *pattern; /* "POST /users/{id}"; the most specific one wins */
    const void *arg;
    /* OK: what was added to out is on its way; answer in settled() (put the call in the cookie).
     * IDLE: nothing was added; you have answered or will. An error: the server answers with the
     * text of h->fail, 400 for REJECT and 503 for RETRY; the call is gone. */
    weir_status (*request)(void *self, const weir_host *h, weir_http_call *take, const void *arg,
                           weir_batch *out);
} weir_http_route;

typedef struct weir_http_answer {
    size_t size;
    int status;
    const char *content_type; /* NULL: application/json */
    weir_pairs headers;
    weir_str text;      /* the body, copied, */
    weir_payload *take; /* or this one, not copied */
} weir_http_answer;

struct weir_http_server {
    weir_service base;
    weir_status (*listen)(const weir_http_server *s, const weir_http_listen *how,
                          weir_http_listener **listener); /* in start; accepts only after it */
    weir_status (*route)(const weir_http_server *s, weir_http_listener *l, const weir_http_route *r);
    /* From any thread. A client that has gone is not an error. */
    void (*answer)(const weir_http_server *s, weir_http_call *take, const weir_http_answer *a);
};
