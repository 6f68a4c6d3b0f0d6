/* cli/plugin_command.c: the commands that plugins add to the command line. */
#include "cli/plugin_command.h"

#include <string.h>

#include "base/mem.h"
#include "config/document.h"
#include "pipeline/lane.h"
#include "pipeline/services.h"

enum { FLAGS_MAX = 8, VALUES_MAX = 8, ACTIONS_MAX = 16 };

struct options {
    struct cli_file file;
    bool given[FLAGS_MAX];
    const char *values[VALUES_MAX];
    const char *argument;
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

/* A plugin that was built before there were values and arguments is smaller. */
static bool has_rest(const weir_command *k)
{
    return k->size >= WEIR_UPTO(weir_command, run_given);
}

static const char *argument_of(const weir_command *k)
{
    return has_rest(k) && k->run_given ? k->argument : NULL;
}

static int call(void *self, const weir_host *h, const struct options *o)
{
    const weir_command *k = chosen.action;
    weir_given given = {.argument = o->argument, .values = o->values};
    for (size_t i = 0; i < FLAGS_MAX; i++)
        given.flags |= o->given[i] ? UINT32_C(1) << i : 0;
    return has_rest(k) && k->run_given ? k->run_given(self, h, &given)
                                       : k->run(self, h, given.flags);
}

static int run_lane(struct stage *s, const struct options *o)
{
    struct worker nowhere = {0};
    struct lane *l = lane_new(s, &nowhere);
    s->lanes = &l;
    s->lane_count = 1;
    lane_enter(l, NULL, NULL);
    int code = call(s->self, &l->host, o);
    lane_leave(l);
    stage_run_endings(s);
    lane_free(l);
    return code;
}

static int run_presets(struct document *d, struct service_tables *services, const struct options *o)
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

static int run_stage(struct document *d, const struct plan_stage *ps, const struct options *o)
{
    struct stage s = {.document = d,
                      .plan = ps,
                      .component = ps->component,
                      .name = ps->name,
                      .role = ps->role,
                      .self = ps->state};
    return run_lane(&s, o);
}

static int run_stages(const struct loaded *l, const struct options *o)
{
    int code = EXIT_OK;
    size_t ran = 0;
    for (size_t i = 0; i < l->plan->stage_count; i++) {
        const struct plan_stage *ps = l->plan->stages[i];
        if (ps->component != chosen.component)
            continue;
        int its = run_stage(l->document, ps, o);
        code = its > code ? its : code;
        ran++;
    }
    if (ran)
        return code;
    (void)fprintf(stderr, "weir %s %s: no stage of the pipeline file has plugin: %s\n",
                  chosen.action->name, chosen.action->action, chosen.component->name);
    return EXIT_CONFIG;
}

static int run_of_file(const char *path, const struct options *o)
{
    struct loaded l = {0};
    int code = load_pipeline(path, &o->file, false, &l);
    if (!code && plugin_role_of(chosen.component) == PLUGIN_SERVICE)
        code = run_presets(l.document, l.services, o);
    else if (!code)
        code = run_stages(&l, o);
    load_free(&l);
    return code;
}

static int run_without_file(const struct options *o)
{
    struct document *d = document_parse("command", weir_text("{}"), &(struct config_input){0});
    struct service_tables *services = service_tables_new();
    int code = run_presets(d, services, o);
    service_tables_free(services);
    document_free(d);
    return code;
}

static int run(void *given, int argc, char **argv)
{
    struct options *o = given;
    if (argument_of(chosen.action)) {
        o->argument = argv[0];
        return run_without_file(o);
    }
    /* Without a file the command of a service is about the machine alone. */
    bool is_file_needed = plugin_role_of(chosen.component) != PLUGIN_SERVICE;
    return argc || is_file_needed || load_path(NULL) ? run_of_file(argc ? argv[0] : NULL, o)
                                                     : run_without_file(o);
}

/* ---- its options ------------------------------------------------------------------------------ */

static const struct cli_option file_options[] = {CLI_FILE_OPTIONS(struct options)};

/* The word before the =, and what follows it. */
static const char *cut(struct arena *texts, const char **rest)
{
    const char *equals = strchr(*rest, '='), *word = *rest;
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    *rest = equals ? equals + 1 : "";
    return arena_format(texts, "%.*s", (int)n, word);
}

static size_t rows_of(const weir_command *k, struct cli_option *rows, struct arena *texts)
{
    const char *const *values = has_rest(k) ? k->values : NULL;
    size_t n = 0;
    for (size_t i = 0; k->flags && k->flags[i] && i < FLAGS_MAX; i++) {
        const char *rest = k->flags[i];
        rows[n] = (struct cli_option){.name = cut(texts, &rest), .kind = CLI_FLAG};
        rows[n].offset = offsetof(struct options, given) + i * sizeof(bool);
        rows[n++].help = rest;
    }
    for (size_t i = 0; values && values[i] && i < VALUES_MAX; i++) {
        const char *rest = values[i];
        rows[n] = (struct cli_option){.name = cut(texts, &rest), .kind = CLI_TEXT};
        rows[n].value = cut(texts, &rest);
        rows[n].offset = offsetof(struct options, values) + i * sizeof(char *);
        rows[n++].help = rest;
    }
    memcpy(rows + n, file_options, sizeof file_options);
    return n;
}

static int run_action(const weir_command *k, int argc, char **argv)
{
    struct cli_option rows[FLAGS_MAX + VALUES_MAX + 3] = {0};
    struct arena texts;
    arena_init(&texts);
    const char *argument = argument_of(k);
    size_t own = rows_of(k, rows, &texts);
    if (argument)
        rows[own] = rows[own + 1]; /* the folders of plugins; there is no file to override */
    if (argument)
        rows[own + 1] = (struct cli_option){0};
    const struct cli_command command = {.name = arena_format(&texts, "%s %s", k->name, k->action),
                                        .usage =
                                            arena_format(&texts, "[OPTIONS] %s",
                                                         argument ? argument : "[pipeline.yaml]"),
                                        .summary = k->summary,
                                        .details = k->details,
                                        .options = rows,
                                        .size = sizeof(struct options),
                                        .arguments_min = argument != NULL,
                                        .arguments_max = 1,
                                        .run = run};
    chosen.action = k;
    int code = cli_run(&command, argc, argv);
    arena_fini(&texts);
    return code;
}

static int usage_of(const struct search *s, bool is_help)
{
    FILE *out = is_help ? stdout : stderr;
    if (s->action && !is_help)
        (void)fprintf(out, "weir %s: unknown action %s\n", s->name, s->action);
    (void)fprintf(out, "usage: weir %s ACTION [OPTIONS] [ARGUMENT]\n\nactions:\n", s->name);
    for (size_t i = 0; i < s->count; i++)
        (void)fprintf(out, "  %-13s %s\n", s->any[i]->action, s->any[i]->summary);
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
    (void)fprintf(user, "  %-13s %s\n", name, k->summary);
    mem_free(name);
}

void plugin_command_list(FILE *out)
{
    struct plugins *p = plugins_for(0, NULL);
    plugins_each_command(p, list, out);
    plugins_free(p);
}

/* ---- for completion ---------------------------------------------------------------------------- */

enum { NAMES_MAX = 16, ROWS_MAX = ACTIONS_MAX * (FLAGS_MAX + VALUES_MAX) + 2 };

struct tables {
    struct arena *texts;
    struct cli_command *commands[NAMES_MAX + 1];
    const char **actions[NAMES_MAX];
    struct cli_option *rows[NAMES_MAX];
};

static size_t table_of(struct tables *t, const weir_command *k)
{
    size_t i = 0;
    while (i < NAMES_MAX && t->commands[i] && strcmp(t->commands[i]->name, k->name) != 0)
        i++;
    if (i == NAMES_MAX || t->commands[i])
        return i;
    t->actions[i] = arena_take(t->texts, (ACTIONS_MAX + 1) * sizeof(char *));
    t->rows[i] = arena_take(t->texts, (ROWS_MAX + 1) * sizeof(struct cli_option));
    t->commands[i] = arena_take(t->texts, sizeof(struct cli_command));
    *t->commands[i] = (struct cli_command){.name = k->name,
                                           .summary = k->summary,
                                           .actions = t->actions[i],
                                           .options = t->rows[i]};
    memcpy(t->rows[i], file_options, sizeof file_options);
    return i;
}

static void add_row(struct cli_option *all, const struct cli_option *row)
{
    size_t i = 0;
    while (all[i].name && strcmp(all[i].name, row->name) != 0)
        i++;
    if (i < ROWS_MAX)
        all[i] = *row;
}

static void add_table(void *user, const weir_component *c, const weir_command *k)
{
    struct tables *t = user;
    struct cli_option own[FLAGS_MAX + VALUES_MAX + 3] = {0};
    size_t i = table_of(t, k), n = 0, rows = rows_of(k, own, t->texts);
    if (i == NAMES_MAX)
        return;
    while (t->actions[i][n])
        n++;
    if (n < ACTIONS_MAX)
        t->actions[i][n] = k->action;
    for (size_t row = 0; row < rows; row++)
        add_row(t->rows[i], &own[row]);
}

const struct cli_command *const *plugin_command_tables(struct arena *texts)
{
    struct tables t = {.texts = texts};
    struct plugins *p = plugins_for(0, NULL);
    plugins_each_command(p, add_table, &t);
    plugins_free(p);
    return arena_copy(texts, t.commands, sizeof t.commands);
}
