/* cli/validate.c: weir validate: all that run checks before it starts anything. */
#include "cli/commands.h"

struct options {
    struct cli_file file;
    bool json, strict;
};

static const struct cli_option options[] = {
    CLI_FILE_OPTIONS(struct options),
    {"json", 0, NULL, "diagnostics as JSON lines, for editors", CLI_FLAG,
     offsetof(struct options, json)},
    {"strict", 0, NULL, "warnings count as errors", CLI_FLAG, offsetof(struct options, strict)},
    {0},
};

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    struct loaded l;
    int code = load_pipeline(argc ? argv[0] : NULL, &o->file, o->json, &l);
    if (code == EXIT_OK && o->strict && document_warnings(l.document))
        code = EXIT_CONFIG;
    if (code == EXIT_OK && !o->json)
        (void)printf("%s is valid: %zu stages\n", load_path(argc ? argv[0] : NULL),
                     l.plan->stage_count);
    load_free(&l);
    return code;
}

const struct cli_command command_validate = {
    .name = "validate",
    .usage = "[OPTIONS] [FILE]",
    .summary = "Check a pipeline file; starts nothing, needs no network",
    .details =
        "What validate accepts is exactly what run accepts. Exit code 78 when there are errors.",
    .options = options,
    .size = sizeof(struct options),
    .arguments_max = 1,
    .run = run,
};
