/* schedule/calendar.c: days and dates of the Gregorian calendar. */
#include "calendar.h"

#include <stdio.h>

enum { ERA_YEARS = 400, ERA_DAYS = 146097, FROM_MARCH_0 = 719468 /* to 1970-01-01 */ };

/* Years begin in March here, so that a leap day is the last of one; an era is 400 of them. */
int64_t calendar_days(struct date d)
{
    int64_t year = d.month > 2 ? d.year : d.year - 1;
    int64_t era = calendar_floor(year, ERA_YEARS), of_era = year - era * ERA_YEARS;
    int64_t of_year = (153 * (d.month > 2 ? d.month - 3 : d.month + 9) + 2) / 5 + d.day - 1;
    return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - FROM_MARCH_0;
}

struct date calendar_date(int64_t days)
{
    int64_t since = days + FROM_MARCH_0, era = calendar_floor(since, ERA_DAYS);
    int64_t day = since - era * ERA_DAYS;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t of_year = day - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    struct date d = {.day = (int)(of_year - (153 * month + 2) / 5 + 1)};
    d.month = (int)(month < 10 ? month + 3 : month - 9);
    d.year = (int)(year + era * ERA_YEARS + (d.month <= 2));
    return d;
}

bool calendar_is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int calendar_month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && calendar_is_leap(year));
}

int calendar_weekday(int64_t days)
{
    return (int)(days + 4 - calendar_floor(days + 4, 7) * 7);
}

void calendar_format(int64_t utc_s, int32_t offset_s, char text[CALENDAR_TEXT_BYTES])
{
    int64_t local = utc_s + offset_s, days = calendar_floor(local, DAY_S);
    int second = (int)(local - days * DAY_S);
    struct date d = calendar_date(days);
    int off = offset_s < 0 ? -offset_s : offset_s;
    int n = snprintf(text, CALENDAR_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d", d.year, d.month,
                     d.day, second / 3600, second / 60 % 60, second % 60);
    if (n < 0 || n >= CALENDAR_TEXT_BYTES)
        return;
    if (offset_s)
        (void)snprintf(text + n, CALENDAR_TEXT_BYTES - (size_t)n, "%c%02d:%02d",
                       offset_s < 0 ? '-' : '+', off / 3600, off / 60 % 60);
    else
        (void)snprintf(text + n, CALENDAR_TEXT_BYTES - (size_t)n, "Z");
}
