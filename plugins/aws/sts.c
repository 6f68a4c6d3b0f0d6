/* aws/sts.c: the Security Token Service: roles by keys and by web identity, and who one is. */
#include <stdio.h>
#include <stdlib.h>

#include "aws.h"

enum {
    FORM_BYTES = 64 * 1024,
    TOKEN_FILE_MAX = 20000,
    DURATION_MIN_S = 900,
    DURATION_MAX_S = 43200
};
#define TIMEOUT_NS INT64_C(10000000000)
static const char version[] = "2011-06-15";

struct form {
    char *text;
    size_t n;
};

static void add(struct form *f, const char *name, weir_str value)
{
    static const char digits[] = "0123456789ABCDEF";
    f->n += (size_t)snprintf(f->text + f->n, FORM_BYTES - f->n, "%s%s=", f->n ? "&" : "", name);
    for (size_t i = 0; i < value.len && f->n + 4 < FORM_BYTES; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
        if (!is_plain) {
            f->text[f->n++] = '%';
            f->text[f->n++] = digits[c >> 4];
        }
        if (is_plain)
            f->text[f->n++] = value.ptr[i];
        else
            f->text[f->n++] = digits[c & 15];
    }
}

static struct form form_of(const struct seeker *k, const char *action)
{
    struct form f = {k->h->scratch(k->h, FORM_BYTES), 0};
    add(&f, "Action", weir_text(action));
    add(&f, "Version", weir_text(version));
    return f;
}

static void add_role(struct form *f, const struct seeker *k, const struct role *r)
{
    char name[64];
    (void)snprintf(name, sizeof name, "weir-%lld",
                   (long long)(k->h->now(k->h) / INT64_C(1000000000)));
    long seconds = r->duration_s ? strtol(r->duration_s, NULL, 10) : 0;
    add(f, "RoleArn", weir_text(r->arn));
    add(f, "RoleSessionName", weir_text(r->session_name ? r->session_name : name));
    if (seconds >= DURATION_MIN_S && seconds <= DURATION_MAX_S)
        add(f, "DurationSeconds", weir_text(r->duration_s));
    if (r->external_id)
        add(f, "ExternalId", weir_text(r->external_id));
}

static weir_status ask(struct seeker *k, const struct form *f, const struct credentials *by,
                       const char *what, weir_str *xml)
{
    struct endpoint e = {.region = ""};
    const weir_http_reply *reply = NULL;
    const weir_aws_target sts = {.size = sizeof sts,
                                 .service = "sts",
                                 .name = "sts",
                                 .endpoint = "aws"};
    (void)snprintf(e.region, sizeof e.region, "%s", k->region);
    if (!e.region[0])
        return seek_fail(k, WEIR_E_CONFIG, "%s: no region: set AWS_REGION", what);
    weir_status s = endpoint_find(k, &sts, &e);
    if (s != WEIR_OK)
        return s;
    char url[AWS_URL_BYTES + 2];
    (void)snprintf(url, sizeof url, "%s/", e.url);
    const struct call c = {.method = "POST",
                           .url = url,
                           .content_type = "application/x-www-form-urlencoded; charset=utf-8",
                           .service = by ? "sts" : NULL,
                           .region = e.region,
                           .body = {f->text, f->n},
                           .timeout_ns = TIMEOUT_NS,
                           .by = by};
    s = request_wait(k, &c, what, &reply);
    if (s == WEIR_E_REJECT)
        s = WEIR_E_CONFIG; /* asked in the wrong way: the same comes of it again */
    if (s == WEIR_OK)
        *xml = (weir_str){reply->body->ptr, reply->body->len};
    return s;
}

static weir_status read_role(struct seeker *k, weir_str xml, const char *what,
                             struct credentials *out)
{
    char key[AWS_KEY_BYTES], expires[64] = "";
    struct credentials *c = k->h->scratch(k->h, 2 * sizeof *c);
    char *token = (char *)(c + 1);
    *c = (struct credentials){.expires_ns = 0};
    bool ok = answer_element(xml, "AccessKeyId", key, sizeof key) &&
              credentials_set(c->access_key, sizeof c->access_key, weir_text(key)) &&
              answer_element(xml, "SecretAccessKey", key, sizeof key) &&
              credentials_set(c->secret, sizeof c->secret, weir_text(key)) &&
              answer_element(xml, "SessionToken", token, AWS_TOKEN_BYTES) &&
              credentials_set(c->token, sizeof c->token, weir_text(token)) &&
              answer_element(xml, "Expiration", expires, sizeof expires);
    c->expires_ns = credentials_time(weir_text(expires));
    (void)snprintf(c->origin, sizeof c->origin, "%s", what);
    if (ok && c->expires_ns)
        *out = *c;
    else
        ok = false;
    explicit_bzero(key, sizeof key);
    explicit_bzero(c, 2 * sizeof *c);
    return ok ? WEIR_OK
              : seek_fail(k, WEIR_E_RETRY, "%s: the answer has no credentials that can be used",
                          what);
}

weir_status sts_assume_role(struct seeker *k, const struct credentials *by, const struct role *r,
                            struct credentials *out)
{
    char what[AWS_ORIGIN_BYTES];
    weir_str xml = {0};
    struct form f = form_of(k, "AssumeRole");
    (void)snprintf(what, sizeof what, "AssumeRole %.180s", r->arn);
    add_role(&f, k, r);
    weir_status s = ask(k, &f, by, what, &xml);
    return s == WEIR_OK ? read_role(k, xml, what, out) : s;
}

weir_status sts_web_identity(struct seeker *k, const char *token_file, const struct role *r,
                             struct credentials *out)
{
    char what[AWS_ORIGIN_BYTES];
    weir_str xml = {0}, token = setting_read(k->h, token_file, TOKEN_FILE_MAX);
    struct form f = form_of(k, "AssumeRoleWithWebIdentity");
    (void)snprintf(what, sizeof what, "AssumeRoleWithWebIdentity %.180s", r->arn);
    while (token.len && (unsigned char)token.ptr[token.len - 1] <= ' ')
        token.len--;
    if (!token.len)
        return seek_fail(k, WEIR_E_CONFIG,
                         "%s: the token file %.150s cannot be read, is empty or over %d bytes",
                         what, token_file, TOKEN_FILE_MAX);
    add_role(&f, k, r);
    add(&f, "WebIdentityToken", token);
    weir_status s = ask(k, &f, NULL, what, &xml);
    explicit_bzero(f.text, f.n);
    return s == WEIR_OK ? read_role(k, xml, what, out) : s;
}

weir_status sts_identity(struct seeker *k, const struct credentials *by, struct identity *who)
{
    weir_str xml = {0};
    struct form f = form_of(k, "GetCallerIdentity");
    weir_status s = ask(k, &f, by, "GetCallerIdentity", &xml);
    if (s != WEIR_OK)
        return s;
    if (!answer_element(xml, "Account", who->account, sizeof who->account) ||
        !answer_element(xml, "Arn", who->arn, sizeof who->arn) ||
        !answer_element(xml, "UserId", who->user, sizeof who->user))
        return seek_fail(k, WEIR_E_RETRY, "GetCallerIdentity: the answer has no Account and Arn");
    return WEIR_OK;
}
