/* pipeline/replay.h: replays: events of an archive brought to their bus once more.
 *
 * A replay is a record in the journal's stream "replays": what was asked for, and how far it is. It runs
 * on one worker, by turns with the live traffic: a batch of the archive is given to the bus, and the
 * position moves behind it once all that came of it is safe. So a replay goes on by itself after a stop or
 * a crash, and what was under way then comes again. Of a stopped pipeline replays are listed, asked for
 * and cancelled as well; they begin with the runner. */
#pragma once
#include "match/match.h"
#include "pipeline/pipeline.h"

struct replays;

enum { REPLAY_NAME_MAX = 64, REPLAY_RULES_MAX = 100, REPLAY_WHERE_MAX = 16 << 10 };

struct replay_spec {
    const char *name;    /* NULL: made of the archive's name and the time */
    const char *archive; /* NULL: the only one there is */
    const char *bus;     /* NULL: the one that keeps the archive */
    const char *const *rules;
    size_t rule_count;      /* 0: all of the bus */
    weir_str where;         /* an event pattern; len 0: all events */
    int64_t from_ns, to_ns; /* when they came into the archive: from <= t < to */
    double speed;           /* of the time between them: 1 is as it was; 0: as fast as it goes */
    double rate_per_s;      /* 0: no limit */
    bool is_ordered;        /* each is delivered everywhere before the next is sent */
};

/* p NULL: of a stopped pipeline. With one: main thread, before it starts. */
struct replays *replays_open(struct journal *j, struct pipeline *p, struct error *e);
void replays_begin(struct replays *rs);       /* the pipeline starts: those under way go on */
void replays_tick(struct replays *rs);        /* now and then */
bool replays_are_over(struct replays *rs);    /* none is under way */
bool replays_are_settled(struct replays *rs); /* what they have sent is safe */
void replays_refresh_metrics(struct replays *rs);
void replays_free(struct replays *rs);

/* Main thread, or of a stopped pipeline. Each adds the replay, as JSON, to *out; a change is on disk when
 * the call returns. USAGE_ERROR: what was asked for is wrong; BAD_DATA: there is no such thing;
 * NOT_AVAILABLE: not now. */
int replays_start(struct replays *rs, const struct replay_spec *s, struct buf *out,
                  struct error *e);
int replays_cancel(struct replays *rs, const char *name, struct buf *out, struct error *e);
int replays_print_one(struct replays *rs, const char *name, struct buf *out, struct error *e);
void replays_print(struct replays *rs, struct buf *out); /* an array, the oldest first */

/* Any thread. What weir.bus/1 says of an event with this replay's name that is at a bus, and of a rule of
 * it. The rules that a replay names are those of its own bus; another that its events come to is free. */
int replays_kind(struct replays *rs, weir_str name, const char *bus);
bool replays_wants(struct replays *rs, weir_str name, const char *rule);

/* What would be sent: a page of it, from record `from` on (0: the first). The rules are those of the bus
 * as the file has them; those that are off are left out. Adds
 * {"next":N,"looked":N,"events":N,"bytes":N,"rules":[{"rule":"a","events":N}],"unmatched":N}; next 0: it was
 * the last. */
struct replay_rules {
    const struct service_rule *items;
    size_t count;
    const struct match_env *env;
};
int replays_dry(struct replays *rs, const struct replay_spec *s, const struct replay_rules *rules,
                uint64_t from, struct buf *out, struct error *e);

/* What the command line and the admin listener say to each other. Texts live in the arena. */
struct replay_request {
    struct replay_spec spec;
    bool is_dry;
    uint64_t from; /* of a dry run's page */
};
int replay_request_read(weir_str json, struct replay_request *out, struct arena *a,
                        struct error *e);
void replay_request_print(const struct replay_request *r, struct buf *out);
