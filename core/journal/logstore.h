/* journal/logstore.h: log groups and streams on disk: the embedded CloudWatch Logs.
 *
 * Below the directory each group has a folder (0700) with segments <day>-<number>.log (0600) that are
 * only appended to, a line an event (logstore_file.h has its form). Writers take one lock a group and one
 * write(2) a call; readers need neither lock nor store, and a last line that is not whole is not
 * there yet. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/logs.h>

#include "base/clock.h"
#include "base/error.h"

enum { LOGSTORE_TEXT_MAX = 1 << 20 }; /* bytes of an event; longer ones are cut */

struct logstore_options {
    const char *path;          /* data_dir/logs, made if it is not there */
    uint64_t segment_bytes;    /* a new one is begun beyond; 0: 16 MiB */
    uint64_t bytes_max;        /* of all groups: the oldest segments go; 0: 1 GiB */
    unsigned retention_days;   /* of groups without their own; 0: for ever */
    const struct clock *clock; /* NULL: clock_real */
};

struct logstore;

struct logstore *logstore_open(const struct logstore_options *o, struct error *e);
void logstore_close(struct logstore *l); /* syncs */
/* As put of weir/logs.h. Any thread. Without lines it makes group and stream (none, if it is empty). */
weir_status logstore_put(struct logstore *l, weir_str group, weir_str stream,
                         const weir_log_line *lines, size_t count);
/* Call it some times a second: syncs what was written (at most once a second), drops what is too old or
 * too much, closes files that are not written any more. */
void logstore_tick(struct logstore *l);
/* Days; 0: the store's own. Kept on disk. IDLE: no such group. */
weir_status logstore_retain(struct logstore *l, weir_str group, unsigned days);
weir_status logstore_remove(struct logstore *l, weir_str group); /* with all it has */
bool logstore_is_group_name(weir_str name);
bool logstore_is_stream_name(weir_str name);

/* ---- reading: by path, also while nothing runs ---- */

struct logstore_group {
    const char *name;
    uint64_t bytes;
    unsigned retention_days; /* 0: none of its own */
};
/* In no order. Strings until fn returns. */
void logstore_each_group(const char *path, void (*fn)(void *user, const struct logstore_group *g),
                         void *user);

struct logstore_stream {
    weir_str name;
    uint64_t lines;
    int64_t created_ms, first_ms, last_ms, arrived_ms; /* 0: no line yet */
};
/* Reads the whole group. In order of making. IDLE: no such group. */
weir_status logstore_each_stream(const char *path, weir_str group,
                                 void (*fn)(void *user, const struct logstore_stream *s),
                                 void *user);

struct logstore_query {
    weir_str stream;            /* len 0: all */
    int64_t since_ms, until_ms; /* until: exclusive, 0: no end */
    size_t last;                /* only the last so many of what is there now; 0: all */
    /* As CloudWatch's terms, all parts of which are case-sensitive: word, "a phrase", -without,
     * ?any ?of ?these (which count only where there is no plain word). len 0: all. */
    weir_str filter;
};

struct logstore_line {
    int64_t time_ms, arrived_ms;
    weir_str stream, text; /* until the next call */
};

struct logstore_reader;
/* NULL with *e: no such group, or a filter that makes no sense. Lines come as they arrived. */
struct logstore_reader *logstore_reader_open(const char *path, weir_str group,
                                             const struct logstore_query *query, struct error *e);
void logstore_reader_close(struct logstore_reader *r);
/* OK; or IDLE: none now, but the next call goes on where it was, also in later segments. */
weir_status logstore_reader_next(struct logstore_reader *r, struct logstore_line *line);
