/* tests/plugins/aws.c: signatures against AWS's vectors, the shared files, hosts, and what answers mean. */
#include "support.h"

#include "../../plugins/aws/aws.h"
#include "../../plugins/aws/ini.h"
#include "../../plugins/aws/sigv4.h"

/* ---- signatures ------------------------------------------------------------------------------- */

struct vector {
    char method[8], signature[80];
    weir_str path, query, body;
    weir_attr headers[16];
    size_t count;
    char date[32];
};

static char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    ck_assert_ptr_nonnull(end);
    *end = 0;
    *at = end + 1;
    return line;
}

/* One request as tests/aws/sigv4/vectors.txt has it: what was sent, and the signature that it has. */
static void read_vector(char *text, struct vector *v)
{
    char *at = text, *line = next_line(&at);
    char *path = strchr(line, ' ') + 1, *end = strstr(line, " HTTP/1.1");
    (void)snprintf(v->method, sizeof v->method, "%.*s", (int)(path - line - 1), line);
    *end = 0;
    char *query = strchr(path, '?');
    v->path = (weir_str){path, query ? (size_t)(query - path) : strlen(path)};
    v->query = query ? weir_text(query + 1) : weir_text("");
    while (*(line = next_line(&at))) {
        if (*line == ' ') { /* a folded value counts as one more of the same name */
            weir_attr more = {v->headers[v->count - 1].key, weir_text(line)};
            v->headers[v->count++] = more;
            continue;
        }
        char *colon = strchr(line, ':');
        weir_attr h = {{line, (size_t)(colon - line)}, weir_text(colon + 1)};
        if (weir_same(h.key, "Signature"))
            (void)snprintf(v->signature, sizeof v->signature, "%s", colon + 1);
        else if (!weir_same(h.key, "SignedHeaders"))
            v->headers[v->count++] = h;
        if (weir_same(h.key, "X-Amz-Date"))
            (void)snprintf(v->date, sizeof v->date, "%s", colon + 1);
    }
    v->body = weir_text(at);
    while (v->body.len && v->body.ptr[v->body.len - 1] == '\n')
        v->body.len--;
}

static void check_vector(char *name, char *text)
{
    static const char secret[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    char authorization[SIGV4_AUTHORIZATION_BYTES], hash[SIGV4_HASH_BYTES];
    struct vector v = {.count = 0};
    read_vector(text, &v);
    sigv4_hash(v.body, hash);
    const struct sigv4_request r = {.method = v.method,
                                    .path = v.path,
                                    .query = v.query,
                                    .headers = {v.count, v.headers},
                                    .body_hash = hash,
                                    .region = "us-east-1",
                                    .service = "service",
                                    .date = v.date,
                                    .access_key = "AKIDEXAMPLE",
                                    .secret = secret};
    ck_assert_msg(sigv4_sign(&r, authorization), "%s: not signed", name);
    const char *signature = strstr(authorization, "Signature=");
    ck_assert_msg(signature && strcmp(signature + 10, v.signature) == 0, "%s: %s, expected %s",
                  name, authorization, v.signature);
}

START_TEST(signs_as_aws_does)
{
    static char text[65536];
    FILE *f = fopen("tests/aws/sigv4/vectors.txt", "re");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(text, 1, sizeof text - 1, f), count = 0;
    (void)fclose(f);
    text[n] = 0;
    for (char *at = strstr(text, "=== "); at; count++) {
        char *name = at + 4, *next = strstr(name, "\n=== ");
        if (next)
            *next++ = 0;
        char *body = strchr(name, '\n');
        *body++ = 0;
        static char one[65536];
        (void)snprintf(one, sizeof one, "%s\n", body);
        check_vector(name, one);
        at = next;
    }
    ck_assert_uint_eq(count, 21);
}
END_TEST

START_TEST(refuses_to_sign_too_much)
{
    char authorization[SIGV4_AUTHORIZATION_BYTES], query[4096] = "";
    weir_attr headers[SIGV4_HEADERS_MAX + 1];
    for (size_t i = 0; i <= SIGV4_HEADERS_MAX; i++)
        headers[i] = (weir_attr){weir_text("a"), weir_text("b")};
    for (size_t i = 0; i <= SIGV4_PARAMETERS_MAX; i++)
        (void)strcat(query, "a=b&");
    struct sigv4_request r = {.method = "GET",
                              .path = weir_text("/"),
                              .query = weir_text(""),
                              .headers = {SIGV4_HEADERS_MAX + 1, headers},
                              .body_hash = "UNSIGNED-PAYLOAD",
                              .region = "r",
                              .service = "s",
                              .date = "20150830T123600Z",
                              .access_key = "k",
                              .secret = "s"};
    ck_assert(!sigv4_sign(&r, authorization));
    r.headers.count = 3;
    ck_assert(sigv4_sign(&r, authorization));
    r.query = weir_text(query);
    ck_assert(!sigv4_sign(&r, authorization));
    r.query = weir_text("");
    r.date = "2015";
    ck_assert(!sigv4_sign(&r, authorization));
}
END_TEST

/* ---- the shared files ------------------------------------------------------------------------- */

START_TEST(reads_the_shared_files)
{
    static const char text[] = "# a comment\n"
                               "[default]\r\n"
                               "Region = eu-west-1 \r\n"
                               "aws_access_key_id=A\n"
                               "aws_access_key_id=B\n"
                               "[profile  \"a b\" ]\n"
                               "region=x#y\n"
                               "services = mine\n"
                               "s3 =\n"
                               "  endpoint_url = http://s3\n"
                               "; another\n"
                               "empty =\n"
                               "[services mine]\n"
                               "eventbridge =\n"
                               "\tendpoint_url = http://127.0.0.1:1\n"
                               "sqs =\n"
                               "  endpoint_url = http://127.0.0.1:2\n"
                               "[open\n"
                               "[]\n"
                               "= value\n";
    static const struct {
        const char *section, *key, *sub, *value;
    } cases[] = {
        {"default", "region", NULL, "eu-west-1"},
        {"default", "aws_access_key_id", NULL, "B"},
        {"default", "services", NULL, NULL},
        {"profile a b", "REGION", NULL, "x#y"},
        {"profile a b", "s3", "endpoint_url", "http://s3"},
        {"profile a b", "endpoint_url", NULL, NULL},
        {"profile a b", "empty", NULL, ""},
        {"services mine", "eventbridge", "endpoint_url", "http://127.0.0.1:1"},
        {"services mine", "sqs", "endpoint_url", "http://127.0.0.1:2"},
        {"services mine", "lambda", "endpoint_url", NULL},
        {"a b", "region", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weir_str found = ini_find(weir_text(text), cases[i].section, cases[i].key, cases[i].sub);
        ck_assert_msg(cases[i].value ? weir_same(found, cases[i].value) : !found.ptr,
                      "[%s] %s: %.*s", cases[i].section, cases[i].key, (int)found.len,
                      found.ptr ? found.ptr : "(none)");
    }
    ck_assert(ini_has(weir_text(text), "profile a b"));
    ck_assert(!ini_has(weir_text(text), "mine"));
    ck_assert_ptr_null(ini_find((weir_str){0}, "default", "region", NULL).ptr);
}
END_TEST

START_TEST(reads_times)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {{"2025-01-01T00:00:00Z", 1735689600},
                 {"2025-01-01T01:00:00.123+01:00", 1735689600},
                 {"2024-12-31T22:30:00-01:30", 1735689600},
                 {"tomorrow", 0},
                 {"", 0},
                 {"1900-01-01T00:00:00Z", 0},
                 {"9999-01-01T00:00:00Z", 9223372035}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(credentials_time(weir_text(cases[i].text)) / INT64_C(1000000000),
                         cases[i].seconds);
}
END_TEST

/* ---- hosts ------------------------------------------------------------------------------------ */

/* hosts.txt has those that botocore finds: service, region, FIPS, dual stack, host. */
START_TEST(knows_the_hosts)
{
    char service[32], region[64], fips[4], dual[4], expected[256], host[256];
    FILE *f = fopen("tests/aws/hosts/hosts.txt", "re");
    ck_assert_ptr_nonnull(f);
    size_t count = 0;
    while (fscanf(f, "%31s %63s %3s %3s %255s", service, region, fips, dual, expected) == 5) {
        count++;
        ck_assert(endpoint_host(service, region, *fips == 'f', *dual == 'd', host, sizeof host));
        ck_assert_str_eq(host, expected);
    }
    ck_assert(feof(f));
    (void)fclose(f);
    ck_assert_uint_ge(count, 500);
    ck_assert(!endpoint_host("events", "eu-central-1", false, false, host, 8));
}
END_TEST

START_TEST(takes_urls_apart)
{
    static const struct {
        const char *url, *host, *path; /* host NULL: refused */
    } cases[] = {
        {"http://127.0.0.1:4566", "127.0.0.1:4566", ""},
        {"https://Events.Example.com:443/a/b/", "events.example.com", "/a/b"},
        {"http://[::1]:80/", "[::1]", ""},
        {"http://user:pw@host", NULL, NULL},
        {"http://", NULL, NULL},
        {"ftp://host", NULL, NULL},
        {"https://host?x=1", NULL, NULL},
        {"https://host/a#b", NULL, NULL},
        {"https://ho st", NULL, NULL},
        {"https://h\xc3\xb6st", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct endpoint e = {.url = ""};
        ck_assert_msg(endpoint_split(cases[i].url, &e) == (cases[i].host != NULL), "%s",
                      cases[i].url);
        if (!cases[i].host)
            continue;
        ck_assert_str_eq(e.host, cases[i].host);
        ck_assert_str_eq(e.path, cases[i].path);
    }
    ck_assert(endpoint_is_loopback(weir_text("127.8.9.1")));
    ck_assert(endpoint_is_loopback(weir_text("::1")));
    ck_assert(!endpoint_is_loopback(weir_text("127.0.0.1.example.com")));
    ck_assert(!endpoint_is_loopback(weir_text("169.254.169.254")));
    ck_assert(endpoint_is_region("eu-central-1"));
    ck_assert(!endpoint_is_region("eu.evil.com/"));
    ck_assert(!endpoint_is_region("-a"));
}
END_TEST

/* ---- answers ---------------------------------------------------------------------------------- */

/* Of a service there is no instance; the JSON service of the test host needs one. */
static weir_status judge_of(int status, const char *body, const char *header, const char *value,
                            struct answer *a)
{
    weir_test *t = weir_test_new(WEIR_TEST_SERVICE, "aws", NULL);
    weir_payload payload = {body, strlen(body)};
    weir_attr field = {weir_text(header ? header : ""), weir_text(value ? value : "")};
    const weir_http_reply r = {.status = status,
                               .body = &payload,
                               .headers = {header ? 1 : 0, &field},
                               .error = status ? NULL : "connection refused"};
    const struct aws *self = t->self;
    weir_test_enter(t);
    answer_read(&t->host, self->json, &r, a);
    weir_test_leave(t);
    ck_assert_int_eq(weir_test_free(t), 0);
    return a->status;
}

START_TEST(judges_answers)
{
    static const struct {
        int http;
        const char *body, *header, *value;
        weir_status status;
        const char *code, *message;
    } cases[] = {
        {200, "{}", NULL, NULL, WEIR_OK, "", ""},
        {400, "{\"__type\":\"com.x#ThrottlingException\",\"message\":\"Rate exceeded\"}", NULL,
         NULL, WEIR_E_RETRY, "ThrottlingException", "Rate exceeded"},
        {400, "{\"__type\":\"ValidationException\",\"Message\":\"no\\nbreak\"}", NULL, NULL,
         WEIR_E_REJECT, "ValidationException", "no break"},
        {400, "{}", "x-amzn-errortype", "AccessDeniedException:http://internal/", WEIR_E_CONFIG,
         "AccessDeniedException", ""},
        {400, "{\"__type\":\"x#QueueDoesNotExist\"}", "x-amzn-query-error",
         "AWS.SimpleQueueService.NonExistentQueue;Sender", WEIR_E_REJECT,
         "AWS.SimpleQueueService.NonExistentQueue", ""},
        {403,
         "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>a &lt; b</Message></Error>"
         "</ErrorResponse>",
         NULL, NULL, WEIR_E_RETRY, "ExpiredToken", "a < b"},
        {400, "{\"__type\":\"UnrecognizedClientException\"}", NULL, NULL, WEIR_E_CONFIG,
         "UnrecognizedClientException", ""},
        {500, "<html>", NULL, NULL, WEIR_E_RETRY, "", ""},
        {429, "", NULL, NULL, WEIR_E_RETRY, "", ""},
        {404, "not JSON", NULL, NULL, WEIR_E_REJECT, "", ""},
        {400, "{\"__type\":", NULL, NULL, WEIR_E_REJECT, "", ""},
        {0, "", NULL, NULL, WEIR_E_RETRY, "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a;
        weir_status s = judge_of(cases[i].http, cases[i].body, cases[i].header, cases[i].value, &a);
        ck_assert_msg(s == cases[i].status, "case %zu: %d", i, (int)s);
        ck_assert_str_eq(a.code, cases[i].code);
        ck_assert_str_eq(a.message, cases[i].message);
    }
}
END_TEST

START_TEST(heeds_pauses)
{
    static const struct {
        const char *name, *value;
        int64_t ms;
    } cases[] = {{"retry-after", "3", 3000},          {"x-amz-retry-after", "250", 250},
                 {"Retry-After", "1000000", 3600000}, {"retry-after", "-1", 0},
                 {"retry-after", "next week", 0},     {"retry", "3", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weir_attr h = {weir_text(cases[i].name), weir_text(cases[i].value)};
        ck_assert_int_eq(answer_pause_ms((weir_pairs){1, &h}), cases[i].ms);
    }
}
END_TEST

/* ---- retry modes ------------------------------------------------------------------------------ */

static const int64_t MS = 1000000;

/* Asks as fast as it may for so long, of a service that takes `limit` requests a second. */
static int sent_within(struct pace *p, int64_t *now, int seconds, int limit, int *throttled)
{
    int sent = 0, taken = 0;
    int64_t second = *now / (1000 * MS), end = *now + seconds * 1000 * MS;
    *throttled = 0;
    while (*now < end) {
        if (*now / (1000 * MS) != second) {
            second = *now / (1000 * MS);
            taken = 0;
        }
        int64_t wait = pace_take(p, *now);
        bool is_over = ++taken > limit;
        sent++;
        *throttled += is_over;
        pace_answer(p, *now, is_over);
        *now += wait > 2 * MS ? wait : 2 * MS; /* it cannot send more than 500 a second */
    }
    return sent;
}

START_TEST(paces_by_what_the_service_takes)
{
    struct pace p = {0};
    int64_t now = INT64_C(1700000000) * 1000 * MS;
    int throttled = 0;
    int sent = sent_within(&p, &now, 10, 1000000, &throttled);
    ck_assert_int_ge(sent, 4900); /* nothing was throttled, so nothing waits */
    ck_assert(!p.is_on);
    (void)sent_within(&p, &now, 30, 100, &throttled); /* finds its way */
    sent = sent_within(&p, &now, 60, 100, &throttled);
    ck_assert_int_ge(sent - throttled, 60 * 50); /* at least half of what is to be had */
    ck_assert_int_le(throttled, sent / 4);
    (void)sent_within(&p, &now, 30, 1000000, &throttled);
    sent = sent_within(&p, &now, 10, 1000000, &throttled);
    ck_assert_int_ge(sent, 4500); /* and comes back */
    now -= 3600 * 1000 * MS;      /* a clock that is set back does not stop it */
    sent = sent_within(&p, &now, 10, 1000000, &throttled);
    ck_assert_int_ge(sent, 1);
    now += 10 * 3600 * 1000 * MS;
    sent = sent_within(&p, &now, 10, 1000000, &throttled);
    ck_assert_int_ge(sent, 2000);
}
END_TEST

START_TEST(never_stands_still)
{
    struct pace p = {0};
    int64_t now = INT64_C(1700000000) * 1000 * MS;
    for (int i = 0; i < 50; i++) {
        int64_t wait = pace_take(&p, now);
        ck_assert_int_ge(wait, 0);
        ck_assert_int_le(wait, 4000 * MS); /* at least one in two seconds, and a token in debt */
        pace_answer(&p, now, true);
        now += wait;
    }
    ck_assert(p.is_on);
}
END_TEST

static int attempts_with(const char *mode, const char *attempts)
{
    weir_test *t = weir_test_new(WEIR_TEST_SERVICE, "aws", NULL);
    ck_assert_int_eq(setenv("AWS_CONFIG_FILE", "/dev/null", 1), 0);
    ck_assert_int_eq(setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1), 0);
    ck_assert_int_eq(setenv("AWS_RETRY_MODE", mode, 1), 0);
    ck_assert_int_eq(setenv("AWS_MAX_ATTEMPTS", attempts, 1), 0);
    weir_test_enter(t);
    int n = retry_attempts(&t->host);
    weir_test_leave(t);
    ck_assert_int_eq(weir_test_free(t), 0);
    return n;
}

START_TEST(counts_attempts)
{
    ck_assert_int_eq(attempts_with("", ""), 3);
    ck_assert_int_eq(attempts_with("legacy", ""), 5);
    ck_assert_int_eq(attempts_with("adaptive", ""), 3);
    ck_assert_int_eq(attempts_with("legacy", "2"), 2);
    ck_assert_int_eq(attempts_with("standard", "1000"), 20);
    ck_assert_int_eq(attempts_with("standard", "0"), 3);
}
END_TEST

START_TEST(reads_elements)
{
    char text[16];
    ck_assert(answer_element(weir_text("<a><b>1 &amp; 2</b></a>"), "b", text, sizeof text));
    ck_assert_str_eq(text, "1 & 2");
    ck_assert(!answer_element(weir_text("<a><b>open"), "b", text, sizeof text));
    ck_assert(!answer_element(weir_text("<b>longer than there is room</b>"), "b", text, 8));
    ck_assert(!answer_element(weir_text("</b><b"), "b", text, sizeof text));
    ck_assert(!answer_element((weir_str){0}, "b", text, sizeof text));
}
END_TEST

int main(void)
{
    return run_tests("aws",
                     (const TTest *const[]){signs_as_aws_does, refuses_to_sign_too_much,
                                            reads_the_shared_files, reads_times, knows_the_hosts,
                                            takes_urls_apart, judges_answers, heeds_pauses,
                                            paces_by_what_the_service_takes, never_stands_still,
                                            counts_attempts, reads_elements, NULL});
}
