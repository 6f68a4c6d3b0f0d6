/* cli/commands.h: the commands, each in a file of its name. */
#pragma once
#include "cli/cli.h"

extern const struct cli_command command_run, command_validate, command_graph, command_plugins,
    command_schema, command_logs, command_queue, command_dlq, command_trace, command_journal,
    command_completion, command_version;
