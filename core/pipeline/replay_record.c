/* pipeline/replay_record.c: replays as JSON: their records in the journal, what is asked for, what is told. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "pipeline/replay_priv.h"
#include "json/json.h"

const char *const replay_state_names[REPLAY_STATES] = {"STARTING", "RUNNING", "COMPLETED",
                                                       "CANCELLED", "FAILED"};

bool replay_is_name(const char *name)
{
    static const char good[] = ".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = strlen(name);
    return n && n <= REPLAY_NAME_MAX && strspn(name, good) == n;
}

/* ---- writing ---- */

static void add_text(struct buf *out, const char *key, const char *text)
{
    if (!text || !*text)
        return;
    buf_print(out, ",\"%s\":", key);
    json_quote(out, weir_text(text));
}

static void add_texts(struct buf *out, const char *key, const char *const *texts, size_t n)
{
    if (!n)
        return;
    buf_print(out, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        buf_add_text(out, i ? "," : "");
        json_quote(out, weir_text(texts[i]));
    }
    buf_add_char(out, ']');
}

static void add_time(struct buf *out, const char *key, int64_t ns)
{
    char text[CLOCK_TEXT_BYTES];
    if (!ns)
        return;
    (void)clock_format(ns, 3, text);
    buf_print(out, ",\"%s\":\"%s\",\"%s_ns\":%lld", key, text, key, (long long)ns);
}

static void add_spec(struct buf *out, const struct replay_spec *s)
{
    add_text(out, "archive", s->archive);
    add_text(out, "bus", s->bus);
    add_texts(out, "rules", s->rules, s->rule_count);
    if (s->where.len) {
        buf_add_text(out, ",\"where\":");
        buf_add_str(out, s->where);
    }
    add_time(out, "from", s->from_ns);
    add_time(out, "to", s->to_ns);
    buf_print(out, ",\"ordered\":%s", s->is_ordered ? "true" : "false");
    if (s->speed > 0)
        buf_print(out, ",\"speed\":%.17g", s->speed);
    if (s->rate_per_s > 0)
        buf_print(out, ",\"rate\":%.17g", s->rate_per_s);
}

void replay_print(const struct replay *r, struct buf *out)
{
    const struct replay_spec spec = {
        .archive = r->archive,
        .bus = r->bus,
        .rules = (const char *const *)r->rules,
        .rule_count = r->rule_count,
        .where = weir_text(r->where ? r->where : ""),
        .from_ns = r->from_ns,
        .to_ns = r->to_ns,
        .speed = r->speed,
        .rate_per_s = r->rate_per_s,
        .is_ordered = r->is_ordered,
    };
    buf_print(out, "{\"name\":\"%s\",\"state\":\"%s\"", r->name, replay_state_names[r->state]);
    add_text(out, "reason", r->reason);
    if (replay_is_active(r))
        add_text(out, "waits_for", r->waits_for);
    add_spec(out, &spec);
    buf_print(out,
              ",\"events\":%llu,\"done\":%llu,\"sent\":%llu,\"missed\":%llu,\"first\":%llu,"
              "\"next\":%llu,\"end\":%llu",
              (unsigned long long)(r->end - r->first), (unsigned long long)(r->next - r->first),
              (unsigned long long)r->sent, (unsigned long long)r->missed,
              (unsigned long long)r->first, (unsigned long long)r->next,
              (unsigned long long)r->end);
    add_time(out, "asked", r->asked_ns);
    add_time(out, "started", r->started_ns);
    add_time(out, "ended", r->ended_ns);
    add_time(out, "last", r->last_ns);
    buf_add_char(out, '}');
}

void replay_request_print(const struct replay_request *r, struct buf *out)
{
    buf_print(out, "{\"dry_run\":%s,\"next\":%llu", r->is_dry ? "true" : "false",
              (unsigned long long)r->from);
    add_text(out, "name", r->spec.name);
    add_spec(out, &r->spec);
    buf_add_char(out, '}');
}

/* ---- reading ---- */

static uint64_t number_at(weir_str json, const char *key)
{
    uint64_t n = 0;
    weir_str v = json_find(json, key);
    return v.ptr && text_to_u64(v, &n) ? n : 0;
}

static double fraction_at(weir_str json, const char *key)
{
    weir_str v = json_find(json, key);
    double n = v.ptr && json_kind(v) == WEIR_JSON_NUMBER ? json_number(v) : 0;
    return n > 0 && n < 1e12 ? n : 0;
}

static int64_t time_at(weir_str json, const char *key)
{
    return (int64_t)(number_at(json, key) & INT64_MAX);
}

static const char *text_at(weir_str json, const char *key, struct arena *a)
{
    weir_str v = json_find(json, key);
    if (!v.ptr || json_kind(v) != WEIR_JSON_TEXT)
        return NULL;
    weir_str text = json_unquote(v, a);
    return text.len ? arena_copy(a, text.ptr, text.len) : NULL;
}

static int read_rules(weir_str json, struct replay_spec *s, struct arena *a, struct error *e)
{
    weir_str list = json_find(json, "rules");
    if (!list.ptr)
        return 0;
    const char **rules = arena_take(a, REPLAY_RULES_MAX * sizeof *rules);
    s->rules = rules;
    if (json_kind(list) != WEIR_JSON_ARRAY)
        return error_set(e, EXIT_USAGE_ERROR, "rules is no list of names");
    for (weir_json_each each = {0}; json_next(list, &each);) {
        if (json_kind(each.value) != WEIR_JSON_TEXT)
            return error_set(e, EXIT_USAGE_ERROR, "rules is no list of names");
        if (s->rule_count == REPLAY_RULES_MAX)
            return error_set(e, EXIT_USAGE_ERROR, "a replay names at most %d rules",
                             REPLAY_RULES_MAX);
        weir_str name = json_unquote(each.value, a);
        rules[s->rule_count++] = arena_copy(a, name.ptr, name.len);
    }
    return 0;
}

static int read_spec(weir_str json, struct replay_spec *s, struct arena *a, struct error *e)
{
    weir_str ordered = json_find(json, "ordered"), where = json_find(json, "where");
    *s = (struct replay_spec){
        .name = text_at(json, "name", a),
        .archive = text_at(json, "archive", a),
        .bus = text_at(json, "bus", a),
        .where = where.ptr ? where : (weir_str){"", 0},
        .from_ns = time_at(json, "from_ns"),
        .to_ns = time_at(json, "to_ns"),
        .speed = fraction_at(json, "speed"),
        .rate_per_s = fraction_at(json, "rate"),
        .is_ordered = ordered.ptr && weir_same(ordered, "true"),
    };
    return read_rules(json, s, a, e);
}

int replay_request_read(weir_str json, struct replay_request *out, struct arena *a, struct error *e)
{
    *out = (struct replay_request){0};
    json = json_trim(json);
    if (json_check(json, NULL, NULL) != WEIR_OK || json_kind(json) != WEIR_JSON_OBJECT)
        return error_set(e, EXIT_USAGE_ERROR, "the body is no JSON object");
    weir_str dry = json_find(json, "dry_run");
    out->is_dry = dry.ptr && weir_same(dry, "true");
    out->from = number_at(json, "next");
    return read_spec(json, &out->spec, a, e);
}

static bool read_state(weir_str json, struct replay *r)
{
    weir_str v = json_find(json, "state");
    if (!v.ptr || v.len < 2)
        return false;
    for (size_t i = 0; i < REPLAY_STATES; i++)
        if (weir_same((weir_str){v.ptr + 1, v.len - 2}, replay_state_names[i])) {
            r->state = (enum replay_state)i;
            return true;
        }
    return false;
}

static char *copy_of(const char *text)
{
    return text ? mem_text(text) : NULL;
}

static void take_spec(struct replay *r, const struct replay_spec *s)
{
    r->name = copy_of(s->name);
    r->archive = copy_of(s->archive);
    r->bus = copy_of(s->bus);
    r->rules = mem_new((s->rule_count + 1) * sizeof(char *));
    for (size_t i = 0; i < s->rule_count; i++)
        r->rules[i] = mem_text(s->rules[i]);
    r->rule_count = s->rule_count;
    r->where = s->where.len ? mem_copy(s->where.ptr, s->where.len) : NULL;
    r->from_ns = s->from_ns;
    r->to_ns = s->to_ns;
    r->speed = s->speed;
    r->rate_per_s = s->rate_per_s;
    r->is_ordered = s->is_ordered;
}

struct replay *replay_new(const struct replay_spec *s)
{
    struct replay *r = MEM_NEW(struct replay);
    take_spec(r, s);
    return r;
}

struct replay *replay_read(weir_str json)
{
    struct arena a;
    struct error e = {0};
    struct replay_spec spec;
    struct replay *r = NULL;
    if (json_check(json, NULL, NULL) != WEIR_OK || json_kind(json) != WEIR_JSON_OBJECT)
        return NULL;
    arena_init(&a);
    if (read_spec(json, &spec, &a, &e) == 0 && spec.name && replay_is_name(spec.name) &&
        spec.archive) {
        r = replay_new(&spec);
        r->reason = copy_of(text_at(json, "reason", &a));
        r->first = number_at(json, "first");
        r->next = number_at(json, "next");
        r->end = number_at(json, "end");
        r->sent = number_at(json, "sent");
        r->missed = number_at(json, "missed");
        r->asked_ns = time_at(json, "asked_ns");
        r->started_ns = time_at(json, "started_ns");
        r->ended_ns = time_at(json, "ended_ns");
        r->last_ns = time_at(json, "last_ns");
    }
    arena_fini(&a);
    if (r && (!read_state(json, r) || r->first > r->next || r->next > r->end)) {
        replay_free(r);
        return NULL;
    }
    return r;
}

/* ---- on disk: the new record and the end of the old one are one unit ---- */

/* Under the lock. */
static struct journal_unit *begin_unit(struct replay *r)
{
    struct journal_unit *u = journal_begin(r->all->journal);
    struct buf text = {0};
    replay_print(r, &text);
    const struct iovec part = {text.ptr, text.len};
    unit_put(u, &r->all->stream, 1, &part, 1);
    if (r->has_record)
        unit_ack(u, r->all->stream, r->record, 1);
    buf_fini(&text);
    r->is_saving = true;
    r->is_dirty = false;
    return u;
}

static void saved(void *user, weir_status status, const struct journal_unit *u)
{
    struct replay *r = user;
    struct journal_unit *next = NULL;
    (void)pthread_mutex_lock(&r->all->lock);
    r->is_saving = false;
    if (status == WEIR_OK) {
        r->record = unit_sequence(u, 0, 0);
        r->has_record = true;
        if (r->is_dirty && !r->is_forgotten)
            next = begin_unit(r);
    } else {
        r->is_dirty = true; /* replays_tick tries again */
    }
    (void)pthread_mutex_unlock(&r->all->lock);
    if (next)
        journal_submit(next, JOURNAL_LAZY, saved, r);
}

static void save(struct replay *r, enum journal_level level)
{
    (void)pthread_mutex_lock(&r->all->lock);
    r->is_dirty = true;
    struct journal_unit *u = r->is_saving || r->is_forgotten ? NULL : begin_unit(r);
    (void)pthread_mutex_unlock(&r->all->lock);
    if (u)
        journal_submit(u, level, saved, r);
}

void replay_save(struct replay *r)
{
    save(r, JOURNAL_LAZY);
}

int replay_save_wait(struct replay *r, struct error *e)
{
    enum { TRIES = 4 }; /* one that is under way, this one, and what came meanwhile */
    bool is_saved = false;
    save(r, JOURNAL_SYNCED);
    for (int i = 0; i < TRIES && !is_saved; i++) {
        if (journal_submit_wait(journal_begin(r->all->journal)) != WEIR_OK)
            break;
        (void)pthread_mutex_lock(&r->all->lock);
        is_saved = !r->is_saving && !r->is_dirty;
        (void)pthread_mutex_unlock(&r->all->lock);
    }
    return is_saved ? 0
                    : error_set(e, EXIT_IO, "replay %s: the journal cannot be written", r->name);
}
