/* tests/fuzz/aws.c: what comes from shared files, credential processes and AWS: ini, JSON and XML. */
#include <weir/testing.h>

#include "../../plugins/aws/aws.h"
#include "../../plugins/aws/ini.h"
#include "../../plugins/aws/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_files(weir_str text)
{
    static const char *const sections[] = {"default", "profile a b", "services mine"};
    for (size_t i = 0; i < 3; i++) {
        weir_str found = ini_find(text, sections[i], "region", NULL);
        weir_str below = ini_find(text, sections[i], "s3", "endpoint_url");
        if ((found.len && (found.ptr < text.ptr || found.ptr + found.len > text.ptr + text.len)) ||
            (below.len && (below.ptr < text.ptr || below.ptr + below.len > text.ptr + text.len)))
            abort();
    }
    (void)ini_has(text, "a b");
}

static void try_answers(weir_test *t, weir_str text)
{
    const struct aws *self = weir_test_self(t);
    struct credentials c;
    struct answer a;
    char value[64];
    weir_payload body = {text.ptr, text.len};
    const weir_attr headers[] = {{weir_text("date"), text},
                                 {weir_text("x-amzn-query-error"), text}};
    weir_http_reply r = {.status = 400, .body = &body, .headers = {0, headers}};
    struct seeker k = {.h = &t->host, .json = self->json};
    weir_test_enter(t);
    for (size_t n = 0; n < 3; n++) {
        r.headers.count = n;
        answer_read(&t->host, self->json, &r, &a);
    }
    (void)answer_date(r.headers);
    (void)answer_element(text, "Code", value, sizeof value);
    if (credentials_read(&k, text, "Token", "fuzz", &c) == WEIR_OK &&
        (!c.access_key[0] || !c.secret[0] || strpbrk(c.access_key, " \r\n")))
        abort();
    (void)credentials_time(text);
    weir_test_leave(t);
}

static void try_signature(weir_str text)
{
    char authorization[SIGV4_AUTHORIZATION_BYTES];
    weir_attr headers[] = {{weir_text("host"), text}, {text, text}};
    const struct sigv4_request r = {.method = "GET",
                                    .path = text,
                                    .query = text,
                                    .headers = {2, headers},
                                    .body_hash = "UNSIGNED-PAYLOAD",
                                    .region = "r",
                                    .service = "s",
                                    .date = "20150830T123600Z",
                                    .access_key = "k",
                                    .secret = "s"};
    (void)sigv4_sign(&r, authorization);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weir_test *t = weir_test_new(WEIR_TEST_SERVICE, "aws", NULL);
    char *copy = malloc(size + 1), url[AWS_URL_BYTES * 2];
    struct endpoint e;
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = 0;
    weir_str text = {copy, size};
    try_files(text);
    try_answers(t, text);
    try_signature(text);
    (void)snprintf(url, sizeof url, "http://%s", copy);
    (void)endpoint_split(url, &e);
    (void)endpoint_split(copy, &e);
    free(copy);
    (void)weir_test_free(t);
    return 0;
}
