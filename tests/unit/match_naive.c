/* unit/match_naive.c: the matchers against a naive one, on random pairs. WEIR_FUZZ_PAIRS: how many;
 * WEIR_FUZZ_SEED: from where. `make fuzz-match` takes a million. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "match/match.h"
#include "unit/match_pairs.h"

static unsigned long number_from(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */
    return text ? strtoul(text, NULL, 10) : otherwise;
}

struct verdict {
    weir_status status;
    struct match_error error;
    size_t checked, trusted; /* SIZE_MAX: the event is not JSON */
    bool is_plain_ok, is_plain_match, is_plain_cut;
};

static void compiled(weir_str pattern, weir_str event, struct verdict *v)
{
    struct match_set *set = match_set_new(NULL);
    struct match_error e = {{0}, 0};
    const uint32_t *hits;
    memset(v, 0, sizeof *v);
    v->status = match_add(set, pattern, &v->error);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    v->checked = match_json(c, event, 0, &hits);
    v->trusted = v->checked == SIZE_MAX ? SIZE_MAX : match_json(c, event, MATCH_KNOWN_GOOD, &hits);
    match_ctx_free(c);
    match_set_free(set);
    v->is_plain_ok = match_plain(pattern, event, &v->is_plain_match, &e);
    v->is_plain_cut = v->is_plain_ok && e.reason[0];
}

static bool is_too_complex(const struct match_error *e)
{
    return strstr(e->reason, "too complex") || strstr(e->reason, "more than");
}

/* NULL, or what they disagree on. */
static const char *difference(weir_str pattern, weir_str event, struct naive_answer *n,
                              struct verdict *v)
{
    naive_match(pattern, event, n);
    compiled(pattern, event, v);
    if (n->is_cut || (v->status != WEIR_OK && is_too_complex(&v->error)))
        return NULL;
    if ((v->status == WEIR_OK) != n->is_pattern)
        return "whether it is a pattern";
    if (!n->is_pattern && n->is_json && !naive_is_reason(n, v->error.reason))
        return "why it is refused";
    if (v->error.at > pattern.len)
        return "where it is refused";
    if ((v->checked != SIZE_MAX) != n->is_event)
        return "whether the event is JSON";
    if (v->is_plain_ok != n->is_pattern)
        return "whether it is a pattern (plain)";
    if (!n->is_event || !n->is_pattern)
        return NULL;
    if (v->checked != n->is_match)
        return "whether it matches";
    if (v->trusted != n->is_match)
        return "whether it matches (known good)";
    return v->is_plain_match != n->is_match && !v->is_plain_cut ? "whether it matches (plain)"
                                                                : NULL;
}

/* ---- the smallest pair that still shows it ------------------------------------------------------- */

static bool shrink_node(struct naive_node *n, bool (*is_still)(void *), void *of)
{
    bool has_shrunk = false;
    for (size_t i = 0; i < n->count; i++) {
        struct naive_node before = *n;
        struct naive_node *items = mem_copy(n->items, n->count * sizeof *items);
        weir_str *keys =
            n->kind == NAIVE_OBJECT ? mem_copy(n->keys, n->count * sizeof *keys) : NULL;
        pairs_drop(n, i);
        if (is_still(of)) {
            has_shrunk = true;
            i--;
        } else {
            *n = before;
            memcpy(n->items, items, n->count * sizeof *items);
            if (keys)
                memcpy(n->keys, keys, n->count * sizeof *keys);
        }
        mem_free(items);
        mem_free(keys);
    }
    for (size_t i = 0; i < n->count; i++) {
        struct naive_node before = *n, inner = n->items[i];
        *n = inner;
        if (is_still(of)) {
            has_shrunk = true;
            break;
        }
        *n = before;
    }
    for (size_t i = 0; i < n->count; i++)
        has_shrunk |= shrink_node(&n->items[i], is_still, of);
    while (n->kind == NAIVE_STRING && n->text.len) {
        n->text.len--;
        while (n->text.len && (n->text.ptr[n->text.len] & 0xc0) == 0x80)
            n->text.len--;
        weir_str shorter = n->text;
        if (is_still(of)) {
            has_shrunk = true;
            continue;
        }
        n->text = (weir_str){shorter.ptr, shorter.len + 1};
        while ((n->text.ptr[n->text.len] & 0xc0) == 0x80)
            n->text.len++;
        break;
    }
    return has_shrunk;
}

struct shrink {
    struct pairs pairs;
    struct naive_node pattern, event;
    struct buf texts[2];
};

static bool is_still_different(void *of)
{
    struct shrink *s = of;
    struct naive_answer n;
    struct verdict v;
    s->pairs.seed = 1; /* few escapes, the same ones each time */
    s->texts[0].len = s->texts[1].len = 0;
    pairs_write(&s->pairs, &s->texts[0], &s->pattern);
    pairs_write(&s->pairs, &s->texts[1], &s->event);
    return difference(buf_str(&s->texts[0]), buf_str(&s->texts[1]), &n, &v) != NULL;
}

static void report(weir_str pattern, weir_str event, unsigned long seed)
{
    struct arena arena;
    arena_init(&arena);
    struct shrink s = {.pairs = {1, &arena}};
    weir_str texts[2] = {pattern, event};
    if (naive_read(&s.pattern, pattern, &arena) && naive_read(&s.event, event, &arena) &&
        is_still_different(&s)) {
        while (shrink_node(&s.pattern, is_still_different, &s) ||
               shrink_node(&s.event, is_still_different, &s))
            ;
        (void)is_still_different(&s);
        texts[0] = buf_str(&s.texts[0]);
        texts[1] = buf_str(&s.texts[1]);
    }
    struct naive_answer n;
    struct verdict v;
    const char *what = difference(texts[0], texts[1], &n, &v);
    printf("WEIR_FUZZ_SEED=%lu: they disagree on %s\n  pattern %.*s\n  event   %.*s\n", seed,
           what ? what : "?", (int)texts[0].len, texts[0].ptr, (int)texts[1].len, texts[1].ptr);
    printf("  naive: pattern %d (%s) event %d match %d\n", n.is_pattern, n.reason, n.is_event,
           n.is_match);
    printf("  compiled: pattern %d (%s) match %zd, known good %zd, plain %d\n", v.status == WEIR_OK,
           v.error.reason, (ssize_t)v.checked, (ssize_t)v.trusted, v.is_plain_match);
    buf_fini(&s.texts[0]);
    buf_fini(&s.texts[1]);
    arena_fini(&arena);
}

/* ---- the pairs ----------------------------------------------------------------------------------- */

enum { AMONG = 400 };

/* One set of all patterns of a stretch: each says among the others what it said alone. */
struct among {
    struct match_set *set;
    struct buf patterns[AMONG], events[AMONG];
    size_t count;
    bool matches[AMONG];
};

static unsigned long among_check(struct among *a, unsigned long seed)
{
    unsigned long wrong = 0;
    match_seal(a->set);
    struct match_ctx *c = match_ctx_new(a->set);
    for (size_t i = 0; i < a->count; i++) {
        const uint32_t *hits;
        weir_str event = buf_str(&a->events[i]);
        size_t n = match_json(c, event, i % 2 ? MATCH_KNOWN_GOOD : 0, &hits);
        bool is_hit[AMONG] = {false};
        for (size_t k = 0; k < n && n != SIZE_MAX; k++)
            is_hit[hits[k]] = true;
        for (size_t k = i; k < i + 8 && !match_was_cut(c); k++) {
            size_t of = (i + (k - i) * 37) % a->count;
            struct naive_answer answer = {.is_match = a->matches[of]};
            if (k != i)
                naive_match(buf_str(&a->patterns[of]), event, &answer);
            if (answer.is_match == is_hit[of] || answer.is_cut)
                continue;
            wrong++;
            printf("WEIR_FUZZ_SEED=%lu: among %zu, naive %d\n  pattern %s\n  event   %s\n", seed,
                   a->count, answer.is_match, buf_text(&a->patterns[of]), buf_text(&a->events[i]));
        }
    }
    match_ctx_free(c);
    match_set_free(a->set);
    a->set = match_set_new(NULL);
    a->count = 0;
    return wrong;
}

struct tally {
    unsigned long pairs, patterns, matches, cut, wrong;
};

static void one_pair(struct among *a, unsigned long seed, struct tally *t)
{
    struct arena arena;
    arena_init(&arena);
    struct pairs p = {seed * 0x9e3779b97f4a7c15ULL + 1, &arena};
    struct naive_answer n;
    struct verdict v;
    struct buf *pattern = &a->patterns[a->count], *event = &a->events[a->count];
    pairs_make(&p, pattern, event);
    t->pairs++;
    if (difference(buf_str(pattern), buf_str(event), &n, &v)) {
        t->wrong++;
        report(buf_str(pattern), buf_str(event), seed);
    }
    t->cut += n.is_cut;
    t->patterns += n.is_pattern;
    t->matches += n.is_match;
    if (n.is_pattern && n.is_event && !n.is_cut && v.status == WEIR_OK) {
        (void)match_add(a->set, buf_str(pattern), NULL);
        a->matches[a->count++] = n.is_match;
    }
    if (a->count == AMONG)
        t->wrong += among_check(a, seed);
    arena_fini(&arena);
}

START_TEST(agrees_with_naive)
{
    unsigned long pairs = number_from("WEIR_FUZZ_PAIRS", 60000);
    unsigned long seed = number_from("WEIR_FUZZ_SEED", 1);
    struct among a = {.set = match_set_new(NULL)};
    struct tally t = {0};
    for (unsigned long i = 0; i < pairs && t.wrong < 20; i++)
        one_pair(&a, seed + i, &t);
    t.wrong += a.count ? among_check(&a, seed) : 0;
    printf(
        "%lu pairs from seed %lu: %lu patterns, %lu matches, %lu not tried to the end, %lu wrong\n",
        t.pairs, seed, t.patterns, t.matches, t.cut, t.wrong);
    (void)fflush(stdout);
    match_set_free(a.set);
    for (size_t i = 0; i < AMONG; i++) {
        buf_fini(&a.patterns[i]);
        buf_fini(&a.events[i]);
    }
    ck_assert_uint_eq(t.wrong, 0);
    ck_assert_uint_ge(t.patterns * 10, t.pairs * 7); /* else the pairs say little */
    ck_assert_uint_ge(t.matches * 10, t.pairs * 3);
}
END_TEST

/* ---- how complex a wildcard may be --------------------------------------------------------------- */

enum { TOKENS = 12, COMPLEX = 10 };

/* The positions in the pattern that a text can lead to, as bits: behind a star one stays. */
static unsigned step(const char *pattern, unsigned at, char c)
{
    unsigned to = 0;
    for (size_t i = 0; i <= strlen(pattern); i++) {
        if (!(at >> i & 1))
            continue;
        if (i && pattern[i - 1] == '*')
            to |= 1U << i;
        if (pattern[i] == c)
            to |= 2U << i;
    }
    for (size_t i = 0; pattern[i]; i++)
        if (to >> i & 1 && pattern[i] == '*')
            to |= 2U << i;
    return to;
}

/* Of all texts, the most beginnings of the pattern, from its first star on, that one is. */
static unsigned most_beginnings(const char *pattern)
{
    static unsigned queue[2U << TOKENS];
    static bool is_seen[2U << TOKENS];
    memset(is_seen, 0, sizeof is_seen);
    unsigned count = 0, most = 0, first = (unsigned)strcspn(pattern, "*");
    queue[count++] = *pattern == '*' ? 3 : 1;
    for (unsigned i = 0; i < count; i++) {
        unsigned behind = 0;
        for (unsigned bit = first + 1; bit <= TOKENS; bit++)
            behind += queue[i] >> bit & 1;
        most = behind > most ? behind : most;
        for (const char *c = "abx"; *c; c++) {
            unsigned to = step(pattern, queue[i], *c);
            if (!is_seen[to])
                queue[count++] = to;
            is_seen[to] = true;
        }
    }
    return most;
}

START_TEST(complexity_is_what_it_says)
{
    struct pairs p = {number_from("WEIR_FUZZ_SEED", 1), NULL};
    unsigned refused = 0;
    for (int i = 0; i < 3000; i++) {
        char text[TOKENS + 1], pattern[64];
        size_t len = 4 + pairs_random(&p, TOKENS - 3);
        unsigned stars = pairs_random(&p, 50), bs = pairs_random(&p, 40);
        for (size_t k = 0; k < len; k++) {
            bool is_star = pairs_chance(&p, stars) && (!k || text[k - 1] != '*');
            text[k] = '*';
            if (!is_star)
                text[k] = pairs_chance(&p, bs) ? 'b' : 'a';
        }
        text[len] = '\0';
        (void)snprintf(pattern, sizeof pattern, "{\"a\":[{\"wildcard\":\"%s\"}]}", text);
        struct match_set *set = match_set_new(NULL);
        struct match_error e;
        bool is_refused = match_add(set, weir_text(pattern), &e) != WEIR_OK;
        bool is_complex = strchr(text, '*') && most_beginnings(text) > COMPLEX;
        ck_assert_msg(is_refused == is_complex, "%s: %u", text, most_beginnings(text));
        refused += is_refused;
        match_set_free(set);
    }
    ck_assert_uint_ge(refused, 50);
}
END_TEST

/* ---- each letter in each of its cases ------------------------------------------------------------ */

enum { LETTERS_MAX = 8000 };

static bool has_case(long code)
{
    char own[8], lower[8], upper[8];
    weir_str self = {own, naive_put(own, code)};
    return !naive_same(naive_case(code, false, lower), self) ||
           !naive_same(naive_case(code, true, upper), self);
}

/* The letter itself and its two cases, as texts of an event: this pattern says what it should, and no
 * other one says more. */
static void check_forms(struct match_ctx *c, const weir_str *letters, size_t number)
{
    size_t n;
    char lower[8], upper[8];
    long code = naive_get(letters[number].ptr, letters[number].ptr + letters[number].len, &n);
    weir_str forms[3] = {letters[number], naive_case(code, false, lower),
                         naive_case(code, true, upper)};
    for (size_t i = 0; i < 3; i++) {
        char event[64];
        const uint32_t *hits;
        bool is_hit = false;
        (void)snprintf(event, sizeof event, "{\"a\":\"%.*s\"}", (int)forms[i].len, forms[i].ptr);
        size_t found = match_json(c, weir_text(event), 0, &hits);
        for (size_t k = 0; k < found; k++) {
            is_hit |= hits[k] == number;
            ck_assert_msg(naive_folds(letters[hits[k]], forms[i], NAIVE_WHOLE), "%.*s: %s",
                          (int)letters[hits[k]].len, letters[hits[k]].ptr, event);
        }
        ck_assert_msg(is_hit == naive_folds(letters[number], forms[i], NAIVE_WHOLE), "%lx: %s",
                      (unsigned long)code, event);
    }
}

START_TEST(folds_each_letter)
{
    static weir_str letters[LETTERS_MAX];
    static char texts[LETTERS_MAX][4];
    struct match_set *set = match_set_new(NULL);
    size_t count = 0;
    for (long code = 0x23; code < 0x110000; code++) {
        if (code == '\\' || (code >= 0xd800 && code < 0xe000) ||
            (code % 997 && (code > 0x1ffff || !has_case(code))))
            continue;
        ck_assert_uint_lt(count, LETTERS_MAX);
        letters[count] = (weir_str){texts[count], naive_put(texts[count], code)};
        char pattern[64];
        (void)snprintf(pattern, sizeof pattern, "{\"a\":[{\"equals-ignore-case\":\"%.*s\"}]}",
                       (int)letters[count].len, letters[count].ptr);
        ck_assert_int_eq(match_add(set, weir_text(pattern), NULL), WEIR_OK);
        count++;
    }
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    for (size_t i = 0; i < count; i++)
        check_forms(c, letters, i);
    match_ctx_free(c);
    match_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_naive");
    TCase *t = tcase_create("naive");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, agrees_with_naive);
    tcase_add_test(t, complexity_is_what_it_says);
    tcase_add_test(t, folds_each_letter);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
