/* unit/match_pairs.h: random events, and patterns made from them so that about half of them match. */
#pragma once
#include "base/buf.h"
#include "unit/match_naive.h"

struct pairs {
    uint64_t seed;
    struct arena *arena; /* of the pair at hand */
};

static uint32_t pairs_random(struct pairs *p, uint32_t below)
{
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 7;
    p->seed ^= p->seed << 17;
    return (uint32_t)(p->seed * 0x2545f4914f6cdd1dULL >> 33) % below;
}

static bool pairs_chance(struct pairs *p, uint32_t percent)
{
    return pairs_random(p, 100) < percent;
}

#define PAIRS_ONE_OF(p, list) ((list)[pairs_random((p), sizeof(list) / sizeof *(list))])

/* ---- what events and patterns are made of -------------------------------------------------------- */

static const char *const pairs_names[] = {"a",
                                          "b",
                                          "c",
                                          "a",
                                          "b",
                                          "d",
                                          "a.b",
                                          "b.c",
                                          "",
                                          ".",
                                          "a.",
                                          "\xc3\xa9",
                                          "a\"b",
                                          "a\\",
                                          "prefix",
                                          "exists",
                                          "or",
                                          "$OR",
                                          "detail",
                                          "a name that is longer than sixteen bytes",
                                          "\xf0\x9f\x98\x80"};

static const char *const pairs_texts[] = {
    "",
    "a",
    "b",
    "ab",
    "aB",
    "AB",
    "abc",
    "aab",
    "aaab",
    "abab",
    "x",
    "*",
    "a*b",
    "\\",
    "\\*",
    "\"",
    "a\"",
    "/",
    ".png",
    "a.png",
    "true",
    "null",
    "5",
    "1.0",
    "\xc3\x9f",
    "SS",
    "ss",
    "\xc7\x85",
    "\xc7\x84",
    "\xc4\xb0",
    "i",
    "I",
    "i\xcc\x87",
    "\xc4\xb1",
    "\xe2\x84\xaa",
    "k",
    "K",
    "\xcf\x83",
    "\xcf\x82",
    "\xce\xa3",
    "\xce\x90",
    "\xce\x99\xcc\x88\xcc\x81",
    "\xef\xac\x83",
    "FFI",
    "\xf0\x90\x90\x80",
    "\xf0\x90\x90\xa8",
    "\xf0\x9f\x98\x80",
    "stra\xc3\x9f\x65",
    "STRASSE",
    "10.0.0.1",
    "010.0.0.01",
    "10.0.0.255",
    "10.0.1.0",
    "255.255.255.255",
    "0.0.0.0",
    "10.0.0.256",
    "10.0.0",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::",
    "::ffff:a00:1",
    "::FFFF:A00:1",
    "fe80::1",
    "FE80::0001",
    "1::",
    "1:2:3:4:5:6:7::",
    "1:2:3:4:5:6:7:8",
    "::2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    ":",
    "12345::",
    ":1",
    "a:b",
    "a longer text of more than thirty-two bytes, which some code treats in another way",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};

static const char *const pairs_numbers[] = {"0",
                                            "-0",
                                            "0.0",
                                            "0e5",
                                            "-0.0e-3",
                                            "1",
                                            "1.0",
                                            "1e0",
                                            "10e-1",
                                            "-1",
                                            "2",
                                            "3",
                                            "5",
                                            "5.0",
                                            "5e0",
                                            "300",
                                            "300.0",
                                            "3e2",
                                            "0.3E+3",
                                            "30000e-2",
                                            "0.1",
                                            "0.10",
                                            "1e-1",
                                            "1.5",
                                            "-1.5",
                                            "1e300",
                                            "1e-300",
                                            "1e308",
                                            "1.7976931348623157e308",
                                            "1.7976931348623159e308",
                                            "1e309",
                                            "1e400",
                                            "-1e400",
                                            "10e399",
                                            "1e-400",
                                            "5e-324",
                                            "4.9e-324",
                                            "2e-324",
                                            "2.2250738585072014e-308",
                                            "9007199254740991",
                                            "9007199254740992",
                                            "9007199254740993",
                                            "9007199254740992.0",
                                            "9007199254740994",
                                            "1234567890123456789",
                                            "100000000000000000000",
                                            "1e20",
                                            "0.30000000000000004",
                                            "0.3",
                                            "0.1234567890123456",
                                            "0.12345678901234567",
                                            "0.123456789012345678",
                                            "1e23",
                                            "9.999999999999999e22",
                                            "123456789012",
                                            "5e9",
                                            "-5e9",
                                            "4999999999.999999",
                                            "1e999999999999",
                                            "0e999999999999",
                                            "1e-999999999999",
                                            "1.00000000000000000000000000000001",
                                            "3.0000000000000000000000000000000"};

static void pairs_set(struct naive_node *n, enum naive_kind kind, weir_str text)
{
    *n = (struct naive_node){kind, text, NULL, NULL, 0};
}

static weir_str pairs_name(struct pairs *p)
{
    return weir_text(pairs_names[pairs_random(
        p, pairs_chance(p, 75) ? 5 : sizeof pairs_names / sizeof *pairs_names)]);
}

static weir_str pairs_text(struct pairs *p)
{
    if (pairs_chance(p, 3))
        return (weir_str){"a\0b", 3};
    if (pairs_chance(p, 80))
        return weir_text(PAIRS_ONE_OF(p, pairs_texts));
    size_t len = 0;
    char *text = arena_take(p->arena, 256);
    for (uint32_t n = 1 + pairs_random(p, 3); n; n--) {
        weir_str piece = weir_text(PAIRS_ONE_OF(p, pairs_texts));
        size_t fits = piece.len < 80 ? piece.len : 0;
        memcpy(text + len, piece.ptr, fits);
        len += fits;
    }
    return (weir_str){text, len};
}

static weir_str pairs_number(struct pairs *p)
{
    if (pairs_chance(p, 75))
        return weir_text(PAIRS_ONE_OF(p, pairs_numbers));
    uint32_t a = pairs_random(p, 12), b = pairs_random(p, 1000000000), c = pairs_random(p, 10000);
    uint32_t e = pairs_random(p, 330);
    switch (pairs_random(p, 10)) {
    case 0:
        return weir_text(arena_format(p->arena, "%u%09u%09u", a, b, c));
    case 1:
        return weir_text(arena_format(p->arena, "%u.%09u%09u", a, b, c));
    case 2:
        return weir_text(arena_format(p->arena, "0.00%u%09u%04ue%u", a, b, c, e));
    case 3:
        return weir_text(arena_format(p->arena, "%u%09u%04ue-%u", a, b, c, e));
    case 4:
        return weir_text(arena_format(p->arena, "%u.0", a));
    case 5:
        return weir_text(arena_format(p->arena, "%ue1", a));
    case 6:
        return weir_text(arena_format(p->arena, "-%u.5", a));
    case 7:
        return weir_text(arena_format(p->arena, "%u0e-1", a));
    default:
        return weir_text(arena_format(p->arena, "%u", a));
    }
}

static void pairs_scalar(struct pairs *p, struct naive_node *to)
{
    switch (pairs_random(p, 10)) {
    case 0:
        pairs_set(to, NAIVE_NULL, weir_text("null"));
        break;
    case 1:
        pairs_set(to, NAIVE_TRUE, weir_text("true"));
        break;
    case 2:
        pairs_set(to, NAIVE_FALSE, weir_text("false"));
        break;
    case 3:
    case 4:
    case 5:
        pairs_set(to, NAIVE_NUMBER, pairs_number(p));
        break;
    default:
        pairs_set(to, NAIVE_STRING, pairs_text(p));
        break;
    }
}

static void pairs_value(struct pairs *p, struct naive_node *to, unsigned depth);

static void pairs_container(struct pairs *p, struct naive_node *to, bool is_object, unsigned depth)
{
    *to = (struct naive_node){.kind = is_object ? NAIVE_OBJECT : NAIVE_ARRAY};
    to->count = pairs_random(p, is_object ? 4 : 4);
    to->items = arena_take(p->arena, (to->count + 1) * sizeof *to->items);
    to->keys = arena_take(p->arena, (to->count + 1) * sizeof *to->keys);
    for (size_t i = 0; i < to->count; i++) {
        to->keys[i] = pairs_name(p);
        for (size_t j = 0; j < i && !pairs_chance(p, 5); j++)
            if (naive_same(to->keys[i], to->keys[j]))
                to->keys[i] = weir_text(i % 2 ? "e" : "f");
        pairs_value(p, &to->items[i], depth + 1);
    }
}

/* Elements that are alike, of few values: what they share decides. */
static void pairs_table(struct pairs *p, struct naive_node *to, unsigned depth)
{
    static const char *const columns[] = {"a", "b", "c", "d"};
    pairs_container(p, to, false, depth + 4);
    for (size_t i = 0; i < to->count; i++) {
        struct naive_node *row = &to->items[i];
        *row = (struct naive_node){.kind = NAIVE_OBJECT};
        row->items = arena_take(p->arena, 4 * sizeof *row->items);
        row->keys = arena_take(p->arena, 4 * sizeof *row->keys);
        for (size_t k = 0; k < 4; k++) {
            if (pairs_chance(p, 30))
                continue;
            row->keys[row->count] = weir_text(columns[k]);
            struct naive_node *cell = &row->items[row->count++];
            if (depth < 3 && pairs_chance(p, 20))
                pairs_table(p, cell, depth + 1);
            else
                pairs_set(cell, NAIVE_STRING, weir_text(pairs_chance(p, 50) ? "1" : "2"));
        }
    }
}

static void pairs_value(struct pairs *p, struct naive_node *to, unsigned depth)
{
    uint32_t of = pairs_random(p, 10 + 3 * depth);
    if (!depth || of < 4)
        pairs_container(p, to, true, depth);
    else if (of < 5)
        pairs_table(p, to, depth);
    else if (of < 8)
        pairs_container(p, to, false, depth);
    else
        pairs_scalar(p, to);
}

/* ---- writing ------------------------------------------------------------------------------------- */

static void pairs_blank(struct pairs *p, struct buf *b)
{
    if (pairs_chance(p, 6))
        buf_add_char(b, " \t\n\r"[pairs_random(p, 4)]);
}

static void pairs_write_text(struct pairs *p, struct buf *b, weir_str s)
{
    bool escapes = pairs_chance(p, 15);
    buf_add_char(b, '"');
    for (size_t i = 0, n = 1; i < s.len; i += n) {
        long code = naive_get(s.ptr + i, s.ptr + s.len, &n);
        bool must = code < 0x20 || code == '"' || code == '\\';
        if (!must && !(escapes && pairs_chance(p, 50)))
            buf_add(b, s.ptr + i, n);
        else if ((code == '"' || code == '\\' || code == '/') && pairs_chance(p, 70))
            buf_print(b, "\\%c", (int)code);
        else if (code >= 0x10000)
            buf_print(b, pairs_chance(p, 50) ? "\\u%04lx\\u%04lx" : "\\u%04lX\\u%04lX",
                      0xd800 + ((code - 0x10000) >> 10), 0xdc00 + (code & 0x3ff));
        else
            buf_print(b, pairs_chance(p, 50) ? "\\u%04lx" : "\\u%04lX", code);
    }
    buf_add_char(b, '"');
}

static void pairs_write(struct pairs *p, struct buf *b, const struct naive_node *n)
{
    bool is_object = n->kind == NAIVE_OBJECT;
    if (n->kind == NAIVE_STRING) {
        pairs_write_text(p, b, n->text);
        return;
    }
    if (!is_object && n->kind != NAIVE_ARRAY) {
        buf_add_str(b, n->text);
        return;
    }
    buf_add_char(b, is_object ? '{' : '[');
    pairs_blank(p, b);
    for (size_t i = 0; i < n->count; i++) {
        if (i)
            buf_add_char(b, ',');
        pairs_blank(p, b);
        if (is_object) {
            pairs_write_text(p, b, n->keys[i]);
            pairs_blank(p, b);
            buf_add_char(b, ':');
            pairs_blank(p, b);
        }
        pairs_write(p, b, &n->items[i]);
        pairs_blank(p, b);
    }
    buf_add_char(b, is_object ? '}' : ']');
}

/* ---- patterns ------------------------------------------------------------------------------------ */

static void pairs_push(struct pairs *p, struct naive_node *n, weir_str key, struct naive_node item)
{
    struct naive_node *items = arena_take(p->arena, (n->count + 1) * sizeof *items);
    weir_str *keys = arena_take(p->arena, (n->count + 1) * sizeof *keys);
    if (n->count) {
        memcpy(items, n->items, n->count * sizeof *items);
        memcpy(keys, n->keys, n->count * sizeof *keys);
    }
    items[n->count] = item;
    keys[n->count++] = key;
    n->items = items;
    n->keys = keys;
}

static struct naive_node pairs_object(struct pairs *p, const char *name, struct naive_node value)
{
    struct naive_node n = {.kind = NAIVE_OBJECT};
    pairs_push(p, &n, weir_text(name), value);
    return n;
}

static struct naive_node pairs_word(enum naive_kind kind, weir_str text)
{
    return (struct naive_node){kind, text, NULL, NULL, 0};
}

/* A place between two characters. */
static size_t pairs_cut(struct pairs *p, weir_str s)
{
    size_t at = pairs_random(p, (uint32_t)s.len + 1);
    while (at < s.len && ((unsigned char)s.ptr[at] & 0xc0) == 0x80)
        at++;
    return at;
}

static weir_str pairs_other_case(struct pairs *p, weir_str s)
{
    char *text = arena_take(p->arena, 3 * s.len * 4 + 8);
    size_t len = 0;
    for (size_t i = 0, n = 1; i < s.len; i += n) {
        char room[8];
        long code = naive_get(s.ptr + i, s.ptr + s.len, &n);
        weir_str form = pairs_chance(p, 30) ? (weir_str){s.ptr + i, n}
                                            : naive_case(code, pairs_chance(p, 50), room);
        memcpy(text + len, form.ptr, form.len);
        len += form.len;
    }
    return (weir_str){text, len};
}

static weir_str pairs_wildcard(struct pairs *p, weir_str s)
{
    char *text = arena_take(p->arena, 2 * s.len + 32);
    size_t len = 0, skip = 0;
    bool was_star = false;
    for (size_t i = 0; i <= s.len; i++) {
        bool is_start = i == s.len || ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
        if (is_start && !was_star && pairs_chance(p, s.len > 6 ? 10 : 30)) {
            text[len++] = '*';
            was_star = true;
            skip = pairs_random(p, 4);
        }
        if (i == s.len)
            break;
        if (was_star && (skip || !is_start)) {
            skip -= skip > 0;
            continue;
        }
        if (s.ptr[i] == '*' || s.ptr[i] == '\\')
            if (!pairs_chance(p, 3))
                text[len++] = '\\';
        text[len++] = s.ptr[i];
        was_star = pairs_chance(p, 1);
    }
    return (weir_str){text, len};
}

static struct naive_node pairs_list(struct pairs *p, struct naive_node first, bool is_number)
{
    struct naive_node n = {.kind = NAIVE_ARRAY};
    for (uint32_t i = pairs_random(p, 3); i; i--)
        pairs_push(p, &n, (weir_str){"", 0},
                   is_number ? pairs_word(NAIVE_NUMBER, pairs_number(p))
                             : pairs_word(NAIVE_STRING, pairs_text(p)));
    pairs_push(p, &n, (weir_str){"", 0}, first);
    return n;
}

static struct naive_node pairs_range(struct pairs *p, weir_str number)
{
    static const char *const lows[] = {">", ">="}, *const highs[] = {"<", "<="};
    struct naive_node n = {.kind = NAIVE_ARRAY};
    weir_str none = {"", 0}, bound = pairs_chance(p, 30) ? number : pairs_number(p), top;
    if (!pairs_chance(p, 4))
        for (int i = 0; i < 9 && !naive_is_comparable(bound); i++)
            bound = pairs_number(p);
    int order = naive_compare(bound, number);
    bool is_high = order ? order > 0 : pairs_chance(p, 50);
    is_high ^= pairs_chance(p, 10);
    const char *how = is_high ? PAIRS_ONE_OF(p, highs) : PAIRS_ONE_OF(p, lows);
    if (pairs_chance(p, order ? 2 : 40))
        how = "=";
    pairs_push(p, &n, none, pairs_word(NAIVE_STRING, weir_text(how)));
    pairs_push(p, &n, none, pairs_word(NAIVE_NUMBER, bound));
    if (*how == '>' && pairs_chance(p, 40)) {
        top = pairs_number(p);
        for (int i = 0; i < 9 && (!naive_is_comparable(top) || naive_compare(bound, top) >= 0); i++)
            top = pairs_number(p);
        pairs_push(p, &n, none, pairs_word(NAIVE_STRING, weir_text(PAIRS_ONE_OF(p, highs))));
        pairs_push(p, &n, none, pairs_word(NAIVE_NUMBER, top));
    } else if (pairs_chance(p, 2)) {
        pairs_push(p, &n, none, pairs_word(NAIVE_STRING, weir_text("<")));
    }
    return pairs_object(p, "numeric", n);
}

static struct naive_node pairs_cidr(struct pairs *p, weir_str address)
{
    static const char *const masks[] = {"0",   "8",  "24",          "31",  "32", "64", "127",
                                        "128", "1",  "20",          "08",  "+8", "-0", "",
                                        "x",   "-1", "99999999999", "24/", "112"};
    char *text = arena_take(p->arena, address.len + 16);
    uint32_t mask = pairs_random(p, pairs_chance(p, 85) ? 4 : sizeof masks / sizeof *masks);
    memcpy(text, address.ptr, address.len);
    (void)snprintf(text + address.len, 16, "/%s", masks[mask]);
    return pairs_object(p, "cidr",
                        pairs_word(NAIVE_STRING,
                                   (weir_str){text, address.len + 1 + strlen(masks[mask])}));
}

static struct naive_node pairs_part(struct pairs *p, weir_str s, bool is_suffix)
{
    size_t at = pairs_cut(p, s);
    weir_str part = is_suffix ? naive_after(s, at) : (weir_str){s.ptr, at};
    if (!pairs_chance(p, 35))
        return pairs_object(p, is_suffix ? "suffix" : "prefix", pairs_word(NAIVE_STRING, part));
    struct naive_node folded =
        pairs_object(p, "equals-ignore-case", pairs_word(NAIVE_STRING, pairs_other_case(p, part)));
    return pairs_object(p, is_suffix ? "suffix" : "prefix", folded);
}

static struct naive_node pairs_but(struct pairs *p, const struct naive_node *v)
{
    bool is_number = v->kind == NAIVE_NUMBER;
    struct naive_node of =
        is_number ? *v
                  : pairs_word(NAIVE_STRING, v->kind == NAIVE_STRING ? v->text : pairs_text(p));
    if (pairs_chance(p, 70))
        of.text = is_number ? pairs_number(p) : pairs_text(p);
    const char *how = NULL;
    if (!is_number) {
        size_t at = pairs_cut(p, of.text);
        switch (pairs_random(p, 6)) {
        case 0:
            how = "prefix";
            of.text.len = at;
            break;
        case 1:
            how = "suffix";
            of.text = naive_after(of.text, at);
            break;
        case 2:
            how = "wildcard";
            of.text = pairs_wildcard(p, of.text);
            break;
        case 3:
            how = "equals-ignore-case";
            of.text = pairs_other_case(p, of.text);
            break;
        default:
            break;
        }
    }
    if (pairs_chance(p, 35))
        of = pairs_list(p, of, is_number);
    return pairs_object(p, "anything-but", how ? pairs_object(p, how, of) : of);
}

/* An alternative that probably holds for the value. */
static struct naive_node pairs_test(struct pairs *p, const struct naive_node *v)
{
    if (pairs_chance(p, 6))
        return pairs_object(p, "exists",
                            pairs_chance(p, 75) ? pairs_word(NAIVE_TRUE, weir_text("true"))
                                                : pairs_word(NAIVE_FALSE, weir_text("false")));
    if (pairs_chance(p, 12))
        return pairs_but(p, v);
    if (v->kind == NAIVE_NUMBER)
        return pairs_chance(p, 50) ? pairs_range(p, v->text) : *v;
    if (v->kind != NAIVE_STRING)
        return *v;
    switch (pairs_random(p, 9)) {
    case 0:
        return pairs_part(p, v->text, false);
    case 1:
        return pairs_part(p, v->text, true);
    case 2:
        return pairs_object(p, "equals-ignore-case",
                            pairs_word(NAIVE_STRING, pairs_other_case(p, v->text)));
    case 3:
    case 4:
        return pairs_object(p, "wildcard", pairs_word(NAIVE_STRING, pairs_wildcard(p, v->text)));
    case 5:
        return pairs_object(p, "exactly", *v);
    case 6:
        return naive_address(v->text).len || pairs_chance(p, 2) ? pairs_cidr(p, v->text) : *v;
    default:
        return *v;
    }
}

static struct naive_node pairs_alternatives(struct pairs *p, const struct naive_node *v)
{
    struct naive_node n = {.kind = NAIVE_ARRAY}, other;
    weir_str none = {"", 0};
    for (uint32_t i = pairs_chance(p, 30) ? 1 + pairs_random(p, 3) : 0; i; i--) {
        pairs_scalar(p, &other);
        pairs_push(p, &n, none, pairs_chance(p, 50) ? other : pairs_test(p, &other));
    }
    pairs_scalar(p, &other);
    pairs_push(p, &n, none, pairs_test(p, pairs_chance(p, 95) ? v : &other));
    return n;
}

/* ---- a pattern from an event --------------------------------------------------------------------- */

struct pairs_leaf {
    weir_str names[16];
    size_t depth;
    const struct naive_node *value;
};

/* Any leaf of the event: its names and its value. */
static bool pairs_leaf(struct pairs *p, const struct naive_node *n, struct pairs_leaf *to)
{
    while (n->kind == NAIVE_OBJECT || n->kind == NAIVE_ARRAY) {
        if (!n->count || to->depth == 16)
            return false;
        size_t i = pairs_random(p, (uint32_t)n->count);
        if (n->kind == NAIVE_OBJECT)
            to->names[to->depth++] = n->keys[i];
        n = &n->items[i];
    }
    to->value = n;
    return to->depth > 0;
}

static weir_str pairs_joined(struct pairs *p, weir_str a, weir_str b)
{
    char *text = arena_take(p->arena, a.len + b.len + 1);
    memcpy(text, a.ptr, a.len);
    text[a.len] = '.';
    memcpy(text + a.len + 1, b.ptr, b.len);
    return (weir_str){text, a.len + b.len + 1};
}

/* Puts the list at its names into the pattern: nested, or some of them joined by dots. */
static void pairs_plant(struct pairs *p, struct naive_node *into, const struct pairs_leaf *l,
                        size_t at, struct naive_node list)
{
    weir_str name = l->names[at];
    for (;; at++) {
        struct naive_node *there = NULL;
        for (size_t i = 0; i < into->count; i++)
            if (naive_same(into->keys[i], name))
                there = &into->items[i];
        if (at + 1 == l->depth) {
            if (!there || pairs_chance(p, 5))
                pairs_push(p, into, name, list);
            return;
        }
        if (there && there->kind == NAIVE_OBJECT && !pairs_chance(p, 2)) {
            pairs_plant(p, there, l, at + 1, list);
            return;
        }
        if (!there && !pairs_chance(p, 20)) {
            struct naive_node below = {.kind = NAIVE_OBJECT};
            pairs_plant(p, &below, l, at + 1, list);
            pairs_push(p, into, name, below);
            return;
        }
        name = pairs_joined(p, name, l->names[at + 1]);
    }
}

static struct naive_node pairs_conjunction(struct pairs *p, const struct naive_node *event,
                                           unsigned depth)
{
    struct naive_node n = {.kind = NAIVE_OBJECT};
    for (uint32_t i = 1 + pairs_random(p, depth ? 2 : 4); i; i--) {
        struct pairs_leaf l = {.depth = 0};
        struct naive_node any;
        pairs_scalar(p, &any);
        bool is_found = false;
        for (int tries = 0; tries < 4 && !is_found; tries++) {
            l.depth = 0;
            is_found = pairs_leaf(p, event, &l);
        }
        if (!is_found) {
            l.depth = 1;
            l.names[0] = pairs_name(p);
            l.value = &any;
        }
        if (pairs_chance(p, 4))
            l.names[pairs_random(p, (uint32_t)l.depth)] = pairs_name(p);
        struct naive_node any_of = pairs_alternatives(p, l.value);
        pairs_plant(p, &n, &l, 0, any_of);
    }
    if (depth < 2 && pairs_chance(p, 12)) {
        struct naive_node or = {.kind = NAIVE_ARRAY};
        for (uint32_t i = pairs_chance(p, 96) ? 2 + pairs_random(p, 2) : pairs_random(p, 2); i; i--)
            pairs_push(p, & or, (weir_str){"", 0}, pairs_conjunction(p, event, depth + 1));
        if (pairs_chance(p, 25) && n.count) { /* one level down, or before what is there */
            struct naive_node turned = pairs_object(p, "$or", or);
            for (size_t i = 0; i < n.count; i++)
                pairs_push(p, &turned, n.keys[i], n.items[i]);
            return turned;
        }
        pairs_push(p, &n, weir_text("$or"), or);
    }
    return n;
}

/* Some node of the tree, each about as likely. */
static struct naive_node *pairs_node(struct pairs *p, struct naive_node *n)
{
    while ((n->kind == NAIVE_OBJECT || n->kind == NAIVE_ARRAY) && n->count && !pairs_chance(p, 15))
        n = &n->items[pairs_random(p, (uint32_t)n->count)];
    return n;
}

static struct naive_node pairs_copy(struct pairs *p, const struct naive_node *n)
{
    struct naive_node c = *n;
    if (!n->count)
        return c;
    c.items = arena_take(p->arena, n->count * sizeof *c.items);
    c.keys = arena_take(p->arena, n->count * sizeof *c.keys);
    for (size_t i = 0; i < n->count; i++) {
        c.items[i] = pairs_copy(p, &n->items[i]);
        c.keys[i] = n->kind == NAIVE_OBJECT ? n->keys[i] : (weir_str){"", 0};
    }
    return c;
}

static void pairs_drop(struct naive_node *n, size_t i)
{
    memmove(n->items + i, n->items + i + 1, (n->count - i - 1) * sizeof *n->items);
    if (n->kind == NAIVE_OBJECT)
        memmove(n->keys + i, n->keys + i + 1, (n->count - i - 1) * sizeof *n->keys);
    n->count--;
}

/* One change: another value, a member dropped, doubled, or wrapped. */
static void pairs_mutate(struct pairs *p, struct naive_node *tree)
{
    static const char *const keys[] = {"prefix",
                                       "suffix",
                                       "anything-but",
                                       "numeric",
                                       "exists",
                                       "cidr",
                                       "wildcard",
                                       "equals-ignore-case",
                                       "exactly",
                                       "$or",
                                       "Prefix",
                                       "=",
                                       "",
                                       "regex",
                                       "a"};
    struct naive_node *n = pairs_node(p, tree), copy = *n, fresh;
    switch (pairs_random(p, 8)) {
    case 0:
        pairs_scalar(p, n);
        break;
    case 1:
        pairs_value(p, n, 1);
        break;
    case 2:
        if (n->count)
            pairs_drop(n, pairs_random(p, (uint32_t)n->count));
        break;
    case 3:
        pairs_scalar(p, &fresh);
        if (n->kind == NAIVE_ARRAY || n->kind == NAIVE_OBJECT)
            pairs_push(p, n, weir_text(PAIRS_ONE_OF(p, keys)), fresh);
        break;
    case 4:
        if (n->kind == NAIVE_OBJECT && n->count)
            n->keys[pairs_random(p, (uint32_t)n->count)] = weir_text(PAIRS_ONE_OF(p, keys));
        break;
    case 5:
        *n = pairs_object(p, PAIRS_ONE_OF(p, keys), copy);
        break;
    case 6:
        *n = (struct naive_node){.kind = NAIVE_ARRAY};
        pairs_push(p, n, (weir_str){"", 0}, copy);
        break;
    default:
        if (n->kind == NAIVE_ARRAY && n->count)
            *n = n->items[0];
        break;
    }
}

/* A pattern and an event, as texts. */
static void pairs_make(struct pairs *p, struct buf *pattern, struct buf *event)
{
    struct naive_node found, rule;
    pattern->len = event->len = 0;
    pairs_value(p, &found, 0);
    rule = pairs_conjunction(p, &found, 0);
    rule = pairs_copy(p, &rule);
    found = pairs_copy(p, &found);
    if (pairs_chance(p, 15))
        pairs_mutate(p, &found);
    if (pairs_chance(p, 8))
        pairs_mutate(p, &rule);
    pairs_write(p, pattern, &rule);
    pairs_write(p, event, &found);
    if (pairs_chance(p, 1) && pattern->len)
        pattern->ptr[pairs_random(p, (uint32_t)pattern->len)] =
            "{}[],:\"\\e0-\x80\0"[pairs_random(p, 13)];
    if (pairs_chance(p, 1) && event->len)
        event->ptr[pairs_random(p, (uint32_t)event->len)] =
            "{}[],:\"\\e0-\x80\0"[pairs_random(p, 13)];
}
