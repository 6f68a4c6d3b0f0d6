/* file/file.h: the two components of the file plugin. */
#pragma once
#include <weir/plugin.h>

extern const weir_component file_sink, file_source;
