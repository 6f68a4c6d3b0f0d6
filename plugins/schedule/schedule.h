/* schedule/schedule.h: the stage: its options, its schedules and how far each of them has run. */
#pragma once
#include <limits.h>

#include <weir/pipeline.h>
#include <weir/window.h>

#include "expression.h"

enum { SCHEDULES_MAX = 1000, MISSED_MAX = 10000, GRACE_S = 60 /* later than this is missed */ };
enum missed { MISSED_ONCE, MISSED_ALL, MISSED_SKIP };
#define SECOND_NS INT64_C(1000000000)

struct item { /* one schedule, as in the pipeline file */
    const char *expression, *timezone, *start, *end, *source, *type;
    weir_duration flexible_window;
    weir_json input;
    bool enabled;
};

struct run { /* one schedule, running */
    const char *name;
    struct item item;
    struct expression expression;
    const struct zone *zone;
    uint32_t port;
    uint64_t meaning; /* hash of what the times depend on: a change of it begins anew */
    bool has_start, has_end;
    int64_t start_s, end_s; /* no run before, none from then on */
    int64_t anchor_s;       /* a time that a rate runs at */
    int64_t last_s;         /* the scheduled time up to which all is done */
    int64_t next_s;         /* the next, if there is one */
    bool has_next;
    bool is_out;      /* its event is under way */
    int64_t again_ns; /* not before then */
    weir_str resources;
};

struct schedule {
    const char *expression, *timezone, *start, *end, *source, *type, *position;
    weir_duration flexible_window;
    weir_json input;
    weir_map schedules;
    int missed;
    weir_duration max_missed_age;
    int64_t max_missed;
    const weir_pipeline *pipeline;
    const weir_windows *windows;

    struct run *runs; /* of those that are enabled */
    size_t count, turn;
    weir_window *done; /* runs whose event is safe */
    char position_path[PATH_MAX];
    bool is_unsaved;
    int64_t saved_ns;
    weir_metric *ran, *failed, *left_out;
};

/* ---- runs.c: what the file says of each, and when it runs ---- */

struct trouble { /* with an option */
    const void *member;
    struct expression_error error;
};

size_t runs_all(const struct schedule *s); /* how many the file has */
/* Reads the i-th; true, or what is wrong. Memory comes from where the zones have theirs. */
bool runs_read(const struct schedule *s, size_t i, struct zones *zones, struct run *r,
               struct trouble *why);
/* All that are enabled, as they stand at now_s. */
bool runs_prepare(struct schedule *s, struct zones *zones, int64_t now_s, struct trouble *why);
/* The first of its times after this one, within start and end. */
bool runs_next(const struct run *r, int64_t after_s, int64_t *next_s);
void runs_advance(struct run *r); /* looks for the next after last_s */
/* When a run is due: somewhere in its window, each time at the same place. */
int64_t runs_due_ns(const struct run *r, int64_t run_s);
/* A UUID of version 7 that is the same each time. */
void runs_id(const struct run *r, const char *stage, char text[40]);
/* Leaves out what was missed and is not to be made up for; how many, at most RUNS_COUNT_MAX. */
enum { RUNS_COUNT_MAX = 100000 };
size_t runs_pass_over(const struct schedule *s, struct run *r, int64_t now_s);

/* ---- position.c: the file that keeps last_s and anchor_s of each ---- */

bool position_place(struct schedule *s, const weir_host *h); /* false: the path is too long */
void position_load(struct schedule *s, const weir_host *h);
/* False: the text is no position; what was read so far stays. */
bool position_read(weir_str text, struct run *runs, size_t count);
void position_save(struct schedule *s, const weir_host *h);

/* ---- commands.c: weir schedule next and list ---- */

extern const weir_command *const schedule_commands[];
