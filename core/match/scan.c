/* match/scan.c: one walk over the bytes of an event; what no pattern names is skipped. */
#include "json/scan.h"
#include "base/text.h"
#include "match/run.h"
#include "json/json.h"

/* Between two tokens. */
struct cursor {
    const struct masks_block *block;
    const char *start; /* of the block */
    uint64_t tokens;   /* of the block, that are still ahead */
};

struct walk {
    struct match_ctx *ctx;
    struct cursor at;
    const struct masks_block *last; /* of the text */
    const char *end;
    unsigned depth, found; /* enum masks_found */
};

/* ---- tokens --------------------------------------------------------------------------------------- */

static const char no_token[] = "";

static inline void enter_block(struct cursor *at)
{
    at->block++;
    at->start += MASKS_BLOCK_BYTES;
    at->tokens = at->block->tokens;
}

/* The next quote, bracket or comma, or no_token. */
static inline const char *peek(const struct walk *w, struct cursor *at)
{
    while (!at->tokens) {
        if (at->block == w->last)
            return no_token;
        enter_block(at);
    }
    return at->start + __builtin_ctzll(at->tokens);
}

static inline const char *take(const struct walk *w, struct cursor *at)
{
    const char *p = peek(w, at);
    at->tokens &= at->tokens - 1;
    return p;
}

/* The bracket among the marks at which the depth falls to `outside`, or 0. */
static inline uint64_t find_close(const struct masks_block *b, uint64_t marks, int32_t depth,
                                  int32_t outside)
{
    for (; marks; marks &= marks - 1) {
        uint64_t bit = marks & -marks;
        depth += b->opens & bit ? 1 : -1;
        if (depth == outside)
            return bit;
    }
    return 0;
}

/* Behind the bracket that closes the container whose opening one was taken last. */
static bool skip_container(struct walk *w)
{
    int32_t outside = (int32_t)w->depth, depth = outside + 1;
    for (;;) {
        const struct masks_block *b = w->at.block;
        uint64_t close = 0;
        if (b->low <= outside)
            close = find_close(b, (b->opens | b->closes) & w->at.tokens, depth, outside);
        if (close) {
            w->at.tokens &= ~(close | (close - 1));
            return true;
        }
        if (b == w->last)
            return false;
        enter_block(&w->at);
        depth = w->at.block->depth;
    }
}

/* The quote that closes the text at p, or no_token. */
static inline const char *take_text(const struct walk *w, struct cursor *at, const char *p)
{
    return take(w, at) == p ? take(w, at) : no_token;
}

/* ---- texts ---------------------------------------------------------------------------------------- */

static weir_str unescape(struct buf *scratch, const char *p, const char *close)
{
    static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
    scratch->len = 0;
    char *start = buf_room(scratch, (size_t)(close - p) + 4), *to = start;
    while (p < close) {
        if (*p != '\\' || close - p < 2) {
            *to++ = *p++;
            continue;
        }
        const char *known = strchr(from, p[1]), *next = p + 2;
        if (p[1] == 'u') {
            long c = scan_unicode(p + 2, close, &next);
            to += text_put_utf8(to, c < 0 ? '?' : (uint32_t)c);
            p = c < 0 ? p + 2 : next;
            continue;
        }
        *to = p[1];
        if (known && p[1])
            *to = into[known - from];
        to++;
        p = next;
    }
    weir_str s = {start, (size_t)(to - start)};
    return s;
}

weir_str scan_text(struct match_ctx *c, weir_str token)
{
    weir_str text = {token.ptr + 1, token.len - 2};
    if (!memchr(text.ptr, '\\', text.len))
        return text;
    return unescape(&c->text, text.ptr, text.ptr + text.len);
}

/* ---- names ---------------------------------------------------------------------------------------- */

static inline uint64_t length_bit(size_t len)
{
    return (uint64_t)1 << (len & 63);
}

static uint32_t look_up(const struct match_set *s, const struct set_node *node, weir_str name,
                        uint64_t head)
{
    uint64_t hash = set_name_hash(head, name.ptr, name.len);
    const struct set_child *table = s->children + node->children;
    for (size_t at = hash & node->mask; table[at].node != SET_NONE; at = (at + 1) & node->mask)
        if (table[at].head == head && table[at].name.len == name.len &&
            (name.len <= 8 || memcmp(table[at].name.ptr + 8, name.ptr + 8, name.len - 8) == 0))
            return table[at].node;
    return SET_NONE;
}

/* `end` is of the text that the name is a part of. */
static inline uint32_t find_child(const struct match_set *s, const struct set_node *node,
                                  weir_str name, const char *end)
{
    uint64_t head = 0;
    if (!node->mask || !(node->lengths & length_bit(name.len)))
        return SET_NONE;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (end - name.ptr >= 8 && name.len) {
        memcpy(&head, name.ptr, 8);
        head &= name.len < 8 ? ((uint64_t)1 << 8 * name.len) - 1 : UINT64_MAX;
        return look_up(s, node, name, head);
    }
#endif
    if (name.len)
        head = set_load(name.ptr, name.len < 8 ? name.len : 8);
    return look_up(s, node, name, head);
}

/* Is there a dot behind what could be the name of a child with children? */
static inline bool may_lead_on(const struct set_node *node, weir_str name)
{
    for (uint64_t stems = node->stems; stems; stems &= stems - 1)
        for (size_t at = (size_t)__builtin_ctzll(stems); at < name.len; at += 64)
            if (name.ptr[at] == '.')
                return true;
    return false;
}

/* By the parts of a name with dots. */
static uint32_t find_parts(struct match_ctx *c, uint32_t node, weir_str name, uint32_t *slot)
{
    const struct match_set *s = c->set;
    uint32_t parts = 0;
    const char *end = name.ptr + name.len;
    for (const char *dot; (dot = memchr(name.ptr, '.', name.len)); parts++) {
        weir_str part = {name.ptr, (size_t)(dot - name.ptr)};
        node = find_child(s, &s->nodes[node], part, end);
        if (node == SET_NONE)
            return SET_NONE;
        name = (weir_str){dot + 1, (size_t)(end - dot - 1)};
    }
    node = find_child(s, &s->nodes[node], name, end);
    if (node == SET_NONE)
        return SET_NONE;
    *slot = s->nodes[node].slots + parts;
    c->has_dotted |= parts != 0;
    return node;
}

/* The node that a name leads to, and the slot that remembers this name in this object. */
static inline uint32_t find_name(const struct walk *w, uint32_t number, weir_str name,
                                 uint32_t *slot)
{
    const struct match_set *s = w->ctx->set;
    const struct set_node *node = &s->nodes[number];
    if (w->found & MASKS_SLASH && memchr(name.ptr, '\\', name.len))
        return find_parts(w->ctx, number, unescape(&w->ctx->key, name.ptr, name.ptr + name.len),
                          slot);
    if (node->stems && may_lead_on(node, name))
        return find_parts(w->ctx, number, name, slot);
    uint32_t child = find_child(s, node, name, w->end);
    *slot = child == SET_NONE ? 0 : s->nodes[child].slots;
    return child;
}

/* Of a name that comes again in its object only the last one counts. */
static bool is_counted(struct match_ctx *c, uint32_t slot, uint64_t object, const char *key)
{
    struct run_slot *at = &c->slots[slot];
    if (c->is_careful)
        return at->key == key;
    if (at->object == object)
        c->has_duplicate = true;
    at->object = object;
    return true;
}

/* ---- values --------------------------------------------------------------------------------------- */

static inline bool walk_value(struct walk *w, const char *p, uint32_t node, uint32_t frame);

static void feed(struct walk *w, weir_str token, uint32_t field, uint32_t frame)
{
    struct match_ctx *c = w->ctx;
    weir_str text = token;
    char first = *token.ptr;
    int kind = first == '"'                   ? WEIR_JSON_TEXT
               : first == 'n'                 ? WEIR_JSON_NULL
               : first == 't' || first == 'f' ? WEIR_JSON_BOOL
                                              : WEIR_JSON_NUMBER;
    if (kind == WEIR_JSON_TEXT) {
        text = (weir_str){token.ptr + 1, token.len - 2};
        if (w->found & MASKS_SLASH)
            text = scan_text(c, token);
    }
    c->frame = frame;
    feed_value(c, field, kind, text);
}

/* A text, number, true, false or null at p. */
static bool walk_scalar(struct walk *w, const char *p, uint32_t field, uint32_t frame)
{
    const char *behind;
    if (*p == '"') {
        behind = take_text(w, &w->at, p);
        if (behind == no_token)
            return false;
        behind++;
    } else {
        behind = peek(w, &w->at);
        if (behind == no_token)
            behind = w->end;
        while (behind > p && scan_is_blank(behind[-1]))
            behind--;
    }
    if (behind > p && field != SET_NONE)
        feed(w, (weir_str){p, (size_t)(behind - p)}, field, frame);
    return behind > p;
}

/* From behind its opening bracket to behind the closing one. */
static bool walk_array(struct walk *w, const char *p, uint32_t node, uint32_t frame)
{
    struct match_ctx *c = w->ctx;
    uint32_t array = c->arrays++, depth = c->frames[frame].depth + 1;
    p = scan_blanks(p, w->end);
    if (p < w->end && *p == ']')
        return take(w, &w->at) == p;
    for (uint32_t index = 0; p < w->end; index++) {
        uint32_t inner = frame;
        if (*p == '{' || *p == '[') {
            inner = (uint32_t)c->frames_count;
            SET_PUSH(c, frames) = (struct run_frame){frame, array, index, depth, node};
        }
        if (!walk_value(w, p, node, inner))
            return false;
        p = take(w, &w->at);
        if (*p == ']')
            return true;
        if (*p != ',')
            return false;
        p = scan_blanks(p + 1, w->end);
    }
    return false;
}

struct member {
    weir_str name;
    const char *value;
    uint32_t node, slot;
    bool is_bad;
};

/* From behind a name to its value; NULL: there is none. */
static inline const char *value_of(const struct walk *w, const char *p)
{
    p = scan_blanks(p, w->end);
    if (p == w->end || *p != ':')
        return NULL;
    p = scan_blanks(p + 1, w->end);
    return p < w->end ? p : NULL;
}

static inline bool skip(struct walk *w, struct cursor *at, const char *p)
{
    if (*p == '"') {
        (void)take(w, at);
        (void)take(w, at);
        return true;
    }
    if (*p != '{' && *p != '[')
        return true;
    (void)take(w, at);
    w->at = *at;
    bool is_good = skip_container(w);
    *at = w->at;
    return is_good;
}

/* Behind a member: is there another? */
static inline bool take_comma(const struct walk *w, struct cursor *at, struct member *m)
{
    const char *p = take(w, at);
    m->is_bad = *p != ',' && *p != '}';
    return *p == ',';
}

/* From in front of a name: the next one that the node has; the others are skipped. False: there is
 * none, or it is no object (is_bad). */
static bool next_member(struct walk *w, uint32_t node, struct member *m)
{
    struct cursor at = w->at;
    bool is_there = false;
    do {
        const char *name = take(w, &at), *close = take(w, &at), *value;
        m->is_bad = *name != '"' || *close != '"' || !(value = value_of(w, close + 1));
        if (m->is_bad)
            break;
        weir_str text = {name + 1, (size_t)(close - name - 1)};
        uint32_t slot, child = find_name(w, node, text, &slot);
        if (child != SET_NONE) {
            m->name = text, m->value = value, m->node = child, m->slot = slot;
            is_there = true;
            break;
        }
        m->is_bad = !skip(w, &at, value);
    } while (!m->is_bad && take_comma(w, &at, m));
    w->at = at;
    return is_there;
}

static bool note_names(struct walk w, uint32_t node, uint64_t object)
{
    struct member m;
    while (next_member(&w, node, &m)) {
        w.ctx->slots[m.slot] = (struct run_slot){object, m.name.ptr};
        if (!skip(&w, &w.at, m.value))
            return false;
        if (!take_comma(&w, &w.at, &m))
            break;
    }
    return !m.is_bad;
}

static bool walk_object(struct walk *w, uint32_t node, uint32_t frame)
{
    uint64_t object = ++w->ctx->objects;
    struct member m;
    if (*peek(w, &w->at) == '}')
        return take(w, &w->at) != no_token;
    if (w->ctx->is_careful && !note_names(*w, node, object))
        return false;
    while (next_member(w, node, &m)) {
        bool is_good = is_counted(w->ctx, m.slot, object, m.name.ptr)
                           ? walk_value(w, m.value, m.node, frame)
                           : skip(w, &w->at, m.value);
        if (!is_good)
            return false;
        if (!take_comma(w, &w->at, &m))
            break;
    }
    return !m.is_bad;
}

static bool walk_container(struct walk *w, const char *p, uint32_t node, uint32_t frame)
{
    if (take(w, &w->at) != p || w->depth == JSON_DEPTH_MAX)
        return false;
    if (*p == '{' && !w->ctx->set->nodes[node].mask)
        return skip_container(w);
    w->depth++;
    bool is_good = *p == '{' ? walk_object(w, node, frame) : walk_array(w, p + 1, node, frame);
    w->depth--;
    return is_good;
}

static inline bool walk_value(struct walk *w, const char *p, uint32_t node, uint32_t frame)
{
    if (*p == '{' || *p == '[')
        return walk_container(w, p, node, frame);
    return walk_scalar(w, p, w->ctx->set->nodes[node].field, frame);
}

bool scan_value(struct match_ctx *c, weir_str text, uint32_t node, bool is_checked)
{
    size_t count = masks_count(text.len);
    if (count > c->blocks_cap) {
        c->blocks_cap = count + count / 2;
        c->blocks = mem_grow(c->blocks, c->blocks_cap * sizeof *c->blocks);
    }
    bool is_one_pass = is_checked && masks_are_fast();
    if (is_checked && !is_one_pass && json_check(text, NULL, NULL) != WEIR_OK)
        return false;
    unsigned found = is_one_pass ? masks_check(text, c->blocks) : masks_read(text, c->blocks);
    if (found & MASKS_BAD)
        return false;
    struct walk w = {.ctx = c,
                     .at = {c->blocks, text.ptr, c->blocks->tokens},
                     .last = c->blocks + count - 1,
                     .end = text.ptr + text.len,
                     .found = found};
    const char *p = scan_blanks(text.ptr, w.end);
    return p < w.end && walk_value(&w, p, node, 0);
}
