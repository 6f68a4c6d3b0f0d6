/* pipeline/where.h: an event pattern that somebody asks with, compiled. */
#pragma once
#include "base/error.h"
#include "match/match.h"

/* A set of the one pattern, sealed. env NULL: that of no pipeline. -1: it is no pattern,
 * and `e` says why. */
int where_compile(weir_str where, const struct match_env *env, struct match_set **set,
                  struct error *e);
