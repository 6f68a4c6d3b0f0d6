/* plugin/elf.h: what a shared object says of itself as a plugin, read without loading it. */
#pragma once
#include <stddef.h>

#include "base/error.h"
#include "plugin/plugin.h"

struct elf_component {
    char *name;
    enum plugin_role role;
    bool has_commands;
};

struct elf_plugin {
    weir_manifest
        manifest; /* its `components` is not a pointer of this process: do not follow it */
    struct elf_component *components;
    size_t count;
};

/* 0, or -1 with file, cause and remedy. Nothing in the file is trusted. */
int elf_read(const char *path, struct elf_plugin *plugin, struct error *e);
/* The same from bytes; `path` is for the message. */
int elf_read_bytes(const char *path, const void *bytes, size_t size, struct elf_plugin *plugin,
                   struct error *e);
void elf_fini(struct elf_plugin *plugin);
