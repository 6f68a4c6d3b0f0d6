/* aws/ini.h: the shared configuration files of the SDKs: sections, values, and one level below a value. */
#pragma once
#include <weir/plugin.h>

enum { INI_FILE_MAX = 1 << 20 };

/* The value of `key` in [section]; with `sub` the value of `sub` in the indented lines below `key`. The last
 * one counts, as in the SDKs; a view into `text`; ptr NULL: absent. Keys are found in any case. */
weir_str ini_find(weir_str text, const char *section, const char *key, const char *sub);
bool ini_has(weir_str text, const char *section);
/* In ~/.aws/config a profile's section is [profile NAME], and [default] for the default one. */
void ini_profile(const char *profile, bool is_config, char *section, size_t size);
