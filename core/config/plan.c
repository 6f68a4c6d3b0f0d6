/* config/plan.c: the tree of the pipeline file made into a checked plan: settings, stages, edges. */
#include "config/plan.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "config/plan_tables.h"

enum { HASH_CHUNK = 64 * 1024 };

const char *const plan_sections[] = {"sources", "transforms", "sinks", NULL};
const char *const plan_role_names[] = {"source", "transform", "sink", "service"};
const char *const plan_core_keys[] = {"plugin",      "inputs",      "buffer",  "batch",
                                      "retry",       "concurrency", "rate",    "result",
                                      "dead_letter", "on_failure",  "breaker", "fallback",
                                      "burst",       "key",         NULL};

/* A source only has its result; a buffer is what a sink reads from, and it has the breaker. */
bool plan_key_fits(enum role role, const char *key)
{
    if (strcmp(key, "plugin") == 0)
        return true;
    if (strcmp(key, "result") == 0 || strcmp(key, "key") == 0)
        return role == ROLE_SOURCE;
    if (strcmp(key, "buffer") == 0 || strcmp(key, "breaker") == 0 || strcmp(key, "fallback") == 0)
        return role == ROLE_SINK;
    return role != ROLE_SOURCE;
}

static size_t count_role(const struct plan *p, enum role role)
{
    size_t n = 0;
    for (size_t i = 0; i < p->stage_count; i++)
        n += p->stages[i]->role == role;
    return n;
}

static bool has_server(const struct plan *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->component && plan_inputs_is_server(p->stages[i]->component))
            return true;
    return false;
}

/* Where a server answers for others, a pipeline may end in it. */
static void check_ends(struct plan_work *w, struct node *root)
{
    static const char *const helps[] = {
        [ROLE_SOURCE] = "add some: sources: { api: { plugin: http, listen: 127.0.0.1:3000 } }",
        [ROLE_SINK] =
            "add some: sinks: { out: { plugin: file, inputs: [api], path: out.ndjson } }"};
    for (int role = ROLE_SOURCE; role <= ROLE_SINK; role += ROLE_SINK - ROLE_SOURCE) {
        struct node *section = node_get(root, plan_sections[role]);
        bool is_empty = !section || section->kind == NODE_NULL ||
                        (section->kind == NODE_MAP && section->count == 0);
        bool is_due = role == ROLE_SOURCE || !has_server(w->plan);
        if (is_due && is_empty && !count_role(w->plan, (enum role)role))
            diag_add(w->d, DIAG_ERROR, section ? node_label(section) : NULL, helps[role],
                     "the pipeline has no %s", plan_sections[role]);
    }
}

static void read_all(struct plan_work *w)
{
    struct node *root = document_root(w->d);
    if (!root)
        return;
    if (root->kind != NODE_MAP) {
        diag_add(w->d, DIAG_ERROR, root,
                 "a pipeline file starts with keys such as sources:", "expected a map, found %s",
                 node_kind_name(root));
        return;
    }
    plan_settings_read(w, root);
    plan_stage_read_all(w, root);
    check_ends(w, root);
    plan_inputs_read_all(w);
    plan_service_add_all(w);
    plan_order(w);
    if (!document_errors(w->d)) /* else it may be unread because of a slip in a name */
        plan_inputs_warn_unread(w);
}

struct plan *plan_new(struct document *d, const struct plan_components *c)
{
    struct plan_work w = {.d = d, .components = c, .plan = MEM_NEW(struct plan)};
    w.plan->document = d;
    w.places = places_new(d);
    read_all(&w);
    places_free(w.places);
    return w.plan;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->stage_count; i++) {
        mem_free(p->stages[i]->state);
        places_free(p->stages[i]->places);
    }
    mem_free(p->stages);
    mem_free(p);
}

const char *plan_role_name(enum role role)
{
    return plan_role_names[role];
}

/* 0: it cannot be read. Two files of one length and 64 bits of hash are the same. */
static uint64_t hash_file(const char *path)
{
    uint64_t hash = 1;
    char *bytes = mem_grow(NULL, HASH_CHUNK);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && (n = read(fd, bytes, HASH_CHUNK)) > 0)
        hash = hash_bytes(bytes, (size_t)n, hash);
    if (fd >= 0)
        (void)close(fd);
    mem_free(bytes);
    return n < 0 ? 0 : hash;
}

void plan_stage_reads(const struct plan *p, struct plan_stage *s, const char *path)
{
    struct arena *a = document_arena(p->document);
    for (size_t i = 0; i < s->file_count; i++)
        if (strcmp(s->files[i].path, path) == 0)
            return;
    struct plan_reads *files = arena_take(a, (s->file_count + 1) * sizeof *files);
    if (s->file_count)
        memcpy(files, s->files, s->file_count * sizeof *files);
    files[s->file_count++] = (struct plan_reads){arena_text(a, path), hash_file(path)};
    s->files = files;
}

static uint64_t hash_node(const struct node *n, uint64_t hash)
{
    const uint64_t head[] = {(uint64_t)n->kind, n->count, n->len};
    hash = hash_bytes(head, sizeof head, hash);
    if (n->kind == NODE_SCALAR)
        return hash_bytes(n->text, n->len, hash);
    for (size_t i = 0; i < n->count; i++) {
        if (n->kind == NODE_MAP)
            hash = hash_node(n->keys[i], hash);
        hash = hash_node(n->items[i], hash);
    }
    return hash;
}

uint64_t plan_hash(const struct plan *p)
{
    const struct node *root = document_root(p->document);
    uint64_t hash = root ? hash_node(root, 1) : 0;
    for (size_t i = 0; i < p->stage_count; i++)
        for (size_t k = 0; k < p->stages[i]->file_count; k++)
            hash = hash_bytes(&p->stages[i]->files[k].hash, sizeof hash, hash);
    return hash;
}

struct plan_stage *plan_find(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (strcmp(p->stages[i]->name, name) == 0)
            return p->stages[i];
    return NULL;
}
