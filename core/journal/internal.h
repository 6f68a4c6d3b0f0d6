/* journal/internal.h: what the files of this room share.
 *
 * `lock` guards what readers see: streams, runs, segments, counters and the queue of units. What
 * only the committer touches (the group, the write position, the slots) is guarded by commit_lock,
 * which is taken first. No disk is touched under `lock`. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "journal/disk.h"
#include "journal/format.h"
#include "journal/journal.h"

enum {
    GROUP_BYTES_MAX = 4 << 20,
    GROUP_SLACK = 4096, /* declarations that come with a group, about */
    SLOTS_RESERVED = 3, /* never given to puts: a new segment, a compaction, a failed sync */
    TRIM_EVERY_S = 10,
    TRIM_LOOKS = 6, /* two for checkpoints, without which nothing is free, and the rest to see so */
    SEGMENTS_LOADED = 4,
    READ_BYTES = 256 << 10,
};

struct slot {
    uint32_t index;
    int fd;
    uint32_t bytes;   /* of the file; 0: not filled, to be made whole before use */
    uint32_t zeroed;  /* from here on it may be sparse, which makes syncs slower */
    bool is_blank;    /* had no header when it was found */
    bool has_headers; /* a segment was begun here: its last block has been written */
    bool is_retired;  /* a write or sync failed here: not used again by this process */
    struct slot *next;
};

struct segment {
    uint64_t number, nonce, previous;
    uint32_t previous_end, end; /* end: behind the last synced group */
    uint32_t kind;
    struct place place;
    struct slot *slot; /* NULL: it is lost */
    bool is_sealed, is_loaded;
    bool is_picked;      /* a compaction is copying it or into it */
    bool is_walked;      /* by the recovery */
    bool is_bad;         /* has a record that cannot be read: it is not compacted */
    bool is_headless;    /* copies of its header were lost: they are written again */
    uint64_t dead_check; /* the first checkpoint that does not need it; 0: none */
    unsigned pins;       /* readers that are on its slot now */
    uint64_t refs, live; /* of its records: all, and not acknowledged */
    uint64_t used;       /* stamp of the last load or use of its offsets */
};

/* Consecutive sequences of one stream in one segment. Those before `skip` are dead; `bits` (NULL:
 * all live) tells of the others. */
struct run {
    uint64_t first;
    uint32_t count, skip, live, cap;
    struct segment *segment;
    uint32_t *offsets; /* NULL: not in memory; 0: that record was not found */
    uint32_t *loading; /* offsets while they are being collected */
    uint64_t *bits;
};

struct stream {
    struct journal *journal;
    char *name;
    uint32_t id, kind_id;
    const struct stream_kind *kind; /* NULL: plain, or a kind that is not known here */
    void *state;
    struct buf kept;   /* the checkpointed state of an unknown kind */
    uint64_t next;     /* as applied */
    uint64_t assigned; /* as given out by the committer */
    uint64_t live;
    struct run **runs;
    uint32_t run_count, run_cap;
    bool is_declared, is_touched;
    bool is_nameless; /* its making was lost to damage: the next segment tells its name again */
    struct stream *next_touched;
    void (*listener)(void *user);
    void *listener_user;
};

struct counter {
    char *name;
    int64_t value;
    bool is_declared;
};

struct journal_unit {
    struct journal *journal;
    struct journal_unit *next;
    char *bytes;
    size_t len, cap;
    uint32_t *puts; /* offsets of the PUT records */
    uint32_t put_count, put_cap;
    uint32_t records;
    uint32_t ack_at; /* offset of the last record + 1 if that is an ACK, which may be extended */
    struct count_body *counts;
    uint32_t count_count, count_cap;
    enum journal_level level;
    weir_status status;
    bool is_done, is_too_large;
    struct journal_chain *chain; /* or NULL */
    bool is_chain_anew;
    journal_done *done;
    void *user;
};

struct unit_list {
    struct journal_unit *first, **end;
    size_t count;
};

struct group {
    struct group *next; /* written, not synced */
    struct unit_list units;
    struct buf head; /* GROUP record and declarations */
    struct iovec *parts;
    size_t part_cap;
    uint32_t bytes, records, head_records;
    bool is_held; /* answered when it is written, synced later */
};

struct check_slot { /* one of the two checkpoint files */
    int fd;
    uint64_t number, start; /* start: segment where its replay begins; 0: not valid */
    uint64_t bytes;         /* of the file */
};

/* By who guards what. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct journal {
    char *path, *lock_note;
    struct clock const *clock;
    const struct disk *disk;
    const struct stream_kind *const *kinds;
    uint64_t bytes_max, salt;
    uint32_t slot_bytes;
    bool is_reader;
    int lock_fd;

    pthread_mutex_t lock;
    pthread_cond_t wanted; /* for the thread */
    struct unit_list queue;
    bool is_urgent;        /* something in the queue does not want to wait */
    int64_t lazy_since_ns; /* 0: nothing lazy waits */
    struct stream **streams;
    uint32_t stream_count, stream_cap, undeclared;
    struct counter **counters;
    uint32_t counter_count, counter_cap;
    struct segment **segments; /* by number */
    uint32_t segment_count, segment_cap;
    uint64_t stamp; /* of the last use of a segment's offsets */
    struct stream *touched;
    struct journal_health health;
    _Atomic int64_t sync_ns; /* how long a sync takes, of late */
    void (*wake)(void *user);
    void *wake_user;

    pthread_mutex_t pool_lock;
    struct journal_unit *pool;
    size_t pool_bytes;

    pthread_mutex_t load_lock;   /* one load of offsets at a time */
    pthread_mutex_t listen_lock; /* held while listeners are called */

    pthread_mutex_t commit_lock;
    int64_t full_ns;              /* when there was no room the last time */
    bool is_full_told;            /* and not taken back */
    _Atomic(pthread_t) committer; /* who holds it */
    struct unit_list taken;       /* from the queue, not yet in a group */
    struct unit_list kept;        /* acknowledgements that a failed disk did not take */
    int64_t failed_ns;            /* when it failed, or was tried last */
    struct group group;
    struct segment *active; /* NULL: the next group starts one */
    enum journal_durability durability;
    int64_t sync_every_ns;
    struct group *pending, **pending_end; /* answered, neither synced nor applied: INTERVAL */
    struct group *group_pool;
    uint32_t pending_bytes, pending_count; /* of those that lie in the active segment */
    uint64_t abandoned; /* segment with groups that have to go elsewhere, behind its end; 0: none */
    uint32_t abandoned_at;    /* from there on nothing was answered */
    bool has_ghost;           /* the header of a segment that was given up may be on the disk */
    uint32_t names_bytes;     /* of all names, as a segment's first group tells them */
    bool has_end;             /* the active segment ends with END, as a clean close left it */
    bool is_pending_lost;     /* their segment was abandoned: to be written again */
    uint64_t unsynced_bytes;  /* under lock */
    int64_t pending_since_ns; /* under lock; 0: nothing is pending */
    uint64_t synced_number;   /* the last group that is known to be synced */
    uint64_t last_number, number_max;
    uint32_t last_end;
    uint64_t group_number;
    struct slot *slots; /* free */
    uint32_t slot_count, slot_next;
    uint64_t slot_bytes_total;
    int64_t trim_ns;                   /* when it was last looked whether there are too many */
    uint32_t slots_least, slots_spare; /* free at least since then; to be removed */
    _Atomic uint32_t
        trims_left; /* looks until nothing changes any more: the thread wakes for them */
    struct check_slot checks[2];
    uint64_t check_number, check_bytes;
    _Atomic uint64_t bytes_since_check; /* the thread looks at it while another commits */
    int64_t check_ns;
    bool is_dir_dirty;
    size_t refused_bytes; /* of the put that found no room last */
    struct compaction *compaction;

    pthread_t thread;
    bool has_thread, is_stopping;
    bool is_full_scan;    /* recovery without a checkpoint or with a gap */
    bool is_lossy;        /* recovery met damage: numbers that are missing are lost records */
    uint64_t quarantined; /* bytes kept since the open */
};

/* ---- journal.c ---- */
static inline void journal_lock(const struct journal *j)
{
    union {
        const struct journal *from;
        struct journal *to;
    } alias = {.from = j}; /* asking changes nothing but the lock */
    (void)pthread_mutex_lock(&alias.to->lock);
}
static inline void journal_unlock(const struct journal *j)
{
    union {
        const struct journal *from;
        struct journal *to;
    } alias = {.from = j};
    (void)pthread_mutex_unlock(&alias.to->lock);
}

/* ---- stream.c: all under the lock ---- */
struct stream *stream_by_id(struct journal *j, uint32_t id); /* NULL: none */
struct stream *stream_make(struct journal *j, uint32_t id, weir_str name, uint32_t kind);
void stream_free(struct stream *s);
/* The run that has the sequence and its index in it, or NULL if it is not live. */
struct run *stream_find_live(const struct stream *s, uint64_t sequence);
/* The first live one at or after *sequence, which is moved to it. */
struct run *stream_seek_live(const struct stream *s, uint64_t *sequence);
bool stream_add(struct stream *s, struct segment *g, uint64_t sequence, uint32_t offset);
void stream_kill(struct stream *s, uint64_t first, uint64_t count);
struct run *stream_insert_run(struct stream *s, uint64_t first);
bool run_is_live(const struct run *r, uint32_t i);

/* ---- apply.c: under the lock ---- */
void apply_record(struct journal *j, struct segment *g, uint32_t offset, const struct record *r);
struct counter *counter_by_id(struct journal *j, uint32_t id, weir_str name);

/* ---- segment.c ---- */
struct segment *segment_add(struct journal *j, const struct segment_header *h, struct slot *slot);
struct segment *segment_find(const struct journal *j, uint64_t number);
void segment_remove(struct journal *j, struct segment *g); /* its slot becomes free */
/* Makes a segment for a group of `bytes` and writes its header, unsynced. 0, or a negative errno. */
int segment_start(struct journal *j, uint32_t kind, uint32_t bytes, struct segment **out);
void segment_seal(struct journal *j, struct segment *g);
uint32_t segment_room(const struct segment *g, uint32_t end);
void segment_recycle(struct journal *j); /* those that no checkpoint and no reader needs */
int segment_load(struct journal *j, struct segment *g); /* offsets; pinned by the caller */
uint32_t segment_bytes(const struct segment *g);        /* of its live records, about */
int segment_header_write(struct journal *j, struct segment *g);
int segment_header_erase(struct journal *j, struct slot *slot);

/* ---- slot.c: the committer ---- */
int slot_take(struct journal *j, uint32_t bytes, struct slot **out);
void slot_give(struct journal *j, struct slot *slot);
int slot_make(struct journal *j, uint32_t bytes);
bool slot_prepare(struct journal *j, uint32_t want); /* true: that many are free */
/* Where a usual slot has no room: how much a group in a smaller one may have that takes `bytes`; 0: there
 * is none. The reserve is left alone. */
uint32_t slot_small(struct journal *j, size_t bytes);
bool slot_has_reserve(const struct journal *j);
bool slot_is_spare(const struct journal *j, uint32_t bytes); /* a free one has that much room */
/* Gives disk back that was not needed for a while, a slot at a time. true: there is more to do. */
bool slot_trim(struct journal *j, bool is_idle);
bool slot_zero(struct journal *j); /* a step of zero-filling; false: all is filled */
/* A group will be written there. */
void slot_zero_ahead(const struct journal *j, struct slot *slot, uint32_t from, uint32_t end);
uint32_t slot_default_bytes(const struct journal *j);
void slot_path(const struct journal *j, uint32_t index, char *path, size_t size);

/* ---- commit.c ---- */
bool commit_run(struct journal *j);                  /* one group; false: nothing was there */
bool commit_upkeep(struct journal *j, bool is_idle); /* true: there is more to do */
void commit_apply(struct journal *j);                /* the group, which is synced */
void commit_finish(struct journal *j, weir_status status);
void commit_call_listeners(struct journal *j);
weir_status commit_group(struct journal *j); /* stores, applies and answers it */
void *commit_thread(void *journal);
void commit_enter(struct journal *j);
void commit_leave(struct journal *j);
void unit_list_init(struct unit_list *l);
void unit_list_push(struct unit_list *l, struct journal_unit *u);
void unit_list_join(struct unit_list *l, struct unit_list *more);

/* ---- room.c: the committer ---- */
void room_set_full(struct journal *j, bool is_full);
/* Whether puts of so many bytes find a place without the reserve; *limit falls to what it holds. */
bool room_for_put(struct journal *j, size_t bytes, uint32_t *limit);
void room_look(struct journal *j); /* is it still full? makes room where nothing else would */

/* ---- group.c: the committer. Those that give an int: 0, or a negative errno. ---- */
uint32_t group_end(const struct journal *j); /* where the next one goes: behind what was written */
/* The GROUP record, and streams and counters that the log does not know, or all. */
void group_head(struct journal *j, bool is_all);
int group_place(struct journal *j); /* in the active segment, or a new one */
void group_stamp(struct journal *j);
int group_write(struct journal *j);
int group_sync(struct journal *j);
void group_abandon(struct journal *j, int error); /* the active segment: a write or sync failed */
/* What lies behind the end of a segment that was abandoned; false: it may be found again. */
bool group_erase_abandoned(struct journal *j);
void group_give_up(struct journal *j, int error); /* the journal is failed */
/* OK; RETRY: there is no room, and the group is nowhere; FATAL: it failed, and nobody knows. */
weir_status group_store(struct journal *j);
weir_status group_turn(struct journal *j); /* another segment, begun with a group of names alone */
void group_answer(struct journal_unit *u);
void group_note_chain(const struct journal_unit *u); /* broken, where the unit is not stored */

/* ---- pending.c: the committer; 0, or a negative errno ---- */
int pending_place(struct journal *j); /* the group, and whether it is held */
int pending_rewrite(struct journal *j);
void pending_hold(struct journal *j);    /* answers the group and keeps it until the next sync */
int pending_settle(struct journal *j);   /* syncs and applies what is pending */
int pending_sync_log(struct journal *j); /* what was applied before its sync: OS */

/* ---- unit.c ---- */
void unit_moved(struct journal_unit *u, const uint64_t *words, size_t n);
void unit_release(struct journal *j, struct journal_unit *units);
char *unit_record(struct buf *b, enum record_type type, uint32_t refs, uint32_t body_bytes);

/* ---- checkpoint.c: the committer ---- */
struct check_found {
    struct buf bytes;
    int which; /* of the files */
};
/* Those that are whole, the newest first, and the salt of that. How many, or -1 with *e: another
 * version's. */
int checkpoint_read(struct journal *j, struct check_found found[2], struct error *e);
/* Fills the state from it; slots were found before. false: it makes no sense. */
bool checkpoint_load(struct journal *j, const struct buf *newest, bool *is_closed);
int checkpoint_write(struct journal *j, bool is_closed);
bool checkpoint_has_room(struct journal *j);

/* ---- quarantine.c ---- */
/* Keeps damaged bytes in a file of quarantine/, up to a total; the rest is dropped. */
int quarantine_keep(struct journal *j, uint64_t segment, uint32_t offset, const char *bytes,
                    uint32_t n);

/* ---- journal.c ---- */
/* A file that is there and cannot be opened now may hold what was accepted: without it nothing is begun,
 * as its records would count as lost and its name could be used again. */
int journal_cannot_open(const struct journal *j, int sys_errno, const char *name, struct error *e);

/* ---- recover.c ---- */
int recover_run(struct journal *j, struct error *e);

/* ---- compact.c ---- */
bool compact_step(struct journal *j, uint32_t bytes_max); /* committer; true: there is more to do */
void compact_drop(struct journal *j);
