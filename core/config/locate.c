/* config/locate.c: from a byte of a scalar's text back to its line and column.
 *
 * It reads the scalar again as YAML wrote it: quotes, escapes, folded lines and block indents. This
 * runs for errors only; where the walk is in doubt it stays in the right line. */
#include <string.h>
#include <yaml.h>

#include "config/document.h"

struct walk {
    const char *text;
    size_t len, at;   /* in the file */
    size_t out, goal; /* in the scalar's text */
    size_t indent;    /* block scalars */
    bool is_folded;
};

/* Length of the line break here; the ones that libyaml knows. */
static size_t break_at(const char *s, size_t n)
{
    if (!n)
        return 0;
    if (s[0] == '\r')
        return n > 1 && s[1] == '\n' ? 2 : 1;
    if (s[0] == '\n')
        return 1;
    if (n > 1 && memcmp(s, "\xC2\x85", 2) == 0)
        return 2;
    return n > 2 && (memcmp(s, "\xE2\x80\xA8", 3) == 0 || memcmp(s, "\xE2\x80\xA9", 3) == 0) ? 3
                                                                                             : 0;
}

bool locate_line(const struct document_file *f, uint32_t line, weir_str *text)
{
    size_t at = 0;
    for (uint32_t now = 1; f->text && at <= f->len; now++) {
        size_t end = at;
        while (end < f->len && !break_at(f->text + end, f->len - end))
            end++;
        *text = (weir_str){f->text + at, end - at};
        if (now == line)
            return true;
        at = end + (end < f->len ? break_at(f->text + end, f->len - end) : 1);
    }
    return false;
}

static bool is_lead(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

/* The byte where line and column point. */
static size_t byte_of(const struct document_file *f, uint32_t line, uint32_t column)
{
    weir_str text;
    if (!locate_line(f, line, &text))
        return 0;
    size_t at = (size_t)(text.ptr - f->text), end = at + text.len;
    for (uint32_t left = column - 1; left && at < end; left--)
        for (at++; at < end && !is_lead(f->text[at]); at++)
            continue;
    return at;
}

struct place locate_byte(const struct document *d, uint32_t file, size_t at)
{
    const struct document_file *f = &d->files[file];
    struct place p = {file, 1, 1};
    for (size_t i = 0; i < at && i < f->len;) {
        size_t n = break_at(f->text + i, f->len - i);
        if (n)
            p.line++, p.column = 1;
        else
            p.column += is_lead(f->text[i]);
        i += n ? n : 1;
    }
    return p;
}

static size_t break_here(const struct walk *w)
{
    return break_at(w->text + w->at, w->len - w->at);
}

static bool blank_here(const struct walk *w)
{
    return w->at < w->len && (w->text[w->at] == ' ' || w->text[w->at] == '\t');
}

/* Blanks and line breaks between two lines of a flow scalar are one blank, or the breaks less one. */
static bool skip_fold(struct walk *w)
{
    struct walk ahead = *w;
    size_t breaks = 0;
    for (;;) {
        size_t n = break_here(&ahead);
        breaks += n != 0;
        if (!n && !blank_here(&ahead))
            break;
        ahead.at += n ? n : 1;
    }
    if (!breaks)
        return false;
    w->at = ahead.at;
    w->out += breaks > 1 ? breaks - 1 : 1;
    return true;
}

static size_t utf8_size(unsigned long code)
{
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

static void skip_escape(struct walk *w)
{
    int c = w->at + 1 < w->len ? w->text[w->at + 1] : 0;
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    unsigned long code = 0;
    for (size_t i = 0; i < digits && w->at + 2 + i < w->len; i++) {
        unsigned digit = (unsigned char)w->text[w->at + 2 + i];
        code = code * 16 + (digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
    }
    w->at++;
    if (break_here(w)) {
        w->at += break_here(w);
        while (blank_here(w))
            w->at++;
        return;
    }
    w->at += 1 + digits;
    w->out += digits ? utf8_size(code) : c == 'N' || c == '_' ? 2 : c == 'L' || c == 'P' ? 3 : 1;
}

static void walk_flow(struct walk *w, int style)
{
    w->at += style != YAML_PLAIN_SCALAR_STYLE;
    while (w->out < w->goal && w->at < w->len) {
        if (skip_fold(w))
            continue;
        if (style == YAML_DOUBLE_QUOTED_SCALAR_STYLE && w->text[w->at] == '\\') {
            skip_escape(w);
            continue;
        }
        bool is_pair = style == YAML_SINGLE_QUOTED_SCALAR_STYLE && w->text[w->at] == '\'';
        w->at += is_pair ? 2 : 1;
        w->out++;
    }
}

static void skip_line(struct walk *w)
{
    while (w->at < w->len && !break_here(w))
        w->at++;
    w->at += break_here(w);
}

static size_t count_spaces(const struct walk *w)
{
    size_t n = 0;
    while (w->at + n < w->len && w->text[w->at + n] == ' ')
        n++;
    return n;
}

/* The indent is that of the first line that has text; lines before it are breaks. */
static void find_indent(struct walk *w)
{
    struct walk ahead = *w;
    for (;;) {
        w->indent = count_spaces(&ahead);
        ahead.at += w->indent;
        if (ahead.at >= ahead.len || !break_here(&ahead))
            return;
        ahead.at += break_here(&ahead);
    }
}

static void skip_indent(struct walk *w)
{
    size_t n = count_spaces(w);
    w->at += n < w->indent ? n : w->indent;
}

/* A folded scalar loses one break of several, unless the next line is indented further. */
static void end_block_line(struct walk *w)
{
    size_t breaks = 0;
    while (break_here(w)) {
        breaks++;
        w->at += break_here(w);
        skip_indent(w);
    }
    bool is_kept = !w->is_folded || breaks == 1 || blank_here(w);
    w->out += is_kept ? breaks : breaks - 1;
}

static void walk_block(struct walk *w)
{
    skip_line(w);
    find_indent(w);
    skip_indent(w);
    while (w->out < w->goal && w->at < w->len) {
        if (break_here(w)) {
            end_block_line(w);
            continue;
        }
        w->at++;
        w->out++;
    }
}

/* From the text after ${} was replaced to the text before. */
static size_t before_pieces(const struct node_origin *o, size_t offset)
{
    size_t in = offset;
    for (size_t i = 0; i < o->piece_count && o->pieces[i].out <= offset; i++)
        in = o->pieces[i].in + (o->pieces[i].is_value ? 0 : offset - o->pieces[i].out);
    return in;
}

/* A scalar with an anchor starts at the anchor. */
static size_t skip_anchor(const struct document_file *f, size_t at)
{
    if (at >= f->len || f->text[at] != '&')
        return at;
    while (at < f->len && f->text[at] != ' ' && !break_at(f->text + at, f->len - at))
        at++;
    while (at < f->len && f->text[at] == ' ')
        at++;
    return at;
}

struct place locate_node(const struct document *d, const struct node *n, size_t offset)
{
    if (!n)
        return (struct place){0};
    struct place start = {n->file, n->line, n->column};
    const struct document_file *f = &d->files[n->file];
    if (!offset || !f->text || n->kind != NODE_SCALAR || !n->line)
        return start;
    const struct node_origin plain = {0}, *o = n->origin ? n->origin : &plain;
    size_t goal = before_pieces(o, offset < n->len ? offset : n->len);
    size_t at = skip_anchor(f, byte_of(f, n->line, n->column));
    struct walk w = {.text = f->text, .len = f->len, .at = at, .goal = goal};
    w.is_folded = o->style == YAML_FOLDED_SCALAR_STYLE;
    if (w.is_folded || o->style == YAML_LITERAL_SCALAR_STYLE)
        walk_block(&w);
    else if (o->style)
        walk_flow(&w, o->style);
    else
        w.at += goal;
    return locate_byte(d, n->file, w.at);
}
