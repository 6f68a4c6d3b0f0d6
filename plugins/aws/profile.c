/* aws/profile.c: credentials of a profile of the shared files: keys, a program, or a role by another. */
#include <stdio.h>
#include <stdlib.h>

#include "aws.h"

enum { DEPTH_MAX = 8, NAME_BYTES = 256, VALUE_BYTES = 2048 };

struct chain {
    const char *names[DEPTH_MAX]; /* the profiles on the way, to see a ring */
    size_t depth;
};

static weir_status resolve(struct seeker *k, struct chain *c, const char *name, bool is_source,
                           struct credentials *out);

static const char *value_of(const struct seeker *k, const char *profile, const char *key)
{
    char *value = k->h->scratch(k->h, VALUE_BYTES);
    return setting_find(k->h, profile, key, NULL, value, VALUE_BYTES) ? value : NULL;
}

static weir_status keys_of(struct seeker *k, const char *name, struct credentials *out)
{
    char *token = k->h->scratch(k->h, AWS_TOKEN_BYTES);
    const char *key = value_of(k, name, "aws_access_key_id");
    const char *secret = value_of(k, name, "aws_secret_access_key");
    if (!key && !secret)
        return WEIR_IDLE;
    if (!key || !secret)
        return seek_fail(k, WEIR_E_CONFIG, "credentials: the profile %s has %s and no %s", name,
                         key ? "aws_access_key_id" : "aws_secret_access_key",
                         key ? "aws_secret_access_key" : "aws_access_key_id");
    *out = (struct credentials){.expires_ns = 0};
    bool has_token = setting_find(k->h, name, "aws_session_token", NULL, token, AWS_TOKEN_BYTES);
    if (!credentials_set(out->access_key, sizeof out->access_key, weir_text(key)) ||
        !credentials_set(out->secret, sizeof out->secret, weir_text(secret)) ||
        (has_token && !credentials_set(out->token, sizeof out->token, weir_text(token))))
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: a key of the profile %s has spaces in it or is too long",
                         name);
    (void)snprintf(out->origin, sizeof out->origin, "profile %s", name);
    return WEIR_OK;
}

static weir_status source_of(struct seeker *k, const char *name, struct credentials *out)
{
    const char *kind = value_of(k, name, "credential_source");
    weir_status s = WEIR_IDLE;
    if (kind && strcmp(kind, "Ec2InstanceMetadata") == 0)
        s = metadata_instance(k, out);
    else if (kind && strcmp(kind, "EcsContainer") == 0)
        s = metadata_has_container() ? metadata_container(k, out) : WEIR_IDLE;
    else if (kind && strcmp(kind, "Environment") == 0) {
        const char *key = setting_env("AWS_ACCESS_KEY_ID");
        const char *secret = setting_env("AWS_SECRET_ACCESS_KEY");
        const char *token = setting_env("AWS_SESSION_TOKEN");
        *out = (struct credentials){.origin = "environment"};
        if (key && secret && credentials_set(out->access_key, AWS_KEY_BYTES, weir_text(key)) &&
            credentials_set(out->secret, AWS_KEY_BYTES, weir_text(secret)) &&
            (!token || credentials_set(out->token, AWS_TOKEN_BYTES, weir_text(token))))
            s = WEIR_OK;
    } else {
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: the profile %s has credential_source %.64s: expected "
                         "Environment, Ec2InstanceMetadata or EcsContainer",
                         name, kind ? kind : "(none)");
    }
    return s == WEIR_IDLE ? seek_fail(k, WEIR_E_CONFIG,
                                      "credentials: the profile %s takes them from %s, which has "
                                      "none",
                                      name, kind)
                          : s;
}

static weir_status role_of(struct seeker *k, struct chain *c, const char *name, const char *arn,
                           struct credentials *out)
{
    const char *source = value_of(k, name, "source_profile");
    const char *web = value_of(k, name, "web_identity_token_file");
    struct credentials *by = k->h->scratch(k->h, sizeof *by);
    const struct role role = {.arn = arn,
                              .session_name = value_of(k, name, "role_session_name"),
                              .external_id = value_of(k, name, "external_id"),
                              .duration_s = value_of(k, name, "duration_seconds")};
    if (value_of(k, name, "mfa_serial"))
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: the profile %s wants a code (mfa_serial), and nobody is "
                         "there to type it: use a role without one",
                         name);
    if (web)
        return sts_web_identity(k, web, &role, out);
    if (source && value_of(k, name, "credential_source"))
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: the profile %s has both source_profile and "
                         "credential_source: leave one out",
                         name);
    weir_status s = source ? resolve(k, c, source, true, by) : source_of(k, name, by);
    if (s == WEIR_OK)
        s = sts_assume_role(k, by, &role, out);
    explicit_bzero(by, sizeof *by);
    return s;
}

static weir_status resolve(struct seeker *k, struct chain *c, const char *name, bool is_source,
                           struct credentials *out)
{
    const char *arn = value_of(k, name, "role_arn");
    const char *program = value_of(k, name, "credential_process");
    if (!setting_has_profile(k->h, name))
        return seek_fail(k, WEIR_E_CONFIG,
                         "credentials: there is no profile %s in the shared files: `aws configure "
                         "--profile %s` makes one",
                         name, name);
    for (size_t i = 0; i < c->depth; i++)
        if (strcmp(c->names[i], name) == 0) /* itself: its own keys; a longer way: a ring */
            return i + 1 == c->depth && keys_of(k, name, out) == WEIR_OK
                       ? WEIR_OK
                       : seek_fail(k, WEIR_E_CONFIG,
                                   "credentials: the profiles lead back to %s (source_profile)",
                                   name);
    if (c->depth == DEPTH_MAX)
        return seek_fail(k, WEIR_E_CONFIG, "credentials: more than %d profiles lead to one another",
                         DEPTH_MAX);
    c->names[c->depth++] = name;
    if (arn)
        return role_of(k, c, name, arn, out);
    weir_status s = keys_of(k, name, out);
    if (s == WEIR_IDLE && program)
        s = process_credentials(k, program, out);
    if (s == WEIR_IDLE && (value_of(k, name, "sso_session") || value_of(k, name, "sso_start_url")))
        s = seek_fail(k, WEIR_E_CONFIG,
                      "credentials: the profile %s signs in by a browser (sso): write "
                      "credential_process = aws configure export-credentials --profile %s into a "
                      "profile of its own and name that",
                      name, name);
    if (s == WEIR_IDLE && is_source)
        s = seek_fail(k, WEIR_E_CONFIG, "credentials: the profile %s (source_profile) has none",
                      name);
    return s;
}

weir_status profile_credentials(struct seeker *k, const char *profile, struct credentials *out)
{
    struct chain c = {.depth = 0};
    return resolve(k, &c, profile, false, out);
}
