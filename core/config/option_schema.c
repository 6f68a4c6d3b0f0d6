/* config/option_schema.c: option tables as JSON Schema (2020-12), for editors.
 *
 * Every scalar may be a ${...} in place of its value, so each type allows that text too. */
#include "config/option_schema.h"

#include <string.h>

#include "config/document.h"
#include "json/json.h"

enum { NEST_MAX = 5 }; /* a table may name itself */

#define TEXT     "{\"type\":[\"string\",\"number\",\"boolean\"]}"
#define VARIABLE "{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{.*\\\\}\"}"
#define DURATION \
    "\"type\":[\"string\",\"integer\"],\"maximum\":0,\"pattern\":" \
    "\"^(0|([0-9]+(\\\\.[0-9]+)? *(ns|us|\xC2\xB5s|ms|s|m|h|d))+)$|\\\\$\\\\{.*\\\\}\"," \
    "\"examples\":[\"250ms\",\"30s\",\"1h30m\"]"
#define SIZE \
    "\"type\":[\"string\",\"integer\"],\"maximum\":0,\"pattern\":" \
    "\"^(0|([0-9]+(\\\\.[0-9]+)? *([KMGTkmgt][Ii]?)?[Bb])+)$|\\\\$\\\\{.*\\\\}\"," \
    "\"examples\":[\"512B\",\"64KiB\",\"5MB\"]"

static void add_object(const weir_option *rows, struct buf *out, unsigned depth);

static bool is_service(const weir_option *row)
{
    return row->type == WEIR_T_SERVICE || row->type == WEIR_T_SERVICES;
}

static void add_number(const weir_option *row, const char *type, struct buf *out)
{
    buf_print(out, "\"anyOf\":[{\"type\":\"%s\"", type);
    if (row->max > row->min)
        buf_print(out, ",\"minimum\":%.17g,\"maximum\":%.17g", row->min, row->max);
    buf_add_text(out, "}," VARIABLE "]");
}

static void add_choices(const weir_option *row, struct buf *out)
{
    buf_add_text(out, "\"anyOf\":[{\"enum\":[");
    for (const char *c = row->choices; *c;) {
        size_t n = strcspn(c, "|");
        json_quote(out, (weir_str){c, n});
        c += n;
        if (*c == '|')
            buf_add_char(out, ','), c++;
    }
    buf_add_text(out, "]}," VARIABLE "]");
}

static void add_count(const weir_option *row, const char *what, struct buf *out)
{
    if (row->max > row->min)
        buf_print(out, ",\"min%s\":%.17g,\"max%s\":%.17g", what, row->min, what, row->max);
}

static void add_several(const weir_option *row, struct buf *out, unsigned depth)
{
    bool is_list = row->type == WEIR_T_LIST;
    buf_print(out, "\"type\":[\"%s\",\"null\"]", is_list ? "array" : "object");
    add_count(row, is_list ? "Items" : "Properties", out);
    buf_print(out, ",\"%s\":{", is_list ? "items" : "additionalProperties");
    add_object(row->items, out, depth + 1);
    buf_add_char(out, '}');
}

static void add_scalar(const weir_option *row, struct buf *out)
{
    switch (row->type) {
    case WEIR_T_BOOL:
        buf_add_text(out, "\"anyOf\":[{\"type\":\"boolean\"}," VARIABLE "]");
        break;
    case WEIR_T_CHOICE:
        add_choices(row, out);
        break;
    case WEIR_T_INT:
        add_number(row, "integer", out);
        break;
    case WEIR_T_FLOAT:
        add_number(row, "number", out);
        break;
    case WEIR_T_DURATION:
        buf_add_text(out, DURATION);
        break;
    case WEIR_T_SIZE:
        buf_add_text(out, SIZE);
        break;
    default:
        buf_add_text(out, "\"type\":[\"string\",\"number\",\"boolean\"]");
        break;
    }
}

static void add_kind(const weir_option *row, struct buf *out, unsigned depth);

static void add_block(const weir_option *row, struct buf *out, unsigned depth)
{
    if (row->scalar) {
        buf_add_text(out, "\"anyOf\":[{");
        add_kind(row->items, out, depth + 1);
        buf_add_text(out, "},{");
    }
    add_object(row->items, out, depth + 1);
    if (row->scalar)
        buf_add_text(out, "}]");
}

static void add_kind(const weir_option *row, struct buf *out, unsigned depth)
{
    switch (row->type) {
    case WEIR_T_STRINGS:
        buf_add_text(out, "\"anyOf\":[" TEXT ",{\"type\":\"array\",\"items\":" TEXT);
        add_count(row, "Items", out);
        buf_add_text(out, "},{\"type\":\"null\"}]");
        break;
    case WEIR_T_PAIRS:
        buf_add_text(out, "\"type\":[\"object\",\"null\"],\"additionalProperties\":" TEXT);
        add_count(row, "Properties", out);
        break;
    case WEIR_T_SECRET:
        buf_add_text(out, "\"type\":\"object\",\"properties\":{\"env\":{\"type\":\"string\"},"
                          "\"file\":{\"type\":\"string\"}},\"additionalProperties\":false,"
                          "\"minProperties\":1,\"maxProperties\":1");
        break;
    case WEIR_T_JSON:
        buf_add_text(out,
                     "\"type\":[\"object\",\"array\",\"string\",\"number\",\"boolean\",\"null\"]");
        break;
    case WEIR_T_BLOCK:
        add_block(row, out, depth);
        break;
    case WEIR_T_LIST:
    case WEIR_T_MAP:
        add_several(row, out, depth);
        break;
    default:
        add_scalar(row, out);
        break;
    }
}

static void add_preset(const weir_option *row, struct buf *out)
{
    if (!row->preset || row->items || row->type == WEIR_T_SECRET)
        return;
    bool is_bare = row->type == WEIR_T_BOOL || row->type == WEIR_T_INT || row->type == WEIR_T_FLOAT;
    bool is_several = strchr("[{", row->preset[0]) != NULL;
    if (is_several || row->type == WEIR_T_JSON)
        return;
    buf_add_text(out, ",\"default\":");
    if (is_bare)
        buf_add_text(out, row->preset);
    else
        json_quote(out, weir_text(row->preset));
}

static void add_row(const weir_option *row, struct buf *out, unsigned depth)
{
    json_quote(out, weir_text(row->name));
    buf_add_text(out, ":{");
    add_kind(row, out, depth);
    add_preset(row, out);
    if (row->help) {
        buf_add_text(out, ",\"description\":");
        json_quote(out, weir_text(row->help));
    }
    buf_add_char(out, '}');
}

static bool add_properties(const weir_option *rows, const struct option_schema_filter *filter,
                           bool has_comma, struct buf *out, unsigned depth)
{
    for (; rows->name; rows++) {
        if (is_service(rows) || (filter && !filter->wanted(filter->user, rows->name)))
            continue;
        buf_add_text(out, has_comma ? "," : "");
        add_row(rows, out, depth);
        has_comma = true;
    }
    return has_comma;
}

static void add_object(const weir_option *rows, struct buf *out, unsigned depth)
{
    buf_add_text(out, "\"type\":[\"object\",\"null\"]");
    if (depth > NEST_MAX)
        return;
    buf_add_text(out, ",\"properties\":{");
    add_properties(rows, NULL, false, out, depth);
    buf_add_char(out, '}');
    option_schema_required(rows, NULL, out);
    buf_add_text(out, ",\"additionalProperties\":false");
}

bool option_schema_properties(const weir_option *rows, const struct option_schema_filter *filter,
                              bool has_comma, struct buf *out)
{
    return add_properties(rows, filter, has_comma, out, 0);
}

void option_schema_required(const weir_option *rows, const char *first, struct buf *out)
{
    bool is_any = first != NULL;
    if (first)
        buf_print(out, ",\"required\":[\"%s\"", first);
    for (; rows->name; rows++) {
        if (is_service(rows) || !rows->required)
            continue;
        buf_add_text(out, is_any ? "," : ",\"required\":[");
        json_quote(out, weir_text(rows->name));
        is_any = true;
    }
    if (is_any)
        buf_add_char(out, ']');
}

void options_print_schema(const weir_option *rows, struct buf *out)
{
    buf_add_char(out, '{');
    add_object(rows, out, 0);
    buf_add_char(out, '}');
}
