/* lambda/process.h: one child process in a group of its own, with its output in two pipes. */
#pragma once
#include <sys/types.h>

#include "lambda.h"

struct process {
    pid_t pid; /* 0: none */
    int pidfd; /* readable when it has gone */
    int pipes[2];
};

/* 0, or an errno. `address` and `stream` are what differs between environments. It dies with the
 * thread that started it. */
int process_start(struct process *p, const struct program *program, const char *address,
                  const char *stream);
void process_signal(const struct process *p, int signal); /* its whole group */
/* Once it has gone, or waiting for that: kills what is left of the group. "exit status 7". */
void process_reap(struct process *p, char *how, size_t size);
int64_t process_used_max_bytes(const struct process *p);
