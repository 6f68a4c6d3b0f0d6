/* config/places.c: which node filled which address. Asked for errors only, so it is a plain list. */
#include "config/document.h"

struct record {
    const void *member;
    const struct node *node;
};

struct places {
    size_t count, cap;
    struct record *records;
};

struct places *places_new(struct document *d)
{
    (void)d;
    return MEM_NEW(struct places);
}

void places_free(struct places *p)
{
    if (!p)
        return;
    mem_free(p->records);
    mem_free(p);
}

void places_add(struct places *p, const void *member, const struct node *n)
{
    if (p && n)
        MEM_PUSH(p->records, p->count, p->cap) = (struct record){member, n};
}

/* The last record counts: an item and its first member have one address. */
const struct node *places_find(const struct places *p, const void *member)
{
    for (size_t i = p ? p->count : 0; i-- > 0;)
        if (p->records[i].member == member)
            return p->records[i].node;
    return NULL;
}
