/* cli/load.c: from the pipeline file to a checked plan. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

const char *load_path(const char *path)
{
    static const char *const usual[] = {"pipeline.yaml", "/etc/weir/pipeline.yaml"};
    const char *set = getenv("WEIR_CONFIG"); /* NOLINT(concurrency-mt-unsafe): before any thread */
    if (path)
        return path;
    if (set && *set)
        return set;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (access(usual[i], F_OK) == 0)
            return usual[i];
    return NULL;
}

struct plugins *load_plugins(const struct cli_list *dirs)
{
    static const char *const none[] = {NULL};
    return plugins_new(dirs->items ? dirs->items : none);
}

static struct plugins *plugins_of(struct loaded *l)
{
    return l->plugins;
}

static const weir_component *find(void *user, const char *name, enum role role, struct error *e)
{
    return plugins_find(plugins_of(user), name, (enum plugin_role)role, e);
}

static const char *const *names(void *user, enum role role)
{
    return plugins_names(plugins_of(user), (enum plugin_role)role);
}

static const weir_component *offerer(void *user, const char *service)
{
    struct error e = {0};
    return plugins_offerer(plugins_of(user), service, &e);
}

/* The key `plugins:` names folders that have to be known before the stages are read. */
static void add_file_dirs(struct document *d, struct cli_list *dirs)
{
    struct node *root = document_root(d);
    struct node *list = root && root->kind == NODE_MAP ? node_get(root, "plugins") : NULL;
    if (!list || (list->kind != NODE_LIST && list->kind != NODE_SCALAR))
        return;
    size_t n = list->kind == NODE_LIST ? list->count : 1;
    for (size_t i = 0; i < n; i++) {
        const struct node *item = list->kind == NODE_LIST ? list->items[i] : list;
        if (item->kind != NODE_SCALAR)
            continue;
        const char *path = *item->text == '/' ? item->text
                                              : arena_format(document_arena(d), "%s/%s",
                                                             document_folder(d), item->text);
        MEM_PUSH(dirs->items, dirs->count, dirs->cap) = path;
    }
}

static int told(const struct loaded *l, bool is_json, int code)
{
    if (document_errors(l->document) || document_warnings(l->document)) {
        if (is_json)
            diag_print_json(l->document, stdout);
        else
            diag_print(l->document, stderr, cli_has_color(stderr));
    }
    return code;
}

int load_read(const char *path, const struct cli_file *options, struct loaded *l)
{
    const char *file = load_path(path);
    struct cli_list dirs = {0};
    *l = (struct loaded){0};
    if (!file)
        return EXIT_USAGE_ERROR;
    const struct config_input in = {.path = file, .sets = options->sets.items};
    l->document = document_load(&in);
    for (size_t i = 0; i < options->plugin_dirs.count; i++)
        MEM_PUSH(dirs.items, dirs.count, dirs.cap) = options->plugin_dirs.items[i];
    add_file_dirs(l->document, &dirs);
    MEM_PUSH(dirs.items, dirs.count, dirs.cap) = NULL;
    l->plugins = plugins_new(dirs.items);
    mem_free(dirs.items);
    l->services = service_tables_new();
    const struct plan_components components = {
        find, names, {service_one, service_many, l->services}, l, offerer};
    l->plan = plan_new(l->document, &components);
    const struct plan_settings *settings = &l->plan->settings;
    if (settings->data_dir && settings->aws.region && settings->aws.account) {
        service_tables_plan(l->services, l->plan);
        (void)pipeline_check(l->plan, l->services);
    }
    if (!document_errors(l->document))
        return EXIT_OK;
    plan_free(l->plan);
    l->plan = NULL;
    return EXIT_CONFIG;
}

int load_pipeline(const char *path, const struct cli_file *options, bool is_json, struct loaded *l)
{
    int code = load_read(path, options, l);
    if (l->document)
        return told(l, is_json, code);
    (void)fputs("weir: no pipeline file: name one, or put pipeline.yaml into this folder\n",
                stderr);
    return code;
}

void load_free(struct loaded *l)
{
    plan_free(l->plan);
    document_free(l->document);
    service_tables_free(l->services);
    plugins_free(l->plugins);
    *l = (struct loaded){0};
}
