/* file/file.c: the manifest of the file plugin. */
#include <stdio.h>

#include "file.h"

const char *file_place(const weir_host *h, const weir_services *pipeline, const char *path)
{
    if (*path == '/' || !pipeline->count)
        return path;
    const weir_pipeline *about = pipeline->items[0];
    size_t size = strlen(about->folder) + strlen(path) + 2;
    char *whole = h->keep(h, size);
    (void)snprintf(whole, size, "%s/%s", about->folder, path);
    return whole;
}

WEIR_PLUGIN(&file_source, &file_sink);
