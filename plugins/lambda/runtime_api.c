/* lambda/runtime_api.c: the states of the Runtime API, apart from sockets and processes. */
#include "runtime_api.h"

#define PREFIX     "/2018-06-01/runtime/"
#define ACCEPTED   "{\"status\":\"OK\"}\n"
#define STATE      "{\"errorType\":\"InvalidStateTransition\",\"errorMessage\":"
#define TRANSITION STATE "\"State transition is not allowed\"}\n"

static struct runtime_judgement refuse(int status, const char *body)
{
    return (struct runtime_judgement){RUNTIME_REFUSED, status, body};
}

static struct runtime_judgement wrong_method(void)
{
    return refuse(405, "{\"errorType\":\"MethodNotAllowed\",\"errorMessage\":"
                       "\"Use GET for next, POST for the rest\"}\n");
}

static struct runtime_judgement judge_next(enum phase phase)
{
    if (phase == PHASE_STARTING || phase == PHASE_ANSWERED)
        return (struct runtime_judgement){RUNTIME_NEXT, 200, ""};
    return refuse(403, TRANSITION);
}

static struct runtime_judgement judge_init_error(enum phase phase)
{
    if (phase == PHASE_STARTING)
        return (struct runtime_judgement){RUNTIME_INIT_ERROR, 202, ACCEPTED};
    return refuse(403, TRANSITION);
}

static struct runtime_judgement judge_answer(enum phase phase, const char *request_id,
                                             const char *rest, const struct http_reader *r)
{
    const char *slash = strchr(rest, '/');
    size_t n = slash ? (size_t)(slash - rest) : 0;
    bool is_response = slash && strcmp(slash, "/response") == 0;
    if (!is_response && (!slash || strcmp(slash, "/error") != 0))
        return refuse(404, "{\"errorType\":\"NotFound\",\"errorMessage\":\"No such path\"}\n");
    if (strcmp(r->method, "POST") != 0)
        return wrong_method();
    if (!n || n != strlen(request_id) || memcmp(rest, request_id, n) != 0)
        return refuse(400, "{\"errorType\":\"InvalidRequestID\",\"errorMessage\":"
                           "\"Invalid request ID\"}\n");
    if (phase != PHASE_RUNNING)
        return refuse(403, TRANSITION);
    if (is_response && r->is_too_large)
        return (struct runtime_judgement){
            RUNTIME_RESPONSE, 413,
            "{\"errorType\":\"RequestEntityTooLarge\",\"errorMessage\":"
            "\"Exceeded maximum allowed payload size (6291556 bytes).\"}\n"};
    return (struct runtime_judgement){is_response ? RUNTIME_RESPONSE : RUNTIME_ERROR, 202,
                                      ACCEPTED};
}

struct runtime_judgement runtime_api_judge(enum phase phase, const char *request_id,
                                           const struct http_reader *r)
{
    static const char invocation[] = "invocation/";
    const char *path = r->path;
    if (strncmp(path, PREFIX, sizeof PREFIX - 1) != 0)
        return refuse(404, "{\"errorType\":\"NotFound\",\"errorMessage\":\"No such path\"}\n");
    path += sizeof PREFIX - 1;
    if (strcmp(path, "invocation/next") == 0)
        return strcmp(r->method, "GET") == 0 ? judge_next(phase) : wrong_method();
    if (strcmp(path, "init/error") == 0)
        return strcmp(r->method, "POST") == 0 ? judge_init_error(phase) : wrong_method();
    if (strncmp(path, invocation, sizeof invocation - 1) == 0)
        return judge_answer(phase, request_id, path + sizeof invocation - 1, r);
    return refuse(404, "{\"errorType\":\"NotFound\",\"errorMessage\":\"No such path\"}\n");
}
