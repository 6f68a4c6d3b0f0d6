/* net/http_parse.h: HTTP/1.1 messages (RFC 9112), strictly: what is in doubt is refused.
 *
 * A head is looked for in what has come (http_parse_end), and parsed once it is whole. Chunked
 * bodies are decoded as they come. Nothing here knows of sockets. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

enum {
    HTTP_HEAD_MAX = 16 * 1024,  /* more is 431 */
    HTTP_TARGET_MAX = 8 * 1024, /* more is 414 */
    HTTP_HEADERS_MAX = 100,     /* more is 431 */
    HTTP_METHOD_MAX = 32,
};

struct http_head { /* points into the bytes that were parsed; all texts end with a NUL there */
    const char *method;
    weir_str path, query;                    /* as sent; query without the '?' */
    weir_attr headers[HTTP_HEADERS_MAX + 1]; /* one is left free for the server */
    size_t header_count;
    uint64_t length;
    int minor; /* HTTP/1.<minor> */
    bool has_length, is_chunked, keeps_alive, expects_continue;
    weir_str request_id; /* the client's if it is sane, else len 0 */
    const char *why;     /* of a refusal */
};

/* The length of the head, with its empty line; 0: not whole yet; below 0: refused with that status
 * (-400, -414, -431). `scanned` is 0 for a new head and kept between calls. */
int http_parse_end(const char *bytes, size_t n, size_t *scanned, const char **why);
/* Parses a whole head in place. 0, or the status it is refused with: 400, 414, 417, 431, 501, 505. */
int http_parse_head(struct http_head *h, char *bytes, size_t n);

struct http_chunks { /* zero is the start */
    int state;
    int digits;
    uint64_t left;
    size_t overhead; /* bytes of extensions and trailers */
};
/* Decodes from `in`, at most up to the end of one piece of data, which is given out as `data`; len 0:
 * none. Returns the bytes used, or below 0 the status of the refusal (-400, -431). */
int64_t http_chunks_feed(struct http_chunks *c, weir_str in, weir_str *data);
bool http_chunks_is_done(const struct http_chunks *c);
