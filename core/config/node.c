/* config/node.c: the nodes of the tree: making, finding and naming them. */
#include <stdio.h>
#include <string.h>

#include "config/document.h"

enum { SHOW_MAX = 60, PATH_DEPTH_MAX = DOCUMENT_DEPTH_MAX + 1 };

struct node *node_new(struct document *d, enum node_kind kind)
{
    struct node *n = arena_take(&d->arena, sizeof *n);
    n->kind = kind;
    return n;
}

struct node *node_scalar(struct document *d, const char *text, const struct node *at)
{
    struct node *n = node_new(d, NODE_SCALAR);
    n->text = arena_text(&d->arena, text);
    n->len = strlen(text);
    n->is_plain = true;
    if (at)
        n->file = at->file, n->line = at->line, n->column = at->column;
    return n;
}

/* Arrays in the arena double when a power of two is full. */
static void *grown(struct document *d, const void *items, size_t count, size_t size)
{
    if (count & (count - 1) || count == 1)
        return NULL;
    void *more = arena_take(&d->arena, (count ? 2 * count : 2) * size);
    if (count)
        memcpy(more, items, count * size);
    return more;
}

void node_set(struct document *d, struct node *map, struct node *key, struct node *value)
{
    size_t n = map->count;
    struct node **items = grown(d, map->items, n, sizeof(void *));
    map->items = items ? items : map->items;
    if (key) {
        struct node **keys = grown(d, map->keys, n, sizeof(void *));
        bool *used = grown(d, map->used, n, sizeof *used);
        map->keys = keys ? keys : map->keys;
        map->used = used ? used : map->used;
        map->keys[n] = key;
    }
    if (!value->parent)
        value->parent = map, value->key = key;
    map->items[n] = value;
    map->count++;
}

struct node *node_get(struct node *map, const char *key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++) {
        if (strcmp(map->keys[i]->text, key) != 0)
            continue;
        map->used[i] = true;
        return map->items[i];
    }
    return NULL;
}

const struct node *node_label(const struct node *n)
{
    return n && n->key ? n->key : n;
}

bool node_is_broken(const struct node *n)
{
    return n->origin && n->origin->is_broken;
}

bool node_has_broken(const struct node *n)
{
    bool is_broken = node_is_broken(n);
    for (size_t i = 0; i < n->count && !is_broken; i++)
        is_broken = node_has_broken(n->items[i]);
    return is_broken;
}

bool node_is_name(struct document *d, const struct node *n)
{
    if (node_is_broken(n))
        return false;
    if (n->is_secret)
        diag_add(d, DIAG_ERROR, n, "names are shown; take it from another variable",
                 "a secret cannot be a name");
    return !n->is_secret;
}

const char *node_kind_name(const struct node *n)
{
    static const char *const names[] = {[NODE_NULL] = "no value",
                                        [NODE_SCALAR] = "a single value",
                                        [NODE_LIST] = "a list",
                                        [NODE_MAP] = "a map"};
    return names[n->kind];
}

static void add_step(struct buf *out, const struct node *n)
{
    if (n->key) {
        bool is_quoted = strpbrk(n->key->text, ". \"[") != NULL;
        buf_print(out, is_quoted ? "%s\"%s\"" : "%s%s", out->len ? "." : "", n->key->text);
        return;
    }
    for (size_t i = 0; i < n->parent->count; i++)
        if (n->parent->items[i] == n)
            buf_print(out, "[%zu]", i);
}

const char *node_path(struct document *d, const struct node *n)
{
    const struct node *steps[PATH_DEPTH_MAX];
    size_t count = 0;
    for (; n && n->parent && count < PATH_DEPTH_MAX; n = n->parent)
        steps[count++] = n;
    struct buf b = {0};
    while (count)
        add_step(&b, steps[--count]);
    const char *path = arena_text(&d->arena, b.len ? buf_text(&b) : "the pipeline file");
    buf_fini(&b);
    return path;
}

const char *node_show(struct document *d, const struct node *n)
{
    if (n->kind != NODE_SCALAR)
        return node_kind_name(n);
    if (n->is_secret)
        return "a secret value";
    if (n->len <= SHOW_MAX)
        return arena_format(&d->arena, "\"%s\"", n->text);
    size_t cut = SHOW_MAX;
    while (cut && ((unsigned char)n->text[cut] & 0xC0) == 0x80)
        cut--;
    return arena_format(&d->arena, "\"%.*s...\"", (int)cut, n->text);
}
