/* tests/bench/load.c: one thread that keeps an HTTP server busy and measures it.
 *
 * load HOST PORT CONNECTIONS SECONDS PATH BODY_FILE [--vary]
 * Each connection sends the POST, waits for the answer, and sends again. --vary makes each body
 * unique: twelve digits that count go before its first '@'. One line of JSON comes out. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, DIGITS = 12, INPUT_BYTES = 16384, BUCKETS = 1 << 20 /* of a microsecond */ };

struct client {
    int fd;
    int64_t sent_ns;
    size_t len;
    char input[INPUT_BYTES];
};

static struct {
    struct sockaddr_in to;
    char *request;
    size_t request_len;
    char *counter; /* in request; NULL: all are the same */
    uint64_t number;
    int epoll;
    uint64_t requests, broken, by_status[1000];
    uint64_t max_us;
    uint32_t *latency;
} run;

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void build_request(const char *host, const char *path, const char *file, bool is_varied)
{
    static char body[1 << 20];
    FILE *in = fopen(file, "rb");
    size_t n = in ? fread(body, 1, sizeof body - DIGITS, in) : 0;
    if (!in || fclose(in) != 0)
        fail(file);
    char *at = memchr(body, '@', n);
    if (is_varied && at) {
        memmove(at + DIGITS, at, n - (size_t)(at - body));
        memset(at, '0', DIGITS);
        n += DIGITS;
    } else if (is_varied) {
        (void)fprintf(stderr, "%s: has no '@' to vary; put one in\n", file);
        exit(EXIT_FAILURE);
    }
    size_t size = n + strlen(host) + strlen(path) + 256;
    run.request = malloc(size);
    if (!run.request)
        fail("malloc");
    int head = snprintf(run.request, size,
                        "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-load\r\nAccept: */*\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        path, host, n);
    memcpy(run.request + head, body, n);
    run.request_len = (size_t)head + n;
    if (is_varied)
        run.counter = run.request + head + (at - body);
}

static void send_request(struct client *c)
{
    if (run.counter) {
        uint64_t n = ++run.number;
        for (int i = DIGITS; i-- > 0; n /= 10)
            run.counter[i] = (char)('0' + n % 10);
    }
    c->sent_ns = now_ns();
    if (send(c->fd, run.request, run.request_len, MSG_NOSIGNAL) != (ssize_t)run.request_len)
        run.broken++;
}

static void connect_client(struct client *c)
{
    int on = 1;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->len = 0;
    if (c->fd < 0 || connect(c->fd, (const void *)&run.to, sizeof run.to) < 0)
        fail("connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
        fail("epoll_ctl");
    send_request(c);
}

/* The whole length of the answer, 0 if it has not come whole. */
static size_t answer_length(const char *bytes, size_t n)
{
    static const char field[] = "\r\nContent-Length: ";
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - bytes) + 4;
    const char *at = memmem(bytes, head, field, sizeof field - 1);
    size_t body = at ? strtoul(at + sizeof field - 1, NULL, 10) : 0;
    return n >= head + body ? head + body : 0;
}

static void count_answer(struct client *c)
{
    unsigned status = c->len > 12 ? (unsigned)strtoul(c->input + 9, NULL, 10) : 0;
    uint64_t us = (uint64_t)(now_ns() - c->sent_ns) / 1000;
    run.requests++;
    run.by_status[status < 1000 ? status : 0]++;
    run.latency[us < BUCKETS ? us : BUCKETS - 1]++;
    if (us > run.max_us)
        run.max_us = us;
}

static void receive(struct client *c)
{
    ssize_t n = recv(c->fd, c->input + c->len, INPUT_BYTES - c->len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        run.broken++;
        (void)close(c->fd);
        connect_client(c);
        return;
    }
    c->len += (size_t)n;
    if (!answer_length(c->input, c->len))
        return;
    count_answer(c);
    c->len = 0;
    send_request(c);
}

static uint64_t percentile(double share)
{
    uint64_t below = 0, wanted = (uint64_t)((double)run.requests * share);
    for (uint64_t us = 0; us < BUCKETS; us++) {
        below += run.latency[us];
        if (below > wanted)
            return us;
    }
    return run.max_us;
}

static void report(double seconds)
{
    const char *comma = "";
    printf("{\"requests\":%lu,\"errors\":{", (unsigned long)run.requests);
    for (unsigned status = 0; status < 1000; status++) {
        if (!run.by_status[status] || (status >= 200 && status < 300))
            continue;
        printf("%s\"%u\":%lu", comma, status, (unsigned long)run.by_status[status]);
        comma = ",";
    }
    if (run.broken)
        printf("%s\"broken\":%lu", comma, (unsigned long)run.broken);
    printf("},\"requests_per_s\":%.0f,\"p50_us\":%lu,\"p99_us\":%lu,\"max_us\":%lu}\n",
           (double)run.requests / seconds, (unsigned long)percentile(0.5),
           (unsigned long)percentile(0.99), (unsigned long)run.max_us);
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        (void)fputs("load HOST PORT CONNECTIONS SECONDS PATH BODY_FILE [--vary]\n", stderr);
        return 64;
    }
    long connections = strtol(argv[3], NULL, 10);
    double seconds = strtod(argv[4], NULL);
    run.to = (struct sockaddr_in){.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
    if (inet_pton(AF_INET, argv[1], &run.to.sin_addr) != 1 || connections < 1)
        fail(argv[1]);
    build_request(argv[1], argv[5], argv[6], argc > 7 && strcmp(argv[7], "--vary") == 0);
    run.number = (uint64_t)now_ns() % 100000000000; /* two runs differ too */
    run.latency = calloc(BUCKETS, sizeof *run.latency);
    run.epoll = epoll_create1(0);
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    if (!clients || !run.latency || run.epoll < 0)
        fail("load");
    int64_t begun = now_ns(), end = begun + (int64_t)(seconds * 1e9), now;
    for (long i = 0; i < connections; i++)
        connect_client(&clients[i]);
    while ((now = now_ns()) < end) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(run.epoll, events, EVENTS, 100);
        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
    }
    report((double)(now - begun) / 1e9);
    free(clients);
    free(run.latency);
    free(run.request);
    return EXIT_SUCCESS;
}
