/* config/node_json.c: any node as JSON text, and from a byte of that text back to the node.
 *
 * Plain scalars are what YAML 1.2's core schema says they are; numbers stay as they were written
 * where JSON can write them so. */
#include "config/document.h"

#include <stdlib.h>
#include <string.h>

#include "json/json.h"

struct work {
    struct document *d;
    struct buf out;
    struct node_json_span *spans;
    size_t count, cap;
};

static size_t digits_at(const char *s)
{
    return strspn(s, "0123456789");
}

static bool is_word(const char *s, const char *lower, const char *title, const char *upper)
{
    return strcmp(s, lower) == 0 || strcmp(s, title) == 0 || strcmp(s, upper) == 0;
}

/* [-+]? ( \. digits | digits ( \. digits? )? ) ( [eE] [-+]? digits )? */
static bool is_decimal(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t whole = digits_at(s), fraction = 0;
    s += whole;
    if (*s == '.') {
        fraction = digits_at(s + 1);
        s += 1 + fraction;
    }
    if (!whole && !fraction)
        return false;
    if (*s == 'e' || *s == 'E') {
        s += 1 + (s[1] == '-' || s[1] == '+');
        size_t n = digits_at(s);
        if (!n)
            return false;
        s += n;
    }
    return *s == '\0';
}

static bool put_based(struct work *w, const char *s)
{
    int base = strncmp(s, "0x", 2) == 0 ? 16 : strncmp(s, "0o", 2) == 0 ? 8 : 0;
    const char *set = base == 16 ? "0123456789abcdefABCDEF" : "01234567";
    size_t n = base ? strspn(s + 2, set) : 0;
    if (!n || s[2 + n] || n > (base == 16 ? 16 : 21))
        return false;
    buf_add_u64(&w->out, strtoull(s + 2, NULL, base));
    return true;
}

/* As written, less what JSON does not allow: a plus, zeros in front, a point without digits. */
static void put_decimal(struct work *w, const struct node *n)
{
    const char *s = n->text;
    if (*s == '-')
        buf_add_char(&w->out, '-');
    s += *s == '-' || *s == '+';
    size_t whole = digits_at(s), zeros = strspn(s, "0");
    zeros = zeros < whole ? zeros : whole - (whole != 0);
    if (zeros)
        diag_add(w->d, DIAG_WARNING, n, "quote it to keep it as text",
                 "a number loses the zeros in front: %s", n->is_secret ? "(not shown)" : n->text);
    if (!whole)
        buf_add_char(&w->out, '0');
    buf_add(&w->out, s + zeros, whole - zeros);
    s += whole;
    if (*s == '.' && !digits_at(s + 1))
        s++;
    buf_add_text(&w->out, s);
}

static bool put_infinite(struct work *w, const struct node *n)
{
    const char *s = n->text + (*n->text == '-' || *n->text == '+');
    if (!is_word(s, ".inf", ".Inf", ".INF") && !is_word(n->text, ".nan", ".NaN", ".NAN"))
        return false;
    diag_add(w->d, DIAG_ERROR, n, "quote it if it is text", "JSON cannot write %s", n->text);
    buf_add_text(&w->out, "null");
    return true;
}

static void put_scalar(struct work *w, const struct node *n)
{
    if (n->is_plain && is_word(n->text, "true", "True", "TRUE"))
        buf_add_text(&w->out, "true");
    else if (n->is_plain && is_word(n->text, "false", "False", "FALSE"))
        buf_add_text(&w->out, "false");
    else if (n->is_plain && strlen(n->text) == n->len && put_based(w, n->text))
        return;
    else if (n->is_plain && is_decimal(n->text))
        put_decimal(w, n);
    else if (!n->is_plain || !put_infinite(w, n))
        json_quote(&w->out, (weir_str){n->text, n->len});
}

static void mark(struct work *w, const struct node *n)
{
    MEM_PUSH(w->spans, w->count, w->cap) = (struct node_json_span){w->out.len, n};
}

/* The tree is at most DOCUMENT_DEPTH_MAX deep. */
static void put(struct work *w, const struct node *n)
{
    mark(w, n);
    bool is_map = n->kind == NODE_MAP;
    if (n->kind == NODE_NULL) {
        buf_add_text(&w->out, "null");
        return;
    }
    if (n->kind == NODE_SCALAR) {
        put_scalar(w, n);
        return;
    }
    buf_add_char(&w->out, is_map ? '{' : '[');
    for (size_t i = 0; i < n->count; i++) {
        if (i)
            buf_add_char(&w->out, ',');
        if (is_map) {
            mark(w, n->keys[i]);
            json_quote(&w->out, (weir_str){n->keys[i]->text, n->keys[i]->len});
            buf_add_char(&w->out, ':');
        }
        put(w, n->items[i]);
    }
    mark(w, n);
    buf_add_char(&w->out, is_map ? '}' : ']');
}

weir_json node_json_make(struct document *d, struct node *n)
{
    struct work w = {.d = d};
    put(&w, n);
    struct node_json *j = arena_take(&d->arena, sizeof *j);
    j->text = (weir_json){arena_copy(&d->arena, w.out.ptr, w.out.len), w.out.len};
    j->count = w.count;
    j->spans = arena_copy(&d->arena, w.spans, w.count * sizeof *w.spans);
    n->json = j;
    buf_fini(&w.out);
    mem_free(w.spans);
    return j->text;
}

/* Bytes of text that the first `n` bytes of its JSON string stand for, without the quote. */
static size_t unquoted(const char *json, size_t n)
{
    size_t out = 0;
    for (size_t i = 1; i < n; out++)
        i += json[i] != '\\' ? 1 : json[i + 1] == 'u' ? 6 : 2;
    return out;
}

const struct node *node_json_find(const struct node_json *j, size_t offset, size_t *inner)
{
    size_t low = 0, high = j->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (j->spans[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    const struct node_json_span *span = &j->spans[low];
    size_t n = offset < j->text.len ? offset - span->offset : 0;
    bool is_text = j->text.ptr[span->offset] == '"';
    *inner = is_text ? unquoted(j->text.ptr + span->offset, n) : n;
    return span->node;
}
