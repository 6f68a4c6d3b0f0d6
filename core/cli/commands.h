/* cli/commands.h: the commands, each in a file of its name. */
#pragma once
#include "cli/cli.h"

extern const struct cli_command command_run, command_validate, command_version;
