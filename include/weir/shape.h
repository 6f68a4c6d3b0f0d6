/* weir/shape.h: input paths and input transformers, the shaping language (service weir.shape/1).
 *
 * Offered by the host, so a plugin has it in check as well. A shape is compiled once and lives
 * until stop (made in check: until check returns); then any worker may apply it. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_shapes weir_shapes;
#define WEIR_SHAPE weir_shapes, "weir.shape/1", envelope

typedef struct weir_shape weir_shape; /* opaque */

struct weir_shapes {
    weir_service base;
    /* `path`: "$.detail.user", or NULL. `paths`: names to paths, and `text`: the template; both
     * together, or count 0 and NULL. What is wrong is refused at its option (h->refuse): CONFIG. */
    weir_status (*compile)(const weir_shapes *s, const char *const *path, const weir_pairs *paths,
                           const char *const *text, weir_shape **shape);
    /* The shaped event as JSON text, a payload of yours; NULL past the memory limit. `rule` fills
     * <aws.events.rule-name> and <aws.events.rule-arn>. */
    weir_payload *(*apply)(const weir_shapes *s, const weir_shape *shape, const weir_event *ev,
                           const char *rule);
    /* The event as EventBridge's envelope: version, id, detail-type, source, account, time, region,
     * resources, detail. A payload of yours; NULL past the memory limit. */
    weir_payload *(*envelope)(const weir_shapes *s, const weir_event *ev);
    /* A shape that makes the same of every event: the JSON at `json`, an option; of a JSON string the
     * JSON text in it, as EventBridge's Input. What is wrong is refused: CONFIG. */
    weir_status (*constant)(const weir_shapes *s, const weir_json *json, weir_shape **shape);
};
