/* base/error.c: one reason, recorded where it is known. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *e, int code, const char *fmt, ...)
{
    if (e->code)
        return -1;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    e->code = code;
    return -1;
}

const char *error_sys_text(int sys_errno, char *text, size_t size)
{
    return strerror_r(sys_errno, text, size);
}

static int code_of(int sys_errno)
{
    switch (sys_errno) {
    case EACCES:
    case EPERM:
        return EXIT_PERMISSION;
    case EADDRINUSE:
    case EADDRNOTAVAIL:
        return EXIT_NOT_AVAILABLE;
    default:
        return EXIT_IO;
    }
}

int error_sys(struct error *e, int sys_errno, const char *fmt, ...)
{
    if (e->code)
        return -1;
    va_list args;
    char reason[128];
    va_start(args, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used < sizeof e->text)
        (void)snprintf(e->text + used, sizeof e->text - used, ": %s",
                       error_sys_text(sys_errno, reason, sizeof reason));
    e->code = code_of(sys_errno);
    return -1;
}
