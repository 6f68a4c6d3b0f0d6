/* lambda/place.c: where handlers, programs and runtime clients are. */
#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lambda.h"

const char *place_text(const weir_host *h, const char *fmt, ...)
{
    char text[PATH_MAX];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    char *kept = h->keep(h, len + 1);
    memcpy(kept, text, len);
    kept[len] = 0;
    return kept;
}

const char *place_join(const weir_host *h, const char *folder, const char *name)
{
    return name[0] == '/' ? name : place_text(h, "%s/%s", folder, name);
}

void place_reads(const struct lambda *l, const char *path)
{
    const weir_pipeline *p = l->pipeline.count ? l->pipeline.items[0] : NULL;
    if (p && WEIR_HAS(p, reads))
        p->reads(p, path);
}

bool place_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *base_folder(const struct lambda *l, const weir_host *h)
{
    char here[PATH_MAX];
    if (l->pipeline.count)
        return ((const weir_pipeline *)l->pipeline.items[0])->folder;
    return getcwd(here, sizeof here) ? place_text(h, "%s", here) : ".";
}

const char *place_folder(const struct lambda *l, const weir_host *h)
{
    const char *base = base_folder(l, h);
    return l->code ? place_join(h, base, l->code) : base;
}

/* The folder that this plugin was loaded from, or NULL. */
static const char *own_folder(const weir_host *h)
{
    Dl_info info;
    char path[PATH_MAX];
    static const char here;
    if (!dladdr(&here, &info) || !info.dli_fname || !realpath(info.dli_fname, path))
        return NULL;
    char *slash = strrchr(path, '/');
    *slash = 0;
    return place_text(h, "%s", path);
}

const char *place_native(const struct lambda *l, const weir_host *h)
{
    const char *path = place_join(h, place_folder(l, h), l->handler);
    if (place_is_file(path))
        return path;
    const char *own =
        own_folder(h); /* functions that come with the runner are beside its plugins */
    path = own ? place_text(h, "%s/../%s", own, l->handler) : path;
    return place_is_file(path) ? path : NULL;
}

const char *place_client(const weir_host *h, const char *file)
{
    const char *own = own_folder(h);
    const char *path = own ? place_text(h, "%s/lambda/%s", own, file) : NULL;
    return path && place_is_file(path) ? path : NULL;
}

const char *place_program(const weir_host *h, const char *name)
{
    const char *at =
        getenv("PATH"); // NOLINT(concurrency-mt-unsafe): nothing of Weir sets variables
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? name : NULL;
    for (at = at ? at : "/usr/bin:/bin"; *at;) {
        size_t n = strcspn(at, ":");
        const char *path = place_text(h, "%.*s/%s", (int)n, at, name);
        if (n && place_is_file(path) && access(path, X_OK) == 0)
            return path;
        at += n + (at[n] == ':');
    }
    return NULL;
}
