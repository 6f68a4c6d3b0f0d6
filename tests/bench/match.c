/* bench/match.c: matches per second with 1 to 10,000 patterns, for an event of 300 bytes. */
#include "match/match.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { EVENTS = 1024, ROUNDS = 400 };

static double now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct events {
    weir_event events[EVENTS];
    weir_payload bodies[EVENTS];
    char sources[EVENTS][24], types[EVENTS][24], texts[EVENTS][400];
};

static void make_events(struct events *e, unsigned kinds)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        unsigned n = i * 2654435761u % kinds;
        int len =
            snprintf(e->texts[i], sizeof e->texts[i],
                     "{\"order\":{\"id\":\"%08u\",\"state\":\"state-%05u\",\"total\":%u.50,"
                     "\"currency\":\"EUR\"},\"customer\":{\"name\":\"Ada Lovelace\",\"email\":"
                     "\"ada@example.org\",\"tags\":[\"gold\",\"early\",\"web\"]},\"lines\":[{"
                     "\"sku\":\"A-%u\",\"count\":2},{\"sku\":\"B-17\",\"count\":1}],\"note\":"
                     "\"please leave it with the neighbour\",\"attempt\":1}",
                     i, n, n, n);
        (void)snprintf(e->sources[i], sizeof e->sources[i], "shop.%u", n / 10);
        (void)snprintf(e->types[i], sizeof e->types[i], "OrderPlaced%u", n % 10);
        e->bodies[i] = (weir_payload){e->texts[i], (size_t)len};
        e->events[i] = (weir_event){.body = &e->bodies[i],
                                    .source = weir_text(e->sources[i]),
                                    .type = weir_text(e->types[i])};
    }
}

static double run(struct match_ctx *c, const struct events *e, unsigned flags, size_t *found)
{
    double best = 0;
    for (int attempt = 0; attempt < 5; attempt++) {
        size_t hit_count = 0;
        double start = now_ns();
        for (int round = 0; round < ROUNDS; round++)
            for (int i = 0; i < EVENTS; i++) {
                const uint32_t *hits;
                hit_count += match_event(c, &e->events[i], flags, &hits);
            }
        double ns = (now_ns() - start) / ROUNDS / EVENTS;
        best = !attempt || ns < best ? ns : best;
        *found = hit_count / ROUNDS;
    }
    return best;
}

static const struct kind {
    const char *name, *pattern; /* @n the number, @p padded to 5, @t its tens, @d its last digit */
} kinds[] = {
    {"source", "{\"source\":[\"shop.@n\"]}"},
    {"source + detail-type", "{\"source\":[\"shop.@t\"],\"detail-type\":[\"OrderPlaced@d\"]}"},
    {"one of detail", "{\"detail\":{\"order\":{\"state\":[\"state-@p\"]}}}"},
    {"prefix", "{\"detail\":{\"order\":{\"state\":[{\"prefix\":\"state-@p\"}]}}}"},
    {"wildcard", "{\"detail\":{\"order\":{\"state\":[{\"wildcard\":\"*ate-@p*\"}]}}}"},
    {"numeric", "{\"detail\":{\"order\":{\"total\":[{\"numeric\":[\">\",@n,\"<\",@n.75]}]}}}"},
    {"source + detail",
     "{\"source\":[\"shop.@t\"],\"detail\":{\"order\":{\"state\":[\"state-@p\"]}}}"},
    {"in an array", "{\"detail\":{\"lines\":{\"sku\":[\"A-@n\"],\"count\":[2]}}}"},
};

static size_t expand(const char *pattern, unsigned n, char *text, size_t size)
{
    size_t len = 0;
    for (const char *c = pattern; *c && len < size; c++) {
        if (*c != '@') {
            text[len++] = *c;
            continue;
        }
        c++;
        unsigned value = *c == 't' ? n / 10 : *c == 'd' ? n % 10 : n;
        char digits[16];
        int wrote = *c == 'p' ? snprintf(digits, sizeof digits, "%05u", value)
                              : snprintf(digits, sizeof digits, "%u", value);
        for (int i = 0; i < wrote && len < size; i++)
            text[len++] = digits[i];
    }
    return len;
}

static void measure(const struct kind *k, unsigned rules)
{
    static struct events events;
    struct match_set *set = match_set_new(NULL);
    make_events(&events, rules < 100 ? 100 : rules);
    double start = now_ns();
    for (unsigned i = 0; i < rules; i++) {
        char text[300];
        struct match_error e;
        size_t len = expand(k->pattern, i, text, sizeof text);
        if (match_add(set, (weir_str){text, len}, &e) != WEIR_OK)
            exit(1); /* NOLINT(concurrency-mt-unsafe): one thread */
    }
    match_seal(set);
    double build = (now_ns() - start) / rules;
    struct match_ctx *c = match_ctx_new(set);
    size_t found = 0;
    double checked = run(c, &events, 0, &found), good = run(c, &events, MATCH_KNOWN_GOOD, &found);
    printf("%-22s %6u %8.0f ns %8.0f ns %12.0f /s %7zu %6.1f us %6zu B\n", k->name, rules, checked,
           good, 1e9 / good, found, build / 1e3, match_memory(set) / rules);
    match_ctx_free(c);
    match_set_free(set);
}

int main(void)
{
    static const unsigned counts[] = {1, 5, 100, 10000};
    printf("%-22s %6s %11s %11s %15s %7s %9s %8s\n", "patterns on", "count", "checked",
           "known good", "known good", "hits", "add each", "each");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
            measure(&kinds[i], counts[n]);
    return 0;
}
