/* pipeline/breaker.h: a circuit breaker: a sink whose every batch fails is left alone, and tried with one
 * event now and then until it works again. Knows nothing of inlets; time is given. One worker's.
 *
 * A batch failed if none of its events was taken or refused: who refuses one event is there to do it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "config/plan.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };

enum breaker_verdict {
    BREAKER_WORKED,
    BREAKER_FAILED,       /* may pass by itself */
    BREAKER_MISCONFIGURED /* the user has to mend it: opens at once, also where it is not enabled */
};

enum { BREAKER_SHARE_BATCHES = 20 }; /* the least in a window that a share is told of */

struct breaker {
    const struct plan_breaker *plan;
    enum breaker_state state;
    uint64_t failed_in_row, worked_in_row;
    struct breaker_half { /* the window is two halves: this one and the one before */
        int64_t number;
        uint32_t batches, failed;
    } halves[2];
    int64_t opened_ns; /* since when it has not been closed */
    int64_t probe_ns;  /* when it is tried next */
    int64_t wait_ns;
};

void breaker_init(struct breaker *b, const struct plan_breaker *plan);
/* May a batch be sent now? Half-open: one event, and no other until it has ended. */
bool breaker_allows(struct breaker *b, int64_t now_ns);
/* What became of a batch. True: it opened, or closed. */
bool breaker_note(struct breaker *b, enum breaker_verdict v, int64_t now_ns);
