/* json/regex.c: regular expressions by libpcre2-8, loaded only if a schema has one. */
#include "json/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <dlfcn.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A text of 64 KiB against an honest pattern needs far less; a hostile one ends within milliseconds. */
enum { MATCH_LIMIT = 200000, HEAP_LIMIT_KIB = 4096, DEPTH_LIMIT = 10000, REGEX_MAX_BYTES = 16384 };

struct regex {
    pcre2_code *code;
};

static struct {
    __typeof__(&pcre2_compile) compile;
    __typeof__(&pcre2_code_free) code_free;
    __typeof__(&pcre2_match) match;
    __typeof__(&pcre2_match_data_create) data_create;
    __typeof__(&pcre2_match_data_free) data_free;
    __typeof__(&pcre2_match_context_create) context_create;
    __typeof__(&pcre2_set_match_limit) set_match_limit;
    __typeof__(&pcre2_set_heap_limit) set_heap_limit;
    __typeof__(&pcre2_set_depth_limit) set_depth_limit;
    __typeof__(&pcre2_get_error_message) error_message;
} api;

static pcre2_match_context *limits;
static pthread_key_t data_key;
static char load_error[256];

static void load_one(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    if (!found && !*load_error)
        (void)snprintf(load_error, sizeof load_error, "libpcre2-8.so.0 lacks %s", name);
    /* A function's address goes through an object's as POSIX has it for dlsym. */
    memcpy(function, &found, sizeof found);
}

static void free_data(void *data)
{
    api.data_free(data);
}

static void load(void)
{
    void *library = dlopen("libpcre2-8.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        (void)
            snprintf(load_error, sizeof load_error,
                     "load libpcre2-8.so.0: not there: install libpcre2-8-0, which patterns need");
        return;
    }
    load_one(library, "pcre2_compile_8", &api.compile);
    load_one(library, "pcre2_code_free_8", &api.code_free);
    load_one(library, "pcre2_match_8", &api.match);
    load_one(library, "pcre2_match_data_create_8", &api.data_create);
    load_one(library, "pcre2_match_data_free_8", &api.data_free);
    load_one(library, "pcre2_match_context_create_8", &api.context_create);
    load_one(library, "pcre2_set_match_limit_8", &api.set_match_limit);
    load_one(library, "pcre2_set_heap_limit_8", &api.set_heap_limit);
    load_one(library, "pcre2_set_depth_limit_8", &api.set_depth_limit);
    load_one(library, "pcre2_get_error_message_8", &api.error_message);
    if (*load_error)
        return;
    limits = api.context_create(NULL);
    if (!limits || pthread_key_create(&data_key, free_data) != 0) {
        (void)snprintf(load_error, sizeof load_error, "start libpcre2-8.so.0: out of memory");
        return;
    }
    (void)api.set_match_limit(limits, MATCH_LIMIT);
    (void)api.set_heap_limit(limits, HEAP_LIMIT_KIB);
    (void)api.set_depth_limit(limits, DEPTH_LIMIT);
}

static bool is_loaded(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load);
    return !*load_error;
}

/* ECMA-262 has neither \A, \Z, \z, \G, \K, \Q nor \C, all of which PCRE would take. */
static const char *foreign_escape(weir_str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.ptr[i] != '\\')
            continue;
        i++;
        if (text.ptr[i] && strchr("aAZzGKQEC", text.ptr[i]))
            return text.ptr + i;
    }
    return NULL;
}

static pcre2_code *compile(weir_str text, struct error *e)
{
    int code = 0;
    size_t at = 0;
    char reason[128] = "";
    const char *foreign = foreign_escape(text);
    if (foreign) {
        (void)error_set(e, EXIT_CONFIG, "not a regular expression of ECMA-262: it has no \\%c",
                        *foreign);
        return NULL;
    }
    uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS |
                       PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C;
    if (text.len > REGEX_MAX_BYTES) {
        (void)error_set(e, EXIT_CONFIG, "a pattern of more than %d bytes", REGEX_MAX_BYTES);
        return NULL;
    }
    pcre2_code *compiled =
        api.compile((PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, options, &code, &at, NULL);
    if (compiled)
        return compiled;
    (void)api.error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
    (void)error_set(e, EXIT_CONFIG, "not a regular expression: %s at character %zu", reason,
                    at + 1);
    return NULL;
}

struct regex *regex_new(weir_str text, struct error *e)
{
    if (!is_loaded()) {
        (void)error_set(e, EXIT_CONFIG, "%s", load_error);
        return NULL;
    }
    pcre2_code *code = compile(text, e);
    if (!code)
        return NULL;
    struct regex *p = MEM_NEW(struct regex);
    p->code = code;
    return p;
}

void regex_free(struct regex *p)
{
    if (p)
        api.code_free(p->code);
    mem_free(p);
}

bool regex_is_valid(weir_str text)
{
    struct error ignored = {0};
    if (!is_loaded())
        return true;
    struct regex *p = regex_new(text, &ignored);
    regex_free(p);
    return p != NULL;
}

/* One for each thread: it only says where the match was, which nobody asks. */
static pcre2_match_data *own_data(void)
{
    pcre2_match_data *data = pthread_getspecific(data_key);
    if (data)
        return data;
    data = api.data_create(1, NULL);
    if (data)
        (void)pthread_setspecific(data_key, data);
    return data;
}

int regex_test(const struct regex *p, weir_str text)
{
    pcre2_match_data *data = own_data();
    if (!data)
        return REGEX_TOO_COSTLY;
    int n = api.match(p->code, (PCRE2_SPTR)(text.len ? text.ptr : ""), text.len, 0,
                      PCRE2_NO_UTF_CHECK, data, limits);
    if (n >= 0)
        return REGEX_YES;
    return n == PCRE2_ERROR_NOMATCH ? REGEX_NO : REGEX_TOO_COSTLY;
}
