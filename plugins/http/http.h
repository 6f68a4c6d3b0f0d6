/* http/http.h: the two components of the http plugin. */
#pragma once
#include <weir/plugin.h>

extern const weir_component http_sink, http_source;
