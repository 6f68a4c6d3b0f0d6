/* match/pattern.c: event patterns from their text, with the errors of EventBridge. */
#include "match/pattern.h"

#include "base/text.h"
#include "match/parser.h"

static const weir_str no_text;

/* What Event Ruler keeps for itself; none of these may name a field inside $or. */
static const char *const reserved[] = {"exactly",
                                       "equals-ignore-case",
                                       "prefix",
                                       "suffix",
                                       "anything-but",
                                       "exists",
                                       "wildcard",
                                       "numeric",
                                       "cidr",
                                       "=",
                                       "<",
                                       "<=",
                                       ">",
                                       ">=",
                                       "regex",
                                       "not-wildcard",
                                       "date-after",
                                       "date-on-or-after",
                                       "date-before",
                                       "date-on-or-before",
                                       "in-date-range",
                                       "ip-address-in-range",
                                       "not-equals-ignore-case",
                                       "ip-address-not-in-range"};

/* ---- fields ---- */

static int compare_paths(weir_str a, weir_str b)
{
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* A path that comes again replaces what was said of it before. */
static void put(struct parser *p, struct pattern_sub *sub, const struct pattern_list *list)
{
    size_t at = 0;
    while (at < sub->count && compare_paths(sub->lists[at]->path, list->path) < 0)
        at++;
    bool is_same = at < sub->count && compare_paths(sub->lists[at]->path, list->path) == 0;
    size_t bytes = sizeof(const struct pattern_list *);
    const struct pattern_list **lists = arena_take(p->arena, (sub->count + 1) * bytes);
    if (at)
        memcpy(lists, sub->lists, at * bytes);
    lists[at] = list;
    size_t from = at + is_same;
    if (from < sub->count)
        memcpy(lists + at + 1, sub->lists + from, (sub->count - from) * bytes);
    sub->lists = lists; /* others may share the old ones */
    sub->count += !is_same;
}

static bool add_list(struct parser *p, weir_str path, weir_str array)
{
    size_t count = parser_count(array), i = 0;
    if (!count)
        return parser_fail(p, array, "Empty arrays are not allowed");
    struct pattern_list *list = arena_take(p->arena, sizeof *list);
    struct pattern_test *tests = arena_take(p->arena, count * sizeof *tests);
    *list = (struct pattern_list){path, array, tests, count};
    for (weir_json_each each = {0}; json_next(array, &each); i++)
        if (!alternative_read(p, &tests[i], each.value))
            return false;
    for (size_t s = 0; s < p->count; s++)
        put(p, &p->subs[s], list);
    return true;
}

static weir_str join(const struct parser *p, weir_str path, weir_str name)
{
    if (!path.ptr)
        return (weir_str){arena_copy(p->arena, name.ptr, name.len), name.len};
    char *all = arena_take(p->arena, path.len + name.len + 2);
    memcpy(all, path.ptr, path.len);
    all[path.len] = '.';
    memcpy(all + path.len + 1, name.ptr, name.len);
    return (weir_str){all, path.len + 1 + name.len};
}

static bool add_object(struct parser *p, weir_str path, weir_str object, bool is_in_or);

static bool add_or(struct parser *p, weir_str path, weir_str value)
{
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return parser_fail(p, value, "It must be an Array followed with $or.");
    struct pattern_sub *before = p->subs, *all = NULL;
    size_t before_count = p->count, count = 0, cap = 0, branches = 0;
    bool is_ok = true;
    for (weir_json_each each = {0}; is_ok && json_next(value, &each); branches++) {
        p->subs = mem_copy(before, before_count * sizeof *before), p->count = before_count;
        if (json_kind(each.value) != WEIR_JSON_OBJECT)
            is_ok = parser_fail(p, each.value,
                                "Only JSON object is allowed in array of $or relationship.");
        is_ok = is_ok && add_object(p, path, each.value, true);
        if (is_ok && count + p->count > PATTERN_SUBS_MAX)
            is_ok =
                parser_fail(p, value, "Rule is too complex - try using fewer alternatives in $or");
        for (size_t i = 0; is_ok && i < p->count; i++)
            MEM_PUSH(all, count, cap) = p->subs[i];
        mem_free(p->subs);
    }
    mem_free(before);
    p->subs = all, p->count = count;
    if (is_ok && branches < 2)
        return parser_fail(p, value, "There must have at least 2 Objects in $or relationship.");
    return is_ok;
}

static bool add_member(struct parser *p, weir_str path, const weir_json_each *each, bool is_in_or)
{
    weir_str name = parser_name(p, each->key);
    if (weir_same(name, "$or"))
        return add_or(p, path, each->value);
    for (size_t i = 0; is_in_or && i < sizeof reserved / sizeof *reserved; i++)
        if (weir_same(name, reserved[i]))
            return parser_fail(p, each->value,
                               "%s is Ruler reserved fieldName which cannot be used inside $or.",
                               reserved[i]);
    int kind = json_kind(each->value);
    if (kind == WEIR_JSON_OBJECT)
        return add_object(p, join(p, path, name), each->value, is_in_or);
    if (kind == WEIR_JSON_ARRAY)
        return add_list(p, join(p, path, name), each->value);
    return parser_fail(p, each->value, "\"%.*s\" must be an object or an array", parser_shown(name),
                       name.ptr);
}

static bool add_object(struct parser *p, weir_str path, weir_str object, bool is_in_or)
{
    bool has_fields = false;
    for (weir_json_each each = {0}; json_next(object, &each); has_fields = true)
        if (!add_member(p, path, &each, is_in_or))
            return false;
    return has_fields || parser_fail(p, object, "Empty objects are not allowed");
}

weir_status pattern_parse(struct pattern *out, weir_str text, struct arena *a,
                          struct match_error *e)
{
    struct match_error ignored;
    struct parser p = {.arena = a, .error = e ? e : &ignored};
    const char *why = NULL;
    size_t at = 0;
    if (json_check(text, &at, &why) != WEIR_OK) {
        p.start = text.ptr;
        (void)parser_fail(&p, no_text, "%s", why ? why : "not JSON");
        p.error->at = at;
        return WEIR_E_REJECT;
    }
    text.ptr = p.start = arena_copy(a, text.ptr, text.len);
    weir_str value = json_trim(text);
    if (json_kind(value) != WEIR_JSON_OBJECT) {
        (void)parser_fail(&p, value, "Filter is not an object");
        return WEIR_E_REJECT;
    }
    p.subs = mem_new(sizeof *p.subs), p.count = 1;
    bool is_ok = add_object(&p, no_text, value, false);
    out->count = is_ok ? p.count : 0;
    out->subs = is_ok ? arena_copy(a, p.subs, p.count * sizeof *p.subs) : NULL;
    mem_free(p.subs);
    return is_ok ? WEIR_OK : WEIR_E_REJECT;
}

/* ---- copies ---- */

static weir_str copy_text(weir_str s, struct arena *a)
{
    return (weir_str){arena_copy(a, s.ptr, s.len), s.len};
}

static void copy_pieces(struct pattern_test *t, struct arena *a)
{
    weir_str *pieces = arena_copy(a, t->pieces.items, t->pieces.count * sizeof *pieces);
    for (size_t i = 0; i < t->pieces.count; i++)
        pieces[i] = copy_text(pieces[i], a);
    t->pieces.items = pieces;
}

struct pattern_test *pattern_copy(const struct pattern_test *t, size_t count, struct arena *a)
{
    struct pattern_test *all = arena_copy(a, t, count * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        struct pattern_test *to = &all[i];
        if (to->kind == PATTERN_WILDCARD)
            copy_pieces(to, a);
        if (to->kind == PATTERN_BUT)
            to->but.items = pattern_copy(to->but.items, to->but.count, a);
        bool is_fold = to->kind == PATTERN_FOLD || to->kind == PATTERN_FOLD_PREFIX ||
                       to->kind == PATTERN_FOLD_SUFFIX;
        bool is_compared = is_fold || to->kind == PATTERN_TEXT || to->kind == PATTERN_LITERAL ||
                           to->kind == PATTERN_PREFIX || to->kind == PATTERN_SUFFIX ||
                           (to->kind == PATTERN_NUMBER && !to->has_key);
        to->text = is_compared ? copy_text(to->text, a) : no_text;
        if (is_fold)
            fold_init(&to->fold, to->text, a);
    }
    return all;
}
