/* journal/archive.h: events kept for a time and within a size, with when each came: a kind of stream that
 * knows how old its records are without reading them. A record is written in the unit of what it stands
 * for. Any thread. */
#pragma once
#include "journal/journal.h"

extern const struct stream_kind archive_kind; /* id 5 */

struct archive;

struct archive_settings {
    int64_t retention_ns; /* 0: for ever */
    uint64_t bytes_max;   /* of the records; 0: no limit */
};

/* Finds or makes the stream "archive/<name>". The settings hold until the next open. */
struct archive *archive_open(struct journal *j, const char *name, const struct archive_settings *s,
                             struct error *e);
const char *archive_name(const struct archive *a);
void archive_put(struct archive *a, struct journal_unit *u, int64_t now_ns,
                 const struct iovec *parts, size_t count); /* at most ARCHIVE_PARTS */
enum { ARCHIVE_PARTS = 3 };
/* Lets go what is too old, and the oldest of what is too much: whole blocks, of a minute, 1024 records or
 * 1 MiB, whichever is full first. Costs little; call it now and then. */
void archive_trim(struct archive *a);
struct archive *archive_find(struct journal *j, const char *name); /* NULL: none */
struct stream *archive_stream(const struct archive *a);            /* to read: archive_payload */
uint64_t archive_seek(struct archive *a,
                      int64_t from_ns); /* none before it came at from_ns or later */
/* Sequences [first, end) with all records that came in [from_ns, to_ns), in whole blocks: in the first
 * and in the last one, which begins at `last`, there may be others. Nothing came: first is end. */
struct archive_range {
    uint64_t first, end, last;
};
void archive_range(struct archive *a, int64_t from_ns, int64_t to_ns, struct archive_range *out);
/* Of a record: when it came, and what was put. */
weir_str archive_payload(weir_str record, int64_t *came_ns);
weir_status archive_clear(struct archive *a, uint64_t *removed); /* all; waits for the disk */
void archive_each(struct journal *j, void (*fn)(void *user, struct archive *a), void *user);

struct archive_count {
    uint64_t events, bytes;
    int64_t oldest_ns, newest_ns; /* wall, when they came; 0: there is none */
    struct archive_settings settings;
};
void archive_count(struct archive *a, struct archive_count *out);
