/* pipeline/payload.c: the bytes of events: counted, immutable, within one budget. */
#include "pipeline/payload.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Payload memory is bounded and may be refused, so this is one of the few callers of malloc. What is
 * charged is what malloc takes: its own word, and up to the next 16. `more`: bytes of somebody else's. */
static size_t charge_of(size_t bytes)
{
    return (sizeof(struct payload) + bytes + sizeof(size_t) + 15) & ~(size_t)15;
}

static struct payload *payload_make(struct budget *b, size_t bytes, size_t more)
{
    size_t charged = charge_of(bytes) + more;
    if (!budget_take(b, charged))
        return NULL;
    struct payload *p = malloc(sizeof *p + bytes);
    if (!p) {
        budget_give(b, charged);
        return NULL;
    }
    *p = (struct payload){.refs = 1, .budget = budget_whole(b), .charged_bytes = charged};
    return p;
}

weir_payload *payload_new(struct budget *b, size_t n, char **data)
{
    if (n > b->limit_bytes)
        return NULL;
    struct payload *p = payload_make(b, n + PAYLOAD_PADDING, 0);
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

weir_payload *payload_force(struct budget *b, const void *bytes, size_t n)
{
    size_t charged = charge_of(n + PAYLOAD_PADDING);
    struct payload *p = mem_new(sizeof *p + n + PAYLOAD_PADDING);
    budget_charge(b, charged);
    *p = (struct payload){.refs = 1, .budget = budget_whole(b), .charged_bytes = charged};
    if (n)
        memcpy(p + 1, bytes, n);
    p->pub = (weir_payload){(char *)(p + 1), n};
    return &p->pub;
}

weir_payload *payload_wrap(struct budget *b, weir_str bytes, void (*release)(void *), void *arg)
{
    struct payload *p = payload_make(b, 0, bytes.len);
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
    struct payload *p = payload_make(whole->budget, 0, 0);
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
    budget_give(p->budget, p->charged_bytes);
    free(p);
}
