/* base/log.c: the runner's own log: one write(2) a line, so that lines of threads do not mix. */
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

static struct log_settings settings = {.level = WEIR_INFO};

static const char *const level_names[] = {"", "debug", "info", "warn", "error"};
static const char *const level_colors[] = {"", "\033[2m", "\033[32m", "\033[33m", "\033[31m"};

void log_setup(struct log_settings s)
{
    settings = s;
    if (!settings.level)
        settings.level = WEIR_INFO;
}

bool log_wants(weir_level level)
{
    return level >= settings.level;
}

static void add_json_text(struct buf *line, const char *key, const char *text)
{
    buf_print(line, ",\"%s\":\"", key);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            buf_print(line, "\\%c", c);
        else if (c < 0x20)
            buf_print(line, "\\u%04x", c);
        else
            buf_add_char(line, (char)c);
    }
    buf_add_char(line, '"');
}

static void write_json(struct buf *line, weir_level level, const char *stage, const char *time,
                       const char *text)
{
    buf_print(line, "{\"time\":\"%s\",\"level\":\"%s\"", time, level_names[level]);
    if (stage)
        add_json_text(line, "stage", stage);
    add_json_text(line, "message", text);
    buf_add_text(line, "}\n");
}

/* A line is a line: what came from outside may not start another one or move the terminal. */
static void add_clean(struct buf *line, const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            buf_print(line, "\\x%02x", (unsigned char)*text);
        else
            buf_add_char(line, *text);
}

static void write_text(struct buf *line, weir_level level, const char *stage, const char *time,
                       const char *text)
{
    bool color = settings.has_color;
    buf_print(line, "%s %s%-5s%s ", time, color ? level_colors[level] : "", level_names[level],
              color ? "\033[0m" : "");
    if (stage)
        buf_print(line, "%s: ", stage);
    add_clean(line, text);
    buf_add_char(line, '\n');
}

void log_vwrite(weir_level level, const char *stage, const char *fmt, va_list args)
{
    if (!log_wants(level))
        return;
    char time[CLOCK_TEXT_BYTES];
    struct buf text = {0}, line = {0};
    (void)clock_format(clock_wall(&clock_real), 3, time);
    buf_vprint(&text, fmt, args);
    if (settings.is_json)
        write_json(&line, level, stage, time, buf_text(&text));
    else
        write_text(&line, level, stage, time, buf_text(&text));
    ssize_t wrote = write(STDERR_FILENO, line.ptr, line.len);
    (void)wrote; /* a log that cannot be written has nowhere to say so */
    buf_fini(&text);
    buf_fini(&line);
}

void log_write(weir_level level, const char *stage, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vwrite(level, stage, fmt, args);
    va_end(args);
}

bool log_limit_pass(struct log_limit *limit, unsigned seconds, uint64_t *held)
{
    int64_t now = clock_mono(&clock_real);
    int64_t next = __atomic_load_n(&limit->next_ns, __ATOMIC_RELAXED);
    if (now < next ||
        !__atomic_compare_exchange_n(&limit->next_ns, &next, now + (int64_t)seconds * 1000000000,
                                     false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_add_fetch(&limit->held, 1, __ATOMIC_RELAXED);
        return false;
    }
    *held = __atomic_exchange_n(&limit->held, 0, __ATOMIC_RELAXED);
    return true;
}
