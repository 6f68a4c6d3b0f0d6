/* journal/queue.c: queues by name, their settings, sending, and what a receiver does with a receipt. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "journal/queue_state.h"

enum {
    SEQUENCE_BITS = 44,
    NAME_MAX_BYTES = 200,
};
#define SEQUENCE_MASK ((UINT64_C(1) << SEQUENCE_BITS) - 1)
#define REMOVING_NS   (30 * QUEUE_NS_PER_S)

/* ---- finding and making ---- */

struct queue *queue_find(struct journal *j, const char *name)
{
    char *path = mem_format("queue/%s", name);
    struct stream *s = stream_find(j, path);
    mem_free(path);
    return s && stream_kind_id(s) == queue_kind.id ? stream_state(s) : NULL;
}

struct each_call {
    void (*fn)(void *user, struct queue *q);
    void *user;
};

static void each_stream(void *user, struct stream *s)
{
    const struct each_call *call = user;
    if (stream_kind_id(s) == queue_kind.id)
        call->fn(call->user, stream_state(s));
}

void queue_each(struct journal *j, void (*fn)(void *user, struct queue *q), void *user)
{
    stream_each(j, each_stream, &(struct each_call){fn, user});
}

static struct queue *open_stream(struct journal *j, const char *name, struct error *e)
{
    if (!*name || strlen(name) > NAME_MAX_BYTES) {
        (void)error_set(e, EXIT_CONFIG, "queue %.40s: a name has 1 to %d bytes", name,
                        NAME_MAX_BYTES);
        return NULL;
    }
    char *path = mem_format("queue/%s", name);
    struct stream *s = stream_open(j, path, queue_kind.id, e);
    mem_free(path);
    return s ? stream_state(s) : NULL;
}

/* With the lock held. */
static int check_kind(const struct queue *q, bool is_fifo, struct error *e)
{
    if (!q->is_set || q->is_fifo == is_fifo)
        return 0;
    return error_set(e, EXIT_CONFIG, "queue %s: it is a %s queue and stays one; take another name",
                     q->name, q->is_fifo ? "FIFO" : "standard");
}

/* What was set from outside counts as said where it is not what it would be anyway. With the lock held. */
static void note_said(struct queue *q, const struct queue_settings *s, bool is_opening)
{
    struct queue_settings said = is_opening ? *s : q->settings;
    if (!is_opening && said.visibility_ns == QUEUE_VISIBILITY_NS)
        said.visibility_ns = 0;
    if (!is_opening && said.retention_ns == QUEUE_RETENTION_NS)
        said.retention_ns = 0;
    if (said.dead_letters)
        said.dead_letters = q->settings.dead_letters; /* the same text, and the queue's own */
    if (is_opening && q->is_open_here)
        queue_settings_join(&said, &q->said);
    q->said = said;
    q->is_open_here |= is_opening;
}

/* Takes the settings over where they are new, and writes them down. */
static int apply(struct queue *q, const struct queue_settings *s, bool is_opening, struct error *e)
{
    struct buf note = {0};
    (void)pthread_mutex_lock(&q->lock);
    queue_state_recovered(q);
    int rc = check_kind(q, s->is_fifo, e);
    bool is_shared = is_opening && q->is_open_here;
    struct queue_settings wanted = *s;
    const char *what = is_shared ? queue_settings_differ(&q->said, s) : NULL;
    if (is_shared)
        queue_settings_join(&wanted, &q->settings);
    if (!rc && what)
        rc = error_set(e, EXIT_CONFIG,
                       "queue %s: it is open with another %s; give it the same settings everywhere",
                       q->name, what);
    if (!rc && (!q->is_set || !queue_settings_are_same(&q->settings, &wanted))) {
        queue_state_adopt(q, &wanted);
        q->is_set = true;
        queue_state_note_settings(q, &note);
    }
    if (!rc)
        note_said(q, s, is_opening);
    (void)pthread_mutex_unlock(&q->lock);
    if (note.len)
        queue_state_send_note(q, buf_str(&note), JOURNAL_SYNCED);
    buf_fini(&note);
    return rc;
}

/* Also of a queue that is not open yet: whoever opens it may still choose its settings. */
static int make_dead_letters(const struct queue *q, const struct queue_settings *s, struct error *e)
{
    if (!s->dead_letters || !*s->dead_letters)
        return 0;
    if (strcmp(s->dead_letters, q->name) == 0)
        return error_set(e, EXIT_CONFIG, "queue %s: it is its own dead-letter queue; name another",
                         q->name);
    struct queue *dead = open_stream(q->journal, s->dead_letters, e);
    if (!dead)
        return -1;
    (void)pthread_mutex_lock(&dead->lock);
    queue_state_recovered(dead);
    int rc = check_kind(dead, s->is_fifo, e);
    bool is_new = !dead->is_set;
    (void)pthread_mutex_unlock(&dead->lock);
    return rc || !is_new ? rc
                         : apply(dead, &(struct queue_settings){.is_fifo = s->is_fifo}, false, e);
}

struct queue *queue_open(struct journal *j, const char *name, const struct queue_settings *s,
                         struct error *e)
{
    struct queue *q = open_stream(j, name, e);
    if (!q || apply(q, s, true, e) < 0 || make_dead_letters(q, s, e) < 0)
        return NULL;
    return q;
}

int queue_settings_set(struct queue *q, const struct queue_settings *s, struct error *e)
{
    return make_dead_letters(q, s, e) < 0 ? -1 : apply(q, s, false, e);
}

const char *queue_name(const struct queue *q)
{
    return q->name;
}

void queue_settings_get(const struct queue *q, struct queue_settings *out)
{
    (void)pthread_mutex_lock(&q->self->lock);
    *out = q->settings;
    (void)pthread_mutex_unlock(&q->self->lock);
}

/* ---- sending ---- */

void queue_send(struct queue *q, struct journal_unit *u, const struct queue_send *m)
{
    char header[MESSAGE_HEADER_MAX];
    struct iovec parts[5] = {{header, 0}};
    struct queue_settings s;
    queue_settings_get(q, &s);
    struct message_header h = {.sent_ns = queue_now(q), .group = m->group, .dedup = m->dedup};
    h.due_ns = h.sent_ns + (m->delay_ns < 0 ? s.delay_ns : m->delay_ns);
    parts[0].iov_len = queue_record_encode(&h, header);
    size_t n = m->part_count < 4 ? m->part_count : 4;
    if (n) {
        memcpy(&parts[1], m->parts, n * sizeof *parts);
    } else {
        parts[1] = queue_record_part(m->body);
        n = 1;
    }
    unit_put(u, &q->stream, 1, parts, n + 1);
}

bool queue_is_duplicate(const struct queue *q, weir_str group, weir_str dedup, uint64_t *sequence)
{
    uint64_t hash[2];
    queue_dedup_hash(group, dedup, hash);
    (void)pthread_mutex_lock(&q->self->lock);
    const struct dedup_entry *e = queue_dedup_find(&q->dedup, hash, queue_now(q));
    if (e)
        *sequence = e->sequence;
    (void)pthread_mutex_unlock(&q->self->lock);
    return e;
}

void queue_state_send_note(struct queue *q, weir_str note, enum journal_level level)
{
    struct journal_unit *u = journal_begin(q->journal);
    unit_note(u, q->stream, note);
    journal_submit(u, level, NULL, NULL);
}

void queue_state_flush_duplicates(struct queue *q)
{
    if (!atomic_load_explicit(&q->has_duplicates, memory_order_relaxed))
        return;
    struct journal_unit *u = journal_begin(q->journal);
    (void)pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->duplicate_count; i++)
        unit_ack(u, q->stream, q->duplicates[i], 1);
    q->duplicate_count = 0;
    atomic_store(&q->has_duplicates, false);
    (void)pthread_mutex_unlock(&q->lock);
    journal_submit(u, JOURNAL_LAZY, NULL, NULL);
}

/* ---- receipts: 12 bits of tag (never 0), 8 of the receive's number, 44 of the sequence ---- */

static uint64_t tag_of(const struct queue *q, uint64_t low)
{
    return (((low ^ q->tag_seed) * UINT64_C(0x9E3779B97F4A7C15)) >> 52) | 1;
}

uint64_t queue_state_receipt(const struct queue *q, uint64_t sequence, uint32_t receives)
{
    uint64_t low = (uint64_t)(receives & 0xff) << SEQUENCE_BITS | (sequence & SEQUENCE_MASK);
    return tag_of(q, low) << 52 | low;
}

static bool read_receipt(const struct queue *q, uint64_t receipt, uint64_t *sequence)
{
    uint64_t low = receipt & ((UINT64_C(1) << 52) - 1), next = stream_next(q->stream);
    if (receipt >> 52 != tag_of(q, low))
        return false;
    *sequence = (next & ~SEQUENCE_MASK) | (low & SEQUENCE_MASK);
    if (*sequence >= next && *sequence > SEQUENCE_MASK)
        *sequence -= SEQUENCE_MASK + 1;
    return *sequence < next;
}

static bool is_last_receive(const struct queue_entry *e, uint64_t receipt)
{
    return (e->receives & 0xff) == (receipt >> SEQUENCE_BITS & 0xff);
}

/* Hidden now, by this very receive. */
static bool is_held(const struct queue_entry *e, uint64_t receipt, int64_t now_ns)
{
    return e->state == ENTRY_IN_FLIGHT && !(e->flags & ENTRY_RETURNED) && e->time_ns > now_ns &&
           is_last_receive(e, receipt);
}

static bool may_remove(const struct queue *q, const struct queue_entry *e, uint64_t receipt)
{
    if (e->state == ENTRY_MOVING || e->state == ENTRY_DUPLICATE)
        return false;
    if (!q->is_fifo)
        return true;
    return is_held(e, receipt, queue_now(q)) ||
           (e->state == ENTRY_REMOVING && is_last_receive(e, receipt));
}

bool queue_remove(struct queue *q, uint64_t receipt, struct journal_unit *u)
{
    uint64_t sequence;
    if (!read_receipt(q, receipt, &sequence))
        return false;
    (void)pthread_mutex_lock(&q->lock);
    uint32_t at = queue_table_find(&q->table, sequence);
    bool is_known = at != NO_INDEX;
    bool is_removed = is_known && may_remove(q, &q->table.entries[at], receipt);
    /* Until the ack is in the log it is hidden; should the unit fail, it comes back. */
    if (is_removed)
        queue_table_hide(&q->table, at, ENTRY_REMOVING, queue_now(q) + REMOVING_NS);
    (void)pthread_mutex_unlock(&q->lock);
    /* A standard queue may have lost the receive in a crash, and the message is still there. */
    if (!is_known && !q->is_fifo)
        is_removed = stream_is_live(q->stream, sequence);
    if (!is_removed)
        return false;
    struct journal_unit *own = u ? NULL : journal_begin(q->journal);
    unit_ack(u ? u : own, q->stream, sequence, 1);
    if (own)
        journal_submit(own, JOURNAL_SYNCED, NULL, NULL);
    return true;
}

static bool may_hide(const struct queue *q, const struct queue_entry *e, uint64_t receipt)
{
    if (is_held(e, receipt, queue_now(q)))
        return true;
    return !q->is_fifo && is_last_receive(e, receipt) && !(e->flags & ENTRY_RETURNED) &&
           (e->state == ENTRY_READY || e->state == ENTRY_IN_FLIGHT);
}

static bool hide(struct queue *q, uint64_t receipt, int64_t for_ns, bool is_returned)
{
    char bytes[32];
    struct buf note = {bytes, 0, sizeof bytes};
    uint64_t sequence;
    if (!read_receipt(q, receipt, &sequence))
        return false;
    if (for_ns < 0)
        for_ns = 0;
    int64_t until_ns = queue_now(q) + (for_ns < QUEUE_HIDE_MAX_NS ? for_ns : QUEUE_HIDE_MAX_NS);
    (void)pthread_mutex_lock(&q->lock);
    uint32_t at = queue_table_find(&q->table, sequence);
    bool is_hidden = at != NO_INDEX && may_hide(q, &q->table.entries[at], receipt);
    if (is_hidden) {
        queue_table_hide(&q->table, at, ENTRY_IN_FLIGHT, until_ns);
        if (!for_ns)
            queue_state_show(q, at);
        if (is_returned)
            q->table.entries[at].flags |= ENTRY_RETURNED;
    }
    (void)pthread_mutex_unlock(&q->lock);
    if (!is_hidden)
        return false;
    queue_record_add(&note, NOTE_HIDE, 1);
    queue_record_add(&note, sequence, 8);
    queue_record_add(&note, (uint64_t)until_ns, 8);
    queue_record_add(&note, is_returned, 1);
    queue_state_send_note(q, buf_str(&note), JOURNAL_WRITTEN);
    queue_state_tell(q); /* whoever waits for the next due time has to look again */
    return true;
}

bool queue_extend(struct queue *q, uint64_t receipt, int64_t from_now_ns)
{
    return hide(q, receipt, from_now_ns, from_now_ns <= 0);
}

bool queue_give_back(struct queue *q, uint64_t receipt, int64_t delay_ns)
{
    return hide(q, receipt, delay_ns, true);
}

int64_t queue_next_due(const struct queue *q)
{
    (void)pthread_mutex_lock(&q->self->lock);
    uint32_t at = queue_table_first_due(&q->table);
    int64_t due_ns = at == NO_INDEX ? INT64_MAX : q->table.entries[at].time_ns;
    (void)pthread_mutex_unlock(&q->self->lock);
    return due_ns;
}

/* ---- listeners ---- */

static void on_put(void *user)
{
    queue_state_tell(user);
}

void queue_listen(struct queue *q, void (*fn)(void *user), void *user)
{
    stream_listen(q->stream, on_put, q);
    (void)pthread_mutex_lock(&q->listen_lock);
    MEM_PUSH(q->listeners, q->listener_count, q->listener_cap) = (struct queue_listener){fn, user};
    (void)pthread_mutex_unlock(&q->listen_lock);
}

void queue_unlisten(struct queue *q, void (*fn)(void *user), void *user)
{
    (void)pthread_mutex_lock(&q->listen_lock);
    for (size_t i = 0; i < q->listener_count; i++) {
        if (q->listeners[i].fn == fn && q->listeners[i].user == user) {
            q->listeners[i] = q->listeners[--q->listener_count];
            break;
        }
    }
    (void)pthread_mutex_unlock(&q->listen_lock);
}

void queue_state_tell(struct queue *q)
{
    (void)pthread_mutex_lock(&q->listen_lock);
    for (size_t i = 0; i < q->listener_count; i++)
        q->listeners[i].fn(q->listeners[i].user);
    (void)pthread_mutex_unlock(&q->listen_lock);
}
