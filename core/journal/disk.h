/* journal/disk.h: the disk as the journal sees it, so that tests can cut the power and fill it up.
 *
 * Every function returns a count or 0, or a negative errno. Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct disk {
    int (*open)(const struct disk *d, const char *path, int flags); /* a descriptor; made 0600 */
    void (*close)(const struct disk *d, int fd);
    int64_t (*pread)(const struct disk *d, int fd, void *bytes, uint64_t n, uint64_t offset);
    int64_t (*pwritev)(const struct disk *d, int fd, const struct iovec *parts, int n,
                       uint64_t offset);
    int (*sync)(const struct disk *d, int fd); /* fdatasync */
    int (*sync_dir)(const struct disk *d, const char *path);
    int (*allocate)(const struct disk *d, int fd, uint64_t bytes); /* fallocate, grows the file */
    int (*truncate)(const struct disk *d, int fd, uint64_t bytes);
    int64_t (*size)(const struct disk *d, int fd);
    int (*make_dir)(const struct disk *d, const char *path); /* 0700 */
    int (*list)(const struct disk *d, const char *path, void (*fn)(void *user, const char *name),
                void *user);
    int (*remove)(const struct disk *d, const char *path);
    int (*lock)(const struct disk *d, int fd); /* of the open file description; -EAGAIN: held */
    bool (*is_locked)(const struct disk *d, int fd); /* by another; may be NULL */
};

extern const struct disk disk_real;

/* The whole of it: 0, or a negative errno (-EIO where the file was too short). */
int disk_read_all(const struct disk *d, int fd, void *bytes, uint64_t n, uint64_t offset);
int disk_write_all(const struct disk *d, int fd, const void *bytes, uint64_t n, uint64_t offset);
/* The parts are used up. */
int disk_writev_all(const struct disk *d, int fd, struct iovec *parts, int n, uint64_t offset);
int disk_fill_zero(const struct disk *d, int fd, uint64_t n, uint64_t offset);
