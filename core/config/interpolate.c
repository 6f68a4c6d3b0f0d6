/* config/interpolate.c: ${VAR}, ${VAR:-default} and ${file:path} in a parsed scalar. What is put in
 * is text and stays text: it is never read as YAML, nor searched for ${ again. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/document.h"

struct work {
    struct document *d;
    struct node *n;
    struct buf out;
    struct node_piece *pieces;
    size_t piece_count, piece_cap;
    size_t errors; /* of the document when it began */
    bool is_secret;
};

/* Values of such variables are secrets by custom. */
static bool is_secret_name(const char *name)
{
    static const char *const words[] = {"SECRET",     "TOKEN",   "PASSW",
                                        "CREDENTIAL", "API_KEY", "PRIVATE"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

static bool is_name(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    while (isalnum((unsigned char)*s) || *s == '_')
        s++;
    return *s == '\0';
}

static void put_file(struct work *w, size_t at, const char *path)
{
    struct error e = {0};
    size_t len = 0;
    const char *full = document_path(w->d, path);
    const char *text = document_read(w->d, full, DOCUMENT_SECRET_MAX, &len, &e);
    w->is_secret = true;
    if (!text) {
        diag_add_at(w->d, DIAG_ERROR, w->n, at, "a relative path starts at the pipeline file",
                    "cannot read %s", e.text);
        return;
    }
    len -= len && text[len - 1] == '\n';
    len -= len && text[len - 1] == '\r';
    if (memchr(text, 0, len) || !text_is_utf8((weir_str){text, len}))
        diag_add_at(w->d, DIAG_ERROR, w->n, at, NULL, "%s holds bytes that are not text", full);
    else
        buf_add(&w->out, text, len);
}

static void put_variable(struct work *w, size_t at, char *name)
{
    char *preset = strstr(name, ":-");
    if (preset)
        *preset = '\0', preset += 2;
    if (!is_name(name)) {
        diag_add_at(w->d, DIAG_ERROR, w->n, at,
                    "write ${NAME}, ${NAME:-default} or ${file:path}; $${ stands for ${ itself",
                    "\"${%s}\" is not understood", name);
        return;
    }
    const char *value = document_env(w->d, name);
    if (preset && (!value || !*value))
        value = preset;
    if (!value) {
        const char *help = arena_format(&w->d->arena, "set it, or write ${%s:-default}", name);
        diag_add_at(w->d, DIAG_ERROR, w->n, at, help, "the variable %s is not set", name);
    } else if (!text_is_utf8(weir_text(value))) {
        diag_add_at(w->d, DIAG_ERROR, w->n, at, NULL, "the variable %s is not UTF-8", name);
    } else {
        w->is_secret |= is_secret_name(name);
        buf_add_text(&w->out, value);
    }
}

static void add_piece(struct work *w, size_t in, bool is_value)
{
    MEM_PUSH(w->pieces, w->piece_count, w->piece_cap) =
        (struct node_piece){w->out.len, in, is_value};
}

/* Replaces the ${...} at `at`; returns where the text goes on. */
static size_t put_value(struct work *w, size_t at)
{
    const char *text = w->n->text + at + 2;
    const char *end = strchr(text, '}');
    if (!end) {
        diag_add_at(w->d, DIAG_ERROR, w->n, at, "close it, or write $${ for ${ itself",
                    "this ${ has no }");
        return w->n->len;
    }
    char *name = arena_copy(&w->d->arena, text, (size_t)(end - text));
    add_piece(w, at, true);
    if (strstr(name, "${"))
        diag_add_at(w->d, DIAG_ERROR, w->n, at, "write a plain default", "a ${ inside of ${...}");
    else if (text_starts(weir_text(name), "file:"))
        put_file(w, at, name + 5);
    else
        put_variable(w, at, name);
    size_t next = (size_t)(end - w->n->text) + 1;
    add_piece(w, next, false);
    return next;
}

static void finish(struct work *w)
{
    struct arena *a = &w->d->arena;
    struct node_origin *origin = arena_take(a, sizeof *origin);
    if (w->n->origin)
        *origin = *w->n->origin;
    origin->piece_count = w->piece_count;
    origin->pieces = arena_copy(a, w->pieces, w->piece_count * sizeof *w->pieces);
    origin->is_broken = w->d->errors > w->errors;
    w->n->is_secret = w->is_secret;
    w->n->origin = origin;
    w->n->text = arena_copy(a, w->out.len ? w->out.ptr : "", w->out.len);
    w->n->len = w->out.len;
}

void interpolate_node(struct document *d, struct node *scalar)
{
    if (scalar->kind != NODE_SCALAR || !strstr(scalar->text, "${"))
        return;
    struct work w = {.d = d, .n = scalar, .errors = d->errors};
    const char *text = scalar->text;
    for (size_t i = 0; i < scalar->len;) {
        if (strncmp(text + i, "$${", 3) == 0) {
            buf_add_text(&w.out, "${");
            i += 3;
            add_piece(&w, i, false);
        } else if (strncmp(text + i, "${", 2) == 0) {
            i = put_value(&w, i);
        } else {
            buf_add_char(&w.out, text[i++]);
        }
    }
    finish(&w);
    buf_fini(&w.out);
    mem_free(w.pieces);
}
