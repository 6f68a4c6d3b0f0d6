/* config/secret.c: the value behind { env: NAME } or { file: path }, read when it is needed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/document.h"

static int read_file(int fd, struct buf *out)
{
    size_t start = out->len;
    while (out->len - start <= DOCUMENT_SECRET_MAX) {
        ssize_t n = read(fd, buf_room(out, 4096), 4096);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno;
        out->len += n > 0 ? (size_t)n : 0;
    }
    return EFBIG;
}

int secret_read(const weir_secret *s, struct buf *out, struct error *e)
{
    if (s->env) {
        const char *value = getenv(s->env); // NOLINT(concurrency-mt-unsafe): nobody sets any
        if (!value)
            return error_set(e, EXIT_CONFIG, "the variable %s is not set", s->env);
        buf_add_text(out, value);
        return 0;
    }
    int fd = open(s->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_sys(e, errno, "%s", s->file);
    size_t start = out->len;
    int why = read_file(fd, out);
    (void)close(fd);
    if (why) {
        out->len = start;
        return error_sys(e, why, "%s", s->file);
    }
    out->len -= out->len > start && out->ptr[out->len - 1] == '\n';
    out->len -= out->len > start && out->ptr[out->len - 1] == '\r';
    return 0;
}
