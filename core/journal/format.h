/* journal/format.h: what lies on the disk: little endian, aligned to 8 bytes, CRC32C.
 *
 * A slot is a file of a fixed size; the header in it says which segment lives there now. A segment
 * is a header and then groups; a group is a GROUP record and the records of some units, valid whole
 * or not at all. A record's crc is seeded by the journal's salt and the segment's number and nonce
 * and covers its offset, so that bytes of another place or another life of the slot do not pass. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    FORMAT_MAJOR = 1,           /* another major: the open is refused */
    FORMAT_HEADER_BYTES = 4096, /* at the start of a slot, and again at its end */
    FORMAT_RECORD_MAX = 1 << 28,
};

enum record_type {
    RECORD_GROUP = 1, /* body: struct group_body */
    RECORD_PUT,       /* refs: stream and sequence; body: the payload */
    RECORD_ACK,       /* ref: stream; body: u64 first, count */
    RECORD_TRIM,      /* ref: stream; body: u64 below */
    RECORD_NOTE,      /* ref: stream; body: of the stream's kind */
    RECORD_STREAM,    /* ref: stream and its next sequence; body: struct name_body, name */
    RECORD_COUNTER,   /* body: struct name_body with the value so far, name */
    RECORD_COUNT,     /* body: struct count_body, several */
    RECORD_MOVED,     /* body: u64 cold segment, its end, its refs, then the victims */
    RECORD_END,       /* after the last group at a clean close */
    RECORD_VOID,      /* in the place of damaged bytes that were set aside; no effect */
};

struct record {
    uint32_t length;   /* of all: header, refs, body, padding to 8 */
    uint32_t crc;      /* of header and refs, with the offset in this place */
    uint32_t body_crc; /* of the body alone: it does not depend on the place */
    uint32_t life;     /* low half of the segment's nonce */
    uint8_t type, pad; /* pad: bytes of padding */
    uint16_t refs;
    uint32_t zero;
};

struct record_ref {
    uint32_t stream, zero;
    uint64_t sequence;
};

struct group_body {
    uint64_t number;         /* one more than the group's before */
    uint32_t bytes, records; /* bytes: with the GROUP record; records: without */
    uint64_t synced;         /* the last group that was known to be synced; absent: number - 1 */
};

struct name_body { /* before the name of a stream or a counter */
    uint32_t id, kind;
    int64_t value;
};

struct count_body {
    uint32_t counter, zero;
    int64_t delta;
};

enum { SEGMENT_LOG = 1, SEGMENT_COLD = 2 };

struct segment_header {
    char magic[8];
    uint16_t major, minor;
    uint32_t kind;
    uint64_t number, nonce, salt;
    uint64_t previous;     /* the segment before; 0: this is the journal's first */
    uint32_t previous_end; /* where that one ends, whatever lies behind */
    uint32_t bytes;        /* of the slot */
    uint32_t zero, crc;
};

struct check_header { /* of a checkpoint */
    char magic[8];
    uint16_t major, minor;
    uint32_t zero;
    uint64_t number, salt, bytes; /* bytes: of the body behind */
    uint32_t body_crc, crc;
};

uint32_t format_seed(uint64_t salt, uint64_t number, uint64_t nonce);

/* Where a record is checked or written: its segment. */
struct place {
    uint32_t seed, life;
};

/* Fills in life and crc of a record that is to lie at `offset`. */
void record_stamp(struct place place, struct record *r, uint32_t offset);
/* The record at `bytes`, or NULL if these are not the whole of a record made for this place. */
const struct record *record_check(struct place place, const char *bytes, uint64_t n,
                                  uint32_t offset);
static inline const struct record_ref *record_refs(const struct record *r)
{
    return (const struct record_ref *)(r + 1);
}
static inline const char *record_body(const struct record *r)
{
    return (const char *)(record_refs(r) + r->refs);
}
static inline uint32_t record_body_bytes(const struct record *r)
{
    return r->length - (uint32_t)sizeof *r - r->refs * (uint32_t)sizeof(struct record_ref) - r->pad;
}

void segment_header_seal(struct segment_header *h);
bool segment_header_check(const struct segment_header *h);
void check_header_seal(struct check_header *h);
bool check_header_check(const struct check_header *h);
