/* plugin/plugin.c: the plugins of this process: files found, refused or loaded, and what they offer. */
#include "plugin/plugin.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "plugin/elf.h"
#include "plugin/manifest.h"

enum { ROLES = 4 };

struct file {
    char *path;
    char *refused; /* the reason, or NULL */
    dev_t device;
    ino_t inode;
    struct elf_plugin offers;
    const weir_manifest *manifest; /* NULL: not loaded */
};

struct plugins {
    char **dirs;
    size_t dir_count, dir_cap;
    struct file **files;
    size_t file_count, file_cap;
    const char **names[ROLES];
    bool is_scanned;
};

/* ---- where to look ---------------------------------------------------------------------------- */

static void add_dir(struct plugins *p, const char *dir, size_t n)
{
    if (n)
        MEM_PUSH(p->dirs, p->dir_count, p->dir_cap) = mem_copy(dir, n);
}

static void add_dirs_of_path(struct plugins *p, const char *list)
{
    while (list && *list) {
        size_t n = strcspn(list, ":");
        add_dir(p, list, n);
        list += n + (list[n] == ':');
    }
}

static void add_dirs_of_runner(struct plugins *p)
{
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return;
    exe[n] = 0;
    *strrchr(exe, '/') = 0;
    char *beside = mem_format("%s/plugins", exe);
    char *installed = mem_format("%s/../lib/weir/plugins", exe);
    add_dir(p, beside, strlen(beside));
    add_dir(p, installed, strlen(installed));
    mem_free(beside);
    mem_free(installed);
}

struct plugins *plugins_new(const char *const *dirs)
{
    struct plugins *p = MEM_NEW(struct plugins);
    for (; dirs && *dirs; dirs++)
        add_dir(p, *dirs, strlen(*dirs));
    add_dirs_of_path(p, getenv("WEIR_PLUGIN_PATH")); /* NOLINT(concurrency-mt-unsafe): at start */
    add_dirs_of_runner(p);
    return p;
}

static void file_free(struct file *f)
{
    elf_fini(&f->offers);
    mem_free(f->path);
    mem_free(f->refused);
    mem_free(f);
}

static void forget_names(struct plugins *p)
{
    for (int role = 0; role < ROLES; role++) {
        mem_free((void *)p->names[role]);
        p->names[role] = NULL;
    }
}

void plugins_free(struct plugins *p)
{
    if (!p)
        return;
    forget_names(p);
    for (size_t i = 0; i < p->file_count; i++)
        file_free(p->files[i]);
    for (size_t i = 0; i < p->dir_count; i++)
        mem_free(p->dirs[i]);
    mem_free(p->files);
    mem_free((void *)p->dirs);
    mem_free(p);
}

/* ---- before loading --------------------------------------------------------------------------- */

static int check_writable(const char *path, struct error *e)
{
    struct stat st;
    char reason[128];
    if (stat(path, &st) != 0)
        return error_set(e, EXIT_CONFIG, "%s: %s", path,
                         error_sys_text(errno, reason, sizeof reason));
    if (st.st_mode & S_IWOTH)
        return error_set(e, EXIT_CONFIG, "%s: writable by everyone: chmod o-w %s", path, path);
    return 0;
}

static int check_folder_of(const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash          ? mem_text(".")
                   : slash == path ? mem_text("/")
                                   : mem_copy(path, (size_t)(slash - path));
    int result = check_writable(folder, e);
    mem_free(folder);
    return result;
}

static int check_file(const char *path, struct elf_plugin *offers, struct error *e)
{
    if (check_writable(path, e) != 0 || check_folder_of(path, e) != 0)
        return -1;
    return elf_read(path, offers, e);
}

int plugin_check_file(const char *path, struct error *e)
{
    struct elf_plugin offers = {0};
    int result = check_file(path, &offers, e);
    elf_fini(&offers);
    return result;
}

static bool is_known(const struct plugins *p, const struct stat *st)
{
    for (size_t i = 0; i < p->file_count; i++)
        if (p->files[i]->device == st->st_dev && p->files[i]->inode == st->st_ino)
            return true;
    return false;
}

static void add_file(struct plugins *p, const char *dir, const char *name)
{
    struct stat st = {0};
    struct error e = {0};
    char *path = mem_format("%s/%s", dir, name);
    if (stat(path, &st) == 0 && is_known(p, &st)) {
        mem_free(path);
        return;
    }
    struct file *f = MEM_NEW(struct file);
    f->path = path;
    f->device = st.st_dev;
    f->inode = st.st_ino;
    if (check_file(path, &f->offers, &e) != 0)
        f->refused = mem_text(e.text);
    MEM_PUSH(p->files, p->file_count, p->file_cap) = f;
}

static int is_object(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 3 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 3, ".so") == 0;
}

static void scan_dir(struct plugins *p, const char *dir)
{
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, is_object, alphasort);
    for (int i = 0; i < n; i++) {
        add_file(p, dir, entries[i]->d_name);
        free(entries[i]);
    }
    free((void *)entries);
}

/* What is loaded stays; all else is read anew, since files come and are mended while a runner runs. */
static void scan(struct plugins *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->file_count; i++) {
        if (p->files[i]->manifest)
            p->files[kept++] = p->files[i];
        else
            file_free(p->files[i]);
    }
    p->file_count = kept;
    for (size_t i = 0; i < p->dir_count; i++)
        scan_dir(p, p->dirs[i]);
    p->is_scanned = true;
    forget_names(p);
}

/* ---- loading ---------------------------------------------------------------------------------- */

enum plugin_role plugin_role_of(const weir_component *c)
{
    if (c->event || c->batch)
        return PLUGIN_TRANSFORM;
    return c->pull ? PLUGIN_SOURCE : c->write ? PLUGIN_SINK : PLUGIN_SERVICE;
}

static int check_loaded(const struct file *f, const weir_manifest *m, struct error *e)
{
    if (manifest_check(f->path, m, e) != 0)
        return -1;
    size_t count = 0;
    for (const weir_component *const *c = m->components; *c; c++, count++) {
        enum plugin_role role;
        if (count == MANIFEST_COMPONENTS_MAX)
            break;
        if (manifest_name(f->path, (*c)->name ? (*c)->name : "", e) != 0 ||
            manifest_role(f->path, (*c)->name, *c, &role, e) != 0 ||
            manifest_check_component(f->path, m, *c, e) != 0)
            return -1;
    }
    if (count != f->offers.count)
        return error_set(e, EXIT_CONFIG,
                         "%s: its manifest in memory is not the one in the file: load it again",
                         f->path);
    return 0;
}

/* dlerror names the file by itself; its prefix would say that twice. */
static const char *load_reason(const char *path)
{
    const char *text =
        dlerror(); /* NOLINT(concurrency-mt-unsafe): of this thread since glibc 2.34 */
    size_t n = strlen(path);
    if (!text)
        return "unknown reason";
    return strncmp(text, path, n) == 0 && strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text;
}

static int load(struct file *f, struct error *e)
{
    if (f->manifest)
        return 0;
    void *handle = dlopen(f->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return error_set(e, EXIT_CONFIG, "%s: load: %s: install what it needs, or rebuild it here",
                         f->path, load_reason(f->path));
    const weir_manifest *m = dlsym(handle, "weir_plugin");
    if (!m)
        return error_set(e, EXIT_CONFIG, "%s: not a Weir plugin: it has no symbol weir_plugin",
                         f->path);
    if (check_loaded(f, m, e) != 0)
        return -1;
    f->manifest = m;
    return 0;
}

static const weir_component *loaded_component(const struct file *f, const char *name,
                                              enum plugin_role role)
{
    for (const weir_component *const *c = f->manifest->components; *c; c++)
        if (plugin_role_of(*c) == role && strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

/* ---- finding ---------------------------------------------------------------------------------- */

static bool file_offers(const struct file *f, const char *name, enum plugin_role role)
{
    for (size_t i = 0; i < f->offers.count; i++)
        if (f->offers.components[i].role == role && strcmp(f->offers.components[i].name, name) == 0)
            return true;
    return false;
}

/* The next file from `from` on that offers it, or NULL. */
static struct file *offerer(const struct plugins *p, size_t *from, const char *name,
                            enum plugin_role role)
{
    while (*from < p->file_count) {
        struct file *f = p->files[(*from)++];
        if (!f->refused && file_offers(f, name, role))
            return f;
    }
    return NULL;
}

static const struct file *refused_file_of(const struct plugins *p, const char *component)
{
    size_t n = strlen(component);
    for (size_t i = 0; i < p->file_count; i++) {
        const char *base = strrchr(p->files[i]->path, '/') + 1;
        if (p->files[i]->refused && strncmp(base, component, n) == 0 &&
            strcmp(base + n, ".so") == 0)
            return p->files[i];
    }
    return NULL;
}

static void *not_found(struct plugins *p, const char *component, enum plugin_role role,
                       struct error *e)
{
    const struct file *refused = refused_file_of(p, component);
    const char *what = manifest_role_name(role);
    if (refused) {
        (void)error_set(e, EXIT_CONFIG, "%s", refused->refused);
        return NULL;
    }
    for (enum plugin_role other = PLUGIN_SOURCE; other <= PLUGIN_SERVICE; other++) {
        size_t from = 0;
        const struct file *f = offerer(p, &from, component, other);
        if (f) {
            (void)error_set(e, EXIT_CONFIG, "'%s' is a %s, not a %s (%s)", component,
                            manifest_role_name(other), what, f->path);
            return NULL;
        }
    }
    struct buf where = {0};
    for (size_t i = 0; i < p->dir_count; i++)
        buf_print(&where, "%s%s%s", i ? ", " : "", p->dirs[i],
                  access(p->dirs[i], F_OK) == 0 ? "" : " (not there)");
    const char *nearest = text_nearest(component, plugins_names(p, role));
    if (nearest)
        (void)error_set(e, EXIT_CONFIG, "no plugin offers the %s '%s': did you mean '%s'?", what,
                        component, nearest);
    else
        (void)error_set(e, EXIT_CONFIG,
                        "no plugin offers the %s '%s': put its .so in one of: %s, or name its "
                        "folder in WEIR_PLUGIN_PATH",
                        what, component, buf_text(&where));
    buf_fini(&where);
    return NULL;
}

const weir_component *plugins_find(struct plugins *p, const char *component, enum plugin_role role,
                                   struct error *e)
{
    size_t from = 0;
    struct file *f = offerer(p, &from, component, role);
    if (!f) {
        scan(p);
        from = 0;
        f = offerer(p, &from, component, role);
    }
    if (!f)
        return not_found(p, component, role, e);
    const struct file *other = offerer(p, &from, component, role);
    if (other) {
        (void)error_set(e, EXIT_CONFIG,
                        "the %s '%s' is offered by both %s and %s: remove one of them",
                        manifest_role_name(role), component, f->path, other->path);
        return NULL;
    }
    if (load(f, e) != 0)
        return NULL;
    const weir_component *c = loaded_component(f, component, role);
    if (!c)
        (void)error_set(e, EXIT_CONFIG, "%s: has no %s '%s' any more: load it again", f->path,
                        manifest_role_name(role), component);
    return c;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *const *plugins_names(struct plugins *p, enum plugin_role role)
{
    size_t count = 0, cap = 0;
    const char **names = NULL;
    if (!p->is_scanned)
        scan(p);
    if (p->names[role])
        return p->names[role];
    for (size_t i = 0; i < p->file_count; i++)
        for (size_t k = 0; k < p->files[i]->offers.count; k++)
            if (p->files[i]->offers.components[k].role == role)
                MEM_PUSH(names, count, cap) = p->files[i]->offers.components[k].name;
    if (count)
        qsort((void *)names, count, sizeof *names, compare_names);
    MEM_PUSH(names, count, cap) = NULL;
    p->names[role] = names;
    return names;
}

const char *plugins_path(const struct plugins *p, const weir_component *c)
{
    for (size_t i = 0; i < p->file_count; i++) {
        const struct file *f = p->files[i];
        for (size_t k = 0; f->manifest && f->manifest->components[k]; k++)
            if (f->manifest->components[k] == c)
                return f->path;
    }
    return NULL;
}

static bool is_doubled(struct plugins *p, const struct file *f, struct error *e)
{
    for (size_t i = 0; i < f->offers.count; i++) {
        const struct elf_component *c = &f->offers.components[i];
        size_t from = 0;
        const struct file *one = offerer(p, &from, c->name, c->role);
        const struct file *two = offerer(p, &from, c->name, c->role);
        if (two)
            return error_set(e, EXIT_CONFIG,
                             "the %s '%s' is offered by both %s and %s: remove one of them",
                             manifest_role_name(c->role), c->name, one->path, two->path);
    }
    return false;
}

void plugins_each(struct plugins *p,
                  void (*fn)(void *user, const char *path, const weir_component *c,
                             const char *refused),
                  void *user)
{
    if (!p->is_scanned)
        scan(p);
    for (size_t i = 0; i < p->file_count; i++) {
        struct file *f = p->files[i];
        struct error e = {0};
        if (f->refused)
            fn(user, f->path, NULL, f->refused);
        else if (is_doubled(p, f, &e) || load(f, &e) != 0)
            fn(user, f->path, NULL, e.text);
        for (size_t k = 0; !e.code && f->manifest && f->manifest->components[k]; k++)
            fn(user, f->path, f->manifest->components[k], NULL);
    }
}

/* ---- what is there without being named in a file ----------------------------------------------- */

static bool is_service(const struct elf_component *c)
{
    return c->role == PLUGIN_SERVICE;
}

static bool has_commands(const struct elf_component *c)
{
    return c->has_commands;
}

static bool has_any(const struct file *f, bool (*fits)(const struct elf_component *c))
{
    for (size_t i = 0; i < f->offers.count; i++)
        if (fits(&f->offers.components[i]))
            return true;
    return false;
}

/* fn for each component of the files that have one that fits, which are loaded for it; true from it ends
 * the walk. */
static const weir_component *each_with(struct plugins *p,
                                       bool (*fits)(const struct elf_component *c),
                                       bool (*fn)(void *user, const struct file *f,
                                                  const weir_component *c),
                                       void *user, struct error *e)
{
    if (!p->is_scanned)
        scan(p);
    for (size_t i = 0; i < p->file_count; i++) {
        struct file *f = p->files[i];
        if (f->refused || !has_any(f, fits) || load(f, e) != 0)
            continue;
        for (size_t k = 0; f->manifest->components[k]; k++)
            if (fn(user, f, f->manifest->components[k]))
                return f->manifest->components[k];
    }
    return NULL;
}

static bool offers_it(void *user, const struct file *f, const weir_component *c)
{
    for (const weir_service *const *s = c->offers; s && *s; s++)
        if (plugin_role_of(c) == PLUGIN_SERVICE && strcmp((*s)->id, user) == 0)
            return true;
    return false;
}

const weir_component *plugins_offerer(struct plugins *p, const char *service, struct error *e)
{
    char *id = mem_text(service);
    const weir_component *c = each_with(p, is_service, offers_it, id, e);
    mem_free(id);
    return c;
}

struct commands {
    void (*fn)(void *user, const weir_component *c, const weir_command *k);
    void *user;
};

static bool can_run(const weir_command *k)
{
    return k->size >= WEIR_UPTO(weir_command, run) && k->name && k->action &&
           (k->run || (k->size >= WEIR_UPTO(weir_command, run_given) && k->run_given));
}

static bool tell_commands(void *user, const struct file *f, const weir_component *c)
{
    const struct commands *each = user;
    if (f->manifest->component_size < WEIR_UPTO(weir_component, commands))
        return false;
    for (const weir_command *const *k = c->commands; k && *k; k++)
        if (can_run(*k))
            each->fn(each->user, c, *k);
    return false;
}

void plugins_each_command(struct plugins *p,
                          void (*fn)(void *user, const weir_component *c, const weir_command *k),
                          void *user)
{
    struct commands each = {fn, user};
    struct error e = {0};
    (void)each_with(p, has_commands, tell_commands, &each, &e);
}
