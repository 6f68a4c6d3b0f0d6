/* journal/inspect.h: looking at all that a journal has on disk, and setting aside what is damaged.
 *
 * Of a journal opened with is_reader, or for inspect_repair of one opened as its owner, before
 * anything else uses it. Files may change under a reader while a runner has them: a segment that was
 * recycled meanwhile is left out. */
#pragma once
#include "journal/format.h"
#include "journal/journal.h"

struct inspect_record {
    uint64_t segment, sequence; /* sequence: of a put; else the first, or the limit of a trim */
    uint64_t count;             /* of an acknowledgement */
    uint32_t slot, offset;
    enum record_type type;
    bool is_cold, is_live; /* is_live: a put that is not acknowledged, and lies here */
    const char *stream;    /* NULL: none, or not known */
    weir_str body;         /* until the call returns */
};

struct inspect {
    /* Each may be NULL. Something is wrong: place, cause, what it means. */
    void (*finding)(void *user, const char *text);
    void (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
    bool (*record)(void *user, const struct inspect_record *r); /* a put once a ref; false: stop */
    void *user;
};

struct inspect_report {
    uint64_t segments, cold, free_slots, bytes; /* bytes: of all slots */
    uint64_t groups, records, puts, live;       /* records that check; refs of puts; live records */
    uint64_t damaged_places, damaged_bytes;     /* below the end of a segment */
    uint64_t harmless_places; /* of them: nothing live, and no recovery reads it */
    uint64_t unreadable;      /* live records that nobody can read any more */
    uint64_t findings;        /* 0: all is well */
};

/* Who has it open, by its lock file, for a message; false: nobody. `disk` NULL: the real one. */
bool inspect_holder(const struct disk *disk, const char *path, char *holder, size_t size);
/* Reads every segment, header and checkpoint. */
void inspect_check(struct journal *j, const struct inspect *as, struct inspect_report *report);
/* Calls as->record for each record in the order of the log, cold segments where their number is. */
void inspect_each(struct journal *j, const struct inspect *as);

struct inspect_repaired {
    uint64_t places, bytes;   /* copied to quarantine/ and filled with records of no effect */
    uint64_t records;         /* live ones that could not be read: taken out of their streams */
    uint64_t headers, checks; /* copies of segment headers, and checkpoints, written anew */
};
/* Of the owner: sets damaged bytes aside, takes unreadable records out of their streams, writes bad
 * header copies and both checkpoints anew. Can be repeated. 0, or -1 with *e. */
int inspect_repair(struct journal *j, const struct inspect *as, struct inspect_repaired *done,
                   struct error *e);
