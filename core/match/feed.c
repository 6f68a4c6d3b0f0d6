/* match/feed.c: one value of an event through the structures of its field. */
#include "match/run.h"
#include "json/json.h"

/* Of one element, or of the value in hand; those of one value after another are often the same. */
static uint32_t add_mark(struct match_ctx *c, uint32_t last, bool is_frame)
{
    uint32_t number = is_frame ? c->frame : (uint32_t)c->values_count - 1;
    if (last != SET_NONE && c->marks[last].number == number)
        return last;
    SET_PUSH(c, marks) = (struct run_mark){number, last};
    return (uint32_t)(c->marks_count - 1);
}

static uint32_t note_cond(struct match_ctx *c, uint32_t number, const struct set_cond *cond)
{
    struct run_field *field = &c->fields[cond->field];
    uint32_t at = (uint32_t)c->conds_count;
    SET_PUSH(c, conds) = (struct run_cond){number, cond->to, field->first_true, SET_NONE};
    field->first_true = at;
    run_put(&c->conds_table, number, at);
    if (cond->to >> SET_NUMBER_BITS == SET_TO_SUB) /* wanted at the end of the event */
        __builtin_prefetch(set_sub_at(c->set, set_ref_number(cond->to)));
    return at;
}

static void cond_hit(struct match_ctx *c, uint32_t number)
{
    const struct set_cond *cond = &c->set->conds[number];
    uint32_t at = run_get(&c->conds_table, number);
    if (at == SET_NONE)
        at = note_cond(c, number, cond);
    if (!cond->is_joined)
        return;
    struct run_cond *state = &c->conds[at];
    state->first_mark = add_mark(c, state->first_mark, cond->is_positive);
}

static void veto(struct match_ctx *c, uint32_t number)
{
    struct run_but *but = run_but_of(c, number);
    if (but && but->value == c->value)
        return;
    if (!but) {
        run_put(&c->buts_table, number, (uint32_t)c->buts_count);
        but = &SET_PUSH(c, buts);
        *but = (struct run_but){.first_mark = SET_NONE};
    }
    but->value = c->value;
    but->vetoes++;
    if (c->is_kept)
        but->first_mark = add_mark(c, but->first_mark, false);
}

static void take_one(struct match_ctx *c, uint32_t ref)
{
    uint32_t id = set_ref_number(ref);
    if (set_ref_kind(ref) == SET_COND) {
        cond_hit(c, id);
    } else if (set_ref_kind(ref) == SET_BUT) {
        veto(c, id);
    } else if (c->rules[id] != c->event) {
        c->rules[id] = c->event;
        c->hits[c->hit_count++] = id;
    }
}

static size_t read_length(const unsigned char **p)
{
    size_t n = 0;
    for (unsigned shift = 0;; shift += 7) {
        unsigned char b = *(*p)++;
        n |= (size_t)(b & 0x7F) << shift;
        if (!(b & 0x80))
            return n;
    }
}

/* The pieces lie one behind the other, the number of them before the first. */
static bool wildcard_holds(const struct match_set *s, uint32_t at, weir_str text)
{
    const unsigned char *p = (const unsigned char *)s->bytes.ptr + at;
    const char *from = text.ptr, *end = from + text.len;
    size_t pieces = read_length(&p), len = read_length(&p);
    if (text.len < len || memcmp(from, p, len) != 0)
        return false;
    from += len, p += len;
    for (size_t i = 1; i < pieces; i++, p += len) {
        len = read_length(&p);
        if (i + 1 == pieces)
            return (size_t)(end - from) >= len && memcmp(end - len, p, len) == 0;
        from = memmem(from, (size_t)(end - from), p, len);
        if (!from)
            return false;
        from += len;
    }
    return true;
}

static bool item_holds(const struct match_set *s, const struct set_item *item, int kind,
                       weir_str text)
{
    if (item->verify == SET_NONE)
        return true;
    if (item->verify & SET_IS_TEST)
        return pattern_holds(s->tests[item->verify & ~SET_IS_TEST], kind, text);
    return wildcard_holds(s, item->verify, text);
}

static void take(struct match_ctx *c, uint32_t head, int kind, weir_str text)
{
    if (head == SET_NONE)
        return;
    if (set_ref_kind(head) != SET_CHAIN) {
        take_one(c, head);
        return;
    }
    for (uint32_t i = set_ref_number(head); i != SET_NONE;) {
        const struct set_item *item = &c->set->items[i];
        i = item->next;
        if (item_holds(c->set, item, kind, text))
            take_one(c, item->ref);
    }
}

/* What hangs on a part of the value; SET_NONE: nothing. */
static uint32_t find(const struct match_set *s, const struct run_probe *p)
{
    size_t at = set_entry_at(s, p->hash);
    for (; s->entries[at].ref != SET_NONE; at = set_entry_after(s, at))
        if (set_entry_is(s, &s->entries[at], p->owner, p->key, p->part))
            break;
    return s->entries[at].ref;
}

/* Most values have nothing, as the filter says, which is small enough to stay in a near cache. */
static uint32_t look_up(const struct match_set *s, uint32_t owner, struct set_key key,
                        weir_str part)
{
    struct run_probe p = {key, set_hash(s, owner, key), part, owner};
    return set_may_have(&s->others, p.hash) ? find(s, &p) : SET_NONE;
}

static void probe(struct match_ctx *c, uint32_t owner, weir_str part, int kind, weir_str text)
{
    struct set_key key = set_key_of(c->set, part.ptr, part.len);
    take(c, look_up(c->set, owner, key, part), kind, text);
}

/* Of a text the places of all parts are fetched before the first is read. */
static void take_probes(struct match_ctx *c, weir_str text)
{
    for (unsigned i = 0; i < c->probe_count; i++)
        take(c, find(c->set, &c->probes[i]), WEIR_JSON_TEXT, text);
    c->probe_count = 0;
}

static struct run_probe *add_probe(struct match_ctx *c, uint64_t hash, weir_str text)
{
    if (c->probe_count == RUN_PROBES)
        take_probes(c, text);
    __builtin_prefetch(&c->set->entries[set_entry_at(c->set, hash)]);
    return &c->probes[c->probe_count++];
}

/* The part of the text under the tag; what is found is verified against the whole. */
static void probe_part(struct match_ctx *c, uint32_t owner, weir_str part, weir_str text)
{
    struct set_key key = set_key_of(c->set, part.ptr, part.len);
    uint64_t hash = set_hash(c->set, owner, key);
    if (set_may_have(&c->set->others, hash))
        *add_probe(c, hash, text) = (struct run_probe){key, hash, part, owner};
}

static void probe_begins(struct match_ctx *c, uint32_t field, enum set_tag tag, weir_str in,
                         weir_str text)
{
    const struct set_lengths *l = set_lengths_of(&c->set->fields[field], tag);
    for (size_t i = 0; i < l->count && l->items[i] <= in.len; i++)
        probe_part(c, set_owner(field, tag), (weir_str){in.ptr, l->items[i]}, text);
}

static void probe_ends(struct match_ctx *c, uint32_t field, enum set_tag tag, weir_str in,
                       weir_str text)
{
    const struct set_lengths *l = set_lengths_of(&c->set->fields[field], tag);
    for (size_t i = 0; i < l->count && l->items[i] <= in.len; i++) {
        weir_str part = {in.ptr + in.len - l->items[i], l->items[i]};
        probe_part(c, set_owner(field, tag), part, text);
    }
}

static void probe_grams(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct match_set *s = c->set;
    const struct set_lengths *l = set_lengths_of(&s->fields[field], SET_GRAM);
    const struct set_filter filter = s->grams;
    uint32_t owner = set_owner(field, SET_GRAM);
    for (size_t i = 0; i < l->count; i++)
        for (size_t at = 0, len = l->items[i]; at + len <= text.len; at++) {
            struct set_key key = {set_load(text.ptr + at, len), (uint64_t)len << 56};
            uint64_t hash = set_hash(s, owner, key);
            if (set_may_have(&filter, hash))
                *add_probe(c, hash, text) = (struct run_probe){key, hash, text, owner};
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
    probe_part(c, set_owner(field, SET_FOLD), in, text);
    if (!c->set->fields[field].parts)
        return;
    probe_begins(c, field, SET_FOLD_PREFIX, in, text);
    probe_ends(c, field, SET_FOLD_SUFFIX, in, text);
}

/* The number in hand: whether it is one that binary64 can tell from others is found out when it matters. */
struct told {
    const struct decimal *number;
    bool is_checked;
};

/* False: only its text counts. */
static bool take_number(struct match_ctx *c, struct told *told, uint32_t ref)
{
    if (ref == SET_NONE)
        return true;
    if (!told->is_checked && !decimal_is_binary64(told->number))
        return false;
    told->is_checked = true;
    take(c, ref, WEIR_JSON_NUMBER, (weir_str){"", 0});
    return true;
}

static int compare(const uint64_t a[2], const uint64_t b[2])
{
    for (int i = 0; i < 2; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

static bool is_in(const struct set_range *r, const uint64_t w[2])
{
    int low = compare(r->low, w), high = compare(r->high, w);
    return low + r->is_low_open <= 0 && high - r->is_high_open >= 0;
}

static bool take_head(struct match_ctx *c, struct told *told, const struct set_ranges *r,
                      const struct set_head *head)
{
    if (head->ref == SET_NONE || set_ref_kind(head->ref) != SET_CHAIN)
        return take_number(c, told, head->ref);
    uint32_t i = set_ref_number(head->ref);
    for (; i != SET_NONE; i = r->items[i].next)
        if (!take_number(c, told, r->items[i].ref))
            return false;
    return true;
}

static bool take_heads(struct match_ctx *c, struct told *told, const struct set_ranges *r)
{
    if (!r->count)
        return true;
    const struct set_head *head = ranges_find(r, told->number->key.w);
    while (take_head(c, told, r, head)) {
        if (!head->up)
            return true;
        head = &r->heads[head->up];
    }
    return false;
}

static void take_ranges(struct match_ctx *c, struct told *told, const struct set_parts *p)
{
    if (!take_heads(c, told, &p->ranges) || !take_heads(c, told, &p->late))
        return;
    for (size_t i = p->late_count; i < p->waiting_count; i++)
        if (is_in(&p->waiting[i], told->number->key.w) && !take_number(c, told, p->waiting[i].ref))
            return;
}

static void feed_number(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct match_set *s = c->set;
    const struct set_field *f = &s->fields[field];
    struct decimal number;
    if (f->has_tokens)
        probe(c, set_owner(field, SET_TOKEN), text, WEIR_JSON_NUMBER, text);
    if ((!f->has_numbers && !f->parts) || !decimal_read(&number, text))
        return;
    struct told told = {&number, number.is_sure};
    uint32_t owner = set_owner(field, SET_NUMBER), found = SET_NONE;
    struct set_key key = set_number_key(&number.key);
    if (f->has_numbers)
        found = look_up(s, owner, key, (weir_str){"", 0});
    if (take_number(c, &told, found) && f->parts)
        take_ranges(c, &told, f->parts);
}

static void probe_nets(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct set_lengths *l = set_lengths_of(&c->set->fields[field], SET_NET);
    struct decimal_key address;
    unsigned bytes;
    if (!l->count || !decimal_read_address(text, &address, &bytes))
        return;
    for (size_t i = 0; i < l->count; i++) {
        char part[SET_NET_BYTES];
        uint32_t bits = l->items[i] & 255; /* at most 128 */
        if (set_net_length(&address, bits) != l->items[i])
            continue;
        weir_str net = {part, set_net_bytes(&address, bits, part)};
        probe(c, set_owner(field, SET_NET), net, WEIR_JSON_TEXT, text);
    }
}

static void feed_text(struct match_ctx *c, uint32_t field, weir_str text)
{
    const struct set_field *f = &c->set->fields[field];
    if (f->has_texts)
        probe_part(c, set_owner(field, SET_TEXT), text, text);
    if (f->has_folds)
        probe_folds(c, field, text);
    if (f->parts) {
        probe_begins(c, field, SET_PREFIX, text, text);
        probe_ends(c, field, SET_SUFFIX, text, text);
        probe_grams(c, field, text);
        probe_nets(c, field, text);
    }
    take_probes(c, text);
    take(c, f->always, WEIR_JSON_TEXT, text);
}

/* Its number, from 0 on, is what marks say. */
static void keep_value(struct match_ctx *c, struct run_field *state)
{
    SET_PUSH(c, values) = (struct run_value){.next = state->first_value, .frame = c->frame};
    state->first_value = (uint32_t)(c->values_count - 1);
}

void feed_value(struct match_ctx *c, uint32_t field, int kind, weir_str text)
{
    const struct set_field *f = &c->set->fields[field];
    struct run_field *state = &c->fields[field];
    bool is_first = state->event != c->event;
    c->value++;
    if (is_first) {
        *state =
            (struct run_field){.event = c->event, .first_true = SET_NONE, .first_value = SET_NONE};
        if (f->subs != SET_NONE)
            c->active_fields[c->active_field_count++] = field;
    }
    state->values++;
    state->has_framed |= f->is_joined && c->frame;
    c->is_kept = f->is_kept;
    if (f->is_kept)
        keep_value(c, state);
    if (is_first || f->is_joined)
        take(c, f->exists, kind, text);
    if (kind == WEIR_JSON_TEXT)
        feed_text(c, field, text);
    else if (kind == WEIR_JSON_NUMBER)
        feed_number(c, field, text);
    else if (f->has_tokens)
        probe(c, set_owner(field, SET_TOKEN), text, kind, text);
}
