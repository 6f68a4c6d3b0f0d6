/* match/match.h: event patterns: compile, match in one pass, explain.
 *
 * A set holds the patterns of one stage, compiled together. It is built by one thread, sealed, then
 * read by any number of them, each with a context of its own. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

#include "base/buf.h"

struct match_set;
struct match_ctx; /* one per worker: all memory of a match; no allocation per event */

struct match_error { /* the wording of EventBridge */
    char reason[256];
    size_t at; /* byte in the pattern */
};

/* What an event's envelope says besides the event: account and region of the pipeline. */
struct match_env {
    const char *account, *region; /* "000000000000", "us-east-1" */
};

struct match_set *match_set_new(const struct match_env *env); /* env is copied */
/* An empty set of the same kind as `old`, which must be sealed if it is to help and need not outlive the
 * call: patterns that `old` has are taken from there when this one is sealed. Until then it explains
 * nothing. To change one rule of many,
 * add all as they are to be; `old` may be read by others all the while. */
struct match_set *match_set_after(const struct match_set *old, const struct match_env *env);
void match_set_free(struct match_set *s);
/* REJECT with *e, also once the set is sealed; the pattern's number is the count of those before. */
weir_status match_add(struct match_set *s, weir_str pattern, struct match_error *e);
size_t match_count(const struct match_set *s);
void match_seal(struct match_set *s);
size_t match_memory(const struct match_set *s); /* bytes */

struct match_ctx *match_ctx_new(const struct match_set *s);
void match_ctx_free(struct match_ctx *c);

enum { MATCH_KNOWN_GOOD = 1 }; /* the JSON was checked before: skip validation */
/* All patterns that match, ascending; *hits lives until the next call with this context. The result
 * is SIZE_MAX where the text is not JSON. match_event: the body is `detail`, the members of the event
 * are the envelope (id, source, detail-type, time, account, region, resources). */
size_t match_event(struct match_ctx *c, const weir_event *ev, unsigned flags,
                   const uint32_t **hits);
size_t match_json(struct match_ctx *c, weir_str json, unsigned flags, const uint32_t **hits);
/* The last event had so many ways to choose elements of its arrays that the search was given up:
 * patterns that it was still tried for did not match. */
bool match_was_cut(const struct match_ctx *c);

/* The same verdict by a second, plain implementation: the oracle of the tests and the base of explain. It
 * takes a bounded number of steps: e->reason is empty, or says that it was given up as too complex. */
bool match_plain(weir_str pattern, weir_str json, bool *is_match, struct match_error *e);
/* For people: for each field of pattern `n` what was expected and what was found. */
void match_explain(const struct match_set *s, uint32_t n, const weir_event *ev, struct buf *out);
/* The same of an event's JSON, which was checked; true: it matches. Either may be NULL; `object` gets
 * {"match": ..., "alternatives": [{"match": ..., "first": "/detail/a", "fields": [{"field": "/detail/a",
 * "holds": ..., "expected": [...], "found": [...]}]}]}, with "elements": true where all fields hold, but
 * only in different elements of an array. */
bool match_explain_json(const struct match_set *s, uint32_t n, weir_str json, struct buf *text,
                        struct buf *object);

/* In a few words, for a log: {"rule": name, "match": true}, or with false {"field": "/detail/a", "expected":
 * "[1]", "found": "2"}, where fields hold one by one or the event is too complex also "why"; texts of
 * JSON, shortened so that all of it has at most `most` bytes, at least 300. json: as above. */
void match_explain_brief(const struct match_set *s, uint32_t n, weir_str name, weir_str json,
                         size_t most, struct buf *out);

/* The event as EventBridge's envelope, in its order of keys. `resources` is the attribute "resources"
 * (JSON text of an array) or []. A body that is no JSON is written as a JSON string. */
void match_envelope(const struct match_env *env, const weir_event *ev, struct buf *out);
