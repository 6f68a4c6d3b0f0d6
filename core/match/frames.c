/* match/frames.c: values of different paths must come from the same element of an array they share. */
#include "json/json.h"
#include "match/run.h"

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

static bool value_holds(struct match_ctx *c, const struct pattern_list *list,
                        const struct run_value *v)
{
    weir_str text = v->token;
    if (v->kind == WEIR_JSON_TEXT && !v->is_bare)
        text = scan_text(c, v->token);
    return pattern_list_holds(list, v->kind, text);
}

static bool choose(struct match_ctx *c, const struct set_sub *sub, uint32_t at,
                   const struct choice *chosen)
{
    if (at == sub->cond_count)
        return true;
    const struct set_cond *cond = &c->set->conds[c->set->sub_conds[sub->first_cond + at]];
    const struct run_field *field = &c->fields[cond->field];
    bool is_there = false;
    uint32_t tried = SET_NONE;
    /* A field that no other is joined with kept no values: its condition was tested already. */
    if (!c->set->fields[cond->field].is_joined)
        return choose(c, sub, at + 1, chosen);
    for (uint32_t i = field->event == c->event ? field->first_value : SET_NONE; i != SET_NONE;
         i = c->values[i].next) {
        const struct run_value *v = &c->values[i];
        if (!fits(c, chosen, v->frame))
            continue;
        is_there = true;
        if (v->frame == tried || !value_holds(c, cond->list, v))
            continue;
        tried = v->frame;
        const struct choice next = {chosen, v->frame};
        if (choose(c, sub, at + 1, v->frame ? &next : chosen))
            return true;
    }
    return !is_there && cond->takes_absent && choose(c, sub, at + 1, chosen);
}

bool frames_agree(struct match_ctx *c, const struct set_sub *sub)
{
    return choose(c, sub, 0, NULL);
}
