/* match/run.c: what is noted of few of many numbers: a table that is small after small events. */
#include "match/run.h"

enum { ENTRIES_MIN = 128, FREE_MIN = 4, SHRINK = 64 }; /* at most one entry in four is taken */

static struct run_entry *entries_new(uint32_t mask)
{
    return mem_new(((size_t)mask + 1) * sizeof(struct run_entry));
}

void run_open(struct run_table *t)
{
    *t = (struct run_table){entries_new(ENTRIES_MIN - 1), 1, ENTRIES_MIN - 1, 0};
}

void run_close(struct run_table *t)
{
    mem_free(t->entries);
}

/* After a large event the table becomes smaller by and by. */
void run_clear(struct run_table *t)
{
    if (t->mask >= ENTRIES_MIN && t->count < t->mask / SHRINK)
        t->mask /= 2;
    t->count = 0;
    if (++t->stamp)
        return;
    memset(t->entries, 0, ((size_t)t->mask + 1) * sizeof *t->entries);
    t->stamp = 1;
}

static void put(struct run_table *t, uint32_t number, uint32_t at)
{
    uint32_t i = run_place(t, number);
    while (t->entries[i].stamp == t->stamp)
        i = (i + 1) & t->mask;
    t->entries[i] = (struct run_entry){t->stamp, number, at};
}

static void grow(struct run_table *t)
{
    struct run_entry *old = t->entries;
    uint32_t size = t->mask + 1;
    t->mask = 2 * size - 1;
    t->entries = entries_new(t->mask);
    for (uint32_t i = 0; i < size; i++)
        if (old[i].stamp == t->stamp)
            put(t, old[i].number, old[i].at);
    mem_free(old);
}

void run_put(struct run_table *t, uint32_t number, uint32_t at)
{
    if (FREE_MIN * ++t->count > t->mask)
        grow(t);
    put(t, number, at);
}
