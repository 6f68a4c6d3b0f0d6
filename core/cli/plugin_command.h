/* cli/plugin_command.h: the commands that plugins add: weir NAME ACTION [OPTIONS] [pipeline.yaml]. */
#pragma once
#include "cli/cli.h"

/* The exit code; -1: no plugin has a command of this name. */
int plugin_command_main(const char *name, int argc, char **argv);
void plugin_command_list(FILE *out); /* a line for each, as in weir --help */
