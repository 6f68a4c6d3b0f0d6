/* base/text.h: what is done with spans of text. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/plugin.h>

bool text_same(weir_str a, weir_str b);
bool text_same_fold(weir_str a, const char *s); /* ASCII letters without case */
bool text_starts(weir_str a, const char *prefix);
bool text_to_u64(weir_str s, uint64_t *n); /* digits only, no overflow */
/* "host:port", "[v6]:port": the host without its brackets. Of the form alone; a name is not looked up. */
bool text_address(const char *s, weir_str *host, unsigned *port);
bool text_is_utf8(weir_str s);
size_t text_put_utf8(char *to, uint32_t c); /* at most four bytes; c: a code point */
/* Edits (insert, delete, replace, swap of neighbours) between two words; at most 64 bytes each. */
unsigned text_distance(const char *a, const char *b);
/* The word of `words` (ends with NULL) that was likely meant by `word`, or NULL. */
const char *text_nearest(const char *word, const char *const *words);
