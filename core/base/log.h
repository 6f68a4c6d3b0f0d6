/* base/log.h: the runner's own log, to standard error, as text or as JSON lines. Any thread. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <weir/plugin.h>

struct log_settings {
    weir_level level; /* the least that is written; 0 is INFO */
    bool is_json;
    bool has_color;
};

void log_setup(struct log_settings settings);
bool log_wants(weir_level level);
/* `stage` NULL: the runner itself. */
void log_write(weir_level level, const char *stage, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void log_vwrite(weir_level level, const char *stage, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
/* The same message from one place at most once in `seconds`; the rest is counted and told with the
 * next. `state` is a static of the caller. */
struct log_limit {
    int64_t next_ns;
    uint64_t held;
};
bool log_limit_pass(struct log_limit *limit, unsigned seconds, uint64_t *held);
