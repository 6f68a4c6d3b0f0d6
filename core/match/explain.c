/* match/explain.c: why a pattern does or does not match an event, for people. */
#include "base/text.h"
#include "match/plain.h"
#include "match/set.h"
#include "json/json.h"

/* Shown are so many of the values, so much of a text, so many alternatives of a pattern with $or. */
enum { SHOWN_VALUES = 3, SHOWN_BYTES = 120, SHOWN_SUBS = 20 };
enum { OBJECT_VALUES = 10, OBJECT_BYTES = 1024, NEAR_NAMES = 1000 };

struct explain {
    const struct match_set *set;
    struct arena arena; /* of the pattern */
    struct pattern pattern;
    struct plain_event event;
    weir_str json;
    struct buf *out;
    size_t *reach; /* of each sub */
    bool is_match;
    bool is_unknown; /* whether it matches: too complex for both matchers */
    bool is_cut;     /* not all choices were tried */
};

static bool same(weir_str a, weir_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static weir_str cut(weir_str s, size_t most)
{
    size_t n = s.len <= most ? s.len : most;
    while (n && n < s.len && ((unsigned char)s.ptr[n] & 0xC0) == 0x80)
        n--; /* not inside a code point */
    return (weir_str){s.ptr, n};
}

static void put_cut(struct buf *out, weir_str s, size_t most)
{
    weir_str shown = cut(s, most);
    buf_add_str(out, shown);
    if (shown.len < s.len)
        buf_add_text(out, "...");
}

static void put_short(struct buf *out, weir_str s)
{
    put_cut(out, s, SHOWN_BYTES);
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
    for (weir_json_each each = {0}; count < NEAR_NAMES && json_next(object, &each);)
        count++;
    const char **words = arena_take(a, (count + 1) * sizeof *words);
    size_t i = 0;
    for (weir_json_each each = {0}; i < count && json_next(object, &each); i++) {
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

static void put_found(struct explain *x, const struct pattern_list *list)
{
    size_t count, shown = 0;
    const struct plain_leaf *leaves = plain_leaves(&x->event, list, &count);
    if (!count) {
        buf_add_text(x->out, "found nothing");
        if (!pattern_list_takes_absent(list))
            put_missing(x, list->path);
        return;
    }
    buf_add_text(x->out, "found ");
    for (; shown < count && shown < SHOWN_VALUES; shown++) {
        buf_add_text(x->out, shown ? ", " : "");
        put_short(x->out, leaves[shown].token);
    }
    if (count > shown)
        buf_print(x->out, " and %zu more", count - shown);
}

/* Together with those before it, or taken alone. */
static bool field_holds(struct explain *x, size_t number, size_t i)
{
    return i < x->reach[number] || plain_is_satisfied(&x->event, x->pattern.subs[number].lists[i]);
}

static void put_fields(struct explain *x, size_t number)
{
    const struct pattern_sub *sub = &x->pattern.subs[number];
    for (size_t i = 0; i < sub->count; i++) {
        bool is_ok = field_holds(x, number, i);
        buf_add_text(x->out, is_ok ? "  ok   " : x->event.is_cut ? "  ?    " : "  fail ");
        put_pointer(x->out, sub->lists[i]->path);
        buf_add_text(x->out, ": expected ");
        put_short(x->out, sub->lists[i]->source);
        buf_add_text(x->out, ", ");
        put_found(x, sub->lists[i]);
        buf_add_char(x->out, '\n');
    }
}

/* The field that fails first, each taken alone; SIZE_MAX: none does. */
static size_t first_failing(struct explain *x, size_t number)
{
    for (size_t i = x->reach[number]; i < x->pattern.subs[number].count; i++)
        if (!field_holds(x, number, i))
            return x->event.is_cut ? SIZE_MAX : i;
    return SIZE_MAX;
}

/* The verdict on one sub, with the path that decides it. */
static void put_verdict(struct explain *x, size_t number)
{
    const struct pattern_sub *sub = &x->pattern.subs[number];
    size_t reach = x->reach[number];
    if (reach == sub->count) {
        buf_add_text(x->out, "match\n");
        return;
    }
    size_t first = first_failing(x, number);
    if (first != SIZE_MAX) {
        buf_add_text(x->out, "no match: first at ");
        put_pointer(x->out, sub->lists[first]->path);
        buf_add_char(x->out, '\n');
        return;
    }
    if (x->is_cut || x->event.is_cut) {
        buf_print(x->out,
                  "%s: too complex to say why: the event has too many values to choose from\n",
                  x->is_unknown ? "unknown"
                  : x->is_match ? "match"
                                : "no match");
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

/* A value as it stands in the event; the beginning of a long one as a text. */
static void object_value(struct buf *out, weir_str token)
{
    struct buf text = {0};
    if (token.len <= OBJECT_BYTES) {
        buf_add_str(out, token);
        return;
    }
    put_cut(&text, token, OBJECT_BYTES);
    json_quote(out, buf_str(&text));
    buf_fini(&text);
}

static void object_field(struct explain *x, size_t number, size_t i)
{
    const struct pattern_list *list = x->pattern.subs[number].lists[i];
    size_t count, shown = 0;
    bool is_ok = field_holds(x, number, i);
    const struct plain_leaf *leaves = plain_leaves(&x->event, list, &count);
    buf_add_text(x->out, "{\"field\": ");
    quote_pointer(x->out, list->path);
    buf_print(x->out, ", \"holds\": %s, \"expected\": ",
              is_ok             ? "true"
              : x->event.is_cut ? "null"
                                : "false");
    buf_add_str(x->out, list->source);
    buf_add_text(x->out, ", \"found\": [");
    for (; shown < count && shown < OBJECT_VALUES; shown++) {
        buf_add_text(x->out, shown ? ", " : "");
        object_value(x->out, leaves[shown].token);
    }
    buf_add_char(x->out, ']');
    if (count > shown)
        buf_print(x->out, ", \"more\": %zu", count - shown);
    buf_add_char(x->out, '}');
}

static void object_sub(struct explain *x, size_t number)
{
    const struct pattern_sub *sub = &x->pattern.subs[number];
    bool is_match = x->reach[number] == sub->count;
    size_t first = is_match ? 0 : first_failing(x, number);
    bool is_open = !is_match && first == SIZE_MAX, is_cut = x->is_cut || x->event.is_cut;
    buf_print(x->out, "{\"match\": %s, ", is_match ? "true" : is_open && is_cut ? "null" : "false");
    if (!is_match && !(is_open && is_cut)) {
        buf_add_text(x->out, "\"first\": ");
        quote_pointer(x->out, sub->lists[is_open ? x->reach[number] : first]->path);
        buf_add_text(x->out, is_open ? ", \"elements\": true, " : ", ");
    }
    buf_add_text(x->out, "\"fields\": [");
    for (size_t i = 0; i < sub->count; i++) {
        buf_add_text(x->out, i ? ", " : "");
        object_field(x, number, i);
    }
    buf_add_text(x->out, "]}");
}

/* ---- which alternatives are shown ----------------------------------------------------------------- */

/* How much a sub lacks to match. */
static size_t missing(const struct explain *x, size_t number)
{
    return x->pattern.subs[number].count - x->reach[number];
}

/* The numbers of those that lack the least, ascending. */
static size_t nearest_subs(const struct explain *x, size_t *numbers)
{
    size_t count = 0;
    for (size_t i = 0; i < x->pattern.count; i++) {
        size_t worst = 0;
        if (count < SHOWN_SUBS) {
            numbers[count++] = i;
            continue;
        }
        for (size_t k = 1; k < count; k++)
            if (missing(x, numbers[k]) >= missing(x, numbers[worst]))
                worst = k;
        if (missing(x, i) >= missing(x, numbers[worst]))
            continue;
        memmove(numbers + worst, numbers + worst + 1, (count - worst - 1) * sizeof *numbers);
        numbers[count - 1] = i;
    }
    return count;
}

static void put_object(struct explain *x)
{
    size_t numbers[SHOWN_SUBS], count = nearest_subs(x, numbers);
    buf_print(x->out, "{\"match\": %s, ", x->is_unknown ? "null" : x->is_match ? "true" : "false");
    if (x->is_cut)
        buf_add_text(x->out, "\"too_complex\": true, ");
    buf_add_text(x->out, "\"alternatives\": [");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(x->out, i ? ", " : "");
        object_sub(x, numbers[i]);
    }
    buf_add_char(x->out, ']');
    if (count < x->pattern.count)
        buf_print(x->out, ", \"more\": %zu", x->pattern.count - count);
    buf_add_char(x->out, '}');
}

static void put_lines(struct explain *x)
{
    size_t numbers[SHOWN_SUBS], count = nearest_subs(x, numbers);
    if (x->pattern.count > 1)
        buf_print(x->out, "%s: %zu alternatives by $or%s\n",
                  x->is_unknown ? "unknown"
                  : x->is_match ? "match"
                                : "no match",
                  x->pattern.count, count < x->pattern.count ? ", the nearest of them" : "");
    for (size_t i = 0; i < count; i++) {
        if (x->pattern.count > 1)
            buf_print(x->out, "alternative %zu: ", numbers[i] + 1);
        put_verdict(x, numbers[i]);
        put_fields(x, numbers[i]);
    }
}

/* ---- one pattern, one event ----------------------------------------------------------------------- */

/* The fast matcher remembers more of its choices; it may know where the plain one gives up. */
static void ask_the_other(struct explain *x, weir_str pattern)
{
    struct match_set *set = match_set_new(NULL);
    const uint32_t *hits;
    (void)match_add(set, pattern, NULL);
    match_seal(set);
    struct match_ctx *c = match_ctx_new(set);
    x->is_match = match_json(c, x->json, MATCH_KNOWN_GOOD, &hits) == 1;
    x->is_unknown = !x->is_match && match_was_cut(c);
    match_ctx_free(c);
    match_set_free(set);
}

static void explain_init(struct explain *x, const struct match_set *s, uint32_t n, weir_str json,
                         uint64_t steps)
{
    *x = (struct explain){.set = s, .json = json};
    arena_init(&x->arena);
    struct buf text = {0};
    store_get(&s->texts, s->rules[set_rule(s, n)], &text);
    /* It was parsed when it was added. */
    (void)pattern_parse(&x->pattern, buf_str(&text), &x->arena, NULL);
    plain_init(&x->event, json, &x->pattern, steps);
    x->reach = arena_take(&x->arena, (x->pattern.count + 1) * sizeof *x->reach);
    for (size_t i = 0; i < x->pattern.count; i++) {
        x->reach[i] = plain_reach(&x->event, &x->pattern.subs[i]);
        x->is_match |= x->reach[i] == x->pattern.subs[i].count;
    }
    if (x->event.is_cut && !x->is_match)
        ask_the_other(x, buf_str(&text));
    buf_fini(&text);
    x->is_cut = x->event.is_cut;
    x->event.is_cut = false; /* as many steps again to look at each field alone */
    x->event.steps = 0;
}

static void explain_fini(struct explain *x)
{
    plain_fini(&x->event);
    arena_fini(&x->arena);
}

bool match_explain_json(const struct match_set *s, uint32_t n, weir_str json, struct buf *text,
                        struct buf *object)
{
    struct explain x;
    explain_init(&x, s, n, json, PLAIN_STEPS_MAX);
    x.out = text;
    if (text)
        put_lines(&x);
    x.out = object;
    if (object)
        put_object(&x);
    explain_fini(&x);
    return x.is_match;
}

void match_explain(const struct match_set *s, uint32_t n, const weir_event *ev, struct buf *out)
{
    struct match_env env = {s->account, s->region};
    struct buf json = {0};
    weir_str body = {ev->body->ptr, ev->body->len};
    if (n >= match_count(s)) {
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

/* ---- in a few words ------------------------------------------------------------------------------- */

enum { BRIEF_STEPS = 200000, BRIEF_BYTES = 120, BRIEF_BYTES_MIN = 8 };

static void brief_member(struct buf *out, const char *name, weir_str text, size_t most)
{
    struct buf shown = {0};
    put_cut(&shown, text, most);
    buf_print(out, ", \"%s\": ", name);
    json_quote(out, buf_str(&shown));
    buf_fini(&shown);
}

static void brief_field(struct explain *x, const struct pattern_list *list, size_t most,
                        struct buf *out)
{
    static const char prefix[] = "found ";
    struct buf text = {0};
    put_pointer(&text, list->path);
    brief_member(out, "field", buf_str(&text), most);
    brief_member(out, "expected", list->source, most);
    text.len = 0;
    x->out = &text;
    put_found(x, list);
    weir_str found = {text.ptr + sizeof prefix - 1, text.len - (sizeof prefix - 1)};
    brief_member(out, "found", found, most);
    x->out = NULL;
    buf_fini(&text);
}

static void put_brief(struct explain *x, weir_str name, size_t most, struct buf *out)
{
    size_t number = 0;
    for (size_t i = 1; i < x->pattern.count; i++)
        if (missing(x, i) < missing(x, number))
            number = i;
    const struct pattern_sub *sub = &x->pattern.subs[number];
    weir_str shown = cut(name, most);
    buf_add_text(out, "{\"rule\": ");
    json_quote(out, shown);
    buf_print(out, ", \"match\": %s", x->is_unknown ? "null" : x->is_match ? "true" : "false");
    size_t first = x->is_match ? SIZE_MAX : first_failing(x, number);
    bool is_open = !x->is_match && first == SIZE_MAX;
    if (!x->is_match)
        brief_field(x, sub->lists[is_open ? x->reach[number] : first], most, out);
    if (is_open)
        brief_member(out, "why",
                     weir_text(
                         x->is_cut || x->event.is_cut
                             ? "too complex to say why"
                             : "only in another element of an array than the fields before it"),
                     SHOWN_BYTES);
    buf_add_char(out, '}');
}

void match_explain_brief(const struct match_set *s, uint32_t n, weir_str name, weir_str json,
                         size_t most, struct buf *out)
{
    struct explain x;
    size_t from = out->len, each = BRIEF_BYTES;
    explain_init(&x, s, n, json, BRIEF_STEPS);
    put_brief(&x, name, each, out);
    while (out->len - from > most &&
           each > BRIEF_BYTES_MIN) { /* escapes may take six times as much */
        out->len = from;
        each /= 2;
        put_brief(&x, name, each, out);
    }
    explain_fini(&x);
}
