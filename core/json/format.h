/* json/format.h: the values of the keyword `format`, each a test of a text. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

struct format {
    const char *name, *message; /* "must be an e-mail address" */
    bool (*test)(weir_str text);
};

const struct format *format_find(weir_str name); /* NULL: there is none */
const char *format_nearest(const char *name);
