/* json/masks.h: a text's bytes as bits, 64 at a time: where its tokens are, and whether it is JSON.
 *
 * The bits are found with the widest instructions that the machine has; which ones makes no difference
 * to what is found. Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

enum { MASKS_BLOCK_BYTES = 64 };

struct masks_block {
    uint64_t tokens; /* quotes that open and close a text, brackets and commas outside of texts */
    uint64_t opens, closes; /* brackets and braces */
    int32_t depth;          /* in front of the block */
    int32_t low;            /* at every byte of it the depth is this or more */
};

enum masks_found {
    MASKS_SLASH = 1, /* a backslash */
    MASKS_BAD = 2,   /* the text is no JSON; only masks_check finds that */
};

/* Blocks of a text: its last one is never full. */
static inline size_t masks_count(size_t len)
{
    return len / MASKS_BLOCK_BYTES + 1;
}

/* What was found. `blocks` has room for masks_count(text.len). Of a text that is no JSON the bits mean
 * nothing, but none stands behind its end. */
unsigned masks_read(weir_str text, struct masks_block *blocks);
/* The same, and whether it is JSON, just as json_check says. `blocks` may be NULL. */
unsigned masks_check(weir_str text, struct masks_block *blocks);

bool masks_are_fast(void); /* faster than byte by byte */

/* For tests: the instructions by number, or -1: the best that there are. False: this machine has none
 * of that number. */
enum masks_variant { MASKS_PORTABLE, MASKS_SSE2, MASKS_AVX2, MASKS_VARIANTS };
bool masks_use(int variant);
