/* cli/version.c: weir version. */
#include "cli/commands.h"

static int run(void *options, int argc, char **argv)
{
    (void)printf("weir %s (plugin ABI %u.%u)\n", WEIR_VERSION, WEIR_ABI_MAJOR,
                 (unsigned)PLUGIN_ABI_MINOR);
    return EXIT_OK;
}

const struct cli_command command_version = {
    .name = "version",
    .usage = "",
    .summary = "Print the version and the plugin ABI",
    .run = run,
};
