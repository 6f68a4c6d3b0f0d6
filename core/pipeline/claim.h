/* pipeline/claim.h: a key that is recorded with the fate of an event: it hangs on the event's slot, and
 * is written in the unit that holds all branches that are open, or at the slot's end. */
#pragma once
#include "journal/keys.h"
#include "pipeline/slot.h"

struct claim_table;

struct weir_claim {
    struct weir_claim *next; /* of the slot */
    struct weir_claim *next_in_bucket;
    struct claim_table *table;
    struct keys_entry entry;
    uint32_t in_unit; /* of the first of a slot: its branches in the unit that is being submitted */
    bool is_noted;    /* its unit is on its way, or on disk */
};

struct claim_table *claim_table_new(struct keys *keys, struct budget *budget);
void claim_table_free(struct claim_table *t);
/* OK with the claim; else the entry that has the key: DROP recorded, PENDING claimed. */
weir_status claim_new(struct claim_table *t, const struct keys_entry *wanted,
                      struct weir_claim **claim, struct keys_entry *found);
void claim_set_id(struct weir_claim *c, const weir_id *id); /* of its event */
void claim_attach(struct weir_claim *take, struct slot *s);
/* Is the key claimed for the slot, or for one that it descends from? To wait for that would be to wait for
 * itself. The caller has a branch of the slot. */
bool claim_is_own(const struct slot *s, const struct claim_table *t, const struct keys_entry *e);
/* Known from now on; or given back. */
void claim_keep(struct weir_claim *take);
void claim_keep_with(struct weir_claim *take, struct journal_unit *u); /* and written with u */
void claim_release(struct weir_claim *take);

static inline bool claim_is_on(const struct slot *s)
{
    return s && atomic_load_explicit(&s->claims, memory_order_relaxed);
}
/* Of all claims of a slot. */
void claim_note_all(struct slot *s, struct journal_unit *u); /* those that are not noted yet */
void claim_unnote_all(struct slot *s);                       /* the unit is not on disk */
bool claim_all_noted(const struct slot *s);
void claim_end_all(struct slot *s, bool is_kept);
void claim_move_all(struct slot *from, struct slot *to);
