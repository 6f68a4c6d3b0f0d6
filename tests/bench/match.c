/* bench/match.c: what matching costs: every kind of rule, 1 to 100,000 of them, events of 300 bytes,
 * 895 bytes (as the benchmark of AWS's Event Ruler) and 10 KB, with the JSON checked and known good.
 *
 * An event is a plot of land, as in that benchmark: a few properties and a polygon. All cells are
 * measured, each as the best of three passes of a few milliseconds of this thread's CPU time.
 * "changes": what it costs to replace rules of 100,000, the comparison of all texts included. */
#include "match/match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { SIZES = 3, RULES_MAX = 100000, ATTEMPTS = 3 };

static const unsigned sizes[SIZES] = {300, 895, 10240}, event_counts[SIZES] = {4096, 4096, 256};
static const unsigned rule_counts[] = {1, 5, 100, 10000, RULES_MAX}; /* 5 of each kind together */

struct kind {
    const char *name;
    const char *few;  /* inside {"detail": {...}}; see `expand` */
    const char *many; /* the same kind, where `few` alone would match nearly every event; or NULL */
};

static const struct kind kinds[] = {
    {"exact", "'properties':{'lot':['L@p']}", NULL},
    {"prefix", "'properties':{'street':[{'prefix':'plot @p'}]}", NULL},
    {"suffix", "'properties':{'street':[{'suffix':'road @p'}]}", NULL},
    {"equals-ignore-case",
     "'properties':{'street':[{'equals-ignore-case':'PLOT @p, Harbour Road @p'}]}", NULL},
    {"prefix, suffix, ignoring case",
     "'properties':{'street':[{'prefix':{'equals-ignore-case':'Plot @p'}},"
     "{'suffix':{'equals-ignore-case':'Road @p'}}]}",
     NULL},
    {"wildcard", "'properties':{'street':[{'wildcard':'*@p, harbour*'}]}", NULL},
    {"anything-but", "'properties':{'lot':[{'anything-but':['L@p','L@q']}]}",
     "'properties':{'lot':[{'anything-but':['L@q']}],'area':[@n.5]}"},
    {"anything-but prefix, wildcard",
     "'properties':{'lot':[{'anything-but':{'prefix':'L@p'}}],"
     "'street':[{'anything-but':{'wildcard':'*@p, harbour*'}}]}",
     "'properties':{'lot':['L@p'],'street':[{'anything-but':{'prefix':'plot @q'}},"
     "{'anything-but':{'wildcard':'*@q, harbour*'}}]}"},
    {"numeric", "'properties':{'area':[{'numeric':['>=',@n.25,'<',@n.75]}]}", NULL},
    {"exists", "'properties':{'side':[{'exists':true}],'ruin':[{'exists':false}]}",
     "'properties':{'lot':['L@p'],'side':[{'exists':true}],'ruin':[{'exists':false}]}"},
    {"cidr", "'properties':{'address':[{'cidr':'@a.0/24'}]}", NULL},
    {"$or", "'$or':[{'properties':{'lot':['L@p']}},{'properties':{'area':[@n.25]}}]", NULL},
    {"nested arrays",
     "'geometry':{'type':['Polygon'],'coordinates':{'x':[-122.@p4252825],'y':[37.@p1247619]}}",
     NULL},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *name_of(size_t kind)
{
    return kind < KINDS ? kinds[kind].name : "all kinds together";
}

static double now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- rules ----------------------------------------------------------------------------------------- */

static int put_number(char *to, size_t room, char what, unsigned n)
{
    switch (what) {
    case 'p': /* padded */
        return snprintf(to, room, "%05u", n);
    case 'q': /* another number */
        return snprintf(to, room, "%05u", (n + 1) % RULES_MAX);
    case 'a': /* three parts of an address */
        return snprintf(to, room, "%u.%u.%u", 10 + (n >> 16), n >> 8 & 255, n & 255);
    default:
        return snprintf(to, room, "%u", n);
    }
}

/* @ and a letter stand for the rule's number, ' for ". */
static size_t expand(const char *pattern, unsigned n, char *text, size_t size)
{
    size_t len = (size_t)snprintf(text, size, "{\"detail\":{");
    for (const char *c = pattern; *c && len + 24 < size; c++) {
        if (*c == '@')
            len += (size_t)put_number(text + len, size - len, *++c, n);
        else
            text[len++] = *c;
        if (text[len - 1] == '\'')
            text[len - 1] = '"';
    }
    text[len++] = '}';
    text[len++] = '}';
    return len;
}

/* `kind` KINDS: all of them in turns. After `old`, of which the first `changed` are replaced. */
static struct match_set *make_set(size_t kind, unsigned rules, const struct match_set *old,
                                  unsigned changed)
{
    struct match_set *set = match_set_after(old, NULL);
    for (unsigned i = 0; i < rules; i++) {
        char text[400];
        struct match_error e;
        const struct kind *k = &kinds[kind < KINDS ? kind : i % KINDS];
        unsigned number = i < changed ? RULES_MAX + i : i;
        size_t len = expand(rules >= 100 && k->many ? k->many : k->few, number, text, sizeof text);
        if (match_add(set, (weir_str){text, len}, &e) != WEIR_OK) {
            (void)fprintf(stderr, "%.*s: %s\n", (int)len, text, e.reason);
            exit(1); /* NOLINT(concurrency-mt-unsafe): one thread */
        }
    }
    match_seal(set);
    return set;
}

/* ---- events ---------------------------------------------------------------------------------------- */

struct events {
    weir_event *events;
    weir_payload *bodies;
    char *texts;
    unsigned count;
};

/* The polygon's corners up to `size`, and a text for what is left; the last corner is the rule's. */
static void write_event(char *text, unsigned size, unsigned n, unsigned seed)
{
    enum { CORNER = 64 };
    int len = snprintf(text, size,
                       "{\"type\":\"Feature\",\"properties\":{\"lot\":\"L%05u\",\"block\":\"0001\","
                       "\"street\":\"plot %05u, harbour road %05u\",\"side\":\"E\",\"area\":%u.50,"
                       "\"address\":\"%u.%u.%u.7\"},\"geometry\":{\"type\":\"Polygon\","
                       "\"coordinates\":[",
                       n, n, n, n, 10 + (n >> 16), n >> 8 & 255, n & 255);
    while (size - (unsigned)len > 2 * CORNER + 16) {
        seed = seed * 1664525u + 1013904223u;
        len += snprintf(text + len, size - (unsigned)len,
                        "{\"x\":-122.%05u4252825,\"y\":37.%05u1247619,\"z\":0.0},", seed >> 16,
                        seed >> 18);
    }
    len += snprintf(text + len, size - (unsigned)len,
                    "{\"x\":-122.%05u4252825,\"y\":37.%05u1247619}]},\"n\":\"", n, n);
    while ((unsigned)len < size - 2)
        text[len++] = 'x';
    text[len++] = '"';
    text[len++] = '}';
}

static void make_events(struct events *e, unsigned size, unsigned count, unsigned rules)
{
    e->events = mem_new(count * sizeof *e->events);
    e->bodies = mem_new(count * sizeof *e->bodies);
    e->texts = mem_new((size_t)count * size);
    e->count = count;
    for (unsigned i = 0; i < count; i++) {
        char *text = e->texts + (size_t)i * size;
        write_event(text, size, i * 2654435761u % rules, i);
        e->bodies[i] = (weir_payload){text, size};
        e->events[i] = (weir_event){.body = &e->bodies[i],
                                    .source = weir_text("land.register"),
                                    .type = weir_text("Plot Surveyed")};
    }
}

static void free_events(struct events *e)
{
    mem_free(e->events);
    mem_free(e->bodies);
    mem_free(e->texts);
}

/* ---- measuring ------------------------------------------------------------------------------------- */

/* Nanoseconds for one event: the best pass of a few milliseconds. */
static double run(struct match_ctx *c, const struct events *e, unsigned flags, double *hits)
{
    double best = 0;
    size_t found = 0;
    unsigned all = 0, passes = 1;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        double start = now_ns();
        for (unsigned pass = 0; pass < passes; pass++)
            for (unsigned i = 0; i < e->count; i++, all++) {
                const uint32_t *numbers;
                size_t n = match_event(c, &e->events[i], flags, &numbers);
                if (n == SIZE_MAX)
                    abort(); /* the events are JSON */
                found += n;
            }
        double ns = (now_ns() - start) / passes / e->count;
        if (!attempt)
            passes = ns * e->count < 4e6 ? 1 + (unsigned)(4e6 / (ns * e->count)) : 1;
        best = !attempt || ns < best ? ns : best;
    }
    *hits = (double)found / all;
    return best;
}

static void measure(size_t kind, unsigned rules)
{
    double start = now_ns(), hits = 0;
    struct match_set *set = make_set(kind, rules, NULL, 0);
    double build_us = (now_ns() - start) / rules / 1e3;
    struct match_ctx *c = match_ctx_new(set);
    printf("%-30s %6u", name_of(kind), rules);
    for (int size = 0; size < SIZES; size++) {
        struct events events;
        make_events(&events, sizes[size], event_counts[size], rules < 100 ? 100 : rules);
        double checked = run(c, &events, 0, &hits), good = run(c, &events, MATCH_KNOWN_GOOD, &hits);
        printf(" %7.0f %6.0f", checked, good);
        free_events(&events);
    }
    printf(" %7.2f %6.1f %6zu\n", hits, build_us, match_memory(set) / rules);
    (void)fflush(stdout);
    match_ctx_free(c);
    match_set_free(set);
}

/* What one rule more costs, and a set after another of which it replaces one rule. */
static void measure_changes(size_t kind)
{
    enum { FEW = 1, MANY = 10001 };
    double took[2] = {0, 0};
    size_t bytes = 0;
    struct match_set *set = make_set(kind, RULES_MAX, NULL, 0);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++)
        for (int i = 0; i < 2; i++) {
            double start = now_ns();
            struct match_set *next = make_set(kind, RULES_MAX, set, i ? MANY : FEW);
            double ns = now_ns() - start;
            took[i] = !attempt || ns < took[i] ? ns : took[i];
            bytes = match_memory(next);
            match_set_free(next);
        }
    printf("%-30s %9.1f %11.2f %6zu\n", name_of(kind), took[0] / 1e6,
           (took[1] - took[0]) / (MANY - FEW) / 1e3, bytes / RULES_MAX);
    (void)fflush(stdout);
    match_set_free(set);
}

static int changes(void)
{
    printf("%-30s %9s %11s %6s\n", "100,000 rules, of which", "one, ms", "each, us", "B/rule");
    for (size_t kind = 0; kind <= KINDS; kind++)
        measure_changes(kind);
    return 0;
}

/* match [KIND [RULES]], to look at a part of it; match changes. */
int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "changes") == 0)
        return changes();
    printf("%-37s %14s %14s %14s\n%-30s %6s %7s %6s %7s %6s %7s %6s %7s %6s %6s\n",
           "ns for one event (good: known to be JSON)", "300 B", "895 B", "10 KB", "rules", "count",
           "checked", "good", "checked", "good", "checked", "good", "hits", "us/add", "B/rule");
    for (size_t kind = 0; kind <= KINDS; kind++)
        for (size_t i = 0; i < sizeof rule_counts / sizeof *rule_counts; i++) {
            unsigned rules = kind == KINDS && rule_counts[i] == 5 ? 5 * KINDS : rule_counts[i];
            bool is_named = argc < 2 || strcmp(argv[1], name_of(kind)) == 0;
            if (is_named && (argc < 3 || strtoul(argv[2], NULL, 10) == rules))
                measure(kind, rules);
        }
    return 0;
}
