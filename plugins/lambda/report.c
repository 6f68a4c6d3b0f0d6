/* lambda/report.c: the lines that Lambda writes around an invocation, and the function's own. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "lambda.h"

void report_stream_name(const weir_host *h, char *stream)
{
    uint64_t random[2] = {0};
    time_t now = (time_t)(h->now(h) / 1000000000);
    struct tm day;
    gmtime_r(&now, &day);
    (void)!getrandom(random, sizeof random, 0);
    (void)snprintf(stream, STREAM_NAME_SIZE, "%04d/%02d/%02d/[$LATEST]%016" PRIx64 "%016" PRIx64,
                   day.tm_year + 1900, day.tm_mon + 1, day.tm_mday, random[0], random[1]);
}

void report_line(const struct lambda *l, const char *stream, weir_str line)
{
    while (line.len && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    if (line.len)
        (void)l->logs->put(l->logs, l->group, stream, &(weir_log_line){0, line}, 1);
}

static void line(const struct lambda *l, const char *stream, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
static void line(const struct lambda *l, const char *stream, const char *fmt, ...)
{
    char text[WHY_SIZE + 256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    report_line(l, stream, (weir_str){text, len});
}

void report_start(const struct lambda *l, const char *stream, const char *request_id)
{
    line(l, stream, "START RequestId: %s Version: $LATEST", request_id);
}

void report_end(const struct lambda *l, const char *stream, const struct report *r)
{
    char init[48] = "";
    if (r->trouble)
        line(l, stream, "RequestId: %s %s", r->request_id, r->trouble);
    if (r->init_ns)
        (void)snprintf(init, sizeof init, "Init Duration: %.2f ms\t", (double)r->init_ns / 1e6);
    line(l, stream, "END RequestId: %s", r->request_id);
    line(l, stream,
         "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %" PRId64
         " ms\tMemory Size: %" PRIu64 " MB\tMax Memory Used: %" PRId64 " MB\t%s",
         r->request_id, (double)r->duration_ns / 1e6, (r->duration_ns + 999999) / 1000000,
         l->memory_size.bytes >> 20, r->used_max_bytes >> 20, init);
}
