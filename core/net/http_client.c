/* net/http_client.c: requests out, by libcurl's multi interface driven by a loop.
 *
 * libcurl reads http_proxy, https_proxy, all_proxy and no_proxy from the environment by itself; here
 * none of them counts, so that a request goes where the pipeline file says and nowhere else. */
#include "net/http_client.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/buf.h"
#include "base/mem.h"

enum {
    NS_PER_MS = 1000000,
    HEADERS_MAX = 200,
    HEAD_BYTES_MAX = 64 * 1024,
    FETCH_BYTES = 32 * 1024, /* what libcurl has for a request, about */
};
#define TIMEOUT_PRESET_NS INT64_C(30000000000)
#define ANSWER_PRESET     (UINT64_C(16) << 20)

/* ---- libcurl, by dlopen ---- */

static struct {
    pthread_once_t once;
    char problem[256];
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    CURLcode (*easy_perform)(CURL *);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_setopt)(CURLM *, CURLMoption, ...);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_assign)(CURLM *, curl_socket_t, void *);
    CURLMcode (*multi_socket_action)(CURLM *, curl_socket_t, int, int *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
    CURLMcode (*multi_cleanup)(CURLM *);
} lib = {.once = PTHREAD_ONCE_INIT};

static void load(void)
{
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"curl_global_init", &lib.global_init},
        {"curl_easy_init", &lib.easy_init},
        {"curl_easy_setopt", &lib.easy_setopt},
        {"curl_easy_getinfo", &lib.easy_getinfo},
        {"curl_easy_perform", &lib.easy_perform},
        {"curl_easy_cleanup", &lib.easy_cleanup},
        {"curl_easy_strerror", &lib.easy_strerror},
        {"curl_slist_append", &lib.slist_append},
        {"curl_slist_free_all", &lib.slist_free_all},
        {"curl_multi_init", &lib.multi_init},
        {"curl_multi_setopt", &lib.multi_setopt},
        {"curl_multi_add_handle", &lib.multi_add_handle},
        {"curl_multi_remove_handle", &lib.multi_remove_handle},
        {"curl_multi_assign", &lib.multi_assign},
        {"curl_multi_socket_action", &lib.multi_socket_action},
        {"curl_multi_info_read", &lib.multi_info_read},
        {"curl_multi_cleanup", &lib.multi_cleanup},
    };
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols && handle; i++) {
        void *found = dlsym(handle, symbols[i].name);
        if (!found)
            handle = NULL;
        memcpy(symbols[i].slot, &found, sizeof found);
    }
    const char *why =
        handle ? NULL : dlerror(); /* NOLINT(concurrency-mt-unsafe): once, per thread */
    if (!handle)
        (void)snprintf(lib.problem, sizeof lib.problem, "%s", why ? why : "libcurl.so.4: too old");
    else if (lib.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        (void)snprintf(lib.problem, sizeof lib.problem, "libcurl.so.4: does not start");
}

static int need_library(struct error *e)
{
    (void)pthread_once(&lib.once, load);
    if (!lib.problem[0])
        return 0;
    return error_set(e, EXIT_NOT_AVAILABLE, "http client: %s; install libcurl4", lib.problem);
}

/* ---- one request ---- */

struct fetch {
    struct fetch *next, *previous;
    struct http_fetch what; /* method, url and headers are not kept: libcurl has copies */
    CURL *easy;
    struct curl_slist *headers;
    struct buf body, head;
    size_t charged_bytes;
    bool is_too_large, has_head; /* the empty line after its fields came */
    char problem[CURL_ERROR_SIZE];
};

static void charge(struct fetch *f, size_t bytes)
{
    if (!f->what.budget || bytes == f->charged_bytes)
        return;
    if (bytes > f->charged_bytes)
        budget_charge(f->what.budget, bytes - f->charged_bytes);
    else
        budget_give(f->what.budget, f->charged_bytes - bytes);
    f->charged_bytes = bytes;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *user)
{
    struct fetch *f = user;
    if (size * n > f->what.answer_max - f->body.len) {
        f->is_too_large = true;
        return 0;
    }
    buf_add(&f->body, bytes, size * n);
    charge(f, FETCH_BYTES + f->body.cap);
    return size * n;
}

static size_t take_field(char *bytes, size_t size, size_t n, void *user)
{
    struct fetch *f = user;
    size_t len = size * n;
    if (len > 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        f->head.len = 0; /* those of a 100 came before */
        f->has_head = false;
    }
    f->has_head |= len && (*bytes == '\r' || *bytes == '\n');
    if (f->head.len + len > HEAD_BYTES_MAX) {
        f->is_too_large = true;
        return 0;
    }
    buf_add(&f->head, bytes, len);
    return len;
}

static bool add_header(struct fetch *f, weir_str name, weir_str value)
{
    if (memchr(name.ptr, '\n', name.len) || (value.len && memchr(value.ptr, '\n', value.len)) ||
        (value.len && memchr(value.ptr, '\r', value.len)))
        return false;
    /* A header without a value is written with a semicolon in libcurl. */
    char *line = value.len
                     ? mem_format("%.*s: %.*s", (int)name.len, name.ptr, (int)value.len, value.ptr)
                     : mem_format("%.*s;", (int)name.len, name.ptr);
    f->headers = lib.slist_append(f->headers, line);
    mem_free(line);
    return true;
}

static int set_headers(struct fetch *f, struct error *e)
{
    for (size_t i = 0; i < f->what.headers.count; i++) {
        const weir_attr *h = &f->what.headers.items[i];
        if (!add_header(f, h->key, h->value))
            return error_set(e, EXIT_BAD_DATA, "header %.*s: it has a line break", (int)h->key.len,
                             h->key.ptr);
    }
    f->headers = lib.slist_append(f->headers, "Expect:"); /* a round trip that nobody wants */
    (void)lib.easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers);
    return 0;
}

static void set_method(struct fetch *f)
{
    const char *method = f->what.method ? f->what.method : "GET";
    bool is_head = strcmp(method, "HEAD") == 0;
    bool has_body = f->what.body.len || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                    strcmp(method, "PATCH") == 0;
    if (has_body && !is_head) {
        (void)lib.easy_setopt(f->easy, CURLOPT_POST, 1L);
        (void)lib.easy_setopt(f->easy, CURLOPT_POSTFIELDS,
                              f->what.body.len ? f->what.body.ptr : "");
        (void)lib.easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->what.body.len);
    }
    if (is_head)
        (void)lib.easy_setopt(f->easy, CURLOPT_NOBODY, 1L);
    else
        (void)lib.easy_setopt(f->easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_rules(struct fetch *f)
{
    long ms = (long)((f->what.timeout_ns + NS_PER_MS - 1) / NS_PER_MS);
    (void)lib.easy_setopt(f->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)lib.easy_setopt(f->easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)lib.easy_setopt(f->easy, CURLOPT_PROXY, "");
    (void)lib.easy_setopt(f->easy, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)lib.easy_setopt(f->easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (f->what.ca_file) {
        (void)lib.easy_setopt(f->easy, CURLOPT_CAINFO, f->what.ca_file);
        (void)lib.easy_setopt(f->easy, CURLOPT_CAPATH, NULL);
    }
    (void)lib.easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L);
    (void)lib.easy_setopt(f->easy, CURLOPT_TIMEOUT_MS, ms);
    (void)lib.easy_setopt(f->easy, CURLOPT_ERRORBUFFER, f->problem);
    (void)lib.easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, take_body);
    (void)lib.easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
    (void)lib.easy_setopt(f->easy, CURLOPT_HEADERFUNCTION, take_field);
    (void)lib.easy_setopt(f->easy, CURLOPT_HEADERDATA, f);
    (void)lib.easy_setopt(f->easy, CURLOPT_PRIVATE, f);
}

static void fetch_free(struct fetch *f)
{
    if (f->easy)
        lib.easy_cleanup(f->easy);
    lib.slist_free_all(f->headers);
    charge(f, 0);
    buf_fini(&f->body);
    buf_fini(&f->head);
    mem_free(f);
}

static struct fetch *fetch_new(const struct http_fetch *what, struct error *e)
{
    struct fetch *f = MEM_NEW(struct fetch);
    f->what = *what;
    charge(f, FETCH_BYTES);
    if (!f->what.timeout_ns)
        f->what.timeout_ns = TIMEOUT_PRESET_NS;
    if (!f->what.answer_max)
        f->what.answer_max = ANSWER_PRESET;
    f->easy = lib.easy_init();
    if (!f->easy || set_headers(f, e) < 0) {
        (void)error_set(e, EXIT_INTERNAL, "http client: libcurl gives no handle");
        fetch_free(f);
        return NULL;
    }
    set_rules(f);
    set_method(f);
    (void)lib.easy_setopt(f->easy, CURLOPT_URL, what->url);
    return f;
}

/* ---- answers ---- */

static size_t split_head(struct buf *head, weir_attr fields[HEADERS_MAX])
{
    size_t count = 0;
    char *at = head->ptr, *end = head->ptr + head->len;
    while (at < end && count < HEADERS_MAX) {
        char *lf = memchr(at, '\n', (size_t)(end - at));
        char *stop = lf ? lf : end, *colon = memchr(at, ':', (size_t)(stop - at));
        if (colon && at != head->ptr) {
            for (char *c = at; c < colon; c++)
                if (*c >= 'A' && *c <= 'Z')
                    *c = (char)(*c | 32);
            char *from = colon + 1, *to = stop;
            while (from < to && (*from == ' ' || *from == '\t'))
                from++;
            while (to > from && (to[-1] == '\r' || to[-1] == ' ' || to[-1] == '\t'))
                to--;
            fields[count++] = (weir_attr){{at, (size_t)(colon - at)}, {from, (size_t)(to - from)}};
        }
        at = stop + 1;
    }
    return count;
}

static void finish(struct fetch *f, CURLcode code)
{
    weir_attr fields[HEADERS_MAX];
    char text[CURL_ERROR_SIZE + 64];
    long status = 0;
    struct http_fetch_result r = {0};
    if (code == CURLE_OK &&
        !f->has_head) { /* libcurl takes the status of half a head for an answer */
        r.error = "the connection ended within the answer's head";
    } else if (code == CURLE_OK) {
        (void)lib.easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
        r.status = (int)status;
        r.body = buf_str(&f->body);
        r.headers = (weir_pairs){split_head(&f->head, fields), fields};
    } else if (f->is_too_large) {
        (void)snprintf(text, sizeof text, "the answer is over %llu bytes",
                       (unsigned long long)f->what.answer_max);
        r.error = text;
    } else {
        (void)snprintf(text, sizeof text, "%s",
                       f->problem[0] ? f->problem : lib.easy_strerror(code));
        r.error = text;
    }
    f->what.done(f->what.user, &r);
}

/* ---- the client ---- */

struct socket {
    struct loop_watch watch;
    struct socket *next, *previous;
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct fetch *fetches;
    struct socket *sockets;
};

static void finish_done(struct http_client *c)
{
    int left;
    for (CURLMsg *m; (m = lib.multi_info_read(c->multi, &left));) {
        struct fetch *f = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result; /* gone once the handle is removed */
        CURL *easy = m->easy_handle;
        (void)lib.easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&f);
        (void)lib.multi_remove_handle(c->multi, easy);
        *(f->previous ? &f->previous->next : &c->fetches) = f->next;
        if (f->next)
            f->next->previous = f->previous;
        finish(f, code);
        fetch_free(f);
    }
}

static void act(struct http_client *c, int fd, int what)
{
    int running_now;
    (void)lib.multi_socket_action(c->multi, fd, what, &running_now);
    finish_done(c);
}

static void socket_ready(struct loop_watch *w, uint32_t events)
{
    struct http_client *c = w->user;
    int what = (events & EPOLLIN ? CURL_CSELECT_IN : 0) |
               (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    act(c, w->fd, what);
}

static void timer_due(struct loop_timer *t)
{
    act(t->user, CURL_SOCKET_TIMEOUT, 0);
}

static void socket_forget(struct http_client *c, struct socket *s)
{
    loop_remove(c->loop, &s->watch);
    *(s->previous ? &s->previous->next : &c->sockets) = s->next;
    if (s->next)
        s->next->previous = s->previous;
    mem_free(s);
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *mine)
{
    struct http_client *c = user;
    struct socket *s = mine;
    uint32_t events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0u) |
                      (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0u);
    if (what == CURL_POLL_REMOVE) {
        if (s)
            socket_forget(c, s);
        return 0;
    }
    if (s)
        return loop_change(c->loop, &s->watch, events) < 0 ? -1 : 0;
    s = MEM_NEW(struct socket);
    s->watch = (struct loop_watch){.fd = fd, .events = events, .fn = socket_ready, .user = c};
    s->next = c->sockets;
    if (s->next)
        s->next->previous = s;
    c->sockets = s;
    (void)lib.multi_assign(c->multi, fd, s);
    return loop_add(c->loop, &s->watch) < 0 ? -1 : 0;
}

static int want_timer(CURLM *multi, long ms, void *user)
{
    struct http_client *c = user;
    if (ms < 0)
        loop_timer_cancel(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, (int64_t)ms * NS_PER_MS);
    return 0;
}

struct http_client *http_client_new(struct loop *l, struct error *e)
{
    if (need_library(e) < 0)
        return NULL;
    struct http_client *c = MEM_NEW(struct http_client);
    c->loop = l;
    c->timer = (struct loop_timer){.fn = timer_due, .user = c};
    c->multi = lib.multi_init();
    if (!c->multi) {
        mem_free(c);
        (void)error_set(e, EXIT_INTERNAL, "http client: libcurl gives no handle");
        return NULL;
    }
    (void)lib.multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    (void)lib.multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    (void)lib.multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    (void)lib.multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    while (c->fetches) {
        static const struct http_fetch_result stopped = {.error = "stopped"};
        struct fetch *f = c->fetches;
        c->fetches = f->next;
        if (c->fetches)
            c->fetches->previous = NULL;
        (void)lib.multi_remove_handle(c->multi, f->easy);
        f->what.done(f->what.user, &stopped);
        fetch_free(f);
    }
    (void)lib.multi_cleanup(c->multi); /* takes its sockets out of the loop */
    loop_timer_cancel(c->loop, &c->timer);
    while (c->sockets)
        socket_forget(c, c->sockets);
    mem_free(c);
}

int http_client_fetch(struct http_client *c, const struct http_fetch *f, struct error *e)
{
    struct fetch *mine = fetch_new(f, e);
    if (!mine)
        return -1;
    if (lib.multi_add_handle(c->multi, mine->easy) != CURLM_OK) {
        fetch_free(mine);
        return error_set(e, EXIT_INTERNAL, "http client: libcurl takes no further request");
    }
    mine->next = c->fetches;
    if (mine->next)
        mine->next->previous = mine;
    c->fetches = mine;
    return 0;
}

int http_fetch_wait(const struct http_fetch *f, struct error *e)
{
    if (need_library(e) < 0)
        return -1;
    struct fetch *mine = fetch_new(f, e);
    if (!mine)
        return -1;
    finish(mine, lib.easy_perform(mine->easy));
    fetch_free(mine);
    return 0;
}
