/* net/route.h: which handler a method and a path belong to. */
#pragma once
#include <weir/plugin.h>

#include "base/error.h"

enum { ROUTE_PARAMS_MAX = 16, ROUTE_ALLOW_BYTES = 128 };

struct routes { /* zero is an empty table */
    struct route *items;
    size_t count, cap;
};

struct route_match {
    void *arg;
    weir_attr params[ROUTE_PARAMS_MAX];
    size_t param_count;
    int status; /* 0: found; 404; 405 or 204 (OPTIONS) with `allow` */
    char allow[ROUTE_ALLOW_BYTES];
};

/* "POST /users/{id}", "GET /files/{rest...}"; the method may be "*". */
int routes_add(struct routes *r, const char *pattern, void *arg, struct error *e);
void routes_fini(struct routes *r);
/* `scratch` has room for path.len bytes: parameters that had escapes are decoded into it. A segment
 * is compared decoded; HEAD is served by GET. */
void routes_find(const struct routes *r, const char *method, weir_str path, char *scratch,
                 struct route_match *m);
