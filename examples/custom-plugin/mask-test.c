/* mask-test.c: the plugin alone, with the host of weir/testing.h. */
#include <weir/testing.h>

#include <assert.h>

static void hides_members(void)
{
    weir_test *t =
        weir_test_new(WEIR_TEST_TRANSFORM, "mask", "paths=[\"card.number\", \"phones[1]\"]", NULL);
    assert(weir_test_start(t) == WEIR_OK);
    weir_test_event(t, "{\"card\": {\"number\": \"4111\"}, \"phones\": [1, 2]}");
    weir_test_event(t, "{\"card\": {}}");
    assert(weir_test_push(t) == WEIR_OK);
    assert(weir_test_body_is(weir_test_out_of(t, 0)->event,
                             "{\"card\": {\"number\": \"***\"}, \"phones\": [1, \"***\"]}"));
    assert(weir_test_body_is(weir_test_out_of(t, 1)->event, "{\"card\": {}}"));
    assert(weir_test_free(t) == 0);
}

static void tries_again_when_memory_is_out(void)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "mask", "paths=[\"a\"]", "with=x", NULL);
    assert(weir_test_start(t) == WEIR_OK);
    weir_test_event(t, "{\"a\": 1}");
    weir_test_memory(t, 0);
    assert(weir_test_push(t) == WEIR_E_RETRY);
    assert(weir_test_free(t) == 0);
}

static void needs_paths(void)
{
    weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "mask", NULL);
    assert(weir_test_check(t) == WEIR_E_CONFIG);
    assert(weir_test_said(t, "paths: is required"));
    assert(weir_test_free(t) == 0);
}

int main(void)
{
    hides_members();
    tries_again_when_memory_is_out();
    needs_paths();
    puts("mask: ok");
    return 0;
}
