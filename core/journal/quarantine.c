/* journal/quarantine.c: damaged bytes are kept beside the log, one file a finding. */
#include <errno.h>
#include <fcntl.h>

#include "base/mem.h"
#include "journal/internal.h"

enum { BYTES_MAX = 16 << 20 }; /* in one open */

int quarantine_keep(struct journal *j, uint64_t segment, uint32_t offset, const char *bytes,
                    uint32_t n)
{
    const struct disk *d = j->disk;
    if (j->is_reader || n > BYTES_MAX - j->quarantined)
        return 0;
    char *dir = mem_format("%s/quarantine", j->path);
    char *path = mem_format("%s/%llu-%u", dir, (unsigned long long)segment, offset);
    (void)d->make_dir(d, dir);
    int result = 0, fd = d->open(d, path, O_RDWR | O_CREAT);
    if (fd >= 0) {
        result = disk_write_all(d, fd, bytes, n, 0);
        if (result == 0)
            result = d->sync(d, fd);
        d->close(d, fd);
        (void)d->sync_dir(d, dir);
        j->quarantined += n;
    }
    mem_free(path);
    mem_free(dir);
    return fd < 0 ? fd : result;
}
