/* match/plain.c: the plain matcher: the values of all paths in a list, every choice of them tried. */
#include "match/plain.h"

#include <stdlib.h>

#include "base/buf.h"
#include "json/json.h"

static int compare(weir_str a, weir_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool may_step(struct plain_event *ev, uint64_t steps)
{
    ev->steps += steps;
    ev->is_cut |= ev->steps > ev->steps_max;
    return !ev->is_cut;
}

/* ---- the paths of the pattern ------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return compare(*(const weir_str *)a, *(const weir_str *)b);
}

static void collect_paths(struct plain_event *ev, const struct pattern *p)
{
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < p->count; i++)
        count += p->subs[i].count;
    weir_str *paths = arena_take(&ev->arena, (count + 1) * sizeof *paths);
    count = 0;
    for (size_t i = 0; i < p->count; i++)
        for (size_t k = 0; k < p->subs[i].count; k++)
            paths[count++] = p->subs[i].lists[k]->path;
    qsort(paths, count, sizeof *paths, by_text);
    for (size_t i = 0; i < count; i++)
        if (!kept || compare(paths[kept - 1], paths[i]) != 0)
            paths[kept++] = paths[i];
    ev->paths = paths;
    ev->path_count = kept;
    ev->starts = arena_take(&ev->arena, (kept + 1) * sizeof *ev->starts);
}

/* The first path that is not before the text. */
static size_t lower_bound(const struct plain_event *ev, weir_str text)
{
    size_t from = 0, to = ev->path_count;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (compare(ev->paths[middle], text) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static bool begins(weir_str text, weir_str with)
{
    return text.len >= with.len && memcmp(text.ptr, with.ptr, with.len) == 0;
}

/* Is it one of the paths, or on the way to one? The room behind it takes a dot. */
static bool is_wanted(const struct plain_event *ev, struct buf *path)
{
    size_t at = lower_bound(ev, buf_str(path));
    if (at < ev->path_count && compare(ev->paths[at], buf_str(path)) == 0)
        return true;
    buf_add_char(path, '.');
    at = lower_bound(ev, buf_str(path));
    bool is_way = at < ev->path_count && begins(ev->paths[at], buf_str(path));
    path->len--;
    return is_way;
}

/* ---- the values of the event -------------------------------------------------------------------- */

struct member {
    weir_str name, value;
    size_t number;
    bool is_last; /* of those of that name: it counts */
};

struct walk {
    struct plain_event *event;
    struct buf path;
    bool is_inside; /* the path has a name, which may be empty */
};

static int by_name(const void *a, const void *b)
{
    const struct member *x = *(struct member *const *)a, *y = *(struct member *const *)b;
    int order = compare(x->name, y->name);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static void mark_last(struct member *members, size_t count)
{
    struct member **sorted = mem_new((count + 1) * sizeof(struct member *));
    for (size_t i = 0; i < count; i++)
        sorted[i] = &members[i];
    qsort(sorted, count, sizeof(struct member *), by_name);
    for (size_t i = 0; i < count; i++)
        sorted[i]->is_last = i + 1 == count || compare(sorted[i]->name, sorted[i + 1]->name) != 0;
    mem_free(sorted);
}

static void enter(struct walk *w, weir_str name)
{
    if (w->is_inside)
        buf_add_char(&w->path, '.');
    buf_add_str(&w->path, name);
}

static void add(struct walk *w, weir_str value, uint32_t frame);

static void add_object(struct walk *w, weir_str object, uint32_t frame)
{
    struct member *members = NULL;
    size_t count = 0, cap = 0, here = w->path.len;
    bool was_inside = w->is_inside;
    for (weir_json_each each = {0}; json_next(object, &each) && may_step(w->event, 1);) {
        weir_str quoted = {each.key.ptr - 1, each.key.len + 2};
        weir_str name = json_unquote(quoted, &w->event->arena);
        enter(w, name);
        struct member found = {name, each.value, count, false};
        if (is_wanted(w->event, &w->path))
            MEM_PUSH(members, count, cap) = found;
        w->path.len = here;
    }
    mark_last(members, count);
    for (size_t i = 0; i < count; i++) {
        if (!members[i].is_last)
            continue;
        enter(w, members[i].name);
        w->is_inside = true;
        add(w, members[i].value, frame);
        w->is_inside = was_inside;
        w->path.len = here;
    }
    mem_free(members);
}

static void add_array(struct walk *w, weir_str array, uint32_t frame)
{
    struct plain_event *ev = w->event;
    uint32_t number = ev->arrays++, index = 0;
    for (weir_json_each each = {0}; json_next(array, &each) && may_step(ev, 1); index++) {
        int kind = json_kind(each.value);
        uint32_t at = frame;
        if (kind == WEIR_JSON_OBJECT || kind == WEIR_JSON_ARRAY) {
            at = (uint32_t)ev->frame_count;
            uint32_t depth = ev->frames[frame].depth + 1;
            MEM_PUSH(ev->frames, ev->frame_count, ev->frame_cap) =
                (struct plain_frame){frame, number, index, depth};
        }
        add(w, each.value, at);
    }
}

static void add(struct walk *w, weir_str value, uint32_t frame)
{
    struct plain_event *ev = w->event;
    int kind = json_kind(value);
    if (kind == WEIR_JSON_ARRAY) {
        add_array(w, value, frame);
        return;
    }
    if (kind == WEIR_JSON_OBJECT) {
        add_object(w, value, frame);
        return;
    }
    size_t path = lower_bound(ev, buf_str(&w->path));
    if (path == ev->path_count || compare(ev->paths[path], buf_str(&w->path)) != 0)
        return;
    weir_str text = kind == WEIR_JSON_TEXT ? json_unquote(value, &ev->arena) : value;
    MEM_PUSH(ev->leaves, ev->leaf_count, ev->leaf_cap) =
        (struct plain_leaf){text, value, kind, frame, (uint32_t)path};
}

/* By path; among those of a path as they stand in the event. */
static void sort_leaves(struct plain_event *ev)
{
    struct plain_leaf *sorted = mem_new((ev->leaf_count + 1) * sizeof *sorted);
    size_t *starts = ev->starts;
    for (size_t i = 0; i < ev->leaf_count; i++)
        starts[ev->leaves[i].path + 1]++;
    for (size_t i = 0; i < ev->path_count; i++)
        starts[i + 1] += starts[i];
    size_t *next = mem_copy(starts, (ev->path_count + 1) * sizeof *next);
    for (size_t i = 0; i < ev->leaf_count; i++)
        sorted[next[ev->leaves[i].path]++] = ev->leaves[i];
    mem_free(next);
    mem_free(ev->leaves);
    ev->leaves = sorted;
}

void plain_init(struct plain_event *ev, weir_str json, const struct pattern *p, uint64_t steps_max)
{
    struct walk w = {.event = ev};
    *ev = (struct plain_event){.steps_max = steps_max};
    arena_init(&ev->arena);
    collect_paths(ev, p);
    MEM_PUSH(ev->frames, ev->frame_count, ev->frame_cap) = (struct plain_frame){0};
    json = json_trim(json);
    if (json_kind(json) == WEIR_JSON_OBJECT)
        add(&w, json, 0);
    sort_leaves(ev);
    buf_fini(&w.path);
}

void plain_fini(struct plain_event *ev)
{
    mem_free(ev->leaves);
    mem_free(ev->frames);
    arena_fini(&ev->arena);
}

const struct plain_leaf *plain_leaves(const struct plain_event *ev, const struct pattern_list *list,
                                      size_t *count)
{
    size_t path = lower_bound(ev, list->path);
    *count = ev->starts[path + 1] - ev->starts[path];
    return ev->leaves + ev->starts[path];
}

/* ---- the choices -------------------------------------------------------------------------------- */

static bool holds(struct plain_event *ev, const struct pattern_list *list,
                  const struct plain_leaf *leaf)
{
    return may_step(ev, list->count * (1 + leaf->text.len / 64)) &&
           pattern_list_holds(list, leaf->kind, leaf->text);
}

bool plain_is_satisfied(struct plain_event *ev, const struct pattern_list *list)
{
    size_t count;
    const struct plain_leaf *leaves = plain_leaves(ev, list, &count);
    for (size_t i = 0; i < count; i++)
        if (holds(ev, list, &leaves[i]))
            return true;
    return !count && pattern_list_takes_absent(list);
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
    struct plain_event *event;
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

static bool search(struct search *s, size_t at)
{
    struct plain_event *ev = s->event;
    if (at > s->reach)
        s->reach = at;
    if (at == s->sub->count)
        return true;
    const struct pattern_list *list = s->sub->lists[at];
    bool is_there = false;
    uint32_t tried = UINT32_MAX;
    size_t count;
    const struct plain_leaf *leaves = plain_leaves(ev, list, &count);
    for (size_t i = 0; i < count && may_step(ev, 1 + s->count); i++) {
        const struct plain_leaf *leaf = &leaves[i];
        if (!fits(s, leaf->frame))
            continue;
        is_there = true;
        if (leaf->frame == tried || !holds(ev, list, leaf))
            continue;
        tried = leaf->frame;
        s->frames[s->count++] = leaf->frame;
        bool is_found = search(s, at + 1);
        s->count--;
        if (is_found)
            return true;
    }
    return !is_there && !ev->is_cut && pattern_list_takes_absent(list) && search(s, at + 1);
}

size_t plain_reach(struct plain_event *ev, const struct pattern_sub *sub)
{
    struct search s = {.event = ev, .sub = sub};
    s.frames = mem_new((sub->count + 1) * sizeof *s.frames);
    (void)search(&s, 0);
    mem_free(s.frames);
    return s.reach;
}

bool plain_matches(struct plain_event *ev, const struct pattern *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (plain_reach(ev, &p->subs[i]) == p->subs[i].count)
            return true;
    return false;
}

static const char too_complex[] = "too complex: the event has too many values to choose from";

bool match_plain(weir_str pattern, weir_str json, bool *is_match, struct match_error *e)
{
    struct pattern p;
    struct arena arena;
    struct plain_event ev;
    arena_init(&arena);
    bool is_ok = pattern_parse(&p, pattern, &arena, e) == WEIR_OK;
    *is_match = false;
    if (is_ok && e)
        e->reason[0] = '\0';
    if (is_ok && json_check(json, NULL, NULL) == WEIR_OK) {
        plain_init(&ev, json, &p, PLAIN_STEPS_MAX);
        *is_match = plain_matches(&ev, &p);
        if (ev.is_cut && !*is_match && e)
            memcpy(e->reason, too_complex, sizeof too_complex);
        plain_fini(&ev);
    }
    arena_fini(&arena);
    return is_ok;
}
