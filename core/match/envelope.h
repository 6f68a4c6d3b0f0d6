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
    ENVELOPE_REPLAY_NAME, /* of an event that a replay brings; else it is left out */
    ENVELOPE_RESOURCES,
    ENVELOPE_DETAIL,
    ENVELOPE_MEMBERS
};
extern const char *const envelope_names[ENVELOPE_MEMBERS];

weir_str envelope_text(weir_str s); /* the same, but never NULL */
weir_str envelope_resources(const weir_event *ev);
/* The replay that brings the event again: the attribute of this name; ptr NULL: it comes for the first
 * time. */
#define ENVELOPE_REPLAY "replay-name"
weir_str envelope_replay(const weir_event *ev);
static inline bool envelope_has(const weir_event *ev, enum envelope_member member)
{
    return member != ENVELOPE_REPLAY_NAME || envelope_replay(ev).ptr;
}
/* The value of one member as JSON. */
void envelope_write(const struct match_env *env, const weir_event *ev, enum envelope_member member,
                    struct buf *out);
