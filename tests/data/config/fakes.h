/* data/config/fakes.h: three components that do nothing, for the tests of the pipeline file. */
#pragma once
#include <stdio.h>
#include <string.h>

#include "config/plan.h"

struct fake_route {
    const char *schema, *source, *type;
    int answer;
};
struct fake_http {
    const char *listen;
    weir_map routes;
    weir_size max_body;
    weir_duration timeout;
    const weir_secret *key;
    const char *endpoint;
};
struct fake_rule {
    weir_json pattern;
    weir_strings targets;
};
struct fake_bus {
    weir_map rules;
};
struct fake_out {
    const char *path;
    int compress;
    weir_pairs labels;
    weir_list steps;
};
struct fake_step {
    const char *name;
    double weight;
};

static const weir_option fake_route_rows[] = {
    WEIR_OPTION(struct fake_route, schema, .help = "file of a JSON Schema"),
    WEIR_OPTION(struct fake_route, source, .preset = "http", .help = "source of the events"),
    WEIR_OPTION(struct fake_route, type, .required = true, .help = "type of the events"),
    WEIR_OPTION(struct fake_route, answer, .choices = "accepted|delivered|result",
                .preset = "accepted", .help = "when the client hears"),
    {0}};
static const weir_option fake_http_rows[] = {
    WEIR_OPTION(struct fake_http, listen, .required = true, .help = "address and port", .min = 3,
                .max = 100),
    WEIR_OPTION(struct fake_http, routes, WEIR_ITEMS(struct fake_route, fake_route_rows),
                .help = "by method and path"),
    WEIR_OPTION(struct fake_http, max_body, .preset = "1MiB", .min = 1, .max = 104857600,
                .help = "of one request"),
    WEIR_OPTION(struct fake_http, timeout, .preset = "30s", .min = 1e9, .max = 43200e9,
                .help = "of one request"),
    WEIR_OPTION(struct fake_http, key, .help = "what clients have to show"),
    WEIR_OPTION(struct fake_http, endpoint, .help = "embedded or aws"),
    {0}};
static const weir_option fake_rule_rows[] = {
    WEIR_OPTION(struct fake_rule, pattern, .required = true, .help = "an event pattern"),
    WEIR_OPTION(struct fake_rule, targets, .help = "names"),
    {0}};
static const weir_option fake_bus_rows[] = {
    WEIR_OPTION(struct fake_bus, rules, WEIR_ITEMS(struct fake_rule, fake_rule_rows), .ports = true,
                .max = 100, .help = "by name; each is a port"),
    {0}};
static const weir_option fake_step_rows[] = {WEIR_OPTION(struct fake_step, name, .required = true,
                                                         .help = "of the step"),
                                             WEIR_OPTION(struct fake_step, weight, .preset = "1",
                                                         .min = 0, .max = 10,
                                                         .help = "of the step"),
                                             {0}};
static const weir_option fake_out_rows[] = {
    WEIR_OPTION(struct fake_out, path, .required = true, .help = "where to"),
    WEIR_OPTION(struct fake_out, compress, .choices = "none|gzip|zstd", .help = "how"),
    WEIR_OPTION(struct fake_out, labels, .help = "added to each event"),
    WEIR_OPTION(struct fake_out, steps, WEIR_ITEMS(struct fake_step, fake_step_rows),
                .help = "in order"),
    {0}};
static inline weir_status fake_pull(void *self, const weir_host *h, weir_batch *out)
{
    (void)self, (void)h, (void)out;
    return WEIR_END;
}

static inline weir_status fake_event(void *self, const weir_host *h, weir_event *ev)
{
    (void)self, (void)h, (void)ev;
    return WEIR_DROP;
}

static inline weir_status fake_write(void *self, const weir_host *h, const weir_batch *batch)
{
    (void)self, (void)h, (void)batch;
    return WEIR_OK;
}

static const char *const fake_bus_ports[] = {"unmatched", NULL};
static const weir_component fake_http = {.name = "http",
                                         .version = "1.0",
                                         .summary = "takes requests",
                                         .state_size = sizeof(struct fake_http),
                                         .options = fake_http_rows,
                                         .pull = fake_pull};
static const weir_component fake_plain = {.name = "plain",
                                          .version = "1.0",
                                          .summary = "has no options",
                                          .pull = fake_pull};
static const weir_component fake_bus = {.name = "bus",
                                        .version = "1.0",
                                        .summary = "sorts events by rules",
                                        .state_size = sizeof(struct fake_bus),
                                        .options = fake_bus_rows,
                                        .ports = fake_bus_ports,
                                        .event = fake_event};
static const weir_component fake_out = {.name = "out",
                                        .version = "1.0",
                                        .summary = "writes events",
                                        .state_size = sizeof(struct fake_out),
                                        .options = fake_out_rows,
                                        .write = fake_write};
static const weir_component *const fake_all[] = {&fake_http, &fake_bus, &fake_out, NULL};

static inline const weir_component *fake_find(void *user, const char *name, enum role role,
                                              struct error *e)
{
    (void)user;
    (void)e;
    if (role == ROLE_SOURCE && strcmp(name, fake_plain.name) == 0)
        return &fake_plain;
    return strcmp(name, fake_all[role]->name) == 0 ? fake_all[role] : NULL;
}

static inline const char *const *fake_names(void *user, enum role role)
{
    static const char *names[3][2];
    (void)user;
    names[role][0] = fake_all[role]->name;
    return names[role];
}

static const struct plan_components fake_components = {.find = fake_find, .names = fake_names};

static inline const char *fake_env(void *user, const char *name)
{
    (void)user;
    return strcmp(name, "HOST") == 0        ? "localhost"
           : strcmp(name, "COUNT") == 0     ? "4"
           : strcmp(name, "API_TOKEN") == 0 ? "hush-hush"
           : strcmp(name, "EMPTY") == 0     ? ""
           : strcmp(name, "TRICK") == 0     ? "{ a: [b] }"
           : strcmp(name, "NESTED") == 0    ? "${HOST}"
                                            : NULL;
}
