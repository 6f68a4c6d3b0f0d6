/* journal/unit.c: units: records built by the submitter, apart from what depends on their place. */
#include <stddef.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "journal/internal.h"

enum {
    POOL_BYTES_MAX = 1 << 20,
    POOL_UNIT_MAX = 512 << 10, /* larger buffers are not kept */
};

static uint32_t padding(size_t n)
{
    return (uint32_t)(-n & 7);
}

static void fill_record(struct record *r, enum record_type type, uint32_t refs, uint32_t body_bytes)
{
    memset(r, 0, sizeof *r);
    r->type = (uint8_t)type;
    r->refs = (uint16_t)refs;
    r->pad = (uint8_t)padding(body_bytes);
    r->length = (uint32_t)(sizeof *r + refs * sizeof(struct record_ref)) + body_bytes + r->pad;
}

char *unit_record(struct buf *b, enum record_type type, uint32_t refs, uint32_t body_bytes)
{
    struct record r;
    fill_record(&r, type, refs, body_bytes);
    char *to = buf_room(b, r.length);
    memset(to, 0, r.length);
    memcpy(to, &r, sizeof r);
    b->len += r.length;
    return to;
}

struct journal_unit *journal_begin(struct journal *j)
{
    (void)pthread_mutex_lock(&j->pool_lock);
    struct journal_unit *u = j->pool;
    if (u) {
        j->pool = u->next;
        j->pool_bytes -= u->cap + sizeof *u;
    }
    (void)pthread_mutex_unlock(&j->pool_lock);
    if (!u) {
        u = MEM_NEW(struct journal_unit);
        u->journal = j;
    }
    u->next = NULL;
    return u;
}

static void unit_free(struct journal_unit *u)
{
    mem_free(u->bytes);
    mem_free(u->puts);
    mem_free(u->counts);
    mem_free(u);
}

static void reset(struct journal_unit *u)
{
    u->len = 0;
    u->put_count = u->records = u->ack_at = u->count_count = 0;
    u->is_done = u->is_too_large = u->is_chain_anew = false;
    u->chain = NULL;
    u->status = WEIR_OK;
    u->done = NULL;
}

void unit_release(struct journal *j, struct journal_unit *units)
{
    struct journal_unit *dropped = NULL;
    (void)pthread_mutex_lock(&j->pool_lock);
    while (units) {
        struct journal_unit *u = units;
        units = u->next;
        size_t size = u->cap + sizeof *u;
        bool is_kept = u->cap <= POOL_UNIT_MAX && j->pool_bytes + size <= POOL_BYTES_MAX;
        reset(u);
        u->next = is_kept ? j->pool : dropped;
        *(is_kept ? &j->pool : &dropped) = u;
        if (is_kept)
            j->pool_bytes += size;
    }
    (void)pthread_mutex_unlock(&j->pool_lock);
    while (dropped) {
        struct journal_unit *u = dropped;
        dropped = u->next;
        unit_free(u);
    }
}

void journal_cancel(struct journal_unit *take)
{
    take->next = NULL;
    unit_release(take->journal, take);
}

/* Room for a record; NULL once the unit is larger than a record may be. */
static struct record *add_record(struct journal_unit *u, enum record_type type, size_t refs,
                                 size_t body_bytes)
{
    size_t n = sizeof(struct record) + refs * sizeof(struct record_ref) + body_bytes + 7;
    if (u->is_too_large || body_bytes > FORMAT_RECORD_MAX || u->len + n > FORMAT_RECORD_MAX ||
        refs > UINT16_MAX) {
        u->is_too_large = true;
        return NULL;
    }
    if (u->len + n > u->cap) {
        size_t cap = u->cap ? u->cap : 512;
        while (cap < u->len + n)
            cap *= 2;
        u->bytes = mem_grow(u->bytes, cap);
        u->cap = cap;
    }
    struct record *r = (struct record *)(void *)(u->bytes + u->len);
    fill_record(r, type, (uint32_t)refs, (uint32_t)body_bytes);
    u->len += r->length;
    u->records++;
    u->ack_at = 0;
    return r;
}

static struct record_ref *refs_of(struct record *r)
{
    return (struct record_ref *)(void *)(r + 1);
}

static char *body_of(struct record *r)
{
    return (char *)(refs_of(r) + r->refs);
}

static void close_record(struct record *r)
{
    r->body_crc = hash_crc32c(0, record_body(r), record_body_bytes(r));
}

void unit_put(struct journal_unit *u, struct stream *const *streams, size_t n,
              const struct iovec *parts, size_t part_count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < part_count; i++)
        bytes += parts[i].iov_len;
    uint32_t at = (uint32_t)u->len;
    struct record *r = add_record(u, RECORD_PUT, n, bytes);
    if (!r)
        return;
    struct record_ref *ref = refs_of(r);
    for (size_t i = 0; i < n;
         i++) { /* the committer finds the stream here, and puts the sequence */
        ref[i].stream = streams[i]->id;
        ref[i].zero = 0;
        ref[i].sequence = (uint64_t)(uintptr_t)streams[i];
    }
    char *to = body_of(r);
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].iov_len)
            memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
    memset(to, 0, r->pad);
    close_record(r);
    MEM_PUSH(u->puts, u->put_count, u->put_cap) = at;
}

static void add_words(struct journal_unit *u, enum record_type type, const struct stream *s,
                      const uint64_t *words, size_t n)
{
    struct record *r = add_record(u, type, 1, n * sizeof *words);
    if (!r)
        return;
    *refs_of(r) = (struct record_ref){.stream = s->id};
    memcpy(body_of(r), words, n * sizeof *words);
    close_record(r);
}

void unit_ack(struct journal_unit *u, struct stream *s, uint64_t first, uint64_t count)
{
    if (count == 0 || u->is_too_large)
        return;
    if (u->ack_at) {
        struct record *last = (struct record *)(void *)(u->bytes + u->ack_at - 1);
        uint64_t words[2];
        memcpy(words, body_of(last), sizeof words);
        if (refs_of(last)->stream == s->id && words[0] + words[1] == first) {
            words[1] += count;
            memcpy(body_of(last), words, sizeof words);
            close_record(last);
            return;
        }
    }
    uint32_t at = (uint32_t)u->len;
    add_words(u, RECORD_ACK, s, (uint64_t[]){first, count}, 2);
    u->ack_at = u->is_too_large ? 0 : at + 1;
}

void unit_trim(struct journal_unit *u, struct stream *s, uint64_t below)
{
    add_words(u, RECORD_TRIM, s, &below, 1);
}

void unit_note(struct journal_unit *u, struct stream *s, weir_str bytes)
{
    struct record *r = add_record(u, RECORD_NOTE, 1, bytes.len);
    if (!r)
        return;
    *refs_of(r) = (struct record_ref){.stream = s->id};
    char *to = body_of(r);
    if (bytes.len)
        memcpy(to, bytes.ptr, bytes.len);
    memset(to + bytes.len, 0, r->pad);
    close_record(r);
}

void unit_moved(struct journal_unit *u, const uint64_t *words, size_t n)
{
    struct record *r = add_record(u, RECORD_MOVED, 0, n * sizeof *words);
    if (!r)
        return;
    memcpy(body_of(r), words, n * sizeof *words);
    close_record(r);
}

void unit_count(struct journal_unit *u, uint32_t counter, int64_t delta)
{
    for (uint32_t i = 0; i < u->count_count; i++) {
        if (u->counts[i].counter == counter) {
            u->counts[i].delta += delta;
            return;
        }
    }
    MEM_PUSH(u->counts, u->count_count, u->count_cap) = (struct count_body){counter, 0, delta};
}

void unit_chain(struct journal_unit *u, struct journal_chain *chain, bool is_anew)
{
    u->chain = chain;
    u->is_chain_anew = is_anew;
}

size_t unit_put_count(const struct journal_unit *u)
{
    return u->put_count;
}

size_t unit_bytes(const struct journal_unit *u)
{
    return u->len + (u->count_count ? sizeof(struct record) : 0) +
           u->count_count * sizeof *u->counts;
}

bool unit_is_empty(const struct journal_unit *u)
{
    return u->len == 0 && u->count_count == 0 && !u->is_too_large;
}

uint64_t unit_sequence(const struct journal_unit *u, size_t put, size_t stream)
{
    if (put >= u->put_count || u->status != WEIR_OK)
        return UINT64_MAX;
    const struct record *r = (const struct record *)(const void *)(u->bytes + u->puts[put]);
    return stream < r->refs ? record_refs(r)[stream].sequence : UINT64_MAX;
}

/* The driver is told when the first unit of a group comes in; a lazy one does not make a group. */
static void push(struct journal *j, struct journal_unit *u)
{
    bool is_lazy = u->level == JOURNAL_LAZY;
    journal_lock(j);
    unit_list_push(&j->queue, u);
    bool is_first = is_lazy ? j->lazy_since_ns == 0 && !j->is_urgent : !j->is_urgent;
    if (is_lazy && j->lazy_since_ns == 0)
        j->lazy_since_ns = clock_mono(j->clock);
    j->is_urgent |= !is_lazy;
    void (*wake)(void *user) = is_first && !is_lazy ? j->wake : NULL;
    void *user = j->wake_user;
    bool has_thread = j->has_thread;
    journal_unlock(j);
    if (is_first && has_thread && !wake)
        (void)pthread_cond_signal(&j->wanted);
    if (wake)
        wake(user);
}

void journal_submit(struct journal_unit *take, enum journal_level level, journal_done *done,
                    void *user)
{
    if (take->count_count) {
        size_t bytes = take->count_count * sizeof *take->counts;
        struct record *r = add_record(take, RECORD_COUNT, 0, bytes);
        if (r) {
            memcpy(body_of(r), take->counts, bytes);
            close_record(r);
        }
    }
    take->level = level;
    take->done = done;
    take->user = user;
    push(take->journal, take);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done;
    weir_status status;
};

static void waiter_done(void *user, weir_status status, const struct journal_unit *u)
{
    struct waiter *w = user;
    (void)pthread_mutex_lock(&w->lock);
    w->is_done = true;
    w->status = status;
    (void)pthread_cond_signal(&w->changed);
    (void)pthread_mutex_unlock(&w->lock);
}

weir_status journal_submit_wait(struct journal_unit *take)
{
    struct journal *j = take->journal;
    struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    journal_submit(take, JOURNAL_SYNCED, waiter_done, &w);
    if (j->has_thread)
        journal_kick(j); /* whoever is woken otherwise may be this very thread */
    (void)pthread_mutex_lock(&w.lock);
    while (!w.is_done) {
        if (!j->has_thread) { /* commits take turns, so ours is over when one of them found nothing */
            (void)pthread_mutex_unlock(&w.lock);
            (void)journal_commit(j);
            (void)pthread_mutex_lock(&w.lock);
            continue;
        }
        (void)pthread_cond_wait(&w.changed, &w.lock);
    }
    (void)pthread_mutex_unlock(&w.lock);
    (void)pthread_cond_destroy(&w.changed);
    (void)pthread_mutex_destroy(&w.lock);
    if (j->durability == JOURNAL_FSYNC || w.status != WEIR_OK)
        return w.status;
    commit_enter(j);
    bool is_synced = pending_settle(j) == 0 && pending_sync_log(j) == 0;
    commit_leave(j);
    return is_synced ? WEIR_OK : WEIR_E_FATAL;
}
