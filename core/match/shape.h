/* match/shape.h: input paths and input transformers: the one shaping language. */
#pragma once
#include "base/error.h"
#include "match/match.h"

struct shape;

enum shape_culprit { SHAPE_PATH, SHAPE_PATHS, SHAPE_TEMPLATE };
struct shape_fault {
    enum shape_culprit which;
    size_t at; /* byte of the path or the template */
};

/* `path` ("$.detail.user") or `paths` and `text` (the template); NULL and count 0 where absent. Neither:
 * the whole envelope. NULL with the reason and *fault (may be NULL). */
struct shape *shape_new(const struct match_env *env, const char *path, const weir_pairs *paths,
                        const char *text, struct error *e, struct shape_fault *fault);
/* The same for every event. A JSON string is what it holds: JSON text, as Input is in AWS. */
struct shape *shape_constant(weir_str json, struct error *e);
void shape_free(struct shape *s);
/* Writes the shaped event. `rule` fills <aws.events.rule-name> and <aws.events.rule-arn>;
 * now_ns fills the ingestion time. Any thread. */
void shape_apply(const struct shape *s, const weir_event *ev, const char *rule, int64_t now_ns,
                 struct buf *out);
