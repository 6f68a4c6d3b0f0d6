/* match/envelope.h: the members of the envelope, in EventBridge's order. */
#pragma once
#include "match/match.h"

enum envelope_member {
    ENVELOPE_VERSION,
    ENVELOPE_ID,
    ENVELOPE_DETAIL_TYPE,
    ENVELOPE_SOURCE,
    ENVELOPE_ACCOUNT,
    ENVELOPE_TIME,
    ENVELOPE_REGION,
    ENVELOPE_RESOURCES,
    ENVELOPE_DETAIL,
    ENVELOPE_MEMBERS
};
extern const char *const envelope_names[ENVELOPE_MEMBERS];

weir_str envelope_text(weir_str s); /* the same, but never NULL */
weir_str envelope_resources(const weir_event *ev);
/* The value of one member as JSON. */
void envelope_write(const struct match_env *env, const weir_event *ev, enum envelope_member member,
                    struct buf *out);
