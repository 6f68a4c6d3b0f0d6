/* lambda/lambda.c: the transform: a function is called with each event and answers with its new body.
 *
 * The component is parallel. A native function runs in the worker's callback without a lock; of a
 * function in another language each worker has its own environments (pool.c), so that nothing is
 * shared between workers but the count of those that may still be started. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lambda.h"

/* ---- what the options mean ------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static int runtime_of(const struct lambda *l)
{
    if (l->runtime != RUNTIME_AUTO)
        return l->runtime;
    if (l->command.count)
        return RUNTIME_PROVIDED;
    return l->handler && ends_with(l->handler, ".so") ? RUNTIME_NATIVE : RUNTIME_AUTO;
}

static const char *name_of(const struct lambda *l, const weir_host *h)
{
    return l->function_name ? l->function_name : h->instance;
}

/* "module.handler" or "folder/module.handler": the module's file with one of the endings, or NULL. */
static const char *module_file(const struct lambda *l, const weir_host *h, const char *const *ends)
{
    const char *dot = strrchr(l->handler, '.'), *folder = place_folder(l, h);
    if (!dot || dot == l->handler || strchr(dot, '/'))
        return NULL;
    const char *slash = strrchr(l->handler, '/'), *name = slash ? slash + 1 : l->handler;
    const char *first =
        strchr(name, '.'); /* of Node "module.export.inner", of Python "package.module" */
    for (; *ends; ends++) {
        const char *whole =
            place_text(h, "%s/%.*s%s", folder, (int)(dot - l->handler), l->handler, *ends);
        const char *part =
            place_text(h, "%s/%.*s%s", folder, (int)(first - l->handler), l->handler, *ends);
        char *at = strstr(*ends, "py") ? strrchr(whole, '/') : NULL;
        while (at && (at = strchr(at, '.')) && strcmp(at, *ends) != 0)
            *at = '/';
        if (place_is_file(whole))
            return whole;
        if (place_is_file(part))
            return part;
    }
    return NULL;
}

/* ---- check ----------------------------------------------------------------------------------- */

static weir_status check_native(const struct lambda *l, const weir_host *h)
{
    char why[512];
    const char *path = place_native(l, h);
    if (!path)
        return h->refuse(h, &l->handler, 0,
                         "function %s is not there: looked in %s and beside the plugins; build it "
                         "with cc -shared -fPIC, or name its folder with code",
                         l->handler, place_folder(l, h));
    place_reads(l, path);
    if (elf_check(path, why, sizeof why) != 0)
        return h->refuse(h, &l->handler, 0, "%s", why);
    return WEIR_OK;
}

static weir_status check_module(const struct lambda *l, const weir_host *h, int runtime)
{
    static const char *const python[] = {".py", "/__init__.py", NULL};
    static const char *const node[] = {".js", ".mjs", ".cjs", "/index.js", NULL};
    bool is_python = runtime == RUNTIME_PYTHON;
    const char *program = is_python ? "python3" : "node";
    if (!place_program(h, program))
        return h->refuse(h, &l->runtime, 0, "%s is not in PATH: install it, or set PATH", program);
    if (!place_client(h, is_python ? "python/bootstrap.py" : "node/bootstrap.js"))
        return h->refuse(h, &l->runtime, 0,
                         "the runtime client of %s is not beside the plugin: install Weir again",
                         program);
    const char *file = module_file(l, h, is_python ? python : node);
    if (file) {
        place_reads(l, file);
        return WEIR_OK;
    }
    return h->refuse(h, &l->handler, 0,
                     "handler %s names no file: expected module.function with module%s in %s; "
                     "name its folder with code",
                     l->handler, is_python ? ".py" : ".js", place_folder(l, h));
}

static weir_status check_provided(const struct lambda *l, const weir_host *h)
{
    if (l->command.count) {
        const char *program = l->command.items[0];
        bool is_near = strchr(program, '/') != NULL;
        const char *path =
            place_program(h, is_near ? place_join(h, place_folder(l, h), program) : program);
        if (path) {
            place_reads(l, path);
            return WEIR_OK;
        }
        return h->refuse(h, &l->command, 0, "%s is no program that can be run%s", program,
                         is_near ? ": chmod +x, or name its folder with code" : " from PATH");
    }
    const char *path = place_join(h, place_folder(l, h), "bootstrap");
    place_reads(l, path);
    if (access(path, X_OK) == 0)
        return WEIR_OK;
    return h->refuse(h, &l->runtime, 0, "runtime provided needs command, or the program %s", path);
}

static weir_status check_name(const struct lambda *l, const weir_host *h)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    const char *name = name_of(l, h);
    size_t n = strlen(name);
    if (n && n <= 64 && strspn(name, allowed) == n)
        return WEIR_OK;
    return h->refuse(h, &l->function_name, 0,
                     "function name %s: expected 1 to 64 letters, digits, - and _", name);
}

static weir_status check_runtime(const struct lambda *l, const weir_host *h)
{
    int runtime = runtime_of(l);
    if (l->isolate != ISOLATE_NONE && runtime != RUNTIME_NATIVE)
        return h->refuse(h, &l->isolate, 0,
                         "isolate is for native functions: others have processes of their own");
    if (runtime == RUNTIME_PROVIDED)
        return check_provided(l, h);
    if (!l->handler)
        return h->refuse(h, &l->handler, 0,
                         "a function needs handler (functions/name.so or module.function) or "
                         "command");
    if (l->command.count)
        return h->refuse(h, &l->command, 0, "only runtime provided has a command");
    if (runtime == RUNTIME_AUTO)
        return h->refuse(h, &l->handler, 0,
                         "handler %s: expected a file ending in .so, or runtime: python or node "
                         "beside it",
                         l->handler);
    return runtime == RUNTIME_NATIVE ? check_native(l, h) : check_module(l, h, runtime);
}

static weir_status lambda_check(const void *self, const weir_host *h)
{
    const struct lambda *l = self;
    weir_status worst = WEIR_OK;
    if (l->endpoint == ENDPOINT_AWS)
        worst = h->refuse(h, &l->endpoint, 0,
                          "functions run embedded; endpoint: aws is not there yet: leave it out");
    for (size_t i = 0; i < l->environment.count; i++) {
        weir_str key = l->environment.items[i].key;
        if (!key.len || memchr(key.ptr, '=', key.len) || memchr(key.ptr, 0, key.len))
            worst = h->refuse(h, &l->environment, 0, "a variable's name has no =");
    }
    if (check_name(l, h) != WEIR_OK)
        worst = WEIR_E_CONFIG;
    return check_runtime(l, h) != WEIR_OK ? WEIR_E_CONFIG : worst;
}

/* ---- the program of an environment ----------------------------------------------------------- */

union word { /* exec's arrays are of char *, though it writes to none */
    const char *text;
    char *word;
};

static void add(char **list, size_t *n, const char *text)
{
    list[(*n)++] = (union word){.text = text}.word;
}

static void add_variables(struct lambda *l, const weir_host *h, char **list, size_t *n)
{
    static const char *const clients[] = {
        [RUNTIME_PYTHON] = "AWS_Lambda_python3", [RUNTIME_NODE] = "AWS_Lambda_nodejs"};
    int runtime = runtime_of(l);
    const char *path = getenv("PATH"); // NOLINT(concurrency-mt-unsafe): nothing sets variables
    add(list, n, place_text(h, "AWS_LAMBDA_FUNCTION_NAME=%s", l->function_name));
    add(list, n, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST");
    add(list, n,
        place_text(h, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%llu",
                   (unsigned long long)(l->memory_size.bytes >> 20)));
    add(list, n, "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand");
    add(list, n, place_text(h, "AWS_LAMBDA_LOG_GROUP_NAME=%s", l->group));
    add(list, n, place_text(h, "AWS_REGION=%s", l->region));
    add(list, n, place_text(h, "AWS_DEFAULT_REGION=%s", l->region));
    add(list, n, "AWS_ACCESS_KEY_ID=test");
    add(list, n, "AWS_SECRET_ACCESS_KEY=test");
    if (runtime == RUNTIME_PYTHON || runtime == RUNTIME_NODE)
        add(list, n, place_text(h, "AWS_EXECUTION_ENV=%s", clients[runtime]));
    add(list, n, place_text(h, "_HANDLER=%s", l->handler ? l->handler : ""));
    add(list, n, place_text(h, "LAMBDA_TASK_ROOT=%s", l->program.folder));
    add(list, n, place_text(h, "LAMBDA_RUNTIME_DIR=%s", l->program.folder));
    add(list, n, place_text(h, "PATH=%s", path ? path : "/usr/local/bin:/usr/bin:/bin"));
    add(list, n, "LANG=en_US.UTF-8");
    add(list, n, "TZ=:UTC");
}

/* True if the stage's own variables name it: they come last and alone. */
static bool is_overridden(const struct lambda *l, const char *variable)
{
    size_t len = strcspn(variable, "=");
    for (size_t i = 0; i < l->environment.count; i++) {
        weir_str key = l->environment.items[i].key;
        if (key.len == len && memcmp(key.ptr, variable, len) == 0)
            return true;
    }
    return false;
}

static void make_environment(struct lambda *l, const weir_host *h)
{
    char *own[32];
    size_t count = 0, n = 0;
    add_variables(l, h, own, &count);
    char **list = h->keep(h, (count + l->environment.count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (!is_overridden(l, own[i]))
            list[n++] = own[i];
    for (size_t i = 0; i < l->environment.count; i++) {
        weir_str key = l->environment.items[i].key, value = l->environment.items[i].value;
        add(list, &n,
            place_text(h, "%.*s=%.*s", (int)key.len, key.ptr, (int)value.len,
                       value.len ? value.ptr : ""));
    }
    list[n] = NULL;
    l->program.environment = list;
    l->program.variables = n;
}

static void make_arguments(struct lambda *l, const weir_host *h)
{
    int runtime = runtime_of(l);
    char **list = h->keep(h, (l->command.count + 4) * sizeof *list);
    size_t n = 0;
    const char *first = runtime == RUNTIME_PYTHON ? "python3"
                        : runtime == RUNTIME_NODE ? "node"
                        : l->command.count        ? l->command.items[0]
                                                  : "./bootstrap";
    bool is_near = strchr(first, '/') != NULL;
    l->program.folder = place_folder(l, h);
    l->program.path = place_program(h, is_near ? place_join(h, l->program.folder, first) : first);
    add(list, &n, l->program.path);
    if (runtime == RUNTIME_PYTHON)
        add(list, &n, place_client(h, "python/bootstrap.py"));
    if (runtime == RUNTIME_NODE)
        add(list, &n, place_client(h, "node/bootstrap.js"));
    for (size_t i = 1; i < l->command.count; i++)
        add(list, &n, l->command.items[i]);
    list[n] = NULL;
    l->program.arguments = list;
}

/* ---- life ------------------------------------------------------------------------------------ */

static weir_status lambda_start(void *self, const weir_host *h)
{
    struct lambda *l = self;
    const weir_pipeline *place = l->pipeline.count ? l->pipeline.items[0] : NULL;
    int runtime = runtime_of(l);
    l->function_name = name_of(l, h);
    l->region = place ? place->region : "us-east-1";
    l->group = place_text(h, "/aws/lambda/%s", l->function_name);
    l->arn = place_text(h, "arn:aws:lambda:%s:%s:function:%s", l->region,
                        place ? place->account : "000000000000", l->function_name);
    l->is_reporting =
        l->report == REPORT_ON || (l->report == REPORT_AUTO && runtime != RUNTIME_NATIVE);
    l->spare = h->keep(h, sizeof *l->spare);
    atomic_init(l->spare, (long long)l->environments);
    l->hung = h->keep(h, sizeof *l->hung);
    atomic_init(l->hung, 0);
    if (runtime == RUNTIME_NATIVE) {
        const char *path = place_native(l, h);
        l->native = path ? native_load(h, path) : NULL;
        return l->native ? WEIR_OK : WEIR_E_CONFIG;
    }
    make_arguments(l, h);
    make_environment(l, h);
    if (!l->program.path)
        return h->fail(h, WEIR_E_CONFIG, ENOENT, "program of function %s", l->function_name);
    return WEIR_OK;
}

static weir_status lambda_worker_start(void *self, const weir_host *h)
{
    const struct lambda *l = self;
    struct worker *w = h->worker;
    struct figures *f = &w->figures;
    f->invocations =
        h->metric(h, WEIR_COUNTER, "invocations", "Times that the function was called.");
    f->errors = h->metric(h, WEIR_COUNTER, "function_errors", "Invocations without an answer.");
    f->timeouts = h->metric(h, WEIR_COUNTER, "timeouts", "Invocations that took too long.");
    f->starts = h->metric(h, WEIR_COUNTER, "cold_starts", "Environments that were started.");
    f->duration = h->metric(h, WEIR_HISTOGRAM, "duration_seconds", "How long invocations took.");
    f->hung = h->metric(h, WEIR_GAUGE, "hung_threads",
                        "Threads that have not come back from a call whose time was over.");
    if (l->native && l->isolate == ISOLATE_THREAD)
        w->threads = threads_new(l, h, w);
    else if (l->native)
        w->native = native_new(l, h, NULL);
    else
        w->pool = pool_new(l, h, w);
    return w->threads || w->native || w->pool ? WEIR_OK : WEIR_E_RETRY;
}

static void lambda_worker_stop(void *self, const weir_host *h)
{
    struct worker *w = h->worker;
    if (w->native)
        native_free(w->native);
    if (w->threads)
        threads_free(w->threads, h);
    if (w->pool)
        pool_free(w->pool, h);
}

/* ---- work ------------------------------------------------------------------------------------ */

static void run_one(const struct lambda *l, const weir_host *h, struct job *job)
{
    struct worker *w = h->worker;
    struct invocation v;
    struct answer a;
    invocation_begin(l, h, job, &v);
    weir_payload *event = invocation_payload(l, h, &v, &a);
    if (event) {
        a = native_call(w->native, h, &v, (weir_str){event->ptr, event->len});
        h->unref(h, event);
        w->native_calls++;
        int64_t took_ns = h->now(h) - v.begun_ns;
        h->observe(h, w->figures.duration, (double)took_ns / 1e9);
        if (took_ns > l->timeout.ns) {
            h->observe(h, w->figures.timeouts, 1);
            h->log(h, WEIR_WARN,
                   "function %s: took %.2f seconds and may take %.2f; a native one "
                   "is not stopped",
                   l->function_name, (double)took_ns / 1e9, (double)l->timeout.ns / 1e9);
        }
    }
    if (invocation_settle(l, h, &v, &a) < 0)
        h->observe(h, w->figures.errors, 1);
}

static weir_status lambda_batch(void *self, const weir_host *h, const weir_batch *in,
                                weir_batch *out)
{
    const struct lambda *l = self;
    struct worker *w = h->worker;
    if (w->threads)
        return threads_take(w->threads, h, in);
    if (!l->native)
        return pool_take(w->pool, h, in);
    struct job *job = job_new(h, w, in);
    while (job->started < in->count)
        run_one(l, h, job);
    h->observe(h, w->figures.invocations, (double)w->native_calls);
    w->native_calls = 0;
    (void)job_emit(h, job, out);
    job_free(h, w, job);
    return WEIR_OK;
}

static weir_status lambda_ready(void *self, const weir_host *h, int fd, int read_write)
{
    struct worker *w = h->worker;
    pool_ready(w->pool, h, fd);
    return WEIR_OK;
}

static weir_status lambda_tick(void *self, const weir_host *h, uint32_t id, weir_batch *out)
{
    struct worker *w = h->worker;
    if (w->threads)
        threads_tick(w->threads, h, id);
    else if (w->pool && id)
        pool_tick(w->pool, h, id);
    return jobs_emit(h, w, out);
}

/* PENDING: the functions are still at work on what is kept. */
static weir_status lambda_drain(void *self, const weir_host *h, weir_batch *out)
{
    struct worker *w = h->worker;
    if (jobs_emit(h, w, out) == WEIR_OK)
        return WEIR_OK;
    return w->jobs.first ? WEIR_PENDING : WEIR_OK;
}

static const weir_option options[] = {
    WEIR_NEED(struct lambda, json, WEIR_JSON),
    WEIR_NEED(struct lambda, shapes, WEIR_SHAPE),
    WEIR_NEED(struct lambda, logs, WEIR_LOGS),
    WEIR_NEED(struct lambda, pipeline, WEIR_PIPELINE),
    WEIR_OPTION(struct lambda, handler,
                .help = "functions/name.so: a function in C; module.function: in Python or Node."),
    WEIR_OPTION(struct lambda, runtime, .choices = "auto|native|python|node|provided",
                .help = "What runs the function; auto: native for .so, provided with a command."),
    WEIR_OPTION(struct lambda, command,
                .help = "A program that speaks Lambda's Runtime API, and its arguments."),
    WEIR_OPTION(struct lambda, code,
                .help = "The function's folder (LAMBDA_TASK_ROOT); the pipeline file's if absent."),
    WEIR_OPTION(struct lambda, function_name, .help = "Its name; the stage's if absent."),
    WEIR_OPTION(struct lambda, memory_size, .preset = "128MiB", .min = 1048576,
                .max = 10737418240.0, .help = "Told to the function and in reports; not enforced."),
    WEIR_OPTION(struct lambda, timeout, .preset = "3s", .min = 1e6, .max = 900e9,
                .help = "How long one invocation may take; a native one is warned of only, unless "
                        "isolate is thread."),
    WEIR_OPTION(
        struct lambda, environments, .preset = "4", .min = 1, .max = 1000,
        .help =
            "Processes (or threads) at once, at most, but one for each worker that has events."),
    WEIR_OPTION(struct lambda, isolate, .choices = "none|thread",
                .help = "Where a native function runs: on the worker's thread, or on threads of "
                        "its own, up to environments of them, where one that hangs holds up none."),
    WEIR_OPTION(struct lambda, environment, .help = "The function's variables."),
    WEIR_OPTION(struct lambda, batch_size, .preset = "1", .min = 1, .max = 10000,
                .help = "Events an invocation gets; more than 1: an array, and one as answer."),
    WEIR_OPTION(struct lambda, payload, .choices = "envelope|body",
                .help = "What the function gets: the event as EventBridge has it, or its body."),
    WEIR_OPTION(struct lambda, on_null, .choices = "drop|keep",
                .help = "What an answer of null does: ends the event, or leaves it as it was."),
    WEIR_OPTION(struct lambda, reject,
                .help = "Error types that no retry will mend: to the dead letters at once."),
    WEIR_OPTION(struct lambda, report, .choices = "auto|on|off",
                .help = "START, END and REPORT lines in the log; auto: on unless native."),
    WEIR_OPTION(struct lambda, endpoint, .choices = "embedded|aws",
                .help = "Where the function is; only embedded today."),
    {0},
};

static const weir_component lambda = {
    .flags = WEIR_PARALLEL,
    .name = "lambda",
    .version = "1.0",
    .summary = "Calls a function in C, Python, Node or any other language with each event.",
    .state_size = sizeof(struct lambda),
    .worker_size = sizeof(struct worker),
    .options = options,
    .check = lambda_check,
    .start = lambda_start,
    .worker_start = lambda_worker_start,
    .worker_stop = lambda_worker_stop,
    .batch = lambda_batch,
    .drain = lambda_drain,
    .ready = lambda_ready,
    .tick = lambda_tick,
};
WEIR_PLUGIN(&lambda);
