/* unit/match_random.c: random patterns against random events: the compiled matcher says what the
 * plain one says, and a pattern alone what it says among others. WEIR_FUZZ_ROUNDS: more of it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "match/match.h"
#include "json/masks.h"

static uint64_t state = 88172645463325252u;

static unsigned roll(unsigned n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)((state >> 11) % n);
}

static const char *const names[] = {"a", "b", "c", "d", "a.b", "b.c", "a.b.c", "\\u0061", "x"};
static const char *const texts[] = {
    "\"\"",
    "\"a\"",
    "\"ab\"",
    "\"abc\"",
    "\"ABC\"",
    "\"aBcabc\"",
    "\"x\"",
    "\"\\u0061b\"",
    "\"10.0.0.1\"",
    "\"10.0.0.77\"",
    "\"::1\"",
    "\"0:0:0:0:0:0:0:1\"",
    "\"2001:db8::5\"",
    "\"\\u00c4\"",
    "\"\xc3\xa4\"",
    "\"stra\xc3\237e\"",
    "\"STRASSE\"",
    "\"1\"",
    "\"true\"",
    "\"bcabc\"",
    "\"]}\\\\\"",
    "\"[{ \\\" }]\"",
    "\"a longer text, so that one has to skip more than a block ]\"",
    "\"a*c\""};
static const char *const numbers[] = {"0",
                                      "-0",
                                      "1",
                                      "1.0",
                                      "1e0",
                                      "10",
                                      "0.1e2",
                                      "300",
                                      "3e2",
                                      "-5",
                                      "-5.50",
                                      "5.5",
                                      "2",
                                      "100000000000000000000",
                                      "1e20",
                                      "0.1",
                                      "0.10000000000000001",
                                      "9007199254740993",
                                      "9007199254740992",
                                      "1234567890123456789"};
static const char *const words[] = {"true", "false", "null"};
#define PICK(list) (list)[roll(sizeof(list) / sizeof *(list))]

static void add_scalar(struct buf *b)
{
    unsigned r = roll(10);
    buf_add_text(b, r < 6 ? PICK(texts) : r < 9 ? PICK(numbers) : PICK(words));
}

static bool has_dots = true; /* names of events may have them */

static const char *pick_name(void)
{
    return has_dots ? PICK(names) : names[roll(4)];
}

static void add_event_value(struct buf *b, unsigned depth);

static void add_event_object(struct buf *b, unsigned depth)
{
    unsigned n = roll(4) + (depth == 0);
    buf_add_char(b, '{');
    for (unsigned i = 0; i < n; i++)
        buf_print(b, "%s\"%s\": ", i ? ", " : " ", pick_name()), add_event_value(b, depth + 1);
    buf_add_char(b, '}');
}

static void add_event_value(struct buf *b, unsigned depth)
{
    unsigned r = roll(10);
    if (depth < 5 && r < 3) {
        add_event_object(b, depth);
    } else if (depth < 5 && r < 7) {
        unsigned n = roll(4);
        buf_add_char(b, '[');
        for (unsigned i = 0; i < n; i++) {
            if (i)
                buf_add_char(b, ',');
            if (roll(3))
                add_event_object(b, depth + 1);
            else
                add_event_value(b, depth + 1);
        }
        buf_add_char(b, ']');
    } else {
        add_scalar(b);
    }
}

static void add_list(struct buf *b, const char *const *list, size_t count)
{
    unsigned n = roll(3);
    if (!n) {
        buf_add_text(b, list[roll((unsigned)count)]);
        return;
    }
    buf_add_char(b, '[');
    for (unsigned i = 0; i < n; i++)
        buf_print(b, "%s%s", i ? "," : "", list[roll((unsigned)count)]);
    buf_add_char(b, ']');
}

static const char *const affixes[] = {"\"a\"", "\"ab\"",       "\"c\"",   "\"bc\"",
                                      "\"A\"", "\"\xc3\xa4\"", "\"10.\"", "\"e\""};
static const char *const wildcards[] = {"\"*\"",     "\"a*\"",        "\"*c\"",    "\"a*c\"",
                                        "\"*b*\"",   "\"a\\\\*c\"",   "\"*bca*\"", "\"abc\"",
                                        "\"*a*b*\"", "\"*\xc3\xa4*\""};
static const char *const nets[] = {"10.0.0.0/24", "10.0.0.64/26", "::/64", "0.0.0.0/0",
                                   "2001:db8::/32"};
static const char *const ops[] = {"=", "<", "<=", ">", ">="};
static const char *const sure[] = {"0", "1", "-5", "5.5", "300", "1e20", "2", "10", "0.1"};

static void add_but(struct buf *b)
{
    static const char *const kinds[] = {"prefix", "suffix", "equals-ignore-case", "wildcard"};
    unsigned r = roll(6);
    buf_add_text(b, "{\"anything-but\": ");
    if (r < 4) {
        buf_print(b, "{\"%s\": ", kinds[r]);
        if (r == 3)
            add_list(b, wildcards, sizeof wildcards / sizeof *wildcards);
        else if (r == 2)
            add_list(b, texts, sizeof texts / sizeof *texts);
        else
            add_list(b, affixes, sizeof affixes / sizeof *affixes);
        buf_add_char(b, '}');
    } else if (r == 4) {
        add_list(b, texts, sizeof texts / sizeof *texts);
    } else {
        add_list(b, numbers, sizeof numbers / sizeof *numbers);
    }
    buf_add_char(b, '}');
}

static void add_test(struct buf *b)
{
    switch (roll(14)) {
    case 0:
        buf_print(b, "{\"prefix\": %s}", PICK(affixes));
        break;
    case 1:
        buf_print(b, "{\"suffix\": %s}", PICK(affixes));
        break;
    case 2:
        buf_print(b, "{\"equals-ignore-case\": %s}", PICK(texts));
        break;
    case 3:
        buf_print(b, "{\"%s\": {\"equals-ignore-case\": %s}}", roll(2) ? "prefix" : "suffix",
                  PICK(affixes));
        break;
    case 4:
        buf_print(b, "{\"wildcard\": %s}", PICK(wildcards));
        break;
    case 5:
        buf_print(b, "{\"cidr\": \"%s\"}", PICK(nets));
        break;
    case 6:
        buf_print(b, "{\"numeric\": [\"%s\", %s]}", PICK(ops), PICK(sure));
        break;
    case 7:
        buf_print(b, "{\"numeric\": [\"%s\", %s, \"%s\", %s]}",
                  roll(2) ? ">" : ">=", roll(2) ? "-5" : "0.1",
                  roll(2) ? "<" : "<=", roll(2) ? "5.5" : "300");
        break;
    case 8:
    case 9:
        add_but(b);
        break;
    case 10:
        buf_print(b, "{\"exists\": %s}", roll(2) ? "true" : "false");
        break;
    default:
        add_scalar(b);
    }
}

static void add_pattern(struct buf *b, unsigned depth)
{
    static const char *const plain[] = {"a", "b", "c", "d", "a.b", "b.c", "a.b.c"};
    unsigned n = 1 + roll(3);
    buf_add_char(b, '{');
    for (unsigned i = 0; i < n; i++) {
        if (i)
            buf_add_text(b, ", ");
        if (depth < 3 && !roll(7)) {
            buf_add_text(b, "\"$or\": [");
            for (unsigned k = 0, m = 2 + roll(2); k < m; k++)
                buf_add_text(b, k ? "," : ""), add_pattern(b, depth + 1);
            buf_add_char(b, ']');
            continue;
        }
        buf_print(b, "\"%s\": ", PICK(plain));
        if (depth < 3 && roll(2)) {
            add_pattern(b, depth + 1);
            continue;
        }
        buf_add_char(b, '[');
        for (unsigned k = 0, m = 1 + roll(3) / 2; k < m; k++)
            buf_add_text(b, k ? "," : ""), add_test(b);
        buf_add_char(b, ']');
    }
    buf_add_char(b, '}');
}

enum { SET = 20, EVENTS = 40 };

static bool has_hit(const uint32_t *hits, size_t count, uint32_t n)
{
    for (size_t i = 0; i < count; i++)
        if (hits[i] == n)
            return true;
    return false;
}

static void compare(struct match_ctx *c, struct buf *patterns, weir_str event, unsigned flags)
{
    const uint32_t *hits;
    size_t count = match_json(c, event, flags, &hits);
    ck_assert_msg(count != SIZE_MAX, "not JSON: %.*s", (int)event.len, event.ptr);
    for (size_t i = 1; i < count; i++)
        ck_assert_uint_lt(hits[i - 1], hits[i]);
    for (uint32_t i = 0; i < SET; i++) {
        bool is_match;
        struct match_error e;
        ck_assert(match_plain(buf_str(&patterns[i]), event, &is_match, &e));
        ck_assert_msg(has_hit(hits, count, i) == is_match,
                      "pattern %.*s\nevent %.*s\nplain says %d", (int)patterns[i].len,
                      patterns[i].ptr, (int)event.len, event.ptr, is_match);
    }
}

static void round_of_one_set(void)
{
    struct buf patterns[SET] = {{0}}, event = {0};
    struct match_set *set = match_set_new(NULL);
    for (size_t i = 0; i < SET; i++) {
        struct match_error e;
        weir_status status;
        do {
            patterns[i].len = 0;
            add_pattern(&patterns[i], 0);
            status = match_add(set, buf_str(&patterns[i]), &e);
            ck_assert_msg(status == WEIR_OK || strstr(e.reason, "mixed type") ||
                              strstr(e.reason, "too complex") || strstr(e.reason, "Cannot compare"),
                          "%s: %.*s", e.reason, (int)patterns[i].len, patterns[i].ptr);
        } while (status != WEIR_OK);
    }
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    for (size_t i = 0; i < EVENTS; i++) {
        event.len = 0;
        has_dots = i % 4 == 0;
        add_event_object(&event, 0);
        compare(c, patterns, buf_str(&event), i % 2 ? MATCH_KNOWN_GOOD : 0);
    }
    match_ctx_free(c);
    match_set_free(set);
    for (size_t i = 0; i < SET; i++)
        buf_fini(&patterns[i]);
    buf_fini(&event);
}

START_TEST(agrees_with_plain)
{
    const char *rounds = getenv("WEIR_FUZZ_ROUNDS"); /* NOLINT(concurrency-mt-unsafe): one thread */
    unsigned long n = rounds ? strtoul(rounds, NULL, 10) : 150;
    for (unsigned long i = 0; i < n; i++) {
        (void)masks_use((int)(i % MASKS_VARIANTS));
        round_of_one_set();
    }
    ck_assert(masks_use(-1));
}
END_TEST

enum { MANY = 1000 };

START_TEST(one_among_many)
{
    struct match_set *all = match_set_new(NULL), *one[MANY];
    struct match_ctx *c[MANY];
    struct buf text = {0};
    for (size_t i = 0; i < MANY; i++) {
        struct match_error e;
        one[i] = match_set_new(NULL);
        do
            text.len = 0, add_pattern(&text, 0);
        while (match_add(one[i], buf_str(&text), &e) != WEIR_OK);
        ck_assert_int_eq(match_add(all, buf_str(&text), &e), WEIR_OK);
        match_seal(one[i]);
        c[i] = match_ctx_new(one[i]);
    }
    match_seal(all);
    struct match_ctx *of_all = match_ctx_new(all);
    for (size_t round = 0; round < 50; round++) {
        const uint32_t *hits, *alone;
        text.len = 0;
        add_event_object(&text, 0);
        size_t count = match_json(of_all, buf_str(&text), 0, &hits), at = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            bool is_match = at < count && hits[at] == i;
            at += is_match;
            ck_assert_uint_eq(match_json(c[i], buf_str(&text), 0, &alone), is_match);
        }
    }
    for (size_t i = 0; i < MANY; i++)
        match_ctx_free(c[i]), match_set_free(one[i]);
    match_ctx_free(of_all);
    match_set_free(all);
    buf_fini(&text);
}
END_TEST

enum { CHANGED = 60, CHANGES = 12 };

static void valid_pattern(struct buf *text)
{
    bool is_good = false;
    while (!is_good) {
        struct match_set *set = match_set_new(NULL);
        text->len = 0, add_pattern(text, 0);
        is_good = match_add(set, buf_str(text), NULL) == WEIR_OK;
        match_set_free(set);
    }
}

static struct match_set *set_of(const struct match_set *old, const struct buf *patterns, size_t n)
{
    struct match_set *set = old ? match_set_after(old, NULL) : match_set_new(NULL);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(match_add(set, buf_str(&patterns[i]), NULL), WEIR_OK);
    ck_assert_uint_eq(match_count(set), n);
    match_seal(set);
    ck_assert_uint_eq(match_count(set), n);
    return set;
}

static void same_verdicts(const struct match_set *a, const struct match_set *b)
{
    struct match_ctx *of_a = match_ctx_new(a), *of_b = match_ctx_new(b);
    struct buf event = {0};
    for (size_t i = 0; i < 15; i++) {
        const uint32_t *hits_a, *hits_b;
        event.len = 0;
        has_dots = i % 4 == 0;
        add_event_object(&event, 0);
        size_t n = match_json(of_a, buf_str(&event), 0, &hits_a);
        ck_assert_uint_eq(match_json(of_b, buf_str(&event), 0, &hits_b), n);
        ck_assert(n == 0 || memcmp(hits_a, hits_b, n * sizeof *hits_a) == 0);
    }
    match_ctx_free(of_a);
    match_ctx_free(of_b);
    buf_fini(&event);
}

/* One rule is replaced, comes, goes or changes its place. */
static size_t change_one(struct buf *patterns, size_t n)
{
    size_t at = roll((unsigned)n), to = roll((unsigned)n);
    struct buf moved = patterns[at];
    switch (roll(4)) {
    case 0:
        valid_pattern(&patterns[at]);
        return n;
    case 1:
        if (n == CHANGED + CHANGES)
            return n;
        memmove(&patterns[at + 1], &patterns[at], (n - at) * sizeof *patterns);
        patterns[at] = (struct buf){0};
        valid_pattern(&patterns[at]);
        return n + 1;
    case 2:
        buf_fini(&patterns[at]);
        memmove(&patterns[at], &patterns[at + 1], (n - at - 1) * sizeof *patterns);
        return n - 1;
    default:
        patterns[at] = patterns[to], patterns[to] = moved;
        return n;
    }
}

START_TEST(changed_is_as_new)
{
    const char *rounds = getenv("WEIR_FUZZ_ROUNDS"); /* NOLINT(concurrency-mt-unsafe): one thread */
    unsigned long all = rounds ? strtoul(rounds, NULL, 10) / 10 : 15;
    for (unsigned long round = 0; round < all; round++) {
        struct buf patterns[CHANGED + CHANGES] = {{0}};
        size_t n = CHANGED;
        for (size_t i = 0; i < n; i++)
            valid_pattern(&patterns[i]);
        struct match_set *set = set_of(NULL, patterns, n);
        for (size_t i = 0; i < CHANGES; i++) {
            n = change_one(patterns, n);
            struct match_set *next = set_of(set, patterns, n), *fresh = set_of(NULL, patterns, n);
            match_set_free(set);
            set = next;
            same_verdicts(set, fresh);
            match_set_free(fresh);
        }
        match_set_free(set);
        for (size_t i = 0; i < n; i++)
            buf_fini(&patterns[i]);
    }
}
END_TEST

/* Five arrays in one element, and a field that must not be there: every choice would be tried. */
START_TEST(choices_are_not_multiplied)
{
    enum { ELEMENTS = 300 };
    static const char pattern[] = "{\"a\": {\"b\": {\"p\": [1]}, \"c\": {\"p\": [1]}, \"d\": "
                                  "{\"p\": [1]}, \"e\": {\"p\": [1]}, "
                                  "\"f\": {\"p\": [1]}, \"g\": [{\"exists\": false}]}}";
    struct match_set *set = match_set_new(NULL);
    struct buf event = {0};
    const uint32_t *hits;
    ck_assert_int_eq(match_add(set, weir_text(pattern), NULL), WEIR_OK);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    for (int has = 1; has >= 0; has--) {
        event.len = 0;
        buf_print(&event, "{\"a\": [{");
        for (char name = 'b'; name <= 'f'; name++) {
            buf_print(&event, "\"%c\": [", name);
            for (int i = 0; i < ELEMENTS; i++)
                buf_print(&event, "%s{\"p\": 1}", i ? "," : "");
            buf_print(&event, "], ");
        }
        buf_print(&event, "\"%s\": 1}]}", has ? "g" : "h");
        ck_assert_uint_eq(match_json(c, buf_str(&event), 0, &hits), !has);
    }
    match_ctx_free(c);
    match_set_free(set);
    buf_fini(&event);
}
END_TEST

/* A name with dots defeats what is remembered of choices; the search ends all the same, and says so. */
START_TEST(too_many_choices_are_cut)
{
    static const char pattern[] =
        "{\"a\": {\"b\": {\"p\": [1]}, \"c\": {\"p\": [1]}, \"d\": {\"p\": [1]}, "
        "\"e\": {\"p\": [1]}, \"f\": {\"q\": [1]}, \"z\": [{\"exists\": false}]}}";
    struct match_set *set = match_set_new(NULL);
    struct buf event = {0};
    const uint32_t *hits;
    ck_assert_int_eq(match_add(set, weir_text(pattern), NULL), WEIR_OK);
    match_seal(set);
    ck_assert_int_eq(match_add(set, weir_text(pattern), NULL), WEIR_E_REJECT);
    struct match_ctx *c = match_ctx_new(set);
    buf_add_text(&event, "{\"a\": [{\"f.q\": 1, \"z\": 2");
    for (char name = 'b'; name <= 'e'; name++) {
        buf_print(&event, ", \"%c\": [", name);
        for (int i = 0; i < 100; i++)
            buf_print(&event, "%s{\"p\": 1}", i ? "," : "");
        buf_add_char(&event, ']');
    }
    buf_add_text(&event, "}]}");
    ck_assert_uint_eq(match_json(c, buf_str(&event), 0, &hits), 0);
    ck_assert(match_was_cut(c));
    ck_assert_uint_eq(match_json(c, weir_text("{\"a\": [{\"f.q\": 1}]}"), 0, &hits), 0);
    ck_assert(!match_was_cut(c));
    match_ctx_free(c);
    match_set_free(set);
    buf_fini(&event);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_random");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, agrees_with_plain);
    tcase_add_test(t, one_among_many);
    tcase_add_test(t, changed_is_as_new);
    tcase_add_test(t, choices_are_not_multiplied);
    tcase_add_test(t, too_many_choices_are_cut);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
