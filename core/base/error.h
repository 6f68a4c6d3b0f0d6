/* base/error.h: one reason, recorded where it is known, with the exit code that fits it. */
#pragma once
#include <stddef.h>

/* As in sysexits.h. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_TESTS_FAILED = 1,
    EXIT_USAGE_ERROR = 64,
    EXIT_BAD_DATA = 65,
    EXIT_NOT_AVAILABLE = 69, /* a port in use, a service that does not answer */
    EXIT_INTERNAL = 70,
    EXIT_IO = 74,
    EXIT_PERMISSION = 77,
    EXIT_CONFIG = 78,
};

struct error {
    int code;       /* an exit_code; 0: no error */
    char text[512]; /* lower case, no full stop, the thing first; then what to do */
};

/* Keeps the first reason. Returns -1, so that a caller can return it. */
int error_set(struct error *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with ": Permission denied" added and the exit code by the errno. */
int error_sys(struct error *e, int sys_errno, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *error_sys_text(int sys_errno, char *text, size_t size); /* strerror, any thread */
