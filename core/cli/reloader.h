/* cli/reloader.h: reads the pipeline file again for a pipeline that runs: on a signal, a call of the admin
 * listener, or when a file has changed. Main thread. */
#pragma once
#include "cli/cli.h"
#include "net/loop.h"

struct reloader;

struct reloader_settings {
    struct loop *loop;
    struct pipeline *pipeline;
    const char *path; /* as given on the command line; NULL: the usual places */
    const struct cli_file *options;
    bool is_json;  /* of the log */
    bool is_watch; /* reload when a file changes */
};

/* NULL with the reason: files cannot be watched. */
struct reloader *reloader_new(const struct reloader_settings *s, struct error *e);
void reloader_free(struct reloader *r); /* who waits hears that the runner stops */

/* Reads the file and exchanges what is another. done: once, with JSON, or NULL; two requests before the
 * first has begun are one. */
typedef void reloader_done(void *arg, weir_str json);
void reloader_request(struct reloader *r, reloader_done *done, void *arg);
bool reloader_is_busy(const struct reloader *r); /* reloader_tick is due in milliseconds */
void reloader_tick(struct reloader *r);
