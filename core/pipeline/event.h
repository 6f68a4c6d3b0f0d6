/* pipeline/event.h: events as the core has them, and the blocks of memory that they live in.
 *
 * A block holds the shells and strings of the events that were born or passed on together. Only the
 * worker that made it adds to it; anybody who holds an event holds a reference to its block. */
#pragma once
#include "pipeline/payload.h"

struct slot;
struct park;
struct weir_claim;
struct block;
struct worker;

struct event {
    weir_event pub;    /* first */
    struct slot *slot; /* what its fate is told to; NULL: nobody */
    struct park *park; /* a copy of it is being put on disk while a stage keeps it */
    struct line *line; /* of its key, at the transform that has it; NULL: none */
    struct block *block;
    struct weir_claim *claims; /* of a source's: until it has its slot */
    struct event *next_in_block;
    uint32_t port_count, port_cap;
    uint32_t *ports; /* named by to(); none: port 0 */
    uint32_t few_ports[2];
    uint32_t attempts;       /* of the transform that has it */
    int64_t first_failed_ns; /* wall */
    uint8_t is_marked;       /* its verdict was given */
    uint8_t is_passed;       /* something descends from it */
    uint8_t is_told;         /* that it waits for another: once in its trace */
};

static inline struct event *event_of(const weir_event *ev)
{
    union {
        const weir_event *in;
        struct event *out;
    } same = {ev};
    return same.out;
}

struct block *block_new(struct worker *w);
void block_ref(struct block *b);
void block_unref(struct block *b);
struct worker *block_owner(const struct block *b);
struct budget *block_budget(const struct block *b);
void block_hold(struct block *b, struct block *other); /* other lives as long as b */
void *block_take(struct block *b, size_t n);           /* aligned to 16, not zeroed */
weir_str block_text(struct block *b, weir_str s);

struct event *event_new(struct block *b, weir_payload *take);        /* all else zero */
struct event *event_copy(struct block *b, const struct event *from); /* shares body and strings */
struct event *event_own(struct block *b, const struct event *from);  /* shares the body alone */
/* Another shell of the same event is what its stage goes on with. Its copy on disk: park_move. */
void event_move(struct event *from, struct event *to);
void event_add_port(struct event *ev, uint32_t port);

/* Block pools, one per worker: empty blocks, and chunks of their memory by size. */
enum { EVENT_CHUNK_CLASSES = 9 }; /* from 1 KiB on, each twice the one before: up to 256 KiB */
struct chunk;
struct block_pool {
    struct budget *budget; /* of the pipeline; set by the first block */
    struct block *free;
    struct chunk *chunks[EVENT_CHUNK_CLASSES];
    size_t count, bytes;
};
void block_pool_trim(struct block_pool *p); /* gives all of it back */
