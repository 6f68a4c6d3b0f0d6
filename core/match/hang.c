/* match/hang.c: each sub is hung on its rarest condition; where many share that, by a second one. */
#include <stdlib.h>

#include "match/set.h"

static inline const struct set_sub *build_sub(const uint32_t *b, size_t at)
{
    return (const void *)(b + at);
}

struct place { /* of a sub: its rarest condition, the next and its field; number: in the build */
    uint32_t access, field, second, number;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->access != y->access)
        return x->access < y->access ? -1 : 1;
    if (x->field != y->field)
        return x->field < y->field ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* The condition that the fewest subs use; not `other_than`. */
static uint32_t rarest(const struct match_set *s, const struct set_sub *sub, uint32_t other_than)
{
    uint32_t best = SET_NONE;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < sub->count; i++) {
        uint32_t c = sub->conds[i];
        uint64_t cost = (uint64_t)s->sources[c].use_count * s->sources[c].weight;
        if (c != other_than && s->conds[c].is_positive && cost < least)
            best = c, least = cost;
    }
    return best;
}

static struct place place_of(const struct match_set *s, const uint32_t *b, uint32_t number)
{
    const struct set_sub *sub = build_sub(b, number);
    uint32_t access = rarest(s, sub, SET_NONE), field = SET_NONE;
    uint32_t second = access == SET_NONE ? SET_NONE : rarest(s, sub, access);
    if (second != SET_NONE)
        field = s->conds[second].field;
    return (struct place){access, field, second, number};
}

/* The sub where it is read from; its number there. */
static uint32_t keep_sub(struct match_set *s, const uint32_t *b, uint32_t number, uint32_t next)
{
    const struct set_sub *sub = build_sub(b, number);
    uint32_t at = (uint32_t)s->subs_count;
    for (uint32_t i = 0; i < SET_SUB_WORDS + sub->count; i++)
        SET_PUSH(s, subs) = b[number + i];
    set_sub_at(s, at)->next = next;
    return at;
}

/* Without a condition that must be met: with a field that must be there, or always. */
static void hang_lazy(struct match_set *s, const uint32_t *b, uint32_t number)
{
    const struct set_sub *sub = build_sub(b, number);
    uint32_t *head = &s->always;
    for (uint32_t i = 0; i < sub->count; i++)
        if (!s->conds[sub->conds[i]].takes_absent) {
            head = &s->fields[s->conds[sub->conds[i]].field].subs;
            break;
        }
    *head = keep_sub(s, b, number, *head);
}

static struct set_pair *find_pair(const struct match_set *s, uint32_t access, uint32_t second)
{
    size_t i = set_pair_hash(access, second) & s->pair_mask;
    while (s->pairs[i].sub != SET_NONE &&
           (s->pairs[i].access != access || s->pairs[i].second != second))
        i = (i + 1) & s->pair_mask;
    return &s->pairs[i];
}

static void size_pairs(struct match_set *s, size_t count)
{
    struct set_pair *old = s->pairs;
    size_t size = 4, old_size = old ? s->pair_mask + 1 : 0;
    while (2 * size < 3 * count)
        size *= 2;
    s->pairs = mem_new(size * sizeof *s->pairs);
    s->pair_mask = size - 1;
    for (size_t i = 0; i < size; i++)
        s->pairs[i].sub = SET_NONE;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].sub != SET_NONE)
            *find_pair(s, old[i].access, old[i].second) = old[i];
    mem_free(old);
}

static void add_pair(struct match_set *s, const uint32_t *b, const struct place *at)
{
    if (3 * (s->pair_count + 1) > 2 * (s->pair_mask + 1))
        size_pairs(s, 2 * (s->pair_count + 1));
    struct set_pair *pair = find_pair(s, at->access, at->second);
    s->pair_count += pair->sub == SET_NONE;
    uint32_t sub = keep_sub(s, b, at->number, pair->sub);
    *pair = (struct set_pair){at->access, at->second, sub};
}

enum { PAIR_GROUP_MIN = 8 };

static size_t group_end(const struct place *places, size_t count, size_t at)
{
    size_t end = at;
    while (end < count && places[end].access == places[at].access &&
           places[end].field == places[at].field)
        end++;
    return end;
}

static bool is_paired(const struct place *places, size_t at, size_t end)
{
    return places[at].field != SET_NONE && end - at > PAIR_GROUP_MIN;
}

static void hang_group(struct match_set *s, const uint32_t *b, const struct place *places,
                       size_t at, size_t end)
{
    struct set_cond *c = &s->conds[places[at].access];
    const struct set_sub *sub = build_sub(b, places[at].number);
    uint32_t first = SET_NONE;
    if (s->sources[places[at].access].use_count == 1 && sub->count == 1) {
        c->to = (uint32_t)SET_TO_RULE << SET_NUMBER_BITS | sub->rule;
        return;
    }
    bool is_pair = is_paired(places, at, end);
    for (size_t i = end; i-- > at;) {
        if (is_pair)
            add_pair(s, b, &places[i]);
        else
            first = keep_sub(s, b, places[i].number, first);
    }
    if (end - at == 1 && c->to == SET_NONE) {
        c->to = (uint32_t)SET_TO_SUB << SET_NUMBER_BITS | first;
        return;
    }
    if (c->to != SET_NONE && c->to >> SET_NUMBER_BITS == SET_TO_SUB) {
        SET_PUSH(s, groups) = (struct set_group){SET_NONE, set_ref_number(c->to), SET_NONE};
        c->to = (uint32_t)SET_TO_GROUP << SET_NUMBER_BITS | (uint32_t)(s->groups_count - 1);
    }
    uint32_t next = c->to == SET_NONE ? SET_NONE : set_ref_number(c->to);
    SET_PUSH(s, groups) = (struct set_group){next, first, is_pair ? places[at].field : SET_NONE};
    c->to = (uint32_t)SET_TO_GROUP << SET_NUMBER_BITS | (uint32_t)(s->groups_count - 1);
}

static size_t next_sub(const uint32_t *b, size_t at)
{
    return at + SET_SUB_WORDS + build_sub(b, at)->count;
}

void hang_all(struct match_set *s, const uint32_t *b, size_t words)
{
    size_t count = 0, placed = 0, pairs = 0;
    for (size_t at = 0; at < words; at = next_sub(b, at))
        count++;
    struct place *places = mem_new(count * sizeof *places);
    for (size_t at = 0; at < words; at = next_sub(b, at)) {
        places[placed] = place_of(s, b, (uint32_t)at);
        if (places[placed].access == SET_NONE)
            hang_lazy(s, b, (uint32_t)at);
        else
            placed++;
    }
    qsort(places, placed, sizeof *places, by_place);
    for (size_t i = 0, end; i < placed; i = end) {
        end = group_end(places, placed, i);
        pairs += is_paired(places, i, end) ? end - i : 0;
    }
    size_pairs(s, pairs);
    for (size_t i = 0, end; i < placed; i = end) {
        end = group_end(places, placed, i);
        hang_group(s, b, places, i, end);
    }
    mem_free(places);
}

/* ---- one by one --------------------------------------------------------------------------------- */

static uint32_t add_group(struct match_set *s, struct set_cond *c, uint32_t field)
{
    uint32_t next = c->to == SET_NONE ? SET_NONE : set_ref_number(c->to);
    SET_PUSH(s, groups) = (struct set_group){next, SET_NONE, field};
    uint32_t number = (uint32_t)(s->groups_count - 1);
    c->to = (uint32_t)SET_TO_GROUP << SET_NUMBER_BITS | number;
    return number;
}

/* The group of the condition with that field, or SET_NONE. */
static uint32_t find_group(const struct match_set *s, const struct set_cond *c, uint32_t field)
{
    uint32_t g = c->to == SET_NONE ? SET_NONE : set_ref_number(c->to);
    while (g != SET_NONE && s->groups[g].field != field)
        g = s->groups[g].next;
    return g;
}

static bool is_long(const struct match_set *s, uint32_t head)
{
    size_t n = 0;
    for (; head != SET_NONE && n <= PAIR_GROUP_MIN; n++)
        head = set_sub_at(s, head)->next;
    return n > PAIR_GROUP_MIN;
}

static void hang_one(struct match_set *s, const uint32_t *b, const struct place *at)
{
    struct set_cond *c = &s->conds[at->access];
    if (c->to == SET_NONE) {
        c->to = (uint32_t)SET_TO_SUB << SET_NUMBER_BITS | keep_sub(s, b, at->number, SET_NONE);
        return;
    }
    if (c->to >> SET_NUMBER_BITS == SET_TO_SUB) {
        uint32_t first = set_ref_number(c->to);
        c->to = SET_NONE;
        uint32_t group = add_group(s, c, SET_NONE);
        s->groups[group].first = first;
    }
    uint32_t paired = at->field == SET_NONE ? SET_NONE : find_group(s, c, at->field);
    uint32_t list = find_group(s, c, SET_NONE);
    if (list == SET_NONE)
        list = add_group(s, c, SET_NONE);
    bool is_pair =
        at->field != SET_NONE && (paired != SET_NONE || is_long(s, s->groups[list].first));
    if (!is_pair) {
        s->groups[list].first = keep_sub(s, b, at->number, s->groups[list].first);
        return;
    }
    if (paired == SET_NONE)
        (void)add_group(s, c, at->field);
    add_pair(s, b, at);
}

void hang_more(struct match_set *s, const uint32_t *b, size_t words)
{
    for (size_t at = 0; at < words; at = next_sub(b, at)) {
        struct place place = place_of(s, b, (uint32_t)at);
        if (place.access == SET_NONE)
            hang_lazy(s, b, (uint32_t)at);
        else
            hang_one(s, b, &place);
    }
}
