/* pipeline/batch.h: batches of events. A view holds references to its blocks, not to slots: who
 * handles an event of a batch owns one branch of its slot, and hands it on or ends it. */
#pragma once
#include "pipeline/event.h"

struct lane;
struct stage;

struct batch {
    weir_batch pub; /* first; pub.events is events */
    struct event **events;
    size_t cap;
    struct budget *budget; /* that the places are charged to; set with the first */
    struct block *block;   /* that new events of this batch go to */
    struct batch *next;
    struct lane *lane;     /* the instance that has it in hand or keeps it */
    struct flight *flight; /* of a sink's delivery */
    size_t marked;
    bool is_shared;    /* its shells are other batches' too */
    bool has_ports;    /* some event names a port */
    bool is_kept;      /* PENDING */
    bool is_done;      /* done or bind was called */
    bool is_abandoned; /* the runner stops: what its stage says of it is not heard any more */
    bool has_orphans;  /* events added that descend from nothing yet */
    bool is_short;     /* memory was refused while it was filled */
    weir_status done_status;
    struct batch *next_kept, **link_kept; /* of the lane */
    struct batch *bound; /* kept batches that settle as this one does, by next_bound */
    struct batch *next_bound;
};

static inline struct batch *batch_of(const weir_batch *b)
{
    union {
        const weir_batch *in;
        struct batch *out;
    } same = {b};
    return same.out;
}

struct batch *batch_new(struct worker *w); /* from the worker's free list; no block */
struct batch *batch_with_block(struct worker *w, struct block *b); /* takes a reference to b */
void batch_add(struct batch *b, struct event *ev);                 /* holds the event's block */
void batch_free(struct batch *b);                                  /* on any worker */
void batch_delete(struct batch *b);                                /* for pools alone */
