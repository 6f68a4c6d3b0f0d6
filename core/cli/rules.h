/* cli/rules.h: the parts of weir rules. */
#pragma once
#include "cli/cli.h"
#include "match/match.h"

struct rules_options {
    struct cli_file file;
    const char *event, *rule, *stage;
    bool strict, json;
};

int rules_match(const struct rules_options *o, int fd); /* reads fd, answers on standard output */

/* ---- rules_file.c: the rules of a pipeline file ---- */

struct rules_loaded {
    struct loaded pipeline;
    struct match_set *set; /* a pattern for each of rules */
    const struct service_rule *rules;
    size_t count;
};
int rules_load(const struct rules_options *o, const char *path, struct rules_loaded *l);
void rules_free(struct rules_loaded *l);
/* "bus.large", in the arena. */
weir_str rules_name(const struct service_rule *r, struct arena *a);

int rules_list(const struct rules_options *o, const char *path);
int rules_explain(const struct rules_options *o, const char *path);
/* rules_switch.c: "bus.large" takes events, or takes none. */
int rules_switch(const struct rules_options *o, const char *rule, const char *path,
                 bool is_enabled);
int rules_test(const struct rules_options *o, const char *cases, const char *path);
