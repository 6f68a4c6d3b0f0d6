/* match/change.c: a set that comes after another: what both have is copied, not compiled again.
 *
 * The older set stays as it is and may be read all the while. Patterns are the same if their texts are.
 * Of one that the new set does not have, all but its number stays until a quarter of the rules is of that
 * kind; then all is compiled anew. */
#include <stdlib.h>

#include "match/set.h"

struct wanted {     /* one rule of the new set */
    uint32_t old;   /* the rule in the old set, or SET_NONE: */
    size_t at, len; /* its text in `fresh` */
};

struct change {
    struct match_set *old; /* held */
    SET_LIST(struct wanted, wanted);
    struct buf fresh, read;
    size_t fresh_count, words; /* words: of the subs of new patterns */
    size_t cursor;             /* behind the rule that was found last */
    bool *is_used;             /* of the rules of the old set, as they are numbered outside */
    uint32_t *index; /* of these by their texts, once they come in another order; or NULL */
    size_t index_mask;
};

struct match_set *match_set_after(const struct match_set *old, const struct match_env *env)
{
    struct match_set *s = match_set_new(env);
    if (!old || old->build)
        return s;
    union {
        const struct match_set *in;
        struct match_set *out;
    } same = {old};
    s->change = MEM_NEW(struct change);
    s->change->old = same.out;
    atomic_fetch_add(&same.out->uses, 1);
    s->change->is_used = mem_new(match_count(old));
    return s;
}

void change_free(struct change *ch)
{
    if (!ch)
        return;
    match_set_free(ch->old);
    mem_free(ch->wanted);
    mem_free(ch->is_used);
    mem_free(ch->index);
    buf_fini(&ch->fresh);
    buf_fini(&ch->read);
    mem_free(ch);
}

size_t change_count(const struct change *ch)
{
    return ch->wanted_count;
}

/* ---- which of the old rules is meant --------------------------------------------------------------- */

static weir_str old_text(struct change *ch, size_t number)
{
    const struct match_set *old = ch->old;
    ch->read.len = 0;
    store_get(&old->texts, old->rules[set_rule(old, (uint32_t)number)], &ch->read);
    return buf_str(&ch->read);
}

static bool is_text(struct change *ch, size_t number, weir_str text)
{
    weir_str old = old_text(ch, number);
    return old.len == text.len && memcmp(old.ptr, text.ptr, text.len) == 0;
}

static size_t index_place(const struct change *ch, weir_str text)
{
    return hash_bytes(text.ptr, text.len, ch->old->seed) & ch->index_mask;
}

static void make_index(struct change *ch)
{
    size_t count = match_count(ch->old), size = 4;
    while (size < 2 * count)
        size *= 2;
    ch->index = mem_new(size * sizeof *ch->index);
    ch->index_mask = size - 1;
    for (size_t i = 0; i < size; i++)
        ch->index[i] = SET_NONE;
    for (size_t i = 0; i < count; i++) {
        size_t at = index_place(ch, old_text(ch, i));
        while (ch->index[at] != SET_NONE)
            at = (at + 1) & ch->index_mask;
        ch->index[at] = (uint32_t)i;
    }
}

/* Most come in the order that they had. */
static size_t find_old(struct change *ch, weir_str text)
{
    size_t count = match_count(ch->old);
    if (ch->cursor < count && !ch->is_used[ch->cursor] && is_text(ch, ch->cursor, text))
        return ch->cursor;
    if (!ch->index)
        make_index(ch);
    size_t at = index_place(ch, text);
    for (; ch->index[at] != SET_NONE; at = (at + 1) & ch->index_mask)
        if (!ch->is_used[ch->index[at]] && is_text(ch, ch->index[at], text))
            return ch->index[at];
    return SIZE_MAX;
}

static bool has_room(const struct change *ch, weir_str text)
{
    const size_t most = (size_t)1 << SET_NUMBER_BITS;
    const struct match_set *old = ch->old;
    size_t fresh = ch->fresh.len + text.len, bytes = old->texts.packed.len + old->bytes.len;
    return old->subs_count + ch->words < most && old->items_count + 2 * fresh < most &&
           bytes + 4 * fresh < 2 * most;
}

weir_status change_add(struct match_set *s, weir_str pattern, struct match_error *e)
{
    struct change *ch = s->change;
    struct pattern p;
    size_t found = find_old(ch, pattern);
    if (found != SIZE_MAX) {
        ch->is_used[found] = true;
        ch->cursor = found + 1;
        SET_PUSH(ch, wanted) = (struct wanted){set_rule(ch->old, (uint32_t)found), 0, 0};
        return WEIR_OK;
    }
    weir_status status = pattern_parse(&p, pattern, set_scratch(s), e);
    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; i < p.count; i++)
        ch->words += SET_SUB_WORDS + p.subs[i].count;
    if (!has_room(ch, pattern)) {
        if (e)
            *e = (struct match_error){"too many patterns for one set", 0};
        return WEIR_E_REJECT;
    }
    SET_PUSH(ch, wanted) = (struct wanted){SET_NONE, ch->fresh.len, pattern.len};
    buf_add_str(&ch->fresh, pattern);
    ch->fresh_count++;
    return WEIR_OK;
}

/* ---- the new set ------------------------------------------------------------------------------------ */

static void add(struct match_set *s, weir_str text)
{
    struct pattern p;
    (void)pattern_parse(&p, text, set_scratch(s), NULL); /* it was parsed before */
    set_add(s, text, &p);
}

static weir_str fresh_text(const struct change *ch, const struct wanted *w)
{
    return (weir_str){ch->fresh.ptr + w->at, w->len};
}

static void compile(struct match_set *s, struct change *ch)
{
    set_fini(s);
    set_init(s);
    for (size_t i = 0; i < ch->wanted_count; i++) {
        const struct wanted *w = &ch->wanted[i];
        if (w->old != SET_NONE) {
            ch->read.len = 0;
            store_get(&ch->old->texts, ch->old->rules[w->old], &ch->read);
        }
        add(s, w->old == SET_NONE ? fresh_text(ch, w) : buf_str(&ch->read));
    }
    set_seal(s);
}

static void number(struct match_set *s, uint32_t rule, size_t outside)
{
    s->inside[outside] = rule;
    s->outside[rule] = (uint32_t)outside;
}

/* False: there is more to change than this is good for. */
static bool apply(struct match_set *s, struct change *ch)
{
    const struct match_set *old = ch->old;
    size_t gone = old->rules_count - (ch->wanted_count - ch->fresh_count);
    if (4 * (ch->fresh_count + gone) > old->rules_count)
        return false;
    set_fini(s);
    set_copy(s, old);
    size_t all = old->rules_count + ch->fresh_count;
    s->outside = mem_new(all * sizeof *s->outside);
    s->inside = mem_new(ch->wanted_count * sizeof *s->inside);
    s->inside_count = ch->wanted_count;
    for (size_t i = 0; i < all; i++)
        s->outside[i] = SET_NONE;
    for (size_t i = 0; i < ch->wanted_count; i++) {
        const struct wanted *w = &ch->wanted[i];
        if (w->old == SET_NONE)
            add(s, fresh_text(ch, w));
        number(s, w->old == SET_NONE ? (uint32_t)(s->rules_count - 1) : w->old, i);
    }
    values_seal_change(s);
    set_seal_change(s);
    return true;
}

void change_seal(struct match_set *s)
{
    struct change *ch = s->change;
    s->change = NULL;
    if (!apply(s, ch))
        compile(s, ch);
    change_free(ch);
}
