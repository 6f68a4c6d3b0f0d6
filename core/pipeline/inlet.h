/* pipeline/inlet.h: what waits in front of a stage: its buffer, on disk or in memory, batches under way,
 * retries with backoff and full jitter, and at the end the dead letters. The same for every stage.
 *
 * A sink gets all its events through its inlet. A transform is called in line; only what it could not do
 * now waits here, and the copies of what it keeps (park.h). Events arrive from any thread; everything
 * else happens on the inlet's worker. */
#pragma once
#include "pipeline/lane.h"
#include "pipeline/stage.h"
#include "pipeline/worker.h"

struct inlet;

struct inlet *inlet_new(struct stage *s, struct lane *home, bool is_durable);
int inlet_open(struct inlet *in, struct error *e); /* its stream; finds what an earlier run left */
void inlet_free(struct inlet *in);
struct stream *inlet_stream(const struct inlet *in);
uint32_t inlet_counter(
    const struct inlet *in); /* of the journal: records of the stream that ended */
struct inlet *const *inlet_link(struct inlet *in); /* a list of it alone, that lives as long */
struct worker *inlet_worker(const struct inlet *in);
bool inlet_is_durable(const struct inlet *in);
void inlet_start(struct inlet *in); /* its worker's thread: begin to deliver */

/* Any thread: so many events more (or fewer) are on their way into its stream. */
void inlet_coming(struct inlet *in, int64_t n);
void inlet_wake(struct inlet *in); /* any thread: something arrived */
/* A batch for a sink without a durable buffer: one branch of each slot comes along. Any worker. */
void inlet_push(struct inlet *in, struct worker *w, struct batch *take);
/* Events that are in the stream now. On the journal's driver, in order. */
struct arrival {
    struct event *ev;
    struct slot *slot; /* a branch, or NULL */
    uint64_t sequence;
};
void inlet_arrive(struct inlet *in, const struct arrival *all, size_t n);

/* The stage could not do this event now (RETRY, CONFIG), or never (REJECT). One branch comes along. */
void inlet_fail(struct inlet *in, struct worker *w, struct event *ev, weir_status s,
                const char *why);

/* inlet_gate.c: order among events of one key at a transform, on whatever worker it runs. An event that
 * the stage keeps, or that failed and will be tried again, has a line; later ones of its key stand in it. */
/* False: the event stands in its key's line and is the inlet's from now on. `is_again`: it came from
 * there, or from disk. */
bool inlet_gate_pass(struct inlet *in, struct worker *w, struct event *ev, bool is_again);
/* Takes out those that have to stand in line. What it returns, unless NULL, has the second and further ones
 * of each key, if the stage takes one at a time: it is for later. */
struct batch *inlet_gate_turns(struct inlet *in, struct worker *w, struct batch *b, bool is_again);
void inlet_gate_keep(struct inlet *in, struct event *ev); /* its key has a line from now on */
/* The event's time with the stage is over: with the end of the worker's round the next one may go. */
void inlet_gate_leave(struct inlet *in, struct worker *w, struct line *l);
void inlet_gate_round(
    struct worker *w); /* after what the round gathered is on its way to the disk */

/* On its worker: a record of a transform's stream is on its way again, and what became of it. */
void inlet_take(struct inlet *in);
void inlet_record_left(struct inlet *in); /* it stays as it is */
void inlet_record_ended(struct inlet *in, uint64_t sequence);
/* What was made of it could not be kept: it is done again. `key`: the hash of its event's, or NULL. */
void inlet_record_failed(struct inlet *in, uint64_t sequence, const uint64_t *key);

/* A sink's callback ended or will end (done): what became of the batch. */
void inlet_mark(struct inlet *in, struct batch *b, size_t i, weir_status s, const char *why);
void inlet_done(struct inlet *in, struct batch *b, weir_status s, const char *why);

/* inlet_reload.c: how an inlet outlives the instance behind it. Main thread, while the workers pause,
 * unless said otherwise. */
/* A task of the inlet's that came to a worker which it has left: posted anew where it belongs. */
bool inlet_is_elsewhere(const struct inlet *in, struct loop_task *t);
void inlet_set_durable(struct inlet *in, bool is_durable);
/* From now on this instance gets what is there, with the limits that its stage has in the file. */
void inlet_adopt(struct inlet *in, struct stage *s, struct lane *l);
void inlet_hold(struct inlet *in, bool is_held); /* any thread: nothing more is sent */
uint64_t inlet_flying(const struct inlet *in);   /* any thread: batches under way */
/* The stage is not in the file any more. What is on disk stays there; the rest is delivered. */
void inlet_release(struct inlet *in);
void inlet_let_go(
    struct inlet *in);            /* then, on its worker: what was read from the disk is dropped */
void inlet_end(struct inlet *in); /* on its worker: it is quiet and stays so */
void inlet_give_back(struct inlet *in);      /* on its worker: memory kept for reuse */
bool inlet_is_quiet(const struct inlet *in); /* on its worker: nothing refers to it any more */
bool inlet_is_of(const struct inlet *in, const struct stage *s); /* the latest that it serves */
struct inlet *inlet_ref(struct inlet *in); /* main thread; inlet_free is the other half */

/* Any thread: the stage asks to be left alone, as with Retry-After; at most an hour. */
void inlet_pause(struct inlet *in, int64_t after_ns);
void inlet_abandon(struct inlet *in); /* the runner stops: branches that only memory holds fail */
bool inlet_is_full(const struct inlet *in);  /* any thread: pause those that feed it */
bool inlet_is_idle(struct inlet *in);        /* nothing under way or ready; retries may wait */
bool inlet_is_empty(const struct inlet *in); /* any thread: not even a record on disk */
/* Any thread: events in the buffer; without records that are on their way, and counted there. */
int64_t inlet_waiting(const struct inlet *in);
uint64_t inlet_in_memory(const struct inlet *in); /* those that only memory holds */
