/* journal/queue_receive.c: receiving: first what came back, then from the cursor; dead letters, retention. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/queue_state.h"

enum { NOTE_CURSOR_AT = 17, MOVES_MAX = 64, SCAN_MAX = 4096, RETENTION_MAX = 4096 };

/* One receive: what it takes, and the note that tells of it. */
struct taking {
    struct queue *q;
    struct queue_message *out;
    size_t max, count;
    int64_t now_ns, until_ns;
    struct buf *bodies;
    uint64_t run_first; /* of the range that is being gathered for the note */
    uint32_t run_count, run_receives, receives_max;
    struct queue *dead_letters;
    struct queue_move *move;
};

static void end_run(struct taking *t)
{
    struct buf *note = &t->q->note;
    if (!t->run_count)
        return;
    if (!note->len) {
        queue_record_add(note, NOTE_RECEIVE, 1);
        queue_record_add(note, (uint64_t)t->now_ns, 8);
        queue_record_add(note, (uint64_t)t->until_ns, 8);
        queue_record_add(note, 0, 8); /* the cursor, see end_note */
    }
    queue_record_add(note, t->run_first, 8);
    queue_record_add(note, t->run_count, 4);
    queue_record_add(note, t->run_receives, 4);
    t->run_count = 0;
}

/* What was received does not tell where the cursor is: delayed ones come before their turn. */
static void end_note(struct taking *t)
{
    end_run(t);
    if (!t->q->note.len)
        return;
    struct buf place = {t->q->note.ptr + NOTE_CURSOR_AT, 0, 8};
    (void)pthread_mutex_lock(&t->q->lock);
    uint64_t cursor = t->q->cursor;
    (void)pthread_mutex_unlock(&t->q->lock);
    queue_record_add(&place, cursor, 8);
}

/* With the lock held: hides it and counts the receive. */
static void take(struct taking *t, uint32_t at)
{
    struct queue_entry *e = &t->q->table.entries[at];
    uint64_t sequence = e->sequence;
    e->receives++;
    if (!e->first_received_ns)
        e->first_received_ns = t->now_ns;
    struct queue_message *m = &t->out[t->count++];
    *m = (struct queue_message){.receipt = queue_state_receipt(t->q, sequence, e->receives),
                                .sequence = sequence,
                                .receives = e->receives,
                                .first_received_ns = e->first_received_ns};
    if (t->run_count && (sequence != t->run_first + t->run_count || e->receives != t->run_receives))
        end_run(t);
    if (!t->run_count++) {
        t->run_first = sequence;
        t->run_receives = e->receives;
    }
    queue_table_hide(&t->q->table, at, ENTRY_IN_FLIGHT, t->until_ns);
}

/* ---- dead letters ---- */

void queue_move_add(struct queue_move *m, struct journal_unit *u, uint64_t sequence,
                    const struct message_header *h, weir_str body)
{
    char header[MESSAGE_HEADER_MAX];
    struct iovec parts[2] = {{header, queue_record_encode(h, header)}, queue_record_part(body)};
    unit_put(u, &m->to->stream, 1, parts, 2);
    unit_ack(u, m->from->stream, sequence, 1);
    MEM_PUSH(m->sequences, m->count, m->cap) = sequence;
}

void queue_move_done(void *user, weir_status status, const struct journal_unit *u)
{
    struct queue_move *m = user;
    struct queue *q = m->from;
    (void)pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < m->count && status != WEIR_OK; i++) {
        uint32_t at = queue_table_find(&q->table, m->sequences[i]);
        if (at != NO_INDEX && q->table.entries[at].state == ENTRY_MOVING)
            queue_table_hide(&q->table, at, ENTRY_REMOVING, queue_now(q) + QUEUE_NS_PER_S);
    }
    (void)pthread_mutex_unlock(&q->lock);
    mem_free(m->sequences);
    mem_free(m);
}

/* With the lock held. */
static bool is_dead(const struct taking *t, const struct queue_entry *e)
{
    return t->dead_letters && t->receives_max && e->receives >= t->receives_max;
}

static void find_dead_letters(struct taking *t)
{
    struct queue_settings s;
    queue_settings_get(t->q, &s);
    if (!s.dead_letters || !s.receives_max)
        return;
    t->receives_max = s.receives_max;
    t->dead_letters = queue_find(t->q->journal, s.dead_letters);
}

static void mark_dead(struct taking *t, uint32_t at)
{
    if (!t->move) {
        t->move = MEM_NEW(struct queue_move);
        t->move->from = t->q;
        t->move->to = t->dead_letters;
    }
    MEM_PUSH(t->move->sequences, t->move->count, t->move->cap) = t->q->table.entries[at].sequence;
    queue_table_hide(&t->q->table, at, ENTRY_MOVING, 0);
}

static void come_back(struct queue *q, uint64_t sequence, weir_status status)
{
    (void)pthread_mutex_lock(&q->lock);
    uint32_t at = queue_table_find(&q->table, sequence);
    if (at != NO_INDEX && status == WEIR_E_REJECT)
        queue_state_drop(q, at);
    else if (at != NO_INDEX)
        queue_table_hide(&q->table, at, ENTRY_REMOVING, queue_now(q) + QUEUE_NS_PER_S);
    (void)pthread_mutex_unlock(&q->lock);
}

static void move_dead(struct taking *t)
{
    struct queue *q = t->q;
    struct queue_move *m = t->move;
    size_t n = m->count;
    struct journal_unit *u = journal_begin(q->journal);
    m->count = 0; /* queue_move_add fills it again with those that could be read */
    for (size_t i = 0; i < n; i++) {
        struct message_header h;
        weir_str body;
        uint64_t sequence = m->sequences[i];
        q->record.len = 0;
        weir_status status = stream_read(q->stream, sequence, &q->record);
        if (status != WEIR_OK) {
            come_back(q, sequence, status);
            continue;
        }
        (void)queue_record_decode(buf_str(&q->record), &h, &body);
        h.from_queue = weir_text(q->name);
        h.flags |= HEADER_NO_DEDUP;
        h.due_ns = h.sent_ns;
        h.receives += t->receives_max;
        queue_move_add(m, u, sequence, &h, body);
    }
    journal_submit(u, JOURNAL_SYNCED, queue_move_done, m);
}

/* ---- what came back ---- */

static void choose_returned(struct taking *t)
{
    struct queue *q = t->q;
    uint32_t at;
    while (t->count < t->max && (at = queue_table_first_ready(&q->table)) != NO_INDEX) {
        if (!is_dead(t, &q->table.entries[at]))
            take(t, at);
        else if (!t->move || t->move->count < MOVES_MAX)
            mark_dead(t, at);
        else
            break;
    }
}

static void choose_from_groups(struct taking *t)
{
    struct queue *q = t->q;
    uint32_t group, at;
    while (t->count < t->max && (group = q->groups.ready_first) != NO_INDEX) {
        struct queue_walk walk = {NO_INDEX, false, false};
        while (t->count < t->max &&
               (at = queue_groups_next(&q->groups, &q->table, group, &walk)) != NO_INDEX) {
            if (is_dead(t, &q->table.entries[at]))
                mark_dead(t, at);
            else
                take(t, at);
        }
        if (walk.is_over)
            queue_groups_rest(&q->groups, group);
        if (t->move && t->move->count >= MOVES_MAX)
            break;
    }
}

/* Reads what was chosen; what cannot be read now is left out. */
static void read_chosen(struct taking *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        size_t before = t->bodies->len;
        weir_status status = stream_read(t->q->stream, t->out[i].sequence, t->bodies);
        if (status != WEIR_OK) {
            t->bodies->len = before;
            come_back(t->q, t->out[i].sequence, status);
            continue;
        }
        t->out[kept] = t->out[i];
        t->out[kept++].body.len = t->bodies->len - before;
    }
    t->count = kept;
}

/* ---- from the cursor ---- */

static struct reader *reader_at_cursor(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    uint64_t cursor = q->cursor;
    (void)pthread_mutex_unlock(&q->lock);
    if (!q->reader)
        q->reader = reader_new(q->stream, cursor);
    else if (reader_position(q->reader) < cursor || !cursor)
        reader_seek(q->reader, cursor);
    return q->reader;
}

/* With the lock held: whether the message that was read at the cursor can be given out. */
static bool is_new(struct taking *t, uint64_t sequence, const struct message_header *h)
{
    struct queue *q = t->q;
    if (sequence < q->cursor) /* a put was looked at meanwhile */
        return false;
    q->cursor = sequence + 1;
    if (queue_table_find(&q->table, sequence) != NO_INDEX)
        return false;
    if (h->due_ns > t->now_ns && h->due_ns > h->sent_ns) {
        queue_state_index(q, sequence, h);
        return false;
    }
    return true;
}

static void take_from_cursor(struct taking *t)
{
    struct queue *q = t->q;
    struct reader *r = reader_at_cursor(q);
    weir_str payload, body;
    uint64_t sequence;
    for (size_t n = 0; t->count < t->max && n < SCAN_MAX; n++) {
        struct message_header h;
        if (reader_next(r, &payload, &sequence) != WEIR_OK)
            break;
        (void)queue_record_decode(payload, &h, &body);
        (void)pthread_mutex_lock(&q->lock);
        bool is_taken = is_new(t, sequence, &h);
        if (is_taken)
            take(t, queue_table_add(&q->table, sequence));
        (void)pthread_mutex_unlock(&q->lock);
        if (!is_taken)
            continue;
        buf_add_str(t->bodies, payload);
        t->out[t->count - 1].body.len = payload.len;
    }
}

/* Entries of messages that are gone: a note came after the ack in the log before a crash. */
static void sweep(struct queue *q)
{
    for (uint32_t i = 0; i < q->table.count; i++) {
        const struct queue_entry *e = &q->table.entries[i];
        bool is_plain =
            e->state == ENTRY_READY || e->state == ENTRY_IN_FLIGHT || e->state == ENTRY_DELAYED;
        if (is_plain && !(e->flags & ENTRY_LINKED) && e->sequence < q->cursor)
            queue_state_drop(q, i);
    }
}

/* FIFO: messages get into their groups as far as the look-ahead goes. */
static void look_ahead(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    bool is_first_look = !q->cursor, has_room = q->table.live < QUEUE_LOOK_AHEAD;
    (void)pthread_mutex_unlock(&q->lock);
    struct reader *r = reader_at_cursor(q);
    weir_str payload, body;
    uint64_t sequence;
    while (has_room && reader_next(r, &payload, &sequence) == WEIR_OK) {
        struct message_header h;
        (void)queue_record_decode(payload, &h, &body);
        (void)pthread_mutex_lock(&q->lock);
        has_room = q->table.live < QUEUE_LOOK_AHEAD;
        if (sequence >= q->cursor) {
            queue_state_index(q, sequence, &h);
            q->cursor = sequence + 1;
        }
        (void)pthread_mutex_unlock(&q->lock);
    }
    if (!is_first_look)
        return;
    (void)pthread_mutex_lock(&q->lock);
    sweep(q);
    (void)pthread_mutex_unlock(&q->lock);
}

/* ---- retention ---- */

void queue_state_retain(struct queue *q)
{
    struct queue_settings s;
    int64_t now_ns = queue_now(q), next_ns = atomic_load(&q->retention_next_ns);
    if (now_ns < next_ns ||
        !atomic_compare_exchange_strong(&q->retention_next_ns, &next_ns, now_ns + QUEUE_NS_PER_S))
        return;
    queue_settings_get(q, &s);
    struct reader *r = reader_new(q->stream, stream_first_live(q->stream));
    struct journal_unit *u = journal_begin(q->journal);
    struct message_header h;
    weir_str payload, body;
    uint64_t sequence;
    size_t n = 0;
    while (n < RETENTION_MAX && reader_next(r, &payload, &sequence) == WEIR_OK &&
           queue_record_decode(payload, &h, &body) && now_ns - h.sent_ns >= s.retention_ns) {
        unit_ack(u, q->stream, sequence, 1);
        n++;
    }
    reader_free(r);
    if (!n) {
        journal_cancel(u);
        return;
    }
    if (n == RETENTION_MAX)
        atomic_store(&q->retention_next_ns, now_ns);
    journal_submit(u, JOURNAL_LAZY, NULL, NULL);
}

/* ---- the whole ---- */

static void finish(struct taking *t, size_t start)
{
    const char *at = t->count ? t->bodies->ptr + start : NULL;
    for (size_t i = 0; i < t->count; i++) {
        struct queue_message *m = &t->out[i];
        weir_str record = {at, m->body.len};
        struct message_header h;
        at += record.len;
        (void)queue_record_decode(record, &h, &m->body);
        m->sent_ns = h.sent_ns;
        m->group = h.group;
        m->dedup = h.dedup;
        m->from_queue = h.from_queue;
        m->receives += h.receives;
    }
}

static void take_all(struct taking *t)
{
    struct queue *q = t->q;
    queue_state_flush_duplicates(q);
    if (q->is_fifo)
        look_ahead(q);
    (void)pthread_mutex_lock(&q->lock);
    queue_state_recovered(q);
    queue_state_expire(q, t->now_ns);
    size_t room = q->table.hidden < QUEUE_IN_FLIGHT_MAX ? QUEUE_IN_FLIGHT_MAX - q->table.hidden : 0;
    if (t->max > room)
        t->max = room;
    if (q->is_fifo)
        choose_from_groups(t);
    else
        choose_returned(t);
    (void)pthread_mutex_unlock(&q->lock);
    read_chosen(t);
    if (t->move)
        move_dead(t);
    if (!q->is_fifo)
        take_from_cursor(t);
    end_note(t);
}

size_t queue_receive(struct queue *q, size_t max, int64_t visibility_ns, struct queue_message *out,
                     struct buf *bodies)
{
    size_t start = bodies->len;
    struct taking t = {.q = q, .out = out, .max = max, .now_ns = queue_now(q), .bodies = bodies};
    if (!visibility_ns) {
        struct queue_settings s;
        queue_settings_get(q, &s);
        visibility_ns = s.visibility_ns;
    }
    if (visibility_ns > QUEUE_HIDE_MAX_NS)
        visibility_ns = QUEUE_HIDE_MAX_NS;
    t.until_ns = t.now_ns + (visibility_ns > 0 ? visibility_ns : 0);
    queue_state_retain(q);
    find_dead_letters(&t);
    (void)pthread_mutex_lock(&q->receive_lock);
    q->note.len = 0;
    take_all(&t);
    if (q->note.len)
        queue_state_send_note(q, buf_str(&q->note), JOURNAL_WRITTEN);
    (void)pthread_mutex_unlock(&q->receive_lock);
    finish(&t, start);
    return t.count;
}
