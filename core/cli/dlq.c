/* cli/dlq.c: weir dlq: dead letters listed, shown, sent back to their stages, removed; live or stopped. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/dlq.h"
#include "config/config.h"
#include "pipeline/where.h"
#include "json/json.h"

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct dlq_options),
    {"queue", 'q', "NAME", "this queue's alone (default: all that hold dead letters)", CLI_TEXT,
     offsetof(struct dlq_options, queue)},
    {"stage", 0, "STAGE", "of this stage alone", CLI_TEXT, offsetof(struct dlq_options, stage)},
    {"class", 0, "CLASS", "of this class alone, such as rejected", CLI_TEXT,
     offsetof(struct dlq_options, class)},
    {"where", 'w', "PATTERN", "events that match this event pattern alone", CLI_TEXT,
     offsetof(struct dlq_options, where)},
    {"older-than", 0, "TIME", "dead for longer than this alone, such as 2h", CLI_TEXT,
     offsetof(struct dlq_options, older_than)},
    {"limit", 'n', "N", "at most so many (ls: 50; else all)", CLI_COUNT,
     offsetof(struct dlq_options, limit)},
    {"newest", 0, NULL, "ls: the newest first, not the oldest", CLI_FLAG,
     offsetof(struct dlq_options, newest)},
    {"summary", 0, NULL, "ls: only the counts by stage and class", CLI_FLAG,
     offsetof(struct dlq_options, summary)},
    {"json", 0, NULL, "a JSON object a line", CLI_FLAG, offsetof(struct dlq_options, json)},
    {"rate", 0, "N/s", "redrive, purge: at most so many in a second", CLI_TEXT,
     offsetof(struct dlq_options, rate)},
    {"dry-run", 0, NULL, "redrive, purge: tell what would be done", CLI_FLAG,
     offsetof(struct dlq_options, dry_run)},
    {"yes", 'y', NULL, "purge: do not ask", CLI_FLAG, offsetof(struct dlq_options, yes)},
    {0},
};

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int number)
{
    is_interrupted = 1;
}

/* ---- ls ---- */

static void print_row(weir_str letter, bool with_queue, struct arena *a)
{
    weir_str reason = dlq_text(letter, "reason", a), code = dlq_text(letter, "code", a);
    size_t shown = reason.len;
    for (size_t i = 0; i < reason.len; i++)
        if ((unsigned char)reason.ptr[i] < ' ')
            shown = i < shown ? i : shown;
    if (shown > 100)
        shown = 100;
    static const struct column {
        const char *name;
        int width;
    } columns[] = {{"queue", 16}, {"letter", 7},   {"time", 24}, {"stage", 16},
                   {"class", 17}, {"attempts", 8}, {"id", 36}};
    for (size_t i = !with_queue; i < sizeof columns / sizeof *columns; i++) {
        weir_str v = dlq_text(letter, columns[i].name, a);
        (void)printf("%-*.*s  ", columns[i].width, (int)v.len, v.ptr);
    }
    (void)printf("%.*s%s%.*s%s\n", (int)code.len, code.ptr, code.len ? " " : "", (int)shown,
                 reason.ptr, shown < reason.len ? "..." : "");
}

static void print_summary(const struct dlq *d)
{
    if (d->o->json) {
        for (size_t i = 0; i < d->count_count; i++) {
            struct buf line = {0};
            buf_print(&line, "{\"letters\":%" PRIu64, d->counts[i].n);
            dlq_add_member(&line, "stage", d->counts[i].stage);
            dlq_add_member(&line, "class", d->counts[i].class);
            (void)printf("%s}\n", buf_text(&line));
            buf_fini(&line);
        }
        return;
    }
    (void)printf("%" PRIu64 " dead letters%s\n", d->matched, d->count_count ? ":" : "");
    for (size_t i = 0; i < d->count_count; i++)
        (void)printf("%8" PRIu64 "  %s: %s\n", d->counts[i].n, d->counts[i].stage,
                     d->counts[i].class);
}

static void print_list(const struct dlq *d)
{
    struct arena a;
    bool with_queue = d->queue_count > 1; /* each numbers its letters itself */
    arena_init(&a);
    if (d->line_count && !d->o->json && with_queue)
        (void)printf("%-16s  ", "QUEUE");
    if (d->line_count && !d->o->json)
        (void)printf("%-7s  %-24s  %-16s  %-17s  %-8s  %-36s  %s\n", "LETTER", "TIME", "STAGE",
                     "CLASS", "ATTEMPTS", "EVENT", "ERROR");
    for (size_t i = 0; i < d->line_count; i++) {
        const char *line = d->lines[d->o->newest ? d->line_count - 1 - i : i];
        if (d->o->json)
            (void)printf("%s\n", line);
        else
            print_row(weir_text(line), with_queue, &a);
    }
    arena_fini(&a);
    if (d->o->json)
        return;
    if (d->is_cut)
        (void)printf("... %" PRIu64 " more: --limit\n", d->matched - d->line_count);
    (void)printf(d->line_count ? "\n" : "");
    print_summary(d);
}

static int list(struct dlq *d)
{
    d->act = "list";
    int code = dlq_work_off(d, false);
    if (code)
        return code;
    if (d->o->summary)
        print_summary(d);
    else
        print_list(d);
    return 0;
}

/* ---- show ---- */

static void print_whole(weir_str letter, struct arena *a)
{
    weir_str body = {0};
    for (weir_json_each e = {0}; json_next(letter, &e);) {
        if (weir_same(e.key, "body")) {
            body = e.value;
            continue;
        }
        weir_str text = dlq_plain(e.value, a);
        (void)printf("%-12.*s %.*s\n", (int)e.key.len, e.key.ptr, (int)text.len, text.ptr);
    }
    weir_str text = dlq_plain(body, a);
    (void)printf("\n%.*s\n", (int)text.len, text.ptr);
}

static int none_such(const struct dlq *d)
{
    struct error e = {0};
    (void)error_set(&e, EXIT_BAD_DATA,
                    "no dead letter %s: an event's id, or a number of `weir dlq ls`", d->id);
    return cli_fail(&e);
}

static int show(struct dlq *d)
{
    struct arena a;
    d->act = "show";
    int code = dlq_work_off(d, false);
    if (code)
        return code;
    if (!d->line_count)
        return none_such(d);
    arena_init(&a);
    for (size_t i = 0; i < d->line_count; i++) {
        if (d->o->json)
            (void)printf("%s\n", d->lines[i]);
        else
            print_whole(weir_text(d->lines[i]), &a);
    }
    arena_fini(&a);
    return 0;
}

/* ---- redrive and purge ---- */

static int tell(const struct dlq *d, const char *done)
{
    if (d->id && !d->matched && !is_interrupted)
        return none_such(d);
    if (d->o->json) {
        (void)printf("{\"matched\":%" PRIu64 ",\"%s\":%" PRIu64 ",\"busy\":%" PRIu64
                     ",\"gone\":%" PRIu64 ",\"is_dry_run\":%s,\"is_interrupted\":%s}\n",
                     d->matched, done, d->done, d->busy, d->gone, d->o->dry_run ? "true" : "false",
                     is_interrupted ? "true" : "false");
    } else {
        (void)printf(d->o->dry_run ? "dry run: %" PRIu64 " dead letters would be %s\n"
                                   : "%" PRIu64 " dead letters %s\n",
                     d->done, done);
    }
    if (d->gone)
        (void)fprintf(stderr,
                      "weir: %" PRIu64 " are kept: the pipeline file has no stage %.*s any more\n",
                      d->gone, (int)d->gone_names.len, d->gone_names.ptr);
    if (d->busy)
        (void)fprintf(stderr, "weir: %" PRIu64 " are kept: somebody is receiving them\n", d->busy);
    if (!is_interrupted)
        return 0;
    (void)fputs("weir: interrupted; what is left is as it was, the same command goes on\n", stderr);
    return 130;
}

/* Each queue numbers its letters from 0: a number alone would mean one of each. */
static int check_id(const struct dlq *d)
{
    uint64_t number;
    if (!d->id || d->queue_count < 2 || !text_to_u64(weir_text(d->id), &number))
        return 0;
    return cli_usage_error(&command_dlq,
                           "%zu queues hold dead letters, and each may have a number %s: name one "
                           "with --queue, such as %s",
                           d->queue_count, d->id, d->queues[0]);
}

static int redrive(struct dlq *d)
{
    d->act = "redrive";
    int code = check_id(d);
    if (!code)
        code = dlq_work_off(d, d->o->dry_run);
    return code ? code : tell(d, "redriven");
}

static bool is_confirmed(struct dlq *d, int *code)
{
    char answer[8] = "";
    if (d->o->yes || d->o->dry_run)
        return true;
    if (!isatty(STDIN_FILENO)) {
        *code = cli_usage_error(&command_dlq, "purge removes events for good: say --yes");
        return false;
    }
    *code = dlq_work_off(d, true);
    if (*code)
        return false;
    (void)fprintf(stderr, "remove %" PRIu64 " dead letters for good? [y/N] ", d->done);
    bool is_yes = fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y');
    if (!is_yes)
        (void)fputs("nothing was removed\n", stderr);
    return is_yes;
}

static int purge(struct dlq *d)
{
    d->act = "purge";
    int code = check_id(d);
    if (code || !is_confirmed(d, &code))
        return code;
    code = dlq_work_off(d, d->o->dry_run);
    return code ? code : tell(d, "purged");
}

/* ---- the command ---- */

static int check_options(struct dlq *d)
{
    const struct dlq_options *o = d->o;
    struct match_set *set;
    struct error e = {0};
    if (o->rate && !cli_read_rate(o->rate, &d->rate))
        return cli_usage_error(&command_dlq, "--rate is a number a second, such as 100/s");
    if (o->older_than && !unit_parse_duration(weir_text(o->older_than), &d->older_than_ns))
        return cli_usage_error(&command_dlq, "--older-than is a time such as 30m or 2h");
    if (!o->where)
        return 0;
    if (where_compile(weir_text(o->where), NULL, &set, &e) < 0)
        return cli_usage_error(&command_dlq, "--%s", e.text);
    match_set_free(set);
    return 0;
}

static void fini(struct dlq *d)
{
    for (size_t i = 0; i < d->queue_count; i++)
        mem_free(d->queues[i]);
    for (size_t i = 0; i < d->line_count; i++)
        mem_free(d->lines[i]);
    for (size_t i = 0; i < d->count_count; i++) {
        mem_free(d->counts[i].stage);
        mem_free(d->counts[i].class);
    }
    mem_free(d->queues);
    mem_free(d->lines);
    mem_free(d->counts);
    buf_fini(&d->gone_names);
    journal_close(d->journal);
    store_stages_free(d->stages);
    mem_free(d->data_dir);
}

static int run(void *given, int argc, char **argv)
{
    static const struct verb {
        const char *name;
        int (*fn)(struct dlq *d);
    } verbs[] = {{"ls", list}, {"show", show}, {"redrive", redrive}, {"purge", purge}, {0}};
    struct dlq d = {.o = given, .id = argc > 1 ? argv[1] : NULL, .is_interrupted = &is_interrupted};
    const struct verb *v = verbs;
    while (v->name && strcmp(v->name, argv[0]) != 0)
        v++;
    if (!v->name)
        return cli_usage_error(&command_dlq, "unknown action %s: ls, show, redrive or purge",
                               argv[0]);
    if (v->fn == list && d.id)
        return cli_usage_error(&command_dlq,
                               "too many arguments: %s: ls takes --queue, --stage "
                               "and such; show takes the id of one",
                               d.id);
    if (v->fn == show && !d.id)
        return cli_usage_error(&command_dlq, "show needs the id of an event");
    int code = check_options(&d);
    if (code)
        return code;
    code = store_find_stages(&d.o->store, &d.data_dir, &d.stages);
    if (!code && v->fn != list)
        (void)signal(SIGINT, on_interrupt);
    if (!code)
        code = dlq_find_queues(&d);
    if (!code)
        code = v->fn(&d);
    fini(&d);
    return code;
}

static const char *const actions[] = {"ls", "show", "redrive", "purge", NULL};

const struct cli_command command_dlq = {
    .name = "dlq",
    .usage = "ls | show ID | redrive [ID] | purge [ID]  [OPTIONS]",
    .summary = "List dead letters, send them back to their stages, remove them",
    .details =
        "Works on a running pipeline (through its admin listener) and on a stopped one. ID is "
        "that\n"
        "of an event, or the number of a letter. `redrive` sends each letter back to the stage "
        "that\n"
        "failed, once, and to no other; letters of stages that are not in the file any more stay.\n"
        "`purge` removes letters for good. Both can be interrupted: what was done is on disk, and\n"
        "the same command goes on with the rest.\n\n"
        "examples:\n"
        "  weir dlq ls --stage process_user --newest\n"
        "  weir dlq show 01a20572-54ab-7197-8d2b-723362056c58\n"
        "  weir dlq redrive --where '{\"detail\":{\"country\":[\"CH\"]}}' --rate 100/s\n"
        "  weir dlq purge --class rejected --older-than 7d --yes",
    .options = options,
    .size = sizeof(struct dlq_options),
    .arguments_min = 1,
    .arguments_max = 2,
    .actions = actions,
    .run = run,
};
