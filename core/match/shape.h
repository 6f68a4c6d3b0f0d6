/* match/shape.h: input paths and input transformers: the one shaping language. */
#pragma once
#include "base/error.h"
#include "match/match.h"

struct shape;

/* `path` ("$.detail.user") or `paths` and `text` (the template); NULL and count 0 where absent. Neither:
 * the whole envelope. NULL with the reason; *which tells the culprit: 0 path, 1 paths, 2 template. */
struct shape *shape_new(const struct match_env *env, const char *path, const weir_pairs *paths,
                        const char *text, struct error *e, int *which);
void shape_free(struct shape *s);
/* Writes the shaped event. `rule` fills <aws.events.rule-name> and <aws.events.rule-arn>;
 * now_ns fills the ingestion time. Any thread. */
void shape_apply(const struct shape *s, const weir_event *ev, const char *rule, int64_t now_ns,
                 struct buf *out);
