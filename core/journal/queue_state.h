/* journal/queue_state.h: what the files of the queue share: the exceptions that a queue remembers.
 *
 * Locks, outer first: receive_lock (one receiver at a time: it owns the reader), the journal's own,
 * then lock (all that is below). The kind's callbacks come under the journal's lock, so nothing of the
 * journal may be called with lock held. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "journal/queue.h"

enum { QUEUE_IN_FLIGHT_MAX = 120000, QUEUE_LOOK_AHEAD = 120000, QUEUE_DEDUP_MAX = 1 << 20 };
#define QUEUE_NS_PER_S      INT64_C(1000000000)
#define QUEUE_VISIBILITY_NS (30 * QUEUE_NS_PER_S)
#define QUEUE_RETENTION_NS  (INT64_C(4) * 86400 * QUEUE_NS_PER_S)
#define QUEUE_DEDUP_NS      (300 * QUEUE_NS_PER_S)
#define QUEUE_HIDE_MAX_NS   (43200 * QUEUE_NS_PER_S)

/* ---- exceptions: messages about which more is known than that they are live ---- */

enum entry_state {
    ENTRY_FREE,
    ENTRY_READY,     /* visible, and known: came back, or in a FIFO's look-ahead */
    ENTRY_DELAYED,   /* not visible before its time for the first time */
    ENTRY_IN_FLIGHT, /* hidden by a receive until its time */
    ENTRY_REMOVING,  /* its ack is on the way, or it could not be read: comes back at its time */
    ENTRY_MOVING,    /* to another queue; the unit's end decides */
    ENTRY_DUPLICATE, /* to be acked, never shown */
};

enum {
    ENTRY_RETURNED = 1, /* given back by its receiver: not tied to this process */
    ENTRY_LINKED = 2,   /* in its group's list */
};

#define NO_INDEX UINT32_MAX

struct queue_entry {
    uint64_t sequence;
    int64_t time_ns; /* when it shows */
    int64_t first_received_ns;
    uint32_t receives;
    uint32_t heap_at;     /* in the heap of its state */
    uint32_t group;       /* FIFO; else NO_INDEX */
    uint32_t next, prev;  /* in the group by sequence; next also in the free list */
    uint8_t state, flags; /* enum entry_state */
};

struct queue_heap {
    uint32_t *items;
    size_t count, cap;
};

struct queue_table {
    struct queue_entry *entries;
    uint32_t count, cap, free; /* used or freed ones; room; first of the free list */
    uint32_t live;
    uint32_t *slots; /* hash of sequence to entry + 1 */
    uint32_t slot_count;
    struct queue_heap due;   /* DELAYED, IN_FLIGHT, REMOVING by time */
    struct queue_heap ready; /* READY of a standard queue by sequence */
    uint32_t hidden, delayed, duplicates;
};

void queue_table_fini(struct queue_table *t);
uint32_t queue_table_find(const struct queue_table *t, uint64_t sequence);
uint32_t queue_table_add(struct queue_table *t, uint64_t sequence); /* READY, in no heap */
void queue_table_remove(struct queue_table *t, uint32_t at);
/* Into a hidden state until time_ns; MOVING and DUPLICATE have no time. */
void queue_table_hide(struct queue_table *t, uint32_t at, enum entry_state state, int64_t time_ns);
void queue_table_show(struct queue_table *t, uint32_t at, bool is_fifo); /* READY */
uint32_t queue_table_first_due(const struct queue_table *t);
uint32_t queue_table_first_ready(const struct queue_table *t);

/* ---- FIFO: groups with their messages in order ---- */

struct queue_group {
    char *name; /* NULL: free */
    size_t name_bytes;
    uint64_t hash;
    uint32_t first, last, count;
    uint32_t chain;                  /* next of the same hash slot, or of the free list */
    uint32_t ready_next, ready_prev; /* in the list of those that may have something to give */
    bool is_ready;
};

struct queue_groups {
    struct queue_group *items;
    uint32_t count, cap, free;
    uint32_t *slots;
    uint32_t slot_count, live;
    uint32_t ready_first, ready_last;
};

void queue_groups_init(struct queue_groups *g);
void queue_groups_fini(struct queue_groups *g);
void queue_groups_link(struct queue_groups *g, struct queue_table *t, uint32_t at, weir_str name);
void queue_groups_unlink(struct queue_groups *g, struct queue_table *t, uint32_t at);
void queue_groups_wake(struct queue_groups *g, uint32_t group); /* to the end of the ready list */
void queue_groups_rest(struct queue_groups *g, uint32_t group); /* out of it */
/* The first that may be given now, from `after` (NO_INDEX: the group's first) on; those in flight,
 * delayed or with an ack on the way hold back what follows. NO_INDEX: none. */
struct queue_walk {
    uint32_t at;
    bool is_blocked, is_over;
};
uint32_t queue_groups_next(const struct queue_groups *g, const struct queue_table *t,
                           uint32_t group, struct queue_walk *walk);

/* ---- FIFO: ids of the last five minutes ---- */

struct dedup_entry {
    uint64_t hash[2];
    int64_t sent_ns;
    uint64_t sequence;
};

struct queue_dedup {
    struct dedup_entry *ring; /* a power of two */
    uint64_t first, next;     /* counted from the start; modulo cap in the ring */
    uint32_t cap;
    uint32_t *slots; /* place in the ring + 1, twice as many */
};

void queue_dedup_fini(struct queue_dedup *d);
void queue_dedup_hash(weir_str group, weir_str id, uint64_t hash[2]);
const struct dedup_entry *queue_dedup_find(const struct queue_dedup *d, const uint64_t hash[2],
                                           int64_t now_ns);
void queue_dedup_add(struct queue_dedup *d, const struct dedup_entry *e);

/* ---- records ---- */

enum { HEADER_NO_DEDUP = 1 }; /* moved here from another queue */

struct message_header { /* in front of each body */
    int64_t sent_ns, due_ns;
    uint32_t flags, receives; /* receives: in the queues it came through */
    weir_str group, dedup, from_queue;
};

enum { MESSAGE_HEADER_BYTES = 24, MESSAGE_HEADER_MAX = 24 + 3 * 255 };
/* iovec has no const; the journal only reads. */
static inline struct iovec queue_record_part(weir_str s)
{
    union {
        const char *from;
        void *to;
    } base = {s.ptr};
    return (struct iovec){base.to, s.len};
}
size_t queue_record_encode(const struct message_header *h, char out[MESSAGE_HEADER_MAX]);
bool queue_record_decode(weir_str record, struct message_header *h, weir_str *body);

enum note_type { NOTE_SETTINGS = 1, NOTE_RECEIVE, NOTE_HIDE, NOTE_PURGE };

/* Little-endian figures one after the other; a reader that runs out gives zeros and says so. */
struct note_reader {
    const char *at, *end;
    bool is_short;
};
void queue_record_add(struct buf *b, uint64_t n, size_t bytes);
void queue_record_add_str(struct buf *b, weir_str s);
uint64_t queue_record_take(struct note_reader *r, size_t bytes);
weir_str queue_record_take_str(struct note_reader *r);

/* ---- the queue ---- */

struct queue_listener {
    void (*fn)(void *user);
    void *user;
};

struct queue {
    struct queue *self; /* for what is const to the caller and has a lock inside */
    struct stream *stream;
    struct journal *journal;
    const struct clock *clock;
    const char *name;
    uint64_t tag_seed;
    bool is_fifo; /* fixed once it is_set */

    pthread_mutex_t receive_lock;
    struct reader *reader; /* at the cursor */
    struct buf note, record;

    pthread_mutex_t lock;
    bool is_set, is_open_here, is_recovered;
    struct queue_settings settings; /* in force; zeros are filled in */
    struct queue_settings said;     /* by those that opened it in this process */
    struct arena strings; /* of the settings, also of earlier ones: somebody may hold them */
    uint64_t cursor;      /* from here on only exceptions are known */
    struct queue_table table;
    struct queue_groups groups;
    struct queue_dedup dedup;
    uint64_t *duplicates; /* whose ack has to be sent */
    size_t duplicate_count, duplicate_cap;
    _Atomic uint64_t put_bytes, put_count; /* for the mean */
    atomic_bool has_duplicates;
    _Atomic int64_t retention_next_ns;

    pthread_mutex_t listen_lock; /* the innermost */
    struct queue_listener *listeners;
    size_t listener_count, listener_cap;
};

/* queue_settings.c: in force, and wanted, where zero is the default. */
bool queue_settings_are_same(const struct queue_settings *a, const struct queue_settings *b);

static inline int64_t queue_now(const struct queue *q)
{
    return clock_wall(q->clock);
}

/* All with the lock held. */
void queue_state_expire(struct queue *q, int64_t now_ns);
void queue_state_show(struct queue *q, uint32_t at);
void queue_state_drop(struct queue *q, uint32_t at); /* it is acked */
void queue_state_index(struct queue *q, uint64_t sequence, const struct message_header *h);
void queue_state_recovered(struct queue *q);
void queue_state_note_settings(const struct queue *q, struct buf *out);
void queue_state_adopt(struct queue *q, const struct queue_settings *s);

/* Without it. */
uint64_t queue_state_receipt(const struct queue *q, uint64_t sequence, uint32_t receives);
void queue_state_retain(struct queue *q); /* removes what is too old, at most once a second */
void queue_state_tell(struct queue *q);   /* the listeners */
void queue_state_send_note(struct queue *q, weir_str note, enum journal_level level);
void queue_state_flush_duplicates(struct queue *q);
/* Puts the message into `to` and acks it here, in one unit; the entry is MOVING. */
struct queue_move {
    struct queue *from, *to;
    uint64_t *sequences;
    size_t count, cap;
};
void queue_move_add(struct queue_move *m, struct journal_unit *u, uint64_t sequence,
                    const struct message_header *h, weir_str body);
void queue_move_done(void *user, weir_status status, const struct journal_unit *u);
