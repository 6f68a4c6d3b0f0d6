/* tests/plugins/null.c: the null sink counts what it forgets. */
#include "support.h"

START_TEST(counts_events_and_bytes)
{
    weir_test *t = weir_test_new(WEIR_TEST_SINK, "null", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "{}");
    weir_test_event(t, "{\"a\":1}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_double_eq(weir_test_metric(t, "events"), 2);
    ck_assert_double_eq(weir_test_metric(t, "bytes"), 9);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("null", (const TTest *const[]){counts_events_and_bytes, NULL});
}
