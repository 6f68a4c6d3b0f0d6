/* config/plan_schema.c: the JSON Schema of the whole pipeline file, with the plugins at hand. */
#include <string.h>

#include "config/option_schema.h"
#include "config/plan_tables.h"
#include "json/json.h"

#define STAGE_NAMES "\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9_-]{1,64}$\"}"
#define INPUT \
    "{\"anyOf\":[{\"type\":\"string\",\"description\":\"stage or stage.port\"}," \
    "{\"type\":\"object\",\"properties\":{\"from\":{\"type\":\"string\"," \
    "\"description\":\"stage or stage.port\"},\"where\":{\"type\":\"object\"," \
    "\"description\":\"an event pattern\"}},\"required\":[\"from\"]," \
    "\"additionalProperties\":false}]}"
#define INPUTS \
    "\"inputs\":{\"description\":\"the stages that it reads\",\"anyOf\":[" INPUT "," \
    "{\"type\":\"array\",\"minItems\":1,\"items\":" INPUT "}]}"

static bool is_role(const weir_component *c, enum role role)
{
    if (role == ROLE_SOURCE)
        return c->pull != NULL;
    return role == ROLE_TRANSFORM ? c->event || c->batch : c->write != NULL;
}

static bool is_of_role(const void *user, const char *name)
{
    return plan_key_fits(*(const enum role *)user, name);
}

/* What the core has taken is not the plugin's. */
static bool is_own(const void *user, const char *name)
{
    enum role role = *(const enum role *)user;
    for (const char *const *key = plan_core_keys; *key; key++)
        if (strcmp(*key, name) == 0 && plan_key_fits(role, name))
            return strcmp(name, "key") == 0; /* a plugin's own goes before */
    return true;
}

static bool has_row(const weir_option *rows, const char *name)
{
    for (; rows->name; rows++)
        if (strcmp(rows->name, name) == 0)
            return true;
    return false;
}

static void add_keys(const weir_component *c, enum role role, struct buf *out)
{
    static const weir_option none[] = {{0}};
    const struct option_schema_filter core = {is_of_role, &role}, own = {is_own, &role};
    const weir_option *rows = c->options ? c->options : none;
    buf_add_text(out, "\"properties\":{\"plugin\":true");
    option_schema_properties(rows, &own, true, out);
    if (role == ROLE_SOURCE) {
        buf_add_text(out, ",\"result\":{\"type\":\"string\",\"description\":"
                          "\"the transform whose answer is the source's result\"}");
        if (!has_row(rows, "key"))
            buf_add_text(out, ",\"key\":{\"type\":\"string\",\"description\":"
                              "\"path of what orders events, such as user.id or @attribute\"}");
    } else {
        buf_add_text(out, "," INPUTS);
        option_schema_properties(plan_delivery_options, &core, true, out);
    }
    buf_add_char(out, '}');
    /* A sink that is only a fallback reads nothing. */
    option_schema_required(rows, role == ROLE_TRANSFORM ? "inputs" : "plugin", out);
    buf_add_text(out, ",\"additionalProperties\":false");
}

/* YAML reads the name `null` as no value; it is meant all the same. */
static void add_name(struct buf *out, const char *name)
{
    json_quote(out, weir_text(name));
    if (strcmp(name, "null") == 0)
        buf_add_text(out, ",null");
}

static void add_names(const weir_component *const *all, enum role role, struct buf *out)
{
    const char *comma = "";
    buf_add_text(out, "\"properties\":{\"plugin\":{\"enum\":[");
    for (; *all; all++) {
        if (!is_role(*all, role))
            continue;
        buf_add_text(out, comma);
        add_name(out, (*all)->name);
        comma = ",";
    }
    buf_add_text(out, "]}}");
}

static void add_section(const weir_component *const *all, enum role role, struct buf *out)
{
    const char *comma = "";
    buf_print(out, ",\"%s\":{\"type\":[\"object\",\"null\"]," STAGE_NAMES ",", plan_sections[role]);
    buf_add_text(out, "\"additionalProperties\":{\"type\":\"object\",\"required\":[\"plugin\"],");
    add_names(all, role, out);
    buf_add_text(out, ",\"allOf\":[");
    for (const weir_component *const *c = all; *c; c++) {
        if (!is_role(*c, role))
            continue;
        buf_print(out, "%s{\"if\":{\"properties\":{\"plugin\":{\"enum\":[", comma);
        add_name(out, (*c)->name);
        buf_add_text(out, "]}},\"required\":[\"plugin\"]},\"then\":{");
        if ((*c)->summary) {
            buf_add_text(out, "\"description\":");
            json_quote(out, weir_text((*c)->summary));
            buf_add_char(out, ',');
        }
        add_keys(*c, role, out);
        buf_add_text(out, "}}");
        comma = ",";
    }
    /* An empty allOf is not allowed. */
    buf_add_text(out, *comma ? "]}}" : "true]}}");
}

void plan_print_schema(const weir_component *const *components, struct buf *out)
{
    buf_add_text(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
                      "\"title\":\"Weir pipeline\",\"type\":\"object\",\"properties\":{");
    option_schema_properties(plan_settings_options, NULL, false, out);
    for (int role = ROLE_SOURCE; role <= ROLE_SINK; role++)
        add_section(components, (enum role)role, out);
    buf_add_text(out, "},\"required\":[\"sources\"],\"additionalProperties\":false}\n");
}
