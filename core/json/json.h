/* json/json.h: JSON (RFC 8259) as spans of the text it came from: no tree, no copy. Any thread. */
#pragma once
#include <stdbool.h>
#include <weir/json.h>

#include "base/buf.h"
#include "base/mem.h"

enum { JSON_DEPTH_MAX = 1000 };

/* WEIR_OK, or REJECT with the byte where it stops being JSON in *at and the reason in *why (either may
 * be NULL): grammar, UTF-8, depth, control bytes, escapes and surrogate pairs, one value and no more. */
weir_status json_check(weir_str text, size_t *at, const char **why);

/* The rest takes text that json_check has passed (or a span of it). A member's key is told without its
 * quotes and with its escapes: json_unquote takes that too. Of members of one name json_find sees the
 * first. A path's names are compared with the escapes decoded. */
int json_kind(weir_str value);                          /* WEIR_JSON_* */
weir_str json_find(weir_str value, const char *path);   /* "a.b[0]"; "" is value; ptr NULL: none */
bool json_next(weir_str value, weir_json_each *each);   /* the next member or element */
weir_str json_unquote(weir_str value, struct arena *a); /* of a text: without quotes and escapes */
bool json_same(weir_str a, weir_str b); /* equal values: members in any order, 1 = 1.0 */
size_t json_plain(weir_str text);       /* bytes in front of the first that a JSON string escapes */
void json_quote(struct buf *out, weir_str text); /* text that is UTF-8, as a JSON string */
double json_number(weir_str value);
weir_str json_trim(weir_str text); /* without blanks around */
