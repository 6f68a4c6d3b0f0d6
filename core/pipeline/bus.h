/* pipeline/bus.h: the rules of event buses: switched on and off, told in dead letters, and where replays
 * go. */
#pragma once
#include "pipeline/pipeline.h"

/* The ARN of the rule whose port the stage reads, appended; false: it reads none, or several. */
bool bus_rule_arn(struct pipeline *p, const struct stage *s, struct buf *out);

/* Does the rule of that number of the stage take events? True where the stage is no bus. */
bool bus_takes(struct pipeline *p, const struct stage *s, size_t rule);

/* "bus.large" takes events, or takes none, from now on, also after a restart: until it is switched again,
 * or the pipeline file comes to say the same. p NULL: of a stopped pipeline. Waits for the disk. */
int bus_switch(struct journal *j, struct pipeline *p, const char *rule, bool is_enabled,
               struct error *e);
void bus_tick(struct pipeline *p); /* main thread, now and then: archives keep to their limits */
void bus_list(struct pipeline *p,
              struct buf *out); /* JSON: [{"rule":"bus.large","enabled":true}] */

/* Of replays. The bus that keeps the archive: its stage's name (to be freed); `wanted` NULL: any. */
char *bus_of_archive(struct pipeline *p, const char *archive, const char *wanted, struct error *e);
int bus_check_rules(struct pipeline *p, const char *bus, char *const *rules, size_t n,
                    struct error *e);
bool bus_rule_is_on(struct pipeline *p, const char *bus, const char *rule);
bool bus_is_switched_on(struct journal *j,
                        const char *rule); /* "bus.large" of a stopped pipeline */
struct stage *bus_stage(struct pipeline *p, const char *bus); /* NULL: it is not in the file now */
/* On a worker: a stage that events come to by these rules (n 0: by any way) and that is full, or has so
 * many before it; NULL: none. */
const struct stage *bus_reader_behind(struct pipeline *p, const struct stage *bus,
                                      char *const *rules, size_t n, int64_t waiting_max);
