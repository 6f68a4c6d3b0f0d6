/* aws/process.c: credential_process: a program that prints credentials; no shell, bounded time and output. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "aws.h"

enum { ARGUMENTS_MAX = 64, OUTPUT_MAX = 64 * 1024, SECONDS_MAX = 60, MS_PER_S = 1000 };
#define TIME_MAX_MS INT64_C(60000)

/* Words as a shell would split them: '...', "..." and \ keep spaces; nothing else is special. */
static bool split(char *text, char *words[ARGUMENTS_MAX + 1])
{
    size_t count = 0;
    char *to = text, quote = 0;
    for (const char *at = text; *at;) {
        at += strspn(at, " \t");
        if (!*at)
            break;
        if (count == ARGUMENTS_MAX)
            return false;
        words[count++] = to;
        for (; *at && (quote || (*at != ' ' && *at != '\t')); at++) {
            bool is_mark = quote ? *at == quote : *at == '"' || *at == '\'';
            if (is_mark && quote)
                quote = 0;
            else if (is_mark)
                quote = *at;
            else if (*at == '\\' && quote != '\'' && at[1])
                *to++ = *++at;
            else
                *to++ = *at;
        }
        at += *at != 0;
        *to++ = 0;
    }
    words[count] = NULL;
    return count && !quote;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * MS_PER_S + t.tv_nsec / 1000000;
}

/* What it prints; -1: too much, or too late. */
static ssize_t drain(int fd, char *text)
{
    int64_t until = now_ms() + TIME_MAX_MS;
    size_t n = 0;
    while (n < OUTPUT_MAX) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = until - now_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return -1;
        ssize_t got = read(fd, text + n, OUTPUT_MAX - n);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return (ssize_t)n;
        n += (size_t)got;
    }
    return -1;
}

static int start(char **words, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    int failed = posix_spawnp(pid, words[0], &actions, &attr, words, environ);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

/* It has closed its output, or is to be ended now. False: it had to be ended. */
static bool reap(pid_t pid, bool is_late, int *status)
{
    int64_t until = now_ms() + (is_late ? 0 : TIME_MAX_MS);
    const struct timespec a_while = {.tv_nsec = 5000000};
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (now_ms() < until) {
            (void)nanosleep(&a_while, NULL);
            continue;
        }
        (void)kill(-pid, SIGKILL);
        while (waitpid(pid, status, 0) < 0 && errno == EINTR)
            ;
        return false;
    }
    return true;
}

static weir_status judge(struct seeker *k, const char *program, weir_str text, int status,
                         struct credentials *out)
{
    char source[AWS_ORIGIN_BYTES];
    (void)snprintf(source, sizeof source, "credential_process %.200s", program);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return seek_fail(k, WEIR_E_RETRY, "%s: it ended with %s %d", source,
                         WIFEXITED(status) ? "exit code" : "signal",
                         WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    weir_status s = credentials_read(k, text, "SessionToken", source, out);
    if (s == WEIR_OK && !weir_same(k->json->find(k->json, text, "Version"), "1")) {
        explicit_bzero(out, sizeof *out);
        return seek_fail(k, WEIR_E_CONFIG, "%s: its answer has no \"Version\": 1", source);
    }
    return s;
}

weir_status process_credentials(struct seeker *k, const char *command, struct credentials *out)
{
    char copy[4096], *words[ARGUMENTS_MAX + 1];
    int fds[2], status = 0;
    pid_t pid = 0;
    (void)snprintf(copy, sizeof copy, "%s", command);
    if (!split(copy, words))
        return seek_fail(k, WEIR_E_CONFIG,
                         "credential_process: a quotation mark is open, or it is empty");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return seek_fail(k, WEIR_E_RETRY, "credential_process: no pipe");
    int failed = start(words, fds[1], &pid);
    (void)close(fds[1]);
    if (failed) {
        (void)close(fds[0]);
        return seek_fail(k, WEIR_E_CONFIG, "credential_process: %.200s cannot be run (errno %d)",
                         words[0], failed);
    }
    char *text = k->h->scratch(k->h, OUTPUT_MAX);
    ssize_t n = drain(fds[0], text);
    (void)close(fds[0]);
    if (!reap(pid, n < 0, &status))
        n = -1;
    weir_status s = n < 0 ? seek_fail(k, WEIR_E_RETRY,
                                      "credential_process: %.200s took longer than %d s, or "
                                      "printed more than %d KiB",
                                      words[0], SECONDS_MAX, OUTPUT_MAX / 1024)
                          : judge(k, words[0], (weir_str){text, (size_t)n}, status, out);
    explicit_bzero(text, OUTPUT_MAX);
    return s;
}
