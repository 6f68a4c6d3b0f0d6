/* schedule/commands.c: weir schedule next and list: when an expression, or each of the file, runs next. */
#include <stdio.h>
#include <stdlib.h>

#include "schedule.h"

enum { COUNT_USUAL = 5, COUNT_MAX = 1000, FLAG_JSON = 1 };
enum { VALUE_COUNT, VALUE_FROM, VALUE_TIMEZONE };
enum { CODE_GOOD = 0, CODE_USAGE = 64, CODE_CONFIG = 78 };

struct asked {
    const char *command;
    const char *stage; /* NULL: of no stage */
    int count;
    bool is_json, has_from;
    int64_t from_s;
};

static int wrong(const struct asked *a, const char *what, const char *text,
                 const struct expression_error *why)
{
    (void)fprintf(stderr, "weir schedule %s: %s\n  %s%s\n  %*s^\n", a->command, why->text, what,
                  text, (int)(strlen(what) + why->at), "");
    return CODE_USAGE;
}

static int read_count(struct asked *a, const char *text)
{
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : COUNT_USUAL;
    a->count = (int)n;
    if (n >= 1 && n <= COUNT_MAX && (!text || !*end))
        return CODE_GOOD;
    (void)fprintf(stderr, "weir schedule %s: --count %s: expected 1 to %d\n", a->command, text,
                  COUNT_MAX);
    return CODE_USAGE;
}

static int read_from(struct asked *a, const weir_host *h, const char *text, const struct zone *z)
{
    struct expression_error why = {.at = 0};
    a->from_s = calendar_floor(h->now(h), SECOND_NS);
    if (!text)
        return CODE_GOOD;
    a->has_from = true;
    return expression_time("--from", weir_text(text), z, &a->from_s, &why)
               ? CODE_GOOD
               : wrong(a, "--from ", text, &why);
}

/* ---- printing: what is printed was parsed, and holds no character that JSON escapes ---------------- */

static void print_json(const struct asked *a, const struct run *r, const char *local,
                       const char *utc, const char *due)
{
    (void)putchar('{');
    if (a->stage)
        (void)printf("\"stage\":\"%s\",\"schedule\":\"%s\",", a->stage, r->name);
    (void)printf("\"expression\":\"%s\",\"timezone\":\"%s\",\"local\":\"%s\",\"time\":\"%s\"",
                 r->item.expression, r->item.timezone, local, utc);
    if (*due)
        (void)printf(",\"due\":\"%s\"", due);
    (void)printf("}\n");
}

static void print_run(const struct asked *a, const struct run *r, int64_t run_s)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    int32_t offset = zone_offset(r->zone, run_s);
    char local[CALENDAR_TEXT_BYTES], utc[CALENDAR_TEXT_BYTES], due[CALENDAR_TEXT_BYTES] = "";
    calendar_format(run_s, offset, local);
    calendar_format(run_s, 0, utc);
    if (r->item.flexible_window.ns)
        calendar_format(runs_due_ns(r, run_s) / SECOND_NS, 0, due);
    if (a->is_json)
        print_json(a, r, local, utc, due);
    else
        (void)printf("  %s %-25s  %s%s%s\n",
                     days[calendar_weekday(calendar_floor(run_s + offset, DAY_S))], local, utc,
                     *due ? "  due " : "", due);
}

static void print_schedule(const struct asked *a, const struct run *r)
{
    int64_t run_s = a->from_s - 1;
    if (a->stage && !a->has_from && r->last_s > run_s)
        run_s = r->last_s;
    for (int i = 0; i < a->count; i++) {
        if (!runs_next(r, run_s, &run_s)) {
            if (!a->is_json)
                (void)printf(i ? "  no more\n" : "  never\n");
            return;
        }
        print_run(a, r, run_s);
    }
}

/* ---- next ----------------------------------------------------------------------------------------- */

static int next(void *self, const weir_host *h, const weir_given *given)
{
    const struct schedule *s = self;
    struct asked a = {.command = "next", .is_json = given->flags & FLAG_JSON};
    struct run r = {.item.expression = given->argument};
    struct expression_error why = {.at = 0};
    struct zones zones = {h, h->scratch, NULL};
    const char *reason = NULL, *zone = given->values[VALUE_TIMEZONE];
    r.item.timezone = zone ? zone : s->timezone;
    if (!expression_parse(weir_text(given->argument), &r.expression, &why))
        return wrong(&a, "", given->argument, &why);
    r.zone = zone_find(&zones, r.item.timezone, &reason);
    if (!r.zone) {
        (void)fprintf(stderr, "weir schedule next: --timezone %s: %s\n", r.item.timezone, reason);
        return CODE_USAGE;
    }
    int code = read_count(&a, given->values[VALUE_COUNT]);
    code = code ? code : read_from(&a, h, given->values[VALUE_FROM], r.zone);
    if (code)
        return code;
    r.anchor_s = a.from_s;
    print_schedule(&a, &r);
    return CODE_GOOD;
}

/* ---- list ----------------------------------------------------------------------------------------- */

static void print_head(const struct asked *a, const struct run *r)
{
    (void)printf("%s%s%s  %s  %s\n", a->stage, r->port ? "." : "", r->port ? r->name : "",
                 r->item.expression, r->item.timezone);
}

static void list_one(const struct asked *a, const struct run *r)
{
    if (!a->is_json)
        print_head(a, r);
    print_schedule(a, r);
}

static int list(void *self, const weir_host *h, const weir_given *given)
{
    static const struct zone utc = {.name = "UTC"};
    struct schedule *s = self;
    struct asked a = {.command = "list", .stage = h->instance, .is_json = given->flags & FLAG_JSON};
    struct zones zones = {h, h->scratch, NULL};
    struct trouble why;
    int code = read_count(&a, given->values[VALUE_COUNT]);
    code = code ? code : read_from(&a, h, given->values[VALUE_FROM], &utc);
    if (code)
        return code;
    if (!runs_prepare(s, &zones, calendar_floor(h->now(h), SECOND_NS), &why)) {
        (void)fprintf(stderr, "weir schedule list: %s: %s\n", h->instance, why.error.text);
        return CODE_CONFIG;
    }
    for (size_t i = 0; i < s->count; i++)
        list_one(&a, &s->runs[i]);
    return CODE_GOOD;
}

/* ---- the tables ----------------------------------------------------------------------------------- */

static const char *const flags[] = {"json=a JSON object a line", NULL};
static const char *const next_values[] = {
    "count=N=how many times, 5 if absent",
    "from=TIME=from then on: 2030-01-31T12:00:00, and Z or +01:00 may follow; now if absent",
    "timezone=NAME=whose clock cron and at mean, UTC if absent", NULL};
static const char *const list_values[] = {
    "count=N=how many times of each, 5 if absent",
    "from=TIME=from then on: 2030-01-31T12:00:00Z, or +01:00 behind it; now if absent", NULL};

static const weir_command command_next = {
    .size = sizeof(weir_command),
    .name = "schedule",
    .action = "next",
    .summary = "When an expression runs next, on its own clock and in UTC",
    .details = "A rate is counted from --from. What is wrong in an expression is shown with its\n"
               "place and what to write.\n\n"
               "examples:\n"
               "  weir schedule next 'cron(0 9 ? * MON-FRI *)' --timezone Europe/Berlin\n"
               "  weir schedule next 'cron(0 0 L * ? *)' --count 12 --from 2030-01-01T00:00:00Z",
    .flags = flags,
    .argument = "EXPRESSION",
    .values = next_values,
    .run_given = next,
};
static const weir_command command_list = {
    .size = sizeof(weir_command),
    .name = "schedule",
    .action = "list",
    .summary = "When each schedule of a pipeline file runs next",
    .details = "Rates are counted from when they began, as the runner keeps it in the data\n"
               "directory; one that never ran begins now. `due` is where a run comes in its\n"
               "flexible window.\n\n"
               "examples:\n"
               "  weir schedule list\n"
               "  weir schedule list --count 20 --json pipeline.yaml",
    .flags = flags,
    .values = list_values,
    .run_given = list,
};
const weir_command *const schedule_commands[] = {&command_next, &command_list, NULL};
