/* match/shape.c: input paths and input templates, compiled to pieces. */
#include "match/shape.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "match/envelope.h"
#include "json/json.h"

enum { PATHS_MAX = 100, TEMPLATE_MAX = 8192 };

struct step {      /* .name or [index] */
    weir_str name; /* ptr NULL: an element */
    size_t index;  /* EVERY: all of them, [*] */
};

#define EVERY SIZE_MAX

struct path {
    struct step *steps;
    size_t count;
    bool is_list; /* has a [*]: leads to a list of values */
};

enum piece_kind {
    PIECE_TEXT,
    PIECE_PATH,
    PIECE_RULE_NAME,
    PIECE_RULE_ARN,
    PIECE_INGESTION_TIME,
    PIECE_EVENT_JSON,
    PIECE_EVENT
};

struct piece {
    enum piece_kind kind;
    bool is_quoted; /* stands inside a string of the template */
    weir_str text;
    const struct path *path;
};

struct shape {
    struct arena arena;
    struct match_env env;
    struct piece *pieces; /* of a template; else the one path */
    size_t count, cap;
    bool is_template;
};

static const struct {
    const char *name;
    enum piece_kind kind;
} known[] = {{"aws.events.rule-name", PIECE_RULE_NAME},
             {"aws.events.rule-arn", PIECE_RULE_ARN},
             {"aws.events.event.ingestion-time", PIECE_INGESTION_TIME},
             {"aws.events.event.json", PIECE_EVENT_JSON},
             {"aws.events.event", PIECE_EVENT}};

/* ---- paths ------------------------------------------------------------------------------------- */

static bool read_index(const char **at, struct step *step)
{
    const char *p = *at + 1;
    size_t n = 0;
    if (p[0] == '*' && p[1] == ']') {
        *step = (struct step){{NULL, 0}, EVERY};
        *at = p + 2;
        return true;
    }
    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p) && n < SIZE_MAX / 16; p++)
        n = n * 10 + (size_t)(*p - '0');
    *step = (struct step){{NULL, 0}, n};
    *at = p + 1;
    return *p == ']';
}

static bool read_name(const char **at, struct step *step, struct arena *a)
{
    const char *name = *at + 1;
    size_t n = strcspn(name, ".[]*");
    *step = (struct step){{arena_copy(a, name, n), n}, 0};
    *at = name + n;
    return n != 0;
}

/* NULL: it is none; *at is the byte that is wrong. */
static struct path *parse_path(const char *text, struct arena *a, size_t *at)
{
    const char *p = text;
    struct path *path = arena_take(a, sizeof *path);
    path->steps = arena_take(a, (strlen(text) + 1) * sizeof *path->steps);
    *at = 0;
    if (*p++ != '$')
        return NULL;
    while (*p) {
        struct step *step = &path->steps[path->count++];
        *at = (size_t)(p - text);
        bool is_ok = (*p == '.' && read_name(&p, step, a)) || (*p == '[' && read_index(&p, step));
        if (!is_ok)
            return NULL;
        path->is_list |= !step->name.ptr && step->index == EVERY;
    }
    return path;
}

static bool is_name(weir_str key, weir_str name, struct arena *a)
{
    weir_str text = json_unquote((weir_str){key.ptr - 1, key.len + 2}, a);
    return text.len == name.len && memcmp(text.ptr, name.ptr, name.len) == 0;
}

static weir_str take_step(weir_str value, const struct step *step, struct arena *a)
{
    weir_str found = {NULL, 0};
    size_t index = 0;
    bool is_name_step = step->name.ptr != NULL;
    if (json_kind(value) != (is_name_step ? WEIR_JSON_OBJECT : WEIR_JSON_ARRAY))
        return found;
    for (weir_json_each each = {0}; json_next(value, &each); index++)
        if (is_name_step ? is_name(each.key, step->name, a) : index == step->index)
            found = each.value;
    return found;
}

/* The values that the steps lead to, with commas. */
static void add_values(weir_str value, const struct step *steps, size_t count, struct buf *out,
                       struct arena *a)
{
    size_t i = 0;
    while (i < count && value.ptr && (steps[i].name.ptr || steps[i].index != EVERY))
        value = take_step(value, &steps[i++], a);
    if (!value.ptr)
        return;
    if (i == count) {
        if (out->ptr[out->len - 1] != '[')
            buf_add_char(out, ',');
        buf_add_str(out, value);
        return;
    }
    if (json_kind(value) != WEIR_JSON_ARRAY)
        return;
    for (weir_json_each each = {0}; json_next(value, &each);)
        add_values(each.value, steps + i + 1, count - i - 1, out, a);
}

/* What a path leads to, as JSON; ptr NULL: nothing. `scratch` and the arena hold it. */
static weir_str resolve(const struct shape *s, const struct path *path, const weir_event *ev,
                        struct buf *scratch, struct arena *a)
{
    scratch->len = 0;
    if (!path->count) {
        match_envelope(&s->env, ev, scratch);
        return buf_str(scratch);
    }
    weir_str value = {NULL, 0};
    for (int i = 0; i < ENVELOPE_MEMBERS && path->steps[0].name.ptr; i++)
        if (weir_same(path->steps[0].name, envelope_names[i]) &&
            envelope_has(ev, (enum envelope_member)i)) {
            envelope_write(&s->env, ev, (enum envelope_member)i, scratch);
            value = buf_str(scratch);
        }
    if (path->is_list && value.ptr) {
        struct buf list = {0};
        buf_add_char(&list, '[');
        add_values(value, path->steps + 1, path->count - 1, &list, a);
        buf_add_char(&list, ']');
        value = (weir_str){arena_copy(a, list.ptr, list.len), list.len};
        buf_fini(&list);
        return value;
    }
    for (size_t i = 1; i < path->count && value.ptr; i++)
        value = take_step(value, &path->steps[i], a);
    return value;
}

/* ---- compiling ----------------------------------------------------------------------------------- */

static size_t placeholder_length(const char *text) /* of "<name>", or 0 */
{
    size_t n = 1;
    while (isalnum((unsigned char)text[n]) || (text[n] && strchr("_-.", text[n])))
        n++;
    return n > 1 && text[n] == '>' ? n + 1 : 0;
}

static bool find_placeholder(weir_str name, const weir_pairs *paths, struct piece *piece,
                             struct arena *a)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (weir_same(name, known[i].name)) {
            piece->kind = known[i].kind;
            return true;
        }
    for (size_t i = 0; paths && i < paths->count; i++) {
        weir_str key = paths->items[i].key;
        if (key.len != name.len || memcmp(key.ptr, name.ptr, name.len) != 0)
            continue;
        piece->kind = PIECE_PATH;
        size_t at;
        piece->path =
            parse_path(arena_copy(a, paths->items[i].value.ptr, paths->items[i].value.len), a, &at);
        return piece->path != NULL;
    }
    return false;
}

static void add_text(struct shape *s, const char *from, const char *to)
{
    if (to > from)
        MEM_PUSH(s->pieces, s->count, s->cap) =
            (struct piece){.kind = PIECE_TEXT, .text = {from, (size_t)(to - from)}};
}

static bool compile_template(struct shape *s, const weir_pairs *paths, const char *text,
                             struct error *e, size_t *at)
{
    const char *from = text, *p = text;
    bool is_quoted = false;
    while (*p) {
        size_t n = *p == '<' ? placeholder_length(p) : 0;
        if (!n) {
            is_quoted ^= *p == '"';
            p += *p == '\\' && is_quoted && p[1] ? 2 : 1;
            continue;
        }
        struct piece piece = {.is_quoted = is_quoted};
        weir_str name = {p + 1, n - 2};
        if (!find_placeholder(name, paths, &piece, &s->arena)) {
            *at = (size_t)(p - text);
            (void)error_set(e, EXIT_CONFIG, "InputTemplate contains invalid placeholder %.*s",
                            (int)(name.len < 200 ? name.len : 200), name.ptr);
            return false;
        }
        add_text(s, from, p);
        MEM_PUSH(s->pieces, s->count, s->cap) = piece;
        from = p += n;
    }
    add_text(s, from, p);
    return true;
}

static bool lines_are_json(weir_str text)
{
    for (const char *p = text.ptr, *end = p + text.len; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        weir_str line = json_trim((weir_str){p, (size_t)((newline ? newline : end) - p)});
        if (line.len && json_check(line, NULL, NULL) != WEIR_OK)
            return false;
        p = newline ? newline + 1 : end;
    }
    return true;
}

/* With every placeholder in it blanked out the template has to be one JSON text, or one on each line. A
 * placeholder is as long as its blanks, so that the place of an error is that in the template. */
static bool check_template(const char *template, const struct shape *s, struct error *e, size_t *at)
{
    const char *why = "it is empty", *from = template;
    struct buf all = {0};
    for (size_t i = 0; i <= s->count; i++) {
        const struct piece *p = i < s->count ? &s->pieces[i] : NULL;
        if (p && p->kind == PIECE_TEXT) {
            buf_add_str(&all, p->text);
            from += p->text.len;
            continue;
        }
        size_t n = p ? placeholder_length(from) : 0;
        for (size_t k = 0; k < n; k++)
            buf_add_text(&all, p->is_quoted ? "x" : k ? " " : "0");
        from += n;
    }
    weir_str text = json_trim(buf_str(&all));
    bool is_ok =
        text.len && (json_check(buf_str(&all), at, &why) == WEIR_OK || lines_are_json(text));
    if (!is_ok)
        (void)error_set(e, EXIT_CONFIG,
                        "InputTemplate is neither a JSON object nor strings in quotes: %s", why);
    buf_fini(&all);
    return is_ok;
}

static bool check_paths(struct shape *s, const weir_pairs *paths, struct error *e)
{
    if (paths->count > PATHS_MAX) {
        (void)error_set(e, EXIT_CONFIG, "InputPathsMap has %zu paths, at most %d are allowed",
                        paths->count, PATHS_MAX);
        return false;
    }
    for (size_t i = 0; i < paths->count; i++) {
        weir_str key = paths->items[i].key, value = paths->items[i].value;
        size_t at;
        if (key.len >= 4 && strncasecmp(key.ptr, "aws.", 4) == 0) {
            (void)error_set(e, EXIT_CONFIG,
                            "InputPathsMap keys cannot start with \"AWS.\": take another name "
                            "than %.*s",
                            (int)(key.len < 100 ? key.len : 100), key.ptr);
            return false;
        }
        if (parse_path(arena_copy(&s->arena, value.ptr, value.len), &s->arena, &at))
            continue;
        (void)error_set(e, EXIT_CONFIG,
                        "InputPathsMap path %.*s of %.*s is not a path like $.a.b[0]",
                        (int)(value.len < 200 ? value.len : 200), value.ptr,
                        (int)(key.len < 100 ? key.len : 100), key.ptr);
        return false;
    }
    return true;
}

static bool compile_path(struct shape *s, const char *text, struct error *e, size_t *at)
{
    const struct path *path = parse_path(text, &s->arena, at);
    MEM_PUSH(s->pieces, s->count, s->cap) = (struct piece){.kind = PIECE_PATH, .path = path};
    if (!path)
        (void)error_set(e, EXIT_CONFIG, "InputPath %.200s is not a path like $.a.b[0]", text);
    return path != NULL;
}

static bool compile_transformer(struct shape *s, const weir_pairs *paths, const char *text,
                                struct error *e, struct shape_fault *fault)
{
    fault->which = SHAPE_PATHS;
    if (paths && paths->count && !check_paths(s, paths, e))
        return false;
    fault->which = SHAPE_TEMPLATE;
    if (strlen(text) > TEMPLATE_MAX) {
        (void)error_set(e, EXIT_CONFIG, "InputTemplate has %zu characters, at most %d are allowed",
                        strlen(text), TEMPLATE_MAX);
        return false;
    }
    text = arena_text(&s->arena, text);
    return compile_template(s, paths, text, e, &fault->at) &&
           check_template(text, s, e, &fault->at);
}

static struct shape *make(const struct match_env *env)
{
    struct shape *s = MEM_NEW(struct shape);
    arena_init(&s->arena);
    s->env.account = arena_text(&s->arena, env && env->account ? env->account : "000000000000");
    s->env.region = arena_text(&s->arena, env && env->region ? env->region : "us-east-1");
    return s;
}

struct shape *shape_new(const struct match_env *env, const char *path, const weir_pairs *paths,
                        const char *text, struct error *e, struct shape_fault *fault)
{
    struct shape *s = make(env);
    struct shape_fault found = {SHAPE_PATH, 0};
    bool has_paths = paths && paths->count, is_ok = false;
    s->is_template = text != NULL;
    if (path && (text || has_paths)) {
        (void)error_set(e, EXIT_CONFIG, "only one of InputPath and InputTransformer can be given");
    } else if (has_paths && !text) {
        found.which = SHAPE_PATHS;
        (void)error_set(e, EXIT_CONFIG, "InputPathsMap needs an InputTemplate");
    } else if (text) {
        is_ok = compile_transformer(s, paths, text, e, &found);
    } else {
        is_ok = compile_path(s, path ? path : "$", e, &found.at);
    }
    if (is_ok)
        return s;
    if (fault)
        *fault = found;
    shape_free(s);
    return NULL;
}

struct shape *shape_constant(weir_str json, struct error *e)
{
    struct shape *s = make(NULL);
    weir_str text = json_trim(json);
    size_t at = 0;
    const char *why = "it is empty";
    if (text.len && json_kind(text) == WEIR_JSON_TEXT)
        text = json_unquote(text, &s->arena);
    if (json_check(text, &at, &why) != WEIR_OK) {
        (void)error_set(e, EXIT_CONFIG,
                        "Input is not valid JSON text: %s; a text is written with its quotes, as "
                        "'\"done\"'",
                        why);
        shape_free(s);
        return NULL;
    }
    text.ptr = arena_copy(&s->arena, text.ptr, text.len);
    add_text(s, text.ptr, text.ptr + text.len);
    return s;
}

void shape_free(struct shape *s)
{
    if (!s)
        return;
    mem_free(s->pieces);
    arena_fini(&s->arena);
    mem_free(s);
}

/* ---- applying ------------------------------------------------------------------------------------- */

/* Inside quotes: without any quotes, and of a composed value without blanks, as EventBridge does. */
static void write_bare(struct buf *out, weir_str value)
{
    bool is_text = false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '"') {
            is_text = !is_text;
            continue;
        }
        if (!is_text && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
            continue;
        buf_add_char(out, c);
        if (c == '\\' && i + 1 < value.len)
            buf_add_char(out, value.ptr[++i]);
    }
}

static const char *last_part(const char *rule)
{
    const char *slash = strrchr(rule, '/');
    return slash ? slash + 1 : rule;
}

static void write_event(const struct shape *s, const weir_event *ev, struct buf *out)
{
    for (int i = 0; i < ENVELOPE_DETAIL; i++) {
        const char *name = i == ENVELOPE_DETAIL_TYPE ? "detailType" : envelope_names[i];
        if (!envelope_has(ev, (enum envelope_member)i))
            continue;
        buf_print(out, "%c\"%s\":", i ? ',' : '{', name);
        envelope_write(&s->env, ev, (enum envelope_member)i, out);
    }
    buf_add_char(out, '}');
}

/* The value of a placeholder that EventBridge defines, as JSON. */
static void write_known(const struct shape *s, const struct piece *p, const weir_event *ev,
                        const char *rule, int64_t now_ns, struct buf *out)
{
    char time[CLOCK_TEXT_BYTES];
    out->len = 0;
    if (p->kind == PIECE_EVENT_JSON) {
        match_envelope(&s->env, ev, out);
    } else if (p->kind == PIECE_EVENT) {
        write_event(s, ev, out);
    } else if (p->kind == PIECE_INGESTION_TIME) {
        (void)clock_format(now_ns, 0, time);
        json_quote(out, weir_text(time));
    } else if (p->kind == PIECE_RULE_NAME) {
        json_quote(out, weir_text(last_part(rule)));
    } else if (strncmp(rule, "arn:", 4) == 0) {
        json_quote(out, weir_text(rule));
    } else {
        buf_print(out, "\"arn:aws:events:%s:%s:rule/", s->env.region, s->env.account);
        size_t at = out->len;
        json_quote(out, weir_text(rule));
        memmove(out->ptr + at, out->ptr + at + 1, --out->len - at);
    }
}

void shape_apply(const struct shape *s, const weir_event *ev, const char *rule, int64_t now_ns,
                 struct buf *out)
{
    struct buf scratch = {0};
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < s->count; i++) {
        const struct piece *p = &s->pieces[i];
        if (p->kind == PIECE_TEXT) {
            buf_add_str(out, p->text);
            continue;
        }
        weir_str value;
        if (p->kind == PIECE_PATH) {
            value = resolve(s, p->path, ev, &scratch, &arena);
        } else {
            write_known(s, p, ev, rule ? rule : "", now_ns, &scratch);
            value = buf_str(&scratch);
        }
        if (p->is_quoted)
            write_bare(out, value);
        else if (value.ptr)
            buf_add_str(out, value);
        else
            buf_add_text(out, s->is_template ? "\"\"" : "null");
    }
    arena_fini(&arena);
    buf_fini(&scratch);
}
