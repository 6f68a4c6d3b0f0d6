/* match/plain.h: the plain matcher's parts that explain uses as well. */
#pragma once
#include "match/pattern.h"

struct plain_leaf {
    weir_str path, text, token; /* token: as it stands in the event */
    int kind;
    uint32_t frame;
};

/* A frame is one element, itself an array or an object, of an array: values of different paths go
 * together if, where their frames part, they do not part in elements of the same array. */
struct plain_frame {
    uint32_t parent, array, index, depth;
};

struct plain_event {
    struct arena arena;
    struct plain_leaf *leaves;
    struct plain_frame *frames; /* the first is the event itself */
    size_t leaf_count, leaf_cap, frame_count, frame_cap;
    uint32_t arrays;
};

void plain_init(struct plain_event *ev, weir_str json); /* json: passed json_check; borrowed */
void plain_fini(struct plain_event *ev);
bool plain_matches(const struct plain_event *ev, const struct pattern *p);
/* How many lists of the sub, in the order of paths, can be satisfied together. */
size_t plain_reach(const struct plain_event *ev, const struct pattern_sub *sub);
