/* journal/logstore_file.c: names and lines of the log store, for its writer and its reader. */
#include "journal/logstore_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/text.h"

enum { FOLDER_BYTES_MAX = 200 };

/* ---- names ---- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool logstore_is_group_name(weir_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_plain(name.ptr[i]) && name.ptr[i] != '/' && name.ptr[i] != '#')
            return false;
    }
    return name.len && name.len <= LOGSTORE_NAME_MAX;
}

bool logstore_is_stream_name(weir_str name)
{
    return name.len && name.len <= LOGSTORE_NAME_MAX && !memchr(name.ptr, ':', name.len) &&
           !memchr(name.ptr, '*', name.len) && text_is_utf8(name);
}

void logstore_file_folder(weir_str group, char out[NAME_MAX + 1])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < group.len && n < FOLDER_BYTES_MAX; i++) {
        unsigned char c = (unsigned char)group.ptr[i];
        if (is_plain((char)c) && (c != '.' || i)) { /* no hidden folder, no ".." */
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    out[n] = 0;
    if (n >= FOLDER_BYTES_MAX)
        (void)snprintf(out + n, NAME_MAX + 1 - n, "%%~%016llx",
                       (unsigned long long)hash_bytes(group.ptr, group.len, 0));
}

/* 20240131-000001.log */
bool logstore_file_is_segment(const char *name)
{
    return strlen(name) == 19 && strspn(name, "0123456789") == 8 && name[8] == '-' &&
           strspn(name + 9, "0123456789") == 6 && strcmp(name + 15, ".log") == 0;
}

static bool best_segment(int folder, const char *bound, bool is_last, char *out)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool is_found = false;
    if (!d)
        return false;
    for (struct dirent *e; (e = readdir(d));) { // NOLINT(concurrency-mt-unsafe): a DIR of our own
        if (!logstore_file_is_segment(e->d_name))
            continue;
        bool is_within =
            is_last ? !*bound || strcmp(e->d_name, bound) < 0 : strcmp(e->d_name, bound) > 0;
        bool is_better =
            !is_found || (is_last ? strcmp(e->d_name, out) > 0 : strcmp(e->d_name, out) < 0);
        if (!is_within || !is_better)
            continue;
        (void)snprintf(out, LOGSTORE_SEGMENT_NAME, "%.19s", e->d_name);
        is_found = true;
    }
    (void)closedir(d);
    return is_found;
}

bool logstore_file_next(int folder, const char *after, char out[LOGSTORE_SEGMENT_NAME])
{
    char found[LOGSTORE_SEGMENT_NAME];
    bool is_found = best_segment(folder, after, false, found);
    if (is_found)
        memcpy(out, found, sizeof found);
    return is_found;
}

bool logstore_file_last(int folder, const char *before, char out[LOGSTORE_SEGMENT_NAME])
{
    char found[LOGSTORE_SEGMENT_NAME];
    bool is_found = best_segment(folder, before, true, found);
    if (is_found)
        memcpy(out, found, sizeof found);
    return is_found;
}

/* ---- small files ---- */

bool logstore_file_write(int folder, const char *name, weir_str text)
{
    int fd = openat(folder, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool is_written = write(fd, text.ptr, text.len) == (ssize_t)text.len && fdatasync(fd) == 0;
    return close(fd) == 0 && is_written && renameat(folder, "new", folder, name) == 0;
}

size_t logstore_file_read(int folder, const char *name, char *out, size_t size)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);
    if (fd >= 0)
        (void)close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

unsigned logstore_file_retention(int folder)
{
    char text[16];
    uint64_t days = 0;
    size_t n = logstore_file_read(folder, "retention", text, sizeof text);
    return text_to_u64((weir_str){text, n}, &days) && days < UINT32_MAX ? (unsigned)days : 0;
}

/* ---- lines ---- */

/* The bytes of a UTF-8 character at p, or 0. */
static size_t character(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return size <= n && text_is_utf8((weir_str){p, size}) ? size : 0;
}

/* U+FFFD stands for each byte that is no character. */
static void add_repaired(struct buf *out, weir_str s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = character(s.ptr + i, s.len - i);
        buf_add(out, n ? s.ptr + i : "\xEF\xBF\xBD", n ? n : 3);
        i += n ? n : 1;
    }
}

static void add_number(struct buf *out, int64_t n)
{
    if (n < 0)
        buf_add_char(out, '-');
    buf_add_u64(out, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
    buf_add_char(out, ' ');
}

void logstore_file_add_line(struct buf *out, const struct logstore_line *line, bool has_text)
{
    struct buf repaired = {0};
    weir_str text = line->text;
    if (has_text && !text_is_utf8(text)) {
        add_repaired(&repaired, text);
        text = buf_str(&repaired);
    }
    add_number(out, line->time_ms);
    add_number(out, line->arrived_ms);
    add_number(out, (int64_t)line->stream.len);
    add_number(out, has_text ? (int64_t)text.len : -1);
    buf_add_str(out, line->stream);
    buf_add_char(out, ' ');
    if (has_text)
        buf_add_str(out, text);
    buf_add_char(out, '\n');
    buf_fini(&repaired);
}

struct cursor {
    const char *at, *end;
    bool is_cut; /* it went on behind the end */
};

static bool take_number(struct cursor *c, int64_t *out)
{
    bool is_negative = c->at < c->end && *c->at == '-';
    const char *start = c->at += is_negative;
    uint64_t n = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
        c->at++;
    weir_str digits = {start, (size_t)(c->at - start)};
    c->is_cut = c->at == c->end && digits.len < LOGSTORE_HEAD_MAX;
    if (c->at == c->end || *c->at++ != ' ' || !text_to_u64(digits, &n) || n > INT64_MAX)
        return false;
    *out = is_negative ? -(int64_t)n : (int64_t)n;
    return true;
}

enum logstore_parsed logstore_file_parse(weir_str from, struct logstore_line *line, size_t *used)
{
    struct cursor c = {from.ptr, from.ptr + from.len, false};
    int64_t stream = 0, text = 0;
    *line = (struct logstore_line){0};
    if (!take_number(&c, &line->time_ms) || !take_number(&c, &line->arrived_ms) ||
        !take_number(&c, &stream) || !take_number(&c, &text))
        return c.is_cut ? LOGSTORE_CUT : LOGSTORE_BROKEN;
    if (stream < 1 || stream > LOGSTORE_NAME_MAX || text < -1 || text > LOGSTORE_LINE_MAX)
        return LOGSTORE_BROKEN;
    size_t bytes = text < 0 ? 0 : (size_t)text, need = (size_t)stream + 1 + bytes + 1;
    if ((size_t)(c.end - c.at) < need)
        return LOGSTORE_CUT;
    if (c.at[stream] != ' ' || c.at[need - 1] != '\n')
        return LOGSTORE_BROKEN;
    line->stream = (weir_str){c.at, (size_t)stream};
    if (text >= 0)
        line->text = (weir_str){c.at + stream + 1, bytes};
    *used = (size_t)(c.at - from.ptr) + need;
    return LOGSTORE_WHOLE;
}
