/* match/complexity.h: what EventBridge refuses as too complex a wildcard. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

enum { COMPLEXITY_MAX = 10 };

/* The pieces between the stars of a wildcard: one more than there are stars. */
bool complexity_is_too_high(const weir_str *pieces, size_t count);
