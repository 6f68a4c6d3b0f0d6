/* lambda/environment.h: a process that runs the function, its Runtime API and its output. */
#pragma once
#include "connection.h"
#include "lambda.h"
#include "process.h"
#include "runtime_api.h"

enum { CONNECTIONS = 4, LINE_MAX_BYTES = 8192 };

struct output { /* stdout or stderr, on its way to the log */
    size_t used;
    char line[LINE_MAX_BYTES];
};

struct environment {
    uint32_t timer; /* its id */
    enum phase phase;
    int listener;
    struct process process;
    struct connection connections[CONNECTIONS];
    struct output outputs[2];
    struct invocation work; /* RUNNING: the one; later: the last one */
    char stream[STREAM_NAME_SIZE];
    int64_t spawned_ns, init_ns;        /* init_ns: of a start that no report has told yet */
    int64_t used_max_bytes, used_at_ns; /* its memory, and when that was read */
    const char *trouble; /* why it is being killed; static or scratch, of this callback */
};

void environment_init(struct environment *e, uint32_t timer);
/* 0, or an errno with the reason logged. */
int environment_start(struct environment *e, const struct lambda *l, const weir_host *h);
void environment_accept(struct environment *e, const weir_host *h);
struct connection *environment_connection(struct environment *e, int fd);
bool environment_owns(struct environment *e, int fd);
/* Reads what it printed; with is_last also a line without an end. */
void environment_read_output(struct environment *e, const struct lambda *l, const weir_host *h,
                             bool is_last);
/* The most memory that its process had; read again after a tenth of a second. */
int64_t environment_used_max_bytes(struct environment *e, int64_t now_ns);
/* After its process has gone, or to end it. "exit status 7" */
void environment_end(struct environment *e, const struct lambda *l, const weir_host *h, char *how,
                     size_t size);
