/* match/run.h: what a match keeps: nothing is cleared between events, all is stamped with their number
 * (and cleared when these have all been used, after 2^32 events). */
#pragma once
#include "match/set.h"
#include "json/masks.h"

enum { RUN_STEPS_MAX = 1 << 24 }; /* of the search for values that agree, in one event */

struct run_field {
    uint32_t event; /* of the last value */
    uint32_t values, first_true, first_value;
    bool has_framed; /* a value inside an element of an array */
};

/* What became of a few of many numbers in this event. It lies so close together that it stays in the nearest
 * cache however many there are. */
struct run_table {
    struct run_entry {
        uint32_t stamp, number, at; /* free if the stamp is not the table's */
    } * entries;
    uint32_t stamp, mask, count;
};

struct run_cond { /* that was true */
    uint32_t number, to;
    uint32_t next_true;  /* of the same field */
    uint32_t first_mark; /* if it is joined: of the elements that make it true, or of the values */
};

struct run_mark {
    uint32_t number, next; /* of a frame, or of a value */
};

struct run_but {            /* that was vetoed */
    uint32_t value, vetoes; /* value: of the last veto */
    uint32_t first_mark;    /* of the values, where these are kept */
};

struct run_slot { /* a name in an object: seen, and where last */
    uint64_t object;
    const char *key;
};

struct
    run_value { /* kept for fields that share arrays with others and have conditions that are not positive */
    uint32_t next, frame;
    uint32_t vetoes; /* of the condition in hand, those seen so far */
    bool is_true;    /* for the condition in hand */
};

struct run_frame {
    uint32_t parent, array, index, depth, node; /* node: that the array stands at */
};

/* Of the sub in hand: the conditions, as bits, that values in a frame satisfy. */
struct run_mask {
    uint64_t own, below; /* in the frame itself; in it or in frames inside */
    uint32_t first_child, next;
};

enum { RUN_PROBES = 16 };

struct run_probe { /* of the text in hand: what is likely to be in the set */
    struct set_key key;
    uint64_t hash;
    weir_str part;
    uint32_t owner;
};

struct match_ctx {
    const struct match_set *set;
    uint64_t objects;
    uint32_t event, value; /* value: of the event */
    uint32_t frame;        /* that the value in hand lies in */
    bool is_kept;          /* its field is */
    struct run_field *fields;
    struct run_table conds_table, buts_table; /* by their numbers, in: */
    SET_LIST(struct run_cond, conds);
    SET_LIST(struct run_but, buts);
    uint32_t *rules; /* the event that each matched last */
    struct run_slot *slots;
    uint32_t *active_fields, *hits;
    size_t active_field_count, hit_count;
    SET_LIST(struct run_value, values);
    SET_LIST(struct run_mark, marks);
    SET_LIST(struct run_frame, frames);
    SET_LIST(struct run_mask, masks);
    struct run_probe probes[RUN_PROBES];
    unsigned probe_count;
    struct masks_block *blocks; /* of the text in hand */
    size_t blocks_cap;
    uint32_t arrays;
    uint32_t steps;  /* of the search for values that agree, over all subs */
    bool is_careful; /* a second walk, because names come twice: the last one counts */
    bool has_duplicate, has_dotted;
    struct buf text, lower, key; /* scratch */
};

/* run.c */
void run_open(struct run_table *t);
void run_close(struct run_table *t);
void run_clear(struct run_table *t);
void run_put(struct run_table *t, uint32_t number, uint32_t at); /* one that it does not have */

static inline uint32_t run_place(const struct run_table *t, uint32_t number)
{
    return (uint32_t)(number * 0x9E3779B97F4A7C15u >> 32) & t->mask;
}

static inline uint32_t run_get(const struct run_table *t, uint32_t number) /* or SET_NONE */
{
    uint32_t i = run_place(t, number);
    for (; t->entries[i].stamp == t->stamp; i = (i + 1) & t->mask)
        if (t->entries[i].number == number)
            return t->entries[i].at;
    return SET_NONE;
}

static inline struct run_cond *run_cond_of(const struct match_ctx *c, uint32_t number)
{
    uint32_t at = run_get(&c->conds_table, number);
    return at == SET_NONE ? NULL : &c->conds[at];
}

static inline struct run_but *run_but_of(const struct match_ctx *c, uint32_t number)
{
    uint32_t at = run_get(&c->buts_table, number);
    return at == SET_NONE ? NULL : &c->buts[at];
}

/* A text is the value of the name `node`: its fields are tested. False: it is no JSON; without
 * `is_checked` that is only seen in what is named. */
bool scan_value(struct match_ctx *c, weir_str text, uint32_t node, bool is_checked);

weir_str scan_text(struct match_ctx *c, weir_str token); /* of a text; until the next call */

/* One value of a field, in c->frame. */
void feed_value(struct match_ctx *c, uint32_t field, int kind, weir_str text);

/* The rules that follow from what was fed, into c->hits. */
void verdict_collect(struct match_ctx *c);
/* Can values be chosen that lie in the same elements of arrays? */
bool frames_agree(struct match_ctx *c, const struct set_sub *sub);
