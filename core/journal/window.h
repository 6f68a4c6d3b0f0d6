/* journal/window.h: a moving view of a file, for walks from its start to its end. */
#pragma once
#include "journal/disk.h"
#include "journal/format.h"

struct window {
    const struct disk *disk;
    int fd, error;  /* error: of the last read, negative errno */
    uint32_t limit; /* nothing behind it is looked at */
    char *bytes;    /* of the window */
    uint32_t at, len, cap;
};

/* n bytes at the offset, or NULL: behind the limit, or not readable. Until the next call. */
const char *window_bytes(struct window *w, uint32_t offset, uint32_t n);
/* The record that lies there whole, or NULL. Until the next call. */
const struct record *window_record(struct window *w, struct place place, uint32_t offset);
void window_fini(struct window *w);
