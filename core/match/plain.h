/* match/plain.h: the plain matcher's parts that explain uses as well. */
#pragma once
#include "match/pattern.h"

struct plain_leaf {
    weir_str text, token; /* token: as it stands in the event */
    int kind;
    uint32_t frame, path; /* path: its number among those of the pattern */
};

/* A frame is one element, itself an array or an object, of an array: values of different paths go
 * together if, where their frames part, they do not part in elements of the same array. */
struct plain_frame {
    uint32_t parent, array, index, depth;
};

/* What the paths of a pattern find in an event; no other value is kept. */
struct plain_event {
    struct arena arena;
    const weir_str *paths;      /* sorted */
    size_t *starts;             /* of the leaves of each path; one more than there are paths */
    struct plain_leaf *leaves;  /* by path, then as they stand in the event */
    struct plain_frame *frames; /* the first is the event itself */
    size_t path_count, leaf_count, leaf_cap, frame_count, frame_cap;
    uint32_t arrays;
    uint64_t steps, steps_max;
    bool is_cut; /* it would have taken more steps: what did not match may do so */
};

enum { PLAIN_STEPS_MAX = 20000000 };

/* json: passed json_check; both are borrowed. */
void plain_init(struct plain_event *ev, weir_str json, const struct pattern *p, uint64_t steps_max);
void plain_fini(struct plain_event *ev);
bool plain_matches(struct plain_event *ev, const struct pattern *p);
/* The leaves of a list's path. */
const struct plain_leaf *plain_leaves(const struct plain_event *ev, const struct pattern_list *list,
                                      size_t *count);
/* One of them alone satisfies the list, or it takes that there are none. */
bool plain_is_satisfied(struct plain_event *ev, const struct pattern_list *list);
/* How many lists of the sub, in the order of paths, can be satisfied together. */
size_t plain_reach(struct plain_event *ev, const struct pattern_sub *sub);
