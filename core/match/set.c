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
    struct intern names; /* that are not in the sealed tree */
    struct arena parsed; /* the pattern in hand */
    struct buf read;     /* the text of a condition, read last */
    uint32_t read_text;
    SET_LIST(uint32_t, subs);
};

static struct set_build *build_new(void)
{
    struct set_build *b = MEM_NEW(struct set_build);
    arena_init(&b->parsed);
    b->read_text = SET_NONE;
    return b;
}

static void free_build(struct match_set *s)
{
    if (!s->build)
        return;
    mem_free(s->build->names.entries);
    buf_fini(&s->build->read);
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

void set_init(struct match_set *s)
{
    arena_init(&s->arena);
    s->build = build_new();
    s->seed = hash_seed();
    s->always = SET_NONE;
    (void)add_node(s, 0, (weir_str){"", 0});
}

struct match_set *match_set_new(const struct match_env *env)
{
    struct match_set *s = MEM_NEW(struct match_set);
    atomic_init(&s->uses, 1);
    s->account = mem_text(env && env->account ? env->account : "000000000000");
    s->region = mem_text(env && env->region ? env->region : "us-east-1");
    set_init(s);
    return s;
}

void set_fini(struct match_set *s)
{
    free_build(s);
    values_free(s);
    mem_free(s->rules);
    mem_free(s->outside);
    mem_free(s->inside);
    mem_free(s->nodes);
    mem_free(s->children);
    mem_free(s->fields);
    mem_free(s->conds);
    mem_free(s->sources);
    mem_free(s->items);
    mem_free(s->tests);
    mem_free(s->subs);
    mem_free(s->groups);
    mem_free(s->pairs);
    mem_free(s->slots);
    store_fini(&s->texts);
    arena_fini(&s->arena);
    char *account = s->account, *region = s->region;
    unsigned uses = atomic_load(&s->uses);
    memset(s, 0, sizeof *s);
    s->account = account, s->region = region;
    atomic_init(&s->uses, uses);
}

#define COPY_LIST(s, name) \
    ((s)->name = mem_copy((s)->name, (s)->name##_count * sizeof(__typeof__(*(s)->name))), \
     (s)->name##_cap = (s)->name##_count)

void set_copy(struct match_set *s, const struct match_set *from)
{
    char *account = s->account, *region = s->region;
    memcpy(s, from, sizeof *s);
    atomic_init(&s->uses, 1);
    s->account = account, s->region = region;
    s->outside = s->inside = NULL;
    s->build = build_new();
    arena_init(&s->arena);
    COPY_LIST(s, rules);
    COPY_LIST(s, nodes);
    COPY_LIST(s, children); /* their names are those of `from` until these are sealed */
    COPY_LIST(s, fields);
    COPY_LIST(s, conds);
    COPY_LIST(s, sources);
    COPY_LIST(s, items);
    COPY_LIST(s, tests);
    COPY_LIST(s, subs);
    COPY_LIST(s, groups);
    for (size_t i = 0; i < s->nodes_count; i++)
        s->nodes[i].name.ptr = arena_copy(&s->arena, s->nodes[i].name.ptr, s->nodes[i].name.len);
    for (size_t i = 0; i < s->tests_count; i++)
        s->tests[i] = pattern_copy(s->tests[i], 1, &s->arena);
    s->pairs = mem_copy(from->pairs, (from->pair_mask + 1) * sizeof *from->pairs);
    s->slots = mem_copy(from->slots, from->slot_size * sizeof *from->slots);
    store_copy(&s->texts, &from->texts);
    values_copy(s, from);
}

void match_set_free(struct match_set *s)
{
    if (!s || atomic_fetch_sub(&s->uses, 1) > 1)
        return;
    change_free(s->change);
    set_fini(s);
    mem_free(s->account);
    mem_free(s->region);
    mem_free(s);
}

size_t match_count(const struct match_set *s)
{
    if (s->change)
        return change_count(s->change);
    return s->inside ? s->inside_count : s->rules_count;
}

static uint64_t name_head(weir_str name)
{
    return name.len ? set_load(name.ptr, name.len < 8 ? name.len : 8) : 0;
}

static uint32_t sealed_child(const struct match_set *s, uint32_t node, weir_str name)
{
    const struct set_node *n = &s->nodes[node];
    if (!s->children || !n->mask)
        return SET_NONE;
    uint64_t hash = set_name_hash(name_head(name), name.ptr, name.len);
    const struct set_child *table = s->children + n->children;
    size_t at = hash & n->mask;
    while (table[at].node != SET_NONE &&
           (table[at].name.len != name.len || memcmp(table[at].name.ptr, name.ptr, name.len) != 0))
        at = (at + 1) & n->mask;
    return table[at].node;
}

static uint32_t child_of(struct match_set *s, uint32_t node, weir_str name)
{
    uint32_t sealed = sealed_child(s, node, name);
    if (sealed != SET_NONE)
        return sealed;
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
    c->but_count = (s->but_count - c->first_but) & SET_BUTS_MAX;
    c->is_positive = !c->but_count && !c->takes_absent;
}

static uint32_t weight(const struct pattern_list *list)
{
    uint32_t most = 1;
    for (size_t i = 0; i < list->count; i++) {
        enum pattern_kind kind = list->tests[i].kind;
        uint32_t w = kind == PATTERN_EXISTS                           ? 64
                     : kind == PATTERN_RANGE || kind == PATTERN_CIDR  ? 4
                     : kind == PATTERN_TEXT || kind == PATTERN_NUMBER ? 1
                                                                      : 3;
        most = w > most ? w : most;
    }
    return most;
}

static uint32_t source_hash(const struct match_set *s, uint32_t field, weir_str source)
{
    return (uint32_t)(hash_bytes(source.ptr, source.len, s->seed ^ field) >> 32);
}

static void size_slots(struct match_set *s, size_t size)
{
    struct set_slot *old = s->slots;
    size_t old_size = s->slot_size;
    s->slots = mem_new(size * sizeof *s->slots);
    s->slot_size = size;
    for (size_t i = 0; i < size; i++)
        s->slots[i].cond = SET_NONE;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].cond == SET_NONE)
            continue;
        size_t at = (size_t)((uint64_t)old[i].hash * size >> 32);
        while (s->slots[at].cond != SET_NONE)
            at = at + 1 == size ? 0 : at + 1;
        s->slots[at] = old[i];
    }
    mem_free(old);
}

/* Alternatives are a JSON array, so no two begin with the same one. */
static bool is_source(struct match_set *s, const struct set_source *from, weir_str source)
{
    struct set_build *b = s->build;
    if (from->text == SET_NONE)
        return false;
    if (b->read_text != from->text) {
        b->read.len = 0;
        store_get(&s->texts, from->text, &b->read);
        b->read_text = from->text;
    }
    return b->read.len - from->at >= source.len &&
           memcmp(b->read.ptr + from->at, source.ptr, source.len) == 0;
}

/* The slot of the condition, or the free one for it. */
static struct set_slot *find_slot(struct match_set *s, uint32_t field, weir_str source)
{
    if (3 * (s->conds_count + 1) > 2 * s->slot_size)
        size_slots(s, s->slot_size + s->slot_size / (s->outside ? 8 : 2) + 16);
    uint32_t hash = source_hash(s, field, source);
    size_t at = (size_t)((uint64_t)hash * s->slot_size >> 32);
    for (; s->slots[at].cond != SET_NONE; at = at + 1 == s->slot_size ? 0 : at + 1) {
        uint32_t cond = s->slots[at].cond;
        if (s->slots[at].hash == hash && s->conds[cond].field == field &&
            is_source(s, &s->sources[cond], source))
            break;
    }
    s->slots[at].hash = hash;
    return &s->slots[at];
}

/* Of the pattern in hand, whose text is the last one. */
static uint32_t cond_of(struct match_set *s, weir_str pattern, const struct pattern_list *list)
{
    uint32_t field = field_of(s, list->path);
    struct set_slot *slot = find_slot(s, field, list->source);
    uint32_t to = slot->cond == SET_NONE ? SET_NONE : s->conds[slot->cond].to;
    /* Values lead from a condition that was all of a rule to the rule at once: it has no place for another. */
    bool is_taken = to != SET_NONE && to >> SET_NUMBER_BITS == SET_TO_RULE;
    if (slot->cond == SET_NONE || is_taken) {
        const char *at = memmem(pattern.ptr, pattern.len, list->source.ptr, list->source.len);
        uint32_t number = (uint32_t)s->conds_count;
        SET_PUSH(s, conds) = (struct set_cond){.field = field, .to = SET_NONE};
        SET_PUSH(s, sources) =
            (struct set_source){.text = at ? s->rules[s->rules_count - 1] : SET_NONE,
                                .at = at ? (uint32_t)(at - pattern.ptr) : 0,
                                .weight = weight(list)};
        slot->cond = number;
        fill_cond(s, number, list);
    }
    s->sources[slot->cond].use_count++;
    return slot->cond;
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

static void add_sub(struct match_set *s, weir_str text, const struct pattern_sub *from)
{
    struct set_build *b = s->build;
    SET_PUSH(b, subs) = (uint32_t)(s->rules_count - 1);
    SET_PUSH(b, subs) = SET_NONE;
    SET_PUSH(b, subs) = (uint32_t)from->count;
    size_t first = b->subs_count;
    for (size_t i = 0; i < from->count; i++) {
        uint32_t cond = cond_of(s, text, from->lists[i]);
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
bool set_has_room(const struct match_set *s, weir_str text, const struct pattern *p)
{
    const size_t most = (size_t)1 << SET_NUMBER_BITS;
    size_t words = s->subs_count + s->build->subs_count, bytes = s->texts.packed.len + s->bytes.len;
    for (size_t i = 0; i < p->count; i++)
        words += SET_SUB_WORDS + p->subs[i].count;
    /* Neither items nor the bytes that are kept are more than a pattern has, and a little. */
    return words < most && s->items_count + 2 * text.len < most && bytes + 4 * text.len < 2 * most;
}

void set_add(struct match_set *s, weir_str text, const struct pattern *p)
{
    SET_PUSH(s, rules) = store_put(&s->texts, text);
    for (size_t i = 0; i < p->count; i++)
        add_sub(s, text, &p->subs[i]);
}

struct arena *set_scratch(struct match_set *s)
{
    arena_reset(&s->build->parsed);
    return &s->build->parsed;
}

weir_status match_add(struct match_set *s, weir_str pattern, struct match_error *e)
{
    struct pattern p;
    if (!s->build) {
        if (e)
            *e = (struct match_error){"patterns cannot be added once events are tested", 0};
        return WEIR_E_REJECT;
    }
    if (s->change)
        return change_add(s, pattern, e);
    weir_status status = pattern_parse(&p, pattern, set_scratch(s), e);
    if (status != WEIR_OK)
        return status;
    if (!set_has_room(s, pattern, &p)) {
        if (e)
            *e = (struct match_error){"too many patterns for one set", 0};
        return WEIR_E_REJECT;
    }
    set_add(s, pattern, &p);
    return WEIR_OK;
}

/* ---- the tree of names --------------------------------------------------------------------------- */

static void place_child(struct match_set *s, const struct set_node *parent, uint32_t node)
{
    weir_str name = s->nodes[node].name;
    uint64_t head = name_head(name), hash = set_name_hash(head, name.ptr, name.len);
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
    mem_free(s->children);
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

static void trim(struct match_set *s)
{
    store_trim(&s->texts);
    SET_TRIM(s, rules);
    SET_TRIM(s, nodes);
    SET_TRIM(s, fields);
    SET_TRIM(s, conds);
    SET_TRIM(s, sources);
    SET_TRIM(s, items);
    SET_TRIM(s, tests);
    SET_TRIM(s, subs);
    SET_TRIM(s, groups);
}

void set_seal(struct match_set *s)
{
    hang_all(s, s->build->subs, s->build->subs_count);
    values_seal(s);
    size_slots(s, s->conds_count + s->conds_count / 2 + 1);
    seal_nodes(s);
    free_build(s);
    trim(s);
}

void set_seal_change(struct match_set *s)
{
    hang_more(s, s->build->subs, s->build->subs_count);
    seal_nodes(s);
    free_build(s);
    trim(s);
}

void match_seal(struct match_set *s)
{
    if (!s->build)
        return;
    if (s->change)
        change_seal(s);
    else
        set_seal(s);
    for (int i = 0; i < ENVELOPE_MEMBERS; i++)
        s->members[i] = sealed_child(s, 0, weir_text(envelope_names[i]));
}

size_t match_memory(const struct match_set *s)
{
    return sizeof *s + s->arena.used_bytes + store_bytes(&s->texts) + values_memory(s) +
           s->rules_cap * sizeof *s->rules + s->nodes_cap * sizeof *s->nodes +
           s->children_count * sizeof *s->children + s->fields_cap * sizeof *s->fields +
           s->conds_cap * sizeof *s->conds + s->sources_cap * sizeof *s->sources +
           s->items_cap * sizeof *s->items + s->tests_cap * sizeof(void *) +
           s->subs_cap * sizeof *s->subs + s->groups_cap * sizeof *s->groups +
           s->slot_size * sizeof *s->slots +
           (s->outside ? (s->rules_count + s->inside_count) * sizeof *s->outside : 0) +
           (s->pairs ? (s->pair_mask + 1) * sizeof *s->pairs : 0);
}
