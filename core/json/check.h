/* json/check.h: JSON byte by byte: the slow way, which knows where and why. */
#pragma once
#include <stddef.h>
#include <weir/plugin.h>

/* As json_check. */
weir_status check_bytes(weir_str text, size_t *at, const char **why);
/* Behind the number, true, false or null at p; NULL: there is none. */
const char *check_scalar(const char *p, const char *end);
