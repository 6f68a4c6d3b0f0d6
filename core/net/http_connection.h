/* net/http_connection.h: what the parts of the HTTP server share.
 *
 * A connection reads requests into exchanges, which wait in its line until they are answered; the
 * answers of a round leave when the round ends. An exchange belongs to the connection until
 * `request` is called, then to the handler until it answers; the connection may be gone by then. */
#pragma once
#include <sys/types.h>

#include "base/buf.h"
#include "net/http_parse.h"
#include "net/http_server.h"
#include "net/route.h"

enum {
    EXCHANGES_MAX = 32,         /* of one connection, in work */
    OUT_MAX = 256 * 1024,       /* no more is read while more is to be written */
    SCRATCH_BYTES = 64 * 1024,  /* one read */
    COPY_MAX = 16 * 1024,       /* bodies up to this join the head in one buffer */
    LINGER_NS = 2000000000,     /* to take what still comes after a refusal */
    KEPT_OUT_BYTES = 32 * 1024, /* a larger buffer is freed when it is empty */
    PEER_BYTES = 120,
    DATE_BYTES = 30,
};

/* Routes are replaced as a whole; a request holds those that it was matched with. */
struct route_table {
    struct routes routes;
    size_t users;
};

struct exchange {
    struct http_request request; /* first: the handler's view */
    struct http_server *server;
    struct route_table *table;     /* that its match points into; NULL: none yet */
    struct connection *connection; /* NULL: gone */
    struct exchange *next;         /* in the connection's line, or free */
    char *text;                    /* the head, and room for decoded parameters */
    size_t text_cap, charged_bytes;
    bool is_answered, is_last, is_head, wants_continue;
    struct buf answer; /* until those before it are answered */
    weir_payload *answer_body;
    char id[37], peer[PEER_BYTES];
    struct http_head head;
    struct route_match match;
};

struct out_body {
    weir_payload *payload;
    size_t at; /* goes before this byte of out */
};

enum connection_state { READS_HEAD, READS_BODY, READS_CHUNKS, READS_NOTHING, LINGERS };

struct connection {
    struct loop_watch watch;
    struct loop_timer timer;
    struct http_server *server;
    struct connection *next, *previous;             /* all of the server */
    struct connection *flush_next, *flush_previous; /* those with answers to send */
    bool is_to_flush, is_eof, is_stuck, is_refused, had_empty_line;
    enum connection_state state;

    struct buf in; /* what has come and is not used yet */
    size_t scanned;
    int64_t begun_ns;    /* of the request that is being read */
    int64_t used_ns;     /* last read or write */
    int64_t deadline_ns; /* 0: none */

    struct exchange *current; /* whose body is being read; NULL: the body is thrown away */
    uint64_t body_left;       /* of a chunked one: what may still come */
    char *body_at;
    struct buf chunked_body;
    struct http_chunks chunks;

    struct exchange *first, *last;
    unsigned exchanges;

    struct buf out;
    size_t out_at, body_sent; /* what has been written of out, and of the body at its front */
    struct out_body *bodies;
    size_t body_first, body_count, body_cap;
    size_t out_bytes; /* all that is to be written */
    size_t charged_bytes;
    char peer[PEER_BYTES];
};

struct http_server {
    struct loop *loop;
    struct http_server_settings settings;
    struct loop_watch listener;
    struct loop_timer accept_timer;
    struct loop_hook flush_hook;
    struct loop_timer flush_timer;          /* for answers that come after the hook */
    struct route_table *table, *next_table; /* next: while a hand-over is prepared */
    bool owns_fd, is_listening, is_draining, is_freed, flush_is_over;
    unsigned connection_count;
    size_t exchanges; /* not yet answered */
    struct connection *connections, *to_flush, *last_to_flush;
    struct exchange *free_exchanges;
    size_t free_exchange_count;
    int64_t wall_mono_ns, wall_ns, date_s;
    char date[DATE_BYTES];
    char scratch[SCRATCH_BYTES];
};

/* http_server.c */
int64_t http_server_wall(struct http_server *s); /* read once a round */
struct exchange *http_server_take_exchange(struct http_server *s);
void http_server_give_exchange(struct http_server *s, struct exchange *x);
/* *charged becomes `bytes`, in the budget too. */
void http_server_charge(struct http_server *s, size_t *charged, size_t bytes);
void http_server_charge_exchange(struct exchange *x); /* its texts have changed */
void http_server_has_room(struct http_server *s);     /* a connection was closed */
void http_server_hold_table(struct exchange *x);      /* the routes as they are now */

/* http_connection.c */
void http_connection_open(struct http_server *s, int fd, const char *peer); /* takes the fd */
void http_connection_close(struct connection *c);
void http_connection_flush(struct connection *c); /* may close it */
void http_connection_drain(struct connection *c);

/* http_input.c */
static inline bool http_input_can_read(const struct connection *c)
{
    if (c->state == READS_NOTHING || c->is_eof)
        return false;
    bool has_room = c->state != READS_HEAD || c->exchanges < EXCHANGES_MAX;
    return c->state == LINGERS || (has_room && c->out_bytes < OUT_MAX);
}

/* As read(2); requests that are whole are handed over. */
ssize_t http_input_read(struct connection *c);
void http_input_use_kept(struct connection *c);
/* What is being read is no request: its answer says why, and nothing more is read. */
void http_input_refuse(struct connection *c, int status, const char *why);

/* http_output.c */
void http_output_later(struct connection *c); /* flush when the round ends */
void http_output_cancel(struct connection *c);
void http_output_continue(struct connection *c); /* 100 Continue to the first of the line */
/* The answers at the front of the line move to the output. */
void http_output_advance(struct connection *c);
bool http_output_write(struct connection *c); /* false: the client is gone */
void http_output_drop_body(struct connection *c);

/* http_answer.c */
void http_answer_problem(struct exchange *x, int status, const char *detail, weir_pairs headers);
