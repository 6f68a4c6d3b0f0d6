/* config/diag.c: what is wrong, gathered with places, and told like a good compiler tells it. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/document.h"
#include "json/json.h"

enum { TOLD_MAX = 50, KEPT_MAX = 10000, LINE_MAX_COLUMNS = 110, LINE_BEFORE_CARET = 70 };

struct diag {
    int severity;
    struct place at;
    const char *text, *help;
    size_t number;  /* in the order of being found */
    bool is_secret; /* the line is shown up to the caret only */
};

static void add(struct document *d, int severity, const struct node *n, size_t offset,
                struct diag one)
{
    struct place at = locate_node(d, n, offset);
    size_t *count = severity == DIAG_ERROR ? &d->errors : &d->warnings;
    for (size_t i = d->diag_count; i-- > 0;) {
        const struct diag *o = &d->diags[i];
        if (o->at.file == at.file && o->at.line == at.line && o->at.column == at.column &&
            o->severity == severity && strcmp(o->text, one.text) == 0)
            return;
    }
    ++*count;
    if (d->diag_count == KEPT_MAX)
        return;
    one.severity = severity;
    one.at = at;
    one.number = d->diag_count;
    one.help = one.help ? arena_text(&d->arena, one.help) : NULL;
    /* What ${} names stands in the line as a name, so only a secret that was typed is hidden. */
    one.is_secret = n && n->is_secret && (!n->origin || !n->origin->piece_count);
    MEM_PUSH(d->diags, d->diag_count, d->diag_cap) = one;
}

static const char *format(struct document *d, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
static const char *format(struct document *d, const char *fmt, va_list args)
{
    struct buf b = {0};
    buf_vprint(&b, fmt, args);
    const char *text = arena_text(&d->arena, buf_text(&b));
    buf_fini(&b);
    return text;
}

void diag_add(struct document *d, int severity, const struct node *at, const char *help,
              const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = format(d, fmt, args);
    va_end(args);
    add(d, severity, at, 0, (struct diag){.text = text, .help = help});
}

void diag_add_at(struct document *d, int severity, const struct node *at, size_t offset,
                 const char *help, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = format(d, fmt, args);
    va_end(args);
    if (at && at->json)
        at = node_json_find(at->json, offset, &offset);
    add(d, severity, at, offset, (struct diag){.text = text, .help = help});
}

static int compare(const void *a, const void *b)
{
    const struct diag *x = a, *y = b;
    if (x->at.file != y->at.file)
        return x->at.file < y->at.file ? -1 : 1;
    if (x->at.line != y->at.line)
        return x->at.line < y->at.line ? -1 : 1;
    if (x->at.column != y->at.column)
        return x->at.column < y->at.column ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static struct diag *sorted(const struct document *d)
{
    struct diag *all = mem_copy(d->diags, d->diag_count * sizeof *all);
    qsort(all, d->diag_count, sizeof *all, compare);
    return all;
}

/* ---- the line and its caret ---- */

static uint32_t code_at(weir_str s, size_t *at)
{
    unsigned char lead = (unsigned char)s.ptr[(*at)++];
    uint32_t code = lead < 0x80   ? lead
                    : lead < 0xE0 ? lead & 0x1Fu
                    : lead < 0xF0 ? lead & 0x0Fu
                                  : lead & 7u;
    while (*at < s.len && ((unsigned char)s.ptr[*at] & 0xC0) == 0x80)
        code = code << 6 | ((unsigned char)s.ptr[(*at)++] & 0x3Fu);
    return code;
}

static bool is_between(uint32_t code, uint32_t low, uint32_t high)
{
    return code >= low && code <= high;
}

/* Columns that a terminal takes for it, by the blocks of Unicode that matter here. */
static unsigned width_of(uint32_t code)
{
    if (is_between(code, 0x300, 0x36F) || is_between(code, 0x200B, 0x200F) ||
        is_between(code, 0xFE00, 0xFE0F))
        return 0;
    bool is_wide = is_between(code, 0x1100, 0x115F) || is_between(code, 0x2E80, 0xA4CF) ||
                   is_between(code, 0xAC00, 0xD7A3) || is_between(code, 0xF900, 0xFAFF) ||
                   is_between(code, 0xFE30, 0xFE6F) || is_between(code, 0xFF00, 0xFF60) ||
                   is_between(code, 0xFFE0, 0xFFE6) || is_between(code, 0x1F300, 0x1FAFF) ||
                   is_between(code, 0x20000, 0x3FFFD);
    return is_wide ? 2 : 1;
}

/* Control bytes and what is not UTF-8 must not reach the terminal. */
static void put_safe(struct buf *out, weir_str s)
{
    bool is_utf8 = text_is_utf8(s);
    for (size_t i = 0; i < s.len; i++) {
        bool is_control = ((unsigned char)s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7F;
        is_control |= !is_utf8 && (unsigned char)s.ptr[i] >= 0x80;
        buf_add(out, is_control ? "?" : s.ptr + i, 1);
    }
}

/* Drops `columns` characters in front. */
static weir_str cut_front(weir_str s, size_t columns)
{
    size_t at = 0;
    while (columns-- && at < s.len)
        (void)code_at(s, &at);
    return (weir_str){s.ptr + at, s.len - at};
}

static size_t count_columns(weir_str s)
{
    size_t n = 0, at = 0;
    for (; at < s.len; n++)
        (void)code_at(s, &at);
    return n;
}

static void put_caret(struct buf *out, weir_str line, size_t columns)
{
    for (size_t i = 0, at = 0; i < columns; i++) {
        uint32_t code = at < line.len ? code_at(line, &at) : ' ';
        if (code == '\t')
            buf_add_char(out, '\t');
        for (unsigned w = code == '\t' ? 0 : width_of(code); w; w--)
            buf_add_char(out, ' ');
    }
    buf_add_char(out, '^');
}

static void put_line(const struct document *d, const struct diag *one, bool has_color,
                     struct buf *out)
{
    struct place at = one->at;
    weir_str line;
    if (!at.line || !locate_line(&d->files[at.file], at.line, &line))
        return;
    size_t before = at.column - 1;
    if (one->is_secret)
        line.len -= cut_front(line, before).len;
    const char *start = "", *end = one->is_secret ? "***" : "";
    if (before > LINE_BEFORE_CARET) {
        line = cut_front(line, before - LINE_BEFORE_CARET);
        before = LINE_BEFORE_CARET + 3;
        start = "...";
    }
    if (count_columns(line) > LINE_MAX_COLUMNS) {
        line.len -= cut_front(line, LINE_MAX_COLUMNS).len;
        end = "...";
    }
    struct buf shown = {0};
    buf_add_text(&shown, start);
    put_safe(&shown, line);
    buf_print(out, "%5u | %s%s\n      | %s", at.line, buf_text(&shown), end,
              has_color ? "\033[1;32m" : "");
    put_caret(out, buf_str(&shown), before);
    buf_add_text(out, has_color ? "\033[0m\n" : "\n");
    buf_fini(&shown);
}

static const char *file_name(const struct document *d, struct place at)
{
    return at.file < d->file_count ? d->files[at.file].name : "";
}

static void put_one(const struct document *d, const struct diag *one, bool has_color,
                    struct buf *out)
{
    bool is_error = one->severity == DIAG_ERROR;
    buf_print(out, "%s:", file_name(d, one->at));
    if (one->at.line)
        buf_print(out, "%u:%u:", one->at.line, one->at.column);
    const char *color = !has_color ? "" : is_error ? "\033[1;31m" : "\033[1;33m";
    buf_print(out, " %s%s:%s ", color, is_error ? "error" : "warning", has_color ? "\033[0m" : "");
    put_safe(out, weir_text(one->text));
    buf_add_char(out, '\n');
    put_line(d, one, has_color, out);
    if (!one->help)
        return;
    buf_add_text(out, "      help: ");
    put_safe(out, weir_text(one->help));
    buf_add_char(out, '\n');
}

static void put_count(struct buf *out, size_t n, const char *what)
{
    if (n)
        buf_print(out, "%s%zu %s%s", out->len ? ", " : "", n, what, n == 1 ? "" : "s");
}

void diag_print(const struct document *d, FILE *out, bool has_color)
{
    if (!d->diag_count)
        return;
    struct diag *all = sorted(d);
    struct buf b = {0}, sum = {0};
    size_t told = d->diag_count < TOLD_MAX ? d->diag_count : TOLD_MAX;
    for (size_t i = 0; i < told; i++)
        put_one(d, &all[i], has_color, &b);
    size_t total = d->errors + d->warnings;
    if (told < total)
        buf_print(&b, "and %zu more\n", total - told);
    put_count(&sum, d->errors, "error");
    put_count(&sum, d->warnings, "warning");
    buf_print(&b, "%s in %s\n", buf_text(&sum), d->files[0].name);
    (void)fwrite(b.ptr, 1, b.len, out);
    buf_fini(&b);
    buf_fini(&sum);
    mem_free(all);
}

static void put_member(struct buf *out, const char *name, const char *text)
{
    buf_print(out, ",\"%s\":", name);
    json_quote(out, weir_text(text));
}

void diag_print_json(const struct document *d, FILE *out)
{
    struct diag *all = sorted(d);
    struct buf b = {0};
    for (size_t i = 0; i < d->diag_count; i++) {
        const struct diag *one = &all[i];
        buf_add_text(&b, "{\"file\":");
        json_quote(&b, weir_text(file_name(d, one->at)));
        buf_print(&b, ",\"line\":%u,\"column\":%u", one->at.line, one->at.column);
        put_member(&b, "severity", one->severity == DIAG_ERROR ? "error" : "warning");
        put_member(&b, "message", one->text);
        if (one->help)
            put_member(&b, "help", one->help);
        buf_add_text(&b, "}\n");
    }
    if (b.len)
        (void)fwrite(b.ptr, 1, b.len, out);
    buf_fini(&b);
    mem_free(all);
}
