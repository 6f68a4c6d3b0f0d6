/* config/options.c: a map of the pipeline file filled into a plugin's structure, by its table. */
#include <string.h>

#include "base/text.h"
#include "config/document.h"

enum { KEYS_TOLD = 12 };

static void fill_rows(struct fill *f, const weir_option *rows, struct node *map,
                      const char *const *also, void *state);

static bool is_service(const weir_option *row)
{
    return row->type == WEIR_T_SERVICE || row->type == WEIR_T_SERVICES;
}

/* ---- unknown keys ---- */

static bool is_known(const weir_option *rows, const char *const *also, const char *key)
{
    for (; rows->name; rows++)
        if (!is_service(rows) && strcmp(rows->name, key) == 0)
            return true;
    for (; also && *also; also++)
        if (strcmp(*also, key) == 0 || strcmp(*also, "*") == 0)
            return true;
    return false;
}

static size_t count_known(const weir_option *rows, const char *const *also)
{
    size_t n = 0;
    for (; rows->name; rows++)
        n += !is_service(rows);
    for (; also && *also; also++)
        n++;
    return n;
}

static const char *known_keys(struct document *d, const char *const *names, size_t count)
{
    struct buf b = {0};
    buf_add_text(&b, count ? "known here: " : "no keys are known here");
    for (size_t i = 0; i < count && i < KEYS_TOLD; i++)
        buf_print(&b, "%s%s", i ? ", " : "", names[i]);
    if (count > KEYS_TOLD)
        buf_print(&b, " and %zu more", count - KEYS_TOLD);
    const char *text = arena_text(&d->arena, buf_text(&b));
    buf_fini(&b);
    return text;
}

static void tell_unknown(struct fill *f, const weir_option *rows, const char *const *also,
                         const struct node *map, const struct node *key)
{
    size_t count = 0;
    const char **names = arena_take(&f->d->arena, (count_known(rows, also) + 1) * sizeof *names);
    for (; rows->name; rows++)
        if (!is_service(rows))
            names[count++] = rows->name;
    for (; also && *also; also++)
        names[count++] = *also;
    const char *nearest = text_nearest(key->text, names);
    const char *help = nearest ? arena_format(&f->d->arena, "did you mean \"%s\"?", nearest)
                               : known_keys(f->d, names, count);
    diag_add(f->d, DIAG_ERROR, key, help, "unknown key \"%s\" in %s", key->text,
             node_path(f->d, map));
}

static void check_keys(struct fill *f, const weir_option *rows, const char *const *also,
                       const struct node *map)
{
    for (size_t i = 0; map->kind == NODE_MAP && i < map->count; i++)
        if (!is_known(rows, also, map->keys[i]->text)) {
            tell_unknown(f, rows, also, map, map->keys[i]);
            f->d->harmless++;
        }
}

/* ---- structures ---- */

/* An empty value stands for an empty map: all its keys are commented out. */
static bool is_map(struct fill *f, const struct node *n)
{
    return n->kind == NODE_NULL || option_value_is_kind(f, n, NODE_MAP);
}

static void fill_row(struct fill *f, const weir_option *row, struct node *map, char *member);
static void fill_member(struct fill *f, const weir_option *row, struct node *n, void *member);

/* A value in place of the map: the first row's. */
static void fill_scalar(struct fill *f, const weir_option *rows, struct node *n, char *item)
{
    places_add(f->places, item + rows->offset, n);
    fill_member(f, rows, n, item + rows->offset);
    for (rows++; rows->name; rows++)
        fill_row(f, rows, n, item + rows->offset);
}

static void fill_block(struct fill *f, struct node *n, weir_block *out)
{
    bool is_short = f->row->scalar && n->kind == NODE_SCALAR;
    if (!is_short && !is_map(f, n))
        return;
    void *item = arena_take(&f->d->arena, f->row->item_size);
    out->item = item;
    places_add(f->places, item, n);
    if (is_short)
        fill_scalar(f, f->row->items, n, item);
    else
        fill_rows(f, f->row->items, n, NULL, item);
}

static void fill_items(struct fill *f, struct node *n, char *items)
{
    const weir_option *row = f->row;
    for (size_t i = 0; i < n->count; i++) {
        char *item = items + i * row->item_size;
        f->row = row;
        places_add(f->places, item, n->items[i]);
        if (is_map(f, n->items[i]))
            fill_rows(f, row->items, n->items[i], NULL, item);
    }
    f->row = row;
}

static void fill_list(struct fill *f, struct node *n, weir_list *out)
{
    if (n->kind == NODE_NULL || !option_value_is_kind(f, n, NODE_LIST))
        return;
    option_value_limits(f, n, (double)n->count);
    char *items = arena_take(&f->d->arena, (n->count + 1) * f->row->item_size);
    *out = (weir_list){n->count, items};
    fill_items(f, n, items);
}

static void fill_map(struct fill *f, struct node *n, weir_map *out)
{
    if (n->kind == NODE_NULL || !option_value_is_kind(f, n, NODE_MAP))
        return;
    option_value_limits(f, n, (double)n->count);
    char *items = arena_take(&f->d->arena, (n->count + 1) * f->row->item_size);
    const char **names = arena_take(&f->d->arena, (n->count + 1) * sizeof *names);
    for (size_t i = 0; i < n->count; i++) {
        names[i] = n->keys[i]->text;
        places_add(f->places, &names[i], n->keys[i]);
        places_add(f->places, names[i], n->keys[i]);
    }
    *out = (weir_map){n->count, names, items};
    fill_items(f, n, items);
}

static void fill_member(struct fill *f, const weir_option *row, struct node *n, void *member)
{
    f->row = row;
    switch (row->type) {
    case WEIR_T_STRINGS:
        option_value_strings(f, n, member);
        break;
    case WEIR_T_PAIRS:
        option_value_pairs(f, n, member);
        break;
    case WEIR_T_SECRET:
        option_value_secret(f, n, member);
        break;
    case WEIR_T_JSON:
        *(weir_json *)member = node_json_make(f->d, n);
        break;
    case WEIR_T_BLOCK:
        fill_block(f, n, member);
        break;
    case WEIR_T_LIST:
        fill_list(f, n, member);
        break;
    case WEIR_T_MAP:
        fill_map(f, n, member);
        break;
    default:
        option_value_scalar(f, n, member);
        break;
    }
}

static void fill_service(struct fill *f, const weir_option *row, const struct node *map,
                         void *member)
{
    if (!f->services)
        return;
    if (row->type == WEIR_T_SERVICES && f->services->many)
        f->services->many(f->services->user, row, member);
    else if (row->type == WEIR_T_SERVICE && f->services->one)
        *(const void **)member = f->services->one(f->services->user, row, map);
}

/* ---- presets and rows ---- */

/* A preset is read as YAML (a text only if it is in quotes) and stands where the map that lacks the option stands. */
static struct node *read_preset(struct fill *f, const weir_option *row, struct node *map)
{
    struct document *d = f->d;
    const struct node *at = node_label(map);
    const char *special = row->type == WEIR_T_TEXT ? "\"'" : "[]{}\"':#&*!|>%@`\n";
    bool is_yaml = row->type == WEIR_T_JSON || strchr(special, row->preset[0]) ||
                   (row->type != WEIR_T_TEXT && strpbrk(row->preset, special));
    if (!*row->preset)
        is_yaml = false;
    if (!is_yaml)
        return node_scalar(d, row->preset, at);
    const char *name = arena_format(&d->arena, "preset of %s", row->name);
    struct node *n = yaml_read(d, document_add_file(d, name, weir_text(row->preset)));
    if (!n || !map)
        return n;
    n->file = at->file, n->line = at->line, n->column = at->column;
    n->origin = NULL;
    n->parent = map;
    n->key = node_scalar(d, row->name, at);
    return n;
}

static void fill_row(struct fill *f, const weir_option *row, struct node *map, char *member)
{
    if (is_service(row)) {
        fill_service(f, row, map, member);
        return;
    }
    struct node *n = map->kind == NODE_MAP ? node_get(map, row->name) : NULL;
    places_add(f->places, member, n ? n : node_label(map));
    if (!n && row->required) {
        const char *help =
            row->help ? arena_format(&f->d->arena, "%s: %s", row->name, row->help) : NULL;
        diag_add(f->d, DIAG_ERROR, node_label(map), help, "\"%s\" is missing in %s", row->name,
                 node_path(f->d, map));
        return;
    }
    if (!n && row->preset)
        n = read_preset(f, row, map);
    if (n && !node_is_broken(n))
        fill_member(f, row, n, member);
}

static void fill_rows(struct fill *f, const weir_option *rows, struct node *map,
                      const char *const *also, void *state)
{
    check_keys(f, rows, also, map);
    for (; rows->name; rows++)
        fill_row(f, rows, map, (char *)state + rows->offset);
}

/* NOLINTNEXTLINE(readability-function-size): the contract has seven parameters. */
bool options_fill(struct document *d, struct places *p, const weir_option *rows, struct node *node,
                  const char *const *also, const struct option_services *services, void *state)
{
    size_t errors = d->errors, harmless = d->harmless;
    struct fill f = {.d = d, .places = p, .services = services};
    if (!node)
        node = node_new(d, NODE_MAP);
    if (is_map(&f, node))
        fill_rows(&f, rows, node, also, state);
    return d->errors - errors == d->harmless - harmless;
}

/* ---- the table itself ---- */

static bool check_rows(const weir_option *rows, size_t size, unsigned depth, struct error *e);

static int check_kind(const weir_option *row, struct error *e)
{
    bool has_items =
        row->type == WEIR_T_BLOCK || row->type == WEIR_T_LIST || row->type == WEIR_T_MAP;
    if (has_items && (!row->items || !row->item_size))
        return error_set(e, EXIT_CONFIG, "option %s: its items have no table", row->name);
    if (row->type == WEIR_T_CHOICE && (!row->choices || !*row->choices))
        return error_set(e, EXIT_CONFIG, "option %s: a choice without choices", row->name);
    if (row->scalar && row->type != WEIR_T_BLOCK)
        return error_set(e, EXIT_CONFIG, "option %s: only a block has a short form", row->name);
    if (row->ports && row->type != WEIR_T_MAP)
        return error_set(e, EXIT_CONFIG, "option %s: only a map gives ports", row->name);
    if (row->required && row->preset)
        return error_set(e, EXIT_CONFIG, "option %s: required, and yet has a preset", row->name);
    return 0;
}

static int check_preset(const weir_option *row, struct error *e)
{
    struct document *d = document_parse("preset", weir_text("{}"), NULL);
    struct fill f = {.d = d, .row = row};
    void *member = arena_take(&d->arena, option_value_size(row->type));
    struct node *n = read_preset(&f, row, NULL);
    int result = 0;
    if (n)
        fill_member(&f, row, n, member);
    if (d->errors)
        result = error_set(e, EXIT_CONFIG, "option %s: the preset %s does not fit its type",
                           row->name, row->preset);
    document_free(d);
    return result;
}

static int check_row(const weir_option *row, const weir_option *first, size_t size, struct error *e)
{
    size_t bytes = option_value_size(row->type);
    if (!bytes)
        return error_set(e, EXIT_CONFIG, "option %s: type %u is not known here", row->name,
                         row->type);
    if (row->offset > size || bytes > size - row->offset)
        return error_set(e, EXIT_CONFIG, "option %s: at byte %u, outside of the %zu of the state",
                         row->name, row->offset, size);
    if (is_service(row))
        return 0;
    for (; first != row; first++)
        if (strcmp(first->name, row->name) == 0)
            return error_set(e, EXIT_CONFIG, "option %s: in the table twice", row->name);
    if (check_kind(row, e))
        return -1;
    return row->preset ? check_preset(row, e) : 0;
}

static bool check_rows(const weir_option *rows, size_t size, unsigned depth, struct error *e)
{
    for (const weir_option *row = rows; row->name; row++) {
        if (check_row(row, rows, size, e))
            return false;
        if (is_service(row) || !row->items || depth == 0)
            continue;
        if (!check_rows(row->items, row->item_size, depth - 1, e))
            return false;
    }
    return true;
}

bool options_check_table(const weir_option *rows, size_t state_size, struct error *e)
{
    enum { DEPTH = 6 }; /* a table may name itself */
    return check_rows(rows, state_size, DEPTH, e);
}
