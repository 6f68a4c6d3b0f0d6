/* match/verdict.c: from true conditions to rules, by way of the rarest condition of each. */
#include "match/run.h"

static bool but_holds(const struct match_ctx *c, const struct set_cond *cond)
{
    const struct run_field *field = &c->fields[cond->field];
    if (field->event != c->event)
        return false;
    for (uint32_t i = 0; i < cond->but_count; i++) {
        const struct run_but *but = &c->buts[cond->first_but + i];
        if (but->event != c->event || but->vetoes < field->values)
            return true;
    }
    return false;
}

/* Where values lie in arrays, more is taken for true here than there is; frames_agree decides. */
static bool cond_holds(const struct match_ctx *c, uint32_t id)
{
    const struct set_cond *cond = &c->set->conds[id];
    if (c->conds[id].event == c->event)
        return true;
    if (cond->is_positive)
        return false;
    if (cond->but_count && but_holds(c, cond))
        return true;
    const struct run_field *field = &c->fields[cond->field];
    return cond->takes_absent && (field->event != c->event || (field->has_framed && cond->tests));
}

static bool needs_frames(const struct match_ctx *c, const struct set_sub *sub)
{
    size_t framed = 0;
    for (uint32_t i = 0; i < sub->cond_count; i++) {
        const struct set_cond *cond = &c->set->conds[c->set->sub_conds[sub->first_cond + i]];
        const struct run_field *field = &c->fields[cond->field];
        bool is_framed = field->event == c->event && field->has_framed && cond->tests;
        if (is_framed && cond->takes_absent)
            return true;
        framed += is_framed;
    }
    return framed > 1;
}

static void try_sub(struct match_ctx *c, uint32_t number)
{
    const struct match_set *s = c->set;
    const struct set_sub *sub = &s->subs[number];
    if (c->rules[sub->rule] == c->event)
        return;
    for (uint32_t i = 0; i < sub->cond_count; i++)
        if (!cond_holds(c, s->sub_conds[sub->first_cond + i]))
            return;
    bool is_framed = c->frames_count > 1 && needs_frames(c, sub);
    if (is_framed && !frames_agree(c, sub))
        return;
    c->rules[sub->rule] = c->event;
    c->hits[c->hit_count++] = sub->rule;
}

static void try_pairs(struct match_ctx *c, uint32_t access, uint32_t field)
{
    const struct match_set *s = c->set;
    if (c->fields[field].event != c->event)
        return;
    for (uint32_t second = c->fields[field].first_true; second != SET_NONE;
         second = c->conds[second].next_true) {
        uint64_t key = set_pair_key(access, second);
        size_t at = set_mix(key) & s->pair_mask;
        while (s->pairs[at].sub != SET_NONE && s->pairs[at].key != key)
            at = (at + 1) & s->pair_mask;
        for (uint32_t sub = s->pairs[at].sub; sub != SET_NONE; sub = s->subs[sub].next_pair)
            try_sub(c, sub);
    }
}

static void sift(uint32_t *list, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && list[child + 1] > list[child])
            child++;
        if (list[at] >= list[child])
            return;
        uint32_t swap = list[at];
        list[at] = list[child], list[child] = swap;
    }
}

static void sort(struct match_ctx *c)
{
    uint32_t *list = c->hits;
    size_t n = c->hit_count;
    if (n > 64 && n > c->set->rules_count / 16) {
        n = 0;
        for (uint32_t i = 0; i < c->set->rules_count; i++)
            if (c->rules[i] == c->event)
                list[n++] = i;
        return;
    }
    for (size_t i = n / 2; n > 32 && i--;)
        sift(list, i, n);
    for (; n > 32; n--) {
        uint32_t swap = list[0];
        list[0] = list[n - 1], list[n - 1] = swap;
        sift(list, 0, n - 1);
    }
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k && list[k - 1] > list[k]; k--) {
            uint32_t swap = list[k];
            list[k] = list[k - 1], list[k - 1] = swap;
        }
}

void verdict_collect(struct match_ctx *c)
{
    const struct match_set *s = c->set;
    for (size_t i = 0; i < c->active_cond_count; i++) {
        uint32_t id = c->active_conds[i];
        const struct set_cond *cond = &s->conds[id];
        for (uint32_t g = 0; g < cond->group_count; g++) {
            const struct set_group *group = &s->groups[cond->first_group + g];
            if (group->is_paired)
                try_pairs(c, id, group->field);
            for (uint32_t k = 0; !group->is_paired && k < group->count; k++)
                try_sub(c, s->group_subs[group->first + k]);
        }
    }
    for (size_t i = 0; i < c->active_field_count; i++) {
        const struct set_field *field = &s->fields[c->active_fields[i]];
        for (uint32_t k = 0; k < field->sub_count; k++)
            try_sub(c, s->lazy_subs[field->first_sub + k]);
    }
    for (uint32_t k = 0; k < s->always_count; k++)
        try_sub(c, s->lazy_subs[s->always_first + k]);
    if (c->hit_count > 1)
        sort(c);
}
