/* cli/replay.h: the parts of weir replay. */
#pragma once
#include "cli/store.h"
#include "pipeline/replay.h"

struct replay_options {
    struct cli_store store;
    const char *archive, *from, *to, *name, *bus, *where, *speed;
    struct cli_list rules;
    bool ordered, dry_run, wait, detach, json;
};

/* replay_follow.c: shows how far it is until it is over. The exit code: 0, if it was completed. */
int replay_follow(const struct replay_options *o, const char *data_dir, weir_str replay);
weir_str replay_text(weir_str replay, const char *name,
                     struct arena *a); /* "" where it is not there */
uint64_t replay_number(weir_str replay, const char *name);
