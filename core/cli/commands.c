/* cli/commands.c: the list of commands. */
#include "cli/commands.h"

const struct cli_command *const cli_commands[] = {&command_run, &command_validate, &command_version,
                                                  NULL};
