/* weir/json.h: JSON where a path is not enough (service weir.json/1).
 *
 * Offered by the host. A view is a span of the text it came from: no tree is made and nothing is
 * copied, so it lives as long as that text. Any thread. */
#pragma once
#include <weir/plugin.h>

typedef struct weir_jsons weir_jsons;
#define WEIR_JSON weir_jsons, "weir.json/1", valid

enum { WEIR_JSON_NONE, WEIR_JSON_NULL, WEIR_JSON_BOOL, WEIR_JSON_NUMBER, WEIR_JSON_TEXT, WEIR_JSON_ARRAY,
       WEIR_JSON_OBJECT };

typedef struct weir_json_each { weir_str key, value; size_t at; } weir_json_each; /* frozen; start at zero */

struct weir_jsons {
    weir_service base;
    /* WEIR_OK, or REJECT with the byte where it stops being JSON (RFC 8259) in *at. */
    weir_status (*check)(const weir_jsons *j, weir_str text, size_t *at);
    int (*kind)(const weir_jsons *j, weir_str value);
    weir_str (*find)(const weir_jsons *j, weir_str value, const char *path); /* "a.b[0]"; ptr NULL: none */
    /* The next member or element; false at the end. While in use `at` is the service's. */
    bool (*next)(const weir_jsons *j, weir_str value, weir_json_each *each);
    weir_str (*text)(const weir_jsons *j, weir_str value); /* without quotes and escapes; scratch */
    weir_str (*quote)(const weir_jsons *j, weir_str text); /* with them; scratch */
    /* As check, of a whole payload, and remembered there: it is scanned once, whoever asks. */
    weir_status (*valid)(const weir_jsons *j, weir_payload *p, size_t *at);
};
