/* tests/plugins/stdout.c: what is printed, in each format, and what happens when nobody reads. */
#include "support.h"

#include <weir/pipeline.h>

#include <fcntl.h>
#include <signal.h>

/* Runs one push with standard output at `name`; the answer of the push. */
static weir_status push_to(weir_test *t, const char *path)
{
    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(dup2(fd, STDOUT_FILENO), 0);
    weir_status s = weir_test_push(t);
    ck_assert_int_ge(dup2(kept, STDOUT_FILENO), 0);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(close(kept), 0);
    return s;
}

static weir_test *start(const char *format)
{
    weir_test *t = weir_test_new(WEIR_TEST_SINK, "stdout", format, NULL);
    weir_test_give(t, &shapes.base);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_set(t, weir_test_event(t, "{\"a\":\n1}"), "@source", "s");
    weir_test_event(t, "2");
    return t;
}

START_TEST(prints_a_line_each)
{
    static const char *const formats[][2] = {
        {"format=body", "{\"a\": 1}\n2\n"},
        {"format=envelope",
         "{\"source\":\"s\",\"detail\":{\"a\": 1}}\n{\"source\":\"\",\"detail\":2}\n"},
        {"format=pretty", "00:00:00.000 s - {\"a\": 1}\n00:00:00.000 - - 2\n"},
    };
    for (size_t i = 0; i < 3; i++) {
        weir_test *t = start(formats[i][0]);
        ck_assert_int_eq(push_to(t, path_of("out")), WEIR_OK);
        ck_assert_str_eq(file_read("out"), formats[i][1]);
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

START_TEST(retries_when_full_or_without_memory)
{
    weir_test *t = start("format=envelope");
    ck_assert_int_eq(push_to(t, "/dev/full"), WEIR_E_RETRY);
    ck_assert(weir_test_said(t, "write to standard output: No space left on device"));
    weir_test_event(t, "1");
    weir_test_event(t, "2");
    weir_test_memory(t, 1);
    ck_assert_int_eq(push_to(t, path_of("out")), WEIR_E_RETRY);
    ck_assert_str_eq(file_read("out"), "");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

static const char *ended;

static void end_asked(const weir_pipeline *s, const weir_host *h, const char *why)
{
    ended = why;
}

START_TEST(ends_when_nobody_reads)
{
    static const weir_pipeline runner = {.base = WEIR_OFFER(WEIR_PIPELINE), .end = end_asked};
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(close(ends[0]), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)fflush(stdout);
    weir_test *t = weir_test_new(WEIR_TEST_SINK, "stdout", "format=body", NULL);
    weir_test_give(t, &shapes.base);
    weir_test_give(t, &runner.base);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    int kept = dup(STDOUT_FILENO);
    ck_assert_int_ge(dup2(ends[1], STDOUT_FILENO), 0);
    weir_status s = weir_test_push(t);
    ck_assert_int_ge(dup2(kept, STDOUT_FILENO), 0);
    ck_assert_int_eq(s, WEIR_E_FATAL);
    ck_assert_str_eq(ended, "write to standard output: Broken pipe: nobody reads it");
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("stdout",
                     (const TTest *const[]){prints_a_line_each, retries_when_full_or_without_memory,
                                            ends_when_nobody_reads, NULL});
}
