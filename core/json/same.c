/* json/same.c: equality of JSON values.
 *
 * Objects of equal members in the same order are the common case and are compared side by side.
 * Other orders are looked up, which takes the square of the count; beyond a few members the values
 * are compared by two hashes with secret seeds instead, so that nobody can send a slow one. */
#include "json/same.h"

#include "base/hash.h"
#include "base/text.h"
#include "json/json.h"
#include "json/number.h"
#include "json/scan.h"

enum { LOOKUP_MAX = 32 };

static uint64_t hash_text(weir_str raw, uint64_t seed)
{
    if (!raw.len || !memchr(raw.ptr, '\\', raw.len))
        return hash_bytes(raw.ptr, raw.len, seed);
    struct arena a;
    arena_init(&a);
    weir_str plain = json_unquote(raw, &a);
    uint64_t h = hash_bytes(plain.ptr, plain.len, seed);
    arena_fini(&a);
    return h;
}

static uint64_t hash_pair(uint64_t a, uint64_t b, uint64_t seed)
{
    uint64_t pair[2] = {a, b};
    return hash_bytes(pair, sizeof pair, seed);
}

static uint64_t hash_container(weir_str value, int kind, uint64_t seed)
{
    uint64_t sum = (uint64_t)kind;
    weir_json_each each = {0};
    while (json_next(value, &each)) {
        uint64_t h = same_hash(each.value, seed);
        if (kind == WEIR_JSON_OBJECT)
            sum += hash_pair(hash_text(each.key, seed), h, seed);
        else
            sum = hash_pair(sum, h, seed);
    }
    return hash_pair(sum, (uint64_t)kind, seed);
}

uint64_t same_hash(weir_str value, uint64_t seed)
{
    int kind = json_kind(value);
    struct number n;
    value = json_trim(value);
    switch (kind) {
    case WEIR_JSON_OBJECT:
    case WEIR_JSON_ARRAY:
        return hash_container(value, kind, seed);
    case WEIR_JSON_NUMBER:
        number_read(&n, value);
        return number_hash(&n, seed);
    case WEIR_JSON_TEXT:
        return hash_pair(hash_text((weir_str){value.ptr + 1, value.len - 2}, seed), 1, seed);
    default:
        return hash_pair(hash_bytes(value.ptr, value.len, seed), 2, seed);
    }
}

static bool same_texts(weir_str a, weir_str b)
{
    bool has_escape =
        (a.len && memchr(a.ptr, '\\', a.len)) || (b.len && memchr(b.ptr, '\\', b.len));
    if (!has_escape)
        return text_same(a, b);
    struct arena scratch;
    arena_init(&scratch);
    bool is_same = text_same(json_unquote(a, &scratch), json_unquote(b, &scratch));
    arena_fini(&scratch);
    return is_same;
}

static bool same_numbers(weir_str a, weir_str b)
{
    struct number x, y;
    number_read(&x, a);
    number_read(&y, b);
    return number_compare(&x, &y) == 0;
}

/* Value by value; of objects too, if their names agree. */
static bool same_values(weir_str a, weir_str b)
{
    weir_json_each x = {0}, y = {0};
    for (;;) {
        bool more = json_next(a, &x);
        if (json_next(b, &y) != more)
            return false;
        if (!more)
            return true;
        if (!json_same(x.value, y.value))
            return false;
    }
}

static const weir_json_each *look_up(weir_str object, weir_str key, weir_json_each *each)
{
    *each = (weir_json_each){0};
    while (json_next(object, each))
        if (same_texts(each->key, key))
            return each;
    return NULL;
}

static size_t count_members(weir_str object)
{
    size_t n = 0;
    for (weir_json_each each = {0}; json_next(object, &each);)
        n++;
    return n;
}

static bool same_by_hash(weir_str a, weir_str b)
{
    uint64_t seed = hash_seed(), other = hash_pair(seed, seed, seed);
    return same_hash(a, seed) == same_hash(b, seed) && same_hash(a, other) == same_hash(b, other);
}

static bool same_in_any_order(weir_str a, weir_str b)
{
    size_t n = count_members(a);
    if (n != count_members(b))
        return false;
    if (n > LOOKUP_MAX)
        return same_by_hash(a, b);
    weir_json_each other;
    for (weir_json_each each = {0}; json_next(a, &each);)
        if (!look_up(b, each.key, &other) || !json_same(each.value, other.value))
            return false;
    return true;
}

static bool in_same_order(weir_str a, weir_str b)
{
    weir_json_each x = {0}, y = {0};
    for (;;) {
        bool more = json_next(a, &x);
        if (json_next(b, &y) != more)
            return false;
        if (!more)
            return true;
        if (!same_texts(x.key, y.key))
            return false;
    }
}

/* The names are looked at before any value: a value compared twice at each level would double the
 * work with each. */
static bool same_objects(weir_str a, weir_str b)
{
    return in_same_order(a, b) ? same_values(a, b) : same_in_any_order(a, b);
}

bool json_same(weir_str a, weir_str b)
{
    int kind = json_kind(a);
    if (kind != json_kind(b))
        return false;
    a = json_trim(a);
    b = json_trim(b);
    switch (kind) {
    case WEIR_JSON_OBJECT:
        return same_objects(a, b);
    case WEIR_JSON_ARRAY:
        return same_values(a, b);
    case WEIR_JSON_NUMBER:
        return same_numbers(a, b);
    default: /* of a text with its quotes, which are the same on both sides */
        return same_texts(a, b);
    }
}
