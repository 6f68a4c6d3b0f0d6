/* plugin/manifest.c: the rules that a manifest must keep. */
#include "plugin/manifest.h"

#include <string.h>

/* The structures of the first release: shorter ones were never made. */
enum {
    MANIFEST_BYTES = WEIR_UPTO(weir_manifest, components),
    COMPONENT_BYTES = WEIR_UPTO(weir_component, tick),
    OPTION_BYTES = WEIR_UPTO(weir_option, ports),
    SIZE_MAX_BYTES = 65536, /* no structure grows beyond this */
    DEPTH_MAX = 16,         /* of option tables within each other */
    FLAGS = WEIR_BLOCKING | WEIR_PARALLEL | WEIR_KEEPS | WEIR_REPLAYS | WEIR_IN_ORDER,
};

static bool is_size(uint32_t size, uint32_t least)
{
    return size >= least && size <= SIZE_MAX_BYTES && size % _Alignof(void *) == 0;
}

int manifest_check(const char *path, const weir_manifest *m, struct error *e)
{
    unsigned major = m->abi >> 16, minor = m->abi & 0xffffu;
    if (major != WEIR_ABI_MAJOR)
        return error_set(e, EXIT_CONFIG,
                         "%s: built for ABI %u.%u, this runner has %u.%u: rebuild it against this "
                         "runner's headers (weir.pc)",
                         path, major, minor, WEIR_ABI_MAJOR, (unsigned)PLUGIN_ABI_MINOR);
    if (minor > (unsigned)PLUGIN_ABI_MINOR)
        return error_set(e, EXIT_CONFIG,
                         "%s: wants ABI %u.%u, this runner has %u.%u: use a newer runner, or build "
                         "it with a smaller WEIR_WANT_MINOR",
                         path, major, minor, WEIR_ABI_MAJOR, (unsigned)PLUGIN_ABI_MINOR);
    if (!is_size(m->manifest_size, MANIFEST_BYTES))
        return error_set(e, EXIT_CONFIG,
                         "%s: its manifest has %u bytes where ABI %u has %u: rebuild it against "
                         "this runner's headers (weir.pc)",
                         path, m->manifest_size, major, (unsigned)MANIFEST_BYTES);
    if (!is_size(m->component_size, (uint32_t)COMPONENT_BYTES))
        return error_set(e, EXIT_CONFIG,
                         "%s: its components have %u bytes where ABI %u has %u: rebuild it against "
                         "this runner's headers (weir.pc)",
                         path, m->component_size, major, (unsigned)COMPONENT_BYTES);
    if (!is_size(m->option_size, (uint32_t)OPTION_BYTES))
        return error_set(e, EXIT_CONFIG,
                         "%s: its options have %u bytes where ABI %u has %u: rebuild it against "
                         "this runner's headers (weir.pc)",
                         path, m->option_size, major, (unsigned)OPTION_BYTES);
    return 0;
}

const char *manifest_role_name(enum plugin_role role)
{
    static const char *const names[] = {"source", "transform", "sink", "service"};
    return names[role];
}

int manifest_role(const char *path, const char *name, const weir_component *c,
                  enum plugin_role *role, struct error *e)
{
    bool is_source = c->pull, is_transform = c->event || c->batch, is_sink = c->write;
    if (!is_source && !is_transform && !is_sink && c->offers) {
        *role = PLUGIN_SERVICE;
        return 0;
    }
    if (is_source + is_transform + is_sink != 1)
        return error_set(e, EXIT_CONFIG,
                         "%s: the component '%s' has %s: set pull for a source, event or batch "
                         "for a transform, write for a sink, and make one component for each",
                         path, name,
                         is_source || is_transform || is_sink ? "more than one role" : "no role");
    if (c->event && c->batch)
        return error_set(e, EXIT_CONFIG,
                         "%s: the component '%s' has both event and batch: set one of the two",
                         path, name);
    *role = is_source ? PLUGIN_SOURCE : is_transform ? PLUGIN_TRANSFORM : PLUGIN_SINK;
    return 0;
}

int manifest_name(const char *path, const char *name, struct error *e)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (n == 0 || name[n])
        return error_set(e, EXIT_CONFIG,
                         "%s: '%s' is no name for a component: use letters, digits, _ and -", path,
                         name);
    return 0;
}

/* ---- once loaded ------------------------------------------------------------------------------ */

struct table {
    const char *path, *component;
    uint32_t stride; /* as the plugin was built */
    struct error *error;
};

static const weir_option *row_at(const struct table *t, const weir_option *rows, size_t i)
{
    return (const weir_option *)(const void *)((const char *)rows + i * t->stride);
}

static uint32_t member_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {
        [WEIR_T_BOOL] = sizeof(bool),
        [WEIR_T_CHOICE] = sizeof(int),
        [WEIR_T_INT] = sizeof(int64_t),
        [WEIR_T_FLOAT] = sizeof(double),
        [WEIR_T_TEXT] = sizeof(const char *),
        [WEIR_T_DURATION] = sizeof(weir_duration),
        [WEIR_T_SIZE] = sizeof(weir_size),
        [WEIR_T_STRINGS] = sizeof(weir_strings),
        [WEIR_T_PAIRS] = sizeof(weir_pairs),
        [WEIR_T_SECRET] = sizeof(const weir_secret *),
        [WEIR_T_JSON] = sizeof(weir_json),
        [WEIR_T_BLOCK] = sizeof(weir_block),
        [WEIR_T_LIST] = sizeof(weir_list),
        [WEIR_T_MAP] = sizeof(weir_map),
        [WEIR_T_SERVICE] = sizeof(const void *),
        [WEIR_T_SERVICES] = sizeof(weir_services),
    };
    return type < sizeof bytes ? bytes[type] : 0;
}

static bool has_items(uint32_t type)
{
    return type == WEIR_T_BLOCK || type == WEIR_T_LIST || type == WEIR_T_MAP;
}

static int refuse(const struct table *t, const weir_option *row, const char *why)
{
    return error_set(t->error, EXIT_CONFIG, "%s: the option '%s' of '%s' %s", t->path, row->name,
                     t->component, why);
}

static int check_row(const struct table *t, const weir_option *row, uint64_t state_bytes)
{
    uint32_t bytes = member_bytes(row->type);
    if (!bytes)
        return error_set(t->error, EXIT_CONFIG,
                         "%s: the option '%s' of '%s' has the type %u, which this runner does not "
                         "know: use a newer runner",
                         t->path, row->name, t->component, row->type);
    if (row->offset > state_bytes || bytes > state_bytes - row->offset)
        return refuse(t, row, "lies outside its structure: is state_size or WEIR_ITEMS right?");
    if (row->type == WEIR_T_CHOICE && (!row->choices || !*row->choices))
        return refuse(t, row, "is a choice without .choices");
    if (has_items(row->type) && (!row->items || !row->item_size))
        return refuse(t, row, "has items without WEIR_ITEMS");
    if (row->ports && row->type != WEIR_T_MAP)
        return refuse(t, row, "is marked .ports, which only a map can be");
    return 0;
}

static bool is_repeated(const struct table *t, const weir_option *rows, size_t i)
{
    const char *name = row_at(t, rows, i)->name;
    for (size_t k = 0; k < i; k++)
        if (strcmp(row_at(t, rows, k)->name, name) == 0)
            return true;
    return false;
}

static int check_rows(const struct table *t, const weir_option *rows, uint64_t state_bytes,
                      unsigned depth)
{
    size_t i = 0;
    for (; rows && i < MANIFEST_OPTIONS_MAX; i++) {
        const weir_option *row = row_at(t, rows, i);
        if (!row->name)
            return 0;
        if (!*row->name)
            return error_set(t->error, EXIT_CONFIG, "%s: an option of '%s' has an empty name",
                             t->path, t->component);
        if (is_repeated(t, rows, i))
            return refuse(t, row, "stands twice in its table");
        if (check_row(t, row, state_bytes) != 0)
            return -1;
        if (!has_items(row->type))
            continue;
        if (depth == DEPTH_MAX)
            return refuse(t, row, "is nested too deeply: 16 tables within each other are allowed");
        if (check_rows(t, row->items, row->item_size, depth + 1) != 0)
            return -1;
    }
    if (i == MANIFEST_OPTIONS_MAX)
        return error_set(t->error, EXIT_CONFIG,
                         "%s: an option table of '%s' does not end: close it with {0}", t->path,
                         t->component);
    return 0;
}

int manifest_check_component(const char *path, const weir_manifest *m, const weir_component *c,
                             struct error *e)
{
    struct table t = {path, c->name, m->option_size, e};
    uint32_t unknown = c->flags & ~(uint32_t)FLAGS;
    if (unknown)
        return error_set(e, EXIT_CONFIG,
                         "%s: '%s' has the flag 0x%x, which this runner does not know: use a newer "
                         "runner",
                         path, c->name, unknown);
    if (c->worker_size && !(c->flags & WEIR_PARALLEL))
        return error_set(e, EXIT_CONFIG,
                         "%s: '%s' has a worker_size without the flag WEIR_PARALLEL", path,
                         c->name);
    for (size_t i = 0; c->offers && c->offers[i]; i++)
        if (!c->offers[i]->id || c->offers[i]->size < sizeof(weir_service))
            return error_set(e, EXIT_CONFIG,
                             "%s: '%s' offers a service without id or size: start its table with "
                             ".base = WEIR_OFFER(...)",
                             path, c->name);
    return check_rows(&t, c->options, c->state_size, 0);
}
