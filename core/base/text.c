/* base/text.c: what is done with spans of text. */
#include "base/text.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { DISTANCE_MAX = 64 };

bool text_same(weir_str a, weir_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool text_same_fold(weir_str a, const char *s)
{
    return a.len == strlen(s) && (a.len == 0 || strncasecmp(a.ptr, s, a.len) == 0);
}

bool text_starts(weir_str a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && (n == 0 || memcmp(a.ptr, prefix, n) == 0);
}

bool text_to_u64(weir_str s, uint64_t *n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(s.ptr[i] - '0');
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *n = value;
    return s.len > 0;
}

/* Bytes that follow the lead byte, by RFC 3629; the second byte's range excludes overlong forms,
 * surrogates and what is beyond U+10FFFF. */
static size_t utf8_tail(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 1;
    if (lead >= 0xE0 && lead <= 0xEF)
        return 2;
    return lead >= 0xF0 && lead <= 0xF4 ? 3 : 0;
}

/* At least one byte, of which the first is known to be ASCII. */
static size_t ascii_run(const char *p, size_t n)
{
    size_t i = 1;
#ifdef __SSE2__
    for (; n - i >= 16; i += 16)
        if (_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + i))))
            break;
#endif
    while (i < n && (signed char)p[i] >= 0)
        i++;
    return i;
}

static bool is_host(weir_str s)
{
    bool is_first = true, has_letter = false;
    unsigned dots = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        bool is_digit = c >= '0' && c <= '9';
        if (!is_letter && !is_digit && c != '_' && (is_first || (c != '-' && c != '.')))
            return false;
        is_first = c == '.';
        has_letter |= is_letter;
        dots += c == '.';
    }
    char text[INET_ADDRSTRLEN];
    struct in_addr v4;
    if (has_letter || !s.len || s.len >= sizeof text)
        return has_letter && s.len <= 253;
    *(char *)mempcpy(text, s.ptr, s.len) =
        '\0'; /* digits and dots alone are an address or nothing */
    return dots == 3 && inet_pton(AF_INET, text, &v4) == 1;
}

static bool is_v6(weir_str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    if (!s.len || s.len >= sizeof text)
        return false;
    *(char *)mempcpy(text, s.ptr, s.len) = '\0';
    return inet_pton(AF_INET6, text, &v6) == 1;
}

bool text_address(const char *s, weir_str *host, unsigned *port)
{
    const char *colon = strrchr(s, ':');
    uint64_t n = 0;
    if (!colon || !text_to_u64(weir_text(colon + 1), &n) || n > 65535)
        return false;
    bool is_bracketed = *s == '[' && colon[-1] == ']';
    *port = (unsigned)n;
    *host = (weir_str){s + is_bracketed, (size_t)(colon - s) - (is_bracketed ? 2 : 0)};
    return is_bracketed ? is_v6(*host) : is_host(*host);
}

bool text_is_utf8(weir_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char lead = (unsigned char)s.ptr[i], low, high;
        if (lead < 0x80) {
            i += ascii_run(s.ptr + i, s.len - i) - 1;
            continue;
        }
        size_t tail = utf8_tail(lead, &low, &high);
        if (!tail || s.len - i <= tail)
            return false;
        for (size_t k = 1; k <= tail; k++) {
            unsigned char c = (unsigned char)s.ptr[i + k];
            if (c < low || c > high)
                return false;
            low = 0x80, high = 0xBF;
        }
        i += tail;
    }
    return true;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned text_distance(const char *a, const char *b)
{
    size_t n = strnlen(a, DISTANCE_MAX), m = strnlen(b, DISTANCE_MAX);
    unsigned rows[3][DISTANCE_MAX + 1];
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t k = 0; k <= m; k++)
        last[k] = before[k] = (unsigned)k;
    for (size_t i = 1; i <= n; i++) {
        now[0] = (unsigned)i;
        for (size_t k = 1; k <= m; k++) {
            now[k] = least(least(last[k], now[k - 1]) + 1, last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                now[k] = least(now[k], before[k - 2] + 1);
        }
        unsigned *spare = before;
        before = last, last = now, now = spare;
    }
    return last[m];
}

const char *text_nearest(const char *word, const char *const *words)
{
    const char *best = NULL;
    unsigned limit = (unsigned)(strnlen(word, DISTANCE_MAX) + 2) / 3;
    for (; *words; words++) {
        unsigned d = text_distance(word, *words);
        if (d <= limit && (d < limit || !best))
            best = *words, limit = d;
    }
    return best;
}

size_t text_put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)((0xF00u >> n & 0xF0u) | c);
    return n;
}
