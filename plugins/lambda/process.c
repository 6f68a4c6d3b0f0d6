/* lambda/process.c: starts and ends the processes that run functions. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child { /* what the child needs; it may call nothing that is not async-signal-safe */
    const struct program *program;
    char **environment;
    int output[2], trouble; /* write ends */
    pid_t parent;
};

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    const struct sigaction preset = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++)
        (void)sigaction(i, &preset, NULL); /* SIGKILL and SIGSTOP refuse, rightly */
}

_Noreturn static void become(const struct child *c)
{
    reset_signals();
    int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
    bool is_ready = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && none >= 0 &&
                    getppid() == c->parent && dup2(none, 0) == 0 && dup2(c->output[0], 1) == 1 &&
                    dup2(c->output[1], 2) == 2 && chdir(c->program->folder) == 0;
    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    if (is_ready)
        (void)execve(c->program->path, c->program->arguments, c->environment);
    int why = errno;
    (void)!write(c->trouble, &why, sizeof why);
    _exit(127);
}

static char **complete(const struct program *program, const char *address, const char *stream)
{
    char **all = calloc(program->variables + 3, sizeof *all);
    if (!all)
        return NULL;
    memcpy(all, program->environment, program->variables * sizeof *all);
    if (asprintf(&all[program->variables], "AWS_LAMBDA_RUNTIME_API=%s", address) < 0)
        all[program->variables] = NULL;
    else if (asprintf(&all[program->variables + 1], "AWS_LAMBDA_LOG_STREAM_NAME=%s", stream) < 0)
        all[program->variables + 1] = NULL;
    return all;
}

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            (void)close(pair[i]);
}

/* Waits until the program runs or could not: the pipe closes by itself when it does. */
static int launch(struct process *p, const struct child *c, int trouble)
{
    int why = 0;
    p->pid = fork();
    if (p->pid == 0)
        become(c);
    int failed = errno;
    (void)close(c->trouble);
    if (p->pid < 0) {
        p->pid = 0;
        return failed;
    }
    (void)setpgid(p->pid, p->pid); /* in both: whoever comes first */
    if (read(trouble, &why, sizeof why) == (ssize_t)sizeof why) {
        (void)waitpid(p->pid, NULL, 0);
        p->pid = 0;
        return why;
    }
    p->pidfd = pidfd_open(p->pid, 0);
    return 0;
}

int process_start(struct process *p, const struct program *program, const char *address,
                  const char *stream)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1}, trouble[2] = {-1, -1};
    *p = (struct process){.pidfd = -1, .pipes = {-1, -1}};
    struct child c = {.program = program, .parent = getpid()};
    c.environment = complete(program, address, stream);
    int why = ENOMEM;
    if (c.environment) {
        why =
            pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(trouble, O_CLOEXEC) < 0
                ? errno
                : 0;
        c.output[0] = out[1];
        c.output[1] = err[1];
        c.trouble = trouble[1];
    }
    if (!why) {
        why = launch(p, &c, trouble[0]);
        trouble[1] = -1;
    }
    if (!why) {
        p->pipes[0] = out[0];
        p->pipes[1] = err[0];
        (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
        (void)fcntl(err[0], F_SETFL, O_NONBLOCK);
        out[0] = err[0] = -1;
    }
    close_pair(out);
    close_pair(err);
    close_pair(trouble);
    for (size_t i = 0; c.environment && i < 2; i++)
        free(c.environment[program->variables + i]);
    free(c.environment);
    return why;
}

void process_signal(const struct process *p, int signal)
{
    if (p->pid)
        (void)kill(-p->pid, signal);
}

void process_reap(struct process *p, char *how, size_t size)
{
    siginfo_t info = {0};
    process_signal(p, SIGKILL);
    while (waitid(P_PID, (id_t)p->pid, &info, WEXITED) < 0 && errno == EINTR)
        continue;
    if (info.si_code != CLD_EXITED)
        (void)snprintf(how, size, "Runtime exited with error: signal: %s",
                       info.si_status == SIGKILL ? "killed" : sigdescr_np(info.si_status));
    else if (info.si_status)
        (void)snprintf(how, size, "Runtime exited with error: exit status %d", info.si_status);
    else
        (void)snprintf(how, size, "Runtime exited without providing a reason");
    (void)close(p->pidfd);
    close_pair(p->pipes);
    *p = (struct process){.pidfd = -1, .pipes = {-1, -1}};
}

int64_t process_used_max_bytes(const struct process *p)
{
    char path[64], text[2048];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, "VmHWM:");
    return at ? strtoll(at + 6, NULL, 10) * 1024 : 0;
}
