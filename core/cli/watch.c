/* cli/watch.c: tells when a file changes that a pipeline was made of. */
#include "cli/watch.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Folders are watched, since editors and `kubectl` replace files in place of writing to them. */
enum { CHANGES = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE };

struct watched {
    char *path, *folder;
    const char *name; /* in path */
    int number;       /* of inotify, -1: the folder cannot be watched */
};

struct watch {
    struct loop *loop;
    struct loop_watch events;
    void (*fn)(void *user);
    void *user;
    struct watched *files;
    size_t count, cap;
};

/* A mounted ConfigMap or Secret is a link to ..data, which is what changes. */
static bool concerns(const struct watch *w, const struct inotify_event *e)
{
    const char *name = e->len ? e->name : "";
    for (size_t i = 0; i < w->count; i++)
        if (w->files[i].number == e->wd &&
            (strcmp(w->files[i].name, name) == 0 || strcmp(name, "..data") == 0))
            return true;
    return e->mask & IN_Q_OVERFLOW;
}

static void on_events(struct loop_watch *lw, uint32_t events)
{
    struct watch *w = lw->user;
    _Alignas(struct inotify_event) char bytes[4096];
    bool is_concerned = false;
    ssize_t n;
    while ((n = read(lw->fd, bytes, sizeof bytes)) > 0)
        for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
            const struct inotify_event *e = (const void *)(bytes + at);
            is_concerned |= concerns(w, e);
            at += (ssize_t)sizeof *e + (ssize_t)e->len;
        }
    if (is_concerned)
        w->fn(w->user);
}

struct watch *watch_new(struct loop *l, void (*fn)(void *user), void *user, struct error *e)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct watch *w = MEM_NEW(struct watch);
    w->loop = l;
    w->fn = fn;
    w->user = user;
    w->events = (struct loop_watch){.fd = fd, .events = EPOLLIN, .fn = on_events, .user = w};
    if (fd >= 0 && loop_add(l, &w->events) == 0)
        return w;
    (void)error_sys(e, errno, "watching files");
    if (fd >= 0)
        (void)close(fd);
    mem_free(w);
    return NULL;
}

static void add(struct watch *w, const char *path)
{
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->files[i].path, path) == 0)
            return;
    struct watched f = {.path = mem_text(path)};
    f.folder = !slash          ? mem_text(".")
               : slash == path ? mem_text("/")
                               : mem_copy(path, (size_t)(slash - path));
    f.name = slash ? f.path + (slash - path) + 1 : f.path;
    f.number = inotify_add_watch(w->events.fd, f.folder, CHANGES);
    if (f.number < 0)
        log_write(WEIR_WARN, NULL, "%s cannot be watched: a change of it is not noticed", path);
    MEM_PUSH(w->files, w->count, w->cap) = f;
}

static void forget_all(struct watch *w)
{
    for (size_t i = 0; i < w->count; i++) {
        mem_free(w->files[i].path);
        mem_free(w->files[i].folder);
    }
    w->count = 0;
}

/* Folders stay watched: their number comes again with the next file in them. */
void watch_files(struct watch *w, const struct loaded *l)
{
    if (!l || !l->document)
        return;
    if (l->plan)
        forget_all(w);
    for (size_t i = 0; i < document_read_count(l->document); i++)
        add(w, document_read_path(l->document, i));
    for (size_t i = 0; l->plan && i < l->plan->stage_count; i++)
        for (size_t k = 0; k < l->plan->stages[i]->file_count; k++)
            add(w, l->plan->stages[i]->files[k].path);
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    loop_remove(w->loop, &w->events);
    (void)close(w->events.fd);
    forget_all(w);
    mem_free(w->files);
    mem_free(w);
}
