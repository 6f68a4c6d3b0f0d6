/* cli/archive.c: weir archive: what event buses have kept: listed, shown, removed; live or stopped. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "pipeline/control.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    const char *from, *until;
    int64_t limit;
    bool json, yes;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"from", 0, "TIME",
     "show: what came then or later: 2026-11-22T08:00:00Z, or 2h for two hours ago", CLI_TEXT,
     offsetof(struct options, from)},
    {"until", 0, "TIME", "show: what came before", CLI_TEXT, offsetof(struct options, until)},
    {"limit", 'n', "N", "show: at most so many (all)", CLI_COUNT, offsetof(struct options, limit)},
    {"json", 0, NULL, "JSON instead of a table (ls)", CLI_FLAG, offsetof(struct options, json)},
    {"yes", 'y', NULL, "purge: needed, as it cannot be undone", CLI_FLAG,
     offsetof(struct options, yes)},
    {0},
};

struct command {
    const struct options *o;
    const char *act, *name;
    char *data_dir;
    struct journal *journal; /* of a stopped pipeline, once it was asked for */
    struct archive_page page;
};

enum { PAGE = 500 };

/* ---- asking ---- */

static char *target_of(const struct command *c)
{
    if (strcmp(c->act, "ls") == 0)
        return mem_text("/archives");
    char *part = store_part(c->name);
    char *target =
        strcmp(c->act, "purge") == 0
            ? mem_format("/archives/%s/purge", part)
            : mem_format("/archives/%s/events?from=%" PRIu64 "&from_ns=%" PRId64
                         "&until_ns=%" PRId64 "&max=%zu",
                         part, c->page.from, c->page.from_ns, c->page.until_ns, c->page.max);
    mem_free(part);
    return target;
}

static int act_stopped(struct command *c, struct buf *out)
{
    struct error e = {0};
    uint64_t removed = 0;
    if (!c->journal)
        c->journal = store_open(c->data_dir, &e);
    if (!c->journal)
        return cli_fail(&e);
    int failed = 0;
    if (strcmp(c->act, "ls") == 0)
        control_archives(c->journal, out);
    else if (strcmp(c->act, "show") == 0)
        failed = control_archived(c->journal, c->name, &c->page, out, &e);
    else
        failed = control_archive_clear(c->journal, c->name, &removed, &e);
    if (!failed && strcmp(c->act, "purge") == 0)
        buf_print(out, "{\"purged\":%" PRIu64 "}\n", removed);
    return failed ? cli_fail(&e) : 0;
}

static int act(struct command *c, struct buf *out)
{
    char *target = target_of(c);
    bool is_change = strcmp(c->act, "purge") == 0;
    int code = c->journal ? 1 : store_ask(c->data_dir, is_change ? "POST" : "GET", target, out);
    if (code == 1) {
        out->len = 0;
        code = act_stopped(c, out);
    }
    mem_free(target);
    return code;
}

/* ---- answers ---- */

static weir_str member(weir_str object, const char *name)
{
    weir_str v = json_find(object, name);
    if (v.ptr && json_kind(v) == WEIR_JSON_TEXT && v.len >= 2)
        return (weir_str){v.ptr + 1, v.len - 2}; /* names and times need no escapes */
    return v.ptr ? v : weir_text("-");
}

static void print_table(weir_str list)
{
    static const char *const columns[] = {"name", "events", "bytes", "oldest", "newest"};
    static const int widths[] = {24, 10, 12, 24, 24};
    enum { N = sizeof columns / sizeof *columns };
    for (size_t i = 0; i < N; i++)
        (void)printf(i == 1 || i == 2 ? "%*s " : "%-*s ", widths[i], columns[i]);
    (void)printf("\n");
    for (weir_json_each e = {0}; json_next(list, &e);) {
        for (size_t i = 0; i < N; i++) {
            weir_str v = member(e.value, columns[i]);
            (void)printf(i == 1 || i == 2 ? "%*.*s " : "%-*.*s ", widths[i], (int)v.len, v.ptr);
        }
        (void)printf("\n");
    }
}

/* The last line of a page tells where the next begins. */
static uint64_t take_next(struct buf *page)
{
    uint64_t next = 0;
    char *last = page->len > 1 ? memrchr(page->ptr, '\n', page->len - 1) : NULL;
    size_t at = last ? (size_t)(last + 1 - page->ptr) : 0;
    weir_str v = json_find(json_trim((weir_str){page->ptr + at, page->len - at}), "next");
    if (v.ptr)
        (void)text_to_u64(v, &next);
    page->len = at;
    return next;
}

static int show(struct command *c)
{
    uint64_t left = c->o->limit > 0 ? (uint64_t)c->o->limit : UINT64_MAX;
    struct buf out = {0};
    int code = 0;
    do {
        out.len = 0;
        c->page.max = left < PAGE ? (size_t)left : PAGE;
        code = act(c, &out);
        if (code)
            break;
        c->page.from = take_next(&out);
        for (size_t i = 0; i < out.len; i++)
            left -= out.ptr[i] == '\n';
        cli_print(buf_str(&out), false);
    } while (c->page.from && left);
    buf_fini(&out);
    return code;
}

static int ls_or_purge(struct command *c)
{
    struct buf out = {0};
    int code = act(c, &out);
    if (!code && strcmp(c->act, "ls") == 0 && !c->o->json)
        print_table(json_trim(buf_str(&out)));
    else if (!code)
        (void)fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&out);
    return code;
}

/* ---- what was typed ---- */

static const char *const acts[] = {"ls", "show", "purge", NULL};

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    struct command c = {.o = o, .act = argv[0], .name = argc > 1 ? argv[1] : NULL};
    size_t known = 0;
    while (acts[known] && strcmp(acts[known], c.act) != 0)
        known++;
    if (!acts[known])
        return cli_usage_error(&command_archive, "unknown action %s: ls, show or purge", c.act);
    if (!known && c.name)
        return cli_usage_error(&command_archive, "ls lists all archives: too many arguments: %s",
                               c.name);
    if (known && !c.name)
        return cli_usage_error(&command_archive, "%s needs the name of an archive", c.act);
    if ((o->from && !cli_read_time(o->from, &c.page.from_ns)) ||
        (o->until && !cli_read_time(o->until, &c.page.until_ns)))
        return cli_usage_error(&command_archive,
                               "--from and --until are times such as 2026-11-22T08:00:00Z or 2h");
    if (strcmp(c.act, "purge") == 0 && !o->yes)
        return cli_usage_error(&command_archive,
                               "purge removes all of %s and cannot be undone: add --yes", c.name);
    int code = store_find(&o->store, &c.data_dir);
    if (!code)
        code = known == 1 ? show(&c) : ls_or_purge(&c);
    if (c.journal)
        journal_close(c.journal);
    mem_free(c.data_dir);
    return code;
}

const struct cli_command command_archive = {
    .name = "archive",
    .usage = "ls | show NAME | purge NAME --yes  [OPTIONS]",
    .summary = "Look into what event buses have kept",
    .details = "Works on a running pipeline (through its admin listener) and on a stopped one.\n"
               "`show` prints an event a line as JSON, in the order in which they came. `purge` "
               "removes all\n"
               "events of an archive, also of one that no bus of the file has any more.\n\n"
               "examples:\n"
               "  weir archive ls -c config/pipeline.yaml\n"
               "  weir archive show orders --from 2h -n 10",
    .options = options,
    .size = sizeof(struct options),
    .arguments_min = 1,
    .arguments_max = 2,
    .actions = acts,
    .run = run,
};
