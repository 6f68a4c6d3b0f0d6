/* weir/bus.h: what the core knows of the rules of an event bus (service weir.bus/1).
 *
 * Offered by the host. Rules are switched on and off while the runner runs, and what fails at a stage
 * that reads a rule's port says by which rule it came. An archive keeps copies of events, which a replay
 * brings again. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_buses weir_buses;
#define WEIR_BUS weir_buses, "weir.bus/1", replays_to

typedef struct weir_bus weir_bus;         /* opaque */
typedef struct weir_archive weir_archive; /* opaque */

typedef struct weir_bus_rule {
    const char *name;
    bool is_enabled; /* as the pipeline file says */
} weir_bus_rule;     /* frozen */

enum { WEIR_LIVE, WEIR_REPLAYED, WEIR_REPLAYED_TO_SOME };

struct weir_buses {
    weir_service base;
    /* In start: the rules of this instance; rule i is port first_port + i. Until stop. */
    weir_bus *(*open)(const weir_buses *s, const weir_bus_rule *rules, size_t count,
                      uint32_t first_port);
    /* Any thread: whether the rule takes events now. */
    bool (*is_enabled)(const weir_buses *s, const weir_bus *bus, uint32_t rule);
    /* In start: the archive of this name, found or made. retention 0: for ever; size 0: no limit. NULL: it
     * cannot be had, and was told: CONFIG. */
    weir_archive *(*archive)(const weir_buses *s, const char *name, weir_duration retention,
                             weir_size size);
    /* In batch: a copy for the archive, on disk before the event's source is told that it is safe. */
    void (*store)(const weir_buses *s, weir_archive *a, const weir_event *ev);
    /* In batch: WEIR_LIVE, or a replay brings the event from an archive: then it is not stored again.
     * WEIR_REPLAYED_TO_SOME: it goes to the rules that replays_to says, and nowhere else. */
    int (*replayed)(const weir_buses *s, const weir_event *ev);
    bool (*replays_to)(const weir_buses *s, const weir_bus *bus, const weir_event *ev,
                       uint32_t rule);
};
