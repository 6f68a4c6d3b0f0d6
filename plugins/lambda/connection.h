/* lambda/connection.h: one connection of a runtime: bytes in, one answer out at a time. */
#pragma once
#include "http.h"

struct connection {
    int fd; /* -1: free */
    struct http_reader reader;
    char head[1536];
    size_t head_len, sent;      /* sent: of head and body */
    weir_payload *body;         /* of the answer; NULL: `text` */
    weir_str text;              /* static */
    bool is_sending, is_asking; /* is_asking: its GET next is open */
};

void connection_open(struct connection *c, const weir_host *h, int take_fd, size_t body_max);
void connection_close(struct connection *c, const weir_host *h);
/* WHOLE: a request is there, and connection_answer is due. BAD: closed. */
int connection_receive(struct connection *c, const weir_host *h);
/* `take` or, if that is NULL, `text`, which is static. Closes what cannot be written to. */
void connection_answer(struct connection *c, const weir_host *h, int status, const char *headers,
                       weir_payload *take, const char *text);
void connection_flush(struct connection *c, const weir_host *h);
