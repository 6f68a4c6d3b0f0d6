/* cli/cli.h: the command line: one file per command. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"
#include "config/plan.h"
#include "pipeline/pipeline.h"
#include "plugin/plugin.h"

/* In the order in which a row is read. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct cli_option {
    const char *name;  /* long, without dashes; NULL ends the table */
    char letter;       /* short, or 0 */
    const char *value; /* what the help calls its value; NULL: a flag */
    const char *help;  /* begins with actions where it is for these only: "redrive, purge: ..." */
    enum { CLI_FLAG, CLI_TEXT, CLI_LIST, CLI_NUMBER, CLI_COUNT } kind; /* a count is at least 1 */
    size_t offset; /* of a bool, const char *, struct cli_list or int64_t in the command's struct */
};

struct cli_list {
    const char **items; /* ends with NULL; NULL when empty */
    size_t count, cap;
};

struct cli_command {
    const char *name, *usage, *summary;
    const char *details; /* examples and more, under the options; NULL: none */
    const struct cli_option *options;
    size_t size;                      /* of the struct that the options fill */
    int arguments_min, arguments_max; /* max < 0: any number */
    const char *const *actions;       /* what its first argument may be, ends with NULL; or NULL */
    int (*run)(void *options, int argc, char **argv);
};

/* Options that every command has. */
struct cli_common {
    bool help, no_color;
};
extern struct cli_common cli_common;

extern const struct cli_command *const cli_commands[]; /* ends with NULL */
int cli_main(int argc, char **argv);
int cli_run(const struct cli_command *c, int argc, char **argv); /* the exit code */
bool cli_has_color(FILE *out); /* a terminal, NO_COLOR is not set */
/* What strangers wrote, on standard output. A terminal gets \x1b for control bytes but tab and newline
 * (and for bytes that are no UTF-8), so that nobody steers it by a log line; all else, and with
 * is_raw a terminal too, gets the bytes as they are. */
void cli_print(weir_str text, bool is_raw);
int cli_usage_error(const struct cli_command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* RFC 3339, "now", or a time ago: 2h, -2h. */
bool cli_read_time(const char *text, int64_t *wall_ns);
bool cli_read_rate(const char *text, double *per_s); /* 100/s, 100, 5/m, 1/h */
int cli_fail(const struct error *e);                 /* prints it; the exit code */

/* ---- load.c: from the file to a checked plan ---- */

struct cli_file { /* options of all commands that read a pipeline file */
    struct cli_list sets, plugin_dirs;
};
#define CLI_FILE_OPTIONS(T) \
    {"set",        's', \
     "PATH=VALUE", "override a scalar of the file; may be given several times", \
     CLI_LIST,     offsetof(T, file.sets)}, \
    { \
        "plugin-dir", 0, "DIR", "look for plugins here first; may be given several times", \
            CLI_LIST, offsetof(T, file.plugin_dirs) \
    }

struct loaded {
    struct document *document;
    struct plugins *plugins;
    struct service_tables *services;
    struct plan *plan;
};

/* NULL path: $WEIR_CONFIG, ./pipeline.yaml, /etc/weir/pipeline.yaml. Prints every diagnostic. 0, or the
 * exit code. */
int load_pipeline(const char *path, const struct cli_file *options, bool is_json, struct loaded *l);
/* The same without telling: the diagnostics are the document's (NULL: there is no file). */
int load_read(const char *path, const struct cli_file *options, struct loaded *l);
void load_free(struct loaded *l);
const char *load_path(const char *path); /* the file that is meant, or NULL */
/* The plugins alone. */
struct plugins *load_plugins(const struct cli_list *dirs);
