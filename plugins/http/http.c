/* http/http.c: the manifest of the http plugin. */
#include "http.h"

WEIR_PLUGIN(&http_source, &http_sink);
