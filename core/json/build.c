/* json/build.c: walks a schema, resolves its references and refuses those that go round. */
#include "json/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "json/same.h"

enum { NODES_MAX = 20000, DEPTH_MAX = 200 };

void *build_take(struct builder *b, size_t n)
{
    return arena_take(&b->schema->arena, n);
}

char *build_text(struct builder *b, const char *fmt, ...)
{
    va_list args;
    char text[600];
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return arena_text(&b->schema->arena, text);
}

static void put_key(struct buf *out, weir_str key)
{
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] == '~' || key.ptr[i] == '/')
            buf_add_text(out, key.ptr[i] == '~' ? "~0" : "~1");
        else
            buf_add_char(out, key.ptr[i]);
    }
}

static void put_place(struct buf *out, const struct place *place)
{
    if (!place)
        return;
    put_place(out, place->up);
    buf_add_char(out, '/');
    if (place->key.ptr)
        put_key(out, place->key);
    else
        buf_add_u64(out, place->index);
}

const char *build_where(struct builder *b)
{
    struct buf text = {0};
    put_place(&text, b->place);
    const char *where = arena_text(&b->schema->arena, buf_text(&text));
    buf_fini(&text);
    return where;
}

int build_fail(struct builder *b, const char *fmt, ...)
{
    struct buf text = {0};
    va_list args;
    buf_add_text(&text, "at ");
    if (b->referrer)
        buf_print(&text, "%s%s", b->referrer, b->place ? " -> " : "");
    put_place(&text, b->place);
    if (!b->place && !b->referrer)
        buf_add_text(&text, "the top");
    buf_add_text(&text, ": ");
    va_start(args, fmt);
    buf_vprint(&text, fmt, args);
    va_end(args);
    (void)error_set(b->error, EXIT_CONFIG, "%s", buf_text(&text));
    buf_fini(&text);
    return -1;
}

/* ---- nodes ------------------------------------------------------------------------------------ */

static struct node *known_node(const struct schema *s, const char *at)
{
    for (size_t i = s->node_count; i-- > 0;)
        if (s->nodes[i]->at == at)
            return s->nodes[i];
    return NULL;
}

static int fill_node(struct builder *b, struct node *n, weir_str value)
{
    int kind = json_kind(value);
    if (kind == WEIR_JSON_BOOL) {
        n->deny = value.ptr[0] == 'f' ? "is not allowed" : NULL;
        return 0;
    }
    if (kind != WEIR_JSON_OBJECT)
        return build_fail(b, "a schema must be an object, true or false");
    const struct place *up = b->place;
    for (weir_json_each each = {0}; json_next(value, &each);) {
        weir_str name = json_unquote(each.key, &b->schema->arena);
        struct place place = {up, name, 0};
        b->place = &place;
        if (keyword_apply(b, n, name, each.value) != 0)
            return -1;
    }
    b->place = up;
    keyword_finish(b, n);
    return 0;
}

struct node *build_node(struct builder *b, weir_str value)
{
    struct schema *s = b->schema;
    value = json_trim(value);
    struct node *n = known_node(s, value.ptr);
    if (n)
        return n;
    if (s->node_count == NODES_MAX || b->depth == DEPTH_MAX) {
        (void)build_fail(b, "the schema is too large: %d schemas in it, %d within each other",
                         NODES_MAX, DEPTH_MAX);
        return NULL;
    }
    n = build_take(b, sizeof *n);
    n->at = value.ptr;
    MEM_PUSH(s->nodes, s->node_count, s->node_cap) = n;
    b->depth++;
    int result = fill_node(b, n, value);
    b->depth--;
    return result == 0 ? n : NULL;
}

struct node *build_member(struct builder *b, weir_json_each *each, size_t index)
{
    struct place place = {b->place, each->key, index};
    if (each->key.ptr)
        place.key = json_unquote(each->key, &b->schema->arena);
    b->place = &place;
    struct node *n = build_node(b, each->value);
    b->place = place.up;
    return n;
}

/* ---- references ------------------------------------------------------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "%25" and, in a token of a pointer, "~1" decoded. */
static weir_str decode(struct builder *b, weir_str s, bool is_token)
{
    char *out = build_take(b, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!is_token && c == '%' && i + 2 < s.len && hex(s.ptr[i + 1]) >= 0 &&
            hex(s.ptr[i + 2]) >= 0) {
            c = (char)(hex(s.ptr[i + 1]) * 16 + hex(s.ptr[i + 2]));
            i += 2;
        } else if (is_token && c == '~' && i + 1 < s.len) {
            c = '~';
            if (s.ptr[++i] == '1')
                c = '/';
        }
        out[n++] = c;
    }
    return (weir_str){out, n};
}

static weir_str step(weir_str value, weir_str token)
{
    weir_json_each each = {0};
    uint64_t index = 0;
    int kind = json_kind(value);
    bool is_index = text_to_u64(token, &index);
    while (json_next(value, &each)) {
        if (kind == WEIR_JSON_OBJECT ? json_same_text(each.key, token) : is_index && index-- == 0)
            return each.value;
    }
    return (weir_str){NULL, 0};
}

/* The schema at a JSON pointer, also where no keyword leads to it. */
static struct node *node_at(struct builder *b, weir_str pointer)
{
    weir_str value = json_trim(b->text), rest = pointer;
    while (value.ptr && rest.len) {
        const char *slash = memchr(rest.ptr + 1, '/', rest.len - 1);
        size_t n = slash ? (size_t)(slash - rest.ptr) : rest.len;
        value = step(value, decode(b, (weir_str){rest.ptr + 1, n - 1}, true));
        rest = (weir_str){rest.ptr + n, rest.len - n};
    }
    if (!value.ptr) {
        (void)build_fail(b, "there is nothing at #%.*s in this schema", (int)pointer.len,
                         pointer.ptr);
        return NULL;
    }
    return build_node(b, value);
}

static struct node *anchored(struct builder *b, weir_str name)
{
    for (size_t i = 0; i < b->anchor_count; i++)
        if (text_same(b->anchors[i].name, name))
            return b->anchors[i].node;
    (void)build_fail(b, "there is no \"$anchor\": \"%.*s\" in this schema", (int)name.len,
                     name.ptr);
    return NULL;
}

static struct node *resolve(struct builder *b, weir_str target)
{
    weir_str local = target;
    if (b->id.len && local.len >= b->id.len && memcmp(local.ptr, b->id.ptr, b->id.len) == 0)
        local = (weir_str){local.ptr + b->id.len, local.len - b->id.len};
    if (local.len && local.ptr[0] != '#') {
        (void)
            build_fail(b,
                       "only references within the schema are followed: \"#/...\" or \"#anchor\", "
                       "not \"%.*s\"",
                       (int)target.len, target.ptr);
        return NULL;
    }
    if (local.len)
        local = decode(b, (weir_str){local.ptr + 1, local.len - 1}, false);
    return local.len && local.ptr[0] != '/' ? anchored(b, local) : node_at(b, local);
}

/* Building a target can add references. */
static int resolve_all(struct builder *b)
{
    for (size_t i = 0; i < b->reference_count; i++) {
        struct reference r = b->references[i];
        b->referrer = r.where;
        r.from->ref = resolve(b, r.target);
        b->referrer = NULL;
        if (!r.from->ref)
            return -1;
    }
    return 0;
}

/* ---- circles ---------------------------------------------------------------------------------- */

enum { NEW, ON_THE_WAY, DONE };

static bool is_circle(struct node *n);

static bool any_circle(const struct nodes *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (is_circle(list->items[i]))
            return true;
    return false;
}

/* Is the node reached again without going into a member or element? */
static bool is_circle(struct node *n)
{
    if (!n || n->visit == DONE)
        return false;
    if (n->visit == ON_THE_WAY)
        return true;
    n->visit = ON_THE_WAY;
    bool found = is_circle(n->ref) || is_circle(n->not_) || is_circle(n->if_) ||
                 is_circle(n->then_) || is_circle(n->else_) || any_circle(&n->all_of) ||
                 any_circle(&n->any_of) || any_circle(&n->one_of);
    for (size_t i = 0; n->object && !found && i < n->object->dependency_count; i++)
        found = is_circle(n->object->dependencies[i].node);
    n->visit = DONE;
    return found;
}

static int refuse_circles(struct builder *b)
{
    for (size_t i = 0; i < b->schema->node_count; i++)
        if (is_circle(b->schema->nodes[i]))
            return build_fail(b, "a \"$ref\" leads back to itself without going into a member");
    return 0;
}

static int refuse_text(weir_str text, size_t at, const char *why, struct error *e)
{
    unsigned line = 1, column = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        column = text.ptr[i] == '\n' ? 1 : column + 1;
        line += text.ptr[i] == '\n';
    }
    return error_set(e, EXIT_CONFIG, "line %u, column %u: not JSON: %s", line, column, why);
}

int build_schema(struct schema *s, weir_str text, struct error *e)
{
    size_t at;
    const char *why;
    struct builder b = {.schema = s, .error = e, .text = text};
    if (json_check(text, &at, &why) != WEIR_OK)
        return refuse_text(text, at, why, e);
    s->root = build_node(&b, text);
    int result = s->root ? resolve_all(&b) : -1;
    if (result == 0)
        result = refuse_circles(&b);
    mem_free(b.anchors);
    mem_free(b.references);
    return result;
}
