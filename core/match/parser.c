/* match/parser.c: what the readers of a pattern's parts share: errors with their place, and strings. */
#include "match/parser.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

const char parser_too_many[] = "Too many elements in numeric expression";

bool parser_fail(struct parser *p, weir_str at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(p->error->reason, sizeof p->error->reason, fmt, args);
    va_end(args);
    p->error->at = at.ptr ? (size_t)(at.ptr - p->start) : 0;
    return false;
}

weir_str parser_unquote(const struct parser *p, weir_str value)
{
    return json_kind(value) == WEIR_JSON_TEXT ? json_unquote(value, p->arena) : value;
}

weir_str parser_name(const struct parser *p, weir_str key)
{
    weir_str quoted = {key.ptr - 1, key.len + 2};
    return json_unquote(quoted, p->arena);
}

size_t parser_count(weir_str array)
{
    size_t n = 0;
    for (weir_json_each each = {0}; json_next(array, &each);)
        n++;
    return n;
}

bool parser_text(struct parser *p, weir_str value, const char *what, weir_str *text)
{
    if (json_kind(value) != WEIR_JSON_TEXT)
        return parser_fail(p, value, "%s must be a string", what);
    *text = parser_unquote(p, value);
    return true;
}

bool parser_member(struct parser *p, weir_str object, weir_json_each *each, const char *missing)
{
    *each = (weir_json_each){0};
    return json_next(object, each) || parser_fail(p, object, "%s", missing);
}

bool parser_no_more(struct parser *p, weir_str object, weir_json_each *each, const char *reason)
{
    return !json_next(object, each) || parser_fail(p, each->value, "%s", reason);
}
