/* journal/queue_kind.c: the queue as a kind of stream: what the log says becomes what the queue knows. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "journal/queue_state.h"

enum { SAVE_FORMAT = 1, PREFIX_BYTES = sizeof "queue/" - 1 };

static void *create(struct stream *s)
{
    struct queue *q = MEM_NEW(struct queue);
    const char *name = stream_name(s);
    q->self = q;
    q->stream = s;
    q->journal = stream_journal(s);
    q->clock = journal_clock(q->journal);
    q->name = strncmp(name, "queue/", PREFIX_BYTES) == 0 ? name + PREFIX_BYTES : name;
    q->tag_seed = hash_bytes(q->name, strlen(q->name), 7);
    (void)pthread_mutex_init(&q->receive_lock, NULL);
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_mutex_init(&q->listen_lock, NULL);
    arena_init(&q->strings);
    q->table.free = NO_INDEX;
    queue_groups_init(&q->groups);
    queue_state_adopt(q, &(struct queue_settings){0});
    return q;
}

static void destroy(void *state)
{
    struct queue *q = state;
    reader_free(q->reader);
    buf_fini(&q->note);
    buf_fini(&q->record);
    queue_table_fini(&q->table);
    queue_groups_fini(&q->groups);
    queue_dedup_fini(&q->dedup);
    arena_fini(&q->strings);
    mem_free(q->duplicates);
    mem_free(q->listeners);
    (void)pthread_mutex_destroy(&q->receive_lock);
    (void)pthread_mutex_destroy(&q->lock);
    (void)pthread_mutex_destroy(&q->listen_lock);
    mem_free(q);
}

/* ---- what changes an entry ---- */

void queue_state_show(struct queue *q, uint32_t at)
{
    queue_table_show(&q->table, at, q->is_fifo);
    if (q->table.entries[at].flags & ENTRY_LINKED)
        queue_groups_wake(&q->groups, q->table.entries[at].group);
}

void queue_state_drop(struct queue *q, uint32_t at)
{
    const struct queue_entry *e = &q->table.entries[at];
    if (e->flags & ENTRY_LINKED) {
        uint32_t group = e->group;
        bool is_last = q->groups.items[group].count == 1;
        queue_groups_unlink(&q->groups, &q->table, at);
        if (!is_last)
            queue_groups_wake(&q->groups, group);
    }
    queue_table_remove(&q->table, at);
}

void queue_state_expire(struct queue *q, int64_t now_ns)
{
    uint32_t at;
    while ((at = queue_table_first_due(&q->table)) != NO_INDEX &&
           q->table.entries[at].time_ns <= now_ns)
        queue_state_show(q, at);
}

void queue_state_index(struct queue *q, uint64_t sequence, const struct message_header *h)
{
    uint32_t at = queue_table_find(&q->table, sequence);
    if (at == NO_INDEX) {
        at = queue_table_add(&q->table, sequence);
        if (h->due_ns > h->sent_ns)
            queue_table_hide(&q->table, at, ENTRY_DELAYED, h->due_ns);
    }
    const struct queue_entry *e = &q->table.entries[at];
    if (!q->is_fifo || (e->flags & ENTRY_LINKED) || e->state == ENTRY_DUPLICATE)
        return;
    queue_groups_link(&q->groups, &q->table, at, h->group);
    if (q->table.entries[at].state == ENTRY_READY)
        queue_groups_wake(&q->groups, q->table.entries[at].group);
}

/* ---- put and ack ---- */

static bool take_duplicate(struct queue *q, uint64_t sequence, const struct message_header *h)
{
    struct dedup_entry e = {{0, 0}, h->sent_ns, sequence};
    if (!h->dedup.len || (h->flags & HEADER_NO_DEDUP))
        return false;
    queue_dedup_hash(h->group, h->dedup, e.hash);
    if (!queue_dedup_find(&q->dedup, e.hash, h->sent_ns)) {
        queue_dedup_add(&q->dedup, &e);
        return false;
    }
    queue_table_hide(&q->table, queue_table_add(&q->table, sequence), ENTRY_DUPLICATE, 0);
    MEM_PUSH(q->duplicates, q->duplicate_count, q->duplicate_cap) = sequence;
    atomic_store(&q->has_duplicates, true);
    return true;
}

static void put(void *state, uint64_t sequence, weir_str payload)
{
    struct queue *q = state;
    struct message_header h;
    weir_str body;
    (void)queue_record_decode(payload, &h, &body);
    atomic_fetch_add_explicit(&q->put_bytes, body.len, memory_order_relaxed);
    atomic_fetch_add_explicit(&q->put_count, 1, memory_order_relaxed);
    if (!q->is_fifo && h.due_ns <= h.sent_ns)
        return; /* the common one: nothing is remembered */
    (void)pthread_mutex_lock(&q->lock);
    bool is_duplicate = q->is_fifo && take_duplicate(q, sequence, &h);
    bool is_near = sequence == q->cursor && q->table.live < QUEUE_LOOK_AHEAD;
    bool is_indexed = !q->is_fifo || (q->is_recovered && is_near);
    if (is_indexed && !is_duplicate)
        queue_state_index(q, sequence, &h);
    else if (!is_duplicate && h.due_ns > h.sent_ns)
        queue_table_hide(&q->table, queue_table_add(&q->table, sequence), ENTRY_DELAYED, h.due_ns);
    if (is_indexed && is_near)
        q->cursor++;
    (void)pthread_mutex_unlock(&q->lock);
}

static void ack(void *state, uint64_t first, uint64_t count)
{
    struct queue *q = state;
    uint32_t at;
    (void)pthread_mutex_lock(&q->lock);
    if (count <= q->table.live) {
        for (uint64_t i = first; i < first + count; i++) {
            if ((at = queue_table_find(&q->table, i)) != NO_INDEX)
                queue_state_drop(q, at);
        }
    } else {
        for (at = 0; at < q->table.count; at++) {
            const struct queue_entry *e = &q->table.entries[at];
            if (e->state != ENTRY_FREE && e->sequence - first < count)
                queue_state_drop(q, at);
        }
    }
    bool has_more = q->groups.ready_first != NO_INDEX;
    (void)pthread_mutex_unlock(&q->lock);
    if (has_more)
        queue_state_tell(q);
}

/* ---- notes ---- */

static weir_str kept(struct queue *q, weir_str s)
{
    return (weir_str){arena_copy(&q->strings, s.ptr, s.len), s.len};
}

void queue_state_adopt(struct queue *q, const struct queue_settings *s)
{
    q->settings = *s;
    if (q->is_fifo != s->is_fifo)
        q->is_fifo = s->is_fifo; /* puts read it without the lock, but not before it is known */
    if (!s->visibility_ns)
        q->settings.visibility_ns = QUEUE_VISIBILITY_NS;
    if (!s->retention_ns)
        q->settings.retention_ns = QUEUE_RETENTION_NS;
    q->settings.dead_letters = NULL;
    if (s->dead_letters && *s->dead_letters)
        q->settings.dead_letters = kept(q, weir_text(s->dead_letters)).ptr;
}

void queue_state_note_settings(const struct queue *q, struct buf *out)
{
    const struct queue_settings *s = &q->settings;
    queue_record_add(out, NOTE_SETTINGS, 1);
    queue_record_add(out, s->is_fifo, 1);
    queue_record_add(out, (uint64_t)s->visibility_ns, 8);
    queue_record_add(out, (uint64_t)s->retention_ns, 8);
    queue_record_add(out, (uint64_t)s->delay_ns, 8);
    queue_record_add(out, s->receives_max, 4);
    queue_record_add_str(out, weir_text(s->dead_letters ? s->dead_letters : ""));
}

static void take_settings(struct queue *q, struct note_reader *r)
{
    struct queue_settings s = {0};
    s.is_fifo = queue_record_take(r, 1) != 0;
    s.visibility_ns = (int64_t)queue_record_take(r, 8);
    s.retention_ns = (int64_t)queue_record_take(r, 8);
    s.delay_ns = (int64_t)queue_record_take(r, 8);
    s.receives_max = (uint32_t)queue_record_take(r, 4);
    weir_str dead_letters = queue_record_take_str(r);
    if (r->is_short)
        return;
    s.dead_letters = kept(q, dead_letters).ptr;
    queue_state_adopt(q, &s);
    q->is_set = true;
}

static void take_receive(struct queue *q, uint64_t sequence, uint32_t receives, int64_t now_ns,
                         int64_t until_ns)
{
    uint32_t at = queue_table_find(&q->table, sequence);
    if (at == NO_INDEX)
        at = queue_table_add(&q->table, sequence);
    struct queue_entry *e = &q->table.entries[at];
    if (!e->first_received_ns)
        e->first_received_ns = now_ns;
    e->receives = receives;
    queue_table_hide(&q->table, at, ENTRY_IN_FLIGHT, until_ns);
}

static void take_receives(struct queue *q, struct note_reader *r)
{
    int64_t now_ns = (int64_t)queue_record_take(r, 8), until_ns = (int64_t)queue_record_take(r, 8);
    uint64_t cursor = queue_record_take(r, 8);
    if (cursor > q->cursor)
        q->cursor = cursor;
    while (r->at < r->end) {
        uint64_t first = queue_record_take(r, 8);
        uint32_t count = (uint32_t)queue_record_take(r, 4),
                 receives = (uint32_t)queue_record_take(r, 4);
        if (r->is_short)
            return;
        for (uint32_t i = 0; i < count; i++)
            take_receive(q, first + i, receives, now_ns, until_ns);
    }
}

static void take_hide(struct queue *q, struct note_reader *r)
{
    uint32_t at = queue_table_find(&q->table, queue_record_take(r, 8));
    int64_t until_ns = (int64_t)queue_record_take(r, 8);
    bool is_returned = queue_record_take(r, 1) != 0;
    if (at == NO_INDEX || r->is_short)
        return;
    queue_table_hide(&q->table, at, ENTRY_IN_FLIGHT, until_ns);
    if (is_returned)
        q->table.entries[at].flags |= ENTRY_RETURNED;
}

/* Live, the memory was changed when the note was made, and may have gone on since; what a note undoes
 * in a crash is no more than a receive, which comes again. A purge goes by the order of the log. */
static void note(void *state, weir_str bytes)
{
    struct queue *q = state;
    struct note_reader r = {bytes.ptr, bytes.ptr + bytes.len, false};
    (void)pthread_mutex_lock(&q->lock);
    uint64_t type = queue_record_take(&r, 1);
    if (type == NOTE_PURGE)
        queue_dedup_fini(&q->dedup);
    else if (!q->is_recovered && type == NOTE_SETTINGS)
        take_settings(q, &r);
    else if (!q->is_recovered && type == NOTE_RECEIVE)
        take_receives(q, &r);
    else if (!q->is_recovered && type == NOTE_HIDE)
        take_hide(q, &r);
    (void)pthread_mutex_unlock(&q->lock);
}

/* ---- checkpoints ---- */

/* What is under way comes back when it is loaded: its consumer is gone then. */
static enum entry_state state_to_save(const struct queue_entry *e)
{
    if (e->state == ENTRY_DELAYED || e->state == ENTRY_IN_FLIGHT || e->state == ENTRY_DUPLICATE)
        return (enum entry_state)e->state;
    return ENTRY_READY;
}

static void save(void *state, struct buf *out)
{
    struct queue *q = state;
    (void)pthread_mutex_lock(&q->lock);
    queue_record_add(out, SAVE_FORMAT, 1);
    queue_state_note_settings(q, out);
    queue_record_add(out, q->is_set, 1);
    queue_record_add(out, q->cursor, 8);
    queue_record_add(out, q->put_bytes, 8);
    queue_record_add(out, q->put_count, 8);
    queue_record_add(out, q->dedup.next - q->dedup.first, 8);
    for (uint64_t i = q->dedup.first; i < q->dedup.next; i++) {
        const struct dedup_entry *d = &q->dedup.ring[i & (q->dedup.cap - 1)];
        queue_record_add(out, d->hash[0], 8);
        queue_record_add(out, d->hash[1], 8);
        queue_record_add(out, (uint64_t)d->sent_ns, 8);
        queue_record_add(out, d->sequence, 8);
    }
    for (uint32_t i = 0; i < q->table.count; i++) {
        const struct queue_entry *e = &q->table.entries[i];
        /* Of a FIFO's look-ahead what is not special is found again by reading. */
        if (e->state == ENTRY_FREE || (q->is_fifo && e->state == ENTRY_READY && !e->receives))
            continue;
        queue_record_add(out, e->sequence, 8);
        queue_record_add(out, (uint64_t)e->time_ns, 8);
        queue_record_add(out, (uint64_t)e->first_received_ns, 8);
        queue_record_add(out, e->receives, 4);
        queue_record_add(out, state_to_save(e), 1);
        queue_record_add(out, e->flags & ENTRY_RETURNED, 1);
    }
    (void)pthread_mutex_unlock(&q->lock);
}

static void load_entry(struct queue *q, struct note_reader *r)
{
    uint64_t sequence = queue_record_take(r, 8);
    int64_t time_ns = (int64_t)queue_record_take(r, 8), first_ns = (int64_t)queue_record_take(r, 8);
    uint32_t receives = (uint32_t)queue_record_take(r, 4);
    uint64_t state = queue_record_take(r, 1), flags = queue_record_take(r, 1);
    if (r->is_short || queue_table_find(&q->table, sequence) != NO_INDEX)
        return;
    uint32_t at = queue_table_add(&q->table, sequence);
    q->table.entries[at].first_received_ns = first_ns;
    q->table.entries[at].receives = receives;
    if (state == ENTRY_DELAYED || state == ENTRY_IN_FLIGHT || state == ENTRY_DUPLICATE)
        queue_table_hide(&q->table, at, (enum entry_state)state, time_ns);
    else
        queue_table_show(&q->table, at, q->is_fifo);
    q->table.entries[at].flags = flags & ENTRY_RETURNED;
    if (state == ENTRY_DUPLICATE) {
        MEM_PUSH(q->duplicates, q->duplicate_count, q->duplicate_cap) = sequence;
        atomic_store(&q->has_duplicates, true);
    }
}

static void load(void *state, weir_str bytes)
{
    struct queue *q = state;
    struct note_reader r = {bytes.ptr, bytes.ptr + bytes.len, false};
    (void)pthread_mutex_lock(&q->lock);
    uint64_t format = queue_record_take(&r, 1), type = queue_record_take(&r, 1);
    if (format == SAVE_FORMAT && type == NOTE_SETTINGS) {
        take_settings(q, &r);
        q->is_set = queue_record_take(&r, 1) != 0;
        q->cursor = queue_record_take(&r, 8);
        q->put_bytes = queue_record_take(&r, 8);
        q->put_count = queue_record_take(&r, 8);
        for (uint64_t n = queue_record_take(&r, 8); n && !r.is_short; n--) {
            struct dedup_entry d = {.hash = {queue_record_take(&r, 8), 0}};
            d.hash[1] = queue_record_take(&r, 8);
            d.sent_ns = (int64_t)queue_record_take(&r, 8);
            d.sequence = queue_record_take(&r, 8);
            queue_dedup_add(&q->dedup, &d);
        }
        while (r.at < r.end)
            load_entry(q, &r);
    }
    (void)pthread_mutex_unlock(&q->lock);
}

/* The consumers of the process before are dead: what they held is visible now. */
void queue_state_recovered(struct queue *q)
{
    if (q->is_recovered)
        return;
    q->is_recovered = true;
    if (q->is_fifo)
        q->cursor = 0; /* the groups are found by reading from the oldest on */
    for (uint32_t i = 0; i < q->table.count; i++) {
        const struct queue_entry *e = &q->table.entries[i];
        if (e->state == ENTRY_IN_FLIGHT && !(e->flags & ENTRY_RETURNED))
            queue_table_show(&q->table, i, q->is_fifo);
    }
}

static void opened(void *state)
{
    struct queue *q = state;
    (void)pthread_mutex_lock(&q->lock);
    queue_state_recovered(q);
    (void)pthread_mutex_unlock(&q->lock);
}

const struct stream_kind queue_kind = {1, create, destroy, put, ack, note, save, load, opened};
