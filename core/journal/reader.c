/* journal/reader.c: reading what is live; every record is checked on every read. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

enum { KEEP_BYTES = 64 << 10, SINGLE_BYTES = 4096 };

struct reader {
    struct stream *stream;
    uint64_t position;
    char *bytes; /* of segment `nonce` from offset `at` */
    uint64_t nonce;
    uint32_t at, len, cap;
};

struct reader *reader_new(struct stream *s, uint64_t from)
{
    struct reader *r = MEM_NEW(struct reader);
    r->stream = s;
    r->position = from;
    return r;
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    mem_free(r->bytes);
    mem_free(r);
}

void reader_seek(struct reader *r, uint64_t sequence)
{
    r->position = sequence;
}

uint64_t reader_position(const struct reader *r)
{
    return r->position;
}

struct spot {                /* where a record lies */
    struct segment *segment; /* pinned, if the bytes are to be read */
    struct place place;
    uint64_t nonce, sequence;
    uint32_t offset, end;
    int fd;
};

static bool has_bytes(const struct reader *r, const struct spot *spot)
{
    if (r->nonce != spot->nonce || spot->offset < r->at)
        return false;
    uint64_t from = spot->offset - r->at;
    if (from + sizeof(struct record) > r->len)
        return false;
    struct record head;
    memcpy(&head, r->bytes + from, sizeof head);
    return from + head.length <= r->len;
}

static void unpin(struct journal *j, struct segment *g)
{
    journal_lock(j);
    g->pins--;
    journal_unlock(j);
}

/* Finds the record and pins its segment unless the reader has its bytes. IDLE: none; RETRY: its
 * offset is not in memory, the segment is pinned. */
static weir_status find_spot(struct stream *s, const struct reader *r, bool is_exact,
                             struct spot *spot)
{
    struct journal *j = s->journal;
    journal_lock(j);
    uint64_t sequence = spot->sequence;
    struct run *run = is_exact ? stream_find_live(s, sequence) : stream_seek_live(s, &sequence);
    if (!run) {
        journal_unlock(j);
        return WEIR_IDLE;
    }
    struct segment *g = run->segment;
    *spot = (struct spot){.segment = g,
                          .place = g->place,
                          .nonce = g->nonce,
                          .sequence = sequence,
                          .end = g->end,
                          .fd = g->slot ? g->slot->fd : -1};
    bool is_known = run->offsets != NULL;
    if (is_known)
        spot->offset = run->offsets[sequence - run->first];
    if (!is_known || !r || !has_bytes(r, spot))
        g->pins++;
    else
        spot->segment = NULL;
    g->used = ++j->stamp;
    journal_unlock(j);
    return is_known ? WEIR_OK : WEIR_E_RETRY;
}

/* As find_spot, and loads the offsets of the segment if they are not in memory. */
static weir_status locate(struct stream *s, const struct reader *r, bool is_exact,
                          struct spot *spot)
{
    for (;;) {
        weir_status status = find_spot(s, r, is_exact, spot);
        if (status != WEIR_E_RETRY)
            return status;
        int result = segment_load(s->journal, spot->segment);
        unpin(s->journal, spot->segment);
        if (result < 0)
            return WEIR_E_RETRY;
    }
}

static int fill(struct reader *r, const struct disk *d, const struct spot *spot, uint32_t want)
{
    if (want > spot->end - spot->offset)
        want = spot->end - spot->offset;
    if (want > r->cap) {
        mem_free(r->bytes);
        r->bytes = mem_grow(NULL, want);
        r->cap = want;
    }
    r->len = 0;
    int result = disk_read_all(d, spot->fd, r->bytes, want, spot->offset);
    if (result < 0)
        return result;
    r->nonce = spot->nonce;
    r->at = spot->offset;
    r->len = want;
    return 0;
}

/* The record's bytes into the reader's buffer: first a usual amount, then what is missing. */
static int fetch(struct reader *r, const struct disk *d, const struct spot *spot, uint32_t usual)
{
    if (spot->offset < FORMAT_HEADER_BYTES || spot->offset >= spot->end)
        return 0; /* not found when the offsets were collected */
    int result = fill(r, d, spot, usual);
    struct record head;
    if (result < 0 || r->len < sizeof head)
        return result;
    memcpy(&head, r->bytes, sizeof head);
    if (head.length > r->len && head.length <= spot->end - spot->offset)
        result = fill(r, d, spot, head.length);
    return result;
}

/* The payload, if the bytes are those of this sequence of this stream. */
static bool take(const struct reader *r, const struct spot *spot, weir_str *payload)
{
    if (!has_bytes(r, spot))
        return false;
    uint32_t from = spot->offset - r->at;
    const struct record *record =
        record_check(spot->place, r->bytes + from, r->len - from, spot->offset);
    if (!record || record->type != RECORD_PUT)
        return false;
    for (uint32_t i = 0; i < record->refs; i++) {
        const struct record_ref *ref = &record_refs(record)[i];
        if (ref->stream != r->stream->id || ref->sequence != spot->sequence)
            continue;
        *payload = (weir_str){record_body(record), record_body_bytes(record)};
        return true;
    }
    return false;
}

static void count_damaged(struct stream *s, const struct spot *spot)
{
    struct journal *j = s->journal;
    journal_lock(j);
    j->health.lost_records++;
    journal_unlock(j);
    log_write(WEIR_ERROR, NULL,
              "journal %s: stream %s: record %llu is damaged and was skipped: stop "
              "the runner and run `weir journal repair`",
              j->path, s->name, (unsigned long long)spot->sequence);
}

static weir_status read_spot(struct reader *r, struct spot *spot, uint32_t usual, weir_str *payload)
{
    struct journal *j = r->stream->journal;
    int result = 0;
    if (spot->segment) {
        result = spot->fd >= 0 ? fetch(r, j->disk, spot, usual) : 0;
        unpin(j, spot->segment);
    }
    if (result < 0 && result != -EIO)
        return WEIR_E_RETRY;
    return result == 0 && take(r, spot, payload) ? WEIR_OK : WEIR_E_REJECT;
}

weir_status reader_next(struct reader *r, weir_str *payload, uint64_t *sequence)
{
    for (;;) {
        struct spot spot = {.sequence = r->position};
        weir_status status = locate(r->stream, r, false, &spot);
        if (status == WEIR_IDLE && r->cap > KEEP_BYTES) {
            mem_free(r->bytes);
            r->bytes = NULL;
            r->cap = r->len = 0;
        }
        if (status != WEIR_OK)
            return status;
        status = read_spot(r, &spot, READ_BYTES, payload);
        if (status == WEIR_E_RETRY)
            return status;
        r->position = spot.sequence + 1;
        if (status == WEIR_OK) {
            *sequence = spot.sequence;
            return WEIR_OK;
        }
        count_damaged(r->stream, &spot);
    }
}

weir_status stream_read(struct stream *s, uint64_t sequence, struct buf *out)
{
    struct reader r = {.stream = s};
    struct spot spot = {.sequence = sequence};
    weir_str payload;
    weir_status status = locate(s, NULL, true, &spot);
    if (status == WEIR_IDLE)
        return WEIR_E_REJECT;
    if (status == WEIR_OK)
        status = read_spot(&r, &spot, SINGLE_BYTES, &payload);
    if (status == WEIR_OK)
        buf_add_str(out, payload);
    else if (status == WEIR_E_REJECT)
        count_damaged(s, &spot);
    mem_free(r.bytes);
    return status;
}
