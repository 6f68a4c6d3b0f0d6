/* aws/aws.h: what the files of the plugin share. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include <weir/aws.h>
#include <weir/http_client.h>
#include <weir/json.h>
#include <weir/pipeline.h>

enum {
    AWS_KEY_BYTES = 256,
    AWS_TOKEN_BYTES = 16384,
    AWS_ORIGIN_BYTES = 256,
    AWS_WHY_BYTES = 480,
    AWS_URL_BYTES = 512,
    AWS_REGION_BYTES = 64,
    AWS_HEADERS_MAX = 16, /* of a request, the signature's own not counted */
};

struct credentials {
    char access_key[AWS_KEY_BYTES], secret[AWS_KEY_BYTES], token[AWS_TOKEN_BYTES];
    char origin[AWS_ORIGIN_BYTES]; /* where they come from, in words */
    int64_t expires_ns;            /* 0: never */
};

/* What a look for credentials has at hand, and what it says when it fails. */
struct seeker {
    const weir_host *h;
    const weir_http_client *http;
    const weir_jsons *json;
    const char *region;  /* of STS */
    const char *ca_file; /* or NULL */
    int64_t skew_ns;
    char why[AWS_WHY_BYTES];
};
weir_status seek_fail(struct seeker *k, weir_status s, const char *fmt, ...) WEIR_PRINTF(3, 4);

/* ---- setting.c: the environment and the shared files ---- */
const char *setting_env(const char *name); /* NULL where unset or empty */
bool setting_is_true(const char *text);
const char *setting_profile(void);
/* From the profile: its section in the credentials file, then in the config file. False: absent. */
bool setting_find(const weir_host *h, const char *profile, const char *key, const char *sub,
                  char *value, size_t size);
bool setting_has_profile(const weir_host *h, const char *profile);
/* Of the profile's [services NAME]: an endpoint_url. */
bool setting_service_url(const weir_host *h, const char *profile, const char *name, char *value,
                         size_t size);
const char *setting_ca_file(
    const weir_host *h); /* AWS_CA_BUNDLE, or of the profile; scratch or NULL */
/* The file's text in scratch, at most `max` bytes; ptr NULL with errno. */
weir_str setting_read(const weir_host *h, const char *path, size_t max);

/* Of seconds since 1970, as somebody else wrote them: 0 before, and no later than ns can tell (2262). */
static inline int64_t time_ns_of(int64_t seconds)
{
    const int64_t last = INT64_MAX / INT64_C(1000000000) - 1;
    if (seconds < 0)
        return 0;
    return (seconds < last ? seconds : last) * INT64_C(1000000000);
}

/* ---- credentials.c: the chain ---- */
weir_status credentials_find(struct seeker *k, struct credentials *out);
/* Copies from JSON with these names of members; REJECT if one is not there. */
weir_status credentials_read(struct seeker *k, weir_str json, const char *token_name,
                             const char *source, struct credentials *out);
bool credentials_set(char *to, size_t size,
                     weir_str value);    /* false: empty, too long, or with spaces */
int64_t credentials_time(weir_str text); /* ISO 8601; 0: none */

/* profile.c, sts.c, metadata.c, process.c: the sources. */
/* OK, an error, or IDLE: this profile says nothing of credentials. */
weir_status profile_credentials(struct seeker *k, const char *profile, struct credentials *out);
struct role {
    const char *arn, *session_name, *external_id, *duration_s;
};
weir_status sts_assume_role(struct seeker *k, const struct credentials *by, const struct role *r,
                            struct credentials *out);
weir_status sts_web_identity(struct seeker *k, const char *token_file, const struct role *r,
                             struct credentials *out);
struct identity {
    char account[64], arn[1024], user[256];
};
weir_status sts_identity(struct seeker *k, const struct credentials *by, struct identity *who);
bool metadata_has_container(void);
weir_status metadata_container(struct seeker *k, struct credentials *out);
weir_status metadata_instance(struct seeker *k,
                              struct credentials *out); /* IDLE: switched off, or none */
weir_status metadata_region(struct seeker *k, char *region, size_t size);
weir_status process_credentials(struct seeker *k, const char *command, struct credentials *out);

/* ---- endpoint.c ---- */
struct endpoint {
    char url[AWS_URL_BYTES];  /* without a slash at its end */
    char host[AWS_URL_BYTES]; /* as in the header Host */
    char path[AWS_URL_BYTES]; /* of the URL: "" or "/x" */
    char region[AWS_REGION_BYTES];
    char region_from[AWS_ORIGIN_BYTES], url_from[AWS_ORIGIN_BYTES];
};
const char *endpoint_partition(const char *region);
/* Host name of a service of AWS; false if it is too long. */
bool endpoint_host(const char *service, const char *region, bool is_fips, bool is_dual_stack,
                   char *host, size_t size);
bool endpoint_is_region(const char *text);
bool endpoint_is_loopback(weir_str host); /* localhost, 127.0.0.0/8, ::1 */
weir_status endpoint_region(struct seeker *k, const char *wanted, const char *of_file,
                            struct endpoint *e);
weir_status endpoint_find(struct seeker *k, const weir_aws_target *t, struct endpoint *e);
bool endpoint_split(const char *url, struct endpoint *e);

/* ---- answer.c: what an answer of AWS means ---- */
struct answer {
    weir_status status;
    bool is_throttled, is_skewed, is_expired;
    char code[128], message[256];
};
void answer_read(const weir_host *h, const weir_jsons *json, const weir_http_reply *reply,
                 struct answer *a);
weir_str answer_header(weir_pairs headers, const char *name);
int64_t answer_date(weir_pairs headers);     /* of the header Date; 0: none */
int64_t answer_pause_ms(weir_pairs headers); /* asked for by the other side; 0: none */
/* The text of the first element of this name; no entity but the five of XML; false: none, too long. */
bool answer_element(weir_str xml, const char *name, char *text, size_t size);

/* ---- pace.c: the SDKs' retry modes ---- */
enum retry_mode { RETRY_STANDARD, RETRY_ADAPTIVE, RETRY_LEGACY };
/* As AWS_RETRY_MODE or the profile's retry_mode says; false: it is none, and `text` has it. */
bool retry_mode(const weir_host *h, enum retry_mode *mode, char *text, size_t size);
int retry_attempts(
    const weir_host *h); /* of a call: AWS_MAX_ATTEMPTS, max_attempts, or the mode's */

/* All zero at first: no limit until the first throttled answer. Rates are requests a second. */
struct pace {
    bool is_on;
    double rate, burst, tokens, filled;   /* the bucket; `filled` when, in s */
    double measured, slice;               /* what was sent, over half seconds */
    double rate_before, throttled, count; /* at the last throttled answer, when that was (s) */
};
void pace_answer(struct pace *p, int64_t now_ns, bool is_throttled);
/* For a request that goes now: ns until the next one may, 0: at once. */
int64_t pace_take(struct pace *p, int64_t now_ns);

/* ---- request.c: one request, waiting, with the attempts of the SDKs ---- */
struct call {
    const char *method, *url, *content_type, *service; /* service NULL: not signed */
    const char *region;
    weir_pairs headers;
    weir_str body;
    int64_t timeout_ns;
    int attempts; /* 0: as retry_attempts() says */
    const struct credentials *by;
};
/* OK with a 2xx; else the words are in k->why. */
weir_status request_wait(struct seeker *k, const struct call *c, const char *what,
                         const weir_http_reply **reply);
/* The headers that sign a request, in scratch, after those given. count 0: it cannot be signed. */
struct signing {
    const char *method, *path, *query, *host, *content_type, *region, *service;
    weir_pairs headers;
    weir_str body;
    int64_t time_ns;
};
weir_pairs request_sign(const weir_host *h, const struct signing *s, const struct credentials *by);

/* ---- the instance ---- */
struct aws {
    const weir_http_client *http;
    const weir_jsons *json;
    const weir_pipeline *about;
    pthread_mutex_t lock;   /* of what follows */
    struct credentials now; /* access_key "": none yet */
    char why[AWS_WHY_BYTES];
    bool is_watched; /* a refresh is due by timer */
    unsigned failures;
    char region[AWS_REGION_BYTES];
    const char *ca_file;
    _Atomic int64_t skew_ns;
};
extern const weir_command *const whoami_commands[];
struct seeker aws_seeker(const struct aws *a, const weir_host *h);
/* client.c */
weir_status client_open(const weir_aws *a, const weir_host *h, const weir_aws_target *t,
                        weir_aws_client **client);
const char *client_url(const weir_aws *a, const weir_aws_client *client);
const char *client_region(const weir_aws *a, const weir_aws_client *client);
weir_status client_send(const weir_aws *a, const weir_host *h, const weir_aws_request *r);
/* Asks for credentials now, if those at hand are none or will soon be over; keeps them. */
weir_status aws_refresh(struct aws *a, const weir_host *h, bool is_forced);
void aws_watch(const weir_aws *a, bool is_now); /* from any callback: the background takes over */
