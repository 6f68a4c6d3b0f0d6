/* tests/plugins/file.c: lines that are whole or not there, and a position that survives. */
#include "support.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- the sink ---------------------------------------------------------------------------------- */

static weir_test *sink(const char *first, const char *second)
{
    weir_test *t = weir_test_new(WEIR_TEST_SINK, "file", first, second, NULL);
    weir_test_give(t, &shapes.base);
    return t;
}

START_TEST(appends_lines)
{
    file_write("out", "before\n");
    weir_test *t = sink(option_path("path", "out"), "sync=true");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "{\"a\":\r\n1}");
    weir_test_event(t, "");
    weir_test_event(t, "\n{}");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(file_read("out"), "before\n{\"a\":  1}\n\n {}\n");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(writes_envelopes)
{
    weir_test *t = sink(option_path("path", "a/b/out"), "format=envelope");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "1"), "@source", "s");
    weir_test_event(t, "2");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(file_read("a/b/out"),
                     "{\"source\":\"s\",\"detail\":1}\n{\"source\":\"\",\"detail\":2}\n");
    for (long n = 0; n < 2; n++) {
        weir_test_event(t, "3");
        weir_test_event(t, "4");
        weir_test_memory(t, n);
        ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
    }
    ck_assert_ptr_null(strstr(file_read("a/b/out"), "3"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(begins_anew_when_moved_away)
{
    weir_test *t = sink(option_path("path", "out"), NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_int_eq(rename(path_of("out"), path_of("out.1")), 0);
    weir_test_event(t, "2");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(file_read("out.1"), "1\n");
    ck_assert_str_eq(file_read("out"), "2\n");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(ends_a_torn_line_of_another_life)
{
    file_write("out", "{\"whole\":1}\n{\"to");
    weir_test *t = sink(option_path("path", "out"), NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(file_read("out"), "{\"whole\":1}\n{\"to\n1\n");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* A limit on the file's size cuts the write in the middle of a line: nothing of it may stay. */
START_TEST(takes_back_what_was_half_written)
{
    struct rlimit is, low;
    weir_test *t = sink(option_path("path", "out"), NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &is), 0);
    low = is;
    low.rlim_cur = 6;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    weir_test_event(t, "22");
    weir_test_event(t, "{\"longer\":3}");
    weir_status s = weir_test_push(t);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &is), 0);
    ck_assert_int_eq(s, WEIR_E_RETRY);
    ck_assert_str_eq(file_read("out"), "1\n");
    weir_test_event(t, "22");
    ck_assert_int_eq(weir_test_push(t), WEIR_OK);
    ck_assert_str_eq(file_read("out"), "1\n22\n");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(says_what_cannot_be_written)
{
    weir_test *t = sink("path=/dev/full", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_E_RETRY);
    ck_assert(weir_test_said(t, "retry: write /dev/full: No space left on device"));
    ck_assert_int_eq(weir_test_free(t), 0);
    t = sink(option_path("path", "none/out"), "make_folders=false");
    ck_assert_int_eq(weir_test_start(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "make the folder first, or set make_folders"));
    ck_assert_int_eq(weir_test_free(t), 0);
    t = sink(option_path("path", ""), NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "Is a directory"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

/* ---- the source -------------------------------------------------------------------------------- */

static weir_test *source(const char *first, const char *second)
{
    weir_test *t =
        weir_test_new(WEIR_TEST_SOURCE, "file", option_path("path", "in"), first, second, NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    return t;
}

START_TEST(reads_lines_and_ends)
{
    file_write("in", "{\"id\":\"a\"}\n\n  \n[1]\r\nnone\n\"last\"");
    weir_test *t = source("key=id", "type=T");
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    const weir_batch *b = weir_test_flight(t, 0);
    ck_assert_uint_eq(b->count, 3);
    ck_assert(weir_test_body_is(b->events[0], "{\"id\":\"a\"}"));
    ck_assert(weir_test_body_is(b->events[2], "\"last\""));
    ck_assert_str_eq(weir_test_value(t, b->events[0], "@key"), "a");
    ck_assert_str_eq(weir_test_value(t, b->events[1], "@type"), "T");
    ck_assert(weir_test_said(t, "is no JSON: skipped"));
    ck_assert_double_eq(weir_test_metric(t, "skipped_lines"), 1);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE); /* not before all is settled */
    weir_test_settle(t, 0, WEIR_DELIVERED, WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_END);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(goes_on_where_it_was_settled)
{
    file_write("in", "1\n2\n");
    weir_test *t = source("follow=true", NULL);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    weir_test_settle(t, 0, WEIR_DELIVERED, WEIR_OK);
    weir_test_move(t, 1000000000);
    ck_assert_ptr_nonnull(file_read("in.position"));
    ck_assert_int_eq(weir_test_free(t), 0);
    FILE *f = fopen(path_of("in"), "a");
    ck_assert_int_ge(fputs("3\n4", f), 0); /* the last line is not yet whole */
    ck_assert_int_eq(fclose(f), 0);
    t = source("follow=true", NULL);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_flight(t, 0)->count, 1);
    ck_assert(weir_test_body_is(weir_test_flight(t, 0)->events[0], "3"));
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    weir_test_settle(t, 0, WEIR_FILTERED, WEIR_OK);
    f = fopen(path_of("in"), "a");
    ck_assert_int_ge(fputs("4\n", f), 0);
    ck_assert_int_eq(fclose(f), 0);
    weir_test_move(t, 1000000000);
    ck_assert_uint_eq(weir_test_flight_count(t), 2);
    ck_assert(weir_test_body_is(weir_test_flight(t, 1)->events[0], "44"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(brings_failures_again)
{
    file_write("in", "1\n2");
    weir_test *t = source(NULL, NULL);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    weir_test_settle(t, 0, WEIR_FAILED, WEIR_E_RETRY);
    weir_test_move(t, 1000000000);
    ck_assert_uint_eq(weir_test_flight_count(t), 2);
    ck_assert_uint_eq(weir_test_flight(t, 1)->count, 2);
    ck_assert_ptr_null(file_read("in.position"));
    weir_test_settle(t, 1, WEIR_FAILED, WEIR_E_REJECT); /* for good: it goes on */
    ck_assert_int_eq(weir_test_pull(t), WEIR_END);
    ck_assert_int_eq(weir_test_free(t), 0);
    ck_assert_int_eq(strncmp(file_read("in.position"), "3 ", 2), 0);
}
END_TEST

START_TEST(follows_a_file_that_is_replaced)
{
    file_write("in", "1\n");
    weir_test *t = source("follow=true", NULL);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    weir_test_settle(t, 0, WEIR_DELIVERED, WEIR_OK);
    weir_test_move(t, 1000000000);
    ck_assert_int_eq(rename(path_of("in"), path_of("in.1")), 0);
    file_write("in", "5\n6\n");
    weir_test_move(t, 1000000000);
    ck_assert_uint_eq(weir_test_flight_count(t), 2);
    ck_assert_uint_eq(weir_test_flight(t, 1)->count, 2);
    ck_assert(weir_test_said(t, "was replaced"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(skips_lines_that_are_too_long)
{
    char text[600] = "1\n\"";
    memset(text + 3, 'x', 500);
    memcpy(text + 503, "\"\n2\n", 5);
    file_write("in", text);
    weir_test *t = source("line_max=100B", NULL);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_flight(t, 0)->count, 2);
    ck_assert(weir_test_said(t, "at byte 2 is longer than line_max"));
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(skips_a_line_longer_than_a_read)
{
    FILE *f = fopen(path_of("in"), "w");
    ck_assert_int_eq(fputc('"', f), '"');
    for (int i = 0; i < 700000; i++)
        ck_assert_int_eq(fputc('x', f), 'x');
    ck_assert_int_ge(fputs("\"\n2\n", f), 0);
    ck_assert_int_eq(fclose(f), 0);
    weir_test *t = source("line_max=1KiB", NULL);
    while (weir_test_pull(t) == WEIR_IDLE && weir_test_run(t))
        ;
    ck_assert_uint_eq(weir_test_flight_count(t), 1);
    ck_assert(weir_test_body_is(weir_test_flight(t, 0)->events[0], "2"));
    ck_assert_double_eq(weir_test_metric(t, "skipped_lines"), 1);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(loses_nothing_without_memory)
{
    file_write("in", "1\n2\n3\n");
    weir_test *t = source(NULL, NULL);
    for (long n = 0; n < 5; n++) {
        weir_test_memory(t, n);
        ck_assert_int_eq(weir_test_pull(t), WEIR_E_RETRY);
    }
    weir_test_memory(t, -1);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_flight(t, 0)->count, 3);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(says_what_cannot_be_read)
{
    weir_test *t = weir_test_new(WEIR_TEST_SOURCE, "file", option_path("path", "none"), NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "none: No such file or directory"));
    ck_assert_int_eq(weir_test_free(t), 0);
    t = weir_test_new(WEIR_TEST_SOURCE, "file", option_path("path", ""), NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_E_CONFIG);
    ck_assert(weir_test_said(t, "is no regular file"));
    ck_assert_int_eq(weir_test_free(t), 0);
    file_write("in", "1\n");
    file_write("in.position", "nonsense");
    t = source(NULL, NULL);
    ck_assert(weir_test_said(t, "is no position: reading"));
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("file", (const TTest *const[]){
                                 appends_lines,
                                 writes_envelopes,
                                 begins_anew_when_moved_away,
                                 ends_a_torn_line_of_another_life,
                                 takes_back_what_was_half_written,
                                 says_what_cannot_be_written,
                                 reads_lines_and_ends,
                                 goes_on_where_it_was_settled,
                                 brings_failures_again,
                                 follows_a_file_that_is_replaced,
                                 skips_lines_that_are_too_long,
                                 skips_a_line_longer_than_a_read,
                                 loses_nothing_without_memory,
                                 says_what_cannot_be_read,
                                 NULL,
                             });
}
