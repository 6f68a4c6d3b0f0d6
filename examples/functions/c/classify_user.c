/* Puts a user's e-mail address in order and says what kind of customer it belongs to. */
#include <weir/function.h>

static bool ends_with(weir_str text, const char *end)
{
    size_t n = strlen(end);
    return text.len >= n && memcmp(text.ptr + text.len - n, end, n) == 0;
}

static weir_str normalise(weir_call *c, weir_str raw)
{
    char *lower = c->scratch(c, raw.len);
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++)
        if (raw.ptr[i] != ' ')
            lower[n++] =
                (char)(raw.ptr[i] >= 'A' && raw.ptr[i] <= 'Z' ? raw.ptr[i] + 32 : raw.ptr[i]);
    return (weir_str){lower, n};
}

static weir_status classify(weir_call *c)
{
    weir_str user = c->find(c, c->event, "detail");
    weir_str email = normalise(c, c->text(c, c->find(c, user, "email")));
    if (!email.len || !memchr(email.ptr, '@', email.len))
        return c->fail(c, WEIR_E_REJECT, "InvalidUser", "no e-mail address: %.*s", (int)email.len,
                       email.ptr);
    if (ends_with(email, "@example.invalid"))
        return WEIR_DROP;
    bool is_education = ends_with(email, ".edu") || ends_with(email, ".ac.uk");
    const char *tier = ends_with(email, "@enterprise.com") ? "enterprise"
                       : is_education                      ? "education"
                                                           : "standard";
    c->log(c, "%.*s is %s", (int)email.len, email.ptr, tier);
    c->write(c, "{");
    c->put_json(c, "id", c->find(c, user, "id"));
    c->put_json(c, "name", c->find(c, user, "name"));
    c->put_text(c, "email", email);
    c->put_text(c, "tier", weir_text(tier));
    for (weir_json_each each = {0}; c->next(c, user, &each);)
        if (!weir_same(each.key, "id") && !weir_same(each.key, "name") &&
            !weir_same(each.key, "email"))
            c->put_each(c, &each);
    c->write(c, "}");
    return WEIR_OK;
}
WEIR_FUNCTION(classify);
