/* pipeline/payload.h: the bytes of events: counted, immutable, within one budget. Any thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/plugin.h>

#include "base/budget.h"

enum {
    PAYLOAD_PADDING = 64, /* readable bytes behind the last one, for scanners */
    PAYLOAD_IS_JSON = 1,  /* the bytes were checked as one JSON text */
};

struct payload {
    weir_payload pub; /* first */
    _Atomic uint32_t refs;
    _Atomic uint32_t flags;
    struct budget *budget; /* the whole */
    size_t charged_bytes;
    struct payload *whole;      /* of a slice */
    void (*release)(void *arg); /* of wrapped bytes */
    void *arg;
};

static inline struct payload *payload_of(weir_payload *p)
{
    return (struct payload *)p;
}

/* NULL past the budget. */
weir_payload *payload_new(struct budget *b, size_t n, char **data);
weir_payload *payload_copy(struct budget *b, const void *bytes, size_t n);
/* In any case: an answer to what was sent is to be heard. Small ones, and few at a time. */
weir_payload *payload_force(struct budget *b, const void *bytes, size_t n);
weir_payload *payload_wrap(struct budget *b, weir_str bytes, void (*release)(void *), void *arg);
weir_payload *payload_slice(weir_payload *from, size_t at, size_t n);
static inline weir_payload *payload_ref(weir_payload *p)
{
    if (p)
        atomic_fetch_add_explicit(&payload_of(p)->refs, 1, memory_order_relaxed);
    return p;
}
void payload_free(weir_payload *p); /* for payload_unref alone */
static inline void payload_unref(weir_payload *take)
{
    if (take && atomic_fetch_sub_explicit(&payload_of(take)->refs, 1, memory_order_acq_rel) == 1)
        payload_free(take);
}
static inline bool payload_is_json(weir_payload *p)
{
    return atomic_load_explicit(&payload_of(p)->flags, memory_order_relaxed) & PAYLOAD_IS_JSON;
}
static inline void payload_set_json(weir_payload *p)
{
    atomic_fetch_or_explicit(&payload_of(p)->flags, PAYLOAD_IS_JSON, memory_order_relaxed);
}
