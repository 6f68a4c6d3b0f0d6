/* fuzz/config_yaml.c: any bytes as a pipeline file: no crash, no leak, no endless work.
 *
 * A first line "#set PATH=VALUE" is applied as a --set. */
#include <stdlib.h>

#include "data/config/fakes.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Places are asked for at every byte that a plugin could name. */
static void tell_all_over(struct document *d, const struct plan *p)
{
    for (size_t i = 0; p && i < p->stage_count; i++) {
        const struct plan_stage *s = p->stages[i];
        const struct node *at = places_find(s->places, s->state);
        for (size_t k = 0; k < 40; k++)
            diag_add_at(d, DIAG_WARNING, at, k, NULL, "here");
        for (size_t k = 0; k < s->input_count; k++)
            for (size_t n = 0; n <= s->inputs[k].where.len && n < 40; n++)
                diag_add_at(d, DIAG_WARNING, s->inputs[k].where_node, n, NULL, "there");
    }
}

static void print_all(const struct document *d, const struct plan *p)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    diag_print(d, out, true);
    diag_print_json(d, out);
    (void)fclose(out);
    free(text);
    struct buf graph = {0};
    for (int format = GRAPH_TEXT; p && format <= GRAPH_MERMAID; format++)
        plan_print_graph(p, format, &graph);
    buf_fini(&graph);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_copy(data, size), *set = NULL;
    size_t line = strcspn(text, "\n");
    if (strncmp(text, "#set ", 5) == 0)
        set = mem_copy(text + 5, line - 5);
    const char *sets[] = {set, NULL};
    struct config_input in = {.sets = sets, .env = fake_env};
    struct document *d = document_parse("fuzz/p.yaml", (weir_str){text, size}, &in);
    struct plan *p = plan_new(d, &fake_components);
    if (document_errors(d)) {
        plan_free(p);
        p = NULL;
    }
    tell_all_over(d, p);
    print_all(d, p);
    plan_free(p);
    document_free(d);
    mem_free(set);
    mem_free(text);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
