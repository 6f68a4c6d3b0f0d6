/* pipeline/memory_check.c: whether the memory of a pipeline file will do for its stages, before a start. */
#include "base/mem.h"
#include "pipeline/memory.h"

enum {
    STAGE_LEAST = 1 << 20 /* of `memory` for each stage: then its share is 64 KiB */,
    TEXT = 32
};

/* Where `memory` stands; else what it is held against. */
static const struct node *place(struct plan *plan, const struct node *other)
{
    struct node *root = document_root(plan->document);
    const struct node *at = root ? node_get(root, "memory") : NULL;
    return at ? at : other;
}

static const char *size_text(uint64_t bytes, char text[TEXT])
{
    unit_format_size(bytes, text, TEXT);
    return text;
}

/* An option that says how large an event may be which the source brings. */
static void check_event(struct plan *plan, const struct plan_stage *s, const weir_option *row,
                        const weir_size *size)
{
    char given[TEXT], part[TEXT], event[TEXT], wanted[TEXT];
    uint64_t memory = plan->settings.memory.bytes, most = memory / MEMORY_EVENT_PART;
    bool never_fits = size->bytes > memory / 2;
    const struct node *at = places_find(s->places, size);
    char *help = mem_format("write memory: %s or more, or %s: %s or less",
                            size_text(size->bytes * MEMORY_EVENT_PART, wanted), row->name,
                            size_text(most, part));
    diag_add(plan->document, never_fits ? DIAG_ERROR : DIAG_WARNING,
             place(plan, at ? at : s->name_node), help,
             "memory: %s is %s for events of %s, which %s may bring (its %s): one may take an "
             "eighth, %s",
             size_text(memory, given), never_fits ? "too little" : "little",
             size_text(size->bytes, event), s->name, row->name, size_text(most, part));
    mem_free(help);
}

static void check_events(struct plan *plan, const struct plan_stage *s)
{
    for (const weir_option *row = s->component->options; row && row->name; row++) {
        const weir_size *size = (const void *)((const char *)s->state + row->offset);
        if (row->type == WEIR_T_SIZE && row->format == WEIR_FORMAT_EVENT_MAX &&
            size->bytes > plan->settings.memory.bytes / MEMORY_EVENT_PART)
            check_event(plan, s, row, size);
    }
}

static void check_count(struct plan *plan)
{
    char given[TEXT], wanted[TEXT];
    uint64_t readers = 0, memory = plan->settings.memory.bytes;
    for (size_t i = 0; i < plan->stage_count; i++)
        readers += plan->stages[i]->role == ROLE_TRANSFORM || plan->stages[i]->role == ROLE_SINK;
    if (readers < 2 || memory >= readers * STAGE_LEAST || !place(plan, NULL))
        return;
    char *help = mem_format("write memory: %s or more", size_text(readers * STAGE_LEAST, wanted));
    diag_add(plan->document, DIAG_WARNING, place(plan, NULL), help,
             "memory: %s is little for %llu transforms and sinks: they will often wait for room",
             size_text(memory, given), (unsigned long long)readers);
    mem_free(help);
}

void memory_check(struct plan *plan)
{
    for (size_t i = 0; i < plan->stage_count; i++)
        if (plan->stages[i]->role == ROLE_SOURCE && plan->stages[i]->is_sound)
            check_events(plan, plan->stages[i]);
    check_count(plan);
}
