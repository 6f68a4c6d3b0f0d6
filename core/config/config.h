/* config/config.h: the pipeline file: YAML with positions -> checked values -> plan.
 *
 * Everything that is wrong is gathered as diagnostics, each with its place, and told in one pass. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <weir/plugin.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

/* ---- nodes: what libyaml read, with positions ---- */
enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    uint32_t line, column; /* 1-based, of the value */
    uint32_t file;         /* number in the document; a --set is a "file" of its own */
    const char *text;      /* scalar: after ${} was replaced; NUL-terminated */
    size_t len;
    bool is_plain;       /* scalar without quotes */
    bool is_secret;      /* came from ${file:...} or such: never printed */
    size_t count;        /* list, map */
    struct node **items; /* values */
    struct node **keys;  /* map: scalars, with positions of their own */
    bool *used;          /* map: keys that somebody asked for */
    /* Where it stands and how its text came about; the room's own. */
    const struct node *parent, *key;  /* key: that it is the value of */
    const struct node_origin *origin; /* scalar: NULL where it was made, not read */
    const struct node_json *json;     /* of the JSON text that was made of it */
};

struct document; /* the tree, its sources' text and its diagnostics; owns all */

struct config_input {
    const char *path;        /* of the pipeline file */
    const char *const *sets; /* "sources.api.listen=127.0.0.1:0", ends with NULL; may be NULL */
    const char *(*env)(void *user, const char *name); /* NULL: getenv */
    void *env_user;
};

/* Reads, parses and replaces ${VAR}, ${VAR:-default}, ${file:path} ($${ is a literal ${) in parsed
 * scalars, then applies the sets. Never NULL; look at document_errors. Anchors and aliases are expanded
 * with a bound on size; merge keys (<<) work; duplicate keys, tags and several documents are errors. */
struct document *document_load(const struct config_input *in);
struct document *document_parse(const char *name, weir_str yaml, const struct config_input *in);
void document_free(struct document *d);
struct node *document_root(struct document *d);        /* NULL when nothing could be read */
const char *document_folder(const struct document *d); /* that relative paths start from */
/* The files that it was made of, also those that could not be read: the pipeline file, ${file:}. */
size_t document_read_count(const struct document *d);
const char *document_read_path(const struct document *d, size_t i);
struct arena *document_arena(struct document *d);
struct node *node_get(struct node *map, const char *key);     /* marks it used; NULL: none */
weir_json node_json_make(struct document *d, struct node *n); /* in the document's arena */

/* ---- diagnostics ---- */
enum { DIAG_ERROR, DIAG_WARNING };

/* At a node (NULL: the file), with text after what was found; `help` may be NULL: what to do. */
void diag_add(struct document *d, int severity, const struct node *at, const char *help,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The same at byte `offset` inside the scalar's (or JSON's) text. */
void diag_add_at(struct document *d, int severity, const struct node *at, size_t offset,
                 const char *help, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
size_t document_errors(const struct document *d);
size_t document_warnings(const struct document *d);
/* file:line:column: error: text, the line, a caret, the help; sorted by place; secrets blanked out. */
void diag_print(const struct document *d, FILE *out, bool has_color);
void diag_print_json(const struct document *d, FILE *out); /* one object a line, for editors */

/* ---- options: one table gives parsing, checking, defaults, manual and schema ---- */

/* A filled state remembers which node filled which address, so that an error can be placed. */
struct places;
struct places *places_new(struct document *d);
void places_free(struct places *p);
/* The node that filled the member at this address; *key_only: a map's name. NULL: not known. */
const struct node *places_find(const struct places *p, const void *member);

/* Services are filled by this; NULL where none is there now. */
struct option_services {
    const void *(*one)(void *user, const weir_option *row, const struct node *at);
    void (*many)(void *user, const weir_option *row, weir_services *out);
    void *user;
};

/* Fills `state` (zeroed, item size of the rows) from the map `node` (NULL: all absent): types, presets,
 * required, min and max, choices, blocks, lists, maps. Every problem becomes a diagnostic; unknown keys
 * too, with the nearest known one, except those in `also` (ends with NULL; may be NULL), which the
 * caller handles. Strings and items live in the document's arena. Returns false if an error left a
 * member without its value. */
bool options_fill(struct document *d, struct places *p, const weir_option *rows, struct node *node,
                  const char *const *also, const struct option_services *services, void *state);
/* The table itself checked: types, offsets, presets, names: a plugin's mistake. false with *e. */
bool options_check_table(const weir_option *rows, size_t state_size, struct error *e);
struct weir_secret {        /* behind the plugin's pointer */
    const char *env, *file; /* one of the two */
};
/* The current value of a secret (a file is read anew, trailing newline off), appended to out. */
int secret_read(const weir_secret *s, struct buf *out, struct error *e);

/* ---- units ---- */
bool unit_parse_duration(weir_str text, int64_t *ns); /* 250ms, 1h30m */
bool unit_parse_size(weir_str text, uint64_t *bytes); /* 64KiB, 5MB, 10B */
void unit_format_duration(int64_t ns, char *text, size_t size);
void unit_format_size(uint64_t bytes, char *text, size_t size);

/* ---- the manual: the same tables as text ---- */
void options_print(const weir_option *rows, FILE *out, bool has_color); /* weir plugins show */
void options_print_json(const weir_option *rows, struct buf *out);      /* --json */
void options_print_markdown(const weir_option *rows, struct buf *out);  /* docs/reference */
void options_print_schema(const weir_option *rows, struct buf *out);    /* JSON Schema of one map */
