/* cli/run.c: weir run: start a pipeline, serve until a signal or its end, drain, stop. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/reloader.h"
#include "net/loop.h"
#include "pipeline/memory.h"

#define MS INT64_C(1000000)

enum { STOP_SECONDS = 10, FORCED_STOP_SECONDS = 5, FILES_WANTED = 1 << 16 };

struct options {
    struct cli_file file;
    bool watch;
    const char *log_level, *log_format;
    bool verbose, quiet;
};

static const struct cli_option options[] = {
    CLI_FILE_OPTIONS(struct options),
    {"watch", 'w', NULL, "reload when the file changes, or one that it names", CLI_FLAG,
     offsetof(struct options, watch)},
    {"log-level", 0, "LEVEL", "debug, info (default), warn or error", CLI_TEXT,
     offsetof(struct options, log_level)},
    {"log-format", 0, "FORMAT", "text (default) or json", CLI_TEXT,
     offsetof(struct options, log_format)},
    {"verbose", 'v', NULL, "as --log-level debug", CLI_FLAG, offsetof(struct options, verbose)},
    {"quiet", 'q', NULL, "as --log-level warn", CLI_FLAG, offsetof(struct options, quiet)},
    {0},
};

struct running {
    struct loop *loop;
    struct pipeline *pipeline;
    struct admin *admin;
    const struct options *options;
    const char *path;
    struct reloader *reloader;
    struct loop_watch signals;
    struct loop_timer tick;
    struct loop_task ended, broken;
    int64_t drain_until_ns; /* monotonic; 0: not draining */
    bool is_over, is_forced;
};

static int set_log(const struct options *o)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    struct log_settings s = {.level = WEIR_INFO, .has_color = cli_has_color(stderr)};
    if (o->quiet)
        s.level = WEIR_WARN;
    if (o->verbose)
        s.level = WEIR_DEBUG;
    for (size_t i = 0; o->log_level; i++) {
        if (i == 4)
            return cli_usage_error(&command_run, "--log-level %s: debug, info, warn or error",
                                   o->log_level);
        if (strcmp(o->log_level, levels[i]) == 0) {
            s.level = (weir_level)(i + 1);
            break;
        }
    }
    if (o->log_format && strcmp(o->log_format, "json") != 0 && strcmp(o->log_format, "text") != 0)
        return cli_usage_error(&command_run, "--log-format %s: text or json", o->log_format);
    s.is_json = o->log_format && strcmp(o->log_format, "json") == 0;
    log_setup(s);
    return 0;
}

static void drain(struct running *r, const char *why, int64_t most_ns)
{
    int64_t deadline = r->pipeline->plan->settings.drain.ns;
    if (deadline > most_ns)
        deadline = most_ns;
    char text[32];
    unit_format_duration(deadline, text, sizeof text);
    log_write(WEIR_INFO, NULL, "%s: draining for at most %s (a second signal stops at once)", why,
              text);
    r->drain_until_ns = clock_mono(&clock_real) + deadline;
    pipeline_drain(r->pipeline);
}

static void on_signal(struct loop_watch *w, uint32_t events)
{
    struct running *r = w->user;
    struct signalfd_siginfo info;
    if (read(w->fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2) {
        log_write(WEIR_INFO, NULL,
                  "%s does nothing here: SIGHUP reloads, SIGTERM drains; output files are reopened "
                  "by themselves",
                  info.ssi_signo == SIGUSR1 ? "SIGUSR1" : "SIGUSR2");
        return;
    }
    if (info.ssi_signo == SIGHUP) {
        if (!r->drain_until_ns)
            reloader_request(r->reloader, NULL, NULL);
        loop_timer_set(r->loop, &r->tick, 0);
        return;
    }
    if (!r->drain_until_ns) {
        drain(r, info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT", INT64_MAX);
        return;
    }
    log_write(WEIR_WARN, NULL, "second signal: stopping at once; what is on disk stays there");
    r->is_over = r->is_forced = true;
    loop_stop(r->loop);
}

/* Draining polls: it is over in milliseconds, or it is waiting for something slow. */
static void on_tick(struct loop_timer *t)
{
    struct running *r = t->user;
    int64_t next = 100 * MS;
    pipeline_tick(r->pipeline);
    reloader_tick(r->reloader);
    if (r->drain_until_ns) {
        next = 5 * MS;
        pipeline_drain(r->pipeline);
        bool is_late = clock_mono(&clock_real) >= r->drain_until_ns;
        if (pipeline_is_drained(r->pipeline) || is_late) {
            if (is_late)
                log_write(WEIR_WARN, NULL, "the drain's time is over: the rest stays on disk");
            r->is_over = true;
            loop_stop(r->loop);
        }
    } else if (!reloader_is_busy(r->reloader) && pipeline_is_finished(r->pipeline)) {
        log_write(WEIR_INFO, NULL, "all sources have ended and every event is settled");
        r->is_over = true;
        loop_stop(r->loop);
    } else if (!atomic_load(&r->pipeline->sources_open)) {
        next = 5 * MS;
    }
    if (reloader_is_busy(r->reloader))
        next = 2 * MS;
    loop_timer_set(r->loop, &r->tick, next);
}

static void on_ended(struct loop_task *t)
{
    struct running *r = t->user;
    loop_timer_set(r->loop, &r->tick, 0);
}

static void sources_ended(void *user)
{
    struct running *r = user;
    loop_post(r->loop, &r->ended);
}

/* What is under way elsewhere gets a moment; the stage that is broken will not get better. */
static void on_broken(struct loop_task *t)
{
    struct running *r = t->user;
    const int64_t most_ns = 1000 * MS, until = clock_mono(&clock_real) + most_ns;
    if (!r->drain_until_ns)
        drain(r, r->pipeline->broken, most_ns);
    else if (r->drain_until_ns > until)
        r->drain_until_ns = until;
    loop_timer_set(r->loop, &r->tick, 0);
}

static void stage_is_broken(void *user)
{
    struct running *r = user;
    loop_post(r->loop, &r->broken);
}

/* SIGUSR1 and SIGUSR2 mean something to other programs, such as "open the log anew": who sends them here
 * must not end the runner. */
static void add_harmless(sigset_t *set)
{
    (void)sigaddset(set, SIGHUP);
    (void)sigaddset(set, SIGUSR1);
    (void)sigaddset(set, SIGUSR2);
}

/* Before anything is opened: SIGHUP waits for the pipeline, which a long recovery may hold up. */
static void signals_prepare(void)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    (void)sigemptyset(&set);
    add_harmless(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

/* Sessions begin with 1,024 open files, for programs that call select(); a connection is one of them. */
static void files_prepare(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= FILES_WANTED)
        return;
    files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

static int signals_open(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    add_harmless(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void on_reload(void *user, void (*done)(void *arg, weir_str json), void *arg)
{
    struct running *r = user;
    reloader_request(r->reloader, done, arg);
    loop_timer_set(r->loop, &r->tick, 0);
}

static int start_reloader(struct running *r, struct error *e)
{
    const struct reloader_settings s = {
        .loop = r->loop,
        .pipeline = r->pipeline,
        .path = r->path,
        .options = &r->options->file,
        .is_json = r->options->log_format && strcmp(r->options->log_format, "json") == 0,
        .is_watch = r->options->watch,
    };
    r->reloader = reloader_new(&s, e);
    admin_set_reload(r->admin, on_reload, r);
    return r->reloader ? 0 : -1;
}

static int serve(struct running *r, struct error *e)
{
    r->signals =
        (struct loop_watch){.fd = signals_open(), .events = EPOLLIN, .fn = on_signal, .user = r};
    if (r->signals.fd < 0 || loop_add(r->loop, &r->signals) != 0)
        return error_sys(e, errno, "signals");
    r->tick.fn = on_tick;
    r->tick.user = r;
    r->ended = (struct loop_task){.fn = on_ended, .user = r};
    r->broken = (struct loop_task){.fn = on_broken, .user = r};
    r->pipeline->on_end = sources_ended;
    r->pipeline->on_broken = stage_is_broken;
    r->pipeline->on_end_user = r;
    r->admin = admin_start(r->pipeline, r->loop, e);
    if (e->code || start_reloader(r, e) < 0 || pipeline_start(r->pipeline, e) < 0)
        return -1;
    loop_timer_set(r->loop, &r->tick, 100 * MS);
    log_write(WEIR_INFO, NULL, "weir %s is running: %zu stages, %zu workers", WEIR_VERSION,
              r->pipeline->stage_count, r->pipeline->worker_count);
    while (!r->is_over)
        (void)loop_round(r->loop, -1);
    (void)pthread_mutex_lock(&r->pipeline->lock);
    if (r->pipeline->broken[0])
        (void)error_set(e, EXIT_IO, "%s", r->pipeline->broken);
    (void)pthread_mutex_unlock(&r->pipeline->lock);
    return e->code ? -1 : 0;
}

static void on_stuck(int signal_number)
{
    static const char text[] = "weir: error: a stage does not come back: stopping without it; what "
                               "is on disk stays there\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_INTERNAL);
}

static void on_impatience(int signal_number)
{
    (void)signal_number;
    (void)alarm(1);
}

/* Stopping waits for the workers, and one of them may be in a function that never returns. The journal
 * does not mind an end without notice, so that is what comes then; another signal has it come sooner. */
static void guard_stop(const struct running *r)
{
    const struct sigaction stuck = {.sa_handler = on_stuck};
    const struct sigaction impatience = {.sa_handler = on_impatience, .sa_flags = SA_RESTART};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaction(SIGALRM, &stuck, NULL);
    (void)sigaction(SIGTERM, &impatience, NULL);
    (void)sigaction(SIGINT, &impatience, NULL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    (void)alarm(r->is_forced ? FORCED_STOP_SECONDS : STOP_SECONDS);
}

static int run_plan(struct loaded *l, const char *path, const struct options *o)
{
    struct error e = {0};
    struct running r = {.loop = loop_new(&clock_real), .path = path, .options = o};
    size_t told = document_errors(l->document);
    if (!r.loop)
        (void)error_sys(&e, errno, "event loop");
    else
        r.pipeline = pipeline_new(l->plan, l->services, &clock_real, &e);
    if (r.pipeline)
        (void)serve(&r, &e);
    guard_stop(&r);
    reloader_free(r.reloader);
    admin_stop(r.admin);
    if (r.pipeline && !e.code)
        memory_log(r.pipeline);
    pipeline_free(r.pipeline);
    if (r.signals.fd > 0) {
        loop_remove(r.loop, &r.signals);
        (void)close(r.signals.fd);
    }
    loop_free(r.loop);
    (void)alarm(0);
    if (!e.code) {
        log_write(WEIR_INFO, NULL, "stopped");
        return EXIT_OK;
    }
    if (document_errors(l->document) > told)
        diag_print(l->document, stderr, cli_has_color(stderr));
    return cli_fail(&e);
}

static int run(void *given, int argc, char **argv)
{
    const struct options *o = given;
    struct loaded l;
    int code = set_log(o);
    if (code)
        return code;
    signals_prepare();
    files_prepare();
    code = load_pipeline(argc ? argv[0] : NULL, &o->file, false, &l);
    if (code == EXIT_OK)
        code = run_plan(&l, argc ? argv[0] : NULL, o);
    load_free(&l);
    return code;
}

const struct cli_command command_run = {
    .name = "run",
    .usage = "[OPTIONS] [FILE]",
    .summary = "Run a pipeline until it ends or is told to stop",
    .details =
        "SIGTERM and SIGINT drain: sources stop, what is under way is finished within the file's\n"
        "`drain`, the rest stays on disk for the next run. A second signal stops at once.\n"
        "SIGHUP reloads: see `weir reload`. SIGUSR1 and SIGUSR2 do nothing. The log goes to\n"
        "standard error.\n\n"
        "examples:\n"
        "  weir run config/pipeline.yaml\n"
        "  weir run --set sources.users_api.listen=127.0.0.1:0 config/pipeline.yaml",
    .options = options,
    .size = sizeof(struct options),
    .arguments_max = 1,
    .run = run,
};
