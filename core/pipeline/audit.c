/* pipeline/audit.c: the ledger against the records. */
#include "pipeline/audit.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/pipeline.h"
#include "json/json.h"

void audit_init(struct audit *a)
{
    *a = (struct audit){0};
}

void audit_fini(struct audit *a)
{
    for (size_t i = 0; i < a->stage_count; i++)
        mem_free(a->stages[i].name);
    mem_free(a->stages);
    audit_init(a);
}

static struct audit_stage *stage_of(struct audit *a, const char *name)
{
    for (size_t i = 0; i < a->stage_count; i++)
        if (strcmp(a->stages[i].name, name) == 0)
            return &a->stages[i];
    struct audit_stage *s = &MEM_PUSH(a->stages, a->stage_count, a->stage_cap);
    *s = (struct audit_stage){.name = mem_text(name)};
    return s;
}

static void take_counter(void *user, const char *name, int64_t value)
{
    struct audit *a = user;
    if (strncmp(name, "ended/", 6) == 0) {
        stage_of(a, name + 6)->ended = value;
        return;
    }
    if (strncmp(name, "ledger/", 7) != 0)
        return;
    if (strcmp(name + 7, "in_memory") == 0)
        a->columns[LEDGER_IN_MEMORY] = value;
    else if (strcmp(name + 7, "purged") == 0)
        a->purged = value;
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        if (strcmp(name + 7, ledger_names[i]) == 0)
            a->columns[i] = value;
}

static void take_stream(void *user, const char *name, uint64_t next, uint64_t live)
{
    struct audit *a = user;
    if (strncmp(name, "in/", 3) != 0)
        return;
    struct audit_stage *s = stage_of(a, name + 3);
    s->stored = (int64_t)next;
    s->waiting = (int64_t)live;
    a->waiting += (int64_t)live;
}

void audit_read(struct audit *a, struct journal *j)
{
    static const struct journal_figures figures = {take_counter, take_stream};
    audit_fini(a);
    journal_snapshot(j, &figures, a);
    a->difference = ledger_in_flight(a->columns) - a->waiting - a->columns[LEDGER_IN_MEMORY];
}

static int64_t stage_difference(const struct audit_stage *s)
{
    return s->stored - s->ended - s->waiting;
}

bool audit_is_balanced(const struct audit *a)
{
    for (size_t i = 0; i < a->stage_count; i++)
        if (stage_difference(&a->stages[i]))
            return false;
    return !a->difference;
}

void audit_print(const struct audit *a, struct buf *out)
{
    buf_print(out, "{\"balanced\":%s,\"difference\":%lld", audit_is_balanced(a) ? "true" : "false",
              (long long)a->difference);
    int64_t in_flight = a->waiting + a->columns[LEDGER_IN_MEMORY];
    for (int i = 0; i < LEDGER_COLUMNS; i++)
        buf_print(out, ",\"%s\":%lld", ledger_names[i], (long long)a->columns[i]);
    buf_print(out,
              ",\"in_flight\":%lld,\"on_disk\":%lld,\"in_memory\":%lld,\"purged\":%lld,"
              "\"stages\":[",
              (long long)in_flight, (long long)a->waiting, (long long)a->columns[LEDGER_IN_MEMORY],
              (long long)a->purged);
    for (size_t i = 0; i < a->stage_count; i++) {
        const struct audit_stage *s = &a->stages[i];
        buf_add_text(out, i ? ",{\"name\":" : "{\"name\":");
        json_quote(out, weir_text(s->name));
        buf_print(out, ",\"stored\":%lld,\"ended\":%lld,\"waiting\":%lld,\"difference\":%lld}",
                  (long long)s->stored, (long long)s->ended, (long long)s->waiting,
                  (long long)stage_difference(s));
    }
    buf_print(out, "],\"written_off\":%lld}\n", (long long)a->written_off);
}

/* What each stage's stream got has ended or waits. */
static void end_missing(const struct audit *a, struct journal *j, struct journal_unit *u)
{
    for (size_t i = 0; i < a->stage_count; i++) {
        if (!stage_difference(&a->stages[i]))
            continue;
        char *name = mem_format("ended/%s", a->stages[i].name);
        unit_count(u, journal_counter(j, name), stage_difference(&a->stages[i]));
        mem_free(name);
    }
}

/* Every unit balances by itself, so the difference is the same however much flows meanwhile. */
int audit_write_off(struct audit *a, struct journal *j, struct pipeline *p, struct error *e)
{
    audit_read(a, j);
    if (audit_is_balanced(a))
        return 0;
    int64_t difference = a->difference;
    int column = difference > 0 ? LEDGER_LOST : LEDGER_REPEATED;
    int64_t n = difference > 0 ? difference : -difference;
    struct journal_unit *u = journal_begin(j);
    char *name = mem_format("ledger/%s", ledger_names[column]);
    unit_count(u, journal_counter(j, name), n);
    mem_free(name);
    end_missing(a, j, u);
    if (journal_submit_wait(u) != WEIR_OK)
        return error_set(e, EXIT_IO, "the journal cannot be written: nothing was written off");
    if (p)
        atomic_fetch_add(&p->ledger[column], n);
    log_write(WEIR_WARN, NULL, "written off: %lld branches %s", (long long)n,
              difference > 0 ? "that are missing" : "that nothing accounted for");
    audit_read(a, j);
    a->written_off = difference;
    return 0;
}
