/* net/listen.c: opens listening sockets; says who is in the way when it cannot. */
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

union any_address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_storage storage;
};

/* SO_REUSEPORT lets any process of the user in, so this process remembers where it listens itself, and
 * asks for the address alone when it is new. */
static struct {
    pthread_mutex_t lock;
    char (*names)[128];
    size_t count, cap;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t find_shared(const char *name)
{
    size_t i = 0;
    while (i < shared.count && strcmp(shared.names[i], name) != 0)
        i++;
    return i;
}

static void remember_shared(int fd)
{
    char name[128];
    listen_name(fd, name, sizeof name);
    char(*slot)[128] = &MEM_PUSH(shared.names, shared.count, shared.cap);
    memcpy(*slot, name, sizeof name);
}

static void forget_shared(int fd)
{
    char name[128];
    listen_name(fd, name, sizeof name);
    (void)pthread_mutex_lock(&shared.lock);
    size_t i = find_shared(name);
    if (i < shared.count)
        memmove(shared.names[i], shared.names[--shared.count], sizeof shared.names[i]);
    if (shared.count == 0) {
        mem_free(shared.names);
        shared.names = NULL;
        shared.cap = 0;
    }
    (void)pthread_mutex_unlock(&shared.lock);
}

void listen_format(const struct sockaddr *address, size_t address_size, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        (void)snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        (void)snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_un *un = (const void *)address;
        bool has_path = address_size > sizeof un->sun_family && un->sun_path[0];
        (void)snprintf(text, size, "unix%s%s", has_path ? ":" : "", has_path ? un->sun_path : "");
    }
}

void listen_name(int fd, char *text, size_t size)
{
    union any_address a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, &a.sa, &n) == 0)
        listen_format(&a.sa, n, text, size);
    else
        (void)snprintf(text, size, "?");
}

/* ---- addresses ---- */

static int refuse_form(const char *address, struct error *e)
{
    return error_set(e, EXIT_CONFIG,
                     "listen %s: it is not an address; write host:port, as in 127.0.0.1:3000, "
                     "[::1]:3000, or unix:/path",
                     address);
}

static int read_unix(const char *address, union any_address *a, socklen_t *n, struct error *e)
{
    const char *path = address + 5;
    if (!*path)
        return refuse_form(address, e);
    if (strlen(path) >= sizeof a->un.sun_path)
        return error_set(e, EXIT_CONFIG,
                         "listen %s: the path is over %zu bytes; choose a shorter one", address,
                         sizeof a->un.sun_path - 1);
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path, strlen(path) + 1);
    *n = sizeof a->un;
    return 0;
}

static int read_inet(const char *address, union any_address *a, socklen_t *n, struct error *e)
{
    char host[256];
    unsigned port;
    weir_str name;
    if (!text_address(address, &name, &port))
        return refuse_form(address, e);
    (void)snprintf(host, sizeof host, "%.*s", (int)name.len, name.ptr);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failed = getaddrinfo(host, strrchr(address, ':') + 1, &hints, &found);
    if (failed)
        return error_set(e, EXIT_CONFIG, "listen %s: %s; is the host right?", address,
                         gai_strerror(failed));
    memcpy(&a->storage, found->ai_addr, found->ai_addrlen);
    *n = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/* ---- sockets ---- */

static int refuse_bind(const char *address, int reason, struct error *e)
{
    if (reason == EADDRINUSE) {
        char text[128];
        return error_set(e, EXIT_NOT_AVAILABLE,
                         "listen %s: %s: another process has it; choose another address", address,
                         error_sys_text(reason, text, sizeof text));
    }
    return error_sys(e, reason, "listen %s", address);
}

static int open_socket(int family)
{
    static const int on = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || family == AF_UNIX)
        return fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted ones inherit it */
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    return fd;
}

/* Is it free for one alone? Closed at once. */
static int probe(const union any_address *a, socklen_t n)
{
    int fd = open_socket(a->sa.sa_family), reason = 0;
    if (fd < 0 || bind(fd, &a->sa, n) < 0)
        reason = errno;
    if (fd >= 0)
        (void)close(fd);
    return reason;
}

/* A socket file without a listener is a left-over of a process that died. */
static bool is_stale(const union any_address *a, socklen_t n)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_refused = fd >= 0 && connect(fd, &a->sa, n) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        (void)close(fd);
    return is_refused && lstat(a->un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int bind_unix(int fd, const union any_address *a, socklen_t n)
{
    /* The mode is set before listen(), and nobody can connect before that. */
    if (bind(fd, &a->sa, n) < 0) {
        if (errno != EADDRINUSE || !is_stale(a, n))
            return errno == EADDRINUSE ? EADDRINUSE : errno;
        if (unlink(a->un.sun_path) < 0 || bind(fd, &a->sa, n) < 0)
            return errno;
    }
    return chmod(a->un.sun_path, 0600) < 0 ? errno : 0;
}

static int bind_inet(int fd, const union any_address *a, socklen_t n, bool is_shared)
{
    static const int on = 1;
    char name[128];
    if (!is_shared)
        return bind(fd, &a->sa, n) < 0 ? errno : 0;
    listen_format(&a->sa, n, name, sizeof name);
    int reason = find_shared(name) < shared.count ? 0 : probe(a, n);
    if (!reason &&
        (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 || bind(fd, &a->sa, n) < 0))
        reason = errno;
    if (!reason)
        remember_shared(fd);
    return reason;
}

int listen_open(const char *address, bool is_shared, struct error *e)
{
    union any_address a = {0};
    socklen_t n = 0;
    bool is_unix = text_starts(weir_text(address), "unix:");
    if ((is_unix ? read_unix(address, &a, &n, e) : read_inet(address, &a, &n, e)) < 0)
        return -1;
    int fd = open_socket(a.sa.sa_family);
    if (fd < 0)
        return refuse_bind(address, errno, e);
    (void)pthread_mutex_lock(&shared.lock);
    int reason = is_unix ? bind_unix(fd, &a, n) : bind_inet(fd, &a, n, is_shared);
    (void)pthread_mutex_unlock(&shared.lock);
    if (!reason && listen(fd, SOMAXCONN) < 0)
        reason = errno;
    if (!reason)
        return fd;
    (void)close(fd);
    return refuse_bind(address, reason, e);
}

void listen_close(int fd)
{
    union any_address a = {0};
    socklen_t n = sizeof a;
    int is_shared = 0;
    socklen_t size = sizeof is_shared;
    if (getsockname(fd, &a.sa, &n) == 0 && a.sa.sa_family == AF_UNIX)
        (void)unlink(a.un.sun_path);
    else if (getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &is_shared, &size) == 0 && is_shared)
        forget_shared(fd);
    (void)close(fd);
}
