/* json/masks_kernel.h: from bytes to bits with one kind of instructions. masks.c includes this once for
 * each kind, with these macros:
 *
 *   FN(name)   the name with the kind in front
 *   TARGET     the attribute of functions that use the instructions
 *
 * and these steps on 64 bytes, a struct FN(bytes), and on one byte many times, a FN(byte):
 *
 *   FN(load)(p), FN(all)(c)           64 bytes; c many times
 *   FN(with)(b, c)                    each byte with the bits of c set
 *   FN(equal)(b, c), FN(from)(b, c)   a bit for each byte that is c; that is c or more
 *   FN(high)(b), FN(bit5)(b)          a bit for each byte that has bit 7; bit 5
 *   FN(below)(b, c)                   that is less than c, both taken as signed
 *   FN(minus)(b, c)                   each byte less c, without borrowing from others
 *   FN(prefix)(bits)                  each bit the exclusive or of all up to it */

struct FN(constants) {
    FN(byte) quote, slash, open, close, comma, dot, colon, blank, zero, minus, lowest, beyond;
};

INLINE TARGET struct FN(constants) FN(load_constants)(void)
{
    const volatile unsigned char *c = constants;
    return (struct FN(constants)){FN(all)(c[0]), FN(all)(c[1]), FN(all)(c[2]),  FN(all)(c[3]),
                                  FN(all)(c[4]), FN(all)(c[5]), FN(all)(c[6]),  FN(all)(c[7]),
                                  FN(all)(c[8]), FN(all)(c[9]), FN(all)(c[10]), FN(all)(c[11])};
}

/* What the walk over tokens needs. */
INLINE TARGET void FN(find)(struct FN(bytes) b, const struct FN(constants) * k, struct classes *c)
{
    struct FN(bytes) folded = FN(with)(b, k->blank); /* [ and ] become { and } */
    c->quote = FN(equal)(b, k->quote);
    c->slash = FN(equal)(b, k->slash);
    c->open = FN(equal)(folded, k->open);
    c->close = FN(equal)(folded, k->close);
    c->comma = FN(equal)(b, k->comma);
}

/* What the grammar needs beside that. */
INLINE TARGET void FN(find_more)(struct FN(bytes) b, const struct FN(constants) * k,
                                 struct classes *c)
{
    c->colon = FN(equal)(b, k->colon);
    c->curly = FN(bit5)(b);
    c->blank = FN(equal)(b, k->blank);
    c->control = FN(below)(b, k->blank); /* and what is not ASCII */
    c->high = 0;
    if (c->control) {
        c->high = FN(high)(b);
        c->control &= ~c->high;
        c->blank |=
            FN(equal)(b, FN(all)('\n')) | FN(equal)(b, FN(all)('\t')) | FN(equal)(b, FN(all)('\r'));
    }
}

INLINE TARGET void FN(find_numbers)(struct FN(bytes) b, const struct FN(constants) * k,
                                    struct numbers *n)
{
    n->digit = FN(below)(FN(minus)(b, k->lowest), k->beyond); /* digits become the least of all */
    n->zero = FN(equal)(b, k->zero);
    n->minus = FN(equal)(b, k->minus);
    n->dot = FN(equal)(b, k->dot);
}

/* RFC 3629, section 4: what has to follow each lead; four of them leave their second byte less room. */
INLINE TARGET uint64_t FN(find_bad_utf8)(struct FN(bytes) b, struct utf8_carries *s)
{
    uint64_t lead = FN(from)(b, FN(all)(0xC0)), three = FN(from)(b, FN(all)(0xE0));
    uint64_t four = FN(from)(b, FN(all)(0xF0)), tail = FN(high)(b) & ~lead;
    uint64_t second = next(lead, &s->second);
    uint64_t third = next(next(three, &s->third[0]), &s->third[1]);
    uint64_t fourth = next(next(next(four, &s->fourth[0]), &s->fourth[1]), &s->fourth[2]);
    uint64_t upper = FN(from)(b, FN(all)(0xA0)), not_lowest = FN(from)(b, FN(all)(0x90));
    s->is_going_on = (s->second | s->third[1] | s->fourth[1] | s->fourth[2]) != 0;
    return (tail ^ (second | third | fourth)) | FN(from)(b, FN(all)(0xF5)) |
           FN(equal)(b, FN(all)(0xC0)) | FN(equal)(b, FN(all)(0xC1)) |
           (next(FN(equal)(b, FN(all)(0xE0)), &s->e0) & ~upper) |
           (next(FN(equal)(b, FN(all)(0xED)), &s->ed) & upper) |
           (next(FN(equal)(b, FN(all)(0xF0)), &s->f0) & ~not_lowest) |
           (next(FN(equal)(b, FN(all)(0xF4)), &s->f4) & not_lowest);
}

INLINE TARGET uint64_t FN(check)(struct FN(bytes) b, const struct FN(constants) * k,
                                 const struct classes *c, struct grammar *g, uint8_t *kinds,
                                 struct place at)
{
    struct tokens t;
    struct numbers n = {0};
    uint64_t was_scalar = g->scalar, bad = check_tokens(g, c, &t);
    bad |= check_brackets(&g->level, kinds, c, &t);
    if (t.scalar | was_scalar) {
        FN(find_numbers)(b, k, &n);
        bad |= check_numbers(g, &n, t.scalar, t.first, at);
    }
    if (c->high | g->utf8.is_going_on)
        bad |= (c->high & ~c->in_text) | FN(find_bad_utf8)(b, &g->utf8);
    return bad;
}

INLINE TARGET unsigned FN(pass)(weir_str text, struct masks_block *blocks, bool is_checked)
{
    char last[MASKS_BLOCK_BYTES];
    pad(last, text);
    const struct FN(constants) k = FN(load_constants)();
    uint64_t in_text = 0, is_escaped = 0, slashes = 0;
    int32_t depth = 0;
    struct grammar g = {0};
    uint8_t kinds[JSON_DEPTH_MAX + 1]; /* of the containers at each level */
    kinds[0] = TOP;
    struct place at = {text.ptr, text.ptr, text.len ? text.ptr + text.len : text.ptr};
    for (size_t i = 0, count = masks_count(text.len); i < count; i++, at.block += sizeof last) {
        struct FN(bytes) b = FN(load)(i + 1 < count ? at.block : last);
        struct classes c;
        FN(find)(b, &k, &c);
        if (is_checked)
            FN(find_more)(b, &k, &c);
        slashes |= c.slash;
        if (c.slash | is_escaped)
            c.quote &= ~find_escaped(c.slash, &is_escaped);
        c.in_text = FN(prefix)(c.quote) ^ in_text;
        in_text = 0 - (c.in_text >> 63);
        c.open &= ~c.in_text, c.close &= ~c.in_text, c.comma &= ~c.in_text;
        if (blocks)
            depth = store(&blocks[i], &c, depth);
        if (is_checked && FN(check)(b, &k, &c, &g, kinds, at))
            return MASKS_BAD;
    }
    if (is_checked && (in_text || g.level || !g.value || (slashes && !escapes_are_good(text))))
        return MASKS_BAD;
    return slashes ? MASKS_SLASH : 0;
}

TARGET static unsigned FN(read_all)(weir_str text, struct masks_block *blocks)
{
    return FN(pass)(text, blocks, false);
}

TARGET static unsigned FN(check_all)(weir_str text, struct masks_block *blocks)
{
    return FN(pass)(text, blocks, true);
}
