/* match/shape.c: input paths and input templates, compiled to pieces. */
#include "match/shape.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "match/envelope.h"
#include "json/json.h"

enum { PATHS_MAX = 100 };

struct step {      /* .name or [index] */
    weir_str name; /* ptr NULL: an element */
    size_t index;
};

struct path {
    struct step *steps;
    size_t count;
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

static struct path *parse_path(const char *text, struct arena *a)
{
    struct path *path = arena_take(a, sizeof *path);
    path->steps = arena_take(a, (strlen(text) + 1) * sizeof *path->steps);
    if (*text++ != '$')
        return NULL;
    while (*text) {
        struct step *step = &path->steps[path->count++];
        bool is_ok = (*text == '.' && read_name(&text, step, a)) ||
                     (*text == '[' && read_index(&text, step));
        if (!is_ok)
            return NULL;
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
        if (weir_same(path->steps[0].name, envelope_names[i])) {
            envelope_write(&s->env, ev, (enum envelope_member)i, scratch);
            value = buf_str(scratch);
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
        piece->path =
            parse_path(arena_copy(a, paths->items[i].value.ptr, paths->items[i].value.len), a);
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
                             struct error *e)
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

/* With every placeholder empty the template has to be one JSON text, or one on each line. */
static bool check_template(const struct shape *s, struct error *e)
{
    struct buf all = {0};
    const char *why = "it is empty";
    size_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct piece *p = &s->pieces[i];
        if (p->kind == PIECE_TEXT)
            buf_add_str(&all, p->text);
        else if (!p->is_quoted)
            buf_add_text(&all, "\"\"");
    }
    weir_str text = json_trim(buf_str(&all));
    bool is_ok =
        text.len && (json_check(buf_str(&all), &at, &why) == WEIR_OK || lines_are_json(text));
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
        if (parse_path(arena_copy(&s->arena, value.ptr, value.len), &s->arena))
            continue;
        (void)error_set(e, EXIT_CONFIG,
                        "InputPathsMap path %.*s of %.*s is not a path like $.a.b[0]",
                        (int)(value.len < 200 ? value.len : 200), value.ptr,
                        (int)(key.len < 100 ? key.len : 100), key.ptr);
        return false;
    }
    return true;
}

static bool compile_path(struct shape *s, const char *text, struct error *e)
{
    const struct path *path = parse_path(text, &s->arena);
    MEM_PUSH(s->pieces, s->count, s->cap) = (struct piece){.kind = PIECE_PATH, .path = path};
    if (!path)
        (void)error_set(e, EXIT_CONFIG, "InputPath %.200s is not a path like $.a.b[0]", text);
    return path != NULL;
}

struct shape *shape_new(const struct match_env *env, const char *path, const weir_pairs *paths,
                        const char *text, struct error *e, int *which)
{
    struct shape *s = MEM_NEW(struct shape);
    arena_init(&s->arena);
    s->env.account = arena_text(&s->arena, env && env->account ? env->account : "000000000000");
    s->env.region = arena_text(&s->arena, env && env->region ? env->region : "us-east-1");
    s->is_template = text != NULL;
    bool has_paths = paths && paths->count;
    bool is_ok = true;
    int culprit = 0;
    if (path && (text || has_paths)) {
        (void)error_set(e, EXIT_CONFIG, "only one of InputPath and InputTransformer can be given");
        is_ok = false;
    } else if (has_paths && !text) {
        culprit = 1, is_ok = false;
        (void)error_set(e, EXIT_CONFIG, "InputPathsMap needs an InputTemplate");
    } else if (text) {
        culprit = 1, is_ok = !has_paths || check_paths(s, paths, e);
        culprit += is_ok;
        is_ok = is_ok && compile_template(s, paths, arena_text(&s->arena, text), e) &&
                check_template(s, e);
    } else {
        is_ok = compile_path(s, path ? path : "$", e);
    }
    if (is_ok)
        return s;
    if (which)
        *which = culprit;
    shape_free(s);
    return NULL;
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
