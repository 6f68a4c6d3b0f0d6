/* cli/journal.c: weir journal: verify the journal's files, print their records, set damage aside. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/store.h"
#include "journal/inspect.h"
#include "journal/keys.h"
#include "json/json.h"

struct options {
    struct cli_store store;
    const char *stream;
    int64_t from, limit;
    bool payload, live, json, dry_run;
};

static const struct cli_option options[] = {
    CLI_STORE_OPTIONS(struct options),
    {"stream", 0, "NAME", "dump: only records of this stream", CLI_TEXT,
     offsetof(struct options, stream)},
    {"from", 0, "N", "dump: only from this sequence on", CLI_NUMBER,
     offsetof(struct options, from)},
    {"limit", 'n', "N", "dump: at most so many lines (all)", CLI_COUNT,
     offsetof(struct options, limit)},
    {"live", 0, NULL, "dump: only what is not acknowledged", CLI_FLAG,
     offsetof(struct options, live)},
    {"payload", 0, NULL, "dump: with the payloads, which may hold secrets", CLI_FLAG,
     offsetof(struct options, payload)},
    {"dry-run", 0, NULL, "repair: say what would be done, change nothing", CLI_FLAG,
     offsetof(struct options, dry_run)},
    {"json", 0, NULL, "JSON in place of text", CLI_FLAG, offsetof(struct options, json)},
    {0},
};

struct job {
    const struct options *options;
    char *path; /* of the journal's directory */
    uint64_t lines;
    struct buf findings; /* for JSON */
    int percent;         /* told last; < 0: nobody looks */
};

/* ---- where it is ---- */

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A data directory, the journal in it, or a pipeline file. */
static int find(struct job *job, const char *given)
{
    struct cli_store store = job->options->store;
    char *data_dir = NULL;
    if (given && is_dir(given))
        store.data_dir = given;
    else if (given)
        store.config = given;
    int code = store_find(&store, &data_dir);
    if (code)
        return code;
    char *lock = mem_format("%s/lock", data_dir);
    bool is_journal = access(lock, F_OK) == 0;
    job->path = is_journal ? mem_text(data_dir) : mem_format("%s/journal", data_dir);
    mem_free(lock);
    mem_free(data_dir);
    if (is_dir(job->path))
        return 0;
    struct error e = {0};
    (void)store_no_journal(job->path, &e);
    return cli_fail(&e);
}

static struct journal *open_journal(const struct job *job, bool is_reader)
{
    struct error e = {0};
    const struct journal_options o = {.path = job->path,
                                      .kinds = journal_kinds,
                                      .lock_note = "weir journal repair",
                                      .is_reader = is_reader};
    struct journal *j = journal_open(&o, &e);
    if (!j)
        (void)cli_fail(&e);
    return j;
}

/* ---- check and repair ---- */

static void clear_progress(struct job *job)
{
    if (job->percent > 0)
        (void)fprintf(stderr, "\r%*s\r", 40, "");
}

static void progress(void *user, uint64_t done, uint64_t total)
{
    struct job *job = user;
    int percent = total ? (int)(done * 100 / total) : 100;
    if (job->percent < 0 || percent == job->percent)
        return;
    job->percent = percent;
    (void)fprintf(stderr, "\rread %d%% of %" PRIu64 " MiB", percent, total >> 20);
    (void)fflush(stderr);
}

static void finding(void *user, const char *text)
{
    struct job *job = user;
    clear_progress(job);
    if (!job->options->json) {
        (void)printf("%s\n", text);
        return;
    }
    if (job->findings.len)
        buf_add_text(&job->findings, ",");
    json_quote(&job->findings, weir_text(text));
}

static void print_stream(void *user, struct stream *s)
{
    uint64_t first = stream_first_live(s), next = stream_next(s);
    (void)printf("  %-32s %12" PRIu64 " live  first %12" PRIu64 "  next %12" PRIu64 "\n",
                 stream_name(s), stream_live(s), first, next);
}

struct listing {
    struct buf out;
};

static void add_stream(void *user, struct stream *s)
{
    struct listing *l = user;
    buf_add_text(&l->out, l->out.len ? ",{\"name\":" : "{\"name\":");
    json_quote(&l->out, weir_text(stream_name(s)));
    buf_print(&l->out, ",\"live\":%" PRIu64 ",\"first\":%" PRIu64 ",\"next\":%" PRIu64 "}",
              stream_live(s), stream_first_live(s), stream_next(s));
}

static void print_json(struct job *job, struct journal *j, const struct inspect_report *r,
                       const struct journal_health *h)
{
    struct listing l = {{0}};
    stream_each(j, add_stream, &l);
    (void)printf("{\"ok\":%s,\"segments\":%" PRIu64 ",\"cold_segments\":%" PRIu64
                 ",\"bytes\":%" PRIu64 ",\"groups\":%" PRIu64 ",\"records\":%" PRIu64
                 ",\"live\":%" PRIu64 ",\"unreadable\":%" PRIu64 ",\"damaged_bytes\":%" PRIu64
                 ",\"torn_bytes\":%" PRIu64 ",\"findings\":[%s],\"streams\":[%s]}\n",
                 r->findings ? "false" : "true", r->segments, r->cold, r->bytes, r->groups,
                 r->records, r->live, r->unreadable, r->damaged_bytes, h->cut_bytes,
                 buf_text(&job->findings), buf_text(&l.out));
    buf_fini(&l.out);
}

static void print_text(struct job *job, struct journal *j, const struct inspect_report *r,
                       const struct journal_health *h)
{
    (void)printf("journal %s\n", job->path);
    stream_each(j, print_stream, NULL);
    (void)printf("%" PRIu64 " segments (%" PRIu64 " cold), %" PRIu64 " free slots, %" PRIu64
                 " MiB; %" PRIu64 " groups, %" PRIu64 " records, %" PRIu64 " live\n",
                 r->segments, r->cold, r->free_slots, r->bytes >> 20, r->groups, r->records,
                 r->live);
    if (h->cut_bytes)
        (void)printf("a torn end of %" PRIu64
                     " bytes, of which nobody was told that it is durable; "
                     "the next run cuts it\n",
                     h->cut_bytes);
    if (r->harmless_places)
        (void)printf("%" PRIu64 " damaged places with nothing live in them\n", r->harmless_places);
    if (r->findings)
        (void)printf("%" PRIu64 " findings, %" PRIu64
                     " records cannot be read: stop the runner and "
                     "run `weir journal repair`\n",
                     r->findings, r->unreadable);
    else
        (void)printf("ok\n");
}

/* Files change under a look at a running journal; what is there twice is there. */
static int check(struct job *job)
{
    enum { TRIES = 4 };
    char holder[200];
    struct inspect_report report;
    struct inspect as = {.finding = finding, .progress = progress, .user = job};
    const struct inspect quiet = {.progress = progress, .user = job};
    bool is_live = inspect_holder(NULL, job->path, holder, sizeof holder);
    if (is_live)
        log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    for (int i = 0;; i++) {
        struct journal_health health;
        bool is_last = !is_live || i + 1 == TRIES;
        struct journal *j = open_journal(job, true);
        if (!j)
            return EXIT_BAD_DATA;
        journal_health(j, &health);
        inspect_check(j, is_last ? &as : &quiet, &report);
        clear_progress(job);
        if (is_last || report.findings == 0) {
            if (is_live && !job->options->json)
                (void)printf("in use by %s\n", holder);
            (job->options->json ? print_json : print_text)(job, j, &report, &health);
            journal_close(j);
            return report.findings ? 1 : EXIT_OK;
        }
        journal_close(j);
        (void)usleep(100000);
    }
}

static int repair(struct job *job)
{
    const struct inspect as = {.finding = finding, .progress = progress, .user = job};
    struct inspect_repaired done;
    struct error e = {0};
    struct journal *j =
        open_journal(job, false); /* recovers as each open does, or tells who has it */
    if (!j)
        return EXIT_NOT_AVAILABLE;
    struct journal_health h;
    journal_health(j, &h);
    int failed = inspect_repair(j, &as, &done, &e);
    clear_progress(job);
    journal_close(j);
    if (failed)
        return cli_fail(&e);
    if (job->options->json) {
        (void)printf("{\"damaged_places\":%" PRIu64 ",\"damaged_bytes\":%" PRIu64
                     ",\"records_lost\":%" PRIu64 ",\"headers\":%" PRIu64
                     ",\"checkpoints\":%" PRIu64 ",\"torn_bytes\":%" PRIu64 "}\n",
                     done.places, done.bytes, done.records + h.lost_records, done.headers,
                     done.checks, h.cut_bytes);
        return EXIT_OK;
    }
    (void)printf("torn end cut: %" PRIu64 " bytes\n"
                 "damaged places set aside in quarantine/: %" PRIu64 " (%" PRIu64 " bytes)\n"
                 "records taken out that could not be read: %" PRIu64 "\n"
                 "segment headers written anew: %" PRIu64 "\n"
                 "checkpoints written anew: %" PRIu64 "\n",
                 h.cut_bytes, done.places, done.bytes, done.records + h.lost_records, done.headers,
                 done.checks);
    return EXIT_OK;
}

static int repair_dry(struct job *job)
{
    char holder[200];
    struct error e = {0};
    if (inspect_holder(NULL, job->path, holder, sizeof holder)) {
        (void)error_set(&e, EXIT_NOT_AVAILABLE,
                        "journal %s: it is in use by %s: stop that process first", job->path,
                        holder[0] ? holder : "another process");
        return cli_fail(&e);
    }
    int code = check(job);
    if (!job->options->json)
        (void)printf("nothing was changed\n");
    return code == 1 ? EXIT_OK : code;
}

/* ---- dump ---- */

static const char *type_name(enum record_type type)
{
    static const char *const names[] = {"?",      "group",   "put",   "ack",   "trim", "note",
                                        "stream", "counter", "count", "moved", "end",  "void"};
    return type < sizeof names / sizeof *names ? names[type] : names[0];
}

static bool is_wanted(const struct options *o, const struct inspect_record *r)
{
    if (o->stream && (!r->stream || strcmp(r->stream, o->stream) != 0))
        return false;
    bool has_sequence = r->type == RECORD_PUT || r->type == RECORD_ACK || r->type == RECORD_TRIM;
    if (o->from && (!has_sequence || (r->sequence + r->count <= (uint64_t)o->from &&
                                      r->sequence != (uint64_t)o->from)))
        return false;
    return !o->live || r->is_live;
}

/* As it is where that is JSON, else with its other bytes as \xNN. */
static void add_payload(struct buf *out, weir_str body, bool is_json)
{
    if (is_json && text_is_utf8(body)) {
        buf_add_text(out, ",\"payload\":");
        json_quote(out, body);
        return;
    }
    buf_add_text(out, is_json ? ",\"payload_hex\":\"" : "  ");
    for (size_t i = 0; i < body.len; i++) {
        unsigned char c = (unsigned char)body.ptr[i];
        bool is_plain = !is_json && c >= 0x20 && c < 0x7F && c != '\\';
        if (is_plain)
            buf_add(out, body.ptr + i, 1);
        else
            buf_print(out, is_json ? "%02x" : "\\x%02x", c);
    }
    if (is_json)
        buf_add_text(out, "\"");
}

static void format_json(const struct options *o, const struct inspect_record *r, struct buf *out)
{
    buf_print(out,
              "{\"segment\":%" PRIu64 ",\"slot\":%" PRIu32 ",\"offset\":%" PRIu32
              ",\"type\":\"%s\",\"bytes\":%zu",
              r->segment, r->slot, r->offset, type_name(r->type), r->body.len);
    if (r->stream) {
        buf_add_text(out, ",\"stream\":");
        json_quote(out, weir_text(r->stream));
    }
    if (r->type == RECORD_PUT || r->type == RECORD_ACK || r->type == RECORD_TRIM)
        buf_print(out, ",\"sequence\":%" PRIu64, r->sequence);
    if (r->type == RECORD_ACK)
        buf_print(out, ",\"count\":%" PRIu64, r->count);
    if (r->type == RECORD_GROUP)
        buf_print(out, ",\"group\":%" PRIu64, r->sequence);
    if (r->type == RECORD_PUT)
        buf_print(out, ",\"live\":%s", r->is_live ? "true" : "false");
    if (o->payload && r->type == RECORD_PUT)
        add_payload(out, r->body, true);
    buf_add_text(out, "}");
}

static void format_text(const struct options *o, const struct inspect_record *r, struct buf *out)
{
    buf_print(out, "%6" PRIu64 " slot-%04" PRIu32 ":%-9" PRIu32 " %-7s", r->segment, r->slot,
              r->offset, type_name(r->type));
    if (r->type == RECORD_GROUP)
        buf_print(out, " %" PRIu64, r->sequence);
    if (r->stream)
        buf_print(out, " %s", r->stream);
    if (r->type == RECORD_PUT)
        buf_print(out, " #%" PRIu64 " %zu bytes%s", r->sequence, r->body.len,
                  r->is_live ? " live" : "");
    if (r->type == RECORD_ACK)
        buf_print(out, " #%" PRIu64 " and %" PRIu64 " after it", r->sequence,
                  r->count ? r->count - 1 : 0);
    if (r->type == RECORD_TRIM)
        buf_print(out, " below #%" PRIu64, r->sequence);
    if (o->payload && r->type == RECORD_PUT)
        add_payload(out, r->body, false);
}

static bool print_record(void *user, const struct inspect_record *r)
{
    struct job *job = user;
    const struct options *o = job->options;
    struct buf line = {0};
    if (!is_wanted(o, r))
        return true;
    (o->json ? format_json : format_text)(o, r, &line);
    (void)fwrite(line.ptr, 1, line.len, stdout);
    (void)putchar('\n');
    buf_fini(&line);
    job->lines++;
    return !ferror(stdout) && (o->limit == 0 || job->lines < (uint64_t)o->limit);
}

static int dump(struct job *job)
{
    const struct inspect as = {.record = print_record, .user = job};
    struct journal *j = open_journal(job, true);
    if (!j)
        return EXIT_BAD_DATA;
    inspect_each(j, &as);
    journal_close(j);
    return EXIT_OK;
}

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    struct job job = {.options = o, .percent = isatty(STDERR_FILENO) ? 0 : -1};
    const char *verb = argv[0];
    int (*act)(struct job * job) = strcmp(verb, "check") == 0    ? check
                                   : strcmp(verb, "dump") == 0   ? dump
                                   : strcmp(verb, "repair") == 0 ? repair
                                                                 : NULL;
    if (!act)
        return cli_usage_error(&command_journal, "unknown action %s: check, dump or repair", verb);
    if (act == repair && o->dry_run)
        act = repair_dry;
    int code = find(&job, argc > 1 ? argv[1] : NULL);
    if (!code)
        code = act(&job);
    mem_free(job.path);
    buf_fini(&job.findings);
    return code;
}

static const char *const actions[] = {"check", "dump", "repair", NULL};

const struct cli_command command_journal = {
    .name = "journal",
    .usage = "check | dump | repair  [DIR | PIPELINE-FILE] [OPTIONS]",
    .summary = "Verify the journal, print its records, set damage aside",
    .details =
        "DIR is a data directory or the journal in it. `check` and `dump` change nothing and work\n"
        "beside a runner; `check` exits with 1 when something is wrong. `dump` leaves payloads "
        "out\n"
        "unless --payload is given. `repair` needs the runner stopped: it copies damaged bytes to\n"
        "quarantine/, takes records that cannot be read out of their streams, and writes headers\n"
        "and checkpoints anew.\n\n"
        "examples:\n"
        "  weir journal check data\n"
        "  weir journal dump config/pipeline.yaml --stream dead-letters --live --json\n"
        "  weir journal repair data --dry-run",
    .options = options,
    .size = sizeof(struct options),
    .arguments_min = 1,
    .arguments_max = 2,
    .actions = actions,
    .run = run,
};
