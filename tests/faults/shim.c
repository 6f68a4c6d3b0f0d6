/* tests/faults/shim.c: preloaded, it makes the files under one directory fail as a disk may.
 *
 * WEIR_FAULT_DIR names the directory, WEIR_FAULT_CONTROL a file that holds struct control: whoever
 * maps it says what fails, and when, also while the program runs. WEIR_FAULT_TRACE, if set, gets all
 * that is written and synced, in order, for power.py; lines written to WEIR_FAULT_NOTES are put among
 * it. With WEIR_FAULT_NO_SYNC syncs are left out, which only a power cut would tell. What libc writes by itself (stdio) is not seen. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SHIM __attribute__((visibility("default")))

enum kind { CREATE, WRITE, SYNC, ALLOCATE, TRUNCATE, RENAME, UNLINK, MAKE_DIR, NOTE, SYNC_FAILED };
enum fault { FAULT_KILL = 1000, FAULT_TORN, FAULT_SHORT }; /* below: an errno */
enum watched { NOT_WATCHED, IN_DIR, IS_NOTES };
enum { FILES_MAX = 1 << 16 };

struct control {              /* shim.py knows the layout */
    _Atomic uint64_t ops;     /* so many were done that could have failed */
    _Atomic uint64_t from;    /* the first that fails, from 1; 0: none */
    _Atomic uint64_t until;   /* the last */
    _Atomic uint64_t fired;   /* so many failed */
    _Atomic int64_t space;    /* bytes that files may still grow by; < 0: no limit */
    _Atomic int64_t clock_ns; /* added to the wall clock */
    _Atomic uint32_t kinds;   /* which kinds count: 1 << enum kind */
    _Atomic uint32_t fault;
    _Atomic uint64_t traced; /* entries of the trace */
};

struct entry { /* of the trace; path and bytes follow */
    uint32_t kind, path_len;
    uint64_t offset, len;
};

static struct control nothing, *control = &nothing;
static const char *dir, *notes;
static size_t dir_len;
static bool is_quiet; /* syncs say yes and are left out: a process that dies loses nothing by it */
static int trace_fd = -1;
static unsigned char watched[FILES_MAX];
static char *paths[FILES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *next_of(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

/* The function behind ours, found at its first call. */
#define NEXT(result, name, ...) \
    typedef result type_##name(__VA_ARGS__); \
    static _Atomic(void *) found_##name; \
    static type_##name *next_##name(void) \
    { \
        union { \
            void *data; \
            type_##name *call; \
        } f = {atomic_load(&found_##name)}; \
        if (!f.data) \
            atomic_store(&found_##name, f.data = next_of(#name)); \
        return f.call; \
    }

NEXT(int, open, const char *, int, ...)
NEXT(int, openat, int, const char *, int, ...)
NEXT(int, close, int)
NEXT(ssize_t, write, int, const void *, size_t)
NEXT(ssize_t, pwrite, int, const void *, size_t, off_t)
NEXT(ssize_t, writev, int, const struct iovec *, int)
NEXT(ssize_t, pwritev, int, const struct iovec *, int, off_t)
NEXT(int, fsync, int)
NEXT(int, fdatasync, int)
NEXT(int, fallocate, int, int, off_t, off_t)
NEXT(int, posix_fallocate, int, off_t, off_t)
NEXT(int, ftruncate, int, off_t)
NEXT(int, rename, const char *, const char *)
NEXT(int, unlink, const char *)
NEXT(int, unlinkat, int, const char *, int)
NEXT(int, mkdir, const char *, mode_t)
NEXT(int, clock_gettime, clockid_t, struct timespec *)

__attribute__((constructor)) static void shim_start(void)
{
    const char *path = getenv("WEIR_FAULT_CONTROL"), *trace = getenv("WEIR_FAULT_TRACE");
    notes = getenv("WEIR_FAULT_NOTES");
    dir = getenv("WEIR_FAULT_DIR");
    dir_len = dir ? strlen(dir) : 0;
    is_quiet = getenv("WEIR_FAULT_NO_SYNC") != NULL;
    int fd = path ? next_open()(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)next_close()(fd);
    if (map == MAP_FAILED)
        abort();
    control = map;
    if (trace)
        trace_fd = next_open()(trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static bool is_inside(const char *path)
{
    return dir_len && strncmp(path, dir, dir_len) == 0 &&
           (path[dir_len] == '/' || path[dir_len] == '\0');
}

static enum watched watched_of(int fd)
{
    return fd >= 0 && fd < FILES_MAX ? (enum watched)watched[fd] : NOT_WATCHED;
}

static void watch(int fd, const char *path)
{
    if (fd < 0 || fd >= FILES_MAX)
        return;
    bool is_notes = notes && strcmp(path, notes) == 0;
    if (!is_notes && !is_inside(path))
        return;
    free(paths[fd]);
    paths[fd] = strdup(path);
    watched[fd] = is_notes ? IS_NOTES : IN_DIR;
}

static void trace_parts(enum kind kind, const char *path, uint64_t offset,
                        const struct iovec *parts, int n, size_t len)
{
    struct entry e = {kind, (uint32_t)strlen(path), offset, len};
    if (trace_fd < 0)
        return;
    (void)!next_write()(trace_fd, &e, sizeof e);
    (void)!next_write()(trace_fd, path, e.path_len);
    for (int i = 0; i < n && len; i++) {
        size_t step = parts[i].iov_len < len ? parts[i].iov_len : len;
        (void)!next_write()(trace_fd, parts[i].iov_base, step);
        len -= step;
    }
    atomic_fetch_add(&control->traced, 1);
}

static void trace(enum kind kind, const char *path, uint64_t offset)
{
    trace_parts(kind, path, offset, NULL, 0, 0);
}

/* 0: all is well, FAULT_TORN, FAULT_SHORT, or an errno. Does not return where it is to be killed. */
static int strike(enum kind kind)
{
    if (!(atomic_load(&control->kinds) >> kind & 1))
        return 0;
    uint64_t n = atomic_fetch_add(&control->ops, 1) + 1;
    uint64_t from = atomic_load(&control->from);
    if (!from || n < from || n > atomic_load(&control->until))
        return 0;
    atomic_fetch_add(&control->fired, 1);
    int fault = (int)atomic_load(&control->fault);
    bool is_whole = kind != WRITE && (fault == FAULT_TORN || fault == FAULT_SHORT);
    if (fault == FAULT_KILL || (fault == FAULT_TORN && is_whole))
        (void)kill(getpid(), SIGKILL);
    return is_whole ? 0 : fault;
}

/* Whether a file may grow to `end`; takes the space. */
static bool has_space(int fd, uint64_t end)
{
    struct stat st;
    if (atomic_load(&control->space) < 0 || fstat(fd, &st) != 0)
        return true;
    uint64_t size = (uint64_t)st.st_size;
    /* What lies in a hole needs blocks too: a file that was only lengthened has none. */
    int64_t more = end > size ? (int64_t)(end - size) : 0;
    int64_t had = atomic_load(&control->space);
    do {
        if (more > 0 && had < more)
            return false;
    } while (!atomic_compare_exchange_weak(&control->space, &had, had - more));
    return true;
}

static bool fails(int error)
{
    if (error)
        errno = error;
    return error != 0;
}

/* ---- opening ---- */

static int opened(int at, const char *path, int flags, mode_t mode)
{
    bool is_new = is_inside(path) && (flags & (O_CREAT | O_TRUNC)) && access(path, F_OK) != 0;
    (void)pthread_mutex_lock(&lock);
    int fd = -1;
    if (!is_new || !fails(strike(CREATE)))
        fd = next_openat()(at, path, flags, mode);
    if (fd >= 0)
        watch(fd, path);
    if (fd >= 0 && is_new)
        trace(CREATE, path, 0);
    (void)pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if ((flags)&O_CREAT) { \
        va_list more; \
        va_start(more, flags); \
        mode = (mode_t)va_arg(more, int); \
        va_end(more); \
    }

SHIM int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}

SHIM int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}

SHIM int openat(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(at, path, flags, mode);
}

SHIM int close(int fd)
{
    if (watched_of(fd)) {
        (void)pthread_mutex_lock(&lock);
        watched[fd] = NOT_WATCHED;
        (void)pthread_mutex_unlock(&lock);
    }
    return next_close()(fd);
}

/* ---- writing ---- */

static ssize_t put_at(int fd, const struct iovec *parts, int n, size_t left, off_t offset)
{
    size_t done = 0;
    for (int i = 0; i < n && done < left; i++) {
        size_t step = parts[i].iov_len < left - done ? parts[i].iov_len : left - done;
        ssize_t put = next_pwrite()(fd, parts[i].iov_base, step, offset + (off_t)done);
        if (put < 0)
            return done ? (ssize_t)done : put;
        done += (size_t)put;
        if ((size_t)put < step)
            break;
    }
    return (ssize_t)done;
}

static ssize_t put_locked(int fd, const struct iovec *parts, int n, off_t offset)
{
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += parts[i].iov_len;
    int fault = watched[fd] == IN_DIR ? strike(WRITE) : 0;
    bool is_part = fault == FAULT_TORN || fault == FAULT_SHORT;
    if (!is_part && fails(fault))
        return -1;
    if (watched[fd] == IN_DIR && !has_space(fd, (uint64_t)offset + total)) {
        errno = ENOSPC;
        return -1;
    }
    size_t want = is_part ? (total + 1) / 2 : total;
    ssize_t done = put_at(fd, parts, n, want, offset);
    if (fault == FAULT_TORN)
        (void)kill(getpid(), SIGKILL);
    if (done > 0)
        trace_parts(watched[fd] == IS_NOTES ? NOTE : WRITE, paths[fd], (uint64_t)offset, parts, n,
                    (size_t)done);
    return done;
}

/* `offset` < 0: at the file's position, or its end. */
static ssize_t put(int fd, const struct iovec *parts, int n, off_t offset)
{
    (void)pthread_mutex_lock(&lock);
    off_t at = offset;
    if (offset < 0) {
        bool is_append = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
        at = lseek(fd, 0, is_append ? SEEK_END : SEEK_CUR);
    }
    ssize_t done = put_locked(fd, parts, n, at);
    if (offset < 0 && done > 0)
        (void)lseek(fd, at + done, SEEK_SET);
    (void)pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t put_one(int fd, const void *bytes, size_t len, off_t offset)
{
    union {
        const void *from;
        void *to;
    } alias = {bytes};
    struct iovec part = {alias.to, len};
    return put(fd, &part, 1, offset);
}

SHIM ssize_t write(int fd, const void *bytes, size_t len)
{
    return watched_of(fd) ? put_one(fd, bytes, len, -1) : next_write()(fd, bytes, len);
}

SHIM ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return watched_of(fd) ? put_one(fd, bytes, len, offset) : next_pwrite()(fd, bytes, len, offset);
}

SHIM ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite(fd, bytes, len, offset);
}

SHIM ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return watched_of(fd) ? put(fd, parts, n, -1) : next_writev()(fd, parts, n);
}

SHIM ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    return watched_of(fd) ? put(fd, parts, n, offset) : next_pwritev()(fd, parts, n, offset);
}

SHIM ssize_t pwritev64(int fd, const struct iovec *parts, int n, off_t offset)
{
    return pwritev(fd, parts, n, offset);
}

/* ---- syncing, space, names ---- */

static int synced(int fd, int (*sync)(int))
{
    if (watched_of(fd) != IN_DIR)
        return sync(fd);
    (void)pthread_mutex_lock(&lock);
    bool is_failing = fails(strike(SYNC));
    int result = is_failing ? -1 : is_quiet ? 0 : sync(fd);
    trace(is_failing ? SYNC_FAILED : SYNC, paths[fd], 0);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

SHIM int fsync(int fd)
{
    return synced(fd, next_fsync());
}

SHIM int fdatasync(int fd)
{
    return synced(fd, next_fdatasync());
}

static int allocated(int fd, int mode, off_t offset, off_t len)
{
    int error = strike(ALLOCATE);
    if (!error && !has_space(fd, (uint64_t)(offset + len)))
        error = ENOSPC;
    if (!error && next_fallocate()(fd, mode, offset, len) != 0)
        error = errno;
    if (!error)
        trace(ALLOCATE, paths[fd], (uint64_t)(offset + len));
    return error;
}

SHIM int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (watched_of(fd) != IN_DIR)
        return next_fallocate()(fd, mode, offset, len);
    (void)pthread_mutex_lock(&lock);
    int error = allocated(fd, mode, offset, len);
    (void)pthread_mutex_unlock(&lock);
    return fails(error) ? -1 : 0;
}

SHIM int fallocate64(int fd, int mode, off_t offset, off_t len)
{
    return fallocate(fd, mode, offset, len);
}

SHIM int posix_fallocate(int fd, off_t offset, off_t len)
{
    if (watched_of(fd) != IN_DIR)
        return next_posix_fallocate()(fd, offset, len);
    (void)pthread_mutex_lock(&lock);
    int error = allocated(fd, 0, offset, len);
    (void)pthread_mutex_unlock(&lock);
    return error;
}

SHIM int ftruncate(int fd, off_t len)
{
    if (watched_of(fd) != IN_DIR)
        return next_ftruncate()(fd, len);
    (void)pthread_mutex_lock(&lock);
    int error = strike(TRUNCATE);
    if (!error && next_ftruncate()(fd, len) != 0)
        error = errno;
    if (!error)
        trace(TRUNCATE, paths[fd], (uint64_t)len);
    (void)pthread_mutex_unlock(&lock);
    return fails(error) ? -1 : 0;
}

SHIM int ftruncate64(int fd, off_t len)
{
    return ftruncate(fd, len);
}

SHIM int rename(const char *from, const char *to)
{
    if (!is_inside(from) && !is_inside(to))
        return next_rename()(from, to);
    (void)pthread_mutex_lock(&lock);
    int result = fails(strike(RENAME)) ? -1 : next_rename()(from, to);
    struct iovec part = {(char *)(uintptr_t)to, strlen(to)};
    if (result == 0)
        trace_parts(RENAME, from, 0, &part, 1, part.iov_len);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

static void give_space(const struct stat *st)
{
    if (atomic_load(&control->space) >= 0)
        atomic_fetch_add(&control->space, st->st_size);
}

static int unlinked(int at, const char *path, int flags)
{
    struct stat st = {0};
    (void)pthread_mutex_lock(&lock);
    int result = -1;
    if (!fails(strike(UNLINK))) {
        (void)fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW);
        result = next_unlinkat()(at, path, flags);
    }
    if (result == 0) {
        give_space(&st);
        trace(UNLINK, path, 0);
    }
    (void)pthread_mutex_unlock(&lock);
    return result;
}

SHIM int unlink(const char *path)
{
    return is_inside(path) ? unlinked(AT_FDCWD, path, 0) : next_unlink()(path);
}

SHIM int unlinkat(int at, const char *path, int flags)
{
    return is_inside(path) ? unlinked(at, path, flags) : next_unlinkat()(at, path, flags);
}

SHIM int mkdir(const char *path, mode_t mode)
{
    if (!is_inside(path))
        return next_mkdir()(path, mode);
    (void)pthread_mutex_lock(&lock);
    bool is_new = access(path, F_OK) != 0;
    int result = is_new && fails(strike(MAKE_DIR)) ? -1 : next_mkdir()(path, mode);
    if (result == 0)
        trace(MAKE_DIR, path, 0);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

/* ---- the wall clock ---- */

SHIM int clock_gettime(clockid_t clock, struct timespec *at)
{
    int result = next_clock_gettime()(clock, at);
    int64_t more = atomic_load(&control->clock_ns);
    if (result != 0 || !more || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return result;
    int64_t ns = at->tv_nsec + more % 1000000000;
    at->tv_sec += more / 1000000000 + (ns < 0 ? -1 : ns / 1000000000);
    at->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    return 0;
}

SHIM time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

SHIM int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *at = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}
