/* fuzz/match_naive.c: a pattern on the first line, an event behind it: the compiled matcher, the plain
 * and the naive one, which shares no code with them, say the same, of refusals also the reason. */
#include "unit/match_naive.h"
#include "match/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void expect(bool is_so, const char *what)
{
    if (is_so)
        return;
    (void)fprintf(stderr, "the matchers disagree on %s\n", what);
    abort();
}

static void compare(const struct naive_answer *n, weir_str pattern, weir_str event)
{
    struct match_set *set = match_set_new(NULL);
    struct match_error e = {{0}, 0};
    const uint32_t *hits;
    bool is_plain = false, is_ok = match_add(set, pattern, &e) == WEIR_OK;
    bool is_refused_for_size =
        !is_ok && (strstr(e.reason, "too complex") || strstr(e.reason, "more than"));
    if (!is_refused_for_size) {
        expect(is_ok == n->is_pattern, "whether it is a pattern");
        expect(is_ok || !n->is_json || naive_is_reason(n, e.reason), "why it is refused");
    }
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    size_t checked = match_json(c, event, 0, &hits);
    expect((checked != SIZE_MAX) == n->is_event, "whether the event is JSON");
    if (is_ok && n->is_event && !match_was_cut(c)) {
        expect(checked == n->is_match, "whether it matches");
        expect(match_json(c, event, MATCH_KNOWN_GOOD, &hits) == checked,
               "whether it matches, known good");
        if (match_plain(pattern, event, &is_plain, &e))
            expect(is_plain == n->is_match || e.reason[0], "whether it matches, plain");
    }
    match_ctx_free(c);
    match_set_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *newline = size ? memchr(bytes, '\n', size) : NULL;
    if (!newline)
        return 0;
    weir_str pattern = {(const char *)bytes, (size_t)(newline - bytes)};
    weir_str event = {(const char *)newline + 1, size - pattern.len - 1};
    struct naive_answer n;
    naive_match(pattern, event, &n);
    if (!n.is_cut)
        compare(&n, pattern, event);
    return 0;
}
