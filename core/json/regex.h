/* json/regex.h: regular expressions as in ECMA-262, by libpcre2-8, which is loaded on first use. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

#include "base/error.h"

struct regex;

/* NULL with the reason: what is wrong with it, or that the library is not installed. */
struct regex *regex_new(weir_str text, struct error *e);
void regex_free(struct regex *p);

enum { REGEX_NO, REGEX_YES, REGEX_TOO_COSTLY };
/* Anywhere in the text, which is UTF-8. Any thread. What a match may cost is limited. */
int regex_test(const struct regex *p, weir_str text);
bool regex_is_valid(weir_str text);
