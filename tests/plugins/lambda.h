/* tests/plugins/lambda.h: the services that the lambda plugin needs, as its tests offer them. */
#pragma once
#include <weir/testing.h>

#include <unistd.h>

#include <weir/logs.h>
#include <weir/pipeline.h>
#include <weir/shape.h>

static char logged[65536]; /* every line put, "group|stream|text" */
static size_t logged_len;

static inline weir_status logs_put(const weir_logs *l, const char *group, const char *stream,
                                   const weir_log_line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int n = snprintf(logged + logged_len, sizeof logged - logged_len, "%s|%s|%.*s\n", group,
                         stream, (int)lines[i].text.len, lines[i].text.ptr);
        if (n > 0 && (size_t)n < sizeof logged - logged_len)
            logged_len += (size_t)n;
    }
    return WEIR_OK;
}

static inline weir_payload *shape_envelope(const weir_shapes *s, const weir_event *ev)
{
    const weir_host *h = s->base.owner;
    weir_str id = h->get(h, ev, "@id");
    char *text = h->scratch(h, ev->body->len + 256), *data = NULL;
    int n = snprintf(text, ev->body->len + 256,
                     "{\"version\":\"0\",\"id\":\"%.*s\",\"detail-type\":\"%.*s\",\"detail\":%.*s}",
                     (int)id.len, id.ptr, (int)ev->type.len, ev->type.len ? ev->type.ptr : "",
                     (int)ev->body->len, ev->body->ptr);
    weir_payload *p = h->alloc(h, (size_t)n, &data);
    if (p)
        memcpy(data, text, (size_t)n);
    return p;
}

static const weir_logs test_logs = {.base = WEIR_OFFER(WEIR_LOGS), .put = logs_put};
static const weir_shapes test_shapes = {.base = WEIR_OFFER(WEIR_SHAPE), .envelope = shape_envelope};

static inline void give_services(weir_test *t)
{
    static weir_pipeline place = {.base = WEIR_OFFER(WEIR_PIPELINE),
                                  .data_dir = "/nowhere",
                                  .region = "eu-central-1",
                                  .account = "123456789012"};
    static char here[4096];
    place.folder = getcwd(here, sizeof here);
    logged_len = 0;
    logged[0] = 0;
    weir_test_give(t, &test_logs.base);
    weir_test_give(t, &test_shapes.base);
    weir_test_give(t, &place.base);
}

static inline bool was_logged(const char *words)
{
    return strstr(logged, words) != NULL;
}

static inline const char *out_text(weir_test *t, size_t i)
{
    const weir_test_out *o = weir_test_out_of(t, i);
    return o ? weir_test_copy(t, (weir_str){o->event->body->ptr, o->event->body->len}).ptr : "none";
}
