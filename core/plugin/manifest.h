/* plugin/manifest.h: the rules that a manifest must keep, in the file and once it is loaded. */
#pragma once
#include "base/error.h"
#include "plugin/plugin.h"

enum {
    MANIFEST_COMPONENTS_MAX = 256, /* of one plugin */
    MANIFEST_OPTIONS_MAX = 512,    /* of one table */
};

/* The manifest's own numbers: ABI first, since with another major nothing else can be trusted. */
int manifest_check(const char *path, const weir_manifest *m, struct error *e);
/* Which callbacks a component has decides its role: 0, or -1 if it has none or several. `c` may have
 * come from a file: only its callbacks are compared with NULL. */
int manifest_role(const char *path, const char *name, const weir_component *c,
                  enum plugin_role *role, struct error *e);
int manifest_name(const char *path, const char *name, struct error *e);
const char *manifest_role_name(enum plugin_role role);
/* A loaded component: flags, options with the tables within them, ports, offers. */
int manifest_check_component(const char *path, const weir_manifest *m, const weir_component *c,
                             struct error *e);
