/* journal/queue.h: queues on streams: visibility, delay, receive counts, FIFO groups, dead letters.
 *
 * The state of a queue is a stream kind (queue_kind, to be named in journal_options.kinds). Any thread;
 * nothing blocks. A message that was received is hidden until its visibility ends, then it comes again
 * with a new receipt; after receives_max receives it moves to the dead-letter queue in one unit.
 *
 * Messages in flight when the process dies are visible at once after the next open, with their receive
 * counts. FIFO: one group at a time in order, and a message whose group and dedup id were put within
 * the last five minutes is taken and dropped. */
#pragma once
#include "journal/journal.h"

extern const struct stream_kind queue_kind; /* id 1 */

struct queue;

struct queue_settings { /* zero is AWS's default */
    bool is_fifo;
    int64_t visibility_ns; /* 30 s */
    int64_t retention_ns;  /* 4 days */
    int64_t delay_ns;
    const char *dead_letters; /* name of another queue, made if it is not there; NULL: none */
    uint32_t receives_max;
};

/* Finds or makes the queue `name` (its stream is "queue/<name>"). Settings are kept on disk; those that
 * contradict a queue that is open in this process are an error, what is not set (zero) leaves what is;
 * else the new ones hold. */
struct queue *queue_open(struct journal *j, const char *name, const struct queue_settings *s,
                         struct error *e);
/* What two say differently, by its name; NULL: nothing. What one of them leaves out is no difference. */
const char *queue_settings_differ(const struct queue_settings *a, const struct queue_settings *b);
void queue_settings_join(struct queue_settings *into, const struct queue_settings *more);
/* Changes all but is_fifo (which is an error), for as long as nobody changes them again. */
int queue_settings_set(struct queue *q, const struct queue_settings *s, struct error *e);
struct queue *queue_find(struct journal *j, const char *name);
void queue_each(struct journal *j, void (*fn)(void *user, struct queue *q), void *user);
const char *queue_name(const struct queue *q);
void queue_settings_get(const struct queue *q,
                        struct queue_settings *out); /* strings: of the queue */

struct queue_message { /* of a receive */
    uint64_t receipt;  /* 0 is none */
    uint64_t sequence;
    uint32_t receives; /* this one among them */
    int64_t sent_ns, first_received_ns;
    weir_str body; /* what was sent; in the buffer given to receive, as are the next three */
    weir_str group, dedup;
    weir_str from_queue; /* a dead letter: of this queue */
};

struct queue_send {
    weir_str body;         /* any bytes (an encoded event) */
    struct iovec parts[4]; /* used instead of body where part_count > 0 */
    size_t part_count;
    int64_t delay_ns;      /* < 0: the queue's */
    weir_str group, dedup; /* FIFO */
};
/* Adds the message to the unit (also several, also of several queues). */
void queue_send(struct queue *q, struct journal_unit *u, const struct queue_send *m);
/* FIFO: whether a message of this group and id came within the window, and its sequence. */
bool queue_is_duplicate(const struct queue *q, weir_str group, weir_str dedup, uint64_t *sequence);

/* Up to max messages that are visible now; the bodies are appended to *bodies. visibility_ns: 0 is the
 * queue's, < 0 is none: visible again at once. The receives are on disk with the next group. */
size_t queue_receive(struct queue *q, size_t max, int64_t visibility_ns, struct queue_message *out,
                     struct buf *bodies);
/* false: the receipt ran out; nothing is changed. The removal is durable with the next group; given a
 * unit it is part of that. */
bool queue_remove(struct queue *q, uint64_t receipt, struct journal_unit *u);
/* Standard: also after the visibility ended, as long as nobody received it again; removing takes any
 * receipt of a message that is there. FIFO: only while it is hidden by this receipt. */
bool queue_extend(struct queue *q, uint64_t receipt, int64_t from_now_ns);
bool queue_give_back(struct queue *q, uint64_t receipt, int64_t delay_ns);
/* fn(user), on any thread, when a message may have become visible: put, returned, or its group is free.
 * It only wakes somebody: locks are held, so it may not call the queue or the journal. What becomes
 * visible by time is the caller's to wait for: queue_next_due. Several listeners; after unlisten
 * returned fn is not called any more. */
void queue_listen(struct queue *q, void (*fn)(void *user), void *user);
void queue_unlisten(struct queue *q, void (*fn)(void *user), void *user);
int64_t queue_next_due(
    const struct queue *q); /* wall ns when a hidden or delayed one shows; INT64_MAX */

struct queue_count {
    uint64_t visible, hidden, delayed;
    uint64_t bytes;    /* of the bodies; from the mean, as not every message is remembered */
    int64_t oldest_ns; /* age of the oldest */
};
void queue_count(const struct queue *q, struct queue_count *out);
/* Without receiving: calls fn for up to max messages from the oldest. */
void queue_peek(struct queue *q, size_t max,
                void (*fn)(void *user, const struct queue_message *m, const char *state),
                void *user);
/* The same from a sequence on, until fn says false. */
void queue_walk(struct queue *q, uint64_t from,
                bool (*fn)(void *user, const struct queue_message *m, const char *state),
                void *user);
uint64_t queue_next(const struct queue *q); /* the sequence that the next message gets */
/* Keeps a message that is free to go from being received by others, until the unit that takes it is
 * applied, or it is given up; false: somebody has it, or it is gone. */
bool queue_claim(struct queue *q, uint64_t sequence);
void queue_unclaim(struct queue *q, const uint64_t *sequences, size_t count);
void queue_take(struct queue *q, uint64_t sequence, struct journal_unit *u);
weir_status queue_purge(struct queue *q, uint64_t *purged); /* waits for the commit */
/* Moves up to max messages (0: all) from this queue to `to`; *moved counts. Waits for the commits. */
weir_status queue_redrive(struct queue *q, struct queue *to, uint64_t max, uint64_t *moved);
