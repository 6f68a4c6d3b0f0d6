/* lambda/native.c: functions that run inside the runner: weir/function.h, the host's side of it. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lambda.h"

struct native {
    weir_call call; /* first: what the function is given */
    const struct lambda *l;
    const weir_host *h;
    struct guard *guard; /* NULL: it runs on the worker's thread */
    char *data;          /* the answer; grown, and kept for the next call */
    size_t used, capacity;
    bool is_too_large;
    const char *why;
    char reason[WHY_SIZE]; /* of `why` */
    char stream[STREAM_NAME_SIZE];
};

/* The call is the first member; the cast is the way back. */
static struct native *home(weir_call *c)
{
    return (struct native *)(void *)c;
}

static const struct native *home_const(const weir_call *c)
{
    return (const struct native *)(const void *)c;
}

/* ---- what a function may call ---------------------------------------------------------------- */

static int64_t call_remaining_ns(const weir_call *c)
{
    const struct native *n = home_const(c);
    guard_enter(n->guard);
    int64_t left_ns = c->deadline_ns - n->h->now(n->h);
    guard_leave(n->guard);
    return left_ns;
}

static void call_log(weir_call *c, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void call_log(weir_call *c, const char *fmt, ...)
{
    struct native *n = home(c);
    char line[2048];
    va_list args;
    va_start(args, fmt);
    int made = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    size_t len = made < 0 ? 0 : (size_t)made < sizeof line ? (size_t)made : sizeof line - 1;
    guard_enter(n->guard);
    report_line(n->l, n->stream, (weir_str){line, len});
    guard_leave(n->guard);
}

/* Until the handler returns, on whatever thread it runs. Within the guard. */
static void *take_bytes(const struct native *n, size_t size)
{
    return n->guard ? guard_text(n->guard, size) : n->h->scratch(n->h, size);
}

static void *call_scratch(weir_call *c, size_t n)
{
    const struct native *native = home(c);
    guard_enter(native->guard);
    void *bytes = memset(take_bytes(native, n ? n : 1), 0, n);
    guard_leave(native->guard);
    return bytes;
}

static const char *call_variable(const weir_call *c, const char *name)
{
    const struct native *n = home_const(c);
    char *text = NULL;
    guard_enter(n->guard);
    const weir_pairs *all = &n->l->environment;
    for (size_t i = 0; i < all->count && !text; i++) {
        weir_str value = all->items[i].value;
        if (!weir_same(all->items[i].key, name))
            continue;
        text = take_bytes(n, value.len + 1);
        memcpy(text, value.len ? value.ptr : "", value.len);
        text[value.len] = 0;
    }
    guard_leave(n->guard);
    return text;
}

static weir_str call_find(const weir_call *c, weir_str value, const char *path)
{
    const struct native *n = home_const(c);
    guard_enter(n->guard);
    weir_str found = value.ptr ? n->l->json->find(n->l->json, value, path) : value;
    guard_leave(n->guard);
    return found;
}

static int call_kind(const weir_call *c, weir_str value)
{
    const struct native *n = home_const(c);
    guard_enter(n->guard);
    int kind = value.ptr ? n->l->json->kind(n->l->json, value) : WEIR_JSON_NONE;
    guard_leave(n->guard);
    return kind;
}

static weir_str call_text(const weir_call *c, weir_str value)
{
    const struct native *n = home_const(c);
    int kind = call_kind(c, value);
    if (kind == WEIR_JSON_NONE || kind == WEIR_JSON_NULL)
        return (weir_str){"", 0};
    if (kind != WEIR_JSON_TEXT)
        return value;
    guard_enter(n->guard);
    value = n->l->json->text(n->l->json, value);
    if (n->guard) { /* outside of callbacks it would not live long enough */
        char *copy = take_bytes(n, value.len + 1);
        memcpy(copy, value.len ? value.ptr : "", value.len);
        value.ptr = copy;
    }
    guard_leave(n->guard);
    return value;
}

static bool call_next(const weir_call *c, weir_str value, weir_json_each *each)
{
    const struct native *n = home_const(c);
    int kind = call_kind(c, value);
    if (kind != WEIR_JSON_ARRAY && kind != WEIR_JSON_OBJECT)
        return false;
    guard_enter(n->guard);
    bool has_more = n->l->json->next(n->l->json, value, each);
    guard_leave(n->guard);
    return has_more;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Room for n more bytes, or NULL: larger than an answer may be. */
static char *room(struct native *n, size_t more)
{
    if (n->is_too_large || more > ANSWER_MAX_BYTES - n->used) {
        n->is_too_large = true;
        return NULL;
    }
    if (n->used + more > n->capacity) {
        size_t capacity = n->capacity ? n->capacity : 4096;
        while (capacity < n->used + more)
            capacity *= 2;
        char *data = realloc(n->data, capacity);
        if (!data) {
            n->is_too_large = true;
            return NULL;
        }
        n->data = data;
        n->capacity = capacity;
    }
    return n->data + n->used;
}

static void append(struct native *n, weir_str text)
{
    char *at = text.len ? room(n, text.len) : NULL;
    if (!at)
        return;
    memcpy(at, text.ptr, text.len);
    n->used += text.len;
}

static void comma(struct native *n)
{
    char last = '{';
    for (size_t i = n->used; i && (last = n->data[i - 1], last == ' ' || last == '\n');)
        i--;
    if (n->used && !strchr("{[,:", last))
        append(n, weir_text(","));
}

static void append_quoted(struct native *n, weir_str text)
{
    guard_enter(n->guard);
    append(n, n->l->json->quote(n->l->json, text));
    guard_leave(n->guard);
}

static void begin_member(struct native *n, const char *key)
{
    comma(n);
    if (!key)
        return;
    append_quoted(n, weir_text(key));
    append(n, weir_text(":"));
}

static void call_write(weir_call *c, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void call_write(weir_call *c, const char *fmt, ...)
{
    struct native *n = home(c);
    va_list args, again;
    if (!strchr(fmt, '%')) {
        append(n, weir_text(fmt));
        return;
    }
    va_start(args, fmt);
    va_copy(again, args);
    int made = vsnprintf(NULL, 0, fmt, args);
    char *at = made > 0 ? room(n, (size_t)made + 1) : NULL;
    if (at) {
        (void)vsnprintf(at, (size_t)made + 1, fmt, again);
        n->used += (size_t)made;
    }
    va_end(again);
    va_end(args);
}

static void call_quote(weir_call *c, weir_str text)
{
    comma(home(c));
    append_quoted(home(c), text);
}

static void call_put_text(weir_call *c, const char *key, weir_str text)
{
    begin_member(home(c), key);
    append_quoted(home(c), text);
}

static void call_put_json(weir_call *c, const char *key, weir_str value)
{
    begin_member(home(c), key);
    append(home(c), value.ptr ? value : weir_text("null"));
}

static void call_put_each(weir_call *c, const weir_json_each *each)
{
    struct native *n = home(c);
    comma(n);
    if (each->key.ptr) { /* a span of the text, with or without its quotes */
        bool is_bare = !each->key.len || each->key.ptr[0] != '"';
        append(n, weir_text(is_bare ? "\"" : ""));
        append(n, each->key);
        append(n, weir_text(is_bare ? "\":" : ":"));
    }
    append(n, each->value);
}

static void call_reply(weir_call *c, weir_str json)
{
    home(c)->used = 0;
    append(home(c), json);
}

static weir_status call_fail(weir_call *c, weir_status s, const char *type, const char *fmt, ...)
    WEIR_PRINTF(4, 5);
static weir_status call_fail(weir_call *c, weir_status s, const char *type, const char *fmt, ...)
{
    struct native *n = home(c);
    int used = snprintf(n->reason, sizeof n->reason, "%.200s: ", type);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(n->reason + used, sizeof n->reason - (size_t)used, fmt, args);
    va_end(args);
    n->why = n->reason;
    if (s != WEIR_E_RETRY)
        return s;
    guard_enter(n->guard);
    s = invocation_class(n->l, weir_text(type));
    guard_leave(n->guard);
    return s;
}

static const weir_call table = {
    .size = sizeof(weir_call),
    .abi = WEIR_FUNCTION_ABI_MAJOR << 16 | WEIR_FUNCTION_ABI_MINOR,
    .remaining_ns = call_remaining_ns,
    .log = call_log,
    .scratch = call_scratch,
    .variable = call_variable,
    .find = call_find,
    .text = call_text,
    .kind = call_kind,
    .next = call_next,
    .write = call_write,
    .quote = call_quote,
    .put_text = call_put_text,
    .put_json = call_put_json,
    .put_each = call_put_each,
    .reply = call_reply,
    .fail = call_fail,
};

/* ---- the host's side ------------------------------------------------------------------------- */

const weir_function_manifest *native_load(const weir_host *h, const char *path)
{
    char why[512];
    if (elf_check(path, why, sizeof why) != 0) {
        h->fail(h, WEIR_E_CONFIG, 0, "%s", why);
        return NULL;
    }
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* for good: code is never unmapped */
    const void *symbol = object ? dlsym(object, "weir_function") : NULL;
    if (!symbol)
        h->fail(h, WEIR_E_CONFIG, 0, "load %s: %s", path,
                dlerror()); // NOLINT(concurrency-mt-unsafe)
    return symbol;
}

/* NULL: no memory. */
struct native *native_new(const struct lambda *l, const weir_host *h, struct guard *guard)
{
    struct native *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    *n = (struct native){.call = table, .l = l, .h = h, .guard = guard};
    n->call.function = l->function_name;
    report_stream_name(h, n->stream);
    return n;
}

void native_free(struct native *n)
{
    free(n->data);
    free(n);
}

static struct answer refused(weir_status s, const char *why)
{
    return (struct answer){.status = s, .why = why};
}

static struct answer answer_of(struct native *n, weir_status s)
{
    char *data = NULL;
    if (s == WEIR_DROP)
        return (struct answer){.status = WEIR_DROP, .why = "the function dropped it"};
    if (s != WEIR_OK)
        return refused(s == WEIR_E_REJECT ? s : WEIR_E_RETRY,
                       n->why ? n->why : "the function failed and did not say why");
    if (n->is_too_large)
        return refused(WEIR_E_RETRY,
                       "Function.ResponseSizeTooLarge: the answer is larger than 6291556 bytes");
    if (!n->used)
        return (struct answer){.status = WEIR_OK};
    struct answer a = {.status = WEIR_OK, .take = n->h->alloc(n->h, n->used, &data)};
    if (!a.take)
        return refused(WEIR_E_RETRY, "the memory limit is reached");
    memcpy(data, n->data, n->used);
    return a;
}

struct answer native_call(struct native *n, const weir_host *h, const struct invocation *v,
                          weir_str event)
{
    guard_enter(n->guard);
    n->h = h;
    n->used = 0;
    n->is_too_large = false;
    n->why = NULL;
    n->call.event = event;
    n->call.request_id = v->request_id;
    n->call.deadline_ns = v->deadline_ns;
    if (n->l->is_reporting)
        report_start(n->l, n->stream, v->request_id);
    weir_handler handler = n->l->native->handler;
    guard_leave(n->guard);
    weir_status s = handler(&n->call);
    guard_enter(n->guard);
    if (n->l->is_reporting)
        report_end(n->l, n->stream,
                   &(struct report){.request_id = v->request_id,
                                    .duration_ns = h->now(h) - v->begun_ns,
                                    .trouble = n->why});
    struct answer a = answer_of(n, s);
    guard_leave(n->guard);
    return a;
}
