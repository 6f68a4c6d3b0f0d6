/* config/manual.c: option tables as text for people and for programs. */
#include <stdio.h>
#include <string.h>

#include "config/document.h"
#include "json/json.h"

enum { NEST_MAX = 5 }; /* a table may name itself */

static bool is_service(const weir_option *row)
{
    return row->type == WEIR_T_SERVICE || row->type == WEIR_T_SERVICES;
}

static bool has_rows(const weir_option *rows)
{
    while (rows->name && is_service(rows))
        rows++;
    return rows->name != NULL;
}

static const char *type_name(const weir_option *row)
{
    static const char *const names[] = {
        [WEIR_T_BOOL] = "true or false",  [WEIR_T_CHOICE] = "choice",
        [WEIR_T_INT] = "whole number",    [WEIR_T_FLOAT] = "number",
        [WEIR_T_TEXT] = "text",           [WEIR_T_DURATION] = "duration",
        [WEIR_T_SIZE] = "size",           [WEIR_T_STRINGS] = "list of texts",
        [WEIR_T_PAIRS] = "map of texts",  [WEIR_T_SECRET] = "secret",
        [WEIR_T_JSON] = "anything",       [WEIR_T_BLOCK] = "block",
        [WEIR_T_LIST] = "list of blocks", [WEIR_T_MAP] = "map of blocks",
        [WEIR_T_SERVICE] = "service",     [WEIR_T_SERVICES] = "services",
    };
    return option_value_size(row->type) ? names[row->type] : "unknown";
}

static void add_type(struct buf *out, const weir_option *row, const char * or)
{
    if (row->type == WEIR_T_BLOCK && row->scalar) {
        add_type(out, row->items, or);
        buf_add_text(out, or);
    }
    if (row->type != WEIR_T_CHOICE) {
        buf_add_text(out, type_name(row));
        return;
    }
    for (const char *c = row->choices; *c; c++)
        if (*c == '|')
            buf_add_text(out, or);
        else
            buf_add_char(out, *c);
}

static void add_limit(struct buf *out, const weir_option *row, double value)
{
    char text[64];
    if (row->type == WEIR_T_DURATION)
        unit_format_duration((int64_t)value, text, sizeof text);
    else if (row->type == WEIR_T_SIZE)
        unit_format_size((uint64_t)value, text, sizeof text);
    else
        (void)snprintf(text, sizeof text, "%.15g", value);
    buf_add_text(out, text);
}

static void add_limits(struct buf *out, const weir_option *row)
{
    if (!(row->max > row->min))
        return;
    buf_add_text(out, ", ");
    add_limit(out, row, row->min);
    buf_add_text(out, " to ");
    add_limit(out, row, row->max);
    if (row->type == WEIR_T_TEXT)
        buf_add_text(out, " bytes");
}

/* A block that is always there has no default worth telling. */
static bool has_preset(const weir_option *row)
{
    return row->preset && strcmp(row->preset, "{}") != 0 && strcmp(row->preset, "[]") != 0;
}

/* ---- for a terminal ---- */

static void print_rows(const weir_option *rows, struct buf *out, unsigned depth, bool has_color)
{
    for (; rows->name; rows++) {
        if (is_service(rows))
            continue;
        int indent = 2 + 2 * (int)depth, width = 26 - indent;
        buf_print(out, "%*s%s%-*s%s ", indent, "", has_color ? "\033[1m" : "", width, rows->name,
                  has_color ? "\033[0m" : "");
        size_t from = out->len;
        add_type(out, rows, "|");
        add_limits(out, rows);
        if (rows->required)
            buf_add_text(out, ", required");
        if (has_preset(rows))
            buf_print(out, " (%s)", rows->preset);
        size_t used = out->len - from;
        buf_print(out, "%*s %s\n", used < 34 ? (int)(34 - used) : 0, "",
                  rows->help ? rows->help : "");
        if (rows->items && depth < NEST_MAX)
            print_rows(rows->items, out, depth + 1, has_color);
    }
}

void options_print(const weir_option *rows, FILE *out, bool has_color)
{
    struct buf b = {0};
    print_rows(rows, &b, 0, has_color);
    if (b.len)
        (void)fwrite(b.ptr, 1, b.len, out);
    buf_fini(&b);
}

/* ---- JSON ---- */

static void add_member(struct buf *out, const char *name, const char *text)
{
    if (!text)
        return;
    buf_print(out, ",\"%s\":", name);
    json_quote(out, weir_text(text));
}

static void add_choices(struct buf *out, const char *choices)
{
    buf_add_char(out, '[');
    for (const char *c = choices; *c;) {
        size_t n = strcspn(c, "|");
        json_quote(out, (weir_str){c, n});
        c += n;
        if (*c == '|')
            buf_add_char(out, ','), c++;
    }
    buf_add_char(out, ']');
}

static void json_rows(const weir_option *rows, struct buf *out, unsigned depth)
{
    const char *comma = "";
    buf_add_char(out, '[');
    for (; rows->name; rows++) {
        if (is_service(rows))
            continue;
        buf_print(out, "%s{\"name\":", comma);
        json_quote(out, weir_text(rows->name));
        add_member(out, "type", type_name(rows));
        add_member(out, "help", rows->help);
        add_member(out, "default", rows->preset);
        if (rows->type == WEIR_T_CHOICE) {
            buf_add_text(out, ",\"choices\":");
            add_choices(out, rows->choices);
        }
        if (rows->max > rows->min)
            buf_print(out, ",\"min\":%.17g,\"max\":%.17g", rows->min, rows->max);
        buf_print(out, ",\"required\":%s", rows->required ? "true" : "false");
        if (rows->ports)
            buf_add_text(out, ",\"ports\":true");
        if (rows->scalar)
            buf_add_text(out, ",\"scalar\":true");
        if (rows->items && depth < NEST_MAX) {
            buf_add_text(out, ",\"items\":");
            json_rows(rows->items, out, depth + 1);
        }
        buf_add_char(out, '}');
        comma = ",";
    }
    buf_add_char(out, ']');
}

void options_print_json(const weir_option *rows, struct buf *out)
{
    json_rows(rows, out, 0);
}

/* ---- Markdown ---- */

static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
}

static void markdown_row(const weir_option *row, struct buf *out)
{
    buf_print(out, "| `%s` | ", row->name);
    add_type(out, row, ", ");
    add_limits(out, row);
    buf_add_text(out, " | ");
    if (row->required)
        buf_add_text(out, "required");
    else if (has_preset(row)) {
        buf_add_char(out, '`');
        add_cell(out, row->preset);
        buf_add_char(out, '`');
    }
    buf_add_text(out, " | ");
    add_cell(out, row->help ? row->help : "");
    buf_add_text(out, row->ports ? "; each name is a port |\n" : " |\n");
}

static void markdown_rows(const weir_option *rows, struct buf *out, const char *path,
                          unsigned depth)
{
    if (!has_rows(rows)) {
        buf_add_text(out, "No options.\n");
        return;
    }
    buf_add_text(out, "| option | type | default | what it does |\n| --- | --- | --- | --- |\n");
    for (const weir_option *row = rows; row->name; row++)
        if (!is_service(row))
            markdown_row(row, out);
    for (const weir_option *row = rows; row->name; row++) {
        if (is_service(row) || !row->items || depth >= NEST_MAX)
            continue;
        const char *each = row->type == WEIR_T_MAP ? ".NAME" : row->type == WEIR_T_LIST ? "[]" : "";
        char *inner = mem_format("%s%s%s%s", path, *path ? "." : "", row->name, each);
        buf_print(out, "\nIn `%s`:\n\n", inner);
        markdown_rows(row->items, out, inner, depth + 1);
        mem_free(inner);
    }
}

void options_print_markdown(const weir_option *rows, struct buf *out)
{
    markdown_rows(rows, out, "", 0);
}
