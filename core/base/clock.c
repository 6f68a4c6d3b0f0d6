/* base/clock.c: the time, and RFC 3339. */
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t real_wall(const struct clock *c)
{
    return read_clock(CLOCK_REALTIME);
}

static int64_t real_mono(const struct clock *c)
{
    return read_clock(CLOCK_MONOTONIC);
}

const struct clock clock_real = {real_wall, real_mono};

static int64_t fake_wall(const struct clock *c)
{
    return __atomic_load_n(&((const struct clock_fake *)c)->wall, __ATOMIC_RELAXED);
}

static int64_t fake_mono(const struct clock *c)
{
    return __atomic_load_n(&((const struct clock_fake *)c)->mono, __ATOMIC_RELAXED);
}

void clock_fake_init(struct clock_fake *f, int64_t wall_ns)
{
    *f = (struct clock_fake){{fake_wall, fake_mono}, wall_ns, NS_PER_S};
}

void clock_fake_move(struct clock_fake *f, int64_t ns)
{
    __atomic_add_fetch(&f->wall, ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&f->mono, ns, __ATOMIC_RELAXED);
}

/* Days since 1970-01-01 of a proleptic Gregorian date: years start in March, 400 years are 146097 days. */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int *m, int *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = yoe + era * 400 + (*m <= 2);
}

static char *put_digits(char *at, int64_t n, int width)
{
    for (int i = width; i-- > 0; n /= 10)
        at[i] = (char)('0' + n % 10);
    return at + width;
}

size_t clock_format(int64_t wall_ns, int decimals, char text[CLOCK_TEXT_BYTES])
{
    int64_t s = wall_ns / NS_PER_S, ns = wall_ns % NS_PER_S, y;
    int m, d;
    if (ns < 0)
        ns += NS_PER_S, s--;
    int64_t day = s / 86400, rest = s % 86400;
    if (rest < 0)
        rest += 86400, day--;
    civil_from_days(day, &y, &m, &d);
    char *at = put_digits(text, y, 4);
    *at++ = '-', at = put_digits(at, m, 2);
    *at++ = '-', at = put_digits(at, d, 2);
    *at++ = 'T', at = put_digits(at, rest / 3600, 2);
    *at++ = ':', at = put_digits(at, rest / 60 % 60, 2);
    *at++ = ':', at = put_digits(at, rest % 60, 2);
    if (decimals) {
        for (int i = decimals; i < 9; i++)
            ns /= 10;
        *at++ = '.', at = put_digits(at, ns, decimals);
    }
    *at++ = 'Z', *at = 0;
    return (size_t)(at - text);
}

static bool take_digits(weir_str *s, size_t width, int64_t *n)
{
    *n = 0;
    if (s->len < width)
        return false;
    for (size_t i = 0; i < width; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9')
            return false;
        *n = *n * 10 + (s->ptr[i] - '0');
    }
    *s = (weir_str){s->ptr + width, s->len - width};
    return true;
}

static bool take_char(weir_str *s, const char *any)
{
    if (!s->len || !strchr(any, s->ptr[0]) || !s->ptr[0])
        return false;
    *s = (weir_str){s->ptr + 1, s->len - 1};
    return true;
}

static bool take_fraction(weir_str *s, int64_t *ns)
{
    *ns = 0;
    if (!s->len || s->ptr[0] != '.')
        return true;
    int64_t digit, scale = NS_PER_S / 10;
    (void)take_char(s, ".");
    if (!take_digits(s, 1, &digit))
        return false;
    do {
        *ns += digit * scale;
        scale /= 10;
    } while (take_digits(s, 1, &digit));
    return true;
}

static bool take_offset(weir_str *s, int64_t *seconds)
{
    int64_t h, m;
    *seconds = 0;
    if (take_char(s, "Zz"))
        return true;
    bool is_west = s->len && s->ptr[0] == '-';
    if (!take_char(s, "+-") || !take_digits(s, 2, &h) || !take_char(s, ":") ||
        !take_digits(s, 2, &m) || h > 23 || m > 59)
        return false;
    *seconds = (h * 60 + m) * (is_west ? -60 : 60);
    return true;
}

weir_status clock_parse(weir_str text, int64_t *wall_ns)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t y, m, d, h, min, sec, ns, offset;
    weir_str s = text;
    bool ok = take_digits(&s, 4, &y) && take_char(&s, "-") && take_digits(&s, 2, &m) &&
              take_char(&s, "-") && take_digits(&s, 2, &d) && take_char(&s, "Tt ");
    ok = ok && take_digits(&s, 2, &h) && take_char(&s, ":") && take_digits(&s, 2, &min) &&
         take_char(&s, ":") && take_digits(&s, 2, &sec) && take_fraction(&s, &ns) &&
         take_offset(&s, &offset) && !s.len;
    if (!ok || m < 1 || m > 12 || h > 23 || min > 59 || sec > 60)
        return WEIR_E_REJECT;
    bool leap = m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    if (d < 1 || d > month_days[m - 1] + leap)
        return WEIR_E_REJECT;
    int64_t seconds = days_from_civil(y, m, d) * 86400 + h * 3600 + min * 60 + sec - offset;
    if (seconds > INT64_MAX / NS_PER_S - 1 || seconds < INT64_MIN / NS_PER_S + 1)
        return WEIR_E_REJECT;
    *wall_ns = seconds * NS_PER_S + ns;
    return WEIR_OK;
}
