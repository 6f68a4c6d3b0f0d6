/* pipeline/reload_diff.c: what is another in a new pipeline file. */
#include "pipeline/reload_diff.h"

#include <string.h>

#include "base/mem.h"

/* ---- stages ---- */

/* Keys of the core's that say nothing to the instance: they take effect without a new one. */
static bool is_core_key(const char *key)
{
    const weir_option *row = plan_delivery_options;
    while (row->name && strcmp(row->name, key) != 0)
        row++;
    return row->name || strcmp(key, "inputs") == 0;
}

static bool is_same_node(const struct node *a, const struct node *b);

/* In order, since the order of a map may have a meaning for the plugin. */
static bool is_same_map(const struct node *a, const struct node *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->keys[i]->text, b->keys[i]->text) != 0 ||
            !is_same_node(a->items[i], b->items[i]))
            return false;
    return true;
}

static bool is_same_list(const struct node *a, const struct node *b)
{
    bool is_same = a->count == b->count;
    for (size_t i = 0; is_same && i < a->count; i++)
        is_same = is_same_node(a->items[i], b->items[i]);
    return is_same;
}

static bool is_same_node(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == NODE_MAP)
        return is_same_map(a, b);
    if (a->kind == NODE_LIST)
        return is_same_list(a, b);
    return a->kind == NODE_NULL || (a->is_plain == b->is_plain && a->len == b->len &&
                                    memcmp(a->text, b->text, a->len) == 0);
}

static const struct node *item_of(const struct node *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->keys[i]->text, key) == 0)
            return map->items[i];
    return NULL;
}

static size_t count_options(const struct node *map, bool with_core)
{
    size_t n = 0;
    for (size_t i = 0; i < map->count; i++)
        n += with_core || !is_core_key(map->keys[i]->text);
    return n;
}

static bool is_same_options(const struct node *a, const struct node *b, bool with_core)
{
    if (a->kind != NODE_MAP || b->kind != NODE_MAP ||
        count_options(a, with_core) != count_options(b, with_core))
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const char *key = a->keys[i]->text;
        bool is_skipped = !with_core && is_core_key(key);
        const struct node *other = is_skipped ? a->items[i] : item_of(b, key);
        if (!other || !is_same_node(a->items[i], other))
            return false;
    }
    return true;
}

static bool is_same_files(const struct plan_stage *a, const struct plan_stage *b)
{
    bool is_same = a->file_count == b->file_count;
    for (size_t i = 0; is_same && i < a->file_count; i++)
        is_same =
            strcmp(a->files[i].path, b->files[i].path) == 0 && a->files[i].hash == b->files[i].hash;
    return is_same;
}

static struct stage *find(const struct pipeline *p, const struct plan_stage *plan)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->role == plan->role && strcmp(p->stages[i]->name, plan->name) == 0)
            return p->stages[i];
    return NULL;
}

/* ---- services between components ---- */

static bool offers(const weir_component *c, const char *service)
{
    for (const weir_service *const *s = c->offers; s && *s; s++)
        if (strcmp((*s)->id, service) == 0)
            return true;
    return false;
}

static bool is_kept(const struct change *changes, size_t count, const struct stage *s)
{
    for (size_t i = 0; i < count; i++)
        if (changes[i].before == s)
            return change_is_kept(&changes[i]);
    return false;
}

/* Somebody who offers this comes, goes or is made anew. */
static bool is_offer_changed(const struct pipeline *p, const struct change *changes, size_t count,
                             const char *service)
{
    for (size_t i = 0; i < count; i++)
        if (!change_is_kept(&changes[i]) && offers(changes[i].plan->component, service))
            return true;
    for (size_t i = 0; i < p->stage_count; i++)
        if (!is_kept(changes, count, p->stages[i]) && offers(p->stages[i]->component, service))
            return true;
    return false;
}

static bool needs_changed_offer(const struct pipeline *p, const struct change *changes,
                                size_t count, const weir_component *c)
{
    for (const weir_option *row = c->options; row && row->name; row++)
        if ((row->type == WEIR_T_SERVICE || row->type == WEIR_T_SERVICES) &&
            is_offer_changed(p, changes, count, row->name))
            return true;
    return false;
}

static enum change_kind kind_of(const struct stage *before, const struct plan_stage *ps)
{
    if (!before)
        return CHANGE_ADDED;
    if (before->component != ps->component ||
        !is_same_options(before->made_of->node, ps->node, false) ||
        !is_same_files(before->made_of, ps))
        return CHANGE_INSTANCE;
    return is_same_options(before->plan->node, ps->node, true) ? CHANGE_NONE : CHANGE_AROUND;
}

struct change *reload_diff(const struct pipeline *p, const struct plan *plan)
{
    struct change *list = mem_new((plan->stage_count + 1) * sizeof *list);
    for (size_t i = 0; i < plan->stage_count; i++) {
        struct plan_stage *ps = plan->stages[i];
        struct stage *before = find(p, ps);
        list[i] = (struct change){ps, before, kind_of(before, ps)};
    }
    for (bool is_more = true; is_more;) {
        is_more = false;
        for (size_t i = 0; i < plan->stage_count; i++) {
            if (!change_is_kept(&list[i]) ||
                !needs_changed_offer(p, list, plan->stage_count, list[i].plan->component))
                continue;
            list[i].kind = CHANGE_INSTANCE;
            is_more = true;
        }
    }
    return list;
}

/* ---- settings ---- */

static bool is_same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static void refuse(const struct plan *plan, const char *key, const char *inner)
{
    struct node *root = document_root(plan->document);
    struct node *at = root ? node_get(root, key) : NULL;
    struct node *more = at && inner && at->kind == NODE_MAP ? node_get(at, inner) : NULL;
    diag_add(plan->document, DIAG_ERROR, more ? more : at, "restart the runner to change it",
             "%s%s%s needs a restart: a reload cannot change it", key, inner ? "." : "",
             inner ? inner : "");
}

static void check_roles(const struct pipeline *p, const struct plan *plan)
{
    for (size_t i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *ps = plan->stages[i];
        for (size_t k = 0; k < p->stage_count; k++)
            if (p->stages[k]->role != ps->role && strcmp(p->stages[k]->name, ps->name) == 0)
                diag_add(plan->document, DIAG_ERROR, ps->name_node,
                         "give it another name, or restart the runner",
                         "%s was something else than a %s: a reload cannot change it", ps->name,
                         plan_role_name(ps->role));
    }
}

bool reload_diff_settings(const struct pipeline *p, const struct plan *plan)
{
    const struct plan_settings *a = &p->plan->settings, *b = &plan->settings;
    const struct {
        bool is_same;
        const char *key, *inner;
    } rows[] = {
        {is_same_text(a->data_dir, b->data_dir), "data_dir", NULL},
        {a->workers == b->workers, "workers", NULL},
        {a->memory.bytes == b->memory.bytes, "memory", NULL},
        {is_same_text(a->admin, b->admin), "admin", "listen"},
        {is_same_text(a->aws.endpoint, b->aws.endpoint), "aws", "endpoint"},
        {is_same_text(a->aws.region, b->aws.region), "aws", "region"},
        {is_same_text(a->aws.account, b->aws.account), "aws", "account"},
        {a->journal_max.bytes == b->journal_max.bytes, "journal", "max_size"},
        {a->trace == b->trace, "trace", "enabled"},
        {a->trace_explain == b->trace_explain, "trace", "explain"},
        {a->trace_max.bytes == b->trace_max.bytes, "trace", "max_size"},
    };
    size_t before = document_errors(plan->document);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].is_same)
            refuse(plan, rows[i].key, rows[i].inner);
    check_roles(p, plan);
    return document_errors(plan->document) == before;
}
