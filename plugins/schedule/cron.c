/* schedule/cron.c: the next minute that a cron expression names. */
#include "expression.h"

static bool has(uint64_t set, int bit)
{
    return set >> bit & 1;
}

static bool has_year(const struct cron *c, int year)
{
    return year >= CRON_YEAR_MIN && year <= CRON_YEAR_MAX &&
           has(c->years[(year - CRON_YEAR_MIN) / 64], (year - CRON_YEAR_MIN) % 64);
}

static uint64_t bit(int n)
{
    return n > 0 ? UINT64_C(1) << n : 0;
}

/* Saturday and Sunday give way to the nearest day of work, which stays in the month. */
static int nearest(int day, int length, int first)
{
    int weekday = (first + day - 1) % 7;
    if (weekday == 6)
        return day > 1 ? day - 1 : day + 2;
    if (weekday == 0)
        return day < length ? day + 1 : day - 2;
    return day;
}

static uint64_t weekdays(const struct cron *c, int length, int first)
{
    uint64_t days = 0;
    for (int day = 1; day <= length; day++)
        if (has(c->days, (first + day - 1) % 7 + 1))
            days |= bit(day);
    return days;
}

/* The days of a month, bit 1 the first. */
static uint64_t days_of(const struct cron *c, int year, int month)
{
    int length = calendar_month_days(year, month), number = (int)c->number;
    int first = calendar_weekday(calendar_days((struct date){year, month, 1}));
    int of_week = 1 + ((int)c->weekday - 1 - first + 7) % 7; /* the first such weekday */
    switch (c->day) {
    case CRON_DAYS:
        return c->days & ((UINT64_C(2) << length) - 1);
    case CRON_LAST:
        return bit(length - number);
    case CRON_LAST_WORKDAY:
        return bit(nearest(length, length, first));
    case CRON_NEAREST:
        return number > length ? 0 : bit(nearest(number, length, first));
    case CRON_WEEKDAYS:
        return weekdays(c, length, first);
    case CRON_LAST_WEEKDAY:
        return bit(of_week + (length - of_week) / 7 * 7);
    case CRON_NTH_WEEKDAY:
        return of_week + (number - 1) * 7 > length ? 0 : bit(of_week + (number - 1) * 7);
    }
    return 0;
}

/* The first minute of a day from `from` on; -1: none. */
static int minute_of_day(const struct cron *c, int from)
{
    int hour = from / 60;
    if (has(c->hours, hour) && c->minutes >> from % 60)
        return from + __builtin_ctzll(c->minutes >> from % 60);
    if (!(c->hours >> (hour + 1)))
        return -1;
    return (hour + 1 + __builtin_ctzll(c->hours >> (hour + 1))) * 60 + __builtin_ctzll(c->minutes);
}

/* The first day from `d` on; false: none. */
static bool next_day(const struct cron *c, struct date *d)
{
    for (; d->year <= CRON_YEAR_MAX; d->year++, d->month = d->day = 1) {
        if (!has_year(c, d->year))
            continue;
        for (; d->month <= 12; d->month++, d->day = 1) {
            uint64_t days = has(c->months, d->month) ? days_of(c, d->year, d->month) : 0;
            days &= ~((UINT64_C(1) << d->day) - 1);
            if (!days)
                continue;
            d->day = __builtin_ctzll(days);
            return true;
        }
    }
    return false;
}

bool cron_next(const struct cron *c, int64_t after_s, int64_t *next_s)
{
    int64_t from = after_s < 0 ? 0 : (after_s / 60 + 1) * 60;
    struct date today = calendar_date(from / DAY_S), d = today;
    int minute = (int)(from % DAY_S / 60);
    if (!next_day(c, &d))
        return false;
    bool is_today = memcmp(&d, &today, sizeof d) == 0;
    int found = minute_of_day(c, is_today ? minute : 0);
    if (found < 0) {
        d = calendar_date(calendar_days(d) + 1);
        if (!next_day(c, &d))
            return false;
        found = minute_of_day(c, 0);
    }
    *next_s = calendar_days(d) * DAY_S + found * INT64_C(60);
    return true;
}
