/* config/yaml.c: libyaml's events made into a tree with positions, within limits.
 *
 * An alias is the node it names, not a copy, so nothing can grow by expanding it; still each use
 * counts with all that is in it, because those who walk the tree walk it each time. */
#include <string.h>
#include <yaml.h>

#include "base/text.h"
#include "config/document.h"

struct anchor {
    const char *name;
    struct node *node;
    size_t size; /* nodes in it; 0: it is still open */
};

struct loader {
    struct document *d;
    uint32_t file;
    yaml_parser_t parser;
    size_t depth, nodes;
    bool is_key; /* the next scalar is one: nothing is replaced in it */
    struct anchor *anchors;
    size_t anchor_count, anchor_cap;
};

static struct node *read_node(struct loader *l, yaml_event_t *take);

static void place(const struct loader *l, struct node *n, yaml_mark_t mark)
{
    n->file = l->file;
    n->line = (uint32_t)mark.line + 1;
    n->column = (uint32_t)mark.column + 1;
}

static struct node place_of(const struct loader *l, yaml_mark_t mark)
{
    struct node n = {0};
    place(l, &n, mark);
    return n;
}

static const char *syntax_help(const struct loader *l, const struct node *at)
{
    weir_str line;
    if (!locate_line(&l->d->files[l->file], at->line, &line))
        return NULL;
    size_t blanks = 0;
    while (blanks < line.len && line.ptr[blanks] == ' ')
        blanks++;
    if (blanks < line.len && line.ptr[blanks] == '\t')
        return "indent with spaces, not with tabs";
    if (line.len && memmem(line.ptr, line.len, "${", 2))
        return "inside { } and [ ] a ${...} needs quotes: \"${NAME}\"";
    return NULL;
}

static void tell_bytes(struct loader *l)
{
    const yaml_parser_t *p = &l->parser;
    struct place at = locate_byte(l->d, l->file, p->problem_offset);
    struct node n = {.file = l->file, .line = at.line, .column = at.column};
    diag_add(l->d, DIAG_ERROR, &n, "a pipeline file is text in UTF-8", "not a text file: %s",
             p->problem ? p->problem : "unknown bytes");
}

static void tell_syntax(struct loader *l)
{
    const yaml_parser_t *p = &l->parser;
    struct node at = place_of(l, p->problem_mark);
    const char *why = p->problem ? p->problem : "not understood";
    const char *help = syntax_help(l, &at);
    if (p->error == YAML_READER_ERROR)
        tell_bytes(l);
    else if (p->context && p->context_mark.line != p->problem_mark.line)
        diag_add(l->d, DIAG_ERROR, &at, help, "not valid YAML: %s, %s from line %zu on", why,
                 p->context, p->context_mark.line + 1);
    else
        diag_add(l->d, DIAG_ERROR, &at, help, "not valid YAML: %s", why);
}

/* False after an error, which was told. */
static bool next_event(struct loader *l, yaml_event_t *event)
{
    if (yaml_parser_parse(&l->parser, event))
        return true;
    tell_syntax(l);
    return false;
}

static bool count_nodes(struct loader *l, size_t n, const struct node *at)
{
    l->nodes += n;
    if (l->nodes <= DOCUMENT_NODES_MAX)
        return true;
    diag_add(l->d, DIAG_ERROR, at, "split the pipeline, or use fewer aliases",
             "more than %d values, what aliases stand for included", DOCUMENT_NODES_MAX);
    return false;
}

static void add_anchor(struct loader *l, const yaml_char_t *name, struct node *n)
{
    if (!name)
        return;
    const char *text = arena_text(&l->d->arena, (const char *)name);
    MEM_PUSH(l->anchors, l->anchor_count, l->anchor_cap) = (struct anchor){text, n, 0};
}

static void close_anchor(struct loader *l, const struct node *n, size_t size)
{
    for (size_t i = l->anchor_count; i-- > 0;)
        if (l->anchors[i].node == n)
            l->anchors[i].size = size;
}

static struct node *read_alias(struct loader *l, const yaml_event_t *event)
{
    struct node at = place_of(l, event->start_mark);
    const char *name = (const char *)event->data.alias.anchor;
    for (size_t i = l->anchor_count; i-- > 0;) {
        const struct anchor *a = &l->anchors[i];
        if (strcmp(a->name, name) != 0)
            continue;
        if (a->size)
            return count_nodes(l, a->size, &at) ? a->node : NULL;
        diag_add(l->d, DIAG_ERROR, &at, NULL, "the alias *%s is inside of what it names", name);
        return NULL;
    }
    diag_add(l->d, DIAG_ERROR, &at, "an anchor stands before its alias: &name value",
             "no anchor &%s above", name);
    return NULL;
}

static bool is_null(const struct node *n)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; n->is_plain && i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp(n->text, nulls[i]) == 0)
            return true;
    return false;
}

static struct node *read_scalar(struct loader *l, const yaml_event_t *event, bool is_key)
{
    struct node *n = node_new(l->d, NODE_SCALAR);
    place(l, n, event->start_mark);
    n->text = arena_copy(&l->d->arena, event->data.scalar.value, event->data.scalar.length);
    n->len = event->data.scalar.length;
    n->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    struct node_origin *origin = arena_take(&l->d->arena, sizeof *origin);
    origin->style = (int)event->data.scalar.style;
    n->origin = origin;
    if (is_null(n))
        n->kind = NODE_NULL;
    if (!is_key)
        interpolate_node(l->d, n);
    return n;
}

static bool is_tagged(struct loader *l, const yaml_event_t *event)
{
    const yaml_char_t *tag =
        event->type == YAML_SCALAR_EVENT           ? event->data.scalar.tag
        : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.tag
        : event->type == YAML_MAPPING_START_EVENT  ? event->data.mapping_start.tag
                                                   : NULL;
    if (!tag)
        return false;
    struct node at = place_of(l, event->start_mark);
    static const char prefix[] = "tag:yaml.org,2002:";
    const char *text = (const char *)tag;
    bool is_standard = text_starts(weir_text(text), prefix);
    diag_add(l->d, DIAG_ERROR, &at, "remove it; a variable is written ${NAME}, text \"123\"",
             "tags such as %s%s are not used here", is_standard ? "!!" : "",
             text + (is_standard ? sizeof prefix - 1 : 0));
    return true;
}

/* Of an open list or map: false at its end and after an error (*is_bad). */
static bool next_child(struct loader *l, yaml_event_type_t end, struct node **child, bool *is_bad)
{
    yaml_event_t event;
    *is_bad = !next_event(l, &event);
    if (*is_bad)
        return false;
    if (event.type == end) {
        yaml_event_delete(&event);
        return false;
    }
    *child = read_node(l, &event);
    *is_bad = !*child;
    return *child != NULL;
}

static struct node *read_list(struct loader *l, struct node *list)
{
    struct node *item;
    bool is_bad;
    while (next_child(l, YAML_SEQUENCE_END_EVENT, &item, &is_bad))
        node_set(l->d, list, NULL, item);
    return is_bad ? NULL : list;
}

static const struct node *find_key(const struct node *map, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(map->keys[i]->text, text) == 0)
            return map->keys[i];
    return NULL;
}

static bool is_merge(const struct node *key)
{
    return key->is_plain && strcmp(key->text, "<<") == 0;
}

/* The keys of `from` that `map` does not have: its own come first, then the earlier of a list. */
static bool merge_one(struct loader *l, struct node *map, const struct node *from)
{
    if (from->kind != NODE_MAP) {
        diag_add(l->d, DIAG_ERROR, from, NULL, "<< takes a map or a list of maps, found %s",
                 node_kind_name(from));
        return true;
    }
    for (size_t i = 0; i < from->count; i++)
        if (!find_key(map, from->keys[i]->text, map->count) && map->count < DOCUMENT_KEYS_MAX)
            node_set(l->d, map, from->keys[i], from->items[i]);
    return count_nodes(l, from->count, from);
}

static bool merge(struct loader *l, struct node *map, const struct node *from)
{
    if (from->kind != NODE_LIST)
        return merge_one(l, map, from);
    for (size_t i = 0; i < from->count; i++)
        if (!merge_one(l, map, from->items[i]))
            return false;
    return true;
}

/* False: this key cannot be added; it was told. */
static bool check_key(struct loader *l, const struct node *map, const struct node *key)
{
    const struct node *first = find_key(map, key->text, map->count);
    if (first)
        diag_add(l->d, DIAG_ERROR, key, "remove one of the two",
                 "the key \"%s\" is there twice: on line %u and on line %u", key->text, first->line,
                 key->line);
    if (strlen(key->text) != key->len)
        diag_add(l->d, DIAG_ERROR, key, NULL, "a NUL byte in a key");
    if (map->count == DOCUMENT_KEYS_MAX)
        diag_add(l->d, DIAG_ERROR, map, NULL, "more than %d keys in one map", DOCUMENT_KEYS_MAX);
    return !first && map->count < DOCUMENT_KEYS_MAX;
}

static struct node *read_key(struct loader *l, bool *is_bad)
{
    struct node *key;
    l->is_key = true;
    if (!next_child(l, YAML_MAPPING_END_EVENT, &key, is_bad))
        return NULL;
    if (key->kind == NODE_LIST || key->kind == NODE_MAP) {
        diag_add(l->d, DIAG_ERROR, key, "a text that starts with { or [ needs quotes",
                 "a key is a single value, found %s", node_kind_name(key));
        *is_bad = true;
        return NULL;
    }
    key->kind = NODE_SCALAR;
    return key;
}

static struct node *read_map(struct loader *l, struct node *map)
{
    struct node *key, *value, *from = NULL;
    bool is_bad;
    while ((key = read_key(l, &is_bad))) {
        l->is_key = false;
        if (!next_child(l, YAML_NO_EVENT, &value, &is_bad))
            return NULL;
        bool is_free = is_merge(key) || check_key(l, map, key);
        if (is_merge(key) && from)
            diag_add(l->d, DIAG_ERROR, key, "write <<: [*one, *two]", "<< is there twice");
        else if (is_merge(key))
            from = value;
        else if (is_free)
            node_set(l->d, map, key, value);
    }
    if (is_bad || (from && !merge(l, map, from)))
        return NULL;
    return map;
}

static struct node *read_inside(struct loader *l, const yaml_event_t *event)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    struct node *n = node_new(l->d, is_map ? NODE_MAP : NODE_LIST);
    place(l, n, event->start_mark);
    if (l->depth == DOCUMENT_DEPTH_MAX) {
        diag_add(l->d, DIAG_ERROR, n, NULL, "more than %d levels deep", DOCUMENT_DEPTH_MAX);
        return NULL;
    }
    add_anchor(l, is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor, n);
    size_t nodes = l->nodes;
    l->depth++;
    struct node *read = is_map ? read_map(l, n) : read_list(l, n);
    l->depth--;
    close_anchor(l, n, l->nodes - nodes + 1);
    return read;
}

static struct node *read_any(struct loader *l, const yaml_event_t *event)
{
    struct node at = place_of(l, event->start_mark);
    bool is_key = l->is_key;
    l->is_key = false;
    if (event->type == YAML_ALIAS_EVENT)
        return read_alias(l, event);
    if (is_tagged(l, event) || !count_nodes(l, 1, &at))
        return NULL;
    if (event->type != YAML_SCALAR_EVENT)
        return read_inside(l, event);
    struct node *n = read_scalar(l, event, is_key);
    add_anchor(l, event->data.scalar.anchor, n);
    close_anchor(l, n, 1);
    return n;
}

static struct node *read_node(struct loader *l, yaml_event_t *take)
{
    struct node *n = read_any(l, take);
    yaml_event_delete(take);
    return n;
}

static struct node *empty_map(const struct loader *l)
{
    struct node *n = node_new(l->d, NODE_MAP);
    n->file = l->file;
    n->line = n->column = 1;
    return n;
}

/* Skips what starts a stream or document, reads the node, and sees that no other document follows. */
static struct node *read_stream(struct loader *l)
{
    struct node *root = NULL;
    yaml_event_t event;
    while (next_event(l, &event)) {
        yaml_event_type_t type = event.type;
        struct node at = place_of(l, event.start_mark);
        bool is_second = type == YAML_DOCUMENT_START_EVENT && root;
        if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT ||
            type == YAML_DOCUMENT_END_EVENT || type == YAML_STREAM_END_EVENT)
            yaml_event_delete(&event);
        else if (!(root = read_node(l, &event)))
            return NULL;
        if (type == YAML_STREAM_END_EVENT)
            return root && root->kind != NODE_NULL ? root : empty_map(l);
        if (!is_second)
            continue;
        diag_add(l->d, DIAG_ERROR, &at, "one file holds one pipeline: remove all from --- on",
                 "a second document starts here");
        return root;
    }
    return NULL;
}

struct node *yaml_read(struct document *d, uint32_t file)
{
    struct document_file *f = &d->files[file];
    if (text_starts((weir_str){f->text, f->len}, "\xEF\xBB\xBF"))
        f->text += 3, f->len -= 3;
    struct loader l = {.d = d, .file = file};
    if (!yaml_parser_initialize(&l.parser)) {
        diag_add(d, DIAG_ERROR, NULL, NULL, "no memory for the YAML parser");
        return NULL;
    }
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)f->text, f->len);
    struct node *root = read_stream(&l);
    yaml_parser_delete(&l.parser);
    mem_free(l.anchors);
    return root;
}
