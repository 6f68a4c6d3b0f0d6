/* eventbridge/eventbridge.c: the event bus: each rule is a port; rules that do not shape share one event. */
#include "eventbridge.h"

#include <stdio.h>

#include <weir/bus.h>
#include <weir/match.h>
#include <weir/shape.h>

enum { BUS_ALL, BUS_UNMATCHED, BUS_RULES };
enum { ARCHIVE_NAME_MAX = 48, NAME_MAX_LEN = 64, METRIC_MAX = 128 };
static const char *const ports[] = {"unmatched", NULL};

struct transformer {
    weir_pairs input_paths;
    const char *input_template;
};

struct rule {
    weir_json pattern, input;
    const char *input_path;
    weir_block input_transformer; /* struct transformer */
    bool enabled;
};

struct archive_options {
    const char *name;
    weir_json pattern;
    weir_duration retention;
    weir_size max_size;
};

struct bus {
    weir_map rules;
    weir_block archive; /* struct archive_options */
    const weir_match *match;
    const weir_shapes *shapes;
    const weir_buses *buses;
    weir_bus *handle;
    weir_archive *kept; /* NULL: none */
    weir_match_set *
        set; /* the last pattern may be the archive's; pattern i is that of rule i, also of one that is not enabled */
    weir_shape **compiled; /* one a rule; NULL: the event as it is */
};

struct worker {
    uint32_t *hits, *touched; /* one a rule, of the batch in hand; and those that are not zero */
    size_t touched_count;
    const weir_event **kept; /* of the batch in hand, for the archive */
    size_t kept_count;
    bool is_short; /* no memory for a body */
    weir_metric **matched, *unmatched;
};

static bool shapes_events(const struct rule *r)
{
    return r->input.ptr || r->input_path || r->input_transformer.item;
}

static weir_status compile_shape(const struct bus *b, const struct rule *r, weir_shape **shape)
{
    static const char *const no_text;
    static const weir_pairs no_paths;
    const struct transformer *t = r->input_transformer.item;
    if (r->input.ptr)
        return b->shapes->constant(b->shapes, &r->input, shape);
    return b->shapes->compile(b->shapes, &r->input_path, t ? &t->input_paths : &no_paths,
                              t ? &t->input_template : &no_text, shape);
}

/* As in EventBridge, but without dots: bus.rule is how a port is named. */
static weir_status check_name(const struct bus *b, const weir_host *h, size_t i)
{
    static const char good[] = "0123456789-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *name = b->rules.names[i];
    size_t n = strspn(name, good), len = strlen(name);
    if (name[n] == '.')
        return h->refuse(h, &b->rules.names[i], n,
                         "a rule's name has no dots here: %s.%.40s is how its port is named",
                         h->instance, name);
    if (n < len || !len || len > NAME_MAX_LEN)
        return h->refuse(h, &b->rules.names[i], n < len ? n : 0,
                         "a rule's name has 1 to %d letters, digits, - and _", NAME_MAX_LEN);
    if (strcmp(name, "unmatched") == 0 || strcmp(name, "failed") == 0)
        return h->refuse(h, &b->rules.names[i], 0, "%s is a port that every bus has", name);
    return WEIR_OK;
}

static weir_status check_rule(const struct bus *b, const weir_host *h, size_t i)
{
    const struct rule *r = (const struct rule *)b->rules.items + i;
    weir_shape *shape = NULL;
    weir_status worst = check_name(b, h, i);
    if ((r->input.ptr != NULL) + (r->input_path != NULL) + (r->input_transformer.item != NULL) >
        1) {
        const void *second = r->input.ptr && r->input_path ? (const void *)&r->input_path
                                                           : (const void *)&r->input_transformer;
        return h->refuse(h, second, 0,
                         "Only one of Input, InputPath, or InputTransformer must be provided for "
                         "target %s: leave the others out",
                         b->rules.names[i]);
    }
    if (shapes_events(r) && compile_shape(b, r, &shape) != WEIR_OK)
        worst = WEIR_E_CONFIG;
    return worst;
}

static weir_status check_archive(const struct bus *b, const weir_host *h, weir_match_set *set)
{
    static const char good[] = ".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const struct archive_options *a = b->archive.item;
    size_t n = a && a->name ? strspn(a->name, good) : 0;
    if (a && a->name && (a->name[n] || !n || n > ARCHIVE_NAME_MAX))
        return h->refuse(h, &a->name, a->name[n] ? n : 0,
                         "an archive's name has 1 to %d letters, digits, dots, - and _",
                         ARCHIVE_NAME_MAX);
    return a && a->pattern.ptr ? b->match->add(b->match, set, &a->pattern) : WEIR_OK;
}

static weir_status bus_check(const void *self, const weir_host *h)
{
    const struct bus *b = self;
    const struct rule *rules = b->rules.items;
    weir_match_set *set = b->match->set(b->match);
    weir_status worst = WEIR_OK;
    for (size_t i = 0; i < b->rules.count; i++) {
        if (check_rule(b, h, i) != WEIR_OK)
            worst = WEIR_E_CONFIG;
        if (b->match->add(b->match, set, &rules[i].pattern) != WEIR_OK)
            worst = WEIR_E_CONFIG;
    }
    return check_archive(b, h, set) == WEIR_OK ? worst : WEIR_E_CONFIG;
}

static weir_status open_archive(struct bus *b, const weir_host *h)
{
    const struct archive_options *a = b->archive.item;
    if (!a)
        return WEIR_OK;
    if (a->pattern.ptr && b->match->add(b->match, b->set, &a->pattern) != WEIR_OK)
        return WEIR_E_CONFIG;
    const char *name = a->name ? a->name : h->instance;
    b->kept = b->buses->archive(b->buses, name, a->retention, a->max_size);
    return b->kept ? WEIR_OK : WEIR_E_CONFIG;
}

static weir_status bus_start(void *self, const weir_host *h)
{
    struct bus *b = self;
    const struct rule *rules = b->rules.items;
    b->set = b->match->set(b->match);
    b->compiled = h->keep(h, (b->rules.count + 1) * sizeof(weir_shape *));
    weir_bus_rule *told = h->keep(h, (b->rules.count + 1) * sizeof *told);
    for (uint32_t i = 0; i < b->rules.count; i++) {
        b->compiled[i] = NULL;
        told[i] = (weir_bus_rule){b->rules.names[i], rules[i].enabled};
        if (b->match->add(b->match, b->set, &rules[i].pattern) != WEIR_OK)
            return WEIR_E_CONFIG;
        if (shapes_events(&rules[i]) && compile_shape(b, &rules[i], &b->compiled[i]) != WEIR_OK)
            return WEIR_E_CONFIG;
    }
    b->handle = b->buses->open(b->buses, told, b->rules.count, BUS_RULES);
    return open_archive(b, h);
}

/* A metric's name has small letters, digits and _. */
static char metric_letter(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    if (c == '-')
        return '_';
    return c;
}

static weir_status bus_worker_start(void *self, const weir_host *h)
{
    const struct bus *b = self;
    struct worker *w = h->worker;
    char name[METRIC_MAX];
    size_t n = b->rules.count + 1;
    w->hits = memset(h->keep(h, n * sizeof *w->hits), 0, n * sizeof *w->hits);
    w->touched = h->keep(h, n * sizeof *w->touched);
    w->matched = h->keep(h, n * sizeof(weir_metric *));
    w->unmatched = h->metric(h, WEIR_COUNTER, "unmatched", "Events that no rule wanted.");
    for (size_t i = 0; i < b->rules.count; i++) {
        (void)snprintf(name, sizeof name, "rule_%.*s_matched", NAME_MAX_LEN, b->rules.names[i]);
        for (char *at = name; *at; at++)
            *at = metric_letter(*at);
        w->matched[i] = h->metric(h, WEIR_COUNTER, name, "Events that this rule matched.");
    }
    return WEIR_OK;
}

static weir_event *shape(const struct bus *b, const weir_host *h, const weir_event *in,
                         uint32_t rule, weir_batch *out)
{
    struct worker *w = h->worker;
    weir_payload *body = b->shapes->apply(b->shapes, b->compiled[rule], in, b->rules.names[rule]);
    weir_event *ev = h->pass(h, out, in);
    w->is_short |= !body;
    h->set_body(h, ev, body);
    return ev;
}

/* Is it for this rule now? */
static bool wants(const struct bus *b, const weir_event *in, uint32_t rule, bool is_for_some)
{
    return b->buses->is_enabled(b->buses, b->handle, rule) &&
           (!is_for_some || b->buses->replays_to(b->buses, b->handle, in, rule));
}

/* A rule that shapes gets an event of its own; all others share one, and its body is that of `in`. What a
 * replay brings for some rules is for nobody else: true only of an event that no rule wanted. */
static bool route(const struct bus *b, const weir_host *h, const weir_batch *batch, size_t at,
                  weir_batch *out)
{
    struct worker *w = h->worker;
    const weir_event *in = batch->events[at];
    const struct archive_options *a = b->archive.item;
    const uint32_t *hits = NULL;
    size_t n = b->match->test(b->match, b->set, in, &hits), taken = 0;
    int replayed = b->buses->replayed(b->buses, in);
    bool is_kept = a && !a->pattern.ptr, is_for_some = replayed == WEIR_REPLAYED_TO_SOME;
    weir_event *shared = is_for_some ? NULL : h->pass(h, out, in);
    if (shared)
        h->to(h, shared, BUS_ALL);
    for (size_t i = 0; i < n; i++) {
        uint32_t rule = hits[i];
        if (rule == b->rules.count) {
            is_kept = true;
            continue;
        }
        if (!wants(b, in, rule, is_for_some))
            continue;
        taken++;
        if (!b->compiled[rule] && !shared)
            shared = h->pass(h, out, in);
        h->to(h, b->compiled[rule] ? shape(b, h, in, rule, out) : shared, BUS_RULES + rule);
        if (!w->hits[rule]++)
            w->touched[w->touched_count++] = rule;
    }
    if (is_kept && replayed == WEIR_LIVE)
        w->kept[w->kept_count++] = in;
    if (taken)
        return false;
    if (is_for_some)
        h->mark(h, batch, at, WEIR_DROP, NULL);
    else
        h->to(h, shared, BUS_UNMATCHED);
    return !is_for_some;
}

/* Last: a batch that is to come again is not kept twice. */
static void archive_all(const struct bus *b, struct worker *w)
{
    for (size_t i = 0; i < w->kept_count && !w->is_short; i++)
        b->buses->store(b->buses, b->kept, w->kept[i]);
}

static weir_status bus_batch(void *self, const weir_host *h, const weir_batch *in, weir_batch *out)
{
    struct worker *w = h->worker;
    size_t unmatched = 0;
    w->kept = h->scratch(h, (in->count + 1) * sizeof(const weir_event *));
    w->kept_count = 0;
    w->is_short = false;
    for (size_t i = 0; i < in->count; i++)
        unmatched += route(self, h, in, i, out);
    archive_all(self, w);
    if (unmatched)
        h->observe(h, w->unmatched, (double)unmatched);
    for (size_t i = 0; i < w->touched_count; i++) {
        uint32_t rule = w->touched[i];
        h->observe(h, w->matched[rule], (double)w->hits[rule]);
        w->hits[rule] = 0;
    }
    w->touched_count = 0;
    return WEIR_OK;
}

static const weir_option transformer_options[] = {
    WEIR_OPTION(struct transformer, input_paths,
                .help = "Names to JSON paths into the event, such as user: $.detail.user."),
    WEIR_OPTION(struct transformer, input_template, .required = true,
                .help = "The new body, with <name> where a value goes."),
    {0},
};

static const weir_option rule_options[] = {
    WEIR_OPTION(struct rule, pattern, .required = true,
                .help = "Event pattern, as in EventBridge, over source, detail-type and detail "
                        "(the body)."),
    WEIR_OPTION(struct rule, input,
                .help = "The body, the same for every event. A text is JSON text, as Input is in "
                        "EventBridge."),
    WEIR_OPTION(struct rule, input_path,
                .help = "The part of the event that becomes the body, such as $.detail.user."),
    WEIR_OPTION(struct rule, input_transformer, WEIR_ITEMS(struct transformer, transformer_options),
                .help = "Makes a new body, as in EventBridge."),
    WEIR_OPTION(struct rule, enabled, .preset = "true",
                .help = "A rule that is not enabled is checked and matches nothing; `weir rules "
                        "enable` switches it."),
    {0},
};

static const weir_option archive_options[] = {
    WEIR_OPTION(struct archive_options, name,
                .help = "Its name; that of the bus where it is left out."),
    WEIR_OPTION(struct archive_options, pattern,
                .help = "Event pattern of the events that are kept; all where it is left out."),
    WEIR_OPTION(struct archive_options, retention, .preset = "0s", .min = 0, .max = 3660 * 86400e9,
                .help = "For how long, such as 720h; 0s is for ever."),
    WEIR_OPTION(struct archive_options, max_size, .preset = "1GiB", .min = 4 << 20, .max = 1e15,
                .help = "Of what is kept: beyond it the oldest goes."),
    {0},
};

static const weir_option options[] = {
    WEIR_NEED(struct bus, match, WEIR_MATCH),
    WEIR_NEED(struct bus, shapes, WEIR_SHAPE),
    WEIR_NEED(struct bus, buses, WEIR_BUS),
    WEIR_OPTION(struct bus, rules, WEIR_ITEMS(struct rule, rule_options), .ports = true,
                .required = true,
                .help = "Rules by name. Each is a port: bus.user-created has what the rule "
                        "user-created of the stage bus matched, bus.unmatched what none did, bus "
                        "all events."),
    WEIR_OPTION(struct bus, archive, WEIR_ITEMS(struct archive_options, archive_options),
                .help =
                    "Keeps a copy of each event that the bus takes; `weir archive` shows them."),
    {0},
};

static const weir_component bus = {
    .name = "eventbridge",
    .version = "1.0",
    .summary = "Routes events by the patterns that they match; shapes them if asked.",
    .flags = WEIR_PARALLEL,
    .state_size = sizeof(struct bus),
    .worker_size = sizeof(struct worker),
    .options = options,
    .ports = ports,
    .check = bus_check,
    .start = bus_start,
    .worker_start = bus_worker_start,
    .batch = bus_batch,
};
WEIR_PLUGIN(&bus, &eventbridge_sink);
