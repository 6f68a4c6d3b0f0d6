/* tests/unit/journal_disk.h: a disk in memory that loses power, fills up and fails.
 *
 * Every write that is not synced is kept as versions of 512-byte sectors, of which any may or may
 * not survive a cut of the power, in any order. Names of files last only after a sync of the
 * directory or of the file itself with luck; sizes that are not synced may fall back. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "journal/disk.h"

enum { SIM_FILES = 96, SIM_SECTOR = 512 };

struct sim_version {
    uint32_t sector;
    uint64_t order;
    char bytes[SIM_SECTOR];
};

struct sim_file {
    char *name;
    bool is_named; /* the name is on the disk */
    bool is_gone;  /* removed; it may come back unless the directory is synced */
    uint64_t size, durable_size, cap;
    char *now, *durable;
    struct sim_version *versions;
    size_t count, room;
};

struct sim {
    struct disk disk;
    struct sim_file files[SIM_FILES];
    uint64_t random, order;
    uint64_t writes, syncs, ops;
    uint64_t fail_write_at, fail_sync_at, full_at, power_at; /* 0: never */
    uint64_t fail_syncs;                                     /* so many after the first as well */
    uint64_t space;                                          /* bytes left */
    bool is_dead, is_locked, is_short, is_full, is_broken;
};

static inline uint64_t sim_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static inline uint32_t sim_below(uint64_t *s, uint32_t n)
{
    return (uint32_t)((sim_random(s) >> 20) % n);
}

static inline struct sim *sim_of(const struct disk *d)
{
    union {
        const struct disk *from;
        struct sim *to;
    } alias = {.from = d};
    return alias.to;
}

/* One more operation that changes something; false: the power is off now. */
static inline bool sim_tick(struct sim *s)
{
    s->ops++;
    if (s->power_at && s->ops >= s->power_at)
        s->is_dead = true;
    return !s->is_dead;
}

static inline struct sim_file *sim_find(struct sim *s, const char *path)
{
    for (int i = 0; i < SIM_FILES; i++)
        if (s->files[i].name && !s->files[i].is_gone && strcmp(s->files[i].name, path) == 0)
            return &s->files[i];
    return NULL;
}

static inline void sim_drop(struct sim_file *f)
{
    mem_free(f->name);
    mem_free(f->now);
    mem_free(f->durable);
    mem_free(f->versions);
    memset(f, 0, sizeof *f);
}

static inline int sim_open(const struct disk *d, const char *path, int flags)
{
    struct sim *s = sim_of(d);
    struct sim_file *f = sim_find(s, path);
    if (f)
        return (int)(f - s->files) + 1000;
    if (!(flags & O_CREAT))
        return -ENOENT;
    if (!sim_tick(s))
        return -EIO;
    for (int i = 0; i < SIM_FILES; i++)
        if (s->files[i].is_gone && strcmp(s->files[i].name, path) == 0)
            sim_drop(&s->files[i]);
    for (int i = 0; i < SIM_FILES; i++) {
        if (s->files[i].name)
            continue;
        s->files[i].name = mem_text(path);
        return i + 1000;
    }
    return -ENFILE;
}

static inline void sim_close(const struct disk *d, int fd)
{
}

static inline struct sim_file *sim_file(const struct disk *d, int fd)
{
    return &sim_of(d)->files[fd - 1000];
}

static inline int64_t sim_pread(const struct disk *d, int fd, void *bytes, uint64_t n,
                                uint64_t offset)
{
    struct sim_file *f = sim_file(d, fd);
    if (sim_of(d)->is_dead)
        return -EIO;
    if (offset >= f->size)
        return 0;
    if (n > f->size - offset)
        n = f->size - offset;
    memcpy(bytes, f->now + offset, n);
    return (int64_t)n;
}

static inline void sim_resize(struct sim_file *f, uint64_t size)
{
    uint64_t cap = (size + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
    if (cap > f->cap) {
        f->now = mem_grow(f->now, cap);
        f->durable = mem_grow(f->durable, cap);
        memset(f->now + f->cap, 0, cap - f->cap);
        memset(f->durable + f->cap, 0, cap - f->cap);
        f->cap = cap;
    }
    f->size = size;
}

static inline void sim_keep(struct sim *s, struct sim_file *f, uint32_t sector)
{
    if (f->count == f->room) {
        f->room = f->room ? 2 * f->room : 32;
        f->versions = mem_grow(f->versions, f->room * sizeof *f->versions);
    }
    struct sim_version *v = &f->versions[f->count++];
    v->sector = sector;
    v->order = s->order++;
    memcpy(v->bytes, f->now + (uint64_t)sector * SIM_SECTOR, SIM_SECTOR);
}

static inline void sim_put(struct sim *s, struct sim_file *f, const void *bytes, uint64_t n,
                           uint64_t offset)
{
    if (n == 0)
        return;
    if (offset + n > f->size)
        sim_resize(f, offset + n);
    memcpy(f->now + offset, bytes, n);
    for (uint64_t k = offset / SIM_SECTOR; k <= (offset + n - 1) / SIM_SECTOR; k++)
        sim_keep(s, f, (uint32_t)k);
}

static inline int64_t sim_pwritev(const struct disk *d, int fd, const struct iovec *parts, int n,
                                  uint64_t offset)
{
    struct sim *s = sim_of(d);
    struct sim_file *f = sim_file(d, fd);
    if (s->is_dead)
        return -EIO;
    bool is_alive = sim_tick(s);
    s->writes++;
    if (s->is_broken)
        return -EIO;
    if ((s->full_at && s->writes % s->full_at == 0) || s->is_full)
        return -ENOSPC;
    bool is_failing = s->fail_write_at && s->writes == s->fail_write_at;
    bool is_short = s->is_short && sim_below(&s->random, 3) == 0;
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += parts[i].iov_len;
    uint64_t left = total;
    if (is_failing || !is_alive || is_short)
        left = total ? sim_below(&s->random, (uint32_t)total) : 0;
    if (is_short && left == 0)
        left = total < 1 ? total : 1;
    uint64_t done = 0;
    for (int i = 0; i < n && done < left; i++) {
        uint64_t step = parts[i].iov_len < left - done ? parts[i].iov_len : left - done;
        sim_put(s, f, parts[i].iov_base, step, offset + done);
        done += step;
    }
    return is_failing || !is_alive ? -EIO : (int64_t)done;
}

/* After a failed sync Linux holds the pages for clean, and the next one says nothing. */
static inline int sim_sync(const struct disk *d, int fd)
{
    struct sim *s = sim_of(d);
    struct sim_file *f = sim_file(d, fd);
    if (!sim_tick(s) || s->is_broken)
        return -EIO;
    s->syncs++;
    bool is_failing = s->fail_sync_at && s->syncs >= s->fail_sync_at &&
                      s->syncs <= s->fail_sync_at + s->fail_syncs;
    for (size_t i = 0; i < f->count; i++)
        if (!is_failing || sim_below(&s->random, 2))
            memcpy(f->durable + (uint64_t)f->versions[i].sector * SIM_SECTOR, f->versions[i].bytes,
                   SIM_SECTOR);
    f->count = 0;
    f->durable_size = f->size;
    return is_failing ? -EIO : 0;
}

static inline int sim_sync_dir(const struct disk *d, const char *path)
{
    struct sim *s = sim_of(d);
    if (!sim_tick(s))
        return -EIO;
    size_t n = strlen(path);
    for (int i = 0; i < SIM_FILES; i++) {
        const char *name = s->files[i].name;
        if (s->files[i].is_gone)
            sim_drop(&s->files[i]);
        else
            s->files[i].is_named |= name && strncmp(name, path, n) == 0 && name[n] == '/';
    }
    return 0;
}

static inline int sim_allocate(const struct disk *d, int fd, uint64_t bytes)
{
    struct sim *s = sim_of(d);
    struct sim_file *f = sim_file(d, fd);
    if (!sim_tick(s))
        return -EIO;
    if (bytes <= f->size)
        return 0;
    if (bytes - f->size > s->space || s->is_full)
        return -ENOSPC;
    s->space -= bytes - f->size;
    sim_resize(f, bytes);
    return 0;
}

static inline int sim_truncate(const struct disk *d, int fd, uint64_t bytes)
{
    sim_resize(sim_file(d, fd), bytes);
    return 0;
}

static inline int64_t sim_size(const struct disk *d, int fd)
{
    return (int64_t)sim_file(d, fd)->size;
}

static inline int sim_make_dir(const struct disk *d, const char *path)
{
    return 0;
}

static inline int sim_list(const struct disk *d, const char *path,
                           void (*fn)(void *user, const char *name), void *user)
{
    struct sim *s = sim_of(d);
    size_t n = strlen(path);
    if (s->is_dead)
        return -EIO;
    for (int i = 0; i < SIM_FILES; i++)
        if (s->files[i].name && !s->files[i].is_gone && strncmp(s->files[i].name, path, n) == 0)
            fn(user, s->files[i].name + n + 1);
    return 0;
}

static inline int sim_remove(const struct disk *d, const char *path)
{
    struct sim *s = sim_of(d);
    struct sim_file *f = sim_find(s, path);
    if (!f)
        return -ENOENT;
    if (!sim_tick(s))
        return -EIO;
    s->space += f->size;
    f->is_gone = true;
    return 0;
}

static inline int sim_lock(const struct disk *d, int fd)
{
    return 0;
}

static inline void sim_init(struct sim *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->disk = (struct disk){
        .open = sim_open,
        .close = sim_close,
        .pread = sim_pread,
        .pwritev = sim_pwritev,
        .sync = sim_sync,
        .sync_dir = sim_sync_dir,
        .allocate = sim_allocate,
        .truncate = sim_truncate,
        .size = sim_size,
        .make_dir = sim_make_dir,
        .list = sim_list,
        .remove = sim_remove,
        .lock = sim_lock,
    };
    s->random = seed * 0x9E3779B97F4A7C15u + 1;
    s->space = 1 << 30;
}

static inline void sim_fini(struct sim *s)
{
    for (int i = 0; i < SIM_FILES; i++)
        sim_drop(&s->files[i]);
}

enum sim_loss { SIM_NONE, SIM_ALL, SIM_ANY, SIM_PREFIX, SIM_MOST, SIM_LOSSES };

static inline void sim_lose(struct sim *s, struct sim_file *f, enum sim_loss how, uint64_t until)
{
    uint32_t odds = sim_below(&s->random, 4);
    for (size_t i = 0; i < f->count; i++) {
        const struct sim_version *v = &f->versions[i];
        bool is_kept = how == SIM_ALL || (how == SIM_ANY && sim_below(&s->random, 4) > odds) ||
                       (how == SIM_PREFIX && v->order < until) ||
                       (how == SIM_MOST && sim_below(&s->random, 10) > 0);
        if (is_kept)
            memcpy(f->durable + (uint64_t)v->sector * SIM_SECTOR, v->bytes, SIM_SECTOR);
    }
    bool is_shrunk = how != SIM_ALL && (how == SIM_NONE || sim_below(&s->random, 2));
    if (f->size > f->durable_size && is_shrunk) {
        s->space += f->size - f->durable_size;
        f->size = f->durable_size;
        memset(f->durable + f->size, 0, f->cap - f->size);
    }
    f->durable_size = f->size;
    f->count = 0;
    memcpy(f->now, f->durable, f->cap);
}

/* The power goes and comes again: what was not synced is there or not. */
static inline void sim_power_loss(struct sim *s, enum sim_loss how)
{
    uint64_t until = s->order ? sim_random(&s->random) % (s->order + 1) : 0;
    for (int i = 0; i < SIM_FILES; i++) {
        struct sim_file *f = &s->files[i];
        if (!f->name)
            continue;
        if (f->is_gone && (!f->is_named || how == SIM_ALL || sim_below(&s->random, 2))) {
            sim_drop(f);
            continue;
        }
        if (f->is_gone)
            s->space -= f->size < s->space ? f->size : s->space;
        f->is_gone = false;
        if (!f->is_named && how != SIM_ALL && (how == SIM_NONE || sim_below(&s->random, 2))) {
            s->space += f->size;
            sim_drop(f);
            continue;
        }
        f->is_named = true;
        if (f->cap)
            sim_lose(s, f, how, until);
    }
    s->order = 0;
    s->is_dead = false;
    s->power_at = s->fail_sync_at = s->fail_write_at = s->full_at = 0;
    s->ops = s->writes = s->syncs = 0;
}

/* Only the process died: what was written is in the page cache, though not yet on the disk. */
static inline void sim_process_death(struct sim *s)
{
    s->is_dead = false;
    s->power_at = s->fail_sync_at = s->fail_write_at = s->full_at = 0;
    s->ops = s->writes = s->syncs = 0;
}

static inline void sim_copy(struct sim *to, const struct sim *from)
{
    *to = *from;
    for (int i = 0; i < SIM_FILES; i++) {
        struct sim_file *f = &to->files[i];
        const struct sim_file *g = &from->files[i];
        if (!g->name)
            continue;
        f->name = mem_text(g->name);
        f->now = mem_copy(g->now, g->cap);
        f->durable = mem_copy(g->durable, g->cap);
        f->versions = mem_copy(g->versions, g->count * sizeof *g->versions);
        f->room = g->count;
    }
}
