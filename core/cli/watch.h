/* cli/watch.h: tells when a file changes that a pipeline was made of. */
#pragma once
#include "cli/cli.h"
#include "net/loop.h"

struct watch;

struct watch *watch_new(struct loop *l, void (*fn)(void *user), void *user, struct error *e);
/* From now on these: the pipeline file, what ${file:} names, what its stages read. Of a file that has
 * errors (no plan) those are added that it names. NULL: as before. */
void watch_files(struct watch *w, const struct loaded *loaded);
void watch_free(struct watch *w);
