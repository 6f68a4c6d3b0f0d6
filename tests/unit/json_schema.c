/* tests/unit/json_schema.c: what people are told about a text and about a schema, and what a hostile
 * text can cost. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "json/json.h"
#include "json/schema.h"

static void add(void *user, const weir_violation *v)
{
    buf_print(user, "%.*s %s: %s\n", (int)v->pointer.len, v->pointer.ptr, v->keyword, v->message);
}

static void says(const char *schema, const char *text, const char *expected)
{
    struct error e = {0};
    struct arena a;
    struct buf told = {0};
    struct schema *s = schema_new(weir_text(schema), &e);
    ck_assert_msg(s != NULL, "%s", e.text);
    ck_assert_msg(json_check(weir_text(text), NULL, NULL) == WEIR_OK, "%s", text);
    arena_init(&a);
    size_t n = schema_test(s, weir_text(text), &a, add, &told);
    ck_assert_str_eq(buf_text(&told), expected);
    ck_assert_uint_eq(schema_test(s, weir_text(text), &a, NULL, NULL), n > 0);
    buf_fini(&told);
    arena_fini(&a);
    schema_free(s);
}

static const char form[] =
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"title\": \"a user\", "
    "\"type\": \"object\","
    "\"required\": [\"email\", \"name\"], \"additionalProperties\": false, \"properties\": {"
    "\"email\": {\"type\": \"string\", \"format\": \"email\", \"maxLength\": 254},"
    "\"name\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 100},"
    "\"age\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 150},"
    "\"plan\": {\"enum\": [\"free\", \"pro\"]},"
    "\"tags\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}, \"maxItems\": 5}}}";

START_TEST(messages)
{
    says(form,
         "{\"email\":\"ada@example.com\",\"name\":\"Ada\",\"age\":36,\"plan\":\"pro\",\"tags\":["
         "\"x\"]}",
         "");
    says(form, "{\"name\":\"Ada\"}", "/email required: is required\n");
    says(form, "{\"email\":\"ada\",\"name\":\"\"}",
         "/email format: must be an e-mail address\n/name minLength: must not be empty\n");
    says(form, "{\"email\":1,\"name\":null}",
         "/email type: must be a string, found a number\n/name type: must be a string, found "
         "null\n");
    says(form, "{\"age\":1.5,\"name\":\"Ada\",\"plan\":\"gold\",\"email\":\"a@b.c\"}",
         "/age type: must be a whole number\n/plan enum: must be one of \"free\", \"pro\"\n");
    says(form, "{\"age\":151,\"name\":\"Ada\",\"tags\":[\"a\",2,\"c\",{}],\"email\":\"a@b.c\"}",
         "/age maximum: must be at most 150\n/tags/1 type: must be a string, found a number\n"
         "/tags/3 type: must be a string, found an object\n");
    says(form, "{\"emial\":\"a@b.c\",\"name\":\"Ada\",\"x\":1}",
         "/email required: is required\n"
         "/emial additionalProperties: is not a known member: did you mean \"email\"?\n"
         "/x additionalProperties: is not a known member\n");
    says(form, " [] ", " type: must be an object, found an array\n");
    says("{\"type\":[\"string\",\"null\"]}", "1",
         " type: must be a string or null, found a number\n");
    says("{\"const\":\"x\"}", "1", " const: must be \"x\"\n");
    says("{\"minLength\":3}", "\"ab\"", " minLength: must have at least 3 characters\n");
    says("{\"maxLength\":1}", "\"ab\"", " maxLength: must have at most 1 character\n");
    says("{\"minItems\":1}", "[]", " minItems: must not be empty\n");
    says("{\"uniqueItems\":true}", "[1,2,1.0]",
         " uniqueItems: must not have the same item twice\n");
    says("{\"pattern\":\"^[a-z]+$\"}", "\"A\"", " pattern: must match the pattern ^[a-z]+$\n");
    says("{\"multipleOf\":0.01}", "0.001", " multipleOf: must be a multiple of 0.01\n");
    says("{\"exclusiveMinimum\":0,\"exclusiveMaximum\":10}", "10",
         " exclusiveMaximum: must be less than 10\n");
    says("{\"dependentRequired\":{\"card\":[\"address\"]}}", "{\"card\":1}",
         "/address dependentRequired: is required together with card\n");
    says("{\"contains\":{\"const\":1}}", "[]",
         " contains: must have at least one of the items that are asked for\n");
    says("{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"string\"}]}", "1",
         " anyOf: must fit one of the allowed shapes\n");
    says("{\"oneOf\":[true,true]}", "1",
         " oneOf: must fit only one of the allowed shapes, and fits several\n");
    says("{\"not\":{}}", "1", " not: is of a shape that is not allowed\n");
    says("{\"properties\":{\"a\":false}}", "{\"a\":1}", "/a false: is not allowed\n");
    says("{\"propertyNames\":{\"maxLength\":1}}", "{\"ab\":1}",
         "/ab propertyNames: has a name that is not allowed\n");
    says("{\"allOf\":[{\"minimum\":5},{\"multipleOf\":2}]}", "3",
         " minimum: must be at least 5\n multipleOf: must be a multiple of 2\n");
    says("{\"if\":{\"type\":\"number\"},\"then\":{\"minimum\":5}}", "3",
         " minimum: must be at least 5\n");
}
END_TEST

START_TEST(pointers_are_escaped)
{
    says("{\"additionalProperties\":{\"additionalProperties\":{\"type\":\"null\"}}}",
         "{\"a/b\":{\"c~d\":1},\"e\\n\\u00e4\":{\"\":2}}",
         "/a~1b/c~0d type: must be null, found a number\n/e\n\xc3\xa4/ type: must be null, found a "
         "number\n");
    says("{\"required\":[\"a/b\",\"c\\\\d\"]}", "{}",
         "/a~1b required: is required\n/c\\d required: is required\n");
}
END_TEST

START_TEST(at_most_a_hundred_are_told)
{
    struct error e = {0};
    struct arena a;
    struct buf text = {0}, told = {0};
    struct schema *s = schema_new(weir_text("{\"items\":{\"type\":\"string\"}}"), &e);
    for (int i = 0; i < 500; i++)
        buf_add_text(&text, i ? ",1" : "[1");
    buf_add_char(&text, ']');
    arena_init(&a);
    ck_assert_uint_eq(schema_test(s, buf_str(&text), &a, add, &told), 500);
    unsigned lines = 0;
    for (size_t i = 0; i < told.len; i++)
        lines += told.ptr[i] == '\n';
    ck_assert_uint_eq(lines, 100);
    ck_assert_ptr_nonnull(strstr(buf_text(&told), "\n/99 type"));
    buf_fini(&text);
    buf_fini(&told);
    arena_fini(&a);
    schema_free(s);
}
END_TEST

START_TEST(wrong_schemas)
{
    static const char *const cases[][2] = {
        {"{\"type\":}", "line 1, column 9: not JSON: expected a value"},
        {"{\n \"type\" \"x\"}", "line 2, column 9: not JSON: expected ':'"},
        {"1", "at the top: a schema must be an object, true or false"},
        {"{\"type\":\"strin\"}", "at /type: unknown type \"strin\": use null, boolean, integer, "
                                 "number, string, array or object"},
        {"{\"properties\":{\"email\":{\"type\":1}}}",
         "at /properties/email/type: unknown type 1: use null, boolean, integer, number, string, "
         "array or object"},
        {"{\"properties\":{\"a/b\":{\"maxLenght\":1}}}",
         "at /properties/a~1b/maxLenght: unknown keyword: did you mean \"maxLength\"?"},
        {"{\"frobnicate\":1}", "at /frobnicate: unknown keyword: name notes of your own \"x-...\""},
        {"{\"format\":\"e-mail\"}",
         "at /format: unknown format \"e-mail\": did you mean \"email\"?"},
        {"{\"minLength\":-1}", "at /minLength: must be a whole number that is not negative"},
        {"{\"minLength\":\"1\"}", "at /minLength: must be a number, found a string"},
        {"{\"multipleOf\":0}", "at /multipleOf: must be more than 0 and have at most 18 digits"},
        {"{\"required\":[1]}", "at /required: must be an array of names"},
        {"{\"allOf\":[]}", "at /allOf: must have at least one schema"},
        {"{\"anyOf\":[true,{\"not\":3}]}",
         "at /anyOf/1/not: a schema must be an object, true or false"},
        {"{\"pattern\":\"(\"}",
         "at /pattern: not a regular expression: missing closing parenthesis at character 2"},
        {"{\"pattern\":\"a\\\\Z\"}",
         "at /pattern: not a regular expression of ECMA-262: it has no \\Z"},
        {"{\"properties\":{\"a\":{\"$ref\":\"#/$defs/x\"}}}",
         "at /properties/a/$ref: there is nothing at #/$defs/x in this schema"},
        {"{\"$ref\":\"#nowhere\"}",
         "at /$ref: there is no \"$anchor\": \"nowhere\" in this schema"},
        {"{\"$ref\":\"other.json#/a\"}",
         "at /$ref: only references within the schema are followed: \"#/...\" or \"#anchor\", not "
         "\"other.json#/a\""},
        {"{\"$ref\":\"#\"}",
         "at the top: a \"$ref\" leads back to itself without going into a member"},
        {"{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
         "b\"}]},\"b\":{\"not\":{\"$ref\":\"#/$defs/a\"}}}}",
         "at the top: a \"$ref\" leads back to itself without going into a member"},
        {"{\"$ref\":\"#/x-y\",\"x-y\":{\"typo\":1}}",
         "at /$ref -> /typo: unknown keyword: did you mean \"type\"?"},
        {"{\"enum\":[1],\"const\":1}", "at /const: has no place beside \"enum\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        ck_assert_ptr_null(schema_new(weir_text(cases[i][0]), &e));
        ck_assert_str_eq(e.text, cases[i][1]);
        ck_assert_int_eq(e.code, EXIT_CONFIG);
    }
}
END_TEST

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Counts the violations of a text that is made to be slow; it has seconds where it would take years. */
static void is_bounded(const char *schema, const struct buf *text, bool is_valid)
{
    struct error e = {0};
    struct arena a;
    struct schema *s = schema_new(weir_text(schema), &e);
    ck_assert_msg(s != NULL, "%s", e.text);
    arena_init(&a);
    ck_assert_int_eq(json_check(buf_str(text), NULL, NULL), WEIR_OK);
    double from = seconds();
    ck_assert_int_eq(schema_test(s, buf_str(text), &a, NULL, NULL) == 0, is_valid);
    ck_assert_msg(seconds() - from < 5, "%s took %.1f s", schema, seconds() - from);
    arena_fini(&a);
    schema_free(s);
}

static void repeat(struct buf *out, const char *before, const char *text, int count,
                   const char *behind)
{
    out->len = 0;
    buf_add_text(out, before);
    for (int i = 0; i < count; i++)
        buf_add_text(out, text);
    buf_add_text(out, behind);
}

START_TEST(hostile_texts)
{
    struct buf b = {0};
    repeat(&b, "\"", "a", 50000, "!\"");
    is_bounded("{\"pattern\":\"^(a+)+$\"}", &b, false);
    is_bounded("{\"not\":{\"pattern\":\"^(a+)+$\"}}", &b, false);
    repeat(&b, "{\"", "a", 50000, "!\":1}");
    is_bounded("{\"patternProperties\":{\"^(a+)+$\":{}}}", &b, false);

    repeat(&b, "", "{\"a\":", 900, "1");
    for (int i = 0; i < 900; i++)
        buf_add_char(&b, '}');
    is_bounded("{\"properties\":{\"a\":{\"$ref\":\"#\"}}}", &b, true);
    is_bounded("{\"properties\":{\"a\":{\"anyOf\":[{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]},"
               "false]}}}",
               &b, false);
    is_bounded("{\"properties\":{\"a\":{\"not\":{\"not\":{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#"
               "\"}]}}}}}",
               &b, false);

    b.len = 0;
    for (int i = 0; i < 50000; i++)
        buf_print(&b, "%s{\"n\":%d}", i ? "," : "[", i);
    buf_add_char(&b, ']');
    is_bounded("{\"uniqueItems\":true}", &b, true);
    repeat(&b, "[0", ",{}", 50000, "]");
    is_bounded("{\"uniqueItems\":true}", &b, false);

    b.len = 0;
    for (int i = 0; i < 50000; i++)
        buf_print(&b, "%s\"m%d\":1", i ? "," : "{", i);
    buf_add_char(&b, '}');
    is_bounded("{\"unevaluatedProperties\":{\"type\":\"integer\"}}", &b, true);
    is_bounded("{\"additionalProperties\":false}", &b, false);
    repeat(&b, "", "9", 100000, "");
    is_bounded("{\"multipleOf\":0.03}", &b, true);
    buf_fini(&b);
}
END_TEST

static void *test_many(void *schema)
{
    struct arena a;
    size_t wrong = 0;
    weir_str good = weir_text("{\"email\":\"ada@example.com\",\"name\":\"Ada\",\"zip\":\"12345\"}");
    weir_str bad = weir_text("{\"email\":\"ada@example.com\",\"name\":\"Ada\",\"zip\":\"1234\"}");
    arena_init(&a);
    for (int i = 0; i < 2000; i++) {
        wrong += schema_test(schema, good, &a, NULL, NULL) != 0;
        wrong += schema_test(schema, bad, &a, NULL, NULL) != 1;
        arena_reset(&a);
    }
    arena_fini(&a);
    return wrong ? schema : NULL;
}

START_TEST(from_several_threads)
{
    struct error e = {0};
    pthread_t threads[4];
    struct schema *s = schema_new(weir_text("{\"properties\":{\"email\":{\"format\":\"email\"},"
                                            "\"zip\":{\"pattern\":\"^\\\\d{5}$\"}},"
                                            "\"unevaluatedProperties\":{\"type\":\"string\"}}"),
                                  &e);
    ck_assert_msg(s != NULL, "%s", e.text);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, test_many, s), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong = NULL;
        ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
        ck_assert_ptr_null(wrong);
    }
    schema_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json_schema");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, messages);
    tcase_add_test(t, pointers_are_escaped);
    tcase_add_test(t, at_most_a_hundred_are_told);
    tcase_add_test(t, wrong_schemas);
    tcase_add_test(t, hostile_texts);
    tcase_add_test(t, from_several_threads);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
