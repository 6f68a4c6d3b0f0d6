/* cli/plugin_command.h: the commands that plugins add: weir NAME ACTION [OPTIONS] [ARGUMENT]. */
#pragma once
#include "base/mem.h"
#include "cli/cli.h"

/* The exit code; -1: no plugin has a command of this name. */
int plugin_command_main(const char *name, int argc, char **argv);
void plugin_command_list(FILE *out); /* a line for each, as in weir --help */
/* For completion: one for each NAME, with its actions and all their options; ends with NULL, like the
 * `actions` of each; they live as long as the arena. */
const struct cli_command *const *plugin_command_tables(struct arena *texts);
