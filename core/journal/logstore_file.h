/* journal/logstore_file.h: names and lines of the log store, for its writer and its reader. */
#pragma once
#include <limits.h>

#include "base/buf.h"
#include "journal/logstore.h"

enum { LOGSTORE_SEGMENT_NAME = 32 };

/* The folder of a group: escaped, and cut with a hash where it would be too long for a file name. */
void logstore_file_folder(weir_str group, char out[NAME_MAX + 1]);
bool logstore_file_is_segment(const char *name);
/* The first segment of the folder above `after` ("" is the first of all); false: none. */
bool logstore_file_next(int folder, const char *after, char out[LOGSTORE_SEGMENT_NAME]);
bool logstore_file_last(int folder, const char *before, char out[LOGSTORE_SEGMENT_NAME]);
unsigned logstore_file_retention(int folder); /* 0: none */
/* A small file in one write: false with errno. */
bool logstore_file_write(int folder, const char *name, weir_str text);
size_t logstore_file_read(int folder, const char *name, char *out, size_t size);

enum {
    LOGSTORE_NAME_MAX = 512,
    LOGSTORE_HEAD_MAX = 84,                    /* four numbers, each with its space */
    LOGSTORE_LINE_MAX = 3 * LOGSTORE_TEXT_MAX, /* every byte of a text repaired */
};

/* "<ms> <ms of arrival> <bytes of the stream's name> <bytes of the text> <name> <text>\n": what was
 * logged stays as it came, for grep as for copying; -1 bytes of text: only the stream was made. */
void logstore_file_add_line(struct buf *out, const struct logstore_line *line, bool has_text);

enum logstore_parsed {
    LOGSTORE_WHOLE,
    LOGSTORE_CUT /* more bytes may complete it */,
    LOGSTORE_BROKEN
};
/* The line that `from` begins with; its strings point into it. WHOLE: *used bytes were its. text.ptr
 * NULL: only the stream was made. */
enum logstore_parsed logstore_file_parse(weir_str from, struct logstore_line *line, size_t *used);
