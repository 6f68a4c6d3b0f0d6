/* fuzz/pipeline_codec.c: any bytes as a stored event: no crash, nothing read beyond, nothing kept; what
 * is an event is written as the same bytes again. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/codec.h"
#include "pipeline/worker.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The seven bytes behind the trace are not read, and flags but the first are not kept. */
static void compare(const weir_event *ev, const uint8_t *data, size_t size)
{
    struct buf out = {0};
    codec_write(ev, &out);
    struct iovec body = codec_body(ev);
    buf_add(&out, body.iov_base, body.iov_len);
    if (out.len != size || memcmp(out.ptr + 2, data + 2, 63) != 0 ||
        memcmp(out.ptr + 72, data + 72, size - 72) != 0)
        abort();
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct worker worker;
    struct budget budget = {.limit_bytes = 1 << 22};
    weir_status s = WEIR_OK;
    char *bytes = malloc(size ? size : 1); /* its end is watched */
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    worker_enter(&worker);
    struct block *b = block_new(&worker);
    struct event *ev = codec_read((weir_str){bytes, size}, b, &budget, &s);
    if ((ev != NULL) != (s == WEIR_OK) || (s != WEIR_OK && s != WEIR_E_REJECT && s != WEIR_E_RETRY))
        abort();
    if (ev)
        compare(&ev->pub, data, size);
    block_unref(b);
    if (budget.used_bytes)
        abort();
    free(bytes);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
