/* journal/keys.c: the keys of a window: a ring by age with a hash. */
#include "journal/keys.h"

#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "journal/archive.h"
#include "journal/queue.h"

struct keys {
    pthread_mutex_t lock; /* taken under the journal's; nothing of the journal is called with it */
    struct stream *stream;
    const struct clock *clock;
    int64_t keep_ns; /* 0: not opened yet, all are kept */
    uint32_t max;
    struct keys_entry *ring; /* cap is a power of two */
    uint64_t first, next;
    uint32_t cap;
    uint32_t *slots; /* place in the ring + 1, twice as many */
};

enum { SAVE_FORMAT = 1, FIRST_CAP = 64 };

_Static_assert(sizeof(struct keys_entry) == 48, "what a note and a checkpoint hold");

void keys_hash(weir_str key, uint64_t hash[2])
{
    hash[0] = hash_bytes(key.ptr, key.len, 11);
    hash[1] = hash_bytes(key.ptr, key.len, ~hash[0]);
}

static uint32_t *slot_of(const struct keys *k, const uint64_t hash[2])
{
    uint32_t mask = 2 * k->cap - 1, i = (uint32_t)hash[0] & mask;
    for (; k->slots[i]; i = (i + 1) & mask) {
        const struct keys_entry *e = &k->ring[k->slots[i] - 1];
        if (e->hash[0] == hash[0] && e->hash[1] == hash[1])
            break;
    }
    return &k->slots[i];
}

static void drop_first(struct keys *k)
{
    uint32_t mask = 2 * k->cap - 1, place = (uint32_t)k->first & (k->cap - 1);
    uint32_t *slot = slot_of(k, k->ring[place].hash);
    k->first++;
    if (*slot != place + 1) /* the key came again after the window and has a younger place */
        return;
    uint32_t gap = (uint32_t)(slot - k->slots);
    for (uint32_t i = (gap + 1) & mask; k->slots[i]; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)k->ring[k->slots[i] - 1].hash[0] & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            k->slots[gap] = k->slots[i];
            gap = i;
        }
    }
    k->slots[gap] = 0;
}

static void push(struct keys *k, const struct keys_entry *e)
{
    uint32_t place = (uint32_t)k->next++ & (k->cap - 1);
    k->ring[place] = *e;
    *slot_of(k, e->hash) = place + 1;
}

static void grow(struct keys *k)
{
    struct keys_entry *ring = k->ring;
    uint64_t first = k->first, next = k->next;
    uint32_t cap = k->cap;
    mem_free(k->slots);
    k->cap = cap ? 2 * cap : FIRST_CAP;
    k->ring = mem_new(k->cap * sizeof *k->ring);
    k->slots = mem_new(2 * (size_t)k->cap * sizeof *k->slots);
    k->first = k->next = 0;
    for (uint64_t i = first; ring && i < next; i++)
        push(k, &ring[i & (cap - 1)]);
    mem_free(ring);
}

/* With the lock held. */
static void expire(struct keys *k, int64_t now_ns)
{
    uint64_t max = k->max ? k->max : KEYS_MAX;
    while (k->ring && k->first < k->next &&
           (k->next - k->first > max ||
            (k->keep_ns && now_ns - k->ring[k->first & (k->cap - 1)].time_ns >= k->keep_ns)))
        drop_first(k);
}

static const struct keys_entry *find(const struct keys *k, const uint64_t hash[2])
{
    uint32_t slot = k->cap ? *slot_of(k, hash) : 0;
    return slot ? &k->ring[slot - 1] : NULL;
}

/* A note of what is remembered already changes nothing. */
static void add(struct keys *k, const struct keys_entry *e)
{
    expire(k, e->time_ns);
    const struct keys_entry *known = find(k, e->hash);
    if (known && memcmp(known->id, e->id, sizeof e->id) == 0)
        return;
    if (!k->ring || (k->next - k->first == k->cap && k->cap < KEYS_MAX))
        grow(k);
    else if (k->next - k->first == k->cap)
        drop_first(k);
    push(k, e);
    expire(k, e->time_ns);
}

bool keys_find(struct keys *k, const uint64_t hash[2], struct keys_entry *found)
{
    int64_t now_ns = clock_wall(k->clock);
    (void)pthread_mutex_lock(&k->lock);
    const struct keys_entry *e = find(k, hash);
    bool is_found = e && (!k->keep_ns || now_ns - e->time_ns < k->keep_ns);
    if (is_found)
        *found = *e;
    (void)pthread_mutex_unlock(&k->lock);
    return is_found;
}

void keys_note(struct keys *k, struct journal_unit *u, const struct keys_entry *e)
{
    unit_note(u, k->stream, (weir_str){(const char *)e, sizeof *e});
}

void keys_remember(struct keys *k, const struct keys_entry *e)
{
    (void)pthread_mutex_lock(&k->lock);
    add(k, e);
    (void)pthread_mutex_unlock(&k->lock);
}

size_t keys_count(struct keys *k)
{
    (void)pthread_mutex_lock(&k->lock);
    size_t n = (size_t)(k->next - k->first);
    (void)pthread_mutex_unlock(&k->lock);
    return n;
}

struct keys *keys_open(struct journal *j, const char *name, int64_t keep_ns, uint32_t max,
                       struct error *e)
{
    char *path = mem_format("keys/%s", name);
    struct stream *s = stream_open(j, path, keys_kind.id, e);
    mem_free(path);
    struct keys *k = s ? stream_state(s) : NULL;
    if (!k)
        return NULL;
    int64_t now_ns = clock_wall(k->clock);
    (void)pthread_mutex_lock(&k->lock);
    k->keep_ns = keep_ns;
    k->max = max < KEYS_MAX ? max : KEYS_MAX;
    expire(k, now_ns);
    (void)pthread_mutex_unlock(&k->lock);
    return k;
}

/* ---- the kind ---- */

static void *create(struct stream *s)
{
    struct keys *k = MEM_NEW(struct keys);
    (void)pthread_mutex_init(&k->lock, NULL);
    k->stream = s;
    k->clock = journal_clock(stream_journal(s));
    return k;
}

static void destroy(void *state)
{
    struct keys *k = state;
    (void)pthread_mutex_destroy(&k->lock);
    mem_free(k->ring);
    mem_free(k->slots);
    mem_free(k);
}

static void put(void *state, uint64_t sequence, weir_str payload)
{
}

static void ack(void *state, uint64_t first, uint64_t count)
{
}

static void note(void *state, weir_str bytes)
{
    struct keys_entry e;
    if (bytes.len != sizeof e)
        return;
    memcpy(&e, bytes.ptr, sizeof e);
    keys_remember(state, &e);
}

static void save(void *state, struct buf *out)
{
    struct keys *k = state;
    (void)pthread_mutex_lock(&k->lock);
    buf_add_char(out, SAVE_FORMAT);
    for (uint64_t i = k->first; i < k->next; i++)
        buf_add(out, &k->ring[i & (k->cap - 1)], sizeof *k->ring);
    (void)pthread_mutex_unlock(&k->lock);
}

static void load(void *state, weir_str bytes)
{
    if (!bytes.len || bytes.ptr[0] != SAVE_FORMAT)
        return;
    for (size_t at = 1; bytes.len - at >= sizeof(struct keys_entry);
         at += sizeof(struct keys_entry))
        note(state, (weir_str){bytes.ptr + at, sizeof(struct keys_entry)});
}

const struct stream_kind keys_kind = {2, create, destroy, put, ack, note, save, load, NULL};

const struct stream_kind *const journal_kinds[] = {&queue_kind, &keys_kind, &archive_kind, NULL};
