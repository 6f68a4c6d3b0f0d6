/* pipeline/queue_check.c: the queues that a pipeline file names, held against each other before a start. */
#include <string.h>

#include "base/mem.h"
#include "pipeline/services.h"

struct declared { /* by the stages that were checked so far; texts are the document's */
    struct declared *next;
    const char *name, *stage;
    const struct node *node; /* where it was named first */
    struct queue_settings settings;
    bool is_read, is_written, is_dead_letters;
};

static struct declared *find(struct service_tables *t, const char *name)
{
    struct declared **at = &t->queues_declared;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    if (!*at)
        *at = MEM_NEW(struct declared);
    return *at;
}

weir_status queue_declare(struct service_tables *t, struct lane *l, const char *name,
                          const struct queue_settings *settings)
{
    struct declared *d = find(t, name);
    const struct stage *s = l->stage;
    const struct node *node = service_node(s, name);
    const char *what = d->name ? queue_settings_differ(&d->settings, settings) : NULL;
    if (what) {
        diag_add(s->document, DIAG_ERROR, node, "give it the same settings everywhere",
                 "the queue %s has another %s at %s, line %u", name, what, d->stage, d->node->line);
        return WEIR_E_CONFIG;
    }
    if (!d->name) {
        d->name = name;
        d->stage = s->name;
        d->node = node;
    }
    queue_settings_join(&d->settings, settings);
    d->is_read |= s->role == ROLE_SOURCE;
    d->is_written |= s->role != ROLE_SOURCE;
    for (struct declared *o = t->queues_declared; o; o = o->next)
        d->is_dead_letters |=
            o->settings.dead_letters && strcmp(o->settings.dead_letters, name) == 0;
    if (settings->dead_letters)
        find(t, settings->dead_letters)->is_dead_letters = true;
    return WEIR_OK;
}

/* Dead letters are read by people. */
void queue_declared_warn(const struct service_tables *t, struct document *d)
{
    for (const struct declared *q = t->queues_declared; q; q = q->next) {
        if (!q->name || q->is_dead_letters || q->is_read == q->is_written)
            continue;
        if (q->is_read)
            diag_add(d, DIAG_WARNING, q->node, "a sink with plugin: sqs writes it",
                     "nobody writes to the queue %s", q->name);
        else
            diag_add(d, DIAG_WARNING, q->node,
                     "a source with plugin: sqs reads it, `weir queue peek` looks into it",
                     "nobody reads the queue %s: its messages stay until they are too old",
                     q->name);
    }
}

void queue_declared_free(struct service_tables *t)
{
    while (t->queues_declared) {
        struct declared *next = t->queues_declared->next;
        mem_free(t->queues_declared);
        t->queues_declared = next;
    }
}
