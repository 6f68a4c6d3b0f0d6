/* json/schema.c: a text tested against the nodes of its schema: one walk, violations as they are met. */
#include "json/schema.h"

#include <string.h>

#include "json/build.h"
#include "json/walk.h"

enum {
    DEPTH_MAX = 3000,    /* of schemas within each other while testing */
    STEPS_MAX = 2000000, /* of schemas applied to values: far beyond any honest text */
};

/* ---- what was looked at ---- */

static struct seen seen_new(struct run *r, weir_str value)
{
    struct seen s = {0};
    for (weir_json_each each = {0}; json_next(value, &each);)
        s.count++;
    s.bits = arena_take(r->scratch, (s.count / 64 + 1) * sizeof *s.bits);
    return s;
}

static void seen_merge(struct seen *into, const struct seen *from)
{
    for (size_t i = 0; i < into->count / 64 + 1; i++)
        into->bits[i] |= from->bits[i];
}

/* ---- texts and numbers ---- */

static uint64_t count_points(weir_str s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

static bool test_length(struct run *r, const struct text_rules *t, weir_str text, const char *at)
{
    if (!t->min.message && !t->max.message)
        return true;
    /* A code point takes one to four bytes: the length in bytes often answers already. */
    if (text.len / 4 >= t->min.n && (!t->max.message || text.len <= t->max.n))
        return true;
    uint64_t n = count_points(text);
    if (t->min.message && n < t->min.n)
        return finding_tell(r, at, "minLength", t->min.message);
    if (t->max.message && n > t->max.n)
        return finding_tell(r, at, "maxLength", t->max.message);
    return true;
}

static bool test_text(struct run *r, const struct text_rules *t, weir_str value)
{
    weir_str text = json_unquote(value, r->scratch);
    bool ok = test_length(r, t, text, value.ptr);
    /* An empty text that must not be empty is told once. */
    if (!ok && (r->is_quiet || !text.len))
        return false;
    if (t->format && !t->format->test(text))
        ok = finding_tell(r, value.ptr, "format", t->format->message);
    int match = t->pattern ? regex_test(t->pattern, text) : REGEX_YES;
    if (match == REGEX_NO)
        ok = finding_tell(r, value.ptr, "pattern", t->pattern_message);
    if (match == REGEX_TOO_COSTLY)
        ok = finding_give_up(r, "has a text that takes too long to compare with its pattern");
    return ok;
}

static bool test_number(struct run *r, const struct number_rules *rules, weir_str value)
{
    struct number n;
    bool ok = true;
    number_read(&n, value);
    if (rules->min.message && number_compare(&n, &rules->min.n) < 0)
        ok = finding_tell(r, value.ptr, "minimum", rules->min.message);
    if (rules->max.message && number_compare(&n, &rules->max.n) > 0)
        ok = finding_tell(r, value.ptr, "maximum", rules->max.message);
    if (rules->above.message && number_compare(&n, &rules->above.n) <= 0)
        ok = finding_tell(r, value.ptr, "exclusiveMinimum", rules->above.message);
    if (rules->below.message && number_compare(&n, &rules->below.n) >= 0)
        ok = finding_tell(r, value.ptr, "exclusiveMaximum", rules->below.message);
    if (rules->multiple.message && !number_is_multiple(&n, &rules->multiple.n))
        ok = finding_tell(r, value.ptr, "multipleOf", rules->multiple.message);
    return ok;
}

/* ---- schemas on the same value ---- */

static bool test_any_of(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    bool ok = false;
    for (size_t i = 0; i < n->any_of.count && (!ok || seen); i++)
        ok = schema_fits(r, n->any_of.items[i], value, seen) || ok;
    return ok || finding_tell(r, value.ptr, "anyOf", "must fit one of the allowed shapes");
}

static bool test_one_of(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    size_t count = 0;
    for (size_t i = 0; i < n->one_of.count && count < 2; i++)
        count += schema_fits(r, n->one_of.items[i], value, seen);
    if (count == 0)
        return finding_tell(r, value.ptr, "oneOf", "must fit one of the allowed shapes");
    return count == 1 || finding_tell(r, value.ptr, "oneOf",
                                      "must fit only one of the allowed shapes, and fits several");
}

static bool test_condition(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    const struct node *next = schema_fits(r, n->if_, value, seen) ? n->then_ : n->else_;
    return !next || schema_walk(r, next, value, seen);
}

static bool test_applied(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    bool ok = !n->ref || schema_walk(r, n->ref, value, seen);
    for (size_t i = 0; i < n->all_of.count && (ok || !r->is_quiet); i++)
        ok = schema_walk(r, n->all_of.items[i], value, seen) && ok;
    if (n->any_of.count && (ok || !r->is_quiet))
        ok = test_any_of(r, n, value, seen) && ok;
    if (n->one_of.count && (ok || !r->is_quiet))
        ok = test_one_of(r, n, value, seen) && ok;
    if (n->not_ && schema_fits(r, n->not_, value, NULL))
        ok = finding_tell(r, value.ptr, "not", "is of a shape that is not allowed");
    if (n->if_ && (ok || !r->is_quiet))
        ok = test_condition(r, n, value, seen) && ok;
    return ok;
}

/* ---- a node ---- */

static bool test_type(struct run *r, const struct node *n, weir_str value, int kind)
{
    static const char *const found[] = {"nothing",  "null",     "a boolean", "a number",
                                        "a string", "an array", "an object"};
    if (n->types >> kind & 1)
        return true;
    if (kind == WEIR_JSON_NUMBER && n->types & NODE_INTEGER) {
        struct number number;
        number_read(&number, value);
        if (number_is_integer(&number))
            return true;
        return finding_tell(r, value.ptr, "type", n->type_message);
    }
    if (r->is_quiet)
        return finding_tell(r, value.ptr, "type", n->type_message);
    return finding_tell(r, value.ptr, "type",
                        arena_format(r->scratch, "%s, found %s", n->type_message, found[kind]));
}

static bool test_value(struct run *r, const struct node *n, weir_str value)
{
    for (size_t i = 0; i < n->value_count; i++) {
        weir_str v = n->values[i];
        if ((v.len == value.len && memcmp(v.ptr, value.ptr, v.len) == 0) || json_same(v, value))
            return true;
    }
    return finding_tell(r, value.ptr, n->value_keyword, n->value_message);
}

static bool test_kind(struct run *r, const struct node *n, weir_str value, int kind,
                      struct seen *seen)
{
    if (kind == WEIR_JSON_TEXT && n->text)
        return test_text(r, n->text, value);
    if (kind == WEIR_JSON_NUMBER && n->number)
        return test_number(r, n->number, value);
    if (kind == WEIR_JSON_OBJECT && n->object)
        return members_test_object(r, n->object, value, seen);
    if (kind == WEIR_JSON_ARRAY && n->array)
        return members_test_array(r, n->array, value, seen);
    return true;
}

static bool test_rules(struct run *r, const struct node *n, weir_str value, struct seen *parent)
{
    int kind = json_kind(value);
    struct seen own = {0}, *seen = NULL;
    if (n->types && !test_type(r, n, value, kind))
        return false;
    if ((parent || n->is_tracking) && (kind == WEIR_JSON_OBJECT || kind == WEIR_JSON_ARRAY)) {
        own = seen_new(r, value);
        seen = &own;
    }
    bool ok = !n->value_keyword || test_value(r, n, value);
    if (ok || !r->is_quiet)
        ok = test_kind(r, n, value, kind, seen) && ok;
    if (n->is_applied && (ok || !r->is_quiet))
        ok = test_applied(r, n, value, seen) && ok;
    if (seen && n->is_tracking && (ok || !r->is_quiet))
        ok = members_test_unevaluated(r, n, value, kind, seen) && ok;
    if (ok && seen && parent)
        seen_merge(parent, seen);
    return ok;
}

bool schema_walk(struct run *r, const struct node *n, weir_str value, struct seen *parent)
{
    if (n->deny)
        return finding_tell(r, value.ptr, "false", n->deny);
    if (r->depth == DEPTH_MAX)
        return finding_give_up(r, "is nested too deeply to be tested");
    if (r->steps++ >= STEPS_MAX || r->over)
        return finding_give_up(r, "takes too many steps to be tested");
    r->depth++;
    bool ok = test_rules(r, n, value, parent);
    r->depth--;
    return ok;
}

bool schema_fits(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    bool was_quiet = r->is_quiet;
    size_t count = r->count;
    r->is_quiet = true;
    bool ok = schema_walk(r, n, value, seen);
    r->is_quiet = was_quiet;
    r->count = count;
    return ok;
}

/* ---- from outside ---- */

struct schema *schema_new(weir_str text, struct error *e)
{
    struct schema *s = MEM_NEW(struct schema);
    arena_init(&s->arena);
    s->text = mem_copy(text.ptr, text.len);
    if (build_schema(s, (weir_str){s->text, text.len}, e) == 0)
        return s;
    schema_free(s);
    return NULL;
}

void schema_free(struct schema *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->pattern_count; i++)
        regex_free(s->patterns[i]);
    mem_free((void *)s->patterns);
    mem_free((void *)s->nodes);
    mem_free(s->text);
    arena_fini(&s->arena);
    mem_free(s);
}

size_t schema_test(const struct schema *s, weir_str text, struct arena *scratch,
                   void (*fn)(void *user, const weir_violation *v), void *user)
{
    struct run r = {.scratch = scratch, .is_quiet = !fn};
    bool ok = schema_walk(&r, s->root, json_trim(text), NULL);
    if (r.over)
        ok = finding_tell(&r, text.ptr, "", r.over);
    if (!fn)
        return !ok;
    size_t told = r.count < FINDINGS_MAX ? r.count : FINDINGS_MAX;
    if (!r.findings)
        told = 0;
    finding_sort(r.findings, told);
    for (size_t i = 0; i < told; i++)
        fn(user, &r.findings[i].violation);
    return r.count;
}
