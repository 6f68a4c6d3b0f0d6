/* net/http_client.h: HTTP out, by libcurl's multi interface on a loop.
 *
 * libcurl is loaded (dlopen) by the first client, so a runner that sends nothing does not pay for it.
 * Connections are pooled per client; TLS is verified always. Only http and https, no redirects. */
#pragma once
#include <weir/plugin.h>

#include "base/budget.h"
#include "base/error.h"
#include "net/loop.h"

struct http_client;

struct http_fetch_result { /* until the callback returns */
    int status;            /* 0 when there was no answer */
    weir_str body;
    weir_pairs headers; /* names in lower case */
    const char *error;  /* NULL when there was an answer */
};

struct http_fetch {
    const char *method, *url; /* copied, as all else but the body */
    weir_pairs headers;
    weir_str body;         /* must live until done */
    int64_t timeout_ns;    /* of all; 0: 30 s */
    const char *ca_file;   /* NULL: the system's authorities */
    uint64_t answer_max;   /* bytes of the answer; more is an error; 0: 16 MiB */
    struct budget *budget; /* that the request and its answer are charged to; NULL: none */
    void (*done)(void *user, const struct http_fetch_result *r); /* once, never inside http_fetch */
    void *user;
};

struct http_client *http_client_new(struct loop *l, struct error *e); /* NULL: no libcurl */
void http_client_free(struct http_client *c); /* done is called for what is under way: "stopped" */
int http_client_fetch(struct http_client *c, const struct http_fetch *f, struct error *e);
/* Waits, on any thread, without a loop: for WEIR_BLOCKING instances and for commands. */
int http_fetch_wait(const struct http_fetch *f, struct error *e);
