/* cli/rules.c: weir rules: event patterns tried, explained and tested. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/rules.h"

static const struct cli_option options[] = {
    CLI_FILE_OPTIONS(struct rules_options),
    {"strict", 0, NULL, "match: also what TestEventPattern asks of events, and AWS's size limits",
     CLI_FLAG, offsetof(struct rules_options, strict)},
    {0},
};

static const char *const actions[] = {"match", NULL};

static int run(void *given, int argc, char **argv)
{
    const struct rules_options *o = given;
    const char *verb = argv[0];
    if (strcmp(verb, "match") == 0) {
        if (argc > 1)
            return cli_usage_error(&command_rules, "match reads standard input: found %s", argv[1]);
        return rules_match(o, STDIN_FILENO);
    }
    return cli_usage_error(&command_rules, "unknown action %s: match", verb);
}

const struct cli_command command_rules = {
    .name = "rules",
    .usage = "match [OPTIONS]",
    .summary = "Try event patterns on events",
    .details = "`match` reads a JSON object a line, {\"pattern\": ..., \"event\": ...}, each a "
               "JSON value\n"
               "or a string that holds JSON, and answers a line each: {\"match\": true}, "
               "{\"match\": false}\n"
               "or {\"error\": \"...\"}. A line that is wrong is answered with its error; the next "
               "is read.\n\n"
               "example:\n"
               "  echo '{\"pattern\": {\"a\": [{\"prefix\": \"x\"}]}, \"event\": {\"a\": "
               "\"xyz\"}}' | weir rules match",
    .options = options,
    .size = sizeof(struct rules_options),
    .arguments_min = 1,
    .arguments_max = -1,
    .actions = actions,
    .run = run,
};
