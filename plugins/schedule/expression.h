/* schedule/expression.h: rate(), cron() and at() of EventBridge: read, and asked for the next run. */
#pragma once
#include <weir/plugin.h>

#include "zone.h"

enum { CRON_YEAR_MIN = 1970, CRON_YEAR_MAX = 2199, CRON_YEARS = CRON_YEAR_MAX - CRON_YEAR_MIN + 1 };
enum { EXPRESSION_MAX = 256, EXPRESSION_ERROR_BYTES = 200 };

enum cron_day {
    CRON_DAYS,         /* the set `days`, of the month */
    CRON_LAST,         /* L, L-n: n days before the last */
    CRON_LAST_WORKDAY, /* LW */
    CRON_NEAREST,      /* nW */
    CRON_WEEKDAYS,     /* the set `days`, of the week; Sunday is 1 */
    CRON_LAST_WEEKDAY, /* wL */
    CRON_NTH_WEEKDAY   /* w#n */
};

struct cron {
    uint64_t minutes, hours, months, days; /* sets of bits */
    uint64_t years[(CRON_YEARS + 63) / 64];
    enum cron_day day;
    unsigned weekday, number; /* of the forms that take one */
};

enum expression_kind { EXPRESSION_RATE, EXPRESSION_CRON, EXPRESSION_AT };

struct expression {
    enum expression_kind kind;
    int64_t period_s;
    int64_t at_s; /* on the zone's clock, as if it were UTC */
    struct cron cron;
};

struct expression_error {
    size_t at; /* byte in the text */
    char text[EXPRESSION_ERROR_BYTES];
};

bool expression_parse(weir_str text, struct expression *e, struct expression_error *why);
/* yyyy-mm-ddThh:mm:ss on the zone's clock, or with Z or an offset behind it; `name` is for the error. */
bool expression_time(const char *name, weir_str text, const struct zone *z, int64_t *utc_s,
                     struct expression_error *why);
/* The first run after `after_s`; a rate runs at `anchor_s` and at all times that are a whole number of
 * periods away. False: never again. */
bool expression_next(const struct expression *e, const struct zone *z, int64_t anchor_s,
                     int64_t after_s, int64_t *next_s);

/* fields.c: the six fields between the brackets; `at` is the first one's place in the text. */
bool fields_parse(weir_str text, size_t at, struct cron *c, struct expression_error *why);
bool fields_fail(struct expression_error *why, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* cron.c: the first minute after `after_s` that matches, both on the zone's clock. */
bool cron_next(const struct cron *c, int64_t after_s, int64_t *next_s);
