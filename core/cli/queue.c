/* cli/queue.c: weir queue: look into queues, purge and redrive them, live or stopped. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "pipeline/control.h"
#include "pipeline/letters.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    int64_t max;
    const char *to;
    bool json;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"max", 'n', "N", "peek, redrive: at most so many messages (peek: 10; redrive: all)", CLI_COUNT,
     offsetof(struct options, max)},
    {"to", 0, "QUEUE", "redrive: into this queue, not back to the stages", CLI_TEXT,
     offsetof(struct options, to)},
    {"json", 0, NULL, "JSON instead of a table (ls)", CLI_FLAG, offsetof(struct options, json)},
    {0},
};

static weir_str member(weir_str object, const char *name)
{
    weir_str v = json_find(object, name);
    if (v.ptr && json_kind(v) == WEIR_JSON_TEXT && v.len >= 2)
        return (weir_str){v.ptr + 1, v.len - 2}; /* names need no escapes */
    return v.ptr ? v : weir_text("-");
}

static void print_table(weir_str list)
{
    static const char *const columns[] = {"name",    "kind",  "visible",        "hidden",
                                          "delayed", "bytes", "oldest_seconds", "dead_letters"};
    static const int widths[] = {24, 7, 9, 7, 8, 10, 14, 0};
    enum { N = sizeof columns / sizeof *columns };
    for (size_t i = 0; i < N; i++)
        (void)printf(i < 2 || i == N - 1 ? "%-*s " : "%*s ", widths[i], columns[i]);
    (void)printf("\n");
    for (weir_json_each e = {0}; json_next(list, &e);) {
        for (size_t i = 0; i < N; i++) {
            weir_str v = member(e.value, columns[i]);
            (void)printf(i < 2 || i == N - 1 ? "%-*.*s " : "%*.*s ", widths[i], (int)v.len, v.ptr);
        }
        (void)printf("\n");
    }
}

static void print_answer(const struct options *o, const char *verb, const struct buf *out)
{
    if (strcmp(verb, "ls") == 0 && !o->json)
        print_table(json_trim(buf_str(out)));
    else if (out->len)
        (void)fwrite(out->ptr, 1, out->len, stdout);
}

static char *target_of(const struct options *o, const char *verb, const char *name)
{
    if (strcmp(verb, "ls") == 0)
        return mem_text("/queues");
    char *part = store_part(name), *to = store_part(o->to ? o->to : ""), *target;
    if (strcmp(verb, "peek") == 0)
        target = mem_format("/queues/%s/messages?max=%" PRId64, part, o->max ? o->max : 10);
    else if (strcmp(verb, "purge") == 0)
        target = mem_format("/queues/%s/purge", part);
    else
        target = mem_format("/queues/%s/redrive?max=%" PRId64 "%s%s", part, o->max,
                            o->to ? "&to=" : "", to);
    mem_free(part);
    mem_free(to);
    return target;
}

/* Each dead letter to the stage that it came from. */
static int redrive_back(struct journal *j, const char *name, uint64_t max, char *const *stages,
                        struct buf *out, struct error *e)
{
    struct letters_page page = {0};
    struct letters_query q = {.journal = j,
                              .act = LETTERS_REDRIVE,
                              .queue = name,
                              .stages = stages};
    uint64_t moved = 0, left = 0;
    int failed = 0;
    do {
        letters_page_fini(&page);
        page = (struct letters_page){0};
        q.max = max && max - moved < LETTERS_PAGE ? max - moved : LETTERS_PAGE;
        failed = letters_page(&q, &page, NULL, NULL, e);
        moved += page.done;
        left += page.gone + page.busy;
        q.from = page.next;
        q.until = page.until;
        if (page.is_failed)
            failed = error_set(e, EXIT_IO, "redrive %s: the journal cannot be written", name);
    } while (!failed && !page.is_over && (!max || moved < max));
    letters_page_fini(&page);
    buf_print(out, "{\"moved\":%" PRIu64 ",\"left\":%" PRIu64 "}\n", moved, left);
    return failed;
}

static int stopped(const struct options *o, const char *verb, const char *name,
                   const char *data_dir, char *const *stages, struct buf *out)
{
    struct error e = {0};
    uint64_t purged = 0;
    struct redrive r = {.from = name, .to = o->to, .max = (uint64_t)o->max};
    bool is_looking = strcmp(verb, "ls") == 0 || strcmp(verb, "peek") == 0;
    struct journal *j = is_looking ? store_read(data_dir, &e) : store_open(data_dir, &e);
    if (!j)
        return cli_fail(&e);
    int failed = 0;
    if (strcmp(verb, "ls") == 0)
        control_list(j, out);
    else if (strcmp(verb, "peek") == 0)
        failed = control_peek(j, name, o->max ? (size_t)o->max : 10, out, &e);
    else if (strcmp(verb, "purge") == 0)
        failed = control_purge(j, NULL, name, &purged, &e);
    else if (o->to)
        failed = control_redrive(j, &r, &e);
    else
        failed = redrive_back(j, name, (uint64_t)o->max, stages, out, &e);
    journal_close(j);
    if (failed)
        return cli_fail(&e);
    if (strcmp(verb, "purge") == 0)
        buf_print(out, "{\"purged\":%" PRIu64 "}\n", purged);
    if (strcmp(verb, "redrive") == 0 && o->to)
        buf_print(out, "{\"moved\":%" PRIu64 ",\"left\":0}\n", r.moved);
    return 0;
}

static const char *const verbs[] = {"ls", "peek", "purge", "redrive", NULL};

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    const char *verb = argv[0], *name = argc > 1 ? argv[1] : NULL;
    char *data_dir = NULL, **stages = NULL;
    struct buf out = {0};
    size_t known = 0;
    while (verbs[known] && strcmp(verbs[known], verb) != 0)
        known++;
    if (!verbs[known])
        return cli_usage_error(&command_queue, "unknown action %s: ls, peek, purge or redrive",
                               verb);
    if (!known && name)
        return cli_usage_error(&command_queue, "ls lists all queues: too many arguments: %s", name);
    if (known && !name)
        return cli_usage_error(&command_queue, "%s needs the name of a queue", verb);
    int code = store_find_stages(&o->store, &data_dir, &stages);
    if (code)
        return code;
    char *target = target_of(o, verb, name);
    code = store_ask(data_dir, known >= 2 ? "POST" : "GET", target, &out);
    if (code == 1) {
        out.len = 0;
        code = stopped(o, verb, name, data_dir, stages, &out);
    }
    if (!code)
        print_answer(o, verb, &out);
    mem_free(target);
    mem_free(data_dir);
    store_stages_free(stages);
    buf_fini(&out);
    return code;
}

const struct cli_command command_queue = {
    .name = "queue",
    .usage = "ls | peek NAME | purge NAME | redrive NAME  [OPTIONS]",
    .summary = "Look into queues and dead letters, purge and redrive them",
    .details =
        "Works on a running pipeline (through its admin listener) and on a stopped one.\n"
        "`redrive` with --to moves messages into another queue; without it, dead letters go back "
        "to\n"
        "the stages that they came from, as with `weir dlq redrive`, which can also choose among\n"
        "them. `peek` changes nothing.\n\n"
        "examples:\n"
        "  weir queue ls -c config/pipeline.yaml\n"
        "  weir queue peek dead-letters -n 3\n"
        "  weir queue redrive orders-dlq --to orders",
    .options = options,
    .size = sizeof(struct options),
    .arguments_min = 1,
    .arguments_max = 2,
    .actions = verbs,
    .run = run,
};
