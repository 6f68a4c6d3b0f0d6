/* match/fold.h: text without regard to case: each code point of a pattern in lower and upper case. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

#include "base/mem.h"

struct fold_step { /* the two ways to write one code point */
    weir_str lower, upper;
};
struct fold {
    const struct fold_step *steps;
    size_t count;
};

void fold_init(struct fold *f, weir_str text, struct arena *a); /* text: UTF-8 */
/* Does the value begin (or, from its end, end) with the folded text? *rest: what is left. */
bool fold_begins(const struct fold *f, weir_str value, weir_str *rest);
bool fold_ends(const struct fold *f, weir_str value);
bool fold_same(const struct fold *f, weir_str value);
bool fold_is_ascii(weir_str text);
