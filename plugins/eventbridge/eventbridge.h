/* eventbridge/eventbridge.h: the components of this plugin. */
#pragma once
#include <weir/plugin.h>

extern const weir_component eventbridge_sink;
