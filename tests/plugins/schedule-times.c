/* tests/plugins/schedule-times.c: expressions and zones: errors, tables of times, and many years minute by
 * minute against the C library's local time and a matcher that reads the fields on its own. */
#include "support.h"

#include <ctype.h>
#include <fcntl.h>

#include "../../plugins/schedule/expression.h"

#ifdef __SANITIZE_ADDRESS__
enum { YEARS_OF_MINUTES = 2 };
#else
enum { YEARS_OF_MINUTES = 11 };
#endif

static bool read_zone(const char *name, struct zone *z)
{
    static char data[ZONE_FILE_MAX];
    char path[ZONE_PATH_BYTES];
    *z = (struct zone){.count = 0};
    if (strcmp(name, "UTC") == 0)
        return true;
    ck_assert(zone_path(name, path));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s: is tzdata installed?", path);
    ssize_t n = read(fd, data, sizeof data);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_gt(n, 0);
    return zone_read((weir_str){data, (size_t)n}, z);
}

/* "2030-01-31T12:00:00Z" */
static int64_t at(const char *text)
{
    static const struct zone utc = {.name = "UTC"};
    struct expression_error why = {.at = 0};
    int64_t s = 0;
    ck_assert_msg(expression_time("at", weir_text(text), &utc, &s, &why), "%s: %s", text, why.text);
    return s;
}

/* ---- what is refused, where, and what it says ------------------------------------------------------- */

static const struct {
    const char *text;
    size_t at;
    const char *says;
} wrongs[] = {
    {"", 0, "expected rate("},
    {"every(5 minutes)", 0, "cron(0 12 * * ? *)"},
    {"0 12 * * ? *", 0, "expected rate("},
    {"rate(5 minutes", 14, "closing ) is missing"},
    {"rate(5 minutes) ", 15, "nothing may follow"},
    {"rate(5 minutes))", 15, "nothing may follow"},
    {"rate()", 5, "a whole number"},
    {"rate(0 minutes)", 5, "1 or more"},
    {"rate(-1 minutes)", 5, "a whole number"},
    {"rate(1.5 hours)", 6, "unit is not known"},
    {"rate(1 minutes)", 7, "with 1 the unit is minute"},
    {"rate(5 minute)", 7, "with more than 1 the unit is minutes"},
    {"rate(2 day)", 7, "the unit is days"},
    {"rate(5minutes)", 6, "expected a space"},
    {"rate(10 seconds)", 8, "the shortest is 1 minute"},
    {"rate(1 week)", 7, "the unit is not known"},
    {"rate(5 minutes please)", 7, "the unit is not known"},
    {"rate(99999999999999999999 days)", 5, "more than 3650 days"},
    {"at(2030-01-31)", 13, "expected yyyy-mm-ddThh:mm:ss"},
    {"at(2030-01-31 12:00:00)", 13, "expected yyyy-mm-ddThh:mm:ss"},
    {"at(2030-01-31T12:00:00Z)", 22, "stands in timezone"},
    {"at(2030-13-01T12:00:00)", 8, "no month 13"},
    {"at(2030-02-29T12:00:00)", 11, "2030-02 has no day 29"},
    {"at(2030-04-31T12:00:00)", 11, "2030-04 has no day 31"},
    {"at(2030-01-31T24:00:00)", 14, "no time 24:00:00"},
    {"at(2030-01-31T12:00:60)", 14, "no time 12:00:60"},
    {"at(1969-12-31T12:00:00)", 3, "expected 1970 to 2199"},
    {"at(2200-01-01T12:00:00)", 3, "expected 1970 to 2199"},
    {"cron()", 5, "cron has 0 fields: expected 6"},
    {"cron(0 12 * * ?)", 5, "cron has 5 fields: expected 6: minutes, hours"},
    {"cron(0 0 12 * * ? *)", 5, "cron has 7 fields"},
    {"cron(0 12 * * * *)", 14, "both given: write ? in one of them"},
    {"cron(0 12 1 * MON *)", 14, "both given: write ? in one of them"},
    {"cron(0 12 ? * ? *)", 14, "both ?: write * in one of them"},
    {"cron(60 12 * * ? *)", 5, "minutes: 60 is out of range: expected 0 to 59"},
    {"cron(0 24 * * ? *)", 7, "hours: 24 is out of range: expected 0 to 23"},
    {"cron(0 12 0 * ? *)", 10, "day-of-month: 0 is out of range: expected 1 to 31"},
    {"cron(0 12 32 * ? *)", 10, "day-of-month: 32"},
    {"cron(0 12 * 13 ? *)", 12, "month: 13 is out of range: expected 1 to 12"},
    {"cron(0 12 ? * 0 *)", 14, "expected 1 to 7, Sunday is 1"},
    {"cron(0 12 ? * 8 *)", 14, "day-of-week: 8"},
    {"cron(0 12 * * ? 1969)", 16, "year: 1969 is out of range: expected 1970 to 2199"},
    {"cron(0 12 * * ? 2200)", 16, "year: 2200"},
    {"cron(? 12 * * ? *)", 5, "? stands alone, in day-of-month or in day-of-week"},
    {"cron(0 12 ?,1 * ? *)", 10, "? stands alone"},
    {"cron(/5 * * * ? *)", 5, "write 0/5 or */5"},
    {"cron(0/ * * * ? *)", 7, "minutes: a value is missing"},
    {"cron(0/0 * * * ? *)", 7, "minutes: a step of 0: expected 1 to 59"},
    {"cron(0/60 * * * ? *)", 7, "minutes: a step of 60: expected 1 to 59"},
    {"cron(0 0/24 * * ? *)", 9, "hours: a step of 24: expected 1 to 23"},
    {"cron(0,,5 * * * ? *)", 7, "minutes: unexpected ','"},
    {"cron(0, * * * ? *)", 7, "minutes: a value is missing"},
    {"cron(5- * * * ? *)", 7, "minutes: a value is missing"},
    {"cron(1-2-3 * * * ? *)", 8, "minutes: unexpected '-'"},
    {"cron(0 12 L,15 * ? *)", 11, "day-of-month: L stands alone"},
    {"cron(0 12 3W,15 * ? *)", 12, "day-of-month: W stands alone"},
    {"cron(0 12 LX * ? *)", 11, "day-of-month: unexpected 'X'"},
    {"cron(0 12 L-31 * ? *)", 12, "L-31: expected 1 to 30 days"},
    {"cron(0 12 ? * MON#6 *)", 18, "#6: expected 1 to 5"},
    {"cron(0 12 ? * MON#0 *)", 18, "#0: expected 1 to 5"},
    {"cron(0 12 ? * 3#1,6#3 *)", 17, "day-of-week: # stands alone"},
    {"cron(0 12 ? * MOO *)", 14, "day-of-week: unexpected 'M': expected 1-7 or SUN-SAT"},
    {"cron(0 12 * JANUARY ? *)", 15, "month: unexpected 'U'"},
    {"cron(0 12 * * ? 2030-2020)", 16, "write the earlier year first"},
    {"cron(0 12 30 2 ? *)", 5, "no day from 1970 to 2199 is meant"},
    {"cron(0 12 31W 2 ? *)", 5, "no day from 1970 to 2199"},
    {"cron(0\t12 * * ? *)", 5, "cron has 5 fields"},
    {"cron(0 12 * * ? *\n)", 17, "year: an unexpected byte"},
};

START_TEST(refuses_with_a_place)
{
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        struct expression e;
        struct expression_error why = {.at = 0};
        ck_assert_msg(!expression_parse(weir_text(wrongs[i].text), &e, &why), "%s was accepted",
                      wrongs[i].text);
        ck_assert_msg(strstr(why.text, wrongs[i].says), "%s: says: %s", wrongs[i].text, why.text);
        ck_assert_msg(why.at == wrongs[i].at, "%s: at %zu, not %zu: %s", wrongs[i].text, why.at,
                      wrongs[i].at, why.text);
    }
    char text[EXPRESSION_MAX + 2];
    struct expression e;
    struct expression_error why = {.at = 0};
    memset(text, '9', sizeof text);
    memcpy(text, "rate(", 5);
    ck_assert(!expression_parse((weir_str){text, sizeof text - 1}, &e, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "longer than 256"));
}
END_TEST

/* ---- a table of times ------------------------------------------------------------------------------- */

static const struct {
    const char *text, *zone, *after;
    const char *next[7];
} rights[] = {
    {"cron(15 10 ? * 6L 2022-2023)",
     "UTC",
     "2022-10-29T00:00:00Z",
     {"2022-11-25T10:15:00Z", "2022-12-30T10:15:00Z", "2023-01-27T10:15:00Z"}},
    {"cron(0 12 ? * FRIL *)", "UTC", "2024-02-01T00:00:00Z", {"2024-02-23T12:00:00Z"}},
    {"cron(0 8 1 * ? *)", "UTC", "2024-12-01T08:00:00Z", {"2025-01-01T08:00:00Z"}},
    {"cron(0/15 8-9 ? * MON-FRI *)",
     "UTC",
     "2024-11-22T09:40:00Z", /* a Friday */
     {"2024-11-22T09:45:00Z", "2024-11-25T08:00:00Z", "2024-11-25T08:15:00Z"}},
    {"cron(0 0 L * ? *)",
     "UTC",
     "2024-01-31T00:00:00Z",
     {"2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", "2024-04-30T00:00:00Z"}},
    {"cron(0 0 l-3 * ? *)", "UTC", "2024-02-01T00:00:00Z", {"2024-02-26T00:00:00Z"}},
    {"cron(0 0 L-30 * ? *)",
     "UTC",
     "2024-02-01T00:00:00Z",
     {"2024-03-01T00:00:00Z", "2024-05-01T00:00:00Z"}},
    /* 2024-06-30 is a Sunday, 2024-08-31 a Saturday */
    {"cron(0 0 LW * ? *)",
     "UTC",
     "2024-06-01T00:00:00Z",
     {"2024-06-28T00:00:00Z", "2024-07-31T00:00:00Z", "2024-08-30T00:00:00Z"}},
    /* 2024-06-01 is a Saturday and 2024-09-01 a Sunday: W stays in the month */
    {"cron(0 0 1W 6,9 ? *)",
     "UTC",
     "2024-05-01T00:00:00Z",
     {"2024-06-03T00:00:00Z", "2024-09-02T00:00:00Z", "2025-06-02T00:00:00Z"}},
    {"cron(0 0 15W * ? 2024)",
     "UTC",
     "2024-05-20T00:00:00Z",
     {"2024-06-14T00:00:00Z", "2024-07-15T00:00:00Z", "2024-08-15T00:00:00Z",
      "2024-09-16T00:00:00Z"}},
    {"cron(0 0 30W * ? *)",
     "UTC",
     "2024-06-01T00:00:00Z",
     {"2024-06-28T00:00:00Z", "2024-07-30T00:00:00Z"}},
    {"cron(0 0 31W * ? *)",
     "UTC",
     "2024-03-01T00:00:00Z", /* 2024-03-31 is a Sunday; April has none */
     {"2024-03-29T00:00:00Z", "2024-05-31T00:00:00Z"}},
    {"cron(0 0 ? * 3#2 *)",
     "UTC",
     "2024-01-01T00:00:00Z",
     {"2024-01-09T00:00:00Z", "2024-02-13T00:00:00Z"}},
    {"cron(0 0 ? * SUN#5 *)",
     "UTC",
     "2024-01-01T00:00:00Z",
     {"2024-03-31T00:00:00Z", "2024-06-30T00:00:00Z"}},
    {"cron(0 0 ? * L *)",
     "UTC",
     "2024-01-01T00:00:00Z",
     {"2024-01-06T00:00:00Z", "2024-01-13T00:00:00Z"}},
    {"cron(0 0 ? * FRI-MON *)",
     "UTC",
     "2024-11-20T00:00:00Z",
     {"2024-11-22T00:00:00Z", "2024-11-23T00:00:00Z", "2024-11-24T00:00:00Z",
      "2024-11-25T00:00:00Z", "2024-11-29T00:00:00Z"}},
    {"cron(0 22-2/2 * * ? *)",
     "UTC",
     "2024-11-20T01:00:00Z",
     {"2024-11-20T02:00:00Z", "2024-11-20T22:00:00Z", "2024-11-21T00:00:00Z"}},
    {"cron(0 0 1 nov-Feb ? *)",
     "UTC",
     "2024-10-20T01:00:00Z",
     {"2024-11-01T00:00:00Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z",
      "2025-02-01T00:00:00Z", "2025-11-01T00:00:00Z"}},
    {"cron(0 0 29 2 ? *)",
     "UTC",
     "2096-03-01T00:00:00Z", /* 2100 is no leap year */
     {"2104-02-29T00:00:00Z"}},
    {"cron(59 23 31 12 ? 2199)", "UTC", "1970-01-01T00:00:00Z", {"2199-12-31T23:59:00Z", NULL}},
    {"cron(0 0 1 1 ? 2020/10)",
     "UTC",
     "2021-01-01T00:00:00Z",
     {"2030-01-01T00:00:00Z", "2040-01-01T00:00:00Z"}},
    {"cron(1,5-6,50/5 0 * * ? *)",
     "UTC",
     "2024-01-01T00:00:00Z",
     {"2024-01-01T00:01:00Z", "2024-01-01T00:05:00Z", "2024-01-01T00:06:00Z",
      "2024-01-01T00:50:00Z", "2024-01-01T00:55:00Z", "2024-01-02T00:01:00Z"}},
    /* The hour that is skipped has no runs, the one that comes twice has them once. */
    {"cron(30 2 * * ? *)",
     "Europe/Berlin",
     "2024-03-29T12:00:00Z",
     {"2024-03-30T01:30:00Z", "2024-04-01T00:30:00Z"}},
    {"cron(30 2 * * ? *)",
     "Europe/Berlin",
     "2024-10-26T12:00:00Z",
     {"2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"}},
    {"cron(30 2 * * ? *)",
     "Europe/Berlin",
     "2024-10-27T01:10:00Z", /* asked in the hour that comes again */
     {"2024-10-28T01:30:00Z"}},
    {"cron(0/30 1-3 * * ? *)",
     "America/New_York",
     "2024-11-03T04:00:00Z",
     {"2024-11-03T05:00:00Z", "2024-11-03T05:30:00Z", "2024-11-03T07:00:00Z",
      "2024-11-03T07:30:00Z"}},
    {"cron(15 2 * * ? *)",
     "Australia/Lord_Howe", /* half an hour: 02:00 to 02:30 */
     "2024-10-05T00:00:00Z",
     {"2024-10-06T15:15:00Z"}},
    {"cron(45 1 * * ? *)",
     "Australia/Lord_Howe", /* and 02:00 back to 01:30 */
     "2024-04-05T23:00:00Z",
     {"2024-04-06T14:45:00Z", "2024-04-07T15:15:00Z"}},
    {"cron(0 0 * * ? *)", "Asia/Kathmandu", "2024-01-01T00:00:00Z", {"2024-01-01T18:15:00Z"}},
    {"cron(0 12 * * ? *)",
     "Pacific/Apia", /* there was no 2011-12-30 */
     "2011-12-29T00:00:00Z",
     {"2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"}},
    {"at(2024-03-31T03:00:00)", "Europe/Berlin", "2024-01-01T00:00:00Z", {"2024-03-31T01:00:00Z"}},
    {"at(2024-10-27T02:30:00)", "Europe/Berlin", "2024-01-01T00:00:00Z", {"2024-10-27T00:30:00Z"}},
    {"at(2024-01-01T00:00:00)", "UTC", "2024-01-01T00:00:00Z", {NULL}},
    {"rate(1 hour)", "UTC", "2024-01-01T00:00:00Z", {"2024-01-01T00:20:00Z"}},
    {"rate(1 day)",
     "Europe/Berlin", /* of 24 hours, whatever the clock does */
     "2024-03-30T12:00:00Z",
     {"2024-03-31T00:20:00Z", "2024-04-01T00:20:00Z"}},
};

START_TEST(runs_when_it_should)
{
    const int64_t anchor = at("2020-01-01T00:20:00Z");
    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++) {
        struct expression e;
        struct expression_error why = {.at = 0};
        struct zone z;
        int64_t s = at(rights[i].after);
        ck_assert(read_zone(rights[i].zone, &z));
        ck_assert_msg(expression_parse(weir_text(rights[i].text), &e, &why), "%s: %s",
                      rights[i].text, why.text);
        bool is_first = true;
        for (const char *const *next = rights[i].next; *next || is_first; next++) {
            char text[CALENDAR_TEXT_BYTES] = "never";
            if (expression_next(&e, &z, anchor, s, &s))
                calendar_format(s, 0, text);
            ck_assert_msg(strcmp(text, *next ? *next : "never") == 0, "%s after %s: %s, not %s",
                          rights[i].text, rights[i].after, text, *next ? *next : "never");
            is_first = false;
        }
    }
}
END_TEST

START_TEST(reads_times)
{
    struct zone berlin;
    struct expression_error why = {.at = 0};
    int64_t s = 0;
    ck_assert(read_zone("Europe/Berlin", &berlin));
    (void)snprintf(berlin.name, sizeof berlin.name, "Europe/Berlin");
    const struct {
        const char *text, *is, *says;
    } cases[] = {
        {"2024-07-01T12:00:00", "2024-07-01T10:00:00Z", NULL},
        {"2024-07-01T12:00:00Z", "2024-07-01T12:00:00Z", NULL},
        {"2024-07-01T12:00:00+05:45", "2024-07-01T06:15:00Z", NULL},
        {"2024-07-01T12:00:00-03:00", "2024-07-01T15:00:00Z", NULL},
        {"2024-03-31T02:30:00", NULL, "start: the clock of Europe/Berlin skips this time"},
        {"2024-07-01T12:00:00+24:00", NULL, "start: expected Z, +hh:mm"},
        {"2024-07-01T12:00:00.5Z", NULL, "start: expected Z, +hh:mm"},
        {"2024-07-01", NULL, "start: expected yyyy-mm-ddThh:mm:ss"},
        {"", NULL, "start: expected yyyy-mm-ddThh:mm:ss"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool good = expression_time("start", weir_text(cases[i].text), &berlin, &s, &why);
        ck_assert_msg(good == !cases[i].says, "%s", cases[i].text);
        if (good)
            ck_assert_int_eq(s, at(cases[i].is));
        else
            ck_assert_msg(strstr(why.text, cases[i].says), "%s: %s", cases[i].text, why.text);
    }
}
END_TEST

/* ---- zones as the C library has them ------------------------------------------------------------------ */

static void use_zone(const char *name)
{
    ck_assert_int_eq(setenv("TZ", name, 1), 0); /* NOLINT(concurrency-mt-unsafe): one thread */
    tzset();
}

/* An assertion that holds tells Check so through a pipe: too often for these loops. */
static void same_offset(const struct zone *z, const char *name, int64_t s, long offset)
{
    if (zone_offset(z, s) != offset)
        ck_abort_msg("%s at %lld: %d, not %ld", name, (long long)s, zone_offset(z, s), offset);
}

static void compare_zone(const char *name)
{
    static struct zone z;
    const int64_t end = at("2120-01-01T00:00:00Z"), step = 6 * DAY_S + 5 * 3600 + 1800;
    ck_assert_msg(read_zone(name, &z), "%s cannot be read", name);
    use_zone(name);
    for (int64_t s = 0; s < end; s += step) {
        struct tm tm;
        time_t time = (time_t)s;
        (void)localtime_r(&time, &tm);
        same_offset(&z, name, s, tm.tm_gmtoff);
    }
}

START_TEST(knows_all_zones)
{
    char line[512];
    size_t count = 0;
    FILE *f = fopen("/usr/share/zoneinfo/zone1970.tab", "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        char name[ZONE_NAME_MAX + 1];
        if (line[0] == '#' || sscanf(line, "%*s %*s %64s", name) != 1)
            continue;
        compare_zone(name);
        count++;
    }
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_uint_gt(count, 250);
}
END_TEST

/* At the second of each change, before and after it, in the table and by the rule. */
START_TEST(changes_to_the_second)
{
    static const char *const names[] = {"Europe/Berlin",       "America/New_York",
                                        "Australia/Lord_Howe", "Africa/Casablanca",
                                        "America/Santiago",    "Europe/Dublin",
                                        "Asia/Gaza",           "America/Nuuk",
                                        "Antarctica/Troll",    "Pacific/Apia",
                                        "Pacific/Chatham",     "Asia/Tehran"};
    static struct zone z;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ck_assert(read_zone(names[i], &z));
        use_zone(names[i]);
        int64_t end = at("2060-01-01T00:00:00Z");
        for (int64_t s = 0; s < end; s += 6 * 3600) {
            if (zone_offset(&z, s) == zone_offset(&z, s + 6 * 3600))
                continue;
            for (int64_t t = s; t <= s + 6 * 3600;
                 t += 899) { /* and the last second of a quarter */
                struct tm tm;
                for (time_t time = (time_t)(t - 1); time <= t + 1; time++) {
                    (void)localtime_r(&time, &tm);
                    same_offset(&z, names[i], time, tm.tm_gmtoff);
                }
            }
        }
    }
}
END_TEST

static void put(char *to, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(n >> (24 - 8 * i));
}

/* A file without changes: one type, and a rule. */
static size_t make_file(char *data, const char *rule, int32_t offset)
{
    size_t n = 0;
    for (int block = 0; block < 2; block++) {
        memset(data + n, 0, 44 + 10);
        memcpy(data + n, "TZif2", 5);
        put(data + n + 36, 1); /* types */
        put(data + n + 40, 4); /* characters */
        put(data + n + 44, (uint32_t)offset);
        memcpy(data + n + 50, "ABC", 4);
        n += 54;
    }
    return n + (size_t)sprintf(data + n, "\n%s\n", rule);
}

static const struct {
    const char *rule;
    bool is_good;
} rules[] = {
    {"UTC0", true},
    {"EST5EDT,M3.2.0,M11.1.0", true},
    {"<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", true},
    {"IST-1GMT0,M10.5.0,M3.5.0/1", true},
    {"AAA3BBB,J60/1,J300/25:30:15", true},
    {"AAA3BBB,59,299", true},
    {"AAA", false},
    {"A3", false},
    {"<AAA3", false},
    {"AAA27", false},
    {"AAA3BBB", false},
    {"AAA3BBB,M3.2.0", false},
    {"AAA3BBB,M13.2.0,M11.1.0", false},
    {"AAA3BBB,M0.2.0,M11.1.0", false},
    {"AAA3BBB,M3.6.0,M11.1.0", false},
    {"AAA3BBB,M3.2.7,M11.1.0", false},
    {"AAA3BBB,J0,J366", false},
    {"AAA3BBB,J1/168,J2", false},
    {"AAA3BBB,J1,J2,", false},
    {"AAA3BBB,J1,J2 ", false},
};

START_TEST(reads_rules)
{
    static struct zone z;
    const int64_t from = at("2021-01-01T00:00:00Z"), to = at("2029-01-01T00:00:00Z");
    char data[512];
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        size_t n = make_file(data, rules[i].rule, -10800);
        ck_assert_msg(zone_read((weir_str){data, n}, &z) == rules[i].is_good, "%s", rules[i].rule);
        if (!rules[i].is_good)
            continue;
        use_zone(rules[i].rule);
        for (int64_t s = from; s < to; s += 1800) {
            struct tm tm;
            time_t time = (time_t)s;
            (void)localtime_r(&time, &tm);
            same_offset(&z, rules[i].rule, s, tm.tm_gmtoff);
        }
    }
    size_t n = make_file(data, "AAA-3:30BBB-4:30,J1/0,J365/25", 0); /* summer all the year */
    ck_assert(zone_read((weir_str){data, n}, &z));
    for (int64_t s = from; s < to; s += 900)
        same_offset(&z, "summer", s, 16200);
}
END_TEST

/* Two changes, of these types and at these times, of 32 bits for brevity. */
static bool is_good_with(int first, int second, uint32_t at_first, uint32_t at_second)
{
    static struct zone z;
    char data[512];
    size_t n = make_file(data, "", 0), head = 54 + 44;
    memmove(data + head + 18, data + head, n - head);
    memset(data + head, 0, 18);
    put(data + 54 + 32, 2); /* changes */
    put(data + head + 4, at_first);
    put(data + head + 12, at_second);
    data[head + 16] = (char)first;
    data[head + 17] = (char)second;
    return zone_read((weir_str){data, n + 18}, &z);
}

START_TEST(reads_changes_in_order)
{
    ck_assert(is_good_with(0, 0, 100, 200));
    ck_assert(!is_good_with(0, 0, 200, 200));
    ck_assert(!is_good_with(0, 0, 200, 100));
    ck_assert(!is_good_with(1, 0, 100, 200)); /* there is one type */
    ck_assert(!is_good_with(0, 255, 100, 200));
}
END_TEST

/* A file that was cut is refused, each byte that is another at least does no harm. */
START_TEST(reads_no_ruins)
{
    static struct zone z;
    static char data[ZONE_FILE_MAX], copy[ZONE_FILE_MAX];
    char path[ZONE_PATH_BYTES];
    ck_assert(zone_path("Europe/Berlin", path));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, data, sizeof data);
    ck_assert_int_eq(close(fd), 0);
    size_t n = (size_t)got;
    ck_assert(zone_read((weir_str){data, n}, &z));
    for (size_t len = 0; len < n; len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, data, len);
        ck_assert_msg(!zone_read((weir_str){exact, len}, &z), "%zu of %zu bytes", len, n);
        free(exact);
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(copy, data, n);
        copy[i] = (char)(copy[i] ^ 0xff);
        if (zone_read((weir_str){copy, n}, &z))
            (void)zone_offset(&z, INT64_C(4000000000));
    }
    size_t leap = make_file(copy, "UTC0", 0);
    put(copy + 54 + 28, 1); /* of leap seconds, as in right/ */
    ck_assert(!zone_read((weir_str){copy, leap}, &z));
    ck_assert(!zone_path("/etc/passwd", path));
    ck_assert(!zone_path("../../../etc/passwd", path));
    ck_assert(!zone_path("", path));
    ck_assert(!zone_path("Europe/Ber lin", path));
}
END_TEST

/* ---- minute by minute ---------------------------------------------------------------------------------- */

/* The fields, read over and over by a function that knows no more than one value at a time. */
static int value_of(const char *s, const char *names, int base)
{
    if (isdigit((unsigned char)*s))
        return atoi(s);
    char word[4] = {s[0], s[1], s[2], 0};
    const char *found = names ? strstr(names, word) : NULL;
    if (!found)
        ck_abort_msg("oracle: %s", s);
    return (int)(found - names) / 3 + base;
}

static bool part_has(const char *part, int value, int min, int max, const char *names)
{
    const char *slash = strchr(part, '/'), *dash = strchr(part, '-');
    int step = slash ? atoi(slash + 1) : 1;
    int from = part[0] == '*' ? min : value_of(part, names, min);
    int to = part[0] == '*' ? max : dash ? value_of(dash + 1, names, min) : slash ? max : from;
    for (int i = 0, v = from; i <= max - min; i++, v = v == max ? min : v + 1) {
        if (v == value && i % step == 0)
            return true;
        if (v == to)
            break;
    }
    return false;
}

static bool list_has(const char *field, int value, int min, int max, const char *names)
{
    char copy[64], *rest = copy;
    (void)snprintf(copy, sizeof copy, "%s", field);
    for (char *part; (part = strsep(&rest, ","));)
        if (part_has(part, value, min, max, names))
            return true;
    return false;
}

static int days_in(int year, int month)
{
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month, .tm_mday = 0, .tm_hour = 12};
    (void)timegm(&tm);
    return tm.tm_mday;
}

/* The day of work nearest to a day: of those in the month the one with the least way; Friday before
 * Saturday, Monday after Sunday. */
static int nearest_workday(int day, int length, int weekday_of_first)
{
    for (int away = 0; away < 4; away++)
        for (int sign = -1; sign <= 1; sign += 2) {
            int d = day + sign * away, w = (weekday_of_first + d - 1 + 70) % 7;
            if (d >= 1 && d <= length && w != 0 && w != 6)
                return d;
        }
    return 0;
}

static bool day_of_month_has(const char *f, const struct tm *tm)
{
    int day = tm->tm_mday, length = days_in(tm->tm_year + 1900, tm->tm_mon + 1);
    int first = (tm->tm_wday - (day - 1) % 7 + 7) % 7;
    if (strcmp(f, "L") == 0)
        return day == length;
    if (strcmp(f, "LW") == 0)
        return day == nearest_workday(length, length, first);
    if (f[0] == 'L')
        return day == length - atoi(f + 2);
    if (f[strlen(f) - 1] == 'W')
        return atoi(f) <= length && day == nearest_workday(atoi(f), length, first);
    return list_has(f, day, 1, 31, NULL);
}

static bool day_of_week_has(const char *f, const struct tm *tm)
{
    static const char names[] = "SUNMONTUEWEDTHUFRISAT";
    int weekday = tm->tm_wday + 1, day = tm->tm_mday;
    int length = days_in(tm->tm_year + 1900, tm->tm_mon + 1);
    if (strcmp(f, "L") == 0)
        return weekday == 7;
    if (strchr(f, '#'))
        return weekday == value_of(f, names, 1) && (day - 1) / 7 + 1 == atoi(strchr(f, '#') + 1);
    if (f[strlen(f) - 1] == 'L')
        return weekday == value_of(f, names, 1) && day + 7 > length;
    return list_has(f, weekday, 1, 7, names);
}

struct oracle {
    const char *text;
    char fields[6][32];
    bool minutes[60], hours[24], is_today;
    struct expression e;
    int64_t expected;
    bool is_over;
    size_t runs;
};

static bool day_has(const struct oracle *o, const struct tm *tm)
{
    return (o->fields[2][0] == '?' ? day_of_week_has(o->fields[4], tm)
                                   : day_of_month_has(o->fields[2], tm)) &&
           list_has(o->fields[3], tm->tm_mon + 1, 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC") &&
           list_has(o->fields[5], tm->tm_year + 1900, 1970, 2199, NULL);
}

static void oracle_init(struct oracle *o, const char *text, const struct zone *z, int64_t from)
{
    struct expression_error why = {.at = 0};
    *o = (struct oracle){.text = text};
    ck_assert_int_eq(sscanf(text, "cron(%31s %31s %31s %31s %31s %31[^)])", o->fields[0],
                            o->fields[1], o->fields[2], o->fields[3], o->fields[4], o->fields[5]),
                     6);
    ck_assert_msg(expression_parse(weir_text(text), &o->e, &why), "%s: %s", text, why.text);
    for (int i = 0; i < 60; i++)
        o->minutes[i] = list_has(o->fields[0], i, 0, 59, NULL);
    for (int i = 0; i < 24; i++)
        o->hours[i] = list_has(o->fields[1], i, 0, 23, NULL);
    o->is_over = !expression_next(&o->e, z, 0, from - 1, &o->expected);
}

static void oracle_minute(struct oracle *o, const struct zone *z, const char *name, int64_t now)
{
    if (o->is_over || o->expected != now)
        ck_abort_msg("%s in %s: %lld is left out for %lld", o->text, name, (long long)now,
                     o->is_over ? 0 : (long long)o->expected);
    o->is_over = !expression_next(&o->e, z, 0, now, &o->expected);
    o->runs++;
}

static const char *const crons[] = {
    "cron(0 0 * * ? *)",
    "cron(30 2 * * ? *)",
    "cron(0/7 1-3 * * ? *)",
    "cron(59 23 L * ? *)",
    "cron(0 12 L-3 * ? *)",
    "cron(15 2 LW * ? *)",
    "cron(0 9 1W * ? *)",
    "cron(0 9 15W * ? *)",
    "cron(0 9 31W * ? *)",
    "cron(45 1 ? * SUN *)",
    "cron(45 1 ? * 1#2 *)",
    "cron(45 1 ? * SUN#1 *)",
    "cron(10 2 ? * 1L *)",
    "cron(10 2 ? * SUN#5 *)",
    "cron(0 8 ? * L *)",
    "cron(0 8-18/2 ? * MON-FRI *)",
    "cron(0 22-4/3 ? * FRI-MON *)",
    "cron(50-10/5 0 1,15 * ? *)",
    "cron(0 6 1/9 NOV-FEB ? *)",
    "cron(0 6 28-3 */2 ? *)",
    "cron(5,10,40/9 3 29 2 ? *)",
    "cron(0 0 13 * ? 2016/3)",
    "cron(0 0 ? JUN,SEP 2,4,6 2017-2023)",
    "cron(*/20 * ? 3,4,10,11 * *)",
};
enum { CRONS = sizeof crons / sizeof *crons };

static void walk(const char *name, const char *from_text, int years)
{
    static struct zone z;
    static struct oracle all[CRONS];
    int64_t from = at(from_text), to = from + years * INT64_C(31557600);
    int64_t shown = 0; /* the latest minute that the zone's clock has shown, as if it were UTC */
    int day = -1, month = -1;
    ck_assert(read_zone(name, &z));
    use_zone(name);
    for (size_t i = 0; i < CRONS; i++)
        oracle_init(&all[i], crons[i], &z, from);
    for (int64_t now = from; now < to; now += 60) {
        static struct tm tm;
        time_t time = (time_t)now;
        if (now % 900 == 0) /* the clocks of these zones change at a quarter */
            (void)localtime_r(&time, &tm);
        int minute = tm.tm_min + (int)(now % 900 / 60);
        int64_t local = now + tm.tm_gmtoff;
        if (tm.tm_mday != day || tm.tm_mon != month)
            for (size_t i = 0; i < CRONS; i++)
                all[i].is_today = day_has(&all[i], &tm);
        day = tm.tm_mday;
        month = tm.tm_mon;
        if (local <= shown)
            continue; /* it comes a second time */
        shown = local;
        for (size_t i = 0; i < CRONS; i++)
            if (all[i].is_today && all[i].minutes[minute] && all[i].hours[tm.tm_hour])
                oracle_minute(&all[i], &z, name, now);
    }
    for (size_t i = 0; i < CRONS; i++) {
        ck_assert_msg(all[i].is_over || all[i].expected >= to, "%s in %s: %lld is too much",
                      crons[i], name, (long long)all[i].expected);
        ck_assert_msg(years < 8 || all[i].runs > 2, "%s in %s ran %zu times", crons[i], name,
                      all[i].runs);
    }
}

START_TEST(walks_berlin)
{
    walk("Europe/Berlin", "2015-01-01T00:00:00Z", YEARS_OF_MINUTES);
}
END_TEST

START_TEST(walks_new_york)
{
    walk("America/New_York", "2014-06-01T00:00:00Z", YEARS_OF_MINUTES);
    walk("America/New_York", "2036-01-01T00:00:00Z", 3); /* from the table to the rule */
}
END_TEST

START_TEST(walks_lord_howe)
{
    walk("Australia/Lord_Howe", "2015-01-01T00:00:00Z", YEARS_OF_MINUTES);
}
END_TEST

START_TEST(walks_kathmandu)
{
    walk("Asia/Kathmandu", "2015-01-01T00:00:00Z", YEARS_OF_MINUTES);
}
END_TEST

START_TEST(walks_odd_clocks)
{
    walk("Pacific/Apia", "2010-06-01T00:00:00Z", 3);      /* a day that never was */
    walk("Africa/Casablanca", "2018-01-01T00:00:00Z", 3); /* summer time but for Ramadan */
    walk("America/Caracas", "2015-06-01T00:00:00Z", 2);   /* half an hour for good */
    walk("Antarctica/Troll", "2020-01-01T00:00:00Z", 2);  /* two hours */
    walk("UTC", "2099-01-01T00:00:00Z", 2);
}
END_TEST

START_TEST(has_a_calendar)
{
    struct date d = {1600, 1, 1};
    for (int64_t days = calendar_days(d); d.year < 2500; days++) {
        time_t time = (time_t)(days * DAY_S);
        struct tm tm;
        (void)gmtime_r(&time, &tm);
        d = calendar_date(days);
        if (d.year != tm.tm_year + 1900 || d.month != tm.tm_mon + 1 || d.day != tm.tm_mday ||
            calendar_days(d) != days || calendar_weekday(days) != tm.tm_wday)
            ck_abort_msg("day %lld", (long long)days);
    }
}
END_TEST

int main(void)
{
    return run_tests("schedule-times",
                     (const TTest *const[]){refuses_with_a_place, runs_when_it_should, reads_times,
                                            knows_all_zones, changes_to_the_second, reads_rules,
                                            reads_changes_in_order, reads_no_ruins, walks_berlin,
                                            walks_new_york, walks_lord_howe, walks_kathmandu,
                                            walks_odd_clocks, has_a_calendar, NULL});
}
