/* generator/generator.c: a source that makes events, for trials, demonstrations and measurements. */
#include <stdio.h>

#include <weir/json.h>

enum {
    BATCH_MAX = 1024,
    NUMBER_MAX = 28 /* {"n":18446744073709551615, */
};
#define SECOND_NS 1000000000.0
#define NAP_NS    INT64_C(1000000) /* events of a high rate come together, once in this time */

struct generator {
    weir_json body;
    bool numbered;
    int64_t count, keys, batch_size;
    double rate;
    weir_duration interval;
    const char *source, *type;
    double gap_ns; /* between two events; 0: as fast as they go */
    uint64_t made;
    int64_t began_ns; /* when the event number `began` was due */
    uint64_t began;
    weir_payload *shared; /* the body of all events */
    bool is_object;       /* the body is one with members, so a number fits into it */
    weir_metric *failed;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The body without its opening brace; len 0 where a number stands alone. */
static weir_str members_of(weir_json body)
{
    size_t at = 0;
    while (at < body.len && is_space(body.ptr[at]))
        at++;
    if (at == body.len || body.ptr[at] != '{')
        return (weir_str){NULL, 0};
    do
        at++;
    while (at < body.len && is_space(body.ptr[at]));
    if (at == body.len || body.ptr[at] == '}')
        return (weir_str){NULL, 0};
    return (weir_str){body.ptr + at, body.len - at};
}

static weir_status generator_check(const void *self, const weir_host *h)
{
    const struct generator *g = self;
    if (g->rate > 0 && g->interval.ns > 0)
        return h->refuse(h, &g->interval, 0, "either rate or interval, not both; leave one out");
    if (g->numbered && g->body.len && g->body.ptr[0] != '{')
        return h->refuse(h, &g->body, 0, "with numbered, the body has to be an object");
    return WEIR_OK;
}

static weir_status generator_start(void *self, const weir_host *h)
{
    struct generator *g = self;
    g->gap_ns = g->rate > 0 ? SECOND_NS / g->rate : (double)g->interval.ns;
    g->began_ns = h->now(h);
    g->is_object = members_of(g->body).len > 0;
    g->failed = h->metric(h, WEIR_COUNTER, "failed", "Generated events that failed further down.");
    return WEIR_OK;
}

static void generator_stop(void *self, const weir_host *h)
{
    const struct generator *g = self;
    h->unref(h, g->shared);
}

/* How many are due now; none: the timer is set for the next. */
static size_t due(struct generator *g, const weir_host *h)
{
    size_t most = (size_t)g->batch_size;
    if (g->count && (uint64_t)g->count - g->made < most)
        most = (size_t)((uint64_t)g->count - g->made);
    if (g->gap_ns <= 0)
        return most;
    int64_t now = h->now(h);
    double since = (double)(now - g->began_ns), lead = (double)(g->made - g->began) * g->gap_ns;
    if (since < lead) {
        int64_t nap = (int64_t)(lead - since) + 1;
        h->timer(h, 0, (weir_duration){nap > NAP_NS ? nap : NAP_NS});
        return 0;
    }
    double waiting = (since - lead) / g->gap_ns + 1;
    if (waiting * g->gap_ns > SECOND_NS && waiting > (double)most) {
        g->began_ns = now; /* more than a second behind: what was missed is not made up for */
        g->began = g->made;
    }
    return waiting < (double)most ? (size_t)waiting : most;
}

static void envelope(const struct generator *g, const weir_host *h, weir_event *ev, uint64_t n)
{
    if (g->source[0])
        h->set(h, ev, "@source", weir_text(g->source));
    if (g->type[0])
        h->set(h, ev, "@type", weir_text(g->type));
    if (!g->keys)
        return;
    char key[32];
    int len = snprintf(key, sizeof key, "key-%llu", (unsigned long long)(n % (uint64_t)g->keys));
    h->set(h, ev, "@key", (weir_str){key, (size_t)len});
}

static size_t put_number(char *to, uint64_t n)
{
    char digits[20];
    static const char before[5] = {'{', '"', 'n', '"', ':'};
    size_t count = 0, at = sizeof before;
    memcpy(to, before, sizeof before);
    do
        digits[count++] = (char)('0' + n % 10);
    while (n /= 10);
    while (count)
        to[at++] = digits[--count];
    return at;
}

/* Bodies with a number: all of a batch in one piece of memory, each event a slice of it. */
static weir_status make_numbered(const struct generator *g, const weir_host *h, size_t n,
                                 weir_batch *out)
{
    weir_str rest = g->is_object ? members_of(g->body) : weir_text("}");
    char *data = NULL;
    weir_payload *all = h->alloc(h, n * (NUMBER_MAX + rest.len), &data);
    if (!all)
        return WEIR_E_RETRY;
    size_t at = 0;
    weir_status s = WEIR_OK;
    for (size_t i = 0; i < n && s == WEIR_OK; i++) {
        size_t from = at;
        at += put_number(data + at, g->made + i + 1);
        if (g->is_object)
            data[at++] = ',';
        if (rest.len)
            memcpy(data + at, rest.ptr, rest.len);
        at += rest.len;
        weir_payload *body = h->slice(h, all, from, at - from);
        s = body ? WEIR_OK : WEIR_E_RETRY; /* the numbers must not go on without it */
        envelope(g, h, h->add(h, out, body), g->made + i);
    }
    h->unref(h, all);
    return s;
}

static weir_status make_shared(struct generator *g, const weir_host *h, size_t n, weir_batch *out)
{
    if (!g->shared) {
        char *data = NULL;
        weir_payload *p = h->alloc(h, g->body.len, &data);
        if (!p)
            return WEIR_E_RETRY;
        memcpy(data, g->body.ptr, g->body.len);
        g->shared = p;
    }
    for (size_t i = 0; i < n; i++) {
        weir_payload *body = h->ref(h, g->shared);
        if (!body)
            return WEIR_E_RETRY;
        envelope(g, h, h->add(h, out, body), g->made + i);
    }
    return WEIR_OK;
}

static weir_status generator_pull(void *self, const weir_host *h, weir_batch *out)
{
    struct generator *g = self;
    if (g->count && g->made == (uint64_t)g->count)
        return WEIR_END;
    size_t n = due(g, h);
    if (!n)
        return WEIR_IDLE;
    out->when = WEIR_WHEN_SAFE;
    weir_status s = g->numbered ? make_numbered(g, h, n, out) : make_shared(g, h, n, out);
    if (s == WEIR_OK)
        g->made += n;
    return s;
}

static void generator_settled(void *self, const weir_host *h, const weir_settlement *s)
{
    const struct generator *g = self;
    size_t failed = 0;
    for (size_t i = 0; s->outcome == WEIR_FAILED && i < s->count; i++)
        failed += s->events[i]->outcome == WEIR_FAILED;
    if (failed)
        h->observe(h, g->failed, (double)failed);
}

static const weir_option options[] = {
    WEIR_OPTION(struct generator, body, .preset = "{\"hello\":\"world\"}",
                .help = "The body of each event."),
    WEIR_OPTION(struct generator, numbered,
                .help = "Puts a member n into each body: 1, 2, 3 and so on."),
    WEIR_OPTION(struct generator, count, .max = 1e15,
                .help = "Ends after so many events; 0: never."),
    WEIR_OPTION(struct generator, rate, .max = 1e9,
                .help = "Events per second; 0: as fast as they are taken."),
    WEIR_OPTION(struct generator, interval, .max = 365 * 86400e9,
                .help = "Time between two events, in place of rate."),
    WEIR_OPTION(struct generator, batch_size, .preset = "1024", .min = 1, .max = BATCH_MAX,
                .help = "How many events are made at a time, at most."),
    WEIR_OPTION(struct generator, keys, .max = 1e9,
                .help = "Spreads the events over so many keys, key-0 and up; 0: no keys."),
    WEIR_OPTION(struct generator, source, .preset = "generator", .help = "The events' source."),
    WEIR_OPTION(struct generator, type, .preset = "Generated", .help = "The events' type."),
    {0},
};

static const weir_component generator = {
    .name = "generator",
    .version = "1.0",
    .summary = "Makes events of its own, at a rate or as fast as they are taken.",
    .state_size = sizeof(struct generator),
    .options = options,
    .check = generator_check,
    .start = generator_start,
    .stop = generator_stop,
    .pull = generator_pull,
    .settled = generator_settled,
};
WEIR_PLUGIN(&generator);
