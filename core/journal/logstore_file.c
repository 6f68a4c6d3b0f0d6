/* journal/logstore_file.c: names and lines of the log store, for its writer and its reader. */
#include "journal/logstore_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/text.h"
#include "json/scan.h"

enum { NAME_BYTES_MAX = 512, FOLDER_BYTES_MAX = 200 };

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
    return name.len && name.len <= NAME_BYTES_MAX;
}

bool logstore_is_stream_name(weir_str name)
{
    return name.len && name.len <= NAME_BYTES_MAX && !memchr(name.ptr, ':', name.len) &&
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

static char *put_escaped(char *at, unsigned char c)
{
    static const char from[] = "\"\\\n\r\t", to[] = "\"\\nrt", hex[] = "0123456789abcdef";
    const char *known = c ? strchr(from, c) : NULL;
    *at++ = '\\';
    if (known) {
        *at++ = to[known - from];
        return at;
    }
    const char code[] = {'u', '0', '0', hex[c >> 4], hex[c & 15]};
    memcpy(at, code, sizeof code);
    return at + sizeof code;
}

enum { GROWTH = 6, PIECE = 4096 }; /* a byte becomes at most so many; room is made by the piece */

/* One character, or a byte that is none: U+FFFD stands for it. Returns how many bytes it took. */
static size_t put_other(char **at, const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    size_t size = c >= 0x80 ? character(p, n) : 0;
    if (size) {
        memcpy(*at, p, size);
        *at += size;
        return size;
    }
    if (c < 0x80) {
        *at = put_escaped(*at, c);
    } else {
        memcpy(*at, "\xEF\xBF\xBD", 3);
        *at += 3;
    }
    return 1;
}

/* A line is JSON whatever was logged. Much of what is logged is JSON itself, full of quotes. */
static void add_text(struct buf *out, weir_str s)
{
    const char *p = s.ptr, *end = s.len ? p + s.len : p;
    buf_add_char(out, '"');
    while (p < end) {
        const char *limit = end - p > PIECE ? p + PIECE : end;
        char *start = buf_room(out, (size_t)(limit - p) * GROWTH + 4), *at = start;
        while (p < limit) {
            const char *stop = scan_plain(p, limit);
            memcpy(at, p, (size_t)(stop - p));
            at += stop - p;
            p = stop;
            if (p < limit)
                p += put_other(&at, p, (size_t)(end - p));
        }
        out->len += (size_t)(at - start);
    }
    buf_add_char(out, '"');
}

static void add_number(struct buf *out, const char *key, int64_t n)
{
    buf_add_text(out, key);
    if (n < 0)
        buf_add_char(out, '-');
    buf_add_u64(out, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

void logstore_file_add_line(struct buf *out, const struct logstore_line *line, bool has_text)
{
    add_number(out, "{\"t\":", line->time_ms);
    add_number(out, ",\"i\":", line->arrived_ms);
    buf_add_text(out, ",\"s\":");
    add_text(out, line->stream);
    if (has_text) {
        buf_add_text(out, ",\"m\":");
        add_text(out, line->text);
    }
    buf_add_text(out, "}\n");
}

struct cursor {
    char *at, *end;
};

static bool take_word(struct cursor *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

static bool take_number(struct cursor *c, int64_t *out)
{
    bool is_negative = take_word(c, "-");
    const char *start = c->at;
    uint64_t n = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
        c->at++;
    if (!text_to_u64((weir_str){start, (size_t)(c->at - start)}, &n) || n > INT64_MAX)
        return false;
    *out = is_negative ? -(int64_t)n : (int64_t)n;
    return true;
}

static bool take_escape(struct cursor *c, char **to)
{
    static const char from[] = "\"\\nrt/", into[] = "\"\\\n\r\t/";
    char kind = 0;
    if (c->at < c->end)
        kind = *c->at++;
    const char *known = kind ? strchr(from, kind) : NULL;
    if (known) {
        *(*to)++ = into[known - from];
        return true;
    }
    if (kind != 'u' || c->end - c->at < 4)
        return false;
    unsigned n = 0;
    for (int i = 0; i < 4; i++) {
        char h = *c->at++;
        unsigned digit = h >= '0' && h <= '9'   ? (unsigned)(h - '0')
                         : h >= 'a' && h <= 'f' ? (unsigned)(h - 'a' + 10)
                                                : 16;
        if (digit > 15)
            return false;
        n = 16 * n + digit;
    }
    if (n >= 0x80) /* the writer escapes nothing else so */
        return false;
    *(*to)++ = (char)(unsigned char)n;
    return true;
}

static bool take_text(struct cursor *c, weir_str *out)
{
    if (!take_word(c, "\""))
        return false;
    char *start = c->at, *to = c->at;
    while (c->at < c->end && *c->at != '"') {
        if (*c->at != '\\') {
            *to++ = *c->at++;
            continue;
        }
        c->at++;
        if (!take_escape(c, &to))
            return false;
    }
    *out = (weir_str){start, (size_t)(to - start)};
    return take_word(c, "\"");
}

// NOLINTNEXTLINE(readability-non-const-parameter): unescaped in place, through the cursor
bool logstore_file_parse(char *text, size_t n, struct logstore_line *line)
{
    struct cursor c = {text, text + n};
    *line = (struct logstore_line){0};
    if (!take_word(&c, "{\"t\":") || !take_number(&c, &line->time_ms) ||
        !take_word(&c, ",\"i\":") || !take_number(&c, &line->arrived_ms) ||
        !take_word(&c, ",\"s\":") || !take_text(&c, &line->stream))
        return false;
    if (take_word(&c, ",\"m\":") && !take_text(&c, &line->text))
        return false;
    return take_word(&c, "}") && c.at == c.end;
}
