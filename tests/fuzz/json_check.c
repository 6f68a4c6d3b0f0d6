/* tests/fuzz/json_check.c: any bytes as JSON: what is accepted can be walked, quoted and compared. */
#include <stdlib.h>
#include <string.h>

#include "json/check.h"
#include "json/json.h"
#include "json/masks.h"
#include "json/same.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void walk(weir_str value, struct arena *a, unsigned depth)
{
    require(json_check(value, NULL, NULL) == WEIR_OK);
    if (json_kind(value) == WEIR_JSON_TEXT) {
        struct buf out = {0};
        json_quote(&out, json_unquote(value, a));
        require(json_same(value, buf_str(&out)));
        require(same_hash(value, 1) == same_hash(buf_str(&out), 1));
        buf_fini(&out);
    }
    if (json_kind(value) == WEIR_JSON_NUMBER)
        (void)json_number(value);
    for (weir_json_each each = {0}; depth < 40 && json_next(value, &each);) {
        (void)json_unquote(each.key, a);
        walk(each.value, a, depth + 1);
    }
}

/* Whatever the machine's instructions, the answer is that of the check byte by byte. */
static void compare(weir_str text)
{
    bool is_good = check_bytes(text, NULL, NULL) == WEIR_OK;
    size_t count = masks_count(text.len);
    struct masks_block *blocks = malloc(count * sizeof *blocks);
    for (int variant = 0; variant < MASKS_VARIANTS; variant++)
        if (masks_use(variant)) {
            require(!(masks_check(text, blocks) & MASKS_BAD) == is_good);
            (void)masks_read(text, blocks);
        }
    require(masks_use(-1));
    free(blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    const char *why = NULL;
    /* The exact size, so that a byte read behind the end is seen. */
    char *copy = malloc(size + !size);
    weir_str text = {copy, size};
    if (size)
        memcpy(copy, data, size);
    compare(text);
    if (json_check(text, &at, &why) == WEIR_OK) {
        struct arena a;
        arena_init(&a);
        walk(json_trim(text), &a, 0);
        require(json_same(text, text));
        (void)json_find(text, "a.b[0].c");
        arena_fini(&a);
    } else {
        require(why && at <= size);
    }
    free(copy);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
