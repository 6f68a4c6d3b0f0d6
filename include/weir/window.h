/* weir/window.h: keys that came within a window of time (service weir.window/1).
 *
 * Offered by the host. A key is claimed for an event, and is recorded on disk together with what the
 * event becomes: in the same step that makes it safe in all that it goes to, or, where that takes
 * several steps, in one of its own after them and before its source is told. So a key on disk means an
 * event that is not lost; and after a crash an event that was safe may be without its key only where
 * its source was not told yet. An event that fails gives its key back. Inside a callback. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_windows weir_windows;
#define WEIR_WINDOW weir_windows, "weir.window/1", count

typedef struct weir_window weir_window; /* opaque; until stop */
typedef struct weir_claim weir_claim;   /* of one key; gone with attach or release */

typedef struct weir_window_settings {
    size_t size;
    weir_duration keep; /* how long a key is known */
    uint64_t keys_max;  /* of more the oldest are forgotten; 48 bytes each */
} weir_window_settings;

typedef struct weir_window_found { /* filled by the host */
    size_t size;
    weir_claim *claim; /* OK: yours */
    weir_id id;        /* DROP, PENDING: of the event that has the key */
    bool is_same;      /* and whether it came with the same content */
} weir_window_found;

struct weir_windows {
    weir_service base;

    /* In start. The name is the instance's own; keys are found again by it after a restart. */
    weir_status (*open)(const weir_windows *s, const char *name,
                        const weir_window_settings *settings, weir_window **window);
    /* OK: nobody had it within the window, and nobody else gets it meanwhile. DROP: it is recorded.
     * PENDING: claimed for an event whose fate is open; a transform answers RETRY to that, and is asked
     * again soon: it is no attempt, as for want of memory. Of `content` a hash is kept. */
    weir_status (*claim)(const weir_windows *s, weir_window *window, weir_str key, weir_str content,
                         weir_window_found *found);
    void (*attach)(const weir_windows *s, weir_claim *take, const weir_event *ev);
    void (*release)(const weir_windows *s, weir_claim *take);
    uint64_t (*count)(const weir_windows *s, const weir_window *window); /* keys that are known */
};
