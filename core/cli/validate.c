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

static int validate(const struct options *o, const char *path)
{
    struct loaded l;
    int code = load_pipeline(path, &o->file, o->json, &l);
    if (code == EXIT_OK && o->strict && document_warnings(l.document))
        code = EXIT_CONFIG;
    if (code == EXIT_OK && !o->json)
        (void)printf("%s is valid: %zu stages\n", load_path(path), l.plan->stage_count);
    load_free(&l);
    return code;
}

/* Each file is a pipeline of its own; the exit code is that of the first that is refused. */
static int run(void *given, int argc, char **argv)
{
    int code = validate(given, argc ? argv[0] : NULL);
    for (int i = 1; i < argc; i++) {
        int next = validate(given, argv[i]);
        code = code == EXIT_OK ? next : code;
    }
    return code;
}

const struct cli_command command_validate = {
    .name = "validate",
    .usage = "[OPTIONS] [FILE...]",
    .summary = "Check a pipeline file; starts nothing, needs no network",
    .details =
        "What validate accepts is exactly what run accepts. Exit code 78 when there are errors.",
    .options = options,
    .size = sizeof(struct options),
    .arguments_max = -1,
    .run = run,
};
