/* match/feed.c: one value of an event through the structures of its field. */
#include "match/run.h"
#include "json/json.h"

static void cond_hit(struct match_ctx *c, uint32_t id)
{
    struct run_cond *state = &c->conds[id];
    if (state->event == c->event)
        return;
    const struct set_cond *cond = &c->set->conds[id];
    struct run_field *field = &c->fields[cond->field];
    state->event = c->event;
    if (cond->rule != SET_NONE) {
        if (c->rules[cond->rule] != c->event)
            c->hits[c->hit_count++] = cond->rule;
        c->rules[cond->rule] = c->event;
        return;
    }
    state->next_true = field->first_true;
    field->first_true = id;
    if (cond->group_count)
        c->active_conds[c->active_cond_count++] = id;
}

static void veto(struct match_ctx *c, uint32_t id)
{
    struct run_but *but = &c->buts[id];
    if (but->event != c->event)
        but->event = c->event, but->vetoes = 0;
    else if (but->value == c->value)
        return;
    but->value = c->value;
    but->vetoes++;
}

static void take(struct match_ctx *c, uint32_t head, int kind, weir_str text)
{
    for (uint32_t i = head; i != SET_NONE;) {
        const struct set_item *item = &c->set->items[i];
        i = item->next;
        if (item->verify && !pattern_holds(item->verify, kind, text))
            continue;
        if (item->is_but)
            veto(c, item->id);
        else
            cond_hit(c, item->id);
    }
}

/* The part of the value under the tag; what is found is verified against the whole. */
static void probe(struct match_ctx *c, uint32_t owner, weir_str part, int kind, weir_str text)
{
    const struct match_set *s = c->set;
    uint32_t hash = set_hash(s, owner, part.ptr, part.len);
    for (size_t at = set_entry_at(s, hash); s->entries[at].items != SET_NONE;
         at = set_entry_after(s, at)) {
        const struct set_entry *e = &s->entries[at];
        if (e->hash != hash || e->owner != owner || e->len != part.len ||
            memcmp(e->ptr, part.ptr, part.len) != 0)
            continue;
        take(c, e->items, kind, text);
        return;
    }
}

static void probe_begins(struct match_ctx *c, uint32_t field, enum set_tag tag, weir_str in,
                         weir_str text)
{
    const struct set_lengths *l = &c->set->fields[field].lengths[tag];
    for (size_t i = 0; i < l->count && l->items[i] <= in.len; i++) {
        weir_str part = {in.ptr, l->items[i]};
        probe(c, set_owner(field, tag), part, WEIR_JSON_TEXT, text);
    }
}

static void probe_ends(struct match_ctx *c, uint32_t field, enum set_tag tag, weir_str in,
                       weir_str text)
{
    const struct set_lengths *l = &c->set->fields[field].lengths[tag];
    for (size_t i = 0; i < l->count && l->items[i] <= in.len; i++) {
        weir_str part = {in.ptr + in.len - l->items[i], l->items[i]};
        probe(c, set_owner(field, tag), part, WEIR_JSON_TEXT, text);
    }
}

static void probe_grams(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct set_lengths *l = &c->set->fields[field].lengths[SET_GRAM];
    for (size_t i = 0; i < l->count; i++)
        for (size_t at = 0; at + l->items[i] <= text.len; at++) {
            weir_str part = {text.ptr + at, l->items[i]};
            probe(c, set_owner(field, SET_GRAM), part, WEIR_JSON_TEXT, text);
        }
}

static void probe_folds(struct match_ctx *c, uint32_t field, weir_str text)
{
    c->lower.len = 0;
    char *low = buf_room(&c->lower, text.len + 1);
    for (size_t i = 0; i < text.len; i++) {
        char b = text.ptr[i];
        low[i] = (char)(b + ((b >= 'A' && b <= 'Z') ? 32 : 0));
    }
    weir_str in = {low, text.len};
    probe(c, set_owner(field, SET_FOLD), in, WEIR_JSON_TEXT, text);
    probe_begins(c, field, SET_FOLD_PREFIX, in, text);
    probe_ends(c, field, SET_FOLD_SUFFIX, in, text);
}

static uint32_t leaf_of(const struct set_ranges *r, const struct decimal_key *key)
{
    uint32_t low = 0, high = r->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (decimal_compare(&r->points[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_point = low < r->count && decimal_compare(&r->points[low], key) == 0;
    return r->leaves + 2 * low + is_point;
}

static void take_ranges(struct match_ctx *c, const struct set_ranges *r,
                        const struct decimal_key *key, const struct decimal *number)
{
    bool is_checked = !number || number->is_sure;
    for (uint32_t at = leaf_of(r, key); at; at /= 2) {
        if (r->heads[at] == SET_NONE)
            continue;
        if (!is_checked && !decimal_is_binary64(number))
            return;
        is_checked = true;
        take(c, r->heads[at], WEIR_JSON_NONE, (weir_str){NULL, 0});
    }
}

static void feed_text(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct set_field *f = &c->set->fields[field];
    struct decimal_key key;
    unsigned bytes;
    if (f->has_texts)
        probe(c, set_owner(field, SET_TEXT), text, WEIR_JSON_TEXT, text);
    probe_begins(c, field, SET_PREFIX, text, text);
    probe_ends(c, field, SET_SUFFIX, text, text);
    if (f->lengths[SET_GRAM].count)
        probe_grams(c, field, text);
    if (f->has_folds)
        probe_folds(c, field, text);
    if (f->addresses.count && decimal_read_address(text, &key, &bytes))
        take_ranges(c, &f->addresses, &key, NULL);
    take(c, f->always, WEIR_JSON_TEXT, text);
}

static void feed_number(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct set_field *f = &c->set->fields[field];
    struct decimal number;
    if (f->has_tokens)
        probe(c, set_owner(field, SET_TOKEN), text, WEIR_JSON_NUMBER, text);
    if (f->numbers.count && decimal_read(&number, text))
        take_ranges(c, &f->numbers, &number.key, &number);
}

void feed_value(struct match_ctx *c, uint32_t field, int kind, weir_str text)
{
    const struct set_field *f = &c->set->fields[field];
    struct run_field *state = &c->fields[field];
    c->value++;
    if (state->event != c->event) {
        *state =
            (struct run_field){.event = c->event, .first_true = SET_NONE, .first_value = SET_NONE};
        if (f->sub_count)
            c->active_fields[c->active_field_count++] = field;
        take(c, f->exists, kind, text);
    }
    state->values++;
    if (kind == WEIR_JSON_TEXT)
        feed_text(c, field, text);
    else if (kind == WEIR_JSON_NUMBER)
        feed_number(c, field, text);
    else if (f->has_tokens)
        probe(c, set_owner(field, SET_TOKEN), text, kind, text);
}

void feed_keep(struct match_ctx *c, uint32_t field, struct run_value value)
{
    struct run_field *state = &c->fields[field];
    if (!c->set->fields[field].is_joined)
        return;
    value.next = state->first_value;
    SET_PUSH(c, values) = value;
    state->first_value = (uint32_t)(c->values_count - 1);
    state->has_framed |= value.frame != 0;
}
