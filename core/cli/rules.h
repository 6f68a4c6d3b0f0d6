/* cli/rules.h: the parts of weir rules. */
#pragma once
#include "cli/cli.h"

struct rules_options {
    struct cli_file file;
    bool strict;
};

int rules_match(const struct rules_options *o, int fd); /* reads fd, answers on standard output */
