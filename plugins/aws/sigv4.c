/* aws/sigv4.c: Signature Version 4, as "Create a signed AWS API request" in the IAM User Guide has it. */
#include "sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DIGEST_BYTES = 32, PATH_SEGMENTS_MAX = 256, NS_PER_S = 1000000000 };
static const char algorithm[] = "AWS4-HMAC-SHA256";

struct hasher {
    EVP_MD_CTX *ctx;
};

static void put(struct hasher *h, const void *bytes, size_t n)
{
    (void)EVP_DigestUpdate(h->ctx, bytes, n);
}

static void put_text(struct hasher *h, const char *text)
{
    put(h, text, strlen(text));
}

static void hex_of(const unsigned char *bytes, size_t n, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * n] = 0;
}

void sigv4_hash(weir_str bytes, char hash[SIGV4_HASH_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    (void)EVP_Digest(bytes.len ? bytes.ptr : "", bytes.len, digest, &n, EVP_sha256(), NULL);
    hex_of(digest, DIGEST_BYTES, hash);
}

void sigv4_date(int64_t time_ns, char date[SIGV4_DATE_BYTES])
{
    time_t seconds = (time_t)(time_ns / NS_PER_S);
    struct tm parts = {0};
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(date, SIGV4_DATE_BYTES, "%Y%m%dT%H%M%SZ", &parts);
}

/* ---- the path --------------------------------------------------------------------------------- */

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* Everything but letters, digits, - . _ ~ as %XX; `kept` stays as it is besides. */
static void put_encoded(struct hasher *h, weir_str text, char kept)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (is_unreserved(c) || (kept && text.ptr[i] == kept))
            put(h, &c, 1);
        else
            put(h, escape, sizeof escape);
    }
}

/* Dot segments and doubled slashes go; a slash at the end stays. What is left is encoded once more, as
 * every service but S3 wants it. */
static bool put_path(struct hasher *h, weir_str path)
{
    weir_str segments[PATH_SEGMENTS_MAX];
    size_t count = 0, at = 0;
    bool has_end_slash = false;
    while (at < path.len) {
        while (at < path.len && path.ptr[at] == '/')
            at++;
        size_t from = at;
        while (at < path.len && path.ptr[at] != '/')
            at++;
        weir_str s = {path.ptr + from, at - from};
        has_end_slash = at < path.len || !s.len;
        if (weir_same(s, "..")) {
            count -= count > 0;
        } else if (s.len && !weir_same(s, ".")) {
            if (count == PATH_SEGMENTS_MAX)
                return false;
            segments[count++] = s;
        }
    }
    if (!count)
        put_text(h, "/");
    for (size_t i = 0; i < count; i++) {
        put_text(h, "/");
        put_encoded(h, segments[i], 0);
    }
    if (count && has_end_slash)
        put_text(h, "/");
    return true;
}

/* ---- the query -------------------------------------------------------------------------------- */

struct parameter {
    weir_str name, value;
};

static int compare_text(weir_str a, weir_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int by = n ? memcmp(a.ptr, b.ptr, n) : 0;
    if (by)
        return by;
    return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_parameters(const void *a, const void *b)
{
    const struct parameter *x = a, *y = b;
    int by = compare_text(x->name, y->name);
    return by ? by : compare_text(x->value, y->value);
}

static bool put_query(struct hasher *h, weir_str query)
{
    struct parameter p[SIGV4_PARAMETERS_MAX];
    size_t count = 0;
    for (size_t at = 0; at < query.len;) {
        const char *from = query.ptr + at;
        const char *end = memchr(from, '&', query.len - at);
        size_t n = end ? (size_t)(end - from) : query.len - at;
        const char *equals = memchr(from, '=', n);
        size_t name = equals ? (size_t)(equals - from) : n;
        at += n + 1;
        if (!n)
            continue;
        if (count == SIGV4_PARAMETERS_MAX)
            return false;
        p[count++] =
            (struct parameter){{from, name},
                               {from + name + (equals != NULL), n - name - (equals != NULL)}};
    }
    if (count)
        qsort(p, count, sizeof *p, compare_parameters);
    for (size_t i = 0; i < count; i++) {
        put_text(h, i ? "&" : "");
        put_encoded(h, p[i].name, '%'); /* what is escaped on the wire is not escaped twice */
        put_text(h, "=");
        put_encoded(h, p[i].value, '%');
    }
    return true;
}

/* ---- headers ---------------------------------------------------------------------------------- */

struct header {
    const weir_attr *attr;
    size_t place; /* headers of one name stay in their order */
};

static char lower(char c)
{
    static const char small[] = "abcdefghijklmnopqrstuvwxyz";
    if (c >= 'A' && c <= 'Z')
        return small[c - 'A'];
    return c;
}

static int compare_names(weir_str a, weir_str b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return (unsigned char)lower(a.ptr[i]) < (unsigned char)lower(b.ptr[i]) ? -1 : 1;
    return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_headers(const void *a, const void *b)
{
    const struct header *x = a, *y = b;
    int by = compare_names(x->attr->key, y->attr->key);
    return by ? by : (x->place > y->place) - (x->place < y->place);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Trimmed, and every run of white space as one space. */
static void put_value(struct hasher *h, weir_str value)
{
    bool is_due = false, is_begun = false;
    for (size_t i = 0; i < value.len; i++) {
        if (is_space(value.ptr[i])) {
            is_due = is_begun;
            continue;
        }
        if (is_due)
            put_text(h, " ");
        put(h, &value.ptr[i], 1);
        is_begun = true;
        is_due = false;
    }
}

static bool is_same_name(const struct header *all, size_t i)
{
    return i && compare_names(all[i].attr->key, all[i - 1].attr->key) == 0;
}

static void put_headers(struct hasher *h, const struct header *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool is_more = is_same_name(all, i);
        put_text(h, is_more ? "," : i ? "\n" : "");
        for (size_t k = 0; !is_more && k < all[i].attr->key.len; k++) {
            char c = lower(all[i].attr->key.ptr[k]);
            put(h, &c, 1);
        }
        put_text(h, is_more ? "" : ":");
        put_value(h, all[i].attr->value);
    }
    put_text(h, "\n");
}

static bool name_headers(const struct header *all, size_t count, char *names, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_same_name(all, i))
            continue;
        if (n + all[i].attr->key.len + 2 > room)
            return false;
        if (n)
            names[n++] = ';';
        for (size_t k = 0; k < all[i].attr->key.len; k++)
            names[n++] = lower(all[i].attr->key.ptr[k]);
    }
    names[n] = 0;
    return true;
}

/* ---- the signature ---------------------------------------------------------------------------- */

static bool hash_request(const struct sigv4_request *r, const struct header *headers,
                         const char *names, char hash[SIGV4_HASH_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct hasher h = {EVP_MD_CTX_new()};
    bool ok = h.ctx && EVP_DigestInit_ex(h.ctx, EVP_sha256(), NULL) == 1;
    if (ok) {
        put_text(&h, r->method);
        put_text(&h, "\n");
        ok = put_path(&h, r->path);
        put_text(&h, "\n");
        ok = ok && put_query(&h, r->query);
        put_text(&h, "\n");
        put_headers(&h, headers, r->headers.count);
        put_text(&h, "\n");
        put_text(&h, names);
        put_text(&h, "\n");
        put_text(&h, r->body_hash);
        ok = ok && EVP_DigestFinal_ex(h.ctx, digest, NULL) == 1;
    }
    if (ok)
        hex_of(digest, DIGEST_BYTES, hash);
    EVP_MD_CTX_free(h.ctx);
    return ok;
}

static bool keyed(const void *key, size_t key_len, const char *text, unsigned char *out)
{
    unsigned n = DIGEST_BYTES;
    return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), out,
                &n) != NULL;
}

static bool derive(const struct sigv4_request *r, unsigned char key[DIGEST_BYTES])
{
    char first[512], day[9] = "";
    unsigned char a[DIGEST_BYTES], b[DIGEST_BYTES];
    int n = snprintf(first, sizeof first, "AWS4%s", r->secret);
    memcpy(day, r->date, 8);
    bool ok = n > 0 && (size_t)n < sizeof first && keyed(first, (size_t)n, day, a) &&
              keyed(a, sizeof a, r->region, b) && keyed(b, sizeof b, r->service, a) &&
              keyed(a, sizeof a, "aws4_request", key);
    OPENSSL_cleanse(first, sizeof first);
    OPENSSL_cleanse(a, sizeof a);
    OPENSSL_cleanse(b, sizeof b);
    return ok;
}

bool sigv4_sign(const struct sigv4_request *r, char authorization[SIGV4_AUTHORIZATION_BYTES])
{
    struct header headers[SIGV4_HEADERS_MAX];
    char names[2048], scope[256], hash[SIGV4_HASH_BYTES], text[512], signature[SIGV4_HASH_BYTES];
    unsigned char key[DIGEST_BYTES], mac[DIGEST_BYTES];
    if (r->headers.count > SIGV4_HEADERS_MAX || strlen(r->date) != SIGV4_DATE_BYTES - 1)
        return false;
    for (size_t i = 0; i < r->headers.count; i++)
        headers[i] = (struct header){&r->headers.items[i], i};
    qsort(headers, r->headers.count, sizeof *headers, compare_headers);
    int n =
        snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", r->date, r->region, r->service);
    if (n < 0 || (size_t)n >= sizeof scope ||
        !name_headers(headers, r->headers.count, names, sizeof names) ||
        !hash_request(r, headers, names, hash))
        return false;
    (void)snprintf(text, sizeof text, "%s\n%s\n%s\n%s", algorithm, r->date, scope, hash);
    bool ok = derive(r, key) && keyed(key, sizeof key, text, mac);
    OPENSSL_cleanse(key, sizeof key);
    if (!ok)
        return false;
    hex_of(mac, sizeof mac, signature);
    n = snprintf(authorization, SIGV4_AUTHORIZATION_BYTES,
                 "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", algorithm, r->access_key,
                 scope, names, signature);
    return n > 0 && n < SIGV4_AUTHORIZATION_BYTES;
}
