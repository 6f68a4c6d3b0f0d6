/* match/set.c: patterns compiled together. */
#include "match/set.h"

#include <stdlib.h>

#include "base/hash.h"

/* ---- texts --------------------------------------------------------------------------------------- */

enum { TEXTS_BLOCK_BYTES = 4000 };

weir_str set_keep(struct set_texts *t, weir_str text)
{
    if (text.len > t->left) {
        bool is_large = text.len > TEXTS_BLOCK_BYTES / 4;
        size_t bytes = is_large ? text.len : TEXTS_BLOCK_BYTES;
        char *block = arena_take_raw(&t->blocks, bytes);
        t->bytes += bytes;
        if (is_large)
            return (weir_str){memcpy(block, text.ptr, text.len), text.len};
        t->free = block, t->left = bytes;
    }
    char *to = t->free;
    if (!text.len)
        return (weir_str){"", 0};
    memcpy(to, text.ptr, text.len);
    t->free += text.len, t->left -= text.len;
    return (weir_str){to, text.len};
}

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
                                        struct set_texts *texts)
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
    t->entries[at] = (struct intern_entry){hash, set_keep(texts, text), owner, SET_NONE};
    return &t->entries[at];
}

/* What only lives until the set is sealed. */
struct set_build {
    struct intern names, conds;
    struct set_texts sources; /* of conditions */
    struct arena parsed;      /* the pattern in hand */
};

static void free_build(struct match_set *s)
{
    if (!s->build)
        return;
    mem_free(s->build->names.entries);
    mem_free(s->build->conds.entries);
    arena_fini(&s->build->sources.blocks);
    arena_fini(&s->build->parsed);
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
    arena_init(&s->texts.blocks);
    s->build = MEM_NEW(struct set_build);
    arena_init(&s->build->parsed);
    arena_init(&s->build->sources.blocks);
    s->account = mem_text(env && env->account ? env->account : "000000000000");
    s->region = mem_text(env && env->region ? env->region : "us-east-1");
    s->seed = hash_seed();
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
    mem_free(s->subs);
    mem_free(s->sub_conds);
    mem_free(s->groups);
    mem_free(s->group_subs);
    mem_free(s->lazy_subs);
    mem_free(s->pairs);
    mem_free(s->account);
    mem_free(s->region);
    arena_fini(&s->texts.blocks);
    arena_fini(&s->arena);
    mem_free(s);
}

size_t match_count(const struct match_set *s)
{
    return s->rules_count;
}

static uint32_t child_of(struct match_set *s, uint32_t node, weir_str name)
{
    struct intern_entry *e = intern_find(&s->build->names, node, name, &s->texts);
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
        SET_PUSH(s, fields) =
            (struct set_field){.always = SET_NONE, .exists = SET_NONE, .node = node};
        s->nodes[node].field = (uint32_t)(s->fields_count - 1);
    }
    return s->nodes[node].field;
}

/* ---- conditions and subs ----------------------------------------------------------------------- */

static void fill_cond(struct match_set *s, uint32_t number, const struct pattern_list *list)
{
    struct set_cond *c = &s->conds[number];
    c->first_but = s->but_count;
    c->is_positive = true;
    for (size_t i = 0; i < list->count; i++) {
        const struct pattern_test *t = &list->tests[i];
        if (t->kind == PATTERN_ABSENT)
            c->takes_absent = true;
        if (t->kind != PATTERN_BUT) {
            values_add(s, c->field, t, (struct set_item){.id = number & SET_ID_MAX});
            continue;
        }
        struct set_item veto = {.id = s->but_count++ & SET_ID_MAX, .is_but = true};
        for (size_t k = 0; k < t->but.count; k++)
            values_add(s, c->field, &t->but.items[k], veto);
    }
    c->but_count = s->but_count - c->first_but;
    c->is_positive = !c->but_count && !c->takes_absent;
}

static unsigned weight(const struct pattern_list *list)
{
    unsigned most = 1;
    for (size_t i = 0; i < list->count; i++) {
        enum pattern_kind kind = list->tests[i].kind;
        unsigned w = kind == PATTERN_EXISTS                           ? 64
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
            (struct set_cond){.field = field, .rule = SET_NONE, .weight = weight(list)};
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

/* Values of the field are kept with their elements, and tested against the alternatives again. */
static void join_cond(struct match_set *s, uint32_t number, const struct pattern_list *list)
{
    struct set_cond *c = &s->conds[number];
    s->fields[c->field].is_joined = true;
    if (c->tests)
        return;
    c->tests = pattern_copy(list->tests, list->count, &s->arena);
    c->test_count = (uint32_t)list->count;
}

static void add_sub(struct match_set *s, uint32_t rule, const struct pattern_sub *from)
{
    struct set_sub sub = {.rule = rule,
                          .first_cond = (uint32_t)s->sub_conds_count,
                          .cond_count = (uint32_t)from->count,
                          .next_pair = SET_NONE};
    for (size_t i = 0; i < from->count; i++) {
        uint32_t cond = cond_of(s, from->lists[i]);
        SET_PUSH(s, sub_conds) = cond;
    }
    /* Paths of one first name need not be neighbours: "a-b" sorts between "a" and "a.c". */
    for (size_t i = 0; i < from->count; i++)
        for (size_t k = i + 1; k < from->count; k++) {
            if (!same_first_name(from->lists[i]->path, from->lists[k]->path))
                continue;
            join_cond(s, s->sub_conds[sub.first_cond + i], from->lists[i]);
            join_cond(s, s->sub_conds[sub.first_cond + k], from->lists[k]);
            sub.is_joined = true;
        }
    SET_PUSH(s, subs) = sub;
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
    for (size_t i = 0; i < p.count; i++)
        add_sub(s, (uint32_t)s->rules_count, &p.subs[i]);
    SET_PUSH(s, rules) = set_keep(&s->texts, pattern);
    return WEIR_OK;
}

/* ---- where a sub is hung ------------------------------------------------------------------------ */

struct place { /* of a sub: its rarest condition, and the field of the next */
    uint32_t access, field, second, sub;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->access != y->access)
        return x->access < y->access ? -1 : 1;
    if (x->field != y->field)
        return x->field < y->field ? -1 : 1;
    return (x->sub > y->sub) - (x->sub < y->sub);
}

/* The condition that the fewest subs use; not `other_than`. */
static uint32_t rarest(const struct match_set *s, const struct set_sub *sub, uint32_t other_than)
{
    uint32_t best = SET_NONE;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < sub->cond_count; i++) {
        uint32_t c = s->sub_conds[sub->first_cond + i];
        uint64_t cost = (uint64_t)s->conds[c].use_count * s->conds[c].weight;
        if (c != other_than && s->conds[c].is_positive && cost < least)
            best = c, least = cost;
    }
    return best;
}

/* Without a condition that must be met: a field that must be there, or none. */
static uint32_t needed_field(const struct match_set *s, const struct set_sub *sub)
{
    for (uint32_t i = 0; i < sub->cond_count; i++) {
        const struct set_cond *c = &s->conds[s->sub_conds[sub->first_cond + i]];
        if (!c->takes_absent)
            return c->field;
    }
    return SET_NONE;
}

static void grow_pairs(struct match_set *s, size_t count)
{
    size_t size = 64;
    while (size < 2 * count)
        size *= 2;
    s->pairs = mem_new(size * sizeof *s->pairs);
    s->pair_mask = size - 1;
    for (size_t i = 0; i < size; i++)
        s->pairs[i].sub = SET_NONE;
}

static void add_pair(struct match_set *s, const struct place *at)
{
    uint64_t key = set_pair_key(at->access, at->second);
    size_t i = set_mix(key) & s->pair_mask;
    while (s->pairs[i].sub != SET_NONE && s->pairs[i].key != key)
        i = (i + 1) & s->pair_mask;
    s->subs[at->sub].next_pair = s->pairs[i].sub;
    s->pairs[i] = (struct set_pair){key, at->sub};
}

enum { PAIR_GROUP_MIN = 8 };

/* A condition that one pattern is all about needs no groups. */
static bool seal_alone(struct match_set *s, const struct place *at)
{
    struct set_cond *c = &s->conds[at->access];
    const struct set_sub *sub = &s->subs[at->sub];
    if (c->use_count != 1 || sub->cond_count != 1)
        return false;
    c->rule = sub->rule;
    return true;
}

static size_t paired_count(const struct place *places, size_t count)
{
    size_t all = 0;
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i; end < count && places[end].access == places[i].access &&
                      places[end].field == places[i].field;)
            end++;
        if (places[i].field != SET_NONE && end - i > PAIR_GROUP_MIN)
            all += end - i;
    }
    return all;
}

static void seal_groups(struct match_set *s, const struct place *places, size_t count)
{
    grow_pairs(s, paired_count(places, count));
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i; end < count && places[end].access == places[i].access &&
                      places[end].field == places[i].field;)
            end++;
        struct set_cond *c = &s->conds[places[i].access];
        if (seal_alone(s, &places[i]))
            continue;
        if (!c->group_count++)
            c->first_group = (uint32_t)s->groups_count;
        struct set_group g = {places[i].field, (uint32_t)s->group_subs_count, (uint32_t)(end - i),
                              places[i].field != SET_NONE && end - i > PAIR_GROUP_MIN};
        for (size_t k = i; k < end; k++) {
            SET_PUSH(s, group_subs) = places[k].sub;
            if (g.is_paired)
                add_pair(s, &places[k]);
        }
        SET_PUSH(s, groups) = g;
    }
}

/* Subs without a positive condition: `access` is the field they need, or SET_NONE. */
static void seal_lazy(struct match_set *s, const struct place *places, size_t count)
{
    s->always_first = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        uint32_t at = (uint32_t)s->lazy_subs_count;
        SET_PUSH(s, lazy_subs) = places[i].sub;
        if (places[i].access == SET_NONE) {
            s->always_first = s->always_count++ ? s->always_first : at;
            continue;
        }
        struct set_field *f = &s->fields[places[i].access];
        if (!f->sub_count++)
            f->first_sub = at;
    }
}

static void hang_subs(struct match_set *s)
{
    struct place *placed = mem_new((s->subs_count + 1) * sizeof *placed);
    struct place *lazy = mem_new((s->subs_count + 1) * sizeof *lazy);
    size_t placed_count = 0, lazy_count = 0;
    for (uint32_t i = 0; i < s->subs_count; i++) {
        const struct set_sub *sub = &s->subs[i];
        uint32_t access = rarest(s, sub, SET_NONE);
        if (access == SET_NONE) {
            lazy[lazy_count++] = (struct place){needed_field(s, sub), 0, 0, i};
            continue;
        }
        uint32_t second = rarest(s, sub, access);
        uint32_t field = second == SET_NONE ? SET_NONE : s->conds[second].field;
        placed[placed_count++] = (struct place){access, field, second, i};
    }
    qsort(placed, placed_count, sizeof *placed, by_place);
    qsort(lazy, lazy_count, sizeof *lazy, by_place);
    seal_groups(s, placed, placed_count);
    seal_lazy(s, lazy, lazy_count);
    mem_free(placed);
    mem_free(lazy);
}

/* ---- the tree of names --------------------------------------------------------------------------- */

static void place_child(struct match_set *s, const struct set_node *parent, uint32_t node)
{
    weir_str name = s->nodes[node].name;
    uint64_t hash = set_name_hash(name.ptr, name.len);
    struct set_child *table = s->children + parent->children;
    size_t at = hash & parent->mask;
    while (table[at].node != SET_NONE)
        at = (at + 1) & parent->mask;
    table[at] = (struct set_child){hash, name, node};
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
        parent->lengths |= (uint64_t)1 << (s->nodes[i].name.len & 63);
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
            intern_find(&s->build->names, 0, weir_text(envelope_names[i]), &s->texts)->number;
    free_build(s);
    values_seal(s);
    seal_nodes(s);
    hang_subs(s);
    SET_TRIM(s, rules);
    SET_TRIM(s, nodes);
    SET_TRIM(s, fields);
    SET_TRIM(s, conds);
    SET_TRIM(s, items);
    SET_TRIM(s, subs);
    SET_TRIM(s, sub_conds);
    SET_TRIM(s, groups);
    SET_TRIM(s, group_subs);
    SET_TRIM(s, lazy_subs);
}

size_t match_memory(const struct match_set *s)
{
    return sizeof *s + s->arena.used_bytes + s->texts.bytes + values_memory(s) +
           s->rules_cap * sizeof *s->rules + s->nodes_cap * sizeof *s->nodes +
           s->children_count * sizeof *s->children + s->fields_cap * sizeof *s->fields +
           s->conds_cap * sizeof *s->conds + s->items_cap * sizeof *s->items +
           s->subs_cap * sizeof *s->subs + s->sub_conds_cap * sizeof *s->sub_conds +
           s->groups_cap * sizeof *s->groups + s->group_subs_cap * sizeof *s->group_subs +
           s->lazy_subs_cap * sizeof *s->lazy_subs +
           (s->pairs ? (s->pair_mask + 1) * sizeof *s->pairs : 0);
}
