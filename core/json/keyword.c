/* json/keyword.c: the words of JSON Schema 2020-12, and those of draft 7 that still mean something. */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "json/build.h"

typedef int (*apply)(struct builder *b, struct node *n, weir_str value);

/* ---- what a keyword's value may be ------------------------------------------------------------ */

static const char *const kind_names[] = {"nothing",  "null",     "a boolean", "a number",
                                         "a string", "an array", "an object"};

static int expect(struct builder *b, weir_str value, int kind)
{
    int found = json_kind(value);
    if (found == kind)
        return 0;
    return build_fail(b, "must be %s, found %s", kind_names[kind], kind_names[found]);
}

static int read_count(struct builder *b, weir_str value, uint64_t *n)
{
    struct number number;
    if (expect(b, value, WEIR_JSON_NUMBER) != 0)
        return -1;
    number_read(&number, value);
    double d = json_number(value);
    if (number.is_negative || !number_is_integer(&number) || d > 9e15)
        return build_fail(b, "must be a whole number that is not negative");
    *n = (uint64_t)d;
    return 0;
}

/* "must have at least 2 items"; of at least 1: "must not be empty". */
static int read_limit(struct builder *b, weir_str value, struct limit *limit, const char *direction,
                      const char *unit)
{
    if (read_count(b, value, &limit->n) != 0)
        return -1;
    if (limit->n == 1 && strcmp(direction, "least") == 0)
        limit->message = "must not be empty";
    else
        limit->message = build_text(b, "must have at %s %" PRIu64 " %s%s", direction, limit->n,
                                    unit, limit->n == 1 ? "" : "s");
    return 0;
}

/* A list with room for one more. One that is full is copied: arenas do not give back. */
static void *grow(struct builder *b, void *items, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 8;
    void *larger = build_take(b, *cap * size);
    if (count)
        memcpy(larger, items, count * size);
    return larger;
}

static size_t count_members(weir_str value)
{
    size_t count = 0;
    for (weir_json_each each = {0}; json_next(value, &each);)
        count++;
    return count;
}

static int read_nodes(struct builder *b, weir_str value, struct nodes *nodes)
{
    if (expect(b, value, WEIR_JSON_ARRAY) != 0)
        return -1;
    size_t count = count_members(value);
    if (!count)
        return build_fail(b, "must have at least one schema");
    nodes->items = build_take(b, count * sizeof(struct node *));
    for (weir_json_each each = {0}; json_next(value, &each);) {
        struct node *n = build_member(b, &each, nodes->count);
        if (!n)
            return -1;
        nodes->items[nodes->count++] = n;
    }
    return 0;
}

static int read_node(struct builder *b, weir_str value, struct node **node)
{
    *node = build_node(b, value);
    return *node ? 0 : -1;
}

static struct text_rules *text_of(struct builder *b, struct node *n)
{
    if (!n->text)
        n->text = build_take(b, sizeof *n->text);
    return n->text;
}

static struct number_rules *number_of(struct builder *b, struct node *n)
{
    if (!n->number)
        n->number = build_take(b, sizeof *n->number);
    return n->number;
}

static struct array_rules *array_of(struct builder *b, struct node *n)
{
    if (!n->array)
        n->array = build_take(b, sizeof *n->array);
    return n->array;
}

static struct object_rules *object_of(struct builder *b, struct node *n)
{
    if (!n->object)
        n->object = build_take(b, sizeof *n->object);
    return n->object;
}

/* ---- any value -------------------------------------------------------------------------------- */

static const struct {
    const char *name, *phrase;
    uint32_t bit;
} types[] = {
    {"null", "null", 1 << WEIR_JSON_NULL},          {"boolean", "a boolean", 1 << WEIR_JSON_BOOL},
    {"integer", "a whole number", NODE_INTEGER},    {"number", "a number", 1 << WEIR_JSON_NUMBER},
    {"string", "a string", 1 << WEIR_JSON_TEXT},    {"array", "an array", 1 << WEIR_JSON_ARRAY},
    {"object", "an object", 1 << WEIR_JSON_OBJECT},
};

static int add_type(struct builder *b, struct node *n, weir_str value)
{
    weir_str name = json_unquote(value, &b->schema->arena);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!weir_same(name, types[i].name) || json_kind(value) != WEIR_JSON_TEXT)
            continue;
        n->types |= types[i].bit;
        n->type_message = n->type_message
                              ? build_text(b, "%s or %s", n->type_message, types[i].phrase)
                              : build_text(b, "must be %s", types[i].phrase);
        return 0;
    }
    return build_fail(b,
                      "unknown type %.*s: use null, boolean, integer, number, string, array or "
                      "object",
                      (int)value.len, value.ptr);
}

static int apply_type(struct builder *b, struct node *n, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return add_type(b, n, value);
    for (weir_json_each each = {0}; json_next(value, &each);)
        if (add_type(b, n, each.value) != 0)
            return -1;
    return n->types ? 0 : build_fail(b, "must name at least one type");
}

static void add_value(struct builder *b, struct node *n, weir_str value)
{
    n->values = grow(b, n->values, n->value_count, &n->value_cap, sizeof *n->values);
    n->values[n->value_count++] = value;
}

static int apply_enum(struct builder *b, struct node *n, weir_str value)
{
    struct buf message = {0};
    if (expect(b, value, WEIR_JSON_ARRAY) != 0)
        return -1;
    if (n->value_keyword)
        return build_fail(b, "has no place beside \"const\"");
    n->value_keyword = "enum";
    for (weir_json_each each = {0}; json_next(value, &each);) {
        buf_print(&message, "%s%.*s", n->value_count ? ", " : "must be one of ",
                  each.value.len > 60 ? 60 : (int)each.value.len, each.value.ptr);
        add_value(b, n, each.value);
        if (message.len > 300)
            message.len = 300;
    }
    n->value_message = build_text(b, "%s", n->value_count ? buf_text(&message) : "is not allowed");
    buf_fini(&message);
    return 0;
}

static int apply_const(struct builder *b, struct node *n, weir_str value)
{
    if (n->value_keyword)
        return build_fail(b, "has no place beside \"enum\"");
    n->value_keyword = "const";
    add_value(b, n, value);
    n->value_message =
        build_text(b, "must be %.*s", value.len > 200 ? 200 : (int)value.len, value.ptr);
    return 0;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static int read_number(struct builder *b, weir_str value, struct number_limit *limit,
                       const char *phrase)
{
    if (expect(b, value, WEIR_JSON_NUMBER) != 0)
        return -1;
    number_read(&limit->n, value);
    limit->message =
        build_text(b, "must be %s %.*s", phrase, value.len > 60 ? 60 : (int)value.len, value.ptr);
    return 0;
}

static int apply_minimum(struct builder *b, struct node *n, weir_str value)
{
    return read_number(b, value, &number_of(b, n)->min, "at least");
}

static int apply_maximum(struct builder *b, struct node *n, weir_str value)
{
    return read_number(b, value, &number_of(b, n)->max, "at most");
}

static int apply_exclusive_minimum(struct builder *b, struct node *n, weir_str value)
{
    return read_number(b, value, &number_of(b, n)->above, "more than");
}

static int apply_exclusive_maximum(struct builder *b, struct node *n, weir_str value)
{
    return read_number(b, value, &number_of(b, n)->below, "less than");
}

static int apply_multiple_of(struct builder *b, struct node *n, weir_str value)
{
    struct number_limit *multiple = &number_of(b, n)->multiple;
    if (read_number(b, value, multiple, "a multiple of") != 0)
        return -1;
    if (!number_can_divide(&multiple->n))
        return build_fail(b, "must be more than 0 and have at most 18 digits");
    return 0;
}

/* ---- texts ------------------------------------------------------------------------------------ */

static int apply_min_length(struct builder *b, struct node *n, weir_str value)
{
    return read_limit(b, value, &text_of(b, n)->min, "least", "character");
}

static int apply_max_length(struct builder *b, struct node *n, weir_str value)
{
    return read_limit(b, value, &text_of(b, n)->max, "most", "character");
}

static struct regex *read_pattern(struct builder *b, weir_str text)
{
    struct error e = {0};
    struct schema *s = b->schema;
    struct regex *p = regex_new(text, &e);
    if (!p) {
        (void)build_fail(b, "%s", e.text);
        return NULL;
    }
    MEM_PUSH(s->patterns, s->pattern_count, s->pattern_cap) = p;
    return p;
}

static int apply_pattern(struct builder *b, struct node *n, weir_str value)
{
    struct text_rules *t = text_of(b, n);
    if (expect(b, value, WEIR_JSON_TEXT) != 0)
        return -1;
    weir_str text = json_unquote(value, &b->schema->arena);
    t->pattern = read_pattern(b, text);
    t->pattern_message = build_text(b, "must match the pattern %.*s",
                                    text.len > 200 ? 200 : (int)text.len, text.ptr);
    return t->pattern ? 0 : -1;
}

static int apply_format(struct builder *b, struct node *n, weir_str value)
{
    if (expect(b, value, WEIR_JSON_TEXT) != 0)
        return -1;
    weir_str name = json_unquote(value, &b->schema->arena);
    text_of(b, n)->format = format_find(name);
    if (n->text->format)
        return 0;
    const char *text = build_text(b, "%.*s", name.len > 60 ? 60 : (int)name.len, name.ptr);
    const char *nearest = format_nearest(text);
    if (nearest)
        return build_fail(b, "unknown format \"%s\": did you mean \"%s\"?", text, nearest);
    return build_fail(b, "unknown format \"%s\"", text);
}

/* ---- arrays ----------------------------------------------------------------------------------- */

static int apply_items(struct builder *b, struct node *n, weir_str value)
{
    struct array_rules *a = array_of(b, n);
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return read_node(b, value, &a->items);
    a->is_old_form = true;
    weir_json_each each = {0};
    return json_next(value, &each) ? read_nodes(b, value, &a->prefix) : 0;
}

static int apply_additional_items(struct builder *b, struct node *n, weir_str value)
{
    return read_node(b, value, &array_of(b, n)->additional);
}

static int apply_prefix_items(struct builder *b, struct node *n, weir_str value)
{
    return read_nodes(b, value, &array_of(b, n)->prefix);
}

static int apply_contains(struct builder *b, struct node *n, weir_str value)
{
    return read_node(b, value, &array_of(b, n)->contains);
}

static int apply_min_contains(struct builder *b, struct node *n, weir_str value)
{
    struct limit *limit = &array_of(b, n)->min_contains;
    int result = read_limit(b, value, limit, "least", "item that fits");
    limit->message =
        build_text(b, "must have at least %" PRIu64 " of the items that are asked for", limit->n);
    return result;
}

static int apply_max_contains(struct builder *b, struct node *n, weir_str value)
{
    struct limit *limit = &array_of(b, n)->max_contains;
    int result = read_limit(b, value, limit, "most", "item that fits");
    limit->message =
        build_text(b, "must have at most %" PRIu64 " of the items that are asked for", limit->n);
    return result;
}

static int apply_min_items(struct builder *b, struct node *n, weir_str value)
{
    return read_limit(b, value, &array_of(b, n)->min, "least", "item");
}

static int apply_max_items(struct builder *b, struct node *n, weir_str value)
{
    return read_limit(b, value, &array_of(b, n)->max, "most", "item");
}

static int apply_unique_items(struct builder *b, struct node *n, weir_str value)
{
    if (expect(b, value, WEIR_JSON_BOOL) != 0)
        return -1;
    array_of(b, n)->is_unique = value.ptr[0] == 't';
    return 0;
}

static int apply_unevaluated_items(struct builder *b, struct node *n, weir_str value)
{
    n->is_tracking = true;
    return read_node(b, value, &array_of(b, n)->unevaluated);
}

/* ---- objects ---------------------------------------------------------------------------------- */

/* The index of a name, entered if it is new. */
static size_t name_index(struct builder *b, struct object_rules *o, weir_str text)
{
    for (size_t i = 0; i < o->name_count; i++)
        if (text_same(o->names[i].text, text))
            return i;
    o->names = grow(b, o->names, o->name_count, &o->name_cap, sizeof *o->names);
    o->names[o->name_count].text = text;
    return o->name_count++;
}

static size_t name_of_key(struct builder *b, struct object_rules *o, weir_str raw)
{
    return name_index(b, o, json_unquote(raw, &b->schema->arena));
}

static int apply_properties(struct builder *b, struct node *n, weir_str value)
{
    struct object_rules *o = object_of(b, n);
    if (expect(b, value, WEIR_JSON_OBJECT) != 0)
        return -1;
    for (weir_json_each each = {0}; json_next(value, &each);) {
        struct node *child = build_member(b, &each, 0);
        if (!child)
            return -1;
        size_t index = name_of_key(b, o, each.key);
        o->names[index].node = child;
    }
    return 0;
}

static int expect_names(struct builder *b, weir_str value)
{
    if (expect(b, value, WEIR_JSON_ARRAY) != 0)
        return -1;
    for (weir_json_each each = {0}; json_next(value, &each);)
        if (json_kind(each.value) != WEIR_JSON_TEXT)
            return build_fail(b, "must be an array of names");
    return 0;
}

static int apply_required(struct builder *b, struct node *n, weir_str value)
{
    struct object_rules *o = object_of(b, n);
    if (expect_names(b, value) != 0)
        return -1;
    o->required = build_take(b, count_members(value) * sizeof *o->required);
    for (weir_json_each each = {0}; json_next(value, &each);)
        o->required[o->required_count++] = name_of_key(b, o, each.value);
    return 0;
}

static int apply_pattern_properties(struct builder *b, struct node *n, weir_str value)
{
    struct object_rules *o = object_of(b, n);
    if (expect(b, value, WEIR_JSON_OBJECT) != 0)
        return -1;
    o->patterns = build_take(b, count_members(value) * sizeof *o->patterns);
    for (weir_json_each each = {0}; json_next(value, &each);) {
        struct pattern_rule rule = {read_pattern(b, json_unquote(each.key, &b->schema->arena)),
                                    NULL};
        if (rule.pattern)
            rule.node = build_member(b, &each, 0);
        if (!rule.node)
            return -1;
        o->patterns[o->pattern_count++] = rule;
    }
    return 0;
}

static int apply_additional_properties(struct builder *b, struct node *n, weir_str value)
{
    return read_node(b, value, &object_of(b, n)->additional);
}

static int apply_property_names(struct builder *b, struct node *n, weir_str value)
{
    return read_node(b, value, &object_of(b, n)->property_names);
}

static int apply_min_properties(struct builder *b, struct node *n, weir_str value)
{
    return read_limit(b, value, &object_of(b, n)->min, "least", "member");
}

static int apply_max_properties(struct builder *b, struct node *n, weir_str value)
{
    return read_limit(b, value, &object_of(b, n)->max, "most", "member");
}

static int apply_unevaluated_properties(struct builder *b, struct node *n, weir_str value)
{
    n->is_tracking = true;
    return read_node(b, value, &object_of(b, n)->unevaluated);
}

static void add_dependency(struct builder *b, struct object_rules *o, struct dependency d)
{
    o->dependencies =
        grow(b, o->dependencies, o->dependency_count, &o->dependency_cap, sizeof *o->dependencies);
    o->dependencies[o->dependency_count++] = d;
}

static int add_required_names(struct builder *b, struct object_rules *o, weir_json_each *each)
{
    if (expect_names(b, each->value) != 0)
        return -1;
    size_t on = name_of_key(b, o, each->key);
    for (weir_json_each name = {0}; json_next(each->value, &name);) {
        size_t needs = name_of_key(b, o, name.value);
        weir_str text = o->names[on].text;
        add_dependency(b, o,
                       (struct dependency){on, needs,
                                           build_text(b, "is required together with %.*s",
                                                      (int)text.len, text.ptr),
                                           NULL});
    }
    return 0;
}

static int add_required_schema(struct builder *b, struct node *n, weir_json_each *each)
{
    struct node *child = build_member(b, each, 0);
    if (!child)
        return -1;
    n->is_applied = true;
    size_t on = name_of_key(b, n->object, each->key);
    add_dependency(b, n->object, (struct dependency){on, 0, NULL, child});
    return 0;
}

static int apply_dependent_required(struct builder *b, struct node *n, weir_str value)
{
    struct object_rules *o = object_of(b, n);
    if (expect(b, value, WEIR_JSON_OBJECT) != 0)
        return -1;
    for (weir_json_each each = {0}; json_next(value, &each);)
        if (add_required_names(b, o, &each) != 0)
            return -1;
    return 0;
}

static int apply_dependent_schemas(struct builder *b, struct node *n, weir_str value)
{
    (void)object_of(b, n);
    if (expect(b, value, WEIR_JSON_OBJECT) != 0)
        return -1;
    for (weir_json_each each = {0}; json_next(value, &each);)
        if (add_required_schema(b, n, &each) != 0)
            return -1;
    return 0;
}

/* Draft 7 had both in one. */
static int apply_dependencies(struct builder *b, struct node *n, weir_str value)
{
    struct object_rules *o = object_of(b, n);
    if (expect(b, value, WEIR_JSON_OBJECT) != 0)
        return -1;
    for (weir_json_each each = {0}; json_next(value, &each);) {
        bool is_list = json_kind(each.value) == WEIR_JSON_ARRAY;
        if ((is_list ? add_required_names(b, o, &each) : add_required_schema(b, n, &each)) != 0)
            return -1;
    }
    return 0;
}

/* ---- schemas on the same value ---------------------------------------------------------------- */

static int apply_all_of(struct builder *b, struct node *n, weir_str value)
{
    n->is_applied = true;
    return read_nodes(b, value, &n->all_of);
}

static int apply_any_of(struct builder *b, struct node *n, weir_str value)
{
    n->is_applied = true;
    return read_nodes(b, value, &n->any_of);
}

static int apply_one_of(struct builder *b, struct node *n, weir_str value)
{
    n->is_applied = true;
    return read_nodes(b, value, &n->one_of);
}

static int apply_not(struct builder *b, struct node *n, weir_str value)
{
    n->is_applied = true;
    return read_node(b, value, &n->not_);
}

static int apply_if(struct builder *b, struct node *n, weir_str value)
{
    n->is_applied = true;
    return read_node(b, value, &n->if_);
}

static int apply_then(struct builder *b, struct node *n, weir_str value)
{
    return read_node(b, value, &n->then_);
}

static int apply_else(struct builder *b, struct node *n, weir_str value)
{
    return read_node(b, value, &n->else_);
}

static int apply_ref(struct builder *b, struct node *n, weir_str value)
{
    if (expect(b, value, WEIR_JSON_TEXT) != 0)
        return -1;
    n->is_applied = true;
    weir_str target = json_unquote(value, &b->schema->arena);
    struct reference r = {n, target, build_where(b)};
    MEM_PUSH(b->references, b->reference_count, b->reference_cap) = r;
    return 0;
}

static int apply_defs(struct builder *b, struct node *n, weir_str value)
{
    if (expect(b, value, WEIR_JSON_OBJECT) != 0)
        return -1;
    for (weir_json_each each = {0}; json_next(value, &each);)
        if (!build_member(b, &each, 0))
            return -1;
    return 0;
}

static int apply_anchor(struct builder *b, struct node *n, weir_str value)
{
    if (expect(b, value, WEIR_JSON_TEXT) != 0)
        return -1;
    struct anchor a = {json_unquote(value, &b->schema->arena), n};
    MEM_PUSH(b->anchors, b->anchor_count, b->anchor_cap) = a;
    return 0;
}

/* The root's names the file; "#name" was draft 7's anchor. */
static int apply_id(struct builder *b, struct node *n, weir_str value)
{
    if (expect(b, value, WEIR_JSON_TEXT) != 0)
        return -1;
    weir_str id = json_unquote(value, &b->schema->arena);
    if (id.len && id.ptr[0] == '#') {
        struct anchor a = {{id.ptr + 1, id.len - 1}, n};
        MEM_PUSH(b->anchors, b->anchor_count, b->anchor_cap) = a;
        return 0;
    }
    if (n->at == json_trim(b->text).ptr)
        b->id = id;
    if (b->id.len && b->id.ptr[b->id.len - 1] == '#')
        b->id.len--;
    return 0;
}

static int annotate(struct builder *b, struct node *n, weir_str value)
{
    return 0;
}

static const struct {
    const char *name;
    apply apply;
} keywords[] = {
    {"$anchor", apply_anchor},
    {"$comment", annotate},
    {"$defs", apply_defs},
    {"$id", apply_id},
    {"$ref", apply_ref},
    {"$schema", annotate},
    {"$vocabulary", annotate},
    {"additionalItems", apply_additional_items},
    {"additionalProperties", apply_additional_properties},
    {"allOf", apply_all_of},
    {"anyOf", apply_any_of},
    {"const", apply_const},
    {"contains", apply_contains},
    {"contentEncoding", annotate},
    {"contentMediaType", annotate},
    {"contentSchema", annotate},
    {"default", annotate},
    {"definitions", apply_defs},
    {"dependencies", apply_dependencies},
    {"dependentRequired", apply_dependent_required},
    {"dependentSchemas", apply_dependent_schemas},
    {"deprecated", annotate},
    {"description", annotate},
    {"else", apply_else},
    {"enum", apply_enum},
    {"examples", annotate},
    {"exclusiveMaximum", apply_exclusive_maximum},
    {"exclusiveMinimum", apply_exclusive_minimum},
    {"format", apply_format},
    {"if", apply_if},
    {"items", apply_items},
    {"maxContains", apply_max_contains},
    {"maxItems", apply_max_items},
    {"maxLength", apply_max_length},
    {"maxProperties", apply_max_properties},
    {"maximum", apply_maximum},
    {"minContains", apply_min_contains},
    {"minItems", apply_min_items},
    {"minLength", apply_min_length},
    {"minProperties", apply_min_properties},
    {"minimum", apply_minimum},
    {"multipleOf", apply_multiple_of},
    {"not", apply_not},
    {"oneOf", apply_one_of},
    {"pattern", apply_pattern},
    {"patternProperties", apply_pattern_properties},
    {"prefixItems", apply_prefix_items},
    {"properties", apply_properties},
    {"propertyNames", apply_property_names},
    {"readOnly", annotate},
    {"required", apply_required},
    {"then", apply_then},
    {"title", annotate},
    {"type", apply_type},
    {"unevaluatedItems", apply_unevaluated_items},
    {"unevaluatedProperties", apply_unevaluated_properties},
    {"uniqueItems", apply_unique_items},
    {"writeOnly", annotate},
};

static int refuse_unknown(struct builder *b, weir_str name)
{
    const char *words[sizeof keywords / sizeof *keywords + 1] = {NULL};
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        words[i] = keywords[i].name;
    const char *text = build_text(b, "%.*s", name.len > 60 ? 60 : (int)name.len, name.ptr);
    const char *nearest = text_nearest(text, words);
    if (nearest)
        return build_fail(b, "unknown keyword: did you mean \"%s\"?", nearest);
    return build_fail(b, "unknown keyword: name notes of your own \"x-...\"");
}

int keyword_apply(struct builder *b, struct node *n, weir_str name, weir_str value)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (weir_same(name, keywords[i].name))
            return keywords[i].apply(b, n, value);
    return text_starts(name, "x-") ? 0 : refuse_unknown(b, name);
}

static void finish_names(struct builder *b, struct object_rules *o)
{
    size_t slots = 4, known = 0;
    while (slots < 2 * o->name_count)
        slots *= 2;
    o->table = build_take(b, slots * sizeof *o->table);
    o->table_mask = slots - 1;
    o->known = build_take(b, (o->name_count + 1) * sizeof(const char *));
    for (size_t i = 0; i < o->name_count; i++) {
        weir_str text = o->names[i].text;
        size_t slot = node_hash_name(text) & o->table_mask;
        while (o->table[slot])
            slot = (slot + 1) & o->table_mask;
        o->table[slot] = (uint32_t)i + 1;
        if (o->names[i].node)
            o->known[known++] = build_text(b, "%.*s", (int)text.len, text.ptr);
    }
}

void keyword_finish(struct builder *b, struct node *n)
{
    if (n->object)
        finish_names(b, n->object);
    if (n->array && n->array->is_old_form)
        n->array->items = n->array->additional;
    if (n->array && n->array->contains && !n->array->min_contains.message)
        n->array->min_contains =
            (struct limit){1, "must have at least one of the items that are asked for"};
}
