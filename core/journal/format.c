/* journal/format.c: stamping and checking what lies on the disk. */
#include "journal/format.h"

#include <stddef.h>
#include <string.h>

#include "base/hash.h"

_Static_assert(sizeof(struct record) == 24, "on disk");
_Static_assert(sizeof(struct record_ref) == 16, "on disk");
_Static_assert(sizeof(struct group_body) == 24, "on disk");
_Static_assert(sizeof(struct name_body) == 16, "on disk");
_Static_assert(sizeof(struct count_body) == 16, "on disk");
_Static_assert(sizeof(struct segment_header) == 64, "on disk");
_Static_assert(sizeof(struct check_header) == 48, "on disk");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structs are written as they are");

uint32_t format_seed(uint64_t salt, uint64_t number, uint64_t nonce)
{
    uint64_t key[3] = {salt, number, nonce};
    return hash_crc32c(0, key, sizeof key);
}

void record_stamp(struct place place, struct record *r, uint32_t offset)
{
    r->life = place.life;
    r->crc = offset;
    r->crc = hash_crc32c(place.seed, r, sizeof *r + r->refs * sizeof(struct record_ref));
}

static uint32_t head_crc(struct place place, const struct record *r, uint32_t offset)
{
    struct record copy = *r;
    copy.crc = offset;
    uint32_t crc = hash_crc32c(place.seed, &copy, sizeof copy);
    return r->refs ? hash_crc32c(crc, r + 1, r->refs * sizeof(struct record_ref)) : crc;
}

const struct record *record_check(struct place place, const char *bytes, uint64_t n,
                                  uint32_t offset)
{
    const struct record *r = (const struct record *)(const void *)bytes;
    if (n < sizeof *r || r->life != place.life || r->length > n || r->length % 8 || r->pad > 7)
        return NULL;
    if (r->length < sizeof *r + r->refs * sizeof(struct record_ref) + r->pad)
        return NULL;
    if (head_crc(place, r, offset) != r->crc)
        return NULL;
    return hash_crc32c(0, record_body(r), record_body_bytes(r)) == r->body_crc ? r : NULL;
}

void segment_header_seal(struct segment_header *h)
{
    memcpy(h->magic, "WEIRLOG", sizeof h->magic);
    h->crc = hash_crc32c(0, h, offsetof(struct segment_header, crc));
}

bool segment_header_check(const struct segment_header *h)
{
    return memcmp(h->magic, "WEIRLOG", sizeof h->magic) == 0 &&
           h->crc == hash_crc32c(0, h, offsetof(struct segment_header, crc)) && h->number > 0 &&
           (h->kind == SEGMENT_LOG || h->kind == SEGMENT_COLD);
}

void check_header_seal(struct check_header *h)
{
    memcpy(h->magic, "WEIRCHK", sizeof h->magic);
    h->crc = hash_crc32c(0, h, offsetof(struct check_header, crc));
}

bool check_header_check(const struct check_header *h)
{
    return memcmp(h->magic, "WEIRCHK", sizeof h->magic) == 0 &&
           h->crc == hash_crc32c(0, h, offsetof(struct check_header, crc));
}
