/* cli/logs.c: weir logs: read the embedded log groups, live or stopped. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "journal/logstore.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    int64_t last;
    const char *stream, *filter, *since;
    bool follow, json, raw;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"lines", 'n', "N", "only the last N lines (tail: 10, show: all)", CLI_NUMBER,
     offsetof(struct options, last)},
    {"stream", 0, "NAME", "only this log stream", CLI_TEXT, offsetof(struct options, stream)},
    {"filter", 0, "TERMS", "CloudWatch terms: word, \"a phrase\", -without, ?any ?of", CLI_TEXT,
     offsetof(struct options, filter)},
    {"since", 0, "TIME", "from then on: 10m, 2h (ago), or an RFC 3339 time", CLI_TEXT,
     offsetof(struct options, since)},
    {"follow", 'f', NULL, "wait for more", CLI_FLAG, offsetof(struct options, follow)},
    {"json", 0, NULL, "a JSON object a line", CLI_FLAG, offsetof(struct options, json)},
    {"raw", 0, NULL, "control characters as they are, on a terminal too", CLI_FLAG,
     offsetof(struct options, raw)},
    {0},
};

static void print_group(void *user, const struct logstore_group *g)
{
    (void)printf("%-48s %10" PRIu64 " bytes\n", g->name, g->bytes);
}

static void print_stream(void *user, const struct logstore_stream *s)
{
    char time[CLOCK_TEXT_BYTES] = "-";
    if (s->last_ms)
        (void)clock_format(s->last_ms * 1000000, 3, time);
    (void)printf("%-48.*s %10" PRIu64 " lines  last %s\n", (int)s->name.len, s->name.ptr, s->lines,
                 time);
}

static void print_line(const struct options *o, const struct logstore_line *line)
{
    char time[CLOCK_TEXT_BYTES];
    (void)clock_format(line->time_ms * 1000000, 3, time);
    if (!o->json) {
        (void)printf("%s ", time);
        cli_print(line->stream, o->raw);
        (void)putchar(' ');
        cli_print(line->text, o->raw);
        (void)putchar('\n');
        return;
    }
    struct buf text = {0};
    buf_print(&text, "{\"time\":\"%s\",\"stream\":", time);
    json_quote(&text, line->stream);
    buf_add_text(&text, ",\"message\":");
    json_quote(&text, line->text);
    (void)printf("%s}\n", buf_text(&text));
    buf_fini(&text);
}

static bool since_ms(const char *text, int64_t *ms)
{
    int64_t ns;
    if (!text)
        return true;
    if (unit_parse_duration(weir_text(text), &ns)) {
        *ms = (clock_wall(&clock_real) - ns) / 1000000;
        return true;
    }
    if (clock_parse(weir_text(text), &ns) != WEIR_OK)
        return false;
    *ms = ns / 1000000;
    return true;
}

static int tail(const struct options *o, const char *path, const char *group, size_t last)
{
    struct error e = {0};
    struct logstore_line line;
    struct logstore_query q = {.last = last};
    if (o->stream)
        q.stream = weir_text(o->stream);
    if (o->filter)
        q.filter = weir_text(o->filter);
    if (!since_ms(o->since, &q.since_ms))
        return cli_usage_error(&command_logs, "--since %s: a duration such as 10m, or a time",
                               o->since);
    struct logstore_reader *r = logstore_reader_open(path, weir_text(group), &q, &e);
    if (!r)
        return cli_fail(&e);
    for (;;) {
        while (logstore_reader_next(r, &line) == WEIR_OK)
            print_line(o, &line);
        if (fflush(stdout) != 0 || !o->follow)
            break;
        (void)poll(NULL, 0, 200);
    }
    logstore_reader_close(r);
    return EXIT_OK;
}

static int act(const struct options *o, const char *path, int argc, char **argv)
{
    const char *verb = argv[0], *group = argc > 1 ? argv[1] : NULL;
    struct error e = {0};
    if (access(path, R_OK | X_OK) < 0 && errno != ENOENT) { /* none yet: no groups */
        (void)error_sys(&e, errno, "open %s", path);
        return cli_fail(&e);
    }
    if (strcmp(verb, "ls") == 0 && !group) {
        logstore_each_group(path, print_group, NULL);
        return EXIT_OK;
    }
    if (!group)
        return cli_usage_error(&command_logs, "%s needs a log group: `weir logs ls`", verb);
    if (strcmp(verb, "ls") == 0) {
        if (logstore_each_stream(path, weir_text(group), print_stream, NULL) == WEIR_OK)
            return EXIT_OK;
        (void)error_set(&e, EXIT_BAD_DATA, "no log group %s: `weir logs ls`", group);
        return cli_fail(&e);
    }
    if (strcmp(verb, "tail") == 0)
        return tail(o, path, group, o->last || o->since ? (size_t)o->last : 10);
    if (strcmp(verb, "show") == 0)
        return tail(o, path, group, (size_t)o->last);
    return cli_usage_error(&command_logs, "unknown action %s: ls, tail or show", verb);
}

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    char *data_dir = NULL;
    int code = store_find(&o->store, &data_dir);
    if (code)
        return code;
    char *path = mem_format("%s/logs", data_dir);
    code = act(o, path, argc, argv);
    mem_free(path);
    mem_free(data_dir);
    return code;
}

static const char *const actions[] = {"ls", "tail", "show", NULL};

const struct cli_command command_logs = {
    .name = "logs",
    .usage = "ls [GROUP] | tail GROUP | show GROUP  [OPTIONS]",
    .summary = "Read the embedded log groups",
    .details = "examples:\n"
               "  weir logs ls\n"
               "  weir logs tail /weir/users -f\n"
               "  weir logs show /aws/lambda/process_user --filter 'REPORT' --since 1h",
    .options = options,
    .size = sizeof(struct options),
    .arguments_min = 1,
    .arguments_max = 2,
    .actions = actions,
    .run = run,
};
