/* schedule/zone.c: reads the system's time zone files and tells a zone's offset at any time. */
#include "zone.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_BYTES = 44, NAME_CHARS_MIN = 3 };
#define OFFSET_MAX_S INT64_C(93600) /* 26 hours */
#define ZONE_FOLDER  "/usr/share/zoneinfo"

/* ---- the rule at a file's end: as POSIX writes TZ ------------------------------------------------ */

struct reader {
    const char *at, *end;
};

static bool take_char(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool take_number(struct reader *r, int max, int *n)
{
    const char *from = r->at;
    for (*n = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9' && *n <= max; r->at++)
        *n = *n * 10 + (*r->at - '0');
    return r->at > from && *n <= max;
}

static bool take_name(struct reader *r)
{
    bool is_quoted = take_char(r, '<');
    const char *from = r->at;
    while (r->at < r->end && *r->at != '>' &&
           (is_quoted || (*r->at >= 'A' && *r->at <= 'Z') || (*r->at >= 'a' && *r->at <= 'z')))
        r->at++;
    return r->at - from >= NAME_CHARS_MIN && (!is_quoted || take_char(r, '>'));
}

static bool take_time(struct reader *r, int64_t *seconds)
{
    int hours = 0, minutes = 0, rest = 0;
    bool is_negative = take_char(r, '-');
    if (!is_negative)
        (void)take_char(r, '+');
    if (!take_number(r, 167, &hours) || (take_char(r, ':') && !take_number(r, 59, &minutes)) ||
        (take_char(r, ':') && !take_number(r, 59, &rest)))
        return false;
    *seconds = INT64_C(3600) * hours + INT64_C(60) * minutes + rest;
    *seconds = is_negative ? -*seconds : *seconds;
    return true;
}

static bool take_day(struct reader *r, struct zone_day *d)
{
    *d = (struct zone_day){.kind = ZONE_ORDINAL, .time_s = 7200};
    if (!take_char(r, ','))
        return false;
    if (take_char(r, 'M')) {
        d->kind = ZONE_MONTH;
        if (!take_number(r, 12, &d->month) || !take_char(r, '.') || !take_number(r, 5, &d->week) ||
            !take_char(r, '.') || !take_number(r, 6, &d->day) || !d->month || !d->week)
            return false;
    } else {
        d->kind = take_char(r, 'J') ? ZONE_JULIAN : ZONE_ORDINAL;
        if (!take_number(r, 365, &d->day) || (d->kind == ZONE_JULIAN && !d->day))
            return false;
    }
    return !take_char(r, '/') || take_time(r, &d->time_s);
}

static bool read_rule(struct reader r, struct zone *z)
{
    int64_t west = 0;
    if (r.at == r.end)
        return true; /* the last change holds on */
    if (!take_name(&r) || !take_time(&r, &west) || west < -OFFSET_MAX_S || west > OFFSET_MAX_S)
        return false;
    z->has_rule = true;
    z->standard_s = (int32_t)-west;
    if (r.at == r.end)
        return true;
    int64_t summer = west - 3600;
    if (!take_name(&r) || (r.at < r.end && *r.at != ',' && !take_time(&r, &summer)) ||
        summer < -OFFSET_MAX_S || summer > OFFSET_MAX_S)
        return false;
    z->has_summer = true;
    z->summer_s = (int32_t)-summer;
    return take_day(&r, &z->begins) && take_day(&r, &z->ends) && r.at == r.end;
}

static int64_t change_of(const struct zone_day *d, int year)
{
    int64_t first = calendar_days((struct date){year, 1, 1});
    if (d->kind == ZONE_ORDINAL)
        return (first + d->day) * DAY_S + d->time_s;
    if (d->kind == ZONE_JULIAN)
        return (first + d->day - 1 + (calendar_is_leap(year) && d->day > 59)) * DAY_S + d->time_s;
    first = calendar_days((struct date){year, d->month, 1});
    int day = (d->day - calendar_weekday(first) + 7) % 7 + (d->week - 1) * 7;
    while (day >= calendar_month_days(year, d->month))
        day -= 7;
    return (first + day) * DAY_S + d->time_s;
}

static int32_t rule_offset(const struct zone *z, int64_t utc_s)
{
    if (!z->has_summer)
        return z->standard_s;
    int year = calendar_date(calendar_floor(utc_s + z->standard_s, DAY_S)).year;
    int64_t begins = change_of(&z->begins, year) - z->standard_s;
    int64_t ends = change_of(&z->ends, year) - z->summer_s;
    bool is_summer = begins < ends ? utc_s >= begins && utc_s < ends
                                   : utc_s >= begins || utc_s < ends; /* of the south */
    return is_summer ? z->summer_s : z->standard_s;
}

/* ---- the file ----------------------------------------------------------------------------------- */

static int64_t number_at(const char *p, size_t bytes)
{
    uint64_t n = bytes == 4 && (unsigned char)*p >= 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | (unsigned char)p[i];
    int64_t value = 0;
    memcpy(&value, &n, sizeof value);
    return value;
}

struct counts {
    size_t utc, standard, leaps, changes, types, chars;
};

static bool read_header(weir_str file, struct counts *c)
{
    size_t *const all[] = {&c->utc, &c->standard, &c->leaps, &c->changes, &c->types, &c->chars};
    if (file.len < HEADER_BYTES || memcmp(file.ptr, "TZif", 4) != 0 || file.ptr[4] < '2')
        return false;
    for (size_t i = 0; i < 6; i++) {
        int64_t n = number_at(file.ptr + 20 + 4 * i, 4);
        if (n < 0 || n > ZONE_FILE_MAX)
            return false;
        *all[i] = (size_t)n;
    }
    return c->types > 0;
}

static size_t block_bytes(const struct counts *c, size_t time_bytes)
{
    return c->changes * (time_bytes + 1) + c->types * 6 + c->chars + c->leaps * (time_bytes + 4) +
           c->standard + c->utc;
}

static bool read_changes(const char *times, const struct counts *c, struct zone *z)
{
    const char *kinds = times + c->changes * 8, *types = kinds + c->changes;
    z->before_s = (int32_t)number_at(types, 4);
    z->count = c->changes;
    for (size_t i = 0; i < c->types; i++) {
        int64_t offset = number_at(types + 6 * i, 4);
        if (offset < -OFFSET_MAX_S || offset > OFFSET_MAX_S)
            return false;
    }
    for (size_t i = 0; i < c->changes; i++) {
        size_t kind = (unsigned char)kinds[i];
        z->at_s[i] = number_at(times + 8 * i, 8);
        if (kind >= c->types || (i && z->at_s[i] <= z->at_s[i - 1]))
            return false;
        z->offset_s[i] = (int32_t)number_at(types + 6 * kind, 4);
    }
    return true;
}

/* First comes a block for old readers, with times of 32 bits; then the same with 64. */
bool zone_read(weir_str file, struct zone *z)
{
    struct counts c;
    *z = (struct zone){.count = 0};
    for (int block = 0; block < 2; block++) {
        size_t size = block ? 8 : 4;
        if (!read_header(file, &c) || block_bytes(&c, size) > file.len - HEADER_BYTES)
            return false;
        if (block)
            break;
        file.ptr += HEADER_BYTES + block_bytes(&c, size);
        file.len -= HEADER_BYTES + block_bytes(&c, size);
    }
    if (c.leaps || c.changes > ZONE_CHANGES_MAX || !read_changes(file.ptr + HEADER_BYTES, &c, z))
        return false;
    const char *rule = file.ptr + HEADER_BYTES + block_bytes(&c, 8), *end = file.ptr + file.len;
    if (rule == end || *rule++ != '\n')
        return false;
    const char *stops = memchr(rule, '\n', (size_t)(end - rule));
    return stops && read_rule((struct reader){rule, stops}, z);
}

static bool is_name(const char *name)
{
    size_t n = strlen(name);
    return n && n <= ZONE_NAME_MAX && name[0] != '/' && !strstr(name, "..") &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/.") == n;
}

bool zone_path(const char *name, char path[ZONE_PATH_BYTES])
{
    const char *folder = getenv("TZDIR"); /* NOLINT(concurrency-mt-unsafe): nobody sets it */
    if (!is_name(name))
        return false;
    int n =
        snprintf(path, ZONE_PATH_BYTES, "%s/%s", folder && *folder ? folder : ZONE_FOLDER, name);
    return n > 0 && n < ZONE_PATH_BYTES;
}

/* How many bytes; negative: there is no such file. */
static ssize_t read_file(const char *path, char *data)
{
    struct stat is;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -1;
    ssize_t got = fstat(fd, &is) == 0 && S_ISREG(is.st_mode) && is.st_size <= ZONE_FILE_MAX
                      ? read(fd, data, ZONE_FILE_MAX)
                      : -1;
    (void)close(fd);
    return got;
}

static bool load(const weir_host *h, const char *name, struct zone *z, const char **why)
{
    char path[ZONE_PATH_BYTES];
    *why = "expected a name of the time zone database, such as Europe/Zurich";
    if (!zone_path(name, path))
        return false;
    char *data = h->scratch(h, ZONE_FILE_MAX);
    ssize_t got = read_file(path, data);
    if (got < 0) {
        if (zone_path("Etc/UTC", path) && access(path, F_OK) != 0)
            *why = "the system has no time zone database: install tzdata, or point TZDIR at one";
        return false;
    }
    *why = "its file in the time zone database cannot be used";
    return zone_read((weir_str){data, (size_t)got}, z);
}

const struct zone *zone_find(struct zones *all, const char *name, const char **why)
{
    for (const struct zone *z = all->first; z; z = z->next)
        if (strcmp(z->name, name) == 0)
            return z;
    struct zone *z = all->take(all->host, sizeof *z);
    *z = (struct zone){.count = 0};
    if (strcmp(name, "UTC") != 0 && !load(all->host, name, z, why))
        return NULL;
    (void)snprintf(z->name, sizeof z->name, "%s", name);
    z->next = all->first;
    all->first = z;
    return z;
}

/* ---- between UTC and the zone's clock ----------------------------------------------------------- */

int32_t zone_offset(const struct zone *z, int64_t utc_s)
{
    if (!z->count || utc_s < z->at_s[0])
        return z->count || !z->has_rule ? z->before_s : rule_offset(z, utc_s);
    if (z->has_rule && utc_s >= z->at_s[z->count - 1])
        return rule_offset(z, utc_s);
    size_t low = 0, high = z->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (z->at_s[middle] <= utc_s)
            low = middle;
        else
            high = middle;
    }
    return z->offset_s[low];
}

/* No zone is a day away from UTC, so the offsets a day around are the ones that can be meant. */
bool zone_utc(const struct zone *z, int64_t local_s, int64_t *utc_s)
{
    int64_t before = local_s - zone_offset(z, local_s - DAY_S);
    int64_t after = local_s - zone_offset(z, local_s + DAY_S);
    bool is_before = before + zone_offset(z, before) == local_s;
    bool is_after = after + zone_offset(z, after) == local_s;
    *utc_s = is_before && (!is_after || before <= after) ? before : after;
    return is_before || is_after;
}
