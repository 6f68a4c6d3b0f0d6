/* unit/match_store.c: texts that are packed come back as they were. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "match/store.h"

enum { TEXTS = 4000 };

static uint32_t state = 7;

static uint32_t roll(uint32_t n)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

static void random_text(struct buf *b)
{
    static const char *const parts[] = {"{\"detail\": {\"order\": ", "[\"EUR\"]",
                                        "{\"prefix\": \"x\"}", "\xc3\xa9", ""};
    size_t pieces = roll(40) ? roll(8) : 3000;
    b->len = 0;
    for (size_t i = 0; i < pieces; i++) {
        buf_add_text(b, parts[roll(5)]);
        buf_add_char(b, (char)roll(256));
        if (!roll(4))
            buf_add_u64(b, roll(100000));
    }
}

START_TEST(texts_come_back)
{
    struct store s = {0};
    struct buf *texts = mem_new(TEXTS * sizeof *texts), out = {0};
    uint32_t *at = mem_new(TEXTS * sizeof *at);
    for (size_t i = 0; i < TEXTS; i++) {
        random_text(&texts[i]);
        at[i] = store_put(&s, buf_str(&texts[i]));
        if (!roll(1000))
            store_trim(&s);
    }
    store_trim(&s);
    for (size_t i = 0; i < TEXTS; i++) {
        out.len = 0;
        store_get(&s, at[i], &out);
        ck_assert_uint_eq(out.len, texts[i].len);
        ck_assert(out.len == 0 || memcmp(out.ptr, texts[i].ptr, out.len) == 0);
        buf_fini(&texts[i]);
    }
    buf_fini(&out);
    mem_free(texts);
    mem_free(at);
    store_fini(&s);
}
END_TEST

/* Patterns of one shape: what is common is kept once. */
START_TEST(alike_texts_are_small)
{
    struct store s = {0};
    struct buf text = {0};
    for (int i = 0; i < TEXTS; i++) {
        text.len = 0;
        buf_print(&text, "{\"detail\":{\"order\":{\"id\":[\"%08d\"],\"state\":[\"paid\"]}}}", i);
        (void)store_put(&s, buf_str(&text));
    }
    store_trim(&s);
    ck_assert_uint_lt(store_bytes(&s) / TEXTS, 20);
    buf_fini(&text);
    store_fini(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("match_store");
    TCase *t = tcase_create("store");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, texts_come_back);
    tcase_add_test(t, alike_texts_are_small);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
