/* fuzz/pipeline_replay.c: any bytes as what is asked of replays, and as the record of one: no crash, nothing
 * read beyond; what is a record is written as one again. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/replay_priv.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_record(weir_str bytes)
{
    struct buf once = {0}, twice = {0};
    struct replay *r = replay_read(bytes);
    if (!r)
        return;
    replay_print(r, &once);
    replay_free(r);
    r = replay_read(buf_str(&once));
    if (!r)
        abort();
    replay_print(r, &twice);
    replay_free(r);
    if (once.len != twice.len || memcmp(once.ptr, twice.ptr, once.len) != 0)
        abort();
    buf_fini(&once);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replay_request q;
    struct error e = {0};
    struct arena a;
    char *bytes = malloc(size ? size : 1); /* its end is watched */
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    arena_init(&a);
    bool is_read = replay_request_read((weir_str){bytes, size}, &q, &a, &e) == 0;
    if (is_read != (e.code == 0) || q.spec.rule_count > REPLAY_RULES_MAX)
        abort();
    read_record((weir_str){bytes, size});
    arena_fini(&a);
    free(bytes);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
