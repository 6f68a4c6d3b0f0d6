/* schedule/fields.c: the six fields of a cron expression, as EventBridge writes them. */
#include <stdarg.h>
#include <stdio.h>

#include "expression.h"

enum { FIELDS = 6, MINUTES = 0, HOURS, DAYS, MONTHS, WEEKDAYS, YEARS };

static const char month_names[] = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC";
static const char day_names[] = "SUNMONTUEWEDTHUFRISAT";

static const struct field {
    const char *name, *expected;
    int min, max;
    const char *words; /* three letters each, the first stands for min */
} fields[FIELDS] = {
    {"minutes", "0-59 and , - * /", 0, 59, NULL},
    {"hours", "0-23 and , - * /", 0, 23, NULL},
    {"day-of-month", "1-31 and , - * ? / L W", 1, 31, NULL},
    {"month", "1-12 or JAN-DEC and , - * /", 1, 12, month_names},
    {"day-of-week", "1-7 or SUN-SAT and , - * ? / L #", 1, 7, day_names},
    {"year", "1970-2199 and , - * /", CRON_YEAR_MIN, CRON_YEAR_MAX, NULL},
};

struct reader {
    const char *text; /* all of the field */
    size_t len, at;
    size_t place; /* of the field in the expression */
    const struct field *field;
    struct expression_error *why;
    uint64_t set[(CRON_YEARS + 63) / 64]; /* counted from min */
};

bool fields_fail(struct expression_error *why, size_t at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    why->at = at;
    return false;
}

/* What other crons have, and where it goes here. */
static const char *advice(const struct reader *r, char c)
{
    if (c == '?')
        return "? stands alone, in day-of-month or in day-of-week";
    if (c == '/')
        return "write 0/5 or */5, with a value to begin with";
    return r->field->expected;
}

static bool unexpected(const struct reader *r)
{
    if (r->at >= r->len)
        return fields_fail(r->why, r->place + r->at, "%s: a value is missing: expected %s",
                           r->field->name, r->field->expected);
    char c = r->text[r->at];
    if (c <= ' ' || c >= 127)
        return fields_fail(r->why, r->place + r->at, "%s: an unexpected byte: expected %s",
                           r->field->name, r->field->expected);
    return fields_fail(r->why, r->place + r->at, "%s: unexpected '%c': expected %s", r->field->name,
                       c, advice(r, c));
}

static bool take(struct reader *r, char c)
{
    if (r->at >= r->len || (r->text[r->at] & ~0x20) != (c & ~0x20) ||
        (r->text[r->at] != c && (c < 'A' || c > 'Z')))
        return false;
    r->at++;
    return true;
}

static int word(const struct reader *r)
{
    char upper[3];
    const char *words = r->field->words;
    if (!words || r->len - r->at < 3)
        return -1;
    for (size_t i = 0; i < 3; i++)
        upper[i] = (char)(r->text[r->at + i] & ~0x20);
    for (int i = 0; i <= r->field->max - r->field->min; i++)
        if (memcmp(words + (size_t)i * 3, upper, 3) == 0)
            return r->field->min + i;
    return -1;
}

static bool take_digits(struct reader *r, int *n)
{
    size_t from = r->at;
    for (*n = 0; r->at < r->len && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
        *n = *n < 100000 ? *n * 10 + (r->text[r->at] - '0') : *n;
    return r->at > from;
}

static bool take_value(struct reader *r, int *n)
{
    size_t from = r->at;
    *n = word(r);
    if (*n >= 0) {
        r->at += 3;
        return true;
    }
    if (!take_digits(r, n))
        return unexpected(r);
    if (*n < r->field->min || *n > r->field->max)
        return fields_fail(r->why, r->place + from, "%s: %d is out of range: expected %d to %d%s",
                           r->field->name, *n, r->field->min, r->field->max,
                           r->field->words == day_names ? ", Sunday is 1" : "");
    return true;
}

static bool take_step(struct reader *r, int *step)
{
    size_t from = r->at;
    int size = r->field->max - r->field->min + 1;
    int most = r->field->max < size ? r->field->max : size;
    *step = 1;
    if (!take(r, '/'))
        return true;
    if (!take_digits(r, step))
        return unexpected(r);
    if (*step < 1 || *step > most)
        return fields_fail(r->why, r->place + from + 1, "%s: a step of %d: expected 1 to %d",
                           r->field->name, *step, most);
    return true;
}

/* One element of a list: *, n, n-m, each with a step. All but years are circles: FRI-MON, 22-4. */
static bool take_range(struct reader *r)
{
    const struct field *f = r->field;
    int from = f->min, to = f->max, step = 1;
    size_t began = r->at;
    if (!take(r, '*')) {
        if (!take_value(r, &from))
            return false;
        bool is_open = r->at < r->len && r->text[r->at] == '/';
        to = is_open ? f->max : from;
        if (take(r, '-') && !take_value(r, &to))
            return false;
    }
    if (!take_step(r, &step))
        return false;
    if (to < from && f->min == CRON_YEAR_MIN)
        return fields_fail(r->why, r->place + began,
                           "%s: the range ends before it begins: write the earlier year first",
                           f->name);
    int size = f->max - f->min + 1;
    for (int i = from; i <= (to < from ? to + size : to); i += step) {
        unsigned bit = (unsigned)((i - f->min) % size);
        r->set[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    return true;
}

static bool take_list(struct reader *r)
{
    do
        if (!take_range(r))
            return false;
    while (take(r, ','));
    return r->at == r->len || unexpected(r);
}

/* A form that stands alone: what follows it is said to be too much. */
static bool is_alone(const struct reader *r, const char *form)
{
    if (r->at == r->len)
        return true;
    if (r->text[r->at] == ',')
        return fields_fail(r->why, r->place + r->at,
                           "%s: %s stands alone: make a schedule of its own for the rest",
                           r->field->name, form);
    return unexpected(r);
}

static bool parse_last_day(struct reader *r, struct cron *c)
{
    int before = 0;
    c->day = CRON_LAST;
    if (take(r, 'W')) {
        c->day = CRON_LAST_WORKDAY;
        return is_alone(r, "LW");
    }
    size_t from = r->at;
    if (take(r, '-')) {
        if (!take_digits(r, &before))
            return unexpected(r);
        if (before < 1 || before > 30)
            return fields_fail(r->why, r->place + from + 1,
                               "%s: L-%d: expected 1 to 30 days before the last", r->field->name,
                               before);
    }
    c->number = (unsigned)before;
    return is_alone(r, "L");
}

static bool parse_days(struct reader *r, struct cron *c)
{
    int day = 0;
    if (take(r, 'L'))
        return parse_last_day(r, c);
    if (r->at < r->len && r->text[r->at] != '*') {
        if (!take_value(r, &day))
            return false;
        if (take(r, 'W')) {
            c->day = CRON_NEAREST;
            c->number = (unsigned)day;
            return is_alone(r, "W");
        }
        r->at = 0;
    }
    if (!take_list(r))
        return false;
    c->day = CRON_DAYS;
    c->days = r->set[0] << 1;
    return true;
}

static bool parse_nth(struct reader *r, struct cron *c)
{
    size_t from = r->at;
    int number = 0;
    if (!take_digits(r, &number))
        return unexpected(r);
    if (number < 1 || number > 5)
        return fields_fail(r->why, r->place + from, "%s: #%d: expected 1 to 5", r->field->name,
                           number);
    c->day = CRON_NTH_WEEKDAY;
    c->number = (unsigned)number;
    return is_alone(r, "#");
}

static bool parse_weekdays(struct reader *r, struct cron *c)
{
    int day = 7;
    if (take(r, 'L')) { /* the last day of the week: Saturday */
        c->day = CRON_WEEKDAYS;
        c->days = UINT64_C(1) << 7;
        return is_alone(r, "L");
    }
    if (r->at < r->len && r->text[r->at] != '*') {
        if (!take_value(r, &day))
            return false;
        c->weekday = (unsigned)day;
        if (take(r, '#'))
            return parse_nth(r, c);
        if (take(r, 'L')) {
            c->day = CRON_LAST_WEEKDAY;
            return is_alone(r, "L");
        }
        r->at = 0;
    }
    if (!take_list(r))
        return false;
    c->day = CRON_WEEKDAYS;
    c->days = r->set[0] << 1;
    return true;
}

static bool is_any(weir_str field)
{
    return field.len == 1 && field.ptr[0] == '?';
}

/* One of the two days is what counts, and the other is a question mark. */
static bool check_days(const weir_str *parts, weir_str text, size_t at,
                       struct expression_error *why)
{
    size_t place = at + (size_t)(parts[WEEKDAYS].ptr - text.ptr);
    if (is_any(parts[DAYS]) && is_any(parts[WEEKDAYS]))
        return fields_fail(why, place,
                           "day-of-month and day-of-week are both ?: write * in one of them");
    if (!is_any(parts[DAYS]) && !is_any(parts[WEEKDAYS]))
        return fields_fail(why, place,
                           "day-of-month and day-of-week are both given: write ? in one of them");
    return true;
}

static bool parse_field(size_t which, weir_str part, size_t place, struct cron *c,
                        struct expression_error *why)
{
    struct reader r = {
        .text = part.ptr, .len = part.len, .place = place, .field = &fields[which], .why = why};
    if (which == DAYS || which == WEEKDAYS)
        return is_any(part) || (which == DAYS ? parse_days(&r, c) : parse_weekdays(&r, c));
    if (!take_list(&r))
        return false;
    if (which == MINUTES)
        c->minutes = r.set[0];
    else if (which == HOURS)
        c->hours = r.set[0];
    else if (which == MONTHS)
        c->months = r.set[0] << 1;
    else
        memcpy(c->years, r.set, sizeof c->years);
    return true;
}

static size_t split(weir_str text, weir_str parts[FIELDS])
{
    size_t n = 0;
    for (size_t at = 0; at < text.len;) {
        size_t from = at;
        while (at < text.len && text.ptr[at] != ' ')
            at++;
        if (at > from && n++ < FIELDS)
            parts[n - 1] = (weir_str){text.ptr + from, at - from};
        at += at == from;
    }
    return n;
}

bool fields_parse(weir_str text, size_t at, struct cron *c, struct expression_error *why)
{
    weir_str parts[FIELDS];
    size_t n = split(text, parts);
    int64_t first = 0;
    *c = (struct cron){.minutes = 0};
    if (n != FIELDS)
        return fields_fail(why, at,
                           "cron has %zu field%s: expected 6: minutes, hours, day-of-month, month, "
                           "day-of-week, year%s",
                           n, n == 1 ? "" : "s", n == 5 ? " (often *)" : "");
    for (size_t i = 0; i < FIELDS; i++)
        if (!parse_field(i, parts[i], at + (size_t)(parts[i].ptr - text.ptr), c, why))
            return false;
    if (!check_days(parts, text, at, why))
        return false;
    return cron_next(c, -1, &first) ||
           fields_fail(why, at, "no day from %d to %d is meant: change day, month or year",
                       CRON_YEAR_MIN, CRON_YEAR_MAX);
}
