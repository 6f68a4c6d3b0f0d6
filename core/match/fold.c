/* match/fold.c: text without regard to case, by the full Unicode mappings. */
#include "match/fold.h"

#include "base/text.h"
#include "match/fold_table.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static uint32_t run_map(const struct fold_run *runs, size_t count, uint32_t c)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (runs[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    /* Runs of step 2 interleave, so that the one to the left may be it as well. */
    for (size_t i = low; i < count && i < low + 3; i++) {
        const struct fold_run *r = &runs[i];
        if (r->first <= c && c <= r->last && (c - r->first) % r->step == 0)
            return (uint32_t)((int32_t)c + r->delta);
    }
    return c;
}

static const uint32_t *many_map(const struct fold_many *list, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count && list[i].from <= c; i++)
        if (list[i].from == c)
            return list[i].to;
    return NULL;
}

static size_t decode(const char *text, size_t len, uint32_t *c)
{
    unsigned char b = (unsigned char)*text;
    size_t n = b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
    if (n > len || n == 1) {
        *c = b < 0x80 ? b : 0xFFFFFFFFu; /* not UTF-8: itself only */
        return 1;
    }
    uint32_t all = b & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        all = all << 6 | ((unsigned char)text[i] & 0x3F);
    *c = all;
    return n;
}

static weir_str write_all(const uint32_t *list, size_t count, struct arena *a)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    char text[16];
    const char *letter = count == 1 && *list < 0x80 ? strchr(letters, (int)*list) : NULL;
    if (letter)
        return (weir_str){letter, 1};
    size_t n = 0;
    for (size_t i = 0; i < count && list[i]; i++)
        n += text_put_utf8(text + n, list[i]);
    weir_str s = {arena_copy(a, text, n), n};
    return s;
}

static weir_str map(uint32_t c, bool is_upper, struct arena *a)
{
    const uint32_t *many = is_upper ? many_map(fold_upper_many, COUNT(fold_upper_many), c)
                                    : many_map(fold_lower_many, COUNT(fold_lower_many), c);
    if (many)
        return write_all(many, 3, a);
    if (c < 0x80) {
        bool is_lower = c >= 'a' && c <= 'z', is_capital = c >= 'A' && c <= 'Z';
        c = is_upper && is_lower ? c - 32 : !is_upper && is_capital ? c + 32 : c;
    } else {
        c = is_upper ? run_map(fold_upper_runs, COUNT(fold_upper_runs), c)
                     : run_map(fold_lower_runs, COUNT(fold_lower_runs), c);
    }
    return c ? write_all(&c, 1, a) : (weir_str){arena_copy(a, "", 1), 1};
}

void fold_init(struct fold *f, weir_str text, struct arena *a)
{
    struct fold_step *steps = arena_take(a, (text.len + 1) * sizeof *steps);
    size_t count = 0;
    for (size_t at = 0; at < text.len; count++) {
        uint32_t c;
        size_t n = decode(text.ptr + at, text.len - at, &c);
        steps[count].lower = steps[count].upper = (weir_str){text.ptr + at, n};
        if (c != 0xFFFFFFFFu)
            steps[count].lower = map(c, false, a), steps[count].upper = map(c, true, a);
        at += n;
    }
    f->steps = steps, f->count = count;
}

static bool starts(weir_str value, weir_str with)
{
    return value.len >= with.len && memcmp(value.ptr, with.ptr, with.len) == 0;
}

bool fold_begins(const struct fold *f, weir_str value, weir_str *rest)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct fold_step *s = &f->steps[i];
        const weir_str *way = starts(value, s->lower)   ? &s->lower
                              : starts(value, s->upper) ? &s->upper
                                                        : NULL;
        if (!way)
            return false;
        value.ptr += way->len, value.len -= way->len;
    }
    *rest = value;
    return true;
}

static bool ends(weir_str value, weir_str with)
{
    return value.len >= with.len &&
           memcmp(value.ptr + value.len - with.len, with.ptr, with.len) == 0;
}

bool fold_ends(const struct fold *f, weir_str value)
{
    for (size_t i = f->count; i--;) {
        const struct fold_step *s = &f->steps[i];
        const weir_str *way = ends(value, s->lower)   ? &s->lower
                              : ends(value, s->upper) ? &s->upper
                                                      : NULL;
        if (!way)
            return false;
        value.len -= way->len;
    }
    return true;
}

bool fold_same(const struct fold *f, weir_str value)
{
    weir_str rest;
    return fold_begins(f, value, &rest) && rest.len == 0;
}

bool fold_is_ascii(weir_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] >= 0x80)
            return false;
    return true;
}
