/* match/set.c: patterns compiled together. */
#include "match/set.h"

#include <stdlib.h>

/* ---- interning: one number for the same thing ------------------------------------------------- */

/* A table from bytes to numbers, of the time of sealing. */
struct intern {
    struct intern_entry {
        uint64_t hash;
        weir_str text;
        uint32_t owner, number; /* number SET_NONE: free */
    } * entries;
    size_t count, mask;
};

static void intern_grow(struct intern *t)
{
    size_t old_size = t->entries ? t->mask + 1 : 0, size = old_size ? 2 * old_size : 256;
    struct intern_entry *all = mem_new(size * sizeof *all);
    for (size_t i = 0; i < size; i++)
        all[i].number = SET_NONE;
    for (size_t i = 0; i < old_size; i++) {
        if (t->entries[i].number == SET_NONE)
            continue;
        size_t at = t->entries[i].hash & (size - 1);
        while (all[at].number != SET_NONE)
            at = (at + 1) & (size - 1);
        all[at] = t->entries[i];
    }
    mem_free(t->entries);
    t->entries = all, t->mask = size - 1;
}

/* The entry, with a copy of the text; the caller fills the number if it is SET_NONE. */
static struct intern_entry *intern_find(struct intern *t, uint32_t owner, weir_str text,
                                        struct arena *texts)
{
    if (!t->entries || 2 * (t->count + 1) > t->mask)
        intern_grow(t);
    uint64_t hash = hash_bytes(text.ptr, text.len, owner);
    size_t at = hash & t->mask;
    for (; t->entries[at].number != SET_NONE; at = (at + 1) & t->mask) {
        const struct intern_entry *e = &t->entries[at];
        if (e->hash == hash && e->owner == owner && e->text.len == text.len &&
            memcmp(e->text.ptr, text.ptr, text.len) == 0)
            return &t->entries[at];
    }
    t->count++;
    const char *copy = arena_copy(texts, text.ptr, text.len);
    t->entries[at] = (struct intern_entry){hash, {copy, text.len}, owner, SET_NONE};
    return &t->entries[at];
}

/* What only lives until the set is sealed. */
struct set_build {
    struct intern names, conds;
    struct arena sources; /* of conditions */
    struct arena parsed;  /* the pattern in hand */
    SET_LIST(uint32_t, subs);
};

static void free_build(struct match_set *s)
{
    if (!s->build)
        return;
    mem_free(s->build->names.entries);
    mem_free(s->build->conds.entries);
    arena_fini(&s->build->sources);
    arena_fini(&s->build->parsed);
    mem_free(s->build->subs);
    mem_free(s->build);
    s->build = NULL;
}

/* ---- the set -------------------------------------------------------------------------------------- */

static uint32_t add_node(struct match_set *s, uint32_t parent, weir_str name)
{
    uint32_t depth = s->nodes_count ? s->nodes[parent].depth + 1 : 0;
    SET_PUSH(s, nodes) = (struct set_node){
        .parent = parent, .field = SET_NONE, .depth = depth, .slots = s->slot_count, .name = name};
    s->slot_count += depth;
    return (uint32_t)(s->nodes_count - 1);
}

struct match_set *match_set_new(const struct match_env *env)
{
    struct match_set *s = MEM_NEW(struct match_set);
    arena_init(&s->arena);
    s->build = MEM_NEW(struct set_build);
    arena_init(&s->build->parsed);
    arena_init(&s->build->sources);
    s->account = mem_text(env && env->account ? env->account : "000000000000");
    s->region = mem_text(env && env->region ? env->region : "us-east-1");
    s->seed = hash_seed();
    s->always = SET_NONE;
    (void)add_node(s, 0, (weir_str){"", 0});
    return s;
}

void match_set_free(struct match_set *s)
{
    if (!s)
        return;
    free_build(s);
    values_free(s);
    mem_free(s->rules);
    mem_free(s->nodes);
    mem_free(s->children);
    mem_free(s->fields);
    mem_free(s->conds);
    mem_free(s->items);
    mem_free(s->tests);
    mem_free(s->subs);
    mem_free(s->groups);
    mem_free(s->pairs);
    mem_free(s->account);
    mem_free(s->region);
    store_fini(&s->texts);
    arena_fini(&s->arena);
    mem_free(s);
}

size_t match_count(const struct match_set *s)
{
    return s->rules_count;
}

static uint32_t child_of(struct match_set *s, uint32_t node, weir_str name)
{
    struct intern_entry *e = intern_find(&s->build->names, node, name, &s->arena);
    if (e->number == SET_NONE)
        e->number = add_node(s, node, e->text);
    return e->number;
}

static uint32_t field_of(struct match_set *s, weir_str path)
{
    uint32_t node = 0;
    const char *p = path.ptr, *end = p + path.len;
    for (;;) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        weir_str name = {p, (size_t)((dot ? dot : end) - p)};
        node = child_of(s, node, name);
        if (!dot)
            break;
        p = dot + 1;
    }
    if (s->nodes[node].field == SET_NONE) {
        SET_PUSH(s, fields) = (struct set_field){.always = SET_NONE,
                                                 .exists = SET_NONE,
                                                 .subs = SET_NONE,
                                                 .node = node};
        s->nodes[node].field = (uint32_t)(s->fields_count - 1);
    }
    return s->nodes[node].field;
}

/* ---- conditions and subs ----------------------------------------------------------------------- */

static void fill_cond(struct match_set *s, uint32_t number, const struct pattern_list *list)
{
    struct set_cond *c = &s->conds[number];
    c->first_but = s->but_count;
    for (size_t i = 0; i < list->count; i++) {
        const struct pattern_test *t = &list->tests[i];
        if (t->kind == PATTERN_ABSENT)
            c->takes_absent = true;
        if (t->kind != PATTERN_BUT) {
            values_add(s, c->field, t, set_ref(SET_COND, number));
            continue;
        }
        uint32_t veto = set_ref(SET_BUT, s->but_count++);
        for (size_t k = 0; k < t->but.count; k++)
            values_add(s, c->field, &t->but.items[k], veto);
    }
    c->but_count = s->but_count - c->first_but;
    c->is_positive = !c->but_count && !c->takes_absent;
}

static uint8_t weight(const struct pattern_list *list)
{
    uint8_t most = 1;
    for (size_t i = 0; i < list->count; i++) {
        enum pattern_kind kind = list->tests[i].kind;
        uint8_t w = kind == PATTERN_EXISTS                           ? 64
                    : kind == PATTERN_RANGE || kind == PATTERN_CIDR  ? 4
                    : kind == PATTERN_TEXT || kind == PATTERN_NUMBER ? 1
                                                                     : 3;
        most = w > most ? w : most;
    }
    return most;
}

static uint32_t cond_of(struct match_set *s, const struct pattern_list *list)
{
    uint32_t field = field_of(s, list->path);
    struct intern_entry *e = intern_find(&s->build->conds, field, list->source, &s->build->sources);
    if (e->number == SET_NONE) {
        e->number = (uint32_t)s->conds_count;
        SET_PUSH(s, conds) =
            (struct set_cond){.field = field, .to = SET_NONE, .weight = weight(list)};
        fill_cond(s, e->number, list);
    }
    s->conds[e->number].use_count++;
    return e->number;
}

static bool same_first_name(weir_str a, weir_str b)
{
    size_t i = 0;
    for (; i < a.len && i < b.len && a.ptr[i] == b.ptr[i]; i++)
        if (a.ptr[i] == '.')
            return true;
    bool ends_a = i == a.len || a.ptr[i] == '.', ends_b = i == b.len || b.ptr[i] == '.';
    return ends_a && ends_b;
}

/* The elements that make it true are remembered; if it is not positive, the values. */
static void join_cond(struct match_set *s, uint32_t number)
{
    struct set_cond *c = &s->conds[number];
    struct set_field *f = &s->fields[c->field];
    c->is_joined = f->is_joined = true;
    f->is_kept = f->is_kept || !c->is_positive;
}

static void add_sub(struct match_set *s, uint32_t rule, const struct pattern_sub *from)
{
    struct set_build *b = s->build;
    SET_PUSH(b, subs) = rule;
    SET_PUSH(b, subs) = SET_NONE;
    SET_PUSH(b, subs) = (uint32_t)from->count;
    size_t first = b->subs_count;
    for (size_t i = 0; i < from->count; i++) {
        uint32_t cond = cond_of(s, from->lists[i]);
        SET_PUSH(b, subs) = cond;
    }
    /* Paths of one first name need not be neighbours: "a-b" sorts between "a" and "a.c". */
    for (size_t i = 0; i < from->count; i++)
        for (size_t k = i + 1; k < from->count; k++) {
            if (!same_first_name(from->lists[i]->path, from->lists[k]->path))
                continue;
            join_cond(s, b->subs[first + i]);
            join_cond(s, b->subs[first + k]);
        }
}

/* Are there numbers left for another pattern? */
static bool has_room(const struct match_set *s, weir_str text, const struct pattern *p)
{
    const size_t most = (size_t)1 << SET_NUMBER_BITS;
    size_t words = s->build->subs_count, bytes = s->texts.packed.len + s->bytes.len;
    for (size_t i = 0; i < p->count; i++)
        words += SET_SUB_WORDS + p->subs[i].count;
    /* Neither items nor the bytes that are kept are more than a pattern has, and a little. */
    return words < most && s->items_count + 2 * text.len < most && bytes + 4 * text.len < 2 * most;
}

weir_status match_add(struct match_set *s, weir_str pattern, struct match_error *e)
{
    struct pattern p;
    if (!s->build) {
        if (e)
            *e = (struct match_error){"patterns cannot be added once events are tested", 0};
        return WEIR_E_REJECT;
    }
    arena_reset(&s->build->parsed);
    weir_status status = pattern_parse(&p, pattern, &s->build->parsed, e);
    if (status != WEIR_OK)
        return status;
    if (!has_room(s, pattern, &p)) {
        if (e)
            *e = (struct match_error){"too many patterns for one set", 0};
        return WEIR_E_REJECT;
    }
    for (size_t i = 0; i < p.count; i++)
        add_sub(s, (uint32_t)s->rules_count, &p.subs[i]);
    SET_PUSH(s, rules) = store_put(&s->texts, pattern);
    return WEIR_OK;
}

/* ---- where a sub is hung ------------------------------------------------------------------------ */

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
        uint64_t cost = (uint64_t)s->conds[c].use_count * s->conds[c].weight;
        if (c != other_than && s->conds[c].is_positive && cost < least)
            best = c, least = cost;
    }
    return best;
}

static struct place place_of(const struct match_set *s, uint32_t number)
{
    const struct set_sub *sub = (void *)(s->build->subs + number);
    uint32_t access = rarest(s, sub, SET_NONE), field = SET_NONE;
    uint32_t second = access == SET_NONE ? SET_NONE : rarest(s, sub, access);
    if (second != SET_NONE)
        field = s->conds[second].field;
    return (struct place){access, field, second, number};
}

/* The sub where it is read from; its number there. */
static uint32_t keep_sub(struct match_set *s, uint32_t number, uint32_t next)
{
    const struct set_sub *sub = (void *)(s->build->subs + number);
    uint32_t at = (uint32_t)s->subs_count;
    for (uint32_t i = 0; i < SET_SUB_WORDS + sub->count; i++)
        SET_PUSH(s, subs) = s->build->subs[number + i];
    set_sub_at(s, at)->next = next;
    return at;
}

/* Without a condition that must be met: with a field that must be there, or always. */
static void hang_lazy(struct match_set *s, uint32_t number)
{
    const struct set_sub *sub = (void *)(s->build->subs + number);
    uint32_t *head = &s->always;
    for (uint32_t i = 0; i < sub->count; i++)
        if (!s->conds[sub->conds[i]].takes_absent) {
            head = &s->fields[s->conds[sub->conds[i]].field].subs;
            break;
        }
    *head = keep_sub(s, number, *head);
}

static void size_pairs(struct match_set *s, size_t count)
{
    size_t size = 4;
    while (2 * size < 3 * count)
        size *= 2;
    s->pairs = mem_new(size * sizeof *s->pairs);
    s->pair_mask = size - 1;
    for (size_t i = 0; i < size; i++)
        s->pairs[i].sub = SET_NONE;
}

static void add_pair(struct match_set *s, const struct place *at)
{
    size_t i = set_pair_hash(at->access, at->second) & s->pair_mask;
    while (s->pairs[i].sub != SET_NONE &&
           (s->pairs[i].access != at->access || s->pairs[i].second != at->second))
        i = (i + 1) & s->pair_mask;
    uint32_t sub = keep_sub(s, at->number, s->pairs[i].sub);
    s->pairs[i] = (struct set_pair){at->access, at->second, sub};
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

static void hang_group(struct match_set *s, const struct place *places, size_t at, size_t end)
{
    struct set_cond *c = &s->conds[places[at].access];
    const struct set_sub *sub = (void *)(s->build->subs + places[at].number);
    uint32_t first = SET_NONE;
    if (c->use_count == 1 && sub->count == 1) {
        c->to = (uint32_t)SET_TO_RULE << SET_NUMBER_BITS | sub->rule;
        return;
    }
    bool is_pair = is_paired(places, at, end);
    for (size_t i = end; i-- > at;) {
        if (is_pair)
            add_pair(s, &places[i]);
        else
            first = keep_sub(s, places[i].number, first);
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

static size_t next_sub(const struct set_build *b, size_t at)
{
    return at + SET_SUB_WORDS + b->subs[at + 2];
}

static void hang_subs(struct match_set *s)
{
    const struct set_build *b = s->build;
    size_t count = 0, placed = 0, pairs = 0;
    for (size_t at = 0; at < b->subs_count; at = next_sub(b, at))
        count++;
    struct place *places = mem_new(count * sizeof *places);
    for (size_t at = 0; at < b->subs_count; at = next_sub(b, at)) {
        places[placed] = place_of(s, (uint32_t)at);
        if (places[placed].access == SET_NONE)
            hang_lazy(s, (uint32_t)at);
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
        hang_group(s, places, i, end);
    }
    mem_free(places);
}

/* ---- the tree of names --------------------------------------------------------------------------- */

static void place_child(struct match_set *s, const struct set_node *parent, uint32_t node)
{
    weir_str name = s->nodes[node].name;
    uint64_t head = name.len ? set_load(name.ptr, name.len < 8 ? name.len : 8) : 0;
    uint64_t hash = set_name_hash(head, name.ptr, name.len);
    struct set_child *table = s->children + parent->children;
    size_t at = hash & parent->mask;
    while (table[at].node != SET_NONE)
        at = (at + 1) & parent->mask;
    table[at] = (struct set_child){head, name, node};
}

static void seal_nodes(struct match_set *s)
{
    uint32_t *counts = mem_new(s->nodes_count * sizeof *counts);
    size_t total = 0;
    for (size_t i = 1; i < s->nodes_count; i++)
        counts[s->nodes[i].parent]++;
    for (size_t i = 0; i < s->nodes_count; i++) {
        size_t size = 2;
        while (size < 2 * (size_t)counts[i])
            size *= 2;
        if (counts[i])
            s->nodes[i].children = (uint32_t)total, s->nodes[i].mask = (uint32_t)(size - 1);
        total += counts[i] ? size : 0;
    }
    s->children = mem_new((total + 1) * sizeof *s->children);
    s->children_count = total;
    for (size_t i = 0; i < total; i++)
        s->children[i].node = SET_NONE;
    for (uint32_t i = 1; i < s->nodes_count; i++) {
        struct set_node *parent = &s->nodes[s->nodes[i].parent];
        uint64_t length = (uint64_t)1 << (s->nodes[i].name.len & 63);
        parent->lengths |= length;
        parent->stems |= s->nodes[i].mask ? length : 0;
        place_child(s, parent, i);
    }
    mem_free(counts);
}

void match_seal(struct match_set *s)
{
    if (!s->build)
        return;
    for (int i = 0; i < ENVELOPE_MEMBERS; i++)
        s->members[i] =
            intern_find(&s->build->names, 0, weir_text(envelope_names[i]), &s->arena)->number;
    hang_subs(s);
    free_build(s);
    values_seal(s);
    seal_nodes(s);
    store_trim(&s->texts);
    SET_TRIM(s, rules);
    SET_TRIM(s, nodes);
    SET_TRIM(s, fields);
    SET_TRIM(s, conds);
    SET_TRIM(s, items);
    SET_TRIM(s, tests);
    SET_TRIM(s, subs);
    SET_TRIM(s, groups);
}

size_t match_memory(const struct match_set *s)
{
    return sizeof *s + s->arena.used_bytes + store_bytes(&s->texts) + values_memory(s) +
           s->rules_cap * sizeof *s->rules + s->nodes_cap * sizeof *s->nodes +
           s->children_count * sizeof *s->children + s->fields_cap * sizeof *s->fields +
           s->conds_cap * sizeof *s->conds + s->items_cap * sizeof *s->items +
           s->tests_cap * sizeof(void *) + s->subs_cap * sizeof *s->subs +
           s->groups_cap * sizeof *s->groups +
           (s->pairs ? (s->pair_mask + 1) * sizeof *s->pairs : 0);
}
