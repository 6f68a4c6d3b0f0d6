/* pipeline/park.h: a durable copy of an event that a transform keeps or that waits for a retry, so that
 * its source need not wait. Belongs to the worker of the transform's lane. */
#pragma once
#include "pipeline/inlet.h"

/* Starts to put the event into the stage's stream, if its source waits for the disk. */
void park_event(struct worker *w, struct inlet *inlet, struct event *ev);
/* The event's work is over (it was passed on, marked, ended): its copy may go. */
void park_end(struct event *ev);
/* Another shell of the same event is what the stage will get. */
void park_move(struct event *from, struct event *to);
/* Posts the task once the event's copy is not on its way to the disk any more: then another worker may
 * have the event. */
void park_then(struct event *ev, struct loop *loop, struct loop_task *task);
/* The runner stops: the copy answers for the event, once it is on disk. */
void park_abandon(struct event *ev);
struct slot *park_event_slot(const struct park *p);        /* NULL: it is not kept any more */
void park_set_sequence(struct park *p, uint64_t sequence); /* on the journal's driver */
void park_synced(struct worker *w, struct park *p, weir_status s); /* on the worker */
/* A slot for a record of a stage's stream: acknowledged when the last branch ends. */
struct slot *park_slot(struct inlet *inlet, uint64_t sequence, const struct event *ev);
/* Is it the slot of a record of the inlet's stream? And then: nothing more is done about it in this run, the
 * record stays as it is. */
bool park_is_record(const struct slot *s, const struct inlet *inlet);
void park_leave(struct slot *s);
