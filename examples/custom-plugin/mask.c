/* mask.c: a transform that hides members of the body: {"card": "4111"} becomes {"card": "***"}. */
#include <weir/json.h>

struct mask {
    weir_strings paths;
    const char *with;
    const weir_jsons *json;
};

static weir_status mask_event(void *self, const weir_host *h, weir_event *ev)
{
    const struct mask *m = self;
    weir_str with = m->json->quote(m->json, weir_text(m->with));
    for (size_t i = 0; i < m->paths.count; i++) {
        weir_str body = {ev->body->ptr, ev->body->len};
        weir_str old = m->json->find(m->json, body, m->paths.items[i]);
        if (!old.ptr)
            continue;
        char *data = NULL;
        weir_payload *masked = h->alloc(h, body.len - old.len + with.len, &data);
        if (!masked)
            return WEIR_E_RETRY;
        size_t before = (size_t)(old.ptr - body.ptr), after = before + old.len;
        memcpy(data, body.ptr, before);
        memcpy(data + before, with.ptr, with.len);
        memcpy(data + before + with.len, body.ptr + after, body.len - after);
        h->set_body(h, ev, masked);
    }
    return WEIR_OK;
}

static const weir_option options[] = {
    WEIR_NEED(struct mask, json, WEIR_JSON),
    WEIR_OPTION(struct mask, paths, .required = true, .help = "What to hide, such as card.number."),
    WEIR_OPTION(struct mask, with, .preset = "***", .help = "What is there instead."),
    {0},
};

static const weir_component mask = {
    .name = "mask",
    .version = "1.0",
    .summary = "Hides members of the body.",
    .state_size = sizeof(struct mask),
    .options = options,
    .event = mask_event,
};
WEIR_PLUGIN(&mask);
