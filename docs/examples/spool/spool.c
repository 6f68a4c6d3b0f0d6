/* spool.c: a sink that puts each event into a file of its own, named by the event's id. */
#include <weir/plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct spool {
    const char *folder;
};

static weir_status spool_write(void *self, const weir_host *h, const weir_batch *batch)
{
    const struct spool *s = self;
    for (size_t i = 0; i < batch->count; i++) {
        const weir_payload *body = batch->events[i]->body;
        weir_str id = h->get(h, batch->events[i], "@id");
        char path[4096];
        snprintf(path, sizeof path, "%s/%.*s.json", s->folder, (int)id.len, id.ptr);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
            return h->fail(h, WEIR_E_RETRY, errno, "open %s", path);
        ssize_t n = write(fd, body->ptr, body->len);
        int error = errno;
        close(fd);
        if (n != (ssize_t)body->len)
            return h->fail(h, WEIR_E_RETRY, n < 0 ? error : ENOSPC, "write %s", path);
    }
    return WEIR_OK;
}

static const weir_option options[] = {
    WEIR_OPTION(struct spool, folder, .required = true, .help = "Where the files go."),
    {0},
};

static const weir_component spool = {
    .name = "spool",
    .version = "1.0",
    .summary = "Puts each event into a file of its own.",
    .flags = WEIR_BLOCKING, /* a thread of its own: files may be slow */
    .state_size = sizeof(struct spool),
    .options = options,
    .write = spool_write,
};
WEIR_PLUGIN(&spool);
