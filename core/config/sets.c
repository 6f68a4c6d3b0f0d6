/* config/sets.c: --set a.b.c=value: a scalar put into the tree, with a place of its own. */
#include <string.h>

#include "base/text.h"
#include "config/document.h"

struct set {
    struct document *d;
    const char *text; /* all of it */
    uint32_t file;
    size_t at; /* byte that is read next */
};

static struct node *set_node(const struct set *s, size_t at, const char *text)
{
    struct node *n = node_scalar(s->d, text, NULL);
    n->file = s->file;
    n->line = 1;
    n->column = 1;
    for (size_t i = 0; i < at; i++)
        n->column += ((unsigned char)s->text[i] & 0xC0) != 0x80;
    return n;
}

/* The next name of the path, plain or in quotes; NULL after an error. */
static struct node *next_name(struct set *s)
{
    size_t from = s->at;
    struct buf b = {0};
    bool is_quoted = s->text[from] == '"', is_open = is_quoted;
    for (s->at += is_quoted; s->text[s->at]; s->at++) {
        char c = s->text[s->at];
        if (is_quoted ? c == '"' : c == '.' || c == '=')
            break;
        if (is_quoted && c == '\\' && s->text[s->at + 1])
            c = s->text[++s->at];
        buf_add_char(&b, c);
    }
    if (is_quoted && s->text[s->at] == '"')
        is_open = false, s->at++;
    struct node *name = set_node(s, from, buf_text(&b));
    bool is_end = s->text[s->at] == '.' || s->text[s->at] == '=';
    if (!is_open && is_end && (b.len || is_quoted)) {
        buf_fini(&b);
        return name;
    }
    buf_fini(&b);
    diag_add(s->d, DIAG_ERROR, name, "write path=value, as in sources.api.listen=127.0.0.1:3000",
             is_open ? "a quote that is not closed" : "a path and = are due");
    return NULL;
}

static size_t find(const struct node *map, const char *key)
{
    size_t i = 0;
    while (i < map->count && strcmp(map->keys[i]->text, key) != 0)
        i++;
    return i;
}

/* The child map of this name, a copy of its own, because an alias may share the old one. */
static struct node *own_child(struct set *s, struct node *map, struct node *key)
{
    size_t i = find(map, key->text);
    struct node *child = node_new(s->d, NODE_MAP);
    child->file = s->file, child->line = 1, child->column = key->column;
    if (i == map->count) {
        node_set(s->d, map, key, child);
        return child;
    }
    struct node *old = map->items[i];
    if (old->kind != NODE_MAP && old->kind != NODE_NULL) {
        diag_add(s->d, DIAG_ERROR, key, NULL, "%s is not a map but %s", node_path(s->d, old),
                 node_kind_name(old));
        return NULL;
    }
    for (size_t k = 0; k < old->count; k++) {
        node_set(s->d, child, old->keys[k], old->items[k]);
        if (old->items[k]->parent == old)
            old->items[k]->parent = child;
    }
    child->file = old->file, child->line = old->line, child->column = old->column;
    child->parent = map, child->key = map->keys[i];
    map->items[i] = child;
    return child;
}

static void put(struct set *s, struct node *map, struct node *key)
{
    struct node *value = set_node(s, s->at, s->text + s->at);
    interpolate_node(s->d, value);
    size_t i = find(map, key->text);
    if (i == map->count) {
        node_set(s->d, map, key, value);
        return;
    }
    if (map->items[i]->kind == NODE_MAP) {
        diag_add(s->d, DIAG_ERROR, key, "name one of its keys",
                 "%s is a map, a value would replace all of it", node_path(s->d, map->items[i]));
        return;
    }
    value->parent = map, value->key = key;
    map->items[i] = value;
    map->keys[i] = key;
}

static void apply(struct set *s)
{
    struct node *map = s->d->root;
    if (map->kind != NODE_MAP)
        return;
    for (;;) {
        struct node *key = next_name(s);
        if (!key)
            return;
        bool is_last = s->text[s->at++] == '=';
        if (is_last) {
            put(s, map, key);
            return;
        }
        map = own_child(s, map, key);
        if (!map)
            return;
    }
}

void sets_apply(struct document *d, const char *const *sets)
{
    for (; *sets; sets++) {
        struct set s = {.d = d, .text = arena_text(&d->arena, *sets)};
        const char *name = arena_format(&d->arena, "--set %s", *sets);
        s.file = document_add_file(d, name, weir_text(s.text));
        if (text_is_utf8(weir_text(s.text)))
            apply(&s);
        else
            diag_add(d, DIAG_ERROR, NULL, NULL, "a --set that is not UTF-8");
    }
}
