/* cli/commands.c: the list of commands. */
#include "cli/commands.h"

const struct cli_command *const cli_commands[] = {
    &command_run,        &command_validate, &command_graph, &command_plugins, &command_logs,
    &command_queue,      &command_dlq,      &command_trace, &command_journal, &command_schema,
    &command_completion, &command_version,  NULL,
};
