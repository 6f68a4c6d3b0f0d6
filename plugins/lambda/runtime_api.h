/* lambda/runtime_api.h: what a runtime may ask for, and when: Lambda's Runtime API 2018-06-01. */
#pragma once
#include "http.h"

enum phase {
    PHASE_NONE,     /* no process */
    PHASE_STARTING, /* a process that has not asked for its first event */
    PHASE_WAITING,  /* its GET next is open */
    PHASE_RUNNING,  /* it has an event */
    PHASE_ANSWERED, /* it answered and has not asked again */
    PHASE_ENDING,   /* killed, and not gone yet */
};

enum { RUNTIME_REFUSED, RUNTIME_NEXT, RUNTIME_RESPONSE, RUNTIME_ERROR, RUNTIME_INIT_ERROR };

struct runtime_judgement {
    int what;
    int status;       /* of the answer; NEXT is answered later */
    const char *body; /* JSON */
};

/* `request_id`: of the event that is or was the last in work. Judges only, changes nothing. */
struct runtime_judgement runtime_api_judge(enum phase phase, const char *request_id,
                                           const struct http_reader *r);
