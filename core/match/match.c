/* match/match.c: one event against all patterns of a set. */
#include "match/match.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "match/envelope.h"
#include "match/run.h"
#include "json/json.h"

struct match_ctx *match_ctx_new(const struct match_set *s)
{
    if (s->build)
        abort(); /* a mistake of the caller's: the set may still change */
    struct match_ctx *c = MEM_NEW(struct match_ctx);
    c->set = s;
    c->fields = mem_new((s->fields_count + 1) * sizeof *c->fields);
    run_open(&c->conds_table);
    run_open(&c->buts_table);
    c->rules = mem_new((s->rules_count + 1) * sizeof *c->rules);
    c->slots = mem_new(((size_t)s->slot_count + 1) * sizeof *c->slots);
    c->active_fields = mem_new((s->fields_count + 1) * sizeof *c->active_fields);
    c->hits = mem_new((s->rules_count + 1) * sizeof *c->hits);
    SET_PUSH(c, frames) = (struct run_frame){0};
    return c;
}

void match_ctx_free(struct match_ctx *c)
{
    if (!c)
        return;
    mem_free(c->fields);
    run_close(&c->conds_table);
    run_close(&c->buts_table);
    mem_free(c->conds);
    mem_free(c->buts);
    mem_free(c->rules);
    mem_free(c->slots);
    mem_free(c->active_fields);
    mem_free(c->hits);
    mem_free(c->values);
    mem_free(c->marks);
    mem_free(c->frames);
    mem_free(c->masks);
    mem_free(c->blocks);
    buf_fini(&c->text);
    buf_fini(&c->lower);
    buf_fini(&c->key);
    mem_free(c);
}

bool match_was_cut(const struct match_ctx *c)
{
    return c->steps > RUN_STEPS_MAX;
}

static void clear_stamps(struct match_ctx *c)
{
    const struct match_set *s = c->set;
    memset(c->fields, 0, s->fields_count * sizeof *c->fields);
    memset(c->rules, 0, s->rules_count * sizeof *c->rules);
}

static void begin(struct match_ctx *c, bool is_careful)
{
    if (!++c->event) {
        clear_stamps(c);
        c->event = 1;
    }
    run_clear(&c->conds_table);
    run_clear(&c->buts_table);
    c->conds_count = c->buts_count = c->active_field_count = c->values_count = c->hit_count = 0;
    c->value = 0, c->marks_count = 0, c->frame = 0;
    c->frames_count = 1;
    c->arrays = 0;
    c->steps = 0;
    c->is_careful = is_careful;
    c->has_duplicate = c->has_dotted = false;
}

static size_t finish(struct match_ctx *c, const uint32_t **hits)
{
    verdict_collect(c);
    *hits = c->hits;
    return c->hit_count;
}

/* ---- the envelope ------------------------------------------------------------------------------- */

static void feed_member(struct match_ctx *c, enum envelope_member member, weir_str text)
{
    uint32_t node = c->set->members[member];
    uint32_t field = node == SET_NONE ? SET_NONE : c->set->nodes[node].field;
    if (field == SET_NONE)
        return;
    text = envelope_text(text);
    c->frame = 0;
    feed_value(c, field, WEIR_JSON_TEXT, text);
}

static bool has(const struct match_ctx *c, enum envelope_member member)
{
    return c->set->members[member] != SET_NONE;
}

static void feed_envelope(struct match_ctx *c, const weir_event *ev)
{
    char id[ID_TEXT_BYTES], time[CLOCK_TEXT_BYTES];
    feed_member(c, ENVELOPE_SOURCE, ev->source);
    feed_member(c, ENVELOPE_DETAIL_TYPE, ev->type);
    feed_member(c, ENVELOPE_ACCOUNT, weir_text(c->set->account));
    feed_member(c, ENVELOPE_REGION, weir_text(c->set->region));
    feed_member(c, ENVELOPE_VERSION, weir_text("0"));
    if (has(c, ENVELOPE_ID)) {
        id_format(&ev->id, id);
        feed_member(c, ENVELOPE_ID, weir_text(id));
    }
    if (has(c, ENVELOPE_TIME)) {
        (void)clock_format(ev->time_ns, 0, time);
        feed_member(c, ENVELOPE_TIME, weir_text(time));
    }
    if (has(c, ENVELOPE_REPLAY_NAME) && envelope_replay(ev).ptr)
        feed_member(c, ENVELOPE_REPLAY_NAME, envelope_replay(ev));
    if (has(c, ENVELOPE_RESOURCES))
        (void)scan_value(c, envelope_resources(ev), c->set->members[ENVELOPE_RESOURCES], false);
}

/* ---- events --------------------------------------------------------------------------------------- */

static bool walk_event(struct match_ctx *c, const weir_event *ev, bool is_checked)
{
    weir_str body = {ev->body->ptr, ev->body->len};
    feed_envelope(c, ev);
    if (!has(c, ENVELOPE_DETAIL))
        return !is_checked || json_check(body, NULL, NULL) == WEIR_OK;
    return body.len && scan_value(c, body, c->set->members[ENVELOPE_DETAIL], is_checked);
}

size_t match_event(struct match_ctx *c, const weir_event *ev, unsigned flags, const uint32_t **hits)
{
    *hits = c->hits;
    begin(c, false);
    bool is_json = walk_event(c, ev, !(flags & MATCH_KNOWN_GOOD));
    if (is_json && c->has_duplicate) {
        begin(c, true);
        is_json = walk_event(c, ev, false);
    }
    return is_json ? finish(c, hits) : SIZE_MAX;
}

static bool walk_json(struct match_ctx *c, weir_str json, bool is_checked)
{
    weir_str value = json_trim(json);
    if (value.len && *value.ptr == '{')
        return scan_value(c, value, 0, is_checked);
    /* No object, no fields. */
    return value.len && (!is_checked || json_check(value, NULL, NULL) == WEIR_OK);
}

size_t match_json(struct match_ctx *c, weir_str json, unsigned flags, const uint32_t **hits)
{
    *hits = c->hits;
    begin(c, false);
    bool is_json = walk_json(c, json, !(flags & MATCH_KNOWN_GOOD));
    if (is_json && c->has_duplicate) {
        begin(c, true);
        is_json = walk_json(c, json, false);
    }
    return is_json ? finish(c, hits) : SIZE_MAX;
}
