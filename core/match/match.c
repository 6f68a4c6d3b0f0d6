/* match/match.c: one event against all patterns of a set. */
#include "match/match.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "json/json.h"
#include "match/run.h"

struct match_ctx *match_ctx_new(const struct match_set *s)
{
    if (!s->is_sealed)
        abort(); /* a mistake of the caller's: the set may still change */
    struct match_ctx *c = MEM_NEW(struct match_ctx);
    c->set = s;
    c->fields = mem_new((s->fields_count + 1) * sizeof *c->fields);
    c->conds = mem_new((s->conds_count + 1) * sizeof *c->conds);
    c->buts = mem_new(((size_t)s->but_count + 1) * sizeof *c->buts);
    c->rules = mem_new((s->rules_count + 1) * sizeof *c->rules);
    c->slots = mem_new(((size_t)s->slot_count + 1) * sizeof *c->slots);
    c->active_conds = mem_new((s->conds_count + 1) * sizeof *c->active_conds);
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
    mem_free(c->conds);
    mem_free(c->buts);
    mem_free(c->rules);
    mem_free(c->slots);
    mem_free(c->active_conds);
    mem_free(c->active_fields);
    mem_free(c->hits);
    mem_free(c->values);
    mem_free(c->frames);
    buf_fini(&c->text);
    buf_fini(&c->lower);
    buf_fini(&c->key);
    mem_free(c);
}

static void begin(struct match_ctx *c, bool is_careful)
{
    c->event++;
    c->active_cond_count = c->active_field_count = c->values_count = 0;
    c->frames_count = 1;
    c->arrays = 0;
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

static weir_str filled(weir_str s)
{
    return s.len ? s : (weir_str){"", 0};
}

static void feed_member(struct match_ctx *c, enum set_member member, weir_str text)
{
    uint32_t node = c->set->members[member];
    uint32_t field = node == SET_NONE ? SET_NONE : c->set->nodes[node].field;
    if (field == SET_NONE)
        return;
    text = filled(text);
    feed_value(c, field, WEIR_JSON_TEXT, text);
    feed_keep(c, field,
              (struct run_value){.token = text, .kind = WEIR_JSON_TEXT, .is_bare = true});
}

static weir_str resources(const weir_event *ev)
{
    for (size_t i = 0; i < ev->attrs.count; i++) {
        weir_str value = ev->attrs.items[i].value;
        if (weir_same(ev->attrs.items[i].key, "resources") && json_check(value, NULL, NULL) == 0 &&
            json_kind(json_trim(value)) == WEIR_JSON_ARRAY)
            return json_trim(value);
    }
    return (weir_str){"[]", 2};
}

static bool has(const struct match_ctx *c, enum set_member member)
{
    return c->set->members[member] != SET_NONE;
}

static void feed_envelope(struct match_ctx *c, const weir_event *ev)
{
    char id[ID_TEXT_BYTES], time[CLOCK_TEXT_BYTES];
    feed_member(c, SET_SOURCE, ev->source);
    feed_member(c, SET_DETAIL_TYPE, ev->type);
    feed_member(c, SET_ACCOUNT, weir_text(c->set->account));
    feed_member(c, SET_REGION, weir_text(c->set->region));
    feed_member(c, SET_VERSION, weir_text("0"));
    if (has(c, SET_ID)) {
        id_format(&ev->id, id);
        feed_member(c, SET_ID, weir_text(id));
    }
    if (has(c, SET_TIME)) {
        (void)clock_format(ev->time_ns, 0, time);
        feed_member(c, SET_TIME, weir_text(time));
    }
    if (has(c, SET_RESOURCES))
        (void)scan_value(c, resources(ev), c->set->members[SET_RESOURCES]);
}

/* ---- events --------------------------------------------------------------------------------------- */

static bool walk_event(struct match_ctx *c, const weir_event *ev, bool is_careful)
{
    weir_str body = {ev->body->ptr, ev->body->len};
    begin(c, is_careful);
    feed_envelope(c, ev);
    if (!has(c, SET_DETAIL))
        return true;
    return body.len && scan_value(c, body, c->set->members[SET_DETAIL]);
}

size_t match_event(struct match_ctx *c, const weir_event *ev, unsigned flags, const uint32_t **hits)
{
    weir_str body = {ev->body->ptr, ev->body->len};
    *hits = c->hits;
    if (!(flags & MATCH_KNOWN_GOOD) && json_check(body, NULL, NULL) != WEIR_OK)
        return SIZE_MAX;
    bool is_json = walk_event(c, ev, false);
    if (is_json && c->has_duplicate)
        is_json = walk_event(c, ev, true);
    return is_json ? finish(c, hits) : SIZE_MAX;
}

static bool walk_json(struct match_ctx *c, weir_str json, bool is_careful)
{
    begin(c, is_careful);
    weir_str value = json_trim(json);
    if (!value.len || *value.ptr != '{')
        return value.len != 0; /* no object, no fields */
    return scan_value(c, value, 0) != NULL;
}

size_t match_json(struct match_ctx *c, weir_str json, unsigned flags, const uint32_t **hits)
{
    *hits = c->hits;
    if (!(flags & MATCH_KNOWN_GOOD) && json_check(json, NULL, NULL) != WEIR_OK)
        return SIZE_MAX;
    bool is_json = walk_json(c, json, false);
    if (is_json && c->has_duplicate)
        is_json = walk_json(c, json, true);
    return is_json ? finish(c, hits) : SIZE_MAX;
}

void match_envelope(const struct match_env *env, const weir_event *ev, struct buf *out)
{
    char id[ID_TEXT_BYTES], time[CLOCK_TEXT_BYTES];
    weir_str body = {ev->body->ptr, ev->body->len};
    id_format(&ev->id, id);
    (void)clock_format(ev->time_ns, 0, time);
    buf_print(out, "{\"version\":\"0\",\"id\":\"%s\",\"detail-type\":", id);
    json_quote(out, filled(ev->type));
    buf_add_text(out, ",\"source\":");
    json_quote(out, filled(ev->source));
    buf_add_text(out, ",\"account\":");
    json_quote(out, weir_text(env && env->account ? env->account : "000000000000"));
    buf_print(out, ",\"time\":\"%s\",\"region\":", time);
    json_quote(out, weir_text(env && env->region ? env->region : "us-east-1"));
    buf_add_text(out, ",\"resources\":");
    buf_add_str(out, resources(ev));
    buf_add_text(out, ",\"detail\":");
    if (json_check(body, NULL, NULL) == WEIR_OK)
        buf_add_str(out, json_trim(body));
    else
        json_quote(out, filled(body));
    buf_add_char(out, '}');
}
