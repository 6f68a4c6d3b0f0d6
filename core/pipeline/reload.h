/* pipeline/reload.h: another pipeline file for a pipeline that runs.
 *
 * Stages that are the same in both files stay as they are, with all their state. The others are made
 * and started beside the old ones while the workers pause, then the edges are changed, all at once;
 * what the old instances have in hand they finish, then they are stopped. If anything fails before that
 * moment, nothing has changed. Main thread, which calls reload_step and pipeline_tick until it is over. */
#pragma once
#include "pipeline/pipeline.h"

struct reload_counts {
    size_t added, removed, changed, unchanged;
};

/* Takes the plan, its services and the duty to call release(user) when they are not needed any more,
 * also when it fails. -1 with the reason: refused; a setting that needs a restart is a diagnostic of the
 * plan's document. One at a time. */
int reload_begin(struct pipeline *p, struct plan *take, struct service_tables *services,
                 void (*release)(void *user), void *user, struct error *e);
enum { RELOAD_WAITS, RELOAD_DONE, RELOAD_REFUSED };
/* Waits: call again soon. Refused: the old graph goes on, *e and the document say why. */
int reload_step(struct pipeline *p, struct error *e);
bool reload_is_on(const struct pipeline *p);
/* Old instances that have not finished yet. */
bool reload_is_retiring(const struct pipeline *p);
/* Of the last one that was done: what it changed, as JSON members ("added":["x"],"removed":[]...) and as
 * text ("1 added (x), 6 unchanged"). */
const struct reload_counts *reload_counts(const struct pipeline *p);
void reload_print_changes(const struct pipeline *p, struct buf *json, struct buf *text);

/* A stage of this name is in the file, or one that was has not finished yet. */
bool reload_has_stage(const struct pipeline *p, const char *name);

/* For pipeline.c. */
struct reloads *reloads_new(struct pipeline *p);
void reloads_open(struct reloads *r); /* the journal is open and the graph is made */
void reloads_tick(struct reloads *r);
bool reloads_are_settled(const struct reloads *r); /* old instances have told their sources all */
int64_t reloads_in_flight(struct reloads *r);      /* of stages that are not in the file any more */
void reloads_give_back(struct reloads *r); /* the runner stops: old instances stop with the rest */
void reloads_free(struct reloads *r);
