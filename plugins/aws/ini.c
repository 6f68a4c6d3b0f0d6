/* aws/ini.c: reads the shared configuration files line by line; no tree is made. */
#include "ini.h"

#include <stdio.h>
#include <strings.h>

static weir_str trimmed(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r'))
        to--;
    return (weir_str){from, (size_t)(to - from)};
}

/* [profile "a b"] and [ profile  a ] are [profile a] as well. */
static bool is_section(weir_str line, const char *section)
{
    char name[512];
    size_t n = 0;
    const char *end = memchr(line.ptr, ']', line.len);
    if (!end)
        return false;
    weir_str text = trimmed(line.ptr + 1, end);
    for (size_t i = 0; i < text.len && n + 1 < sizeof name; i++) {
        char c = text.ptr[i];
        if (c == '\t')
            c = ' ';
        if (c == '"' || c == '\'' || (c == ' ' && n && name[n - 1] == ' '))
            continue;
        name[n++] = c;
    }
    name[n] = 0;
    return strcmp(name, section) == 0;
}

static bool is_key(weir_str text, const char *key)
{
    return strlen(key) == text.len && strncasecmp(text.ptr, key, text.len) == 0;
}

struct lines {
    weir_str text;
    size_t at;
    bool is_indented;
};

/* The next line that is neither empty nor a comment. */
static bool next_line(struct lines *l, weir_str *line)
{
    while (l->at < l->text.len) {
        const char *from = l->text.ptr + l->at;
        const char *lf = memchr(from, '\n', l->text.len - l->at);
        const char *end = lf ? lf : l->text.ptr + l->text.len;
        l->at = (size_t)(end - l->text.ptr) + 1;
        *line = trimmed(from, end);
        l->is_indented = *from == ' ' || *from == '\t';
        if (line->len && line->ptr[0] != '#' && line->ptr[0] != ';')
            return true;
    }
    return false;
}

weir_str ini_find(weir_str text, const char *section, const char *key, const char *sub)
{
    struct lines l = {.text = text};
    weir_str line, found = {0};
    bool is_in = false, is_below = false;
    while (next_line(&l, &line)) {
        if (line.ptr[0] == '[' && !l.is_indented) {
            is_in = is_section(line, section);
            is_below = false;
            continue;
        }
        const char *equals = memchr(line.ptr, '=', line.len);
        if (!is_in || !equals)
            continue;
        weir_str name = trimmed(line.ptr, equals);
        weir_str value = trimmed(equals + 1, line.ptr + line.len);
        if (!l.is_indented)
            is_below = is_key(name, key) && !value.len;
        if (sub ? l.is_indented && is_below && is_key(name, sub)
                : !l.is_indented && is_key(name, key))
            found = value;
    }
    return found;
}

bool ini_has(weir_str text, const char *section)
{
    struct lines l = {.text = text};
    weir_str line;
    while (next_line(&l, &line))
        if (line.ptr[0] == '[' && !l.is_indented && is_section(line, section))
            return true;
    return false;
}

void ini_profile(const char *profile, bool is_config, char *section, size_t size)
{
    bool is_plain = !is_config || strcmp(profile, "default") == 0;
    (void)snprintf(section, size, "%s%s", is_plain ? "" : "profile ", profile);
}
