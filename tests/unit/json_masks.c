/* unit/json_masks.c: texts read 64 bytes at a time, with all kinds of instructions that this machine has:
 * all accept just what the check byte by byte accepts, and find the same tokens. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "json/check.h"
#include "json/json.h"
#include "json/masks.h"

enum { ROOM = 4096, BLOCKS = ROOM / MASKS_BLOCK_BYTES + 1 };

static uint64_t state = 88172645463325252u;

static size_t random_below(size_t n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (size_t)(state >> 20) % n;
}

/* ---- what is found, byte by byte ---------------------------------------------------------------- */

static void find_slowly(weir_str text, struct masks_block *blocks)
{
    bool in_text = false, is_escaped = false;
    int32_t depth = 0;
    memset(blocks, 0, masks_count(text.len) * sizeof *blocks);
    for (size_t i = 0; i <= text.len; i++) {
        struct masks_block *b = &blocks[i / MASKS_BLOCK_BYTES];
        uint64_t bit = (uint64_t)1 << i % MASKS_BLOCK_BYTES;
        if (bit == 1)
            b->depth = depth;
        char c = '\0';
        if (i < text.len && !is_escaped)
            c = text.ptr[i];
        is_escaped = c == '\\';
        bool is_open = !in_text && (c == '{' || c == '[');
        bool is_close = !in_text && (c == '}' || c == ']');
        if (c == '"' || is_open || is_close || (!in_text && c == ','))
            b->tokens |= bit;
        b->opens |= is_open ? bit : 0;
        b->closes |= is_close ? bit : 0;
        depth += is_open - is_close;
        in_text ^= c == '"';
    }
}

static void compare_blocks(weir_str text, const struct masks_block *found, const char *what)
{
    struct masks_block expected[BLOCKS];
    find_slowly(text, expected);
    for (size_t i = 0; i < masks_count(text.len); i++) {
        int32_t low = expected[i].depth, depth = low;
        for (unsigned k = 0; k < MASKS_BLOCK_BYTES; k++) {
            depth += (int32_t)(expected[i].opens >> k & 1) - (int32_t)(expected[i].closes >> k & 1);
            low = depth < low ? depth : low;
        }
        ck_assert_msg(found[i].tokens == expected[i].tokens &&
                          found[i].opens == expected[i].opens &&
                          found[i].closes == expected[i].closes &&
                          found[i].depth == expected[i].depth && found[i].low <= low,
                      "%s, block %zu: %.*s", what, i, (int)text.len, text.ptr);
    }
}

/* ---- one text, by all ---------------------------------------------------------------------------- */

static const char *const names[MASKS_VARIANTS] = {"portable", "sse2", "avx2"};

/* The text ends where the page behind may not be read, and begins where the one before may not. */
static char *page;

static bool compare(weir_str text)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE), why_not = 0;
    char *at = page + 2 * size - text.len;
    if (text.len)
        memcpy(at, text.ptr, text.len);
    weir_str copy = {at, text.len};
    bool is_good = check_bytes(copy, &why_not, NULL) == WEIR_OK;
    struct masks_block blocks[BLOCKS], again[BLOCKS];
    for (int variant = 0; variant < MASKS_VARIANTS; variant++) {
        if (!masks_use(variant))
            continue;
        unsigned found = masks_check(copy, blocks), trusted = masks_read(copy, again);
        ck_assert_msg(!(found & MASKS_BAD) == is_good, "%s: good %d: %.*s", names[variant], is_good,
                      (int)text.len, text.ptr);
        ck_assert_uint_eq(masks_check(copy, NULL), found);
        ck_assert_int_eq(json_check(copy, NULL, NULL) == WEIR_OK, is_good);
        if (!is_good)
            continue;
        bool has_slash = text.len && memchr(text.ptr, '\\', text.len);
        ck_assert_uint_eq(found, has_slash ? MASKS_SLASH : 0);
        ck_assert_uint_eq(trusted, found);
        compare_blocks(copy, blocks, names[variant]);
        compare_blocks(copy, again, names[variant]);
    }
    return is_good;
}

static void guard_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    page = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(page, MAP_FAILED);
    ck_assert_int_eq(mprotect(page + size, size, PROT_READ | PROT_WRITE), 0);
}

static void free_page(void)
{
    (void)munmap(page, 3 * (size_t)sysconf(_SC_PAGESIZE));
    (void)masks_use(-1);
}

/* ---- the texts ------------------------------------------------------------------------------------ */

static const char *const seeds[] = {
    "{\"a\":1,\"b\":[1,2,{\"c\":\"d\"}],\"e\":{}}",
    "[1,-2.5,1e5,0,-0.0,1.5E+10,2e-3,true,false,null,\"x\",12345678901234567890.123456789]",
    "{\"a\" : [ ] , \"b\" : { \"c\" : \"\\u00e4\\ud83d\\ude00\\\"\\\\\" } }",
    "[\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\",\"\xf4\x8f\xbf\xbf\xee\x80\x80\"]",
    "{\"\xed\x9f\xbf\":\"\xef\xbf\xbd\"}",
    "  {\"key\":\"a\\\"b\\\\\",\n\t\"n\":[[[],[{}]],{\"x\":[{\"y\":null}]}],\r\"z\":-12.50e+10}  ",
    "\"text\"",
    "12",
    "[\"a\",\"b\",\"c\"]",
    "{\"a\":\"b\",\"c\":\"d\",\"e\":{\"f\":{\"g\":[]}}}",
    "[{},{},[],[],\"\",{\"\":\"\"}]",
    "{\"properties\":{\"lot\":\"L00001\",\"street\":\"plot 00001, harbour\",\"area\":77.50}}",
    "{\"coordinates\":[{\"x\":-122.123454252825,\"y\":37.1234,\"z\":0.0},{\"x\":1e0}]}",
};
enum { SEEDS = sizeof seeds / sizeof *seeds };

static size_t put_seed(char *to)
{
    weir_str seed = weir_text(seeds[random_below(SEEDS)]);
    memcpy(to, seed.ptr, seed.len);
    return seed.len;
}

/* Blanks in front move what follows over the borders of blocks. */
static size_t make_text(char *text)
{
    size_t len = random_below(80);
    memset(text, ' ', len);
    if (random_below(4))
        return len + put_seed(text + len);
    text[len++] = '[';
    for (size_t n = 1 + random_below(5); n--;) {
        len += put_seed(text + len);
        text[len++] = n ? ',' : ']';
    }
    return len;
}

static size_t mutate(char *text, size_t len)
{
    static const char bytes[] =
        "{}[]:,\"\\ \n\t0123456789.-+eEtfnrulas\x01\x1f\x80\xbf\xc0\xc1\xc3\xa4"
        "\xe0\xe2\xed\xa0\xf0\x9f\xf4\x90\xf5\xff/bu";
    size_t at = random_below(len), from = random_below(len), count = random_below(6);
    char byte = bytes[random_below(sizeof bytes - 1)];
    switch (random_below(5)) {
    case 0:
        text[at] = byte;
        return len;
    case 1:
        memmove(text + at, text + at + 1, len - at - 1);
        return len - 1;
    case 2:
        memmove(text + at + 1, text + at, len - at);
        text[at] = byte;
        return len + 1;
    case 3:
        text[at] = text[from];
        return len;
    default:
        if (from + count <= len && at + count <= len)
            memmove(text + at, text + from, count);
        return len;
    }
}

START_TEST(mutated_texts)
{
    guard_page();
    size_t good = 0, all = 40000;
    for (size_t i = 0; i < all; i++) {
        char text[ROOM];
        size_t len = make_text(text);
        for (size_t n = random_below(4); n-- && len > 1;)
            len = mutate(text, len);
        if (random_below(8) == 0)
            len = random_below(len + 1);
        good += compare((weir_str){text, len});
    }
    ck_assert_uint_gt(good, all / 4);
    ck_assert_uint_lt(good, all * 3 / 4);
    free_page();
}
END_TEST

/* Each seed at each place in a block, and each beginning of it. */
START_TEST(places)
{
    guard_page();
    for (size_t i = 0; i < SEEDS; i++)
        for (size_t blanks = 0; blanks < MASKS_BLOCK_BYTES; blanks++) {
            char text[ROOM];
            size_t len = strlen(seeds[i]);
            memset(text, ' ', blanks);
            memcpy(text + blanks, seeds[i], len);
            ck_assert(compare((weir_str){text, blanks + len}));
            (void)compare((weir_str){text + blanks, blanks < len ? blanks : len});
        }
    free_page();
}
END_TEST

/* Each pair and triple of tokens, which is where the grammar is decided. */
START_TEST(short_texts)
{
    static const char *const tokens[] = {"{", "}",    "[", "]", ":", ",", "\"a\"",
                                         "1", "true", " ", "-", "0", ".", "e"};
    enum { TOKENS = sizeof tokens / sizeof *tokens };
    static const char *const frames[][2] = {{"", ""},   {"[", "]"},   {"{\"k\":", "}"},
                                            {"{", "}"}, {"[1,", "]"}, {"{\"k\":1,", "}"}};
    guard_page();
    for (size_t i = 0; i < (size_t)TOKENS * TOKENS * TOKENS; i++)
        for (size_t f = 0; f < sizeof frames / sizeof *frames; f++) {
            char text[64];
            int len =
                snprintf(text, sizeof text, "%s%s%s%s%s", frames[f][0], tokens[i % TOKENS],
                         tokens[i / TOKENS % TOKENS], tokens[i / TOKENS / TOKENS], frames[f][1]);
            (void)compare((weir_str){text, (size_t)len});
        }
    free_page();
}
END_TEST

/* All sequences of two bytes that are not ASCII, and of three and four around the limits. */
START_TEST(utf8)
{
    static const unsigned char edges[] = {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0,
                                          0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF,
                                          0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF};
    enum { EDGES = sizeof edges };
    guard_page();
    for (size_t i = 0; i < (size_t)EDGES * EDGES * EDGES * EDGES; i += 1 + random_below(24)) {
        char text[ROOM];
        size_t blanks = random_below(MASKS_BLOCK_BYTES + 1);
        memset(text, ' ', blanks);
        int len =
            snprintf(text + blanks, 16, "\"%c%c%c%c\"", edges[i % EDGES], edges[i / EDGES % EDGES],
                     edges[i / EDGES / EDGES % EDGES], edges[i / EDGES / EDGES / EDGES]);
        (void)compare((weir_str){text, blanks + (size_t)len});
    }
    free_page();
}
END_TEST

START_TEST(depth)
{
    guard_page();
    for (size_t n = JSON_DEPTH_MAX - 1; n <= JSON_DEPTH_MAX + 1; n++) {
        char text[ROOM];
        memset(text, '[', n);
        memset(text + n, ']', n);
        ck_assert_int_eq(compare((weir_str){text, 2 * n}), n <= JSON_DEPTH_MAX);
        text[2 * n - 1] = '}';
        ck_assert(!compare((weir_str){text, 2 * n}));
    }
    char text[ROOM];
    memset(text, ']', sizeof text);
    ck_assert(!compare((weir_str){text, sizeof text}));
    memset(text, '{', sizeof text);
    ck_assert(!compare((weir_str){text, sizeof text}));
    free_page();
}
END_TEST

START_TEST(choice)
{
    ck_assert(masks_use(MASKS_PORTABLE));
    ck_assert(!masks_are_fast());
    ck_assert_int_eq(json_check(weir_text("{\"a\":1}"), NULL, NULL), WEIR_OK);
    ck_assert(!masks_use(MASKS_VARIANTS));
    ck_assert(masks_use(-1));
#if defined(__x86_64__)
    ck_assert(masks_are_fast());
    ck_assert(masks_use(MASKS_SSE2));
    ck_assert(masks_use(-1));
#endif
    ck_assert_uint_eq(masks_check((weir_str){NULL, 0}, NULL), MASKS_BAD);
    ck_assert_uint_eq(masks_check(weir_text("{\"a\":1}"), NULL), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json_masks");
    TCase *t = tcase_create("masks");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, mutated_texts);
    tcase_add_test(t, places);
    tcase_add_test(t, short_texts);
    tcase_add_test(t, utf8);
    tcase_add_test(t, depth);
    tcase_add_test(t, choice);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
