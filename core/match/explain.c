/* match/explain.c: why a pattern does or does not match an event, for people. */
#include "base/text.h"
#include "match/plain.h"
#include "match/set.h"
#include "json/json.h"

enum { SHOWN_VALUES = 3, SHOWN_BYTES = 120 };

struct explain {
    const struct match_set *set;
    struct plain_event event;
    weir_str json;
    struct buf *out;
};

static bool same(weir_str a, weir_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static void put_short(struct buf *out, weir_str s)
{
    size_t n = s.len <= SHOWN_BYTES ? s.len : SHOWN_BYTES;
    while (n && n < s.len && ((unsigned char)s.ptr[n] & 0xC0) == 0x80)
        n--; /* not inside a code point */
    buf_add(out, s.ptr, n);
    if (n < s.len)
        buf_add_text(out, "...");
}

/* RFC 6901. */
static void put_pointer(struct buf *out, weir_str path)
{
    buf_add_char(out, '/');
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c == '.')
            buf_add_char(out, '/');
        else if (c == '~' || c == '/')
            buf_add_text(out, c == '~' ? "~0" : "~1");
        else
            buf_add_char(out, c);
    }
}

static bool is_satisfied(const struct explain *x, const struct pattern_list *list, size_t *values)
{
    bool holds = false;
    *values = 0;
    for (size_t i = 0; i < x->event.leaf_count; i++) {
        const struct plain_leaf *leaf = &x->event.leaves[i];
        if (!same(leaf->path, list->path))
            continue;
        ++*values;
        holds = holds || pattern_list_holds(list, leaf->kind, leaf->text);
    }
    return holds || (!*values && pattern_list_takes_absent(list));
}

/* ---- names that are likely misspelt ------------------------------------------------------------- */

/* The object itself, or the first that an array holds. */
static weir_str first_object(weir_str value)
{
    for (int depth = 0; depth < JSON_DEPTH_MAX && json_kind(value) == WEIR_JSON_ARRAY; depth++) {
        weir_json_each each = {0};
        if (!json_next(value, &each))
            break;
        value = each.value;
    }
    return value;
}

static weir_str member(struct explain *x, weir_str object, weir_str name)
{
    weir_str found = {NULL, 0};
    for (weir_json_each each = {0}; json_next(object, &each);) {
        weir_str quoted = {each.key.ptr - 1, each.key.len + 2};
        if (same(json_unquote(quoted, &x->event.arena), name))
            found = each.value;
    }
    return found;
}

static const char *nearest(struct explain *x, weir_str object, weir_str name)
{
    struct arena *a = &x->event.arena;
    size_t count = 0;
    for (weir_json_each each = {0}; json_next(object, &each);)
        count++;
    const char **words = arena_take(a, (count + 1) * sizeof *words);
    size_t i = 0;
    for (weir_json_each each = {0}; json_next(object, &each); i++) {
        weir_str word = json_unquote((weir_str){each.key.ptr - 1, each.key.len + 2}, a);
        words[i] = arena_copy(a, word.ptr, word.len);
        if (text_same_fold(name, words[i]))
            return words[i];
    }
    return text_nearest(arena_copy(a, name.ptr, name.len), words);
}

static void put_missing(struct explain *x, weir_str path)
{
    weir_str object = x->json, above = {path.ptr, 0};
    const char *p = path.ptr, *end = p + path.len;
    for (;;) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        weir_str name = {p, (size_t)((dot ? dot : end) - p)};
        object = first_object(object);
        if (json_kind(object) != WEIR_JSON_OBJECT)
            break;
        weir_str next = member(x, object, name);
        if (!next.ptr || !dot) {
            const char *word = next.ptr ? NULL : nearest(x, object, name);
            buf_add_text(x->out, next.ptr ? "; it holds no value of its own" : "");
            if (word)
                buf_print(x->out, "; did you mean \"%s\"?", word);
            return;
        }
        above.len = (size_t)(dot - path.ptr);
        object = next, p = dot + 1;
    }
    buf_add_text(x->out, "; ");
    put_pointer(x->out, above);
    buf_add_text(x->out, " is no object");
}

/* ---- lines ---------------------------------------------------------------------------------------- */

static void put_found(struct explain *x, const struct pattern_list *list, size_t values)
{
    size_t shown = 0;
    if (!values) {
        buf_add_text(x->out, "found nothing");
        if (!pattern_list_takes_absent(list))
            put_missing(x, list->path);
        return;
    }
    buf_add_text(x->out, "found ");
    for (size_t i = 0; i < x->event.leaf_count && shown < SHOWN_VALUES; i++) {
        if (!same(x->event.leaves[i].path, list->path))
            continue;
        buf_add_text(x->out, shown++ ? ", " : "");
        put_short(x->out, x->event.leaves[i].token);
    }
    if (values > shown)
        buf_print(x->out, " and %zu more", values - shown);
}

static void put_fields(struct explain *x, const struct pattern_sub *sub)
{
    for (size_t i = 0; i < sub->count; i++) {
        size_t values;
        bool is_ok = is_satisfied(x, sub->lists[i], &values);
        buf_add_text(x->out, is_ok ? "  ok   " : "  fail ");
        put_pointer(x->out, sub->lists[i]->path);
        buf_add_text(x->out, ": expected ");
        put_short(x->out, sub->lists[i]->source);
        buf_add_text(x->out, ", ");
        put_found(x, sub->lists[i], values);
        buf_add_char(x->out, '\n');
    }
}

/* The verdict on one sub, with the path that decides it. */
static void put_verdict(struct explain *x, const struct pattern_sub *sub)
{
    size_t reach = plain_reach(&x->event, sub), values;
    if (reach == sub->count) {
        buf_add_text(x->out, "match\n");
        return;
    }
    for (size_t i = 0; i < sub->count; i++)
        if (!is_satisfied(x, sub->lists[i], &values)) {
            buf_add_text(x->out, "no match: first at ");
            put_pointer(x->out, sub->lists[i]->path);
            buf_add_char(x->out, '\n');
            return;
        }
    buf_add_text(x->out, "no match: ");
    put_pointer(x->out, sub->lists[reach]->path);
    buf_add_text(x->out, " and the paths before it hold only in different elements of an array\n");
}

/* ---- as JSON -------------------------------------------------------------------------------------- */

static void quote_pointer(struct buf *out, weir_str path)
{
    struct buf pointer = {0};
    put_pointer(&pointer, path);
    json_quote(out, buf_str(&pointer));
    buf_fini(&pointer);
}

static void object_field(struct explain *x, const struct pattern_list *list)
{
    size_t values, shown = 0;
    bool is_ok = is_satisfied(x, list, &values);
    buf_add_text(x->out, "{\"field\": ");
    quote_pointer(x->out, list->path);
    buf_print(x->out, ", \"holds\": %s, \"expected\": ", is_ok ? "true" : "false");
    buf_add_str(x->out, list->source);
    buf_add_text(x->out, ", \"found\": [");
    for (size_t i = 0; i < x->event.leaf_count; i++) {
        if (!same(x->event.leaves[i].path, list->path))
            continue;
        buf_add_text(x->out, shown++ ? ", " : "");
        buf_add_str(x->out, x->event.leaves[i].token);
    }
    buf_add_text(x->out, "]}");
}

static void object_sub(struct explain *x, const struct pattern_sub *sub)
{
    size_t reach = plain_reach(&x->event, sub), first = 0, values;
    buf_print(x->out, "{\"match\": %s, ", reach == sub->count ? "true" : "false");
    while (first < sub->count && is_satisfied(x, sub->lists[first], &values))
        first++;
    if (reach < sub->count) {
        buf_add_text(x->out, "\"first\": ");
        quote_pointer(x->out, sub->lists[first < sub->count ? first : reach]->path);
        buf_add_text(x->out, first < sub->count ? ", " : ", \"elements\": true, ");
    }
    buf_add_text(x->out, "\"fields\": [");
    for (size_t i = 0; i < sub->count; i++) {
        buf_add_text(x->out, i ? ", " : "");
        object_field(x, sub->lists[i]);
    }
    buf_add_text(x->out, "]}");
}

static void put_object(struct explain *x, const struct pattern *p)
{
    buf_print(x->out, "{\"match\": %s, \"alternatives\": [",
              plain_matches(&x->event, p) ? "true" : "false");
    for (size_t i = 0; i < p->count; i++) {
        buf_add_text(x->out, i ? ", " : "");
        object_sub(x, &p->subs[i]);
    }
    buf_add_text(x->out, "]}");
}

static void put_lines(struct explain *x, const struct pattern *p)
{
    if (p->count > 1)
        buf_print(x->out, "%s: %zu alternatives by $or\n",
                  plain_matches(&x->event, p) ? "match" : "no match", p->count);
    for (size_t i = 0; i < p->count; i++) {
        if (p->count > 1)
            buf_print(x->out, "alternative %zu: ", i + 1);
        put_verdict(x, &p->subs[i]);
        put_fields(x, &p->subs[i]);
    }
}

bool match_explain_json(const struct match_set *s, uint32_t n, weir_str json, struct buf *text,
                        struct buf *object)
{
    struct explain x = {.set = s, .json = json, .out = text};
    struct pattern p;
    struct buf pattern = {0};
    store_get(&s->texts, s->rules[n], &pattern);
    plain_init(&x.event, x.json);
    (void)pattern_parse(&p, buf_str(&pattern), &x.event.arena,
                        NULL); /* it was parsed when it was added */
    buf_fini(&pattern);
    bool is_match = plain_matches(&x.event, &p);
    if (text)
        put_lines(&x, &p);
    x.out = object;
    if (object)
        put_object(&x, &p);
    plain_fini(&x.event);
    return is_match;
}

void match_explain(const struct match_set *s, uint32_t n, const weir_event *ev, struct buf *out)
{
    struct match_env env = {s->account, s->region};
    struct buf json = {0};
    weir_str body = {ev->body->ptr, ev->body->len};
    if (n >= s->rules_count) {
        buf_print(out, "there is no pattern %u\n", n);
        return;
    }
    if (!body.len || json_check(body, NULL, NULL) != WEIR_OK) {
        buf_add_text(out, "no match: the body is not JSON\n");
        return;
    }
    match_envelope(&env, ev, &json);
    (void)match_explain_json(s, n, buf_str(&json), out, NULL);
    buf_fini(&json);
}
