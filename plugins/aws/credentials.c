/* aws/credentials.c: the chain of credentials, in the SDKs' order; a source that is there and fails ends it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "aws.h"

weir_status seek_fail(struct seeker *k, weir_status s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(k->why, sizeof k->why, fmt, args);
    va_end(args);
    return s;
}

bool credentials_set(char *to, size_t size, weir_str value)
{
    if (!value.len || value.len >= size)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] <= ' ' || value.ptr[i] == 127)
            return false;
    memcpy(to, value.ptr, value.len);
    to[value.len] = 0;
    return true;
}

int64_t credentials_time(weir_str text)
{
    char copy[64] = "";
    struct tm parts = {0};
    if (!text.len || text.len >= sizeof copy)
        return 0;
    memcpy(copy, text.ptr, text.len);
    const char *rest = strptime(copy, "%Y-%m-%dT%H:%M:%S", &parts);
    if (!rest)
        return 0;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    bool is_offset = *rest == '+' || *rest == '-';
    if (is_offset && (strspn(rest + 1, "0123456789:") != 5 || rest[3] != ':'))
        return 0;
    int64_t minutes = is_offset ? strtol(rest + 1, NULL, 10) * 60 + strtol(rest + 4, NULL, 10) : 0;
    int64_t offset = minutes * 60 * (*rest == '-' ? -1 : 1);
    return time_ns_of((int64_t)timegm(&parts) - offset);
}

static weir_str member(struct seeker *k, weir_str json, const char *name)
{
    weir_str value = k->json->find(k->json, json, name);
    if (!value.ptr || k->json->kind(k->json, value) != WEIR_JSON_TEXT)
        return (weir_str){0};
    return k->json->text(k->json, value);
}

weir_status credentials_read(struct seeker *k, weir_str json, const char *token_name,
                             const char *source, struct credentials *out)
{
    size_t at = 0;
    struct credentials c = {.expires_ns = 0};
    if (k->json->check(k->json, json, &at) != WEIR_OK)
        return seek_fail(k, WEIR_E_RETRY, "%s: the answer is no JSON from byte %zu on", source, at);
    weir_str token = member(k, json, token_name), expires = member(k, json, "Expiration");
    if (!credentials_set(c.access_key, sizeof c.access_key, member(k, json, "AccessKeyId")) ||
        !credentials_set(c.secret, sizeof c.secret, member(k, json, "SecretAccessKey")) ||
        (token.len && !credentials_set(c.token, sizeof c.token, token)))
        return seek_fail(k, WEIR_E_RETRY,
                         "%s: the answer has no AccessKeyId and SecretAccessKey that can be used",
                         source);
    c.expires_ns = credentials_time(expires);
    if (expires.len && !c.expires_ns)
        return seek_fail(k, WEIR_E_RETRY, "%s: Expiration is no ISO 8601 time", source);
    (void)snprintf(c.origin, sizeof c.origin, "%s", source);
    *out = c;
    return WEIR_OK;
}

/* ---- the environment -------------------------------------------------------------------------- */

static weir_status from_environment(struct seeker *k, struct credentials *out)
{
    const char *key = setting_env("AWS_ACCESS_KEY_ID");
    const char *secret = setting_env("AWS_SECRET_ACCESS_KEY");
    const char *token = setting_env("AWS_SESSION_TOKEN");
    if (!key && !secret)
        return WEIR_IDLE;
    if (!key || !secret)
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: %s is set and %s is not: set both, or none of them",
                         key ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                         key ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    *out = (struct credentials){.origin = "environment"};
    if (!credentials_set(out->access_key, sizeof out->access_key, weir_text(key)) ||
        !credentials_set(out->secret, sizeof out->secret, weir_text(secret)) ||
        (token && !credentials_set(out->token, sizeof out->token, weir_text(token))))
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or "
                         "AWS_SESSION_TOKEN has spaces in it or is too long");
    return WEIR_OK;
}

static weir_status from_web_identity(struct seeker *k, struct credentials *out)
{
    const char *file = setting_env("AWS_WEB_IDENTITY_TOKEN_FILE");
    const struct role role = {.arn = setting_env("AWS_ROLE_ARN"),
                              .session_name = setting_env("AWS_ROLE_SESSION_NAME")};
    if (!file)
        return WEIR_IDLE;
    if (!role.arn)
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: "
                         "set the role too");
    return sts_web_identity(k, file, &role, out);
}

static weir_status from_profile(struct seeker *k, struct credentials *out)
{
    const char *name = setting_profile();
    bool is_named = setting_env("AWS_PROFILE") || setting_env("AWS_DEFAULT_PROFILE");
    if (!is_named && !setting_has_profile(k->h, name))
        return WEIR_IDLE;
    weir_status s = profile_credentials(k, name, out);
    if (s == WEIR_IDLE && is_named && strcmp(name, "default") != 0 && !metadata_has_container() &&
        setting_is_true(setting_env("AWS_EC2_METADATA_DISABLED")))
        return seek_fail(k, WEIR_E_CONFIG, "credentials: the profile %s has none", name);
    return s;
}

static weir_status from_container(struct seeker *k, struct credentials *out)
{
    return metadata_has_container() ? metadata_container(k, out) : WEIR_IDLE;
}

weir_status credentials_find(struct seeker *k, struct credentials *out)
{
    static weir_status (*const sources[])(struct seeker *, struct credentials *) = {
        from_environment, from_web_identity, from_profile, from_container, metadata_instance};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        weir_status s = sources[i](k, out);
        if (s != WEIR_IDLE)
            return s;
    }
    return seek_fail(k, WEIR_E_CONFIG,
                     "no AWS credentials: neither the environment, a web identity, the profile %s, "
                     "a container nor an instance has any: set AWS_ACCESS_KEY_ID and "
                     "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                     setting_profile());
}
