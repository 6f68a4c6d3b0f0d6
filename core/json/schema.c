/* json/schema.c: a text tested against the nodes of its schema: one walk, violations as they are met. */
#include "json/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "json/build.h"
#include "json/node.h"
#include "json/same.h"
#include "json/scan.h"

enum {
    TOLD_MAX = 100,
    DEPTH_MAX = 3000,    /* of schemas within each other while testing */
    STEPS_MAX = 2000000, /* of schemas applied to values: far beyond any honest text */
    PRESENT_WORDS = 4,   /* of 64 names each that need no memory */
    PAIRS_MAX = 8,       /* of items compared with each other before they are hashed */
};

/* The way from the whole to the value in hand. */
struct frame {
    const struct frame *up;
    weir_str key; /* ptr NULL: an element, `index` */
    size_t index;
    bool is_plain; /* the key is from the schema, without escapes */
};

struct finding {
    weir_violation violation;
    const char *at; /* where in the text, for the order */
};

struct run {
    struct arena *scratch;
    const struct frame *frame;
    struct finding *findings; /* TOLD_MAX of them, made at the first */
    size_t count;
    bool is_quiet;    /* only whether: stop at the first */
    const char *over; /* a bound was reached: why; the text fails, whatever `not` makes of that */
    unsigned depth;
    uint32_t steps;
};

/* Members or elements that a schema has looked at: a bit each. */
struct seen {
    uint64_t *bits;
    size_t count;
};

static bool test(struct run *r, const struct node *n, weir_str value, struct seen *parent);

/* ---- telling ---------------------------------------------------------------------------------- */

static size_t pointer_bytes(const struct frame *f)
{
    size_t n = 0;
    for (; f; f = f->up)
        n += f->key.ptr ? 1 + 2 * f->key.len : 21;
    return n;
}

static char *put_frame(struct run *r, char *out, const struct frame *f)
{
    if (!f)
        return out;
    out = put_frame(r, out, f->up);
    *out++ = '/';
    if (!f->key.ptr) {
        char digits[20];
        size_t at = sizeof digits, index = f->index;
        do
            digits[--at] = (char)('0' + index % 10);
        while (index /= 10);
        return mempcpy(out, digits + at, sizeof digits - at);
    }
    weir_str key = f->is_plain ? f->key : json_unquote(f->key, r->scratch);
    for (size_t i = 0; i < key.len; i++) {
        *out = key.ptr[i];
        if (*out == '~' || *out == '/') {
            out[1] = *out == '~' ? '0' : '1';
            *out++ = '~';
        }
        out++;
    }
    return out;
}

static weir_str pointer_of(struct run *r, const struct frame *f)
{
    char *text = arena_take_raw(r->scratch, pointer_bytes(f) + 1);
    char *end = put_frame(r, text, f);
    *end = 0;
    return (weir_str){text, (size_t)(end - text)};
}

/* Always false, so that it can be returned. */
static bool tell(struct run *r, const char *at, const char *keyword, const char *message)
{
    if (r->count++ >= TOLD_MAX || r->is_quiet)
        return false;
    if (!r->findings)
        r->findings = arena_take_raw(r->scratch, TOLD_MAX * sizeof *r->findings);
    r->findings[r->count - 1] = (struct finding){{pointer_of(r, r->frame), keyword, message}, at};
    return false;
}

static bool tell_of(struct run *r, weir_str key, const char *at, const char *keyword,
                    const char *message)
{
    struct frame frame = {r->frame, key, 0, true};
    r->frame = &frame;
    (void)tell(r, at, keyword, message);
    r->frame = frame.up;
    return false;
}

static bool give_up(struct run *r, const char *message)
{
    if (!r->over)
        r->over = message;
    return false;
}

/* Does it fit, without telling? */
static bool try_quietly(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    bool was_quiet = r->is_quiet;
    size_t count = r->count;
    r->is_quiet = true;
    bool ok = test(r, n, value, seen);
    r->is_quiet = was_quiet;
    r->count = count;
    return ok;
}

/* ---- what was looked at ----------------------------------------------------------------------- */

static void mark(struct seen *s, size_t i)
{
    if (s && i < s->count)
        s->bits[i / 64] |= (uint64_t)1 << i % 64;
}

static bool is_marked(const struct seen *s, size_t i)
{
    return s->bits[i / 64] >> i % 64 & 1;
}

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

/* ---- texts and numbers ------------------------------------------------------------------------ */

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
        return tell(r, at, "minLength", t->min.message);
    if (t->max.message && n > t->max.n)
        return tell(r, at, "maxLength", t->max.message);
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
        ok = tell(r, value.ptr, "format", t->format->message);
    int match = t->pattern ? regex_test(t->pattern, text) : REGEX_YES;
    if (match == REGEX_NO)
        ok = tell(r, value.ptr, "pattern", t->pattern_message);
    if (match == REGEX_TOO_COSTLY)
        ok = give_up(r, "has a text that takes too long to compare with its pattern");
    return ok;
}

static bool test_number(struct run *r, const struct number_rules *rules, weir_str value)
{
    struct number n;
    bool ok = true;
    number_read(&n, value);
    if (rules->min.message && number_compare(&n, &rules->min.n) < 0)
        ok = tell(r, value.ptr, "minimum", rules->min.message);
    if (rules->max.message && number_compare(&n, &rules->max.n) > 0)
        ok = tell(r, value.ptr, "maximum", rules->max.message);
    if (rules->above.message && number_compare(&n, &rules->above.n) <= 0)
        ok = tell(r, value.ptr, "exclusiveMinimum", rules->above.message);
    if (rules->below.message && number_compare(&n, &rules->below.n) >= 0)
        ok = tell(r, value.ptr, "exclusiveMaximum", rules->below.message);
    if (rules->multiple.message && !number_is_multiple(&n, &rules->multiple.n))
        ok = tell(r, value.ptr, "multipleOf", rules->multiple.message);
    return ok;
}

/* ---- arrays ----------------------------------------------------------------------------------- */

struct item {
    uint64_t hash;
    weir_str value;
};

static int by_hash(const void *a, const void *b)
{
    uint64_t x = ((const struct item *)a)->hash, y = ((const struct item *)b)->hash;
    return x < y ? -1 : x > y;
}

static bool are_unique_pairs(const struct item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (json_same(items[i].value, items[k].value))
                return false;
    return true;
}

static bool are_unique(struct run *r, weir_str array, size_t count)
{
    struct item *items = arena_take_raw(r->scratch, (count + 1) * sizeof *items);
    uint64_t seed = hash_seed();
    size_t i = 0;
    for (weir_json_each each = {0}; i < count && json_next(array, &each); i++)
        items[i] = (struct item){count > PAIRS_MAX ? same_hash(each.value, seed) : 0, each.value};
    if (count <= PAIRS_MAX)
        return are_unique_pairs(items, count);
    qsort(items, count, sizeof *items, by_hash);
    for (i = 1; i < count; i++)
        if (items[i].hash == items[i - 1].hash && json_same(items[i].value, items[i - 1].value))
            return false;
    return true;
}

static bool test_element(struct run *r, const struct array_rules *a, weir_str value, size_t index,
                         struct seen *seen)
{
    const struct node *n = index < a->prefix.count ? a->prefix.items[index] : a->items;
    if (!n)
        return true;
    struct frame frame = {.up = r->frame, .index = index};
    r->frame = &frame;
    bool ok = test(r, n, value, NULL);
    r->frame = frame.up;
    mark(seen, index);
    return ok;
}

static bool test_counts(struct run *r, const struct array_rules *a, weir_str value, size_t count,
                        size_t found)
{
    bool ok = true;
    if (a->min.message && count < a->min.n)
        ok = tell(r, value.ptr, "minItems", a->min.message);
    if (a->max.message && count > a->max.n)
        ok = tell(r, value.ptr, "maxItems", a->max.message);
    if (a->contains && found < a->min_contains.n)
        ok = tell(r, value.ptr, "contains", a->min_contains.message);
    if (a->contains && a->max_contains.message && found > a->max_contains.n)
        ok = tell(r, value.ptr, "maxContains", a->max_contains.message);
    if (a->is_unique && !are_unique(r, value, count))
        ok = tell(r, value.ptr, "uniqueItems", "must not have the same item twice");
    return ok;
}

static bool test_array(struct run *r, const struct array_rules *a, weir_str value,
                       struct seen *seen)
{
    size_t count = 0, found = 0;
    bool ok = true;
    for (weir_json_each each = {0}; json_next(value, &each); count++) {
        if (!test_element(r, a, each.value, count, seen))
            ok = false;
        if (a->contains && try_quietly(r, a->contains, each.value, NULL)) {
            found++;
            mark(seen, count);
        }
        if (!ok && r->is_quiet)
            return false;
    }
    return test_counts(r, a, value, count, found) && ok;
}

static bool test_unevaluated_items(struct run *r, const struct node *n, weir_str value,
                                   struct seen *seen)
{
    bool ok = true;
    size_t i = 0;
    for (weir_json_each each = {0}; json_next(value, &each); i++) {
        if (is_marked(seen, i))
            continue;
        struct frame frame = {.up = r->frame, .index = i};
        r->frame = &frame;
        ok = test(r, n, each.value, NULL) && ok;
        r->frame = frame.up;
        mark(seen, i);
    }
    return ok;
}

/* ---- objects ---------------------------------------------------------------------------------- */

static size_t find_name(const struct object_rules *o, weir_str key)
{
    for (size_t slot = node_hash_name(key) & o->table_mask; o->table[slot];
         slot = (slot + 1) & o->table_mask) {
        weir_str text = o->names[o->table[slot] - 1].text;
        if (text.len == key.len && (!key.len || memcmp(text.ptr, key.ptr, key.len) == 0))
            return o->table[slot];
    }
    return 0;
}

static bool refuse_member(struct run *r, const struct object_rules *o, weir_str key,
                          const char *keyword)
{
    const char *message = "is not a known member", *nearest = NULL;
    if (!r->is_quiet && r->count < TOLD_MAX && key.len < 64) {
        nearest = text_nearest(arena_copy(r->scratch, key.ptr, key.len), o->known);
        if (nearest)
            message =
                arena_format(r->scratch, "is not a known member: did you mean \"%s\"?", nearest);
    }
    return tell(r, key.ptr, keyword, message);
}

static bool test_extra(struct run *r, const struct object_rules *o, const struct node *n,
                       const weir_json_each *each, const char *keyword)
{
    if (n->deny)
        return refuse_member(r, o, each->key, keyword);
    return test(r, n, each->value, NULL);
}

static bool test_patterns(struct run *r, const struct object_rules *o, const weir_json_each *each,
                          weir_str plain, bool *is_known)
{
    bool ok = true;
    for (size_t i = 0; i < o->pattern_count; i++) {
        int match = regex_test(o->patterns[i].pattern, plain);
        if (match == REGEX_TOO_COSTLY)
            ok = give_up(r, "has a name that takes too long to compare with its patterns");
        if (match != REGEX_YES)
            continue;
        *is_known = true;
        ok = test(r, o->patterns[i].node, each->value, NULL) && ok;
    }
    return ok;
}

/* A member: tested by its name, by patterns, or as one of the rest. */
static bool test_member(struct run *r, const struct object_rules *o, const weir_json_each *each,
                        uint64_t *present, bool *is_known)
{
    bool ok = true, has_escape = each->key.len && memchr(each->key.ptr, '\\', each->key.len);
    weir_str plain = has_escape ? json_unquote(each->key, r->scratch) : each->key;
    struct frame frame = {.up = r->frame, .key = each->key};
    r->frame = &frame;
    size_t found = find_name(o, plain);
    if (found) {
        const struct node *n = o->names[found - 1].node;
        present[(found - 1) / 64] |= (uint64_t)1 << (found - 1) % 64;
        *is_known = n != NULL;
        ok = !n || test(r, n, each->value, NULL);
    }
    if (o->pattern_count && !test_patterns(r, o, each, plain, is_known))
        ok = false;
    weir_str quoted = {each->key.ptr - 1, each->key.len + 2};
    if (o->property_names && !try_quietly(r, o->property_names, quoted, NULL))
        ok = tell(r, each->key.ptr, "propertyNames", "has a name that is not allowed");
    if (!*is_known && o->additional) {
        *is_known = true;
        ok = test_extra(r, o, o->additional, each, "additionalProperties") && ok;
    }
    r->frame = frame.up;
    return ok;
}

static bool has_name(const uint64_t *present, size_t i)
{
    return present[i / 64] >> i % 64 & 1;
}

static bool test_names(struct run *r, const struct object_rules *o, weir_str value,
                       const uint64_t *present)
{
    bool ok = true;
    for (size_t i = 0; i < o->required_count; i++)
        if (!has_name(present, o->required[i]))
            ok = tell_of(r, o->names[o->required[i]].text, value.ptr, "required", "is required");
    for (size_t i = 0; i < o->dependency_count; i++) {
        const struct dependency *d = &o->dependencies[i];
        if (!d->node && has_name(present, d->on) && !has_name(present, d->needs))
            ok = tell_of(r, o->names[d->needs].text, value.ptr, "dependentRequired", d->message);
    }
    return ok;
}

static bool test_dependents(struct run *r, const struct object_rules *o, weir_str value,
                            const uint64_t *present, struct seen *seen)
{
    bool ok = true;
    for (size_t i = 0; i < o->dependency_count; i++) {
        const struct dependency *d = &o->dependencies[i];
        if (d->node && has_name(present, d->on))
            ok = test(r, d->node, value, seen) && ok;
    }
    return ok;
}

static bool test_object(struct run *r, const struct object_rules *o, weir_str value,
                        struct seen *seen)
{
    uint64_t few[PRESENT_WORDS] = {0}, *present = few;
    size_t count = 0;
    bool ok = true;
    if (o->name_count > sizeof few * 8)
        present = arena_take(r->scratch, (o->name_count / 64 + 1) * sizeof *present);
    for (weir_json_each each = {0}; json_next(value, &each); count++) {
        bool is_known = false;
        ok = test_member(r, o, &each, present, &is_known) && ok;
        if (is_known)
            mark(seen, count);
        if (!ok && r->is_quiet)
            return false;
    }
    if (o->min.message && count < o->min.n)
        ok = tell(r, value.ptr, "minProperties", o->min.message);
    if (o->max.message && count > o->max.n)
        ok = tell(r, value.ptr, "maxProperties", o->max.message);
    ok = test_names(r, o, value, present) && ok;
    return test_dependents(r, o, value, present, seen) && ok;
}

static bool test_unevaluated_members(struct run *r, const struct object_rules *o, weir_str value,
                                     struct seen *seen)
{
    bool ok = true;
    size_t i = 0;
    for (weir_json_each each = {0}; json_next(value, &each); i++) {
        if (is_marked(seen, i))
            continue;
        struct frame frame = {.up = r->frame, .key = each.key};
        r->frame = &frame;
        ok = test_extra(r, o, o->unevaluated, &each, "unevaluatedProperties") && ok;
        r->frame = frame.up;
        mark(seen, i);
    }
    return ok;
}

/* ---- schemas on the same value ---------------------------------------------------------------- */

static bool test_any_of(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    bool ok = false;
    for (size_t i = 0; i < n->any_of.count && (!ok || seen); i++)
        ok = try_quietly(r, n->any_of.items[i], value, seen) || ok;
    return ok || tell(r, value.ptr, "anyOf", "must fit one of the allowed shapes");
}

static bool test_one_of(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    size_t count = 0;
    for (size_t i = 0; i < n->one_of.count && count < 2; i++)
        count += try_quietly(r, n->one_of.items[i], value, seen);
    if (count == 0)
        return tell(r, value.ptr, "oneOf", "must fit one of the allowed shapes");
    return count == 1 ||
           tell(r, value.ptr, "oneOf", "must fit only one of the allowed shapes, and fits several");
}

static bool test_condition(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    const struct node *next = try_quietly(r, n->if_, value, seen) ? n->then_ : n->else_;
    return !next || test(r, next, value, seen);
}

static bool test_applied(struct run *r, const struct node *n, weir_str value, struct seen *seen)
{
    bool ok = !n->ref || test(r, n->ref, value, seen);
    for (size_t i = 0; i < n->all_of.count && (ok || !r->is_quiet); i++)
        ok = test(r, n->all_of.items[i], value, seen) && ok;
    if (n->any_of.count && (ok || !r->is_quiet))
        ok = test_any_of(r, n, value, seen) && ok;
    if (n->one_of.count && (ok || !r->is_quiet))
        ok = test_one_of(r, n, value, seen) && ok;
    if (n->not_ && try_quietly(r, n->not_, value, NULL))
        ok = tell(r, value.ptr, "not", "is of a shape that is not allowed");
    if (n->if_ && (ok || !r->is_quiet))
        ok = test_condition(r, n, value, seen) && ok;
    return ok;
}

/* ---- a node ----------------------------------------------------------------------------------- */

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
        return tell(r, value.ptr, "type", n->type_message);
    }
    if (r->is_quiet)
        return tell(r, value.ptr, "type", n->type_message);
    return tell(r, value.ptr, "type",
                arena_format(r->scratch, "%s, found %s", n->type_message, found[kind]));
}

static bool test_value(struct run *r, const struct node *n, weir_str value)
{
    for (size_t i = 0; i < n->value_count; i++) {
        weir_str v = n->values[i];
        if ((v.len == value.len && memcmp(v.ptr, value.ptr, v.len) == 0) || json_same(v, value))
            return true;
    }
    return tell(r, value.ptr, n->value_keyword, n->value_message);
}

static bool test_kind(struct run *r, const struct node *n, weir_str value, int kind,
                      struct seen *seen)
{
    if (kind == WEIR_JSON_TEXT && n->text)
        return test_text(r, n->text, value);
    if (kind == WEIR_JSON_NUMBER && n->number)
        return test_number(r, n->number, value);
    if (kind == WEIR_JSON_OBJECT && n->object)
        return test_object(r, n->object, value, seen);
    if (kind == WEIR_JSON_ARRAY && n->array)
        return test_array(r, n->array, value, seen);
    return true;
}

static bool test_unevaluated(struct run *r, const struct node *n, weir_str value, int kind,
                             struct seen *seen)
{
    if (kind == WEIR_JSON_OBJECT && n->object && n->object->unevaluated)
        return test_unevaluated_members(r, n->object, value, seen);
    if (kind == WEIR_JSON_ARRAY && n->array && n->array->unevaluated)
        return test_unevaluated_items(r, n->array->unevaluated, value, seen);
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
        ok = test_unevaluated(r, n, value, kind, seen) && ok;
    if (ok && seen && parent)
        seen_merge(parent, seen);
    return ok;
}

static bool test(struct run *r, const struct node *n, weir_str value, struct seen *parent)
{
    if (n->deny)
        return tell(r, value.ptr, "false", n->deny);
    if (r->depth == DEPTH_MAX)
        return give_up(r, "is nested too deeply to be tested");
    if (r->steps++ >= STEPS_MAX || r->over)
        return give_up(r, "takes too many steps to be tested");
    r->depth++;
    bool ok = test_rules(r, n, value, parent);
    r->depth--;
    return ok;
}

/* ---- from outside ----------------------------------------------------------------------------- */

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

/* Stable: what was met first at one place stays first. At most TOLD_MAX, most of them in order. */
static void sort_findings(struct finding *findings, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct finding f = findings[i];
        size_t k = i;
        for (; k > 0 && findings[k - 1].at > f.at; k--)
            findings[k] = findings[k - 1];
        findings[k] = f;
    }
}

size_t schema_test(const struct schema *s, weir_str text, struct arena *scratch,
                   void (*fn)(void *user, const weir_violation *v), void *user)
{
    struct run r = {.scratch = scratch, .is_quiet = !fn};
    bool ok = test(&r, s->root, json_trim(text), NULL);
    if (r.over)
        ok = tell(&r, text.ptr, "", r.over);
    if (!fn)
        return !ok;
    size_t told = r.count < TOLD_MAX ? r.count : TOLD_MAX;
    if (!r.findings)
        told = 0;
    sort_findings(r.findings, told);
    for (size_t i = 0; i < told; i++)
        fn(user, &r.findings[i].violation);
    return r.count;
}
