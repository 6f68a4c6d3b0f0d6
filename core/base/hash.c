/* base/hash.c: checksums for disks and hashes for tables. */
#include "base/hash.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

enum { LANE = 64 }; /* bytes of each of three checksums that are computed side by side */

static uint32_t crc_table[256];
static uint64_t shift_by_one, shift_by_two; /* x^(8n - 33) for n = LANE, 2 * LANE, bits reflected */
static uint64_t process_seed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* x^n modulo the polynomial; a bit further right is a higher power. */
static uint32_t power_of_x(unsigned n)
{
    uint32_t value = 0x80000000u;
    while (n--)
        value = value & 1 ? value >> 1 ^ 0x82F63B78u : value >> 1;
    return value;
}

static void init(void)
{
    shift_by_one = power_of_x(8 * LANE - 33);
    shift_by_two = power_of_x(16 * LANE - 33);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        crc_table[i] = c;
    }
    if (getrandom(&process_seed, sizeof process_seed, 0) != sizeof process_seed)
        process_seed = 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)&process_seed;
}

static uint32_t crc_plain(uint32_t crc, const unsigned char *p, size_t n)
{
    (void)pthread_once(&once, init);
    while (n--)
        crc = crc >> 8 ^ crc_table[(crc ^ *p++) & 255];
    return crc;
}

#if defined(__x86_64__)
/* The checksum of what came, as if `shift` stood for so many zero bytes behind it. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t crc_shift(uint64_t crc, uint64_t shift)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)shift), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The instruction takes three cycles and one can start in each: three lanes keep it busy. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t crc_lanes(uint64_t crc,
                                                                   const unsigned char *p)
{
    uint64_t second = 0, third = 0, word;
    for (size_t i = 0; i < LANE; i += 8) {
        memcpy(&word, p + i, 8);
        crc = _mm_crc32_u64(crc, word);
        memcpy(&word, p + LANE + i, 8);
        second = _mm_crc32_u64(second, word);
        memcpy(&word, p + (size_t)2 * LANE + i, 8);
        third = _mm_crc32_u64(third, word);
    }
    return crc_shift(crc, shift_by_two) ^ crc_shift(second, shift_by_one) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_fast(uint32_t crc,
                                                                  const unsigned char *p, size_t n)
{
    uint64_t wide = crc;
    for (; n >= 3 * (size_t)LANE; p += 3 * (size_t)LANE, n -= 3 * (size_t)LANE)
        wide = crc_lanes(wide, p);
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    while (n--)
        crc = _mm_crc32_u8(crc, *p++);
    return crc;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
static uint32_t crc_fast(uint32_t crc, const unsigned char *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = __crc32cd(crc, word);
    }
    while (n--)
        crc = __crc32cb(crc, *p++);
    return crc;
}
#endif

uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t n)
{
#if defined(__x86_64__)
    static int is_fast = -1; /* found out once; any thread finds the same */
    int fast = __atomic_load_n(&is_fast, __ATOMIC_ACQUIRE);
    if (fast < 0) {
        (void)pthread_once(&once, init);
        fast = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
        __atomic_store_n(&is_fast, fast, __ATOMIC_RELEASE);
    }
    if (fast)
        return ~crc_fast(~crc, bytes, n);
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
    return ~crc_fast(~crc, bytes, n);
#endif
    return ~crc_plain(~crc, bytes, n);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(const void *bytes, size_t n, uint64_t seed)
{
    const unsigned char *p = bytes;
    uint64_t h = seed ^ 0xA0761D6478BD642Fu, a = 0, b = 0;
    size_t left = n;
    for (; left > 16; p += 16, left -= 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = mix(a ^ 0xE7037ED1A0B428DBu, b ^ h);
    }
    a = b = 0;
    memcpy(&a, p, left < 8 ? left : 8);
    if (left > 8)
        memcpy(&b, p + 8, left - 8);
    return mix(0x8EBC6AF09C88C6E3u ^ n, mix(a ^ 0x589965CC75374CC3u, b ^ h));
}

uint64_t hash_seed(void)
{
    (void)pthread_once(&once, init);
    return process_seed;
}
