/* pipeline/ledger.h: the sums of what became of events since the data directory was made.
 *
 * accepted + copied + redriven + replayed + repeated = delivered + filtered + dead-lettered + dropped +
 * returned + lost + in flight. The sums are counters of the journal, and each changes in the unit that
 * holds what it stands for (commit.h): so every unit balances by itself. */
#pragma once
#include <stdint.h>

struct pipeline;

/* The columns of the ledger: what comes before LEDGER_DELIVERED = the rest + what is in flight. */
enum {
    LEDGER_ACCEPTED,
    LEDGER_COPIED,   /* further branches made by fan-out */
    LEDGER_REDRIVEN, /* dead letters sent back to their stages */
    LEDGER_REPLAYED, /* brought again from archives */
    LEDGER_REPEATED, /* done again from a copy on disk, after a crash or a failure */
    LEDGER_DELIVERED,
    LEDGER_FILTERED,
    LEDGER_DEAD_LETTERED,
    LEDGER_DROPPED,
    LEDGER_RETURNED, /* told failed, or in memory alone when a run died: their source has them */
    LEDGER_LOST,     /* missing, and written off by the user */
    LEDGER_COLUMNS,
    /* Of the journal alone: what memory holds besides the records of the stages' streams. Negative where
     * records are under way again and something of them has ended. */
    LEDGER_IN_MEMORY = LEDGER_COLUMNS,
    LEDGER_ALL,
};

extern const char *const ledger_names[LEDGER_COLUMNS];

/* Finds the counters in the journal. */
void ledger_begin(struct pipeline *p);
/* What memory alone holds, of this run or the last, is over: its sources have it. */
void ledger_end_memory(struct pipeline *p);
/* Before anything is under way: ends the last run's memory, and tells what does not balance or waits for
 * no stage of the file. */
void ledger_check(struct pipeline *p);
int64_t ledger_in_flight(const int64_t columns[LEDGER_COLUMNS]); /* by the columns */
/* *in_flight: by what waits and is under way. Read one after another, so they agree when nothing moves. */
void ledger_read(struct pipeline *p, int64_t columns[LEDGER_COLUMNS], int64_t *in_flight);
void ledger_refresh_metrics(struct pipeline *p);
