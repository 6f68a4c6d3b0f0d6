/* pipeline/commit.h: what a worker's round puts on disk, as one unit: events into the streams of the
 * stages that are to get them, dead letters, messages; and who is told when it is there. */
#pragma once
#include "pipeline/inlet.h"
#include "pipeline/stage.h"
#include "pipeline/worker.h"

enum { COMMIT_STREAMS_MAX = 64 }; /* that one put may go to */

/* One branch of the event's slot is the commit's from now on. With k inlets the event is stored once;
 * each gets it when it is on disk. */
void commit_put(struct worker *w, struct inlet *const *inlets, size_t k, struct event *ev);
/* The same for one inlet of any stage. */
void commit_put_one(struct worker *w, struct inlet *inlet, struct event *ev);
/* A copy for a stage that keeps the event: see park in inlet.h. The slot's branch stays the caller's. */
void commit_park(struct worker *w, struct inlet *inlet, struct park *park, const struct event *ev);
/* The unit that this round's puts go to, to add to it. */
struct journal_unit *commit_unit(struct worker *w);
/* A copy into an archive: a branch of the event's slot of its own, which ends when it is on disk. */
struct archive;
void commit_store(struct worker *w, struct archive *a, struct event *ev);
/* The slot's branch is safe with the unit, by a message or the like: its keys may go with it. */
void commit_cover(struct worker *w, struct slot *slot);
/* The slot of a record ended: its keys with the acknowledgement, or given back. */
void commit_claims(struct worker *w, struct slot *slot, bool is_kept);
/* fn(arg, status) on this worker once the unit is on disk, or is not. */
void commit_then(struct worker *w, void (*fn)(void *arg, weir_status s), void *arg);
/* Acknowledges records of a stage's stream: rides along with the next group. The branches that waited
 * there have ended with `column` of the ledger; LEDGER_IN_MEMORY: what descends from them goes on. */
void commit_ack(struct worker *w, struct inlet *in, uint64_t first, uint64_t count, int column);
/* The ledger of what this round's unit does: is counted if it is on disk, and only then. */
void commit_count(struct worker *w, int column, int64_t n);
void commit_submit(struct worker *w); /* at the end of a round */
void commit_trim(struct worker *w);
