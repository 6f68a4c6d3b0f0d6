/* aws/pace.c: how fast a client may ask in the SDKs' adaptive retry mode: a bucket of tokens whose rate
 * falls when AWS throttles and grows back along a cubic curve. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws.h"

static const double beta = 0.7;         /* of the rate is left after a throttled answer */
static const double cubic = 0.4;        /* how steep the way back is */
static const double smooth = 0.8;       /* weight of the newest half second in what was measured */
static const double rate_min = 0.5;     /* requests a second */
static const double burst_min = 1.0;    /* requests */
static const double slice_length = 0.5; /* s */

static double seconds_of(int64_t ns)
{
    return (double)ns / 1e9;
}

static double more(double a, double b)
{
    return a > b ? a : b;
}

static double less(double a, double b)
{
    return a < b ? a : b;
}

static void refill(struct pace *p, double now)
{
    if (p->filled > 0 && now > p->filled)
        p->tokens = less(p->burst, p->tokens + (now - p->filled) * p->rate);
    p->filled = now;
}

static void measure(struct pace *p, double now)
{
    double slice = floor(now / slice_length) * slice_length;
    p->count++;
    if (p->slice == 0 || slice < p->slice)
        p->slice = slice; /* the first one, or the clock went back */
    if (slice <= p->slice)
        return;
    p->measured = p->count / (slice - p->slice) * smooth + p->measured * (1 - smooth);
    p->count = 0;
    p->slice = slice;
}

/* Seconds from a throttled answer to the rate that was had before it. */
static double way_back(const struct pace *p)
{
    return cbrt(p->rate_before * (1 - beta) / cubic);
}

void pace_answer(struct pace *p, int64_t now_ns, bool is_throttled)
{
    double now = seconds_of(now_ns), wanted = 0;
    measure(p, now);
    if (is_throttled) {
        double had = p->is_on ? less(p->measured, p->rate) : p->measured;
        p->rate_before = had;
        p->throttled = now;
        p->is_on = true;
        wanted = had * beta;
    } else if (p->is_on) {
        double t = more(now - p->throttled, 0) - way_back(p);
        wanted = cubic * t * t * t + p->rate_before;
    } else {
        return;
    }
    refill(p, now);
    p->rate = more(less(wanted, 2 * p->measured), rate_min);
    p->burst = more(p->rate, burst_min);
    p->tokens = less(p->tokens, p->burst);
}

int64_t pace_take(struct pace *p, int64_t now_ns)
{
    if (!p->is_on)
        return 0;
    refill(p, seconds_of(now_ns));
    p->tokens -= 1;
    return p->tokens >= 1 ? 0 : (int64_t)((1 - p->tokens) / p->rate * 1e9);
}

bool retry_mode(const weir_host *h, enum retry_mode *mode, char *text, size_t size)
{
    static const char *const names[] = {"standard", "adaptive", "legacy"};
    const char *set = setting_env("AWS_RETRY_MODE");
    *mode = RETRY_STANDARD;
    text[0] = 0;
    if (set)
        (void)snprintf(text, size, "%s", set);
    else if (!setting_find(h, setting_profile(), "retry_mode", NULL, text, size))
        return true;
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum retry_mode)i;
            return true;
        }
    return false;
}

int retry_attempts(const weir_host *h)
{
    enum { ATTEMPTS = 3, ATTEMPTS_OF_LEGACY = 5, ATTEMPTS_MAX = 20 };
    char text[32] = "";
    enum retry_mode mode;
    const char *set = setting_env("AWS_MAX_ATTEMPTS");
    if (!set && setting_find(h, setting_profile(), "max_attempts", NULL, text, sizeof text))
        set = text;
    long n = set ? strtol(set, NULL, 10) : 0;
    if (n >= 1)
        return n < ATTEMPTS_MAX ? (int)n : ATTEMPTS_MAX;
    (void)retry_mode(h, &mode, text, sizeof text);
    return mode == RETRY_LEGACY ? ATTEMPTS_OF_LEGACY : ATTEMPTS;
}
