/* file/file.c: the manifest of the file plugin. */
#include "file.h"

WEIR_PLUGIN(&file_source, &file_sink);
