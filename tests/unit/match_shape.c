/* unit/match_shape.c: what targets are given: the cases of tests/aws/shapes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "match/shape.h"
#include "json/json.h"

static const char resources[] = "[\"arn:a\",\"arn:b\"]";

struct settings {
    const char *path, *template;
    weir_str input;
    weir_pairs paths;
};

static char *text_of(weir_str object, const char *name, struct arena *a)
{
    weir_str v = json_find(object, name);
    weir_str text = v.ptr ? json_unquote(v, a) : v;
    return v.ptr ? arena_copy(a, text.ptr, text.len) : NULL;
}

static void read_settings(weir_str line, struct settings *s, struct arena *a)
{
    weir_str paths = json_find(line, "paths");
    weir_attr *items = arena_take(a, 128 * sizeof *items);
    *s = (struct settings){.path = text_of(line, "path", a),
                           .template = text_of(line, "template", a),
                           .input = json_find(line, "input")};
    size_t n = 0;
    for (weir_json_each each = {0}; paths.ptr && json_next(paths, &each); n++)
        items[n] = (weir_attr){each.key, json_unquote(each.value, a)};
    s->paths = (weir_pairs){n, items};
}

static void make_event(weir_str detail, weir_event *ev, weir_payload *body)
{
    static weir_attr attr;
    attr = (weir_attr){weir_text("resources"), weir_text(resources)};
    *body = (weir_payload){detail.ptr, detail.len};
    *ev = (weir_event){.body = body,
                       .time_ns = 1700000000987654321,
                       .source = weir_text("shop"),
                       .type = weir_text("OrderPlaced"),
                       .attrs = {1, &attr}};
    for (size_t i = 0; i < 16; i++)
        ev->id.bytes[i] = (uint8_t)(i * 17);
}

/* What is delivered, or "error: [at: ]reason". */
static void run_case(const struct settings *s, weir_str detail, struct buf *out, struct buf *placed)
{
    struct error e = {0};
    struct shape_fault fault = {0};
    weir_payload body;
    weir_event ev;
    make_event(detail, &ev, &body);
    struct shape *shape = s->input.ptr ? shape_constant(s->input, &e)
                                       : shape_new(NULL, s->path, s->paths.count ? &s->paths : NULL,
                                                   s->template, &e, &fault);
    if (!shape) {
        buf_print(out, "error: %s", e.text);
        buf_print(placed, "error: %zu: %s", fault.at, e.text);
        return;
    }
    struct buf text = {0};
    shape_apply(shape, &ev, "bus/large", INT64_C(1700000001500000000), &text);
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '\n')
            buf_add_text(out, "\xE2\x8F\x8E");
        else
            buf_add_char(out, text.ptr[i]);
    buf_fini(&text);
    shape_free(shape);
}

static bool is_as_wanted(struct buf *got, struct buf *placed, const char *want)
{
    size_t n = strlen(want);
    if (strncmp(want, "error: ", 7) != 0)
        return strcmp(buf_text(got), want) == 0;
    return strncmp(buf_text(got), want, n) == 0 ||
           (placed->len && strncmp(buf_text(placed), want, n) == 0);
}

static void try_case(char *const *lines, size_t number)
{
    struct arena a;
    struct settings s;
    struct buf got = {0}, placed = {0};
    arena_init(&a);
    ck_assert_msg(json_check(weir_text(lines[0]), NULL, NULL) == WEIR_OK, "line %zu", number);
    read_settings(weir_text(lines[0]), &s, &a);
    run_case(&s, weir_text(lines[1]), &got, &placed);
    ck_assert_msg(is_as_wanted(&got, &placed, lines[2]), "line %zu: wanted %s, found %s, %s",
                  number, lines[2], buf_text(&got), placed.len ? buf_text(&placed) : "");
    buf_fini(&got);
    buf_fini(&placed);
    arena_fini(&a);
}

START_TEST(cases)
{
    FILE *f = fopen("tests/aws/shapes/shapes.txt", "re");
    char *lines[3] = {NULL, NULL, NULL};
    size_t caps[3] = {0, 0, 0}, at = 0, number = 0, count = 0;
    ck_assert_ptr_nonnull(f);
    while (getline(&lines[at], &caps[at], f) > 0) {
        number++;
        lines[at][strcspn(lines[at], "\n")] = '\0';
        if (!at && (!*lines[0] || *lines[0] == '#'))
            continue;
        if (++at < 3)
            continue;
        at = 0;
        count++;
        try_case(lines, number);
    }
    ck_assert_uint_eq(at, 0);
    ck_assert_uint_gt(count, 60);
    for (size_t i = 0; i < 3; i++)
        free(lines[i]);
    (void)fclose(f);
}
END_TEST

START_TEST(sizes)
{
    static weir_attr many[101];
    struct error e = {0};
    struct shape_fault fault = {0};
    struct buf text = {0};
    for (size_t i = 0; i < 101; i++)
        many[i] = (weir_attr){weir_text("a"), weir_text("$")};
    weir_pairs paths = {100, many};
    struct shape *s = shape_new(NULL, NULL, &paths, "<a>", &e, &fault);
    ck_assert_ptr_nonnull(s);
    shape_free(s);
    paths.count = 101;
    ck_assert_ptr_null(shape_new(NULL, NULL, &paths, "<a>", &e, &fault));
    ck_assert_int_eq(fault.which, SHAPE_PATHS);
    ck_assert_ptr_nonnull(strstr(e.text, "at most 100"));
    buf_add_char(&text, '"');
    while (text.len < 8191)
        buf_add_char(&text, 'x');
    buf_add_char(&text, '"');
    s = shape_new(NULL, NULL, NULL, buf_text(&text), &e, &fault);
    ck_assert_ptr_nonnull(s);
    shape_free(s);
    buf_add_char(&text, ' ');
    e = (struct error){0};
    ck_assert_ptr_null(shape_new(NULL, NULL, NULL, buf_text(&text), &e, &fault));
    ck_assert_int_eq(fault.which, SHAPE_TEMPLATE);
    ck_assert_ptr_nonnull(strstr(e.text, "at most 8192"));
    buf_fini(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("match_shape");
    TCase *t = tcase_create("shapes");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, cases);
    tcase_add_test(t, sizes);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
