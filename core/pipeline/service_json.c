/* pipeline/service_json.c: weir.json/1 and weir.schema/1. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "pipeline/services.h"
#include "json/json.h"
#include "json/schema.h"

enum { SCHEMA_MAX = 1 << 20, SCRATCH_MAX = 1 << 16 };

static weir_status check(const weir_jsons *j, weir_str text, size_t *at)
{
    return json_check(text, at, NULL);
}

static int kind(const weir_jsons *j, weir_str value)
{
    return json_kind(value);
}

static weir_str find(const weir_jsons *j, weir_str value, const char *path)
{
    return json_find(value, path);
}

static bool next(const weir_jsons *j, weir_str value, weir_json_each *each)
{
    return json_next(value, each);
}

static pthread_key_t of_thread; /* has a thread's arena freed when it ends */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void end_thread(void *arena)
{
    arena_fini(arena);
}

static void make_key(void)
{
    if (pthread_key_create(&of_thread, end_thread) != 0)
        abort();
}

/* Outside of callbacks the text lives until this thread has made 64 KiB more of it. */
static struct arena *scratch(void)
{
    static _Thread_local struct arena own;
    static _Thread_local bool is_known;
    struct lane *l = lane_current();
    if (l)
        return &l->scratch;
    if (!is_known) {
        (void)pthread_once(&once, make_key);
        (void)pthread_setspecific(of_thread, &own);
        is_known = true;
    }
    if (own.used_bytes > SCRATCH_MAX) {
        arena_reset(&own);
        own.used_bytes = 0;
    }
    return &own;
}

static weir_str text_of(const weir_jsons *j, weir_str value)
{
    return json_unquote(value, scratch());
}

static weir_str quote(const weir_jsons *j, weir_str text)
{
    if (json_plain(text) == text.len) { /* most are */
        char *quoted = arena_take_raw(scratch(), text.len + 2);
        *quoted = '"';
        memcpy(quoted + 1, text.len ? text.ptr : "", text.len);
        quoted[text.len + 1] = '"';
        return (weir_str){quoted, text.len + 2};
    }
    struct buf out = {0};
    json_quote(&out, text);
    weir_str copy = {arena_copy(scratch(), out.ptr, out.len), out.len};
    buf_fini(&out);
    return copy;
}

static weir_status valid(const weir_jsons *j, weir_payload *p, size_t *at)
{
    if (payload_is_json(p))
        return WEIR_OK;
    weir_status s = json_check((weir_str){p->ptr, p->len}, at, NULL);
    if (s == WEIR_OK)
        payload_set_json(p);
    return s;
}

void service_json_init(struct service_tables *t)
{
    t->json = (weir_jsons){WEIR_OFFER(WEIR_JSON), check, kind, find, next, text_of, quote, valid};
}

/* ---- schemas ---- */

static void schema_end(void *arg)
{
    schema_free(arg);
}

static weir_status compiled(struct lane *l, const void *member, weir_str text, const char *name,
                            weir_schema **schema)
{
    struct error e = {0};
    struct schema *s = schema_new(text, &e);
    if (!s)
        return l->host.refuse(&l->host, member, 0, "%s%sthe schema is not valid: %s",
                              name ? name : "", name ? ": " : "", e.text);
    service_at_end(l->stage, schema_end, s);
    *schema = (weir_schema *)s;
    return WEIR_OK;
}

static int read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    ssize_t n = 0;
    while (out->len <= SCHEMA_MAX && (n = read(fd, buf_room(out, 4096), 4096)) > 0)
        out->len += (size_t)n;
    int failed = n < 0 ? errno : out->len > SCHEMA_MAX ? EFBIG : 0;
    (void)close(fd);
    return failed;
}

static weir_status load(const weir_schemas *s, const char *const *member, weir_schema **schema)
{
    struct lane *l = service_lane("weir.schema/1");
    struct buf text = {0};
    char path[PATH_MAX], reason[96];
    (void)snprintf(path, sizeof path, "%s%s%s",
                   **member == '/' ? "" : service_tables_of(&s->base)->about.folder,
                   **member == '/' ? "" : "/", *member);
    service_reads(l, path);
    int failed = read_file(path, &text);
    weir_status status = failed ? l->host.refuse(&l->host, member, 0, "open %s: %s", path,
                                                 error_sys_text(failed, reason, sizeof reason))
                                : compiled(l, member, buf_str(&text), *member, schema);
    buf_fini(&text);
    return status;
}

static weir_status compile(const weir_schemas *s, const weir_json *member, weir_schema **schema)
{
    return compiled(service_lane("weir.schema/1"), member, (weir_str){member->ptr, member->len},
                    NULL, schema);
}

enum { TOLD_MAX = 100 };
struct telling {
    struct arena *scratch;
    const weir_violation **list;
    size_t count;
};

static void tell(void *user, const weir_violation *v)
{
    struct telling *t = user;
    if (t->count == TOLD_MAX)
        return;
    if (!t->list)
        t->list = arena_take_raw(t->scratch, TOLD_MAX * sizeof(const weir_violation *));
    weir_violation *copy = arena_take_raw(t->scratch, sizeof *copy);
    *copy = *v;
    copy->pointer.ptr = arena_copy(t->scratch, v->pointer.ptr, v->pointer.len);
    copy->message = arena_text(t->scratch, v->message);
    t->list[t->count++] = copy;
}

static size_t test(const weir_schemas *s, const weir_schema *schema, weir_str text,
                   const weir_violation *const **first)
{
    struct telling t = {scratch(), NULL, 0};
    size_t n = schema_test((const struct schema *)schema, text, t.scratch, tell, &t);
    *first = t.list;
    return n < TOLD_MAX ? n : TOLD_MAX;
}

void service_schema_init(struct service_tables *t)
{
    t->schema = (weir_schemas){WEIR_OFFER(WEIR_SCHEMA), load, compile, test};
}
