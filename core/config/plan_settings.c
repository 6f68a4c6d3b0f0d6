/* config/plan_settings.c: the core's own option tables, and the settings beside the stages. */
#include <string.h>

#include "base/text.h"
#include "config/plan_tables.h"

static const weir_option aws_options[] = {
    WEIR_OPTION(struct plan_aws, endpoint, .preset = "embedded",
                .help = "embedded, aws, or the URL of something that speaks like AWS"),
    WEIR_OPTION(struct plan_aws, region, .preset = "us-east-1", .help = "region of all services"),
    WEIR_OPTION(struct plan_aws, account, .preset = "000000000000",
                .help = "account number in the ARNs of embedded services: 12 digits"),
    {0}};

static const weir_option admin_options[] = {
    WEIR_OPTION(struct plan_admin, listen, .preset = "127.0.0.1:9600",
                .help = "address of health, metrics and control, or off"),
    {0}};

static const weir_option journal_options[] = {
    WEIR_OPTION(struct plan_journal, max_size, .preset = "10GiB", .min = 16777216, .max = 1e18,
                .help = "of all files on disk; then sources are held back"),
    WEIR_OPTION(struct plan_journal, durability, .preset = "fsync",
                .help = "what an accepted event survives: fsync (a power cut), interval(20ms) (a "
                        "power cut may take what came since then), os (a power cut may take what "
                        "the system has not written); each survives a kill"),
    {0}};

static const weir_option trace_options[] = {
    WEIR_OPTION(struct plan_trace, enabled, .preset = "true", .help = "keep where each event went"),
    WEIR_OPTION(struct plan_trace, explain, .preset = "10", .min = 0, .max = 1e6,
                .help = "of so many events a second, for each worker, keep also why rules and "
                        "`where` match or not, with the values that decide; 0: of none"),
    WEIR_OPTION(struct plan_trace, max_size, .preset = "64MiB", .min = 65536, .max = 1e18,
                .help = "of what is kept; the oldest goes first"),
    {0}};

const weir_option plan_settings_options[] = {
    WEIR_OPTION(struct plan_file, data_dir, .preset = "data", .min = 1, .max = 4000,
                .help = "folder of the journal; a relative one starts at the pipeline file"),
    WEIR_OPTION(struct plan_file, aws, WEIR_ITEMS(struct plan_aws, aws_options), .preset = "{}",
                .help = "where the AWS services are"),
    WEIR_OPTION(struct plan_file, admin, WEIR_ITEMS(struct plan_admin, admin_options),
                .preset = "{}", .help = "health, metrics and control"),
    WEIR_OPTION(struct plan_file, journal, WEIR_ITEMS(struct plan_journal, journal_options),
                .preset = "{}", .help = "what keeps events on disk"),
    WEIR_OPTION(struct plan_file, trace, WEIR_ITEMS(struct plan_trace, trace_options),
                .preset = "{}", .help = "the memory of weir trace"),
    WEIR_OPTION(struct plan_file, workers, .preset = "0", .min = 0, .max = 256,
                .help = "threads that carry events; 0 is one for each CPU"),
    WEIR_OPTION(struct plan_file, memory, .preset = "256MiB", .min = 1048576, .max = 1e15,
                .help = "of all that events take while in memory; then sources are held back"),
    WEIR_OPTION(struct plan_file, drain, .preset = "30s", .min = 0, .max = 86400e9,
                .help = "time to deliver what is under way when stopping"),
    WEIR_OPTION(struct plan_file, plugins, .help = "more folders with plugins"),
    {0}};

static const weir_option buffer_options[] = {
    WEIR_OPTION(struct plan_buffer, type, .choices = "auto|memory|durable", .preset = "auto",
                .help = "auto: durable, unless the sink keeps events as safely itself"),
    WEIR_OPTION(struct plan_buffer, max_events, .preset = "0", .min = 0, .max = 1e15,
                .help = "events that may wait here; 0 is no limit but the bytes"),
    WEIR_OPTION(struct plan_buffer, max_bytes, .preset = "1GiB", .min = 65536, .max = 1e18,
                .help = "bytes that may wait here"),
    WEIR_OPTION(struct plan_buffer, when_full, .choices = "block|drop_oldest|dead_letter",
                .preset = "block", .help = "hold the sources back, or let events go"),
    {0}};

static const weir_option batch_options[] = {
    WEIR_OPTION(struct plan_batch, max_events, .preset = "500", .min = 1, .max = 100000,
                .help = "events in one batch"),
    WEIR_OPTION(struct plan_batch, max_bytes, .preset = "1MiB", .min = 1, .max = 1073741824,
                .help = "payload bytes in one batch; a larger event travels alone"),
    WEIR_OPTION(struct plan_batch, max_wait, .preset = "0s", .min = 0, .max = 3600e9,
                .help = "time to wait for a batch to fill"),
    {0}};

static const weir_option retry_options[] = {
    WEIR_OPTION(struct plan_retry, max_attempts, .preset = "0", .min = 0, .max = 1000000,
                .help = "attempts in all; 0 is no limit but the age; a transform's preset is 5"),
    WEIR_OPTION(struct plan_retry, max_age, .preset = "24h", .min = 0, .max = 366 * 86400e9,
                .help = "age of an event at which it is given up"),
    WEIR_OPTION(struct plan_retry, backoff, .preset = "200ms", .min = 1e6, .max = 3600e9,
                .help = "longest wait before the second attempt; doubles each time, full jitter"),
    WEIR_OPTION(struct plan_retry, backoff_max, .preset = "30s", .min = 1e6, .max = 86400e9,
                .help = "where the doubling ends"),
    {0}};

static const weir_option breaker_options[] = {
    WEIR_OPTION(struct plan_breaker, enabled, .preset = "true",
                .help = "leave a sink alone while all that it is sent fails"),
    WEIR_OPTION(struct plan_breaker, failures, .preset = "10", .min = 0, .max = 1000000,
                .help = "batches that fail in a row until it opens; 0 does not count them"),
    WEIR_OPTION(struct plan_breaker, share, .preset = "0.8", .min = 0, .max = 1,
                .help = "share of batches that fail, of 20 or more in the window, until it opens; "
                        "0 does not look at it"),
    WEIR_OPTION(struct plan_breaker, window, .preset = "10s", .min = 1e6, .max = 3600e9,
                .help = "of the share"),
    WEIR_OPTION(struct plan_breaker, probe_after, .preset = "1s", .min = 1e6, .max = 3600e9,
                .help = "until it is tried with one event; doubles each time that fails"),
    WEIR_OPTION(struct plan_breaker, probe_max, .preset = "1m", .min = 1e6, .max = 86400e9,
                .help = "where the doubling ends"),
    WEIR_OPTION(struct plan_breaker, successes, .preset = "2", .min = 1, .max = 1000,
                .help = "single events that have to be taken until it closes"),
    {0}};

static const weir_option concurrency_options[] = {
    WEIR_OPTION(struct plan_concurrency, limit,
                .help =
                    "a number, or adaptive: as many as the sink takes without getting slower; 0 "
                    "is the stage's own choice"),
    WEIR_OPTION(struct plan_concurrency, min, .preset = "1", .min = 1, .max = 10000,
                .help = "adaptive: never less, and what it begins with"),
    WEIR_OPTION(struct plan_concurrency, max, .preset = "200", .min = 1, .max = 10000,
                .help = "adaptive: never more"),
    {0}};

static const weir_option fallback_options[] = {
    WEIR_OPTION(struct plan_fallback, to, .required = true,
                .help = "another sink that gets what would go to the dead letters"),
    WEIR_OPTION(struct plan_fallback, after, .preset = "0s", .min = 0, .max = 366 * 86400e9,
                .help = "and all that waits, once the breaker has been open for so long; 0s: only "
                        "what is given up"),
    {0}};

const weir_option plan_delivery_options[] = {
    WEIR_OPTION(struct plan_delivery, buffer, WEIR_ITEMS(struct plan_buffer, buffer_options),
                .preset = "{}", .help = "where events wait for a sink"),
    WEIR_OPTION(struct plan_delivery, batch, WEIR_ITEMS(struct plan_batch, batch_options),
                .preset = "{}", .help = "how many events travel together"),
    WEIR_OPTION(struct plan_delivery, retry, WEIR_ITEMS(struct plan_retry, retry_options),
                .preset = "{}", .help = "how a failure that may pass is tried again"),
    WEIR_OPTION(struct plan_delivery, breaker, WEIR_ITEMS(struct plan_breaker, breaker_options),
                .preset = "{}", .help = "when a sink that fails is left alone"),
    WEIR_OPTION(struct plan_delivery, concurrency,
                WEIR_ITEMS(struct plan_concurrency, concurrency_options), .scalar = true,
                .preset = "0", .help = "batches under way at once, such as 8 or adaptive"),
    WEIR_OPTION(struct plan_delivery, rate,
                .help = "events per second, such as 100/s, or per minute or hour: 6000/m; no limit "
                        "if absent"),
    WEIR_OPTION(struct plan_delivery, burst, .preset = "0", .min = 0, .max = 1e9,
                .help = "events that may go at once after a pause; 0: those of a second"),
    WEIR_OPTION(struct plan_delivery, dead_letter, .preset = "dead-letters", .min = 1, .max = 64,
                .help = "stream that keeps what could not be delivered"),
    WEIR_OPTION(struct plan_delivery, on_failure, .choices = "dead_letter|block|drop",
                .preset = "dead_letter", .help = "what happens to an event that is given up"),
    WEIR_OPTION(struct plan_delivery, fallback, WEIR_ITEMS(struct plan_fallback, fallback_options),
                .scalar = true, .help = "another sink that gets what this one cannot take"),
    {0}};

static bool is_endpoint(const char *text, int *kind)
{
    bool is_url =
        text_starts(weir_text(text), "http://") || text_starts(weir_text(text), "https://");
    *kind = strcmp(text, "embedded") == 0 ? ENDPOINT_EMBEDDED
            : strcmp(text, "aws") == 0    ? ENDPOINT_AWS
                                          : ENDPOINT_URL;
    return *kind != ENDPOINT_URL || is_url;
}

static void read_endpoint(struct plan_work *w, const struct plan_aws *aws, int *kind)
{
    const struct node *at = places_find(w->places, &aws->endpoint);
    if (!aws->endpoint || !at)
        return;
    if (!is_endpoint(aws->endpoint, kind))
        diag_add(w->d, DIAG_ERROR, at, NULL, "expected embedded, aws or a URL, found %s",
                 node_show(w->d, at));
}

static void check_account(struct plan_work *w, const struct plan_aws *aws)
{
    size_t n = aws->account ? strlen(aws->account) : 12;
    if (aws->account && (n != 12 || strspn(aws->account, "0123456789") != n))
        diag_add(w->d, DIAG_ERROR, places_find(w->places, &aws->account), NULL,
                 "an account number has 12 digits");
}

static bool parse_durability(const char *text, struct plan_settings *s)
{
    static const char prefix[] = "interval(";
    enum { PREFIX = sizeof prefix - 1 };
    size_t n = strlen(text);
    s->durability = DURABILITY_FSYNC;
    if (strcmp(text, "fsync") == 0)
        return true;
    s->durability = DURABILITY_OS;
    if (strcmp(text, "os") == 0)
        return true;
    s->durability = DURABILITY_INTERVAL;
    if (strncmp(text, prefix, PREFIX) != 0 || text[n - 1] != ')')
        return false;
    weir_str span = {text + PREFIX, n - PREFIX - 1};
    return unit_parse_duration(span, &s->sync_every.ns) && s->sync_every.ns >= 1000000 &&
           s->sync_every.ns <= INT64_C(10000000000);
}

static void read_durability(struct plan_work *w, const struct plan_journal *journal)
{
    const struct node *at = places_find(w->places, &journal->durability);
    if (journal->durability && !parse_durability(journal->durability, &w->plan->settings) && at)
        diag_add(w->d, DIAG_ERROR, at, "write durability: fsync",
                 "expected fsync, interval(20ms) with 1ms to 10s, or os, found %s",
                 node_show(w->d, at));
}

static void flatten(struct plan_work *w, struct node *root, const struct plan_file *file)
{
    struct plan_settings *s = &w->plan->settings;
    s->data_dir =
        file->data_dir ? arena_text(&w->d->arena, document_path(w->d, file->data_dir)) : "";
    s->workers = file->workers;
    s->memory = file->memory;
    s->drain = file->drain;
    s->plugin_dirs = file->plugins;
    const struct plan_aws *aws = file->aws.item;
    const struct plan_admin *admin = file->admin.item;
    const struct plan_journal *journal = file->journal.item;
    const struct plan_trace *trace = file->trace.item;
    if (!aws || !admin || !journal || !trace)
        return;
    read_endpoint(w, aws, &s->aws.endpoint_kind);
    check_account(w, aws);
    s->aws.endpoint = aws->endpoint;
    s->aws.region = aws->region;
    s->aws.is_region_written = node_get(node_get(root, "aws"), "region") != NULL;
    s->aws.account = aws->account;
    s->admin = admin->listen;
    if (s->admin && strcmp(s->admin, "off") != 0)
        option_value_address(w->d, places_find(w->places, &admin->listen), s->admin);
    s->journal_max = journal->max_size;
    read_durability(w, journal);
    s->trace = trace->enabled;
    s->trace_max = trace->max_size;
    s->trace_explain = trace->explain;
}

static void resolve_plugin_dirs(struct plan_work *w, struct plan_file *file)
{
    const char **dirs = arena_take(&w->d->arena, (file->plugins.count + 1) * sizeof *dirs);
    for (size_t i = 0; i < file->plugins.count; i++)
        dirs[i] = document_path(w->d, file->plugins.items[i]);
    file->plugins.items = dirs;
}

void plan_settings_read(struct plan_work *w, struct node *root)
{
    struct plan_file *file = arena_take(&w->d->arena, sizeof *file);
    options_fill(w->d, w->places, plan_settings_options, root, plan_sections, NULL, file);
    resolve_plugin_dirs(w, file);
    flatten(w, root, file);
}
