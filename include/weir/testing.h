/* weir/testing.h: a small host for one instance, so that a plugin is tested without the runner.
 *
 *     #include <weir/testing.h>
 *
 *     int main(void)
 *     {
 *         weir_test *t = weir_test_new(WEIR_TEST_TRANSFORM, "drop", "path=kind", "equals=noise", NULL);
 *         assert(weir_test_start(t) == WEIR_OK);
 *         weir_test_event(t, "{\"kind\":\"noise\"}");
 *         weir_test_event(t, "{\"kind\":\"order\"}");
 *         assert(weir_test_push(t) == WEIR_OK);
 *         assert(weir_test_fate_of(t, 0)->status == WEIR_DROP);
 *         assert(weir_test_out_count(t) == 1);
 *         return weir_test_free(t);
 *     }
 *
 * Link the test with the plugin's source: it uses the symbol `weir_plugin`. The host keeps the treaty
 * of weir/plugin.h and watches that the plugin does: references that leak, events that are lost or
 * settled twice, calls at the wrong time. weir_test_free tells how often it did not.
 *
 * Options    Texts "name=value"; a structure's value is JSON: "rules={\"a\":{\"pattern\":{}}}".
 * Services   weir.json/1 is built in. Others are yours: give a table with weir_test_give; `self` is
 *            what you put there, `owner` the host, from which weir_test_of(owner) finds the test.
 * Time       Stands still at 2025-01-01T00:00:00Z until weir_test_move.
 * Threads    One worker. Your service and the plugin's own threads may use post, wake, log and
 *            payloads from elsewhere; weir_test_wait lets what they posted run.
 * Memory     weir_test_memory(t, n): n more payloads, then none.
 *
 * C11, header only, needs -pthread. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strptime, timegm; so include this header first */
#endif
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <weir/json.h>
#include <weir/plugin.h>

extern const weir_manifest weir_plugin;

#define WEIR_TEST_FN       static __attribute__((unused))
#define WEIR_TEST_EPOCH_NS INT64_C(1735689600000000000) /* when a test begins */

enum weir_test_role { WEIR_TEST_SOURCE, WEIR_TEST_TRANSFORM, WEIR_TEST_SINK, WEIR_TEST_SERVICE };

struct weir_secret { /* behind an option's pointer */
    weir_str text;
};
struct weir_metric {
    struct weir_metric *next;
    const char *name;
    int kind;
    double value; /* counter: sum; gauge: last; histogram: sum */
    uint64_t count;
};

typedef struct weir_test_fate { /* of an event that the test gave to the plugin */
    bool is_settled;
    bool is_passed; /* something descends from it */
    weir_status status;
    const char *why; /* of mark, or NULL */
} weir_test_fate;

typedef struct weir_test_out { /* an event that a transform put out */
    const weir_event *event;
    size_t port_count; /* 0: port 0 */
    const uint32_t *ports;
} weir_test_out;

/* ---- inside; a test uses the functions below ------------------------------------------------------ */

struct weir_test_block { /* memory that goes all at once */
    struct weir_test_block *next;
    _Alignas(16) char bytes[];
};
struct weir_test_payload {
    weir_payload pub;
    struct weir_test *test;
    struct weir_test_payload *parent;
    void (*release)(void *);
    void *arg;
    size_t refs;
    bool is_checked;
    char bytes[];
};
struct weir_test_shell {
    weir_event pub;
    weir_attr *attrs;
    uint32_t *ports;
    size_t port_count;
};
struct weir_test_batch {
    weir_batch pub;
    struct weir_test_batch *next;
    struct weir_test_shell **shells;
    const weir_event **events;
    weir_test_fate *fates;
    bool is_given; /* by the test; else an out of the plugin */
    bool is_over;  /* settled as a whole */
    bool is_pending;
};
struct weir_test_place {
    struct weir_test_place *next;
    const void *member;
    const char *path;
};
struct weir_test_post {
    struct weir_test_post *next;
    void (*fn)(void *, const weir_host *, void *);
    void *arg;
};
struct weir_test_timer {
    bool is_set;
    uint32_t id;
    int64_t at_ns;
};
struct weir_test_watch {
    int fd, read_write;
};
struct weir_test_given {
    const char *name;
    weir_str value;
    bool is_json;
};

typedef struct weir_test {
    weir_host host; /* first */
    const weir_component *component;
    void *self, *worker;
    enum {
        WEIR_TEST_MADE,
        WEIR_TEST_CHECKING,
        WEIR_TEST_STARTING,
        WEIR_TEST_RUNNING,
        WEIR_TEST_OVER
    } stage;
    pthread_mutex_t lock;
    pthread_cond_t posted;
    int64_t now_ns;
    size_t inside; /* callbacks that run */
    struct weir_test_block *kept, *scratch;
    size_t payloads;         /* alive */
    long memory_left;        /* payloads that may still be made; -1: any number */
    _Atomic bool is_starved; /* NULL was handed out in this callback */
    size_t problem_count;    /* breaches of the treaty */
    size_t refusals;
    char *text; /* all that was said, one a line */
    size_t text_len;
    struct weir_test_place *places;
    struct weir_metric *metrics;
    struct weir_test_post *posts, **posts_end;
    bool is_woken;
    struct weir_test_timer timers[64];
    weir_duration hold;
    bool is_single;
    struct weir_test_watch watches[64];
    size_t watch_count;
    struct weir_test_batch *next_in; /* being filled by weir_test_event */
    struct weir_test_batch *in_hand;
    struct weir_test_batch *batches; /* all there were */
    struct weir_test_batch **given;  /* in order */
    size_t given_count;
    struct weir_test_batch **flights; /* of a source, in order */
    size_t flight_count;
    weir_test_out *outs;
    size_t out_count;
    weir_jsons json;
} weir_test;

WEIR_TEST_FN weir_test *weir_test_of(const weir_host *h)
{
    union {
        const weir_host *host;
        weir_test *test;
    } same = {h};
    return same.test;
}

WEIR_TEST_FN void *weir_test_take(struct weir_test_block **list, size_t n)
{
    struct weir_test_block *b = calloc(1, sizeof *b + n + 1);
    if (!b)
        abort();
    b->next = *list;
    *list = b;
    return b->bytes;
}

WEIR_TEST_FN void weir_test_drop_blocks(struct weir_test_block **list)
{
    while (*list) {
        struct weir_test_block *b = *list;
        *list = b->next;
        free(b);
    }
}

WEIR_TEST_FN void *weir_test_grow(void *array, size_t count, size_t item)
{
    void *grown = realloc(array, (count + 1) * item);
    if (!grown)
        abort();
    return grown;
}

WEIR_TEST_FN weir_str weir_test_copy(weir_test *t, weir_str s)
{
    char *bytes = weir_test_take(&t->kept, s.len);
    if (s.len)
        memcpy(bytes, s.ptr, s.len);
    return (weir_str){bytes, s.len};
}

/* Adds a line to what was said. */
WEIR_TEST_FN void weir_test_vsay(weir_test *t, const char *before, const char *fmt, va_list args)
    WEIR_PRINTF(3, 0);
WEIR_TEST_FN void weir_test_vsay(weir_test *t, const char *before, const char *fmt, va_list args)
{
    char line[2048];
    int n = snprintf(line, sizeof line, "%s: ", before);
    if (n < 0 || (size_t)n >= sizeof line)
        return;
    int more = vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
    size_t len = more < 0 ? (size_t)n : (size_t)n + (size_t)more;
    len = len < sizeof line ? len : sizeof line - 1;
    pthread_mutex_lock(&t->lock);
    t->text = weir_test_grow(t->text, t->text_len + len + 1, 1);
    memcpy(t->text + t->text_len, line, len);
    t->text_len += len;
    t->text[t->text_len++] = '\n';
    t->text[t->text_len] = '\0';
    pthread_mutex_unlock(&t->lock);
}

WEIR_TEST_FN void weir_test_say(weir_test *t, const char *before, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
WEIR_TEST_FN void weir_test_say(weir_test *t, const char *before, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    weir_test_vsay(t, before, fmt, args);
    va_end(args);
}

/* A breach of the treaty; a service of a test may report one too. */
WEIR_TEST_FN void weir_test_problem(weir_test *t, const char *fmt, ...) WEIR_PRINTF(2, 3);
WEIR_TEST_FN void weir_test_problem(weir_test *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    weir_test_vsay(t, "problem", fmt, args);
    va_end(args);
    t->problem_count++;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

struct weir_test_scan {
    const char *s;
    size_t n, at;
};

WEIR_TEST_FN void weir_test_scan_space(struct weir_test_scan *j)
{
    while (j->at < j->n && j->s[j->at] && strchr(" \t\r\n", j->s[j->at]))
        j->at++;
}

WEIR_TEST_FN bool weir_test_scan_is(struct weir_test_scan *j, char c)
{
    weir_test_scan_space(j);
    if (j->at >= j->n || j->s[j->at] != c)
        return false;
    j->at++;
    return true;
}

WEIR_TEST_FN bool weir_test_scan_utf8(struct weir_test_scan *j)
{
    unsigned char c = (unsigned char)j->s[j->at];
    size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
    if (c < 0x20 || (c >= 0x80 && c < 0xc2) || c > 0xf4)
        return false;
    for (size_t i = 1; i <= more; i++)
        if (j->at + i >= j->n || ((unsigned char)j->s[j->at + i] & 0xc0) != 0x80)
            return false;
    j->at += 1 + more;
    return true;
}

WEIR_TEST_FN bool weir_test_scan_text(struct weir_test_scan *j)
{
    if (!weir_test_scan_is(j, '"'))
        return false;
    while (j->at < j->n && j->s[j->at] != '"') {
        if (j->s[j->at] == '\\') {
            j->at++;
            if (j->at >= j->n || !j->s[j->at] || !strchr("\"\\/bfnrtu", j->s[j->at]))
                return false;
        }
        if (!weir_test_scan_utf8(j))
            return false;
    }
    return weir_test_scan_is(j, '"');
}

WEIR_TEST_FN size_t weir_test_scan_digits(struct weir_test_scan *j)
{
    size_t from = j->at;
    while (j->at < j->n && j->s[j->at] >= '0' && j->s[j->at] <= '9')
        j->at++;
    return j->at - from;
}

WEIR_TEST_FN bool weir_test_scan_number(struct weir_test_scan *j)
{
    if (j->at < j->n && j->s[j->at] == '-')
        j->at++;
    size_t from = j->at, whole = weir_test_scan_digits(j);
    if (!whole || (whole > 1 && j->s[from] == '0'))
        return false;
    if (j->at < j->n && j->s[j->at] == '.') {
        j->at++;
        if (!weir_test_scan_digits(j))
            return false;
    }
    if (j->at < j->n && (j->s[j->at] == 'e' || j->s[j->at] == 'E')) {
        j->at++;
        if (j->at < j->n && (j->s[j->at] == '-' || j->s[j->at] == '+'))
            j->at++;
        return weir_test_scan_digits(j) > 0;
    }
    return true;
}

WEIR_TEST_FN bool weir_test_scan_word(struct weir_test_scan *j)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(words[i]);
        if (j->n - j->at >= len && memcmp(j->s + j->at, words[i], len) == 0) {
            j->at += len;
            return true;
        }
    }
    return false;
}

/* Passes over one value; false where it is none, and `at` says where. */
WEIR_TEST_FN bool weir_test_scan_value(struct weir_test_scan *j, int depth)
{
    weir_test_scan_space(j);
    if (j->at >= j->n || depth > 128)
        return false;
    char open = j->s[j->at];
    if (open == '"')
        return weir_test_scan_text(j);
    if (open != '{' && open != '[')
        return (open == '-' || (open >= '0' && open <= '9')) ? weir_test_scan_number(j)
                                                             : weir_test_scan_word(j);
    char shut = open == '{' ? '}' : ']';
    j->at++;
    if (weir_test_scan_is(j, shut))
        return true;
    do {
        if (open == '{' && (!weir_test_scan_text(j) || !weir_test_scan_is(j, ':')))
            return false;
        if (!weir_test_scan_value(j, depth + 1))
            return false;
    } while (weir_test_scan_is(j, ','));
    return weir_test_scan_is(j, shut);
}

WEIR_TEST_FN weir_status weir_test_json_check(const weir_jsons *j, weir_str text, size_t *at)
{
    struct weir_test_scan scan = {text.ptr, text.len, 0};
    bool is_good = text.ptr && weir_test_scan_value(&scan, 0);
    weir_test_scan_space(&scan);
    if (at)
        *at = scan.at;
    return is_good && scan.at == text.len ? WEIR_OK : WEIR_E_REJECT;
}

WEIR_TEST_FN weir_status weir_test_json_valid(const weir_jsons *j, weir_payload *p, size_t *at)
{
    return weir_test_json_check(j, (weir_str){p->ptr, p->len}, at);
}

WEIR_TEST_FN int weir_test_json_kind(const weir_jsons *j, weir_str v)
{
    while (v.len && v.ptr[0] && strchr(" \t\r\n", v.ptr[0]))
        v.ptr++, v.len--;
    if (!v.ptr || !v.len)
        return WEIR_JSON_NONE;
    switch (v.ptr[0]) {
    case '{':
        return WEIR_JSON_OBJECT;
    case '[':
        return WEIR_JSON_ARRAY;
    case '"':
        return WEIR_JSON_TEXT;
    case 'n':
        return WEIR_JSON_NULL;
    case 't':
    case 'f':
        return WEIR_JSON_BOOL;
    default:
        return WEIR_JSON_NUMBER;
    }
}

/* The string between the quotes with its escapes as they are, or the value itself. */
WEIR_TEST_FN weir_str weir_test_inner(weir_str v)
{
    if (v.len >= 2 && v.ptr[0] == '"')
        return (weir_str){v.ptr + 1, v.len - 2};
    return v;
}

WEIR_TEST_FN bool weir_test_json_next(const weir_jsons *j, weir_str value, weir_json_each *each)
{
    struct weir_test_scan scan = {value.ptr, value.len, each->at};
    int kind = weir_test_json_kind(j, value);
    if (kind != WEIR_JSON_ARRAY && kind != WEIR_JSON_OBJECT)
        return false;
    if (!scan.at)
        (void)weir_test_scan_is(&scan, kind == WEIR_JSON_ARRAY ? '[' : '{');
    else if (!weir_test_scan_is(&scan, ','))
        return false;
    weir_test_scan_space(&scan);
    size_t from = scan.at;
    each->key = (weir_str){NULL, 0};
    if (kind == WEIR_JSON_OBJECT) {
        if (!weir_test_scan_text(&scan))
            return false;
        each->key = weir_test_inner((weir_str){scan.s + from, scan.at - from});
        if (!weir_test_scan_is(&scan, ':'))
            return false;
        weir_test_scan_space(&scan);
        from = scan.at;
    }
    if (!weir_test_scan_value(&scan, 0))
        return false;
    each->value = (weir_str){scan.s + from, scan.at - from};
    each->at = scan.at;
    return true;
}

WEIR_TEST_FN weir_str weir_test_json_step(const weir_jsons *j, weir_str value, const char *name,
                                          size_t len)
{
    bool is_index = len && name[0] == '[';
    size_t index = is_index ? strtoul(name + 1, NULL, 10) : 0, i = 0;
    for (weir_json_each e = {0}; weir_test_json_next(j, value, &e); i++) {
        bool is_it = is_index ? !e.key.ptr && i == index
                              : e.key.ptr && e.key.len == len && memcmp(e.key.ptr, name, len) == 0;
        if (is_it)
            return e.value;
    }
    return (weir_str){NULL, 0};
}

WEIR_TEST_FN weir_str weir_test_json_find(const weir_jsons *j, weir_str value, const char *path)
{
    while (value.ptr && *path) {
        size_t len = *path == '[' ? strcspn(path, "]") + 1 : strcspn(path, ".[");
        value = weir_test_json_step(j, value, path, len);
        path += len;
        path += *path == '.';
    }
    return value;
}

WEIR_TEST_FN size_t weir_test_put_utf8(char *to, unsigned long c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
    to[0] = (char)(first[more] | (c >> (6 * more)));
    for (size_t i = 1; i <= more; i++)
        to[i] = (char)(0x80 | ((c >> (6 * (more - i))) & 0x3f));
    return 1 + more;
}

WEIR_TEST_FN unsigned long weir_test_hex4(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], 0};
    return strtoul(digits, NULL, 16);
}

WEIR_TEST_FN weir_str weir_test_unescape(struct weir_test_block **list, weir_str in)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char *out = weir_test_take(list, in.len);
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] != '\\' || i + 1 >= in.len) {
            out[n++] = in.ptr[i];
            continue;
        }
        i++;
        const char *is = strchr(from, in.ptr[i]);
        if (in.ptr[i] != 'u' || i + 4 >= in.len) {
            out[n] = in.ptr[i];
            if (is)
                out[n] = to[is - from];
            n++;
            continue;
        }
        unsigned long c = weir_test_hex4(in.ptr + i + 1);
        i += 4;
        if (c >= 0xd800 && c < 0xdc00 && i + 6 < in.len) {
            c = 0x10000 + ((c - 0xd800) << 10) + (weir_test_hex4(in.ptr + i + 3) - 0xdc00);
            i += 6;
        }
        n += weir_test_put_utf8(out + n, c);
    }
    return (weir_str){out, n};
}

WEIR_TEST_FN weir_str weir_test_json_text(const weir_jsons *j, weir_str value)
{
    if (!value.len || value.ptr[0] != '"')
        return value;
    return weir_test_unescape(&weir_test_of(j->base.owner)->scratch, weir_test_inner(value));
}

WEIR_TEST_FN weir_str weir_test_json_quote(const weir_jsons *j, weir_str text)
{
    char *out = weir_test_take(&weir_test_of(j->base.owner)->scratch, text.len * 6 + 2);
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        if (c < 0x20)
            n += (size_t)snprintf(out + n, 7, "\\u%04x", c);
        else
            out[n++] = (char)c;
    }
    out[n++] = '"';
    return (weir_str){out, n};
}

/* ---- options --------------------------------------------------------------------------------------- */

WEIR_TEST_FN void weir_test_wrong(weir_test *t, const char *path, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
WEIR_TEST_FN void weir_test_wrong(weir_test *t, const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    weir_test_vsay(t, path, fmt, args);
    va_end(args);
    t->refusals++;
}

WEIR_TEST_FN const char *weir_test_path(weir_test *t, const char *base, const char *name)
{
    size_t n = strlen(base) + strlen(name) + 2;
    char *path = weir_test_take(&t->kept, n);
    (void)snprintf(path, n, "%s%s%s", base, *base && *name != '[' ? "." : "", name);
    return path;
}

WEIR_TEST_FN void weir_test_place_at(weir_test *t, const void *member, const char *path)
{
    struct weir_test_place *p = weir_test_take(&t->kept, sizeof *p);
    *p = (struct weir_test_place){t->places, member, path};
    t->places = p;
}

/* A number with the units of a table ("ns", 1, "us", 1e3, ...), several of them in a row. */
WEIR_TEST_FN bool weir_test_units(const char *text, const char *const *names, const double *sizes,
                                  double *sum)
{
    *sum = 0;
    if (!*text)
        return false;
    while (*text) {
        char *end = NULL;
        double n = strtod(text, &end);
        size_t len = strcspn(end, "0123456789."), unit = 0;
        while (names[unit] && (strlen(names[unit]) != len || strncmp(end, names[unit], len) != 0))
            unit++;
        if (end == text || !names[unit])
            return false;
        *sum += n * sizes[unit];
        text = end + len;
    }
    return true;
}

WEIR_TEST_FN bool weir_test_duration(const char *text, double *ns)
{
    static const char *const names[] = {"ns", "us", "ms", "s", "m", "h", "d", NULL};
    static const double sizes[] = {1, 1e3, 1e6, 1e9, 60e9, 3600e9, 86400e9};
    return weir_test_units(text, names, sizes, ns);
}

WEIR_TEST_FN bool weir_test_size(const char *text, double *bytes)
{
    static const char *const names[] = {"B", "kB", "KB", "MB", "GB", "KiB", "MiB", "GiB", NULL};
    static const double sizes[] = {1, 1e3, 1e3, 1e6, 1e9, 1024, 1048576, 1073741824};
    return weir_test_units(text, names, sizes, bytes);
}

WEIR_TEST_FN bool weir_test_choice(const weir_option *row, const char *text, int *index)
{
    const char *at = row->choices;
    for (int i = 0; at && *text; i++) {
        size_t len = strcspn(at, "|");
        if (strlen(text) == len && strncmp(at, text, len) == 0) {
            *index = i;
            return true;
        }
        at = at[len] ? at + len + 1 : NULL;
    }
    return false;
}

WEIR_TEST_FN void weir_test_range(weir_test *t, const weir_option *row, double value,
                                  const char *path)
{
    if (row->max > row->min && (value < row->min || value > row->max))
        weir_test_wrong(t, path, "expected %g to %g, found %g", row->min, row->max, value);
}

WEIR_TEST_FN bool weir_test_flag(const char *text, bool *flag)
{
    *flag = strcmp(text, "true") == 0;
    return *flag || strcmp(text, "false") == 0;
}

/* One of the types that are a single number, as its value in *n for the range. */
WEIR_TEST_FN bool weir_test_scalar(const weir_option *row, const char *text, void *at, double *n)
{
    char *end = NULL;
    bool is_good = false;
    if (row->type == WEIR_T_BOOL)
        return weir_test_flag(text, at);
    if (row->type == WEIR_T_CHOICE)
        return weir_test_choice(row, text, at);
    if (row->type == WEIR_T_DURATION) {
        is_good = weir_test_duration(text, n);
        *(int64_t *)at = (int64_t)*n;
        return is_good;
    }
    if (row->type == WEIR_T_SIZE) {
        is_good = weir_test_size(text, n);
        *(uint64_t *)at = (uint64_t)*n;
        return is_good;
    }
    *n = strtod(text, &end);
    is_good = end != text && !*end;
    if (row->type == WEIR_T_FLOAT)
        *(double *)at = *n;
    else
        *(int64_t *)at = strtoll(text, &end, 10);
    return is_good && !*end;
}

WEIR_TEST_FN size_t weir_test_items(weir_str json)
{
    size_t n = 0;
    for (weir_json_each e = {0}; weir_test_json_next(NULL, json, &e);)
        n++;
    return n;
}

WEIR_TEST_FN const char *weir_test_word(weir_test *t, weir_str json)
{
    weir_str inner = weir_test_inner(json);
    return json.len && json.ptr[0] == '"' ? weir_test_unescape(&t->kept, inner).ptr
                                          : weir_test_copy(t, inner).ptr;
}

WEIR_TEST_FN void weir_test_strings(weir_test *t, weir_str json, weir_strings *to, const char *path)
{
    const char **items = weir_test_take(&t->kept, weir_test_items(json) * sizeof *items);
    size_t n = 0;
    for (weir_json_each e = {0}; weir_test_json_next(NULL, json, &e); n++) {
        char index[24];
        (void)snprintf(index, sizeof index, "[%zu]", n);
        items[n] = weir_test_word(t, e.value);
        weir_test_place_at(t, &items[n], weir_test_path(t, path, index));
    }
    *to = (weir_strings){n, items};
}

WEIR_TEST_FN void weir_test_pairs(weir_test *t, weir_str json, weir_pairs *to, const char *path)
{
    weir_attr *items = weir_test_take(&t->kept, weir_test_items(json) * sizeof *items);
    size_t n = 0;
    for (weir_json_each e = {0}; weir_test_json_next(NULL, json, &e); n++) {
        items[n].key = weir_test_copy(t, e.key);
        items[n].value = weir_text(weir_test_word(t, e.value));
        weir_test_place_at(t, &items[n], weir_test_path(t, path, items[n].key.ptr));
        weir_test_place_at(t, &items[n].value, weir_test_path(t, path, items[n].key.ptr));
    }
    *to = (weir_pairs){n, items};
}

WEIR_TEST_FN void weir_test_fill(weir_test *t, const weir_option *rows, char *base,
                                 const char *path, const struct weir_test_given *given);

/* The members of a JSON object as what was given, ended by a name of NULL. */
WEIR_TEST_FN struct weir_test_given *weir_test_members(weir_test *t, weir_str json)
{
    struct weir_test_given *g = weir_test_take(&t->kept, (weir_test_items(json) + 1) * sizeof *g);
    size_t n = 0;
    for (weir_json_each e = {0}; weir_test_json_next(NULL, json, &e); n++)
        g[n] = (struct weir_test_given){weir_test_copy(t, e.key).ptr, e.value, true};
    return g;
}

WEIR_TEST_FN void weir_test_structure(weir_test *t, const weir_option *row, weir_str json, void *at,
                                      const char *path)
{
    if (row->type == WEIR_T_BLOCK) {
        void *item = weir_test_take(&t->kept, row->item_size);
        ((weir_block *)at)->item = item;
        weir_test_fill(t, row->items, item, path, weir_test_members(t, json));
        return;
    }
    size_t count = weir_test_items(json), n = 0;
    char *items = weir_test_take(&t->kept, count * row->item_size);
    const char **names = weir_test_take(&t->kept, count * sizeof *names);
    for (weir_json_each e = {0}; weir_test_json_next(NULL, json, &e); n++) {
        char index[24];
        (void)snprintf(index, sizeof index, "[%zu]", n);
        names[n] = e.key.ptr ? weir_test_copy(t, e.key).ptr : "";
        const char *below = weir_test_path(t, path, e.key.ptr ? names[n] : index);
        weir_test_place_at(t, &names[n], below);
        weir_test_fill(t, row->items, items + n * row->item_size, below,
                       weir_test_members(t, e.value));
    }
    if (row->type == WEIR_T_LIST)
        *(weir_list *)at = (weir_list){count, items};
    else
        *(weir_map *)at = (weir_map){count, names, items};
}

WEIR_TEST_FN void weir_test_secret(weir_test *t, const char *text, void *at)
{
    struct weir_secret *s = weir_test_take(&t->kept, sizeof *s);
    s->text = weir_text(text);
    *(const weir_secret **)at = s;
}

WEIR_TEST_FN void weir_test_option(weir_test *t, const weir_option *row, char *at, const char *path,
                                   const struct weir_test_given *g)
{
    bool is_json = g->is_json && g->value.len && g->value.ptr[0] == '"';
    const char *text = is_json ? weir_test_word(t, g->value) : weir_test_copy(t, g->value).ptr;
    double n = 0;
    if (row->scalar && g->value.len && g->value.ptr[0] != '{') {
        struct weir_test_given *one = weir_test_take(&t->kept, 2 * sizeof *one);
        void *item = weir_test_take(&t->kept, row->item_size);
        one[0] = (struct weir_test_given){row->items->name, g->value, g->is_json};
        ((weir_block *)(void *)at)->item = item;
        weir_test_fill(t, row->items, item, path, one);
    } else if (row->type >= WEIR_T_BLOCK || row->type == WEIR_T_STRINGS ||
               row->type == WEIR_T_PAIRS || row->type == WEIR_T_JSON) {
        weir_str kept = weir_test_copy(t, g->value);
        if (weir_test_json_check(NULL, kept, NULL) != WEIR_OK)
            weir_test_wrong(t, path, "expected JSON, found %s", kept.ptr);
        else if (row->type == WEIR_T_JSON)
            *(weir_json *)(void *)at = (weir_json){kept.ptr, kept.len};
        else if (row->type == WEIR_T_STRINGS)
            weir_test_strings(t, kept, (weir_strings *)(void *)at, path);
        else if (row->type == WEIR_T_PAIRS)
            weir_test_pairs(t, kept, (weir_pairs *)(void *)at, path);
        else
            weir_test_structure(t, row, kept, at, path);
    } else if (row->type == WEIR_T_TEXT) {
        *(const char **)(void *)at = text;
    } else if (row->type == WEIR_T_SECRET) {
        weir_test_secret(t, text, at);
    } else if (!weir_test_scalar(row, text, at, &n)) {
        weir_test_wrong(t, path, "%s is not what is due", text);
    } else {
        weir_test_range(t, row, n, path);
    }
}

WEIR_TEST_FN void weir_test_fill(weir_test *t, const weir_option *rows, char *base,
                                 const char *path, const struct weir_test_given *given)
{
    for (const struct weir_test_given *g = given; g->name; g++) {
        const weir_option *row = rows;
        while (row->name && (row->type >= WEIR_T_SERVICE || strcmp(row->name, g->name) != 0))
            row++;
        if (!row->name)
            weir_test_wrong(t, weir_test_path(t, path, g->name), "there is no such option");
    }
    for (const weir_option *row = rows; row && row->name; row++) {
        if (row->type >= WEIR_T_SERVICE)
            continue;
        const char *name = weir_test_path(t, path, row->name);
        const struct weir_test_given *g = given;
        while (g->name && strcmp(g->name, row->name) != 0)
            g++;
        weir_test_place_at(t, base + row->offset, name);
        struct weir_test_given preset = {row->name, {row->preset, 0}, false};
        if (g->name) {
            weir_test_option(t, row, base + row->offset, name, g);
        } else if (row->preset) {
            preset.value = weir_text(row->preset);
            weir_test_option(t, row, base + row->offset, name, &preset);
        } else if (row->required) {
            weir_test_wrong(t, name, "is required");
        }
    }
}

/* ---- payloads: any thread --------------------------------------------------------------------------- */

WEIR_TEST_FN struct weir_test_payload *weir_test_payload_of(weir_payload *p)
{
    return (struct weir_test_payload *)(void *)p;
}

/* Room for one more payload? */
WEIR_TEST_FN bool weir_test_room(weir_test *t)
{
    pthread_mutex_lock(&t->lock);
    bool is_full = t->memory_left == 0;
    t->is_starved |= is_full;
    t->memory_left -= t->memory_left > 0;
    pthread_mutex_unlock(&t->lock);
    return !is_full;
}

WEIR_TEST_FN struct weir_test_payload *weir_test_payload_new(weir_test *t, size_t n)
{
    pthread_mutex_lock(&t->lock);
    t->payloads++;
    pthread_mutex_unlock(&t->lock);
    struct weir_test_payload *p = calloc(1, sizeof *p + n + 1);
    if (!p)
        abort();
    p->pub = (weir_payload){p->bytes, n};
    p->test = t;
    p->refs = 1;
    return p;
}

WEIR_TEST_FN void weir_test_unref(const weir_host *h, weir_payload *take)
{
    struct weir_test_payload *p = weir_test_payload_of(take);
    if (!p)
        return;
    weir_test *t = p->test;
    pthread_mutex_lock(&t->lock);
    bool is_last = --p->refs == 0;
    t->payloads -= is_last;
    pthread_mutex_unlock(&t->lock);
    if (!is_last)
        return;
    if (p->release)
        p->release(p->arg);
    if (p->parent)
        weir_test_unref(h, &p->parent->pub);
    free(p);
}

WEIR_TEST_FN weir_payload *weir_test_ref(const weir_host *h, weir_payload *p)
{
    weir_test *t = weir_test_of(h);
    if (!p)
        return NULL;
    pthread_mutex_lock(&t->lock);
    weir_test_payload_of(p)->refs++;
    pthread_mutex_unlock(&t->lock);
    return p;
}

WEIR_TEST_FN weir_payload *weir_test_alloc(const weir_host *h, size_t n, char **data)
{
    weir_test *t = weir_test_of(h);
    struct weir_test_payload *p = weir_test_room(t) ? weir_test_payload_new(t, n) : NULL;
    if (data)
        *data = p ? p->bytes : NULL;
    return p ? &p->pub : NULL;
}

WEIR_TEST_FN weir_payload *weir_test_wrap(const weir_host *h, weir_str bytes,
                                          void (*release)(void *), void *arg)
{
    weir_test *t = weir_test_of(h);
    struct weir_test_payload *p = weir_test_room(t) ? weir_test_payload_new(t, 0) : NULL;
    if (!p) {
        if (release)
            release(arg);
        return NULL;
    }
    p->pub = (weir_payload){bytes.ptr, bytes.len};
    p->release = release;
    p->arg = arg;
    return &p->pub;
}

WEIR_TEST_FN weir_payload *weir_test_slice(const weir_host *h, weir_payload *whole, size_t from,
                                           size_t n)
{
    weir_test *t = weir_test_of(h);
    if (whole && (from > whole->len || n > whole->len - from)) {
        weir_test_problem(t, "slice: %zu bytes from %zu, of %zu", n, from, whole->len);
        abort();
    }
    struct weir_test_payload *p = whole && weir_test_room(t) ? weir_test_payload_new(t, 0) : NULL;
    if (!p)
        return NULL;
    p->pub = (weir_payload){whole->ptr + from, n};
    p->parent = weir_test_payload_of(weir_test_ref(h, whole));
    return &p->pub;
}

WEIR_TEST_FN weir_payload *weir_test_join(const weir_host *h, const weir_batch *b,
                                          const char *separator)
{
    weir_str between = weir_text(separator);
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++)
        n += b->events[i]->body->len + between.len;
    char *data = NULL;
    weir_payload *p = weir_test_alloc(h, n, &data);
    for (size_t i = 0; p && i < b->count; i++) {
        memcpy(data, b->events[i]->body->ptr, b->events[i]->body->len);
        data += b->events[i]->body->len;
        memcpy(data, between.ptr, between.len);
        data += between.len;
    }
    return p;
}

/* ---- events and batches ------------------------------------------------------------------------------ */

WEIR_TEST_FN struct weir_test_shell *weir_test_shell_of(const weir_event *ev)
{
    union {
        const weir_event *event;
        struct weir_test_shell *shell;
    } same = {ev};
    return same.shell;
}

WEIR_TEST_FN struct weir_test_batch *weir_test_batch_of(const weir_batch *b)
{
    union {
        const weir_batch *pub;
        struct weir_test_batch *batch;
    } same = {b};
    return same.batch;
}

WEIR_TEST_FN struct weir_test_batch *weir_test_batch_new(weir_test *t, bool is_given)
{
    struct weir_test_batch *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    b->next = t->batches;
    b->is_given = is_given;
    t->batches = b;
    return b;
}

WEIR_TEST_FN void weir_test_number_id(weir_id *id, uint64_t n)
{
    *id = (weir_id){{0x01, 0x94, 0x1f, 0x29, 0x7c, 0x00, 0x70, 0, 0x80}};
    for (size_t i = 0; i < 6; i++)
        id->bytes[15 - i] = (uint8_t)(n >> (8 * i));
}

WEIR_TEST_FN weir_event *weir_test_append(weir_test *t, struct weir_test_batch *b,
                                          weir_payload *body)
{
    static uint64_t made;
    size_t n = b->pub.count;
    struct weir_test_shell *s = weir_test_take(&t->kept, sizeof *s);
    b->shells = weir_test_grow(b->shells, n, sizeof(struct weir_test_shell *));
    b->events = weir_test_grow(b->events, n, sizeof(const weir_event *));
    b->fates = weir_test_grow(b->fates, n, sizeof *b->fates);
    b->shells[n] = s;
    b->events[n] = &s->pub;
    b->fates[n] = (weir_test_fate){0};
    b->pub.events = b->events;
    b->pub.count++;
    s->pub.body = body;
    s->pub.time_ns = t->now_ns;
    weir_test_number_id(&s->pub.id, ++made);
    return &s->pub;
}

WEIR_TEST_FN size_t weir_test_index_of(const struct weir_test_batch *b, const weir_event *ev)
{
    size_t i = 0;
    while (b && i < b->pub.count && b->events[i] != ev)
        i++;
    return b && i < b->pub.count ? i : SIZE_MAX;
}

WEIR_TEST_FN weir_event *weir_test_add(const weir_host *h, weir_batch *out, weir_payload *take)
{
    weir_test *t = weir_test_of(h);
    t->is_starved |= !take;
    if (!take)
        take = &weir_test_payload_new(t, 0)->pub;
    for (size_t i = 0; t->in_hand && i < t->in_hand->pub.count; i++)
        t->in_hand->fates[i].is_passed = true;
    return weir_test_append(t, weir_test_batch_of(out), take);
}

WEIR_TEST_FN void weir_test_adopt(weir_event *to, const weir_event *from)
{
    weir_payload *body = to->body;
    *to = *from;
    to->body = body;
    struct weir_test_shell *s = weir_test_shell_of(to);
    s->attrs = weir_test_grow(NULL, from->attrs.count, sizeof *s->attrs);
    if (from->attrs.count)
        memcpy(s->attrs, from->attrs.items, from->attrs.count * sizeof *s->attrs);
    to->attrs.items = s->attrs;
}

WEIR_TEST_FN weir_event *weir_test_pass(const weir_host *h, weir_batch *out, const weir_event *ev)
{
    weir_test *t = weir_test_of(h);
    bool is_known = false;
    for (struct weir_test_batch *b = t->batches; b; b = b->next) {
        size_t i = weir_test_index_of(b, ev);
        if (i != SIZE_MAX && b->is_given) {
            is_known = true;
            b->fates[i].is_passed = true;
        }
    }
    if (!is_known)
        weir_test_problem(t, "pass: the event is none that was given");
    weir_event *made = weir_test_append(t, weir_test_batch_of(out), weir_test_ref(h, ev->body));
    weir_test_adopt(made, ev);
    return made;
}

WEIR_TEST_FN void weir_test_to(const weir_host *h, weir_event *ev, uint32_t port)
{
    struct weir_test_shell *s = weir_test_shell_of(ev);
    for (size_t i = 0; i < s->port_count; i++)
        if (s->ports[i] == port)
            return;
    s->ports = weir_test_grow(s->ports, s->port_count, sizeof *s->ports);
    s->ports[s->port_count++] = port;
}

WEIR_TEST_FN void weir_test_set_body(const weir_host *h, weir_event *ev, weir_payload *take)
{
    if (!take) {
        weir_test_of(h)->is_starved = true;
        return;
    }
    weir_test_unref(h, ev->body);
    ev->body = take;
}

WEIR_TEST_FN void weir_test_hex(char *to, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

WEIR_TEST_FN bool weir_test_unhex(uint8_t *to, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], 0};
        if (strspn(digits, "0123456789abcdef") != 2)
            return false;
        to[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

WEIR_TEST_FN weir_str weir_test_get_special(weir_test *t, const weir_event *ev, const char *path)
{
    char *text = weir_test_take(&t->scratch, 64);
    if (strcmp(path, "@id") == 0) {
        char hex[33];
        weir_test_hex(hex, ev->id.bytes, 16);
        (void)snprintf(text, 64, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                       hex + 20);
    } else if (strcmp(path, "@time") == 0) {
        time_t seconds = (time_t)(ev->time_ns / 1000000000);
        struct tm tm;
        (void)strftime(text, 64, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
    } else {
        static const weir_trace none;
        char trace[33], span[17];
        if (memcmp(ev->trace.trace, none.trace, 16) == 0)
            return (weir_str){NULL, 0};
        weir_test_hex(trace, ev->trace.trace, 16);
        weir_test_hex(span, ev->trace.span, 8);
        (void)snprintf(text, 64, "00-%s-%s-%02x", trace, span, ev->trace.flags);
    }
    return weir_text(text);
}

WEIR_TEST_FN weir_str weir_test_get(const weir_host *h, const weir_event *ev, const char *path)
{
    weir_test *t = weir_test_of(h);
    const weir_str absent = {NULL, 0};
    if (path[0] != '@') {
        weir_str body = {ev->body->ptr, ev->body->len};
        return weir_test_json_text(&t->json, weir_test_json_find(&t->json, body, path));
    }
    if (strcmp(path, "@source") == 0)
        return ev->source.len ? ev->source : absent;
    if (strcmp(path, "@type") == 0)
        return ev->type.len ? ev->type : absent;
    if (strcmp(path, "@key") == 0)
        return ev->key.len ? ev->key : absent;
    if (strcmp(path, "@id") == 0 || strcmp(path, "@time") == 0 || strcmp(path, "@traceparent") == 0)
        return weir_test_get_special(t, ev, path);
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (weir_same(ev->attrs.items[i].key, path + 1))
            return ev->attrs.items[i].value;
    return absent;
}

WEIR_TEST_FN weir_status weir_test_set_special(weir_event *ev, const char *path, const char *text)
{
    if (strcmp(path, "@id") == 0) {
        char hex[33];
        size_t n = 0;
        for (const char *at = text; *at && n < 32; at++)
            if (*at != '-')
                hex[n++] = *at;
        hex[n] = '\0';
        return strlen(text) == 36 && n == 32 && weir_test_unhex(ev->id.bytes, hex, 16)
                   ? WEIR_OK
                   : WEIR_E_REJECT;
    }
    if (strcmp(path, "@time") == 0) {
        struct tm tm = {0};
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!rest)
            return WEIR_E_REJECT;
        ev->time_ns = (int64_t)timegm(&tm) * 1000000000;
        return WEIR_OK;
    }
    weir_trace trace, none = {0};
    if (strlen(text) != 55 || strncmp(text, "00-", 3) != 0 || text[35] != '-' || text[52] != '-' ||
        !weir_test_unhex(trace.trace, text + 3, 16) || !weir_test_unhex(trace.span, text + 36, 8) ||
        !weir_test_unhex(&trace.flags, text + 53, 1) || memcmp(trace.trace, none.trace, 16) == 0 ||
        memcmp(trace.span, none.span, 8) == 0)
        return WEIR_E_REJECT;
    ev->trace = trace;
    return WEIR_OK;
}

WEIR_TEST_FN weir_status weir_test_set_host(const weir_host *h, weir_event *ev, const char *path,
                                            weir_str value)
{
    weir_test *t = weir_test_of(h);
    if (path[0] != '@' || !path[1]) {
        weir_test_problem(t, "set %s: expected a path such as @name", path);
        return WEIR_E_REJECT;
    }
    weir_str kept = weir_test_copy(t, value);
    weir_str *member = strcmp(path, "@source") == 0 ? &ev->source
                       : strcmp(path, "@type") == 0 ? &ev->type
                       : strcmp(path, "@key") == 0  ? &ev->key
                                                    : NULL;
    if (member) {
        *member = kept;
        return WEIR_OK;
    }
    if (strcmp(path, "@id") == 0 || strcmp(path, "@time") == 0 || strcmp(path, "@traceparent") == 0)
        return weir_test_set_special(ev, path, kept.ptr);
    struct weir_test_shell *s = weir_test_shell_of(ev);
    for (size_t i = 0; i < ev->attrs.count; i++) {
        if (weir_same(s->attrs[i].key, path + 1)) {
            s->attrs[i].value = kept;
            return WEIR_OK;
        }
    }
    s->attrs = weir_test_grow(s->attrs, ev->attrs.count, sizeof *s->attrs);
    s->attrs[ev->attrs.count++] = (weir_attr){weir_test_copy(t, weir_text(path + 1)), kept};
    ev->attrs.items = s->attrs;
    return WEIR_OK;
}

WEIR_TEST_FN void weir_test_settle_one(weir_test *t, struct weir_test_batch *b, size_t i,
                                       weir_status s, const char *why)
{
    if (!b->is_given || i >= b->pub.count || b->fates[i].is_settled) {
        weir_test_problem(t, "event %zu was settled twice, or was never given", i);
        return;
    }
    b->fates[i].is_settled = true;
    b->fates[i].status = s;
    b->fates[i].why = why ? weir_test_copy(t, weir_text(why)).ptr : NULL;
}

WEIR_TEST_FN void weir_test_settle_rest(weir_test *t, struct weir_test_batch *b, weir_status s)
{
    for (size_t i = 0; i < b->pub.count; i++)
        if (!b->fates[i].is_settled)
            weir_test_settle_one(t, b, i, s, NULL);
    b->is_over = true;
}

WEIR_TEST_FN void weir_test_mark(const weir_host *h, const weir_batch *b, size_t i, weir_status s,
                                 const char *why)
{
    weir_test *t = weir_test_of(h);
    pthread_mutex_lock(&t->lock);
    weir_test_settle_one(t, weir_test_batch_of(b), i, s, why);
    pthread_mutex_unlock(&t->lock);
}

WEIR_TEST_FN void weir_test_done(const weir_host *h, const weir_batch *take, weir_status s)
{
    weir_test *t = weir_test_of(h);
    struct weir_test_batch *b = weir_test_batch_of(take);
    pthread_mutex_lock(&t->lock);
    if (b->is_over || !b->is_given)
        weir_test_problem(t, "done: the batch was over, or never given");
    else
        weir_test_settle_rest(t, b, s);
    pthread_mutex_unlock(&t->lock);
}

WEIR_TEST_FN void weir_test_bind(const weir_host *h, weir_batch *out, const weir_batch *take)
{
    weir_test_done(h, take, WEIR_OK);
}

/* ---- the rest of the host ------------------------------------------------------------------------------ */

WEIR_TEST_FN const char *weir_test_level(weir_level level)
{
    static const char *const names[] = {"?", "debug", "info", "warn", "error"};
    return names[level <= WEIR_ERROR ? level : 0];
}

WEIR_TEST_FN const char *weir_test_status(weir_status s)
{
    static const char *const names[] = {"fatal", "config", "reject",  "retry", "ok",
                                        "idle",  "end",    "pending", "drop"};
    return s >= WEIR_E_FATAL && s <= WEIR_DROP ? names[s + 4] : "?";
}

WEIR_TEST_FN void weir_test_log(const weir_host *h, weir_level level, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
WEIR_TEST_FN void weir_test_log(const weir_host *h, weir_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    weir_test_vsay(weir_test_of(h), weir_test_level(level), fmt, args);
    va_end(args);
}

WEIR_TEST_FN weir_status weir_test_fail(const weir_host *h, weir_status s, int sys_errno,
                                        const char *fmt, ...) WEIR_PRINTF(4, 5);
WEIR_TEST_FN weir_status weir_test_fail(const weir_host *h, weir_status s, int sys_errno,
                                        const char *fmt, ...)
{
    char words[1024], system[160] = "";
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    if (sys_errno) {
        char buffer[128];
        (void)snprintf(system, sizeof system, ": %s", strerror_r(sys_errno, buffer, sizeof buffer));
    }
    weir_test_say(weir_test_of(h), weir_test_status(s), "%s%s", words, system);
    return s;
}

WEIR_TEST_FN weir_status weir_test_refuse(const weir_host *h, const void *member, size_t at,
                                          const char *fmt, ...) WEIR_PRINTF(4, 5);
WEIR_TEST_FN weir_status weir_test_refuse(const weir_host *h, const void *member, size_t at,
                                          const char *fmt, ...)
{
    weir_test *t = weir_test_of(h);
    struct weir_test_place *p = t->places;
    while (p && p->member != member)
        p = p->next;
    if (!p)
        weir_test_problem(t, "refuse: the address belongs to no option");
    if (t->stage != WEIR_TEST_CHECKING && t->stage != WEIR_TEST_STARTING)
        weir_test_problem(t, "refuse: only in check and start");
    char before[512];
    (void)snprintf(before, sizeof before, at ? "%s+%zu" : "%s", p ? p->path : "?", at);
    va_list args;
    va_start(args, fmt);
    weir_test_vsay(t, before, fmt, args);
    va_end(args);
    t->refusals++;
    return WEIR_E_CONFIG;
}

WEIR_TEST_FN void weir_test_observe(const weir_host *h, weir_metric *m, double value)
{
    weir_test *t = weir_test_of(h);
    pthread_mutex_lock(&t->lock);
    m->value = m->kind == WEIR_GAUGE ? value : m->value + value;
    m->count++;
    pthread_mutex_unlock(&t->lock);
}

WEIR_TEST_FN weir_metric *weir_test_metric_of(const weir_host *h, int kind, const char *name,
                                              const char *help)
{
    weir_test *t = weir_test_of(h);
    for (weir_metric *m = t->metrics; m; m = m->next)
        if (strcmp(m->name, name) == 0)
            return m;
    weir_metric *m = weir_test_take(&t->kept, sizeof *m);
    *m = (weir_metric){t->metrics, weir_test_copy(t, weir_text(name)).ptr, kind, 0, 0};
    t->metrics = m;
    return m;
}

WEIR_TEST_FN int64_t weir_test_now(const weir_host *h)
{
    return weir_test_of(h)->now_ns;
}

WEIR_TEST_FN void weir_test_wake(const weir_host *h)
{
    weir_test *t = weir_test_of(h);
    pthread_mutex_lock(&t->lock);
    t->is_woken = true;
    pthread_cond_signal(&t->posted);
    pthread_mutex_unlock(&t->lock);
}

WEIR_TEST_FN void weir_test_post(const weir_host *h, void (*fn)(void *, const weir_host *, void *),
                                 void *arg)
{
    weir_test *t = weir_test_of(h);
    struct weir_test_post *p = malloc(sizeof *p);
    if (!p)
        abort();
    *p = (struct weir_test_post){NULL, fn, arg};
    pthread_mutex_lock(&t->lock);
    *t->posts_end = p;
    t->posts_end = &p->next;
    pthread_cond_signal(&t->posted);
    pthread_mutex_unlock(&t->lock);
}

WEIR_TEST_FN void *weir_test_keep(const weir_host *h, size_t n)
{
    weir_test *t = weir_test_of(h);
    if (!t->inside)
        weir_test_problem(t, "keep: outside a callback");
    return weir_test_take(&t->kept, n);
}

WEIR_TEST_FN void *weir_test_scratch(const weir_host *h, size_t n)
{
    weir_test *t = weir_test_of(h);
    if (!t->inside)
        weir_test_problem(t, "scratch: outside a callback");
    return weir_test_take(&t->scratch, n);
}

WEIR_TEST_FN weir_str weir_test_secret_of(const weir_host *h, const weir_secret *s)
{
    return s ? s->text : (weir_str){NULL, 0};
}

WEIR_TEST_FN weir_status weir_test_watch_fd(const weir_host *h, int fd, int read_write)
{
    weir_test *t = weir_test_of(h);
    size_t i = 0;
    while (i < t->watch_count && t->watches[i].fd != fd)
        i++;
    if (i == 64)
        return weir_test_fail(h, WEIR_E_FATAL, 0, "watch: this host watches 64 at most");
    if (!read_write && i < t->watch_count)
        t->watches[i] = t->watches[--t->watch_count];
    else if (read_write)
        t->watches[i] = (struct weir_test_watch){fd, read_write};
    t->watch_count += read_write && i == t->watch_count;
    return WEIR_OK;
}

WEIR_TEST_FN void weir_test_timer_set(const weir_host *h, uint32_t id, weir_duration after)
{
    weir_test *t = weir_test_of(h);
    struct weir_test_timer *slot = NULL;
    for (size_t i = 0; i < 64; i++) {
        struct weir_test_timer *timer = &t->timers[i];
        if (timer->is_set && timer->id == id)
            timer->is_set = false;
        if (!timer->is_set && !slot)
            slot = timer;
    }
    if (slot && after.ns >= 0)
        *slot = (struct weir_test_timer){true, id, t->now_ns + after.ns};
}

WEIR_TEST_FN void weir_test_hold_set(const weir_host *h, weir_duration after)
{
    weir_test_of(h)->hold = after;
}

WEIR_TEST_FN void weir_test_single_set(const weir_host *h)
{
    weir_test_of(h)->is_single = true;
}

/* Does the sink want batches of one? */
WEIR_TEST_FN bool weir_test_single(const weir_test *t)
{
    return t->is_single;
}

/* What the plugin last asked for with hold(). */
WEIR_TEST_FN weir_duration weir_test_hold(const weir_test *t)
{
    return t->hold;
}

/* ---- callbacks ------------------------------------------------------------------------------------------- */

WEIR_TEST_FN void weir_test_enter(weir_test *t)
{
    bool is_worker = t->component->flags & WEIR_PARALLEL;
    if (!t->inside++)
        t->is_starved = false;
    t->host.worker = is_worker && t->stage == WEIR_TEST_RUNNING ? t->worker : NULL;
}

WEIR_TEST_FN void weir_test_leave(weir_test *t)
{
    if (--t->inside == 0)
        weir_test_drop_blocks(&t->scratch);
}

/* What was put out: of a source a flight, of a transform what weir_test_out shows. */
WEIR_TEST_FN weir_status weir_test_collect(weir_test *t, struct weir_test_batch *out, weir_status s)
{
    if (t->is_starved && s >= WEIR_OK)
        s = WEIR_E_RETRY;
    if (s < WEIR_OK || !out->pub.count)
        return s;
    if (t->component->pull) {
        t->flights = weir_test_grow(t->flights, t->flight_count, sizeof(struct weir_test_batch *));
        t->flights[t->flight_count++] = out;
        return s;
    }
    for (size_t i = 0; i < out->pub.count; i++) {
        t->outs = weir_test_grow(t->outs, t->out_count, sizeof *t->outs);
        t->outs[t->out_count++] =
            (weir_test_out){out->events[i], out->shells[i]->port_count, out->shells[i]->ports};
    }
    return s;
}

/* ---- for a test ------------------------------------------------------------------------------------------ */

/* A service of a test that calls a function of the plugin (request, judge) does it between these two;
 * the answer of `end` is what the host makes of the callback's own. */
WEIR_TEST_FN weir_batch *weir_test_begin(weir_test *t)
{
    weir_test_enter(t);
    return &weir_test_batch_new(t, false)->pub;
}

WEIR_TEST_FN weir_status weir_test_end(weir_test *t, weir_batch *out, weir_status s)
{
    weir_status answer = weir_test_collect(t, weir_test_batch_of(out), s);
    weir_test_leave(t);
    return answer;
}

WEIR_TEST_FN void weir_test_host_init(weir_test *t)
{
    t->host = (weir_host){
        .size = sizeof(weir_host),
        .abi = WEIR_ABI_MAJOR << 16,
        .instance = "test",
        .log = weir_test_log,
        .fail = weir_test_fail,
        .observe = weir_test_observe,
        .now = weir_test_now,
        .alloc = weir_test_alloc,
        .wrap = weir_test_wrap,
        .slice = weir_test_slice,
        .join = weir_test_join,
        .ref = weir_test_ref,
        .unref = weir_test_unref,
        .mark = weir_test_mark,
        .done = weir_test_done,
        .wake = weir_test_wake,
        .post = weir_test_post,
        .refuse = weir_test_refuse,
        .keep = weir_test_keep,
        .scratch = weir_test_scratch,
        .metric = weir_test_metric_of,
        .secret = weir_test_secret_of,
        .add = weir_test_add,
        .pass = weir_test_pass,
        .to = weir_test_to,
        .set_body = weir_test_set_body,
        .get = weir_test_get,
        .set = weir_test_set_host,
        .bind = weir_test_bind,
        .watch = weir_test_watch_fd,
        .timer = weir_test_timer_set,
        .hold = weir_test_hold_set,
        .single = weir_test_single_set,
    };
    t->json = (weir_jsons){
        .base = {.size = sizeof(weir_jsons), .id = "weir.json/1", .owner = &t->host},
        .check = weir_test_json_check,
        .kind = weir_test_json_kind,
        .find = weir_test_json_find,
        .next = weir_test_json_next,
        .text = weir_test_json_text,
        .quote = weir_test_json_quote,
        .valid = weir_test_json_valid,
    };
}

WEIR_TEST_FN const weir_component *weir_test_component(enum weir_test_role role, const char *name)
{
    for (size_t i = 0; weir_plugin.components[i]; i++) {
        const weir_component *c = weir_plugin.components[i];
        enum weir_test_role is = c->pull                ? WEIR_TEST_SOURCE
                                 : c->write             ? WEIR_TEST_SINK
                                 : c->event || c->batch ? WEIR_TEST_TRANSFORM
                                                        : WEIR_TEST_SERVICE;
        if (is == role && strcmp(c->name, name) == 0)
            return c;
    }
    (void)fprintf(stderr, "weir_test_new: the plugin offers no %s of that role\n", name);
    abort();
}

/* Gives a service: every need for its id is filled with a copy whose owner is the host. Before start. */
WEIR_TEST_FN void weir_test_give(weir_test *t, const weir_service *service)
{
    weir_service *copy = weir_test_take(&t->kept, service->size);
    memcpy(copy, service, service->size);
    copy->owner = &t->host;
    for (const weir_option *row = t->component->options; row && row->name; row++) {
        char *member = (char *)t->self + row->offset;
        if (row->type < WEIR_T_SERVICE || strcmp(row->name, service->id) != 0)
            continue;
        if (row->type == WEIR_T_SERVICE) {
            *(const void **)(void *)member = copy;
            continue;
        }
        weir_services *all = (weir_services *)(void *)member;
        const void **items = weir_test_take(&t->kept, (all->count + 1) * sizeof *items);
        if (all->count)
            memcpy(items, all->items, all->count * sizeof *items);
        items[all->count] = copy;
        *all = (weir_services){all->count + 1, items};
    }
}

/* An instance of the plugin's component, its options filled in: "name=value", ..., NULL. Errors in them
 * are told by weir_test_check and weir_test_start. Never NULL; weir_test_free. */
WEIR_TEST_FN __attribute__((sentinel)) weir_test *weir_test_new(enum weir_test_role role,
                                                                const char *component, ...)
{
    weir_test *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&t->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_cond_init(&t->posted, NULL);
    t->component = weir_test_component(role, component);
    t->self = weir_test_take(&t->kept, t->component->state_size);
    t->worker = weir_test_take(&t->kept, t->component->worker_size);
    t->posts_end = &t->posts;
    t->memory_left = -1;
    t->now_ns = WEIR_TEST_EPOCH_NS;
    weir_test_host_init(t);
    struct weir_test_given given[65] = {{NULL, {NULL, 0}, false}};
    va_list args;
    va_start(args, component);
    const char *text = va_arg(args, const char *);
    for (size_t n = 0; text && n < 64; text = va_arg(args, const char *), n++) {
        size_t len = strcspn(text, "=");
        given[n].name = weir_test_copy(t, (weir_str){text, len}).ptr;
        given[n].value = weir_text(text[len] ? text + len + 1 : "");
    }
    va_end(args);
    weir_test_fill(t, t->component->options, t->self, "", given);
    weir_test_give(t, &t->json.base);
    return t;
}

WEIR_TEST_FN void *weir_test_self(weir_test *t)
{
    return t->self;
}

/* All that was said so far, a line each: "warn: ...", "retry: ..." of fail, "rules.a.pattern+7: ..." of
 * an option that was wrong, "problem: ..." of a breach. */
WEIR_TEST_FN const char *weir_test_text(const weir_test *t)
{
    return t->text ? t->text : "";
}

WEIR_TEST_FN bool weir_test_said(const weir_test *t, const char *words)
{
    return strstr(weir_test_text(t), words) != NULL;
}

/* As `weir validate`: errors in the options, services that are needed, then the plugin's check. */
WEIR_TEST_FN weir_status weir_test_check(weir_test *t)
{
    weir_status s = WEIR_OK;
    for (const weir_option *row = t->component->options; row && row->name; row++) {
        if (row->type == WEIR_T_SERVICE && !*(void **)(void *)((char *)t->self + row->offset)) {
            weir_test_wrong(t, row->name, "is needed: give it with weir_test_give");
            return WEIR_E_CONFIG;
        }
    }
    t->stage = WEIR_TEST_CHECKING;
    weir_test_enter(t);
    if (t->component->check && !t->refusals)
        s = t->component->check(t->self, &t->host);
    weir_test_leave(t);
    return s == WEIR_OK && t->refusals ? WEIR_E_CONFIG : s;
}

/* check, start, and the start of the worker. */
WEIR_TEST_FN weir_status weir_test_start(weir_test *t)
{
    const weir_component *c = t->component;
    weir_status s = weir_test_check(t);
    if (s != WEIR_OK)
        return s;
    t->stage = WEIR_TEST_STARTING;
    weir_test_enter(t);
    s = c->start ? c->start(t->self, &t->host) : WEIR_OK;
    weir_test_leave(t);
    if (s == WEIR_OK && t->refusals)
        weir_test_problem(t, "start: an option was refused, and the answer was OK");
    if (s != WEIR_OK)
        return s;
    t->stage = WEIR_TEST_RUNNING;
    weir_test_enter(t);
    s = c->worker_start ? c->worker_start(t->self, &t->host) : WEIR_OK;
    weir_test_leave(t);
    return s;
}

/* From now on n payloads can be made, then there is no memory; -1: any number. */
WEIR_TEST_FN void weir_test_memory(weir_test *t, long n)
{
    t->memory_left = n;
}

/* One more event for the next weir_test_push. Its envelope is set with weir_test_set. */
WEIR_TEST_FN weir_event *weir_test_event(weir_test *t, const char *body)
{
    struct weir_test_payload *p = weir_test_payload_new(t, strlen(body));
    memcpy(p->bytes, body, strlen(body));
    if (!t->next_in)
        t->next_in = weir_test_batch_new(t, true);
    return weir_test_append(t, t->next_in, &p->pub);
}

/* "@source", "@id", "@name", ... as h->set has it. */
WEIR_TEST_FN void weir_test_set(weir_test *t, weir_event *ev, const char *path, const char *value)
{
    if (weir_test_set_host(&t->host, ev, path, weir_text(value)) != WEIR_OK)
        weir_test_problem(t, "set %s: %s is malformed", path, value);
}

/* One event by one, for a component that has `event`. */
WEIR_TEST_FN weir_status weir_test_each_event(weir_test *t, struct weir_test_batch *in,
                                              weir_batch *out)
{
    weir_status worst = WEIR_OK;
    for (size_t i = 0; i < in->pub.count; i++) {
        t->is_starved = false;
        weir_event *made = weir_test_append(t, weir_test_batch_of(out),
                                            weir_test_ref(&t->host, in->events[i]->body));
        weir_test_adopt(made, in->events[i]);
        weir_status s = t->component->event(t->self, &t->host, made);
        s = t->is_starved && s >= WEIR_OK ? WEIR_E_RETRY : s;
        in->fates[i].is_passed = s == WEIR_OK;
        if (s != WEIR_OK) {
            weir_test_unref(&t->host, made->body);
            free(weir_test_shell_of(made)->attrs);
            weir_test_shell_of(made)->attrs = NULL;
            out->count--;
            weir_test_settle_one(t, in, i, s, NULL);
            worst = s < worst ? s : worst;
        }
    }
    t->is_starved = false;
    return worst;
}

WEIR_TEST_FN void weir_test_account(weir_test *t, struct weir_test_batch *in, weir_status s)
{
    if (s == WEIR_PENDING) {
        in->is_pending = true;
        return;
    }
    for (size_t i = 0; s == WEIR_OK && t->component->batch && i < in->pub.count; i++)
        if (!in->fates[i].is_settled && !in->fates[i].is_passed)
            weir_test_problem(t, "event %zu was lost: not passed, marked, kept or consumed", i);
    if (in->is_over)
        weir_test_problem(t, "%s was returned for a batch that was done already",
                          weir_test_status(s));
    else
        weir_test_settle_rest(t, in, s);
}

/* Hands the events to the transform or sink. The answer is the callback's own, RETRY if memory was out.
 * Of a component with `event`: the worst of its answers. */
WEIR_TEST_FN weir_status weir_test_push(weir_test *t)
{
    struct weir_test_batch *in = t->next_in ? t->next_in : weir_test_batch_new(t, true);
    t->next_in = NULL;
    t->given = weir_test_grow(t->given, t->given_count, sizeof(struct weir_test_batch *));
    t->given[t->given_count++] = in;
    weir_batch *out = weir_test_begin(t);
    const weir_component *c = t->component;
    if (c->event) {
        weir_status worst = weir_test_each_event(t, in, out);
        (void)weir_test_end(t, out, WEIR_OK);
        weir_test_settle_rest(t, in, WEIR_OK);
        return worst;
    }
    t->in_hand = in;
    weir_status s = c->write ? c->write(t->self, &t->host, &in->pub)
                             : c->batch(t->self, &t->host, &in->pub, out);
    t->in_hand = NULL;
    if (c->write && t->is_starved && s == WEIR_OK)
        s = WEIR_E_RETRY;
    if (!c->write || s != WEIR_PENDING)
        s = weir_test_end(t, out, s);
    else
        weir_test_leave(t);
    weir_test_account(t, in, s);
    return s;
}

/* The test asked for what is not there. */
WEIR_TEST_FN __attribute__((noreturn)) void weir_test_none(const weir_test *t, const char *what,
                                                           size_t i)
{
    (void)fprintf(stderr, "%sthe test asked for %s %zu: there are not so many\n",
                  t->text ? t->text : "", what, i);
    abort();
}

/* What became of the i-th event that was pushed, all pushes counted. Aborts if there are fewer. */
WEIR_TEST_FN const weir_test_fate *weir_test_fate_of(const weir_test *t, size_t i)
{
    size_t left = i;
    for (size_t k = 0; k < t->given_count; k++) {
        if (left < t->given[k]->pub.count)
            return &t->given[k]->fates[left];
        left -= t->given[k]->pub.count;
    }
    weir_test_none(t, "event", i);
}

WEIR_TEST_FN size_t weir_test_out_count(const weir_test *t)
{
    return t->out_count;
}

/* The i-th event that the transform put out. Aborts if there are fewer. */
WEIR_TEST_FN const weir_test_out *weir_test_out_of(const weir_test *t, size_t i)
{
    if (i >= t->out_count)
        weir_test_none(t, "output", i);
    return &t->outs[i];
}

WEIR_TEST_FN bool weir_test_is_on(const weir_test_out *out, uint32_t port)
{
    for (size_t i = 0; i < out->port_count; i++)
        if (out->ports[i] == port)
            return true;
    return port == 0 && !out->port_count;
}

WEIR_TEST_FN bool weir_test_body_is(const weir_event *ev, const char *text)
{
    return ev->body->len == strlen(text) && memcmp(ev->body->ptr, text, ev->body->len) == 0;
}

/* A member of an event's envelope or of its body, as h->get has it; until weir_test_free. NULL: absent. */
WEIR_TEST_FN const char *weir_test_value(weir_test *t, const weir_event *ev, const char *path)
{
    weir_str value = weir_test_get(&t->host, ev, path);
    const char *kept = value.ptr ? weir_test_copy(t, value).ptr : NULL;
    weir_test_drop_blocks(&t->scratch);
    return kept;
}

/* Asks the source once. Events become a flight, numbered from 0, to be settled. */
WEIR_TEST_FN weir_status weir_test_pull(weir_test *t)
{
    weir_batch *out = weir_test_begin(t);
    return weir_test_end(t, out, t->component->pull(t->self, &t->host, out));
}

WEIR_TEST_FN size_t weir_test_flight_count(const weir_test *t)
{
    return t->flight_count;
}

/* A flight; `count` and `events` are what the source brought. Aborts if there are fewer. */
WEIR_TEST_FN const weir_batch *weir_test_flight(const weir_test *t, size_t flight)
{
    if (flight >= t->flight_count)
        weir_test_none(t, "flight", flight);
    return &t->flights[flight]->pub;
}

/* Tells the source what became of a flight, event by event. */
WEIR_TEST_FN void weir_test_settle_as(weir_test *t, size_t flight, const weir_verdict *verdicts)
{
    struct weir_test_batch *b = flight < t->flight_count ? t->flights[flight] : NULL;
    if (!b || b->is_over) {
        weir_test_problem(t, "settle: flight %zu is over or never was", flight);
        return;
    }
    const weir_verdict **each =
        weir_test_take(&t->kept, b->pub.count * sizeof(const weir_verdict *));
    weir_settlement s = {.cookie = b->pub.cookie,
                         .outcome = WEIR_DELIVERED,
                         .count = b->pub.count,
                         .events = each};
    for (size_t i = 0; i < b->pub.count; i++) {
        each[i] = &verdicts[i];
        s.outcome = verdicts[i].outcome < s.outcome ? verdicts[i].outcome : s.outcome;
    }
    b->is_over = true;
    weir_test_enter(t);
    if (t->component->settled)
        t->component->settled(t->self, &t->host, &s);
    weir_test_leave(t);
}

/* The same for all events of a flight; of WEIR_FAILED the class is `error`. */
WEIR_TEST_FN void weir_test_settle(weir_test *t, size_t flight, weir_outcome outcome,
                                   weir_status error)
{
    size_t n = flight < t->flight_count ? t->flights[flight]->pub.count : 0;
    weir_verdict *v = weir_test_take(&t->kept, n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = (weir_verdict){.outcome = outcome,
                              .error = error,
                              .why = "the test said so",
                              .stage = "test"};
    weir_test_settle_as(t, flight, v);
}

WEIR_TEST_FN weir_status weir_test_tick(weir_test *t, uint32_t id)
{
    const weir_component *c = t->component;
    weir_batch *out = weir_test_begin(t);
    weir_status s = c->tick   ? c->tick(t->self, &t->host, id, out)
                    : c->pull ? c->pull(t->self, &t->host, out)
                              : WEIR_OK;
    return weir_test_end(t, out, s);
}

/* Runs what was posted, and the pull or tick 0 that a wake asks for, until nothing is left. Tells how
 * much ran. */
WEIR_TEST_FN size_t weir_test_run(weir_test *t)
{
    for (size_t ran = 0;; ran++) {
        pthread_mutex_lock(&t->lock);
        struct weir_test_post *p = t->posts;
        bool is_woken = !p && t->is_woken;
        if (p)
            t->posts = p->next;
        if (p && !t->posts)
            t->posts_end = &t->posts;
        t->is_woken = t->is_woken && !is_woken;
        pthread_mutex_unlock(&t->lock);
        if (!p && !is_woken)
            return ran;
        if (p) {
            weir_test_enter(t);
            p->fn(t->self, &t->host, p->arg);
            weir_test_leave(t);
            free(p);
        } else {
            (void)(t->component->pull ? weir_test_pull(t) : weir_test_tick(t, 0));
        }
    }
}

/* Waits until a thread of the plugin posts or wakes, then runs it; false after so many real ms. */
WEIR_TEST_FN bool weir_test_wait(weir_test *t, int timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (timeout_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&t->lock);
    int error = 0;
    while (!t->posts && !t->is_woken && error == 0)
        error = pthread_cond_timedwait(&t->posted, &t->lock, &until);
    pthread_mutex_unlock(&t->lock);
    return weir_test_run(t) > 0;
}

/* Waits for the watched fds and runs `ready` (or pull) for those that are; tells how many. */
WEIR_TEST_FN int weir_test_poll(weir_test *t, int timeout_ms)
{
    struct pollfd fds[64];
    size_t n = t->watch_count;
    for (size_t i = 0; i < n; i++) {
        int rw = t->watches[i].read_write;
        fds[i] = (struct pollfd){t->watches[i].fd,
                                 (short)((rw & WEIR_READ ? POLLIN : 0) |
                                         (rw & WEIR_WRITE ? POLLOUT : 0)),
                                 0};
    }
    int ready = poll(fds, n, timeout_ms);
    for (size_t i = 0; ready > 0 && i < n; i++) {
        int rw = (fds[i].revents & POLLOUT ? WEIR_WRITE : 0) |
                 (fds[i].revents & ~POLLOUT ? WEIR_READ : 0);
        if (!rw)
            continue;
        if (!t->component->ready) {
            (void)weir_test_pull(t);
            continue;
        }
        weir_test_enter(t);
        (void)t->component->ready(t->self, &t->host, fds[i].fd, rw);
        weir_test_leave(t);
    }
    return ready;
}

WEIR_TEST_FN struct weir_test_timer *weir_test_next_timer(weir_test *t)
{
    struct weir_test_timer *next = NULL;
    for (size_t i = 0; i < 64; i++)
        if (t->timers[i].is_set && (!next || t->timers[i].at_ns < next->at_ns))
            next = &t->timers[i];
    return next;
}

/* Lets time pass; timers that come due fire in order, each at its own time. */
WEIR_TEST_FN void weir_test_move(weir_test *t, int64_t ns)
{
    int64_t until = t->now_ns + ns;
    (void)weir_test_run(t);
    for (struct weir_test_timer *next; (next = weir_test_next_timer(t)) && next->at_ns <= until;) {
        next->is_set = false;
        t->now_ns = next->at_ns > t->now_ns ? next->at_ns : t->now_ns;
        (void)weir_test_tick(t, next->id);
        (void)weir_test_run(t);
    }
    t->now_ns = until;
}

/* The value of a metric; -1: there is none of this name. */
WEIR_TEST_FN double weir_test_metric(const weir_test *t, const char *name)
{
    for (const weir_metric *m = t->metrics; m; m = m->next)
        if (strcmp(m->name, name) == 0)
            return m->value;
    return -1;
}

/* drain until it adds nothing, then the end of the worker and stop; what is kept goes back as RETRY.
 * Flights that are still out are told DURABLE before. */
WEIR_TEST_FN void weir_test_stop(weir_test *t)
{
    const weir_component *c = t->component;
    if (t->stage != WEIR_TEST_RUNNING)
        return;
    for (size_t added = 1; c->drain && added;) {
        weir_batch *out = weir_test_begin(t);
        weir_status s = c->drain(t->self, &t->host, out);
        added = out->count;
        if (weir_test_end(t, out, s) < WEIR_OK)
            break;
    }
    (void)weir_test_run(t);
    for (size_t i = 0; i < t->flight_count; i++)
        if (!t->flights[i]->is_over)
            weir_test_settle(t, i, WEIR_DURABLE, WEIR_OK);
    weir_test_enter(t);
    if (c->worker_stop)
        c->worker_stop(t->self, &t->host);
    t->host.worker = NULL;
    if (c->stop)
        c->stop(t->self, &t->host);
    weir_test_leave(t);
    t->stage = WEIR_TEST_OVER;
    for (size_t i = 0; i < t->given_count; i++)
        if (!t->given[i]->is_over)
            weir_test_settle_rest(t, t->given[i], WEIR_E_RETRY);
}

WEIR_TEST_FN void weir_test_batches_free(weir_test *t)
{
    while (t->batches) {
        struct weir_test_batch *b = t->batches;
        t->batches = b->next;
        for (size_t i = 0; i < b->pub.count; i++) {
            weir_test_unref(&t->host, b->shells[i]->pub.body);
            free(b->shells[i]->attrs);
            free(b->shells[i]->ports);
        }
        free(b->shells);
        free(b->events);
        free(b->fates);
        free(b);
    }
}

/* Stops the instance if need be and frees all. Tells how often the treaty was broken and, if it was,
 * prints all that was said: 0 is what a test expects. */
WEIR_TEST_FN int weir_test_free(weir_test *t)
{
    weir_test_stop(t);
    weir_test_batches_free(t);
    if (t->payloads)
        weir_test_problem(t, "%zu payloads were never given back", t->payloads);
    if (t->problem_count)
        (void)fprintf(stderr, "%s", weir_test_text(t));
    int problems = (int)t->problem_count;
    while (t->posts) {
        struct weir_test_post *p = t->posts;
        t->posts = p->next;
        free(p);
    }
    weir_test_drop_blocks(&t->kept);
    weir_test_drop_blocks(&t->scratch);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->posted);
    free(t->given);
    free(t->flights);
    free(t->outs);
    free(t->text);
    free(t);
    return problems;
}
