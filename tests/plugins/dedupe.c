/* tests/plugins/dedupe.c: what passes, what is a duplicate, what waits, and that no claim is left open. */
#include "support.h"

#include <weir/window.h>

/* A window in memory: keys in the order in which they came. */
struct weir_window {
    char keys[16][32];
    bool is_recorded[16];
    size_t count;
};
struct weir_claim {
    size_t index;
};

static struct weir_window seen;
static struct weir_claim claims[16];
static weir_window_settings asked;
static int attached;

static weir_status window_open(const weir_windows *s, const char *name,
                               const weir_window_settings *settings, weir_window **window)
{
    asked = *settings;
    seen = (struct weir_window){.count = 0};
    attached = 0;
    *window = &seen;
    return WEIR_OK;
}

static weir_status window_claim(const weir_windows *s, weir_window *w, weir_str key,
                                weir_str content, weir_window_found *found)
{
    for (size_t i = 0; i < w->count; i++)
        if (weir_same(key, w->keys[i]))
            return w->is_recorded[i] ? WEIR_DROP : WEIR_PENDING;
    (void)snprintf(w->keys[w->count], sizeof w->keys[0], "%.*s", (int)key.len, key.ptr);
    claims[w->count].index = w->count;
    found->claim = &claims[w->count++];
    return WEIR_OK;
}

static void window_attach(const weir_windows *s, weir_claim *take, const weir_event *ev)
{
    attached++;
}

static void window_release(const weir_windows *s, weir_claim *take)
{
    ck_abort_msg("nothing is released");
}

static uint64_t window_count(const weir_windows *s, const weir_window *w)
{
    return w->count;
}

static const weir_windows windows = {
    .base = WEIR_OFFER(WEIR_WINDOW),
    .open = window_open,
    .claim = window_claim,
    .attach = window_attach,
    .release = window_release,
    .count = window_count,
};

static weir_test *start(const char *option)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "dedupe", option, NULL);
    weir_test_give(t, &windows.base);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    return t;
}

START_TEST(passes_the_first)
{
    weir_test *t = start("key=order.id");
    ck_assert_int_eq(asked.keep.ns, INT64_C(600000000000));
    ck_assert_uint_eq(asked.keys_max, 100000);
    weir_test_event(t, "{\"order\":{\"id\":\"a\"}}");
    weir_test_event(t, "{\"order\":{\"id\":7}}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    ck_assert_uint_eq(weir_test_out_of(t, 0)->port_count, 0);
    ck_assert_int_eq(attached, 2);
    ck_assert_str_eq(seen.keys[0], "a");
    ck_assert_str_eq(seen.keys[1], "7");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(names_duplicates)
{
    weir_test *t = start("key=id");
    weir_test_event(t, "{\"id\":1}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    seen.is_recorded[0] = true;
    weir_test_event(t, "{\"id\":1}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    const weir_test_out *second = weir_test_out_of(t, weir_test_out_count(t) - 1);
    ck_assert(weir_test_is_on(second, 1) && !weir_test_is_on(second, 0));
    ck_assert_double_eq(weir_test_metric(t, "duplicates"), 1);
    ck_assert_int_eq(attached, 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(waits_for_the_first)
{
    weir_test *t = start("key=id");
    weir_test_event(t, "{\"id\":1}");
    weir_test_event(t, "{\"id\":1}");
    (void)weir_test_push(t);
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_OK);
    ck_assert_int_eq(weir_test_fate_of(t, 1)->status, WEIR_E_RETRY);
    ck_assert_int_eq(attached, 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(passes_what_has_no_key)
{
    weir_test *t = start("key=id");
    weir_test_event(t, "{}");
    weir_test_event(t, "{\"id\":\"\"}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_out_count(t), 2);
    ck_assert_double_eq(weir_test_metric(t, "keyless"), 2);
    ck_assert_int_eq(attached, 0);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(knows_the_id_by_default)
{
    weir_test *t = start("window=1s");
    weir_test_event(t, "{}");
    weir_test_event(t, "{}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_int_eq(attached, 2);
    ck_assert_uint_eq(strlen(seen.keys[0]), 31); /* a UUID, cut to the room of the test */
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("dedupe",
                     (const TTest *const[]){passes_the_first, names_duplicates, waits_for_the_first,
                                            passes_what_has_no_key, knows_the_id_by_default, NULL});
}
