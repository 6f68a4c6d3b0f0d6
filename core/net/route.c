/* net/route.c: a table of routes, the most specific one first. */
#include "net/route.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum segment_kind { SEGMENT_TEXT, SEGMENT_PARAM, SEGMENT_REST };

struct segment {
    enum segment_kind kind;
    weir_str text; /* or the parameter's name */
};

struct route {
    char *pattern; /* all texts point into it */
    weir_str method;
    struct segment *segments;
    size_t count, cap;
    void *arg;
};

/* ---- patterns ---- */

static int refuse(struct error *e, const char *pattern, const char *why)
{
    return error_set(e, EXIT_CONFIG, "route \"%s\": %s, as in \"POST /users/{id}\"", pattern, why);
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static bool is_name(weir_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i], lower = (char)(c | 32);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return s.len > 0;
}

/* NULL, or what is wrong with it. */
static const char *read_segment(weir_str text, bool is_last, struct segment *s)
{
    *s = (struct segment){SEGMENT_TEXT, text};
    if (text.len && text.ptr[0] == '{' && text.ptr[text.len - 1] == '}') {
        s->kind = SEGMENT_PARAM;
        s->text = (weir_str){text.ptr + 1, text.len - 2};
        if (s->text.len > 3 && memcmp(s->text.ptr + s->text.len - 3, "...", 3) == 0) {
            s->kind = SEGMENT_REST;
            s->text.len -= 3;
        }
        if (s->kind == SEGMENT_REST && !is_last)
            return "only the last part may take the rest";
        return is_name(s->text) ? NULL : "a parameter is a name of letters and digits in braces";
    }
    for (size_t i = 0; i < text.len; i++)
        if (is_one_of(text.ptr[i], "{}?#% "))
            return "a part is either text or one parameter";
    return NULL;
}

static const char *read_path(struct route *r, const char *path)
{
    size_t params = 0;
    if (*path != '/')
        return "it needs a method, a space and a path";
    while (*path == '/') {
        size_t n = strcspn(++path, "/");
        struct segment s;
        const char *why = read_segment((weir_str){path, n}, path[n] == 0, &s);
        if (why)
            return why;
        params += s.kind != SEGMENT_TEXT;
        MEM_PUSH(r->segments, r->count, r->cap) = s;
        path += n;
    }
    return params > ROUTE_PARAMS_MAX ? "it has more than 16 parameters" : NULL;
}

/* Below 0: a comes first. Text before parameters before the rest, from the left; then by text, so that
 * equal ones meet; a method before any method. */
static int compare(const struct route *a, const struct route *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        const struct segment *x = &a->segments[i], *y = &b->segments[i];
        if (x->kind != y->kind)
            return (int)x->kind - (int)y->kind;
        if (x->kind != SEGMENT_TEXT)
            continue;
        size_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
        int order = n ? memcmp(x->text.ptr, y->text.ptr, n) : 0;
        if (order || x->text.len != y->text.len)
            return order ? order : (x->text.len < y->text.len ? -1 : 1);
    }
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    bool any_a = weir_same(a->method, "*"), any_b = weir_same(b->method, "*");
    return any_a - any_b;
}

static void free_route(struct route *r)
{
    mem_free(r->pattern);
    mem_free(r->segments);
}

int routes_add(struct routes *r, const char *pattern, void *arg, struct error *e)
{
    const char *space = strchr(pattern, ' '), *why = "it needs a method, a space and a path";
    struct route new = {.pattern = mem_text(pattern), .arg = arg};
    size_t at = 0;
    if (space && space > pattern && space - pattern <= 32) {
        new.method = (weir_str){new.pattern, (size_t)(space - pattern)};
        why = read_path(&new, new.pattern + new.method.len + 1);
    }
    for (size_t i = 0; i < new.method.len && !why; i++)
        if (is_one_of(pattern[i], "/{}?,"))
            why = "it needs a method, a space and a path";
    if (why) {
        free_route(&new);
        return refuse(e, pattern, why);
    }
    for (; at < r->count && compare(&r->items[at], &new) <= 0; at++) {
        struct route *old = &r->items[at];
        if (compare(old, &new) == 0 && text_same(old->method, new.method)) {
            free_route(&new);
            return error_set(e, EXIT_CONFIG, "route \"%s\": \"%s\" takes the same; remove one",
                             pattern, old->pattern);
        }
    }
    (void)MEM_PUSH(r->items, r->count, r->cap);
    memmove(&r->items[at + 1], &r->items[at], (r->count - 1 - at) * sizeof *r->items);
    r->items[at] = new;
    return 0;
}

void routes_fini(struct routes *r)
{
    for (size_t i = 0; i < r->count; i++)
        free_route(&r->items[i]);
    mem_free(r->items);
    *r = (struct routes){0};
}

/* ---- matching ---- */

static char hex(char c)
{
    return (char)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
}

/* Escapes were checked by the parser. */
static weir_str decode(weir_str s, char **scratch)
{
    if (!s.len || !memchr(s.ptr, '%', s.len))
        return s;
    char *to = *scratch;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%' && s.len - i > 2) {
            c = (char)(hex(s.ptr[i + 1]) << 4 | hex(s.ptr[i + 2]));
            i += 2;
        }
        *to++ = c;
    }
    s = (weir_str){*scratch, (size_t)(to - *scratch)};
    *scratch = to;
    return s;
}

static bool match_path(const struct route *r, weir_str path, char *scratch, struct route_match *m)
{
    const char *at = path.ptr, *end = path.ptr + path.len;
    m->param_count = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct segment *s = &r->segments[i];
        if (at == end || *at != '/')
            return false;
        at++;
        const char *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
        const char *stop = slash && s->kind != SEGMENT_REST ? slash : end;
        weir_str part = {at, (size_t)(stop - at)};
        char *before = scratch;
        part = decode(part, &scratch);
        if (s->kind == SEGMENT_TEXT) {
            if (!text_same(part, s->text))
                return false;
            scratch = before;
        } else {
            if (s->kind == SEGMENT_PARAM && !part.len)
                return false;
            m->params[m->param_count++] = (weir_attr){s->text, part};
        }
        at = stop;
    }
    return at == end;
}

static void allow(struct route_match *m, weir_str method)
{
    size_t used = strlen(m->allow);
    for (const char *at = m->allow; *at;) {
        size_t n = strcspn(at, ",");
        if (text_same((weir_str){at, n}, method))
            return;
        at += n + (at[n] ? 2 : 0);
    }
    if (used + method.len + 3 < sizeof m->allow)
        (void)snprintf(m->allow + used, sizeof m->allow - used, "%s%.*s", used ? ", " : "",
                       (int)method.len, method.ptr);
}

static void allow_route(struct route_match *m, const struct route *r)
{
    static const char *const any[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    if (weir_same(r->method, "*")) {
        for (size_t i = 0; i < sizeof any / sizeof *any; i++)
            allow(m, weir_text(any[i]));
        return;
    }
    allow(m, r->method);
    if (weir_same(r->method, "GET"))
        allow(m, weir_text("HEAD"));
}

void routes_find(const struct routes *r, const char *method, weir_str path, char *scratch,
                 struct route_match *m)
{
    bool is_head = strcmp(method, "HEAD") == 0, is_star = weir_same(path, "*");
    m->arg = NULL;
    m->allow[0] = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct route *route = &r->items[i];
        if (!is_star && !match_path(route, path, scratch, m))
            continue;
        if (!is_star && (weir_same(route->method, method) || weir_same(route->method, "*") ||
                         (is_head && weir_same(route->method, "GET")))) {
            m->arg = route->arg;
            m->status = 0;
            return;
        }
        allow_route(m, route);
    }
    m->param_count = 0;
    m->status = 404;
    if (!m->allow[0])
        return;
    allow(m, weir_text("OPTIONS"));
    m->status = strcmp(method, "OPTIONS") == 0 ? 204 : 405;
}
