/* journal/queue_admin.c: what people do with a queue: count, peek, purge, redrive. */
#include "base/mem.h"
#include "journal/queue_state.h"

enum { MOVES_PER_UNIT = 256, MOVE_BYTES = 1 << 20 };

static int64_t oldest_age(const struct queue *q)
{
    struct buf record = {0};
    struct message_header h = {0};
    weir_str body;
    int64_t age_ns = 0;
    if (stream_read(q->stream, stream_first_live(q->stream), &record) == WEIR_OK &&
        queue_record_decode(buf_str(&record), &h, &body))
        age_ns = queue_now(q) - h.sent_ns;
    buf_fini(&record);
    return age_ns > 0 ? age_ns : 0;
}

void queue_count(const struct queue *q, struct queue_count *out)
{
    struct queue *self = q->self;
    uint64_t live = stream_live(q->stream);
    *out = (struct queue_count){0};
    (void)pthread_mutex_lock(&self->lock);
    queue_state_expire(self, queue_now(q));
    uint64_t duplicates = self->table.duplicates;
    out->hidden = self->table.hidden;
    out->delayed = self->table.delayed;
    (void)pthread_mutex_unlock(&self->lock);
    uint64_t others = out->hidden + out->delayed + duplicates;
    out->visible = live > others ? live - others : 0;
    uint64_t put_count = self->put_count;
    if (put_count)
        out->bytes = (uint64_t)((double)self->put_bytes / (double)put_count * (double)live);
    if (live)
        out->oldest_ns = oldest_age(q);
}

static const char *state_name(const struct queue_entry *e)
{
    switch ((enum entry_state)e->state) {
    case ENTRY_DELAYED:
        return "delayed";
    case ENTRY_IN_FLIGHT:
    case ENTRY_REMOVING:
    case ENTRY_MOVING:
        return "hidden";
    case ENTRY_DUPLICATE:
        return NULL;
    case ENTRY_FREE:
    case ENTRY_READY:
        break;
    }
    return "visible";
}

/* NULL: nobody shall see it. */
static const char *look_up(struct queue *q, struct queue_message *m)
{
    const char *state = "visible";
    (void)pthread_mutex_lock(&q->lock);
    uint32_t at = queue_table_find(&q->table, m->sequence);
    if (at != NO_INDEX) {
        const struct queue_entry *e = &q->table.entries[at];
        m->receives += e->receives;
        m->first_received_ns = e->first_received_ns;
        state = state_name(e);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return state;
}

void queue_walk(struct queue *q, uint64_t from,
                bool (*fn)(void *user, const struct queue_message *m, const char *state),
                void *user)
{
    uint64_t first = stream_first_live(q->stream), sequence;
    struct reader *r = reader_new(q->stream, from > first ? from : first);
    weir_str payload;
    bool is_wanted = true;
    (void)pthread_mutex_lock(&q->lock);
    queue_state_expire(q, queue_now(q));
    (void)pthread_mutex_unlock(&q->lock);
    while (is_wanted && reader_next(r, &payload, &sequence) == WEIR_OK) {
        struct message_header h;
        struct queue_message m = {.sequence = sequence};
        (void)queue_record_decode(payload, &h, &m.body);
        m.sent_ns = h.sent_ns;
        m.receives = h.receives;
        m.group = h.group;
        m.dedup = h.dedup;
        m.from_queue = h.from_queue;
        const char *state = look_up(q, &m);
        if (state)
            is_wanted = fn(user, &m, state);
    }
    reader_free(r);
}

struct peeking {
    size_t left;
    void (*fn)(void *user, const struct queue_message *m, const char *state);
    void *user;
};

static bool peek_one(void *user, const struct queue_message *m, const char *state)
{
    struct peeking *p = user;
    p->fn(p->user, m, state);
    return --p->left > 0;
}

void queue_peek(struct queue *q, size_t max,
                void (*fn)(void *user, const struct queue_message *m, const char *state),
                void *user)
{
    struct peeking p = {max, fn, user};
    if (max)
        queue_walk(q, 0, peek_one, &p);
}

uint64_t queue_next(const struct queue *q)
{
    return stream_next(q->stream);
}

weir_status queue_purge(struct queue *q, uint64_t *purged)
{
    struct journal_unit *u = journal_begin(q->journal);
    struct buf note = {0};
    queue_record_add(&note, NOTE_PURGE, 1);
    uint64_t before = stream_live(q->stream);
    unit_trim(u, q->stream, stream_next(q->stream));
    unit_note(u, q->stream, buf_str(&note));
    buf_fini(&note);
    weir_status status = journal_submit_wait(u);
    *purged = status == WEIR_OK ? before : 0;
    return status;
}

bool queue_claim(struct queue *q, uint64_t sequence)
{
    (void)pthread_mutex_lock(&q->lock);
    uint32_t at = queue_table_find(&q->table, sequence);
    if (at == NO_INDEX)
        at = queue_table_add(&q->table, sequence);
    uint8_t state = q->table.entries[at].state;
    bool is_free = state == ENTRY_READY || state == ENTRY_DELAYED;
    if (is_free)
        queue_table_hide(&q->table, at, ENTRY_MOVING, 0);
    (void)pthread_mutex_unlock(&q->lock);
    if (!is_free || stream_is_live(q->stream, sequence))
        return is_free;
    /* Its ack came after it was read; from now on none can come. */
    (void)pthread_mutex_lock(&q->lock);
    if ((at = queue_table_find(&q->table, sequence)) != NO_INDEX)
        queue_state_drop(q, at);
    (void)pthread_mutex_unlock(&q->lock);
    return false;
}

void queue_unclaim(struct queue *q, const uint64_t *sequences, size_t count)
{
    (void)pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < count; i++) {
        uint32_t at = queue_table_find(&q->table, sequences[i]);
        if (at != NO_INDEX && q->table.entries[at].state == ENTRY_MOVING)
            queue_state_show(q, at);
    }
    (void)pthread_mutex_unlock(&q->lock);
    queue_state_tell(q);
}

void queue_take(struct queue *q, uint64_t sequence, struct journal_unit *u)
{
    unit_ack(u, q->stream, sequence, 1);
}

/* One unit; a redriven message is sent anew: its age and its receives begin again, as on AWS. */
static weir_status redrive_some(struct queue_move *m, struct reader *r, uint64_t max)
{
    struct journal_unit *u = journal_begin(m->from->journal);
    weir_str payload, body;
    uint64_t sequence;
    m->count = 0;
    while (m->count < max && unit_bytes(u) < MOVE_BYTES &&
           reader_next(r, &payload, &sequence) == WEIR_OK) {
        struct message_header h;
        if (!queue_claim(m->from, sequence))
            continue;
        (void)queue_record_decode(payload, &h, &body);
        h.sent_ns = h.due_ns = queue_now(m->to);
        h.receives = 0;
        h.flags |= HEADER_NO_DEDUP;
        h.from_queue = (weir_str){0};
        queue_move_add(m, u, sequence, &h, body);
    }
    if (!m->count) {
        journal_cancel(u);
        return WEIR_IDLE;
    }
    weir_status status = journal_submit_wait(u);
    if (status != WEIR_OK)
        queue_unclaim(m->from, m->sequences, m->count);
    return status;
}

weir_status queue_redrive(struct queue *q, struct queue *to, uint64_t max, uint64_t *moved)
{
    struct queue_move m = {.from = q, .to = to};
    uint64_t end = stream_next(q->stream);
    weir_status status = WEIR_OK;
    *moved = 0;
    if (q == to)
        return WEIR_E_REJECT;
    (void)pthread_mutex_lock(&q->lock);
    queue_state_expire(q, queue_now(q));
    (void)pthread_mutex_unlock(&q->lock);
    struct reader *r = reader_new(q->stream, stream_first_live(q->stream));
    while (status == WEIR_OK && (!max || *moved < max) && reader_position(r) < end) {
        uint64_t left = max ? max - *moved : MOVES_PER_UNIT;
        status = redrive_some(&m, r, left < MOVES_PER_UNIT ? left : MOVES_PER_UNIT);
        if (status == WEIR_OK)
            *moved += m.count;
    }
    reader_free(r);
    mem_free(m.sequences);
    return status == WEIR_IDLE ? WEIR_OK : status;
}
