/* cli/replay_follow.c: weir replay --wait: how far a replay is, until it is over. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/replay.h"
#include "json/json.h"

#define MS INT64_C(1000000)
enum { LOOK_MS = 100, LINE_MS = 1000, INTERRUPTED = 130 };

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int number)
{
    is_interrupted = 1;
}

weir_str replay_text(weir_str replay, const char *name, struct arena *a)
{
    weir_str v = json_find(replay, name);
    if (v.ptr && json_kind(v) == WEIR_JSON_TEXT)
        return json_unquote(v, a);
    return v.ptr ? v : (weir_str){"", 0};
}

uint64_t replay_number(weir_str replay, const char *name)
{
    uint64_t n = 0;
    weir_str v = json_find(replay, name);
    return v.ptr && text_to_u64(v, &n) ? n : 0;
}

struct following {
    const struct replay_options *o;
    char *name;
    bool is_terminal, has_line;
    int64_t begun_ns, told_ns;
    uint64_t done_before; /* when this command began to look */
};

static void sleep_ms(int ms)
{
    const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

/* "weir: r1: 1200 of 5000 events (24%), 812/s, 5 s left" */
static void tell(struct following *f, weir_str replay, struct arena *a)
{
    int64_t now = clock_mono(&clock_real);
    uint64_t events = replay_number(replay, "events"), done = replay_number(replay, "done");
    weir_str waits = replay_text(replay, "waits_for", a);
    double seconds = (double)(now - f->begun_ns) / 1e9;
    double rate = seconds > 0 ? (double)(done - f->done_before) / seconds : 0;
    if (!f->is_terminal && now - f->told_ns < LINE_MS * MS)
        return;
    f->told_ns = now;
    f->has_line = true;
    (void)fprintf(stderr, "%sweir: %s: %" PRIu64 " of %" PRIu64 " events (%.0f%%), %.0f/s",
                  f->is_terminal ? "\r" : "", f->name, done, events,
                  events ? 100.0 * (double)done / (double)events : 100.0, rate);
    if (rate > 0 && done < events)
        (void)fprintf(stderr, ", %.0f s left", (double)(events - done) / rate);
    if (waits.len)
        (void)fprintf(stderr, ", waits for %.*s", (int)waits.len, waits.ptr);
    (void)fputs(f->is_terminal ? "\033[K" : "\n", stderr);
}

static void end_line(struct following *f)
{
    if (f->is_terminal && f->has_line)
        (void)fputs("\r\033[K", stderr);
    f->has_line = false;
}

static int tell_end(struct following *f, weir_str replay, struct arena *a)
{
    weir_str state = replay_text(replay, "state", a), reason = replay_text(replay, "reason", a);
    uint64_t begun = replay_number(replay, "started_ns"), ended = replay_number(replay, "ended_ns");
    bool is_completed = weir_same(state, "COMPLETED");
    end_line(f);
    if (f->o->json) {
        (void)printf("%.*s\n", (int)replay.len, replay.ptr);
        return is_completed ? EXIT_OK : EXIT_TESTS_FAILED;
    }
    (void)printf("replay %s: %.*s: %" PRIu64 " events were sent in %.1f s%s%.*s\n", f->name,
                 (int)state.len, state.ptr, replay_number(replay, "sent"),
                 begun && ended > begun ? (double)(ended - begun) / 1e9 : 0.0,
                 reason.len ? ": " : "", (int)reason.len, reason.ptr);
    return is_completed ? EXIT_OK : EXIT_TESTS_FAILED;
}

static int tell_interrupted(struct following *f)
{
    end_line(f);
    (void)fprintf(stderr,
                  "weir: the replay goes on: `weir replay show %s --wait` follows it, `weir replay "
                  "cancel %s` ends it\n",
                  f->name, f->name);
    return INTERRUPTED;
}

static int tell_stopped(struct following *f)
{
    struct error e = {0};
    end_line(f);
    (void)error_set(&e, EXIT_NOT_AVAILABLE,
                    "the runner has stopped: the replay %s goes on when it starts again", f->name);
    return cli_fail(&e);
}

static bool is_over(weir_str replay)
{
    weir_str state = json_find(replay, "state");
    return !weir_same(state, "\"STARTING\"") && !weir_same(state, "\"RUNNING\"");
}

int replay_follow(const struct replay_options *o, const char *data_dir, weir_str replay)
{
    struct arena a;
    struct buf out = {0};
    int code = 0;
    arena_init(&a);
    weir_str name = replay_text(replay, "name", &a);
    struct following f = {.o = o,
                          .name = mem_copy(name.ptr, name.len),
                          .is_terminal = isatty(STDERR_FILENO) && !o->json,
                          .begun_ns = clock_mono(&clock_real),
                          .told_ns = clock_mono(&clock_real),
                          .done_before = replay_number(replay, "done")};
    char *target = mem_format("/replays/%s", f.name);
    (void)signal(SIGINT, on_interrupt);
    while (!code && !is_over(replay) && !is_interrupted) {
        arena_reset(&a);
        sleep_ms(LOOK_MS);
        out.len = 0;
        code = store_ask(data_dir, "GET", target, &out);
        replay = json_trim(buf_str(&out));
        if (!code && !is_over(replay))
            tell(&f, replay, &a);
    }
    if (code == 1)
        code = tell_stopped(&f);
    else if (!code && !is_over(replay))
        code = tell_interrupted(&f);
    else if (!code)
        code = tell_end(&f, replay, &a);
    mem_free(target);
    mem_free(f.name);
    buf_fini(&out);
    arena_fini(&a);
    return code;
}
