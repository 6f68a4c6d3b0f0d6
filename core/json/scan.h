/* json/scan.h: the small steps that checking and looking up share. `end` is never read. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool scan_is_blank(char c)
{
    return (unsigned char)c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t');
}

static inline const char *scan_blanks(const char *p, const char *end)
{
    while (p < end && scan_is_blank(*p))
        p++;
    return p;
}

static inline char scan_peek(const char *p, const char *end)
{
    if (p < end)
        return *p;
    return 0;
}

/* The first byte of a text that is not plain: a quote, a backslash, a control byte or not ASCII. */
static inline const char *scan_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* As signed numbers, bytes beyond ASCII are less than a space as control bytes are. */
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                   _mm_cmplt_epi8(v, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && (signed char)*p >= ' ' && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* From behind the opening quote of a valid text to its closing quote. */
static inline const char *scan_text_end(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned mask = (unsigned)_mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        if (!mask) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(mask);
        if (*p == '"')
            return p;
        p = end - p < 2 ? end : p + 2;
    }
#endif
    while (p < end && *p != '"')
        p = *p == '\\' && end - p >= 2 ? p + 2 : p + 1;
    return p;
}

/* From the first byte of a valid value to behind its last. */
const char *scan_value_end(const char *p, const char *end);

/* The code point behind "\u" at p (behind the u); a pair of surrogates counts as one. The end of
 * what was read is stored in *next; -1: not an escape, or half of a pair. */
long scan_unicode(const char *p, const char *end, const char **next);
