/* cli/trace.c: weir trace: where an event went. */
#include <poll.h>

#include "base/id.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "pipeline/trace.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    bool json;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"json", 0, NULL, "a JSON object a line", CLI_FLAG, offsetof(struct options, json)},
    {0},
};

/* What a pattern said: kept until the line of its stage comes. */
struct said {
    weir_str stage, rule; /* rule: a JSON object */
    bool is_told;
};

struct printing {
    bool json, color;
    size_t count;
    int64_t first_ns;
    struct arena arena;
    struct said *said;
    size_t said_count, said_cap;
};

/* ---- rules ------------------------------------------------------------------------------------ */

static weir_str text_of(struct printing *p, weir_str rule, const char *name)
{
    weir_str value = json_find(rule, name);
    return value.ptr ? json_unquote(value, &p->arena) : value;
}

static void keep_rule(struct printing *p, const struct trace_hop *hop)
{
    struct said *s = &MEM_PUSH(p->said, p->said_count, p->said_cap);
    *s = (struct said){0};
    if (json_check(hop->detail, NULL, NULL) != WEIR_OK)
        s->is_told = true; /* the file was cut */
    s->stage = (weir_str){arena_copy(&p->arena, hop->stage.ptr, hop->stage.len), hop->stage.len};
    s->rule = (weir_str){arena_copy(&p->arena, hop->detail.ptr, hop->detail.len), hop->detail.len};
}

/* "large: no match: /detail/total: expected [..], found 5" */
static void print_rule(struct printing *p, weir_str rule)
{
    struct buf line = {0};
    weir_str more = json_find(rule, "more"), is_match = json_find(rule, "match");
    weir_str field = text_of(p, rule, "field"), why = text_of(p, rule, "why");
    weir_str name = text_of(p, rule, "rule");
    if (more.ptr) {
        buf_print(&line, "%36sand %.*s more rules", "", (int)more.len, more.ptr);
    } else {
        bool is_on = !weir_same(json_find(rule, "enabled"), "false");
        const char *verdict = weir_same(is_match, "true")    ? "match"
                              : weir_same(is_match, "false") ? "no match"
                                                             : "unknown";
        buf_print(&line, "%36s%.*s: %s%s", "", (int)name.len, name.ptr, verdict,
                  is_on ? "" : ", but not enabled");
    }
    if (field.ptr) {
        weir_str expected = text_of(p, rule, "expected"), found = text_of(p, rule, "found");
        buf_print(&line, ": %.*s: expected %.*s, found %.*s", (int)field.len, field.ptr,
                  (int)expected.len, expected.ptr, (int)found.len, found.ptr);
    }
    if (why.ptr)
        buf_print(&line, "%s%.*s", field.ptr ? ", " : ": ", (int)why.len, why.ptr);
    cli_print(buf_str(&line), false);
    (void)putchar('\n');
    buf_fini(&line);
}

static bool is_of(const struct said *s, weir_str stage)
{
    return !s->is_told && s->stage.len == stage.len &&
           memcmp(s->stage.ptr, stage.ptr, stage.len) == 0;
}

static void print_rules(struct printing *p, weir_str stage)
{
    for (size_t i = 0; i < p->said_count; i++) {
        if (!is_of(&p->said[i], stage))
            continue;
        p->said[i].is_told = true;
        print_rule(p, p->said[i].rule);
    }
}

static void add_rules(struct printing *p, weir_str stage, struct buf *line)
{
    size_t count = 0;
    for (size_t i = 0; i < p->said_count; i++) {
        if (!is_of(&p->said[i], stage))
            continue;
        p->said[i].is_told = true;
        buf_add_text(line, count++ ? "," : ",\"rules\":[");
        buf_add_str(line, p->said[i].rule);
    }
    buf_add_text(line, count ? "]" : "");
}

/* ---- hops ------------------------------------------------------------------------------------- */

static void print_json(struct printing *p, const struct trace_hop *hop, const char *time)
{
    struct buf line = {0};
    buf_print(&line, "{\"time\":\"%s\",\"stage\":", time);
    json_quote(&line, hop->stage);
    buf_print(&line, ",\"verdict\":\"%s\"", trace_kind_text(hop->kind));
    if (hop->detail.len) {
        buf_add_text(&line, ",\"detail\":");
        json_quote(&line, hop->detail);
    }
    add_rules(p, hop->stage, &line);
    (void)printf("%s}\n", buf_text(&line));
    buf_fini(&line);
}

static const char *color_of(enum trace_kind kind)
{
    switch (kind) {
    case TRACE_DELIVERED:
        return "\033[32m";
    case TRACE_RETRY:
        return "\033[33m";
    case TRACE_DEAD_LETTERED:
    case TRACE_DROPPED:
    case TRACE_FAILED:
        return "\033[31m";
    case TRACE_ACCEPTED:
    case TRACE_PASSED:
    case TRACE_FILTERED:
    case TRACE_REPLAYED:
    case TRACE_RULE:
        break;
    }
    return "";
}

static void print_hop(void *user, const struct trace_hop *hop)
{
    struct printing *p = user;
    char time[CLOCK_TEXT_BYTES];
    if (hop->kind == TRACE_RULE) {
        keep_rule(p, hop);
        return;
    }
    (void)clock_format(hop->time_ns, 6, time);
    if (!p->count++)
        p->first_ns = hop->time_ns;
    if (p->json) {
        print_json(p, hop, time);
        return;
    }
    (void)printf("%s  %+10.3f ms  %-20.*s %s%-13s%s ", time,
                 (double)(hop->time_ns - p->first_ns) / 1e6, (int)hop->stage.len, hop->stage.ptr,
                 p->color ? color_of(hop->kind) : "", trace_kind_text(hop->kind),
                 p->color ? "\033[0m" : "");
    cli_print(hop->detail, false);
    (void)putchar('\n');
    print_rules(p, hop->stage);
}

/* A runner writes its lines a few times in a tenth of a second: who asks at once reads again. */
static int find(const char *folder, const weir_id *id, struct printing *p, struct error *e)
{
    enum { TRIES = 10, PAUSE_MS = 20 };
    arena_init(&p->arena);
    int failed = trace_find(folder, id, print_hop, p, e);
    for (int i = 1; i < TRIES && !failed && !p->count; i++) {
        (void)poll(NULL, 0, PAUSE_MS);
        p->said_count = 0;
        failed = trace_find(folder, id, print_hop, p, e);
    }
    arena_fini(&p->arena);
    mem_free(p->said);
    return failed;
}

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    struct printing p = {.json = o->json, .color = cli_has_color(stdout)};
    struct error e = {0};
    char *data_dir = NULL;
    weir_id id;
    if (!id_parse(weir_text(argv[0]), &id))
        return cli_usage_error(&command_trace, "%s is no event id (a UUID)", argv[0]);
    int code = store_find(&o->store, &data_dir);
    if (code)
        return code;
    char *folder = mem_format("%s/trace", data_dir);
    int failed = find(folder, &id, &p, &e);
    mem_free(folder);
    mem_free(data_dir);
    if (failed)
        return cli_fail(&e);
    if (p.count)
        return EXIT_OK;
    (void)error_set(&e, EXIT_BAD_DATA,
                    "no trace of event %s: unknown, older than what `trace.max_size` keeps, or not "
                    "written yet: a runner under load may need a moment",
                    argv[0]);
    return cli_fail(&e);
}

const struct cli_command command_trace = {
    .name = "trace",
    .usage = "EVENT_ID [OPTIONS]",
    .summary = "Tell where an event went: each stage, verdict and time",
    .details =
        "Verdicts: accepted, passed (on to the next stages), filtered, delivered, retry,\n"
        "dead-lettered, dropped. Below a bus, and where a `where` filtered, each rule: match,\n"
        "or the first field that failed, with what was expected and found (`trace.explain`).\n"
        "Works while the pipeline runs and after it.\n\n"
        "example:\n"
        "  weir trace 01a20572-54ab-7197-8d2b-723362056c58 -c config/pipeline.yaml",
    .options = options,
    .size = sizeof(struct options),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
