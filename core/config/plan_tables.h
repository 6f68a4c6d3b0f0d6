/* config/plan_tables.h: the core's own blocks as they stand in the file, and what plan_*.c share. */
#pragma once
#include "config/document.h"
#include "config/plan.h"

struct plan_aws {
    const char *endpoint, *region, *account;
};
struct plan_admin {
    const char *listen;
};
struct plan_journal {
    weir_size max_size;
    const char *durability;
};
struct plan_trace {
    bool enabled;
    int64_t explain;
    weir_size max_size;
};
struct plan_file { /* the top of the file, without the stages */
    const char *data_dir;
    weir_block aws, admin, journal, trace; /* never NULL: presets */
    int64_t workers;
    weir_size memory;
    weir_duration drain;
    weir_strings plugins;
};

struct plan_work { /* while a plan is made */
    struct document *d;
    const struct plan_components *components;
    struct plan *plan;
    size_t cap;
    struct places *places; /* of the settings */
};

extern const char *const plan_sections[];            /* by role, ends with NULL */
extern const char *const plan_role_names[];          /* by role */
extern const char *const plan_core_keys[];           /* of a stage; ends with NULL */
bool plan_key_fits(enum role role, const char *key); /* is this key of the core for this role? */

void plan_settings_read(struct plan_work *w, struct node *root);
void plan_stage_read_all(struct plan_work *w, struct node *root);
void plan_inputs_read_all(struct plan_work *w);
void plan_service_add_all(struct plan_work *w);
void plan_stage_fill(struct plan_work *w, struct plan_stage *s); /* its options, from its node */
/* Does it live by services, as the AWS endpoint does? Then it may bring no events at all. */
bool plan_inputs_is_server(const weir_component *c);
void plan_inputs_warn_unread(struct plan_work *w);
void plan_order(struct plan_work *w); /* sorts the stages; a ring is an error */
