/* config/plan.h: the pipeline file as stages and edges, checked: what validate accepts is what runs. */
#pragma once
#include "config/config.h"

enum role { ROLE_SOURCE, ROLE_TRANSFORM, ROLE_SINK, ROLE_SERVICE };

enum { BUFFER_AUTO, BUFFER_MEMORY, BUFFER_DURABLE };
enum { FULL_BLOCK, FULL_DROP_OLDEST, FULL_DEAD_LETTER };
enum { FAILURE_DEAD_LETTER, FAILURE_BLOCK, FAILURE_DROP };

struct plan_buffer {
    int type; /* auto|memory|durable */
    int64_t max_events;
    weir_size max_bytes;
    int when_full; /* block|drop_oldest|dead_letter */
};
struct plan_batch {
    int64_t max_events;
    weir_size max_bytes;
    weir_duration max_wait;
};
enum { PLAN_TRANSFORM_ATTEMPTS = 5 }; /* where the file does not say */
struct plan_retry {
    int64_t max_attempts;
    weir_duration max_age, backoff, backoff_max;
};
struct plan_breaker {
    bool enabled;
    int64_t failures;
    double share;
    weir_duration window, probe_after, probe_max;
    int64_t successes;
};
struct plan_fallback {
    const char *to; /* the sink that gets what would be a dead letter, */
    weir_duration
        after; /* and what waits when the breaker has been open for so long; 0: not that */
};
struct plan_concurrency {
    const char *limit; /* a number or adaptive; NULL: adaptive */
    int64_t min, max;
};
struct plan_delivery { /* the blocks that the core gives every transform and sink */
    weir_block buffer, batch, retry, breaker; /* never NULL after plan_new: presets */
    weir_block concurrency;                   /* never NULL */
    int64_t flights;  /* batches under way at once; 0: the stage's own choice, */
    bool is_adaptive; /* or by what the sink shows, between these: */
    int64_t flights_min, flights_max;
    const char *rate;        /* as in the file: 100/s */
    double rate_per_s;       /* of events; 0: no limit */
    int64_t burst;           /* events at once; 0: those of a second */
    const char *dead_letter; /* name of the stream; preset "dead-letters" */
    int on_failure;          /* dead_letter|block|drop */
    weir_block fallback;     /* sink: or NULL */
};

struct plan_stage;

struct plan_edge { /* one input of a stage */
    struct plan_stage *from, *to;
    uint32_t port;   /* of from; PLAN_PORT_FAILED is the core's own */
    weir_json where; /* an event pattern or empty */
    const struct node *where_node, *node;
};
#define PLAN_PORT_FAILED UINT32_MAX

struct plan_reads { /* a file that a stage reads, as it was when the stage was checked */
    const char *path;
    uint64_t hash; /* of its content; 0: it cannot be read */
};

struct plan_stage {
    const char *name;
    enum role role;
    const char *plugin; /* the component's name */
    const weir_component *component;
    struct node *node; /* its map in the file */
    struct node *name_node;
    void *state;           /* component->state_size bytes, options filled in */
    struct places *places; /* of the state */
    struct plan_delivery delivery;
    const char *key;    /* source: path of what orders its events, or NULL */
    const char *result; /* source: "process_user": what respond: result answers with */
    size_t input_count;
    struct plan_edge *inputs;
    size_t port_count;        /* named ports, port 0 not counted */
    const char *const *ports; /* names of ports 1, 2, ... */
    size_t index;             /* in plan->stages */
    struct plan_reads *files; /* told by the stage's check; in the document's arena */
    size_t file_count;
    bool is_sound; /* its own options are whole, whatever else is wrong in the file */
};

enum { ENDPOINT_EMBEDDED, ENDPOINT_AWS, ENDPOINT_URL };

struct plan_settings {    /* the keys beside the stages */
    const char *data_dir; /* from the pipeline file's folder on */
    struct {
        int endpoint_kind;
        const char *endpoint, *region, *account;
        bool is_region_written;
    } aws;
    const char *admin;   /* listen address; "off" */
    int64_t workers;     /* 0: one per CPU */
    weir_size memory;    /* the budget for events */
    weir_duration drain; /* deadline of a stop */
    weir_size journal_max;
    enum plan_durability { DURABILITY_FSYNC, DURABILITY_INTERVAL, DURABILITY_OS } durability;
    weir_duration sync_every; /* DURABILITY_INTERVAL */
    bool trace;               /* keep where each event went */
    weir_size trace_max;
    int64_t trace_explain; /* so many events a second, of each worker, are traced with why */
    weir_strings plugin_dirs;
};

struct plan {
    struct document *document;
    struct plan_settings settings;
    size_t stage_count;
    struct plan_stage **stages; /* in the order of the data: a stage comes after what it reads */
};

/* Finds the component of this name and role; on failure the reason (told at the `plugin:` key). */
struct plan_components {
    const weir_component *(*find)(void *user, const char *name, enum role role, struct error *e);
    const char *const *(*names)(void *user,
                                enum role role); /* for "did you mean"; ends with NULL */
    struct option_services services;
    void *user;
    /* The component that offers a service to stages without being one; NULL: none. May be NULL. */
    const weir_component *(*offerer)(void *user, const char *service);
};

/* Builds and checks everything that needs no start: grammar, components, options, inputs, ports, rings,
 * an endpoint that a plugin cannot go to; unread ports and stages are warnings. What stages need and
 * no stage offers becomes a stage of its own: ROLE_SERVICE, not in the file. It runs only if
 * document_errors says 0; with errors it still has the stages that could be read, so that the caller's
 * component checks join the same list. */
struct plan *plan_new(struct document *d, const struct plan_components *c);
void plan_free(struct plan *p);             /* not the document */
const char *plan_role_name(enum role role); /* "source" */
/* The stage reads this file: a change of it is a change of the stage. Once for each path. */
void plan_stage_reads(const struct plan *p, struct plan_stage *s, const char *path);
uint64_t plan_hash(const struct plan *p); /* of the file as it was read, and what its stages read */
struct plan_stage *plan_find(const struct plan *p, const char *name);

/* The core's own tables, for the manual and the schema. */
extern const weir_option plan_settings_options[], plan_delivery_options[];
/* The JSON Schema of the whole file (editors); components by role as given. */
void plan_print_schema(const weir_component *const *components, struct buf *out);

enum { GRAPH_TEXT, GRAPH_DOT, GRAPH_MERMAID };
void plan_print_graph(const struct plan *p, int format, struct buf *out);
