/* json/same.h: equality of JSON values, and a hash that agrees with it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

/* Is the text between quotes (`raw`, escapes and all) this one? */
bool json_same_text(weir_str raw, weir_str plain);

/* Of any valid value: equal values (1 and 1.0, members in any order) have equal hashes. */
uint64_t same_hash(weir_str value, uint64_t seed);
