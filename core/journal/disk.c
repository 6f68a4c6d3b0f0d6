/* journal/disk.c: the real disk, and loops over writes that fall short. */
#include "journal/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

static int real_open(const struct disk *d, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

static void real_close(const struct disk *d, int fd)
{
    (void)close(fd);
}

static int64_t real_pread(const struct disk *d, int fd, void *bytes, uint64_t n, uint64_t offset)
{
    ssize_t got;
    do
        got = pread(fd, bytes, n, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static int64_t real_pwritev(const struct disk *d, int fd, const struct iovec *parts, int n,
                            uint64_t offset)
{
    ssize_t done;
    do
        done = n == 1 ? pwrite(fd, parts->iov_base, parts->iov_len, (off_t)offset)
                      : pwritev(fd, parts, n, (off_t)offset);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

static int real_sync(const struct disk *d, int fd)
{
    return fdatasync(fd) != 0 ? -errno : 0;
}

static int real_sync_dir(const struct disk *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = fsync(fd) != 0 ? -errno : 0;
    (void)close(fd);
    return result;
}

static int real_allocate(const struct disk *d, int fd, uint64_t bytes)
{
    return fallocate(fd, 0, 0, (off_t)bytes) != 0 ? -errno : 0;
}

static int real_truncate(const struct disk *d, int fd, uint64_t bytes)
{
    return ftruncate(fd, (off_t)bytes) != 0 ? -errno : 0;
}

static int64_t real_size(const struct disk *d, int fd)
{
    struct stat st;
    return fstat(fd, &st) != 0 ? -errno : st.st_size;
}

static int real_make_dir(const struct disk *d, const char *path)
{
    return mkdir(path, 0700) != 0 ? -errno : 0;
}

static int real_list(const struct disk *d, const char *path,
                     void (*fn)(void *user, const char *name), void *user)
{
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    struct dirent *entry;
    /* The stream of entries is this call's own, which glibc promises to be enough. */
    while ((entry = readdir(dir)) != NULL) /* NOLINT(concurrency-mt-unsafe) */
        fn(user, entry->d_name);
    (void)closedir(dir);
    return 0;
}

static int real_remove(const struct disk *d, const char *path)
{
    return unlink(path) != 0 ? -errno : 0;
}

static int real_lock(const struct disk *d, int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static bool real_is_locked(const struct disk *d, int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

const struct disk disk_real = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pwritev = real_pwritev,
    .sync = real_sync,
    .sync_dir = real_sync_dir,
    .allocate = real_allocate,
    .truncate = real_truncate,
    .size = real_size,
    .make_dir = real_make_dir,
    .list = real_list,
    .remove = real_remove,
    .lock = real_lock,
    .is_locked = real_is_locked,
};

int disk_read_all(const struct disk *d, int fd, void *bytes, uint64_t n, uint64_t offset)
{
    char *to = bytes;
    while (n > 0) {
        int64_t got = d->pread(d, fd, to, n, offset);
        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        to += got;
        n -= (uint64_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

int disk_writev_all(const struct disk *d, int fd, struct iovec *parts, int n, uint64_t offset)
{
    enum { PARTS_MAX = 1024 }; /* the kernel's IOV_MAX */
    while (n > 0) {
        int64_t done = d->pwritev(d, fd, parts, n < PARTS_MAX ? n : PARTS_MAX, offset);
        if (done <= 0)
            return done < 0 ? (int)done : -EIO;
        offset += (uint64_t)done;
        while (n > 0 && (uint64_t)done >= parts->iov_len) {
            done -= (int64_t)parts->iov_len;
            parts++;
            n--;
        }
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + done;
            parts->iov_len -= (size_t)done;
        }
    }
    return 0;
}

int disk_write_all(const struct disk *d, int fd, const void *bytes, uint64_t n, uint64_t offset)
{
    union {
        const void *from;
        void *to;
    } alias = {.from = bytes}; /* an iovec has no const */
    struct iovec part = {alias.to, n};
    return n ? disk_writev_all(d, fd, &part, 1, offset) : 0;
}

int disk_fill_zero(const struct disk *d, int fd, uint64_t n, uint64_t offset)
{
    static const char zeros[1 << 16];
    while (n > 0) {
        uint64_t step = n < sizeof zeros ? n : sizeof zeros;
        int result = disk_write_all(d, fd, zeros, step, offset);
        if (result < 0)
            return result;
        n -= step;
        offset += step;
    }
    return 0;
}
