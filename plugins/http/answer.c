/* http/answer.c: the bodies of answers: what was accepted, and problems (RFC 9457). */
#include "answer.h"

#include <stdio.h>

enum { FIRST_ROOM = 512 };

void text_put(struct text *t, weir_str bytes)
{
    if (t->len + bytes.len > t->room) {
        size_t room = (t->len + bytes.len) * 2 + FIRST_ROOM;
        char *larger = t->h->scratch(t->h, room);
        if (t->len)
            memcpy(larger, t->ptr, t->len);
        t->ptr = larger;
        t->room = room;
    }
    if (bytes.len)
        memcpy(t->ptr + t->len, bytes.ptr, bytes.len);
    t->len += bytes.len;
}

void answer_uuid(char to[UUID_LEN], const weir_id *id)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            to[at++] = '-';
        to[at++] = digits[id->bytes[i] >> 4];
        to[at++] = digits[id->bytes[i] & 0xf];
    }
}

size_t answer_event(char to[ACCEPTED_MAX], const weir_id *id, const char *status)
{
    static const char before[] = "{\"event_id\":\"", between[] = "\",\"status\":\"",
                      after[] = "\"}";
    const weir_str word = weir_text(status);
    char *at = to;
    memcpy(at, before, sizeof before - 1);
    at += sizeof before - 1;
    answer_uuid(at, id);
    at += UUID_LEN;
    memcpy(at, between, sizeof between - 1);
    at += sizeof between - 1;
    memcpy(at, word.ptr, word.len);
    at += word.len;
    memcpy(at, after, sizeof after - 1);
    return (size_t)(at - to) + sizeof after - 1;
}

static void put_member(struct text *t, const weir_jsons *json, const char *before, weir_str value)
{
    text_put(t, weir_text(before));
    text_put(t, json->quote(json, value));
}

static void put_violations(struct text *t, const weir_jsons *json, const struct problem *p)
{
    text_put(t, weir_text(",\"errors\":["));
    for (size_t i = 0; i < p->violation_count; i++) {
        const weir_violation *v = p->violations[i];
        put_member(t, json, i ? ",{\"pointer\":" : "{\"pointer\":", v->pointer);
        put_member(t, json, ",\"detail\":", weir_text(v->message));
        put_member(t, json, ",\"keyword\":", weir_text(v->keyword));
        text_put(t, weir_text("}"));
    }
    text_put(t, weir_text("]"));
}

weir_str answer_problem(const weir_host *h, const weir_jsons *json, const struct problem *p)
{
    struct text t = {.h = h};
    char number[48], id[UUID_LEN];
    put_member(&t, json, "{\"type\":\"about:blank\",\"title\":", weir_text(p->title));
    int n = snprintf(number, sizeof number, ",\"status\":%d", p->status);
    text_put(&t, (weir_str){number, (size_t)n});
    put_member(&t, json, ",\"detail\":", p->detail);
    if (p->instance.len)
        put_member(&t, json, ",\"instance\":", p->instance);
    if (p->event) {
        answer_uuid(id, p->event);
        put_member(&t, json, ",\"event_id\":", (weir_str){id, UUID_LEN});
    }
    if (p->violation_count)
        put_violations(&t, json, p);
    text_put(&t, weir_text("}"));
    return (weir_str){t.ptr, t.len};
}
