/* base/id.c: UUIDs of version 7. A thread's ids share a random start that counts up, so that they
 * rise within a millisecond and cost no system call (RFC 9562, 6.2, method 2). */
#include "base/id.h"

#include <string.h>
#include <sys/random.h>

static _Thread_local uint64_t state[2];
static _Thread_local uint64_t last_ms, tail_high, tail_low;

static uint64_t next_random(void) /* xoroshiro128+ */
{
    while (!(state[0] | state[1]))
        if (getrandom(state, sizeof state, 0) != sizeof state)
            state[0] = 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)state;
    uint64_t a = state[0], b = state[1], sum = a + b;
    b ^= a;
    state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    state[1] = b << 37 | b >> 27;
    return sum;
}

uint64_t id_random(void)
{
    return next_random();
}

static void put_be(uint8_t *to, uint64_t n)
{
    n = __builtin_bswap64(n);
    memcpy(to, &n, 8);
}

/* 12 bits of tail_high follow the time; 62 bits of tail_low end the id. */
static void advance(uint64_t ms)
{
    if (ms > last_ms) {
        last_ms = ms;
        tail_high = next_random() & 0x7FF; /* room to count up */
        tail_low = next_random() & 0x3FFFFFFFFFFFFFFFu;
        return;
    }
    tail_low += 1 + (state[0] & 0xFFFFFF);
    if (tail_low >> 62) {
        tail_low &= 0x3FFFFFFFFFFFFFFFu;
        if (++tail_high >> 12)
            tail_high = 0, last_ms++;
    }
}

static void write_id(weir_id *id)
{
    put_be(id->bytes, last_ms << 16 | 0x7000 | tail_high);
    put_be(id->bytes + 8, 0x8000000000000000u | tail_low);
}

void id_make(weir_id *id, int64_t wall_ns)
{
    advance((uint64_t)(wall_ns / 1000000));
    write_id(id);
}

void id_format(const weir_id *id, char text[ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *at = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[id->bytes[i] >> 4];
        *at++ = digits[id->bytes[i] & 15];
    }
    *at = 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool id_parse(weir_str text, weir_id *id)
{
    size_t at = 0;
    if (text.len != ID_TEXT_BYTES - 1)
        return false;
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && text.ptr[at++] != '-')
            return false;
        int high = nibble(text.ptr[at]), low = nibble(text.ptr[at + 1]);
        if (high < 0 || low < 0)
            return false;
        id->bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    return true;
}
