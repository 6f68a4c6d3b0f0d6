/* pipeline/letters.h: dead letters: found, listed, sent back to the stages that failed, removed. The same
 * on a running and on a stopped pipeline, a page at a time, so that a long work can be paced, shown and
 * broken off: each page is one unit of the journal. */
#pragma once
#include "pipeline/pipeline.h"

enum letters_act {
    LETTERS_LIST,
    LETTERS_SHOW, /* whole, with attributes and body */
    LETTERS_REDRIVE,
    LETTERS_PURGE,
};

struct letters_query { /* texts may be NULL or empty: any */
    struct journal *journal;
    struct pipeline *pipeline; /* that runs on it; NULL: none does */
    enum letters_act act;
    const char *queue, *stage, *class, *id; /* id: of the event, or the letter's number */
    weir_str where;                         /* an event pattern */
    int64_t older_than_ns;
    uint64_t from, until; /* numbers of letters; until 0: all that are there now */
    uint64_t max;         /* matches of this page; 0: LETTERS_PAGE */
    bool is_dry;          /* counts what it would do */
    char *const *stages;  /* stopped: those of the pipeline file, ends with NULL; NULL: unknown */
};

enum { LETTERS_PAGE = 256 };

struct letters_page {
    uint64_t next, until; /* where the next page begins, and where all of it ends */
    uint64_t matched, done;
    uint64_t busy; /* somebody received them */
    uint64_t gone; /* of stages that are not in the file any more: they stay */
    bool is_over;
    bool is_failed;        /* the unit is not on disk: nothing was done */
    struct buf out;        /* list, show: a JSON object a line */
    struct buf gone_names; /* the stages: JSON texts, with commas */
};
void letters_page_fini(struct letters_page *page);

/* Redrive and purge call done(user, status) once the page's unit is on disk, or is not; it may be called
 * before this returns, and from any thread. List and show call it, too. -1: done is not called.
 * Live: on the first worker. The query may go when this returns, the page may not. */
int letters_page(const struct letters_query *q, struct letters_page *page,
                 void (*done)(void *user, weir_status s), void *user, struct error *e);

/* The queues that hold dead letters of stages now: a JSON array of {"name":...,"letters":n}. */
void letters_queues(struct journal *j, struct buf *out);

/* A query and a page as JSON: what the command line and the admin listener say to each other. The query's
 * texts live in the arena. */
int letters_query_read(weir_str json, struct letters_query *q, struct arena *a, struct error *e);
void letters_page_print(const struct letters_page *page, struct buf *out);
