/* schedule/runs.c: the schedules of the pipeline file, when each runs, and which runs are left out. */
#include "schedule.h"

#include <stdarg.h>
#include <stdio.h>

/* FNV-1a with a finish; what is hashed is short. */
static uint64_t hash_more(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ hash >> 32;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return hash_more(hash, text ? text : "", text ? strlen(text) + 1 : 0);
}

/* ---- what the file says ------------------------------------------------------------------------- */

size_t runs_all(const struct schedule *s)
{
    return s->expression ? 1 : s->schedules.count;
}

static struct item item_of(const struct schedule *s, size_t i)
{
    const struct item *items = s->schedules.items;
    struct item item = s->expression ? (struct item){.expression = s->expression,
                                                     .start = s->start,
                                                     .end = s->end,
                                                     .flexible_window = s->flexible_window,
                                                     .input = s->input,
                                                     .enabled = true}
                                     : items[i];
    item.timezone = item.timezone ? item.timezone : s->timezone;
    item.source = item.source ? item.source : s->source;
    item.type = item.type ? item.type : s->type;
    return item;
}

static bool fail(struct trouble *why, const void *member, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(struct trouble *why, const void *member, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    *why = (struct trouble){.member = member};
    (void)vsnprintf(why->error.text, sizeof why->error.text, fmt, args);
    va_end(args);
    return false;
}

struct members { /* where the options of one are written */
    const void *expression, *timezone, *start, *end;
};

static struct members members_of(const struct schedule *s, size_t i)
{
    const struct item *item = s->expression ? NULL : &((const struct item *)s->schedules.items)[i];
    if (!item)
        return (struct members){&s->expression, &s->timezone, &s->start, &s->end};
    return (struct members){&item->expression, item->timezone ? &item->timezone : &s->timezone,
                            &item->start, &item->end};
}

static bool read_bounds(struct run *r, const struct members *at, struct trouble *why)
{
    const struct item *item = &r->item;
    r->has_start = item->start != NULL;
    r->has_end = item->end != NULL;
    why->member = at->start;
    if (item->start &&
        !expression_time("start", weir_text(item->start), r->zone, &r->start_s, &why->error))
        return false;
    why->member = at->end;
    if (item->end && !expression_time("end", weir_text(item->end), r->zone, &r->end_s, &why->error))
        return false;
    return !item->start || !item->end || r->start_s < r->end_s ||
           fail(why, at->end, "end is not after start: there is no time between them");
}

static weir_str resources_of(const struct schedule *s, const struct zones *memory, const char *name)
{
    const weir_pipeline *p = s->pipeline;
    size_t size = strlen(p->region) + strlen(p->account) + strlen(name) + 40;
    char *text = memory->take(memory->host, size);
    int n = snprintf(text, size, "[\"arn:aws:events:%s:%s:rule/%s\"]", p->region, p->account, name);
    return (weir_str){text, n < 0 ? 0 : (size_t)n};
}

bool runs_read(const struct schedule *s, size_t i, struct zones *zones, struct run *r,
               struct trouble *why)
{
    const struct members at = members_of(s, i);
    const char *reason = NULL;
    int64_t utc_s = 0;
    *why = (struct trouble){.member = at.expression};
    *r = (struct run){.item = item_of(s, i), .port = s->expression ? 0 : (uint32_t)i + 1};
    r->name = s->expression ? zones->host->instance : s->schedules.names[i];
    if (!expression_parse(weir_text(r->item.expression), &r->expression, &why->error))
        return false;
    r->zone = zone_find(zones, r->item.timezone, &reason);
    if (!r->zone)
        return fail(why, at.timezone, "unknown time zone: %s", reason);
    if (r->expression.kind == EXPRESSION_AT && !zone_utc(r->zone, r->expression.at_s, &utc_s)) {
        (void)fail(why, at.expression, "at: the clock of %s skips this time", r->item.timezone);
        why->error.at = 3;
        return false;
    }
    if (!read_bounds(r, &at, why))
        return false;
    r->meaning = hash_text(UINT64_C(14695981039346656037), r->item.expression);
    r->meaning = hash_text(r->meaning, r->item.timezone);
    if (r->expression.kind == EXPRESSION_RATE)
        r->meaning = hash_text(r->meaning, r->item.start);
    r->resources = resources_of(s, zones, r->name);
    return true;
}

bool runs_prepare(struct schedule *s, struct zones *zones, int64_t now_s, struct trouble *why)
{
    const weir_host *h = zones->host;
    size_t all = runs_all(s);
    s->runs = zones->take(h, (all + 1) * sizeof *s->runs);
    s->count = s->turn = 0;
    for (size_t i = 0; i < all; i++) {
        struct run *r = &s->runs[s->count];
        if (!runs_read(s, i, zones, r, why))
            return false;
        if (!r->item.enabled)
            continue;
        r->anchor_s = r->has_start ? r->start_s : now_s;
        r->last_s = r->expression.kind == EXPRESSION_RATE ? now_s - 1 : now_s;
        s->count++;
    }
    if (!position_place(s, h))
        return fail(why, s->position ? &s->position : NULL, "the path of the position is too long");
    position_load(s, h);
    for (size_t i = 0; i < s->count; i++)
        runs_advance(&s->runs[i]);
    return true;
}

/* ---- when ----------------------------------------------------------------------------------------- */

bool runs_next(const struct run *r, int64_t after_s, int64_t *next_s)
{
    if (r->has_start && after_s < r->start_s)
        after_s = r->start_s - 1;
    return expression_next(&r->expression, r->zone, r->anchor_s, after_s, next_s) &&
           (!r->has_end || *next_s < r->end_s);
}

void runs_advance(struct run *r)
{
    r->has_next = runs_next(r, r->last_s, &r->next_s);
}

static uint64_t hash_of(const struct run *r, int64_t run_s)
{
    return hash_more(hash_text(r->meaning, r->name), &run_s, sizeof run_s);
}

int64_t runs_due_ns(const struct run *r, int64_t run_s)
{
    int64_t window_ns = r->item.flexible_window.ns;
    int64_t late_ns = window_ns ? (int64_t)(hash_of(r, run_s) % (uint64_t)window_ns) : 0;
    return run_s * SECOND_NS + late_ns;
}

void runs_id(const struct run *r, const char *stage, char text[40])
{
    uint64_t ms = (uint64_t)r->next_s * 1000;
    uint64_t a = hash_text(hash_of(r, r->next_s), stage), b = hash_text(a, "id");
    (void)snprintf(text, 40, "%08llx-%04llx-7%03llx-%04llx-%012llx",
                   (unsigned long long)(ms >> 16 & UINT32_MAX), (unsigned long long)(ms & 0xffff),
                   (unsigned long long)(a & 0xfff),
                   (unsigned long long)(0x8000 | (b >> 48 & 0x3fff)),
                   (unsigned long long)(b & UINT64_C(0xffffffffffff)));
}

/* ---- what was missed ---------------------------------------------------------------------------- */

static size_t count_runs(const struct run *r, int64_t after_s, int64_t to_s, size_t most)
{
    size_t n = 0;
    while (n < most && runs_next(r, after_s, &after_s) && after_s <= to_s)
        n++;
    return n;
}

/* A time from from_s on after which there are no more than `keep` runs up to to_s. Looks back as far as
 * it has to, and not through years of minutes. */
static int64_t leave_newest(const struct run *r, int64_t from_s, int64_t to_s, size_t keep)
{
    int64_t after_s = to_s;
    size_t n = 0;
    for (int64_t back = 3600; keep && n < keep && after_s > from_s; back *= 2) {
        after_s = to_s - back > from_s ? to_s - back : from_s;
        n = count_runs(r, after_s, to_s, SIZE_MAX);
    }
    for (; n > keep; n--)
        (void)runs_next(r, after_s, &after_s);
    return after_s;
}

size_t runs_pass_over(const struct schedule *s, struct run *r, int64_t now_s)
{
    int64_t to_s = now_s - (r->item.flexible_window.ns + SECOND_NS - 1) / SECOND_NS;
    int64_t oldest_s = to_s - s->max_missed_age.ns / SECOND_NS - 1;
    size_t keep = s->missed == MISSED_ALL ? (size_t)s->max_missed : s->missed == MISSED_ONCE;
    if (s->missed == MISSED_SKIP)
        to_s -= GRACE_S + 1;
    if (!r->has_next || r->next_s > to_s)
        return 0;
    int64_t from_s = r->last_s;
    if (s->missed != MISSED_SKIP && oldest_s > from_s)
        from_s = oldest_s;
    int64_t last_s = leave_newest(r, from_s, to_s, keep);
    if (last_s < r->next_s)
        return 0;
    size_t n = count_runs(r, r->last_s, last_s, RUNS_COUNT_MAX);
    r->last_s = last_s;
    runs_advance(r);
    return n;
}
