/* match/scan.c: one walk over the bytes of an event; what no pattern names is skipped. */
#include "json/scan.h"
#include "base/text.h"
#include "match/run.h"
#include "json/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct walk {
    struct match_ctx *ctx;
    const char *end;
    unsigned depth;
};

struct name {
    const char *ptr, *close; /* as it stands, and its closing quote */
    size_t len;              /* of `ptr`; after unescaping no more up to `close` */
    bool has_escape, has_dot;
};

/* ---- skipping ------------------------------------------------------------------------------------ */

enum { BLOCK_BYTES = 64 };

/* A bit for each byte. */
struct block {
    uint64_t quotes, slashes, opens, closes;
};

static struct block read_block(const char *p)
{
    struct block b = {0, 0, 0, 0};
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i open = _mm_set1_epi8('{'), close = _mm_set1_epi8('}'), bit = _mm_set1_epi8(0x20);
    for (unsigned i = 0; i < BLOCK_BYTES; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i curly = _mm_or_si128(v, bit); /* [ and ] become { and } */
        b.quotes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, quote)) << i;
        b.slashes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, slash)) << i;
        b.opens |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(curly, open)) << i;
        b.closes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(curly, close)) << i;
    }
#else
    for (unsigned i = 0; i < BLOCK_BYTES; i++) {
        b.quotes |= (uint64_t)(p[i] == '"') << i;
        b.slashes |= (uint64_t)(p[i] == '\\') << i;
        b.opens |= (uint64_t)((p[i] | 0x20) == '{') << i;
        b.closes |= (uint64_t)((p[i] | 0x20) == '}') << i;
    }
#endif
    return b;
}

/* Where in a text a container is skipped: how deep, and all ones inside a text. */
struct skipping {
    size_t depth;
    uint64_t in_text;
};

/* Behind the bracket that closes the container, or NULL where none of the block does. */
static const char *skip_block(struct skipping *at, const char *p, const struct block *b)
{
    uint64_t text = b->quotes;
    for (unsigned shift = 1; shift < BLOCK_BYTES; shift *= 2)
        text ^= text << shift;
    text ^= at->in_text;
    at->in_text = 0 - (text >> 63);
    uint64_t marks = (b->opens | b->closes) & ~text;
    for (; marks; marks &= marks - 1) {
        at->depth += b->opens & marks & -marks ? 1 : (size_t)-1;
        if (!at->depth)
            return p + __builtin_ctzll(marks) + 1;
    }
    return NULL;
}

/* The same byte by byte, for blocks with escapes; *p is left behind the block or an escape. */
static const char *skip_bytes(struct skipping *at, const char **p, const char *end)
{
    const char *c = *p;
    for (; c < end; c++) {
        if (*c == '"')
            at->in_text = ~at->in_text;
        else if (at->in_text)
            c += *c == '\\';
        else if ((*c | 0x20) == '{')
            at->depth++;
        else if ((*c | 0x20) == '}' && !--at->depth)
            return c + 1;
    }
    *p = c;
    return NULL;
}

static const char *skip_container(const char *p, const char *end)
{
    struct skipping at = {0, 0};
    const char *behind = NULL;
    while (!behind && end - p >= BLOCK_BYTES) {
        struct block b = read_block(p);
        if (b.slashes) {
            behind = skip_bytes(&at, &p, p + BLOCK_BYTES);
            continue;
        }
        behind = skip_block(&at, p, &b);
        p += BLOCK_BYTES;
    }
    if (behind || p >= end)
        return behind;
    char last[BLOCK_BYTES] = {0};
    memcpy(last, p, (size_t)(end - p));
    struct block b = read_block(last);
    return b.slashes ? skip_bytes(&at, &p, end) : skip_block(&at, p, &b);
}

static const char *token_end(const char *p, const char *end)
{
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !scan_is_blank(*p))
        p++;
    return p;
}

static const char *skip(const char *p, const char *end)
{
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    if (*p != '"')
        return token_end(p, end);
    p = scan_text_end(p + 1, end);
    return p < end ? p + 1 : NULL;
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

/* From behind the opening quote. */
static bool read_name(struct name *n, const char *p, const char *end)
{
    n->ptr = p;
    n->has_escape = n->has_dot = false;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), dot = _mm_set1_epi8('.');
    while (end - p >= 16 && !n->has_escape) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned quotes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, quote));
        unsigned inside = quotes ? (quotes & -quotes) - 1 : 0xFFFF; /* bytes before the quote */
        n->has_escape = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, slash)) & inside;
        n->has_dot |= ((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, dot)) & inside) != 0;
        if (n->has_escape)
            break;
        if (quotes) {
            n->close = p + __builtin_ctz(quotes);
            n->len = (size_t)(n->close - n->ptr);
            return true;
        }
        p += 16;
    }
#endif
    const char *close = scan_text_end(p, end);
    n->has_escape = n->has_escape || memchr(p, '\\', (size_t)(close - p));
    n->has_dot = n->has_dot || memchr(p, '.', (size_t)(close - p));
    n->close = close;
    n->len = (size_t)(close - n->ptr);
    return close < end;
}

static uint32_t find_child(const struct match_set *s, const struct set_node *node, const char *p,
                           size_t len)
{
    if (!node->mask || !(node->lengths >> (len & 63) & 1))
        return SET_NONE;
    uint64_t hash = set_name_hash(p, len);
    const struct set_child *table = s->children + node->children;
    for (size_t at = hash & node->mask; table[at].node != SET_NONE; at = (at + 1) & node->mask)
        if (table[at].hash == hash && table[at].name.len == len &&
            memcmp(table[at].name.ptr, p, len) == 0)
            return table[at].node;
    return SET_NONE;
}

/* The node that a name leads to, and the slot that remembers this name in this object. */
static uint32_t find_name(struct walk *w, uint32_t node, const struct name *n, uint32_t *slot)
{
    const struct match_set *s = w->ctx->set;
    weir_str text = {n->ptr, n->len};
    bool has_dot = n->has_dot;
    if (n->has_escape) {
        text = unescape(&w->ctx->key, n->ptr, n->close);
        has_dot = memchr(text.ptr, '.', text.len) != NULL;
    }
    uint32_t parts = 0;
    const char *p = text.ptr, *end = p + text.len;
    while (has_dot) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        if (!dot)
            break;
        node = find_child(s, &s->nodes[node], p, (size_t)(dot - p));
        if (node == SET_NONE)
            return SET_NONE;
        p = dot + 1, parts++;
    }
    node = find_child(s, &s->nodes[node], p, (size_t)(end - p));
    if (node != SET_NONE)
        *slot = s->nodes[node].slots + parts;
    if (node != SET_NONE && parts)
        w->ctx->has_dotted = true;
    return node;
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

static const char *walk_value(struct walk *w, const char *p, uint32_t node, uint32_t frame);

static void feed(struct walk *w, const char *p, const char *behind, uint32_t field, uint32_t frame)
{
    struct match_ctx *c = w->ctx;
    weir_str token = {p, (size_t)(behind - p)}, text = token;
    int kind = *p == '"'                ? WEIR_JSON_TEXT
               : *p == 'n'              ? WEIR_JSON_NULL
               : *p == 't' || *p == 'f' ? WEIR_JSON_BOOL
                                        : WEIR_JSON_NUMBER;
    if (kind == WEIR_JSON_TEXT)
        text = scan_text(c, token);
    c->frame = frame;
    feed_value(c, field, kind, text);
}

static const char *walk_array(struct walk *w, const char *p, uint32_t node, uint32_t frame)
{
    struct match_ctx *c = w->ctx;
    uint32_t array = c->arrays++, index = 0;
    uint32_t depth = c->frames[frame].depth + 1;
    p = scan_blanks(p + 1, w->end);
    if (p < w->end && *p == ']')
        return p + 1;
    for (; p < w->end; index++) {
        uint32_t inner = frame;
        if (*p == '{' || *p == '[') {
            inner = (uint32_t)c->frames_count;
            SET_PUSH(c, frames) = (struct run_frame){frame, array, index, depth, node};
        }
        p = walk_value(w, p, node, inner);
        p = p ? scan_blanks(p, w->end) : w->end;
        if (p < w->end && *p == ']')
            return p + 1;
        if (p >= w->end || *p != ',')
            return NULL;
        p = scan_blanks(p + 1, w->end);
    }
    return NULL;
}

/* From a quote to the value behind the colon. */
static const char *walk_name(struct walk *w, const char *p, struct name *n)
{
    if (p >= w->end || *p != '"' || !read_name(n, p + 1, w->end))
        return NULL;
    p = scan_blanks(n->close + 1, w->end);
    if (p >= w->end || *p != ':')
        return NULL;
    p = scan_blanks(p + 1, w->end);
    return p < w->end ? p : NULL;
}

/* Behind a member: the quote of the next or, at the end, the brace; NULL where there is neither. */
static const char *walk_on(const struct walk *w, const char *p)
{
    p = p ? scan_blanks(p, w->end) : w->end;
    if (p >= w->end || (*p != ',' && *p != '}'))
        return NULL;
    return *p == '}' ? p : scan_blanks(p + 1, w->end);
}

static bool note_names(struct walk *w, const char *p, uint32_t node, uint64_t object)
{
    for (;;) {
        struct name n;
        uint32_t slot;
        const char *value = walk_name(w, p, &n);
        if (!value)
            return false;
        if (find_name(w, node, &n, &slot) != SET_NONE)
            w->ctx->slots[slot] = (struct run_slot){object, n.ptr};
        p = walk_on(w, skip(value, w->end));
        if (!p || (p < w->end && *p == '}'))
            return p != NULL;
    }
}

static const char *walk_object(struct walk *w, const char *p, uint32_t node, uint32_t frame)
{
    const struct match_set *s = w->ctx->set;
    if (!s->nodes[node].mask)
        return skip_container(p, w->end);
    uint64_t object = ++w->ctx->objects;
    p = scan_blanks(p + 1, w->end);
    if (p < w->end && *p == '}')
        return p + 1;
    if (w->ctx->is_careful && !note_names(w, p, node, object))
        return NULL;
    while (p) {
        struct name n;
        uint32_t slot = 0;
        p = walk_name(w, p, &n);
        if (!p)
            return NULL;
        uint32_t child = find_name(w, node, &n, &slot);
        if (child != SET_NONE && is_counted(w->ctx, slot, object, n.ptr))
            p = walk_value(w, p, child, frame);
        else
            p = skip(p, w->end);
        p = walk_on(w, p);
        if (p && p < w->end && *p == '}')
            return p + 1;
    }
    return NULL;
}

static const char *walk_value(struct walk *w, const char *p, uint32_t node, uint32_t frame)
{
    uint32_t field = w->ctx->set->nodes[node].field;
    if (*p == '{' || *p == '[') {
        if (w->depth == JSON_DEPTH_MAX)
            return NULL;
        w->depth++;
        p = *p == '{' ? walk_object(w, p, node, frame) : walk_array(w, p, node, frame);
        w->depth--;
        return p;
    }
    const char *behind = skip(p, w->end);
    if (behind == p)
        return NULL;
    if (behind && field != SET_NONE)
        feed(w, p, behind, field, frame);
    return behind;
}

const char *scan_value(struct match_ctx *c, weir_str text, uint32_t node)
{
    struct walk w = {.ctx = c, .end = text.ptr + text.len};
    const char *p = scan_blanks(text.ptr, w.end);
    return p < w.end ? walk_value(&w, p, node, 0) : NULL;
}
