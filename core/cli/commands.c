/* cli/commands.c: the list of commands. */
#include "cli/commands.h"

/* One a line, in the order of the help. */
/* clang-format off */
const struct cli_command *const cli_commands[] = {
    &command_run,
    &command_reload,
    &command_validate,
    &command_graph,
    &command_plugins,
    &command_logs,
    &command_queue,
    &command_dlq,
    &command_archive,
    &command_replay,
    &command_audit,
    &command_trace,
    &command_rules,
    &command_journal,
    &command_schema,
    &command_completion,
    &command_version,
    NULL,
};
/* clang-format on */
