/* plugin/plugin.h: shared objects: found, checked before anything of them is used, then loaded for good.
 *
 * The manifest is read from the ELF file itself, so that a file that must not be loaded is refused
 * before its constructors could run. Loaded with RTLD_NOW | RTLD_LOCAL, never unloaded. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

#include "base/error.h"

enum { PLUGIN_ABI_MINOR = 0 }; /* of this runner, beside WEIR_ABI_MAJOR */

struct plugins; /* the set of known plugins of this process */

/* `dirs` (ends with NULL): searched in order; then WEIR_PLUGIN_PATH (colon separated), then beside the
 * runner: <exe>/plugins and <exe>/../lib/weir/plugins. */
struct plugins *plugins_new(const char *const *dirs);
void plugins_free(struct plugins *p);

enum plugin_role { PLUGIN_SOURCE, PLUGIN_TRANSFORM, PLUGIN_SINK, PLUGIN_SERVICE };

/* Loads the plugin that offers the component, if it is not loaded. NULL with the reason in *e (exit 78):
 * not found, or found and refused: file, cause and remedy. */
const weir_component *plugins_find(struct plugins *p, const char *component, enum plugin_role role,
                                   struct error *e);
/* The component of the role service that offers this one; NULL: none, or the reason in *e. */
const weir_component *plugins_offerer(struct plugins *p, const char *service, struct error *e);
/* The commands that plugins add, with the components that they belong to. */
void plugins_each_command(struct plugins *p,
                          void (*fn)(void *user, const weir_component *c, const weir_command *k),
                          void *user);
const char *const *plugins_names(struct plugins *p, enum plugin_role role); /* ends with NULL */
const char *plugins_path(const struct plugins *p, const weir_component *c); /* its file */
/* Every component of every plugin; files that were refused: component NULL and the reason. */
void plugins_each(struct plugins *p,
                  void (*fn)(void *user, const char *path, const weir_component *c,
                             const char *refused),
                  void *user);
enum plugin_role plugin_role_of(const weir_component *c);

/* Checks one file without loading it; 0, or -1 with the reason: not an ELF file, another machine,
 * no manifest, other ABI major, newer wanted minor, bad sizes, writable by others. */
int plugin_check_file(const char *path, struct error *e);
