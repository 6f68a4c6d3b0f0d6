/* pipeline/dead.h: dead letters: what could not be done, kept in a queue with the stage, the error's
 * class and text, attempts, first and last time, as attributes of the event ("dead.stage", ...). */
#pragma once
#include "pipeline/inlet_priv.h"

struct dead_letters; /* the queues of a pipeline, by name */

bool dead_is_own(weir_str key); /* an attribute that dead letters add */

struct dead_letters *dead_letters_open(struct pipeline *p, struct error *e);
void dead_letters_free(struct dead_letters *d);
/* The entry's branch ends once the letter is on disk; in the same unit its record is acknowledged. */
void dead_letter(struct inlet *in, struct entry *e, const char *why);
/* On to whoever reads the stage's `.failed`, without having been given up. */
void dead_divert(struct inlet *in, struct entry *e, const char *why);
uint64_t dead_letters_waiting(const struct pipeline *p);
