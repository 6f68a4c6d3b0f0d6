/* config/plan_stage.c: one stage: its name, its component, its options, its ports. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/plan_tables.h"

enum { NAME_MAX_BYTES = 64 };

static bool is_name(const char *s)
{
    size_t n = strlen(s);
    return n && n <= NAME_MAX_BYTES &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static void check_name(struct plan_work *w, const struct node *name)
{
    if (!is_name(name->text))
        diag_add(w->d, DIAG_ERROR, name, "use letters, digits, _ and -, at most 64",
                 "\"%s\" cannot be the name of a stage", name->text);
    const struct plan_stage *other = plan_find(w->plan, name->text);
    if (other)
        diag_add(w->d, DIAG_ERROR, name, "names are unique over sources, transforms and sinks",
                 "the name is taken by %s.%s on line %u", plan_sections[other->role], other->name,
                 other->name_node->line);
}

/* ---- the component ---- */

static const weir_component *find(struct plan_work *w, const char *name, enum role role,
                                  struct error *e)
{
    return w->components->find(w->components->user, name, role, e);
}

/* Is it there in another role? Otherwise, unless the reason has told it, a name that is near, or all that
 * there are. */
static const char *component_help(struct plan_work *w, const char *name, enum role role,
                                  bool is_told)
{
    for (int other = ROLE_SOURCE; other <= ROLE_SINK; other++) {
        struct error e = {0};
        if (other != (int)role && find(w, name, (enum role)other, &e))
            return arena_format(&w->d->arena, "%s is a %s: move the stage to %s", name,
                                plan_role_names[other], plan_sections[other]);
    }
    if (is_told)
        return NULL;
    const char *const *names = w->components->names(w->components->user, role);
    const char *nearest = names ? text_nearest(name, names) : NULL;
    if (nearest)
        return arena_format(&w->d->arena, "did you mean \"%s\"?", nearest);
    struct buf b = {0};
    buf_print(&b, "%ss known here:", plan_role_names[role]);
    for (size_t i = 0; names && names[i]; i++)
        buf_print(&b, "%s %s", i ? "," : "", names[i]);
    const char *text =
        arena_text(&w->d->arena, names && *names ? buf_text(&b) : "is plugins: right?");
    buf_fini(&b);
    return text;
}

static void find_component(struct plan_work *w, struct plan_stage *s)
{
    struct node *plugin = node_get(s->node, "plugin");
    if (!plugin) {
        bool has_type = node_get(s->node, "type") != NULL;
        diag_add(w->d, DIAG_ERROR, s->name_node,
                 has_type ? "write plugin: in place of type:"
                          : "add plugin: and the name of a component",
                 "%s.%s does not say which plugin it is", plan_sections[s->role], s->name);
        return;
    }
    bool is_null = plugin->kind == NODE_NULL && plugin->text &&
                   strcmp(plugin->text, "null") == 0; /* a sink's name */
    if (plugin->kind != NODE_SCALAR && !is_null) {
        diag_add(w->d, DIAG_ERROR, plugin, NULL, "expected the name of a plugin, found %s",
                 node_show(w->d, plugin));
        return;
    }
    if (!node_is_name(w->d, plugin))
        return;
    struct error e = {0};
    s->plugin = plugin->text;
    s->component = find(w, s->plugin, s->role, &e);
    if (s->component)
        return;
    const char *help = component_help(w, s->plugin, s->role, e.text[0]);
    if (e.text[0])
        diag_add(w->d, DIAG_ERROR, plugin, help, "%s", e.text);
    else
        diag_add(w->d, DIAG_ERROR, plugin, help, "no plugin offers a %s named \"%s\"",
                 plan_role_names[s->role], s->plugin);
}

/* ---- its options ---- */

static bool has_option(const struct plan_stage *s, const char *key)
{
    for (const weir_option *row = s->component ? s->component->options : NULL; row && row->name;
         row++)
        if (strcmp(row->name, key) == 0)
            return true;
    return false;
}

static void refuse_key(struct plan_work *w, const struct plan_stage *s, const struct node *key)
{
    const char *help = s->role == ROLE_TRANSFORM ? "a transform passes events on as they come"
                       : strcmp(key->text, "inputs") == 0 ? "other stages name this one in theirs"
                       : strcmp(key->text, "result") == 0 ? "a source names its result"
                       : strcmp(key->text, "key") == 0    ? "sources give events their keys"
                                                          : "transforms and sinks have it";
    diag_add(w->d, DIAG_ERROR, key, help, "a %s has no %s", plan_role_names[s->role], key->text);
}

/* The keys of the core that mean something on a stage of this role; those that do not are told. */
static const char *const *core_keys(struct plan_work *w, struct plan_stage *s)
{
    size_t count = 0;
    const char **keys = arena_take(&w->d->arena, 32 * sizeof *keys);
    for (const char *const *key = plan_core_keys; *key; key++) {
        if (plan_key_fits(s->role, *key)) {
            keys[count++] = *key;
            continue;
        }
        for (size_t i = 0; s->node && i < s->node->count; i++) {
            if (strcmp(s->node->keys[i]->text, *key) != 0 || has_option(s, *key))
                continue;
            refuse_key(w, s, s->node->keys[i]);
            keys[count++] = *key;
        }
    }
    return keys;
}

/* A stage whose component has the option goes where the `aws` block says, if it does not say itself. */
static void follow_endpoint(struct plan_work *w, struct plan_stage *s)
{
    const weir_option *row = s->component->options;
    const char *text = w->plan->settings.aws.endpoint;
    int kind = w->plan->settings.aws.endpoint_kind;
    while (row && row->name && strcmp(row->name, "endpoint") != 0)
        row++;
    if (!row || !row->name || !text || kind == ENDPOINT_EMBEDDED || node_get(s->node, "endpoint"))
        return;
    char *at = (char *)s->state + row->offset;
    if (row->type == WEIR_T_TEXT)
        *(const char **)(void *)at = text;
    else if (row->type == WEIR_T_CHOICE && kind == ENDPOINT_AWS && row->choices &&
             strcmp(row->choices, "embedded|aws") == 0)
        *(int *)(void *)at = 1;
    else
        diag_add(w->d, DIAG_ERROR, s->name_node, "write endpoint: embedded",
                 "%s.%s cannot go where aws.endpoint says: %s", plan_sections[s->role], s->name,
                 text);
}

/* A function that fails five times fails for good: what it was given is told apart from a sink that is
 * down for the night. */
static void limit_attempts(struct plan_stage *s, struct node *own)
{
    union {
        const void *in;
        struct plan_retry *out;
    } retry = {s->delivery.retry.item};
    if (s->role == ROLE_TRANSFORM && retry.out && !node_get(own, "max_attempts"))
        retry.out->max_attempts = PLAN_TRANSFORM_ATTEMPTS;
}

/* A number, or a number for each second, minute or hour. */
static void read_rate(struct plan_work *w, struct plan_stage *s)
{
    char *end = NULL;
    const char *text = s->delivery.rate;
    double per = 1, n = text ? strtod(text, &end) : 0;
    if (!text)
        return;
    if (strcmp(end, "/m") == 0)
        per = 60;
    else if (strcmp(end, "/h") == 0)
        per = 3600;
    bool is_good = end > text && (!*end || strcmp(end, "/s") == 0 || per > 1);
    if (is_good && n >= 0 && n <= 1e9 && *text != '-' && *text != '+')
        s->delivery.rate_per_s = n / per;
    else
        diag_add(w->d, DIAG_ERROR, places_find(s->places, &s->delivery.rate),
                 "write it as 100/s, 6000/m or 100000/h", "\"%s\" is no rate", text);
}

static void check_breaker(struct plan_work *w, const struct plan_stage *s)
{
    const struct plan_breaker *b = s->delivery.breaker.item;
    if (b && b->probe_after.ns > b->probe_max.ns)
        diag_add(w->d, DIAG_ERROR, places_find(s->places, &b->probe_after), NULL,
                 "probe_after is longer than probe_max");
}

/* A number of batches, the word adaptive, or a map with the bounds of that. */
static void read_concurrency(struct plan_work *w, struct plan_stage *s)
{
    enum { FLIGHTS_MAX = 10000 };
    struct plan_delivery *d = &s->delivery;
    const struct plan_concurrency *c = d->concurrency.item;
    struct node *own =
        s->role == ROLE_SINK || s->role == ROLE_TRANSFORM ? node_get(s->node, "concurrency") : NULL;
    if (!c)
        return;
    const struct node *at = places_find(s->places, &c->limit);
    bool is_map = own && own->kind == NODE_MAP;
    char *end = NULL;
    long n = c->limit ? strtol(c->limit, &end, 10) : 0;
    bool is_number = c->limit && end > c->limit && !*end && n >= 0 && n <= FLIGHTS_MAX;
    d->is_adaptive = !is_number;
    d->flights = n;
    d->flights_min = c->min;
    d->flights_max = c->max;
    if (c->limit && !is_number && strcmp(c->limit, "adaptive") != 0)
        diag_add(w->d, DIAG_ERROR, at, "write a number, or concurrency: adaptive",
                 "expected a whole number from 0 to %d or adaptive, found %s", FLIGHTS_MAX,
                 node_show(w->d, at));
    else if (is_number && is_map && (node_get(own, "min") || node_get(own, "max")))
        diag_add(w->d, DIAG_ERROR, at, "leave limit out, or min and max",
                 "min and max are bounds of what adapts itself, and this is a number");
    else if (d->is_adaptive && c->min > c->max)
        diag_add(w->d, DIAG_ERROR, places_find(s->places, &c->min), NULL, "min is more than max");
    else if (d->is_adaptive && s->role == ROLE_TRANSFORM)
        diag_add(w->d, DIAG_ERROR, own, "write a number",
                 "only a sink's concurrency adapts itself");
}

static bool fill_delivery(struct plan_work *w, struct plan_stage *s)
{
    static const char *const any[] = {"*", NULL};
    bool is_fed = s->role == ROLE_TRANSFORM || s->role == ROLE_SINK;
    struct node *node = is_fed ? s->node : NULL;
    bool is_whole =
        options_fill(w->d, s->places, plan_delivery_options, node, any, NULL, &s->delivery);
    const struct plan_retry *retry = s->delivery.retry.item;
    struct node *own = is_fed ? node_get(s->node, "retry") : NULL;
    if (retry && node_get(own, "backoff") && retry->backoff.ns > retry->backoff_max.ns)
        diag_add(w->d, DIAG_ERROR, places_find(s->places, &retry->backoff), NULL,
                 "backoff is longer than backoff_max");
    check_breaker(w, s);
    read_rate(w, s);
    read_concurrency(w, s);
    limit_attempts(s, own);
    if (s->delivery.dead_letter && !is_name(s->delivery.dead_letter))
        diag_add(w->d, DIAG_ERROR, places_find(s->places, &s->delivery.dead_letter),
                 "use letters, digits, _ and -, at most 64", "this cannot be the name of a stream");
    return is_whole;
}

void plan_stage_fill(struct plan_work *w, struct plan_stage *s)
{
    static const weir_option none[] = {{0}};
    const char *const *keys = core_keys(w, s);
    bool is_whole = fill_delivery(w, s);
    if (!s->component)
        return;
    s->state = mem_new(s->component->state_size ? s->component->state_size : 1);
    const weir_option *rows = s->component->options ? s->component->options : none;
    is_whole &=
        options_fill(w->d, s->places, rows, s->node, keys, &w->components->services, s->state);
    s->is_sound = is_whole && !node_has_broken(s->node);
    follow_endpoint(w, s);
}

static void read_result(struct plan_work *w, struct plan_stage *s)
{
    struct node *n = has_option(s, "result") ? NULL : node_get(s->node, "result");
    if (!n || s->role != ROLE_SOURCE)
        return;
    if (n->kind == NODE_SCALAR)
        s->result = node_is_name(w->d, n) ? n->text : NULL;
    else
        diag_add(w->d, DIAG_ERROR, n, NULL, "expected the name of a stage, found %s",
                 node_show(w->d, n));
}

/* What h->get() takes: a.b of a JSON body, or @name. */
static bool is_path(const char *text)
{
    const char *at = *text == '@' ? text + 1 : text;
    return *at && *at != '.' && at[strlen(at) - 1] != '.' && !strstr(at, "..") &&
           (*text != '@' || !strchr(at, '@'));
}

static void read_key(struct plan_work *w, struct plan_stage *s)
{
    struct node *n = has_option(s, "key") ? NULL : node_get(s->node, "key");
    if (!n || s->role != ROLE_SOURCE)
        return;
    if (n->kind != NODE_SCALAR)
        diag_add(w->d, DIAG_ERROR, n, "write it as user.id, or as @name for an attribute",
                 "expected a path, found %s", node_show(w->d, n));
    else if (node_is_name(w->d, n) && !is_path(n->text))
        diag_add(w->d, DIAG_ERROR, n, "write it as user.id, or as @name for an attribute",
                 "\"%s\" is no path", n->text);
    else
        s->key = n->text;
}

/* ---- its ports ---- */

static void add_port(struct plan_work *w, struct plan_stage *s, const char **ports,
                     const struct node *at, const char *name)
{
    if (!is_name(name))
        diag_add(w->d, DIAG_ERROR, at, "use letters, digits, _ and -, at most 64",
                 "\"%s\" cannot be the name of a port", name);
    if (strcmp(name, "failed") == 0)
        diag_add(w->d, DIAG_ERROR, at, "choose another name",
                 "the port failed is on every stage, for what it could not do");
    for (size_t i = 0; i < s->port_count; i++) {
        if (strcmp(ports[i], name) != 0)
            continue;
        diag_add(w->d, DIAG_ERROR, at, "choose another name", "%s has a port %s already", s->name,
                 name);
        return;
    }
    ports[s->port_count++] = name;
}

static const weir_map *port_map(const struct plan_stage *s, const weir_option *row)
{
    const char *state = s->state;
    return row->type == WEIR_T_MAP && row->ports ? (const void *)(state + row->offset) : NULL;
}

static void name_ports(struct plan_work *w, struct plan_stage *s)
{
    static const weir_option none[] = {{0}};
    const weir_component *c = s->component;
    const weir_option *rows = c->options ? c->options : none;
    size_t count = 0;
    while (c->ports && c->ports[count])
        count++;
    for (const weir_option *row = rows; row->name; row++)
        count += port_map(s, row) ? port_map(s, row)->count : 0;
    const char **ports = arena_take(&w->d->arena, (count + 1) * sizeof *ports);
    for (size_t i = 0; c->ports && c->ports[i]; i++)
        add_port(w, s, ports, s->name_node, c->ports[i]);
    for (const weir_option *row = rows; row->name; row++) {
        const weir_map *map = port_map(s, row);
        for (size_t i = 0; map && i < map->count; i++)
            add_port(w, s, ports, places_find(s->places, &map->names[i]), map->names[i]);
    }
    s->ports = ports;
}

/* ---- all ---- */

static void read_stage(struct plan_work *w, enum role role, struct node *name, struct node *node)
{
    check_name(w, name);
    if (node->kind != NODE_MAP) {
        diag_add(w->d, DIAG_ERROR, node, "write it as plugin: NAME and its options",
                 "expected a map for %s.%s, found %s", plan_sections[role], name->text,
                 node_show(w->d, node));
        return;
    }
    struct plan_stage *s = arena_take(&w->d->arena, sizeof *s);
    s->name = name->text;
    s->name_node = name;
    s->role = role;
    s->node = node;
    s->places = places_new(w->d);
    s->index = w->plan->stage_count;
    MEM_PUSH(w->plan->stages, w->plan->stage_count, w->cap) = s;
    find_component(w, s);
    plan_stage_fill(w, s);
    read_result(w, s);
    read_key(w, s);
    if (s->component)
        name_ports(w, s);
}

void plan_stage_read_all(struct plan_work *w, struct node *root)
{
    for (int role = ROLE_SOURCE; role <= ROLE_SINK; role++) {
        struct node *section = node_get(root, plan_sections[role]);
        if (!section || section->kind == NODE_NULL)
            continue;
        if (section->kind != NODE_MAP) {
            diag_add(w->d, DIAG_ERROR, section, "write one key for each stage",
                     "expected a map for %s, found %s", plan_sections[role],
                     node_show(w->d, section));
            continue;
        }
        for (size_t i = 0; i < section->count; i++)
            read_stage(w, (enum role)role, section->keys[i], section->items[i]);
    }
}
