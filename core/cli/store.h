/* cli/store.h: the data directory of a pipeline, in use by a runner or not. */
#pragma once
#include "base/buf.h"
#include "cli/cli.h"

struct cli_store { /* options of commands that look at a data directory */
    struct cli_file file;
    const char *config, *data_dir;
};
#define CLI_STORE_OPTIONS(T) \
    {"config", 'c', \
     "FILE",   "the pipeline file (default: $WEIR_CONFIG, ./pipeline.yaml, ...)", \
     CLI_TEXT, offsetof(T, store.config)}, \
        {"set",        's', \
         "PATH=VALUE", "override a scalar of the file", \
         CLI_LIST,     offsetof(T, store.file.sets)}, \
    { \
        "data-dir", 'd', "DIR", "the data directory, instead of the file's", CLI_TEXT, \
            offsetof(T, store.data_dir) \
    }

/* The data directory, kept in *path (to be freed); 0 or the exit code, with the reason told. */
int store_find(const struct cli_store *s, char **path);
/* The same, with the names of the file's stages (they end with NULL; each and the list to be freed by
 * store_stages_free), or NULL where no file was read. */
int store_find_stages(const struct cli_store *s, char **path, char ***stages);
void store_stages_free(char **stages);
/* A name as one part of a call's path, whatever is in it; to be freed. */
char *store_part(const char *name);
/* Asks the runner that uses the directory. 1: none does (open the journal yourself); 0: *out is its
 * answer; else the exit code, with the reason told. */
int store_ask(const char *data_dir, const char *method, const char *target, struct buf *out);
int store_post(const char *data_dir, const char *target, weir_str body, struct buf *out);
/* Says why there is no folder with a journal; -1. */
int store_no_journal(const char *path, struct error *e);
struct journal *store_open(const char *data_dir, struct error *e); /* of a stopped pipeline */
struct journal *store_read(const char *data_dir,
                           struct error *e); /* the same; nothing is written */
