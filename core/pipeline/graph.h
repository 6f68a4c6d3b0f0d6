/* pipeline/graph.h: stages and edges made from a plan. */
#pragma once
#include "pipeline/pipeline.h"

int graph_build(struct pipeline *p, struct error *e); /* stages, lanes, inlets, ports, edges */
void graph_free(struct pipeline *p);
/* The parts of graph_build, for a graph that is changed while it runs. The new stage is appended to
 * p->stages; `before`: the one whose place it takes, or NULL. */
struct stage *graph_stage_new(struct pipeline *p, struct plan_stage *plan,
                              const struct stage *before, struct error *e);
void graph_stage_free(struct pipeline *p, struct stage *s);
/* Edges of all stages of p->stages, whose ports are empty; inlets for those that have none. */
int graph_connect(struct pipeline *p, struct error *e);
void graph_ports_free(const struct pipeline *p, struct port *ports, size_t count);
/* Of an event the search for elements of arrays was given up: counted and, a line a minute, told. */
void graph_match_cut(struct stage *s, const weir_id *id);
/* The order in which instances start: offerers before those that need them, then sinks, transforms,
 * sources. -1 with a ring's name. Services of components are filled in. */
int graph_order(struct pipeline *p, struct error *e);
