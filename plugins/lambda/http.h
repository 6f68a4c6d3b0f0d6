/* lambda/http.h: the little HTTP/1.1 that runtimes speak: requests from bytes, without sockets.
 *
 * Own and not weir.http_server: a runtime waits in its GET without limit, takes a 503 for a broken
 * host, and has to reach the one worker that its environment belongs to. */
#pragma once
#include <weir/plugin.h>

enum { HTTP_MORE, HTTP_WHOLE, HTTP_CONTINUE, HTTP_BAD };

struct http_reader {
    char buffer[16384]; /* what came and is not read yet; a head has to fit */
    size_t used;

    char method[8], path[256];           /* of the request that is whole */
    char error_type[128];                /* Lambda-Runtime-Function-Error-Type */
    weir_payload *body;                  /* NULL: none */
    bool is_too_large, is_out_of_memory; /* the body was read and thrown away */
    bool is_last;                        /* Connection: close */

    int state;
    size_t left, filled, capacity, size_max; /* of the body, or of a chunk */
    char *data;
    bool is_chunked, is_waiting; /* Expect: 100-continue */
};

void http_reader_init(struct http_reader *r, size_t body_max);
void http_reader_fini(struct http_reader *r, const weir_host *h);
/* Reads on in the buffer. WHOLE: the request is there until http_next. CONTINUE: say 100, then go on. */
int http_read(struct http_reader *r, const weir_host *h);
void http_next(struct http_reader *r, const weir_host *h);

/* A response's head; `headers` are whole lines. The length, always less than size. */
size_t http_write_head(char *text, size_t size, int status, const char *headers, size_t body);
