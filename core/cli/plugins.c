/* cli/plugins.c: weir plugins: what is there, and the manual of each component. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "json/json.h"

struct options {
    struct cli_list dirs;
    bool json, markdown;
};

static const struct cli_option options[] = {
    {"plugin-dir", 0, "DIR", "look for plugins here first; may be given several times", CLI_LIST,
     offsetof(struct options, dirs)},
    {"json", 0, NULL, "JSON, with all options", CLI_FLAG, offsetof(struct options, json)},
    {"markdown", 0, NULL, "show: as the page of the reference", CLI_FLAG,
     offsetof(struct options, markdown)},
    {0},
};

static const char *const roles[] = {"source", "transform", "sink", "service"};

struct item {
    char *path, *refused;
    const weir_component *component;
};

struct listing {
    const struct options *options;
    const char *wanted; /* show: this component */
    struct item *items;
    size_t count, cap, refused;
};

static void collect(void *user, const char *path, const weir_component *c, const char *refused)
{
    struct listing *l = user;
    if (l->wanted && (!c || strcmp(c->name, l->wanted) != 0))
        return;
    l->refused += c == NULL;
    MEM_PUSH(l->items, l->count, l->cap) =
        (struct item){mem_text(path), refused ? mem_text(refused) : NULL, c};
}

static int by_name(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (!x->component || !y->component)
        return !x->component - !y->component;
    int by = strcmp(x->component->name, y->component->name);
    return by ? by : (int)plugin_role_of(x->component) - (int)plugin_role_of(y->component);
}

static void print_json(const struct item *i, const char *comma)
{
    struct buf out = {0};
    const weir_component *c = i->component;
    buf_print(&out, "%s{\"file\":", comma);
    json_quote(&out, weir_text(i->path));
    if (c) {
        buf_add_text(&out, ",\"name\":");
        json_quote(&out, weir_text(c->name));
        buf_print(&out, ",\"role\":\"%s\",\"summary\":", roles[plugin_role_of(c)]);
        json_quote(&out, weir_text(c->summary ? c->summary : ""));
        buf_add_text(&out, ",\"ports\":[");
        for (size_t k = 0; c->ports && c->ports[k]; k++)
            buf_print(&out, "%s\"%s\"", k ? "," : "", c->ports[k]);
        buf_add_text(&out, "],\"options\":");
        options_print_json(c->options, &out);
    } else {
        buf_add_text(&out, ",\"refused\":");
        json_quote(&out, weir_text(i->refused));
    }
    buf_add_char(&out, '}');
    (void)fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&out);
}

static void print_manual(const struct item *i, bool markdown)
{
    const weir_component *c = i->component;
    const char *role = roles[plugin_role_of(c)];
    if (markdown) {
        struct buf out = {0};
        buf_print(&out, "## %s (%s)\n\n%s\n\n", c->name, role, c->summary ? c->summary : "");
        if (c->ports && c->ports[0]) {
            buf_add_text(&out, "Ports:");
            for (size_t k = 0; c->ports[k]; k++)
                buf_print(&out, " `.%s`", c->ports[k]);
            buf_add_text(&out, "\n\n");
        }
        options_print_markdown(c->options, &out);
        (void)fwrite(out.ptr, 1, out.len, stdout);
        buf_fini(&out);
        return;
    }
    (void)printf("%s (%s)\n  %s\n  %s\n", c->name, role, c->summary ? c->summary : "", i->path);
    if (c->ports && c->ports[0]) {
        (void)printf("\nports:");
        for (size_t k = 0; c->ports[k]; k++)
            (void)printf(" .%s", c->ports[k]);
        (void)printf("\n");
    }
    (void)printf("\noptions:\n");
    options_print(c->options, stdout, cli_has_color(stdout));
    (void)printf("\n");
}

static void print_all(struct listing *l)
{
    const struct options *o = l->options;
    if (o->json)
        (void)printf("[");
    for (size_t i = 0; i < l->count; i++) {
        const struct item *item = &l->items[i];
        if (o->json)
            print_json(item, i ? "," : "");
        else if (!item->component)
            (void)printf("%-20s refused    %s\n", "-", item->refused);
        else if (l->wanted)
            print_manual(item, o->markdown);
        else
            (void)printf("%-20s %-10s %s\n", item->component->name,
                         roles[plugin_role_of(item->component)],
                         item->component->summary ? item->component->summary : "");
    }
    if (o->json)
        (void)printf("]\n");
}

static int run(void *given, int argc, char **argv)
{
    struct listing l = {.options = given};
    if (argc && strcmp(argv[0], "show") != 0)
        return cli_usage_error(&command_plugins, "unknown action %s: show", argv[0]);
    if (argc == 1)
        return cli_usage_error(&command_plugins, "show needs the name of a component");
    l.wanted = argc ? argv[1] : NULL;
    struct plugins *p = load_plugins(&l.options->dirs);
    plugins_each(p, collect, &l);
    if (l.count)
        qsort(l.items, l.count, sizeof *l.items, by_name);
    int code = l.refused && !l.wanted ? EXIT_CONFIG : EXIT_OK;
    if (l.wanted && !l.count) {
        struct error e = {0};
        (void)error_set(&e, EXIT_BAD_DATA, "no component %s: `weir plugins` lists them", l.wanted);
        code = cli_fail(&e);
    } else {
        print_all(&l);
    }
    for (size_t i = 0; i < l.count; i++) {
        mem_free(l.items[i].path);
        mem_free(l.items[i].refused);
    }
    mem_free(l.items);
    plugins_free(p);
    return code;
}

static const char *const actions[] = {"show", NULL};

const struct cli_command command_plugins = {
    .name = "plugins",
    .usage = "[show NAME] [OPTIONS]",
    .summary = "List the plugins, or print the manual of one component",
    .details = "Looks in --plugin-dir, then $WEIR_PLUGIN_PATH, then beside the program: plugins,\n"
               "../lib/weir/plugins. Exit code 78 when the list has a file that was refused.\n\n"
               "examples:\n"
               "  weir plugins\n"
               "  weir plugins show http",
    .options = options,
    .size = sizeof(struct options),
    .arguments_max = 2,
    .actions = actions,
    .run = run,
};
