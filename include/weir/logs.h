/* weir/logs.h: log groups and streams, kept on disk (service weir.logs/1).
 *
 * Offered by the host: the embedded store that `weir logs` reads. From any thread; a line is in the
 * page cache when the call returns, and on disk within a second. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_logs weir_logs;
#define WEIR_LOGS weir_logs, "weir.logs/1", put

typedef struct weir_log_line {
    int64_t time_ns;   /* since 1970; 0: now */
    weir_str text;
} weir_log_line; /* frozen */

struct weir_logs {
    weir_service base;
    /* Names as CloudWatch's: group [.-_/#A-Za-z0-9]{1,512}, stream without ':' and '*'; else REJECT.
     * Both are made when they are not there. RETRY: the disk is full or fails. */
    weir_status (*put)(const weir_logs *l, const char *group, const char *stream,
                       const weir_log_line *lines, size_t count);
};
