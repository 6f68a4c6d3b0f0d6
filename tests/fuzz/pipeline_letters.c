/* fuzz/pipeline_letters.c: any bytes as what is asked of dead letters: no crash, nothing read beyond. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/letters.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct letters_query q;
    struct error e = {0};
    struct arena a;
    char *bytes = malloc(size ? size : 1); /* its end is watched */
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    arena_init(&a);
    bool is_read = letters_query_read((weir_str){bytes, size}, &q, &a, &e) == 0;
    if (is_read != (e.code == 0) || (is_read && q.act > LETTERS_PURGE))
        abort();
    arena_fini(&a);
    free(bytes);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
