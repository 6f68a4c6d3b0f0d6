/* journal/window.c: a moving view of a file, for walks from its start to its end. */
#include "journal/window.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

enum { STEP = 256 << 10 };

const char *window_bytes(struct window *w, uint32_t offset, uint32_t n)
{
    if (offset > w->limit || n > w->limit - offset)
        return NULL;
    if (offset >= w->at && offset - w->at <= w->len && n <= w->len - (offset - w->at))
        return w->bytes + (offset - w->at);
    uint32_t want = n > STEP ? n : STEP;
    if (want > w->limit - offset)
        want = w->limit - offset;
    if (want > w->cap) {
        w->bytes = mem_grow(w->bytes, want);
        w->cap = want;
    }
    w->len = 0;
    int64_t got = w->disk->pread(w->disk, w->fd, w->bytes, want, offset);
    if (got >= 0 && got < (int64_t)want)
        got = disk_read_all(w->disk, w->fd, w->bytes + got, want - (uint64_t)got,
                            offset + (uint64_t)got);
    if (got < 0) {
        w->error = (int)got;
        return NULL;
    }
    w->at = offset;
    w->len = want;
    return w->bytes;
}

const struct record *window_record(struct window *w, struct place place, uint32_t offset)
{
    const char *bytes = window_bytes(w, offset, sizeof(struct record));
    if (!bytes)
        return NULL;
    struct record head;
    memcpy(&head, bytes, sizeof head);
    if (head.life != place.life || head.length < sizeof head ||
        head.length > FORMAT_RECORD_MAX * 2U)
        return NULL;
    bytes = window_bytes(w, offset, head.length);
    return bytes ? record_check(place, bytes, head.length, offset) : NULL;
}

void window_fini(struct window *w)
{
    mem_free(w->bytes);
    w->bytes = NULL;
}
