/* tests/fuzz/net_http.c: the parser must say the same however the bytes are split.
 *
 * clang -fsanitize=fuzzer,address,undefined -std=c11 -D_GNU_SOURCE -Icore -Iinclude
 *     tests/fuzz/net_http.c core/net/http_parse.c core/base/text.c */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 1 << 16 };

static int find_end(const char *bytes, size_t n, size_t step)
{
    size_t scanned = 0;
    const char *why = NULL;
    int end = 0;
    for (size_t have = step; end == 0; have += step) {
        end = http_parse_end(bytes, have < n ? have : n, &scanned, &why);
        if (have >= n)
            break;
    }
    return end;
}

static int64_t decode(const char *bytes, size_t n, size_t step, char *out, size_t *out_len)
{
    struct http_chunks c = {0};
    size_t at = 0;
    *out_len = 0;
    while (at < n && !http_chunks_is_done(&c)) {
        weir_str data;
        size_t have = n - at < step ? n - at : step;
        int64_t used = http_chunks_feed(&c, (weir_str){bytes + at, have}, &data);
        if (used < 0)
            return used;
        if (used == 0)
            abort(); /* it would never end */
        memcpy(out + *out_len, data.ptr, data.len);
        *out_len += data.len;
        at += (size_t)used;
    }
    return http_chunks_is_done(&c) ? (int64_t)at : 0;
}

static void check_head(const char *bytes, size_t n)
{
    static struct http_head h;
    char *copy = malloc(n);
    if (!copy)
        abort();
    memcpy(copy, bytes, n);
    if (http_parse_head(&h, copy, n) == 0) {
        if (h.has_length && h.is_chunked)
            abort();
        if (h.path.len == 0 || h.header_count > HTTP_HEADERS_MAX)
            abort();
    } else if (!h.why) {
        abort();
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char whole[OUT_MAX], split[OUT_MAX];
    if (size < 2 || size > OUT_MAX)
        return 0;
    size_t step = (size_t)data[0] % 64 + 1, n = size - 1, whole_len, split_len;
    char *bytes = malloc(n); /* of its exact size, so that the sanitizer sees the end */
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, n);
    int end = find_end(bytes, n, n);
    if (end != find_end(bytes, n, step))
        abort();
    if (end > 0)
        check_head(bytes, (size_t)end);
    if (decode(bytes, n, n, whole, &whole_len) != decode(bytes, n, step, split, &split_len) ||
        whole_len != split_len || memcmp(whole, split, whole_len) != 0)
        abort();
    free(bytes);
    return 0;
}
