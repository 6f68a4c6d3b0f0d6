/* base/clock.h: the time, injected, so that tests can move it. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <weir/plugin.h>

struct clock {
    int64_t (*wall_ns)(const struct clock *c); /* since 1970 */
    int64_t (*mono_ns)(const struct clock *c); /* never goes back; for intervals */
};

extern const struct clock clock_real;

/* A clock for tests: stands still until it is moved. */
struct clock_fake {
    struct clock base;
    int64_t wall, mono;
};
void clock_fake_init(struct clock_fake *f, int64_t wall_ns);
void clock_fake_move(struct clock_fake *f, int64_t ns);

static inline int64_t clock_wall(const struct clock *c)
{
    return c->wall_ns(c);
}
static inline int64_t clock_mono(const struct clock *c)
{
    return c->mono_ns(c);
}

enum { CLOCK_TEXT_BYTES = 32 };
/* RFC 3339 in UTC with `decimals` (0, 3, 6 or 9) of a second; returns the length. */
size_t clock_format(int64_t wall_ns, int decimals, char text[CLOCK_TEXT_BYTES]);
/* RFC 3339 with any offset to ns since 1970; REJECT if it is not. */
weir_status clock_parse(weir_str text, int64_t *wall_ns);
