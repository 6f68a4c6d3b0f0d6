/* pipeline/adaptive.h: how many batches a sink is given at once, learnt from how it answers. Knows
 * nothing of inlets; time is given. One worker's.
 *
 * The limit begins at its minimum and is looked at once a round: the time it takes to send and
 * answer as many batches as the limit allows. While answers come nearly as fast as from the unloaded
 * sink it grows: doubling until it was too much for the first time, by one from then on. Where they take
 * much longer than that, what is under way waits inside of the sink, and the limit falls in proportion.
 * A batch that failed and may work later (429, 503, no answer) cuts it by a third, once for all batches
 * that were under way together. It grows only if one more batch could have been sent in the round.
 *
 * What takes less than 5 ms counts as 5 ms: the runner's own rounds are in it, and a sink that is so fast
 * needs no sparing.
 *
 * How fast the unloaded sink is changes as well. It is measured whenever the limit is at its minimum,
 * and twice a minute for one round at half the limit. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adaptive {
    size_t min, max;
    double limit;
    bool is_rising;       /* doubling: nothing was too much yet */
    bool is_wanted;       /* this round: one more could have been sent */
    bool is_trial;        /* this round measures the sink at half the limit: */
    double untried;       /* that it has again afterwards */
    unsigned slow_rounds; /* in a row: one alone may be chance */
    int64_t base_ns, trial_due_ns;
    int64_t round_ns, cut_ns; /* when they began, and when the last cut was */
    size_t count;             /* batches of this round that were answered, */
    int64_t sum_ns;           /* and how long they took in all */
};

void adaptive_init(struct adaptive *a, size_t min, size_t max);
/* Other bounds: what is known stays. */
void adaptive_set_bounds(struct adaptive *a, size_t min, size_t max);
size_t adaptive_limit(const struct adaptive *a);
/* A batch is ready, and the limit forbids to send it. */
void adaptive_want(struct adaptive *a);
/* A batch that was sent at `begun_ns` has been answered. True: the limit is another. */
bool adaptive_note(struct adaptive *a, int64_t begun_ns, int64_t now_ns, bool is_overloaded);
