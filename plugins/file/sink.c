/* file/sink.c: appends events to a file, a line each; a line is whole or it is not there. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/shape.h>

#include "file.h"

enum { FORMAT_BODY, FORMAT_ENVELOPE };

struct sink {
    const char *path;
    int format;
    bool sync, make_folders;
    const weir_shapes *shapes;
    weir_services pipeline;
    int fd;
    dev_t device; /* of the open file, to see that it was moved away */
    ino_t inode;
    bool is_torn; /* it ends in the middle of a line that could not be taken back */
};

/* What the user has to mend, and what may mend itself. */
static weir_status class_of(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
    case ENOTDIR:
    case ENOENT:
    case ENAMETOOLONG:
    case ELOOP:
        return WEIR_E_CONFIG;
    default:
        return WEIR_E_RETRY;
    }
}

/* With `sync`: the name of what was just made is on disk, too. */
static weir_status sync_name(const struct sink *k, const weir_host *h, const char *path)
{
    char copy[PATH_MAX];
    if (!k->sync)
        return WEIR_OK;
    if (strlen(path) >= sizeof copy)
        return h->fail(h, WEIR_E_CONFIG, ENAMETOOLONG, "open %s", path);
    memcpy(copy, path, strlen(path) + 1);
    char *slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0';
    const char *folder = slash ? copy : ".";
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error =
        (fd < 0 && errno != EACCES) || (fd >= 0 && fsync(fd) < 0 && errno != EINVAL) ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return error ? h->fail(h, class_of(error), error, "sync the folder %s", folder) : WEIR_OK;
}

static weir_status make_folders(const struct sink *k, const weir_host *h)
{
    char path[PATH_MAX];
    size_t len = strlen(k->path);
    if (len >= sizeof path)
        return h->fail(h, WEIR_E_CONFIG, ENAMETOOLONG, "open %s", k->path);
    memcpy(path, k->path, len + 1);
    for (char *at = path + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return h->fail(h, class_of(errno), errno, "make the folder %s", path);
        weir_status s = sync_name(k, h, path);
        if (s != WEIR_OK)
            return s;
        *at = '/';
    }
    return WEIR_OK;
}

static bool ends_torn(int fd, const struct stat *is)
{
    char last = '\n';
    return S_ISREG(is->st_mode) && is->st_size > 0 && pread(fd, &last, 1, is->st_size - 1) == 1 &&
           last != '\n';
}

static weir_status sink_open(struct sink *k, const weir_host *h)
{
    struct stat is;
    k->fd = open(k->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
    if (k->fd < 0 && (errno == EACCES || errno == ENXIO || errno == EINVAL))
        k->fd = open(k->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (k->fd < 0 && errno == ENOENT)
        return h->fail(h, WEIR_E_CONFIG, errno,
                       "open %s: make the folder first, or set make_folders", k->path);
    if (k->fd < 0)
        return h->fail(h, class_of(errno), errno, "open %s", k->path);
    if (fstat(k->fd, &is) < 0)
        return h->fail(h, WEIR_E_RETRY, errno, "stat %s", k->path);
    k->device = is.st_dev;
    k->inode = is.st_ino;
    k->is_torn = ends_torn(k->fd, &is);
    return S_ISREG(is.st_mode) ? sync_name(k, h, k->path) : WEIR_OK;
}

static void sink_close(struct sink *k)
{
    if (k->fd >= 0)
        (void)close(k->fd);
    k->fd = -1;
}

static weir_status sink_start(void *self, const weir_host *h)
{
    struct sink *k = self;
    k->path = file_place(h, &k->pipeline, k->path);
    weir_status s = k->make_folders ? make_folders(k, h) : WEIR_OK;
    if (s == WEIR_OK)
        s = sink_open(k, h);
    if (s != WEIR_OK)
        sink_close(k);
    return s;
}

static void sink_stop(void *self, const weir_host *h)
{
    sink_close(self);
}

/* A file that was moved away (logrotate) or removed is left alone, and a new one begun. */
static weir_status follow_path(struct sink *k, const weir_host *h)
{
    struct stat is;
    if (k->fd >= 0 && stat(k->path, &is) == 0 && is.st_ino == k->inode && is.st_dev == k->device)
        return WEIR_OK;
    sink_close(k);
    return sink_start(k, h);
}

/* Line breaks in JSON text are but space, so that a body keeps its meaning on one line. */
static char *put_line(char *to, const weir_payload *body)
{
    if (body->len)
        memcpy(to, body->ptr, body->len);
    for (char *at = to; (at = memchr(at, '\n', body->len - (size_t)(at - to))); at++)
        *at = ' ';
    for (char *at = to; (at = memchr(at, '\r', body->len - (size_t)(at - to))); at++)
        *at = ' ';
    to[body->len] = '\n';
    return to + body->len + 1;
}

static weir_str lines_of_envelopes(const struct sink *k, const weir_host *h,
                                   const weir_batch *batch)
{
    weir_payload **bodies = h->scratch(h, (batch->count + 1) * sizeof(weir_payload *));
    size_t n = 0, room = 1;
    for (; n < batch->count; n++) {
        bodies[n] = k->shapes->envelope(k->shapes, batch->events[n]);
        if (!bodies[n])
            break;
        room += bodies[n]->len + 1;
    }
    bool is_whole = n == batch->count;
    char *lines = is_whole ? h->scratch(h, room) : NULL, *end = lines;
    for (size_t i = 0; i < n; i++) {
        if (end)
            end = put_line(end, bodies[i]);
        h->unref(h, bodies[i]);
    }
    return (weir_str){lines, lines ? (size_t)(end - lines) : 0};
}

/* The batch as lines; ptr NULL past the memory limit. */
static weir_str lines_of(const struct sink *k, const weir_host *h, const weir_batch *batch)
{
    if (k->format == FORMAT_ENVELOPE)
        return lines_of_envelopes(k, h, batch);
    size_t room = 1;
    for (size_t i = 0; i < batch->count; i++)
        room += batch->events[i]->body->len + 1;
    char *lines = h->scratch(h, room), *end = lines;
    for (size_t i = 0; i < batch->count; i++)
        end = put_line(end, batch->events[i]->body);
    return (weir_str){lines, (size_t)(end - lines)};
}

static int write_all(int fd, weir_str bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return 0;
}

static weir_status sink_write(void *self, const weir_host *h, const weir_batch *batch)
{
    struct sink *k = self;
    struct stat before;
    weir_status s = follow_path(k, h);
    if (s != WEIR_OK)
        return s;
    weir_str lines = lines_of(k, h, batch);
    if (!lines.ptr)
        return WEIR_E_RETRY;
    if (fstat(k->fd, &before) < 0)
        return h->fail(h, WEIR_E_RETRY, errno, "stat %s", k->path);
    int error = k->is_torn ? write_all(k->fd, weir_text("\n")) : 0;
    if (!error)
        error = write_all(k->fd, lines);
    if (!error && k->sync && fdatasync(k->fd) < 0 && errno != EINVAL)
        error = errno;
    if (!error) {
        k->is_torn = false;
        return WEIR_OK;
    }
    /* The batch comes again: what was written of it is taken back, or its last line ended. */
    if (ftruncate(k->fd, before.st_size) < 0)
        k->is_torn = true;
    return h->fail(h, class_of(error), error, "write %s", k->path);
}

static const weir_option options[] = {
    WEIR_NEED(struct sink, shapes, WEIR_SHAPE),
    WEIR_NEED(struct sink, pipeline, WEIR_PIPELINE),
    WEIR_OPTION(
        struct sink, path, .required = true,
        .help = "The file; a relative path starts at the pipeline file's folder. It is reopened "
                "when it was moved away, so logrotate needs no signal."),
    WEIR_OPTION(struct sink, format, .choices = "body|envelope", .preset = "body",
                .help = "A line is the body alone, or the event as EventBridge's JSON."),
    WEIR_OPTION(struct sink, sync,
                .help = "Puts each batch on disk before it counts as delivered."),
    WEIR_OPTION(struct sink, make_folders, .preset = "true",
                .help = "Makes the folders above the file if they are not there."),
    {0},
};

const weir_component file_sink = {
    .name = "file",
    .version = "1.0",
    .summary = "Appends events to a file, a line each.",
    .flags = WEIR_BLOCKING | WEIR_IN_ORDER,
    .state_size = sizeof(struct sink),
    .options = options,
    .start = sink_start,
    .stop = sink_stop,
    .write = sink_write,
};
