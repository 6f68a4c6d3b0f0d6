/* cli/reload.c: weir reload: has a running pipeline read its file again. */
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    bool wait, json;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"wait", 'w', NULL, "wait until the new file serves, or is refused", CLI_FLAG,
     offsetof(struct options, wait)},
    {"json", 0, NULL, "print the runner's answer as it is", CLI_FLAG,
     offsetof(struct options, json)},
    {0},
};

static weir_str text_of(weir_str object, const char *name, struct arena *a)
{
    weir_str v = json_find(object, name);
    return v.ptr && json_kind(v) == WEIR_JSON_TEXT ? json_unquote(v, a) : (weir_str){"", 0};
}

static void print_stages(weir_str object, const char *name)
{
    weir_str list = json_find(object, name);
    if (!list.ptr)
        return;
    for (weir_json_each e = {0}; json_next(list, &e);)
        (void)printf("%-9s %.*s\n", name, (int)e.value.len - 2, e.value.ptr + 1);
}

static int tell(const struct options *o, weir_str answer)
{
    struct arena texts;
    arena_init(&texts);
    answer = json_trim(answer);
    bool is_ok = weir_same(text_of(answer, "result", &texts), "ok");
    if (o->json) {
        (void)printf("%.*s\n", (int)answer.len, answer.ptr);
    } else if (is_ok) {
        static const char *const lists[] = {"added", "removed", "changed", NULL};
        for (size_t i = 0; lists[i]; i++)
            print_stages(answer, lists[i]);
        weir_str left = json_find(answer, "unchanged"), took = json_find(answer, "milliseconds");
        (void)printf("reloaded in %.*s ms, %.*s stages unchanged\n", (int)took.len, took.ptr,
                     (int)left.len, left.ptr);
    } else {
        weir_str why = text_of(answer, "reason", &texts);
        weir_str more = text_of(answer, "diagnostics", &texts);
        (void)fprintf(stderr, "%.*s", (int)more.len, more.ptr);
        (void)fprintf(stderr, "weir: refused, the pipeline goes on as it was: %.*s\n", (int)why.len,
                      why.ptr);
    }
    arena_fini(&texts);
    return is_ok ? EXIT_OK : EXIT_CONFIG;
}

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    char *data_dir = NULL;
    struct buf out = {0};
    int code = store_find(&o->store, &data_dir);
    if (code)
        return code;
    code = store_ask(data_dir, "POST", o->wait ? "/reload" : "/reload?wait=0", &out);
    if (code == 1) {
        struct error e = {0};
        (void)error_set(&e, EXIT_NOT_AVAILABLE,
                        "no runner uses %s (or its admin listener is off): start it with weir run",
                        data_dir);
        code = cli_fail(&e);
    } else if (!code && o->wait) {
        code = tell(o, buf_str(&out));
    }
    mem_free(data_dir);
    buf_fini(&out);
    return code;
}

const struct cli_command command_reload = {
    .name = "reload",
    .usage = "[OPTIONS]",
    .summary = "Have a running pipeline read its file again",
    .details =
        "The runner reads, checks and starts what is new beside what runs, exchanges the two at\n"
        "once, and lets the old finish what it has in hand. Stages that are the same in both "
        "files\n"
        "stay as they are. If anything fails, nothing has changed. SIGHUP does the same.\n\n"
        "With --wait the exit code is 0 when the new file serves and 78 when it was refused.\n\n"
        "examples:\n"
        "  weir reload --wait -c config/pipeline.yaml\n"
        "  weir reload --wait --data-dir /var/lib/weir",
    .options = options,
    .size = sizeof(struct options),
    .run = run,
};
