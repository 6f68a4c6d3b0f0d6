/* tests/bench/ceiling.c: the most that one core can answer: epoll, read, find the end, write.
 *
 * ceiling [port]: prints the port it listens on. No parser, no limits, no times: a yardstick only. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FDS_MAX = 65536, INPUT_BYTES = 16384 };

static const char answer[] = "HTTP/1.1 202 Accepted\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                             "Content-Type: application/json\r\nContent-Length: 51\r\n\r\n"
                             "{\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"n\":1}";

struct input {
    size_t len;
    char bytes[INPUT_BYTES];
};
static struct input *inputs[FDS_MAX];

static int open_listener(int port, int *real_port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t n = sizeof in;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (const void *)&in, n) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (void *)&in, &n) < 0) {
        perror("listen");
        exit(EXIT_FAILURE);
    }
    *real_port = ntohs(in.sin_port);
    return fd;
}

/* The length of the request at the front, 0 if it is not whole. */
static size_t request_length(const char *bytes, size_t n)
{
    static const char field[] = "content-length:";
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - bytes) + 4, body = 0;
    for (const char *line = bytes; line && line < end;
         line = memchr(line, '\n', (size_t)(end - line))) {
        if (*line == '\n')
            line++;
        if (strncasecmp(line, field, sizeof field - 1) == 0)
            body = strtoul(line + sizeof field - 1, NULL, 10);
    }
    return n >= head + body ? head + body : 0;
}

static void drop(int fd)
{
    free(inputs[fd]);
    inputs[fd] = NULL;
    (void)close(fd);
}

static void serve(int fd)
{
    struct input *in = inputs[fd];
    ssize_t n = read(fd, in->bytes + in->len, INPUT_BYTES - in->len);
    if (n <= 0) {
        drop(fd);
        return;
    }
    in->len += (size_t)n;
    size_t length, used = 0;
    while ((length = request_length(in->bytes + used, in->len - used)) > 0) {
        used += length;
        if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) {
            drop(fd);
            return;
        }
    }
    in->len -= used;
    memmove(in->bytes, in->bytes + used, in->len);
}

static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= FDS_MAX || !(inputs[fd] = calloc(1, sizeof(struct input))) ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
            exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    int port, listener = open_listener(argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0, &port);
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS], e = {.events = EPOLLIN, .data.fd = listener};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) < 0)
        return EXIT_FAILURE;
    printf("%d\n", port);
    (void)fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
