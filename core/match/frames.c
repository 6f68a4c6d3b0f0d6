/* match/frames.c: values of different paths must come from the same element of an array they share.
 *
 * A frame is one element, itself an array or an object, of an array; frame 0 is the event. Two values
 * conflict if, where the ways to their frames part, they part in elements of the same array. Below a
 * frame a path leads through one array only, unless names with dots lead there by two ways; so the
 * paths fall into groups by array, and each group needs one element that holds all of it. That takes
 * one visit to each frame. Names with dots, and `exists: false`, which depends on the values chosen
 * for the paths before it, are decided by trying, where nothing that failed is tried twice. Names with
 * dots can still make that long: after RUN_STEPS_MAX steps an event has no more matches of this kind. */
#include "match/run.h"

enum { GROUP_CONDS_MAX = 64 };

static bool conflict(const struct match_ctx *c, uint32_t a, uint32_t b)
{
    const struct run_frame *f = c->frames;
    uint32_t below_a = a, below_b = b;
    while (f[a].depth > f[b].depth)
        a = f[a].parent;
    while (f[b].depth > f[a].depth)
        b = f[b].parent;
    if (a == b)
        return false;
    for (; a != b; a = f[a].parent, b = f[b].parent)
        below_a = a, below_b = b;
    return f[below_a].array == f[below_b].array;
}

/* ---- by trying ---------------------------------------------------------------------------------- */

struct choice {
    const struct choice *before;
    uint32_t frame;
};

static bool fits(const struct match_ctx *c, const struct choice *chosen, uint32_t frame)
{
    for (; chosen; chosen = chosen->before)
        if (conflict(c, chosen->frame, frame))
            return false;
    return true;
}

/* Which values of its field a condition that is not positive is true for. */
static void test_values(struct match_ctx *c, uint32_t id)
{
    const struct set_cond *cond = &c->set->conds[id];
    const struct run_field *field = &c->fields[cond->field];
    uint32_t first = field->event == c->event ? field->first_value : SET_NONE;
    for (uint32_t i = first; i != SET_NONE; i = c->values[i].next)
        c->values[i].is_true = false, c->values[i].vetoes = 0;
    const struct run_cond *state = run_cond_of(c, id);
    uint32_t mark = state ? state->first_mark : SET_NONE;
    for (; mark != SET_NONE; mark = c->marks[mark].next)
        c->values[c->marks[mark].number].is_true = true;
    for (uint32_t b = 0; b < cond->but_count; b++) {
        const struct run_but *but = run_but_of(c, cond->first_but + b);
        mark = but ? but->first_mark : SET_NONE;
        for (; mark != SET_NONE; mark = c->marks[mark].next)
            c->values[c->marks[mark].number].vetoes++;
    }
    for (uint32_t i = first; i != SET_NONE; i = c->values[i].next)
        c->values[i].is_true |= c->values[i].vetoes < cond->but_count;
}

static void test_all(struct match_ctx *c, const struct set_sub *sub)
{
    for (uint32_t i = 0; i < sub->count; i++) {
        const struct set_cond *cond = &c->set->conds[sub->conds[i]];
        if (cond->is_joined && !cond->is_positive)
            test_values(c, sub->conds[i]);
    }
}

/* Is `node` the one that stands at the end of the way to `below`, or on it? */
static bool is_on_way(const struct match_set *s, uint32_t node, uint32_t below)
{
    while (s->nodes[below].depth > s->nodes[node].depth)
        below = s->nodes[below].parent;
    return below == node;
}

/* The deepest element chosen so far that lies on the way to the field. As paths are sorted, no other
 * matters to the field or those behind it; and without names with dots all of these lie in each other. */
static uint32_t bound_of(const struct match_ctx *c, uint32_t node, const struct choice *chosen)
{
    uint32_t best = 0;
    for (; chosen; chosen = chosen->before)
        for (uint32_t f = chosen->frame; c->frames[f].depth > c->frames[best].depth;) {
            if (is_on_way(c->set, c->frames[f].node, node))
                best = f;
            else
                f = c->frames[f].parent;
        }
    return best;
}

static bool choose(struct match_ctx *c, const struct set_sub *sub, uint32_t at,
                   const struct choice *chosen);

/* Of a condition that only values make true: these are marked. */
static bool choose_mark(struct match_ctx *c, const struct set_sub *sub, uint32_t at,
                        const struct choice *chosen)
{
    const struct run_cond *cond = run_cond_of(c, sub->conds[at]);
    for (uint32_t i = cond ? cond->first_mark : SET_NONE; i != SET_NONE; i = c->marks[i].next) {
        uint32_t frame = c->marks[i].number;
        if (c->steps++ > RUN_STEPS_MAX)
            return false;
        const struct choice next = {chosen, frame};
        if (fits(c, chosen, frame) && choose(c, sub, at + 1, frame ? &next : chosen))
            return true;
    }
    return false;
}

static bool choose_value(struct match_ctx *c, const struct set_sub *sub, uint32_t at,
                         const struct choice *chosen)
{
    const struct set_cond *cond = &c->set->conds[sub->conds[at]];
    const struct run_field *field = &c->fields[cond->field];
    bool is_there = false;
    uint32_t tried = SET_NONE;
    if (cond->is_positive)
        return choose_mark(c, sub, at, chosen);
    for (uint32_t i = field->event == c->event ? field->first_value : SET_NONE; i != SET_NONE;
         i = c->values[i].next) {
        const struct run_value *v = &c->values[i];
        if (c->steps++ > RUN_STEPS_MAX)
            return false;
        if (!fits(c, chosen, v->frame))
            continue;
        is_there = true;
        if (v->frame == tried || !v->is_true)
            continue;
        tried = v->frame;
        const struct choice next = {chosen, v->frame};
        if (choose(c, sub, at + 1, v->frame ? &next : chosen))
            return true;
    }
    return !is_there && cond->takes_absent && choose(c, sub, at + 1, chosen);
}

/* What failed once with the same element in hand is not tried again: steps grow with conditions, elements
 * and values, not with the choices of all of them. */
static bool choose(struct match_ctx *c, const struct set_sub *sub, uint32_t at,
                   const struct choice *chosen)
{
    if (at == sub->count)
        return true;
    const struct set_cond *cond = &c->set->conds[sub->conds[at]];
    const struct set_field *field = &c->set->fields[cond->field];
    /* One that no sub joins with another field was tested already. */
    if (!cond->is_joined)
        return choose(c, sub, at + 1, chosen);
    if (c->has_dotted || at >= GROUP_CONDS_MAX)
        return choose_value(c, sub, at, chosen);
    uint32_t bound = bound_of(c, field->node, chosen);
    uint64_t bit = (uint64_t)1 << at;
    if (c->masks[bound].own & bit)
        return false;
    bool is_found = choose_value(c, sub, at, chosen);
    if (!is_found)
        c->masks[bound].own |= bit;
    return is_found;
}

/* ---- by groups --------------------------------------------------------------------------------- */

static void mark_values(struct match_ctx *c, uint32_t id, uint64_t bit)
{
    const struct set_cond *cond = &c->set->conds[id];
    const struct run_cond *state = cond->is_positive ? run_cond_of(c, id) : NULL;
    for (uint32_t i = state ? state->first_mark : SET_NONE; i != SET_NONE; i = c->marks[i].next)
        c->masks[c->marks[i].number].own |= bit;
    if (cond->is_positive)
        return;
    for (uint32_t i = c->fields[cond->field].first_value; i != SET_NONE; i = c->values[i].next) {
        const struct run_value *v = &c->values[i];
        if (v->is_true)
            c->masks[v->frame].own |= bit;
    }
}

static void clear_masks(struct match_ctx *c)
{
    c->masks_count = 0;
    for (size_t i = 0; i < c->frames_count; i++)
        SET_PUSH(c, masks) = (struct run_mask){0, 0, SET_NONE, SET_NONE};
}

/* The bits of all conditions that have to be found in frames. */
static uint64_t mark_all(struct match_ctx *c, const struct set_sub *sub)
{
    uint64_t all = 0;
    clear_masks(c);
    for (uint32_t i = 0; i < sub->count; i++) {
        const struct set_cond *cond = &c->set->conds[sub->conds[i]];
        if (!cond->is_joined)
            continue; /* joined with no other field: it was tested already */
        all |= (uint64_t)1 << i;
        mark_values(c, sub->conds[i], (uint64_t)1 << i);
    }
    for (uint32_t i = (uint32_t)c->frames_count; i--;) {
        struct run_mask *m = &c->masks[i], *parent = &c->masks[c->frames[i].parent];
        m->below |= m->own;
        if (i)
            parent->below |= m->below, m->next = parent->first_child, parent->first_child = i;
    }
    return all;
}

/* The elements of one array follow each other among the children of a frame. */
static uint32_t next_array(const struct match_ctx *c, uint32_t child, uint64_t *below)
{
    uint32_t array = c->frames[child].array;
    *below = 0;
    for (; child != SET_NONE && c->frames[child].array == array; child = c->masks[child].next)
        *below |= c->masks[child].below;
    return child;
}

static bool solve(const struct match_ctx *c, uint32_t frame, uint64_t need, bool *is_unsure);

static bool solve_array(const struct match_ctx *c, uint32_t from, uint32_t to, uint64_t need,
                        bool *is_unsure)
{
    for (; from != to; from = c->masks[from].next)
        if ((c->masks[from].below & need) == need && solve(c, from, need, is_unsure))
            return true;
    return need == 0;
}

static bool solve(const struct match_ctx *c, uint32_t frame, uint64_t need, bool *is_unsure)
{
    uint64_t seen = 0, below;
    need &= ~c->masks[frame].own;
    if ((c->masks[frame].below & need) != need)
        return false;
    for (uint32_t at = c->masks[frame].first_child; need && at != SET_NONE;) {
        at = next_array(c, at, &below);
        *is_unsure |= (seen & below & need) != 0;
        seen |= below;
    }
    for (uint32_t at = c->masks[frame].first_child, to; need && at != SET_NONE; at = to) {
        to = next_array(c, at, &below);
        if (!solve_array(c, at, to, below & need, is_unsure))
            return false;
    }
    return true;
}

static bool takes_absent(const struct match_ctx *c, const struct set_sub *sub)
{
    for (uint32_t i = 0; i < sub->count; i++)
        if (c->set->conds[sub->conds[i]].takes_absent)
            return true;
    return false;
}

bool frames_agree(struct match_ctx *c, const struct set_sub *sub)
{
    test_all(c, sub);
    bool is_unsure = c->has_dotted || sub->count > GROUP_CONDS_MAX || takes_absent(c, sub);
    if (!is_unsure) {
        uint64_t all = mark_all(c, sub);
        bool is_solved = solve(c, 0, all, &is_unsure);
        if (!is_unsure)
            return is_solved;
    }
    clear_masks(c);
    return choose(c, sub, 0, NULL);
}
