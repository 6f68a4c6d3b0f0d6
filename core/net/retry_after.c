/* net/retry_after.c: how long an answer asks to wait. */
#include "net/retry_after.h"

#include <string.h>
#include <time.h>

enum { VALUE_MAX = 48, DIGITS_MAX = 9 };

static int64_t seconds_of(const char *text)
{
    int64_t n = 0;
    size_t digits = strspn(text, "0123456789");
    if (!digits || text[digits] || digits > DIGITS_MAX)
        return -1;
    for (; *text; text++)
        n = 10 * n + (*text - '0');
    return n;
}

static int64_t date_of(const char *text)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %e %H:%M:%S %Y"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (end && !*end)
            return timegm(&tm);
    }
    return -1;
}

int64_t retry_after_ns(weir_pairs headers, int64_t wall_now_ns)
{
    const int64_t second = INT64_C(1000000000);
    char text[VALUE_MAX];
    for (size_t i = 0; i < headers.count; i++) {
        weir_str value = headers.items[i].value;
        if (!weir_same(headers.items[i].key, "retry-after") || value.len >= sizeof text)
            continue;
        memcpy(text, value.ptr, value.len);
        text[value.len] = 0;
        int64_t after = seconds_of(text), date = after < 0 ? date_of(text) : -1;
        if (date > 0 && date < INT64_MAX / second)
            return date * second > wall_now_ns ? date * second - wall_now_ns : 0;
        return after > 0 ? after * second : 0;
    }
    return 0;
}
