/* pipeline/trace.h: where each event went: one line of bytes a hop, in files that a size bounds.
 *
 * A record: u16 length, u8 kind, u8 stage length, u16 detail length, u16 attempts or 0, i64 time,
 * 16 bytes id, the stage's name, the detail. Written when a round ends, not synced: a power cut may
 * lose the last lines. Files trace/NNNNNNNN.trace, each begins with the 8 bytes "weirtrc1". */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "pipeline/event.h"

struct stage;
struct trace;
struct worker;

enum { TRACE_DETAIL_MAX = 500 };

enum trace_kind {
    TRACE_ACCEPTED = 1,
    TRACE_PASSED,
    TRACE_FILTERED,
    TRACE_DELIVERED,
    TRACE_RETRY,
    TRACE_DEAD_LETTERED,
    TRACE_DROPPED,
    TRACE_FAILED,   /* and went to the readers of the stage's `.failed` */
    TRACE_REPLAYED, /* brought again from an archive, to the stage, by the replay that detail names */
    TRACE_RULE, /* what a pattern of the stage said, before the stage's own line: see explain.h */
};

struct trace *trace_open(const char *folder, uint64_t bytes_max, struct error *e);
void trace_close(struct trace *t);
void trace_add(struct worker *w, const struct stage *s, const struct event *ev,
               enum trace_kind kind, const char *detail);
void trace_flush(struct trace *t, struct buf *lines); /* any worker; lines is emptied */

struct trace_hop {
    enum trace_kind kind;
    int64_t time_ns;
    weir_id id;
    weir_str stage, detail;
    size_t number; /* in the order of the files */
};
const char *trace_kind_text(enum trace_kind kind);
/* Calls fn for each hop of the event, by time, and as they were written. Works on a live or stopped pipeline. */
int trace_find(const char *folder, const weir_id *id,
               void (*fn)(void *user, const struct trace_hop *hop), void *user, struct error *e);
