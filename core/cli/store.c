/* cli/store.c: the data directory of a pipeline, in use by a runner or not. */
#include "cli/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "journal/inspect.h"
#include "net/http_client.h"
#include "json/json.h"

static char **stages_of(const struct plan *plan)
{
    char **names = mem_new((plan->stage_count + 1) * sizeof(char *));
    for (size_t i = 0; i < plan->stage_count; i++)
        names[i] = mem_text(plan->stages[i]->name);
    return names;
}

void store_stages_free(char **stages)
{
    for (size_t i = 0; stages && stages[i]; i++)
        mem_free(stages[i]);
    mem_free(stages);
}

int store_find(const struct cli_store *s, char **path)
{
    return store_find_stages(s, path, NULL);
}

int store_find_stages(const struct cli_store *s, char **path, char ***stages)
{
    struct loaded l;
    if (stages)
        *stages = NULL;
    struct stat st;
    if (s->data_dir) {
        *path = mem_text(s->data_dir);
    } else {
        int code = load_pipeline(s->config, &s->file, false, &l);
        if (l.plan)
            *path = mem_text(l.plan->settings.data_dir);
        if (l.plan && !code && stages)
            *stages = stages_of(l.plan);
        load_free(&l);
        if (code)
            return code;
    }
    if (stat(*path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    struct error e = {0};
    (void)error_set(&e, EXIT_BAD_DATA, "no data directory %s: has the pipeline run?", *path);
    mem_free(*path);
    *path = NULL;
    if (stages) {
        store_stages_free(*stages);
        *stages = NULL;
    }
    return cli_fail(&e);
}

/* A runner that was killed leaves its address behind, and another pipeline's may be there by now: who is
 * asked must be the one that has the journal. */
static bool is_in_use(const char *data_dir)
{
    char holder[200];
    char *path = mem_format("%s/journal", data_dir);
    bool is_held = inspect_holder(NULL, path, holder, sizeof holder);
    mem_free(path);
    return is_held;
}

static bool read_address(const char *data_dir, char *address, size_t size)
{
    char *path = mem_format("%s/admin.address", data_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, address, size - 1);
    if (fd >= 0)
        (void)close(fd);
    mem_free(path);
    if (n > 0)
        address[n] = 0;
    return n > 0;
}

char *store_part(const char *name)
{
    struct buf b = {0};
    for (const char *c = name; *c; c++)
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
            strchr("-._~", *c))
            buf_add_char(&b, *c);
        else
            buf_print(&b, "%%%02X", (unsigned)(unsigned char)*c);
    char *part = mem_text(buf_text(&b));
    buf_fini(&b);
    return part;
}

struct asking {
    struct buf *out;
    int status;
    char error[256];
};

static void answered(void *user, const struct http_fetch_result *r)
{
    struct asking *a = user;
    a->status = r->error ? 0 : r->status;
    (void)snprintf(a->error, sizeof a->error, "%s", r->error ? r->error : "");
    buf_add_str(a->out, r->body);
}

/* In the runner's own words, where it has some. */
static int refused(int status, const struct buf *out)
{
    struct error e = {0};
    struct arena a;
    weir_str body = json_trim(buf_str(out));
    int code = status == 400   ? EXIT_USAGE_ERROR
               : status == 404 ? EXIT_BAD_DATA
                               : EXIT_NOT_AVAILABLE;
    arena_init(&a);
    bool is_json = json_check(body, NULL, NULL) == WEIR_OK;
    weir_str detail = is_json ? json_find(body, "detail") : (weir_str){0};
    if (detail.ptr && json_kind(detail) == WEIR_JSON_TEXT) {
        detail = json_unquote(detail, &a);
        (void)error_set(&e, code, "%.*s", (int)detail.len, detail.ptr);
    } else {
        (void)error_set(&e, code, "the runner says %d: %.*s", status,
                        (int)(out->len < 300 ? out->len : 300), out->ptr ? out->ptr : "");
    }
    arena_fini(&a);
    return cli_fail(&e);
}

static int ask(const char *data_dir, const char *method, const char *target, weir_str body,
               struct buf *out)
{
    char address[128];
    struct error e = {0};
    struct asking a = {.out = out};
    const weir_attr control = {weir_text("X-Weir-Control"), weir_text("1")};
    if (!is_in_use(data_dir) || !read_address(data_dir, address, sizeof address))
        return 1;
    char *url = mem_format("http://%s%s", address, target);
    const struct http_fetch f = {.method = method,
                                 .url = url,
                                 .headers = {1, &control},
                                 .body = body,
                                 .timeout_ns = INT64_C(60000000000),
                                 .done = answered,
                                 .user = &a};
    int failed = http_fetch_wait(&f, &e);
    mem_free(url);
    if (failed)
        return cli_fail(&e);
    if (!a.status) /* nobody listens: the address was left by a runner that was killed */
        return 1;
    if (a.status >= 200 && a.status < 300)
        return 0;
    return refused(a.status, out);
}

int store_ask(const char *data_dir, const char *method, const char *target, struct buf *out)
{
    return ask(data_dir, method, target, (weir_str){0}, out);
}

int store_post(const char *data_dir, const char *target, weir_str body, struct buf *out)
{
    return ask(data_dir, "POST", target, body, out);
}

int store_no_journal(const char *path, struct error *e)
{
    if (access(path, R_OK | X_OK) < 0 && errno != ENOENT)
        return error_sys(e, errno, "journal %s", path);
    return error_set(e, EXIT_BAD_DATA, "no journal in %s: has the pipeline run?", path);
}

static struct journal *open_store(const char *data_dir, bool is_reader, struct error *e)
{
    char *path = mem_format("%s/journal", data_dir);
    const struct journal_options o = {.path = path,
                                      .kinds = journal_kinds,
                                      .lock_note = "weir queue",
                                      .is_reader = is_reader};
    struct journal *j = NULL;
    if (is_reader && access(path, F_OK) < 0)
        (void)store_no_journal(path, e);
    else
        j = journal_open(&o, e);
    mem_free(path);
    return j;
}

struct journal *store_open(const char *data_dir, struct error *e)
{
    return open_store(data_dir, false, e);
}

struct journal *store_read(const char *data_dir, struct error *e)
{
    return open_store(data_dir, true, e);
}
