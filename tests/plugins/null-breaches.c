/* tests/plugins/null-breaches.c: the host of weir/testing.h tells when a plugin breaks the treaty. */
#define weir_plugin breaches /* in place of the null plugin's */
#include "support.h"
#undef weir_plugin

/* Each component breaks one law. */

static weir_status leaks(void *self, const weir_host *h, const weir_batch *batch)
{
    static weir_payload *volatile leaked; /* where the sanitizer sees it: it tells real leaks */
    char *data = NULL;
    leaked = h->alloc(h, 1, &data);
    return leaked ? WEIR_OK : WEIR_E_RETRY;
}

static weir_status marks_twice(void *self, const weir_host *h, const weir_batch *batch)
{
    h->mark(h, batch, 0, WEIR_OK, NULL);
    h->mark(h, batch, 0, WEIR_E_REJECT, "again");
    return WEIR_OK;
}

static weir_status is_done_twice(void *self, const weir_host *h, const weir_batch *batch)
{
    h->done(h, batch, WEIR_OK);
    return WEIR_OK;
}

static weir_status refuses_late(void *self, const weir_host *h, const weir_batch *batch)
{
    return h->refuse(h, self, 0, "too late");
}

static weir_status loses(void *self, const weir_host *h, const weir_batch *in, weir_batch *out)
{
    (void)h->pass(h, out, in->events[0]);
    return WEIR_OK;
}

static weir_status refuses_and_starts(void *self, const weir_host *h)
{
    (void)h->refuse(h, self, 0, "no");
    return WEIR_OK;
}

static weir_status keeps_well(void *self, const weir_host *h, const weir_batch *batch)
{
    return WEIR_PENDING;
}

struct state {
    const char *text;
};
static const weir_option rows[] = {
    WEIR_OPTION(struct state, text, .preset = "x", .help = "Any."),
    {0},
};
#define SINK(name_, fn) \
    static const weir_component fn##_component = {.name = (name_), \
                                                  .state_size = sizeof(struct state), \
                                                  .options = rows, \
                                                  .write = (fn)}
SINK("leaks", leaks);
SINK("marks_twice", marks_twice);
SINK("is_done_twice", is_done_twice);
SINK("refuses_late", refuses_late);
SINK("keeps_well", keeps_well);
static const weir_component loses_component = {.name = "loses",
                                               .state_size = sizeof(struct state),
                                               .options = rows,
                                               .batch = loses};
static const weir_component starts_component = {.name = "refuses_and_starts",
                                                .state_size = sizeof(struct state),
                                                .options = rows,
                                                .start = refuses_and_starts,
                                                .write = keeps_well};

const weir_manifest breaches = {
    .abi = WEIR_ABI_MAJOR << 16,
    .manifest_size = sizeof(weir_manifest),
    .component_size = sizeof(weir_component),
    .option_size = sizeof(weir_option),
    .components = (const weir_component *const[]){&leaks_component, &marks_twice_component,
                                                  &is_done_twice_component, &refuses_late_component,
                                                  &keeps_well_component, &loses_component,
                                                  &starts_component, NULL},
};

/* Pushes two events and frees; what was said is in `said`. */
static int problems_of(enum weir_test_role role, const char *name, char *said, size_t size)
{
    weir_test *t = weir_test_new(role, name, NULL);
    if (weir_test_start(t) == WEIR_OK) {
        weir_test_event(t, "1");
        weir_test_event(t, "2");
        (void)weir_test_push(t);
    }
    weir_test_stop(t);
    (void)snprintf(said, size, "%s", weir_test_text(t));
    return weir_test_free(t);
}

START_TEST(tells_each_breach)
{
    static const struct {
        const char *name, *said;
        enum weir_test_role role;
        int problems;
    } cases[] = {
        {"leaks", "", WEIR_TEST_SINK, 1},
        {"marks_twice", "problem: event 0 was settled twice", WEIR_TEST_SINK, 1},
        {"is_done_twice", "problem: ok was returned for a batch that was done", WEIR_TEST_SINK, 1},
        {"refuses_late", "problem: refuse: only in check and start", WEIR_TEST_SINK, 1},
        {"loses", "problem: event 1 was lost", WEIR_TEST_TRANSFORM, 1},
        {"refuses_and_starts", "problem: start: an option was refused", WEIR_TEST_SINK, 1},
        {"keeps_well", "", WEIR_TEST_SINK, 0},
    };
    char said[4096];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int problems = problems_of(cases[i].role, cases[i].name, said, sizeof said);
        ck_assert_msg(problems == cases[i].problems, "%s: %d", cases[i].name, problems);
        ck_assert_msg(strstr(said, cases[i].said) != NULL, "%s: %s", cases[i].name, said);
    }
}
END_TEST

START_TEST(gives_back_what_was_kept)
{
    weir_test *t = weir_test_new(WEIR_TEST_SINK, "keeps_well", "text=y", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    weir_test_event(t, "1");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert(!weir_test_fate_of(t, 0)->is_settled);
    weir_test_stop(t);
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

int main(void)
{
    return run_tests("null-breaches",
                     (const TTest *const[]){tells_each_breach, gives_back_what_was_kept, NULL});
}
