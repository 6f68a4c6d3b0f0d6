/* functions/process_user.c: makes of a UserCreated event the user that others work with.
 *
 * The e-mail address is trimmed and in lower case, and its domain decides the tier:
 *   enterprise   a business customer's domain, listed below, or one under it
 *   education    .edu, .ac.<country>, .edu.<country>
 *   standard     all others
 * The user's id is the event's. Every other field of the detail is kept as it is. */
#include <weir/function.h>

static const char *const business[] = {"enterprise.com", "acme.com", "globex.com", "initech.com"};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static weir_str normalise(weir_call *c, weir_str raw)
{
    while (raw.len && is_space(raw.ptr[0]))
        raw.ptr++, raw.len--;
    while (raw.len && is_space(raw.ptr[raw.len - 1]))
        raw.len--;
    char *lower = c->scratch(c, raw.len + 1);
    for (size_t i = 0; i < raw.len; i++)
        lower[i] = (char)(raw.ptr[i] >= 'A' && raw.ptr[i] <= 'Z' ? raw.ptr[i] | 0x20 : raw.ptr[i]);
    return (weir_str){lower, raw.len};
}

/* Is `domain` the same as `name`, or under it? */
static bool is_within(weir_str domain, const char *name)
{
    size_t n = strlen(name);
    if (domain.len < n || memcmp(domain.ptr + domain.len - n, name, n) != 0)
        return false;
    return domain.len == n || domain.ptr[domain.len - n - 1] == '.';
}

static bool is_education(weir_str domain)
{
    if (is_within(domain, "edu"))
        return true;
    if (domain.len < 3 || domain.ptr[domain.len - 3] != '.')
        return false;
    domain.len -= 3; /* a country's two letters and the dot */
    return is_within(domain, "ac") || is_within(domain, "edu");
}

static const char *tier_of(weir_str email)
{
    const char *at = memrchr(email.ptr, '@', email.len);
    weir_str domain = {at + 1, email.len - (size_t)(at + 1 - email.ptr)};
    for (size_t i = 0; i < sizeof business / sizeof *business; i++)
        if (is_within(domain, business[i]))
            return "enterprise";
    return is_education(domain) ? "education" : "standard";
}

static bool is_address(weir_str email)
{
    const char *at = email.len ? memrchr(email.ptr, '@', email.len) : NULL;
    return at && at > email.ptr && at + 1 < email.ptr + email.len;
}

static weir_status process_user(weir_call *c)
{
    weir_str detail = c->find(c, c->event, "detail");
    weir_str name = c->find(c, detail, "name"), raw = c->find(c, detail, "email");
    if (c->kind(c, name) != WEIR_JSON_TEXT || c->kind(c, raw) != WEIR_JSON_TEXT)
        return c->fail(c, WEIR_E_REJECT, "InvalidUser", "detail needs the texts name and email");
    weir_str email = normalise(c, c->text(c, raw));
    if (!is_address(email))
        return c->fail(c, WEIR_E_REJECT, "InvalidUser", "detail.email is not an e-mail address");
    c->write(c, "{");
    c->put_json(c, "id", c->find(c, c->event, "id"));
    c->put_json(c, "name", name);
    c->put_text(c, "email", email);
    c->put_text(c, "tier", weir_text(tier_of(email)));
    for (weir_json_each each = {0}; c->next(c, detail, &each);)
        if (!weir_same(each.key, "id") && !weir_same(each.key, "name") &&
            !weir_same(each.key, "email") && !weir_same(each.key, "tier"))
            c->put_each(c, &each);
    c->write(c, "}");
    return WEIR_OK;
}
WEIR_FUNCTION(process_user);
