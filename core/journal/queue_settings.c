/* journal/queue_settings.c: what several say of one queue, held against each other. */
#include <string.h>

#include "journal/queue_state.h"

static bool is_said(const char *text)
{
    return text && *text;
}

static bool is_other(const char *a, const char *b)
{
    return is_said(a) && is_said(b) && strcmp(a, b) != 0;
}

const char *queue_settings_differ(const struct queue_settings *a, const struct queue_settings *b)
{
    if (a->visibility_ns && b->visibility_ns && a->visibility_ns != b->visibility_ns)
        return "visibility";
    if (a->retention_ns && b->retention_ns && a->retention_ns != b->retention_ns)
        return "retention";
    if (a->delay_ns && b->delay_ns && a->delay_ns != b->delay_ns)
        return "delay";
    if (a->receives_max && b->receives_max && a->receives_max != b->receives_max)
        return "receives_max";
    return is_other(a->dead_letters, b->dead_letters) ? "dead-letter queue" : NULL;
}

void queue_settings_join(struct queue_settings *into, const struct queue_settings *more)
{
    if (!into->visibility_ns)
        into->visibility_ns = more->visibility_ns;
    if (!into->retention_ns)
        into->retention_ns = more->retention_ns;
    if (!into->delay_ns)
        into->delay_ns = more->delay_ns;
    if (!into->receives_max)
        into->receives_max = more->receives_max;
    if (!is_said(into->dead_letters))
        into->dead_letters = more->dead_letters;
}

bool queue_settings_are_same(const struct queue_settings *a, const struct queue_settings *b)
{
    int64_t visibility_ns = b->visibility_ns ? b->visibility_ns : QUEUE_VISIBILITY_NS;
    int64_t retention_ns = b->retention_ns ? b->retention_ns : QUEUE_RETENTION_NS;
    const char *x = is_said(a->dead_letters) ? a->dead_letters : "";
    const char *y = is_said(b->dead_letters) ? b->dead_letters : "";
    return a->visibility_ns == visibility_ns && a->retention_ns == retention_ns &&
           a->delay_ns == b->delay_ns && a->receives_max == b->receives_max && strcmp(x, y) == 0;
}
