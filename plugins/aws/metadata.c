/* aws/metadata.c: credentials of the place: the container's endpoint (ECS, EKS) and the instance's (EC2). */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "aws.h"

enum { TOKEN_FILE_MAX = 16 * 1024, ROLE_BYTES = 256, PATH_MAX_BYTES = 256 };
#define TIMEOUT_NS  INT64_C(5000000000)
#define NS_PER_S    INT64_C(1000000000)
#define TOKEN_TTL_S "21600"

bool metadata_has_container(void)
{
    return setting_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
           setting_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

/* Plain http may carry credentials to this machine, and to the addresses of ECS and EKS. */
static bool is_trusted(const char *url)
{
    static const char *const known[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    struct endpoint e;
    char host[AWS_URL_BYTES];
    if (!endpoint_split(url, &e))
        return false;
    if (strncmp(url, "https://", 8) == 0)
        return true;
    const char *from = e.host[0] == '[' ? e.host + 1 : e.host;
    size_t n = strcspn(from, e.host[0] == '[' ? "]" : ":");
    (void)snprintf(host, sizeof host, "%.*s", (int)n, from);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(host, known[i]) == 0)
            return true;
    return endpoint_is_loopback((weir_str){host, n});
}

static weir_status token_of(struct seeker *k, weir_str *token)
{
    const char *file = setting_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *text = setting_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    *token = (weir_str){0};
    if (!file && !text)
        return WEIR_OK;
    *token = file ? setting_read(k->h, file, TOKEN_FILE_MAX) : weir_text(text);
    while (token->len && (unsigned char)token->ptr[token->len - 1] <= ' ')
        token->len--;
    for (size_t i = 0; i < token->len; i++)
        if ((unsigned char)token->ptr[i] < ' ')
            token->len = 0;
    if (token->len)
        return WEIR_OK;
    return seek_fail(k, WEIR_E_CONFIG,
                     "container credentials: %s cannot be read, is empty or has "
                     "several lines",
                     file ? file : "AWS_CONTAINER_AUTHORIZATION_TOKEN");
}

weir_status metadata_container(struct seeker *k, struct credentials *out)
{
    const char *relative = setting_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = setting_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const weir_http_reply *reply = NULL;
    char url[AWS_URL_BYTES];
    weir_str token;
    if (relative && relative[0] != '/')
        return seek_fail(k, WEIR_E_CONFIG,
                         "container credentials: "
                         "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI has to start "
                         "with a slash");
    (void)snprintf(url, sizeof url, "%s%s", relative ? "http://169.254.170.2" : full,
                   relative ? relative : "");
    if (!is_trusted(url))
        return seek_fail(k, WEIR_E_CONFIG,
                         "container credentials: AWS_CONTAINER_CREDENTIALS_FULL_URI is not https, "
                         "and its host is neither this machine nor that of ECS or EKS");
    weir_status s = token_of(k, &token);
    if (s != WEIR_OK)
        return s;
    const weir_attr header = {weir_text("Authorization"), token};
    const struct call c = {.method = "GET",
                           .url = url,
                           .headers = {token.len ? 1 : 0, &header},
                           .timeout_ns = TIMEOUT_NS};
    s = request_wait(k, &c, "container credentials", &reply);
    if (s != WEIR_OK)
        return s == WEIR_E_REJECT ? WEIR_E_CONFIG : s;
    return credentials_read(k, (weir_str){reply->body->ptr, reply->body->len}, "Token",
                            "container endpoint", out);
}

/* ---- the instance ----------------------------------------------------------------------------- */

static bool is_disabled(void)
{
    return setting_is_true(setting_env("AWS_EC2_METADATA_DISABLED"));
}

static void base_url(const struct seeker *k, char *url, size_t size)
{
    const char *set = setting_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = setting_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    bool is_v6 = mode && strcasecmp(mode, "ipv6") == 0;
    (void)snprintf(url, size, "%s",
                   set     ? set
                   : is_v6 ? "http://[fd00:ec2::254]"
                           : "http://169.254.169.254");
    size_t n = strlen(url);
    if (n && url[n - 1] == '/')
        url[n - 1] = 0;
}

static struct call call_of(const char *method, const char *url, const weir_attr *header)
{
    const char *seconds = setting_env("AWS_METADATA_SERVICE_TIMEOUT");
    const char *attempts = setting_env("AWS_METADATA_SERVICE_NUM_ATTEMPTS");
    long s = seconds ? strtol(seconds, NULL, 10) : 1, n = attempts ? strtol(attempts, NULL, 10) : 1;
    return (struct call){.method = method,
                         .url = url,
                         .headers = {1, header},
                         .timeout_ns = (s >= 1 && s <= 60 ? s : 1) * NS_PER_S,
                         .attempts = n >= 1 && n <= 10 ? (int)n : 1};
}

/* A session token first (IMDSv2); where none is given there is nothing to fall back to. */
static weir_status session(struct seeker *k, weir_attr *header)
{
    char url[AWS_URL_BYTES + 32], base[AWS_URL_BYTES];
    const weir_http_reply *reply = NULL;
    const weir_attr ttl = {weir_text("X-aws-ec2-metadata-token-ttl-seconds"),
                           weir_text(TOKEN_TTL_S)};
    base_url(k, base, sizeof base);
    (void)snprintf(url, sizeof url, "%s/latest/api/token", base);
    const struct call c = call_of("PUT", url, &ttl);
    weir_status s = request_wait(k, &c, "instance metadata (IMDSv2)", &reply);
    if (s != WEIR_OK)
        return reply && reply->error ? WEIR_IDLE : s;
    char *token = k->h->scratch(k->h, reply->body->len + 1);
    memcpy(token, reply->body->ptr, reply->body->len);
    token[reply->body->len] = 0;
    *header = (weir_attr){weir_text("X-aws-ec2-metadata-token"), {token, reply->body->len}};
    return WEIR_OK;
}

static weir_status get(struct seeker *k, const weir_attr *header, const char *path, weir_str *text)
{
    char url[AWS_URL_BYTES + PATH_MAX_BYTES * 2], base[AWS_URL_BYTES];
    const weir_http_reply *reply = NULL;
    base_url(k, base, sizeof base);
    (void)snprintf(url, sizeof url, "%s/latest/meta-data/%s", base, path);
    const struct call c = call_of("GET", url, header);
    weir_status s = request_wait(k, &c, "instance metadata (IMDSv2)", &reply);
    if (s == WEIR_OK)
        *text = (weir_str){reply->body->ptr, reply->body->len};
    return reply && reply->status == 404 ? WEIR_IDLE : s;
}

weir_status metadata_instance(struct seeker *k, struct credentials *out)
{
    static const char folder[] = "iam/security-credentials/";
    char path[PATH_MAX_BYTES * 2], role[ROLE_BYTES];
    weir_attr header;
    weir_str text;
    if (is_disabled())
        return WEIR_IDLE;
    weir_status s = session(k, &header);
    if (s == WEIR_OK)
        s = get(k, &header, folder, &text);
    if (s != WEIR_OK)
        return s;
    size_t n = strcspn(text.ptr, "\r\n");
    if (!credentials_set(role, sizeof role, (weir_str){text.ptr, n < text.len ? n : text.len}) ||
        strpbrk(role, "/?#%"))
        return seek_fail(k, WEIR_E_CONFIG, "instance metadata: the name of the role is no name");
    (void)snprintf(path, sizeof path, "%s%s", folder, role);
    s = get(k, &header, path, &text);
    if (s != WEIR_OK)
        return s == WEIR_IDLE ? seek_fail(k, WEIR_E_RETRY,
                                          "instance metadata: the role %s has no credentials", role)
                              : s;
    s = credentials_read(k, text, "Token", "instance metadata (IMDSv2)", out);
    if (s == WEIR_OK)
        (void)snprintf(out->origin, sizeof out->origin, "instance metadata (IMDSv2), role %.180s",
                       role);
    return s;
}

weir_status metadata_region(struct seeker *k, char *region, size_t size)
{
    weir_attr header;
    weir_str text;
    if (is_disabled())
        return WEIR_IDLE;
    weir_status s = session(k, &header);
    if (s == WEIR_OK)
        s = get(k, &header, "placement/region", &text);
    if (s != WEIR_OK)
        return s;
    return credentials_set(region, size, text) && endpoint_is_region(region) ? WEIR_OK : WEIR_IDLE;
}
