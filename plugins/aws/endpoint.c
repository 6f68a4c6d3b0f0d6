/* aws/endpoint.c: which region, and at which URL a service is, as the SDKs find them. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "aws.h"

struct partition {
    const char *prefix, *name, *suffix, *dual_suffix; /* of regions, of hosts */
};
/* As in the SDKs' partitions.json; the first prefix that fits. */
static const struct partition partitions[] = {
    {"cn-", "aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"us-gov-", "aws-us-gov", "amazonaws.com", "api.aws"},
    {"us-isob-", "aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"},
    {"us-isof-", "aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
    {"us-iso-", "aws-iso", "c2s.ic.gov", "api.aws.ic.gov"},
    {"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
    {"eusc-", "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"", "aws", "amazonaws.com", "api.aws"},
};

static const struct partition *partition_of(const char *region)
{
    const struct partition *p = partitions;
    while (strncmp(region, p->prefix, strlen(p->prefix)) != 0)
        p++;
    return p;
}

const char *endpoint_partition(const char *region)
{
    return partition_of(region)->name;
}

bool endpoint_is_region(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n && n < AWS_REGION_BYTES && !text[n] && text[0] != '-' && text[n - 1] != '-';
}

bool endpoint_host(const char *service, const char *region, bool is_fips, bool is_dual_stack,
                   char *host, size_t size)
{
    const struct partition *p = partition_of(region);
    /* In GovCloud all of it is FIPS, and some hosts need not say so: those of most services,
     * and with dual stack these two. */
    bool is_implied = is_dual_stack
                          ? strcmp(service, "events") == 0 || strcmp(service, "monitoring") == 0
                          : strcmp(service, "lambda") != 0;
    bool is_plain = is_implied && strcmp(p->name, "aws-us-gov") == 0;
    int n = snprintf(host, size, "%s%s.%s.%s", service, is_fips && !is_plain ? "-fips" : "", region,
                     is_dual_stack ? p->dual_suffix : p->suffix);
    return n > 0 && (size_t)n < size;
}

bool endpoint_is_loopback(weir_str host)
{
    char text[64];
    struct in_addr v4;
    struct in6_addr v6;
    if (!host.len || host.len >= sizeof text)
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = 0;
    if (strcasecmp(text, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Scheme, host, port and path; nothing else, and no user or password. */
bool endpoint_split(const char *url, struct endpoint *e)
{
    bool is_tls = strncmp(url, "https://", 8) == 0;
    size_t scheme = is_tls ? 8 : 7;
    if ((!is_tls && strncmp(url, "http://", 7) != 0) || strlen(url) >= AWS_URL_BYTES)
        return false;
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127)
            return false;
    const char *host = url + scheme;
    size_t n = strcspn(host, "/?#");
    if (!n || memchr(host, '@', n) || host[n] == '?' || host[n] == '#' || strpbrk(host + n, "?#"))
        return false;
    (void)snprintf(e->host, sizeof e->host, "%.*s", (int)n, host);
    (void)snprintf(e->path, sizeof e->path, "%s", host + n);
    (void)snprintf(e->url, sizeof e->url, "%s", url);
    const char *port = is_tls ? ":443" : ":80"; /* those are not in the header Host */
    if (n > strlen(port) && strcmp(e->host + n - strlen(port), port) == 0)
        e->host[n - strlen(port)] = 0;
    for (char *c = e->host; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    for (size_t i = strlen(e->path); i && e->path[i - 1] == '/'; i--)
        e->path[i - 1] = 0;
    for (size_t i = strlen(e->url); i && e->url[i - 1] == '/'; i--)
        e->url[i - 1] = 0;
    return true;
}

/* ---- the region ------------------------------------------------------------------------------- */

static bool take_region(struct endpoint *e, const char *region, const char *from)
{
    if (!region || !*region)
        return false;
    (void)snprintf(e->region, sizeof e->region, "%s", region);
    (void)snprintf(e->region_from, sizeof e->region_from, "%s", from);
    return true;
}

weir_status endpoint_region(struct seeker *k, const char *wanted, const char *of_file,
                            struct endpoint *e)
{
    char profile[AWS_REGION_BYTES] = "";
    if (!take_region(e, wanted, "option region") &&
        !take_region(e, of_file, "pipeline file (aws.region)") &&
        !take_region(e, setting_env("AWS_REGION"), "AWS_REGION") &&
        !take_region(e, setting_env("AWS_DEFAULT_REGION"), "AWS_DEFAULT_REGION") &&
        !(setting_find(k->h, setting_profile(), "region", NULL, profile, sizeof profile) &&
          take_region(e, profile, "profile")) &&
        !(metadata_region(k, profile, sizeof profile) == WEIR_OK &&
          take_region(e, profile, "instance metadata (IMDSv2)")))
        return seek_fail(k, WEIR_E_CONFIG,
                         "no AWS region: write aws: { region: eu-central-1 } into the pipeline "
                         "file, or set AWS_REGION");
    if (!endpoint_is_region(e->region))
        return seek_fail(k, WEIR_E_CONFIG, "the region of %s is no name of a region: \"%.60s\"",
                         e->region_from, e->region);
    return WEIR_OK;
}

/* ---- the URL ---------------------------------------------------------------------------------- */

static bool is_set(const struct seeker *k, const char *variable, const char *key)
{
    char value[16];
    const char *set = setting_env(variable);
    if (set)
        return setting_is_true(set);
    return setting_find(k->h, setting_profile(), key, NULL, value, sizeof value) &&
           setting_is_true(value);
}

/* What was configured outside of the pipeline file; NULL: nothing. */
static const char *configured(const struct seeker *k, const char *name, char *url,
                              const char **from)
{
    char variable[96] = "AWS_ENDPOINT_URL_", key[64] = "";
    size_t n = strlen(variable);
    for (size_t i = 0; name[i] && i + 1 < sizeof key; i++, n++) {
        bool is_word = isalnum((unsigned char)name[i]);
        char big = (char)toupper((unsigned char)name[i]),
             small = (char)tolower((unsigned char)name[i]);
        variable[n] = '_';
        key[i] = '_';
        if (!is_word)
            continue;
        variable[n] = big;
        key[i] = small;
    }
    if (is_set(k, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls"))
        return NULL;
    const char *set = setting_env(variable);
    *from = set ? "AWS_ENDPOINT_URL_<SERVICE>" : "AWS_ENDPOINT_URL";
    if (!set)
        set = setting_env("AWS_ENDPOINT_URL");
    if (set)
        return set;
    *from = "profile (services)";
    if (setting_service_url(k->h, setting_profile(), key, url, AWS_URL_BYTES))
        return url;
    *from = "profile (endpoint_url)";
    return setting_find(k->h, setting_profile(), "endpoint_url", NULL, url, AWS_URL_BYTES) ? url
                                                                                           : NULL;
}

/* Plain http goes where the pipeline file says, or stays on this machine. */
static bool may_be_plain(const char *url, const struct endpoint *e)
{
    const char *from = e->host[0] == '[' ? e->host + 1 : e->host;
    size_t n = strcspn(from, e->host[0] == '[' ? "]" : ":");
    return strncmp(url, "http://", 7) != 0 || endpoint_is_loopback((weir_str){from, n});
}

weir_status endpoint_find(struct seeker *k, const weir_aws_target *t, struct endpoint *e)
{
    char url[AWS_URL_BYTES], host[AWS_URL_BYTES - 16];
    const char *from = "pipeline file", *set = t->endpoint;
    bool is_written = strcmp(set, "aws") != 0;
    if (!is_written)
        set = configured(k, t->name, url, &from);
    if (set) {
        if (!endpoint_split(set, e))
            return seek_fail(k, WEIR_E_CONFIG,
                             "the endpoint of %s is no URL such as https://host:port: %.200s", from,
                             set);
        if (!is_written && !may_be_plain(set, e))
            return seek_fail(k, WEIR_E_CONFIG,
                             "%s is plain http to another machine: write it into the pipeline "
                             "file as endpoint: if that is meant: %.200s",
                             from, set);
        (void)snprintf(e->url_from, sizeof e->url_from, "%s", from);
        return WEIR_OK;
    }
    bool is_fips = is_set(k, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
    bool is_dual = is_set(k, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
    if (!endpoint_host(t->service, e->region, is_fips, is_dual, host, sizeof host))
        return seek_fail(k, WEIR_E_CONFIG, "the host of %s in %s is too long", t->service,
                         e->region);
    (void)snprintf(url, sizeof url, "https://%s", host);
    (void)endpoint_split(url, e);
    (void)snprintf(e->url_from, sizeof e->url_from, "AWS%s%s", is_fips ? ", FIPS" : "",
                   is_dual ? ", dual stack" : "");
    return WEIR_OK;
}
