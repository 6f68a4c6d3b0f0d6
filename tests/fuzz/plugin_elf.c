/* tests/fuzz/plugin_elf.c: any bytes as a shared object: its manifest is read or refused with a reason. */
#include <stdlib.h>
#include <string.h>

#include "plugin/elf.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_plugin p;
    struct error e = {0};
    char *copy = malloc(size + !size);
    if (size)
        memcpy(copy, data, size);
    if (elf_read_bytes("fuzzed.so", copy, size, &p, &e) != 0 && (!e.code || !*e.text))
        abort();
    for (size_t i = 0; i < p.count; i++)
        if (!*p.components[i].name)
            abort();
    elf_fini(&p);
    free(copy);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
