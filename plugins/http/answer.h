/* http/answer.h: the bodies of answers: what was accepted, and problems (RFC 9457). */
#pragma once
#include <weir/http_server.h>
#include <weir/json.h>
#include <weir/schema.h>

struct text { /* grows in scratch memory */
    const weir_host *h;
    char *ptr;
    size_t len, room;
};
void text_put(struct text *t, weir_str bytes);

enum { UUID_LEN = 36, ACCEPTED_MAX = 96 };
/* {"event_id":"...","status":"accepted"}; its length. */
size_t answer_event(char to[ACCEPTED_MAX], const weir_id *id, const char *status);
void answer_uuid(char to[UUID_LEN], const weir_id *id);

struct problem {
    int status;
    const char *title;
    weir_str detail, instance;
    const weir_id *event; /* NULL: there is none */
    size_t violation_count;
    const weir_violation *const *violations;
};
/* In scratch memory. */
weir_str answer_problem(const weir_host *h, const weir_jsons *json, const struct problem *p);
