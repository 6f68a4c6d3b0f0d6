/* net/http_server.c: a listening address on a loop, and what its connections share. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/http_connection.h"
#include "net/listen.h"

enum { ACCEPTS_A_ROUND = 64, FREE_EXCHANGES_MAX = 256, KEPT_TEXT_BYTES = 4096 };
#define NS_PER_S        INT64_C(1000000000)
#define ACCEPT_PAUSE_NS (NS_PER_S / 10)
#define BODY_MAX        (UINT64_C(1) << 20)
#define REQUEST_TIMEOUT (30 * NS_PER_S)
#define IDLE_TIMEOUT    (60 * NS_PER_S)
#define CONNECTIONS_MAX 10000

int64_t http_server_wall(struct http_server *s)
{
    int64_t now = loop_now(s->loop);
    if (now != s->wall_mono_ns) {
        s->wall_ns = clock_wall(loop_clock(s->loop));
        s->wall_mono_ns = now;
    }
    return s->wall_ns;
}

/* ---- exchanges: taken and given back for each request, without the allocator ---- */

void http_server_charge(struct http_server *s, size_t *charged, size_t bytes)
{
    if (!s->settings.budget)
        return;
    if (bytes > *charged)
        budget_charge(s->settings.budget, bytes - *charged);
    else if (bytes < *charged)
        budget_give(s->settings.budget, *charged - bytes);
    *charged = bytes;
}

void http_server_charge_exchange(struct exchange *x)
{
    http_server_charge(x->server, &x->charged_bytes, sizeof *x + x->text_cap + x->answer.cap);
}

struct exchange *http_server_take_exchange(struct http_server *s)
{
    struct exchange *x = s->free_exchanges;
    if (x) {
        s->free_exchanges = x->next;
        s->free_exchange_count--;
    } else {
        x = MEM_NEW(struct exchange);
        x->server = s;
    }
    x->request = (struct http_request){0};
    x->connection = NULL;
    x->table = NULL;
    x->next = NULL;
    x->is_answered = x->is_last = x->is_head = x->wants_continue = false;
    x->match.allow[0] = 0;
    s->exchanges++;
    return x;
}

static void free_exchange(struct exchange *x)
{
    http_server_charge(x->server, &x->charged_bytes, 0);
    buf_fini(&x->answer);
    mem_free(x->text);
    mem_free(x);
}

static void table_unref(struct route_table *t)
{
    if (!t || --t->users)
        return;
    routes_fini(&t->routes); /* parameters of open requests have their names there */
    mem_free(t);
}

static struct route_table *table_new(void)
{
    struct route_table *t = MEM_NEW(struct route_table);
    t->users = 1;
    return t;
}

void http_server_hold_table(struct exchange *x)
{
    struct route_table *before = x->table;
    x->table = x->server->table;
    x->table->users++;
    table_unref(before);
}

static void free_server(struct http_server *s)
{
    table_unref(s->table);
    table_unref(s->next_table);
    while (s->free_exchanges) {
        struct exchange *x = s->free_exchanges;
        s->free_exchanges = x->next;
        free_exchange(x);
    }
    mem_free(s);
}

void http_server_give_exchange(struct http_server *s, struct exchange *x)
{
    if (x->answer_body)
        s->settings.bodies.unref(s->settings.bodies.user, x->answer_body);
    x->answer_body = NULL;
    x->answer.len = 0;
    table_unref(x->table);
    x->table = NULL;
    if (s->free_exchange_count >= FREE_EXCHANGES_MAX || x->text_cap > KEPT_TEXT_BYTES ||
        x->answer.cap > KEPT_TEXT_BYTES) {
        free_exchange(x);
    } else {
        x->next = s->free_exchanges;
        s->free_exchanges = x;
        s->free_exchange_count++;
    }
    if (s->is_freed && s->exchanges == 0)
        free_server(s);
}

/* ---- accepting ---- */

static void listen_more(struct http_server *s)
{
    bool has_room = s->connection_count < s->settings.connections_max;
    bool may_listen = !s->is_draining && s->listener.fd >= 0;
    if (s->is_listening || !may_listen || !has_room || loop_timer_is_set(&s->accept_timer))
        return;
    s->is_listening = loop_add(s->loop, &s->listener) == 0;
}

static void listen_less(struct http_server *s)
{
    if (s->is_listening)
        loop_remove(s->loop, &s->listener);
    s->is_listening = false;
}

void http_server_has_room(struct http_server *s)
{
    listen_more(s);
}

static void accept_again(struct loop_timer *t)
{
    listen_more(t->user);
}

/* False: no more for now. */
static bool accept_one(struct http_server *s)
{
    static struct log_limit limit;
    union {
        struct sockaddr sa;
        struct sockaddr_storage storage;
    } from = {0};
    socklen_t n = sizeof from;
    char peer[PEER_BYTES], reason[128];
    uint64_t held;
    int fd = accept4(s->listener.fd, &from.sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        listen_format(&from.sa, n, peer, sizeof peer);
        http_connection_open(s, fd, peer);
        return true;
    }
    if (errno == EAGAIN)
        return false;
    if (errno == EINTR || errno == ECONNABORTED)
        return true;
    if (log_limit_pass(&limit, 10, &held))
        log_write(WEIR_WARN, NULL, "accept: %s; clients wait until there is room",
                  error_sys_text(errno, reason, sizeof reason));
    listen_less(s);
    loop_timer_set(s->loop, &s->accept_timer, ACCEPT_PAUSE_NS);
    return false;
}

static void accept_some(struct loop_watch *w, uint32_t events)
{
    struct http_server *s = w->user;
    s->flush_is_over = false;
    for (int i = 0; i < ACCEPTS_A_ROUND && s->connection_count < s->settings.connections_max; i++)
        if (!accept_one(s))
            return;
    if (s->connection_count >= s->settings.connections_max)
        listen_less(s);
}

/* ---- the end of a round ---- */

static void flush_all(struct http_server *s)
{
    while (s->to_flush)
        http_connection_flush(s->to_flush);
}

static void flush_in_round(struct loop_hook *h)
{
    struct http_server *s = h->user;
    loop_timer_cancel(s->loop, &s->flush_timer);
    flush_all(s);
    s->flush_is_over = true;
}

static void flush_late(struct loop_timer *t)
{
    flush_all(t->user);
}

/* ---- life ---- */

static void set_presets(struct http_server_settings *settings)
{
    if (!settings->body_max)
        settings->body_max = BODY_MAX;
    if (!settings->request_timeout_ns)
        settings->request_timeout_ns = REQUEST_TIMEOUT;
    if (!settings->idle_timeout_ns)
        settings->idle_timeout_ns = IDLE_TIMEOUT;
    if (!settings->connections_max)
        settings->connections_max = CONNECTIONS_MAX;
    settings->address = NULL; /* the caller's; http_server_address asks the socket */
}

struct http_server *http_server_new(struct loop *l, const struct http_server_settings *settings,
                                    struct error *e)
{
    static const int on = 1;
    int fd = settings->fd;
    if (fd > 0) /* opened elsewhere; fails on a Unix socket, where it means nothing */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    else
        fd = listen_open(settings->address, settings->is_shared, e);
    if (fd < 0)
        return NULL;
    struct http_server *s = MEM_NEW(struct http_server);
    s->loop = l;
    s->settings = *settings;
    s->owns_fd = settings->fd <= 0;
    s->table = table_new();
    set_presets(&s->settings);
    s->wall_mono_ns = s->date_s = -1;
    s->flush_is_over = true;
    s->listener = (struct loop_watch){.fd = fd,
                                      .events = EPOLLIN | EPOLLEXCLUSIVE,
                                      .fn = accept_some,
                                      .user = s};
    s->accept_timer = (struct loop_timer){.fn = accept_again, .user = s};
    s->flush_timer = (struct loop_timer){.fn = flush_late, .user = s};
    s->flush_hook = (struct loop_hook){.fn = flush_in_round, .user = s};
    loop_hook_add(l, &s->flush_hook);
    listen_more(s);
    if (s->is_listening)
        return s;
    (void)error_sys(e, errno, "listen: cannot be watched");
    http_server_free(s);
    return NULL;
}

void http_server_address(const struct http_server *s, char *text, size_t size)
{
    listen_name(s->listener.fd, text, size);
}

int http_server_fd(const struct http_server *s)
{
    return s->listener.fd;
}

int http_server_route(struct http_server *s, const char *pattern, void *arg, struct error *e)
{
    return routes_add(&s->table->routes, pattern, arg, e);
}

int http_server_route_next(struct http_server *s, const char *pattern, void *arg, struct error *e)
{
    if (!s->next_table)
        s->next_table = table_new();
    return routes_add(&s->next_table->routes, pattern, arg, e);
}

void http_server_forget_next(struct http_server *s)
{
    table_unref(s->next_table);
    s->next_table = NULL;
}

void http_server_switch(struct http_server *s, const struct http_server_settings *settings)
{
    s->settings = *settings;
    set_presets(&s->settings);
    table_unref(s->table);
    s->table = s->next_table ? s->next_table : table_new();
    s->next_table = NULL;
}

void http_server_stop_listening(struct http_server *s)
{
    listen_less(s);
    if (s->owns_fd && s->listener.fd >= 0)
        listen_close(s->listener.fd);
    s->listener.fd = -1;
}

void http_server_drain(struct http_server *s)
{
    s->is_draining = true;
    http_server_stop_listening(s);
    for (struct connection *c = s->connections, *next; c; c = next) {
        next = c->next;
        http_connection_drain(c);
    }
}

bool http_server_is_idle(const struct http_server *s)
{
    for (const struct connection *c = s->connections; c; c = c->next)
        if (c->out_bytes)
            return false;
    return s->exchanges == 0;
}

bool http_server_is_empty(const struct http_server *s)
{
    return s->connection_count == 0;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    s->is_draining = true;
    http_server_stop_listening(s);
    while (s->connections)
        http_connection_close(s->connections);
    loop_timer_cancel(s->loop, &s->accept_timer);
    loop_timer_cancel(s->loop, &s->flush_timer);
    loop_hook_remove(s->loop, &s->flush_hook);
    s->is_freed = true;
    if (s->exchanges == 0) /* else the last one that is answered takes it along */
        free_server(s);
}
