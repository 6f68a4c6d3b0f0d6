/* config/document.c: the tree of the pipeline file, the texts it came from, and what owns both. */
#include "config/document.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

static const char *environment(void *user, const char *name)
{
    (void)user;
    return getenv(name); // NOLINT(concurrency-mt-unsafe): nobody here sets variables
}

static struct document *document_new(const char *name, const struct config_input *in)
{
    struct document *d = MEM_NEW(struct document);
    arena_init(&d->arena);
    d->env = in && in->env ? in->env : environment;
    d->env_user = in ? in->env_user : NULL;
    const char *slash = strrchr(name, '/');
    size_t n = slash == name ? 1 : slash ? (size_t)(slash - name) : 0;
    d->folder = n ? arena_copy(&d->arena, name, n) : ".";
    return d;
}

void document_free(struct document *d)
{
    if (!d)
        return;
    arena_fini(&d->arena);
    mem_free(d->files);
    mem_free(d->reads);
    mem_free(d->diags);
    mem_free(d);
}

uint32_t document_add_file(struct document *d, const char *name, weir_str text)
{
    struct document_file f = {arena_text(&d->arena, name), text.ptr, text.len};
    MEM_PUSH(d->files, d->file_count, d->file_cap) = f;
    return (uint32_t)d->file_count - 1;
}

const char *document_path(struct document *d, const char *path)
{
    if (path[0] == '/' || strcmp(d->folder, ".") == 0)
        return path;
    const char *slash = d->folder[strlen(d->folder) - 1] == '/' ? "" : "/";
    return arena_format(&d->arena, "%s%s%s", d->folder, slash, path);
}

const char *document_env(const struct document *d, const char *name)
{
    return d->env(d->env_user, name);
}

/* Reads to the end or until there is more than `max`. */
static int read_all(int fd, struct buf *out, size_t max)
{
    while (out->len <= max) {
        ssize_t n = read(fd, buf_room(out, 16384), 16384);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -1;
        out->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

const char *document_read(struct document *d, const char *path, size_t max, size_t *len,
                          struct error *e)
{
    MEM_PUSH(d->reads, d->read_count, d->read_cap) = arena_text(&d->arena, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        error_sys(e, errno, "%s", path);
        return NULL;
    }
    struct buf b = {0};
    const char *text = NULL;
    if (read_all(fd, &b, max))
        error_sys(e, errno, "%s", path);
    else if (b.len > max)
        error_set(e, EXIT_CONFIG, "%s: larger than the limit of %zu KiB", path, max / 1024);
    else
        text = arena_copy(&d->arena, b.len ? b.ptr : "", b.len);
    *len = b.len;
    buf_fini(&b);
    (void)close(fd);
    return text;
}

static void read_tree(struct document *d, const struct config_input *in)
{
    d->root = yaml_read(d, 0);
    if (d->root && in && in->sets)
        sets_apply(d, in->sets);
}

struct document *document_load(const struct config_input *in)
{
    struct document *d = document_new(in->path, in);
    struct error e = {0};
    size_t len = 0;
    const char *text = document_read(d, in->path, DOCUMENT_FILE_MAX, &len, &e);
    document_add_file(d, in->path, (weir_str){text, text ? len : 0});
    if (text) {
        read_tree(d, in);
        return d;
    }
    const char *why = text_starts(weir_text(e.text), in->path) ? e.text + strlen(in->path) : e.text;
    diag_add(d, DIAG_ERROR, NULL, NULL, "cannot read the file%s", why);
    return d;
}

struct document *document_parse(const char *name, weir_str yaml, const struct config_input *in)
{
    struct document *d = document_new(name, in);
    const char *text = arena_copy(&d->arena, yaml.len ? yaml.ptr : "", yaml.len);
    document_add_file(d, name, (weir_str){text, yaml.len});
    if (yaml.len <= DOCUMENT_FILE_MAX)
        read_tree(d, in);
    else
        diag_add(d, DIAG_ERROR, NULL, NULL, "larger than the limit of %d KiB",
                 DOCUMENT_FILE_MAX / 1024);
    return d;
}

struct node *document_root(struct document *d)
{
    return d->root;
}

const char *document_folder(const struct document *d)
{
    return d->folder;
}

size_t document_read_count(const struct document *d)
{
    return d->read_count;
}

const char *document_read_path(const struct document *d, size_t i)
{
    return d->reads[i];
}

struct arena *document_arena(struct document *d)
{
    return &d->arena;
}

size_t document_errors(const struct document *d)
{
    return d->errors;
}

size_t document_warnings(const struct document *d)
{
    return d->warnings;
}
