/* pipeline/service_bus.c: weir.bus/1: the rules of event buses, which of them are on. */
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "journal/archive.h"
#include "match/envelope.h"
#include "pipeline/bus.h"
#include "pipeline/commit.h"
#include "pipeline/inlet.h"
#include "pipeline/replay.h"
#include "pipeline/services.h"

enum { AS_IN_FILE, SWITCHED_OFF, SWITCHED_ON }; /* values of a rule's counter in the journal */

struct rule {
    const char *name;
    _Atomic bool is_enabled;
};

struct weir_bus {
    struct weir_bus *next; /* of the pipeline */
    struct pipeline *pipeline;
    struct stage *stage;
    uint32_t first_port;
    size_t count;
    struct rule *rules;
    const char *archive; /* that it keeps; NULL: none */
};

bool bus_takes(struct pipeline *p, const struct stage *s, size_t rule)
{
    bool is_on = true;
    (void)pthread_mutex_lock(&p->lock);
    for (const weir_bus *bus = p->buses; bus; bus = bus->next)
        if (bus->stage == s && rule < bus->count)
            is_on = atomic_load_explicit(&bus->rules[rule].is_enabled, memory_order_relaxed);
    (void)pthread_mutex_unlock(&p->lock);
    return is_on;
}

static uint32_t counter_of(struct journal *j, const char *rule)
{
    char *name = mem_format("rule/%s", rule);
    uint32_t counter = journal_counter(j, name);
    mem_free(name);
    return counter;
}

/* What was switched holds until the file says the same: then the file has the word again. */
static bool state_of(struct journal *j, const char *stage, const weir_bus_rule *rule)
{
    char *name = mem_format("%s.%s", stage, rule->name);
    uint32_t counter = counter_of(j, name);
    int64_t value = journal_counter_value(j, counter);
    bool is_on = value == AS_IN_FILE ? rule->is_enabled : value == SWITCHED_ON;
    if (value != AS_IN_FILE && is_on == rule->is_enabled) {
        struct journal_unit *u = journal_begin(j);
        unit_count(u, counter, -value);
        journal_submit(u, JOURNAL_LAZY, NULL, NULL);
    } else if (value != AS_IN_FILE) {
        log_write(WEIR_INFO, stage, "the rule %s is %s: it was switched by a command", rule->name,
                  is_on ? "enabled" : "disabled");
    }
    mem_free(name);
    return is_on;
}

static void bus_end(void *arg)
{
    struct weir_bus *bus = arg, **link = &bus->pipeline->buses;
    (void)pthread_mutex_lock(&bus->pipeline->lock);
    while (*link != bus)
        link = &(*link)->next;
    *link = bus->next;
    (void)pthread_mutex_unlock(&bus->pipeline->lock);
    mem_free(bus->rules);
    mem_free(bus);
}

static weir_bus *open_bus(const weir_buses *s, const weir_bus_rule *rules, size_t count,
                          uint32_t first_port)
{
    struct lane *l = service_lane("weir.bus/1");
    struct pipeline *p = l->stage->pipeline;
    struct weir_bus *bus = MEM_NEW(struct weir_bus);
    *bus = (struct weir_bus){NULL, p, l->stage, first_port, count, NULL, NULL};
    bus->rules = mem_grow(NULL, (count + 1) * sizeof *bus->rules);
    for (size_t i = 0; i < count; i++) {
        bus->rules[i].name = rules[i].name;
        atomic_init(&bus->rules[i].is_enabled, state_of(p->journal, l->stage->name, &rules[i]));
    }
    (void)pthread_mutex_lock(&p->lock);
    bus->next = p->buses;
    p->buses = bus;
    (void)pthread_mutex_unlock(&p->lock);
    service_at_end(l->stage, bus_end, bus);
    return bus;
}

static bool is_enabled(const weir_buses *s, const weir_bus *bus, uint32_t rule)
{
    return atomic_load_explicit(&bus->rules[rule].is_enabled, memory_order_relaxed);
}

static void note_archive(const struct stage *s, const char *name)
{
    struct pipeline *p = s->pipeline;
    (void)pthread_mutex_lock(&p->lock);
    for (struct weir_bus *b = p->buses; b; b = b->next)
        if (b->stage == s)
            b->archive = name;
    (void)pthread_mutex_unlock(&p->lock);
}

static weir_archive *archive(const weir_buses *s, const char *name, weir_duration retention,
                             weir_size size)
{
    struct lane *l = service_lane("weir.bus/1");
    struct error e = {0};
    const struct archive_settings settings = {retention.ns, size.bytes};
    struct archive *a = archive_open(l->stage->pipeline->journal, name, &settings, &e);
    if (a)
        note_archive(l->stage, archive_name(a));
    else
        (void)l->host.fail(&l->host, WEIR_E_CONFIG, 0, "%s", e.text);
    return (weir_archive *)a;
}

static void store(const weir_buses *s, weir_archive *a, const weir_event *ev)
{
    commit_store(service_lane("weir.bus/1")->worker, (struct archive *)a, event_of(ev));
}

static int replayed(const weir_buses *s, const weir_event *ev)
{
    weir_str name = envelope_replay(ev);
    if (!name.ptr)
        return WEIR_LIVE;
    const struct stage *bus = service_lane("weir.bus/1")->stage;
    return replays_kind(bus->pipeline->replays, name, bus->name);
}

static bool replays_to(const weir_buses *s, const weir_bus *bus, const weir_event *ev,
                       uint32_t rule)
{
    return replays_wants(bus->pipeline->replays, envelope_replay(ev), bus->rules[rule].name);
}

static void trim(void *user, struct archive *a)
{
    archive_trim(a);
}

void bus_tick(struct pipeline *p)
{
    int64_t now = clock_mono(p->clock);
    if (now - p->archive_tick_ns < INT64_C(1000000000))
        return;
    p->archive_tick_ns = now;
    archive_each(p->journal, trim, NULL);
}

void service_bus_init(struct service_tables *t)
{
    t->bus = (weir_buses){
        WEIR_OFFER(WEIR_BUS), open_bus, is_enabled, archive, store, replayed, replays_to};
}

/* ---- which rule a stage reads ---- */

static const struct rule *rule_read(const struct weir_bus *bus, const struct stage *s, size_t *n)
{
    const struct rule *found = NULL;
    for (size_t i = 0; i < bus->count; i++) {
        const struct port *port = &bus->stage->ports[bus->first_port + i];
        for (size_t k = 0; k < port->count; k++)
            if (port->edges[k].to == s) {
                found = &bus->rules[i];
                (*n)++;
            }
    }
    return found;
}

bool bus_rule_arn(struct pipeline *p, const struct stage *s, struct buf *out)
{
    size_t n = 0;
    const struct weir_bus *of = NULL;
    const struct rule *rule = NULL;
    (void)pthread_mutex_lock(&p->lock);
    for (const struct weir_bus *b = p->buses; b; b = b->next) {
        const struct rule *found = b->stage->is_outgoing ? NULL : rule_read(b, s, &n);
        if (found)
            rule = found, of = b;
    }
    if (n == 1 && of)
        buf_print(out, "arn:aws:events:%s:%s:rule/%s/%s", p->env.region, p->env.account,
                  of->stage->name, rule->name);
    (void)pthread_mutex_unlock(&p->lock);
    return n == 1;
}

/* ---- switching ---- */

static bool is_rule(const struct weir_bus *bus, const struct rule *r, const char *name)
{
    size_t n = strlen(bus->stage->name);
    return strncmp(name, bus->stage->name, n) == 0 && name[n] == '.' &&
           strcmp(name + n + 1, r->name) == 0;
}

/* All of this name: after a reload an outgoing one may still have events. */
static bool set_all(struct pipeline *p, const char *name, const bool *is_on)
{
    bool is_known = false;
    (void)pthread_mutex_lock(&p->lock);
    for (struct weir_bus *b = p->buses; b; b = b->next)
        for (size_t i = 0; i < b->count; i++) {
            if (!is_rule(b, &b->rules[i], name))
                continue;
            is_known = true;
            if (is_on)
                atomic_store(&b->rules[i].is_enabled, *is_on);
        }
    (void)pthread_mutex_unlock(&p->lock);
    return is_known;
}

int bus_switch(struct journal *j, struct pipeline *p, const char *rule, bool is_enabled,
               struct error *e)
{
    if (p && !set_all(p, rule, NULL))
        return error_set(e, EXIT_BAD_DATA,
                         "no bus has a rule %s: `weir rules list` prints them all", rule);
    uint32_t counter = counter_of(j, rule);
    struct journal_unit *u = journal_begin(j);
    int64_t wanted = is_enabled ? SWITCHED_ON : SWITCHED_OFF;
    unit_count(u, counter, wanted - journal_counter_value(j, counter));
    if (journal_submit_wait(u) != WEIR_OK)
        return error_set(e, EXIT_IO, "switch %s: the journal cannot be written", rule);
    if (p)
        (void)set_all(p, rule, &is_enabled);
    return 0;
}

void bus_list(struct pipeline *p, struct buf *out)
{
    const char *comma = "";
    buf_add_char(out, '[');
    (void)pthread_mutex_lock(&p->lock);
    for (const struct weir_bus *b = p->buses; b; b = b->next)
        for (size_t i = 0; i < b->count && !b->stage->is_outgoing; i++) {
            bool is_on = atomic_load(&b->rules[i].is_enabled);
            buf_print(out, "%s{\"rule\":\"%s.%s\",\"enabled\":%s}", comma, b->stage->name,
                      b->rules[i].name, is_on ? "true" : "false");
            comma = ",";
        }
    (void)pthread_mutex_unlock(&p->lock);
    buf_add_text(out, "]\n");
}

/* ---- replays ---- */

static const struct weir_bus *find_bus(const struct pipeline *p, const char *name)
{
    for (const struct weir_bus *b = p->buses; b; b = b->next)
        if (!b->stage->is_outgoing && strcmp(b->stage->name, name) == 0)
            return b;
    return NULL;
}

static bool keeps(const struct weir_bus *b, const char *archive)
{
    return !b->stage->is_outgoing && b->archive && strcmp(b->archive, archive) == 0;
}

char *bus_of_archive(struct pipeline *p, const char *archive, const char *wanted, struct error *e)
{
    const struct weir_bus *found = NULL;
    char *name = NULL;
    size_t n = 0;
    (void)pthread_mutex_lock(&p->lock);
    for (const struct weir_bus *b = p->buses; b; b = b->next) {
        if (!keeps(b, archive))
            continue;
        n++;
        if (!found || (wanted && strcmp(wanted, b->stage->name) == 0))
            found = b;
    }
    if (!found)
        (void)error_set(e, EXIT_BAD_DATA,
                        "no bus of the pipeline file keeps the archive %s: its events have nowhere "
                        "to go",
                        archive);
    else if (wanted && strcmp(wanted, found->stage->name) != 0)
        (void)error_set(e, EXIT_USAGE_ERROR,
                        "the bus %s does not keep the archive %s: it is replayed to %s", wanted,
                        archive, found->stage->name);
    else if (!wanted && n > 1)
        (void)error_set(e, EXIT_USAGE_ERROR,
                        "%zu buses keep the archive %s: name one of them, such as %s", n, archive,
                        found->stage->name);
    else
        name = mem_text(found->stage->name);
    (void)pthread_mutex_unlock(&p->lock);
    return name;
}

static const char *nearest_rule(const struct weir_bus *b, const char *name)
{
    const char **words = mem_new((b->count + 1) * sizeof *words);
    for (size_t i = 0; i < b->count; i++)
        words[i] = b->rules[i].name;
    const char *near = text_nearest(name, words);
    mem_free(words);
    return near;
}

static size_t rule_number(const struct weir_bus *b, const char *name)
{
    size_t i = 0;
    while (i < b->count && strcmp(b->rules[i].name, name) != 0)
        i++;
    return i;
}

int bus_check_rules(struct pipeline *p, const char *bus, char *const *rules, size_t n,
                    struct error *e)
{
    (void)pthread_mutex_lock(&p->lock);
    const struct weir_bus *b = find_bus(p, bus);
    for (size_t i = 0; b && i < n && !e->code; i++) {
        const char *near = rule_number(b, rules[i]) < b->count ? NULL : nearest_rule(b, rules[i]);
        if (rule_number(b, rules[i]) == b->count)
            (void)error_set(e, EXIT_USAGE_ERROR, "the bus %s has no rule %s%s%s%s", bus, rules[i],
                            near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
    }
    (void)pthread_mutex_unlock(&p->lock);
    return e->code ? -1 : 0;
}

struct stage *bus_stage(struct pipeline *p, const char *bus)
{
    (void)pthread_mutex_lock(&p->lock);
    const struct weir_bus *b = find_bus(p, bus);
    struct stage *s = b ? b->stage : NULL;
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

bool bus_is_switched_on(struct journal *j, const char *rule)
{
    return journal_counter_value(j, counter_of(j, rule)) != SWITCHED_OFF;
}

bool bus_rule_is_on(struct pipeline *p, const char *bus, const char *rule)
{
    (void)pthread_mutex_lock(&p->lock);
    const struct weir_bus *b = find_bus(p, bus);
    size_t i = b ? rule_number(b, rule) : 0;
    bool is_on = b && i < b->count && atomic_load(&b->rules[i].is_enabled);
    (void)pthread_mutex_unlock(&p->lock);
    return is_on;
}

/* ---- who may be behind ---- */

enum { REACH_MAX = 256 };

struct reach {
    const struct stage *seen[REACH_MAX];
    size_t count;
    int64_t waiting_max;
    const struct stage *full;
};

static void look_at_port(struct reach *r, const struct port *port);

static void look_at_stage(struct reach *r, const struct stage *s)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->seen[i] == s)
            return;
    if (r->full || r->count == REACH_MAX)
        return;
    r->seen[r->count++] = s;
    if (inlet_is_full(s->inlet) || inlet_waiting(s->inlet) >= r->waiting_max)
        r->full = s;
    for (size_t i = 0; i < s->port_count; i++)
        look_at_port(r, &s->ports[i]);
}

static void look_at_port(struct reach *r, const struct port *port)
{
    for (size_t i = 0; i < port->count; i++)
        look_at_stage(r, port->edges[i].to);
}

const struct stage *bus_reader_behind(struct pipeline *p, const struct stage *bus,
                                      char *const *rules, size_t n, int64_t waiting_max)
{
    struct reach r = {.waiting_max = waiting_max};
    if (!n) {
        look_at_stage(&r, bus);
        return r.full;
    }
    if (inlet_is_full(bus->inlet) || inlet_waiting(bus->inlet) >= waiting_max)
        return bus;
    (void)pthread_mutex_lock(&p->lock);
    const struct weir_bus *b = find_bus(p, bus->name);
    for (size_t i = 0; b && i < n; i++) {
        size_t number = rule_number(b, rules[i]);
        if (number < b->count)
            look_at_port(&r, &bus->ports[b->first_port + number]);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return r.full;
}
