/* fuzz/match_pattern.c: a pattern on the first line, an event behind it: the compiled and the plain
 * matcher agree, and a text that is not JSON does no harm even where it was promised to be. */
#include <stdlib.h>

#include "match/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *newline = size ? memchr(bytes, '\n', size) : NULL;
    if (!newline)
        return 0;
    weir_str pattern = {(const char *)bytes, (size_t)(newline - bytes)};
    weir_str event = {(const char *)newline + 1, size - pattern.len - 1};
    struct match_error e;
    struct match_set *set = match_set_new(NULL);
    bool is_match;
    bool is_ok = match_add(set, pattern, &e) == WEIR_OK;
    if (is_ok != match_plain(pattern, event, &is_match, &e))
        abort();
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    const uint32_t *hits;
    size_t checked = match_json(c, event, 0, &hits);
    size_t trusted = match_json(c, event, MATCH_KNOWN_GOOD, &hits);
    if (checked != SIZE_MAX && checked != trusted)
        abort();
    bool is_given_up = is_ok && e.reason[0];
    if (checked != SIZE_MAX && !is_given_up && checked != (is_ok && is_match))
        abort();
    match_ctx_free(c);
    match_set_free(set);
    return 0;
}
