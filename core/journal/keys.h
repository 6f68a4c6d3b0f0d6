/* journal/keys.h: keys that came within a window of time, each with the event that had it first: a kind of
 * stream whose notes are the keys. A key is written in the unit of what it stands for, so that neither is
 * there without the other. Any thread. */
#pragma once
#include "journal/journal.h"

extern const struct stream_kind keys_kind;              /* id 2 */
extern const struct stream_kind *const journal_kinds[]; /* all there are; ends with NULL */

struct keys;

struct keys_entry {
    uint64_t hash[2]; /* of the key */
    uint64_t content; /* hash of what came with it */
    int64_t time_ns;  /* wall */
    uint8_t id[16];   /* of the event */
};

enum { KEYS_MAX = 1 << 24 };

/* Finds or makes the stream "keys/<name>". Keys older than keep_ns are forgotten, and of more than max
 * the oldest. */
struct keys *keys_open(struct journal *j, const char *name, int64_t keep_ns, uint32_t max,
                       struct error *e);
void keys_hash(weir_str key, uint64_t hash[2]);
bool keys_find(struct keys *k, const uint64_t hash[2], struct keys_entry *found);
void keys_note(struct keys *k, struct journal_unit *u, const struct keys_entry *e);
/* Known from now on, on disk by a note that is on its way. */
void keys_remember(struct keys *k, const struct keys_entry *e);
size_t keys_count(struct keys *k);
