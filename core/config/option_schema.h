/* config/option_schema.h: pieces of JSON Schema made from option tables. */
#pragma once
#include "base/buf.h"

/* "name":{...},... of the rows that `wanted` (NULL: all) lets through, after `comma` if any. */
struct option_schema_filter {
    bool (*wanted)(const void *user, const char *name);
    const void *user;
};
/* Returns whether anything is there now, so that the caller knows if a comma is due. */
bool option_schema_properties(const weir_option *rows, const struct option_schema_filter *filter,
                              bool has_comma, struct buf *out);
void option_schema_required(const weir_option *rows, const char *first, struct buf *out);
