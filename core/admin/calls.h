/* admin/calls.h: the calls of the admin listener, for its table of routes; each answers its request once,
 * on the main thread. */
#pragma once
#include "admin/admin.h"
#include "base/buf.h"
#include "net/http_server.h"

struct admin {
    struct pipeline *pipeline;
    struct http_server *server;
    struct loop *loop;
    struct ledger_answer *ledgers; /* answers that wait for the columns to agree */
    admin_reload *reload;
    void *reload_user;
    char *address_path; /* where the command line finds the address */
};

/* reply.c: takes the text */
void reply(struct http_request *r, int status, const char *type, struct buf *text);
void reply_failed(struct http_request *r, const struct error *e);
/* What changes something asks for a header that a web page cannot send; false: answered with 403. */
bool reply_is_allowed(struct http_request *r);
void reply_name(const struct http_request *r, char *name, size_t size); /* the path's */
/* The value of a query's key, or "". */
void reply_query(const struct http_request *r, const char *key, char *value, size_t size);
uint64_t reply_query_number(const struct http_request *r, const char *key, uint64_t preset);

/* status.c */
void status_livez(struct admin *a, struct http_request *r);
void status_readyz(struct admin *a, struct http_request *r);
void status_health(struct admin *a, struct http_request *r);
void status_metrics(struct admin *a, struct http_request *r);
void status_memory(struct admin *a, struct http_request *r);
void status_ledger(struct admin *a, struct http_request *r);
void status_audit(struct admin *a, struct http_request *r);
void status_write_off(struct admin *a, struct http_request *r);
void status_stop(struct admin *a); /* answers that still wait: as it is now */

/* streams.c */
void streams_queues(struct admin *a, struct http_request *r);
void streams_messages(struct admin *a, struct http_request *r);
void streams_purge(struct admin *a, struct http_request *r);
void streams_archives(struct admin *a, struct http_request *r);
void streams_archived(struct admin *a, struct http_request *r);
void streams_archive_purge(struct admin *a, struct http_request *r);
void streams_replays(struct admin *a, struct http_request *r);
void streams_replay(struct admin *a, struct http_request *r);
void streams_replay_cancel(struct admin *a, struct http_request *r);
void streams_replay_start(struct admin *a, struct http_request *r);
void streams_rules(struct admin *a, struct http_request *r);
void streams_rule_enable(struct admin *a, struct http_request *r);
void streams_rule_disable(struct admin *a, struct http_request *r);

/* dead_letters.c */
void dead_letters_page(struct admin *a, struct http_request *r);
void dead_letters_queues(struct admin *a, struct http_request *r);
void dead_letters_redrive(struct admin *a, struct http_request *r);
