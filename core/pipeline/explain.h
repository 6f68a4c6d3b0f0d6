/* pipeline/explain.h: why the rules of a stage, or a reader's `where`, match an event: in its trace.
 *
 * Each is a line of the kind TRACE_RULE, whose detail is what match_explain_brief writes; {"more": 9}
 * stands for the rules beyond the first. Of the events of a second each worker explains the first
 * `trace.explain`, and none that is large: the others cost a comparison. */
#pragma once
#include "match/match.h"
#include "pipeline/stage.h"

struct worker;

/* Is this event to be explained? Each true counts. */
bool explain_may(struct worker *w, const weir_event *ev);

struct explained {
    const struct match_set *set;
    const weir_str *names; /* of the patterns */
    const uint32_t *hits;  /* those that match, ascending */
    size_t count;
};
void explain_rules(struct worker *w, struct stage *s, const struct explained *of,
                   const struct event *ev);
void explain_where(struct worker *w, const struct edge *e,
                   const struct event *ev); /* it does not match */
