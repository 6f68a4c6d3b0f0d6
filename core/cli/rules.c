/* cli/rules.c: weir rules: event patterns tried, explained and tested. */
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/rules.h"

static const struct cli_option options[] = {
    {"event", 'e', "FILE", "explain: the event, as EventBridge has it; - is standard input",
     CLI_TEXT, offsetof(struct rules_options, event)},
    {"rule", 'r', "NAME", "explain: only this rule", CLI_TEXT,
     offsetof(struct rules_options, rule)},
    {"stage", 0, "NAME", "explain: only this stage: its rules and the `where` of its inputs",
     CLI_TEXT, offsetof(struct rules_options, stage)},
    {"json", 0, NULL, "a JSON object a line (list, explain)", CLI_FLAG,
     offsetof(struct rules_options, json)},
    {"strict", 0, NULL, "match: also what TestEventPattern asks of events, and AWS's size limits",
     CLI_FLAG, offsetof(struct rules_options, strict)},
    CLI_FILE_OPTIONS(struct rules_options),
    {0},
};

static const char *const actions[] = {"match",  "explain", "test", "list",
                                      "enable", "disable", NULL};

static int run_test(const struct rules_options *o, int argc, char **argv)
{
    if (argc < 2)
        return cli_usage_error(&command_rules, "test needs a file of cases");
    if (argc > 3)
        return cli_usage_error(&command_rules, "too many arguments: %s", argv[3]);
    return rules_test(o, argv[1], argc > 2 ? argv[2] : NULL);
}

static int run_switch(const struct rules_options *o, int argc, char **argv)
{
    if (argc < 2)
        return cli_usage_error(&command_rules, "%s needs the name of a rule, such as bus.large",
                               argv[0]);
    if (argc > 3)
        return cli_usage_error(&command_rules, "too many arguments: %s", argv[3]);
    return rules_switch(o, argv[1], argc > 2 ? argv[2] : NULL, strcmp(argv[0], "enable") == 0);
}

static int run(void *given, int argc, char **argv)
{
    const struct rules_options *o = given;
    const char *verb = argv[0], *path = argc > 1 ? argv[1] : NULL;
    bool is_match = strcmp(verb, "match") == 0, is_explain = strcmp(verb, "explain") == 0;
    if (strcmp(verb, "test") == 0)
        return run_test(o, argc, argv);
    if (strcmp(verb, "enable") == 0 || strcmp(verb, "disable") == 0)
        return run_switch(o, argc, argv);
    if (!is_match && !is_explain && strcmp(verb, "list") != 0)
        return cli_usage_error(&command_rules,
                               "unknown action %s: match, explain, test, list, enable or disable",
                               verb);
    if (argc > 2 || (is_match && argc > 1))
        return cli_usage_error(&command_rules, "too many arguments: %s", argv[is_match ? 1 : 2]);
    if (is_match)
        return rules_match(o, STDIN_FILENO);
    if (is_explain && !o->event)
        return cli_usage_error(&command_rules, "explain needs --event FILE");
    return is_explain ? rules_explain(o, path) : rules_list(o, path);
}

const struct cli_command command_rules = {
    .name = "rules",
    .usage = "match | explain --event FILE | test CASES | list | enable|disable RULE  [FILE] "
             "[OPTIONS]",
    .summary = "Try event patterns on events, explain and test a pipeline's rules",
    .details =
        "`match` reads a JSON object a line, {\"pattern\": ..., \"event\": ...}, each a JSON "
        "value\n"
        "or a string that holds JSON, and answers a line each: {\"match\": true}, {\"match\": "
        "false}\n"
        "or {\"error\": \"...\"}. A line that is wrong is answered with its error; the next is "
        "read.\n"
        "`explain` tells for each rule of the pipeline, and for each `where` of an input, whether\n"
        "the event matches, or the first field that fails, with what was expected and what was\n"
        "found. `test` runs a file of cases\n"
        "(YAML or JSON: `cases:`, a list of maps with `name`, `event` and `rules`, the names of "
        "the\n"
        "rules that are to match) and exits with 1 when something differs. `list` prints the "
        "rules.\n"
        "`enable` and `disable` switch a rule of a bus, running or stopped. It stays so, over "
        "restarts\n"
        "too, until it is switched again or the pipeline file comes to say the same by "
        "`enabled`.\n\n"
        "examples:\n"
        "  echo '{\"pattern\": {\"a\": [{\"prefix\": \"x\"}]}, \"event\": {\"a\": \"xyz\"}}' | "
        "weir "
        "rules match\n"
        "  weir rules explain --event order.json --rule bus.large pipeline.yaml\n"
        "  weir rules explain --event order.json --stage invoices pipeline.yaml\n"
        "  weir rules test rules-test.yaml pipeline.yaml\n"
        "  weir rules disable bus.large pipeline.yaml",
    .options = options,
    .size = sizeof(struct rules_options),
    .arguments_min = 1,
    .arguments_max = -1,
    .actions = actions,
    .run = run,
};
