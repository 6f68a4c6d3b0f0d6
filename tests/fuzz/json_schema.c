/* tests/fuzz/json_schema.c: any bytes as a schema and, behind a zero byte, a text for it: telling
 * and counting agree, and neither crashes. */
#include <stdlib.h>
#include <string.h>

#include "json/json.h"
#include "json/schema.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_it(void *user, const weir_violation *v)
{
    size_t *n = user;
    for (size_t i = 0; i < v->pointer.len; i++)
        *n += (unsigned char)v->pointer.ptr[i];
    *n += strlen(v->keyword) + strlen(v->message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    if (!zero)
        return 0;
    size_t n = (size_t)(zero - data), rest = size - n - 1, read = 0;
    struct error e = {0};
    char *text = malloc(rest + !rest);
    if (rest)
        memcpy(text, zero + 1, rest);
    struct schema *s = schema_new((weir_str){(const char *)data, n}, &e);
    if (!s && (!e.code || !*e.text))
        abort();
    if (s && json_check((weir_str){text, rest}, NULL, NULL) == WEIR_OK) {
        struct arena a;
        arena_init(&a);
        size_t told = schema_test(s, (weir_str){text, rest}, &a, read_it, &read);
        if (schema_test(s, (weir_str){text, rest}, &a, NULL, NULL) != (told > 0))
            abort();
        arena_fini(&a);
    }
    schema_free(s);
    free(text);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
