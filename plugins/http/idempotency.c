/* http/idempotency.c: Idempotency-Key: a request whose key came before gets the answer of the first. */
#include <string.h>

#include "answer.h"
#include "source.h"

enum { KEY_MAX = 255 };

/* A structured field's string ("...") or the bare key. */
static bool read_key(weir_str value, weir_str *key)
{
    *key = value;
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        *key = (weir_str){value.ptr + 1, value.len - 2};
    for (size_t i = 0; i < key->len; i++)
        if (key->ptr[i] < 0x20 || key->ptr[i] > 0x7e || key->ptr[i] == '"' || key->ptr[i] == '\\')
            return false;
    return key->len > 0 && key->len <= KEY_MAX;
}

/* The answer that the first one got. */
static weir_status replay(const struct source *s, const weir_host *h, weir_http_call *take,
                          const weir_window_found *found)
{
    static const weir_attr replayed = {{"idempotency-replayed", 20}, {"true", 4}};
    const struct worker *w = h->worker;
    char text[ACCEPTED_MAX];
    size_t n = answer_event(text, &found->id, "accepted");
    s->server->answer(s->server, take,
                      WEIR_SIZED(weir_http_answer, .status = 200, .headers = {1, &replayed},
                                 .text = {text, n}));
    h->observe(h, w->replayed, 1);
    return WEIR_IDLE;
}

static weir_status answer_known(const struct source *s, const weir_host *h, weir_http_call *take,
                                const struct memory *m, weir_status is,
                                const weir_window_found *found)
{
    struct problem wrong = {.status = 422, .title = "Unprocessable Content"};
    if (!found->is_same)
        return source_refuse(s, h, take, &wrong, "%s was used for another body", m->how->header);
    if (is == WEIR_DROP)
        return replay(s, h, take, found);
    wrong = (struct problem){.status = 409, .title = "Conflict"};
    return source_refuse(s, h, take, &wrong,
                         "a request with this %s is under way: ask again once it is answered",
                         m->how->header);
}

/* OK with the claim, or none where there is no key. IDLE: the request was answered. */
weir_status idempotency_claim(const struct source *s, const weir_host *h, weir_http_call *call,
                              const struct route *r, weir_claim **claim)
{
    const struct memory *m = &s->memories[r - (const struct route *)s->routes.items];
    struct problem wrong = {.status = 400, .title = "Bad Request"};
    const weir_windows *windows = source_windows(s);
    weir_str value = {NULL, 0}, key;
    for (size_t i = 0; i < call->headers.count && m->how; i++)
        if (weir_same(call->headers.items[i].key, m->header))
            value = call->headers.items[i].value;
    if (!windows || !m->how || (!value.ptr && !m->how->required))
        return WEIR_OK;
    if (!value.ptr)
        return source_refuse(s, h, call, &wrong,
                             "%s is missing: send a new one with each new request", m->how->header);
    if (!read_key(value, &key))
        return source_refuse(s, h, call, &wrong, "%s: expected 1 to %d printable characters",
                             m->how->header, KEY_MAX);
    char *whole = h->scratch(h, call->path.len + 1 + key.len); /* the key of this very resource */
    memcpy(whole, call->path.ptr, call->path.len);
    whole[call->path.len] = '\n';
    memcpy(whole + call->path.len + 1, key.ptr, key.len);
    weir_window_found found = {.size = sizeof found};
    weir_status is =
        windows->claim(windows, m->window, (weir_str){whole, call->path.len + 1 + key.len},
                       (weir_str){call->body->ptr, call->body->len}, &found);
    *claim = found.claim;
    return is == WEIR_OK ? WEIR_OK : answer_known(s, h, call, m, is, &found);
}

static const struct idempotency preset = {
    true, false, "Idempotency-Key", {INT64_C(86400) * 1000000000}, 100000};

weir_status idempotency_open(struct source *s, const weir_host *h)
{
    const struct route *routes = s->routes.items;
    weir_status is = WEIR_OK;
    s->memories = h->keep(h, (s->routes.count + 1) * sizeof *s->memories);
    memset(s->memories, 0, (s->routes.count + 1) * sizeof *s->memories);
    for (size_t i = 0; i < s->routes.count && is == WEIR_OK && source_windows(s); i++) {
        struct memory *m = &s->memories[i];
        const struct idempotency *how = routes[i].idempotency.item;
        how = how ? how : &preset;
        if (!how->enabled)
            continue;
        m->how = how;
        for (size_t k = 0; how->header[k] && k < HEADER_MAX; k++) {
            bool is_upper = how->header[k] >= 'A' && how->header[k] <= 'Z';
            m->header[k] = (char)(is_upper ? how->header[k] - 'A' + 'a' : how->header[k]);
        }
        is = source_windows(s)->open(source_windows(s), s->routes.names[i],
                                     WEIR_SIZED(weir_window_settings, .keep = how->window,
                                                .keys_max = (uint64_t)how->max_keys),
                                     &m->window);
    }
    return is;
}
