/* json/schema.h: JSON Schema 2020-12, compiled once, tested many times from any thread. */
#pragma once
#include <weir/schema.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

struct schema;

/* `text`: any bytes. NULL with where and why: "at /properties/email/type: ...". An unknown `format` is
 * an error here (a typo would otherwise accept everything); unknown keywords are too, with the nearest. */
struct schema *schema_new(weir_str text, struct error *e);
void schema_free(struct schema *s);

/* Calls fn for each violation, in the order of the text; returns how many (fn is called at most 100
 * times). `text` has passed json_check. The scratch arena is the caller's. fn NULL: counts to 1. */
size_t schema_test(const struct schema *s, weir_str text, struct arena *scratch,
                   void (*fn)(void *user, const weir_violation *v), void *user);
