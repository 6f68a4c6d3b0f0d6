/* lambda/lambda.h: what the files of the plugin share.
 *
 * A batch becomes a job; a job is cut into invocations of `batch_size` events; an invocation is
 * answered by the native handler at once, or by an environment (a child process) later. Jobs leave
 * in the order in which they came. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <weir/function.h>
#include <weir/json.h>
#include <weir/logs.h>
#include <weir/pipeline.h>
#include <weir/plugin.h>
#include <weir/shape.h>

enum { RUNTIME_AUTO, RUNTIME_NATIVE, RUNTIME_PYTHON, RUNTIME_NODE, RUNTIME_PROVIDED };
enum { PAYLOAD_ENVELOPE, PAYLOAD_BODY };
enum { ON_NULL_DROP, ON_NULL_KEEP };
enum { REPORT_AUTO, REPORT_ON, REPORT_OFF };
enum { ENDPOINT_EMBEDDED, ENDPOINT_AWS };
enum { ISOLATE_NONE, ISOLATE_THREAD };
enum {
    ANSWER_MAX_BYTES = 6291556, /* of AWS: 6 MiB and a hundred bytes */
    REQUEST_ID_SIZE = 37,
    STREAM_NAME_SIZE = 96,
    WHY_SIZE = 1024,
};

struct program { /* how an environment's process is started */
    const char *path, *folder;
    char *const *arguments;
    char *const *environment; /* without the two variables that differ between environments */
    size_t variables;
};

struct lambda {
    const char *handler, *code, *function_name, *region;
    weir_strings command, reject;
    weir_pairs environment;
    weir_size memory_size;
    weir_duration timeout;
    int64_t environments, batch_size;
    int runtime, payload, on_null, report, endpoint, isolate;
    weir_services pipeline;
    const weir_jsons *json;
    const weir_shapes *shapes;
    const weir_logs *logs;

    const weir_function_manifest *native; /* made by start */
    struct program program;
    const char *group, *arn;
    bool is_reporting;
    atomic_llong *spare; /* environments or threads that no worker has taken yet */
    atomic_llong *hung;  /* threads that have not come back from a call whose time was over */
};

enum { ITEM_WAITING, ITEM_BODY, ITEM_AS_IS, ITEM_MARKED };
struct item { /* what becomes of one event */
    weir_payload *body;
    int state;
};

struct job { /* one batch in work */
    struct job *next;
    const weir_batch *batch;
    struct item *items;
    size_t capacity, started,
        open; /* events given to a function; those of them without an answer */
};

struct answer { /* what came back from one invocation */
    weir_status status;
    weir_payload *take; /* OK: JSON text; NULL is null */
    const char *why;    /* not OK and not DROP */
};

struct invocation { /* events [first, first + count) of a job */
    struct job *job;
    size_t first, count;
    char request_id[REQUEST_ID_SIZE];
    int64_t begun_ns, deadline_ns;
};

struct figures {
    weir_metric *invocations, *errors, *timeouts, *starts, *duration, *hung;
};

struct jobs { /* of one worker, in the order in which they leave */
    struct job *first, *last;
};

struct native;  /* native.c */
struct pool;    /* pool.c */
struct threads; /* threads.c */

struct worker {
    struct figures figures;
    struct job *free_jobs;
    struct native *native;
    size_t native_calls; /* of the batch in hand */
    struct jobs jobs;    /* of pool or threads */
    struct pool *pool;
    struct threads *threads;
};

/* invocation.c */
struct job *job_new(const weir_host *h, struct worker *w, const weir_batch *batch);
void job_free(const weir_host *h, struct worker *w, struct job *take);
size_t job_emit(const weir_host *h, struct job *job, weir_batch *out); /* how many were passed */
void jobs_push(struct jobs *jobs, struct job *take);
/* Hands the oldest job to `out` if it is complete. */
weir_status jobs_emit(const weir_host *h, struct worker *w, weir_batch *out);
void jobs_free(const weir_host *h, struct worker *w);
/* What an invocation came to, into its job; the worker is woken if one may leave. */
void jobs_settle(const struct lambda *l, const weir_host *h, struct worker *w, struct invocation *v,
                 const struct answer *take);
/* Takes the next events of the job. */
void invocation_begin(const struct lambda *l, const weir_host *h, struct job *job,
                      struct invocation *v);
/* What the function is given. NULL: see *why. */
weir_payload *invocation_payload(const struct lambda *l, const weir_host *h,
                                 const struct invocation *v, struct answer *failed);
/* The class of what the function did: OK, DROP, or how it failed. */
weir_status invocation_settle(const struct lambda *l, const weir_host *h, struct invocation *v,
                              const struct answer *take);
/* RETRY, or REJECT for an error type that the stage names in `reject`. */
weir_status invocation_class(const struct lambda *l, weir_str error_type);
/* Of the body that a runtime posted as an error: "type: message". */
struct answer invocation_error(const struct lambda *l, const weir_host *h, weir_str body);

/* threads.c: native functions on threads of their own */
struct guard { /* what a thread that may never come back holds while it is in the host's code */
    pthread_mutex_t lock;
    bool is_cut;               /* the host is going away: who comes for it stays there for ever */
    struct thread_text *texts; /* what the call was handed; until the handler returns */
};
void guard_enter(struct guard *g); /* NULL: on the worker's own thread, where nothing is guarded */
void guard_leave(struct guard *g);
void *guard_text(struct guard *g, size_t n); /* within it */
struct threads *threads_new(const struct lambda *l, const weir_host *h, struct worker *w);
void threads_free(struct threads *t, const weir_host *h);
weir_status threads_take(struct threads *t, const weir_host *h, const weir_batch *batch);
void threads_tick(struct threads *t, const weir_host *h, uint32_t id);

/* native.c */
const weir_function_manifest *native_load(const weir_host *h, const char *path);
struct native *native_new(const struct lambda *l, const weir_host *h, struct guard *guard);
void native_free(struct native *n);
struct answer native_call(struct native *n, const weir_host *h, const struct invocation *v,
                          weir_str event);

/* elf.c: 0, or why the file is no function that this plugin can load. Loads and runs nothing. */
int elf_check(const char *path, char *why, size_t size);

/* place.c: where handlers, programs and runtime clients are. */
const char *place_folder(const struct lambda *l, const weir_host *h); /* LAMBDA_TASK_ROOT */
const char *place_native(const struct lambda *l, const weir_host *h); /* the file, or NULL */
const char *place_program(const weir_host *h, const char *name);      /* in PATH, or NULL */
const char *place_client(const weir_host *h, const char *file);       /* "python/bootstrap.py" */
const char *place_join(const weir_host *h, const char *folder, const char *name);
bool place_is_file(const char *path);
void place_reads(const struct lambda *l,
                 const char *path); /* in check: a reload looks at this file */
/* Kept text, made like printf. */
const char *place_text(const weir_host *h, const char *fmt, ...) WEIR_PRINTF(2, 3);

/* report.c */
void report_stream_name(const weir_host *h, char *stream);
void report_start(const struct lambda *l, const char *stream, const char *request_id);
struct report {
    const char *request_id;
    int64_t duration_ns, init_ns; /* init_ns 0: a warm start */
    int64_t used_max_bytes;
    const char *trouble; /* a line before END, or NULL */
};
void report_end(const struct lambda *l, const char *stream, const struct report *r);
void report_line(const struct lambda *l, const char *stream, weir_str line);

/* pool.c */
struct pool *pool_new(const struct lambda *l, const weir_host *h, struct worker *w);
void pool_free(struct pool *p, const weir_host *h);
weir_status pool_take(struct pool *p, const weir_host *h, const weir_batch *batch);
void pool_ready(struct pool *p, const weir_host *h, int fd);
void pool_tick(struct pool *p, const weir_host *h, uint32_t id);
