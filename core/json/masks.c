/* json/masks.c: a text as bits, and its grammar as sums of them.
 *
 * Of 64 bytes at a time each class of bytes becomes a word. Quotes are paired by a running exclusive or;
 * "the next token behind X" is X shifted and added to the blanks: the carry runs through them. So each
 * pair of neighbours that the grammar forbids is one AND. Only whether commas and brackets fit to the
 * container around them needs a stack, which is touched once for each bracket. What is rare is checked
 * byte by byte: escapes, true, false, null and numbers with exponents. */
#include "json/masks.h"

#include <stdatomic.h>
#include <string.h>

#include "json/check.h"
#include "json/json.h"
#include "json/scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

/* A word for each class of the 64 bytes of a block. */
struct classes {
    uint64_t quote, slash, open, close, comma;
    uint64_t in_text; /* from an opening quote to the last byte before the closing one */
    uint64_t colon, curly, blank, control, high; /* curly: of brackets those */
};

struct numbers {
    uint64_t digit, zero, minus, dot;
};

struct tokens {
    uint64_t scalar, first;   /* the bytes of numbers and words; where they begin */
    uint64_t member, element; /* what only an object holds, and only an array */
};

struct place {
    const char *text, *block, *end;
};

/* Carries: what goes over from one block to the next is 1 if its first byte is meant. */

struct utf8_carries {
    uint64_t second, third[2], fourth[3], e0, ed, f0, f4, is_going_on;
};

enum kind { ARRAY, OBJECT, TOP };

struct grammar {
    /* What the next token stands behind. */
    uint64_t text, value, brace, comma, colon;
    uint64_t list; /* the next bracket, comma or colon: a brace or a comma */
    /* In a number or a word: what its last byte was. */
    uint64_t scalar, sign, point, zero;
    uint64_t is_place; /* behind a point */
    uint64_t is_done;  /* in one that is checked as a whole */
    struct utf8_carries utf8;
    uint32_t level;
};

/* volatile: else compilers build the vectors from them anew for each block. */
static const volatile unsigned char constants[] = {'"', '\\', '{', '}', ',',       '.',
                                                   ':', ' ',  '0', '-', '0' + 128, 128 + 10};

INLINE uint64_t next(uint64_t bits, uint64_t *carry)
{
    uint64_t behind = 2 * bits + *carry;
    *carry = bits >> 63;
    return behind;
}

/* Each bit moves on to the first byte that is none of `over`: the carry of a sum runs through them. */
INLINE uint64_t run_on(uint64_t bits, uint64_t over, uint64_t *carry)
{
    unsigned long long sum;
    *carry |= __builtin_uaddll_overflow(bits, over, &sum);
    return sum & ~over;
}

/* The last block, filled with blanks. */
static void pad(char *last, weir_str text)
{
    size_t rest = text.len % MASKS_BLOCK_BYTES;
    memset(last, ' ', MASKS_BLOCK_BYTES);
    if (rest)
        memcpy(last, text.ptr + text.len - rest, rest);
}

/* The bytes behind backslashes that are not themselves escaped. */
INLINE uint64_t find_escaped(uint64_t slashes, uint64_t *carry)
{
    uint64_t escaped = *carry;
    *carry = 0;
    for (slashes &= ~escaped; slashes;) {
        uint64_t bit = slashes & -slashes;
        *carry = bit >> 63;
        escaped |= bit << 1;
        slashes &= ~(bit | bit << 1);
    }
    return escaped;
}

INLINE int32_t store(struct masks_block *block, const struct classes *c, int32_t depth)
{
    block->tokens = c->quote | c->open | c->close | c->comma;
    block->opens = c->open;
    block->closes = c->close;
    block->depth = depth;
    block->low = depth - __builtin_popcountll(c->close);
    return block->low + __builtin_popcountll(c->open);
}

/* ---- the grammar --------------------------------------------------------------------------------- */

/* Of a text that is JSON but for that: then backslashes are only in texts. */
static bool escapes_are_good(weir_str text)
{
    const char *end = text.ptr + text.len;
    for (const char *p = text.ptr; (p = memchr(p, '\\', (size_t)(end - p)));) {
        char kind = scan_peek(p + 1, end);
        if (kind == 'u' ? scan_unicode(p + 2, end, &p) < 0 : !kind || !strchr("\"\\/bfnrt", kind))
            return false;
        if (kind != 'u')
            p += 2;
    }
    return true;
}

/* Pairs of neighbours. */
INLINE uint64_t check_tokens(struct grammar *g, const struct classes *c, struct tokens *t)
{
    uint64_t in_text = c->in_text, colon = c->colon & ~in_text, blank = c->blank & ~in_text;
    uint64_t text = c->quote & in_text, marks = c->open | c->close | c->comma | colon;
    t->scalar = ~(in_text | c->quote | blank | marks);
    uint64_t after_scalar = next(t->scalar, &g->scalar);
    t->first = t->scalar & ~after_scalar;

    uint64_t after_text = next((c->quote & ~in_text) | c->close, &g->text); /* or a container */
    uint64_t after_value = after_text | (after_scalar & ~t->scalar) | g->value;
    uint64_t after_brace = next(c->open & c->curly, &g->brace);
    uint64_t after_comma = next(c->comma, &g->comma), after_colon = next(colon, &g->colon);
    uint64_t list = after_brace | after_comma | g->list;
    g->value = g->list = 0;
    if (blank) {
        after_text = run_on(after_text, blank, &g->text);
        after_value = run_on(after_value, blank, &g->value);
        after_brace = run_on(after_brace, blank, &g->brace);
        after_comma = run_on(after_comma, blank, &g->comma);
        after_colon = run_on(after_colon, blank, &g->colon);
    }
    /* Behind a brace or a comma the next mark is a colon, or there is no member. */
    uint64_t after_list = run_on(list, ~marks, &g->list);
    t->member = colon;
    t->element = after_list & ~colon & ~(c->close & after_brace);

    uint64_t other = t->first | c->open;
    return (text & after_value) | (other & (after_value | after_brace)) |
           (c->comma & ~after_value) | (c->close & (after_comma | after_colon)) |
           (colon & ~(after_list & after_text)) | (c->control & in_text);
}

/* Up to each bracket there is nothing that its container cannot hold. */
INLINE uint64_t check_brackets(uint32_t *in_level, uint8_t *kinds, const struct classes *c,
                               const struct tokens *t)
{
    const uint64_t wrong[] = {
        [ARRAY] = t->member, [OBJECT] = t->element, [TOP] = t->member | t->element | c->comma};
    uint64_t done = 0, bad = 0;
    uint32_t level = *in_level;
    for (uint64_t marks = c->open | c->close; marks; marks &= marks - 1) {
        uint64_t bit = marks & -marks, upto = marks ^ (marks - 1);
        uint8_t kind = (c->curly & bit) != 0;
        bad |= (upto ^ done) & wrong[kinds[level]];
        done = upto;
        bool is_open = c->open & bit;
        if (is_open ? level == JSON_DEPTH_MAX : kinds[level] != kind)
            return bit;
        level += is_open ? 1 : (uint32_t)-1;
        kinds[level] = is_open ? kind : kinds[level];
    }
    *in_level = level;
    return bad | (~done & wrong[kinds[level]]);
}

static bool is_scalar(char c)
{
    return !scan_is_blank(c) && c != ',' && c != ':' && c != '"' && (c | 0x20) != '{' &&
           (c | 0x20) != '}';
}

struct odd {
    uint64_t done, is_bad;
};

/* Words, and numbers with exponents: found by the bytes that no other number has, and checked as a
 * whole. done: all bytes of them. */
static __attribute__((noinline)) struct odd check_odd(uint64_t scalar, uint64_t first, uint64_t odd,
                                                      const struct place *at)
{
    struct odd found = {0, 0};
    while (odd) {
        uint64_t upto = odd ^ (odd - 1), starts = (first | (scalar & 1)) & upto;
        unsigned start = 63 - (unsigned)__builtin_clzll(starts);
        const char *p = at->block + start;
        while (!start && !(first & 1) && p > at->text && is_scalar(p[-1]))
            p--;
        const char *behind = check_scalar(p, at->end);
        if (!behind || (behind < at->end && is_scalar(*behind)))
            return (struct odd){0, 1};
        uint64_t bit = (uint64_t)1 << start, run = scalar & ~(scalar + bit) & ~(bit - 1);
        found.done |= run;
        odd &= ~run;
    }
    return found;
}

INLINE uint64_t check_numbers(struct grammar *g, const struct numbers *n, uint64_t scalar,
                              uint64_t first, struct place at)
{
    uint64_t odd = scalar & ~(n->digit | n->minus | n->dot), any_digit = n->digit & scalar;
    uint64_t bad = 0;
    if (odd | g->is_done) {
        uint64_t done = g->is_done ? scalar & ~(scalar + 1) : 0;
        struct odd more = check_odd(scalar, first, odd & ~done, &at);
        done |= more.done;
        bad = more.is_bad;
        g->is_done = done >> 63;
        scalar &= ~done;
    }
    first &= scalar;
    uint64_t digit = n->digit & scalar, minus = n->minus & scalar, dot = n->dot & scalar;
    uint64_t after_sign = next(minus, &g->sign), after_point = next(dot, &g->point);
    uint64_t zero = n->zero & scalar & (first | after_sign), place = after_point | g->is_place;
    g->is_place = 0;
    return bad | (minus & ~first) | ((after_sign | after_point) & ~any_digit) |
           (next(zero, &g->zero) & any_digit) | (dot & first) |
           (dot & run_on(place, digit, &g->is_place));
}

/* ---- instructions ---------------------------------------------------------------------------------- */

/* Eight bytes a word, without any: the same everywhere. */

typedef uint64_t portable_byte;

struct portable_bytes {
    uint64_t words[8];
};

enum { WORDS = 8 };
static const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;

INLINE portable_byte portable_all(unsigned char c)
{
    return ones * c;
}

/* Bit 7 of each byte, together. */
INLINE uint64_t portable_high(struct portable_bytes b)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < WORDS; i++)
        bits |= ((b.words[i] & tops) >> 7) * 0x0102040810204080 >> 56 << 8 * i;
    return bits;
}

INLINE struct portable_bytes portable_load(const char *p)
{
    struct portable_bytes b;
    memcpy(&b, p, sizeof b);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (unsigned i = 0; i < WORDS; i++)
        b.words[i] = __builtin_bswap64(b.words[i]);
#endif
    return b;
}

INLINE struct portable_bytes portable_with(struct portable_bytes b, portable_byte c)
{
    for (unsigned i = 0; i < WORDS; i++)
        b.words[i] |= c;
    return b;
}

INLINE uint64_t portable_equal(struct portable_bytes b, portable_byte c)
{
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t w = b.words[i] ^ c;
        b.words[i] = ~(((w & ~tops) + ~tops) | w);
    }
    return portable_high(b);
}

/* The lower seven bits are compared by a sum that reaches the eighth. */
INLINE uint64_t portable_from(struct portable_bytes b, portable_byte c)
{
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t w = b.words[i], sum = (w & ~tops) + (ones * 128 - (c & ~tops));
        b.words[i] = (sum & w) | ((sum | w) & ~c);
    }
    return portable_high(b);
}

INLINE uint64_t portable_below(struct portable_bytes b, portable_byte c)
{
    for (unsigned i = 0; i < WORDS; i++)
        b.words[i] ^= tops;
    return ~portable_from(b, c ^ tops);
}

INLINE struct portable_bytes portable_minus(struct portable_bytes b, portable_byte c)
{
    for (unsigned i = 0; i < WORDS; i++)
        b.words[i] = ((b.words[i] | tops) - (c & ~tops)) ^ ((b.words[i] ^ ~c) & tops);
    return b;
}

INLINE uint64_t portable_bit5(struct portable_bytes b)
{
    for (unsigned i = 0; i < WORDS; i++)
        b.words[i] <<= 2;
    return portable_high(b);
}

INLINE uint64_t portable_prefix(uint64_t bits)
{
    for (unsigned shift = 1; shift < MASKS_BLOCK_BYTES; shift *= 2)
        bits ^= bits << shift;
    return bits;
}

#define FN(name) portable_##name
#define TARGET
#include "json/masks_kernel.h"
#undef FN
#undef TARGET

#if defined(__x86_64__)

typedef __m128i sse2_byte;

struct sse2_bytes {
    __m128i a, b, c, d;
};

#define SSE2_EACH(F, v, ...) \
    { \
        F((v).a, __VA_ARGS__), F((v).b, __VA_ARGS__), F((v).c, __VA_ARGS__), F((v).d, __VA_ARGS__) \
    }

INLINE sse2_byte sse2_all(unsigned char c)
{
    return _mm_set1_epi8((char)c);
}

INLINE struct sse2_bytes sse2_load(const char *p)
{
    const __m128i *from = (const __m128i *)(const void *)p;
    return (struct sse2_bytes){_mm_loadu_si128(from), _mm_loadu_si128(from + 1),
                               _mm_loadu_si128(from + 2), _mm_loadu_si128(from + 3)};
}

INLINE struct sse2_bytes sse2_with(struct sse2_bytes v, sse2_byte c)
{
    return (struct sse2_bytes)SSE2_EACH(_mm_or_si128, v, c);
}

INLINE uint64_t sse2_high(struct sse2_bytes v)
{
    unsigned low = (unsigned)_mm_movemask_epi8(v.a) | (unsigned)_mm_movemask_epi8(v.b) << 16;
    unsigned high = (unsigned)_mm_movemask_epi8(v.c) | (unsigned)_mm_movemask_epi8(v.d) << 16;
    return low | (uint64_t)high << 32;
}

INLINE uint64_t sse2_equal(struct sse2_bytes v, sse2_byte c)
{
    return sse2_high((struct sse2_bytes)SSE2_EACH(_mm_cmpeq_epi8, v, c));
}

INLINE __m128i sse2_part_from(__m128i part, sse2_byte c)
{
    return _mm_cmpeq_epi8(_mm_max_epu8(part, c), part);
}

INLINE uint64_t sse2_from(struct sse2_bytes v, sse2_byte c)
{
    return sse2_high((struct sse2_bytes)SSE2_EACH(sse2_part_from, v, c));
}

INLINE uint64_t sse2_below(struct sse2_bytes v, sse2_byte c)
{
    return sse2_high((struct sse2_bytes)SSE2_EACH(_mm_cmplt_epi8, v, c));
}

INLINE struct sse2_bytes sse2_minus(struct sse2_bytes v, sse2_byte c)
{
    return (struct sse2_bytes)SSE2_EACH(_mm_sub_epi8, v, c);
}

INLINE uint64_t sse2_bit5(struct sse2_bytes v)
{
    return sse2_high((struct sse2_bytes)SSE2_EACH(_mm_slli_epi16, v, 2));
}

#define FN(name) sse2_##name
#define TARGET
#define sse2_prefix portable_prefix
#include "json/masks_kernel.h"
#undef FN
#undef TARGET

#define TARGET __attribute__((target("avx2,bmi,bmi2,pclmul,popcnt")))

typedef __m256i avx2_byte;

struct avx2_bytes {
    __m256i low, high;
};

INLINE TARGET avx2_byte avx2_all(unsigned char c)
{
    return _mm256_set1_epi8((char)c);
}

INLINE TARGET struct avx2_bytes avx2_load(const char *p)
{
    return (struct avx2_bytes){_mm256_loadu_si256((const __m256i *)(const void *)p),
                               _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))};
}

INLINE TARGET struct avx2_bytes avx2_with(struct avx2_bytes b, avx2_byte c)
{
    return (struct avx2_bytes){_mm256_or_si256(b.low, c), _mm256_or_si256(b.high, c)};
}

INLINE TARGET uint64_t avx2_high(struct avx2_bytes b)
{
    return (uint64_t)(unsigned)_mm256_movemask_epi8(b.high) << 32 |
           (unsigned)_mm256_movemask_epi8(b.low);
}

INLINE TARGET uint64_t avx2_equal(struct avx2_bytes b, avx2_byte c)
{
    return avx2_high(
        (struct avx2_bytes){_mm256_cmpeq_epi8(b.low, c), _mm256_cmpeq_epi8(b.high, c)});
}

INLINE TARGET uint64_t avx2_from(struct avx2_bytes b, avx2_byte c)
{
    return avx2_high((struct avx2_bytes){_mm256_cmpeq_epi8(_mm256_max_epu8(b.low, c), b.low),
                                         _mm256_cmpeq_epi8(_mm256_max_epu8(b.high, c), b.high)});
}

INLINE TARGET uint64_t avx2_below(struct avx2_bytes b, avx2_byte c)
{
    return avx2_high(
        (struct avx2_bytes){_mm256_cmpgt_epi8(c, b.low), _mm256_cmpgt_epi8(c, b.high)});
}

INLINE TARGET struct avx2_bytes avx2_minus(struct avx2_bytes b, avx2_byte c)
{
    return (struct avx2_bytes){_mm256_sub_epi8(b.low, c), _mm256_sub_epi8(b.high, c)};
}

INLINE TARGET uint64_t avx2_bit5(struct avx2_bytes b)
{
    return avx2_high(
        (struct avx2_bytes){_mm256_slli_epi16(b.low, 2), _mm256_slli_epi16(b.high, 2)});
}

/* A product without carries with all ones is the running exclusive or. */
INLINE TARGET uint64_t avx2_prefix(uint64_t bits)
{
    __m128i all = _mm_set1_epi8((char)0xFF), v = _mm_set_epi64x(0, (long long)bits);
    return (uint64_t)_mm_cvtsi128_si64(_mm_clmulepi64_si128(v, all, 0));
}

#define FN(name) avx2_##name
#include "json/masks_kernel.h"
#undef FN
#undef TARGET

#endif

/* ---- the choice ------------------------------------------------------------------------------------ */

typedef unsigned masks_pass(weir_str text, struct masks_block *blocks);

struct variant {
    masks_pass *read, *check;
};

static const struct variant variants[MASKS_VARIANTS] = {
    [MASKS_PORTABLE] = {portable_read_all, portable_check_all},
#if defined(__x86_64__)
    [MASKS_SSE2] = {sse2_read_all, sse2_check_all},
    [MASKS_AVX2] = {avx2_read_all, avx2_check_all},
#endif
};

static bool is_there(int variant)
{
#if defined(__x86_64__)
    if (variant == MASKS_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("pclmul") &&
               __builtin_cpu_supports("popcnt");
#endif
    return variants[variant].read != NULL;
}

static const struct variant *_Atomic chosen;

bool masks_use(int variant)
{
    if (variant < 0)
        for (variant = MASKS_VARIANTS - 1; !is_there(variant);)
            variant--;
    if (variant >= MASKS_VARIANTS || !is_there(variant))
        return false;
    atomic_store_explicit(&chosen, &variants[variant], memory_order_relaxed);
    return true;
}

static const struct variant *best(void)
{
    const struct variant *v = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (v)
        return v;
    (void)masks_use(-1);
    return atomic_load_explicit(&chosen, memory_order_relaxed);
}

unsigned masks_read(weir_str text, struct masks_block *blocks)
{
    return best()->read(text, blocks);
}

unsigned masks_check(weir_str text, struct masks_block *blocks)
{
    return best()->check(text, blocks);
}

bool masks_are_fast(void)
{
    return best() != &variants[MASKS_PORTABLE];
}
