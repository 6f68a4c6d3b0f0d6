/* json/pattern.h: regular expressions as in ECMA-262, by libpcre2-8, which is loaded on first use. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

#include "base/error.h"

struct pattern;

/* NULL with the reason: what is wrong with it, or that the library is not installed. */
struct pattern *pattern_new(weir_str text, struct error *e);
void pattern_free(struct pattern *p);

enum { PATTERN_NO, PATTERN_YES, PATTERN_TOO_COSTLY };
/* Anywhere in the text, which is UTF-8. Any thread. What a match may cost is limited. */
int pattern_test(const struct pattern *p, weir_str text);
bool pattern_is_valid(weir_str text);
