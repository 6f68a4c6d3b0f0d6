/* schedule/schedule.c: a source that brings an event whenever a schedule says so. */
#include "schedule.h"

#include <stdio.h>

enum { LOOK = 0, KEY_BYTES = 128, KEYS_EACH = 100, KEYS_LEAST = 10000 };
#define NAP_NS   (10 * SECOND_NS) /* the wall clock may be set: it is looked at this often */
#define AGAIN_NS SECOND_NS        /* between two attempts, and two writes of the position */
#define BACK_NS \
    (31 * DAY_S * SECOND_NS) /* a clock may be set back so far, and no run comes twice */

/* ---- the pipeline file ---------------------------------------------------------------------------- */

static weir_status refuse(const weir_host *h, const struct trouble *why)
{
    return why->member ? h->refuse(h, why->member, why->error.at, "%s", why->error.text)
                       : h->fail(h, WEIR_E_CONFIG, 0, "%s", why->error.text);
}

static weir_status check_shape(const struct schedule *s, const weir_host *h)
{
    static const char elsewhere[] = "goes with expression; here, give it to a schedule";
    if (s->expression && s->schedules.count)
        return h->refuse(h, &s->expression, 0,
                         "either expression or schedules, not both; leave one out");
    if (!s->expression && !s->schedules.count)
        return h->fail(h, WEIR_E_CONFIG, 0,
                       "nothing to run: give expression, or schedules with one each");
    if (!s->expression && s->input.len)
        return h->refuse(h, &s->input, 0, elsewhere);
    if (!s->expression && s->flexible_window.ns)
        return h->refuse(h, &s->flexible_window, 0, elsewhere);
    if (!s->expression && (s->start || s->end))
        return h->refuse(h, s->start ? &s->start : &s->end, 0, elsewhere);
    return WEIR_OK;
}

/* After an update of the database a reload looks at the zones again. */
static void tell_zone(const struct schedule *s, const struct run *r)
{
    char path[ZONE_PATH_BYTES];
    bool has_file = r->zone->count || r->zone->has_rule;
    if (has_file && WEIR_HAS(s->pipeline, reads) && zone_path(r->zone->name, path))
        s->pipeline->reads(s->pipeline, path);
}

static weir_status schedule_check(const void *self, const weir_host *h)
{
    const struct schedule *s = self;
    struct zones zones = {h, h->scratch, NULL};
    struct trouble why;
    struct run r;
    const char *reason = NULL;
    weir_status status = check_shape(s, h);
    if (status != WEIR_OK)
        return status;
    if (!zone_find(&zones, s->timezone, &reason))
        status = h->refuse(h, &s->timezone, 0, "unknown time zone: %s", reason);
    for (size_t i = 0; i < runs_all(s); i++) {
        if (runs_read(s, i, &zones, &r, &why))
            tell_zone(s, &r);
        else if (why.member != &s->timezone) /* that was said */
            status = refuse(h, &why);        /* as are all others that are wrong */
    }
    return status;
}

/* ---- start and stop ------------------------------------------------------------------------------- */

static void tell_ended(const struct schedule *s, const weir_host *h)
{
    for (size_t i = 0; i < s->count; i++)
        if (!s->runs[i].has_next)
            h->log(h, WEIR_WARN, "%s: %s is past: it does not run (again)", s->runs[i].name,
                   s->runs[i].item.expression);
}

static weir_status schedule_start(void *self, const weir_host *h)
{
    struct schedule *s = self;
    struct zones zones = {h, h->keep, NULL};
    struct trouble why;
    if (!runs_prepare(s, &zones, calendar_floor(h->now(h), SECOND_NS), &why))
        return refuse(h, &why);
    tell_ended(s, h);
    s->ran = h->metric(h, WEIR_COUNTER, "runs", "Runs whose event was accepted.");
    s->failed = h->metric(h, WEIR_COUNTER, "failed", "Attempts to hand on an event that failed.");
    s->left_out = h->metric(h, WEIR_COUNTER, "missed", "Runs that were missed and left out.");
    s->is_unsaved = true;
    position_save(s, h);
    return s->windows->open(s->windows, "runs",
                            WEIR_SIZED(weir_window_settings,
                                       .keep = {s->max_missed_age.ns + BACK_NS},
                                       .keys_max = (uint64_t)s->count * KEYS_EACH + KEYS_LEAST),
                            &s->done);
}

static void schedule_stop(void *self, const weir_host *h)
{
    position_save(self, h);
}

/* ---- one run's event ------------------------------------------------------------------------------ */

static void set_envelope(const weir_host *h, weir_event *ev, const struct run *r)
{
    char id[40], time[CALENDAR_TEXT_BYTES];
    runs_id(r, h->instance, id);
    calendar_format(r->next_s, 0, time);
    h->set(h, ev, "@id", weir_text(id));
    h->set(h, ev, "@time", weir_text(time));
    h->set(h, ev, "@source", weir_text(r->item.source));
    h->set(h, ev, "@type", weir_text(r->item.type));
    h->set(h, ev, "@resources", r->resources);
    if (!r->port)
        return;
    h->to(h, ev, 0);
    h->to(h, ev, r->port);
}

/* A run that was safe before the position was told of it is known by its key. */
static weir_status claim(const struct schedule *s, const struct run *r, weir_claim **mine)
{
    weir_window_found found = {.size = sizeof found};
    char key[KEY_BYTES];
    int n = snprintf(key, sizeof key, "%016llx %lld %s", (unsigned long long)r->meaning,
                     (long long)r->next_s, r->name);
    size_t len = n < KEY_BYTES ? (size_t)n : KEY_BYTES - 1;
    weir_status status =
        s->windows->claim(s->windows, s->done, (weir_str){key, len}, (weir_str){"", 0}, &found);
    *mine = found.claim;
    return status;
}

/* OK: an event; DROP: it is safe already; IDLE: another of the same is still under way. */
static weir_status bring(const struct schedule *s, const weir_host *h, struct run *r,
                         weir_batch *out)
{
    weir_str body =
        r->item.input.len ? (weir_str){r->item.input.ptr, r->item.input.len} : (weir_str){"{}", 2};
    weir_claim *mine = NULL;
    weir_status status = claim(s, r, &mine);
    char *data = NULL;
    if (status != WEIR_OK)
        return status == WEIR_DROP ? WEIR_DROP : WEIR_IDLE;
    weir_payload *p = h->alloc(h, body.len, &data);
    if (!p) {
        s->windows->release(s->windows, mine);
        return WEIR_E_RETRY;
    }
    memcpy(data, body.ptr, body.len);
    weir_event *ev = h->add(h, out, p);
    set_envelope(h, ev, r);
    s->windows->attach(s->windows, mine, ev);
    out->cookie_ptr = r;
    out->when = WEIR_WHEN_DURABLE;
    r->is_out = true;
    return WEIR_OK;
}

static void did_run(struct schedule *s, struct run *r)
{
    r->last_s = r->next_s;
    s->is_unsaved = true;
    runs_advance(r);
}

/* ---- pull ----------------------------------------------------------------------------------------- */

/* The clock was set back: what it shows again is run unless it was; the keys of runs tell. */
static void go_back(struct schedule *s, const weir_host *h, struct run *r, int64_t now_s)
{
    h->log(
        h, WEIR_WARN,
        "%s: the clock is %lld s before its last run: it goes on from now, and no run comes twice",
        r->name, (long long)(r->last_s - now_s));
    r->last_s = now_s - 1;
    s->is_unsaved = true;
    runs_advance(r);
}

static void pass_over(struct schedule *s, const weir_host *h, struct run *r, int64_t now_s)
{
    static const char *const names[] = {"once", "all", "skip"};
    char from[CALENDAR_TEXT_BYTES];
    int64_t from_s = r->next_s;
    size_t n = runs_pass_over(s, r, now_s);
    if (!n)
        return;
    calendar_format(from_s, 0, from);
    h->log(h, WEIR_WARN, "%s: %s%zu run%s from %s on %s missed and left out (missed: %s)", r->name,
           n < RUNS_COUNT_MAX ? "" : "more than ", n, n == 1 ? "" : "s", from,
           n == 1 ? "was" : "were", names[s->missed]);
    h->observe(h, s->left_out, (double)n);
    s->is_unsaved = true;
}

/* OK: an event is in the batch. IDLE: not now; *wait_ns says when to look again, if that is sooner. */
static weir_status look(struct schedule *s, const weir_host *h, struct run *r, weir_batch *out,
                        int64_t *wait_ns)
{
    int64_t now = h->now(h), now_s = calendar_floor(now, SECOND_NS);
    if (r->is_out)
        return WEIR_IDLE; /* settled wakes */
    if (r->last_s > now_s + GRACE_S)
        go_back(s, h, r, now_s);
    pass_over(s, h, r, now_s);
    while (r->has_next) {
        int64_t due = runs_due_ns(r, r->next_s);
        if (r->again_ns > now && r->again_ns - now <= AGAIN_NS)
            due = r->again_ns;
        if (due > now) {
            *wait_ns = due - now < *wait_ns ? due - now : *wait_ns;
            return WEIR_IDLE;
        }
        weir_status status = bring(s, h, r, out);
        if (status == WEIR_DROP) {
            did_run(s, r);
            continue;
        }
        if (status == WEIR_IDLE)
            *wait_ns = AGAIN_NS < *wait_ns ? AGAIN_NS : *wait_ns;
        return status;
    }
    return WEIR_IDLE;
}

/* Nothing will ever run again; one that is switched off may be switched on. */
static bool is_over(const struct schedule *s)
{
    if (s->count < runs_all(s))
        return false;
    for (size_t i = 0; i < s->count; i++)
        if (s->runs[i].has_next || s->runs[i].is_out)
            return false;
    return true;
}

/* A write a second: until then the keys of the runs stand for it. */
static void save_in_time(struct schedule *s, const weir_host *h, int64_t *wait_ns)
{
    int64_t left = s->saved_ns + AGAIN_NS - h->now(h);
    if (s->is_unsaved && (left <= 0 || left > AGAIN_NS))
        position_save(s, h);
    else if (s->is_unsaved)
        *wait_ns = left < *wait_ns ? left : *wait_ns;
}

static weir_status schedule_pull(void *self, const weir_host *h, weir_batch *out)
{
    struct schedule *s = self;
    int64_t wait_ns = NAP_NS;
    for (size_t i = 0; i < s->count; i++) {
        s->turn = (s->turn + 1) % s->count;
        weir_status status = look(s, h, &s->runs[s->turn], out, &wait_ns);
        if (status != WEIR_IDLE)
            return status;
    }
    if (is_over(s)) {
        position_save(s, h);
        return WEIR_END;
    }
    save_in_time(s, h, &wait_ns);
    h->timer(h, LOOK, (weir_duration){wait_ns});
    return WEIR_IDLE;
}

/* What failed is tried again, unless it never will work or is kept for somebody to look at. */
static void schedule_settled(void *self, const weir_host *h, const weir_settlement *settled)
{
    struct schedule *s = self;
    struct run *r = settled->cookie_ptr;
    const weir_verdict *v = settled->events[0];
    bool has_failed = v->outcome == WEIR_FAILED;
    r->is_out = false;
    h->observe(h, has_failed ? s->failed : s->ran, 1);
    if (has_failed && !v->is_dead_lettered && v->error != WEIR_E_REJECT)
        r->again_ns = h->now(h) + AGAIN_NS;
    else
        did_run(s, r);
    h->wake(h);
}

/* ---- the tables --------------------------------------------------------------------------------- */

#define WINDOW_HELP \
    "A run comes at some time of so much after its own, up to 24h; the same run always at the " \
    "same. 0s: on time."
#define INPUT_HELP "The event's detail; {} if absent."
#define START_HELP \
    "No run before this time; a rate begins with it. 2030-01-31T12:00:00 is on the zone's clock, " \
    "with Z or +01:00 behind it elsewhere."
#define END_HELP "No run from this time on."

static const weir_option items[] = {
    WEIR_OPTION(struct item, expression, .required = true, .min = 1, .max = EXPRESSION_MAX,
                .help = "rate(5 minutes), cron(0 12 ? * MON-FRI *) or at(2030-01-31T12:00:00)."),
    WEIR_OPTION(struct item, timezone, .help = "In place of the stage's."),
    WEIR_OPTION(struct item, start, .help = START_HELP),
    WEIR_OPTION(struct item, end, .help = END_HELP),
    WEIR_OPTION(struct item, flexible_window, .max = 86400e9, .help = WINDOW_HELP),
    WEIR_OPTION(struct item, input, .help = INPUT_HELP),
    WEIR_OPTION(struct item, source, .help = "In place of the stage's."),
    WEIR_OPTION(struct item, type, .help = "In place of the stage's."),
    WEIR_OPTION(struct item, enabled, .preset = "true",
                .help = "Switched on again it begins anew: nothing was missed meanwhile."),
    {0},
};

static const weir_option options[] = {
    WEIR_NEED(struct schedule, pipeline, WEIR_PIPELINE),
    WEIR_NEED(struct schedule, windows, WEIR_WINDOW),
    WEIR_OPTION(struct schedule, expression, .min = 1, .max = EXPRESSION_MAX,
                .help = "rate(5 minutes), cron(0 12 ? * MON-FRI *) or at(2030-01-31T12:00:00)."),
    WEIR_OPTION(struct schedule, schedules, WEIR_ITEMS(struct item, items), .max = SCHEDULES_MAX,
                .ports = true, .help = "Several by name, in place of expression."),
    WEIR_OPTION(struct schedule, timezone, .preset = "UTC",
                .help = "Name of the time zone database, such as Europe/Zurich, whose clock cron, "
                        "at, start and end mean."),
    WEIR_OPTION(struct schedule, start, .help = START_HELP),
    WEIR_OPTION(struct schedule, end, .help = END_HELP),
    WEIR_OPTION(struct schedule, flexible_window, .max = 86400e9, .help = WINDOW_HELP),
    WEIR_OPTION(struct schedule, input, .help = INPUT_HELP),
    WEIR_OPTION(struct schedule, source, .preset = "aws.events", .help = "The events' source."),
    WEIR_OPTION(struct schedule, type, .preset = "Scheduled Event", .help = "The events' type."),
    WEIR_OPTION(struct schedule, missed, .choices = "once|all|skip", .preset = "once",
                .help = "What is made up for of runs that were missed, as while the runner was "
                        "down: the newest alone, all, or none that is more than a minute late."),
    WEIR_OPTION(struct schedule, max_missed_age, .preset = "24h", .max = 366 * 86400e9,
                .help = "Runs that were missed longer ago are left out."),
    WEIR_OPTION(struct schedule, max_missed, .preset = "100", .min = 1, .max = MISSED_MAX,
                .help = "With missed: all, how many of each schedule at most: the newest."),
    WEIR_OPTION(struct schedule, position,
                .help = "The file that keeps how far each schedule has run; "
                        "<data_dir>/schedules/<stage> if absent."),
    {0},
};

static const weir_component schedule = {
    .name = "schedule",
    .version = "1.0",
    .summary = "Brings an event at the times that rate, cron or at expressions say.",
    .flags = WEIR_BLOCKING,
    .state_size = sizeof(struct schedule),
    .options = options,
    .check = schedule_check,
    .start = schedule_start,
    .stop = schedule_stop,
    .pull = schedule_pull,
    .settled = schedule_settled,
    .commands = schedule_commands,
};
WEIR_PLUGIN(&schedule);
