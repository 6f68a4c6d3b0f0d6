/* cli/graph.c: weir graph: draw a pipeline. */
#include <string.h>

#include "cli/commands.h"

struct options {
    struct cli_file file;
    const char *format;
};

static const struct cli_option options[] = {
    CLI_FILE_OPTIONS(struct options),
    {"format", 'f', "FORMAT", "text (default), dot or mermaid", CLI_TEXT,
     offsetof(struct options, format)},
    {0},
};

static int run(void *given, int argc, char **argv)
{
    static const char *const formats[] = {"text", "dot", "mermaid"};
    const struct options *o = given;
    struct loaded l;
    int format = o->format ? -1 : GRAPH_TEXT;
    for (int i = 0; i < 3 && o->format; i++)
        if (strcmp(o->format, formats[i]) == 0)
            format = i;
    if (format < 0)
        return cli_usage_error(&command_graph, "--format %s: text, dot or mermaid", o->format);
    int code = load_pipeline(argc ? argv[0] : NULL, &o->file, false, &l);
    if (l.plan) {
        struct buf out = {0};
        plan_print_graph(l.plan, format, &out);
        (void)fwrite(out.ptr, 1, out.len, stdout);
        buf_fini(&out);
    }
    load_free(&l);
    return code;
}

const struct cli_command command_graph = {
    .name = "graph",
    .usage = "[OPTIONS] [FILE]",
    .summary = "Draw a pipeline as text, DOT or Mermaid",
    .details = "example:\n  weir graph -f dot config/pipeline.yaml | dot -Tsvg > pipeline.svg",
    .options = options,
    .size = sizeof(struct options),
    .arguments_max = 1,
    .run = run,
};
