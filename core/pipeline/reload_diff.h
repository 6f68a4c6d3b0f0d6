/* pipeline/reload_diff.h: what is another in a new pipeline file. */
#pragma once
#include "pipeline/pipeline.h"

enum change_kind {
    CHANGE_NONE,
    CHANGE_AROUND,   /* the instance stays; what the core gives it, and who it reads, is another */
    CHANGE_INSTANCE, /* a new one takes its place */
    CHANGE_ADDED,
};

struct change { /* of one stage of the new file */
    struct plan_stage *plan;
    struct stage *before; /* NULL: added */
    enum change_kind kind;
};

static inline bool change_is_kept(const struct change *c)
{
    return c->kind <= CHANGE_AROUND;
}
/* One for each stage of the plan, in its order. */
struct change *reload_diff(const struct pipeline *p, const struct plan *plan);
/* What a reload cannot change is told as diagnostics of the plan's document; false: there is some. */
bool reload_diff_settings(const struct pipeline *p, const struct plan *plan);
