/* aws/answer.c: what an answer of AWS means: its error code in all protocols, and what is to be done. */
#include "aws.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

weir_str answer_header(weir_pairs headers, const char *name)
{
    for (size_t i = 0; i < headers.count; i++)
        if (headers.items[i].key.len == strlen(name) &&
            strncasecmp(headers.items[i].key.ptr, name, strlen(name)) == 0)
            return headers.items[i].value;
    return (weir_str){0};
}

int64_t answer_date(weir_pairs headers)
{
    weir_str text = answer_header(headers, "date");
    char copy[64] = "";
    struct tm parts = {0};
    if (!text.len || text.len >= sizeof copy)
        return 0;
    memcpy(copy, text.ptr, text.len);
    if (!strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &parts))
        return 0;
    return time_ns_of((int64_t)timegm(&parts));
}

enum { PAUSE_MAX_MS = 3600000 };

/* x-amz-retry-after is in ms, Retry-After in seconds. */
int64_t answer_pause_ms(weir_pairs headers)
{
    weir_str ms = answer_header(headers, "x-amz-retry-after");
    weir_str s = answer_header(headers, "retry-after");
    char text[16];
    (void)snprintf(text, sizeof text, "%.*s", (int)(ms.len ? ms.len : s.len),
                   ms.len  ? ms.ptr
                   : s.len ? s.ptr
                           : "");
    long n = strtol(text, NULL, 10);
    int64_t asked = n <= 0 ? 0 : ms.len ? n : (int64_t)n * 1000;
    return asked < PAUSE_MAX_MS ? asked : PAUSE_MAX_MS;
}

/* ---- XML -------------------------------------------------------------------------------------- */

static const char *find(weir_str in, const char *text)
{
    return in.len ? memmem(in.ptr, in.len, text, strlen(text)) : NULL;
}

static size_t entity(const char *at, size_t room, char *c)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].name);
        if (room < n || memcmp(at, known[i].name, n) != 0)
            continue;
        *c = known[i].c;
        return n;
    }
    *c = *at;
    return 1;
}

bool answer_element(weir_str xml, const char *name, char *text, size_t size)
{
    char open[72], close[72];
    (void)snprintf(open, sizeof open, "<%.64s>", name);
    (void)snprintf(close, sizeof close, "</%.64s>", name);
    const char *from = find(xml, open);
    if (!from)
        return false;
    from += strlen(open);
    weir_str rest = {from, (size_t)(xml.ptr + xml.len - from)};
    const char *end = find(rest, close);
    size_t n = 0;
    while (end && from < end && n + 1 < size)
        from += entity(from, (size_t)(end - from), &text[n++]);
    text[n] = 0;
    return end && from == end;
}

/* ---- errors ----------------------------------------------------------------------------------- */

/* "com.amazonaws.sqs#QueueDoesNotExist:http://..." is QueueDoesNotExist. */
static void set_code(struct answer *a, weir_str code)
{
    const char *hash = code.len ? memchr(code.ptr, '#', code.len) : NULL;
    if (hash)
        code = (weir_str){hash + 1, (size_t)(code.ptr + code.len - hash - 1)};
    const char *end = code.len ? memchr(code.ptr, ':', code.len) : NULL;
    size_t n = end ? (size_t)(end - code.ptr) : code.len;
    (void)snprintf(a->code, sizeof a->code, "%.*s", (int)(n < 120 ? n : 120), code.ptr);
}

static void read_json(const weir_jsons *json, weir_str body, struct answer *a)
{
    static const char *const messages[] = {"message", "Message", "errorMessage"};
    size_t at = 0;
    if (json->check(json, body, &at) != WEIR_OK)
        return;
    weir_str type = json->find(json, body, "__type");
    if (!type.ptr)
        type = json->find(json, body, "code");
    if (!a->code[0] && type.ptr && json->kind(json, type) == WEIR_JSON_TEXT)
        set_code(a, json->text(json, type));
    for (size_t i = 0; i < 3 && !a->message[0]; i++) {
        weir_str found = json->find(json, body, messages[i]);
        if (!found.ptr || json->kind(json, found) != WEIR_JSON_TEXT)
            continue;
        weir_str text = json->text(json, found);
        (void)snprintf(a->message, sizeof a->message, "%.*s",
                       (int)(text.len < 250 ? text.len : 250), text.ptr);
    }
}

static void read_error(const weir_jsons *json, const weir_http_reply *reply, struct answer *a)
{
    weir_str body = {reply->body->ptr, reply->body->len};
    weir_str type = answer_header(reply->headers, "x-amzn-errortype");
    weir_str query = answer_header(reply->headers, "x-amzn-query-error");
    const char *semicolon = query.len ? memchr(query.ptr, ';', query.len) : NULL;
    if (query.len)
        set_code(a, (weir_str){query.ptr, semicolon ? (size_t)(semicolon - query.ptr) : query.len});
    else if (type.len)
        set_code(a, type);
    if (find(body, "<Error") && answer_element(body, "Code", a->code, sizeof a->code))
        (void)answer_element(body, "Message", a->message, sizeof a->message);
    else if (body.len && body.ptr[0] == '{')
        read_json(json, body, a);
    for (char *c = a->message; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

static bool is_one_of(const char *code, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(code, *list) == 0)
            return true;
    return false;
}

/* The lists are those of "Retry behavior" in the AWS SDKs and Tools Reference Guide. */
static weir_status class_of(const weir_http_reply *reply, struct answer *a)
{
    static const char *const throttling[] = {"Throttling",
                                             "ThrottlingException",
                                             "ThrottledException",
                                             "RequestThrottledException",
                                             "RequestThrottled",
                                             "TooManyRequestsException",
                                             "ProvisionedThroughputExceededException",
                                             "TransactionInProgressException",
                                             "RequestLimitExceeded",
                                             "BandwidthLimitExceeded",
                                             "LimitExceededException",
                                             "SlowDown",
                                             "PriorRequestNotComplete",
                                             "EC2ThrottledException",
                                             NULL};
    static const char *const passing[] = {"RequestTimeout",
                                          "RequestTimeoutException",
                                          "InternalFailure",
                                          "InternalServerError",
                                          "InternalException",
                                          "ServiceUnavailable",
                                          "ServiceUnavailableException",
                                          "InternalError",
                                          "IDPCommunicationError",
                                          NULL};
    static const char *const skewed[] = {"RequestTimeTooSkewed",
                                         "RequestExpired",
                                         "RequestInTheFuture",
                                         "InvalidSignatureException",
                                         "SignatureDoesNotMatch",
                                         "AuthFailure",
                                         NULL};
    static const char *const expired[] = {"ExpiredToken", "ExpiredTokenException", NULL};
    static const char *const not_allowed[] = {"AccessDenied",
                                              "AccessDeniedException",
                                              "UnrecognizedClientException",
                                              "InvalidClientTokenId",
                                              "NotAuthorized",
                                              "OptInRequired",
                                              "MissingAuthenticationToken",
                                              "MissingAuthenticationTokenException",
                                              "IncompleteSignature",
                                              "IncompleteSignatureException",
                                              NULL};
    int status = reply->status;
    a->is_throttled = status == 429 || is_one_of(a->code, throttling);
    a->is_skewed = is_one_of(a->code, skewed);
    a->is_expired = is_one_of(a->code, expired);
    if (reply->error)
        return WEIR_E_RETRY;
    if (status >= 200 && status < 300)
        return WEIR_OK;
    if (a->is_throttled || a->is_expired || is_one_of(a->code, passing) || status >= 500 ||
        status == 408)
        return WEIR_E_RETRY;
    if (a->is_skewed || is_one_of(a->code, not_allowed) || status == 401 || status == 403)
        return WEIR_E_CONFIG;
    return WEIR_E_REJECT;
}

void answer_read(const weir_host *h, const weir_jsons *json, const weir_http_reply *reply,
                 struct answer *a)
{
    *a = (struct answer){.status = WEIR_E_RETRY};
    if (!reply->error && (reply->status < 200 || reply->status > 299))
        read_error(json, reply, a);
    a->status = class_of(reply, a);
}
