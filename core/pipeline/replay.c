/* pipeline/replay.c: the replays that there are: asked for, cancelled, listed, found again at a start. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "pipeline/replay_priv.h"
#include "pipeline/services.h"
#include "pipeline/where.h"
#include "json/json.h"

enum {
    ACTIVE_MAX = 10, /* as in EventBridge */
    KEPT_MAX = 100,  /* of those that are over */
};
static const char stream_name_of_all[] = "replays";

struct replay *replay_find(const struct replays *rs, weir_str name)
{
    for (size_t i = rs->count; i > 0; i--)
        if (weir_same(name, rs->items[i - 1]->name))
            return rs->items[i - 1];
    return NULL;
}

void replay_free(struct replay *r)
{
    replay_run_fini(r);
    for (size_t i = 0; i < r->rule_count; i++)
        mem_free(r->rules[i]);
    mem_free(r->rules);
    mem_free(r->name);
    mem_free(r->archive);
    mem_free(r->bus);
    mem_free(r->where);
    mem_free(r->reason);
    mem_free(r);
}

/* "bus.large" is "large" of this bus. */
static void strip_bus(struct replay *r)
{
    size_t n = strlen(r->bus);
    for (size_t i = 0; i < r->rule_count; i++)
        if (strncmp(r->rules[i], r->bus, n) == 0 && r->rules[i][n] == '.')
            memmove(r->rules[i], r->rules[i] + n + 1, strlen(r->rules[i] + n + 1) + 1);
}

int replay_resolve(struct replay *r, struct error *e)
{
    struct pipeline *p = r->all->pipeline;
    char *bus = bus_of_archive(p, r->archive, r->bus, e);
    if (!bus)
        return -1;
    (void)pthread_mutex_lock(&r->all->lock);
    mem_free(r->bus);
    r->bus = bus;
    strip_bus(r);
    (void)pthread_mutex_unlock(&r->all->lock);
    return bus_check_rules(p, r->bus, r->rules, r->rule_count, e);
}

/* ---- which records ---- */

/* The first from `at` that came in time, or, with is_last, one behind the last that did. */
static uint64_t look_for(struct archive *a, uint64_t at, uint64_t end, const int64_t times[2],
                         bool is_last)
{
    struct reader *r = reader_new(archive_stream(a), at);
    uint64_t found = is_last ? at : end, sequence = 0;
    int64_t came_ns = 0;
    weir_str record;
    while (reader_next(r, &record, &sequence) == WEIR_OK && sequence < end) {
        (void)archive_payload(record, &came_ns);
        if (came_ns < times[0] || came_ns >= times[1])
            continue;
        found = is_last ? sequence + 1 : sequence;
        if (!is_last)
            break;
    }
    reader_free(r);
    return found;
}

void replay_find_range(struct archive *a, int64_t from_ns, int64_t to_ns, struct archive_range *out)
{
    const int64_t times[2] = {from_ns, to_ns};
    archive_range(a, from_ns, to_ns, out);
    if (out->first == out->end)
        return;
    out->first = look_for(a, out->first, out->end, times, false);
    if (out->last < out->first)
        out->last = out->first;
    out->end = look_for(a, out->last, out->end, times, true);
    if (out->end < out->first)
        out->end = out->first;
}

/* ---- asking for one ---- */

int replay_check(const struct replay_spec *s, struct error *e)
{
    struct match_set *set;
    if (s->name && !replay_is_name(s->name))
        return error_set(e, EXIT_USAGE_ERROR,
                         "a replay's name has 1 to %d letters, digits, dots, - and _",
                         REPLAY_NAME_MAX);
    if (s->to_ns <= s->from_ns)
        return error_set(e, EXIT_USAGE_ERROR,
                         "the beginning (from) is not before the end (to): nothing came between");
    if (s->where.len > REPLAY_WHERE_MAX)
        return error_set(e, EXIT_USAGE_ERROR, "where has more than %d bytes", REPLAY_WHERE_MAX);
    if (s->speed > 0 && s->rate_per_s > 0)
        return error_set(e, EXIT_USAGE_ERROR, "a replay has a speed or a rate, not both");
    if (!s->where.len)
        return 0;
    if (where_compile(s->where, NULL, &set, e) < 0)
        return -1;
    match_set_free(set);
    return 0;
}

struct only {
    struct archive *archive;
    size_t count;
};

static void count_archive(void *user, struct archive *a)
{
    struct only *o = user;
    o->archive = a;
    o->count++;
}

struct archive *replay_archive(const struct replays *rs, const char *name, struct error *e)
{
    struct only only = {0};
    if (name) {
        struct archive *a = archive_find(rs->journal, name);
        if (!a)
            (void)error_set(e, EXIT_BAD_DATA, "no archive %s: `weir archive ls` lists them", name);
        return a;
    }
    archive_each(rs->journal, count_archive, &only);
    if (!only.count)
        (void)error_set(e, EXIT_BAD_DATA, "there is no archive: a bus has one with `archive:`");
    else if (only.count > 1)
        (void)error_set(e, EXIT_USAGE_ERROR,
                        "there are %zu archives: name one of them; `weir archive ls` lists them",
                        only.count);
    return only.count == 1 ? only.archive : NULL;
}

/* "orders-20261123T044132Z", and more where there is one of this name. */
static char *make_name(const struct replays *rs, const char *archive, int64_t now_ns)
{
    char time[CLOCK_TEXT_BYTES], plain[CLOCK_TEXT_BYTES];
    size_t n = 0;
    (void)clock_format(now_ns, 0, time);
    for (const char *c = time; *c; c++)
        if (*c != '-' && *c != ':')
            plain[n++] = *c;
    plain[n] = 0;
    char *name = mem_format("%s-%s", archive, plain);
    for (unsigned i = 2; replay_find(rs, weir_text(name)); i++) {
        mem_free(name);
        name = mem_format("%.40s-%s.%u", archive, plain, i);
    }
    return name;
}

static int check_room(struct replays *rs, const char *name, struct error *e)
{
    size_t active = 0;
    enum replay_state state = REPLAY_STARTING;
    (void)pthread_mutex_lock(&rs->lock);
    const struct replay *same = name ? replay_find(rs, weir_text(name)) : NULL;
    for (size_t i = 0; i < rs->count; i++)
        active += replay_is_active(rs->items[i]);
    if (same)
        state = same->state;
    (void)pthread_mutex_unlock(&rs->lock);
    if (same)
        return error_set(e, EXIT_NOT_AVAILABLE,
                         "a replay %s exists already (%s): give this one another name", name,
                         replay_state_names[state]);
    if (active >= ACTIVE_MAX)
        return error_set(e, EXIT_NOT_AVAILABLE,
                         "%d replays are under way, which is the most there may be: cancel one, or "
                         "wait for one to end",
                         ACTIVE_MAX);
    return 0;
}

/* Under the lock: those that ended long ago are not kept for ever. */
static void forget_old(struct replays *rs, struct journal_unit *u)
{
    size_t over = 0, kept = 0;
    for (size_t i = 0; i < rs->count; i++)
        over += !replay_is_active(rs->items[i]);
    for (size_t i = 0; i < rs->count; i++) {
        struct replay *r = rs->items[i];
        bool is_old = over > KEPT_MAX && !replay_is_active(r) && !r->is_saving;
        if (!is_old) {
            rs->items[kept++] = r;
            continue;
        }
        over--;
        r->is_forgotten = true;
        if (r->has_record)
            unit_ack(u, rs->stream, r->record, 1);
        MEM_PUSH(rs->forgotten, rs->forgotten_count, rs->forgotten_cap) = r;
    }
    rs->count = kept;
}

static void forget(struct replays *rs)
{
    struct journal_unit *u = journal_begin(rs->journal);
    (void)pthread_mutex_lock(&rs->lock);
    forget_old(rs, u);
    (void)pthread_mutex_unlock(&rs->lock);
    if (unit_is_empty(u))
        journal_cancel(u);
    else
        journal_submit(u, JOURNAL_LAZY, NULL, NULL);
}

static void set_home(struct replay *r, size_t number)
{
    struct pipeline *p = r->all->pipeline;
    r->home = p ? p->workers[number % p->worker_count] : NULL;
}

static struct replay *make(struct replays *rs, const struct replay_spec *s, struct archive *a)
{
    struct replay_spec spec = *s;
    struct archive_range range;
    struct replay *r = replay_new(&spec);
    r->all = rs;
    r->asked_ns = clock_wall(journal_clock(rs->journal));
    mem_free(r->archive);
    r->archive = mem_text(archive_name(a));
    if (!r->name)
        r->name = make_name(rs, r->archive, r->asked_ns);
    replay_find_range(a, r->from_ns, r->to_ns, &range);
    r->first = r->next = r->at = range.first;
    r->end = range.end;
    set_home(r, rs->count);
    return r;
}

static void add(struct replays *rs, struct replay *r)
{
    (void)pthread_mutex_lock(&rs->lock);
    MEM_PUSH(rs->items, rs->count, rs->cap) = r;
    (void)pthread_mutex_unlock(&rs->lock);
}

static void take_back(struct replays *rs, struct replay *r)
{
    (void)pthread_mutex_lock(&rs->lock);
    rs->count--; /* the last */
    r->state = REPLAY_FAILED;
    r->is_forgotten = true;
    MEM_PUSH(rs->forgotten, rs->forgotten_count, rs->forgotten_cap) = r;
    (void)pthread_mutex_unlock(&rs->lock);
}

static void print(struct replays *rs, const struct replay *r, struct buf *out)
{
    (void)pthread_mutex_lock(&rs->lock);
    replay_print(r, out);
    (void)pthread_mutex_unlock(&rs->lock);
    buf_add_char(out, '\n');
}

int replays_start(struct replays *rs, const struct replay_spec *s, struct buf *out, struct error *e)
{
    if (replay_check(s, e) < 0 || check_room(rs, s->name, e) < 0)
        return -1;
    struct archive *a = replay_archive(rs, s->archive, e);
    if (!a)
        return -1;
    struct replay *r = make(rs, s, a);
    if (rs->pipeline && replay_resolve(r, e) < 0) {
        replay_free(r);
        return -1;
    }
    add(rs, r);
    if (replay_save_wait(r, e) < 0) {
        take_back(rs, r);
        return -1;
    }
    forget(rs);
    print(rs, r, out);
    if (rs->pipeline)
        replay_wake(r);
    return 0;
}

/* ---- the rest ---- */

static struct replay *named(struct replays *rs, const char *name, struct error *e)
{
    struct replay *r = replay_find(rs, weir_text(name));
    if (!r)
        (void)error_set(e, EXIT_BAD_DATA, "no replay %s: `weir replay ls` lists them", name);
    return r;
}

/* Whoever is first ends it. */
static bool set_ended(struct replay *r, enum replay_state state, const char *reason)
{
    struct replays *rs = r->all;
    (void)pthread_mutex_lock(&rs->lock);
    bool was_active = replay_is_active(r);
    int64_t now_ns = clock_wall(journal_clock(rs->journal));
    int64_t took_ns = r->started_ns ? now_ns - r->started_ns : 0;
    uint64_t sent = r->sent;
    if (was_active) {
        r->state = state;
        r->ended_ns = now_ns;
        mem_free(r->reason);
        r->reason = reason ? mem_text(reason) : NULL;
    }
    (void)pthread_mutex_unlock(&rs->lock);
    if (!was_active || !rs->pipeline)
        return was_active;
    metric_add(rs->m_ended[state], 1);
    log_write(state == REPLAY_FAILED ? WEIR_ERROR : WEIR_INFO, NULL,
              "replay %s: %s%s%s: %llu events were sent in %.1f s", r->name,
              state == REPLAY_COMPLETED   ? "completed"
              : state == REPLAY_CANCELLED ? "cancelled"
                                          : "failed",
              reason ? ": " : "", reason ? reason : "", (unsigned long long)sent,
              (double)took_ns / 1e9);
    return true;
}

void replay_end(struct replay *r, enum replay_state state, const char *reason)
{
    if (set_ended(r, state, reason))
        replay_save(r);
}

int replays_cancel(struct replays *rs, const char *name, struct buf *out, struct error *e)
{
    struct replay *r = named(rs, name, e);
    if (!r)
        return -1;
    if (!set_ended(r, REPLAY_CANCELLED, NULL))
        return error_set(e, EXIT_NOT_AVAILABLE, "the replay %s is over already (%s)", name,
                         replay_state_names[r->state]);
    if (rs->pipeline)
        replay_wake(r);
    if (replay_save_wait(r, e) < 0)
        return -1;
    print(rs, r, out);
    return 0;
}

int replays_print_one(struct replays *rs, const char *name, struct buf *out, struct error *e)
{
    const struct replay *r = named(rs, name, e);
    if (!r)
        return -1;
    print(rs, r, out);
    return 0;
}

void replays_print(struct replays *rs, struct buf *out)
{
    buf_add_char(out, '[');
    (void)pthread_mutex_lock(&rs->lock);
    for (size_t i = 0; i < rs->count; i++) {
        buf_add_text(out, i ? "," : "");
        replay_print(rs->items[i], out);
    }
    (void)pthread_mutex_unlock(&rs->lock);
    buf_add_text(out, "]\n");
}

int replays_kind(struct replays *rs, weir_str name, const char *bus)
{
    (void)pthread_mutex_lock(&rs->lock);
    const struct replay *r = replay_find(rs, name);
    bool is_for_some = r && r->rule_count && r->bus && strcmp(r->bus, bus) == 0;
    int kind = !r ? WEIR_LIVE : is_for_some ? WEIR_REPLAYED_TO_SOME : WEIR_REPLAYED;
    (void)pthread_mutex_unlock(&rs->lock);
    return kind;
}

bool replays_wants(struct replays *rs, weir_str name, const char *rule)
{
    (void)pthread_mutex_lock(&rs->lock);
    const struct replay *r = replay_find(rs, name);
    bool is_wanted = !r || !r->rule_count;
    for (size_t i = 0; r && i < r->rule_count && !is_wanted; i++)
        is_wanted = strcmp(r->rules[i], rule) == 0;
    (void)pthread_mutex_unlock(&rs->lock);
    return is_wanted;
}

/* ---- from a start to the stop ---- */

static void make_figures(struct replays *rs)
{
    static const char *const ended[REPLAY_STATES] = {
        [REPLAY_COMPLETED] = "completed",
        [REPLAY_CANCELLED] = "cancelled",
        [REPLAY_FAILED] = "failed",
    };
    struct metrics *m = rs->pipeline->metrics;
    struct metric_key key = {
        WEIR_GAUGE, "weir_replays_running", "Replays that are under way.", NULL, NULL, NULL};
    rs->m_running = metrics_get(m, &key);
    key.name = "weir_replay_remaining_events";
    key.help = "Archived events that replays under way have still before them.";
    rs->m_remaining = metrics_get(m, &key);
    key.kind = WEIR_COUNTER;
    key.name = "weir_replay_events_total";
    key.help = "Events that replays have brought.";
    rs->m_events = metrics_get(m, &key);
    key.name = "weir_replays_ended_total";
    key.help = "Replays that are over, by how they ended.";
    key.label = "state";
    for (size_t i = 0; i < REPLAY_STATES; i++) {
        key.label_value = ended[i];
        rs->m_ended[i] = ended[i] ? metrics_get(m, &key) : NULL;
    }
}

static int by_time(const void *a, const void *b)
{
    const struct replay *const *left = a, *const *right = b;
    return ((*left)->asked_ns > (*right)->asked_ns) - ((*left)->asked_ns < (*right)->asked_ns);
}

static void load(struct replays *rs)
{
    struct reader *reader = reader_new(rs->stream, stream_first_live(rs->stream));
    uint64_t sequence = 0;
    weir_str record;
    while (reader_next(reader, &record, &sequence) == WEIR_OK) {
        struct replay *r = replay_read(record);
        if (!r) {
            log_write(WEIR_ERROR, NULL, "record %llu of the replays is none: left out",
                      (unsigned long long)sequence);
            continue;
        }
        r->all = rs;
        r->record = sequence;
        r->has_record = true;
        r->at = r->next;
        set_home(r, rs->count);
        MEM_PUSH(rs->items, rs->count, rs->cap) = r;
    }
    reader_free(reader);
    if (rs->count)
        qsort(rs->items, rs->count, sizeof(struct replay *), by_time);
}

struct replays *replays_open(struct journal *j, struct pipeline *p, struct error *e)
{
    struct stream *stream = stream_open(j, stream_name_of_all, 0, e);
    if (!stream)
        return NULL;
    struct replays *rs = MEM_NEW(struct replays);
    rs->pipeline = p;
    rs->journal = j;
    rs->stream = stream;
    (void)pthread_mutex_init(&rs->lock, NULL);
    if (p)
        make_figures(rs);
    load(rs);
    return rs;
}

void replays_begin(struct replays *rs)
{
    for (size_t i = 0; i < rs->count; i++) {
        struct replay *r = rs->items[i];
        if (!replay_is_active(r))
            continue;
        if (r->state == REPLAY_RUNNING)
            log_write(WEIR_INFO, NULL, "replay %s: goes on: %llu of %llu events are done", r->name,
                      (unsigned long long)(r->next - r->first),
                      (unsigned long long)(r->end - r->first));
        replay_wake(r);
    }
}

void replays_tick(struct replays *rs)
{
    struct replay *unsaved = NULL;
    (void)pthread_mutex_lock(&rs->lock);
    for (size_t i = 0; i < rs->count; i++)
        if (rs->items[i]->is_dirty && !rs->items[i]->is_saving)
            unsaved = rs->items[i];
    (void)pthread_mutex_unlock(&rs->lock);
    if (unsaved)
        replay_save(unsaved);
}

bool replays_are_over(struct replays *rs)
{
    bool is_over = true;
    (void)pthread_mutex_lock(&rs->lock);
    for (size_t i = 0; i < rs->count; i++)
        is_over &= !replay_is_active(rs->items[i]) && !rs->items[i]->is_dirty;
    (void)pthread_mutex_unlock(&rs->lock);
    return is_over;
}

bool replays_are_settled(struct replays *rs)
{
    for (size_t i = 0; i < rs->count; i++)
        if (atomic_load(&rs->items[i]->open))
            return false;
    return true;
}

void replays_refresh_metrics(struct replays *rs)
{
    uint64_t running = 0, remaining = 0;
    (void)pthread_mutex_lock(&rs->lock);
    for (size_t i = 0; i < rs->count; i++) {
        const struct replay *r = rs->items[i];
        running += replay_is_active(r);
        remaining += replay_is_active(r) ? r->end - r->next : 0;
    }
    (void)pthread_mutex_unlock(&rs->lock);
    metric_set(rs->m_running, (double)running);
    metric_set(rs->m_remaining, (double)remaining);
}

void replays_free(struct replays *rs)
{
    if (!rs)
        return;
    for (size_t i = 0; i < rs->count; i++)
        replay_free(rs->items[i]);
    for (size_t i = 0; i < rs->forgotten_count; i++)
        replay_free(rs->forgotten[i]);
    mem_free(rs->items);
    mem_free(rs->forgotten);
    (void)pthread_mutex_destroy(&rs->lock);
    mem_free(rs);
}
