/* schedule/expression.c: rate(), cron() and at(), and when they run next. */
#include "expression.h"

enum { MINUTE_S = 60, HOUR_S = 3600, RATE_DAYS_MAX = 3650, UNITS = 3, TIME_CHARS = 19 };
static const char time_format[TIME_CHARS + 1] = "0000-00-00T00:00:00";

static const char usage[] =
    "expected rate(5 minutes), cron(0 12 * * ? *) or at(2030-01-31T12:00:00)";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool starts(weir_str text, const char *with)
{
    size_t n = strlen(with);
    return text.len >= n && memcmp(text.ptr, with, n) == 0;
}

/* ---- rate --------------------------------------------------------------------------------------- */

static const struct unit {
    const char *name;
    int64_t seconds;
} units[UNITS] = {{"minute", MINUTE_S}, {"hour", HOUR_S}, {"day", DAY_S}};

static const struct unit *unit_of(weir_str word, bool *is_plural)
{
    for (size_t i = 0; i < UNITS; i++) {
        size_t n = strlen(units[i].name);
        if (!starts(word, units[i].name))
            continue;
        *is_plural = word.len == n + 1 && word.ptr[n] == 's';
        if (word.len == n || *is_plural)
            return &units[i];
    }
    return NULL;
}

static bool parse_rate(weir_str text, size_t at, struct expression *e, struct expression_error *why)
{
    size_t i = 0, digits = 0;
    int64_t value = 0;
    bool is_plural = false;
    for (; i < text.len && is_digit(text.ptr[i]); i++, digits++)
        value = value < INT64_C(100000000) ? value * 10 + (text.ptr[i] - '0') : value;
    if (!digits)
        return fields_fail(why, at, "rate: expected a whole number, as in rate(5 minutes)");
    if (!value)
        return fields_fail(why, at, "rate: the value has to be 1 or more");
    size_t space = i;
    while (i < text.len && text.ptr[i] == ' ')
        i++;
    const struct unit *u = unit_of((weir_str){text.ptr + i, text.len - i}, &is_plural);
    if (starts((weir_str){text.ptr + i, text.len - i}, "second"))
        return fields_fail(why, at + i,
                           "rate: the shortest is 1 minute: a generator with interval: "
                           "brings events more often");
    if (!u || i == space)
        return fields_fail(why, at + i,
                           "rate: the unit is not known: expected a space and then "
                           "minute, minutes, hour, hours, day or days");
    if (is_plural != (value != 1))
        return fields_fail(why, at + i, "rate: with %s the unit is %s%s",
                           value == 1 ? "1" : "more than 1", u->name, value == 1 ? "" : "s");
    e->kind = EXPRESSION_RATE;
    e->period_s = value * u->seconds;
    return e->period_s <= RATE_DAYS_MAX * DAY_S ||
           fields_fail(why, at, "rate: more than %d days", RATE_DAYS_MAX);
}

/* ---- at, and other times --------------------------------------------------------------------------- */

static int digits_at(weir_str text, size_t at, size_t n)
{
    int value = 0;
    for (size_t i = at; i < at + n; i++)
        value = value * 10 + (text.ptr[i] - '0');
    return value;
}

/* yyyy-mm-ddThh:mm:ss at the text's beginning; `name` is what it is a value of. */
static bool take_time(const char *name, weir_str text, size_t at, int64_t *local_s,
                      struct expression_error *why)
{
    size_t i = 0;
    while (i < text.len && i < TIME_CHARS &&
           (time_format[i] == '0' ? is_digit(text.ptr[i]) : text.ptr[i] == time_format[i]))
        i++;
    if (i < TIME_CHARS)
        return fields_fail(why, at + i, "%s: expected yyyy-mm-ddThh:mm:ss", name);
    struct date d = {digits_at(text, 0, 4), digits_at(text, 5, 2), digits_at(text, 8, 2)};
    int hour = digits_at(text, 11, 2), minute = digits_at(text, 14, 2),
        second = digits_at(text, 17, 2);
    if (d.year < CRON_YEAR_MIN || d.year > CRON_YEAR_MAX)
        return fields_fail(why, at, "%s: year %d: expected %d to %d", name, d.year, CRON_YEAR_MIN,
                           CRON_YEAR_MAX);
    if (d.month < 1 || d.month > 12)
        return fields_fail(why, at + 5, "%s: there is no month %d", name, d.month);
    if (d.day < 1 || d.day > calendar_month_days(d.year, d.month))
        return fields_fail(why, at + 8, "%s: %04d-%02d has no day %d", name, d.year, d.month,
                           d.day);
    if (hour > 23 || minute > 59 || second > 59)
        return fields_fail(why, at + 11, "%s: there is no time %.8s", name, text.ptr + 11);
    *local_s = calendar_days(d) * DAY_S + hour * INT64_C(3600) + minute * INT64_C(60) + second;
    return true;
}

static bool parse_at(weir_str text, size_t at, struct expression *e, struct expression_error *why)
{
    e->kind = EXPRESSION_AT;
    if (!take_time("at", text, at, &e->at_s, why))
        return false;
    return text.len == TIME_CHARS ||
           fields_fail(why, at + TIME_CHARS,
                       "at: expected ) after the time: what zone it is in stands in timezone");
}

/* Z, +hh:mm or -hh:mm */
static bool take_offset(weir_str text, int64_t *offset_s)
{
    static const char form[] = "+00:00";
    *offset_s = 0;
    if (weir_same(text, "Z"))
        return true;
    if (text.len != sizeof form - 1 || (text.ptr[0] != '+' && text.ptr[0] != '-') ||
        text.ptr[3] != ':' || !is_digit(text.ptr[1]) || !is_digit(text.ptr[2]) ||
        !is_digit(text.ptr[4]) || !is_digit(text.ptr[5]))
        return false;
    int hours = digits_at(text, 1, 2), minutes = digits_at(text, 4, 2);
    *offset_s = (text.ptr[0] == '-' ? -1 : 1) * (hours * INT64_C(3600) + minutes * INT64_C(60));
    return hours < 24 && minutes < 60;
}

bool expression_time(const char *name, weir_str text, const struct zone *z, int64_t *utc_s,
                     struct expression_error *why)
{
    int64_t local_s = 0, offset_s = 0;
    if (!take_time(name, text, 0, &local_s, why))
        return false;
    if (text.len == TIME_CHARS)
        return zone_utc(z, local_s, utc_s) ||
               fields_fail(why, 0, "%s: the clock of %s skips this time", name, z->name);
    if (!take_offset((weir_str){text.ptr + TIME_CHARS, text.len - TIME_CHARS}, &offset_s))
        return fields_fail(why, TIME_CHARS, "%s: expected Z, +hh:mm or nothing after the time",
                           name);
    *utc_s = local_s - offset_s;
    return true;
}

/* ---- all three ---------------------------------------------------------------------------------- */

bool expression_parse(weir_str text, struct expression *e, struct expression_error *why)
{
    static const struct form {
        const char *begins;
        bool (*parse)(weir_str, size_t, struct expression *, struct expression_error *);
    } forms[] = {{"rate(", parse_rate}, {"at(", parse_at}, {"cron(", NULL}};
    *e = (struct expression){.kind = EXPRESSION_CRON};
    if (text.len > EXPRESSION_MAX)
        return fields_fail(why, EXPRESSION_MAX, "longer than %d characters", EXPRESSION_MAX);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t n = strlen(forms[i].begins);
        if (!starts(text, forms[i].begins))
            continue;
        const char *shut = memchr(text.ptr, ')', text.len);
        if (!shut)
            return fields_fail(why, text.len, "the closing ) is missing");
        if (shut != text.ptr + text.len - 1)
            return fields_fail(why, (size_t)(shut - text.ptr) + 1, "nothing may follow the )");
        weir_str inner = {text.ptr + n, text.len - n - 1};
        return forms[i].parse ? forms[i].parse(inner, n, e, why)
                              : fields_parse(inner, n, &e->cron, why);
    }
    return fields_fail(why, 0, "%s", usage);
}

static bool cron_next_in(const struct cron *c, const struct zone *z, int64_t after_s,
                         int64_t *next_s)
{
    int64_t local = after_s + zone_offset(z, after_s), utc = 0;
    while (cron_next(c, local, &local)) {
        if (!zone_utc(z, local, &utc) || utc <= after_s)
            continue; /* the clock skips it, or shows it a second time */
        *next_s = utc;
        return true;
    }
    return false;
}

bool expression_next(const struct expression *e, const struct zone *z, int64_t anchor_s,
                     int64_t after_s, int64_t *next_s)
{
    if (e->kind == EXPRESSION_CRON)
        return cron_next_in(&e->cron, z, after_s, next_s);
    if (e->kind == EXPRESSION_AT)
        return zone_utc(z, e->at_s, next_s) && *next_s > after_s;
    int64_t periods = calendar_floor(after_s - anchor_s, e->period_s) + 1;
    *next_s = anchor_s + periods * e->period_s;
    return true;
}
