/* weir/plugin.h: all that a plugin knows of Weir (ABI 1.0).
 *
 * Threads    The callbacks of an instance never overlap, so its state needs no lock. The host's
 *            functions say from where they may be called; a debug host aborts on a wrong call.
 * Ownership  Arguments are borrowed until the call returns, except one named `take`: the callee
 *            owns that from the call on, even if the call fails. A returned payload is yours.
 * Growth     Structs that the host makes only gain members at their end and are met by pointer.
 *            Structs that a plugin makes carry their size. Those marked frozen never change.
 *            A type, flag or choice that a host does not know is refused by name, never ignored.
 * Settling   Every event given to you is accounted for: passed on, marked, kept or returned for.
 *            What is kept lives until done() or bind(); what is left at stop goes back as RETRY. */
/* Laid out by hand. */
/* clang-format off */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WEIR_ABI_MAJOR 1u
#ifndef WEIR_WANT_MINOR /* define it to require a newer host; a newer header alone never does */
#define WEIR_WANT_MINOR 0u
#endif
#define WEIR_UPTO(T, member) (offsetof(T, member) + sizeof(((T *)0)->member))
#define WEIR_HAS(p, member) /* of a weir_host or a service: may this newer function be called? */ \
    (*(const size_t *)(p) >= WEIR_UPTO(__typeof__(*(p)), member) && (p)->member)
#define WEIR_SINCE(h, minor) (((h)->abi & 0xffffu) >= (minor)) /* newer members of other structs */
#define WEIR_SIZED(T, ...) (&(const T){.size = sizeof(T), __VA_ARGS__})
#define WEIR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

typedef enum weir_status {
    WEIR_OK = 0,
    WEIR_IDLE,          /* source: nothing now; call again on wake, timer or a watched fd */
    WEIR_END,           /* source: nothing ever again */
    WEIR_PENDING,       /* sink, transform: the batch is kept; done() or bind() will follow */
    WEIR_DROP,          /* transform: the event ends here on purpose and counts as filtered */
    WEIR_E_RETRY = -1,  /* may work later: the core retries as the pipeline file says */
    WEIR_E_REJECT = -2, /* will never work: the core sends it to the dead letters */
    WEIR_E_CONFIG = -3, /* the user has to change something */
    WEIR_E_FATAL = -4,  /* this instance cannot go on */
} weir_status;

typedef enum weir_level { WEIR_DEBUG = 1, WEIR_INFO, WEIR_WARN, WEIR_ERROR } weir_level;

/* ---- events ---------------------------------------------------------------------------------- */

typedef struct weir_str { const char *ptr; size_t len; } weir_str; /* frozen; bytes, no NUL promised */
typedef struct weir_attr { weir_str key, value; } weir_attr;       /* frozen */
typedef struct weir_pairs { size_t count; const weir_attr *items; } weir_pairs; /* frozen */
typedef struct weir_id { uint8_t bytes[16]; } weir_id;             /* frozen; a UUID */
typedef struct weir_trace { uint8_t trace[16], span[8], flags; } weir_trace; /* frozen; zero: none */
typedef struct weir_payload { const char *ptr; size_t len; } weir_payload; /* frozen; host-made: counted
                                            and immutable, shared by all events that carry it */
static inline weir_str weir_text(const char *s) { weir_str text = {s, strlen(s)}; return text; }
static inline bool weir_same(weir_str a, const char *s)
{
    return a.ptr && a.len == strlen(s) && memcmp(a.ptr, s, a.len) == 0;
}

typedef struct weir_event { /* host-made: read the members; write through the host */
    weir_payload *body;     /* never NULL */
    weir_id id;             /* UUIDv7, made by add() unless set */
    int64_t time_ns;        /* since 1970 */
    weir_str source, type, key; /* len 0: none. Order is kept among events of one key */
    weir_pairs attrs;
    weir_trace trace;
} weir_event;

/* When settled() is called. SAFE: no sooner than the source may forget the events, and no later: each sink
 * has them or has them in its buffer on disk. DURABLE: also what a transform keeps is put on disk for that. */
enum { WEIR_WHEN_SETTLED, WEIR_WHEN_DURABLE, WEIR_WHEN_RESULT, WEIR_WHEN_SAFE };

typedef struct weir_batch { /* host-made: the unit of flow and of acknowledgement */
    size_t count;
    const weir_event *const *events;
    union { uint64_t cookie; void *cookie_ptr; }; /* source: yours, handed back by settled() */
    uint32_t when;                                /* source: WEIR_WHEN_* */
} weir_batch;

typedef enum weir_outcome { /* the smaller, the less is done */
    WEIR_FAILED,
    WEIR_DURABLE,   /* on disk and the core's to deliver: WEIR_WHEN_DURABLE, _SAFE, and others at shutdown */
    WEIR_FILTERED,  /* a transform dropped it on purpose, or nobody reads it */
    WEIR_DELIVERED, /* every sink that it reached has it */
} weir_outcome;

typedef struct weir_verdict { /* host-made: what became of one event of a source */
    weir_outcome outcome;
    weir_status error;        /* failed: the class, */
    const char *why, *stage;  /* the words, and the stage that said so */
    bool is_dead_lettered;    /* failed, yet kept on disk: do not bring it again */
    const weir_event *result; /* WEIR_WHEN_RESULT: what the pipeline file calls its result, or NULL */
} weir_verdict;

typedef struct weir_settlement { /* host-made: what became of a batch */
    union { uint64_t cookie; void *cookie_ptr; };
    weir_outcome outcome; /* the least of its events */
    size_t count;
    const weir_verdict *const *events; /* in the order of add() */
} weir_settlement;

/* ---- options: a member's C type is its option's type ---------------------------------------- */

typedef struct weir_duration { int64_t ns; } weir_duration;                     /* frozen; 250ms, 2h */
typedef struct weir_size { uint64_t bytes; } weir_size;                         /* frozen; 64KiB */
typedef struct weir_strings { size_t count; const char *const *items; } weir_strings; /* frozen */
typedef struct weir_json { const char *ptr; size_t len; } weir_json; /* frozen; any YAML, as JSON text */
typedef struct weir_secret weir_secret; /* { env: TOKEN } or { file: /run/token }; never printed */
/* Structures with a table of their own (WEIR_ITEMS); `items` is an array of the struct named there. */
typedef struct weir_block { const void *item; } weir_block;               /* frozen; NULL if absent */
typedef struct weir_list { size_t count; const void *items; } weir_list;  /* frozen */
typedef struct weir_map { size_t count; const char *const *names; const void *items; } weir_map; /* frozen */
typedef struct weir_services { size_t count; const void *const *items; } weir_services; /* frozen */

enum { WEIR_T_BOOL = 1, WEIR_T_CHOICE, WEIR_T_INT, WEIR_T_FLOAT, WEIR_T_TEXT, WEIR_T_DURATION, WEIR_T_SIZE,
       WEIR_T_STRINGS, WEIR_T_PAIRS, WEIR_T_SECRET, WEIR_T_JSON, WEIR_T_BLOCK, WEIR_T_LIST, WEIR_T_MAP,
       WEIR_T_SERVICE, WEIR_T_SERVICES };

enum {
    WEIR_FORMAT_NONE,
    WEIR_FORMAT_ADDRESS,   /* of a text: host:port, [v6]:port, or unix:/path */
    WEIR_FORMAT_EVENT_MAX, /* of a size: of the largest event that a source may bring */
};

typedef struct weir_option {
    const char *name, *help;
    const char *preset;  /* default, written as in YAML; NULL is the zero value */
    const char *choices; /* WEIR_T_CHOICE: "none|gzip"; the member gets the index */
    const struct weir_option *items; /* block, list, map: the rows of one item */
    double min, max;     /* checked where max > min: value, ns, bytes, length or count */
    uint32_t type, offset;
    uint32_t item_size; /* of a structure; of a service: the least size of its table that will do */
    bool required;
    bool ports; /* map: each name is a port too */
    uint8_t format; /* WEIR_FORMAT_* */
    bool scalar;    /* block: a value that is no map stands for a map with it as the first row's */
} weir_option;

#define WEIR_OPTION(T, member, ...) {.name = #member, .offset = offsetof(T, member), \
    .type = _Generic(((T *)0)->member, bool: WEIR_T_BOOL, int: WEIR_T_CHOICE, int64_t: WEIR_T_INT, \
        double: WEIR_T_FLOAT, const char *: WEIR_T_TEXT, weir_duration: WEIR_T_DURATION, \
        weir_size: WEIR_T_SIZE, weir_strings: WEIR_T_STRINGS, weir_pairs: WEIR_T_PAIRS, \
        const weir_secret *: WEIR_T_SECRET, weir_json: WEIR_T_JSON, weir_block: WEIR_T_BLOCK, \
        weir_list: WEIR_T_LIST, weir_map: WEIR_T_MAP), __VA_ARGS__}
#define WEIR_ITEMS(T, rows) .items = (rows), .item_size = sizeof(T)

/* ---- services: tables of functions that the host or a component offers to others ------------- */

typedef struct weir_host weir_host;
typedef struct weir_service { /* frozen: the first member, `base`, of every service's table */
    size_t size;              /* of the whole table */
    const char *id;           /* "weir.match/1"; a number that changes is another service */
    void *self;               /* the offering instance: set by the host in the table that it hands out */
    const weir_host *owner;
} weir_service;

/* A service's header names its type, id and the last member of its first release: WEIR_MATCH. In the option
 * table WEIR_NEED(struct bus, match, WEIR_MATCH) sets `const weir_match *match` before start, and before
 * check where the host is the one that offers; a weir_services member gets all there are, maybe none.
 * Functions take the table first; a component's may be called from any thread: see post. */
#define WEIR_NEED(T, member, ...) WEIR_NEED_AS(T, member, __VA_ARGS__)
#define WEIR_NEED_AS(T, member, S, service_id, last) {.name = (service_id), .offset = offsetof(T, member), \
    .type = _Generic(((T *)0)->member, const S *: WEIR_T_SERVICE, weir_services: WEIR_T_SERVICES), \
    .item_size = WEIR_UPTO(S, last)}
#define WEIR_OFFER(...) WEIR_OFFER_AS(__VA_ARGS__) /* the base of a table: .base = WEIR_OFFER(WEIR_MATCH) */
#define WEIR_OFFER_AS(S, service_id, last) {.size = sizeof(S), .id = (service_id)}

/* ---- what the host offers: one table per instance, or per worker of a parallel one ----------- */

typedef struct weir_metric weir_metric;
enum { WEIR_READ = 1, WEIR_WRITE = 2, WEIR_COUNTER = 1, WEIR_GAUGE, WEIR_HISTOGRAM };

struct weir_host {
    size_t size;
    uint32_t abi;
    const char *instance; /* the stage's name in the pipeline file */
    void *worker;         /* WEIR_PARALLEL: the state of the worker that calls; else NULL */

    /* From any thread, between start and stop. */

    void (*log)(const weir_host *h, weir_level level, const char *fmt, ...) WEIR_PRINTF(3, 4);
    /* Logs, keeps the text for `weir status`, and returns `s`: `return h->fail(...)`. */
    weir_status (*fail)(const weir_host *h, weir_status s, int sys_errno, const char *fmt, ...)
        WEIR_PRINTF(4, 5);
    void (*observe)(const weir_host *h, weir_metric *m, double value);
    int64_t (*now)(const weir_host *h); /* ns since 1970; the only clock: tests move it */

    /* A reference that is yours; NULL past the memory limit: pass it on, this callback counts as RETRY. */
    weir_payload *(*alloc)(const weir_host *h, size_t n, char **data); /* fill data, then hand it on */
    weir_payload *(*wrap)(const weir_host *h, weir_str bytes, void (*release)(void *), void *arg);
    weir_payload *(*slice)(const weir_host *h, weir_payload *p, size_t from, size_t n); /* no copy */
    weir_payload *(*join)(const weir_host *h, const weir_batch *b, const char *separator);
    weir_payload *(*ref)(const weir_host *h, weir_payload *p);
    void (*unref)(const weir_host *h, weir_payload *take);

    /* mark settles one event of a batch in hand or kept, once; done and bind all that is not marked. */
    void (*mark)(const weir_host *h, const weir_batch *b, size_t i, weir_status s, const char *why);
    void (*done)(const weir_host *h, const weir_batch *take, weir_status s);
    void (*wake)(const weir_host *h); /* then: pull, or tick 0 */
    /* Runs fn as a callback of this instance, before stop: how work from elsewhere comes home. */
    void (*post)(const weir_host *h, void (*fn)(void *self, const weir_host *h, void *arg), void *arg);

    /* Inside a callback of this instance only. */

    /* In check or start: says what is wrong with the option at `member`, an address in self, in an item
     * or in a map's names; the host knows its line and column. `at`: byte in a text or JSON. CONFIG. */
    weir_status (*refuse)(const weir_host *h, const void *member, size_t at, const char *fmt, ...)
        WEIR_PRINTF(4, 5);
    void *(*keep)(const weir_host *h, size_t n);    /* never fails; until stop */
    void *(*scratch)(const weir_host *h, size_t n); /* never fails; until the callback returns */
    weir_metric *(*metric)(const weir_host *h, int kind, const char *name, const char *help);
    weir_str (*secret)(const weir_host *h, const weir_secret *s); /* until the callback returns */

    weir_event *(*add)(const weir_host *h, weir_batch *out, weir_payload *take); /* descends from all in hand */
    weir_event *(*pass)(const weir_host *h, weir_batch *out, const weir_event *ev); /* shares the payload */
    /* The event goes to this port; call again for more. Never called: port 0, the stage itself. */
    void (*to)(const weir_host *h, weir_event *ev, uint32_t port);
    void (*set_body)(const weir_host *h, weir_event *ev, weir_payload *take);
    /* A path is "a.b" for a member of a JSON body; "@id" (a UUID), "@time" (RFC 3339), "@source", "@type",
     * "@key" and "@traceparent" for the envelope; any other "@name" for an attribute. ptr NULL is absent;
     * set copies, and answers REJECT for what is malformed. */
    weir_str (*get)(const weir_host *h, const weir_event *ev, const char *path);
    weir_status (*set)(const weir_host *h, weir_event *ev, const char *path, weir_str value);
    void (*bind)(const weir_host *h, weir_batch *out, const weir_batch *take); /* settles as out does */

    weir_status (*watch)(const weir_host *h, int fd, int read_write); /* 0 forgets; stop forgets all */
    void (*timer)(const weir_host *h, uint32_t id, weir_duration after); /* once, not earlier; negative cancels */

    /* Sink, transform: the other side asks for a pause (Retry-After). A sink is given nothing before then,
     * a transform nothing again that failed; at most an hour. Done already for replies of the HTTP client. */
    void (*hold)(const weir_host *h, weir_duration after);

    /* Sink, in start: events are sent one by one, so it wants batches of one. Then `concurrency` of the
     * pipeline file counts events, and adapts itself where the file says nothing. */
    void (*single)(const weir_host *h);
};

/* ---- what a plugin offers -------------------------------------------------------------------- */

enum {
    WEIR_BLOCKING = 1, /* callbacks may block: the instance gets a thread of its own */
    WEIR_PARALLEL = 2, /* one thread per worker: self is shared and read-only, h->worker is yours */
    WEIR_KEEPS = 4,    /* sink: OK means on disk, as safe as the core's own buffer: it needs none */
    WEIR_REPLAYS = 8,  /* source: what was not settled it brings again, also after a crash */
    WEIR_IN_ORDER = 16, /* sink: takes a batch as one, in its order: it may hold more than one event of a key; */
                        /* transform: is given events of a key while it keeps others, and keeps their order */
};

typedef struct weir_given { /* host-made: what the command line says */
    uint32_t flags;            /* bit i: flags[i] was there */
    const char *argument;      /* NULL: the command has none */
    const char *const *values; /* [i]: what was given for values[i], NULL: nothing */
} weir_given;

/* A command that a plugin adds to the command line: `weir NAME ACTION [--FLAG ...] [pipeline.yaml]`. It has
 * an instance of its component, not started, and the host's services; what the pipeline file says is there
 * by weir/pipeline.h. The command of a service has one instance with the presets of its options. That of a
 * source, transform or sink runs once for each stage of the component in the pipeline file, with what is
 * written there; all of them run, and the highest exit code counts. One with an `argument` reads no
 * pipeline file and has one instance with the presets. It prints on the standard output. */
typedef struct weir_command {
    size_t size;
    const char *name, *action, *summary;
    const char *details;      /* examples and more, for --help; NULL: none */
    const char *const *flags; /* at most 8, each "check=what it does"; ends with NULL; NULL: none */
    int (*run)(void *self, const weir_host *h, uint32_t given); /* bit i: flags[i]; the exit code */
    const char *argument;      /* "EXPRESSION": it stands in the pipeline file's place; NULL: none */
    const char *const *values; /* options with a value, at most 8: "count=N=how many"; ends with NULL; NULL: none */
    int (*run_given)(void *self, const weir_host *h, const weir_given *given); /* in place of run */
} weir_command;

typedef struct weir_component { /* pull makes it a source, event or batch a transform, write a sink; */
    /* none of them, but offers: a service, which the host makes when a stage needs what it offers */
    const char *name, *version, *summary; /* name is what the pipeline file says; one per role */
    uint32_t flags;
    size_t state_size;        /* the host makes `self`: zeroed, then the options filled in */
    size_t worker_size;       /* WEIR_PARALLEL: and h->worker, zeroed, for each worker */
    const weir_option *options; /* ends with {0} */
    const char *const *ports;   /* names of ports 1, 2, ...; the maps marked ports count on from there */
    const weir_service *const *offers; /* &table.base, ...; both lists end with NULL */

    weir_status (*check)(const void *self, const weir_host *h); /* no effects; for `weir validate` */
    weir_status (*start)(void *self, const weir_host *h);       /* after those that offer what it needs */
    void (*stop)(void *self, const weir_host *h); /* once, if start was OK; nothing is under way */
    weir_status (*worker_start)(void *self, const weir_host *h); /* on each worker, after start */
    void (*worker_stop)(void *self, const weir_host *h);

    weir_status (*pull)(void *self, const weir_host *h, weir_batch *out);            /* source */
    void (*settled)(void *self, const weir_host *h, const weir_settlement *s); /* once a batch */

    weir_status (*event)(void *self, const weir_host *h, weir_event *ev); /* transform: one of the two */
    weir_status (*batch)(void *self, const weir_host *h, const weir_batch *in, weir_batch *out);
    weir_status (*drain)(void *self, const weir_host *h, weir_batch *out); /* what is kept, before stop */

    weir_status (*write)(void *self, const weir_host *h, const weir_batch *batch); /* sink */

    weir_status (*ready)(void *self, const weir_host *h, int fd, int read_write); /* NULL: pull */
    weir_status (*tick)(void *self, const weir_host *h, uint32_t id, weir_batch *out); /* NULL: pull */
    const weir_command *const *commands; /* ends with NULL; NULL: none */
} weir_component;

typedef struct weir_manifest { /* a plugin's one symbol; data, so that reading it runs no code */
    uint32_t abi, manifest_size, component_size, option_size;
    const weir_component *const *components; /* ends with NULL */
} weir_manifest;

#define WEIR_PLUGIN(...) \
    extern const weir_manifest weir_plugin; \
    __attribute__((visibility("default"))) const weir_manifest weir_plugin = { \
        WEIR_ABI_MAJOR << 16 | WEIR_WANT_MINOR, sizeof(weir_manifest), sizeof(weir_component), \
        sizeof(weir_option), (const weir_component *const[]){__VA_ARGS__, NULL}}
