/* pipeline/ledger.c: the sums of what became of events, as counters of the journal and as metrics. */
#include "pipeline/ledger.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "pipeline/audit.h"
#include "pipeline/pipeline.h"

const char *const ledger_names[LEDGER_COLUMNS] = {"accepted", "copied",        "redriven",
                                                  "replayed", "repeated",      "delivered",
                                                  "filtered", "dead_lettered", "dropped",
                                                  "returned", "lost"};
static const char *const ledger_help[LEDGER_COLUMNS] = {
    "Events that sources brought, since the data directory was made.",
    "Further branches of events, made by fan-out; what was joined counts down.",
    "Dead letters that were sent back to their stages.",
    "Events that replays brought again from archives.",
    "Branches that are done again from a copy on disk, after a crash or a failure.",
    "Branches that a sink has taken.",
    "Branches that ended on purpose.",
    "Branches that went to the dead letters.",
    "Branches that the pipeline file said to drop.",
    "Branches given back to their source: told failed, or only in memory when a run died.",
    "Branches that were missing and that `weir audit --write-off` took off.",
};

void ledger_begin(struct pipeline *p)
{
    for (int i = 0; i < LEDGER_COLUMNS; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "weir_ledger_%s_total", ledger_names[i]);
        p->ledger_metrics[i] = pipeline_figure(p, WEIR_COUNTER, name, ledger_help[i]);
        (void)snprintf(name, sizeof name, "ledger/%s", ledger_names[i]);
        p->counters[i] = journal_counter(p->journal, name);
        atomic_store(&p->ledger[i], journal_counter_value(p->journal, p->counters[i]));
    }
    p->counters[LEDGER_IN_MEMORY] = journal_counter(p->journal, "ledger/in_memory");
    p->m_in_flight = pipeline_figure(p, WEIR_GAUGE, "weir_ledger_in_flight",
                                     "Branches that wait or are under way, on disk and in memory.");
}

/* What memory alone held when the last run ended is over: it was never told accepted, and its source
 * brings it again; or it came from a record that is still there, and is done again. */
void ledger_end_memory(struct pipeline *p)
{
    int64_t left = journal_counter_value(p->journal, p->counters[LEDGER_IN_MEMORY]);
    int column = left > 0 ? LEDGER_RETURNED : LEDGER_REPEATED;
    int64_t n = left > 0 ? left : -left;
    if (!left)
        return;
    log_write(WEIR_INFO, NULL,
              left > 0
                  ? "%lld branches of events were in memory alone: their sources have them"
                  : "%lld branches of events had ended when the last run died and are done again",
              (long long)n);
    struct journal_unit *u = journal_begin(p->journal);
    unit_count(u, p->counters[column], n);
    unit_count(u, p->counters[LEDGER_IN_MEMORY], -left);
    atomic_fetch_add(&p->ledger[column], n);
    (void)journal_submit_wait(u);
}

void ledger_check(struct pipeline *p)
{
    struct audit a;
    audit_init(&a);
    ledger_end_memory(p);
    audit_read(&a, p->journal);
    for (size_t i = 0; i < a.stage_count; i++) {
        size_t k = 0;
        while (k < p->stage_count && strcmp(p->stages[k]->name, a.stages[i].name) != 0)
            k++;
        if (k < p->stage_count || !a.stages[i].waiting)
            continue;
        log_write(WEIR_WARN, NULL, "%lld events wait for %s, which is not in the pipeline file",
                  (long long)a.stages[i].waiting, a.stages[i].name);
    }
    if (!audit_is_balanced(&a))
        log_write(WEIR_ERROR, NULL,
                  "the ledger does not balance, by %lld: `weir audit` tells where",
                  (long long)a.difference);
    audit_fini(&a);
}

int64_t ledger_in_flight(const int64_t columns[LEDGER_COLUMNS])
{
    int64_t sum = 0;
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        sum += i < LEDGER_DELIVERED ? columns[i] : -columns[i];
    return sum;
}

void ledger_read(struct pipeline *p, int64_t columns[LEDGER_COLUMNS], int64_t *in_flight)
{
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        columns[i] = atomic_load(&p->ledger[i]);
    *in_flight = pipeline_in_flight(p);
}

void ledger_refresh_metrics(struct pipeline *p)
{
    int64_t columns[LEDGER_COLUMNS], in_flight;
    ledger_read(p, columns, &in_flight);
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        metric_set(p->ledger_metrics[i], (double)columns[i]);
    metric_set(p->m_in_flight, (double)in_flight);
}
