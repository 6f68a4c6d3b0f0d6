/* weir/aws.h: calls to the real AWS, or to what speaks like it (service weir.aws/1).
 *
 * Offered by the plugin aws, which comes by itself where a stage needs it: credentials in the SDKs'
 * order, refreshed in the background; region and endpoint; Signature Version 4; what an answer means.
 * How often a call is made again is the core's to say; only a wrong clock is mended on the spot.
 * All functions: inside callbacks of the caller. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_aws weir_aws;
#define WEIR_AWS weir_aws, "weir.aws/1", send

typedef struct weir_aws_client weir_aws_client; /* opaque: one service in one region */

typedef struct weir_aws_target {
    size_t size;
    const char *service;  /* as in host name and signature: "events" */
    const char *name;     /* as in AWS_ENDPOINT_URL_<NAME> and a profile's services: "eventbridge" */
    const char *endpoint; /* "aws" or a URL */
    const char *region;   /* NULL: of the pipeline file, the environment, the profile, the instance */
} weir_aws_target;

typedef struct weir_aws_reply { /* made by the plugin aws; until the callback returns */
    weir_status status;         /* OK: a 2xx; RETRY: throttled, at fault, out of reach; CONFIG: not allowed */
    int http_status;            /* 0: no answer */
    weir_str body;
    weir_pairs headers;
    const char *code, *message; /* of an error: "ThrottlingException"; "" if it has none */
    const char *why;            /* all of it in words, for mark and fail */
} weir_aws_reply;

typedef struct weir_aws_request {
    size_t size;
    weir_aws_client *client;
    const char *method;       /* NULL: POST; this, path and content_type live until the judge was called */
    const char *path, *query; /* as on the wire; NULL: "/" and none */
    const char *content_type;
    weir_pairs headers;       /* further ones, all of them signed; copied */
    weir_payload *take;       /* the body */
    weir_duration timeout;
    const void *arg;
    weir_status (*judge)(void *self, const weir_host *h, const weir_aws_reply *reply,
                         const void *arg, weir_batch *out); /* as of weir/http_client.h */
} weir_aws_request;

struct weir_aws {
    weir_service base;
    /* In start. What cannot work is told by h->fail and CONFIG: no region, a bad URL, credentials that are
     * not there. Those that are out of reach now are asked for again in the background, and send waits
     * for them with RETRY. The client lives until stop. */
    weir_status (*open)(const weir_aws *a, const weir_host *h, const weir_aws_target *t,
                        weir_aws_client **client);
    const char *(*url)(const weir_aws *a, const weir_aws_client *client);
    const char *(*region)(const weir_aws *a, const weir_aws_client *client);
    /* PENDING: judge will be called. Else it will not: RETRY. */
    weir_status (*send)(const weir_aws *a, const weir_host *h, const weir_aws_request *r);
};
