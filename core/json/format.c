/* json/format.c: the formats of JSON Schema 2020-12, section 7.3 of its validation part. */
#include "json/format.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/text.h"
#include "json/regex.h"

struct cursor {
    const char *p, *end;
};

static struct cursor start(weir_str text)
{
    struct cursor c = {text.ptr, text.len ? text.ptr + text.len : text.ptr};
    return c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static bool take(struct cursor *c, const char *set)
{
    if (c->p == c->end || !is_one_of(*c->p, set))
        return false;
    c->p++;
    return true;
}

static bool take_number(struct cursor *c, int digits, int *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++) {
        if (c->p == c->end || !is_digit(*c->p))
            return false;
        *value = *value * 10 + (*c->p++ - '0');
    }
    return true;
}

/* ---- dates ------------------------------------------------------------------------------------ */

static bool take_date(struct cursor *c)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d;
    if (!take_number(c, 4, &y) || !take(c, "-") || !take_number(c, 2, &m) || !take(c, "-") ||
        !take_number(c, 2, &d) || m < 1 || m > 12 || d < 1)
        return false;
    bool is_leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    return d <= days[m - 1] + (m == 2 && is_leap);
}

static bool take_offset(struct cursor *c, int *minutes)
{
    int h, m;
    *minutes = 0;
    if (take(c, "Zz"))
        return true;
    bool is_west = c->p < c->end && *c->p == '-';
    if (!take(c, "+-") || !take_number(c, 2, &h) || !take(c, ":") || !take_number(c, 2, &m) ||
        h > 23 || m > 59)
        return false;
    *minutes = (h * 60 + m) * (is_west ? -1 : 1);
    return true;
}

static bool take_time(struct cursor *c)
{
    int h, m, s, offset;
    if (!take_number(c, 2, &h) || !take(c, ":") || !take_number(c, 2, &m) || !take(c, ":") ||
        !take_number(c, 2, &s) || h > 23 || m > 59 || s > 60)
        return false;
    if (take(c, ".")) {
        const char *from = c->p;
        while (take(c, "0123456789"))
            continue;
        if (c->p == from)
            return false;
    }
    if (!take_offset(c, &offset))
        return false;
    /* A leap second is the last one of a day in UTC. */
    return s < 60 || (h * 60 + m - offset + 2880) % 1440 == 1439;
}

static bool is_date(weir_str text)
{
    struct cursor c = start(text);
    return take_date(&c) && c.p == c.end;
}

static bool is_time(weir_str text)
{
    struct cursor c = start(text);
    return take_time(&c) && c.p == c.end;
}

static bool is_date_time(weir_str text)
{
    struct cursor c = start(text);
    return take_date(&c) && take(&c, "Tt") && take_time(&c) && c.p == c.end;
}

/* Numbers with units that only go on without a gap ("1Y2D" is none); how many are taken. */
static int take_units(struct cursor *c, const char *units)
{
    int count = 0;
    const char *last = NULL;
    while (c->p < c->end && is_digit(*c->p)) {
        while (take(c, "0123456789"))
            continue;
        const char *unit = c->p < c->end && *c->p ? strchr(units, *c->p) : NULL;
        if (!unit || (last && unit != last + 1))
            return -1;
        last = unit;
        c->p++;
        count++;
    }
    return count;
}

/* RFC 3339, appendix A. */
static bool is_duration(weir_str text)
{
    struct cursor c = start(text);
    if (!take(&c, "P"))
        return false;
    struct cursor weeks = c;
    if (take_units(&weeks, "W") == 1 && weeks.p == weeks.end)
        return true;
    int days = take_units(&c, "YMD");
    if (days < 0)
        return false;
    if (!take(&c, "T"))
        return days > 0 && c.p == c.end;
    return take_units(&c, "HMS") > 0 && c.p == c.end;
}

/* ---- hosts ------------------------------------------------------------------------------------ */

static bool is_address(int family, weir_str text)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (!text.len || text.len >= sizeof copy || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return inet_pton(family, copy, address) == 1;
}

static bool is_ipv4(weir_str text)
{
    return is_address(AF_INET, text);
}

static bool is_ipv6(weir_str text)
{
    return is_address(AF_INET6, text);
}

static bool is_label(const char *p, size_t n)
{
    if (n < 1 || n > 63 || p[0] == '-' || p[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_letter(p[i]) && !is_digit(p[i]) && p[i] != '-')
            return false;
    return true;
}

/* RFC 1123, section 2.1. */
static bool is_hostname(weir_str text)
{
    if (!text.len || text.len > 253)
        return false;
    const char *p = text.ptr, *end = p + text.len;
    for (;;) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        if (!is_label(p, (size_t)((dot ? dot : end) - p)))
            return false;
        if (!dot)
            return true;
        p = dot + 1;
    }
}

static bool is_atom(char c, bool is_wide)
{
    return is_letter(c) || is_digit(c) || is_one_of(c, "!#$%&'*+-/=?^_`{|}~") ||
           (is_wide && (signed char)c < 0);
}

static bool is_local_part(weir_str local, bool is_wide)
{
    if (!local.len || local.len > 64)
        return false;
    if (local.len >= 2 && local.ptr[0] == '"' && local.ptr[local.len - 1] == '"') {
        for (size_t i = 1; i + 1 < local.len; i++) {
            if (local.ptr[i] == '\\' && i + 2 < local.len)
                i++;
            else if (local.ptr[i] == '"' || local.ptr[i] == '\\' || local.ptr[i] < ' ')
                return false;
        }
        return true;
    }
    for (size_t i = 0; i < local.len; i++) {
        bool is_dot = local.ptr[i] == '.';
        if (is_dot ? i == 0 || i + 1 == local.len || local.ptr[i - 1] == '.'
                   : !is_atom(local.ptr[i], is_wide))
            return false;
    }
    return true;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" */
static bool is_address_literal(weir_str text)
{
    if (text.len < 2 || text.ptr[0] != '[' || text.ptr[text.len - 1] != ']')
        return false;
    weir_str inside = {text.ptr + 1, text.len - 2};
    if (text_starts(inside, "IPv6:"))
        return is_ipv6((weir_str){inside.ptr + 5, inside.len - 5});
    return is_ipv4(inside);
}

static bool is_wide_host(weir_str text)
{
    if (!text.len || text.len > 253 || text.ptr[0] == '.' || text.ptr[text.len - 1] == '.')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_letter(c) && !is_digit(c) && c != '-' && c != '.' && (signed char)c >= 0)
            return false;
    }
    return true;
}

static bool is_mail(weir_str text, bool is_wide)
{
    const char *at = text.len ? memrchr(text.ptr, '@', text.len) : NULL;
    if (!at)
        return false;
    weir_str local = {text.ptr, (size_t)(at - text.ptr)};
    weir_str domain = {at + 1, text.len - local.len - 1};
    return is_local_part(local, is_wide) &&
           (is_hostname(domain) || is_address_literal(domain) || (is_wide && is_wide_host(domain)));
}

static bool is_email(weir_str text)
{
    return is_mail(text, false);
}

static bool is_idn_email(weir_str text)
{
    return is_mail(text, true);
}

/* ---- addresses of resources ------------------------------------------------------------------- */

/* RFC 3986: unreserved, sub-delims, ":" and "@", whole escapes, and of `more`; RFC 3987 adds what is
 * not ASCII. */
static bool are_path_chars(const char *p, const char *end, const char *more, bool is_wide)
{
    for (; p < end; p++) {
        if (*p == '%') {
            if (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
                return false;
            p += 2;
        } else if (!is_letter(*p) && !is_digit(*p) && !is_one_of(*p, "-._~!$&'()*+,;=:@") &&
                   !is_one_of(*p, more) && !(is_wide && (signed char)*p < 0))
            return false;
    }
    return true;
}

static const char *find_any(const char *p, const char *end, const char *set)
{
    while (p < end && !is_one_of(*p, set))
        p++;
    return p;
}

/* [userinfo@]host[:port], host perhaps an address in brackets. */
static bool is_authority(const char *p, const char *end, bool is_wide)
{
    const char *at = p < end ? memrchr(p, '@', (size_t)(end - p)) : NULL;
    if (at) {
        if (memchr(p, '@', (size_t)(at - p)) || !are_path_chars(p, at, "", is_wide))
            return false;
        p = at + 1;
    }
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));
        if (!close || !(is_ipv6((weir_str){p + 1, (size_t)(close - p - 1)}) || p[1] == 'v'))
            return false;
        p = close + 1;
        if (p < end && *p != ':')
            return false;
    }
    const char *colon = find_any(p, end, ":");
    if (find_any(p, colon, "@") != colon || !are_path_chars(p, colon, "", is_wide))
        return false;
    for (p = colon < end ? colon + 1 : end; p < end; p++)
        if (!is_digit(*p))
            return false;
    return true;
}

static const char *scheme_end(const char *p, const char *end)
{
    if (p == end || !is_letter(*p))
        return NULL;
    while (p < end && (is_letter(*p) || is_digit(*p) || is_one_of(*p, "+-.")))
        p++;
    return p < end && *p == ':' ? p : NULL;
}

static bool is_resource(weir_str text, bool needs_scheme, bool is_wide)
{
    const char *p = text.ptr, *end = text.len ? p + text.len : p, *colon = scheme_end(p, end);
    if (needs_scheme && !colon)
        return false;
    if (colon)
        p = colon + 1;
    if (end - p >= 2 && p[0] == '/' && p[1] == '/') {
        const char *path = find_any(p + 2, end, "/?#");
        if (!is_authority(p + 2, path, is_wide))
            return false;
        p = path;
    } else if (!colon) {
        /* Without a scheme the first segment must not look like one. */
        const char *segment = find_any(p, end, "/?#");
        if (find_any(p, segment, ":") != segment)
            return false;
    }
    const char *query = find_any(p, end, "?#"), *fragment = find_any(query, end, "#");
    return are_path_chars(p, query, "/", is_wide) &&
           are_path_chars(query, fragment, "/?", is_wide) &&
           (fragment == end || are_path_chars(fragment + 1, end, "/?", is_wide));
}

static bool is_uri(weir_str text)
{
    return is_resource(text, true, false);
}

static bool is_uri_reference(weir_str text)
{
    return is_resource(text, false, false);
}

static bool is_iri(weir_str text)
{
    return is_resource(text, true, true);
}

static bool is_iri_reference(weir_str text)
{
    return is_resource(text, false, true);
}

/* ---- the rest --------------------------------------------------------------------------------- */

static bool is_uuid(weir_str text)
{
    if (text.len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? text.ptr[i] != '-' : !is_hex(text.ptr[i]))
            return false;
    }
    return true;
}

static bool is_json_pointer(weir_str text)
{
    if (text.len && text.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '~' && (i + 1 == text.len || !is_one_of(text.ptr[i + 1], "01")))
            return false;
    return true;
}

static bool is_relative_json_pointer(weir_str text)
{
    size_t n = 0;
    while (n < text.len && is_digit(text.ptr[n]))
        n++;
    if (!n || (n > 1 && text.ptr[0] == '0'))
        return false;
    weir_str rest = {text.ptr + n, text.len - n};
    return weir_same(rest, "#") || is_json_pointer(rest);
}

static const struct format formats[] = {
    {"date-time", "must be a date and time such as 2024-05-06T07:08:09Z", is_date_time},
    {"date", "must be a date such as 2024-05-06", is_date},
    {"time", "must be a time with its offset such as 07:08:09Z", is_time},
    {"duration", "must be a duration such as PT1H30M", is_duration},
    {"email", "must be an e-mail address", is_email},
    {"idn-email", "must be an e-mail address", is_idn_email},
    {"hostname", "must be a host name", is_hostname},
    {"ipv4", "must be an IPv4 address", is_ipv4},
    {"ipv6", "must be an IPv6 address", is_ipv6},
    {"uri", "must be a URI such as https://example.com/", is_uri},
    {"uri-reference", "must be a URI or a path", is_uri_reference},
    {"iri", "must be an IRI such as https://example.com/", is_iri},
    {"iri-reference", "must be an IRI or a path", is_iri_reference},
    {"uuid", "must be a UUID", is_uuid},
    {"json-pointer", "must be a JSON pointer such as /a/0", is_json_pointer},
    {"relative-json-pointer", "must be a relative JSON pointer", is_relative_json_pointer},
    {"regex", "must be a regular expression", regex_is_valid},
};

const struct format *format_find(weir_str name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (weir_same(name, formats[i].name))
            return &formats[i];
    return NULL;
}

const char *format_nearest(const char *name)
{
    const char *names[sizeof formats / sizeof *formats + 1] = {NULL};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        names[i] = formats[i].name;
    return text_nearest(name, names);
}
