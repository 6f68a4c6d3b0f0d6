/* tests/unit/pipeline_reload.c: another graph for a pipeline that runs. */
#include "unit/pipeline_rig.h"

#include "pipeline/inlet.h"
#include "pipeline/reload.h"

static struct rig rig;

static void set_up(void)
{
    rig_init(&rig);
}

static void tear_down(void)
{
    rig_fini(&rig);
}

struct next { /* a file beside the one that the rig started with */
    struct document *document;
    struct service_tables *services;
    struct plan *plan;
};

static int released;

static void release(void *user)
{
    struct next *n = user;
    plan_free(n->plan);
    document_free(n->document);
    service_tables_free(n->services);
    mem_free(n);
    released++;
}

static int reload(struct rig *r, const char *settings, const char *stages, struct error *e)
{
    struct next *n = MEM_NEW(struct next);
    char *yaml =
        mem_format("data_dir: %s\nadmin: { listen: off }\n%s\n%s", r->folder, settings, stages);
    const struct config_input in = {.path = "test.yaml"};
    n->document = document_parse("test.yaml", weir_text(yaml), &in);
    n->services = service_tables_new();
    const struct plan_components c = {
        rig_find, rig_names, {service_one, service_many, n->services}, NULL, NULL};
    n->plan = plan_new(n->document, &c);
    ck_assert_ptr_nonnull(n->plan);
    service_tables_plan(n->services, n->plan);
    mem_free(yaml);
    if (reload_begin(r->pipeline, n->plan, n->services, release, n, e) < 0)
        return RELOAD_REFUSED;
    int result;
    while ((result = reload_step(r->pipeline, e)) == RELOAD_WAITS)
        rig_nap(r);
    return result;
}

static void reload_well(const char *settings, const char *stages)
{
    struct error e = {0};
    int result = reload(&rig, settings, stages, &e);
    ck_assert_msg(result == RELOAD_DONE, "%s", e.text);
}

static struct stage *stage_of(const char *name)
{
    for (size_t i = 0; i < rig.pipeline->stage_count; i++)
        if (strcmp(rig.pipeline->stages[i]->name, name) == 0)
            return rig.pipeline->stages[i];
    return NULL;
}

enum { TOLD = 3000, WAYS = 2 };
static const char *const workers[WAYS] = {"workers: 1", "workers: 3"};
#define SOURCE(when)     "sources: { in: { plugin: feed, count: 3000, when: " #when " } }\n"
#define SINK(name, more) "  " #name ": { plugin: take, inputs: [edit], " more " }\n"
#define TONE(tone) \
    "transforms: { edit: { plugin: edit, mode: write, inputs: [in], tone: " #tone " } }\n"

static void each_once(int sink)
{
    for (int i = 0; i < TOLD; i++)
        ck_assert_msg(world.got[sink][i] == 1, "%d came %d times", i, world.got[sink][i]);
}

/* What is the same stays the same object; what is not is another, and every event comes once. */
START_TEST(stages_that_are_the_same_stay)
{
    rig_start(&rig, workers[_i], SOURCE(durable) TONE(one) "sinks:\n" SINK(a, "mode: slow"));
    struct stage *in = stage_of("in"), *edit = stage_of("edit"), *a = stage_of("a");
    for (int i = 0; i < 20; i++) {
        reload_well(workers[_i], i % 2 ? SOURCE(durable) TONE(one) "sinks:\n" SINK(a, "mode: slow")
                                       : SOURCE(durable)
                                             TONE(two) "sinks:\n" SINK(a, "mode: slow"));
        ck_assert_ptr_eq(stage_of("in"), in);
        ck_assert_ptr_eq(stage_of("a"), a);
        ck_assert_ptr_ne(stage_of("edit"), edit);
        edit = stage_of("edit");
        ck_assert_uint_eq(reload_counts(rig.pipeline)->changed, 1);
        ck_assert_uint_eq(reload_counts(rig.pipeline)->unchanged, 2);
    }
    rig_settled(&rig, TOLD);
    rig_empty(&rig);
    each_once(0);
    rig_wait(&rig, !reload_is_retiring(rig.pipeline));
    rig_stop(&rig);
    ck_assert_int_eq(released, 20);
}
END_TEST

/* A sink gets another instance, of another kind of thread, with all that waited for it. */
START_TEST(a_sink_moves)
{
    static const char *const kinds[] = {"take", "take_blocking"};
    char *stages[2];
    for (int i = 0; i < 2; i++)
        stages[i] = mem_format("%s%ssinks: { a: { plugin: %s, inputs: [edit] } }\n",
                               SOURCE(durable), TONE(one), kinds[i]);
    rig_start(&rig, workers[_i], stages[0]);
    for (int i = 1; i <= 20; i++)
        reload_well(workers[_i], stages[i % 2]);
    rig_settled(&rig, TOLD);
    rig_empty(&rig);
    each_once(0);
    rig_wait(&rig, !reload_is_retiring(rig.pipeline));
    rig_stop(&rig);
    mem_free(stages[0]);
    mem_free(stages[1]);
}
END_TEST

/* A batch that the old instance has ends with it, and counts once. */
START_TEST(what_is_in_hand_ends)
{
    rig_start(&rig, workers[_i], SOURCE(settled) TONE(one) "sinks:\n" SINK(a, "mode: hold"));
    const struct stage *a = stage_of("a");
    ck_assert_ptr_nonnull(a);
    rig_wait(&rig, a && inlet_flying(a->inlet));
    reload_well(workers[_i], SOURCE(settled) TONE(one) "sinks:\n" SINK(a, "mode: ok"));
    for (int i = 0; i < 20; i++)
        rig_nap(&rig);
    ck_assert(reload_is_retiring(rig.pipeline));
    ck_assert_int_lt(told_count(), TOLD);
    world.is_released = true;
    rig_settled(&rig, TOLD);
    rig_empty(&rig);
    each_once(0);
    rig_wait(&rig, !reload_is_retiring(rig.pipeline));
    rig_stop(&rig);
}
END_TEST

/* Refused in the middle: all stages, edges and settings are those that were. */
START_TEST(refused_in_the_middle)
{
    struct error e = {0};
    rig_start(&rig, workers[_i], SOURCE(durable) TONE(one) "sinks:\n" SINK(a, "mode: slow"));
    struct stage *edit = stage_of("edit");
    int result = reload(&rig, workers[_i],
                        SOURCE(durable) TONE(two) "sinks:\n" SINK(a, "mode: ok")
                            SINK(b, "id: 1") "  c: { plugin: take, id: 2, inputs: [{ from: edit, "
                                             "where: { n: [{ nothing: known }] } }] }\n",
                        &e);
    ck_assert_int_eq(result, RELOAD_REFUSED);
    ck_assert_int_eq(e.code, EXIT_CONFIG);
    ck_assert_ptr_eq(stage_of("edit"), edit);
    ck_assert_ptr_null(stage_of("b"));
    e = (struct error){0};
    ck_assert_int_eq(reload(&rig, "workers: 2", SOURCE(durable) TONE(one) "sinks:\n" SINK(a, ""),
                            &e),
                     RELOAD_REFUSED);
    rig_settled(&rig, TOLD);
    rig_empty(&rig);
    each_once(0);
    ck_assert_int_eq(got_count(1), 0);
    rig_wait(&rig, !reload_is_retiring(rig.pipeline));
    rig_stop(&rig);
}
END_TEST

/* What a removed sink has on disk waits for a stage of its name. */
START_TEST(removed_and_put_back)
{
    static const char both[] =
        SOURCE(durable) TONE(one) "sinks:\n" SINK(a, "") SINK(b, "id: 1, mode: fail, times: 1");
    rig_start(&rig, workers[_i], both);
    for (int i = 0; i < 10; i++) {
        reload_well(workers[_i], SOURCE(durable) TONE(one) "sinks:\n" SINK(a, ""));
        ck_assert_uint_eq(reload_counts(rig.pipeline)->removed, 1);
        reload_well(workers[_i], both);
    }
    rig_settled(&rig, TOLD);
    rig_empty(&rig);
    each_once(0);
    rig_wait(&rig, !reload_is_retiring(rig.pipeline));
    rig_stop(&rig);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pipeline_reload");
    TCase *t = tcase_create("reload");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, stages_that_are_the_same_stay, 0, WAYS);
    tcase_add_loop_test(t, a_sink_moves, 0, WAYS);
    tcase_add_loop_test(t, what_is_in_hand_ends, 0, WAYS);
    tcase_add_loop_test(t, refused_in_the_middle, 0, WAYS);
    tcase_add_loop_test(t, removed_and_put_back, 0, WAYS);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
