/* cli/schema.c: weir schema: the JSON Schema of pipeline files, for editors; and the core's own manual. */
#include "base/mem.h"
#include "cli/commands.h"

struct options {
    struct cli_list dirs;
    bool markdown;
};

static const struct cli_option options[] = {
    {"plugin-dir", 0, "DIR", "look for plugins here first; may be given several times", CLI_LIST,
     offsetof(struct options, dirs)},
    {"markdown", 0, NULL, "the core's own keys as the page of the reference", CLI_FLAG,
     offsetof(struct options, markdown)},
    {0},
};

struct all {
    const weir_component **items;
    size_t count, cap;
};

static void collect(void *user, const char *path, const weir_component *c, const char *refused)
{
    struct all *a = user;
    if (c)
        MEM_PUSH(a->items, a->count, a->cap) = c;
}

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    struct all all = {0};
    struct buf out = {0};
    struct plugins *p = load_plugins(&o->dirs);
    plugins_each(p, collect, &all);
    MEM_PUSH(all.items, all.count, all.cap) = NULL;
    if (o->markdown) {
        buf_add_text(&out, "## Top level\n\n");
        options_print_markdown(plan_settings_options, &out);
        buf_add_text(&out, "\n## Every transform and sink\n\n");
        options_print_markdown(plan_delivery_options, &out);
    } else {
        plan_print_schema(all.items, &out);
    }
    (void)fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&out);
    mem_free(all.items);
    plugins_free(p);
    return EXIT_OK;
}

const struct cli_command command_schema = {
    .name = "schema",
    .usage = "[OPTIONS]",
    .summary = "Print the JSON Schema of pipeline files, for editors",
    .details = "Put it into a file, and name that in the first line of the pipeline file:\n"
               "  # yaml-language-server: $schema=weir.schema.json",
    .options = options,
    .size = sizeof(struct options),
    .run = run,
};
