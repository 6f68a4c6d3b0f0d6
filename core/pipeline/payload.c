/* pipeline/payload.c: the bytes of events: counted, immutable, within one budget. */
#include "pipeline/payload.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool budget_take(struct budget *b, size_t n)
{
    uint64_t used = atomic_fetch_add_explicit(&b->used_bytes, n, memory_order_relaxed) + n;
    if (used > b->limit_bytes) {
        atomic_fetch_sub_explicit(&b->used_bytes, n, memory_order_relaxed);
        atomic_fetch_add_explicit(&b->refused, 1, memory_order_relaxed);
        return false;
    }
    if (used > atomic_load_explicit(&b->peak_bytes, memory_order_relaxed))
        atomic_store_explicit(&b->peak_bytes, used, memory_order_relaxed);
    return true;
}

bool budget_is_tight(const struct budget *b)
{
    uint64_t used = atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
    return used > b->limit_bytes - b->limit_bytes / 4;
}

/* Payload memory is bounded and may be refused, so this is one of the few callers of malloc. */
static struct payload *payload_make(struct budget *b, size_t charged, size_t bytes)
{
    if (!budget_take(b, charged))
        return NULL;
    struct payload *p = malloc(sizeof *p + bytes);
    if (!p) {
        atomic_fetch_sub_explicit(&b->used_bytes, charged, memory_order_relaxed);
        return NULL;
    }
    *p = (struct payload){.refs = 1, .budget = b, .charged_bytes = charged};
    return p;
}

weir_payload *payload_new(struct budget *b, size_t n, char **data)
{
    if (n > b->limit_bytes)
        return NULL;
    struct payload *p = payload_make(b, sizeof *p + n + PAYLOAD_PADDING, n + PAYLOAD_PADDING);
    if (!p)
        return NULL;
    char *bytes = (char *)(p + 1);
    memset(bytes + n, 0, PAYLOAD_PADDING);
    p->pub = (weir_payload){bytes, n};
    *data = bytes;
    return &p->pub;
}

weir_payload *payload_copy(struct budget *b, const void *bytes, size_t n)
{
    char *data = NULL;
    weir_payload *p = payload_new(b, n, &data);
    if (p && n)
        memcpy(data, bytes, n);
    return p;
}

weir_payload *payload_wrap(struct budget *b, weir_str bytes, void (*release)(void *), void *arg)
{
    struct payload *p = payload_make(b, sizeof *p + bytes.len, 0);
    if (!p)
        return NULL;
    p->pub = (weir_payload){bytes.ptr, bytes.len};
    p->release = release;
    p->arg = arg;
    return &p->pub;
}

weir_payload *payload_slice(weir_payload *from, size_t at, size_t n)
{
    struct payload *whole = payload_of(from);
    struct payload *p = payload_make(whole->budget, sizeof *p, 0);
    if (!p)
        return NULL;
    at = at < from->len ? at : from->len;
    n = n < from->len - at ? n : from->len - at;
    p->pub = (weir_payload){from->ptr + at, n};
    p->whole = whole;
    (void)payload_ref(from);
    return &p->pub;
}

void payload_free(weir_payload *pub)
{
    struct payload *p = payload_of(pub);
    if (p->release)
        p->release(p->arg);
    if (p->whole)
        payload_unref(&p->whole->pub);
    atomic_fetch_sub_explicit(&p->budget->used_bytes, p->charged_bytes, memory_order_relaxed);
    free(p);
}
