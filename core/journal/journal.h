/* journal/journal.h: durable streams in one log: one writer, one fdatasync for all that wait.
 *
 * Everything durable is a record in one sequential log. Changes are gathered in a unit, which is
 * atomic: after a crash it is there whole or not at all. Memory state changes only when a unit is
 * synced, by the same function as at recovery: nobody reads what a crash could take back.
 * All functions may be called from any thread unless said otherwise (one lock inside, held briefly,
 * never over I/O). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <weir/plugin.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

struct journal;
struct stream;
struct journal_unit;

enum journal_durability {                    /* what an answered unit survives */
                          JOURNAL_FSYNC = 0, /* a power cut: it is answered after its sync */
                          JOURNAL_INTERVAL, /* the death of the process; a power cut once sync_every_ns are over */
                          JOURNAL_OS, /* the death of the process; a power cut when the system has written it */
};

enum journal_level {
    JOURNAL_SYNCED = 0, /* done once it survives what the journal's durability says */
    JOURNAL_WRITTEN,    /* done once it survives the death of the process */
    JOURNAL_LAZY,       /* rides with the next group, at most 100 ms later */
};

/* What gives meaning to a stream's notes: a queue keeps its receives and deadlines in them. The state
 * is made when the stream is made or recovered. All calls under the journal's lock, in log order; they
 * may ask their stream (stream_live and the like). After damage put may come out of order. */
struct stream_kind {
    uint32_t id; /* kept on disk; 0 is a plain stream */
    void *(*create)(struct stream *s);
    void (*destroy)(void *state);
    void (*put)(void *state, uint64_t sequence, weir_str payload); /* payload: until it returns */
    void (*ack)(void *state, uint64_t first, uint64_t count);
    void (*note)(void *state, weir_str bytes);
    void (*save)(void *state, struct buf *out); /* for a checkpoint */
    void (*load)(void *state, weir_str bytes);  /* from a checkpoint, before the log after it */
    void (*opened)(void *state);                /* recovery is over */
};

struct journal_options {
    const char *path;    /* a directory, made 0700 if it is not there */
    uint64_t slot_bytes; /* 0: chosen by the journal */
    uint64_t
        bytes_max; /* of the directory; 0: 10 GiB. Beyond it, and on a full disk, puts are refused */
    enum journal_durability durability;
    int64_t sync_every_ns;     /* JOURNAL_INTERVAL: at most so long between two syncs */
    const struct clock *clock; /* NULL: clock_real */
    const struct disk *disk;   /* NULL: the real one; tests inject faults (journal/disk.h) */
    const struct stream_kind *const *kinds; /* ends with NULL */
    const char *lock_note; /* written into the lock file for the message of a second opener */
    bool is_reader;        /* for tools: no lock taken, nothing written */
};

struct journal_health {
    uint64_t cut_bytes, damaged_bytes; /* by the recovery of this open */
    uint64_t lost_records;             /* by it, and by what was read since */
    uint64_t sync_failures, groups, bytes_used, bytes_max, segments;
    uint64_t checkpoints, compactions; /* since the open */
    uint64_t unsynced_bytes;           /* of answered units that a power cut could take */
    bool is_full;                      /* puts are refused now */
    bool is_failed; /* nothing is accepted until the disk works again; reads go on */
};

/* NULL with *e: locked by another process (EXIT_NOT_AVAILABLE, names pid and lock_note), no permission,
 * no space for the first slot. Never for bad data, which is cut or set aside, counted and logged. */
struct journal *journal_open(const struct journal_options *o, struct error *e);
void journal_close(struct journal *j); /* commits, checkpoints; waits for the thread */
void journal_health(const struct journal *j, struct journal_health *h);
const struct clock *journal_clock(const struct journal *j); /* no lock; also in a kind's create */

/* ---- drivers: the thread, or inline, or both ---- */
int journal_start_thread(struct journal *j, struct error *e);
/* Inline: fn(user) is called, on any thread and outside the lock, when the first unit of a group came
 * in; some thread then calls journal_commit, which writes, syncs, applies and calls the dones. */
void journal_set_wake(struct journal *j, void (*fn)(void *user), void *user);
/* With both, who is woken commits where a sync is short, and kicks the thread where it is long. */
void journal_kick(struct journal *j);
int64_t journal_sync_ns(const struct journal *j); /* how long a sync takes, of late; 0: none yet */
bool journal_commit(struct journal *j);           /* false: nothing was there to do */
/* Inline only: checkpoints, compaction, lazy groups; call some times a second. */
void journal_tick(struct journal *j);

/* ---- streams ---- */
/* Finds or makes it. Streams live for as long as the journal; kind and name never change. The making
 * is durable with the first unit that names it. NULL: another kind has the name. */
struct stream *stream_open(struct journal *j, const char *name, uint32_t kind, struct error *e);
struct stream *stream_find(struct journal *j, const char *name); /* NULL: none */
void stream_each(struct journal *j, void (*fn)(void *user, struct stream *s), void *user);
const char *stream_name(const struct stream *s);
uint32_t stream_kind_id(const struct stream *s);
void *stream_state(const struct stream *s); /* of its kind */
struct journal *stream_journal(const struct stream *s);
uint64_t stream_live(const struct stream *s);       /* records not acknowledged */
uint64_t stream_next(const struct stream *s);       /* the sequence that the next record gets */
uint64_t stream_first_live(const struct stream *s); /* stream_next when there is none */
bool stream_is_live(const struct stream *s, uint64_t sequence);
/* fn(user) after each group that put something into the stream, on the driver's thread. One listener;
 * NULL ends it. Waits for a call that is under way, so hold no lock here that fn takes. */
void stream_listen(struct stream *s, void (*fn)(void *user), void *user);

/* ---- units ---- */
struct journal_unit *journal_begin(struct journal *j); /* caller's until submit or cancel */
void journal_cancel(struct journal_unit *take);
/* One record (the parts, joined) in n streams at once; the payload is stored once. */
void unit_put(struct journal_unit *u, struct stream *const *streams, size_t n,
              const struct iovec *parts, size_t part_count);
void unit_ack(struct journal_unit *u, struct stream *s, uint64_t first, uint64_t count);
void unit_trim(struct journal_unit *u, struct stream *s, uint64_t below); /* acks all before */
void unit_note(struct journal_unit *u, struct stream *s, weir_str bytes); /* to the kind's note */
/* Durable sums that change with the unit: the ledger. */
void unit_count(struct journal_unit *u, uint32_t counter, int64_t delta);
uint32_t journal_counter(struct journal *j, const char *name); /* finds or makes */
int64_t journal_counter_value(struct journal *j, uint32_t counter);
void journal_counter_each(struct journal *j,
                          void (*fn)(void *user, const char *name, int64_t value), void *user);
/* All counters and streams as they are after one and the same unit. Under the journal's lock: fn may do
 * nothing with the journal. */
struct journal_figures {
    void (*counter)(void *user, const char *name, int64_t value);
    void (*stream)(void *user, const char *name, uint64_t next, uint64_t live);
};
void journal_snapshot(struct journal *j, const struct journal_figures *fn, void *user);
/* Units that follow each other: after one that was not stored none of them is, each is answered RETRY, until
 * one that begins the chain anew, which is submitted when all before it have been answered. The
 * submitter's memory, the driver's from the first unit to the last; begins as zeros. */
struct journal_chain {
    bool is_broken;
};
void unit_chain(struct journal_unit *u, struct journal_chain *chain, bool is_anew);
size_t unit_put_count(const struct journal_unit *u); /* the number that the next put gets */
size_t unit_bytes(const struct journal_unit *u);
bool unit_is_empty(const struct journal_unit *u);

/* done is called exactly once, also at close, on the driver's thread, outside the lock, units of a
 * level in the order of submission: WEIR_OK, or RETRY (no room, full disk: only units with puts, but
 * for a disk that has not even room for a segment), REJECT (more than 256 MiB) or FATAL (journal
 * failed). It may be called before submit returns, and may begin and submit units. done may be NULL. */
typedef void journal_done(void *user, weir_status status, const struct journal_unit *u);
void journal_submit(struct journal_unit *take, enum journal_level level, journal_done *done,
                    void *user);
/* In done: the sequence that put number `put` (0, 1, ... by the order of unit_put) got in its stream
 * number `stream`. */
uint64_t unit_sequence(const struct journal_unit *u, size_t put, size_t stream);
bool journal_has_room(const struct journal *j, size_t bytes); /* a hint for backpressure */
/* Submits and waits until it is synced, whatever the durability; for commands and tests, not from a
 * done. In inline mode it commits by itself. */
weir_status journal_submit_wait(struct journal_unit *take);

/* ---- reading: synced records that are live ---- */
struct reader; /* one thread at a time */
struct reader *reader_new(struct stream *s, uint64_t from);
void reader_free(struct reader *r);
/* The next live record at or after the position: OK, IDLE (none now), or RETRY (could not be read now,
 * position unchanged); a damaged record is skipped, counted and logged. payload: until the next call. */
weir_status reader_next(struct reader *r, weir_str *payload, uint64_t *sequence);
void reader_seek(struct reader *r, uint64_t sequence);
uint64_t reader_position(const struct reader *r);
/* One record by its number; for receives. REJECT: not live. The text is appended to *out. */
weir_status stream_read(struct stream *s, uint64_t sequence, struct buf *out);
