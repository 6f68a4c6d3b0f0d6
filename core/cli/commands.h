/* cli/commands.h: the commands, each in a file of its name. */
#pragma once
#include "cli/cli.h"

extern const struct cli_command command_run;
extern const struct cli_command command_reload;
extern const struct cli_command command_validate;
extern const struct cli_command command_graph;
extern const struct cli_command command_plugins;
extern const struct cli_command command_logs;
extern const struct cli_command command_queue;
extern const struct cli_command command_dlq;
extern const struct cli_command command_archive;
extern const struct cli_command command_replay;
extern const struct cli_command command_audit;
extern const struct cli_command command_trace;
extern const struct cli_command command_rules;
extern const struct cli_command command_journal;
extern const struct cli_command command_schema;
extern const struct cli_command command_completion;
extern const struct cli_command command_version;
