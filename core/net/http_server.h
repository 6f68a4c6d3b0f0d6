/* net/http_server.h: HTTP/1.1 in: strict parsing, keep-alive, pipelining, limits and times.
 *
 * A server is one listening address on one loop (each worker has its own, SO_REUSEPORT). A request is
 * handed to `request` when its body is whole; it is answered once, by http_answer, on the same loop,
 * at once or later; answers leave in the order of the requests. A body is a counted payload. */
#pragma once
#include <stdbool.h>
#include <weir/http_server.h>

#include "base/budget.h"
#include "base/error.h"
#include "net/loop.h"

struct http_server;

struct http_request { /* as weir_http_call; the plug-in facing struct is its first member */
    weir_http_call call;
    void *user;      /* the handler's */
    void *route_arg; /* of the route that matched */
    int64_t begun_ns;
};

/* Makes the body: `n` bytes are to be written to *data. NULL: no memory, the server answers 503. */
struct http_bodies {
    weir_payload *(*alloc)(void *user, size_t n, char **data);
    void (*unref)(void *user, weir_payload *p);
    void *user;
};

struct http_server_settings {
    const char *address; /* host:port, [v6]:port, unix:/path; port 0: a free one */
    int fd;              /* > 0: a listening socket to use (not closed) instead of opening one */
    bool is_shared;      /* SO_REUSEPORT: other loops listen there too */
    struct http_bodies bodies;
    struct budget *budget;      /* that connections and their buffers are charged to; NULL: none */
    uint64_t body_max;          /* 0: 1 MiB; more is 413 */
    int64_t request_timeout_ns; /* head and body, from its first byte; 0: 30 s; 408 */
    int64_t idle_timeout_ns;    /* keep-alive; 0: 60 s */
    unsigned connections_max;   /* 0: 10,000; further ones wait in the backlog */
    void (*request)(void *user, struct http_request *r);
    /* Before a body is read: 0 to go on, else a status to answer at once (503: no room). May be NULL. */
    int (*admit)(void *user, const struct http_request *head);
    void *user;
};

/* Limits besides: head 16 KiB and 100 headers (431), URL 8 KiB (414), pipelined requests 32 in work.
 * Refused with 400 and closed: two Content-Length, Content-Length with Transfer-Encoding, obs-fold,
 * bare LF, NUL, space before the colon, a missing or doubled Host, anything not RFC 9112. */
struct http_server *http_server_new(struct loop *l, const struct http_server_settings *s,
                                    struct error *e);
void http_server_address(const struct http_server *s, char *text, size_t size); /* real port */
int http_server_fd(const struct http_server *s);
/* Clients that come from now on are refused, and do not wait for one who will not accept them. Also of
 * a loop whose thread is held. A socket from outside is only left alone. */
void http_server_stop_listening(struct http_server *s);
/* The same; closes idle connections, answers with Connection: close from now on. */
void http_server_drain(struct http_server *s);
bool http_server_is_idle(const struct http_server *s);  /* no request in work */
bool http_server_is_empty(const struct http_server *s); /* no connection left */
/* Closes all. Open requests are still to be answered, once each: nothing is sent, they are freed. */
void http_server_free(struct http_server *s);

/* Routes: "POST /users/{id}", "GET /files/{rest...}"; the most specific wins; "*" is any method.
 * HEAD comes with method "HEAD". With routes the server
 * answers 404, 405 with Allow, HEAD (by the GET route), and OPTIONS by itself, and `request` is called
 * with route_arg and call.params. Without any, every request goes to `request`. */
int http_server_route(struct http_server *s, const char *pattern, void *arg, struct error *e);

/* A hand-over to another handler, without a connection lost: its routes are gathered beside those that
 * serve, then hold all at once, with the settings' limits and callbacks (not the address). Requests in
 * hand stay those of the handler that has them; one whose body is still coming is matched anew. */
int http_server_route_next(struct http_server *s, const char *pattern, void *arg, struct error *e);
void http_server_forget_next(struct http_server *s);
void http_server_switch(struct http_server *s, const struct http_server_settings *settings);

struct http_answer {
    int status;
    const char *content_type; /* NULL: application/json */
    weir_pairs headers;       /* copied */
    weir_str text;            /* the body: copied, */
    weir_payload *take;       /* or this one, not copied */
};
/* Server's thread. The client may have gone; the request is freed. Writes leave at the end of the
 * round, pipelined answers in one go. */
void http_answer(struct http_request *r, const struct http_answer *a);
/* RFC 9457: application/problem+json with title and detail; retry_after_s 0: no Retry-After. */
void http_problem(struct http_request *r, int status, const char *detail, unsigned retry_after_s);
weir_str http_header(const weir_http_call *c, const char *lower_case_name); /* ptr NULL: none */
const char *http_reason(int status);
