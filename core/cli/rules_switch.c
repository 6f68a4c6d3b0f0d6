/* cli/rules_switch.c: weir rules enable and disable: of a running and of a stopped pipeline. */
#include <string.h>

#include "base/mem.h"
#include "cli/rules.h"
#include "cli/store.h"
#include "pipeline/bus.h"

static int set_stopped(const char *data_dir, const char *rule, bool is_enabled)
{
    struct error e = {0};
    struct journal *j = store_open(data_dir, &e);
    if (!j)
        return cli_fail(&e);
    int failed = bus_switch(j, NULL, rule, is_enabled, &e);
    journal_close(j);
    return failed ? cli_fail(&e) : 0;
}

static bool is_known(const struct rules_loaded *l, const char *rule)
{
    struct arena a;
    bool is_found = false;
    arena_init(&a);
    for (size_t i = 0; i < l->count && !is_found; i++)
        is_found = weir_same(rules_name(&l->rules[i], &a), rule);
    arena_fini(&a);
    return is_found;
}

int rules_switch(const struct rules_options *o, const char *rule, const char *path, bool is_enabled)
{
    struct rules_loaded l = {0};
    struct error e = {0};
    struct buf out = {0};
    int code = rules_load(o, path, &l);
    if (code)
        return code;
    if (is_known(&l, rule)) {
        const char *data_dir = l.pipeline.plan->settings.data_dir;
        char *part = store_part(rule);
        char *target = mem_format("/rules/%s/%s", part, is_enabled ? "enable" : "disable");
        code = store_post(data_dir, target, (weir_str){0}, &out);
        if (code == 1)
            code = set_stopped(data_dir, rule, is_enabled);
        mem_free(part);
        mem_free(target);
    } else {
        (void)error_set(&e, EXIT_BAD_DATA, "no rule %s: `weir rules list` prints them all", rule);
        code = cli_fail(&e);
    }
    if (!code)
        (void)printf("%s is %s\n", rule, is_enabled ? "enabled" : "disabled");
    buf_fini(&out);
    rules_free(&l);
    return code;
}
