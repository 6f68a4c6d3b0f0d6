/* cli/plugin_command.c: the commands that plugins add to the command line. */
#include "cli/plugin_command.h"

#include <string.h>

#include "base/mem.h"
#include "config/document.h"
#include "pipeline/lane.h"
#include "pipeline/services.h"

enum { FLAGS_MAX = 8, ACTIONS_MAX = 16 };

struct options {
    struct cli_file file;
    bool given[FLAGS_MAX];
};

static struct { /* what was asked for; one command runs in a process */
    const weir_component *component;
    const weir_command *action;
} chosen;

struct search {
    const char *name, *action;
    const weir_component *component;
    const weir_command *found, *any[ACTIONS_MAX];
    size_t count;
};

static void match(void *user, const weir_component *c, const weir_command *k)
{
    struct search *s = user;
    if (strcmp(k->name, s->name) != 0)
        return;
    if (s->count < ACTIONS_MAX)
        s->any[s->count++] = k;
    if (!s->action || s->found || strcmp(k->action, s->action) != 0)
        return;
    s->found = k;
    s->component = c;
}

/* ---- an instance for it ----------------------------------------------------------------------- */

static int run_lane(struct stage *s, struct options *o)
{
    struct worker nowhere = {0};
    struct lane *l = lane_new(s, &nowhere);
    uint32_t given = 0;
    s->lanes = &l;
    s->lane_count = 1;
    for (size_t i = 0; i < FLAGS_MAX; i++)
        given |= o->given[i] ? UINT32_C(1) << i : 0;
    lane_enter(l, NULL, NULL);
    int code = chosen.action->run(s->self, &l->host, given);
    lane_leave(l);
    stage_run_endings(s);
    lane_free(l);
    return code;
}

static int run_instance(struct document *d, struct service_tables *services, struct options *o)
{
    static const weir_option none[] = {{0}};
    const weir_component *c = chosen.component;
    const struct option_services filler = {service_one, service_many, services};
    struct plan_stage plan = {.name = c->name, .component = c, .role = ROLE_SERVICE};
    plan.places = places_new(d);
    plan.state = mem_new(c->state_size ? c->state_size : 1);
    struct stage s = {.document = d,
                      .plan = &plan,
                      .component = c,
                      .name = c->name,
                      .role = ROLE_SERVICE,
                      .self = plan.state};
    int code = EXIT_CONFIG;
    if (options_fill(d, plan.places, c->options ? c->options : none, NULL, NULL, &filler,
                     plan.state))
        code = run_lane(&s, o);
    else
        diag_print(d, stderr, cli_has_color(stderr));
    mem_free(plan.state);
    places_free(plan.places);
    return code;
}

static int run(void *given, int argc, char **argv)
{
    struct options *o = given;
    struct loaded l = {0};
    const char *path = argc ? argv[0] : NULL;
    if (path || load_path(NULL)) { /* without a file it is about the machine alone */
        int failed = load_pipeline(path, &o->file, false, &l);
        if (!failed)
            failed = run_instance(l.document, l.services, o);
        load_free(&l);
        return failed;
    }
    struct document *d = document_parse("command", weir_text("{}"), &(struct config_input){0});
    struct service_tables *services = service_tables_new();
    int code = run_instance(d, services, o);
    service_tables_free(services);
    document_free(d);
    return code;
}

/* ---- its options ------------------------------------------------------------------------------ */

static const struct cli_option file_options[] = {CLI_FILE_OPTIONS(struct options)};

static size_t flags_of(const weir_command *k, struct cli_option *rows, char **names)
{
    size_t n = 0;
    for (const char *const *flag = k->flags; flag && *flag && n < FLAGS_MAX; flag++, n++) {
        const char *equals = strchr(*flag, '=');
        names[n] = equals ? mem_copy(*flag, (size_t)(equals - *flag)) : mem_text(*flag);
        rows[n] = (struct cli_option){.name = names[n],
                                      .help = equals ? equals + 1 : "",
                                      .kind = CLI_FLAG,
                                      .offset = offsetof(struct options, given) + n * sizeof(bool)};
    }
    return n;
}

static int run_action(const weir_command *k, int argc, char **argv)
{
    struct cli_option rows[FLAGS_MAX + 3] = {0};
    char *name = mem_format("%s %s", k->name, k->action);
    char *names[FLAGS_MAX];
    size_t flags = flags_of(k, rows, names);
    memcpy(rows + flags, file_options, sizeof file_options);
    const struct cli_command command = {.name = name,
                                        .usage = "[OPTIONS] [pipeline.yaml]",
                                        .summary = k->summary,
                                        .details = k->details,
                                        .options = rows,
                                        .size = sizeof(struct options),
                                        .arguments_max = 1,
                                        .run = run};
    chosen.action = k;
    int code = cli_run(&command, argc, argv);
    for (size_t i = 0; i < flags; i++)
        mem_free(names[i]);
    mem_free(name);
    return code;
}

static int usage_of(const struct search *s, bool is_help)
{
    FILE *out = is_help ? stdout : stderr;
    if (s->action && !is_help)
        (void)fprintf(out, "weir %s: unknown action %s\n", s->name, s->action);
    (void)fprintf(out, "usage: weir %s ACTION [OPTIONS] [pipeline.yaml]\n\nactions:\n", s->name);
    for (size_t i = 0; i < s->count; i++)
        (void)fprintf(out, "  %-12s %s\n", s->any[i]->action, s->any[i]->summary);
    return is_help ? EXIT_OK : EXIT_USAGE_ERROR;
}

/* Folders have to be known before the command is. */
static struct plugins *plugins_for(int argc, char **argv)
{
    static const char option[] = "--plugin-dir";
    struct cli_list dirs = {0};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], option) == 0 && i + 1 < argc)
            MEM_PUSH(dirs.items, dirs.count, dirs.cap) = argv[i + 1];
        else if (strncmp(argv[i], option, sizeof option - 1) == 0 && argv[i][sizeof option - 1])
            MEM_PUSH(dirs.items, dirs.count, dirs.cap) = argv[i] + sizeof option;
    }
    MEM_PUSH(dirs.items, dirs.count, dirs.cap) = NULL;
    struct plugins *p = load_plugins(&dirs);
    mem_free(dirs.items);
    return p;
}

int plugin_command_main(const char *name, int argc, char **argv)
{
    bool is_help =
        cli_common.help || (argc && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0));
    struct search s = {.name = name, .action = argc && argv[0][0] != '-' ? argv[0] : NULL};
    struct plugins *p = plugins_for(argc, argv);
    int code = -1;
    plugins_each_command(p, match, &s);
    chosen.component = s.component;
    if (s.found)
        code = run_action(s.found, argc - 1, argv + 1);
    else if (s.count)
        code = usage_of(&s, is_help);
    plugins_free(p);
    return code;
}

static void list(void *user, const weir_component *c, const weir_command *k)
{
    char *name = mem_format("%s %s", k->name, k->action);
    (void)fprintf(user, "  %-12s %s\n", name, k->summary);
    mem_free(name);
}

void plugin_command_list(FILE *out)
{
    struct plugins *p = plugins_for(0, NULL);
    plugins_each_command(p, list, out);
    plugins_free(p);
}
