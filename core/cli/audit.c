/* cli/audit.c: weir audit: does the ledger balance with what is in the journal? */
#include "pipeline/audit.h"

#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    bool json, write_off;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"write-off", 0, NULL, "take a difference off for good: what is missing counts as lost",
     CLI_FLAG, offsetof(struct options, write_off)},
    {"json", 0, NULL, "JSON instead of a table", CLI_FLAG, offsetof(struct options, json)},
    {0},
};

static long long number_of(weir_str object, const char *name)
{
    weir_str v = json_find(object, name);
    return v.ptr ? (long long)json_number(v) : 0;
}

struct row {
    const char *key, *sign, *text;
};

static void print_rows(weir_str found, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)printf("%s %-16s %12lld   %s\n", rows[i].sign, rows[i].key,
                     number_of(found, rows[i].key), rows[i].text);
}

static void print_ledger(weir_str found)
{
    static const struct row rows[] = {
        {"accepted", " ", "events that sources brought"},
        {"copied", "+", "further branches, by fan-out"},
        {"redriven", "+", "dead letters sent back"},
        {"replayed", "+", "events brought again from archives"},
        {"repeated", "+", "done again after a crash"},
        {"delivered", "=", "taken by a sink"},
        {"filtered", "+", "ended on purpose"},
        {"dead_lettered", "+", "kept as dead letters"},
        {"dropped", "+", "as the file says"},
        {"returned", "+", "given back to their source"},
        {"lost", "+", "missing, and written off"},
        {"on_disk", "+", "in flight, in the streams of the stages (counted there)"},
        {"in_memory", "+", "in flight, in memory alone"},
    };
    print_rows(found, rows, sizeof rows / sizeof *rows);
}

static void print_stages(weir_str found)
{
    weir_str stages = json_find(found, "stages");
    (void)printf("\n%-24s %12s   %12s   %12s\n", "stage", "stored", "= ended", "+ waiting");
    for (weir_json_each e = {0}; json_next(stages, &e);) {
        weir_str name = json_find(e.value, "name"); /* a stage's name has no escapes */
        (void)printf("%-24.*s %12lld   %12lld   %12lld\n", (int)name.len - 2, name.ptr + 1,
                     number_of(e.value, "stored"), number_of(e.value, "ended"),
                     number_of(e.value, "waiting"));
    }
}

static void print_difference(weir_str found)
{
    long long difference = number_of(found, "difference");
    if (difference)
        (void)printf("it does not balance: %lld %s\n", difference > 0 ? difference : -difference,
                     difference > 0 ? "are missing" : "are there that nothing accounts for");
    for (weir_json_each e = {0}; json_next(json_find(found, "stages"), &e);) {
        long long n = number_of(e.value, "difference");
        weir_str name = json_find(e.value, "name");
        if (n)
            (void)printf("stage %.*s: %lld records %s\n", (int)name.len - 2, name.ptr + 1,
                         n > 0 ? n : -n, n > 0 ? "are missing" : "have ended more than once");
    }
}

static int print_found(const struct options *o, struct buf *out)
{
    weir_str found = json_trim(buf_str(out));
    bool is_balanced = weir_same(json_find(found, "balanced"), "true");
    if (o->json) {
        (void)fwrite(out->ptr, 1, out->len, stdout);
        return is_balanced ? EXIT_OK : EXIT_TESTS_FAILED;
    }
    print_ledger(found);
    print_stages(found);
    (void)printf("\n");
    long long written_off = number_of(found, "written_off");
    if (written_off)
        (void)printf("written off: %lld %s\n", written_off > 0 ? written_off : -written_off,
                     written_off > 0 ? "that are missing, as lost"
                                     : "that nothing accounted for, as repeated");
    if (is_balanced)
        (void)printf("it balances\n");
    else
        print_difference(found);
    return is_balanced ? EXIT_OK : EXIT_TESTS_FAILED;
}

static int read_stopped(const char *data_dir, bool is_written_off, struct buf *out)
{
    struct error e = {0};
    struct audit found;
    int failed = 0;
    struct journal *j = is_written_off ? store_open(data_dir, &e) : store_read(data_dir, &e);
    if (!j)
        return cli_fail(&e);
    audit_init(&found);
    if (is_written_off)
        failed = audit_write_off(&found, j, NULL, &e);
    else
        audit_read(&found, j);
    audit_print(&found, out);
    audit_fini(&found);
    journal_close(j);
    return failed ? cli_fail(&e) : 0;
}

static int run(void *given, int argc, char **argv)
{
    struct options *o = given;
    struct stat st;
    struct buf out = {0};
    char *data_dir = NULL;
    if (argc && stat(argv[0], &st) == 0 && S_ISDIR(st.st_mode))
        o->store.data_dir = argv[0];
    else if (argc)
        o->store.config = argv[0];
    int code = store_find(&o->store, &data_dir);
    if (code)
        return code;
    code = o->write_off ? store_ask(data_dir, "POST", "/audit/write-off", &out)
                        : store_ask(data_dir, "GET", "/audit", &out);
    if (code == 1) {
        out.len = 0;
        code = read_stopped(data_dir, o->write_off, &out);
    }
    if (!code)
        code = print_found(o, &out);
    buf_fini(&out);
    mem_free(data_dir);
    return code;
}

const struct cli_command command_audit = {
    .name = "audit",
    .usage = "[pipeline.yaml | DATA_DIR] [OPTIONS]",
    .summary = "Check that the ledger balances with what is in the journal",
    .details =
        "Counts the records in the journal and compares them with the ledger: of a running "
        "pipeline\n"
        "at one moment, of a stopped one as it lies on disk. Nothing is written. Exit code 0: it\n"
        "balances; 1: it does not, and the difference is told, with the stage: so it is after "
        "damage\n"
        "to the disk. Once `weir journal check` and the log have told what was lost, --write-off\n"
        "takes the difference off: what is missing is counted as `lost` from then on.\n\n"
        "example:\n"
        "  weir audit config/pipeline.yaml",
    .options = options,
    .size = sizeof(struct options),
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run,
};
