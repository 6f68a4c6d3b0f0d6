/* match/store.h: texts that are kept and seldom read, in few bytes: those of a set's patterns differ little. */
#pragma once
#include "base/buf.h"

struct store {
    struct buf packed; /* one text behind the other */
    struct buf common; /* what they are copied from */
    uint16_t *places;  /* of four bytes in `common`, by their hash; NULL: nothing was put lately */
};

uint32_t store_put(struct store *s, weir_str text); /* where it is */
void store_get(const struct store *s, uint32_t at, struct buf *out);
void store_trim(struct store *s); /* frees what only store_put needs, until it is called again */
void store_copy(struct store *s, const struct store *from); /* s: whatever it was */
void store_fini(struct store *s);
size_t store_bytes(const struct store *s);
