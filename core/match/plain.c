/* match/plain.c: the plain matcher: all values in a list, every choice of them tried. */
#include "match/plain.h"

#include "json/json.h"

static const weir_str none;

static weir_str join(struct plain_event *ev, weir_str path, weir_str name)
{
    if (!path.ptr)
        return (weir_str){arena_copy(&ev->arena, name.ptr, name.len), name.len};
    char *all = arena_take(&ev->arena, path.len + name.len + 2);
    memcpy(all, path.ptr, path.len);
    all[path.len] = '.';
    memcpy(all + path.len + 1, name.ptr, name.len);
    return (weir_str){all, path.len + 1 + name.len};
}

static weir_str key_name(struct plain_event *ev, weir_str key)
{
    weir_str quoted = {key.ptr - 1, key.len + 2};
    return json_unquote(quoted, &ev->arena);
}

static bool comes_again(struct plain_event *ev, weir_str object, weir_json_each each, weir_str name)
{
    while (json_next(object, &each)) {
        weir_str other = key_name(ev, each.key);
        if (other.len == name.len && memcmp(other.ptr, name.ptr, name.len) == 0)
            return true;
    }
    return false;
}

static void add(struct plain_event *ev, weir_str path, weir_str value, uint32_t frame);

static void add_array(struct plain_event *ev, weir_str path, weir_str array, uint32_t frame)
{
    uint32_t number = ev->arrays++, index = 0;
    for (weir_json_each each = {0}; json_next(array, &each); index++) {
        int kind = json_kind(each.value);
        uint32_t at = frame;
        if (kind == WEIR_JSON_OBJECT || kind == WEIR_JSON_ARRAY) {
            at = (uint32_t)ev->frame_count;
            uint32_t depth = ev->frames[frame].depth + 1;
            MEM_PUSH(ev->frames, ev->frame_count, ev->frame_cap) =
                (struct plain_frame){frame, number, index, depth};
        }
        add(ev, path, each.value, at);
    }
}

static void add(struct plain_event *ev, weir_str path, weir_str value, uint32_t frame)
{
    int kind = json_kind(value);
    if (kind == WEIR_JSON_ARRAY) {
        add_array(ev, path, value, frame);
        return;
    }
    if (kind == WEIR_JSON_OBJECT) {
        for (weir_json_each each = {0}; json_next(value, &each);) {
            weir_str name = key_name(ev, each.key);
            if (!comes_again(ev, value, each, name))
                add(ev, join(ev, path, name), each.value, frame);
        }
        return;
    }
    weir_str text = kind == WEIR_JSON_TEXT ? json_unquote(value, &ev->arena) : value;
    MEM_PUSH(ev->leaves, ev->leaf_count, ev->leaf_cap) =
        (struct plain_leaf){path, text, value, kind, frame};
}

void plain_init(struct plain_event *ev, weir_str json)
{
    *ev = (struct plain_event){0};
    arena_init(&ev->arena);
    MEM_PUSH(ev->frames, ev->frame_count, ev->frame_cap) = (struct plain_frame){0};
    json = json_trim(json);
    if (json_kind(json) == WEIR_JSON_OBJECT)
        add(ev, none, json, 0);
}

void plain_fini(struct plain_event *ev)
{
    mem_free(ev->leaves);
    mem_free(ev->frames);
    arena_fini(&ev->arena);
}

static bool conflict(const struct plain_event *ev, uint32_t a, uint32_t b)
{
    const struct plain_frame *f = ev->frames;
    uint32_t last_a = a, last_b = b;
    while (f[a].depth > f[b].depth)
        last_a = a, a = f[a].parent;
    while (f[b].depth > f[a].depth)
        last_b = b, b = f[b].parent;
    if (a == b)
        return false; /* one is inside the other */
    while (a != b)
        last_a = a, last_b = b, a = f[a].parent, b = f[b].parent;
    return f[last_a].array == f[last_b].array;
}

struct search {
    const struct plain_event *event;
    const struct pattern_sub *sub;
    uint32_t *frames; /* chosen so far */
    size_t count, reach;
};

static bool fits(const struct search *s, uint32_t frame)
{
    for (size_t i = 0; i < s->count; i++)
        if (conflict(s->event, s->frames[i], frame))
            return false;
    return true;
}

static bool same_path(weir_str a, weir_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static bool search(struct search *s, size_t at)
{
    const struct plain_event *ev = s->event;
    if (at > s->reach)
        s->reach = at;
    if (at == s->sub->count)
        return true;
    const struct pattern_list *list = s->sub->lists[at];
    bool is_there = false;
    uint32_t tried = UINT32_MAX;
    for (size_t i = 0; i < ev->leaf_count; i++) {
        const struct plain_leaf *leaf = &ev->leaves[i];
        if (!same_path(leaf->path, list->path) || !fits(s, leaf->frame))
            continue;
        is_there = true;
        if (leaf->frame == tried || !pattern_list_holds(list, leaf->kind, leaf->text))
            continue;
        tried = leaf->frame;
        s->frames[s->count++] = leaf->frame;
        bool is_found = search(s, at + 1);
        s->count--;
        if (is_found)
            return true;
    }
    return !is_there && pattern_list_takes_absent(list) && search(s, at + 1);
}

size_t plain_reach(const struct plain_event *ev, const struct pattern_sub *sub)
{
    struct search s = {.event = ev, .sub = sub};
    s.frames = mem_new((sub->count + 1) * sizeof *s.frames);
    (void)search(&s, 0);
    mem_free(s.frames);
    return s.reach;
}

bool plain_matches(const struct plain_event *ev, const struct pattern *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (plain_reach(ev, &p->subs[i]) == p->subs[i].count)
            return true;
    return false;
}

bool match_plain(weir_str pattern, weir_str json, bool *is_match, struct match_error *e)
{
    struct pattern p;
    struct arena arena;
    struct plain_event ev;
    arena_init(&arena);
    bool is_ok = pattern_parse(&p, pattern, &arena, e) == WEIR_OK;
    *is_match = false;
    if (is_ok && json_check(json, NULL, NULL) == WEIR_OK) {
        plain_init(&ev, json);
        *is_match = plain_matches(&ev, &p);
        plain_fini(&ev);
    }
    arena_fini(&arena);
    return is_ok;
}
