/* aws/whoami.c: weir aws whoami: which credentials, from where, for which region and endpoint. */
#include <stdio.h>
#include <time.h>

#include "aws.h"

enum {
    FLAG_JSON = 1,
    FLAG_CHECK = 2,
    EXIT_GOOD = 0,
    EXIT_OUT_OF_REACH = 69,
    EXIT_MISCONFIGURED = 78
};

struct report {
    struct endpoint at;
    struct credentials *who;
    struct identity identity;
    bool is_checked;
};

/* The first four characters tell the kind of a key, the last four which one it is. */
static void shorten(const char *key, char *text, size_t size)
{
    size_t n = strlen(key);
    if (n >= 16)
        (void)snprintf(text, size, "%.4s****%s", key, key + n - 4);
    else
        (void)snprintf(text, size, "****");
}

static void expiry_of(const struct credentials *c, char *text, size_t size)
{
    struct tm parts = {0};
    time_t seconds = (time_t)(c->expires_ns / INT64_C(1000000000));
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static void print_member(const struct aws *a, const char *name, const char *value, bool is_first)
{
    weir_str text = a->json->quote(a->json, weir_text(value));
    (void)printf("%s\"%s\":%.*s", is_first ? "{" : ",", name, (int)text.len, text.ptr);
}

static void print_json(const struct aws *a, const struct report *r, const char *key,
                       const char *expires)
{
    print_member(a, "access_key", key, true);
    print_member(a, "credentials_from", r->who->origin, false);
    if (*expires)
        print_member(a, "expires", expires, false);
    print_member(a, "region", r->at.region, false);
    print_member(a, "region_from", r->at.region_from, false);
    print_member(a, "partition", endpoint_partition(r->at.region), false);
    print_member(a, "sts", r->at.url, false);
    print_member(a, "sts_from", r->at.url_from, false);
    if (r->is_checked) {
        print_member(a, "account", r->identity.account, false);
        print_member(a, "arn", r->identity.arn, false);
        print_member(a, "user_id", r->identity.user, false);
    }
    (void)printf("}\n");
}

static void print_text(const struct report *r, const char *key, const char *expires)
{
    (void)printf("credentials  %s, from %s\n", key, r->who->origin);
    (void)printf("expire       %s\n", *expires ? expires : "never");
    (void)printf("region       %s, from %s\n", r->at.region, r->at.region_from);
    (void)printf("partition    %s\n", endpoint_partition(r->at.region));
    (void)printf("sts          %s, from %s\n", r->at.url, r->at.url_from);
    if (r->is_checked)
        (void)printf("account      %s\narn          %s\nuser id      %s\n", r->identity.account,
                     r->identity.arn, r->identity.user);
}

static weir_status look(const struct aws *a, struct seeker *k, struct report *r, bool is_check)
{
    const char *endpoint = a->about->endpoint;
    bool is_url = endpoint && strcmp(endpoint, "embedded") != 0;
    const weir_aws_target sts = {.size = sizeof sts,
                                 .service = "sts",
                                 .name = "sts",
                                 .endpoint = is_url ? endpoint : "aws"};
    weir_status s =
        endpoint_region(k, NULL, a->about->is_region_written ? a->about->region : NULL, &r->at);
    if (s == WEIR_OK)
        s = endpoint_find(k, &sts, &r->at);
    k->region = r->at.region;
    if (s == WEIR_OK)
        s = credentials_find(k, r->who);
    if (s == WEIR_OK && is_check) {
        s = sts_identity(k, r->who, &r->identity);
        r->is_checked = s == WEIR_OK;
    }
    return s;
}

static int whoami(void *self, const weir_host *h, uint32_t given)
{
    const struct aws *a = self;
    char key[32], expires[32] = "";
    struct seeker k = aws_seeker(a, h);
    struct report r = {.who = h->scratch(h, sizeof *r.who)};
    k.ca_file = setting_ca_file(h);
    *r.who = (struct credentials){.expires_ns = 0};
    weir_status s = look(a, &k, &r, given & FLAG_CHECK);
    if (s == WEIR_OK || r.who->access_key[0]) {
        shorten(r.who->access_key, key, sizeof key);
        if (r.who->expires_ns)
            expiry_of(r.who, expires, sizeof expires);
        if (given & FLAG_JSON)
            print_json(a, &r, key, expires);
        else
            print_text(&r, key, expires);
    }
    explicit_bzero(r.who, sizeof *r.who);
    if (s == WEIR_OK)
        return EXIT_GOOD;
    (void)fprintf(stderr, "weir aws whoami: %s\n", k.why);
    return s == WEIR_E_RETRY ? EXIT_OUT_OF_REACH : EXIT_MISCONFIGURED;
}

static const char *const flags[] = {"json=as JSON",
                                    "check=ask AWS whose credentials they are (GetCallerIdentity)",
                                    NULL};
static const weir_command command_whoami = {
    .size = sizeof(weir_command),
    .name = "aws",
    .action = "whoami",
    .summary = "Which AWS credentials, region and endpoint are in use, and where they come from",
    .details = "The secret is never printed. Exit code 78: something has to be set; 69: out of\n"
               "reach now.\n\n"
               "examples:\n"
               "  weir aws whoami\n"
               "  AWS_PROFILE=shop weir aws whoami --check pipeline.yaml",
    .flags = flags,
    .run = whoami,
};
const weir_command *const whoami_commands[] = {&command_whoami, NULL};
