/* match/verdict.c: from true conditions to rules, by way of the rarest condition of each. */
#include "match/run.h"

static bool but_holds(const struct match_ctx *c, const struct set_cond *cond)
{
    const struct run_field *field = &c->fields[cond->field];
    if (field->event != c->event)
        return false;
    for (uint32_t i = 0; i < cond->but_count; i++) {
        const struct run_but *but = run_but_of(c, cond->first_but + i);
        if (!but || but->vetoes < field->values)
            return true;
    }
    return false;
}

/* Where values lie in arrays, more is taken for true here than there is; frames_agree decides. */
static bool cond_holds(const struct match_ctx *c, uint32_t id)
{
    const struct set_cond *cond = &c->set->conds[id];
    if (run_get(&c->conds_table, id) != SET_NONE)
        return true;
    if (cond->is_positive)
        return false;
    if (cond->but_count && but_holds(c, cond))
        return true;
    const struct run_field *field = &c->fields[cond->field];
    return cond->takes_absent &&
           (field->event != c->event || (field->has_framed && cond->is_joined));
}

static bool needs_frames(const struct match_ctx *c, const struct set_sub *sub)
{
    size_t framed = 0;
    for (uint32_t i = 0; i < sub->count; i++) {
        const struct set_cond *cond = &c->set->conds[sub->conds[i]];
        const struct run_field *field = &c->fields[cond->field];
        bool is_framed = field->event == c->event && field->has_framed && cond->is_joined;
        if (is_framed && cond->takes_absent)
            return true;
        framed += is_framed;
    }
    return framed > 1;
}

/* The next of its group. */
static uint32_t try_sub(struct match_ctx *c, uint32_t number, uint32_t access)
{
    const struct set_sub *sub = set_sub_at(c->set, number);
    for (uint32_t i = 0; i < sub->count; i++)
        if (sub->conds[i] != access && !cond_holds(c, sub->conds[i]))
            return sub->next;
    if (c->rules[sub->rule] == c->event)
        return sub->next;
    bool is_framed = c->frames_count > 1 && needs_frames(c, sub);
    if (is_framed && !frames_agree(c, sub))
        return sub->next;
    c->rules[sub->rule] = c->event;
    c->hits[c->hit_count++] = sub->rule;
    return sub->next;
}

static void try_subs(struct match_ctx *c, uint32_t head, uint32_t access)
{
    while (head != SET_NONE)
        head = try_sub(c, head, access);
}

static void try_pairs(struct match_ctx *c, uint32_t access, uint32_t field)
{
    const struct match_set *s = c->set;
    if (c->fields[field].event != c->event)
        return;
    for (uint32_t i = c->fields[field].first_true; i != SET_NONE; i = c->conds[i].next_true) {
        uint32_t second = c->conds[i].number;
        size_t at = set_pair_hash(access, second) & s->pair_mask;
        while (s->pairs[at].sub != SET_NONE &&
               (s->pairs[at].access != access || s->pairs[at].second != second))
            at = (at + 1) & s->pair_mask;
        try_subs(c, s->pairs[at].sub, access);
    }
}

static void try_cond(struct match_ctx *c, uint32_t id, uint32_t to)
{
    const struct match_set *s = c->set;
    uint32_t number = set_ref_number(to);
    if (to >> SET_NUMBER_BITS == SET_TO_SUB) {
        (void)try_sub(c, number, id);
        return;
    }
    while (number != SET_NONE) {
        const struct set_group *group = &s->groups[number];
        if (group->field != SET_NONE)
            try_pairs(c, id, group->field);
        else
            try_subs(c, group->first, id);
        number = group->next;
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
    if (n > 64 && n > c->set->rules_count / 16 && !c->set->outside) {
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

/* As rules are numbered outside, without those that were removed. */
static void number_hits(struct match_ctx *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->hit_count; i++) {
        uint32_t number = c->set->outside[c->hits[i]];
        if (number != SET_NONE)
            c->hits[n++] = number;
    }
    c->hit_count = n;
}

void verdict_collect(struct match_ctx *c)
{
    const struct match_set *s = c->set;
    for (size_t i = 0; i < c->conds_count; i++)
        if (c->conds[i].to != SET_NONE)
            try_cond(c, c->conds[i].number, c->conds[i].to);
    for (size_t i = 0; i < c->active_field_count; i++)
        try_subs(c, s->fields[c->active_fields[i]].subs, SET_NONE);
    try_subs(c, s->always, SET_NONE);
    if (s->outside)
        number_hits(c);
    if (c->hit_count > 1)
        sort(c);
}
