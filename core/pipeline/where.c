/* pipeline/where.c: an event pattern that somebody asks with, compiled. */
#include "pipeline/where.h"

#include "json/json.h"

int where_compile(weir_str where, const struct match_env *env, struct match_set **set,
                  struct error *e)
{
    static const struct match_env nowhere = {"000000000000", "us-east-1"};
    struct match_error reason = {{0}, 0};
    *set = match_set_new(env ? env : &nowhere);
    bool is_json = json_check(where, NULL, NULL) == WEIR_OK;
    if (!is_json || match_add(*set, where, &reason) != WEIR_OK) {
        match_set_free(*set);
        *set = NULL;
        return error_set(e, EXIT_USAGE_ERROR, "where is no event pattern: %s",
                         is_json ? reason.reason : "it is not JSON");
    }
    match_seal(*set);
    return 0;
}
