/* cli/dlq.h: what dlq.c (the command) and dlq_pages.c (the letters) share. */
#pragma once
#include <signal.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/store.h"

struct dlq_options {
    struct cli_store store;
    const char *queue, *stage, *class, *where, *older_than, *rate;
    int64_t limit;
    bool newest, summary, json, dry_run, yes;
};

struct dlq_count { /* of one stage and class */
    char *stage, *class;
    uint64_t n;
};

struct dlq {
    const struct dlq_options *o;
    const char *act, *id;
    char *data_dir, **stages;
    struct journal *journal; /* of a stopped pipeline, once it was asked for */
    bool is_writer;          /* it can be changed */
    char **queues;
    size_t queue_count, queue_cap;
    int64_t older_than_ns;
    double rate;
    uint64_t total; /* letters in the queues at the beginning */
    uint64_t matched, done, busy, gone, seen;
    struct buf gone_names;
    struct dlq_count *counts;
    size_t count_count, count_cap;
    char **lines; /* ls: those to print, in the order of the queue */
    size_t line_count, line_cap;
    bool is_cut;
    const volatile sig_atomic_t *is_interrupted;
    int64_t begun_ns;
};

/* The queues that hold dead letters, or the one of --queue; an exit code. */
int dlq_find_queues(struct dlq *d);
/* `act` on all letters of these queues that the options choose: counts them, and keeps those to print. */
int dlq_work_off(struct dlq *d, bool is_dry);

weir_str dlq_plain(weir_str value, struct arena *a); /* a string's text; others as they are; "" */
weir_str dlq_text(weir_str object, const char *name, struct arena *a); /* the same of a member */
/* ,"key":"text"; nothing if there is none. */
void dlq_add_member(struct buf *out, const char *key, const char *text);
