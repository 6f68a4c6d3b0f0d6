/* pipeline/bus.h: the rules of event buses: switched on and off, and told in dead letters. */
#pragma once
#include "pipeline/pipeline.h"

/* The ARN of the rule whose port the stage reads, appended; false: it reads none, or several. */
bool bus_rule_arn(struct pipeline *p, const struct stage *s, struct buf *out);

/* "bus.large" takes events, or takes none, from now on, also after a restart: until it is switched again,
 * or the pipeline file comes to say the same. p NULL: of a stopped pipeline. Waits for the disk. */
int bus_switch(struct journal *j, struct pipeline *p, const char *rule, bool is_enabled,
               struct error *e);
void bus_tick(struct pipeline *p); /* main thread, now and then: archives keep to their limits */
void bus_list(struct pipeline *p,
              struct buf *out); /* JSON: [{"rule":"bus.large","enabled":true}] */
