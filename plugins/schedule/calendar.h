/* schedule/calendar.h: days and dates of the Gregorian calendar, before and after it was in use. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define DAY_S INT64_C(86400)

struct date {
    int year, month, day; /* from 1 */
};

int64_t calendar_days(struct date d); /* since 1970-01-01 */
struct date calendar_date(int64_t days);
bool calendar_is_leap(int year);
int calendar_month_days(int year, int month);
int calendar_weekday(int64_t days); /* 0: Sunday */

/* Rounds down, also below zero. */
static inline int64_t calendar_floor(int64_t n, int64_t by)
{
    return n / by - (n % by < 0);
}

enum { CALENDAR_TEXT_BYTES = 48 };
/* RFC 3339 with this offset from UTC. */
void calendar_format(int64_t utc_s, int32_t offset_s, char text[CALENDAR_TEXT_BYTES]);
