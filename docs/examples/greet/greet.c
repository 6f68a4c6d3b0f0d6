#include <weir/function.h>

static weir_status greet(weir_call *c)
{
    weir_str name = c->text(c, c->find(c, c->event, "detail.name"));
    if (!name.len)
        return c->fail(c, WEIR_E_REJECT, "NoName", "detail.name is missing");
    c->write(c, "{\"language\":\"C\"");
    c->put_text(c, "greeting", name);
    c->write(c, "}");
    return WEIR_OK;
}
WEIR_FUNCTION(greet);
