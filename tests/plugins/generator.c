/* tests/plugins/generator.c: how many events are made, when, and with which bodies. */
#include "support.h"

static size_t made(const weir_test *t)
{
    size_t n = 0;
    for (size_t i = 0; i < weir_test_flight_count(t); i++)
        n += weir_test_flight(t, i)->count;
    return n;
}

START_TEST(makes_so_many_and_ends)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "generator", "count=2500", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    while (weir_test_pull(t) == WEIR_OK)
        ;
    ck_assert_uint_eq(made(t), 2500);
    ck_assert_uint_eq(weir_test_flight(t, 0)->count, 1024);
    const weir_event *ev = weir_test_flight(t, 0)->events[7];
    ck_assert(weir_test_body_is(ev, "{\"hello\":\"world\"}"));
    ck_assert_ptr_eq(ev->body, weir_test_flight(t, 1)->events[0]->body); /* shared */
    ck_assert_str_eq(weir_test_value(t, ev, "@source"), "generator");
    ck_assert_int_eq(weir_test_pull(t), WEIR_END);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(numbers_bodies)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "generator", "count=12", "numbered=true",
                                 "body={ \"a\": 1}", "keys=3", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert(weir_test_body_is(weir_test_flight(t, 0)->events[0], "{\"n\":1,\"a\": 1}"));
    ck_assert(weir_test_body_is(weir_test_flight(t, 0)->events[11], "{\"n\":12,\"a\": 1}"));
    ck_assert_str_eq(weir_test_value(t, weir_test_flight(t, 0)->events[5], "@key"), "key-2");
    ck_assert_int_eq(weir_test_free(t), 0);
    t = weir_test_new(WEIR_TEST_SOURCE, "generator", "count=1", "numbered=true", "body={}", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert(weir_test_body_is(weir_test_flight(t, 0)->events[0], "{\"n\":1}"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(keeps_a_rate)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "generator", "rate=100", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    while (weir_test_pull(t) == WEIR_OK)
        ;
    ck_assert_uint_eq(made(t), 1);
    for (int i = 0; i < 300; i++) { /* three seconds, a host that pulls when a timer fires */
        weir_test_move(t, 10000000);
        while (weir_test_pull(t) == WEIR_OK)
            ;
    }
    ck_assert_uint_ge(made(t), 299);
    ck_assert_uint_le(made(t), 302);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(makes_one_at_an_interval)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "generator", "interval=2s", "count=3", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    weir_test_move(t, 1999000000);
    ck_assert_uint_eq(made(t), 1);
    weir_test_move(t, 2000000);
    ck_assert_uint_eq(made(t), 2);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(goes_on_when_memory_was_out)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "generator", "count=3", "numbered=true", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    for (long n = 0; n < 4; n++) {
        weir_test_memory(t, n);
        ck_assert_int_eq(weir_test_pull(t), WEIR_E_RETRY);
        ck_assert_uint_eq(made(t), 0);
    }
    weir_test_memory(t, -1);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert(
        weir_test_body_is(weir_test_flight(t, 0)->events[0], "{\"n\":1,\"hello\":\"world\"}"));
    weir_test_settle(t, 0, WEIR_FAILED, WEIR_E_REJECT);
    ck_assert_double_eq(weir_test_metric(t, "failed"), 3);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(refuses_what_contradicts)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "generator", "rate=1", "interval=1s", NULL);
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "interval: either rate or interval"));
    ck_assert_int_eq(weir_test_free(t), 0);
    t = weir_test_new(WEIR_TEST_SOURCE, "generator", "numbered=true", "body=[1]", NULL);
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "body: with numbered"));
    ck_assert_int_eq(weir_test_free(t), 0);
    t = weir_test_new(WEIR_TEST_SOURCE, "generator", "batch_size=2000", "colour=red", NULL);
    ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "batch_size: expected 1 to 1024"));
    ck_assert(weir_test_said(t, "colour: there is no such option"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("generator", (const TTest *const[]){
                                      makes_so_many_and_ends,
                                      numbers_bodies,
                                      keeps_a_rate,
                                      makes_one_at_an_interval,
                                      goes_on_when_memory_was_out,
                                      refuses_what_contradicts,
                                      NULL,
                                  });
}
