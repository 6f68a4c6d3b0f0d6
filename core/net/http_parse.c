/* net/http_parse.c: a strict parser of HTTP/1.1 heads and chunked bodies. */
#include "net/http_parse.h"

#include <string.h>

#include "base/text.h"

/* ---- classes of characters: one bit for each of ASCII ---- */

/* Letters, digits, !#$%&'*+-.^_`|~ (RFC 9110, 5.6.2). */
static const uint64_t token_bits[2] = {0x03ff6cfa00000000, 0x57ffffffc7fffffe};
/* pchar and '/' (RFC 3986), and what browsers leave unescaped besides: [ ] | */
static const uint64_t path_bits[2] = {0x2ffffff200000000, 0x57fffffeafffffff};
/* The same with '?', and what browsers leave unescaped in queries: { } \ ^ ` */
static const uint64_t query_bits[2] = {0xaffffff200000000, 0x7fffffffffffffff};
/* uri-host with its port. */
static const uint64_t host_bits[2] = {0x2fff7ff200000000, 0x47fffffeaffffffe};

static bool is_in(const uint64_t bits[2], char c)
{
    unsigned char u = (unsigned char)c;
    return u < 128 && (bits[u >> 6] >> (u & 63) & 1);
}

static bool is_all(const uint64_t bits[2], weir_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_in(bits, s.ptr[i]))
            return false;
    return true;
}

static bool is_value(char c)
{
    unsigned char u = (unsigned char)c;
    return (u >= ' ' && u != 127) || u == '\t';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* ---- where a head ends ---- */

static int refuse_end(int status, const char *reason, const char **why)
{
    *why = reason;
    return -status;
}

int http_parse_end(const char *bytes, size_t n, size_t *scanned, const char **why)
{
    size_t limit = n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX;
    while (*scanned < limit) {
        const char *lf = memchr(bytes + *scanned, '\n', limit - *scanned);
        if (!lf)
            break;
        size_t at = (size_t)(lf - bytes);
        if (at == 0 || bytes[at - 1] != '\r')
            return refuse_end(400, "a line ends without CR", why);
        *scanned = at + 1;
        if (at >= 3 && bytes[at - 2] == '\n')
            return (int)(at + 1);
        if (at == 1)
            return refuse_end(400, "the head is empty", why);
    }
    if (n < HTTP_HEAD_MAX)
        return 0;
    if (*scanned == 0)
        return refuse_end(414, "the target is too long", why);
    return refuse_end(431, "the head is over 16 KiB", why);
}

/* ---- the request line ---- */

static int refuse(struct http_head *h, int status, const char *reason)
{
    h->why = reason;
    return status;
}

static bool is_escaped_well(weir_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%')
            continue;
        if (s.len - i < 3 || hex_value(s.ptr[i + 1]) < 0 || hex_value(s.ptr[i + 2]) < 0 ||
            (s.ptr[i + 1] == '0' && s.ptr[i + 2] == '0'))
            return false;
    }
    return true;
}

/* absolute-form: the authority is dropped, since Host has to be there and counts no less. */
static bool drop_authority(weir_str *target)
{
    size_t skip = 0;
    if (target->len > 7 && text_same_fold((weir_str){target->ptr, 7}, "http://"))
        skip = 7;
    else if (target->len > 8 && text_same_fold((weir_str){target->ptr, 8}, "https://"))
        skip = 8;
    if (!skip)
        return false;
    size_t end = skip;
    while (end < target->len && is_in(host_bits, target->ptr[end]))
        end++;
    if (end == skip)
        return false;
    *target = (weir_str){target->ptr + end, target->len - end};
    return true;
}

static int split_target(struct http_head *h, weir_str target)
{
    if (target.len > HTTP_TARGET_MAX)
        return refuse(h, 414, "the target is over 8 KiB");
    if (target.len == 1 && target.ptr[0] == '*' && strcmp(h->method, "OPTIONS") == 0) {
        h->path = target;
        return 0;
    }
    bool is_absolute = target.ptr[0] != '/' && drop_authority(&target);
    const char *mark = target.len ? memchr(target.ptr, '?', target.len) : NULL;
    h->path = (weir_str){target.ptr, mark ? (size_t)(mark - target.ptr) : target.len};
    if (mark)
        h->query = (weir_str){mark + 1, target.len - h->path.len - 1};
    if (h->path.len == 0 && is_absolute)
        h->path = weir_text("/");
    if (h->path.len == 0 || h->path.ptr[0] != '/')
        return refuse(h, 400, "the target is neither a path nor an http URL");
    if (!is_all(path_bits, h->path) || !is_all(query_bits, h->query))
        return refuse(h, 400, "the target has a character that must be escaped");
    if (!is_escaped_well(h->path) || !is_escaped_well(h->query))
        return refuse(h, 400, "the target has a malformed escape");
    return 0;
}

static int read_version(struct http_head *h, weir_str s)
{
    if (s.len != 8 || memcmp(s.ptr, "HTTP/", 5) != 0 || s.ptr[6] != '.' || s.ptr[5] < '0' ||
        s.ptr[5] > '9' || s.ptr[7] < '0' || s.ptr[7] > '9')
        return refuse(h, 400, "the request line has no HTTP version");
    if (s.ptr[5] != '1')
        return refuse(h, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    h->minor = s.ptr[7] == '0' ? 0 : 1;
    h->keeps_alive = h->minor == 1;
    return 0;
}

/* `line` is writable and ends before its CR. */
static int read_request_line(struct http_head *h, char *line, size_t n)
{
    char *space = memchr(line, ' ', n);
    if (!space || space == line)
        return refuse(h, 400, "the request line has no method");
    weir_str method = {line, (size_t)(space - line)};
    if (!is_all(token_bits, method))
        return refuse(h, 400, "the method has a character that no method has");
    if (method.len > HTTP_METHOD_MAX)
        return refuse(h, 501, "the method is not known");
    char *target = space + 1, *end = line + n;
    char *second = memchr(target, ' ', (size_t)(end - target));
    if (!second || second == target)
        return refuse(h, 400, "the request line has no target or no version");
    *space = 0;
    h->method = line;
    int status = read_version(h, (weir_str){second + 1, (size_t)(end - second - 1)});
    if (!status)
        status = split_target(h, (weir_str){target, (size_t)(second - target)});
    if (h->query.ptr)
        ((char *)target)[h->query.ptr - 1 - target] = 0;
    *second = 0;
    return status;
}

/* ---- the fields ---- */

static int read_field(struct http_head *h, char *line, size_t n)
{
    if (h->header_count == HTTP_HEADERS_MAX)
        return refuse(h, 431, "there are more than 100 fields");
    if (is_blank(line[0]))
        return refuse(h, 400, "a field is folded over two lines");
    size_t at = 0;
    while (at < n && is_in(token_bits, line[at])) {
        if (line[at] >= 'A' && line[at] <= 'Z')
            line[at] = (char)(line[at] | 32);
        at++;
    }
    if (at == 0 || at == n || line[at] != ':')
        return refuse(h, 400, "a field's name is not followed by a colon");
    weir_str name = {line, at}, value;
    line[at++] = 0;
    while (at < n && is_blank(line[at]))
        at++;
    while (n > at && is_blank(line[n - 1]))
        n--;
    value = (weir_str){line + at, n - at};
    for (size_t i = 0; i < value.len; i++)
        if (!is_value(value.ptr[i]))
            return refuse(h, 400, "a field has a control character");
    line[n] = 0;
    h->headers[h->header_count++] = (weir_attr){name, value};
    return 0;
}

struct framing { /* what the fields say of the message itself */
    weir_str host, transfer_encoding;
    unsigned hosts, lengths, transfer_encodings;
};

static void read_connection(struct http_head *h, weir_str list)
{
    while (list.len) {
        size_t n = 0;
        while (n < list.len && list.ptr[n] != ',')
            n++;
        weir_str word = {list.ptr, n};
        while (word.len && is_blank(word.ptr[0]))
            word = (weir_str){word.ptr + 1, word.len - 1};
        while (word.len && is_blank(word.ptr[word.len - 1]))
            word.len--;
        if (text_same_fold(word, "close"))
            h->keeps_alive = false;
        else if (h->minor == 0 && text_same_fold(word, "keep-alive"))
            h->keeps_alive = true;
        size_t used = n < list.len ? n + 1 : n;
        list = (weir_str){list.ptr + used, list.len - used};
    }
}

static void read_request_id(struct http_head *h, weir_str value)
{
    if (h->request_id.ptr) /* the first one counts */
        return;
    h->request_id.ptr = value.ptr;
    if (value.len > 128)
        return;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] <= ' ' || value.ptr[i] > '~')
            return;
    h->request_id = value;
}

static int read_meaning(struct http_head *h, struct framing *f, const weir_attr *field)
{
    weir_str name = field->key, value = field->value;
    switch (name.len) {
    case 4:
        if (memcmp(name.ptr, "host", 4) == 0)
            f->host = value, f->hosts++;
        break;
    case 6:
        if (memcmp(name.ptr, "expect", 6) == 0) {
            if (!text_same_fold(value, "100-continue"))
                return refuse(h, 417, "only Expect: 100-continue is known");
            h->expects_continue = h->minor == 1;
        }
        break;
    case 10:
        if (memcmp(name.ptr, "connection", 10) == 0)
            read_connection(h, value);
        break;
    case 12:
        if (memcmp(name.ptr, "x-request-id", 12) == 0)
            read_request_id(h, value);
        break;
    case 14:
        if (memcmp(name.ptr, "content-length", 14) != 0)
            break;
        if (f->lengths++ || !text_to_u64(value, &h->length))
            return refuse(h, 400, "Content-Length is not one number");
        h->has_length = true;
        break;
    case 17:
        if (memcmp(name.ptr, "transfer-encoding", 17) == 0)
            f->transfer_encoding = value, f->transfer_encodings++;
        break;
    default:
        break;
    }
    return 0;
}

static int check_framing(struct http_head *h, const struct framing *f)
{
    if (f->hosts > 1 || (f->hosts == 0 && h->minor == 1))
        return refuse(h, 400, "there is not exactly one Host");
    if (!is_all(host_bits, f->host))
        return refuse(h, 400, "Host is not a host");
    if (!f->transfer_encodings)
        return 0;
    if (f->lengths)
        return refuse(h, 400, "there are both Content-Length and Transfer-Encoding");
    if (f->transfer_encodings > 1 || h->minor == 0)
        return refuse(h, 400, "Transfer-Encoding is not one field of HTTP/1.1");
    if (!text_same_fold(f->transfer_encoding, "chunked"))
        return refuse(h, 501, "the only transfer coding known here is chunked");
    h->is_chunked = true;
    return 0;
}

int http_parse_head(struct http_head *h, char *bytes, size_t n)
{
    struct framing framing = {0};
    char *end = bytes + n - 2, *line = bytes; /* without the empty line */
    h->method = "";
    h->path = h->query = h->request_id = (weir_str){NULL, 0};
    h->header_count = 0;
    h->length = 0;
    h->minor = 1;
    h->has_length = h->is_chunked = h->keeps_alive = h->expects_continue = false;
    h->why = NULL;
    while (line < end) {
        char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)(lf - line) - 1;
        size_t before = h->header_count;
        int status = line == bytes ? read_request_line(h, line, len) : read_field(h, line, len);
        if (!status && h->header_count > before)
            status = read_meaning(h, &framing, &h->headers[before]);
        if (status)
            return status;
        line = lf + 1;
    }
    return check_framing(h, &framing);
}

/* ---- chunked bodies ---- */

enum {
    CHUNK_SIZE, /* the first digit, or a further one */
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    CHUNKS_LF,
    CHUNKS_DONE
};
enum { OVERHEAD_MAX = HTTP_HEAD_MAX };

bool http_chunks_is_done(const struct http_chunks *c)
{
    return c->state == CHUNKS_DONE;
}

static int take_size(struct http_chunks *c, char b)
{
    int digit = hex_value(b);
    if (digit >= 0) {
        c->left = c->left << 4 | (uint64_t)digit;
        return ++c->digits > 15 ? -400 : 0;
    }
    if (c->digits == 0 || (b != '\r' && b != ';'))
        return -400;
    c->state = b == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    return 0;
}

static int take_trailer(struct http_chunks *c, char b)
{
    if (++c->overhead > OVERHEAD_MAX)
        return -431;
    if (c->state == TRAILER_START) {
        c->state = b == '\r' ? CHUNKS_LF : TRAILER_NAME;
        return b == '\r' || is_in(token_bits, b) ? 0 : -400;
    }
    if (c->state == TRAILER_NAME) {
        if (b == ':')
            c->state = TRAILER_VALUE;
        return b == ':' || is_in(token_bits, b) ? 0 : -400;
    }
    if (b == '\r')
        c->state = TRAILER_LF;
    return b == '\r' || is_value(b) ? 0 : -400;
}

static int take_byte(struct http_chunks *c, char b)
{
    switch (c->state) {
    case CHUNK_SIZE:
        return take_size(c, b);
    case CHUNK_EXTENSION:
        if (++c->overhead > OVERHEAD_MAX)
            return -431;
        if (b == '\r')
            c->state = CHUNK_SIZE_LF;
        return b == '\r' || is_value(b) ? 0 : -400;
    case CHUNK_SIZE_LF:
        c->state = c->left ? CHUNK_DATA : TRAILER_START;
        return b == '\n' ? 0 : -400;
    case CHUNK_DATA_CR:
        c->state = CHUNK_DATA_LF;
        return b == '\r' ? 0 : -400;
    case CHUNK_DATA_LF:
        c->state = CHUNK_SIZE;
        c->digits = 0;
        return b == '\n' ? 0 : -400;
    case TRAILER_LF:
        c->state = TRAILER_START;
        return b == '\n' ? 0 : -400;
    case CHUNKS_LF:
        c->state = CHUNKS_DONE;
        return b == '\n' ? 0 : -400;
    default:
        return take_trailer(c, b);
    }
}

int64_t http_chunks_feed(struct http_chunks *c, weir_str in, weir_str *data)
{
    size_t at = 0;
    *data = (weir_str){in.ptr, 0};
    while (at < in.len && c->state != CHUNK_DATA && c->state != CHUNKS_DONE) {
        int refused = take_byte(c, in.ptr[at++]);
        if (refused)
            return refused;
    }
    if (at < in.len && c->state == CHUNK_DATA) {
        size_t n = in.len - at < c->left ? in.len - at : (size_t)c->left;
        *data = (weir_str){in.ptr + at, n};
        c->left -= n;
        at += n;
        if (c->left == 0)
            c->state = CHUNK_DATA_CR;
    }
    return (int64_t)at;
}
