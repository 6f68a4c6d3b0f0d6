/* cli/dlq.c: weir dlq: dead letters listed, shown, sent back to their stages, removed; live or stopped. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "config/config.h"
#include "pipeline/letters.h"
#include "pipeline/where.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    const char *queue, *stage, *class, *where, *older_than, *rate;
    int64_t limit;
    bool newest, summary, json, dry_run, yes;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"queue", 'q', "NAME", "this queue's alone (default: all that hold dead letters)", CLI_TEXT,
     offsetof(struct options, queue)},
    {"stage", 0, "STAGE", "of this stage alone", CLI_TEXT, offsetof(struct options, stage)},
    {"class", 0, "CLASS", "of this class alone, such as rejected", CLI_TEXT,
     offsetof(struct options, class)},
    {"where", 'w', "PATTERN", "events that match this event pattern alone", CLI_TEXT,
     offsetof(struct options, where)},
    {"older-than", 0, "TIME", "dead for longer than this alone, such as 2h", CLI_TEXT,
     offsetof(struct options, older_than)},
    {"limit", 'n', "N", "at most so many (ls: 50; else all)", CLI_COUNT,
     offsetof(struct options, limit)},
    {"newest", 0, NULL, "ls: the newest first, not the oldest", CLI_FLAG,
     offsetof(struct options, newest)},
    {"summary", 0, NULL, "ls: only the counts by stage and class", CLI_FLAG,
     offsetof(struct options, summary)},
    {"json", 0, NULL, "a JSON object a line", CLI_FLAG, offsetof(struct options, json)},
    {"rate", 0, "N/s", "redrive, purge: at most so many in a second", CLI_TEXT,
     offsetof(struct options, rate)},
    {"dry-run", 0, NULL, "redrive, purge: tell what would be done", CLI_FLAG,
     offsetof(struct options, dry_run)},
    {"yes", 'y', NULL, "purge: do not ask", CLI_FLAG, offsetof(struct options, yes)},
    {0},
};

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int number)
{
    is_interrupted = 1;
}

struct count { /* of one stage and class */
    char *stage, *class;
    uint64_t n;
};

struct dlq {
    const struct options *o;
    const char *act, *id;
    char *data_dir, **stages;
    struct journal *journal; /* of a stopped pipeline, once it was asked for */
    bool is_writer;          /* it can be changed */
    char **queues;
    size_t queue_count, queue_cap;
    int64_t older_than_ns;
    double rate;
    uint64_t total; /* letters in the queues at the beginning */
    uint64_t matched, done, busy, gone, seen;
    struct buf gone_names;
    struct count *counts;
    size_t count_count, count_cap;
    char **lines; /* ls: those to print, in the order of the queue */
    size_t line_count, line_cap;
    bool is_cut;
    int64_t begun_ns;
};

/* ---- asking ---- */

static weir_str text_of(weir_str object, const char *name, struct arena *a)
{
    weir_str v = json_find(object, name);
    if (v.ptr && json_kind(v) == WEIR_JSON_TEXT)
        return json_unquote(v, a);
    return v.ptr ? v : weir_text("");
}

static uint64_t number_of(weir_str object, const char *name)
{
    uint64_t n = 0;
    weir_str v = json_find(object, name);
    return v.ptr && text_to_u64(v, &n) ? n : 0;
}

/* To look is no reason to keep a runner from starting, or to write. */
static int open_stopped(struct dlq *d, bool is_to_change)
{
    struct error e = {0};
    if (d->journal && (d->is_writer || !is_to_change))
        return 0;
    journal_close(d->journal);
    d->journal = is_to_change ? store_open(d->data_dir, &e) : store_read(d->data_dir, &e);
    d->is_writer = is_to_change;
    return d->journal ? 0 : cli_fail(&e);
}

static int page_stopped(struct dlq *d, weir_str request, bool is_to_change, struct buf *out)
{
    struct letters_query q;
    struct letters_page page = {0};
    struct error e = {0};
    struct arena a;
    int code = open_stopped(d, is_to_change);
    if (code)
        return code;
    arena_init(&a);
    if (letters_query_read(request, &q, &a, &e) == 0) {
        q.journal = d->journal;
        q.stages = d->stages;
        (void)letters_page(&q, &page, NULL, NULL, &e);
        if (page.is_failed)
            (void)error_set(&e, EXIT_IO, "%s: the journal cannot be written", d->data_dir);
    }
    letters_page_print(&page, out);
    letters_page_fini(&page);
    arena_fini(&a);
    return e.code ? cli_fail(&e) : 0;
}

static void add_member(struct buf *out, const char *key, const char *text)
{
    if (!text || !*text)
        return;
    buf_print(out, ",\"%s\":", key);
    json_quote(out, weir_text(text));
}

static uint64_t page_size(const struct dlq *d)
{
    uint64_t size = LETTERS_PAGE, limit = (uint64_t)d->o->limit;
    if (d->rate > 0 && d->rate / 10 < (double)size)
        size = d->rate < 10 ? 1 : (uint64_t)(d->rate / 10);
    bool is_listing = strcmp(d->act, "list") == 0;
    if (!is_listing && limit && limit - d->matched < size)
        size = limit - d->matched;
    return size;
}

static int ask_page(struct dlq *d, const char *queue, uint64_t from, uint64_t until, bool is_dry,
                    struct buf *out)
{
    struct buf request = {0};
    buf_print(&request,
              "{\"act\":\"%s\",\"from\":%" PRIu64 ",\"until\":%" PRIu64 ",\"max\":%" PRIu64
              ",\"older_than_ns\":%" PRId64 ",\"dry_run\":%s",
              d->act, from, until, page_size(d), d->older_than_ns, is_dry ? "true" : "false");
    add_member(&request, "queue", queue);
    add_member(&request, "stage", d->o->stage);
    add_member(&request, "class", d->o->class);
    add_member(&request, "id", d->id);
    if (d->o->where)
        buf_print(&request, ",\"where\":%s", d->o->where);
    buf_add_char(&request, '}');
    int code = d->journal ? 1 : store_post(d->data_dir, "/dead-letters", buf_str(&request), out);
    if (code == 1) {
        out->len = 0;
        bool is_looking = is_dry || strcmp(d->act, "list") == 0 || strcmp(d->act, "show") == 0;
        code = page_stopped(d, buf_str(&request), !is_looking, out);
    }
    buf_fini(&request);
    return code;
}

static int find_queues(struct dlq *d)
{
    struct buf out = {0};
    struct arena a;
    int code = store_ask(d->data_dir, "GET", "/dead-letters", &out);
    if (code == 1) {
        out.len = 0;
        code = open_stopped(d, false);
        if (!code)
            letters_queues(d->journal, &out);
    }
    arena_init(&a);
    weir_str list = json_trim(buf_str(&out));
    for (weir_json_each e = {0}; !code && json_next(list, &e);) {
        weir_str name = text_of(e.value, "name", &a);
        if (d->o->queue && !weir_same(name, d->o->queue))
            continue;
        MEM_PUSH(d->queues, d->queue_count, d->queue_cap) = mem_copy(name.ptr, name.len);
        d->total += number_of(e.value, "letters");
    }
    if (!code && d->o->queue && !d->queue_count) /* it holds none, or is none: that is told then */
        MEM_PUSH(d->queues, d->queue_count, d->queue_cap) = mem_text(d->o->queue);
    arena_fini(&a);
    buf_fini(&out);
    return code;
}

/* ---- what comes back ---- */

static bool is_same(const char *text, weir_str s)
{
    return strlen(text) == s.len && memcmp(text, s.ptr, s.len) == 0;
}

static void add_count(struct dlq *d, weir_str stage, weir_str class)
{
    for (size_t i = 0; i < d->count_count; i++)
        if (is_same(d->counts[i].stage, stage) && is_same(d->counts[i].class, class)) {
            d->counts[i].n++;
            return;
        }
    MEM_PUSH(d->counts, d->count_count, d->count_cap) =
        (struct count){mem_copy(stage.ptr, stage.len), mem_copy(class.ptr, class.len), 1};
}

static void keep_line(struct dlq *d, weir_str line)
{
    uint64_t limit = d->o->limit ? (uint64_t)d->o->limit : 50;
    if (d->line_count == limit) {
        d->is_cut = true;
        if (!d->o->newest)
            return;
        mem_free(d->lines[0]);
        memmove(d->lines, d->lines + 1, --d->line_count * sizeof(char *));
    }
    MEM_PUSH(d->lines, d->line_count, d->line_cap) = mem_copy(line.ptr, line.len);
}

static void take_page(struct dlq *d, weir_str page, struct arena *a)
{
    d->matched += number_of(page, "matched");
    d->done += number_of(page, "done");
    d->busy += number_of(page, "busy");
    d->gone += number_of(page, "gone");
    for (weir_json_each e = {0}; json_next(json_find(page, "gone_stages"), &e);)
        if (!d->gone_names.len ||
            !memmem(d->gone_names.ptr, d->gone_names.len, e.value.ptr, e.value.len)) {
            buf_add_text(&d->gone_names, d->gone_names.len ? ", " : "");
            buf_add_str(&d->gone_names, e.value);
        }
    for (weir_json_each e = {0}; json_next(json_find(page, "letters"), &e);) {
        add_count(d, text_of(e.value, "stage", a), text_of(e.value, "class", a));
        keep_line(d, e.value);
    }
}

static void show_progress(const struct dlq *d)
{
    if (isatty(STDERR_FILENO))
        (void)fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " letters seen, %" PRIu64 " done ",
                      d->seen < d->total ? d->seen : d->total, d->total, d->done);
}

static void end_progress(const struct dlq *d)
{
    if (isatty(STDERR_FILENO))
        (void)fputs("\r\033[K", stderr);
}

enum { STUCK_NS = 100 * 1000 * 1000 };

static void wait_ns(int64_t ns)
{
    const struct timespec wait = {0, (long)ns};
    (void)nanosleep(&wait, NULL);
}

/* No faster than --rate: what was done until now tells when the next page is due. */
static void keep_pace(const struct dlq *d)
{
    if (d->rate <= 0)
        return;
    int64_t due = d->begun_ns + (int64_t)((double)d->matched / d->rate * 1e9);
    for (int64_t left; !is_interrupted && (left = due - clock_mono(&clock_real)) > 0;)
        wait_ns(left < STUCK_NS ? left : STUCK_NS);
}

static bool is_enough(const struct dlq *d)
{
    return is_interrupted ||
           (d->o->limit && strcmp(d->act, "list") != 0 && d->matched >= (uint64_t)d->o->limit);
}

static int work_off(struct dlq *d, const char *queue, bool is_dry)
{
    uint64_t from = 0, until = 0;
    bool is_over = false, is_stuck = false;
    int code = 0;
    while (!code && !is_over && !is_enough(d)) {
        struct buf out = {0};
        struct arena a;
        arena_init(&a);
        code = ask_page(d, queue, from, until, is_dry, &out);
        weir_str page = json_trim(buf_str(&out));
        if (!code) {
            uint64_t next = number_of(page, "next");
            is_stuck = next <= from;
            take_page(d, page, &a);
            d->seen += next > from ? next - from : 0;
            from = next;
            until = number_of(page, "until");
            is_over = weir_same(json_find(page, "is_over"), "true");
        }
        arena_fini(&a);
        buf_fini(&out);
        if (!code && !is_over && is_stuck) /* the runner is short of memory */
            wait_ns(STUCK_NS);
        if (!code && !is_over && strcmp(d->act, "list") != 0) {
            show_progress(d);
            keep_pace(d);
        }
    }
    return code;
}

static int work_off_all(struct dlq *d, bool is_dry)
{
    int code = 0;
    d->begun_ns = clock_mono(&clock_real);
    d->matched = d->done = d->busy = d->gone = d->seen = 0;
    for (size_t i = 0; i < d->queue_count && !code; i++)
        code = work_off(d, d->queues[i], is_dry);
    if (strcmp(d->act, "list") != 0)
        end_progress(d);
    return code;
}

/* ---- ls ---- */

static void print_row(weir_str letter, bool with_queue, struct arena *a)
{
    weir_str reason = text_of(letter, "reason", a), code = text_of(letter, "code", a);
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
        weir_str v = text_of(letter, columns[i].name, a);
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
            add_member(&line, "stage", d->counts[i].stage);
            add_member(&line, "class", d->counts[i].class);
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
    int code = work_off_all(d, false);
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
        weir_str text = json_kind(e.value) == WEIR_JSON_TEXT ? json_unquote(e.value, a) : e.value;
        (void)printf("%-12.*s %.*s\n", (int)e.key.len, e.key.ptr, (int)text.len, text.ptr);
    }
    weir_str text = body.ptr && json_kind(body) == WEIR_JSON_TEXT ? json_unquote(body, a) : body;
    (void)printf("\n%.*s\n", (int)text.len, text.ptr ? text.ptr : "");
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
    int code = work_off_all(d, false);
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
        code = work_off_all(d, d->o->dry_run);
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
    *code = work_off_all(d, true);
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
    code = work_off_all(d, d->o->dry_run);
    return code ? code : tell(d, "purged");
}

/* ---- the command ---- */

static int check_options(struct dlq *d)
{
    const struct options *o = d->o;
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
    struct dlq d = {.o = given, .id = argc > 1 ? argv[1] : NULL};
    const struct verb *v = verbs;
    while (v->name && strcmp(v->name, argv[0]) != 0)
        v++;
    if (!v->name)
        return cli_usage_error(&command_dlq, "unknown action %s: ls, show, redrive or purge",
                               argv[0]);
    if (v->fn == show && !d.id)
        return cli_usage_error(&command_dlq, "show needs the id of an event");
    int code = check_options(&d);
    if (code)
        return code;
    code = store_find_stages(&d.o->store, &d.data_dir, &d.stages);
    if (!code && v->fn != list)
        (void)signal(SIGINT, on_interrupt);
    if (!code)
        code = find_queues(&d);
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
    .size = sizeof(struct options),
    .arguments_min = 1,
    .arguments_max = 2,
    .actions = actions,
    .run = run,
};
