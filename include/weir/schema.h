/* weir/schema.h: JSON Schema 2020-12, the one validation language of Weir (service weir.schema/1).
 *
 * Offered by the host, so a plugin has it in check as well. A schema is compiled once by one
 * callback and lives until stop (made in check: until check returns); then any thread may test. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_schemas weir_schemas;
#define WEIR_SCHEMA weir_schemas, "weir.schema/1", test

typedef struct weir_schema weir_schema; /* opaque */

typedef struct weir_violation { /* host-made: one way in which a text breaks its schema */
    weir_str pointer;           /* RFC 6901, of the value: "/email"; empty is the whole text */
    const char *keyword;        /* "format" */
    const char *message;        /* "must be an e-mail address" */
} weir_violation;

struct weir_schemas {
    weir_service base;
    /* Compiles the schema in the file that the option at `member` names (relative to the pipeline
     * file). What is wrong with it is refused there (h->refuse): CONFIG. */
    weir_status (*load)(const weir_schemas *s, const char *const *member, weir_schema **schema);
    /* Compiles a schema written in the pipeline file. */
    weir_status (*compile)(const weir_schemas *s, const weir_json *member, weir_schema **schema);
    /* How often `text`, a valid JSON text, violates the schema; 0: never. *first to first[n - 1]
     * live until the callback returns; at most 100 are told. */
    size_t (*test)(const weir_schemas *s, const weir_schema *schema, weir_str text,
                   const weir_violation *const **first);
};
