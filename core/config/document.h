/* config/document.h: what the files of this room share about the tree and its sources. */
#pragma once
#include "config/config.h"

enum {
    DOCUMENT_FILE_MAX = 1024 * 1024,
    DOCUMENT_SECRET_MAX = 64 * 1024,
    DOCUMENT_DEPTH_MAX = 64,
    DOCUMENT_KEYS_MAX = 10000,   /* of one map */
    DOCUMENT_NODES_MAX = 100000, /* what aliases stand for counted each time */
};

struct document_file { /* the pipeline file or one --set */
    const char *name, *text;
    size_t len;
};

struct document {
    struct arena arena;
    struct document_file *files;
    size_t file_count, file_cap;
    struct node *root;
    const char *folder;
    const char **reads; /* paths of the files that it was made of */
    size_t read_count, read_cap;
    struct diag *diags;
    size_t diag_count, diag_cap, errors, warnings;
    size_t harmless; /* of the errors: those that left every member with a value */
    const char *(*env)(void *user, const char *name);
    void *env_user;
};

uint32_t document_add_file(struct document *d, const char *name, weir_str text);
/* A file's bytes in the arena, at most `max`; NULL with *e. Relative paths start at the folder. */
const char *document_read(struct document *d, const char *path, size_t max, size_t *len,
                          struct error *e);
const char *document_path(struct document *d, const char *path); /* from the folder on */
const char *document_env(const struct document *d, const char *name);

/* ---- nodes ---- */
struct node *node_new(struct document *d, enum node_kind kind);
struct node *node_scalar(struct document *d, const char *text, const struct node *at);
void node_set(struct document *d, struct node *map, struct node *key, struct node *value);
const char *node_path(struct document *d, const struct node *n); /* sinks.queue.inputs[1] */
const struct node *node_label(const struct node *n);             /* its key, where it has one */
bool node_is_broken(const struct node *n);  /* a ${} in it has no value: it was told already */
bool node_has_broken(const struct node *n); /* itself, or anything in it */
bool node_is_name(struct document *d, const struct node *n); /* neither broken nor secret */
const char *node_kind_name(const struct node *n);            /* "a map" */
/* What stands there, to be shown: quoted and short; never a secret. */
const char *node_show(struct document *d, const struct node *n);

/* ---- yaml.c ---- */
struct node *yaml_read(struct document *d, uint32_t file); /* NULL after an error */

/* ---- interpolate.c ---- */
void interpolate_node(struct document *d, struct node *scalar);

/* ---- sets.c ---- */
void sets_apply(struct document *d, const char *const *sets);

/* ---- locate.c: from a byte of a scalar's text to its place in the file ---- */
struct node_piece { /* from `out` on, the text is that of byte `in` before ${} was replaced */
    size_t out, in;
    bool is_value; /* of a variable: all of it stands at `in` */
};
struct node_origin {
    int style; /* yaml_scalar_style_t; 0: the text stands in the file as it is */
    size_t piece_count;
    const struct node_piece *pieces;
    bool is_broken; /* a ${} has no value */
};
struct place {
    uint32_t file, line, column; /* line 0: the file as a whole */
};
struct place locate_node(const struct document *d, const struct node *n, size_t offset);
struct place locate_byte(const struct document *d, uint32_t file, size_t at);
/* The text of a line without its end; false: there is none. */
bool locate_line(const struct document_file *f, uint32_t line, weir_str *text);

/* ---- node_json.c ---- */
struct node_json_span {
    size_t offset; /* in the JSON text */
    const struct node *node;
};
struct node_json {
    weir_json text;
    size_t count;
    const struct node_json_span *spans;
};
/* The node that this byte of the JSON text came from, and the byte of the node's text. */
const struct node *node_json_find(const struct node_json *j, size_t offset, size_t *inner);

/* ---- places.c ---- */
void places_add(struct places *p, const void *member, const struct node *n);

/* ---- option_value.c: one value of a simple type ---- */
struct fill {
    struct document *d;
    struct places *places;
    const struct option_services *services;
    const weir_option *row;
};
void option_value_scalar(struct fill *f, struct node *n, void *member);
void option_value_strings(struct fill *f, struct node *n, weir_strings *out);
void option_value_pairs(struct fill *f, struct node *n, weir_pairs *out);
void option_value_secret(struct fill *f, struct node *n, const weir_secret **out);
bool option_value_is_kind(struct fill *f, const struct node *n, enum node_kind kind);
/* Within the row's min and max? */
/* A place to listen at, in the form that one has. */
void option_value_address(struct document *d, const struct node *n, const char *text);
void option_value_limits(struct fill *f, const struct node *n, double value);
size_t option_value_size(uint32_t type); /* of the member; 0: no such type */
