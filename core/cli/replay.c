/* cli/replay.c: weir replay: archived events brought to their bus again; live, or for the next start. */
#include "cli/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "json/json.h"

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct replay_options),
    {"archive", 'a', "NAME", "start: the archive; needed where there is more than one", CLI_TEXT,
     offsetof(struct replay_options, archive)},
    {"from", 0, "TIME", "start: what came then or later: 2026-11-22T08:00:00Z, 2h (ago), or oldest",
     CLI_TEXT, offsetof(struct replay_options, from)},
    {"to", 0, "TIME", "start: what came before (default: now)", CLI_TEXT,
     offsetof(struct replay_options, to)},
    {"rule", 'r', "NAME", "start: to this rule of the bus alone; may be given several times",
     CLI_LIST, offsetof(struct replay_options, rules)},
    {"where", 'w', "PATTERN", "start: events that match this event pattern alone", CLI_TEXT,
     offsetof(struct replay_options, where)},
    {"ordered", 0, NULL, "start: each event is delivered everywhere before the next is sent",
     CLI_FLAG, offsetof(struct replay_options, ordered)},
    {"speed", 0, "SPEED", "start: max; 1x or 10x of the time that was between them; or 100/s (max)",
     CLI_TEXT, offsetof(struct replay_options, speed)},
    {"name", 0, "REPLAY", "start: what replay-name says (default: the archive's name and the time)",
     CLI_TEXT, offsetof(struct replay_options, name)},
    {"bus", 0, "NAME", "start: needed where more than one bus keeps the archive", CLI_TEXT,
     offsetof(struct replay_options, bus)},
    {"dry-run", 0, NULL, "start: count what would be sent, by rules, and send nothing", CLI_FLAG,
     offsetof(struct replay_options, dry_run)},
    {"wait", 0, NULL, "until it is over, with its progress (start: so on a terminal)", CLI_FLAG,
     offsetof(struct replay_options, wait)},
    {"detach", 0, NULL, "start: do not wait on a terminal either", CLI_FLAG,
     offsetof(struct replay_options, detach)},
    {"json", 0, NULL, "JSON, for other programs", CLI_FLAG, offsetof(struct replay_options, json)},
    {0},
};

struct command {
    const struct replay_options *o;
    const char *act, *name;
    char *data_dir;
    struct journal *journal; /* of a stopped pipeline, once it was asked for */
    struct replays *replays;
    struct loaded loaded; /* and its file, if it is known */
    bool is_loaded;
    struct replay_request request;
};

/* ---- of a stopped pipeline ---- */

static int open_stopped(struct command *c)
{
    struct error e = {0};
    c->journal = store_open(c->data_dir, &e);
    c->replays = c->journal ? replays_open(c->journal, NULL, &e) : NULL;
    return c->replays ? 0 : cli_fail(&e);
}

static void close_stopped(struct command *c)
{
    if (c->journal)
        journal_close(c->journal);
    replays_free(c->replays);
    if (c->is_loaded)
        load_free(&c->loaded);
    mem_free(c->data_dir);
}

static int load_rules(struct command *c, struct replay_rules *rules)
{
    static const struct match_env usual = {"000000000000", "us-east-1"};
    *rules = (struct replay_rules){.env = &usual};
    if (c->o->store.data_dir)
        return 0;
    int code = load_pipeline(c->o->store.config, &c->o->store.file, false, &c->loaded);
    c->is_loaded = true;
    if (code)
        return code;
    rules->items = service_tables_rules(c->loaded.services, &rules->count);
    rules->env = service_tables_env(c->loaded.services);
    return 0;
}

static bool is_rule(const struct service_rule *rule, const char *name)
{
    char *full = mem_format("%s.%.*s", rule->stage->name, (int)rule->name.len, rule->name.ptr);
    bool is_same = strcmp(full, name) == 0 || weir_same(rule->name, name);
    mem_free(full);
    return is_same;
}

/* The runner would tell it when it starts, to nobody. */
static int check_rules(const struct command *c, const struct replay_rules *rules)
{
    struct error e = {0};
    for (size_t i = 0; rules->items && i < c->request.spec.rule_count; i++) {
        const char *name = c->request.spec.rules[i];
        size_t k = 0;
        while (k < rules->count && !is_rule(&rules->items[k], name))
            k++;
        if (k == rules->count) {
            (void)error_set(&e, EXIT_USAGE_ERROR, "no rule %s: `weir rules list` prints them all",
                            name);
            return cli_fail(&e);
        }
    }
    return 0;
}

static int start_stopped(struct command *c, struct buf *out)
{
    struct error e = {0};
    struct replay_rules rules;
    int code = load_rules(c, &rules);
    if (!code)
        code = check_rules(c, &rules);
    if (code)
        return code;
    int failed = c->request.is_dry
                     ? replays_dry(c->replays, &c->request.spec, &rules, c->request.from, out, &e)
                     : replays_start(c->replays, &c->request.spec, out, &e);
    return failed ? cli_fail(&e) : 0;
}

static int act_stopped(struct command *c, struct buf *out)
{
    struct error e = {0};
    int failed = 0;
    int code = c->replays ? 0 : open_stopped(c);
    if (code)
        return code;
    if (strcmp(c->act, "start") == 0)
        return start_stopped(c, out);
    if (strcmp(c->act, "ls") == 0)
        replays_print(c->replays, out);
    else if (strcmp(c->act, "show") == 0)
        failed = replays_print_one(c->replays, c->name, out, &e);
    else
        failed = replays_cancel(c->replays, c->name, out, &e);
    return failed ? cli_fail(&e) : 0;
}

/* ---- of one that runs ---- */

static int act_live(const struct command *c, struct buf *out)
{
    if (strcmp(c->act, "start") == 0) {
        struct buf body = {0};
        replay_request_print(&c->request, &body);
        int code = store_post(c->data_dir, "/replays", buf_str(&body), out);
        buf_fini(&body);
        return code;
    }
    if (strcmp(c->act, "ls") == 0)
        return store_ask(c->data_dir, "GET", "/replays", out);
    bool is_cancel = strcmp(c->act, "cancel") == 0;
    char *part = store_part(c->name);
    char *target = mem_format("/replays/%s%s", part, is_cancel ? "/cancel" : "");
    int code = store_ask(c->data_dir, is_cancel ? "POST" : "GET", target, out);
    mem_free(part);
    mem_free(target);
    return code;
}

static int act(struct command *c, struct buf *out)
{
    int code = c->replays ? 1 : act_live(c, out);
    if (code != 1)
        return code;
    out->len = 0;
    return act_stopped(c, out);
}

/* ---- ls and show ---- */

static int ls(struct command *c)
{
    static const struct column {
        const char *name;
        int width;
    } columns[] = {{"name", -32}, {"state", -10}, {"archive", -16}, {"events", 10},
                   {"done", 10},  {"sent", 10},   {"started", -24}};
    struct buf out = {0};
    struct arena a;
    int code = act(c, &out);
    arena_init(&a);
    if (!code && c->o->json)
        (void)fwrite(out.ptr, 1, out.len, stdout);
    for (size_t i = 0; !code && !c->o->json && i < sizeof columns / sizeof *columns; i++)
        (void)printf("%*s ", columns[i].width, columns[i].name);
    if (!code && !c->o->json)
        (void)printf("\n");
    weir_str list = json_trim(buf_str(&out));
    for (weir_json_each e = {0}; !code && !c->o->json && json_next(list, &e);) {
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            weir_str v = replay_text(e.value, columns[i].name, &a);
            (void)printf("%*.*s ", columns[i].width, (int)v.len, v.ptr);
        }
        (void)printf("\n");
    }
    arena_fini(&a);
    buf_fini(&out);
    return code;
}

/* Times are told as text, not in nanoseconds as well. */
static bool is_for_people(weir_str key)
{
    return key.len < 3 || memcmp(key.ptr + key.len - 3, "_ns", 3) != 0;
}

static void print_whole(weir_str replay)
{
    struct arena a;
    arena_init(&a);
    for (weir_json_each e = {0}; json_next(replay, &e);) {
        bool is_text = json_kind(e.value) == WEIR_JSON_TEXT;
        weir_str text = is_text ? json_unquote(e.value, &a) : e.value;
        if (is_for_people(e.key))
            (void)printf("%-10.*s %.*s\n", (int)e.key.len, e.key.ptr, (int)text.len, text.ptr);
    }
    arena_fini(&a);
}

static int show_or_cancel(struct command *c)
{
    struct buf out = {0};
    int code = act(c, &out);
    weir_str replay = json_trim(buf_str(&out));
    if (!code && c->o->wait && !c->replays)
        code = replay_follow(c->o, c->data_dir, replay);
    else if (!code && c->o->json)
        (void)printf("%.*s\n", (int)replay.len, replay.ptr);
    else if (!code)
        print_whole(replay);
    buf_fini(&out);
    return code;
}

/* ---- a dry run ---- */

struct sums {
    uint64_t events, bytes, unmatched;
    struct sum {
        char *rule;
        uint64_t events;
    } * rules;
    size_t count, cap;
};

static void add_page(struct sums *s, weir_str page, struct arena *a)
{
    size_t i = 0;
    s->events += replay_number(page, "events");
    s->bytes += replay_number(page, "bytes");
    s->unmatched += replay_number(page, "unmatched");
    for (weir_json_each e = {0}; json_next(json_find(page, "rules"), &e); i++) {
        weir_str rule = replay_text(e.value, "rule", a);
        if (i == s->count)
            MEM_PUSH(s->rules, s->count, s->cap) = (struct sum){mem_copy(rule.ptr, rule.len), 0};
        s->rules[i].events += replay_number(e.value, "events");
    }
}

static void print_sums(const struct sums *s, bool is_json)
{
    struct buf line = {0};
    if (!is_json) {
        (void)printf("dry run: %" PRIu64 " events (%" PRIu64 " bytes) would be sent\n", s->events,
                     s->bytes);
        for (size_t i = 0; i < s->count; i++)
            (void)printf("%10" PRIu64 "  %s\n", s->rules[i].events, s->rules[i].rule);
        if (s->count) /* else they are not known: the file is not */
            (void)printf("%10" PRIu64 "  no rule\n", s->unmatched);
        return;
    }
    buf_print(&line, "{\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"rules\":{", s->events,
              s->bytes);
    for (size_t i = 0; i < s->count; i++) {
        buf_add_text(&line, i ? "," : "");
        json_quote(&line, weir_text(s->rules[i].rule));
        buf_print(&line, ":%" PRIu64, s->rules[i].events);
    }
    (void)printf("%s},\"unmatched\":%" PRIu64 "}\n", buf_text(&line), s->unmatched);
    buf_fini(&line);
}

static int dry_run(struct command *c)
{
    struct sums sums = {0};
    struct buf out = {0};
    struct arena a;
    int code = 0;
    arena_init(&a);
    c->request.is_dry = true;
    do {
        out.len = 0;
        code = act(c, &out);
        if (code)
            break;
        weir_str page = json_trim(buf_str(&out));
        add_page(&sums, page, &a);
        c->request.from = replay_number(page, "next");
    } while (c->request.from);
    if (!code)
        print_sums(&sums, c->o->json);
    for (size_t i = 0; i < sums.count; i++)
        mem_free(sums.rules[i].rule);
    mem_free(sums.rules);
    buf_fini(&out);
    arena_fini(&a);
    return code;
}

/* ---- start ---- */

static void tell_started(const struct command *c, weir_str replay)
{
    struct arena a;
    arena_init(&a);
    weir_str name = replay_text(replay, "name", &a), archive = replay_text(replay, "archive", &a);
    if (c->o->json)
        (void)printf("%.*s\n", (int)replay.len, replay.ptr);
    else
        (void)printf("replay %.*s: up to %" PRIu64 " events of the archive %.*s\n", (int)name.len,
                     name.ptr, replay_number(replay, "events"), (int)archive.len, archive.ptr);
    if (c->replays)
        (void)fprintf(stderr,
                      "weir: the runner is not running: the replay begins when it starts\n");
    arena_fini(&a);
}

static int start(struct command *c)
{
    struct buf out = {0};
    if (c->o->dry_run)
        return dry_run(c);
    int code = act(c, &out);
    weir_str replay = json_trim(buf_str(&out));
    bool waits = c->o->wait || (isatty(STDOUT_FILENO) && !c->o->detach);
    if (!code && (!waits || c->replays || !c->o->json))
        tell_started(c, replay);
    if (!code && waits && !c->replays)
        code = replay_follow(c->o, c->data_dir, replay);
    buf_fini(&out);
    return code;
}

/* ---- what was typed ---- */

static bool read_speed(const char *text, struct replay_spec *s)
{
    char *end = NULL;
    if (!text || strcmp(text, "max") == 0)
        return true;
    if (strchr(text, '/'))
        return cli_read_rate(text, &s->rate_per_s);
    s->speed = strtod(text, &end);
    return end != text && strcmp(end, "x") == 0 && s->speed >= 1e-3 && s->speed <= 1e6;
}

static int read_request(struct command *c)
{
    const struct replay_options *o = c->o;
    struct replay_spec *s = &c->request.spec;
    if (!o->from)
        return cli_usage_error(&command_replay,
                               "say from when: --from 2h, or --from oldest for all there is");
    if ((strcmp(o->from, "oldest") != 0 && !cli_read_time(o->from, &s->from_ns)) ||
        !cli_read_time(o->to ? o->to : "now", &s->to_ns))
        return cli_usage_error(&command_replay,
                               "--from and --to are times such as 2026-11-22T08:00:00Z or 2h");
    if (!read_speed(o->speed, s))
        return cli_usage_error(&command_replay,
                               "--speed is max, 1x, 10x or such, or a number a second: 100/s");
    if (o->where && json_check(weir_text(o->where), NULL, NULL) != WEIR_OK)
        return cli_usage_error(&command_replay, "--where is no event pattern: it is not JSON");
    s->archive = o->archive;
    s->name = o->name;
    s->bus = o->bus;
    s->where = weir_text(o->where ? o->where : "");
    s->is_ordered = o->ordered;
    s->rules = o->rules.items;
    s->rule_count = o->rules.count;
    return 0;
}

static const char *const acts[] = {"start", "ls", "show", "cancel", NULL};

static int run(void *given, int argc, char **argv)
{
    struct command c = {.o = given,
                        .act = argc ? argv[0] : "start",
                        .name = argc > 1 ? argv[1] : NULL};
    size_t known = 0;
    while (acts[known] && strcmp(acts[known], c.act) != 0)
        known++;
    if (!acts[known])
        return cli_usage_error(&command_replay, "unknown action %s: start, ls, show or cancel",
                               c.act);
    if (known < 2 && c.name)
        return cli_usage_error(&command_replay, "%s takes no name: --archive and --name do", c.act);
    if (known >= 2 && !c.name)
        return cli_usage_error(&command_replay, "%s needs the name of a replay", c.act);
    int code = known ? 0 : read_request(&c);
    if (!code)
        code = store_find(&c.o->store, &c.data_dir);
    if (!code)
        code = !known ? start(&c) : known == 1 ? ls(&c) : show_or_cancel(&c);
    close_stopped(&c);
    return code;
}

const struct cli_command command_replay = {
    .name = "replay",
    .usage = "[start] --from TIME [--to TIME] | ls | show NAME | cancel NAME  [OPTIONS]",
    .summary = "Bring archived events to their bus again",
    .details =
        "The runner sends the events by turns with what is live, and each has the name of the "
        "replay as\n"
        "`replay-name`, which patterns can match. A replay goes on by itself after a stop or a "
        "crash; what\n"
        "was under way then comes again. Of a stopped pipeline the replay is noted, and begins "
        "with the\n"
        "runner. Ctrl-C ends the waiting, not the replay: `cancel` does that.\n\n"
        "examples:\n"
        "  weir replay --archive orders --from 2h --dry-run\n"
        "  weir replay --archive orders --from 2026-11-22T08:00:00Z --to 2026-11-22T09:00:00Z "
        "--wait\n"
        "  weir replay --from 1h --rule billing --ordered --name again-1\n"
        "  weir replay show again-1 --wait",
    .options = options,
    .size = sizeof(struct replay_options),
    .arguments_min = 0,
    .arguments_max = 2,
    .actions = acts,
    .run = run,
};
