/* pipeline/graph.h: stages and edges made from a plan. */
#pragma once
#include "pipeline/pipeline.h"

int graph_build(struct pipeline *p, struct error *e); /* stages, lanes, inlets, ports, edges */
void graph_free(struct pipeline *p);
/* The order in which instances start: offerers before those that need them, then sinks, transforms,
 * sources. -1 with a ring's name. Services of components are filled in. */
int graph_order(struct pipeline *p, struct error *e);
