/* journal/inspect_walk.h: what looking at a journal's files and repairing them share. */
#pragma once
#include "journal/inspect.h"
#include "journal/internal.h"
#include "journal/window.h"

struct inspect_bad { /* bytes that no record covers which checks */
    uint32_t from, to;
};

struct inspection {
    struct journal *j;
    const struct inspect *as;
    void (*visit)(struct inspection *in, struct segment *g, uint32_t at, const struct record *r);
    struct inspect_report report;
    struct inspect_repaired *repaired;
    uint64_t done_bytes, told_bytes, total_bytes;
    uint32_t named;
    bool is_stopped;
    int error; /* of a repair; negative errno */
};

typedef void inspect_missing_fn(struct inspection *in, struct stream *s, uint64_t sequence,
                                struct segment *g);

void inspect_tell(struct inspection *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void inspect_each_segment(struct inspection *in, void (*fn)(struct inspection *, struct segment *));
/* Visits each record below the segment's end; what lies between them is returned, to be freed. */
struct inspect_bad *inspect_walk(struct inspection *in, struct segment *g, uint32_t *count);
/* Calls fn, under the lock, for each live record whose place is not known after segment_load. */
uint64_t inspect_missing(struct inspection *in, struct segment *g, inspect_missing_fn *fn);
bool inspect_header_is_good(struct inspection *in, const struct segment *g, bool is_second);
bool inspect_is_same(struct inspection *in, const struct segment *g); /* not recycled since */
