/* schedule/zone.h: a time zone of the system's database. */
#pragma once
#include <weir/plugin.h>

#include "calendar.h"

enum { ZONE_CHANGES_MAX = 1024, ZONE_FILE_MAX = 65536, ZONE_NAME_MAX = 64, ZONE_PATH_BYTES = 4096 };

struct zone_day { /* of a rule: when in the year the clock changes */
    enum { ZONE_JULIAN, ZONE_ORDINAL, ZONE_MONTH } kind; /* Jn, n, Mm.w.d */
    int month, week, day;
    int64_t time_s;
};

struct zone {
    struct zone *next;
    char name[ZONE_NAME_MAX + 1];
    size_t count; /* changes that are known one by one */
    int64_t at_s[ZONE_CHANGES_MAX];
    int32_t offset_s[ZONE_CHANGES_MAX]; /* from then on */
    int32_t before_s;                   /* the offset before the first */
    bool has_rule, has_summer;          /* what holds after the last */
    int32_t standard_s, summer_s;
    struct zone_day begins, ends;
};

/* The content of a TZif file (RFC 8536). False: it is none that can be used. */
bool zone_read(weir_str file, struct zone *z);
/* The file of a zone's name; false: it cannot be the name of one. */
bool zone_path(const char *name, char path[ZONE_PATH_BYTES]);
struct zones { /* those that were read, each once */
    const weir_host *host;
    void *(*take)(const weir_host *h, size_t n); /* memory for them: keep or scratch */
    struct zone *first;
};
/* By its IANA name; "UTC" needs no file. NULL, and why in `why`. */
const struct zone *zone_find(struct zones *all, const char *name, const char **why);
int32_t zone_offset(const struct zone *z, int64_t utc_s);
/* When the zone's clock first shows this time; false: it skips it. */
bool zone_utc(const struct zone *z, int64_t local_s, int64_t *utc_s);
