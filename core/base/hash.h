/* base/hash.h: checksums for disks and hashes for tables. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* CRC32C (Castagnoli), continued from `crc` (0 at the start); SSE4.2 or ARMv8 where there. */
uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t n);

/* A keyed 64-bit hash for tables: fast, and not predictable from outside once seeded. */
uint64_t hash_bytes(const void *bytes, size_t n, uint64_t seed);
uint64_t hash_seed(void); /* of this process, from the kernel's random source */
