/* tests/bench/plugins/step.c: a transform that looks at each event and lets it pass, for measurements. */
#include <weir/plugin.h>

struct step {
    const char *source; /* others end here */
};

static weir_status step_event(void *self, const weir_host *h, weir_event *ev)
{
    const struct step *s = self;
    return weir_same(ev->source, s->source) ? WEIR_OK : WEIR_DROP;
}

static const weir_option options[] = {
    WEIR_OPTION(struct step, source, .required = true, .help = "The source whose events pass."),
    {0},
};

static const weir_component step = {
    .name = "step",
    .summary = "Lets the events of one source pass.",
    .flags = WEIR_PARALLEL,
    .state_size = sizeof(struct step),
    .options = options,
    .event = step_event,
};
WEIR_PLUGIN(&step);
