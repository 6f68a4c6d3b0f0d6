/* match/envelope.c: an event as EventBridge writes it. */
#include "match/envelope.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "json/json.h"

const char *const envelope_names[ENVELOPE_MEMBERS] = {"version",     "id",
                                                      "detail-type", "source",
                                                      "account",     "time",
                                                      "region",      ENVELOPE_REPLAY,
                                                      "resources",   "detail"};

weir_str envelope_text(weir_str s)
{
    return s.len ? s : (weir_str){"", 0};
}

weir_str envelope_resources(const weir_event *ev)
{
    for (size_t i = 0; i < ev->attrs.count; i++) {
        weir_str value = ev->attrs.items[i].value;
        if (weir_same(ev->attrs.items[i].key, "resources") &&
            json_check(value, NULL, NULL) == WEIR_OK &&
            json_kind(json_trim(value)) == WEIR_JSON_ARRAY)
            return json_trim(value);
    }
    return (weir_str){"[]", 2};
}

weir_str envelope_replay(const weir_event *ev)
{
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (weir_same(ev->attrs.items[i].key, ENVELOPE_REPLAY))
            return envelope_text(ev->attrs.items[i].value);
    return (weir_str){NULL, 0};
}

static size_t utf8_length(weir_str s)
{
    for (size_t n = 1; n <= 4 && n <= s.len; n++)
        if (text_is_utf8((weir_str){s.ptr, n}))
            return n;
    return 0;
}

/* Bytes that are no UTF-8 become U+FFFD: a JSON string cannot hold them. */
static void quote(struct buf *out, weir_str text)
{
    text = envelope_text(text);
    if (text_is_utf8(text)) {
        json_quote(out, text);
        return;
    }
    struct buf clean = {0};
    while (text.len) {
        size_t n = utf8_length(text), step = n ? n : 1;
        buf_add(&clean, n ? text.ptr : "\xEF\xBF\xBD", n ? n : 3);
        text.ptr += step, text.len -= step;
    }
    json_quote(out, buf_str(&clean));
    buf_fini(&clean);
}

static void write_detail(const weir_event *ev, struct buf *out)
{
    weir_str body = {ev->body->ptr, ev->body->len};
    if (body.len && json_check(body, NULL, NULL) == WEIR_OK)
        buf_add_str(out, json_trim(body));
    else
        quote(out, body);
}

void envelope_write(const struct match_env *env, const weir_event *ev, enum envelope_member member,
                    struct buf *out)
{
    char id[ID_TEXT_BYTES], time[CLOCK_TEXT_BYTES];
    switch (member) {
    case ENVELOPE_ID:
        id_format(&ev->id, id);
        quote(out, weir_text(id));
        break;
    case ENVELOPE_DETAIL_TYPE:
        quote(out, ev->type);
        break;
    case ENVELOPE_SOURCE:
        quote(out, ev->source);
        break;
    case ENVELOPE_ACCOUNT:
        quote(out, weir_text(env && env->account ? env->account : "000000000000"));
        break;
    case ENVELOPE_TIME:
        (void)clock_format(ev->time_ns, 0, time);
        quote(out, weir_text(time));
        break;
    case ENVELOPE_REGION:
        quote(out, weir_text(env && env->region ? env->region : "us-east-1"));
        break;
    case ENVELOPE_REPLAY_NAME:
        quote(out, envelope_replay(ev));
        break;
    case ENVELOPE_RESOURCES:
        buf_add_str(out, envelope_resources(ev));
        break;
    case ENVELOPE_DETAIL:
        write_detail(ev, out);
        break;
    case ENVELOPE_VERSION:
    case ENVELOPE_MEMBERS:
        quote(out, weir_text("0"));
        break;
    }
}

void match_envelope(const struct match_env *env, const weir_event *ev, struct buf *out)
{
    for (int i = 0; i < ENVELOPE_MEMBERS; i++) {
        if (!envelope_has(ev, (enum envelope_member)i))
            continue;
        buf_add(out, i ? ",\"" : "{\"", 2);
        buf_add_text(out, envelope_names[i]);
        buf_add(out, "\":", 2);
        envelope_write(env, ev, (enum envelope_member)i, out);
    }
    buf_add_char(out, '}');
}
