/* journal/stream.c: streams and their runs: which sequences are live, and where they lie. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "journal/internal.h"

static const struct stream_kind *find_kind(const struct journal *j, uint32_t id)
{
    for (const struct stream_kind *const *k = j->kinds; k && *k; k++)
        if ((*k)->id == id)
            return *k;
    return NULL;
}

struct stream *stream_by_id(struct journal *j, uint32_t id)
{
    return id > 0 && id <= j->stream_count ? j->streams[id - 1] : NULL;
}

/* Ids are dense: what was lost between is held open by NULL. */
static void reserve_id(struct journal *j, uint32_t id)
{
    while (j->stream_count < id)
        MEM_PUSH(j->streams, j->stream_count, j->stream_cap) = NULL;
}

struct stream *stream_make(struct journal *j, uint32_t id, weir_str name, uint32_t kind)
{
    struct stream *s = MEM_NEW(struct stream);
    s->journal = j;
    s->name = mem_copy(name.ptr, name.len);
    s->id = id ? id : j->stream_count + 1;
    s->kind_id = kind;
    s->kind = kind ? find_kind(j, kind) : NULL;
    reserve_id(j, s->id);
    j->streams[s->id - 1] = s;
    if (s->kind && s->kind->create)
        s->state = s->kind->create(s);
    return s;
}

static void run_free(struct run *r)
{
    mem_free(r->offsets);
    mem_free(r->loading);
    mem_free(r->bits);
    mem_free(r);
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    if (s->kind && s->kind->destroy)
        s->kind->destroy(s->state);
    for (uint32_t i = 0; i < s->run_count; i++)
        run_free(s->runs[i]);
    mem_free(s->runs);
    buf_fini(&s->kept);
    mem_free(s->name);
    mem_free(s);
}

struct stream *stream_find(struct journal *j, const char *name)
{
    struct stream *found = NULL;
    journal_lock(j);
    for (uint32_t i = 0; i < j->stream_count && !found; i++)
        if (j->streams[i] && strcmp(j->streams[i]->name, name) == 0)
            found = j->streams[i];
    journal_unlock(j);
    return found;
}

struct stream *stream_open(struct journal *j, const char *name, uint32_t kind, struct error *e)
{
    journal_lock(j);
    struct stream *s = stream_find(j, name);
    if (s && s->kind_id != kind) {
        if (e)
            error_set(e, EXIT_CONFIG, "stream %s: it is of kind %u on disk, not %u", name,
                      s->kind_id, kind);
        s = NULL;
    } else if (!s) {
        s = stream_make(j, 0, weir_text(name), kind);
        j->undeclared++;
    }
    journal_unlock(j);
    return s;
}

void stream_each(struct journal *j, void (*fn)(void *user, struct stream *s), void *user)
{
    for (uint32_t i = 0;; i++) {
        journal_lock(j);
        struct stream *s = i < j->stream_count ? j->streams[i] : NULL;
        bool is_end = i >= j->stream_count;
        journal_unlock(j);
        if (is_end)
            return;
        if (s)
            fn(user, s);
    }
}

const char *stream_name(const struct stream *s)
{
    return s->name;
}

uint32_t stream_kind_id(const struct stream *s)
{
    return s->kind_id;
}

void *stream_state(const struct stream *s)
{
    return s->state;
}

struct journal *stream_journal(const struct stream *s)
{
    return s->journal;
}

uint64_t stream_live(const struct stream *s)
{
    journal_lock(s->journal);
    uint64_t n = s->live;
    journal_unlock(s->journal);
    return n;
}

uint64_t stream_next(const struct stream *s)
{
    journal_lock(s->journal);
    uint64_t n = s->next;
    journal_unlock(s->journal);
    return n;
}

uint64_t stream_first_live(const struct stream *s)
{
    journal_lock(s->journal);
    uint64_t first = 0;
    if (!stream_seek_live(s, &first))
        first = s->next;
    journal_unlock(s->journal);
    return first;
}

bool stream_is_live(const struct stream *s, uint64_t sequence)
{
    journal_lock(s->journal);
    bool is_live = stream_find_live(s, sequence) != NULL;
    journal_unlock(s->journal);
    return is_live;
}

void stream_listen(struct stream *s, void (*fn)(void *user), void *user)
{
    (void)pthread_mutex_lock(&s->journal->listen_lock); /* no call of the old one is under way */
    journal_lock(s->journal);
    s->listener = fn;
    s->listener_user = user;
    journal_unlock(s->journal);
    (void)pthread_mutex_unlock(&s->journal->listen_lock);
}

/* ---- runs ---- */

bool run_is_live(const struct run *r, uint32_t i)
{
    return i >= r->skip && i < r->count && (!r->bits || (r->bits[i / 64] >> i % 64 & 1));
}

/* The index of the first run that ends after the sequence. */
static uint32_t run_index(const struct stream *s, uint64_t sequence)
{
    uint32_t low = 0, high = s->run_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct run *r = s->runs[middle];
        if (r->first + r->count <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct run *stream_find_live(const struct stream *s, uint64_t sequence)
{
    uint32_t i = run_index(s, sequence);
    if (i >= s->run_count || s->runs[i]->first > sequence)
        return NULL;
    struct run *r = s->runs[i];
    return run_is_live(r, (uint32_t)(sequence - r->first)) ? r : NULL;
}

/* The first live index at or after `from`, or count. */
static uint32_t next_live(const struct run *r, uint32_t from)
{
    uint32_t i = from < r->skip ? r->skip : from;
    if (!r->bits)
        return i < r->count ? i : r->count;
    while (i < r->count) {
        uint64_t word = r->bits[i / 64] >> i % 64;
        if (word)
            return i + (uint32_t)__builtin_ctzll(word);
        i = (i / 64 + 1) * 64;
    }
    return r->count;
}

struct run *stream_seek_live(const struct stream *s, uint64_t *sequence)
{
    for (uint32_t k = run_index(s, *sequence); k < s->run_count; k++) {
        struct run *r = s->runs[k];
        uint32_t from = *sequence > r->first ? (uint32_t)(*sequence - r->first) : 0;
        uint32_t i = r->live ? next_live(r, from) : r->count;
        if (i < r->count) {
            *sequence = r->first + i;
            return r;
        }
    }
    return NULL;
}

struct run *stream_insert_run(struct stream *s, uint64_t first)
{
    struct run *r = MEM_NEW(struct run);
    r->first = first;
    MEM_PUSH(s->runs, s->run_count, s->run_cap) = r;
    uint32_t i = s->run_count - 1;
    for (; i > 0 && s->runs[i - 1]->first > first; i--)
        s->runs[i] = s->runs[i - 1];
    s->runs[i] = r;
    return r;
}

static void run_grow(struct run *r)
{
    uint32_t cap = r->cap ? r->cap * 2 : 16;
    r->offsets = mem_grow(r->offsets, cap * sizeof *r->offsets);
    if (r->bits) {
        size_t old = (r->cap + 63) / 64, now = (cap + 63) / 64;
        r->bits = mem_grow(r->bits, now * sizeof *r->bits);
        memset(r->bits + old, 0, (now - old) * sizeof *r->bits);
    }
    r->cap = cap;
}

/* The run that this sequence continues, if there is one. */
static struct run *run_to_extend(const struct stream *s, const struct segment *g, uint64_t sequence)
{
    uint32_t i = sequence >= s->next ? s->run_count : run_index(s, sequence);
    struct run *r = i > 0 ? s->runs[i - 1] : NULL;
    if (!r || r->segment != g || (!r->offsets && r->count) || r->count >= INT32_MAX)
        return NULL;
    if (r->live == 0 && r->count && sequence >= s->next) { /* all are dead: it is used again */
        r->first = sequence;
        r->count = r->skip = 0;
        mem_free(r->bits);
        r->bits = NULL;
    }
    return r->first + r->count == sequence ? r : NULL;
}

/* After damage records may be met twice or out of order; then the first copy holds. */
bool stream_add(struct stream *s, struct segment *g, uint64_t sequence, uint32_t offset)
{
    if (sequence < s->next) {
        uint32_t i = run_index(s, sequence);
        if (i < s->run_count && s->runs[i]->first <= sequence)
            return false;
    }
    struct run *r = run_to_extend(s, g, sequence);
    if (!r) {
        r = stream_insert_run(s, sequence);
        r->segment = g;
    }
    if (r->count == r->cap)
        run_grow(r);
    r->offsets[r->count] = offset;
    if (r->bits)
        r->bits[r->count / 64] |= 1ULL << r->count % 64;
    r->count++;
    r->live++;
    s->live++;
    g->refs++;
    g->live++;
    if (sequence >= s->next)
        s->next = sequence + 1;
    return true;
}

static void run_make_bits(struct run *r)
{
    uint32_t cap = r->cap > r->count ? r->cap : r->count;
    r->bits = mem_new((cap + 63) / 64 * sizeof *r->bits);
    for (uint32_t i = r->skip; i < r->count; i++)
        r->bits[i / 64] |= 1ULL << i % 64;
}

static uint32_t run_kill(struct run *r, uint32_t from, uint32_t to)
{
    if (from < r->skip)
        from = r->skip;
    if (from >= to)
        return 0;
    if (!r->bits && from == r->skip) {
        r->skip = to;
        return to - from;
    }
    if (!r->bits)
        run_make_bits(r);
    uint32_t killed = 0;
    for (uint32_t i = from; i < to;) {
        uint32_t n = 64 - i % 64 < to - i ? 64 - i % 64 : to - i;
        uint64_t mask = (n == 64 ? ~0ULL : (1ULL << n) - 1) << i % 64;
        killed += (uint32_t)__builtin_popcountll(r->bits[i / 64] & mask);
        r->bits[i / 64] &= ~mask;
        i += n;
    }
    return killed;
}

/* Dead runs leave at once, but for the one that grows. */
static void drop_dead(struct stream *s, uint32_t from, uint32_t to)
{
    uint32_t kept = from;
    for (uint32_t i = from; i < s->run_count; i++) {
        struct run *r = s->runs[i];
        bool is_growing = i + 1 == s->run_count && r->offsets && !r->segment->is_sealed;
        if (i < to && r->live == 0 && !is_growing)
            run_free(r);
        else
            s->runs[kept++] = r;
    }
    s->run_count = kept;
}

void stream_kill(struct stream *s, uint64_t first, uint64_t count)
{
    uint64_t end = first + count < first ? UINT64_MAX : first + count;
    uint32_t from = run_index(s, first), i = from;
    bool has_dead = false;
    for (; i < s->run_count && s->runs[i]->first < end; i++) {
        struct run *r = s->runs[i];
        uint32_t low = first > r->first ? (uint32_t)(first - r->first) : 0;
        uint32_t high = end - r->first < r->count ? (uint32_t)(end - r->first) : r->count;
        uint32_t killed = run_kill(r, low, high);
        r->live -= killed;
        r->segment->live -= killed;
        s->live -= killed;
        has_dead |= r->live == 0;
    }
    if (has_dead)
        drop_dead(s, from, i);
}
