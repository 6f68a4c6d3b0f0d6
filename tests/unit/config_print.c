/* unit/config_print.c: what is printed from tables and plans is as the files beside the cases say,
 * and the plan itself is as the pipeline file says. With WEIR_UPDATE=1 they are written anew. */
#include <check.h>
#include <stdlib.h>

#include "data/config/fakes.h"
#include "json/json.h"

#define FOLDER "tests/data/config/print/"

static struct document *doc;
static struct plan *plan;

static void setup(void)
{
    struct config_input in = {.path = FOLDER "flow.yaml"};
    doc = document_load(&in);
    plan = plan_new(doc, &fake_components);
    if (!plan)
        diag_print(doc, stderr, false);
    ck_assert_ptr_nonnull(plan);
}

static void teardown(void)
{
    plan_free(plan);
    document_free(doc);
}

static void assert_file(const char *name, struct buf *text)
{
    char *path = mem_format(FOLDER "%s", name);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread here */
    if (getenv("WEIR_UPDATE")) {
        FILE *f = fopen(path, "we");
        ck_assert_ptr_nonnull(f);
        (void)fwrite(text->ptr, 1, text->len, f);
        (void)fclose(f);
    }
    struct buf expected = {0};
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "%s is missing", path);
    size_t n;
    while ((n = fread(buf_room(&expected, 4096), 1, 4096, f)) > 0)
        expected.len += n;
    (void)fclose(f);
    bool is_same = strcmp(buf_text(text), buf_text(&expected)) == 0;
    if (!is_same)
        (void)fprintf(stderr, "--- %s\n%s", path, buf_text(text));
    ck_assert_msg(is_same, "%s differs", path);
    buf_fini(&expected);
    buf_fini(text);
    mem_free(path);
}

START_TEST(graphs)
{
    static const char *const names[] = {"graph.txt", "graph.dot", "graph.mermaid"};
    for (int format = GRAPH_TEXT; format <= GRAPH_MERMAID; format++) {
        struct buf text = {0};
        plan_print_graph(plan, format, &text);
        assert_file(names[format], &text);
    }
}
END_TEST

static void assert_is_json(const struct buf *text)
{
    size_t at = 0;
    const char *why = "";
    ck_assert_msg(json_check(buf_str(text), &at, &why) == WEIR_OK, "at %zu: %s", at, why);
}

START_TEST(manuals)
{
    char *page = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&page, &len);
    options_print(fake_http_rows, out, false);
    (void)fclose(out);
    struct buf text = {page, len, len + 1}, json = {0}, markdown = {0};
    assert_file("manual.txt", &text);
    options_print_json(fake_http_rows, &json);
    assert_is_json(&json);
    assert_file("manual.json", &json);
    options_print_markdown(fake_http_rows, &markdown);
    assert_file("manual.md", &markdown);
}
END_TEST

START_TEST(schemas)
{
    struct buf one = {0}, whole = {0};
    options_print_schema(fake_out_rows, &one);
    assert_is_json(&one);
    assert_file("options.schema.json", &one);
    plan_print_schema(fake_all, &whole);
    assert_is_json(&whole);
    assert_file("pipeline.schema.json", &whole);
}
END_TEST

START_TEST(settings_and_presets)
{
    const struct plan_settings *s = &plan->settings;
    ck_assert_str_eq(s->data_dir, FOLDER "data");
    ck_assert_str_eq(s->aws.endpoint, "embedded");
    ck_assert_str_eq(s->aws.region, "us-east-1");
    ck_assert_str_eq(s->aws.account, "000000000000");
    ck_assert_int_eq(s->aws.endpoint_kind, ENDPOINT_EMBEDDED);
    ck_assert_str_eq(s->admin, "127.0.0.1:9600");
    ck_assert_uint_eq(s->memory.bytes, 256u << 20);
    ck_assert_int_eq(s->drain.ns, 30000000000);
    ck_assert(s->trace);
    for (size_t i = 0; i < plan->stage_count; i++) {
        const struct plan_delivery *d = &plan->stages[i]->delivery;
        ck_assert(d->buffer.item && d->batch.item && d->retry.item);
        ck_assert_str_eq(d->dead_letter, "dead-letters");
        ck_assert_int_eq(d->on_failure, FAILURE_DEAD_LETTER);
        const struct plan_retry *retry = d->retry.item;
        ck_assert_int_eq(retry->max_age.ns, 86400000000000);
    }
}
END_TEST

START_TEST(edges_and_order)
{
    ck_assert_uint_eq(plan->stage_count, 7);
    for (size_t i = 0; i < plan->stage_count; i++) {
        ck_assert_uint_eq(plan->stages[i]->index, i);
        for (size_t k = 0; k < plan->stages[i]->input_count; k++)
            ck_assert_uint_lt(plan->stages[i]->inputs[k].from->index, i);
    }
    const struct plan_stage *bus = plan_find(plan, "bus"), *out = plan_find(plan, "out");
    ck_assert_uint_eq(bus->port_count, 3);
    ck_assert_str_eq(bus->ports[0], "unmatched");
    ck_assert_str_eq(bus->ports[2], "two");
    ck_assert_uint_eq(out->inputs[0].port, 0);
    ck_assert_uint_eq(out->inputs[1].port, 3);
    ck_assert_uint_eq(out->inputs[1].where.len, strlen("{\"source\":[\"x\"]}"));
    ck_assert_uint_eq(plan_find(plan, "bad")->inputs[0].port, PLAN_PORT_FAILED);
    ck_assert_str_eq(plan_find(plan, "api")->result, "clean");
    const struct fake_bus *state = bus->state;
    ck_assert_uint_eq(state->rules.count, 2);
    ck_assert_ptr_null(plan_find(plan, "none"));
}
END_TEST

static const weir_component *find_server(void *user, const char *name, enum role role,
                                         struct error *e)
{
    static const weir_option rows[] = {
        {.name = "weir.x/1", .type = WEIR_T_SERVICES, .item_size = sizeof(weir_service)}, {0}};
    static const weir_component server = {.name = "server",
                                          .state_size = sizeof(weir_services),
                                          .options = rows,
                                          .pull = fake_pull};
    (void)user, (void)name, (void)e;
    return role == ROLE_SOURCE ? &server : NULL;
}

START_TEST(a_server_needs_no_sink)
{
    const struct plan_components c = {.find = find_server, .names = fake_names};
    struct document *d =
        document_parse("s.yaml", weir_text("sources: { aws: { plugin: server } }"), NULL);
    struct plan *p = plan_new(d, &c);
    ck_assert_uint_eq(document_errors(d), 0);
    ck_assert_uint_eq(document_warnings(d), 0);
    plan_free(p);
    document_free(d);
}
END_TEST

int main(void)
{
    TCase *one = tcase_create("print");
    tcase_add_checked_fixture(one, setup, teardown);
    tcase_add_test(one, graphs);
    tcase_add_test(one, manuals);
    tcase_add_test(one, schemas);
    tcase_add_test(one, settings_and_presets);
    tcase_add_test(one, edges_and_order);
    tcase_add_test(one, a_server_needs_no_sink);
    Suite *suite = suite_create("config print");
    suite_add_tcase(suite, one);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
