/* aws/sigv4.h: Signature Version 4 in headers: the request is hashed as it is read, nothing is built up. */
#pragma once
#include <weir/plugin.h>

enum {
    SIGV4_HASH_BYTES = 65, /* hexadecimal, with its NUL */
    SIGV4_DATE_BYTES = 17, /* 20150830T123600Z */
    SIGV4_HEADERS_MAX = 64,
    SIGV4_PARAMETERS_MAX = 128,
    SIGV4_AUTHORIZATION_BYTES = 4096,
};

struct sigv4_request {
    const char *method;
    weir_str path, query;  /* as on the wire; query without its question mark */
    weir_pairs headers;    /* to be signed, all of them: host, x-amz-date, ... in any case */
    const char *body_hash; /* sigv4_hash of the body, or UNSIGNED-PAYLOAD */
    const char *region, *service, *date, *access_key, *secret;
};

void sigv4_hash(weir_str bytes, char hash[SIGV4_HASH_BYTES]);
void sigv4_date(int64_t time_ns, char date[SIGV4_DATE_BYTES]);
/* The value of the Authorization header. False: too many headers or parameters, or no room. */
bool sigv4_sign(const struct sigv4_request *r, char authorization[SIGV4_AUTHORIZATION_BYTES]);
